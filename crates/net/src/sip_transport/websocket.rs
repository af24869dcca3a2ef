//! SIP over WebSocket (RFC 7118): one SIP message in one WebSocket message.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use crosspoint_base::{Flow, Transport};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::stream::{HANDSHAKE_TIME, WRITE_TIME};
use super::{SipTransport, within};
use crate::Permit;

/// Does the handshake on a listener of our own, and serves the connection to its end.
pub(super) async fn greet(
    transport: &SipTransport,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (kind, local, remote): (Transport, SocketAddr, SocketAddr),
    _permit: Permit,
) -> io::Result<()> {
    let handshake =
        tokio_tungstenite::accept_hdr_async_with_config(io, check_subprotocol, Some(limits()));
    let socket =
        within(HANDSHAKE_TIME, async { handshake.await.map_err(io::Error::other) }).await?;
    let (id, flow, outbound) = transport.register(kind, local, remote);
    exchange(transport, socket, flow, outbound).await;
    transport.unregister(id).await;
    Ok(())
}

/// Serves a connection whose handshake was done elsewhere.
pub(super) async fn converse(
    transport: &SipTransport,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    flow: Flow,
    outbound: mpsc::Receiver<Bytes>,
) {
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits())).await;
    exchange(transport, socket, flow, outbound).await;
}

async fn exchange(
    transport: &SipTransport,
    socket: WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>,
    flow: Flow,
    mut outbound: mpsc::Receiver<Bytes>,
) {
    let (mut sink, mut source) = socket.split();
    let mut ping = tokio::time::interval(PING_PERIOD);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        let outgoing = tokio::select! {
            incoming = source.next() => {
                let Some(Ok(message)) = incoming else { return };
                heard = Instant::now();
                match message {
                    Message::Text(text) => take(transport, flow, text.into()).await,
                    Message::Binary(bytes) => take(transport, flow, bytes).await,
                    Message::Close(_) => return,
                    Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => None,
                }
            }
            queued = outbound.recv() => match queued {
                Some(bytes) => Some(message_of(bytes)),
                None => return,
            },
            // A browser answers pings for its pages, so silence means that the host is gone.
            now = ping.tick() => {
                if now.duration_since(heard) > SILENCE {
                    return;
                }
                Some(Message::Ping(Bytes::new()))
            }
        };
        if let Some(message) = outgoing {
            let sent =
                within(WRITE_TIME, async { sink.send(message).await.map_err(io::Error::other) });
            if sent.await.is_err() {
                return;
            }
        }
    }
}

/// Hands on a message; gives the answer to a keep-alive (RFC 5626 §4.4.1).
async fn take(transport: &SipTransport, flow: Flow, bytes: Bytes) -> Option<Message> {
    match &bytes[..] {
        b"\r\n\r\n" => return Some(Message::text("\r\n")),
        b"\r\n" | b"" => {}
        _ => transport.deliver(flow, bytes).await,
    }
    None
}

/// Text when it is UTF-8, as most stacks expect; old names in Latin-1 have to go as bytes.
fn message_of(bytes: Bytes) -> Message {
    match String::from_utf8(bytes.into()) {
        Ok(text) => Message::text(text),
        Err(error) => Message::binary(error.into_bytes()),
    }
}

#[expect(clippy::result_large_err, reason = "the library's callback wants it so")]
fn check_subprotocol(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let name = "sec-websocket-protocol";
    let offered = request.headers().get_all(name).iter().filter_map(|v| v.to_str().ok());
    let is_sip = offered.flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case("sip"));
    if !is_sip {
        let mut refusal = ErrorResponse::new(Some("the subprotocol is sip".to_owned()));
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        return Err(refusal);
    }
    response.headers_mut().insert(name, HeaderValue::from_static("sip"));
    Ok(response)
}

fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
        .read_buffer_size(8192)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * MAX_MESSAGE)
}

const MAX_MESSAGE: usize = 65_535;
const PING_PERIOD: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(25);
