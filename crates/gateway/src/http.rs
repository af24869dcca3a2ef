//! HTTPS: the web phone, WebSockets, health and metrics, by HTTP/1.1 and HTTP/2.
//!
//! Anybody may connect, so everything has a bound: the time for a request's head, and for a whole
//! connection that does not become a WebSocket; streams at once, resets and heads (RFC 9113 §10.5). How many connections there may be, and their TLS,
//! is looked after where they are accepted (`SharedPort`).

mod api;
mod call_api;
mod site;
mod upgrade;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use crosspoint_call::router::{Decision, RouteRequest};
use crosspoint_connectors::webterminal::Subscriber;
use crosspoint_net::{Bans, HttpConnection, HttpVersion, Permit};
use crosspoint_state::CdrFilter;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tower::Layer as _;

pub(crate) use call_api::{CallApi, StreamCounters, TerminalStreams, Tokens as BearerTokens};
pub use call_api::{read_terminal_message, written_terminal_message};
pub(crate) use upgrade::Upgraded;

use crate::calls::CallWish;
use crate::cli::Failure;
use crate::config::Origins;
use crate::events::Events;
use crate::ladder::{Dated, RecentCalls};
use crate::provisioning::{Provisioning, Refusal};
use crate::run::drain::Draining;
use crate::run::reload::Outcome;

/// What the pages show and where their WebSockets go.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Whether calls are taken now: asked of the signalling loop itself.
    fn is_ready(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
    /// The page for Prometheus.
    fn metrics(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>>;
    /// What an operator asks of the running calls.
    fn calls(
        &self,
        wish: CallWish,
    ) -> Pin<Box<dyn Future<Output = Result<Value, Refusal>> + Send + '_>>;
    /// Reads the configuration again.
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<Outcome, Failure>> + Send + '_>>;
    /// Whether new calls are taken, once the gateway is complete.
    fn draining(&self) -> Option<&Draining>;
    /// Who is not listened to.
    fn bans(&self) -> &Bans;
    /// What happens to calls.
    fn events(&self) -> &Events;
    /// Records of past calls.
    fn records(
        &self,
        filter: CdrFilter,
    ) -> Pin<Box<dyn Future<Output = Result<Value, Refusal>> + Send + '_>>;
    /// What was said in a call.
    fn ladder(
        &self,
        gcid: String,
    ) -> Pin<Box<dyn Future<Output = Result<Dated, Refusal>> + Send + '_>>;
    /// The last calls, newest first.
    fn recent_calls(
        &self,
        most: usize,
    ) -> Pin<Box<dyn Future<Output = Result<RecentCalls, Refusal>> + Send + '_>>;
    /// Where a call would go now.
    fn explain(
        &self,
        request: RouteRequest,
    ) -> Pin<Box<dyn Future<Output = Result<Decision, Refusal>> + Send + '_>>;
    /// Whose calls are meant by a user's name or number.
    fn subscriber(
        &self,
        name: String,
    ) -> Pin<Box<dyn Future<Output = Option<Subscriber>> + Send + '_>>;
    /// Where recordings are, if there are any.
    fn recordings_folder(&self) -> Option<PathBuf>;
    /// Where prompts are, if there are any.
    fn prompts_folder(&self) -> Option<PathBuf>;
    /// How everything does, in figures.
    fn overview(&self) -> Pin<Box<dyn Future<Output = Value> + Send + '_>>;
    /// The file that we are configured by, if there is one.
    fn configuration_file(&self) -> Option<PathBuf>;
    /// What the web phone needs to know.
    fn phone_config(&self) -> Value;
    /// Takes over a connection that speaks SIP over WebSocket from now on (RFC 7118).
    fn adopt(&self, socket: Upgraded);
    /// Takes over a connection of an app. `stranger` is the origin of its page when configuration
    /// does not let it in: then the app that it belongs to has to.
    fn adopt_app(&self, socket: Upgraded, stranger: Option<String>);
}

/// Everything that is served over HTTP.
#[derive(Clone)]
pub(crate) struct HttpServer {
    site: Router,
}

/// What the site's handlers know of the connection a request came over.
#[derive(Debug, Clone)]
struct Arrival {
    local: SocketAddr,
    remote: SocketAddr,
    is_secure: bool,
    permit: Arc<Permit>,
    patience: Arc<Patience>,
}

/// Until when a connection may go on: for a bounded time, and longer for an answer that has no end
/// of its own, for as long as somebody takes it, and for WebSockets within it.
#[derive(Debug)]
struct Patience {
    until: Mutex<Instant>,
    sockets: AtomicUsize,
}

/// A WebSocket within a connection of HTTP/2.
#[derive(Debug)]
struct Lodger(Arc<Patience>);

impl Patience {
    fn new() -> Self {
        let until = Mutex::new(Instant::now() + CONVERSATION_TIME);
        Self { until, sockets: AtomicUsize::new(0) }
    }

    fn until(&self) -> Instant {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        match self.sockets.load(Ordering::Relaxed) {
            0 => until,
            _ => until.max(Instant::now() + TAKING_TIME),
        }
    }

    /// Somebody takes more of an endless answer.
    fn renew(&self) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(Instant::now() + TAKING_TIME);
    }

    fn lodge(self: &Arc<Self>) -> Lodger {
        self.sockets.fetch_add(1, Ordering::Relaxed);
        Lodger(self.clone())
    }
}

impl Drop for Lodger {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HttpServer {
    pub(crate) fn new(
        origins: Origins,
        backend: Arc<dyn Backend>,
        provisioning: Arc<Provisioning>,
        call_api: CallApi,
    ) -> Self {
        let pages = Arc::new(origins.clone());
        let calls = call_api::router(call_api, backend.clone(), pages);
        Self { site: site::router(origins, backend, provisioning).merge(calls) }
    }

    /// Serves a connection in a task of its own. WebSockets that become of it live on.
    pub(crate) fn take(&self, connection: HttpConnection) {
        let HttpConnection { stream, local, remote, is_secure, version, permit } = connection;
        let (permit, patience) = (Arc::new(permit), Arc::new(Patience::new()));
        let arrival = Arrival { local, remote, is_secure, permit, patience };
        tokio::spawn(converse(stream, version, self.site.clone(), arrival));
    }
}

/// Serves one connection until it closes or becomes a WebSocket.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    version: HttpVersion,
    site: Router,
    arrival: Arrival,
) {
    let patience = arrival.patience.clone();
    // Around the router: a layer of the router itself would make every route anew for this connection.
    let site = TowerToHyperService::new(axum::Extension(arrival).layer(site));
    match version {
        HttpVersion::Http1 => {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), site)
                .with_upgrades();
            let mut connection = pin!(connection);
            if !until_over(&patience, &mut connection).await {
                // An answer that is on its way comes to its end.
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(TAKING_TIME, connection).await;
            }
        }
        HttpVersion::Http2 => {
            let connection = http2().serve_connection(TokioIo::new(stream), site);
            let mut connection = pin!(connection);
            if !until_over(&patience, &mut connection).await {
                // The client is told to open another one; what runs may come to its end.
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(TAKING_TIME, connection).await;
            }
        }
    }
}

/// Says whether it is over, and not only its time.
async fn until_over<C: Future>(patience: &Patience, connection: &mut Pin<&mut C>) -> bool {
    loop {
        let until = patience.until();
        // Peers that break off are no news.
        if tokio::time::timeout_at(until, connection.as_mut()).await.is_ok() {
            return true;
        }
        if patience.until() <= until {
            return false;
        }
    }
}

/// With bounds on what one client can have us keep or do (RFC 9113 §10.5).
fn http2() -> hyper::server::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        // Browsers open WebSockets in it then (RFC 8441).
        .enable_connect_protocol()
        .max_concurrent_streams(MAX_STREAMS)
        // Streams that are reset before they were looked at, and those that we have to reset: more
        // of them end the connection.
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .max_header_list_size(MAX_HEAD as u32)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(BEAT)
        .keep_alive_timeout(BEAT);
    builder
}

const HEAD_TIME: Duration = Duration::from_secs(15);
/// A page and its files take seconds; monitoring connects again.
const CONVERSATION_TIME: Duration = Duration::from_secs(300);
/// Four times as long as the longest silence in an answer without end.
const TAKING_TIME: Duration = Duration::from_secs(60);
const MAX_HEAD: usize = 16 * 1024;
/// Requests and WebSockets at once in a connection of HTTP/2.
const MAX_STREAMS: u32 = 64;
const MAX_RESETS: usize = 32;
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
const BEAT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use crosspoint_net::Admission;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    /// A client, and how long its connection lives by the clock of the test.
    async fn lives(version: HttpVersion, client: impl AsyncFnOnce(&mut DuplexStream)) -> Duration {
        lives_at(Router::new(), version, client).await
    }

    async fn lives_at(
        site: Router,
        version: HttpVersion,
        client: impl AsyncFnOnce(&mut DuplexStream),
    ) -> Duration {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let address: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let connection = HttpConnection {
            stream: Box::pin(far),
            local: address,
            remote: address,
            is_secure: false,
            version,
            permit: Admission::new(1, 1).admit(address.ip()).unwrap(),
        };
        let begun = Instant::now();
        HttpServer { site }.take(connection);
        client(&mut near).await;
        let mut rest = Vec::new();
        let _ = near.read_to_end(&mut rest).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_trickles_in_is_given_up() {
        let trickle = async |client: &mut DuplexStream| {
            for byte in b"GET / HTTP/1.1\r\nHost: gw\r\nX: ".iter().chain(b"x".repeat(1000).iter())
            {
                if client.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        assert!(lives(HttpVersion::Http1, trickle).await <= HEAD_TIME + Duration::from_secs(2));
        let silence = async |_: &mut DuplexStream| {};
        assert!(lives(HttpVersion::Http1, silence).await <= HEAD_TIME + Duration::from_secs(2));
    }

    /// The connection's time is over while somebody is being answered: that comes to its end.
    #[tokio::test(start_paused = true)]
    async fn an_answer_on_its_way_is_not_cut_off() {
        let slow = async || {
            tokio::time::sleep(Duration::from_secs(10)).await;
            "the whole answer"
        };
        let site = Router::new().route("/slow", axum::routing::get(slow));
        let asks = async |client: &mut DuplexStream| {
            let end = Instant::now() + CONVERSATION_TIME - Duration::from_secs(5);
            let mut buffer = [0; 1024];
            while Instant::now() < end {
                client.write_all(b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n").await.unwrap();
                assert_ne!(client.read(&mut buffer).await.unwrap(), 0);
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            client.write_all(b"GET /slow HTTP/1.1\r\nHost: gw\r\n\r\n").await.unwrap();
            let mut rest = String::new();
            client.read_to_string(&mut rest).await.unwrap();
            assert!(rest.ends_with("the whole answer"), "{rest}");
        };
        let lived = lives_at(site, HttpVersion::Http1, asks).await;
        assert!(lived < CONVERSATION_TIME + Duration::from_secs(15), "{lived:?}");
    }

    /// Request after request, each of them in time: one connection is not for ever.
    #[tokio::test(start_paused = true)]
    async fn a_connection_has_its_time_whatever_it_asks() {
        let asks = async |client: &mut DuplexStream| {
            let (mut reader, mut writer) = tokio::io::split(client);
            let ask = async {
                while writer.write_all(b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n").await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            };
            let hear = async {
                let mut buffer = [0; 1024];
                while matches!(reader.read(&mut buffer).await, Ok(1..)) {}
            };
            tokio::join!(ask, hear);
        };
        let lived = lives(HttpVersion::Http1, asks).await;
        let range = CONVERSATION_TIME - HEAD_TIME..=CONVERSATION_TIME + TAKING_TIME;
        assert!(range.contains(&lived), "{lived:?}");
    }

    /// A head without end, as fast as it is taken.
    #[tokio::test(start_paused = true)]
    async fn a_head_that_is_too_long_is_refused() {
        let flood = async |client: &mut DuplexStream| {
            let (mut reader, mut writer) = tokio::io::split(client);
            let write = async {
                let _ = writer.write_all(b"GET / HTTP/1.1\r\n").await;
                let mut sent = 0;
                while writer.write_all(b"X-Header: xxxxxxxxxxxxxxxxxxxxxxxxx\r\n").await.is_ok() {
                    sent += 1;
                    assert!(sent < 10_000, "it is not stopped");
                }
            };
            let read = async {
                let mut answer = Vec::new();
                let _ = reader.read_to_end(&mut answer).await;
                assert!(answer.starts_with(b"HTTP/1.1 431"), "{answer:?}");
            };
            tokio::join!(write, read);
        };
        assert!(lives(HttpVersion::Http1, flood).await < HEAD_TIME);
    }
}
