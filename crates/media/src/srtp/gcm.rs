//! AES-GCM (NIST SP 800-38D) as RFC 7714 uses it: nonces of 96 bits, tags of 128.
//!
//! On x86-64 the key's whole state lies in one piece here, so that it can be fetched before a
//! packet needs it; elsewhere aws-lc-rs does the work.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use crosspoint_base::is_same_secret;

use super::Error;
#[cfg(target_arch = "x86_64")]
use super::simd;

pub(super) const TAG: usize = 16;

#[cfg_attr(
    target_arch = "x86_64",
    expect(clippy::large_enum_variant, reason = "boxed with its salt, and nearly always native")
)]
pub(super) enum Gcm {
    #[cfg(target_arch = "x86_64")]
    Native(simd::Gcm),
    Portable(Box<LessSafeKey>),
}

impl Gcm {
    /// Of a key of 16 or 32 bytes.
    pub(super) fn new(key: &[u8]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(gcm) = simd::Gcm::new(key) {
            return Self::Native(gcm);
        }
        Self::portable(key)
    }

    fn portable(key: &[u8]) -> Self {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, key).expect("a key of the algorithm's length");
        Self::Portable(Box::new(LessSafeKey::new(key)))
    }

    /// Encrypts in place; gives the tag.
    pub(super) fn seal(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; TAG], Error> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Native(gcm) => Ok(gcm.seal(nonce, aad, data)),
            Self::Portable(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let sealed = key.seal_in_place_separate_tag(nonce, Aad::from(aad), data);
                let tag = sealed.map_err(|_| Error::Malformed)?;
                tag.as_ref().try_into().map_err(|_| Error::Malformed)
            }
        }
    }

    /// Checks and decrypts in place data with the tag behind it.
    pub(super) fn open(&self, nonce: [u8; 12], aad: &[u8], sealed: &mut [u8]) -> Result<(), Error> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Native(gcm) => {
                let (data, tag) = sealed.split_last_chunk_mut::<TAG>().ok_or(Error::Malformed)?;
                if !is_same_secret(&gcm.tag(nonce, aad, data), tag) {
                    return Err(Error::BadTag);
                }
                gcm.decrypt(nonce, data);
                Ok(())
            }
            Self::Portable(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let opened = key.open_in_place(nonce, Aad::from(aad), sealed);
                opened.map(|_| ()).map_err(|_| Error::BadTag)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crosspoint_base::Rng;

    use super::*;

    /// Another implementation (aws-lc) and ours, in both widths, over every length.
    #[test]
    fn every_way_seals_and_opens_alike_at_every_length() {
        let mut rng = Rng::from_u64(13);
        for len in (0..600).chain([1200, 1500, 9000]) {
            for key_len in [16, 32] {
                let (mut key, mut nonce) = (vec![0; key_len], [0; 12]);
                let (mut aad, mut data) = (vec![0; rng.below(80) as usize], vec![0; len]);
                for bytes in [&mut key[..], &mut nonce, &mut aad, &mut data] {
                    rng.fill(bytes);
                }
                let sealed = |gcm: &Gcm| {
                    let mut out = data.clone();
                    let tag = gcm.seal(nonce, &aad, &mut out).unwrap();
                    [out, tag.to_vec()].concat()
                };
                let portable = Gcm::portable(&key);
                let expected = sealed(&portable);
                let mut ways = vec![Gcm::new(&key), portable];
                #[cfg(target_arch = "x86_64")]
                ways.extend(simd::Gcm::new(&key).map(|gcm| Gcm::Native(gcm.narrow())));
                for gcm in ways {
                    assert_eq!(sealed(&gcm), expected, "{len} bytes");
                    let mut opened = expected.clone();
                    assert_eq!(gcm.open(nonce, &aad, &mut opened), Ok(()));
                    assert_eq!(opened[..len], data);
                    let mut damaged = expected.clone();
                    let at = rng.below(damaged.len() as u32) as usize;
                    damaged[at] ^= 1 << rng.below(8);
                    assert_eq!(gcm.open(nonce, &aad, &mut damaged), Err(Error::BadTag));
                }
            }
        }
    }
}
