//! A browser's WebSocket and a trunk's socket, as far as setting calls up needs them.

use std::net::{SocketAddr, TcpStream, UdpSocket};

use bytes::Bytes;
use crosspoint_base::{Rng, Secret};
use crosspoint_sip::digest::{Challenge, Credentials, answer};
use crosspoint_sip::{HeaderName, Message, Method, Request, Response, StatusCode, Uri};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, WebSocket};

use crate::Outcome;
use crate::browser::{Browser, Identity, Phone};
use crate::process::{Gateway, PASSWORD, PATIENCE};

/// What a WebSocket runs over.
pub(crate) trait Stream: std::io::Read + std::io::Write {}
impl<T: std::io::Read + std::io::Write> Stream for T {}

/// A user agent on a WebSocket, signed in.
pub(crate) struct Page {
    socket: WebSocket<Box<dyn Stream>>,
    user: String,
}

impl Page {
    /// Opens a WebSocket over a stream and registers a user on it.
    pub(crate) fn open(stream: Box<dyn Stream>, user: &str, number: u32) -> Outcome<Self> {
        let mut request = "ws://localhost/".into_client_request()?;
        let protocol = HeaderValue::from_static("sip");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let (socket, _) =
            tungstenite::client(request, stream).map_err(|e| format!("no WebSocket: {e}"))?;
        let mut page = Self { socket, user: user.to_owned() };
        page.register(user, number)?;
        Ok(page)
    }

    /// Over plain TCP.
    pub(crate) fn connect(gateway: &Gateway, number: u32) -> Outcome<Self> {
        let stream = TcpStream::connect(gateway.address("ws")?)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Self::open(Box::new(stream), "user0", number)
    }

    fn register(&mut self, user: &str, number: u32) -> Outcome<()> {
        let registration = Registration {
            user: user.to_owned(),
            number,
            via: format!("WS p{number}.invalid"),
            contact: format!("p{number}.invalid;transport=ws"),
        };
        self.send(registration.request(1, ""))?;
        let challenged = self.response()?;
        self.send(registration.answer(&challenged)?)?;
        registered(&self.response()?)
    }

    fn send(&mut self, text: String) -> Outcome<()> {
        Ok(self.socket.send(tungstenite::Message::text(text))?)
    }

    fn receive(&mut self) -> Outcome<Message> {
        loop {
            let bytes = match self.socket.read()? {
                tungstenite::Message::Text(text) => Bytes::from(text.as_str().to_owned()),
                tungstenite::Message::Binary(bytes) => bytes,
                _ => continue,
            };
            if !bytes.iter().all(u8::is_ascii_whitespace) {
                return Message::parse(bytes).map_err(|e| format!("{e:?}").into());
            }
        }
    }

    fn response(&mut self) -> Outcome<Response> {
        loop {
            if let Message::Response(response) = self.receive()? {
                return Ok(response);
            }
        }
    }

    fn request(&mut self, method: &Method) -> Outcome<Request> {
        loop {
            match self.receive()? {
                Message::Request(request) if request.method == *method => return Ok(request),
                _ => {}
            }
        }
    }

    /// Takes the call that comes, with this browser.
    pub(crate) fn take_call(
        &mut self,
        identity: &Identity,
        number: u32,
        browser: &mut Browser,
    ) -> Outcome<()> {
        let invite = self.request(&Method::INVITE)?;
        browser.accept(&invite.body)?;
        let mut response = Response::for_request(&invite, StatusCode::OK);
        let to = invite.headers.first(&HeaderName::TO).cloned().unwrap_or_default();
        let tagged = format!("{};tag=p{number}", String::from_utf8_lossy(&to));
        response.headers.set(HeaderName::TO, tagged);
        response
            .headers
            .push(HeaderName::CONTACT, format!("<sip:{}@p.invalid;transport=ws>", self.user));
        response.headers.push(HeaderName::CONTENT_TYPE, Bytes::from_static(b"application/sdp"));
        response.body = Bytes::from(browser.describe(identity, false));
        let bytes = response.print();
        self.send(String::from_utf8_lossy(&bytes).into_owned())?;
        self.request(&Method::ACK)?;
        Ok(())
    }
}

impl Page {
    /// Waits until the other side hung up.
    pub(crate) fn await_end(&mut self) -> Outcome<()> {
        let bye = self.request(&Method::BYE)?;
        let bytes = Response::for_request(&bye, StatusCode::OK).print();
        self.send(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// One user agent's REGISTER, in whatever transport.
struct Registration {
    user: String,
    number: u32,
    via: String,
    contact: String,
}

impl Registration {
    fn request(&self, cseq: u32, extra: &str) -> String {
        let Self { user, number, via, contact } = self;
        format!(
            "REGISTER sip:localhost SIP/2.0\r\n\
             Via: SIP/2.0/{via};branch=z9hG4bKr{number}.{cseq}\r\n\
             From: <sip:{user}@localhost>;tag=r{number}\r\nTo: <sip:{user}@localhost>\r\n\
             Call-ID: r{number}\r\nCSeq: {cseq} REGISTER\r\nMax-Forwards: 70\r\n\
             Contact: <sip:{user}@{contact}>\r\nExpires: 3600\r\n\
             {extra}Content-Length: 0\r\n\r\n"
        )
    }

    /// The request again, with the proof that a challenge asks for.
    fn answer(&self, challenged: &Response) -> Outcome<String> {
        let challenge = Challenge::best(challenged.headers.all(&HeaderName::WWW_AUTHENTICATE))
            .ok_or_else(|| format!("no challenge in {}", challenged.status.0))?;
        let password = Secret::new(PASSWORD.to_owned());
        let credentials = Credentials { user: self.user.clone(), password, realm: None };
        let uri = Uri::parse(Bytes::from_static(b"sip:localhost")).ok_or("no URI")?;
        let mut rng = Rng::from_u64(u64::from(self.number));
        let proof = answer(&challenge, &credentials, &Method::REGISTER, &uri, 1, &mut rng)
            .ok_or("the challenge cannot be answered")?;
        Ok(self.request(2, &format!("Authorization: {proof}\r\n")))
    }
}

fn registered(response: &Response) -> Outcome<()> {
    match response.status {
        StatusCode::OK => Ok(()),
        status => Err(format!("not registered: {}", status.0).into()),
    }
}

/// Registers a phone that will be at a port, which nobody may hold yet.
pub(crate) fn register_phone(gateway: &Gateway, user: &str, port: u16) -> Outcome<()> {
    let socket = UdpSocket::bind(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(gateway.address("udp")?)?;
    let here = socket.local_addr()?;
    let (via, contact) = (format!("UDP {here}"), here.to_string());
    let registration = Registration { user: user.to_owned(), number: 1, via, contact };
    let transact = |text: String| -> Outcome<Response> {
        socket.send(text.as_bytes())?;
        let mut buffer = vec![0; 65_536];
        let len = socket.recv(&mut buffer)?;
        match Message::parse(Bytes::copy_from_slice(&buffer[..len])) {
            Ok(Message::Response(response)) => Ok(response),
            _ => Err("no response to a REGISTER".into()),
        }
    };
    let challenged = transact(registration.request(1, ""))?;
    registered(&transact(registration.answer(&challenged)?)?)
}

/// A trunk from which phones call the page's user.
pub(crate) struct Trunk {
    socket: UdpSocket,
    gateway: SocketAddr,
}

impl Trunk {
    /// Takes the port that the gateway's configuration names.
    pub(crate) fn open(gateway: &Gateway, port: u16) -> Outcome<Self> {
        let socket = UdpSocket::bind(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, gateway: gateway.address("udp")? })
    }

    /// Joins a phone that calls to a browser that answers.
    pub(crate) fn join(
        &self,
        page: &mut Page,
        identity: &Identity,
        number: u32,
        (browser, phone): (&mut Browser, &mut Phone),
    ) -> Outcome<()> {
        let target = format!("sip:{}@{}", page.user, self.gateway);
        let offer = phone.describe()?;
        let invite = self.request(number, "INVITE", &target, &format!("<{target}>"), &offer)?;
        self.socket.send_to(invite.as_bytes(), self.gateway)?;
        page.take_call(identity, number, browser)?;
        let answer = self.answer(number, "INVITE")?;
        phone.accept(&answer.body)?;
        let to = answer.headers.first(&HeaderName::TO).cloned().unwrap_or_default();
        let contact = answer.headers.contacts().next().ok_or("no Contact")?;
        let target = String::from_utf8_lossy(contact.uri.as_bytes()).into_owned();
        let to = String::from_utf8_lossy(&to).into_owned();
        let ack = self.request(number, "ACK", &target, &to, "")?;
        self.socket.send_to(ack.as_bytes(), self.gateway)?;
        Ok(())
    }

    /// Calls a user, has the call taken, and hangs up.
    pub(crate) fn call(
        &self,
        number: u32,
        user: &str,
        phone: &Phone,
        take: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<()> {
        let target = format!("sip:{user}@{}", self.gateway);
        let to = format!("<{target}>");
        let invite = self.request(number, "INVITE", &target, &to, &phone.describe()?)?;
        self.socket.send_to(invite.as_bytes(), self.gateway)?;
        take()?;
        let answer = self.answer(number, "INVITE")?;
        let to = answer.headers.first(&HeaderName::TO).cloned().unwrap_or_default();
        let to = String::from_utf8_lossy(&to).into_owned();
        let contact = answer.headers.contacts().next().ok_or("no Contact")?;
        let target = String::from_utf8_lossy(contact.uri.as_bytes()).into_owned();
        for method in ["ACK", "BYE"] {
            let text = self.request(number, method, &target, &to, "")?;
            // RFC 3261 §12.2.1.1: a BYE follows in the dialog's order.
            let text = text.replace("CSeq: 1 BYE", "CSeq: 2 BYE");
            self.socket.send_to(text.as_bytes(), self.gateway)?;
        }
        self.answer(number, "BYE")?;
        Ok(())
    }

    fn request(
        &self,
        number: u32,
        method: &str,
        target: &str,
        to: &str,
        body: &str,
    ) -> Outcome<String> {
        let here = self.socket.local_addr()?;
        let length = body.len();
        Ok(format!(
            "{method} {target} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {here};branch=z9hG4bK{method}{number}\r\n\
             From: <sip:phone{number}@{here}>;tag=t{number}\r\nTo: {to}\r\n\
             Call-ID: t{number}@{here}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n\
             Contact: <sip:phone{number}@{here}>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ))
    }

    fn answer(&self, number: u32, method: &str) -> Outcome<Response> {
        let call_id = format!("t{number}@{}", self.socket.local_addr()?);
        let is_it = |response: &Response| {
            let cseq = response.headers.cseq();
            response.headers.call_id().is_some_and(|id| *id == *call_id.as_bytes())
                && cseq.is_some_and(|cseq| cseq.method.as_str() == method)
        };
        let mut buffer = vec![0; 65_536];
        loop {
            let len = self.socket.recv(&mut buffer)?;
            match Message::parse(Bytes::copy_from_slice(&buffer[..len])) {
                Ok(Message::Response(response)) if !is_it(&response) => {}
                Ok(Message::Response(response)) if response.status.is_success() => {
                    return Ok(response);
                }
                Ok(Message::Response(response)) if response.status.is_final() => {
                    return Err(format!("the call got {}", response.status.0).into());
                }
                _ => {}
            }
        }
    }
}
