//! DTLS records taken apart and put together again (RFC 6347 §4.2), to play a difficult network.

use crate::world::{Datagram, ours};

/// A handshake message of a client, whole.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) seq: u16,
    pub(crate) body: Vec<u8>,
}

pub(crate) const CLIENT_HELLO: u8 = 1;
pub(crate) const SERVER_HELLO: u8 = 2;
pub(crate) const HELLO_VERIFY_REQUEST: u8 = 3;

const HANDSHAKE: u8 = 22;

pub(crate) fn is_dtls(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| (20..=63).contains(first))
}

/// The handshake messages in the clear in a datagram. Only whole messages are told.
pub(crate) fn messages(bytes: &[u8]) -> Vec<Message> {
    let mut out = vec![];
    let mut rest = bytes;
    while rest.len() >= 13 {
        let len = 13 + usize::from(u16::from_be_bytes([rest[11], rest[12]]));
        let Some((record, behind)) = rest.split_at_checked(len) else { break };
        rest = behind;
        let in_clear = record[3..5] == [0, 0];
        let mut fragments = &record[13..];
        while record[0] == HANDSHAKE && in_clear && fragments.len() >= 12 {
            let number = |at: usize| {
                usize::from(fragments[at]) << 16
                    | usize::from(fragments[at + 1]) << 8
                    | usize::from(fragments[at + 2])
            };
            let (whole, offset, len) = (number(1), number(6), number(9));
            let Some((fragment, behind)) = fragments.split_at_checked(12 + len) else { break };
            if offset == 0 && len == whole {
                let seq = u16::from_be_bytes([fragment[4], fragment[5]]);
                out.push(Message { kind: fragment[0], seq, body: fragment[12..].to_vec() });
            }
            fragments = behind;
        }
    }
    out
}

impl Message {
    /// Records with a piece of the message each, numbered from `number`.
    pub(crate) fn pieces(&self, count: usize, number: u64) -> Vec<Vec<u8>> {
        let size = self.body.len().div_ceil(count);
        let pieces = self.body.chunks(size).enumerate();
        pieces.map(|(n, piece)| self.record(n * size, piece, number + n as u64)).collect()
    }

    fn record(&self, offset: usize, piece: &[u8], number: u64) -> Vec<u8> {
        let three = |n: usize| [(n >> 16) as u8, (n >> 8) as u8, n as u8];
        let len = u16::try_from(piece.len() + 12).expect("a small piece");
        // Version 1.0, as a first ClientHello has it (RFC 6347 §4.2.1).
        let mut out = vec![HANDSHAKE, 0xfe, 0xff, 0, 0];
        out.extend(&number.to_be_bytes()[2..]);
        out.extend(len.to_be_bytes());
        out.push(self.kind);
        out.extend(three(self.body.len()));
        out.extend(self.seq.to_be_bytes());
        out.extend(three(offset));
        out.extend(three(piece.len()));
        out.extend(piece);
        out
    }

    /// A ClientHello with one extension more, behind the others.
    pub(crate) fn with_extension(mut self, kind: u16, content: &[u8]) -> Self {
        let body = &mut self.body;
        // Version, random, session id, cookie, suites, compression methods.
        let mut at = 34;
        at += 1 + usize::from(body[at]);
        at += 1 + usize::from(body[at]);
        at += 2 + usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
        at += 1 + usize::from(body[at]);
        let len = u16::try_from(content.len()).expect("a short extension");
        let all = u16::from_be_bytes([body[at], body[at + 1]]) + 4 + len;
        body[at..at + 2].copy_from_slice(&all.to_be_bytes());
        body.extend(kind.to_be_bytes());
        body.extend(len.to_be_bytes());
        body.extend(content);
        self
    }
}

/// Everything the shard sent to an address that is DTLS.
pub(crate) fn sent_to(log: &[Datagram], to: std::net::SocketAddr) -> Vec<&Datagram> {
    log.iter().filter(|d| d.from == ours() && d.to == to && is_dtls(&d.bytes)).collect()
}
