//! What comes of the torture messages of RFC 4475 and RFC 5118 above the parser: which response
//! each one gets, and what the call hears.

#[path = "../../../sip/tests/it/torture/messages.rs"]
mod messages;

use bytes::Bytes;
use crosspoint_call::{IncomingOffer, LegEvent};
use crosspoint_sip::digest::{Challenge, Credentials, answer};
use crosspoint_sip::{Method, Uri};

use crate::harness::{Desk, Sent, phone, trunk};
use messages::{Torture, pair, rfc4475, rfc5118};

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    /// It makes a call.
    Call,
    /// It is answered; a REGISTER after the challenge, with the password.
    Answered(u16),
    /// Nothing is sent and nothing is told.
    Ignored,
}
use Outcome::{Answered, Call, Ignored};

const RFC4475: [(&str, Outcome); 49] = [
    // Its To has a tag, so it belongs to a dialog; there is none.
    ("wsinv", Answered(481)),
    ("intmeth", Answered(501)),
    ("esc01", Call),
    ("escnull", Answered(200)),
    ("esc02", Answered(501)),
    ("lwsdisp", Answered(200)),
    ("longreq", Call),
    ("dblreq", Answered(200)),
    ("semiuri", Answered(200)),
    ("transports", Answered(200)),
    ("mpart01", Answered(415)),
    ("unreason", Ignored),
    ("noreason", Ignored),
    ("badinv01", Answered(400)),
    ("clerr", Answered(400)),
    ("ncl", Answered(400)),
    ("scalar02", Answered(400)),
    ("scalarlg", Ignored),
    ("quotbal", Answered(400)),
    ("ltgtruri", Answered(400)),
    ("lwsruri", Answered(400)),
    ("lwsstart", Answered(400)),
    ("trws", Answered(400)),
    ("escruri", Call),
    ("baddate", Call),
    ("regbadct", Answered(400)),
    ("badaspec", Answered(400)),
    ("baddn", Answered(400)),
    ("badvers", Answered(505)),
    ("mismatch01", Answered(400)),
    ("mismatch02", Answered(501)),
    ("bigcode", Ignored),
    ("badbranch", Answered(200)),
    ("insuf", Answered(400)),
    ("unkscm", Answered(416)),
    ("novelsc", Answered(416)),
    ("unksm2", Answered(400)),
    ("bext01", Answered(420)),
    ("invut", Answered(415)),
    // Credentials of a scheme that nobody knows count as none.
    ("regaut01", Answered(401)),
    ("multi01", Answered(400)),
    ("mcl01", Answered(400)),
    ("bcast", Ignored),
    // Who is asked answers as if there were hops left.
    ("zeromf", Answered(200)),
    ("cparam01", Answered(200)),
    ("cparam02", Answered(200)),
    ("regescrt", Answered(200)),
    ("sdp01", Answered(406)),
    ("inv2543", Call),
];

const RFC5118: [(&str, Outcome); 12] = [
    ("ipv6-good", Answered(200)),
    ("ipv6-bad", Answered(400)),
    ("port-ambiguous", Answered(200)),
    ("port-unambiguous", Answered(200)),
    ("via-received-param-with-delim", Answered(200)),
    ("via-received-param-no-delim", Answered(200)),
    ("ipv6-in-sdp", Call),
    ("mult-ip-in-header", Answered(481)),
    ("mult-ip-in-sdp", Call),
    ("ipv4-mapped-ipv6", Call),
    ("ipv6-bug-abnf-3-colons", Answered(200)),
    ("ipv6-correct-abnf-2-colons", Answered(200)),
];

/// The REGISTER again with the password, in a transaction of its own.
fn with_password(bytes: &[u8], refusal: &Sent) -> Vec<u8> {
    let values: Vec<Bytes> = refusal.all("WWW-Authenticate").into_iter().map(Bytes::from).collect();
    let challenge = Challenge::best(values.iter()).unwrap();
    let credentials = Credentials {
        user: "alice".to_owned(),
        password: crosspoint_base::Secret::new("alice-secret".to_owned()),
        realm: None,
    };
    let text = String::from_utf8_lossy(bytes).into_owned();
    let uri = Uri::parse(Bytes::from(text.split(' ').nth(1).unwrap().to_owned())).unwrap();
    let mut rng = crosspoint_base::Rng::from_u64(9);
    let value = answer(&challenge, &credentials, &Method::REGISTER, &uri, 1, &mut rng).unwrap();
    let text = text.replacen("z9hG4bK", "z9hG4bKauth", 1);
    text.replacen("\r\n", &format!("\r\nAuthorization: {value}\r\n"), 1).into_bytes()
}

/// What comes of a message; the last response and the call it made.
fn meet(message: &Torture) -> (Outcome, Option<Sent>, Option<Box<IncomingOffer>>, Desk) {
    let mut desk = Desk::new();
    let is_register = message.bytes.starts_with(b"REGISTER");
    let flow = if is_register { phone("203.0.113.5:5060") } else { trunk() };
    desk.hear_bytes(&flow, &message.bytes);
    let mut sent = desk.all();
    let challenged = sent.first().is_some_and(|s| s.what() == "401");
    // What came with credentials of another kind was an answer already.
    if challenged && !message.bytes.windows(14).any(|w| w == b"Authorization:") {
        let again = with_password(&message.bytes, &sent[0]);
        desk.hear_bytes(&flow, &again);
        sent = desk.all();
    }
    assert!(sent.len() <= 1, "{}: one response at most", message.name);
    match sent.pop() {
        Some(response) => {
            desk.quiet();
            let status = response.what().parse().unwrap();
            (Answered(status), Some(response), None, desk)
        }
        None if desk.ua.legs() == 0 => {
            desk.quiet();
            (Ignored, None, None, desk)
        }
        None => match desk.event() {
            (_, LegEvent::Offer(offer)) => (Call, None, Some(offer), desk),
            other => panic!("{}: {other:?}", message.name),
        },
    }
}

#[test]
fn every_message_of_rfc_4475_gets_its_answer() {
    for (message, expected) in pair(&rfc4475(), &RFC4475, 49) {
        assert_eq!(meet(message).0, *expected, "{} of section {}", message.name, message.section);
    }
}

#[test]
fn every_message_of_rfc_5118_gets_its_answer() {
    for (message, expected) in pair(&rfc5118(), &RFC5118, 12) {
        assert_eq!(meet(message).0, *expected, "{} of section {}", message.name, message.section);
    }
}

fn find(name: &str) -> Torture {
    rfc4475().into_iter().chain(rfc5118()).find(|m| m.name == name).unwrap()
}

#[track_caller]
fn answered(name: &str) -> Sent {
    meet(&find(name)).1.unwrap()
}

#[track_caller]
fn called(name: &str) -> Box<IncomingOffer> {
    meet(&find(name)).2.unwrap()
}

/// What the RFC says about the responses themselves.
#[test]
fn refusals_say_what_is_wrong() {
    answered("bext01").has("Unsupported", "teleport, levitate");
    answered("invut").has("Accept", "application/sdp");
    assert!(answered("intmeth").header("Allow").contains("INVITE"));
    let challenge = answered("regaut01").header("WWW-Authenticate");
    assert!(challenge.starts_with("Digest "), "{challenge}");
    let insuf = answered("insuf");
    insuf.has("CSeq", "8 INVITE").lacks("From").lacks("To").lacks("Call-ID");
    assert!(insuf.header("Warning").contains("From must stand exactly once"));
    assert!(!answered("clerr").tag("To").is_empty(), "refusals have a tag, too");
}

/// A registration keeps the contact as it was written: its parameters and headers come back.
#[test]
fn registered_contacts_come_back_as_they_were() {
    answered("cparam01").has("Contact", "<sip:+4930222@gw1.example.net>;expires=3600");
    answered("cparam02").has("Contact", "<sip:+4930222@gw1.example.net;unknownparam>;expires=3600");
    let escaped = "<sip:alice@h.example.net?Route=%3Csip:e.example.net%3E>;expires=3600";
    answered("regescrt").has("Contact", escaped);
    assert_eq!(
        answered("escnull").all("Contact"),
        ["<sip:%00@desk.example.net>;expires=3600", "<sip:%00%00@desk.example.net>;expires=3600"],
        "two contacts, not one"
    );
    let (_, _, _, desk) = meet(&find("dblreq"));
    assert_eq!((desk.ua.registrar().len(), desk.ua.legs()), (1, 0), "the second is not taken");
}

/// Responses go back by every Via, in order, whatever transports they name.
#[test]
fn responses_repeat_every_via() {
    let vias = answered("transports").all("Via");
    let transports: Vec<&str> = vias.iter().map(|v| v.split([' ', '/']).nth(2).unwrap()).collect();
    assert_eq!(transports, ["UDP", "UDP", "SCTP", "TLS", "UNHEARD", "TCP"]);
    // The first notes where the request really came from.
    assert!(vias[0].ends_with(";received=192.0.2.9"), "{}", vias[0]);
    let vias = answered("mult-ip-in-header").all("Via");
    assert_eq!(vias.len(), 3);
    assert!(vias[1].contains("[2001:db8::9:255]:5060"));
}

#[test]
fn calls_are_understood_as_they_were_meant() {
    assert_eq!(called("esc01").to.expose(), "sips:bob@home.test");
    // Headers hidden in the Request-URI are left alone.
    assert_eq!(called("escruri").to.expose(), "bob");
    let old = called("inv2543");
    assert_eq!(old.from.address.expose(), "+4930111");
    assert!(old.description.is_some(), "the body is all that follows");
    for name in ["ipv6-in-sdp", "mult-ip-in-sdp", "ipv4-mapped-ipv6"] {
        assert!(called(name).description.is_some(), "{name}");
    }
    let addresses: Vec<String> = called("mult-ip-in-sdp")
        .description
        .unwrap()
        .media()
        .map(|m| format!("{} {}", m.address.unwrap(), m.port))
        .collect();
    assert_eq!(addresses, ["192.0.2.1 22334", "2001:db8::1 6024"]);
}
