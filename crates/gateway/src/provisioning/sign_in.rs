//! Names and passwords: of provisioning, of owners, and of our users.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::Secret;
use crosspoint_sip::digest::UserHa1;
use crosspoint_state::User;

use super::guard::Attempt;
use super::{Provisioning, Refusal, secrets};

/// A name and a password as they came in, and from where.
pub(crate) struct SignedIn {
    pub(crate) from: IpAddr,
    pub(crate) name: String,
    pub(crate) password: Secret<String>,
}

/// Who may use the API of provisioning, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Principal {
    /// The login of the configuration: everything.
    Operator,
    /// An owner: what is its own.
    Owner(String),
}

impl Provisioning {
    /// Whether there is a login at all.
    pub(crate) fn is_open(&self) -> bool {
        self.settings.login.is_some()
    }

    /// Signs in to provisioning.
    pub(crate) async fn sign_in(self: &Arc<Self>, who: SignedIn) -> Result<Principal, Refusal> {
        let Some(login) = &self.settings.login else { return Err(Refusal::Closed) };
        let SignedIn { from, name, password } = who;
        if secrets::same(name.as_bytes(), login.username.as_bytes()) {
            let expected = login.password.expose().as_bytes();
            let is_right = secrets::same(password.expose().as_bytes(), expected);
            self.judge(&Attempt::at_a_secret(from), is_right)?;
            return Ok(Principal::Operator);
        }
        let attempt = Attempt::new(from, &name);
        if !name.contains('@') {
            self.judge(&attempt, false)?;
            return Err(Refusal::Unauthorized);
        }
        // Who guesses gets no place in the queue either.
        self.may_try(&attempt)?;
        let busy = |_| Refusal::TooMany(Duration::from_secs(1));
        let _waiting = self.waiting_for_slow.try_acquire().map_err(busy)?;
        // One at a time: so no more passwords are tried than may be wrong.
        let _turn = self.slow.acquire().await;
        self.blocking(move |this| {
            this.may_try(&attempt)?;
            let owner = this.store.owner_by_email(&name)?;
            // As slow for an owner that does not exist.
            let kept = owner.as_ref().map_or_else(nobody, |owner| owner.password.clone());
            let is_right = secrets::is_kept(&password, &kept);
            this.judge(&attempt, is_right && owner.is_some())?;
            owner.map(|owner| Principal::Owner(owner.id)).ok_or(Refusal::Unauthorized)
        })
        .await
    }

    /// Signs in one of our users, by name or alias; gives the name.
    pub(crate) async fn sign_in_user(self: &Arc<Self>, who: SignedIn) -> Result<String, Refusal> {
        let SignedIn { from, name, password } = who;
        // Who guesses costs no look into the store.
        self.may_try(&Attempt::at_a_secret(from))?;
        self.blocking(move |this| {
            let user = this.store.user(&name)?;
            let is_right = user.as_ref().is_some_and(|user| this.is_password_of(user, &password));
            // What counts is who it is, under whatever alias.
            let counted = user.as_ref().map_or(name.as_str(), |user| user.name.as_str());
            this.judge(&Attempt::new(from, counted), is_right)?;
            user.map(|user| user.name.to_string()).ok_or(Refusal::Unauthorized)
        })
        .await
    }

    /// Whether `password` makes the hash that is kept of the user's.
    pub(super) fn is_password_of(&self, user: &User, password: &Secret<String>) -> bool {
        let realm = &self.settings.realm;
        let kept = &user.credentials;
        let made = UserHa1::new(user.name.as_str(), realm, password.expose());
        let is_same =
            secrets::same(made.sha256.expose().as_bytes(), kept.ha1_sha256.expose().as_bytes());
        kept.realm == *realm && is_same
    }

    fn may_try(&self, attempt: &Attempt) -> Result<(), Refusal> {
        let allowed = self.guard().may_try(Instant::now(), attempt);
        allowed.map_err(|wait| {
            self.count().limited += 1;
            Refusal::TooMany(wait)
        })
    }

    fn judge(&self, attempt: &Attempt, is_right: bool) -> Result<(), Refusal> {
        let judged = self.guard().judge(Instant::now(), attempt, is_right);
        match judged {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.count().wrong_passwords += 1;
                Err(Refusal::Unauthorized)
            }
            Err(wait) => {
                self.count().limited += 1;
                Err(Refusal::TooMany(wait))
            }
        }
    }
}

/// What nobody's password is kept as, with the usual number of rounds.
fn nobody() -> Secret<String> {
    Secret::new("pbkdf2-sha256$100000$AAAAAAAAAAAAAAAAAAAAAA$AA".to_owned())
}
