//! INFO: digits in both forms and trickled candidates, both ways; and what INFO may not carry.

use crosspoint_call::{Candidate, Cause, Digit, LegCommand, LegEvent};

use crate::harness::{Desk, Peer, millis, reply};

const RELAY: &str = "Content-Type: application/dtmf-relay";
const PLAIN: &str = "Content-Type: application/dtmf";

#[test]
fn digits_in_both_forms_are_heard() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let (leg, _) = desk.incoming_up(&mut peer, "");
    for (kind, body, digit, length) in [
        (RELAY, "Signal=5\nDuration=250\n", '5', 250),
        (RELAY, "Signal= #\nDuration= 100", '#', 100),
        (RELAY, "Duration=1\nSignal=11\n", '#', 40),
        (RELAY, "Signal=D", 'D', 160),
        (PLAIN, "7", '7', 160),
        (PLAIN, "*\n", '*', 160),
        (PLAIN, "10", '*', 160),
    ] {
        let info = peer.request("INFO", kind, body);
        desk.hear(&peer.flow, &info);
        desk.next().is("200").has("CSeq", &format!("{} INFO", peer.cseq));
        match desk.event() {
            (id, LegEvent::Dtmf(heard, duration)) => {
                assert_eq!((id, heard.as_char(), duration), (leg, digit, millis(length)));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_no_digit_is_refused_and_not_heard() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    desk.incoming_up(&mut peer, "");
    for (extra, body, status) in [
        (RELAY, "Duration=250\n", "400"),
        (RELAY, "Signal=x\n", "400"),
        (PLAIN, "55", "400"),
        (PLAIN, "", "400"),
        ("Content-Type: text/plain", "5", "415"),
        ("Info-Package: nothing\nContent-Type: text/plain", "5", "469"),
        ("", "", "200"),
    ] {
        let info = peer.request("INFO", extra, body);
        desk.hear(&peer.flow, &info);
        let response = desk.next();
        response.is(status);
        match status {
            "415" => assert!(response.header("Accept").contains("application/dtmf-relay")),
            "469" => drop(response.has("Recv-Info", "trickle-ice")),
            _ => {}
        }
        desk.quiet();
    }
}

/// Ours: the form with a duration first; a phone that refuses it gets the other one from then on.
#[test]
fn digits_are_sent_in_the_form_that_the_peer_takes() {
    let mut desk = Desk::new();
    let (leg, peer) = desk.outgoing_up("");
    let digit = |c| LegCommand::Dtmf(Digit::new(c).unwrap(), millis(200));
    desk.command(leg, digit('5'));
    let info = desk.next();
    info.is("INFO").has("Content-Type", "application/dtmf-relay").has("CSeq", "2 INFO");
    assert_eq!(info.body(), "Signal=5\r\nDuration=200\r\n");
    let extra = "Accept: application/dtmf";
    desk.hear(&peer.flow, &reply(&info, "415 Unsupported Media Type", "", extra, ""));
    let again = desk.next();
    again.is("INFO").has("Content-Type", "application/dtmf").has("CSeq", "3 INFO");
    assert_eq!(again.body(), "5");
    desk.hear(&peer.flow, &reply(&again, "200 OK", "", "", ""));
    desk.command(leg, digit('#'));
    let next = desk.next();
    assert_eq!(next.has("Content-Type", "application/dtmf").body(), "#");
    // A phone that takes neither is left in peace, and the call goes on.
    desk.hear(&peer.flow, &reply(&next, "415 Unsupported Media Type", "", "", ""));
    desk.nothing();
    desk.quiet();
}

/// Nothing else is tried where the peer says that it would not take it.
#[test]
fn a_peer_that_takes_no_digits_is_believed() {
    let mut desk = Desk::new();
    let (leg, peer) = desk.outgoing_up("");
    desk.command(leg, LegCommand::Dtmf(Digit::new('5').unwrap(), millis(200)));
    let info = desk.next();
    let extra = "Accept: application/sdp";
    desk.hear(&peer.flow, &reply(&info, "415 Unsupported Media Type", "", extra, ""));
    desk.nothing();
    desk.quiet();
}

const CONTROL: &str = "Content-Type: application/media_control+xml";

/// RFC 5168, both ways; other things that such a body says are taken and mean nothing.
#[test]
fn whole_pictures_are_asked_for_both_ways() {
    let mut desk = Desk::new();
    let (leg, mut peer) = desk.outgoing_up("");
    desk.command(leg, LegCommand::RequestKeyFrame);
    let info = desk.next();
    info.is("INFO").has("Content-Type", "application/media_control+xml");
    let body = info.body().to_owned();
    assert!(body.contains("<to_encoder><picture_fast_update/></to_encoder>"), "{body}");
    desk.hear(&peer.flow, &reply(&info, "200 OK", "", "", ""));
    let theirs = peer.request("INFO", CONTROL, &body);
    desk.hear(&peer.flow, &theirs);
    desk.next().is("200");
    let (id, event) = desk.event();
    assert!(id == leg && matches!(event, LegEvent::KeyFrameWanted), "{event:?}");
    let error = "<media_control><general_error>no</general_error></media_control>";
    let theirs = peer.request("INFO", CONTROL, error);
    desk.hear(&peer.flow, &theirs);
    desk.next().is("200");
    desk.quiet();
}

#[test]
fn a_peer_that_refuses_to_be_asked_for_pictures_is_not_asked_again() {
    let mut desk = Desk::new();
    let (leg, peer) = desk.outgoing_up("");
    desk.command(leg, LegCommand::RequestKeyFrame);
    let info = desk.next();
    desk.hear(&peer.flow, &reply(&info, "415 Unsupported Media Type", "", "", ""));
    desk.command(leg, LegCommand::RequestKeyFrame);
    desk.nothing();
    desk.quiet();
}

/// RFC 5057 §5.1: a 481 to an INFO means that the call is gone.
#[test]
fn an_info_that_finds_no_call_ends_ours() {
    let mut desk = Desk::new();
    let (leg, peer) = desk.outgoing_up("");
    desk.command(leg, LegCommand::Dtmf(Digit::new('5').unwrap(), millis(200)));
    let info = desk.next();
    let gone = reply(&info, "481 Call/Transaction Does Not Exist", "", "", "");
    desk.hear(&peer.flow, &gone);
    desk.ended(leg, Cause::SignalingLost);
    desk.next().is("BYE");
}

/// RFC 8840: candidates go to a peer that trickles, and come from one.
#[test]
fn candidates_trickle_both_ways() {
    let mut desk = Desk::new();
    let (leg, mut peer) = desk.outgoing_up("Supported: trickle-ice");
    let candidate = "candidate:1 1 udp 2130706431 192.0.2.1 9000 typ host".to_owned();
    let candidate = Candidate { text: candidate, mid: Some("0".into()), ufrag: Some("uf".into()) };
    desk.command(leg, LegCommand::Candidate(candidate.clone()));
    let info = desk.next();
    info.is("INFO").has("Info-Package", "trickle-ice");
    info.has("Content-Type", "application/trickle-ice-sdpfrag");
    let fragment = info.body().to_owned();
    assert!(fragment.contains(&candidate.text), "{fragment}");
    let extra = "Info-Package: trickle-ice\nContent-Type: application/trickle-ice-sdpfrag";
    let theirs = peer.request("INFO", extra, &fragment);
    desk.hear(&peer.flow, &theirs);
    desk.next().is("200");
    match desk.event() {
        (_, LegEvent::Candidate(heard)) => assert_eq!(heard, candidate),
        other => panic!("{other:?}"),
    }
    desk.command(leg, LegCommand::EndOfCandidates);
    let end = desk.next();
    let theirs = peer.request("INFO", extra, end.body());
    desk.hear(&peer.flow, &theirs);
    desk.next().is("200");
    assert!(matches!(desk.event(), (_, LegEvent::EndOfCandidates)));
}
