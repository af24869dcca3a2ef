//! A simulated terminal of the call API: what it says on its stream, and what it knows of calls.

use std::collections::{BTreeMap, VecDeque};

use crosspoint_base::{ConnectionId, Private, Secret};
use crosspoint_connectors::webterminal::{Body, Fault, Message, Mode};

use crate::phone::Manner;

/// Where one call of a terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TerminalCall {
    Calling,
    RingingThere,
    RingingHere,
    Up,
    /// It goes on elsewhere.
    Moved,
    Over,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) user: String,
    pub(crate) number: String,
    pub(crate) mode: Mode,
    pub(crate) manner: Manner,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) key: Option<Secret<String>>,
    pub(crate) is_resumed: bool,
    pub(crate) calls: BTreeMap<String, TerminalCall>,
    /// Who has called it.
    pub(crate) callers: Vec<String>,
    /// `InCall` and `Idle`, with the ids they came with.
    pub(crate) told: Vec<(String, bool)>,
    pub(crate) faults: Vec<Fault>,
    drawn: u32,
    to_send: VecDeque<Message>,
}

impl Terminal {
    pub(crate) fn new(user: &str, number: &str, mode: Mode) -> Self {
        Self {
            user: user.to_owned(),
            number: number.to_owned(),
            mode,
            manner: Manner::Answer,
            connection: None,
            key: None,
            is_resumed: false,
            calls: BTreeMap::new(),
            callers: vec![],
            told: vec![],
            faults: vec![],
            drawn: 0,
            to_send: VecDeque::new(),
        }
    }

    pub(crate) fn poll_message(&mut self) -> Option<Message> {
        self.to_send.pop_front()
    }

    /// Calls a number, or takes over what runs under the id.
    pub(crate) fn offer(&mut self, id: &str, number: Option<&str>) {
        self.calls.insert(id.to_owned(), TerminalCall::Calling);
        let sdp = self.describe("actpass");
        self.say(id, Body::Offer { sdp, number: number.map(|number| Private(number.to_owned())) });
    }

    pub(crate) fn answer(&mut self) {
        let ringing = |(_, call): &(&String, &TerminalCall)| **call == TerminalCall::RingingHere;
        let Some(id) = self.calls.iter().find(ringing).map(|(id, _)| id.clone()) else { return };
        self.calls.insert(id.clone(), TerminalCall::Up);
        let sdp = self.describe("active");
        self.say(&id, Body::Answer { sdp });
    }

    pub(crate) fn hang_up(&mut self) {
        for id in self.live() {
            self.calls.insert(id.clone(), TerminalCall::Over);
            self.say(&id, Body::Bye);
        }
    }

    pub(crate) fn push_to_phone(&mut self) {
        for id in self.live() {
            self.say(&id, Body::ToPhone);
        }
    }

    pub(crate) fn live(&self) -> Vec<String> {
        let is_live =
            |call: &TerminalCall| !matches!(call, TerminalCall::Over | TerminalCall::Moved);
        self.calls.iter().filter(|(_, call)| is_live(call)).map(|(id, _)| id.clone()).collect()
    }

    /// Says anything at all, as a hostile client would.
    pub(crate) fn say(&mut self, id: &str, body: Body) {
        self.to_send.push_back(Message { call: id.to_owned(), body });
    }

    pub(crate) fn hear(&mut self, message: Message) {
        // A `Pipe` need not look at ids.
        let id = match self.mode {
            Mode::MultiPipe => message.call,
            Mode::Pipe => self.live().pop().unwrap_or(message.call),
        };
        let before = self.calls.get(&id).copied();
        match message.body {
            Body::Offer { number, .. } if before == Some(TerminalCall::Up) => {
                assert_eq!(number, None, "a call that is up is nobody's any more");
                let sdp = self.describe("active");
                self.say(&id, Body::Answer { sdp });
            }
            Body::Offer { number, .. } => {
                self.callers.push(number.map(|n| n.0).unwrap_or_default());
                self.calls.insert(id.clone(), TerminalCall::RingingHere);
                self.called(&id);
            }
            Body::Ringing => drop(self.calls.insert(id, TerminalCall::RingingThere)),
            Body::Answer { .. } => drop(self.calls.insert(id, TerminalCall::Up)),
            Body::Bye => drop(self.calls.insert(id, TerminalCall::Over)),
            Body::InCall { .. } => {
                if before == Some(TerminalCall::Up) {
                    self.calls.insert(id.clone(), TerminalCall::Moved);
                }
                self.told.push((id, true));
            }
            Body::Idle => self.told.push((id, false)),
            Body::Error(fault) => self.faults.push(fault),
            Body::ToPhone | Body::Empty => panic!("we never say this"),
        }
    }

    fn called(&mut self, id: &str) {
        match self.manner {
            Manner::Ignore => {}
            Manner::Ring | Manner::EarlyThenRing => self.say(id, Body::Ringing),
            // The protocol has one word for no.
            Manner::Busy | Manner::Fail | Manner::Decline | Manner::SendOn(_) => {
                self.calls.insert(id.to_owned(), TerminalCall::Over);
                self.say(id, Body::Bye);
            }
            Manner::Answer | Manner::AnswerWithTimer | Manner::EarlyThenAnswer => self.answer(),
        }
    }

    fn describe(&mut self, setup: &str) -> Private<String> {
        self.drawn += 1;
        Private(crate::app::description(u64::from(self.drawn), setup))
    }
}
