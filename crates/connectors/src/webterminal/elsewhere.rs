//! Calls that a subscriber has on other devices: told by `InCall` and `Idle`, and pulled by id.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crosspoint_base::{Gcid, Private};

use crate::rtcengine::UserCall;

use super::number::shown;
use super::{Body, Mode, TerminalKey, WebTerminals};

impl WebTerminals {
    pub(super) fn set_user_calls(&mut self, user: &str, calls: &[UserCall]) {
        let Some((user, keys)) = self.users.get_key_value(user) else { return };
        let (user, keys) = (user.clone(), keys.clone());
        let is_first = self.user_calls.insert(user, calls.into()).is_none();
        for key in keys {
            if is_first {
                self.know_what_runs(key);
            } else {
                self.tell_of_elsewhere(key);
            }
        }
    }

    /// The beginning of a terminal: a `Pipe` hears how its subscriber is; a `MultiPipe` hears of
    /// what is established from now on.
    pub(super) fn know_what_runs(&mut self, key: TerminalKey) {
        let Some(terminal) = self.terminals.get(&key) else { return };
        if terminal.mode == Mode::MultiPipe {
            let known = self.elsewhere(key).map(|call| call.gcid.clone()).collect();
            if let Some(terminal) = self.terminals.get_mut(&key) {
                terminal.known_before = known;
            }
            return;
        }
        self.tell_of_elsewhere(key);
    }

    /// Answered calls of the subscriber that this terminal has no part in, oldest first.
    fn elsewhere(&self, key: TerminalKey) -> impl Iterator<Item = &UserCall> {
        let terminal = self.terminals.get(&key);
        let calls = terminal.and_then(|t| self.user_calls.get(&t.subscriber.user));
        // A call that changes devices is for a moment on both.
        let own: Vec<&Gcid> = terminal
            .into_iter()
            .flat_map(|terminal| terminal.calls.values())
            .filter_map(|call| Some(&self.calls.get(call)?.gcid))
            .collect();
        let calls = calls.into_iter().flat_map(|calls| calls.iter());
        calls.filter(move |call| call.is_active && !own.contains(&&call.gcid))
    }

    /// Says what has changed since the terminal was told last.
    pub(super) fn tell_of_elsewhere(&mut self, key: TerminalKey) {
        let Some(terminal) = self.terminals.get(&key) else { return };
        // Whoever came to say one thing is about to go, and another stream of its hears the rest.
        if terminal.stream.is_none() || terminal.is_errand {
            return;
        }
        let user = terminal.subscriber.user.clone();
        if !self.user_calls.contains_key(&user) {
            return;
        }
        match terminal.mode {
            Mode::Pipe => self.tell_pipe(key),
            Mode::MultiPipe => self.tell_multi_pipe(key, &user),
        }
        self.close_if_over(key);
    }

    /// One state: in a call elsewhere or not. While it has a call of its own it knows enough.
    fn tell_pipe(&mut self, key: TerminalKey) {
        let latest = self.elsewhere(key).last();
        let latest = latest.map(|call| (call.gcid.clone(), shown(call.peer.address.expose())));
        let Some(terminal) = self.terminals.get_mut(&key) else { return };
        if !terminal.calls.is_empty() {
            return;
        }
        let was_told = terminal.told.values().next().cloned();
        let owes = std::mem::take(&mut terminal.owes_state);
        terminal.told.clear();
        match latest {
            Some((gcid, number)) => {
                let is_news = owes || was_told.as_ref() != Some(&gcid);
                terminal.told.insert("".into(), gcid);
                if is_news {
                    self.send(key, "", Body::InCall { number: Private(number) });
                }
            }
            None if owes || was_told.is_some() => self.send(key, "", Body::Idle),
            None => {}
        }
    }

    fn tell_multi_pipe(&mut self, key: TerminalKey, user: &str) {
        let now: BTreeMap<Gcid, String> = self
            .elsewhere(key)
            .map(|call| (call.gcid.clone(), shown(call.peer.address.expose())))
            .collect();
        let Some(terminal) = self.terminals.get_mut(&key) else { return };
        terminal.known_before.retain(|gcid| now.contains_key(gcid));
        let ended: Vec<Box<str>> = terminal
            .told
            .iter()
            .filter(|(_, gcid)| !now.contains_key(*gcid))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &ended {
            terminal.told.remove(id);
        }
        let is_new = |gcid: &Gcid| {
            !terminal.known_before.contains(gcid) && !terminal.told.values().any(|t| t == gcid)
        };
        let news: Vec<(Gcid, String)> = now.into_iter().filter(|(gcid, _)| is_new(gcid)).collect();
        for id in ended {
            self.send(key, &id, Body::Idle);
        }
        for (gcid, number) in news {
            let id = self.id_of(user, &gcid);
            if let Some(terminal) = self.terminals.get_mut(&key) {
                terminal.told.insert(id.clone(), gcid);
            }
            self.send(key, &id, Body::InCall { number: Private(number) });
        }
    }

    /// The call elsewhere that a terminal means by an id.
    pub(super) fn elsewhere_by_id(&self, key: TerminalKey, id: &str) -> Option<(Gcid, String)> {
        let terminal = self.terminals.get(&key)?;
        let told = terminal.told.get(id);
        let is_meant = |call: &&UserCall| {
            told == Some(&call.gcid) || *self.id_of(&terminal.subscriber.user, &call.gcid) == *id
        };
        self.elsewhere(key).find(is_meant).map(found)
    }

    pub(super) fn latest_elsewhere(&self, key: TerminalKey) -> Option<(Gcid, String)> {
        self.elsewhere(key).last().map(found)
    }

    /// The id that a user's terminals know a call by: what the one chose that began it, or one
    /// that follows from the call's own.
    pub(super) fn id_of(&self, user: &str, gcid: &Gcid) -> Box<str> {
        let terminals = self.users.get(user).into_iter().flatten();
        let mut calls = terminals
            .filter_map(|key| self.terminals.get(key))
            .flat_map(|terminal| terminal.calls.iter());
        let known = calls.find(|(_, call)| self.calls.get(call).is_some_and(|c| c.gcid == *gcid));
        match known {
            Some((id, _)) => id.clone(),
            None => uuid_of(gcid.as_str()).into(),
        }
    }

    pub(super) fn uuid(&mut self) -> String {
        uuid_of(&self.rng.hex(16))
    }
}

fn found(call: &UserCall) -> (Gcid, String) {
    (call.gcid.clone(), shown(call.peer.address.expose()))
}

/// Ours have as many bits as a UUID; of others a part is as good as all.
fn uuid_of(gcid: &str) -> String {
    let is_hex = gcid.len() == 32 && gcid.bytes().all(|b| b.is_ascii_hexdigit());
    let hex = if is_hex {
        gcid.to_ascii_lowercase()
    } else {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, gcid).hash(&mut hasher);
            hasher.finish()
        };
        format!("{:016x}{:016x}", half(0), half(1))
    };
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::super::calls::is_uuid;
    use super::*;

    #[test]
    fn every_call_has_an_id_that_is_a_uuid() {
        let ours = uuid_of("0123456789abcdef0123456789ABCDEF");
        assert_eq!(ours, "01234567-89ab-cdef-0123-456789abcdef");
        let others = uuid_of("what another system chose");
        assert!(is_uuid(&others), "{others}");
        assert_eq!(others, uuid_of("what another system chose"));
        assert_ne!(others, uuid_of("something else"));
    }
}
