//! Runs the node: gives it messages, media events, the operator's wishes and time, and does what
//! it says.
//!
//! The node is one machine on one task. Nothing here waits for anything but the next input, and
//! nothing here decides anything.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{Conduct, Flow, RegistrationId, Transmit, Transport, WallClock};
use crosspoint_call::router::{Decision, Plan, RouteRequest};
use crosspoint_connectors::rtcengine::{Denial, Grant, Lookup};
use crosspoint_connectors::sip_ua::{Certified, VerificationId};
use crosspoint_connectors::webterminal::Subscriber;
use crosspoint_media::capture::CaptureReader;
use crosspoint_media::control;
use crosspoint_net::{
    AppArrival, AppSockets, Arrival, Certificate, Resolver, SipTransport, StreamEvent,
};
use crosspoint_node::{Input, Node, Output, TerminalInput};
use crosspoint_sip::digest::UserHa1;
use crosspoint_state::{Write, WriterHandle};
use crosspoint_stir::Claim;
use tokio::sync::{mpsc, oneshot};

use super::callers::Callers;
use super::hep::HepQueue;
use super::live_calls::LiveCalls;
use super::media_plane::MediaPlane;
use super::reload::Change;
use super::trunks::TrunkPlaces;
use super::{bindings, records, signaling, texts};
use crate::calls::{Asked, CallWish};
use crate::http::TerminalStreams;
use crate::ladder::{Dated, RecentCalls};
use crate::metrics::{EndedCalls, Signaling};

/// A question under way.
pub(super) type Asking<'a> = Pin<Box<dyn Future<Output = Result<Grant, Denial>> + Send + 'a>>;

/// Who knows what a session token grants.
pub(super) trait Grants: Send + Sync {
    fn look_up(&self, lookup: Lookup) -> Asking<'_>;
}

/// What the rest of the gateway wants of the node.
pub(super) enum Wish {
    /// Who may sign in, and who means whom.
    Users(BTreeMap<Arc<str>, UserHa1>, Box<Plan>),
    /// What the configuration says now.
    Change(Box<Change>),
    /// Refuse new calls, which are to come back after this time, or take them again.
    Drain(Option<Duration>),
    /// No call is left: the sender hears when that is so.
    WhenIdle(oneshot::Sender<()>),
    /// How is it going?
    Report(oneshot::Sender<Signaling>),
    /// Who is recorded is to hear it again.
    Remind,
    /// Packets that were captured go to the ladders.
    File,
    /// Where would this call go? `None` when there is no such caller.
    Explain(Box<RouteRequest>, oneshot::Sender<Option<Decision>>),
    /// Whose calls are meant by a user's name or number?
    Subscriber(String, oneshot::Sender<Option<Subscriber>>),
    /// What was said in this call?
    Ladder(String, oneshot::Sender<Option<Dated>>),
    /// Which were the last so many calls?
    Recent(usize, oneshot::Sender<RecentCalls>),
    /// Something about running calls.
    Calls(Asked),
    /// The same about one whose media came here for it.
    Brought(Asked),
    /// These session tokens are worth nothing any more.
    Revoke(Vec<Arc<str>>),
    /// End every call; the sender hears when all are over.
    Stop(oneshot::Sender<()>),
}

/// The node with everything it talks to.
pub(super) struct Driver {
    pub(super) node: Node,
    pub(super) transport: SipTransport,
    pub(super) media: MediaPlane,
    pub(super) apps: AppSockets,
    pub(super) app_arrivals: mpsc::Receiver<AppArrival>,
    pub(super) terminals: TerminalStreams,
    pub(super) terminal_inputs: mpsc::Receiver<TerminalInput>,
    /// What was asked of the store and of name servers, answered.
    pub(super) answers: mpsc::Receiver<Input>,
    pub(super) asked: mpsc::Sender<Input>,
    /// Looks at signatures of callers.
    pub(super) callers: Option<Callers>,
    pub(super) grants: Arc<dyn Grants>,
    pub(super) names: Arc<Resolver>,
    pub(super) places: Arc<TrunkPlaces>,
    pub(super) writer: WriterHandle,
    pub(super) clock: WallClock,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
    pub(super) media_events: mpsc::Receiver<control::Event>,
    pub(super) stream_events: mpsc::Receiver<StreamEvent>,
    pub(super) wishes: mpsc::Receiver<Wish>,
    /// For wishes that are put off.
    pub(super) later: mpsc::WeakSender<Wish>,
    pub(super) calls: LiveCalls,
    pub(super) captures: Option<CaptureReader>,
    pub(super) hep: Option<HepQueue>,
    pub(super) ended: EndedCalls,
    /// Messages and commands of one turn, which leave together; empty between turns.
    pub(super) leaving: Vec<Transmit>,
    pub(super) commands: Vec<control::Command>,
    pub(super) stopping: Vec<oneshot::Sender<()>>,
    pub(super) is_stopping: bool,
    pub(super) is_draining: bool,
}

impl Driver {
    /// Runs until nobody can wish for anything any more.
    pub(super) async fn run(mut self) {
        let alarm = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(alarm);
        let mut rings = None;
        loop {
            // The alarm is only ever set earlier. Most deadlines are put off before they are due;
            // one ring for nothing now and then costs less than setting it after each turn.
            if let Some(deadline) = self.settle()
                && rings.is_none_or(|at| deadline < at)
            {
                alarm.as_mut().reset(deadline.into());
                rings = Some(deadline);
            }
            tokio::select! {
                Some(arrival) = self.arrivals.recv() => self.arrived(arrival),
                Some(arrival) = self.app_arrivals.recv() => self.app_arrived(arrival),
                Some(input) = self.terminal_inputs.recv() => {
                    self.handle(Input::Terminal(input));
                }
                Some(answer) = self.answers.recv() => self.handle(answer),
                Some(event) = self.media_events.recv() => self.media_told(event),
                Some(event) = self.stream_events.recv() => self.calls.stream_said(event),
                wish = self.wishes.recv() => match wish {
                    Some(wish) => self.wished(wish),
                    None => return,
                },
                () = &mut alarm, if rings.is_some() => {
                    rings = None;
                    self.handle(Input::Timeout);
                }
            }
            // What waits already is taken in one go: fewer turns of the runtime under load.
            for _ in 0..BATCH {
                let Ok(arrival) = self.arrivals.try_recv() else { break };
                self.arrived(arrival);
            }
            for _ in 0..BATCH {
                let Ok(event) = self.media_events.try_recv() else { break };
                self.media_told(event);
            }
        }
    }

    pub(super) fn handle(&mut self, input: Input) {
        self.node.handle_input(Instant::now(), input);
    }

    fn media_told(&mut self, event: control::Event) {
        if let control::Event::Silent { leg, when } = event {
            let call = self.node.gcid_of(leg).map(ToString::to_string);
            let when = match when {
                control::Silence::Start => "never heard",
                control::Silence::Running => "fell silent",
            };
            tracing::warn!(call, %leg, when, "no media from a leg for three seconds");
        }
        if let control::Event::Dtmf { leg, digit, duration, .. } = event {
            self.calls.digit_heard(leg, digit, duration);
        }
        self.handle(Input::Media(Box::new(event)));
    }

    fn arrived(&mut self, arrival: Arrival) {
        let input = match arrival {
            Arrival::Message { flow, message } => {
                Input::Message { flow, message: Box::new(message) }
            }
            Arrival::Closed(connection) => Input::ConnectionClosed(connection),
            Arrival::Failed(flow) => Input::TransportFailed(flow),
            Arrival::Unreachable { remote, quoted } => Input::Unreachable { remote, quoted },
            Arrival::Certified { connection, certificate } => {
                let Certificate { names, authorities } = certificate;
                Input::Certified { connection, certified: Certified { names, authorities } }
            }
        };
        self.handle(input);
    }

    fn app_arrived(&mut self, arrival: AppArrival) {
        self.handle(match arrival {
            AppArrival::Opened { connection, origin } => Input::AppOpened { connection, origin },
            AppArrival::Text { connection, text } => {
                Input::AppText { connection, text: text.as_str().to_owned() }
            }
            AppArrival::Closed(connection) => Input::AppClosed(connection),
        });
    }

    fn look_up(&self, lookup: Lookup) {
        let (grants, asked) = (self.grants.clone(), self.asked.clone());
        tokio::spawn(async move {
            let connection = lookup.connection;
            let grant = grants.look_up(lookup).await.map(Box::new);
            // It fails only when the node is gone.
            let _ = asked.send(Input::Granted { connection, grant }).await;
        });
    }

    fn resolve(&self, id: RegistrationId, host: String, port: Option<u16>, transport: Transport) {
        let (names, asked, sockets) =
            (self.names.clone(), self.asked.clone(), self.transport.clone());
        tokio::spawn(async move {
            let flow = signaling::find(&names, &sockets, (&host, port), transport).await;
            if let Err(why) = &flow {
                tracing::warn!(why, "the registrar of an account cannot be reached");
            }
            let answer = Input::Resolved { registration: id, flow: flow.ok() };
            let _ = asked.send(answer).await;
        });
    }

    fn verify(&self, id: VerificationId, claim: Box<Claim>) {
        // Without them nobody asks.
        let Some(callers) = self.callers.clone() else { return };
        let asked = self.asked.clone();
        tokio::spawn(async move {
            let outcome = callers.prove(&claim).await.map(Box::new);
            // It fails only when the node is gone.
            let _ = asked.send(Input::Verified { id, outcome }).await;
        });
    }

    fn wished(&mut self, wish: Wish) {
        match wish {
            Wish::Users(users, plan) => {
                self.handle(Input::Users { users, plan });
            }
            Wish::Change(change) => self.change(*change),
            Wish::Drain(retry_after) => {
                self.is_draining = retry_after.is_some();
                self.handle(Input::Drain(retry_after));
            }
            Wish::WhenIdle(done) => {
                self.stopping.retain(|waiting| !waiting.is_closed());
                self.stopping.push(done);
            }
            Wish::Report(answer) => {
                // Whoever asked may have given up.
                let _ = answer.send(self.report());
            }
            Wish::Remind => self.calls.remind(Instant::now()),
            Wish::File => self.file_captured(),
            Wish::Explain(request, answer) => {
                let _ = answer.send(self.node.explain_to(Instant::now(), *request));
            }
            Wish::Subscriber(name, answer) => {
                let _ = answer.send(self.node.subscriber(&name));
            }
            Wish::Calls(Asked { wish: CallWish::Trunks, answer }) => {
                let _ = answer.send(Ok(self.trunks_shown()));
            }
            Wish::Calls(Asked { wish: CallWish::Registrations, answer }) => {
                let _ = answer.send(Ok(self.registrations_shown()));
            }
            Wish::Calls(Asked { wish: CallWish::Bindings { user, limit }, answer }) => {
                let _ = answer.send(Ok(self.bindings_shown(user.as_deref(), limit)));
            }
            Wish::Calls(Asked { wish: CallWish::End(gcid), answer }) => {
                let _ = answer.send(self.end_call(&gcid));
            }
            Wish::Ladder(gcid, answer) => {
                self.file_captured();
                let dated = |ladder| Dated { ladder, clock: self.clock };
                let _ = answer.send(self.node.ladder(&gcid).map(dated));
            }
            Wish::Recent(most, answer) => {
                let calls = self.node.recent_calls(most);
                let _ = answer.send(RecentCalls { calls, clock: self.clock });
            }
            Wish::Calls(asked) => self.asked_of_call(asked),
            Wish::Brought(asked) => self.calls.handle(self.node.views(), asked),
            Wish::Revoke(sessions) => {
                for session in sessions {
                    self.handle(Input::Revoked(session));
                }
            }
            Wish::Stop(done) => {
                self.stopping.push(done);
                self.is_stopping = true;
                self.handle(Input::Shutdown);
            }
        }
    }

    /// Does what the node says until it only wants to wait; gives until when.
    pub(super) fn settle(&mut self) -> Option<Instant> {
        loop {
            match self.node.poll_output() {
                Output::Transmit(transmit) => self.leaving.push(transmit),
                Output::Media(command) => self.commands.push(*command),
                Output::AppSend { connection, text } => self.apps.send(connection, text),
                Output::AppClose { connection, code, reason } => {
                    self.apps.close(connection, code, reason);
                }
                Output::TerminalOpened { connection, resume, is_resumed } => {
                    self.terminals.opened(connection, resume, is_resumed);
                }
                Output::TerminalSend { connection, message } => {
                    self.terminals.send(connection, *message);
                }
                Output::TerminalClose { connection, why } => self.terminals.close(connection, why),
                Output::Lookup(lookup) => self.look_up(*lookup),
                Output::Resolve { registration, host, port, transport } => {
                    self.resolve(registration, host, port, transport);
                }
                Output::Verify { id, claim } => self.verify(id, claim),
                Output::Binding(change) => {
                    if let Some(write) = bindings::write(&change, &self.clock) {
                        self.writer.submit(write);
                    }
                }
                Output::Conduct(flow, conduct) => self.behaved(&flow, conduct),
                Output::Trunk(news) => self.trunk_said(&news),
                Output::KeepText(kept) => {
                    self.writer.submit(texts::write(&kept, &self.clock));
                }
                Output::ForgetText(id) => {
                    self.writer.submit(Write::RemoveText(id));
                }
                Output::CallChanged(view) => {
                    self.keep_order();
                    self.calls.changed(*view);
                }
                Output::Report(report) => {
                    let mut cdr = records::cdr(&report.record, &report.media, &self.clock);
                    let is_new = !self.calls.knows(report.record.call);
                    self.keep_order();
                    let recordings = self.calls.over(report.record.call);
                    cdr.recordings = (!recordings.is_empty()).then(|| recordings.join(" "));
                    records::log(&cdr);
                    self.calls.tell_end(&cdr, is_new);
                    self.ended.count(report.record.ended, report.record.answered.is_some());
                    self.writer.submit(Write::Cdr(Box::new(cdr)));
                }
                Output::Timeout(deadline) => {
                    self.tell_ladders();
                    if self.command_media() {
                        continue;
                    }
                    self.transport.send_all(&mut self.leaving);
                    if self.node.is_idle() {
                        for done in self.stopping.drain(..) {
                            let _ = done.send(());
                        }
                    }
                    return deadline;
                }
            }
        }
    }

    /// Gives media control its commands; true when it has said something to them already.
    fn command_media(&mut self) -> bool {
        // Where messages wait, the media threads work meanwhile.
        if self.arrivals.len() > MANY {
            self.media.send_all(&mut self.commands);
            return false;
        }
        let Self { media, commands, media_events, .. } = self;
        let mut told = Vec::new();
        media.send_all_now(commands, |event| match event {
            Some(event) => told.push(event),
            None => {
                while let Ok(event) = media_events.try_recv() {
                    told.push(event);
                }
            }
        });
        let is_news = !told.is_empty();
        told.into_iter().for_each(|event| self.media_told(event));
        is_news
    }

    /// A peer did well or badly; who did too badly loses its connection.
    fn behaved(&mut self, flow: &Flow, conduct: Conduct) {
        let is_datagram = flow.connection.is_none();
        if self.transport.bans().note(flow.remote, is_datagram, conduct)
            && let Some(connection) = flow.connection
        {
            // The answer comes first.
            self.transport.send_all(&mut self.leaving);
            self.transport.close(connection);
        }
    }

    /// What calls have to say of themselves goes on their ladders, and from there to a collector.
    fn tell_ladders(&mut self) {
        for (gcid, words) in self.calls.take_notes() {
            self.node.note_on_ladder(Instant::now(), &gcid, words);
        }
        if let Some(hep) = &self.hep {
            self.node.take_told().into_iter().for_each(|told| hep.put(told));
        }
    }

    /// Gives the ladders what the media threads have captured.
    fn file_captured(&mut self) {
        while let Some(captured) = self.captures.as_mut().and_then(CaptureReader::read) {
            self.node.captured(captured);
        }
    }

    /// What taps a call must not overtake what the node said of it.
    fn keep_order(&mut self) {
        if self.calls.may_tap() {
            self.media.send_all(&mut self.commands);
        }
    }

    fn report(&self) -> Signaling {
        let counters = self.node.counters();
        let mut ladders = self.node.ladder_counters();
        ladders.packets_dropped += self.captures.as_ref().map_or(0, CaptureReader::lost);
        Signaling {
            calls: counters.calls as u64,
            legs: counters.legs as u64,
            bindings: counters.bindings as u64,
            subscriptions: counters.subscriptions as u64,
            texts: counters.texts as u64,
            transactions: counters.sip_transactions as u64,
            defects: counters.panics,
            is_stopping: self.is_stopping,
            is_draining: self.is_draining,
            sip: counters.sip,
            trunks: self.node.trunk_reports(Instant::now()),
            forwarded: self.node.forward_reports(Instant::now()).len() as u64,
            web_clients: self.node.web_clients(),
            app_clients: counters.app_clients as u64,
            apps: counters.apps,
            terminals_open: counters.terminals_open as u64,
            terminals: counters.terminals,
            ended: self.ended.clone(),
            ladders,
            hep: self.hep.as_ref().map(HepQueue::counters).unwrap_or_default(),
            refusals: counters.refusals,
            emergencies: counters.emergencies,
        }
    }
}

const BATCH: usize = 64;
/// Messages that wait; on one core with the media threads rather fewer do.
const MANY: usize = 32;
