//! Runs the node: gives it messages, media events, the operator's wishes and time, and does what
//! it says.
//!
//! The node is one machine on one task. Nothing here waits for anything but the next input, and
//! nothing here decides anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crosspoint_call::router::Plan;
use crosspoint_media::control;
use crosspoint_net::{Arrival, MediaPool, SipTransport};
use crosspoint_node::{Input, Node, Output};
use crosspoint_sip::digest::UserHa1;
use crosspoint_state::{Write, WriterHandle};
use tokio::sync::{mpsc, oneshot};

use super::clock::Clock;
use super::{bindings, records};
use crate::metrics::{EndedCalls, Signaling};

/// What the rest of the gateway wants of the node.
pub(super) enum Wish {
    /// Who may sign in, and who means whom.
    Users(BTreeMap<Arc<str>, UserHa1>, Plan),
    /// How is it going?
    Report(oneshot::Sender<Signaling>),
    /// End every call; the sender hears when all are over.
    Stop(oneshot::Sender<()>),
}

/// The node with everything it talks to.
pub(super) struct Driver {
    pub(super) node: Node,
    pub(super) transport: SipTransport,
    pub(super) media: MediaPool,
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

    fn wished(&mut self, wish: Wish) {
        match wish {
            Wish::Users(users, plan) => {
                self.handle(Input::Users { users, plan: Box::new(plan) });
            }
            Wish::Report(answer) => {
                // Whoever asked may have given up.
                let _ = answer.send(self.report());
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
            ended: self.ended.clone(),
        }
    }
}

const BATCH: usize = 64;
