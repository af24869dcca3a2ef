//! A phone's video: sockets of its own beside those of the sound.

use std::net::SocketAddr;
use std::time::Instant;

use crosspoint_base::LegId;

use crate::control::SdpKind;
use crate::rtp::Header;
use crate::shard::leg::Leg;
use crate::shard::phone::{Arrival, Door, Sent};
use crate::shard::{Forward, Output, Shard, SocketId};

use super::VideoStream;

#[derive(Debug, Default)]
pub(in crate::shard) struct Port {
    pub(in crate::shard) socket: Option<SocketId>,
    pub(in crate::shard) number: u16,
    is_bound: bool,
    is_exhausted: bool,
    tries: u32,
}

impl Leg {
    /// Where pictures go, when that is known and allowed.
    pub(in crate::shard) fn video_destination(&self) -> Option<(SocketId, SocketAddr)> {
        if self.browser.is_some() {
            return self.destination();
        }
        let video = self.video.as_ref()?;
        Some((video.port.socket?, video.phone.remote?))
    }

    pub(in crate::shard) fn video_report_destination(&self) -> Option<(SocketId, SocketAddr)> {
        if self.browser.is_some() {
            return self.destination();
        }
        let video = self.video.as_ref()?;
        if video.phone.is_muxed() {
            return self.video_destination();
        }
        Some((video.port.socket?.rtcp(), video.phone.rtcp?))
    }

    pub(in crate::shard) fn video_socket(&self) -> Option<SocketId> {
        self.video.as_ref()?.port.socket
    }

    /// The port of video for our description.
    pub(in crate::shard) fn video_port(&self) -> Option<u16> {
        self.video.as_ref().filter(|v| v.port.is_bound).map(|v| v.port.number)
    }
}

impl Shard {
    /// Asks for a port for video where the next description needs one; true while it is not
    /// known whether there is one.
    pub(in crate::shard) fn awaits_video_port(
        &mut self,
        id: LegId,
        kind: SdpKind,
        peer: Option<LegId>,
    ) -> bool {
        let view = peer.and_then(|p| self.legs.get(&p)).map(|p| p.negotiator.view());
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        if leg.negotiator.is_webrtc() || !leg.negotiator.wants_video(kind, view.as_ref()) {
            return false;
        }
        if leg.video.is_none() {
            let video = VideoStream::new(leg, &mut self.rng);
            leg.video = Some(Box::new(video));
        }
        let Some(video) = &mut leg.video else { return false };
        if video.port.is_bound || video.port.is_exhausted {
            return false;
        }
        if video.port.socket.is_none() {
            self.next_socket += 2;
            let socket = SocketId(self.next_socket);
            video.port.socket = Some(socket);
            self.video_sockets.insert(socket, id);
            self.bind_video(id, socket);
        }
        true
    }

    fn bind_video(&mut self, id: LegId, socket: SocketId) {
        let port = self.take_port();
        let mut bind = self.config.rtp_bind;
        if let Some(leg) = self.legs.get_mut(&id) {
            bind = leg.place().map_or(bind, |place| place.bind);
            if let Some(video) = &mut leg.video {
                video.port.number = port;
            }
        }
        let address = SocketAddr::new(bind, port);
        self.outputs.push_back(Output::Bind { socket, address });
    }

    pub(in crate::shard) fn video_bound(
        &mut self,
        now: Instant,
        id: LegId,
        socket: SocketId,
        bound: bool,
    ) {
        let Some(video) = self.legs.get_mut(&id).and_then(|leg| leg.video.as_mut()) else { return };
        video.port.is_bound = bound;
        video.port.tries += 1;
        if !bound && video.port.tries < crate::shard::MAX_BIND_TRIES {
            self.bind_video(id, socket);
            return;
        }
        // Without a port the call goes on with sound.
        video.port.is_exhausted = !bound;
        self.work_off(now, id);
    }

    /// A datagram on the sockets of a phone's video.
    pub(in crate::shard) fn phone_video(
        &mut self,
        now: Instant,
        id: LegId,
        on_rtcp: bool,
        source: SocketAddr,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        let leg = self.legs.get_mut(&id)?;
        let video = &mut **leg.video.as_mut()?;
        let is_secure = video.is_secure();
        let Some(config) = &video.config else {
            self.counters.dropped_not_ready += 1;
            return None;
        };
        let door = Door {
            phone: &mut video.phone,
            crypto: video.crypto.as_ref(),
            is_secure,
            sends: config.direction.sends(),
            knows: &|pt| config.received(pt).is_some(),
        };
        let arrival = Arrival { source, on_rtcp };
        let sent = self.counters.let_in(now, door, arrival, &buffer[..len])?;
        let plain = match &mut video.crypto {
            Some(crypto) if sent == Sent::Rtcp => {
                crypto.inbound.unprotect_rtcp(&mut buffer[..len]).map_err(Some)
            }
            Some(crypto) => crypto.inbound.unprotect_rtp(&mut buffer[..len]).map_err(Some),
            None if is_secure => Err(None),
            None => Ok(len),
        };
        let len = self.opened(plain)?;
        if sent == Sent::Rtcp {
            let compound = crate::rtcp::Compound::parse(&buffer[..len]);
            self.take_video_report(now, id, &compound);
            return None;
        }
        let Some(header) = Header::parse(&buffer[..len]) else {
            self.counters.dropped_malformed += 1;
            return None;
        };
        self.video_packet(now, id, &header, buffer, len)
    }
}
