//! The transaction layer between a user and peers that do what they like, in any order and at
//! any time. Whatever happened: once the user has answered and time has passed, nothing is left.
//! Each step is three bytes.
#![no_main]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{ConnectionId, Flow, Rng, Transport};
use crosspoint_sip::endpoint::{ClientKey, Endpoint, EndpointConfig, Event, Output, ServerKey};
use crosspoint_sip::{HeaderName, Message, Method, Request, Response, StatusCode, Uri};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut world = World::new();
    for step in bytes.chunks_exact(3).take(200) {
        world.step(step[0], step[1], step[2]);
    }
    world.finish();
});

struct World {
    now: Instant,
    endpoint: Endpoint,
    unanswered: BTreeMap<ServerKey, Request>,
    clients: Vec<ClientKey>,
    /// Requests of ours that peers may answer.
    sent: Vec<Request>,
    deadline: Option<Instant>,
    ended: BTreeMap<ClientKey, u32>,
}

impl World {
    fn new() -> Self {
        let config = EndpointConfig {
            max_server_transactions: 40,
            max_pending_per_source: 20,
            ..EndpointConfig::default()
        };
        Self {
            now: Instant::now(),
            endpoint: Endpoint::new(config, Rng::from_u64(1)),
            unanswered: BTreeMap::new(),
            clients: Vec::new(),
            sent: Vec::new(),
            deadline: None,
            ended: BTreeMap::new(),
        }
    }

    fn step(&mut self, what: u8, a: u8, b: u8) {
        match what % 11 {
            0 | 1 => self.peer_asks(a, b),
            2 => self.peer_answers(a, b),
            3 => self.user_answers(a, b),
            4 => {
                let request = request(method(a), b, "ours");
                let key = self.endpoint.send_request(self.now, flow(b), &request);
                self.clients.push(key);
            }
            5 => {
                let key = self.clients.get(usize::from(a)).copied();
                let _ = key.map(|key| self.endpoint.cancel(self.now, key, None));
            }
            6 => self.pass(Duration::from_millis(u64::from(a) * u64::from(b))),
            7 => self.peer_is_away(a, b),
            8 => self.peer_is_back(a, b),
            9 => self.endpoint.handle_transport_error(self.now, &flow(b)),
            _ => {
                let connection = ConnectionId(u64::from(b & 3));
                self.endpoint.handle_connection_closed(self.now, connection);
            }
        }
        self.drain();
        assert!(self.endpoint.transactions() <= 40 + 2 * self.clients.len() + 40);
    }

    fn peer_asks(&mut self, a: u8, b: u8) {
        let mut request = request(method(a), b, "theirs");
        let branch = if b & 0x80 == 0 { format!("z9hG4bK{}", b & 7) } else { (b & 7).to_string() };
        let via = format!("SIP/2.0/UDP 192.0.2.{}:5060;branch={branch}", b & 3);
        request.headers.push_front(HeaderName::VIA, via);
        self.endpoint.handle_message(self.now, flow(b), Message::Request(request));
    }

    fn peer_answers(&mut self, a: u8, b: u8) {
        let Some(request) = self.sent.get(usize::from(a) % self.sent.len().max(1)) else { return };
        let response = Response::for_request(request, status(b));
        self.endpoint.handle_message(self.now, flow(b >> 6), Message::Response(response));
    }

    fn user_answers(&mut self, a: u8, b: u8) {
        let at = usize::from(a) % self.unanswered.len().max(1);
        let Some((key, request)) = self.unanswered.iter().nth(at) else { return };
        let (key, response) = (*key, Response::for_request(request, status(b)));
        if response.status.is_final() {
            self.unanswered.remove(&key);
        }
        self.endpoint.respond(self.now, key, &response);
    }

    /// A request is held, one on its way or a new one.
    fn peer_is_away(&mut self, a: u8, b: u8) {
        if b & 0x80 == 0 {
            let key = self.clients.get(usize::from(a)).copied();
            let _ = key.map(|key| self.endpoint.hold(key));
        } else {
            let request = request(method(a), b, "ours");
            let key = self.endpoint.hold_request(self.now, flow(b), &request);
            self.clients.push(key);
        }
    }

    /// What is held goes out over another flow, and so does what was answered.
    fn peer_is_back(&mut self, a: u8, b: u8) {
        let key = self.clients.get(usize::from(a)).copied();
        match (key, b & 0x40 == 0) {
            (Some(key), true) => self.endpoint.release(self.now, key, flow(b)),
            (Some(key), false) => self.endpoint.release_cancelled(self.now, key, flow(b), None),
            (None, _) => {}
        }
        if let Some(key) = self.unanswered.keys().nth(usize::from(a)) {
            self.endpoint.redirect(self.now, *key, flow(b));
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.deadline.filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.endpoint.handle_timeout(self.now);
            self.drain();
            assert!(self.deadline.is_none_or(|next| next > self.now), "a timer that never ends");
        }
        self.now = end;
    }

    fn drain(&mut self) {
        loop {
            match self.endpoint.poll_output() {
                Output::Transmit(transmit) => {
                    let message = Message::parse(transmit.bytes.clone());
                    match message.expect("what we send parses") {
                        Message::Request(request) if request.method != Method::ACK => {
                            self.sent.push(request);
                        }
                        _ => {}
                    }
                    // A peer need not remember for ever.
                    if self.sent.len() > 64 {
                        self.sent.remove(0);
                    }
                }
                Output::Event(event) => self.hear(*event),
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return;
                }
            }
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Request { key, request, .. } => {
                self.unanswered.insert(key, request);
            }
            Event::Cancelled { key, .. } => {
                assert!(self.unanswered.contains_key(&key), "an answered INVITE was cancelled");
            }
            Event::TimedOut { key } | Event::TransportFailed { key } => {
                let count = self.ended.entry(key).or_default();
                *count += 1;
                assert_eq!(*count, 1, "a request failed twice");
            }
            _ => {}
        }
    }

    /// Answers everything and waits out every timer, Timer C included.
    fn finish(mut self) {
        while let Some((key, request)) = self.unanswered.pop_first() {
            let response = Response::for_request(&request, StatusCode::BUSY_HERE);
            self.endpoint.respond(self.now, key, &response);
            self.drain();
        }
        // Who held a request lets go of it.
        for key in std::mem::take(&mut self.clients) {
            self.endpoint.fail(self.now, key);
            self.drain();
        }
        for _ in 0..4 {
            self.pass(Duration::from_secs(400));
        }
        assert_eq!(self.endpoint.transactions(), 0, "a transaction never ends");
        assert!(self.deadline.is_none(), "a timer is left");
    }
}

fn method(a: u8) -> Method {
    let methods =
        [Method::INVITE, Method::ACK, Method::CANCEL, Method::BYE, Method::OPTIONS, Method::INVITE];
    methods[usize::from(a) % methods.len()].clone()
}

fn status(b: u8) -> StatusCode {
    StatusCode([100, 180, 183, 200, 202, 302, 401, 487, 503, 600][usize::from(b) % 10])
}

/// One of a few flows: two over UDP, two over connections.
fn flow(b: u8) -> Flow {
    let connection = (b & 2 != 0).then(|| ConnectionId(u64::from(b & 3)));
    Flow {
        transport: if connection.is_some() { Transport::Tcp } else { Transport::Udp },
        connection,
        local: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 100), 5060)),
        remote: SocketAddr::from((Ipv4Addr::new(192, 0, 2, b & 3), 5060)),
    }
}

fn request(method: Method, b: u8, who: &str) -> Request {
    let mut request = Request::new(
        method.clone(),
        Uri::parse(Bytes::from_static(b"sip:a@example.org")).expect("a URI"),
    );
    let headers = &mut request.headers;
    headers.push(HeaderName::FROM, format!("<sip:{who}@example.org>;tag={}", b & 1));
    headers.push(HeaderName::TO, Bytes::from_static(b"<sip:a@example.org>"));
    headers.push(HeaderName::CALL_ID, format!("{}@{who}", b >> 4 & 3));
    headers.push(HeaderName::CSEQ, format!("{} {}", 1 + (b & 1), method.as_str()));
    headers.push(HeaderName::MAX_FORWARDS, Bytes::from_static(b"70"));
    request
}
