//! Video of one leg: one section beside the audio, passed on and never translated.
//!
//! A format is offered to one party only when the other party has it, so that every packet of
//! one leg has a number on the other. H.264 is told apart by profile and packetization mode
//! (RFC 6184 §8.2.2); repairs (RFC 4588), feedback (RFC 4585, 5104) and header extensions are
//! agreed for each leg by itself, because they end at us.

use std::collections::BTreeMap;

use crosspoint_base::Rng;
use crosspoint_sdp::{Direction, Media, Session};

use super::security::{self, Security};
use super::stream::{SdesKeys, remote_key};
use crate::control::Profile;
use crate::video::{VideoFormat, VideoKind};

/// What a peer leg has of video.
#[derive(Debug, Clone)]
pub(super) struct VideoView {
    /// In the order of its preference.
    formats: Vec<VideoFormat>,
    direction: Direction,
    /// The most that it can take, in bit/s.
    bandwidth: Option<u32>,
}

/// What both sides have said of video, over the life of a leg.
#[derive(Debug, Clone)]
pub(super) struct Video {
    pub(super) keys: SdesKeys,
    pub(super) numbers: Numbers,
    /// Its place among the sections.
    pub(super) index: usize,
    /// The peer's side, while it has video.
    pub(super) remote: Option<RemoteVideo>,
    /// What the peer said last, also where it was refused: whether a new offer is news.
    said: Said,
}

#[derive(Debug, Clone)]
pub(super) struct RemoteVideo {
    pub(super) media: Media,
    pub(super) is_offer: bool,
    /// What its user does.
    wish: Direction,
}

pub(super) type Said = Option<(Vec<VideoKind>, Direction)>;

/// What the negotiation as a whole means for the video section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) security: Security,
    pub(super) profile: Profile,
    /// Where the audio is.
    pub(super) audio: usize,
}

impl Video {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            keys: SdesKeys::generate(rng),
            numbers: Numbers::default(),
            index: usize::MAX,
            remote: None,
            said: None,
        }
    }

    pub(super) fn view(&self) -> Option<VideoView> {
        let remote = self.remote.as_ref()?;
        let formats = known(&remote.media).into_iter().map(|entry| entry.format).collect();
        let bandwidth = remote.media.bandwidth;
        Some(VideoView { formats, direction: remote.wish, bandwidth })
    }

    /// Takes what an offer says of video; tells whether it is news for the far side.
    pub(super) fn take_offer(&mut self, session: &Session, terms: Terms, rng: &mut Rng) -> bool {
        let found = find(session, self.index, terms);
        let said = found.as_ref().map(|(_, media)| (kinds(media), wish(media)));
        let is_news = self.said != said;
        self.said = said;
        let before = self.remote.take();
        if let Some((index, media)) = found {
            let old_key = before.and_then(|b| remote_key(&b.media.cryptos));
            if old_key.is_some() && old_key != remote_key(&media.cryptos) {
                self.keys = SdesKeys::generate(rng);
            }
            self.index = index;
            self.numbers.agree(&media, true);
            let wish = wish(&media);
            self.remote = Some(RemoteVideo { media, is_offer: true, wish });
        }
        is_news
    }

    /// The peer has no video; gives what it had said of it before.
    pub(super) fn take_nothing(&mut self) -> Said {
        self.remote = None;
        self.said.take()
    }

    /// Takes the answer to an offer of ours that had video at `offered`. Pictures have keys when
    /// the sound has, and none when it has none.
    pub(super) fn take_answer(
        &mut self,
        offered: &Media,
        answered: Option<Media>,
        terms: Terms,
        is_sealed: bool,
    ) {
        let before = self.remote.take();
        let usable = answered.filter(|media| {
            !media.is_rejected()
                && security::is_known_protocol(media)
                && match terms.security {
                    Security::Dtls => media.is_bundled,
                    secure => {
                        let has_key = self.keys.answered(&media.cryptos).is_some();
                        has_key == is_sealed && secure.check_answer(media, &self.keys).is_ok()
                    }
                }
        });
        let Some(media) = usable else {
            self.said = None;
            return;
        };
        self.numbers.agree(&media, false);
        if self.numbers.remote.is_empty() {
            self.said = None;
            return;
        }
        // As with sound: an answer to a narrow offer cannot say more.
        let last = before.map_or(Direction::SendRecv, |b| b.wish);
        let (said, ours) = (wish(&media), offered.direction);
        let wish = Direction::new(
            said.sends() || (!ours.receives() && last.sends()),
            said.receives() || (!ours.sends() && last.receives()),
        );
        self.said = Some((kinds(&media), wish));
        self.remote = Some(RemoteVideo { media, is_offer: false, wish });
    }

    /// Fills in formats, feedback and direction of an offer.
    pub(super) fn offer(
        &mut self,
        peer: &VideoView,
        is_webrtc: bool,
        taken: &[u8],
        to: &mut Media,
    ) {
        self.numbers.offer(&peer.formats, is_webrtc, taken);
        self.numbers.write(to);
        to.direction = peer.direction;
        to.bandwidth = peer.bandwidth;
        if is_webrtc {
            let numbers = self.numbers.local.iter().map(|entry| entry.pt);
            let kinds = |pt| BROWSER_FEEDBACK.iter().map(move |k| (Some(pt), (*k).to_owned()));
            to.feedback = numbers.flat_map(kinds).collect();
            let before = self.remote.as_ref().map(|r| &r.media);
            let id = |(default, name): (u8, &str)| {
                let id = before.and_then(|m| m.extension(name)).unwrap_or(default);
                (id, name.to_owned())
            };
            to.extensions = OFFERED_EXTENSIONS.into_iter().map(id).collect();
        } else {
            // Interop: baresip and Linphone take feedback under RTP/AVP; who does not know it
            // passes over it (RFC 8866 §5.13).
            to.feedback = PHONE_FEEDBACK.iter().map(|k| (None, (*k).to_owned())).collect();
        }
    }

    /// Fills in an answer; false when there is nothing in common.
    pub(super) fn answer(&mut self, peer: Option<&VideoView>, to: &mut Media) -> bool {
        let (Some(peer), Some(remote)) = (peer, &self.remote) else {
            self.remote = None;
            return false;
        };
        self.numbers.answer(&peer.formats);
        if self.numbers.local.is_empty() {
            self.remote = None;
            return false;
        }
        self.numbers.write(to);
        to.direction = peer.direction.and(remote.wish.reversed());
        to.bandwidth = peer.bandwidth;
        to.mid.clone_from(&remote.media.mid);
        to.is_bundled = remote.media.is_bundled;
        to.rtcp_mux = remote.media.rtcp_mux;
        for entry in &self.numbers.local {
            for kind in OUR_FEEDBACK.iter().filter(|k| remote.media.has_feedback(entry.pt, k)) {
                to.feedback.push((Some(entry.pt), (*kind).to_owned()));
            }
        }
        if remote.media.is_bundled {
            let taken = remote.media.extensions.iter().filter(|(id, name)| {
                *id <= MAX_EXTENSION_ID && OFFERED_EXTENSIONS.iter().any(|(_, ours)| ours == name)
            });
            to.extensions = taken.cloned().collect();
        }
        true
    }
}

/// The section of video that we take: the one of before, else the first that will do.
fn find(session: &Session, kept: usize, terms: Terms) -> Option<(usize, Media)> {
    let audio = session.sections().get(terms.audio);
    // On one transport a number has one meaning (RFC 8843 §10.1.2).
    let is_apart = |media: &Media| {
        let sound = audio.map_or(&[][..], |a| &a.formats);
        terms.security != Security::Dtls || !media.formats.iter().any(|f| sound.contains(f))
    };
    let usable = |(index, media): &(usize, &Media)| {
        *index != terms.audio
            && is_apart(media)
            && media.is_video()
            && !media.is_rejected()
            && security::is_known_protocol(media)
            && !known(media).is_empty()
            && match (Security::offered(media, terms.profile), terms.security) {
                // One transport carries all that a browser sends: a second one is not taken.
                (Ok(Security::Dtls), Security::Dtls) => media.is_bundled && media.mid.is_some(),
                (Ok(Security::Sdes { .. }), Security::Sdes { .. })
                | (Ok(Security::Plain), Security::Plain) => true,
                _ => false,
            }
    };
    let sections = || session.sections().iter().enumerate();
    let kept = sections().nth(kept).filter(usable);
    let found = kept.or_else(|| sections().find(usable));
    found.map(|(index, media)| (index, media.clone()))
}

fn wish(media: &Media) -> Direction {
    Direction::new(media.direction.sends(), !media.is_held())
}

fn kinds(media: &Media) -> Vec<VideoKind> {
    known(media).into_iter().map(|entry| entry.format.kind).collect()
}

/// A format and its numbers.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) format: VideoFormat,
    pub(super) pt: u8,
    /// Of what repeats it (RFC 4588).
    pub(super) repair: Option<u8>,
}

/// The formats of a section that we pass on, each once, in its order.
fn known(media: &Media) -> Vec<Entry> {
    let mut out: Vec<Entry> = Vec::new();
    for codec in &media.codecs {
        let Some(format) = VideoFormat::from_description(codec) else { continue };
        if out.len() == MAX_FORMATS || out.iter().any(|e| e.format.kind == format.kind) {
            continue;
        }
        let repairs = |c: &&crosspoint_sdp::Codec| c.is("rtx", 90_000) && apt(c) == Some(codec.pt);
        let repair = media.codecs.iter().find(repairs).map(|c| c.pt);
        out.push(Entry { format, pt: codec.pt, repair });
    }
    out
}

/// The payload type that repairs are for (RFC 4588 §8.1).
fn apt(codec: &crosspoint_sdp::Codec) -> Option<u8> {
    let mut parameters = codec.fmtp.as_deref()?.split(';');
    parameters.find_map(|p| p.trim().strip_prefix("apt=")?.trim().parse().ok())
}

/// The payload types of a leg's video. A number once used for a format stays with it
/// (RFC 3264 §8.3.2).
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    /// Ours, as offered or copied from the peer's offer.
    pub(super) local: Vec<Entry>,
    /// The peer's.
    pub(super) remote: Vec<Entry>,
    bound: BTreeMap<u8, Bound>,
}

/// What a number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Format(VideoKind),
    Repair(u8),
    Foreign,
}

impl Numbers {
    /// Every number that was ever used.
    pub(super) fn used(&self) -> impl Iterator<Item = u8> + '_ {
        self.bound.keys().copied()
    }

    /// What may arrive: our numbers of what both have, and the peer's own where we gave those no
    /// meaning. Interop: some phones send with the number of their answer instead of the offer's.
    pub(super) fn receiving(&self) -> impl Iterator<Item = &Entry> {
        let is_taken =
            |e: &&Entry| self.remote.iter().any(|r| r.format.kind.is_like(e.format.kind));
        let taken = self.local.iter().filter(is_taken);
        let is_ours = |pt: u8| taken.clone().any(|e| e.pt == pt || e.repair == Some(pt));
        let theirs: Vec<&Entry> = self.remote.iter().filter(|e| !is_ours(e.pt)).collect();
        taken.chain(theirs)
    }

    fn agree(&mut self, media: &Media, is_offer: bool) {
        let mut remote = known(media);
        if !is_offer {
            for entry in &mut remote {
                entry.format.kind = self.taken_up(entry.format.kind);
            }
            remote.retain(|e| self.local.iter().any(|l| l.format.kind == e.format.kind));
        }
        for pt in media.formats.iter().filter_map(|f| f.parse().ok()).filter(|pt: &u8| *pt < 128) {
            let bound = remote.iter().find_map(|e| match pt {
                _ if e.pt == pt => Some(Bound::Format(e.format.kind)),
                _ if e.repair == Some(pt) => Some(Bound::Repair(e.pt)),
                _ => None,
            });
            let bound = bound.unwrap_or(Bound::Foreign);
            let entry = self.bound.entry(pt).or_insert(bound);
            if is_offer {
                *entry = bound;
            }
        }
        self.remote = remote;
    }

    /// The format of our offer that an answer means. Interop: baresip and some desk phones
    /// answer every Baseline, constrained or not, with the one that they write themselves.
    fn taken_up(&self, kind: VideoKind) -> VideoKind {
        let is_offered = self.local.iter().any(|e| e.format.kind == kind);
        let like = self.local.iter().map(|e| e.format.kind).find(|k| k.is_like(kind));
        if is_offered { kind } else { like.unwrap_or(kind) }
    }

    fn offer(&mut self, wanted: &[VideoFormat], has_repairs: bool, taken: &[u8]) {
        let mut local = Vec::with_capacity(wanted.len());
        for format in wanted.iter().take(MAX_FORMATS) {
            let bound = Bound::Format(format.kind);
            let known = self.local.iter().chain(&self.remote);
            let before = known.clone().find(|e| e.format.kind == format.kind).map(|e| e.pt);
            let Some(pt) = self.number(bound, before, taken) else { break };
            let repair = has_repairs.then(|| self.number(Bound::Repair(pt), None, taken)).flatten();
            local.push(Entry { format: format.clone(), pt, repair });
        }
        self.local = local;
    }

    /// What both legs have, in the order of the other one, by the peer's numbers.
    fn answer(&mut self, wanted: &[VideoFormat]) {
        let entry = |format: &VideoFormat| {
            let is_same = |e: &&Entry| e.format.kind == format.kind;
            let theirs = self
                .remote
                .iter()
                .find(is_same)
                .or_else(|| self.remote.iter().find(|e| e.format.kind.is_like(format.kind)))?;
            let format = VideoFormat { kind: theirs.format.kind, ..format.clone() };
            Some(Entry { format, pt: theirs.pt, repair: theirs.repair })
        };
        let mut local: Vec<Entry> = Vec::new();
        for entry in wanted.iter().filter_map(entry) {
            if !local.iter().any(|e| e.pt == entry.pt) {
                local.push(entry);
            }
        }
        self.local = local;
    }

    /// The number of a format: the one it has, else a free one.
    fn number(&mut self, bound: Bound, before: Option<u8>, taken: &[u8]) -> Option<u8> {
        let may_be =
            |pt: &u8| !taken.contains(pt) && self.bound.get(pt).is_none_or(|b| *b == bound);
        let known = self.bound.iter().find(|(_, b)| **b == bound).map(|(pt, _)| *pt);
        // RFC 5761 §4: 64–95 would be mistaken for RTCP.
        let is_free = |pt: &u8| !taken.contains(pt) && !self.bound.contains_key(pt);
        let pt = before.filter(may_be).or(known.filter(may_be));
        let pt = pt.or_else(|| (96..=127).chain(35..=63).find(is_free))?;
        self.bound.insert(pt, bound);
        Some(pt)
    }

    fn write(&self, to: &mut Media) {
        let codec = |pt: u8, name: &str, fmtp: Option<String>| crosspoint_sdp::Codec {
            pt,
            name: name.to_owned(),
            clock_rate: 90_000,
            channels: 1,
            fmtp,
        };
        for entry in &self.local {
            let (name, fmtp) = (entry.format.kind.name(), entry.format.parameters.clone());
            to.codecs.push(codec(entry.pt, name, fmtp));
            if let Some(repair) = entry.repair {
                to.codecs.push(codec(repair, "rtx", Some(format!("apt={}", entry.pt))));
            }
        }
        to.formats = to.codecs.iter().map(|c| c.pt.to_string()).collect();
    }
}

/// What we do for a browser.
const BROWSER_FEEDBACK: [&str; 5] = ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"];
const PHONE_FEEDBACK: [&str; 4] = ["nack", "nack pli", "ccm fir", "ccm tmmbr"];
/// What we take up when it is offered.
const OUR_FEEDBACK: [&str; 6] =
    ["goog-remb", "transport-cc", "ccm fir", "ccm tmmbr", "nack", "nack pli"];

pub(super) const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
pub(super) const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
pub(super) const TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const OFFERED_EXTENSIONS: [(u8, &str); 3] = [(2, ABS_SEND_TIME), (3, TRANSPORT_CC), (4, MID)];
/// What a header extension of one byte can name (RFC 8285 §4.2).
pub(super) const MAX_EXTENSION_ID: u8 = 14;
/// A browser offers six kinds of H.264 and VP8.
const MAX_FORMATS: usize = 8;
