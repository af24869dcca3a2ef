//! Signing in at a registrar elsewhere, and calls out of and into such an account.

use std::time::Duration;

use bytes::Bytes;
use crosspoint_base::{ConnectionId, Flow, Private, RegistrationId, Secret, Transport};
use crosspoint_call::{Cause, LegCommand, LegEvent, Reach, Scope};
use crosspoint_connectors::sip_ua::{
    RegistrationConfig, RegistrationFailure as Failure, RegistrationState as State,
};
use crosspoint_sip::Method;
use crosspoint_sip::digest::{UserHa1, Verdict, Verifier, VerifierConfig};

use crate::harness::{Desk, OFFER, OURS, Peer, Sent, millis, phone, reply, sdp, secs, trunk};

const ID: RegistrationId = RegistrationId(7);

/// Where the account is.
fn registrar() -> Flow {
    phone("203.0.113.80:5060")
}

fn over(transport: Transport) -> Flow {
    Flow { transport, ..registrar() }
}

/// The registrar's end of a connection that we opened.
fn connected(transport: Transport, connection: u64) -> Flow {
    Flow { connection: Some(ConnectionId(connection)), ..over(transport) }
}

fn account() -> RegistrationConfig {
    RegistrationConfig {
        user: "carol".to_owned(),
        domain: "provider.test".to_owned(),
        flow: registrar(),
        auth_user: None,
        password: Secret::new("carol-secret".to_owned()),
        expires: secs(3600),
    }
}

fn challenge(status: &str, nonce: &str, algorithm: &str) -> String {
    let name = if status.starts_with("401") { "WWW" } else { "Proxy" };
    format!(
        "{name}-Authenticate: Digest realm=\"provider.test\", nonce=\"{nonce}\", qop=\"auth\", \
         algorithm={algorithm}"
    )
}

const SERVER: &str = "401 Unauthorized";
const PROXY: &str = "407 Proxy Authentication Required";

/// A registrar that checks what it is shown.
struct Provider {
    verifier: Verifier,
}

impl Provider {
    fn new(seed: u64) -> Self {
        let config = VerifierConfig::new("provider.test".to_owned());
        Self { verifier: Verifier::new(config, crosspoint_base::Rng::from_u64(seed)) }
    }

    /// Answers a REGISTER by the book. Says what it said.
    fn answer(&mut self, desk: &mut Desk, register: &Sent, extra: &str) -> u16 {
        register.is("REGISTER");
        let shown: Vec<Bytes> =
            register.all("Authorization").into_iter().map(Bytes::from).collect();
        let ha1 = UserHa1::new("carol", "provider.test", "carol-secret");
        let find = |user: &str| (user == "carol").then_some(&ha1);
        let verdict = self.verifier.verify(desk.now, &Method::REGISTER, shown.into_iter(), find);
        if matches!(verdict, Verdict::Valid { .. }) {
            desk.hear(&registrar(), &reply(register, "200 OK", "r", extra, ""));
            return 200;
        }
        let stale = matches!(verdict, Verdict::Stale);
        let values = self.verifier.challenge(desk.now, stale);
        let values: Vec<String> =
            values.into_iter().map(|v| format!("WWW-Authenticate: {v}")).collect();
        desk.hear(&registrar(), &reply(register, SERVER, "r", &values.join("\n"), ""));
        401
    }
}

fn granted(register: &Sent, seconds: u32) -> String {
    format!("Contact: {};expires={seconds}", register.header("Contact"))
}

#[track_caller]
fn stands(desk: &mut Desk, state: State) {
    assert_eq!(desk.registrations.pop_front(), Some((ID, state)));
}

#[track_caller]
fn unchanged(desk: &Desk) {
    assert!(desk.registrations.is_empty(), "{:?}", desk.registrations);
}

/// Signs in without a challenge; the REGISTER.
#[track_caller]
fn signed_in(desk: &mut Desk, config: RegistrationConfig, answer_from: &Flow) -> Sent {
    desk.register(ID, config);
    stands(desk, State::Connecting);
    let register = desk.next();
    desk.hear(answer_from, &reply(&register, "200 OK", "r", &granted(&register, 3600), ""));
    stands(desk, State::Connected);
    register
}

#[test]
fn an_account_signs_in_and_answers_the_challenge() {
    let (mut desk, mut provider) = (Desk::new(), Provider::new(1));
    desk.register(ID, account());
    stands(&mut desk, State::Connecting);
    let first = desk.next();
    assert_eq!(first.start(), "REGISTER sip:provider.test SIP/2.0");
    assert_eq!(first.flow, registrar());
    first.has("To", "<sip:carol@provider.test>").has("Expires", "3600").lacks("Authorization");
    assert!(first.header("From").starts_with("<sip:carol@provider.test>;tag="));
    assert!(first.header("Contact").starts_with("<sip:reg7-"), "{}", first.text);
    assert_eq!(provider.answer(&mut desk, &first, ""), 401);
    let second = desk.next();
    second.has("Call-ID", &first.header("Call-ID")).has("CSeq", "2 REGISTER");
    second.has("Contact", &first.header("Contact")).has("From", &first.header("From"));
    // The stronger of the two (RFC 8760 §2.4).
    assert!(second.header("Authorization").contains("algorithm=SHA-256"));
    unchanged(&desk);
    assert_eq!(provider.answer(&mut desk, &second, &granted(&second, 300)), 200);
    stands(&mut desk, State::Connected);
    // Refreshed in time, with the nonce that is known, and as quietly.
    let refresh = desk.within(secs(256));
    assert!(refresh.at >= secs(210), "{:?}", refresh.at);
    assert!(refresh.header("Authorization").contains("nc=00000002"));
    refresh.has("CSeq", "3 REGISTER").has("Contact", &first.header("Contact"));
    assert_eq!(provider.answer(&mut desk, &refresh, &granted(&refresh, 300)), 200);
    unchanged(&desk);
    desk.nothing();
}

#[test]
fn a_registrar_that_knows_only_md5_is_answered() {
    let mut desk = Desk::new();
    desk.register(ID, RegistrationConfig { auth_user: Some("c-1".to_owned()), ..account() });
    let first = desk.next();
    let extra = challenge(SERVER, "n", "MD5");
    desk.hear(&registrar(), &reply(&first, SERVER, "r", &extra, ""));
    let value = desk.next().header("Authorization");
    assert!(value.contains("algorithm=MD5") && value.contains("username=\"c-1\""), "{value}");
}

/// A proxy before the registrar may ask for itself.
#[test]
fn a_proxy_and_a_registrar_may_both_ask() {
    let mut desk = Desk::new();
    desk.register(ID, account());
    let first = desk.next();
    desk.hear(&registrar(), &reply(&first, PROXY, "p", &challenge(PROXY, "p", "MD5"), ""));
    let second = desk.next();
    assert!(second.header("Proxy-Authorization").contains("nonce=\"p\""));
    desk.hear(&registrar(), &reply(&second, SERVER, "r", &challenge(SERVER, "r", "MD5"), ""));
    let third = desk.next();
    assert!(third.header("Proxy-Authorization").contains("nonce=\"p\""));
    assert!(third.header("Authorization").contains("nonce=\"r\""));
    desk.hear(&registrar(), &reply(&third, "200 OK", "r", &granted(&third, 60), ""));
    stands(&mut desk, State::Connecting);
    stands(&mut desk, State::Connected);
}

/// The same challenge again: nobody is asked a third time, until somebody mends it.
#[test]
fn a_wrong_password_is_told_and_not_tried_again() {
    let (mut desk, mut provider) = (Desk::new(), Provider::new(1));
    let wrong = RegistrationConfig { password: Secret::new("wrong".to_owned()), ..account() };
    desk.register(ID, wrong);
    stands(&mut desk, State::Connecting);
    for _ in 0..2 {
        let register = desk.next();
        assert_eq!(provider.answer(&mut desk, &register, ""), 401);
    }
    stands(&mut desk, State::Failed(Failure::Unauthorized));
    desk.pass(secs(7200));
    desk.nothing();
    desk.register(ID, account());
    stands(&mut desk, State::Connecting);
    for _ in 0..2 {
        let register = desk.next();
        provider.answer(&mut desk, &register, "");
    }
    stands(&mut desk, State::Connected);
}

/// A nonce that has run out, or that a restarted registrar does not know, costs one round.
#[test]
fn a_registrar_that_forgot_its_nonces_gets_a_fresh_answer() {
    let (mut desk, mut provider) = (Desk::new(), Provider::new(1));
    desk.register(ID, account());
    for _ in 0..2 {
        let register = desk.next();
        provider.answer(&mut desk, &register, "Expires: 600");
    }
    desk.registrations.clear();
    // Stale: ours is 300 s old.
    let refresh = desk.within(secs(511));
    assert_eq!(provider.answer(&mut desk, &refresh, ""), 401);
    let again = desk.next();
    assert_eq!(provider.answer(&mut desk, &again, "Expires: 600"), 200);
    // Restarted: without a word about stale.
    let refresh = desk.within(secs(511));
    let extra = challenge(SERVER, "after-restart", "SHA-256");
    desk.hear(&registrar(), &reply(&refresh, SERVER, "r", &extra, ""));
    let again = desk.next();
    assert!(again.header("Authorization").contains("nonce=\"after-restart\""));
    desk.hear(&registrar(), &reply(&again, "200 OK", "r", "Expires: 600", ""));
    unchanged(&desk);
}

/// Nonces that are stale for ever do not go on for ever.
#[test]
fn endless_stale_nonces_end() {
    let mut desk = Desk::new();
    desk.register(ID, account());
    stands(&mut desk, State::Connecting);
    for round in 0..5 {
        let register = desk.next();
        let extra = format!("{}, stale=true", challenge(SERVER, &format!("n{round}"), "MD5"));
        desk.hear(&registrar(), &reply(&register, SERVER, "r", &extra, ""));
    }
    desk.nothing();
    stands(&mut desk, State::Failed(Failure::Unauthorized));
}

#[test]
fn too_short_a_time_is_asked_again_as_the_registrar_wants_it() {
    let mut desk = Desk::new();
    desk.register(ID, RegistrationConfig { expires: secs(60), ..account() });
    stands(&mut desk, State::Connecting);
    let first = desk.next();
    let brief = "423 Interval Too Brief";
    desk.hear(&registrar(), &reply(&first, brief, "r", "Min-Expires: 300", ""));
    let second = desk.next();
    second.is("REGISTER").has("Expires", "300");
    desk.hear(&registrar(), &reply(&second, "200 OK", "r", &granted(&second, 300), ""));
    stands(&mut desk, State::Connected);
    // It is remembered.
    desk.within(secs(256)).has("Expires", "300");
    // One that makes no sense is a refusal.
    for extra in ["", "Min-Expires: 10", "Min-Expires: 4000000000"] {
        let mut desk = Desk::new();
        desk.register(ID, account());
        stands(&mut desk, State::Connecting);
        let register = desk.next();
        desk.hear(&registrar(), &reply(&register, brief, "r", extra, ""));
        stands(&mut desk, State::Failed(Failure::Refused));
        desk.nothing();
    }
}

/// The registrar decides how long: by our Contact before `Expires`, ours among others.
#[test]
fn the_registrars_interval_counts() {
    let others = "Contact: <sip:carol@192.0.2.77>;expires=20\nExpires: 3000\n";
    for (own, extra, expected) in [
        (true, "", 60),
        (true, "Expires: 3000", 60),
        (true, others, 60),
        (false, others, 3000),
        (false, "", 3600),
    ] {
        let mut desk = Desk::new();
        desk.register(ID, account());
        let register = desk.next();
        let own = if own { granted(&register, 60) } else { String::new() };
        let extra = format!("{}\n{own}", extra.trim());
        desk.hear(&registrar(), &reply(&register, "200 OK", "r", extra.trim(), ""));
        let refresh = desk.within(secs(expected));
        let part = refresh.at.as_secs_f64() / Duration::from_secs(expected).as_secs_f64();
        assert!((0.69..0.86).contains(&part), "{expected}: after {:?}", refresh.at);
    }
    // However little it grants, it is not asked without a pause.
    let mut desk = Desk::new();
    desk.register(ID, account());
    let register = desk.next();
    desk.hear(&registrar(), &reply(&register, "200 OK", "r", &granted(&register, 0), ""));
    assert!(desk.within(secs(10)).at >= secs(5));
}

/// RFC 5626 §4.5: more and more rarely, up to half an hour, and never all at once.
#[test]
fn a_registrar_in_trouble_is_asked_more_and_more_rarely() {
    let mut desk = Desk::new();
    desk.register(ID, account());
    stands(&mut desk, State::Connecting);
    let mut waits = Vec::new();
    let mut register = desk.next();
    for _ in 0..9 {
        let failed_at = register.at;
        desk.hear(&registrar(), &reply(&register, "500 Oops", "r", "", ""));
        register = desk.within(secs(1801));
        waits.push((register.at - failed_at).as_secs_f64());
    }
    stands(&mut desk, State::Retrying(Failure::Network));
    unchanged(&desk);
    for (wait, longest) in waits.iter().zip([60.0, 120.0, 240.0, 480.0, 960.0, 1800.0, 1800.0]) {
        assert!((longest / 2.0..=longest).contains(wait), "{waits:?}");
    }
    // It comes back, and the count starts anew.
    desk.hear(&registrar(), &reply(&register, "200 OK", "r", "Expires: 100", ""));
    stands(&mut desk, State::Connected);
    let refresh = desk.within(secs(86));
    desk.hear(&registrar(), &reply(&refresh, "503 No", "r", "Retry-After: 500", ""));
    stands(&mut desk, State::Retrying(Failure::Network));
    let again = desk.within(secs(501));
    assert!(again.at - refresh.at >= secs(500));
}

#[test]
fn silence_and_a_broken_network_are_told_apart() {
    let mut desk = Desk::new();
    desk.register(ID, account());
    stands(&mut desk, State::Connecting);
    desk.pass(secs(33));
    stands(&mut desk, State::Retrying(Failure::Timeout));
    let repeats = desk.all();
    assert_eq!(repeats.iter().filter(|s| s.header("CSeq") == "1 REGISTER").count(), 11);
    let again = desk.within(secs(61));
    again.has("CSeq", "2 REGISTER");
    desk.unreachable(&registrar());
    stands(&mut desk, State::Retrying(Failure::Network));
}

#[test]
fn what_only_a_person_can_mend_is_not_tried_again() {
    for (status, failure) in [
        ("403 Forbidden", Failure::Refused),
        ("404 Not Found", Failure::NotFound),
        ("604 Nowhere", Failure::NotFound),
        ("400 Bad Request", Failure::Refused),
        ("302 Moved", Failure::Refused),
        ("606 Not Acceptable", Failure::Refused),
        ("401 Unauthorized", Failure::Unauthorized),
    ] {
        let mut desk = Desk::new();
        desk.register(ID, account());
        stands(&mut desk, State::Connecting);
        let register = desk.next();
        desk.hear(&registrar(), &reply(&register, status, "r", "", ""));
        stands(&mut desk, State::Failed(failure));
        desk.pass(secs(4000));
        desk.nothing();
    }
}

#[test]
fn signing_out_tells_the_registrar() {
    let mut desk = Desk::new();
    let register = signed_in(&mut desk, account(), &registrar());
    desk.unregister(ID);
    let leaving = desk.next();
    leaving.has("Expires", "0").has("Contact", &register.header("Contact"));
    unchanged(&desk);
    desk.hear(&registrar(), &reply(&leaving, SERVER, "r", &challenge(SERVER, "n", "MD5"), ""));
    let leaving = desk.next();
    leaving.has("Expires", "0").header("Authorization");
    desk.hear(&registrar(), &reply(&leaving, "200 OK", "r", "", ""));
    stands(&mut desk, State::Ended);
    desk.leaves_nothing();
    desk.nothing();
    // A registrar that does not answer is told in vain, and one that never knew us not at all.
    signed_in(&mut desk, account(), &registrar());
    desk.unregister(ID);
    desk.pass(secs(33));
    stands(&mut desk, State::Ended);
    desk.all();
    desk.unregister(ID);
    stands(&mut desk, State::Ended);
    desk.nothing();
}

/// Only one REGISTER may be out (RFC 3261 §10.2): the wish waits for its answer.
#[test]
fn signing_out_waits_for_the_register_that_is_out() {
    let mut desk = Desk::new();
    desk.register(ID, account());
    stands(&mut desk, State::Connecting);
    let register = desk.next();
    desk.unregister(ID);
    desk.nothing();
    desk.hear(&registrar(), &reply(&register, "200 OK", "r", &granted(&register, 60), ""));
    let leaving = desk.next();
    leaving.has("Expires", "0").has("CSeq", "2 REGISTER");
    // And in again, before that is answered.
    desk.register(ID, account());
    unchanged(&desk);
    desk.nothing();
    desk.hear(&registrar(), &reply(&leaving, "200 OK", "r", "", ""));
    let again = desk.next();
    again.has("Expires", "3600").has("CSeq", "3 REGISTER");
    // Refused while the wish to leave waits: nothing is left to say.
    desk.unregister(ID);
    desk.hear(&registrar(), &reply(&again, "403 Forbidden", "r", "", ""));
    stands(&mut desk, State::Ended);
    desk.nothing();
    desk.leaves_nothing();
}

#[test]
fn registrations_are_bounded_and_names_cannot_smuggle() {
    let mut desk = Desk::new();
    for number in 0..3 {
        desk.register(RegistrationId(number), account());
    }
    desk.register(ID, account());
    assert_eq!(desk.registrations.pop_back(), Some((ID, State::Failed(Failure::Refused))));
    assert_eq!(desk.all().len(), 3);
    for (user, domain) in [
        ("", "provider.test"),
        ("carol", ""),
        ("carol", "provider.test>\r\nX: y"),
        ("carol", "a b"),
        ("carol", "provider.test;lr"),
        ("carol", "provider.test?X=y"),
        ("carol", "a@provider.test"),
    ] {
        let mut desk = Desk::new();
        let config =
            RegistrationConfig { user: user.to_owned(), domain: domain.to_owned(), ..account() };
        desk.register(ID, config);
        stands(&mut desk, State::Failed(Failure::Refused));
        desk.nothing();
    }
    let mut desk = Desk::new();
    let user = "carol\"\r\nX-Evil: yes".to_owned();
    desk.register(ID, RegistrationConfig { auth_user: Some(user), ..account() });
    stands(&mut desk, State::Connecting);
    let register = desk.next();
    desk.hear(&registrar(), &reply(&register, SERVER, "r", &challenge(SERVER, "n", "MD5"), ""));
    for sent in desk.all() {
        sent.lacks("X-Evil");
    }
}

/// Over TCP and TLS the connection is part of it: when it breaks, a new one is made soon.
#[test]
fn a_broken_connection_is_mended_soon() {
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut desk = Desk::new();
        let config = RegistrationConfig { flow: over(transport), ..account() };
        let register = signed_in(&mut desk, config, &connected(transport, 5));
        let token = transport.as_str().to_lowercase();
        assert!(register.target().ends_with(&format!(";transport={token}")));
        desk.close(4);
        unchanged(&desk);
        desk.close(5);
        stands(&mut desk, State::Retrying(Failure::Network));
        let again = desk.within(secs(11));
        assert_eq!(again.flow, over(transport));
        // It breaks while the answer is out: that is a failure.
        desk.hear(&connected(transport, 6), &reply(&again, "200 OK", "r", "Expires: 60", ""));
        stands(&mut desk, State::Connected);
        desk.within(secs(52)).is("REGISTER");
        desk.close(6);
        stands(&mut desk, State::Retrying(Failure::Network));
        let again = desk.within(secs(61));
        assert_eq!(again.flow.connection, None);
        // The answer to the one before comes too late to count.
        unchanged(&desk);
    }
}

/// The registrar brings a call: no password is asked of it, and the account's owner is meant.
#[test]
fn a_call_comes_in_at_the_account() {
    for (transport, from) in [
        (Transport::Udp, registrar()),
        (Transport::Tcp, connected(Transport::Tcp, 5)),
        (Transport::Tls, connected(Transport::Tls, 5)),
    ] {
        let mut desk = Desk::new();
        let config = RegistrationConfig { flow: over(transport), ..account() };
        let register = signed_in(&mut desk, config, &from);
        let mut caller = Peer::caller();
        (caller.flow, caller.target) = (from, register.target());
        let invite = caller.invite("", OFFER);
        desk.hear(&from, &invite);
        let (leg, LegEvent::Offer(offer)) = desk.event() else { panic!("no call") };
        assert_eq!(offer.scope, Scope::In(ID));
        assert_eq!((offer.from.user, offer.trunk), (None, None));
        assert_eq!(offer.from.address.expose(), "+4930");
        assert_eq!(offer.to.expose(), "carol");
        desk.command(leg, LegCommand::Answer(sdp(OURS)));
        let answer = desk.next();
        assert_eq!(answer.is("200").target(), register.target());
        caller.joins(&answer);
        let ack = caller.ack("");
        desk.hear(&from, &ack);
        assert!(matches!(desk.event(), (_, LegEvent::Confirm(None))));
        desk.command(leg, LegCommand::End(Cause::Normal));
        let bye = desk.next();
        bye.is("BYE");
        // A connection may be gone by then; another one is made.
        assert_eq!(bye.flow, over(transport));
        desk.ended(leg, Cause::Normal);
    }
}

/// Who learned the Contact and is not the registrar is a stranger like any other.
#[test]
fn a_call_to_the_contact_from_elsewhere_is_challenged() {
    let mut desk = Desk::new();
    let register = signed_in(&mut desk, account(), &registrar());
    let mut stranger = Peer::caller();
    stranger.target = register.target();
    for from in ["203.0.113.81:5060", "198.51.100.1:5060"] {
        stranger.flow = phone(from);
        let invite = stranger.invite("", OFFER);
        desk.hear(&stranger.flow, &invite);
        let refusal = desk.next();
        refusal.is("407");
        let ack = Peer::in_transaction(&invite, "ACK", &refusal.header("To"));
        desk.hear(&stranger.flow, &ack);
    }
    // Nor may the registrar call anybody else here.
    stranger.flow = registrar();
    stranger.target = "sip:alice@gateway.test".to_owned();
    let invite = stranger.invite("", OFFER);
    desk.hear(&stranger.flow, &invite);
    desk.next().is("407");
    // And a trunk's calls to it are the trunk's.
    stranger.flow = trunk();
    stranger.target = register.target();
    let invite = stranger.invite("", OFFER);
    desk.hear(&stranger.flow, &invite);
    let (_, LegEvent::Offer(offer)) = desk.event() else { panic!("no call") };
    assert_eq!((offer.scope, offer.trunk.as_deref()), (Scope::Everywhere, Some("carrier")));
}

fn out() -> Reach {
    Reach::Registration { id: ID, number: Private("+49 30".to_owned()) }
}

/// A call goes out under the account's own name, whoever makes it, and shows its password.
#[test]
fn a_call_goes_out_over_the_account() {
    let mut desk = Desk::new();
    desk.register(ID, account());
    let register = desk.next();
    let routes = "Service-Route: <sip:edge.provider.test;lr>";
    desk.hear(&registrar(), &reply(&register, "200 OK", "r", routes, ""));
    let (leg, invite) = desk.call(out());
    assert_eq!(invite.start(), "INVITE sip:+49%2030@provider.test SIP/2.0");
    assert_eq!(invite.flow, registrar());
    assert!(invite.header("From").starts_with("<sip:carol@provider.test>;tag="));
    invite.has("To", "<sip:+49%2030@provider.test>");
    invite.has("Route", "<sip:edge.provider.test;lr>");
    assert_eq!(invite.target(), register.target());
    desk.hear(&registrar(), &reply(&invite, PROXY, "p", &challenge(PROXY, "n", "SHA-256"), ""));
    desk.next().is("ACK");
    let again = desk.next();
    again.is("INVITE").has("CSeq", "2 INVITE");
    assert!(again.header("Proxy-Authorization").contains("username=\"carol\""));
    desk.hear(&registrar(), &reply(&again, "200 OK", "callee", "", OFFER));
    desk.next().is("ACK");
    assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
    desk.command(leg, LegCommand::End(Cause::Normal));
    let bye = desk.next();
    desk.hear(&bye.flow, &reply(&bye, PROXY, "", &challenge(PROXY, "n2", "MD5"), ""));
    desk.next().is("BYE").header("Proxy-Authorization");
}

#[test]
fn a_call_over_an_account_that_is_gone_fails_at_once() {
    let mut desk = Desk::new();
    let leg = desk.try_call(out());
    desk.ended(leg, Cause::Unavailable);
    desk.nothing();
    // With the wrong password it fails too.
    signed_in(&mut desk, account(), &registrar());
    let (leg, invite) = desk.call(out());
    let extra = challenge(PROXY, "n", "MD5");
    desk.hear(&registrar(), &reply(&invite, PROXY, "p", &extra, ""));
    desk.next().is("ACK");
    let again = desk.next();
    desk.hear(&registrar(), &reply(&again, PROXY, "p", &extra, ""));
    desk.next().is("ACK");
    desk.nothing();
    desk.ended(leg, Cause::Unauthorized);
    desk.pass(millis(1));
}
