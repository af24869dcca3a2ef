//! Sessions that users of ours make by signing in.

use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::Secret;
use crosspoint_state::{ClientSession, Kind, Object, Part, Source, TokenHash, Within};
use serde_json::{Map, Value};

use super::{Provisioning, Refusal, secrets};
use crate::cli::unix_now;
use crate::forwarding;

impl Provisioning {
    pub(crate) async fn create_own(
        self: &Arc<Self>,
        user: String,
    ) -> Result<(ClientSession, Secret<String>), Refusal> {
        self.blocking(move |this| {
            let (session, token) = this.new_session(Source::User(user))?;
            this.store.insert_object(&Object::Session(session.clone()))?;
            this.fresh().add(Instant::now(), &session.id, token.clone());
            Ok((session, token))
        })
        .await
    }

    pub(crate) async fn own(
        self: &Arc<Self>,
        user: String,
        id: String,
    ) -> Result<ClientSession, Refusal> {
        self.blocking(move |this| this.own_now(&user, &id)).await
    }

    /// Where a user's calls go.
    pub(crate) async fn forwarding(self: &Arc<Self>, user: String) -> Result<Value, Refusal> {
        self.blocking(move |this| {
            let user = this.store.user(&user)?.ok_or(Refusal::NotFound)?;
            Ok(forwarding::as_json(&user.forwarding))
        })
        .await
    }

    /// Sets where a user's calls go, as a whole. The running node learns of it within a second.
    pub(crate) async fn forward(
        self: &Arc<Self>,
        user: String,
        fields: Map<String, Value>,
    ) -> Result<Value, Refusal> {
        self.blocking(move |this| {
            let set = forwarding::from_json(&fields)
                .map_err(|(member, why)| Refusal::Invalid { member, why })?;
            let user = this.store.user(&user)?.ok_or(Refusal::NotFound)?;
            this.store.set_forwarding(user.name.as_str(), &set)?;
            Ok(forwarding::as_json(&set))
        })
        .await
    }

    pub(crate) async fn list_own(
        self: &Arc<Self>,
        user: String,
        part: Part,
    ) -> Result<(Vec<ClientSession>, u64), Refusal> {
        self.blocking(move |this| {
            let (all, _) = this.store.objects(Kind::Session, Within::User(&user), Part::ALL)?;
            let now = unix_now();
            let mut live: Vec<ClientSession> = all
                .into_iter()
                .filter_map(|object| if let Object::Session(s) = object { Some(s) } else { None })
                .filter(|session| session.expires > now)
                .collect();
            let total = live.len() as u64;
            live.drain(..live.len().min(part.offset as usize));
            live.truncate(part.limit as usize);
            Ok((live, total))
        })
        .await
    }

    pub(crate) async fn remove_own(
        self: &Arc<Self>,
        user: String,
        id: String,
    ) -> Result<(), Refusal> {
        let gone = self.blocking(move |this| {
            this.own_now(&user, &id)?;
            Ok(this.store.remove_object(Kind::Session, &id)?)
        });
        self.revoke(gone.await?).await;
        Ok(())
    }

    /// The token of a session made in the last minutes.
    pub(crate) fn fresh_token(&self, session: &str) -> Option<Secret<String>> {
        self.fresh().of(Instant::now(), session)
    }

    pub(super) fn new_session(
        &self,
        source: Source,
    ) -> Result<(ClientSession, Secret<String>), Refusal> {
        let token = secrets::token()?;
        let created = unix_now();
        let lifetime = i64::try_from(self.settings.token_lifetime.as_secs()).unwrap_or(i64::MAX);
        let session = ClientSession {
            id: secrets::id()?,
            token: TokenHash::of(&token),
            source,
            created,
            expires: created.saturating_add(lifetime),
        };
        Ok((session, token))
    }

    /// A session of this user. Those of others are as if they were not there.
    fn own_now(&self, user: &str, id: &str) -> Result<ClientSession, Refusal> {
        match self.store.object(Kind::Session, id)? {
            Some(Object::Session(session))
                if session.source.user() == Some(user) && session.expires > unix_now() =>
            {
                Ok(session)
            }
            _ => Err(Refusal::NotFound),
        }
    }
}

/// The tags of the networks that every user of ours is on.
pub(crate) const SIP_TAG: &str = "sip";
pub(super) const WEBRTC_TAG: &str = "webrtc";
/// The app that users' own sessions are for: the web phone, or what speaks as it does.
pub(crate) const APP_NAME: &str = "crosspoint";
