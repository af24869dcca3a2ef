//! What the connector says of peers' conduct: only what is certain, so that nobody suffers for what
//! others do in its name.

use crosspoint_base::{Conduct, Offence};

use crate::harness::{Desk, browser, phone, trunk};
use crate::phones::Phone;

fn offences(desk: &mut Desk) -> Vec<Offence> {
    let told = desk.conducts.drain(..).filter_map(|(_, conduct)| match conduct {
        Conduct::Offended(offence) => Some(offence),
        Conduct::SignedIn(_) => None,
    });
    told.collect()
}

#[test]
fn a_wrong_password_over_udp_counts_where_our_nonce_was_sent() {
    let mut desk = Desk::new();
    let mut guesser = Phone::new("alice", phone("203.0.113.5:5060"));
    guesser.password = "wrong".to_owned();
    guesser.sign_in(&mut desk, "").is("401");
    assert_eq!(offences(&mut desk), [Offence::Password]);
    // The same nonce in somebody else's name.
    let guess = guesser.register("");
    desk.hear(&phone("203.0.113.99:5060"), &guess);
    desk.next().is("401");
    assert_eq!(offences(&mut desk), []);
    // From another port of its own it is no less the guesser's.
    let guess = guesser.register("");
    desk.hear(&phone("203.0.113.5:6060"), &guess);
    desk.next().is("401");
    assert_eq!(offences(&mut desk), [Offence::Password]);
}

#[test]
fn an_unknown_user_counts_as_a_wrong_password() {
    let mut desk = Desk::new();
    let mut guesser = Phone::new("nobody", phone("203.0.113.5:5060"));
    guesser.sign_in(&mut desk, "").is("401");
    assert_eq!(offences(&mut desk), [Offence::Password]);
}

#[test]
fn who_signs_in_is_told_of_and_strangers_only_over_connections() {
    let mut desk = Desk::new();
    let mut alice = Phone::new("alice", phone("203.0.113.5:5060"));
    alice.sign_in(&mut desk, "").is("200");
    let told: Vec<Conduct> = desk.conducts.drain(..).map(|(_, conduct)| conduct).collect();
    assert_eq!(told, [Conduct::SignedIn("alice".into())]);
    let mut web = Phone::new("bob", browser(1));
    web.sign_in(&mut desk, "").is("200");
    let told: Vec<Conduct> = desk.conducts.drain(..).map(|(_, conduct)| conduct).collect();
    assert_eq!(told, [Conduct::Offended(Offence::Unproved), Conduct::SignedIn("bob".into())]);
}

/// A program that tries numbers and never shows a password.
#[test]
fn who_acknowledges_a_challenge_over_udp_was_there_and_has_proved_nothing() {
    let mut desk = Desk::new();
    let caller = phone("203.0.113.5:5060");
    let invite = SCAN.replace("OPTIONS", "INVITE").replace("friendly-scanner", "x");
    desk.hear(&caller, &invite);
    let refusal = desk.next();
    refusal.is("407");
    assert_eq!(offences(&mut desk), [], "it may have come in anybody's name");
    let to = refusal.header("To");
    let ack =
        invite.replace("INVITE", "ACK").replace("To: <sip:100@1.1.1.1>", &format!("To: {to}"));
    // From an address that the challenge was not sent to, and with a tag that nobody sent.
    desk.hear(&phone("203.0.113.99:5060"), &ack);
    desk.hear(&caller, &ack.replace(";tag=", ";tag=0"));
    assert_eq!(offences(&mut desk), []);
    desk.hear(&caller, &ack);
    assert_eq!(offences(&mut desk), [Offence::Unproved]);
    desk.nothing();
}

const SCAN: &str = "OPTIONS sip:100@gateway.test SIP/2.0
Via: SIP/2.0/UDP 203.0.113.5:5060;branch=z9hG4bKscan
From: <sip:100@1.1.1.1>;tag=1
To: <sip:100@1.1.1.1>
Call-ID: scan
CSeq: 1 OPTIONS
Max-Forwards: 70
User-Agent: friendly-scanner

";

#[test]
fn a_scanner_gets_no_answer_and_a_trunk_of_that_name_does() {
    let mut desk = Desk::new();
    desk.hear(&phone("203.0.113.5:5060"), SCAN);
    desk.nothing();
    assert_eq!(offences(&mut desk), [], "anybody may write that in anybody's name");
    desk.hear(&browser(1), SCAN);
    desk.nothing();
    assert_eq!(offences(&mut desk), [Offence::Scanner]);
    desk.hear(&trunk(), SCAN);
    desk.next().is("200");
    assert_eq!(desk.ua.counters().scans, 2);
}
