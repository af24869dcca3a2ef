//! Client transactions (RFC 3261 §17.1, RFC 6026 §7.2).
//!
//! INVITE: retransmits until the peer answers, acknowledges final failures itself, and passes
//! every 2xx up, because a forked call may produce several. Others: retransmits until a final
//! response. The ACK for a 2xx is not here: the dialog sends it, end to end.

use std::time::Duration;

use bytes::Bytes;

use super::{Action, Actions, Timer, Timing};
use crate::StatusCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// INVITE: `Calling`; others: `Trying`.
    Calling,
    Proceeding,
    /// A 2xx came for an INVITE (RFC 6026).
    Accepted,
    Completed,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum ClientInput {
    Response(StatusCode),
    Timer(Timer),
    TransportFailed,
}

#[derive(Debug)]
pub(crate) struct ClientTransaction {
    state: State,
    is_invite: bool,
    reliable: bool,
    /// The request, for retransmission; dropped with the final response. An INVITE that was refused
    /// stays until that is acknowledged.
    request: Bytes,
    ack: Option<Bytes>,
    interval: Duration,
}

impl ClientTransaction {
    pub(crate) fn start(
        is_invite: bool,
        reliable: bool,
        request: Bytes,
        timing: &Timing,
    ) -> (Self, Actions) {
        let mut actions = vec![Action::Send(request.clone())];
        let (again, give_up) = if is_invite { (Timer::A, Timer::B) } else { (Timer::E, Timer::F) };
        if !reliable {
            actions.push(Action::Set(again, timing.t1));
        }
        actions.push(Action::Set(give_up, timing.long()));
        let machine = Self {
            state: State::Calling,
            is_invite,
            reliable,
            request,
            ack: None,
            interval: timing.t1,
        };
        (machine, actions)
    }

    /// True until a final response came: the request can still be cancelled.
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.state, State::Calling | State::Proceeding)
    }

    /// True once a provisional response came: a CANCEL may be sent (RFC 3261 §9.1).
    pub(crate) fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }

    /// Sends the request again and counts its time anew: it takes another way from now on.
    pub(crate) fn restart(&mut self, timing: &Timing) -> Actions {
        if !self.is_pending() {
            return vec![];
        }
        self.interval = timing.t1;
        let (again, give_up) = match (self.is_invite, self.state) {
            (true, State::Proceeding) => (None, Action::Set(Timer::C, timing.timer_c)),
            (true, _) => (Some(Timer::A), Action::Set(Timer::B, timing.long())),
            (false, _) => (Some(Timer::E), Action::Set(Timer::F, timing.long())),
        };
        let again = again.filter(|_| !self.reliable);
        let again = again.map(|timer| Action::Set(timer, self.interval));
        let now = [Action::Send(self.request.clone()), give_up];
        now.into_iter().chain(again).collect()
    }

    /// Keeps the ACK of a failure, for when the failure is repeated.
    pub(crate) fn set_ack(&mut self, ack: Bytes) {
        self.ack = Some(ack);
        self.request = Bytes::new();
    }

    /// The INVITE as it was sent, if it is one.
    pub(crate) fn invite(&self) -> Option<&Bytes> {
        Some(&self.request).filter(|request| self.is_invite && !request.is_empty())
    }

    pub(crate) fn handle(&mut self, input: ClientInput, timing: &Timing) -> Actions {
        if self.is_invite {
            self.handle_invite(input, timing)
        } else {
            self.handle_other(input, timing)
        }
    }

    fn handle_invite(&mut self, input: ClientInput, timing: &Timing) -> Actions {
        use ClientInput as I;
        use State::{Accepted, Calling, Completed, Proceeding};
        match (self.state, input) {
            (Calling, I::Timer(Timer::A)) => {
                self.interval *= 2;
                vec![Action::Send(self.request.clone()), Action::Set(Timer::A, self.interval)]
            }
            (Calling, I::Timer(Timer::B)) | (Proceeding, I::Timer(Timer::C)) => {
                vec![Action::TimedOut, Action::Terminate]
            }
            (Calling | Proceeding, I::Response(status)) if status.is_provisional() => {
                self.state = Proceeding;
                vec![
                    Action::Cancel(Timer::A),
                    Action::Cancel(Timer::B),
                    Action::Set(Timer::C, timing.timer_c),
                    Action::Deliver,
                ]
            }
            (Calling | Proceeding, I::Response(status)) if status.is_success() => {
                self.enter_final(Accepted);
                let mut actions = stop_pending();
                actions.extend([Action::Deliver, Action::Set(Timer::M, timing.long())]);
                actions
            }
            (Calling | Proceeding, I::Response(_)) => {
                self.enter_final(Completed);
                let mut actions = stop_pending();
                actions.extend([
                    Action::Acknowledge,
                    Action::Deliver,
                    Action::Set(Timer::D, timing.d(self.reliable)),
                ]);
                actions
            }
            (Accepted, I::Response(status)) if status.is_success() => vec![Action::Deliver],
            (Completed, I::Response(status)) if status.is_final() => {
                self.ack.iter().cloned().map(Action::Send).collect()
            }
            (Accepted, I::Timer(Timer::M)) | (Completed, I::Timer(Timer::D)) => {
                vec![Action::Terminate]
            }
            // The endpoint tells the user; nothing is left to do here.
            (Calling | Proceeding, I::TransportFailed) => vec![Action::Terminate],
            // Late input is ordinary on UDP.
            (Calling | Proceeding | Accepted | Completed, _) => vec![],
        }
    }

    fn handle_other(&mut self, input: ClientInput, timing: &Timing) -> Actions {
        use ClientInput as I;
        use State::{Accepted, Calling, Completed, Proceeding};
        match (self.state, input) {
            (Calling | Proceeding, I::Timer(Timer::E)) => {
                self.interval = match self.state {
                    Proceeding => timing.t2,
                    _ => (self.interval * 2).min(timing.t2),
                };
                vec![Action::Send(self.request.clone()), Action::Set(Timer::E, self.interval)]
            }
            (Calling | Proceeding, I::Timer(Timer::F)) => {
                vec![Action::TimedOut, Action::Terminate]
            }
            (Calling | Proceeding, I::Response(status)) if status.is_provisional() => {
                self.state = Proceeding;
                vec![Action::Deliver]
            }
            (Calling | Proceeding, I::Response(_)) => {
                self.enter_final(Completed);
                vec![
                    Action::Cancel(Timer::E),
                    Action::Cancel(Timer::F),
                    Action::Deliver,
                    Action::Set(Timer::K, timing.short(self.reliable)),
                ]
            }
            (Completed, I::Timer(Timer::K)) => vec![Action::Terminate],
            (Calling | Proceeding, I::TransportFailed) => vec![Action::Terminate],
            // `Accepted` is for INVITE only. Late input is ordinary on UDP.
            (Calling | Proceeding | Accepted | Completed, _) => vec![],
        }
    }

    fn enter_final(&mut self, state: State) {
        self.state = state;
        let is_refused_invite = self.is_invite && state == State::Completed;
        if !is_refused_invite {
            self.request = Bytes::new();
        }
    }
}

fn stop_pending() -> Actions {
    [Timer::A, Timer::B, Timer::C].map(Action::Cancel).into()
}
