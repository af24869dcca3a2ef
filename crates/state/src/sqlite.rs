//! The embedded store: one SQLite file, in WAL mode so that readers never stop the writer.
//!
//! The command line may change users while a node runs. Triggers count such changes in
//! `meta.users_revision`, and `PRAGMA data_version` makes asking for it nearly free.

mod operators;
mod outbox;
mod provisioning;
mod rows;
mod schema;

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, params};

pub(crate) use outbox::{Column, Kind, Waiting, merged};

use crate::{
    BanRow, BindingRow, Cdr, CdrFilter, Credentials, Forwarding, Store, StoreError, TextRow, User,
    UserName, Write,
};

/// A store in one file. Cheap to share; calls take turns.
pub struct SqliteStore(Mutex<Inner>);

struct Inner {
    connection: Connection,
    /// `PRAGMA data_version` and the users' revision when last asked.
    seen: Option<(i64, u64)>,
}

impl SqliteStore {
    /// Opens or creates the file, readable by its owner only, and brings its schema up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, is not ours, or is of a newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        create_private(path)
            .map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // In WAL mode this survives a crash of the process whole, and a crash of the machine
        // without damage, for a fraction of the disk waits.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        schema::migrate(&mut connection, path)?;
        Ok(Self(Mutex::new(Inner { connection, seen: None })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Runs `change` in one transaction and forgets what was seen of the users.
    fn change<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut inner = self.inner();
        inner.seen = None;
        let transaction =
            inner.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let outcome = change(&transaction)?;
        transaction.commit()?;
        Ok(outcome)
    }
}

impl Store for SqliteStore {
    fn insert_user(&self, user: &User) -> Result<(), StoreError> {
        self.change(|tx| insert_user(tx, user))
    }

    fn insert_first_users(&self, users: &[User]) -> Result<bool, StoreError> {
        self.change(|tx| {
            if users_revision(tx)? > 0 {
                return Ok(false);
            }
            users.iter().try_for_each(|user| insert_user(tx, user))?;
            Ok(true)
        })
    }

    fn set_credentials(&self, name: &str, credentials: &Credentials) -> Result<(), StoreError> {
        self.change(|tx| {
            let changed = tx.execute(
                "UPDATE users SET realm = ?2, ha1_md5 = ?3, ha1_sha256 = ?4 WHERE name = ?1",
                params![
                    name,
                    credentials.realm,
                    credentials.ha1_md5.expose(),
                    credentials.ha1_sha256.expose()
                ],
            )?;
            found(changed, name)?;
            provisioning::end_sessions_of(tx, name)
        })
    }

    fn set_forwarding(&self, name: &str, forwarding: &Forwarding) -> Result<(), StoreError> {
        let to = |place: &Option<crosspoint_base::Private<String>>| {
            place.as_ref().map(|place| place.expose().clone())
        };
        self.change(|tx| {
            let changed = tx.execute(
                "UPDATE users SET forward_always = ?2, forward_busy = ?3, forward_no_answer = ?4,
                     forward_no_answer_after = ?5, forward_away = ?6 WHERE name = ?1",
                params![
                    name,
                    to(&forwarding.always),
                    to(&forwarding.busy),
                    to(&forwarding.no_answer),
                    forwarding.no_answer_after,
                    to(&forwarding.away)
                ],
            )?;
            found(changed, name)
        })
    }

    fn set_aliases(&self, name: &str, aliases: &[UserName]) -> Result<(), StoreError> {
        self.change(|tx| {
            // Counted as a change of the user.
            found(tx.execute("UPDATE users SET name = name WHERE name = ?1", [name])?, name)?;
            tx.execute("DELETE FROM names WHERE \"user\" = ?1 AND name <> ?1", [name])?;
            aliases.iter().try_for_each(|alias| insert_name(tx, alias.as_str(), name))
        })
    }

    fn remove_user(&self, name: &str) -> Result<(), StoreError> {
        self.change(|tx| {
            tx.execute("DELETE FROM bindings WHERE aor = ?1", [name])?;
            tx.execute("DELETE FROM texts WHERE \"user\" = ?1", [name])?;
            provisioning::end_sessions_of(tx, name)?;
            found(tx.execute("DELETE FROM users WHERE name = ?1", [name])?, name)
        })
    }

    fn user(&self, known_as: &str) -> Result<Option<User>, StoreError> {
        rows::user(&self.inner().connection, known_as)
    }

    fn users(&self) -> Result<Vec<User>, StoreError> {
        rows::users(&self.inner().connection)
    }

    fn users_revision(&self) -> Result<u64, StoreError> {
        let mut inner = self.inner();
        let version: i64 =
            inner.connection.pragma_query_value(None, "data_version", |r| r.get(0))?;
        if let Some((seen, revision)) = inner.seen
            && seen == version
        {
            return Ok(revision);
        }
        let revision = users_revision(&inner.connection)?;
        inner.seen = Some((version, revision));
        Ok(revision)
    }

    fn bindings(&self, now: i64) -> Result<Vec<BindingRow>, StoreError> {
        rows::bindings(&self.inner().connection, now)
    }

    fn texts(&self, now: i64) -> Result<Vec<TextRow>, StoreError> {
        rows::texts(&self.inner().connection, now)
    }

    fn bans(&self, now: i64) -> Result<Vec<BanRow>, StoreError> {
        rows::bans(&self.inner().connection, now)
    }

    fn apply(&self, writes: &[Write]) -> Result<(), StoreError> {
        self.change(|tx| writes.iter().try_for_each(|write| rows::write(tx, write)))
    }

    fn cdrs(&self, filter: &CdrFilter) -> Result<Vec<Cdr>, StoreError> {
        rows::cdrs(&self.inner().connection, filter)
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqliteStore")
    }
}

fn insert_user(tx: &Transaction<'_>, user: &User) -> Result<(), StoreError> {
    let credentials = &user.credentials;
    let inserted = tx.execute(
        "INSERT INTO users (name, realm, ha1_md5, ha1_sha256, created) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            user.name.as_str(),
            credentials.realm,
            credentials.ha1_md5.expose(),
            credentials.ha1_sha256.expose(),
            user.created
        ],
    );
    free(inserted, user.name.as_str())?;
    for name in std::iter::once(&user.name).chain(&user.aliases) {
        insert_name(tx, name.as_str(), user.name.as_str())?;
    }
    Ok(())
}

fn insert_name(tx: &Transaction<'_>, name: &str, user: &str) -> Result<(), StoreError> {
    free(tx.execute("INSERT INTO names (name, \"user\") VALUES (?1, ?2)", [name, user]), name)
}

/// Turns a broken uniqueness into the error that names the name.
fn free(outcome: rusqlite::Result<usize>, name: &str) -> Result<(), StoreError> {
    match outcome {
        Ok(_) => Ok(()),
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Err(StoreError::NameTaken(name.to_owned()))
        }
        Err(e) => Err(e.into()),
    }
}

fn found(changed: usize, name: &str) -> Result<(), StoreError> {
    if changed == 0 { Err(StoreError::NoSuchUser(name.to_owned())) } else { Ok(()) }
}

fn users_revision(connection: &Connection) -> Result<u64, StoreError> {
    let revision: Option<i64> = connection
        .query_row("SELECT value FROM meta WHERE key = 'users_revision'", [], |r| r.get(0))
        .optional()?;
    Ok(revision.and_then(|r| u64::try_from(r).ok()).unwrap_or(0))
}

/// Makes sure that the file exists and that only its owner may read it.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// How long to wait for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
