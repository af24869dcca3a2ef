//! What a connection is for, by its first bytes.

/// Who speaks first on a connection, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// A handshake record of TLS (RFC 8446 §5.1).
    Tls,
    /// A method of HTTP/1.
    Http,
    /// The preface of HTTP/2 (RFC 9113 §3.4).
    Http2,
    /// A request of STUN: a client of TURN (RFC 8656 §3.1).
    Turn,
    /// A request of STUN in a frame of RFC 4571: a check of ICE-TCP.
    Ice,
    /// None of them.
    Unknown,
}

impl Opening {
    /// What these bytes begin; none while more are needed, of which [`LONGEST`] are enough.
    ///
    /// The four begin differently: a TLS record with 22, a method with a capital letter, a request
    /// of STUN with a zero, and a frame with the high byte of a length below 2048.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let first = bytes.first()?;
        match first {
            22 => {
                // Versions are 3.0 to 3.4; a length of 0x03?? with that high byte is no datagram.
                let version = bytes.get(1)?;
                Some(if *version == 3 { Self::Tls } else { Self::Unknown })
            }
            // No method of HTTP/1 is `PRI`; it was kept free for this.
            b'P' if PREFACE.starts_with(&bytes[..bytes.len().min(PREFACE.len())]) => {
                (bytes.len() >= PREFACE.len()).then_some(Self::Http2)
            }
            b'A'..=b'Z' => Some(Self::Http),
            0..8 => {
                let bytes = bytes.first_chunk::<LONGEST>()?;
                // A frame's length comes first; then both are requests (class bits are zero).
                if bytes[4..8] == COOKIE && is_request([bytes[0], bytes[1]]) {
                    Some(Self::Turn)
                } else if bytes[6..10] == COOKIE && [bytes[2], bytes[3]] == BINDING {
                    Some(Self::Ice)
                } else {
                    Some(Self::Unknown)
                }
            }
            _ => Some(Self::Unknown),
        }
    }
}

/// RFC 8489 §5: two zero bits, and the two bits of the class zero.
fn is_request(kind: [u8; 2]) -> bool {
    u16::from_be_bytes(kind) & 0xc110 == 0
}

/// So many bytes tell.
pub const LONGEST: usize = 10;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING: [u8; 2] = [0, 1];
const PREFACE: &[u8] = b"PRI * HTTP";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Opening) {
        assert_eq!(Opening::of(bytes), Some(expected), "{bytes:?}");
        // It is said as soon as possible, and never differently before.
        for length in 0..bytes.len() {
            assert!(Opening::of(&bytes[..length]).is_none_or(|o| o == expected), "{length}");
        }
    }

    #[test]
    fn everything_that_shares_the_port_is_told_apart() {
        check(b"\x16\x03\x01\x02\x00\x01", Opening::Tls);
        check(b"GET / HTTP/1.1\r\n", Opening::Http);
        check(b"PRI * HTTP/2.0\r\n", Opening::Http2);
        check(b"POST / HTTP/1.1\r\n", Opening::Http);
        check(b"PROPFIND / HTTP/1.1\r\n", Opening::Http);
        check(b"PRIZE / HTTP/1.1\r\n", Opening::Http);
        check(b"\0\x01\0\x08\x21\x12\xa4\x42\0\0", Opening::Turn);
        check(b"\0\x03\0\x08\x21\x12\xa4\x42\0\0", Opening::Turn);
        check(b"\0\x60\0\x01\0\x4c\x21\x12\xa4\x42", Opening::Ice);
        check(b"\x01\x60\0\x01\x01\x4c\x21\x12\xa4\x42", Opening::Ice);
    }

    #[test]
    fn whatever_else_comes_is_for_nobody() {
        for bytes in [
            // An answer and an indication of STUN, and one that is too old to have a cookie.
            &b"\x01\x01\0\0\x21\x12\xa4\x42\0\0"[..],
            b"\0\x11\0\0\x21\x12\xa4\x42\0\0",
            b"\0\x01\0\x08\0\0\0\0\0\0",
            // Answers and DTLS in frames.
            b"\0\x60\x01\x01\0\x4c\x21\x12\xa4\x42",
            b"\0\x60\x16\xfe\xff\0\0\0\0\0",
            // A frame too long, channel data, an SSL 2 greeting, other protocols.
            b"\x08\0\0\x01\0\x4c\x21\x12\xa4\x42",
            b"\x40\0\0\x04",
            b"\x80\x2e\x01\0\x02",
            b"\x16\xfe\xff",
            b"\x05\x01\0\0\0\0\0\0\0\0",
            b"\x03\0\0\x13\x0e\xe0\0\0\0\0",
            b"\r\n\r\n",
            b"get / http",
        ] {
            check(bytes, Opening::Unknown);
        }
    }
}
