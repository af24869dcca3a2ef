//! Call records in PostgreSQL, for several gateways and for those who evaluate calls.
//!
//! Every record is written to the embedded store first, as without PostgreSQL, and goes on from
//! there in batches. While PostgreSQL is away they wait. A record is known there by who wrote it
//! and its number, so that one which is sent twice is there once. Whoever asks for records gets
//! those that still wait as well.

mod tls;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postgres::types::{FromSql, ToSql, Type};
use postgres::{Client, Config, Error, NoTls};
use rusqlite::types::Value;
use tokio_rustls::rustls::ClientConfig;

use crate::sqlite::{Column, Kind, Waiting, merged};
use crate::{Cdr, CdrFilter, SqliteStore, StoreError};

/// How a database is reached.
#[derive(Clone)]
pub struct PostgresConfig {
    config: Config,
    /// With what its certificate is checked; none where TLS is out of the question.
    tls: Option<Arc<ClientConfig>>,
}

/// See the module.
pub struct PostgresRecords {
    config: PostgresConfig,
    store: SqliteStore,
    node: i64,
    columns: Vec<Column>,
    client: Mutex<Option<Client>>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    forwarded: AtomicU64,
    refused: AtomicU64,
    is_up: AtomicBool,
}

/// What became of the records so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PostgresCounters {
    /// The database has them.
    pub forwarded: u64,
    /// It does not take them; they stay in the embedded store.
    pub refused: u64,
    /// Records that are still in the embedded store.
    pub waiting: u64,
    pub is_up: bool,
}

/// Sends records on until it is dropped.
#[derive(Debug)]
pub struct Forwarder {
    stop: Option<Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl PostgresConfig {
    /// Reads a URL (`postgres://user@host/database?sslmode=require`). The password is no part of
    /// it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str, password: Option<&str>) -> Result<Self, String> {
        let mut config: Config = url.parse().map_err(|error: Error| detail(&error))?;
        if config.get_password().is_some() {
            return Err("it has a password, which everybody sees who sees the file".to_owned());
        }
        if config.get_hosts().is_empty() {
            return Err("it names no host".to_owned());
        }
        if let Some(password) = password {
            config.password(password);
        }
        if config.get_application_name().is_none() {
            config.application_name("crosspoint");
        }
        config.connect_timeout(CONNECT_TIME).tcp_user_timeout(ANSWER_TIME);
        if config.get_options().is_none() {
            let limit = format!("-c statement_timeout={}", ANSWER_TIME.as_millis());
            config.options(&limit);
        }
        Ok(Self { config, tls: None })
    }

    /// The same with TLS where the server has it, and always with `sslmode=require`.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Arc<ClientConfig>>) -> Self {
        self.tls = tls;
        self
    }

    fn connect(&self) -> Result<Client, Error> {
        match &self.tls {
            Some(tls) => self.config.connect(tls::MakeTls::new(tls.clone())),
            None => self.config.connect(NoTls),
        }
    }
}

impl PostgresRecords {
    /// `store` is where records wait, over a connection of its own; `fresh` names this
    /// installation, if it has no name yet.
    ///
    /// # Errors
    /// When the store fails. Whether the database can be reached shows later.
    pub fn new(
        config: PostgresConfig,
        store: SqliteStore,
        fresh: i64,
    ) -> Result<Arc<Self>, StoreError> {
        let (node, columns) = (store.node(fresh)?, store.columns()?);
        let (client, counters) = (Mutex::new(None), Counters::default());
        Ok(Arc::new(Self { config, store, node, columns, client, counters }))
    }

    /// Begins to send records on.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn forward(self: &Arc<Self>) -> std::io::Result<Forwarder> {
        let (stop, stopped) = channel();
        let records = self.clone();
        let thread = std::thread::Builder::new()
            .name("records-out".to_owned())
            .spawn(move || records.work(&stopped))?;
        Ok(Forwarder { stop: Some(stop), thread: Some(thread) })
    }

    /// Call records, newest first. Must not be called from asynchronous code.
    ///
    /// # Errors
    /// When one of the databases fails.
    pub fn cdrs(&self, filter: &CdrFilter) -> Result<Vec<Cdr>, StoreError> {
        // What goes on between the two questions is in both answers, and counted once.
        let here = self.store.still_here(filter)?;
        let mut there = Vec::new();
        let mut known = BTreeSet::new();
        self.with_client(|client| {
            (there, known) = (self.ask(client, filter)?, self.known(client, &here)?);
            Ok(())
        })?;
        let is_new = |waiting: &Waiting| !known.contains(&waiting.number);
        let here = here.into_iter().filter(is_new).map(|waiting| waiting.values);
        merged(there.into_iter().chain(here), filter)
    }

    #[must_use]
    pub fn counters(&self) -> PostgresCounters {
        PostgresCounters {
            forwarded: self.counters.forwarded.load(Ordering::Relaxed),
            refused: self.counters.refused.load(Ordering::Relaxed),
            waiting: self.store.waiting().unwrap_or(0),
            is_up: self.counters.is_up.load(Ordering::Relaxed),
        }
    }

    fn work(&self, stopped: &Receiver<()>) {
        let mut wait = PERIOD;
        loop {
            match self.forward_batch() {
                Ok(count) => wait = if count == BATCH { Duration::ZERO } else { PERIOD },
                Err(error) => {
                    if wait <= PERIOD {
                        tracing::error!(%error, "call records wait: PostgreSQL takes none");
                    }
                    wait = (wait * 2).clamp(2 * PERIOD, MAX_WAIT);
                }
            }
            if !matches!(stopped.recv_timeout(wait), Err(RecvTimeoutError::Timeout)) {
                // What was written last goes as well, if it can.
                let _ = self.forward_batch();
                return;
            }
        }
    }

    /// Sends some on; tells how many.
    fn forward_batch(&self) -> Result<usize, StoreError> {
        let batch = self.store.next_out(BATCH)?;
        if batch.is_empty() && self.counters.is_up.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let sent = self.with_client(|client| self.insert(client, &batch));
        if let Err(Failure::Refused(_)) = sent {
            // One of them is not to its liking: the others go without it.
            for waiting in &batch {
                self.forward_alone(waiting)?;
            }
            return Ok(batch.len());
        }
        sent?;
        self.gone(&batch)?;
        Ok(batch.len())
    }

    fn forward_alone(&self, waiting: &Waiting) -> Result<(), StoreError> {
        let one = std::slice::from_ref(waiting);
        match self.with_client(|client| self.insert(client, one)) {
            Ok(()) => self.gone(one),
            Err(Failure::Refused(error)) => {
                tracing::error!(error, "PostgreSQL refuses a call record: it stays in the store");
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                self.store.stays(waiting.number)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    fn gone(&self, batch: &[Waiting]) -> Result<(), StoreError> {
        let numbers: Vec<i64> = batch.iter().map(|waiting| waiting.number).collect();
        self.store.went_out(&numbers)?;
        self.counters.forwarded.fetch_add(numbers.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Works with a connection, a new one if need be.
    fn with_client<T>(
        &self,
        work: impl FnOnce(&mut Client) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let mut held = self.client();
        let client = match held.take().filter(|client| !client.is_closed()) {
            Some(client) => Ok(client),
            None => self.config.connect().and_then(|mut client| {
                self.prepare(&mut client)?;
                Ok(client)
            }),
        };
        let done = client.and_then(|mut client| {
            let done = work(&mut client)?;
            *held = Some(client);
            Ok(done)
        });
        let is_up = done.as_ref().err().is_none_or(is_about_data);
        if is_up != self.counters.is_up.swap(is_up, Ordering::Relaxed) && is_up {
            tracing::info!("PostgreSQL takes call records");
        }
        done.map_err(|error| match is_about_data(&error) {
            true => Failure::Refused(detail(&error)),
            false => Failure::Away(detail(&error)),
        })
    }

    /// Makes the table, or gives it what it lacks.
    fn prepare(&self, client: &mut Client) -> Result<(), Error> {
        let mut tx = client.transaction()?;
        // Several gateways may start at once.
        tx.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
        let names = "SELECT column_name::text FROM information_schema.columns
                     WHERE table_schema = current_schema() AND table_name = 'cdrs'";
        let known: BTreeSet<String> = tx.query(names, &[])?.iter().map(|row| row.get(0)).collect();
        if known.is_empty() {
            let column = |c: &Column| {
                let required = if c.is_required { " NOT NULL" } else { "" };
                format!("{} {}{required}", c.name, c.kind.sql())
            };
            let columns: Vec<String> = self.columns.iter().map(column).collect();
            let columns = columns.join(", ");
            tx.batch_execute(&format!(
                "CREATE TABLE cdrs ({columns}, node BIGINT NOT NULL, number BIGINT NOT NULL,
                     PRIMARY KEY (node, number));
                 CREATE INDEX cdrs_gcid ON cdrs (gcid);
                 CREATE INDEX cdrs_started ON cdrs (started_at);"
            ))?;
        } else {
            for column in self.columns.iter().filter(|column| !known.contains(&column.name)) {
                let (name, kind) = (&column.name, column.kind.sql());
                tx.batch_execute(&format!("ALTER TABLE cdrs ADD COLUMN {name} {kind}"))?;
            }
        }
        tx.commit()
    }

    /// All of a batch or nothing, in one exchange.
    fn insert(&self, client: &mut Client, batch: &[Waiting]) -> Result<(), Error> {
        if batch.is_empty() {
            return client.simple_query("SELECT 1").map(drop);
        }
        let nodes = vec![self.node; batch.len()];
        let numbers: Vec<i64> = batch.iter().map(|waiting| waiting.number).collect();
        let mut lists: Vec<Box<dyn ToSql + Sync>> = Vec::with_capacity(self.columns.len() + 2);
        for (at, column) in self.columns.iter().enumerate() {
            lists.push(list(batch.iter().map(|waiting| &waiting.values[at]), column.kind));
        }
        lists.push(Box::new(nodes));
        lists.push(Box::new(numbers));
        let names: Vec<&str> = self.names().collect();
        let kinds = self.columns.iter().map(|c| c.kind.sql()).chain(["BIGINT", "BIGINT"]);
        let kinds: Vec<String> =
            kinds.enumerate().map(|(at, kind)| format!("${}::{kind}[]", at + 1)).collect();
        let sql = format!(
            "INSERT INTO cdrs ({}) SELECT * FROM unnest({}) ON CONFLICT (node, number) DO NOTHING",
            names.join(", "),
            kinds.join(", ")
        );
        let lists: Vec<&(dyn ToSql + Sync)> = lists.iter().map(|list| &**list).collect();
        client.execute(&sql, &lists).map(drop)
    }

    fn ask(&self, client: &mut Client, filter: &CdrFilter) -> Result<Vec<Vec<Value>>, Error> {
        let names: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
        let sql = format!(
            "SELECT {} FROM cdrs
             WHERE ($1::text IS NULL OR gcid = $1) AND ($2::bigint IS NULL OR started_at >= $2)
               AND ($3::text IS NULL OR $3 IN (from_address, to_address, from_user))
               AND (NOT $4::boolean OR refusal IS NOT NULL)
             ORDER BY started_at DESC, gcid DESC LIMIT $5",
            names.join(", ")
        );
        let limit = filter.limit.map(i64::from);
        let values: [&(dyn ToSql + Sync); 5] =
            [&filter.gcid, &filter.since, &filter.party, &filter.refused, &limit];
        let rows = client.query(&sql, &values)?;
        let read = |row: &postgres::Row| -> Result<Vec<Value>, Error> {
            (0..names.len()).map(|at| Ok(row.try_get::<_, Cell>(at)?.0)).collect()
        };
        rows.iter().map(read).collect()
    }

    /// Which of these are there already.
    fn known(&self, client: &mut Client, here: &[Waiting]) -> Result<BTreeSet<i64>, Error> {
        let numbers: Vec<i64> = here.iter().map(|waiting| waiting.number).collect();
        if numbers.is_empty() {
            return Ok(BTreeSet::new());
        }
        let sql = "SELECT number FROM cdrs WHERE node = $1 AND number = ANY($2)";
        let rows = client.query(sql, &[&self.node, &numbers])?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|c| c.name.as_str()).chain(["node", "number"])
    }

    fn client(&self) -> MutexGuard<'_, Option<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the database did not do it.
enum Failure {
    /// It is there, and does not take what it was given.
    Refused(String),
    Away(String),
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(why) | Failure::Away(why) => Self::Postgres(why),
        }
    }
}

/// Data that can never be taken (SQLSTATE classes 22 and 23), however often it is sent.
fn is_about_data(error: &Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("22") || code.code().starts_with("23"))
}

fn detail(error: &Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(said), _) => said.message().to_owned(),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// One column of a batch.
fn list<'v>(values: impl Iterator<Item = &'v Value>, kind: Kind) -> Box<dyn ToSql + Sync> {
    match kind {
        Kind::Text => {
            let text = |value: &Value| match value {
                // PostgreSQL has no place for it.
                Value::Text(text) => Some(text.replace('\0', "\u{fffd}")),
                _ => None,
            };
            Box::new(values.map(text).collect::<Vec<Option<String>>>())
        }
        Kind::Integer => {
            let number = |value: &Value| match value {
                Value::Integer(number) => Some(*number),
                _ => None,
            };
            Box::new(values.map(number).collect::<Vec<Option<i64>>>())
        }
        Kind::Real => {
            let number = |value: &Value| match value {
                Value::Real(number) => Some(*number),
                Value::Integer(number) => Some(*number as f64),
                _ => None,
            };
            Box::new(values.map(number).collect::<Vec<Option<f64>>>())
        }
    }
}

/// A value of any column.
struct Cell(Value);

impl<'a> FromSql<'a> for Cell {
    fn from_sql(
        kind: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(match *kind {
            Type::INT8 => Value::Integer(i64::from_sql(kind, raw)?),
            Type::FLOAT8 => Value::Real(f64::from_sql(kind, raw)?),
            _ => Value::Text(String::from_sql(kind, raw)?),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT8 | Type::FLOAT8 | Type::TEXT | Type::VARCHAR)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for PostgresRecords {
    fn drop(&mut self) {
        // Its connection ends on a thread that may wait for it.
        if let Some(client) = self.client().take() {
            let _ = std::thread::spawn(move || drop(client)).join();
        }
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("hosts", &self.config.get_hosts())
            .field("ports", &self.config.get_ports())
            .field("database", &self.config.get_dbname())
            .field("user", &self.config.get_user())
            .field("ssl_mode", &self.config.get_ssl_mode())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PostgresRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresRecords").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Records that go together.
const BATCH: usize = 256;
const PERIOD: Duration = Duration::from_millis(500);
const MAX_WAIT: Duration = Duration::from_secs(30);
const CONNECT_TIME: Duration = Duration::from_secs(5);
const ANSWER_TIME: Duration = Duration::from_secs(15);
/// Of us among all who take advisory locks.
const LOCK: i64 = 0x6372_6f73_7370_7430;
