//! INVITE with Replaces (RFC 3891): a user's other device takes a call of the same user over.

use crosspoint_base::LegId;
use crosspoint_call::{Cause, LegCommand, LegEvent, Reach, Replaces};

use crate::harness::{Desk, OFFER, OURS, Peer, Sent, phone, reply, sdp, trunk};
use crate::phones::Phone;

/// A call to alice's desk phone that rings.
fn ringing(desk: &mut Desk) -> (LegId, Sent) {
    Phone::new("alice", phone("203.0.113.5:5060")).sign_in(desk, "").is("200");
    let (binding, _) = desk.ua.bindings_of("alice").next().unwrap();
    let (leg, invite) = desk.call(Reach::Binding(binding));
    desk.hear(&invite.flow, &reply(&invite, "180 Ringing", "desk", "", ""));
    assert!(matches!(desk.event(), (_, LegEvent::Ringing)));
    (leg, invite)
}

/// The same call, answered.
fn up(desk: &mut Desk) -> (LegId, Sent) {
    let (leg, invite) = ringing(desk);
    desk.hear(&invite.flow, &reply(&invite, "200 OK", "desk", "", OFFER));
    desk.next().is("ACK");
    assert!(matches!(desk.event(), (_, LegEvent::Answer(Some(_)))));
    (leg, invite)
}

/// The dialog of an INVITE of ours, as its callee names it.
fn dialog(invite: &Sent, remote_tag: &str) -> String {
    let (call_id, ours) = (invite.header("Call-ID"), invite.tag("From"));
    format!("{call_id};to-tag={ours};from-tag={remote_tag}")
}

/// A device of a user calls with these headers; what comes of it.
struct Newcomer {
    device: Phone,
    peer: Peer,
}

impl Newcomer {
    fn of(user: &'static str) -> Self {
        Self::numbered(user, 0)
    }

    fn numbered(user: &'static str, number: usize) -> Self {
        let device = Phone::new(user, phone("203.0.113.6:5060"));
        let mut peer = Peer::caller();
        peer.flow = device.flow;
        peer.call_id = format!("newcomer-{user}-{number}");
        peer.local = format!("<sip:{user}@gateway.test>;tag=new{number}");
        Self { device, peer }
    }

    /// Sends the INVITE, with credentials after a challenge.
    fn invites(&mut self, desk: &mut Desk, extra: &str) {
        let Self { device, peer } = self;
        let first = peer.invite(extra, OFFER);
        desk.hear(&peer.flow, &first);
        let refusal = desk.next();
        desk.hear(&peer.flow, &Peer::in_transaction(&first, "ACK", &refusal.header("To")));
        device.challenged(refusal.is("407"));
        let value = device.authorization("INVITE", &peer.target);
        let second = peer.invite(&format!("{extra}\n{value}"), OFFER);
        desk.hear(&peer.flow, &second);
    }

    #[track_caller]
    fn replaces(&mut self, desk: &mut Desk, extra: &str) -> (LegId, Replaces) {
        self.invites(desk, extra);
        match desk.event() {
            (leg, LegEvent::Offer(offer)) => {
                assert_eq!(offer.from.user.as_deref(), Some("alice"));
                (leg, offer.replaces.expect("it replaces"))
            }
            other => panic!("no offer but {other:?}"),
        }
    }

    #[track_caller]
    fn is_refused(&mut self, desk: &mut Desk, extra: &str, status: &str) {
        self.invites(desk, extra);
        desk.next().is(status);
        desk.quiet();
    }
}

#[test]
fn another_device_takes_a_running_call_over() {
    let mut desk = Desk::new();
    let (old, invite) = up(&mut desk);
    let mut newcomer = Newcomer::of("alice");
    let extra = format!("Require: replaces\nReplaces: {}", dialog(&invite, "desk"));
    let (new, replaces) = newcomer.replaces(&mut desk, &extra);
    assert_eq!(replaces, Replaces::Leg(old));
    // What the call does then.
    desk.command(new, LegCommand::Answer(sdp(OURS)));
    desk.next().is("200");
    desk.command(old, LegCommand::End(Cause::Replaced));
    desk.next().is("BYE");
    desk.ended(old, Cause::Replaced);
}

/// What rings at one device is picked up by another, and the first stops ringing.
#[test]
fn a_call_that_rings_is_picked_up() {
    let mut desk = Desk::new();
    let (old, invite) = ringing(&mut desk);
    let mut newcomer = Newcomer::of("alice");
    let extra = format!("Replaces: {};early-only", dialog(&invite, "desk"));
    let (_, replaces) = newcomer.replaces(&mut desk, &extra);
    assert_eq!(replaces, Replaces::Leg(old));
    desk.command(old, LegCommand::End(Cause::Replaced));
    desk.next().is("CANCEL");
}

/// A call that the user made is taken over, once it is answered.
#[test]
fn a_call_that_the_user_made_is_taken_over() {
    let mut desk = Desk::new();
    let mut first = Newcomer::of("alice");
    first.peer.call_id = "first".to_owned();
    first.invites(&mut desk, "");
    let (old, LegEvent::Offer(offer)) = desk.event() else { panic!("no call") };
    assert_eq!(offer.replaces, None);
    desk.command(old, LegCommand::Ringing);
    let ours = desk.next().tag("To");
    let named = format!("Replaces: first ; from-tag=new0 ; to-tag={ours}");
    let mut second = Newcomer::numbered("alice", 1);
    // RFC 3891 §3: an early dialog that we were called in cannot be replaced.
    second.is_refused(&mut desk, &named, "481");
    desk.command(old, LegCommand::Answer(sdp(OURS)));
    let answer = desk.next();
    first.peer.joins(&answer);
    let ack = first.peer.ack("");
    desk.hear(&first.peer.flow, &ack);
    desk.event();
    let mut second = Newcomer::numbered("alice", 2);
    assert_eq!(second.replaces(&mut desk, &named).1, Replaces::Leg(old));
}

#[test]
fn only_what_rings_is_picked_up_with_early_only() {
    let mut desk = Desk::new();
    let (_, invite) = up(&mut desk);
    let extra = format!("Replaces: {};early-only", dialog(&invite, "desk"));
    Newcomer::of("alice").is_refused(&mut desk, &extra, "486");
}

/// Nobody takes over what is not his, nor learns that it exists.
#[test]
fn the_dialogs_of_others_do_not_exist() {
    let mut desk = Desk::new();
    let (_, invite) = up(&mut desk);
    let named = format!("Replaces: {}", dialog(&invite, "desk"));
    Newcomer::of("bob").is_refused(&mut desk, &named, "481");
    let mut stranger = Peer::caller();
    stranger.flow = trunk();
    let attempt = stranger.invite(&named, OFFER);
    desk.hear(&trunk(), &attempt);
    desk.next().is("481");
    // A dialog with a trunk is nobody's own.
    let (_, invite) = desk.call_out();
    desk.hear(&trunk(), &reply(&invite, "200 OK", "far", "", OFFER));
    desk.next().is("ACK");
    desk.events();
    let named = format!("Replaces: {}", dialog(&invite, "far"));
    Newcomer::numbered("alice", 1).is_refused(&mut desk, &named, "481");
    desk.quiet();
}

#[test]
fn what_names_no_dialog_is_refused() {
    let mut desk = Desk::new();
    let (_, invite) = up(&mut desk);
    let right = dialog(&invite, "desk");
    let call_id = invite.header("Call-ID");
    for (number, (value, status)) in [
        (dialog(&invite, "other"), "481"),
        (right.replace("to-tag=", "to-tag=x"), "481"),
        (right.replace(&call_id, "other"), "481"),
        (right.replace("desk", "0"), "481"),
        (call_id.clone(), "400"),
        (format!("{call_id};to-tag=x"), "400"),
        (format!("{call_id};from-tag=x;to-tag="), "400"),
        (";to-tag=a;from-tag=b".to_owned(), "400"),
        (format!("{right}\nReplaces: {right}"), "400"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut newcomer = Newcomer::numbered("alice", number);
        newcomer.is_refused(&mut desk, &format!("Replaces: {value}"), status);
    }
    assert_eq!(desk.ua.legs(), 1);
}
