//! Offers by UPDATE (RFC 3311) and re-INVITE: before the answer, hold and resume after it.

use crosspoint_call::{Cause, LegCommand, LegEvent};

use crate::harness::{Desk, HOLD, OFFER, OURS, Peer, Sent, reply, sdp, secs, trunk};

/// The early dialog of a caller whose offer was answered reliably.
fn early(desk: &mut Desk, peer: &mut Peer) -> (crosspoint_base::LegId, Sent) {
    let leg = desk.incoming(peer, "Supported: 100rel\nAllow: UPDATE, PRACK", OFFER);
    desk.command(leg, LegCommand::EarlyMedia(sdp(OURS)));
    let progress = desk.next();
    peer.joins(&progress);
    (leg, progress)
}

fn prack(desk: &mut Desk, peer: &mut Peer, progress: &Sent) {
    let rack = format!("RAck: {} 1 INVITE", progress.header("RSeq"));
    let prack = peer.request("PRACK", &rack, "");
    desk.hear(&peer.flow, &prack);
    desk.next().is("200");
}

/// Hold and resume by UPDATE while it rings; the 200 of the INVITE says what stands.
#[test]
fn an_early_update_holds_and_resumes() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let (leg, progress) = early(&mut desk, &mut peer);
    prack(&mut desk, &mut peer, &progress);
    for (offer, answer) in [(HOLD, HOLD), (OFFER, OURS)] {
        let update = peer.request("UPDATE", "", offer);
        desk.hear(&peer.flow, &update);
        desk.nothing();
        match desk.event() {
            (_, LegEvent::Reoffer(Some(session))) => assert_eq!(session, sdp(offer)),
            other => panic!("{other:?}"),
        }
        desk.command(leg, LegCommand::Reanswer(sdp(answer)));
        let accepted = desk.next();
        accepted.is("200").has("CSeq", &format!("{} UPDATE", peer.cseq));
        assert_eq!(accepted.body(), answer);
        assert_eq!(accepted.header("Contact"), progress.header("Contact"));
    }
    let update = peer.request("UPDATE", "", HOLD);
    desk.hear(&peer.flow, &update);
    desk.event();
    // Answered by the callee while the UPDATE is open: one after the other.
    desk.command(leg, LegCommand::Answer(sdp(OURS)));
    desk.nothing();
    desk.command(leg, LegCommand::Reanswer(sdp(HOLD)));
    desk.next().is("200").has("CSeq", "5 UPDATE");
    let answer = desk.next();
    assert_eq!(answer.is("200").has("CSeq", "1 INVITE").body(), HOLD);
}

/// RFC 3311 §5.2: an UPDATE with an offer while the first one is open comes too early.
#[test]
fn an_update_before_the_first_answer_gets_500() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let leg = desk.incoming(&mut peer, "Allow: UPDATE", OFFER);
    desk.command(leg, LegCommand::Ringing);
    let ringing = desk.next();
    peer.joins(&ringing);
    let update = peer.request("UPDATE", "", HOLD);
    desk.hear(&peer.flow, &update);
    desk.next().is("500").header("Retry-After");
    // A plain 183 is no answer yet (RFC 3262 §5).
    desk.command(leg, LegCommand::EarlyMedia(sdp(OURS)));
    desk.next().is("183");
    let update = peer.request("UPDATE", "", HOLD);
    desk.hear(&peer.flow, &update);
    desk.next().is("500");
    let reinvite = peer.request("INVITE", "", HOLD);
    desk.hear(&peer.flow, &reinvite);
    desk.next().is("500").header("Retry-After");
    desk.quiet();

    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let (_, _) = early(&mut desk, &mut peer);
    let update = peer.request("UPDATE", "", HOLD);
    desk.hear(&peer.flow, &update);
    desk.next().is("500");
}

/// The called side changes its early media, once its first word came reliably.
#[test]
fn an_early_update_of_the_called_side_is_taken() {
    let mut desk = Desk::new();
    let (leg, invite) = desk.call_out();
    assert!(invite.header("Allow").contains("UPDATE"));
    desk.hear(&trunk(), &reply(&invite, "180 Ringing", "one", "", ""));
    desk.event();
    let mut peer = Peer::called_by(&invite, "one");
    let update = peer.request("UPDATE", "", HOLD);
    desk.hear(&peer.flow, &update);
    desk.next().is("491");
    let extra = "Require: 100rel\nRSeq: 1";
    desk.hear(&trunk(), &reply(&invite, "183 Session Progress", "one", extra, OFFER));
    desk.next().is("PRACK");
    desk.event();
    let update = peer.request("UPDATE", "", HOLD);
    desk.hear(&peer.flow, &update);
    assert!(matches!(desk.event(), (_, LegEvent::Reoffer(Some(_)))));
    desk.command(leg, LegCommand::Reanswer(sdp(HOLD)));
    assert_eq!(desk.next().is("200").body(), HOLD);
    desk.hear(&trunk(), &reply(&invite, "200 OK", "one", "", ""));
    desk.next().is("ACK");
    assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
}

/// The caller gives up while its early UPDATE is open: everything gets its answer.
#[test]
fn a_cancel_answers_an_open_early_update_too() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let invite = peer.invite("Supported: 100rel", OFFER);
    desk.hear(&peer.flow, &invite);
    let (leg, _) = desk.event();
    desk.command(leg, LegCommand::EarlyMedia(sdp(OURS)));
    let progress = desk.next();
    peer.joins(&progress);
    prack(&mut desk, &mut peer, &progress);
    let update = peer.request("UPDATE", "", HOLD);
    desk.hear(&peer.flow, &update);
    desk.event();
    let cancel = Peer::in_transaction(&invite, "CANCEL", "<sip:4711@gateway.test>");
    desk.hear(&peer.flow, &cancel);
    let mut answers: Vec<_> =
        desk.all().iter().map(|s| format!("{} {}", s.what(), s.header("CSeq"))).collect();
    answers.sort();
    assert_eq!(answers, ["200 1 CANCEL", "487 1 INVITE", "487 3 UPDATE"]);
    desk.ended(leg, Cause::Cancelled);
    desk.hear(&peer.flow, &Peer::in_transaction(&invite, "ACK", &peer.remote));
    desk.leaves_nothing();
}

/// Hold and resume in a running call, by UPDATE and by re-INVITE.
#[test]
fn hold_and_resume_by_update_and_by_reinvite() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let (leg, _) = desk.incoming_up(&mut peer, "");
    for method in ["UPDATE", "INVITE"] {
        for (offer, answer) in [(HOLD, HOLD), (OFFER, OURS)] {
            let request = peer.request(method, "", offer);
            desk.hear(&peer.flow, &request);
            match desk.event() {
                (_, LegEvent::Reoffer(Some(session))) => assert_eq!(session, sdp(offer)),
                other => panic!("{other:?}"),
            }
            desk.command(leg, LegCommand::Reanswer(sdp(answer)));
            let accepted = desk.next();
            accepted.is("200").has("CSeq", &format!("{} {method}", peer.cseq));
            assert_eq!(accepted.body(), answer);
            if method == "INVITE" {
                let ack = peer.ack("");
                desk.hear(&peer.flow, &ack);
                assert!(matches!(desk.event(), (_, LegEvent::Confirm(None))));
            }
        }
    }
    desk.pass(secs(60));
    desk.nothing();
    desk.quiet();
}

/// Our own hold and resume: a re-INVITE each, answered and acknowledged.
#[test]
fn our_hold_and_resume_are_reinvites() {
    let mut desk = Desk::new();
    let (leg, peer) = desk.outgoing_up("");
    for (number, offer) in [(2, HOLD), (3, OURS)] {
        desk.command(leg, LegCommand::Reoffer(sdp(offer)));
        let reinvite = desk.next();
        reinvite.is("INVITE").has("CSeq", &format!("{number} INVITE"));
        assert_eq!(reinvite.body(), offer);
        assert_eq!(reinvite.tag("To"), "callee");
        desk.hear(&peer.flow, &reply(&reinvite, "200 OK", "", "", OFFER));
        desk.next().is("ACK").has("CSeq", &format!("{number} ACK"));
        match desk.event() {
            (_, LegEvent::Reanswer(session)) => assert_eq!(session, sdp(OFFER)),
            other => panic!("{other:?}"),
        }
    }
}

/// What the call cannot take is refused, and the old state stands.
#[test]
fn a_hold_that_is_refused_gets_488() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let (leg, _) = desk.incoming_up(&mut peer, "");
    for method in ["UPDATE", "INVITE"] {
        let request = peer.request(method, "", HOLD);
        desk.hear(&peer.flow, &request);
        desk.event();
        desk.command(leg, LegCommand::RejectReoffer(Cause::NoCommonCodec));
        desk.next().is("488").has("CSeq", &format!("{} {method}", peer.cseq));
    }
}

/// A new Contact in a re-INVITE or UPDATE is where later requests go (RFC 3261 §12.2).
#[test]
fn a_target_refresh_moves_later_requests() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let (leg, _) = desk.incoming_up(&mut peer, "");
    peer.contact = "<sip:moved@192.0.2.9:5070>".to_owned();
    let update = peer.request("UPDATE", "", "");
    desk.hear(&peer.flow, &update);
    desk.next().is("200");
    desk.command(leg, LegCommand::End(Cause::Normal));
    let bye = desk.next();
    assert_eq!(bye.start(), "BYE sip:moved@192.0.2.9:5070 SIP/2.0");
    assert_eq!(bye.flow.remote.port(), 5070);
}
