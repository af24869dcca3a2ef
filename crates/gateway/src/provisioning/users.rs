//! Users of ours, as an operator adds, changes and removes them over HTTP.

use std::collections::BTreeSet;
use std::sync::Arc;

use crosspoint_base::Secret;
use crosspoint_state::{Forwarding, User, UserName};
use serde_json::{Map, Value, json};

use super::operators::password_text;
use super::{Provisioning, Refusal};
use crate::cli::unix_now;
use crate::{forwarding, passwords};

impl Provisioning {
    pub(crate) async fn users(self: &Arc<Self>) -> Result<Value, Refusal> {
        self.blocking(|this| {
            let users = this.store.users()?;
            let items: Vec<Value> = users.iter().map(|user| this.user_shown(user)).collect();
            Ok(json!({ "total": items.len(), "items": items }))
        })
        .await
    }

    pub(crate) async fn user(self: &Arc<Self>, name: String) -> Result<Value, Refusal> {
        self.blocking(move |this| {
            let user = this.store.user(&name)?.ok_or(Refusal::NotFound)?;
            Ok(this.user_shown(&user))
        })
        .await
    }

    /// A password is drawn unless one is given; then it is in the answer, once.
    pub(crate) async fn add_user(
        self: &Arc<Self>,
        fields: Map<String, Value>,
    ) -> Result<Value, Refusal> {
        self.blocking(move |this| {
            let name = fields.get("name").and_then(Value::as_str).unwrap_or_default();
            let name = parse("name", name)?;
            let aliases = aliases(&fields)?.unwrap_or_default();
            let (password, drawn) = password(&fields)?;
            let credentials = passwords::credentials(&name, &this.settings.realm, &password);
            let created = unix_now();
            let forwarding = Forwarding::default();
            let user = User { name, aliases, credentials, created, forwarding };
            this.store.insert_user(&user)?;
            Ok(with_drawn(this.user_shown(&user), drawn))
        })
        .await
    }

    /// What is named is changed: the aliases, the password (drawn when it is null).
    pub(crate) async fn change_user(
        self: &Arc<Self>,
        name: String,
        fields: Map<String, Value>,
    ) -> Result<Value, Refusal> {
        self.blocking(move |this| {
            let user = this.store.user(&name)?.ok_or(Refusal::NotFound)?;
            let aliases = aliases(&fields)?;
            let password = match fields.contains_key("password") {
                true => Some(password(&fields)?),
                false => None,
            };
            if let Some(aliases) = &aliases {
                this.store.set_aliases(user.name.as_str(), aliases)?;
            }
            let mut told = None;
            if let Some((password, drawn)) = password {
                let realm = &this.settings.realm;
                let credentials = passwords::credentials(&user.name, realm, &password);
                this.store.set_credentials(user.name.as_str(), &credentials)?;
                told = drawn;
            }
            let user = this.store.user(user.name.as_str())?.ok_or(Refusal::NotFound)?;
            Ok(with_drawn(this.user_shown(&user), told))
        })
        .await
    }

    pub(crate) async fn remove_user(self: &Arc<Self>, name: String) -> Result<(), Refusal> {
        self.blocking(move |this| {
            let user = this.store.user(&name)?.ok_or(Refusal::NotFound)?;
            Ok(this.store.remove_user(user.name.as_str())?)
        })
        .await?;
        // Whoever signed in as that user with an app is out at once.
        self.clean().await;
        Ok(())
    }

    /// Every name and alias of everybody.
    pub(crate) async fn known_names(self: &Arc<Self>) -> Result<BTreeSet<String>, Refusal> {
        self.blocking(|this| {
            let users = this.store.users()?;
            let names = users.iter().flat_map(|u| std::iter::once(&u.name).chain(&u.aliases));
            Ok(names.map(ToString::to_string).collect())
        })
        .await
    }

    fn user_shown(&self, user: &User) -> Value {
        json!({
            "name": user.name.as_str(),
            "aliases": user.aliases.iter().map(UserName::as_str).collect::<Vec<_>>(),
            "created": user.created,
            "forwarding": forwarding::as_json(&user.forwarding),
            // With a hash for another realm nobody signs in.
            "may_sign_in": user.credentials.realm == self.settings.realm,
        })
    }
}

fn parse(member: &'static str, text: &str) -> Result<UserName, Refusal> {
    UserName::parse(text).map_err(|error| Refusal::Invalid { member, why: error.to_string() })
}

fn aliases(fields: &Map<String, Value>) -> Result<Option<Vec<UserName>>, Refusal> {
    let wrong =
        || Refusal::Invalid { member: "aliases", why: "must be a list of texts".to_owned() };
    match fields.get("aliases") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) if items.len() <= MOST_ALIASES => {
            let alias = |item: &Value| parse("aliases", item.as_str().ok_or_else(wrong)?);
            Ok(Some(items.iter().map(alias).collect::<Result<_, _>>()?))
        }
        Some(_) => Err(wrong()),
    }
}

/// The password, and the same once more when it was drawn.
fn password(fields: &Map<String, Value>) -> Result<(Secret<String>, Option<Value>), Refusal> {
    match password_text(fields, "password")? {
        Some(password) if password.expose().is_empty() => {
            Err(Refusal::Invalid { member: "password", why: "is empty".to_owned() })
        }
        Some(password) => Ok((password, None)),
        None => {
            let drawn = passwords::generate().map_err(|_| Refusal::Internal)?;
            let told = json!(drawn.expose());
            Ok((drawn, Some(told)))
        }
    }
}

fn with_drawn(mut shown: Value, drawn: Option<Value>) -> Value {
    if let Some(password) = drawn {
        shown["password"] = password;
    }
    shown
}

const MOST_ALIASES: usize = 100;
