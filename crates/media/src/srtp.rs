//! SRTP and SRTCP (RFC 3711, RFC 7714): one context per direction, in place.
//!
//! The tag is checked before anything else is believed. Rollover counters and replay windows
//! are kept per source, and only a packet with a good tag may make a new source known.

mod batch;
mod cipher;
mod gcm;
mod hmac;
mod keystream;
#[cfg(target_arch = "x86_64")]
mod simd;
mod sources;

use crate::rtp;
pub use batch::{Opening, Protecting, Unprotecting, Unsigned, check, sign};
use cipher::{Cipher, Encrypted};
use sources::Sources;

/// A protection profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Aes128CmSha1_80,
    /// Only in SDES: the tag of RTP is 32 bits.
    Aes128CmSha1_32,
    AeadAes128Gcm,
    AeadAes256Gcm,
}

impl Profile {
    #[must_use]
    pub fn key_len(self) -> usize {
        if self == Self::AeadAes256Gcm { 32 } else { 16 }
    }

    #[must_use]
    pub fn salt_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::Aes128CmSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// The name in `a=crypto` (RFC 4568 §6.2, RFC 7714 §14.2).
    #[must_use]
    pub fn sdes_name(self) -> &'static str {
        match self {
            Self::Aes128CmSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::Aes128CmSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    #[must_use]
    pub fn from_sdes_name(name: &str) -> Option<Self> {
        [Self::Aes128CmSha1_80, Self::Aes128CmSha1_32, Self::AeadAes128Gcm, Self::AeadAes256Gcm]
            .into_iter()
            .find(|p| p.sdes_name() == name)
    }
}

/// Why a packet was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    Malformed,
    /// The tag does not fit: not from the peer, or damaged.
    BadTag,
    /// Seen before, or too old to tell.
    Replayed,
    /// More sources than any peer has.
    TooManySources,
}

/// Room a protected packet needs behind the plain one.
pub const MAX_OVERHEAD: usize = 20;

/// The state of one direction of one media session.
pub struct Context {
    cipher: Cipher,
    rtp: Sources,
    rtcp: Box<Sources>,
}

/// Has these bytes of a value on their way into the cache, where the processor can.
pub(crate) fn prefetch<T>(value: &T, bytes: std::ops::Range<usize>) {
    #[cfg(target_arch = "x86_64")]
    simd::prefetch(value, bytes);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, bytes);
}

impl Context {
    /// Has the keys of RTP on their way into the cache.
    pub(crate) fn prefetch_keys(&self) {
        self.cipher.prefetch_keys();
    }

    /// `None` when key and salt do not have the profile's lengths.
    #[must_use]
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Option<Self> {
        let fits = key.len() == profile.key_len() && salt.len() == profile.salt_len();
        let cipher = fits.then(|| Cipher::new(profile, key, salt))?;
        Some(Self { cipher, rtp: Sources::default(), rtcp: Box::default() })
    }

    /// How many sources are kept, of RTP and of RTCP.
    #[must_use]
    pub fn sources(&self) -> usize {
        self.rtp.len() + self.rtcp.len()
    }

    /// Protects the RTP packet in `buffer[..len]` and gives its new length.
    ///
    /// # Errors
    /// When the packet is malformed, the buffer has no room behind it, or the number was used
    /// before: two packets under one number would give the cipher away (RFC 3711 §9.1).
    pub fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, Error> {
        match self.encrypt(buffer, len)? {
            Encrypted::Whole(len) => Ok(len),
            Encrypted::Unsigned(len) => {
                let lane = self.cipher.lane(buffer, len).ok_or(Error::Malformed)?;
                let tag = lane.hmac.tag(lane.message);
                Ok(self.put_tag(buffer, len, &tag))
            }
        }
    }

    fn encrypt(&mut self, buffer: &mut [u8], len: usize) -> Result<Encrypted, Error> {
        let packet = buffer.get(..len).ok_or(Error::Malformed)?;
        let header = rtp::Header::parse(packet).ok_or(Error::Malformed)?;
        let source = self.rtp.entry(header.ssrc)?;
        let index = source.index_of(header.seq);
        if !source.is_fresh(index) {
            return Err(Error::Replayed);
        }
        source.take(index);
        self.cipher.encrypt_rtp(buffer, len, &header, index)
    }

    fn put_tag(&self, buffer: &mut [u8], len: usize, tag: &[u8; 20]) -> usize {
        let end = len + self.cipher.rtp_tag().unwrap_or(0);
        if let Some(place) = buffer.get_mut(len..end) {
            place.copy_from_slice(&tag[..end - len]);
        }
        end
    }

    /// Checks and decrypts the RTP packet in `buffer` and gives its plain length.
    ///
    /// # Errors
    /// When it is not a fresh packet of the peer.
    pub fn unprotect_rtp(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let header = rtp::Header::parse(buffer).ok_or(Error::Malformed)?;
        let index = self.fresh_index(&header)?;
        let len = self.cipher.unprotect_rtp(buffer, &header, index)?;
        self.rtp.entry(header.ssrc)?.take(index);
        Ok(len)
    }

    /// The index of a packet that may be taken if its tag is good.
    fn fresh_index(&self, header: &rtp::Header) -> Result<u64, Error> {
        let known = self.rtp.find(header.ssrc);
        if known.is_none() && !self.rtp.has_room() {
            return Err(Error::TooManySources);
        }
        let known = known.unwrap_or_default();
        let index = known.index_of(header.seq);
        if known.is_fresh(index) { Ok(index) } else { Err(Error::Replayed) }
    }

    /// Whether this is a fresh packet of the peer; takes no note of it. The buffer is decrypted.
    pub fn check_rtp(&self, buffer: &mut [u8]) -> bool {
        let Some(header) = rtp::Header::parse(buffer) else { return false };
        let known = self.rtp.find(header.ssrc).unwrap_or_default();
        let index = known.index_of(header.seq);
        known.is_fresh(index) && self.cipher.unprotect_rtp(buffer, &header, index).is_ok()
    }

    /// Protects the compound RTCP packet in `buffer[..len]` and gives its new length.
    ///
    /// # Errors
    /// When the packet is malformed or the buffer has no room behind it.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, Error> {
        let ssrc = rtcp_ssrc(buffer.get(..len).ok_or(Error::Malformed)?)?;
        let index = self.rtcp.entry(ssrc)?.take_next();
        let index = u32::try_from(index & 0x7fff_ffff).unwrap_or(0);
        self.cipher.protect_rtcp(buffer, len, ssrc, index)
    }

    /// Checks and decrypts the RTCP packet in `buffer` and gives its plain length.
    ///
    /// # Errors
    /// When it is not a fresh packet of the peer.
    pub fn unprotect_rtcp(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let ssrc = rtcp_ssrc(buffer)?;
        let known = self.rtcp.find(ssrc);
        if known.is_none() && !self.rtcp.has_room() {
            return Err(Error::TooManySources);
        }
        let known = known.unwrap_or_default();
        let index = self.cipher.rtcp_index(buffer)?;
        if !known.is_fresh(u64::from(index)) {
            return Err(Error::Replayed);
        }
        let len = self.cipher.unprotect_rtcp(buffer, ssrc)?;
        self.rtcp.entry(ssrc)?.take(u64::from(index));
        Ok(len)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("srtp::Context")
    }
}

fn rtcp_ssrc(packet: &[u8]) -> Result<u32, Error> {
    let head: &[u8; 8] = packet.first_chunk().ok_or(Error::Malformed)?;
    Ok(u32::from_be_bytes([head[4], head[5], head[6], head[7]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: [Profile; 4] = [
        Profile::Aes128CmSha1_80,
        Profile::Aes128CmSha1_32,
        Profile::AeadAes128Gcm,
        Profile::AeadAes256Gcm,
    ];

    fn pair(profile: Profile) -> (Context, Context) {
        let key = vec![7; profile.key_len()];
        let salt = vec![9; profile.salt_len()];
        let make = || Context::new(profile, &key, &salt).unwrap();
        (make(), make())
    }

    fn packet(seq: u16, ssrc: u32) -> (Vec<u8>, usize) {
        let mut out = Vec::new();
        rtp::Header::new(0, seq, u32::from(seq) * 160, ssrc, false).write(&mut out);
        out.extend((0..160).map(|b| b as u8));
        let len = out.len();
        out.resize(len + MAX_OVERHEAD, 0);
        (out, len)
    }

    #[test]
    fn every_profile_gives_back_what_it_took_once() {
        for profile in PROFILES {
            let (mut send, mut receive) = pair(profile);
            let (mut buffer, len) = packet(65_530, 1);
            let plain = buffer[..len].to_vec();
            let protected = send.protect_rtp(&mut buffer, len).unwrap();
            assert_ne!(buffer[12..len], plain[12..]);
            let mut again = buffer[..protected].to_vec();
            let back = receive.unprotect_rtp(&mut buffer[..protected]).unwrap();
            assert_eq!(buffer[..back], plain);
            assert_eq!(receive.unprotect_rtp(&mut again), Err(Error::Replayed));
        }
    }

    #[test]
    fn the_rollover_counter_follows_a_wrap_with_loss_and_reordering() {
        for profile in PROFILES {
            let (mut send, mut receive) = pair(profile);
            let mut sent: Vec<Vec<u8>> = Vec::new();
            for seq in 65_500..65_536 + 100_u32 {
                let (mut buffer, len) = packet((seq & 0xffff) as u16, 1);
                let len = send.protect_rtp(&mut buffer, len).unwrap();
                buffer.truncate(len);
                sent.push(buffer);
            }
            sent.swap(34, 40);
            sent.remove(37);
            for mut buffer in sent {
                receive.unprotect_rtp(&mut buffer).unwrap();
            }
        }
    }

    #[test]
    fn no_number_is_used_twice_under_one_key() {
        for profile in PROFILES {
            let (mut send, _) = pair(profile);
            let mut protect = |seq| {
                let (mut buffer, len) = packet(seq, 1);
                send.protect_rtp(&mut buffer, len).map(|_| ())
            };
            assert_eq!(protect(1000), Ok(()));
            assert_eq!(protect(999), Ok(()));
            for seq in [1000, 999, 800] {
                assert_eq!(protect(seq), Err(Error::Replayed));
            }
        }
    }

    #[test]
    fn rtcp_survives_and_is_not_replayed() {
        for profile in PROFILES {
            let (mut send, mut receive) = pair(profile);
            for _ in 0..3 {
                let mut buffer = vec![0x80, 201, 0, 1, 0, 0, 0, 5];
                let plain = buffer.clone();
                buffer.resize(8 + MAX_OVERHEAD, 0);
                let len = send.protect_rtcp(&mut buffer, 8).unwrap();
                buffer.truncate(len);
                let mut again = buffer.clone();
                let back = receive.unprotect_rtcp(&mut buffer).unwrap();
                assert_eq!(buffer[..back], plain);
                assert_eq!(receive.unprotect_rtcp(&mut again), Err(Error::Replayed));
            }
        }
    }

    /// RFC 3711 appendix B.3: keys derived from the master key and salt.
    #[test]
    fn keys_are_derived_as_the_rfc_says() {
        let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        let derived = |label, len| cipher::derive(&key, &salt, label, len);
        assert_eq!(derived(0, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(derived(2, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(derived(1, 20), hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    }

    /// RFC 7714 §16.1.1.
    #[test]
    fn gcm_agrees_with_the_vector_of_the_rfc() {
        let mut buffer = hex(
            "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120696e20706172746573207472657320",
        );
        buffer.truncate(50);
        let len = buffer.len();
        assert_eq!(&buffer[12..17], b"Galli");
        buffer.resize(len + MAX_OVERHEAD, 0);
        let key = hex("000102030405060708090a0b0c0d0e0f");
        let salt = hex("517569642070726f2071756f");
        let cipher = Cipher::with_session_keys_gcm(&key, &salt);
        let header = rtp::Header::parse(&buffer[..len]).unwrap();
        let out = cipher.encrypt_rtp(&mut buffer, len, &header, u64::from(header.seq)).unwrap();
        let Encrypted::Whole(out) = out else { panic!("GCM signs for itself") };
        assert_eq!(buffer[12..20], hex("f24de3a3fb34de6c"));
        assert_eq!(buffer[out - 16..out], hex("899d7f27beb16a9152cf765ee4390cce"));
    }

    #[test]
    fn garbage_changes_nothing() {
        for profile in PROFILES {
            let (mut send, mut receive) = pair(profile);
            let mut rng = crosspoint_base::Rng::from_u64(1);
            let mut garbage = [0u8; 182];
            for _ in 0..20_000 {
                rng.fill(&mut garbage);
                garbage[0] = 0x80;
                assert_eq!(receive.unprotect_rtp(&mut garbage), Err(Error::BadTag));
                let cut = rng.below(40) as usize;
                assert!(receive.unprotect_rtp(&mut garbage[..cut]).is_err());
                assert!(receive.unprotect_rtcp(&mut garbage[..cut]).is_err());
            }
            assert!(receive.rtp.is_empty() && receive.rtcp.is_empty());
            let (mut buffer, len) = packet(1, 1);
            let len = send.protect_rtp(&mut buffer, len).unwrap();
            assert!(receive.unprotect_rtp(&mut buffer[..len]).is_ok());
        }
    }

    /// What an independent implementation makes of a packet (RFC 3711 §4, RFC 7714 §8).
    fn oracle(profile: Profile, key: &[u8], salt: &[u8], packet: &[u8], roc: u32) -> Vec<u8> {
        use ::hmac::Mac as _;
        use aes_gcm::aead::{Aead, Payload};
        use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit as _};
        use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
        let header = rtp::Header::parse(packet).unwrap();
        let (clear, payload) = packet.split_at(header.len);
        let derived = |label, len| cipher::derive(key, salt, label, len);
        let mut mask = vec![0; profile.salt_len()];
        let at = profile.salt_len() - 10;
        mask[at..at + 4].copy_from_slice(&header.ssrc.to_be_bytes());
        mask[at + 4..at + 8].copy_from_slice(&roc.to_be_bytes());
        mask[at + 8..].copy_from_slice(&header.seq.to_be_bytes());
        let mut nonce = derived(2, profile.salt_len());
        nonce.iter_mut().zip(&mask).for_each(|(byte, mask)| *byte ^= mask);
        let session_key = derived(0, profile.key_len());
        let (nonce_of, sealed) = (nonce.clone(), Payload { msg: payload, aad: clear });
        let body = match profile {
            Profile::AeadAes128Gcm => {
                let cipher = Aes128Gcm::new_from_slice(&session_key).unwrap();
                cipher.encrypt(nonce_of.as_slice().into(), sealed).unwrap()
            }
            Profile::AeadAes256Gcm => {
                let cipher = Aes256Gcm::new_from_slice(&session_key).unwrap();
                cipher.encrypt(nonce_of.as_slice().into(), sealed).unwrap()
            }
            Profile::Aes128CmSha1_80 | Profile::Aes128CmSha1_32 => {
                nonce.extend([0, 0]);
                let key = session_key.as_slice();
                let mut stream =
                    ctr::Ctr128BE::<aes::Aes128>::new(key.into(), nonce.as_slice().into());
                let mut body = payload.to_vec();
                stream.apply_keystream(&mut body);
                let mut mac =
                    <::hmac::Hmac<sha1::Sha1> as ::hmac::Mac>::new_from_slice(&derived(1, 20))
                        .unwrap();
                mac.update(&[clear, &body, &roc.to_be_bytes()].concat());
                let len = if profile == Profile::Aes128CmSha1_80 { 10 } else { 4 };
                body.extend(&mac.finalize().into_bytes()[..len]);
                body
            }
        };
        [clear, &body].concat()
    }

    /// A packet with extension and contributing sources now and then.
    fn any_packet(rng: &mut crosspoint_base::Rng, seq: u16, ssrc: u32) -> Vec<u8> {
        let mut out = Vec::new();
        rtp::Header::new(0, seq, u32::from(seq) * 160, ssrc, false).write(&mut out);
        if rng.below(3) == 0 {
            out[0] |= 0x12;
            out.extend([0, 0, 0, 1, 0, 0, 0, 2, 0xbe, 0xde, 0, 1, 1, 2, 3, 4]);
        }
        let most = [1, 40, 170, 1200][rng.below(4) as usize];
        let mut payload = vec![0; rng.below(most) as usize];
        rng.fill(&mut payload);
        out.extend(payload);
        out
    }

    #[test]
    fn agrees_with_an_independent_implementation_at_any_length() {
        let mut rng = crosspoint_base::Rng::from_u64(7);
        for profile in PROFILES {
            let (mut key, mut salt) = (vec![0; profile.key_len()], vec![0; profile.salt_len()]);
            rng.fill(&mut key);
            rng.fill(&mut salt);
            let mut send = Context::new(profile, &key, &salt).unwrap();
            for number in 65_000..66_200_u32 {
                let plain = any_packet(&mut rng, number as u16, 77);
                let mut buffer = plain.clone();
                buffer.resize(plain.len() + MAX_OVERHEAD, 0);
                let len = send.protect_rtp(&mut buffer, plain.len()).unwrap();
                let expected = oracle(profile, &key, &salt, &plain, number >> 16);
                assert_eq!(buffer[..len], expected, "{profile:?}, {} bytes", plain.len());
            }
        }
    }

    /// Damage, repeats and wraps of the count in one batch, over sessions of every profile.
    #[test]
    fn a_batch_gives_what_one_after_the_other_gives() {
        let mut rng = crosspoint_base::Rng::from_u64(8);
        for round in 0..150_u32 {
            let sessions = 1 + round as usize % 20;
            let mut peers = vec![];
            let (mut alone, mut together) = (vec![], vec![]);
            for n in 0..sessions {
                let profile = PROFILES[if round % 2 == 0 { 0 } else { n % 4 }];
                let key = vec![n as u8; profile.key_len()];
                let salt = vec![9; profile.salt_len()];
                let make = || Context::new(profile, &key, &salt).unwrap();
                peers.push((make(), 65_480_u32 + rng.below(100)));
                alone.push(make());
                together.push(make());
            }
            for _ in 0..4 {
                let mut frames: Vec<(usize, Vec<u8>)> = vec![];
                for _ in 0..rng.below(70) {
                    let n = rng.below(sessions as u32) as usize;
                    let (peer, seq) = &mut peers[n];
                    *seq += 1 + rng.below(3);
                    let mut packet = any_packet(&mut rng, *seq as u16, 5);
                    let len = packet.len();
                    packet.resize(len + MAX_OVERHEAD, 0);
                    let len = peer.protect_rtp(&mut packet, len).unwrap();
                    packet.truncate(len);
                    match rng.below(12) {
                        0 => packet[len - 1 - rng.below(4) as usize] ^= 1,
                        1 => packet.truncate(rng.below(30) as usize),
                        2 => frames.push((n, packet.clone())),
                        _ => {}
                    }
                    frames.push((n, packet));
                }
                let one_by_one: Vec<_> = frames
                    .iter()
                    .map(|(n, packet)| {
                        let mut packet = packet.clone();
                        let len = alone[*n].unprotect_rtp(&mut packet)?;
                        packet.truncate(len);
                        Ok(packet)
                    })
                    .collect::<Vec<Result<Vec<u8>, Error>>>();
                assert_eq!(in_a_batch(&mut together, &mut frames), one_by_one);
            }
        }
    }

    fn in_a_batch(
        sessions: &mut [Context],
        frames: &mut [(usize, Vec<u8>)],
    ) -> Vec<Result<Vec<u8>, Error>> {
        let mut openings: Vec<_> =
            frames.iter_mut().map(|(n, packet)| sessions[*n].begin(packet)).collect();
        check(frames.iter().zip(&mut openings).filter_map(|((n, packet), opening)| {
            let opening = opening.as_mut().ok()?;
            Some(Unprotecting { context: &sessions[*n], packet, opening })
        }));
        let finished = frames.iter_mut().zip(openings).map(|((n, packet), opening)| {
            let len = sessions[*n].finish(packet, &opening?)?;
            Ok(packet[..len].to_vec())
        });
        finished.collect()
    }

    #[test]
    fn packets_signed_together_are_those_signed_alone() {
        let mut rng = crosspoint_base::Rng::from_u64(9);
        for count in 0..40_usize {
            let profile = |n: usize| PROFILES[if count % 2 == 0 { n % 2 } else { n % 4 }];
            let make = |n| pair(profile(n));
            let (mut alone, mut together): (Vec<_>, Vec<_>) = (0..count).map(make).unzip();
            let mut buffers = vec![];
            let mut unsigned = vec![];
            let mut expected = vec![];
            for n in 0..count {
                let mut plain = any_packet(&mut rng, n as u16, 5);
                let len = plain.len();
                plain.resize(len + MAX_OVERHEAD, 0);
                let mut whole = plain.clone();
                let whole_len = alone[n].protect_rtp(&mut whole, len).unwrap();
                expected.push(whole[..whole_len].to_vec());
                unsigned.push(together[n].protect_but_tag(&mut plain, len).unwrap());
                buffers.push(plain);
            }
            sign(buffers.iter_mut().zip(&unsigned).zip(&together).filter_map(
                |((buffer, unsigned), context)| {
                    Some(Protecting { context, buffer, unsigned: unsigned.err()? })
                },
            ));
            for (n, buffer) in buffers.iter().enumerate() {
                let len = unsigned[n].unwrap_or_else(|open| together[n].signed_len(open));
                assert_eq!(buffer[..len], expected[n]);
            }
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect()
    }
}
