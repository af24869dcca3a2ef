//! To a service: TCP, TLS that checks its certificate, and the handshake of RFC 6455.

use std::sync::Arc;

use crosspoint_base::Secret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// A connection of either kind.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub(super) type Socket = WebSocketStream<Box<dyn Io>>;

/// Connects, or says why not.
pub(super) async fn dial(
    url: &str,
    token: Option<&Secret<String>>,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Socket, &'static str> {
    let request = request(url, token).ok_or("refused")?;
    let uri = request.uri();
    let is_secure = uri.scheme_str() == Some("wss");
    let host = uri.host().ok_or("refused")?.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| {
        tracing::warn!(%error, "a service for sound cannot be reached");
        "unreachable"
    })?;
    let _ = stream.set_nodelay(true);
    let io: Box<dyn Io> = if is_secure {
        let name = ServerName::try_from(host).map_err(|_| "refused")?;
        let connector = TlsConnector::from(tls.ok_or("refused")?);
        let stream = connector.connect(name, stream).await.map_err(|error| {
            tracing::warn!(%error, "a service for sound has no good certificate");
            "refused"
        })?;
        Box::new(stream)
    } else {
        Box::new(stream)
    };
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(MAX_MESSAGE);
    config.max_frame_size = Some(MAX_MESSAGE);
    let connecting = tokio_tungstenite::client_async_with_config(request, io, Some(config));
    match connecting.await {
        Ok((socket, _)) => Ok(socket),
        Err(error) => {
            tracing::warn!(%error, "a service for sound refused the connection");
            Err("refused")
        }
    }
}

fn request(url: &str, token: Option<&Secret<String>>) -> Option<Request> {
    let mut request = url.into_client_request().ok()?;
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", HeaderValue::from_static(PROTOCOL));
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok()?;
        value.set_sensitive(true);
        headers.insert("authorization", value);
    }
    Some(request)
}

const PROTOCOL: &str = "crosspoint.media.v1";
/// More than five seconds of sound at 48 kHz in one message are not sensible.
const MAX_MESSAGE: usize = 512 * 1024;
