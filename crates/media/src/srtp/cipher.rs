//! The transforms of RFC 3711 §4 and RFC 7714, with key states kept for the session.

use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockEncrypt, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use aes_gcm::aead::AeadInPlace;
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::{Error, Profile};
use crate::rtp;

type Ctr = ctr::Ctr128BE<aes::Aes128>;

pub(super) enum Cipher {
    Cm { rtp: Box<CmKeys>, rtcp: Box<CmKeys>, rtp_tag: usize },
    Gcm { rtp: Box<GcmKeys>, rtcp: Box<GcmKeys> },
}

pub(super) struct CmKeys {
    key: aes::Aes128,
    salt: [u8; 14],
    auth: Hmac<Sha1>,
}

pub(super) struct GcmKeys {
    key: Gcm,
    salt: [u8; 12],
}

#[expect(clippy::large_enum_variant, reason = "one per direction of a leg, boxed with its salt")]
enum Gcm {
    Aes128(Aes128Gcm),
    Aes256(Aes256Gcm),
}

const GCM_TAG: usize = 16;
const RTCP_TAG: usize = 10;
const ENCRYPTED: u32 = 1 << 31;

impl Cipher {
    pub(super) fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Self {
        let rtp_tag = match profile {
            Profile::Aes128CmSha1_80 => 10,
            Profile::Aes128CmSha1_32 => 4,
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => {
                return Self::Gcm {
                    rtp: Box::new(GcmKeys::derive(key, salt, 0, 2)),
                    rtcp: Box::new(GcmKeys::derive(key, salt, 3, 5)),
                };
            }
        };
        Self::Cm {
            rtp: Box::new(CmKeys::derive(key, salt, [0, 1, 2])),
            rtcp: Box::new(CmKeys::derive(key, salt, [3, 4, 5])),
            rtp_tag,
        }
    }

    #[cfg(test)]
    pub(super) fn with_session_keys_gcm(key: &[u8], salt: &[u8]) -> Self {
        let keys = || {
            let mut out = [0; 12];
            out.copy_from_slice(salt);
            Box::new(GcmKeys { key: Gcm::new(key), salt: out })
        };
        Self::Gcm { rtp: keys(), rtcp: keys() }
    }

    pub(super) fn protect_rtp(
        &self,
        buffer: &mut [u8],
        len: usize,
        header: &rtp::Header,
        index: u64,
    ) -> Result<usize, Error> {
        match self {
            Self::Cm { rtp, rtp_tag, .. } => {
                let end = len + rtp_tag;
                let room = buffer.get_mut(..end).ok_or(Error::Malformed)?;
                rtp.stream(header.ssrc, index).apply_keystream(&mut room[header.len..len]);
                let tag = rtp.tag(&room[..len], &roc(index));
                room[len..].copy_from_slice(&tag[..*rtp_tag]);
                Ok(end)
            }
            Self::Gcm { rtp, .. } => {
                let end = len + GCM_TAG;
                let room = buffer.get_mut(..end).ok_or(Error::Malformed)?;
                let (aad, rest) = room.split_at_mut(header.len);
                let (payload, tag) = rest.split_at_mut(len - header.len);
                let nonce = rtp.rtp_nonce(header.ssrc, index);
                tag.copy_from_slice(&rtp.key.seal(&nonce, aad, payload)?);
                Ok(end)
            }
        }
    }

    pub(super) fn unprotect_rtp(
        &self,
        buffer: &mut [u8],
        header: &rtp::Header,
        index: u64,
    ) -> Result<usize, Error> {
        match self {
            Self::Cm { rtp, rtp_tag, .. } => {
                let len = buffer.len().checked_sub(*rtp_tag).filter(|l| *l >= header.len);
                let len = len.ok_or(Error::Malformed)?;
                let tag = rtp.tag(&buffer[..len], &roc(index));
                if !is_equal(&tag[..*rtp_tag], &buffer[len..]) {
                    return Err(Error::BadTag);
                }
                rtp.stream(header.ssrc, index).apply_keystream(&mut buffer[header.len..len]);
                Ok(len)
            }
            Self::Gcm { rtp, .. } => {
                let len = buffer.len().checked_sub(GCM_TAG).filter(|l| *l >= header.len);
                let len = len.ok_or(Error::Malformed)?;
                let (aad, rest) = buffer.split_at_mut(header.len);
                let (payload, tag) = rest.split_at_mut(len - header.len);
                rtp.key.open(&rtp.rtp_nonce(header.ssrc, index), aad, payload, tag)?;
                Ok(len)
            }
        }
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
                let end = len + 4 + RTCP_TAG;
                let room = buffer.get_mut(..end).ok_or(Error::Malformed)?;
                rtcp.stream(ssrc, u64::from(index)).apply_keystream(&mut room[8..len]);
                room[len..len + 4].copy_from_slice(&trailer);
                let tag = rtcp.tag(&room[..len + 4], &[]);
                room[len + 4..].copy_from_slice(&tag[..RTCP_TAG]);
                Ok(end)
            }
            Self::Gcm { rtcp, .. } => {
                let end = len + GCM_TAG + 4;
                let room = buffer.get_mut(..end).ok_or(Error::Malformed)?;
                // RFC 7714 §9.3: the header and the trailer are authenticated, not encrypted.
                let mut aad = [0; 12];
                aad[..8].copy_from_slice(&room[..8]);
                aad[8..].copy_from_slice(&trailer);
                let tag = rtcp.key.seal(&rtcp.rtcp_nonce(ssrc, index), &aad, &mut room[8..len])?;
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
                let signed = buffer.len().checked_sub(RTCP_TAG).ok_or(Error::Malformed)?;
                let len = signed.checked_sub(4).filter(|l| *l >= 8).ok_or(Error::Malformed)?;
                let tag = rtcp.tag(&buffer[..signed], &[]);
                if !is_equal(&tag[..RTCP_TAG], &buffer[signed..]) {
                    return Err(Error::BadTag);
                }
                rtcp.stream(ssrc, u64::from(index)).apply_keystream(&mut buffer[8..len]);
                Ok(len)
            }
            Self::Gcm { rtcp, .. } => {
                let len = buffer.len().checked_sub(4 + GCM_TAG).filter(|l| *l >= 8);
                let len = len.ok_or(Error::Malformed)?;
                let mut aad = [0; 12];
                aad[..8].copy_from_slice(&buffer[..8]);
                aad[8..].copy_from_slice(&buffer[len + GCM_TAG..]);
                let nonce = rtcp.rtcp_nonce(ssrc, index);
                let (payload, rest) = buffer[8..].split_at_mut(len - 8);
                rtcp.key.open(&nonce, &aad, payload, &rest[..GCM_TAG])?;
                Ok(len)
            }
        }
    }
}

impl CmKeys {
    fn derive(key: &[u8], salt: &[u8], [encryption, auth, salting]: [u8; 3]) -> Self {
        let mut session_salt = [0; 14];
        session_salt.copy_from_slice(&derive(key, salt, salting, 14));
        let session_key = derive(key, salt, encryption, 16);
        let auth_key = derive(key, salt, auth, 20);
        Self {
            key: aes::Aes128::new(GenericArray::from_slice(&session_key)),
            salt: session_salt,
            auth: <Hmac<Sha1> as Mac>::new_from_slice(&auth_key)
                .expect("HMAC takes keys of any length"),
        }
    }

    /// RFC 3711 §4.1.1: IV = salt·2¹⁶ ⊕ SSRC·2⁶⁴ ⊕ index·2¹⁶.
    fn stream(&self, ssrc: u32, index: u64) -> Ctr {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        for (at, byte) in ssrc.to_be_bytes().into_iter().enumerate() {
            iv[4 + at] ^= byte;
        }
        for (at, byte) in index.to_be_bytes()[2..].iter().enumerate() {
            iv[8 + at] ^= byte;
        }
        let core = ctr::CtrCore::<aes::Aes128, ctr::flavors::Ctr128BE>::inner_iv_init(
            self.key.clone(),
            GenericArray::from_slice(&iv),
        );
        StreamCipherCoreWrapper::from_core(core)
    }

    fn tag(&self, signed: &[u8], roc: &[u8]) -> [u8; 20] {
        let mut mac = self.auth.clone();
        mac.update(signed);
        mac.update(roc);
        mac.finalize().into_bytes().into()
    }
}

impl GcmKeys {
    fn derive(key: &[u8], salt: &[u8], encryption: u8, salting: u8) -> Self {
        let mut session_salt = [0; 12];
        session_salt.copy_from_slice(&derive(key, salt, salting, 12));
        Self { key: Gcm::new(&derive(key, salt, encryption, key.len())), salt: session_salt }
    }

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

impl Gcm {
    fn new(key: &[u8]) -> Self {
        if key.len() == 32 {
            Self::Aes256(Aes256Gcm::new(GenericArray::from_slice(key)))
        } else {
            Self::Aes128(Aes128Gcm::new(GenericArray::from_slice(key)))
        }
    }

    fn seal(&self, nonce: &[u8; 12], aad: &[u8], payload: &mut [u8]) -> Result<[u8; 16], Error> {
        let nonce = GenericArray::from_slice(nonce);
        let tag = match self {
            Self::Aes128(key) => key.encrypt_in_place_detached(nonce, aad, payload),
            Self::Aes256(key) => key.encrypt_in_place_detached(nonce, aad, payload),
        };
        tag.map(Into::into).map_err(|_| Error::Malformed)
    }

    fn open(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        payload: &mut [u8],
        tag: &[u8],
    ) -> Result<(), Error> {
        let (nonce, tag) = (GenericArray::from_slice(nonce), GenericArray::from_slice(tag));
        let opened = match self {
            Self::Aes128(key) => key.decrypt_in_place_detached(nonce, aad, payload, tag),
            Self::Aes256(key) => key.decrypt_in_place_detached(nonce, aad, payload, tag),
        };
        opened.map_err(|_| Error::BadTag)
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

fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}
