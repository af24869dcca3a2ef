//! Buttons pressed from afar, and calls that are answered by themselves (RFC 5373).

use crosspoint_call::{Button, LegCommand, LegEvent, Reach};

use crate::harness::{Desk, OFFER, Peer, number, reply, trunk};

#[test]
fn a_call_says_that_it_is_to_be_answered_by_itself() {
    for (extra, is_wanted) in [
        ("Answer-Mode: Auto", true),
        ("Answer-Mode: auto;require", true),
        ("Answer-Mode: Manual", false),
        ("Call-Info: <sip:gateway.test>;answer-after=0", true),
        ("Call-Info: <sip:gateway.test>;answer-after=5", false),
        ("Alert-Info: <http://x>;info=alert-autoanswer;delay=0", true),
        ("Alert-Info: <http://x>;info=\"Auto Answer\"", true),
        ("Alert-Info: <http://x>;info=alert-external", false),
        ("", false),
    ] {
        let (mut desk, mut peer) = (Desk::new(), Peer::caller());
        let invite = peer.invite(extra, OFFER);
        desk.hear(&peer.flow, &invite);
        let (_, LegEvent::Offer(offer)) = desk.event() else { panic!("no call") };
        assert_eq!((offer.auto_answer, offer.may_press), (is_wanted, false), "{extra}");
    }
}

#[test]
fn who_is_called_is_told_in_every_way_there_is() {
    let mut desk = Desk::new();
    let mut offer = desk.offer(Reach::Trunk { name: "carrier".into(), number: number("4711") });
    offer.auto_answer = true;
    desk.begin(offer);
    let invite = desk.next();
    invite.has("Answer-Mode", "Auto").has("Call-Info", "<sip:carrier.test>;answer-after=0");
    let alert = "<http://carrier.test>;info=alert-autoanswer;delay=0";
    invite.has("Alert-Info", alert);
}

#[test]
fn talk_and_hold_are_told_and_passed_on() {
    for (event, button) in [("talk", Button::Talk), ("hold", Button::Hold)] {
        let (mut desk, mut peer) = (Desk::new(), Peer::caller());
        let (leg, _) = desk.incoming_up(&mut peer, "");
        let notify = peer.request("NOTIFY", &format!("Event: {event}"), "");
        desk.hear(&peer.flow, &notify);
        desk.next().is("200");
        let (id, LegEvent::Pressed(pressed)) = desk.event() else { panic!("nothing pressed") };
        assert_eq!((id, pressed), (leg, button));
        desk.command(leg, LegCommand::Press(button));
        let passed_on = desk.next();
        passed_on.is("NOTIFY").has("Event", event);
        // A phone that does not know it goes on.
        desk.hear(&passed_on.flow, &reply(&passed_on, "489 Bad Event", "", "", ""));
        desk.quiet();
        assert_eq!(desk.ua.legs(), 1);
    }
}

/// A phone that rings is told in its early dialog.
#[test]
fn a_phone_that_rings_is_told_to_answer() {
    let mut desk = Desk::new();
    let (leg, invite) = desk.call_out();
    desk.command(leg, LegCommand::Press(Button::Talk));
    desk.nothing();
    desk.hear(&trunk(), &reply(&invite, "180 Ringing", "far", "", ""));
    desk.command(leg, LegCommand::Press(Button::Talk));
    desk.next().is("NOTIFY").has("Event", "talk").has("CSeq", "2 NOTIFY");
}
