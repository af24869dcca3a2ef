//! Signing in at the console and out, one's own account, how everything does, and the
//! configuration.

use axum::http::{HeaderMap, Method};
use axum::response::Response;
use crosspoint_base::Secret;
use serde_json::{Map, Value, json};

use super::admin::{Admin, Asked};
use super::answer::Answer;
use super::identity::{COOKIE_NAME, shown};
use super::{Api, Noted, configuration};
use crate::http::Arrival;
use crate::permissions::{Principal, Staff, actions_of};
use crate::provisioning::{Begun, Refusal, SignedIn, operators};

impl Api {
    /// Nothing when it is about something else.
    pub(super) async fn console(
        &self,
        action: Admin,
        who: Option<Principal>,
        arrival: &Arrival,
        headers: &HeaderMap,
        asked: &Asked,
        noted: &mut Noted,
    ) -> Option<Result<Response, Refusal>> {
        let staff = match who {
            Some(Principal::Staff(staff)) => Some(staff),
            _ => None,
        };
        Some(match (action, staff) {
            (Admin::SignIn, _) => self.sign_in(arrival, asked, noted).await,
            (Admin::Session, Some(staff)) => Ok(self.session(headers, &staff)),
            (Admin::SignOut, Some(_)) => {
                let end = match shown(headers, &Method::GET) {
                    Some(shown) => self.sign_out(&shown.token).await,
                    None => None,
                };
                Ok(Answer::with_cookie(&json!({ "end": end }), &cookie("", 0)))
            }
            (Admin::OwnPassword, Some(staff)) => {
                self.own_password(arrival, headers, staff, asked).await
            }
            (Admin::Overview, _) => Ok(Answer::json(&self.backend.overview().await)),
            (Admin::Configuration, _) => self.configuration().await,
            (Admin::CheckConfiguration, _) => self.check_configuration(asked).await,
            (Admin::Configure, _) => self.configure(asked).await,
            _ => return None,
        })
    }

    async fn sign_in(
        &self,
        arrival: &Arrival,
        asked: &Asked,
        noted: &mut Noted,
    ) -> Result<Response, Refusal> {
        let text = |member: &'static str| {
            let found = asked.fields.get(member).and_then(Value::as_str);
            let found = found.filter(|text| text.len() <= LONGEST).map(str::to_owned);
            let why = || "must be a text of at most 256 bytes".to_owned();
            found.ok_or_else(|| Refusal::Invalid { member, why: why() })
        };
        let (name, password) = (text("name")?, Secret::new(text("password")?));
        // What nobody can be called may be a password that was typed one field too early.
        let is_name = operators::name_fits(&name).is_ok();
        noted.tried = Some(if is_name { name.clone() } else { "(not a name)".to_owned() });
        noted.detail = Map::new();
        let who = SignedIn { from: arrival.remote.ip(), name, password };
        let begun = self.provisioning.sign_in_operator(who).await?;
        noted.who = Some(Principal::Staff(begun.staff.clone()));
        let value = self.account(&begun.staff, Some(&(begun.csrf.clone(), true)));
        Ok(Answer::with_cookie(&value, &self.cookie_of(&begun)))
    }

    pub(super) fn cookie_of(&self, begun: &Begun) -> String {
        cookie(begun.token.expose(), self.provisioning.console_times().1.as_secs())
    }

    /// Gives where one may sign out of the provider of identities as well, for whom it vouched.
    async fn sign_out(&self, token: &Secret<String>) -> Option<String> {
        let held = self.provisioning.held(token);
        self.provisioning.end_console(token);
        match (held, self.provisioning.oidc()) {
            (Some((_, false)), Some(oidc)) => oidc.end().await,
            _ => None,
        }
    }

    fn session(&self, headers: &HeaderMap, staff: &Staff) -> Response {
        let shown = shown(headers, &Method::GET).filter(|_| staff.is_console);
        let held = shown.and_then(|shown| self.provisioning.held(&shown.token));
        Answer::json(&self.account(staff, held.as_ref()))
    }

    fn account(&self, staff: &Staff, held: Option<&(Secret<String>, bool)>) -> Value {
        let (idle, lifetime) = self.provisioning.console_times();
        json!({
            "name": staff.name,
            "role": staff.role.as_str(),
            "may": actions_of(staff.role),
            "csrf": held.map(|(csrf, _)| csrf.expose()),
            "has_password": held.is_some_and(|(_, has_password)| *has_password),
            "idle_s": idle.as_secs(),
            "lifetime_s": lifetime.as_secs(),
            "version": env!("CARGO_PKG_VERSION"),
        })
    }

    async fn own_password(
        &self,
        arrival: &Arrival,
        headers: &HeaderMap,
        staff: Staff,
        asked: &Asked,
    ) -> Result<Response, Refusal> {
        let at = shown(headers, &Method::GET).filter(|_| staff.is_console);
        let at = at.ok_or_else(|| Refusal::State("the token has no password".to_owned()))?;
        let from = arrival.remote.ip();
        let fields = asked.fields.clone();
        self.provisioning.change_own_password(&at, from, staff.name, fields).await?;
        Ok(Answer::json(&json!({})))
    }

    /// The file that runs, without what is secret in it.
    async fn configuration(&self) -> Result<Response, Refusal> {
        let file = self.backend.configuration_file();
        let Some(path) = file else {
            return Ok(Answer::json(&json!({ "file": null, "text": "" })));
        };
        let name = path.display().to_string();
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
        let text = read.map_err(|_| Refusal::Internal)?.map_err(|error| {
            tracing::error!(%error, "the configuration cannot be read");
            Refusal::Internal
        })?;
        Ok(Answer::json(&json!({ "file": name, "text": configuration::blanked(&text) })))
    }

    /// What is wrong with a text, as `crosspoint check` would say it.
    async fn check_configuration(&self, asked: &Asked) -> Result<Response, Refusal> {
        let (text, file) = (configuration_text(asked)?, self.backend.configuration_file());
        let users = self.provisioning.known_names().await?;
        let check = move || configuration::check(&text, file.as_deref(), &users);
        let checked = tokio::task::spawn_blocking(check).await.map_err(|_| Refusal::Internal)?;
        Ok(Answer::json(&checked))
    }

    /// Writes a text that nothing is wrong with, and has it read. When it cannot be used all the
    /// same, what was there before is there again.
    async fn configure(&self, asked: &Asked) -> Result<Response, Refusal> {
        let text = configuration_text(asked)?;
        let none = || Refusal::State("the gateway was started without a file".to_owned());
        let file = self.backend.configuration_file().ok_or_else(none)?;
        let users = self.provisioning.known_names().await?;
        let path = file.clone();
        let write = move || configuration::write(&text, &path, &users);
        let written = tokio::task::spawn_blocking(write).await.map_err(|_| Refusal::Internal)?;
        let before = match written? {
            Ok(before) => before,
            Err(wrong) => return Ok(Answer::wrong_configuration(&wrong)),
        };
        match self.backend.reload().await {
            Ok(outcome) => Ok(Answer::json(&outcome.as_json())),
            Err(failure) => {
                let restore = move || configuration::replace(&file, &before);
                let restored = tokio::task::spawn_blocking(restore).await;
                restored.map_err(|_| Refusal::Internal)??;
                Ok(Answer::not_reloaded(&failure))
            }
        }
    }
}

fn configuration_text(asked: &Asked) -> Result<String, Refusal> {
    let text = asked.fields.get("text").and_then(Value::as_str).map(str::to_owned);
    let why = || "must be the text of a configuration".to_owned();
    text.ok_or_else(|| Refusal::Invalid { member: "text", why: why() })
}

/// For our pages alone, not for scripts, and only over TLS.
fn cookie(token: &str, seconds: u64) -> String {
    format!("{COOKIE_NAME}={token}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Strict")
}

const LONGEST: usize = 256;
