//! Packets of a batch that need no thought: from a source that is known for good, on a leg that
//! has its keys. Their ciphers work on all of them together.
//!
//! Everything else - checks, handshakes, reports, sources that must prove themselves - is taken
//! one by one, in its turn: what came before it is finished first. So a batch does exactly what
//! its packets would do one after the other.

use std::net::SocketAddr;
use std::time::Instant;

use super::leg::Leg;
use super::legs::Place;
use super::links::Remote;
use super::packets::Kind;
use super::{BATCH, Forward, Frame, Shard, SocketId};
use crate::codec::Codec;
use crate::rtp;
use crate::srtp::{self, Opening, Protecting, Unprotecting, Unsigned};

/// What the packet path asks of a leg with every packet: worked out from all the rest, and again
/// after anything but the packet path has touched the leg ([`Legs::get_mut`]).
///
/// [`Legs::get_mut`]: super::legs::Legs::get_mut
#[derive(Debug, Default)]
pub(super) struct Fast {
    is_fresh: bool,
    takes: Takes,
    /// What it is sent now, if anything.
    pub(super) speaks: Option<(Codec, u8)>,
    /// Something lies over what it hears.
    pub(super) is_overlaid: bool,
    /// What it is sent is translated.
    pub(super) is_fed: bool,
    /// Of what is sent.
    pub(super) clock: u32,
    pub(super) to: Option<(SocketId, SocketAddr)>,
    pub(super) peer: Option<Place>,
    /// What the payload type was that came last.
    pub(super) kind: Option<(u8, Kind)>,
}

/// Whose packets need no thought.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Takes {
    #[default]
    Nobodys,
    /// Those of a browser, whose address is known to be its own.
    Browsers,
    From(SocketAddr),
}

impl Fast {
    pub(super) fn forget(&mut self) {
        self.is_fresh = false;
    }
}

impl Leg {
    /// Must be asked before [`Leg::fast`] is read.
    pub(super) fn freshen(&mut self) {
        if self.fast.is_fresh {
            return;
        }
        let send = self.stream.as_ref().and_then(|s| s.send);
        let has_keys = self.crypto.is_some();
        let takes = if self.browser.is_some() {
            if has_keys { Takes::Browsers } else { Takes::Nobodys }
        } else if self.is_secure() && !has_keys {
            Takes::Nobodys
        } else {
            let source = self.stream.as_ref().and_then(|_| self.phone.settled_source());
            source.map_or(Takes::Nobodys, Takes::From)
        };
        self.fast = Fast {
            is_fresh: true,
            takes,
            speaks: send.filter(|_| self.may_send() && self.sender.is_none()),
            is_overlaid: self.overlays.is_some(),
            is_fed: self.feed.is_some(),
            clock: send.map_or(8000, |(codec, _)| codec.clock_rate()),
            to: self.destination(),
            peer: None,
            kind: None,
        };
    }
}

/// A packet of a batch between its steps.
#[derive(Debug)]
pub(super) struct Passing {
    frame: usize,
    place: Place,
    /// Once its tag is off; `None` where packets have none.
    opening: Option<Result<Opening, srtp::Error>>,
}

/// A packet that goes out, but for its tag.
#[derive(Debug)]
pub(super) struct Tagless {
    pub(super) frame: usize,
    pub(super) place: Place,
    pub(super) unsigned: Unsigned,
}

impl Shard {
    pub(super) fn take_batch(
        &mut self,
        now: Instant,
        frames: &mut [Frame<'_>],
        out: &mut Vec<Forward>,
    ) {
        self.tagless.clear();
        let mut run = std::mem::take(&mut self.run);
        run.clear();
        self.fetch(frames);
        for index in 0..frames.len() {
            let Some(frame) = frames.get(index).filter(|frame| frame.len > 0) else { continue };
            self.counters.packets_received += 1;
            if frame.len > frame.buffer.len() {
                continue;
            }
            if let Some(place) = self.place_of(frame) {
                run.push(Passing { frame: index, place, opening: None });
                continue;
            }
            self.pass(now, &mut run, frames, out);
            let Some(frame) = frames.get_mut(index) else { continue };
            (self.at_frame, self.waited) = (index, frame.waited);
            let Frame { socket, source, len, .. } = *frame;
            if let Some(forward) = self.route(now, socket, source, frame.buffer, len) {
                out.push(forward);
                self.sign(frames);
            }
        }
        self.pass(now, &mut run, frames, out);
        self.run = run;
    }

    /// Has everything that the packets of a batch will need on its way into the cache, for all of
    /// them at once: each is a call that was last seen 20 ms ago. Nothing is decided here.
    fn fetch(&mut self, frames: &[Frame<'_>]) {
        if frames.len() < 2 || self.legs.len() < FEW {
            return;
        }
        for frame in frames {
            if frame.socket.is_browsers() {
                let remote = Remote { socket: frame.socket, address: frame.source };
                self.by_browser.prefetch(&remote);
            } else {
                self.by_socket.prefetch(&frame.socket);
            }
        }
        let mut places = [None; BATCH];
        for (frame, place) in frames.iter().zip(&mut places) {
            *place = if frame.socket.is_browsers() {
                let remote = Remote { socket: frame.socket, address: frame.source };
                self.by_browser.find(&remote).map(|(_, place)| place)
            } else {
                self.by_socket.get(&frame.socket).map(|(_, place)| place)
            };
            if let Some(place) = *place {
                self.legs.prefetch_coming(place);
            }
        }
        for place in places.into_iter().flatten() {
            let Some((_, leg)) = self.legs.at(place) else { continue };
            if let Some(crypto) = &leg.crypto {
                crypto.inbound.prefetch_keys();
            }
            if let Some(peer) = leg.fast.peer {
                self.legs.prefetch_going(peer);
            }
        }
        for place in places.into_iter().flatten() {
            let peer = self.legs.at(place).and_then(|(_, leg)| leg.fast.peer);
            let crypto = peer.and_then(|peer| self.crypto_at(peer));
            if let Some(crypto) = crypto {
                crypto.outbound.prefetch_keys();
            }
        }
    }

    /// The leg whose packet this is, when it needs no thought.
    fn place_of(&mut self, frame: &Frame<'_>) -> Option<Place> {
        let packet = frame.buffer.get(..frame.len)?;
        let is_rtp = packet[0] >> 6 == 2 && !rtp::is_rtcp(packet);
        if !is_rtp || frame.socket.is_rtcp() && !frame.socket.is_browsers() {
            return None;
        }
        let is_browsers = frame.socket.is_browsers();
        let (id, place) = if is_browsers {
            let remote = Remote { socket: frame.socket, address: frame.source };
            self.by_browser.find(&remote)?
        } else {
            self.by_socket.get(&frame.socket)?
        };
        let (of_place, leg) = self.legs.at_mut(place)?;
        leg.freshen();
        let is_taken = match leg.fast.takes {
            Takes::Nobodys => false,
            Takes::Browsers => is_browsers,
            Takes::From(source) => !is_browsers && source == frame.source,
        };
        (is_taken && of_place == id).then_some(place)
    }

    /// Passes on what has gathered.
    fn pass(
        &mut self,
        now: Instant,
        run: &mut Vec<Passing>,
        frames: &mut [Frame<'_>],
        out: &mut Vec<Forward>,
    ) {
        for passing in run.iter_mut() {
            let Some(frame) = frames.get_mut(passing.frame) else { continue };
            let Some(crypto) = self.crypto_at(passing.place) else { continue };
            passing.opening = Some(crypto.inbound.begin(&mut frame.buffer[..frame.len]));
        }
        srtp::check(run.iter_mut().filter_map(|passing| {
            let opening = passing.opening.as_mut()?.as_mut().ok()?;
            let frame = frames.get(passing.frame)?;
            let context = &self.crypto_at(passing.place)?.inbound;
            Some(Unprotecting { context, packet: &frame.buffer[..frame.len], opening })
        }));
        for Passing { frame: index, place, opening } in run.drain(..) {
            let Some(frame) = frames.get_mut(index) else { continue };
            (self.at_frame, self.waited) = (index, frame.waited);
            let opened = self.open_at(place, &mut frame.buffer[..frame.len], opening);
            let Some(len) = self.opened(opened.map_err(Some)) else { continue };
            out.extend(self.rtp_packet(now, place, frame.buffer, len));
        }
        self.sign(frames);
    }

    fn crypto_at(&self, place: Place) -> Option<&super::leg::Crypto> {
        self.legs.at(place)?.1.crypto.as_ref()
    }

    fn open_at(
        &mut self,
        place: Place,
        packet: &mut [u8],
        opening: Option<Result<Opening, srtp::Error>>,
    ) -> Result<usize, srtp::Error> {
        let Some(opening) = opening else { return Ok(packet.len()) };
        let crypto = self.legs.at_mut(place).and_then(|(_, leg)| leg.crypto.as_mut());
        crypto.ok_or(srtp::Error::Malformed)?.inbound.finish(packet, &opening?)
    }

    /// Puts the tags on what goes out.
    fn sign(&mut self, frames: &mut [Frame<'_>]) {
        if self.tagless.is_empty() {
            return;
        }
        // Both are in the order of the frames.
        let mut tagless = self.tagless.iter().peekable();
        srtp::sign(frames.iter_mut().enumerate().filter_map(|(index, frame)| {
            let Tagless { place, unsigned, .. } = tagless.next_if(|t| t.frame == index)?;
            let context = &self.crypto_at(*place)?.outbound;
            Some(Protecting { context, buffer: &mut *frame.buffer, unsigned: *unsigned })
        }));
        self.tagless.clear();
    }
}

/// So many legs stay in the cache by themselves.
const FEW: usize = 200;
