//! Calls that are given up, at every moment (RFC 3261 §9, §15).

use crosspoint_call::{Cause, LegCommand, LegEvent};

use crate::harness::{Desk, OFFER, OURS, Peer, reply, sdp, secs, trunk};

/// The caller gives up while it rings: 200 for the CANCEL, 487 for the INVITE.
#[test]
fn a_cancelled_call_gets_200_and_487() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let invite = peer.invite("", OFFER);
    desk.hear(&peer.flow, &invite);
    let (leg, _) = desk.event();
    desk.command(leg, LegCommand::Ringing);
    let ringing = desk.next();
    desk.hear(&peer.flow, &Peer::in_transaction(&invite, "CANCEL", &peer.remote));
    let accepted = desk.next();
    accepted.is("200").has("CSeq", "1 CANCEL");
    // RFC 3261 §9.2: one tag in all responses.
    assert_eq!(accepted.tag("To"), ringing.tag("To"));
    let refusal = desk.next();
    refusal.is("487").has("CSeq", "1 INVITE");
    assert_eq!(refusal.tag("To"), ringing.tag("To"));
    desk.ended(leg, Cause::Cancelled);
    desk.hear(&peer.flow, &Peer::in_transaction(&invite, "ACK", &refusal.header("To")));
    desk.pass(secs(10));
    desk.nothing();
    desk.leaves_nothing();
}

/// The CANCEL is too late: the call is answered. It changes nothing.
#[test]
fn a_cancel_after_the_answer_changes_nothing() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let invite = peer.invite("", OFFER);
    desk.hear(&peer.flow, &invite);
    let (leg, _) = desk.event();
    desk.command(leg, LegCommand::Answer(sdp(OURS)));
    let answer = desk.next();
    desk.hear(&peer.flow, &Peer::in_transaction(&invite, "CANCEL", &peer.remote));
    desk.next().is("200").has("CSeq", "1 CANCEL");
    desk.nothing();
    desk.quiet();
    peer.joins(&answer);
    let ack = peer.ack("");
    desk.hear(&peer.flow, &ack);
    assert!(matches!(desk.event(), (_, LegEvent::Confirm(None))));
    let bye = peer.request("BYE", "", "");
    desk.hear(&peer.flow, &bye);
    desk.next().is("200");
    desk.ended(leg, Cause::Normal);
}

/// A CANCEL of nothing.
#[test]
fn a_cancel_of_an_unknown_call_gets_481() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let invite = peer.invite("", OFFER);
    desk.hear(&peer.flow, &Peer::in_transaction(&invite, "CANCEL", &peer.remote));
    let refusal = desk.next();
    refusal.is("481").has("CSeq", "1 CANCEL");
    assert!(!refusal.tag("To").is_empty());
}

/// We give up a ringing call.
#[test]
fn giving_up_a_ringing_call_sends_cancel() {
    let mut desk = Desk::new();
    let (leg, invite) = desk.call_out();
    desk.hear(&trunk(), &reply(&invite, "180 Ringing", "callee", "", ""));
    desk.event();
    desk.command(leg, LegCommand::End(Cause::Cancelled));
    desk.ended(leg, Cause::Cancelled);
    let cancel = desk.next();
    cancel.is("CANCEL").has("CSeq", "1 CANCEL").has("To", &invite.header("To"));
    cancel.has("Via", &invite.header("Via")).has("From", &invite.header("From"));
    assert_eq!(cancel.start().split(' ').nth(1), invite.start().split(' ').nth(1));
    desk.hear(&trunk(), &reply(&cancel, "200 OK", "callee", "", ""));
    let refusal = reply(&invite, "487 Request Terminated", "callee", "", "");
    desk.hear(&trunk(), &refusal);
    let ack = desk.next();
    ack.is("ACK").has("CSeq", "1 ACK").has("Via", &invite.header("Via"));
    desk.hear(&trunk(), &refusal);
    assert_eq!(desk.next().text, ack.text, "the ACK of a failure is repeated");
    desk.leaves_nothing();
    desk.nothing();
    desk.quiet();
}

/// RFC 3261 §9.1: no CANCEL before a provisional response.
#[test]
fn a_cancel_waits_for_the_first_provisional() {
    let mut desk = Desk::new();
    let (leg, invite) = desk.call_out();
    desk.command(leg, LegCommand::End(Cause::Cancelled));
    desk.ended(leg, Cause::Cancelled);
    desk.pass(secs(3));
    assert!(desk.all().iter().all(|s| s.text == invite.text), "only the INVITE is repeated");
    desk.hear(&trunk(), &reply(&invite, "100 Trying", "", "", ""));
    let cancel = desk.next();
    cancel.is("CANCEL");
    desk.hear(&trunk(), &reply(&cancel, "200 OK", "x", "", ""));
    desk.hear(&trunk(), &reply(&invite, "487 Request Terminated", "x", "", ""));
    desk.next().is("ACK");
    desk.leaves_nothing();
    desk.quiet();
}

/// Nobody ever answers the INVITE that was given up: no CANCEL, and nothing is left.
#[test]
fn giving_up_a_call_that_nobody_hears_needs_no_cancel() {
    let mut desk = Desk::new();
    let (leg, invite) = desk.call_out();
    desk.command(leg, LegCommand::End(Cause::Cancelled));
    desk.ended(leg, Cause::Cancelled);
    desk.leaves_nothing();
    assert!(desk.all().iter().all(|s| s.text == invite.text));
    desk.quiet();
}

/// The CANCEL crosses the 200: the answer is acknowledged and ended.
#[test]
fn an_answer_that_crosses_our_cancel_is_taken_and_ended() {
    let mut desk = Desk::new();
    let (leg, invite) = desk.call_out();
    desk.hear(&trunk(), &reply(&invite, "180 Ringing", "callee", "", ""));
    desk.event();
    desk.command(leg, LegCommand::End(Cause::NoAnswer));
    desk.ended(leg, Cause::NoAnswer);
    let cancel = desk.next();
    cancel.is("CANCEL").has("Reason", "SIP;cause=480;text=\"No answer\"");
    let answer = reply(&invite, "200 OK", "callee", "", OFFER);
    desk.hear(&trunk(), &answer);
    let ack = desk.next();
    ack.is("ACK").has("CSeq", "1 ACK");
    let bye = desk.next();
    bye.is("BYE").has("CSeq", "2 BYE").has("Reason", "SIP;cause=480;text=\"No answer\"");
    assert_eq!(bye.tag("To"), "callee");
    // The 200 is repeated while the ACK is on its way: the same ACK, and no second BYE.
    desk.hear(&trunk(), &answer);
    assert_eq!(desk.next().text, ack.text);
    desk.nothing();
    desk.hear(&trunk(), &reply(&cancel, "200 OK", "callee", "", ""));
    desk.hear(&trunk(), &reply(&bye, "200 OK", "", "", ""));
    desk.leaves_nothing();
    desk.quiet();
}

/// The answer comes before any provisional, after we gave up.
#[test]
fn an_answer_without_provisionals_is_ended_too() {
    let mut desk = Desk::new();
    let (leg, invite) = desk.call_out();
    desk.command(leg, LegCommand::End(Cause::Cancelled));
    desk.ended(leg, Cause::Cancelled);
    desk.hear(&trunk(), &reply(&invite, "200 OK", "callee", "", OFFER));
    desk.next().is("ACK");
    desk.next().is("BYE");
    desk.nothing();
}

/// RFC 3261 §9.1: a peer that takes the CANCEL and never answers the INVITE is given up after
/// 64·T1, also when it goes on ringing.
#[test]
fn a_cancelled_invite_is_not_waited_for_for_ever() {
    let mut desk = Desk::new();
    let (leg, invite) = desk.call_out();
    desk.hear(&trunk(), &reply(&invite, "180 Ringing", "callee", "", ""));
    desk.command(leg, LegCommand::End(Cause::Cancelled));
    let cancel = desk.all().pop().unwrap();
    desk.hear(&trunk(), &reply(&cancel, "200 OK", "callee", "", ""));
    desk.hear(&trunk(), &reply(&invite, "180 Ringing", "callee", "", ""));
    desk.pass(secs(40));
    assert_eq!((desk.ua.legs(), desk.ua.transactions()), (0, 0));
}

/// The caller gives up its own re-INVITE: the call goes on as it was.
#[test]
fn a_cancelled_reinvite_leaves_the_call_up() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let (leg, _) = desk.incoming_up(&mut peer, "");
    let reinvite = peer.invite("", OFFER);
    desk.hear(&peer.flow, &reinvite);
    desk.event();
    desk.hear(&peer.flow, &Peer::in_transaction(&reinvite, "CANCEL", &peer.remote));
    desk.next().is("200").has("CSeq", "2 CANCEL");
    desk.next().is("487").has("CSeq", "2 INVITE");
    desk.hear(&peer.flow, &Peer::in_transaction(&reinvite, "ACK", &peer.remote));
    desk.quiet();
    // An answer that comes now is for nobody, and does not disturb an offer of ours.
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    let ours = desk.next();
    ours.is("INVITE");
    desk.command(leg, LegCommand::Reanswer(sdp(OURS)));
    desk.nothing();
    desk.hear(&peer.flow, &reply(&ours, "200 OK", "", "", OFFER));
    desk.next().is("ACK");
    assert!(matches!(desk.event(), (_, LegEvent::Reanswer(_))));
}
