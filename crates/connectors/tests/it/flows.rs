//! Flows (RFC 5626): what reaches a browser or a phone behind a NAT goes back the way it came,
//! and follows it when it comes another way.

use crosspoint_base::LegId;
use crosspoint_call::{Cause, LegCommand, LegEvent, Reach};
use crosspoint_sip::registrar::Change;

use crate::harness::{Desk, OFFER, OURS, Peer, Sent, browser, phone, reply, sdp};
use crate::phones::Phone;

const OUTBOUND: &str = "Supported: outbound, path";

/// Calls the only binding of a user and is answered; the leg and the INVITE.
fn up(desk: &mut Desk, user: &str, contact: &str) -> (LegId, Sent) {
    let (binding, _) = desk.ua.bindings_of(user).next().unwrap();
    let (leg, invite) = desk.call(Reach::Binding(binding));
    let extra = format!("Contact: {contact}");
    desk.hear(&invite.flow, &reply(&invite, "200 OK", "callee", &extra, OFFER));
    desk.next().is("ACK");
    assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
    (leg, invite)
}

const WEB_CONTACT: &str = "<sip:alice-web@k3j2h1.invalid;transport=ws>";

#[test]
fn outbound_is_confirmed_with_a_flow_timer() {
    let mut desk = Desk::new();
    let mut web = Phone::browser("alice", browser(1));
    let accepted = web.sign_in(&mut desk, OUTBOUND);
    accepted.is("200").has("Require", "outbound").has("Flow-Timer", "110");
    assert_eq!(
        accepted.header("Contact"),
        "<sip:alice-web@k3j2h1.invalid;transport=ws>;+sip.instance=\"<urn:uuid:00-alice>\"\
         ;reg-id=1;expires=3600"
    );
    // Without the option there is no such promise.
    let register = web.register("");
    desk.hear(&web.flow, &register);
    desk.next().is("200").lacks("Require").lacks("Flow-Timer");
}

/// RFC 5626 §6: the same instance and reg-id replace each other, another reg-id does not.
#[test]
fn a_new_flow_of_the_same_device_replaces_the_old_one() {
    let mut desk = Desk::new();
    let mut web = Phone::browser("alice", browser(1));
    web.sign_in(&mut desk, OUTBOUND).is("200");
    web.flow = browser(2);
    web.contact = web.contact.replace("k3j2h1", "other");
    web.call_id = "reg-2".to_owned();
    web.sign_in(&mut desk, OUTBOUND).is("200");
    let flows: Vec<_> = desk.ua.registrar().bindings_of("alice").map(|b| b.flow).collect();
    assert_eq!(flows, [browser(2)]);
    web.contact = web.contact.replace("reg-id=1", "reg-id=2");
    web.flow = browser(3);
    web.sign_in(&mut desk, OUTBOUND).is("200");
    assert_eq!(desk.ua.registrar().len(), 2);
    // The old connection's end concerns nobody any more; the others' does.
    desk.close(1);
    assert_eq!(desk.ua.registrar().len(), 2);
    desk.close(2);
    assert_eq!(desk.ua.registrar().len(), 1);
    assert!(matches!(desk.changes.last(), Some(Change::Removed(b)) if b.flow == browser(2)));
}

/// Behind a proxy that keeps no flow, outbound would be an empty promise: 439.
#[test]
fn outbound_behind_a_proxy_without_it_gets_439() {
    let mut desk = Desk::new();
    let mut far = Phone::browser("alice", phone("203.0.113.5:5060"));
    far.sign_in(&mut desk, OUTBOUND).is("200");
    let via = "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKfar";
    let register = far.register(&format!("{OUTBOUND}\n{via}"));
    desk.hear(&far.flow, &register);
    desk.next().is("439");
    let path = "Path: <sip:edge.test;lr;ob>";
    let register = far.register(&format!("{OUTBOUND}\n{via}\n{path}"));
    desk.hear(&far.flow, &register);
    desk.next().is("200").has("Require", "outbound");
}

/// A call and everything in it go over the browser's own connection.
#[test]
fn a_browser_is_called_over_its_connection() {
    let mut desk = Desk::new();
    Phone::browser("alice", browser(1)).sign_in(&mut desk, OUTBOUND).is("200");
    let (leg, invite) = up(&mut desk, "alice", WEB_CONTACT);
    assert_eq!(invite.flow, browser(1));
    assert_eq!(invite.start(), "INVITE sip:alice-web@k3j2h1.invalid;transport=ws SIP/2.0");
    assert!(invite.header("Via").starts_with("SIP/2.0/WSS 192.0.2.1:8443;"));
    assert_eq!(invite.target(), "sip:crosspoint@192.0.2.1:8443;transport=ws");
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    assert_eq!(desk.next().is("INVITE").flow, browser(1));
}

/// The browser reconnects and signs in again in mid-call: what we send takes the new connection.
#[test]
fn a_running_call_follows_the_browser_to_its_newest_flow() {
    let mut desk = Desk::new();
    let mut web = Phone::browser("alice", browser(1));
    web.sign_in(&mut desk, OUTBOUND).is("200");
    let (leg, _) = up(&mut desk, "alice", WEB_CONTACT);
    desk.close(1);
    assert!(desk.ua.registrar().is_empty());
    desk.quiet();
    web.flow = browser(2);
    web.sign_in(&mut desk, OUTBOUND).is("200");
    assert_eq!(desk.next().is("ACK").flow, browser(2));
    // Somebody else's registration moves nothing.
    Phone::browser("bob", browser(3)).sign_in(&mut desk, OUTBOUND).is("200");
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    let reinvite = desk.next();
    assert_eq!(reinvite.is("INVITE").flow, browser(2));
    desk.hear(&browser(2), &reply(&reinvite, "200 OK", "", "", OFFER));
    assert_eq!(desk.next().is("ACK").flow, browser(2));
    desk.command(leg, LegCommand::End(Cause::Normal));
    assert_eq!(desk.next().is("BYE").flow, browser(2));
}

/// The same for a call that the browser made.
#[test]
fn a_call_made_by_a_browser_follows_it_too() {
    let mut desk = Desk::new();
    let mut web = Phone::browser("alice", browser(1));
    web.sign_in(&mut desk, OUTBOUND).is("200");
    let challenge = web.challenge.take();
    let invite = |web: &mut Phone| {
        let extra = format!("Contact: {WEB_CONTACT}\nContent-Type: application/sdp\n\n{OFFER}");
        web.cseq += 1;
        let invite = web.request("INVITE", "sip:bob@gateway.test", &extra);
        invite.replace("To: <sip:alice@", "To: <sip:bob@").replace("reg-alice", "call-alice")
    };
    let first = invite(&mut web);
    desk.hear(&web.flow, &first);
    let refusal = desk.next();
    refusal.is("407");
    desk.hear(&web.flow, &Peer::in_transaction(&first, "ACK", &refusal.header("To")));
    web.challenged(&refusal);
    let second = invite(&mut web);
    desk.hear(&web.flow, &second);
    let (leg, LegEvent::Offer(_)) = desk.event() else { panic!("no call") };
    desk.command(leg, LegCommand::Answer(sdp(OURS)));
    let answer = desk.next();
    assert_eq!(answer.is("200").flow, browser(1));
    let mut peer = Peer::caller();
    peer.flow = browser(1);
    peer.call_id = "call-alice".to_owned();
    peer.local = "<sip:alice@gateway.test>;tag=reg".to_owned();
    peer.contact = WEB_CONTACT.to_owned();
    peer.joins(&answer);
    (peer.cseq, peer.invite_cseq) = (web.cseq, web.cseq);
    let ack = peer.ack("");
    desk.hear(&browser(1), &ack);
    assert!(matches!(desk.event(), (_, LegEvent::Confirm(None))));

    desk.close(1);
    web.challenge = challenge;
    web.nonce_count = 1;
    web.flow = browser(2);
    web.sign_in(&mut desk, OUTBOUND).is("200");
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    let reinvite = desk.next();
    assert_eq!(reinvite.is("INVITE").flow, browser(2));
    // A request in the dialog names the newest flow as well as a registration does. What was not
    // answered over the old one is sent again.
    let info = peer.request("OPTIONS", "", "");
    desk.hear(&browser(4), &info);
    let again = desk.next();
    assert_eq!((again.flow, again.text), (browser(4), reinvite.text));
    desk.next().is("200");
    desk.command(leg, LegCommand::End(Cause::Normal));
    assert_eq!(desk.next().is("BYE").flow, browser(4));
}

/// A phone behind a NAT is answered at the address it came from, not at the one it believes in.
#[test]
fn a_phone_behind_a_nat_is_reached_where_it_came_from() {
    let mut desk = Desk::new();
    let mut nat = Phone::new("alice", phone("203.0.113.5:31000"));
    nat.contact = "<sip:alice@10.0.0.7:5060>".to_owned();
    nat.sign_in(&mut desk, "").is("200");
    let (leg, invite) = up(&mut desk, "alice", "<sip:alice@10.0.0.7:5060>");
    assert_eq!(invite.flow.remote, nat.flow.remote);
    assert_eq!(invite.start(), "INVITE sip:alice@10.0.0.7:5060 SIP/2.0");
    // The NAT finds another port, and the phone's next REGISTER tells.
    nat.flow = phone("203.0.113.5:32000");
    nat.sign_in(&mut desk, "").is("200");
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    let reinvite = desk.next();
    assert_eq!(reinvite.is("INVITE").flow.remote, nat.flow.remote);
    desk.hear(&nat.flow, &reply(&reinvite, "200 OK", "", "", OFFER));
    desk.next().is("ACK");
    let mut peer = Peer::called_by(&invite, "callee");
    peer.contact = "<sip:alice@10.0.0.7:5060>".to_owned();
    let elsewhere = phone("203.0.113.5:33000");
    let options = peer.request("OPTIONS", "", "");
    desk.hear(&elsewhere, &options);
    desk.next().is("200");
    desk.command(leg, LegCommand::End(Cause::Normal));
    assert_eq!(desk.next().is("BYE").flow.remote, elsewhere.remote);
}

/// A phone that is where it says is reached there, whatever port it sends from.
#[test]
fn a_phone_without_a_nat_is_reached_at_its_contact() {
    let mut desk = Desk::new();
    let mut direct = Phone::new("alice", phone("203.0.113.5:40000"));
    direct.contact = "<sip:alice@203.0.113.5:5062>".to_owned();
    direct.sign_in(&mut desk, "").is("200");
    let (leg, invite) = up(&mut desk, "alice", "<sip:alice@203.0.113.5:5062>");
    assert_eq!(invite.flow.remote.port(), 5062);
    desk.command(leg, LegCommand::End(Cause::Normal));
    assert_eq!(desk.next().is("BYE").flow.remote.port(), 5062);
}
