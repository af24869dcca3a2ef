//! Provisioned objects as JSON. Passwords and access tokens are never shown, and the token of a
//! session only for some minutes after it was made.

use crosspoint_base::Secret;
use crosspoint_state::{Kind, Object, Source};
use serde_json::{Value, json};

pub(super) fn href(object: &Object) -> String {
    path(object.kind(), object.id())
}

pub(super) fn reference(object: &Object) -> Value {
    json!({ "href": href(object) })
}

pub(super) fn object(object: &Object, token: Option<Secret<String>>) -> Value {
    let href = href(object);
    let link = |kind, id: &str| json!({ "href": path(kind, id) });
    let within = |name: &str| json!({ "href": format!("{href}/{name}") });
    let mut value = match object {
        Object::Owner(owner) => json!({
            "email": owner.email,
            "apps": within("apps"), "networks": within("networks"), "sessions": within("sessions"),
        }),
        Object::App(app) => json!({
            "name": app.name, "domain": app.domain, "owner": app.owner,
            "sessions": within("sessions"),
        }),
        Object::Network(network) => json!({
            "tag": network.tag, "connector": network.connector, "config": network.config,
            "owner": network.owner,
        }),
        Object::Session(session) => {
            let mut value = json!({ "expires": session.expires, "accounts": within("accounts") });
            match &session.source {
                Source::App { app, owner } => {
                    value["app"] = link(Kind::App, app);
                    value["owner"] = json!(owner);
                }
                Source::User(user) => value["subscriber"] = json!(user),
            }
            if let Some(token) = token {
                value["token"] = json!(token.expose());
            }
            value
        }
        Object::Account(account) => json!({
            "session": link(Kind::Session, &account.session), "network": account.network,
            "identifier": account.identifier, "config": account.config, "owner": account.owner,
        }),
    };
    value["id"] = json!(object.id());
    value["href"] = json!(href);
    value["created"] = json!(object.created());
    value
}

fn path(kind: Kind, id: &str) -> String {
    let collection = match kind {
        Kind::Owner => "users",
        Kind::App => "apps",
        Kind::Network => "networks",
        Kind::Session => "sessions",
        Kind::Account => "accounts",
    };
    format!("/rtcengine/api/{collection}/id/{id}")
}
