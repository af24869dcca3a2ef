//! Trunks: several destinations, failures, limits, who they are known by, and what they are told.

use crosspoint_base::{ConnectionId, Flow, Private, Secret, Transport};
use crosspoint_call::router::TrunkState;
use crosspoint_call::{Cause, Identity, LegCommand, LegEvent, OutgoingOffer, Reach};
use crosspoint_connectors::sip_ua::{
    CallerForm, Certified, Health, HopFailure, HopState, Network, PeerState, RegistrationFailure,
    RegistrationState, TrunkChange, TrunkConfig, TrunkLogin, TrunkRegistration,
};
use crosspoint_sip::digest::{Credentials, UserHa1};

use crate::harness::{Desk, OFFER, Peer, Sent, hop, millis, phone, reply, secs, trunk};
use crate::phones::Phone;

const FIRST: &str = "192.0.2.9:5060";
const SECOND: &str = "192.0.2.10:5060";
const THIRD: &str = "192.0.2.11:5060";

fn desk(adjust: impl FnOnce(&mut TrunkConfig)) -> Desk {
    let mut desk = Desk::with(|config| adjust(&mut config.trunks[0]));
    desk.start();
    desk
}

fn with_spares(adjust: impl FnOnce(&mut TrunkConfig)) -> Desk {
    desk(|trunk| {
        trunk.hops = vec![hop(FIRST, 0), hop(SECOND, 10), hop(THIRD, 20)];
        adjust(trunk);
    })
}

fn state(desk: &Desk) -> TrunkState {
    desk.ua.trunk_state(desk.now, "carrier")
}

fn hop_state(desk: &Desk, index: usize) -> HopState {
    desk.ua.trunk_reports(desk.now)[0].hops[index].1
}

fn out() -> Reach {
    Reach::Trunk { name: "carrier".into(), number: Private("4711".to_owned()) }
}

#[track_caller]
fn goes_to(sent: &Sent, to: &str) {
    assert_eq!(sent.flow.remote.to_string(), to, "\n{}", sent.text);
}

/// Answers every OPTIONS that is out, at the destinations named.
fn answer_options(desk: &mut Desk, at: &[&str], status: &str) {
    let sent = desk.all();
    for request in &sent {
        request.is("OPTIONS");
        if at.contains(&request.flow.remote.to_string().as_str()) {
            desk.hear(&request.flow, &reply(request, status, "t", "", ""));
        }
    }
}

// Failover.

#[test]
fn a_call_that_gets_503_goes_on_to_the_next_destination() {
    let mut desk = with_spares(|_| {});
    let (leg, first) = desk.call_out();
    goes_to(&first, FIRST);
    desk.hear(&first.flow, &reply(&first, "503 Service Unavailable", "x", "", ""));
    desk.next().is("ACK");
    let second = desk.next();
    goes_to(second.is("INVITE"), SECOND);
    second.has("Call-ID", &first.header("Call-ID")).has("From", &first.header("From"));
    second.has("CSeq", "2 INVITE");
    assert_ne!(second.header("Via"), first.header("Via"));
    desk.quiet();
    desk.hear(&second.flow, &reply(&second, "200 OK", "y", "", OFFER));
    goes_to(desk.next().is("ACK"), SECOND);
    assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
    desk.command(leg, LegCommand::End(Cause::Normal));
    let bye = desk.next();
    goes_to(bye.is("BYE"), SECOND);
    desk.hear(&bye.flow, &reply(&bye, "200 OK", "", "", ""));
    desk.leaves_nothing();
    assert_eq!(desk.ua.trunk_reports(desk.now)[0].counters.failovers, 1);
}

/// Four seconds of silence are enough where there is another; what answers late is ended.
#[test]
fn a_destination_that_says_nothing_gives_way() {
    let mut desk = with_spares(|_| {});
    let (leg, first) = desk.call_out();
    desk.pass(millis(3900));
    assert!(desk.all().iter().all(|sent| sent.flow.remote.to_string() == FIRST));
    desk.pass(millis(200));
    let second = desk.next();
    goes_to(second.is("INVITE"), SECOND);
    desk.hear(&second.flow, &reply(&second, "180 Ringing", "y", "", ""));
    assert!(matches!(desk.event(), (_, LegEvent::Ringing)));
    desk.hear(&second.flow, &reply(&second, "200 OK", "y", "", OFFER));
    desk.next().is("ACK");
    assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
    desk.all();
    // The first was only slow: it rings too, and is told to stop.
    desk.hear(&first.flow, &reply(&first, "180 Ringing", "x", "", ""));
    goes_to(desk.next().is("CANCEL"), FIRST);
    desk.hear(&first.flow, &reply(&first, "200 OK", "x", "", OFFER));
    desk.next().is("ACK");
    goes_to(desk.next().is("BYE"), FIRST);
    desk.quiet();
    desk.command(leg, LegCommand::End(Cause::Normal));
    desk.leaves_nothing();
}

/// RFC 3261 §18.4. Only what quotes the request itself is believed: anybody can send the rest.
#[test]
fn a_destination_whose_port_is_closed_gives_way_at_once() {
    let mut desk = with_spares(|_| {});
    let (leg, first) = desk.call_out();
    let at = first.flow.remote;
    let told = |desk: &mut Desk, remote, quoted: &[u8]| {
        desk.act(|ua, now| ua.handle_unreachable(now, remote, quoted));
    };
    let forged = first.text.replace("z9hG4bK", "z9hG4bK0");
    for (remote, quoted) in [
        (at, forged.as_str()),
        (at, ""),
        (at, "INVITE sip:4711@carrier.test SIP/2.0\r\nVia: SIP/2.0/UDP"),
        (at, "Via: SIP/2.0/UDP x;branch=z9hG4bKffffffffffffffffffffffff.1"),
        (SECOND.parse().unwrap(), first.text.as_str()),
    ] {
        told(&mut desk, remote, quoted.as_bytes());
        desk.nothing();
    }
    // As much as fits into an ICMP message.
    told(&mut desk, at, &first.text.as_bytes()[..300]);
    let second = desk.next();
    goes_to(second.is("INVITE"), SECOND);
    desk.hear(&second.flow, &reply(&second, "200 OK", "y", "", OFFER));
    desk.next().is("ACK");
    assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
    // Told once more, of a repeat that was on its way.
    told(&mut desk, at, first.text.as_bytes());
    desk.nothing();
    desk.command(leg, LegCommand::End(Cause::Normal));
    let bye = desk.next();
    desk.hear(&bye.flow, &reply(&bye, "200 OK", "", "", ""));
    desk.leaves_nothing();
    assert_eq!(desk.ua.trunk_reports(desk.now)[0].counters.failovers, 1);
}

/// What rings is not taken away again, and what a person says counts.
#[test]
fn a_call_that_rang_or_was_refused_by_a_person_stays_where_it_is() {
    let mut desk = with_spares(|_| {});
    let (leg, first) = desk.call_out();
    desk.hear(&first.flow, &reply(&first, "180 Ringing", "x", "", ""));
    desk.pass(secs(10));
    desk.hear(&first.flow, &reply(&first, "503 Service Unavailable", "x", "", ""));
    desk.next().is("ACK");
    desk.nothing();
    assert!(matches!(desk.event(), (_, LegEvent::Ringing)));
    desk.ended(leg, Cause::NetworkFailure);
    let (leg, first) = desk.call_out();
    desk.hear(&first.flow, &reply(&first, "486 Busy Here", "x", "", ""));
    desk.next().is("ACK");
    desk.nothing();
    desk.ended(leg, Cause::Busy);
}

#[test]
fn a_destination_that_cannot_be_reached_costs_no_time() {
    let mut desk = with_spares(|_| {});
    let (_, first) = desk.call_out();
    desk.unreachable(&first.flow);
    goes_to(desk.next().is("INVITE"), SECOND);
    desk.unreachable(&Flow { remote: SECOND.parse().unwrap(), ..trunk() });
    goes_to(desk.next().is("INVITE"), THIRD);
    desk.unreachable(&Flow { remote: THIRD.parse().unwrap(), ..trunk() });
    desk.nothing();
    assert!(matches!(desk.event(), (_, LegEvent::Ended(Cause::NetworkFailure))));
    desk.leaves_nothing();
}

#[test]
fn a_new_destination_is_shown_no_credentials_of_the_last() {
    let mut desk = with_spares(|t| t.credentials = Some(credentials(None)));
    let (_, first) = desk.call_out();
    let challenge = challenge("Proxy-Authenticate", "carrier.test");
    desk.hear(&first.flow, &reply(&first, "407 Who", "x", &challenge, ""));
    desk.next().is("ACK");
    let again = desk.next();
    again.header("Proxy-Authorization");
    desk.hear(&again.flow, &reply(&again, "503 Service Unavailable", "x", "", ""));
    desk.next().is("ACK");
    goes_to(desk.next().is("INVITE").lacks("Proxy-Authorization"), SECOND);
}

#[test]
fn calls_are_shared_by_weight_within_a_priority() {
    let mut desk = desk(|trunk| {
        trunk.hops = vec![hop(FIRST, 0), hop(SECOND, 0), hop(THIRD, 5)];
        (trunk.hops[0].weight, trunk.hops[1].weight) = (30, 10);
    });
    let mut firsts = std::collections::BTreeMap::new();
    for _ in 0..80 {
        let (leg, invite) = desk.call_out();
        *firsts.entry(invite.flow.remote.to_string()).or_insert(0) += 1;
        desk.command(leg, LegCommand::End(Cause::Cancelled));
    }
    assert_eq!(firsts.len(), 2, "{firsts:?}");
    assert!(firsts[FIRST] > 45 && firsts[SECOND] > 8, "{firsts:?}");
}

// Health.

fn asked(trunk: &mut TrunkConfig) {
    trunk.health = Some(Health { interval: secs(20), down_after: 2, up_after: 2 });
}

#[test]
fn a_destination_goes_down_and_comes_up_by_its_answers_not_by_one_alone() {
    let mut desk = with_spares(asked);
    desk.pass(secs(1));
    answer_options(&mut desk, &[FIRST, SECOND, THIRD], "200 OK");
    assert_eq!(hop_state(&desk, 0), HopState::Up);
    desk.news.clear();
    // One answer that is lost changes nothing: repeats go out, and the next one comes.
    desk.pass(secs(20));
    answer_options(&mut desk, &[SECOND, THIRD], "200 OK");
    desk.pass(secs(8));
    desk.all();
    assert_eq!(hop_state(&desk, 0), HopState::Up);
    desk.pass(secs(12));
    answer_options(&mut desk, &[SECOND, THIRD], "405 Method Not Allowed");
    desk.pass(secs(8));
    desk.all();
    assert_eq!(hop_state(&desk, 0), HopState::Down(HopFailure::NoAnswer));
    let news: Vec<_> = desk.news.drain(..).map(|n| n.what).collect();
    let first = FIRST.parse().unwrap();
    assert_eq!(news, [TrunkChange::Down(first, HopFailure::NoAnswer)]);
    // Calls leave it out.
    assert_eq!(state(&desk), TrunkState::Ready);
    let (leg, invite) = desk.call_out();
    goes_to(&invite, SECOND);
    desk.hear(&invite.flow, &reply(&invite, "486 Busy Here", "x", "", ""));
    desk.ended(leg, Cause::Busy);
    desk.all();
    // Two answers bring it back.
    desk.pass(secs(12));
    answer_options(&mut desk, &[FIRST, SECOND, THIRD], "200 OK");
    assert_eq!(hop_state(&desk, 0), HopState::Down(HopFailure::NoAnswer));
    desk.pass(secs(20));
    answer_options(&mut desk, &[FIRST, SECOND, THIRD], "200 OK");
    assert_eq!(hop_state(&desk, 0), HopState::Up);
}

#[test]
fn a_trunk_without_a_destination_that_answers_is_down() {
    let mut desk = desk(asked);
    for _ in 0..2 {
        desk.pass(secs(1));
        answer_options(&mut desk, &[FIRST], "503 Service Unavailable");
        desk.pass(secs(19));
    }
    desk.all();
    assert_eq!(state(&desk), TrunkState::Down);
    let leg = desk.try_call(out());
    desk.ended(leg, Cause::TrunkDown);
    desk.nothing();
}

/// Without OPTIONS calls tell; after half a minute one may try again.
#[test]
fn calls_alone_find_out_that_nobody_is_there() {
    let mut desk = with_spares(|_| {});
    for _ in 0..2 {
        let (leg, invite) = desk.call_out();
        goes_to(&invite, FIRST);
        desk.unreachable(&invite.flow);
        goes_to(desk.next().is("INVITE"), SECOND);
        desk.command(leg, LegCommand::End(Cause::Cancelled));
        desk.ended(leg, Cause::Cancelled);
    }
    assert_eq!(hop_state(&desk, 0), HopState::Down(HopFailure::Unreachable));
    goes_to(&desk.call_out().1, SECOND);
    desk.pass(secs(31));
    desk.all();
    goes_to(&desk.call_out().1, FIRST);
}

/// Where nobody asks, one call that fails says nothing about the next.
#[test]
fn the_only_destination_is_tried_whatever_became_of_the_last_calls() {
    let mut desk = desk(|_| {});
    for _ in 0..3 {
        let (leg, invite) = desk.call_out();
        desk.unreachable(&invite.flow);
        desk.ended(leg, Cause::NetworkFailure);
    }
    assert_eq!(state(&desk), TrunkState::Ready);
}

#[test]
fn destinations_keep_their_state_when_names_are_looked_up_again() {
    let mut desk = with_spares(asked);
    desk.pass(secs(1));
    answer_options(&mut desk, &[FIRST, SECOND, THIRD], "200 OK");
    desk.ua.set_hops(desk.now, "carrier", vec![hop(SECOND, 0), hop("192.0.2.77:5060", 1)]);
    assert_eq!((hop_state(&desk, 0), hop_state(&desk, 1)), (HopState::Up, HopState::Unknown));
    // An answer without addresses is no reason to forget those that work.
    desk.ua.set_hops(desk.now, "carrier", vec![]);
    assert_eq!(hop_state(&desk, 0), HopState::Up);
    desk.news.clear();
    desk.pass(secs(61));
    assert!(desk.news.iter().any(|news| news.what == TrunkChange::Locate));
}

// Limits.

#[test]
fn a_trunk_has_so_many_calls_both_ways_together_and_no_more() {
    let mut desk = desk(|trunk| trunk.limits.calls = Some(2));
    let (leg, _) = desk.call_out();
    let mut caller = Peer::caller();
    let incoming = desk.incoming(&mut caller, "", OFFER);
    assert_eq!(state(&desk), TrunkState::Full);
    let refused = desk.try_call(out());
    desk.ended(refused, Cause::TrunkFull);
    let mut other = Peer { local: "<sip:x@carrier.test>;tag=other".to_owned(), ..Peer::caller() };
    let invite = other.invite("", OFFER);
    desk.hear(&other.flow, &invite);
    let refusal = desk.next();
    refusal.is("503").has("Reason", "X.int;text=\"The trunk is full\"").has("Retry-After", "5");
    desk.quiet();
    // A call for help is not held up.
    let help = OutgoingOffer { is_emergency: true, ..desk.offer(out()) };
    let helped = desk.begin(help);
    desk.next().is("INVITE");
    desk.command(helped, LegCommand::End(Cause::Cancelled));
    desk.ended(helped, Cause::Cancelled);
    // Each that ends makes room for one.
    desk.command(incoming, LegCommand::End(Cause::Busy));
    desk.ended(incoming, Cause::Busy);
    assert_eq!(state(&desk), TrunkState::Ready);
    desk.command(leg, LegCommand::End(Cause::Cancelled));
    assert_eq!(desk.ua.trunk_reports(desk.now)[0].calls, 0);
    assert_eq!(desk.ua.trunk_reports(desk.now)[0].counters.refused, 2);
}

#[test]
fn calls_come_no_faster_than_allowed() {
    let mut desk = desk(|trunk| trunk.limits.calls_per_second = Some(2));
    let taken = |desk: &mut Desk| {
        let leg = desk.try_call(out());
        let is_taken = desk.all().iter().any(|sent| sent.what() == "INVITE");
        if is_taken {
            desk.command(leg, LegCommand::End(Cause::Cancelled));
        }
        is_taken
    };
    let burst: Vec<bool> = (0..4).map(|_| taken(&mut desk)).collect();
    assert_eq!(burst, [true, true, false, false]);
    desk.pass(millis(500));
    assert_eq!((taken(&mut desk), taken(&mut desk)), (true, false));
    desk.pass(secs(10));
    let burst: Vec<bool> = (0..3).map(|_| taken(&mut desk)).collect();
    assert_eq!(burst, [true, true, false]);
}

// Who it is known by.

fn call_from(desk: &mut Desk, flow: Flow, from: &str) -> Option<String> {
    let call_id = format!("{}-{from}-{:?}", flow.remote, flow.connection);
    let local = format!("<sip:+4930@{from}>;tag={}", call_id.replace([':', '(', ')'], "-"));
    let mut peer = Peer { flow, local, call_id, ..Peer::caller() };
    let invite = peer.invite("", OFFER);
    desk.hear(&peer.flow, &invite);
    desk.all();
    let (leg, event) = desk.events().into_iter().next()?;
    let LegEvent::Offer(offer) = event else { panic!("{event:?}") };
    desk.command(leg, LegCommand::End(Cause::Busy));
    desk.events();
    offer.trunk.map(|t| t.to_string())
}

#[test]
fn a_network_is_believed_and_the_rest_of_the_world_is_not() {
    let network = Network { address: "198.51.100.0".parse().unwrap(), prefix: 25 };
    let mut desk = desk(|trunk| trunk.sources.networks.push(network));
    let known = Some("carrier".to_owned());
    assert_eq!(call_from(&mut desk, phone("198.51.100.127:9"), "x.test"), known);
    assert_eq!(call_from(&mut desk, phone("198.51.100.128:9"), "x.test"), None);
    assert_eq!(call_from(&mut desk, phone(FIRST), "x.test"), known);
    assert_eq!(call_from(&mut desk, phone("192.0.2.8:5060"), "carrier.test"), None);
}

#[test]
fn trunks_at_one_address_are_told_apart_by_their_domains() {
    let mut desk = Desk::with(|config| {
        config.trunks[0].sources.from_domains.push("a.test".to_owned());
        let mut other = TrunkConfig::new("other", "b.test", vec![hop(FIRST, 0)]);
        other.sources.from_domains.push("b.test".to_owned());
        config.trunks.push(other);
    });
    let at = phone(FIRST);
    assert_eq!(call_from(&mut desk, at, "a.test").as_deref(), Some("carrier"));
    assert_eq!(call_from(&mut desk, at, "B.test").as_deref(), Some("other"));
    // A domain proves nothing where it is not said that it does.
    assert_eq!(call_from(&mut desk, phone("203.0.113.9:5060"), "b.test"), None);
}

#[test]
fn a_domain_is_believed_alone_only_where_that_is_configured() {
    let mut desk = desk(|trunk| {
        trunk.sources.from_domains.push("cloud.test".to_owned());
        trunk.sources.trusts_domain = true;
    });
    let far = phone("203.0.113.9:5060");
    assert_eq!(call_from(&mut desk, far, "cloud.test").as_deref(), Some("carrier"));
    assert_eq!(call_from(&mut desk, far, "evil.test"), None);
    let browser = crate::harness::browser(1);
    assert_eq!(call_from(&mut desk, browser, "cloud.test"), None);
}

#[test]
fn a_certificate_is_believed_by_its_name_and_its_authority_and_the_address_no_more() {
    let mut desk = desk(|trunk| {
        trunk.sources.certificates.push("pbx.test".to_owned());
        trunk.sources.authority = 1;
    });
    let tls = |connection| Flow {
        transport: Transport::Tls,
        connection: Some(ConnectionId(connection)),
        ..trunk()
    };
    let shows = |desk: &mut Desk, connection, name: &str, authorities: &[usize]| {
        let names = vec![name.to_owned()];
        let certified = Certified { names, authorities: authorities.to_vec() };
        desk.ua.handle_certificate(ConnectionId(connection), certified);
        call_from(desk, tls(connection), "carrier.test")
    };
    assert_eq!(shows(&mut desk, 1, "pbx.test", &[0, 1]).as_deref(), Some("carrier"));
    assert_eq!(shows(&mut desk, 2, "evil.test", &[1]), None);
    assert_eq!(shows(&mut desk, 3, "pbx.test", &[0]), None);
    assert_eq!(call_from(&mut desk, trunk(), "carrier.test"), None);
    assert_eq!(call_from(&mut desk, tls(4), "carrier.test"), None);
    desk.close(1);
    assert_eq!(call_from(&mut desk, tls(1), "carrier.test"), None);
}

// What it is told.

fn call_as(desk: &mut Desk, from: Identity) -> Sent {
    let leg = desk.ua.next_leg_id();
    let offer = OutgoingOffer { from, ..desk.offer(out()) };
    desk.command(leg, LegCommand::Offer(Box::new(offer)));
    desk.next()
}

fn caller(is_private: bool) -> Identity {
    Identity {
        address: Private("+4930123".to_owned()),
        display_name: Some(Private("Alice".to_owned())),
        is_private,
        ..Identity::default()
    }
}

#[test]
fn the_caller_stands_where_the_trunk_wants_it() {
    let check = |form, is_private, expected: [Option<&str>; 4]| {
        let mut desk = desk(|trunk| trunk.caller = form);
        let invite = call_as(&mut desk, caller(is_private));
        let from = invite.header("From");
        let from = from.split(";tag=").next().map(str::to_owned);
        let found = [
            from,
            invite.maybe("P-Asserted-Identity"),
            invite.maybe("Remote-Party-ID"),
            invite.maybe("Privacy"),
        ];
        assert_eq!(found.each_ref().map(|f| f.as_deref()), expected);
    };
    let name = "\"Alice\" <sip:+4930123@carrier.test>";
    let shown = Some(name);
    let hidden = Some("\"Anonymous\" <sip:anonymous@anonymous.invalid>");
    check(CallerForm::From, false, [shown, None, None, None]);
    check(CallerForm::From, true, [hidden, None, None, Some("id")]);
    check(CallerForm::Pai, false, [shown, shown, None, None]);
    check(CallerForm::Pai, true, [hidden, shown, None, Some("id")]);
    let party = |privacy: &str| format!("{name};party=calling;privacy={privacy};screen=yes");
    check(CallerForm::Rpid, false, [shown, None, Some(&party("off")), None]);
    check(CallerForm::Rpid, true, [hidden, None, Some(&party("full")), Some("id")]);
}

#[test]
fn an_account_calls_and_the_caller_is_asserted() {
    let mut desk = desk(|trunk| {
        trunk.credentials = Some(credentials(None));
        (trunk.from_account, trunk.caller) = (true, CallerForm::Pai);
    });
    let invite = call_as(&mut desk, caller(false));
    assert!(invite.header("From").starts_with("\"Alice\" <sip:us@carrier.test>;tag="));
    invite.has("P-Asserted-Identity", "\"Alice\" <sip:+4930123@carrier.test>");
}

#[test]
fn a_trunk_is_believed_about_its_callers_in_its_own_form() {
    let heard = |form, extra: &str| {
        let mut desk = desk(|trunk| trunk.caller = form);
        let mut peer = Peer::caller();
        let invite = peer.invite(extra, OFFER);
        desk.hear(&peer.flow, &invite);
        match desk.event() {
            (_, LegEvent::Offer(offer)) => {
                (offer.from.address.expose().clone(), offer.from.is_private)
            }
            other => panic!("{other:?}"),
        }
    };
    let pai = "P-Asserted-Identity: \"Bob\" <tel:+441234;phone-context=x>\nPrivacy: id";
    assert_eq!(heard(CallerForm::Pai, pai), ("+441234".to_owned(), true));
    assert_eq!(heard(CallerForm::From, pai), ("+4930".to_owned(), true));
    let rpid = "Remote-Party-ID: <sip:+4412@x.test>;party=calling;privacy=full";
    assert_eq!(heard(CallerForm::Rpid, rpid), ("+4412".to_owned(), true));
    assert_eq!(heard(CallerForm::Pai, rpid), ("+4930".to_owned(), false));
}

#[test]
fn a_stranger_among_users_asserts_nothing() {
    let mut desk = desk(|trunk| trunk.caller = CallerForm::Pai);
    let mut alice = Phone::new("alice", phone("203.0.113.5:5060"));
    alice.sign_in(&mut desk, "").is("200");
    // Who is signed in speaks for itself only, whatever it writes.
    let call = alice.call(&mut desk, "bob", "P-Asserted-Identity: <sip:+1555@carrier.test>");
    assert_eq!(call.from.address.expose(), "alice");
}

#[test]
fn headers_pass_as_the_rules_say_and_none_beside() {
    let mut desk = desk(|trunk| {
        trunk.headers.add = vec![("X-Site".into(), "berlin".to_owned())];
        trunk.headers.remove = vec!["User-Agent".into(), "X-Secret".into()];
        trunk.headers.pass_in = vec!["X-Customer".into()];
        trunk.headers.pass_out = vec!["X-Ticket".into()];
    });
    let mut from = caller(false);
    for name in ["X-Ticket", "X-Other"] {
        from.remarks.push((name.into(), Private("42".to_owned())));
    }
    let invite = call_as(&mut desk, from);
    invite.has("X-Site", "berlin").has("X-Ticket", "42").lacks("X-Other").lacks("User-Agent");

    let mut peer = Peer::caller();
    let extra = "X-Customer: 7\nx-customer: 8\nX-Ticket: 9\nX-Customer: a\n  b\u{1}";
    let invite = peer.invite(extra, OFFER);
    desk.hear(&peer.flow, &invite);
    let (_, LegEvent::Offer(offer)) = desk.event() else { panic!() };
    let remarks: Vec<_> =
        offer.from.remarks.iter().map(|(n, v)| (n.to_string(), v.expose().clone())).collect();
    let customer = |value: &str| ("X-Customer".to_owned(), value.to_owned());
    assert_eq!(remarks, [customer("7"), customer("8")]);
}

#[test]
fn early_media_is_passed_or_becomes_ringing() {
    let mut desk = desk(|trunk| trunk.early_media = false);
    let (_, invite) = desk.call_out();
    desk.hear(&invite.flow, &reply(&invite, "183 Session Progress", "x", "", OFFER));
    assert!(matches!(desk.event(), (_, LegEvent::Ringing)));
    desk.hear(&invite.flow, &reply(&invite, "200 OK", "x", "", ""));
    desk.next().is("ACK");
    // The answer without a description means the one that came early.
    assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
}

// Passwords.

fn credentials(realm: Option<&str>) -> Credentials {
    Credentials {
        user: "us".to_owned(),
        password: Secret::new("secret".to_owned()),
        realm: realm.map(str::to_owned),
    }
}

fn challenge(name: &str, realm: &str) -> String {
    format!("{name}: Digest realm=\"{realm}\", nonce=\"n\", qop=\"auth\", algorithm=SHA-256")
}

/// Whoever is called over a carrier may answer our INVITE with a challenge of its own. It gets
/// nothing to guess our password by, once the carrier's realm is known.
#[test]
fn a_callee_who_challenges_us_learns_nothing() {
    let mut desk = desk(|trunk| trunk.credentials = Some(credentials(None)));
    let (_, invite) = desk.call_out();
    let own = challenge("Proxy-Authenticate", "carrier.test");
    desk.hear(&invite.flow, &reply(&invite, "407 Who", "x", &own, ""));
    desk.next().is("ACK");
    let again = desk.next();
    assert!(again.header("Proxy-Authorization").contains("algorithm=SHA-256"));
    desk.hear(&again.flow, &reply(&again, "200 OK", "x", "", OFFER));
    desk.next().is("ACK");
    desk.events();
    for name in ["WWW-Authenticate", "Proxy-Authenticate"] {
        let (leg, invite) = desk.call_out();
        let status = if name.starts_with('W') { "401 Who" } else { "407 Who" };
        let foreign = challenge(name, "evil.test");
        desk.hear(&invite.flow, &reply(&invite, status, "x", &foreign, ""));
        desk.next().is("ACK").lacks("Authorization").lacks("Proxy-Authorization");
        desk.nothing();
        desk.ended(leg, Cause::Unauthorized);
    }
    assert_eq!(desk.ua.trunk_reports(desk.now)[0].counters.foreign_challenges, 2);
    // Beside the carrier's own it is passed over.
    let (_, invite) = desk.call_out();
    let both = format!("{}\n{own}", challenge("Proxy-Authenticate", "evil.test"));
    desk.hear(&invite.flow, &reply(&invite, "407 Who", "x", &both, ""));
    desk.next().is("ACK");
    assert!(desk.next().header("Proxy-Authorization").contains("realm=\"carrier.test\""));
}

/// The ACK of a 2xx has the credentials of its INVITE (RFC 3261 §13.2.2.4): that of a branch that answers
/// when the call is another's or is given up, too.
#[test]
fn whoever_answers_late_is_acknowledged_with_the_invites_credentials() {
    for is_given_up in [false, true] {
        let mut desk = desk(|trunk| trunk.credentials = Some(credentials(None)));
        let (leg, invite) = desk.call_out();
        let own = challenge("Proxy-Authenticate", "carrier.test");
        desk.hear(&invite.flow, &reply(&invite, "407 Who", "x", &own, ""));
        desk.next().is("ACK");
        let again = desk.next();
        let proof = again.header("Proxy-Authorization");
        if is_given_up {
            desk.hear(&again.flow, &reply(&again, "180 Ringing", "late", "", ""));
            desk.command(leg, LegCommand::End(Cause::Normal));
            desk.next().is("CANCEL");
        } else {
            desk.hear(&again.flow, &reply(&again, "200 OK", "first", "", OFFER));
            assert_eq!(desk.next().is("ACK").header("Proxy-Authorization"), proof);
        }
        desk.hear(&again.flow, &reply(&again, "200 OK", "late", "", OFFER));
        let ack = desk.next();
        assert_eq!(ack.is("ACK").header("Proxy-Authorization"), proof);
        assert_eq!((ack.tag("To").as_str(), ack.tag("From")), ("late", again.tag("From")));
        assert_eq!(ack.header("Call-ID"), again.header("Call-ID"));
        assert_eq!(desk.next().is("BYE").tag("To"), "late");
    }
}

// Signing in there.

fn signing_in(adjust: impl FnOnce(&mut TrunkConfig)) -> Desk {
    with_spares(|trunk| {
        trunk.credentials = Some(credentials(None));
        let registration = TrunkRegistration { user: "line7".to_owned(), expires: secs(600) };
        trunk.registration = Some(registration);
        adjust(trunk);
    })
}

/// Our sign-in up to its 200; the contact by which the trunk knows us.
fn signed_in(desk: &mut Desk) -> String {
    let register = desk.next();
    goes_to(register.is("REGISTER"), FIRST);
    assert!(register.header("To").contains("<sip:line7@carrier.test>"));
    let challenge = challenge("WWW-Authenticate", "carrier.test");
    desk.hear(&register.flow, &reply(&register, "401 Who", "x", &challenge, ""));
    let again = desk.next();
    assert!(again.header("Authorization").contains("algorithm=SHA-256"));
    let contact = again.header("Contact");
    let extra = format!("Contact: {contact};expires=600");
    desk.hear(&again.flow, &reply(&again, "200 OK", "x", &extra, ""));
    contact
}

fn registration(desk: &Desk) -> Option<RegistrationState> {
    desk.ua.trunk_reports(desk.now)[0].registration
}

#[test]
fn we_sign_in_at_a_trunk_and_calls_come_in_by_our_contact() {
    let mut desk = signing_in(|_| {});
    let contact = signed_in(&mut desk);
    assert_eq!(registration(&desk), Some(RegistrationState::Connected));
    let (_, invite) = desk.call_out();
    invite.has("Contact", &contact);
    // A call to our Contact says in its To which number was dialled.
    let target = contact.trim_matches(['<', '>']).to_owned();
    let remote = "<sip:+49301234@carrier.test>".to_owned();
    let mut peer = Peer { target, remote, ..Peer::caller() };
    let called = peer.invite("", OFFER);
    desk.hear(&peer.flow, &called);
    let (leg, LegEvent::Offer(offer)) = desk.event() else { panic!() };
    assert_eq!(offer.to.expose(), "+49301234");
    assert_eq!(offer.trunk.as_deref(), Some("carrier"));
    desk.command(leg, LegCommand::End(Cause::Busy));
    // It is refreshed in time.
    desk.pass(secs(400));
    desk.all();
    let again = desk.within(secs(110));
    again.is("REGISTER");
    assert!(again.header("Authorization").contains("nc=00000002"));
}

#[test]
fn a_registrar_that_is_gone_gives_way_to_the_next_and_then_all_rest() {
    let mut desk = signing_in(|_| {});
    for at in [FIRST, SECOND, THIRD] {
        let register = desk.next();
        goes_to(register.is("REGISTER"), at);
        desk.hear(&register.flow, &reply(&register, "503 Service Unavailable", "x", "", ""));
    }
    desk.nothing();
    let failed = RegistrationFailure::Network;
    assert_eq!(registration(&desk), Some(RegistrationState::Retrying(failed)));
    let began = desk.now;
    let register = desk.within(secs(61));
    goes_to(register.is("REGISTER"), FIRST);
    assert!(desk.now - began >= secs(30), "backs off first");
}

#[test]
fn a_wrong_password_takes_the_trunk_down_and_is_asked_about_rarely() {
    let mut desk = signing_in(|_| {});
    for _ in 0..2 {
        let register = desk.next();
        let challenge = challenge("WWW-Authenticate", "carrier.test");
        desk.hear(&register.flow, &reply(&register, "401 Who", "x", &challenge, ""));
    }
    desk.nothing();
    let failed = RegistrationState::Failed(RegistrationFailure::Unauthorized);
    assert_eq!(registration(&desk), Some(failed));
    assert_eq!(state(&desk), TrunkState::Down);
    desk.pass(secs(599));
    desk.nothing();
    desk.pass(secs(1));
    signed_in(&mut desk);
    assert_eq!(state(&desk), TrunkState::Ready);
}

/// After the first sign-in, a challenge of another realm is nobody's we know.
#[test]
fn a_registrar_with_another_realm_is_not_answered() {
    let mut desk = signing_in(|_| {});
    signed_in(&mut desk);
    let refresh = desk.within(secs(510));
    let foreign = challenge("WWW-Authenticate", "evil.test");
    desk.hear(&refresh.flow, &reply(&refresh, "401 Who", "x", &foreign, ""));
    desk.nothing();
    let (_, invite) = desk.call_out();
    let foreign = challenge("Proxy-Authenticate", "evil.test");
    desk.hear(&invite.flow, &reply(&invite, "407 Who", "x", &foreign, ""));
    desk.next().is("ACK");
    desk.nothing();
}

// A PBX that signs in with us.

fn pbx() -> Desk {
    desk(|trunk| {
        trunk.hops.clear();
        trunk.login = Some(TrunkLogin {
            user: "site7".into(),
            ha1: UserHa1::new("site7", "gateway.test", "site7-secret"),
            registers: true,
        });
    })
}

fn peer_state(desk: &Desk) -> Option<PeerState> {
    desk.ua.trunk_reports(desk.now)[0].peer
}

#[test]
fn a_pbx_signs_in_and_calls_go_where_it_is() {
    let mut desk = pbx();
    assert_eq!(
        (peer_state(&desk), state(&desk)),
        (Some(PeerState::Unregistered), TrunkState::Down)
    );
    let mut site = Phone::new("site7", phone("203.0.113.5:5080"));
    let register = site.register("Expires: 120");
    desk.hear(&site.flow, &register);
    desk.next().is("401");
    assert_eq!(peer_state(&desk), Some(PeerState::Challenged));
    site.sign_in(&mut desk, "Expires: 120").is("200");
    assert_eq!((peer_state(&desk), state(&desk)), (Some(PeerState::Registered), TrunkState::Ready));
    let (leg, invite) = desk.call_out();
    goes_to(&invite, "203.0.113.5:5080");
    assert!(invite.start().starts_with("INVITE sip:4711@203.0.113.5:5080"), "{}", invite.start());
    desk.hear(&invite.flow, &reply(&invite, "486 Busy Here", "x", "", ""));
    desk.next().is("ACK");
    desk.ended(leg, Cause::Busy);
    // It has no place among users, and none of them takes its place.
    assert_eq!(desk.ua.registrar().len(), 0);
    let states: Vec<_> = desk.news.drain(..).map(|n| n.what).collect();
    assert_eq!(states[..2], [PeerState::Challenged, PeerState::Registered].map(TrunkChange::Peer));
    desk.pass(secs(121));
    assert_eq!((peer_state(&desk), state(&desk)), (Some(PeerState::Expired), TrunkState::Down));
    let refused = desk.try_call(out());
    desk.ended(refused, Cause::TrunkDown);
}

#[test]
fn calls_of_a_pbx_are_those_of_its_trunk_once_it_shows_its_password() {
    let mut desk = pbx();
    let mut site = Phone::new("site7", phone("203.0.113.5:5080"));
    site.sign_in(&mut desk, "").is("200");
    let call = site.call(&mut desk, "alice", "");
    assert_eq!(call.trunk.as_deref(), Some("carrier"));
    assert_eq!(call.from.user, None);
    // Its address alone is nobody's.
    assert_eq!(call_from(&mut desk, site.flow, "x.test"), None);
    // A user's password does not open a trunk, nor a trunk's a user's account.
    let mut alice = Phone::new("alice", phone("203.0.113.6:5080"));
    let call = alice.call(&mut desk, "bob", "");
    assert_eq!(call.trunk, None);
}

#[test]
fn a_pbx_signs_out_or_loses_its_connection() {
    let mut desk = pbx();
    let tcp = Flow {
        transport: Transport::Tcp,
        connection: Some(ConnectionId(5)),
        ..phone("203.0.113.5:5080")
    };
    let mut site = Phone::new("site7", tcp);
    site.sign_in(&mut desk, "").is("200");
    assert_eq!(peer_state(&desk), Some(PeerState::Registered));
    desk.close(5);
    assert_eq!(peer_state(&desk), Some(PeerState::Expired));
    site.flow = phone("203.0.113.5:5080");
    site.sign_in(&mut desk, "").is("200");
    site.sign_in(&mut desk, "Expires: 0").is("200");
    assert_eq!(peer_state(&desk), Some(PeerState::Unregistered));
}
