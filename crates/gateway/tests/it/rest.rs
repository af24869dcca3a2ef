//! What the tests of the JSON interfaces share: who asks, and an operator's set of objects.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::http::{Answer, request};

/// Somebody with a name and a password.
#[derive(Clone)]
pub(crate) struct Login(pub(crate) String);

impl Login {
    pub(crate) fn new(name: &str, password: &str) -> Self {
        Self(format!("Authorization: Basic {}", STANDARD.encode(format!("{name}:{password}"))))
    }
}

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A gateway whose provisioning is open.
pub(crate) fn start(more: &str) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("provisioning.password"), PASSWORD).unwrap();
    let config = format!(
        "[rtcengine]\nprovisioning_user = \"portal\"\n\
         provisioning_password_file = \"provisioning.password\"\n{more}"
    );
    Gateway::start_with(folder, &config)
}

pub(crate) fn operator() -> Login {
    Login::new("portal", PASSWORD)
}

/// One of the users of the first start.
pub(crate) fn user(gateway: &Gateway, name: &str) -> Login {
    let users = gateway.ready()["users"].as_array().unwrap();
    let user = users.iter().find(|u| u["name"] == name).unwrap();
    Login::new(name, user["password"].as_str().unwrap())
}

pub(crate) fn call(gateway: &Gateway, who: &Login, line: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [who.0.as_str(), "Content-Type: application/json"];
    request(gateway.address("http"), line, &headers, body.as_bytes())
}

pub(crate) fn get(gateway: &Gateway, who: &Login, path: &str) -> Answer {
    call(gateway, who, &format!("GET {path}"), &Value::Null)
}

pub(crate) fn delete(gateway: &Gateway, who: &Login, path: &str) -> Answer {
    call(gateway, who, &format!("DELETE {path}"), &Value::Null)
}

/// Makes an object, which must work; gives all of it.
pub(crate) fn make(gateway: &Gateway, who: &Login, collection: &str, body: &Value) -> Value {
    let path = format!("POST /rtcengine/api/{collection}");
    let answer = call(gateway, who, &path, body);
    assert_eq!(answer.status, 201, "{answer:?}");
    let made = answer.json();
    assert_eq!(answer.header("location"), made["href"].as_str());
    made
}

/// Ids of one of everything.
pub(crate) struct Set {
    pub(crate) login: Login,
    pub(crate) owner: String,
    pub(crate) app: String,
    pub(crate) network: String,
    pub(crate) session: String,
    pub(crate) account: String,
    pub(crate) token: String,
}

impl Set {
    /// What the owner of this e-mail address has.
    pub(crate) fn make(gateway: &Gateway, email: &str) -> Self {
        let make = |collection: &str, body: Value| make(gateway, &operator(), collection, &body);
        let id = |made: &Value| made["id"].as_str().unwrap().to_owned();
        let password = "open sesame";
        let owner = id(&make("users", json!({ "email": email, "password": password })));
        let app = json!({ "name": "shop", "domain": "shop.example", "owner": owner });
        let app = id(&make("apps", app));
        let network = json!({
            "tag": "friends", "connector": "webrtc", "config": "{\"xms\": false}", "owner": owner,
        });
        let network = id(&make("networks", network));
        let made = make("sessions", json!({ "app": app, "owner": owner }));
        let (session, token) = (id(&made), made["token"].as_str().unwrap().to_owned());
        let account = id(&make(
            "accounts",
            json!({
                "session": session, "network": "friends", "identifier": "ann",
                "accessToken": "s3cret", "owner": owner,
            }),
        ));
        let login = Login::new(email, password);
        Self { login, owner, app, network, session, account, token }
    }

    /// The paths of what it has.
    pub(crate) fn paths(&self) -> [String; 5] {
        let path = |kind: &str, id: &str| format!("/rtcengine/api/{kind}/id/{id}");
        [
            path("users", &self.owner),
            path("apps", &self.app),
            path("networks", &self.network),
            path("sessions", &self.session),
            path("accounts", &self.account),
        ]
    }

    pub(crate) fn lists(&self) -> [String; 5] {
        let [owner, app, _, session, _] = self.paths();
        [
            format!("{owner}/apps"),
            format!("{owner}/networks"),
            format!("{owner}/sessions"),
            format!("{app}/sessions"),
            format!("{session}/accounts"),
        ]
    }
}
