//! A store in memory, for tests, simulations and a node that needs to keep nothing.

mod operators;
mod provisioning;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::{
    AuditEntry, BanRow, BindingRow, Cdr, CdrFilter, Credentials, Forwarding, Operator, Store,
    StoreError, TextRow, User, UserName, Write,
};

/// Keeps everything until it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    users: BTreeMap<String, User>,
    revision: u64,
    bindings: BTreeMap<(String, String), BindingRow>,
    cdrs: Vec<Cdr>,
    texts: Vec<TextRow>,
    bans: BTreeMap<String, BanRow>,
    objects: provisioning::Objects,
    operators: BTreeMap<String, Operator>,
    audit: Vec<AuditEntry>,
}

impl MemoryStore {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Kept {
    fn means_somebody(&self, name: &str) -> bool {
        self.users
            .values()
            .any(|u| u.name.as_str() == name || u.aliases.iter().any(|a| a.as_str() == name))
    }

    fn insert(&mut self, user: &User) -> Result<(), StoreError> {
        let mut names = vec![&user.name];
        for alias in &user.aliases {
            if names.contains(&alias) {
                return Err(StoreError::NameTaken(alias.to_string()));
            }
            names.push(alias);
        }
        if let Some(taken) = names.iter().find(|n| self.means_somebody(n.as_str())) {
            return Err(StoreError::NameTaken(taken.to_string()));
        }
        let mut user = user.clone();
        user.aliases.sort();
        self.users.insert(user.name.to_string(), user);
        self.revision += 1;
        Ok(())
    }
}

impl Store for MemoryStore {
    fn insert_user(&self, user: &User) -> Result<(), StoreError> {
        self.kept().insert(user)
    }

    fn insert_first_users(&self, users: &[User]) -> Result<bool, StoreError> {
        let mut kept = self.kept();
        if kept.revision > 0 {
            return Ok(false);
        }
        users.iter().try_for_each(|user| kept.insert(user))?;
        Ok(true)
    }

    fn set_credentials(&self, name: &str, credentials: &Credentials) -> Result<(), StoreError> {
        let mut kept = self.kept();
        let user =
            kept.users.get_mut(name).ok_or_else(|| StoreError::NoSuchUser(name.to_owned()))?;
        user.credentials = credentials.clone();
        kept.objects.end_sessions_of(name);
        kept.revision += 1;
        Ok(())
    }

    fn set_forwarding(&self, name: &str, forwarding: &Forwarding) -> Result<(), StoreError> {
        let mut kept = self.kept();
        let user =
            kept.users.get_mut(name).ok_or_else(|| StoreError::NoSuchUser(name.to_owned()))?;
        user.forwarding = forwarding.clone();
        kept.revision += 1;
        Ok(())
    }

    fn set_aliases(&self, name: &str, aliases: &[UserName]) -> Result<(), StoreError> {
        let mut kept = self.kept();
        let before = kept.users.remove(name);
        let before = before.ok_or_else(|| StoreError::NoSuchUser(name.to_owned()))?;
        let outcome = kept.insert(&User { aliases: aliases.to_vec(), ..before.clone() });
        if outcome.is_err() {
            kept.users.insert(name.to_owned(), before);
        }
        outcome
    }

    fn remove_user(&self, name: &str) -> Result<(), StoreError> {
        let mut kept = self.kept();
        kept.users.remove(name).ok_or_else(|| StoreError::NoSuchUser(name.to_owned()))?;
        kept.bindings.retain(|(aor, _), _| aor != name);
        kept.texts.retain(|text| text.user != name);
        kept.objects.end_sessions_of(name);
        kept.revision += 1;
        Ok(())
    }

    fn user(&self, known_as: &str) -> Result<Option<User>, StoreError> {
        let kept = self.kept();
        let is = |u: &&User| {
            u.name.as_str() == known_as || u.aliases.iter().any(|a| a.as_str() == known_as)
        };
        Ok(kept.users.values().find(is).cloned())
    }

    fn users(&self) -> Result<Vec<User>, StoreError> {
        Ok(self.kept().users.values().cloned().collect())
    }

    fn users_revision(&self) -> Result<u64, StoreError> {
        Ok(self.kept().revision)
    }

    fn bindings(&self, now: i64) -> Result<Vec<BindingRow>, StoreError> {
        let kept = self.kept();
        Ok(kept.bindings.values().filter(|b| b.expires_at > now).cloned().collect())
    }

    fn texts(&self, now: i64) -> Result<Vec<TextRow>, StoreError> {
        let kept = self.kept();
        Ok(kept.texts.iter().filter(|text| text.expires_at > now).cloned().collect())
    }

    fn bans(&self, now: i64) -> Result<Vec<BanRow>, StoreError> {
        let kept = self.kept();
        Ok(kept.bans.values().filter(|ban| ban.until > now).cloned().collect())
    }

    fn apply(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut kept = self.kept();
        for write in writes {
            match write {
                Write::PutBinding(row) => {
                    kept.bindings.insert((row.aor.clone(), row.key.clone()), row.clone());
                }
                Write::RemoveBinding { aor, key } => {
                    kept.bindings.remove(&(aor.clone(), key.clone()));
                }
                Write::Cdr(cdr) => {
                    kept.cdrs.push((**cdr).clone());
                }
                Write::PutText(text) => kept.texts.push((**text).clone()),
                Write::PutBan(ban) => {
                    kept.bans.insert(ban.source.clone(), ban.clone());
                }
                Write::RemoveBan(source) => {
                    kept.bans.remove(source);
                }
                Write::RemoveText(id) => kept.texts.retain(|text| text.id != *id),
            }
        }
        Ok(())
    }

    fn cdrs(&self, filter: &CdrFilter) -> Result<Vec<Cdr>, StoreError> {
        let kept = self.kept();
        let mut found: Vec<Cdr> = kept.cdrs.iter().filter(|c| filter.admits(c)).cloned().collect();
        found.sort_by(|a, b| (b.started_at, &b.gcid).cmp(&(a.started_at, &a.gcid)));
        found.truncate(filter.limit.map_or(usize::MAX, |n| n as usize));
        Ok(found)
    }
}
