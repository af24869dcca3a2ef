//! The way to the provider of identities and back. A person's browser goes it, so what goes wrong
//! is told by the sign-in page (`/console#/?problem=..`) and not in JSON.

use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use crosspoint_base::Secret;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::identity::cookie;
use super::{Api, Noted, host_of};
use crate::http::Arrival;
use crate::permissions::Principal;
use crate::provisioning::Refusal;
use crate::provisioning::oidc::{Identity, NotVouched, Return, TIME};

impl Api {
    /// How one may sign in, for who has not yet.
    pub(super) fn ways(&self) -> Response {
        let oidc = self.provisioning.oidc().map(|oidc| json!({ "label": oidc.label() }));
        Answer::json(&json!({ "password": true, "oidc": oidc }))
    }

    /// Sends a browser to the provider.
    pub(super) async fn vouch(
        &self,
        arrival: &Arrival,
        headers: &HeaderMap,
        uri: &Uri,
    ) -> Result<Response, Refusal> {
        let oidc = self.provisioning.oidc().ok_or(Refusal::NotFound)?;
        // The provider sends everybody to one address, where the cookie has to be known. A proxy
        // in front may call us by another name: nobody is sent there twice.
        let host = host_of(headers, uri).unwrap_or_default();
        let ours = oidc.address().split_once("://").map_or("", |(_, host)| host);
        if !host.eq_ignore_ascii_case(ours) && uri.query() != Some(SENT) {
            let there = format!("{}{}?{SENT}", oidc.address(), uri.path());
            return Ok(Answer::redirect(&there, &[]));
        }
        Ok(match self.provisioning.begin_vouched(arrival.remote.ip()).await {
            Ok(sent) => {
                let cookie = browser_cookie(sent.browser.expose(), TIME.as_secs());
                Answer::redirect(&sent.location, &[cookie])
            }
            Err(why) => problem(&why),
        })
    }

    /// Signs in whom the provider sends back.
    pub(super) async fn vouched(
        &self,
        arrival: &Arrival,
        headers: &HeaderMap,
        query: &str,
        noted: &mut Noted,
    ) -> Result<Response, Refusal> {
        let oidc = self.provisioning.oidc().ok_or(Refusal::NotFound)?;
        let parameter = |name: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
        };
        let secret = |name: &str| Secret::new(parameter(name).unwrap_or_default());
        let back = Return {
            browser: cookie(headers, COOKIE_NAME),
            state: secret("state"),
            code: secret("code"),
            error: parameter("error"),
            issuer: parameter("iss"),
        };
        noted.tried = Some(UNKNOWN.to_owned());
        let done = self.provisioning.sign_in_vouched(arrival.remote.ip(), back).await;
        if let Ok((_, identity)) | Err(NotVouched::NoRole(identity)) = &done {
            noted.tried = Some(identity.name.clone());
            noted.detail = detail(oidc.issuer(), identity);
        }
        Ok(match done {
            Ok((begun, _)) => {
                let session = self.cookie_of(&begun);
                noted.who = Some(Principal::Staff(begun.staff));
                noted.outcome = Some("done".to_owned());
                Answer::redirect("/console", &[session, browser_cookie("", 0)])
            }
            Err(why) => {
                noted.outcome = Some(format!("refused: {}", why.as_str()));
                problem(&why)
            }
        })
    }
}

/// Who it is for certain: names may change hands at a provider.
fn detail(issuer: &str, identity: &Identity) -> Map<String, Value> {
    let pairs = [("issuer", issuer), ("subject", &identity.subject)];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

fn problem(why: &NotVouched) -> Response {
    // Somebody else's link must not end what this browser is about.
    let forgotten = match why {
        NotVouched::Stale => Vec::new(),
        _ => vec![browser_cookie("", 0)],
    };
    Answer::redirect(&format!("/console#/?problem={}", why.as_str()), &forgotten)
}

/// For the way there and back alone, which ends at the provider's page: so it has to come with
/// links from elsewhere, and with nothing else.
fn browser_cookie(value: &str, seconds: u64) -> String {
    format!("{COOKIE_NAME}={value}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Lax")
}

const COOKIE_NAME: &str = "__Host-crosspoint-oidc";
/// Of a browser that was sent to the address where it comes back.
const SENT: &str = "here=1";
const UNKNOWN: &str = "(unknown)";
