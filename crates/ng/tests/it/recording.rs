//! What the recorder is told as calls change.

use crosspoint_base::LegId;
use crosspoint_media::recording::{Channel, Mode};
use crosspoint_ng::{Dictionary, RecordOrder};

use crate::world::*;

fn ok(world: &mut World, request: &Dictionary) -> Dictionary {
    let reply = world.ask(request);
    assert_eq!(reply.text("result").as_deref(), Some("ok"), "{}", show(&reply));
    reply
}

/// Who is recorded, as the orders leave it.
fn heard(world: &World) -> Vec<(LegId, Channel)> {
    let mut heard: Vec<(LegId, Channel)> = vec![];
    for order in &world.recorder {
        if let RecordOrder::Listen { leg, to } = order {
            heard.retain(|(other, _)| other != leg);
            heard.extend(to.map(|(_, channel)| (*leg, channel)));
        }
    }
    heard
}

fn tapped(world: &mut World) -> usize {
    let mut count = 0;
    while world.taps.read().is_some() {
        count += 1;
    }
    count
}

#[test]
fn a_call_is_recorded_with_a_side_in_each_channel_until_it_ends() {
    let mut world = World::new();
    let (a_port, b_port) = call_between(&mut world, "0 101", EVENTS);
    world.packet("192.0.2.7:5000", a_port, &rtp(0, 1, &[1; 160]));
    assert_eq!(tapped(&mut world), 0);
    let start = request("start recording")
        .with("recording-file", "/var/spool/../calls/wanted.wav")
        .with("metadata", "customer:7");
    let reply = ok(&mut world, &start);
    assert_eq!(reply.text("recording-file").as_deref(), Some("day/call.wav"));
    let Some(RecordOrder::Begin(beginning)) = world.recorder.first() else { panic!("no begin") };
    assert_eq!(beginning.name.as_deref(), Some("wanted"), "only the name itself");
    assert_eq!(beginning.metadata.as_deref(), Some("customer:7"));
    assert_eq!(beginning.at, 1_700_000_000_000_000);
    let recording = beginning.recording;
    assert!(
        matches!(heard(&world)[..], [(a, Channel::Caller), (b, Channel::Called)] if a != b),
        "{:?}",
        heard(&world)
    );
    world.packet("192.0.2.7:5000", a_port, &rtp(0, 2, &[1; 160]));
    world.packet("192.0.2.8:6000", b_port, &rtp(0, 2, &[1; 160]));
    world.packet("192.0.2.8:6000", b_port, &rtp(101, 3, &[5, 0x80, 1, 0]));
    assert_eq!(tapped(&mut world), 2, "sound of both, and no events");
    ok(&mut world, &request("query"));
    ok(&mut world, &request("start recording"));
    let begun = world.recorder.iter().filter(|o| matches!(o, RecordOrder::Begin(_)));
    assert_eq!(begun.count(), 1, "it runs already");
    ok(&mut world, &request("pause recording"));
    ok(&mut world, &request("start recording"));
    ok(&mut world, &request("stop recording").with("pause", "yes"));
    let modes: Vec<Mode> = world
        .recorder
        .iter()
        .filter_map(|o| match o {
            RecordOrder::Mode { mode, .. } => Some(*mode),
            _ => None,
        })
        .collect();
    assert_eq!(modes, [Mode::Paused, Mode::Running, Mode::Paused]);
    ok(&mut world, &request("delete").with("from-tag", "a").with("delete delay", 0_i64));
    let end = RecordOrder::End { recording, reason: "call_over" };
    assert!(world.recorder.contains(&end), "{:?}", world.recorder);
    assert_eq!(heard(&world), []);
    assert!(world.server.is_empty());
}

#[test]
fn an_offer_may_ask_for_it_and_stop_ends_it() {
    let mut world = World::new();
    world.sdp(&offer(&phone(7, 5000, "0", "")).with("record call", "yes"));
    assert!(matches!(heard(&world)[..], [(_, Channel::Caller), (_, Channel::Called)]));
    world.sdp(&answer(&phone(8, 6000, "0", "")));
    ok(&mut world, &request("stop recording"));
    ok(&mut world, &request("stop recording"));
    assert_eq!(heard(&world), []);
    let ends = world.recorder.iter().filter(|o| matches!(o, RecordOrder::End { .. }));
    assert_eq!(ends.count(), 1);
}

/// Who takes the called party's place takes its channel.
#[test]
fn a_fork_that_answers_is_the_one_that_is_recorded() {
    let mut world = World::new();
    let sdp = phone(7, 5000, "0", "");
    world.sdp(&offer(&sdp).with("via-branch", "1").with("record call", "on"));
    world.sdp(&offer(&sdp).with("via-branch", "2"));
    let before = heard(&world);
    world.sdp(&answer(&phone(9, 6000, "0", "")).with("via-branch", "2"));
    let after = heard(&world);
    let called = |heard: &[(LegId, Channel)]| {
        heard.iter().find(|(_, c)| *c == Channel::Called).map(|(leg, _)| *leg)
    };
    assert_ne!(called(&before), called(&after));
    assert_eq!(after.len(), 2);
}

#[test]
fn what_cannot_be_recorded_is_said() {
    let mut world = World::new();
    let reason = |reply: Dictionary| reply.text("error-reason").unwrap_or_default();
    assert_eq!(reason(world.ask(&request("start recording"))), "Unknown call-id");
    call_between(&mut world, "0", "");
    world.is_disk_full = true;
    assert_eq!(reason(world.ask(&request("start recording"))), "the disk is full");
    assert_eq!(heard(&world), [], "nothing listens to what is not written");
    world.is_disk_full = false;
    ok(&mut world, &request("start recording"));
    let Some(RecordOrder::Begin(last)) =
        world.recorder.iter().rfind(|o| matches!(o, RecordOrder::Begin(_)))
    else {
        panic!("no begin")
    };
    let recording = last.recording;
    world.server.handle_recording_over(recording);
    world.settle();
    assert_eq!(heard(&world), [], "it ended by itself");
    ok(&mut world, &request("start recording"));
}
