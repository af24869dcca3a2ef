//! Peers that stall, flood, lie or go away, while others are served.

use std::time::Duration;

use bytes::Bytes;
use crosspoint_base::{Transmit, Transport};
use crosspoint_net::{Arrival, ConnectionLimits};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio_tungstenite::tungstenite::Error;

use crate::host::{Host, OPTIONS, PATIENCE, QUEUE, websocket};

const SHORT: Duration = Duration::from_millis(100);

/// Waits until the host closes a connection.
async fn until_closed(io: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 1024];
    let ended = async { while matches!(io.read(&mut buffer).await, Ok(1..)) {} };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
}

/// A new peer is heard.
async fn assert_serving(host: &mut Host) {
    let mut good = host.tcp(Transport::Tcp).await;
    good.write_all(OPTIONS.as_bytes()).await.unwrap();
    host.message().await;
    drop(good);
    assert!(matches!(host.next().await, Arrival::Closed(_)));
}

#[tokio::test]
async fn handshakes_that_never_end_are_dropped() {
    let limits = ConnectionLimits { handshake: SHORT, ..ConnectionLimits::default() };
    let mut host = Host::with_limits(limits).await;
    let mut silent = Vec::new();
    for kind in [Transport::Tls, Transport::Ws, Transport::Wss] {
        silent.push(host.tcp(kind).await);
    }
    let mut half = host.tcp(Transport::Ws).await;
    half.write_all(b"GET / HTTP/1.1\r\nHost: gw\r\n").await.unwrap();
    silent.push(half);
    assert_serving(&mut host).await;
    for stream in &mut silent {
        until_closed(stream).await;
    }
    assert_eq!(host.transport.counters().handshakes_failed, 4);
}

#[tokio::test]
async fn a_message_that_trickles_in_is_given_up() {
    let limits = ConnectionLimits { message: SHORT, ..ConnectionLimits::default() };
    let mut host = Host::with_limits(limits).await;
    let mut slow = host.tcp(Transport::Tcp).await;
    slow.write_all(OPTIONS.as_bytes()).await.unwrap();
    host.message().await;
    let (mut reader, mut writer) = slow.split();
    let mut pace = tokio::time::interval(SHORT / 4);
    let trickle = async {
        for byte in OPTIONS.as_bytes().iter().cycle() {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            pace.tick().await;
        }
    };
    tokio::select! {
        () = trickle => {}
        () = until_closed(&mut reader) => {}
    }
    assert!(matches!(host.next().await, Arrival::Closed(_)));
    assert_eq!(host.transport.counters().cut_silent, 1);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_given_up() {
    let limits = ConnectionLimits { first_message: SHORT, ..ConnectionLimits::default() };
    let mut host = Host::with_limits(limits).await;
    until_closed(&mut host.tcp(Transport::Tcp).await).await;
    assert!(matches!(host.next().await, Arrival::Closed(_)));
    assert_serving(&mut host).await;
}

#[tokio::test]
async fn a_websocket_that_answers_no_pings_is_given_up_and_one_that_does_lives() {
    let limits = ConnectionLimits { ping_period: SHORT, ..ConnectionLimits::default() };
    let mut host = Host::with_limits(limits).await;
    let mut alive = websocket(host.tcp(Transport::Ws).await, None).await.unwrap();
    alive.send(OPTIONS.into()).await.unwrap();
    let flow = host.message().await;
    let _frozen = websocket(host.tcp(Transport::Ws).await, None).await.unwrap();
    let closed = tokio::select! {
        closed = host.next() => closed,
        // Reading is what answers pings.
        ended = async { while let Some(Ok(_)) = alive.next().await {} } => panic!("{ended:?}"),
    };
    assert!(matches!(closed, Arrival::Closed(id) if Some(id) != flow.connection), "{closed:?}");
}

#[tokio::test]
async fn a_reader_that_stops_is_cut_off_alone() {
    let mut host = Host::start().await;
    for kind in [Transport::Tcp, Transport::Ws] {
        let stream = host.tcp(kind).await;
        let flow;
        if kind == Transport::Tcp {
            let mut deaf = stream;
            deaf.write_all(OPTIONS.as_bytes()).await.unwrap();
            flow = host.message().await;
            assert_cut(&mut host, flow).await;
        } else {
            let mut deaf = websocket(stream, None).await.unwrap();
            deaf.send(OPTIONS.into()).await.unwrap();
            flow = host.message().await;
            assert_cut(&mut host, flow).await;
        }
    }
    assert_eq!(host.transport.counters().cut_unread, 2);
}

/// Sends until the connection is gone, which must not take long; others are served meanwhile.
async fn assert_cut(host: &mut Host, flow: crosspoint_base::Flow) {
    assert_serving(host).await;
    let bytes = Bytes::from(vec![b'x'; 60_000]);
    let cut_before = host.transport.counters().cut_unread;
    while host.transport.counters().cut_unread == cut_before {
        host.transport.send(Transmit { flow, bytes: bytes.clone() });
        tokio::task::yield_now().await;
    }
    assert!(matches!(host.next().await, Arrival::Failed(failed) if failed == flow));
    let closed = host.next().await;
    assert!(matches!(closed, Arrival::Closed(id) if Some(id) == flow.connection), "{closed:?}");
    assert_serving(host).await;
}

#[tokio::test]
async fn rubbish_is_counted_and_ends_only_its_own_connection() {
    let mut host = Host::start().await;
    let mut bad = host.tcp(Transport::Tcp).await;
    let mut good = host.tcp(Transport::Tcp).await;
    bad.write_all(&[b'x'; 70_000]).await.unwrap();
    assert!(matches!(host.next().await, Arrival::Closed(_)));
    assert_eq!(host.transport.counters().malformed, 1);
    good.write_all(OPTIONS.as_bytes()).await.unwrap();
    host.message().await;
}

#[tokio::test]
async fn a_websocket_message_over_the_limit_ends_its_connection() {
    let mut host = Host::start().await;
    let mut bad = websocket(host.tcp(Transport::Ws).await, None).await.unwrap();
    // The host may close before everything is written.
    let _ = bad.send("x".repeat(70_000).into()).await;
    assert!(matches!(host.next().await, Arrival::Closed(_)));
    assert_eq!(host.transport.counters().malformed, 1);
    assert_serving(&mut host).await;
}

#[tokio::test]
async fn a_websocket_needs_the_subprotocol_and_an_allowed_page() {
    let host = Host::start().await;
    let url = format!("ws://{}/", host.address(Transport::Ws));
    assert!(tokio_tungstenite::connect_async(&url).await.is_err(), "no subprotocol");
    let open = async |origin| websocket(host.tcp(Transport::Ws).await, Some(origin)).await;
    assert!(open("https://gw.test").await.is_ok());
    for origin in ["https://evil.test", "null", "gw.test"] {
        let refused = open(origin).await;
        assert!(matches!(refused, Err(Error::Http(r)) if r.status() == 403), "{origin}");
    }
}

#[tokio::test]
async fn one_source_cannot_take_every_connection() {
    let host = Host::start().await;
    let mut streams = Vec::new();
    for _ in 0..12 {
        streams.push(host.tcp(Transport::Tcp).await);
    }
    // The eleventh and twelfth are closed at once.
    until_closed(&mut streams[10]).await;
    until_closed(&mut streams[11]).await;
    assert_eq!(host.transport.counters().refused, 2);
}

#[tokio::test]
async fn a_flood_of_rubbish_leaves_the_socket_working() {
    let mut host = Host::start().await;
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = host.address(Transport::Udp);
    let mut state = 1_u64;
    for length in 0..2000_usize {
        let rubbish: Vec<u8> = (0..length % 300)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state.to_be_bytes()[0]
            })
            .collect();
        phone.send_to(&rubbish, address).await.unwrap();
    }
    phone.send_to(OPTIONS.as_bytes(), address).await.unwrap();
    host.message().await;
    let counters = host.transport.counters();
    assert!(counters.malformed > 1000, "{counters:?}");
    assert_eq!(counters.panics, 0);
}

#[tokio::test]
async fn a_busy_node_drops_datagrams_and_makes_connections_wait() {
    let mut host = Host::start().await;
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    while host.transport.counters().overflow == 0 {
        phone.send_to(OPTIONS.as_bytes(), host.address(Transport::Udp)).await.unwrap();
    }
    let mut stream = host.tcp(Transport::Tcp).await;
    let count = 3 * QUEUE;
    stream.write_all(OPTIONS.repeat(count).as_bytes()).await.unwrap();
    let mut over_tcp = 0;
    while over_tcp < count {
        over_tcp += usize::from(host.message().await.transport == Transport::Tcp);
    }
}

/// What a client of the library would never write: frames by hand, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// A connection that has become a WebSocket, with the server's answer.
async fn raw_websocket(host: &Host, extensions: &str) -> (tokio::net::TcpStream, String) {
    let mut stream = host.tcp(Transport::Ws).await;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: gw.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: sip\r\n{extensions}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(answer).unwrap())
}

/// A few kilobytes that would be megabytes once they are unpacked are never unpacked.
#[tokio::test]
async fn compression_is_not_agreed_to_and_compressed_frames_end_the_connection() {
    let mut host = Host::start().await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let (mut stream, answer) = raw_websocket(&host, offer).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("extensions"), "{answer}");
    // RSV1 (RFC 7692 §6): final, text, compressed.
    stream.write_all(&frame(0xC1, &[0; 1000])).await.unwrap();
    until_closed(&mut stream).await;
    assert!(matches!(host.next().await, Arrival::Closed(_)));
    assert_eq!(host.transport.counters().malformed, 1);
    assert_serving(&mut host).await;
}

#[tokio::test]
async fn a_flood_of_pings_ends_its_connection() {
    let mut host = Host::start().await;
    let (mut stream, _) = raw_websocket(&host, "").await;
    // Who pings now and then is fine.
    for _ in 0..50 {
        stream.write_all(&frame(0x89, b"still here")).await.unwrap();
    }
    stream.write_all(&frame(0x81, OPTIONS.as_bytes())).await.unwrap();
    host.message().await;
    for _ in 0..10_000 {
        if stream.write_all(&frame(0x89, &[b'x'; 125])).await.is_err() {
            break;
        }
    }
    assert!(matches!(host.next().await, Arrival::Closed(_)));
    assert_eq!(host.transport.counters().malformed, 1);
    assert_serving(&mut host).await;
}

/// Neither one that grows, nor one that never grows and never ends.
#[tokio::test]
async fn a_message_in_fragments_without_end_is_given_up() {
    let limits = ConnectionLimits { ping_period: SHORT, ..ConnectionLimits::default() };
    let mut host = Host::with_limits(limits).await;
    let (mut grows, _) = raw_websocket(&host, "").await;
    grows.write_all(&frame(0x01, b"OPTIONS ")).await.unwrap();
    for _ in 0..40 {
        if grows.write_all(&frame(0x00, &[b'x'; 2000])).await.is_err() {
            break;
        }
    }
    assert!(matches!(host.next().await, Arrival::Closed(_)));
    assert_eq!(host.transport.counters().malformed, 1);
    drop(grows);
    let (stays, _) = raw_websocket(&host, "").await;
    let (_reader, mut writer) = stays.into_split();
    let trickle = async {
        let mut pace = tokio::time::interval(SHORT / 4);
        let _ = writer.write_all(&frame(0x01, b"")).await;
        while writer.write_all(&frame(0x00, b"")).await.is_ok() {
            pace.tick().await;
        }
        std::future::pending::<()>().await;
    };
    let closed = tokio::select! {
        closed = host.next() => closed,
        () = trickle => unreachable!("it waits for ever"),
    };
    assert!(matches!(closed, Arrival::Closed(_)), "{closed:?}");
    assert_eq!(host.transport.counters().cut_silent, 1);
}

/// Longer than anything we take, and only announced.
#[tokio::test]
async fn a_frame_that_announces_too_much_takes_no_room() {
    let mut host = Host::start().await;
    for length in [u64::MAX, i64::MAX as u64, 1 << 32, 65_536] {
        let (mut stream, _) = raw_websocket(&host, "").await;
        let mut head = vec![0x82, 0xFF];
        head.extend(length.to_be_bytes());
        head.extend([0; 4]);
        stream.write_all(&head).await.unwrap();
        until_closed(&mut stream).await;
        assert!(matches!(host.next().await, Arrival::Closed(_)));
    }
    assert_eq!(host.transport.counters().malformed, 4);
}

#[tokio::test]
async fn a_flood_from_one_source_is_dropped_unread_and_others_are_heard() {
    let limits = ConnectionLimits { messages_per_second: 5, ..ConnectionLimits::default() };
    let mut host = Host::with_limits(limits).await;
    let flood = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let witness = UdpSocket::bind("127.0.0.3:0").await.unwrap();
    for _ in 0..200 {
        flood.send_to(OPTIONS.as_bytes(), host.address(Transport::Udp)).await.unwrap();
    }
    witness.send_to(OPTIONS.as_bytes(), host.address(Transport::Udp)).await.unwrap();
    let mut heard = 0;
    while host.message().await.remote != witness.local_addr().unwrap() {
        heard += 1;
    }
    assert!((10..150).contains(&heard), "{heard}");
    assert_eq!(host.transport.counters().limited, 200 - heard);
    // A connection is read as slowly as that, and loses nothing.
    let mut stream = host.tcp(Transport::Tcp).await;
    for _ in 0..12 {
        stream.write_all(OPTIONS.as_bytes()).await.unwrap();
    }
    for _ in 0..12 {
        host.message().await;
    }
}
