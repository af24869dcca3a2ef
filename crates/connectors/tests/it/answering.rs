//! The 200 and its ACK: repeats, losses and both orders of things (RFC 3261 §13.3.1.4).

use crosspoint_call::{Cause, LegCommand, LegEvent};

use crate::harness::{Desk, OFFER, OURS, Peer, millis, reply, sdp, secs, trunk};

/// Our 200 is repeated until the ACK comes.
#[test]
fn the_200_is_repeated_until_its_ack_comes() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let leg = desk.incoming(&mut peer, "", OFFER);
    desk.command(leg, LegCommand::Answer(sdp(OURS)));
    let answer = desk.next();
    answer.is("200").has("Content-Type", "application/sdp");
    assert_eq!(answer.body(), OURS);
    desk.pass(millis(3600));
    let repeats = desk.all();
    assert!(repeats.iter().all(|r| r.text == answer.text));
    let times: Vec<u128> = repeats.iter().map(|r| r.at.as_millis()).collect();
    assert_eq!(times, [500, 1500, 3500]);
    // A repeated INVITE changes nothing: the 200 is on its own timer.
    peer.joins(&answer);
    let ack = peer.ack("");
    desk.hear(&peer.flow, &ack);
    assert!(matches!(desk.event(), (_, LegEvent::Confirm(None))));
    desk.hear(&peer.flow, &ack);
    desk.pass(secs(60));
    desk.nothing();
    desk.quiet();
}

/// Without an ACK for 64·T1 the call is over: BYE.
#[test]
fn without_an_ack_the_call_is_ended_with_bye_after_32_seconds() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let leg = desk.incoming(&mut peer, "", OFFER);
    desk.command(leg, LegCommand::Answer(sdp(OURS)));
    desk.pass(secs(32) - millis(1));
    let sent = desk.all();
    assert!(sent.iter().all(|s| s.what() == "200"));
    let times: Vec<u128> = sent.iter().map(|s| s.at.as_millis()).collect();
    assert_eq!(
        times,
        [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500],
        "doubled up to T2"
    );
    desk.quiet();
    desk.pass(millis(1));
    let bye = desk.next();
    bye.is("BYE").has("CSeq", "1 BYE").has("To", &peer.local);
    assert_eq!(bye.start(), "BYE sip:carrier@192.0.2.9 SIP/2.0");
    desk.ended(leg, Cause::SignalingLost);
    desk.hear(&peer.flow, &reply(&bye, "200 OK", "", "", ""));
    desk.leaves_nothing();
}

/// An ACK of somebody else's number, or of another dialog, does not confirm the call.
#[test]
fn only_the_right_ack_confirms() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let leg = desk.incoming(&mut peer, "", OFFER);
    desk.command(leg, LegCommand::Answer(sdp(OURS)));
    let answer = desk.next();
    peer.joins(&answer);
    let other = peer.numbered("ACK", 7, "", "");
    desk.hear(&peer.flow, &other);
    desk.quiet();
    desk.pass(millis(500));
    desk.next().is("200");
}

/// RFC 3261 §15: who was called may not say BYE before the ACK is there.
#[test]
fn a_bye_waits_for_the_ack() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let leg = desk.incoming(&mut peer, "", OFFER);
    desk.command(leg, LegCommand::Answer(sdp(OURS)));
    let answer = desk.next();
    peer.joins(&answer);
    desk.command(leg, LegCommand::End(Cause::Normal));
    desk.ended(leg, Cause::Normal);
    desk.nothing();
    let options = peer.request("OPTIONS", "", "");
    desk.hear(&peer.flow, &options);
    desk.next().is("481");
    let ack = peer.ack("");
    desk.hear(&peer.flow, &ack);
    let bye = desk.next();
    bye.is("BYE");
    desk.hear(&peer.flow, &reply(&bye, "200 OK", "", "", ""));
    desk.leaves_nothing();
    desk.nothing();
    desk.quiet();
}

/// The same, and the ACK never comes: BYE after 64·T1, once.
#[test]
fn a_bye_waits_for_the_ack_but_not_for_ever() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let leg = desk.incoming(&mut peer, "", OFFER);
    desk.command(leg, LegCommand::Answer(sdp(OURS)));
    desk.command(leg, LegCommand::End(Cause::Normal));
    desk.ended(leg, Cause::Normal);
    desk.pass(secs(32));
    let byes = desk.all().into_iter().filter(|s| s.what() == "BYE").count();
    assert_eq!(byes, 1);
    desk.leaves_nothing();
    desk.quiet();
}

/// The same, and the caller hangs up first: there is nothing left to say.
#[test]
fn a_bye_of_the_caller_makes_ours_needless() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let leg = desk.incoming(&mut peer, "", OFFER);
    desk.command(leg, LegCommand::Answer(sdp(OURS)));
    let answer = desk.next();
    peer.joins(&answer);
    desk.command(leg, LegCommand::End(Cause::Normal));
    let bye = peer.request("BYE", "", "");
    desk.hear(&peer.flow, &bye);
    desk.next().is("200").has("CSeq", "2 BYE");
    let ack = peer.ack("");
    desk.hear(&peer.flow, &ack);
    desk.leaves_nothing();
    desk.nothing();
}

/// Every repeat of the peer's 200 gets the ACK again, byte for byte.
#[test]
fn every_repeated_200_is_acknowledged_again() {
    let mut desk = Desk::new();
    let (_, invite) = desk.call_out();
    let answer = reply(&invite, "200 OK", "callee", "", OFFER);
    desk.hear(&trunk(), &answer);
    let ack = desk.next();
    ack.is("ACK").has("CSeq", "1 ACK");
    desk.event();
    for _ in 0..5 {
        desk.pass(secs(4));
        desk.hear(&trunk(), &answer);
        assert_eq!(desk.next().text, ack.text);
    }
    desk.quiet();
    desk.nothing();
}

/// The 200 of a re-INVITE needs its ACK like the first one, also when the call is over.
#[test]
fn the_answer_to_a_reinvite_is_acknowledged_even_after_the_end() {
    let mut desk = Desk::new();
    let (leg, _) = desk.outgoing_up("");
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    let reinvite = desk.next();
    desk.command(leg, LegCommand::End(Cause::Normal));
    desk.ended(leg, Cause::Normal);
    let bye = desk.next();
    bye.is("BYE");
    let answer = reply(&reinvite, "200 OK", "", "", OFFER);
    desk.hear(&trunk(), &answer);
    let ack = desk.next();
    ack.is("ACK").has("CSeq", "2 ACK");
    desk.hear(&trunk(), &answer);
    assert_eq!(desk.next().text, ack.text);
    desk.hear(&trunk(), &reply(&bye, "200 OK", "", "", ""));
    desk.leaves_nothing();
    desk.quiet();
}

/// A repeated ACK of the first INVITE does not count as the answer to a later offer of ours.
#[test]
fn an_old_ack_is_no_answer_to_a_new_offer() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let (leg, _) = desk.incoming_up(&mut peer, "");
    let old = peer.ack("");
    let late = peer.invite("", "");
    desk.hear(&peer.flow, &late);
    assert!(matches!(desk.event(), (_, LegEvent::Reoffer(None))));
    desk.command(leg, LegCommand::Reanswer(sdp(OURS)));
    desk.next().is("200").has("CSeq", "2 INVITE");
    desk.hear(&peer.flow, &old);
    desk.quiet();
    let ack = peer.ack(OFFER);
    desk.hear(&peer.flow, &ack);
    assert!(matches!(desk.event(), (_, LegEvent::Confirm(Some(_)))));
}

/// A BYE while a re-INVITE of the same peer is open: both are answered, nothing is left.
#[test]
fn a_bye_ends_an_open_reinvite_with_487() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let (leg, _) = desk.incoming_up(&mut peer, "");
    let reinvite = peer.invite("", OFFER);
    desk.hear(&peer.flow, &reinvite);
    desk.event();
    let bye = peer.request("BYE", "", "");
    desk.hear(&peer.flow, &bye);
    desk.next().is("200").has("CSeq", "3 BYE");
    let refusal = desk.next();
    refusal.is("487").has("CSeq", "2 INVITE");
    desk.ended(leg, Cause::Normal);
    desk.hear(&peer.flow, &Peer::in_transaction(&reinvite, "ACK", &peer.remote));
    desk.leaves_nothing();
}

/// Old peers send the ACK of a 2xx with the branch of the INVITE: it counts, with its answer.
#[test]
fn an_ack_with_the_branch_of_its_invite_counts() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let invite = peer.invite("", "");
    desk.hear(&peer.flow, &invite);
    let (leg, _) = desk.event();
    desk.command(leg, LegCommand::Answer(sdp(OURS)));
    let answer = desk.next();
    let ack = Peer::in_transaction(&invite, "ACK", &answer.header("To"));
    let ack = format!("{}\nContent-Type: application/sdp\n\n{OFFER}", ack.trim_end());
    desk.hear(&peer.flow, &ack);
    assert!(matches!(desk.event(), (_, LegEvent::Confirm(Some(_)))));
    desk.pass(secs(60));
    desk.nothing();
    desk.quiet();
}

/// An ACK of another dialog does not silence the 200, nor keep an unconfirmed call alive.
#[test]
fn an_ack_with_another_tag_does_not_count() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let invite = peer.invite("", OFFER);
    desk.hear(&peer.flow, &invite);
    let (leg, _) = desk.event();
    desk.command(leg, LegCommand::Answer(sdp(OURS)));
    desk.next().is("200");
    let stray = Peer::in_transaction(&invite, "ACK", "<sip:4711@gateway.test>;tag=other");
    desk.hear(&peer.flow, &stray);
    peer.remote = "<sip:4711@gateway.test>;tag=other".to_owned();
    let stray = peer.ack("");
    desk.hear(&peer.flow, &stray);
    desk.quiet();
    desk.within(secs(1)).is("200");
    desk.pass(secs(32));
    desk.ended(leg, Cause::SignalingLost);
}
