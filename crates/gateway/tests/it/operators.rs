//! Operators at the console: signing in and out, what is theirs, and what is noted of it.

use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::http::{Answer, request};
use crate::rest::PASSWORD;

pub(crate) const TOKEN: &str = "a-token-that-nobody-guesses";
const SECRET: &str = "quite long enough";

/// A gateway with the token of `[admin]`.
pub(crate) fn start_with_token(more: &str) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), TOKEN).unwrap();
    std::fs::write(folder.path().join("portal"), PASSWORD).unwrap();
    Gateway::start_with(folder, &format!("[admin]\ntoken_file = \"token\"\n{more}"))
}

/// Somebody signed in.
pub(crate) struct Console {
    cookie: String,
    csrf: String,
}

impl Console {
    /// As an operator whose password is what all of them have here.
    pub(crate) fn sign_in(gateway: &Gateway, name: &str) -> Self {
        let answer = sign_in(gateway, name, SECRET);
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie = answer.header("set-cookie").unwrap().to_owned();
        for word in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/", "__Host-crosspoint="] {
            assert!(cookie.contains(word), "{cookie}");
        }
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Self { cookie, csrf: answer.json()["csrf"].as_str().unwrap().to_owned() }
    }

    pub(crate) fn cookie(&self) -> String {
        format!("Cookie: {}", self.cookie)
    }

    pub(crate) fn csrf(&self) -> String {
        format!("X-Crosspoint-Csrf: {}", self.csrf)
    }

    fn ask(&self, gateway: &Gateway, line: &str, body: &Value) -> Answer {
        ask(gateway, &[&self.cookie(), &self.csrf()], line, body)
    }

    fn get(&self, gateway: &Gateway, path: &str) -> Answer {
        self.ask(gateway, &format!("GET {path}"), &Value::Null)
    }
}

fn sign_in(gateway: &Gateway, name: &str, password: &str) -> Answer {
    let body = json!({ "name": name, "password": password });
    ask(gateway, &[], "POST /api/v1/session", &body)
}

fn ask(gateway: &Gateway, headers: &[&str], line: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [&["Content-Type: application/json"], headers].concat();
    request(gateway.address("http"), line, &headers, body.as_bytes())
}

fn with_token(gateway: &Gateway, line: &str, body: &Value) -> Answer {
    let token = format!("Authorization: Bearer {}", TOKEN);
    ask(gateway, &[&token], line, body)
}

pub(crate) fn add_operator(gateway: &Gateway, name: &str, role: &str) {
    let body = json!({ "name": name, "role": role, "password": SECRET });
    let answer = with_token(gateway, "POST /api/v1/operators", &body);
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[test]
fn operators_sign_in_and_out_and_are_guarded() {
    let gateway = start_with_token("");
    add_operator(&gateway, "olga", "operator");
    let olga = Console::sign_in(&gateway, "olga");
    let session = olga.get(&gateway, "/api/v1/session").json();
    assert_eq!((&session["name"], &session["role"]), (&json!("olga"), &json!("operator")));
    let may: Vec<&str> =
        session["may"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
    assert!(may.contains(&"control") && !may.contains(&"configure"), "{may:?}");
    assert_eq!(olga.get(&gateway, "/api/v1/calls").status, 200);

    // Another one is not disturbed by one that signs out, and what is out stays out.
    let other = Console::sign_in(&gateway, "olga");
    assert_eq!(olga.ask(&gateway, "DELETE /api/v1/session", &Value::Null).status, 200);
    assert_eq!(olga.get(&gateway, "/api/v1/calls").status, 401);
    assert_eq!(other.get(&gateway, "/api/v1/calls").status, 200);

    // Another password ends them all, but for the one where it was given.
    let wrong = json!({ "old": "not this one", "password": "another long one" });
    assert_eq!(other.ask(&gateway, "PUT /api/v1/session/password", &wrong).status, 422);
    let third = Console::sign_in(&gateway, "olga");
    let right = json!({ "old": SECRET, "password": "another long one" });
    assert_eq!(other.ask(&gateway, "PUT /api/v1/session/password", &right).status, 200);
    assert_eq!(other.get(&gateway, "/api/v1/calls").status, 200);
    assert_eq!(third.get(&gateway, "/api/v1/calls").status, 401);
    assert_eq!(sign_in(&gateway, "olga", SECRET).status, 401);

    // By another role it may do something else at once, and removed it is out.
    let role = json!({ "role": "viewer" });
    assert_eq!(with_token(&gateway, "PUT /api/v1/operators/olga", &role).status, 200);
    let ban = json!({ "address": "192.0.2.9" });
    assert_eq!(other.ask(&gateway, "POST /api/v1/bans", &ban).status, 403);
    assert_eq!(gateway.command(&["operator", "remove", "olga"])["ok"], true);
    assert_eq!(other.get(&gateway, "/api/v1/calls").status, 401);

    // Nobody learns who there is, and guessing ends.
    add_operator(&gateway, "ann", "admin");
    for n in 0..20 {
        let (one, none) = (sign_in(&gateway, "ann", "guessed"), sign_in(&gateway, "nobody", "x"));
        if (one.status, none.status) == (429, 429) {
            assert_eq!(sign_in(&gateway, "ann", SECRET).status, 429, "even if it is right");
            return;
        }
        assert!(n < 10, "{one:?}");
        if (one.status, none.status) == (401, 401) {
            assert_eq!(one.body, none.body);
        }
    }
    panic!("guessing does not end");
}

#[test]
fn a_console_changes_nothing_without_its_header() {
    let gateway = start_with_token("");
    add_operator(&gateway, "ann", "admin");
    let ann = Console::sign_in(&gateway, "ann");
    let ban = json!({ "address": "192.0.2.9" });
    let cookie = ann.cookie();
    let tries: [&[&str]; 3] = [
        &[&cookie],
        &[&cookie, "X-Crosspoint-Csrf: something"],
        // A page of another site, even with the header.
        &[&cookie, &ann.csrf(), "Origin: https://evil.test"],
    ];
    for headers in tries {
        assert_eq!(ask(&gateway, headers, "POST /api/v1/bans", &ban).status, 403, "{headers:?}");
    }
    assert_eq!(ann.get(&gateway, "/api/v1/bans").json()["total"], 0);
    let own = [cookie.as_str(), &ann.csrf(), "Origin: http://localhost"];
    assert_eq!(ask(&gateway, &own, "POST /api/v1/bans", &ban).status, 200);
    // The last admin can neither go nor be less.
    assert_eq!(ann.ask(&gateway, "DELETE /api/v1/operators/ann", &Value::Null).status, 409);
    let role = json!({ "role": "viewer" });
    assert_eq!(ann.ask(&gateway, "PUT /api/v1/operators/ann", &role).status, 409);
    for (body, member) in [
        (json!({ "name": "a b", "role": "viewer", "password": SECRET }), "name"),
        (json!({ "name": "a", "role": "root", "password": SECRET }), "role"),
        (json!({ "name": "a", "role": "viewer", "password": "short" }), "password"),
        (json!({ "name": "a", "role": "viewer", "password": "x".repeat(257) }), "password"),
    ] {
        let answer = ann.ask(&gateway, "POST /api/v1/operators", &body);
        assert_eq!(answer.status, 422, "{body}");
        assert!(answer.json()["message"].as_str().unwrap().starts_with(member), "{answer:?}");
    }
}

#[test]
fn what_is_changed_is_noted_with_who_did_it() {
    let gateway = start_with_token("");
    add_operator(&gateway, "vera", "viewer");
    add_operator(&gateway, "ann", "admin");
    let (vera, ann) = (Console::sign_in(&gateway, "vera"), Console::sign_in(&gateway, "ann"));
    let user = json!({ "name": "carol", "aliases": ["1003"], "password": "a password" });
    assert_eq!(ann.ask(&gateway, "POST /api/v1/users", &user).status, 201);
    assert_eq!(ann.ask(&gateway, "POST /api/v1/users", &user).status, 409);
    let ban = json!({ "address": "192.0.2.9", "seconds": 60 });
    assert_eq!(vera.ask(&gateway, "POST /api/v1/bans", &ban).status, 403);
    assert_eq!(with_token(&gateway, "POST /api/v1/bans", &ban).status, 200);
    gateway.command(&["ban", "add", "192.0.2.10", "--for", "1h"]);
    gateway.command(&["ban", "lift", "192.0.2.10"]);
    gateway.command(&["user", "remove", "carol"]);

    assert_eq!(vera.get(&gateway, "/api/v1/audit").status, 403);
    let audit = ann.get(&gateway, "/api/v1/audit?limit=50").json();
    let line = |entry: &Value| {
        let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
        let names = ["who", "role", "by", "from", "action", "target", "outcome"];
        names.map(text).join(" ")
    };
    let lines: Vec<String> = audit["items"].as_array().unwrap().iter().map(line).collect();
    let commands = |line: &&String| line.contains("command line");
    let by_command: Vec<&str> = lines
        .iter()
        .filter(commands)
        .map(|line| line.split_once("command line ").unwrap().1)
        .collect();
    assert_eq!(
        by_command,
        ["- user.remove carol done", "- ban.lift 192.0.2.10 done", "- ban.add 192.0.2.10 done"]
    );
    let rest: Vec<&str> = lines.iter().filter(|line| !commands(line)).map(String::as_str).collect();
    assert_eq!(
        rest,
        [
            "token admin api 127.0.0.1 ban.add 192.0.2.9 done",
            "vera viewer console 127.0.0.1 ban.add  refused: 403 Forbidden",
            "ann admin console 127.0.0.1 user.add carol refused: 409 Conflict",
            "ann admin console 127.0.0.1 user.add carol done",
            "ann admin console 127.0.0.1 session.begin ann done",
            "vera viewer console 127.0.0.1 session.begin vera done",
            "token admin api 127.0.0.1 operator.add ann done",
            "token admin api 127.0.0.1 operator.add vera done",
        ]
    );
    let page = ann.get(&gateway, "/api/v1/audit?action=ban&limit=1").json();
    assert_eq!(page["items"][0]["action"], "ban.lift");
    let before = page["items"][0]["number"].as_i64().unwrap();
    let next = format!("/api/v1/audit?action=ban&who=token&before={before}");
    let next = ann.get(&gateway, &next).json();
    assert_eq!(next["items"][0]["detail"], json!({ "address": "192.0.2.9", "seconds": 60 }));
    assert!(!audit.to_string().contains("password"), "{audit}");
}

#[test]
fn users_and_the_configuration_are_seen_and_changed() {
    let gateway = start_with_token("[general]\nrealm = \"r\"\n");
    let admin = |line: &str, body: &Value| with_token(&gateway, line, body);
    let carol = admin("POST /api/v1/users", &json!({ "name": "carol", "aliases": ["1003"] }));
    assert_eq!(carol.status, 201, "{carol:?}");
    assert!(carol.json()["password"].as_str().unwrap().len() >= 16, "one is drawn");
    let changed = admin("PUT /api/v1/users/1003", &json!({ "aliases": ["1004", "1005"] }));
    assert_eq!(changed.json()["aliases"], json!(["1004", "1005"]));
    assert_eq!(changed.json()["password"], Value::Null);
    let renewed = admin("PUT /api/v1/users/carol", &json!({ "password": null })).json();
    assert!(renewed["password"].is_string());
    assert_eq!(admin("GET /api/v1/users/1003", &Value::Null).status, 404);
    let taken = json!({ "aliases": ["alice"] });
    assert_eq!(admin("PUT /api/v1/users/carol", &taken).status, 409);
    assert_eq!(admin("DELETE /api/v1/users/1004", &Value::Null).status, 200);
    assert_eq!(admin("GET /api/v1/users", &Value::Null).json()["total"], 2);
    for wrong in [json!({}), json!({ "name": "a b" }), json!({ "name": "x", "aliases": "1" })] {
        assert_eq!(admin("POST /api/v1/users", &wrong).status, 422, "{wrong}");
    }

    let shown = admin("GET /api/v1/configuration", &Value::Null).json();
    assert!(shown["text"].as_str().unwrap().contains("realm = \"r\""), "{shown}");
    let check =
        |text: &str| admin("POST /api/v1/configuration/check", &json!({ "text": text })).json();
    assert_eq!(check(shown["text"].as_str().unwrap())["ok"], true);
    let wrong = check("[limits]\ncalls = 0");
    assert_eq!(
        (&wrong["errors"][0]["line"], &wrong["errors"][0]["key"]),
        (&json!(2), &json!("limits.calls"))
    );
    let now = shown["text"].as_str().unwrap();
    let put = |text: &str| admin("PUT /api/v1/configuration", &json!({ "text": text }));
    let file = gateway.folder().join("crosspoint.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let refused = put(&now.replace("[admin]", "[limits]\ncalls = 0\n[admin]"));
    assert_eq!(
        (refused.status, &refused.json()["errors"][0]["key"]),
        (422, &json!("limits.calls"))
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before, "the old one stays");
    let done = put(&now.replace("[admin]", "[limits]\ncalls = 7\n[admin]"));
    assert_eq!(done.status, 200, "{done:?}");
    assert!(std::fs::read_to_string(&file).unwrap().contains("calls = 7"));
    let overview = admin("GET /api/v1/overview", &Value::Null).json();
    assert_eq!((&overview["calls"], &overview["is_ready"]), (&json!(0), &json!(true)));
    assert_eq!(admin("GET /api/v1/bindings", &Value::Null).json()["total"], 0);
    let (status, document) = gateway.get("/api/v1/openapi.yaml");
    assert!(status == 200 && document.starts_with("openapi: 3.1"));
}
