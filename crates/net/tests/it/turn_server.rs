//! The TURN server's sockets. What it does with requests is tested where it is decided.

use std::net::SocketAddr;
use std::time::Instant;

use crosspoint_base::{Rng, Secret};
use crosspoint_media::turn::{Credentials, Limits, PeerPolicy, TurnConfig};
use crosspoint_net::{Admission, TurnServer, TurnServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::host::{PATIENCE, tls};

/// A binding request; the server answers with where it came from.
const QUESTION: [u8; 20] =
    [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
/// Header, then XOR-MAPPED-ADDRESS.
const ANSWER: usize = 32;

fn start(admission: Admission) -> (TurnServer, TlsConnector) {
    let (tls_server, client) = tls();
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let turn = TurnConfig {
        realm: "test".to_owned(),
        credentials: Credentials::new(Secret::new(b"secret".to_vec())),
        policy: PeerPolicy::default(),
        relay_addresses: vec![loopback.ip()],
        limits: Limits { allocations: 10, allocations_per_user: 2, bytes_per_second_per_user: 0 },
        clock: (Instant::now(), 1_800_000_000),
    };
    let config = TurnServerConfig {
        listen: loopback,
        tls_listen: Some(loopback),
        tls_server,
        relay_bind: loopback.ip(),
        relay_ports: (49_152, 65_535),
        admission,
        media: None,
        turn,
    };
    let server = TurnServer::bind(config, Rng::from_u64(1)).unwrap();
    (server, TlsConnector::from(client))
}

fn address(server: &TurnServer, kind: &str) -> SocketAddr {
    server.listeners().iter().find(|(k, _)| *k == kind).unwrap().1
}

fn check(answer: &[u8], local: SocketAddr) {
    assert_eq!((answer[0], answer[1], answer.len()), (1, 1, ANSWER));
    let port = u16::from_be_bytes([answer[26], answer[27]]) ^ 0x2112;
    assert_eq!(port, local.port());
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, local: SocketAddr) {
    // In pieces, and two at once: a stream has no edges.
    stream.write_all(&QUESTION[..7]).await.unwrap();
    stream.flush().await.unwrap();
    stream.write_all(&[&QUESTION[7..], &QUESTION].concat()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answers = [0; 2 * ANSWER];
    let reading = stream.read_exact(&mut answers);
    tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap();
    check(&answers[..ANSWER], local);
    check(&answers[ANSWER..], local);
}

#[tokio::test]
async fn answers_over_every_transport() {
    let (server, connector) = start(Admission::new(10, 10));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&QUESTION, address(&server, "turn-udp")).await.unwrap();
    let mut answer = [0; 100];
    let hearing = socket.recv(&mut answer);
    let length = tokio::time::timeout(PATIENCE, hearing).await.unwrap().unwrap();
    check(&answer[..length], socket.local_addr().unwrap());

    let stream = TcpStream::connect(address(&server, "turn-tcp")).await.unwrap();
    let local = stream.local_addr().unwrap();
    ask(stream, local).await;

    let stream = TcpStream::connect(address(&server, "turn-tls")).await.unwrap();
    let local = stream.local_addr().unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    ask(connector.connect(name, stream).await.unwrap(), local).await;
    assert_eq!(server.report().defects, 0);
}

#[tokio::test]
async fn what_is_no_turn_is_cut_and_too_many_are_not_let_in() {
    let (server, _) = start(Admission::new(1, 1));
    let mut first = TcpStream::connect(address(&server, "turn-tcp")).await.unwrap();
    first.write_all(&QUESTION).await.unwrap();
    let mut answer = [0; ANSWER];
    first.read_exact(&mut answer).await.unwrap();
    let mut second = TcpStream::connect(address(&server, "turn-tcp")).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, second.read(&mut answer)).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "there is no place for a second");
    first.write_all(b"\xffGET / HTTP/1.1\r\n\r\n").await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, first.read(&mut answer)).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "this is no TURN");
}
