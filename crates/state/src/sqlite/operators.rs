//! Operators and the audit.

use crosspoint_base::Secret;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::SqliteStore;
use crate::operator::ADMIN;
use crate::{AuditBounds, AuditEntry, AuditFilter, Operator, Operators, StoreError};

impl Operators for SqliteStore {
    fn insert_operator(&self, operator: &Operator) -> Result<(), StoreError> {
        self.change(|tx| {
            let inserted = tx.execute(
                "INSERT INTO operators (name, role, password, created) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name) DO NOTHING",
                params![operator.name, operator.role, operator.password.expose(), operator.created],
            )?;
            if inserted == 0 { Err(StoreError::Exists("name")) } else { Ok(()) }
        })
    }

    fn operators(&self) -> Result<Vec<Operator>, StoreError> {
        let inner = self.inner();
        let mut statement = inner
            .connection
            .prepare_cached("SELECT name, role, password, created FROM operators ORDER BY name")?;
        Ok(statement.query_map([], operator_at)?.collect::<Result<_, _>>()?)
    }

    fn operator(&self, name: &str) -> Result<Option<Operator>, StoreError> {
        let inner = self.inner();
        let mut statement = inner.connection.prepare_cached(
            "SELECT name, role, password, created FROM operators WHERE name = ?1",
        )?;
        Ok(statement.query_row([name], operator_at).optional()?)
    }

    fn change_operator(
        &self,
        name: &str,
        role: Option<&str>,
        password: Option<&Secret<String>>,
    ) -> Result<(), StoreError> {
        self.change(|tx| {
            if role.is_some_and(|role| role != ADMIN) {
                not_the_last(tx, name)?;
            }
            let changed = tx.execute(
                "UPDATE operators SET role = COALESCE(?2, role), password = COALESCE(?3, password)
                 WHERE name = ?1",
                params![name, role, password.map(Secret::expose)],
            )?;
            found(changed, name)
        })
    }

    fn remove_operator(&self, name: &str) -> Result<(), StoreError> {
        self.change(|tx| {
            not_the_last(tx, name)?;
            found(tx.execute("DELETE FROM operators WHERE name = ?1", [name])?, name)
        })
    }

    fn note(&self, entry: &AuditEntry, keep: AuditBounds) -> Result<(), StoreError> {
        self.change(|tx| {
            tx.prepare_cached(
                "INSERT INTO audit (number, at, who, role, by, source, action, target, detail,
                     outcome)
                 VALUES ((SELECT COALESCE(MAX(number), 0) + 1 FROM audit), ?1, ?2, ?3, ?4, ?5, ?6,
                     ?7, ?8, ?9)",
            )?
            .execute(params![
                entry.at,
                entry.who,
                entry.role,
                entry.by,
                entry.source,
                entry.action,
                entry.target,
                entry.detail,
                entry.outcome
            ])?;
            tx.prepare_cached(
                "DELETE FROM audit
                 WHERE number <= (SELECT MAX(number) FROM audit) - ?1 OR at < ?2",
            )?
            .execute(params![keep.entries, keep.since])?;
            Ok(())
        })
    }

    fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        let inner = self.inner();
        read(&inner.connection, filter)
    }
}

fn read(connection: &Connection, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, at, who, role, by, source, action, target, detail, outcome FROM audit
         WHERE number < ?1 AND (?2 IS NULL OR who = ?2)
             AND (?3 IS NULL OR action = ?3 OR substr(action, 1, length(?3) + 1) = ?3 || '.')
         ORDER BY number DESC LIMIT ?4",
    )?;
    let before = filter.before.unwrap_or(i64::MAX);
    let rows = statement.query_map(
        params![before, filter.who, filter.action, filter.limit],
        |row: &Row<'_>| {
            Ok(AuditEntry {
                number: row.get(0)?,
                at: row.get(1)?,
                who: row.get(2)?,
                role: row.get(3)?,
                by: row.get(4)?,
                source: row.get(5)?,
                action: row.get(6)?,
                target: row.get(7)?,
                detail: row.get(8)?,
                outcome: row.get(9)?,
            })
        },
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn operator_at(row: &Row<'_>) -> rusqlite::Result<Operator> {
    Ok(Operator {
        name: row.get(0)?,
        role: row.get(1)?,
        password: Secret::new(row.get(2)?),
        created: row.get(3)?,
    })
}

/// Whoever locks everybody out cannot let anybody in again.
fn not_the_last(tx: &Transaction<'_>, name: &str) -> Result<(), StoreError> {
    let others: i64 = tx.query_row(
        "SELECT COUNT(*) FROM operators WHERE role = ?1 AND name <> ?2",
        [ADMIN, name],
        |row| row.get(0),
    )?;
    let role: Option<String> = tx
        .query_row("SELECT role FROM operators WHERE name = ?1", [name], |row| row.get(0))
        .optional()?;
    if role.as_deref() == Some(ADMIN) && others == 0 {
        return Err(StoreError::LastAdmin(name.to_owned()));
    }
    Ok(())
}

fn found(changed: usize, name: &str) -> Result<(), StoreError> {
    if changed == 0 { Err(StoreError::NoSuchOperator(name.to_owned())) } else { Ok(()) }
}
