//! A whole description, held as text and read on demand.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use crate::form::Form;
use crate::text::{Lines, Printer};
use crate::{Media, text};

/// A session description that can be read. It is never changed, and kept by many: all clones share it.
#[derive(Clone)]
pub struct Session(Arc<Parsed>);

struct Parsed {
    /// Line by line as it can be sent: what it was read from but for sloppiness, or what was printed.
    text: Arc<str>,
    /// Of the `o=` line.
    version: u64,
    /// How many `m=` lines there are.
    sections: usize,
    /// What they say, once somebody has asked for it.
    media: OnceLock<Vec<Media>>,
}

impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

/// A description for who keeps it long and reads it seldom: its sections take several times as
/// much memory as the text. They stay at hand until [`PackedSession::condense`], because most
/// reading is done while a call is set up.
#[derive(Clone, PartialEq)]
pub struct PackedSession(Session);

impl Eq for PackedSession {}

impl PackedSession {
    /// What was packed.
    #[must_use]
    pub fn unpack(&self) -> Session {
        self.0.clone()
    }

    /// Keeps the text alone.
    pub fn condense(&mut self) {
        let Parsed { text, version, sections, media } = &*self.0.0;
        if media.get().is_some() {
            self.0 = Session::of(text.clone(), *version, *sections);
        }
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
        let (text, form) = tidy(bytes)?;
        if let Some(version) = form.version() {
            return Ok(Self::of(text.into(), version, form.sections()));
        }
        // Lines that hardly anybody sends, an order of their own, or nothing that can be read.
        let mut inner = sdp_types::Session::parse(text.as_bytes())
            .map_err(|error| ParseError::Syntax(error.to_string()))?;
        let is_whole = text.starts_with("v=0\r\no=")
            && ["\r\ns=", "\r\nt="].iter().all(|line| text.contains(line));
        let text = if is_whole { text } else { text::mend(&mut inner) };
        Ok(Self::of(text.into(), inner.origin.sess_version, inner.medias.len()))
    }

    /// Makes a description of our own.
    #[must_use]
    pub fn build(origin: &Origin, ice_lite: bool, media: &[Media]) -> Self {
        let mut bundled = media
            .iter()
            .filter(|m| m.is_bundled && m.port != 0)
            .filter_map(|m| m.mid.as_deref())
            .peekable();
        let mut out = Printer::new();
        out.origin(origin);
        out.line("s=-");
        out.line("t=0 0");
        if bundled.peek().is_some() {
            out.begin("a=group:BUNDLE");
            bundled.for_each(|mid| out.words([mid]));
            out.end();
        }
        if ice_lite {
            out.line("a=ice-lite");
        }
        media.iter().for_each(|media| media.print(&mut out));
        Self::of(out.finish().into(), origin.version, media.len())
    }

    /// The same of sections that nobody else needs: who asks for them mostly does not have to be read what
    /// was just printed.
    #[must_use]
    pub fn build_of(origin: &Origin, ice_lite: bool, media: Vec<Media>) -> Self {
        let session = Self::build(origin, ice_lite, &media);
        // Of a refused section little is printed, and of others it depends on their kind what is.
        let is_as_printed = |section: &Media| {
            !section.is_rejected()
                && section.others.is_empty()
                && (section.is_audio() || section.is_video())
        };
        if media.iter().all(is_as_printed) {
            debug_assert!(
                Media::read_all(&session.0.text) == media,
                "it is read as something else"
            );
            // Nobody has asked before.
            let _ = session.0.media.set(media);
        }
        session
    }

    fn of(text: Arc<str>, version: u64, sections: usize) -> Self {
        Self(Arc::new(Parsed { text, version, sections, media: OnceLock::new() }))
    }

    /// The same media in a session of ours: what else its head says of who made it (`o=`, `s=`, `i=`,
    /// `u=`, `e=`, `p=`) is left out.
    #[must_use]
    pub fn passed_on(&self, origin: &Origin) -> Self {
        let text = text::pass_on(&self.0.text, origin);
        Self::of(text.into(), origin.version, self.0.sections)
    }

    /// What the `m=` lines say.
    fn heads(&self) -> impl Iterator<Item = &str> {
        Lines::of(&self.0.text).filter_map(|line| line.strip_prefix("m="))
    }

    /// Where its first section wants media; `None` when that is a name.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let mut sections = 0;
        let mut address = None;
        for line in Lines::of(&self.0.text) {
            match line.split_at_checked(2) {
                Some(("m=", _)) if sections == 1 => break,
                Some(("m=", _)) => sections = 1,
                Some(("c=", connection)) => {
                    address = text::address_of(connection);
                    if sections == 1 {
                        break;
                    }
                }
                _ => {}
            }
        }
        address.filter(|_| sections == 1)
    }

    /// Whether a section of it is video and not refused.
    #[must_use]
    pub fn has_video(&self) -> bool {
        let is_used = |rest: &str| {
            let port = rest.split([' ', '/']).next().and_then(|port| port.parse::<u16>().ok());
            port.is_some_and(|port| port != 0)
        };
        self.heads().any(|head| head.strip_prefix("video ").is_some_and(is_used))
    }

    /// Whether it is for SRTP with keys of its own or of DTLS.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        let protocol = self.heads().next().and_then(|head| head.split(' ').nth(2));
        protocol.is_some_and(|protocol| protocol.contains("SAVP"))
    }

    #[must_use]
    pub fn pack(&self) -> PackedSession {
        PackedSession(self.clone())
    }

    /// How many media sections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.sections
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.sections == 0
    }

    /// Every media section, with what the session level says for all filled in.
    #[must_use]
    pub fn sections(&self) -> &[Media] {
        self.0.media.get_or_init(|| Media::read_all(&self.0.text))
    }

    /// The same, for who keeps some.
    pub fn media(&self) -> impl Iterator<Item = Media> + '_ {
        self.sections().iter().cloned()
    }

    #[must_use]
    pub fn is_ice_lite(&self) -> bool {
        let mut head = Lines::of(&self.0.text).take_while(|line| !line.starts_with("m="));
        let is_end = |rest: &str| rest.is_empty() || rest.starts_with(':');
        head.any(|line| line.strip_prefix("a=ice-lite").is_some_and(is_end))
    }

    /// The version of the `o=` line: unchanged means the same description again.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.version
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
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
fn tidy(bytes: &[u8]) -> Result<(String, Form), ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len() + 64);
    let mut form = Form::default();
    let (mut sections, mut attributes) = (0, 0);
    for (index, line) in Lines::of(&text).enumerate() {
        if memchr::memchr2(b'\r', 0, line.as_bytes()).is_some() {
            return Err(ParseError::ControlCharacter(index + 1));
        }
        let is_section = line.starts_with("m=");
        if is_section {
            (sections, attributes) = (sections + 1, 0);
        } else if line.starts_with("a=") {
            attributes += 1;
        }
        if sections > MAX_MEDIA || attributes > MAX_ATTRIBUTES {
            return Err(ParseError::TooMany);
        }
        if !line.starts_with(|first: char| first.is_ascii_graphic()) && line.trim().is_empty() {
            continue;
        }
        let start = out.len();
        if is_section {
            for (index, word) in line.split_ascii_whitespace().enumerate() {
                out.push_str(if index == 0 { "" } else { " " });
                out.push_str(word);
            }
        } else {
            out.push_str(line);
        }
        form.see(&out[start..]);
        out.push_str("\r\n");
    }
    Ok((out, form))
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

    /// Everything that is taken, from peers' descriptions with bytes changed from a fixed seed: what
    /// `sdp-types` reads in its text is what we do.
    #[test]
    fn reads_what_the_library_reads() {
        let seeds = [
            CHROME,
            include_str!("../tests/data/linphone-osrtp-offer.sdp"),
            include_str!("../tests/data/t38-reinvite.sdp"),
            "v=0\no=- 1 2 IN IP6 ::1\ns=x\ni=y\nc=IN IP4 192.0.2.1/127\nb=AS:64\nt=1 2\nr=7d 1h 0\n\
m=audio 4000/2 RTP/AVP 0\ni=title\nc=IN IP6 ::1\nc=IN IP6 ::2\nb=TIAS:1\nk=prompt\n",
        ];
        let mut rng = crosspoint_base::Rng::from_u64(11);
        let (mut ours, mut others) = (0, 0);
        for round in 0..20_000 {
            let mut bytes = seeds[round % seeds.len()].as_bytes().to_vec();
            for _ in 0..rng.below(4) {
                let at = rng.below(u32::try_from(bytes.len()).unwrap()) as usize;
                match rng.below(3) {
                    0 => bytes[at] = rng.next_u32().to_le_bytes()[0],
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, b" :=\r\n/0"[rng.below(7) as usize]),
                }
            }
            let Ok(session) = Session::parse(&bytes) else { continue };
            let is_ours = tidy(&bytes).unwrap().1.version().is_some();
            *(if is_ours { &mut ours } else { &mut others }) += 1;
            let text = session.to_string();
            let library = sdp_types::Session::parse(text.as_bytes()).unwrap();
            assert_eq!(session.version(), library.origin.sess_version, "{text}");
            assert_eq!(session.len(), library.medias.len(), "{text}");
            for (media, of_library) in session.sections().iter().zip(&library.medias) {
                assert_eq!(media.kind, of_library.media, "{text}");
                assert_eq!((media.port, &media.protocol), (of_library.port, &of_library.proto));
                assert_eq!(media.formats.join(" "), of_library.fmt, "{text}");
                let connection =
                    of_library.connections.first().or(library.connection.as_ref()).and_then(|c| {
                        c.connection_address.split('/').next()?.parse::<IpAddr>().ok()
                    });
                assert_eq!(media.address, connection, "{text}");
                let candidates = media.candidates.iter().map(|c| c.0.clone());
                let of_library =
                    of_library.attributes.iter().filter(|a| a.attribute == "candidate");
                let of_library = of_library
                    .map(|a| format!("candidate:{}", a.value.as_deref().unwrap_or_default()));
                assert!(candidates.eq(of_library), "{text}");
            }
        }
        assert!(ours > 5000 && others > 1000, "{ours} and {others}");
    }
}
