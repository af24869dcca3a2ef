//! Names and passwords: of provisioning, of owners, and of our users.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::Secret;
use crosspoint_sip::digest::UserHa1;
use crosspoint_state::User;

use super::guard::Attempt;
use super::{Provisioning, Refusal, secrets};
use crate::permissions::Principal;

/// A name and a password as they came in, and from where.
pub(crate) struct SignedIn {
    pub(crate) from: IpAddr,
    pub(crate) name: String,
    pub(crate) password: Secret<String>,
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
            return Ok(Principal::Portal);
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
            // As much work for a user that does not exist.
            let is_right = this.is_password_of_any(user.as_ref(), &name, &password);
            // What counts is who it is, under whatever alias.
            let counted = user.as_ref().map_or(name.as_str(), |user| user.name.as_str());
            this.judge(&Attempt::new(from, counted), is_right)?;
            user.map(|user| user.name.to_string()).ok_or(Refusal::Unauthorized)
        })
        .await
    }

    /// Whether `password` makes the hash that is kept of the user's.
    pub(super) fn is_password_of(&self, user: &User, password: &Secret<String>) -> bool {
        self.is_password_of_any(Some(user), "", password)
    }

    /// The same where there may be no user of the `name` that was given: then a hash is made and
    /// compared in vain.
    fn is_password_of_any(
        &self,
        user: Option<&User>,
        name: &str,
        password: &Secret<String>,
    ) -> bool {
        let realm = &self.settings.realm;
        let name = user.map_or(name, |user| user.name.as_str());
        let kept = user.map(|user| (user.credentials.ha1_sha256.expose(), &user.credentials.realm));
        let (hash, kept_realm) = kept.map_or((NO_HASH, realm), |(hash, of)| (hash.as_str(), of));
        let made = UserHa1::new(name, realm, password.expose());
        #[cfg(test)]
        tests::HASHES.with(|hashes| hashes.set(hashes.get() + 1));
        let is_same = secrets::same(made.sha256.expose().as_bytes(), hash.as_bytes());
        user.is_some() && kept_realm == realm && is_same
    }

    pub(super) fn may_try(&self, attempt: &Attempt) -> Result<(), Refusal> {
        let allowed = self.guard().may_try(Instant::now(), attempt);
        allowed.map_err(|wait| {
            self.count().limited += 1;
            Refusal::TooMany(wait)
        })
    }

    pub(super) fn judge(&self, attempt: &Attempt, is_right: bool) -> Result<(), Refusal> {
        let judged = self.guard().judge(Instant::now(), attempt, is_right);
        if let (Some(bans), Ok(is_right)) = (self.bans.get(), judged) {
            // Its connection ends with the answer.
            let _ = bans.note(attempt.address(), false, attempt.conduct(is_right));
        }
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

/// As long as a hash, and none.
const NO_HASH: &str = "----------------------------------------------------------------";

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use crosspoint_state::{MemoryStore, Store, UserName};
    use tokio::sync::mpsc;

    use super::*;
    use crate::config::Config;
    use crate::passwords;
    use crate::provisioning::Settings;

    thread_local! {
        /// Passwords that were hashed.
        pub(super) static HASHES: Cell<u32> = const { Cell::new(0) };
    }

    /// Operations are counted: a clock would tell only how busy the machine is.
    #[test]
    fn an_unknown_user_costs_as_much_as_a_wrong_password() {
        let config = Config::with_defaults();
        let store = Arc::new(MemoryStore::new());
        let name = UserName::parse("alice").unwrap();
        let credentials = passwords::credentials(&name, &config.general.realm, &secret("right"));
        let forwarding = crosspoint_state::Forwarding::default();
        let user = User { name, aliases: vec![], credentials, created: 0, forwarding };
        store.insert_user(&user).unwrap();
        let (revoked, _) = mpsc::channel(1);
        let provisioning = Provisioning::new(store, Settings::new(&config, None, &[]), revoked);
        let hashes = |user: Option<&User>, password: &str| {
            let before = HASHES.with(Cell::get);
            let is_right = provisioning.is_password_of_any(user, "nobody", &secret(password));
            (is_right, HASHES.with(Cell::get) - before)
        };
        assert_eq!(hashes(Some(&user), "right"), (true, 1));
        assert_eq!(hashes(Some(&user), "wrong"), (false, 1));
        assert_eq!(hashes(None, "right"), (false, 1));
        let other = User { credentials: moved(&user), ..user.clone() };
        assert_eq!(hashes(Some(&other), "right"), (false, 1), "a hash for another realm");
    }

    fn moved(user: &User) -> crosspoint_state::Credentials {
        crosspoint_state::Credentials { realm: "elsewhere".to_owned(), ..user.credentials.clone() }
    }

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }
}
