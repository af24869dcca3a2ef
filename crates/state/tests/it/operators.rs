//! Operators and the audit, in every store.

use crosspoint_base::Secret;
use crosspoint_state::{AuditBounds, AuditEntry, AuditFilter, Operator, StoreError};

use crate::suite::on_every_store;

fn operator(name: &str, role: &str) -> Operator {
    let password = Secret::new(format!("$argon2id${name}"));
    Operator { name: name.to_owned(), role: role.to_owned(), password, created: 1_700_000_000 }
}

#[test]
fn keeps_operators_and_changes_what_is_named() {
    on_every_store(|store| {
        assert_eq!(store.operators().unwrap(), []);
        store.insert_operator(&operator("olga", "operator")).unwrap();
        store.insert_operator(&operator("ann", "admin")).unwrap();
        let again = store.insert_operator(&operator("ann", "viewer"));
        assert!(matches!(again, Err(StoreError::Exists("name"))));
        let all = [operator("ann", "admin"), operator("olga", "operator")];
        assert_eq!(store.operators().unwrap(), all);

        let changed = Secret::new("$argon2id$new".to_owned());
        store.change_operator("olga", Some("viewer"), None).unwrap();
        store.change_operator("olga", None, Some(&changed)).unwrap();
        let olga = Operator { password: changed, ..operator("olga", "viewer") };
        assert_eq!(store.operator("olga").unwrap(), Some(olga));
        store.remove_operator("olga").unwrap();
        assert_eq!(store.operator("olga").unwrap(), None);
        for gone in [
            store.remove_operator("olga"),
            store.change_operator("olga", Some("viewer"), None),
            store.change_operator("olga", None, Some(&Secret::new(String::new()))),
        ] {
            assert!(matches!(gone, Err(StoreError::NoSuchOperator(name)) if name == "olga"));
        }
    });
}

#[test]
fn the_last_admin_stays_one() {
    on_every_store(|store| {
        store.insert_operator(&operator("ann", "admin")).unwrap();
        store.insert_operator(&operator("olga", "operator")).unwrap();
        let is_last =
            |outcome| matches!(outcome, Err(StoreError::LastAdmin(name)) if name == "ann");
        assert!(is_last(store.remove_operator("ann")));
        assert!(is_last(store.change_operator("ann", Some("viewer"), None)));
        store.change_operator("ann", Some("admin"), None).unwrap();
        store.change_operator("olga", Some("admin"), None).unwrap();
        store.change_operator("ann", Some("viewer"), None).unwrap();
        store.remove_operator("ann").unwrap();
    });
}

#[test]
fn the_audit_is_read_in_pages_and_forgets_what_is_too_much_or_too_old() {
    let entry = |at: i64, who: &str, action: &str| AuditEntry {
        at,
        who: who.to_owned(),
        role: "admin".to_owned(),
        by: "api".to_owned(),
        source: Some("192.0.2.1".to_owned()),
        action: action.to_owned(),
        target: "x".to_owned(),
        detail: "{}".to_owned(),
        outcome: "done".to_owned(),
        number: 0,
    };
    on_every_store(|store| {
        let keep = AuditBounds { entries: 4, since: 0 };
        for at in 1..=3 {
            store.note(&entry(at, "ann", "ban.add"), keep).unwrap();
        }
        store.note(&entry(4, "olga", "banner"), keep).unwrap();
        store.note(&entry(5, "olga", "ban"), keep).unwrap();
        let find = |filter: AuditFilter| -> Vec<i64> {
            store.audit(&filter).unwrap().iter().map(|entry| entry.at).collect()
        };
        let all = AuditFilter { limit: 10, ..AuditFilter::default() };
        assert_eq!(find(all.clone()), [5, 4, 3, 2], "the oldest is gone");
        let page = store.audit(&AuditFilter { limit: 2, ..all.clone() }).unwrap();
        let before = page.last().map(|entry| entry.number);
        assert_eq!(find(AuditFilter { before, ..all.clone() }), [3, 2]);
        assert_eq!(find(AuditFilter { who: Some("olga".to_owned()), ..all.clone() }), [5, 4]);
        assert_eq!(find(AuditFilter { action: Some("ban".to_owned()), ..all.clone() }), [5, 3, 2]);
        assert_eq!(page[0], AuditEntry { number: page[0].number, ..entry(5, "olga", "ban") });
        store.note(&entry(9, "ann", "ban"), AuditBounds { since: 5, ..keep }).unwrap();
        assert_eq!(find(all), [9, 5]);
    });
}
