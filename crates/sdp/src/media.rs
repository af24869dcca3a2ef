//! One media section with its attributes typed.

use std::fmt;
use std::net::IpAddr;

use crate::attributes::{Candidate, Codec, Crypto, Fingerprint, Setup};
use crate::text::{Lines, Printer, address_of, cut};

/// Which way media flows, seen from who describes it (RFC 3264 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    #[must_use]
    pub fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    #[must_use]
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    #[must_use]
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same flow, seen from the other side.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    /// Only what both allow.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::new(self.sends() && other.sends(), self.receives() && other.receives())
    }

    fn parse(name: &str) -> Option<Self> {
        match name {
            "sendrecv" => Some(Self::SendRecv),
            "sendonly" => Some(Self::SendOnly),
            "recvonly" => Some(Self::RecvOnly),
            "inactive" => Some(Self::Inactive),
            _ => None,
        }
    }

    fn as_line(self) -> &'static str {
        match self {
            Self::SendRecv => "a=sendrecv",
            Self::SendOnly => "a=sendonly",
            Self::RecvOnly => "a=recvonly",
            Self::Inactive => "a=inactive",
        }
    }
}

/// One `m=` section.
#[derive(Clone, PartialEq, Eq)]
pub struct Media {
    /// `audio`, `video`, `application`, `image`, …
    pub kind: String,
    pub port: u16,
    /// Such as `UDP/TLS/RTP/SAVPF`.
    pub protocol: String,
    /// The formats as written: payload types, or others (`t38`).
    pub formats: Vec<String>,
    /// The connection address; absent when it is a name.
    pub address: Option<IpAddr>,
    pub direction: Direction,
    /// In the order of the formats.
    pub codecs: Vec<Codec>,
    pub ice_ufrag: Option<String>,
    pub ice_pwd: Option<String>,
    pub trickle: bool,
    pub candidates: Vec<Candidate>,
    pub end_of_candidates: bool,
    pub fingerprints: Vec<Fingerprint>,
    pub setup: Option<Setup>,
    pub cryptos: Vec<Crypto>,
    pub mid: Option<String>,
    pub is_bundled: bool,
    pub rtcp_mux: bool,
    pub rtcp_port: Option<u16>,
    /// Where RTCP goes when not to the address of RTP (RFC 3605).
    pub rtcp_address: Option<IpAddr>,
    pub ptime: Option<u16>,
    pub maxptime: Option<u16>,
    /// Source and CNAME of what is sent (RFC 5576).
    pub ssrc: Option<(u32, String)>,
    /// Stream and track identifiers (RFC 8830).
    pub msid: Option<String>,
    /// The source that repeats what got lost of the first one (RFC 4588 §8.6, RFC 5576 §4.2).
    pub repair_ssrc: Option<u32>,
    /// What receivers may ask for: a payload type, or all, and the kind (RFC 4585 §4.2).
    pub feedback: Vec<(Option<u8>, String)>,
    /// Header extensions: number and name (RFC 8285 §5).
    pub extensions: Vec<(u8, String)>,
    /// The most that may be sent to who says so, in bit/s (RFC 8866 §5.8, RFC 3890); we write it
    /// in whole kilobits.
    pub bandwidth: Option<u32>,
    /// What else is said of a section that passes as it is ([`Media::is_fax`], [`Media::is_text`]):
    /// attributes with their values, as written.
    pub others: Vec<(String, Option<String>)>,
}

/// Shows the shape only: addresses, passwords and keys never.
impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Media")
            .field("kind", &self.kind)
            .field("protocol", &self.protocol)
            .field("formats", &self.formats)
            .field("direction", &self.direction)
            .field("mid", &self.mid)
            .field("setup", &self.setup)
            .field("candidates", &self.candidates.len())
            .field("cryptos", &self.cryptos)
            .field("is_rejected", &self.is_rejected())
            .finish_non_exhaustive()
    }
}

impl Media {
    /// An empty section: refused until it is filled in.
    #[must_use]
    pub fn new(kind: &str, protocol: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            port: 0,
            protocol: protocol.to_owned(),
            formats: vec![],
            address: None,
            direction: Direction::SendRecv,
            codecs: vec![],
            ice_ufrag: None,
            ice_pwd: None,
            trickle: false,
            candidates: vec![],
            end_of_candidates: false,
            fingerprints: vec![],
            setup: None,
            cryptos: vec![],
            mid: None,
            is_bundled: false,
            rtcp_mux: false,
            rtcp_port: None,
            rtcp_address: None,
            ptime: None,
            maxptime: None,
            ssrc: None,
            msid: None,
            repair_ssrc: None,
            feedback: vec![],
            extensions: vec![],
            bandwidth: None,
            others: vec![],
        }
    }

    /// The refusal of an offered section: same kind, protocol and formats, port zero
    /// (RFC 3264 §6).
    #[must_use]
    pub fn refused(offered: &Self) -> Self {
        let mut refused = Self::new(&offered.kind, &offered.protocol);
        refused.formats.clone_from(&offered.formats);
        refused.mid.clone_from(&offered.mid);
        if offered.mid.is_some() {
            // Interop: str0m wants the formats of a refused section explained, too.
            refused.codecs.clone_from(&offered.codecs);
            refused.codecs.iter_mut().for_each(|codec| codec.fmtp = None);
        }
        refused.direction = Direction::Inactive;
        refused
    }

    #[must_use]
    pub fn is_audio(&self) -> bool {
        self.kind == "audio"
    }

    #[must_use]
    pub fn is_video(&self) -> bool {
        self.kind == "video"
    }

    /// Fax as datagrams of its own (T.38 over UDPTL, RFC 7345 §4).
    #[must_use]
    pub fn is_fax(&self) -> bool {
        self.kind == "image" && self.protocol.eq_ignore_ascii_case("udptl")
    }

    /// Text as it is typed, in RTP without keys (RFC 4103).
    #[must_use]
    pub fn is_text(&self) -> bool {
        let is_plain = |known: &str| self.protocol.eq_ignore_ascii_case(known);
        self.kind == "text" && (is_plain("RTP/AVP") || is_plain("RTP/AVPF"))
    }

    /// Whether receivers of this payload type may ask for that.
    #[must_use]
    pub fn has_feedback(&self, pt: u8, kind: &str) -> bool {
        let fits = |(of, name): &(Option<u8>, String)| of.is_none_or(|of| of == pt) && name == kind;
        self.feedback.iter().any(fits)
    }

    /// The number of a header extension.
    #[must_use]
    pub fn extension(&self, name: &str) -> Option<u8> {
        self.extensions.iter().find(|(_, n)| n == name).map(|(id, _)| *id)
    }

    /// Refused or unused. Some clients write port 0 beside real candidates; those are meant.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.port == 0 && self.candidates.is_empty()
    }

    /// The peer does not want to hear us: by direction, or by the old `c=0.0.0.0`
    /// (RFC 3264 §8.4). A browser that has no candidate yet writes 0.0.0.0 port 9; that is no
    /// hold.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let null = self.address.is_some_and(|a| a.is_unspecified());
        !self.direction.receives() || (null && self.ice_ufrag.is_none())
    }

    /// All sections of a description.
    pub(crate) fn read_all(text: &str) -> Vec<Self> {
        let mut rest = Lines::of(text).peekable();
        let mut head = Vec::new();
        while let Some(line) = rest.next_if(|line| !line.starts_with("m=")) {
            head.push(line);
        }
        let bundled: Vec<&str> = head
            .iter()
            .filter_map(|line| line.strip_prefix("a=group:BUNDLE"))
            .flat_map(str::split_whitespace)
            .collect();
        let mut all = Vec::new();
        while let Some(start) = rest.next() {
            let lines = std::iter::from_fn(|| rest.next_if(|line| !line.starts_with("m=")));
            all.push(Self::read_section(start, lines, &head, &bundled));
        }
        all
    }

    fn read_section<'t>(
        start: &str,
        lines: impl Iterator<Item = &'t str>,
        head: &[&str],
        bundled: &[&str],
    ) -> Self {
        let mut words = start.get(2..).unwrap_or_default().split(' ');
        let kind = words.next().unwrap_or_default();
        let port = words.next().and_then(|port| port.split('/').next()?.parse().ok());
        let mut out = Self::new(kind, words.next().unwrap_or_default());
        out.port = port.unwrap_or(0);
        let formats = words.filter(|word| !word.is_empty()).take(MAX_FORMATS);
        out.formats = formats.map(str::to_owned).collect();
        let mut reader = Reader::default();
        for line in head {
            match line.split_at_checked(2) {
                Some(("a=", attribute)) => out.read(&mut reader, attribute, false),
                Some(("c=", connection)) => out.address = address_of(connection),
                _ => {}
            }
        }
        for line in lines {
            match line.split_at_checked(2) {
                Some(("a=", attribute)) => out.read(&mut reader, attribute, true),
                Some(("c=", connection)) if !std::mem::replace(&mut reader.has_address, true) => {
                    out.address = address_of(connection);
                }
                Some(("b=", limit)) => reader.limit(limit),
                _ => {}
            }
        }
        out.bandwidth = reader.bandwidth();
        out.codecs = reader.codecs(&out.formats, &out.protocol);
        out.is_bundled = out.mid.as_deref().is_some_and(|mid| bundled.contains(&mid));
        out
    }

    fn read(&mut self, reader: &mut Reader, attribute: &str, in_media: bool) {
        let parts = cut(attribute, b':');
        let (name, value) = parts.unwrap_or((attribute, ""));
        // What stands in the section replaces what stands for all.
        if name == "fingerprint" && in_media && !std::mem::replace(&mut reader.has_own_keys, true) {
            self.fingerprints.clear();
        }
        match name {
            "ice-ufrag" => self.ice_ufrag = Some(value.trim().to_owned()),
            "ice-pwd" => self.ice_pwd = Some(value.trim().to_owned()),
            "ice-options" => self.trickle |= value.split_whitespace().any(|o| o == "trickle"),
            "fingerprint" if self.fingerprints.len() < MAX_FINGERPRINTS => {
                self.fingerprints.extend(Fingerprint::parse(value));
            }
            "setup" => self.setup = Setup::parse(value).or(self.setup),
            "candidate" if in_media && self.candidates.len() < MAX_CANDIDATES => {
                self.candidates.push(Candidate(["candidate:", value].concat()));
            }
            "end-of-candidates" => self.end_of_candidates = true,
            "crypto" if in_media && self.cryptos.len() < MAX_CRYPTOS => {
                self.cryptos.extend(Crypto::parse(value));
            }
            "mid" if in_media => self.mid = Some(value.trim().to_owned()),
            "rtcp-mux" if in_media => self.rtcp_mux = true,
            "rtcp" if in_media => {
                let mut parts = value.split_whitespace();
                self.rtcp_port = parts.next().and_then(|p| p.parse().ok());
                self.rtcp_address = parts.nth(2).and_then(|a| a.parse().ok());
            }
            "ptime" => self.ptime = value.trim().parse().ok(),
            "maxptime" => self.maxptime = value.trim().parse().ok(),
            "rtpmap" if in_media => reader.rtpmaps.extend(Codec::parse_rtpmap(value)),
            "fmtp" if in_media => {
                if let Some((pt, fmtp)) = cut(value.trim_ascii(), b' ')
                    && let Ok(pt) = pt.parse()
                {
                    reader.fmtps.push((pt, fmtp.trim().to_owned()));
                }
            }
            "msid" if in_media => self.msid = Some(value.trim().to_owned()),
            "ssrc" if in_media && self.ssrc.is_none() => self.ssrc = ssrc(value),
            "ssrc-group" if in_media && self.repair_ssrc.is_none() => {
                self.repair_ssrc = repair_ssrc(value);
            }
            "rtcp-fb" if in_media && self.feedback.len() < MAX_FEEDBACK => {
                self.feedback.extend(feedback(value));
            }
            "extmap" if self.extensions.len() < MAX_EXTENSIONS => {
                self.extensions.extend(extension(value));
            }
            name => match Direction::parse(name) {
                Some(direction) => self.direction = direction,
                None if in_media => self.keep(name, parts.map(|(_, value)| value)),
                None => {}
            },
        }
    }

    /// Keeps what is for others to read.
    fn keep(&mut self, name: &str, value: Option<&str>) {
        if (self.is_fax() || self.is_text()) && self.others.len() < MAX_OTHERS {
            self.others.push((name.to_owned(), value.map(str::to_owned)));
        }
    }

    /// Writes its lines.
    pub(crate) fn print(&self, out: &mut Printer) {
        out.begin("m=");
        // The kind and protocol of a refused section are whatever was offered.
        out.text(&self.kind);
        out.begin(" ");
        out.number(self.port);
        out.words([self.protocol.as_str()]);
        // A section without formats would not parse again.
        if self.formats.is_empty() {
            out.begin(" 0");
        }
        out.words(self.formats.iter().map(String::as_str));
        out.end();
        if let Some(address) = self.address {
            out.begin("c=");
            out.address(address);
            out.end();
        }
        if let Some(bits) = self.bandwidth {
            out.count("b=AS:", bits.div_ceil(1000));
        }
        // Interop: str0m wants a direction also where a browser's section is refused.
        if (self.port != 0 && !self.is_fax()) || self.mid.is_some() {
            out.line(self.direction.as_line());
        }
        if self.rtcp_mux {
            out.line("a=rtcp-mux");
        }
        if let Some(mid) = &self.mid {
            out.value("a=mid:", mid);
        }
        self.print_formats(out);
        if let Some(port) = self.rtcp_port {
            out.begin("a=rtcp:");
            out.number(port);
            if let Some(address) = self.rtcp_address {
                out.begin(" ");
                out.address(address);
            }
            out.end();
        }
        self.print_secure(out);
        for (name, value) in &self.others {
            out.begin("a=");
            out.text(name);
            if let Some(value) = value {
                out.begin(":");
                out.text(value);
            }
            out.end();
        }
    }

    /// What may be sent, and what receivers may ask for.
    fn print_formats(&self, out: &mut Printer) {
        for (id, name) in &self.extensions {
            out.begin("a=extmap:");
            out.number(*id);
            out.words([name.as_str()]);
            out.end();
        }
        for codec in &self.codecs {
            codec.print(out);
        }
        for (pt, kind) in &self.feedback {
            out.begin("a=rtcp-fb:");
            match pt {
                Some(pt) => out.number(*pt),
                None => out.begin("*"),
            }
            out.words([kind.as_str()]);
            out.end();
        }
        if let Some(ptime) = self.ptime {
            out.count("a=ptime:", ptime);
        }
        if let Some(maxptime) = self.maxptime {
            out.count("a=maxptime:", maxptime);
        }
    }

    /// Keys, ICE and DTLS, and what names the source.
    fn print_secure(&self, out: &mut Printer) {
        for crypto in &self.cryptos {
            crypto.print(out);
        }
        if let (Some(ufrag), Some(pwd)) = (&self.ice_ufrag, &self.ice_pwd) {
            out.value("a=ice-ufrag:", ufrag);
            out.value("a=ice-pwd:", pwd);
        }
        if self.trickle {
            out.line("a=ice-options:trickle");
        }
        for fingerprint in &self.fingerprints {
            fingerprint.print(out);
        }
        if let Some(setup) = self.setup {
            out.line(setup.as_line());
        }
        if let Some(msid) = &self.msid {
            out.value("a=msid:", msid);
        }
        if let Some((ssrc, cname)) = &self.ssrc {
            if let Some(repair) = self.repair_ssrc {
                out.begin("a=ssrc-group:FID ");
                out.number(*ssrc);
                out.begin(" ");
                out.number(repair);
                out.end();
            }
            for ssrc in [Some(*ssrc), self.repair_ssrc].into_iter().flatten() {
                out.begin("a=ssrc:");
                out.number(ssrc);
                out.begin(" cname:");
                out.text(cname);
                out.end();
            }
        }
        for Candidate(text) in &self.candidates {
            if !text.contains(char::is_control) {
                out.value("a=candidate:", text.strip_prefix("candidate:").unwrap_or(text));
            }
        }
        if self.end_of_candidates {
            out.line("a=end-of-candidates");
        }
    }
}

fn ssrc(value: &str) -> Option<(u32, String)> {
    let (number, attribute) = cut(value.trim_ascii(), b' ')?;
    Some((number.parse().ok()?, attribute.strip_prefix("cname:")?.to_owned()))
}

/// The second source of `FID first second`.
fn repair_ssrc(value: &str) -> Option<u32> {
    let mut words = value.split_whitespace();
    words.next().filter(|semantics| *semantics == "FID")?;
    words.nth(1)?.parse().ok()
}

/// `* nack pli`; spaces count as one.
fn feedback(value: &str) -> Option<(Option<u8>, String)> {
    let mut words = value.split_whitespace();
    let pt = match words.next()? {
        "*" => None,
        pt => Some(pt.parse().ok().filter(|pt| *pt < 128)?),
    };
    let kind = words.collect::<Vec<_>>().join(" ");
    (!kind.is_empty() && kind.len() <= 64).then_some((pt, kind))
}

/// `3/sendrecv urn:…`; parameters of the extension are passed over.
fn extension(value: &str) -> Option<(u8, String)> {
    let mut words = value.split_whitespace();
    let id = words.next()?.split('/').next()?.parse().ok().filter(|id| *id > 0)?;
    Some((id, words.next()?.to_owned()))
}

/// Payload maps are joined with their formats when all attributes are read.
#[derive(Default)]
struct Reader {
    rtpmaps: Vec<Codec>,
    fmtps: Vec<(u8, String)>,
    /// The first of each, in the section.
    tias: Option<u64>,
    kilobits: Option<u64>,
    has_address: bool,
    has_own_keys: bool,
}

impl Reader {
    /// Takes a `b=` line.
    fn limit(&mut self, value: &str) {
        let Some((name, number)) = cut(value, b':') else { return };
        let first = match name {
            "TIAS" => &mut self.tias,
            "AS" => &mut self.kilobits,
            _ => return,
        };
        *first = first.or_else(|| number.parse().ok());
    }

    /// The exact `TIAS` before the rounded `AS`.
    fn bandwidth(&self) -> Option<u32> {
        let bits = match (self.tias, self.kilobits) {
            (Some(tias), _) => Some(tias),
            (None, kilobits) => kilobits?.checked_mul(1000),
        };
        bits.map(|bits| u32::try_from(bits).unwrap_or(u32::MAX))
    }

    fn codecs(&self, formats: &[String], protocol: &str) -> Vec<Codec> {
        if !protocol.contains("RTP/") {
            return vec![];
        }
        let known = formats.iter().filter_map(|format| {
            let pt: u8 = format.parse().ok()?;
            let mapped = self.rtpmaps.iter().find(|c| c.pt == pt).cloned();
            let mut codec = mapped.or_else(|| Codec::static_type(pt))?;
            codec.fmtp = self.fmtps.iter().find(|(p, _)| *p == pt).map(|(_, f)| f.clone());
            Some(codec)
        });
        known.take(128).collect()
    }
}

/// More than any real peer gathers.
const MAX_CANDIDATES: usize = 64;
const MAX_FINGERPRINTS: usize = 8;
const MAX_CRYPTOS: usize = 32;
const MAX_FEEDBACK: usize = 256;
const MAX_EXTENSIONS: usize = 32;
const MAX_OTHERS: usize = 32;
/// There are 128 payload types.
const MAX_FORMATS: usize = 256;
