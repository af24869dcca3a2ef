//! Runs the node: gives it messages, media events, the operator's wishes and time, and does what
//! it says.
//!
//! The node is one machine on one task. Nothing here waits for anything but the next input, and
//! nothing here decides anything.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::{RegistrationId, Transport};
use crosspoint_call::router::Plan;
use crosspoint_connectors::rtcengine::{Denial, Grant, Lookup};
use crosspoint_media::control;
use crosspoint_net::{AppArrival, AppSockets, Arrival, MediaPool, Resolver, SipTransport};
use crosspoint_node::{Input, Node, Output};
use crosspoint_sip::digest::UserHa1;
use crosspoint_state::{Write, WriterHandle};
use tokio::sync::{mpsc, oneshot};

use super::clock::Clock;
use super::{bindings, records, signaling};
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
    Users(BTreeMap<Arc<str>, UserHa1>, Plan),
    /// How is it going?
    Report(oneshot::Sender<Signaling>),
    /// These session tokens are worth nothing any more.
    Revoke(Vec<Arc<str>>),
    /// End every call; the sender hears when all are over.
    Stop(oneshot::Sender<()>),
}

/// The node with everything it talks to.
pub(super) struct Driver {
    pub(super) node: Node,
    pub(super) transport: SipTransport,
    pub(super) media: MediaPool,
    pub(super) apps: AppSockets,
    pub(super) app_arrivals: mpsc::Receiver<AppArrival>,
    /// What was asked of the store and of name servers, answered.
    pub(super) answers: mpsc::Receiver<Input>,
    pub(super) asked: mpsc::Sender<Input>,
    pub(super) grants: Arc<dyn Grants>,
    pub(super) names: Arc<Resolver>,
    pub(super) writer: WriterHandle,
    pub(super) clock: Clock,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
    pub(super) media_events: mpsc::Receiver<control::Event>,
    pub(super) wishes: mpsc::Receiver<Wish>,
    pub(super) ended: EndedCalls,
    pub(super) stopping: Vec<oneshot::Sender<()>>,
    pub(super) is_stopping: bool,
}

impl Driver {
    /// Runs until nobody can wish for anything any more.
    pub(super) async fn run(mut self) {
        let mut deadline = self.settle();
        loop {
            let timeout = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(arrival) = self.arrivals.recv() => self.arrived(arrival),
                Some(arrival) = self.app_arrivals.recv() => self.app_arrived(arrival),
                Some(answer) = self.answers.recv() => self.handle(answer),
                Some(event) = self.media_events.recv() => self.handle(Input::Media(Box::new(event))),
                wish = self.wishes.recv() => match wish {
                    Some(wish) => self.wished(wish),
                    None => return,
                },
                () = timeout => self.handle(Input::Timeout),
            }
            // What waits already is taken in one go: fewer turns of the runtime under load.
            for _ in 0..BATCH {
                let Ok(arrival) = self.arrivals.try_recv() else { break };
                self.arrived(arrival);
            }
            deadline = self.settle();
        }
    }

    fn handle(&mut self, input: Input) {
        self.node.handle_input(Instant::now(), input);
    }

    fn arrived(&mut self, arrival: Arrival) {
        let input = match arrival {
            Arrival::Message { flow, message } => {
                Input::Message { flow, message: Box::new(message) }
            }
            Arrival::Closed(connection) => Input::ConnectionClosed(connection),
            Arrival::Failed(flow) => Input::TransportFailed(flow),
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

    fn wished(&mut self, wish: Wish) {
        match wish {
            Wish::Users(users, plan) => {
                self.handle(Input::Users { users, plan: Box::new(plan) });
            }
            Wish::Report(answer) => {
                // Whoever asked may have given up.
                let _ = answer.send(self.report());
            }
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
    fn settle(&mut self) -> Option<Instant> {
        loop {
            match self.node.poll_output() {
                Output::Transmit(transmit) => self.transport.send(transmit),
                Output::Media(command) => self.media.send(*command),
                Output::AppSend { connection, text } => self.apps.send(connection, text),
                Output::AppClose { connection, code, reason } => {
                    self.apps.close(connection, code, reason);
                }
                Output::Lookup(lookup) => self.look_up(*lookup),
                Output::Resolve { registration, host, port, transport } => {
                    self.resolve(registration, host, port, transport);
                }
                Output::Binding(change) => {
                    if let Some(write) = bindings::write(&change, &self.clock) {
                        self.writer.submit(write);
                    }
                }
                Output::Report(report) => {
                    let cdr = records::cdr(&report.record, &report.media, &self.clock);
                    records::log(&cdr);
                    self.ended.count(report.record.ended, report.record.answered.is_some());
                    self.writer.submit(Write::Cdr(Box::new(cdr)));
                }
                Output::Timeout(deadline) => {
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

    fn report(&self) -> Signaling {
        let counters = self.node.counters();
        Signaling {
            calls: counters.calls as u64,
            legs: counters.legs as u64,
            bindings: counters.bindings as u64,
            transactions: counters.sip_transactions as u64,
            defects: counters.panics,
            is_stopping: self.is_stopping,
            sip: counters.sip,
            app_clients: counters.app_clients as u64,
            apps: counters.apps,
            ended: self.ended.clone(),
        }
    }
}

const BATCH: usize = 64;
