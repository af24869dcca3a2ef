//! One shard, its peers and the network between them, in a time of their own.
//!
//! Peers are an independent WebRTC implementation (`browser`) and plain telephones (`phone`).
//! Every datagram takes one step of time. What goes to an address where nobody lives is kept:
//! it is what an attacker would have received.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{LegId, Rng};
use crosspoint_media::control::{Command, Event, Loss, Profile, SdpKind, Step};
use crosspoint_media::shard::{Counters, Frame, Handshake, Output, Shard, ShardConfig, SocketId};
use crosspoint_sdp::Session;

use crate::browser::Browser;
use crate::phone::Phone;

pub(crate) const BROWSER: LegId = LegId(1);
pub(crate) const PHONE: LegId = LegId(2);
pub(crate) const CALLEE: LegId = LegId(4);

/// What a step of time is, and how long a datagram takes.
pub(crate) const STEP: Duration = Duration::from_millis(5);

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

impl std::fmt::Debug for Datagram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, len) = (self.bytes.first(), self.bytes.len());
        write!(f, "{} to {}: {len} bytes of {kind:?}", self.from, self.to)
    }
}

/// What the network does with a datagram: what comes out on the other side.
type Wire = Box<dyn FnMut(Datagram) -> Vec<Datagram>>;

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) shard: Shard,
    pub(crate) browser: Option<Browser>,
    /// Another one, which is called.
    pub(crate) callee: Option<Browser>,
    pub(crate) phone: Option<Phone>,
    pub(crate) events: Vec<(Instant, Event)>,
    /// What was sent to addresses of nobody.
    pub(crate) strays: Vec<Datagram>,
    /// Everything that reached the shard or left it, when it is to be kept.
    pub(crate) log: Option<Vec<Datagram>>,
    /// How long the host works on a step of DTLS, and what it works on.
    pub(crate) handshakes_take: Duration,
    pub(crate) handshakes: VecDeque<(Instant, Handshake)>,
    wire: Option<Wire>,
    outward: Option<Wire>,
    sockets: BTreeMap<SocketId, SocketAddr>,
    /// The only source that counts on a socket: a host may drop all others.
    only: BTreeMap<SocketId, SocketAddr>,
    /// What packets of an address come over instead of the browser socket.
    pub(crate) links: BTreeMap<SocketAddr, SocketId>,
    /// How many datagrams left over each socket.
    pub(crate) sent_over: BTreeMap<SocketId, usize>,
    in_flight: VecDeque<Datagram>,
    line: Option<Line>,
    /// For how long at most we are busy before we look at what came over the line.
    pub(crate) busy: Duration,
    /// How long the datagram that is looked at has waited for that, if the shard asked to be told.
    waited: Duration,
    is_timed: bool,
}

/// The way of the first browser to us, when it is narrow: what is too much waits, and what would
/// wait too long is lost.
#[derive(Debug)]
pub(crate) struct Line {
    /// In bit/s.
    pub(crate) carries: u64,
    free_at: Instant,
    waiting: VecDeque<(Instant, Datagram)>,
    /// Until when we are busy and look at nothing, and how often we were.
    busy_until: Instant,
    turns: u32,
}

/// How the shard is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) ice_lite: bool,
    pub(crate) rtp_timeout: Duration,
    pub(crate) consent_timeout: Duration,
    pub(crate) tcp: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            ice_lite: true,
            rtp_timeout: Duration::from_secs(30),
            consent_timeout: Duration::from_secs(15),
            tcp: false,
        }
    }
}

/// The browser socket, as browsers see it.
pub(crate) fn ours() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 4000))
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "a machine's time has to begin somewhere")]
    pub(crate) fn new(setup: Setup) -> Self {
        let config = ShardConfig {
            browser_addresses: vec![ours()],
            browser_tcp_addresses: if setup.tcp { vec![ours()] } else { vec![] },
            rtp_address: ours().ip(),
            rtp_bind: ours().ip(),
            rtp_ports: (10_000, 10_100),
            ice_lite: setup.ice_lite,
            rtp_timeout: setup.rtp_timeout,
            consent_timeout: setup.consent_timeout,
            max_legs: 8,
            dtls: Arc::new(dimpl::Config::default()),
            certificate: dimpl::certificate::generate_self_signed_certificate()
                .expect("a certificate"),
        };
        Self {
            now: Instant::now(),
            shard: Shard::new(config, Rng::from_u64(1)),
            browser: None,
            callee: None,
            phone: None,
            events: vec![],
            strays: vec![],
            log: None,
            handshakes_take: Duration::ZERO,
            handshakes: VecDeque::new(),
            wire: None,
            outward: None,
            sockets: BTreeMap::from([(SocketId::BROWSER, ours())]),
            only: BTreeMap::new(),
            links: BTreeMap::new(),
            sent_over: BTreeMap::new(),
            in_flight: VecDeque::new(),
            line: None,
            busy: Duration::ZERO,
            waited: Duration::ZERO,
            is_timed: false,
        }
    }

    /// From now on the browser's way to us carries so much, in bit/s.
    pub(crate) fn narrow(&mut self, carries: u64) {
        let (free_at, busy_until) = (self.now, self.now);
        let line = Line { carries, free_at, waiting: VecDeque::new(), busy_until, turns: 0 };
        self.line.get_or_insert(line).carries = carries;
    }

    /// Whether a datagram has its turn now; else it waits, or is lost.
    fn passes(&mut self, datagram: Datagram) -> Option<Datagram> {
        let from_browser = self.browser.as_ref().is_some_and(|b| b.lives_at(datagram.from));
        let Some(line) = self.line.as_mut().filter(|_| from_browser) else {
            return Some(datagram);
        };
        let bits = 8 * (datagram.bytes.len() as u64 + 28);
        let free_at = line.free_at.max(self.now);
        if free_at < self.now + Duration::from_millis(400) {
            line.free_at = free_at + Duration::from_micros(bits * 1_000_000 / line.carries);
            line.waiting.push_back((line.free_at, datagram));
        }
        None
    }

    /// Puts something between the peers and the shard.
    pub(crate) fn set_wire(&mut self, wire: impl FnMut(Datagram) -> Vec<Datagram> + 'static) {
        self.wire = Some(Box::new(wire));
    }

    /// The same in the other direction.
    pub(crate) fn set_outward_wire(
        &mut self,
        wire: impl FnMut(Datagram) -> Vec<Datagram> + 'static,
    ) {
        self.outward = Some(Box::new(wire));
    }

    pub(crate) fn browser(&mut self) -> &mut Browser {
        self.browser.as_mut().expect("a browser in this story")
    }

    pub(crate) fn callee(&mut self) -> &mut Browser {
        self.callee.as_mut().expect("a second browser in this story")
    }

    pub(crate) fn phone(&mut self) -> &mut Phone {
        self.phone.as_mut().expect("a phone in this story")
    }

    pub(crate) fn counters(&self) -> Counters {
        self.shard.counters()
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.shard.handle_command(self.now, command);
        self.settle();
    }

    pub(crate) fn open(&mut self, leg: LegId, profile: Profile) {
        self.command(Command::Open { leg, profile });
    }

    /// The shard's description of a leg.
    pub(crate) fn describe(&mut self, leg: LegId, kind: SdpKind, peer: Option<LegId>) -> String {
        let seen = self.events.len();
        self.command(Command::Describe { leg, kind, peer });
        let described = self.events[seen..].iter().find_map(|(_, event)| match event {
            Event::Described { leg: l, description } if *l == leg => Some(description.to_string()),
            _ => None,
        });
        described.unwrap_or_else(|| panic!("no description: {:?}", &self.events[seen..]))
    }

    /// Gives the shard a peer's description.
    pub(crate) fn accept(&mut self, leg: LegId, kind: SdpKind, description: &str) {
        let seen = self.events.len();
        let description = Session::parse(description.as_bytes()).expect("a description");
        self.command(Command::Accept { leg, kind, description });
        let is_accepted = |(_, event): &(Instant, Event)| matches!(event, Event::Accepted { leg: l, .. } if *l == leg);
        assert!(self.events[seen..].iter().any(is_accepted), "{:?}", &self.events[seen..]);
    }

    pub(crate) fn bridge(&mut self) {
        self.command(Command::Bridge { a: BROWSER, b: PHONE });
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.now < until {
            self.step();
        }
    }

    /// Lets time pass until something is so.
    pub(crate) fn run_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let until = self.now + Duration::from_secs(60);
        while !is_so(self) {
            assert!(self.now < until, "in a minute it did not come to this: {what}");
            self.step();
        }
    }

    /// Looks at what came over the line, and is busy for a while then: sometimes for long.
    fn look_at_line(&mut self) {
        while let Some(line) = &mut self.line
            && line.waiting.front().is_some_and(|(at, _)| *at <= self.now)
        {
            let (came, datagram) = line.waiting.pop_front().expect("a datagram");
            self.waited = if self.is_timed { self.now - came } else { Duration::ZERO };
            self.arrive(datagram);
            self.waited = Duration::ZERO;
        }
        if let Some(line) = &mut self.line {
            line.turns += 1;
            line.busy_until = self.now + self.busy * (line.turns * line.turns % 13) / 12;
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        for datagram in std::mem::take(&mut self.in_flight) {
            if let Some(datagram) = self.passes(datagram) {
                self.arrive(datagram);
            }
        }
        let line = self.line.as_ref();
        if line.is_none_or(|line| line.busy_until <= self.now) {
            self.look_at_line();
        }
        self.shard.handle_timeout(self.now);
        self.settle();
        while self.handshakes.front().is_some_and(|(at, _)| *at <= self.now) {
            let (_, work) = self.handshakes.pop_front().expect("work");
            self.shard.handle_handshake(self.now, work.run());
            self.settle();
        }
        for browser in self.browser.iter_mut().chain(&mut self.callee) {
            browser.tick(self.now);
            self.in_flight.extend(browser.take_sent());
        }
        if let Some(phone) = &mut self.phone {
            phone.tick(self.now);
            self.in_flight.extend(phone.take_sent());
        }
    }

    fn arrive(&mut self, datagram: Datagram) {
        if self.sockets.values().any(|address| *address == datagram.to) {
            let out = match &mut self.wire {
                Some(wire) => wire(datagram),
                None => vec![datagram],
            };
            for datagram in out {
                self.inject(datagram.from, datagram.to, &datagram.bytes);
            }
            return;
        }
        let out = match &mut self.outward {
            Some(wire) => wire(datagram),
            None => vec![datagram],
        };
        for datagram in out {
            self.reach(datagram);
        }
    }

    fn reach(&mut self, datagram: Datagram) {
        let mut browsers = self.browser.iter_mut().chain(&mut self.callee);
        if let Some(browser) = browsers.find(|b| b.lives_at(datagram.to)) {
            browser.receive(self.now, &datagram);
            self.in_flight.extend(browser.take_sent());
        } else if let Some(phone) = self.phone.as_mut().filter(|p| p.lives_at(datagram.to)) {
            phone.receive(self.now, &datagram);
        } else {
            self.strays.push(datagram);
        }
    }

    /// Puts a datagram before the shard, now; anybody may have sent it.
    pub(crate) fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let socket = self.sockets.iter().find(|(_, address)| **address == to).map(|(s, _)| *s);
        let socket = socket.expect("a socket of the shard");
        let link = self.links.get(&from).filter(|_| socket == SocketId::BROWSER);
        self.inject_over(link.copied().unwrap_or(socket), from, to, bytes);
    }

    /// The same over a link, or past the one that the address has.
    pub(crate) fn inject_over(
        &mut self,
        socket: SocketId,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) {
        if let Some(log) = &mut self.log {
            log.push(Datagram { from, to, bytes: bytes.to_vec() });
        }
        let mut buffer = vec![0; 2048];
        buffer[..bytes.len()].copy_from_slice(bytes);
        let (is_stranger, before) = (
            self.only.get(&socket).is_some_and(|only| *only != from),
            self.shard.counters().dropped_unknown_source,
        );
        let waited = self.waited;
        let frame = Frame { socket, source: from, buffer: &mut buffer, len: bytes.len(), waited };
        let mut forwards = vec![];
        self.shard.handle_batch(self.now, &mut [frame], &mut forwards);
        let forward = forwards.pop();
        if is_stranger {
            let dropped = self.shard.counters().dropped_unknown_source - before;
            assert_eq!((forward, dropped), (None, 1), "{from} does not count, as the host knows");
        }
        if let Some(forward) = forward {
            self.send(forward.socket, forward.destination, buffer[..forward.len].to_vec());
        }
        self.settle();
    }

    fn send(&mut self, socket: SocketId, to: SocketAddr, bytes: Vec<u8>) {
        *self.sent_over.entry(socket).or_default() += 1;
        let from = match self.sockets.get(&socket) {
            Some(address) => *address,
            None if self.links.values().any(|link| *link == socket) => ours(),
            None => panic!("sent over {socket:?}, which is not there"),
        };
        let datagram = Datagram { from, to, bytes };
        if let Some(log) = &mut self.log {
            log.push(datagram.clone());
        }
        self.in_flight.push_back(datagram);
    }

    /// Does what the shard wants done.
    fn settle(&mut self) {
        let told = self.events.len();
        loop {
            match self.shard.poll_output() {
                Output::Transmit { socket, destination, bytes } => {
                    self.send(socket, destination, bytes);
                }
                Output::Bind { socket, address } => {
                    self.sockets.insert(socket, address);
                    let beside = SocketAddr::new(address.ip(), address.port() + 1);
                    self.sockets.insert(socket.rtcp(), beside);
                    self.shard.handle_bound(self.now, socket, true);
                }
                Output::Unbind { socket } => {
                    self.sockets.remove(&socket);
                    self.sockets.remove(&socket.rtcp());
                    self.only.remove(&socket);
                }
                Output::Connect { socket, remote } => {
                    let is_late = remote.is_none() && self.events.len() > told;
                    assert!(!is_late, "a peer was told before its packets are let in");
                    self.only.remove(&socket);
                    self.only.extend(remote.map(|remote| (socket, remote)));
                }
                Output::Handshake(work) => match self.handshakes_take {
                    Duration::ZERO => self.shard.handle_handshake(self.now, work.run()),
                    time => self.handshakes.push_back((self.now + time, work)),
                },
                Output::TimeBrowsers => self.is_timed = true,
                Output::Event(event) => self.events.push((self.now, event)),
                Output::Timeout(_) => return,
            }
        }
    }

    /// When something was told of a leg, if it was.
    pub(crate) fn told(&self, wanted: impl Fn(&Event) -> bool) -> Option<Instant> {
        self.events.iter().find(|(_, event)| wanted(event)).map(|(at, _)| *at)
    }

    pub(crate) fn is_connected(&self, leg: LegId) -> bool {
        self.told(|e| matches!(e, Event::Connected { leg: l } if *l == leg)).is_some()
    }

    pub(crate) fn is_lost(&self, leg: LegId) -> bool {
        !self.losses(leg).is_empty()
    }

    /// How often the leg's media was told to be up.
    pub(crate) fn connections(&self, leg: LegId) -> usize {
        let is_it = |e: &Event| matches!(e, Event::Connected { leg: l } if *l == leg);
        self.events.iter().filter(|(_, event)| is_it(event)).count()
    }

    /// What was told of its way, in order.
    pub(crate) fn steps(&self, leg: LegId) -> Vec<Step> {
        let step = |(_, event): &(Instant, Event)| match event {
            Event::Step { leg: l, step } if *l == leg => Some(*step),
            _ => None,
        };
        self.events.iter().filter_map(step).collect()
    }

    /// Each time that the leg's media was told to be gone, and why.
    pub(crate) fn losses(&self, leg: LegId) -> Vec<(Instant, Loss)> {
        let loss = |(at, event): &(Instant, Event)| match event {
            Event::Lost { leg: l, loss } if *l == leg => Some((*at, *loss)),
            _ => None,
        };
        self.events.iter().filter_map(loss).collect()
    }

    /// Closes all legs: nothing may be left of them.
    pub(crate) fn close(&mut self) {
        for leg in [BROWSER, PHONE, CALLEE] {
            self.command(Command::Close { leg });
        }
        assert!(self.shard.is_empty(), "something is left of the legs");
    }
}
