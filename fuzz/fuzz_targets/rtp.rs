//! RTP of any kind: header, payload, jitter buffer with each codec, telephone events, and SRTP
//! under a right key. Memory of the buffer stays bounded and every frame has its length.
#![no_main]

use std::time::{Duration, Instant};

use crosspoint_media::codec::Codec;
use crosspoint_media::dtmf::{EventDetector, EventPayload};
use crosspoint_media::jitter::JitterBuffer;
use crosspoint_media::rtp::{Header, is_rtcp};
use crosspoint_media::srtp::{Context, Profile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(([choice, step], rest)) = bytes.split_first_chunk() else { return };
    let codec = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus][usize::from(choice & 3)];
    let mut jitter = JitterBuffer::new(codec, if choice & 4 == 0 { 8000 } else { 16_000 });
    let mut events = EventDetector::default();
    let mut now = Instant::now();
    let mut frame = Vec::new();
    for packet in rest.chunks(usize::from(*step).max(13)) {
        srtp(*choice, packet);
        let _ = is_rtcp(packet);
        let Some(header) = Header::parse(packet) else { continue };
        assert!(header.len <= packet.len());
        let Some(payload) = header.payload(packet) else { continue };
        let _ = EventPayload::parse(payload);
        let _ = events.push(header.timestamp, payload, 8000);
        let _ = events.sound(header.timestamp.wrapping_add(u32::from(packet[1])));
        jitter.push(now, header.ssrc, header.seq, header.timestamp, payload);
        now += Duration::from_millis(u64::from(packet[0]));
        jitter.pull(&mut frame);
        assert_eq!(frame.len(), jitter.frame());
    }
    let _ = events.finish();
});

/// What is protected comes back; what is changed does not; bare bytes are no packet.
fn srtp(choice: u8, packet: &[u8]) {
    let profile = [
        Profile::Aes128CmSha1_80,
        Profile::Aes128CmSha1_32,
        Profile::AeadAes128Gcm,
        Profile::AeadAes256Gcm,
    ][usize::from(choice >> 3 & 3)];
    let (key, salt) = (vec![1; profile.key_len()], vec![2; profile.salt_len()]);
    let context = || Context::new(profile, &key, &salt).expect("lengths are right");
    let mut bare = packet.to_vec();
    assert!(context().unprotect_rtp(&mut bare).is_err(), "a tag cannot be guessed");
    let mut bare = packet.to_vec();
    assert!(context().unprotect_rtcp(&mut bare).is_err(), "a tag cannot be guessed");
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + 64, 0);
    let Ok(len) = context().protect_rtp(&mut buffer, packet.len()) else { return };
    let mut receiver = context();
    let mut changed = buffer[..len].to_vec();
    let at = usize::from(choice) % len;
    changed[at] ^= 0x10;
    assert!(receiver.unprotect_rtp(&mut changed).is_err(), "a changed packet passed");
    let back = receiver.unprotect_rtp(&mut buffer[..len]).expect("our own packet");
    assert_eq!(&buffer[..back], packet);
}
