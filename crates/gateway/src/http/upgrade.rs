//! From an HTTP request to a WebSocket that speaks SIP (RFC 6455 §4.2, RFC 7118 §3).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::header::{
    CONNECTION, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use crosspoint_net::Permit;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Arrival, Backend};
use crate::config::Origins;

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
    origins: &Origins,
    backend: Arc<dyn Backend>,
) -> Response {
    let key = match check(headers, origins) {
        Ok(key) => key,
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
        (SEC_WEBSOCKET_PROTOCOL, "sip".to_owned()),
    ];
    tokio::spawn(async move {
        if let Ok(io) = upgrade.await {
            backend.adopt(Upgraded {
                io: TokioIo::new(io),
                local: arrival.local,
                remote: arrival.remote,
                is_secure: arrival.is_secure,
                _permit: arrival.permit,
            });
        }
    });
    (StatusCode::SWITCHING_PROTOCOLS, answer).into_response()
}

/// Gives the handshake's key, or why there will be no WebSocket.
fn check<'h>(
    headers: &'h HeaderMap,
    origins: &Origins,
) -> Result<&'h [u8], (StatusCode, &'static str)> {
    if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade") {
        return Err((StatusCode::UPGRADE_REQUIRED, "this is a WebSocket"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|v| v != "13") {
        return Err((StatusCode::BAD_REQUEST, "only version 13 of the WebSocket protocol"));
    }
    if !has_token(headers, &SEC_WEBSOCKET_PROTOCOL, "sip") {
        return Err((StatusCode::BAD_REQUEST, "the subprotocol is sip"));
    }
    if !is_allowed(headers, origins) {
        return Err((StatusCode::FORBIDDEN, "this page's origin is not allowed"));
    }
    headers
        .get(SEC_WEBSOCKET_KEY)
        .map(axum::http::HeaderValue::as_bytes)
        .ok_or((StatusCode::BAD_REQUEST, "the handshake has no key"))
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
}

fn is_allowed(headers: &HeaderMap, origins: &Origins) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(UNREADABLE));
    origins.allow(text(ORIGIN), text(HOST))
}

/// Stands for what is no text: no page and no host is called that.
const UNREADABLE: &str = "\0";

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
