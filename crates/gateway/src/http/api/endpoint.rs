//! Everything there is to request, in one table.

use axum::http::Method;
use crosspoint_state::Kind;

/// One method on one path.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) method: Method,
    pub(super) path: &'static str,
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
}

/// What a user of ours does with its own sessions.
#[derive(Debug, Clone, Copy)]
pub(super) enum Own {
    Create,
    Show,
    List,
    Remove,
}

impl Endpoint {
    const fn new(method: Method, path: &'static str, action: Action) -> Self {
        Self { method, path, action }
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
    const fn get(path: &'static str, action: Action) -> Endpoint {
        Endpoint::new(Method::GET, path, action)
    }
    const fn post(path: &'static str, action: Action) -> Endpoint {
        Endpoint::new(Method::POST, path, action)
    }
    const fn delete(path: &'static str, action: Action) -> Endpoint {
        Endpoint::new(Method::DELETE, path, action)
    }
    &[
        get("/api/rtcsessions", Action::Own(Own::List)),
        post("/api/rtcsessions", Action::Own(Own::Create)),
        get("/api/rtcsessions/{id}", Action::Own(Own::Show)),
        delete("/api/rtcsessions/{id}", Action::Own(Own::Remove)),
        get("/rtcengine/api/users", List(Owner, None)),
        post("/rtcengine/api/users", Create(Owner)),
        get("/rtcengine/api/users/id/{id}", Show(Owner)),
        delete("/rtcengine/api/users/id/{id}", Remove(Owner)),
        get("/rtcengine/api/users/id/{id}/apps", List(App, Some(Owner))),
        get("/rtcengine/api/users/id/{id}/networks", List(Network, Some(Owner))),
        get("/rtcengine/api/users/id/{id}/sessions", List(Session, Some(Owner))),
        get("/rtcengine/api/apps", List(App, None)),
        post("/rtcengine/api/apps", Create(App)),
        get("/rtcengine/api/apps/id/{id}", Show(App)),
        delete("/rtcengine/api/apps/id/{id}", Remove(App)),
        get("/rtcengine/api/apps/id/{id}/sessions", List(Session, Some(App))),
        get("/rtcengine/api/networks", List(Network, None)),
        post("/rtcengine/api/networks", Create(Network)),
        get("/rtcengine/api/networks/id/{id}", Show(Network)),
        delete("/rtcengine/api/networks/id/{id}", Remove(Network)),
        get("/rtcengine/api/sessions", List(Session, None)),
        post("/rtcengine/api/sessions", Create(Session)),
        get("/rtcengine/api/sessions/id/{id}", Show(Session)),
        delete("/rtcengine/api/sessions/id/{id}", Remove(Session)),
        get("/rtcengine/api/sessions/id/{id}/accounts", List(Account, Some(Session))),
        get("/rtcengine/api/accounts", List(Account, None)),
        post("/rtcengine/api/accounts", Create(Account)),
        get("/rtcengine/api/accounts/id/{id}", Show(Account)),
        delete("/rtcengine/api/accounts/id/{id}", Remove(Account)),
    ]
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn finds_the_id_and_nothing_that_is_none() {
        let check = |pattern: &'static str, path: &str, expected: Option<&str>| {
            let endpoint = Endpoint::new(Method::GET, pattern, Action::Show(Kind::App));
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
        let document = include_str!("../../../../../docs/openapi/rtcengine.yaml");
        let (_, paths) = document.split_once("\npaths:\n").unwrap();
        let (paths, _) = paths.split_once("\ncomponents:\n").unwrap();
        let mut described = BTreeSet::new();
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
        let served: BTreeSet<(String, &str)> =
            ENDPOINTS.iter().map(|e| (e.method.to_string(), e.path)).collect();
        assert_eq!(described, served);
        assert_eq!(served.len(), ENDPOINTS.len(), "each is there once");
    }
}
