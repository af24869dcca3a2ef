//! A gateway's transport on loopback, and what its peers need to reach it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crosspoint_base::{Flow, Transmit, Transport};
use crosspoint_net::{
    Admission, Arrival, ConnectionLimits, OriginCheck, SipTransport, SipTransportConfig,
};
use crosspoint_sip::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

pub(crate) const OPTIONS: &str = "OPTIONS sip:gw SIP/2.0\r\n\
    Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n\
    From: <sip:a@b>;tag=1\r\nTo: <sip:gw>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\
    Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Host {
    pub(crate) transport: SipTransport,
    arrivals: mpsc::Receiver<Arrival>,
    pub(crate) client: Arc<ClientConfig>,
}

impl Host {
    pub(crate) async fn start() -> Self {
        Self::with_limits(ConnectionLimits::default()).await
    }

    pub(crate) async fn with_limits(limits: ConnectionLimits) -> Self {
        let loopback = "127.0.0.1:0".parse().unwrap();
        Self::listening(Transport::ALL.map(|kind| (kind, loopback)).to_vec(), limits).await
    }

    pub(crate) async fn listening(
        listeners: Vec<(Transport, SocketAddr)>,
        limits: ConnectionLimits,
    ) -> Self {
        let (server, client) = tls();
        let (sender, arrivals) = mpsc::channel(QUEUE);
        let config = SipTransportConfig {
            listeners,
            tls_server: server,
            tls_client: Some(client.clone()),
            admission: Admission::new(100, 10),
            tell_local_address: true,
            certificates: None,
            origins: OriginCheck::default(),
            limits,
        };
        let transport = SipTransport::bind(config, sender).await.unwrap();
        Self { transport, arrivals, client }
    }

    pub(crate) fn address(&self, kind: Transport) -> SocketAddr {
        self.transport.listeners().iter().find(|(k, _)| *k == kind).unwrap().1
    }

    pub(crate) async fn next(&mut self) -> Arrival {
        tokio::time::timeout(PATIENCE, self.arrivals.recv()).await.unwrap().unwrap()
    }

    pub(crate) async fn message(&mut self) -> Flow {
        match self.next().await {
            Arrival::Message { flow, message: Message::Request(request) } => {
                assert_eq!(request.method.as_str(), "OPTIONS");
                flow
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn send(&self, flow: Flow, text: &'static str) {
        self.transport.send(Transmit { flow, bytes: Bytes::from_static(text.as_bytes()) });
    }

    pub(crate) async fn tcp(&self, kind: Transport) -> TcpStream {
        TcpStream::connect(self.address(kind)).await.unwrap()
    }

    pub(crate) async fn tls(&self, kind: Transport) -> TlsStream<TcpStream> {
        let name = ServerName::try_from("localhost").unwrap();
        let stream = self.tcp(kind).await;
        TlsConnector::from(self.client.clone()).connect(name, stream).await.unwrap()
    }
}

/// Opens a WebSocket for SIP over a connection, as a page of `origin` would.
pub(crate) async fn websocket<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    origin: Option<&'static str>,
) -> Result<WebSocketStream<T>, tokio_tungstenite::tungstenite::Error> {
    let mut request = "ws://gw.test/".into_client_request().unwrap();
    let sip = HeaderValue::from_static("sip");
    request.headers_mut().insert("sec-websocket-protocol", sip);
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", HeaderValue::from_static(origin));
    }
    let (socket, response) = tokio_tungstenite::client_async(request, io).await?;
    assert_eq!(response.headers()["sec-websocket-protocol"], "sip");
    Ok(socket)
}

/// A server with a certificate of its own and a client that trusts it.
pub(crate) fn tls() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
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

/// Messages that wait for the host.
pub(crate) const QUEUE: usize = 64;
