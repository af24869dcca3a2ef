//! REFER and the subscription it makes (RFC 3515, RFC 4488).

use crosspoint_base::{LegId, Private};
use crosspoint_call::{Cause, LegCommand, LegEvent, Reach, TransferProgress, TransferTarget};

use crate::harness::{Desk, OFFER, Peer, Sent, number, phone, reply, secs, tag_of};
use crate::phones::Phone;

fn up() -> (Desk, Peer, LegId) {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let (leg, _) = desk.incoming_up(&mut peer, "");
    (desk, peer, leg)
}

/// A REFER that is taken; what the call hears.
fn refer(desk: &mut Desk, peer: &mut Peer, extra: &str) -> Sent {
    let refer = peer.request("REFER", extra, "");
    desk.hear(&peer.flow, &refer);
    let accepted = desk.next();
    accepted.is("202").has("CSeq", &format!("{} REFER", peer.cseq));
    let (_, LegEvent::Transfer(TransferTarget::Blind(to))) = desk.event() else { panic!("none") };
    assert_eq!(to.expose(), "bob");
    accepted
}

const TO_BOB: &str = "Refer-To: <sip:bob@gateway.test>";

#[test]
fn a_transfer_is_told_step_by_step() {
    let (mut desk, mut peer, leg) = up();
    refer(&mut desk, &mut peer, TO_BOB);
    for (progress, state, line) in [
        (TransferProgress::Trying, "active;expires=60", "SIP/2.0 100 Trying\r\n"),
        (TransferProgress::Ringing, "active;expires=60", "SIP/2.0 180 Ringing\r\n"),
        (TransferProgress::Done, "terminated;reason=noresource", "SIP/2.0 200 OK\r\n"),
    ] {
        desk.command(leg, LegCommand::TransferProgress(progress));
        let notify = desk.next();
        notify.is("NOTIFY").has("Event", "refer").has("Subscription-State", state);
        notify.has("Content-Type", "message/sipfrag;version=2.0");
        assert_eq!(notify.body(), line);
        desk.hear(&peer.flow, &reply(&notify, "200 OK", "", "", ""));
    }
    // The subscription is over.
    desk.command(leg, LegCommand::TransferProgress(TransferProgress::Done));
    desk.nothing();
    desk.command(leg, LegCommand::End(Cause::Transferred));
    desk.next().is("BYE");
}

#[test]
fn a_transfer_that_fails_is_told_with_its_status() {
    let (mut desk, mut peer, leg) = up();
    refer(&mut desk, &mut peer, TO_BOB);
    desk.command(leg, LegCommand::TransferProgress(TransferProgress::Failed(Cause::Busy)));
    let notify = desk.next();
    notify.is("NOTIFY").has("Subscription-State", "terminated;reason=noresource");
    assert_eq!(notify.body(), "SIP/2.0 486 Busy Here\r\n");
    desk.hear(&peer.flow, &reply(&notify, "200 OK", "", "", ""));
    // Another try makes a subscription of its own, and is named (RFC 3515 §2.4.6).
    refer(&mut desk, &mut peer, TO_BOB);
    desk.command(leg, LegCommand::TransferProgress(TransferProgress::Trying));
    desk.next().is("NOTIFY").has("Event", &format!("refer;id={}", peer.cseq));
}

/// One at a time.
#[test]
fn a_second_transfer_has_to_wait() {
    let (mut desk, mut peer, _) = up();
    refer(&mut desk, &mut peer, TO_BOB);
    let second = peer.request("REFER", TO_BOB, "");
    desk.hear(&peer.flow, &second);
    desk.next().is("491");
    desk.quiet();
}

/// RFC 4488: no news wanted, none sent.
#[test]
fn a_transfer_without_subscription_sends_no_notify() {
    let (mut desk, mut peer, leg) = up();
    let extra = format!("{TO_BOB}\nRefer-Sub: false\nRequire: norefersub");
    refer(&mut desk, &mut peer, &extra).has("Refer-Sub", "false");
    desk.command(leg, LegCommand::TransferProgress(TransferProgress::Trying));
    desk.command(leg, LegCommand::TransferProgress(TransferProgress::Done));
    desk.nothing();
}

/// A phone that has forgotten its subscription says so; its call goes on.
#[test]
fn a_refused_notify_ends_the_news_and_not_the_call() {
    for status in ["481 Call/Transaction Does Not Exist", "489 Bad Event", "408 Request Timeout"] {
        let (mut desk, mut peer, leg) = up();
        refer(&mut desk, &mut peer, TO_BOB);
        desk.command(leg, LegCommand::TransferProgress(TransferProgress::Trying));
        let notify = desk.next();
        desk.hear(&peer.flow, &reply(&notify, status, "", "", ""));
        desk.command(leg, LegCommand::TransferProgress(TransferProgress::Done));
        desk.pass(secs(60));
        desk.nothing();
        desk.quiet();
        assert_eq!(desk.ua.legs(), 1);
    }
}

/// What we cannot carry out is refused, and the call hears nothing of it.
#[test]
fn transfers_that_cannot_be_carried_out_are_refused() {
    let (mut desk, mut peer, _) = up();
    for (extra, status) in [
        ("", "400"),
        ("Refer-To: <sip:gateway.test>", "400"),
        ("Refer-To: bob", "400"),
        ("Refer-To: <sip:bob@gateway.test>\nRefer-To: <sip:eve@gateway.test>", "400"),
        ("Refer-To: <sip:bob@gateway.test>, <sip:eve@gateway.test>", "400"),
        ("Refer-To: <sip:bob@gateway.test?Replaces=x>", "400"),
        (
            "Refer-To: <sip:bob@gateway.test?Replaces=x%3Bto-tag%3Da%3Bfrom-tag%3Db&Replaces=y>",
            "400",
        ),
        ("Refer-To: <sip:bob@gateway.test;method=BYE>", "501"),
    ] {
        let refer = peer.request("REFER", extra, "");
        desk.hear(&peer.flow, &refer);
        desk.next().is(status);
        desk.quiet();
    }
    // Outside of a call there is nobody to transfer.
    let mut stranger = Peer::caller();
    stranger.call_id = "elsewhere".to_owned();
    let refer = stranger.request("REFER", TO_BOB, "");
    desk.hear(&stranger.flow, &refer);
    desk.next().is("403");
}

/// The other call of the same party, by our tag and theirs in either order (RFC 5589 §7).
#[test]
fn an_attended_transfer_names_the_other_call_of_the_same_party() {
    for is_crossed in [false, true] {
        let (mut desk, mut peer, _) = up();
        let (other, far) = desk.outgoing_up("");
        let (ours, theirs) = (tag_of(&far.remote), tag_of(&far.local));
        let (to, from) = if is_crossed { (&theirs, &ours) } else { (&ours, &theirs) };
        let named = format!("{}%3Bto-tag%3D{to}%3bfrom-tag%3D{from}", far.call_id);
        let extra = format!("Refer-To: <sip:x@gateway.test?Subject=a%26b&replaces={named}>");
        let refer = peer.request("REFER", &extra, "");
        desk.hear(&peer.flow, &refer);
        desk.next().is("202");
        let (_, LegEvent::Transfer(TransferTarget::Attended(leg))) = desk.event() else {
            panic!("no transfer")
        };
        assert_eq!(leg, other);
    }
}

/// One that does not exist, one that is its own, one of another party: all the same.
#[test]
fn an_attended_transfer_cannot_name_the_calls_of_others() {
    let (mut desk, mut peer, _) = up();
    let mut device = Phone::new("alice", phone("203.0.113.5:5060"));
    device.sign_in(&mut desk, "").is("200");
    let (binding, _) = desk.ua.bindings_of("alice").next().unwrap();
    let (_, invite) = desk.call(Reach::Binding(binding));
    desk.hear(&invite.flow, &reply(&invite, "200 OK", "desk", "", OFFER));
    desk.next().is("ACK");
    desk.events();
    let alices = (invite.header("Call-ID"), invite.tag("From"), "desk".to_owned());
    let own = (peer.call_id.clone(), tag_of(&peer.remote), tag_of(&peer.local));
    for (call_id, ours, theirs) in [alices, own, ("none".to_owned(), "a".into(), "b".into())] {
        let named = format!("{call_id}%3Bto-tag%3D{ours}%3Bfrom-tag%3D{theirs}");
        let extra = format!("Refer-To: <sip:x@gateway.test?Replaces={named}>");
        let refer = peer.request("REFER", &extra, "");
        desk.hear(&peer.flow, &refer);
        desk.next().is("202");
        let notify = desk.next();
        notify.is("NOTIFY").has("Subscription-State", "terminated;reason=noresource");
        assert_eq!(notify.body(), "SIP/2.0 481 Call/Transaction Does Not Exist\r\n");
        desk.hear(&peer.flow, &reply(&notify, "200 OK", "", "", ""));
        desk.quiet();
    }
}

/// RFC 5589 §7, where the other call is in another network: the new call takes its place there.
#[test]
fn a_call_of_another_network_is_taken_over_there() {
    let (mut desk, mut peer, _) = up();
    let named = "abc%40pbx.test%3Bto-tag%3D1%3Bfrom-tag%3D2%3Bearly-only";
    let extra = format!("Refer-To: <sip:4711@pbx.test?Replaces={named}>");
    let refer = peer.request("REFER", &extra, "");
    desk.hear(&peer.flow, &refer);
    desk.next().is("202");
    let (_, LegEvent::Transfer(TransferTarget::Elsewhere { to, call })) = desk.event() else {
        panic!("no transfer")
    };
    assert_eq!(to.expose(), "4711");
    assert_eq!(call.expose(), "abc@pbx.test;to-tag=1;from-tag=2;early-only");
    let leg = desk.ua.next_leg_id();
    let mut offer = desk.offer(Reach::Trunk { name: "carrier".into(), number: number("4711") });
    offer.joins = Some(call);
    desk.command(leg, LegCommand::Offer(Box::new(offer)));
    let invite = desk.next();
    invite.is("INVITE").has("Require", "replaces");
    invite.has("Replaces", "abc@pbx.test;to-tag=1;from-tag=2;early-only");
}

/// What would break out of its header is no name of a dialog.
#[test]
fn the_name_of_a_call_elsewhere_smuggles_nothing() {
    for call_id in ["a%0d%0aX-Evil%3A1", "a%2Cb", "a%20b", "%22a"] {
        let (mut desk, mut peer, _) = up();
        let named = format!("{call_id}%3Bto-tag%3D1%3Bfrom-tag%3D2");
        let extra = format!("Refer-To: <sip:4711@pbx.test?Replaces={named}>");
        let refer = peer.request("REFER", &extra, "");
        desk.hear(&peer.flow, &refer);
        desk.next().is("202");
        let notify = desk.next();
        assert_eq!(notify.body(), "SIP/2.0 481 Call/Transaction Does Not Exist\r\n", "{call_id}");
    }
}

/// RFC 3892: we say who did it, for we know; what a phone writes itself is not passed on.
#[test]
fn who_is_called_hears_who_transferred_the_call() {
    let mut desk = Desk::new();
    let leg = desk.ua.next_leg_id();
    let mut offer = desk.offer(Reach::Trunk { name: "carrier".into(), number: number("4711") });
    offer.referred_by = Some(Private("alice".to_owned()));
    desk.command(leg, LegCommand::Offer(Box::new(offer)));
    desk.next().is("INVITE").has("Referred-By", "<sip:alice@carrier.test>");
}

/// Numbers with plus signs, escapes and `tel` URIs arrive as they were dialled.
#[test]
fn transfer_targets_are_read_as_dialled() {
    for (target, expected) in [
        ("<tel:+4930123;phone-context=x>", "+4930123"),
        ("sip:%2B4930123@gateway.test;user=phone", "+4930123"),
        ("\"B\" <sip:bob;isub=1@gateway.test>", "bob"),
    ] {
        let (mut desk, mut peer, _) = up();
        let refer = peer.request("REFER", &format!("Refer-To: {target}"), "");
        desk.hear(&peer.flow, &refer);
        desk.next().is("202");
        let (_, LegEvent::Transfer(TransferTarget::Blind(to))) = desk.event() else {
            panic!("no transfer")
        };
        assert_eq!(to.expose(), expected);
    }
}
