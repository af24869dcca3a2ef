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

const STEPS: [&str; 14] = [
    "
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
",
    "
    -- What apps are provisioned with.
    CREATE TABLE owners (
        id       TEXT PRIMARY KEY,
        email    TEXT NOT NULL,
        password TEXT NOT NULL,
        created  BIGINT NOT NULL
    );
    CREATE UNIQUE INDEX owners_email ON owners (email COLLATE NOCASE);

    CREATE TABLE apps (
        id      TEXT PRIMARY KEY,
        name    TEXT NOT NULL,
        domain  TEXT NOT NULL,
        owner   TEXT NOT NULL REFERENCES owners (id) ON DELETE CASCADE,
        created BIGINT NOT NULL
    );
    CREATE INDEX apps_owner ON apps (owner);

    CREATE TABLE networks (
        id        TEXT PRIMARY KEY,
        tag       TEXT NOT NULL,
        connector TEXT NOT NULL,
        config    TEXT NOT NULL,
        owner     TEXT NOT NULL REFERENCES owners (id) ON DELETE CASCADE,
        created   BIGINT NOT NULL,
        UNIQUE (owner, tag)
    );

    CREATE TABLE sessions (
        id      TEXT PRIMARY KEY,
        -- SHA-256 of the token.
        token   TEXT NOT NULL UNIQUE,
        app     TEXT REFERENCES apps (id) ON DELETE CASCADE,
        owner   TEXT REFERENCES owners (id) ON DELETE CASCADE,
        -- Who has signed in. No reference: the running node has to learn of sessions whose user
        -- is gone, so they stay, expired at zero, until it cleans up.
        \"user\"  TEXT,
        created BIGINT NOT NULL,
        expires BIGINT NOT NULL,
        CHECK ((app IS NULL) = (owner IS NULL) AND (app IS NULL) <> (\"user\" IS NULL))
    );
    CREATE INDEX sessions_app ON sessions (app);
    CREATE INDEX sessions_owner ON sessions (owner, expires);
    CREATE INDEX sessions_user ON sessions (\"user\", expires);
    CREATE INDEX sessions_expires ON sessions (expires);

    CREATE TABLE accounts (
        id           TEXT PRIMARY KEY,
        session      TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        network      TEXT NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
        identifier   TEXT NOT NULL,
        access_token TEXT NOT NULL,
        config       TEXT NOT NULL,
        created      BIGINT NOT NULL
    );
    CREATE INDEX accounts_session ON accounts (session);
    CREATE INDEX accounts_network ON accounts (network);
",
    "
    -- How calls sounded.
    ALTER TABLE cdrs ADD COLUMN front_jitter_max_ms        DOUBLE PRECISION;
    ALTER TABLE cdrs ADD COLUMN front_mos                  DOUBLE PRECISION;
    ALTER TABLE cdrs ADD COLUMN front_mos_lowest           DOUBLE PRECISION;
    ALTER TABLE cdrs ADD COLUMN front_packets_lost_at_peer BIGINT;
    ALTER TABLE cdrs ADD COLUMN back_jitter_max_ms         DOUBLE PRECISION;
    ALTER TABLE cdrs ADD COLUMN back_mos                   DOUBLE PRECISION;
    ALTER TABLE cdrs ADD COLUMN back_mos_lowest            DOUBLE PRECISION;
    ALTER TABLE cdrs ADD COLUMN back_packets_lost_at_peer  BIGINT;
    ALTER TABLE cdrs ADD COLUMN silent_from                TEXT;
",
    "
    ALTER TABLE cdrs ADD COLUMN recordings TEXT;
",
    "
    -- What happened to sound while it waited, and how the pictures went.
    ALTER TABLE cdrs ADD COLUMN front_packets_late               BIGINT;
    ALTER TABLE cdrs ADD COLUMN front_packets_discarded          BIGINT;
    ALTER TABLE cdrs ADD COLUMN front_packets_concealed          BIGINT;
    ALTER TABLE cdrs ADD COLUMN front_video_codec                TEXT;
    ALTER TABLE cdrs ADD COLUMN front_video_packets_received     BIGINT;
    ALTER TABLE cdrs ADD COLUMN front_video_packets_sent         BIGINT;
    ALTER TABLE cdrs ADD COLUMN front_video_packets_lost         BIGINT;
    ALTER TABLE cdrs ADD COLUMN front_video_packets_lost_at_peer BIGINT;
    ALTER TABLE cdrs ADD COLUMN front_video_key_frames_wanted    BIGINT;
    ALTER TABLE cdrs ADD COLUMN front_video_key_frames_asked     BIGINT;
    ALTER TABLE cdrs ADD COLUMN back_packets_late                BIGINT;
    ALTER TABLE cdrs ADD COLUMN back_packets_discarded           BIGINT;
    ALTER TABLE cdrs ADD COLUMN back_packets_concealed           BIGINT;
    ALTER TABLE cdrs ADD COLUMN back_video_codec                 TEXT;
    ALTER TABLE cdrs ADD COLUMN back_video_packets_received      BIGINT;
    ALTER TABLE cdrs ADD COLUMN back_video_packets_sent          BIGINT;
    ALTER TABLE cdrs ADD COLUMN back_video_packets_lost          BIGINT;
    ALTER TABLE cdrs ADD COLUMN back_video_packets_lost_at_peer  BIGINT;
    ALTER TABLE cdrs ADD COLUMN back_video_key_frames_wanted     BIGINT;
    ALTER TABLE cdrs ADD COLUMN back_video_key_frames_asked      BIGINT;
",
    "
    -- How far another network vouches for the caller.
    ALTER TABLE cdrs ADD COLUMN caller_check TEXT;
",
    "
    -- Why calls were refused, and how often they were tried.
    ALTER TABLE cdrs ADD COLUMN refusal  TEXT;
    ALTER TABLE cdrs ADD COLUMN attempts BIGINT;
",
    "
    -- Texts that wait for their users.
    CREATE TABLE texts (
        id         TEXT PRIMARY KEY,
        \"user\"     TEXT NOT NULL,
        expires_at BIGINT NOT NULL,
        record     TEXT NOT NULL,
        number     BIGINT NOT NULL
    );
    CREATE INDEX texts_number ON texts (number);
",
    "
    -- Who sent calls on.
    ALTER TABLE cdrs ADD COLUMN diverted TEXT;
    -- Where users have calls go.
    ALTER TABLE users ADD COLUMN forward_always          TEXT;
    ALTER TABLE users ADD COLUMN forward_busy            TEXT;
    ALTER TABLE users ADD COLUMN forward_no_answer       TEXT;
    ALTER TABLE users ADD COLUMN forward_no_answer_after BIGINT;
    ALTER TABLE users ADD COLUMN forward_away            TEXT;
",
    "
    -- Sources that are not listened to.
    CREATE TABLE bans (
        source TEXT PRIMARY KEY,
        since  BIGINT NOT NULL,
        until  BIGINT NOT NULL,
        reason TEXT NOT NULL
    );
",
    "
    -- Calls that waited to be taken up.
    ALTER TABLE cdrs ADD COLUMN parked TEXT;
",
    "
    -- Sound, pictures, fax, text.
    ALTER TABLE cdrs ADD COLUMN media TEXT;
",
    "
    -- Who operates the gateway, and what was changed by whom.
    CREATE TABLE operators (
        name     TEXT PRIMARY KEY,
        role     TEXT NOT NULL,
        password TEXT NOT NULL,
        created  BIGINT NOT NULL
    );
    CREATE TABLE audit (
        number  BIGINT PRIMARY KEY,
        at      BIGINT NOT NULL,
        who     TEXT NOT NULL,
        role    TEXT NOT NULL,
        by      TEXT NOT NULL,
        source  TEXT,
        action  TEXT NOT NULL,
        target  TEXT NOT NULL,
        detail  TEXT NOT NULL,
        outcome TEXT NOT NULL
    );
    CREATE INDEX audit_at ON audit (at);
",
    "
    -- Call records on their way to another database: the place of each, and what it is known by there.
    CREATE TABLE cdrs_out (
        place   BIGINT PRIMARY KEY,
        number  BIGINT NOT NULL UNIQUE,
        gcid    TEXT NOT NULL,
        refused BIGINT NOT NULL
    );
",
];
