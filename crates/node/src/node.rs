//! The node: connectors, calls, router and media control as one deterministic machine.
//!
//! Start at [`Node::handle_input`]. Each input is one mutation of one part; `settle` then moves
//! what that part has to say on to the others until nobody has anything left to say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::{CallId, ConnectionId, Flow, Gcid, LegId, Rng, Transmit};
use crosspoint_call::router::{self, Device, Devices, Outcome, Plan, RouteRequest};
use crosspoint_call::{
    CallRecord, Cause, Input as CallInput, LegCommand, LegEvent, Output as CallOutput, Profile,
    SrtpPolicy,
};
use crosspoint_connectors::sip_ua::{self, SipUa, SipUaConfig};
use crosspoint_media::control::{self, LegStats};
use crosspoint_sip::digest::UserHa1;
use crosspoint_sip::registrar::{Change, Registrar};
use crosspoint_sip::{Message, Response, Uri};

use crate::media_control;
use crate::switchboard::Switchboard;

/// What a node is made with.
#[derive(Debug)]
pub struct NodeConfig {
    pub sip: SipUaConfig,
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
            sip_ua::Output::Leg(..) => None,
        };
        Output::Timeout([sip, self.switchboard.next_timeout()].into_iter().flatten().min())
    }

    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Message { flow, message } => self.sip.handle_message(now, flow, *message),
            Input::Malformed { flow, answer } => {
                self.sip.handle_malformed(flow, answer.as_deref());
            }
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
                self.switchboard.end_all(now, Cause::Shutdown);
            }
            Input::Timeout => {
                self.sip.handle_timeout(now);
                self.switchboard.handle_timeout(now);
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
                    sip_ua::Output::Timeout(_) => break,
                }
            }
            while let Some((call, output)) = self.switchboard.poll_output() {
                is_quiet = false;
                self.call_said(now, call, output);
            }
            for leg in self.switchboard.take_orphans() {
                is_quiet = false;
                self.sip.handle_command(now, leg, LegCommand::End(Cause::Internal));
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
        if self.is_draining || self.switchboard.len() >= self.max_calls {
            self.sip.handle_command(now, leg, LegCommand::End(Cause::Overload));
            return;
        }
        self.started += 1;
        let gcid = Gcid::generate(&mut self.rng);
        self.switchboard.begin(now, gcid, leg, *offer);
    }

    fn call_said(&mut self, now: Instant, call: CallId, output: CallOutput) {
        match output {
            CallOutput::Command(leg, command) => self.sip.handle_command(now, leg, command),
            CallOutput::Media(request) => {
                let command = media_control::command(request);
                self.outputs.push_back(Output::Media(Box::new(command)));
            }
            CallOutput::Route(request) => self.route(now, call, &request),
            CallOutput::Answered => self.answered += 1,
            CallOutput::Done(record) => self.call_over(*record),
            // The switchboard keeps the time.
            CallOutput::Timeout(_) => {}
        }
    }

    fn route(&mut self, now: Instant, call: CallId, request: &RouteRequest) {
        let decision = router::route(request, &self.plan, &SignedIn(&self.sip));
        let targets = match &decision.outcome {
            Outcome::Fork(targets) => targets.len(),
            Outcome::Builtin(_) | Outcome::Refused(_) => 0,
        };
        let legs = (0..targets).map(|_| self.sip.next_leg_id()).collect();
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
struct SignedIn<'s>(&'s SipUa);

impl Devices for SignedIn<'_> {
    fn devices_of(&self, user: &str) -> Vec<Device> {
        let device = |(binding, is_browser): (_, bool)| Device {
            binding,
            profile: if is_browser { Profile::WebRtc } else { Profile::Rtp(SrtpPolicy::Off) },
        };
        self.0.bindings_of(user).map(device).collect()
    }
}
