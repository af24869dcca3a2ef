//! What a relayed packet costs by each way of packet I/O, beside rtpengine in user space and
//! beside the bare limit: the same I/O and cipher with no logic.
//!
//! Servers run in network namespaces of their own, pinned to one core; the load comes over a veth
//! pair from another core, in bursts, and waits until they have come through. Cost is the
//! server's processor time by the number of packets that left it, so it hardly depends on how
//! fast the load is. What the kernel does to receive runs on the load's core and is in no figure.
//!
//! `relay [--short] [WHAT…] [CALLS…]`; needs root. WHAT is a pairing (`webrtc`, `sdes`, `gcm`, `rtp`), a way of
//! packet I/O, `delay` for the delay that packets get, or `alone` for DTLS with nothing around it.

mod alone;
mod bare;
mod browser;
mod delay;
mod front;
mod load;
#[path = "../../tests/it/namespaces.rs"]
mod namespaces;
mod probe;
mod rtpengine;
mod server;
mod storm;
mod subject;

use std::collections::BTreeMap;
use std::process::ExitCode;

use crosspoint_net::Allocator;
use crosspoint_net::packet_io::IoKind;
use delay::Delay;
use front::Pairing;
use namespaces::Namespaces;
use subject::{Subject, Wanted};

/// That of the gateway's binary.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// What a bench can end with.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        // As the binary does; whoever starts other programs does not, for they would inherit it.
        ["serve", kind, pairing, rest @ ..] => {
            Allocator::take_small_pages();
            server::serve(kind, pairing, rest)
        }
        ["bare", kind, pairing, calls] => {
            Allocator::take_small_pages();
            bare::serve(kind, pairing, calls)
        }
        ["alone"] => tell_alone(),
        words => run(words),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Outcome<()> {
    if Namespaces::new().is_none() {
        eprintln!("relay: not measured, because only root may make network namespaces");
        return Ok(());
    }
    let is_short = words.contains(&"--short");
    let rounds = if is_short { 3 } else { 7 };
    let all: Vec<IoKind> = IoKind::ALL.into_iter().rev().collect();
    let named = |kind: &&IoKind| words.contains(&kind.as_str());
    let mut kinds: Vec<IoKind> = all.iter().filter(named).copied().collect();
    if kinds.is_empty() {
        kinds = all;
    }
    let sizes: Vec<u32> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let mut pairings: Vec<Pairing> = words.iter().filter_map(|w| Pairing::named(w)).collect();
    let has_delay = words.contains(&"delay");
    if pairings.is_empty() && !has_delay {
        pairings = Pairing::ALL.to_vec();
    }
    if !pairings.is_empty() {
        println!(
            "| to RTP from | calls | I/O | ns | bare limit | % of limit | rtpengine | ratio | KiB/call | rtpengine |"
        );
        println!("|---|---:|---|---:|---:|---:|---:|---:|---:|---:|");
    }
    let mut costs = BTreeMap::new();
    for pairing in pairings {
        let usual = match pairing {
            Pairing::WebRtc if !is_short => &[10, 512, 4096][..],
            _ => &[512],
        };
        for calls in if sizes.is_empty() { usual } else { &sizes } {
            let wanted = Wanted { pairing, calls: *calls, waiting: 0, settings: &[] };
            let mut theirs = Subject::rtpengine(wanted)?;
            for kind in &kinds {
                let cost = measure(wanted, *kind, rounds, &mut theirs)?;
                costs.insert((pairing.as_str(), kind.as_str(), *calls), cost);
            }
        }
    }
    tell_growth(&costs);
    if has_delay || words.iter().all(|word| *word == "--short") {
        let calls = sizes.first().copied().unwrap_or(512);
        delays(calls, &kinds)?;
    }
    Ok(())
}

/// Ours, the limit and rtpengine in turns.
fn measure(wanted: Wanted, kind: IoKind, rounds: usize, theirs: &mut Subject) -> Outcome<f64> {
    let mut ours = Subject::ours(kind, wanted)?;
    let mut bare = Subject::bare(kind, wanted)?;
    let mut spent = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..=rounds {
        for (subject, spent) in [&mut ours, &mut bare, theirs].into_iter().zip(&mut spent) {
            let cost = subject.sample()?;
            // The first round only warms up.
            if round > 0 {
                spent.push(cost);
            }
        }
        for subject in [&mut ours, &mut bare, theirs] {
            subject.keep_alive()?;
        }
    }
    let [our_cost, limit, their_cost] = spent.map(load::median);
    println!(
        "| {} | {} | {} | {our_cost:.0} | {limit:.0} | {:.0} | {their_cost:.0} | {:.2} | {:.1} | {:.1} |",
        wanted.pairing.as_str(),
        wanted.calls,
        kind.as_str(),
        100.0 * limit / our_cost,
        their_cost / our_cost,
        ours.memory_per_call,
        theirs.memory_per_call,
    );
    Ok(our_cost)
}

/// What a packet costs among the most calls, by what it costs among the fewest: flat is 1.
fn tell_growth(costs: &BTreeMap<(&str, &str, u32), f64>) {
    let mut by_way: BTreeMap<(&str, &str), Vec<(u32, f64)>> = BTreeMap::new();
    for ((pairing, kind, calls), cost) in costs {
        by_way.entry((pairing, kind)).or_default().push((*calls, *cost));
    }
    let grown = by_way.iter().filter(|(_, costs)| costs.len() > 1);
    for (at, ((pairing, kind), costs)) in grown.enumerate() {
        let (Some((few, least)), Some((many, most))) = (costs.first(), costs.last()) else {
            continue;
        };
        if at == 0 {
            println!();
            println!("| to RTP from | I/O | calls | cost, times as much |");
            println!("|---|---|---:|---:|");
        }
        println!("| {pairing} | {kind} | {few} to {many} | {:.2} |", most / least);
    }
}

/// How many handshakes a second nothing of ours can do more than.
fn tell_alone() -> Outcome<()> {
    println!("our end of DTLS alone: {:.0} handshakes a second", alone::handshakes(HANDSHAKES)?);
    Ok(())
}

/// What a server adds to the time of a packet, at shares of what it can carry.
fn delays(calls: u32, kinds: &[IoKind]) -> Outcome<()> {
    println!();
    println!(
        "| server | load | packets/s | core busy, % | handshakes/s | p50, µs | p99, µs | least to most |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    let waiting = STORM + HANDSHAKES;
    let wanted = Wanted { pairing: Pairing::WebRtc, calls, waiting, settings: &[] };
    let mut handshakes = Vec::new();
    let mut connect = |mut subject: Subject| -> Outcome<()> {
        handshakes.push((subject.name().to_owned(), subject.handshakes(HANDSHAKES)?));
        tell_delays(subject)
    };
    for kind in kinds {
        for settings in [&[][..], &[subject::AWAKE], &[subject::REALTIME]] {
            connect(Subject::ours(*kind, Wanted { settings, ..wanted })?)?;
        }
        tell_delays(Subject::bare(*kind, wanted)?)?;
    }
    connect(Subject::rtpengine(wanted)?)?;
    println!();
    println!("| server | handshakes per second and core |");
    println!("|---|---:|");
    handshakes.push(("our end of DTLS alone".to_owned(), alone::handshakes(HANDSHAKES)?));
    for (name, rate) in handshakes {
        println!("| {name} | {rate:.0} |");
    }
    Ok(())
}

/// Prints the delays that a server adds: the middle of some samples, because a virtual machine's processor is
/// away for milliseconds now and then.
fn tell_delays(mut subject: Subject) -> Outcome<()> {
    subject.keep_alive()?;
    let costs = (0..4).map(|_| subject.sample()).collect::<Outcome<Vec<f64>>>()?;
    let most = 1e9 / load::median(costs);
    for (share, storm) in [(0.5, false), (0.8, false), (0.5, true)] {
        if storm && !subject.has_waiting() {
            continue;
        }
        // Browsers connect once.
        let samples = if storm { 1 } else { DELAYS };
        let mut taken = Vec::new();
        for _ in 0..samples {
            subject.keep_alive()?;
            taken.push(subject.delay(share * most, storm)?);
        }
        let middle = |of: fn(&(Delay, f64)) -> f64| load::median(taken.iter().map(of).collect());
        let p99 = || taken.iter().map(|(delay, _)| delay.p99);
        println!(
            "| {} | {:.0} % | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} to {:.0} |",
            subject.name(),
            100.0 * share,
            middle(|(delay, _)| delay.rate),
            100.0 * middle(|(_, busy)| *busy),
            middle(|(delay, _)| delay.handshakes),
            middle(|(delay, _)| delay.median),
            middle(|(delay, _)| delay.p99),
            p99().fold(f64::INFINITY, f64::min),
            p99().fold(0.0, f64::max),
        );
    }
    Ok(())
}

/// Samples of a delay.
const DELAYS: usize = 9;
/// Browsers that connect while others speak: for two seconds, as many as the load can make.
const STORM: u32 = 3000;
/// Those that connect while nobody speaks.
const HANDSHAKES: u32 = 1000;
