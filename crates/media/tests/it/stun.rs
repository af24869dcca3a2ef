//! STUN messages taken apart and made anew (RFC 8489), signed rightly, wrongly or not at all.

use hmac::{Hmac, Mac};
use sha1::Sha1;

pub(crate) const USERNAME: u16 = 0x0006;
pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
pub(crate) const PRIORITY: u16 = 0x0024;
pub(crate) const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
pub(crate) const ICE_CONTROLLING: u16 = 0x802a;

const BINDING_REQUEST: u16 = 0x0001;
pub(crate) const BINDING_SUCCESS: u16 = 0x0101;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

pub(crate) fn is_stun(bytes: &[u8]) -> bool {
    bytes.len() >= 20 && bytes[0] < 4 && bytes[4..8] == COOKIE
}

pub(crate) fn is_request(bytes: &[u8]) -> bool {
    is_stun(bytes) && bytes[..2] == BINDING_REQUEST.to_be_bytes()
}

#[derive(Clone)]
pub(crate) struct Stun {
    pub(crate) kind: u16,
    pub(crate) id: [u8; 12],
    pub(crate) attributes: Vec<(u16, Vec<u8>)>,
}

impl Stun {
    /// A check as a browser sends one.
    pub(crate) fn check(id: u64, username: &str) -> Self {
        let mut long = [0; 12];
        long[4..].copy_from_slice(&id.to_be_bytes());
        let attributes = vec![
            (USERNAME, username.as_bytes().to_vec()),
            (PRIORITY, (110_u32 << 24 | 65_535).to_be_bytes().to_vec()),
            (ICE_CONTROLLING, vec![9; 8]),
            (USE_CANDIDATE, vec![]),
        ];
        Self { kind: BINDING_REQUEST, id: long, attributes }
    }

    /// Everything but the signatures.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let kind = u16::from_be_bytes([bytes[0], bytes[1]]);
        let id = bytes[8..20].try_into().expect("twelve bytes");
        let mut attributes = vec![];
        let mut rest = &bytes[20..];
        while rest.len() >= 4 {
            let name = u16::from_be_bytes([rest[0], rest[1]]);
            let len = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
            if ![MESSAGE_INTEGRITY, FINGERPRINT].contains(&name) {
                attributes.push((name, rest[4..4 + len].to_vec()));
            }
            rest = &rest[(4 + len.next_multiple_of(4)).min(rest.len())..];
        }
        Self { kind, id, attributes }
    }

    pub(crate) fn username(&self) -> String {
        let value = self.attributes.iter().find(|(name, _)| *name == USERNAME);
        String::from_utf8(value.expect("a username").1.clone()).expect("text")
    }

    /// Without MESSAGE-INTEGRITY, with a right FINGERPRINT.
    pub(crate) fn unsigned(&self) -> Vec<u8> {
        let mut out = self.head(8);
        self.write(&mut out);
        fingerprint(&mut out);
        out
    }

    pub(crate) fn signed(&self, password: &str) -> Vec<u8> {
        let mut mac = Hmac::<Sha1>::new_from_slice(password.as_bytes()).expect("any key");
        let mut covered = self.head(24);
        self.write(&mut covered);
        mac.update(&covered);
        let tag = mac.finalize().into_bytes();
        let mut out = self.head(32);
        self.write(&mut out);
        attribute(&mut out, MESSAGE_INTEGRITY, &tag);
        fingerprint(&mut out);
        out
    }

    fn head(&self, behind: usize) -> Vec<u8> {
        let own: usize = self.attributes.iter().map(|(_, v)| 4 + v.len().next_multiple_of(4)).sum();
        let len = u16::try_from(own + behind).expect("a short message");
        let mut out = self.kind.to_be_bytes().to_vec();
        out.extend(len.to_be_bytes());
        out.extend(COOKIE);
        out.extend(self.id);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.attributes {
            attribute(out, *name, value);
        }
    }
}

fn attribute(out: &mut Vec<u8>, name: u16, value: &[u8]) {
    out.extend(name.to_be_bytes());
    out.extend(u16::try_from(value.len()).expect("a short value").to_be_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn fingerprint(out: &mut Vec<u8>) {
    let crc = crc32(out) ^ 0x5354_554e;
    attribute(out, FINGERPRINT, &crc.to_be_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}
