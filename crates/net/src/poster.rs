//! Posts messages to one web server, over a connection that stays open between them.
//!
//! Every message has a bound for its time. What the server says besides its status is not read
//! far, and where it sends us instead is not gone to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crosspoint_base::Transport;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::Resolver;

/// Where messages go.
#[derive(Debug, Clone)]
pub struct PosterConfig {
    pub url: String,
    /// Trusts whom a server's certificate must come from.
    pub tls: Option<Arc<ClientConfig>>,
    /// For one message.
    pub patience: Duration,
    pub user_agent: &'static str,
}

/// Why a message has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    #[error("the address is none of a web server")]
    Address,
    #[error("no name server knows the host")]
    Unknown,
    #[error("the server cannot be reached")]
    Unreachable,
    #[error("TLS failed")]
    Tls,
    #[error("the server does not speak HTTP")]
    Http,
    #[error("it took too long")]
    TooLate,
}

/// See the module.
#[derive(Debug)]
pub struct Poster {
    config: PosterConfig,
    names: Arc<Resolver>,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Poster {
    #[must_use]
    pub fn new(config: PosterConfig, names: Arc<Resolver>) -> Self {
        Self { config, names, open: None }
    }

    /// Posts a message; gives the status of the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(
        &mut self,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<u16, PostError> {
        let patience = self.config.patience;
        let posted = tokio::time::timeout(patience, self.try_post(headers, body)).await;
        let outcome = posted.unwrap_or(Err(PostError::TooLate));
        if outcome.is_err() {
            self.open = None;
        }
        outcome
    }

    /// Sends any request; gives status, headers and the whole body of the answer.
    ///
    /// # Errors
    /// When there is no answer, or too much of it.
    pub async fn exchange(
        &mut self,
        method: Method,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<(u16, HeaderMap, Bytes), PostError> {
        let patience = self.config.patience;
        let answered = tokio::time::timeout(patience, async {
            let (sender, response) = self.send(method, headers, body).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|_| PostError::Http)?.to_bytes();
            drop(sender);
            Ok((head.status.as_u16(), head.headers, body))
        });
        answered.await.unwrap_or(Err(PostError::TooLate))
    }

    async fn try_post(
        &mut self,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<u16, PostError> {
        let (sender, response) = self.send(Method::POST, headers, body).await?;
        let status = response.status().as_u16();
        // Read to its end the connection can be used again.
        if Limited::new(response.into_body(), MAX_ANSWER).collect().await.is_ok() {
            self.open = Some(sender);
        }
        Ok(status)
    }

    async fn send(
        &mut self,
        method: Method,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<(SendRequest<Full<Bytes>>, Response<Incoming>), PostError> {
        let uri: Uri = self.config.url.parse().map_err(|_| PostError::Address)?;
        // Servers close what was idle.
        let open = match self.open.take() {
            Some(mut open) => open.ready().await.is_ok().then_some(open),
            None => None,
        };
        let mut sender = match open {
            Some(open) => open,
            None => self.connect(&uri).await?,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::builder().method(method).uri(path);
        let mut request = request.body(Full::new(body)).map_err(|_| PostError::Address)?;
        let map = request.headers_mut();
        let host = uri.authority().map_or("", |authority| authority.as_str());
        map.insert(HOST, HeaderValue::try_from(host).map_err(|_| PostError::Address)?);
        map.insert(USER_AGENT, HeaderValue::from_static(self.config.user_agent));
        add(map, headers)?;
        let response = sender.send_request(request).await.map_err(|_| PostError::Http)?;
        Ok((sender, response))
    }

    async fn connect(&self, uri: &Uri) -> Result<SendRequest<Full<Bytes>>, PostError> {
        let host = uri.host().ok_or(PostError::Address)?;
        let is_secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let found = self.names.resolve(host, Some(port), Transport::Tls).await;
        let mut stream = None;
        for address in found.map_err(|_| PostError::Unknown)?.into_iter().take(MAX_TRIES) {
            if let Ok(open) = TcpStream::connect(address).await {
                stream = Some(open);
                break;
            }
        }
        let stream = stream.ok_or(PostError::Unreachable)?;
        if !is_secure {
            return handshake(TokioIo::new(stream)).await;
        }
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|_| PostError::Address)?;
        let tls = TlsConnector::from(self.config.tls.clone().ok_or(PostError::Tls)?);
        let stream = tls.connect(name, stream).await.map_err(|_| PostError::Tls)?;
        handshake(TokioIo::new(stream)).await
    }
}

async fn handshake(
    io: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>, PostError> {
    let (sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(|_| PostError::Http)?;
    // It ends with the sender; what it fails with, the sender tells too.
    tokio::spawn(connection);
    Ok(sender)
}

fn add(map: &mut HeaderMap, headers: &[(&'static str, String)]) -> Result<(), PostError> {
    for (name, value) in headers {
        let value = HeaderValue::try_from(value).map_err(|_| PostError::Address)?;
        map.insert(HeaderName::from_static(name), value);
    }
    Ok(())
}

const MAX_ANSWER: usize = 64 * 1024;
/// Addresses of one host.
const MAX_TRIES: usize = 2;
