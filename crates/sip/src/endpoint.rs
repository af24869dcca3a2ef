//! All transactions of a node under one roof: matching, retransmission, overload.
//!
//! The user hears requests, responses and the end of hope as [`Event`]s and answers by key.
//! ACKs of failures, 100 Trying, CANCEL's own 200 and everything repeated are dealt with here.
//! The ACK of a 2xx belongs to the dialog and passes through.

mod matching;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{
    ConnectionId, Flow, Rng, TimerTable, Transmit, push_endpoint, push_hex_number, push_number,
};

use crate::transaction::{
    Action, Actions, ClientInput, ClientTransaction, ServerInput, ServerTransaction, Timer, Timing,
};
use crate::{CSeq, HeaderName, Message, Method, Request, Response, StatusCode};
use matching::{Match, Matcher};

/// A client transaction, as its user names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey(u64);

/// A server transaction, as its user names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerKey(u64);

/// Bounds and times of an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    pub timing: Timing,
    /// Server transactions at once; more are answered with 503.
    pub max_server_transactions: usize,
    /// Of these, unanswered ones from one address; more are answered with 503.
    pub max_pending_per_source: usize,
    /// Told to the peer with the 503 (RFC 3261 §20.33).
    pub retry_after_seconds: u32,
    /// Host for our `Via` when the local address is a wildcard.
    pub via_host: Option<String>,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            timing: Timing::default(),
            max_server_transactions: 200_000,
            max_pending_per_source: 20_000,
            retry_after_seconds: 5,
            via_host: None,
        }
    }
}

/// What the endpoint tells its user.
#[derive(Debug)]
pub enum Event {
    Request {
        key: ServerKey,
        flow: Flow,
        request: Request,
    },
    /// The ACK of a 2xx: it belongs to a dialog and has no transaction.
    Ack {
        flow: Flow,
        request: Request,
    },
    /// The caller gave up this INVITE. Its CANCEL is answered; the INVITE's 487 is the user's.
    Cancelled {
        key: ServerKey,
        reason: Option<Bytes>,
    },
    /// Every provisional but 100, every final response, and every repeated 2xx of an INVITE.
    Response {
        key: ClientKey,
        flow: Flow,
        response: Response,
    },
    TimedOut {
        key: ClientKey,
    },
    TransportFailed {
        key: ClientKey,
    },
    /// An INVITE of ours is over, its waiting for repeats included.
    Ended {
        key: ClientKey,
    },
    /// No ACK came for a 2xx within 64·T1: the dialog must be ended (RFC 3261 §13.3.1.4).
    AckMissing {
        key: ServerKey,
    },
}

/// What the endpoint wants done.
#[derive(Debug)]
pub enum Output {
    Transmit(Transmit),
    Event(Box<Event>),
    Timeout(Option<Instant>),
}

/// What an endpoint has counted since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub requests: u64,
    pub responses: u64,
    pub retransmissions_absorbed: u64,
    pub stray_responses: u64,
    pub shed: u64,
    pub timeouts: u64,
    pub transport_failures: u64,
    pub acks_missing: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Client(ClientKey),
    Server(ServerKey),
}

/// Which timer of which transaction, in one word: many thousands of them wait. The number of the
/// transaction comes first, then whose it is, then the timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TimerKey(u64);

impl TimerKey {
    const IS_SERVER: u64 = 1 << 4;
    const TIMER: u64 = Self::IS_SERVER - 1;

    fn new(owner: Owner, timer: Timer) -> Self {
        let (number, side) = match owner {
            Owner::Client(ClientKey(number)) => (number, 0),
            Owner::Server(ServerKey(number)) => (number, Self::IS_SERVER),
        };
        Self(number << 5 | side | timer as u64)
    }

    fn parts(self) -> Option<(Owner, Timer)> {
        let number = self.0 >> 5;
        let owner = match self.0 & Self::IS_SERVER {
            0 => Owner::Client(ClientKey(number)),
            _ => Owner::Server(ServerKey(number)),
        };
        Some((owner, *Timer::ALL.get((self.0 & Self::TIMER) as usize)?))
    }
}

#[derive(Debug)]
struct Client {
    machine: ClientTransaction,
    flow: Flow,
    branch: String,
    method: Method,
    /// The user wants it cancelled as soon as a provisional comes; the value of `Reason`.
    cancel: Option<Option<String>>,
    /// Its CANCEL went out: a final response is due within 64·T1 (RFC 3261 §9.1).
    is_cancelled: bool,
}

impl Client {
    /// The INVITE, read again: most of them are never cancelled or refused.
    fn sent_invite(&self) -> Option<Request> {
        match Message::parse(self.machine.invite()?.clone()) {
            Ok(Message::Request(request)) => Some(request),
            // It was printed here.
            Ok(Message::Response(_)) | Err(_) => None,
        }
    }
}

/// Call-ID, To tag and CSeq of an INVITE that we answered with a 2xx.
type AckId = (Bytes, Bytes, u32);

#[derive(Debug)]
struct Server {
    machine: ServerTransaction,
    flow: Flow,
    matched: Match,
    /// A response template for the 100, while it may be needed.
    trying: Option<Box<Response>>,
    is_invite: bool,
    /// To join its ACK to our 2xx, until it comes.
    ack_id: Option<Box<AckId>>,
    /// The To of our last response: its tag is that of the 200 to a CANCEL, too.
    to: Option<Bytes>,
}

/// See the module.
#[derive(Debug)]
pub struct Endpoint {
    config: EndpointConfig,
    rng: Rng,
    next: u64,
    clients: BTreeMap<ClientKey, Box<Client>>,
    /// The requests sent over each connection, for when it closes.
    by_connection: BTreeMap<ConnectionId, BTreeSet<ClientKey>>,
    /// The CANCEL of an INVITE, which shares its branch.
    cancels: BTreeMap<ClientKey, ClientKey>,
    servers: BTreeMap<ServerKey, Box<Server>>,
    matcher: Matcher,
    by_match: BTreeMap<Match, ServerKey>,
    /// INVITE server transactions whose 2xx waits for its ACK.
    awaiting_ack: BTreeMap<AckId, ServerKey>,
    pending_by_source: BTreeMap<IpAddr, usize>,
    timers: TimerTable<TimerKey>,
    /// From where the ends of transactions are counted, so that many come together.
    epoch: Option<Instant>,
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl Endpoint {
    #[must_use]
    pub fn new(config: EndpointConfig, mut rng: Rng) -> Self {
        Self {
            config,
            matcher: Matcher::new(&mut rng),
            rng,
            next: 0,
            clients: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            cancels: BTreeMap::new(),
            servers: BTreeMap::new(),
            by_match: BTreeMap::new(),
            awaiting_ack: BTreeMap::new(),
            pending_by_source: BTreeMap::new(),
            timers: TimerTable::new(),
            epoch: None,
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Another bound from now on. Transactions that are there stay.
    pub fn set_max_server_transactions(&mut self, most: usize) {
        self.config.max_server_transactions = most;
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Client and server transactions that live, finished ones in their waiting time included.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.clients.len() + self.servers.len()
    }

    /// The next thing to do. Call until it gives `Timeout`.
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout(self.timers.next()))
    }

    pub fn handle_message(&mut self, now: Instant, flow: Flow, message: Message) {
        match message {
            Message::Request(request) => self.handle_request(now, flow, request),
            Message::Response(response) => self.handle_response(now, flow, response),
        }
    }

    /// A send over this flow failed, or its connection is gone: requests on it will not be
    /// answered.
    pub fn handle_transport_error(&mut self, now: Instant, flow: &Flow) {
        match flow.connection {
            Some(connection) => self.handle_connection_closed(now, connection),
            None => {
                let hit = self.clients.iter().filter(|(_, c)| c.flow == *flow);
                let keys = hit.map(|(key, _)| *key).collect();
                self.fail_clients(now, keys);
            }
        }
    }

    /// An ICMP message says that a datagram to `remote` did not arrive, and quotes how it began
    /// (RFC 3261 §18.4). Its request fails at once, if the quotation has the branch: nobody else
    /// knows that, so nobody else can make requests fail.
    pub fn handle_unreachable(&mut self, now: Instant, remote: SocketAddr, quoted: &[u8]) {
        let Some(key) = matching::quoted_key(quoted).map(ClientKey) else { return };
        let is_ours = |client: &&Client| {
            client.flow.connection.is_none()
                && client.flow.remote == remote
                && matching::quotes(quoted, &client.branch)
        };
        if self.clients.get(&key).map(Box::as_ref).filter(is_ours).is_some() {
            self.fail_clients(now, vec![key]);
        }
    }

    pub fn handle_connection_closed(&mut self, now: Instant, connection: ConnectionId) {
        let keys = self.requests_over(connection);
        self.fail_clients(now, keys);
    }

    /// The requests that were sent over a connection and live.
    #[must_use]
    pub fn requests_over(&self, connection: ConnectionId) -> Vec<ClientKey> {
        self.by_connection.get(&connection).into_iter().flatten().copied().collect()
    }

    /// Gives a request up that nobody will answer.
    pub fn fail(&mut self, now: Instant, key: ClientKey) {
        self.fail_clients(now, vec![key]);
    }

    /// Keeps a request whose connection is gone for another one: no time runs for it. Says
    /// whether it does: not one that is answered or given up.
    pub fn hold(&mut self, key: ClientKey) -> bool {
        let Some(client) = self.clients.get_mut(&key) else { return false };
        if !client.machine.is_pending() || client.is_cancelled || client.cancel.is_some() {
            return false;
        }
        let old = client.flow.connection;
        self.unindex(key, old);
        self.timers.cancel_all(&all_of(Owner::Client(key)));
        true
    }

    /// Makes a request whose peer is away: it is sent by [`Self::release`].
    pub fn hold_request(&mut self, now: Instant, flow: Flow, request: &Request) -> ClientKey {
        // What was queued before it stays; its own sending does not.
        let queued = self.outputs.len();
        let key = self.send_request(now, flow, request);
        self.outputs.truncate(queued);
        self.hold(key);
        key
    }

    /// Sends a held request over another flow, as the same request: a peer that has it already
    /// takes it for a repeat.
    pub fn release(&mut self, now: Instant, key: ClientKey, flow: Flow) {
        if self.take_flow(key, flow)
            && let Some(client) = self.clients.get_mut(&key)
        {
            let actions = client.machine.restart(&self.config.timing);
            self.act_client(now, key, actions, None);
        }
    }

    /// Gives a held INVITE up over another flow, where the peer has it.
    pub fn release_cancelled(
        &mut self,
        now: Instant,
        key: ClientKey,
        flow: Flow,
        reason: Option<&str>,
    ) {
        if !self.take_flow(key, flow) {
            return;
        }
        if self.clients.get(&key).is_some_and(|c| c.machine.is_proceeding()) {
            self.cancel(now, key, reason);
        } else {
            self.fail(now, key);
        }
    }

    fn take_flow(&mut self, key: ClientKey, flow: Flow) -> bool {
        let Some(client) = self.clients.get_mut(&key) else { return false };
        if !client.machine.is_pending() {
            return false;
        }
        let old = std::mem::replace(&mut client.flow, flow).connection;
        self.unindex(key, old);
        if let Some(connection) = flow.connection {
            self.by_connection.entry(connection).or_default().insert(key);
        }
        true
    }

    fn unindex(&mut self, key: ClientKey, connection: Option<ConnectionId>) {
        if let Some(connection) = connection
            && let Some(keys) = self.by_connection.get_mut(&connection)
        {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_connection.remove(&connection);
            }
        }
    }

    /// The peer of a request to us is reached over another flow: what was answered so far is
    /// said again there.
    pub fn redirect(&mut self, now: Instant, key: ServerKey, flow: Flow) {
        let Some(server) = self.servers.get_mut(&key) else { return };
        let source = server.flow.remote.ip();
        server.flow = flow;
        if server.machine.is_pending() && source != flow.remote.ip() {
            self.release_source(source);
            *self.pending_by_source.entry(flow.remote.ip()).or_default() += 1;
        }
        self.drive_server(now, key, ServerInput::Redirected);
    }

    fn fail_clients(&mut self, now: Instant, keys: Vec<ClientKey>) {
        for key in keys {
            if self.clients.get(&key).is_some_and(|c| c.machine.is_pending()) {
                self.counters.transport_failures += 1;
                self.event(Event::TransportFailed { key });
                self.drive_client(now, key, ClientInput::TransportFailed, None);
            }
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(due) = self.timers.pop_due(now) {
            let Some((owner, timer)) = due.parts() else { continue };
            match owner {
                Owner::Client(key) => {
                    self.drive_client(now, key, ClientInput::Timer(timer), None);
                }
                Owner::Server(key) if timer == Timer::Trying => self.send_trying(now, key),
                Owner::Server(key) => self.drive_server(now, key, ServerInput::Timer(timer)),
            }
        }
    }

    /// Sends a request in a client transaction of its own. The topmost `Via` is added here.
    pub fn send_request(&mut self, now: Instant, flow: Flow, request: &Request) -> ClientKey {
        let key = ClientKey(self.fresh());
        let mut branch = String::with_capacity(48);
        branch.push_str("z9hG4bK");
        push_hex_number(&mut branch, key.0);
        branch.push('.');
        branch.push_str(&self.rng.hex(8));
        let bytes = request.print_below(&self.via(&flow, &branch));
        self.start_client(now, key, flow, branch, (request.method.clone(), bytes));
        key
    }

    /// Sends the ACK of a 2xx, outside any transaction, and gives its bytes for repeats.
    pub fn send_ack(&mut self, flow: Flow, request: &Request) -> Bytes {
        let branch = ["z9hG4bKa", &self.rng.hex(10)].concat();
        let bytes = request.print_below(&self.via(&flow, &branch));
        self.resend(flow, bytes.clone());
        bytes
    }

    pub fn resend(&mut self, flow: Flow, bytes: Bytes) {
        self.outputs.push_back(Output::Transmit(Transmit { flow, bytes }));
    }

    /// Gives an INVITE up: sends CANCEL now, or as soon as a provisional response allows it
    /// (RFC 3261 §9.1). Says whether there was anything to give up.
    pub fn cancel(&mut self, now: Instant, key: ClientKey, reason: Option<&str>) -> bool {
        let Some(client) = self.clients.get_mut(&key) else { return false };
        if client.method != Method::INVITE || !client.machine.is_pending() {
            return false;
        }
        client.cancel = Some(reason.map(str::to_owned));
        if client.machine.is_proceeding() {
            self.send_cancel(now, key);
        }
        true
    }

    /// Answers a request. A second final response is ignored.
    pub fn respond(&mut self, now: Instant, key: ServerKey, response: &Response) {
        let Some(server) = self.servers.get_mut(&key) else { return };
        if server.is_invite && response.status != StatusCode::TRYING {
            server.to = response.headers.first(&HeaderName::TO).cloned();
        }
        if response.status.is_final() && server.machine.is_pending() {
            let source = server.flow.remote.ip();
            if response.status.is_success()
                && server.is_invite
                && let Some(id) = ack_id(&response.headers)
            {
                server.ack_id = Some(Box::new(id.clone()));
                self.awaiting_ack.insert(id, key);
            }
            server.trying = None;
            self.release_source(source);
        }
        self.drive_server(now, key, ServerInput::Respond(response.status, response.print()));
    }

    // Inbound.

    fn handle_request(&mut self, now: Instant, flow: Flow, mut request: Request) {
        self.counters.requests += 1;
        note_source(&mut request, &flow);
        let Some(matched) = self.matcher.of(&request) else { return };
        if let Some(key) = self.by_match.get(&matched).copied() {
            let is_accepted = self.servers.get(&key).is_some_and(|s| s.machine.is_accepted());
            if request.method == Method::ACK && is_accepted {
                // Interop: old peers acknowledge a 2xx with the branch of the INVITE.
                self.ack_of_success(now, flow, request);
            } else if request.method == Method::ACK {
                self.drive_server(now, key, ServerInput::Ack);
            } else {
                self.counters.retransmissions_absorbed += 1;
                self.drive_server(now, key, ServerInput::Repeated);
            }
            return;
        }
        if request.method == Method::ACK {
            self.ack_of_success(now, flow, request);
        } else if request.method == Method::CANCEL {
            self.cancelled(now, flow, matched, &request);
        } else if self.is_overloaded(&flow) {
            self.shed(flow, &request);
        } else {
            let key = self.start_server(now, flow, matched, &request);
            self.event(Event::Request { key, flow, request });
        }
    }

    fn ack_of_success(&mut self, now: Instant, flow: Flow, request: Request) {
        // Only the dialog's own ACK counts: the user hears of no other.
        if let Some(id) = ack_id(&request.headers)
            && let Some(key) = self.awaiting_ack.remove(&id)
        {
            if let Some(server) = self.servers.get_mut(&key) {
                server.ack_id = None;
            }
            self.drive_server(now, key, ServerInput::Ack);
        }
        self.event(Event::Ack { flow, request });
    }

    /// RFC 3261 §9.2: a CANCEL is answered whether or not it still changes anything.
    fn cancelled(&mut self, now: Instant, flow: Flow, matched: Match, request: &Request) {
        let invite = self.matcher.with_method(request, &Method::INVITE);
        let target = invite.and_then(|invite| self.by_match.get(&invite)).copied();
        let key = self.start_server(now, flow, matched, request);
        let status = match target {
            Some(_) => StatusCode::OK,
            None => StatusCode::CALL_DOES_NOT_EXIST,
        };
        let mut response = Response::for_request(request, status);
        // RFC 3261 §9.2: the tag is that of the responses to the INVITE.
        match target.and_then(|target| self.servers.get(&target)?.to.clone()) {
            Some(to) => response.headers.set(HeaderName::TO, to),
            None => response.add_tag(&self.rng.hex(8)),
        }
        self.respond(now, key, &response);
        if let Some(target) = target
            && self.servers.get(&target).is_some_and(|s| s.machine.is_pending())
        {
            let reason = request.headers.first(&HeaderName::REASON).cloned();
            self.event(Event::Cancelled { key: target, reason });
        }
    }

    fn start_server(
        &mut self,
        now: Instant,
        flow: Flow,
        matched: Match,
        request: &Request,
    ) -> ServerKey {
        let key = ServerKey(self.fresh());
        let is_invite = request.method == Method::INVITE;
        let (machine, actions) =
            ServerTransaction::start(is_invite, flow.transport.is_reliable(), &self.config.timing);
        let trying =
            is_invite.then(|| Box::new(Response::for_request(request, StatusCode::TRYING)));
        self.by_match.insert(matched, key);
        let server = Server { machine, flow, matched, trying, is_invite, ack_id: None, to: None };
        self.servers.insert(key, Box::new(server));
        *self.pending_by_source.entry(flow.remote.ip()).or_default() += 1;
        self.act_server(now, key, actions);
        key
    }

    fn is_overloaded(&self, flow: &Flow) -> bool {
        self.servers.len() >= self.config.max_server_transactions
            || self.pending_by_source.get(&flow.remote.ip()).copied().unwrap_or(0)
                >= self.config.max_pending_per_source
    }

    fn shed(&mut self, flow: Flow, request: &Request) {
        self.counters.shed += 1;
        let mut response = Response::for_request(request, StatusCode::SERVICE_UNAVAILABLE);
        response.add_tag(&self.rng.hex(8));
        let seconds = self.config.retry_after_seconds;
        response.headers.push(HeaderName::RETRY_AFTER, seconds.to_string());
        self.resend(flow, response.print());
    }

    fn handle_response(&mut self, now: Instant, flow: Flow, response: Response) {
        self.counters.responses += 1;
        let is_cancel = response.headers.cseq().is_some_and(|c| c.method == Method::CANCEL);
        let key = matching::client_key(&response).map(ClientKey);
        let key = if is_cancel { key.and_then(|k| self.cancels.get(&k).copied()) } else { key };
        let found = key.and_then(|key| Some((key, self.clients.get(&key)?)));
        // The key comes from the peer's copy of our branch: the rest of the branch and the
        // method must agree, or anybody could answer for others.
        let Some((key, _)) = found.filter(|(_, client)| matching::fits(client, &response)) else {
            self.counters.stray_responses += 1;
            return;
        };
        let status = response.status;
        self.drive_client(now, key, ClientInput::Response(status), Some((flow, response)));
        if status.is_provisional() && self.clients.get(&key).is_some_and(|c| c.cancel.is_some()) {
            self.send_cancel(now, key);
        }
    }

    // Driving the machines.

    fn start_client(
        &mut self,
        now: Instant,
        key: ClientKey,
        flow: Flow,
        branch: String,
        (method, bytes): (Method, Bytes),
    ) {
        let is_invite = method == Method::INVITE;
        let (machine, actions) = ClientTransaction::start(
            is_invite,
            flow.transport.is_reliable(),
            bytes,
            &self.config.timing,
        );
        let client = Client { machine, flow, branch, method, cancel: None, is_cancelled: false };
        if let Some(connection) = flow.connection {
            self.by_connection.entry(connection).or_default().insert(key);
        }
        self.clients.insert(key, Box::new(client));
        self.act_client(now, key, actions, None);
    }

    fn drive_client(
        &mut self,
        now: Instant,
        key: ClientKey,
        input: ClientInput,
        response: Option<(Flow, Response)>,
    ) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let actions = client.machine.handle(input, &self.config.timing);
        self.act_client(now, key, actions, response);
    }

    fn act_client(
        &mut self,
        now: Instant,
        key: ClientKey,
        actions: Actions,
        mut response: Option<(Flow, Response)>,
    ) {
        for action in actions {
            match action {
                Action::Send(bytes) => {
                    if let Some(flow) = self.clients.get(&key).map(|c| c.flow) {
                        self.resend(flow, bytes);
                    }
                }
                Action::Set(timer, after) => {
                    let cancelled = self.clients.get(&key).is_some_and(|c| c.is_cancelled);
                    if timer != Timer::C || !cancelled {
                        let at = self.deadline(now, timer, after);
                        self.timers.set(TimerKey::new(Owner::Client(key), timer), at);
                    }
                }
                Action::Cancel(timer) => {
                    self.timers.cancel(&TimerKey::new(Owner::Client(key), timer));
                }
                Action::Acknowledge => {
                    if let Some((_, response)) = &response {
                        self.acknowledge(key, response);
                    }
                }
                Action::Deliver => {
                    if let Some((flow, response)) = response.take()
                        && response.status != StatusCode::TRYING
                    {
                        self.event(Event::Response { key, flow, response });
                    }
                }
                Action::TimedOut => {
                    self.counters.timeouts += 1;
                    self.event(Event::TimedOut { key });
                }
                Action::AckMissing => {}
                Action::Terminate => {
                    self.forget_client(key);
                    self.timers.cancel_all(&all_of(Owner::Client(key)));
                }
            }
        }
    }

    fn forget_client(&mut self, key: ClientKey) {
        let Some(client) = self.clients.remove(&key) else { return };
        self.unindex(key, client.flow.connection);
        if client.method == Method::CANCEL {
            // It shares the branch of its INVITE, which names the INVITE.
            let invite = matching::branch_number(client.branch.as_bytes()).map(ClientKey);
            invite.map(|invite| self.cancels.remove(&invite));
        } else if client.method == Method::INVITE {
            self.event(Event::Ended { key });
        }
    }

    fn drive_server(&mut self, now: Instant, key: ServerKey, input: ServerInput) {
        let Some(server) = self.servers.get_mut(&key) else { return };
        let actions = server.machine.handle(input, &self.config.timing);
        self.act_server(now, key, actions);
    }

    fn act_server(&mut self, now: Instant, key: ServerKey, actions: Actions) {
        for action in actions {
            match action {
                Action::Send(bytes) => {
                    if let Some(flow) = self.servers.get(&key).map(|s| s.flow) {
                        self.resend(flow, bytes);
                    }
                }
                Action::Set(timer, after) => {
                    let at = self.deadline(now, timer, after);
                    self.timers.set(TimerKey::new(Owner::Server(key), timer), at);
                }
                Action::Cancel(timer) => {
                    self.timers.cancel(&TimerKey::new(Owner::Server(key), timer));
                }
                Action::AckMissing => {
                    self.counters.acks_missing += 1;
                    self.event(Event::AckMissing { key });
                }
                Action::Terminate => self.forget_server(key),
                // For clients only.
                Action::Deliver | Action::Acknowledge | Action::TimedOut => {}
            }
        }
    }

    fn forget_server(&mut self, key: ServerKey) {
        let Some(server) = self.servers.remove(&key) else { return };
        self.by_match.remove(&server.matched);
        if let Some(id) = server.ack_id
            && self.awaiting_ack.get(&*id) == Some(&key)
        {
            self.awaiting_ack.remove(&*id);
        }
        self.timers.cancel_all(&all_of(Owner::Server(key)));
    }

    fn send_trying(&mut self, now: Instant, key: ServerKey) {
        let Some(server) = self.servers.get_mut(&key) else { return };
        if server.machine.has_answered() {
            return;
        }
        if let Some(trying) = server.trying.take() {
            self.respond(now, key, &trying);
        }
    }

    /// RFC 3261 §17.1.1.3.
    fn acknowledge(&mut self, key: ClientKey, response: &Response) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let Some(request) = client.sent_invite() else { return };
        let mut ack = in_same_transaction(&request, Method::ACK);
        if let Some(to) = response.headers.first(&HeaderName::TO) {
            ack.headers.set(HeaderName::TO, to.clone());
        }
        let bytes = ack.print();
        client.machine.set_ack(bytes.clone());
        let flow = client.flow;
        self.resend(flow, bytes);
    }

    fn send_cancel(&mut self, now: Instant, key: ClientKey) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let (Some(reason), Some(request)) = (client.cancel.take(), client.sent_invite()) else {
            return;
        };
        let mut cancel = in_same_transaction(&request, Method::CANCEL);
        if let Some(reason) = reason {
            cancel.headers.push(HeaderName::REASON, reason);
        }
        client.is_cancelled = true;
        let (flow, branch) = (client.flow, client.branch.clone());
        let gives_up = TimerKey::new(Owner::Client(key), Timer::C);
        self.timers.set(gives_up, now + self.config.timing.long());
        let cancel_key = ClientKey(self.fresh());
        // The CANCEL shares the INVITE's branch, so its responses name the INVITE's key; the
        // method tells them apart.
        self.cancels.insert(key, cancel_key);
        self.start_client(now, cancel_key, flow, branch, (Method::CANCEL, cancel.print()));
    }

    fn via(&self, flow: &Flow, branch: &str) -> String {
        let mut via = String::with_capacity(96);
        ["SIP/2.0/", flow.transport.as_str(), " "].iter().for_each(|part| via.push_str(part));
        match &self.config.via_host {
            Some(host) if flow.local.ip().is_unspecified() => {
                via.push_str(host);
                via.push(':');
                push_number(&mut via, flow.local.port());
            }
            _ => push_endpoint(&mut via, flow.local),
        }
        [";branch=", branch, ";rport"].iter().for_each(|part| via.push_str(part));
        via
    }

    fn deadline(&mut self, now: Instant, timer: Timer, after: Duration) -> Instant {
        let at = now + after;
        if !timer.is_last() {
            return at;
        }
        let epoch = *self.epoch.get_or_insert(now);
        epoch + self.config.timing.put_off(at.saturating_duration_since(epoch))
    }

    fn release_source(&mut self, source: IpAddr) {
        if let Some(count) = self.pending_by_source.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.pending_by_source.remove(&source);
            }
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(Box::new(event)));
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

fn ack_id(headers: &crate::Headers) -> Option<AckId> {
    let tag = headers.to()?.tag().unwrap_or_default();
    Some((headers.call_id()?.clone(), tag, headers.cseq()?.number))
}

/// An ACK or CANCEL of the transaction that `request` opened (RFC 3261 §9.1, §17.1.1.3).
fn in_same_transaction(request: &Request, method: Method) -> Request {
    let mut out = Request::new(method.clone(), request.uri.clone());
    if let Some(via) = request.headers.first(&HeaderName::VIA) {
        out.headers.push(HeaderName::VIA, via.clone());
    }
    for name in [HeaderName::ROUTE, HeaderName::FROM, HeaderName::TO, HeaderName::CALL_ID] {
        for value in request.headers.all(&name) {
            out.headers.push(name.clone(), value.clone());
        }
    }
    let number = request.headers.cseq().map_or(0, |c| c.number);
    out.headers.push(HeaderName::CSEQ, CSeq::print(number, &method));
    out.headers.push(HeaderName::MAX_FORWARDS, "70");
    out
}

/// Notes in the topmost `Via` where the request came from (RFC 3261 §18.2.1, RFC 3581 §4).
fn note_source(request: &mut Request, flow: &Flow) {
    let name = HeaderName::VIA;
    let Some(via) = request.headers.via() else { return };
    let Some(value) = request.headers.values(&name).next() else { return };
    if let Some(noted) = via.with_source(&value, flow.remote) {
        request.headers.replace_first_value(&name, noted);
    }
}

/// Every timer of one transaction.
fn all_of(owner: Owner) -> RangeInclusive<TimerKey> {
    TimerKey::new(owner, Timer::A)..=TimerKey::new(owner, Timer::Trying)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timers_key_is_nobody_elses() {
        for timer in Timer::ALL {
            let [client, server] = [Owner::Client(ClientKey(7)), Owner::Server(ServerKey(7))];
            for owner in [client, server, Owner::Server(ServerKey(8))] {
                let key = TimerKey::new(owner, timer);
                assert_eq!(key.parts(), Some((owner, timer)));
                assert!(all_of(owner).contains(&key));
            }
            assert!(!all_of(client).contains(&TimerKey::new(server, timer)));
        }
    }
}
