//! `/rtcengine/api` on the running gateway: what operators do, and who may not.

use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::http::request;
use crate::rest::{Login, PASSWORD, Set, call, delete, get, make, operator, start, user};

#[test]
fn a_portal_makes_shows_lists_and_removes_everything() {
    let gateway = start("");
    let who = operator();
    let set = Set::make(&gateway, "ann@example.test");
    let [owner, app, network, session, account] = set.paths();
    assert!(
        [&set.owner, &set.app, &set.network, &set.session, &set.account]
            .iter()
            .all(|id| id.len() == 20 && id.bytes().all(|b| b.is_ascii_alphanumeric()))
    );

    let shown = get(&gateway, &who, &owner).json();
    assert_eq!(shown["email"], "ann@example.test");
    assert_eq!(shown["apps"]["href"], format!("{owner}/apps"));
    let shown = get(&gateway, &who, &format!("{session}/")).json();
    assert_eq!(shown["app"]["href"], app);
    assert_eq!(shown["accounts"]["href"], format!("{session}/accounts"));
    assert_eq!(shown["token"], set.token, "a fresh token may be read once more");
    assert_eq!(set.token.len(), 43);
    let shown = get(&gateway, &who, &network).json();
    assert_eq!((&shown["tag"], &shown["config"]), (&json!("friends"), &json!("{\"xms\": false}")));
    let answer = get(&gateway, &who, &account);
    assert_eq!(answer.json()["identifier"], "ann");
    assert!(!answer.body.contains("s3cret"), "access tokens are never shown");
    assert_eq!(answer.header("cache-control"), Some("no-store"));

    let list = get(&gateway, &who, "/rtcengine/api/apps/").json();
    assert_eq!(list, json!({ "items": [{ "href": app }], "total": 1 }));
    let list = get(&gateway, &who, &format!("{owner}/networks?expand=true")).json();
    assert_eq!(list["items"][0]["connector"], "webrtc");
    for path in set.lists() {
        assert_eq!(get(&gateway, &who, &path).json()["total"], 1, "{path}");
    }
    for kind in ["users", "apps", "networks", "sessions", "accounts"] {
        let list = get(&gateway, &who, &format!("/rtcengine/api/{kind}?expand=true")).json();
        assert_eq!(list["total"], 1, "{kind}");
        assert!(list["items"][0]["created"].is_i64());
    }

    let answer = delete(&gateway, &who, &account);
    assert_eq!((answer.status, answer.json()), (200, json!({})));
    assert_eq!(delete(&gateway, &who, &account).status, 404);
    assert_eq!(get(&gateway, &who, &session).status, 200);
    assert_eq!(delete(&gateway, &who, &owner).status, 200);
    for path in [owner, app, network, session] {
        assert_eq!(get(&gateway, &who, &path).status, 404, "{path}");
    }
}

#[test]
fn long_lists_come_in_parts() {
    let gateway = start("");
    let who = operator();
    let set = Set::make(&gateway, "ann@example.test");
    for n in 0..4 {
        let body = json!({ "name": n.to_string(), "domain": "a.example", "owner": set.owner });
        make(&gateway, &who, "apps", &body);
    }
    let list = |query: &str| {
        let list = get(&gateway, &who, &format!("/rtcengine/api/apps?{query}")).json();
        assert_eq!(list["total"], 5);
        list["items"].as_array().unwrap().len()
    };
    assert_eq!(list("limit=2"), 2);
    assert_eq!(list("limit=2&offset=4"), 1);
    assert_eq!(list("offset=5"), 0);
    let bad = get(&gateway, &who, "/rtcengine/api/apps?limit=0");
    assert_eq!((bad.status, &bad.json()["code"]), (422, &json!("invalid")));
}

#[test]
fn what_cannot_be_used_is_told_with_its_member() {
    let gateway = start("");
    let set = Set::make(&gateway, "ann@example.test");
    let Set { owner, app, session, .. } = &set;
    let refuse = |collection: &str, body: Value, status: u16, part: &str| {
        let line = format!("POST /rtcengine/api/{collection}");
        let answer = call(&gateway, &operator(), &line, &body);
        assert_eq!(answer.status, status, "{body} {answer:?}");
        let error = answer.json();
        assert!(error["message"].as_str().unwrap().contains(part), "{body} {error}");
    };
    refuse("users", json!({}), 422, "email: is missing");
    refuse("users", json!({ "email": 5 }), 422, "email: must be a text");
    refuse("users", json!({ "email": "no address" }), 422, "e-mail");
    refuse("users", json!({ "email": "a@b.c", "password": "short" }), 422, "8 to 256");
    let twice = json!({ "email": "ANN@example.test", "password": "open sesame" });
    refuse("users", twice, 409, "email");
    let nobody = json!({ "name": "x", "domain": "x.example", "owner": "nobody" });
    refuse("apps", nobody, 422, "no such user");
    for domain in ["", "a b", "ftp://x", "https://x/path", "x:0", "x:99999", "*", "null"] {
        let body = json!({ "name": "x", "domain": domain, "owner": owner });
        if domain == "null" {
            make(&gateway, &operator(), "apps", &body);
        } else {
            refuse("apps", body, 422, "domain");
        }
    }
    let network = |connector: &str, config: Value| json!({ "tag": "t", "connector": connector, "config": config, "owner": owner });
    refuse("networks", network("magic", json!("{}")), 422, "connector: must be one of");
    refuse("networks", network("webrtc", json!("[1]")), 422, "config");
    refuse("networks", network("webrtc", json!([1])), 422, "config");
    refuse("networks", network("webrtc", json!({ "media": "loud" })), 422, "config.media");
    let bad = json!({ "registrar": "http://metadata" });
    refuse("networks", network("sip-connector", bad), 422, "config.registrar");
    refuse("networks", network("webrtc", json!("x".repeat(5000))), 422, "longer than");
    let again = json!({ "tag": "friends", "connector": "webrtc", "owner": owner });
    refuse("networks", again, 409, "tag");
    refuse("sessions", json!({ "owner": owner }), 422, "app: is missing");
    refuse("sessions", json!({ "owner": owner, "app": session }), 422, "no such app");
    refuse("sessions", json!({ "owner": app, "app": app }), 422, "no such user");
    let account = |changes: &[(&str, Value)]| {
        let mut body = json!({
            "session": session, "network": "friends", "identifier": "x", "owner": owner,
        });
        changes.iter().for_each(|(member, value)| body[*member] = value.clone());
        body
    };
    refuse("accounts", account(&[("session", json!("none"))]), 422, "no such session");
    refuse("accounts", account(&[("network", json!("none"))]), 422, "no such network");
    refuse("accounts", account(&[("identifier", json!(""))]), 422, "identifier");
    refuse("accounts", account(&[("identifier", json!("a\u{0}b"))]), 422, "control");
    refuse("accounts", account(&[("accessToken", json!(["x"]))]), 422, "accessToken");
    refuse("accounts", account(&[("config", json!("{\"media\":1}"))]), 422, "media");
    let other = Set::make(&gateway, "bob@example.test");
    refuse("accounts", account(&[("session", json!(other.session))]), 422, "no such session");
    let own = call(&gateway, &user(&gateway, "alice"), "POST /api/rtcsessions", &json!({})).json();
    let on_own = json!({ "session": own["id"], "network": "friends", "identifier": "x" });
    refuse("accounts", on_own, 422, "user's own");
}

#[test]
fn accounts_have_a_bound() {
    let gateway = start("");
    let set = Set::make(&gateway, "ann@example.test");
    let body = json!({ "session": set.session, "network": "friends", "identifier": "x" });
    for _ in 1..64 {
        make(&gateway, &operator(), "accounts", &body);
    }
    let full = call(&gateway, &operator(), "POST /rtcengine/api/accounts", &body);
    assert_eq!((full.status, &full.json()["code"]), (409, &json!("full")));
}

/// Each who may not, at each thing that is not theirs.
#[test]
fn nobody_reaches_what_is_not_theirs() {
    let gateway = start("");
    let (ann, bob) =
        (Set::make(&gateway, "ann@test.example"), Set::make(&gateway, "bob@test.example"));
    let alice = user(&gateway, "alice");
    // A user of ours is nobody here, and the operator no user of ours.
    assert_eq!(get(&gateway, &alice, "/rtcengine/api/users").status, 401);
    assert_eq!(get(&gateway, &operator(), "/api/rtcsessions").status, 401);
    assert_eq!(get(&gateway, &ann.login, "/api/rtcsessions").status, 401);

    for path in bob.paths().into_iter().chain(bob.lists()) {
        assert_eq!(get(&gateway, &bob.login, &path).status, 200, "{path}");
        assert_eq!(get(&gateway, &ann.login, &path).status, 404, "{path}");
    }
    for path in bob.paths() {
        assert_eq!(delete(&gateway, &ann.login, &path).status, 404, "{path}");
        assert_eq!(get(&gateway, &operator(), &path).status, 200, "{path} is still there");
    }
    for kind in ["users", "apps", "networks", "sessions", "accounts"] {
        let list = get(&gateway, &ann.login, &format!("/rtcengine/api/{kind}")).json();
        assert_eq!(list["total"], 1, "{kind}: only her own");
        let href = list["items"][0]["href"].as_str().unwrap();
        assert!(ann.paths().iter().any(|path| path == href), "{href}");
    }

    // Of her own she makes and ends sessions, and nothing else.
    let post = |collection: &str, body: Value| {
        call(&gateway, &ann.login, &format!("POST /rtcengine/api/{collection}"), &body).status
    };
    assert_eq!(post("users", json!({ "email": "x@y.example", "password": "12345678" })), 403);
    assert_eq!(
        post("apps", json!({ "name": "x", "domain": "x.example", "owner": ann.owner })),
        403
    );
    let network = json!({
        "tag": "x", "connector": "sip-connector", "config": { "registrar": "sip:10.0.0.1" },
        "owner": ann.owner,
    });
    assert_eq!(post("networks", network), 403);
    let account = json!({ "session": ann.session, "network": "friends", "identifier": "x" });
    assert_eq!(post("accounts", account), 403);
    assert_eq!(post("sessions", json!({ "app": ann.app, "owner": bob.owner })), 403);
    assert_eq!(post("sessions", json!({ "app": bob.app })), 422);
    assert_eq!(post("sessions", json!({ "app": bob.app, "owner": ann.owner })), 422);
    let [owner, app, network, session, account] = ann.paths();
    for path in [owner, app, network, account] {
        assert_eq!(delete(&gateway, &ann.login, &path).status, 403, "{path}");
    }
    let made = make(&gateway, &ann.login, "sessions", &json!({ "app": ann.app }));
    let made = made["href"].as_str().unwrap();
    assert_eq!(delete(&gateway, &ann.login, made).status, 200);
    assert_eq!(delete(&gateway, &ann.login, &session).status, 200);
}

#[test]
fn without_a_login_in_the_configuration_it_is_closed() {
    let gateway = Gateway::start("");
    for who in [operator(), user(&gateway, "alice")] {
        let answer = get(&gateway, &who, "/rtcengine/api/users");
        assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("closed")));
        assert!(answer.body.contains("provisioning_password_file"));
    }
}

#[test]
fn asks_for_name_and_password_in_its_realm() {
    let gateway = start("");
    let to = gateway.address("http");
    for headers in [&[][..], &["Authorization: Bearer x"], &["Authorization: Basic ???"]] {
        let answer = request(to, "GET /rtcengine/api/users", headers, b"");
        assert_eq!(answer.status, 401);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains("realm=\"rtcengine\""), "{challenge}");
    }
    for (name, password) in [("portal", ""), ("portal", "wrong"), ("Portal", PASSWORD), ("", "")] {
        let answer = get(&gateway, &Login::new(name, password), "/rtcengine/api/users");
        assert_eq!((answer.status, &answer.json()["code"]), (401, &json!("unauthorized")));
    }
}

#[test]
fn guessing_is_stopped_even_when_it_gets_it_right() {
    let gateway = start("");
    for n in 0..10 {
        let answer = get(&gateway, &Login::new("portal", &n.to_string()), "/rtcengine/api/users");
        assert_eq!(answer.status, 401);
    }
    let answer = get(&gateway, &operator(), "/rtcengine/api/users");
    assert_eq!((answer.status, &answer.json()["code"]), (429, &json!("tooManyAttempts")));
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait));
    // The address is the same for everything that takes passwords.
    assert_eq!(get(&gateway, &user(&gateway, "alice"), "/api/rtcsessions").status, 429);
    let metrics = gateway.get("/metrics").1;
    assert!(metrics.contains("crosspoint_api_wrong_passwords_total 10\n"), "{metrics}");
    assert!(metrics.contains("crosspoint_api_limited_total 2\n"), "{metrics}");
}

#[test]
fn hostile_requests_get_their_answers() {
    let gateway = start("");
    let to = gateway.address("http");
    let who = operator();
    let headers = [who.0.as_str(), "Content-Type: application/json"];
    let post = |body: &[u8]| request(to, "POST /rtcengine/api/users", &headers, body);
    let deep = "[".repeat(60_000);
    let deep_object = "{\"a\":".repeat(10_000);
    for body in
        ["{", "nonsense", "\"text\"", "[]", "5", "null", "{\"a\":1}x", "\u{0}", &deep, &deep_object]
    {
        let answer = post(body.as_bytes());
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("badJson")));
    }
    assert_eq!(post(b"{\"email\":\"\xff\xfe\"}").status, 400);
    let huge = format!("{{\"email\":\"{}\"}}", "x".repeat(70_000));
    assert_eq!((post(huge.as_bytes()).status, post(b"{}").status), (413, 422));
    let long = [who.0.as_str(), "Content-Type: application/json", "Content-Length: 99999999999"];
    assert_eq!(request(to, "POST /rtcengine/api/users", &long, b"{}").status, 413);
    let text = [who.0.as_str(), "Content-Type: text/plain"];
    assert_eq!(request(to, "POST /rtcengine/api/users", &text, b"{}").status, 415);

    for path in ["x' OR '1'='1", "%27%20OR%201=1", "..%2f..%2fetc", "%00", "%ff", "-1", "a/../b"] {
        let path = path.replace(' ', "%20");
        let answer = get(&gateway, &who, &format!("/rtcengine/api/users/id/{path}"));
        assert_eq!(answer.status, 404, "{path}");
        let answer = delete(&gateway, &who, &format!("/rtcengine/api/sessions/id/{path}"));
        assert_eq!(answer.status, 404, "{path}");
    }
    let text = "'; DROP TABLE owners; --";
    let body = json!({ "email": format!("{text}@x.example"), "password": "12345678" });
    assert_eq!(call(&gateway, &who, "POST /rtcengine/api/users", &body).status, 422);
    let set = Set::make(&gateway, "ann@example.test");
    let body = json!({ "name": text, "domain": "x.example", "owner": set.owner });
    assert_eq!(make(&gateway, &who, "apps", &body)["name"], text);

    let flood: Vec<String> = (0..500).map(|n| format!("X-Header-{n}: y")).collect();
    let flood: Vec<&str> = flood.iter().map(String::as_str).collect();
    assert_eq!(request(to, "GET /rtcengine/api/users", &flood, b"").status, 431);
    let big = format!("X-Big: {}", "y".repeat(20_000));
    assert_eq!(request(to, "GET /rtcengine/api/users", &[&big], b"").status, 431);

    let put = call(&gateway, &who, "PUT /rtcengine/api/users", &json!({}));
    assert_eq!((put.status, put.header("allow")), (405, Some("GET, POST")));
    assert_eq!(get(&gateway, &who, "/rtcengine/api/nothing").json()["code"], "notFound");
    assert_eq!(get(&gateway, &who, "/rtcengine/api/users").status, 200, "it is still well");
    assert!(gateway.get("/metrics").1.contains("crosspoint_defects_total 0\n"));
}

#[test]
fn pages_of_other_origins_need_leave() {
    let gateway = start("");
    let to = gateway.address("http");
    let who = operator();
    let ask = |line: &str, origin: &str| request(to, line, &[&who.0, origin], b"");
    let refused = ask("GET /rtcengine/api/users", "Origin: https://evil.test");
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, None));
    assert_eq!(ask("OPTIONS /rtcengine/api/users", "Origin: https://evil.test").status, 403);
    assert_eq!(ask("GET /rtcengine/api/users", "Origin: http://localhost").status, 200);
    drop(gateway);

    let gateway = Gateway::start("").restart("allowed_origins = [\"https://app.test\"]");
    let to = gateway.address("http");
    let origin = "Origin: https://app.test";
    let preflight = [origin, "Access-Control-Request-Method: POST"];
    let answer = request(to, "OPTIONS /api/rtcsessions", &preflight, b"");
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.test"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST"));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("authorization"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    // Refusals can be read as well.
    let answer = request(to, "POST /api/rtcsessions", &[origin], b"");
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.test"));
    assert_eq!(answer.header("vary"), Some("Origin"));
}

/// Every path and method of the document is answered by the interface, with the error of one.
#[test]
fn everything_in_the_document_is_served() {
    let gateway = start("");
    let document = include_str!("../../../../docs/openapi/rtcengine.yaml");
    let (_, paths) = document.split_once("\npaths:\n").unwrap();
    let (paths, _) = paths.split_once("\ncomponents:\n").unwrap();
    let (mut path, mut count) = (String::new(), 0);
    for line in paths.lines() {
        let text = line.trim_start();
        match (line.len() - text.len(), text.trim_end_matches(':')) {
            (2, found) if text.starts_with('/') => path = found.replace("{id}", "unknown"),
            (4, method @ ("get" | "post" | "put" | "delete")) => {
                let line = format!("{} {path}", method.to_uppercase());
                let who = operator();
                let own = user(&gateway, "bob");
                let who = if path.starts_with("/api/") { &own } else { &who };
                let answer = call(&gateway, who, &line, &Value::Null);
                let expected: &[u16] = match (method, path.contains("unknown")) {
                    (_, true) => &[404],
                    ("get" | "put", false) => &[200],
                    _ => &[201, 422],
                };
                assert!(expected.contains(&answer.status), "{line} {answer:?}");
                answer.json();
                count += 1;
            }
            _ => {}
        }
    }
    assert_eq!(count, 32);
}
