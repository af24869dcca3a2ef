//! From an HTTP request to a WebSocket that speaks SIP or carries apps (RFC 6455 §4.2, RFC 7118 §3),
//! also within a connection of HTTP/2 (RFC 8441).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::header::{
    CONNECTION, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use crosspoint_net::Permit;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Arrival, Backend, Lodger};
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
    /// None in HTTP/2, which needs no proof that the server knows WebSockets.
    key: Option<&'h [u8]>,
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
    _lodger: Option<Lodger>,
}

/// Answers the handshake, and hands the connection over once the answer is out.
pub(super) fn answer(
    request: &Request,
    upgrade: Option<OnUpgrade>,
    arrival: Arrival,
    purpose: Purpose,
    origins: &Origins,
    backend: Arc<dyn Backend>,
) -> Response {
    let Handshake { key, protocol, stranger } = match check(request, purpose, origins) {
        Ok(handshake) => handshake,
        Err((status, why)) => {
            tracing::debug!(%status, why, "a WebSocket was refused");
            return (status, why).into_response();
        }
    };
    let Some(upgrade) = upgrade else {
        return (StatusCode::UPGRADE_REQUIRED, "this is a WebSocket").into_response();
    };
    // Each WebSocket counts as a connection, also those that share one.
    let (permit, lodger) = match key {
        Some(_) => (Some(arrival.permit), None),
        None => (arrival.permit.another().map(Arc::new), Some(arrival.patience.lodge())),
    };
    let Some(permit) = permit else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many connections").into_response();
    };
    tokio::spawn(async move {
        let Ok(io) = upgrade.await else { return };
        let socket = Upgraded {
            io: TokioIo::new(io),
            local: arrival.local,
            remote: arrival.remote,
            is_secure: arrival.is_secure,
            _permit: permit,
            _lodger: lodger,
        };
        match purpose {
            Purpose::Sip => backend.adopt(socket),
            Purpose::Apps => backend.adopt_app(socket, stranger),
        }
    });
    let mut response = match key {
        Some(key) => {
            let answer = [
                (CONNECTION, "Upgrade".to_owned()),
                (UPGRADE, "websocket".to_owned()),
                (SEC_WEBSOCKET_ACCEPT, derive_accept_key(key)),
            ];
            (StatusCode::SWITCHING_PROTOCOLS, answer).into_response()
        }
        None => StatusCode::OK.into_response(),
    };
    if let Some(protocol) = protocol {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

/// Reads the handshake, or tells why there will be no WebSocket.
fn check<'h>(
    request: &'h Request,
    purpose: Purpose,
    origins: &Origins,
) -> Result<Handshake<'h>, (StatusCode, &'static str)> {
    let headers = request.headers();
    // RFC 8441 §5: the pseudo-header `:protocol` stands for the headers of an upgrade.
    let is_within = request.method() == Method::CONNECT
        && request.extensions().get::<Protocol>().is_some_and(|p| p.as_str() == "websocket");
    if !is_within && request.method() != Method::GET {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "this is a WebSocket"));
    }
    let is_upgrade =
        || has_token(headers, &UPGRADE, "websocket") && has_token(headers, &CONNECTION, "upgrade");
    if !is_within && (request.version() != Version::HTTP_11 || !is_upgrade()) {
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
    let stranger = stranger(headers, request.uri().authority(), origins);
    if purpose == Purpose::Sip && stranger.is_some() {
        return Err((StatusCode::FORBIDDEN, "this page's origin is not allowed"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).filter(|_| !is_within);
    if key.is_none() && !is_within {
        return Err((StatusCode::BAD_REQUEST, "the handshake has no key"));
    }
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
fn stranger(
    headers: &HeaderMap,
    authority: Option<&Authority>,
    origins: &Origins,
) -> Option<String> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(UNREADABLE));
    let origin = text(ORIGIN)?;
    // HTTP/2 names the host in the pseudo-header `:authority`.
    let host = text(HOST).or(authority.map(Authority::as_str));
    let is_allowed = origins.allow(Some(origin), host);
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
