//! The transforms of RFC 3711 §4 and RFC 7714, with key states kept for the session.

use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockEncrypt, KeyInit};
use crosspoint_base::is_same_secret;

use super::gcm::{self, Gcm};
use super::hmac::{Hmac, Lane};
use super::keystream::Keystream;
use super::{Error, Profile};
use crate::rtp;

/// Keys of RTP are kept as the cipher needs them. Those of RTCP, for a packet every few seconds,
/// are made ready for each.
pub(super) enum Cipher {
    Cm { rtp: Box<CmKeys>, rtcp: Box<Keys>, rtp_tag: usize },
    Gcm { rtp: Box<GcmKeys>, rtcp: Box<Keys> },
}

/// Session keys as they were derived (RFC 3711 §4.3.1).
pub(super) struct Keys {
    encryption: Vec<u8>,
    auth: Vec<u8>,
    salt: Vec<u8>,
}

#[repr(C, align(64))]
pub(super) struct CmKeys {
    auth: Hmac,
    stream: Keystream,
    salt: [u8; 14],
}

pub(super) struct GcmKeys {
    key: Gcm,
    salt: [u8; 12],
}

const GCM_TAG: usize = gcm::TAG;
const RTCP_TAG: usize = 10;
/// The rollover counter, which is signed behind the packet.
const ROC: usize = 4;
const ENCRYPTED: u32 = 1 << 31;

/// The longest tag that stands apart from the cipher.
pub(super) const LONGEST_TAG: usize = 10;
/// A tag that a packet claims.
pub(super) type Claim = [u8; LONGEST_TAG];

/// How far encryption has come.
pub(super) enum Encrypted {
    /// So long is the protected packet.
    Whole(usize),
    /// So long is the packet, and the tag behind it is missing.
    Unsigned(usize),
}

impl Cipher {
    pub(super) fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Self {
        let rtp_tag = match profile {
            Profile::Aes128CmSha1_80 => 10,
            Profile::Aes128CmSha1_32 => 4,
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => {
                let rtcp = Box::new(Keys::derive(key, salt, [3, 4, 5]));
                return Self::Gcm { rtp: Box::new(Keys::derive(key, salt, [0, 1, 2]).gcm()), rtcp };
            }
        };
        Self::Cm {
            rtp: Box::new(Keys::derive(key, salt, [0, 1, 2]).cm()),
            rtcp: Box::new(Keys::derive(key, salt, [3, 4, 5])),
            rtp_tag,
        }
    }

    #[cfg(test)]
    pub(super) fn with_session_keys_gcm(key: &[u8], salt: &[u8]) -> Self {
        let keys = || Keys { encryption: key.to_vec(), auth: Vec::new(), salt: salt.to_vec() };
        Self::Gcm { rtp: Box::new(keys().gcm()), rtcp: Box::new(keys()) }
    }

    pub(super) fn prefetch_keys(&self) {
        match self {
            Self::Cm { rtp, .. } => super::prefetch(&**rtp, 0..usize::MAX),
            Self::Gcm { rtp, .. } => super::prefetch(&**rtp, 0..usize::MAX),
        }
    }

    /// Encrypts a packet. With a tag that stands apart from the cipher, what it signs is then in
    /// place, `len + 4` bytes, and the tag is yet to be made; else all is done.
    pub(super) fn encrypt_rtp(
        &self,
        buffer: &mut [u8],
        len: usize,
        header: &rtp::Header,
        index: u64,
    ) -> Result<Encrypted, Error> {
        match self {
            Self::Cm { rtp, rtp_tag, .. } => {
                let room = buffer.get_mut(..len + rtp_tag).ok_or(Error::Malformed)?;
                rtp.apply(header.ssrc, index, &mut room[header.len..len]);
                room[len..len + ROC].copy_from_slice(&roc(index));
                Ok(Encrypted::Unsigned(len))
            }
            Self::Gcm { rtp, .. } => {
                let end = len + GCM_TAG;
                let room = buffer.get_mut(..end).ok_or(Error::Malformed)?;
                let (aad, rest) = room.split_at_mut(header.len);
                let (payload, tag) = rest.split_at_mut(len - header.len);
                let nonce = rtp.rtp_nonce(header.ssrc, index);
                tag.copy_from_slice(&rtp.key.seal(nonce, aad, payload)?);
                Ok(Encrypted::Whole(end))
            }
        }
    }

    /// What is signed of an encrypted packet of RTP, and with which key; `None` with a cipher
    /// that signs for itself.
    pub(super) fn lane<'p>(&'p self, buffer: &'p [u8], len: usize) -> Option<Lane<'p>> {
        match self {
            Self::Cm { rtp, .. } => {
                Some(Lane { hmac: &rtp.auth, message: buffer.get(..len + ROC)? })
            }
            Self::Gcm { .. } => None,
        }
    }

    /// How long a tag is that stands apart from the cipher.
    pub(super) fn rtp_tag(&self) -> Option<usize> {
        match self {
            Self::Cm { rtp_tag, .. } => Some(*rtp_tag),
            Self::Gcm { .. } => None,
        }
    }

    /// Takes the tag off a packet and puts what else is signed in its place: then it can be
    /// checked. `None` with a cipher that checks for itself.
    pub(super) fn unsign(
        &self,
        buffer: &mut [u8],
        header: &rtp::Header,
        index: u64,
    ) -> Result<Option<(usize, Claim)>, Error> {
        let Some(tag) = self.rtp_tag() else { return Ok(None) };
        let len = buffer.len().checked_sub(tag).filter(|l| *l >= header.len);
        let len = len.ok_or(Error::Malformed)?;
        let mut claim = [0; LONGEST_TAG];
        claim[..tag].copy_from_slice(&buffer[len..]);
        buffer[len..len + ROC].copy_from_slice(&roc(index));
        Ok(Some((len, claim)))
    }

    /// Whether a packet may claim this tag.
    pub(super) fn is_signed(&self, claim: &Claim, tag: &[u8; 20]) -> bool {
        let len = self.rtp_tag().unwrap_or(LONGEST_TAG);
        is_same_secret(&tag[..len], &claim[..len])
    }

    /// Decrypts a packet whose tag was checked.
    pub(super) fn decrypt_rtp(&self, packet: &mut [u8], header: &rtp::Header, index: u64) {
        if let Self::Cm { rtp, .. } = self {
            rtp.apply(header.ssrc, index, packet.get_mut(header.len..).unwrap_or_default());
        }
    }

    /// Checks and decrypts at once.
    pub(super) fn unprotect_rtp(
        &self,
        buffer: &mut [u8],
        header: &rtp::Header,
        index: u64,
    ) -> Result<usize, Error> {
        if let Some((len, claim)) = self.unsign(buffer, header, index)? {
            let lane = self.lane(buffer, len).ok_or(Error::Malformed)?;
            if !self.is_signed(&claim, &lane.hmac.tag(lane.message)) {
                return Err(Error::BadTag);
            }
            self.decrypt_rtp(&mut buffer[..len], header, index);
            return Ok(len);
        }
        let Self::Gcm { rtp, .. } = self else { return Err(Error::Malformed) };
        let len = buffer.len().checked_sub(GCM_TAG).filter(|l| *l >= header.len);
        let len = len.ok_or(Error::Malformed)?;
        let (aad, rest) = buffer.split_at_mut(header.len);
        rtp.key.open(rtp.rtp_nonce(header.ssrc, index), aad, rest)?;
        Ok(len)
    }

    pub(super) fn protect_rtcp(
        &self,
        buffer: &mut [u8],
        len: usize,
        ssrc: u32,
        index: u32,
    ) -> Result<usize, Error> {
        let trailer = (ENCRYPTED | index).to_be_bytes();
        match self {
            Self::Cm { rtcp, .. } => {
                let rtcp = rtcp.cm();
                let end = len + 4 + RTCP_TAG;
                let room = buffer.get_mut(..end).ok_or(Error::Malformed)?;
                rtcp.apply(ssrc, u64::from(index), &mut room[8..len]);
                room[len..len + 4].copy_from_slice(&trailer);
                let tag = rtcp.auth.tag(&room[..len + 4]);
                room[len + 4..].copy_from_slice(&tag[..RTCP_TAG]);
                Ok(end)
            }
            Self::Gcm { rtcp, .. } => {
                let rtcp = rtcp.gcm();
                let end = len + GCM_TAG + 4;
                let room = buffer.get_mut(..end).ok_or(Error::Malformed)?;
                // RFC 7714 §9.3: the header and the trailer are authenticated, not encrypted.
                let mut aad = [0; 12];
                aad[..8].copy_from_slice(&room[..8]);
                aad[8..].copy_from_slice(&trailer);
                let tag = rtcp.key.seal(rtcp.rtcp_nonce(ssrc, index), &aad, &mut room[8..len])?;
                room[len..len + GCM_TAG].copy_from_slice(&tag);
                room[len + GCM_TAG..].copy_from_slice(&trailer);
                Ok(end)
            }
        }
    }

    /// The SRTCP index a packet claims; unencrypted SRTCP is not taken.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Result<u32, Error> {
        let tail = match self {
            Self::Cm { .. } => RTCP_TAG,
            Self::Gcm { .. } => 0,
        };
        let end = packet.len().checked_sub(tail).ok_or(Error::Malformed)?;
        let word = packet[..end].last_chunk::<4>().ok_or(Error::Malformed)?;
        let word = u32::from_be_bytes(*word);
        if word & ENCRYPTED == 0 { Err(Error::Malformed) } else { Ok(word & !ENCRYPTED) }
    }

    pub(super) fn unprotect_rtcp(&self, buffer: &mut [u8], ssrc: u32) -> Result<usize, Error> {
        let index = self.rtcp_index(buffer)?;
        match self {
            Self::Cm { rtcp, .. } => {
                let rtcp = rtcp.cm();
                let signed = buffer.len().checked_sub(RTCP_TAG).ok_or(Error::Malformed)?;
                let len = signed.checked_sub(4).filter(|l| *l >= 8).ok_or(Error::Malformed)?;
                let tag = rtcp.auth.tag(&buffer[..signed]);
                if !is_same_secret(&tag[..RTCP_TAG], &buffer[signed..]) {
                    return Err(Error::BadTag);
                }
                rtcp.apply(ssrc, u64::from(index), &mut buffer[8..len]);
                Ok(len)
            }
            Self::Gcm { rtcp, .. } => {
                let rtcp = rtcp.gcm();
                let len = buffer.len().checked_sub(4 + GCM_TAG).filter(|l| *l >= 8);
                let len = len.ok_or(Error::Malformed)?;
                let mut aad = [0; 12];
                aad[..8].copy_from_slice(&buffer[..8]);
                aad[8..].copy_from_slice(&buffer[len + GCM_TAG..]);
                let nonce = rtcp.rtcp_nonce(ssrc, index);
                rtcp.key.open(nonce, &aad, &mut buffer[8..len + GCM_TAG])?;
                Ok(len)
            }
        }
    }
}

impl Keys {
    fn derive(key: &[u8], salt: &[u8], [encryption, auth, salting]: [u8; 3]) -> Self {
        Self {
            encryption: derive(key, salt, encryption, key.len()),
            auth: derive(key, salt, auth, 20),
            salt: derive(key, salt, salting, salt.len()),
        }
    }

    fn cm(&self) -> CmKeys {
        let mut salt = [0; 14];
        salt.copy_from_slice(&self.salt);
        let mut key = [0; 16];
        key.copy_from_slice(&self.encryption);
        CmKeys { auth: Hmac::new(&self.auth), stream: Keystream::new(&key), salt }
    }

    fn gcm(&self) -> GcmKeys {
        let mut salt = [0; 12];
        salt.copy_from_slice(&self.salt);
        GcmKeys { key: Gcm::new(&self.encryption), salt }
    }
}

impl CmKeys {
    /// RFC 3711 §4.1.1: IV = salt·2¹⁶ ⊕ SSRC·2⁶⁴ ⊕ index·2¹⁶.
    fn apply(&self, ssrc: u32, index: u64, data: &mut [u8]) {
        let mut salt = [0; 16];
        salt[..14].copy_from_slice(&self.salt);
        let block = u128::from_be_bytes(salt) ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16;
        self.stream.apply(&block.to_be_bytes(), data);
    }
}

impl GcmKeys {
    /// RFC 7714 §8.1.
    fn rtp_nonce(&self, ssrc: u32, index: u64) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
        nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
        self.mask(nonce)
    }

    /// RFC 7714 §9.1.
    fn rtcp_nonce(&self, ssrc: u32, index: u32) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
        nonce[8..].copy_from_slice(&index.to_be_bytes());
        self.mask(nonce)
    }

    fn mask(&self, mut nonce: [u8; 12]) -> [u8; 12] {
        for (byte, salt) in nonce.iter_mut().zip(self.salt) {
            *byte ^= salt;
        }
        nonce
    }
}

/// RFC 3711 §4.3.1, with a key derivation rate of zero; AES-256 keys by RFC 6188.
pub(super) fn derive(key: &[u8], salt: &[u8], label: u8, len: usize) -> Vec<u8> {
    let mut block = [0; 16];
    block[..salt.len().min(14)].copy_from_slice(&salt[..salt.len().min(14)]);
    block[7] ^= label;
    let mut out = Vec::with_capacity(48);
    for counter in 0..3_u16 {
        block[14..].copy_from_slice(&counter.to_be_bytes());
        let mut stream = GenericArray::clone_from_slice(&block);
        if key.len() == 32 {
            aes::Aes256::new(GenericArray::from_slice(key)).encrypt_block(&mut stream);
        } else {
            aes::Aes128::new(GenericArray::from_slice(key)).encrypt_block(&mut stream);
        }
        out.extend_from_slice(&stream);
    }
    out.truncate(len);
    out
}

fn roc(index: u64) -> [u8; 4] {
    let bytes = index.to_be_bytes();
    [bytes[2], bytes[3], bytes[4], bytes[5]]
}
