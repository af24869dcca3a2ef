//! Provisioned objects in memory.

use std::collections::BTreeMap;

use super::MemoryStore;
use crate::provisioning::{
    MAX_ACCOUNTS, MAX_APPS, MAX_NETWORKS, MAX_OWNERS, MAX_SESSIONS, MAX_SESSIONS_OF_USER,
};
use crate::{
    Account, ClientSession, FullSession, Kind, Network, Object, Owner, Part, Provisioning, Source,
    StoreError, TokenHash, Within,
};

#[derive(Debug, Default)]
pub(super) struct Objects(BTreeMap<String, Object>);

impl Objects {
    fn find(&self, kind: Kind, id: &str) -> Option<&Object> {
        self.0.get(id).filter(|object| object.kind() == kind)
    }

    fn must_have(&self, kind: Kind, id: &str) -> Result<&Object, StoreError> {
        self.find(kind, id).ok_or_else(|| StoreError::NoSuchObject { kind, id: id.to_owned() })
    }

    fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.0.values().filter_map(|o| if let Object::Owner(o) = o { Some(o) } else { None })
    }

    fn networks(&self) -> impl Iterator<Item = &Network> {
        self.0.values().filter_map(|o| if let Object::Network(n) = o { Some(n) } else { None })
    }

    fn sessions(&self) -> impl Iterator<Item = &ClientSession> {
        self.0.values().filter_map(|o| if let Object::Session(s) = o { Some(s) } else { None })
    }

    fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.0.values().filter_map(|o| if let Object::Account(a) = o { Some(a) } else { None })
    }

    fn count(&self, kind: Kind, within: Within<'_>) -> usize {
        self.0.values().filter(|o| o.kind() == kind && is_within(o, within)).count()
    }

    fn check(&self, object: &Object) -> Result<(), StoreError> {
        if let Some(owner) = object.owner().filter(|_| object.kind() != Kind::Owner) {
            self.must_have(Kind::Owner, owner)?;
        }
        match object {
            Object::Owner(owner) => {
                if self.owners().any(|o| o.email.eq_ignore_ascii_case(&owner.email)) {
                    return Err(StoreError::Exists("email"));
                }
                at_most(self.owners().count(), MAX_OWNERS, "users")
            }
            Object::App(app) => {
                let apps = self.count(Kind::App, Within::Owner(&app.owner));
                at_most(apps, MAX_APPS, "apps of this user")
            }
            Object::Network(network) => {
                if self.networks().any(|n| n.owner == network.owner && n.tag == network.tag) {
                    return Err(StoreError::Exists("tag"));
                }
                let networks = self.count(Kind::Network, Within::Owner(&network.owner));
                at_most(networks, MAX_NETWORKS, "networks of this user")
            }
            Object::Session(session) => self.check_session(session),
            Object::Account(account) => self.check_account(account),
        }
    }

    fn check_session(&self, session: &ClientSession) -> Result<(), StoreError> {
        let is_live = |s: &&ClientSession| s.expires > session.created;
        match &session.source {
            Source::App { app, owner } => {
                if self.must_have(Kind::App, app)?.owner() != Some(owner) {
                    return Err(StoreError::OtherOwner("app"));
                }
                let of_owner = self.sessions().filter(|s| s.source.owner() == Some(owner));
                at_most(of_owner.filter(is_live).count(), MAX_SESSIONS, "sessions of this user")
            }
            Source::User(user) => {
                let of_user = self.sessions().filter(|s| s.source.user() == Some(user));
                let count = of_user.filter(is_live).count();
                at_most(count, MAX_SESSIONS_OF_USER, "sessions of this user")
            }
        }
    }

    fn check_account(&self, account: &Account) -> Result<(), StoreError> {
        let session = self.must_have(Kind::Session, &account.session)?;
        if session.owner() != Some(&account.owner) {
            return Err(StoreError::OtherOwner("session"));
        }
        if self.network_of(account).is_none() {
            let id = account.network.clone();
            return Err(StoreError::NoSuchObject { kind: Kind::Network, id });
        }
        let accounts = self.count(Kind::Account, Within::Session(&account.session));
        at_most(accounts, MAX_ACCOUNTS, "accounts of this session")
    }

    fn network_of(&self, account: &Account) -> Option<&Network> {
        self.networks().find(|n| n.owner == account.owner && n.tag == account.network)
    }

    /// Ends the sessions of a user; the next cleaning forgets them.
    pub(super) fn end_sessions_of(&mut self, user: &str) {
        for object in self.0.values_mut() {
            if let Object::Session(session) = object
                && session.source.user() == Some(user)
            {
                session.expires = 0;
            }
        }
    }
}

impl Provisioning for MemoryStore {
    fn insert_object(&self, object: &Object) -> Result<(), StoreError> {
        let mut kept = self.kept();
        kept.objects.check(object)?;
        kept.objects.0.insert(object.id().to_owned(), object.clone());
        Ok(())
    }

    fn object(&self, kind: Kind, id: &str) -> Result<Option<Object>, StoreError> {
        Ok(self.kept().objects.find(kind, id).cloned())
    }

    fn objects(
        &self,
        kind: Kind,
        within: Within<'_>,
        part: Part,
    ) -> Result<(Vec<Object>, u64), StoreError> {
        let kept = self.kept();
        let all = kept.objects.0.values().filter(|o| o.kind() == kind && is_within(o, within));
        let mut found: Vec<&Object> = all.collect();
        found.sort_by_key(|o| (o.created(), o.id().to_owned()));
        let total = found.len() as u64;
        let part = found.into_iter().skip(part.offset as usize).take(part.limit as usize);
        Ok((part.cloned().collect(), total))
    }

    fn remove_object(&self, kind: Kind, id: &str) -> Result<Vec<String>, StoreError> {
        let mut kept = self.kept();
        let objects = &mut kept.objects;
        let goes = objects.must_have(kind, id)?.clone();
        let mut touched: Vec<String> = match &goes {
            Object::Owner(_) | Object::App(_) => objects
                .sessions()
                .filter(|s| s.source.app() == Some(id) || s.source.owner() == Some(id))
                .map(|s| s.id.clone())
                .collect(),
            Object::Network(network) => objects
                .accounts()
                .filter(|a| a.owner == network.owner && a.network == network.tag)
                .map(|a| a.session.clone())
                .collect(),
            Object::Session(session) => vec![session.id.clone()],
            Object::Account(account) => vec![account.session.clone()],
        };
        touched.sort();
        touched.dedup();
        objects.0.retain(|_, object| match (&goes, &*object) {
            (Object::Owner(_), object) => object.owner() != Some(id),
            (Object::App(_), Object::Session(s)) => s.source.app() != Some(id),
            (Object::App(_) | Object::Session(_), Object::Account(a)) => {
                !touched.contains(&a.session)
            }
            (Object::Network(n), Object::Account(a)) => a.owner != n.owner || a.network != n.tag,
            (_, object) => object.id() != id,
        });
        objects.0.remove(id);
        Ok(touched)
    }

    fn owner_by_email(&self, email: &str) -> Result<Option<Owner>, StoreError> {
        let kept = self.kept();
        Ok(kept.objects.owners().find(|o| o.email.eq_ignore_ascii_case(email)).cloned())
    }

    fn session_of_token(&self, token: &TokenHash) -> Result<Option<FullSession>, StoreError> {
        let kept = self.kept();
        let objects = &kept.objects;
        let Some(session) = objects.sessions().find(|s| s.token == *token) else {
            return Ok(None);
        };
        let app = session.source.app().and_then(|app| objects.find(Kind::App, app));
        let app = if let Some(Object::App(app)) = app { Some(app.clone()) } else { None };
        let mut accounts: Vec<(Account, Network)> = objects
            .accounts()
            .filter(|account| account.session == session.id)
            .filter_map(|a| Some((a.clone(), objects.network_of(a)?.clone())))
            .collect();
        accounts.sort_by(|(a, _), (b, _)| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(Some(FullSession { session: session.clone(), app, accounts }))
    }

    fn clean_sessions(&self, until: i64) -> Result<Vec<String>, StoreError> {
        let mut kept = self.kept();
        let objects = &mut kept.objects;
        let ended: Vec<String> =
            objects.sessions().filter(|s| s.expires == 0).map(|s| s.id.clone()).collect();
        let gone: Vec<String> =
            objects.sessions().filter(|s| s.expires <= until).map(|s| s.id.clone()).collect();
        objects.0.retain(|id, object| match object {
            Object::Account(account) => !gone.contains(&account.session),
            _ => !gone.contains(id),
        });
        Ok(ended)
    }

    fn count_sessions(&self, now: i64) -> Result<u64, StoreError> {
        Ok(self.kept().objects.sessions().filter(|s| s.expires > now).count() as u64)
    }
}

fn is_within(object: &Object, within: Within<'_>) -> bool {
    match (within, object) {
        (Within::Everything, _) => true,
        (Within::Owner(owner), object) => object.owner() == Some(owner),
        (Within::App(app), Object::Session(session)) => session.source.app() == Some(app),
        (Within::User(user), Object::Session(session)) => session.source.user() == Some(user),
        (Within::Session(session), Object::Account(account)) => account.session == session,
        (Within::App(_) | Within::User(_) | Within::Session(_), _) => false,
    }
}

fn at_most(count: usize, bound: usize, what: &'static str) -> Result<(), StoreError> {
    if count < bound { Ok(()) } else { Err(StoreError::TooMany { what, bound }) }
}
