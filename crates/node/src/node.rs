//! The node: connectors, calls, router and media control as one deterministic machine.
//!
//! Start at [`Node::handle_input`]. Each input is one mutation of one part; `settle` then moves
//! what that part has to say on to the others until nobody has anything left to say.

mod apps;
mod ladder;
mod parking;
mod terminals;
mod texts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{
    CallId, Conduct, ConnectionId, Flow, Gcid, LegId, RegistrationId, Rng, Secret, TimerTable,
    Transmit, Transport, WallClock,
};
use crosspoint_call::router::{
    self, Decision, Device, Meter, Pickup, Plan, Refusal, RouteRequest, Snapshot, Target,
    TrunkState, Usage,
};
use crosspoint_call::{
    CallRecord, Cause, IncomingOffer, Input as CallInput, LegCommand, LegEvent, MediaPath,
    MediaRequest, Output as CallOutput, Profile, Reach, Replaces, Role, SrtpPolicy, View,
};
use crosspoint_connectors::rtcengine::{
    self, Denial, Grant, Lookup, RemoteAccount, RtcEngine, RtcEngineConfig,
};
use crosspoint_connectors::sip_ua::{
    self, Certified, ForwardReport, Hop, SipUa, SipUaChanges, SipUaConfig, TrunkNews, TrunkReport,
    Unproved, VerificationId,
};
use crosspoint_connectors::webterminal::{self, Closing, WebTerminalConfig, WebTerminals};
use crosspoint_ladder::{LadderConfig, Ladders, Message as Said, Note, Protocol};
use crosspoint_media::control::{self, LegStats};
use crosspoint_media::negotiation::SoundRules;
use crosspoint_sdp::Session;
use crosspoint_sip::digest::UserHa1;
use crosspoint_sip::registrar::{Change, Registrar};
use crosspoint_sip::{Message, Response, Uri};
use crosspoint_stir::{Claim, Proof};

use crate::direct::{DirectMedia, OurSession};
use crate::ledger::Ledger;
use crate::media_control;
use crate::postbox::{KeptText, Postbox};
use crate::switchboard::Switchboard;
use ladder::{Caller, Hearing};

pub use terminals::TerminalInput;

/// What a node is made with.
#[derive(Debug)]
pub struct NodeConfig {
    pub sip: SipUaConfig,
    pub apps: RtcEngineConfig,
    pub terminals: WebTerminalConfig,
    pub plan: Plan,
    /// Which sound calls over a trunk may have, by its name.
    pub sound: BTreeMap<Arc<str>, SoundRules>,
    /// What is kept of what was said in calls.
    pub ladder: LadderConfig,
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
    /// An ICMP message says that a datagram did not arrive, and quotes how it began.
    Unreachable {
        remote: SocketAddr,
        quoted: Bytes,
    },
    /// A TLS peer has shown a certificate that an authority of ours signed.
    Certified {
        connection: ConnectionId,
        certified: Certified,
    },
    /// Where a trunk is, best first: the answer to `TrunkChange::Locate`.
    Located {
        trunk: Arc<str>,
        hops: Vec<Hop>,
    },
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
    /// A stream of the call API, and what comes over it.
    Terminal(TerminalInput),
    /// A session token is worth nothing any more.
    Revoked(Arc<str>),
    /// The answer to `Output::Resolve`: how to reach the registrar, if at all.
    Resolved {
        registration: RegistrationId,
        flow: Option<Flow>,
    },
    /// The answer to `Output::Verify`.
    Verified {
        id: VerificationId,
        outcome: Result<Box<Proof>, Unproved>,
    },
    /// Who may sign in, and where numbers lead.
    Users {
        users: BTreeMap<Arc<str>, UserHa1>,
        plan: Box<Plan>,
    },
    /// What the configuration says now.
    Change(Box<Changes>),
    /// New calls are refused, and to come back after this time; with none they are taken again.
    Drain(Option<Duration>),
    /// A binding that was kept over a restart.
    RestoreBinding {
        user: Arc<str>,
        contact: Uri,
        flow: Flow,
        expires: Instant,
    },
    /// A text that was kept over a restart.
    RestoreText(Box<KeptText>),
    /// An operator ends a call.
    EndCall(CallId),
    /// Media of the call that goes past us is needed here.
    BringMedia(CallId),
    /// End every call and take no new ones.
    Shutdown,
    Timeout,
}

/// What may change while calls run.
#[derive(Debug)]
pub struct Changes {
    pub users: BTreeMap<Arc<str>, UserHa1>,
    pub plan: Plan,
    pub sip: SipUaChanges,
    pub sound: BTreeMap<Arc<str>, SoundRules>,
    pub max_calls: usize,
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
    /// The stream is a terminal's; `resume` is for its next one, should this one break.
    TerminalOpened {
        connection: ConnectionId,
        resume: Secret<String>,
        is_resumed: bool,
    },
    TerminalSend {
        connection: ConnectionId,
        message: Box<webterminal::Message>,
    },
    /// Close a terminal's stream after what was sent.
    TerminalClose {
        connection: ConnectionId,
        why: Closing,
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
    /// Is this signature of a caller good?
    Verify {
        id: VerificationId,
        claim: Box<Claim>,
    },
    /// Somebody who is certain to be at the far end of this flow did this.
    Conduct(Flow, Conduct),
    /// A binding to keep or forget.
    Binding(Box<Change>),
    /// A trunk does better or worse, or its names have to be looked up.
    Trunk(Box<TrunkNews>),
    /// A text to keep until its user is there.
    KeepText(Box<KeptText>),
    /// It has arrived, or is too old.
    ForgetText(String),
    /// Who takes part in a call, how, or how well, is not what it was.
    CallChanged(Box<View>),
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
    pub terminals: webterminal::Counters,
    /// Terminals of the call API, those in their resume window included.
    pub terminals_open: usize,
    pub calls: usize,
    pub legs: usize,
    pub bindings: usize,
    /// Users who watch others.
    pub subscriptions: usize,
    /// Texts that wait for their users.
    pub texts: usize,
    pub sip_transactions: usize,
    pub calls_started: u64,
    pub calls_answered: u64,
    pub panics: u64,
    /// Calls that a rule refused, in the order of `Refusal::ALL`.
    pub refusals: [u64; Refusal::ALL.len()],
    /// Calls for help.
    pub emergencies: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Node {
    sip: SipUa,
    apps: RtcEngine,
    terminals: WebTerminals,
    /// Sign-ins elsewhere whose registrar is not found yet.
    resolving: BTreeMap<RegistrationId, Box<RemoteAccount>>,
    /// When to look for it again.
    resolve_again: TimerTable<RegistrationId>,
    postbox: Postbox,
    texts_out: BTreeMap<u64, Box<texts::TextOut>>,
    /// New and old voice messages elsewhere, as a PBX told us.
    mailboxes: BTreeMap<Arc<str>, (u32, u32)>,
    direct: DirectMedia,
    /// What phones were told while their media went past us, until it is here.
    known_sessions: BTreeMap<LegId, OurSession>,
    /// Calls whose media is not ours.
    direct_calls: BTreeSet<CallId>,
    clock: WallClock,
    switchboard: Switchboard,
    /// Who waits where: the call, by the key of the slot.
    parked: BTreeMap<Arc<str>, CallId>,
    ledger: Ledger,
    plan: Plan,
    /// What trunks allow, and the legs over them whose media is not open yet.
    sound: BTreeMap<Arc<str>, SoundRules>,
    ruled: BTreeMap<LegId, SoundRules>,
    max_calls: usize,
    ladders: Ladders,
    hearing: Hearing,
    rng: Rng,
    outputs: VecDeque<Output>,
    /// Records that wait for the figures of their media.
    closing: Vec<(CallReport, BTreeSet<LegId>)>,
    /// Figures of legs that closed while their call goes on: branches that lost.
    closed_early: BTreeMap<LegId, LegStats>,
    started: u64,
    answered: u64,
    intake: Intake,
}

/// Whether new calls are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intake {
    Open,
    /// Only calls for help.
    Draining,
    Closed,
}

impl Node {
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        let mut rng = Rng::from_seed(config.seed);
        let mut sip = SipUa::new(config.sip, rng.fork());
        let clock = config.apps.clock;
        sip.start(clock.set_at());
        Self {
            sip,
            clock,
            apps: RtcEngine::new(config.apps, rng.fork()),
            terminals: WebTerminals::new(config.terminals, clock, rng.fork()),
            resolving: BTreeMap::new(),
            resolve_again: TimerTable::new(),
            postbox: Postbox::default(),
            texts_out: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            direct: DirectMedia::default(),
            known_sessions: BTreeMap::new(),
            direct_calls: BTreeSet::new(),
            switchboard: Switchboard::default(),
            parked: BTreeMap::new(),
            ledger: Ledger::default(),
            plan: config.plan,
            sound: config.sound,
            ruled: BTreeMap::new(),
            max_calls: config.max_calls,
            ladders: Ladders::new(config.ladder, clock, rng.fork()),
            hearing: Hearing::default(),
            rng,
            outputs: VecDeque::new(),
            closing: Vec::new(),
            closed_early: BTreeMap::new(),
            started: 0,
            answered: 0,
            intake: Intake::Open,
        }
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            sip: self.sip.counters(),
            apps: self.apps.counters(),
            app_clients: self.apps.clients(),
            terminals: self.terminals.counters(),
            terminals_open: self.terminals.terminals(),
            calls: self.switchboard.len(),
            legs: self.switchboard.legs(),
            bindings: self.sip.registrar().len(),
            subscriptions: self.sip.subscriptions(),
            texts: self.postbox.len(),
            sip_transactions: self.sip.transactions(),
            calls_started: self.started,
            calls_answered: self.answered,
            panics: self.switchboard.panics(),
            refusals: self.ledger.refusals(),
            emergencies: self.ledger.emergencies(),
        }
    }

    #[must_use]
    pub fn registrar(&self) -> &Registrar {
        self.sip.registrar()
    }

    /// Every registration that a PBX takes through us.
    #[must_use]
    pub fn forward_reports(&self, now: Instant) -> Vec<ForwardReport> {
        self.sip.forward_reports(now)
    }

    /// Browsers and apps that are signed in, and the sides of calls that they have.
    #[must_use]
    pub fn web_clients(&self) -> (usize, usize) {
        let (browsers, legs) = self.sip.browsers();
        let clients = browsers + self.apps.clients() + self.terminals.terminals();
        (clients, legs + self.apps.legs() + self.terminals.legs())
    }

    /// How every trunk does.
    #[must_use]
    pub fn trunk_reports(&self, now: Instant) -> Vec<TrunkReport> {
        self.sip.trunk_reports(now)
    }

    /// The global ids of running calls.
    pub fn gcids(&self) -> impl Iterator<Item = &Gcid> {
        self.switchboard.gcids()
    }

    /// All calls, as operators may know them.
    pub fn views(&self) -> impl Iterator<Item = View> {
        self.switchboard.views()
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
            sip_ua::Output::Trunk(news) => return Output::Trunk(news),
            sip_ua::Output::Conduct(flow, conduct) => return Output::Conduct(flow, conduct),
            sip_ua::Output::Verify(id, claim) => return Output::Verify { id, claim },
            // `settle` took every one.
            _ => None,
        };
        let apps = match self.apps.poll_output() {
            rtcengine::Output::Timeout(at) => at,
            // `settle` took every other.
            _ => None,
        };
        let terminals = match self.terminals.poll_output() {
            webterminal::Output::Timeout(at) => at,
            // `settle` took every other.
            _ => None,
        };
        let others = [
            terminals,
            self.switchboard.next_timeout(),
            self.resolve_again.next(),
            self.postbox.next_timeout(),
        ];
        Output::Timeout([sip, apps].into_iter().chain(others).flatten().min())
    }

    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Message { flow, message } => {
                self.sip_came(now, &flow, &message);
                self.sip.handle_message(now, flow, *message);
            }
            Input::Malformed { flow, answer } => {
                self.sip.handle_malformed(flow, answer.as_deref());
            }
            Input::AppOpened { connection, origin } => {
                self.apps.handle_open(now, connection, origin);
            }
            Input::AppText { connection, text } => {
                self.apps.handle_text(now, connection, &text);
                let about = self.apps.take_heard();
                let said = || Said::plain(Protocol::RtcEngine, false, text.into());
                self.heard(now, connection, about, said);
            }
            Input::AppClosed(connection) => self.apps.handle_closed(now, connection),
            Input::Granted { connection, grant } => {
                self.apps.handle_lookup(now, connection, grant.map(|grant| *grant));
            }
            Input::Terminal(input) => self.terminal_input(now, input),
            Input::Revoked(session) => {
                self.apps.revoke(now, &session);
                self.terminals.revoke(&session);
            }
            Input::Resolved { registration, flow } => self.resolved(now, registration, flow),
            Input::Verified { id, outcome } => {
                self.sip.handle_verified(now, id, outcome.map(|proof| *proof));
            }
            Input::ConnectionClosed(id) => self.sip.handle_connection_closed(now, id),
            Input::TransportFailed(flow) => self.sip.handle_transport_error(now, &flow),
            Input::Unreachable { remote, quoted } => {
                self.sip.handle_unreachable(now, remote, &quoted);
            }
            Input::Certified { connection, certified } => {
                self.sip.handle_certificate(connection, certified);
            }
            Input::Located { trunk, hops } => self.sip.set_hops(now, &trunk, hops),
            Input::Media(event) => self.handle_media(now, *event),
            Input::Users { users, plan } => self.users_are(users, *plan),
            Input::Change(changes) => self.change(now, *changes),
            Input::Drain(retry_after) => self.drain(retry_after),
            Input::RestoreBinding { user, contact, flow, expires } => {
                self.sip.restore_binding(user, contact, flow, expires);
            }
            Input::RestoreText(kept) => {
                self.postbox.keep(*kept);
            }
            Input::EndCall(call) => self.switchboard.end(now, call),
            Input::BringMedia(call) => self.switchboard.handle(now, call, CallInput::Anchor),
            Input::Shutdown => self.shut_down(now),
            Input::Timeout => {
                self.sip.handle_timeout(now);
                self.apps.handle_timeout(now);
                self.terminals.handle_timeout(now);
                self.switchboard.handle_timeout(now);
                self.forget_old_texts(now);
                while let Some(registration) = self.resolve_again.pop_due(now) {
                    self.ask_for_registrar(registration);
                }
            }
        }
        self.settle(now);
        self.heard_out();
    }

    /// The global id of the call that a leg is part of.
    #[must_use]
    pub fn gcid_of(&self, leg: LegId) -> Option<&Gcid> {
        self.switchboard.gcid_of(leg)
    }

    fn shut_down(&mut self, now: Instant) {
        self.intake = Intake::Closed;
        self.sip.drain();
        self.apps.drain();
        self.terminals.drain();
        self.switchboard.end_all(now, Cause::Shutdown);
    }

    fn handle_media(&mut self, now: Instant, event: control::Event) {
        self.media_noted(now, &event);
        if let control::Event::Closed { leg, stats } = event {
            self.media_closed(leg, stats);
            return;
        }
        let leg = event.leg();
        if let Some(notice) = media_control::notice(event) {
            self.switchboard.handle_leg(now, leg, CallInput::Media(notice));
        }
    }

    /// Moves what one part says to the others, until all are silent.
    fn settle(&mut self, now: Instant) {
        loop {
            let mut is_quiet = true;
            while let Some(output) = self.sip.next_output() {
                match output {
                    sip_ua::Output::Transmit(t) => {
                        self.sip_goes(now, &t);
                        self.outputs.push_back(Output::Transmit(t));
                    }
                    sip_ua::Output::Rang(leg, name) => {
                        self.ladders.note(now, leg, Note::TimerRang(name));
                    }
                    sip_ua::Output::Trunk(news) => self.outputs.push_back(Output::Trunk(news)),
                    sip_ua::Output::Conduct(flow, conduct) => {
                        self.outputs.push_back(Output::Conduct(flow, conduct));
                    }
                    sip_ua::Output::Verify(id, claim) => {
                        self.outputs.push_back(Output::Verify { id, claim });
                    }
                    said @ (sip_ua::Output::Binding(_)
                    | sip_ua::Output::Text(..)
                    | sip_ua::Output::TextSent(..)
                    | sip_ua::Output::Watch { .. }
                    | sip_ua::Output::Published(_)
                    | sip_ua::Output::Mailbox(..)) => {
                        is_quiet = false;
                        self.said_outside_calls(now, said);
                    }
                    sip_ua::Output::Leg(leg, event) => {
                        is_quiet = false;
                        self.leg_said(now, leg, *event);
                    }
                    sip_ua::Output::Registration(id, state) => {
                        is_quiet = false;
                        self.registration_changed(now, id, state);
                    }
                    // Asked for once all is quiet.
                    sip_ua::Output::Timeout(_) => {}
                }
            }
            is_quiet &= !self.settle_apps(now);
            is_quiet &= !self.settle_terminals(now);
            is_quiet &= !self.settle_direct(now);
            while let Some((call, output)) = self.switchboard.poll_output() {
                is_quiet = false;
                self.call_said(now, call, output);
            }
            for leg in self.switchboard.take_orphans() {
                is_quiet = false;
                self.direct.release(leg);
                self.command(now, leg, LegCommand::End(Cause::Internal));
                let close = control::Command::Close { leg };
                self.outputs.push_back(Output::Media(Box::new(close)));
            }
            for call in self.switchboard.take_broken() {
                self.direct_calls.remove(&call);
                self.ledger.over(now, call, []);
            }
            if is_quiet {
                return;
            }
        }
    }

    /// Who signs in gets what waited, and is seen by those who watch.
    pub(super) fn binding_changed(&mut self, now: Instant, change: Box<Change>) {
        let user = match &*change {
            Change::Added(binding) | Change::Refreshed(binding) | Change::Removed(binding) => {
                binding.user.clone()
            }
        };
        let is_there = !matches!(&*change, Change::Removed(_));
        self.outputs.push_back(Output::Binding(change));
        if is_there {
            self.deliver_texts(now, &user);
        }
        self.show_user(now, &user);
    }

    fn leg_said(&mut self, now: Instant, leg: LegId, event: LegEvent) {
        let LegEvent::Offer(offer) = event else {
            self.leg_noted(now, leg, &event);
            self.switchboard.handle_leg(now, leg, CallInput::Leg(leg, event));
            return;
        };
        let mut offer = *offer;
        let caller = offer.from.user.as_deref();
        offer.may_press = self.plan.features.may_press(caller, offer.trunk.as_deref());
        if offer.from.user.is_some() && self.plan.pull.contains(offer.to.expose()) {
            offer.replaces.get_or_insert(Replaces::OwnLatest);
        }
        if offer.replaces.is_none()
            && let Some(user) = offer.from.user.clone()
            && let Some(ringing) = self.picked_up(&user, offer.to.expose())
        {
            return match ringing {
                Some(old) => self.replace(now, old, leg, offer),
                None => self.command(now, leg, LegCommand::End(Cause::NotFound)),
            };
        }
        if offer.replaces.is_none()
            && let Some(user) = &offer.from.user
            && let Some(old) = self.waiting_at(user, offer.to.expose())
        {
            return self.replace(now, old, leg, offer);
        }
        if let Some(replaces) = offer.replaces.take() {
            return self.take_over(now, leg, &replaces, offer);
        }
        if let Some(cause) = self.refusal_of(&offer) {
            self.command(now, leg, LegCommand::End(cause));
            return;
        }
        self.started += 1;
        self.rule_sound(leg, offer.trunk.as_deref());
        let call_id = self.sip.call_id_of(leg).cloned();
        let known = || self.ladders.gcid_of_dialog(call_id.as_ref()?).cloned();
        let gcid = offer.gcid.clone().or_else(known);
        let gcid = gcid.unwrap_or_else(|| Gcid::generate(now, &self.clock, &mut self.rng));
        if self.may_go_past_us(&offer) {
            offer.path = MediaPath::Bypass;
        }
        let (path, caller) = (offer.path, Caller::of(leg, &offer));
        let call = self.switchboard.begin(now, gcid.clone(), leg, offer);
        self.ladder_begins(now, call, &gcid, caller.with(call_id.as_deref()));
        if path != MediaPath::Anchored {
            self.direct_calls.insert(call);
        }
    }

    /// Whether the media of a phone's call may go past us, as far as the caller is concerned.
    fn may_go_past_us(&self, offer: &IncomingOffer) -> bool {
        let allows = match &offer.trunk {
            Some(name) => self.plan.trunks.iter().any(|t| t.name == *name && t.bypass),
            None => self.plan.bypass_phones,
        };
        let has_address = |offered: &Session| offered.address().is_some();
        let is_known = offer.description.as_ref().is_some_and(has_address);
        allows && is_known && offer.profile != Profile::WebRtc && offer.path == MediaPath::Anchored
    }

    /// Why no new call is taken, where none is.
    fn refusal_of(&self, offer: &IncomingOffer) -> Option<Cause> {
        let is_full = self.switchboard.len() >= self.max_calls;
        let is_for_help = || self.plan.emergency.is_one(offer.to.expose());
        match self.intake {
            Intake::Closed => Some(Cause::Overload),
            Intake::Draining => (!is_for_help()).then_some(Cause::Shutdown),
            Intake::Open => (is_full && !is_for_help()).then_some(Cause::Overload),
        }
    }

    fn drain(&mut self, retry_after: Option<Duration>) {
        if self.intake == Intake::Closed {
            return;
        }
        let is_open = retry_after.is_none();
        self.intake = if is_open { Intake::Open } else { Intake::Draining };
        self.sip.set_draining(retry_after);
        self.terminals.set_turning_away(!is_open);
    }

    fn change(&mut self, now: Instant, changes: Changes) {
        let Changes { users, plan, sip, sound, max_calls } = changes;
        self.sip.change(now, sip);
        self.users_are(users, plan);
        (self.sound, self.max_calls) = (sound, max_calls);
    }

    fn users_are(&mut self, users: BTreeMap<Arc<str>, UserHa1>, plan: Plan) {
        self.sip.set_users(users);
        self.plan = plan;
        self.ledger.keep_users(|user| self.plan.users.contains_key(user));
        self.terminals.keep_users(|user| self.plan.users.contains_key(user));
    }

    fn replace(&mut self, now: Instant, old: LegId, new: LegId, offer: IncomingOffer) {
        self.ladder_taken_over(now, old, &Caller::of(new, &offer));
        self.switchboard.replace(now, old, new, offer);
    }

    /// The leg that rings for longest where a user wants to answer by dialling this number; the
    /// outer `None` for any other number.
    fn picked_up(&self, user: &str, dialled: &str) -> Option<Option<LegId>> {
        let features = &self.plan.features;
        let pickup = features.pickup(dialled)?;
        let named = |of: &Arc<str>| match pickup {
            Pickup::Of(name) => self.plan.users.get(name) == Some(of),
            Pickup::Group => true,
        };
        let others: BTreeSet<&Arc<str>> = self.plan.users.values().collect();
        let others = others.into_iter().filter(|of| named(of) && features.may_pick_up(user, of));
        let sides = others.flat_map(|of| self.switchboard.sides_of(of).map(|(_, side)| side));
        let ringing = sides.filter(|side| side.is_ringing && side.role == Role::Back);
        Some(ringing.min_by_key(|side| (side.started, side.leg)).map(|side| side.leg))
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
            Some(old) => self.replace(now, old, new, offer),
            None => self.command(now, new, LegCommand::End(Cause::NotFound)),
        }
    }

    /// Each leg belongs to the connector that numbered it.
    fn command(&mut self, now: Instant, leg: LegId, command: LegCommand) {
        match leg.maker() {
            rtcengine::MAKER => self.apps.handle_command(now, leg, command),
            webterminal::MAKER => self.terminals.handle_command(now, leg, command),
            _ => self.sip.handle_command(now, leg, command),
        }
    }

    fn call_said(&mut self, now: Instant, call: CallId, output: CallOutput) {
        match output {
            CallOutput::Command(leg, command) => {
                self.command_noted(now, Some(call), leg, &command);
                self.command(now, leg, command);
            }
            CallOutput::Media(request) => self.media_wanted(call, request),
            CallOutput::Anchoring(legs) => {
                self.direct_calls.remove(&call);
                let known = legs.into_iter().map(|leg| (leg, self.direct.release(leg)));
                self.known_sessions = known.filter_map(|(leg, s)| Some((leg, s?))).collect();
            }
            CallOutput::Anchored(answered) => {
                if !answered.is_empty() {
                    self.ladders.note_call(now, call, Note::MediaCame);
                }
                let told = answered.into_iter().map(|leg| control::Command::Answered { leg });
                self.outputs.extend(told.map(|command| Output::Media(Box::new(command))));
            }
            CallOutput::Route(request) => match self.parking_for(call, &request) {
                Some(place) => self.switchboard.handle(now, call, CallInput::Parked(place)),
                None => self.route(now, call, &request),
            },
            CallOutput::Parked(key) => {
                self.ladders.note_call(now, call, Note::Parked);
                self.show_slot(now, &key);
            }
            CallOutput::Unparked(key) => {
                self.ladders.note_call(now, call, Note::Unparked);
                self.slot_is_free(now, call, &key);
            }
            CallOutput::Join(leg) => {
                if let Some(other) = self.switchboard.call_of(leg) {
                    self.ledger.shared(other, call);
                }
                self.switchboard.join(now, call, leg);
                self.joined_noted(now, call);
            }
            CallOutput::Answered => {
                self.ladders.note_call(now, call, Note::Answered);
                if self.direct_calls.contains(&call) {
                    self.ladders.note_call(now, call, Note::MediaPastUs);
                }
                self.call_answered(call);
            }
            CallOutput::Changed => {
                self.show(call);
                self.tell_of_calls(now, call);
            }
            CallOutput::Graded => self.show(call),
            CallOutput::Done(record) => {
                self.tell_of_calls(now, call);
                self.parked.retain(|_, waiting| *waiting != call);
                let had_it = [record.from.user.clone(), record.called_user.clone()];
                let had_it = had_it.into_iter().flatten().filter(|_| record.answered.is_some());
                self.ledger.over(now, call, had_it);
                self.ladder_over(now, call, &record);
                self.call_over(*record);
                // What it asked of its media comes before.
                self.direct_calls.remove(&call);
            }
            // The switchboard keeps the time.
            CallOutput::Timeout(_) => {}
        }
    }

    fn media_wanted(&mut self, call: CallId, request: MediaRequest) {
        if self.direct_calls.contains(&call) {
            if let MediaRequest::Close { leg } = &request {
                self.ruled.remove(leg);
            }
            // As far as a signed number of 64 bits goes.
            return self.direct.handle_request(request, || self.rng.next_u64() >> 2);
        }
        let opened = match &request {
            MediaRequest::Open { leg, .. } => Some(*leg),
            _ => None,
        };
        let command = media_control::command(request);
        self.outputs.push_back(Output::Media(Box::new(command)));
        let Some(leg) = opened else { return };
        let rules = self.ruled.remove(&leg);
        let rule = rules.map(|rules| control::Command::RuleSound { leg, rules });
        let known = self.known_sessions.remove(&leg);
        let go_on = known.map(|OurSession { id, version }| control::Command::ContinueSession {
            leg,
            id,
            version,
        });
        let commands = rule.into_iter().chain(go_on);
        self.outputs.extend(commands.map(|command| Output::Media(Box::new(command))));
    }

    fn show(&mut self, call: CallId) {
        let view = self.switchboard.view(call);
        self.outputs.extend(view.map(|view| Output::CallChanged(Box::new(view))));
    }

    fn call_answered(&mut self, call: CallId) {
        self.answered += 1;
        if !self.direct_calls.contains(&call) {
            let told = self.switchboard.legs_of(call).map(|leg| control::Command::Answered { leg });
            self.outputs.extend(told.map(|command| Output::Media(Box::new(command))));
        }
    }

    /// Where a call would go if it came now, and why.
    #[must_use]
    pub fn explain(&self, now: Instant, request: &RouteRequest) -> Decision {
        router::route(request, &self.plan, &Present { node: self, now })
    }

    /// The same for a caller by any name it has; `None` when there is no such user or trunk.
    #[must_use]
    pub fn explain_to(&self, now: Instant, request: RouteRequest) -> Option<Decision> {
        let user = match &request.user {
            Some(name) => Some(self.plan.users.get(&**name)?.clone()),
            None => None,
        };
        let is_trunk = |name: &Arc<str>| self.plan.trunks.iter().any(|t| t.name == *name);
        let is_known = request.trunk.as_ref().is_none_or(is_trunk);
        is_known.then(|| self.explain(now, &RouteRequest { user, ..request }))
    }

    fn route(&mut self, now: Instant, call: CallId, request: &RouteRequest) {
        let decision = self.explain(now, request);
        self.ledger.decided(now, call, &decision);
        self.decision_noted(now, call, &decision);
        let mut leg_for = |reach: &Reach| match reach {
            Reach::Binding(id) if id.maker() == rtcengine::MAKER => self.apps.next_leg_id(),
            Reach::Binding(id) if id.maker() == webterminal::MAKER => self.terminals.next_leg_id(),
            Reach::Binding(_) | Reach::Trunk { .. } | Reach::Registration { .. } => {
                self.sip.next_leg_id()
            }
        };
        let targets = decision.targets();
        let legs: Vec<LegId> = targets.map(|target| leg_for(&target.reach)).collect();
        let over = |(target, leg): (&Target, &LegId)| match &target.reach {
            Reach::Trunk { name, .. } => Some((*leg, name.clone())),
            Reach::Binding(_) | Reach::Registration { .. } => None,
        };
        let ruled: Vec<_> = decision.targets().zip(&legs).filter_map(over).collect();
        for (leg, name) in ruled {
            self.rule_sound(leg, Some(&name));
        }
        self.switchboard.handle(now, call, CallInput::Routed { decision, legs });
    }

    /// Keeps what a trunk allows until the leg's media is opened.
    fn rule_sound(&mut self, leg: LegId, trunk: Option<&str>) {
        let Some(rules) = trunk.and_then(|trunk| self.sound.get(trunk)) else { return };
        // Legs of places that are never tried are never opened.
        if self.ruled.len() > 8 * self.max_calls.max(1) {
            self.ruled.pop_first();
        }
        self.ruled.insert(leg, rules.clone());
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

/// The router's view of the present.
struct Present<'n> {
    node: &'n Node,
    now: Instant,
}

fn app(binding: crosspoint_base::BindingId) -> Device {
    Device { binding, profile: Profile::WebRtc }
}

fn device((binding, is_browser): (crosspoint_base::BindingId, bool)) -> Device {
    let profile = if is_browser { Profile::WebRtc } else { Profile::Rtp(SrtpPolicy::Off) };
    Device { binding, profile }
}

impl Snapshot for Present<'_> {
    fn devices_of(&self, user: &str) -> Vec<Device> {
        let apps = self.node.apps.devices_of(user).map(app);
        let terminals = self.node.terminals.devices_of(user).map(app);
        self.node.sip.bindings_of(user).map(device).chain(apps).chain(terminals).collect()
    }

    fn trunk_state(&self, name: &str) -> TrunkState {
        self.node.sip.trunk_state(self.now, name)
    }

    fn members_of(&self, network: &str, name: &str) -> Vec<Device> {
        self.node.apps.members_of(network, name).map(app).collect()
    }

    fn owners_of(&self, registration: RegistrationId) -> Vec<Device> {
        let browsers = self.node.sip.forwarded_devices(registration).map(device);
        browsers.chain(self.node.apps.owners_of(registration).map(app)).collect()
    }

    fn now(&self) -> i64 {
        self.node.clock.seconds(self.now)
    }

    fn is_busy(&self, user: &str) -> bool {
        self.node.switchboard.is_in_call(user)
    }

    fn idle_since(&self, user: &str) -> Option<i64> {
        self.node.ledger.idle_since(user)
    }

    fn turn_of(&self, group: &str) -> u64 {
        self.node.ledger.turn_of(group)
    }

    fn usage(&self, meter: &Meter) -> Usage {
        self.node.ledger.usage(self.now, meter)
    }
}
