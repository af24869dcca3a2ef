//! Fetches small public documents by HTTPS: what a stranger's message names, and so with strict
//! limits.
//!
//! Only `https`, only public addresses unless the operator allows a network, no redirection, one
//! bound for the size and one for the time, so many at once. What was fetched is kept for as long
//! as its server says, within limits; so is a failure, for a minute: a flood of calls that name
//! one document asks for it once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{Secret, Transport};
use crosspoint_media::turn::{Network, is_mapped, is_public};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT,
};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, Semaphore};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::Resolver;

/// What may be fetched.
#[derive(Debug, Clone)]
pub struct DocumentsConfig {
    /// Trusts whom a server's certificate must come from.
    pub tls: Arc<ClientConfig>,
    /// Hosts that may be asked; any when empty.
    pub hosts: Vec<String>,
    /// Networks that may be asked although they are not public, at any port.
    pub allow: Vec<Network>,
    /// Bytes that a document may have.
    pub max_bytes: usize,
    /// For one document, all together.
    pub patience: Duration,
    pub user_agent: &'static str,
}

/// Why a document cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    #[error("the address is not one of HTTPS with a host name")]
    Address,
    #[error("the host is not among those that may be asked")]
    Host,
    #[error("the port is neither 443 nor 8443")]
    Port,
    #[error("no name server knows the host")]
    Unknown,
    #[error("the host's addresses are not public")]
    NotPublic,
    #[error("too much is being fetched already")]
    Busy,
    #[error("it took too long")]
    TooLate,
    #[error("the server cannot be reached")]
    Unreachable,
    #[error("TLS failed")]
    Tls,
    #[error("the server does not speak HTTP")]
    Http,
    #[error("the server answered {0}")]
    Status(u16),
    #[error("the document is too large")]
    TooLarge,
}

/// See the module. Clones share what is kept.
#[derive(Clone)]
pub struct Documents {
    shared: Arc<Shared>,
}

struct Shared {
    config: DocumentsConfig,
    names: Arc<Resolver>,
    at_once: Semaphore,
    kept: Mutex<BTreeMap<String, Arc<Kept>>>,
}

#[derive(Default)]
struct Kept {
    document: OnceCell<Fetched>,
}

struct Fetched {
    at: Instant,
    /// Until when it is not fetched again.
    until: Instant,
    document: Result<Bytes, DocumentError>,
}

/// An address that may be asked.
struct Place<'a> {
    host: &'a str,
    port: u16,
    path: &'a str,
}

/// What a server is asked.
enum Question {
    Document,
    /// With what stands in its `Authorization`.
    Form(Secret<String>, Secret<String>),
    /// For whom such an `Authorization` stands.
    Private(Secret<String>),
}

impl Documents {
    #[must_use]
    pub fn new(config: DocumentsConfig, names: Arc<Resolver>) -> Self {
        let at_once = Semaphore::new(MAX_AT_ONCE);
        let shared = Shared { config, names, at_once, kept: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// What a server answers to a form, which is not kept: both may be secrets.
    ///
    /// # Errors
    /// When it may not be asked, or does not answer with 200.
    pub async fn ask(
        &self,
        address: &str,
        form: Secret<String>,
        authorization: Secret<String>,
    ) -> Result<Bytes, DocumentError> {
        let uri: Uri = address.parse().map_err(|_| DocumentError::Address)?;
        let place = self.shared.place(&uri)?;
        let question = Question::Form(form, authorization);
        self.shared.fetch(&place, question).await.map(|(answer, _)| answer)
    }

    /// What is at this address for who shows this `Authorization`. It is fetched each time.
    ///
    /// # Errors
    /// When it may not or cannot be had.
    pub async fn get_as(
        &self,
        address: &str,
        authorization: Secret<String>,
    ) -> Result<Bytes, DocumentError> {
        let uri: Uri = address.parse().map_err(|_| DocumentError::Address)?;
        let place = self.shared.place(&uri)?;
        let question = Question::Private(authorization);
        self.shared.fetch(&place, question).await.map(|(answer, _)| answer)
    }

    /// The document at this address, fetched or kept.
    ///
    /// # Errors
    /// When it may not or cannot be had.
    pub async fn get(&self, address: &str) -> Result<Bytes, DocumentError> {
        let shared = &*self.shared;
        let uri: Uri = address.parse().map_err(|_| DocumentError::Address)?;
        let place = shared.place(&uri)?;
        let kept = shared.keep(address);
        let fetched = kept.document.get_or_init(|| async {
            let fetched = shared.fetch(&place, Question::Document).await;
            let fresh = fetched.as_ref().map_or(FAILURE, |(_, fresh)| *fresh);
            let at = Instant::now();
            Fetched { at, until: at + fresh, document: fetched.map(|(document, _)| document) }
        });
        fetched.await.document.clone()
    }

    /// The same, fetched anew unless that was less than a minute ago: for who misses something in
    /// what is kept.
    ///
    /// # Errors
    /// When it may not or cannot be had.
    pub async fn get_again(&self, address: &str) -> Result<Bytes, DocumentError> {
        self.shared.forget(address, Instant::now());
        self.get(address).await
    }
}

impl Shared {
    fn place<'a>(&self, uri: &'a Uri) -> Result<Place<'a>, DocumentError> {
        let host = uri.host().ok_or(DocumentError::Address)?;
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if uri.scheme_str() != Some("https") || host.is_empty() || has_user {
            return Err(DocumentError::Address);
        }
        let hosts = &self.config.hosts;
        if !hosts.is_empty() && !hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) {
            return Err(DocumentError::Host);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Place { host, port: uri.port_u16().unwrap_or(443), path })
    }

    /// The place of a document that is fetched, or was lately.
    fn keep(&self, address: &str) -> Arc<Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_old = |kept: &Kept| kept.document.get().is_some_and(|it| it.until <= now);
        if kept.get(address).is_some_and(|kept| is_old(kept)) {
            kept.remove(address);
        }
        if kept.len() >= MAX_KEPT && !kept.contains_key(address) {
            kept.retain(|_, kept| !is_old(kept));
            if kept.len() >= MAX_KEPT {
                // Whoever fills it with addresses loses what is there, and so do others: the
                // next call fetches it again.
                kept.clear();
            }
        }
        kept.entry(address.to_owned()).or_default().clone()
    }

    /// Forgets a document that was not fetched just now.
    fn forget(&self, address: &str, now: Instant) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let fetched = kept.get(address).and_then(|kept| kept.document.get());
        if fetched.is_some_and(|it| now.saturating_duration_since(it.at) >= AT_LEAST) {
            kept.remove(address);
        }
    }

    async fn fetch(
        &self,
        place: &Place<'_>,
        question: Question,
    ) -> Result<(Bytes, Duration), DocumentError> {
        let _permit = self.at_once.try_acquire().map_err(|_| DocumentError::Busy)?;
        let fetched = tokio::time::timeout(self.config.patience, self.ask(place, question)).await;
        fetched.map_err(|_| DocumentError::TooLate)?
    }

    async fn ask(
        &self,
        place: &Place<'_>,
        question: Question,
    ) -> Result<(Bytes, Duration), DocumentError> {
        let stream = self.connect(place).await?;
        let host = place.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|_| DocumentError::Address)?;
        let tls = TlsConnector::from(self.config.tls.clone());
        let stream = tls.connect(name, stream).await.map_err(|_| DocumentError::Tls)?;
        let http = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = http.map_err(|_| DocumentError::Http)?;
        // It ends with the sender; what it fails with, the sender tells too.
        let connection = tokio::spawn(connection);
        let host = match place.port {
            443 => place.host.to_owned(),
            port => format!("{}:{port}", place.host),
        };
        let request = match question {
            Question::Document => {
                Request::get(place.path).header(ACCEPT, "*/*").body(Full::default())
            }
            Question::Private(authorization) => Request::get(place.path)
                .header(ACCEPT, "application/json")
                .header(AUTHORIZATION, authorization.expose())
                .body(Full::default()),
            Question::Form(form, authorization) => Request::post(place.path)
                .header(ACCEPT, "application/json")
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(AUTHORIZATION, authorization.expose())
                .body(Full::new(Bytes::copy_from_slice(form.expose().as_bytes()))),
        };
        let mut request = request.map_err(|_| DocumentError::Address)?;
        let host = HeaderValue::try_from(host).map_err(|_| DocumentError::Address)?;
        request.headers_mut().insert(HOST, host);
        let agent = HeaderValue::from_static(self.config.user_agent);
        request.headers_mut().insert(USER_AGENT, agent);
        let response = sender.send_request(request).await.map_err(|_| DocumentError::Http)?;
        if response.status() != hyper::StatusCode::OK {
            connection.abort();
            return Err(DocumentError::Status(response.status().as_u16()));
        }
        let fresh = response.headers().get(CACHE_CONTROL).and_then(|v| v.to_str().ok());
        let fresh = fresh.and_then(max_age).unwrap_or(USUALLY).clamp(AT_LEAST, AT_MOST);
        let body = Limited::new(response.into_body(), self.config.max_bytes).collect().await;
        connection.abort();
        let body = body.map_err(|error| match error.downcast_ref::<hyper::Error>() {
            Some(_) => DocumentError::Http,
            None => DocumentError::TooLarge,
        })?;
        Ok((body.to_bytes(), fresh))
    }

    async fn connect(&self, place: &Place<'_>) -> Result<TcpStream, DocumentError> {
        let found = self.names.resolve(place.host, Some(place.port), Transport::Tls).await;
        let found = found.map_err(|_| DocumentError::Unknown)?;
        // The addresses that are looked at are the ones that are used: a name that changes its
        // mind in between gains nothing.
        let allowed: Vec<SocketAddr> =
            found.into_iter().filter(|address| self.permits(*address)).take(MAX_TRIES).collect();
        if allowed.is_empty() {
            return Err(DocumentError::NotPublic);
        }
        for address in allowed {
            let is_allowed = self.is_allowed(address);
            if !is_allowed && !PORTS.contains(&address.port()) {
                return Err(DocumentError::Port);
            }
            if let Ok(stream) = TcpStream::connect(address).await {
                return Ok(stream);
            }
        }
        Err(DocumentError::Unreachable)
    }

    fn permits(&self, address: SocketAddr) -> bool {
        !is_mapped(address.ip()) && (is_public(address.ip()) || self.is_allowed(address))
    }

    fn is_allowed(&self, address: SocketAddr) -> bool {
        self.config.allow.iter().any(|network| network.contains(address.ip()))
    }
}

fn max_age(header: &str) -> Option<Duration> {
    header.split(',').find_map(|directive| {
        let seconds = directive.trim().strip_prefix("max-age=")?;
        seconds.parse().ok().map(Duration::from_secs)
    })
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

/// ATIS-1000074 §5.3.1: where certificates lie.
const PORTS: [u16; 2] = [443, 8443];
const MAX_AT_ONCE: usize = 32;
const MAX_KEPT: usize = 1000;
/// Addresses of one host.
const MAX_TRIES: usize = 2;
const USUALLY: Duration = Duration::from_secs(3600);
const AT_LEAST: Duration = Duration::from_secs(60);
const AT_MOST: Duration = Duration::from_secs(24 * 3600);
const FAILURE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
