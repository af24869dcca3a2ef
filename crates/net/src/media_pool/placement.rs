//! Which media thread carries a leg, and what joins two that different ones carry.
//!
//! A leg is given to a thread when its first description comes or is wanted: beside the leg that
//! it is described for, else where the fewest are. So both sides of a call are on one thread.
//! Only calls that grow together later (a transfer, a pick-up) may be on two; between those, a
//! leg of our own on each thread carries the sound over this host's own network (a *junction*).

use std::collections::BTreeMap;
use std::net::IpAddr;

use crosspoint_base::{LegId, Maker};
use crosspoint_media::control::{Command, Event, Profile, SdpKind, SrtpPolicy};
use crosspoint_sdp::Session;

/// Knows where each leg is. Commands come out with the number of their thread.
#[derive(Debug)]
pub(super) struct Placement {
    legs: BTreeMap<LegId, Home>,
    /// How many legs each thread carries.
    load: Vec<usize>,
    junctions: BTreeMap<u64, Junction>,
    /// The junction that each leg has.
    joined: BTreeMap<LegId, u64>,
    next: u64,
    /// What peers are told, and how we reach it ourselves.
    told: IpAddr,
    local: IpAddr,
}

#[derive(Debug)]
enum Home {
    /// Not given to a thread yet, with what it was told so far.
    Nowhere(Vec<Command>),
    At(usize),
}

/// Two legs on different threads, each bridged to one of ours, the first of which offers.
#[derive(Debug, Clone, Copy)]
struct Junction {
    legs: [LegId; 2],
    threads: [usize; 2],
}

/// What goes to which thread.
pub(super) type Orders = Vec<(usize, Command)>;

impl Placement {
    pub(super) fn new(threads: usize, told: IpAddr, local: IpAddr) -> Self {
        Self {
            legs: BTreeMap::new(),
            load: vec![0; threads],
            junctions: BTreeMap::new(),
            joined: BTreeMap::new(),
            next: 0,
            told,
            local,
        }
    }

    pub(super) fn handle_command(&mut self, command: Command, orders: &mut Orders) {
        let leg = command.leg();
        match command {
            Command::Open { .. } => {
                // One that is opened twice stays where it is.
                if let Some(Home::At(thread)) = self.legs.get(&leg) {
                    return orders.push((*thread, command));
                }
                self.legs.insert(leg, Home::Nowhere(vec![command]));
                if self.load.len() == 1 {
                    self.place(leg, None, orders);
                }
            }
            // Both of a pair have to be on one thread, and they carry little.
            Command::OpenRaw { .. } => {
                if self.legs.insert(leg, Home::At(0)).is_none() {
                    self.count(0, 1);
                }
                orders.push((0, command));
            }
            Command::Describe { kind, peer, .. } => {
                let thread = self.place(leg, peer, orders);
                let peer = peer.and_then(|peer| self.seen_from(thread, leg, peer));
                orders.push((thread, Command::Describe { leg, kind, peer }));
            }
            Command::Bridge { a, b } => self.bridge(a, b, orders),
            Command::Close { .. } => {
                let thread = self.place(leg, None, orders);
                self.part(leg, orders);
                if self.legs.remove(&leg).is_some() {
                    self.count(thread, -1);
                }
                orders.push((thread, command));
            }
            command => {
                if let Some(Home::Nowhere(told)) = self.legs.get_mut(&leg)
                    && !matches!(command, Command::Accept { .. } | Command::Report { .. })
                    && told.len() < TOLD
                {
                    return told.push(command);
                }
                let thread = self.place(leg, None, orders);
                orders.push((thread, command));
            }
        }
    }

    /// Takes what is said of our own legs; gives back what others should hear.
    pub(super) fn handle_event(&mut self, event: Event, orders: &mut Orders) -> Option<Event> {
        if !is_ours(event.leg()) {
            return Some(event);
        }
        let (number, side) = number_of(event.leg());
        let junction = *self.junctions.get(&number)?;
        match event {
            Event::Described { description, .. } => {
                let Some(description) = self.localised(&description) else {
                    self.end(number, orders);
                    return None;
                };
                self.pass_description(number, side, junction, description, orders);
            }
            Event::Refused { refusal, .. } => {
                tracing::warn!(?refusal, "two legs on different threads cannot be joined");
                self.end(number, orders);
            }
            _ => {}
        }
        None
    }

    /// What one side of a junction describes goes to the other; after the answer both are bridged.
    fn pass_description(
        &self,
        number: u64,
        side: usize,
        Junction { legs: [a, b], threads: [from, to] }: Junction,
        description: Session,
        orders: &mut Orders,
    ) {
        let [first, second] = [ours(number, 0), ours(number, 1)];
        if side == 0 {
            let accept = Command::Accept { leg: second, kind: SdpKind::Offer, description };
            let answer = Command::Describe { leg: second, kind: SdpKind::Answer, peer: Some(b) };
            orders.extend([(to, accept), (to, answer)]);
        } else {
            let accept = Command::Accept { leg: first, kind: SdpKind::Answer, description };
            orders.push((from, accept));
            orders.push((from, Command::Bridge { a, b: first }));
            orders.push((to, Command::Bridge { a: second, b }));
        }
    }

    fn bridge(&mut self, a: LegId, b: LegId, orders: &mut Orders) {
        let first = self.place(a, Some(b), orders);
        let second = self.place(b, Some(a), orders);
        let threads = [first, second];
        if let Some(number) = self.joined.get(&a).copied()
            && self.joined.get(&b) == Some(&number)
        {
            return;
        }
        self.part(a, orders);
        self.part(b, orders);
        if first == second {
            return orders.push((first, Command::Bridge { a, b }));
        }
        let number = self.next;
        self.next += 1;
        self.junctions.insert(number, Junction { legs: [a, b], threads });
        self.joined.extend([(a, number), (b, number)]);
        let profile = Profile::Rtp(SrtpPolicy::Off);
        let [leg, other] = [ours(number, 0), ours(number, 1)];
        orders.push((first, Command::Open { leg, profile }));
        orders.push((second, Command::Open { leg: other, profile }));
        orders.push((first, Command::Describe { leg, kind: SdpKind::Offer, peer: Some(a) }));
    }

    /// Ends the junction that a leg has.
    fn part(&mut self, leg: LegId, orders: &mut Orders) {
        if let Some(number) = self.joined.get(&leg).copied() {
            self.end(number, orders);
        }
    }

    fn end(&mut self, number: u64, orders: &mut Orders) {
        let Some(junction) = self.junctions.remove(&number) else { return };
        for (side, (leg, thread)) in junction.legs.iter().zip(junction.threads).enumerate() {
            self.joined.remove(leg);
            orders.push((thread, Command::Close { leg: ours(number, side) }));
        }
    }

    /// The thread of a leg. One that has none gets that of the other leg, or the least busy one.
    fn place(&mut self, leg: LegId, beside: Option<LegId>, orders: &mut Orders) -> usize {
        if let Some(Home::At(thread)) = self.legs.get(&leg) {
            return *thread;
        }
        // Who was never opened is refused wherever it is told.
        let Some(Home::Nowhere(_)) = self.legs.get(&leg) else { return 0 };
        let beside = match beside.and_then(|leg| self.legs.get(&leg)) {
            Some(Home::At(thread)) => Some(*thread),
            _ => None,
        };
        let thread = beside.unwrap_or_else(|| self.least_busy());
        self.count(thread, 1);
        if let Some(Home::Nowhere(told)) = self.legs.insert(leg, Home::At(thread)) {
            orders.extend(told.into_iter().map(|command| (thread, command)));
        }
        thread
    }

    fn least_busy(&self) -> usize {
        let load = self.load.iter().enumerate();
        load.min_by_key(|(_, count)| **count).map_or(0, |(thread, _)| thread)
    }

    fn count(&mut self, thread: usize, change: isize) {
        if let Some(count) = self.load.get_mut(thread) {
            *count = count.saturating_add_signed(change);
        }
    }

    /// Who stands for `peer` on this thread, which carries `leg`.
    fn seen_from(&self, thread: usize, leg: LegId, peer: LegId) -> Option<LegId> {
        if !matches!(self.legs.get(&peer), Some(Home::At(other)) if *other != thread) {
            return Some(peer);
        }
        let number = self.joined.get(&leg).filter(|n| self.joined.get(&peer) == Some(n))?;
        let side = self.junctions.get(number)?.legs.iter().position(|l| *l == leg)?;
        Some(ours(*number, side))
    }

    /// A NAT in front of us may not turn packets around.
    fn localised(&self, description: &Session) -> Option<Session> {
        let family = if self.told.is_ipv4() { "IP4" } else { "IP6" };
        let [told, local] = [self.told, self.local].map(|ip| format!("{family} {ip}\r\n"));
        Session::parse(description.to_string().replace(&told, &local).as_bytes()).ok()
    }
}

fn ours(number: u64, side: usize) -> LegId {
    OURS.leg(number * 2 + side as u64)
}

pub(super) fn is_ours(leg: LegId) -> bool {
    leg.maker() == OURS
}

/// The junction of one of our legs, and which side of it.
fn number_of(leg: LegId) -> (u64, usize) {
    let number = leg.0 ^ OURS.leg(0).0;
    (number / 2, usize::from(number % 2 == 1))
}

/// No connector is numbered so.
const OURS: Maker = Maker(u8::MAX);
/// What a leg may be told before it has a thread.
const TOLD: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    struct Story(Placement);

    impl Story {
        fn new() -> Self {
            Self(Placement::new(2, "203.0.113.7".parse().unwrap(), LOCAL))
        }

        fn tell(&mut self, command: Command) -> Vec<(usize, Command)> {
            let mut orders = Vec::new();
            self.0.handle_command(command, &mut orders);
            orders
        }

        fn open(&mut self, leg: u64) {
            let profile = Profile::Rtp(SrtpPolicy::Off);
            assert!(self.tell(Command::Open { leg: LegId(leg), profile }).is_empty());
        }

        /// Where the leg is afterwards.
        fn describe(&mut self, leg: u64, peer: Option<u64>) -> usize {
            let (leg, peer) = (LegId(leg), peer.map(LegId));
            let orders = self.tell(Command::Describe { leg, kind: SdpKind::Offer, peer });
            assert!(orders.iter().all(|order| order.0 == orders[0].0), "{orders:?}");
            orders[0].0
        }
    }

    #[test]
    fn both_legs_of_a_call_are_on_one_thread_and_calls_are_spread() {
        let mut story = Story::new();
        let mut threads = Vec::new();
        for call in 0..4 {
            let (a, b) = (2 * call, 2 * call + 1);
            story.open(a);
            story.open(b);
            let thread = story.describe(a, None);
            assert_eq!(story.describe(b, Some(a)), thread);
            let (a, b) = (LegId(a), LegId(b));
            let orders = story.tell(Command::Bridge { a, b });
            assert!(matches!(orders[..], [(t, Command::Bridge { .. })] if t == thread));
            threads.push(thread);
        }
        assert_eq!(threads, [0, 1, 0, 1]);
    }

    #[test]
    fn a_leg_that_was_never_opened_is_still_answered() {
        let mut story = Story::new();
        let orders = story.tell(Command::Close { leg: LegId(7) });
        assert!(matches!(orders[..], [(0, Command::Close { .. })]), "{orders:?}");
        assert_eq!(story.0.load, [0, 0]);
    }

    #[test]
    fn what_is_told_before_a_leg_has_a_thread_reaches_it_in_order() {
        let mut story = Story::new();
        story.open(1);
        assert!(story.tell(Command::RefuseVideo { leg: LegId(1) }).is_empty());
        let description = Session::parse(b"v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\n");
        let description = description.unwrap();
        let accept = Command::Accept { leg: LegId(1), kind: SdpKind::Offer, description };
        let orders = story.tell(accept);
        assert!(matches!(
            orders[..],
            [
                (0, Command::Open { .. }),
                (0, Command::RefuseVideo { .. }),
                (0, Command::Accept { .. })
            ]
        ));
    }

    /// Two calls on two threads become one; then one party goes.
    #[test]
    fn legs_on_two_threads_are_joined_by_two_of_ours() {
        let mut story = Story::new();
        for leg in [1, 2] {
            story.open(leg);
            assert_eq!(story.describe(leg, None), leg as usize - 1);
        }
        let (a, b) = (LegId(1), LegId(2));
        let orders = story.tell(Command::Bridge { a, b });
        let [(0, Command::Open { leg: first, .. }), (1, Command::Open { leg: second, .. }), ..] =
            orders[..]
        else {
            panic!("{orders:?}")
        };
        let text = "v=0\r\no=- 1 1 IN IP4 203.0.113.7\r\ns=-\r\nc=IN IP4 203.0.113.7\r\nt=0 0\r\n\
                    m=audio 10000 RTP/AVP 0\r\n";
        let description = Session::parse(text.as_bytes()).unwrap();
        let mut described = |leg| {
            let mut orders = Vec::new();
            let event = Event::Described { leg, description: description.clone() };
            assert!(story.0.handle_event(event, &mut orders).is_none());
            orders
        };
        let orders = described(first);
        let [(1, Command::Accept { description: offer, .. }), (1, Command::Describe { .. })] =
            &orders[..]
        else {
            panic!("{orders:?}")
        };
        assert!(offer.to_string().contains("c=IN IP4 127.0.0.1\r\n"), "{offer}");
        let orders = described(second);
        assert!(matches!(orders[1..], [(0, Command::Bridge { .. }), (1, Command::Bridge { .. })]));
        // Seen from the other thread, ours stands for the party.
        let orders = story.tell(Command::Describe { leg: b, kind: SdpKind::Offer, peer: Some(a) });
        assert!(
            matches!(orders[..], [(1, Command::Describe { peer, .. })] if peer == Some(second))
        );
        let orders = story.tell(Command::Close { leg: a });
        let closed: Vec<_> = orders.iter().map(|(t, c)| (*t, c.leg())).collect();
        assert_eq!(closed, [(0, first), (1, second), (0, a)]);
        assert!(story.0.junctions.is_empty() && story.0.joined.is_empty());
    }
}
