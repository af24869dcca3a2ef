//! A call that a service hears and speaks in, through the binary.

#![allow(clippy::result_large_err, reason = "the handshake's callback has this form")]

use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crosspoint_media::codec::{Codec, Decoder, Encoder};
use serde_json::{Value, json};
use tokio_rustls::rustls::{self, pki_types::PrivateKeyDer};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::events::Events;
use crate::gateway::{Gateway, PATIENCE};
use crate::phone::Phone;
use crate::rest::{self, Login};
use crate::sound::{Sound, media_address, share_of};

const TOKEN: &str = "a-token-of-thirty-two-characters";
const SERVICE_TOKEN: &str = "another-token-of-thirty-two-char";

fn operator() -> Login {
    Login(format!("Authorization: Bearer {TOKEN}"))
}

/// A service that gives back what it hears; gives its port and the texts that it gets.
fn echo_service() -> (u16, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, texts) = mpsc::channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let told_of_head = told.clone();
        let look = move |request: &Request, mut response: Response| {
            let header = |name: &str| {
                request.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
            };
            let (path, token) = (request.uri().path(), header("authorization"));
            told_of_head.send(json!({ "path": path, "token": token })).unwrap();
            let protocol = header("sec-websocket-protocol").unwrap();
            let headers = response.headers_mut();
            headers.insert("sec-websocket-protocol", protocol.parse().unwrap());
            Ok(response)
        };
        let mut socket = tungstenite::accept_hdr(stream, look).unwrap();
        let mut heard = 0;
        while let Ok(message) = socket.read() {
            match message {
                Message::Text(text) => {
                    let _ = told.send(serde_json::from_str(text.as_str()).unwrap());
                }
                Message::Binary(bytes) => {
                    assert_eq!((bytes.len(), bytes[0]), (4 + 640, 0), "20 ms of the caller");
                    heard += 1;
                    socket.send(Message::Binary(bytes)).unwrap();
                    if heard == 10 {
                        let mark = json!({ "event": "mark", "name": "ten", "side": "caller" });
                        socket.send(Message::text(mark.to_string())).unwrap();
                    }
                }
                Message::Close(_) => return,
                _ => {}
            }
        }
    });
    (port, texts)
}

#[test]
fn a_service_hears_its_side_alone_and_is_heard_there() {
    let (port, texts) = echo_service();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("admin.token"), TOKEN).unwrap();
    std::fs::write(folder.path().join("stream.token"), SERVICE_TOKEN).unwrap();
    let config = format!(
        "[admin]\ntoken_file = \"admin.token\"\n[stream]\ntoken_file = \"stream.token\"\n\
         allow = [\"ws://127.0.0.1:{port}/agent/\"]\n"
    );
    let gateway = Gateway::start_with(folder, &config);
    let user = &gateway.ready()["users"][0];
    let mut alice = Phone::new(gateway.address("udp"), "alice", user["password"].as_str().unwrap());
    let mut sound = Sound::new();
    let (answered, mut call) = alice.call("601", &sound.description());
    let far = media_address(&answered.body);
    let clearest = |heard: &[f64], hz: f64| {
        heard.chunks_exact(800).map(|part| share_of(part, hz)).fold(0.0, f64::max)
    };
    let heard = sound.talk(far, 1000.0, Duration::from_millis(700));
    assert!(clearest(&heard, 440.0) > 0.9, "the number's own tone");

    let calls = rest::get(&gateway, &operator(), "/api/v1/calls").json();
    let path = format!("/api/v1/calls/{}/stream", calls["items"][0]["gcid"].as_str().unwrap());
    let stream = |url: &str| {
        let body = json!({ "side": "caller", "url": url, "metadata": { "queue": 7 } });
        rest::call(&gateway, &operator(), &format!("POST {path}"), &body)
    };
    for elsewhere in [
        format!("ws://127.0.0.1:{port}/other"),
        format!("ws://127.0.0.1:{port}/agent/../other"),
        "ws://169.254.169.254/agent/".to_owned(),
    ] {
        assert_eq!(stream(&elsewhere).status, 422, "{elsewhere}");
    }
    assert_eq!(rest::delete(&gateway, &operator(), &path).status, 409, "there is none");
    let url = format!("ws://127.0.0.1:{port}/agent/7");
    assert_eq!(stream(&url).json()["state"], "connecting");
    assert_eq!(stream(&url).status, 409, "there is one");
    let next = || texts.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next(), json!({ "path": "/agent/7", "token": format!("Bearer {SERVICE_TOKEN}") }));
    let hello = next();
    assert_eq!((&hello["event"], &hello["sides"]), (&json!("start"), &json!(["caller"])));
    assert_eq!(
        (&hello["format"]["rate"], &hello["metadata"]["queue"]),
        (&json!(16_000), &json!(7))
    );

    let heard = sound.talk(far, 1000.0, Duration::from_millis(2500));
    let later = &heard[heard.len() / 2..];
    assert!(clearest(later, 1000.0) > 0.8, "alice hears what the service gives back");
    assert!(clearest(later, 440.0) < 0.2, "and not the tone");
    assert_eq!(next(), json!({ "event": "mark", "name": "ten", "side": "caller" }));
    assert_eq!(rest::delete(&gateway, &operator(), &path).status, 200);
    assert_eq!(next(), json!({ "event": "stop", "reason": "stopped" }));
    let heard = sound.talk(far, 1000.0, Duration::from_millis(1000));
    assert!(clearest(&heard[heard.len() / 2..], 440.0) > 0.9, "the tone is back");
    let metrics = gateway.get("/metrics").1;
    assert!(metrics.contains("crosspoint_streams_total{outcome=\"opened\"} 1"), "{metrics}");
    assert_eq!(alice.hang_up(&mut call).status.0, 200);
}

/// What a service with Opus and TLS is told and hears.
struct SecureService {
    port: u16,
    texts: mpsc::Receiver<Value>,
}

/// Its certificate, and itself: it hears half a second, speaks, is interrupted, and presses keys.
fn secure_service() -> (SecureService, String) {
    let key = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, texts) = mpsc::channel();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tls = rustls::ServerConnection::new(config.clone()).unwrap();
            let stream = rustls::StreamOwned::new(tls, stream);
            let look = |_: &Request, mut response: Response| {
                let protocol = "crosspoint.media.v1".parse().unwrap();
                response.headers_mut().insert("sec-websocket-protocol", protocol);
                Ok(response)
            };
            // Who does not believe the certificate goes again.
            if let Ok(mut socket) = tungstenite::accept_hdr(stream, look) {
                speak_opus(&mut socket, &told);
            }
        }
    });
    (SecureService { port, texts }, key.cert.pem())
}

fn speak_opus<S: std::io::Read + std::io::Write>(
    socket: &mut tungstenite::WebSocket<S>,
    told: &mpsc::Sender<Value>,
) {
    let mut decoder = Decoder::new(Codec::Opus, 8000);
    let mut encoder = Encoder::new(Codec::Opus, 16_000);
    let mut say = |socket: &mut tungstenite::WebSocket<S>, hertz: f64, frames: u32| {
        let mut coded = Vec::new();
        for n in 0..frames {
            let at = |i: u32| std::f64::consts::TAU * hertz * f64::from(n * 320 + i) / 16_000.0;
            let pcm: Vec<i16> = (0..320).map(|i| (12_000.0 * at(i).sin()) as i16).collect();
            encoder.encode(&pcm, &mut coded);
            socket.send(Message::binary([&[0, 0, 0, 0], &coded[..]].concat())).unwrap();
        }
    };
    let mark = |socket: &mut tungstenite::WebSocket<S>, name: &str| {
        let mark = json!({ "event": "mark", "name": name, "side": "caller" });
        socket.send(Message::text(mark.to_string())).unwrap();
    };
    let mut heard = Vec::new();
    while let Ok(message) = socket.read() {
        match message {
            Message::Binary(bytes) => {
                let before = heard.len();
                decoder.decode(&bytes[4..], &mut heard);
                assert_eq!(heard.len() - before, 160, "20 ms in each message");
                if before / 160 == 60 {
                    let later: Vec<f64> = heard[4800..].iter().map(|s| f64::from(*s)).collect();
                    told.send(json!({ "heard": share_of(&later, 1000.0) })).unwrap();
                    say(socket, 700.0, 50);
                    mark(socket, "spoken");
                }
            }
            Message::Text(text) => {
                let event: Value = serde_json::from_str(text.as_str()).unwrap();
                if event["name"] == "spoken" {
                    // Ten seconds, of which nobody is to hear more than a moment.
                    say(socket, 1600.0, 500);
                    mark(socket, "interrupted");
                    socket.send(Message::text(json!({ "event": "clear" }).to_string())).unwrap();
                }
                if event["name"] == "interrupted" {
                    let keys = json!({ "event": "dtmf", "side": "caller", "digits": "7#" });
                    socket.send(Message::text(keys.to_string())).unwrap();
                }
                told.send(event).unwrap();
            }
            Message::Close(_) => return,
            _ => {}
        }
    }
}

#[test]
fn a_service_with_opus_behind_tls_speaks_is_interrupted_and_presses_keys() {
    let ((good, ca), (bad, _)) = (secure_service(), secure_service());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("admin.token"), TOKEN).unwrap();
    std::fs::write(folder.path().join("agents.pem"), ca).unwrap();
    let config = format!(
        "[admin]\ntoken_file = \"admin.token\"\n[stream]\nca_file = \"agents.pem\"\n\
         allow = [\"wss://127.0.0.1:{}/\", \"wss://127.0.0.1:{}/\"]\n",
        good.port, bad.port
    );
    let gateway = Gateway::start_with(folder, &config);
    let user = &gateway.ready()["users"][0];
    let mut alice = Phone::new(gateway.address("udp"), "alice", user["password"].as_str().unwrap());
    let mut sound = Sound::new();
    let (answered, mut call) = alice.call("601", &sound.description());
    let far = media_address(&answered.body);
    sound.talk(far, 1000.0, Duration::from_millis(300));
    let calls = rest::get(&gateway, &operator(), "/api/v1/calls").json();
    let path = format!("/api/v1/calls/{}/stream", calls["items"][0]["gcid"].as_str().unwrap());
    let stream = |port: u16, encoding: &str| {
        let url = format!("wss://127.0.0.1:{port}/");
        let body = json!({ "side": "caller", "url": url, "encoding": encoding });
        rest::call(&gateway, &operator(), &format!("POST {path}"), &body)
    };
    assert_eq!(stream(good.port, "mp3").status, 422);
    let mut events = Events::open(&gateway, &operator(), "?events=stream_opened,stream_ended");
    assert_eq!(events.next()["event"], "hello");
    // Nobody vouches for this one.
    assert_eq!(stream(bad.port, "opus").status, 200);
    let ended = events.next();
    assert_eq!((&ended["event"], &ended["reason"]), (&json!("stream_ended"), &json!("refused")));
    assert!(bad.texts.try_recv().is_err(), "it is told nothing");

    assert_eq!(stream(good.port, "opus").status, 200);
    assert_eq!(events.next()["event"], "stream_opened");
    let next = || good.texts.recv_timeout(PATIENCE).unwrap();
    let hello = next();
    assert_eq!(hello["format"]["encoding"], "opus");
    let mut heard = Vec::new();
    let mut told = Vec::new();
    let began = Instant::now();
    while sound.pressed.len() < 2 {
        assert!(began.elapsed() < PATIENCE, "{told:?} {:?}", sound.pressed);
        heard.extend(sound.talk(far, 1000.0, Duration::from_millis(200)));
        told.extend(good.texts.try_iter());
    }
    assert_eq!(sound.pressed, [7, 11], "the keys 7 and #");
    // It asks for the keys before it tells what made it ask.
    while told.len() < 3 {
        told.push(next());
    }
    assert!(told[0]["heard"].as_f64().unwrap() > 0.8, "{told:?}");
    let mark = |name: &str| json!({ "event": "mark", "side": "caller", "name": name });
    assert_eq!(told[1..], [mark("spoken"), mark("interrupted")]);
    let parts = |hz: f64| heard.chunks_exact(800).filter(|part| share_of(part, hz) > 0.8).count();
    assert!(parts(700.0) >= 5, "it spoke for a second: {}", parts(700.0));
    assert!(parts(1600.0) <= 5, "it was interrupted at once: {}", parts(1600.0));

    sound.press(far, 5);
    let pressed = next();
    assert_eq!(
        (&pressed["event"], &pressed["side"], &pressed["digit"]),
        (&json!("dtmf"), &json!("caller"), &json!("5"))
    );
    assert_eq!(alice.hang_up(&mut call).status.0, 200);
    assert_eq!(next(), json!({ "event": "stop", "reason": "stopped" }));
    let ended = events.next();
    assert_eq!((&ended["event"], &ended["reason"]), (&json!("stream_ended"), &json!("stopped")));
    assert_eq!(ended["stream"]["state"], "open");
}
