//! A whole description, held as parsed syntax and read on demand.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use crate::{Media, text};

/// A parsed session description. It is never changed, and kept by many: all clones share it.
#[derive(Clone)]
pub struct Session(Arc<Parsed>);

struct Parsed {
    inner: Arc<sdp_types::Session>,
    /// Where it is passed on as one of ours.
    version: u64,
    /// What it was read from, line by line, where that can be passed on as it is, or what was
    /// printed once.
    text: OnceLock<Arc<str>>,
    /// Its sections, once somebody has asked for them.
    sections: OnceLock<Vec<Media>>,
}

impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        self.0.version == other.0.version && self.0.inner == other.0.inner
    }
}

/// A description as text, for who keeps it long and reads it seldom: parsed it takes several times
/// as much memory. What was parsed stays at hand until [`PackedSession::condense`], because most
/// reading is done while a call is set up.
#[derive(Clone)]
pub struct PackedSession {
    text: Arc<str>,
    parsed: Option<Session>,
}

impl PartialEq for PackedSession {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PackedSession {}

impl PackedSession {
    /// What was packed.
    #[must_use]
    pub fn unpack(&self) -> Session {
        if let Some(parsed) = &self.parsed {
            return parsed.clone();
        }
        // What sdp-types has printed or read before it can read.
        let inner = sdp_types::Session::parse(self.text.as_bytes());
        let nobody = IpAddr::from([0; 4]);
        let none =
            |_| sdp_types::Session::new(sdp_types::Origin::with_ip_addr("0", 0, nobody), "-");
        Session::with_text(inner.unwrap_or_else(none), Some(self.text.clone()))
    }

    /// Keeps the text alone.
    pub fn condense(&mut self) {
        self.parsed = None;
    }
}

/// Shows nothing: a description carries addresses and keys.
impl fmt::Debug for PackedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PackedSession")
    }
}

/// Why a description cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("description is longer than {MAX_LEN} bytes")]
    TooLong,
    #[error("description has more than {MAX_MEDIA} media sections or {MAX_ATTRIBUTES} attributes")]
    TooMany,
    /// A CR without its LF, or a NUL: peers would disagree about where lines end.
    #[error("line {0}: a control character that is no line end")]
    ControlCharacter(usize),
    #[error("{0}")]
    Syntax(String),
}

/// The `o=` line, as far as we make it ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub id: u64,
    /// Counts up by one with each change (RFC 3264 §8).
    pub version: u64,
    pub address: IpAddr,
}

impl Session {
    /// Parses with CRLF or LF line ends. `o=`, `s=` and `t=` may be missing, runs of spaces and
    /// text in Latin-1 are taken, unknown lines are passed over.
    ///
    /// # Errors
    /// When a limit or the syntax is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.len() > MAX_LEN {
            return Err(ParseError::TooLong);
        }
        let text = check_lines(bytes)?;
        let mut inner = sdp_types::Session::parse(text.as_bytes())
            .map_err(|error| ParseError::Syntax(error.to_string()))?;
        if inner.times.is_empty() {
            inner.times = vec![sdp_types::Time::new(0, 0)];
        }
        let is_whole = text.starts_with("v=0\r\no=")
            && ["\r\ns=", "\r\nt="].iter().all(|line| text.contains(line));
        let text = is_whole.then(|| text.into());
        Ok(Self::with_text(inner, text))
    }

    /// Makes a description of our own.
    #[must_use]
    pub fn build(origin: &Origin, ice_lite: bool, media: &[Media]) -> Self {
        let bundled: Vec<&str> = media
            .iter()
            .filter(|m| m.is_bundled && m.port != 0)
            .filter_map(|m| m.mid.as_deref())
            .collect();
        let mut attributes = Vec::new();
        if !bundled.is_empty() {
            let group = format!("BUNDLE {}", bundled.join(" "));
            attributes.push(sdp_types::Attribute::with_value("group", group));
        }
        if ice_lite {
            attributes.push(sdp_types::Attribute::new("ice-lite"));
        }
        let o = sdp_types::Origin {
            username: Some("crosspoint".to_owned()),
            sess_id: origin.id.to_string(),
            sess_version: origin.version,
            nettype: sdp_types::NetType::In,
            addrtype: origin.address.into(),
            unicast_address: text::ip_text(origin.address),
        };
        let mut inner = sdp_types::Session::new(o, "-");
        inner.times = vec![sdp_types::Time::new(0, 0)];
        inner.attributes = attributes;
        inner.medias = media.iter().map(Media::to_syntax).collect();
        Self::with_text(inner, None)
    }

    fn with_text(inner: sdp_types::Session, text: Option<Arc<str>>) -> Self {
        let text = text.map_or_else(OnceLock::new, OnceLock::from);
        let version = inner.origin.sess_version;
        let sections = OnceLock::new();
        Self(Arc::new(Parsed { inner: Arc::new(inner), version, text, sections }))
    }

    /// The same media in a session of ours: what else its head says of who made it (`o=`, `s=`, `i=`,
    /// `u=`, `e=`, `p=`) is left out.
    #[must_use]
    pub fn passed_on(&self, origin: &Origin) -> Self {
        let text = text::pass_on(self.text(), origin);
        Self(Arc::new(Parsed {
            inner: self.0.inner.clone(),
            version: origin.version,
            text: OnceLock::from(Arc::from(text)),
            sections: OnceLock::new(),
        }))
    }

    /// Where its first section wants media; `None` when that is a name.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let section = self.0.inner.medias.first()?;
        let connection = section.connections.first().or(self.0.inner.connection.as_ref())?;
        connection.connection_address.split('/').next()?.parse().ok()
    }

    /// Whether a section of it is video and not refused.
    #[must_use]
    pub fn has_video(&self) -> bool {
        self.0.inner.medias.iter().any(|m| m.media == "video" && m.port != 0)
    }

    /// Whether it is for SRTP with keys of its own or of DTLS.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.0.inner.medias.first().is_some_and(|m| m.proto.contains("SAVP"))
    }

    fn text(&self) -> &Arc<str> {
        self.0.text.get_or_init(|| text::print(&self.0.inner).into())
    }

    #[must_use]
    pub fn pack(&self) -> PackedSession {
        PackedSession { text: self.text().clone(), parsed: Some(self.clone()) }
    }

    /// How many media sections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.inner.medias.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.inner.medias.is_empty()
    }

    /// Every media section, with what the session level says for all filled in.
    #[must_use]
    pub fn sections(&self) -> &[Media] {
        self.0.sections.get_or_init(|| self.0.read_sections())
    }

    /// The same, for who keeps some.
    pub fn media(&self) -> impl Iterator<Item = Media> + '_ {
        self.sections().iter().cloned()
    }

    #[must_use]
    pub fn is_ice_lite(&self) -> bool {
        self.0.inner.attributes.iter().any(|a| a.attribute == "ice-lite")
    }

    /// The version of the `o=` line: unchanged means the same description again.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.version
    }
}

impl Parsed {
    fn read_sections(&self) -> Vec<Media> {
        let bundled: Vec<&str> = self
            .inner
            .attributes
            .iter()
            .filter(|a| a.attribute == "group")
            .filter_map(|a| a.value.as_deref()?.strip_prefix("BUNDLE"))
            .flat_map(str::split_whitespace)
            .collect();
        self.inner.medias.iter().map(|m| Media::from_syntax(&self.inner, m, &bundled)).collect()
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Shows the shape only: a description carries addresses and keys.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} media)", self.len())
    }
}

/// Holds the text to the limits before anything is made of it, and mends what peers get wrong
/// that means no harm: spaces twice or at the end of an `m=` line, and other characters than
/// UTF-8.
fn check_lines(bytes: &[u8]) -> Result<String, ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let (mut sections, mut attributes) = (0, 0);
    for (index, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.contains(['\r', '\0']) {
            return Err(ParseError::ControlCharacter(index + 1));
        }
        match line.get(..2) {
            Some("m=") => (sections, attributes) = (sections + 1, 0),
            Some("a=") => attributes += 1,
            _ => {}
        }
        if sections > MAX_MEDIA || attributes > MAX_ATTRIBUTES {
            return Err(ParseError::TooMany);
        }
        if line.trim().is_empty() {
            continue;
        }
        if line.starts_with("m=") {
            for (index, word) in line.split_whitespace().enumerate() {
                out.push_str(if index == 0 { "" } else { " " });
                out.push_str(word);
            }
        } else {
            out.push_str(line);
        }
        out.push_str("\r\n");
    }
    Ok(out)
}

const MAX_LEN: usize = 65_535;
const MAX_MEDIA: usize = 32;
const MAX_ATTRIBUTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, Setup};

    const CHROME: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
a=group:BUNDLE 0\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS x\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 0.0.0.0\r\n\
a=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
a=ice-options:trickle\r\na=fingerprint:sha-256 AB:CD\r\na=setup:actpass\r\na=mid:0\r\n\
a=sendrecv\r\na=msid:x y\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:111 opus/48000/2\r\n\
a=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
a=rtpmap:126 telephone-event/8000\r\n\
a=candidate:1 1 udp 2122260223 192.0.2.1 5000 typ host generation 0\r\n\
a=candidate:2 1 udp 2122260223 x.local 5001 typ host\r\na=ssrc:1 cname:z\r\n";

    #[test]
    fn reads_a_browsers_offer() {
        let session = Session::parse(CHROME.as_bytes()).unwrap();
        let media = session.media().next().unwrap();
        assert_eq!(media.codecs[0].name, "opus");
        assert_eq!(media.codecs[0].channels, 2);
        assert_eq!(media.codecs[0].fmtp.as_deref(), Some("minptime=10;useinbandfec=1"));
        assert_eq!((media.setup, media.direction), (Some(Setup::ActPass), Direction::SendRecv));
        assert!(media.rtcp_mux && media.is_bundled && media.trickle);
        assert_eq!(media.candidates.len(), 2);
        assert!(!media.is_held());
    }

    #[test]
    fn inherits_what_the_session_level_says() {
        let text = "v=0\no=- 1 1 IN IP4 192.0.2.9\ns=-\nc=IN IP4 192.0.2.9\nt=0 0\na=sendonly\n\
a=setup:passive\nm=audio 4000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\n";
        let session = Session::parse(text.as_bytes()).unwrap();
        let media = session.media().next().unwrap();
        assert_eq!(media.direction, Direction::SendOnly);
        assert_eq!(media.address.unwrap().to_string(), "192.0.2.9");
        assert_eq!(media.setup, Some(Setup::Passive));
        assert_eq!(media.codecs[0].name, "PCMU");
    }

    /// What is passed on is what was said, also where we do not know the words.
    #[test]
    fn prints_the_text_it_was_read_from() {
        let unknown = CHROME.replace("t=0 0\r\n", "t=0 0\r\na=new:1\r\n");
        assert_eq!(Session::parse(unknown.as_bytes()).unwrap().to_string(), unknown);
        let sloppy = unknown.replace("\r\n", "\n").replace("audio 9", "audio  9");
        assert_eq!(Session::parse(sloppy.as_bytes()).unwrap().to_string(), unknown);
        let cut = "v=0\r\nm=audio 4000 RTP/AVP 0\r\n";
        let mended = Session::parse(cut.as_bytes()).unwrap().to_string();
        assert!(mended.contains("\r\nt=0 0\r\n"), "{mended}");
    }

    #[test]
    fn what_is_printed_parses_to_the_same() {
        let session = Session::parse(CHROME.as_bytes()).unwrap();
        let again = Session::parse(session.to_string().as_bytes()).unwrap();
        assert_eq!(session, again);
        let built = Session::build(
            &Origin { id: 1, version: 2, address: [192, 0, 2, 1].into() },
            true,
            &session.media().collect::<Vec<_>>(),
        );
        let read: Vec<Media> = built.media().collect();
        assert_eq!(read, session.media().collect::<Vec<_>>());
    }
}
