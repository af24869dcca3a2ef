//! The browser's side, played by str0m: an implementation of WebRTC that is not ours.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::bwe::BweKind;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::FormatParams;
use str0m::media::{Direction, Frequency, KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::rtcp::Rtcp;
use str0m::rtp::{RawPacket, RtpWrite};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};

use crosspoint_media::codec::Codec;

use crate::sound::{Heard, Voice};
use crate::video::PICTURE;
use crate::world::Datagram;

/// The numbers of its digits, beside Opus and beside PCMU.
pub(crate) const EVENT_48: u8 = 110;
pub(crate) const EVENT_8: u8 = 126;

pub(crate) struct Browser {
    pub(crate) rtc: Rtc,
    /// Where it believes to be.
    home: SocketAddr,
    /// Where it sends from; it may move.
    pub(crate) address: SocketAddr,
    /// How its packets travel.
    protocol: Protocol,
    /// Its network cable is out.
    pub(crate) is_cut: bool,
    pub(crate) heard: Vec<Heard>,
    pub(crate) reports: Vec<Rtcp>,
    pub(crate) ice: IceConnectionState,
    pub(crate) is_connected: bool,
    pub(crate) error: Option<String>,
    pub(crate) voice: Option<Voice>,
    gateway_ufrag: String,
    pub(crate) gateway_password: String,
    /// The gateway's last description.
    pub(crate) told: String,
    mid: Option<Mid>,
    /// Of its camera.
    pub(crate) camera: Option<Mid>,
    pub(crate) seen: Vec<Heard>,
    /// What it takes the way to us to carry, in bit/s, where it estimates that.
    pub(crate) estimate: Option<u64>,
    /// How often it was asked for a whole picture.
    pub(crate) key_frames_asked: u32,
    picture: (u64, u32),
    pending: Option<SdpPendingOffer>,
    /// An offer that was not asked for yet.
    prepared: Option<String>,
    seq: u64,
    timestamp: u32,
    next_word: Option<Instant>,
    sent: Vec<Datagram>,
}

impl Browser {
    pub(crate) fn new(now: Instant, address: SocketAddr, codec: Codec) -> Self {
        Self::with(now, address, codec, |config| config)
    }

    pub(crate) fn with(
        now: Instant,
        address: SocketAddr,
        codec: Codec,
        change: impl FnOnce(RtcConfig) -> RtcConfig,
    ) -> Self {
        Self::over(Protocol::Udp, now, address, codec, change)
    }

    fn over(
        protocol: Protocol,
        now: Instant,
        address: SocketAddr,
        codec: Codec,
        change: impl FnOnce(RtcConfig) -> RtcConfig,
    ) -> Self {
        let config = Rtc::builder()
            .set_crypto_provider(std::sync::Arc::new(str0m::crypto::from_feature_flags()))
            .clear_codecs()
            .enable_opus(codec == Codec::Opus, false)
            .enable_pcmu(codec == Codec::Pcmu, false)
            .set_rtp_mode(true)
            .enable_raw_packets(true);
        let mut config = change(config);
        for (pt, rate) in [(EVENT_48, Frequency::FORTY_EIGHT_KHZ), (EVENT_8, Frequency::EIGHT_KHZ)]
        {
            let events = FormatParams::parse_line("0-15");
            let tele = str0m::format::Codec::Tele;
            config.codec_config().add_config(pt.into(), None, tele, rate, None, events);
        }
        let mut rtc = config.build(now);
        rtc.add_local_candidate(candidate(protocol, address));
        let mut browser = Self {
            rtc,
            home: address,
            address,
            protocol,
            is_cut: false,
            heard: vec![],
            reports: vec![],
            ice: IceConnectionState::New,
            is_connected: false,
            error: None,
            voice: None,
            gateway_ufrag: String::new(),
            gateway_password: String::new(),
            told: String::new(),
            mid: None,
            camera: None,
            seen: vec![],
            estimate: None,
            key_frames_asked: 0,
            picture: (65_500, 4_000_000_000),
            pending: None,
            prepared: None,
            seq: 7000,
            timestamp: 1_000_000,
            next_word: None,
            sent: vec![],
        };
        browser.drain();
        browser
    }

    /// One whose network lets out nothing but connections (RFC 6544): it is the active side.
    pub(crate) fn over_tcp(now: Instant, address: SocketAddr, codec: Codec) -> Self {
        Self::over(Protocol::Tcp, now, address, codec, |config| config)
    }

    pub(crate) fn lives_at(&self, address: SocketAddr) -> bool {
        self.address == address
    }

    pub(crate) fn take_sent(&mut self) -> Vec<Datagram> {
        std::mem::take(&mut self.sent)
    }

    pub(crate) fn offer(&mut self) -> String {
        if let Some(prepared) = self.prepared.take() {
            return prepared;
        }
        let mut api = self.rtc.sdp_api();
        if self.mid.is_none() {
            self.mid = Some(api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None));
        }
        let (offer, pending) = api.apply().expect("something to offer");
        self.pending = Some(pending);
        self.drain();
        offer.to_sdp_string()
    }

    /// Switches the camera on; the next offer says so.
    pub(crate) fn add_camera(&mut self) {
        self.offer_with(|api| {
            api.add_media(MediaKind::Video, Direction::SendRecv, None, None, None)
        });
    }

    fn offer_with(&mut self, change: impl FnOnce(&mut str0m::change::SdpApi<'_>) -> Mid) {
        let mut api = self.rtc.sdp_api();
        if self.mid.is_none() {
            self.mid = Some(api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None));
        }
        self.camera = Some(change(&mut api));
        let (offer, pending) = api.apply().expect("something to offer");
        self.pending = Some(pending);
        self.prepared = Some(offer.to_sdp_string());
        self.drain();
    }

    /// Offers again with new ICE credentials.
    pub(crate) fn offer_restart(&mut self) -> String {
        let mut api = self.rtc.sdp_api();
        api.ice_restart(true);
        let (offer, pending) = api.apply().expect("something to offer");
        self.pending = Some(pending);
        self.drain();
        offer.to_sdp_string()
    }

    pub(crate) fn take_answer(&mut self, answer: &str) {
        answer.clone_into(&mut self.told);
        self.gateway_ufrag = line(answer, "a=ice-ufrag:");
        self.gateway_password = line(answer, "a=ice-pwd:");
        let answer = SdpAnswer::from_sdp_string(answer).expect("an answer that can be read");
        let pending = self.pending.take().expect("an offer before the answer");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("an answer that fits");
        self.drain();
    }

    pub(crate) fn answer(&mut self, offer: &str) -> String {
        self.gateway_ufrag = line(offer, "a=ice-ufrag:");
        self.gateway_password = line(offer, "a=ice-pwd:");
        let offer = SdpOffer::from_sdp_string(offer).expect("an offer that can be read");
        let answer = self.rtc.sdp_api().accept_offer(offer).expect("an offer that can be taken");
        self.drain();
        answer.to_sdp_string()
    }

    /// The name on its checks: the other side's, then its own.
    pub(crate) fn username(&mut self) -> String {
        let api = self.rtc.direct_api();
        let own = api.local_ice_credentials().ufrag;
        format!("{}:{own}", self.gateway_ufrag)
    }

    /// Takes a new address, as a NAT or a network change gives one. The browser itself does not
    /// know: its packets come from there, and what is sent there reaches it.
    pub(crate) fn move_behind(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// Closes its end, as a page does that is left.
    pub(crate) fn hang_up(&mut self) {
        self.rtc.close().expect("a connection to close");
        self.drain();
        self.voice = None;
    }

    /// Leaves numbers out, as loss does.
    pub(crate) fn skip(&mut self, numbers: u16) {
        self.seq += u64::from(numbers);
        self.timestamp = self.timestamp.wrapping_add(u32::from(numbers) * 160);
    }

    /// A packet that got lost before anybody saw it.
    pub(crate) fn skip_number(&mut self) {
        self.seq += 1;
    }

    pub(crate) fn skip_time(&mut self, ticks: u32) {
        self.timestamp = self.timestamp.wrapping_add(ticks);
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        self.handle(Input::Timeout(now));
        let Some(voice) = &mut self.voice else {
            self.next_word = None;
            return;
        };
        let due = *self.next_word.get_or_insert(now);
        if now < due {
            return;
        }
        self.next_word = Some(due + Duration::from_millis(20));
        let payload = voice.next();
        let ticks = voice.ticks();
        let codec = match voice.codec {
            Codec::Opus => str0m::format::Codec::Opus,
            _ => str0m::format::Codec::PCMU,
        };
        let pt = self.rtc.codec_config().find(|p| p.spec().codec == codec).expect("a codec").pt();
        self.timestamp = self.timestamp.wrapping_add(ticks);
        self.write(now, *pt, payload, false);
    }

    /// Says nothing for a moment, but this: payloads that share the time of their beginning.
    pub(crate) fn write(&mut self, now: Instant, pt: u8, payload: Vec<u8>, marker: bool) {
        let mid = self.mid.expect("a section of audio");
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx_by_mid(mid, None).expect("a stream to send");
        self.seq += 1;
        let (seq, timestamp) = (self.seq.into(), self.timestamp);
        let packet = RtpWrite::new(pt.into(), seq, timestamp, now, payload);
        stream.write_rtp(packet.marker(marker));
        self.drain();
        self.handle(Input::Timeout(now));
    }

    /// A picture in one packet.
    pub(crate) fn show(&mut self, now: Instant, codec: str0m::format::Codec, payload: Vec<u8>) {
        self.show_parts(now, codec, vec![payload]);
    }

    /// A picture in several packets, 35 ms after the one before.
    pub(crate) fn show_parts(
        &mut self,
        now: Instant,
        codec: str0m::format::Codec,
        parts: Vec<Vec<u8>>,
    ) {
        let pt = self.rtc.media(self.camera.expect("a camera")).and_then(|m| {
            let params = self.rtc.codec_config();
            m.remote_pts()
                .iter()
                .copied()
                .find(|pt| params.iter().any(|p| p.pt() == *pt && p.spec().codec == codec))
        });
        let camera = self.camera.expect("a camera");
        let (seq, timestamp) = &mut self.picture;
        *timestamp = timestamp.wrapping_add(PICTURE);
        let pt = pt.expect("a number for the codec");
        let last = parts.len().saturating_sub(1);
        for (index, payload) in parts.into_iter().enumerate() {
            *seq += 1;
            let packet = RtpWrite::new(pt, (*seq).into(), *timestamp, now, payload);
            let mut api = self.rtc.direct_api();
            let stream = api.stream_tx_by_mid(camera, None).expect("a stream to send");
            stream.write_rtp(packet.marker(index == last).nackable(true));
        }
        self.drain();
        self.handle(Input::Timeout(now));
    }

    /// Asks the other side for a whole picture.
    pub(crate) fn ask_key_frame(&mut self, now: Instant, kind: KeyframeRequestKind) {
        let camera = self.camera.expect("a camera");
        let mut api = self.rtc.direct_api();
        let stream = api.stream_rx_by_mid(camera, None).expect("a stream that comes");
        stream.request_keyframe(kind);
        self.drain();
        self.handle(Input::Timeout(now));
    }

    /// Says what it can take, in bit/s.
    pub(crate) fn limit(&mut self, now: Instant, bits: u64) {
        let camera = self.camera.expect("a camera");
        let mut api = self.rtc.direct_api();
        let stream = api.stream_rx_by_mid(camera, None).expect("a stream that comes");
        stream.request_remb(bits.into());
        self.drain();
        self.handle(Input::Timeout(now));
    }

    pub(crate) fn receive(&mut self, now: Instant, datagram: &Datagram) {
        if self.is_cut {
            return;
        }
        let received = Receive::new(self.protocol, datagram.from, self.home, &datagram.bytes);
        let received = received.expect("a datagram that a browser can tell");
        self.handle(Input::Receive(now, received));
    }

    fn handle(&mut self, input: Input<'_>) {
        if let Err(error) = self.rtc.handle_input(input) {
            self.error = Some(error.to_string());
        }
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(_)) => return,
                Ok(Output::Transmit(transmit)) => {
                    if !self.is_cut {
                        let bytes = transmit.contents.to_vec();
                        let datagram =
                            Datagram { from: self.address, to: transmit.destination, bytes };
                        self.sent.push(datagram);
                    }
                }
                Ok(Output::Event(event)) => self.note(event),
                Err(error) => {
                    self.error = Some(error.to_string());
                    return;
                }
            }
        }
    }

    fn take(&mut self, packet: Heard) {
        let params = self.rtc.codec_config();
        let is_video = params.iter().any(|p| *p.pt() == packet.pt && p.spec().codec.is_video());
        if is_video {
            self.seen.push(packet);
        } else {
            self.heard.push(packet);
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Connected => self.is_connected = true,
            Event::IceConnectionStateChange(state) => self.ice = state,
            Event::MediaAdded(added) if added.kind == MediaKind::Video => {
                self.camera = Some(added.mid);
            }
            Event::MediaAdded(added) => self.mid = Some(added.mid),
            Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
                self.estimate = Some(estimate.as_u64());
            }
            Event::KeyframeRequest(_) => self.key_frames_asked += 1,
            Event::RtpPacket(packet) => self.take(Heard {
                pt: *packet.header.payload_type,
                seq: packet.header.sequence_number,
                timestamp: packet.header.timestamp,
                ssrc: *packet.header.ssrc,
                marker: packet.header.marker,
                payload: packet.payload.to_vec(),
            }),
            Event::RawPacket(packet) => {
                if let RawPacket::RtcpRx(report) = *packet {
                    self.reports.push(report);
                }
            }
            _ => {}
        }
    }
}

/// Where the browser of a story is at first.
pub(crate) fn birthplace() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 9], 6000))
}

fn candidate(protocol: Protocol, address: SocketAddr) -> Candidate {
    Candidate::host(address, protocol).expect("an address that may be a candidate")
}

/// The rest of the line of a description that begins like this.
fn line(description: &str, start: &str) -> String {
    let line = description.lines().find_map(|line| line.strip_prefix(start));
    line.expect("a line of the description").to_owned()
}
