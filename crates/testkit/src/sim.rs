//! The simulated world: one node, one media shard, phones, and the wire between them.

mod apps;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{Flow, LegId, Rng, Transport};
use crosspoint_call::router::Plan;
use crosspoint_call::{Cause, Party, Playback};
use crosspoint_connectors::rtcengine::RtcEngineConfig;
use crosspoint_connectors::sip_ua::SipUaConfig;
use crosspoint_media::control::{Command, Event as MediaEvent, Profile};
use crosspoint_media::shard::{Output as MediaOutput, Shard, ShardConfig};
use crosspoint_node::{CallReport, Input, Node, NodeConfig, Output};
use crosspoint_sip::Message;
use crosspoint_sip::digest::UserHa1;

use crate::app::App;
use crate::link::{Link, Wire};
use crate::phone::{CallState, Manner, Phone};

pub use apps::AppId;

/// A phone of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PhoneId(usize);

/// See the module.
#[derive(Debug)]
pub struct Sim {
    seed: u64,
    start: Instant,
    now: Instant,
    rng: Rng,
    node: Node,
    shard: Shard,
    phones: Vec<Phone>,
    apps: Vec<App>,
    /// Opened so far.
    sockets: u64,
    /// Legs of apps, whose media is up as soon as it is agreed.
    browsers: BTreeSet<LegId>,
    users: BTreeMap<Arc<str>, UserHa1>,
    wire: Wire,
    reports: Vec<CallReport>,
    ladder: String,
}

const REALM: &str = "crosspoint";

impl Sim {
    /// # Panics
    /// When the media shard cannot be set up.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let seed = std::env::var("SIM_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(seed);
        let mut rng = Rng::from_u64(seed);
        let plan =
            Plan { builtins: [("600".to_owned(), Playback::Echo)].into(), ..Plan::default() };
        let sip = SipUaConfig {
            realm: REALM.to_owned(),
            domain: "gateway.test".to_owned(),
            advertised: gateway().ip(),
            trunks: vec![],
            endpoint: Default::default(),
            registrar: Default::default(),
            max_legs: 1000,
            max_registrations: 10,
            resume_window: Duration::from_secs(30),
            user_agent: "Crosspoint".to_owned(),
        };
        let mut node_seed = [0; 32];
        rng.fill(&mut node_seed);
        let start = some_instant();
        let apps = RtcEngineConfig::new("gateway.test", (start, 1_700_000_000));
        let node = Node::new(NodeConfig { sip, apps, plan, max_calls: 500, seed: node_seed });
        let shard = Shard::new(shard_config(), rng.fork());
        Self {
            seed,
            start,
            now: start,
            wire: Wire::new(Link::GOOD, rng.fork()),
            rng,
            node,
            shard,
            phones: vec![],
            apps: vec![],
            sockets: 0,
            browsers: BTreeSet::new(),
            users: BTreeMap::new(),
            reports: vec![],
            ladder: String::new(),
        }
    }

    /// Changes how bad the network is, from now on.
    pub fn set_link(&mut self, link: Link) {
        self.wire.set_link(link);
    }

    /// A phone whose user may sign in.
    pub fn add_phone(&mut self, user: &str) -> PhoneId {
        let index = self.phones.len();
        self.know(user);
        let address = SocketAddr::from(([10, 0, 1, u8::try_from(index + 1).unwrap_or(255)], 5060));
        self.phones.push(Phone::new(user, user, address, gateway(), self.rng.fork()));
        PhoneId(index)
    }

    /// Makes sure that there is such a user.
    fn know(&mut self, user: &str) {
        self.users.insert(user.into(), UserHa1::new(user, REALM, user));
        let plan = Plan {
            builtins: [("600".to_owned(), Playback::Echo)].into(),
            pull: ["601".to_owned()].into(),
            users: self.users.keys().map(|u| (u.to_string(), u.clone())).collect(),
            ..Plan::default()
        };
        let users = self.users.clone();
        self.node.handle_input(self.now, Input::Users { users, plan: Box::new(plan) });
    }

    /// A phone that is signed in.
    ///
    /// # Panics
    /// When signing in fails.
    pub fn add_registered_phone(&mut self, user: &str) -> PhoneId {
        let id = self.add_phone(user);
        self.act(id, Phone::register);
        self.run_until(|sim| sim.phones[id.0].is_registered);
        id
    }

    pub fn set_manner(&mut self, id: PhoneId, manner: Manner) {
        self.phones[id.0].manner = manner;
    }

    pub fn invite(&mut self, id: PhoneId, target: &str) {
        self.act(id, |phone, now| phone.invite(now, target, true));
    }

    pub fn invite_without_offer(&mut self, id: PhoneId, target: &str) {
        self.act(id, |phone, now| phone.invite(now, target, false));
    }

    pub fn cancel(&mut self, id: PhoneId) {
        self.act(id, Phone::cancel);
    }

    pub fn pick_up(&mut self, id: PhoneId) {
        self.act(id, Phone::pick_up);
    }

    pub fn hang_up(&mut self, id: PhoneId) {
        self.act(id, Phone::hang_up);
    }

    /// Sends a new offer: `sendonly` holds, `sendrecv` resumes.
    pub fn reoffer(&mut self, id: PhoneId, direction: &str) {
        self.act(id, |phone, now| phone.reoffer(now, direction));
    }

    pub fn press(&mut self, id: PhoneId, digit: char) {
        self.act(id, |phone, now| phone.press(now, digit));
    }

    pub fn refer(&mut self, id: PhoneId, target: &str) {
        self.act(id, |phone, now| phone.refer(now, target));
    }

    /// The gateway is told to stop.
    pub fn shut_down(&mut self) {
        self.node.handle_input(self.now, Input::Shutdown);
        self.settle();
    }

    #[must_use]
    pub fn state(&self, id: PhoneId) -> CallState {
        self.phones[id.0].state()
    }

    /// The direction that the gateway last asked this phone for.
    #[must_use]
    pub fn asked_direction(&self, id: PhoneId) -> Option<&str> {
        self.phones[id.0].asked_direction.as_deref()
    }

    #[must_use]
    pub fn digits(&self, id: PhoneId) -> &str {
        &self.phones[id.0].digits
    }

    /// What a transferor was told.
    #[must_use]
    pub fn notified(&self, id: PhoneId) -> &[String] {
        &self.phones[id.0].notified
    }

    /// How the calls ended that are over.
    #[must_use]
    pub fn endings(&self) -> Vec<(Party, Cause)> {
        self.reports.iter().map(|r| (r.record.ended.by, r.record.ended.cause)).collect()
    }

    /// How often each leg of the calls that are over was not heard, front first.
    #[must_use]
    pub fn silences(&self) -> Vec<Vec<u32>> {
        let of_call = |report: &CallReport| {
            let legs = report.record.legs.iter();
            let of_leg = |leg| report.media.iter().find(|(id, _)| id == leg);
            legs.filter_map(of_leg).map(|(_, stats)| stats.silences).collect()
        };
        self.reports.iter().map(of_call).collect()
    }

    fn act(&mut self, id: PhoneId, what: impl FnOnce(&mut Phone, Instant)) {
        what(&mut self.phones[id.0], self.now);
        self.settle();
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.next().is_some_and(|at| at <= until) {
            self.step();
        }
        self.now = until;
    }

    /// # Panics
    /// When it does not come about within ten minutes.
    pub fn run_until(&mut self, wanted: impl Fn(&Self) -> bool) {
        let limit = self.now + Duration::from_secs(600);
        while !wanted(self) {
            let has_time = self.next().is_some_and(|at| at <= limit);
            assert!(has_time, "never came about; {}", self.story());
            self.step();
        }
    }

    /// Runs until only registrations are left to expire, then checks the invariants.
    ///
    /// # Panics
    /// When an invariant does not hold.
    pub fn run_to_idle(&mut self) {
        let limit = self.now + Duration::from_secs(900);
        while self.next().is_some_and(|at| at <= limit) {
            self.step();
        }
        self.now = limit;
        self.check();
    }

    /// What must hold when everything has come to rest.
    ///
    /// # Panics
    /// When it does not; the message carries seed and call flow.
    pub fn check(&self) {
        let counters = self.node.counters();
        let mut faults = Vec::new();
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                faults.push(what.to_owned());
            }
        };
        expect(counters.calls == 0 && counters.legs == 0, "calls or legs are left");
        expect(counters.sip_transactions == 0, "transactions are left");
        expect(counters.panics == 0, "a call broke");
        expect(self.shard.is_empty(), "media is left");
        expect(self.node.is_idle(), "a record is missing");
        expect(
            self.reports.len() as u64 == counters.calls_started,
            "not every call has exactly one record",
        );
        let ids: BTreeSet<&str> = self.reports.iter().map(|r| r.record.gcid.as_str()).collect();
        expect(ids.len() == self.reports.len(), "two records share an id");
        for app in &self.apps {
            expect(app.live().is_empty(), &format!("the app of {} is still in a call", app.user));
        }
        for phone in &self.phones {
            let is_over = matches!(phone.state(), CallState::Idle | CallState::Over(_));
            expect(is_over, &format!("{} is still in a call", phone.user));
            expect(phone.transactions() == 0, "a phone's transactions are left");
        }
        assert!(faults.is_empty(), "{faults:?}; {}", self.story());
    }

    fn story(&self) -> String {
        format!("seed {}, replay with SIM_SEED={}\n{}", self.seed, self.seed, self.ladder)
    }

    fn next(&mut self) -> Option<Instant> {
        self.settle();
        let node = match self.node.poll_output() {
            Output::Timeout(at) => at,
            other => unreachable!("settle took everything, yet {other:?}"),
        };
        let shard = match self.shard.poll_output() {
            MediaOutput::Timeout(at) => at,
            other => unreachable!("settle took everything, yet {other:?}"),
        };
        let phones = self.phones.iter_mut().filter_map(|p| p.settle(self.now).1).min();
        [node, shard, phones, self.wire.next()].into_iter().flatten().min()
    }

    fn step(&mut self) {
        let Some(next) = self.next() else { return };
        self.now = self.now.max(next);
        while let Some(datagram) = self.wire.take_due(self.now) {
            self.deliver(datagram.from, datagram.to, datagram.bytes);
        }
        self.node.handle_input(self.now, Input::Timeout);
        self.shard.handle_timeout(self.now);
        for phone in &mut self.phones {
            phone.handle_timeout(self.now);
        }
        self.settle();
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        if to == gateway() {
            let flow = Flow {
                transport: Transport::Udp,
                connection: None,
                local: gateway(),
                remote: from,
            };
            if let Ok(message) = Message::parse(bytes) {
                let message = Box::new(message);
                self.node.handle_input(self.now, Input::Message { flow, message });
            }
        } else if let Some(phone) = self.phones.iter_mut().find(|p| p.address == to) {
            phone.handle_datagram(self.now, from, bytes);
        }
        self.settle();
    }

    /// Moves what everybody says to whom it is for, until all are silent.
    fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            loop {
                match self.node.poll_output() {
                    Output::Transmit(t) => self.send(t.flow.local, t.flow.remote, &t.bytes),
                    Output::Media(command) => self.command_media(*command),
                    Output::Report(report) => self.reports.push(*report),
                    Output::Binding(_) => {}
                    Output::AppSend { connection, text } => self.app_hears(connection, &text),
                    Output::AppClose { connection, .. } => self.app_is_cut(connection),
                    Output::Lookup(lookup) => self.look_up(self.now, &lookup),
                    // Nobody here signs in elsewhere.
                    Output::Resolve { .. } => {}
                    Output::Timeout(_) => break,
                }
                is_quiet = false;
            }
            loop {
                match self.shard.poll_output() {
                    MediaOutput::Bind { socket, .. } => {
                        self.shard.handle_bound(self.now, socket, true);
                    }
                    MediaOutput::Event(event) => self.media_said(event),
                    // Sound goes nowhere here; tests of media have peers of their own.
                    MediaOutput::Transmit { .. } | MediaOutput::Unbind { .. } => {}
                    MediaOutput::Timeout(_) => break,
                }
                is_quiet = false;
            }
            is_quiet &= !self.settle_apps();
            for index in 0..self.phones.len() {
                let address = self.phones[index].address;
                let (sent, _) = self.phones[index].settle(self.now);
                for (to, bytes) in sent {
                    is_quiet = false;
                    self.send(address, to, &bytes);
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    fn command_media(&mut self, command: Command) {
        if let Command::Open { leg, profile: Profile::WebRtc } = &command {
            self.browsers.insert(*leg);
        }
        self.shard.handle_command(self.now, command);
    }

    fn media_said(&mut self, event: MediaEvent) {
        let agreed = match &event {
            MediaEvent::Accepted { leg, .. } if self.browsers.remove(leg) => Some(*leg),
            _ => None,
        };
        self.node.handle_input(self.now, Input::Media(Box::new(event)));
        if let Some(leg) = agreed {
            let connected = MediaEvent::Connected { leg };
            self.node.handle_input(self.now, Input::Media(Box::new(connected)));
        }
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &Bytes) {
        let text = String::from_utf8_lossy(bytes);
        let line = text.lines().next().unwrap_or_default();
        let at = (self.now - self.start).as_millis();
        let _ = writeln!(self.ladder, "{at:>8} ms  {from} -> {to}  {line}");
        self.wire.send(self.now, from, to, bytes);
    }
}

fn gateway() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 5060))
}

fn shard_config() -> ShardConfig {
    ShardConfig {
        browser_addresses: vec![SocketAddr::from(([10, 0, 0, 1], 8443))],
        rtp_address: gateway().ip(),
        rtp_bind: gateway().ip(),
        rtp_ports: (10_000, 20_000),
        ice_lite: true,
        // The phones are mute.
        rtp_timeout: Duration::from_secs(86_400),
        consent_timeout: Duration::from_secs(10),
        max_legs: 1000,
        dtls: Arc::new(dimpl::Config::builder().build().expect("the defaults are good")),
        certificate: dimpl::certificate::generate_self_signed_certificate()
            .expect("a certificate can be made"),
    }
}

fn some_instant() -> Instant {
    Instant::now()
}
