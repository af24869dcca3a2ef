//! STUN messages as TURN uses them (RFC 8489 §5, §14; RFC 8656 §18).
//!
//! A message is checked once as a whole and then read in place. Fingerprints are neither asked for
//! nor written: on this port there is nothing else to tell STUN from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hmac::{Hmac, Mac};
use sha1::Sha1;

/// A message whose lengths all fit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) method: u16,
    pub(super) class: Class,
    pub(super) transaction: Transaction,
    bytes: &'a [u8],
    /// Where the attributes that count end: at the first MESSAGE-INTEGRITY.
    end: usize,
    has_integrity: bool,
}

pub(super) type Transaction = [u8; 12];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Request,
    Indication,
    Success,
    Error,
}

impl<'a> Message<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let kind = u16_at(bytes, 0)?;
        let length = usize::from(u16_at(bytes, 2)?);
        let is_stun = kind & 0xc000 == 0 && bytes.get(4..8)? == COOKIE.to_be_bytes();
        if !is_stun || !length.is_multiple_of(4) || bytes.len() != HEADER + length {
            return None;
        }
        let class = match (kind >> 4 & 1) | (kind >> 7 & 2) {
            0 => Class::Request,
            1 => Class::Indication,
            2 => Class::Success,
            _ => Class::Error,
        };
        let transaction = bytes.get(8..HEADER)?.try_into().ok()?;
        let method = (kind & 0xf) | (kind >> 1 & 0x70) | (kind >> 2 & 0xf80);
        let whole =
            Self { method, class, transaction, bytes, end: bytes.len(), has_integrity: false };
        let mut at = HEADER;
        while at < bytes.len() {
            let (kind, _, next) = whole.attribute_at(at)?;
            if kind == attribute::MESSAGE_INTEGRITY {
                // What follows is not protected and is ignored (RFC 8489 §14.5).
                return Some(Self { end: at, has_integrity: true, ..whole });
            }
            at = next;
        }
        Some(whole)
    }

    pub(super) fn has_integrity(&self) -> bool {
        self.has_integrity
    }

    /// Every attribute that counts, in order.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let (this, mut at) = (*self, HEADER);
        std::iter::from_fn(move || {
            if at >= this.end {
                return None;
            }
            let (kind, value, next) = this.attribute_at(at)?;
            at = next;
            Some((kind, value))
        })
    }

    pub(super) fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        self.attributes().find_map(|(kind, value)| (kind == wanted).then_some(value))
    }

    pub(super) fn text(&self, wanted: u16) -> Option<&'a str> {
        std::str::from_utf8(self.attribute(wanted)?).ok()
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.read_address(self.attribute(attribute::XOR_PEER_ADDRESS)?)
    }

    /// Undoes the XOR of an address (RFC 8489 §14.2).
    pub(super) fn read_address(&self, value: &[u8]) -> Option<SocketAddr> {
        let port = u16_at(value, 2)? ^ COOKIE_HIGH;
        let mut mask = [0; 16];
        mask.copy_from_slice(self.bytes.get(4..HEADER)?);
        let ip = match (value.get(1)?, value.len()) {
            (1, 8) => {
                let bytes: [u8; 4] = value.get(4..8)?.try_into().ok()?;
                let ip = u32::from_be_bytes(bytes) ^ COOKIE;
                IpAddr::V4(Ipv4Addr::from(ip))
            }
            (2, 20) => {
                let bytes: [u8; 16] = value.get(4..20)?.try_into().ok()?;
                let ip = u128::from_be_bytes(bytes) ^ u128::from_be_bytes(mask);
                IpAddr::V6(Ipv6Addr::from(ip))
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }

    /// Whether the message was made with this key (RFC 8489 §14.5).
    pub(super) fn is_signed_with(&self, key: &[u8]) -> bool {
        let Some((_, tag, _)) = self.attribute_at(self.end).filter(|_| self.has_integrity) else {
            return false;
        };
        let mut head = [0; HEADER];
        head.copy_from_slice(&self.bytes[..HEADER]);
        set_length(&mut head, self.end + 24);
        let mut mac = hmac(key);
        mac.update(&head);
        mac.update(&self.bytes[HEADER..self.end]);
        mac.verify_slice(tag).is_ok()
    }

    /// Kind, value and where the next one begins.
    fn attribute_at(&self, at: usize) -> Option<(u16, &'a [u8], usize)> {
        let kind = u16_at(self.bytes, at)?;
        let length = usize::from(u16_at(self.bytes, at + 2)?);
        let value = self.bytes.get(at + 4..at + 4 + length)?;
        let next = at + 4 + length.next_multiple_of(4);
        (next <= self.bytes.len()).then_some((kind, value, next))
    }
}

/// A message while it is written.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new(method: u16, class: Class, transaction: Transaction) -> Self {
        Self::reuse(Vec::with_capacity(128), method, class, transaction)
    }

    /// Writes into memory that is there already.
    pub(super) fn reuse(
        mut bytes: Vec<u8>,
        method: u16,
        class: Class,
        transaction: Transaction,
    ) -> Self {
        bytes.clear();
        let class = class as u16;
        let kind = (method & 0xf)
            | (method & 0x70) << 1
            | (method & 0xf80) << 2
            | (class & 1) << 4
            | (class & 2) << 7;
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(COOKIE.to_be_bytes());
        bytes.extend(transaction);
        Self { bytes }
    }

    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len()).expect("an attribute is shorter than a datagram");
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn address(self, kind: u16, address: SocketAddr) -> Self {
        let port = (address.port() ^ COOKIE_HIGH).to_be_bytes();
        match address.ip() {
            IpAddr::V4(ip) => {
                let ip = (u32::from(ip) ^ COOKIE).to_be_bytes();
                self.attribute(kind, &[&[0, 1], &port[..], &ip].concat())
            }
            IpAddr::V6(ip) => {
                let mut mask = [0; 16];
                mask.copy_from_slice(&self.bytes[4..HEADER]);
                let ip = (u128::from(ip) ^ u128::from_be_bytes(mask)).to_be_bytes();
                self.attribute(kind, &[&[0, 2], &port[..], &ip].concat())
            }
        }
    }

    pub(super) fn error(self, code: u16, reason: &str) -> Self {
        let class = u8::try_from(code / 100).unwrap_or(5);
        let number = u8::try_from(code % 100).unwrap_or(0);
        self.attribute(attribute::ERROR_CODE, &[&[0, 0, class, number], reason.as_bytes()].concat())
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len();
        set_length(&mut self.bytes, length);
        self.bytes
    }

    pub(super) fn finish_signed(mut self, key: &[u8]) -> Vec<u8> {
        let length = self.bytes.len() + 24;
        set_length(&mut self.bytes, length);
        let tag = hmac(key).chain_update(&self.bytes).finalize().into_bytes();
        self.attribute(attribute::MESSAGE_INTEGRITY, &tag).finish()
    }
}

/// What stands at the front of a stream (RFC 8656 §12.5, RFC 8489 §6.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// So many bytes are one message, its padding included.
    Whole(usize),
    /// More bytes have to come first.
    Partial,
    /// Neither STUN nor channel data, or longer than anything that is relayed.
    Broken,
}

impl Frame {
    #[must_use]
    pub fn at_front_of(stream: &[u8]) -> Self {
        let (Some(kind), Some(length)) = (u16_at(stream, 0), u16_at(stream, 2)) else {
            return Self::Partial;
        };
        let length = usize::from(length);
        let whole = match kind >> 14 {
            0 => HEADER + length,
            1 => 4 + length.next_multiple_of(4),
            _ => return Self::Broken,
        };
        if whole > MAX_FRAME {
            Self::Broken
        } else if whole <= stream.len() {
            Self::Whole(whole)
        } else {
            Self::Partial
        }
    }
}

/// Nothing longer is taken from a stream: a datagram of a path without jumbo frames, and a header.
pub const MAX_FRAME: usize = 4096;

pub(super) mod method {
    pub(in super::super) const BINDING: u16 = 1;
    pub(in super::super) const ALLOCATE: u16 = 3;
    pub(in super::super) const REFRESH: u16 = 4;
    pub(in super::super) const SEND: u16 = 6;
    pub(in super::super) const DATA: u16 = 7;
    pub(in super::super) const CREATE_PERMISSION: u16 = 8;
    pub(in super::super) const CHANNEL_BIND: u16 = 9;
}

pub(super) mod attribute {
    pub(in super::super) const USERNAME: u16 = 0x0006;
    pub(in super::super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(in super::super) const ERROR_CODE: u16 = 0x0009;
    pub(in super::super) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(in super::super) const CHANNEL_NUMBER: u16 = 0x000c;
    pub(in super::super) const LIFETIME: u16 = 0x000d;
    pub(in super::super) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(in super::super) const DATA: u16 = 0x0013;
    pub(in super::super) const REALM: u16 = 0x0014;
    pub(in super::super) const NONCE: u16 = 0x0015;
    pub(in super::super) const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub(in super::super) const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub(in super::super) const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub(in super::super) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
}

pub(super) fn hmac(key: &[u8]) -> Hmac<Sha1> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn set_length(message: &mut [u8], whole: usize) {
    let length = u16::try_from(whole - HEADER).expect("a message is shorter than a datagram");
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

pub(super) const HEADER: usize = 20;
const COOKIE: u32 = 0x2112_a442;
const COOKIE_HIGH: u16 = 0x2112;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for address in ["192.0.2.7:4711", "[2001:db8::7]:9"] {
            let address = address.parse().unwrap();
            let bytes = Writer::new(method::CHANNEL_BIND, Class::Indication, [7; 12])
                .attribute(attribute::REALM, b"abcde")
                .address(attribute::XOR_PEER_ADDRESS, address)
                .finish_signed(b"key");
            let message = Message::parse(&bytes).unwrap();
            assert_eq!((message.method, message.class), (9, Class::Indication));
            assert_eq!(message.text(attribute::REALM), Some("abcde"));
            assert_eq!(message.peer(), Some(address));
            assert!(message.is_signed_with(b"key"));
            assert!(!message.is_signed_with(b"yek"));
        }
    }

    /// RFC 5769 §2.4: a request with long-term credentials.
    #[test]
    fn verifies_the_long_term_sample_of_the_rfc() {
        let hex = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382af\
                   e382b900000015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014\
                   000b6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666";
        let hex: String = hex.split_whitespace().collect();
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|i| u8::from_str_radix(&hex[i * 2..i * 2 + 2], 16).unwrap())
            .collect();
        let message = Message::parse(&bytes).unwrap();
        let username = message.text(attribute::USERNAME).unwrap();
        let key = super::super::credentials::long_term_key(username, "example.org", "TheMatrIX");
        assert!(message.is_signed_with(&key));
    }

    #[test]
    fn refuses_lengths_that_do_not_fit() {
        let whole = Writer::new(method::ALLOCATE, Class::Request, [1; 12])
            .attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
            .finish();
        assert!(Message::parse(&whole).is_some());
        for length in 0..whole.len() {
            assert!(Message::parse(&whole[..length]).is_none(), "{length}");
        }
        for at in [0, 3, 4, 23] {
            let mut broken = whole.clone();
            broken[at] |= 0xe1;
            assert!(Message::parse(&broken).is_none(), "{at}");
        }
    }

    #[test]
    fn cuts_streams_into_frames() {
        let check = |stream: &[u8], expected| assert_eq!(Frame::at_front_of(stream), expected);
        check(&[], Frame::Partial);
        check(&[0x40, 0, 0], Frame::Partial);
        check(&[0x40, 0, 0, 0], Frame::Whole(4));
        check(&[0x40, 0, 0, 1, 9, 0, 0], Frame::Partial);
        check(&[0x40, 0, 0, 1, 9, 0, 0, 0, 0x40], Frame::Whole(8));
        check(&[0, 1, 0, 0], Frame::Partial);
        check(&[0, 1, 0xff, 0xfc], Frame::Broken);
        check(&[0x80, 0, 0, 0], Frame::Broken);
        check(b"GET / HTTP/1.1", Frame::Broken);
    }
}
