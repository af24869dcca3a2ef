//! SIP as a connector: user agents over any transport, the registrar, and trunks.
//!
//! Owns the endpoint (transactions), the registrar and the digest verifier, and translates
//! between INVITE dialogs and leg signals. A leg is one INVITE usage.

mod auth;
mod away;
mod body;
mod challenge;
mod commands;
mod device;
mod diversion;
mod ending;
mod forward;
mod identity;
mod inbound;
mod indialog;
mod info;
mod leg;
mod location;
mod outbound;
mod pressing;
mod publishing;
mod redirecting;
mod registration;
mod reliable;
mod reoffers;
mod replaces;
mod scanner;
mod session;
mod status;
mod subscriptions;
mod texts;
mod transfer;
mod trunk;
mod watching;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{
    BindingId, Conduct, ConnectionId, Flow, LegId, RegistrationId, Rng, TimerTable, Transmit,
    Transport, host_text, push_endpoint,
};
use crosspoint_call::{Aspect, Cause, Digit, LegCommand, LegEvent, Mailbox, Text};
use crosspoint_sip::dialog::Dialog;
use crosspoint_sip::digest::{UserHa1, Verifier, VerifierConfig};
use crosspoint_sip::endpoint::{
    ClientKey, Endpoint, EndpointConfig, Event, Output as Sent, ServerKey,
};
use crosspoint_sip::registrar::{Binding, Change, Registrar, RegistrarConfig};
use crosspoint_sip::{HeaderName, Message, Request, Response, StatusCode};
use crosspoint_stir::Claim;

use away::Farewell;
use challenge::{Account, Challengeable};
use device::Device;
pub use diversion::DiversionForm;
use ending::{Closing, Settled};
pub use forward::ForwardReport;
use forward::{Forwarding, Forwards, forward_of};
use identity::Verifications;
pub use identity::{Signing, StirConfig, Unproved, VerificationId, Verifying};
use leg::{DialogKey, Leg, MergeKey};
use publishing::Publications;
use registration::Registrations;
pub use registration::{RegistrationConfig, RegistrationFailure, RegistrationState};
use subscriptions::Subscriptions;
use trunk::Trunks;
pub use trunk::{
    CallerForm, Certified, FreshTrunk, HeaderRules, Health, Hop, HopFailure, HopState, Network,
    PeerState, Sources, TrunkChange, TrunkChanges, TrunkConfig, TrunkCounters, TrunkForward,
    TrunkLimits, TrunkLogin, TrunkNews, TrunkRegistration, TrunkReport, route_to,
};

/// What the connector is made with.
#[derive(Debug, Clone)]
pub struct SipUaConfig {
    /// Of the digest; named in every challenge.
    pub realm: String,
    /// The domain users live in.
    pub domain: String,
    /// Shown in Via and Contact where the local address is a wildcard.
    pub advertised: IpAddr,
    pub trunks: Vec<TrunkConfig>,
    pub endpoint: EndpointConfig,
    pub registrar: RegistrarConfig,
    pub max_legs: usize,
    /// Sign-ins of ours elsewhere.
    pub max_registrations: usize,
    /// How long the calls of a browser wait for it after its connection broke.
    pub resume_window: Duration,
    pub user_agent: String,
    /// Signatures of who calls, where they are made or asked for.
    pub stir: Option<StirConfig>,
}

/// What may change while calls run.
#[derive(Debug)]
pub struct SipUaChanges {
    pub trunks: TrunkChanges,
    pub registrar: RegistrarConfig,
    pub max_server_transactions: usize,
    pub max_legs: usize,
    pub stir: Option<StirConfig>,
}

/// What the connector wants done.
#[derive(Debug)]
pub enum Output {
    Transmit(Transmit),
    Leg(LegId, Box<LegEvent>),
    /// A binding came, changed or went: to be kept over a restart.
    Binding(Box<Change>),
    /// A text came: to be answered with `text_taken`.
    Text(ServerKey, Box<Text>),
    /// A text of ours has arrived, or has not.
    TextSent(u64, Result<(), Cause>),
    /// A user asks to watch another: to be answered with `watch_answered`.
    Watch {
        key: ServerKey,
        watcher: Arc<str>,
        of: String,
        aspect: Aspect,
    },
    /// A user's devices say something else of it.
    Published(Arc<str>),
    /// What waits for a user in a mailbox elsewhere.
    Mailbox(String, Mailbox),
    /// A sign-in of ours elsewhere stands differently.
    Registration(RegistrationId, RegistrationState),
    Trunk(Box<TrunkNews>),
    /// Somebody who is certain to be at the far end of this flow did this.
    Conduct(Flow, Conduct),
    /// A time of this leg has passed: which.
    Rang(LegId, &'static str),
    /// Is this signature good? To be answered by `handle_verified`.
    Verify(VerificationId, Box<Claim>),
    Timeout(Option<Instant>),
}

/// What the connector has counted since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub endpoint: crosspoint_sip::endpoint::Counters,
    pub registrations: u64,
    pub challenges: u64,
    pub auth_failures: u64,
    pub refused_legs: u64,
    pub malformed: u64,
    /// Requests of programs that search for victims; they get no answer.
    pub scans: u64,
    /// Calls that left with our signature, and those whose caller or called side has no number.
    pub calls_signed: u64,
    pub calls_not_signed: u64,
    /// Calls of other networks whose signature was good, was not, or was not there.
    pub callers_proved: u64,
    pub callers_failed: u64,
    pub callers_unsigned: u64,
}

/// What a client transaction of ours is for.
#[derive(Debug)]
enum ClientUse {
    /// The INVITE of a back leg.
    Invite(LegId),
    /// An INVITE that was answered or given up: later 2xx are acknowledged, and ended unless
    /// they repeat the one that was taken.
    Settled(Box<Settled>),
    Reoffer(LegId),
    /// The re-INVITE of a leg that ended meanwhile.
    LeftReoffer(Box<Dialog>),
    /// An UPDATE that refreshes the session.
    Refresh(LegId),
    /// A request whose failure 481 or 408 ends the dialog (RFC 5057 §5.1).
    InDialog(LegId),
    /// An INFO with a digit.
    Digit(LegId, Digit, Duration),
    /// An INFO that asks for a whole picture.
    KeyFrame(LegId),
    /// A NOTIFY about a transfer.
    Notify(LegId),
    /// The BYE of a leg of a device, which may have to be told over another connection.
    Bye(Box<(LegId, Device)>),
    /// Our REGISTER elsewhere.
    Register(RegistrationId),
    /// A browser's REGISTER, passed on to its PBX.
    Forward(Box<Forwarding>),
    /// Our OPTIONS to a destination of a trunk.
    Ask(usize, SocketAddr),
    /// A MESSAGE of ours.
    Text(u64),
    /// A NOTIFY to somebody who watches.
    Watcher(DialogKey),
    /// Nothing depends on its answer.
    Forgotten,
}

/// What a server transaction that is not answered yet is for.
#[derive(Debug, Clone, Copy)]
enum ServerUse {
    Invite(LegId),
    Reoffer(LegId),
    /// An INVITE whose caller is looked at.
    Verification(VerificationId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Ring,
    /// Retransmits a reliable provisional (RFC 3262 §3).
    Reliable,
    /// Tries a re-offer again after glare (RFC 3261 §14.1).
    Glare,
    /// Refreshes, or gives up, the session (RFC 4028).
    Session,
    /// Gives up a device whose connection broke.
    Away,
    /// Gives a trunk's destination up that says nothing.
    Failover,
}

/// See the module.
#[derive(Debug)]
pub struct SipUa {
    config: SipUaConfig,
    rng: Rng,
    endpoint: Endpoint,
    registrar: Registrar,
    verifier: Verifier,
    users: BTreeMap<Arc<str>, UserHa1>,
    legs: BTreeMap<LegId, Box<Leg>>,
    /// By Call-ID and our tag.
    dialogs: BTreeMap<DialogKey, LegId>,
    /// INVITEs of others that have a leg.
    merging: BTreeMap<MergeKey, LegId>,
    /// The legs of each registered device.
    devices: BTreeMap<Device, BTreeSet<LegId>>,
    /// The legs that are reached over a connection.
    attached: BTreeMap<ConnectionId, BTreeSet<LegId>>,
    /// Ended legs whose device is away and has to be told.
    farewells: BTreeMap<LegId, Farewell>,
    clients: BTreeMap<ClientKey, ClientUse>,
    /// Requests inside dialogs that a trunk may challenge.
    challengeable: BTreeMap<ClientKey, Box<Challengeable>>,
    servers: BTreeMap<ServerKey, ServerUse>,
    /// 2xx of ours that wait for their ACK.
    unacknowledged: BTreeMap<ServerKey, LegId>,
    /// Ended legs whose BYE waits for the peer's ACK.
    closing: BTreeMap<LegId, Closing>,
    registrations: Registrations,
    trunks: Trunks,
    verifications: Verifications,
    subscriptions: Subscriptions,
    publications: Publications,
    /// Requests that wait for the node's word.
    asked: BTreeMap<ServerKey, Box<(Flow, Request)>>,
    forwards: Forwards,
    timers: TimerTable<(LegId, Timer)>,
    next_leg: u64,
    /// Sign-ins that were given up, ever.
    left: usize,
    outputs: VecDeque<Output>,
    counters: Counters,
    is_draining: bool,
    /// New calls are to come back after this time.
    draining: Option<Duration>,
}

impl SipUa {
    #[must_use]
    pub fn new(mut config: SipUaConfig, mut rng: Rng) -> Self {
        let trunks = Trunks::new(std::mem::take(&mut config.trunks));
        let endpoint = EndpointConfig {
            via_host: Some(host_text(config.advertised)),
            ..config.endpoint.clone()
        };
        Self {
            endpoint: Endpoint::new(endpoint, rng.fork()),
            registrar: Registrar::new(config.registrar.clone()),
            verifier: Verifier::new(VerifierConfig::new(config.realm.clone()), rng.fork()),
            users: BTreeMap::new(),
            legs: BTreeMap::new(),
            dialogs: BTreeMap::new(),
            merging: BTreeMap::new(),
            devices: BTreeMap::new(),
            attached: BTreeMap::new(),
            farewells: BTreeMap::new(),
            clients: BTreeMap::new(),
            challengeable: BTreeMap::new(),
            servers: BTreeMap::new(),
            unacknowledged: BTreeMap::new(),
            closing: BTreeMap::new(),
            registrations: Registrations::default(),
            trunks,
            verifications: Verifications::default(),
            subscriptions: Subscriptions::default(),
            publications: Publications::default(),
            asked: BTreeMap::new(),
            forwards: Forwards::new(),
            timers: TimerTable::new(),
            next_leg: 0,
            left: 0,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            is_draining: false,
            draining: None,
            config,
            rng,
        }
    }

    /// Replaces who may sign in. Users that are gone lose their bindings.
    pub fn set_users(&mut self, users: BTreeMap<Arc<str>, UserHa1>) {
        let gone: Vec<Arc<str>> =
            self.users.keys().filter(|u| !users.contains_key(*u)).cloned().collect();
        for user in gone {
            self.registrar.forget_user(&user);
            self.subscriptions.forget_user(&user);
            self.publications.forget_user(&user);
        }
        self.users = users;
        while let Some(change) = self.registrar.poll_change() {
            self.outputs.push_back(Output::Binding(Box::new(change)));
        }
    }

    /// Takes over what the configuration says now. Calls, bindings and transactions stay, and so
    /// does all of a trunk that is not named.
    pub fn change(&mut self, now: Instant, changes: SipUaChanges) {
        let SipUaChanges { trunks, registrar, max_server_transactions, max_legs, stir } = changes;
        self.registrar.set_config(registrar);
        self.endpoint.set_max_server_transactions(max_server_transactions);
        self.config.max_legs = max_legs;
        self.config.stir = stir.map(|stir| stir.going_on_from(self.config.stir.as_ref()));
        self.change_trunks(now, trunks);
        self.settle(now);
    }

    /// Puts back a binding kept over a restart.
    pub fn restore_binding(
        &mut self,
        user: Arc<str>,
        contact: crosspoint_sip::Uri,
        flow: Flow,
        expires: Instant,
    ) {
        self.registrar.restore(user, contact, flow, expires);
        // It is kept already.
        while self.registrar.poll_change().is_some() {}
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { endpoint: self.endpoint.counters(), ..self.counters }
    }

    #[must_use]
    pub fn registrar(&self) -> &Registrar {
        &self.registrar
    }

    #[must_use]
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// True when nothing is left of any call: no leg, no transaction and no table entry.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.legs.is_empty()
            && self.dialogs.is_empty()
            && self.merging.is_empty()
            && self.devices.is_empty()
            && self.attached.is_empty()
            && self.farewells.is_empty()
            && self.clients.is_empty()
            && self.challengeable.is_empty()
            && self.servers.is_empty()
            && self.unacknowledged.is_empty()
            && self.closing.is_empty()
            && self.verifications.len() == 0
            && self.asked.is_empty()
            && self.timers.is_empty()
            && self.endpoint.transactions() == 0
    }

    /// Transactions that live, finished ones in their waiting time included.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.endpoint.transactions()
    }

    /// Where a user is signed in: binding, and whether a browser is behind it.
    pub fn bindings_of(&self, user: &str) -> impl Iterator<Item = (BindingId, bool)> {
        self.registrar.bindings_of(user).map(|b| (b.id, is_browser(b)))
    }

    /// A fresh leg id; back legs of every connector are numbered here too.
    pub fn next_leg_id(&mut self) -> LegId {
        self.next_leg += 1;
        LegId(self.next_leg)
    }

    /// From now on new calls are refused with 503.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// While a time is given, who asks how we are is told 503, and who is refused is to come back
    /// after that time. Which calls are refused is the node's to say.
    pub fn set_draining(&mut self, retry_after: Option<Duration>) {
        self.draining = retry_after;
    }

    /// Seconds.
    fn retry_after(&self) -> String {
        let seconds = self.draining.map_or(USUAL_RETRY, |time| time.as_secs().max(1));
        seconds.to_string()
    }

    /// The next output, if there is one already: for who asks when to wake up another time.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next thing to do. Call until it gives `Timeout`.
    pub fn poll_output(&mut self) -> Output {
        self.next_output().unwrap_or_else(|| {
            let times = [
                self.endpoint_timeout(),
                self.timers.next(),
                self.registrar.next_timeout(),
                self.registrations.next_timeout(),
                self.trunks.next_timeout(),
                self.verifications.next_timeout(),
                self.subscriptions.next_timeout(),
                self.publications.next_timeout(),
                self.forwards.next_timeout(),
            ];
            Output::Timeout(times.into_iter().flatten().min())
        })
    }

    fn endpoint_timeout(&mut self) -> Option<Instant> {
        match self.endpoint.poll_output() {
            Sent::Timeout(at) => at,
            // Everything else was taken by `settle`.
            Sent::Transmit(transmit) => {
                self.outputs.push_back(Output::Transmit(transmit));
                None
            }
            Sent::Event(_) => None,
        }
    }

    pub fn handle_message(&mut self, now: Instant, flow: Flow, message: Message) {
        if !self.is_scan(&flow, &message) {
            self.endpoint.handle_message(now, flow, message);
        }
        self.settle(now);
    }

    /// A message that did not parse: answered when it says enough.
    pub fn handle_malformed(&mut self, flow: Flow, answer: Option<&Response>) {
        self.counters.malformed += 1;
        if let Some(answer) = answer {
            let mut answer = answer.clone();
            self.tag(&mut answer);
            self.endpoint.resend(flow, answer.print());
        }
        self.take_transmits();
    }

    pub fn handle_connection_closed(&mut self, now: Instant, connection: ConnectionId) {
        self.registrar.handle_connection_closed(connection);
        self.trunks.peers.handle_connection_closed(connection);
        self.peers_changed(now, true);
        self.forwards.bindings.handle_connection_closed(connection);
        self.forwards_changed(now);
        self.certificate_gone(connection);
        self.subscriptions.connection_closed(connection);
        self.connection_lost(now, connection);
        self.registration_flow_closed(now, connection);
        self.settle(now);
    }

    pub fn handle_transport_error(&mut self, now: Instant, flow: &Flow) {
        if let Some(connection) = flow.connection {
            self.handle_connection_closed(now, connection);
            return;
        }
        self.endpoint.handle_transport_error(now, flow);
        self.settle(now);
    }

    /// An ICMP message from somewhere says that a datagram to `remote` did not arrive.
    pub fn handle_unreachable(&mut self, now: Instant, remote: SocketAddr, quoted: &[u8]) {
        self.endpoint.handle_unreachable(now, remote, quoted);
        self.settle(now);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.registrar.handle_timeout(now);
        while let Some((leg, timer)) = self.timers.pop_due(now) {
            self.timer_due(now, leg, timer);
        }
        self.registrations_due(now);
        self.trunks_due(now);
        self.verifications_due(now);
        self.subscriptions_due(now);
        self.publications_due(now);
        self.forwards_due(now);
        self.settle(now);
    }

    pub fn handle_command(&mut self, now: Instant, leg: LegId, command: LegCommand) {
        self.command(now, leg, command);
        self.settle(now);
    }

    /// The leg of a Call-ID, its own or a peer's; of several dialogs with one, the first.
    #[must_use]
    pub fn leg_of_call_id(&self, call_id: &[u8]) -> Option<LegId> {
        let from = (Bytes::copy_from_slice(call_id), Bytes::new());
        let (key, leg) = self.dialogs.range(from..).next()?;
        (*key.0 == *call_id).then_some(*leg)
    }

    /// The Call-ID of a leg's dialog.
    #[must_use]
    pub fn call_id_of(&self, leg: LegId) -> Option<&Bytes> {
        self.legs.get(&leg).map(|leg| &leg.key.0)
    }

    fn timer_due(&mut self, now: Instant, id: LegId, timer: Timer) {
        let name = match timer {
            Timer::Ring => Some("ring"),
            Timer::Away => Some("away"),
            Timer::Failover => Some("failover"),
            // Most of these change nothing.
            Timer::Session | Timer::Reliable | Timer::Glare => None,
        };
        self.outputs.extend(name.map(|name| Output::Rang(id, name)));
        match timer {
            Timer::Ring => self.hang_up(now, id, Cause::NoAnswer),
            Timer::Reliable => self.repeat_reliable(now, id),
            Timer::Glare => self.glare_due(now, id),
            Timer::Session => self.session_due(now, id),
            Timer::Away => self.away_for_long(now, id),
            Timer::Failover => self.failover_due(now, id),
        }
    }

    /// Lets the endpoint say what it has, until nothing is left.
    fn settle(&mut self, now: Instant) {
        loop {
            match self.endpoint.poll_output() {
                Sent::Transmit(transmit) => self.outputs.push_back(Output::Transmit(transmit)),
                Sent::Event(event) => self.handle_event(now, *event),
                Sent::Timeout(_) => match self.registrar.poll_change() {
                    Some(change) => self.binding_changed(now, change),
                    None => return,
                },
            }
        }
    }

    fn take_transmits(&mut self) {
        while let Sent::Transmit(transmit) = self.endpoint.poll_output() {
            self.outputs.push_back(Output::Transmit(transmit));
        }
    }

    fn binding_changed(&mut self, now: Instant, change: Change) {
        if let Change::Added(binding) | Change::Refreshed(binding) = &change {
            self.device_moved(now, binding);
        }
        self.outputs.push_back(Output::Binding(Box::new(change)));
    }

    fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Request { key, flow, request } => self.handle_request(now, key, flow, &request),
            Event::Ack { flow, request } => self.handle_ack(now, flow, &request),
            Event::Cancelled { key, .. } => self.handle_cancel(now, key),
            Event::Response { key, flow, response } => {
                self.handle_response(now, key, flow, &response);
            }
            Event::TimedOut { key } => {
                self.client_failed(now, key, StatusCode::REQUEST_TIMEOUT);
            }
            Event::TransportFailed { key } => {
                self.client_failed(now, key, StatusCode::SERVICE_UNAVAILABLE);
            }
            Event::Ended { key } => {
                self.clients.remove(&key);
            }
            Event::AckMissing { key } => {
                if let Some(leg) = self.unacknowledged.remove(&key)
                    && !self.close(now, leg)
                {
                    if let Some(leg) = self.legs.get_mut(&leg) {
                        leg.awaiting_ack = None;
                    }
                    self.hang_up(now, leg, Cause::SignalingLost);
                }
            }
        }
    }

    fn tell(&mut self, leg: LegId, event: LegEvent) {
        self.outputs.push_back(Output::Leg(leg, Box::new(event)));
    }

    fn respond(&mut self, now: Instant, key: ServerKey, response: &mut Response) {
        response.headers.push(HeaderName::SERVER, self.config.user_agent.clone());
        self.endpoint.respond(now, key, response);
    }

    /// A plain response without a body. Dialog-less ones get a tag too (RFC 3261 §8.2.6.2).
    fn refuse(&mut self, now: Instant, key: ServerKey, request: &Request, status: StatusCode) {
        let mut response = Response::for_request(request, status);
        self.tag(&mut response);
        if status == StatusCode::METHOD_NOT_ALLOWED || status == StatusCode::NOT_IMPLEMENTED {
            response.headers.push(HeaderName::ALLOW, ALLOW);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers.push(HeaderName::RETRY_AFTER, self.retry_after());
        }
        self.respond(now, key, &mut response);
    }

    fn tag(&mut self, response: &mut Response) {
        response.add_tag(&self.rng.hex(8));
    }

    /// Our Contact on a flow: by the name that the registrar knows, where we are signed in.
    fn contact(&self, account: Option<Account>, flow: &Flow) -> String {
        let name = match account {
            Some(Account::Registration(id)) => {
                let own = self.registrations.contact_name(id);
                own.or_else(|| self.forwards.token(forward_of(id)?))
            }
            Some(Account::Trunk(index)) => {
                self.registrations.contact_name(trunk::registration_of(index))
            }
            None => None,
        };
        self.contact_named(name.unwrap_or("crosspoint"), flow)
    }

    fn contact_named(&self, name: &str, flow: &Flow) -> String {
        let ip =
            if flow.local.ip().is_unspecified() { self.config.advertised } else { flow.local.ip() };
        let transport = match flow.transport {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
            // RFC 7118 §5.2: one token for both.
            Transport::Ws | Transport::Wss => ";transport=ws",
        };
        let mut contact = String::with_capacity(64);
        ["<sip:", name, "@"].iter().for_each(|part| contact.push_str(part));
        push_endpoint(&mut contact, SocketAddr::new(ip, flow.local.port()));
        contact.push_str(transport);
        contact.push('>');
        contact
    }
}

fn is_browser(binding: &Binding) -> bool {
    binding.flow.transport.is_websocket()
}

const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY, REGISTER, MESSAGE, SUBSCRIBE, PUBLISH";
const SUPPORTED: &str = "100rel, timer, outbound, path, replaces, trickle-ice, norefersub";
/// Extensions a request may require of us.
const KNOWN_EXTENSIONS: [&str; 7] =
    ["100rel", "timer", "outbound", "path", "replaces", "trickle-ice", "norefersub"];
/// Who is refused with 503 is to come back after so many seconds.
const USUAL_RETRY: u64 = 5;
/// Base of retransmissions (RFC 3261 T1).
const T1: Duration = Duration::from_millis(500);
