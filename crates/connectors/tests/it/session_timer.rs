//! Session timers (RFC 4028): who refreshes, when, and what happens when nobody does.

use crosspoint_call::{Cause, LegCommand, LegEvent};

use crate::harness::{Desk, HOLD, OFFER, OURS, Peer, Sent, millis, reply, sdp, secs, trunk};

const TIMER: &str = "Supported: timer\nAllow: INVITE, ACK, BYE, UPDATE";

/// An incoming call with these headers up to its ACK; the 200.
fn up(desk: &mut Desk, peer: &mut Peer, extra: &str) -> Sent {
    desk.incoming_up(peer, &format!("{TIMER}\n{extra}")).1
}

/// RFC 4028 §9: an interval below ours is refused with what we take.
#[test]
fn too_small_an_interval_gets_422_with_min_se() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let invite = peer.invite("Supported: timer\nSession-Expires: 60", OFFER);
    desk.hear(&peer.flow, &invite);
    let refusal = desk.next();
    refusal.is("422").has("Min-SE", "90").has("CSeq", "1 INVITE");
    desk.hear(&peer.flow, &Peer::in_transaction(&invite, "ACK", &refusal.header("To")));
    desk.quiet();
    let answer = up(&mut desk, &mut peer, "Session-Expires: 90");
    answer.has("Session-Expires", "90;refresher=uac").has("Require", "timer");
}

/// The same inside the call: the interval that was agreed stays.
#[test]
fn too_small_an_interval_in_a_refresh_gets_422_too() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    up(&mut desk, &mut peer, "Session-Expires: 120;refresher=uac");
    for method in ["UPDATE", "INVITE"] {
        let body = if method == "INVITE" { OFFER } else { "" };
        let refresh = peer.request(method, "Supported: timer\nx: 89;refresher=uac", body);
        desk.hear(&peer.flow, &refresh);
        desk.next().is("422").has("Min-SE", "90");
        if method == "INVITE" {
            desk.hear(&peer.flow, &Peer::in_transaction(&refresh, "ACK", &peer.remote));
        }
    }
    desk.quiet();
    desk.pass(secs(88));
    desk.next().is("BYE");
}

/// A caller that knows no timers is not refused for what a proxy asked; then we refresh.
#[test]
fn where_only_a_proxy_asks_we_refresh() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let (_, answer) = desk.incoming_up(&mut peer, "Session-Expires: 100");
    answer.has("Session-Expires", "100;refresher=uas").lacks("Require");
    // The caller does not take UPDATE: the refresh is a re-INVITE with what stands.
    desk.pass(secs(50));
    let refresh = desk.next();
    refresh.is("INVITE").has("Session-Expires", "100;refresher=uac");
    assert_eq!(refresh.body(), OURS);
}

#[test]
fn without_any_wish_for_timers_there_are_none() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let (_, answer) = desk.incoming_up(&mut peer, "");
    answer.lacks("Session-Expires").lacks("Require");
    desk.pass(secs(7200));
    desk.nothing();
    desk.quiet();
}

/// A caller that knows timers and asks for nothing is given our interval.
#[test]
fn our_own_interval_is_asked_for_where_nobody_names_one() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let answer = up(&mut desk, &mut peer, "");
    answer.has("Session-Expires", "1800;refresher=uac").has("Require", "timer");
}

/// refresher=uac: the caller refreshes. When it does not: BYE, 32 s before the end at most.
#[test]
fn a_caller_that_does_not_refresh_is_hung_up() {
    for (interval, at) in [(90, 60), (1800, 1768)] {
        let (mut desk, mut peer) = (Desk::new(), Peer::caller());
        up(&mut desk, &mut peer, &format!("Session-Expires: {interval};refresher=uac"));
        desk.pass(secs(at) - millis(1));
        desk.nothing();
        desk.quiet();
        desk.pass(millis(1));
        desk.next().is("BYE").has("Reason", "X.int;text=\"Signaling lost\"");
        assert!(matches!(desk.event(), (_, LegEvent::Ended(Cause::SignalingLost))));
    }
}

/// Each refresh of the caller's counts from the beginning.
#[test]
fn a_caller_that_refreshes_talks_on() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    up(&mut desk, &mut peer, "Session-Expires: 90;refresher=uac");
    for round in 0..20 {
        desk.pass(secs(45));
        let extra = "Supported: timer\nSession-Expires: 90;refresher=uac";
        let refresh = if round % 2 == 0 {
            peer.request("UPDATE", extra, "")
        } else {
            peer.invite(extra, OFFER)
        };
        desk.hear(&peer.flow, &refresh);
        if round % 2 == 1 {
            let (leg, event) = desk.event();
            assert!(matches!(event, LegEvent::Reoffer(Some(_))));
            desk.command(leg, LegCommand::Reanswer(sdp(OURS)));
        }
        let answer = desk.next();
        answer.is("200").has("Session-Expires", "90;refresher=uac").has("Require", "timer");
        if round % 2 == 1 {
            let ack = peer.ack("");
            desk.hear(&peer.flow, &ack);
            assert!(matches!(desk.event(), (_, LegEvent::Confirm(None))));
        }
    }
    desk.nothing();
    desk.quiet();
}

/// refresher=uas: we refresh, at half the interval, by UPDATE where the peer takes it.
#[test]
fn as_the_called_side_we_refresh_at_half_the_interval() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let answer = up(&mut desk, &mut peer, "Session-Expires: 300;refresher=uas");
    answer.has("Session-Expires", "300;refresher=uas").lacks("Require");
    for round in 1..4 {
        desk.pass(secs(150) - millis(1));
        desk.nothing();
        desk.pass(millis(1));
        let refresh = desk.next();
        refresh.is("UPDATE").has("Session-Expires", "300;refresher=uac").has("Min-SE", "90");
        refresh.has("CSeq", &format!("{round} UPDATE"));
        assert!(refresh.header("Supported").contains("timer"));
        assert_eq!(refresh.body(), "");
        let extra = "Session-Expires: 300;refresher=uac\nRequire: timer";
        desk.hear(&peer.flow, &reply(&refresh, "200 OK", "", extra, ""));
    }
    desk.quiet();
}

/// The answer to our refresh may hand the duty over.
#[test]
fn the_duty_to_refresh_can_change_sides() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    up(&mut desk, &mut peer, "Session-Expires: 300;refresher=uas");
    desk.pass(secs(150));
    let refresh = desk.next();
    let extra = "Session-Expires: 200;refresher=uas";
    desk.hear(&peer.flow, &reply(&refresh, "200 OK", "", extra, ""));
    desk.pass(secs(168) - millis(1));
    desk.nothing();
    desk.pass(millis(1));
    desk.next().is("BYE");
    // And a refresh of the peer's may hand it to us.
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    up(&mut desk, &mut peer, "Session-Expires: 300;refresher=uac");
    let update = peer.request("UPDATE", "Supported: timer\nx: 200;refresher=uas", "");
    desk.hear(&peer.flow, &update);
    desk.next().is("200").has("Session-Expires", "200;refresher=uas");
    desk.pass(secs(100));
    desk.next().is("UPDATE");
}

/// RFC 4028 §10: a refresh that finds nobody ends the call.
#[test]
fn a_refresh_that_fails_ends_the_call() {
    for status in ["481 Call/Transaction Does Not Exist", "408 Request Timeout"] {
        let (mut desk, mut peer) = (Desk::new(), Peer::caller());
        up(&mut desk, &mut peer, "Session-Expires: 300;refresher=uas");
        desk.pass(secs(150));
        let refresh = desk.next();
        desk.hear(&peer.flow, &reply(&refresh, status, "", "", ""));
        desk.next().is("BYE");
        assert!(matches!(desk.event(), (_, LegEvent::Ended(Cause::SignalingLost))));
    }
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    up(&mut desk, &mut peer, "Session-Expires: 300;refresher=uas");
    desk.pass(secs(150 + 32));
    assert!(desk.all().pop().unwrap().what() == "BYE", "nobody answered");
}

/// Another failure is tried again, and the call is given up before the interval has run out.
#[test]
fn a_refused_refresh_is_tried_again_before_the_end() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    up(&mut desk, &mut peer, "Session-Expires: 300;refresher=uas");
    let mut tries = 0;
    desk.pass(secs(150));
    loop {
        let sent = desk.next();
        if sent.what() == "BYE" {
            assert_eq!(sent.at, secs(268));
            break;
        }
        sent.is("UPDATE");
        tries += 1;
        desk.hear(&peer.flow, &reply(&sent, "500 Server Internal Error", "", "", ""));
        desk.pass(millis(37_500).min(secs(268) - sent.at));
    }
    assert_eq!(tries, 4);
}

/// RFC 4028 §7.3: our INVITE is refused for its interval and tried again, by each proxy.
#[test]
fn a_422_is_answered_with_a_longer_interval() {
    let mut desk = Desk::new();
    let (_, mut invite) = desk.call_out();
    invite.has("Session-Expires", "1800").has("Min-SE", "90").has("CSeq", "1 INVITE");
    for (round, (least, expires)) in [("600", "1800"), ("3600", "3600")].iter().enumerate() {
        let extra = format!("Min-SE: {least}");
        desk.hear(&trunk(), &reply(&invite, "422 Session Interval Too Small", "p", &extra, ""));
        desk.next().is("ACK");
        let again = desk.next();
        again.is("INVITE").has("Session-Expires", expires).has("Min-SE", least);
        again.has("CSeq", &format!("{} INVITE", round + 2));
        again.has("Call-ID", &invite.header("Call-ID")).has("From", &invite.header("From"));
        again.has("To", &invite.header("To"));
        assert_ne!(again.header("Via"), invite.header("Via"));
        invite = again;
    }
    let extra = "Session-Expires: 3600;refresher=uac\nRequire: timer\nAllow: UPDATE";
    desk.hear(&trunk(), &reply(&invite, "200 OK", "callee", extra, OFFER));
    desk.next().is("ACK").has("CSeq", "3 ACK");
    desk.pass(secs(1800));
    let refresh = desk.next();
    refresh.is("UPDATE").has("Session-Expires", "3600;refresher=uac").has("Min-SE", "3600");
}

/// A proxy that is never content, or that names no interval, ends the attempt.
#[test]
fn a_422_without_end_is_given_up() {
    let mut desk = Desk::new();
    let (leg, mut invite) = desk.call_out();
    for round in 0..5_u32 {
        let extra = format!("Min-SE: {}", 2000 + round);
        desk.hear(&trunk(), &reply(&invite, "422 Session Interval Too Small", "p", &extra, ""));
        desk.next().is("ACK");
        if round < 4 {
            invite = desk.next();
        }
    }
    desk.nothing();
    desk.ended(leg, Cause::NetworkFailure);
    for extra in ["", "Min-SE: 90", "Min-SE: x"] {
        let mut desk = Desk::new();
        let (leg, invite) = desk.call_out();
        desk.hear(&trunk(), &reply(&invite, "422 Session Interval Too Small", "p", extra, ""));
        desk.next().is("ACK");
        desk.nothing();
        desk.ended(leg, Cause::NetworkFailure);
    }
}

/// A refresh of ours that is refused for its interval goes out again with a longer one.
#[test]
fn a_refresh_that_gets_422_is_sent_with_a_longer_interval() {
    let mut desk = Desk::new();
    let (leg, peer) = desk.outgoing_up("Session-Expires: 100;refresher=uac\nAllow: UPDATE");
    desk.pass(secs(50));
    let refresh = desk.next();
    let extra = "Min-SE: 400";
    desk.hear(&peer.flow, &reply(&refresh, "422 Session Interval Too Small", "", extra, ""));
    let again = desk.next();
    again.is("UPDATE").has("Session-Expires", "400;refresher=uac").has("Min-SE", "400");
    let extra = "Session-Expires: 400;refresher=uac";
    desk.hear(&peer.flow, &reply(&again, "200 OK", "", extra, ""));
    // The same for a new offer.
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    let offer = desk.next();
    offer.is("INVITE").has("Session-Expires", "400;refresher=uac");
    let extra = "Min-SE: 500";
    desk.hear(&peer.flow, &reply(&offer, "422 Session Interval Too Small", "", extra, ""));
    desk.next().is("ACK");
    let again = desk.next();
    again.is("INVITE").has("Session-Expires", "500;refresher=uac");
    assert_eq!(again.body(), OURS);
    desk.quiet();
}

/// As the calling side, with refresher=uas the called side refreshes.
#[test]
fn as_the_calling_side_we_watch_a_callee_that_refreshes() {
    let mut desk = Desk::new();
    let (leg, mut peer) = desk.outgoing_up("Session-Expires: 90;refresher=uas");
    desk.pass(secs(59));
    let extra = "Supported: timer\nSession-Expires: 90;refresher=uac";
    let update = peer.request("UPDATE", extra, "");
    desk.hear(&peer.flow, &update);
    desk.next().is("200").has("Session-Expires", "90;refresher=uac");
    desk.pass(secs(60) - millis(1));
    desk.nothing();
    desk.pass(millis(1));
    desk.next().is("BYE");
    desk.ended(leg, Cause::SignalingLost);
}

/// A refresh without UPDATE is a re-INVITE that the call hears nothing of, whatever comes of it.
#[test]
fn a_refresh_by_reinvite_is_no_matter_of_the_call() {
    let mut desk = Desk::new();
    let (leg, peer) = desk.outgoing_up("Session-Expires: 100;refresher=uac");
    desk.pass(secs(50));
    let refresh = desk.next();
    refresh.is("INVITE").has("Session-Expires", "100;refresher=uac");
    assert_eq!(refresh.body(), OURS);
    // Meanwhile the call wants something of its own: its turn comes when the refresh is over.
    desk.command(leg, LegCommand::Reoffer(sdp(HOLD)));
    desk.nothing();
    desk.quiet();
    let extra = "Session-Expires: 100;refresher=uac";
    desk.hear(&peer.flow, &reply(&refresh, "200 OK", "", extra, OFFER));
    desk.next().is("ACK");
    desk.quiet();
    let offer = desk.within(secs(1));
    assert_eq!(offer.is("INVITE").body(), HOLD);
    desk.hear(&peer.flow, &reply(&offer, "200 OK", "", extra, OFFER));
    desk.next().is("ACK");
    assert!(matches!(desk.event(), (_, LegEvent::Reanswer(_))));
    // A refusal of the next refresh is tried again, and not told either.
    let refresh = desk.within(secs(50));
    desk.hear(&peer.flow, &reply(&refresh, "491 Request Pending", "", "", ""));
    desk.next().is("ACK");
    desk.quiet();
    desk.within(secs(13)).is("INVITE").has("Session-Expires", "100;refresher=uac");
}

/// Numbers at the ends of their range.
#[test]
fn strange_intervals_do_no_harm() {
    for (extra, expected) in [
        ("Session-Expires: 4294967295\nMin-SE: 4294967295", "4294967295;refresher=uac"),
        ("Session-Expires: 99999999999\nMin-SE: 99999999", "99999999;refresher=uac"),
        ("Session-Expires: 99999999", "86400;refresher=uac"),
        ("Session-Expires: 1800;refresher=nobody", "1800;refresher=uac"),
        ("Session-Expires: x", "1800;refresher=uac"),
        ("Min-SE: 2000", "2000;refresher=uac"),
    ] {
        let (mut desk, mut peer) = (Desk::new(), Peer::caller());
        up(&mut desk, &mut peer, extra).has("Session-Expires", expected);
    }
}
