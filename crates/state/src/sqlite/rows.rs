//! Rows to values and back.

use std::collections::BTreeMap;

use crosspoint_base::Secret;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params, params};

use crate::{
    BindingRow, Cdr, CdrFilter, Credentials, LegFigures, StoreError, User, UserName, Write,
};

pub(super) fn users(connection: &Connection) -> Result<Vec<User>, StoreError> {
    let mut aliases: BTreeMap<String, Vec<UserName>> = BTreeMap::new();
    let mut statement =
        connection.prepare_cached("SELECT \"user\", name FROM names ORDER BY name")?;
    let names = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, name(row, 1)?)))?;
    for pair in names {
        let (user, name) = pair?;
        if name.as_str() != user {
            aliases.entry(user).or_default().push(name);
        }
    }
    let mut statement = connection.prepare_cached(
        "SELECT name, realm, ha1_md5, ha1_sha256, created FROM users ORDER BY name",
    )?;
    let users = statement.query_map([], |row| {
        let aliases = aliases.remove(name(row, 0)?.as_str()).unwrap_or_default();
        user_at(row, aliases)
    })?;
    Ok(users.collect::<Result<_, _>>()?)
}

pub(super) fn user(connection: &Connection, known_as: &str) -> Result<Option<User>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT u.name, u.realm, u.ha1_md5, u.ha1_sha256, u.created
         FROM users u JOIN names n ON n.\"user\" = u.name WHERE n.name = ?1",
    )?;
    let found = statement.query_row([known_as], |row| user_at(row, Vec::new())).optional()?;
    let Some(mut user) = found else { return Ok(None) };
    let mut statement = connection.prepare_cached(
        "SELECT name FROM names WHERE \"user\" = ?1 AND name <> ?1 ORDER BY name",
    )?;
    let aliases = statement.query_map([user.name.as_str()], |row| name(row, 0))?;
    user.aliases = aliases.collect::<Result<_, _>>()?;
    Ok(Some(user))
}

fn user_at(row: &Row<'_>, aliases: Vec<UserName>) -> rusqlite::Result<User> {
    Ok(User {
        name: name(row, 0)?,
        aliases,
        credentials: Credentials {
            realm: row.get(1)?,
            ha1_md5: Secret::new(row.get(2)?),
            ha1_sha256: Secret::new(row.get(3)?),
        },
        created: row.get(4)?,
    })
}

fn name(row: &Row<'_>, column: usize) -> rusqlite::Result<UserName> {
    let text: String = row.get(column)?;
    UserName::parse(&text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}

pub(super) fn bindings(connection: &Connection, now: i64) -> Result<Vec<BindingRow>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT aor, key, expires_at, record FROM bindings WHERE expires_at > ?1 ORDER BY aor, key",
    )?;
    let rows = statement.query_map([now], |row| {
        Ok(BindingRow {
            aor: row.get(0)?,
            key: row.get(1)?,
            expires_at: row.get(2)?,
            record: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn write(tx: &Transaction<'_>, write: &Write) -> Result<(), StoreError> {
    match write {
        Write::PutBinding(row) => {
            tx.prepare_cached(
                "INSERT INTO bindings (aor, key, expires_at, record) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (aor, key) DO UPDATE
                 SET expires_at = excluded.expires_at, record = excluded.record",
            )?
            .execute(params![row.aor, row.key, row.expires_at, row.record])?;
        }
        Write::RemoveBinding { aor, key } => {
            tx.prepare_cached("DELETE FROM bindings WHERE aor = ?1 AND key = ?2")?
                .execute([aor, key])?;
        }
        Write::Cdr(cdr) => write_cdr(tx, cdr)?,
    }
    Ok(())
}

fn write_cdr(tx: &Transaction<'_>, cdr: &Cdr) -> Result<(), StoreError> {
    let Cdr { front_figures: front, back_figures: back, .. } = cdr;
    tx.prepare_cached(
        "INSERT INTO cdrs VALUES (:gcid, :from_address, :from_user, :to_address, :trunk, :front,
            :back, :started_at, :ringing_at, :answered_at, :ended_at, :duration_ms, :ended_by,
            :cause, :f_codec, :f_received, :f_sent, :f_lost, :f_jitter, :f_round_trip,
            :b_codec, :b_received, :b_sent, :b_lost, :b_jitter, :b_round_trip, :why,
            :f_jitter_max, :f_mos, :f_mos_lowest, :f_lost_at_peer,
            :b_jitter_max, :b_mos, :b_mos_lowest, :b_lost_at_peer, :silent_from)",
    )?
    .execute(named_params! {
        ":gcid": cdr.gcid, ":from_address": cdr.from_address, ":from_user": cdr.from_user,
        ":to_address": cdr.to_address, ":trunk": cdr.trunk, ":front": cdr.front,
        ":back": cdr.back, ":started_at": cdr.started_at, ":ringing_at": cdr.ringing_at,
        ":answered_at": cdr.answered_at, ":ended_at": cdr.ended_at,
        ":duration_ms": cdr.duration_ms, ":ended_by": cdr.ended_by, ":cause": cdr.cause,
        ":f_codec": front.codec, ":f_received": front.packets_received,
        ":f_sent": front.packets_sent, ":f_lost": front.packets_lost,
        ":f_jitter": front.jitter_ms, ":f_round_trip": front.round_trip_ms,
        ":b_codec": back.codec, ":b_received": back.packets_received,
        ":b_sent": back.packets_sent, ":b_lost": back.packets_lost,
        ":b_jitter": back.jitter_ms, ":b_round_trip": back.round_trip_ms,
        ":why": cdr.why,
        ":f_jitter_max": front.jitter_max_ms, ":f_mos": front.mos,
        ":f_mos_lowest": front.mos_lowest, ":f_lost_at_peer": front.packets_lost_at_peer,
        ":b_jitter_max": back.jitter_max_ms, ":b_mos": back.mos,
        ":b_mos_lowest": back.mos_lowest, ":b_lost_at_peer": back.packets_lost_at_peer,
        ":silent_from": cdr.silent_from,
    })?;
    Ok(())
}

pub(super) fn cdrs(connection: &Connection, filter: &CdrFilter) -> Result<Vec<Cdr>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM cdrs
         WHERE (:gcid IS NULL OR gcid = :gcid)
           AND (:since IS NULL OR started_at >= :since)
           AND (:party IS NULL OR :party IN (from_address, to_address, from_user))
         ORDER BY started_at DESC, gcid DESC LIMIT :limit",
    )?;
    let parameters = named_params! {
        ":gcid": filter.gcid, ":since": filter.since, ":party": filter.party,
        // A negative limit means none.
        ":limit": filter.limit.map_or(-1, i64::from),
    };
    let rows = statement.query_map(parameters, cdr)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn cdr(row: &Row<'_>) -> rusqlite::Result<Cdr> {
    Ok(Cdr {
        gcid: row.get("gcid")?,
        from_address: row.get("from_address")?,
        from_user: row.get("from_user")?,
        to_address: row.get("to_address")?,
        trunk: row.get("trunk")?,
        front: row.get("front")?,
        back: row.get("back")?,
        started_at: row.get("started_at")?,
        ringing_at: row.get("ringing_at")?,
        answered_at: row.get("answered_at")?,
        ended_at: row.get("ended_at")?,
        duration_ms: row.get("duration_ms")?,
        ended_by: row.get("ended_by")?,
        cause: row.get("cause")?,
        front_figures: figures(row, "front")?,
        back_figures: figures(row, "back")?,
        silent_from: row.get("silent_from")?,
        why: row.get("why")?,
    })
}

fn figures(row: &Row<'_>, side: &str) -> rusqlite::Result<LegFigures> {
    let column = |name: &str| format!("{side}_{name}");
    Ok(LegFigures {
        codec: row.get(column("codec").as_str())?,
        packets_received: row.get(column("packets_received").as_str())?,
        packets_sent: row.get(column("packets_sent").as_str())?,
        packets_lost: row.get(column("packets_lost").as_str())?,
        jitter_ms: row.get(column("jitter_ms").as_str())?,
        round_trip_ms: row.get(column("round_trip_ms").as_str())?,
        jitter_max_ms: row.get(column("jitter_max_ms").as_str())?,
        mos: row.get(column("mos").as_str())?,
        mos_lowest: row.get(column("mos_lowest").as_str())?,
        packets_lost_at_peer: row.get(column("packets_lost_at_peer").as_str())?,
    })
}
