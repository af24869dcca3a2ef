//! Clients and peers of the TURN server that send whatever they like, with right signatures and
//! without, while time passes: no panic, nothing goes where the policy forbids, strangers get short
//! answers, and nothing is left in the end. What a shared port is asked first goes through here too.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crosspoint_base::{Rng, Secret};
use crosspoint_media::turn::{
    Client, Credentials, Destination, Frame, Limits, Output, OwnAddress, PeerPolicy, RelayId,
    TurnConfig, TurnServer, is_public,
};
use crosspoint_net::{LONGEST_OPENING, Opening};
use hmac::{Hmac, Mac};
use libfuzzer_sys::fuzz_target;
use md5::{Digest, Md5};
use sha1::Sha1;

const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4));
const MEDIA_PORT: u16 = 8443;
const UNIX: u64 = 1_800_000_000;
const METHODS: [u16; 6] = [1, 3, 4, 6, 8, 9];

struct World {
    now: Instant,
    server: TurnServer,
    pages: [Page; 2],
    relays: Vec<RelayId>,
    port: u16,
}

struct Page {
    client: Client,
    username: String,
    key: [u8; 16],
    nonce: Vec<u8>,
}

fuzz_target!(|bytes: &[u8]| {
    let opening = Opening::of(bytes);
    assert!(opening.is_some() || bytes.len() < LONGEST_OPENING, "ten bytes are enough");
    if let Frame::Whole(length) = Frame::at_front_of(bytes) {
        assert!((4..=bytes.len()).contains(&length));
    }
    let mut world = World::new();
    let mut rest = bytes;
    for _ in 0..64 {
        let Some(([choice, len], more)) = rest.split_first_chunk() else { break };
        let (packet, more) = more.split_at(usize::from(*len).min(more.len()));
        rest = more;
        world.step(*choice, packet);
    }
    world.pass(Duration::from_secs(2 * 3600));
    assert_eq!(world.server.allocations(), 0, "everything ends by itself");
});

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let credentials = Credentials::new(Secret::new(b"a secret of ours".to_vec()));
        let page = |port: u16, user: &str, is_stream| {
            let (username, password) = credentials.issue(user, UNIX + 3600);
            let key = Md5::digest(format!("{username}:test:{}", password.expose())).into();
            let remote = SocketAddr::from(([198, 51, 100, 7], port));
            let client = Client { listener: 0, is_stream, remote };
            Page { client, username, key, nonce: vec![] }
        };
        let pages = [page(1, "alice", false), page(2, "bob", true)];
        let server = TurnServer::new(
            TurnConfig {
                realm: "test".to_owned(),
                credentials,
                policy: PeerPolicy {
                    own: vec![OwnAddress { advertised: OWN, local: OWN }],
                    media_ports: vec![MEDIA_PORT],
                    ..PeerPolicy::default()
                },
                relay_addresses: vec![OWN],
                limits: Limits {
                    allocations: 8,
                    allocations_per_user: 2,
                    bytes_per_second_per_user: 4000,
                },
                clock: (now, UNIX),
            },
            Rng::from_u64(7),
        );
        let mut world = Self { now, server, pages, relays: vec![], port: 40_000 };
        for index in [0, 1] {
            // Both have a nonce; what they begin is the input's.
            let allocate = world.request(index, 3, &[0, 0x19, 0, 4, 17, 0, 0, 0]);
            world.from_client(index, &allocate);
        }
        world
    }

    fn step(&mut self, choice: u8, packet: &[u8]) {
        let index = usize::from(choice >> 7);
        match choice & 7 {
            0 => self.from_client(index, packet),
            1..=3 => {
                let method = METHODS[usize::from(choice >> 3 & 15) % METHODS.len()];
                let request = self.request(index, method, packet);
                self.from_client(index, &request);
            }
            4 => {
                let stranger = SocketAddr::from(([203, 0, 113, choice], 5));
                let client = Client { listener: 0, is_stream: false, remote: stranger };
                assert!(self.server.handle_client(self.now, client, packet).is_none());
                assert!(self.drain(client) <= 160, "a stranger's answer is short");
            }
            5 => self.from_peers(choice, packet),
            6 => self.pass(Duration::from_secs(u64::from(choice))),
            _ => self.server.handle_gone(self.pages[index].client),
        }
        self.drain(self.pages[index].client);
        assert!(self.server.allocations() <= 4);
    }

    fn from_client(&mut self, index: usize, bytes: &[u8]) {
        let client = self.pages[index].client;
        let now = self.now;
        let mut other = None;
        if let Some(packet) = self.server.handle_client(now, client, bytes) {
            assert!(packet.data.len() <= bytes.len());
            match packet.to {
                Destination::Media { own, port } => {
                    assert_eq!((own, port.port()), (0, MEDIA_PORT));
                }
                Destination::Relay(relay) => other = Some((relay, packet.relayed)),
                Destination::Peer(peer) => assert!(is_public(peer.ip()) && peer.port() >= 1024),
            }
        }
        if let Some((relay, from)) = other {
            self.server.handle_relayed(now, relay, from, bytes, &mut Vec::new());
        }
        self.drain(client);
    }

    fn from_peers(&mut self, choice: u8, data: &[u8]) {
        let mut out = Vec::new();
        for relay in self.relays.clone() {
            let from = SocketAddr::from(([8, 8, 8, choice], 4000));
            self.server.handle_peer(self.now, relay, from, data, &mut out);
            assert!(out.len() <= data.len() + 64);
            self.server.handle_media(self.now, relay, usize::from(choice & 1), data, &mut out);
            assert!(out.len() <= data.len() + 64);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.server.handle_timeout(self.now);
        self.drain(self.pages[0].client);
    }

    /// Does what the server asks for; gives how many bytes `client` got.
    fn drain(&mut self, client: Client) -> usize {
        let mut sent = 0;
        loop {
            match self.server.poll_output() {
                Output::Reply { client: to, bytes } => {
                    sent += if to == client { bytes.len() } else { 0 };
                    let page = self.pages.iter_mut().find(|page| page.client == to);
                    if let (Some(page), Some(nonce)) = (page, find(&bytes, 0x15)) {
                        page.nonce = nonce.to_vec();
                    }
                }
                Output::Open { relay, .. } => {
                    self.port += 1;
                    self.relays.push(relay);
                    self.server.handle_opened(self.now, relay, Some(self.port));
                }
                Output::WrongPassword { .. } => {}
                Output::Close { relay } => self.relays.retain(|known| *known != relay),
                Output::Timeout(_) => return sent,
            }
        }
    }

    /// A request with these attributes, signed rightly; with a fresh nonce if there is none yet.
    fn request(&mut self, index: usize, method: u16, attributes: &[u8]) -> Vec<u8> {
        if self.pages[index].nonce.is_empty() {
            let asked = message(3, &[]);
            self.from_client(index, &asked);
        }
        let page = &self.pages[index];
        let mut bytes = message(method, attributes);
        attribute(&mut bytes, 0x06, page.username.as_bytes());
        attribute(&mut bytes, 0x14, b"test");
        attribute(&mut bytes, 0x15, &page.nonce);
        set_length(&mut bytes, 24);
        let mut mac = Hmac::<Sha1>::new_from_slice(&page.key).expect("any key fits");
        mac.update(&bytes);
        let tag = mac.finalize().into_bytes();
        attribute(&mut bytes, 0x08, &tag);
        bytes
    }
}

fn message(method: u16, attributes: &[u8]) -> Vec<u8> {
    let mut bytes = method.to_be_bytes().to_vec();
    bytes.extend([0, 0, 0x21, 0x12, 0xa4, 0x42]);
    bytes.extend([7; 12]);
    bytes.extend(attributes);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    set_length(&mut bytes, 0);
    bytes
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    crosspoint_fuzz::attribute(message, kind, value);
}

fn set_length(message: &mut [u8], more: usize) {
    let length = u16::try_from(message.len() - 20 + more).unwrap_or(u16::MAX);
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

fn find(message: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = message.get(20..)?;
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if u16::from_be_bytes([head[0], head[1]]) == wanted {
            return tail.get(..length);
        }
        rest = tail.get(length.next_multiple_of(4)..)?;
    }
    None
}
