//! Stories of guessers and of those who share an address with them.

#![expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]

use super::*;

struct Watch {
    guard: Guard,
    now: Instant,
}

const WRONG: Conduct = Conduct::Offended(Offence::Password);
const UNPROVED: Conduct = Conduct::Offended(Offence::Unproved);
const SCANNER: Conduct = Conduct::Offended(Offence::Scanner);

impl Watch {
    fn new() -> Self {
        let exempt = vec!["10.0.0.0/8".parse().unwrap()];
        let config = GuardConfig { exempt, ..GuardConfig::default() };
        Self { guard: Guard::new(config), now: Instant::now() }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn note(&mut self, from: &str, conduct: Conduct) -> Option<Ban> {
        self.guard.note(self.now, from.parse().unwrap(), true, conduct)
    }

    fn signs_in(&mut self, from: &str, user: &str) {
        assert_eq!(self.note(from, Conduct::SignedIn(user.into())), None);
    }

    fn hears(&mut self, from: &str) -> bool {
        self.guard.hears(self.now, from.parse().unwrap())
    }

    /// How many wrong passwords in one go get a source banned.
    fn guesses(&mut self, from: &str) -> u32 {
        (1..=1000).find(|_| self.note(from, WRONG).is_some()).expect("a ban")
    }
}

#[test]
fn who_guesses_is_banned_for_a_while_and_each_time_for_longer() {
    let mut watch = Watch::new();
    assert_eq!(watch.guesses("192.0.2.1:5060"), 20);
    assert!(!watch.hears("192.0.2.1:5060") && !watch.hears("[::ffff:192.0.2.1]:6000"));
    assert!(watch.hears("192.0.2.2:5060"));
    watch.pass(599);
    assert!(!watch.hears("192.0.2.1:5060"));
    watch.pass(1);
    assert!(watch.hears("192.0.2.1:5060"));
    assert_eq!(watch.guesses("192.0.2.1:5060"), 20);
    let until = |watch: &Watch| watch.guard.bans(watch.now).next().unwrap().until - watch.now;
    assert_eq!(until(&watch), Duration::from_secs(2400));
    watch.pass(2400);
    watch.guesses("192.0.2.1:5060");
    assert_eq!(until(&watch), Duration::from_secs(9600));
    watch.pass(2 * 24 * 3600);
    watch.guesses("192.0.2.1:5060");
    assert_eq!(until(&watch), Duration::from_secs(600), "after a good day it begins anew");
}

#[test]
fn a_phone_with_an_old_password_that_tries_now_and_then_is_not_banned() {
    let mut watch = Watch::new();
    for _ in 0..1000 {
        watch.pass(31);
        assert_eq!(watch.note("192.0.2.1:5060", WRONG), None);
    }
}

#[test]
fn one_guesser_does_not_ban_the_office_that_it_is_in() {
    let mut watch = Watch::new();
    for n in 0..4 {
        watch.signs_in(&format!("192.0.2.1:{}", 6000 + n), &format!("user{n}"));
    }
    assert_eq!(watch.guesses("192.0.2.1:9999"), 100, "five times what a stranger has");
    // Even then, those who were signed in go on; the guesser does not.
    assert!(watch.hears("192.0.2.1:6000") && watch.hears("192.0.2.1:6003"));
    assert!(!watch.hears("192.0.2.1:9999"));
    // What was forgotten of them counts no more.
    watch.pass(3 * 3600);
    assert_eq!(watch.guesses("192.0.2.1:9999"), 20);
    assert!(!watch.hears("192.0.2.1:6000"));
}

#[test]
fn one_who_has_an_account_does_not_guess_for_free() {
    let mut watch = Watch::new();
    let mut wrong = 0;
    loop {
        watch.signs_in("192.0.2.1:5060", "insider");
        wrong += 1;
        if watch.note("192.0.2.1:5060", WRONG).is_some() {
            break;
        }
        assert!(wrong < 100);
    }
    assert!(wrong <= 45, "{wrong}");
}

#[test]
fn unproved_requests_count_little_and_a_sign_in_makes_up_for_one() {
    let mut watch = Watch::new();
    for _ in 0..5000 {
        assert_eq!(watch.note("192.0.2.1:5060", UNPROVED), None);
        watch.signs_in("192.0.2.1:5060", "alice");
    }
    let banned = (1..=1000).find(|_| watch.note("192.0.2.9:5060", UNPROVED).is_some());
    assert_eq!(banned, Some(200));
    assert!(watch.note("192.0.2.7:5060", SCANNER).is_some(), "no second chance for scanners");
}

#[test]
fn exempt_networks_are_never_banned_and_a_subscriber_is_one_source() {
    let mut watch = Watch::new();
    for _ in 0..1000 {
        assert_eq!(watch.note("10.1.2.3:5060", SCANNER), None);
    }
    assert!(watch.guard.impose(watch.now, "10.1.2.3".parse().unwrap(), DAY).is_none());
    watch.note("[2001:db8:1:2::1]:5060", SCANNER).unwrap();
    assert!(!watch.hears("[2001:db8:1:2:ffff::1]:5060"));
    assert!(watch.hears("[2001:db8:1:3::1]:5060"));
    // A trunk that is found there later.
    watch.guard.trust(Network::from("2001:db8:1:2::1".parse::<IpAddr>().unwrap()));
    watch.guard.trust("2001:db8:1:2::/64".parse().unwrap());
    assert!(watch.hears("[2001:db8:1:2:ffff::1]:5060"));
}

#[test]
fn operators_ban_and_lift() {
    let mut watch = Watch::new();
    let source: IpAddr = "192.0.2.1".parse().unwrap();
    let ban = watch.guard.impose(watch.now, source, Duration::from_secs(60)).unwrap();
    assert_eq!((ban.offence, ban.source), (Offence::Operator, source));
    assert!(!watch.hears("192.0.2.1:1") && !watch.hears("192.0.2.1:2"));
    let lifted = watch.guard.lift(watch.now, source).unwrap();
    assert_eq!(lifted.dropped, 2);
    assert!(watch.hears("192.0.2.1:1"));
    assert!(watch.guard.lift(watch.now, source).is_none());
    let counters = watch.guard.counters();
    assert_eq!((counters.dropped, counters.lifted), (2, 1));
    assert_eq!(counters.bans, [0, 0, 0, 0, 1]);
}

#[test]
fn floods_of_sources_take_no_more_than_their_room() {
    let mut watch = Watch::new();
    for n in 0..30_000_u32 {
        let from = SocketAddr::new(IpAddr::from((0xC600_0000 + n).to_be_bytes()), 5060);
        watch.guard.note(watch.now, from, true, WRONG);
        watch.guard.note(watch.now, from, true, SCANNER);
    }
    assert!(watch.guard.sources.len() <= MAX_SOURCES);
    assert!(watch.guard.banned() <= MAX_BANS);
    for port in 1..=65_535 {
        for host in [1, 2] {
            let from = SocketAddr::new(IpAddr::from([192, 0, 2, host]), port);
            let user = Conduct::SignedIn(format!("u{port}").into());
            watch.guard.note(watch.now, from, true, user);
        }
    }
    assert!(watch.guard.flows.len() <= MAX_FLOWS);
    // Later there is room again.
    watch.pass(2 * 24 * 3600);
    watch.guard.expire(watch.now);
    assert_eq!(watch.guard.banned(), 0);
    assert_eq!(watch.guesses("192.0.2.200:5060"), 20);
}
