//! STUN messages as browsers send them (RFC 8489), for ICE and for TURN.

use hmac::{Hmac, Mac};
use md5::Digest;
use sha1::Sha1;

pub(crate) const BINDING: u16 = 0x0001;
pub(crate) const ALLOCATE: u16 = 0x0003;
pub(crate) const CREATE_PERMISSION: u16 = 0x0008;
pub(crate) const CHANNEL_BIND: u16 = 0x0009;

const USERNAME: u16 = 0x0006;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// A message without signature.
pub(crate) fn message(kind: u16, transaction: [u8; 12], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend([0, 0]);
    bytes.extend(COOKIE);
    bytes.extend(transaction);
    for (kind, value) in attributes {
        attribute(&mut bytes, *kind, value);
    }
    set_length(&mut bytes, 0);
    bytes
}

/// A browser's check; with `nominate` it wants to use this path.
pub(crate) fn check(number: u64, ufrag: &str, password: &str) -> Vec<u8> {
    let mut transaction = [0; 12];
    transaction[4..].copy_from_slice(&number.to_be_bytes());
    let attributes: [(u16, &[u8]); 4] = [
        (USERNAME, ufrag.as_bytes()),
        (0x0024, &[110, 0, 255, 255]),
        (0x802a, &[9; 8]),
        (0x0025, &[]),
    ];
    let mut bytes = message(BINDING, transaction, &attributes);
    sign(&mut bytes, password.as_bytes());
    set_length(&mut bytes, 8);
    let crc = crc32(&bytes) ^ 0x5354_554e;
    attribute(&mut bytes, 0x8028, &crc.to_be_bytes());
    bytes
}

/// A request of a TURN client that has been challenged.
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) realm: String,
    pub(crate) nonce: Vec<u8>,
}

impl Login {
    pub(crate) fn request(&self, kind: u16, number: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut all = attributes.to_vec();
        all.push((USERNAME, self.username.as_bytes()));
        all.push((REALM, self.realm.as_bytes()));
        all.push((NONCE, &self.nonce));
        let mut bytes = message(kind, [number; 12], &all);
        let Self { username, realm, password, .. } = self;
        let key = md5::Md5::digest(format!("{username}:{realm}:{password}"));
        sign(&mut bytes, &key);
        bytes
    }

    /// Takes what a refusal asks with.
    pub(crate) fn challenged(&mut self, refusal: &[u8]) {
        self.nonce = find(refusal, NONCE).expect("a nonce");
    }
}

pub(crate) fn find(message: &[u8], wanted: u16) -> Option<Vec<u8>> {
    let mut rest = &message[20..];
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if u16::from_be_bytes([head[0], head[1]]) == wanted {
            return Some(tail[..length].to_vec());
        }
        rest = &tail[length.next_multiple_of(4)..];
    }
    None
}

/// An IPv4 address as STUN writes it.
pub(crate) fn address(address: std::net::SocketAddr) -> Vec<u8> {
    let std::net::IpAddr::V4(ip) = address.ip() else { panic!("IPv4 only") };
    let port = address.port() ^ 0x2112;
    let ip = ip.to_bits() ^ u32::from_be_bytes(COOKIE);
    [&[0, 1][..], &port.to_be_bytes(), &ip.to_be_bytes()].concat()
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend(u16::try_from(value.len()).expect("a short value").to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn sign(message: &mut Vec<u8>, key: &[u8]) {
    set_length(message, 24);
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("any key fits");
    mac.update(message);
    let tag = mac.finalize().into_bytes();
    attribute(message, 0x0008, &tag);
}

/// Writes the length with `more` bytes to come.
fn set_length(message: &mut [u8], more: usize) {
    let length = u16::try_from(message.len() - 20 + more).expect("a short message");
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8)
            .fold(crc ^ u32::from(*byte), |c, _| (c >> 1) ^ (0xedb8_8320 & (c & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, step)
}
