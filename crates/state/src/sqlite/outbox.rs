//! Call records that wait here to go to another database.
//!
//! Each gets a number that is never used again, and keeps it until the other database has it: what
//! is sent twice is known by it there. The numbers are kept beside the records, since those are
//! written far more often than read.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction, params, params_from_iter};

use super::{SqliteStore, rows, schema};
use crate::{Cdr, CdrFilter, StoreError};

/// A column of the records, which is the same in every database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) is_required: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Real,
}

impl Kind {
    /// Its name in SQL.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Integer => "BIGINT",
            Self::Real => "DOUBLE PRECISION",
        }
    }
}

/// A record with what it is known by elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) number: i64,
    /// In the order of the columns.
    pub(crate) values: Vec<Value>,
}

impl SqliteStore {
    /// What this installation is known by to other databases: `fresh`, if it has no name yet.
    pub(crate) fn node(&self, fresh: i64) -> Result<i64, StoreError> {
        self.change(|tx| {
            let sql =
                "INSERT INTO meta (key, value) VALUES ('cdr_node', ?1) ON CONFLICT DO NOTHING";
            tx.execute(sql, [fresh])?;
            let sql = "SELECT value FROM meta WHERE key = 'cdr_node'";
            Ok(tx.query_row(sql, [], |row| row.get(0))?)
        })
    }

    pub(crate) fn columns(&self) -> Result<Vec<Column>, StoreError> {
        columns(&self.inner().connection)
    }

    /// How many records wait, those that were refused included.
    pub(crate) fn waiting(&self) -> Result<u64, StoreError> {
        let inner = self.inner();
        let sql = "SELECT COUNT(*) FROM cdrs";
        Ok(inner.connection.query_row(sql, [], |row| row.get::<_, i64>(0))?.unsigned_abs())
    }

    /// The oldest records that wait, each with its number.
    pub(crate) fn next_out(&self, most: usize) -> Result<Vec<Waiting>, StoreError> {
        let is_empty = "SELECT NOT EXISTS (SELECT 1 FROM cdrs)";
        if self.inner().connection.query_row(is_empty, [], |row| row.get(0))? {
            return Ok(Vec::new());
        }
        self.change(|tx| {
            number(tx, most)?;
            let mut statement = tx.prepare_cached(
                "SELECT o.number, c.* FROM cdrs_out o JOIN cdrs c ON c.rowid = o.place
                 WHERE o.refused = 0 ORDER BY o.number LIMIT ?1",
            )?;
            let waiting = statement.query_map([most as i64], waiting_at)?;
            Ok(waiting.collect::<Result<_, _>>()?)
        })
    }

    /// The other database has these: they go from here.
    pub(crate) fn went_out(&self, numbers: &[i64]) -> Result<(), StoreError> {
        self.change(|tx| {
            for number in numbers {
                let place = "SELECT place FROM cdrs_out WHERE number = ?1";
                tx.prepare_cached(&format!("DELETE FROM cdrs WHERE rowid = ({place})"))?
                    .execute([number])?;
                tx.prepare_cached("DELETE FROM cdrs_out WHERE number = ?1")?.execute([number])?;
            }
            Ok(())
        })
    }

    /// The other database does not take this one, whenever it is asked: it stays here.
    pub(crate) fn stays(&self, number: i64) -> Result<(), StoreError> {
        self.change(|tx| {
            tx.execute("UPDATE cdrs_out SET refused = 1 WHERE number = ?1", [number])?;
            Ok(())
        })
    }

    /// Records that wait and pass the filter, newest first. Each has its number: one without could
    /// go out before the other database is asked, and would be found in both.
    pub(crate) fn still_here(&self, filter: &CdrFilter) -> Result<Vec<Waiting>, StoreError> {
        if self.waiting()? == 0 {
            return Ok(Vec::new());
        }
        self.change(|tx| {
            number(tx, ALL)?;
            still_here(tx, filter)
        })
    }
}

fn still_here(tx: &Transaction<'_>, filter: &CdrFilter) -> Result<Vec<Waiting>, StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT o.number, c.* FROM cdrs c JOIN cdrs_out o ON o.place = c.rowid
             WHERE (?1 IS NULL OR c.gcid = ?1) AND (?2 IS NULL OR c.started_at >= ?2)
               AND (?3 IS NULL OR ?3 IN (c.from_address, c.to_address, c.from_user))
               AND (NOT ?4 OR c.refusal IS NOT NULL)
             ORDER BY c.started_at DESC, c.gcid DESC LIMIT ?5",
    )?;
    let limit = filter.limit.map_or(-1, i64::from);
    let values = params![filter.gcid, filter.since, filter.party, filter.refused, limit];
    let waiting = statement.query_map(values, waiting_at)?;
    Ok(waiting.collect::<Result<_, _>>()?)
}
/// Reads records of any origin as if they lay here.
pub(crate) fn merged(
    rows: impl Iterator<Item = Vec<Value>>,
    filter: &CdrFilter,
) -> Result<Vec<Cdr>, StoreError> {
    let mut connection = Connection::open_in_memory()?;
    schema::migrate(&mut connection, Path::new("memory"))?;
    let tx = connection.transaction()?;
    for values in rows {
        let places = vec!["?"; values.len()].join(", ");
        tx.prepare_cached(&format!("INSERT INTO cdrs VALUES ({places})"))?
            .execute(params_from_iter(values))?;
    }
    tx.commit()?;
    rows::cdrs(&connection, filter)
}

fn columns(connection: &Connection) -> Result<Vec<Column>, StoreError> {
    let mut statement = connection.prepare("PRAGMA table_info(cdrs)")?;
    let columns = statement.query_map([], |row| {
        let kind: String = row.get("type")?;
        let kind = match kind.as_str() {
            "BIGINT" => Kind::Integer,
            "DOUBLE PRECISION" => Kind::Real,
            _ => Kind::Text,
        };
        Ok(Column { name: row.get("name")?, kind, is_required: row.get("notnull")? })
    })?;
    Ok(columns.collect::<Result<_, _>>()?)
}

/// Numbers those that have none, the oldest first.
fn number(tx: &Transaction<'_>, most: usize) -> Result<(), StoreError> {
    // A place that holds another record than it did: somebody has put the file in order.
    tx.execute(
        "DELETE FROM cdrs_out WHERE NOT EXISTS
             (SELECT 1 FROM cdrs c WHERE c.rowid = place AND c.gcid = cdrs_out.gcid)",
        [],
    )?;
    let last = "SELECT value FROM meta WHERE key = 'cdr_number'";
    let mut last: i64 = tx.query_row(last, [], |row| row.get(0)).optional()?.unwrap_or(0);
    let mut statement = tx.prepare_cached(
        "SELECT c.rowid, c.gcid FROM cdrs c
         WHERE NOT EXISTS (SELECT 1 FROM cdrs_out o WHERE o.place = c.rowid)
         ORDER BY c.rowid LIMIT ?1",
    )?;
    let fresh = statement
        .query_map([most as i64], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let fresh: Vec<(i64, String)> = fresh.collect::<Result<_, _>>()?;
    for (place, gcid) in fresh {
        last += 1;
        tx.prepare_cached("INSERT INTO cdrs_out VALUES (?1, ?2, ?3, 0)")?
            .execute(params![place, last, gcid])?;
    }
    tx.execute(
        "INSERT INTO meta (key, value) VALUES ('cdr_number', ?1)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [last],
    )?;
    Ok(())
}

fn waiting_at(row: &rusqlite::Row<'_>) -> rusqlite::Result<Waiting> {
    let count = row.as_ref().column_count();
    let values = (1..count).map(|at| row.get(at)).collect::<Result<_, _>>()?;
    Ok(Waiting { number: row.get(0)?, values })
}

/// More than there can be.
const ALL: usize = i64::MAX as usize;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, Write};

    fn store_with(gcids: &[&str]) -> (tempfile::TempDir, SqliteStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("store.db")).unwrap();
        write(&store, gcids);
        (folder, store)
    }

    fn write(store: &SqliteStore, gcids: &[&str]) {
        let record =
            |gcid: &&str| Write::Cdr(Box::new(Cdr { gcid: (*gcid).to_owned(), ..Cdr::default() }));
        store.apply(&gcids.iter().map(record).collect::<Vec<_>>()).unwrap();
    }

    /// Number and gcid of each.
    fn out(store: &SqliteStore, most: usize) -> Vec<(i64, String)> {
        let waiting = store.next_out(most).unwrap();
        let one = |waiting: &Waiting| match &waiting.values[0] {
            Value::Text(gcid) => (waiting.number, gcid.clone()),
            other => panic!("{other:?}"),
        };
        waiting.iter().map(one).collect()
    }

    #[test]
    fn a_record_keeps_its_number_until_it_has_gone_and_no_other_ever_gets_it() {
        let (_folder, store) = store_with(&["a", "b", "c"]);
        let pair = |number: i64, gcid: &str| (number, gcid.to_owned());
        assert_eq!(out(&store, 2), [pair(1, "a"), pair(2, "b")]);
        // Nobody heard whether they arrived.
        assert_eq!(out(&store, 3), [pair(1, "a"), pair(2, "b"), pair(3, "c")]);
        store.went_out(&[1, 2, 3]).unwrap();
        assert_eq!((store.waiting().unwrap(), out(&store, 9)), (0, vec![]));
        // SQLite gives the places of those that are gone to others.
        write(&store, &["d"]);
        assert_eq!(out(&store, 9), [pair(4, "d")]);
        assert_eq!(store.node(7).unwrap(), 7);
        assert_eq!(store.node(8).unwrap(), 7);
    }

    /// It may go out while somebody asks for records, and must be known when it is found again.
    #[test]
    fn one_that_is_looked_at_has_a_number() {
        let (_folder, store) = store_with(&["a"]);
        assert_eq!(store.still_here(&CdrFilter::default()).unwrap()[0].number, 1);
        assert_eq!(out(&store, 9), [(1, "a".to_owned())]);
    }

    #[test]
    fn one_that_is_refused_is_out_of_the_way_and_found_all_the_same() {
        let (_folder, store) = store_with(&["a", "b"]);
        assert_eq!(out(&store, 1).len(), 1);
        store.stays(1).unwrap();
        assert_eq!(out(&store, 9), [(2, "b".to_owned())]);
        let filter = CdrFilter { gcid: Some("a".to_owned()), ..CdrFilter::default() };
        let here = store.still_here(&filter).unwrap();
        assert_eq!((here.len(), here[0].number), (1, 1));
        let read = merged(here.into_iter().map(|waiting| waiting.values), &filter).unwrap();
        assert_eq!(read, store.cdrs(&filter).unwrap());
        let columns = store.columns().unwrap();
        assert!(columns.iter().any(|c| c.name == "front_mos" && c.kind == Kind::Real));
        assert!(columns.iter().any(|c| c.name == "started_at" && c.is_required));
    }
}
