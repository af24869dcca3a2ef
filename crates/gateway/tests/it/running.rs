//! The running gateway as its operator sees it.

use std::collections::BTreeSet;

use crate::gateway::Gateway;

#[test]
fn the_first_start_prints_two_users_and_the_second_none() {
    let gateway = Gateway::start("");
    let users = gateway.ready()["users"].as_array().unwrap();
    assert_eq!(users.len(), 2);
    assert_eq!(users[0]["name"], "alice");
    assert!(users[0]["password"].as_str().unwrap().len() >= 16);
    let (code, folder) = gateway.stop();
    assert_eq!(code, Some(0));
    let again = Gateway::start_in(folder);
    assert_eq!(again.ready()["users"].as_array().unwrap().len(), 0);
}

#[test]
fn serves_the_phone_its_configuration_and_health() {
    let gateway = Gateway::start("[general]\ndomains = [\"gw.example\"]\n");
    assert_eq!(gateway.get("/healthz"), (200, "ok\n".to_owned()));
    let (status, page) = gateway.get("/");
    assert_eq!(status, 200);
    assert!(page.contains("phone.js"));
    let (_, config) = gateway.get("/api/v1/phone-config");
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["domain"], "gw.example");
    assert_eq!(config["ws_path"], "/ws");
    assert_eq!(gateway.get("/nowhere").0, 404);
    assert_eq!(gateway.get("/ws").0, 426);
}

#[test]
fn the_document_lists_exactly_the_metrics_that_are_served() {
    let gateway = Gateway::start("");
    let (_, page) = gateway.get("/metrics");
    let served: BTreeSet<(&str, &str)> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let document = include_str!("../../../../docs/metrics.md");
    let documented: BTreeSet<(&str, &str)> = document
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `crosspoint_")?.split(" | ");
            let name = cells.next()?.trim_end_matches('`');
            Some((name, cells.next()?))
        })
        // The media server's page is another.
        .filter(|(name, _)| !name.starts_with("ng_"))
        .collect();
    let served: BTreeSet<(&str, &str)> = served
        .into_iter()
        .map(|(name, kind)| (name.strip_prefix("crosspoint_").expect(name), kind))
        .collect();
    assert_eq!(served, documented);
}

#[test]
fn is_ready_when_the_signalling_loop_answers() {
    let gateway = Gateway::start("");
    assert_eq!(gateway.get("/readyz"), (200, "ready\n".to_owned()));
}

#[test]
fn a_port_that_is_taken_is_told_with_its_key_and_a_remedy() {
    let gateway = Gateway::start("");
    let taken = gateway.address("tcp").to_string();
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_crosspoint"))
        .args(["run", "--json", "--https", "127.0.0.1:0", "--media-browser", "127.0.0.1:0"])
        .args(["--sip-udp", "127.0.0.1:0", "--sip-tls", "127.0.0.1:0", "--sip-tcp", &taken])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = value["error"].as_str().unwrap();
    assert!(error.contains(&taken) && error.contains("choose another port"), "{error}");
}
