//! AES-128 in counter mode (RFC 3711 §4.1.1), with the key's schedule kept.

use aes::cipher::generic_array::GenericArray;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};

#[cfg(target_arch = "x86_64")]
use super::simd::RoundKeys;

#[cfg_attr(
    target_arch = "x86_64",
    expect(clippy::large_enum_variant, reason = "boxed with its salt, and nearly always native")
)]
pub(super) enum Keystream {
    #[cfg(target_arch = "x86_64")]
    Native(RoundKeys),
    Portable(Box<aes::Aes128Enc>),
}

impl Keystream {
    pub(super) fn new(key: &[u8; 16]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(keys) = RoundKeys::new(key) {
            return Self::Native(keys);
        }
        Self::portable(key)
    }

    fn portable(key: &[u8; 16]) -> Self {
        Self::Portable(Box::new(aes::Aes128Enc::new(GenericArray::from_slice(key))))
    }

    /// Adds the stream that begins with this block. Its last two bytes count, which no packet
    /// overflows: there are at most 2¹⁶ bytes in one.
    pub(super) fn apply(&self, block: &[u8; 16], data: &mut [u8]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Native(keys) => keys.apply(block, data),
            Self::Portable(key) => {
                let core = ctr::CtrCore::<_, ctr::flavors::Ctr128BE>::inner_iv_init(
                    aes::Aes128Enc::clone(key),
                    GenericArray::from_slice(block),
                );
                StreamCipherCoreWrapper::from_core(core).apply_keystream(data);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crosspoint_base::Rng;

    use super::*;

    #[test]
    fn every_way_gives_the_same_stream_at_every_length() {
        let mut rng = Rng::from_u64(6);
        for len in (0..400).chain([1200, 1500, 9000]) {
            let (mut key, mut block) = ([0; 16], [0; 16]);
            rng.fill(&mut key);
            rng.fill(&mut block[..14]);
            let mut data = vec![0; len];
            rng.fill(&mut data);
            let stream = |keys: &Keystream| {
                let mut out = data.clone();
                keys.apply(&block, &mut out);
                out
            };
            let expected = stream(&Keystream::portable(&key));
            assert_eq!(stream(&Keystream::new(&key)), expected, "{len} bytes");
            #[cfg(target_arch = "x86_64")]
            if let Some(keys) = RoundKeys::new(&key) {
                assert_eq!(stream(&Keystream::Native(keys.narrow())), expected, "{len} bytes");
            }
        }
    }

    /// RFC 3711 §B.2.
    #[test]
    fn agrees_with_the_vector_of_the_rfc() {
        let key = *b"\x2b\x7e\x15\x16\x28\xae\xd2\xa6\xab\xf7\x15\x88\x09\xcf\x4f\x3c";
        let block = *b"\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\x00\x00";
        let mut stream = [0; 48];
        Keystream::new(&key).apply(&block, &mut stream);
        assert_eq!(stream[..8], [0xe0, 0x3e, 0xad, 0x09, 0x35, 0xc9, 0x5e, 0x80]);
        assert_eq!(stream[16..24], [0xd2, 0x35, 0x13, 0x16, 0x2b, 0x02, 0xd0, 0xf7]);
        assert_eq!(stream[32..40], [0x41, 0xe9, 0x5b, 0x3b, 0xb0, 0xa2, 0xe8, 0xdd]);
    }
}
