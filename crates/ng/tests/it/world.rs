//! A server with a shard under it, in a time of their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{Rng, WallClock};
use crosspoint_media::clip::Clip;
use crosspoint_media::control::Place;
use crosspoint_media::shard::{Output as ShardOutput, Shard, ShardConfig, SocketId};
use crosspoint_media::tap::{self, TapReader};
use crosspoint_ng::{
    Dictionary, Format, ForwardOrder, ForwardRefusal, Output, RecordOrder, Server, ServerConfig,
    SoundSource, Value,
};

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) server: Server<u32>,
    pub(crate) shard: Shard,
    pub(crate) sockets: BTreeMap<SocketId, SocketAddr>,
    /// Replies, by who asked.
    pub(crate) replies: Vec<(u32, Vec<u8>)>,
    /// What the shard sent by itself.
    pub(crate) sent: Vec<(SocketAddr, Vec<u8>)>,
    /// No port is to be had.
    pub(crate) is_full: bool,
    /// What the recorder was told; it begins whatever it is asked to, unless it has no room.
    pub(crate) recorder: Vec<RecordOrder>,
    pub(crate) is_disk_full: bool,
    /// What the host was told of streams; it knows the address `wss://a/`.
    pub(crate) streams: Vec<ForwardOrder>,
    /// What may be played, by name.
    pub(crate) prompts: BTreeMap<String, Arc<Clip>>,
    /// What was to be played.
    pub(crate) loads: Vec<SoundSource>,
    /// What was told of digits.
    /// What is told of digits, and where to if not where all are told.
    pub(crate) notes: Vec<(Option<SocketAddr>, String)>,
    pub(crate) taps: TapReader,
    asked: u32,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(100, vec![])
    }

    pub(crate) fn with_calls(max_calls: usize) -> Self {
        Self::with(max_calls, vec![])
    }

    #[expect(clippy::disallowed_methods, reason = "a machine's time has to begin somewhere")]
    pub(crate) fn with(max_calls: usize, interfaces: Vec<(String, Place)>) -> Self {
        let now = Instant::now();
        let config = ShardConfig {
            browser_addresses: vec![SocketAddr::from(([192, 0, 2, 1], 4000))],
            browser_tcp_addresses: vec![],
            rtp_address: [192, 0, 2, 1].into(),
            rtp_bind: [192, 0, 2, 1].into(),
            rtp_ports: (10_000, 20_000),
            ice_lite: true,
            rtp_timeout: Duration::from_secs(60),
            consent_timeout: Duration::from_secs(15),
            max_legs: 1000,
            dtls: Arc::new(crosspoint_media::dtls::config().unwrap()),
            certificate: dimpl::certificate::generate_self_signed_certificate().unwrap(),
        };
        let mut shard = Shard::new(config, Rng::from_u64(1));
        let (writer, taps) = tap::ring(1 << 16, now);
        shard.set_taps(Some(writer), None);
        let clock = WallClock::new(now, Duration::from_secs(1_700_000_000));
        Self {
            now,
            server: Server::new(ServerConfig {
                max_calls,
                can_record: true,
                can_forward: true,
                interfaces,
                clock,
            }),
            streams: vec![],
            shard,
            recorder: vec![],
            is_disk_full: false,
            prompts: BTreeMap::new(),
            loads: vec![],
            notes: vec![],
            taps,
            sockets: BTreeMap::new(),
            replies: vec![],
            sent: vec![],
            is_full: false,
            asked: 0,
        }
    }

    /// Sends bytes as they are and lets everything happen.
    pub(crate) fn say(&mut self, from: u32, bytes: &[u8]) {
        self.server.handle_message(self.now, from, bytes);
        self.settle();
    }

    /// Asks and gives the one reply.
    pub(crate) fn ask(&mut self, request: &Dictionary) -> Dictionary {
        self.asked += 1;
        let who = self.asked;
        let cookie = format!("cookie_{who} ");
        let message = [cookie.as_bytes(), &request.encode(Format::Bencode)].concat();
        self.say(who, &message);
        let of_us = |(to, bytes): &(u32, Vec<u8>)| (*to == who).then(|| bytes.clone());
        let replies: Vec<_> = self.replies.iter().filter_map(of_us).collect();
        let [reply] = &replies[..] else { panic!("{} replies to {request:?}", replies.len()) };
        let body = reply.strip_prefix(cookie.as_bytes()).expect("the cookie comes back");
        Dictionary::decode(body).expect("a reply is a dictionary").0
    }

    /// Asks for what must be granted, and gives the description.
    pub(crate) fn sdp(&mut self, request: &Dictionary) -> String {
        let reply = self.ask(request);
        assert_eq!(reply.text("result").as_deref(), Some("ok"), "{}", show(&reply));
        reply.text("sdp").expect("a description")
    }

    pub(crate) fn settle(&mut self) {
        loop {
            match self.server.poll_output() {
                Output::Reply { to, bytes } => self.replies.push((to, bytes.to_vec())),
                Output::Media(command) => {
                    self.shard.handle_command(self.now, *command);
                    self.settle_media();
                }
                Output::Record(order) => {
                    if let RecordOrder::Begin(beginning) = &order {
                        let begun = match self.is_disk_full {
                            true => Err("the disk is full".to_owned()),
                            false => Ok(format!("day/{}.wav", &beginning.call)),
                        };
                        self.server.handle_recording(beginning.recording, begun);
                    }
                    self.recorder.push(order);
                }
                Output::Forward(order) => {
                    if let ForwardOrder::Open { stream, url, .. } = &order {
                        let taken = match url.as_deref() {
                            Some("wss://a/") => Ok(()),
                            Some(_) => Err(ForwardRefusal::BadTarget),
                            None => Err(ForwardRefusal::NoTarget),
                        };
                        self.server.handle_forward(*stream, taken);
                    }
                    self.streams.push(order);
                }
                Output::Load { ticket, source } => {
                    self.loads.push(source.clone());
                    let clip = match source {
                        SoundSource::File(name) => self.prompts.get(&name).cloned(),
                        SoundSource::Blob(bytes) => Clip::read_wav(&bytes[..]).ok().map(Arc::new),
                    };
                    self.server.handle_sound(ticket, clip);
                }
                Output::Notify { to, json } => {
                    self.notes.push((to, String::from_utf8(json).unwrap()));
                }
                Output::Timeout(_) => return,
            }
        }
    }

    fn settle_media(&mut self) {
        loop {
            match self.shard.poll_output() {
                ShardOutput::Bind { socket, address } => {
                    if !self.is_full {
                        self.sockets.insert(socket, address);
                    }
                    self.shard.handle_bound(self.now, socket, !self.is_full);
                }
                ShardOutput::Unbind { socket } => {
                    self.sockets.remove(&socket);
                }
                ShardOutput::Transmit { destination, bytes, .. } => {
                    self.sent.push((destination, bytes));
                }
                ShardOutput::Event(event) => self.server.handle_media(self.now, event),
                ShardOutput::Timeout(_) => return,
                // Work for others, which no story here needs.
                _ => {}
            }
        }
    }

    /// Lets time pass in steps of a second.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_secs(1);
            self.shard.handle_timeout(self.now);
            self.settle_media();
            self.server.handle_timeout(self.now);
            self.settle();
        }
    }

    /// Lets a short time pass, frame by frame.
    pub(crate) fn play(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(20);
            self.shard.handle_timeout(self.now);
            self.settle_media();
            self.settle();
        }
    }

    /// A packet from `source` to our port, and where it goes with what it is there.
    pub(crate) fn packet(
        &mut self,
        source: &str,
        port: u16,
        packet: &[u8],
    ) -> Option<(SocketAddr, Vec<u8>)> {
        let socket = self.sockets.iter().find(|(_, a)| a.port() == port).map(|(s, _)| *s);
        let socket = socket.expect("a port of ours");
        let mut buffer = [packet, &[0; 256]].concat();
        let source = source.parse().unwrap();
        let forward =
            self.shard.handle_datagram(self.now, socket, source, &mut buffer, packet.len());
        self.settle_media();
        self.settle();
        forward.map(|f| (f.destination, buffer[..f.len].to_vec()))
    }
}

pub(crate) fn show(dictionary: &Dictionary) -> String {
    String::from_utf8_lossy(&dictionary.encode(Format::Json)).into_owned()
}

pub(crate) fn request(command: &str) -> Dictionary {
    Dictionary::new().with("command", command).with("call-id", "call")
}

pub(crate) fn words(list: &[&str]) -> Value {
    Value::List(list.iter().map(|word| Value::from(*word)).collect())
}

pub(crate) fn offer(sdp: &str) -> Dictionary {
    request("offer").with("from-tag", "a").with("sdp", sdp)
}

pub(crate) fn answer(sdp: &str) -> Dictionary {
    request("answer").with("from-tag", "a").with("to-tag", "b").with("sdp", sdp)
}

/// A phone's description at `192.0.2.host:port`.
pub(crate) fn phone(host: u8, port: u16, formats: &str, rest: &str) -> String {
    format!(
        "v=0\r\no=phone 1 1 IN IP4 192.0.2.{host}\r\ns=a call\r\nc=IN IP4 192.0.2.{host}\r\n\
         b=AS:64\r\nt=0 0\r\na=tool:phone\r\nm=audio {port} RTP/AVP {formats}\r\n{rest}"
    )
}

pub(crate) const EVENTS: &str = "a=rtpmap:101 telephone-event/8000\r\n";

pub(crate) const BROWSER: &str = "v=0\r\no=- 46 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
a=group:BUNDLE 0\r\na=msid-semantic: WMS x\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 0 110 126\r\n\
c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
a=ice-pwd:0123456789012345678901\r\na=ice-options:trickle\r\n\
a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
a=setup:actpass\r\na=mid:0\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
a=sendrecv\r\na=msid:x y\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
a=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\na=ssrc:1 cname:z\r\n";

/// The port of the first section.
pub(crate) fn port(sdp: &str) -> u16 {
    let line = sdp.lines().find(|l| l.starts_with("m=")).expect("a section");
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

pub(crate) fn rtp(pt: u8, seq: u16, payload: &[u8]) -> Vec<u8> {
    let time = u32::from(seq) * 160;
    let mut packet = vec![0x80, pt];
    packet.extend_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(&time.to_be_bytes());
    packet.extend_from_slice(&7_u32.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// A call between two phones; the ports of ours that a and b send to.
pub(crate) fn call_between(world: &mut World, formats: &str, rest: &str) -> (u16, u16) {
    let to_b = world.sdp(&offer(&phone(7, 5000, formats, rest)));
    let to_a = world.sdp(&answer(&phone(8, 6000, formats, rest)));
    (port(&to_a), port(&to_b))
}
