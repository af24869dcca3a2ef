//! Messages in and out over every transport, and peers that behave badly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crosspoint_base::{Flow, Transmit, Transport};
use crosspoint_net::{
    Admission, Arrival, ConnectionLimits, OriginCheck, SipTransport, SipTransportConfig,
};
use crosspoint_sip::Message;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

const OPTIONS: &str = "OPTIONS sip:gw SIP/2.0\r\n\
    Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n\
    From: <sip:a@b>;tag=1\r\nTo: <sip:gw>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\
    Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(20);

struct Host {
    transport: SipTransport,
    arrivals: mpsc::Receiver<Arrival>,
    client: Arc<ClientConfig>,
}

impl Host {
    async fn start() -> Self {
        let kinds = Transport::ALL;
        let listeners = kinds.map(|kind| (kind, "127.0.0.1:0".parse().unwrap())).to_vec();
        let (server, client) = tls();
        let (sender, arrivals) = mpsc::channel(64);
        let config = SipTransportConfig {
            listeners,
            tls_server: server,
            tls_client: Some(client.clone()),
            admission: Admission::new(100, 10),
            tell_local_address: true,
            origins: OriginCheck::default(),
            limits: ConnectionLimits::default(),
        };
        let transport = SipTransport::bind(config, sender).await.unwrap();
        Self { transport, arrivals, client }
    }

    fn address(&self, kind: Transport) -> SocketAddr {
        self.transport.listeners().iter().find(|(k, _)| *k == kind).unwrap().1
    }

    async fn next(&mut self) -> Arrival {
        tokio::time::timeout(PATIENCE, self.arrivals.recv()).await.unwrap().unwrap()
    }

    async fn message(&mut self) -> Flow {
        match self.next().await {
            Arrival::Message { flow, message: Message::Request(request) } => {
                assert_eq!(request.method.as_str(), "OPTIONS");
                flow
            }
            other => panic!("{other:?}"),
        }
    }

    fn send(&self, flow: Flow, text: &'static str) {
        self.transport.send(Transmit { flow, bytes: Bytes::from_static(text.as_bytes()) });
    }
}

/// A server with a certificate of its own and a client that trusts it.
fn tls() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

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

#[tokio::test]
async fn a_stream_carries_split_messages_and_keep_alives_and_its_end_is_told() {
    let mut host = Host::start().await;
    let mut phone = TcpStream::connect(host.address(Transport::Tcp)).await.unwrap();
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
    let stream = TcpStream::connect(host.address(Transport::Tls)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut phone = TlsConnector::from(host.client.clone()).connect(name, stream).await.unwrap();
    phone.write_all(OPTIONS.as_bytes()).await.unwrap();
    let flow = host.message().await;
    host.send(flow, "answer");
    let mut buffer = [0; 6];
    phone.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"answer");

    // To ourselves, as to a trunk whose name is known.
    let remote = host.address(Transport::Tls);
    host.transport.expect_name(remote, "localhost");
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

#[tokio::test]
async fn a_peer_that_is_not_there_is_told_as_failed() {
    let mut host = Host::start().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let local = host.address(Transport::Tcp);
    let flow = Flow { transport: Transport::Tcp, connection: None, local, remote: nobody };
    host.send(flow, OPTIONS);
    assert!(matches!(host.next().await, Arrival::Failed(failed) if failed == flow));
}

#[tokio::test]
async fn a_websocket_needs_the_sip_subprotocol_and_carries_one_message_each() {
    let mut host = Host::start().await;
    let url = format!("ws://{}/", host.address(Transport::Ws));
    assert!(tokio_tungstenite::connect_async(&url).await.is_err());

    let mut request = url.into_client_request().unwrap();
    let sip = HeaderValue::from_static("sip");
    request.headers_mut().insert("sec-websocket-protocol", sip);
    let (mut browser, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "sip");
    browser.send(OPTIONS.into()).await.unwrap();
    let flow = host.message().await;
    assert_eq!(flow.transport, Transport::Ws);
    host.send(flow, "answer");
    let answer = loop {
        let message = browser.next().await.unwrap().unwrap();
        if message.is_text() {
            break message;
        }
    };
    assert_eq!(answer.into_text().unwrap().as_str(), "answer");
}

#[tokio::test]
async fn rubbish_is_counted_and_ends_only_its_own_connection() {
    let mut host = Host::start().await;
    let mut bad = TcpStream::connect(host.address(Transport::Tcp)).await.unwrap();
    let mut good = TcpStream::connect(host.address(Transport::Tcp)).await.unwrap();
    bad.write_all(&[b'x'; 70_000]).await.unwrap();
    assert!(matches!(host.next().await, Arrival::Closed(_)));
    assert!(host.transport.counters().malformed > 0);
    good.write_all(OPTIONS.as_bytes()).await.unwrap();
    host.message().await;
}

#[tokio::test]
async fn one_source_cannot_take_every_connection() {
    let host = Host::start().await;
    let mut streams = Vec::new();
    for _ in 0..12 {
        streams.push(TcpStream::connect(host.address(Transport::Tcp)).await.unwrap());
    }
    // The eleventh and twelfth are closed at once.
    let mut buffer = [0; 1];
    let read = tokio::time::timeout(PATIENCE, streams[11].read(&mut buffer)).await.unwrap();
    assert!(!matches!(read, Ok(1..)));
}
