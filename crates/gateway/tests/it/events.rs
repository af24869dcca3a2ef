//! What the gateway tells of calls while they happen: server-sent events.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::gateway::{Gateway, PATIENCE};
use crate::phone::Phone;
use crate::rest::{self, Login};
use crate::sound::{Sound, media_address};

const TOKEN: &str = "a-token-of-thirty-two-characters";

/// A reader of `/api/v1/events`.
pub(crate) struct Events {
    lines: BufReader<TcpStream>,
    pub(crate) last_id: String,
}

impl Events {
    pub(crate) fn open(gateway: &Gateway, who: &Login, query: &str) -> Self {
        Self::open_with(gateway, who, query, "X-Nothing: 1")
    }

    fn open_with(gateway: &Gateway, who: &Login, query: &str, header: &str) -> Self {
        let mut stream = TcpStream::connect(gateway.address("http")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "GET /api/v1/events{query} HTTP/1.1\r\nHost: localhost\r\n{}\r\n{header}\r\n\r\n",
            who.0
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        Self { lines, last_id: String::new() }
    }

    /// The next event, without its time.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            // Lines of chunks and the head are neither.
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the stream has ended");
            if let Some(id) = line.strip_prefix("id: ") {
                self.last_id = id.trim_end().to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ") {
                let mut event: Value = serde_json::from_str(data).unwrap();
                let at = event.as_object_mut().unwrap().remove("at").unwrap();
                assert!(at.as_u64().unwrap() > 1_700_000_000_000);
                return event;
            }
        }
    }
}

#[test]
fn operators_are_told_of_calls_and_nobody_else_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("admin.token"), TOKEN).unwrap();
    let config = "[admin]\ntoken_file = \"admin.token\"\n[recording]\nusers = [\"alice\"]\n";
    let gateway = Gateway::start_with(folder, config);
    let operator = Login(format!("Authorization: Bearer {TOKEN}"));
    let user = rest::user(&gateway, "alice");
    assert_eq!(rest::get(&gateway, &user, "/api/v1/events").status, 401);
    let unknown = rest::get(&gateway, &operator, "/api/v1/events?events=call_began,nothing");
    assert_eq!(unknown.status, 422);

    let mut all = Events::open(&gateway, &operator, "");
    let mut ends = Events::open(&gateway, &operator, "?events=call_ended");
    assert_eq!(all.next(), json!({ "event": "hello", "version": 1 }));
    assert_eq!(ends.next()["event"], "hello");
    let mut grades = Events::open(&gateway, &operator, "?events=quality");
    assert_eq!(grades.next()["event"], "hello");

    let password = &gateway.ready()["users"][0]["password"];
    let mut alice = Phone::new(gateway.address("udp"), "alice", password.as_str().unwrap());
    let mut sound = Sound::new();
    let (answered, mut call) = alice.call("600", &sound.description());
    let began = all.next();
    assert_eq!((&began["event"], &began["call"]["to"]), (&json!("call_began"), &json!("600")));
    let gcid = began["call"]["gcid"].clone();
    let up = all.next();
    assert_eq!((&up["event"], &up["call"]["gcid"]), (&json!("call_answered"), &gcid));
    assert_eq!(up["call"]["from_user"], "alice");
    assert!(up["call"]["answered_at"].is_u64());
    let seen = all.last_id.clone();
    drop(all);

    // Nothing comes from alice for three seconds, then something does.
    let silent = grades.next();
    assert_eq!((&silent["grade"], &silent["side"]), (&json!("silent"), &json!("caller")));
    sound.talk(media_address(&answered.body), 1000.0, Duration::from_millis(300));
    assert_eq!(grades.next()["grade"], "good");

    assert_eq!(alice.hang_up(&mut call).status.0, 200);
    let end = ends.next();
    assert_eq!((&end["event"], &end["call"]["gcid"]), (&json!("call_ended"), &gcid));
    assert_eq!((&end["ended_by"], &end["cause"]), (&json!("front"), &json!("normal")));
    let names = end["recordings"].as_array().unwrap().clone();
    assert_eq!(names.len(), 1);

    // Who was away is told what it missed.
    let header = format!("Last-Event-ID: {seen}");
    let mut again = Events::open_with(&gateway, &operator, "", &header);
    let mut words = Vec::new();
    let mut finished = Value::Null;
    // The recorder has a thread of its own: its word may come before the call's.
    while !["call_ended", "recording_finished"].iter().all(|w| words.iter().any(|had| had == w)) {
        let event = again.next();
        words.push(event["event"].as_str().unwrap().to_owned());
        if event["event"] == "recording_finished" {
            finished = event;
        }
    }
    words.sort();
    assert_eq!(words, ["call_ended", "hello", "quality", "quality", "recording_finished"]);
    assert_eq!((&finished["gcid"], &finished["name"]), (&gcid, &names[0]));

    // A call that nobody is rung for begins and ends.
    let (refused, _) = alice.call("nobody-at-all", &sound.description());
    assert_eq!(refused.status.0, 404);
    let (began, end) = (again.next(), again.next());
    assert_eq!((&began["event"], &end["event"]), (&json!("call_began"), &json!("call_ended")));
    assert_eq!(began["call"]["gcid"], end["call"]["gcid"]);
    let metrics = gateway.get("/metrics").1;
    assert!(metrics.contains("crosspoint_event_readers"), "{metrics}");
}
