//! What terminals of the call API have to do with the other parts.

use std::time::Instant;

use crosspoint_base::ConnectionId;
use crosspoint_connectors::webterminal::{self, Opening, StreamEnd, Subscriber};
use crosspoint_ladder::{Message, Note, Protocol};

use super::ladder::as_json;
use super::{Node, Output};

/// What happens to streams of the call API.
#[derive(Debug)]
pub enum TerminalInput {
    /// It was allowed.
    Opened {
        connection: ConnectionId,
        opening: Box<Opening>,
    },
    Said {
        connection: ConnectionId,
        message: Box<webterminal::Message>,
    },
    /// The terminal has no more to say, and still listens.
    HalfClosed(ConnectionId),
    Closed {
        connection: ConnectionId,
        end: StreamEnd,
    },
}

impl Node {
    pub(super) fn terminal_input(&mut self, now: Instant, input: TerminalInput) {
        match input {
            TerminalInput::Opened { connection, opening } => {
                self.terminals.handle_open(now, connection, *opening);
            }
            TerminalInput::Said { connection, message } => {
                let said = self.ladders.is_on().then(|| as_json(&message));
                self.terminals.handle_message(now, connection, *message);
                let about = self.terminals.take_heard();
                let said = || Message::plain(Protocol::CallApi, false, said.unwrap_or_default());
                self.heard(now, connection, about, said);
            }
            TerminalInput::HalfClosed(connection) => {
                self.terminals.handle_half_closed(connection);
            }
            TerminalInput::Closed { connection, end } => {
                self.terminals.handle_closed(now, connection, end);
            }
        }
    }

    /// Whose calls are meant by a user's name or number, in either form of a whole number.
    #[must_use]
    pub fn subscriber(&self, name: &str) -> Option<Subscriber> {
        let digits = name.trim_start_matches('+');
        let forms = [name.to_owned(), format!("+{digits}"), digits.to_owned()];
        let user = forms.iter().find_map(|form| self.plan.users.get(form))?.clone();
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // A number that was named is the one that is meant, of several that a user may have.
        let number = if is_number(digits) {
            name.to_owned()
        } else {
            self.plan.outside_numbers.get(&user).cloned().unwrap_or_else(|| user.to_string())
        };
        Some(Subscriber { user, number: webterminal::shown(&number) })
    }

    /// Says whether there was anything to do.
    pub(super) fn settle_terminals(&mut self, now: Instant) -> bool {
        let mut was_busy = false;
        loop {
            let output = match self.terminals.poll_output() {
                webterminal::Output::Timeout(_) => {
                    let watched = self.terminals.take_newly_watched();
                    if watched.is_empty() {
                        return was_busy;
                    }
                    watched.iter().for_each(|user| self.tell_calls_of(now, user));
                    continue;
                }
                webterminal::Output::Opened { connection, resume, is_resumed } => {
                    Output::TerminalOpened { connection, resume, is_resumed }
                }
                webterminal::Output::Send { connection, leg, message } => {
                    let said = || Message::plain(Protocol::CallApi, true, as_json(&message));
                    self.tells(now, (connection, leg), said);
                    Output::TerminalSend { connection, message: Box::new(message) }
                }
                webterminal::Output::Close { connection, why } => {
                    Output::TerminalClose { connection, why }
                }
                webterminal::Output::Leg(leg, event) => {
                    was_busy = true;
                    self.leg_said(now, leg, *event);
                    continue;
                }
                webterminal::Output::Away(leg) => {
                    self.ladders.note(now, leg, Note::TimerRang("away"));
                    continue;
                }
            };
            self.outputs.push_back(output);
        }
    }
}
