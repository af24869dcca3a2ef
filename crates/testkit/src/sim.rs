//! The simulated world: one node, one media shard, phones, and the wire between them.

mod apps;
mod terminals;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{Flow, Guard, GuardConfig, LegId, Rng, Transport, WallClock};
use crosspoint_call::router::{
    Features, NumberForm, Plan, Refusal, Rewrite, RouteRequest, TrunkRoute,
};
use crosspoint_call::{Cause, Party, Playback, SrtpPolicy};
use crosspoint_connectors::rtcengine::RtcEngineConfig;
use crosspoint_connectors::sip_ua::{Hop, SipUaConfig, TrunkConfig};
use crosspoint_connectors::webterminal::WebTerminalConfig;
use crosspoint_ladder::LadderConfig;
use crosspoint_media::control::{Command, Event as MediaEvent, Profile};
use crosspoint_media::shard::{Output as MediaOutput, Shard, ShardConfig};
use crosspoint_node::{CallReport, Input, Node, NodeConfig, Output};
use crosspoint_sip::Message;
use crosspoint_sip::digest::UserHa1;

use crate::app::App;
use crate::link::{Link, Wire};
use crate::phone::{CallState, Manner, Phone};
use crate::terminal::Terminal;

pub use apps::AppId;
pub use terminals::TerminalId;

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
    plan: Plan,
    apps: Vec<App>,
    terminals: Vec<Terminal>,
    /// Opened so far.
    sockets: u64,
    /// Legs of apps, whose media is up as soon as it is agreed.
    browsers: BTreeSet<LegId>,
    users: BTreeMap<Arc<str>, UserHa1>,
    wire: Wire,
    /// As the host of the node has one.
    guard: Guard,
    reports: Vec<CallReport>,
    /// Refusals whose reasons were compared with what the router says of the same question.
    explained: usize,
    ladder: String,
}

const REALM: &str = "crosspoint";
/// What the clock on the wall shows when a story begins.
const START_TIME: Duration = Duration::from_secs(1_700_000_000);

impl Sim {
    /// # Panics
    /// When the media shard cannot be set up.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_trunks(seed, &[])
    }

    /// A world with trunks, each a phone at its address that anybody may be behind.
    ///
    /// # Panics
    /// When the media shard cannot be set up.
    #[must_use]
    pub fn with_trunks(seed: u64, names: &[&str]) -> Self {
        let seed = std::env::var("SIM_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(seed);
        let ladders =
            std::env::var("SIM_LADDERS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
        let mut rng = Rng::from_u64(seed);
        let plan = Plan {
            builtins: [("600".to_owned(), Playback::Echo)].into(),
            pull: ["601".to_owned()].into(),
            features: Features {
                pickup: Some("**".to_owned()),
                group_pickup: Some("*8".to_owned()),
                pickup_groups: vec![["alice", "bob", "carol"].map(Arc::from).into()],
                ..Features::default()
            },
            trunks: names.iter().map(|name| trunk_route(name)).collect(),
            ..Plan::default()
        };
        let trunk = |(index, name): (usize, &&str)| trunk_config(name, address_of(index));
        let sip = SipUaConfig {
            realm: REALM.to_owned(),
            domain: "gateway.test".to_owned(),
            advertised: gateway().ip(),
            trunks: names.iter().enumerate().map(trunk).collect(),
            endpoint: Default::default(),
            registrar: Default::default(),
            max_legs: 1000,
            max_registrations: 10,
            resume_window: Duration::from_secs(30),
            user_agent: "Crosspoint".to_owned(),
            stir: None,
        };
        let mut node_seed = [0; 32];
        rng.fill(&mut node_seed);
        let start = some_instant();
        let clock = WallClock::new(start, START_TIME);
        let apps = RtcEngineConfig::new("gateway.test", clock);
        let node = Node::new(NodeConfig {
            sip,
            apps,
            terminals: WebTerminalConfig::default(),
            plan: plan.clone(),
            sound: BTreeMap::new(),
            max_calls: 500,
            ladder: LadderConfig { calls: ladders, ..LadderConfig::default() },
            seed: node_seed,
        });
        let shard = Shard::new(shard_config(), rng.fork());
        let phone = |(index, name): (usize, &&str)| {
            Phone::new(name, name, address_of(index), gateway(), rng.fork())
        };
        let phones = names.iter().enumerate().map(phone).collect();
        Self {
            seed,
            start,
            now: start,
            wire: Wire::new(Link::GOOD, rng.fork()),
            guard: Guard::new(GuardConfig::default()),
            rng,
            node,
            shard,
            phones,
            plan,
            apps: vec![],
            terminals: vec![],
            sockets: 0,
            browsers: BTreeSet::new(),
            users: BTreeMap::new(),
            reports: vec![],
            explained: 0,
            ladder: String::new(),
        }
    }

    /// From now on a phone adds these headers to all it says, these lines to its descriptions, and
    /// this host to the Via of its requests.
    pub fn gossip(&mut self, id: PhoneId, headers: &str, attributes: &str, proxy: &str) {
        let gossip = (headers.to_owned(), attributes.to_owned(), proxy.to_owned());
        self.phones[id.0].gossip = gossip;
    }

    /// From now on what is said to a phone is kept, and nothing of before.
    pub fn listen_in(&mut self, id: PhoneId) {
        self.phones[id.0].heard = Some(String::new());
    }

    /// What was said to a phone since.
    #[must_use]
    pub fn heard(&self, id: PhoneId) -> &str {
        self.phones[id.0].heard.as_deref().unwrap_or_default()
    }

    #[must_use]
    pub fn has_trunks(&self) -> bool {
        !self.plan.trunks.is_empty()
    }

    /// The node, for what it says of itself.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Where a phone is.
    #[must_use]
    pub fn address(&self, id: PhoneId) -> SocketAddr {
        self.phones[id.0].address
    }

    /// How many sources are banned.
    #[must_use]
    pub fn banned(&self) -> usize {
        self.guard.banned()
    }

    /// The user of a phone has forgotten its password.
    pub fn mistype(&mut self, id: PhoneId) {
        self.phones[id.0].password = "wrong".to_owned();
    }

    /// Changes how bad the network is, from now on.
    pub fn set_link(&mut self, link: Link) {
        self.wire.set_link(link);
    }

    /// A phone whose user may sign in.
    pub fn add_phone(&mut self, user: &str) -> PhoneId {
        let index = self.phones.len();
        self.know(user);
        let address = address_of(index);
        self.phones.push(Phone::new(user, user, address, gateway(), self.rng.fork()));
        PhoneId(index)
    }

    /// Makes sure that there is such a user.
    fn know(&mut self, user: &str) {
        self.users.insert(user.into(), UserHa1::new(user, REALM, user));
        self.plan.users.insert(user.to_owned(), user.into());
        self.tell_plan();
    }

    /// Changes the rules by which calls are routed.
    pub fn rule(&mut self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.plan);
        self.tell_plan();
    }

    fn tell_plan(&mut self) {
        let (users, plan) = (self.users.clone(), Box::new(self.plan.clone()));
        self.node.handle_input(self.now, Input::Users { users, plan });
    }

    /// Whoever is behind a trunk.
    ///
    /// # Panics
    /// When there is no trunk of the name.
    #[must_use]
    pub fn trunk(&self, name: &str) -> PhoneId {
        let index = self.plan.trunks.iter().position(|trunk| *trunk.name == *name);
        PhoneId(index.expect("the world was made with this trunk"))
    }

    /// How many places the calls that are over tried, in the order of their ends.
    #[must_use]
    pub fn attempts(&self) -> Vec<u32> {
        self.reports.iter().map(|report| report.record.attempts).collect()
    }

    /// Who sent the calls on that are over, and why, in the order of their ends.
    #[must_use]
    pub fn ways(&self) -> Vec<String> {
        let words = |report: &CallReport| {
            let places: Vec<String> =
                report.record.diverted.iter().map(ToString::to_string).collect();
            places.join(", ")
        };
        self.reports.iter().map(words).collect()
    }

    /// Where parties of the calls that are over waited, in the order of the calls' ends.
    #[must_use]
    pub fn parked(&self) -> Vec<String> {
        self.reports.iter().map(|report| report.record.parked.join("; ")).collect()
    }

    /// By which kinds of rules calls were refused.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refusal> {
        self.reports.iter().filter_map(|report| report.record.refusal).collect()
    }

    /// How many refusals had the reasons that the router gives to the same question.
    #[must_use]
    pub fn explained(&self) -> usize {
        self.explained
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

    /// Sends a new offer with these sections: fax, say.
    pub fn reoffer_saying(&mut self, id: PhoneId, sections: &str) {
        self.act(id, |phone, now| phone.reoffer_saying(now, sections));
    }

    /// Calls with these sections instead of sound.
    pub fn invite_saying(&mut self, id: PhoneId, target: &str, sections: &str) {
        self.act(id, |phone, now| phone.invite_saying(now, target, sections));
    }

    /// What a phone answers when it is offered fax; a phone that was never told refuses.
    pub fn take_fax(&mut self, id: PhoneId, sections: &'static str) {
        self.phones[id.0].fax = Some(sections);
    }

    /// How a phone's re-offers were answered: the status, and the kinds of media in use.
    #[must_use]
    pub fn reanswers(&self, id: PhoneId) -> Vec<(u16, &str)> {
        self.phones[id.0].reanswers.iter().map(|(status, kinds)| (*status, &**kinds)).collect()
    }

    /// The kinds of media that a phone was offered last.
    #[must_use]
    pub fn offered(&self, id: PhoneId) -> &str {
        &self.phones[id.0].offered
    }

    pub fn press(&mut self, id: PhoneId, digit: char) {
        self.act(id, |phone, now| phone.press(now, digit));
    }

    pub fn refer(&mut self, id: PhoneId, target: &str) {
        self.act(id, |phone, now| phone.refer(now, target));
    }

    /// Asks for the far party of this phone's call to be joined with that of another's: in truth
    /// two phones here are two lines of one.
    ///
    /// # Panics
    /// When the other is in no call.
    pub fn refer_joining(&mut self, id: PhoneId, other: PhoneId) {
        let named = self.phones[other.0].dialog_named().expect("the other phone is in a call");
        self.act(id, |phone, now| phone.refer_joining(now, &named));
    }

    /// The gateway takes no new calls, which are to come back after this time, or takes them again.
    pub fn drain(&mut self, retry_after: Option<Duration>) {
        self.node.handle_input(self.now, Input::Drain(retry_after));
        self.settle();
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

    /// Sends a text.
    pub fn send_text(&mut self, id: PhoneId, target: &str, body: &str) {
        self.act(id, |phone, now| phone.text(now, target, body));
    }

    /// Watches somebody, for so many seconds.
    pub fn subscribe(&mut self, id: PhoneId, event: &str, target: &str, expires: u32) {
        self.act(id, |phone, now| phone.subscribe(now, event, target, expires));
    }

    /// Says how the phone's user is, for so many seconds.
    pub fn publish(&mut self, id: PhoneId, document: &str, expires: u32) {
        self.act(id, |phone, now| phone.publish(now, document, expires));
    }

    /// Signs a phone in that was added before.
    pub fn sign_in(&mut self, id: PhoneId) {
        self.act(id, Phone::register);
    }

    /// How many watch somebody.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.node.counters().subscriptions
    }

    /// Where the last call to a phone was before, latest first.
    #[must_use]
    pub fn diversions(&self, id: PhoneId) -> &[String] {
        &self.phones[id.0].diversions
    }

    /// The texts that a phone was sent.
    #[must_use]
    pub fn texts(&self, id: PhoneId) -> &[String] {
        &self.phones[id.0].texts
    }

    /// How a phone's texts and subscriptions were answered.
    #[must_use]
    pub fn outcomes(&self, id: PhoneId) -> &[u16] {
        &self.phones[id.0].outcomes
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
        for terminal in &self.terminals {
            let said = format!("the terminal of {} is still in a call", terminal.user);
            expect(terminal.live().is_empty(), &said);
        }
        for phone in &self.phones {
            let is_over = matches!(phone.state(), CallState::Idle | CallState::Over(_));
            expect(is_over, &format!("{} is still in a call", phone.user));
            expect(phone.transactions() == 0, "a phone's transactions are left");
        }
        assert!(faults.is_empty(), "{faults:?}; {}", self.story());
    }

    /// Who said what to whom so far.
    #[must_use]
    pub fn story(&self) -> String {
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
            if !self.guard.hears(self.now, from) {
                return;
            }
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
                    Output::Report(report) => self.reported(*report),
                    Output::Conduct(flow, conduct) => {
                        let is_datagram = flow.connection.is_none();
                        self.guard.note(self.now, flow.remote, is_datagram, conduct);
                    }
                    Output::Binding(_)
                    | Output::CallChanged(_)
                    | Output::Trunk(_)
                    | Output::KeepText(_)
                    | Output::ForgetText(_) => {}
                    Output::AppSend { connection, text } => self.app_hears(connection, &text),
                    Output::AppClose { connection, .. } => self.app_is_cut(connection),
                    Output::TerminalOpened { connection, resume, is_resumed } => {
                        self.terminal_is_open(connection, resume, is_resumed);
                    }
                    Output::TerminalSend { connection, message } => {
                        self.terminal_hears(connection, *message);
                    }
                    Output::TerminalClose { connection, .. } => self.terminal_is_cut(connection),
                    Output::Lookup(lookup) => self.look_up(self.now, &lookup),
                    // Nobody here signs in elsewhere.
                    Output::Resolve { .. } => {}
                    // Signatures are not looked at here: no trunk is configured to have them.
                    Output::Verify { .. } => {}
                    Output::Timeout(_) => break,
                }
                is_quiet = false;
            }
            loop {
                match self.shard.poll_output() {
                    MediaOutput::Bind { socket, .. } => {
                        self.shard.handle_bound(self.now, socket, true);
                    }
                    MediaOutput::Handshake(work) => {
                        self.shard.handle_handshake(self.now, work.run());
                    }
                    MediaOutput::Event(event) => self.media_said(event),
                    // Sound goes nowhere here; tests of media have peers of their own.
                    MediaOutput::Transmit { .. }
                    | MediaOutput::Unbind { .. }
                    | MediaOutput::Connect { .. }
                    | MediaOutput::TimeBrowsers => {}
                    MediaOutput::Timeout(_) => break,
                }
                is_quiet = false;
            }
            is_quiet &= !self.settle_apps();
            is_quiet &= !self.settle_terminals();
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

    /// What a refused call's record says is what `route-test` says to the same question.
    fn reported(&mut self, report: CallReport) {
        let record = &report.record;
        if record.refusal.is_some() {
            let request = RouteRequest {
                user: record.from.user.clone(),
                trunk: record.trunk.clone(),
                from: record.from.address.clone(),
                to: record.to.clone(),
                scope: record.scope.clone(),
                diverted: record.diverted.clone(),
                ..RouteRequest::default()
            };
            let said = self.node.explain(self.now, &request).why();
            assert_eq!(record.why, said, "{}", self.story());
            self.explained += 1;
        }
        self.reports.push(report);
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

/// Where the phone of a number is.
fn address_of(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, u8::try_from(index + 1).unwrap_or(255)], 5060))
}

fn trunk_config(name: &str, address: SocketAddr) -> TrunkConfig {
    let (local, host) = (gateway(), address.ip().to_string());
    let flow = Flow { transport: Transport::Udp, connection: None, local, remote: address };
    let hop = Hop { flow, host: host.clone(), priority: 0, weight: 1 };
    TrunkConfig::new(name, &host, vec![hop])
}

fn trunk_route(name: &str) -> TrunkRoute {
    TrunkRoute {
        name: name.into(),
        prefixes: vec![],
        is_default: false,
        form: NumberForm::Dialled,
        rewrite: Rewrite::default(),
        profile: crosspoint_call::Profile::Rtp(SrtpPolicy::Off),
        video: false,
        texts: false,
        bypass: false,
    }
}

fn gateway() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 5060))
}

fn shard_config() -> ShardConfig {
    ShardConfig {
        browser_addresses: vec![SocketAddr::from(([10, 0, 0, 1], 8443))],
        browser_tcp_addresses: vec![],
        rtp_address: gateway().ip(),
        rtp_bind: gateway().ip(),
        rtp_ports: (10_000, 20_000),
        ice_lite: true,
        // The phones are mute.
        rtp_timeout: Duration::from_secs(86_400),
        consent_timeout: Duration::from_secs(10),
        max_legs: 1000,
        dtls: Arc::new(crosspoint_media::dtls::config().expect("the defaults are good")),
        certificate: dimpl::certificate::generate_self_signed_certificate()
            .expect("a certificate can be made"),
    }
}

fn some_instant() -> Instant {
    Instant::now()
}
