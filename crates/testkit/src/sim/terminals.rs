//! Terminals of the call API in the simulated world.

use std::sync::Arc;

use crosspoint_base::{ConnectionId, Secret};
use crosspoint_connectors::webterminal::{
    Body, Fault, Message, Mode, Opening, StreamEnd, Subscriber,
};
use crosspoint_node::{Input, TerminalInput};

use super::Sim;
use crate::phone::Manner;
use crate::terminal::{Terminal, TerminalCall};

/// A terminal of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TerminalId(usize);

impl Sim {
    /// A terminal of a user who has this number outside, with an open stream.
    pub fn add_terminal(&mut self, user: &str, number: &str, mode: Mode) -> TerminalId {
        self.know(user);
        self.rule(|plan| {
            plan.users.insert(number.to_owned(), user.into());
        });
        let id = TerminalId(self.terminals.len());
        self.terminals.push(Terminal::new(user, number, mode));
        self.terminal_opens(id, false);
        id
    }

    /// Opens a stream: that of a terminal that comes back, if it says so.
    pub fn terminal_opens(&mut self, id: TerminalId, comes_back: bool) {
        self.sockets += 1;
        let connection = ConnectionId(STREAMS + self.sockets);
        let terminal = &mut self.terminals[id.0];
        terminal.connection = Some(connection);
        let resume = terminal.key.take().filter(|_| comes_back);
        let subscriber =
            Subscriber { user: Arc::from(terminal.user.as_str()), number: terminal.number.clone() };
        let mode = terminal.mode;
        let opening = Box::new(Opening {
            subscriber,
            mode,
            resume,
            session: None,
            expires: None,
            is_half_duplex: false,
        });
        self.node
            .handle_input(self.now, Input::Terminal(TerminalInput::Opened { connection, opening }));
        self.settle();
    }

    /// The stream is over, one way or another.
    pub fn terminal_leaves(&mut self, id: TerminalId, end: StreamEnd) {
        if let Some(connection) = self.terminals[id.0].connection.take() {
            self.node
                .handle_input(self.now, Input::Terminal(TerminalInput::Closed { connection, end }));
            self.settle();
        }
    }

    pub fn set_terminal_manner(&mut self, id: TerminalId, manner: Manner) {
        self.terminals[id.0].manner = manner;
    }

    /// Calls a number under this id; without a number it takes over what has the id.
    pub fn terminal_offers(&mut self, id: TerminalId, call: &str, number: Option<&str>) {
        self.terminals[id.0].offer(call, number);
        self.settle();
    }

    pub fn terminal_answers(&mut self, id: TerminalId) {
        self.terminals[id.0].answer();
        self.settle();
    }

    pub fn terminal_hangs_up(&mut self, id: TerminalId) {
        self.terminals[id.0].hang_up();
        self.settle();
    }

    /// Has its call go on at its user's phone.
    pub fn terminal_pushes(&mut self, id: TerminalId) {
        self.terminals[id.0].push_to_phone();
        self.settle();
    }

    /// The terminal says something that a good client would not.
    pub fn terminal_says(&mut self, id: TerminalId, call: &str, body: Body) {
        self.terminals[id.0].say(call, body);
        self.settle();
    }

    /// The states of its calls, in the order of their ids.
    #[must_use]
    pub fn terminal_calls(&self, id: TerminalId) -> Vec<TerminalCall> {
        self.terminals[id.0].calls.values().copied().collect()
    }

    #[must_use]
    pub fn terminal_is_up(&self, id: TerminalId) -> bool {
        self.terminal_calls(id).contains(&TerminalCall::Up)
    }

    /// The numbers that have called it.
    #[must_use]
    pub fn terminal_callers(&self, id: TerminalId) -> &[String] {
        &self.terminals[id.0].callers
    }

    /// What it was told of calls elsewhere: the id, and whether one runs.
    #[must_use]
    pub fn terminal_told(&self, id: TerminalId) -> &[(String, bool)] {
        &self.terminals[id.0].told
    }

    #[must_use]
    pub fn terminal_faults(&self, id: TerminalId) -> &[Fault] {
        &self.terminals[id.0].faults
    }

    #[must_use]
    pub fn terminal_is_resumed(&self, id: TerminalId) -> bool {
        self.terminals[id.0].is_resumed
    }

    /// Moves what terminals say to the node; says whether there was anything.
    pub(super) fn settle_terminals(&mut self) -> bool {
        let mut was_busy = false;
        for terminal in &mut self.terminals {
            let Some(connection) = terminal.connection else { continue };
            while let Some(message) = terminal.poll_message() {
                was_busy = true;
                let message = Box::new(message);
                self.node.handle_input(
                    self.now,
                    Input::Terminal(TerminalInput::Said { connection, message }),
                );
            }
        }
        was_busy
    }

    fn terminal_at(&mut self, connection: ConnectionId) -> Option<&mut Terminal> {
        self.terminals.iter_mut().find(|t| t.connection == Some(connection))
    }

    pub(super) fn terminal_is_open(
        &mut self,
        connection: ConnectionId,
        key: Secret<String>,
        is_resumed: bool,
    ) {
        if let Some(terminal) = self.terminal_at(connection) {
            terminal.key = Some(key);
            terminal.is_resumed = is_resumed;
        }
    }

    pub(super) fn terminal_hears(&mut self, connection: ConnectionId, message: Message) {
        if let Some(terminal) = self.terminal_at(connection) {
            terminal.hear(message);
        }
    }

    pub(super) fn terminal_is_cut(&mut self, connection: ConnectionId) {
        if let Some(terminal) = self.terminal_at(connection) {
            terminal.connection = None;
        }
    }
}

/// Apart from any other connection.
const STREAMS: u64 = 2_000_000;
