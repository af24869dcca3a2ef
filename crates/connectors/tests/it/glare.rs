//! Offers that cross (RFC 3261 §14), and offers before the time (RFC 3311 §5).

use crosspoint_call::{LegCommand, LegEvent, ReofferFailure};

use crate::harness::{Desk, HOLD, OFFER, OURS, Peer, millis, reply, sdp, secs};

/// While our offer is open, the peer's is refused with 491, by re-INVITE and by UPDATE.
#[test]
fn an_offer_that_meets_ours_gets_491() {
    let mut desk = Desk::new();
    let (leg, mut peer) = desk.outgoing_up("");
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    let ours = desk.next();
    for method in ["INVITE", "UPDATE"] {
        let theirs = peer.request(method, "", HOLD);
        desk.hear(&peer.flow, &theirs);
        desk.next().is("491").has("CSeq", &format!("{} {method}", peer.cseq));
        if method == "INVITE" {
            desk.hear(&peer.flow, &Peer::in_transaction(&theirs, "ACK", &peer.remote));
        }
    }
    // An UPDATE without an offer is no glare.
    let refresh = peer.request("UPDATE", "", "");
    desk.hear(&peer.flow, &refresh);
    desk.next().is("200");
    desk.quiet();
    desk.hear(&peer.flow, &reply(&ours, "200 OK", "", "", OFFER));
    desk.next().is("ACK");
    assert!(matches!(desk.event(), (_, LegEvent::Reanswer(_))));
    let theirs = peer.request("UPDATE", "", HOLD);
    desk.hear(&peer.flow, &theirs);
    assert!(matches!(desk.event(), (_, LegEvent::Reoffer(Some(_)))));
}

/// While the peer's offer is open, its next one gets 500 and is told when to come again.
#[test]
fn an_offer_on_top_of_an_open_one_gets_500_with_retry_after() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let (leg, _) = desk.incoming_up(&mut peer, "");
    let first = peer.invite("", HOLD);
    desk.hear(&peer.flow, &first);
    desk.event();
    for method in ["INVITE", "UPDATE"] {
        let second = peer.numbered(method, peer.cseq + 1, "", HOLD);
        peer.cseq += 1;
        desk.hear(&peer.flow, &second);
        let refusal = desk.next();
        let after: u32 = refusal.is("500").header("Retry-After").parse().unwrap();
        assert!(after <= 10);
    }
    // Ours would meet theirs: the call is told.
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    desk.nothing();
    assert!(matches!(desk.event(), (_, LegEvent::ReofferFailed(ReofferFailure::Glare))));
    desk.command(leg, LegCommand::Reanswer(sdp(OURS)));
    desk.next().is("200").has("CSeq", "2 INVITE");
}

/// After a 491 who owns the Call-ID waits 2.1 to 4 s, the other side up to 2 s.
#[test]
fn after_a_491_the_owner_of_the_call_id_waits_longer() {
    for we_called in [true, false] {
        let (mut desk, mut peer) = (Desk::new(), Peer::caller());
        let leg = if we_called {
            let (leg, callee) = desk.outgoing_up("");
            peer = callee;
            leg
        } else {
            desk.incoming_up(&mut peer, "").0
        };
        let (mut least, mut most) = (secs(9), secs(0));
        for _ in 0..60 {
            desk.command(leg, LegCommand::Reoffer(sdp(HOLD)));
            let first = desk.next();
            desk.hear(&peer.flow, &reply(&first, "491 Request Pending", "", "", ""));
            desk.next().is("ACK");
            let again = desk.within(secs(5));
            assert_eq!(again.is("INVITE").body(), HOLD);
            assert_ne!(again.header("CSeq"), first.header("CSeq"));
            let waited = again.at - first.at;
            assert_eq!(waited.as_millis() % 10, 0, "in units of 10 ms");
            (least, most) = (least.min(waited), most.max(waited));
            desk.hear(&peer.flow, &reply(&again, "200 OK", "", "", OFFER));
            desk.next().is("ACK");
            assert!(matches!(desk.event(), (_, LegEvent::Reanswer(_))));
        }
        let (from, to) = if we_called { (2100, 4000) } else { (0, 2000) };
        assert!(millis(from) <= least && most <= millis(to), "{least:?} to {most:?}");
        assert!(most - least > secs(1), "random: {least:?} to {most:?}");
    }
}

/// The other side's retry comes first: ours is out of date, and the call hears so.
#[test]
fn the_peer_that_retries_first_wins() {
    let mut desk = Desk::new();
    let (leg, mut peer) = desk.outgoing_up("");
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    let ours = desk.next();
    desk.hear(&peer.flow, &reply(&ours, "491 Request Pending", "", "", ""));
    desk.next().is("ACK");
    desk.quiet();
    let theirs = peer.invite("", HOLD);
    desk.hear(&peer.flow, &theirs);
    assert!(matches!(desk.event(), (_, LegEvent::ReofferFailed(ReofferFailure::Glare))));
    assert!(matches!(desk.event(), (_, LegEvent::Reoffer(Some(_)))));
    desk.command(leg, LegCommand::Reanswer(sdp(OURS)));
    desk.next().is("200");
    let ack = peer.ack("");
    desk.hear(&peer.flow, &ack);
    desk.pass(secs(10));
    desk.nothing();
}

/// A peer that says 491 for ever: we stop asking.
#[test]
fn endless_glare_is_given_up() {
    let mut desk = Desk::new();
    let (leg, peer) = desk.outgoing_up("");
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    for _ in 0..4 {
        let ours = desk.within(secs(4));
        ours.is("INVITE");
        desk.quiet();
        desk.hear(&peer.flow, &reply(&ours, "491 Request Pending", "", "", ""));
        desk.next().is("ACK");
    }
    assert!(matches!(desk.event(), (_, LegEvent::ReofferFailed(ReofferFailure::Glare))));
}

/// Any other refusal leaves things as they were.
#[test]
fn a_refused_offer_changes_nothing() {
    let mut desk = Desk::new();
    let (leg, peer) = desk.outgoing_up("");
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    let ours = desk.next();
    desk.hear(&peer.flow, &reply(&ours, "488 Not Acceptable Here", "", "", ""));
    desk.next().is("ACK");
    assert!(matches!(desk.event(), (_, LegEvent::ReofferFailed(ReofferFailure::Refused))));
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    desk.next().is("INVITE").has("CSeq", "3 INVITE");
}
