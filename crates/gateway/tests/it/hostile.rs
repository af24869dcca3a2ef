//! Names, programs and reasons of strangers that are written to hurt whoever reads them: logs, call
//! records, tables on a terminal, JSON.

use std::io::Read;
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use crosspoint_sip::HeaderName;
use serde_json::Value;

use crate::gateway::Gateway;
use crate::phone::Phone;
use crate::sound::Sound;

/// Everything at once: escapes of terminals, other lines, other directions, pages, tables, queries.
const HOSTILE: &str = "=HYPERLINK(1)\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}gpj.exe\u{2066}\
    <script>alert(1)</script><img src=x onerror=alert(1)>'; DROP TABLE cdrs;--{{7*7}}${jndi:ldap://x}%s%n";

/// Characters that steer a terminal or turn what follows.
fn hostile_characters(text: &str) -> String {
    let is_plain = |c: char| c == '\n' || crosspoint_base::is_plain(c);
    text.chars().filter(|c| !is_plain(*c)).collect()
}

/// As a user part is written: nearly every byte may stand in it, escaped (RFC 3261 §25.1).
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn hostile_names_reach_neither_logs_nor_terminals_nor_records() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[log]\nlevel = \"trace\"\n";
    let errors = std::fs::File::create(folder.path().join("log")).unwrap();
    let gateway = Gateway::start_logging(folder, config, errors);
    let user = &gateway.ready()["users"][0];
    let text = |key: &str| user[key].as_str().unwrap().to_owned();
    let mut alice = Phone::new(gateway.address("udp"), &text("name"), &text("password"));
    alice.from_name = format!("\"{}\" ", HOSTILE.replace('"', ""));
    alice.extra = format!(
        "User-Agent: {HOSTILE}\r\nReason: SIP;cause=200;text=\"{HOSTILE}\"\r\n\
         X-Global-Call-ID: {HOSTILE}\r\nSubject: {HOSTILE}\r\nOrganization: {}\r\n",
        "x".repeat(8000)
    );
    assert_eq!(alice.register(300).status.0, 200);
    let sound = Sound::new();
    let number = escaped(&format!("0900{HOSTILE}\r\nforged line -> alice  0.0 s  normal by front"));
    let (refused, _) = alice.call(&number, &sound.description());
    assert!(!refused.status.is_success());
    assert!(refused.headers.has(&HeaderName::CALL_ID));
    let (refused, _) = alice.call(&escaped(&"9".repeat(2000)), &sound.description());
    assert!(!refused.status.is_success());
    let (answered, mut call) = alice.call("600", &sound.description());
    assert_eq!(answered.status.0, 200);
    alice.hang_up(&mut call);
    // Not even UTF-8, and nothing that parses.
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut bytes = format!("INVITE sip:{HOSTILE} SIP/2.0\r\nVia: ").into_bytes();
    bytes.extend([0xC3, 0x28, 0xFF, 0xFE, 0x1B, b'[', b'2', b'J']);
    stranger.send_to(&bytes, gateway.address("udp")).unwrap();

    let (_, page) = gateway.get("/metrics");
    assert!(!page.contains("<script") && hostile_characters(&page).is_empty());
    let (code, folder) = gateway.stop();
    assert_eq!(code, Some(0));

    // Every record, as JSON and as a table.
    let list = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_crosspoint"))
            .args(["cdr", "list"])
            .args(more)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let records: Value = serde_json::from_str(&list(&["--json"])).unwrap();
    assert_eq!(records.as_array().unwrap().len(), 3, "{records}");
    for record in records.as_array().unwrap() {
        for member in ["from", "to", "gcid"] {
            let text = record[member].as_str().unwrap();
            assert_eq!(hostile_characters(text), "", "{member}");
            assert!(text.chars().count() <= 255, "{member} has {} bytes", text.len());
        }
        assert!(record["why"].as_str().unwrap_or_default().len() < 10_000);
    }
    let table = list(&[]);
    assert_eq!(hostile_characters(&table), "", "{table}");
    let forged = table.lines().filter(|line| line.starts_with("forged"));
    assert_eq!(forged.count(), 0, "{table}");

    let mut log = Vec::new();
    std::fs::File::open(folder.path().join("log")).unwrap().read_to_end(&mut log).unwrap();
    let log = String::from_utf8(log).expect("a log is text");
    assert!(log.contains("a call has ended"), "{log}");
    assert_eq!(hostile_characters(&log), "", "{log}");
    for line in log.lines() {
        assert!(line.len() < 2000, "{line}");
        let is_own =
            line.starts_with("20") && !line.contains("<script") && !line.contains("forged");
        assert!(is_own, "{line}");
    }
}

/// The same in JSON, a line each.
#[test]
fn hostile_names_break_no_line_of_a_log_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[log]\nlevel = \"trace\"\nformat = \"json\"\n";
    let errors = std::fs::File::create(folder.path().join("log")).unwrap();
    let gateway = Gateway::start_logging(folder, config, errors);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let text =
        format!("INVITE sip:x SIP/2.0\r\nVia: {HOSTILE}\r\nContent-Length: {HOSTILE}\r\n\r\n");
    stranger.send_to(text.as_bytes(), gateway.address("udp")).unwrap();
    let mut witness = Phone::new(gateway.address("udp"), "witness", "");
    let mut other = Phone::new(gateway.address("udp"), "other", "");
    assert!(other.is_heard(&mut witness));
    let (_, folder) = gateway.stop();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert_eq!(hostile_characters(&line.to_string()), "");
    }
    assert!(log.contains("malformed"), "{log}");
}
