//! A client and whoever wants to misuse it, against the server.

#![expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crosspoint_base::{Rng, Secret};

use super::credentials::long_term_key;
use super::*;

const UNIX: u64 = 1_800_000_000;
const OWN: &str = "8.8.4.4";
const MEDIA_PORT: u16 = 8443;

struct World {
    server: TurnServer,
    now: Instant,
    credentials: Credentials,
    next: u8,
    port: u16,
    /// Wrong passwords that were told of.
    wrong: u32,
}

/// A client that follows the rules, unless told otherwise.
struct Page {
    client: Client,
    username: String,
    key: [u8; 16],
    nonce: String,
}

impl World {
    fn new(change: impl FnOnce(&mut TurnConfig)) -> Self {
        let now = Instant::now();
        let credentials = Credentials::new(Secret::new(b"a secret of ours".to_vec()));
        let own = OWN.parse().unwrap();
        let mut config = TurnConfig {
            realm: "test".to_owned(),
            credentials: credentials.clone(),
            policy: PeerPolicy {
                own: vec![OwnAddress { advertised: own, local: own }],
                media_ports: vec![MEDIA_PORT],
                ..PeerPolicy::default()
            },
            relay_addresses: vec![own],
            limits: Limits {
                allocations: 100,
                allocations_per_user: 3,
                bytes_per_second_per_user: 10_000,
            },
            clock: (now, UNIX),
        };
        change(&mut config);
        let server = TurnServer::new(config, Rng::from_u64(7));
        Self { server, now, credentials, next: 0, port: 49_152, wrong: 0 }
    }

    fn page(&mut self, user: &str, port: u16) -> Page {
        let (username, password) = self.credentials.issue(user, UNIX + 3600);
        let remote = SocketAddr::new("198.51.100.7".parse().unwrap(), port);
        let client = Client { listener: 0, is_stream: false, remote };
        let key = long_term_key(&username, "test", password.expose());
        let mut page = Page { client, username, key, nonce: String::new() };
        let (code, answer) = self.ask_unsigned(client, method::ALLOCATE);
        assert_eq!(code, 401);
        page.nonce = text_of(&answer, attribute::NONCE);
        page
    }

    /// With a relay of its own.
    fn relayed(&mut self, user: &str, port: u16) -> (Page, RelayId) {
        let page = self.page(user, port);
        let (code, _) = self.ask(&page, method::ALLOCATE, &[(0x19, &[17, 0, 0, 0])]);
        assert_eq!(code, 0);
        let relay = self.server.by_client[&page.client];
        (page, relay)
    }

    fn ask_unsigned(&mut self, client: Client, method: u16) -> (u16, Vec<u8>) {
        let bytes = Writer::new(method, Class::Request, self.transaction()).finish();
        self.server.handle_client(self.now, client, &bytes);
        self.answer().expect("an answer")
    }

    /// The code of the answer, 0 for success, and the answer.
    fn ask(&mut self, page: &Page, method: u16, attributes: &[(u16, &[u8])]) -> (u16, Vec<u8>) {
        let bytes = self.request(page, method, attributes);
        self.server.handle_client(self.now, page.client, &bytes);
        let (code, answer) = self.answer().expect("an answer");
        if code != 401 && code != 438 {
            assert!(Message::parse(&answer).unwrap().is_signed_with(&page.key));
        }
        (code, answer)
    }

    fn request(&mut self, page: &Page, method: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(method, Class::Request, self.transaction());
        for (kind, value) in attributes {
            writer = writer.attribute(*kind, value);
        }
        writer
            .attribute(attribute::USERNAME, page.username.as_bytes())
            .attribute(attribute::REALM, b"test")
            .attribute(attribute::NONCE, page.nonce.as_bytes())
            .finish_signed(&page.key)
    }

    fn peer_request(&mut self, page: &Page, method: u16, channel: &[u8], peer: &str) -> u16 {
        let transaction = self.transaction();
        let bytes = Writer::new(method, Class::Request, transaction)
            .address(attribute::XOR_PEER_ADDRESS, peer.parse().unwrap())
            .attribute(attribute::CHANNEL_NUMBER, channel)
            .attribute(attribute::USERNAME, page.username.as_bytes())
            .attribute(attribute::REALM, b"test")
            .attribute(attribute::NONCE, page.nonce.as_bytes())
            .finish_signed(&page.key);
        self.server.handle_client(self.now, page.client, &bytes);
        self.answer().expect("an answer").0
    }

    fn permit(&mut self, page: &Page, peer: &str) -> u16 {
        self.peer_request(page, method::CREATE_PERMISSION, &[0x40, 0, 0, 0], peer)
    }

    fn bind(&mut self, page: &Page, channel: u8, peer: &str) -> u16 {
        self.peer_request(page, method::CHANNEL_BIND, &[0x40, channel, 0, 0], peer)
    }

    fn send(&mut self, page: &Page, peer: &str) -> bool {
        let bytes = Writer::new(method::SEND, Class::Indication, self.transaction())
            .address(attribute::XOR_PEER_ADDRESS, peer.parse().unwrap())
            .attribute(attribute::DATA, b"hello")
            .finish();
        self.server.handle_client(self.now, page.client, &bytes).is_some()
    }

    fn hear(&mut self, relay: RelayId, from: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let from = from.parse().unwrap();
        self.server.handle_peer(self.now, relay, from, b"hello", &mut out).map(|_| out)
    }

    /// Opens sockets as asked, and gives the first reply.
    fn answer(&mut self) -> Option<(u16, Vec<u8>)> {
        loop {
            match self.server.poll_output() {
                Output::Reply { bytes, .. } => {
                    let message = Message::parse(&bytes).unwrap();
                    let code = message
                        .attribute(attribute::ERROR_CODE)
                        .map_or(0, |v| u16::from(v[2]) * 100 + u16::from(v[3]));
                    return Some((code, bytes));
                }
                Output::Open { relay, .. } => {
                    self.port += 1;
                    self.server.handle_opened(self.now, relay, Some(self.port));
                }
                Output::WrongPassword { .. } => self.wrong += 1,
                Output::Close { .. } => {}
                Output::Timeout(_) => return None,
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.server.handle_timeout(self.now);
    }

    fn transaction(&mut self) -> [u8; 12] {
        self.next = self.next.wrapping_add(1);
        [self.next; 12]
    }
}

fn text_of(bytes: &[u8], kind: u16) -> String {
    Message::parse(bytes).unwrap().text(kind).unwrap().to_owned()
}

fn usual() -> World {
    World::new(|_| {})
}

#[test]
fn relays_both_ways_by_indication_and_by_channel() {
    let mut world = usual();
    let (page, relay) = world.relayed("alice", 1);
    assert!(!world.send(&page, "8.8.8.8:4000"), "without a permission");
    assert_eq!(world.hear(relay, "8.8.8.8:4000"), None, "without a permission");
    assert_eq!(world.permit(&page, "8.8.8.8:4000"), 0);
    assert!(world.send(&page, "8.8.8.8:4000"));
    let heard = world.hear(relay, "8.8.8.8:4000").unwrap();
    let heard = Message::parse(&heard).unwrap();
    assert_eq!((heard.method, heard.peer()), (method::DATA, "8.8.8.8:4000".parse().ok()));
    assert_eq!(world.bind(&page, 5, "8.8.8.8:4000"), 0);
    assert_eq!(world.hear(relay, "8.8.8.8:4000").unwrap(), b"\x40\x05\0\x05hello");
    let data = [b"\x40\x05\0\x05hello", &[0; 3][..]].concat();
    let sent = world.server.handle_client(world.now, page.client, &data);
    let peer = "8.8.8.8:4000".parse().unwrap();
    assert_eq!(
        sent.map(|s| (s.relay, s.to, s.data)),
        Some((relay, Destination::Peer(peer), &b"hello"[..]))
    );
    assert_eq!(world.server.counters().relayed, [10, 10]);
}

#[test]
fn forbidden_peers_get_no_permission_and_no_channel() {
    let mut world = usual();
    let (page, relay) = world.relayed("alice", 1);
    for ip in [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.7.7",
        "169.254.169.254",
        "0.0.0.0",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::10.0.0.1]",
        "[64:ff9b::10.0.0.1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
    ] {
        let peer = format!("{ip}:40000");
        assert_eq!(world.permit(&page, &peer), 403, "{peer}");
        assert_eq!(world.bind(&page, 1, &peer), 403, "{peer}");
        assert!(!world.send(&page, &peer), "{peer}");
        assert_eq!(world.hear(relay, &peer), None, "{peer}");
    }
    assert_eq!(world.permit(&page, "[2606:4700::1]:40000"), 443);
}

#[test]
fn one_forbidden_peer_spoils_the_whole_request() {
    let mut world = usual();
    let (page, _) = world.relayed("alice", 1);
    let bytes = Writer::new(method::CREATE_PERMISSION, Class::Request, [9; 12])
        .address(attribute::XOR_PEER_ADDRESS, "8.8.8.8:4000".parse().unwrap())
        .address(attribute::XOR_PEER_ADDRESS, "127.0.0.1:4000".parse().unwrap())
        .attribute(attribute::USERNAME, page.username.as_bytes())
        .attribute(attribute::REALM, b"test")
        .attribute(attribute::NONCE, page.nonce.as_bytes())
        .finish_signed(&page.key);
    world.server.handle_client(world.now, page.client, &bytes);
    assert_eq!(world.answer().unwrap().0, 403);
    assert!(!world.send(&page, "8.8.8.8:4000"));
}

/// A permission is for an address, so the port is looked at with every packet.
#[test]
fn of_our_own_host_only_media_and_relays_are_reached() {
    let mut world = usual();
    let (page, relay) = world.relayed("alice", 1);
    let (other, other_relay) = world.relayed("bob", 2);
    let relayed = world.server.allocations[&other_relay].relayed.to_string();
    let media = format!("{OWN}:{MEDIA_PORT}");
    assert_eq!(world.permit(&page, &media), 0);
    assert!(world.send(&page, &media));
    assert!(world.hear(relay, &media).is_some());
    assert!(world.send(&page, &relayed));
    assert_eq!(world.bind(&page, 1, &relayed), 0);
    for port in ["5060", "22", "9090", "443"] {
        let peer = format!("{OWN}:{port}");
        assert!(!world.send(&page, &peer), "{peer}");
        assert_eq!(world.bind(&page, 2, &peer), 403, "{peer}");
        assert_eq!(world.hear(relay, &peer), None, "{peer}");
    }
    // A relay that is gone is a port like any other.
    let zero = 0_u32.to_be_bytes();
    assert_eq!(world.ask(&other, method::REFRESH, &[(attribute::LIFETIME, &zero)]).0, 0);
    assert!(!world.send(&page, &relayed));
}

/// What a NAT would not turn around is sent to where the media plane is heard.
#[test]
fn our_own_address_behind_a_nat_is_reached_from_inside() {
    let mut world = World::new(|config| {
        let local = "127.0.0.1".parse().unwrap();
        config.policy.own = vec![OwnAddress { advertised: OWN.parse().unwrap(), local }];
    });
    let (page, relay) = world.relayed("alice", 1);
    let media = format!("{OWN}:{MEDIA_PORT}");
    assert_eq!(world.bind(&page, 1, &media), 0);
    let sent = world.server.handle_client(world.now, page.client, b"\x40\x01\0\x01x\0\0\0");
    let port = format!("127.0.0.1:{MEDIA_PORT}").parse().unwrap();
    assert_eq!(sent.unwrap().to, Destination::Media { own: 0, port });
    assert!(world.hear(relay, &format!("127.0.0.1:{MEDIA_PORT}")).is_some());
    assert_eq!(world.hear(relay, "127.0.0.1:5060"), None);
    assert_eq!(world.permit(&page, "127.0.0.1:8443"), 403);
}

/// What is handed over in memory is judged and counted like everything else.
#[test]
fn media_and_other_relays_get_packets_without_a_socket_and_by_the_same_rules() {
    let mut world = World::new(|config| config.limits.bytes_per_second_per_user = 1_000);
    let (page, relay) = world.relayed("alice", 1);
    let (other, other_relay) = world.relayed("bob", 2);
    let relayed = world.server.allocations[&relay].relayed;
    let target = world.server.allocations[&other_relay].relayed;
    let mut out = Vec::new();
    let from_media = |world: &mut World, own, out: &mut Vec<u8>| {
        world.server.handle_media(world.now, relay, own, &[7; 100], out)
    };
    assert_eq!(from_media(&mut world, 0, &mut out), None, "without a permission");
    let media = format!("{OWN}:{MEDIA_PORT}");
    assert_eq!(world.bind(&page, 1, &media), 0);
    assert_eq!(from_media(&mut world, 0, &mut out), Some(page.client));
    assert_eq!(out[..4], [0x40, 1, 0, 100]);
    assert_eq!(from_media(&mut world, 1, &mut out), None, "there is no such address");
    assert_eq!(world.bind(&page, 2, &target.to_string()), 0);
    let sent = world.server.handle_client(world.now, page.client, b"\x40\x02\0\x01x\0\0\0");
    let sent = sent.unwrap();
    assert_eq!((sent.to, sent.relayed), (Destination::Relay(other_relay), relayed));
    let to_other = |world: &mut World, out: &mut Vec<u8>| {
        world.server.handle_relayed(world.now, other_relay, relayed, &[7; 100], out)
    };
    assert_eq!(to_other(&mut world, &mut out), None, "bob has not let alice in");
    // A permission is for an address, which all relays share.
    assert_eq!(world.permit(&other, &media), 0);
    assert_eq!(to_other(&mut world, &mut out), Some(other.client));
    for _ in 0..100 {
        from_media(&mut world, 0, &mut out);
        to_other(&mut world, &mut out);
    }
    assert!(world.server.counters().over_bandwidth > 100, "neither user gets more than his share");
    world.pass(301);
    assert_eq!(from_media(&mut world, 0, &mut out), None, "the permission is over");
}

#[test]
fn wrong_credentials_get_nothing() {
    let mut world = usual();
    let good = world.page("alice", 1);
    let change = |change: &dyn Fn(&mut Page)| {
        let Page { client, username, key, nonce } = &good;
        let (username, nonce) = (username.clone(), nonce.clone());
        let mut page = Page { client: *client, username, key: *key, nonce };
        change(&mut page);
        page
    };
    let transport: &[(u16, &[u8])] = &[(0x19, &[17, 0, 0, 0])];
    let cases: [(Page, u16); 6] = [
        (change(&|page| page.key[0] ^= 1), 401),
        (change(&|page| page.username = page.username.replace("alice", "bob")), 401),
        (change(&|page| page.username = format!("9{}", page.username)), 401),
        (change(&|page| page.username = "alice".to_owned()), 401),
        (change(&|page| page.nonce = "0".repeat(24)), 438),
        (change(&|page| page.client.remote.set_port(2)), 438),
    ];
    for (page, expected) in cases {
        assert_eq!(world.ask(&page, method::ALLOCATE, transport).0, expected);
    }
    assert_eq!(world.server.allocations(), 0);
    assert_eq!(world.server.counters().auth_failures, 4);
    assert_eq!(world.wrong, 4, "told only of who has a nonce of ours");
    assert_eq!(world.ask(&good, method::ALLOCATE, transport).0, 0);
    // Another user on the same socket does not get what the first has.
    let mut other = world.page_of("bob", good.client);
    other.nonce.clone_from(&good.nonce);
    assert_eq!(world.ask(&other, method::REFRESH, &[]).0, 441);
}

impl World {
    fn page_of(&self, user: &str, client: Client) -> Page {
        let (username, password) = self.credentials.issue(user, UNIX + 3600);
        let key = long_term_key(&username, "test", password.expose());
        Page { client, username, key, nonce: String::new() }
    }
}

#[test]
fn expired_credentials_begin_nothing_and_keep_what_runs_for_a_while() {
    let mut world = usual();
    let transport: &[(u16, &[u8])] = &[(0x19, &[17, 0, 0, 0])];
    let (mut page, _) = world.relayed("alice", 1);
    let hour = 3600_u32.to_be_bytes();
    let refresh: &[(u16, &[u8])] = &[(attribute::LIFETIME, &hour)];
    assert_eq!(world.ask(&page, method::REFRESH, refresh).0, 0);
    world.pass(3599);
    assert_eq!(world.ask(&page, method::REFRESH, refresh).0, 0);
    world.pass(2);
    let mut late = world.page("alice", 2);
    late.username.clone_from(&page.username);
    late.key = page.key;
    assert_eq!(world.ask(&late, method::ALLOCATE, transport).0, 401);
    assert_eq!(world.wrong, 0, "who comes too late is no guesser");
    // The nonce has become old meanwhile, which costs a round trip.
    for _ in 0..20 {
        let (code, answer) = world.ask(&page, method::REFRESH, refresh);
        if code == 438 {
            page.nonce = text_of(&answer, attribute::NONCE);
            assert_eq!(world.ask(&page, method::REFRESH, refresh).0, 0);
        }
        if !world.server.is_known(page.client) {
            break;
        }
        world.pass(3599);
    }
    assert_eq!(world.server.allocations(), 0, "not forever");
}

#[test]
fn what_is_not_refreshed_ends() {
    let mut world = usual();
    let (page, relay) = world.relayed("alice", 1);
    assert_eq!(world.bind(&page, 1, "8.8.8.8:4000"), 0);
    world.pass(299);
    assert!(world.hear(relay, "8.8.8.8:4000").is_some());
    world.pass(1);
    assert!(world.hear(relay, "8.8.8.8:4000").is_none(), "the permission is over");
    world.pass(300);
    assert_eq!(world.server.allocations(), 0);
    assert_eq!(world.server.poll_output(), Output::Close { relay });
    assert_eq!(world.server.poll_output(), Output::Timeout(None));
    assert_eq!(world.ask(&page, method::REFRESH, &[]).0, 437);
}

#[test]
fn a_user_has_so_many_relays_and_a_flood_of_requests_no_more() {
    let mut world = World::new(|config| config.limits.allocations = 5);
    let transport: &[(u16, &[u8])] = &[(0x19, &[17, 0, 0, 0])];
    let pages: Vec<Page> = (1..=3).map(|port| world.relayed("alice", port).0).collect();
    for port in 4..50 {
        let page = world.page("alice", port);
        assert_eq!(world.ask(&page, method::ALLOCATE, transport).0, 486);
    }
    world.relayed("bob", 50);
    world.relayed("carol", 51);
    let page = world.page("dave", 52);
    assert_eq!(world.ask(&page, method::ALLOCATE, transport).0, 508);
    assert_eq!(world.ask(&pages[0], method::ALLOCATE, transport).0, 437);
    world.server.handle_gone(pages[0].client);
    assert_eq!(world.ask(&page, method::ALLOCATE, transport).0, 0);
    assert_eq!(world.server.allocations(), 5);
    let counters = world.server.counters();
    assert_eq!((counters.over_quota, counters.over_capacity), (46, 1));
}

#[test]
fn a_user_sends_so_much_a_second() {
    let mut world = World::new(|config| config.limits.bytes_per_second_per_user = 12);
    let (page, relay) = world.relayed("alice", 1);
    assert_eq!(world.permit(&page, "8.8.8.8:4000"), 0);
    assert!(world.send(&page, "8.8.8.8:4000"));
    assert!(world.hear(relay, "8.8.8.8:4000").is_some());
    assert!(!world.send(&page, "8.8.8.8:4000"));
    assert!(world.hear(relay, "8.8.8.8:4000").is_none());
    assert_eq!(world.server.counters().over_bandwidth, 2);
    world.pass(1);
    assert!(world.send(&page, "8.8.8.8:4000"));
}

#[test]
fn permissions_and_channels_have_a_bound() {
    let mut world = usual();
    let (page, _) = world.relayed("alice", 1);
    for n in 0..64 {
        assert_eq!(world.bind(&page, n, &format!("8.8.1.{n}:4000")), 0);
    }
    assert_eq!(world.bind(&page, 64, "8.8.8.8:4000"), 508);
    assert_eq!(world.permit(&page, "8.8.8.8:4000"), 508);
    assert_eq!(world.bind(&page, 1, "8.8.1.2:4000"), 400, "bound otherwise");
    world.pass(301);
    assert_eq!(world.permit(&page, "8.8.8.8:4000"), 0, "old ones make room");
}

/// Who forges a source gets little out of it, and soon nothing.
#[test]
fn strangers_are_no_lever_against_others() {
    let mut world = usual();
    let victim =
        Client { listener: 0, is_stream: false, remote: "203.0.113.9:53".parse().unwrap() };
    let mut answered = 0;
    for n in 0..1000_u32 {
        let method = if n % 2 == 0 { method::BINDING } else { method::ALLOCATE };
        let question = Writer::new(method, Class::Request, [3; 12]).finish();
        world.server.handle_client(world.now, victim, &question);
        if let Some((_, answer)) = world.answer() {
            answered += 1;
            assert!(answer.len() <= 4 * question.len() + 8, "{}", answer.len());
        }
    }
    assert_eq!(answered, 100);
    assert_eq!(world.server.counters().rate_limited, 900);
}

#[test]
fn requests_it_does_not_know_are_refused() {
    let mut world = usual();
    let page = world.page("alice", 1);
    let check = |world: &mut World, attributes: &[(u16, &[u8])], code| {
        assert_eq!(world.ask(&page, method::ALLOCATE, attributes).0, code, "{attributes:?}");
    };
    check(&mut world, &[], 400);
    check(&mut world, &[(0x19, &[6, 0, 0, 0])], 442);
    check(&mut world, &[(0x19, &[17, 0, 0, 0]), (0x17, &[2, 0, 0, 0])], 440);
    check(&mut world, &[(0x19, &[17, 0, 0, 0]), (0x18, &[0x80, 0, 0, 0])], 420);
    check(&mut world, &[(0x19, &[17, 0, 0, 0]), (0x1a, &[])], 420);
    check(&mut world, &[(0x19, &[17, 0, 0, 0]), (0x0d, &[1])], 400);
    assert_eq!(world.server.allocations(), 0);
    assert_eq!(world.ask(&page, 0x0a, &[]).0, 437, "TCP to peers");
}

#[test]
fn a_repeated_request_is_answered_again() {
    let mut world = usual();
    let page = world.page("alice", 1);
    let bytes = world.request(&page, method::ALLOCATE, &[(0x19, &[17, 0, 0, 0])]);
    world.server.handle_client(world.now, page.client, &bytes);
    world.server.handle_client(world.now, page.client, &bytes);
    let first = world.answer().unwrap();
    assert_eq!(first.0, 0);
    assert!(world.answer().is_none(), "one answer while the socket is opened");
    world.server.handle_client(world.now, page.client, &bytes);
    assert_eq!(world.answer(), Some(first));
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn no_port_means_no_allocation() {
    let mut world = usual();
    let page = world.page("alice", 1);
    let bytes = world.request(&page, method::ALLOCATE, &[(0x19, &[17, 0, 0, 0])]);
    world.server.handle_client(world.now, page.client, &bytes);
    let Output::Open { relay, .. } = world.server.poll_output() else { panic!("a port is asked") };
    world.server.handle_opened(world.now, relay, None);
    assert_eq!(world.server.allocations(), 0);
    assert_eq!(world.server.poll_output(), Output::Close { relay });
    assert_eq!(world.answer().unwrap().0, 508);
}

#[test]
fn noise_changes_nothing() {
    let mut world = usual();
    let (page, relay) = world.relayed("alice", 1);
    let mut rng = Rng::from_u64(11);
    let valid = world.request(&page, method::REFRESH, &[(attribute::LIFETIME, &[0; 4])]);
    for _ in 0..20_000 {
        let mut bytes = valid.clone();
        let length = usize::try_from(rng.below(u32::try_from(bytes.len()).unwrap())).unwrap();
        for _ in 0..=rng.below(3) {
            let at = usize::try_from(rng.below(u32::try_from(bytes.len()).unwrap())).unwrap();
            bytes[at] ^= u8::try_from(1 + rng.below(255)).unwrap();
        }
        if rng.below(4) == 0 {
            bytes.truncate(length);
        }
        world.server.handle_client(world.now, page.client, &bytes);
        while world.answer().is_some() {}
    }
    assert!(world.server.allocations.contains_key(&relay));
}
