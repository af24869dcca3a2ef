//! `/api/rtcsessions`: a user of ours signs in for a token, and out. `/api/ice-servers`: it gets
//! what its browser relays over. `/api/forwarding`: where its calls go.

use axum::extract::Request;
use axum::response::Response;
use crosspoint_base::Secret;
use crosspoint_state::ClientSession;
use serde_json::{Value, json};

use super::answer::Answer;
use super::endpoint::{Endpoint, Own};
use super::{Api, Noted, read_object, request};
use crate::audit;
use crate::provisioning::{APP_NAME, Refusal, SIP_TAG};

impl Api {
    pub(super) async fn own(
        &self,
        action: Own,
        user: String,
        endpoint: &Endpoint,
        request: Request,
        noted: &mut Noted,
    ) -> Result<Response, Refusal> {
        let provisioning = &self.provisioning;
        let (parts, body) = request.into_parts();
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
            Own::IceServers => {
                let (servers, lifetime) = provisioning.ice_servers_of(&user);
                let servers: Vec<Value> = servers
                    .iter()
                    .map(|server| {
                        json!({
                            "urls": server.urls,
                            "username": server.username,
                            "credential": server.credential.expose(),
                        })
                    })
                    .collect();
                Ok(Answer::json(&json!({ "iceServers": servers, "lifetime": lifetime.as_secs() })))
            }
            Own::Forwarding => Ok(Answer::json(&provisioning.forwarding(user).await?)),
            Own::Forward => match read_object(&parts.headers, body).await {
                Ok(fields) => {
                    noted.detail = audit::detail(&fields);
                    Ok(Answer::json(&provisioning.forward(user, fields).await?))
                }
                Err(response) => Ok(response),
            },
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
