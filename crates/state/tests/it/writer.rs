//! The writer thread: everything arrives, and nobody waits when it cannot.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crosspoint_state::{
    BindingRow, Cdr, CdrFilter, Credentials, MemoryStore, Store, StoreError, User, Write, Writer,
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
    fn remove_user(&self, name: &str) -> Result<(), StoreError> {
        self.kept.remove_user(name)
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
    fn cdrs(&self, filter: &CdrFilter) -> Result<Vec<Cdr>, StoreError> {
        self.kept.cdrs(filter)
    }
}
