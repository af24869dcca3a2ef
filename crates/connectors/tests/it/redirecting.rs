//! 3xx responses to calls of ours: whom the called party wants called instead.

use crosspoint_call::{Cause, DiversionReason, Diverted, LegCommand, LegEvent, Reach};
use crosspoint_connectors::sip_ua::DiversionForm;

use crate::harness::{Desk, OFFER, Peer, number, phone, reply, trunk};
use crate::phones::Phone;

/// What the call hears of these contacts.
fn named(contacts: &str) -> Vec<String> {
    let mut desk = Desk::new();
    let (leg, invite) = desk.call_out();
    desk.hear(&trunk(), &reply(&invite, "302 Moved Temporarily", "x", contacts, ""));
    desk.next().is("ACK");
    let named = match desk.event() {
        (id, LegEvent::Redirected(named)) => {
            assert_eq!(id, leg);
            named.into_iter().map(|to| to.expose().clone()).collect()
        }
        (_, LegEvent::Ended(Cause::Unavailable)) => return vec![],
        other => panic!("{other:?}"),
    };
    desk.ended(leg, Cause::Unavailable);
    desk.leaves_nothing();
    named
}

#[test]
fn a_redirection_names_numbers_here_the_preferred_first() {
    for (contacts, expected) in [
        ("Contact: <sip:carol@gateway.test>", vec!["carol"]),
        ("Contact: <tel:+4930123>", vec!["+4930123"]),
        (
            "Contact: <sip:a@gateway.test>;q=0.2, <sip:b@192.0.2.1>;q=0.7\nContact: <sip:c@gateway.test>",
            vec!["c", "b", "a"],
        ),
        // Somebody else's server is not our business.
        ("Contact: <sip:carol@elsewhere.example>", vec![]),
        ("Contact: <sip:gateway.test>", vec![]),
        ("Contact: *", vec![]),
        ("Contact: <sip:x@gateway.test>;q=9, <sip:y@gateway.test>;q=-1", vec!["x", "y"]),
        ("X-Nothing: here", vec![]),
    ] {
        assert_eq!(named(contacts), expected, "{contacts}");
    }
    let many: Vec<String> = (0..50).map(|n| format!("Contact: <sip:{n}@gateway.test>")).collect();
    assert_eq!(named(&many.join("\n")).len(), 8);
}

/// A way that a call has gone.
fn way() -> Vec<Diverted> {
    let place = |by: &str, reason| Diverted { by: number(by), reason, ..Diverted::default() };
    let bob = Diverted {
        outside: Some(number("+4930100")),
        ..place("bob", DiversionReason::Unconditional)
    };
    let hidden = Diverted { is_private: true, ..place("+4930200", DiversionReason::NoAnswer) };
    vec![bob, hidden]
}

/// What a call over the usual trunk says of the way.
fn told(form: DiversionForm) -> (Vec<String>, Vec<String>) {
    let mut desk = Desk::with(|config| config.trunks[0].diversion = form);
    let leg = desk.ua.next_leg_id();
    let mut offer = desk.offer(Reach::Trunk { name: "carrier".into(), number: number("4711") });
    offer.diverted = way();
    desk.command(leg, LegCommand::Offer(Box::new(offer)));
    let invite = desk.next();
    (invite.all("Diversion"), invite.all("History-Info"))
}

#[test]
fn who_is_called_instead_hears_where_the_call_was() {
    let diversion = [
        "<sip:+4930200@carrier.test>;reason=no-answer;privacy=full",
        "<sip:+4930100@carrier.test>;reason=unconditional",
    ];
    let history = [
        "<sip:+4930100@carrier.test>;index=1",
        "<sip:+4930200@carrier.test;cause=302>;index=1.1;mp=1",
        "<sip:4711@carrier.test;cause=408>;index=1.1.1;mp=1.1",
    ];
    let none: [&str; 0] = [];
    let (said, told_history) = told(DiversionForm::Both);
    assert_eq!((said, told_history), (owned(&diversion), owned(&history)));
    assert_eq!(told(DiversionForm::Diversion), (owned(&diversion), owned(&none)));
    assert_eq!(told(DiversionForm::HistoryInfo), (owned(&none), owned(&history)));
    assert_eq!(told(DiversionForm::Off), (owned(&none), owned(&none)));
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// What the call hears of an INVITE with these headers, and from a trunk of this form.
fn heard(headers: &str, form: DiversionForm) -> Vec<String> {
    let mut desk = Desk::with(|config| config.trunks[0].diversion = form);
    let mut peer = Peer::caller();
    let invite = peer.invite(headers, OFFER);
    desk.hear(&peer.flow, &invite);
    let (_, LegEvent::Offer(offer)) = desk.event() else { panic!("no call") };
    let word = |place: &Diverted| match place.is_private {
        true => format!("{place} hidden"),
        false => place.to_string(),
    };
    offer.diverted.iter().map(word).collect()
}

#[test]
fn what_a_trunk_says_of_the_way_is_heard() {
    use DiversionForm::{Both, Diversion, HistoryInfo, Off};
    let said = "Diversion: <sip:2@x.test>;reason=user-busy;privacy=full, \"A\" <tel:+491>;reason=\"no-answer\"";
    let history = "History-Info: <sip:7@x.test>;index=1, <sip:8@x.test;cause=486>;index=1.1;mp=1\n\
        History-Info: <sip:9@x.test?Reason=SIP%3Bcause%3D302>;index=1.2, <sip:10@y.test>;index=1.3";
    let both = format!("{said}\n{history}");
    let by_diversion = ["+491 no_answer", "2 busy hidden"];
    let by_history = ["7 busy", "9 unconditional"];
    assert_eq!(heard(&both, Both), by_diversion);
    assert_eq!(heard(&both, Diversion), by_diversion);
    assert_eq!(heard(&both, HistoryInfo), by_history);
    assert_eq!(heard(history, Both), by_history);
    assert!(heard(&both, Off).is_empty());
    for nonsense in
        ["Diversion: <>", "Diversion: <sip:@x>", "History-Info: <sip:1@x;cause=302>", ""]
    {
        assert!(heard(nonsense, Both).is_empty(), "{nonsense}");
    }
    let many = vec!["<sip:1@x.test>;reason=busy"; 50].join(", ");
    assert_eq!(heard(&format!("Diversion: {many}"), Both).len(), 10);
}

/// A user of ours could blame anybody.
#[test]
fn what_a_user_says_of_the_way_is_not_believed() {
    let mut desk = Desk::new();
    let mut alice = Phone::new("alice", phone("192.0.2.55:5060"));
    let offer = alice.call(&mut desk, "bob", "Diversion: <sip:+4930@x.test>;reason=busy\n");
    assert_eq!((offer.from.user.is_some(), offer.diverted.len()), (true, 0));
}
