//! Reliable provisional responses (RFC 3262), both ways.

use crosspoint_call::{Cause, LegCommand, LegEvent};

use crate::harness::{Desk, HOLD, OFFER, OURS, Peer, T1, millis, reply, sdp, secs, trunk};

/// The caller must have every provisional reliably: it is repeated until the PRACK comes.
#[test]
fn a_required_180_is_repeated_until_its_prack_comes() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let leg = desk.incoming(&mut peer, "Require: 100rel", OFFER);
    desk.command(leg, LegCommand::Ringing);
    let ringing = desk.next();
    ringing.is("180").has("Require", "100rel").has("CSeq", "1 INVITE");
    let rseq: u32 = ringing.header("RSeq").parse().unwrap();
    desk.pass(T1 * 7);
    let repeats = desk.all();
    assert!(repeats.iter().all(|r| r.text == ringing.text), "repeats are the same bytes");
    let times: Vec<u128> = repeats.iter().map(|r| r.at.as_millis()).collect();
    assert_eq!(times, [500, 1500, 3500]);

    peer.joins(&ringing);
    let prack = peer.request("PRACK", &format!("RAck: {rseq} 1 INVITE"), "");
    desk.hear(&peer.flow, &prack);
    desk.next().is("200").has("CSeq", "2 PRACK");
    desk.pass(secs(20));
    desk.nothing();

    desk.command(leg, LegCommand::Answer(sdp(OURS)));
    desk.next().is("200").has("CSeq", "1 INVITE").lacks("RSeq");
}

/// RFC 3262 §3: the RAck must name the RSeq, the CSeq and the method.
#[test]
fn a_prack_for_something_else_is_answered_481_and_the_repeats_go_on() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let leg = desk.incoming(&mut peer, "Supported: 100rel", OFFER);
    desk.command(leg, LegCommand::EarlyMedia(sdp(OURS)));
    let progress = desk.next();
    progress.is("183").has("Require", "100rel");
    peer.joins(&progress);
    let rseq: u32 = progress.header("RSeq").parse().unwrap();
    for rack in [
        format!("{} 1 INVITE", rseq + 1),
        format!("{rseq} 2 INVITE"),
        format!("{rseq} 1 UPDATE"),
        format!("{rseq}"),
        "x".to_owned(),
    ] {
        let prack = peer.request("PRACK", &format!("RAck: {rack}"), "");
        desk.hear(&peer.flow, &prack);
        desk.next().is("481");
    }
    let prack = peer.request("PRACK", "", "");
    desk.hear(&peer.flow, &prack);
    desk.next().is("481");
    desk.pass(T1);
    desk.next().is("183").has("RSeq", &rseq.to_string());
    let prack = peer.request("PRACK", &format!("RAck: {rseq} 1 INVITE"), "");
    desk.hear(&peer.flow, &prack);
    desk.next().is("200");
    // The same again, in a new transaction: there is nothing left to acknowledge.
    let again = peer.request("PRACK", &format!("RAck: {rseq} 1 INVITE"), "");
    desk.hear(&peer.flow, &again);
    desk.next().is("481");
}

/// RFC 3262 §3: one at a time, numbered in order; the answer waits for the last PRACK.
#[test]
fn progress_and_answer_wait_for_the_prack_before_them() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let leg = desk.incoming(&mut peer, "Require: 100rel", OFFER);
    desk.command(leg, LegCommand::Ringing);
    desk.command(leg, LegCommand::EarlyMedia(sdp(OURS)));
    desk.command(leg, LegCommand::Answer(sdp(OURS)));
    let ringing = desk.next();
    ringing.is("180");
    desk.nothing();
    peer.joins(&ringing);
    let rseq: u32 = ringing.header("RSeq").parse().unwrap();
    let prack = peer.request("PRACK", &format!("RAck: {rseq} 1 INVITE"), "");
    desk.hear(&peer.flow, &prack);
    desk.next().is("200").has("CSeq", "2 PRACK");
    desk.next().is("183").has("RSeq", &(rseq + 1).to_string());
    desk.nothing();
    let prack = peer.request("PRACK", &format!("RAck: {} 1 INVITE", rseq + 1), "");
    desk.hear(&peer.flow, &prack);
    desk.next().is("200").has("CSeq", "3 PRACK");
    desk.next().is("200").has("CSeq", "1 INVITE");
}

/// However much progress there is to tell, the answer is never lost among it.
#[test]
fn a_flood_of_progress_does_not_push_the_answer_out() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let leg = desk.incoming(&mut peer, "Require: 100rel", OFFER);
    for _ in 0..50 {
        desk.command(leg, LegCommand::Ringing);
    }
    desk.command(leg, LegCommand::Answer(sdp(OURS)));
    let mut ringing = desk.next();
    peer.joins(&ringing);
    for _ in 0..50 {
        let rack = format!("RAck: {} 1 INVITE", ringing.header("RSeq"));
        let prack = peer.request("PRACK", &rack, "");
        desk.hear(&peer.flow, &prack);
        desk.next().is("200");
        ringing = desk.next();
        if ringing.what() == "200" {
            ringing.has("CSeq", "1 INVITE");
            return;
        }
    }
    panic!("no answer");
}

/// RFC 3262 §3: without a PRACK for 64·T1 the call is refused with a 5xx.
#[test]
fn without_a_prack_the_call_is_refused_after_32_seconds() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let invite = peer.invite("Require: 100rel", OFFER);
    desk.hear(&peer.flow, &invite);
    let (leg, _) = desk.event();
    desk.command(leg, LegCommand::Ringing);
    desk.pass(secs(32) - millis(1));
    let sent = desk.all();
    let times: Vec<u128> = sent.iter().map(|s| s.at.as_millis()).collect();
    assert_eq!(times, [0, 500, 1500, 3500, 7500, 15_500, 31_500]);
    desk.pass(millis(1));
    let refusal = desk.next();
    refusal.is("504").has("CSeq", "1 INVITE");
    desk.ended(leg, Cause::SignalingLost);
    desk.hear(&peer.flow, &Peer::in_transaction(&invite, "ACK", &refusal.header("To")));
    desk.leaves_nothing();
}

/// Who does not know 100rel gets plain provisionals, once.
#[test]
fn a_caller_without_100rel_gets_plain_provisionals() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let leg = desk.incoming(&mut peer, "", OFFER);
    desk.command(leg, LegCommand::Ringing);
    desk.command(leg, LegCommand::EarlyMedia(sdp(OURS)));
    desk.next().is("180").lacks("RSeq").lacks("Require");
    desk.next().is("183").lacks("RSeq").lacks("Require");
    desk.pass(secs(30));
    desk.nothing();
}

/// RFC 3262 §5: a further offer in the PRACK is answered in its 200.
#[test]
fn an_offer_in_a_prack_is_answered_in_its_200() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let leg = desk.incoming(&mut peer, "Supported: 100rel", OFFER);
    desk.command(leg, LegCommand::EarlyMedia(sdp(OURS)));
    let progress = desk.next();
    peer.joins(&progress);
    let rack = format!("RAck: {} 1 INVITE", progress.header("RSeq"));
    let prack = peer.request("PRACK", &rack, HOLD);
    desk.hear(&peer.flow, &prack);
    desk.nothing();
    assert!(matches!(desk.event(), (_, LegEvent::Reoffer(Some(_)))));
    desk.command(leg, LegCommand::Reanswer(sdp(HOLD)));
    let answer = desk.next();
    answer.is("200").has("CSeq", "2 PRACK").has("Content-Type", "application/sdp");
    assert_eq!(answer.body(), HOLD);
    desk.pass(secs(10));
    desk.nothing();
}

/// A reliable provisional of the peer's is acknowledged once; repeats change nothing.
#[test]
fn a_reliable_183_is_pracked_once() {
    let mut desk = Desk::new();
    let (leg, invite) = desk.call_out();
    assert!(invite.header("Supported").contains("100rel"));
    let progress =
        reply(&invite, "183 Session Progress", "fork", "Require: 100rel\nRSeq: 771", OFFER);
    desk.hear(&trunk(), &progress);
    let prack = desk.next();
    prack.is("PRACK").has("RAck", "771 1 INVITE").has("CSeq", "2 PRACK");
    assert_eq!(prack.start(), "PRACK sip:carrier@192.0.2.9 SIP/2.0");
    assert_eq!(prack.tag("To"), "fork");
    assert!(matches!(desk.event(), (_, LegEvent::EarlyMedia(_))));
    desk.hear(&trunk(), &progress);
    desk.hear(&trunk(), &progress);
    desk.nothing();
    desk.hear(&trunk(), &reply(&prack, "200 OK", "", "", ""));

    // RFC 3262 §4: a gap in the numbers means that one is still to come.
    let early = reply(&invite, "180 Ringing", "fork", "Require: 100rel\nRSeq: 773", "");
    desk.hear(&trunk(), &early);
    desk.nothing();
    desk.quiet();
    let missing = reply(&invite, "180 Ringing", "fork", "Require: 100rel\nRSeq: 772", "");
    desk.hear(&trunk(), &missing);
    let prack = desk.next();
    prack.is("PRACK").has("RAck", "772 1 INVITE").has("CSeq", "3 PRACK");
    assert!(matches!(desk.event(), (_, LegEvent::Ringing)));
    desk.hear(&trunk(), &reply(&prack, "200 OK", "", "", ""));

    desk.hear(&trunk(), &reply(&invite, "200 OK", "fork", "", OFFER));
    desk.next().is("ACK").has("CSeq", "1 ACK");
    assert!(matches!(desk.event(), (_, LegEvent::Answer(_))));
    // Numbers go on where the PRACKs left off.
    desk.command(leg, LegCommand::End(Cause::Normal));
    desk.next().is("BYE").has("CSeq", "4 BYE");
}

/// Numbers at the end of their range, and more branches than anybody has, do no harm.
#[test]
fn strange_rseqs_and_many_branches_do_no_harm() {
    let mut desk = Desk::new();
    let (_, invite) = desk.call_out();
    for rseq in ["4294967295", "4294967295", "4294967296", "0", "-1", "x"] {
        let extra = format!("Require: 100rel\nRSeq: {rseq}");
        desk.hear(&trunk(), &reply(&invite, "180 Ringing", "top", &extra, ""));
    }
    desk.next().is("PRACK").has("RAck", "4294967295 1 INVITE");
    desk.nothing();
    for branch in 0..1000 {
        let tag = format!("b{branch}");
        let extra = "Require: 100rel\nRSeq: 5";
        desk.hear(&trunk(), &reply(&invite, "180 Ringing", &tag, extra, ""));
    }
    assert!(desk.all().len() <= 8, "branches are bounded");
}

/// Our own re-INVITE may be answered reliably too.
#[test]
fn a_reliable_provisional_of_a_reinvite_is_pracked() {
    let mut desk = Desk::new();
    let (leg, _) = desk.outgoing_up("");
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    let reinvite = desk.next();
    reinvite.is("INVITE").has("CSeq", "2 INVITE");
    let progress = reply(&reinvite, "180 Ringing", "", "Require: 100rel\nRSeq: 9", "");
    desk.hear(&trunk(), &progress);
    desk.next().is("PRACK").has("RAck", "9 2 INVITE").has("CSeq", "3 PRACK");
    desk.hear(&trunk(), &progress);
    desk.nothing();
}
