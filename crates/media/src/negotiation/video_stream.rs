//! The outcome of a negotiation of video, for the packet path.

use crosspoint_sdp::{Direction, Media};

use super::stream::{self, Keys, Transport};
use super::video::{ABS_SEND_TIME, Entry, MAX_EXTENSION_ID, MID, TRANSPORT_CC, Video};
use super::{Agreed, Remote, Security};
use crate::video::{VideoCodec, VideoKind};

/// Everything that a packet path needs to know of a leg's video.
#[derive(Debug, Clone)]
pub struct VideoConfig {
    /// Of its own for a phone; a browser's is that of the sound.
    pub transport: Option<Transport>,
    pub keys: Keys,
    /// What the peer takes: format, payload type, and that of repairs.
    pub send: Vec<(VideoKind, u8, Option<u8>)>,
    /// What the peer may send.
    pub receive: Vec<(VideoKind, u8, Option<u8>)>,
    pub feedback: Feedback,
    pub extensions: Extensions,
    /// Seen from us.
    pub direction: Direction,
    /// The most that the peer takes, in bit/s.
    pub bandwidth: Option<u32>,
}

/// What both sides do when they receive (RFC 4585, 5104).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Feedback {
    pub nack: bool,
    pub pli: bool,
    pub fir: bool,
    pub remb: bool,
    pub transport_cc: bool,
    pub tmmbr: bool,
}

/// Numbers of header extensions (RFC 8285), on a browser's transport.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions {
    /// With the name of the section (RFC 9143 §15).
    pub mid: Option<(u8, String)>,
    pub abs_send_time: Option<u8>,
    pub transport_cc: Option<u8>,
}

impl VideoConfig {
    /// The number by which the peer takes a format, and that of its repairs.
    #[must_use]
    pub fn number(&self, kind: VideoKind) -> Option<(u8, Option<u8>)> {
        let same = self.send.iter().find(|(k, ..)| *k == kind);
        let found = same.or_else(|| self.send.iter().find(|(k, ..)| k.is_like(kind)));
        found.map(|(_, pt, repair)| (*pt, *repair))
    }

    /// What a number of the peer's means: the format, or the number that it repeats.
    #[must_use]
    pub fn received(&self, pt: u8) -> Option<Received> {
        self.receive.iter().find_map(|(kind, of, repair)| match pt {
            _ if *of == pt => Some(Received::Picture(*kind)),
            _ if *repair == Some(pt) => Some(Received::Repair(*kind, *of)),
            _ => None,
        })
    }

    #[must_use]
    pub fn codec(&self) -> Option<VideoCodec> {
        self.send.first().map(|(kind, ..)| kind.codec())
    }
}

/// What a packet of video is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    Picture(VideoKind),
    /// One that got lost, with the payload type that it had (RFC 4588).
    Repair(VideoKind, u8),
}

pub(super) fn build(
    agreed: &Agreed,
    audio: &Remote,
    video: &Video,
    ours: &Media,
) -> Option<VideoConfig> {
    let remote = video.remote.as_ref()?;
    let theirs = &remote.media;
    let is_webrtc = agreed.security == Security::Dtls;
    // Who answered says what of ours it takes; who offered knows all that we answered.
    let taken = |e: &&Entry| ours.formats.iter().any(|f| f.parse() == Ok(e.pt));
    let row = |e: &Entry| {
        let repair = e.repair.filter(|pt| ours.codecs.iter().any(|c| c.pt == *pt));
        (e.format.kind, e.pt, repair.filter(|_| is_webrtc))
    };
    let send: Vec<_> = if remote.is_offer {
        video.numbers.remote.iter().filter(taken).map(row).collect()
    } else {
        let repairs = |e: &Entry| (e.format.kind, e.pt, e.repair.filter(|_| is_webrtc));
        video.numbers.remote.iter().map(repairs).collect()
    };
    let both = |kind: &str| {
        send.iter().all(|(_, pt, _)| theirs.has_feedback(*pt, kind))
            && (ours.feedback.iter().any(|(_, k)| k == kind))
    };
    let extension = |name: &str| {
        ours.extension(name)?;
        theirs.extension(name).filter(|id| *id <= MAX_EXTENSION_ID && is_webrtc)
    };
    let direction =
        ours.direction.and(Direction::new(theirs.direction.sends(), !theirs.is_held()).reversed());
    Some(VideoConfig {
        transport: (!is_webrtc).then(|| stream::rtp_transport(theirs, ours)),
        keys: stream::keys(agreed.security, &video.keys, remote.is_offer, theirs),
        receive: video.numbers.receiving().map(row_of(is_webrtc)).collect(),
        feedback: Feedback {
            nack: both("nack"),
            pli: both("nack pli"),
            fir: both("ccm fir"),
            remb: is_webrtc && both("goog-remb"),
            transport_cc: is_webrtc && both("transport-cc"),
            tmmbr: both("ccm tmmbr"),
        },
        extensions: Extensions {
            mid: extension(MID).zip(ours.mid.clone()),
            abs_send_time: extension(ABS_SEND_TIME),
            transport_cc: extension(TRANSPORT_CC),
        },
        send,
        direction,
        bandwidth: theirs.bandwidth,
    })
    .filter(|config| !config.send.is_empty() && audio.index != video.index)
}

fn row_of(is_webrtc: bool) -> impl Fn(&Entry) -> (VideoKind, u8, Option<u8>) {
    move |e| (e.format.kind, e.pt, e.repair.filter(|_| is_webrtc))
}
