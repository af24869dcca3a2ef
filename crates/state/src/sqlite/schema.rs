//! The tables, as a list of steps from an empty file to now.
//!
//! `PRAGMA user_version` tells how many steps a file has had. Steps are only ever appended. The
//! SQL keeps to what PostgreSQL understands as well, apart from the triggers.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::StoreError;

/// Brings a file up to date.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    // Two processes may start at once: whoever gets the lock second finds the work done.
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let known = u32::try_from(STEPS.len()).expect("the list of steps is short");
    let found: u32 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(StoreError::TooNew { path: path.to_owned(), found, known });
    }
    for step in STEPS.iter().skip(found as usize) {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "user_version", known)?;
    tx.commit()?;
    Ok(())
}

const STEPS: [&str; 1] = ["
    CREATE TABLE meta (
        key   TEXT PRIMARY KEY,
        value BIGINT NOT NULL
    );
    INSERT INTO meta (key, value) VALUES ('users_revision', 0);

    CREATE TABLE users (
        name       TEXT PRIMARY KEY,
        realm      TEXT NOT NULL,
        ha1_md5    TEXT NOT NULL,
        ha1_sha256 TEXT NOT NULL,
        created    BIGINT NOT NULL
    );
    -- Every name and alias: one name never means two people.
    CREATE TABLE names (
        name TEXT PRIMARY KEY,
        \"user\" TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE
    );
    CREATE TRIGGER user_inserted AFTER INSERT ON users BEGIN
        UPDATE meta SET value = value + 1 WHERE key = 'users_revision';
    END;
    CREATE TRIGGER user_updated AFTER UPDATE ON users BEGIN
        UPDATE meta SET value = value + 1 WHERE key = 'users_revision';
    END;
    CREATE TRIGGER user_deleted AFTER DELETE ON users BEGIN
        UPDATE meta SET value = value + 1 WHERE key = 'users_revision';
    END;

    CREATE TABLE bindings (
        aor        TEXT NOT NULL,
        key        TEXT NOT NULL,
        expires_at BIGINT NOT NULL,
        record     TEXT NOT NULL,
        PRIMARY KEY (aor, key)
    );

    CREATE TABLE cdrs (
        gcid                   TEXT NOT NULL,
        from_address           TEXT NOT NULL,
        from_user              TEXT,
        to_address             TEXT NOT NULL,
        trunk                  TEXT,
        front                  TEXT NOT NULL,
        back                   TEXT,
        started_at             BIGINT NOT NULL,
        ringing_at             BIGINT,
        answered_at            BIGINT,
        ended_at               BIGINT NOT NULL,
        duration_ms            BIGINT NOT NULL,
        ended_by               TEXT NOT NULL,
        cause                  TEXT NOT NULL,
        front_codec            TEXT,
        front_packets_received BIGINT,
        front_packets_sent     BIGINT,
        front_packets_lost     BIGINT,
        front_jitter_ms        DOUBLE PRECISION,
        front_round_trip_ms    DOUBLE PRECISION,
        back_codec             TEXT,
        back_packets_received  BIGINT,
        back_packets_sent      BIGINT,
        back_packets_lost      BIGINT,
        back_jitter_ms         DOUBLE PRECISION,
        back_round_trip_ms     DOUBLE PRECISION,
        why                    TEXT NOT NULL
    );
    -- Not unique: a peer may bring an id, and bring it twice.
    CREATE INDEX cdrs_gcid ON cdrs (gcid);
    CREATE INDEX cdrs_started ON cdrs (started_at);
"];
