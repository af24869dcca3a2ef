//! An app that speaks RTC:engine over WSS, as far as the benches need it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio_tungstenite::tungstenite::{self, WebSocket};

use crate::Outcome;
use crate::browser::{Browser, Identity};
use crate::process::{Gateway, PASSWORD, PATIENCE};

/// TLS connections to the gateway, whose certificate is its own.
pub(crate) struct Dialer(Arc<ClientConfig>);

pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl Dialer {
    pub(crate) fn new(gateway: &Gateway) -> Outcome<Self> {
        Self::trusting(&gateway.folder.path().join("data/certificate.pem"))
    }

    pub(crate) fn trusting(certificate: &Path) -> Outcome<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(
            CertificateDer::from_pem_file(certificate)
                .map_err(|e| format!("{certificate:?}: {e}"))?,
        )?;
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(tls)))
    }

    /// The same for a connection that speaks this protocol alone (ALPN).
    pub(crate) fn tls(&self, protocol: &[u8]) -> Arc<ClientConfig> {
        let mut tls = ClientConfig::clone(&self.0);
        tls.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(tls)
    }

    pub(crate) fn dial(&self, gateway: &Gateway, listener: &str) -> Outcome<TlsStream> {
        self.dial_at(gateway.address(listener)?)
    }

    pub(crate) fn dial_at(&self, address: SocketAddr) -> Outcome<TlsStream> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        Ok(StreamOwned::new(ClientConnection::new(self.0.clone(), name)?, stream))
    }

    /// Signs a user in and gives the token of the new session.
    fn token(&self, gateway: &Gateway, user: &str) -> Outcome<String> {
        let mut stream = self.dial(gateway, "https")?;
        let credentials = base64(format!("{user}:{PASSWORD}").as_bytes());
        write!(
            stream,
            "POST /api/rtcsessions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Basic {credentials}\r\nContent-Type: application/json\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        )?;
        let mut answer = String::new();
        // Servers that close without taking leave of TLS have said all they had to say.
        let _ = stream.read_to_string(&mut answer);
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer to the sign-in")?;
        if !head.starts_with("HTTP/1.1 201") {
            return Err(format!("not signed in: {head}").into());
        }
        let body: Value = serde_json::from_str(body)?;
        Ok(body["rtc_browser_token"].as_str().ok_or("no token")?.to_owned())
    }
}

/// A client with one socket.
pub(crate) struct App {
    socket: WebSocket<TlsStream>,
    token: String,
    target: String,
    account: String,
    received: u64,
}

impl App {
    /// Signs in, opens the socket and connects the SIP account.
    pub(crate) fn open(dialer: &Dialer, gateway: &Gateway, user: &str) -> Outcome<Self> {
        let token = dialer.token(gateway, user)?;
        let stream = dialer.dial(gateway, "https")?;
        let (socket, _) = tungstenite::client("wss://localhost/rtc/api", stream)
            .map_err(|e| format!("no WebSocket: {e}"))?;
        let (target, account) = (String::new(), String::new());
        let mut app = Self { socket, token, target, account, received: 0 };
        let open = json!({ "credentials": { "userSession": app.token } });
        app.send("session.open", "", open)?;
        let opened = app.await_method("session.validated")?;
        let accounts = opened["body"]["accounts"].as_object().ok_or("no accounts")?;
        let is_sip = |a: &&String| accounts[*a]["network"]["tag"] == "sip";
        app.account = accounts.keys().find(is_sip).ok_or("no SIP account")?.clone();
        let target = accounts[&app.account]["target"].as_str().ok_or("no target")?;
        app.target = target.to_owned();
        app.send_account("account.connect", json!({ "id": app.account }))?;
        while app.await_method("account.state")?["body"]["state"] != "connected" {}
        Ok(app)
    }

    fn send(&mut self, method: &str, to: &str, body: Value) -> Outcome<()> {
        let message = json!({
            "method": method, "from": "", "to": to, "session": self.token, "body": body,
        });
        Ok(self.socket.send(tungstenite::Message::text(message.to_string()))?)
    }

    pub(crate) fn send_account(&mut self, method: &str, body: Value) -> Outcome<()> {
        let target = self.target.clone();
        self.send(method, &target, body)
    }

    /// The next message of this method; what comes before is passed over.
    pub(crate) fn await_method(&mut self, method: &str) -> Outcome<Value> {
        loop {
            let text = match self.socket.read()? {
                tungstenite::Message::Text(text) => text,
                tungstenite::Message::Close(frame) => return Err(format!("{frame:?}").into()),
                _ => continue,
            };
            let message: Value = serde_json::from_str(&text)?;
            self.received = message["seq"].as_u64().unwrap_or(self.received);
            if message["method"] == method {
                return Ok(message);
            }
        }
    }

    /// What is handled need not be kept for us.
    pub(crate) fn acknowledge(&mut self) -> Outcome<()> {
        self.send("session.ack", "core", json!({ "received": self.received }))
    }

    /// Takes the call that comes, with this browser.
    pub(crate) fn take_call(&mut self, identity: &Identity, browser: &mut Browser) -> Outcome<()> {
        let start = self.await_method("call.start")?;
        let body = &start["body"];
        browser.accept(body["sdp"].as_str().ok_or("no description")?.as_bytes())?;
        let sdp = browser.describe(identity, false);
        let (id, gcid) = (body["id"].clone(), body["gcid"].clone());
        let account = self.account.clone();
        let accept =
            json!({ "id": id, "gcid": gcid, "account": account, "trickle": false, "sdp": sdp });
        self.send_account("call.accept", accept)?;
        self.await_method("call.ack.accept")?;
        Ok(())
    }

    /// Waits until the other side hung up.
    pub(crate) fn await_end(&mut self) -> Outcome<()> {
        let end = self.await_method("call.end")?;
        let (id, gcid) = (end["body"]["id"].clone(), end["body"]["gcid"].clone());
        self.send_account("call.ack.end", json!({ "id": id, "gcid": gcid }))?;
        self.acknowledge()
    }
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
