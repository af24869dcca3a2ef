//! What a call leaves behind: its ladder, whoever called over whatever, and what it explains.

use std::time::Duration;

use crosspoint_call::{Cause, router::Refusal};
use crosspoint_connectors::webterminal::Mode;
use crosspoint_ladder::explain::{Verdict, explain};
use crosspoint_ladder::{CallLadder, Note, Side, What, redact, title};
use crosspoint_testkit::{AppId, CallState, Link, Manner, PhoneId, Sim};

/// The messages of a ladder with an arrow towards us or away, and whose they are.
fn drawn(ladder: &CallLadder) -> Vec<String> {
    let messages = ladder.entries.iter().filter_map(|entry| match &entry.what {
        What::Message(message) => Some((entry, message)),
        What::Note(_) => None,
    });
    messages
        .map(|(entry, message)| {
            let arrow = if message.is_sent { "->" } else { "<-" };
            format!("{arrow} {} {}", entry.line.unwrap_or(99), title::of(message))
        })
        .collect()
}

fn notes(ladder: &CallLadder) -> impl Iterator<Item = &Note> {
    ladder.entries.iter().filter_map(|entry| match &entry.what {
        What::Note(note) => Some(note),
        What::Message(_) => None,
    })
}

fn texts(ladder: &CallLadder) -> Vec<String> {
    let text = |entry: &crosspoint_ladder::Entry| match &entry.what {
        What::Message(message) => Some(redact::text(message)),
        What::Note(_) => None,
    };
    ladder.entries.iter().filter_map(text).collect()
}

fn only_ladder(sim: &Sim) -> CallLadder {
    let calls = sim.node().recent_calls(10);
    assert_eq!(calls.len(), 1, "{calls:?}");
    sim.node().ladder(calls[0].gcid.as_str()).expect("it is listed")
}

#[test]
fn a_call_between_phones_leaves_every_message_in_order() {
    let mut sim = Sim::new(7101);
    let alice = sim.add_registered_phone("alice");
    let bob = sim.add_registered_phone("bob");
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.state(alice) == CallState::Up && sim.state(bob) == CallState::Up);
    sim.run_for(Duration::from_secs(12));
    sim.hang_up(alice);
    sim.run_to_idle();
    let ladder = only_ladder(&sim);
    assert_eq!(
        drawn(&ladder),
        [
            "<- 0 INVITE + SDP",
            "-> 0 407 Proxy Authentication Required (INVITE)",
            "<- 0 ACK",
            "<- 0 INVITE + SDP",
            "-> 1 INVITE + SDP",
            "<- 1 200 OK (INVITE) + SDP",
            "-> 1 ACK",
            "-> 0 200 OK (INVITE) + SDP",
            "<- 0 ACK",
            "<- 0 BYE",
            "-> 0 200 OK (BYE)",
            "-> 1 BYE",
            "<- 1 200 OK (BYE)",
        ]
    );
    let names: Vec<_> = ladder.lines.iter().map(|l| (l.side, l.name.expose().as_str())).collect();
    assert_eq!(names, [(Side::Caller, "alice"), (Side::Called, "bob")]);
    assert!(ladder.entries.is_sorted_by_key(|entry| entry.at));
    assert!(
        notes(&ladder).any(|n| matches!(n, Note::Routed { why, .. } if !why.expose().is_empty()))
    );
    let told = explain(&ladder);
    assert!(told.headline.starts_with("Hung up by the caller after 12 s"), "{told:?}");
    // These phones have signalled and sent no sound.
    assert_eq!(told.verdict, Verdict::Silent, "{told:?}");
    assert!(told.details.iter().any(|line| line.starts_with("Neither side was heard")), "{told:?}");
    // The password's answer is kept to itself.
    let answers: Vec<String> =
        texts(&ladder).into_iter().filter(|text| text.contains("response=")).collect();
    assert_eq!(answers.len(), 1);
    let answer = answers[0].split("response=\"").nth(1).and_then(|rest| rest.split('"').next());
    assert!(answer.is_some_and(|a| a.len() == 64 && a.bytes().all(|b| b == b'*')), "{answers:?}");
}

#[test]
fn a_caller_with_a_wrong_password_has_a_ladder_that_says_so() {
    let mut sim = Sim::new(7102);
    let mallory = sim.add_phone("mallory");
    sim.mistype(mallory);
    sim.invite(mallory, "bob");
    sim.run_to_idle();
    let ladder = only_ladder(&sim);
    assert!(ladder.facts.is_refused_early);
    assert_eq!(ladder.facts.from.expose(), "mallory");
    assert_eq!(ladder.facts.to.expose(), "bob");
    let told = explain(&ladder);
    assert_eq!(told.verdict, Verdict::Refused);
    assert!(told.headline.contains("password or user name is wrong"), "{told:?}");
    assert!(texts(&ladder).iter().any(|text| text.starts_with("INVITE ")));
}

#[test]
fn a_refused_call_names_the_rule() {
    let mut sim = Sim::with_trunks(7103, &["carrier"]);
    let alice = sim.add_registered_phone("alice");
    sim.rule(|plan| plan.trunks[0].prefixes = vec!["+49".to_owned()]);
    sim.invite(alice, "nobody");
    sim.run_to_idle();
    let ladder = only_ladder(&sim);
    let told = explain(&ladder);
    assert_eq!((told.verdict, ladder.facts.refusal), (Verdict::Refused, Some(Refusal::NoRoute)));
    assert!(told.headline.contains("nobody and no rule has nobody"), "{told:?}");
    assert!(told.details.iter().any(|line| line.starts_with("The rule: ")), "{told:?}");
    assert!(drawn(&ladder).iter().any(|line| line.starts_with("-> 0 404")), "{ladder:?}");
}

#[test]
fn trunks_that_were_tried_are_named_with_what_they_answered() {
    let mut sim = Sim::with_trunks(7104, &["cheap", "good"]);
    let (cheap, good) = (sim.trunk("cheap"), sim.trunk("good"));
    let alice = sim.add_registered_phone("alice");
    sim.set_manner(cheap, Manner::Fail);
    sim.set_manner(good, Manner::Busy);
    sim.rule(|plan| {
        let to = plan.trunks.iter();
        let to = to.map(|t| crosspoint_call::router::Destination::Trunk(t.name.clone())).collect();
        let out = crosspoint_call::router::Route::plain("out", to);
        plan.routes =
            crosspoint_call::router::RouteTable::new([(out, vec![("+".to_owned(), None)])]);
    });
    sim.invite(alice, "+4930123456");
    sim.run_to_idle();
    let told = explain(&only_ladder(&sim));
    assert_eq!(told.verdict, Verdict::Unanswered, "{told:?}");
    assert!(told.headline.contains("good answered 486"), "{told:?}");
    let tried = "Tried: trunk cheap (network_failure), then trunk good (busy).";
    assert!(told.details.iter().any(|line| line == tried), "{told:?}");
}

/// Nobody looks for sound here that was never to come here.
#[test]
fn a_call_past_us_says_so_until_its_media_comes_here() {
    let mut sim = Sim::new(7106);
    sim.rule(|plan| plan.bypass_phones = true);
    let [alice, bob] = ["alice", "bob"].map(|user| sim.add_registered_phone(user));
    let says_so = |sim: &Sim, gcid: &crosspoint_base::Gcid| {
        let ladder = sim.node().ladder(gcid.as_str()).expect("the call is kept");
        let told = explain(&ladder);
        told.details.iter().any(|line| line.contains("past us"))
    };
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.state(alice) == CallState::Up);
    let gcid = only_ladder(&sim).gcid;
    assert!(says_so(&sim, &gcid));
    sim.refer(bob, "600");
    sim.run_for(Duration::from_secs(1));
    assert!(!says_so(&sim, &gcid), "{}", sim.story());
    sim.hang_up(alice);
    sim.run_to_idle();
}

#[test]
fn an_apps_messages_are_there_without_its_token() {
    let mut sim = Sim::new(7105);
    let (alice, bob) = (sim.add_app("alice"), sim.add_registered_phone("bob"));
    let gcid = sim.app_calls(alice, "sip:bob@gateway.test");
    sim.run_until(|sim| sim.app_is_up(alice) && sim.state(bob) == CallState::Up);
    sim.app_hangs_up(alice);
    sim.run_to_idle();
    let ladder = sim.node().ladder(&gcid).expect("the app named the call");
    let lines = drawn(&ladder);
    for wanted in ["<- 0 call.start + SDP", "-> 0 call.accept + SDP", "<- 0 call.end"] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted} is missing: {lines:?}");
    }
    assert_eq!(lines.first().map(String::as_str), Some("<- 0 call.start + SDP"), "{lines:?}");
    assert!(lines.iter().any(|line| line == "-> 1 INVITE + SDP"), "{lines:?}");
    let said = texts(&ladder);
    let start = said.iter().find(|text| text.contains("call.start")).expect("it is there");
    let token = start.split("\"session\":\"").nth(1).and_then(|rest| rest.split('"').next());
    assert!(token.is_some_and(|token| token.bytes().all(|b| b == b'*')), "{start}");
}

#[test]
fn a_call_that_an_app_is_refused_has_a_ladder_too() {
    let mut sim = Sim::new(7106);
    let alice = sim.add_app("alice");
    let gcid = sim.app_calls(alice, "sip:nobody@gateway.test");
    sim.run_to_idle();
    let ladder = sim.node().ladder(&gcid).expect("the app named the call");
    assert_eq!(drawn(&ladder).first().map(String::as_str), Some("<- 0 call.start + SDP"));
    assert!(drawn(&ladder).iter().any(|line| line == "-> 0 call.end"), "{:?}", drawn(&ladder));
    assert_eq!(explain(&ladder).verdict, Verdict::Refused);
}

#[test]
fn a_terminals_messages_are_there() {
    let mut sim = Sim::new(7107);
    let alice = sim.add_terminal("alice", "+4799000001", Mode::Pipe);
    let bob = sim.add_registered_phone("bob");
    sim.terminal_offers(alice, "11111111-1111-4111-8111-111111111111", Some("bob"));
    sim.run_until(|sim| sim.terminal_is_up(alice) && sim.state(bob) == CallState::Up);
    sim.hang_up(bob);
    sim.run_to_idle();
    let ladder = only_ladder(&sim);
    let lines = drawn(&ladder);
    assert_eq!(lines.first().map(String::as_str), Some("<- 0 offer + SDP"), "{lines:?}");
    for wanted in ["-> 0 answer + SDP", "-> 0 bye"] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted} is missing: {lines:?}");
    }
    assert_eq!(explain(&ladder).verdict, Verdict::Completed);
}

/// A call between an app and a phone, what befell it, and what is told of that.
fn told_of_a_call(
    seed: u64,
    manner: Manner,
    befalls: impl FnOnce(&mut Sim, AppId, PhoneId),
) -> (Verdict, String) {
    let mut sim = Sim::new(seed);
    let (alice, bob) = (sim.add_app("alice"), sim.add_registered_phone("bob"));
    sim.set_manner(bob, manner);
    let gcid = sim.app_calls(alice, "sip:bob@gateway.test");
    sim.run_until(|sim| sim.app_is_up(alice) && sim.state(bob) == CallState::Up);
    befalls(&mut sim, alice, bob);
    sim.run_to_idle();
    let told = explain(&sim.node().ladder(&gcid).expect("the app named the call"));
    (told.verdict, told.headline)
}

#[test]
fn a_call_that_is_cut_says_why() {
    let lost = told_of_a_call(7109, Manner::Answer, |sim, alice, _| {
        sim.run_for(Duration::from_secs(10));
        sim.app_loses_socket(alice);
        sim.run_for(Duration::from_secs(31));
        sim.app_reopens(alice);
    });
    let why = "The call was cut after 40 seconds: the caller's side lost its connection and did not \
               come back in time.";
    assert_eq!(lost, (Verdict::Cut, why.to_owned()));
    let deaf = told_of_a_call(7110, Manner::AnswerWithTimer, |sim, _, bob| {
        sim.set_link(Link { loss_percent: 100, ..Link::GOOD });
        sim.run_for(Duration::from_secs(120));
        sim.set_link(Link::GOOD);
        sim.hang_up(bob);
    });
    let why = "The call was cut after 60 seconds: the session timer ran out, as the called side took \
               part in no refresh (RFC 4028).";
    assert_eq!(deaf, (Verdict::Cut, why.to_owned()));
    let stopped = told_of_a_call(7111, Manner::Answer, |sim, _, _| {
        sim.run_for(Duration::from_secs(10));
        sim.shut_down();
    });
    let why = "The call was cut after 10 seconds: the gateway was shutting down.";
    assert_eq!(stopped, (Verdict::Cut, why.to_owned()));
}

/// A party that an attended transfer moves takes its messages along from then on.
#[test]
fn a_party_that_is_moved_is_followed() {
    let mut sim = Sim::new(7108);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| sim.add_registered_phone(name));
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.state(alice) == CallState::Up && sim.state(bob) == CallState::Up);
    sim.refer(bob, "carol");
    sim.run_until(|sim| sim.state(carol) == CallState::Up);
    sim.run_for(Duration::from_secs(1));
    sim.hang_up(alice);
    sim.run_to_idle();
    let ladder = only_ladder(&sim);
    assert!(notes(&ladder).any(|n| matches!(n, Note::TransferAsked(to) if to.expose() == "carol")));
    assert!(notes(&ladder).any(|n| matches!(n, Note::LegEnded(Cause::Transferred))));
    let names: Vec<_> = ladder.lines.iter().map(|line| line.name.expose().as_str()).collect();
    assert_eq!(names, ["alice", "bob", "carol"]);
    assert!(drawn(&ladder).iter().any(|line| line == "<- 1 REFER"), "{:?}", drawn(&ladder));
}

/// What keeping it costs: `docs/benchmarks.md` says how it is measured.
#[test]
#[ignore = "a measure, not a test"]
fn five_hundred_calls_are_set_up_and_ended() {
    let mut sim = Sim::new(7109);
    let alice = sim.add_registered_phone("alice");
    let bob = sim.add_registered_phone("bob");
    for _ in 0..500 {
        sim.invite(alice, "bob");
        sim.run_until(|sim| sim.state(alice) == CallState::Up && sim.state(bob) == CallState::Up);
        sim.hang_up(alice);
        // All within the hour for which the phones are signed in.
        sim.run_for(Duration::from_secs(6));
    }
}
