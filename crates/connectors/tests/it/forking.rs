//! A proxy that forks our call: several early dialogs, several answers (RFC 3261 §13.2.2.4).

use crosspoint_call::{Cause, LegCommand, LegEvent};

use crate::harness::{Desk, HOLD, OFFER, Peer, reply, sdp, secs, trunk};

/// Two phones answer at once: the first is kept, the second is taken and ended.
#[test]
fn of_two_answers_one_is_kept_and_the_other_is_ended() {
    let mut desk = Desk::new();
    let (leg, invite) = desk.call_out();
    let first = reply(&invite, "200 OK", "one", "Contact: <sip:one@192.0.2.11>", OFFER);
    let second = reply(&invite, "200 OK", "two", "Contact: <sip:two@192.0.2.12>", HOLD);
    desk.hear(&trunk(), &first);
    let ack = desk.next();
    ack.is("ACK").has("CSeq", "1 ACK");
    assert_eq!((ack.start(), ack.tag("To").as_str()), ("ACK sip:one@192.0.2.11 SIP/2.0", "one"));
    assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));

    desk.hear(&trunk(), &second);
    let ack = desk.next();
    ack.is("ACK").has("CSeq", "1 ACK");
    assert_eq!((ack.start(), ack.tag("To").as_str()), ("ACK sip:two@192.0.2.12 SIP/2.0", "two"));
    let bye = desk.next();
    bye.is("BYE").has("CSeq", "2 BYE");
    assert_eq!((bye.start(), bye.tag("To").as_str()), ("BYE sip:two@192.0.2.12 SIP/2.0", "two"));
    assert!(bye.header("Reason").contains("completed elsewhere"));
    desk.hear(&trunk(), &reply(&bye, "200 OK", "", "", ""));

    // Repeats of either get the same ACK again, and nobody is hung up twice.
    for (answer, tag) in [(&first, "one"), (&second, "two"), (&second, "two")] {
        desk.hear(&trunk(), answer);
        let again = desk.next();
        assert_eq!((again.what().as_str(), again.tag("To").as_str()), ("ACK", tag));
        desk.nothing();
    }
    desk.quiet();
    desk.command(leg, LegCommand::End(Cause::Normal));
    assert_eq!(desk.next().is("BYE").tag("To"), "one");
}

/// A proxy that invents answers without end costs a bounded number of ACKs and BYEs.
#[test]
fn a_flood_of_answers_is_cut_off() {
    let mut desk = Desk::new();
    let (_, invite) = desk.call_out();
    for branch in 0..500 {
        let tag = format!("b{branch}");
        desk.hear(&trunk(), &reply(&invite, "200 OK", &tag, "", OFFER));
    }
    let sent = desk.all();
    let count = |what: &str| sent.iter().filter(|s| s.what() == what).count();
    assert_eq!((count("ACK"), count("BYE")), (8, 7));
}

/// One branch plays early media, another one answers: its answer counts, not the early one.
#[test]
fn the_answer_counts_when_another_branch_gave_early_media() {
    let mut desk = Desk::new();
    let (_, invite) = desk.call_out();
    desk.hear(&trunk(), &reply(&invite, "183 Session Progress", "one", "", HOLD));
    match desk.event() {
        (_, LegEvent::EarlyMedia(session)) => assert_eq!(session, sdp(HOLD)),
        other => panic!("{other:?}"),
    }
    desk.hear(&trunk(), &reply(&invite, "180 Ringing", "two", "", ""));
    assert!(matches!(desk.event(), (_, LegEvent::Ringing)));
    desk.hear(&trunk(), &reply(&invite, "200 OK", "two", "", OFFER));
    assert_eq!(desk.next().is("ACK").tag("To"), "two");
    match desk.event() {
        (_, LegEvent::Answer(Some(session))) => assert_eq!(session, sdp(OFFER)),
        other => panic!("{other:?}"),
    }
}

/// A branch answers without a description, although another branch gave one: there is none.
#[test]
fn an_answer_may_not_lean_on_the_early_media_of_another_branch() {
    let mut desk = Desk::new();
    let (leg, invite) = desk.call_out();
    desk.hear(&trunk(), &reply(&invite, "183 Session Progress", "one", "", OFFER));
    desk.event();
    desk.hear(&trunk(), &reply(&invite, "200 OK", "two", "", ""));
    desk.next().is("ACK");
    assert_eq!(desk.next().is("BYE").tag("To"), "two");
    desk.ended(leg, Cause::BadDescription);
}

/// After a reliable answer nothing else counts (RFC 3261 §13.2.1); the call hears it in full.
#[test]
fn a_reliable_early_answer_stands() {
    let mut desk = Desk::new();
    let (_, invite) = desk.call_out();
    let extra = "Require: 100rel\nRSeq: 1";
    desk.hear(&trunk(), &reply(&invite, "183 Session Progress", "one", extra, OFFER));
    desk.next().is("PRACK");
    desk.event();
    desk.hear(&trunk(), &reply(&invite, "200 OK", "one", "", HOLD));
    desk.next().is("ACK");
    match desk.event() {
        (_, LegEvent::Answer(Some(session))) => assert_eq!(session, sdp(OFFER)),
        other => panic!("{other:?}"),
    }
}

/// A late branch whose provisionals were acknowledged: its BYE counts on from its PRACK.
#[test]
fn numbers_of_a_branch_that_is_ended_go_on() {
    let mut desk = Desk::new();
    let (_, invite) = desk.call_out();
    let extra = "Require: 100rel\nRSeq: 1";
    desk.hear(&trunk(), &reply(&invite, "180 Ringing", "two", extra, ""));
    desk.next().is("PRACK").has("CSeq", "2 PRACK");
    desk.hear(&trunk(), &reply(&invite, "200 OK", "one", "", OFFER));
    desk.next().is("ACK");
    desk.hear(&trunk(), &reply(&invite, "200 OK", "two", "", OFFER));
    desk.next().is("ACK").has("CSeq", "1 ACK");
    desk.next().is("BYE").has("CSeq", "3 BYE");
}

/// Requests are told apart by the tag of their branch.
#[test]
fn requests_belong_to_the_branch_they_name() {
    let mut desk = Desk::new();
    let (_, invite) = desk.call_out();
    desk.hear(&trunk(), &reply(&invite, "180 Ringing", "one", "", ""));
    desk.event();
    let mut one = Peer::called_by(&invite, "one");
    let options = one.request("OPTIONS", "", "");
    desk.hear(&trunk(), &options);
    desk.next().is("200");
    let mut stranger = Peer::called_by(&invite, "else");
    let options = stranger.request("OPTIONS", "", "");
    desk.hear(&trunk(), &options);
    desk.next().is("481");
    // A branch says BYE before anybody answered: that branch is gone, the call is not.
    let bye = one.request("BYE", "", "");
    desk.hear(&trunk(), &bye);
    desk.next().is("200");
    let options = one.request("OPTIONS", "", "");
    desk.hear(&trunk(), &options);
    desk.next().is("481");
    desk.quiet();
    desk.hear(&trunk(), &reply(&invite, "200 OK", "two", "", OFFER));
    desk.next().is("ACK");
    assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
    // The call is up with one branch; the others are strangers to it.
    let options = one.request("OPTIONS", "", "");
    desk.hear(&trunk(), &options);
    desk.next().is("481");
    let mut two = Peer::called_by(&invite, "two");
    let options = two.request("OPTIONS", "", "");
    desk.hear(&trunk(), &options);
    desk.next().is("200");
    desk.pass(secs(1));
}
