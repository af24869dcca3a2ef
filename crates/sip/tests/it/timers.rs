//! Every timer of RFC 3261 table 4 and RFC 6026, to the millisecond, with everything lost that
//! would stop it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{ConnectionId, Flow, Rng, Transport};
use crosspoint_sip::endpoint::{Endpoint, EndpointConfig, Event, Output, ServerKey};
use crosspoint_sip::{HeaderName, Message, Method, Request, Response, StatusCode, Timing, Uri};

#[expect(clippy::disallowed_methods, reason = "a simulation needs some instant to count from")]
fn some_instant() -> Instant {
    Instant::now()
}

/// One endpoint whose peer is played by the test.
struct Lone {
    end: Endpoint,
    start: Instant,
    now: Instant,
    flow: Flow,
    /// What it sent, and when, in milliseconds.
    sent: Vec<(u128, String)>,
    events: Vec<(u128, Event)>,
}

impl Lone {
    fn over(transport: Transport) -> Self {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let connection = transport.is_reliable().then_some(ConnectionId(1));
        let flow = Flow { transport, connection, local: address(1), remote: address(2) };
        let start = some_instant();
        let end = Endpoint::new(EndpointConfig::default(), Rng::from_u64(1));
        Self { end, start, now: start, flow, sent: vec![], events: vec![] }
    }

    fn udp() -> Self {
        Self::over(Transport::Udp)
    }

    /// Lets time pass up to so many milliseconds from the start.
    fn until(&mut self, millis: u64) {
        let target = self.start + Duration::from_millis(millis);
        loop {
            let next = self.drain();
            let Some(next) = next.filter(|next| *next <= target) else { break };
            self.now = self.now.max(next);
            self.end.handle_timeout(self.now);
        }
        self.now = target;
    }

    fn drain(&mut self) -> Option<Instant> {
        let at = (self.now - self.start).as_millis();
        loop {
            match self.end.poll_output() {
                Output::Transmit(transmit) => {
                    let text = String::from_utf8_lossy(&transmit.bytes).into_owned();
                    self.sent.push((at, text));
                }
                Output::Event(event) => self.events.push((at, *event)),
                Output::Timeout(at) => return at,
            }
        }
    }

    fn hear(&mut self, message: impl Into<Bytes>) {
        let message = Message::parse(message.into()).expect("the test's messages are well-formed");
        self.end.handle_message(self.now, self.flow, message);
        self.drain();
    }

    fn send(&mut self, method: Method) {
        self.end.send_request(self.now, self.flow, &request(method));
        self.drain();
    }

    /// Answers what was sent last.
    fn answer(&mut self, status: u16) {
        let (_, sent) = self.sent.first().expect("something was sent");
        let Ok(Message::Request(request)) = Message::parse(Bytes::from(sent.clone())) else {
            panic!("it was no request");
        };
        let mut response = Response::for_request(&request, StatusCode(status));
        response.headers.set(HeaderName::TO, "<sip:bob@127.0.0.1>;tag=b");
        self.hear(response.print());
    }

    /// Hears a request and gives its key.
    fn ask(&mut self, method: Method) -> ServerKey {
        self.hear(asked(method));
        match self.events.pop() {
            Some((_, Event::Request { key, .. })) => key,
            other => panic!("no request: {other:?}"),
        }
    }

    fn respond(&mut self, key: ServerKey, method: Method, status: u16) {
        let Ok(Message::Request(request)) = Message::parse(asked(method)) else {
            panic!("it was no request");
        };
        let mut response = Response::for_request(&request, StatusCode(status));
        response.headers.set(HeaderName::TO, "<sip:bob@127.0.0.1>;tag=b");
        self.end.respond(self.now, key, &response);
        self.drain();
    }

    /// When messages of this beginning were sent.
    fn times(&self, beginning: &str) -> Vec<u128> {
        let all = self.sent.iter().filter(|(_, text)| text.starts_with(beginning));
        all.map(|(at, _)| *at).collect()
    }

    fn has_timed_out(&self) -> Option<u128> {
        let mut all = self.events.iter();
        all.find(|(_, event)| matches!(event, Event::TimedOut { .. })).map(|(at, _)| *at)
    }

    /// When the ACK was given up.
    fn missed_ack(&self) -> Option<u128> {
        let mut all = self.events.iter();
        all.find(|(_, event)| matches!(event, Event::AckMissing { .. })).map(|(at, _)| *at)
    }

    /// Asserts that the last transaction ends at this time and not before.
    fn ends_at(&mut self, millis: u64) {
        if millis > 0 {
            self.until(millis - 1);
            assert_eq!(self.end.transactions(), 1, "it waits until {millis} ms");
        }
        self.until(millis);
        assert_eq!(self.end.transactions(), 0, "it ends at {millis} ms");
    }
}

fn request(method: Method) -> Request {
    let mut request =
        Request::new(method.clone(), Uri::sip(Some("bob"), "127.0.0.1", None).unwrap());
    request.headers.push(HeaderName::FROM, "<sip:alice@127.0.0.1>;tag=a");
    request.headers.push(HeaderName::TO, "<sip:bob@127.0.0.1>");
    request.headers.push(HeaderName::CALL_ID, "timers");
    request.headers.push(HeaderName::CSEQ, format!("1 {method}"));
    request.headers.push(HeaderName::MAX_FORWARDS, "70");
    request
}

/// The same as somebody else's request.
fn asked(method: Method) -> Bytes {
    let mut request = request(method);
    request.headers.push_front(HeaderName::VIA, "SIP/2.0/UDP 127.0.0.1:2;branch=z9hG4bKtimers");
    request.print()
}

fn ack() -> Bytes {
    let mut ack = request(Method::ACK);
    ack.headers.push_front(HeaderName::VIA, "SIP/2.0/UDP 127.0.0.1:2;branch=z9hG4bKtimers");
    ack.headers.set(HeaderName::TO, "<sip:bob@127.0.0.1>;tag=b");
    ack.print()
}

const INVITE_TIMES: [u128; 7] = [0, 500, 1500, 3500, 7500, 15_500, 31_500];
/// With T2 as the longest interval.
const OTHER_TIMES: [u128; 11] =
    [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];

#[test]
fn timers_a_and_b_repeat_an_invite_and_give_it_up() {
    let mut lone = Lone::udp();
    lone.send(Method::INVITE);
    lone.until(40_000);
    assert_eq!(lone.times("INVITE"), INVITE_TIMES);
    assert_eq!(lone.has_timed_out(), Some(32_000));
    let mut lone = Lone::over(Transport::Tcp);
    lone.send(Method::INVITE);
    lone.until(40_000);
    assert_eq!((lone.times("INVITE"), lone.has_timed_out()), (vec![0], Some(32_000)));
}

#[test]
fn timer_c_gives_an_invite_up_that_only_rings_and_every_ring_sets_it_anew() {
    let mut lone = Lone::udp();
    lone.send(Method::INVITE);
    lone.until(400);
    lone.answer(180);
    lone.until(100_400);
    assert_eq!(lone.times("INVITE"), [0], "a provisional stops Timer A");
    lone.answer(180);
    lone.until(300_399);
    assert_eq!(lone.has_timed_out(), None);
    lone.until(300_400);
    assert_eq!(lone.has_timed_out(), Some(300_400));
}

#[test]
fn timer_d_acknowledges_a_repeated_refusal_for_the_time_it_may_come() {
    let mut lone = Lone::udp();
    lone.send(Method::INVITE);
    lone.answer(486);
    for at in [500, 1500, 31_999] {
        lone.until(at);
        lone.answer(486);
    }
    assert_eq!(lone.times("ACK"), [0, 500, 1500, 31_999]);
    let heard = lone.events.iter().filter(|(_, e)| matches!(e, Event::Response { .. })).count();
    assert_eq!(heard, 1, "the user hears of it once");
    lone.ends_at(32_000);
    let mut lone = Lone::over(Transport::Tls);
    lone.send(Method::INVITE);
    lone.answer(486);
    lone.ends_at(0);
}

#[test]
fn timers_e_and_f_repeat_other_requests_and_give_them_up() {
    let mut lone = Lone::udp();
    lone.send(Method::OPTIONS);
    lone.until(40_000);
    assert_eq!(lone.times("OPTIONS"), OTHER_TIMES);
    assert_eq!(lone.has_timed_out(), Some(32_000));
    let mut lone = Lone::udp();
    lone.send(Method::OPTIONS);
    lone.until(100);
    lone.answer(100);
    lone.until(40_000);
    assert_eq!(lone.times("OPTIONS")[..4], [0, 500, 4500, 8500], "T2 after a provisional");
    assert_eq!(lone.has_timed_out(), Some(32_000));
    let mut lone = Lone::over(Transport::Ws);
    lone.send(Method::OPTIONS);
    lone.until(40_000);
    assert_eq!((lone.times("OPTIONS"), lone.has_timed_out()), (vec![0], Some(32_000)));
}

#[test]
fn timers_g_and_h_repeat_a_refusal_until_its_ack_is_given_up() {
    let mut lone = Lone::udp();
    let key = lone.ask(Method::INVITE);
    lone.respond(key, Method::INVITE, 486);
    lone.until(40_000);
    assert_eq!(lone.times("SIP/2.0 486"), OTHER_TIMES);
    assert_eq!(lone.missed_ack(), Some(32_000));
    assert_eq!(lone.end.transactions(), 0);
    let mut lone = Lone::over(Transport::Tcp);
    let key = lone.ask(Method::INVITE);
    lone.respond(key, Method::INVITE, 486);
    lone.until(40_000);
    assert_eq!((lone.times("SIP/2.0 486"), lone.missed_ack()), (vec![0], Some(32_000)));
}

#[test]
fn timer_i_absorbs_acks_for_a_while() {
    let mut lone = Lone::udp();
    let key = lone.ask(Method::INVITE);
    lone.respond(key, Method::INVITE, 486);
    lone.until(600);
    lone.hear(ack());
    lone.until(3000);
    lone.hear(ack());
    assert_eq!(lone.times("SIP/2.0 486"), [0, 500]);
    assert!(!lone.events.iter().any(|(_, e)| matches!(e, Event::Ack { .. })), "nobody hears it");
    lone.ends_at(5600);
}

#[test]
fn timer_j_answers_a_repeated_request() {
    let mut lone = Lone::udp();
    let key = lone.ask(Method::OPTIONS);
    lone.respond(key, Method::OPTIONS, 200);
    for at in [500, 31_999] {
        lone.until(at);
        lone.hear(asked(Method::OPTIONS));
    }
    assert_eq!(lone.times("SIP/2.0 200"), [0, 500, 31_999]);
    assert!(lone.events.is_empty(), "the user hears of it once");
    lone.ends_at(32_000);
    let mut lone = Lone::over(Transport::Wss);
    let key = lone.ask(Method::OPTIONS);
    lone.respond(key, Method::OPTIONS, 200);
    lone.ends_at(0);
}

#[test]
fn timer_k_absorbs_repeated_answers_for_a_while() {
    let mut lone = Lone::udp();
    lone.send(Method::OPTIONS);
    lone.answer(200);
    lone.until(4999);
    lone.answer(200);
    let heard = lone.events.iter().filter(|(_, e)| matches!(e, Event::Response { .. })).count();
    assert_eq!((heard, lone.end.counters().stray_responses), (1, 0));
    lone.ends_at(5000);
    lone.answer(200);
    assert_eq!(lone.end.counters().stray_responses, 1);
}

#[test]
fn timer_l_absorbs_repeated_invites_after_an_answer() {
    let mut lone = Lone::udp();
    let key = lone.ask(Method::INVITE);
    lone.respond(key, Method::INVITE, 200);
    lone.until(700);
    lone.hear(ack());
    lone.until(31_000);
    lone.hear(asked(Method::INVITE));
    assert_eq!(lone.times("SIP/2.0 200"), [0, 500], "its ACK stops the repeats");
    assert!(!lone.events.iter().any(|(_, e)| matches!(e, Event::Request { .. })));
    lone.ends_at(32_000);
    assert_eq!(lone.missed_ack(), None);
}

/// RFC 3261 §13.3.1.4: over every transport, as a proxy may lose the ACK.
#[test]
fn an_answer_is_repeated_and_its_ack_given_up_when_timer_l_ends() {
    for transport in [Transport::Udp, Transport::Tls] {
        let mut lone = Lone::over(transport);
        let key = lone.ask(Method::INVITE);
        lone.respond(key, Method::INVITE, 200);
        lone.until(40_000);
        assert_eq!(lone.times("SIP/2.0 200"), OTHER_TIMES);
        assert_eq!(lone.missed_ack(), Some(32_000));
    }
}

#[test]
fn timer_m_passes_every_answer_of_a_forked_call_up() {
    let mut lone = Lone::udp();
    lone.send(Method::INVITE);
    for at in [100, 600, 32_000] {
        lone.until(at);
        lone.answer(200);
    }
    let heard = lone.events.iter().filter(|(_, e)| matches!(e, Event::Response { .. })).count();
    assert_eq!(heard, 3, "a forked call has several");
    assert_eq!(lone.times("ACK"), [0; 0], "the ACK is the dialog's");
    lone.ends_at(32_100);
}

#[test]
fn transactions_that_may_wait_to_be_forgotten_are_forgotten_together() {
    let mut lone = Lone::udp();
    let slack = Duration::from_millis(100);
    let timing = Timing { slack, ..Timing::default() };
    lone.end =
        Endpoint::new(EndpointConfig { timing, ..EndpointConfig::default() }, Rng::from_u64(1));
    for (number, at) in [10, 40, 80, 130].into_iter().enumerate() {
        lone.until(at);
        let text = String::from_utf8_lossy(&asked(Method::OPTIONS)).into_owned();
        lone.hear(text.replace("branch=z9hG4bK", &format!("branch=z9hG4bK{number}")));
        let Some((_, Event::Request { key, .. })) = lone.events.pop() else {
            panic!("no request {number}")
        };
        lone.respond(key, Method::OPTIONS, 200);
    }
    assert_eq!(lone.end.transactions(), 4);
    let mut waiting = vec![];
    while let Some(next) = lone.drain() {
        lone.now = next;
        lone.end.handle_timeout(next);
        waiting.push(((next - lone.start).as_millis(), lone.end.transactions()));
    }
    // None before its 32 s, and none much later.
    assert_eq!(waiting, [(32_010, 3), (32_110, 1), (32_210, 0)]);
}

#[test]
fn trying_goes_out_after_a_while_unless_something_was_said() {
    let mut lone = Lone::udp();
    lone.ask(Method::INVITE);
    lone.until(5000);
    assert_eq!(lone.times("SIP/2.0 100"), [200]);
    let mut lone = Lone::udp();
    let key = lone.ask(Method::INVITE);
    lone.until(150);
    lone.respond(key, Method::INVITE, 180);
    lone.until(5000);
    assert_eq!(lone.times("SIP/2.0 100"), [0; 0]);
    let mut lone = Lone::udp();
    lone.ask(Method::OPTIONS);
    lone.until(5000);
    assert_eq!(lone.times("SIP/2.0 100"), [0; 0], "RFC 4320 §4.1: not for others");
}
