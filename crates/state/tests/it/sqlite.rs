//! What only the embedded store promises: files, versions and other processes.

use crosspoint_state::{Provisioning, SqliteStore, Store, StoreError, Write};

use crate::suite::{cdr, user};

#[test]
fn survives_a_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path).unwrap();
    store.insert_user(&user("alice", &["1001"])).unwrap();
    store.apply(&[Write::Cdr(Box::new(cdr("one", 1)))]).unwrap();
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.users().unwrap(), [user("alice", &["1001"])]);
    assert_eq!(store.cdrs(&crosspoint_state::CdrFilter::default()).unwrap().len(), 1);
}

#[test]
fn sees_users_that_another_connection_changed_and_only_those() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let node = SqliteStore::open(&path).unwrap();
    let command_line = SqliteStore::open(&path).unwrap();
    let before = node.users_revision().unwrap();
    command_line.apply(&[Write::Cdr(Box::new(cdr("one", 1)))]).unwrap();
    assert_eq!(node.users_revision().unwrap(), before);
    command_line.insert_user(&user("alice", &[])).unwrap();
    let after = node.users_revision().unwrap();
    assert!(after > before);
    assert_eq!(node.users_revision().unwrap(), after);
}

#[test]
fn brings_a_file_of_the_first_version_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path).unwrap();
    store.insert_user(&user("alice", &["1001"])).unwrap();
    drop(store);
    let raw = rusqlite::Connection::open(&path).unwrap();
    for table in [
        "accounts",
        "sessions",
        "networks",
        "apps",
        "owners",
        "texts",
        "bans",
        "operators",
        "audit",
        "cdrs_out",
    ] {
        raw.execute_batch(&format!("DROP TABLE {table}")).unwrap();
    }
    let pictures = ["codec", "packets_received", "packets_sent", "packets_lost"];
    let pictures = pictures.iter().chain(&["packets_lost_at_peer", "key_frames_wanted"]);
    let pictures = pictures.chain(&["key_frames_asked"]).map(|name| format!("video_{name}"));
    let sound = ["jitter_max_ms", "mos", "mos_lowest", "packets_lost_at_peer"];
    let waiting = ["packets_late", "packets_discarded", "packets_concealed"];
    let sound = sound.iter().chain(&waiting).map(|name| (*name).to_owned());
    for figure in sound.chain(pictures) {
        for side in ["front", "back"] {
            raw.execute_batch(&format!("ALTER TABLE cdrs DROP COLUMN {side}_{figure}")).unwrap();
        }
    }
    for column in [
        "silent_from",
        "recordings",
        "refusal",
        "attempts",
        "caller_check",
        "diverted",
        "parked",
        "media",
    ] {
        raw.execute_batch(&format!("ALTER TABLE cdrs DROP COLUMN {column}")).unwrap();
    }
    for column in ["always", "busy", "no_answer", "no_answer_after", "away"] {
        raw.execute_batch(&format!("ALTER TABLE users DROP COLUMN forward_{column}")).unwrap();
    }
    raw.execute(
        "INSERT INTO cdrs (gcid, from_address, to_address, front, started_at, ended_at,
            duration_ms, ended_by, cause, why)
         VALUES ('old', 'alice', '1002', 'rtp', 1, 2, 0, 'front', 'cancelled', '')",
        [],
    )
    .unwrap();
    raw.pragma_update(None, "user_version", 1).unwrap();
    drop(raw);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.users().unwrap(), [user("alice", &["1001"])]);
    store.insert_object(&crate::provisioning::owner("o")).unwrap();
    let old = store.cdrs(&crosspoint_state::CdrFilter::default()).unwrap();
    assert_eq!((old[0].silent_from.as_ref(), old[0].front_figures.mos), (None, None));
    assert_eq!(old[0].back_figures.video, crosspoint_state::VideoFigures::default());
    store.apply(&[Write::Cdr(Box::new(cdr("new", 9)))]).unwrap();
    assert_eq!(store.cdrs(&crosspoint_state::CdrFilter::default()).unwrap()[0], cdr("new", 9));
}

#[test]
fn leaves_a_file_of_a_newer_version_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 999).unwrap();
    drop(raw);
    let refused = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(refused, StoreError::TooNew { found: 999, .. }), "{refused}");
}

#[test]
fn refuses_a_file_that_is_no_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    std::fs::write(&path, "a text file, long enough to be taken for a header").unwrap();
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::Database(_))));
}

#[cfg(unix)]
#[test]
fn lets_nobody_else_read_the_file() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let _store = SqliteStore::open(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}
