//! Decisions and their reasons, rule by rule.

use crosspoint_base::{BindingId, Rng};
use jiff::tz::TimeZone;

use super::*;
use crate::{Cause, Reach, SrtpPolicy};

/// The present of a story.
#[derive(Default)]
struct Now {
    devices: BTreeMap<Arc<str>, Vec<Device>>,
    busy: BTreeSet<String>,
    idle_since: BTreeMap<String, i64>,
    turn: u64,
    usage: BTreeMap<Meter, Usage>,
    trunks: BTreeMap<String, TrunkState>,
    now: i64,
}

impl Snapshot for Now {
    fn devices_of(&self, user: &str) -> Vec<Device> {
        self.devices.devices_of(user)
    }

    fn now(&self) -> i64 {
        self.now
    }

    fn is_busy(&self, user: &str) -> bool {
        self.busy.contains(user)
    }

    fn idle_since(&self, user: &str) -> Option<i64> {
        self.idle_since.get(user).copied()
    }

    fn turn_of(&self, _group: &str) -> u64 {
        self.turn
    }

    fn usage(&self, meter: &Meter) -> Usage {
        self.usage.get(meter).copied().unwrap_or_default()
    }

    fn trunk_state(&self, trunk: &str) -> TrunkState {
        self.trunks.get(trunk).cloned().unwrap_or_default()
    }
}

fn signed_in(users: &[&str]) -> Now {
    let device = |n: usize| Device {
        binding: BindingId(u64::try_from(n).unwrap()),
        profile: Profile::WebRtc,
    };
    let devices = users.iter().enumerate().map(|(n, user)| (Arc::from(*user), vec![device(n)]));
    Now { devices: devices.collect(), ..Now::default() }
}

fn trunk(name: &str, prefixes: &[&str], rewrite: Rewrite) -> TrunkRoute {
    TrunkRoute {
        name: name.into(),
        prefixes: prefixes.iter().map(|p| (*p).to_owned()).collect(),
        is_default: true,
        form: NumberForm::Dialled,
        rewrite,
        profile: Profile::Rtp(SrtpPolicy::Off),
        video: false,
        texts: false,
        bypass: false,
    }
}

fn plan() -> Plan {
    Plan {
        users: [("alice", "alice"), ("1001", "alice"), ("bob", "bob"), ("carol", "carol")]
            .map(|(name, user)| (name.to_owned(), Arc::from(user)))
            .into(),
        trunks: vec![
            trunk("local", &["0"], Rewrite::new(1, "+49", None).unwrap()),
            trunk("world", &[], Rewrite::new(0, "", Some((r"^\+(\d+)$", "00$1"))).unwrap()),
        ],
        builtins: [("600".to_owned(), Playback::Echo)].into(),
        ..Plan::default()
    }
}

fn request(user: Option<&str>, trunk: Option<&str>, to: &str) -> RouteRequest {
    RouteRequest {
        user: user.map(Arc::from),
        trunk: trunk.map(Arc::from),
        from: Private(user.unwrap_or("030555").to_owned()),
        to: Private(to.to_owned()),
        scope: Scope::Everywhere,
        ..RouteRequest::default()
    }
}

fn outcome(user: Option<&str>, trunk: Option<&str>, to: &str) -> Outcome {
    route(&request(user, trunk, to), &plan(), &signed_in(&["alice"])).outcome
}

/// Where everything leads, in order: `trunk number` or the users that ring.
fn places(decision: &Decision) -> Vec<String> {
    let words = |targets: &[Target]| {
        let words = targets.iter().map(|target| match &target.reach {
            Reach::Trunk { name, number } => format!("{name} {}", number.expose()),
            _ => target.user.as_deref().unwrap_or("?").to_owned(),
        });
        words.collect::<Vec<_>>().join("+")
    };
    let mut all = Vec::new();
    match &decision.outcome {
        Outcome::Fork(targets) => all.push(words(targets)),
        Outcome::Builtin(playback) => all.push(format!("{playback:?}")),
        Outcome::Refused(cause) => all.push(format!("refused {cause}")),
    }
    for attempt in &decision.later {
        match &attempt.way {
            Way::Ring(targets) => all.push(words(targets)),
            Way::Play(playback) => all.push(format!("{playback:?}")),
        }
    }
    all
}

fn over(trunk: &str) -> Vec<Destination> {
    vec![Destination::Trunk(trunk.into())]
}

fn table(routes: Vec<(Route, &[&str])>) -> RouteTable {
    RouteTable::new(routes.into_iter().map(|(route, prefixes)| {
        (route, prefixes.iter().map(|p| ((*p).to_owned(), None)).collect())
    }))
}

/// A German office with two carriers that take whole numbers.
fn office() -> Plan {
    let carrier = |name: &str, form| TrunkRoute {
        is_default: false,
        form,
        ..trunk(name, &[], Rewrite::default())
    };
    Plan {
        country: Country::find("de"),
        trunks: vec![carrier("a", NumberForm::Plus), carrier("b", NumberForm::National)],
        routes: table(vec![
            (Route::plain("out-a", over("a")), &["+"]),
            (Route::plain("out-b", over("b")), &["+"]),
        ]),
        ..plan()
    }
}

#[test]
fn finds_users_aliases_builtins_and_trunks() {
    let check = |to: &str, expected: &[&str]| {
        let decision = route(&request(Some("bob"), None, to), &plan(), &signed_in(&["alice"]));
        assert_eq!(places(&decision), expected, "{}", decision.why());
    };
    check("alice", &["alice"]);
    check("1001", &["alice"]);
    check("600", &["Echo"]);
    check("030123", &["local +4930123"]);
    check("+4412", &["world 004412"]);
}

#[test]
fn refuses_with_the_cause_that_fits() {
    assert_eq!(outcome(Some("alice"), None, "bob"), Outcome::Refused(Cause::Unavailable));
    assert_eq!(outcome(Some("alice"), None, "nobody"), Outcome::Refused(Cause::NotFound));
    assert_eq!(outcome(Some("alice"), None, ""), Outcome::Refused(Cause::InvalidNumber));
    assert_eq!(outcome(Some("alice"), None, "a b"), Outcome::Refused(Cause::InvalidNumber));
    assert_eq!(outcome(None, None, "alice"), Outcome::Refused(Cause::Forbidden));
}

#[test]
fn never_lets_a_trunk_call_leave_over_a_trunk() {
    assert_eq!(outcome(None, Some("world"), "030123"), Outcome::Refused(Cause::NotFound));
    let decision = route(&request(None, Some("a"), "030123"), &office(), &Now::default());
    assert_eq!(decision.refusal, Some(Refusal::TrunkToTrunk), "{}", decision.why());
}

#[test]
fn says_why() {
    let decision = route(&request(Some("bob"), None, "nobody"), &plan(), &Now::default());
    let why = decision.why();
    assert!(why.contains("trunk local: no match (nobody has none of its prefixes)"), "{why}");
    assert!(why.contains("trunks: refused (no trunk takes nobody)"), "{why}");
    assert!(why.ends_with("\n=> refused: not_found"), "{why}");
}

#[test]
fn numbers_are_normalized_and_each_trunk_gets_its_form_with_failover() {
    for dialled in ["030 123456", "0049 30 123456", "+4930123456"] {
        let decision = route(&request(Some("bob"), None, dialled), &office(), &Now::default());
        assert_eq!(places(&decision), ["a +4930123456", "b 030123456"], "{}", decision.why());
        assert!(decision.terms.go_on.contains(Cause::NetworkFailure));
        assert!(!decision.terms.go_on.contains(Cause::Busy));
        assert!(decision.terms.patience.is_some());
        assert_eq!(decision.later[0].terms.patience, None, "nothing follows the last");
    }
}

#[test]
fn a_trunk_that_is_down_or_full_is_passed_over_and_without_another_refused() {
    let mut now = Now::default();
    now.trunks.insert("a".to_owned(), TrunkState::Down);
    let asked = request(Some("bob"), None, "030123456");
    let decision = route(&asked, &office(), &now);
    assert_eq!(places(&decision), ["b 030123456"]);
    assert!(decision.why().contains("trunk a: refused (nothing there answers)"));
    now.trunks.insert("b".to_owned(), TrunkState::Full);
    let decision = route(&asked, &office(), &now);
    assert_eq!(decision.refusal, Some(Refusal::TrunkDown));
    assert_eq!(places(&decision), ["refused trunk_down"]);
    // Without routes it is the same.
    let mut plan = plan();
    plan.trunks[0].prefixes.clear();
    let asked = request(Some("bob"), None, "+4930123");
    now.trunks = [("local".to_owned(), TrunkState::Full)].into();
    assert_eq!(places(&route(&asked, &plan, &now)), ["world 004930123"]);
    now.trunks.insert("world".to_owned(), TrunkState::Down);
    assert_eq!(places(&route(&asked, &plan, &now)), ["refused trunk_full"]);
}

#[test]
fn the_high_risk_list_is_refused_whatever_prefix_hides_it() {
    let mut plan = office();
    plan.routes = table(vec![
        (Route::plain("all", over("a")), &["+"]),
        (
            Route {
                rewrite: Rewrite::new(1, "", None).unwrap(),
                ..Route::plain("nine", over("a"))
            },
            &["9"],
        ),
    ]);
    for dialled in ["0025261234567", "+25261234567", "90025261234567", "0900123456"] {
        let decision = route(&request(Some("bob"), None, dialled), &plan, &Now::default());
        assert_eq!(decision.refusal, Some(Refusal::HighRisk), "{}", decision.why());
        assert_eq!(places(&decision), ["refused forbidden"]);
    }
    let permission = Permission { high_risk: true, ..Permission::usual() };
    plan.permissions = vec![permission];
    let decision = route(&request(Some("bob"), None, "0025261234567"), &plan, &Now::default());
    assert_eq!(places(&decision), ["a +25261234567"]);
}

/// Without a country, a trunk that cuts off a digit is no way around either.
#[test]
fn a_trunks_own_rewriting_hides_nothing() {
    let mut plan = plan();
    plan.trunks = vec![trunk("out", &["9"], Rewrite::new(1, "", None).unwrap())];
    for dialled in ["90025261234567", "9+25261234567", "901125261234567"] {
        let decision = route(&request(Some("bob"), None, dialled), &plan, &Now::default());
        assert_eq!(decision.refusal, Some(Refusal::HighRisk), "{}", decision.why());
    }
}

#[test]
fn permissions_name_users_and_the_one_for_all_is_for_the_others() {
    let mut plan = office();
    let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect();
    plan.permissions = vec![
        Permission {
            name: "chef".into(),
            users: words(&["alice"]),
            caller_id: Some("+49305550".to_owned()),
            ..Permission::usual()
        },
        Permission { name: "all".into(), international: false, ..Permission::usual() },
    ];
    let decision = route(&request(Some("alice"), None, "00441632960001"), &plan, &Now::default());
    assert_eq!(places(&decision), ["a +441632960001", "b 00441632960001"]);
    let shown = decision.targets().next().and_then(|t| t.caller.clone());
    assert_eq!(shown.map(|c| c.expose().clone()).as_deref(), Some("+49305550"));
    let decision = route(&request(Some("bob"), None, "00441632960001"), &plan, &Now::default());
    assert_eq!(decision.refusal, Some(Refusal::Permission));
    assert!(decision.why().contains("permission all has international = false"));
}

#[test]
fn caps_count_calls_of_a_caller_and_to_a_destination() {
    let mut plan = office();
    plan.fraud.limits = vec![DestinationLimit {
        name: "mobile".into(),
        prefixes: vec!["+4917".to_owned()],
        calls: Some(2),
        calls_per_minute: Some(5),
    }];
    let check = |meter: Meter, usage: Usage, to: &str, expected: Option<Refusal>| {
        let now = Now { usage: [(meter, usage)].into(), ..Now::default() };
        let decision = route(&request(Some("bob"), None, to), &plan, &now);
        assert_eq!(decision.refusal, expected, "{}", decision.why());
    };
    let (few, at_once) =
        (Usage { calls: 1, in_last_minute: 1 }, Usage { calls: 50, in_last_minute: 0 });
    let fast = Usage { calls: 0, in_last_minute: 30 };
    let bob = || Meter::User("bob".into());
    let mobile = || Meter::Limit("mobile".into());
    check(bob(), few, "030123456", None);
    check(bob(), at_once, "030123456", Some(Refusal::CallerCalls));
    check(bob(), fast, "030123456", Some(Refusal::CallerRate));
    check(bob(), at_once, "alice", Some(Refusal::NoDevice));
    check(mobile(), few, "0170123456", None);
    check(mobile(), at_once, "0170123456", Some(Refusal::DestinationCalls));
    check(mobile(), fast, "0170123456", Some(Refusal::DestinationRate));
    check(mobile(), fast, "030123456", None);
    check(
        Meter::Country("44".to_owned()),
        at_once,
        "00441632960001",
        Some(Refusal::DestinationCalls),
    );
    let decision = route(&request(Some("bob"), None, "0170123456"), &plan, &Now::default());
    assert_eq!(decision.meters, [mobile(), bob()]);
}

/// The call is at one of bob's browsers and shall go on at bob's phone, which has this number.
fn to_own_phone(plan: &Plan, now: &Now) -> Decision {
    let request =
        RouteRequest { scope: Scope::OwnPhone, ..request(Some("bob"), None, "+4930555700") };
    route(&request, plan, now)
}

#[test]
fn a_user_goes_on_at_its_desk_phone_or_at_its_number_outside() {
    let mut plan = office();
    let mut now = signed_in(&["alice", "bob"]);
    assert_eq!(places(&to_own_phone(&plan, &now)), ["a +4930555700", "b 030555700"]);
    // The number is bob's here as well: that leads back to the browser, and is not meant.
    let bobs = vec![Destination::User("bob".into())];
    let did = Route { exact: true, ..Route::plain("did", bobs) };
    plan.routes = table(vec![(did, &["+4930555700"]), (Route::plain("out", over("a")), &["+"])]);
    assert_eq!(places(&to_own_phone(&plan, &now)), ["a +4930555700"]);
    // With a phone on the desk nothing goes out, and no browser rings.
    let desk = Device { binding: BindingId(77), profile: Profile::Rtp(SrtpPolicy::Off) };
    now.devices.get_mut("bob").unwrap().push(desk);
    let decision = to_own_phone(&plan, &now);
    let reached = decision.targets().map(|t| t.reach.clone()).collect::<Vec<_>>();
    assert_eq!(reached, [Reach::Binding(BindingId(77))]);
}

#[test]
fn what_a_user_may_not_call_its_own_phone_is_not_either() {
    let mut plan = office();
    let mut now = signed_in(&["bob"]);
    let deny = vec!["+4930".to_owned()];
    plan.permissions = vec![Permission { deny, ..Permission::usual() }];
    assert_eq!(to_own_phone(&plan, &now).refusal, Some(Refusal::Permission));
    plan.permissions = Vec::new();
    now.usage = [(Meter::User("bob".into()), Usage { calls: 50, in_last_minute: 0 })].into();
    assert_eq!(to_own_phone(&plan, &now).refusal, Some(Refusal::CallerCalls));
}

#[test]
fn a_did_leads_to_a_group_and_by_night_to_an_announcement() {
    let hours = Hours::new("day", TimeZone::UTC, &["mon-fri 08:00-18:00".to_owned()], &[]).unwrap();
    let hours = Arc::new(hours);
    let mut plan = office();
    let group = Group {
        name: "sales".into(),
        members: ["alice", "bob", "carol", "ghost"].map(Arc::from).into(),
        strategy: Strategy::Hunt,
        member_ring: Duration::from_secs(15),
        ring: Duration::from_secs(60),
        call_busy: false,
        overflow: Some(Destination::Builtin(Playback::Announcement)),
    };
    plan.groups = [(Arc::from("sales"), Arc::new(group.clone()))].into();
    plan.group_numbers = [("700".to_owned(), Arc::from("sales"))].into();
    let did = |name: &str, to, inside| Route {
        exact: true,
        hours: Some((hours.clone(), inside)),
        ..Route::plain(name, vec![to])
    };
    plan.routes = table(vec![
        (did("open", Destination::Group("sales".into()), true), &["+4930700"]),
        (did("closed", Destination::Builtin(Playback::Announcement), false), &["+4930700"]),
        (Route::plain("out", over("a")), &["+"]),
    ]);
    let mut now = signed_in(&["alice", "bob", "carol"]);
    now.now = 1_700_049_600; // Wed 2023-11-15 12:00 UTC
    let asked = request(None, Some("a"), "004930700");
    let decision = route(&asked, &plan, &now);
    assert_eq!(places(&decision), ["alice", "bob", "carol", "Announcement"], "{}", decision.why());
    assert_eq!(decision.group.as_deref(), Some("sales"));
    let shown = decision.targets().next().and_then(|t| t.caller.clone());
    assert_eq!(shown.map(|c| c.expose().clone()).as_deref(), Some("+4930555"), "in its whole form");
    now.busy.insert("alice".to_owned());
    let decision = route(&request(Some("bob"), None, "700"), &plan, &now);
    assert_eq!(places(&decision), ["carol", "Announcement"], "{}", decision.why());
    assert!(decision.why().contains("group sales: no match (alice is in a call)"));
    assert!(decision.why().contains("group sales: no match (ghost is no user)"));
    now.now += 12 * 3600;
    let decision = route(&asked, &plan, &now);
    assert_eq!(places(&decision), ["Announcement"]);
    assert!(
        decision.why().contains("Thu 2023-11-16 00:00 UTC is outside day"),
        "{}",
        decision.why()
    );
}

#[test]
fn members_of_a_busy_group_and_of_an_absent_one_are_told_apart() {
    let mut plan = plan();
    let group = Group {
        name: "g".into(),
        members: ["alice", "bob"].map(Arc::from).into(),
        strategy: Strategy::RingAll,
        member_ring: Duration::from_secs(15),
        ring: Duration::from_secs(60),
        call_busy: false,
        overflow: None,
    };
    plan.groups = [(Arc::from("g"), Arc::new(group))].into();
    plan.group_numbers = [("700".to_owned(), Arc::from("g"))].into();
    let asked = request(Some("carol"), None, "700");
    let mut now = signed_in(&["alice", "bob"]);
    assert_eq!(places(&route(&asked, &plan, &now)), ["alice+bob"]);
    now.busy = ["alice", "bob"].map(str::to_owned).into();
    assert_eq!(route(&asked, &plan, &now).refusal, Some(Refusal::GroupBusy));
    assert_eq!(route(&asked, &plan, &Now::default()).refusal, Some(Refusal::NoDevice));
}

#[test]
fn groups_and_numbers_that_lead_in_a_circle_end() {
    let mut plan = plan();
    plan.routes = table(vec![
        (Route::plain("x", vec![Destination::Number("72".to_owned())]), &["71"]),
        (Route::plain("y", vec![Destination::Number("71".to_owned())]), &["72"]),
    ]);
    let decision = route(&request(Some("bob"), None, "71"), &plan, &Now::default());
    assert_eq!(decision.refusal, Some(Refusal::NoRoute), "{}", decision.why());
}

#[test]
fn a_pbx_may_dial_out_where_a_route_names_it() {
    let mut plan = office();
    let from = Route { from_trunks: ["b".to_owned()].into(), ..Route::plain("pbx", over("a")) };
    plan.routes = table(vec![(from, &["+"])]);
    let decision = route(&request(None, Some("b"), "030123456"), &plan, &Now::default());
    assert_eq!(places(&decision), ["a +4930123456"], "{}", decision.why());
    assert_eq!(decision.meters, [Meter::Trunk("b".into())]);
    let decision = route(&request(None, Some("a"), "030123456"), &plan, &Now::default());
    assert_eq!(decision.refusal, Some(Refusal::TrunkToTrunk), "{}", decision.why());
}

#[test]
fn a_call_for_help_passes_every_limit_and_tries_every_trunk() {
    let mut plan = office();
    plan.emergency.numbers = ["112", "110"].map(str::to_owned).into();
    plan.permissions =
        vec![Permission { calls: 0, allow: vec!["+1".to_owned()], ..Permission::usual() }];
    let mut now = Now::default();
    now.trunks.insert("a".to_owned(), TrunkState::Full);
    let decision = route(&request(Some("bob"), None, "112"), &plan, &now);
    assert_eq!(places(&decision), ["b 112", "a 112"], "{}", decision.why());
    assert!(decision.is_emergency && decision.meters.is_empty());
    assert!(decision.terms.go_on.contains(Cause::Busy));
    let by_name = route(&request(Some("bob"), None, "urn:service:sos.fire"), &plan, &now);
    assert_eq!(places(&by_name), ["b 110", "a 110"]);
    let stranger = route(&request(None, Some("a"), "112"), &plan, &now);
    assert_eq!(stranger.refusal, Some(Refusal::TrunkToTrunk), "{}", stranger.why());
    plan.emergency.from_trunks = ["b".to_owned()].into();
    plan.emergency.trunks = vec!["a".into()];
    let pbx = route(&request(None, Some("b"), "112"), &plan, &now);
    assert_eq!(places(&pbx), ["a 112"]);
}

/// Whatever is asked of whatever plan: an answer comes, and it says why.
#[test]
#[expect(clippy::too_many_lines, reason = "one list of everything that may be asked")]
fn the_router_always_answers_and_always_explains() {
    let mut rng = Rng::from_u64(8128);
    let texts = [
        "",
        "+",
        "1001",
        "alice",
        "112",
        "700",
        "701",
        "030123456",
        "+25261234567",
        "00491",
        "a b",
        "urn:service:sos",
        "é\u{0}",
        "9999999999999999999999",
        "71",
        "72",
    ];
    let any = |rng: &mut Rng, list: &[&str]| {
        list[rng.below(u32::try_from(list.len()).unwrap()) as usize].to_owned()
    };
    for _ in 0..5_000 {
        let mut plan = if rng.below(2) == 0 { plan() } else { office() };
        plan.emergency.numbers = ["112".to_owned()].into();
        let mut routes = Vec::new();
        for n in 0..rng.below(6) {
            let to = (0..rng.below(3)).map(|_| match rng.below(6) {
                0 => Destination::Trunk(any(&mut rng, &["a", "b", "local", "none"]).into()),
                1 => Destination::User(any(&mut rng, &["alice", "nobody"]).into()),
                2 => Destination::Group(any(&mut rng, &["g", "none"]).into()),
                3 => Destination::Number(any(&mut rng, &texts)),
                4 => Destination::Builtin(Playback::Tone),
                _ => Destination::Refuse,
            });
            let to = to.collect();
            let mut route = Route::plain(&format!("r{n}"), to);
            route.priority = rng.below(3);
            route.exact = rng.below(2) == 0;
            if rng.below(3) == 0 {
                route.from_trunks.insert("a".to_owned());
            }
            let prefixes = vec![(any(&mut rng, &texts), Some(u64::from(rng.below(9))))];
            routes.push((route, prefixes));
        }
        plan.routes = RouteTable::new(routes);
        let group = Group {
            name: "g".into(),
            members: ["alice", "bob", "ghost"].map(Arc::from).into(),
            strategy: [Strategy::RingAll, Strategy::RoundRobin][rng.below(2) as usize],
            member_ring: Duration::from_secs(1),
            ring: Duration::from_secs(1),
            call_busy: false,
            overflow: (rng.below(2) == 0).then(|| Destination::Number(any(&mut rng, &texts))),
        };
        plan.groups = [(Arc::from("g"), Arc::new(group))].into();
        plan.group_numbers = [("700".to_owned(), Arc::from("g"))].into();
        let mut now = signed_in(&["alice", "bob"][..rng.below(3) as usize]);
        now.turn = rng.next_u64();
        let who = rng.below(3);
        let (user, trunk) = (any(&mut rng, &["alice", "bob"]), any(&mut rng, &["a", "b"]));
        let asked = request(
            (who == 0).then_some(user.as_str()),
            (who == 1).then_some(trunk.as_str()),
            &any(&mut rng, &texts),
        );
        let decision = route(&asked, &plan, &now);
        assert_eq!(decision, route(&asked, &plan, &now), "the same question has one answer");
        let refused = matches!(decision.outcome, Outcome::Refused(_));
        assert_eq!(refused, decision.refusal.is_some());
        let told = decision.steps.iter().any(|step| step.verdict == Verdict::Refused);
        assert!(!refused || told, "{}", decision.why());
        assert!(!decision.steps.is_empty());
        if let Outcome::Fork(targets) = &decision.outcome {
            assert!(!targets.is_empty(), "{}", decision.why());
        }
        assert!(decision.later.len() <= 16 && decision.steps.len() <= 101);
    }
}
