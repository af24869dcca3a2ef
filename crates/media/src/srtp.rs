//! SRTP and SRTCP (RFC 3711, RFC 7714): one context per direction, in place.
//!
//! The tag is checked before anything else is believed. Rollover counters and replay windows
//! are kept per source, and only a packet with a good tag may make a new source known.

mod cipher;

use std::collections::BTreeMap;

use crate::rtp;
use cipher::Cipher;

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
    rtp: BTreeMap<u32, Source>,
    rtcp: BTreeMap<u32, Source>,
}

/// The highest index seen of a source, and which of the 128 below it.
#[derive(Debug, Clone, Copy, Default)]
struct Source {
    highest: u64,
    seen: u128,
    started: bool,
}

impl Source {
    /// RFC 3711 §3.3.1: the 48-bit index that is nearest to the highest seen.
    fn index_of(&self, seq: u16) -> u64 {
        if !self.started {
            return u64::from(seq);
        }
        let roc = self.highest >> 16;
        let last = i32::try_from(self.highest & 0xffff).unwrap_or(0);
        let gap = i32::from(seq) - last;
        let roc = match gap {
            32_769.. => roc.saturating_sub(1),
            ..=-32_769 => roc + 1,
            _ => roc,
        };
        roc << 16 | u64::from(seq)
    }

    fn is_fresh(&self, index: u64) -> bool {
        if !self.started || index > self.highest {
            return true;
        }
        let below = self.highest - index;
        below < 128 && self.seen >> below & 1 == 0
    }

    fn take(&mut self, index: u64) {
        if !self.started {
            *self = Self { highest: index, seen: 1, started: true };
        } else if index > self.highest {
            let shift = u32::try_from(index - self.highest).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
            self.highest = index;
        } else if self.highest - index < 128 {
            self.seen |= 1 << (self.highest - index);
        }
    }
}

impl Context {
    /// `None` when key and salt do not have the profile's lengths.
    #[must_use]
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Option<Self> {
        let fits = key.len() == profile.key_len() && salt.len() == profile.salt_len();
        let cipher = fits.then(|| Cipher::new(profile, key, salt))?;
        Some(Self { cipher, rtp: BTreeMap::new(), rtcp: BTreeMap::new() })
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
        let packet = buffer.get(..len).ok_or(Error::Malformed)?;
        let header = rtp::Header::parse(packet).ok_or(Error::Malformed)?;
        let source = source(&mut self.rtp, header.ssrc)?;
        let index = source.index_of(header.seq);
        if !source.is_fresh(index) {
            return Err(Error::Replayed);
        }
        source.take(index);
        self.cipher.protect_rtp(buffer, len, &header, index)
    }

    /// Checks and decrypts the RTP packet in `buffer` and gives its plain length.
    ///
    /// # Errors
    /// When it is not a fresh packet of the peer.
    pub fn unprotect_rtp(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let header = rtp::Header::parse(buffer).ok_or(Error::Malformed)?;
        let known = self.rtp.get(&header.ssrc).copied().unwrap_or_default();
        if !known.started && self.rtp.len() >= MAX_SOURCES {
            return Err(Error::TooManySources);
        }
        let index = known.index_of(header.seq);
        if !known.is_fresh(index) {
            return Err(Error::Replayed);
        }
        let len = self.cipher.unprotect_rtp(buffer, &header, index)?;
        self.rtp.entry(header.ssrc).or_default().take(index);
        Ok(len)
    }

    /// Whether this is a fresh packet of the peer; takes no note of it. The buffer is decrypted.
    pub fn check_rtp(&self, buffer: &mut [u8]) -> bool {
        let Some(header) = rtp::Header::parse(buffer) else { return false };
        let known = self.rtp.get(&header.ssrc).copied().unwrap_or_default();
        let index = known.index_of(header.seq);
        known.is_fresh(index) && self.cipher.unprotect_rtp(buffer, &header, index).is_ok()
    }

    /// Protects the compound RTCP packet in `buffer[..len]` and gives its new length.
    ///
    /// # Errors
    /// When the packet is malformed or the buffer has no room behind it.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, Error> {
        let ssrc = rtcp_ssrc(buffer.get(..len).ok_or(Error::Malformed)?)?;
        let source = source(&mut self.rtcp, ssrc)?;
        let index = if source.started { source.highest + 1 } else { 0 };
        source.take(index);
        let index = u32::try_from(index & 0x7fff_ffff).unwrap_or(0);
        self.cipher.protect_rtcp(buffer, len, ssrc, index)
    }

    /// Checks and decrypts the RTCP packet in `buffer` and gives its plain length.
    ///
    /// # Errors
    /// When it is not a fresh packet of the peer.
    pub fn unprotect_rtcp(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let ssrc = rtcp_ssrc(buffer)?;
        let known = self.rtcp.get(&ssrc).copied().unwrap_or_default();
        if !known.started && self.rtcp.len() >= MAX_SOURCES {
            return Err(Error::TooManySources);
        }
        let index = self.cipher.rtcp_index(buffer)?;
        if !known.is_fresh(u64::from(index)) {
            return Err(Error::Replayed);
        }
        let len = self.cipher.unprotect_rtcp(buffer, ssrc)?;
        self.rtcp.entry(ssrc).or_default().take(u64::from(index));
        Ok(len)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("srtp::Context")
    }
}

fn source(sources: &mut BTreeMap<u32, Source>, ssrc: u32) -> Result<&mut Source, Error> {
    if sources.len() >= MAX_SOURCES && !sources.contains_key(&ssrc) {
        return Err(Error::TooManySources);
    }
    Ok(sources.entry(ssrc).or_default())
}

fn rtcp_ssrc(packet: &[u8]) -> Result<u32, Error> {
    let head: &[u8; 8] = packet.first_chunk().ok_or(Error::Malformed)?;
    Ok(u32::from_be_bytes([head[4], head[5], head[6], head[7]]))
}

/// A phone uses one or two; a re-offered session a few more over its life.
const MAX_SOURCES: usize = 32;

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
        let out = cipher.protect_rtp(&mut buffer, len, &header, u64::from(header.seq)).unwrap();
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

    fn hex(text: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect()
    }
}
