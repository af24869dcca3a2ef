//! `session.open`: a token becomes a client, new or one that comes back.

use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::{ConnectionId, Secret};
use serde_json::{Map, Value, json};

use super::accounts::{Account, Known};
use super::client::{Client, ClientSession};
use super::grant::{Denial, Grant, IceServer};
use super::message::Envelope;
use super::outbox::Outbox;
use super::socket::Opening;
use super::{ClientKey, Output, RtcEngine, Timer, address};

impl RtcEngine {
    pub(super) fn looked_up(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        answer: Result<Grant, Denial>,
    ) {
        let Some(opening) = self.take_opening(connection) else { return };
        let grant = answer.and_then(|grant| self.check(now, grant));
        let opened = grant.and_then(|grant| self.find_client(grant, &opening));
        match opened {
            Ok((key, is_new)) => self.attach(now, connection, key, is_new, opening.received),
            Err(denial) => self.deny(connection, denial, opening.token.expose()),
        }
    }

    fn check(&self, now: Instant, grant: Grant) -> Result<Grant, Denial> {
        if grant.expires <= now {
            Err(Denial::ExpiredToken)
        } else if grant.accounts.len() > self.config.max_accounts {
            Err(Denial::Internal)
        } else {
            Ok(grant)
        }
    }

    pub(super) fn deny(&mut self, connection: ConnectionId, denial: Denial, token: &str) {
        self.counters.denied += 1;
        let (kind, text) = match denial {
            Denial::InvalidToken => ("invalidToken", "the token is not known"),
            Denial::ExpiredToken => ("expiredToken", "the token has expired"),
            Denial::OriginDenied => ("originDenied", "pages of this origin may not use it"),
            Denial::Internal => ("internalError", "the session cannot be opened now"),
        };
        let body = json!({ "result": false, "reason": { "type": kind, "message": text } });
        let envelope = Envelope {
            method: "session.validated",
            from: "core",
            to: "browser",
            session: token,
            seq: None,
        };
        let text = envelope.print(&body);
        self.outputs.push_back(Output::Send { connection, leg: None, text });
        self.close(connection, 4401, kind);
    }

    /// The client that a socket is for; the flag says that it is new.
    fn find_client(
        &mut self,
        mut grant: Grant,
        opening: &Opening,
    ) -> Result<(ClientKey, bool), Denial> {
        let id = grant.session.clone();
        let ice_servers = std::mem::take(&mut grant.ice_servers);
        let known = self.sessions.get(&id).map(|s| (&s.accounts[..], &s.clients));
        let (before, clients) = known.map_or((&[][..], None), |(a, c)| (a, Some(c)));
        // Equal accounts are shared by all clients of the session.
        let accounts: Vec<Arc<Known>> = Known::all(grant)
            .map(|k| before.iter().find(|b| ***b == k).cloned().unwrap_or_else(|| Arc::new(k)))
            .collect();
        let at = |key: &&ClientKey| {
            let Some(client) = self.clients.get(key) else { return false };
            match &opening.client {
                Some(name) => client.name.as_ref() == Some(name),
                None => client.name.is_none() && client.socket.is_none(),
            }
        };
        let found = clients.into_iter().flatten().find(at).copied();
        let count = clients.map_or(0, std::collections::BTreeSet::len);
        if found.is_none()
            && (self.clients.len() >= self.config.max_clients
                || count >= self.config.max_clients_per_session)
        {
            return Err(Denial::Internal);
        }
        let session = self.sessions.entry(id.clone()).or_insert_with(|| ClientSession {
            token: Secret::new("".into()),
            accounts: vec![],
            ice_servers: vec![],
            clients: Default::default(),
        });
        session.token = opening.token.clone();
        session.accounts.clone_from(&accounts);
        session.ice_servers = ice_servers;
        if let Some(key) = found {
            self.renew_accounts(key, &accounts);
            return Ok((key, false));
        }
        self.next_client += 1;
        let key = ClientKey(self.next_client);
        session.clients.insert(key);
        let client = Client {
            session: id,
            name: opening.client.clone(),
            socket: None,
            accounts: accounts.into_iter().map(Account::new).collect(),
            calls: Default::default(),
            past: Default::default(),
            outbox: Outbox::default(),
        };
        self.clients.insert(key, client);
        self.counters.opened += 1;
        Ok((key, true))
    }

    /// Gives a client its socket, and what it missed.
    fn attach(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        key: ClientKey,
        is_new: bool,
        received: Option<u64>,
    ) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let received = received.filter(|r| !is_new && client.outbox.can_resume(*r));
        match received {
            Some(received) => client.outbox.acknowledge(received),
            None => client.outbox.clear(),
        }
        let before = client.socket.replace(connection);
        let missed: Vec<String> = client.outbox.kept().map(str::to_owned).collect();
        if let Some(before) = before {
            self.close(before, 4409, "replaced");
        }
        self.timers.cancel(&Timer::Resume(key));
        self.give_socket(connection, key);
        self.send_validated(key, received.is_some());
        self.client_came(key);
        if received.is_some() {
            self.counters.resumed += 1;
            let send = |text| Output::Send { connection, leg: None, text };
            self.outputs.extend(missed.into_iter().map(send));
        } else if !is_new {
            self.repeat_all_unanswered(key);
            self.repeat_user_calls(key);
        }
        self.expect_acks_again(now, key);
        self.begin_changes_again(now, key);
    }

    pub(super) fn send_validated(&mut self, key: ClientKey, resumed: bool) {
        let Some(client) = self.clients.get(&key) else { return };
        let Some(connection) = client.socket else { return };
        let accounts: Map<String, Value> = client
            .accounts
            .iter()
            .map(|account| {
                let known = &account.known;
                let value = json!({
                    "identifier": known.grant.identifier,
                    "target": known.target,
                    "network": { "tag": known.grant.network },
                    "state": self.account_state(account).0,
                });
                (known.name.clone(), value)
            })
            .collect();
        let calls = client.calls.values().filter_map(|call| self.calls.get(call));
        let calls: Vec<Value> = calls
            .map(|call| {
                let peer = |k: &Arc<Known>| address::peer(k, &call.story.peer, &self.config.domain);
                json!({
                    "id": &*call.id,
                    "gcid": call.gcid.as_str(),
                    "account": call.known().map(|k| k.name.as_str()),
                    "direction": if call.story.is_outgoing { "outgoing" } else { "incoming" },
                    "state": call.phase.word(),
                    "peer": call.known().map(peer),
                    "since": call.story.since,
                })
            })
            .collect();
        let mut body = json!({
            "result": true,
            "resumed": resumed,
            "window": self.config.resume_window.as_secs(),
            "accounts": accounts,
            "calls": calls,
        });
        if let Some(name) = &client.name {
            body["client"] = Value::from(&**name);
        }
        let session = self.sessions.get(&client.session);
        if let Some(session) = session.filter(|session| !session.ice_servers.is_empty()) {
            body["iceServers"] = session.ice_servers.iter().map(ice_server).collect();
        }
        self.send_to_socket(connection, "session.validated", &body);
    }
}

/// As browsers take it.
fn ice_server(server: &IceServer) -> Value {
    json!({
        "urls": server.urls,
        "username": server.username,
        "credential": server.credential.expose(),
    })
}
