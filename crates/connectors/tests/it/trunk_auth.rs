//! A trunk that challenges us: for the call, and for everything in it (RFC 3261 §22).

use crosspoint_base::{LegId, Private, Secret};
use crosspoint_call::{Cause, Identity, LegCommand, LegEvent, Reach, Text};
use crosspoint_connectors::sip_ua::Output;
use crosspoint_sip::digest::Credentials;

use crate::harness::{Desk, OFFER, OURS, Peer, Sent, reply, sdp, trunk};

fn desk() -> Desk {
    Desk::with(|config| {
        config.trunks[0].credentials = Some(Credentials {
            user: "us".to_owned(),
            password: Secret::new("secret".to_owned()),
            realm: Some("carrier.test".to_owned()),
        });
    })
}

fn challenge(name: &str, nonce: &str) -> String {
    format!("{name}: Digest realm=\"carrier.test\", nonce=\"{nonce}\", qop=\"auth\", algorithm=MD5")
}

const PROXY: &str = "407 Proxy Authentication Required";
const SERVER: &str = "401 Unauthorized";

/// Refuses a request with a challenge; what we send then.
#[track_caller]
fn challenged(desk: &mut Desk, request: &Sent, status: &str, extra: &str) -> Sent {
    desk.hear(&trunk(), &reply(request, status, "proxy", extra, ""));
    if request.what() == "INVITE" {
        desk.next().is("ACK").lacks("Proxy-Authorization");
    }
    let again = desk.next();
    again.is(&request.what()).has("Call-ID", &request.header("Call-ID"));
    again.has("From", &request.header("From"));
    assert_ne!(again.header("Via"), request.header("Via"));
    assert_eq!(again.body(), request.body());
    again
}

fn up(desk: &mut Desk) -> (LegId, Peer) {
    let (leg, invite) = desk.call_out();
    let again = challenged(desk, &invite, PROXY, &challenge("Proxy-Authenticate", "n1"));
    let value = again.has("CSeq", "2 INVITE").header("Proxy-Authorization");
    assert!(value.contains("username=\"us\"") && value.contains("nonce=\"n1\""), "{value}");
    desk.hear(&trunk(), &reply(&again, "200 OK", "callee", "", OFFER));
    // RFC 3261 §13.2.2.4: the ACK shows the same credentials.
    desk.next().is("ACK").has("CSeq", "2 ACK").has("Proxy-Authorization", &value);
    assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
    (leg, Peer::called_by(&again, "callee"))
}

#[test]
fn every_request_of_a_call_answers_its_challenge() {
    let mut desk = desk();
    let (leg, peer) = up(&mut desk);
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    let reinvite = desk.next();
    reinvite.has("CSeq", "3 INVITE");
    let again = challenged(&mut desk, &reinvite, PROXY, &challenge("Proxy-Authenticate", "n2"));
    let value = again.has("CSeq", "4 INVITE").header("Proxy-Authorization");
    desk.hear(&peer.flow, &reply(&again, "200 OK", "", "", OFFER));
    desk.next().is("ACK").has("CSeq", "4 ACK").has("Proxy-Authorization", &value);
    assert!(matches!(desk.event(), (_, LegEvent::Reanswer(_))));

    let digit = crosspoint_call::Digit::new('5').unwrap();
    desk.command(leg, LegCommand::Dtmf(digit, crate::harness::millis(200)));
    let info = desk.next();
    let again = challenged(&mut desk, &info, SERVER, &challenge("WWW-Authenticate", "n3"));
    again.has("CSeq", "6 INFO").header("Authorization");
    desk.hear(&peer.flow, &reply(&again, "200 OK", "", "", ""));

    desk.command(leg, LegCommand::End(Cause::Normal));
    desk.ended(leg, Cause::Normal);
    let bye = desk.next();
    let again = challenged(&mut desk, &bye, PROXY, &challenge("Proxy-Authenticate", "n4"));
    again.has("CSeq", "8 BYE").header("Proxy-Authorization");
    desk.hear(&peer.flow, &reply(&again, "200 OK", "", "", ""));
    desk.leaves_nothing();
    desk.nothing();
    desk.quiet();
}

#[test]
fn a_text_over_a_trunk_answers_its_challenge() {
    let mut desk = desk();
    let reach = Reach::Trunk { name: "carrier".into(), number: Private("+493012345".to_owned()) };
    let text = Text {
        from: Identity { address: Private("+49305550".to_owned()), ..Identity::default() },
        to: Private("03012345".to_owned()),
        kind: "text/plain".into(),
        body: Private("Lunch?".to_owned()),
        is_fleeting: false,
    };
    desk.act(|ua, now| ua.send_text(now, 3, &reach, &text));
    let message = desk.next();
    message.is("MESSAGE").lacks("Proxy-Authorization");
    assert!(message.header("From").contains("sip:+49305550@"), "{}", message.header("From"));
    assert!(message.header("To").contains("sip:+493012345@"), "{}", message.header("To"));
    let again = challenged(&mut desk, &message, PROXY, &challenge("Proxy-Authenticate", "n"));
    again.has("CSeq", "2 MESSAGE").header("Proxy-Authorization");
    desk.hear(&trunk(), &reply(&again, "202 Accepted", "x", "", ""));
    let told = desk.others.pop_front();
    assert!(matches!(told, Some(Output::TextSent(3, Ok(())))), "{told:?}");
    desk.nothing();
}

/// A trunk and a proxy before it may both ask.
#[test]
fn two_challenges_on_the_way_are_both_answered() {
    let mut desk = desk();
    let (_, invite) = desk.call_out();
    let second = challenged(&mut desk, &invite, PROXY, &challenge("Proxy-Authenticate", "p"));
    desk.hear(&trunk(), &reply(&second, SERVER, "x", &challenge("WWW-Authenticate", "s"), ""));
    desk.next().is("ACK");
    let third = desk.next();
    third.is("INVITE").has("CSeq", "3 INVITE");
    assert!(third.header("Proxy-Authorization").contains("nonce=\"p\""));
    assert!(third.header("Authorization").contains("nonce=\"s\""));
}

/// The same challenge again means that the password is wrong: there is no third try.
#[test]
fn a_wrong_password_is_not_tried_again() {
    let mut desk = desk();
    let (leg, invite) = desk.call_out();
    let extra = challenge("Proxy-Authenticate", "n");
    let again = challenged(&mut desk, &invite, PROXY, &extra);
    desk.hear(&trunk(), &reply(&again, PROXY, "proxy", &extra, ""));
    desk.next().is("ACK");
    desk.nothing();
    desk.ended(leg, Cause::Unauthorized);
}

/// A nonce that has run out costs another round; one that runs out for ever does not go on.
#[test]
fn stale_nonces_are_answered_within_bounds() {
    let mut desk = desk();
    let (leg, mut request) = desk.call_out();
    let stale =
        |n: u32| format!("{}, stale=true", challenge("Proxy-Authenticate", &format!("n{n}")));
    for round in 0..3 {
        request = challenged(&mut desk, &request, PROXY, &stale(round));
        let nonce = format!("nonce=\"n{round}\"");
        assert!(request.header("Proxy-Authorization").contains(&nonce));
    }
    desk.hear(&trunk(), &reply(&request, PROXY, "proxy", &stale(9), ""));
    desk.next().is("ACK");
    desk.nothing();
    desk.ended(leg, Cause::Unauthorized);

    let (leg, _) = up(&mut desk);
    desk.command(leg, LegCommand::End(Cause::Normal));
    let mut bye = desk.next();
    for round in 0..3 {
        bye = challenged(&mut desk, &bye, PROXY, &stale(round));
    }
    desk.hear(&trunk(), &reply(&bye, PROXY, "", &stale(9), ""));
    desk.nothing();
}

/// Nobody else collects our digests, and without credentials nothing is answered.
#[test]
fn challenges_of_others_are_not_answered() {
    let foreign = challenge("Proxy-Authenticate", "n").replace("carrier.test", "evil.test");
    for (mut desk, extra) in [
        (desk(), foreign),
        (desk(), "Proxy-Authenticate: Basic realm=\"carrier.test\"".to_owned()),
        (desk(), String::new()),
        (Desk::new(), challenge("Proxy-Authenticate", "n")),
    ] {
        let (leg, invite) = desk.call_out();
        desk.hear(&trunk(), &reply(&invite, PROXY, "proxy", &extra, ""));
        desk.next().is("ACK");
        desk.nothing();
        desk.ended(leg, Cause::Unauthorized);
    }
}
