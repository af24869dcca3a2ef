//! `/api/rtcsessions`: a user of ours signs in for a token, and out.

use axum::extract::Request;
use axum::response::Response;
use crosspoint_base::Secret;
use crosspoint_state::ClientSession;
use serde_json::{Value, json};

use super::answer::Answer;
use super::endpoint::{Endpoint, Own};
use super::{Api, read_object, request};
use crate::http::Arrival;
use crate::provisioning::{APP_NAME, Refusal, SIP_TAG};

impl Api {
    pub(super) async fn own(
        &self,
        action: Own,
        endpoint: &Endpoint,
        arrival: &Arrival,
        request: Request,
    ) -> Result<Response, Refusal> {
        let provisioning = &self.provisioning;
        let (parts, body) = request.into_parts();
        let who = request::credentials(&parts.headers, arrival).ok_or(Refusal::Unauthorized)?;
        let user = provisioning.sign_in_user(who).await?;
        let id = endpoint.id_in(parts.uri.path());
        let id = || id.map(str::to_owned).ok_or(Refusal::NotFound);
        match action {
            Own::Create => {
                // Nothing in it is used, but it has to be what it should be.
                if let Err(response) = read_object(&parts.headers, body).await {
                    return Ok(response);
                }
                let (session, token) = provisioning.create_own(user).await?;
                let location = format!("/api/rtcsessions/{}", session.id);
                Ok(Answer::created(&location, &shown(&session, Some(token))))
            }
            Own::Show => {
                let session = provisioning.own(user, id()?).await?;
                let token = provisioning.fresh_token(&session.id);
                Ok(Answer::json(&shown(&session, token)))
            }
            Own::List => {
                let query = request::Query::read(parts.uri.query())?;
                let (sessions, total) = provisioning.list_own(user, query.part).await?;
                let items: Vec<Value> = sessions.iter().map(|s| shown(s, None)).collect();
                Ok(Answer::json(&json!({ "items": items, "total": total })))
            }
            Own::Remove => {
                provisioning.remove_own(user, id()?).await?;
                Ok(Answer::nothing())
            }
        }
    }
}

/// The token is there for a few minutes only: afterwards nobody knows it but who got it.
fn shown(session: &ClientSession, token: Option<Secret<String>>) -> Value {
    let mut value = json!({
        "id": session.id,
        "subscriber_id": session.source.user(),
        "rtc_network_tag": SIP_TAG,
        "rtc_app_name": APP_NAME,
        "expires": session.expires,
    });
    if let Some(token) = token {
        value["rtc_browser_token"] = json!(token.expose());
    }
    value
}
