//! Everything there is to request, in one table.

use axum::http::Method;
use crosspoint_state::Kind;

use super::admin::Admin;
use crate::permissions::Action as Needs;

/// One method on one path.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// What of the table of permissions it is.
    pub(super) needs: Needs,
    pub(super) action: Action,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Create(Kind),
    Show(Kind),
    /// All of a kind, or those within an object of the other kind.
    List(Kind, Option<Kind>),
    Remove(Kind),
    /// For users of ours.
    Own(Own),
    /// For operators.
    Admin(Admin),
}

/// What a user of ours does with its own sessions.
#[derive(Debug, Clone, Copy)]
pub(super) enum Own {
    Create,
    Show,
    List,
    Remove,
    /// What its browser relays over.
    IceServers,
    /// Where its calls go.
    Forwarding,
    Forward,
}

impl Endpoint {
    const fn new(method: Method, path: &'static str, needs: Needs, action: Action) -> Self {
        Self { method, path, needs, action }
    }

    /// What the audit calls it; nothing when nobody asks later who did it.
    pub(super) fn audited(&self) -> Option<&'static str> {
        match self.action {
            Action::Create(kind) => match kind {
                Kind::Owner => Some("owner.add"),
                Kind::App => Some("app.add"),
                Kind::Network => Some("network.add"),
                // These come and go with calls.
                Kind::Session | Kind::Account => None,
            },
            Action::Remove(kind) => match kind {
                Kind::Owner => Some("owner.remove"),
                Kind::App => Some("app.remove"),
                Kind::Network => Some("network.remove"),
                Kind::Session | Kind::Account => None,
            },
            Action::Show(_) | Action::List(..) => None,
            Action::Own(Own::Forward) => Some("user.forward"),
            Action::Own(
                Own::Create
                | Own::Show
                | Own::List
                | Own::Remove
                | Own::IceServers
                | Own::Forwarding,
            ) => None,
            Action::Admin(admin) => admin.audited(),
        }
    }

    /// What a path has where ours has names in braces.
    pub(super) fn target_in(&self, path: &str) -> String {
        let parts = self.path.split('/').zip(path.split('/'));
        let named = parts.filter(|(pattern, _)| pattern.starts_with('{'));
        let found: Vec<String> = named.map(|(_, part)| super::admin::decoded(part)).collect();
        found.join("/").chars().take(200).collect()
    }

    /// The id that a path has where ours has `{id}`. What cannot be an id is none.
    pub(super) fn id_in<'p>(&self, path: &'p str) -> Option<&'p str> {
        let at = self.path.split('/').position(|part| part == "{id}")?;
        let id = path.split('/').nth(at)?;
        let is_id = (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
        is_id.then_some(id)
    }
}

/// Those of one path stand together.
pub(super) const ENDPOINTS: &[Endpoint] = {
    use Action::{Create, List, Remove, Show};
    use Kind::{Account, App, Network, Owner, Session};
    const fn get(path: &'static str, needs: Needs, action: Action) -> Endpoint {
        Endpoint::new(Method::GET, path, needs, action)
    }
    const fn post(path: &'static str, needs: Needs, action: Action) -> Endpoint {
        Endpoint::new(Method::POST, path, needs, action)
    }
    const fn put(path: &'static str, needs: Needs, action: Action) -> Endpoint {
        Endpoint::new(Method::PUT, path, needs, action)
    }
    const fn delete(path: &'static str, needs: Needs, action: Action) -> Endpoint {
        Endpoint::new(Method::DELETE, path, needs, action)
    }
    &[
        get("/api/forwarding", Needs::OwnThings, Action::Own(Own::Forwarding)),
        put("/api/forwarding", Needs::OwnThings, Action::Own(Own::Forward)),
        get("/api/ice-servers", Needs::OwnThings, Action::Own(Own::IceServers)),
        get("/api/rtcsessions", Needs::OwnThings, Action::Own(Own::List)),
        post("/api/rtcsessions", Needs::OwnThings, Action::Own(Own::Create)),
        get("/api/rtcsessions/{id}", Needs::OwnThings, Action::Own(Own::Show)),
        delete("/api/rtcsessions/{id}", Needs::OwnThings, Action::Own(Own::Remove)),
        get("/api/v1/audit", Needs::Audit, Action::Admin(Admin::Audit)),
        get("/api/v1/bans", Needs::See, Action::Admin(Admin::Bans)),
        post("/api/v1/bans", Needs::Ban, Action::Admin(Admin::Ban)),
        delete("/api/v1/bans/{address}", Needs::Ban, Action::Admin(Admin::LiftBan)),
        get("/api/v1/bindings", Needs::See, Action::Admin(Admin::Bindings)),
        get("/api/v1/calls", Needs::See, Action::Admin(Admin::Calls)),
        get("/api/v1/calls/{gcid}", Needs::See, Action::Admin(Admin::Call)),
        delete("/api/v1/calls/{gcid}", Needs::Control, Action::Admin(Admin::EndCall)),
        get("/api/v1/calls/{gcid}/ladder", Needs::See, Action::Admin(Admin::Ladder)),
        post("/api/v1/calls/{gcid}/capture", Needs::Record, Action::Admin(Admin::Capture)),
        post("/api/v1/calls/{gcid}/recording", Needs::Record, Action::Admin(Admin::Record)),
        post("/api/v1/calls/{gcid}/dtmf", Needs::Control, Action::Admin(Admin::Dtmf)),
        post("/api/v1/calls/{gcid}/play", Needs::Control, Action::Admin(Admin::Play)),
        delete("/api/v1/calls/{gcid}/play", Needs::Control, Action::Admin(Admin::Quiet)),
        post("/api/v1/calls/{gcid}/stream", Needs::Record, Action::Admin(Admin::Stream)),
        delete("/api/v1/calls/{gcid}/stream", Needs::Record, Action::Admin(Admin::StopStream)),
        get("/api/v1/configuration", Needs::Configure, Action::Admin(Admin::Configuration)),
        put("/api/v1/configuration", Needs::Configure, Action::Admin(Admin::Configure)),
        post(
            "/api/v1/configuration/check",
            Needs::Configure,
            Action::Admin(Admin::CheckConfiguration),
        ),
        get("/api/v1/drain", Needs::See, Action::Admin(Admin::Draining)),
        post("/api/v1/drain", Needs::Drain, Action::Admin(Admin::Drain)),
        delete("/api/v1/drain", Needs::Drain, Action::Admin(Admin::Undrain)),
        get("/api/v1/events", Needs::See, Action::Admin(Admin::Events)),
        get("/api/v1/operators", Needs::Configure, Action::Admin(Admin::Operators)),
        post("/api/v1/operators", Needs::Configure, Action::Admin(Admin::AddOperator)),
        put("/api/v1/operators/{name}", Needs::Configure, Action::Admin(Admin::ChangeOperator)),
        delete("/api/v1/operators/{name}", Needs::Configure, Action::Admin(Admin::RemoveOperator)),
        get("/api/v1/overview", Needs::See, Action::Admin(Admin::Overview)),
        get("/api/v1/registrations", Needs::See, Action::Admin(Admin::Registrations)),
        post("/api/v1/reload", Needs::Configure, Action::Admin(Admin::Reload)),
        get("/api/v1/trunks", Needs::See, Action::Admin(Admin::Trunks)),
        get("/api/v1/records", Needs::See, Action::Admin(Admin::Records)),
        get("/api/v1/recordings", Needs::See, Action::Admin(Admin::Recordings)),
        get("/api/v1/recordings/{day}/{name}", Needs::Listen, Action::Admin(Admin::Recording)),
        delete(
            "/api/v1/recordings/{day}/{name}",
            Needs::Erase,
            Action::Admin(Admin::RemoveRecording),
        ),
        get("/api/v1/route", Needs::See, Action::Admin(Admin::Route)),
        get("/api/v1/session", Needs::Account, Action::Admin(Admin::Session)),
        post("/api/v1/session", Needs::Open, Action::Admin(Admin::SignIn)),
        delete("/api/v1/session", Needs::Account, Action::Admin(Admin::SignOut)),
        get("/api/v1/session/oidc", Needs::Open, Action::Admin(Admin::Vouch)),
        get("/api/v1/session/oidc/callback", Needs::Open, Action::Admin(Admin::Vouched)),
        get("/api/v1/session/ways", Needs::Open, Action::Admin(Admin::Ways)),
        put("/api/v1/session/password", Needs::Account, Action::Admin(Admin::OwnPassword)),
        get("/api/v1/users", Needs::See, Action::Admin(Admin::Users)),
        post("/api/v1/users", Needs::Users, Action::Admin(Admin::AddUser)),
        get("/api/v1/users/{name}", Needs::See, Action::Admin(Admin::User)),
        put("/api/v1/users/{name}", Needs::Users, Action::Admin(Admin::ChangeUser)),
        delete("/api/v1/users/{name}", Needs::Users, Action::Admin(Admin::RemoveUser)),
        get("/api/v1/users/{name}/forwarding", Needs::See, Action::Admin(Admin::Forwarding)),
        put("/api/v1/users/{name}/forwarding", Needs::Users, Action::Admin(Admin::Forward)),
        get("/rtcengine/api/users", Needs::Apps, List(Owner, None)),
        post("/rtcengine/api/users", Needs::Provision, Create(Owner)),
        get("/rtcengine/api/users/id/{id}", Needs::Apps, Show(Owner)),
        delete("/rtcengine/api/users/id/{id}", Needs::Provision, Remove(Owner)),
        get("/rtcengine/api/users/id/{id}/apps", Needs::Apps, List(App, Some(Owner))),
        get("/rtcengine/api/users/id/{id}/networks", Needs::Apps, List(Network, Some(Owner))),
        get("/rtcengine/api/users/id/{id}/sessions", Needs::Apps, List(Session, Some(Owner))),
        get("/rtcengine/api/apps", Needs::Apps, List(App, None)),
        post("/rtcengine/api/apps", Needs::Provision, Create(App)),
        get("/rtcengine/api/apps/id/{id}", Needs::Apps, Show(App)),
        delete("/rtcengine/api/apps/id/{id}", Needs::Provision, Remove(App)),
        get("/rtcengine/api/apps/id/{id}/sessions", Needs::Apps, List(Session, Some(App))),
        get("/rtcengine/api/networks", Needs::Apps, List(Network, None)),
        post("/rtcengine/api/networks", Needs::Provision, Create(Network)),
        get("/rtcengine/api/networks/id/{id}", Needs::Apps, Show(Network)),
        delete("/rtcengine/api/networks/id/{id}", Needs::Provision, Remove(Network)),
        get("/rtcengine/api/sessions", Needs::Apps, List(Session, None)),
        post("/rtcengine/api/sessions", Needs::Sessions, Create(Session)),
        get("/rtcengine/api/sessions/id/{id}", Needs::Apps, Show(Session)),
        delete("/rtcengine/api/sessions/id/{id}", Needs::Sessions, Remove(Session)),
        get("/rtcengine/api/sessions/id/{id}/accounts", Needs::Apps, List(Account, Some(Session))),
        get("/rtcengine/api/accounts", Needs::Apps, List(Account, None)),
        post("/rtcengine/api/accounts", Needs::Provision, Create(Account)),
        get("/rtcengine/api/accounts/id/{id}", Needs::Apps, Show(Account)),
        delete("/rtcengine/api/accounts/id/{id}", Needs::Provision, Remove(Account)),
    ]
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn finds_the_id_and_nothing_that_is_none() {
        let check = |pattern: &'static str, path: &str, expected: Option<&str>| {
            let endpoint =
                Endpoint::new(Method::GET, pattern, Needs::Apps, Action::Show(Kind::App));
            assert_eq!(endpoint.id_in(path), expected, "{path}");
        };
        let apps = "/rtcengine/api/apps/id/{id}";
        check(apps, "/rtcengine/api/apps/id/Ab1", Some("Ab1"));
        check(apps, "/rtcengine/api/apps/id/Ab1/", Some("Ab1"));
        check(apps, "/rtcengine/api/apps/id/", None);
        check(apps, "/rtcengine/api/apps/id/%41", None);
        check(apps, "/rtcengine/api/apps/id/'--", None);
        check(apps, &format!("/rtcengine/api/apps/id/{}", "a".repeat(65)), None);
        check("/rtcengine/api/users/id/{id}/apps", "/rtcengine/api/users/id/x/apps", Some("x"));
        check("/rtcengine/api/users", "/rtcengine/api/users", None);
    }

    /// The document names each path at two blanks and each of its methods at four.
    #[test]
    fn the_document_describes_exactly_what_is_served() {
        let documents = [
            include_str!("../../../../../docs/openapi/rtcengine.yaml"),
            include_str!("../../../../../docs/openapi/admin.yaml"),
        ];
        let mut described = BTreeSet::new();
        for document in documents {
            describe(document, &mut described);
        }
        let served: BTreeSet<(String, &str)> =
            ENDPOINTS.iter().map(|e| (e.method.to_string(), e.path)).collect();
        assert_eq!(described, served);
        assert_eq!(served.len(), ENDPOINTS.len(), "each is there once");
    }

    /// Each operation says what of the table of permissions it is.
    #[test]
    fn the_documents_say_what_each_needs() {
        let documents = [
            include_str!("../../../../../docs/openapi/rtcengine.yaml"),
            include_str!("../../../../../docs/openapi/admin.yaml"),
        ];
        let mut described = BTreeSet::new();
        for document in documents {
            let (mut path, mut method) = ("", String::new());
            for line in document.lines() {
                let text = line.trim_start();
                match (line.len() - text.len(), text.trim_end_matches(':')) {
                    (2, found) if text.starts_with('/') => path = found,
                    (4, found) => method = found.to_uppercase(),
                    (6, _) => {
                        if let Some(needs) = text.strip_prefix("x-permission: ") {
                            described.insert((method.clone(), path, needs));
                        }
                    }
                    _ => {}
                }
            }
        }
        let served = ENDPOINTS.iter().map(|e| (e.method.to_string(), e.path, e.needs.as_str()));
        assert_eq!(described, served.collect());
    }

    fn describe<'d>(document: &'d str, described: &mut BTreeSet<(String, &'d str)>) {
        let (_, paths) = document.split_once("\npaths:\n").unwrap();
        let (paths, _) = paths.split_once("\ncomponents:\n").unwrap();
        let mut path = "";
        for line in paths.lines() {
            let text = line.trim_start();
            match (line.len() - text.len(), text.trim_end_matches(':')) {
                (2, found) if text.starts_with('/') => path = found,
                (4, method @ ("get" | "post" | "delete" | "put" | "patch")) => {
                    described.insert((method.to_uppercase(), path));
                }
                _ => {}
            }
        }
    }
}
