//! A server under measurement with its calls, in namespaces of its own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crosspoint_net::packet_io::IoKind;

use crate::browser::{Browser, Identity, Phone, SETTLE};
use crate::delay::{self, Delay};
use crate::front::{Front, Pairing};
use crate::load::{Load, Speaker};
use crate::namespaces::Namespaces;
use crate::rtpengine::{self, Control};
use crate::{Outcome, bare, storm};

/// The core that servers have for themselves.
const SERVER_CORE: &str = "0";
/// The first calls pay for what all share.
const WARM: u32 = 4;

pub(crate) struct Subject {
    name: String,
    process: Process,
    load: Load,
    /// Kept alive, where the server asks whether they are.
    fronts: Vec<Front>,
    /// Agreed with, but not connected.
    waiting: Vec<Browser>,
    _phones: Vec<Phone>,
    /// KiB of anonymous memory that a call adds.
    pub(crate) memory_per_call: f64,
    namespaces: Namespaces,
}

/// What a server is to carry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) pairing: Pairing,
    pub(crate) calls: u32,
    /// Calls besides, whose browsers connect later.
    pub(crate) waiting: u32,
    /// Of `[media]`, switched on where it is ours.
    pub(crate) settings: &'static [&'static str],
}

/// `keep_awake`; threads that do it have this name.
pub(crate) const AWAKE: &str = "awake";
pub(crate) const REALTIME: &str = "realtime";

type Join<'j> = dyn FnMut(u32, &mut Front, &mut Phone) -> Outcome<()> + Send + 'j;

impl Subject {
    /// A media thread of ours.
    pub(crate) fn ours(kind: IoKind, wanted: Wanted) -> Outcome<Self> {
        let namespaces = Namespaces::new().ok_or("no namespaces")?;
        let arguments = [&["serve", kind.as_str(), wanted.pairing.as_str()], wanted.settings];
        let (mut process, mut stdin) = Process::ours(&namespaces, &arguments.concat())?;
        let mut lines = process.lines()?;
        let identity = Identity::new(Namespaces::PEERS, Namespaces::OURS)?;
        let mut join = |_: u32, front: &mut Front, phone: &mut Phone| -> Outcome<()> {
            let mut ask = |description: String| -> Outcome<String> {
                writeln!(stdin, "{}", description.replace("\r\n", "|"))?;
                Ok(lines.next().ok_or("the server ended")??.replace('|', "\r\n"))
            };
            let offer = ask(phone.describe()?)?;
            front.accept(&offer)?;
            phone.accept(ask(front.describe(&identity, false)?)?.as_bytes())
        };
        let id = process.child.id();
        let set_up = namespaces.in_peers(|| SetUp::new(&identity, id, wanted, &mut join))?;
        process.stdin = Some(stdin);
        let name = [&[kind.as_str()], wanted.settings].concat().join(", ");
        Self::new(name, process, namespaces, set_up)
    }

    pub(crate) fn rtpengine(wanted: Wanted) -> Outcome<Self> {
        let namespaces = Namespaces::new().ok_or("no namespaces")?;
        let process = Process::start(&namespaces, "rtpengine", &rtpengine::arguments())?;
        let control = || Control::open().map_err(|error| error.to_string());
        let mut control = namespaces.in_ours(control)?;
        let identity = Identity::new(Namespaces::PEERS, Namespaces::OURS)?;
        let mut join = |number: u32, front: &mut Front, phone: &mut Phone| {
            control.join(&identity, number, front, phone)
        };
        let id = process.child.id();
        let set_up = namespaces.in_peers(|| SetUp::new(&identity, id, wanted, &mut join))?;
        Self::new("rtpengine".to_owned(), process, namespaces, set_up)
    }

    /// The limit.
    pub(crate) fn bare(kind: IoKind, wanted: Wanted) -> Outcome<Self> {
        let namespaces = Namespaces::new().ok_or("no namespaces")?;
        let Wanted { pairing, calls, .. } = wanted;
        let arguments = ["bare", kind.as_str(), pairing.as_str(), &calls.to_string()];
        let (mut process, stdin) = Process::ours(&namespaces, &arguments)?;
        process.stdin = Some(stdin);
        process.lines()?.next().ok_or("the limit ended")??;
        let speakers = (0..calls).flat_map(|call| {
            let [front, phone] = bare::parties(pairing, call);
            let keys = bare::keys(pairing, call, false);
            let ssrc = 2 * call + 1000;
            [
                Speaker::new(ssrc, front.0, front.1, keys, phone.0.port()),
                Speaker::new(ssrc + 1, phone.0, phone.1, None, front.0.port()),
            ]
        });
        let set_up = SetUp { speakers: speakers.collect(), ..SetUp::default() };
        Self::new(format!("bare {}", kind.as_str()), process, namespaces, set_up)
    }

    fn new(name: String, process: Process, namespaces: Namespaces, set_up: SetUp) -> Outcome<Self> {
        namespaces.in_peers(drop_media)?;
        let SetUp { speakers, fronts, waiting, phones: _phones, memory_per_call } = set_up;
        let load = namespaces.in_peers(|| Load::new(speakers).map_err(|e| e.to_string()))?;
        Ok(Self { name, process, load, fronts, waiting, _phones, memory_per_call, namespaces })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Nanoseconds of the server's time for each packet that came through.
    pub(crate) fn sample(&mut self) -> Outcome<f64> {
        let before = spent(self.process.child.id());
        let load = &mut self.load;
        let speak = || load.speak().map_err(|error| error.to_string());
        let (sent, received) = self.namespaces.in_peers(speak)?;
        let spent = spent(self.process.child.id()) - before;
        if received * 100 < sent * 99 {
            let name = &self.name;
            return Err(format!("{name}: of {sent} packets only {received} came through").into());
        }
        Ok(spent.as_nanos() as f64 / received as f64)
    }

    /// The delay at this rate, in packets a second; and the share of its core that the server was
    /// busy. With `storm`, browsers connect meanwhile.
    pub(crate) fn delay(&mut self, rate: f64, storm: bool) -> Outcome<(Delay, f64)> {
        let (before, start) = (spent(self.process.child.id()), Instant::now());
        let (load, mut none) = (&mut self.load, Vec::new());
        let waiting = if storm { &mut self.waiting } else { &mut none };
        let sample = || delay::sample(load, rate, waiting).map_err(|error| error.to_string());
        let delay = self.namespaces.in_peers(sample)?;
        let spent = spent(self.process.child.id()) - before;
        Ok((delay, spent.as_secs_f64() / start.elapsed().as_secs_f64()))
    }

    /// Whether there are browsers that have not connected.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Handshakes that the server does in a second of its processor's time: while nobody speaks,
    /// and so many browsers connect.
    pub(crate) fn handshakes(&mut self, browsers: u32) -> Outcome<f64> {
        let mut some = self.waiting.split_off(self.waiting.len().saturating_sub(browsers as usize));
        let before = spent(self.process.child.id());
        let connect = || storm::connect(&mut some).map_err(|error| error.to_string());
        self.namespaces.in_peers(connect)?;
        let spent = spent(self.process.child.id()) - before;
        Ok(some.len() as f64 / spent.as_secs_f64())
    }

    /// Browsers answer and ask whether the other side is still there.
    pub(crate) fn keep_alive(&mut self) -> Outcome<()> {
        self.fronts.iter_mut().try_for_each(Front::keep_alive)
    }
}

/// Calls that are up, and who speaks in them.
#[derive(Default)]
struct SetUp {
    speakers: Vec<Speaker>,
    fronts: Vec<Front>,
    waiting: Vec<Browser>,
    phones: Vec<Phone>,
    memory_per_call: f64,
}

impl SetUp {
    /// For the thread that is where the peers are.
    fn new(
        identity: &Identity,
        server: u32,
        wanted: Wanted,
        join: &mut Join<'_>,
    ) -> Result<Self, String> {
        let mut this = Self::default();
        this.fill(identity, server, wanted, join).map_err(|error| error.to_string())?;
        Ok(this)
    }

    fn fill(
        &mut self,
        identity: &Identity,
        server: u32,
        Wanted { pairing, calls, waiting, .. }: Wanted,
        join: &mut Join<'_>,
    ) -> Outcome<()> {
        let mut before = 0;
        for number in 0..calls {
            let mut front = Front::new(pairing, identity, number)?;
            let mut phone = Phone::new(Namespaces::PEERS, Namespaces::OURS, number)?;
            join(number, &mut front, &mut phone)?;
            front.settle()?;
            self.fronts.push(front);
            self.phones.push(phone);
            if number % 128 == 127 {
                // The others must not be taken for gone meanwhile.
                self.fronts.iter_mut().try_for_each(Front::keep_alive)?;
            }
            if number + 1 == WARM {
                self.talk()?;
                before = resident(server);
            }
        }
        self.talk()?;
        let added = resident(server).saturating_sub(before) as f64;
        self.memory_per_call = added / f64::from(calls.saturating_sub(WARM).max(1));
        for (number, (front, phone)) in (0..).zip(self.fronts.iter_mut().zip(&self.phones)) {
            let (ssrc, to_us) = (0x3000_0000 + 2 * number, phone.remote.ok_or("no answer")?);
            let (from, at) = (phone.socket.local_addr()?, front.port()?);
            self.speakers.push(front.speaker(ssrc, from.port())?);
            self.speakers.push(Speaker::new(ssrc + 1, from, to_us, None, at));
        }
        for number in calls..calls + waiting {
            let mut front = Front::new(Pairing::WebRtc, identity, number)?;
            let mut phone = Phone::new(Namespaces::PEERS, Namespaces::OURS, number)?;
            join(number, &mut front, &mut phone)?;
            if let Front::Browser(browser) = front {
                self.waiting.push(browser);
            }
            self.phones.push(phone);
        }
        Ok(())
    }

    /// Everybody speaks, and is heard whole by the other side.
    fn talk(&mut self) -> Outcome<()> {
        let start = Instant::now();
        for (front, phone) in self.fronts.iter_mut().zip(&mut self.phones) {
            let wanted = (front.received() + 2, phone.received + 2);
            while front.received() < wanted.0 || phone.received < wanted.1 {
                if start.elapsed() > SETTLE {
                    return Err("a call is silent".into());
                }
                front.speak()?;
                phone.speak()?;
                std::thread::sleep(Duration::from_micros(100));
                front.work()?;
                phone.work()?;
            }
        }
        Ok(())
    }
}

/// A program in our namespace, ended when dropped.
struct Process {
    child: Child,
    /// Ours end with it.
    stdin: Option<ChildStdin>,
}

impl Process {
    fn start(namespaces: &Namespaces, program: &str, arguments: &[String]) -> Outcome<Self> {
        let mut command = Command::new("taskset");
        command.args(["-c", SERVER_CORE, program]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(Self { child: namespaces.in_ours(|| command.spawn())?, stdin: None })
    }

    /// This bench again, as a server.
    fn ours(namespaces: &Namespaces, arguments: &[&str]) -> Outcome<(Self, ChildStdin)> {
        let program = std::env::current_exe()?;
        let program = program.to_str().ok_or("a path that is no text")?;
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        let mut process = Self::start(namespaces, program, &arguments)?;
        let stdin = process.child.stdin.take().ok_or("no input")?;
        Ok((process, stdin))
    }

    fn lines(&mut self) -> Outcome<impl Iterator<Item = std::io::Result<String>> + Send + use<>> {
        Ok(BufReader::new(self.child.stdout.take().ok_or("no output")?).lines())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Drops media after it was counted, in this thread's namespace; what says that a peer is there
/// still passes.
fn drop_media() -> Result<(), String> {
    // Classic BPF: UDP over IPv4 whose first byte says RTP (RFC 7983).
    let program = "9,40 0 0 12,21 0 6 2048,48 0 0 23,21 0 4 17,48 0 0 42,53 0 2 128,\
                   53 1 0 192,6 0 0 2,6 0 0 0,";
    let filter = ["filter", "add", "dev", "media0", "ingress", "bpf", "da", "bytecode", program];
    let steps: [&[&str]; 2] = [&["qdisc", "add", "dev", "media0", "clsact"], &filter];
    for step in steps {
        let done = Command::new("tc").args(step).output().map_err(|e| format!("tc: {e}"))?;
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into_owned());
        }
    }
    Ok(())
}

/// Time on a processor, of all threads that live and have something to do.
fn spent(id: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten();
    let of_task = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if name.trim_end() == AWAKE {
            return 0;
        }
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    Duration::from_nanos(tasks.filter_map(Result::ok).map(of_task).sum())
}

/// KiB of anonymous memory.
fn resident(id: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("RssAnon:"));
    line.and_then(|l| l.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}
