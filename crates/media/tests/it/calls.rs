//! Whole calls between str0m and a plain phone, in every way they can begin.

use std::time::Duration;

use crosspoint_media::codec::Codec;
use crosspoint_media::control::Event;
use crosspoint_media::rtcp::Compound;
use str0m::rtp::rtcp::Rtcp;

use crate::phone::SSRC;
use crate::sound::{assert_continuous, assert_tone, share_of};
use crate::story::{BROWSER_TONE, PHONE_TONE};
use crate::world::{BROWSER, PHONE, Setup, World};

/// Who begins, which kind of ICE is ours, and who opens the DTLS connection.
#[derive(Debug, Clone, Copy)]
struct Way {
    browser_calls: bool,
    ice_lite: bool,
    we_are_active: bool,
}

fn ways() -> impl Iterator<Item = Way> {
    (0..8).map(|n| Way {
        browser_calls: n & 1 == 0,
        ice_lite: n & 2 == 0,
        we_are_active: n & 4 == 0,
    })
}

fn call(way: Way, codec: Codec) -> World {
    let setup = Setup { ice_lite: way.ice_lite, ..Setup::default() };
    let mut world = World::with_peers(setup, codec);
    if way.browser_calls {
        world.browser_calls(|offer| {
            let role = if way.we_are_active { "passive" } else { "active" };
            assert!(offer.contains("a=setup:actpass"));
            offer.replace("a=setup:actpass", &format!("a=setup:{role}"))
        });
    } else {
        world.phone_calls(|offer| {
            let role = if way.we_are_active { "active" } else { "passive" };
            assert!(offer.contains("a=setup:actpass"));
            offer.replace("a=setup:actpass", &format!("a=setup:{role}"))
        });
    }
    world.talk(codec);
    world
}

#[test]
fn pcmu_passes_through_untouched_however_the_call_began() {
    for way in ways() {
        let mut world = call(way, Codec::Pcmu);
        world.run(Duration::from_secs(2));
        world.assert_own_words();
        let heard = world.browser().heard.clone();
        assert!(heard.len() > 100, "{way:?}: {}", heard.len());
        assert_continuous(&heard, 160);
        assert_tone(&heard, Codec::Pcmu, PHONE_TONE);
        let heard = world.phone().heard.clone();
        assert!(heard.len() > 100, "{way:?}: {}", heard.len());
        assert_continuous(&heard, 160);
        assert_tone(&heard, Codec::Pcmu, BROWSER_TONE);
        let counters = world.counters();
        assert_eq!(counters.dropped_bad_tag + counters.dropped_malformed, 0, "{way:?}");
        assert_eq!(counters.packets_transcoded, 0, "{way:?}");
        assert!(world.browser().error.is_none());
        world.close();
    }
}

#[test]
fn a_browser_with_opus_only_and_a_phone_with_pcmu_hear_each_others_tone() {
    for way in ways() {
        let mut world = call(way, Codec::Opus);
        world.run(Duration::from_secs(2));
        let heard = world.browser().heard.clone();
        assert!(heard.len() > 100, "{way:?}: {}", heard.len());
        assert_continuous(&heard, 960);
        assert_tone(&heard, Codec::Opus, PHONE_TONE);
        assert!(share_of(&heard, Codec::Opus, BROWSER_TONE) < 0.01, "no echo");
        let heard = world.phone().heard.clone();
        assert!(heard.len() > 100, "{way:?}: {}", heard.len());
        assert_continuous(&heard, 160);
        assert_tone(&heard, Codec::Pcmu, BROWSER_TONE);
        assert!(share_of(&heard, Codec::Pcmu, PHONE_TONE) < 0.01, "no echo");
        world.close();
    }
}

#[test]
fn reports_go_both_ways_and_tell_of_the_right_streams() {
    for codec in [Codec::Pcmu, Codec::Opus] {
        let way = Way { browser_calls: true, ice_lite: true, we_are_active: false };
        let mut world = call(way, codec);
        world.run(Duration::from_secs(20));
        let stream = world.browser().heard[0].ssrc;
        let reports = std::mem::take(&mut world.browser().reports);
        let senders: Vec<_> = reports
            .iter()
            .filter_map(|r| if let Rtcp::SenderReport(sr) = r { Some(sr) } else { None })
            .collect();
        assert!(senders.len() >= 2, "{codec}: {reports:?}");
        for pair in senders.windows(2) {
            let (before, after) = (pair[0].sender_info, pair[1].sender_info);
            assert_eq!(*before.ssrc, stream);
            let packets = after.sender_packet_count - before.sender_packet_count;
            let ticks = after.rtp_time.numer() - before.rtp_time.numer();
            let packet = u64::from(codec.clock_rate() / 50);
            assert!(packets > 100 && ticks.abs_diff(u64::from(packets) * packet) <= packet);
        }
        let blocks: Vec<_> = senders.iter().flat_map(|sr| sr.reports.iter()).collect();
        assert!(!blocks.is_empty(), "{codec}: a report on what the browser sends");
        assert!(blocks.iter().all(|b| b.packets_lost == 0 && b.fraction_lost == 0));

        let stream = world.phone().heard[0].ssrc;
        let reports = std::mem::take(&mut world.phone().reports);
        assert!(reports.len() >= 2);
        assert!(reports.iter().all(|r| r.sender.is_some_and(|(ssrc, _)| ssrc == stream)));
        for pair in reports.windows(2) {
            assert_clocks_agree(&pair[0], &pair[1]);
        }
        let last = reports.last().and_then(|r| r.blocks.first()).expect("a report block");
        assert_eq!((last.ssrc, last.total_lost, last.fraction_lost), (SSRC, 0, 0));
        assert_eq!(last.last_sr, 99 << 16, "the middle of the phone's last NTP time");
        world.close();
        assert_stats(&world, codec);
    }
}

/// A sender that says nothing still has a clock (RFC 3550 §6.4.1), and is a sender until it has
/// said nothing for two intervals (RFC 3550 §6.4).
#[test]
fn reports_keep_the_time_of_a_stream_that_pauses() {
    let mut world = World::in_call();
    world.run(Duration::from_secs(8));
    world.phone().voice = None;
    world.run(Duration::from_secs(25));
    let reports = std::mem::take(&mut world.browser().reports);
    let times: Vec<_> = reports
        .iter()
        .filter_map(|r| if let Rtcp::SenderReport(sr) = r { Some(sr.sender_info) } else { None })
        .map(|info| (info.ntp_time, info.rtp_time.numer()))
        .collect();
    assert!(times.len() >= 3);
    assert!(matches!(reports.last(), Some(Rtcp::ReceiverReport(_) | Rtcp::SourceDescription(_))));
    for pair in times.windows(2) {
        let wall = pair[1].0.duration_since(pair[0].0).unwrap().as_secs_f64();
        let ticks = (pair[1].1 - pair[0].1) as f64;
        assert!((ticks - wall * 8000.0).abs() < 80.0, "{ticks} ticks in {wall} s");
    }
}

/// Between two reports the RTP clock went as far as the wall clock, and 50 packets a second.
fn assert_clocks_agree(before: &Compound, after: &Compound) {
    let sender = |report: &Compound| report.sender.expect("a sender report").1;
    let (before, after) = (sender(before), sender(after));
    let wall = (after.ntp - before.ntp) as f64 / 2_f64.powi(32);
    assert!(wall > 2.0, "{wall} s are no interval");
    let ticks = f64::from(after.rtp_timestamp.wrapping_sub(before.rtp_timestamp));
    assert!((ticks - wall * 8000.0).abs() < 40.0, "{ticks} ticks in {wall} s");
    let packets = f64::from(after.packets - before.packets);
    assert!((packets - wall * 50.0).abs() <= 2.0, "{packets} packets in {wall} s");
}

fn assert_stats(world: &World, codec: Codec) {
    let closed = |wanted| {
        let stats = world.events.iter().find_map(|(_, event)| match event {
            Event::Closed { leg, stats } if *leg == wanted => Some(*stats),
            _ => None,
        });
        stats.expect("a leg that was closed")
    };
    let browser = closed(BROWSER);
    assert_eq!(browser.codec, Some(codec));
    assert!(browser.packets_received > 900 && browser.packets_sent > 900, "{browser:?}");
    assert_eq!(browser.packets_lost, 0);
    assert!(browser.jitter < Duration::from_millis(5), "{browser:?}");
    // Two steps of five milliseconds there and back.
    let trip = browser.round_trip.expect("the browser's reports");
    assert!(trip <= Duration::from_millis(25), "{trip:?}");
    assert!(closed(PHONE).packets_received > 900);
}
