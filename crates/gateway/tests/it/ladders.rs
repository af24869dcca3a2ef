//! What operators read of calls: who said what, and why it came to that.

use std::time::Duration;

use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::http::{Answer, request};
use crate::operators::{Console, TOKEN, add_operator, start_with_token as start};
use crate::phone::Phone;
use crate::rest::{self, Login};
use crate::sound::{SSRC, Sound, expand, media_address, share_of};

fn ask(gateway: &Gateway, path: &str) -> Answer {
    rest::get(gateway, &Login(format!("Authorization: Bearer {TOKEN}")), path)
}

fn alice(gateway: &Gateway) -> Phone {
    let user = &gateway.ready()["users"][0];
    Phone::new(gateway.address("udp"), "alice", user["password"].as_str().unwrap())
}

#[test]
fn an_operator_reads_what_was_said_in_a_call_and_nobody_else_does() {
    let gateway = start("");
    let mut alice = alice(&gateway);
    let (refused, _) = alice.call("nobody", &Sound::new().description());
    assert_eq!(refused.status.0, 404);
    let calls = ask(&gateway, "/api/v1/calls?past=true").json();
    assert_eq!((&calls["total"], &calls["items"][0]["to"]), (&json!(1), &json!("nobody")));
    let gcid = calls["items"][0]["gcid"].as_str().unwrap();
    let path = format!("/api/v1/calls/{gcid}/ladder");
    let ladder = ask(&gateway, &path).json();
    assert_eq!((&ladder["refusal"], &ladder["from"]), (&json!("no_route"), &json!("alice")));
    assert_eq!(ladder["explanation"]["verdict"], "refused");
    assert_eq!(ladder["explanation"]["headline"], "Refused: nobody and no rule has nobody.");
    assert_eq!(ladder["parties"][0]["name"], "alice");
    let entries = ladder["entries"].as_array().unwrap();
    let titles: Vec<&str> = entries.iter().map(|e| e["title"].as_str().unwrap()).collect();
    let [first, challenge, ack, second] = titles[..4] else { panic!("{titles:?}") };
    assert_eq!([first, ack, second], ["INVITE + SDP", "ACK", "INVITE + SDP"]);
    assert!(challenge.starts_with("407 "), "{challenge}");
    assert!(titles.contains(&"404 Not Found (INVITE)"), "{titles:?}");
    let answered = entries[3]["text"].as_str().unwrap();
    assert!(answered.contains("response=\"****"), "{answered}");
    let routed = entries.iter().find(|entry| entry["what"] == "refused").unwrap();
    assert!(routed["text"].as_str().unwrap().contains("=> "), "{routed}");

    let capture = ask(&gateway, &format!("{path}?format=pcap"));
    assert_eq!(capture.status, 200);
    assert_eq!(capture.header("content-type"), Some("application/vnd.tcpdump.pcap"));
    assert_eq!(ask(&gateway, &format!("{path}?format=xml")).status, 422);
    assert_eq!(ask(&gateway, "/api/v1/calls?past=true&limit=1001").status, 422);
    assert_eq!(ask(&gateway, "/api/v1/calls/none/ladder").status, 404);
    for nobody in [rest::user(&gateway, "alice"), Login("Authorization: Bearer x".to_owned())] {
        for path in [&path, "/api/v1/calls?past=true"] {
            assert_eq!(rest::get(&gateway, &nobody, path).status, 401);
        }
    }
}

#[test]
fn nothing_is_kept_where_the_configuration_says_so() {
    let gateway = start("[ladder]\ncalls = 0\n");
    let (refused, _) = alice(&gateway).call("nobody", &Sound::new().description());
    assert_eq!(refused.status.0, 404);
    assert_eq!(ask(&gateway, "/api/v1/calls?past=true").json()["total"], 0);
}

/// The RTP packets that a capture file has from a phone: what is there of each, and how long it was.
fn rtp_in(file: &[u8]) -> Vec<(Vec<u8>, usize)> {
    let mut found = vec![];
    let mut rest = &file[24..];
    while !rest.is_empty() {
        let word = |n: usize| u32::from_le_bytes(rest[4 * n..4 * n + 4].try_into().unwrap());
        let (here, length) = (word(2) as usize, word(3) as usize);
        let packet = &rest[16..16 + here];
        // Behind the heads of IP and UDP.
        if packet[28] == 0x80 && packet[36..40] == SSRC.to_be_bytes() {
            found.push((packet[28..].to_vec(), length - 28));
        }
        rest = &rest[16 + here..];
    }
    found
}

#[test]
fn headers_of_each_call_are_captured_and_sound_when_an_operator_wants_it() {
    let gateway = start("");
    let mut alice = alice(&gateway);
    let mut sound = Sound::new();
    let (answered, mut call) = alice.call("600", &sound.description());
    let far = media_address(&answered.body);
    sound.talk(far, 1000.0, Duration::from_secs(1));
    let gcid = ask(&gateway, "/api/v1/calls").json()["items"][0]["gcid"].clone();
    let gcid = gcid.as_str().unwrap();
    let path = format!("/api/v1/calls/{gcid}/ladder?format=pcap");
    let heads = rtp_in(&ask(&gateway, &path).bytes);
    assert_eq!(heads.len(), 10);
    assert!(heads.iter().all(|(packet, length)| (packet.len(), *length) == (12, 172)));

    let login = Login(format!("Authorization: Bearer {TOKEN}"));
    let line = format!("POST /api/v1/calls/{gcid}/capture");
    let capture = |body: Value| rest::call(&gateway, &login, &line, &body);
    assert_eq!(capture(json!({ "action": "stop" })).status, 409, "nothing is captured");
    assert_eq!(capture(json!({ "action": "start", "packets": 0 })).status, 422);
    assert_eq!(capture(json!({ "action": "go" })).status, 422);
    let started = capture(json!({ "action": "start", "packets": 40 }));
    assert_eq!((started.status, started.json()), (200, json!({ "packets": 40 })));
    let shown = ask(&gateway, &format!("/api/v1/calls/{gcid}")).json();
    assert_eq!(shown["capture"], json!({ "packets": 40 }));
    sound.talk(far, 1000.0, Duration::from_millis(1500));
    let whole: Vec<Vec<u8>> = rtp_in(&ask(&gateway, &path).bytes)
        .into_iter()
        .skip(10)
        .map(|(packet, _)| packet)
        .collect();
    assert_eq!(whole.len(), 40);
    let samples: Vec<f64> =
        whole.iter().flat_map(|packet| &packet[12..]).map(|byte| expand(*byte)).collect();
    assert_eq!(samples.len(), 40 * 160);
    assert!(share_of(&samples, 1000.0) > 0.9);

    // Who may see a call may not hear it.
    add_operator(&gateway, "vera", "viewer");
    let vera = Console::sign_in(&gateway, "vera").cookie();
    let seen = request(gateway.address("http"), &format!("GET {path}"), &[&vera], b"");
    let heads = rtp_in(&seen.bytes);
    assert_eq!(heads.len(), 50);
    assert!(heads.iter().all(|(packet, _)| packet.len() == 12));

    let command =
        |more: &[&str]| gateway.command(&[&["call", "capture", &gcid[..20]], more].concat());
    assert_eq!(command(&["--packets", "7"])["packets"], 7);
    assert_eq!(ask(&gateway, &format!("/api/v1/calls/{gcid}")).json()["capture"]["packets"], 7);
    assert_eq!(command(&["--stop"])["ok"], true);
    assert!(command(&["--stop"])["error"].is_string(), "it has ended");
    let audit = ask(&gateway, "/api/v1/audit?action=call.capture").json();
    let noted: Vec<(&str, &str, &Value)> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let text = |name: &str| item[name].as_str().unwrap();
            (text("by"), text("outcome"), &item["detail"]["packets"])
        })
        .collect();
    let by_command = [("command line", "done", &json!(0)), ("command line", "done", &json!(7))];
    assert_eq!(noted[..2], by_command, "{noted:?}");
    assert_eq!(noted[2], ("api", "done", &json!(40)), "{noted:?}");
    let titles = ask(&gateway, &format!("/api/v1/calls/{gcid}/ladder")).body;
    assert!(titles.contains("an operator captures 40 packets of each side"), "{titles}");
    assert_eq!(alice.hang_up(&mut call).status.0, 200);
}

#[test]
fn no_packets_are_kept_where_the_configuration_says_so() {
    let gateway = start("[ladder]\nrtp_packets = 0\n");
    let mut alice = alice(&gateway);
    let mut sound = Sound::new();
    let (answered, _call) = alice.call("600", &sound.description());
    sound.talk(media_address(&answered.body), 1000.0, Duration::from_millis(500));
    let gcid = ask(&gateway, "/api/v1/calls").json()["items"][0]["gcid"].clone();
    let ladder = ask(&gateway, &format!("/api/v1/calls/{}/ladder", gcid.as_str().unwrap())).json();
    assert_eq!(ladder["packets"], 0);
}
