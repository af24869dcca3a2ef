//! `/api/rtcsessions` on the running gateway: a user signs in for a token, and out.

use crosspoint_base::Secret;
use crosspoint_state::{Provisioning, SqliteStore, TokenHash};
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::http::request;
use crate::rest::{Login, call, delete, get, user};

fn sign_in(gateway: &Gateway, who: &Login) -> Value {
    let answer = call(gateway, who, "POST /api/rtcsessions", &json!({}));
    assert_eq!(answer.status, 201, "{answer:?}");
    let session = answer.json();
    let location = format!("/api/rtcsessions/{}", session["id"].as_str().unwrap());
    assert_eq!(answer.header("location"), Some(location.as_str()));
    session
}

#[test]
fn a_user_gets_a_token_reads_it_again_and_signs_out() {
    let gateway = Gateway::start("");
    let alice = user(&gateway, "alice");
    let session = sign_in(&gateway, &alice);
    assert_eq!(session["subscriber_id"], "alice");
    assert_eq!(session["rtc_network_tag"], "sip");
    assert_eq!(session["rtc_app_name"], "crosspoint");
    assert_eq!(session["rtc_browser_token"].as_str().unwrap().len(), 43);
    assert!(session["expires"].as_i64().unwrap() > 1_700_000_000);
    let path = format!("/api/rtcsessions/{}", session["id"].as_str().unwrap());
    assert_eq!(get(&gateway, &alice, &path).json(), session);
    assert_eq!(get(&gateway, &alice, &format!("{path}/")).json(), session);
    let listed = get(&gateway, &alice, "/api/rtcsessions/").json();
    assert_eq!(listed["total"], 1);
    assert_eq!(listed["items"][0]["rtc_browser_token"], Value::Null);
    // With a slash, without a body, and under an alias.
    let alias = gateway.ready()["users"][0]["aliases"][0].as_str().unwrap().to_owned();
    let password = gateway.ready()["users"][0]["password"].as_str().unwrap().to_owned();
    let login = Login::new(&alias, &password);
    let other = call(&gateway, &login, "POST /api/rtcsessions/", &Value::Null);
    assert_eq!((other.status, &other.json()["subscriber_id"]), (201, &json!("alice")));
    assert_ne!(other.json()["rtc_browser_token"], session["rtc_browser_token"]);

    let gone = delete(&gateway, &alice, &path);
    assert_eq!((gone.status, gone.body.as_str()), (204, ""));
    assert_eq!(get(&gateway, &alice, &path).status, 404);
    assert_eq!(delete(&gateway, &alice, &path).status, 404);
}

#[test]
fn a_user_never_sees_the_session_of_another() {
    let gateway = Gateway::start("");
    let (alice, bob) = (user(&gateway, "alice"), user(&gateway, "bob"));
    let session = sign_in(&gateway, &alice);
    let path = format!("/api/rtcsessions/{}", session["id"].as_str().unwrap());
    assert_eq!(get(&gateway, &bob, &path).status, 404);
    assert_eq!(delete(&gateway, &bob, &path).status, 404);
    assert_eq!(get(&gateway, &bob, "/api/rtcsessions").json()["total"], 0);
    assert_eq!(get(&gateway, &alice, &path).status, 200);
}

/// For browsers with SIP over WebSocket, which have no session that could be told.
#[test]
fn a_user_gets_the_relay_for_its_browser_and_nobody_else_does() {
    let relay =
        "[turn]\nlisten = \"127.0.0.1:0\"\nshare_http = true\ncredential_lifetime = \"1h\"\n";
    let gateway = Gateway::start(relay);
    let (alice, bob) = (user(&gateway, "alice"), user(&gateway, "bob"));
    let told = get(&gateway, &alice, "/api/ice-servers");
    assert_eq!((told.status, told.header("cache-control")), (200, Some("no-store")));
    let told = told.json();
    assert_eq!(told["lifetime"], 3600);
    let server = &told["iceServers"][0];
    let urls: Vec<&str> =
        server["urls"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let shared = format!("turn:127.0.0.1:{}?transport=tcp", gateway.address("http").port());
    assert!(urls.len() == 3 && urls.contains(&shared.as_str()), "{urls:?}");
    let username = server["username"].as_str().unwrap();
    assert!(!username.contains("alice"), "who sees it pass by learns no name");
    let other = get(&gateway, &bob, "/api/ice-servers").json();
    assert_ne!(other["iceServers"][0]["username"], server["username"]);
    let stranger = Login::new("alice", "wrong");
    assert_eq!(get(&gateway, &stranger, "/api/ice-servers").status, 401);
    assert_eq!(gateway.get("/api/ice-servers").0, 401);

    let without = Gateway::start("");
    let alice = user(&without, "alice");
    assert_eq!(get(&without, &alice, "/api/ice-servers").json()["iceServers"], json!([]));
}

#[test]
fn wrong_passwords_are_refused_and_then_limited() {
    let gateway = Gateway::start("");
    let alice = user(&gateway, "alice");
    sign_in(&gateway, &alice);
    for (n, name) in ["alice", "nobody", "", "alice@x", "1001"].iter().cycle().take(10).enumerate()
    {
        let wrong = Login::new(name, &format!("guess {n}"));
        let answer = call(&gateway, &wrong, "POST /api/rtcsessions", &json!({}));
        assert_eq!(answer.status, 401, "{name}");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
    }
    let answer = call(&gateway, &alice, "POST /api/rtcsessions", &json!({}));
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").is_some());
    let none = request(gateway.address("http"), "POST /api/rtcsessions", &[], b"{}");
    assert_eq!(none.status, 401, "no password is no guess");
}

#[test]
fn tokens_are_kept_as_hashes_and_outlive_a_restart() {
    let gateway = Gateway::start("");
    let alice = user(&gateway, "alice");
    let session = sign_in(&gateway, &alice);
    let token = session["rtc_browser_token"].as_str().unwrap().to_owned();
    let (_, folder) = gateway.stop();
    let data = folder.path().join("crosspoint-data");
    for file in std::fs::read_dir(&data).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let found = bytes.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!found, "the token is on the disk");
    }
    let store = SqliteStore::open(&data.join("store.db")).unwrap();
    let hash = TokenHash::of(&Secret::new(token));
    let found = store.session_of_token(&hash).unwrap().unwrap();
    assert_eq!(json!(found.session.id), session["id"]);
    drop(store);
    let again = Gateway::start_in(folder);
    let path = format!("/api/rtcsessions/{}", session["id"].as_str().unwrap());
    let shown = get(&again, &alice, &path);
    assert_eq!((shown.status, &shown.json()["rtc_browser_token"]), (200, &Value::Null));
}

#[test]
fn a_user_who_is_removed_or_has_a_new_password_is_signed_out() {
    let gateway = Gateway::start("");
    let (alice, bob) = (user(&gateway, "alice"), user(&gateway, "bob"));
    sign_in(&gateway, &alice);
    sign_in(&gateway, &bob);
    let live = || {
        let page = gateway.get("/metrics").1;
        let line = page.lines().find(|l| l.starts_with("crosspoint_rtc_sessions ")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(live(), 2);
    gateway.command(&["user", "passwd", "alice"]);
    assert_eq!(live(), 1);
    assert_eq!(get(&gateway, &alice, "/api/rtcsessions").status, 401);
    gateway.command(&["user", "remove", "bob"]);
    assert_eq!(live(), 0);
    assert_eq!(get(&gateway, &bob, "/api/rtcsessions").status, 401);
}

#[test]
fn one_user_cannot_have_sessions_without_end() {
    let gateway = Gateway::start("");
    let alice = user(&gateway, "alice");
    for _ in 0..200 {
        sign_in(&gateway, &alice);
    }
    let full = call(&gateway, &alice, "POST /api/rtcsessions", &json!({}));
    assert_eq!((full.status, &full.json()["code"]), (409, &json!("full")));
    sign_in(&gateway, &user(&gateway, "bob"));
}

/// A user sets where its own calls go, and nobody else's; the router goes by it soon after.
#[test]
fn a_user_sets_where_its_calls_go() {
    let gateway = Gateway::start("");
    let (alice, bob) = (user(&gateway, "alice"), user(&gateway, "bob"));
    let unset = get(&gateway, &alice, "/api/forwarding").json();
    assert!(unset["always"].is_null() && unset["no_answer_after"].is_null(), "{unset}");
    let wanted = json!({ "no_answer": "bob", "no_answer_after": 25, "away": "602" });
    let set = call(&gateway, &alice, "PUT /api/forwarding", &wanted);
    assert_eq!((set.status, &set.json()["away"]), (200, &json!("602")));
    assert_eq!(get(&gateway, &alice, "/api/forwarding").json()["no_answer"], "bob");
    assert!(get(&gateway, &bob, "/api/forwarding").json()["no_answer"].is_null());
    for (body, member) in [
        (json!({ "always": "a b" }), "always"),
        (json!({ "no_answer_after": 3 }), "no_answer_after"),
    ] {
        let refused = call(&gateway, &alice, "PUT /api/forwarding", &body);
        assert_eq!(refused.status, 422);
        assert!(refused.body.contains(member), "{}", refused.body);
    }
    assert_eq!(get(&gateway, &alice, "/api/forwarding").json()["away"], "602", "as before");
}
