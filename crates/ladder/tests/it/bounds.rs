//! No storm makes ladders grow, and none pushes out what matters.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{CallId, Flow, LegId, Private, Rng, Transmit, Transport, WallClock};
use crosspoint_ladder::{Front, LadderConfig, Ladders, Note, Protocol, Sample, What};

pub(crate) const SMALL: LadderConfig = LadderConfig {
    calls: 100,
    bytes_per_call: 20_000,
    bytes: 400_000,
    bytes_per_message: 1000,
    tells: false,
    rtp_packets: 10,
    capture_bytes: 40_000,
};

pub(crate) struct World {
    pub(crate) ladders: Ladders,
    pub(crate) now: Instant,
}

impl World {
    pub(crate) fn new(config: LadderConfig) -> Self {
        let now = {
            #[expect(clippy::disallowed_methods, reason = "any instant will do")]
            Instant::now()
        };
        Self {
            ladders: Ladders::new(config, WallClock::new(now, Duration::ZERO), Rng::from_u64(1)),
            now,
        }
    }

    pub(crate) fn comes(&mut self, call_id: &str, text: &str, opens: bool) {
        self.now += Duration::from_millis(1);
        let bytes = Bytes::from(format!("{text}\r\nCall-ID: {call_id}\r\n\r\n"));
        self.ladders.sip_came(self.now, &flow(), (call_id.as_bytes(), &bytes), opens);
    }

    pub(crate) fn goes(&mut self, call_id: &str, text: &str) {
        self.now += Duration::from_millis(1);
        let bytes = Bytes::from(format!("{text}\r\nCall-ID: {call_id}\r\n\r\n"));
        let transmit = Transmit { flow: flow(), bytes };
        self.ladders.sip_goes(self.now, &transmit, |_| None);
    }

    /// A call that was let in.
    pub(crate) fn call(&mut self, number: u64) -> String {
        let id = format!("call-{number}");
        self.comes(&id, "INVITE sip:bob@here SIP/2.0", true);
        let gcid = self.ladders.gcid_of_dialog(id.as_bytes()).expect("it opens one").clone();
        let front = Front {
            leg: LegId(number),
            call_id: Some(id.as_bytes()),
            protocol: Protocol::Sip,
            from: Private("alice".to_owned()),
            to: Private("bob".to_owned()),
            user: None,
            trunk: None,
        };
        self.ladders.begin(self.now, CallId(number), &gcid, front);
        gcid.as_str().to_owned()
    }
}

fn flow() -> Flow {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    Flow { transport: Transport::Udp, connection: None, local: address(5060), remote: address(9) }
}

#[test]
fn strangers_who_call_in_vain_push_out_each_other_alone() {
    let mut world = World::new(SMALL);
    let gcids: Vec<String> = (1..=50).map(|number| world.call(number)).collect();
    for stranger in 0..5000 {
        let id = format!("stranger-{stranger}");
        world.comes(&id, "INVITE sip:00900123@here SIP/2.0", true);
        world.goes(&id, "SIP/2.0 407 Proxy Authentication Required");
        assert!(world.ladders.counters().calls <= 100);
    }
    assert!(gcids.iter().all(|gcid| world.ladders.of(gcid).is_some()));
    let counters = world.ladders.counters();
    assert_eq!((counters.calls, counters.evicted), (75, 4975));
}

#[test]
fn a_storm_of_calls_stays_within_its_memory() {
    let mut world = World::new(SMALL);
    let text = "x".repeat(3000);
    let mut last = String::new();
    for number in 1..=1000 {
        last = world.call(number);
        for _ in 0..20 {
            world.comes(&format!("call-{number}"), &text, false);
        }
        let counters = world.ladders.counters();
        assert!(counters.bytes <= SMALL.bytes && counters.calls <= SMALL.calls, "{counters:?}");
    }
    let ladder = world.ladders.of(&last).expect("the newest is there");
    for entry in &ladder.entries {
        let What::Message(message) = &entry.what else { continue };
        assert!(message.bytes.len() <= SMALL.bytes_per_message);
    }
    assert!(
        ladder.entries.iter().any(
            |entry| matches!(&entry.what, What::Message(m) if m.length > m.bytes.len() + 2000)
        )
    );
}

#[test]
fn a_long_call_keeps_how_it_began_and_what_was_last() {
    let mut world = World::new(SMALL);
    let gcid = world.call(1);
    for number in 0..2000 {
        world.comes("call-1", &format!("INFO number={number}"), false);
    }
    let ladder = world.ladders.of(&gcid).expect("it is there");
    let texts: Vec<String> = ladder
        .entries
        .iter()
        .filter_map(|entry| match &entry.what {
            What::Message(message) => Some(String::from_utf8_lossy(&message.bytes).into_owned()),
            What::Note(_) => None,
        })
        .collect();
    assert!(texts[0].starts_with("INVITE") && texts[1].starts_with("INFO number=0"));
    assert!(texts[texts.len() - 1].starts_with("INFO number=1999"));
    assert_eq!(texts.len() as u64 + ladder.dropped.0, 2001);
    assert!(world.ladders.counters().bytes <= SMALL.bytes_per_call);
}

/// Hours of figures become coarser, and the worst of them stays.
#[test]
fn figures_of_a_whole_day_are_kept_in_little_room() {
    let mut world = World::new(SMALL);
    let gcid = world.call(1);
    let (began, mut worst) = (world.now, 0);
    for number in 0..17_280_u16 {
        world.now += Duration::from_secs(5);
        let loss = if number == 7777 { 4321 } else { number % 100 };
        worst = worst.max(loss);
        let sample = Sample {
            at: world.now,
            line: 9,
            spans: 1,
            mos: Some(430),
            loss,
            loss_at_peer: None,
            jitter_us: 900,
            round_trip_us: None,
        };
        world.ladders.sample(LegId(1), sample);
    }
    let samples = world.ladders.of(&gcid).expect("it is there").samples;
    assert!((200..=512).contains(&samples.len()), "{}", samples.len());
    assert_eq!(samples.iter().map(|s| s.loss).max(), Some(worst));
    assert!(samples.iter().all(|s| s.line == 0));
    assert!(samples[0].at < began + Duration::from_secs(3600));
    assert!(world.ladders.counters().bytes < 64 * 1024);
}

#[test]
fn nothing_is_kept_where_nothing_is_wanted() {
    let mut world = World::new(LadderConfig { calls: 0, ..SMALL });
    world.comes("a", "INVITE sip:bob@here SIP/2.0", true);
    world.goes("a", "SIP/2.0 404 Not Found");
    world.ladders.note(world.now, LegId(1), Note::Connected);
    assert_eq!(world.ladders.counters(), crosspoint_ladder::Counters::default());
    assert!(world.ladders.recent(10).is_empty());
}

/// What is told leaves in the order in which it came.
#[test]
fn a_collector_is_told_everything_once() {
    let mut world = World::new(LadderConfig { tells: true, ..SMALL });
    let gcid = world.call(1);
    world.goes("call-1", "SIP/2.0 100 Trying");
    let told = world.ladders.take_told();
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|told| told.gcid.as_str() == gcid));
    assert!(world.ladders.take_told().is_empty());
}
