//! Guessers and scanners over real sockets: silence after a while, for them and for nobody else,
//! and operators who see it and lift it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::gateway::{Gateway, PATIENCE};
use crate::phone::Phone;
use crate::rest::{self, Login};

const TOKEN: &str = "a-token-of-thirty-two-characters";
/// Operators and witnesses are at 127.0.0.1; everybody else is a stranger.
const CONFIG: &str = "[admin]\ntoken_file = \"admin.token\"\n\
    [ban]\nexempt = [\"127.0.0.1\"]\ntime = \"1h\"\n";

fn start() -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("admin.token"), TOKEN).unwrap();
    Gateway::start_with(folder, CONFIG)
}

fn admin() -> Login {
    Login(format!("Authorization: Bearer {TOKEN}"))
}

/// Address and reason of each ban.
fn bans(gateway: &Gateway) -> Vec<(String, String)> {
    let listed = rest::get(gateway, &admin(), "/api/v1/bans").json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let items = listed["items"].as_array().unwrap();
    items.iter().map(|ban| (text(&ban["address"]), text(&ban["reason"]))).collect()
}

fn phone(gateway: &Gateway, at: &str, user: &str, password: &str) -> Phone {
    Phone::at(at, gateway.address("udp"), user, password)
}

fn witness(gateway: &Gateway) -> Phone {
    phone(gateway, "127.0.0.1", "witness", "")
}

/// A connection from an address of its own.
fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn options(agent: &str) -> String {
    format!(
        "OPTIONS sip:100@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5;branch=z9hG4bK{}\r\n\
         From: <sip:100@1.1.1.1>;tag=1\r\nTo: <sip:100@1.1.1.1>\r\nCall-ID: {}\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nUser-Agent: {agent}\r\nContent-Length: 0\r\n\r\n",
        agent.len(),
        agent.len()
    )
}

/// What comes back over a connection for some bytes, until it is closed or the first line is there.
fn first_line(from: &str, to: SocketAddr, bytes: &str) -> String {
    let mut stream = connect(from, to);
    // Who is not listened to may be cut off while it still writes.
    let _ = stream.write_all(bytes.as_bytes());
    let mut heard = Vec::new();
    let mut byte = [0];
    while !heard.ends_with(b"\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        heard.push(byte[0]);
    }
    String::from_utf8(heard).unwrap()
}

#[test]
fn who_guesses_passwords_over_udp_gets_silence_and_nobody_else_does() {
    let gateway = start();
    let users = gateway.ready()["users"].as_array().unwrap();
    let password = users[0]["password"].as_str().unwrap();
    let mut alice = phone(&gateway, "127.0.0.5", "alice", password);
    assert_eq!(alice.register(600).status.0, 200);
    let mut witness = witness(&gateway);
    // Known and unknown users look the same, and count the same.
    let mut guesser = phone(&gateway, "127.0.0.2", "alice", "123456");
    for n in 0..20 {
        assert!(guesser.is_heard(&mut witness), "{n}");
        assert_eq!(guesser.register(60).status.0, 401);
    }
    assert!(!guesser.is_heard(&mut witness));
    assert!(!phone(&gateway, "127.0.0.2", "bob", "x").is_heard(&mut witness), "another port");
    assert_eq!(bans(&gateway), [("127.0.0.2".to_owned(), "password".to_owned())]);
    assert!(alice.is_heard(&mut witness));
    // Nor over any other transport.
    for kind in ["tcp", "tls", "http"] {
        assert_eq!(first_line("127.0.0.2", gateway.address(kind), &options("x")), "", "{kind}");
    }
    assert!(first_line("127.0.0.3", gateway.address("tcp"), &options("x")).contains("200 OK"));
    let (_, page) = gateway.get("/metrics");
    assert!(page.contains("crosspoint_bans_total{reason=\"password\"} 1\n"), "{page}");
    assert!(page.contains("crosspoint_bans_active 1\n"));
    // An operator lifts it.
    let path = "/api/v1/bans/127.0.0.2";
    let lifted = rest::delete(&gateway, &admin(), path);
    assert_eq!((lifted.status, &lifted.json()["reason"]), (200, &json!("password")));
    assert_eq!(rest::delete(&gateway, &admin(), path).status, 404);
    assert!(guesser.is_heard(&mut witness));
}

#[test]
fn nobody_gets_others_banned_in_their_name() {
    let gateway = start();
    let mut witness = witness(&gateway);
    // The nonce comes to the attacker, and its use from the victim's address.
    let mut attacker = phone(&gateway, "127.0.0.2", "alice", "123456");
    let mut victim = phone(&gateway, "127.0.0.4", "alice", "");
    for _ in 0..60 {
        let guess = attacker.guess();
        victim.send_raw(guess.as_bytes());
        victim.send_raw(options("friendly-scanner").as_bytes());
        victim.send_raw(b"INVITE nonsense");
    }
    assert!(victim.is_heard(&mut witness));
    assert_eq!(bans(&gateway), []);
}

#[test]
fn scanners_get_silence_and_over_a_connection_a_ban() {
    let gateway = start();
    let mut witness = witness(&gateway);
    let mut scanner = phone(&gateway, "127.0.0.6", "100", "");
    scanner.extra = "User-Agent: friendly-scanner\r\n".to_owned();
    assert!(!scanner.is_heard(&mut witness));
    assert_eq!(bans(&gateway), []);
    assert_eq!(first_line("127.0.0.7", gateway.address("tcp"), &options("sipvicious")), "");
    assert_eq!(bans(&gateway), [("127.0.0.7".to_owned(), "scanner".to_owned())]);
    let (_, page) = gateway.get("/metrics");
    assert!(page.contains("crosspoint_sip_scans_total 2\n"), "{page}");
}

#[test]
fn wrong_passwords_over_http_count_as_well() {
    let gateway = start();
    let request = "GET /api/rtcsessions HTTP/1.1\r\nHost: localhost\r\n\
        Authorization: Basic YWxpY2U6MTIzNDU2\r\nConnection: close\r\n\r\n";
    // Ten in a minute are judged; the others are put off. A guesser at SIP has no more.
    for _ in 0..10 {
        let line = first_line("127.0.0.2", gateway.address("http"), request);
        assert!(line.contains("401"), "{line}");
    }
    let line = first_line("127.0.0.2", gateway.address("http"), request);
    assert!(line.contains("429"), "{line}");
    let mut witness = witness(&gateway);
    let mut guesser = phone(&gateway, "127.0.0.2", "alice", "123456");
    let mut tries = 0;
    while guesser.is_heard(&mut witness) {
        guesser.register(60);
        tries += 1;
        assert!(tries <= 10);
    }
    assert_eq!(first_line("127.0.0.2", gateway.address("http"), request), "");
}

#[test]
fn operators_ban_and_lift_by_command_and_bans_outlive_a_restart() {
    let gateway = start();
    let mut witness = witness(&gateway);
    let mut stranger = phone(&gateway, "127.0.0.8", "x", "");
    assert!(stranger.is_heard(&mut witness));
    let added = gateway.command(&["ban", "add", "127.0.0.8", "--for", "2h"]);
    assert_eq!(added["address"], "127.0.0.8");
    while stranger.is_heard(&mut witness) {}
    let body = json!({ "address": "127.0.0.9", "seconds": 3600 });
    let made = rest::call(&gateway, &admin(), "POST /api/v1/bans", &body);
    assert_eq!(made.json()["reason"], "operator");
    for wrong in [json!({ "address": "127.0.0.1" }), json!({ "address": "home" }), json!({})] {
        assert_eq!(rest::call(&gateway, &admin(), "POST /api/v1/bans", &wrong).status, 422);
    }
    let (code, folder) = gateway.stop();
    assert_eq!(code, Some(0));

    let gateway = Gateway::start_in(folder);
    let mut witness = self::witness(&gateway);
    let mut stranger = phone(&gateway, "127.0.0.8", "x", "");
    assert!(!stranger.is_heard(&mut witness));
    let listed = gateway.command(&["ban", "list"]);
    let addresses: Vec<&str> =
        listed.as_array().unwrap().iter().map(|ban| ban["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, ["127.0.0.8", "127.0.0.9"]);
    gateway.command(&["ban", "lift", "127.0.0.8"]);
    while !stranger.is_heard(&mut witness) {}
    assert_eq!(bans(&gateway), [("127.0.0.9".to_owned(), "operator".to_owned())]);
}
