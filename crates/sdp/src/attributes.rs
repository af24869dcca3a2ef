//! Attributes with a grammar of their own.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::text::{Printer, cut};

/// A payload format: `a=rtpmap` with its `a=fmtp` (RFC 8866 §6.6, §6.15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codec {
    pub pt: u8,
    /// As written; compare without case.
    pub name: String,
    pub clock_rate: u32,
    pub channels: u8,
    pub fmtp: Option<String>,
}

impl Codec {
    #[must_use]
    pub fn is(&self, name: &str, clock_rate: u32) -> bool {
        self.name.eq_ignore_ascii_case(name) && self.clock_rate == clock_rate
    }

    pub(crate) fn parse_rtpmap(value: &str) -> Option<Self> {
        let (pt, encoding) = cut(value.trim_ascii(), b' ')?;
        let (name, rest) = cut(encoding.trim_ascii(), b'/')?;
        let (clock_rate, channels) = cut(rest, b'/').unwrap_or((rest, ""));
        let (channels, _) = cut(channels, b'/').unwrap_or((channels, ""));
        Some(Self {
            pt: pt.parse().ok().filter(|pt| *pt < 128)?,
            name: Some(name).filter(|name| !name.is_empty())?.to_owned(),
            clock_rate: clock_rate.trim_ascii().parse().ok()?,
            channels: channels.trim_ascii().parse().unwrap_or(1),
            fmtp: None,
        })
    }

    /// The static payload types that phones use without an `a=rtpmap` (RFC 3551 §6).
    pub(crate) fn static_type(pt: u8) -> Option<Self> {
        let (name, clock_rate) = match pt {
            0 => ("PCMU", 8000),
            3 => ("GSM", 8000),
            8 => ("PCMA", 8000),
            // RFC 3551 §4.5.2: the clock of G722 is 8000 for historical reasons.
            9 => ("G722", 8000),
            11 => ("L16", 44_100),
            13 => ("CN", 8000),
            18 => ("G729", 8000),
            _ => return None,
        };
        Some(Self { pt, name: name.to_owned(), clock_rate, channels: 1, fmtp: None })
    }

    /// `a=rtpmap` and `a=fmtp`.
    pub(crate) fn print(&self, out: &mut Printer) {
        out.begin("a=rtpmap:");
        out.number(self.pt);
        out.words([self.name.as_str()]);
        out.begin("/");
        out.number(self.clock_rate);
        if self.channels != 1 {
            out.begin("/");
            out.number(self.channels);
        }
        out.end();
        if let Some(fmtp) = &self.fmtp {
            out.begin("a=fmtp:");
            out.number(self.pt);
            out.words([fmtp.as_str()]);
            out.end();
        }
    }
}

/// Who opens the DTLS connection (RFC 4145 §4, RFC 8842 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    Active,
    Passive,
    ActPass,
    HoldConn,
}

impl Setup {
    pub(crate) fn parse(value: &str) -> Option<Self> {
        match value.trim() {
            "active" => Some(Self::Active),
            "passive" => Some(Self::Passive),
            "actpass" => Some(Self::ActPass),
            "holdconn" => Some(Self::HoldConn),
            _ => None,
        }
    }

    pub(crate) fn as_line(self) -> &'static str {
        match self {
            Self::Active => "a=setup:active",
            Self::Passive => "a=setup:passive",
            Self::ActPass => "a=setup:actpass",
            Self::HoldConn => "a=setup:holdconn",
        }
    }
}

/// A certificate's hash (RFC 8122 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Lower case, such as `sha-256`.
    pub algorithm: String,
    pub bytes: Vec<u8>,
}

impl Fingerprint {
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let (algorithm, hex) = cut(value.trim_ascii(), b' ')?;
        let hex = hex.trim_ascii().as_bytes();
        let nibble =
            |digit: &u8| char::from(*digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
        let bytes = hex
            .chunks(3)
            .enumerate()
            .map(|(index, byte)| match byte {
                [high, low, b':'] => Some((nibble(high)? << 4) | nibble(low)?),
                [high, low] if 3 * index + 2 == hex.len() => {
                    Some((nibble(high)? << 4) | nibble(low)?)
                }
                _ => None,
            })
            .collect::<Option<Vec<u8>>>()?;
        // A last colon has nothing behind it.
        let is_whole = hex.len() % 3 == 2;
        (is_whole && bytes.len() <= 64)
            .then(|| Self { algorithm: algorithm.to_ascii_lowercase(), bytes })
    }

    pub(crate) fn print(&self, out: &mut Printer) {
        out.begin("a=fingerprint:");
        out.text(&self.algorithm);
        out.begin(" ");
        out.hex(&self.bytes);
        out.end();
    }
}

/// An SDES key (RFC 4568 §9.1), still in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Crypto {
    pub tag: u32,
    pub suite: String,
    /// The base64 text behind `inline:`, without lifetime and MKI.
    pub key: String,
    /// A master key identifier was given: we do not do those.
    pub has_mki: bool,
    pub parameters: Option<String>,
}

impl Crypto {
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split_whitespace();
        let tag = parts.next()?.parse().ok()?;
        let suite = parts.next()?.to_owned();
        let inline = parts.next()?.strip_prefix("inline:")?;
        let first = inline.split(';').next()?;
        let mut fields = first.split('|');
        let key = fields.next()?.to_owned();
        let has_mki = fields.any(|field| field.contains(':'));
        let rest: Vec<&str> = parts.collect();
        let parameters = (!rest.is_empty()).then(|| rest.join(" "));
        Some(Self { tag, suite, key, has_mki, parameters })
    }
}

impl Crypto {
    pub(crate) fn print(&self, out: &mut Printer) {
        out.begin("a=crypto:");
        out.number(self.tag);
        out.words([self.suite.as_str()]);
        out.begin(" inline:");
        out.text(&self.key);
        out.end();
    }
}

/// Keys never show.
impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crypto({} {})", self.tag, self.suite)
    }
}

/// An ICE candidate line (RFC 8839 §5.1), kept as text and read where we need it.
#[derive(Clone, PartialEq, Eq)]
pub struct Candidate(pub String);

/// Addresses never show.
impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Candidate(..)")
    }
}

impl Candidate {
    /// The transport address, when it is a UDP candidate of component 1 with an IP address.
    /// mDNS names and TCP candidates give `None`: they are tolerated and not used.
    #[must_use]
    pub fn udp_address(&self) -> Option<SocketAddr> {
        let text = self.0.strip_prefix("candidate:").unwrap_or(&self.0);
        let mut parts = text.split_whitespace();
        let _foundation = parts.next()?;
        let component = parts.next()?;
        let transport = parts.next()?;
        let _priority = parts.next()?;
        if component != "1" || !transport.eq_ignore_ascii_case("udp") {
            return None;
        }
        let address: IpAddr = parts.next()?.parse().ok()?;
        let port: u16 = parts.next()?.parse().ok()?;
        // Nobody can be reached there, so nobody is made to send there.
        let is_nowhere = port == 0 || address.is_unspecified() || address.is_multicast();
        (!is_nowhere).then(|| SocketAddr::new(address, port))
    }
}
