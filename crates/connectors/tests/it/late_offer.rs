//! INVITEs without a description: the offer is in the 200 and the answer in the ACK
//! (RFC 3261 §13.2.1).

use crosspoint_call::{Cause, LegCommand, LegEvent};

use crate::harness::{Desk, OFFER, OURS, Peer, reply, sdp};

#[test]
fn a_late_offer_is_made_in_the_200_and_answered_in_the_ack() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let invite = peer.invite("", "");
    desk.hear(&peer.flow, &invite);
    let (leg, event) = desk.event();
    assert!(matches!(event, LegEvent::Offer(offer) if offer.description.is_none()));
    desk.command(leg, LegCommand::Ringing);
    assert_eq!(desk.next().is("180").body(), "");
    desk.command(leg, LegCommand::Answer(sdp(OURS)));
    let answer = desk.next();
    assert_eq!(answer.is("200").body(), OURS);
    peer.joins(&answer);
    let ack = peer.ack(OFFER);
    desk.hear(&peer.flow, &ack);
    match desk.event() {
        (id, LegEvent::Confirm(Some(session))) => assert_eq!((id, session), (leg, sdp(OFFER))),
        other => panic!("{other:?}"),
    }
    desk.hear(&peer.flow, &ack);
    desk.quiet();
}

/// RFC 3262 §5 knows offers in reliable provisionals only; nothing is offered in others.
#[test]
fn a_plain_provisional_carries_no_offer() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let leg = desk.incoming(&mut peer, "", "");
    desk.command(leg, LegCommand::EarlyMedia(sdp(OURS)));
    assert_eq!(desk.next().is("183").body(), "");
    desk.command(leg, LegCommand::Answer(sdp(OFFER)));
    assert_eq!(desk.next().is("200").body(), OFFER);
}

/// The ACK brings no answer, or one that cannot be read: there is no call.
#[test]
fn an_offer_that_is_not_answered_ends_the_call() {
    for body in ["", "v=7\n"] {
        let (mut desk, mut peer) = (Desk::new(), Peer::caller());
        let leg = desk.incoming(&mut peer, "", "");
        desk.command(leg, LegCommand::Answer(sdp(OURS)));
        let answer = desk.next();
        peer.joins(&answer);
        let ack = peer.ack(body);
        desk.hear(&peer.flow, &ack);
        desk.ended(leg, Cause::BadDescription);
        let bye = desk.next();
        bye.is("BYE");
        desk.hear(&peer.flow, &reply(&bye, "200 OK", "", "", ""));
        desk.leaves_nothing();
    }
}

/// A re-INVITE without a description asks for an offer too, from either side of the call.
#[test]
fn a_late_reinvite_is_answered_with_an_offer() {
    let mut desk = Desk::new();
    let (leg, mut peer) = desk.outgoing_up("");
    let reinvite = peer.invite("", "");
    desk.hear(&peer.flow, &reinvite);
    assert!(matches!(desk.event(), (_, LegEvent::Reoffer(None))));
    desk.command(leg, LegCommand::Reanswer(sdp(OURS)));
    let answer = desk.next();
    assert_eq!(answer.is("200").has("CSeq", "101 INVITE").body(), OURS);
    // Until the answer is there, our offer is open.
    let update = peer.request("UPDATE", "", OFFER);
    desk.hear(&peer.flow, &update);
    desk.next().is("491");
    let ack = peer.ack(OFFER);
    desk.hear(&peer.flow, &ack);
    match desk.event() {
        (_, LegEvent::Confirm(Some(session))) => assert_eq!(session, sdp(OFFER)),
        other => panic!("{other:?}"),
    }
    let update = peer.request("UPDATE", "", OFFER);
    desk.hear(&peer.flow, &update);
    assert!(matches!(desk.event(), (_, LegEvent::Reoffer(Some(_)))));
}

/// The late answer of a re-INVITE never comes: the call ends when its ACK is overdue.
#[test]
fn a_late_reinvite_without_its_ack_ends_the_call() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let (leg, _) = desk.incoming_up(&mut peer, "");
    let reinvite = peer.invite("", "");
    desk.hear(&peer.flow, &reinvite);
    desk.event();
    desk.command(leg, LegCommand::Reanswer(sdp(OURS)));
    desk.pass(crate::harness::secs(32));
    let last = desk.all().pop().unwrap();
    last.is("BYE");
    desk.ended(leg, Cause::SignalingLost);
}
