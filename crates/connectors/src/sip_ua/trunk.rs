//! Trunks: SIP peers by configuration, and how each of them does.
//!
//! A trunk has destinations in order of priority and weight, each of which is up or down as its
//! answers tell, a bound on calls, and perhaps a sign-in in either direction. Which trunk a call
//! takes is the router's to say; here is what becomes of the call then.

mod calling;
mod change;
mod dress;
mod health;
mod identify;
mod sign_in;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{ConnectionId, Flow, RegistrationId, Rng, TimerTable};
use crosspoint_call::Cause;
use crosspoint_call::router::TrunkState;
use crosspoint_sip::digest::{Credentials, UserHa1};
use crosspoint_sip::registrar::{Registrar, RegistrarConfig};

use super::{DiversionForm, RegistrationState};

pub use calling::route_to;
pub use change::{FreshTrunk, TrunkChanges};
pub use dress::{CallerForm, HeaderRules};
pub(super) use dress::{anonymous, pass_remarks, wants_privacy};
pub use health::{Health, HopFailure};
pub use identify::{Certified, Network, Sources};
pub use sign_in::{PeerState, TrunkLogin, TrunkRegistration};

/// A configured SIP peer.
#[derive(Debug, Clone)]
pub struct TrunkConfig {
    pub name: Arc<str>,
    /// The domain of the From and To of requests to it.
    pub domain: String,
    /// Where it is, as far as names have been looked up.
    pub hops: Vec<Hop>,
    /// Requests go by these first: an outbound proxy.
    pub routes: Vec<Bytes>,
    /// For its challenges.
    pub credentials: Option<Credentials>,
    /// We sign in there.
    pub registration: Option<TrunkRegistration>,
    /// It shows this name and password to us.
    pub login: Option<TrunkLogin>,
    /// By what calls of it are known.
    pub sources: Sources,
    /// Without it only calls tell whether a destination answers.
    pub health: Option<Health>,
    pub limits: TrunkLimits,
    pub caller: CallerForm,
    /// The From of calls names our account there; the caller stands elsewhere.
    pub from_account: bool,
    pub headers: HeaderRules,
    /// How it says, and is told, where calls were before.
    pub diversion: DiversionForm,
    /// What it plays before the answer reaches the caller; else the caller hears ringing.
    pub early_media: bool,
    /// A destination that says nothing for this long gives way to the next.
    pub failover_after: Duration,
    /// Calls from it may have video.
    pub video: bool,
    /// It takes the registrations of browsers through us.
    pub forward: Option<TrunkForward>,
}

/// Registrations that a trunk takes through us.
#[derive(Debug, Clone)]
pub struct TrunkForward {
    /// Of its users, in lower case.
    pub domains: Vec<String>,
    /// The trunk that hears of the same users.
    pub announce_to: Option<Arc<str>>,
}

impl TrunkConfig {
    /// One that is known by its addresses and asked nothing special.
    #[must_use]
    pub fn new(name: &str, domain: &str, hops: Vec<Hop>) -> Self {
        Self {
            name: name.into(),
            domain: domain.to_owned(),
            hops,
            routes: vec![],
            credentials: None,
            registration: None,
            login: None,
            sources: Sources::default(),
            health: None,
            limits: TrunkLimits::default(),
            caller: CallerForm::From,
            from_account: false,
            headers: HeaderRules::default(),
            diversion: DiversionForm::default(),
            early_media: true,
            failover_after: Duration::from_secs(4),
            video: false,
            forward: None,
        }
    }
}

/// One destination of a trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Without a connection: the transport opens one where there is none. Calls from its address
    /// come from the trunk.
    pub flow: Flow,
    /// Of the request line, with a port where one is configured.
    pub host: String,
    /// The lowest is tried first.
    pub priority: u32,
    /// Its share among those of the same priority.
    pub weight: u16,
}

/// How much a trunk takes, both directions together.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrunkLimits {
    pub calls: Option<u32>,
    pub calls_per_second: Option<u32>,
}

/// Something about a trunk has changed that its operator should know.
#[derive(Debug, Clone)]
pub struct TrunkNews {
    pub trunk: Arc<str>,
    pub what: TrunkChange,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrunkChange {
    Up(SocketAddr),
    Down(SocketAddr, HopFailure),
    Registration(RegistrationState),
    Peer(PeerState),
    /// Its names have to be looked up (again).
    Locate,
}

/// How a trunk does, for operators.
#[derive(Debug, Clone)]
pub struct TrunkReport {
    pub name: Arc<str>,
    pub state: TrunkState,
    pub hops: Vec<(SocketAddr, HopState)>,
    pub registration: Option<RegistrationState>,
    pub peer: Option<PeerState>,
    pub calls: u32,
    pub counters: TrunkCounters,
    /// The configuration has it no more: its calls are the last.
    pub is_leaving: bool,
}

/// What a trunk has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrunkCounters {
    pub calls_out: u64,
    pub calls_in: u64,
    /// Calls that went on to another destination.
    pub failovers: u64,
    /// Calls refused by its limits.
    pub refused: u64,
    /// Challenges of a foreign realm that were not answered.
    pub foreign_challenges: u64,
}

/// How a destination does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HopState {
    /// It has not been heard of yet: calls try it.
    Unknown,
    Up,
    Down(HopFailure),
}

/// Every trunk.
#[derive(Debug)]
pub(super) struct Trunks {
    pub(super) all: Vec<Trunk>,
    timers: TimerTable<(usize, TrunkTimer)>,
    /// What peers have proved with their certificates.
    certified: BTreeMap<ConnectionId, Certified>,
    /// Names that trunks show to us.
    logins: BTreeMap<Arc<str>, usize>,
    /// Trunks that signed in with us, by their names.
    pub(super) peers: Registrar,
}

/// What a call takes of a trunk's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    In,
    Out,
    /// A call for help: it counts, and nothing holds it up.
    Emergency,
}

#[derive(Debug)]
pub(super) struct Trunk {
    pub(super) config: TrunkConfig,
    hops: Vec<Reached>,
    calls: u32,
    /// When the next call would be in time, were they spread evenly.
    next_call: Option<Instant>,
    /// The realms of challenges that were answered and led on.
    pub(super) realms: Vec<String>,
    pub(super) registration: Option<RegistrationState>,
    /// Which of its destinations we sign in at.
    registrar_at: usize,
    pub(super) peer: Option<PeerState>,
    counters: TrunkCounters,
    /// Its place in the configuration.
    pub(super) rank: usize,
    /// Since when the configuration has it no more.
    gone: Option<Instant>,
}

/// A destination with what is known of it.
#[derive(Debug)]
struct Reached {
    hop: Hop,
    state: HopState,
    /// In a row, against the present state.
    against: u32,
    /// An OPTIONS of ours is out.
    asked: Option<crosspoint_sip::endpoint::ClientKey>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum TrunkTimer {
    /// Looks whether the destinations answer.
    Ask,
    /// By now they should have.
    Judge,
    /// Tries one again that calls found down.
    Forgive,
    /// Looks its names up again.
    Locate,
    /// Begins to sign in.
    SignIn,
}

impl TrunkTimer {
    const ALL: [Self; 5] = [Self::Ask, Self::Judge, Self::Forgive, Self::Locate, Self::SignIn];
}

impl Trunks {
    pub(super) fn new(configs: Vec<TrunkConfig>) -> Self {
        let mut all: Vec<Trunk> = configs.into_iter().map(Trunk::new).collect();
        all.iter_mut().enumerate().for_each(|(rank, trunk)| trunk.rank = rank);
        let login =
            |(index, t): (usize, &Trunk)| Some((t.config.login.as_ref()?.user.clone(), index));
        let logins = all.iter().enumerate().filter_map(login).collect();
        let peers =
            RegistrarConfig { max_contacts: MAX_PEER_CONTACTS, ..RegistrarConfig::default() };
        Self {
            all,
            timers: TimerTable::new(),
            certified: BTreeMap::new(),
            logins,
            peers: Registrar::new(peers),
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        [self.timers.next(), self.peers.next_timeout()].into_iter().flatten().min()
    }

    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.all.iter().position(|t| &*t.config.name == name && t.gone.is_none())
    }

    pub(super) fn get(&self, index: usize) -> Option<&Trunk> {
        self.all.get(index)
    }

    pub(super) fn login_of(&self, user: &str) -> Option<&UserHa1> {
        let trunk = self.all.get(*self.logins.get(user)?)?;
        trunk.config.login.as_ref().map(|login| &login.ha1)
    }

    pub(super) fn by_login(&self, user: &str) -> Option<usize> {
        self.logins.get(user).copied()
    }

    /// Whether a trunk takes one more call.
    pub(super) fn state(&self, now: Instant, index: usize) -> TrunkState {
        let Some(trunk) = self.all.get(index) else { return TrunkState::Down };
        if trunk.gone.is_some() {
            return TrunkState::Down;
        }
        let signs_in = trunk.config.login.as_ref().is_some_and(|login| login.registers);
        let is_signed_in = || self.peers.bindings_of(&trunk.config.name).next().is_some();
        let has_up = trunk.hops.iter().any(|h| !matches!(h.state, HopState::Down(_)));
        let refused = matches!(trunk.registration, Some(RegistrationState::Failed(_)));
        // Where nobody asks, only calls can find out.
        let may_be_up = has_up || (trunk.config.health.is_none() && !trunk.hops.is_empty());
        if refused || !(may_be_up || signs_in && is_signed_in()) {
            TrunkState::Down
        } else if trunk.is_full(now) {
            TrunkState::Full
        } else {
            TrunkState::Ready
        }
    }

    /// Takes one of the calls that a trunk may have.
    pub(super) fn take_place(
        &mut self,
        now: Instant,
        index: usize,
        kind: Place,
    ) -> Result<(), Cause> {
        let Some(trunk) = self.all.get_mut(index) else { return Err(Cause::TrunkDown) };
        if kind != Place::Emergency && trunk.is_full(now) {
            trunk.counters.refused += 1;
            return Err(Cause::TrunkFull);
        }
        trunk.calls += 1;
        if let Some(each) = trunk.config.limits.interval() {
            trunk.next_call = Some(trunk.next_call.map_or(now, |at| at.max(now)) + each);
        }
        Ok(())
    }

    pub(super) fn leave_place(&mut self, index: usize) {
        if let Some(trunk) = self.all.get_mut(index) {
            trunk.calls = trunk.calls.saturating_sub(1);
        }
    }

    pub(super) fn count(&mut self, index: usize, count: impl FnOnce(&mut TrunkCounters)) {
        if let Some(trunk) = self.all.get_mut(index) {
            count(&mut trunk.counters);
        }
    }
}

impl Trunk {
    fn new(config: TrunkConfig) -> Self {
        let hops = config.hops.iter().cloned().map(Reached::new).collect();
        let peer = config.login.as_ref().filter(|l| l.registers).map(|_| PeerState::Unregistered);
        Self {
            hops,
            calls: 0,
            next_call: None,
            realms: vec![],
            registration: config.registration.is_some().then_some(RegistrationState::Connecting),
            registrar_at: 0,
            peer,
            counters: TrunkCounters::default(),
            rank: 0,
            gone: None,
            config,
        }
    }

    /// The configuration still has it.
    pub(super) fn is_there(&self) -> bool {
        self.gone.is_none()
    }

    fn is_full(&self, now: Instant) -> bool {
        let limits = &self.config.limits;
        let has_all = limits.calls.is_some_and(|most| self.calls >= most);
        // A second's worth may come at once; then they come one by one.
        let burst = limits.interval().map(|each| Duration::from_secs(1).saturating_sub(each));
        let too_early = self.next_call.zip(burst).is_some_and(|(at, burst)| at > now + burst);
        has_all || too_early
    }

    /// The destinations to try, best first. Those that are down stay out, but where nobody asks
    /// them and all are.
    pub(super) fn in_order(&self, rng: &mut Rng) -> Vec<Hop> {
        let is_up = |h: &&Reached| !matches!(h.state, HopState::Down(_));
        let mut rest: Vec<&Hop> = self.hops.iter().filter(is_up).map(|h| &h.hop).collect();
        if rest.is_empty() && self.config.health.is_none() {
            rest = self.hops.iter().map(|h| &h.hop).collect();
        }
        rest.sort_by_key(|hop| (hop.priority, hop.weight));
        let mut ordered = Vec::with_capacity(rest.len());
        while let Some(priority) = rest.first().map(|hop| hop.priority) {
            let equals = || rest.iter().take_while(|hop| hop.priority == priority);
            let total: u32 = equals().map(|hop| u32::from(hop.weight)).sum();
            let mut chosen = rng.below(total.max(1));
            let position = equals().position(|hop| {
                let weight = u32::from(hop.weight);
                let is_it = chosen < weight;
                chosen = chosen.saturating_sub(weight);
                is_it
            });
            ordered.push(rest.remove(position.unwrap_or(0)).clone());
        }
        ordered
    }

    /// The destination that a flow belongs to.
    pub(super) fn flow_like(&self, flow: &Flow) -> Option<Flow> {
        let alike =
            || self.hops.iter().map(|h| h.hop.flow).filter(|f| f.transport == flow.transport);
        alike().find(|f| f.remote.ip() == flow.remote.ip()).or_else(|| alike().next())
    }

    fn report(&self, state: TrunkState) -> TrunkReport {
        TrunkReport {
            name: self.config.name.clone(),
            state,
            hops: self.hops.iter().map(|h| (h.hop.flow.remote, h.state)).collect(),
            registration: self.registration,
            peer: self.peer,
            calls: self.calls,
            counters: self.counters,
            is_leaving: self.gone.is_some(),
        }
    }
}

impl Reached {
    fn new(hop: Hop) -> Self {
        Self { hop, state: HopState::Unknown, against: 0, asked: None }
    }
}

impl TrunkLimits {
    fn interval(&self) -> Option<Duration> {
        self.calls_per_second.map(|n| Duration::from_secs(1) / n.max(1))
    }
}

impl super::SipUa {
    /// Begins what trunks do by themselves.
    pub fn start(&mut self, now: Instant) {
        self.trunks_begin(now);
        self.settle(now);
    }

    /// Where a trunk is, after its names were looked up. Nothing found changes nothing.
    pub fn set_hops(&mut self, now: Instant, trunk: &str, hops: Vec<Hop>) {
        let Some(index) = self.trunks.named(trunk) else { return };
        self.trunks.timers.set((index, TrunkTimer::Locate), now + LOCATE_AGAIN);
        if hops.is_empty() {
            return;
        }
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        trunk.take_hops(hops.into_iter().take(MAX_HOPS));
        self.begin_sign_in(now, index);
        self.settle(now);
    }

    /// Whether a trunk takes one more call.
    #[must_use]
    pub fn trunk_state(&self, now: Instant, name: &str) -> TrunkState {
        let index = self.trunks.named(name);
        index.map_or(TrunkState::Down, |index| self.trunks.state(now, index))
    }

    /// How every trunk does.
    #[must_use]
    pub fn trunk_reports(&self, now: Instant) -> Vec<TrunkReport> {
        let is_there = |(_, trunk): &(usize, &Trunk)| trunk.gone.is_none() || trunk.calls > 0;
        let mut all: Vec<_> = self.trunks.all.iter().enumerate().filter(is_there).collect();
        all.sort_by_key(|(_, trunk)| trunk.rank);
        let reports = all.into_iter();
        reports.map(|(index, trunk)| trunk.report(self.trunks.state(now, index))).collect()
    }

    fn trunks_begin(&mut self, now: Instant) {
        for index in 0..self.trunks.all.len() {
            self.trunk_begins(now, index);
        }
    }

    pub(super) fn trunks_due(&mut self, now: Instant) {
        while let Some((index, timer)) = self.trunks.timers.pop_due(now) {
            match timer {
                TrunkTimer::Ask => self.ask_hops(now, index),
                TrunkTimer::Judge => self.judge_hops(now, index),
                TrunkTimer::Forgive => self.forgive_hops(index),
                TrunkTimer::SignIn => self.begin_sign_in(now, index),
                TrunkTimer::Locate => {
                    self.trunks.timers.set((index, TrunkTimer::Locate), now + LOCATE_SOON);
                    self.trunk_news(index, TrunkChange::Locate);
                }
            }
        }
        self.trunks.peers.handle_timeout(now);
        self.peers_changed(now, false);
    }

    pub(super) fn trunk_news(&mut self, index: usize, what: TrunkChange) {
        if let Some(trunk) = self.trunks.all.get(index).filter(|trunk| trunk.gone.is_none()) {
            let news = TrunkNews { trunk: trunk.config.name.clone(), what };
            self.outputs.push_back(super::Output::Trunk(Box::new(news)));
        }
    }
}

/// The sign-in of a trunk, told apart from those of apps.
pub(super) fn registration_of(index: usize) -> RegistrationId {
    RegistrationId(TRUNK_MARK | index as u64)
}

/// The trunk whose sign-in this is; none for one of an app.
pub(super) fn trunk_of(id: RegistrationId) -> Option<usize> {
    (id.0 & TRUNK_MARK != 0).then(|| usize::try_from(id.0 & !TRUNK_MARK).ok()).flatten()
}

fn is_same_peer(there: SocketAddr, here: SocketAddr) -> bool {
    let canonical = |ip: IpAddr| ip.to_canonical();
    // Loopback carries trunks and phones side by side, so there the port tells them.
    canonical(there.ip()) == canonical(here.ip())
        && (there.port() == here.port() || !there.ip().is_loopback())
}

const TRUNK_MARK: u64 = 1 << 63;
/// Destinations of a trunk, every address of every server counted.
const MAX_HOPS: usize = 32;
/// Machines of a PBX that signs in.
const MAX_PEER_CONTACTS: usize = 4;
/// Names are looked up again after this long; the library keeps what it knows for as long as the
/// records say.
const LOCATE_AGAIN: Duration = Duration::from_secs(60);
/// The same where nothing was found.
const LOCATE_SOON: Duration = Duration::from_secs(15);
