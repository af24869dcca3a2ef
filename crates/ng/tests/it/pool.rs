//! A node's media control over a pool: the client against servers with shards of their own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crosspoint_base::{LegId, Rng};
use crosspoint_media::clip::Clip;
use crosspoint_media::control::{
    Command, Event, Laid, LaidSound, Layer, Loss, Playback, Profile, SdpKind, SrtpPolicy,
};
use crosspoint_ng::{
    Carrier, Client, ClientOutput, Dictionary, RecordingReply, RemoteRecording, SoundSource,
};
use crosspoint_sdp::Session;

use crate::world::*;

const A: LegId = LegId(1);
const B: LegId = LegId(2);
const C: LegId = LegId(3);
const D: LegId = LegId(4);

struct Pool {
    client: Client,
    servers: Vec<World>,
    /// Servers that hear nothing.
    dead: Vec<usize>,
    /// What is on its way to servers, if they are slow.
    slow: Option<VecDeque<(usize, Vec<u8>)>>,
    events: Vec<Event>,
    /// What went to the media plane beside us.
    local: Vec<String>,
    carriers: BTreeMap<LegId, Carrier>,
    /// The servers do not say that they are ours.
    is_foreign: bool,
    recorded: Vec<RecordingReply>,
    /// What was said with servers about legs.
    told: Vec<(LegId, usize, bool, Vec<u8>)>,
    now: std::time::Instant,
}

impl Pool {
    fn new(weights: &[u32]) -> Self {
        let servers: Vec<World> = weights.iter().map(|_| World::new()).collect();
        let now = servers.first().expect("a server").now;
        let client = Client::new(weights, Rng::from_u64(3));
        let (dead, events, local) = (vec![], vec![], vec![]);
        let (carriers, recorded, told) = (BTreeMap::new(), vec![], vec![]);
        let mut pool = Self {
            client,
            servers,
            dead,
            slow: None,
            events,
            local,
            carriers,
            recorded,
            told,
            now,
            is_foreign: false,
        };
        pool.client.handle_timeout(now);
        pool.settle();
        pool
    }

    fn settle(&mut self) {
        loop {
            match self.client.poll_output() {
                ClientOutput::Send { server, bytes } => {
                    if self.dead.contains(&server) {
                        continue;
                    }
                    match &mut self.slow {
                        Some(slow) => slow.push_back((server, bytes)),
                        None => self.deliver(server, &bytes),
                    }
                }
                ClientOutput::Told { leg, server, is_sent, bytes } => {
                    self.told.push((leg, server, is_sent, bytes));
                }
                ClientOutput::Local(command) => {
                    let word = format!("{command:?}");
                    self.local.push(word.split([' ', '{']).next().unwrap().to_owned());
                }
                ClientOutput::Event(event) => self.events.push(*event),
                ClientOutput::Recorded { reply, .. } => self.recorded.push(reply),
                ClientOutput::Carried { leg, by: Some(carrier) } => {
                    self.carriers.insert(leg, carrier);
                }
                ClientOutput::Carried { leg, by: None } => {
                    self.carriers.remove(&leg);
                }
                ClientOutput::Timeout(_) => return,
            }
        }
    }

    fn deliver(&mut self, server: usize, bytes: &[u8]) {
        let world = &mut self.servers[server];
        world.say(0, bytes);
        for (_, reply) in std::mem::take(&mut world.replies) {
            let text = String::from_utf8_lossy(&reply);
            let foreign = text.replace("6:server10:crosspoint", "").into_bytes();
            let reply = if self.is_foreign { foreign } else { reply };
            self.client.handle_reply(self.now, server, &reply);
        }
    }

    /// The commands that are on their way, all of which arrive, and are answered.
    fn arrive(&mut self) -> Vec<String> {
        let mut commands = vec![];
        for (server, bytes) in std::mem::take(self.slow.as_mut().unwrap()) {
            let at = bytes.iter().position(|byte| *byte == b' ').unwrap() + 1;
            let (request, _) = Dictionary::decode(&bytes[at..]).unwrap();
            commands.push(request.text("command").unwrap());
            self.deliver(server, &bytes);
        }
        self.settle();
        commands
    }

    fn tell(&mut self, command: Command) {
        self.client.handle_command(self.now, command);
        self.settle();
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(100);
            self.client.handle_timeout(self.now);
            self.settle();
        }
    }

    fn open(&mut self) {
        self.tell(Command::Open { leg: A, profile: Profile::WebRtc });
        self.tell(Command::Open { leg: B, profile: Profile::Rtp(SrtpPolicy::Off) });
    }

    fn accept(&mut self, leg: LegId, kind: SdpKind, sdp: &str) {
        let description = Session::parse(sdp.as_bytes()).unwrap();
        self.tell(Command::Accept { leg, kind, description });
    }

    fn describe(&mut self, leg: LegId, kind: SdpKind, peer: Option<LegId>) -> Option<String> {
        self.tell(Command::Describe { leg, kind, peer });
        match self.events.iter().rev().find(|e| matches!(e, Event::Described { .. })) {
            Some(Event::Described { leg: l, description }) if *l == leg => {
                Some(description.to_string())
            }
            _ => None,
        }
    }

    /// A browser calls a phone, which answers.
    fn call(&mut self) {
        self.open();
        self.accept(A, SdpKind::Offer, BROWSER);
        let to_phone = self.describe(B, SdpKind::Offer, Some(A)).expect("an offer");
        assert!(
            to_phone.contains("RTP/AVP 111 0 110 126") && !to_phone.contains("ice-"),
            "{to_phone}"
        );
        let events = "a=rtpmap:126 telephone-event/8000\r\n";
        self.accept(B, SdpKind::Answer, &phone(8, 6000, "0 126", events));
        let to_browser = self.describe(A, SdpKind::Answer, Some(B)).expect("an answer");
        assert!(to_browser.contains("UDP/TLS/RTP/SAVPF 0 126"), "{to_browser}");
        self.tell(Command::Bridge { a: A, b: B });
    }

    fn running(&self) -> Vec<u64> {
        self.servers.iter().map(|world| world.server.counters().calls).collect()
    }

    fn digits(&self) -> Vec<(LegId, char, Duration, bool)> {
        let digit = |event: &Event| match event {
            Event::Dtmf { leg, digit, duration, relayed } => {
                Some((*leg, *digit, *duration, *relayed))
            }
            _ => None,
        };
        self.events.iter().filter_map(digit).collect()
    }

    /// The call-id, and what the browser and the phone are called, as a server was told.
    fn names(&self) -> (String, [String; 2]) {
        let is_answer = |(_, _, is_sent, bytes): &&(LegId, usize, bool, Vec<u8>)| {
            *is_sent && String::from_utf8_lossy(bytes).contains("6:answer")
        };
        let (.., bytes) = self.told.iter().find(is_answer).expect("an answer");
        let at = bytes.iter().position(|byte| *byte == b' ').unwrap() + 1;
        let (answer, _) = Dictionary::decode(&bytes[at..]).unwrap();
        let text = |key| answer.text(key).unwrap();
        (text("call-id"), [text("from-tag"), text("to-tag")])
    }

    fn lost(&self) -> Vec<LegId> {
        let gone = |event: &Event| match event {
            Event::Lost { leg, loss: Loss::ServerGone } => Some(*leg),
            _ => None,
        };
        self.events.iter().filter_map(gone).collect()
    }
}

#[test]
fn a_call_runs_on_a_server_and_its_figures_come_back_with_its_end() {
    let mut pool = Pool::new(&[1]);
    pool.call();
    assert!(pool.local.is_empty() && pool.running() == [1], "{:?}", pool.local);
    let connected = pool.events.iter().filter(|e| matches!(e, Event::Connected { .. })).count();
    assert_eq!(connected, 2);
    assert_eq!(pool.carriers, BTreeMap::from([A, B].map(|leg| (leg, Carrier::Server))));
    let (port, _) = (pool.servers[0].sockets.values().next().unwrap().port(), ());
    pool.tell(Command::SendDtmf { leg: B, digit: '5', duration: Duration::from_millis(200) });
    for seq in 1..4 {
        pool.servers[0].packet("192.0.2.8:6000", port, &rtp(0, seq, &[1; 160]));
    }
    pool.tell(Command::Close { leg: A });
    pool.tell(Command::Close { leg: B });
    let figures: Vec<_> = pool
        .events
        .iter()
        .filter_map(|e| match e {
            Event::Closed { leg, stats } => Some((*leg, stats.packets_received)),
            _ => None,
        })
        .collect();
    assert_eq!(figures, [(A, 0), (B, 3)]);
    assert!(pool.carriers.is_empty());
    assert!(pool.client.is_empty() && pool.servers[0].server.is_empty());
    assert!(pool.servers[0].shard.is_empty());
}

/// Whoever looks into a call sees what its media server was asked, and nothing that is no call's.
#[test]
fn what_is_said_to_a_server_about_a_call_is_told() {
    let mut pool = Pool::new(&[1]);
    pool.call();
    // Pings, and figures every few seconds.
    pool.pass(Duration::from_secs(30));
    pool.tell(Command::SendDtmf { leg: B, digit: '5', duration: Duration::from_millis(200) });
    pool.dead.push(0);
    pool.tell(Command::Close { leg: A });
    pool.tell(Command::Close { leg: B });
    pool.pass(Duration::from_millis(600));
    let words: Vec<(LegId, bool, &str)> = pool
        .told
        .iter()
        .map(|(leg, server, is_sent, bytes)| {
            assert_eq!(*server, 0);
            let text = std::str::from_utf8(bytes).unwrap();
            let known = ["offer", "answer", "play DTMF", "delete", "query", "ping"];
            let command =
                known.into_iter().find(|c| text.contains(&format!("7:command{}:{c}", c.len())));
            (
                *leg,
                *is_sent,
                command.unwrap_or(if text.contains("6:result2:ok") { "ok" } else { text }),
            )
        })
        .collect();
    let expected = [
        (A, true, "offer"),
        (A, false, "ok"),
        (A, true, "answer"),
        (A, false, "ok"),
        (B, true, "play DTMF"),
        (B, false, "ok"),
        (A, true, "delete"),
        // It is asked again.
        (A, true, "delete"),
    ];
    assert_eq!(words, expected);
}

/// rtpengine works on several requests at once, and comes to an answer before the offer.
#[test]
fn of_a_call_one_request_at_a_time_is_under_way() {
    let mut pool = Pool::new(&[1]);
    pool.slow = Some(VecDeque::new());
    pool.open();
    pool.accept(A, SdpKind::Offer, BROWSER);
    pool.accept(B, SdpKind::Offer, &phone(8, 6000, "0", ""));
    pool.describe(B, SdpKind::Offer, Some(A));
    pool.describe(A, SdpKind::Offer, Some(B));
    pool.client.record(pool.now, A, RemoteRecording::Start, 1);
    let digit = || Command::SendDtmf { leg: B, digit: '5', duration: Duration::from_millis(200) };
    pool.tell(digit());
    // Other calls do not wait for it.
    pool.tell(Command::Open { leg: C, profile: Profile::WebRtc });
    pool.accept(C, SdpKind::Offer, BROWSER);
    pool.tell(Command::Open { leg: D, profile: Profile::Rtp(SrtpPolicy::Off) });
    pool.describe(D, SdpKind::Offer, Some(C));
    assert_eq!(pool.arrive(), ["offer", "offer"]);
    assert_eq!(pool.arrive(), ["offer"]);
    assert_eq!(pool.arrive(), ["start recording"]);
    assert_eq!(pool.arrive(), ["play DTMF"]);
    assert!(pool.arrive().is_empty());
    // Nobody answers: nothing is kept of however many digits, and all that waits is told at once.
    pool.dead.push(0);
    for _ in 0..100 {
        pool.tell(digit());
    }
    pool.client.record(pool.now, A, RemoteRecording::Stop, 2);
    pool.recorded.clear();
    pool.pass(Duration::from_millis(1900));
    assert!(pool.recorded.is_empty());
    pool.pass(Duration::from_millis(200));
    assert_eq!(pool.recorded.len(), 1);
    pool.dead.clear();
    pool.tell(Command::Close { leg: A });
    pool.tell(Command::Close { leg: B });
    assert_eq!(pool.arrive(), ["delete"]);
}

/// Media servers tell which digits parties pressed, as rtpengine does.
#[test]
fn digits_that_a_server_tells_are_those_of_a_leg() {
    let mut pool = Pool::new(&[1]);
    let ours = "192.0.2.50:2226".parse().unwrap();
    pool.client.log_dtmf(0, ours);
    pool.call();
    let port = pool.servers[0].sockets.values().next().unwrap().port();
    let mut packet = rtp(126, 1, &[9, 0x80, 3, 0x20]);
    packet[4..8].copy_from_slice(&1600_u32.to_be_bytes());
    pool.servers[0].packet("192.0.2.8:6000", port, &packet);
    let [(to, json)] = &pool.servers[0].notes[..] else { panic!("one digit") };
    assert_eq!(*to, Some(ours));
    pool.client.handle_dtmf(&[3, 0], json.as_bytes());
    pool.settle();
    let duration = Duration::from_millis(100);
    assert_eq!(pool.digits(), [(B, '9', duration, true)]);
    assert_eq!(pool.client.counters().stray_digits, 0);
}

#[test]
fn who_agreed_to_no_events_has_to_be_told_of_digits_by_us() {
    let mut pool = Pool::new(&[1]);
    pool.open();
    pool.accept(A, SdpKind::Offer, BROWSER);
    pool.describe(B, SdpKind::Offer, Some(A)).expect("an offer");
    pool.accept(B, SdpKind::Answer, &phone(8, 6000, "0", ""));
    pool.describe(A, SdpKind::Answer, Some(B)).expect("an answer");
    let (call, [browser, _]) = pool.names();
    let json = digit(&call, &browser, 11, 250);
    pool.client.handle_dtmf(&[0], json.as_bytes());
    pool.settle();
    assert_eq!(pool.digits(), [(A, '#', Duration::from_millis(250), false)]);
}

/// Nobody presses keys in calls that are not with him, whatever he sends.
#[test]
fn digits_of_strangers_are_counted() {
    let mut pool = Pool::new(&[1, 1]);
    pool.call();
    let server = pool.running().iter().position(|calls| *calls == 1).unwrap();
    let (call, [browser, phone]) = pool.names();
    let good = digit(&call, &phone, 1, 100);
    let other = format!("{}-1", "0".repeat(32));
    let strays = [
        (1 - server, good.clone()),
        (server, digit("call", &phone, 1, 100)),
        (server, digit(&other, &phone, 1, 100)),
        (server, digit(&call.replace("-1", "-2"), &phone, 1, 100)),
        (server, digit(&call, "b", 1, 100)),
        (server, digit(&call, &browser, 16, 100)),
        (server, digit(&call, &browser, -1, 100)),
        (server, good.replace("DTMF", "ping")),
        (server, good[..good.len() - 1].to_owned()),
        (server, String::new()),
        (server, "[]".to_owned()),
    ];
    for (count, (server, json)) in (1..).zip(&strays) {
        pool.client.handle_dtmf(&[*server], json.as_bytes());
        pool.settle();
        assert_eq!(
            (pool.digits().len(), pool.client.counters().stray_digits),
            (0, count),
            "{json}"
        );
    }
    pool.client.handle_dtmf(&[], good.as_bytes());
    // However long a key was held, it is told within what RTP events can say.
    pool.client.handle_dtmf(&[server], digit(&call, &phone, 0, i64::MAX).as_bytes());
    pool.settle();
    assert_eq!(pool.digits(), [(B, '0', Duration::from_millis(8191), true)]);
}

fn digit(call: &str, tag: &str, event: i64, millis: i64) -> String {
    format!(
        r#"{{"callid":"{call}","source_tag":"{tag}","type":"DTMF","event":{event},"duration":{millis},"volume":10}}"#
    )
}

#[test]
fn what_needs_us_alone_stays_beside_us() {
    let mut pool = Pool::new(&[1]);
    pool.open();
    pool.accept(A, SdpKind::Offer, BROWSER);
    pool.describe(A, SdpKind::Answer, None);
    pool.tell(Command::Play { leg: A, playback: Playback::Echo });
    assert_eq!(pool.local, ["Open", "Accept", "Describe", "Play"]);
    let before = pool.events.len();
    let accepted = crosspoint_media::control::Accepted {
        passed_news: false,
        only_fax: false,
        far_side_concerned: true,
        on_hold: false,
        telephone_event: true,
    };
    pool.client.handle_local(Event::Accepted { leg: A, accepted });
    pool.settle();
    assert_eq!(pool.events.len(), before, "it was accepted already");
    assert_eq!(pool.running(), [0]);
}

/// The port of a description's sound.
fn port_of(description: &str) -> u16 {
    let line = description.lines().find_map(|line| line.strip_prefix("m=audio "));
    line.and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap()
}

/// A phone calls another, which sends it on to a third.
fn transferred(pool: &mut Pool) -> [u16; 2] {
    for leg in [A, B, C] {
        pool.tell(Command::Open { leg, profile: Profile::Rtp(SrtpPolicy::Off) });
    }
    pool.accept(A, SdpKind::Offer, &phone(7, 5000, "0 8", ""));
    let to_b = pool.describe(B, SdpKind::Offer, Some(A)).expect("an offer");
    assert!(to_b.contains("RTP/AVP 0 8"), "{to_b}");
    pool.accept(B, SdpKind::Answer, &phone(8, 6000, "8", ""));
    pool.tell(Command::Bridge { a: A, b: B });
    let to_a = pool.describe(A, SdpKind::Answer, Some(B)).expect("an answer");
    for leg in [A, B] {
        pool.tell(Command::Answered { leg });
    }
    for seq in 1..4 {
        pool.servers[0].packet("192.0.2.8:6000", port_of(&to_b), &rtp(8, seq, &[1; 160]));
    }
    let to_c = pool.describe(C, SdpKind::Offer, Some(A)).expect("an offer");
    assert!(to_c.contains("RTP/AVP 8\r\n"), "who stays was told of one codec: {to_c}");
    pool.accept(C, SdpKind::Answer, &phone(9, 7000, "8", ""));
    pool.tell(Command::Bridge { a: A, b: C });
    pool.tell(Command::Close { leg: B });
    [&to_a, &to_c].map(|description| port_of(description))
}

fn received(pool: &Pool, leg: LegId) -> Option<u64> {
    pool.events.iter().find_map(|event| match event {
        Event::Closed { leg: l, stats } if *l == leg => Some(stats.packets_received),
        _ => None,
    })
}

/// A branch that sounded before it rang off binds nobody.
#[test]
fn who_is_tried_after_early_media_is_offered_all_that_the_caller_offers() {
    let mut pool = Pool::new(&[1]);
    for leg in [A, B, C] {
        pool.tell(Command::Open { leg, profile: Profile::Rtp(SrtpPolicy::Off) });
    }
    pool.accept(A, SdpKind::Offer, &phone(7, 5000, "0 8", ""));
    pool.describe(B, SdpKind::Offer, Some(A)).expect("an offer");
    pool.accept(B, SdpKind::Answer, &phone(8, 6000, "8", ""));
    pool.describe(A, SdpKind::Answer, Some(B)).expect("an early answer");
    let to_c = pool.describe(C, SdpKind::Offer, Some(A)).expect("an offer");
    assert!(to_c.contains("RTP/AVP 0 8\r\n"), "{to_c}");
    pool.accept(C, SdpKind::Answer, &phone(9, 7000, "0", ""));
    let asked = pool.told.len();
    pool.tell(Command::Bridge { a: A, b: C });
    assert_eq!(pool.told.len(), asked, "its answer is told with what the caller hears of it");
    assert!(pool.local.is_empty(), "{:?}", pool.local);
}

#[test]
fn who_is_sent_on_hears_the_new_party_over_the_same_server() {
    let mut pool = Pool::new(&[1]);
    let [of_a, of_c] = transferred(&mut pool);
    assert!(pool.local.is_empty() && pool.running() == [1], "{:?}", pool.local);
    let connected = |e: &Event| matches!(e, Event::Connected { leg } if *leg == C);
    assert!(pool.events.iter().any(connected));
    assert_eq!(received(&pool, B), Some(3), "its figures come when it goes");
    let server = &mut pool.servers[0];
    let heard = server.packet("192.0.2.9:7000", of_c, &rtp(8, 1, &[2; 160]));
    assert_eq!(heard.unwrap().0, "192.0.2.7:5000".parse().unwrap());
    let heard = server.packet("192.0.2.7:5000", of_a, &rtp(8, 1, &[3; 160]));
    assert_eq!(heard.unwrap().0, "192.0.2.9:7000".parse().unwrap());
    // Who came may send on in its turn.
    pool.tell(Command::Open { leg: D, profile: Profile::Rtp(SrtpPolicy::Off) });
    let to_d = pool.describe(D, SdpKind::Offer, Some(C)).expect("an offer");
    pool.accept(D, SdpKind::Answer, &phone(10, 8000, "8", ""));
    pool.tell(Command::Bridge { a: C, b: D });
    pool.tell(Command::Close { leg: A });
    let server = &mut pool.servers[0];
    let heard = server.packet("192.0.2.10:8000", port_of(&to_d), &rtp(8, 1, &[4; 160]));
    assert_eq!(heard.unwrap().0, "192.0.2.9:7000".parse().unwrap());
    for leg in [C, D] {
        pool.tell(Command::Close { leg });
    }
    assert_eq!([A, C, D].map(|leg| received(&pool, leg)), [Some(1), Some(1), Some(1)]);
    assert!(pool.client.is_empty() && pool.servers[0].server.is_empty());
}

/// rtpengine does it for some.
#[test]
fn who_is_sent_on_over_a_server_of_another_make_comes_to_us_with_the_new_party() {
    let mut pool = Pool { is_foreign: true, ..Pool::new(&[1]) };
    pool.pass(Duration::from_secs(30));
    transferred(&mut pool);
    assert_eq!([A, C].map(|leg| pool.carriers[&leg]), [Carrier::Us; 2]);
    assert_eq!(pool.local.last().map(String::as_str), Some("Bridge"));
    let displaced = |leg| {
        let is_it = |e: &&Event| matches!(e, Event::Displaced { leg: l } if *l == leg);
        pool.events.iter().filter(is_it).count()
    };
    assert_eq!([A, C].map(displaced), [1, 1]);
    assert_eq!(pool.running(), [0]);
}

/// A call that is parked and taken up: who takes it up is joined with who waits before anything is
/// said to it.
#[test]
fn a_leg_that_is_joined_before_it_is_described_hears_who_is_beside_us() {
    let mut pool = Pool::new(&[1]);
    pool.open();
    pool.accept(B, SdpKind::Offer, &phone(8, 6000, "0", ""));
    pool.describe(B, SdpKind::Answer, None);
    pool.local.clear();
    pool.accept(A, SdpKind::Offer, BROWSER);
    pool.tell(Command::Bridge { a: B, b: A });
    assert!(pool.local.is_empty(), "nobody beside us knows of it: {:?}", pool.local);
    pool.describe(A, SdpKind::Answer, Some(B));
    assert_eq!(pool.local, ["Open", "Accept", "Bridge", "Describe"]);
    assert_eq!([A, B].map(|leg| pool.carriers[&leg]), [Carrier::Us; 2]);
}

/// The same where who waits is on a server, and its new party turns out to be beside us.
#[test]
fn a_leg_that_is_joined_and_stays_beside_us_fetches_who_is_on_a_server() {
    let mut pool = Pool::new(&[1]);
    pool.call();
    let late = LegId(77);
    pool.tell(Command::Open { leg: late, profile: Profile::Rtp(SrtpPolicy::Off) });
    pool.tell(Command::Bridge { a: late, b: B });
    assert!(pool.local.is_empty(), "{:?}", pool.local);
    pool.describe(late, SdpKind::Offer, None);
    assert_eq!(pool.local.last().map(String::as_str), Some("Describe"));
    assert!(pool.local.contains(&"Bridge".to_owned()), "{:?}", pool.local);
    assert_eq!([late, B].map(|leg| pool.carriers[&leg]), [Carrier::Us; 2]);
    let displaced = |e: &Event| matches!(e, Event::Displaced { leg } if *leg == B);
    assert!(pool.events.iter().any(displaced));
}

#[test]
fn without_a_healthy_server_calls_stay_beside_us() {
    let mut pool = Pool::new(&[1]);
    pool.dead.push(0);
    pool.pass(Duration::from_secs(10));
    pool.open();
    pool.accept(A, SdpKind::Offer, BROWSER);
    pool.describe(B, SdpKind::Offer, Some(A));
    assert_eq!(pool.local, ["Open", "Open", "Accept", "Describe"]);
}

/// Two calls, each on a server of its own; the phones of both are joined by a transfer.
#[test]
fn legs_of_two_servers_come_to_us_to_be_joined_and_are_offered_anew() {
    let mut pool = Pool::new(&[1, 1]);
    let mut calls = Vec::new();
    // The pool chooses by chance: until both servers have one.
    while pool.running().contains(&0) {
        let number = 2 * calls.len() as u64 + 10;
        let [a, b] = [LegId(number), LegId(number + 1)];
        for leg in [a, b] {
            pool.tell(Command::Open { leg, profile: Profile::Rtp(SrtpPolicy::Off) });
        }
        pool.tell(Command::RefuseVideo { leg: b });
        let before = pool.running();
        pool.accept(a, SdpKind::Offer, &phone(7, 5000, "0", ""));
        pool.describe(b, SdpKind::Offer, Some(a)).expect("an offer");
        pool.accept(b, SdpKind::Answer, &phone(8, 6000, "0", "a=recvonly\r\n"));
        pool.describe(a, SdpKind::Answer, Some(b)).expect("an answer");
        pool.tell(Command::Bridge { a, b });
        let on = (0..2).find(|on| pool.running()[*on] > before[*on]).expect("a server");
        calls.push((on, a, b));
    }
    assert!(pool.local.is_empty(), "{:?}", pool.local);
    let first = calls[0];
    let other = *calls.iter().find(|(on, ..)| *on != first.0).expect("a call on the other one");
    pool.tell(Command::Bridge { a: first.2, b: other.2 });
    let moved = ["Open", "RefuseVideo", "Accept", "Describe", "Answered"];
    let expected: Vec<&str> = moved.iter().chain(&moved).chain(&["Bridge"]).copied().collect();
    assert_eq!(pool.local, expected);
    let displaced = |leg| {
        let is_it = |e: &&Event| matches!(e, Event::Displaced { leg: l } if *l == leg);
        pool.events.iter().filter(is_it).count()
    };
    assert_eq!([first.2, other.2].map(displaced), [1, 1]);
    assert_eq!([first.2, other.2].map(|leg| pool.carriers[&leg]), [Carrier::Us; 2]);
    // The calls over there end with those who stayed in them, and have figures.
    let running: u64 = pool.running().iter().sum();
    for leg in [first.1, other.1] {
        pool.tell(Command::Close { leg });
        assert!(pool.events.iter().any(|e| matches!(e, Event::Closed { leg: l, .. } if *l == leg)));
    }
    assert_eq!(pool.running().iter().sum::<u64>(), running - 2);
    // From here on it is all ours.
    pool.local.clear();
    pool.tell(Command::Describe { leg: first.2, kind: SdpKind::Offer, peer: Some(other.2) });
    assert_eq!(pool.local, ["Describe"]);
}

/// Who is put through to a sound of ours hears it here.
#[test]
fn a_leg_that_is_played_to_comes_to_us() {
    let mut pool = Pool::new(&[1]);
    pool.call();
    pool.tell(Command::Play { leg: A, playback: Playback::Echo });
    assert_eq!(pool.local, ["Open", "Accept", "Describe", "Answered", "Play"]);
    assert!(pool.events.iter().any(|e| matches!(e, Event::Displaced { leg: A })));
}

#[test]
fn a_server_that_dies_ends_its_calls_and_gets_no_new_ones() {
    let mut pool = Pool::new(&[1, 1]);
    pool.call();
    let on = pool.running().iter().position(|calls| *calls == 1).unwrap();
    pool.dead.push(on);
    pool.pass(Duration::from_secs(5));
    assert_eq!(pool.lost(), [A, B]);
    pool.tell(Command::Close { leg: A });
    pool.tell(Command::Close { leg: B });
    assert!(pool.client.is_empty());
    for _ in 0..10 {
        pool.call();
        pool.tell(Command::Close { leg: A });
        pool.tell(Command::Close { leg: B });
    }
    assert_eq!(pool.servers[1 - on].server.counters().calls_started, 10);
    pool.dead.clear();
    pool.pass(Duration::from_secs(5));
    assert!(pool.client.counters().servers.iter().all(|server| server.is_healthy));
}

/// It dies between the last check and the call.
#[test]
fn a_new_call_that_gets_no_answer_goes_to_another_server() {
    let mut pool = Pool::new(&[1000, 1]);
    pool.open();
    pool.accept(A, SdpKind::Offer, BROWSER);
    pool.dead.push(0);
    assert_eq!(pool.describe(B, SdpKind::Offer, Some(A)), None);
    pool.pass(Duration::from_secs(3));
    assert!(pool.events.iter().any(|e| matches!(e, Event::Described { leg: B, .. })));
    assert_eq!(pool.running()[1], 1);
}

#[test]
fn shares_follow_the_weights() {
    let mut pool = Pool::new(&[3, 1]);
    for _ in 0..200 {
        pool.call();
        pool.tell(Command::Close { leg: A });
        pool.tell(Command::Close { leg: B });
    }
    let started: Vec<u64> =
        pool.servers.iter().map(|world| world.server.counters().calls_started).collect();
    assert!((120..=180).contains(&started[0]), "{started:?}");
}

#[test]
fn only_the_server_that_was_asked_can_answer() {
    let mut pool = Pool::new(&[1, 1]);
    pool.dead = vec![0, 1];
    pool.now += Duration::from_secs(2);
    pool.client.handle_timeout(pool.now);
    let mut asked = Vec::new();
    while let ClientOutput::Send { server, bytes } = pool.client.poll_output() {
        let cookie = String::from_utf8_lossy(&bytes).split(' ').next().unwrap().to_owned();
        asked.push((server, cookie));
    }
    for (server, cookie) in &asked {
        let forged = format!("{cookie} d6:result4:ponge");
        pool.client.handle_reply(pool.now, 1 - server, forged.as_bytes());
    }
    pool.pass(Duration::from_secs(3));
    assert!(pool.client.counters().servers.iter().all(|server| !server.is_healthy));
}

/// Words for what was told of quality, in order.
fn told(pool: &mut Pool) -> Vec<String> {
    let word = |event: &Event| match event {
        Event::Quality { leg, sample } => {
            let (mos, lost) = (sample.mos.map(|mos| mos.hundredths()), sample.packets_lost);
            Some(format!("{} {} {lost} {mos:?}", leg.0, sample.packets_received))
        }
        Event::Silent { leg, when } => Some(format!("{} silent {when:?}", leg.0)),
        Event::Heard { leg } => Some(format!("{} heard", leg.0)),
        _ => None,
    };
    let words = pool.events.iter().filter_map(word).collect();
    pool.events.clear();
    words
}

/// Figures are asked for, and say who is not heard and how good it is.
#[test]
fn a_call_elsewhere_is_watched_from_its_answer_on() {
    let mut pool = Pool::new(&[1]);
    pool.call();
    pool.pass(Duration::from_secs(10));
    assert!(told(&mut pool).is_empty(), "nobody has answered yet");
    for leg in [A, B] {
        pool.tell(Command::Answered { leg });
    }
    pool.pass(Duration::from_secs(4));
    assert_eq!(told(&mut pool), ["1 silent Start", "2 silent Start"]);
    let port = pool.servers[0].sockets.values().next().unwrap().port();
    let talk = |pool: &mut Pool, seqs: std::ops::Range<u16>| {
        for seq in seqs {
            pool.servers[0].packet("192.0.2.8:6000", port, &rtp(0, seq, &[1; 160]));
        }
        pool.servers[0].pass(Duration::from_secs(6));
    };
    talk(&mut pool, 1..51);
    pool.pass(Duration::from_secs(5));
    let words = told(&mut pool);
    assert_eq!(words.last().map(String::as_str), Some("2 heard"), "{words:?}");
    assert!(words[0].starts_with("2 50 0 Some(4"), "{words:?}");
    talk(&mut pool, 61..101);
    pool.pass(Duration::from_secs(5));
    let words = told(&mut pool);
    assert!(words[0].starts_with("2 40 10 Some("), "a fifth was lost: {words:?}");
    let mos: u32 = words[0].split(['(', ')']).nth(1).unwrap().parse().unwrap();
    assert!((100..350).contains(&mos), "{mos}");
    pool.pass(Duration::from_secs(5));
    assert_eq!(told(&mut pool), ["2 silent Running"]);
    pool.tell(Command::Close { leg: A });
    pool.tell(Command::Close { leg: B });
    let closed = pool.events.iter().find_map(|event| match event {
        Event::Closed { leg: B, stats } => Some(*stats),
        _ => None,
    });
    let stats = closed.unwrap();
    assert_eq!((stats.packets_received, stats.packets_lost, stats.silences), (90, 10, 2));
    assert_eq!(stats.mos_lowest.map(|m| u32::from(m.hundredths())), Some(mos));
    assert!(stats.mos > stats.mos_lowest);
    assert!(pool.client.is_empty());
}

#[test]
fn a_server_records_its_calls() {
    let mut pool = Pool::new(&[1]);
    pool.call();
    let ask = |pool: &mut Pool, leg, wish| {
        let now = pool.now;
        pool.client.record(now, leg, wish, 7);
        pool.settle();
        pool.recorded.pop().expect("an answer")
    };
    let refused = |why: &str| RecordingReply::Refused(why.to_owned());
    assert_eq!(
        ask(&mut pool, LegId(9), RemoteRecording::Start),
        refused("no media server carries the call")
    );
    let started = ask(&mut pool, B, RemoteRecording::Start);
    let RecordingReply::Done(Some(file)) = started else { panic!("{started:?}") };
    assert!(file.ends_with(".wav"));
    assert_eq!(ask(&mut pool, A, RemoteRecording::Pause), RecordingReply::Done(None));
    assert_eq!(ask(&mut pool, A, RemoteRecording::Stop), RecordingReply::Done(None));
    pool.servers[0].is_disk_full = true;
    assert_eq!(
        ask(&mut pool, A, RemoteRecording::Start),
        refused("the media server says: the disk is full")
    );
    pool.dead.push(0);
    let now = pool.now;
    pool.client.record(now, A, RemoteRecording::Start, 8);
    pool.pass(Duration::from_secs(5));
    assert_eq!(pool.recorded.pop(), Some(refused("the media server does not answer")));
}

#[test]
fn a_server_plays_both_sides_that_they_are_recorded() {
    let mut pool = Pool::new(&[1]);
    pool.call();
    let clip = Arc::new(Clip::tone(1400.0, Duration::from_millis(250), 0.15));
    let lay = |leg, layer| {
        let sound = LaidSound::Clip { clip: clip.clone(), repeat: false };
        Command::Overlay { leg, layer, laid: Some(Laid { sound, replaces: false }) }
    };
    let told = pool.told.len();
    for leg in [A, B] {
        pool.tell(lay(leg, Layer::Notice));
    }
    let played = std::mem::take(&mut pool.servers[0].loads);
    assert_eq!(played.len(), 2);
    for sound in played {
        let SoundSource::Blob(wav) = sound else { panic!("no blob: {sound:?}") };
        assert_eq!(Clip::read_wav(&wav[..]).unwrap().at(8000), clip.at(8000));
    }
    assert_eq!(pool.told.len(), told, "sounds are not for ladders");
    // A leg that is with us hears it from us.
    pool.tell(lay(LegId(9), Layer::Notice));
    assert_eq!(pool.local.last().map(String::as_str), Some("Overlay"));
    // What else is laid over a call means nothing to a server.
    pool.tell(lay(A, Layer::Music));
    assert!(pool.servers[0].loads.is_empty());
}

/// The source that a phone names is not its media server's, which may send with another.
#[test]
fn a_restart_of_ice_and_the_sources_of_sound_are_between_the_server_and_its_peers() {
    let mut pool = Pool::new(&[1]);
    pool.call();
    let ufrag = |sdp: &str| {
        sdp.lines().find_map(|l| l.strip_prefix("a=ice-ufrag:").map(str::to_owned)).unwrap()
    };
    let events = "a=rtpmap:126 telephone-event/8000\r\na=ssrc:5 cname:phone\r\n";
    let again = phone(8, 6000, "0 126", events);
    pool.accept(B, SdpKind::Offer, &again);
    let before = pool.describe(A, SdpKind::Offer, Some(B)).expect("an offer");
    assert!(!before.contains("a=ssrc:5"));
    pool.accept(A, SdpKind::Answer, &BROWSER.replace("111 0 110 126", "0 126"));
    pool.describe(B, SdpKind::Answer, Some(A)).expect("an answer");
    pool.tell(Command::RestartIce { leg: A });
    pool.accept(B, SdpKind::Offer, &again);
    let after = pool.describe(A, SdpKind::Offer, Some(B)).expect("an offer");
    assert_ne!(ufrag(&before), ufrag(&after));
}

/// Fax and text over a server: what passes as it is passes there as it does beside us.
#[test]
#[expect(clippy::too_many_lines, reason = "one call, from sound to fax and back")]
fn a_call_over_a_server_becomes_a_fax_and_a_call_again_with_text_beside_it() {
    let mut pool = Pool::new(&[1]);
    for leg in [A, B] {
        pool.tell(Command::Open { leg, profile: Profile::Rtp(SrtpPolicy::Off) });
    }
    let names = "a=rtpmap:98 t140/1000\r\n";
    let sound =
        |host, port, text| phone(host, port, "0", &format!("m=text {text} RTP/AVP 98\r\n{names}"));
    let fax = |host, port, text| {
        let sound = sound(host, port, text);
        sound.replace("m=audio", "m=image").replace("RTP/AVP 0", "udptl t38")
    };
    let at = |sdp: &str, kind: &str| {
        let line = sdp.lines().find(|l| l.starts_with(&format!("m={kind} "))).expect(sdp);
        line.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    pool.accept(A, SdpKind::Offer, &sound(7, 5000, 5010));
    let to_b = pool.describe(B, SdpKind::Offer, Some(A)).expect("an offer");
    pool.accept(B, SdpKind::Answer, &sound(8, 6000, 6010));
    let to_a = pool.describe(A, SdpKind::Answer, Some(B)).expect("an answer");
    pool.tell(Command::Bridge { a: A, b: B });
    let passes = |pool: &mut Pool, from: &str, port: u16, bytes: &[u8], to: &str| {
        let sent = pool.servers[0].packet(from, port, bytes).map(|(at, _)| at.to_string());
        assert_eq!(sent.as_deref(), Some(to));
    };
    passes(
        &mut pool,
        "192.0.2.7:5000",
        at(&to_a, "audio"),
        &rtp(0, 1, &[1; 160]),
        "192.0.2.8:6000",
    );
    passes(&mut pool, "192.0.2.7:5010", at(&to_a, "text"), &rtp(98, 1, b"a"), "192.0.2.8:6010");
    passes(&mut pool, "192.0.2.8:6010", at(&to_b, "text"), &rtp(98, 1, b"b"), "192.0.2.7:5010");
    // The fax machine that was called offers T.38 in the place of sound.
    pool.accept(B, SdpKind::Offer, &fax(8, 6020, 6010));
    let accepted = pool.events.iter().rev().find_map(|event| match event {
        Event::Accepted { leg: B, accepted } => Some(*accepted),
        _ => None,
    });
    assert!(accepted.is_some_and(|a| a.only_fax && a.passed_news), "{accepted:?}");
    let to_a = pool.describe(A, SdpKind::Offer, Some(B)).expect("an offer");
    pool.accept(A, SdpKind::Answer, &fax(7, 5020, 5010));
    let to_b = pool.describe(B, SdpKind::Answer, Some(A)).expect("an answer");
    passes(&mut pool, "192.0.2.7:5020", at(&to_a, "image"), &[0, 1, 2, 3], "192.0.2.8:6020");
    passes(&mut pool, "192.0.2.8:6020", at(&to_b, "image"), &[0, 1, 2, 3], "192.0.2.7:5020");
    passes(&mut pool, "192.0.2.7:5010", at(&to_a, "text"), &rtp(98, 2, b"c"), "192.0.2.8:6010");
    // A page takes minutes, in which one side says nothing.
    for n in 0..30_u8 {
        pool.servers[0].pass(Duration::from_secs(10));
        passes(&mut pool, "192.0.2.7:5020", at(&to_a, "image"), &[0, 2, n], "192.0.2.8:6020");
    }
    assert_eq!((pool.running(), pool.lost()), (vec![1], vec![]));
    pool.accept(B, SdpKind::Offer, &sound(8, 6000, 6010));
    let to_a = pool.describe(A, SdpKind::Offer, Some(B)).expect("an offer");
    pool.accept(A, SdpKind::Answer, &sound(7, 5000, 5010));
    let to_b = pool.describe(B, SdpKind::Answer, Some(A)).expect("an answer");
    passes(
        &mut pool,
        "192.0.2.7:5000",
        at(&to_a, "audio"),
        &rtp(0, 9, &[1; 160]),
        "192.0.2.8:6000",
    );
    passes(
        &mut pool,
        "192.0.2.8:6000",
        at(&to_b, "audio"),
        &rtp(0, 9, &[1; 160]),
        "192.0.2.7:5000",
    );
    // A fax that the far side refuses leaves the sound as it was.
    pool.accept(B, SdpKind::Offer, &fax(8, 6020, 6010));
    pool.describe(A, SdpKind::Offer, Some(B)).expect("an offer");
    pool.tell(Command::Rollback { leg: A });
    pool.tell(Command::Rollback { leg: B });
    passes(
        &mut pool,
        "192.0.2.7:5000",
        at(&to_a, "audio"),
        &rtp(0, 10, &[1; 160]),
        "192.0.2.8:6000",
    );
    for leg in [A, B] {
        pool.tell(Command::Close { leg });
    }
    assert!(pool.client.is_empty() && pool.servers[0].server.is_empty());
}
