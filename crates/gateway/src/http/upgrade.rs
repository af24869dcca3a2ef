//! From an HTTP request to a WebSocket that speaks SIP or carries apps (RFC 6455 §4.2, RFC 7118 §3).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::header::{
    CONNECTION, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use crosspoint_net::Permit;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Arrival, Backend};
use crate::config::Origins;

/// What a WebSocket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Sip,
    /// The JSON of apps (`docs/protocols/rtcengine.md`).
    Apps,
}

/// What a handshake that is in order says.
struct Handshake<'h> {
    key: &'h [u8],
    /// The subprotocol to answer with.
    protocol: Option<HeaderValue>,
    /// The page, when configuration alone does not let it in.
    stranger: Option<String>,
}

/// A connection after its WebSocket handshake. It keeps its place among the connections.
pub(crate) struct Upgraded {
    io: TokioIo<hyper::upgrade::Upgraded>,
    pub(crate) local: std::net::SocketAddr,
    pub(crate) remote: std::net::SocketAddr,
    pub(crate) is_secure: bool,
    _permit: Arc<Permit>,
}

/// Answers the handshake, and hands the connection over once the answer is out.
pub(super) fn answer(
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
    arrival: Arrival,
    purpose: Purpose,
    origins: &Origins,
    backend: Arc<dyn Backend>,
) -> Response {
    let Handshake { key, protocol, stranger } = match check(headers, purpose, origins) {
        Ok(handshake) => handshake,
        Err((status, why)) => {
            tracing::debug!(%status, why, "a WebSocket was refused");
            return (status, why).into_response();
        }
    };
    let Some(upgrade) = upgrade else {
        return (StatusCode::UPGRADE_REQUIRED, "this is a WebSocket").into_response();
    };
    let answer = [
        (CONNECTION, "Upgrade".to_owned()),
        (UPGRADE, "websocket".to_owned()),
        (SEC_WEBSOCKET_ACCEPT, derive_accept_key(key)),
    ];
    tokio::spawn(async move {
        let Ok(io) = upgrade.await else { return };
        let socket = Upgraded {
            io: TokioIo::new(io),
            local: arrival.local,
            remote: arrival.remote,
            is_secure: arrival.is_secure,
            _permit: arrival.permit,
        };
        match purpose {
            Purpose::Sip => backend.adopt(socket),
            Purpose::Apps => backend.adopt_app(socket, stranger),
        }
    });
    let mut response = (StatusCode::SWITCHING_PROTOCOLS, answer).into_response();
    if let Some(protocol) = protocol {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

/// Reads the handshake, or tells why there will be no WebSocket.
fn check<'h>(
    headers: &'h HeaderMap,
    purpose: Purpose,
    origins: &Origins,
) -> Result<Handshake<'h>, (StatusCode, &'static str)> {
    if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade") {
        return Err((StatusCode::UPGRADE_REQUIRED, "this is a WebSocket"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|v| v != "13") {
        return Err((StatusCode::BAD_REQUEST, "only version 13 of the WebSocket protocol"));
    }
    let protocol = match purpose {
        Purpose::Sip if has_token(headers, &SEC_WEBSOCKET_PROTOCOL, "sip") => {
            Some(HeaderValue::from_static("sip"))
        }
        Purpose::Sip => return Err((StatusCode::BAD_REQUEST, "the subprotocol is sip")),
        Purpose::Apps => first_protocol(headers),
    };
    let stranger = stranger(headers, origins);
    if purpose == Purpose::Sip && stranger.is_some() {
        return Err((StatusCode::FORBIDDEN, "this page's origin is not allowed"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let key = key.ok_or((StatusCode::BAD_REQUEST, "the handshake has no key"))?;
    Ok(Handshake { key, protocol, stranger })
}

/// Browsers take none but one they offered, and with one offered not none either.
fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let first = offered.split(',').map(str::trim).find(|name| !name.is_empty())?;
    HeaderValue::from_str(first).ok()
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
}

/// The origin of a page that configuration does not let in.
fn stranger(headers: &HeaderMap, origins: &Origins) -> Option<String> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(UNREADABLE));
    let origin = text(ORIGIN)?;
    let is_allowed = origins.allow(Some(origin), text(HOST));
    (!is_allowed).then(|| if origin.len() > MAX_ORIGIN { UNREADABLE } else { origin }.to_owned())
}

/// Stands for what is no text: no page and no host is called that.
const UNREADABLE: &str = "\0";
/// Longer than any host name with scheme and port.
const MAX_ORIGIN: usize = 512;

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
