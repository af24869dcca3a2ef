//! Who calls, as networks sign it: of calls that come over a trunk, and on those that leave.

use std::sync::Arc;

use crosspoint_base::Private;
use crosspoint_call::{
    CallerCheck, CallerVerdict, Cause, Identity, IncomingOffer, LegCommand, LegEvent, Reach,
};
use crosspoint_connectors::sip_ua::{Signing, StirConfig, Unproved, Verifying};
use crosspoint_stir::{
    Anchors, Attestation, CertificateError, Chain, Claim, ClaimError, Passport, PassportError,
    Proof, Signer, TelephoneNumber,
};

use crate::harness::{
    Desk, OFFER, OURS, Peer, Sent, browser, millis, sdp, secs, some_instant, trunk, wall_clock,
};
use crate::phones::Phone;

const ADDRESS: &str = "https://certificates.example.com/shaken.pem";
const EPOCH: i64 = 1_795_000_000;

/// A signer with a certificate of its own making, and the PEM of that.
fn signer() -> (Arc<Signer>, String) {
    let made = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
    let pem = made.cert.pem();
    let key = made.signing_key.serialize_pem();
    (Arc::new(Signer::new(key.as_bytes(), pem.as_bytes(), ADDRESS).unwrap()), pem)
}

fn desk(adjust: impl FnOnce(&mut StirConfig)) -> Desk {
    Desk::with(|config| {
        let verifying = Verifying { is_demanded: false, freshness: secs(60) };
        let mut stir = StirConfig {
            signing: None,
            verifying: Some(verifying),
            trunks: vec![],
            clock: wall_clock(some_instant(), EPOCH),
        };
        adjust(&mut stir);
        config.stir = Some(stir);
    })
}

fn demanding() -> Desk {
    desk(|stir| {
        stir.verifying = Some(Verifying { is_demanded: true, freshness: secs(60) });
    })
}

fn number(text: &str) -> TelephoneNumber {
    TelephoneNumber::parse(text).unwrap()
}

/// The header line of a call from this number to 4711, signed so many seconds after the
/// story's beginning.
fn signed(orig: &str, after: i64) -> String {
    let passport = Passport {
        attestation: Attestation::Full,
        orig: number(orig),
        dest: vec![number("4711")],
        issued: u64::try_from(EPOCH + after).unwrap(),
        origin: "origin-1".to_owned(),
        certificate: ADDRESS.to_owned(),
    };
    format!("Identity: {}\n", signer().0.identity(&passport))
}

/// A trunk's call from +4930 to 4711, with this in its header.
fn invite(extra: &str) -> String {
    Peer::caller().invite(extra, OFFER)
}

fn proof() -> Proof {
    Proof {
        attestation: Attestation::Full,
        origin: "origin-1".to_owned(),
        provider: Some("1234".to_owned()),
    }
}

#[track_caller]
fn offer(desk: &mut Desk) -> (crosspoint_base::LegId, Box<IncomingOffer>) {
    match desk.event() {
        (leg, LegEvent::Offer(offer)) => (leg, offer),
        other => panic!("no offer but {other:?}"),
    }
}

#[track_caller]
fn check(desk: &mut Desk) -> CallerCheck {
    offer(desk).1.from.check.expect("something is known of the caller")
}

#[test]
fn a_call_waits_for_the_verdict_on_its_signature() {
    let mut desk = desk(|_| {});
    desk.hear(&trunk(), &invite(&signed("+4930", 0)));
    desk.quiet();
    let (id, claim) = desk.questions.pop_front().expect("the host is asked");
    assert_eq!(claim.certificate(), ADDRESS);
    desk.pass(millis(300));
    desk.next().is("100");
    desk.verified(id, Ok(proof()));
    let (leg, offer) = offer(&mut desk);
    let found = offer.from.check.clone().unwrap();
    assert_eq!(found.to_string(), "full (provider 1234, origin origin-1)");
    assert!(!found.is_refused);
    assert_eq!(offer.trunk.as_deref(), Some("carrier"));
    desk.command(leg, LegCommand::Answer(sdp(OURS)));
    desk.next().is("200");
    assert_eq!(desk.ua.counters().callers_proved, 1);
}

#[test]
fn what_is_wrong_with_a_signature_goes_with_the_call() {
    let unreachable = Unproved::NoCertificate("the server answered 404".to_owned());
    let untrusted = Unproved::Claim(CertificateError::Untrusted.into());
    for (why, words) in [
        (unreachable, "failed (the certificate cannot be had: the server answered 404)"),
        (
            untrusted,
            "failed (the certificate is not acceptable: no trusted authority stands behind it)",
        ),
        (
            Unproved::Claim(ClaimError::Signature),
            "failed (the signature is not of this certificate)",
        ),
    ] {
        let mut desk = desk(|_| {});
        desk.hear(&trunk(), &invite(&signed("+4930", 0)));
        let (id, _) = desk.questions.pop_front().unwrap();
        desk.verified(id, Err(why));
        assert_eq!(check(&mut desk).to_string(), words);
    }
    // What can be seen without a certificate is not asked about.
    for (extra, words) in [
        (signed("+4931", 0), "failed (the calling number is another than was signed)"),
        (signed("+4930", -61), "failed (it was signed 61 s ago)"),
        ("Identity: a.b.c\n".to_owned(), "failed (the token is not three parts of base64url)"),
        (String::new(), "unsigned"),
    ] {
        let mut desk = desk(|_| {});
        desk.hear(&trunk(), &invite(&extra));
        assert!(desk.questions.is_empty());
        assert_eq!(check(&mut desk).to_string(), words);
    }
}

/// RFC 8224 §6.2.2 has a status for each.
#[test]
fn where_a_proof_is_demanded_the_refusal_says_what_is_missing() {
    let claim = |error| Unproved::Claim(error);
    for (why, status) in [
        (Unproved::NoCertificate("it took too long".to_owned()), "436 Bad Identity Info"),
        (claim(CertificateError::Untrusted.into()), "437 Unsupported Credential"),
        (claim(ClaimError::Signature), "438 Invalid Identity Header"),
        (claim(PassportError::Type.into()), "438 Invalid Identity Header"),
    ] {
        let mut desk = demanding();
        desk.hear(&trunk(), &invite(&signed("+4930", 0)));
        let (id, _) = desk.questions.pop_front().unwrap();
        desk.verified(id, Err(why));
        refused(&mut desk, status);
    }
    for (extra, status) in [
        (String::new(), "428 Use Identity Header"),
        (signed("+4930", -61), "403 Forbidden"),
        (signed("+4931", 0), "438 Invalid Identity Header"),
    ] {
        let mut desk = demanding();
        desk.hear(&trunk(), &invite(&extra));
        refused(&mut desk, status);
    }
}

/// The call is told, so that there is a record, and ends itself.
#[track_caller]
fn refused(desk: &mut Desk, status: &str) {
    let (leg, offer) = offer(desk);
    assert!(offer.from.check.unwrap().is_refused);
    desk.command(leg, LegCommand::End(Cause::CallerUnproved));
    let answer = desk.all().pop().expect("an answer");
    assert!(answer.text.starts_with(&format!("SIP/2.0 {status}\r\n")), "{}", answer.text);
}

#[test]
fn a_caller_who_gives_up_is_not_told_to_the_call() {
    let mut desk = desk(|_| {});
    let mut peer = Peer::caller();
    let invite = peer.invite(&signed("+4930", 0), OFFER);
    desk.hear(&trunk(), &invite);
    let (id, _) = desk.questions.pop_front().unwrap();
    desk.hear(&trunk(), &Peer::in_transaction(&invite, "CANCEL", &peer.remote));
    let sent: Vec<String> = desk.all().iter().map(Sent::what).collect();
    assert_eq!(sent, ["200", "487"]);
    desk.verified(id, Ok(proof()));
    desk.quiet();
    desk.leaves_nothing();
}

#[test]
fn a_host_that_does_not_answer_holds_no_call_up() {
    let mut desk = desk(|_| {});
    desk.hear(&trunk(), &invite(&signed("+4930", 0)));
    desk.pass(secs(5));
    let found = check(&mut desk);
    assert_eq!(found.to_string(), "failed (the certificate cannot be had: it took too long)");
    let (id, _) = desk.questions.pop_front().unwrap();
    desk.verified(id, Ok(proof()));
    desk.quiet();
}

#[test]
fn other_trunks_are_not_asked() {
    let mut desk = desk(|stir| stir.trunks = vec!["another".into()]);
    desk.hear(&trunk(), &invite(""));
    assert_eq!(offer(&mut desk).1.from.check, None);
}

#[test]
fn calls_over_a_trunk_leave_with_a_signature() {
    let (signer, pem) = signer();
    let signing =
        Signing { signer, attestation: Attestation::Partial, origin: "this-gateway".to_owned() };
    let mut desk = desk(|stir| stir.signing = Some(signing));
    desk.pass(secs(7));
    let from = Identity {
        address: Private("+14045550100".to_owned()),
        user: Some("alice".into()),
        ..Identity::default()
    };
    let reach = || Reach::Trunk { name: "carrier".into(), number: Private("+4930123".to_owned()) };
    let invite = desk.call_from(reach(), from.clone());
    let claim = Claim::parse(invite.header("Identity").as_bytes()).expect("a signature");
    let passport = claim.passport();
    assert_eq!(passport.attestation, Attestation::Partial);
    assert_eq!((passport.orig.as_str(), passport.dest[0].as_str()), ("14045550100", "4930123"));
    assert_eq!(passport.issued, u64::try_from(EPOCH + 7).unwrap());
    assert_eq!(passport.origin, "this-gateway");
    // The signature is good; what its certificate lacks is an authority behind it.
    let chain = Chain::from_pem(pem.as_bytes()).unwrap();
    let anchors = Anchors::from_pem(pem.as_bytes()).unwrap();
    let verdict = claim.verify(&chain, &anchors, 1_795_000_000);
    assert!(matches!(verdict, Err(ClaimError::Certificate(_))), "{verdict:?}");

    // A call of somebody else that passes through us.
    let through = Identity { user: None, ..from.clone() };
    let invite = desk.call_from(reach(), through);
    let claim = Claim::parse(invite.header("Identity").as_bytes()).unwrap();
    assert_eq!(claim.passport().attestation, Attestation::Gateway);

    // A name is no number.
    let name = Identity { address: Private("alice".to_owned()), ..from };
    desk.call_from(reach(), name).lacks("Identity");
    let counters = desk.ua.counters();
    assert_eq!((counters.calls_signed, counters.calls_not_signed), (2, 1));
}

#[test]
fn a_device_of_ours_is_told_in_a_word() {
    let mut desk = desk(|_| {});
    Phone::browser("alice", browser(1)).sign_in(&mut desk, "Supported: outbound, path");
    let (binding, _) = desk.ua.bindings_of("alice").next().unwrap();
    for (verdict, word) in [
        (CallerVerdict::Full, "TN-Validation-Passed"),
        (CallerVerdict::Failed, "TN-Validation-Failed"),
        (CallerVerdict::Gateway, "No-TN-Validation"),
    ] {
        let check = CallerCheck { verdict, detail: String::new(), is_refused: false };
        let address = Private("+14045550100".to_owned());
        let from = Identity { address, check: Some(check), ..Identity::default() };
        let invite = desk.call_from(Reach::Binding(binding), from);
        let expected = format!("<sip:+14045550100;verstat={word}@gateway.test;user=phone>");
        invite.has("P-Asserted-Identity", &expected);
    }
}
