//! One port for HTTPS, TURN and ICE-TCP: each finds its way, and nobody else gets anything.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{LegId, Rng, Secret};
use crosspoint_media::control::{Command, Event, Profile, SdpKind};
use crosspoint_media::turn::{Credentials, Limits, OwnAddress, PeerPolicy, TurnConfig};
use crosspoint_net::packet_io::IoKind;
use crosspoint_net::{
    Admission, HttpConnection, IceTcp, IceTcpCount, MediaPool, MediaPoolConfig, SharedPort,
    SharedPortConfig, SharedPortCounts, SharedPortKind, TurnServer, TurnServerConfig,
};
use crosspoint_sdp::Session;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::host::{PATIENCE, tls};
use crate::stun::{self, Login};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LEG: LegId = LegId(1);
const OTHER: LegId = LegId(2);
const HTTP: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const ALREADY: u64 = 1_800_000_000;

/// Two media threads, of which the second has the browser's leg, a TURN server, and the port.
struct Host {
    address: SocketAddr,
    client: Arc<ClientConfig>,
    counts: SharedPortCounts,
    ice: IceTcp,
    turn: TurnServer,
    media: MediaPool,
    credentials: Credentials,
    /// The first bytes of each connection that speaks HTTP, and whether it has TLS.
    requests: mpsc::UnboundedReceiver<(Vec<u8>, bool)>,
    events: std::sync::mpsc::Receiver<Event>,
}

impl Host {
    async fn start() -> Self {
        Self::with(true, Admission::new(1000, 1000)).await
    }

    async fn with(has_tls: bool, admission: Admission) -> Self {
        let (told, events) = std::sync::mpsc::channel();
        let media = MediaPool::start(&media_config(), Rng::from_u64(1), move |event| {
            let _ = told.send(event);
        });
        let media = media.unwrap();
        let credentials = Credentials::new(Secret::new(b"secret".to_vec()));
        let (server, client) = tls();
        let mut server = Arc::unwrap_or_clone(server);
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"stun.turn".to_vec()];
        let turn = TurnServerConfig {
            listen: (LOOPBACK, 0).into(),
            tls_listen: None,
            tls_server: Arc::new(server.clone()),
            relay_bind: LOOPBACK,
            relay_ports: (30_000, 49_000),
            admission: admission.clone(),
            media: Some(media.links()),
            turn: turn_config(credentials.clone(), &media.browser_addresses()),
        };
        let turn = TurnServer::bind(turn, Rng::from_u64(2)).unwrap();
        let ice = IceTcp::new(media.links());
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let counts = SharedPortCounts::default();
        let acceptor = has_tls.then(|| TlsAcceptor::from(Arc::new(server)));
        let config = SharedPortConfig { turn: Some(turn.clone()), ice: Some(ice.clone()) };
        let port = SharedPort::new(listener, acceptor, admission, config, counts.clone());
        let address = port.local_addr().unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(port.serve(move |mut connection: HttpConnection| {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut bytes = vec![0; HTTP.len()];
                if connection.stream.read_exact(&mut bytes).await.is_ok() {
                    let _ = sender.send((bytes, connection.is_secure));
                }
            });
        }));
        Self { address, client, counts, ice, turn, media, credentials, requests, events }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn connect_tls(&self, protocols: &[&[u8]]) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut config = (*self.client).clone();
        config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = self.connect().await;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    async fn request(&mut self) -> (Vec<u8>, bool) {
        tokio::time::timeout(PATIENCE, self.requests.recv()).await.unwrap().unwrap()
    }

    /// Opens the browser's leg; gives the name and the password of its checks.
    fn open_leg(&self) -> (String, String) {
        // The first thread gets another one.
        self.media.send(Command::Open { leg: OTHER, profile: Profile::WebRtc });
        self.media.send(Command::Describe { leg: OTHER, kind: SdpKind::Offer, peer: None });
        let offer = Session::parse(BROWSER_OFFER.as_bytes()).unwrap();
        self.media.send(Command::Open { leg: LEG, profile: Profile::WebRtc });
        self.media.send(Command::Accept { leg: LEG, kind: SdpKind::Offer, description: offer });
        self.media.send(Command::Describe { leg: LEG, kind: SdpKind::Answer, peer: None });
        loop {
            if let Event::Described { leg: LEG, description } =
                self.events.recv_timeout(PATIENCE).unwrap()
            {
                let text = description.to_string();
                let line = |start: &str| {
                    let found = text.lines().find_map(|line| line.strip_prefix(start));
                    found.unwrap().to_owned()
                };
                return (format!("{}:theirs", line("a=ice-ufrag:")), line("a=ice-pwd:"));
            }
        }
    }

    fn login(&self, user: &str) -> Login {
        let (username, password) = self.credentials.issue(user, ALREADY + 3600);
        let password = password.expose().clone();
        Login { username, password, realm: "test".to_owned(), nonce: vec![b'0'; 24] }
    }

    /// Waits until something was counted so often.
    async fn counted(&self, kind: SharedPortKind, wanted: u64) {
        eventually(|| self.counts.count(kind) == wanted).await;
    }

    async fn ended(&self, why: IceTcpCount, wanted: u64) {
        eventually(|| self.ice.count(why) == wanted && self.ice.open() == 0).await;
    }
}

/// Other tasks and threads come to it by themselves.
async fn eventually(is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "it never came to this");
        tokio::task::yield_now().await;
    }
}

fn media_config() -> MediaPoolConfig {
    MediaPoolConfig {
        browser_listen: (LOOPBACK, 0).into(),
        addresses: vec![LOOPBACK],
        tcp_addresses: vec![(LOOPBACK, 443).into()],
        rtp_bind: LOOPBACK,
        rtp_ports: (20_000, 29_999),
        io: Some(IoKind::Sockets),
        threads: 2,
        codec_threads: 0,
        opus_complexity: 5,
        keep_awake: false,
        realtime: false,
        ice_lite: true,
        timeout: Duration::from_secs(30),
        max_legs: 10,
    }
}

fn turn_config(credentials: Credentials, media: &[SocketAddr]) -> TurnConfig {
    TurnConfig {
        realm: "test".to_owned(),
        credentials,
        policy: PeerPolicy {
            own: vec![OwnAddress { advertised: LOOPBACK, local: LOOPBACK }],
            media_ports: media.iter().map(SocketAddr::port).collect(),
            ..PeerPolicy::default()
        },
        relay_addresses: vec![LOOPBACK],
        limits: Limits { allocations: 10, allocations_per_user: 2, bytes_per_second_per_user: 0 },
        clock: (Instant::now(), ALREADY),
    }
}

fn framed(datagram: &[u8]) -> Vec<u8> {
    let length = u16::try_from(datagram.len()).unwrap();
    [&length.to_be_bytes()[..], datagram].concat()
}

/// The next message of STUN or channel data from a stream.
async fn next_of_turn(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    let reading = async {
        stream.read_exact(&mut bytes).await.unwrap();
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        let more = if bytes[0] < 64 { length + 16 } else { length.next_multiple_of(4) };
        bytes.resize(4 + more, 0);
        stream.read_exact(&mut bytes[4..]).await.unwrap();
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
    bytes
}

async fn next_frame(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let reading = async {
        let length = stream.read_u16().await.unwrap();
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes).await.unwrap();
        bytes
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap()
}

async fn is_cut(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = [0; 4096];
    let reading = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
}

async fn binding_is_answered(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let question = stun::message(stun::BINDING, [7; 12], &[]);
    for byte in question {
        stream.write_all(&[byte]).await.unwrap();
        stream.flush().await.unwrap();
    }
    let answer = next_of_turn(&mut stream).await;
    assert_eq!(answer[..2], [1, 1]);
}

#[tokio::test]
async fn each_finds_its_way_by_alpn_and_by_its_first_bytes() {
    let mut host = Host::start().await;
    let of_http: [&[&[u8]]; 3] = [&[], &[b"http/1.1"], &[b"h2", b"http/1.1"]];
    for protocols in of_http {
        let mut stream = host.connect_tls(protocols).await;
        stream.write_all(HTTP).await.unwrap();
        assert_eq!(host.request().await, (HTTP.to_vec(), true));
    }
    let of_turn: [&[&[u8]]; 2] = [&[], &[b"stun.turn"]];
    for protocols in of_turn {
        binding_is_answered(host.connect_tls(protocols).await).await;
    }
    binding_is_answered(host.connect().await).await;
    let (name, password) = host.open_leg();
    let mut stream = host.connect().await;
    for byte in framed(&stun::check(1, &name, &password)) {
        stream.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(next_frame(&mut stream).await[..2], [1, 1]);
    drop(stream);
    host.ended(IceTcpCount::Left, 1).await;
    let http = [SharedPortKind::Http, SharedPortKind::Http2];
    assert_eq!(http.map(|kind| host.counts.count(kind)), [2, 1]);
    let kinds = [SharedPortKind::Turn, SharedPortKind::IceTcp];
    assert_eq!(kinds.map(|kind| host.counts.count(kind)), [3, 1]);
    assert_eq!((host.ice.count(IceTcpCount::Validated), host.media.report().defects), (1, 0));
}

#[tokio::test]
async fn behind_a_proxy_that_does_the_tls_the_rest_is_told_apart_as_well() {
    let mut host = Host::with(false, Admission::new(100, 100)).await;
    host.connect().await.write_all(HTTP).await.unwrap();
    assert_eq!(host.request().await, (HTTP.to_vec(), false));
    binding_is_answered(host.connect().await).await;
    let mut stream = host.connect().await;
    stream.write_all(b"\x16\x03\x01\0\x05\x01").await.unwrap();
    is_cut(&mut stream).await;
    host.counted(SharedPortKind::Unknown, 1).await;
}

#[tokio::test]
async fn who_forgets_the_tls_is_told() {
    let host = Host::start().await;
    let mut stream = host.connect().await;
    stream.write_all(HTTP).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nThis port speaks HTTPS.\n"), "{answer}");
    host.counted(SharedPortKind::PlainHttp, 1).await;
}

#[tokio::test]
async fn whatever_else_begins_is_cut_at_once() {
    let host = Host::start().await;
    let games: [&[u8]; 8] = [
        b"\0\x01\0\x08\0\0\0\0\0\0",
        b"\0\x60\x16\xfe\xff\0\0\0\0\0",
        b"\x40\0\0\x04\0\0\0\0",
        b"\x80\x60\0\x01",
        b"\xff\xff\xff\xff",
        b"\x16\xfe\xff",
        b"\r\n\r\n",
        b"\x08\0\0\x01\0\x4c\x21\x12\xa4\x42",
    ];
    let mut cut = 0;
    for game in games {
        let mut stream = host.connect().await;
        stream.write_all(game).await.unwrap();
        is_cut(&mut stream).await;
        cut += 1;
        host.counted(SharedPortKind::Unknown, cut).await;
    }
    // Within TLS there is neither TLS nor ICE-TCP.
    for game in [&[22, 3, 1, 0, 5, 1][..], b"\0\x60\0\x01\0\x4c\x21\x12\xa4\x42"] {
        let mut stream = host.connect_tls(&[]).await;
        stream.write_all(game).await.unwrap();
        is_cut(&mut stream).await;
        cut += 1;
        host.counted(SharedPortKind::Unknown, cut).await;
    }
    assert_eq!(host.ice.open(), 0);
}

/// Time jumps to the next deadline whenever nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn who_says_nothing_or_too_little_is_not_waited_for() {
    let host = Host::start().await;
    let begun = tokio::time::Instant::now();
    let client_hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let openings: [(&[u8], SharedPortKind); 4] = [
        (b"", SharedPortKind::Mute),
        (b"\0\x60\0\x01\0", SharedPortKind::Mute),
        (b"\x16", SharedPortKind::Mute),
        // A handshake that is begun and never gone on with.
        (&client_hello, SharedPortKind::TlsFailed),
    ];
    let mut streams = vec![];
    for (opening, _) in openings {
        let mut stream = host.connect().await;
        stream.write_all(opening).await.unwrap();
        streams.push(stream);
    }
    for stream in &mut streams {
        let mut rest = [0; 64];
        assert!(matches!(stream.read(&mut rest).await, Ok(0) | Err(_)));
    }
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    let count = |kind| host.counts.count(kind);
    assert_eq!((count(SharedPortKind::Mute), count(SharedPortKind::TlsFailed)), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn one_byte_now_and_then_does_not_make_the_time_longer() {
    let host = Host::start().await;
    let begun = tokio::time::Instant::now();
    let mut stream = host.connect().await;
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 600]].concat();
    for byte in hello {
        if stream.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(host.counts.count(SharedPortKind::TlsFailed), 1);
}

/// A check that nobody believes is answered by nothing, and its connection has its time.
#[tokio::test(start_paused = true)]
async fn a_connection_that_proves_nothing_ends_after_its_time() {
    let host = Host::start().await;
    let mut stream = host.connect().await;
    let forged = framed(&stun::check(1, "nobody:nobody", "nothing"));
    let begun = tokio::time::Instant::now();
    while stream.write_all(&forged).await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!((29..=33).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(host.ice.count(IceTcpCount::Unvalidated), 1);
    assert_eq!((host.ice.count(IceTcpCount::Validated), host.ice.open()), (0, 0));
}

#[tokio::test]
async fn before_a_right_check_there_are_few_bytes_and_nothing_but_stun() {
    let host = Host::start().await;
    let forged = framed(&stun::check(1, "nobody:nobody", "nothing"));
    let mut flood = host.connect().await;
    // More than it may say; whether the rest can be written depends on when it is cut.
    let _ = flood.write_all(&forged.repeat(400)).await;
    is_cut(&mut flood).await;
    host.ended(IceTcpCount::Unvalidated, 1).await;
    for (n, bad) in
        [&[22; 40][..], &[0x80; 40], &[0; 19], b"GET / HTTP/1.1\r\n\r\n"].iter().enumerate()
    {
        let mut stream = host.connect().await;
        stream.write_all(&[&forged[..], &framed(bad)].concat()).await.unwrap();
        is_cut(&mut stream).await;
        host.ended(IceTcpCount::Unvalidated, 2 + n as u64).await;
    }
    let mut stream = host.connect().await;
    stream.write_all(&[&forged[..], &[0xff, 0xff]].concat()).await.unwrap();
    is_cut(&mut stream).await;
    host.ended(IceTcpCount::BadFrame, 1).await;
    // Half open: the peer is gone without a word, and its place is free again.
    drop(host.connect().await);
    host.counted(SharedPortKind::Mute, 1).await;
}

#[tokio::test]
async fn a_browser_that_does_not_read_loses_packets_and_nothing_else() {
    let host = Host::start().await;
    let (name, password) = host.open_leg();
    let mut stream = host.connect().await;
    stream.write_all(&framed(&stun::check(0, &name, &password))).await.unwrap();
    assert_eq!(next_frame(&mut stream).await[..2], [1, 1]);
    // Each check is answered, and nobody reads the answers.
    let (_unread, mut writer) = stream.into_split();
    let asking = async {
        for number in 1.. {
            let check = framed(&stun::check(number, &name, &password));
            if writer.write_all(&check).await.is_err()
                || host.ice.count(IceTcpCount::DroppedOut) > 100
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE * 3, asking).await.unwrap();
    assert!(host.ice.count(IceTcpCount::DroppedOut) > 100);
    // Others are served as before.
    let mut other = host.connect().await;
    other.write_all(&framed(&stun::check(u64::MAX, &name, &password))).await.unwrap();
    assert_eq!(next_frame(&mut other).await[..2], [1, 1]);
    assert_eq!(host.media.report().defects, 0);
}

#[tokio::test]
async fn one_source_gets_so_many_connections() {
    let host = Host::with(true, Admission::new(100, 3)).await;
    let kept = [host.connect().await, host.connect().await, host.connect().await];
    let mut fourth = host.connect().await;
    is_cut(&mut fourth).await;
    drop(kept);
    host.counted(SharedPortKind::Mute, 3).await;
    binding_is_answered(host.connect().await).await;
}

/// A client of TURN on the shared port reaches the media plane, and no socket is between.
#[tokio::test]
async fn turn_over_the_shared_port_leads_straight_into_the_shard() {
    let host = Host::start().await;
    let (name, password) = host.open_leg();
    let mut stream = host.connect_tls(&[]).await;
    let mut login = host.login("alice");
    let transport: (u16, &[u8]) = (0x0019, &[17, 0, 0, 0]);
    let mut ask = async |bytes: Vec<u8>| {
        stream.write_all(&bytes).await.unwrap();
        next_of_turn(&mut stream).await
    };
    let refusal = ask(stun::message(stun::ALLOCATE, [1; 12], &[transport])).await;
    login.challenged(&refusal);
    let answer = ask(login.request(stun::ALLOCATE, 2, &[transport])).await;
    assert_eq!(answer[..2], [1, 3]);
    let relayed = stun::find(&answer, 0x0016).unwrap();
    let media = stun::address(host.media.browser_addresses()[1]);
    let channel: (u16, &[u8]) = (0x000c, &[0x40, 1, 0, 0]);
    let answer = ask(login.request(stun::CHANNEL_BIND, 3, &[channel, (0x0012, &media)])).await;
    assert_eq!(answer[..2], [1, 9]);
    let check = stun::check(1, &name, &password);
    let length = u16::try_from(check.len()).unwrap().to_be_bytes();
    let answer = ask([&[0x40, 1][..], &length, &check].concat()).await;
    assert_eq!(answer[..2], [0x40, 1], "channel data");
    assert_eq!(answer[4..6], [1, 1], "the check is answered");
    let mapped = stun::find(&answer[4..], 0x0020).unwrap();
    assert_eq!(mapped, relayed, "the shard knows the browser by its relayed address");
    assert_eq!((host.turn.report().handed_over, host.turn.report().unsent), (2, 0));
    // What is refused elsewhere is refused here.
    for forbidden in ["127.0.0.1:22", "10.0.0.1:5000", "169.254.169.254:80"] {
        let peer = stun::address(forbidden.parse().unwrap());
        let channel: (u16, &[u8]) = (0x000c, &[0x40, 2, 0, 0]);
        let answer = ask(login.request(stun::CHANNEL_BIND, 4, &[channel, (0x0012, &peer)])).await;
        assert_eq!(answer[..2], [1, 0x19], "{forbidden}");
    }
    drop(stream);
    eventually(|| host.turn.report().allocations == 0).await;
    eventually(|| host.turn.report().connections == 0).await;
    assert_eq!(host.turn.report().defects + host.media.report().defects, 0);
}

#[tokio::test]
async fn wrong_credentials_get_nothing_over_the_shared_port() {
    let host = Host::start().await;
    let mut stream = host.connect_tls(&[b"stun.turn"]).await;
    let mut login = host.login("alice");
    let transport: (u16, &[u8]) = (0x0019, &[17, 0, 0, 0]);
    stream.write_all(&stun::message(stun::ALLOCATE, [1; 12], &[transport])).await.unwrap();
    login.challenged(&next_of_turn(&mut stream).await);
    login.password = "wrong".to_owned();
    for kind in [stun::ALLOCATE, stun::CREATE_PERMISSION, stun::CHANNEL_BIND] {
        stream.write_all(&login.request(kind, 2, &[transport])).await.unwrap();
        let refusal = next_of_turn(&mut stream).await;
        assert_eq!(stun::find(&refusal, 0x0009).unwrap()[2..4], [4, 1]);
    }
    // Nor is anything passed on for it.
    stream.write_all(&[0x40, 1, 0, 4, 1, 2, 3, 4]).await.unwrap();
    eventually(|| host.turn.report().counters.dropped == 1).await;
    let report = host.turn.report();
    assert_eq!((report.allocations, report.counters.auth_failures, report.handed_over), (0, 3, 0));
}

const BROWSER_OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
    a=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
    a=rtcp-mux\r\na=rtpmap:0 PCMU/8000\r\na=ice-ufrag:theirs\r\n\
    a=ice-pwd:pppppppppppppppppppppppp\r\na=fingerprint:sha-256 AB:CD\r\na=setup:actpass\r\n";
