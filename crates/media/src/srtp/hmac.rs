//! HMAC-SHA1 (RFC 2104) with the states behind the keys kept, for one packet or many at once.

use sha1::digest::generic_array::GenericArray;

#[cfg(target_arch = "x86_64")]
use super::simd;

pub(super) type Tag = [u8; 20];

/// The states of SHA-1 behind the inner and the outer key: five words each, in one cache line.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Hmac {
    states: [u32; 16],
}

/// A message to be signed.
#[derive(Clone, Copy)]
pub(super) struct Lane<'p> {
    pub(super) hmac: &'p Hmac,
    pub(super) message: &'p [u8],
}

impl Hmac {
    /// Of a key of up to 64 bytes, as those of SRTP are (RFC 3711 §8.2).
    pub(super) fn new(key: &[u8]) -> Self {
        let mut states = [0; 16];
        for (part, pad) in states.as_chunks_mut::<5>().0.iter_mut().zip([0x36, 0x5c]) {
            let mut block = [pad; 64];
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            *part = START;
            sha1::compress(part, &[GenericArray::from(block)]);
        }
        Self { states }
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn states(&self) -> &[u32; 16] {
        &self.states
    }

    fn state(&self, from: usize) -> [u32; 5] {
        std::array::from_fn(|n| self.states[from + n])
    }

    pub(super) fn tag(&self, message: &[u8]) -> Tag {
        let mut state = self.state(0);
        let (whole, rest) = message.as_chunks::<64>();
        for block in whole {
            sha1::compress(&mut state, &[GenericArray::from(*block)]);
        }
        let mut last = [0; 128];
        last[..rest.len()].copy_from_slice(rest);
        last[rest.len()] = 0x80;
        let end = if rest.len() + 9 <= 64 { 64 } else { 128 };
        let bits = (64 + message.len() as u64) * 8;
        last[end - 8..end].copy_from_slice(&bits.to_be_bytes());
        for block in last[..end].as_chunks::<64>().0 {
            sha1::compress(&mut state, &[GenericArray::from(*block)]);
        }
        let mut block = [0; 64];
        write(&mut block, state);
        block[20] = 0x80;
        block[56..].copy_from_slice(&(8 * 84_u64).to_be_bytes());
        let mut state = self.state(5);
        sha1::compress(&mut state, &[GenericArray::from(block)]);
        let mut tag = [0; 20];
        write(&mut tag, state);
        tag
    }
}

/// Signs many messages; `tags` has a place for each.
pub(super) fn tags(lanes: &[Lane<'_>], tags: &mut [Tag]) {
    for (lanes, tags) in lanes.chunks(GROUP).zip(tags.chunks_mut(GROUP)) {
        #[cfg(target_arch = "x86_64")]
        if lanes.len() >= LEAST && simd::tags(lanes, tags) {
            continue;
        }
        for (lane, tag) in lanes.iter().zip(tags) {
            *tag = lane.hmac.tag(lane.message);
        }
    }
}

fn write(out: &mut [u8], state: [u32; 5]) {
    for (bytes, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
}

/// FIPS 180-4 §5.3.1.
const START: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
#[cfg(target_arch = "x86_64")]
const GROUP: usize = simd::LANES;
#[cfg(not(target_arch = "x86_64"))]
const GROUP: usize = 16;
/// Below this, one after the other is faster.
#[cfg(target_arch = "x86_64")]
const LEAST: usize = 6;

#[cfg(test)]
mod tests {
    use crosspoint_base::Rng;
    use hmac::Mac;

    use super::*;

    fn oracle(key: &[u8], message: &[u8]) -> Tag {
        let mut mac = hmac::Hmac::<sha1::Sha1>::new_from_slice(key).unwrap();
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    /// RFC 2202 §3, cases 1 to 5.
    #[test]
    fn agrees_with_the_vectors_of_the_rfc() {
        let tag = |key: &[u8], message: &[u8]| {
            let tag = Hmac::new(key).tag(message);
            tag.map(|byte| format!("{byte:02x}")).concat()
        };
        assert_eq!(tag(&[0x0b; 20], b"Hi There"), "b617318655057264e28bc0b6fb378c8ef146be00");
        let long = b"what do ya want for nothing?";
        assert_eq!(tag(b"Jefe", long), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert_eq!(tag(&[0xaa; 20], &[0xdd; 50]), "125d7342b9ac11cd91a39af48aa17b4f63f175d3");
        let key: Vec<u8> = (1..=25).collect();
        assert_eq!(tag(&key, &[0xcd; 50]), "4c9007f4026250c6bc8414f9bf50c86c2d7235da");
        assert_eq!(
            tag(&[0x0c; 20], b"Test With Truncation"),
            "4c1a03424b55e07fe7f27be1d58bb9324a9a5a04"
        );
    }

    #[test]
    fn one_packet_agrees_with_an_independent_implementation_at_every_length() {
        let mut rng = Rng::from_u64(4);
        for len in 0..1500 {
            let (mut key, mut message) = ([0; 20], vec![0; len]);
            rng.fill(&mut key);
            rng.fill(&mut message);
            assert_eq!(Hmac::new(&key).tag(&message), oracle(&key, &message), "{len} bytes");
        }
    }

    #[test]
    fn many_packets_have_the_tags_that_each_has_alone() {
        let mut rng = Rng::from_u64(5);
        for round in 0..400 {
            // Every number of lanes, over more than one group, of equal and of mixed lengths.
            let count = 1 + round % 40;
            let most = [1, 64, 180, 1400][round % 4];
            let keys: Vec<[u8; 20]> = (0..count).map(|_| bytes(&mut rng)).collect();
            let messages: Vec<Vec<u8>> = (0..count)
                .map(|_| {
                    let spread = rng.below(most + 1) as usize;
                    let len = if round % 3 == 0 { most as usize } else { spread };
                    let mut message = vec![0; len];
                    rng.fill(&mut message);
                    message
                })
                .collect();
            let hmacs: Vec<Hmac> = keys.iter().map(|key| Hmac::new(key)).collect();
            let lanes: Vec<Lane<'_>> =
                hmacs.iter().zip(&messages).map(|(hmac, message)| Lane { hmac, message }).collect();
            let mut all = vec![[0; 20]; count];
            tags(&lanes, &mut all);
            for (tag, (key, message)) in all.iter().zip(keys.iter().zip(&messages)) {
                assert_eq!(*tag, oracle(key, message), "{count} lanes, {} bytes", message.len());
            }
        }
    }

    fn bytes(rng: &mut Rng) -> [u8; 20] {
        let mut out = [0; 20];
        rng.fill(&mut out);
        out
    }
}
