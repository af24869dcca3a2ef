//! HTTPS: the web phone, WebSockets, health and metrics.
//!
//! Anybody may connect, so everything has a bound: connections altogether and from one address,
//! the time for a TLS handshake, for a request's head, and for a whole connection that does not
//! become a WebSocket. Connections over the bound are closed at once; those that are in stay in.

mod api;
mod site;
mod upgrade;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use crosspoint_net::{Admission, Permit};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub(crate) use upgrade::Upgraded;

use crate::config::Origins;
use crate::provisioning::Provisioning;

/// What the pages show and where their WebSockets go.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Whether calls are taken now: asked of the signalling loop itself.
    fn is_ready(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
    /// The page for Prometheus.
    fn metrics(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>>;
    /// What the web phone needs to know.
    fn phone_config(&self) -> Value;
    /// Takes over a connection that speaks SIP over WebSocket from now on (RFC 7118).
    fn adopt(&self, socket: Upgraded);
    /// Takes over a connection of an app. `stranger` is the origin of its page when configuration
    /// does not let it in: then the app that it belongs to has to.
    fn adopt_app(&self, socket: Upgraded, stranger: Option<String>);
}

/// The listening socket with everything it needs.
pub(crate) struct HttpServer {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    site: Router,
    admission: Admission,
}

/// What the site's handlers know of the connection a request came over.
#[derive(Debug, Clone)]
struct Arrival {
    local: SocketAddr,
    remote: SocketAddr,
    is_secure: bool,
    permit: Arc<Permit>,
}

impl HttpServer {
    pub(crate) async fn bind(
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        origins: Origins,
        admission: Admission,
        backend: Arc<dyn Backend>,
        provisioning: Arc<Provisioning>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, tls, site: site::router(origins, backend, provisioning), admission })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until told to stop. WebSockets handed over live on.
    pub(crate) async fn serve(self, mut stop: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, remote)) => self.admit(stream, remote),
                Err(error) => {
                    // Out of file descriptors, mostly: trying again at once would only spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, remote: SocketAddr) {
        let Some(permit) = self.admission.admit(remote.ip()) else { return };
        let Ok(local) = stream.local_addr() else { return };
        let _ = stream.set_nodelay(true);
        let arrival =
            Arrival { local, remote, is_secure: self.tls.is_some(), permit: Arc::new(permit) };
        let (site, tls) = (self.site.clone(), self.tls.clone());
        tokio::spawn(async move {
            let Some(tls) = tls else {
                return converse(stream, site, arrival).await;
            };
            match tokio::time::timeout(HANDSHAKE_TIME, tls.accept(stream)).await {
                Ok(Ok(stream)) => converse(stream, site, arrival).await,
                // A scanner, or a browser that has yet to accept the certificate.
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        });
    }
}

/// Serves one connection until it closes or becomes a WebSocket.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    site: Router,
    arrival: Arrival,
) {
    let site = site.layer(axum::Extension(arrival));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(site))
        .with_upgrades();
    // Peers that break off are no news.
    let _ = tokio::time::timeout(CONVERSATION_TIME, connection).await;
}

const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
const HEAD_TIME: Duration = Duration::from_secs(15);
/// A page and its files take seconds; monitoring connects again.
const CONVERSATION_TIME: Duration = Duration::from_secs(300);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const MAX_HEAD: usize = 16 * 1024;
