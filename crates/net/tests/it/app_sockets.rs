//! WebSockets of apps, over pipes in memory and with peers that behave and that do not.

use std::time::Duration;

use crosspoint_base::{ConnectionId, Rng};
use crosspoint_net::{AppArrival, AppSocketConfig, AppSockets};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::host::{Host, OPTIONS, PATIENCE};

type Peer = WebSocketStream<DuplexStream>;

/// App sockets and what they tell.
struct Apps {
    sockets: AppSockets,
    arrivals: mpsc::Receiver<AppArrival>,
}

impl Apps {
    fn new() -> Self {
        Self::with(AppSocketConfig::default(), 64)
    }

    fn with(config: AppSocketConfig, capacity: usize) -> Self {
        let (sender, arrivals) = mpsc::channel(capacity);
        Self { sockets: AppSockets::new(config, sender), arrivals }
    }

    async fn next(&mut self) -> AppArrival {
        tokio::time::timeout(PATIENCE, self.arrivals.recv()).await.unwrap().unwrap()
    }

    /// A peer whose bytes are its own business, before the host has been told of it.
    fn adopt(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        self.sockets.adopt(ours, Some("https://app.test".to_owned()));
        theirs
    }

    async fn opened(&mut self) -> ConnectionId {
        match self.next().await {
            AppArrival::Opened { connection, origin } => {
                assert_eq!(origin.as_deref(), Some("https://app.test"));
                connection
            }
            other => panic!("{other:?}"),
        }
    }

    async fn connect(&mut self) -> (Peer, ConnectionId) {
        let io = self.adopt();
        // Peers here may send more than a server takes.
        let config = WebSocketConfig::default().max_write_buffer_size(usize::MAX);
        let peer = WebSocketStream::from_raw_socket(io, Role::Client, Some(config)).await;
        (peer, self.opened().await)
    }

    async fn text(&mut self) -> (ConnectionId, String) {
        match self.next().await {
            AppArrival::Text { connection, text } => (connection, text.as_str().to_owned()),
            other => panic!("{other:?}"),
        }
    }

    async fn closed(&mut self) -> ConnectionId {
        match self.next().await {
            AppArrival::Closed(connection) => connection,
            other => panic!("{other:?}"),
        }
    }
}

/// Reads on until the host closes; gives the code that it gave.
async fn close_code(peer: &mut Peer) -> Option<u16> {
    let closed = async {
        loop {
            match peer.next().await {
                Some(Ok(Message::Close(frame))) => return frame.map(|f| f.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.unwrap()
}

#[tokio::test]
async fn texts_go_both_ways_in_order() {
    let mut apps = Apps::new();
    let (mut peer, connection) = apps.connect().await;
    for n in 0..20 {
        apps.sockets.send(connection, format!("down {n}"));
        peer.send(Message::text(format!("up {n}"))).await.unwrap();
    }
    for n in 0..20 {
        assert_eq!(apps.text().await, (connection, format!("up {n}")));
        assert_eq!(peer.next().await.unwrap().unwrap(), Message::text(format!("down {n}")));
    }
    let counters = apps.sockets.counters();
    assert_eq!((counters.open, counters.opened), (1, 1));
    assert_eq!((counters.received, counters.sent), (20, 20));
}

#[tokio::test]
async fn a_peer_that_takes_leave_is_answered_and_told_once() {
    let mut apps = Apps::new();
    let (mut peer, connection) = apps.connect().await;
    peer.close(Some(CloseFrame { code: 1000.into(), reason: "done".into() })).await.unwrap();
    assert_eq!(apps.closed().await, connection);
    assert_eq!(close_code(&mut peer).await, Some(1000));
    assert!(apps.sockets.is_empty());
    // What comes too late for it goes nowhere, and it is not told again.
    apps.sockets.send(connection, "late".to_owned());
    apps.sockets.close(connection, 1000, "late");
    drop(peer);
    let (_peer, other) = apps.connect().await;
    assert_ne!(other, connection);
}

#[tokio::test]
async fn a_peer_that_vanishes_is_told() {
    let mut apps = Apps::new();
    let (peer, connection) = apps.connect().await;
    drop(peer);
    assert_eq!(apps.closed().await, connection);
}

#[tokio::test]
async fn closing_sends_what_was_said_before_and_the_reason() {
    let mut apps = Apps::new();
    let (mut peer, connection) = apps.connect().await;
    apps.sockets.send(connection, "invalid".to_owned());
    apps.sockets.close(connection, 4401, "this token is not known");
    apps.sockets.close(connection, 4409, "the first reason stands");
    apps.sockets.send(connection, "too late".to_owned());
    assert_eq!(peer.next().await.unwrap().unwrap(), Message::text("invalid"));
    let Some(Ok(Message::Close(Some(frame)))) = peer.next().await else { panic!("no close") };
    assert_eq!(u16::from(frame.code), 4401);
    assert_eq!(frame.reason.as_str(), "this token is not known");
    assert_eq!(apps.closed().await, connection);
}

#[tokio::test]
async fn the_longest_message_is_taken_and_a_longer_one_closes_with_1009() {
    let config = AppSocketConfig::default();
    assert_eq!(config.max_message, 262_144);
    let mut apps = Apps::new();
    let (mut peer, connection) = apps.connect().await;
    let longest = "x".repeat(config.max_message);
    peer.send(Message::text(longest.clone())).await.unwrap();
    assert_eq!(apps.text().await, (connection, longest));
    // The host may stop reading before everything is written, but says why.
    let (mut sink, mut source) = peer.split();
    let long = Message::text("x".repeat(config.max_message + 1));
    let (_, code) = tokio::join!(sink.send(long), async {
        match source.next().await {
            Some(Ok(Message::Close(Some(frame)))) => u16::from(frame.code),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(code, 1009);
    assert_eq!(apps.closed().await, connection);
    assert_eq!(apps.sockets.counters().malformed, 1);
}

#[tokio::test]
async fn fragments_are_one_text_and_count_together() {
    let mut apps = Apps::new();
    let (mut peer, connection) = apps.connect().await;
    let part = |text: &str, code, is_last| {
        Message::Frame(Frame::message(text.to_owned(), OpCode::Data(code), is_last))
    };
    peer.send(part("{\"a\":", Data::Text, false)).await.unwrap();
    // A ping between fragments is fine (RFC 6455 §5.4).
    peer.send(Message::Ping("still here".into())).await.unwrap();
    peer.send(part("1", Data::Continue, false)).await.unwrap();
    peer.send(part("}", Data::Continue, true)).await.unwrap();
    assert_eq!(apps.text().await, (connection, "{\"a\":1}".to_owned()));

    let piece = "x".repeat(100_000);
    peer.send(part(&piece, Data::Text, false)).await.unwrap();
    peer.send(part(&piece, Data::Continue, false)).await.unwrap();
    let (mut sink, mut source) = peer.split();
    let third = sink.send(part(&piece, Data::Continue, true));
    let (_, code) = tokio::join!(third, async {
        loop {
            match source.next().await {
                Some(Ok(Message::Close(Some(frame)))) => break u16::from(frame.code),
                Some(Ok(Message::Pong(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(code, 1009);
    assert_eq!(apps.closed().await, connection);
}

#[tokio::test]
async fn what_is_no_text_closes_with_the_code_for_it() {
    let mut apps = Apps::new();
    let (mut peer, connection) = apps.connect().await;
    peer.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(close_code(&mut peer).await, Some(1003));
    assert_eq!(apps.closed().await, connection);

    let (mut peer, _) = apps.connect().await;
    let broken = Frame::message(vec![0xc3, 0x28], OpCode::Data(Data::Text), true);
    peer.send(Message::Frame(broken)).await.unwrap();
    assert_eq!(close_code(&mut peer).await, Some(1007));
    apps.closed().await;

    for rubbish in [&[0x81, 0x01, b'x'][..], &[0xf1, 0x80, 0, 0, 0, 0], &[0x80, 0x80, 0, 0, 0, 0]] {
        let mut io = apps.adopt();
        apps.opened().await;
        io.write_all(rubbish).await.unwrap();
        let mut answer = Vec::new();
        io.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer[..4], [0x88, answer[1], 0x03, 0xea], "1002 for {rubbish:x?}");
        apps.closed().await;
    }
    assert_eq!(apps.sockets.counters().malformed, 5);
    assert_eq!(apps.sockets.counters().panics, 0);
}

#[tokio::test]
async fn a_header_that_promises_terabytes_costs_nothing() {
    let mut apps = Apps::new();
    let mut io = apps.adopt();
    apps.opened().await;
    io.write_all(&[0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4])
        .await
        .unwrap();
    let mut answer = Vec::new();
    io.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer[2..4], [0x03, 0xf1], "1009");
    apps.closed().await;
}

#[tokio::test]
async fn a_reader_that_stops_is_cut_off_alone() {
    let mut apps = Apps::new();
    let (deaf, connection) = apps.connect().await;
    let (mut good, other) = apps.connect().await;
    let text = "x".repeat(60_000);
    let mut sent = 0_usize;
    while apps.sockets.counters().cut_unread == 0 {
        apps.sockets.send(connection, text.clone());
        sent += text.len();
        assert!(sent < 8 * 1024 * 1024, "nobody keeps so much for one peer");
        tokio::task::yield_now().await;
    }
    assert_eq!(apps.closed().await, connection);
    apps.sockets.send(other, "you are fine".to_owned());
    assert_eq!(good.next().await.unwrap().unwrap(), Message::text("you are fine"));
    drop(deaf);
}

#[tokio::test]
async fn many_small_texts_are_bounded_too() {
    let mut apps = Apps::new();
    let (_deaf, connection) = apps.connect().await;
    // The socket's task has no turn in between, so everything waits.
    for _ in 0..1024 {
        apps.sockets.send(connection, "x".to_owned());
    }
    assert_eq!(apps.sockets.counters().cut_unread, 0);
    apps.sockets.send(connection, "x".to_owned());
    assert_eq!(apps.sockets.counters().cut_unread, 1);
    assert_eq!(apps.closed().await, connection);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_takes_too_long_ends_its_socket() {
    let mut apps = Apps::new();
    let (_deaf, connection) = apps.connect().await;
    // More than the pipe takes, less than the queue's bound.
    apps.sockets.send(connection, "x".repeat(3 * PIPE));
    assert_eq!(apps.closed().await, connection);
    assert_eq!(apps.sockets.counters().cut_unread, 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_no_pings_is_given_up_and_one_that_does_lives() {
    let mut apps = Apps::new();
    let (_frozen, connection) = apps.connect().await;
    let (mut alive, _) = apps.connect().await;
    let closed = tokio::select! {
        closed = apps.arrivals.recv() => closed,
        // Reading is what answers pings.
        ended = async { while let Some(Ok(_)) = alive.next().await {} } => panic!("{ended:?}"),
    };
    assert!(matches!(closed, Some(AppArrival::Closed(id)) if id == connection), "{closed:?}");
    assert_eq!(apps.sockets.counters().cut_silent, 1);
    assert_eq!(apps.sockets.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_will_not_leave_is_not_waited_for_long() {
    let mut apps = Apps::new();
    let (mut peer, connection) = apps.connect().await;
    apps.sockets.close(connection, 1000, "bye");
    assert_eq!(apps.closed().await, connection);
    let Some(Ok(Message::Close(_))) = peer.next().await else { panic!("no close") };
    // It keeps its side open; the host drops the connection all the same.
    let io = peer.get_mut();
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(io.write_all(b"still here").await.is_err());
}

#[tokio::test]
async fn a_busy_node_makes_peers_wait_and_loses_nothing() {
    let mut apps = Apps::with(AppSocketConfig::default(), 2);
    let (mut peer, connection) = apps.connect().await;
    let sending = tokio::spawn(async move {
        for n in 0..100 {
            peer.send(Message::text(n.to_string())).await.unwrap();
        }
        peer
    });
    for n in 0..100 {
        assert_eq!(apps.text().await, (connection, n.to_string()));
    }
    let (sender, full) = (apps.sockets.clone(), sending.await.unwrap());
    // The queue of arrivals is full when it ends: it is told nevertheless.
    let (_other, _) = apps.connect().await;
    drop(full);
    assert_eq!(apps.closed().await, connection);
    assert_eq!(sender.len(), 1);
}

#[tokio::test]
async fn texts_that_wait_for_the_node_are_bounded_by_their_bytes() {
    let mut apps = Apps::with(AppSocketConfig::default(), 10_000);
    let mut peers = Vec::new();
    for _ in 0..200 {
        peers.push(apps.connect().await.0);
    }
    let text = "x".repeat(256 * 1024);
    let writers: Vec<_> = peers
        .into_iter()
        .map(|mut peer| {
            let text = text.clone();
            tokio::spawn(async move { peer.send(Message::text(text)).await.map(|()| peer) })
        })
        .collect();
    let mut kept = Vec::new();
    while kept.len() < 128 {
        kept.push(apps.next().await);
    }
    // 32 MiB wait; the 129th text has to.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(apps.arrivals.try_recv().is_err());
    kept.clear();
    for _ in 128..200 {
        apps.text().await;
    }
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
}

/// Any bytes, some of them in frames: each socket ends when its peer is gone, and none panics.
#[tokio::test]
async fn rubbish_ends_its_own_socket_and_nothing_else() {
    let mut rng = Rng::from_u64(7);
    let mut apps = Apps::with(AppSocketConfig::default(), 64);
    for _ in 0..3000 {
        let mut io = apps.adopt();
        let connection = apps.opened().await;
        let mut sent = Vec::new();
        for _ in 0..=rng.below(3) {
            let length = rng.below(200) as usize;
            if rng.below(3) > 0 {
                let first = rng.next_u32().to_le_bytes()[0];
                let codes = [0x81, 0x81, 0x81, 0x01, 0x80, 0x82, 0x88, 0x89, 0x8a, first];
                sent.extend([codes[rng.below(10) as usize], 0x80 | (length as u8).min(125)]);
                sent.extend([0; 4]);
            }
            let mut bytes = vec![0; length.min(125)];
            if rng.below(2) == 0 {
                rng.fill(&mut bytes);
            }
            sent.extend(bytes);
        }
        io.write_all(&sent).await.unwrap();
        io.shutdown().await.unwrap();
        let mut answer = Vec::new();
        io.read_to_end(&mut answer).await.unwrap();
        loop {
            match apps.next().await {
                AppArrival::Text { connection: of, .. } => assert_eq!(of, connection),
                AppArrival::Closed(of) => break assert_eq!(of, connection),
                other @ AppArrival::Opened { .. } => panic!("{other:?}"),
            }
        }
    }
    let counters = apps.sockets.counters();
    assert_eq!((counters.open, counters.opened, counters.panics), (0, 3000, 0));
    assert!(counters.malformed > 1000 && counters.received > 100, "{counters:?}");
}

#[tokio::test]
async fn ids_are_not_those_of_sip_connections() {
    let mut host = Host::start().await;
    let mut apps = Apps::new();
    let mut ids = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..4 {
        let mut phone = host.tcp(crosspoint_base::Transport::Tcp).await;
        phone.write_all(OPTIONS.as_bytes()).await.unwrap();
        ids.push(host.message().await.connection.unwrap());
        let (peer, id) = apps.connect().await;
        ids.push(id);
        peers.push((phone, peer));
    }
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), ids.len());
}

/// Bytes between the two ends that nobody has read yet.
const PIPE: usize = 64 * 1024;
