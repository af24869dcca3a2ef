//! The writer thread: everything arrives, and nobody waits when it cannot.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crosspoint_base::Secret;
use crosspoint_state::{
    AuditBounds, AuditEntry, AuditFilter, BanRow, BindingRow, Cdr, CdrFilter, Credentials,
    Forwarding, FullSession, Kind, MemoryStore, Object, Operator, Operators, Owner, Part,
    Provisioning, Store, StoreError, TextRow, TokenHash, User, UserName, Within, Write, Writer,
};

use crate::suite::cdr;

const PLENTY: Duration = Duration::from_secs(20);

#[test]
fn writes_everything_before_a_flush_returns() {
    let store = Arc::new(MemoryStore::new());
    let writer = Writer::start(store.clone(), 2000).unwrap();
    let handle = writer.handle();
    for n in 0..1000 {
        assert!(handle.submit(Write::Cdr(Box::new(cdr(&n.to_string(), n)))));
    }
    assert!(handle.flush(PLENTY));
    assert_eq!(store.cdrs(&CdrFilter::default()).unwrap().len(), 1000);
    assert_eq!(handle.counters().written, 1000);
}

#[test]
fn drops_and_counts_when_the_store_stalls() {
    let (release, gate) = mpsc::channel();
    let store = Arc::new(Stalled { kept: MemoryStore::new(), gate: Mutex::new(gate) });
    let writer = Writer::start(store, 4).unwrap();
    let handle = writer.handle();
    let accepted = (0..1000).filter(|n| handle.submit(Write::Cdr(Box::new(cdr("x", *n))))).count();
    let counters = handle.counters();
    assert!(counters.dropped > 0);
    assert_eq!(accepted as u64 + counters.dropped, 1000);
    drop(release);
    assert!(handle.flush(PLENTY));
    assert_eq!(handle.counters().written, accepted as u64);
}

/// A store whose disk hangs until the gate opens.
#[derive(Debug)]
struct Stalled {
    kept: MemoryStore,
    gate: Mutex<mpsc::Receiver<()>>,
}

impl Store for Stalled {
    fn apply(&self, writes: &[Write]) -> Result<(), StoreError> {
        let _ = self.gate.lock().unwrap().recv();
        self.kept.apply(writes)
    }
    fn insert_user(&self, user: &User) -> Result<(), StoreError> {
        self.kept.insert_user(user)
    }
    fn insert_first_users(&self, users: &[User]) -> Result<bool, StoreError> {
        self.kept.insert_first_users(users)
    }
    fn set_credentials(&self, name: &str, credentials: &Credentials) -> Result<(), StoreError> {
        self.kept.set_credentials(name, credentials)
    }
    fn set_forwarding(&self, name: &str, forwarding: &Forwarding) -> Result<(), StoreError> {
        self.kept.set_forwarding(name, forwarding)
    }
    fn set_aliases(&self, name: &str, aliases: &[UserName]) -> Result<(), StoreError> {
        self.kept.set_aliases(name, aliases)
    }
    fn remove_user(&self, name: &str) -> Result<(), StoreError> {
        self.kept.remove_user(name)
    }
    fn user(&self, known_as: &str) -> Result<Option<User>, StoreError> {
        self.kept.user(known_as)
    }
    fn users(&self) -> Result<Vec<User>, StoreError> {
        self.kept.users()
    }
    fn users_revision(&self) -> Result<u64, StoreError> {
        self.kept.users_revision()
    }
    fn bindings(&self, now: i64) -> Result<Vec<BindingRow>, StoreError> {
        self.kept.bindings(now)
    }
    fn texts(&self, now: i64) -> Result<Vec<TextRow>, StoreError> {
        self.kept.texts(now)
    }

    fn bans(&self, now: i64) -> Result<Vec<BanRow>, StoreError> {
        self.kept.bans(now)
    }
    fn cdrs(&self, filter: &CdrFilter) -> Result<Vec<Cdr>, StoreError> {
        self.kept.cdrs(filter)
    }
}

impl Operators for Stalled {
    fn insert_operator(&self, operator: &Operator) -> Result<(), StoreError> {
        self.kept.insert_operator(operator)
    }
    fn operators(&self) -> Result<Vec<Operator>, StoreError> {
        self.kept.operators()
    }
    fn operator(&self, name: &str) -> Result<Option<Operator>, StoreError> {
        self.kept.operator(name)
    }
    fn change_operator(
        &self,
        name: &str,
        role: Option<&str>,
        password: Option<&Secret<String>>,
    ) -> Result<(), StoreError> {
        self.kept.change_operator(name, role, password)
    }
    fn remove_operator(&self, name: &str) -> Result<(), StoreError> {
        self.kept.remove_operator(name)
    }
    fn note(&self, entry: &AuditEntry, keep: AuditBounds) -> Result<(), StoreError> {
        self.kept.note(entry, keep)
    }
    fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        self.kept.audit(filter)
    }
}

impl Provisioning for Stalled {
    fn insert_object(&self, object: &Object) -> Result<(), StoreError> {
        self.kept.insert_object(object)
    }
    fn object(&self, kind: Kind, id: &str) -> Result<Option<Object>, StoreError> {
        self.kept.object(kind, id)
    }
    fn objects(
        &self,
        kind: Kind,
        within: Within<'_>,
        part: Part,
    ) -> Result<(Vec<Object>, u64), StoreError> {
        self.kept.objects(kind, within, part)
    }
    fn remove_object(&self, kind: Kind, id: &str) -> Result<Vec<String>, StoreError> {
        self.kept.remove_object(kind, id)
    }
    fn owner_by_email(&self, email: &str) -> Result<Option<Owner>, StoreError> {
        self.kept.owner_by_email(email)
    }
    fn session_of_token(&self, token: &TokenHash) -> Result<Option<FullSession>, StoreError> {
        self.kept.session_of_token(token)
    }
    fn clean_sessions(&self, until: i64) -> Result<Vec<String>, StoreError> {
        self.kept.clean_sessions(until)
    }
    fn count_sessions(&self, now: i64) -> Result<u64, StoreError> {
        self.kept.count_sessions(now)
    }
}
