//! What every store promises about owners, apps, networks, sessions and accounts.

use crosspoint_base::Secret;
use crosspoint_state::provisioning::{MAX_ACCOUNTS, MAX_APPS, MAX_SESSIONS_OF_USER};
use crosspoint_state::{
    Account, App, ClientSession, Kind, Network, Object, Owner, Part, Source, Store, StoreError,
    TokenHash, Within,
};

use crate::suite::{on_every_store, user};

pub(crate) fn owner(id: &str) -> Object {
    Object::Owner(Owner {
        id: id.to_owned(),
        email: format!("{id}@example.test"),
        password: Secret::new("hash".to_owned()),
        created: 1,
    })
}

fn app(id: &str, owner: &str) -> Object {
    Object::App(App {
        id: id.to_owned(),
        name: "shop".to_owned(),
        domain: "shop.example".to_owned(),
        owner: owner.to_owned(),
        created: 2,
    })
}

fn network(id: &str, tag: &str, owner: &str) -> Object {
    Object::Network(Network {
        id: id.to_owned(),
        tag: tag.to_owned(),
        connector: "webrtc".to_owned(),
        config: "{}".to_owned(),
        owner: owner.to_owned(),
        created: 2,
    })
}

fn token(id: &str) -> TokenHash {
    TokenHash::of(&Secret::new(format!("token of {id}")))
}

fn session(id: &str, source: Source, expires: i64) -> Object {
    let (id, token) = (id.to_owned(), token(id));
    Object::Session(ClientSession { id, token, source, created: 10, expires })
}

fn of_app(app: &str, owner: &str) -> Source {
    Source::App { app: app.to_owned(), owner: owner.to_owned() }
}

fn of_user(user: &str) -> Source {
    Source::User(user.to_owned())
}

fn account(id: &str, session: &str, network: &str, owner: &str) -> Object {
    Object::Account(Account {
        id: id.to_owned(),
        session: session.to_owned(),
        network: network.to_owned(),
        identifier: "ann".to_owned(),
        access_token: Secret::new("secret".to_owned()),
        owner: owner.to_owned(),
        config: "{}".to_owned(),
        created: 20,
    })
}

/// Two owners, `o` with all there is and `p` with as much.
fn fill(store: &dyn Store) {
    for (owner_id, n) in [("o", "1"), ("p", "2")] {
        let id = |kind: &str| format!("{kind}{n}");
        let objects = [
            owner(owner_id),
            app(&id("app"), owner_id),
            network(&id("net"), "one", owner_id),
            network(&id("other-net"), "two", owner_id),
            session(&id("session"), of_app(&id("app"), owner_id), 100),
            account(&id("account"), &id("session"), "one", owner_id),
            account(&id("other-account"), &id("session"), "two", owner_id),
        ];
        for object in &objects {
            store.insert_object(object).unwrap();
        }
    }
}

fn ids(store: &dyn Store, kind: Kind, within: Within<'_>) -> Vec<String> {
    let (found, total) = store.objects(kind, within, Part::ALL).unwrap();
    assert_eq!(total, found.len() as u64);
    found.into_iter().map(|object| object.id().to_owned()).collect()
}

#[test]
fn gives_back_what_was_put_in() {
    on_every_store(|store| {
        fill(store);
        let expected = [
            (Kind::Owner, owner("o")),
            (Kind::App, app("app1", "o")),
            (Kind::Network, network("net1", "one", "o")),
            (Kind::Session, session("session1", of_app("app1", "o"), 100)),
            (Kind::Account, account("account1", "session1", "one", "o")),
        ];
        for (kind, object) in expected {
            assert_eq!(store.object(kind, object.id()).unwrap(), Some(object));
        }
        assert_eq!(store.object(Kind::App, "session1").unwrap(), None, "an id of another kind");
        assert_eq!(store.object(Kind::App, "nothing").unwrap(), None);
    });
}

#[test]
fn lists_what_is_within() {
    on_every_store(|store| {
        fill(store);
        store.insert_object(&session("own", of_user("alice"), 100)).unwrap();
        assert_eq!(ids(store, Kind::Owner, Within::Everything), ["o", "p"]);
        assert_eq!(ids(store, Kind::Owner, Within::Owner("o")), ["o"]);
        assert_eq!(ids(store, Kind::App, Within::Owner("p")), ["app2"]);
        assert_eq!(ids(store, Kind::Network, Within::Owner("o")), ["net1", "other-net1"]);
        assert_eq!(ids(store, Kind::Session, Within::Everything), ["own", "session1", "session2"]);
        assert_eq!(ids(store, Kind::Session, Within::App("app2")), ["session2"]);
        assert_eq!(ids(store, Kind::Session, Within::Owner("o")), ["session1"]);
        assert_eq!(ids(store, Kind::Session, Within::User("alice")), ["own"]);
        let accounts = ids(store, Kind::Account, Within::Session("session1"));
        assert_eq!(accounts, ["account1", "other-account1"]);
        assert_eq!(ids(store, Kind::Account, Within::Owner("p")), ["account2", "other-account2"]);
        assert_eq!(ids(store, Kind::Account, Within::App("app1")), [""; 0]);
        assert_eq!(ids(store, Kind::Network, Within::User("alice")), [""; 0]);
        let part = Part { offset: 1, limit: 1 };
        let (found, total) = store.objects(Kind::Session, Within::Everything, part).unwrap();
        assert_eq!((found[0].id(), found.len(), total), ("session1", 1, 3));
    });
}

#[test]
fn finds_a_session_with_everything_by_its_token() {
    on_every_store(|store| {
        fill(store);
        let found = store.session_of_token(&token("session1")).unwrap().unwrap();
        assert_eq!(Object::Session(found.session), session("session1", of_app("app1", "o"), 100));
        assert_eq!(found.app.map(Object::App), Some(app("app1", "o")));
        let accounts: Vec<(&str, &str)> =
            found.accounts.iter().map(|(a, n)| (a.id.as_str(), n.id.as_str())).collect();
        assert_eq!(accounts, [("account1", "net1"), ("other-account1", "other-net1")]);
        assert_eq!(store.session_of_token(&token("nobody")).unwrap(), None);

        store.insert_object(&session("own", of_user("alice"), 100)).unwrap();
        let own = store.session_of_token(&token("own")).unwrap().unwrap();
        assert_eq!(own.session.source.user(), Some("alice"));
        assert!(own.app.is_none() && own.accounts.is_empty());
    });
}

#[test]
fn removing_takes_what_belongs_to_it_and_tells_the_sessions() {
    let everything = |store: &dyn Store| {
        [Kind::Owner, Kind::App, Kind::Network, Kind::Session, Kind::Account]
            .map(|kind| ids(store, kind, Within::Everything).len())
    };
    let cases = [
        (Kind::Owner, "o", [1, 1, 2, 1, 2]),
        (Kind::App, "app1", [2, 1, 4, 1, 2]),
        (Kind::Network, "net1", [2, 2, 3, 2, 3]),
        (Kind::Session, "session1", [2, 2, 4, 1, 2]),
        (Kind::Account, "account1", [2, 2, 4, 2, 3]),
    ];
    for (kind, id, left) in cases {
        on_every_store(|store| {
            fill(store);
            assert_eq!(store.remove_object(kind, id).unwrap(), ["session1"], "{kind}");
            assert_eq!(everything(store), left, "{kind}");
            assert!(store.session_of_token(&token("session2")).unwrap().is_some());
            let again = store.remove_object(kind, id).unwrap_err();
            assert!(matches!(again, StoreError::NoSuchObject { .. }), "{again}");
        });
    }
    on_every_store(|store| {
        fill(store);
        let other_kind = store.remove_object(Kind::App, "o").unwrap_err();
        assert_eq!(other_kind.to_string(), "there is no app o");
        assert_eq!(everything(store), [2, 2, 4, 2, 4]);
    });
}

#[test]
fn refuses_what_belongs_nowhere_or_to_somebody_else() {
    on_every_store(|store| {
        fill(store);
        let refuse = |object: Object, why: &str| {
            let error = store.insert_object(&object).unwrap_err();
            assert_eq!(error.to_string(), why);
        };
        refuse(app("a", "nobody"), "there is no user nobody");
        refuse(network("n", "t", "nobody"), "there is no user nobody");
        refuse(network("n", "one", "o"), "another one has this tag");
        refuse(session("s", of_app("none", "o"), 1), "there is no app none");
        refuse(session("s", of_app("app2", "o"), 1), "the app belongs to somebody else");
        refuse(account("a", "none", "one", "o"), "there is no session none");
        refuse(account("a", "session2", "one", "o"), "the session belongs to somebody else");
        refuse(account("a", "session1", "three", "o"), "there is no network three");
        store.insert_object(&session("own", of_user("alice"), 100)).unwrap();
        refuse(account("a", "own", "one", "o"), "the session belongs to somebody else");
        let Object::Owner(same) = owner("o") else { unreachable!() };
        let email = same.email.to_uppercase();
        refuse(
            Object::Owner(Owner { id: "q".to_owned(), email, ..same }),
            "another one has this email",
        );
        let found = store.owner_by_email("O@Example.TEST").unwrap().unwrap();
        assert_eq!(found.id, "o");
        assert_eq!(store.owner_by_email("q@example.test").unwrap(), None);
    });
}

#[test]
fn has_bounds() {
    on_every_store(|store| {
        fill(store);
        let full = |object: Object| {
            let error = store.insert_object(&object).unwrap_err();
            assert!(matches!(error, StoreError::TooMany { .. }), "{error}");
        };
        for n in 1..MAX_APPS {
            store.insert_object(&app(&format!("more{n}"), "o")).unwrap();
        }
        full(app("one too many", "o"));
        for n in 2..MAX_ACCOUNTS {
            store.insert_object(&account(&format!("a{n}"), "session1", "one", "o")).unwrap();
        }
        full(account("one too many", "session1", "one", "o"));
        // Expired ones do not count.
        for n in 0..10 {
            store.insert_object(&session(&format!("old{n}"), of_user("alice"), 10)).unwrap();
        }
        for n in 0..MAX_SESSIONS_OF_USER {
            store.insert_object(&session(&format!("s{n}"), of_user("alice"), 100)).unwrap();
        }
        full(session("one too many", of_user("alice"), 100));
        store.insert_object(&session("bob's", of_user("bob"), 100)).unwrap();
    });
}

#[test]
fn sessions_expire_and_are_forgotten() {
    on_every_store(|store| {
        fill(store);
        store.insert_object(&session("long", of_app("app1", "o"), 200)).unwrap();
        assert_eq!(store.count_sessions(99).unwrap(), 3);
        assert_eq!(store.count_sessions(100).unwrap(), 1);
        assert_eq!(store.clean_sessions(99).unwrap(), [""; 0]);
        assert_eq!(ids(store, Kind::Session, Within::Everything).len(), 3);
        assert_eq!(store.clean_sessions(100).unwrap(), [""; 0], "they end by themselves");
        assert_eq!(ids(store, Kind::Session, Within::Everything), ["long"]);
        assert_eq!(ids(store, Kind::Account, Within::Everything), [""; 0]);
    });
}

#[test]
fn a_user_who_is_removed_or_has_a_new_password_loses_its_sessions() {
    on_every_store(|store| {
        store.insert_user(&user("alice", &[])).unwrap();
        store.insert_user(&user("bob", &[])).unwrap();
        for (id, name) in [("a1", "alice"), ("a2", "alice"), ("b1", "bob")] {
            store.insert_object(&session(id, of_user(name), 100)).unwrap();
        }
        store.set_credentials("alice", &user("alice", &[]).credentials).unwrap();
        assert_eq!(store.count_sessions(1).unwrap(), 1);
        assert_eq!(store.session_of_token(&token("a1")).unwrap().unwrap().session.expires, 0);
        store.insert_object(&session("a3", of_user("alice"), 100)).unwrap();
        assert_eq!(store.clean_sessions(50).unwrap(), ["a1", "a2"]);
        assert_eq!(store.clean_sessions(50).unwrap(), [""; 0]);
        store.remove_user("alice").unwrap();
        store.insert_user(&user("alice", &[])).unwrap();
        assert_eq!(store.clean_sessions(50).unwrap(), ["a3"], "also when the name comes back");
        assert_eq!(ids(store, Kind::Session, Within::Everything), ["b1"]);
    });
}

#[test]
fn hostile_texts_are_texts() {
    on_every_store(|store| {
        fill(store);
        for text in ["' OR 1=1 --", "\"; DROP TABLE owners; --", "%", "\0", "\u{202e}"] {
            assert_eq!(store.object(Kind::Owner, text).unwrap(), None);
            assert_eq!(store.owner_by_email(text).unwrap(), None);
            assert_eq!(ids(store, Kind::App, Within::Owner(text)), [""; 0]);
            assert_eq!(store.user(text).unwrap(), None);
            assert!(store.remove_object(Kind::Session, text).is_err());
            store.insert_object(&session(text, of_user(text), 100)).unwrap();
            assert_eq!(ids(store, Kind::Session, Within::User(text)), [text]);
        }
        assert_eq!(ids(store, Kind::Owner, Within::Everything), ["o", "p"]);
    });
}
