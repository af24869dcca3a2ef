//! Browsers that lose their connection in mid-call and come back: what waits, what goes on, and
//! what is lost after the window.

use crosspoint_base::{ConnectionId, Flow, LegId, Transport};
use crosspoint_call::{Cause, Digit, LegCommand, LegEvent, Reach};

use crate::harness::{
    Desk, HOLD, OFFER, OURS, Peer, Sent, browser, millis, phone, reply, sdp, secs,
};
use crate::phones::Phone;

const OUTBOUND: &str = "Supported: outbound, path";
const CONTACT: &str = "Contact: <sip:alice-web@k3j2h1.invalid;transport=ws>";

/// A browser of a library that keeps its transactions over a reconnect.
fn sipjs() -> Phone {
    Phone::browser("alice", browser(1))
}

/// One that drops them.
fn jssip() -> Phone {
    sipjs().with_agent("JsSIP 3.13.8")
}

/// Comes back over another connection.
#[track_caller]
fn back(desk: &mut Desk, web: &mut Phone, connection: u64) {
    web.flow = browser(connection);
    web.sign_in(desk, OUTBOUND).is("200");
}

/// Calls the only binding of alice.
#[track_caller]
fn call(desk: &mut Desk) -> (LegId, Sent) {
    let (binding, _) = desk.ua.bindings_of("alice").next().unwrap();
    desk.call(Reach::Binding(binding))
}

/// A call to alice that was answered a while ago.
#[track_caller]
fn up(desk: &mut Desk, web: &mut Phone) -> (LegId, Peer) {
    web.sign_in(desk, OUTBOUND).is("200");
    let (leg, invite) = call(desk);
    desk.hear(&web.flow, &reply(&invite, "200 OK", "callee", CONTACT, OFFER));
    desk.next().is("ACK");
    assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
    desk.pass(secs(40));
    let mut peer = Peer::called_by(&invite, "callee");
    peer.contact = CONTACT.replace("Contact: ", "");
    (leg, peer)
}

/// A call that alice makes and that we have not answered.
#[track_caller]
fn made(desk: &mut Desk, web: &mut Phone) -> (LegId, Peer) {
    web.sign_in(desk, OUTBOUND).is("200");
    let mut peer = Peer::caller();
    peer.flow = web.flow;
    peer.local = "<sip:alice@gateway.test>;tag=made".to_owned();
    peer.contact = CONTACT.replace("Contact: ", "");
    let agent = web.agent_line();
    let first = peer.invite(&agent, OFFER);
    desk.hear(&web.flow, &first);
    let refusal = desk.next();
    desk.hear(&web.flow, &Peer::in_transaction(&first, "ACK", &refusal.header("To")));
    let challenge = web.challenge.take();
    web.challenged(refusal.is("407"));
    let value = web.authorization("INVITE", &peer.target);
    web.challenge = challenge;
    web.nonce_count = 9;
    let second = peer.invite(&format!("{agent}{value}"), OFFER);
    desk.hear(&web.flow, &second);
    let (leg, LegEvent::Offer(_)) = desk.event() else { panic!("no call") };
    (leg, peer)
}

fn digit() -> LegCommand {
    LegCommand::Dtmf(Digit::new('5').unwrap(), millis(160))
}

#[test]
fn requests_wait_for_a_browser_that_is_away() {
    let (mut desk, mut web) = (Desk::new(), sipjs());
    let (leg, _) = up(&mut desk, &mut web);
    desk.close(1);
    desk.command(leg, digit());
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    desk.pass(secs(20));
    desk.nothing();
    desk.quiet();
    back(&mut desk, &mut web, 2);
    let info = desk.next();
    let reinvite = desk.next();
    assert_eq!((info.is("INFO").flow, reinvite.is("INVITE").flow), (browser(2), browser(2)));
    desk.nothing();
    desk.hear(&browser(2), &reply(&info, "200 OK", "", "", ""));
    desk.hear(&browser(2), &reply(&reinvite, "200 OK", "", CONTACT, HOLD));
    desk.next().is("ACK");
    assert!(matches!(desk.event(), (_, LegEvent::Reanswer(_))));
    // The window is closed again: nothing ends later.
    desk.pass(secs(60));
    desk.quiet();
    desk.command(leg, LegCommand::End(Cause::Normal));
    let bye = desk.next();
    desk.ended(leg, Cause::Normal);
    desk.hear(&browser(2), &reply(&bye, "200 OK", "", "", ""));
    desk.leaves_nothing();
}

/// The far end hangs up meanwhile: the call is over at once, and the browser hears it later.
#[test]
fn a_browser_that_was_away_hears_that_its_call_is_over() {
    let (mut desk, mut web) = (Desk::new(), sipjs());
    let (leg, _) = up(&mut desk, &mut web);
    desk.close(1);
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    desk.command(leg, LegCommand::End(Cause::Normal));
    desk.ended(leg, Cause::Normal);
    desk.pass(secs(15));
    desk.nothing();
    back(&mut desk, &mut web, 2);
    let bye = desk.next();
    assert_eq!(bye.is("BYE").flow, browser(2));
    desk.nothing();
    desk.hear(&browser(2), &reply(&bye, "200 OK", "", "", ""));
    desk.leaves_nothing();
    desk.quiet();
}

/// The connection broke with our BYE on its way.
#[test]
fn a_bye_that_was_not_answered_is_sent_again() {
    let (mut desk, mut web) = (Desk::new(), sipjs());
    let (leg, _) = up(&mut desk, &mut web);
    desk.command(leg, LegCommand::End(Cause::Normal));
    desk.ended(leg, Cause::Normal);
    let bye = desk.next();
    desk.close(1);
    back(&mut desk, &mut web, 2);
    let again = desk.next();
    assert_eq!((again.flow, &again.text), (browser(2), &bye.text));
    desk.hear(&browser(2), &reply(&again, "481 Gone", "", "", ""));
    desk.leaves_nothing();
    desk.nothing();
}

/// The connection broke with our re-INVITE on its way: it is the same request that goes again.
#[test]
fn a_reinvite_that_was_not_answered_is_sent_again() {
    for notices in [true, false] {
        let (mut desk, mut web) = (Desk::new(), sipjs());
        let (leg, _) = up(&mut desk, &mut web);
        desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
        let reinvite = desk.next();
        // A network that goes without a word is not noticed before the browser is back.
        if notices {
            desk.close(1);
        }
        back(&mut desk, &mut web, 2);
        let again = desk.next();
        assert_eq!((again.flow, &again.text), (browser(2), &reinvite.text));
        if !notices {
            desk.close(1);
        }
        desk.hear(&browser(2), &reply(&again, "200 OK", "", CONTACT, HOLD));
        assert_eq!(desk.next().is("ACK").flow, browser(2));
        assert!(matches!(desk.event(), (_, LegEvent::Reanswer(_))));
        desk.quiet();
    }
}

/// The window is over: the far party hears of it, and a browser that comes later still, too.
#[test]
fn a_browser_that_stays_away_loses_its_calls() {
    let mut desk = Desk::with(|config| config.resume_window = secs(12));
    let mut web = sipjs();
    let (leg, _) = up(&mut desk, &mut web);
    desk.close(1);
    desk.pass(millis(11_999));
    desk.quiet();
    desk.pass(millis(1));
    desk.ended(leg, Cause::SignalingLost);
    desk.nothing();
    desk.pass(secs(11));
    back(&mut desk, &mut web, 2);
    desk.next().is("BYE").has("Reason", "X.int;text=\"Signaling lost\"");
    desk.leaves_nothing();
}

#[test]
fn a_browser_that_never_comes_back_leaves_nothing() {
    let (mut desk, mut web) = (Desk::new(), sipjs());
    let (leg, _) = up(&mut desk, &mut web);
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    desk.next().is("INVITE");
    desk.close(1);
    desk.command(leg, digit());
    desk.pass(secs(30));
    desk.ended(leg, Cause::SignalingLost);
    desk.leaves_nothing();
    desk.nothing();
    desk.quiet();
}

/// The session has to be refreshed while it is away: that waits as well.
#[test]
fn a_session_refresh_waits() {
    let (mut desk, mut web) = (Desk::new(), sipjs());
    web.sign_in(&mut desk, OUTBOUND).is("200");
    let (leg, invite) = call(&mut desk);
    let extra =
        format!("{CONTACT}\nAllow: UPDATE\nRequire: timer\nSession-Expires: 90;refresher=uac");
    desk.hear(&web.flow, &reply(&invite, "200 OK", "callee", &extra, OFFER));
    desk.next().is("ACK");
    desk.event();
    desk.pass(secs(40));
    desk.close(1);
    desk.pass(secs(10));
    desk.nothing();
    back(&mut desk, &mut web, 2);
    let update = desk.next();
    assert_eq!(update.is("UPDATE").flow, browser(2));
    let extra = format!("{CONTACT}\nSession-Expires: 90;refresher=uac");
    desk.hear(&browser(2), &reply(&update, "200 OK", "", &extra, ""));
    desk.pass(secs(40));
    desk.quiet();
    assert_eq!(desk.ua.legs(), 1, "{leg}");
}

/// A browser speaks in the dialog over its new connection before it has signed in there.
#[test]
fn a_request_over_another_connection_is_a_sign_of_life() {
    let (mut desk, mut web) = (Desk::new(), sipjs());
    let (leg, mut peer) = up(&mut desk, &mut web);
    desk.close(1);
    desk.command(leg, digit());
    peer.flow = browser(2);
    let info = peer.request("OPTIONS", "", "");
    desk.hear(&browser(2), &info);
    assert_eq!(desk.next().is("INFO").flow, browser(2));
    desk.next().is("200");
    desk.pass(secs(31));
    assert!(desk.events().is_empty());
    let bye = peer.request("BYE", "", "");
    desk.hear(&browser(2), &bye);
    desk.ended(leg, Cause::Normal);
}

/// It rings at a browser that keeps its transactions: the repeat changes nothing for it.
#[test]
fn ringing_goes_on_over_the_new_connection() {
    for rang in [true, false] {
        let (mut desk, mut web) = (Desk::new(), sipjs());
        web.sign_in(&mut desk, OUTBOUND).is("200");
        let (leg, invite) = call(&mut desk);
        if rang {
            desk.hear(&browser(1), &reply(&invite, "180 Ringing", "callee", CONTACT, ""));
            assert!(matches!(desk.event(), (_, LegEvent::Ringing)));
        }
        desk.close(1);
        desk.pass(secs(29));
        desk.quiet();
        back(&mut desk, &mut web, 2);
        let again = desk.next();
        assert_eq!((again.flow, &again.text), (browser(2), &invite.text));
        desk.hear(&browser(2), &reply(&again, "200 OK", "callee", CONTACT, OFFER));
        assert_eq!(desk.next().is("ACK").flow, browser(2));
        assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
        desk.command(leg, LegCommand::End(Cause::Normal));
        assert_eq!(desk.next().is("BYE").flow, browser(2));
    }
}

/// The answer comes over the new connection, before the browser has signed in there.
#[test]
fn an_answer_over_another_connection_counts() {
    let (mut desk, mut web) = (Desk::new(), sipjs());
    web.sign_in(&mut desk, OUTBOUND).is("200");
    let (leg, invite) = call(&mut desk);
    desk.hear(&browser(1), &reply(&invite, "180 Ringing", "callee", CONTACT, ""));
    desk.event();
    desk.close(1);
    desk.hear(&browser(2), &reply(&invite, "200 OK", "callee", CONTACT, OFFER));
    let sent = desk.all();
    let ack = sent.iter().find(|s| s.what() == "ACK").unwrap();
    assert_eq!(ack.flow, browser(2));
    assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
    desk.pass(secs(31));
    desk.quiet();
    assert_eq!(desk.ua.legs(), 1, "{leg}");
}

/// JsSIP cannot answer what rang before: that is ended, and the call rings there anew.
#[test]
fn ringing_begins_anew_where_the_transaction_is_lost() {
    let (mut desk, mut web) = (Desk::new(), jssip());
    web.sign_in(&mut desk, OUTBOUND).is("200");
    let (leg, invite) = call(&mut desk);
    desk.hear(&browser(1), &reply(&invite, "180 Ringing", "first", CONTACT, ""));
    desk.event();
    desk.close(1);
    back(&mut desk, &mut web, 2);
    let bye = desk.next();
    assert_eq!(bye.is("BYE").flow, browser(2));
    assert_eq!(bye.tag("To"), "first");
    let again = desk.next();
    assert_eq!((again.flow, &again.text), (browser(2), &invite.text));
    desk.hear(&browser(2), &reply(&bye, "200 OK", "", "", ""));
    desk.hear(&browser(2), &reply(&again, "180 Ringing", "second", CONTACT, ""));
    desk.quiet();
    desk.hear(&browser(2), &reply(&again, "200 OK", "second", CONTACT, OFFER));
    desk.next().is("ACK");
    assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
    desk.command(leg, LegCommand::End(Cause::Normal));
    let bye = desk.next();
    assert_eq!(bye.is("BYE").tag("To"), "second");
}

/// A library that forgot its transaction and goes by another name shows itself by another tag.
#[test]
fn what_rings_twice_is_ended_once() {
    let (mut desk, mut web) = (Desk::new(), sipjs());
    web.sign_in(&mut desk, OUTBOUND).is("200");
    let (_, invite) = call(&mut desk);
    desk.hear(&browser(1), &reply(&invite, "180 Ringing", "first", CONTACT, ""));
    desk.event();
    desk.close(1);
    back(&mut desk, &mut web, 2);
    let again = desk.next();
    desk.hear(&browser(2), &reply(&again, "180 Ringing", "second", CONTACT, ""));
    let bye = desk.next();
    assert_eq!((bye.is("BYE").flow, bye.tag("To")), (browser(2), "first".to_owned()));
    desk.hear(&browser(2), &reply(&again, "180 Ringing", "second", CONTACT, ""));
    desk.nothing();
    desk.hear(&browser(2), &reply(&again, "200 OK", "second", CONTACT, OFFER));
    desk.next().is("ACK");
    assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
}

/// The first ringing was lost with the connection: nobody knows that dialog, so nothing can be
/// said about it, but the call rings anew and is answered.
#[test]
fn what_rang_unheard_rings_anew() {
    let (mut desk, mut web) = (Desk::new(), jssip());
    web.sign_in(&mut desk, OUTBOUND).is("200");
    let (leg, invite) = call(&mut desk);
    desk.close(1);
    back(&mut desk, &mut web, 2);
    let again = desk.next();
    assert_eq!((again.flow, &again.text), (browser(2), &invite.text));
    desk.hear(&browser(2), &reply(&again, "180 Ringing", "second", CONTACT, ""));
    assert!(matches!(desk.event(), (_, LegEvent::Ringing)));
    desk.hear(&browser(2), &reply(&again, "200 OK", "second", CONTACT, OFFER));
    desk.next().is("ACK");
    assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
    desk.command(leg, LegCommand::End(Cause::Normal));
    assert_eq!(desk.next().is("BYE").tag("To"), "second");
}

/// The sign-in over the new connection is handled before the last words over the old one, and
/// before its end: the call stays where the browser is now, and what rang there first is ended.
#[test]
fn words_over_the_old_connection_that_come_late_move_nothing() {
    for rang_anew in [false, true] {
        let (mut desk, mut web) = (Desk::new(), jssip());
        web.sign_in(&mut desk, OUTBOUND).is("200");
        let (_, invite) = call(&mut desk);
        back(&mut desk, &mut web, 2);
        let again = desk.next();
        assert_eq!((again.flow, &again.text), (browser(2), &invite.text));
        if rang_anew {
            desk.hear(&browser(2), &reply(&again, "180 Ringing", "second", CONTACT, ""));
        }
        desk.hear(&browser(1), &reply(&invite, "180 Ringing", "first", CONTACT, ""));
        desk.close(1);
        if !rang_anew {
            desk.hear(&browser(2), &reply(&again, "180 Ringing", "second", CONTACT, ""));
        }
        let bye = desk.next();
        assert_eq!((bye.is("BYE").flow, bye.tag("To")), (browser(2), "first".to_owned()));
        desk.hear(&browser(2), &reply(&bye, "200 OK", "", "", ""));
        assert!(matches!(desk.event(), (_, LegEvent::Ringing)));
        desk.pass(secs(35));
        desk.quiet();
        desk.hear(&browser(2), &reply(&again, "200 OK", "second", CONTACT, OFFER));
        desk.next().is("ACK");
        assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
    }
}

/// The caller gave up, or waited in vain: the browser that comes back stops ringing.
#[test]
fn a_call_given_up_meanwhile_stops_ringing_when_the_browser_is_back() {
    for (mut web, last) in [(sipjs(), "CANCEL"), (jssip(), "BYE")] {
        for in_vain in [false, true] {
            let mut desk = Desk::new();
            web.flow = browser(1);
            web.challenge = None;
            web.sign_in(&mut desk, OUTBOUND).is("200");
            let (leg, invite) = call(&mut desk);
            desk.hear(&browser(1), &reply(&invite, "180 Ringing", "first", CONTACT, ""));
            desk.event();
            desk.close(1);
            if in_vain {
                desk.pass(secs(30));
                desk.ended(leg, Cause::Unavailable);
            } else {
                desk.command(leg, LegCommand::End(Cause::AnsweredElsewhere));
                desk.ended(leg, Cause::AnsweredElsewhere);
            }
            desk.nothing();
            back(&mut desk, &mut web, 2);
            let told = desk.next();
            assert_eq!(told.is(last).flow, browser(2));
            desk.nothing();
            desk.hear(&browser(2), &reply(&told, "200 OK", "", "", ""));
            if last == "CANCEL" {
                desk.hear(&browser(2), &reply(&invite, "487 Cancelled", "first", "", ""));
                desk.next().is("ACK");
            }
            desk.leaves_nothing();
            desk.quiet();
        }
    }
}

/// A caller whose library gave the call up with its connection has left it.
#[test]
fn a_caller_that_forgot_its_call_ends_it() {
    let (mut desk, mut web) = (Desk::new(), jssip());
    let (leg, _) = made(&mut desk, &mut web);
    desk.command(leg, LegCommand::Ringing);
    desk.next().is("180");
    desk.close(1);
    desk.ended(leg, Cause::SignalingLost);
    desk.all();
    desk.leaves_nothing();
}

/// Another one waits on: what it missed is said again, and the answer reaches it.
#[test]
fn a_caller_gets_its_answer_over_the_new_connection() {
    for answered_meanwhile in [false, true] {
        let (mut desk, mut web) = (Desk::new(), sipjs());
        let (leg, mut peer) = made(&mut desk, &mut web);
        desk.command(leg, LegCommand::Ringing);
        desk.next().is("180");
        desk.close(1);
        if answered_meanwhile {
            desk.command(leg, LegCommand::Answer(sdp(OURS)));
        }
        desk.all();
        desk.pass(secs(1));
        desk.all();
        back(&mut desk, &mut web, 2);
        let heard = desk.next();
        let answer = if answered_meanwhile {
            heard
        } else {
            assert_eq!(heard.is("180").flow, browser(2));
            desk.command(leg, LegCommand::Answer(sdp(OURS)));
            desk.next()
        };
        assert_eq!(answer.is("200").flow, browser(2));
        peer.flow = browser(2);
        peer.joins(&answer);
        let ack = peer.ack("");
        desk.hear(&browser(2), &ack);
        assert!(matches!(desk.event(), (_, LegEvent::Confirm(None))));
        desk.command(leg, LegCommand::End(Cause::Normal));
        assert_eq!(desk.next().is("BYE").flow, browser(2));
    }
}

/// A caller that was refused while it was away hears of it.
#[test]
fn a_caller_hears_of_a_refusal_when_it_is_back() {
    let (mut desk, mut web) = (Desk::new(), sipjs());
    let (leg, _) = made(&mut desk, &mut web);
    desk.close(1);
    desk.command(leg, LegCommand::End(Cause::Busy));
    desk.ended(leg, Cause::Busy);
    desk.all();
    back(&mut desk, &mut web, 2);
    assert_eq!(desk.next().is("486").flow, browser(2));
    desk.leaves_nothing();
}

/// A re-INVITE of its own was being answered when the connection broke.
#[test]
fn the_answer_to_its_reinvite_reaches_it_over_the_new_connection() {
    let (mut desk, mut web) = (Desk::new(), sipjs());
    let (leg, mut peer) = up(&mut desk, &mut web);
    let reinvite = peer.invite("", HOLD);
    desk.hear(&browser(1), &reinvite);
    assert!(matches!(desk.event(), (_, LegEvent::Reoffer(Some(_)))));
    desk.close(1);
    back(&mut desk, &mut web, 2);
    desk.all();
    desk.command(leg, LegCommand::Reanswer(sdp(OURS)));
    assert_eq!(desk.next().is("200").flow, browser(2));
}

/// From another network it comes back without its old media path: the call has it offered anew.
#[test]
fn a_browser_from_another_network_is_offered_a_new_media_path() {
    let (mut desk, mut web) = (Desk::new(), sipjs());
    let (leg, _) = up(&mut desk, &mut web);
    desk.close(1);
    back(&mut desk, &mut web, 2);
    desk.quiet();
    for notices in [true, false] {
        let number = if notices { 3 } else { 4 };
        let away =
            Flow { remote: phone(&format!("192.0.2.{number}9:4000")).remote, ..browser(number) };
        if notices {
            desk.close(2);
        }
        web.flow = away;
        web.sign_in(&mut desk, OUTBOUND).is("200");
        assert!(matches!(desk.event(), (id, LegEvent::Moved) if id == leg));
        desk.quiet();
        desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
        let reinvite = desk.next();
        assert_eq!(reinvite.is("INVITE").flow, away);
        desk.hear(&away, &reply(&reinvite, "200 OK", "", CONTACT, OFFER));
        desk.next().is("ACK");
        desk.event();
        desk.pass(secs(40));
    }
}

/// Another user with the same instance, or another device of the same user, moves nothing.
#[test]
fn nobody_elses_sign_in_moves_a_call() {
    let (mut desk, mut web) = (Desk::new(), sipjs());
    let (leg, _) = up(&mut desk, &mut web);
    desk.close(1);
    let mut bob = Phone::browser("bob", browser(2));
    bob.contact = web.contact.clone();
    bob.sign_in(&mut desk, OUTBOUND).is("200");
    let mut other = Phone::browser("alice", browser(3));
    other.contact = other.contact.replace("00-alice", "11-alice").replace("alice-web", "other");
    other.call_id = "other".to_owned();
    other.sign_in(&mut desk, OUTBOUND).is("200");
    desk.command(leg, digit());
    desk.nothing();
    back(&mut desk, &mut web, 4);
    assert_eq!(desk.next().is("INFO").flow, browser(4));
}

/// A library that names no instance is known by the name it drew for its Contact.
#[test]
fn a_browser_without_an_instance_is_known_by_its_contact() {
    let (mut desk, mut web) = (Desk::new(), sipjs());
    web.contact = "<sip:alice-web@k3j2h1.invalid;transport=ws>".to_owned();
    let (leg, _) = up(&mut desk, &mut web);
    desk.close(1);
    web.contact = "<sip:alice-web@other.invalid;transport=ws>;expires=600".to_owned();
    back(&mut desk, &mut web, 2);
    desk.command(leg, digit());
    assert_eq!(desk.next().is("INFO").flow, browser(2));
}

/// A phone over TCP keeps its calls in the same way.
#[test]
fn a_phone_that_reconnects_keeps_its_call() {
    let over = |connection| Flow {
        transport: Transport::Tcp,
        connection: Some(ConnectionId(connection)),
        ..phone("203.0.113.5:40000")
    };
    let (mut desk, mut desk_phone) = (Desk::new(), Phone::new("alice", over(1)));
    desk_phone.sign_in(&mut desk, "").is("200");
    let (leg, invite) = call(&mut desk);
    desk.hear(&over(1), &reply(&invite, "200 OK", "callee", "", OFFER));
    desk.next().is("ACK");
    desk.event();
    desk.pass(secs(40));
    desk.close(1);
    desk.command(leg, LegCommand::End(Cause::Normal));
    desk.ended(leg, Cause::Normal);
    desk.nothing();
    desk_phone.flow = over(2);
    desk_phone.sign_in(&mut desk, "").is("200");
    assert_eq!(desk.next().is("BYE").flow, over(2));
}

/// A phone may close a connection that is idle. One that can be reached where it says it is gets
/// another, one behind a NAT is waited for once there is something to tell it.
#[test]
fn a_phone_may_close_its_idle_connection() {
    let over = |connection| Flow {
        transport: Transport::Tcp,
        connection: Some(ConnectionId(connection)),
        ..phone("203.0.113.5:40000")
    };
    for (contact, is_reachable) in
        [("203.0.113.5:5070", true), ("10.0.0.7:5070", false), ("phone.invalid", false)]
    {
        let (mut desk, mut desk_phone) = (Desk::new(), Phone::new("alice", over(1)));
        desk_phone.sign_in(&mut desk, "").is("200");
        let (leg, invite) = call(&mut desk);
        let contact = format!("Contact: <sip:alice@{contact};transport=tcp>");
        desk.hear(&over(1), &reply(&invite, "200 OK", "callee", &contact, OFFER));
        desk.next().is("ACK");
        desk.event();
        desk.close(1);
        desk.pass(secs(600));
        desk.quiet();
        desk.command(leg, digit());
        if is_reachable {
            let info = desk.next();
            let there = Flow { connection: None, ..phone("203.0.113.5:5070") };
            assert_eq!(info.is("INFO").flow, Flow { transport: Transport::Tcp, ..there });
            // What fails there ends the call.
            desk.unreachable(&info.flow);
        } else {
            desk.nothing();
            desk.pass(secs(30));
        }
        desk.ended(leg, Cause::SignalingLost);
    }
}

/// What waits for one device is bounded.
#[test]
fn what_waits_is_bounded() {
    let (mut desk, mut web) = (Desk::new(), sipjs());
    let (leg, _) = up(&mut desk, &mut web);
    desk.close(1);
    for _ in 0..1000 {
        desk.command(leg, digit());
    }
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    assert_eq!(desk.ua.transactions(), 33);
    back(&mut desk, &mut web, 2);
    assert_eq!(desk.all().len(), 33);
    // And so are the calls that nobody could be told of.
    let mut desk = Desk::with(|config| {
        config.max_legs = 2;
        config.resume_window = secs(250);
    });
    let mut web = sipjs();
    for number in 1..=5 {
        web.flow = browser(number);
        web.contact = sipjs().contact.replace("00-", &format!("{number}-"));
        web.call_id += "x";
        let (leg, _) = up(&mut desk, &mut web);
        desk.close(number);
        desk.command(leg, LegCommand::End(Cause::Normal));
        desk.ended(leg, Cause::Normal);
    }
    assert!(desk.ua.transactions() <= 2);
    desk.leaves_nothing();
}
