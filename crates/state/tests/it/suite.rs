//! What every store promises.

use crosspoint_base::{Private, Secret};
use crosspoint_state::{
    BanRow, BindingRow, Cdr, CdrFilter, Credentials, Forwarding, LegFigures, MemoryStore,
    SqliteStore, Store, StoreError, TextRow, User, UserName, VideoFigures, Write,
};

pub(crate) fn user(name: &str, aliases: &[&str]) -> User {
    User {
        name: UserName::parse(name).unwrap(),
        aliases: aliases.iter().map(|a| UserName::parse(a).unwrap()).collect(),
        credentials: credentials("r1"),
        created: 1_700_000_000,
        forwarding: Forwarding::default(),
    }
}

pub(crate) fn cdr(gcid: &str, started_at: i64) -> Cdr {
    Cdr {
        gcid: gcid.to_owned(),
        from_address: "alice".to_owned(),
        from_user: Some("alice".to_owned()),
        to_address: "1002".to_owned(),
        front: "webrtc".to_owned(),
        back: Some("rtp".to_owned()),
        started_at,
        answered_at: Some(started_at + 10),
        ended_at: started_at + 1010,
        duration_ms: 1000,
        ended_by: "front".to_owned(),
        cause: "normal".to_owned(),
        front_figures: LegFigures {
            codec: Some("opus".to_owned()),
            packets_received: Some(50),
            jitter_ms: Some(1.5),
            jitter_max_ms: Some(9.25),
            mos: Some(4.38),
            mos_lowest: Some(2.1),
            packets_lost_at_peer: Some(7),
            packets_late: Some(3),
            packets_discarded: Some(2),
            packets_concealed: Some(5),
            video: VideoFigures {
                codec: Some("VP8".to_owned()),
                packets_received: Some(900),
                packets_sent: Some(800),
                packets_lost: Some(9),
                packets_lost_at_peer: Some(8),
                key_frames_wanted: Some(4),
                key_frames_asked: Some(6),
            },
            ..LegFigures::default()
        },
        back_figures: LegFigures {
            jitter_max_ms: Some(3.5),
            mos: Some(4.41),
            mos_lowest: Some(4.4),
            packets_lost_at_peer: Some(1),
            packets_late: Some(0),
            video: VideoFigures { key_frames_asked: Some(1), ..VideoFigures::default() },
            ..LegFigures::default()
        },
        silent_from: Some("back".to_owned()),
        recordings: Some("2026-11-21/120000-g-1.wav".to_owned()),
        parked: Some("701 by alice, taken up by bob".to_owned()),
        diverted: Some("bob busy, carol no_answer".to_owned()),
        why: "users: matched".to_owned(),
        ..Cdr::default()
    }
}

fn credentials(realm: &str) -> Credentials {
    Credentials {
        realm: realm.to_owned(),
        ha1_md5: Secret::new("a".repeat(32)),
        ha1_sha256: Secret::new("b".repeat(64)),
    }
}

/// Runs `check` against a fresh store of each kind.
pub(crate) fn on_every_store(check: impl Fn(&dyn Store)) {
    check(&MemoryStore::new());
    let folder = tempfile::tempdir().unwrap();
    check(&SqliteStore::open(&folder.path().join("store.db")).unwrap());
}

#[test]
fn gives_back_users_with_their_aliases() {
    on_every_store(|store| {
        store.insert_user(&user("bob", &[])).unwrap();
        store.insert_user(&user("alice", &["1001", "+49301"])).unwrap();
        assert_eq!(store.users().unwrap(), [user("alice", &["+49301", "1001"]), user("bob", &[])]);
        for known_as in ["alice", "1001", "+49301"] {
            let found = store.user(known_as).unwrap();
            assert_eq!(found, Some(user("alice", &["+49301", "1001"])), "{known_as}");
        }
        assert_eq!(store.user("bob").unwrap(), Some(user("bob", &[])));
        assert_eq!(store.user("carol").unwrap(), None);
    });
}

#[test]
fn lets_no_name_mean_two_people() {
    let taken = |outcome: Result<(), StoreError>, name: &str| {
        assert!(matches!(outcome, Err(StoreError::NameTaken(n)) if n == name));
    };
    on_every_store(|store| {
        store.insert_user(&user("alice", &["1001"])).unwrap();
        taken(store.insert_user(&user("alice", &[])), "alice");
        taken(store.insert_user(&user("1001", &[])), "1001");
        taken(store.insert_user(&user("bob", &["alice"])), "alice");
        taken(store.insert_user(&user("bob", &["1001"])), "1001");
        taken(store.insert_user(&user("bob", &["7", "7"])), "7");
        assert_eq!(store.users().unwrap().len(), 1, "a refused user leaves nothing behind");
    });
}

#[test]
fn a_user_gets_other_aliases_or_keeps_those_it_has() {
    let names = |texts: &[&str]| -> Vec<UserName> {
        texts.iter().map(|text| UserName::parse(text).unwrap()).collect()
    };
    on_every_store(|store| {
        store.insert_user(&user("alice", &["1001"])).unwrap();
        store.insert_user(&user("bob", &["1002"])).unwrap();
        let before = store.users_revision().unwrap();
        store.set_aliases("alice", &names(&["1001", "1003"])).unwrap();
        assert!(store.users_revision().unwrap() > before);
        assert_eq!(store.user("1003").unwrap(), Some(user("alice", &["1001", "1003"])));
        for taken in [&["1002"][..], &["bob"], &["alice"], &["7", "7"]] {
            let outcome = store.set_aliases("alice", &names(taken));
            assert!(matches!(outcome, Err(StoreError::NameTaken(_))), "{taken:?}");
        }
        assert_eq!(store.user("1003").unwrap(), Some(user("alice", &["1001", "1003"])));
        store.set_aliases("alice", &[]).unwrap();
        assert_eq!(store.users().unwrap(), [user("alice", &[]), user("bob", &["1002"])]);
        let gone = store.set_aliases("carol", &names(&["9"]));
        assert!(matches!(gone, Err(StoreError::NoSuchUser(_))));
    });
}

#[test]
fn changes_and_removes_users_and_counts_it() {
    on_every_store(|store| {
        assert_eq!(store.users_revision().unwrap(), 0);
        store.insert_user(&user("alice", &["1001"])).unwrap();
        let after_insert = store.users_revision().unwrap();
        assert!(after_insert > 0);
        store.set_credentials("alice", &credentials("r2")).unwrap();
        assert_eq!(store.users().unwrap()[0].credentials, credentials("r2"));
        let after_change = store.users_revision().unwrap();
        assert!(after_change > after_insert);
        store.remove_user("alice").unwrap();
        assert!(store.users_revision().unwrap() > after_change);
        assert!(store.users().unwrap().is_empty());
        store.insert_user(&user("bob", &["1001"])).unwrap();

        let missing = |outcome: Result<(), StoreError>| {
            assert!(matches!(outcome, Err(StoreError::NoSuchUser(_))));
        };
        missing(store.set_credentials("alice", &credentials("r2")));
        missing(store.remove_user("alice"));
    });
}

#[test]
fn takes_the_first_users_only_once_ever() {
    on_every_store(|store| {
        assert!(store.insert_first_users(&[user("alice", &[]), user("bob", &[])]).unwrap());
        assert!(!store.insert_first_users(&[user("carol", &[])]).unwrap());
        store.remove_user("alice").unwrap();
        store.remove_user("bob").unwrap();
        assert!(!store.insert_first_users(&[user("carol", &[])]).unwrap());
    });
}

#[test]
fn keeps_bindings_until_they_expire_or_their_user_goes() {
    let row = |aor: &str, key: &str, expires_at| BindingRow {
        aor: aor.to_owned(),
        key: key.to_owned(),
        expires_at,
        record: format!("{aor} {key}"),
    };
    on_every_store(|store| {
        store.insert_user(&user("alice", &[])).unwrap();
        let put = |row: BindingRow| store.apply(&[Write::PutBinding(row)]).unwrap();
        put(row("alice", "a", 50));
        put(row("alice", "a", 100));
        put(row("alice", "b", 200));
        put(row("bob", "a", 200));
        assert_eq!(store.bindings(99).unwrap().len(), 3);
        assert_eq!(store.bindings(100).unwrap(), [row("alice", "b", 200), row("bob", "a", 200)]);
        let remove = Write::RemoveBinding { aor: "bob".to_owned(), key: "a".to_owned() };
        store.apply(&[remove.clone(), remove]).unwrap();
        assert_eq!(store.bindings(100).unwrap(), [row("alice", "b", 200)]);
        store.remove_user("alice").unwrap();
        assert!(store.bindings(0).unwrap().is_empty());
    });
}

#[test]
fn keeps_texts_in_order_until_they_are_taken_or_their_user_goes() {
    let row = |id: &str, user: &str| TextRow {
        id: id.to_owned(),
        user: user.to_owned(),
        expires_at: 100,
        record: format!("to {user}"),
    };
    on_every_store(|store| {
        store.insert_user(&user("bob", &[])).unwrap();
        let put = |row: TextRow| store.apply(&[Write::PutText(Box::new(row))]).unwrap();
        for text in [row("z", "alice"), row("a", "bob"), row("m", "alice")] {
            put(text);
        }
        assert!(store.texts(100).unwrap().is_empty());
        let all = [row("z", "alice"), row("a", "bob"), row("m", "alice")];
        assert_eq!(store.texts(99).unwrap(), all);
        store.apply(&[Write::RemoveText("z".to_owned())]).unwrap();
        store.remove_user("bob").unwrap();
        assert_eq!(store.texts(0).unwrap(), [row("m", "alice")]);
    });
}

#[test]
fn keeps_bans_until_they_are_over_or_lifted() {
    let row = |source: &str, until| BanRow {
        source: source.to_owned(),
        since: until - 900,
        until,
        reason: "password".to_owned(),
    };
    on_every_store(|store| {
        let put = |row: &BanRow| store.apply(&[Write::PutBan(row.clone())]).unwrap();
        let rows = [row("192.0.2.1", 1000), row("2001:db8::", 1200)];
        rows.iter().for_each(put);
        assert_eq!(store.bans(999).unwrap(), rows);
        assert_eq!(store.bans(1000).unwrap(), rows[1..]);
        // A second one is the one that holds.
        put(&row("192.0.2.1", 1500));
        assert_eq!(store.bans(1200).unwrap(), [row("192.0.2.1", 1500)]);
        store.apply(&[Write::RemoveBan("192.0.2.1".to_owned())]).unwrap();
        assert!(store.bans(1200).unwrap().is_empty());
    });
}

#[test]
fn gives_call_records_newest_first_and_filtered() {
    on_every_store(|store| {
        let write = |cdr: Cdr| store.apply(&[Write::Cdr(Box::new(cdr))]).unwrap();
        write(cdr("one", 1000));
        write(cdr("three", 3000));
        write(Cdr {
            from_user: None,
            from_address: "0301".to_owned(),
            refusal: Some("high_risk".to_owned()),
            attempts: Some(0),
            ..cdr("two", 2000)
        });
        let ids = |filter: CdrFilter| {
            let found = store.cdrs(&filter).unwrap();
            found.into_iter().map(|c| c.gcid).collect::<Vec<_>>()
        };
        assert_eq!(ids(CdrFilter::default()), ["three", "two", "one"]);
        assert_eq!(ids(CdrFilter { limit: Some(1), ..CdrFilter::default() }), ["three"]);
        assert_eq!(ids(CdrFilter { since: Some(2000), ..CdrFilter::default() }), ["three", "two"]);
        assert_eq!(
            ids(CdrFilter { party: Some("0301".to_owned()), ..CdrFilter::default() }),
            ["two"]
        );
        assert_eq!(ids(CdrFilter { refused: true, ..CdrFilter::default() }), ["two"]);
        let one = CdrFilter { gcid: Some("one".to_owned()), ..CdrFilter::default() };
        assert_eq!(store.cdrs(&one).unwrap(), [cdr("one", 1000)]);
    });
}

#[test]
fn where_a_user_has_calls_go_is_kept_and_noticed() {
    on_every_store(|store| {
        store.insert_user(&user("alice", &["1001"])).unwrap();
        let before = store.users_revision().unwrap();
        let to = |number: &str| Some(Private(number.to_owned()));
        let forwarding = Forwarding {
            always: to("1"),
            busy: to("2"),
            no_answer: to("3"),
            no_answer_after: Some(17),
            away: to("4"),
        };
        store.set_forwarding("alice", &forwarding).unwrap();
        assert!(store.users_revision().unwrap() > before);
        assert_eq!(store.user("1001").unwrap().unwrap().forwarding, forwarding);
        assert_eq!(store.users().unwrap()[0].forwarding, forwarding);
        store.set_forwarding("alice", &Forwarding::default()).unwrap();
        assert_eq!(store.users().unwrap()[0].forwarding, Forwarding::default());
        let gone = store.set_forwarding("1001", &forwarding);
        assert!(matches!(gone, Err(StoreError::NoSuchUser(_))), "an alias is no user");
    });
}
