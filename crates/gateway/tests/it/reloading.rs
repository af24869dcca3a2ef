//! A configuration that changes under a running gateway, and one that takes no new calls.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::gateway::{Gateway, PATIENCE};
use crate::rest::{self, Login};

const TOKEN: &str = "a-token-of-thirty-two-characters";
const ADMIN: &str = "[admin]\ntoken_file = \"admin.token\"\n";

fn start(more: &str) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("admin.token"), TOKEN).unwrap();
    Gateway::start_with(folder, &format!("{ADMIN}{more}"))
}

fn admin() -> Login {
    Login(format!("Authorization: Bearer {TOKEN}"))
}

/// Replaces a piece of the configuration file.
fn rewrite(gateway: &Gateway, change: impl FnOnce(String) -> String) {
    let file = gateway.folder().join("crosspoint.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, change(text)).unwrap();
}

fn trunks(gateway: &Gateway) -> Vec<String> {
    let listed = rest::get(gateway, &admin(), "/api/v1/trunks").json();
    let items = listed["items"].as_array().unwrap();
    items.iter().map(|t| t["name"].as_str().unwrap().to_owned()).collect()
}

fn metric(gateway: &Gateway, name: &str) -> String {
    let (_, page) = gateway.get("/metrics");
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}")).to_owned()
}

/// Where the gateway would send a call now.
fn outcome(gateway: &Gateway, to: &str) -> Value {
    rest::get(gateway, &admin(), &format!("/api/v1/route?from=alice&to={to}")).json()
}

const TRUNK: &str =
    "\n[[trunk]]\nname = \"pbx\"\nhost = \"127.0.0.1\"\nport = 5999\nprefixes = [\"7\"]\n";

#[test]
fn a_changed_file_applies_and_a_wrong_one_changes_nothing() {
    let gateway = start("[numbers]\necho = \"600\"\n");
    assert_eq!(gateway.command(&["reload"])["changed"], json!([]));
    rewrite(&gateway, |text| text.replace("echo = \"600\"", "echo = \"699\"") + TRUNK);
    let answer = gateway.command(&["reload"]);
    assert_eq!(answer["changed"], json!(["numbers"]));
    assert_eq!(answer["trunks"], json!({ "added": ["pbx"], "changed": [], "removed": [] }));
    assert_eq!(answer["needs_restart"], json!([]));
    assert_eq!(trunks(&gateway), ["pbx"]);
    assert!(outcome(&gateway, "699").to_string().contains("echo"));
    assert!(outcome(&gateway, "7123").to_string().contains("pbx"));

    // One wrong line: it is named, to whoever asked, and everything is as it was.
    rewrite(&gateway, |text| text.replace("\"699\"", "\"698\"").replace("port = 5999", "port = 0"));
    let refused = gateway.command(&["reload"]);
    assert_eq!(
        (&refused["ok"], &refused["errors"][0]["key"]),
        (&json!(false), &json!("trunk[0].port"))
    );
    let told = rest::call(&gateway, &admin(), "POST /api/v1/reload", &Value::Null);
    assert_eq!((told.status, told.json()["code"].clone()), (422, json!("notReloaded")));
    let problem = &told.json()["errors"][0];
    assert_eq!(problem["key"], "trunk[0].port");
    assert!(problem["line"].as_u64().unwrap() > 10 && problem["remedy"].is_string());
    assert!(outcome(&gateway, "699").to_string().contains("echo"));
    assert_eq!(metric(&gateway, "crosspoint_reload_last_ok"), "0");

    // Mended, and sent by a signal: the trunk is changed, and then gone.
    rewrite(&gateway, |text| text.replace("port = 0", "port = 5998"));
    gateway.signal("-HUP");
    wait(|| outcome(&gateway, "698").to_string().contains("echo"));
    // That it went well is noted when all of it is done.
    wait(|| metric(&gateway, "crosspoint_reload_last_ok") == "1");
    rewrite(&gateway, |text| {
        let text = text.split("\n[[trunk]]").next().unwrap();
        text.replace("[media]", "[media]\nphones = \"direct\"") + "[limits]\ncalls = 5\n"
    });
    rewrite(&gateway, |text| {
        text.replace("[numbers]", "[general]\ndomains = [\"new.example\"]\n[numbers]")
    });
    let answer = rest::call(&gateway, &admin(), "POST /api/v1/reload", &Value::Null).json();
    assert_eq!(answer["trunks"]["removed"], json!(["pbx"]));
    assert_eq!(
        (&answer["changed"], &answer["needs_restart"]),
        (&json!(["media.phones", "limits"]), &json!(["general.domains"]))
    );
    assert!(trunks(&gateway).is_empty());
    // Until then it is said each time.
    let again = gateway.command(&["reload"]);
    assert_eq!(
        (&again["changed"], &again["needs_restart"]),
        (&json!([]), &json!(["general.domains"]))
    );
}

#[test]
fn only_operators_reload_and_drain() {
    let gateway = start("");
    for line in
        ["POST /api/v1/reload", "POST /api/v1/drain", "DELETE /api/v1/drain", "GET /api/v1/drain"]
    {
        let stranger = Login("X-Nothing: 1".to_owned());
        assert_eq!(rest::call(&gateway, &stranger, line, &Value::Null).status, 401, "{line}");
        let user = rest::user(&gateway, "alice");
        assert_eq!(rest::call(&gateway, &user, line, &Value::Null).status, 401, "{line}");
    }
    assert_eq!(metric(&gateway, "crosspoint_draining"), "0");
}

/// The serial number of the certificate that a TLS port shows.
fn shown(gateway: &Gateway) -> String {
    let address = gateway.address("tls").to_string();
    let client = std::process::Command::new("openssl")
        .args(["s_client", "-connect", &address])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let mut read = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-subject"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    read.stdin.take().unwrap().write_all(&client.stdout).unwrap();
    String::from_utf8(read.wait_with_output().unwrap().stdout).unwrap()
}

fn certify(folder: &Path, name: &str) {
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-keyout", "tls.key", "-out", "tls.pem", "-days", "2", "-subj"])
        .arg(format!("/CN={name}"))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

#[test]
fn a_new_certificate_is_shown_to_who_comes_next_and_old_connections_stay() {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path(), "first");
    let tls = "[tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\n";
    let gateway = Gateway::start_with(folder, tls);
    assert!(shown(&gateway).contains("first"));
    certify(gateway.folder(), "second");
    assert_eq!(gateway.command(&["reload"])["certificate"], true);
    assert!(shown(&gateway).contains("second"));
    // A key that does not belong to it is an error of that line of the file.
    let key = std::fs::read(gateway.folder().join("tls.key")).unwrap();
    certify(gateway.folder(), "third");
    std::fs::write(gateway.folder().join("tls.key"), key).unwrap();
    let refused = gateway.command(&["reload"]);
    assert_eq!(refused["errors"][0]["key"], "tls.certificate");
    assert!(shown(&gateway).contains("second"));
    // Files that are whole again are noticed without a word.
    certify(gateway.folder(), "fourth");
    wait(|| shown(&gateway).contains("fourth"));
}

#[test]
fn a_gateway_that_drains_says_so_and_takes_calls_again_or_goes() {
    let gateway = start("[drain]\nretry_after = \"17s\"\n");
    let asked = std::cell::Cell::new(0);
    let options = |gateway: &Gateway| {
        // Each is a transaction of its own (RFC 3261 §17.2.3), whatever is left of the last one.
        asked.set(asked.get() + 1);
        let number = asked.get();
        let mut stream = TcpStream::connect(gateway.address("tcp")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let text = format!(
            "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5;branch=z9hG4bK{number}\r\n\
             From: <sip:lb@1.1.1.1>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: o{number}\r\n\
             CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(text.as_bytes()).unwrap();
        let (mut heard, mut piece) = (Vec::new(), [0; 2048]);
        while !heard.windows(4).any(|w| w == b"\r\n\r\n") {
            let count = stream.read(&mut piece).unwrap();
            heard.extend_from_slice(&piece[..count]);
        }
        String::from_utf8(heard).unwrap()
    };
    assert!(options(&gateway).starts_with("SIP/2.0 200"));
    let state = rest::call(&gateway, &admin(), "POST /api/v1/drain", &json!({})).json();
    assert_eq!((&state["draining"], &state["calls"]), (&json!(true), &json!(0)));
    let answer = options(&gateway);
    assert!(
        answer.starts_with("SIP/2.0 503") && answer.contains("Retry-After: 17\r\n"),
        "{answer}"
    );
    assert_eq!(gateway.get("/readyz").0, 503);
    assert_eq!(gateway.get("/healthz").0, 200);
    assert_eq!(metric(&gateway, "crosspoint_draining"), "1");
    assert_eq!(gateway.command(&["drain", "--undo"])["draining"], false);
    assert_eq!(gateway.get("/readyz").0, 200);
    assert!(options(&gateway).starts_with("SIP/2.0 200"));
    // Without a call there is nothing to wait for.
    let state = gateway.command(&["drain", "--exit"]);
    assert_eq!(state["draining"], true);
    let (code, folder) = gateway.wait();
    assert_eq!(code, Some(0));
    assert!(!folder.path().join("crosspoint-data/control.sock").exists());
}

#[track_caller]
fn wait(mut probe: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + PATIENCE;
    while !probe() {
        assert!(std::time::Instant::now() < until, "it never came about");
        std::thread::yield_now();
    }
}
