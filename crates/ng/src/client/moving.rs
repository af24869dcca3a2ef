//! Legs of different calls that are to hear each other: after an attended transfer, say.
//!
//! A server can join what one call of its own has, and no more. So both legs come to the media
//! plane beside us, which is told what their parties said last and then offers them anew
//! (decision 0025). Until they have answered they hear nothing.

use std::time::Instant;

use crosspoint_base::LegId;
use crosspoint_media::control::{Command, Event, SdpKind};
use crosspoint_sdp::Session;

use super::{Carrier, Client, Home};

impl Client {
    pub(super) fn bridge(&mut self, now: Instant, a: LegId, b: LegId) {
        self.join_bridged(now, a, b);
        // Who takes the place of another in a call that is up is in such a call from then on.
        let is_up = |leg: &LegId| self.legs.get(leg).is_some_and(|state| state.is_answered);
        if [a, b].iter().any(is_up) {
            for leg in [a, b] {
                self.answered(now, leg);
            }
        }
    }

    fn join_bridged(&mut self, now: Instant, a: LegId, b: LegId) {
        match (self.home(a), self.home(b)) {
            // Offer and answer joined those over there already.
            (Some(Home::Remote(call)), Some(Home::Remote(second))) if call == second => {
                return self.join_over_there(now, call, a, b);
            }
            (Some(Home::Remote(_) | Home::Local), Some(Home::Remote(_)))
            | (Some(Home::Remote(_)), Some(Home::Local)) => {
                self.fetch(now, a);
                self.fetch(now, b);
            }
            // Its description decides, and with a peer on a server it has joined that one then.
            (Some(Home::Undecided), _) | (_, Some(Home::Undecided)) => {
                for (leg, other) in [(a, b), (b, a)] {
                    let state = self.legs.get_mut(&leg);
                    if let Some(state) = state.filter(|state| state.home == Home::Undecided) {
                        state.bridged = Some(other);
                    }
                }
                return;
            }
            _ => {}
        }
        self.local(Command::Bridge { a, b });
    }

    /// A party of the call has another one for its peer: what was said for it is offered and answered
    /// over there, and it is told of nothing. The first answer of a call comes by itself.
    ///
    /// Interop: rtpengine 10.5 does that for parties of one kind only. What it has comes to us.
    fn join_over_there(&mut self, now: Instant, call: u64, a: LegId, b: LegId) {
        let joins = |old: LegId, new: LegId| {
            let [old, new] = [old, new].map(|leg| self.legs.get(&leg));
            old.is_some_and(|old| old.is_answered) && new.is_some_and(|new| !new.is_named)
        };
        let (old, new) = match (joins(a, b), joins(b, a)) {
            (true, _) => (a, b),
            (_, true) => (b, a),
            _ => return,
        };
        let server = self.calls.get(&call).map(|call| call.server);
        if server.is_some_and(|server| self.pool.is_ours(server)) {
            self.ask_to_join(now, old, new, call);
        } else {
            self.fetch(now, old);
            self.fetch(now, new);
            self.local(Command::Bridge { a, b });
        }
    }

    /// Takes a leg from its server.
    pub(super) fn fetch(&mut self, now: Instant, leg: LegId) {
        let Some(number) = self.call_of(leg) else { return };
        if let Some(call) = self.calls.get_mut(&number) {
            call.legs.retain(|other| *other != leg);
            call.closed.retain(|other| *other != leg);
            call.is_fetched_from = true;
            if call.legs.iter().all(|leg| call.closed.contains(leg)) {
                self.delete(now, number);
            }
        }
        let Some(state) = self.legs.get_mut(&leg) else { return };
        state.home = Home::Local;
        let said = state.said.take();
        self.carried(leg, Some(Carrier::Us));
        self.open_local(leg);
        if let Some((kind, said, _)) = said {
            // As if its party had offered that: sections, their names and codecs stay as they are.
            let description = if kind == SdpKind::Answer { unheld(&said) } else { said };
            self.repeated.extend([leg, leg]);
            self.local(Command::Accept { leg, kind: SdpKind::Offer, description });
            self.local(Command::Describe { leg, kind: SdpKind::Answer, peer: None });
        }
        self.local(Command::Answered { leg });
        self.event(Event::Displaced { leg });
    }

    /// Begins a leg in the media plane beside us.
    pub(super) fn open_local(&mut self, leg: LegId) {
        let Some(state) = self.legs.get_mut(&leg) else { return };
        let (profile, rules) = (state.profile, std::mem::take(&mut state.rules));
        self.local(Command::Open { leg, profile });
        rules.into_iter().for_each(|rule| self.local(rule));
    }
}

/// An answer says no more than its offer allowed, so a direction in it is the other side's wish.
fn unheld(description: &Session) -> Session {
    let is_direction = |line: &str| ["a=sendonly", "a=recvonly", "a=inactive"].contains(&line);
    let text: String = description
        .to_string()
        .lines()
        .filter(|line| !is_direction(line.trim_end()))
        .flat_map(|line| [line.trim_end(), "\r\n"])
        .collect();
    Session::parse(text.as_bytes()).unwrap_or_else(|_| description.clone())
}
