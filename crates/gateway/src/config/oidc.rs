//! `[console.oidc]`: a provider of identities that vouches for operators.

use std::path::Path;
use std::sync::Arc;

use axum::http::Uri;
use crosspoint_base::Secret;
use crosspoint_media::turn::Network;
use tokio_rustls::rustls::ClientConfig;

use super::login;
use super::reader::{Located, Section};
use super::sections::file_beside;

/// A provider of identities (OpenID Connect Core 1.0), and whom of its people we let in.
#[derive(Debug, Clone)]
pub struct Oidc {
    pub issuer: String,
    pub client: String,
    pub secret: Secret<String>,
    /// What of an identity gives a role.
    pub claim: String,
    pub roles: OidcRoles,
    /// Asked for besides `openid`, `profile` and `email`.
    pub scopes: Vec<String>,
    /// What people call it.
    pub label: String,
    /// Where browsers reach us; absent: our first domain or address.
    pub address: Option<String>,
    /// Absent: the system trusts no web server.
    pub tls: Option<Arc<ClientConfig>>,
    /// Networks that it may be in although they are not public.
    pub allow: Vec<Network>,
}

/// Values of the claim that give each role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OidcRoles {
    pub admin: Vec<String>,
    pub operator: Vec<String>,
    pub viewer: Vec<String>,
}

pub(super) fn read(section: &Section<'_>, folder: &Path) -> Option<Oidc> {
    let issuer = section.string("issuer");
    let client = section.string("client_id");
    let secret = secret(section, folder);
    let claim = section.string("claim");
    let roles = section.section("roles");
    let scopes = section.strings("scopes").unwrap_or_default();
    let label = section.string("label");
    let address = section.string("address");
    let tls = authority(section, folder);
    let allow = super::turn::networks(section);

    let issuer =
        section.required("issuer", "issuer = \"https://id.example.com/realms/staff\"", issuer);
    let client = section.required("client_id", "client_id = \"crosspoint\"", client);
    let example = "roles = { admin = [\"gateway-admins\"], operator = [\"noc\"] }";
    let roles = section.required("roles", example, roles).map(|roles| read_roles(roles, section));
    if let Some(issuer) = issuer.as_ref().filter(|issuer| !is_issuer(&issuer.value)) {
        let message = format!("{:?} is not an issuer", issuer.value);
        let remedy = "write its https:// address as its document names it, without a query";
        section.document().complain_about(issuer, message, remedy);
    }
    if let Some(address) = address.as_ref().filter(|address| !is_origin(&address.value)) {
        let message = format!("{:?} is not the address of a host over HTTPS", address.value);
        let remedy = "write for example \"https://gw.example.com:8443\", without a path";
        section.document().complain_about(address, message, remedy);
    }
    // RFC 6749 §3.3.
    let is_scope = |scope: &str| {
        !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\".contains(&b))
    };
    for scope in scopes.iter().filter(|scope| !is_scope(&scope.value)) {
        let message = format!("{:?} is not a scope", scope.value);
        section.document().complain_about(scope, message, "write one word each");
    }
    let is_label = |label: &str| (1..=40).contains(&label.chars().count());
    if let Some(label) = label.as_ref().filter(|label| !is_label(&label.value)) {
        section.document().complain_about(label, "this is too long for a button", "40 letters fit");
    }
    Some(Oidc {
        issuer: issuer?.value,
        client: client?.value,
        secret: secret?,
        claim: claim.map_or_else(|| CLAIM.to_owned(), |claim| claim.value),
        roles: roles?,
        scopes: scopes.into_iter().map(|scope| scope.value).collect(),
        label: label.map_or_else(|| LABEL.to_owned(), |label| label.value),
        address: address.map(|address| as_browsers_write(&address.value)),
        tls,
        allow,
    })
}

fn secret(section: &Section<'_>, folder: &Path) -> Option<Secret<String>> {
    let (file, variable) = ("client_secret_file", "client_secret_env");
    let secret = login::secret(section, folder, file, variable);
    let is_given = section.has(file) || section.has(variable);
    if !is_given || secret.as_ref().is_some_and(String::is_empty) {
        let message = "the secret that the provider knows us by is missing";
        let remedy = "write client_secret_file or client_secret_env, one of the two";
        section.document().complain_about(&section.here(), message, remedy);
    }
    secret.map(Secret::new)
}

fn read_roles(roles: Section<'_>, section: &Section<'_>) -> OidcRoles {
    let values = |role| -> Vec<String> {
        let values = roles.strings(role).unwrap_or_default();
        values.into_iter().map(|value| value.value).collect()
    };
    let read = OidcRoles {
        admin: values("admin"),
        operator: values("operator"),
        viewer: values("viewer"),
    };
    if read == OidcRoles::default() {
        let remedy = "write for example { admin = [\"gateway-admins\"] }";
        let message = "nobody would get a role";
        section.document().complain_about(&roles.here(), message, remedy);
    }
    roles.finish();
    read
}

fn authority(section: &Section<'_>, folder: &Path) -> Option<Arc<ClientConfig>> {
    let Some(name) = section.string("ca_file") else { return crate::tls::client_config() };
    let (path, _) = file_beside(section, folder, &name)?;
    let complain = |failure: crate::cli::Failure, name: &Located<String>| {
        let remedy = "give the certificates of authorities in PEM";
        section.document().complain_about(name, failure.to_string(), remedy);
    };
    crate::tls::client_config_of(&path).map_err(|failure| complain(failure, &name)).ok()
}

/// OpenID Connect Core 1.0 §1.2: HTTPS, a host, perhaps a port and a path, and no more.
fn is_issuer(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let is_plain = !text.contains(['?', '#', '@']) && text.len() <= 1024;
    uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty()) && is_plain
}

/// They compare it with what they are told.
fn as_browsers_write(origin: &str) -> String {
    origin.strip_suffix(":443").unwrap_or(origin).to_ascii_lowercase()
}

fn is_origin(text: &str) -> bool {
    is_issuer(text) && text.matches('/').count() == 2
}

const CLAIM: &str = "groups";
const LABEL: &str = "single sign-on";
