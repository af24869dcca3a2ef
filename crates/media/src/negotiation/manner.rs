//! A leg that stands for another one: a proxy of media says of the other side's description no
//! more and no less than it must, and passes on what it does not understand.

use crosspoint_sdp::{Codec, Direction, Media};

/// How the descriptions of a leg are made that stands for another one.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// What its section lists, in this order.
    pub formats: Vec<Format>,
    /// The sections of the other side's description, all refused, and which is the audio; empty
    /// means those of this leg's own peer.
    pub sections: Vec<Media>,
    pub index: usize,
    /// Which is the video, if there is any: it is ours to describe, as on every leg.
    pub video: Option<usize>,
    /// RTCP may go to the port of RTP (RFC 5761); with ICE it always does.
    pub rtcp_mux: bool,
    /// We open the DTLS connection when the peer leaves it to us.
    pub dtls_active: Option<bool>,
    /// What is left of the direction: a leg that only listens is sent to alone.
    pub direction: Direction,
    /// What an offer calls the section where sections are named, before the peer has named it.
    pub mid: Option<String>,
}

/// A payload type, and what it stands for when the description says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    pub pt: u8,
    pub codec: Option<Codec>,
}

impl Format {
    /// Those of a section, in its order.
    #[must_use]
    pub fn all_of(media: &Media) -> Vec<Self> {
        let numbers = media.formats.iter().filter_map(|f| f.parse().ok()).filter(|pt| *pt < 128);
        let codec = |pt| media.codecs.iter().find(|c| c.pt == pt).cloned();
        numbers.take(128).map(|pt| Self { pt, codec: codec(pt) }).collect()
    }

    /// Whether two numbers stand for the same, also when nobody says for what.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.codec, &other.codec) {
            (Some(a), Some(b)) => a.is(&b.name, b.clock_rate) && a.channels == b.channels,
            (None, None) => self.pt == other.pt,
            _ => false,
        }
    }
}

/// What may arrive and what may be sent, by name.
#[derive(Debug, Clone, Default)]
pub struct Names {
    receive: Vec<Format>,
    send: Vec<Format>,
}

impl Names {
    pub(super) fn new(ours: &[Format], theirs: &Media) -> Self {
        Self { receive: ours.to_vec(), send: Format::all_of(theirs) }
    }
}

/// Under which number each payload type of one leg goes on to another, with its clock.
#[derive(Clone, PartialEq, Eq)]
pub struct Passes([Option<(u8, u32)>; 128]);

impl std::fmt::Debug for Passes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().flatten()).finish()
    }
}

impl Passes {
    /// What arrives by `from` and goes out by `to`: a number goes on under the one that stands
    /// for the same there, its own if it can.
    #[must_use]
    pub fn new(from: &Names, to: &Names) -> Self {
        let mut table = [None; 128];
        for format in &from.receive {
            let same = || to.send.iter().filter(|other| other.is_same(format));
            let found = same().find(|other| other.pt == format.pt).or_else(|| same().next());
            // Every static type without a name of ours has this clock (RFC 3551 §6).
            let clock = format.codec.as_ref().map_or(8000, |c| c.clock_rate);
            if let (Some(found), Some(entry)) = (found, table.get_mut(usize::from(format.pt))) {
                *entry = Some((found.pt, clock));
            }
        }
        Self(table)
    }

    #[must_use]
    pub fn find(&self, pt: u8) -> Option<(u8, u32)> {
        self.0.get(usize::from(pt)).copied().flatten()
    }
}
