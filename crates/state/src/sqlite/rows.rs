//! Rows to values and back.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crosspoint_base::{Private, Secret};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params, params};

use crate::{
    BanRow, BindingRow, Cdr, CdrFilter, Credentials, Forwarding, LegFigures, StoreError, TextRow,
    User, UserName, VideoFigures, Write,
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
        "SELECT name, realm, ha1_md5, ha1_sha256, created, forward_always, forward_busy, forward_no_answer,
             forward_no_answer_after, forward_away FROM users ORDER BY name",
    )?;
    let users = statement.query_map([], |row| {
        let aliases = aliases.remove(name(row, 0)?.as_str()).unwrap_or_default();
        user_at(row, aliases)
    })?;
    Ok(users.collect::<Result<_, _>>()?)
}

pub(super) fn user(connection: &Connection, known_as: &str) -> Result<Option<User>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT u.name, u.realm, u.ha1_md5, u.ha1_sha256, u.created, u.forward_always,
             u.forward_busy, u.forward_no_answer, u.forward_no_answer_after, u.forward_away
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
        forwarding: Forwarding {
            always: row.get::<_, Option<String>>(5)?.map(Private),
            busy: row.get::<_, Option<String>>(6)?.map(Private),
            no_answer: row.get::<_, Option<String>>(7)?.map(Private),
            no_answer_after: row.get(8)?,
            away: row.get::<_, Option<String>>(9)?.map(Private),
        },
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

pub(super) fn texts(connection: &Connection, now: i64) -> Result<Vec<TextRow>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, \"user\", expires_at, record FROM texts WHERE expires_at > ?1 ORDER BY number",
    )?;
    let rows = statement.query_map([now], |row| {
        Ok(TextRow {
            id: row.get(0)?,
            user: row.get(1)?,
            expires_at: row.get(2)?,
            record: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn bans(connection: &Connection, now: i64) -> Result<Vec<BanRow>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT source, since, until, reason FROM bans WHERE until > ?1 ORDER BY source",
    )?;
    let rows = statement.query_map([now], |row| {
        Ok(BanRow {
            source: row.get(0)?,
            since: row.get(1)?,
            until: row.get(2)?,
            reason: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn write(tx: &Transaction<'_>, write: &Write) -> Result<(), StoreError> {
    match write {
        Write::PutText(text) => {
            // Those that came after are numbered after.
            tx.prepare_cached(
                "INSERT INTO texts (id, \"user\", expires_at, record, number)
                 VALUES (?1, ?2, ?3, ?4, (SELECT COALESCE(MAX(number), 0) + 1 FROM texts))
                 ON CONFLICT (id) DO NOTHING",
            )?
            .execute(params![text.id, text.user, text.expires_at, text.record])?;
        }
        Write::RemoveText(id) => {
            tx.prepare_cached("DELETE FROM texts WHERE id = ?1")?.execute([id])?;
        }
        Write::PutBan(ban) => {
            // Nobody asks for those that are over any more.
            tx.prepare_cached("DELETE FROM bans WHERE until <= ?1")?.execute([ban.since])?;
            tx.prepare_cached(
                "INSERT INTO bans (source, since, until, reason) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (source) DO UPDATE
                 SET since = excluded.since, until = excluded.until, reason = excluded.reason",
            )?
            .execute(params![ban.source, ban.since, ban.until, ban.reason])?;
        }
        Write::RemoveBan(source) => {
            tx.prepare_cached("DELETE FROM bans WHERE source = ?1")?.execute([source])?;
        }
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
    // By place: SQLite looks a name up by walking all of them.
    let values = params![
        cdr.gcid,
        cdr.from_address,
        cdr.from_user,
        cdr.to_address,
        cdr.trunk,
        cdr.front,
        cdr.back,
        cdr.started_at,
        cdr.ringing_at,
        cdr.answered_at,
        cdr.ended_at,
        cdr.duration_ms,
        cdr.ended_by,
        cdr.cause,
        front.codec,
        front.packets_received,
        front.packets_sent,
        front.packets_lost,
        front.jitter_ms,
        front.round_trip_ms,
        back.codec,
        back.packets_received,
        back.packets_sent,
        back.packets_lost,
        back.jitter_ms,
        back.round_trip_ms,
        cdr.why,
        front.jitter_max_ms,
        front.mos,
        front.mos_lowest,
        front.packets_lost_at_peer,
        back.jitter_max_ms,
        back.mos,
        back.mos_lowest,
        back.packets_lost_at_peer,
        cdr.silent_from,
        cdr.recordings,
        front.packets_late,
        front.packets_discarded,
        front.packets_concealed,
        front.video.codec,
        front.video.packets_received,
        front.video.packets_sent,
        front.video.packets_lost,
        front.video.packets_lost_at_peer,
        front.video.key_frames_wanted,
        front.video.key_frames_asked,
        back.packets_late,
        back.packets_discarded,
        back.packets_concealed,
        back.video.codec,
        back.video.packets_received,
        back.video.packets_sent,
        back.video.packets_lost,
        back.video.packets_lost_at_peer,
        back.video.key_frames_wanted,
        back.video.key_frames_asked,
        cdr.caller_check,
        cdr.refusal,
        cdr.attempts,
        cdr.diverted,
        cdr.parked,
        cdr.media,
    ];
    tx.prepare_cached(insert_cdr(values.len()))?.execute(values)?;
    Ok(())
}

/// Made once: each record has as many values.
fn insert_cdr(values: usize) -> &'static str {
    static INSERT: OnceLock<String> = OnceLock::new();
    INSERT.get_or_init(|| {
        let places = vec!["?"; values].join(", ");
        format!("INSERT INTO cdrs VALUES ({places})")
    })
}

pub(super) fn cdrs(connection: &Connection, filter: &CdrFilter) -> Result<Vec<Cdr>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM cdrs
         WHERE (:gcid IS NULL OR gcid = :gcid)
           AND (:since IS NULL OR started_at >= :since)
           AND (:party IS NULL OR :party IN (from_address, to_address, from_user))
           AND (NOT :refused OR refusal IS NOT NULL)
         ORDER BY started_at DESC, gcid DESC LIMIT :limit",
    )?;
    let parameters = named_params! {
        ":gcid": filter.gcid, ":since": filter.since, ":party": filter.party,
        ":refused": filter.refused,
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
        recordings: row.get("recordings")?,
        caller_check: row.get("caller_check")?,
        why: row.get("why")?,
        refusal: row.get("refusal")?,
        attempts: row.get("attempts")?,
        diverted: row.get("diverted")?,
        parked: row.get("parked")?,
        media: row.get("media")?,
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
        packets_late: row.get(column("packets_late").as_str())?,
        packets_discarded: row.get(column("packets_discarded").as_str())?,
        packets_concealed: row.get(column("packets_concealed").as_str())?,
        video: VideoFigures {
            codec: row.get(column("video_codec").as_str())?,
            packets_received: row.get(column("video_packets_received").as_str())?,
            packets_sent: row.get(column("video_packets_sent").as_str())?,
            packets_lost: row.get(column("video_packets_lost").as_str())?,
            packets_lost_at_peer: row.get(column("video_packets_lost_at_peer").as_str())?,
            key_frames_wanted: row.get(column("video_key_frames_wanted").as_str())?,
            key_frames_asked: row.get(column("video_key_frames_asked").as_str())?,
        },
    })
}
