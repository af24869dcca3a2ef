//! What our reports tell each peer of its stream and of ours (RFC 3550 §6).

use std::time::Duration;

use crosspoint_media::control::{Command, Event, LegStats};
use crosspoint_media::rtp::Header;
use str0m::rtp::rtcp::Rtcp;

use crate::phone::SSRC;
use crate::story::desk;
use crate::world::{BROWSER, Datagram, PHONE, World};

fn close(world: &mut World, wanted: crosspoint_base::LegId) -> LegStats {
    world.command(Command::Close { leg: wanted });
    let closed = world.events.iter().find_map(|(_, event)| match event {
        Event::Closed { leg, stats } if *leg == wanted => Some(*stats),
        _ => None,
    });
    closed.expect("a leg that was closed")
}

#[test]
fn a_leg_that_only_receives_reports_as_a_receiver() {
    let mut world = World::in_call();
    world.browser().voice = None;
    world.run(Duration::from_secs(25));
    let last = world.phone().reports.last().cloned().expect("a report");
    assert_eq!(last.sender, None, "nothing is sent to the phone any more");
    assert_eq!(last.blocks.first().map(|b| b.ssrc), Some(SSRC));
    // The other way round: a sender that hears nothing.
    let reports = std::mem::take(&mut world.browser().reports);
    let mut senders = reports.iter().filter_map(|r| match r {
        Rtcp::SenderReport(report) => Some(report),
        _ => None,
    });
    let last = senders.next_back().expect("a sender's report");
    assert_eq!(last.reports.iter().count(), 0, "nothing came from the browser since the last");
}

#[test]
fn a_sender_counts_the_bytes_of_its_payload_only() {
    let mut world = World::in_call();
    world.run(Duration::from_secs(10));
    let reports = std::mem::take(&mut world.phone().reports);
    let (_, sender) = reports.last().and_then(|r| r.sender).expect("a sender's report");
    assert!(sender.packets > 100);
    assert_eq!(sender.bytes, sender.packets * 160);
}

/// Reports come every two and a half to seven and a half seconds, the first one sooner, each a
/// compound that begins with SR or RR and names its sender.
#[test]
fn reports_are_compounds_that_come_at_intervals_of_their_own() {
    let mut world = World::in_call();
    let beginning = world.now;
    world.log = Some(vec![]);
    let mut times = vec![];
    while world.now < beginning + Duration::from_secs(120) {
        let before = world.phone().reports.len();
        world.run(Duration::from_millis(5));
        if world.phone().reports.len() > before {
            times.push(world.now);
        }
    }
    let gaps: Vec<_> = times.windows(2).map(|w| w[1] - w[0]).collect();
    let (least, most) = (Duration::from_millis(2400), Duration::from_millis(7600));
    assert!(gaps.len() > 15 && gaps.iter().all(|g| (least..most).contains(g)), "{gaps:?}");
    assert!(gaps.iter().any(|g| *g != gaps[0]), "they are not in step with others'");
    assert!(times[0] - beginning < Duration::from_millis(4000));
    let port = desk().port() + 1;
    for report in world.log.iter().flatten().filter(|d| d.to.port() == port) {
        assert!(matches!(report.bytes[1], 200 | 201), "SR or RR first");
        let first = 4 * (usize::from(report.bytes[3]) + 1);
        let (ssrc, rest) = (&report.bytes[4..8], &report.bytes[first..]);
        assert_eq!((rest[1], &rest[4..8], rest[8]), (202, ssrc, 1), "then SDES with the CNAME");
    }
}

#[test]
fn a_leg_that_closes_says_goodbye() {
    let mut world = World::in_call();
    world.run(Duration::from_secs(1));
    world.close();
    world.run(Duration::from_millis(20));
    assert!(world.phone().reports.last().is_some_and(|r| r.bye));
    let reports = &world.browser().reports;
    assert!(reports.iter().any(|r| matches!(r, Rtcp::Goodbye(_))), "{reports:?}");
}

/// Who never said anything does not leave (RFC 3550 §6.3.7).
#[test]
fn a_leg_that_never_spoke_says_no_goodbye() {
    let mut world = World::with_peers(Default::default(), crosspoint_media::codec::Codec::Pcmu);
    world.browser_calls(|offer| offer);
    world.close();
    world.run(Duration::from_millis(20));
    assert!(world.phone().reports.is_empty());
}

#[test]
fn what_comes_twice_makes_the_loss_negative() {
    let mut world = World::in_call();
    world.run(Duration::from_secs(1));
    let is_word = |d: &Datagram| d.from == desk();
    world.set_wire(move |d| if is_word(&d) { vec![d.clone(), d] } else { vec![d] });
    world.run(Duration::from_secs(12));
    let reports = std::mem::take(&mut world.phone().reports);
    let block = reports.last().and_then(|r| r.blocks.first()).copied().expect("a block");
    assert!(block.total_lost < -100 && block.fraction_lost == 0, "{block:?}");
    assert_eq!(close(&mut world, PHONE).packets_lost, 0);
}

/// A phone that begins to count anew, under the same source, has lost nothing.
#[test]
fn numbers_that_begin_anew_are_no_loss() {
    let mut world = World::in_call();
    for jump in [9_000, 40_000] {
        world.run(Duration::from_secs(8));
        let phone = world.phone();
        phone.seq = phone.seq.wrapping_add(jump);
        world.run(Duration::from_secs(8));
    }
    let reports = std::mem::take(&mut world.phone().reports);
    let lost = |r: &crosspoint_media::rtcp::Compound| r.blocks.iter().all(|b| b.total_lost <= 1);
    assert!(reports.iter().all(lost), "{reports:?}");
    assert!(close(&mut world, PHONE).packets_lost <= 2);
}

/// All packets of one digit carry the time of its beginning: that is not jitter.
#[test]
fn digits_are_no_jitter() {
    let mut world = World::in_call();
    world.run(Duration::from_secs(5));
    let phone = world.phone();
    phone.is_silent = true;
    let (timestamp, gateway) = (phone.timestamp, phone.gateway.expect("an address"));
    for packet in 1..=10_u16 {
        let phone = world.phone();
        phone.seq = phone.seq.wrapping_add(1);
        let mut bytes = vec![];
        Header::new(101, phone.seq, timestamp, SSRC, packet == 1).write(&mut bytes);
        let end = if packet == 10 { 0x80 } else { 0 };
        bytes.extend([5, end, 0, (packet * 16) as u8]);
        world.inject(desk(), gateway, &bytes);
        world.run(Duration::from_millis(20));
    }
    let jitter = close(&mut world, PHONE).jitter;
    assert!(jitter < Duration::from_millis(3), "{jitter:?}");
    close(&mut world, BROWSER);
}
