//! Server transactions (RFC 3261 §17.2, RFC 6026 §7.1).
//!
//! Answers repeated requests with the cached response. A 2xx to an INVITE is repeated here too
//! until the ACK comes (RFC 3261 §13.3.1.4), so that no user has to own that timer.

use std::time::Duration;

use bytes::Bytes;

use super::{Action, Actions, Timer, Timing};
use crate::StatusCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No final response yet.
    Proceeding,
    /// A 2xx to an INVITE was sent (RFC 6026); `true` once its ACK came.
    Accepted {
        acknowledged: bool,
    },
    Completed,
    Confirmed,
}

#[derive(Debug)]
pub(crate) enum ServerInput {
    /// The request came again.
    Repeated,
    Respond(StatusCode, Bytes),
    /// The peer is reached another way, and may have missed what was said.
    Redirected,
    /// The ACK, of a failure or of the 2xx.
    Ack,
    Timer(Timer),
}

#[derive(Debug)]
pub(crate) struct ServerTransaction {
    state: State,
    is_invite: bool,
    reliable: bool,
    /// The last response sent; empty before the first, and once nobody can miss it any more.
    response: Bytes,
    interval: Duration,
}

impl ServerTransaction {
    pub(crate) fn start(is_invite: bool, reliable: bool, timing: &Timing) -> (Self, Actions) {
        let machine = Self {
            state: State::Proceeding,
            is_invite,
            reliable,
            response: Bytes::new(),
            interval: timing.t1,
        };
        let actions =
            if is_invite { vec![Action::Set(Timer::Trying, TRYING_AFTER)] } else { vec![] };
        (machine, actions)
    }

    /// True until a final response was sent.
    pub(crate) fn is_pending(&self) -> bool {
        self.state == State::Proceeding
    }

    /// True once anything was answered: no 100 is needed any more.
    pub(crate) fn has_answered(&self) -> bool {
        !self.is_pending() || !self.response.is_empty()
    }

    /// True once a 2xx to an INVITE was sent.
    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self.state, State::Accepted { .. })
    }

    pub(crate) fn handle(&mut self, input: ServerInput, timing: &Timing) -> Actions {
        use ServerInput as I;
        use State::{Accepted, Completed, Confirmed, Proceeding};
        match (self.state, input) {
            (Proceeding, I::Respond(status, bytes)) => self.respond(status, bytes, timing),
            (Proceeding | Completed, I::Repeated) => self.repeat(),
            (Proceeding | Accepted { acknowledged: false } | Completed, I::Redirected) => {
                self.repeat()
            }
            (Accepted { acknowledged: false }, I::Timer(Timer::G)) => self.retransmit(timing),
            (Accepted { acknowledged: false }, I::Ack) => {
                self.state = Accepted { acknowledged: true };
                self.response = Bytes::new();
                vec![Action::Cancel(Timer::G)]
            }
            (Accepted { acknowledged }, I::Timer(Timer::L)) if self.is_invite => {
                let missing = (!acknowledged).then_some(Action::AckMissing);
                missing.into_iter().chain([Action::Terminate]).collect()
            }
            (Completed, I::Timer(Timer::G)) => self.retransmit(timing),
            (Completed, I::Ack) if self.is_invite => {
                self.state = Confirmed;
                self.response = Bytes::new();
                vec![
                    Action::Cancel(Timer::G),
                    Action::Cancel(Timer::H),
                    Action::Set(Timer::I, timing.short(self.reliable)),
                ]
            }
            (Completed, I::Timer(Timer::H)) => vec![Action::AckMissing, Action::Terminate],
            (Completed, I::Timer(Timer::J)) | (Confirmed, I::Timer(Timer::I)) => {
                vec![Action::Terminate]
            }
            // A repeated INVITE after the 2xx is absorbed: the 2xx is on its own timer. Late
            // input is ordinary on UDP.
            (Proceeding | Accepted { .. } | Completed | Confirmed, _) => vec![],
        }
    }

    fn respond(&mut self, status: StatusCode, bytes: Bytes, timing: &Timing) -> Actions {
        self.response = bytes.clone();
        let mut actions = vec![Action::Cancel(Timer::Trying), Action::Send(bytes)];
        if status.is_provisional() {
            return actions;
        }
        if !self.is_invite {
            self.state = State::Completed;
            // Zero over a reliable transport (RFC 3261 §17.2.2).
            let wait = if self.reliable { Duration::ZERO } else { timing.long() };
            actions.push(Action::Set(Timer::J, wait));
        } else if status.is_success() {
            self.state = State::Accepted { acknowledged: false };
            // RFC 3261 §13.3.1.4: a 2xx is repeated over every transport, as the ACK may be
            // lost behind a proxy.
            actions.push(Action::Set(Timer::G, timing.t1));
            actions.push(Action::Set(Timer::L, timing.long()));
        } else {
            self.state = State::Completed;
            if !self.reliable {
                actions.push(Action::Set(Timer::G, timing.t1));
            }
            actions.push(Action::Set(Timer::H, timing.long()));
        }
        actions
    }

    fn repeat(&self) -> Actions {
        if self.response.is_empty() { vec![] } else { vec![Action::Send(self.response.clone())] }
    }

    fn retransmit(&mut self, timing: &Timing) -> Actions {
        self.interval = (self.interval * 2).min(timing.t2);
        vec![Action::Send(self.response.clone()), Action::Set(Timer::G, self.interval)]
    }
}

/// RFC 3261 §17.2.1: a 100 goes out unless the user answers within 200 ms.
const TRYING_AFTER: Duration = Duration::from_millis(200);
