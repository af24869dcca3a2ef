//! What a ladder consists of.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use crosspoint_base::{Flow, Gcid, LegId, Private, Transport};
use crosspoint_call::router::Refusal;
use crosspoint_call::{Cause, Ended};

/// Everything that is kept of one call.
#[derive(Debug, Clone)]
pub struct CallLadder {
    pub gcid: Gcid,
    pub facts: Facts,
    /// The parties, in the order in which they came.
    pub lines: Vec<Line>,
    /// In the order in which they happened.
    pub entries: Vec<Entry>,
    /// Entries in the middle that had to go, and behind how many of `entries` they were.
    pub dropped: (u64, usize),
    pub samples: Vec<Sample>,
    /// What came of media, as far as it was captured.
    pub packets: Vec<Packet>,
}

impl CallLadder {
    /// The reasons of the router, of a call that is not over.
    pub fn explain_route(&mut self, words: &str) {
        explain_route(self.entries.iter_mut(), words);
    }
}

/// Puts words to the first decision that has none, and says whether there was one.
pub(crate) fn explain_route<'e>(
    mut entries: impl Iterator<Item = &'e mut Entry>,
    words: &str,
) -> bool {
    let silent = entries.find_map(|entry| match &mut entry.what {
        What::Note(Note::Routed { why, .. }) if why.expose().is_empty() => Some(why),
        _ => None,
    });
    silent.map(|why| *why = Private(Arc::from(words))).is_some()
}

/// What a list of calls says of one.
#[derive(Debug, Clone)]
pub struct Facts {
    pub started: Instant,
    pub from: Private<String>,
    pub to: Private<String>,
    /// The user who calls.
    pub user: Option<Arc<str>>,
    /// The trunk it came over.
    pub trunk: Option<Arc<str>>,
    pub answered: Option<Instant>,
    pub ended: Option<(Instant, Ended)>,
    pub refusal: Option<Refusal>,
    /// Nobody was let in: it was refused before there was a call.
    pub is_refused_early: bool,
}

/// One party: a leg, or a peer that no leg was made for.
#[derive(Debug, Clone)]
pub struct Line {
    pub side: Side,
    pub leg: Option<LegId>,
    /// A user, a trunk or a number; empty for nobody known.
    pub name: Private<String>,
    pub protocol: Protocol,
    /// Where it is, as far as it is known.
    pub remote: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Caller,
    Called,
    /// What carries media in our place.
    MediaServer,
}

/// One step of the ladder.
#[derive(Debug, Clone)]
pub struct Entry {
    pub at: Instant,
    /// Whose it is, by its place in `lines`; `None` for the call's as a whole.
    pub line: Option<u16>,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum What {
    Message(Message),
    Note(Note),
}

/// Something that was said.
#[derive(Clone)]
pub struct Message {
    pub protocol: Protocol,
    /// By us.
    pub is_sent: bool,
    /// The transport with our address and the peer's, where they are known.
    pub path: Option<(Transport, SocketAddr, SocketAddr)>,
    /// As it went over the wire: credentials and keys included. [`crate::redact`] before it leaves.
    pub bytes: Bytes,
    /// How long it was; `bytes` may be less.
    pub length: usize,
}

/// A message carries names, numbers and credentials, so that only its size shows.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Message({:?}, {} bytes)", self.protocol, self.length)
    }
}

impl Message {
    /// One whose bytes are elsewhere.
    pub(crate) fn of(protocol: Protocol, is_sent: bool, flow: &Flow, length: usize) -> Self {
        let path = Some((flow.transport, flow.local, flow.remote));
        Self { protocol, is_sent, path, length, bytes: Bytes::new() }
    }

    #[must_use]
    pub fn over(protocol: Protocol, is_sent: bool, flow: &Flow, bytes: Bytes) -> Self {
        let path = Some((flow.transport, flow.local, flow.remote));
        Self { protocol, is_sent, path, length: bytes.len(), bytes }
    }

    #[must_use]
    pub fn plain(protocol: Protocol, is_sent: bool, bytes: Bytes) -> Self {
        Self { protocol, is_sent, path: None, length: bytes.len(), bytes }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Sip,
    /// JSON of apps over WebSocket.
    RtcEngine,
    /// The call API, over gRPC.
    CallApi,
    /// What media servers are asked.
    Ng,
}

impl Protocol {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sip => "sip",
            Self::RtcEngine => "rtcengine",
            Self::CallApi => "call_api",
            Self::Ng => "ng",
        }
    }
}

/// An RTP or RTCP packet that came from a party, in the clear.
#[derive(Clone)]
pub struct Packet {
    pub at: Instant,
    /// Whose it is.
    pub line: u16,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// The packet, or its header.
    pub bytes: Bytes,
    /// How long it was.
    pub length: usize,
    /// What its payload type means, as in `a=rtpmap`; of RTCP and what is not understood, nothing.
    pub rtpmap: Option<&'static str>,
    pub was_encrypted: bool,
}

/// A packet may carry sound, so that only its size shows.
impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packet({:?}, {} of {} bytes)", self.rtpmap, self.bytes.len(), self.length)
    }
}

/// Something that happened or was decided.
#[derive(Debug, Clone)]
pub enum Note {
    /// Where the call goes: the rules that were tried, a line each.
    Routed {
        why: Private<Arc<str>>,
        refused: Option<Cause>,
        refusal: Option<Refusal>,
    },
    /// A device, or a trunk's destination, is tried.
    Dialing {
        over: Option<Arc<str>>,
    },
    Answered,
    /// The peer wants to be elsewhere, or has somebody go there.
    TransferAsked(Private<String>),
    Redirected(Private<String>),
    /// The leg took the place of another one.
    TookOver,
    /// The leg came here from another call, by a transfer.
    JoinedFrom(Gcid),
    Parked,
    Unparked,
    /// Media goes from one side to the other without us.
    MediaPastUs,
    /// From now on it comes through us.
    MediaCame,
    /// We end the leg.
    Ending(Cause),
    /// It is over, for this reason.
    LegEnded(Cause),
    /// A time has passed: which.
    TimerRang(&'static str),
    /// Media control does not take a description.
    MediaRefused(&'static str),
    /// Browser and we have found a way, or another one.
    IcePair {
        transport: &'static str,
        remote: SocketAddr,
    },
    Dtls(DtlsStep),
    /// Media flows.
    Connected,
    MediaLost(Loss),
    /// Nothing came for three seconds: never, or not any more.
    Silent {
        never: bool,
    },
    Heard,
    /// What a leg carried in its life.
    Figures(Figures),
    /// What an operator or a rule has done with the call, in words.
    Operator(Arc<str>),
    Over(Ended),
}

/// Of a DTLS handshake (RFC 5764).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsStep {
    /// `is_client`: the first word is ours.
    Started { is_client: bool },
    /// The peer's certificate is the one that its description named, or is not.
    Certificate { is_right: bool },
    /// There are keys, for this profile.
    Keys(&'static str),
}

/// Why media is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    Silent,
    ConsentExpired,
    WrongCertificate,
    DtlsFailed,
    PeerClosed,
    ServerGone,
}

/// How a leg did in about five seconds.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub at: Instant,
    pub line: u16,
    /// How many such times it stands for: of a long call, more than one.
    pub spans: u16,
    /// In hundredths.
    pub mos: Option<u16>,
    /// In parts of ten thousand, of what came and of what was sent.
    pub loss: u16,
    pub loss_at_peer: Option<u16>,
    pub jitter_us: u32,
    pub round_trip_us: Option<u32>,
}

impl Sample {
    /// The worse of two in every respect, at the time of the later.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        let lowest = |a: Option<u16>, b: Option<u16>| a.into_iter().chain(b).min();
        Self {
            at: self.at.max(other.at),
            line: self.line,
            spans: self.spans.saturating_add(other.spans),
            mos: lowest(self.mos, other.mos),
            loss: self.loss.max(other.loss),
            loss_at_peer: self.loss_at_peer.max(other.loss_at_peer),
            jitter_us: self.jitter_us.max(other.jitter_us),
            round_trip_us: self.round_trip_us.max(other.round_trip_us),
        }
    }
}

/// What a leg carried over its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub codec: Option<&'static str>,
    pub packets_received: u64,
    pub packets_sent: u64,
    pub packets_lost: u64,
    /// In hundredths.
    pub mos: Option<u16>,
}
