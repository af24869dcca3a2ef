//! Browsers that sign in at a PBX through us, and are announced to a second server.

use crosspoint_base::Flow;
use crosspoint_call::{Cause, LegCommand, LegEvent, Reach, Scope};
use crosspoint_connectors::sip_ua::{RegistrationState, TrunkConfig, TrunkForward};

use crate::harness::{Desk, OFFER, Peer, Sent, browser, hop, number, phone, reply, secs, trunk};

const SECOND: &str = "192.0.2.20:5060";

fn desk() -> Desk {
    let mut desk = Desk::with(|config| {
        let second = TrunkConfig::new("centre", "centre.test", vec![hop(SECOND, 0)]);
        config.trunks.push(second);
        config.trunks[0].forward = Some(TrunkForward {
            domains: vec!["pbx.test".to_owned()],
            announce_to: Some("centre".into()),
        });
    });
    desk.start();
    desk
}

/// A browser's side of its registration.
struct Web {
    flow: Flow,
    cseq: u32,
}

impl Web {
    fn new(connection: u64) -> Self {
        Self { flow: browser(connection), cseq: 0 }
    }

    fn register(&mut self, extra: &str) -> String {
        self.cseq += 1;
        let Self { flow, cseq } = self;
        let connection = flow.connection.unwrap().0;
        format!(
            "REGISTER sip:pbx.test SIP/2.0\n\
             Via: SIP/2.0/WSS k3j2h1.invalid;branch=z9hG4bKw{connection}x{cseq}\nMax-Forwards: 69\n\
             From: <sip:erin@pbx.test>;tag=w\nTo: <sip:erin@pbx.test>\nCall-ID: web\n\
             CSeq: {cseq} REGISTER\nUser-Agent: JsSIP 3\n\
             Contact: <sip:abc@k3j2h1.invalid;transport=ws>;+sip.instance=\"<urn:uuid:1>\";reg-id=1;expires=300\n\
             {extra}"
        )
    }

    /// Signs in, up to the PBX's 200; what the PBX saw.
    #[track_caller]
    fn sign_in(&mut self, desk: &mut Desk, expires: u32) -> Sent {
        let proof = "Authorization: Digest username=\"erin\", realm=\"pbx.test\", response=\"x\"";
        let register = self.register(proof);
        desk.hear(&self.flow, &register);
        let register = desk.next();
        register.is("REGISTER");
        let contact = register.header("Contact");
        let extra = format!("Contact: {contact};expires={expires}");
        desk.hear(&register.flow, &reply(&register, "200 OK", "p", &extra, ""));
        register
    }
}

#[track_caller]
fn to_second(desk: &mut Desk, expires: &str) -> Sent {
    let announced = desk.next();
    assert_eq!(announced.flow.remote.to_string(), SECOND, "{}", announced.text);
    announced.is("REGISTER").has("Expires", expires);
    desk.hear(&announced.flow, &reply(&announced, "200 OK", "s", "", ""));
    announced
}

#[test]
fn a_browser_signs_in_at_a_pbx_through_us_and_calls_find_it() {
    let (mut desk, mut web) = (desk(), Web::new(7));
    let asking = web.register("");
    desk.hear(&web.flow, &asking);
    let register = desk.next();
    register.is("REGISTER").lacks("Authorization").lacks("Route").has("User-Agent", "Crosspoint");
    assert!(register.start().starts_with("REGISTER sip:pbx.test "));
    assert!(!register.text.contains("k3j2h1"), "{}", register.text);
    let question = "WWW-Authenticate: Digest realm=\"pbx.test\", nonce=\"n\"";
    desk.hear(&register.flow, &reply(&register, "401 Who", "p", question, ""));
    let asked = desk.next();
    asked.is("401").has("WWW-Authenticate", "Digest realm=\"pbx.test\", nonce=\"n\"");
    assert!(asked.flow == web.flow && desk.ua.forward_reports(desk.now).is_empty());

    let register = web.sign_in(&mut desk, 200);
    register.header("Authorization");
    let contact = register.target();
    assert!(contact.contains("fwd") && register.header("Path").contains(";lr>"), "{contact}");
    assert!(register.header("Path").contains(contact.trim_start_matches("sip:")));
    // The browser has as long as we have.
    let accepted = desk.next();
    accepted.is("200");
    assert!(accepted.header("Contact").contains("k3j2h1.invalid"));
    assert!(accepted.header("Contact").contains("expires=200"), "{}", accepted.header("Contact"));
    let announced = to_second(&mut desk, "200");
    announced.has("To", "<sip:erin@centre.test>");
    let report = desk.ua.forward_reports(desk.now).remove(0);
    assert_eq!((&*report.user, &*report.trunk), ("erin@pbx.test", "carrier"));
    assert_eq!(report.expires_in, secs(200));
    assert_eq!(report.announced, Some(RegistrationState::Connected));
    assert_eq!(desk.ua.browsers(), (1, 0));

    // The PBX calls our Contact, and the second server the one that it knows.
    let second = Flow { remote: SECOND.parse().unwrap(), ..trunk() };
    for (flow, target, tag) in [(trunk(), contact, "a"), (second, announced.target(), "b")] {
        let local = format!("<sip:+4930@carrier.test>;tag={tag}");
        let mut pbx = Peer { flow, target, local, call_id: tag.to_owned(), ..Peer::caller() };
        let invite = pbx.invite("", OFFER);
        desk.hear(&pbx.flow, &invite);
        let (leg, LegEvent::Offer(offer)) = desk.event() else { panic!() };
        assert_eq!(offer.to.expose(), "erin");
        let Scope::In(registration) = offer.scope else { panic!("{:?}", offer.scope) };
        let devices: Vec<_> = desk.ua.forwarded_devices(registration).collect();
        let [(binding, true)] = devices[..] else { panic!("{devices:?}") };
        let (back, called) = desk.call(Reach::Binding(binding));
        assert_eq!(called.flow, web.flow);
        assert!(called.start().starts_with("INVITE sip:abc@k3j2h1.invalid;transport=ws"));
        for leg in [leg, back] {
            desk.command(leg, LegCommand::End(Cause::Busy));
        }
        desk.all();
        desk.events();
    }
    desk.pass(secs(64));
}

fn call_by(desk: &mut Desk, flow: Flow, from: &str) -> Option<Scope> {
    let local = format!("<sip:{from}>;tag={}", flow.remote.port());
    let call_id = format!("{from}{:?}", flow.connection);
    let target = "sip:4711@pbx.test".to_owned();
    let mut peer = Peer { flow, local, call_id, target, ..Peer::caller() };
    let invite = peer.invite("", OFFER);
    desk.hear(&peer.flow, &invite);
    let offer = desk.events().into_iter().find_map(|(leg, event)| match event {
        LegEvent::Offer(offer) => Some((leg, offer.scope)),
        _ => None,
    });
    desk.all();
    let (leg, scope) = offer?;
    desk.command(leg, LegCommand::End(Cause::Busy));
    desk.events();
    desk.all();
    Some(scope)
}

#[test]
fn nobody_else_speaks_for_a_forwarded_browser() {
    let (mut desk, mut web) = (desk(), Web::new(7));
    web.sign_in(&mut desk, 200);
    desk.all();
    let scope = call_by(&mut desk, web.flow, "erin@pbx.test");
    let Some(Scope::Out(registration)) = scope else { panic!("{scope:?}") };
    // Its calls leave over the PBX's trunk, in its name.
    let (leg, invite) = desk.call(Reach::Registration { id: registration, number: number("4711") });
    assert_eq!(invite.flow.remote, trunk().remote);
    assert!(invite.header("From").contains("<sip:erin@carrier.test>"), "{}", invite.text);
    desk.command(leg, LegCommand::End(Cause::Cancelled));
    desk.events();
    desk.all();
    for (flow, from) in [
        (web.flow, "frank@pbx.test"),
        (web.flow, "erin@other.test"),
        (browser(8), "erin@pbx.test"),
        (phone("198.51.100.7:41000"), "erin@pbx.test"),
    ] {
        assert_eq!(call_by(&mut desk, flow, from), None, "{flow:?} {from}");
    }
    // Who learned our Contact is a stranger all the same.
    let contact = desk.ua.forward_reports(desk.now).remove(0).contact;
    let target = contact.trim_matches(['<', '>']).to_owned();
    let mut stranger = Peer { flow: phone("203.0.113.8:5060"), target, ..Peer::caller() };
    let invite = stranger.invite("", OFFER);
    desk.hear(&stranger.flow, &invite);
    desk.next().is("407");
    desk.quiet();
}

#[test]
fn a_registration_ends_on_all_sides_together() {
    // The browser signs out.
    let (mut desk, mut web) = (desk(), Web::new(7));
    web.sign_in(&mut desk, 200);
    desk.next().is("200");
    to_second(&mut desk, "200");
    web.sign_in(&mut desk, 0);
    desk.next().is("200").lacks("Contact");
    to_second(&mut desk, "0");
    assert!(desk.ua.forward_reports(desk.now).is_empty());
    assert_eq!(desk.ua.browsers(), (0, 0));

    // It loses its connection, comes back in time, and then does not.
    web.sign_in(&mut desk, 200);
    desk.next().is("200");
    to_second(&mut desk, "200");
    desk.close(7);
    desk.pass(secs(29));
    desk.nothing();
    let mut again = Web { flow: browser(9), cseq: web.cseq };
    again.sign_in(&mut desk, 200);
    desk.next().is("200");
    desk.nothing();
    desk.close(9);
    desk.pass(secs(30));
    let told: Vec<Sent> = desk.all();
    let mut whom: Vec<_> = told.iter().map(|s| s.flow.remote.to_string()).collect();
    whom.dedup();
    assert_eq!(whom, ["192.0.2.9:5060", SECOND]);
    assert!(told.iter().all(|s| s.header("Expires") == "0"));
    told[0].header("Authorization");
    assert!(desk.ua.forward_reports(desk.now).is_empty());
    for sent in &told {
        desk.hear(&sent.flow, &reply(sent, "200 OK", "x", "", ""));
    }
    desk.all();

    // Its time runs out, or the PBX wants it no more.
    web.sign_in(&mut desk, 60);
    desk.next().is("200");
    to_second(&mut desk, "60");
    let asking = web.register("");
    desk.hear(&web.flow, &asking);
    let refresh = desk.next();
    desk.hear(&refresh.flow, &reply(&refresh, "403 No", "p", "", ""));
    desk.next().is("403");
    to_second(&mut desk, "0");
    assert!(desk.ua.forward_reports(desk.now).is_empty());
}

#[test]
fn a_pbx_that_is_silent_is_told_as_such_and_nothing_stays() {
    let (mut desk, mut web) = (desk(), Web::new(7));
    let asking = web.register("");
    desk.hear(&web.flow, &asking);
    desk.pass(secs(33));
    let last = desk.all().pop().unwrap();
    last.is("408");
    assert!(desk.ua.forward_reports(desk.now).is_empty());
    // One who names somebody else, or no device, is not passed on.
    let odd = web.register("").replace("From: <sip:erin@", "From: <sip:mallory@");
    desk.hear(&web.flow, &odd);
    desk.next().is("400");
    desk.nothing();
}
