//! The node: connectors, calls, router and media control as one deterministic machine.
//!
//! Start at [`Node::handle_input`]. Each input is one mutation of one part; `settle` then moves
//! what that part has to say on to the others until nobody has anything left to say.

mod apps;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::{
    CallId, ConnectionId, Flow, Gcid, LegId, RegistrationId, Rng, TimerTable, Transmit, Transport,
};
use crosspoint_call::router::{self, Device, Devices, Outcome, Plan, RouteRequest};
use crosspoint_call::{
    CallRecord, Cause, IncomingOffer, Input as CallInput, LegCommand, LegEvent, MediaPath,
    Output as CallOutput, Profile, Reach, Replaces, SrtpPolicy,
};
use crosspoint_connectors::rtcengine::{
    self, Denial, Grant, Lookup, RemoteAccount, RtcEngine, RtcEngineConfig,
};
use crosspoint_connectors::sip_ua::{self, SipUa, SipUaConfig};
use crosspoint_media::control::{self, LegStats};
use crosspoint_sip::digest::UserHa1;
use crosspoint_sip::registrar::{Change, Registrar};
use crosspoint_sip::{Message, Response, Uri};

use crate::direct::DirectMedia;
use crate::media_control;
use crate::switchboard::Switchboard;

/// What a node is made with.
#[derive(Debug)]
pub struct NodeConfig {
    pub sip: SipUaConfig,
    pub apps: RtcEngineConfig,
    pub plan: Plan,
    /// Calls at once; more are refused with `Cause::Overload`.
    pub max_calls: usize,
    pub seed: [u8; 32],
}

/// What happens to a node.
#[derive(Debug)]
pub enum Input {
    Message {
        flow: Flow,
        message: Box<Message>,
    },
    /// A message that did not parse, with the answer it deserves.
    Malformed {
        flow: Flow,
        answer: Option<Box<Response>>,
    },
    ConnectionClosed(ConnectionId),
    TransportFailed(Flow),
    Media(Box<control::Event>),
    /// An app's socket; `origin` is the page's, when it named one.
    AppOpened {
        connection: ConnectionId,
        origin: Option<String>,
    },
    AppText {
        connection: ConnectionId,
        text: String,
    },
    AppClosed(ConnectionId),
    /// The answer to `Output::Lookup`.
    Granted {
        connection: ConnectionId,
        grant: Result<Box<Grant>, Denial>,
    },
    /// A session token is worth nothing any more.
    Revoked(Arc<str>),
    /// The answer to `Output::Resolve`: how to reach the registrar, if at all.
    Resolved {
        registration: RegistrationId,
        flow: Option<Flow>,
    },
    /// Who may sign in, and where numbers lead.
    Users {
        users: BTreeMap<Arc<str>, UserHa1>,
        plan: Box<Plan>,
    },
    /// A binding that was kept over a restart.
    RestoreBinding {
        user: Arc<str>,
        contact: Uri,
        flow: Flow,
        expires: Instant,
    },
    /// End every call and take no new ones.
    Shutdown,
    Timeout,
}

/// What a node wants done.
#[derive(Debug)]
pub enum Output {
    Transmit(Transmit),
    Media(Box<control::Command>),
    AppSend {
        connection: ConnectionId,
        text: String,
    },
    /// Close an app's socket after what was sent.
    AppClose {
        connection: ConnectionId,
        code: u16,
        reason: &'static str,
    },
    /// What does this token grant?
    Lookup(Box<Lookup>),
    /// Where is this registrar?
    Resolve {
        registration: RegistrationId,
        host: String,
        port: Option<u16>,
        transport: Transport,
    },
    /// A binding to keep or forget.
    Binding(Box<Change>),
    /// A call is over: exactly one for each.
    Report(Box<CallReport>),
    Timeout(Option<Instant>),
}

/// A call's record with what its media was like.
#[derive(Debug)]
pub struct CallReport {
    pub record: CallRecord,
    /// In the order of the record's legs, front first.
    pub media: Vec<(LegId, LegStats)>,
}

/// What a node is doing and has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub sip: sip_ua::Counters,
    pub apps: rtcengine::Counters,
    pub app_clients: usize,
    pub calls: usize,
    pub legs: usize,
    pub bindings: usize,
    pub sip_transactions: usize,
    pub calls_started: u64,
    pub calls_answered: u64,
    pub panics: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Node {
    sip: SipUa,
    apps: RtcEngine,
    /// Sign-ins elsewhere whose registrar is not found yet.
    resolving: BTreeMap<RegistrationId, Box<RemoteAccount>>,
    /// When to look for it again.
    resolve_again: TimerTable<RegistrationId>,
    direct: DirectMedia,
    /// Calls whose media is not ours.
    direct_calls: BTreeSet<CallId>,
    epoch: (Instant, i64),
    switchboard: Switchboard,
    plan: Plan,
    max_calls: usize,
    rng: Rng,
    outputs: VecDeque<Output>,
    /// Records that wait for the figures of their media.
    closing: Vec<(CallReport, BTreeSet<LegId>)>,
    /// Figures of legs that closed while their call goes on: branches that lost.
    closed_early: BTreeMap<LegId, LegStats>,
    started: u64,
    answered: u64,
    is_draining: bool,
}

impl Node {
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        let mut rng = Rng::from_seed(config.seed);
        Self {
            sip: SipUa::new(config.sip, rng.fork()),
            epoch: config.apps.epoch,
            apps: RtcEngine::new(config.apps, rng.fork()),
            resolving: BTreeMap::new(),
            resolve_again: TimerTable::new(),
            direct: DirectMedia::default(),
            direct_calls: BTreeSet::new(),
            switchboard: Switchboard::default(),
            plan: config.plan,
            max_calls: config.max_calls,
            rng,
            outputs: VecDeque::new(),
            closing: Vec::new(),
            closed_early: BTreeMap::new(),
            started: 0,
            answered: 0,
            is_draining: false,
        }
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            sip: self.sip.counters(),
            apps: self.apps.counters(),
            app_clients: self.apps.clients(),
            calls: self.switchboard.len(),
            legs: self.switchboard.legs(),
            bindings: self.sip.registrar().len(),
            sip_transactions: self.sip.transactions(),
            calls_started: self.started,
            calls_answered: self.answered,
            panics: self.switchboard.panics(),
        }
    }

    #[must_use]
    pub fn registrar(&self) -> &Registrar {
        self.sip.registrar()
    }

    /// The global ids of running calls.
    pub fn gcids(&self) -> impl Iterator<Item = &Gcid> {
        self.switchboard.gcids()
    }

    /// True when no call and no record is left: a stopping process may go.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.switchboard.len() == 0 && self.closing.is_empty()
    }

    /// The next thing to do. Call until it gives `Timeout`.
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        let sip = match self.sip.poll_output() {
            sip_ua::Output::Timeout(at) => at,
            sip_ua::Output::Transmit(transmit) => return Output::Transmit(transmit),
            sip_ua::Output::Binding(change) => return Output::Binding(change),
            // `settle` took every one.
            sip_ua::Output::Leg(..) | sip_ua::Output::Registration(..) => None,
        };
        let apps = match self.apps.poll_output() {
            rtcengine::Output::Timeout(at) => at,
            // `settle` took every other.
            _ => None,
        };
        let others = [self.switchboard.next_timeout(), self.resolve_again.next()];
        Output::Timeout([sip, apps].into_iter().chain(others).flatten().min())
    }

    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Message { flow, message } => self.sip.handle_message(now, flow, *message),
            Input::Malformed { flow, answer } => {
                self.sip.handle_malformed(flow, answer.as_deref());
            }
            Input::AppOpened { connection, origin } => {
                self.apps.handle_open(now, connection, origin);
            }
            Input::AppText { connection, text } => self.apps.handle_text(now, connection, &text),
            Input::AppClosed(connection) => self.apps.handle_closed(now, connection),
            Input::Granted { connection, grant } => {
                self.apps.handle_lookup(now, connection, grant.map(|grant| *grant));
            }
            Input::Revoked(session) => self.apps.revoke(now, &session),
            Input::Resolved { registration, flow } => self.resolved(now, registration, flow),
            Input::ConnectionClosed(id) => self.sip.handle_connection_closed(now, id),
            Input::TransportFailed(flow) => self.sip.handle_transport_error(now, &flow),
            Input::Media(event) => self.handle_media(now, *event),
            Input::Users { users, plan } => {
                self.sip.set_users(users);
                self.plan = *plan;
            }
            Input::RestoreBinding { user, contact, flow, expires } => {
                self.sip.restore_binding(user, contact, flow, expires);
            }
            Input::Shutdown => {
                self.is_draining = true;
                self.sip.drain();
                self.apps.drain();
                self.switchboard.end_all(now, Cause::Shutdown);
            }
            Input::Timeout => {
                self.sip.handle_timeout(now);
                self.apps.handle_timeout(now);
                self.switchboard.handle_timeout(now);
                while let Some(registration) = self.resolve_again.pop_due(now) {
                    self.ask_for_registrar(registration);
                }
            }
        }
        self.settle(now);
    }

    fn handle_media(&mut self, now: Instant, event: control::Event) {
        if let control::Event::Closed { leg, stats } = event {
            self.media_closed(leg, stats);
            return;
        }
        let leg = media_control::leg_of(&event);
        if let Some(notice) = media_control::notice(event) {
            self.switchboard.handle_leg(now, leg, CallInput::Media(notice));
        }
    }

    /// Moves what one part says to the others, until all are silent.
    fn settle(&mut self, now: Instant) {
        loop {
            let mut is_quiet = true;
            loop {
                match self.sip.poll_output() {
                    sip_ua::Output::Transmit(t) => self.outputs.push_back(Output::Transmit(t)),
                    sip_ua::Output::Binding(b) => self.outputs.push_back(Output::Binding(b)),
                    sip_ua::Output::Leg(leg, event) => {
                        is_quiet = false;
                        self.leg_said(now, leg, *event);
                    }
                    sip_ua::Output::Registration(id, state) => {
                        is_quiet = false;
                        self.registration_changed(now, id, state);
                    }
                    sip_ua::Output::Timeout(_) => break,
                }
            }
            is_quiet &= !self.settle_apps(now);
            is_quiet &= !self.settle_direct(now);
            while let Some((call, output)) = self.switchboard.poll_output() {
                is_quiet = false;
                self.call_said(now, call, output);
            }
            for leg in self.switchboard.take_orphans() {
                is_quiet = false;
                self.command(now, leg, LegCommand::End(Cause::Internal));
                let close = control::Command::Close { leg };
                self.outputs.push_back(Output::Media(Box::new(close)));
            }
            if is_quiet {
                return;
            }
        }
    }

    fn leg_said(&mut self, now: Instant, leg: LegId, event: LegEvent) {
        let LegEvent::Offer(offer) = event else {
            self.switchboard.handle_leg(now, leg, CallInput::Leg(leg, event));
            return;
        };
        let mut offer = *offer;
        if offer.from.user.is_some() && self.plan.pull.contains(offer.to.expose()) {
            offer.replaces.get_or_insert(Replaces::OwnLatest);
        }
        if let Some(replaces) = offer.replaces.take() {
            return self.take_over(now, leg, &replaces, offer);
        }
        if self.is_draining || self.switchboard.len() >= self.max_calls {
            self.command(now, leg, LegCommand::End(Cause::Overload));
            return;
        }
        self.started += 1;
        let gcid = offer.gcid.clone().unwrap_or_else(|| Gcid::generate(&mut self.rng));
        let path = offer.path;
        let call = self.switchboard.begin(now, gcid, leg, offer);
        if path == MediaPath::Direct {
            self.direct_calls.insert(call);
        }
    }

    /// A leg that joins a running call in the place of another.
    fn take_over(&mut self, now: Instant, new: LegId, replaces: &Replaces, offer: IncomingOffer) {
        let own = |gcid: Option<&Gcid>| {
            let user = offer.from.user.as_deref()?;
            let sides = self.switchboard.sides_of(user);
            let wanted = sides.filter(|(id, _)| gcid.is_none_or(|gcid| gcid == *id));
            wanted.max_by_key(|(_, side)| (side.is_active, side.started)).map(|(_, side)| side.leg)
        };
        let old = match replaces {
            Replaces::Leg(leg) => Some(*leg).filter(|leg| self.switchboard.knows(*leg)),
            Replaces::Own(gcid) => own(Some(gcid)),
            Replaces::OwnLatest => own(None),
        };
        match old {
            Some(old) => self.switchboard.replace(now, old, new, offer),
            None => self.command(now, new, LegCommand::End(Cause::NotFound)),
        }
    }

    /// Each leg belongs to the connector that numbered it.
    fn command(&mut self, now: Instant, leg: LegId, command: LegCommand) {
        if leg.maker() == rtcengine::MAKER {
            self.apps.handle_command(now, leg, command);
        } else {
            self.sip.handle_command(now, leg, command);
        }
    }

    fn call_said(&mut self, now: Instant, call: CallId, output: CallOutput) {
        match output {
            CallOutput::Command(leg, command) => self.command(now, leg, command),
            CallOutput::Media(request) if self.direct_calls.contains(&call) => {
                self.direct.handle_request(request);
            }
            CallOutput::Media(request) => {
                let command = media_control::command(request);
                self.outputs.push_back(Output::Media(Box::new(command)));
            }
            CallOutput::Route(request) => self.route(now, call, &request),
            CallOutput::Answered => self.call_answered(call),
            CallOutput::Changed => self.tell_of_calls(now, call),
            CallOutput::Done(record) => {
                self.tell_of_calls(now, call);
                self.call_over(*record);
                // What it asked of its media comes before.
                self.direct_calls.remove(&call);
            }
            // The switchboard keeps the time.
            CallOutput::Timeout(_) => {}
        }
    }

    fn call_answered(&mut self, call: CallId) {
        self.answered += 1;
        if !self.direct_calls.contains(&call) {
            let told = self.switchboard.legs_of(call).map(|leg| control::Command::Answered { leg });
            self.outputs.extend(told.map(|command| Output::Media(Box::new(command))));
        }
    }

    fn route(&mut self, now: Instant, call: CallId, request: &RouteRequest) {
        let decision = router::route(request, &self.plan, &SignedIn(&self.sip, &self.apps));
        let targets = match &decision.outcome {
            Outcome::Fork(targets) => targets.as_slice(),
            Outcome::Builtin(_) | Outcome::Refused(_) => &[],
        };
        let mut leg_for = |reach: &Reach| match reach {
            Reach::Binding(id) if id.maker() == rtcengine::MAKER => self.apps.next_leg_id(),
            Reach::Binding(_) | Reach::Trunk { .. } | Reach::Registration { .. } => {
                self.sip.next_leg_id()
            }
        };
        let legs = targets.iter().map(|target| leg_for(&target.reach)).collect();
        self.switchboard.handle(now, call, CallInput::Routed { decision, legs });
    }

    fn call_over(&mut self, record: CallRecord) {
        let mut report = CallReport { record, media: vec![] };
        let mut waiting = BTreeSet::new();
        for leg in report.record.legs.clone() {
            match self.closed_early.remove(&leg) {
                Some(stats) => report.media.push((leg, stats)),
                None => {
                    waiting.insert(leg);
                }
            }
        }
        self.closing.push((report, waiting));
        self.hand_out_reports();
    }

    fn hand_out_reports(&mut self) {
        while let Some(at) = self.closing.iter().position(|(_, waiting)| waiting.is_empty()) {
            let (report, _) = self.closing.swap_remove(at);
            self.outputs.push_back(Output::Report(Box::new(report)));
        }
    }

    /// The media of a leg is gone; the record is complete with the last.
    fn media_closed(&mut self, leg: LegId, stats: LegStats) {
        let Some(at) = self.closing.iter().position(|(_, waiting)| waiting.contains(&leg)) else {
            self.closed_early.insert(leg, stats);
            // Legs of a call that broke are claimed by no record.
            if self.closed_early.len() > 8 * self.max_calls.max(1) {
                self.closed_early.pop_first();
            }
            return;
        };
        let (report, waiting) = &mut self.closing[at];
        waiting.remove(&leg);
        report.media.push((leg, stats));
        self.hand_out_reports();
    }
}

/// The router's view of who is signed in where.
struct SignedIn<'s>(&'s SipUa, &'s RtcEngine);

fn app(binding: crosspoint_base::BindingId) -> Device {
    Device { binding, profile: Profile::WebRtc }
}

impl Devices for SignedIn<'_> {
    fn devices_of(&self, user: &str) -> Vec<Device> {
        let device = |(binding, is_browser): (_, bool)| Device {
            binding,
            profile: if is_browser { Profile::WebRtc } else { Profile::Rtp(SrtpPolicy::Off) },
        };
        let apps = self.1.devices_of(user).map(app);
        self.0.bindings_of(user).map(device).chain(apps).collect()
    }

    fn members_of(&self, network: &str, name: &str) -> Vec<Device> {
        self.1.members_of(network, name).map(app).collect()
    }

    fn owners_of(&self, registration: RegistrationId) -> Vec<Device> {
        self.1.owners_of(registration).map(app).collect()
    }
}
