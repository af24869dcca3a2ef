//! Tokens at the WebSocket of apps: what they grant, to whose pages, and until when.

use std::net::TcpStream;

use crosspoint_base::Secret;
use crosspoint_state::{ClientSession, Object, Provisioning, Source, SqliteStore, TokenHash};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::gateway::{Gateway, PATIENCE};
use crate::rest::{Login, Set, call, delete, make, operator, start, user};

/// A page with a socket.
struct Page(WebSocket<TcpStream>);

impl Page {
    fn open(gateway: &Gateway, origin: Option<&str>) -> Self {
        let address = gateway.address("http");
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = format!("ws://{address}/rtc/api").into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        Self(client(request, stream).unwrap().0)
    }

    /// Opens a session on a socket; gives the body of the answer.
    fn sign_in(&mut self, token: &str) -> Value {
        let message = json!({
            "method": "session.open", "from": "", "to": "", "session": token,
            "body": { "credentials": { "userSession": token } },
        });
        self.0.send(Message::text(message.to_string())).unwrap();
        loop {
            if let Message::Text(text) = self.0.read().unwrap() {
                let message: Value = serde_json::from_str(text.as_str()).unwrap();
                assert_eq!(message["method"], "session.validated", "{message}");
                return message["body"].clone();
            }
        }
    }

    /// Reads on until the gateway closes; gives its code.
    fn closed(&mut self) -> u16 {
        loop {
            match self.0.read().unwrap() {
                Message::Close(Some(frame)) => return frame.code.into(),
                Message::Close(None) => panic!("no code"),
                _ => {}
            }
        }
    }
}

fn own_token(gateway: &Gateway, name: &str) -> (String, String) {
    let answer = call(gateway, &user(gateway, name), "POST /api/rtcsessions", &json!({}));
    let session = answer.json();
    let text = |member: &str| session[member].as_str().unwrap().to_owned();
    (text("id"), text("rtc_browser_token"))
}

#[test]
fn a_users_own_session_has_sip_and_webrtc() {
    let gateway = Gateway::start("[general]\ndomains = [\"gw.example\"]\n");
    let (session, token) = own_token(&gateway, "alice");
    let body = Page::open(&gateway, None).sign_in(&token);
    assert_eq!(body["result"], true, "{body}");
    let sip = &body["accounts"]["sip"];
    assert_eq!(sip["identifier"], "sip:alice@gw.example");
    assert_eq!(sip["network"]["tag"], "sip");
    assert_eq!(sip["target"], format!("sip-connector:b2bua-{session}-sip"));
    assert_eq!(body["accounts"]["webrtc"]["identifier"], "alice");
    assert_eq!(body["accounts"].as_object().unwrap().len(), 2);
}

#[test]
fn a_provisioned_session_has_its_accounts() {
    let gateway = start("");
    let set = Set::make(&gateway, "ann@example.test");
    let body = Page::open(&gateway, None).sign_in(&set.token);
    assert_eq!(body["result"], true, "{body}");
    let account = &body["accounts"][&set.account];
    assert_eq!(account["identifier"], "ann");
    assert_eq!(account["target"], format!("webrtc:b2bua-{}", set.account));
    assert_eq!(account["network"]["tag"], "friends");
}

#[test]
fn tokens_that_are_none_grant_nothing() {
    let gateway = Gateway::start("");
    let (session, token) = own_token(&gateway, "alice");
    for bad in ["", "x", &session, &token[1..], &format!("{token}x"), &"y".repeat(100_000)] {
        let mut page = Page::open(&gateway, None);
        let body = page.sign_in(bad);
        assert_eq!(body["result"], false, "{bad}");
        assert_eq!(body["reason"]["type"], "invalidToken", "{bad}");
        assert_eq!(page.closed(), 4401);
    }
}

#[test]
fn a_page_of_another_origin_needs_the_domain_of_its_app() {
    let gateway = start("");
    let set = Set::make(&gateway, "ann@example.test");
    let (_, own) = own_token(&gateway, "alice");
    let check = |origin: &str, token: &str, reason: Value| {
        let body = Page::open(&gateway, Some(origin)).sign_in(token);
        assert_eq!(body["reason"]["type"], reason, "{origin}");
    };
    let denied = json!("originDenied");
    check("https://shop.example", &set.token, Value::Null);
    check("https://SHOP.example", &set.token, Value::Null);
    for origin in [
        "http://shop.example",
        "https://shop.example:8443",
        "https://www.shop.example",
        "https://shop.example.evil.test",
        "https://evil.test",
        "null",
        "shop.example",
    ] {
        check(origin, &set.token, denied.clone());
    }
    // A user's own session is for our own pages and those of the configuration.
    check("https://shop.example", &own, denied);
    let here = format!("http://{}", gateway.address("http"));
    check(&here, &own, Value::Null);
    check(&here, &set.token, Value::Null);
    let metrics = gateway.get("/metrics").1;
    assert!(metrics.contains("rtc_lookups_total{outcome=\"origin_denied\"} 8\n"), "{metrics}");
    assert!(metrics.contains("rtc_lookups_total{outcome=\"granted\"} 4\n"), "{metrics}");
}

#[test]
fn whoever_ends_a_session_ends_its_sockets() {
    let gateway = start("");
    let ends_by = |path: &str, who: &Login, token: &str| {
        let mut page = Page::open(&gateway, None);
        assert_eq!(page.sign_in(token)["result"], true);
        assert!(matches!(delete(&gateway, who, path).status, 200 | 204), "{path}");
        assert_eq!(page.closed(), 4401, "{path}");
    };
    let (session, token) = own_token(&gateway, "alice");
    ends_by(&format!("/api/rtcsessions/{session}"), &user(&gateway, "alice"), &token);
    let (session, token) = own_token(&gateway, "alice");
    ends_by(&format!("/rtcengine/api/sessions/id/{session}"), &operator(), &token);
    for index in 0..5 {
        let set = Set::make(&gateway, &format!("ann{index}@example.test"));
        ends_by(&set.paths()[index], &operator(), &set.token);
        // Without the network or the account the token still grants the rest, which is nothing.
        let body = Page::open(&gateway, None).sign_in(&set.token);
        let is_left = matches!(index, 2 | 4);
        assert_eq!(body["result"], is_left, "{index}");
    }
}

#[test]
fn the_command_line_signs_a_user_out_everywhere() {
    let gateway = Gateway::start("");
    for command in [&["user", "passwd", "alice"][..], &["user", "remove", "bob"]] {
        let (_, token) = own_token(&gateway, command[2]);
        let mut page = Page::open(&gateway, None);
        assert_eq!(page.sign_in(&token)["result"], true);
        gateway.command(command);
        assert_eq!(page.closed(), 4401, "{command:?}");
        assert_eq!(Page::open(&gateway, None).sign_in(&token)["result"], false);
    }
}

#[test]
fn an_expired_token_is_told_from_one_that_never_was() {
    let gateway = Gateway::start("");
    let store = SqliteStore::open(&gateway.folder().join("crosspoint-data/store.db")).unwrap();
    let token = Secret::new("old".to_owned());
    let session = ClientSession {
        id: "old".to_owned(),
        token: TokenHash::of(&token),
        source: Source::User("alice".to_owned()),
        created: 1,
        // Long enough ago to be over, and not long enough to be forgotten.
        expires: now() - 60,
    };
    store.insert_object(&Object::Session(session)).unwrap();
    let mut page = Page::open(&gateway, None);
    let body = page.sign_in(token.expose());
    assert_eq!(body["reason"]["type"], "expiredToken");
    assert_eq!(page.closed(), 4401);
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// A registrar elsewhere gets a REGISTER for the account, with what was provisioned.
#[test]
fn an_account_elsewhere_is_registered_there() {
    let gateway = start("");
    let registrar = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    registrar.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = registrar.local_addr().unwrap().port();
    let set = Set::make(&gateway, "ann@example.test");
    let config = json!({ "registrar": format!("sip:127.0.0.1:{port}"), "expires": 600 });
    let network = json!({
        "tag": "pbx", "connector": "sip-connector", "config": config, "owner": set.owner,
    });
    make(&gateway, &operator(), "networks", &network);
    let account = json!({
        "session": set.session, "network": "pbx", "identifier": "sip:ann@pbx.example",
        "accessToken": "secret",
    });
    let account = make(&gateway, &operator(), "accounts", &account);
    let id = account["id"].as_str().unwrap();
    let mut page = Page::open(&gateway, None);
    let body = page.sign_in(&set.token);
    let message = json!({
        "method": "account.connect", "from": "", "to": body["accounts"][id]["target"],
        "session": set.token, "body": { "id": id },
    });
    page.0.send(Message::text(message.to_string())).unwrap();
    let mut buffer = [0; 4096];
    let length = registrar.recv(&mut buffer).unwrap();
    let request = String::from_utf8_lossy(&buffer[..length]);
    assert!(request.starts_with("REGISTER sip:pbx.example"), "{request}");
    assert!(request.contains("sip:ann@pbx.example"), "{request}");
    assert!(request.contains("600"), "{request}");
}

/// An account of ours needs the user's password, and connects with it.
#[test]
fn an_account_of_our_own_sip_network_is_checked() {
    let gateway = start("");
    let set = Set::make(&gateway, "ann@example.test");
    let network = json!({ "tag": "sip", "connector": "sip-connector", "owner": set.owner });
    make(&gateway, &operator(), "networks", &network);
    let password = gateway.ready()["users"][0]["password"].as_str().unwrap().to_owned();
    let account = |token: &str| {
        let body = json!({
            "session": set.session, "network": "sip", "identifier": "sip:1001@gateway.example",
            "accessToken": token,
        });
        make(&gateway, &operator(), "accounts", &body)["id"].as_str().unwrap().to_owned()
    };
    let (right, wrong) = (account(&password), account("a guess"));
    let mut page = Page::open(&gateway, None);
    let body = page.sign_in(&set.token);
    for (id, expected) in [(right, ("connected", "")), (wrong, ("failed", "unauthorized"))] {
        let message = json!({
            "method": "account.connect", "from": "", "to": body["accounts"][&id]["target"],
            "session": set.token, "body": { "id": id },
        });
        page.0.send(Message::text(message.to_string())).unwrap();
        let state = loop {
            let Message::Text(text) = page.0.read().unwrap() else { continue };
            let message: Value = serde_json::from_str(text.as_str()).unwrap();
            let body = &message["body"];
            if message["method"] == "account.state" && body["state"] != "connecting" {
                break body.clone();
            }
        };
        assert_eq!((state["id"].as_str(), state["state"].as_str()), (Some(&*id), Some(expected.0)));
        assert_eq!(state["reason"], expected.1);
    }
}
