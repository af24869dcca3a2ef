//! A browser's WebSocket and a trunk's socket, as far as setting calls up needs them.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{ConnectionId, Flow, Rng, Secret, Transport};
use crosspoint_sip::dialog::Dialog;
use crosspoint_sip::digest::{Challenge, Credentials, answer};
use crosspoint_sip::{HeaderName, Message, Method, Request, Response, StatusCode, Uri};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, WebSocket};

use crate::Outcome;
use crate::browser::{Browser, Identity, Phone};
use crate::process::{Gateway, PASSWORD, PATIENCE};

/// What a WebSocket runs over.
pub(crate) trait Stream: std::io::Read + std::io::Write + Send {}
impl<T: std::io::Read + std::io::Write + Send> Stream for T {}

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

impl Page {
    /// Calls somebody who answers at once, proves who calls where that is asked for, and hangs up.
    pub(crate) fn call(&mut self, user: &str, number: u32, offer: &str) -> Outcome<()> {
        let uri = Uri::sip(Some(user), "localhost", None).ok_or("no URI")?;
        let mut invite = Request::new(Method::INVITE, uri.clone());
        let from = format!("<sip:{}@localhost>;tag=c{number}", self.user);
        invite.headers.push(HeaderName::FROM, from);
        invite.headers.push(HeaderName::TO, format!("<sip:{user}@localhost>"));
        invite.headers.push(HeaderName::CALL_ID, format!("c{number}@{}", self.user));
        let contact = format!("<sip:{}@c.invalid;transport=ws>", self.user);
        invite.headers.push(HeaderName::CONTACT, contact);
        invite.set_body("application/sdp", offer.to_owned());
        let mut cseq = 1;
        let answer = loop {
            invite.headers.set(HeaderName::CSEQ, format!("{cseq} INVITE"));
            self.request_out(invite.clone(), number, cseq)?;
            let response = self.final_response()?;
            if response.status.is_success() {
                break response;
            }
            let challenge = Challenge::best(response.headers.all(&HeaderName::PROXY_AUTHENTICATE));
            let challenge = challenge.filter(|_| cseq == 1);
            let challenge = challenge.ok_or_else(|| format!("refused: {}", response.status.0))?;
            let mut ack = Request::new(Method::ACK, uri.clone());
            for name in [HeaderName::FROM, HeaderName::CALL_ID] {
                let value = invite.headers.first(&name).cloned().unwrap_or_default();
                ack.headers.push(name, value);
            }
            let to = response.headers.first(&HeaderName::TO).cloned().unwrap_or_default();
            ack.headers.push(HeaderName::TO, to);
            ack.headers.push(HeaderName::CSEQ, format!("{cseq} ACK"));
            self.request_out(ack, number, cseq)?;
            let password = Secret::new(PASSWORD.to_owned());
            let credentials = Credentials { user: self.user.clone(), password, realm: None };
            let mut rng = Rng::from_u64(u64::from(number));
            let proof = answer(&challenge, &credentials, &Method::INVITE, &uri, 1, &mut rng)
                .ok_or("the challenge cannot be answered")?;
            invite.headers.set(HeaderName::PROXY_AUTHORIZATION, proof);
            cseq += 1;
        };
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let (transport, connection) = (Transport::Ws, Some(ConnectionId(1)));
        let flow = Flow { transport, connection, local: nowhere, remote: nowhere };
        let mut dialog = Dialog::as_caller(&invite, &answer, flow).ok_or("no dialog")?;
        let ack = dialog.request(Method::ACK, Some(cseq));
        self.request_out(ack, number, cseq + 1)?;
        let bye = dialog.request(Method::BYE, None);
        self.request_out(bye, number, cseq + 2)?;
        match self.final_response()?.status {
            StatusCode::OK => Ok(()),
            status => Err(format!("not hung up: {}", status.0).into()),
        }
    }

    fn request_out(&mut self, mut request: Request, number: u32, place: u32) -> Outcome<()> {
        let via = format!("SIP/2.0/WSS c.invalid;branch=z9hG4bKc{number}.{place}");
        request.headers.push_front(HeaderName::VIA, via);
        request.headers.set(HeaderName::MAX_FORWARDS, "70");
        self.send(String::from_utf8_lossy(&request.print()).into_owned())
    }

    fn final_response(&mut self) -> Outcome<Response> {
        loop {
            let response = self.response()?;
            if response.status.is_final() {
                return Ok(response);
            }
        }
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

/// Signs users in over UDP, so many at a time, each with a challenge.
pub(crate) fn register_many(
    server: SocketAddr,
    first: u32,
    count: u32,
    users: u32,
    at_once: u32,
) -> Outcome<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(server)?;
    let here = socket.local_addr()?;
    let registration = |number: u32| Registration {
        user: format!("user{}", number % users),
        number,
        via: format!("UDP {here}"),
        contact: here.to_string(),
    };
    let last = first + count;
    let mut next = first;
    let mut open = 0;
    let mut buffer = vec![0; 65_536];
    while next < last || open > 0 {
        while next < last && open < at_once {
            socket.send(registration(next).request(1, "").as_bytes())?;
            next += 1;
            open += 1;
        }
        let length = socket.recv(&mut buffer)?;
        let Ok(Message::Response(response)) =
            Message::parse(Bytes::copy_from_slice(&buffer[..length]))
        else {
            continue;
        };
        if response.status == StatusCode::UNAUTHORIZED {
            let id = response.headers.call_id().cloned().unwrap_or_default();
            let number = String::from_utf8_lossy(&id).trim_start_matches('r').parse()?;
            socket.send(registration(number).answer(&response)?.as_bytes())?;
        } else if response.status.is_final() {
            registered(&response)?;
            open -= 1;
        }
    }
    Ok(())
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

    /// Calls a user, has the call taken, and hangs up.
    pub(crate) fn call(
        &self,
        number: u32,
        user: &str,
        phone: &Phone,
        take: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<()> {
        self.invite(number, user, &phone.describe()?)?;
        take()?;
        let answer = self.answered(number)?;
        self.hang_up(number, &answer)
    }

    /// Calls a user; who takes the call is to do so before [`Trunk::answered`].
    pub(crate) fn invite(&self, number: u32, user: &str, description: &str) -> Outcome<()> {
        let target = format!("sip:{user}@{}", self.gateway);
        let to = format!("<{target}>");
        let invite = self.request(number, "INVITE", &target, &to, description)?;
        self.socket.send_to(invite.as_bytes(), self.gateway)?;
        Ok(())
    }

    /// Waits for the answer and acknowledges it.
    pub(crate) fn answered(&self, number: u32) -> Outcome<Response> {
        let answer = self.answer(number, "INVITE")?;
        self.send_in_dialog(number, "ACK", &answer)?;
        Ok(answer)
    }

    pub(crate) fn hang_up(&self, number: u32, answer: &Response) -> Outcome<()> {
        self.send_in_dialog(number, "BYE", answer)?;
        self.answer(number, "BYE")?;
        Ok(())
    }

    fn send_in_dialog(&self, number: u32, method: &str, answer: &Response) -> Outcome<()> {
        let to = answer.headers.first(&HeaderName::TO).cloned().unwrap_or_default();
        let contact = answer.headers.contacts().next().ok_or("no Contact")?;
        let target = String::from_utf8_lossy(contact.uri.as_bytes()).into_owned();
        let text = self.request(number, method, &target, &String::from_utf8_lossy(&to), "")?;
        // RFC 3261 §12.2.1.1: a BYE follows in the dialog's order.
        let text = text.replace("CSeq: 1 BYE", "CSeq: 2 BYE");
        self.socket.send_to(text.as_bytes(), self.gateway)?;
        Ok(())
    }

    /// Calls a phone that is played here, and hangs up; gives how long the INVITE and the 200 were
    /// on their way together.
    pub(crate) fn probe(&self, number: u32, user: &str, phone: &UdpSocket) -> Outcome<Duration> {
        let start = Instant::now();
        self.invite(number, user, PLAIN)?;
        let (invited, from) = asked(phone, &Method::INVITE)?;
        let there = start.elapsed();
        let mut response = Response::for_request(&invited, StatusCode::OK);
        let to = invited.headers.first(&HeaderName::TO).cloned().unwrap_or_default();
        response.headers.set(HeaderName::TO, [&to[..], b";tag=probe"].concat());
        let contact = format!("<sip:{user}@{}>", phone.local_addr()?);
        response.headers.push(HeaderName::CONTACT, contact);
        response.set_body("application/sdp", PLAIN);
        let bytes = response.print();
        let start = Instant::now();
        phone.send_to(&bytes, from)?;
        let answer = self.answer(number, "INVITE")?;
        let back = start.elapsed();
        for method in ["ACK", "BYE"] {
            self.send_in_dialog(number, method, &answer)?;
        }
        let (bye, from) = asked(phone, &Method::BYE)?;
        phone.send_to(&Response::for_request(&bye, StatusCode::OK).print(), from)?;
        self.answer(number, "BYE")?;
        Ok(there + back)
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

/// The next request of this method that a phone gets.
fn asked(phone: &UdpSocket, method: &Method) -> Outcome<(Request, SocketAddr)> {
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, from) = phone.recv_from(&mut buffer)?;
        match Message::parse(Bytes::copy_from_slice(&buffer[..length])) {
            Ok(Message::Request(request)) if request.method == *method => {
                return Ok((request, from));
            }
            _ => {}
        }
    }
}

/// What a phone says that is not heard.
pub(crate) const PLAIN: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\n\
    t=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";
