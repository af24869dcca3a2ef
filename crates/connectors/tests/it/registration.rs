//! REGISTER: who may, how long, and what the table holds afterwards (RFC 3261 §10, RFC 7616).

use std::collections::BTreeSet;

use crosspoint_sip::registrar::Change;

use crate::harness::{Desk, phone, secs, trunk};
use crate::phones::Phone;

fn desk_phone() -> Phone {
    Phone::new("alice", phone("203.0.113.5:5060"))
}

/// Without credentials there is a 401 with both challenges and a fresh nonce each time.
#[test]
fn every_stranger_is_challenged_with_a_fresh_nonce() {
    let (mut desk, mut phone) = (Desk::new(), desk_phone());
    let mut nonces = BTreeSet::new();
    for _ in 0..10 {
        let register = phone.register("");
        desk.hear(&phone.flow, &register);
        let refusal = desk.next();
        refusal.is("401").lacks("Contact");
        assert!(!refusal.tag("To").is_empty());
        let challenges = refusal.all("WWW-Authenticate");
        assert_eq!(challenges.len(), 2);
        for (challenge, algorithm) in challenges.iter().zip(["MD5", "SHA-256"]) {
            assert!(challenge.starts_with("Digest realm=\"gateway.test\", nonce=\""));
            assert!(challenge.contains(&format!("algorithm={algorithm}")), "{challenge}");
            assert!(challenge.contains("qop=\"auth\"") && !challenge.contains("stale"));
        }
        nonces.insert(challenges[0].split('"').nth(3).unwrap().to_owned());
    }
    assert_eq!(nonces.len(), 10);
    assert_eq!(desk.ua.registrar().len(), 0);
}

/// Clients that cannot do with more than one challenge are given the one that they know.
#[test]
fn clients_that_choke_on_sha256_are_given_md5_alone() {
    for agent in ["baresip v1.0.0 (x86_64/linux)", "Twinkle/1.10.2"] {
        let (mut desk, mut phone) = (Desk::new(), desk_phone());
        let register = phone.register(&format!("User-Agent: {agent}"));
        desk.hear(&phone.flow, &register);
        let refusal = desk.next();
        let challenges = refusal.is("401").all("WWW-Authenticate");
        assert_eq!(challenges.len(), 1, "{agent}");
        assert!(challenges[0].contains("algorithm=MD5"), "{agent}");
    }
}

#[test]
fn the_right_password_signs_in() {
    let (mut desk, mut phone) = (Desk::new(), desk_phone());
    let accepted = phone.sign_in(&mut desk, "Expires: 600");
    accepted.is("200").has("Contact", "<sip:alice@203.0.113.5:5060>;expires=600");
    assert!(matches!(desk.changes.as_slice(), [Change::Added(b)] if &*b.user == "alice"));
    // The same nonce serves for the refresh, with the next count.
    let refresh = phone.register("Expires: 600");
    desk.hear(&phone.flow, &refresh);
    desk.next().is("200");
    assert_eq!(desk.ua.registrar().len(), 1);
    assert!(matches!(desk.changes.last(), Some(Change::Refreshed(_))));
}

/// A wrong password, an unknown user, and the password of somebody else look all the same.
#[test]
fn nobody_learns_which_users_exist() {
    let mut answers = BTreeSet::new();
    for (user, password) in [("alice", "wrong"), ("nobody", "wrong"), ("bob", "alice-secret")] {
        let mut desk = Desk::new();
        let mut phone = Phone::new(user, phone("203.0.113.5:5060"));
        phone.password = password.to_owned();
        let refusal = phone.sign_in(&mut desk, "");
        refusal.is("401");
        assert_eq!(desk.ua.registrar().len(), 0);
        // Only what the request brought along may differ.
        let own = |l: &&str| !l.starts_with("Via") && !l.contains(user);
        answers.insert(refusal.text.lines().filter(own).collect::<Vec<_>>().join("\n"));
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
}

/// A captured request cannot be sent again, nor with its body's contact changed.
#[test]
fn a_replayed_nonce_count_is_refused_as_stale() {
    let (mut desk, mut phone) = (Desk::new(), desk_phone());
    phone.sign_in(&mut desk, "").is("200");
    phone.nonce_count -= 1;
    let replay = phone.register("");
    desk.hear(&phone.flow, &replay);
    let refusal = desk.next();
    refusal.is("401");
    assert!(refusal.all("WWW-Authenticate").iter().all(|c| c.contains("stale=true")));
    // The new nonce is taken at once.
    phone.challenged(&refusal);
    let register = phone.register("");
    desk.hear(&phone.flow, &register);
    desk.next().is("200");
}

/// A nonce that is too old, or from before a restart, costs one round more and no password.
#[test]
fn an_old_nonce_is_stale() {
    let (mut desk, mut phone) = (Desk::new(), desk_phone());
    phone.sign_in(&mut desk, "Expires: 3600").is("200");
    desk.pass(secs(301));
    let refresh = phone.register("Expires: 3600");
    desk.hear(&phone.flow, &refresh);
    let refusal = desk.next();
    assert!(refusal.is("401").header("WWW-Authenticate").contains("stale=true"));
    phone.challenged(&refusal);
    let refresh = phone.register("Expires: 3600");
    desk.hear(&phone.flow, &refresh);
    desk.next().is("200");

    let mut restarted = Desk::new();
    let refresh = phone.register("Expires: 3600");
    restarted.hear(&phone.flow, &refresh);
    assert!(restarted.next().is("401").header("WWW-Authenticate").contains("stale=true"));
    // With a wrong password nothing is told about the nonce.
    phone.password = "wrong".to_owned();
    let refresh = phone.register("Expires: 3600");
    restarted.hear(&phone.flow, &refresh);
    assert!(!restarted.next().is("401").header("WWW-Authenticate").contains("stale"));
}

#[test]
fn nobody_signs_in_for_somebody_else() {
    let (mut desk, mut phone) = (Desk::new(), desk_phone());
    phone.sign_in(&mut desk, "").is("200");
    let register = phone.register("").replace("To: <sip:alice@", "To: <sip:bob@");
    desk.hear(&phone.flow, &register);
    desk.next().is("403");
    assert_eq!(desk.ua.registrar().len(), 1);
    // A trunk has no place among the users, whatever it knows.
    phone.flow = trunk();
    let register = phone.register("");
    desk.hear(&phone.flow, &register);
    desk.next().is("403");
}

/// Several devices of one user, each with its own time; a query changes nothing.
#[test]
fn several_contacts_live_side_by_side() {
    let (mut desk, mut phone) = (Desk::new(), desk_phone());
    let two = "<sip:alice@203.0.113.5:5060>;expires=100, \"Desk\" <sip:alice@203.0.113.6>;q=0.5";
    phone.contact = two.to_owned();
    let accepted = phone.sign_in(&mut desk, "Expires: 200");
    assert_eq!(
        accepted.is("200").all("Contact"),
        ["<sip:alice@203.0.113.5:5060>;expires=100", "<sip:alice@203.0.113.6>;expires=200"]
    );
    phone.contact.clear();
    let query = phone.register("");
    desk.hear(&phone.flow, &query);
    assert_eq!(desk.next().is("200").all("Contact").len(), 2);
    desk.pass(secs(100));
    let query = phone.register("");
    desk.hear(&phone.flow, &query);
    assert_eq!(
        desk.next().is("200").all("Contact"),
        ["<sip:alice@203.0.113.6>;expires=100"],
        "one has run out"
    );
    assert!(matches!(desk.changes.last(), Some(Change::Removed(_))));
    phone.contact = "<sip:alice@203.0.113.6>".to_owned();
    let gone = phone.register("Expires: 0");
    desk.hear(&phone.flow, &gone);
    desk.next().is("200").lacks("Contact");
    assert!(desk.ua.registrar().is_empty());
}

/// `*` removes everything, alone and with `Expires: 0` only (RFC 3261 §10.2.2).
#[test]
fn a_star_removes_all_contacts() {
    let (mut desk, mut phone) = (Desk::new(), desk_phone());
    phone.contact = "<sip:alice@203.0.113.5>, <sip:alice@203.0.113.6>".to_owned();
    phone.sign_in(&mut desk, "").is("200");
    for (contact, extra) in [
        ("*", ""),
        ("*", "Expires: 60"),
        ("*, <sip:alice@203.0.113.7>", "Expires: 0"),
        ("<sip:alice@203.0.113.7>, *", "Expires: 0"),
        ("<sip:alice@203.0.113.7>\nContact: *", "Expires: 0"),
    ] {
        phone.contact = contact.to_owned();
        let register = phone.register(extra);
        desk.hear(&phone.flow, &register);
        desk.next().is("400");
        assert_eq!(desk.ua.registrar().len(), 2, "{contact} {extra}");
    }
    phone.contact = "*".to_owned();
    let register = phone.register("Expires: 0");
    desk.hear(&phone.flow, &register);
    desk.next().is("200").lacks("Contact");
    assert!(desk.ua.registrar().is_empty());
}

/// RFC 3261 §10.3: too short a time gets 423 with what we take; zero is not too short.
#[test]
fn too_short_a_time_gets_423() {
    let (mut desk, mut phone) = (Desk::new(), desk_phone());
    phone.sign_in(&mut desk, "Expires: 29").is("423").has("Min-Expires", "30");
    phone.contact = "<sip:alice@203.0.113.5>;expires=10".to_owned();
    let register = phone.register("Expires: 3600");
    desk.hear(&phone.flow, &register);
    desk.next().is("423");
    assert!(desk.ua.registrar().is_empty());
    phone.contact = "<sip:alice@203.0.113.5>".to_owned();
    let register = phone.register("Expires: 30");
    desk.hear(&phone.flow, &register);
    assert!(desk.next().is("200").header("Contact").ends_with(";expires=30"));
    // Too long a time is cut, and nonsense is our own time.
    for (extra, expected) in [("Expires: 999999999999", 7200), ("", 3600), ("Expires: soon", 3600)]
    {
        let register = phone.register(extra);
        desk.hear(&phone.flow, &register);
        let contact = desk.next().is("200").header("Contact");
        assert!(contact.ends_with(&format!(";expires={expected}")), "{contact}");
    }
}

/// A late request of the same registration changes nothing (RFC 3261 §10.3 step 7).
#[test]
fn requests_that_overtook_each_other_are_told_apart() {
    let (mut desk, mut phone) = (Desk::new(), desk_phone());
    phone.sign_in(&mut desk, "").is("200");
    phone.cseq = 9;
    let register = phone.register("");
    desk.hear(&phone.flow, &register);
    desk.next().is("200");
    phone.cseq = 4;
    for (contact, extra) in [("<sip:alice@203.0.113.5:5060>", "Expires: 0"), ("*", "Expires: 0")] {
        phone.contact = contact.to_owned();
        let late = phone.register(extra);
        desk.hear(&phone.flow, &late);
        desk.next().is("500");
        assert_eq!(desk.ua.registrar().len(), 1);
    }
    // All or nothing: the new one beside it is not taken either.
    phone.contact = "<sip:alice@203.0.113.9>, <sip:alice@203.0.113.5:5060>".to_owned();
    let late = phone.register("");
    desk.hear(&phone.flow, &late);
    desk.next().is("500");
    assert_eq!(desk.ua.registrar().len(), 1);
    // A phone that was restarted has another Call-ID and counts from one.
    phone.call_id = "reg-again".to_owned();
    phone.contact = "*".to_owned();
    phone.cseq = 0;
    let register = phone.register("Expires: 0");
    desk.hear(&phone.flow, &register);
    desk.next().is("200");
    assert!(desk.ua.registrar().is_empty());
}

/// A contact that cannot be read spoils the request (RFC 4475 §3.1.2.13).
#[test]
fn a_malformed_contact_gets_400() {
    let (mut desk, mut phone) = (Desk::new(), desk_phone());
    phone.sign_in(&mut desk, "").is("200");
    for contact in [
        "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
        "<sip:alice@203.0.113.8>, <sip:alice@[::1>",
        "alice",
    ] {
        phone.contact = contact.to_owned();
        let register = phone.register("");
        desk.hear(&phone.flow, &register);
        desk.next().is("400");
    }
    assert_eq!(desk.ua.registrar().len(), 1);
}

/// More contacts than a user may have: the oldest device gives way; too many at once do not fit.
#[test]
fn contacts_of_one_user_are_bounded() {
    let mut desk = Desk::with(|config| config.registrar.max_contacts = 3);
    let mut phone = desk_phone();
    for number in 1..=5 {
        phone.contact = format!("<sip:alice@203.0.113.{number}>");
        phone.sign_in(&mut desk, &format!("Expires: {}", 100 * number)).is("200");
    }
    let contacts: Vec<String> =
        desk.ua.registrar().bindings_of("alice").map(|b| b.contact.host_text()).collect();
    assert_eq!(contacts, ["203.0.113.3", "203.0.113.4", "203.0.113.5"]);
    phone.contact =
        (0..4).map(|n| format!("<sip:alice@203.0.113.{n}>")).collect::<Vec<_>>().join(",");
    let register = phone.register("");
    desk.hear(&phone.flow, &register);
    desk.next().is("403");
}

/// RFC 3327: the proxies on the way are kept, told back, and routed through.
#[test]
fn a_path_is_kept_and_used() {
    let (mut desk, mut phone) = (Desk::new(), desk_phone());
    let path = "Supported: path\nPath: <sip:edge.test;lr>, <sip:192.0.2.77:5080;lr>";
    let accepted = phone.sign_in(&mut desk, path);
    accepted.is("200").has("Path", "<sip:edge.test;lr>, <sip:192.0.2.77:5080;lr>");
    let (binding, _) = desk.ua.bindings_of("alice").next().unwrap();
    let (_, invite) = desk.call(crosspoint_call::Reach::Binding(binding));
    assert_eq!(invite.start(), "INVITE sip:alice@203.0.113.5:5060 SIP/2.0");
    assert_eq!(invite.all("Route"), ["<sip:edge.test;lr>", "<sip:192.0.2.77:5080;lr>"]);
}

/// A flood of REGISTERs costs bounded memory: transactions, nonces and bindings have a limit.
#[test]
fn a_registration_flood_is_bounded() {
    let mut desk = Desk::with(|config| {
        config.endpoint.max_server_transactions = 1000;
        config.registrar.max_bindings = 2;
    });
    let (mut answered, mut shed) = (0, 0);
    for number in 0..5000_u32 {
        let source = format!("203.0.113.{}:{}", number % 250 + 1, 1024 + number);
        let mut stranger = Phone::new("alice", phone(&source));
        stranger.call_id = format!("flood-{number}");
        let register = stranger.register("");
        desk.hear(&stranger.flow, &register);
        let response = desk.next();
        match response.what().as_str() {
            "401" => answered += 1,
            "503" => shed += 1,
            other => panic!("{other}"),
        }
        if response.what() == "503" {
            assert!(response.header("Retry-After").parse::<u32>().is_ok());
        }
    }
    assert_eq!((answered, shed), (1000, 4000));
    assert_eq!(desk.ua.transactions(), 1000);
    // After their waiting time there is room again.
    desk.pass(secs(33));
    assert_eq!(desk.ua.transactions(), 0);
    let mut phone = desk_phone();
    for number in 1..=2 {
        phone.contact = format!("<sip:alice@203.0.113.{number}>");
        phone.sign_in(&mut desk, "").is("200");
    }
    phone.contact = "<sip:alice@203.0.113.3>".to_owned();
    phone.sign_in(&mut desk, "").is("503");
    assert_eq!(desk.ua.registrar().len(), 2);
}
