//! Texts between users, and who is told how a user is.

use std::time::Duration;

use crosspoint_call::router::{Country, Destination, Permission, Route, RouteTable};
use crosspoint_testkit::{CallState, Manner, PhoneId, Sim};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_text_reaches_every_device_of_its_user_at_once() {
    let mut sim = Sim::new(41);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    let also_bob = sim.add_registered_phone("bob");
    sim.send_text(alice, "bob", "Lunch?");
    sim.run_for(SECOND);
    assert_eq!(sim.outcomes(alice), [202]);
    assert_eq!(
        (sim.texts(bob), sim.texts(also_bob)),
        (&["Lunch?".to_owned()][..], &["Lunch?".to_owned()][..])
    );
    sim.send_text(alice, "nobody", "Hello?");
    sim.run_to_idle();
    assert_eq!(sim.outcomes(alice), [202, 404]);
}

/// In the order they were sent, and each once.
#[test]
fn texts_wait_for_a_user_who_is_away() {
    let mut sim = Sim::new(42);
    let alice = sim.add_registered_phone("alice");
    let bob = sim.add_phone("bob");
    for text in ["one", "two", "three"] {
        sim.send_text(alice, "bob", text);
        sim.run_for(SECOND);
    }
    assert_eq!(sim.outcomes(alice), [202, 202, 202]);
    sim.sign_in(bob);
    sim.run_for(SECOND);
    assert_eq!(sim.texts(bob), ["one", "two", "three"]);
    sim.sign_in(bob);
    sim.run_to_idle();
    assert_eq!(sim.texts(bob).len(), 3);
}

/// RFC 3428 §8: a long text waits for a device that it may be sent to.
#[test]
fn a_long_text_does_not_travel_over_udp() {
    let mut sim = Sim::new(43);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    sim.send_text(alice, "bob", &"x".repeat(1200));
    sim.send_text(alice, "bob", &"x".repeat(20_000));
    sim.run_to_idle();
    assert!(sim.texts(bob).is_empty());
    let mut outcomes = sim.outcomes(alice).to_vec();
    outcomes.sort_unstable();
    assert_eq!(outcomes, [202, 413]);
}

/// A world whose trunks take texts, the first before the second.
fn with_carriers() -> (Sim, PhoneId, PhoneId, PhoneId) {
    let mut sim = Sim::with_trunks(44, &["cheap", "good"]);
    let (cheap, good) = (sim.trunk("cheap"), sim.trunk("good"));
    sim.rule(|plan| {
        plan.country = Country::find("de");
        let to = plan.trunks.iter().map(|trunk| Destination::Trunk(trunk.name.clone())).collect();
        plan.routes = RouteTable::new([(Route::plain("out", to), vec![("+".to_owned(), None)])]);
        plan.trunks.iter_mut().for_each(|trunk| trunk.texts = true);
    });
    let alice = sim.add_registered_phone("alice");
    (sim, alice, cheap, good)
}

#[test]
fn a_text_goes_out_over_a_trunk_and_its_answer_is_the_senders() {
    let (mut sim, alice, cheap, good) = with_carriers();
    sim.send_text(alice, "0301234567", "Lunch?");
    sim.run_for(SECOND);
    assert_eq!((sim.texts(cheap).len(), sim.texts(good).len()), (1, 0));
    sim.set_manner(cheap, Manner::Decline);
    sim.send_text(alice, "0301234567", "Dinner?");
    sim.run_to_idle();
    assert_eq!(sim.outcomes(alice), [202, 603]);
    assert!(sim.texts(good).is_empty(), "an answer is no failure");
}

#[test]
fn a_text_goes_by_the_next_trunk_when_one_fails() {
    let (mut sim, alice, cheap, good) = with_carriers();
    sim.set_manner(cheap, Manner::Fail);
    sim.send_text(alice, "0301234567", "Lunch?");
    sim.run_to_idle();
    assert_eq!((sim.outcomes(alice), sim.texts(good)), (&[202][..], &["Lunch?".to_owned()][..]));
    // Both fail: the sender hears of the last.
    sim.set_manner(good, Manner::Fail);
    sim.send_text(alice, "0301234567", "Lunch?");
    sim.run_to_idle();
    assert_eq!(sim.outcomes(alice), [202, 502]);
}

#[test]
fn a_text_goes_out_only_where_trunks_permission_and_limits_allow() {
    let (mut sim, alice, cheap, _) = with_carriers();
    let one = Permission { calls_per_minute: 1, ..Permission::usual() };
    sim.rule(|plan| plan.permissions = vec![one]);
    for to in ["0301234567", "0301234567", "00252612345", "nobody"] {
        sim.send_text(alice, to, "Lunch?");
        sim.run_for(SECOND);
    }
    assert_eq!(sim.texts(cheap).len(), 1);
    assert_eq!(sim.outcomes(alice), [202, 403, 403, 404]);
    // What is said over a trunk stays on this side, and without a trunk for it nothing goes out.
    sim.send_text(cheap, "0301234567", "Spam");
    sim.run_for(SECOND);
    assert_eq!(sim.outcomes(cheap), [404]);
    sim.run_for(60 * SECOND);
    sim.rule(|plan| plan.trunks.iter_mut().for_each(|trunk| trunk.texts = false));
    sim.send_text(alice, "0301234567", "Lunch?");
    sim.run_to_idle();
    assert_eq!(sim.outcomes(alice)[4..], [404]);
}

/// A lamp: dark, flashing, lit, dark.
#[test]
fn a_lamp_follows_the_calls_of_a_user() {
    let mut sim = Sim::new(44);
    let lamp = sim.add_registered_phone("carol");
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    sim.set_manner(bob, Manner::Ring);
    sim.subscribe(lamp, "dialog", "bob", 600);
    sim.run_for(SECOND);
    assert_eq!(sim.outcomes(lamp), [200]);
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.state(bob) == CallState::Ringing);
    sim.run_for(SECOND);
    sim.pick_up(bob);
    sim.run_for(SECOND);
    sim.hang_up(alice);
    sim.run_for(SECOND);
    let told = sim.notified(lamp);
    let states =
        ["", "<state>early</state>", "<state>confirmed</state>", "<state>terminated</state>"];
    assert_eq!(told.len(), states.len(), "{told:#?}");
    for (version, (body, state)) in told.iter().zip(states).enumerate() {
        assert!(body.contains(&format!("version=\"{version}\" state=\"full\"")), "{body}");
        assert!(body.contains(state), "{body}");
        assert!(body.contains("entity=\"sip:bob@gateway.test\""), "{body}");
    }
    assert!(told[1].contains("direction=\"recipient\""));
    assert!(told[1].contains("<identity>sip:alice@gateway.test</identity>"));
    sim.run_to_idle();
}

#[test]
fn presence_tells_who_is_there_and_who_talks() {
    let mut sim = Sim::new(45);
    let carol = sim.add_registered_phone("carol");
    let bob = sim.add_phone("bob");
    sim.subscribe(carol, "presence", "bob", 600);
    sim.run_for(SECOND);
    sim.sign_in(bob);
    sim.run_for(SECOND);
    sim.invite(bob, "600");
    sim.run_for(SECOND);
    let told = sim.notified(carol).to_vec();
    let basics: Vec<&str> =
        told.iter().map(|b| if b.contains(">open<") { "open" } else { "closed" }).collect();
    assert_eq!(basics, ["closed", "open", "open"]);
    assert!(told[2].contains("<rpid:on-the-phone/>"));
    sim.hang_up(bob);
    sim.run_to_idle();
}

#[test]
fn a_mailbox_counts_the_texts_that_wait() {
    let mut sim = Sim::new(46);
    let alice = sim.add_registered_phone("alice");
    let bob = sim.add_phone("bob");
    sim.subscribe(bob, "message-summary", "bob", 600);
    sim.run_for(SECOND);
    sim.send_text(alice, "bob", "Call me");
    sim.run_for(SECOND);
    sim.sign_in(bob);
    sim.run_for(SECOND);
    let told = sim.notified(bob);
    let waits: Vec<bool> = told.iter().map(|b| b.contains("Messages-Waiting: yes")).collect();
    assert_eq!(waits, [false, true, false], "{told:?}");
    assert!(told[1].contains("Text-Message: 1/0"));
    sim.run_to_idle();
}

/// RFC 6665 §4.1.2: once only, refused, too short, unknown.
#[test]
fn subscriptions_are_taken_by_the_rules() {
    let mut sim = Sim::new(47);
    let (carol, _) = (sim.add_registered_phone("carol"), sim.add_phone("bob"));
    for (event, target, expires, outcome) in [
        ("dialog", "bob", 0, 200),
        ("dialog", "nobody", 600, 404),
        ("dialog", "bob", 10, 423),
        ("weather", "bob", 600, 489),
    ] {
        sim.subscribe(carol, event, target, expires);
        sim.run_for(SECOND);
        assert_eq!(sim.outcomes(carol).last(), Some(&outcome), "{event} {target} {expires}");
    }
    assert_eq!(sim.notified(carol).len(), 1, "a look at how it is");
    assert_eq!(sim.subscriptions(), 0);
    // One that is not refreshed ends, and its watcher hears it.
    sim.subscribe(carol, "dialog", "bob", 60);
    sim.run_for(30 * SECOND);
    assert_eq!(sim.subscriptions(), 1);
    sim.run_for(31 * SECOND);
    assert_eq!((sim.subscriptions(), sim.notified(carol).len()), (0, 3));
    sim.run_to_idle();
}

/// What bob's phone says of bob is shown to who watches, beside what we know, until it is over.
#[test]
fn a_user_says_how_it_is_and_watchers_see_it() {
    let mut sim = Sim::new(49);
    let (carol, bob) = (sim.add_registered_phone("carol"), sim.add_registered_phone("bob"));
    sim.subscribe(carol, "presence", "bob", 3600);
    sim.run_for(SECOND);
    let away = "<presence><tuple id=\"x\"><status><basic>closed</basic></status></tuple>\
        <r:activities><r:away/></r:activities><note>Back at &lt;two&gt;</note></presence>";
    sim.publish(bob, away, 90);
    sim.run_for(SECOND);
    assert_eq!(sim.outcomes(bob), [200]);
    let shown = |sim: &Sim| {
        let last = sim.notified(carol).last().cloned().unwrap_or_default();
        let said = ["<basic>open</basic>", "<rpid:away/>", "<note>Back at &lt;two&gt;</note>"];
        said.map(|word| last.contains(word))
    };
    assert_eq!(shown(&sim), [true, true, true]);
    sim.run_for(100 * SECOND);
    assert_eq!(shown(&sim), [true, false, false]);
}

/// Between a phone and an app, and to both devices of one user.
#[test]
fn apps_and_phones_write_to_each_other() {
    let mut sim = Sim::new(47);
    let (alice, bob) = (sim.add_app("alice"), sim.add_registered_phone("bob"));
    let also_alice = sim.add_registered_phone("alice");
    sim.send_text(bob, "alice", "Lunch?");
    sim.run_for(SECOND);
    assert_eq!(sim.outcomes(bob), [202]);
    assert_eq!(
        (sim.app_texts(alice), sim.texts(also_alice)),
        (&["Lunch?".to_owned()][..], &["Lunch?".to_owned()][..])
    );
    sim.app_writes(alice, "sip:bob@gateway.test", "At one");
    sim.app_writes(alice, "nobody", "Hello?");
    sim.run_to_idle();
    assert_eq!(sim.texts(bob), ["At one"]);
    assert_eq!(sim.app_text_states(alice), ["accepted", "failed"]);
}

/// A text waits while the app has no socket, and is there once when it is back.
#[test]
fn a_text_waits_for_an_app_that_is_away() {
    let mut sim = Sim::new(48);
    let (alice, bob) = (sim.add_app("alice"), sim.add_registered_phone("bob"));
    sim.app_loses_socket(alice);
    sim.send_text(bob, "alice", "one");
    sim.send_text(bob, "alice", "two");
    sim.run_for(SECOND);
    assert!(sim.app_texts(alice).is_empty());
    sim.app_reopens(alice);
    sim.run_for(SECOND);
    assert_eq!(sim.app_texts(alice), ["one", "two"]);
    sim.app_loses_socket(alice);
    sim.app_reopens(alice);
    sim.run_to_idle();
    assert_eq!(sim.app_texts(alice).len(), 2);
}
