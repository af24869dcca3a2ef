//! Trunks that come, change and go while calls run.

use std::sync::Arc;

use crosspoint_base::{Private, Secret};
use crosspoint_call::router::TrunkState;
use crosspoint_call::{Cause, LegCommand, LegEvent, Reach};
use crosspoint_connectors::sip_ua::{
    FreshTrunk, Health, HopState, RegistrationState, SipUaChanges, TrunkChanges, TrunkConfig,
    TrunkRegistration, TrunkReport,
};
use crosspoint_sip::digest::Credentials;

use crate::harness::{Desk, OFFER, Peer, Sent, hop, reply, secs};

const HERE: &str = "192.0.2.9:5060";
const THERE: &str = "192.0.2.77:5060";

fn carrier(user: &str, at: &str) -> TrunkConfig {
    let password = Secret::new(format!("{user}-secret"));
    let registration = TrunkRegistration { user: user.to_owned(), expires: secs(600) };
    TrunkConfig {
        credentials: Some(Credentials { user: user.to_owned(), password, realm: None }),
        registration: Some(registration),
        ..TrunkConfig::new("carrier", "carrier.test", vec![hop(at, 0)])
    }
}

/// A desk that is signed in at its one trunk.
fn desk() -> Desk {
    let mut desk = Desk::with(|config| config.trunks = vec![carrier("line7", HERE)]);
    desk.start();
    signed_in(&mut desk, "line7", HERE);
    desk
}

/// Our sign-in up to its 200.
#[track_caller]
fn signed_in(desk: &mut Desk, user: &str, at: &str) {
    let register = desk.next();
    assert_eq!(register.is("REGISTER").flow.remote.to_string(), at, "\n{}", register.text);
    assert!(register.header("To").contains(user), "\n{}", register.text);
    let extra = format!("Contact: {};expires=600", register.header("Contact"));
    desk.hear(&register.flow, &reply(&register, "200 OK", "x", &extra, ""));
}

/// Our way out.
#[track_caller]
fn signed_out(desk: &mut Desk, user: &str) {
    let register = desk.next();
    register.is("REGISTER").has("Expires", "0");
    assert!(register.header("To").contains(user), "\n{}", register.text);
    desk.hear(&register.flow, &reply(&register, "200 OK", "x", "", ""));
}

fn change(desk: &mut Desk, order: &[&str], fresh: Vec<FreshTrunk>) {
    let order = order.iter().map(|name| Arc::from(*name)).collect();
    let changes = SipUaChanges {
        trunks: TrunkChanges { order, fresh },
        registrar: Default::default(),
        max_server_transactions: 1000,
        max_legs: 100,
        stir: None,
    };
    desk.act(|ua, now| ua.change(now, changes));
}

fn reports(desk: &Desk) -> Vec<TrunkReport> {
    desk.ua.trunk_reports(desk.now)
}

#[test]
fn what_is_not_named_is_not_disturbed() {
    let mut desk = desk();
    let (leg, _) = desk.outgoing_up("");
    let before = desk.ua.trunk_reports(desk.now)[0].counters;
    change(&mut desk, &["carrier"], vec![]);
    desk.nothing();
    let report = &reports(&desk)[0];
    assert_eq!(report.registration, Some(RegistrationState::Connected));
    assert_eq!((report.counters, report.calls), (before, 1));
    desk.command(leg, LegCommand::End(Cause::Normal));
    desk.next().is("BYE");
}

#[test]
fn a_trunk_that_goes_signs_out_and_its_calls_are_its_last() {
    let mut desk = desk();
    let (leg, mut peer) = desk.outgoing_up("");
    change(&mut desk, &[], vec![]);
    signed_out(&mut desk, "line7");
    let report = reports(&desk).remove(0);
    assert!(report.is_leaving && report.state == TrunkState::Down && report.calls == 1);
    assert_eq!(desk.ua.trunk_state(desk.now, "carrier"), TrunkState::Down);
    // Whoever is there now is a stranger.
    let stranger = Peer::caller();
    desk.hear(&stranger.flow, &stranger.clone().invite("", OFFER));
    desk.next().is("407");
    let out = Reach::Trunk { name: "carrier".into(), number: Private("4711".to_owned()) };
    let refused = desk.try_call(out);
    assert!(matches!(desk.event(), (id, LegEvent::Ended(_)) if id == refused));
    // The call that runs does so in both directions.
    desk.pass(secs(60));
    desk.all();
    desk.hear(&peer.flow.clone(), &peer.request("INFO", "", ""));
    desk.all();
    let bye = peer.request("BYE", "", "");
    desk.hear(&peer.flow.clone(), &bye);
    desk.next().is("200");
    desk.ended(leg, Cause::Normal);
    desk.command(leg, LegCommand::End(Cause::Normal));
    assert!(reports(&desk).is_empty());
    // The same again later, and another in the place that is free by then.
    desk.pass(secs(400));
    desk.all();
    let other = TrunkConfig::new("other", "other.test", vec![hop(THERE, 0)]);
    change(&mut desk, &["other"], vec![FreshTrunk { config: other, is_moved: true }]);
    desk.nothing();
    let fresh = FreshTrunk { config: carrier("line7", HERE), is_moved: true };
    change(&mut desk, &["carrier", "other"], vec![fresh]);
    signed_in(&mut desk, "line7", HERE);
    let names: Vec<String> = reports(&desk).iter().map(|r| r.name.to_string()).collect();
    assert_eq!(names, ["carrier", "other"], "in the order of the configuration");
}

#[test]
fn another_account_signs_in_once_the_old_one_has_left() {
    let mut desk = desk();
    let (leg, _) = desk.outgoing_up("");
    let fresh = FreshTrunk { config: carrier("line8", THERE), is_moved: true };
    change(&mut desk, &["carrier"], vec![fresh]);
    let sent: Vec<Sent> = (0..2).map(|_| desk.next()).collect();
    let leaves = sent.iter().find(|s| s.maybe("Expires").as_deref() == Some("0")).unwrap();
    assert!(leaves.is("REGISTER").header("To").contains("line7"));
    assert_eq!(leaves.flow.remote.to_string(), HERE);
    let comes = sent.iter().find(|s| s.maybe("Expires").as_deref() != Some("0")).unwrap();
    assert!(comes.is("REGISTER").header("To").contains("line8"));
    assert_eq!(comes.flow.remote.to_string(), THERE);
    desk.hear(&leaves.flow, &reply(leaves, "200 OK", "x", "", ""));
    let extra = format!("Contact: {};expires=600", comes.header("Contact"));
    desk.hear(&comes.flow, &reply(comes, "200 OK", "x", &extra, ""));
    assert_eq!(reports(&desk)[0].registration, Some(RegistrationState::Connected));
    // Nothing of the old one comes back, and its call still ends where it is.
    desk.command(leg, LegCommand::End(Cause::Normal));
    let bye = desk.next();
    assert_eq!(bye.is("BYE").flow.remote.to_string(), HERE);
    desk.hear(&bye.flow, &reply(&bye, "200 OK", "", "", ""));
    desk.pass(secs(700));
    let rest = desk.all();
    assert!(rest.iter().all(|s| s.is("REGISTER").header("To").contains("line8")));
    let (_, invite) = desk.call_out();
    assert_eq!(invite.flow.remote.to_string(), THERE);
}

#[test]
fn limits_and_health_change_in_place() {
    let mut desk = desk();
    let (_leg, _) = desk.outgoing_up("");
    let health = Health { interval: secs(30), down_after: 1, up_after: 1 };
    let mut config = carrier("line7", HERE);
    config.health = Some(health);
    config.limits.calls = Some(1);
    let fresh = FreshTrunk { config, is_moved: false };
    change(&mut desk, &["carrier"], vec![fresh]);
    assert_eq!(reports(&desk)[0].registration, Some(RegistrationState::Connected));
    assert_eq!(desk.ua.trunk_state(desk.now, "carrier"), TrunkState::Full);
    let options = desk.within(secs(2));
    options.is("OPTIONS");
    desk.hear(&options.flow, &reply(&options, "503 Full", "t", "", ""));
    assert!(matches!(reports(&desk)[0].hops[0].1, HopState::Down(_)));
    // Nobody asks any more: calls find out.
    let fresh = FreshTrunk { config: carrier("line7", HERE), is_moved: false };
    change(&mut desk, &["carrier"], vec![fresh]);
    assert_eq!(reports(&desk)[0].hops[0].1, HopState::Unknown);
    desk.pass(secs(100));
    desk.nothing();
}
