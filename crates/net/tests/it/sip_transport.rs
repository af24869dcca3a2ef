//! Messages in and out over every transport.

use std::net::SocketAddr;

use crosspoint_base::{Flow, Transmit, Transport};
use crosspoint_net::{Arrival, ConnectionLimits};
use crosspoint_sip::Message;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_tungstenite::WebSocketStream;

use crate::host::{Host, OPTIONS, websocket};

#[tokio::test]
async fn udp_answers_go_back_to_where_the_request_came_from() {
    let mut host = Host::start().await;
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    phone.send_to(b"\r\n\r\n", host.address(Transport::Udp)).await.unwrap();
    phone.send_to(OPTIONS.as_bytes(), host.address(Transport::Udp)).await.unwrap();
    let flow = host.message().await;
    assert_eq!((flow.remote, flow.connection), (phone.local_addr().unwrap(), None));
    assert_eq!(flow.local, host.address(Transport::Udp));
    host.send(flow, "answer");
    let mut buffer = [0; 100];
    let (length, _) = phone.recv_from(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..length], b"answer");
}

/// Where nobody listens the system says so, and others are sent to and heard as before.
#[tokio::test]
async fn a_closed_port_is_told_of_with_what_was_sent_there() {
    let mut host = Host::start().await;
    let local = host.address(Transport::Udp);
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    // At an address where no other test gets the port that is free again.
    let closed = UdpSocket::bind("127.0.0.9:0").await.unwrap().local_addr().unwrap();
    let flow = |remote| Flow { transport: Transport::Udp, connection: None, local, remote };
    for _ in 0..20 {
        host.send(flow(closed), OPTIONS);
        host.send(flow(phone.local_addr().unwrap()), "for somebody else");
        let Arrival::Unreachable { remote, quoted } = host.next().await else { panic!() };
        assert_eq!((remote, &quoted[..]), (closed, OPTIONS.as_bytes()));
        let mut buffer = [0; 100];
        let (length, _) = phone.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"for somebody else");
        phone.send_to(OPTIONS.as_bytes(), local).await.unwrap();
        assert_eq!(host.message().await.remote, phone.local_addr().unwrap());
    }
}

#[tokio::test]
async fn a_stream_carries_split_messages_and_keep_alives_and_its_end_is_told() {
    let mut host = Host::start().await;
    let mut phone = host.tcp(Transport::Tcp).await;
    let (first, second) = OPTIONS.split_at(50);
    phone.write_all(first.as_bytes()).await.unwrap();
    phone.flush().await.unwrap();
    phone.write_all(second.as_bytes()).await.unwrap();
    let flow = host.message().await;
    phone.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    phone.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"\r\n");
    assert_eq!(host.transport.counters().open[1], 1);
    drop(phone);
    let closed = host.next().await;
    assert!(matches!(closed, Arrival::Closed(id) if Some(id) == flow.connection), "{closed:?}");
    host.send(flow, "too late");
    assert!(matches!(host.next().await, Arrival::Failed(failed) if failed == flow));
}

#[tokio::test]
async fn tls_works_in_both_directions() {
    let mut host = Host::start().await;
    let mut phone = host.tls(Transport::Tls).await;
    phone.write_all(OPTIONS.as_bytes()).await.unwrap();
    let flow = host.message().await;
    host.send(flow, "answer");
    let mut buffer = [0; 6];
    phone.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"answer");

    // To ourselves, as to a trunk whose name is known.
    let remote = host.address(Transport::Tls);
    host.transport.expect_peer(remote, "localhost", None);
    let flow = Flow { transport: Transport::Tls, connection: None, local: remote, remote };
    host.send(flow, OPTIONS);
    assert_eq!(host.message().await.transport, Transport::Tls);
}

#[tokio::test]
async fn a_flow_without_a_connection_opens_one_and_uses_it_again() {
    let host = Host::start().await;
    let trunk = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (local, remote) = (host.address(Transport::Tcp), trunk.local_addr().unwrap());
    let flow = Flow { transport: Transport::Tcp, connection: None, local, remote };
    host.send(flow, "one,");
    host.send(flow, "two");
    let (mut stream, _) = trunk.accept().await.unwrap();
    let mut buffer = [0; 7];
    stream.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"one,two");
}

/// As a peer does that wants a certificate which we do not have: what was sent is not answered.
#[tokio::test]
async fn a_connection_of_ours_that_ends_without_a_word_is_told_as_failed() {
    let mut host = Host::start().await;
    let trunk = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (local, remote) = (host.address(Transport::Tcp), trunk.local_addr().unwrap());
    let flow = Flow { transport: Transport::Tcp, connection: None, local, remote };
    host.send(flow, OPTIONS);
    drop(trunk.accept().await.unwrap());
    assert!(matches!(host.next().await, Arrival::Failed(failed) if failed == flow));
    assert!(matches!(host.next().await, Arrival::Closed(_)));
    // One that has spoken may close what is idle.
    host.send(flow, OPTIONS);
    let (mut stream, _) = trunk.accept().await.unwrap();
    stream.write_all(OPTIONS.as_bytes()).await.unwrap();
    host.message().await;
    drop(stream);
    assert!(matches!(host.next().await, Arrival::Closed(_)));
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_told_as_failed() {
    let mut host = Host::start().await;
    // At an address where no other test gets the port that is free again.
    let nobody = TcpListener::bind("127.0.0.9:0").await.unwrap().local_addr().unwrap();
    let local = host.address(Transport::Tcp);
    let flow = Flow { transport: Transport::Tcp, connection: None, local, remote: nobody };
    host.send(flow, OPTIONS);
    assert!(matches!(host.next().await, Arrival::Failed(failed) if failed == flow));
}

#[tokio::test]
async fn pipelined_messages_and_single_bytes_make_no_difference() {
    let mut host = Host::start().await;
    let mut phone = host.tcp(Transport::Tcp).await;
    phone.write_all(OPTIONS.repeat(3).as_bytes()).await.unwrap();
    for _ in 0..3 {
        host.message().await;
    }
    phone.set_nodelay(true).unwrap();
    for byte in OPTIONS.as_bytes() {
        phone.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    host.message().await;
}

#[tokio::test]
async fn websockets_carry_one_message_each_in_clear_and_over_tls() {
    let mut host = Host::start().await;
    let tcp = host.tcp(Transport::Ws).await;
    converse(&mut host, websocket(tcp, None).await.unwrap(), Transport::Ws).await;
    let tls = host.tls(Transport::Wss).await;
    converse(&mut host, websocket(tls, None).await.unwrap(), Transport::Wss).await;
    assert_eq!(host.transport.counters().connected, [0, 0, 0, 1, 1]);
}

/// A message, an answer, a keep-alive and the end.
async fn converse<T: AsyncRead + AsyncWrite + Unpin>(
    host: &mut Host,
    mut browser: WebSocketStream<T>,
    kind: Transport,
) {
    browser.send(OPTIONS.into()).await.unwrap();
    let flow = host.message().await;
    assert_eq!(flow.transport, kind);
    host.send(flow, "answer");
    assert_eq!(next_text(&mut browser).await, "answer");
    browser.send("\r\n\r\n".into()).await.unwrap();
    assert_eq!(next_text(&mut browser).await, "\r\n");
    browser.close(None).await.unwrap();
    let closed = host.next().await;
    assert!(matches!(closed, Arrival::Closed(id) if Some(id) == flow.connection), "{closed:?}");
    while let Some(message) = browser.next().await {
        assert!(message.unwrap().is_close(), "the close is answered");
    }
}

async fn next_text<T: AsyncRead + AsyncWrite + Unpin>(browser: &mut WebSocketStream<T>) -> String {
    loop {
        let message = browser.next().await.unwrap().unwrap();
        if message.is_text() {
            return message.into_text().unwrap().to_string();
        }
    }
}

#[tokio::test]
async fn both_ip_families_have_the_same_port_and_keep_apart() {
    let any = |kind, address: &str| (kind, address.parse().unwrap());
    let first = Host::listening(
        vec![any(Transport::Udp, "0.0.0.0:0"), any(Transport::Tcp, "0.0.0.0:0")],
        ConnectionLimits::default(),
    )
    .await;
    let six = |kind: Transport| {
        (kind, SocketAddr::new("::".parse().unwrap(), first.address(kind).port()))
    };
    let listeners = vec![six(Transport::Udp), six(Transport::Tcp)];
    let mut host = Host::listening(listeners, ConnectionLimits::default()).await;

    let at = |kind| SocketAddr::new("::1".parse().unwrap(), first.address(kind).port());
    let phone = UdpSocket::bind("[::1]:0").await.unwrap();
    phone.send_to(OPTIONS.as_bytes(), at(Transport::Udp)).await.unwrap();
    let flow = host.message().await;
    assert_eq!((flow.local, flow.remote), (at(Transport::Udp), phone.local_addr().unwrap()));
    host.send(flow, "answer");
    let mut buffer = [0; 6];
    phone.recv(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"answer");

    let mut phone = TcpStream::connect(at(Transport::Tcp)).await.unwrap();
    phone.write_all(OPTIONS.as_bytes()).await.unwrap();
    assert_eq!(host.message().await.local, at(Transport::Tcp));
}

#[tokio::test]
async fn a_phone_behind_nat_learns_its_address_by_stun() {
    let host = Host::start().await;
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend([9; 12]);
    phone.send_to(&request, host.address(Transport::Udp)).await.unwrap();
    let mut buffer = [0; 100];
    let length = phone.recv(&mut buffer).await.unwrap();
    let port = u16::from_be_bytes([buffer[26], buffer[27]]) ^ 0x2112;
    assert_eq!((length, port), (32, phone.local_addr().unwrap().port()));
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart() {
    let mut host = Host::start().await;
    let (server, client) = crate::host::tls();
    host.transport.replace_certificate(server);
    host.client = client;
    let mut phone = host.tls(Transport::Tls).await;
    phone.write_all(OPTIONS.as_bytes()).await.unwrap();
    host.message().await;
}

/// The largest that fits a datagram; a stream takes it in pieces of any size.
#[tokio::test]
async fn a_message_of_64_kib_passes_whole_over_every_transport() {
    let mut host = Host::start().await;
    let body = "x".repeat(65_000);
    let large =
        OPTIONS.replace("Content-Length: 0", "Content-Type: text/plain\r\nContent-Length: 65000");
    let large = format!("{large}{body}");
    assert!(large.len() < 65_507, "{}", large.len());
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    phone.send_to(large.as_bytes(), host.address(Transport::Udp)).await.unwrap();
    assert_eq!(body_of(&mut host).await, body);
    let mut stream = host.tcp(Transport::Tcp).await;
    stream.write_all(large.as_bytes()).await.unwrap();
    assert_eq!(body_of(&mut host).await, body);
    let mut stream = host.tls(Transport::Tls).await;
    stream.write_all(large.as_bytes()).await.unwrap();
    assert_eq!(body_of(&mut host).await, body);
    let io = host.tls(Transport::Wss).await;
    let mut socket = websocket(io, None).await.unwrap();
    let text = tokio_tungstenite::tungstenite::Message::text(large);
    socket.send(text).await.unwrap();
    assert_eq!(body_of(&mut host).await, body);
}

async fn body_of(host: &mut Host) -> String {
    match host.next().await {
        Arrival::Message { message: Message::Request(request), .. } => {
            String::from_utf8_lossy(&request.body).into_owned()
        }
        other => panic!("{other:?}"),
    }
}

/// What a turn of the node has to say leaves in as few calls as it can, in its order.
#[tokio::test]
async fn messages_that_leave_together_arrive_in_order_and_failures_are_told() {
    let mut host = Host::start().await;
    let phones = [udp_phone().await, udp_phone().await];
    let local = host.address(Transport::Udp);
    let to = |remote| Flow { transport: Transport::Udp, connection: None, local, remote };
    let mut transmits: Vec<Transmit> = (0..200)
        .map(|n: usize| Transmit {
            flow: to(phones[n % 2].local_addr().unwrap()),
            bytes: n.to_string().into(),
        })
        .collect();
    // Nobody can be reached at an address of the other family.
    let nowhere = to("[2001:db8::1]:5060".parse().unwrap());
    transmits.insert(100, Transmit { flow: nowhere, bytes: "lost".into() });
    host.transport.send_all(&mut transmits);
    assert!(transmits.is_empty());
    for n in 0..200 {
        let mut buffer = [0; 10];
        let (length, _) = phones[n % 2].recv_from(&mut buffer).await.unwrap();
        assert_eq!(buffer[..length], *n.to_string().as_bytes());
    }
    assert!(matches!(host.next().await, Arrival::Failed(flow) if flow == nowhere));
    assert_eq!(host.transport.counters().sent[0], 201);
}

async fn udp_phone() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

/// A burst is taken in batches, and nothing of it is lost or mixed up.
#[tokio::test]
async fn a_burst_of_datagrams_is_heard_in_order() {
    let mut host = Host::start().await;
    let phone = udp_phone().await;
    for round in 0..10 {
        for n in 0..40 {
            let text = OPTIONS.replace("Call-ID: 1", &format!("Call-ID: {round}-{n}"));
            phone.send_to(text.as_bytes(), host.address(Transport::Udp)).await.unwrap();
        }
        for n in 0..40 {
            let Arrival::Message { message, .. } = host.next().await else { panic!("no message") };
            assert_eq!(message.headers().call_id().unwrap(), format!("{round}-{n}").as_bytes());
        }
    }
}
