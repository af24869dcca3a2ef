//! Operators: signing in at a console, who they are, and what everybody changed.

use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crosspoint_base::{Secret, source_of};
use crosspoint_state::{AuditBounds, AuditEntry, AuditFilter, Operator, TokenHash};
use serde_json::{Map, Value, json};

use super::consoles::{Console, Consoles, Limits};
use super::failures::Failures;
use super::guard::Attempt;
use super::{Provisioning, Refusal, SignedIn, argon, secrets};
use crate::audit;
use crate::cli::unix_now;
use crate::permissions::{Role, Staff};

/// A console that has just been signed in at.
pub(crate) struct Begun {
    pub(crate) staff: Staff,
    /// For the cookie.
    pub(crate) token: Secret<String>,
    pub(crate) csrf: Secret<String>,
}

/// What a console's request shows.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) token: Secret<String>,
    /// Beside the cookie; what changes something is not done without it.
    pub(crate) csrf: Option<Secret<String>>,
    pub(crate) is_change: bool,
    /// A person does this, and not a page that refreshes itself.
    pub(crate) is_used: bool,
}

impl Provisioning {
    /// Whether anybody may operate us over HTTP.
    pub(crate) async fn has_operators(self: &Arc<Self>) -> bool {
        self.settings.admin_token.is_some()
            || self.oidc.get().is_some()
            || self.blocking(|this| Ok(!this.store.operators()?.is_empty())).await.unwrap_or(true)
    }

    /// Signs an operator in with a password.
    pub(crate) async fn sign_in_operator(
        self: &Arc<Self>,
        who: SignedIn,
    ) -> Result<Begun, Refusal> {
        let SignedIn { from, name, password } = who;
        // A user of ours may have the same name, and is somebody else.
        let attempt = Attempt::new(from, &format!("operator {name}"));
        self.may_try(&attempt)?;
        let _turn = self.slow_turn().await?;
        let operator = self.blocking(move |this| {
            this.may_try(&attempt)?;
            let operator = this.store.operator(&name)?;
            // As slow for an operator that does not exist.
            let kept = operator.as_ref().map_or_else(argon::nobody, |o| o.password.clone());
            let is_right = argon::is_kept(&password, &kept);
            this.judge(&attempt, is_right && operator.is_some())?;
            operator.ok_or(Refusal::Unauthorized)
        });
        let operator = operator.await?;
        let role = Role::parse(&operator.role).ok_or(Refusal::Unauthorized)?;
        let password = Some(TokenHash::of(&operator.password));
        self.begin_console(operator.name, role, password)
    }

    /// `password`: of what it is kept as, when one was given.
    pub(crate) fn begin_console(
        &self,
        name: String,
        role: Role,
        password: Option<TokenHash>,
    ) -> Result<Begun, Refusal> {
        let (token, csrf) = (secrets::token()?, secrets::token()?);
        let now = Instant::now();
        let vouched = password.is_none().then_some(role);
        let console = Console {
            name: name.clone(),
            csrf: csrf.clone(),
            password,
            role: vouched,
            began: now,
            seen: now,
        };
        self.consoles().begin(now, self.console_limits(), TokenHash::of(&token), console);
        Ok(Begun { staff: Staff { name, role, is_console: true }, token, csrf })
    }

    /// Who has signed in at the console that shows this.
    pub(crate) async fn operator_at(
        self: &Arc<Self>,
        shown: &Shown,
    ) -> Result<Option<Staff>, Refusal> {
        let (now, token) = (Instant::now(), TokenHash::of(&shown.token));
        let found = self.consoles().find(now, self.console_limits(), &token, shown.is_used);
        let Some(console) = found else { return Ok(None) };
        let is_meant = shown.csrf.as_ref().is_some_and(|csrf| {
            secrets::same(csrf.expose().as_bytes(), console.csrf.expose().as_bytes())
        });
        if shown.is_change && !is_meant {
            return Err(Refusal::Forbidden("the header X-Crosspoint-Csrf is missing or wrong"));
        }
        // Who has no account here is who the issuer said, until it signs out.
        if let Some(role) = console.role {
            return Ok(Some(Staff { name: console.name, role, is_console: true }));
        }
        let name = console.name.clone();
        let operator = self.blocking(move |this| Ok(this.store.operator(&name)?)).await?;
        // The account may be gone, have another role or another password since.
        let same = operator.filter(|o| Some(TokenHash::of(&o.password)) == console.password);
        let role = same.and_then(|operator| Role::parse(&operator.role));
        if role.is_none() {
            self.consoles().end(&token);
        }
        Ok(role.map(|role| Staff { name: console.name, role, is_console: true }))
    }

    /// What a console sends its changes with, and whether it was signed in at with a password.
    pub(crate) fn held(&self, token: &Secret<String>) -> Option<(Secret<String>, bool)> {
        let (now, token) = (Instant::now(), TokenHash::of(token));
        let found = self.consoles().find(now, self.console_limits(), &token, false);
        found.map(|console| (console.csrf, console.role.is_none()))
    }

    pub(crate) fn end_console(&self, token: &Secret<String>) {
        self.consoles().end(&TokenHash::of(token));
    }

    /// For how long a console stays signed in: without anything done, and in all.
    pub(crate) fn console_times(&self) -> (Duration, Duration) {
        (self.settings.console.idle, self.settings.console.lifetime)
    }

    fn console_limits(&self) -> Limits {
        let console = &self.settings.console;
        Limits { idle: console.idle, lifetime: console.lifetime }
    }

    pub(crate) async fn operators(self: &Arc<Self>) -> Result<Value, Refusal> {
        let operators = self.blocking(|this| Ok(this.store.operators()?)).await?;
        let items: Vec<Value> = operators.iter().map(shown).collect();
        Ok(json!({ "total": items.len(), "items": items }))
    }

    pub(crate) async fn add_operator(
        self: &Arc<Self>,
        fields: Map<String, Value>,
    ) -> Result<Value, Refusal> {
        let name = text(&fields, "name")?.ok_or_else(|| invalid("name", "is needed"))?;
        name_fits(&name)?;
        let role = role(&fields)?.ok_or_else(|| invalid("role", "is needed"))?;
        let password = password(&fields, "password")?;
        let password = password.ok_or_else(|| invalid("password", "is needed"))?;
        let _turn = self.slow_turn().await?;
        self.blocking(move |this| {
            let password = argon::keep(&password)?;
            let role = role.as_str().to_owned();
            let operator = Operator { name, role, password, created: unix_now() };
            this.store.insert_operator(&operator)?;
            Ok(shown(&operator))
        })
        .await
    }

    pub(crate) async fn change_operator(
        self: &Arc<Self>,
        name: String,
        fields: Map<String, Value>,
    ) -> Result<Value, Refusal> {
        let role = role(&fields)?;
        let password = password(&fields, "password")?;
        let _turn = self.slow_turn().await?;
        self.blocking(move |this| {
            let password = password.map(|password| argon::keep(&password)).transpose()?;
            let role = role.map(Role::as_str);
            this.store.change_operator(&name, role, password.as_ref())?;
            let operator = this.store.operator(&name)?.ok_or(Refusal::NotFound)?;
            Ok(shown(&operator))
        })
        .await
    }

    pub(crate) async fn remove_operator(self: &Arc<Self>, name: String) -> Result<(), Refusal> {
        self.blocking(move |this| Ok(this.store.remove_operator(&name)?)).await
    }

    /// An operator gives itself another password, and shows the old one.
    pub(crate) async fn change_own_password(
        self: &Arc<Self>,
        at: &Shown,
        from: IpAddr,
        name: String,
        fields: Map<String, Value>,
    ) -> Result<(), Refusal> {
        let old = password_text(&fields, "old")?.ok_or_else(|| invalid("old", "is needed"))?;
        let new = password(&fields, "password")?;
        let new = new.ok_or_else(|| invalid("password", "is needed"))?;
        if self.held(&at.token).is_some_and(|(_, has_password)| !has_password) {
            return Err(Refusal::State("this account has its password elsewhere".to_owned()));
        }
        let attempt = Attempt::new(from, &format!("operator {name}"));
        self.may_try(&attempt)?;
        let _turn = self.slow_turn().await?;
        let kept = self.blocking(move |this| {
            let operator = this.store.operator(&name)?.ok_or(Refusal::NotFound)?;
            this.judge(&attempt, argon::is_kept(&old, &operator.password)).map_err(|refusal| {
                match refusal {
                    Refusal::Unauthorized => invalid("old", "is not the password"),
                    other => other,
                }
            })?;
            let kept = argon::keep(&new)?;
            this.store.change_operator(&name, None, Some(&kept))?;
            Ok(kept)
        });
        let kept = kept.await?;
        self.consoles().renew(&TokenHash::of(&at.token), TokenHash::of(&kept));
        Ok(())
    }

    /// Keeps what was changed, and says it in the log.
    pub(crate) async fn note(self: &Arc<Self>, entry: AuditEntry) {
        audit::log(&entry);
        let keep = self.audit_bounds();
        // The store has said in the log what is wrong with it.
        let _ = self.blocking(move |this| Ok(this.store.note(&entry, keep)?)).await;
    }

    pub(crate) async fn audited(self: &Arc<Self>, filter: AuditFilter) -> Result<Value, Refusal> {
        let entries = self.blocking(move |this| Ok(this.store.audit(&filter)?)).await?;
        let items: Vec<Value> = entries.iter().map(audit::shown).collect();
        Ok(json!({ "items": items }))
    }

    /// Keeps a sign-in that failed, unless there were too many.
    pub(crate) async fn note_failure(self: &Arc<Self>, mut entry: AuditEntry, from: IpAddr) {
        let kept = self.failures().keep(Instant::now(), source_of(from));
        match kept {
            None => self.count().unnoted += 1,
            Some(0) => self.note(entry).await,
            Some(missed) => {
                let mut detail: Map<String, Value> =
                    serde_json::from_str(&entry.detail).unwrap_or_default();
                detail.insert("not_noted_before".to_owned(), missed.into());
                entry.detail = Value::Object(detail).to_string();
                self.note(entry).await;
            }
        }
    }

    fn audit_bounds(&self) -> AuditBounds {
        audit::bounds(self.settings.console.audit_keep)
    }

    /// Passwords are tried and kept one at a time.
    async fn slow_turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Refusal> {
        let busy = |_| Refusal::TooMany(Duration::from_secs(1));
        let _waiting = self.waiting_for_slow.try_acquire().map_err(busy)?;
        self.slow.acquire().await.map_err(|_| Refusal::Internal)
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn consoles(&self) -> MutexGuard<'_, Consoles> {
        self.consoles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an operator may be called so: also by who writes it into a log or a table.
pub(crate) fn name_fits(name: &str) -> Result<(), Refusal> {
    let is_fit = |b: u8| b.is_ascii_alphanumeric() || b"._-+@".contains(&b);
    if (1..=64).contains(&name.len()) && name.bytes().all(is_fit) {
        Ok(())
    } else {
        Err(invalid("name", "must be 1 to 64 letters, digits and . _ - + @"))
    }
}

/// Whether a password is long enough to be one.
pub(crate) fn password_fits(password: &str) -> Result<(), Refusal> {
    if (SHORTEST..=LONGEST).contains(&password.len()) {
        Ok(())
    } else {
        let why = format!("needs {SHORTEST} to {LONGEST} bytes");
        Err(Refusal::Invalid { member: "password", why })
    }
}

fn shown(operator: &Operator) -> Value {
    json!({ "name": operator.name, "role": operator.role, "created": operator.created })
}

fn role(fields: &Map<String, Value>) -> Result<Option<Role>, Refusal> {
    let Some(word) = text(fields, "role")? else { return Ok(None) };
    let role = Role::parse(&word);
    role.map(Some).ok_or_else(|| invalid("role", "must be viewer, operator or admin"))
}

fn text(fields: &Map<String, Value>, member: &'static str) -> Result<Option<String>, Refusal> {
    match fields.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(invalid(member, "must be a text")),
    }
}

fn password(
    fields: &Map<String, Value>,
    member: &'static str,
) -> Result<Option<Secret<String>>, Refusal> {
    let Some(password) = password_text(fields, member)? else { return Ok(None) };
    password_fits(password.expose())?;
    Ok(Some(password))
}

/// One that is to be compared; nobody's is longer.
pub(crate) fn password_text(
    fields: &Map<String, Value>,
    member: &'static str,
) -> Result<Option<Secret<String>>, Refusal> {
    match text(fields, member)? {
        Some(text) if text.len() > LONGEST => Err(invalid(member, "is too long")),
        text => Ok(text.map(Secret::new)),
    }
}

fn invalid(member: &'static str, why: &str) -> Refusal {
    Refusal::Invalid { member, why: why.to_owned() }
}

const SHORTEST: usize = 10;
const LONGEST: usize = 256;
