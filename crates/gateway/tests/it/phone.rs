//! A SIP phone on UDP, written by hand and without our own machines, so that it agrees with the
//! gateway only where the RFCs do. It borrows message parsing and the digest.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{Rng, Secret};
use crosspoint_sip::digest::{Challenge, Credentials, answer};
use crosspoint_sip::{HeaderName, Message, Method, Request, Response, Uri};

use crate::gateway::PATIENCE;

pub(crate) struct Phone {
    socket: UdpSocket,
    gateway: SocketAddr,
    credentials: Credentials,
    rng: Rng,
    registration: Thread,
    /// Headers of every request.
    pub(crate) extra: String,
    /// Before its address in From, with quotes and a blank.
    pub(crate) from_name: String,
}

/// One row of requests with a Call-ID of their own: a registration or a call.
#[derive(Clone)]
pub(crate) struct Thread {
    call_id: String,
    cseq: u32,
    local_tag: String,
    to: String,
    target: String,
}

impl Phone {
    pub(crate) fn new(gateway: SocketAddr, user: &str, password: &str) -> Self {
        Self::at("127.0.0.1", gateway, user, password)
    }

    /// One at another address.
    pub(crate) fn at(address: &str, gateway: SocketAddr, user: &str, password: &str) -> Self {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        let seed = socket.local_addr().unwrap().port();
        let mut rng = Rng::from_u64(seed.into());
        let target = format!("sip:{gateway}");
        let registration = Thread::new(&mut rng, &format!("<sip:{user}@{gateway}>"), &target);
        let credentials = Credentials {
            user: user.to_owned(),
            password: Secret::new(password.to_owned()),
            realm: None,
        };
        Self {
            socket,
            gateway,
            credentials,
            rng,
            registration,
            extra: String::new(),
            from_name: String::new(),
        }
    }

    /// Registers for so many seconds; gives the final status.
    pub(crate) fn register(&mut self, seconds: u32) -> Response {
        let mut thread = self.registration.clone();
        let extra = format!("Expires: {seconds}\r\n");
        let response = self.authenticated(&mut thread, "REGISTER", &extra, "");
        self.registration = thread;
        response
    }

    /// Whether OPTIONS of ours are answered. The gateway takes requests in their order: once the
    /// witness has an answer, ours would be there.
    pub(crate) fn is_heard(&mut self, witness: &mut Self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 65536];
        while self.socket.recv_from(&mut buffer).is_ok() {}
        let target = format!("sip:{}", self.gateway);
        let mut thread = Thread::new(&mut self.rng, &format!("<{target}>"), &target);
        thread.cseq = 1;
        self.send(&thread, "OPTIONS", "", "");
        let mut seen = Thread::new(&mut witness.rng, &format!("<{target}>"), &target);
        assert_eq!(witness.transact(&mut seen, "OPTIONS", "", "").status.0, 200);
        let is_heard = self.socket.recv_from(&mut buffer).is_ok();
        self.socket.set_nonblocking(false).unwrap();
        is_heard
    }

    /// A REGISTER with credentials, as it would be sent next.
    pub(crate) fn guess(&mut self) -> String {
        let mut thread = self.registration.clone();
        let response = self.transact(&mut thread, "REGISTER", "", "");
        let asked = response.headers.all(&HeaderName::WWW_AUTHENTICATE);
        let challenge = Challenge::best(asked).unwrap();
        let uri = Uri::parse(Bytes::from(thread.target.clone())).unwrap();
        let method = Method::REGISTER;
        let proof = answer(&challenge, &self.credentials, &method, &uri, 1, &mut self.rng).unwrap();
        thread.cseq += 1;
        let branch = format!("z9hG4bK{}", self.rng.hex(8));
        self.request(&thread, &branch, "REGISTER", &format!("Authorization: {proof}\r\n"), "")
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.gateway).unwrap();
    }

    /// Calls a number and acknowledges what comes back.
    pub(crate) fn call(&mut self, number: &str, description: &str) -> (Response, Thread) {
        let target = format!("sip:{number}@{}", self.gateway);
        let mut thread = Thread::new(&mut self.rng, &format!("<{target}>"), &target);
        let extra = "Content-Type: application/sdp\r\n";
        let response = self.authenticated(&mut thread, "INVITE", extra, description);
        if response.status.is_success() {
            thread.adopt(&response);
            self.send(&thread, "ACK", "", "");
        }
        (response, thread)
    }

    pub(crate) fn hang_up(&mut self, thread: &mut Thread) -> Response {
        self.transact(thread, "BYE", "", "")
    }

    /// Waits for a request and answers it with 200; gives the request.
    pub(crate) fn expect(&mut self, method: &Method) -> Request {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let Some(Message::Request(request)) = self.receive(deadline) else { continue };
            if request.method == *method {
                let response = Response::for_request(&request, crosspoint_sip::StatusCode::OK);
                self.socket.send_to(&response.print(), self.gateway).unwrap();
                return request;
            }
        }
        panic!("no {} came", method.as_str());
    }

    fn authenticated(
        &mut self,
        thread: &mut Thread,
        method: &str,
        extra: &str,
        body: &str,
    ) -> Response {
        let response = self.transact(thread, method, extra, body);
        let (asked, answered) = match response.status.0 {
            401 => (HeaderName::WWW_AUTHENTICATE, "Authorization"),
            407 => (HeaderName::PROXY_AUTHENTICATE, "Proxy-Authorization"),
            _ => return response,
        };
        let challenge = Challenge::best(response.headers.all(&asked)).unwrap();
        let uri = Uri::parse(Bytes::from(thread.target.clone())).unwrap();
        let token = Method::parse(&Bytes::copy_from_slice(method.as_bytes())).unwrap();
        let proof = answer(&challenge, &self.credentials, &token, &uri, 1, &mut self.rng).unwrap();
        self.transact(thread, method, &format!("{extra}{answered}: {proof}\r\n"), body)
    }

    /// Sends a request until its final response comes; acknowledges a failed INVITE.
    fn transact(&mut self, thread: &mut Thread, method: &str, extra: &str, body: &str) -> Response {
        thread.cseq += 1;
        let branch = format!("z9hG4bK{}", self.rng.hex(8));
        let request = self.request(thread, &branch, method, extra, body);
        let deadline = Instant::now() + PATIENCE;
        let mut is_heard = false;
        while Instant::now() < deadline {
            if !is_heard {
                self.socket.send_to(request.as_bytes(), self.gateway).unwrap();
            }
            let until = deadline.min(Instant::now() + Duration::from_millis(500));
            while let Some(message) = self.receive(until) {
                let Message::Response(response) = message else { continue };
                let cseq = response.headers.cseq().unwrap();
                if cseq.number != thread.cseq || cseq.method.as_str() != method {
                    continue;
                }
                is_heard = true;
                if response.status.is_provisional() {
                    continue;
                }
                if method == "INVITE" && !response.status.is_success() {
                    let mut failed = thread.clone();
                    failed.adopt(&response);
                    failed.target.clone_from(&thread.target);
                    let ack = self.request(&failed, &branch, "ACK", "", "");
                    self.socket.send_to(ack.as_bytes(), self.gateway).unwrap();
                }
                return response;
            }
        }
        panic!("{method} was not answered");
    }

    fn send(&mut self, thread: &Thread, method: &str, extra: &str, body: &str) {
        let branch = format!("z9hG4bK{}", self.rng.hex(8));
        let request = self.request(thread, &branch, method, extra, body);
        self.socket.send_to(request.as_bytes(), self.gateway).unwrap();
    }

    fn request(
        &self,
        thread: &Thread,
        branch: &str,
        method: &str,
        extra: &str,
        body: &str,
    ) -> String {
        let local = self.socket.local_addr().unwrap();
        let Thread { call_id, cseq, local_tag, to, target } = thread;
        let user = &self.credentials.user;
        format!(
            "{method} {target} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch={branch};rport\r\n\
             Max-Forwards: 70\r\n\
             From: {}<sip:{user}@{}>;tag={local_tag}\r\n\
             To: {to}\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\n\
             Contact: <sip:{user}@{local}>\r\n\
             {}{extra}Content-Length: {}\r\n\r\n{body}",
            self.from_name,
            self.gateway,
            self.extra,
            body.len()
        )
    }

    fn receive(&self, until: Instant) -> Option<Message> {
        let left = until.checked_duration_since(Instant::now())?;
        self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
        let mut buffer = [0; 65536];
        let (length, _) = self.socket.recv_from(&mut buffer).ok()?;
        Some(Message::parse(Bytes::copy_from_slice(&buffer[..length])).unwrap())
    }
}

impl Thread {
    fn new(rng: &mut Rng, to: &str, target: &str) -> Self {
        Self {
            call_id: rng.hex(8),
            cseq: 0,
            local_tag: rng.hex(4),
            to: to.to_owned(),
            target: target.to_owned(),
        }
    }

    /// Takes the other side's tag and contact.
    fn adopt(&mut self, response: &Response) {
        self.to = String::from_utf8(response.headers.to().unwrap().print().to_vec()).unwrap();
        if let Some(contact) = response.headers.contacts().next() {
            self.target = String::from_utf8(contact.uri.as_bytes().to_vec()).unwrap();
        }
    }
}
