//! One leg of a shard: its state, and how descriptions become a stream.

use std::collections::VecDeque;
use std::mem::offset_of;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use crosspoint_base::LegId;

use super::browser::Browser;
use super::dtls_alone::DtlsPeer;
use super::fast::Fast;
use super::overlay::Overlays;
use super::packets::{Outgoing, Receiving};
use super::phone::Phone;
use super::proxy::Proxy;
use super::quality::Quality;
use super::sound::{Feed, OrderedDigit};
use super::taps::Tapped;
use super::video::VideoStream;
use super::{Output, Shard, SocketId, Timer};
use crate::codec::Switches;
use crate::control::{Command, Event, LegStats, Loss, Playback, Profile, Refusal, SdpKind};
use crate::dtmf::{EventDetector, EventSender};
use crate::jitter::Counts;
use crate::negotiation::{Keys, LocalEnd, Negotiator, StreamConfig, Transport};
use crate::rtcp::ReportBlock;
use crate::srtp;

/// One side of a call. What every packet asks for comes first and lies together: for those that
/// come from it up to the middle of [`Crypto`], for those that go to it from there on.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Leg {
    pub(super) is_there: IsThere,
    pub(super) id: LegId,
    pub(super) fast: Fast,
    pub(super) peer: Option<LegId>,
    pub(super) detector: EventDetector,
    pub(super) is_connected: bool,
    pub(super) is_lost: bool,
    pub(super) taps: Tapped,
    /// Set when this leg stands for another one.
    pub(super) proxy: Option<Box<Proxy>>,
    pub(super) receiving: Receiving,
    /// Set once keys are agreed; a leg that must be secure sends and takes nothing before.
    pub(super) crypto: Option<Crypto>,
    pub(super) outgoing: Outgoing,
    pub(super) negotiator: Box<Negotiator>,
    /// `Describe` and `Accept`, answered in order once the sockets are there.
    pub(super) waiting: VecDeque<Command>,
    pub(super) is_bound: bool,
    pub(super) is_exhausted: bool,
    pub(super) bind_tries: u32,
    pub(super) socket: Option<SocketId>,
    pub(super) local_port: u16,
    pub(super) stream: Option<Box<StreamConfig>>,
    pub(super) browser: Option<Box<Browser>>,
    pub(super) phone: Phone,
    /// Of a phone that makes its keys so.
    pub(super) dtls: Option<Box<DtlsPeer>>,
    pub(super) feed: Option<Feed>,
    pub(super) playout: Playout,
    pub(super) playback: Option<Playback>,
    pub(super) sender: Option<EventSender>,
    pub(super) digits: VecDeque<OrderedDigit>,
    pub(super) quality: Quality,
    /// The peer's last word on what we send.
    pub(super) told_by_peer: Option<ReportBlock>,
    /// A report was made: we are known as a participant.
    pub(super) has_reported: bool,
    /// Once it had video, or a port for it.
    pub(super) video: Option<Box<VideoStream>>,
    pub(super) overlays: Option<Box<Overlays>>,
    /// Of what it hears.
    pub(super) switches: Switches,
    /// It was to hear us once: if it is not any more, it holds its peer.
    has_listened: bool,
}

/// Where it stands an `Option` is told from nothing: no other field has as many values that
/// it cannot have. Else the compiler chooses one, and each packet waits for the memory that it is in.
#[derive(Debug, Clone, Copy, Default)]
#[repr(u64)]
pub(super) enum IsThere {
    #[default]
    Yes = 1,
}

#[derive(Debug)]
#[repr(C)]
pub(super) struct Crypto {
    pub(super) inbound: srtp::Context,
    is_there: IsThere,
    pub(super) outbound: srtp::Context,
    secrets: Box<Secrets>,
}

/// What the keys were made from: an unchanged one keeps its context, because a counter
/// that starts again under the same key would give the cipher away.
#[derive(Debug)]
struct Secrets {
    local: (srtp::Profile, Vec<u8>),
    remote: (srtp::Profile, Vec<u8>),
}

/// What of a leg the packet path asks for, in bytes from its beginning: of any, and besides that of
/// one whose packet came and of one that it goes to.
pub(super) const HOT: usize = offset_of!(Leg, peer);
pub(super) const HOT_COMING: Range<usize> = HOT..MIDDLE + size_of::<IsThere>();
pub(super) const HOT_GOING: Range<usize> = MIDDLE..offset_of!(Leg, negotiator);
/// Both have this.
const MIDDLE: usize = offset_of!(Leg, crypto) + offset_of!(Crypto, is_there);

impl Crypto {
    pub(super) fn new(profile: srtp::Profile, local: &[u8], remote: &[u8]) -> Option<Self> {
        let split = profile.key_len();
        let (local_key, local_salt) = local.split_at_checked(split)?;
        let (remote_key, remote_salt) = remote.split_at_checked(split)?;
        Some(Self {
            inbound: srtp::Context::new(profile, remote_key, remote_salt)?,
            outbound: srtp::Context::new(profile, local_key, local_salt)?,
            is_there: IsThere::Yes,
            secrets: Box::new(Secrets {
                local: (profile, local.to_vec()),
                remote: (profile, remote.to_vec()),
            }),
        })
    }

    /// Goes over to new keys, in each direction where they are new.
    pub(super) fn renewed(
        self,
        profile: srtp::Profile,
        local: &[u8],
        remote: &[u8],
    ) -> Option<Self> {
        let mut new = Self::new(profile, local, remote)?;
        if new.secrets.local == self.secrets.local {
            new.outbound = self.outbound;
        }
        if new.secrets.remote == self.secrets.remote {
            new.inbound = self.inbound;
        }
        Some(new)
    }
}

/// What became of a leg's packets where they were translated, over all buffers that they went
/// through.
#[derive(Debug, Default)]
pub(super) struct Playout {
    feed: u64,
    before: Counts,
    now: Counts,
}

impl Playout {
    pub(super) fn note(&mut self, feed: u64, counts: Counts) {
        if self.feed != feed {
            (self.feed, self.before) = (feed, self.total());
        }
        self.now = counts;
    }

    fn total(&self) -> Counts {
        let (before, now) = (self.before, self.now);
        Counts {
            late: before.late + now.late,
            missed: before.missed + now.missed,
            dropped: before.dropped + now.dropped,
            shortened: before.shortened + now.shortened,
            concealed: before.concealed + now.concealed,
        }
    }
}

impl Leg {
    fn new(id: LegId, profile: Profile, shard: u8, rng: &mut crosspoint_base::Rng) -> Self {
        let negotiator = Box::new(Negotiator::new(profile, rng).of_shard(shard));
        let outgoing = Outgoing::new(negotiator.ssrc(), rng);
        Self {
            is_there: IsThere::Yes,
            id,
            fast: Fast::default(),
            negotiator,
            waiting: VecDeque::new(),
            is_bound: false,
            is_exhausted: false,
            bind_tries: 0,
            socket: None,
            local_port: 0,
            stream: None,
            browser: None,
            phone: Phone::default(),
            dtls: None,
            crypto: None,
            peer: None,
            outgoing,
            receiving: Receiving::default(),
            feed: None,
            playout: Playout::default(),
            playback: None,
            detector: EventDetector::default(),
            sender: None,
            digits: VecDeque::new(),
            is_connected: false,
            is_lost: false,
            quality: Quality::default(),
            told_by_peer: None,
            has_reported: false,
            proxy: None,
            taps: Tapped::default(),
            video: None,
            overlays: None,
            switches: Switches::default(),
            has_listened: false,
        }
    }

    /// Where to send, when that is known and allowed.
    pub(super) fn destination(&self) -> Option<(SocketId, SocketAddr)> {
        match &self.browser {
            // RFC 7675 §5.1: nothing more without consent.
            Some(_) if self.is_lost => None,
            Some(browser) => browser.paths.nominated().map(|to| (to.socket, to.address)),
            None => Some((self.socket?, self.phone.remote?)),
        }
    }

    /// The same for RTCP.
    pub(super) fn report_destination(&self) -> Option<(SocketId, SocketAddr)> {
        if self.browser.is_some() || self.phone.is_muxed() {
            return self.destination();
        }
        // A port of its own would need a connection of its own (RFC 5764 §4.1.2).
        if self.dtls.is_some() {
            return None;
        }
        Some((self.socket?.rtcp(), self.phone.rtcp?))
    }

    pub(super) fn is_secure(&self) -> bool {
        !matches!(self.stream.as_ref().map(|s| &s.keys), None | Some(Keys::None))
    }

    /// A held phone may be silent.
    pub(super) fn expects_media(&self) -> bool {
        self.stream.as_ref().is_some_and(|s| s.direction.receives())
    }

    /// The party does not want to hear the other for now.
    pub(super) fn holds(&self) -> bool {
        self.has_listened
            && self.stream.as_ref().is_some_and(|s| s.has_sound && !s.direction.sends())
    }

    pub(super) fn may_send(&self) -> bool {
        self.stream.as_ref().is_some_and(|s| s.direction.sends())
            && (!self.is_secure() || self.crypto.is_some())
    }

    /// Whether it will send once the keys are made.
    pub(super) fn waits_for_keys(&self) -> bool {
        self.stream.as_ref().is_some_and(|s| s.direction.sends())
            && self.is_secure()
            && self.crypto.is_none()
    }

    /// Whether a report could go out now.
    pub(super) fn can_report(&self) -> bool {
        self.stream.is_some()
            && (!self.is_secure() || self.crypto.is_some())
            && self.report_destination().is_some()
    }

    /// How many things this leg keeps.
    pub(super) fn held(&self) -> usize {
        let browser = self.browser.as_ref().map_or(0, |b| b.held());
        let sources = self.crypto.as_ref().map_or(0, |c| c.inbound.sources());
        let queues = self.waiting.len() + self.digits.len();
        let video = self.video.as_ref().map_or(0, |v| v.held());
        let listeners = self.proxy.as_ref().map_or(0, |proxy| proxy.listeners.len());
        let browser = browser + self.dtls.as_ref().map_or(0, |dtls| dtls.held());
        1 + browser + sources + queues + self.phone.held() + video + listeners
    }

    pub(super) fn stats(&self) -> LegStats {
        let codec = self.stream.as_ref().and_then(|s| s.send).map(|(codec, _)| codec);
        let lost_at_peer = self.at_peer().map(|told| told.packets_lost);
        let video = self.video.as_ref().and_then(|v| v.stats());
        let stats = self.receiving.stats(&self.outgoing);
        let counts = self.playout.total();
        self.quality.complete(LegStats {
            codec,
            lost_at_peer,
            video,
            packets_late: counts.late,
            packets_discarded: counts.dropped,
            packets_concealed: counts.concealed,
            ..stats
        })
    }
}

impl Shard {
    pub(super) fn open(&mut self, id: LegId, profile: Profile) {
        if self.legs.len() >= self.config.max_legs {
            // `Describe` and `Accept` find no leg and are refused.
            return;
        }
        let mut leg = Leg::new(id, profile, self.number, &mut self.rng);
        leg.taps = self.taps.of_new_leg();
        self.legs.insert(leg);
    }

    /// Answers what waits, in order, as far as it can be answered now.
    pub(super) fn work_off(&mut self, now: Instant, id: LegId) {
        loop {
            let Some(leg) = self.legs.get_mut(&id) else { return };
            let Some(command) = leg.waiting.pop_front() else {
                // Its memory is given back: a call rarely has more to agree on.
                leg.waiting = VecDeque::new();
                return;
            };
            match command {
                Command::Accept { kind, description, .. } => {
                    let outcome = leg.negotiator.accept(kind, &description);
                    let event = match outcome {
                        Ok(accepted) => Event::Accepted { leg: id, accepted },
                        Err(refusal) => Event::Refused { leg: id, refusal },
                    };
                    // Events first: what the stream causes comes after the answer.
                    let accepted = outcome.is_ok();
                    self.event(event);
                    if accepted {
                        if kind == SdpKind::Answer {
                            self.name_browser(now, id);
                        }
                        self.apply(now, id);
                    }
                }
                Command::Describe { kind, peer, .. } => {
                    let is_ready = leg.is_exhausted
                        || leg.negotiator.is_webrtc()
                        || (leg.is_bound
                            && !self.awaits_video_port(id, kind, peer)
                            && !self.awaits_raw_ports(now, id, peer));
                    let Some(leg) = self.legs.get_mut(&id) else { return };
                    if leg.is_exhausted {
                        self.event(Event::Refused { leg: id, refusal: Refusal::Exhausted });
                    } else if is_ready {
                        self.describe(now, id, kind, peer);
                    } else {
                        let needs_socket = leg.socket.is_none();
                        leg.waiting.push_front(Command::Describe { leg: id, kind, peer });
                        if needs_socket {
                            self.bind_new(id);
                        }
                        return;
                    }
                }
                // Nothing else is put there.
                _ => {}
            }
        }
    }

    fn describe(&mut self, now: Instant, id: LegId, kind: SdpKind, peer: Option<LegId>) {
        let view = peer.and_then(|p| self.legs.get(&p)).map(|p| p.negotiator.view());
        let Some(end) = self.local_end(id) else { return };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        match leg.negotiator.describe(kind, view.as_ref(), &end) {
            Ok(description) => {
                // A restart that we offer counts from the answer on: it may be refused.
                if kind == SdpKind::Answer || leg.browser.is_none() {
                    self.name_browser(now, id);
                }
                self.event(Event::Described { leg: id, description });
                if kind == SdpKind::Answer {
                    self.apply(now, id);
                }
            }
            Err(refusal) => self.event(Event::Refused { leg: id, refusal }),
        }
    }

    /// The browser's checks name our username fragment: the one of our last description.
    fn name_browser(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get(&id) else { return };
        if leg.negotiator.is_webrtc() {
            let ufrag = leg.negotiator.ice_credentials().ufrag.clone();
            self.by_ufrag.insert(ufrag, id);
            self.start_browser(now, id);
        }
    }

    fn local_end(&self, id: LegId) -> Option<LocalEnd> {
        let leg = self.legs.get(&id)?;
        let place = leg.place();
        let ours = place.map_or(self.config.rtp_address, |place| place.address);
        let at = |port| SocketAddr::new(ours, port);
        let browsers = &self.config.browser_addresses;
        let placed = place.and_then(|p| Some(SocketAddr::new(p.address, browsers.first()?.port())));
        let (udp, tcp) = match &placed {
            Some(address) => (std::slice::from_ref(address), &[][..]),
            None => (browsers.as_slice(), self.config.browser_tcp_addresses.as_slice()),
        };
        let is_webrtc = leg.negotiator.is_webrtc();
        let (address, video) = if is_webrtc {
            let address = *udp.first()?;
            (address, Some(address))
        } else {
            (at(leg.local_port), leg.video_port().map(at))
        };
        Some(LocalEnd {
            address,
            video,
            passed: self.raw_ports(id).map(|(kind, port)| (kind, at(port))).collect(),
            candidates: if is_webrtc { super::browser::candidates(udp, tcp) } else { vec![] },
            ice_lite: self.config.ice_lite,
            fingerprint: self.fingerprint.clone(),
        })
    }

    fn bind_new(&mut self, id: LegId) {
        self.next_socket += 2;
        let socket = SocketId(self.next_socket);
        if let Some(place) = self.legs.place(id) {
            self.by_socket.insert(socket, (id, place));
        }
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.socket = Some(socket);
        }
        self.bind(id, socket);
    }

    /// Asks for the next pair of ports of the range.
    pub(super) fn bind(&mut self, id: LegId, socket: SocketId) {
        let port = self.take_port();
        let mut bind = self.config.rtp_bind;
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.local_port = port;
            bind = leg.place().map_or(bind, |place| place.bind);
        }
        let address = SocketAddr::new(bind, port);
        self.outputs.push_back(Output::Bind { socket, address });
    }

    /// The next even port of the range.
    pub(super) fn take_port(&mut self) -> u16 {
        let (first, last) = self.config.rtp_ports;
        let port = self.next_port;
        let next = port.checked_add(2).filter(|p| *p < last);
        self.next_port = next.unwrap_or(first.next_multiple_of(2));
        port
    }

    /// Takes over what was agreed, once both descriptions are known.
    fn apply(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(stream) = leg.negotiator.stream() else { return };
        if let Keys::Sdes { profile, local, remote } = &stream.keys {
            leg.crypto = match leg.crypto.take() {
                Some(crypto) => crypto.renewed(*profile, local, remote),
                None => Crypto::new(*profile, local, remote),
            };
        } else if matches!(stream.keys, Keys::None) {
            leg.crypto = None;
        }
        if let Transport::Rtp { remote, rtcp, .. } = stream.transport {
            leg.phone.describe(now, remote, rtcp);
        }
        self.tell_source(id);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let expected = leg.expects_media();
        let is_new = leg.stream.is_none();
        leg.has_listened |= stream.direction.sends();
        leg.stream = Some(Box::new(stream));
        if !expected {
            // Silence counts from here.
            leg.receiving.last_packet = Some(now);
        }
        if is_new {
            self.timers.set((id, Timer::Watch), now + WATCH);
            self.first_report(now, id);
        }
        self.update_browser(now, id);
        self.apply_dtls(now, id);
        // A codec may have changed on either side of the bridge.
        let peer = self.legs.get(&id).and_then(|l| l.peer);
        if let Some(peer) = peer {
            self.join(now, id, peer);
            self.join(now, peer, id);
        }
        self.resume_playback(now, id);
        self.apply_video(now, id);
        self.apply_raw(now, id);
        self.renew_listening(id);
        self.settle_music(now, id);
        if let Some(peer) = peer {
            self.settle_music(now, peer);
        }
        // Both descriptions have been read, and may now be kept for an hour.
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.negotiator.condense();
        }
    }

    /// Once a second.
    pub(super) fn watch_due(&mut self, now: Instant, id: LegId) {
        self.observe(now, id);
        let timeout = (self.config.rtp_timeout, self.config.consent_timeout);
        let Some(leg) = self.legs.get(&id) else { return };
        let since = |then: Option<Instant>| {
            then.map_or(Duration::ZERO, |t| now.saturating_duration_since(t))
        };
        let (is_lost, loss) = match &leg.browser {
            // Before ICE is up the call's own set-up timer counts.
            Some(browser) => (
                browser.end.is_up && since(browser.paths.last_check()) >= timeout.1,
                Loss::ConsentExpired,
            ),
            None => {
                (leg.expects_media() && since(leg.receiving.last_packet) >= timeout.0, Loss::Silent)
            }
        };
        if is_lost || self.has_lost_fax(now, id) {
            self.lost(id, loss);
        }
    }

    /// Tells once that a leg's media is gone.
    pub(super) fn lost(&mut self, id: LegId, loss: Loss) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if !std::mem::replace(&mut leg.is_lost, true) {
            self.event(Event::Lost { leg: id, loss });
        }
    }
}

/// A second after it was due, so that legs that were late together are not due together from then on:
/// the packets of all would wait for thousands of them.
pub(super) fn next_watch(now: Instant, due: Instant) -> Instant {
    let next = due + WATCH;
    if next > now { next } else { now + WATCH }
}

pub(super) const WATCH: Duration = Duration::from_secs(1);

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test needs some moment to begin at")]
mod tests {
    use super::*;

    #[test]
    fn legs_that_were_late_together_are_not_due_together() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!([0, 1, 30].map(|due| next_watch(at(40), at(due))), [1000, 1001, 1030].map(at));
        assert_eq!(next_watch(at(3000), at(0)), at(4000), "what was missed is not made up for");
    }
}
