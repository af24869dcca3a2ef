//! Codecs that run elsewhere: jobs go out and come back when they like, and the stream keeps its
//! order and its time.

use std::time::Duration;

use crosspoint_media::codec::Codec;
use crosspoint_media::shard::{Done, Job};

use crate::sound::share_of;
use crate::world::{Setup, World};

fn call() -> World {
    let mut world = World::with_peers(Setup::default(), Codec::Opus);
    world.shard.defer_codecs();
    world.browser_calls(|offer| offer);
    while !world.browser().is_connected {
        work(&mut world, 1, 0);
    }
    world.browser().voice = Some(crate::sound::Voice::new(Codec::Opus, 440.0));
    world.phone().voice = Some(crate::sound::Voice::new(Codec::Pcmu, 1000.0));
    world
}

/// A worker that is `late` steps of 5 ms behind.
fn work(world: &mut World, steps: usize, late: usize) {
    let mut out: Vec<(usize, Job)> = vec![];
    for step in 0..steps {
        world.run(Duration::from_millis(5));
        while let Some(job) = world.shard.next_job() {
            out.push((step + late, job));
        }
        let (due, rest): (Vec<_>, Vec<_>) = out.into_iter().partition(|(at, _)| *at <= step);
        out = rest;
        // The last to come is the first that is done.
        for (_, job) in due.into_iter().rev() {
            let done: Done = job.run();
            let now = world.now;
            world.shard.handle_done(now, done);
        }
    }
}

#[test]
fn frames_made_elsewhere_come_in_order_and_in_time() {
    for late in [0, 1, 3] {
        let mut world = call();
        work(&mut world, 400, late);
        let counters = world.counters();
        assert_eq!((counters.frames_late, counters.frames_dropped), (0, 0), "{late}");
        let (phone, browser) = (world.phone().heard.clone(), world.browser().heard.clone());
        assert!(phone.len() > 90 && browser.len() > 90);
        crate::sound::assert_continuous(&phone, 160);
        crate::sound::assert_continuous(&browser, 960);
        assert!(share_of(&phone, Codec::Pcmu, 440.0) > 0.8);
        assert!(share_of(&browser, Codec::Opus, 1000.0) > 0.8);
    }
}

/// A worker that cannot keep up costs frames, which are counted; neither packets nor time wait.
#[test]
fn a_slow_worker_costs_frames_and_not_time() {
    let mut world = call();
    work(&mut world, 800, 6);
    let counters = world.counters();
    assert!(counters.frames_late > 100, "{counters:?}");
    for (heard, ticks) in [(world.phone().heard.clone(), 160), (world.browser().heard.clone(), 960)]
    {
        assert!(heard.len() > 80, "{}", heard.len());
        for pair in heard.windows(2) {
            assert_eq!(pair[1].seq, pair[0].seq.wrapping_add(1));
            let ahead = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
            assert!(ahead % ticks == 0 && (1..=4).contains(&(ahead / ticks)), "{ahead}");
        }
        let lasted = heard.last().expect("sound").timestamp.wrapping_sub(heard[0].timestamp);
        assert!(lasted / ticks > 180, "{} frames", lasted / ticks);
    }
}

/// No room for a job, and a worker that fell over one: the stream goes on after it.
#[test]
fn jobs_that_are_refused_or_lost_cost_a_frame() {
    let mut world = call();
    work(&mut world, 100, 0);
    let before = world.phone().heard.len();
    for n in 0..400 {
        world.run(Duration::from_millis(5));
        let now = world.now;
        while let Some(job) = world.shard.next_job() {
            match n % 40 {
                3..8 => world.shard.refuse_job(job),
                20..24 => world.shard.handle_lost(now, job.ticket()),
                _ => world.shard.handle_done(now, job.run()),
            }
        }
    }
    assert!(world.counters().frames_dropped >= 10);
    let heard = world.phone().heard[before..].to_vec();
    assert!(heard.len() > 60, "{}", heard.len());
    for pair in heard.windows(2) {
        assert_eq!(pair[1].seq, pair[0].seq.wrapping_add(1));
        assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp) % 160, 0);
    }
    work(&mut world, 200, 0);
    assert!(share_of(&world.phone().heard.clone(), Codec::Pcmu, 440.0) > 0.8);
}

/// Nobody takes the jobs: what waits stays bounded, and the legs go.
#[test]
fn jobs_that_nobody_does_are_few() {
    let mut world = call();
    world.run(Duration::from_secs(5));
    let mut jobs = vec![];
    while let Some(job) = world.shard.next_job() {
        jobs.push(job);
    }
    assert!(jobs.len() <= 2, "one for each stream: {}", jobs.len());
    let now = world.now;
    world.close();
    for job in jobs {
        world.shard.handle_done(now, job.run());
    }
    assert!(world.shard.is_empty());
}
