//! What an ID token says: whether it is for this sign-in (OpenID Connect Core 1.0 §3.1.3.7), who
//! it is about, and which role that gives.

use crosspoint_base::Secret;
use serde_json::{Map, Value};

use super::{Identity, NotVouched};
use crate::config::Oidc as Config;
use crate::permissions::Role;
use crate::provisioning::secrets;

/// Somebody with a role.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Vouched {
    pub(super) identity: Identity,
    pub(super) role: Role,
}

type Claims = Map<String, Value>;

/// Whether a token whose signature, issuer, audience and time are right was made for us and for
/// this sign-in.
pub(super) fn check(
    claims: &Claims,
    client: &str,
    nonce: &Secret<String>,
) -> Result<(), &'static str> {
    let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
    let said = text("nonce").unwrap_or_default();
    if !secrets::same(said.as_bytes(), nonce.expose().as_bytes()) {
        return Err("its nonce is another one");
    }
    let is_for_others = matches!(claims.get("aud"), Some(Value::Array(all)) if all.len() > 1);
    match text("azp") {
        Some(party) if party != client => return Err("it was given to another client"),
        None if is_for_others => return Err("it is for several, and says not who got it"),
        _ => {}
    }
    match text("sub") {
        Some(subject) if (1..=LONGEST_SUBJECT).contains(&subject.len()) => Ok(()),
        _ => Err("it says not who it is about"),
    }
}

/// Whether there is nothing else to ask for.
pub(super) fn says_all(claims: &Claims, roles: &str) -> bool {
    found(claims, roles).is_some() && claims.contains_key(NAMES[0])
}

impl Vouched {
    /// From what was said, the most certain first.
    pub(super) fn new(said: [&Claims; 2], config: &Config) -> Result<Self, NotVouched> {
        let text = |claim: &str| {
            let mut found = said.iter().filter_map(|claims| claims.get(claim)?.as_str());
            found.find(|text| !text.is_empty())
        };
        let subject = text("sub").unwrap_or_default();
        let name = NAMES.into_iter().find_map(text).unwrap_or(subject);
        let name = format!("{} (oidc)", plain(name, LONGEST_NAME));
        let identity = Identity { name, subject: plain(subject, LONGEST_SUBJECT) };
        let values = said.iter().find_map(|claims| found(claims, &config.claim));
        let values: Vec<&str> = match values {
            Some(Value::String(value)) => vec![value],
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let roles = &config.roles;
        let gives = |names: &[String]| names.iter().any(|name| values.contains(&name.as_str()));
        // The one that may do most.
        let of_role = [
            (Role::Admin, &roles.admin),
            (Role::Operator, &roles.operator),
            (Role::Viewer, &roles.viewer),
        ];
        match of_role.into_iter().find(|(_, names)| gives(names)) {
            Some((role, _)) => Ok(Self { identity, role }),
            None => Err(NotVouched::NoRole(identity)),
        }
    }
}

/// A claim by its name, or by the names on the way to it: `realm_access.roles`.
fn found<'c>(claims: &'c Claims, name: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    found(claims.get(first)?.as_object()?, rest)
}

/// Short enough for a table, and nothing that could be taken for more than a name: no blanks, no
/// parentheses, nothing that turns the direction of a line.
fn plain(name: &str, most: usize) -> String {
    let letter = |c: char| if c.is_alphanumeric() || "._-+@:|/".contains(c) { c } else { '?' };
    name.chars().take(most).map(letter).collect()
}

/// OpenID Connect Core 1.0 §5.1; people know themselves by these.
const NAMES: [&str; 2] = ["preferred_username", "email"];
/// OpenID Connect Core 1.0 §2.
const LONGEST_SUBJECT: usize = 255;
const LONGEST_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::OidcRoles;
    use crate::jwt::tests::{CLIENT, saying};

    fn claims(other: &Value) -> Claims {
        match saying(other) {
            Value::Object(claims) => claims,
            _ => unreachable!("claims are an object"),
        }
    }

    #[test]
    fn a_token_of_another_sign_in_or_another_client_signs_nobody_in() {
        let check = |other: Value, nonce: &str| {
            check(&claims(&other), CLIENT, &Secret::new(nonce.to_owned()))
        };
        assert_eq!(check(json!({}), "n-1"), Ok(()));
        assert_eq!(check(json!({ "azp": CLIENT, "aud": [CLIENT, "other"] }), "n-1"), Ok(()));
        assert!(check(json!({}), "n-2").is_err(), "another nonce");
        for (other, why) in [
            (json!({ "nonce": null }), "no nonce"),
            (json!({ "nonce": "" }), "an empty one"),
            (json!({ "nonce": ["n-1"] }), "no text"),
            (json!({ "azp": "other" }), "another client's"),
            (json!({ "aud": [CLIENT, "other"] }), "nobody's in particular"),
            (json!({ "sub": null }), "nobody"),
            (json!({ "sub": "" }), "nobody either"),
            (json!({ "sub": "x".repeat(300) }), "too long a name"),
        ] {
            assert!(check(other, "n-1").is_err(), "{why}");
        }
    }

    fn config(claim: &str) -> Config {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Config {
            issuer: "https://id.example".to_owned(),
            client: CLIENT.to_owned(),
            secret: Secret::new("s".to_owned()),
            claim: claim.to_owned(),
            roles: OidcRoles {
                admin: names(&["gw-admins"]),
                operator: names(&["gw-operators", "noc"]),
                viewer: names(&["staff"]),
            },
            scopes: Vec::new(),
            label: "us".to_owned(),
            address: None,
            tls: None,
            allow: Vec::new(),
        }
    }

    fn role_of(claim: &str, said: Value) -> Option<Role> {
        Vouched::new([&claims(&said), &Map::new()], &config(claim)).ok().map(|it| it.role)
    }

    #[test]
    fn the_best_of_somebodys_groups_is_the_role_and_without_any_there_is_none() {
        for (said, role) in [
            (json!({ "groups": ["staff", "gw-admins"] }), Some(Role::Admin)),
            (json!({ "groups": ["staff", "noc"] }), Some(Role::Operator)),
            (json!({ "groups": "staff" }), Some(Role::Viewer)),
            (json!({ "groups": ["GW-ADMINS", "/gw-admins", "gw-admins "] }), None),
            (json!({ "groups": [["gw-admins"], { "gw-admins": true }, 1] }), None),
            (json!({ "groups": [] }), None),
            (json!({ "groups": null }), None),
            (json!({}), None),
        ] {
            assert_eq!(role_of("groups", said.clone()), role, "{said}");
        }
        let keycloak = json!({ "realm_access": { "roles": ["noc"] } });
        assert_eq!(role_of("realm_access.roles", keycloak), Some(Role::Operator));
        let address = json!({ "https://id.example/roles": ["noc"] });
        assert_eq!(role_of("https://id.example/roles", address), Some(Role::Operator));
    }

    #[test]
    fn what_the_token_says_goes_before_what_was_asked_for() {
        let said = claims(&json!({ "groups": ["staff"] }));
        let more = claims(&json!({ "groups": ["gw-admins"], "preferred_username": "olga" }));
        let vouched = Vouched::new([&said, &more], &config("groups")).unwrap();
        assert_eq!((vouched.identity.name.as_str(), vouched.role), ("olga (oidc)", Role::Viewer));
    }

    #[test]
    fn names_are_short_and_plain_and_no_name_of_ours() {
        for (said, name) in [
            (json!({ "preferred_username": "olga" }), "olga (oidc)"),
            (json!({ "preferred_username": "", "email": "o@x.test" }), "o@x.test (oidc)"),
            (json!({}), "u-1 (oidc)"),
            (json!({ "preferred_username": "jürgen" }), "jürgen (oidc)"),
            (json!({ "preferred_username": "a\u{202e}b\n<b>" }), "a?b??b? (oidc)"),
            (json!({ "preferred_username": "token) (x" }), "token???x (oidc)"),
        ] {
            let Err(NotVouched::NoRole(identity)) =
                Vouched::new([&claims(&said), &Map::new()], &config("groups"))
            else {
                panic!("nobody has a group");
            };
            assert_eq!(identity.name, name);
            assert!(crate::provisioning::operators::name_fits(&identity.name).is_err());
        }
        assert_eq!(plain(&"ä".repeat(1000), LONGEST_NAME).chars().count(), LONGEST_NAME);
    }
}
