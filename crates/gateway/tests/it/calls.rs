//! Registrations and calls through the binary, by a phone on UDP.

use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crosspoint_sip::{HeaderName, Method};
use serde_json::Value;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::gateway::{Gateway, PATIENCE};
use crate::phone::Phone;
use crate::sound::{Sound, media_address, share_of};

/// A phone for one of the users of the first start.
fn phone(gateway: &Gateway, index: usize) -> Phone {
    let user = &gateway.ready()["users"][index];
    let text = |key: &str| user[key].as_str().unwrap().to_owned();
    Phone::new(gateway.address("udp"), &text("name"), &text("password"))
}

/// By silence it would take longer than this test has patience.
#[test]
fn a_trunk_whose_port_is_closed_gives_way_at_once() {
    let open = std::net::UdpSocket::bind("127.0.0.3:0").unwrap();
    // At an address where no other test gets the port that is free again.
    let closed = std::net::UdpSocket::bind("127.0.0.13:0").unwrap().local_addr().unwrap();
    let config = format!(
        "[timers]\ntrunk_silence = \"32s\"\n[[trunk]]\nname = \"carrier\"\nhost = \"carrier.test\"\n\
         destinations = [\"{closed}\", \"{};priority=20\"]\nprefixes = [\"47\"]\n",
        open.local_addr().unwrap()
    );
    let gateway = Gateway::start(&config);
    let mut alice = phone(&gateway, 0);
    let sound = Sound::new();
    let heard = std::thread::spawn(move || {
        open.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 65536];
        let (length, from) = open.recv_from(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        let same = ["Via", "From", "Call-ID", "CSeq"];
        let same = head.lines().filter(|l| same.iter().any(|name| l.starts_with(name)));
        let lines: Vec<&str> = same.collect();
        let to = head.lines().find(|l| l.starts_with("To:")).unwrap();
        let busy = format!(
            "SIP/2.0 486 Busy Here\r\n{}\r\n{to};tag=x\r\nContent-Length: 0\r\n\r\n",
            lines.join("\r\n")
        );
        open.send_to(busy.as_bytes(), from).unwrap();
        head.lines().next().unwrap().to_owned()
    });
    let (refused, _) = alice.call("4711", &sound.description());
    assert_eq!(refused.status.0, 486);
    assert!(heard.join().unwrap().starts_with("INVITE sip:4711@"));
}

#[test]
fn a_phone_registers_and_hears_itself_on_the_echo_number() {
    let gateway = Gateway::start("");
    let mut alice = phone(&gateway, 0);
    let registered = alice.register(300);
    assert_eq!(registered.status.0, 200);
    assert!(registered.headers.has(&HeaderName::CONTACT));

    let mut sound = Sound::new();
    let (answered, mut call) = alice.call("600", &sound.description());
    assert_eq!(answered.status.0, 200);
    let far = media_address(&answered.body);
    let heard = sound.talk(far, 1000.0, Duration::from_millis(1500));
    assert!(heard.len() > 4000, "{} samples came back", heard.len());
    let share = share_of(&heard[heard.len() / 2..], 1000.0);
    assert!(share > 0.9, "only {share} of the sound is the tone");
    assert_eq!(alice.hang_up(&mut call).status.0, 200);

    let (code, folder) = gateway.stop();
    assert_eq!(code, Some(0));
    let gateway = Gateway::start_in(folder);
    let records = gateway.command(&["cdr", "list"]);
    assert_eq!(records.as_array().unwrap().len(), 1, "one call, one record");
    assert_eq!(records[0]["cause"], "normal");
    assert_eq!(records[0]["ended_by"], "front");
    assert_eq!(records[0]["to"], "600");
    assert_eq!(records[0]["from_user"], "alice");
}

#[test]
fn a_wrong_password_is_refused() {
    let gateway = Gateway::start("");
    let mut mallory = Phone::new(gateway.address("udp"), "alice", "wrong");
    assert_eq!(mallory.register(300).status.0, 401);
}

#[test]
fn a_graceful_stop_says_goodbye_and_keeps_the_record() {
    let gateway = Gateway::start("");
    let mut alice = phone(&gateway, 0);
    let (answered, _call) = alice.call("601", &Sound::new().description());
    assert_eq!(answered.status.0, 200);
    gateway.signal("-TERM");
    alice.expect(&Method::BYE);
    let (code, folder) = gateway.wait();
    assert_eq!(code, Some(0));
    let gateway = Gateway::start_in(folder);
    let records = gateway.command(&["cdr", "list"]);
    assert_eq!(records[0]["cause"], "shutdown");
}

/// Moves the UDP listener of a configuration.
fn move_udp(folder: &Path, from: &str, to: &str) {
    let file = folder.join("crosspoint.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let udp = |address: &str| format!("transport = \"udp\"\naddress = \"{address}\"");
    std::fs::write(&file, text.replace(&udp(from), &udp(to))).unwrap();
}

#[test]
fn a_restart_loses_no_registration_and_no_user() {
    let gateway = Gateway::start("");
    // Their passwords are told at the first start only.
    let users = gateway.ready()["users"].clone();
    let phone_of = |gateway: &Gateway, index: usize| {
        let text = |key: &str| users[index][key].as_str().unwrap().to_owned();
        Phone::new(gateway.address("udp"), &text("name"), &text("password"))
    };
    let (_, folder) = gateway.stop();
    // At an address where no other test gets the port while it is free.
    move_udp(folder.path(), "127.0.0.1:0", "127.0.0.12:0");
    let gateway = Gateway::start_in(folder);
    let address = gateway.address("udp");
    let mut alice = phone_of(&gateway, 0);
    assert_eq!(alice.register(300).status.0, 200);
    let (_, folder) = gateway.stop();
    // The same port again, so that bob can call alice, who has not noticed anything.
    move_udp(folder.path(), "127.0.0.12:0", &address.to_string());
    let gateway = Gateway::start_in(folder);

    let ringing = std::thread::spawn(move || alice.expect(&Method::INVITE));
    let mut bob = phone_of(&gateway, 1);
    let (_, _call) = bob.call("1001", &Sound::new().description());
    let invite = ringing.join().unwrap();
    assert!(invite.headers.has(&HeaderName::CONTACT));
}

#[test]
fn a_user_added_meanwhile_can_sign_in() {
    let gateway = Gateway::start("");
    let added: Value = gateway.command(&["user", "add", "carol"]);
    let mut carol =
        Phone::new(gateway.address("udp"), "carol", added["password"].as_str().unwrap());
    let start = Instant::now();
    while carol.register(300).status.0 != 200 {
        assert!(start.elapsed() < PATIENCE, "the new user is not known");
    }
}

#[test]
fn a_page_of_another_site_gets_no_websocket_and_our_own_gets_one_that_speaks_sip() {
    let gateway = Gateway::start("");
    let address = gateway.address("http");
    let connect = |origin: String| {
        let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", HeaderValue::from_static("sip"));
        headers.insert("origin", origin.parse().unwrap());
        let stream = TcpStream::connect(address).unwrap();
        tokio_tungstenite::tungstenite::client(request, stream).ok()
    };
    assert!(connect("https://evil.example".to_owned()).is_none());
    let (mut socket, _) = connect(format!("http://{address}")).unwrap();
    let register = "REGISTER sip:gw SIP/2.0\r\n\
        Via: SIP/2.0/WS abc.invalid;branch=z9hG4bK1\r\n\
        From: <sip:alice@gw>;tag=1\r\nTo: <sip:alice@gw>\r\nCall-ID: 1\r\n\
        CSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n\
        Contact: <sip:alice@abc.invalid;transport=ws>\r\nContent-Length: 0\r\n\r\n";
    socket.send(register.into()).unwrap();
    let answer = loop {
        let message = socket.read().unwrap();
        if let Ok(text) = message.into_text()
            && !text.is_empty()
        {
            break text;
        }
    };
    assert!(answer.starts_with("SIP/2.0 401 "), "{answer}");
    let metrics = gateway.get("/metrics").1;
    assert!(metrics.contains("crosspoint_sip_connections{transport=\"ws\"} 1"), "{metrics}");
}
