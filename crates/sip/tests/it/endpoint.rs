//! Two endpoints over a link that loses, repeats and reorders datagrams.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{ConnectionId, Flow, Rng, Transport};
use crosspoint_sip::endpoint::{Endpoint, EndpointConfig, Event, Output, ServerKey};
use crosspoint_sip::{HeaderName, Message, Method, Request, Response, StatusCode, Uri};

#[expect(clippy::disallowed_methods, reason = "a simulation needs some instant to count from")]
fn some_instant() -> Instant {
    Instant::now()
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn flow(from: u16, to: u16) -> Flow {
    Flow { transport: Transport::Udp, connection: None, local: address(from), remote: address(to) }
}

fn request(method: Method, number: u32) -> Request {
    let mut request =
        Request::new(method.clone(), Uri::sip(Some("bob"), "127.0.0.1", None).unwrap());
    request.headers.push(HeaderName::FROM, "<sip:alice@127.0.0.1>;tag=a");
    request.headers.push(HeaderName::TO, "<sip:bob@127.0.0.1>");
    request.headers.push(HeaderName::CALL_ID, format!("call-{number}"));
    request.headers.push(HeaderName::CSEQ, format!("1 {method}"));
    request.headers.push(HeaderName::MAX_FORWARDS, "70");
    request
}

struct World {
    now: Instant,
    rng: Rng,
    loss: u32,
    ends: [Endpoint; 2],
    /// Datagrams on their way: arrival, a tie-breaker, receiver, bytes.
    wire: BTreeMap<(Instant, u64), (usize, Bytes)>,
    sent: u64,
    events: [Vec<Event>; 2],
    log: Vec<(Duration, usize, String)>,
    start: Instant,
}

impl World {
    fn new(seed: u64, loss_percent: u32) -> Self {
        let mut rng = Rng::from_u64(seed);
        let ends =
            [rng.fork(), rng.fork()].map(|rng| Endpoint::new(EndpointConfig::default(), rng));
        let now = some_instant();
        Self {
            now,
            rng,
            loss: loss_percent,
            ends,
            wire: BTreeMap::new(),
            sent: 0,
            events: [vec![], vec![]],
            log: vec![],
            start: now,
        }
    }

    fn drain(&mut self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for end in 0..2 {
            loop {
                match self.ends[end].poll_output() {
                    Output::Transmit(transmit) => self.send(end, transmit.bytes),
                    Output::Event(event) => self.events[end].push(*event),
                    Output::Timeout(at) => {
                        next = [next, at].into_iter().flatten().min();
                        break;
                    }
                }
            }
        }
        next
    }

    fn send(&mut self, from: usize, bytes: Bytes) {
        let first = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        let first = first.lines().next().unwrap_or_default().to_owned();
        self.log.push((self.now - self.start, from, first));
        let copies = 1 + u32::from(self.loss > 0 && self.rng.below(100) < 5);
        for _ in 0..copies {
            if self.rng.below(100) < self.loss {
                continue;
            }
            let delay = if self.loss > 0 { self.rng.below(80) } else { 1 };
            let at = self.now + Duration::from_millis(u64::from(delay));
            self.sent += 1;
            self.wire.insert((at, self.sent), (1 - from, bytes.clone()));
        }
    }

    /// Runs until nothing is left to happen; `user` answers the events of each end.
    fn run(&mut self, mut user: impl FnMut(&mut Endpoint, Instant, usize, Event)) {
        for _ in 0..100_000 {
            let timeout = self.drain();
            for end in 0..2 {
                for event in std::mem::take(&mut self.events[end]) {
                    user(&mut self.ends[end], self.now, end, event);
                }
            }
            let timeout = [self.drain(), timeout].into_iter().flatten().min();
            let arrival = self.wire.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = [timeout, arrival].into_iter().flatten().min() else { return };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, (to, bytes)) = self.wire.pop_first().expect("just seen");
                let back = if to == 0 { flow(1, 2) } else { flow(2, 1) };
                let message = Message::parse(bytes).expect("endpoints print well");
                self.ends[to].handle_message(self.now, back, message);
            } else {
                for end in &mut self.ends {
                    end.handle_timeout(self.now);
                }
            }
        }
        panic!("the world never comes to rest");
    }
}

fn answer(end: &mut Endpoint, now: Instant, key: ServerKey, request: &Request, status: StatusCode) {
    let mut response = Response::for_request(request, status);
    let to = request.headers.first(&HeaderName::TO).unwrap();
    let to = [to.as_ref(), b";tag=b"].concat();
    response.headers.set(HeaderName::TO, to);
    end.respond(now, key, &response);
}

fn ack(request: &Response) -> Request {
    let mut ack = Request::new(Method::ACK, Uri::sip(Some("bob"), "127.0.0.1", None).unwrap());
    for name in [HeaderName::FROM, HeaderName::TO, HeaderName::CALL_ID] {
        ack.headers.push(name.clone(), request.headers.first(&name).unwrap().clone());
    }
    ack.headers.push(HeaderName::CSEQ, "1 ACK");
    ack
}

/// Under heavy loss every request ends with exactly one final word, and nothing is left.
#[test]
fn every_transaction_ends_under_loss() {
    for seed in 0..60 {
        let mut world = World::new(seed, 30);
        let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
        for number in 0..6 {
            let method = if number % 2 == 0 { Method::INVITE } else { Method::OPTIONS };
            let now = world.now;
            world.ends[0].send_request(now, flow(1, 2), &request(method, number));
        }
        world.run(|end, now, _, event| match event {
            Event::Request { key, request, .. } => {
                let status = match request.headers.call_id().unwrap().as_ref() {
                    b"call-0" => StatusCode::OK,
                    b"call-2" => StatusCode::BUSY_HERE,
                    b"call-4" => StatusCode::DECLINE,
                    _ => StatusCode::OK,
                };
                answer(end, now, key, &request, status);
            }
            Event::Response { flow, response, .. } if response.status.is_final() => {
                let id = String::from_utf8_lossy(response.headers.call_id().unwrap()).into_owned();
                let is_invite = response.headers.cseq().unwrap().method == Method::INVITE;
                if is_invite && response.status.is_success() {
                    end.send_ack(flow, &ack(&response));
                    outcomes.insert(id, 1);
                } else {
                    *outcomes.entry(id).or_default() += 1;
                }
            }
            Event::TimedOut { .. } => *outcomes.entry("timeout".to_owned()).or_default() += 1,
            _ => {}
        });
        let timeouts = outcomes.remove("timeout").unwrap_or(0) as usize;
        assert!(outcomes.values().all(|n| *n == 1), "seed {seed}: {outcomes:?}");
        assert_eq!(outcomes.len() + timeouts, 6, "seed {seed}: {outcomes:?}");
        assert_eq!(
            (world.ends[0].transactions(), world.ends[1].transactions()),
            (0, 0),
            "seed {seed}"
        );
    }
}

/// RFC 3261 §17.1.1.2: 0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s, then Timer B at 32 s.
#[test]
fn an_unanswered_invite_is_repeated_as_the_rfc_says() {
    let mut world = World::new(1, 0);
    let now = world.now;
    world.ends[0].send_request(now, flow(1, 2), &request(Method::INVITE, 1));
    let mut timed_out = 0;
    world.wire.clear();
    world.loss = 100;
    world.run(|_, _, _, event| timed_out += u32::from(matches!(event, Event::TimedOut { .. })));
    let times: Vec<u128> = world.log.iter().map(|(at, _, _)| at.as_millis()).collect();
    assert_eq!(times, [0, 500, 1500, 3500, 7500, 15_500, 31_500]);
    assert_eq!(timed_out, 1);
    assert_eq!((world.now - world.start).as_millis(), 32_000);
}

/// A CANCEL waits for the first provisional response and ends in 487.
#[test]
fn a_cancel_waits_for_a_provisional_response() {
    let mut world = World::new(3, 0);
    let now = world.now;
    let key = world.ends[0].send_request(now, flow(1, 2), &request(Method::INVITE, 1));
    assert!(world.ends[0].cancel(now, key, Some("SIP;cause=200")));
    let mut pending = None;
    let mut final_status = None;
    world.run(|end, now, _, event| match event {
        Event::Request { key, request, .. } => pending = Some((key, request)),
        Event::Cancelled { key, reason } => {
            assert_eq!(reason.unwrap(), "SIP;cause=200");
            let (pending_key, request) = pending.take().unwrap();
            assert_eq!(pending_key, key);
            answer(end, now, key, &request, StatusCode::REQUEST_TERMINATED);
        }
        Event::Response { response, .. } if response.status.is_final() => {
            let is_invite = response.headers.cseq().unwrap().method == Method::INVITE;
            if is_invite {
                final_status = Some(response.status);
            }
        }
        _ => {}
    });
    let sent: Vec<&str> =
        world.log.iter().map(|(_, _, line)| line.split(' ').take(2).last().unwrap()).collect();
    assert_eq!(final_status, Some(StatusCode::REQUEST_TERMINATED));
    assert!(world.log[1].2.contains("100"), "the 100 comes before the CANCEL: {sent:?}");
    assert_eq!(world.ends[0].transactions() + world.ends[1].transactions(), 0);
}

/// A 2xx is repeated until its ACK comes; without one the user is told to end the dialog.
#[test]
fn a_missing_ack_is_reported_after_repeating_the_answer() {
    let mut world = World::new(4, 0);
    let now = world.now;
    world.ends[0].send_request(now, flow(1, 2), &request(Method::INVITE, 1));
    let (mut answers, mut missing) = (0, 0);
    world.run(|end, now, _, event| match event {
        Event::Request { key, request, .. } => answer(end, now, key, &request, StatusCode::OK),
        Event::Response { .. } => answers += 1,
        Event::AckMissing { .. } => missing += 1,
        _ => {}
    });
    assert!(answers >= 10, "{answers}");
    assert_eq!(missing, 1);
    assert_eq!(world.ends[0].transactions() + world.ends[1].transactions(), 0);
}

/// Our own request comes back to us: client and server transaction do not meet.
#[test]
fn a_hairpinned_request_makes_a_transaction_of_its_own() {
    let mut end = Endpoint::new(EndpointConfig::default(), Rng::from_u64(5));
    let now = some_instant();
    end.send_request(now, flow(1, 1), &request(Method::INVITE, 1));
    let mut requests = 0;
    let mut finals = 0;
    for _ in 0..20 {
        match end.poll_output() {
            Output::Transmit(t) => {
                end.handle_message(now, flow(1, 1), Message::parse(t.bytes).unwrap());
            }
            Output::Event(event) => match *event {
                Event::Request { key, request, .. } => {
                    requests += 1;
                    answer(&mut end, now, key, &request, StatusCode::BUSY_HERE);
                }
                Event::Response { response, .. } => {
                    finals += u32::from(response.status == StatusCode::BUSY_HERE);
                }
                _ => {}
            },
            Output::Timeout(_) => break,
        }
    }
    assert_eq!((requests, finals), (1, 1));
}

/// Unanswered INVITEs of one source are bounded; the rest is told to come again.
#[test]
fn a_flood_is_shed_with_503_and_the_memory_is_bounded() {
    let config = EndpointConfig { max_pending_per_source: 100, ..EndpointConfig::default() };
    let mut end = Endpoint::new(config, Rng::from_u64(6));
    let now = some_instant();
    for number in 0..10_000 {
        let mut request = request(Method::INVITE, number);
        let via = format!("SIP/2.0/UDP 127.0.0.1:2;branch=z9hG4bKflood{number}");
        request.headers.push_front(HeaderName::VIA, via);
        end.handle_message(now, flow(1, 2), Message::Request(request));
    }
    assert_eq!(end.transactions(), 100);
    assert_eq!(end.counters().shed, 9900);
    let mut refused = 0;
    while let Output::Transmit(_) | Output::Event(_) = end.poll_output() {
        refused += 1;
    }
    assert_eq!(refused, 10_000);
}

/// A connection that closes takes its own open requests with it, and no others.
#[test]
fn a_closed_connection_fails_what_was_sent_over_it() {
    let mut end = Endpoint::new(EndpointConfig::default(), Rng::from_u64(8));
    let now = some_instant();
    let over = |connection: u64| Flow {
        transport: Transport::Tcp,
        connection: Some(ConnectionId(connection)),
        ..flow(1, 2)
    };
    for number in 0..6 {
        let method = if number % 2 == 0 { Method::INVITE } else { Method::OPTIONS };
        end.send_request(now, over(u64::from(number / 3)), &request(method, number));
    }
    assert_eq!(end.transactions(), 6);
    end.handle_connection_closed(now, ConnectionId(0));
    end.handle_connection_closed(now, ConnectionId(0));
    let mut failed = 0;
    loop {
        match end.poll_output() {
            Output::Event(event) => {
                failed += u32::from(matches!(*event, Event::TransportFailed { .. }))
            }
            Output::Transmit(_) => {}
            Output::Timeout(_) => break,
        }
    }
    assert_eq!((failed, end.transactions()), (3, 3));
    end.handle_transport_error(now, &over(1));
    assert_eq!(end.transactions(), 0);
}

/// What an endpoint says until it wants to wait: messages with their flow, and how it ended.
fn said(end: &mut Endpoint) -> (Vec<(Flow, Bytes)>, u32) {
    let (mut sent, mut over) = (vec![], 0);
    loop {
        match end.poll_output() {
            Output::Transmit(transmit) => sent.push((transmit.flow, transmit.bytes)),
            Output::Event(event) => {
                over += u32::from(matches!(
                    *event,
                    Event::TimedOut { .. } | Event::TransportFailed { .. }
                ));
            }
            Output::Timeout(_) => return (sent, over),
        }
    }
}

/// A held request waits without a clock; released, it is the same request with all its time.
#[test]
fn a_held_request_goes_out_over_another_flow_as_it_was() {
    let over = |connection: u64| Flow {
        transport: Transport::Wss,
        connection: Some(ConnectionId(connection)),
        ..flow(1, 2)
    };
    for method in [Method::INVITE, Method::OPTIONS] {
        for was_sent in [true, false] {
            let mut end = Endpoint::new(EndpointConfig::default(), Rng::from_u64(1));
            let mut now = some_instant();
            let request = request(method.clone(), 1);
            let key = if was_sent {
                let key = end.send_request(now, over(1), &request);
                assert_eq!(said(&mut end).0.len(), 1);
                assert_eq!(end.requests_over(ConnectionId(1)), [key]);
                assert!(end.hold(key));
                key
            } else {
                end.hold_request(now, over(1), &request)
            };
            assert!(end.requests_over(ConnectionId(1)).is_empty());
            now += Duration::from_secs(600);
            end.handle_timeout(now);
            end.handle_connection_closed(now, ConnectionId(1));
            assert_eq!(said(&mut end), (vec![], 0));
            end.release(now, key, over(2));
            let (sent, _) = said(&mut end);
            assert!(matches!(&sent[..], [(flow, _)] if *flow == over(2)));
            assert_eq!(end.requests_over(ConnectionId(2)), [key]);
            now += Duration::from_secs(31);
            end.handle_timeout(now);
            assert_eq!(said(&mut end), (vec![], 0));
            now += Duration::from_secs(1);
            end.handle_timeout(now);
            assert_eq!(said(&mut end).1, 1);
            assert!(!end.hold(key));
            assert_eq!(end.transactions(), 0);
        }
    }
}

/// The answers to a peer that is reached another way now are said again there, and only what it
/// may have missed.
#[test]
fn a_redirected_request_is_answered_over_the_other_flow() {
    let mut end = Endpoint::new(EndpointConfig::default(), Rng::from_u64(1));
    let now = some_instant();
    let mut invite = request(Method::INVITE, 1);
    invite.headers.push(HeaderName::VIA, "SIP/2.0/UDP 127.0.0.1:2;branch=z9hG4bKone");
    end.handle_message(now, flow(1, 2), Message::Request(invite.clone()));
    let Output::Event(event) = end.poll_output() else { panic!("no request") };
    let Event::Request { key, .. } = *event else { panic!("no request") };
    end.redirect(now, key, flow(1, 3));
    assert!(said(&mut end).0.is_empty(), "nothing was answered yet");
    for (status, port) in [(StatusCode::RINGING, 4), (StatusCode::OK, 5)] {
        end.respond(now, key, &Response::for_request(&invite, status));
        let (first, _) = said(&mut end);
        assert_eq!(first.len(), 1);
        end.redirect(now, key, flow(1, port));
        assert_eq!(said(&mut end).0, [(flow(1, port), first[0].1.clone())]);
    }
    let ack = request(Method::ACK, 1);
    end.handle_message(now, flow(1, 5), Message::Request(ack_of(ack, &invite)));
    said(&mut end);
    end.redirect(now, key, flow(1, 6));
    assert!(said(&mut end).0.is_empty(), "the answer has arrived");
}

fn ack_of(mut ack: Request, invite: &Request) -> Request {
    let via = invite.headers.first(&HeaderName::VIA).unwrap().clone();
    ack.headers.push(HeaderName::VIA, via);
    ack
}
