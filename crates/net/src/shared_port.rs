//! One TCP port for everything that a browser needs: HTTPS with WebSockets, TURN over TLS, and
//! ICE-TCP, so that a browser whose network lets out only this port can still talk.
//!
//! Connections are told apart by their first bytes, and within TLS by ALPN (RFC 7301, RFC 7443) or
//! again the first bytes. Until it is known what a connection is for it has few bytes and little
//! time. Where the port speaks no TLS, because a proxy does that before it, all but TLS is told
//! apart in the same way.
//!
//! Not here: what is served. HTTP goes to whoever asked for it, the others to [`TurnServer`] and
//! [`IceTcp`].

mod opening;
mod prefixed;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{Admission, IceTcp, Permit, TurnServer, socket, within};
pub use opening::{LONGEST, Opening};
use prefixed::Prefixed;

/// What is served on the port besides HTTP.
#[derive(Debug, Clone, Default)]
pub struct SharedPortConfig {
    pub turn: Option<TurnServer>,
    pub ice: Option<IceTcp>,
}

/// The listening socket and what it leads to.
pub struct SharedPort {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    admission: Admission,
    config: SharedPortConfig,
    counts: SharedPortCounts,
}

/// A connection that speaks HTTP.
pub struct HttpConnection {
    pub stream: HttpStream,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub is_secure: bool,
    pub version: HttpVersion,
    pub permit: Permit,
}

/// What was agreed on, or what the client begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    Http1,
    Http2,
}

/// Its bytes, decrypted.
pub type HttpStream = Pin<Box<dyn Duplex>>;

pub trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Duplex for S {}

/// What connections turned out to be; clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct SharedPortCounts(Arc<[AtomicU64; Kind::ALL.len()]>);

/// What a connection turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Http,
    Http2,
    Turn,
    IceTcp,
    /// HTTP without TLS, where there should be some.
    PlainHttp,
    /// It said nothing, or too little, in its time.
    Mute,
    /// Its handshake failed or did not end in time.
    TlsFailed,
    /// Nothing that is served here.
    Unknown,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Http,
        Self::Http2,
        Self::Turn,
        Self::IceTcp,
        Self::PlainHttp,
        Self::Mute,
        Self::TlsFailed,
        Self::Unknown,
    ];
}

impl SharedPortCounts {
    #[must_use]
    pub fn count(&self, kind: Kind) -> u64 {
        self.0[kind as usize].load(Ordering::Relaxed)
    }

    fn note(&self, kind: Kind) {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl SharedPort {
    /// With `tls`, nothing but ICE-TCP and TURN is spoken without it.
    #[must_use]
    pub fn new(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        admission: Admission,
        config: SharedPortConfig,
        counts: SharedPortCounts,
    ) -> Self {
        Self { listener, tls, admission, config, counts }
    }

    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Takes connections for as long as it is polled; those that speak HTTP go to `on_http`.
    pub async fn serve(self, on_http: impl Fn(HttpConnection) + Clone + Send + 'static) {
        let this = Arc::new(self);
        loop {
            let (stream, remote) = match this.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly: trying again at once would only spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(permit) = this.admission.admit(remote.ip()) else { continue };
            let Ok(local) = stream.local_addr() else { continue };
            socket::prepare(&stream);
            let end = End { local, remote: canonical(remote), permit };
            let (this, on_http) = (this.clone(), on_http.clone());
            tokio::spawn(async move { this.greet(stream, end, on_http).await });
        }
    }

    async fn greet(&self, mut stream: TcpStream, end: End, on_http: impl Fn(HttpConnection)) {
        let begun = tokio::time::Instant::now();
        let Ok((opening, prefix)) = within(HELLO_TIME, opening(&mut stream)).await else {
            return self.counts.note(Kind::Mute);
        };
        let stream = Prefixed { prefix, stream };
        match (opening, &self.tls) {
            (Opening::Tls, Some(tls)) => {
                let left = HELLO_TIME.saturating_sub(begun.elapsed());
                match within(left, tls.accept(stream)).await {
                    Ok(stream) => self.greet_inside(stream, end, on_http).await,
                    // A scanner, or a browser that has yet to accept the certificate.
                    Err(error) => {
                        tracing::debug!(%error, "a TLS handshake failed");
                        self.counts.note(Kind::TlsFailed);
                    }
                }
            }
            (Opening::Ice, _) => {
                let Some(ice) = &self.config.ice else { return self.counts.note(Kind::Unknown) };
                self.counts.note(Kind::IceTcp);
                socket::keep_queue_short(&stream.stream);
                ice.serve(stream, end.remote).await;
            }
            (Opening::Http | Opening::Http2, Some(_)) => {
                self.counts.note(Kind::PlainHttp);
                // Who does not read it has asked the wrong port anyhow.
                let _ = within(HELLO_TIME, ask_for_tls(stream.stream)).await;
            }
            (opening, _) => self.hand_on(opening, stream, end, false, on_http).await,
        }
    }

    /// The same within TLS: ALPN tells, and without it the first bytes do.
    async fn greet_inside<S>(
        &self,
        mut stream: tokio_rustls::server::TlsStream<S>,
        end: End,
        on_http: impl Fn(HttpConnection),
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let opening = match stream.get_ref().1.alpn_protocol() {
            Some(b"http/1.1") => Opening::Http,
            Some(b"h2") => Opening::Http2,
            // RFC 7443 §3.
            Some(b"stun.turn" | b"stun.nat-discovery") => Opening::Turn,
            _ => {
                let Ok((opening, prefix)) = within(HELLO_TIME, opening(&mut stream)).await else {
                    return self.counts.note(Kind::Mute);
                };
                let stream = Prefixed { prefix, stream };
                return self.hand_on(opening, stream, end, true, on_http).await;
            }
        };
        self.hand_on(opening, stream, end, true, on_http).await;
    }

    async fn hand_on(
        &self,
        opening: Opening,
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        end: End,
        is_secure: bool,
        on_http: impl Fn(HttpConnection),
    ) {
        match (opening, &self.config.turn) {
            (Opening::Http | Opening::Http2, _) => {
                let (kind, version) = match opening {
                    Opening::Http2 => (Kind::Http2, HttpVersion::Http2),
                    _ => (Kind::Http, HttpVersion::Http1),
                };
                self.counts.note(kind);
                let End { local, remote, permit } = end;
                on_http(HttpConnection {
                    stream: Box::pin(stream),
                    local,
                    remote,
                    is_secure,
                    version,
                    permit,
                });
            }
            (Opening::Turn, Some(turn)) => {
                self.counts.note(Kind::Turn);
                turn.adopt(stream, end.remote).await;
            }
            // There is no TLS within TLS, and ICE-TCP has none.
            (Opening::Turn | Opening::Tls | Opening::Ice | Opening::Unknown, _) => {
                self.counts.note(Kind::Unknown);
            }
        }
    }
}

struct End {
    local: SocketAddr,
    remote: SocketAddr,
    permit: Permit,
}

/// Reads until it is clear what this is; gives what was read.
async fn opening(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Opening, Vec<u8>)> {
    let mut read = Vec::with_capacity(LONGEST);
    let mut buffer = [0; LONGEST];
    loop {
        let room = LONGEST - read.len();
        match stream.read(&mut buffer[..room]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => read.extend_from_slice(&buffer[..length]),
        }
        if let Some(opening) = Opening::of(&read) {
            return Ok((opening, read));
        }
    }
}

/// Answers a request without TLS. Closing before it is read would take the answer back.
async fn ask_for_tls(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(NEEDS_TLS).await?;
    stream.shutdown().await?;
    let mut request = [0; 4096];
    for _ in 0..4 {
        if stream.read(&mut request).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// A listener for both families calls IPv4 peers by mapped addresses; nothing else here does.
fn canonical(remote: SocketAddr) -> SocketAddr {
    SocketAddr::new(remote.ip().to_canonical(), remote.port())
}

impl std::fmt::Debug for SharedPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedPort").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for HttpConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpConnection").field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// For the first bytes and a TLS handshake together, and for the first bytes within.
const HELLO_TIME: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const NEEDS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    content-length: 24\r\nconnection: close\r\n\r\nThis port speaks HTTPS.\n";
