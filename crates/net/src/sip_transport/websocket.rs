//! SIP over WebSocket (RFC 7118): one SIP message in one WebSocket message.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use crosspoint_base::Transport;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::counters::Happening;
use super::table::Outbound;
use super::{OpenConnection, OriginCheck, SipTransport};
use crate::{Permit, within};

/// Does the handshake on a listener of our own, and has the connection served in a task of its
/// own: what the handshake needed takes no room any more.
pub(super) async fn greet(
    transport: &SipTransport,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (kind, local, remote): (Transport, SocketAddr, SocketAddr),
    permit: Permit,
) -> io::Result<()> {
    let origins = transport.0.origins.clone();
    #[expect(clippy::result_large_err, reason = "the library's callback wants it so")]
    let check = move |request: &Request, response| check(request, response, &origins);
    let handshake = tokio_tungstenite::accept_hdr_async_with_config(io, check, Some(limits()));
    let limit = transport.0.limits.handshake;
    let socket = within(limit, async { handshake.await.map_err(io::Error::other) }).await?;
    let (open, outbound) = transport.register(kind, local, remote);
    tokio::spawn(async move {
        let _permit = permit;
        serve(&open, socket, outbound).await;
    });
    Ok(())
}

/// Serves a connection whose handshake was done elsewhere.
pub(super) async fn converse(
    open: &OpenConnection,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    outbound: Outbound,
) {
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits())).await;
    serve(open, socket, outbound).await;
}

async fn serve(
    open: &OpenConnection,
    mut socket: WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>,
    outbound: Outbound,
) {
    open.count_connected();
    let cut = outbound.cut();
    tokio::select! {
        () = exchange(open, &mut socket, outbound) => {}
        () = cut.notified() => return,
    }
    // The peer should know that it was meant, and TLS that nothing was cut off. Boxed: what is
    // needed once at the end takes no room while the connection is idle.
    let limit = open.limits().write;
    let close = Box::pin(async move {
        SinkExt::close(&mut socket).await.map_err(io::Error::other)?;
        socket.get_mut().shutdown().await
    });
    let _ = within(limit, close).await;
}

async fn exchange(
    open: &OpenConnection,
    socket: &mut WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>,
    mut outbound: Outbound,
) {
    let limits = open.limits();
    let first_ping = Instant::now() + limits.ping_period;
    let mut ping = tokio::time::interval_at(first_ping, limits.ping_period);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let mut controls = 0;
    loop {
        let outgoing = tokio::select! {
            incoming = socket.next() => {
                let message = match incoming {
                    Some(Ok(message)) => message,
                    Some(Err(error)) => return refuse(open, &error),
                    None => return,
                };
                heard = Instant::now();
                match message {
                    Message::Text(text) => take(open, text.as_bytes()).await,
                    Message::Binary(bytes) => take(open, &bytes).await,
                    Message::Close(_) => return,
                    // Pings are answered by the library, however many come.
                    Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                        controls += 1;
                        if controls > MAX_CONTROLS {
                            return open.count(Happening::Malformed);
                        }
                        None
                    }
                }
            }
            queued = outbound.next() => match queued {
                Some(bytes) => Some(message_of(bytes)),
                None => return,
            },
            // A browser answers pings for its pages, so silence means that the host is gone.
            now = ping.tick() => {
                if now.duration_since(heard) > limits.ping_period * 2 {
                    return open.count(Happening::CutSilent);
                }
                controls = 0;
                Some(Message::Ping(Bytes::new()))
            }
        };
        let Some(message) = outgoing else { continue };
        let sent =
            within(limits.write, async { socket.send(message).await.map_err(io::Error::other) });
        if let Err(error) = sent.await {
            if error.kind() == io::ErrorKind::TimedOut {
                open.count(Happening::CutUnread);
            }
            return;
        }
    }
}

/// What is not WebSocket, or too long for us, ends the connection.
fn refuse(open: &OpenConnection, error: &tokio_tungstenite::tungstenite::Error) {
    use tokio_tungstenite::tungstenite::Error;
    if matches!(error, Error::Capacity(_) | Error::Protocol(_) | Error::Utf8(_)) {
        open.count(Happening::Malformed);
    }
    tracing::debug!(%error, "a WebSocket cannot be read on");
}

/// Hands on a message; gives the answer to a keep-alive (RFC 5626 §4.4.1).
async fn take(open: &OpenConnection, bytes: &[u8]) -> Option<Message> {
    match bytes {
        b"\r\n\r\n" => {
            open.count(Happening::KeepAlive);
            return Some(Message::text("\r\n"));
        }
        b"\r\n" | b"" => {}
        // A copy: whoever keeps a part of it must not keep the library's buffer.
        _ => open.deliver(Bytes::copy_from_slice(bytes)).await,
    }
    None
}

/// Text when it is UTF-8, as most stacks expect; old names in Latin-1 have to go as bytes.
fn message_of(bytes: Bytes) -> Message {
    match Utf8Bytes::try_from(bytes.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(bytes),
    }
}

#[expect(clippy::result_large_err, reason = "the library's callback wants it so")]
fn check(
    request: &Request,
    mut response: Response,
    origins: &OriginCheck,
) -> Result<Response, ErrorResponse> {
    let refuse = |status, why: &str| {
        let mut refusal = ErrorResponse::new(Some(why.to_owned()));
        *refusal.status_mut() = status;
        Err(refusal)
    };
    let headers = request.headers();
    let offered = headers.get_all(SUBPROTOCOL).iter().filter_map(|v| v.to_str().ok());
    if !offered.flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case("sip")) {
        return refuse(StatusCode::BAD_REQUEST, "the subprotocol is sip");
    }
    if !is_from_allowed_page(headers, origins) {
        return refuse(StatusCode::FORBIDDEN, "this page's origin is not allowed");
    }
    response.headers_mut().insert(SUBPROTOCOL, HeaderValue::from_static("sip"));
    Ok(response)
}

/// A page of another site must not use a visitor's place in our network (RFC 6455 §10.2).
fn is_from_allowed_page(headers: &HeaderMap, origins: &OriginCheck) -> bool {
    // What cannot be read must not count as absent.
    let text = |name| headers.get(name).map(|v: &HeaderValue| v.to_str().unwrap_or("null"));
    origins.is_allowed(text("origin"), text("host"))
}

fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
        .read_buffer_size(READ_SIZE)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * MAX_MESSAGE)
}

/// Kept for as long as a connection lives, so small: most messages have a few hundred bytes.
const READ_SIZE: usize = 2048;
/// Between two pings of ours: libraries send one in ten seconds or more.
const MAX_CONTROLS: u32 = 100;
const MAX_MESSAGE: usize = 65_535;
const SUBPROTOCOL: &str = "sec-websocket-protocol";
