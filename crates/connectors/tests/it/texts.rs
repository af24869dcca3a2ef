//! MESSAGE (RFC 3428) and subscriptions (RFC 6665): who may, and what is said.

use std::sync::Arc;

use crosspoint_base::{LegId, Private};
use crosspoint_call::{Cause, Identity, Mailbox, Profile, Reach, Role, Side, Standing, Text};
use crosspoint_connectors::sip_ua::Output;

use crate::harness::{Desk, Peer, phone, reply, secs, trunk};
use crate::phones::Phone;

/// A user's phone that speaks outside of calls.
struct Speaker {
    device: Phone,
    peer: Peer,
}

impl Speaker {
    fn new(user: &'static str) -> Self {
        let device = Phone::new(user, phone("203.0.113.6:5060"));
        let mut peer = Peer::caller();
        peer.flow = device.flow;
        peer.local = format!("<sip:{user}@gateway.test>;tag=speaker");
        peer.remote = "<sip:bob@gateway.test>".to_owned();
        peer.target = "sip:bob@gateway.test".to_owned();
        peer.call_id = format!("speaker-{user}");
        Self { device, peer }
    }

    /// Sends a request, with credentials after the challenge.
    fn says(&mut self, desk: &mut Desk, method: &str, extra: &str, body: &str) {
        let first = self.peer.request(method, extra, body);
        desk.hear(&self.peer.flow, &first);
        self.device.challenged(desk.next().is("407"));
        let value = self.device.authorization(method, &self.peer.target);
        let second = self.peer.request(method, &format!("{extra}\n{value}"), body);
        desk.hear(&self.peer.flow, &second);
    }
}

const PLAIN: &str = "Content-Type: text/plain;charset=utf-8";

#[test]
fn a_text_is_told_with_its_sender_and_answered_with_the_outcome() {
    for (taken, status) in [(Ok(()), "202"), (Err(Cause::NotFound), "404")] {
        let mut desk = Desk::new();
        let mut alice = Speaker::new("alice");
        alice.says(&mut desk, "MESSAGE", PLAIN, "Lunch?");
        let Some(Output::Text(key, text)) = desk.others.pop_front() else { panic!("no text") };
        assert_eq!((text.body.expose().as_str(), text.to.expose().as_str()), ("Lunch?", "bob"));
        assert_eq!(text.from.user.as_deref(), Some("alice"));
        assert_eq!(&*text.kind, "text/plain;charset=utf-8");
        desk.act(|ua, now| ua.text_taken(now, key, taken));
        desk.next().is(status);
        desk.leaves_nothing();
    }
}

/// Nobody writes in the name of somebody else, and strangers do not write at all.
#[test]
fn a_text_in_a_false_name_goes_nowhere() {
    let mut desk = Desk::new();
    let mut stranger = Peer::caller();
    stranger.flow = phone("198.51.100.99:5060");
    stranger.local = "<sip:alice@gateway.test>;tag=x".to_owned();
    let text = stranger.request("MESSAGE", PLAIN, "Send money");
    desk.hear(&stranger.flow, &text);
    desk.next().is("407");
    let mut bob = Speaker::new("bob");
    bob.peer.local = "<sip:alice@gateway.test>;tag=x".to_owned();
    bob.says(&mut desk, "MESSAGE", PLAIN, "Send money");
    desk.next().is("403");
    assert!(desk.others.is_empty());
}

#[test]
fn texts_that_cannot_be_passed_on_are_refused() {
    let long = "x".repeat(17 * 1024);
    for (kind, body, status) in
        [(PLAIN, long.as_str(), "413"), ("Content-Type: a\tb\u{1}", "x", "415")]
    {
        let mut desk = Desk::new();
        Speaker::new("alice").says(&mut desk, "MESSAGE", kind, body);
        desk.next().is(status);
        assert!(desk.others.is_empty());
    }
}

#[test]
fn a_text_goes_out_to_a_device_and_its_answer_is_told() {
    for (answer, outcome) in
        [("200 OK", Ok(())), ("480 Temporarily Unavailable", Err(Cause::Unavailable))]
    {
        let mut desk = Desk::new();
        Phone::new("alice", phone("203.0.113.5:5060")).sign_in(&mut desk, "").is("200");
        let (binding, _) = desk.ua.bindings_of("alice").next().unwrap();
        let text = Text {
            from: Identity { address: Private("bob".to_owned()), ..Identity::default() },
            to: Private("alice".to_owned()),
            kind: "text/plain".into(),
            body: Private("Lunch?".to_owned()),
            is_fleeting: false,
        };
        desk.act(|ua, now| ua.send_text(now, 7, &Reach::Binding(binding), &text));
        let message = desk.next();
        message.is("MESSAGE").has("Content-Type", "text/plain").lacks("Contact");
        assert_eq!(message.body(), "Lunch?");
        desk.hear(&message.flow, &reply(&message, answer, "x", "", ""));
        let Some(Output::TextSent(7, told)) = desk.others.pop_front() else { panic!("no answer") };
        assert_eq!(told, outcome);
    }
}

fn side(address: &str) -> Side {
    Side {
        leg: LegId(1),
        user: "bob".into(),
        role: Role::Front,
        profile: Profile::WebRtc,
        peer: Identity { address: Private(address.to_owned()), ..Identity::default() },
        is_active: true,
        is_ringing: false,
        started: Desk::new().now,
    }
}

/// Alice watches bob.
fn watching(event: &str) -> (Desk, Speaker, Arc<str>) {
    let mut desk = Desk::new();
    let mut alice = Speaker::new("alice");
    alice.says(&mut desk, "SUBSCRIBE", &format!("Event: {event}\nExpires: 600"), "");
    let Some(Output::Watch { key, watcher, of, .. }) = desk.others.pop_front() else {
        panic!("nobody is asked")
    };
    assert_eq!((&*watcher, of.as_str()), ("alice", "bob"));
    let bob: Arc<str> = "bob".into();
    let answer = Some((bob.clone(), Standing::default()));
    desk.act(|ua, now| ua.watch_answered(now, key, &watcher, answer));
    let accepted = desk.next();
    accepted.is("200").has("Expires", "600");
    alice.peer.joins(&accepted);
    (desk, alice, bob)
}

#[test]
fn a_watcher_hears_the_whole_state_and_then_each_change_one_after_the_other() {
    let (mut desk, _, bob) = watching("dialog;id=4711");
    let first = desk.next();
    first.is("NOTIFY").has("Event", "dialog;id=4711");
    first.has("Subscription-State", "active;expires=600");
    assert!(first.body().contains("version=\"0\" state=\"full\""));
    // What changes before the first is answered is told after it; only the last of it.
    for address in ["first", "<&\"second'\u{7}>"] {
        let standing = Standing { calls: vec![side(address)], ..Standing::default() };
        desk.act(|ua, now| ua.show(now, &bob, &standing));
    }
    desk.nothing();
    desk.hear(&first.flow, &reply(&first, "200 OK", "", "", ""));
    let second = desk.next();
    assert!(second.body().contains("version=\"1\""));
    let identity = "<identity>sip:&lt;&amp;&quot;second&apos;&gt;@gateway.test</identity>";
    assert!(second.body().contains(identity), "{}", second.body());
    // A watcher that does not want it any more is not told again.
    desk.hear(&second.flow, &reply(&second, "481 Call/Transaction Does Not Exist", "", "", ""));
    desk.act(|ua, now| ua.show(now, &bob, &Standing::default()));
    desk.nothing();
    desk.leaves_nothing();
}

#[test]
fn a_subscription_is_refreshed_and_ended_by_its_watcher() {
    let (mut desk, mut alice, bob) = watching("presence");
    let first = desk.next();
    desk.hear(&first.flow, &reply(&first, "200 OK", "", "", ""));
    for (expires, state) in [(1200, "active;expires=1200"), (0, "terminated;reason=timeout")] {
        let refresh =
            alice.peer.request("SUBSCRIBE", &format!("Event: presence\nExpires: {expires}"), "");
        desk.hear(&alice.peer.flow, &refresh);
        desk.next().is("200").has("Expires", &expires.to_string());
        let Some(Output::Watch { key, watcher, .. }) = desk.others.pop_front() else {
            panic!("nobody is asked")
        };
        let answer = Some((bob.clone(), Standing::default()));
        desk.act(|ua, now| ua.watch_answered(now, key, &watcher, answer));
        let notify = desk.next();
        notify.is("NOTIFY").has("Subscription-State", state);
        desk.hear(&notify.flow, &reply(&notify, "200 OK", "", "", ""));
    }
    assert_eq!(desk.ua.subscriptions(), 0);
    desk.leaves_nothing();
}

/// Strangers and trunks watch nobody; a dialog that is not theirs is none.
#[test]
fn only_users_watch() {
    let mut desk = Desk::new();
    let mut stranger = Peer::caller();
    let subscribe = stranger.request("SUBSCRIBE", "Event: dialog", "");
    desk.hear(&trunk(), &subscribe);
    desk.next().is("403");
    stranger.flow = phone("198.51.100.99:5060");
    let subscribe = stranger.request("SUBSCRIBE", "Event: dialog", "");
    desk.hear(&stranger.flow, &subscribe);
    desk.next().is("407");
    assert!(desk.others.is_empty());
    let (mut desk, mut alice, _) = watching("dialog");
    desk.all();
    alice.peer.local = "<sip:alice@gateway.test>;tag=other".to_owned();
    let refresh = alice.peer.request("SUBSCRIBE", "Event: dialog\nExpires: 0", "");
    desk.hear(&alice.peer.flow, &refresh);
    desk.next().is("481");
    assert_eq!(desk.ua.subscriptions(), 1);
}

/// A PBX tells what waits in a user's mailbox; nobody else does.
#[test]
fn a_mailbox_elsewhere_is_told_by_its_trunk_alone() {
    let body = "Messages-Waiting: yes\r\nVoice-Message: 3/8 (1/2)\r\n";
    let extra = "Event: message-summary\nSubscription-State: terminated\n\
                 Content-Type: application/simple-message-summary";
    let mut desk = Desk::new();
    let mut pbx = Peer::caller();
    pbx.target = "sip:bob@gateway.test".to_owned();
    let notify = pbx.request("NOTIFY", extra, body);
    desk.hear(&trunk(), &notify);
    desk.next().is("200");
    let Some(Output::Mailbox(user, told)) = desk.others.pop_front() else { panic!("no mailbox") };
    assert_eq!((user.as_str(), told), ("bob", Mailbox { voice: (3, 8), texts: 0 }));
    pbx.flow = phone("198.51.100.99:5060");
    let notify = pbx.request("NOTIFY", extra, body);
    desk.hear(&pbx.flow, &notify);
    desk.next().is("481");
    assert!(desk.others.is_empty());
}

/// Nothing that a watcher does makes more of it than there may be.
#[test]
fn a_watcher_has_so_many_subscriptions_and_no_more() {
    let (mut desk, mut alice, bob) = watching("dialog");
    desk.all();
    for number in 0..510 {
        alice.peer.call_id = format!("more-{number}");
        alice.peer.remote = "<sip:bob@gateway.test>".to_owned();
        alice.peer.target = "sip:bob@gateway.test".to_owned();
        alice.says(&mut desk, "SUBSCRIBE", "Event: dialog\nExpires: 600", "");
        if let Some(Output::Watch { key, watcher, .. }) = desk.others.pop_front() {
            let answer = Some((bob.clone(), Standing::default()));
            desk.act(|ua, now| ua.watch_answered(now, key, &watcher, answer));
        }
        desk.all();
    }
    assert_eq!(desk.ua.subscriptions(), 500);
    desk.pass(secs(1000));
    assert_eq!(desk.ua.subscriptions(), 0);
}

const PIDF: &str = "Content-Type: application/pidf+xml\nEvent: presence";
const LUNCH: &str = "<?xml version=\"1.0\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
    entity=\"sip:alice@gateway.test\"><tuple id=\"a\"><status><basic>closed</basic></status>\
    </tuple><r:person><r:activities><r:meal/><r:evil-word/></r:activities></r:person>\
    <note>At &lt;lunch&gt; &amp; back</note></presence>";

/// A publisher speaks of itself.
fn publisher() -> (Desk, Speaker) {
    let mut alice = Speaker::new("alice");
    alice.peer.remote = "<sip:alice@gateway.test>".to_owned();
    alice.peer.target = "sip:alice@gateway.test".to_owned();
    (Desk::new(), alice)
}

/// The entity-tag of a publication that was taken.
#[track_caller]
fn published(desk: &mut Desk, is_news: bool) -> String {
    let response = desk.next();
    response.is("200");
    let told = desk.others.pop_front();
    assert_eq!(matches!(told, Some(Output::Published(user)) if *user == *"alice"), is_news);
    response.header("SIP-ETag")
}

#[test]
fn a_publication_is_begun_refreshed_changed_and_removed() {
    let (mut desk, mut alice) = publisher();
    alice.says(&mut desk, "PUBLISH", PIDF, LUNCH);
    let first = published(&mut desk, true);
    let said = desk.ua.published_of("alice");
    assert_eq!((said.len(), said[0].is_open), (1, Some(false)));
    assert_eq!(said[0].activities, ["meal"], "words of others are not passed on");
    assert_eq!(said[0].note.as_ref().unwrap().expose(), "At <lunch> & back");
    alice.says(&mut desk, "PUBLISH", &format!("Event: presence\nSIP-If-Match: {first}"), "");
    let second = published(&mut desk, false);
    assert_ne!(first, second);
    alice.says(&mut desk, "PUBLISH", &format!("{PIDF}\nSIP-If-Match: {first}"), LUNCH);
    desk.next().is("412");
    let back = LUNCH.replace("closed", "open");
    alice.says(&mut desk, "PUBLISH", &format!("{PIDF}\nSIP-If-Match: {second}"), &back);
    let third = published(&mut desk, true);
    assert_eq!(desk.ua.published_of("alice")[0].is_open, Some(true));
    let over = format!("Event: presence\nExpires: 0\nSIP-If-Match: {third}");
    alice.says(&mut desk, "PUBLISH", &over, "");
    published(&mut desk, true);
    assert!(desk.ua.published_of("alice").is_empty());
}

#[test]
fn a_publication_that_nobody_refreshes_is_over() {
    let (mut desk, mut alice) = publisher();
    alice.says(&mut desk, "PUBLISH", &format!("{PIDF}\nExpires: 90"), LUNCH);
    published(&mut desk, true);
    desk.pass(secs(80));
    assert_eq!(desk.ua.published_of("alice").len(), 1);
    desk.pass(secs(20));
    assert!(desk.ua.published_of("alice").is_empty());
    assert!(matches!(desk.others.pop_front(), Some(Output::Published(_))));
}

#[test]
fn publications_that_cannot_be_are_refused() {
    let long = format!("<presence>{}</presence>", "x".repeat(9000));
    let pidf = |more: &str| format!("{PIDF}\n{more}");
    for (extra, body, status) in [
        ("Event: dialog\nContent-Type: application/pidf+xml".to_owned(), LUNCH, "489"),
        (pidf("Expires: 5"), LUNCH, "423"),
        (pidf("SIP-If-Match: unknown"), LUNCH, "412"),
        (pidf("Expires: 0"), LUNCH, "400"),
        (pidf(""), "no document", "400"),
        (pidf(""), &long, "413"),
        ("Event: presence\nContent-Type: text/plain".to_owned(), LUNCH, "415"),
        ("Event: presence".to_owned(), "", "400"),
    ] {
        let (mut desk, mut alice) = publisher();
        alice.says(&mut desk, "PUBLISH", extra.trim_end(), body);
        desk.next().is(status);
        assert!(desk.others.is_empty() && desk.ua.published_of("alice").is_empty(), "{extra}");
    }
}

/// Nobody says how somebody else is; and a user has so many devices and no more.
#[test]
fn a_user_publishes_of_itself_and_within_bounds() {
    let mut desk = Desk::new();
    let mut alice = Speaker::new("alice");
    alice.says(&mut desk, "PUBLISH", PIDF, LUNCH);
    desk.next().is("403");
    let (mut desk, mut alice) = publisher();
    for _ in 0..8 {
        alice.says(&mut desk, "PUBLISH", PIDF, LUNCH);
        published(&mut desk, true);
    }
    alice.says(&mut desk, "PUBLISH", PIDF, LUNCH);
    desk.next().is("503");
    assert_eq!(desk.ua.published_of("alice").len(), 8);
}
