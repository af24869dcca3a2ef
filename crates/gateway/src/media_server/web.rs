//! Requests over HTTP and WebSocket, and the page for monitoring.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{
    CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use crosspoint_net::{Admission, NgServer, Permit};
use crosspoint_ng::MAX_MESSAGE;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::metrics;

/// Serves connections until the process ends.
pub(super) async fn serve(listener: TcpListener, server: NgServer, admission: Admission) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                let Some(permit) = admission.admit(remote.ip()) else { continue };
                let _ = stream.set_nodelay(true);
                tokio::spawn(converse(stream, server.clone(), Arc::new(permit)));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// What the handlers know.
#[derive(Clone)]
struct Site {
    server: NgServer,
    /// A WebSocket keeps its place among the connections.
    permit: Arc<Permit>,
}

async fn converse(stream: TcpStream, server: NgServer, permit: Arc<Permit>) {
    let site = Router::new()
        .route("/ng", post(request).get(socket))
        .route("/ng-plain", post(plain).get(socket))
        .route("/ping", get(|| async { "pong\n" }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(page))
        // Clients open their WebSocket at any path; the subprotocol says what it is.
        .fallback(get(socket))
        .layer(DefaultBodyLimit::max(MAX_MESSAGE))
        .with_state(Site { server, permit });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(site))
        .with_upgrades();
    // Peers that break off are no news.
    let _ = connection.await;
}

async fn request(State(site): State<Site>, headers: HeaderMap, body: Bytes) -> Response {
    // The original knows no other and says so like this.
    if headers.get(CONTENT_TYPE).is_none_or(|kind| kind != KIND) {
        return StatusCode::NOT_FOUND.into_response();
    }
    reply(site.server.ask(body.to_vec(), false).await, KIND)
}

async fn plain(State(site): State<Site>, headers: HeaderMap, body: Bytes) -> Response {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let Some(kind) = [KIND, "application/json"].into_iter().find(|known| *known == kind) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    reply(site.server.ask(body.to_vec(), true).await, kind)
}

fn reply(reply: Option<Arc<[u8]>>, kind: &'static str) -> Response {
    match reply {
        Some(bytes) => ([(CONTENT_TYPE, kind)], bytes.to_vec()).into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn page(State(site): State<Site>) -> Response {
    let (report, media, recorder) = site.server.report();
    let kind = [(CONTENT_TYPE, "text/plain; version=0.0.4")];
    (kind, metrics::media_server(&report, &media, &recorder)).into_response()
}

/// A WebSocket of requests, by its subprotocol.
async fn socket(State(site): State<Site>, mut request: Request) -> Response {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let headers = request.headers();
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = offered.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim);
    let known = offered.filter_map(|name| SUBPROTOCOLS.iter().find(|(n, _)| *n == name)).next();
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let (Some((protocol, is_plain)), Some(key), Some(upgrade)) = (known, key, upgrade) else {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    };
    let accept = derive_accept_key(key);
    tokio::spawn(async move {
        let Ok(io) = upgrade.await else { return };
        let _permit = site.permit;
        site.server.converse(TokioIo::new(io), *is_plain).await;
    });
    let answer = [
        (CONNECTION, "Upgrade".to_owned()),
        (UPGRADE, "websocket".to_owned()),
        (SEC_WEBSOCKET_ACCEPT, accept),
        (SEC_WEBSOCKET_PROTOCOL, (*protocol).to_owned()),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, answer).into_response()
}

/// With a cookie before each message, and without.
const SUBPROTOCOLS: [(&str, bool); 2] =
    [("ng.rtpengine.com", false), ("ng-plain.rtpengine.com", true)];
const KIND: &str = "application/x-rtpengine-ng";
const HEAD_TIME: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);
