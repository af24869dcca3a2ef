//! The WebSocket of apps: who may open one, and with which subprotocol.

use crate::gateway::Gateway;
use crate::http::{Answer, request};

fn open(gateway: &Gateway, path: &str, more: &[&str]) -> Answer {
    let mut headers = vec![
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    headers.extend(more);
    request(gateway.address("http"), &format!("GET {path}"), &headers, b"")
}

#[test]
fn an_app_needs_no_subprotocol_and_is_given_the_first_it_offers() {
    let gateway = Gateway::start("");
    let plain = open(&gateway, "/rtc/api", &[]);
    assert_eq!((plain.status, plain.header("sec-websocket-protocol")), (101, None));
    assert_eq!(plain.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let offered = open(&gateway, "/rtc/api", &["Sec-WebSocket-Protocol: , cdk.v1,  sip"]);
    assert_eq!((offered.status, offered.header("sec-websocket-protocol")), (101, Some("cdk.v1")));
    assert_eq!(open(&gateway, "/ws", &[]).status, 400, "SIP needs its subprotocol");
    let sip = open(&gateway, "/ws", &["Sec-WebSocket-Protocol: a, sip"]);
    assert_eq!((sip.status, sip.header("sec-websocket-protocol")), (101, Some("sip")));
}

#[test]
fn a_page_from_elsewhere_is_let_in_for_its_app_to_decide() {
    let gateway = Gateway::start("");
    let foreign = "Origin: https://elsewhere.test";
    assert_eq!(open(&gateway, "/rtc/api", &[foreign]).status, 101);
    let for_sip = open(&gateway, "/ws", &[foreign, "Sec-WebSocket-Protocol: sip"]);
    assert_eq!(for_sip.status, 403);
    let long = format!("Origin: https://{}.test", "a".repeat(10_000));
    assert_eq!(open(&gateway, "/rtc/api", &[&long]).status, 101);
}

#[test]
fn what_is_no_handshake_is_refused() {
    let gateway = Gateway::start("");
    assert_eq!(gateway.get("/rtc/api").0, 426);
    let old = request(
        gateway.address("http"),
        "GET /rtc/api",
        &["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 8"],
        b"",
    );
    assert_eq!(old.status, 400);
    assert_eq!(request(gateway.address("http"), "POST /rtc/api", &[], b"{}").status, 405);
}
