//! The same ciphers over the same packets, with no logic: what no relay can go below.

use std::time::{Duration, Instant};

use crosspoint_media::shard::BATCH;
use crosspoint_media::srtp::{
    Context, MAX_OVERHEAD, Opening, Protecting, Unprotecting, Unsigned, check, sign,
};

use super::peers::{Flow, SLOT, context};
use super::world::Kind;

/// Nanoseconds for each packet; half of a call's are decrypted, half are encrypted.
pub(crate) fn of_ciphers(kind: Kind, calls: usize, rounds: usize) -> f64 {
    let Some(profile) = kind.profile() else { return copies(calls, rounds) };
    let key = |call: usize| {
        let len = profile.key_len() + profile.salt_len();
        (0..len).map(|at| (call * 7 + at * 13) as u8).collect::<Vec<u8>>()
    };
    let make = || (0..calls).map(|n| context(profile, &key(n))).collect::<Vec<Context>>();
    let (mut sends, mut receives, mut peers) = (make(), make(), make());
    let mut flows: Vec<Flow> = (0..calls).map(Flow::new).collect();
    let mut plain = vec![[0_u8; SLOT]; calls];
    let mut secret = vec![[0_u8; SLOT]; calls];
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let mut lens = [(0, 0)].repeat(calls);
        for (n, flow) in flows.iter_mut().enumerate() {
            let len = flow.next(&mut plain[n]);
            secret[n] = plain[n];
            let protected = peers[n].protect_rtp(&mut secret[n], len).expect("room");
            lens[n] = (len, protected);
        }
        let began = now();
        for (at, lens) in lens.chunks(HALF).enumerate() {
            let part = at * HALF..at * HALF + lens.len();
            protect(&mut sends[part.clone()], &mut plain[part.clone()], lens);
            unprotect(&mut receives[part.clone()], &mut secret[part], lens);
        }
        times.push(began.elapsed());
    }
    quiet(times, 2 * calls)
}

fn protect(contexts: &mut [Context], packets: &mut [[u8; SLOT]], lens: &[(usize, usize)]) {
    let mut unsigned = [Unsigned(0); HALF];
    let parts = contexts.iter_mut().zip(&mut *packets).zip(lens);
    for (((context, packet), (len, _)), unsigned) in parts.zip(&mut unsigned) {
        let done = context.protect_but_tag(&mut packet[..len + MAX_OVERHEAD], *len);
        *unsigned = done.expect("room").err().unwrap_or(Unsigned(0));
    }
    let parts = contexts.iter().zip(packets).zip(unsigned).filter(|(_, u)| u.0 > 0);
    sign(parts.map(|((context, buffer), unsigned)| Protecting { context, buffer, unsigned }));
}

fn unprotect(contexts: &mut [Context], packets: &mut [[u8; SLOT]], lens: &[(usize, usize)]) {
    let mut openings: [Option<Opening>; HALF] = [const { None }; HALF];
    let parts = contexts.iter().zip(&mut *packets).zip(lens);
    for (((context, packet), (_, len)), opening) in parts.zip(&mut openings) {
        *opening = context.begin(&mut packet[..*len]).ok();
    }
    let parts = contexts.iter().zip(&*packets).zip(&mut openings);
    check(parts.filter_map(|((context, packet), opening)| {
        Some(Unprotecting { context, packet, opening: opening.as_mut()? })
    }));
    for (((context, packet), (_, len)), opening) in
        contexts.iter_mut().zip(packets).zip(lens).zip(&openings)
    {
        let opening = opening.as_ref().expect("a packet");
        context.finish(&mut packet[..*len], opening).expect("a good tag");
    }
}

/// A batch of the shard, half of it one way and half of it the other.
const HALF: usize = BATCH / 2;

/// Plain RTP has no cipher: a copy of each packet.
fn copies(calls: usize, rounds: usize) -> f64 {
    let from = vec![[1_u8; 172]; calls];
    let mut to = vec![[0_u8; 172]; calls];
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let began = now();
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
        times.push(began.elapsed());
    }
    quiet(times, calls)
}

/// A round that little disturbed: an eighth were faster.
pub(crate) fn quiet(mut times: Vec<Duration>, packets: usize) -> f64 {
    times.sort_unstable();
    let low = times.get(times.len() / 8).copied().unwrap_or_default();
    low.as_secs_f64() * 1e9 / packets as f64
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
