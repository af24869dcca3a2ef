//! Provisioned objects in tables.

use crosspoint_base::Secret;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, Transaction, params};

use super::SqliteStore;
use crate::provisioning::{
    MAX_ACCOUNTS, MAX_APPS, MAX_NETWORKS, MAX_OWNERS, MAX_SESSIONS, MAX_SESSIONS_OF_USER,
};
use crate::{
    Account, App, ClientSession, FullSession, Kind, Network, Object, Owner, Part, Provisioning,
    Source, StoreError, TokenHash, Within,
};

impl Provisioning for SqliteStore {
    fn insert_object(&self, object: &Object) -> Result<(), StoreError> {
        self.change(|tx| match object {
            Object::Owner(owner) => insert_owner(tx, owner),
            Object::App(app) => insert_app(tx, app),
            Object::Network(network) => insert_network(tx, network),
            Object::Session(session) => insert_session(tx, session),
            Object::Account(account) => insert_account(tx, account),
        })
    }

    fn object(&self, kind: Kind, id: &str) -> Result<Option<Object>, StoreError> {
        find(&self.inner().connection, kind, id)
    }

    fn objects(
        &self,
        kind: Kind,
        within: Within<'_>,
        part: Part,
    ) -> Result<(Vec<Object>, u64), StoreError> {
        let Some((condition, value)) = condition(kind, within) else {
            return Ok((Vec::new(), 0));
        };
        let inner = self.inner();
        let (columns, table) = shape(kind);
        let count = format!("SELECT COUNT(*) FROM {table} WHERE {condition}");
        let total: i64 =
            inner.connection.prepare_cached(&count)?.query_row([value], |r| r.get(0))?;
        let list = format!(
            "SELECT {columns} FROM {table} WHERE {condition} ORDER BY x.created, x.id
             LIMIT {} OFFSET {}",
            part.limit, part.offset
        );
        // Limit and offset are numbers, so few texts differ; they are not worth caching.
        let mut statement = inner.connection.prepare(&list)?;
        let rows = statement.query_map([value], |row| object(kind, row))?;
        Ok((rows.collect::<Result<_, _>>()?, u64::try_from(total).unwrap_or(0)))
    }

    fn remove_object(&self, kind: Kind, id: &str) -> Result<Vec<String>, StoreError> {
        self.change(|tx| {
            let touched = match kind {
                Kind::Owner => "SELECT id FROM sessions WHERE owner = ?1 ORDER BY id",
                Kind::App => "SELECT id FROM sessions WHERE app = ?1 ORDER BY id",
                Kind::Network => {
                    "SELECT DISTINCT session FROM accounts WHERE network = ?1 ORDER BY session"
                }
                Kind::Session => "SELECT id FROM sessions WHERE id = ?1",
                Kind::Account => "SELECT session FROM accounts WHERE id = ?1",
            };
            let sessions = texts(tx, touched, id)?;
            let delete = match kind {
                Kind::Owner => "DELETE FROM owners WHERE id = ?1",
                Kind::App => "DELETE FROM apps WHERE id = ?1",
                Kind::Network => "DELETE FROM networks WHERE id = ?1",
                Kind::Session => "DELETE FROM sessions WHERE id = ?1",
                Kind::Account => "DELETE FROM accounts WHERE id = ?1",
            };
            if tx.execute(delete, [id])? == 0 {
                return Err(StoreError::NoSuchObject { kind, id: id.to_owned() });
            }
            Ok(sessions)
        })
    }

    fn owner_by_email(&self, email: &str) -> Result<Option<Owner>, StoreError> {
        let inner = self.inner();
        let mut statement = inner.connection.prepare_cached(
            "SELECT id, email, password, created FROM owners WHERE email = ?1 COLLATE NOCASE",
        )?;
        Ok(statement.query_row([email], owner).optional()?)
    }

    fn session_of_token(&self, token: &TokenHash) -> Result<Option<FullSession>, StoreError> {
        let inner = self.inner();
        let connection = &inner.connection;
        let (columns, table) = shape(Kind::Session);
        let one = format!("SELECT {columns} FROM {table} WHERE x.token = ?1");
        let session = connection.prepare_cached(&one)?.query_row([token.as_str()], session);
        let Some(session) = session.optional()? else { return Ok(None) };
        let app = match session.source.app() {
            Some(app) => match find(connection, Kind::App, app)? {
                Some(Object::App(app)) => Some(app),
                _ => None,
            },
            None => None,
        };
        let mut statement = connection.prepare_cached(
            "SELECT x.id, x.session, n.tag, x.identifier, x.access_token, n.owner, x.config,
                    x.created, n.id, n.tag, n.connector, n.config, n.owner, n.created
             FROM accounts x JOIN networks n ON n.id = x.network
             WHERE x.session = ?1 ORDER BY x.created, x.id",
        )?;
        let rows = statement
            .query_map([session.id.as_str()], |row| Ok((account(row)?, network_at(row, 8)?)))?;
        let accounts = rows.collect::<Result<_, _>>()?;
        Ok(Some(FullSession { session, app, accounts }))
    }

    fn clean_sessions(&self, until: i64) -> Result<Vec<String>, StoreError> {
        // Asked every minute and mostly for nothing: no write lock for that.
        let is_clean = {
            let inner = self.inner();
            let mut statement = inner
                .connection
                .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM sessions WHERE expires <= ?1)")?;
            statement.query_row([until], |row| row.get::<_, bool>(0))?
        };
        if is_clean {
            return Ok(Vec::new());
        }
        self.change(|tx| {
            let ended = texts(tx, "SELECT id FROM sessions WHERE expires = ?1 ORDER BY id", 0)?;
            tx.execute("DELETE FROM sessions WHERE expires <= ?1", [until])?;
            Ok(ended)
        })
    }

    fn count_sessions(&self, now: i64) -> Result<u64, StoreError> {
        let inner = self.inner();
        let mut statement =
            inner.connection.prepare_cached("SELECT COUNT(*) FROM sessions WHERE expires > ?1")?;
        let count: i64 = statement.query_row([now], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

/// Ends the sessions of a user; the next cleaning forgets them.
pub(super) fn end_sessions_of(tx: &Transaction<'_>, user: &str) -> Result<(), StoreError> {
    tx.execute("UPDATE sessions SET expires = 0 WHERE \"user\" = ?1", [user])?;
    Ok(())
}

fn insert_owner(tx: &Transaction<'_>, owner: &Owner) -> Result<(), StoreError> {
    let taken = "SELECT COUNT(*) FROM owners WHERE email = ?1 COLLATE NOCASE";
    if count(tx, taken, [&owner.email])? > 0 {
        return Err(StoreError::Exists("email"));
    }
    at_most(count(tx, "SELECT COUNT(*) FROM owners", [])?, MAX_OWNERS, "users")?;
    tx.execute(
        "INSERT INTO owners (id, email, password, created) VALUES (?1, ?2, ?3, ?4)",
        params![owner.id, owner.email, owner.password.expose(), owner.created],
    )?;
    Ok(())
}

fn insert_app(tx: &Transaction<'_>, app: &App) -> Result<(), StoreError> {
    must_have(tx, Kind::Owner, &app.owner)?;
    let apps = count(tx, "SELECT COUNT(*) FROM apps WHERE owner = ?1", [&app.owner])?;
    at_most(apps, MAX_APPS, "apps of this user")?;
    tx.execute(
        "INSERT INTO apps (id, name, domain, owner, created) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![app.id, app.name, app.domain, app.owner, app.created],
    )?;
    Ok(())
}

fn insert_network(tx: &Transaction<'_>, network: &Network) -> Result<(), StoreError> {
    must_have(tx, Kind::Owner, &network.owner)?;
    let taken = "SELECT COUNT(*) FROM networks WHERE owner = ?1 AND tag = ?2";
    if count(tx, taken, [&network.owner, &network.tag])? > 0 {
        return Err(StoreError::Exists("tag"));
    }
    let networks = count(tx, "SELECT COUNT(*) FROM networks WHERE owner = ?1", [&network.owner])?;
    at_most(networks, MAX_NETWORKS, "networks of this user")?;
    tx.execute(
        "INSERT INTO networks (id, tag, connector, config, owner, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            network.id,
            network.tag,
            network.connector,
            network.config,
            network.owner,
            network.created
        ],
    )?;
    Ok(())
}

fn insert_session(tx: &Transaction<'_>, session: &ClientSession) -> Result<(), StoreError> {
    let ClientSession { source, created, .. } = session;
    if let Source::App { app, owner } = source {
        must_have(tx, Kind::Owner, owner)?;
        let Some(Object::App(app)) = find(tx, Kind::App, app)? else {
            return Err(StoreError::NoSuchObject { kind: Kind::App, id: app.clone() });
        };
        if app.owner != *owner {
            return Err(StoreError::OtherOwner("app"));
        }
    }
    let (query, whose, bound) = match source {
        Source::App { owner, .. } => {
            ("SELECT COUNT(*) FROM sessions WHERE owner = ?1 AND expires > ?2", owner, MAX_SESSIONS)
        }
        Source::User(user) => (
            "SELECT COUNT(*) FROM sessions WHERE \"user\" = ?1 AND expires > ?2",
            user,
            MAX_SESSIONS_OF_USER,
        ),
    };
    at_most(count(tx, query, params![whose, created])?, bound, "sessions of this user")?;
    tx.prepare_cached(
        "INSERT INTO sessions (id, token, app, owner, \"user\", created, expires)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        session.id,
        session.token.as_str(),
        source.app(),
        source.owner(),
        source.user(),
        created,
        session.expires
    ])?;
    Ok(())
}

fn insert_account(tx: &Transaction<'_>, account: &Account) -> Result<(), StoreError> {
    must_have(tx, Kind::Owner, &account.owner)?;
    let no_such = |kind, id: &str| StoreError::NoSuchObject { kind, id: id.to_owned() };
    let session = find(tx, Kind::Session, &account.session)?
        .ok_or_else(|| no_such(Kind::Session, &account.session))?;
    if session.owner() != Some(&account.owner) {
        return Err(StoreError::OtherOwner("session"));
    }
    let network: Option<String> = tx
        .prepare_cached("SELECT id FROM networks WHERE owner = ?1 AND tag = ?2")?
        .query_row([&account.owner, &account.network], |row| row.get(0))
        .optional()?;
    let network = network.ok_or_else(|| no_such(Kind::Network, &account.network))?;
    let accounts = "SELECT COUNT(*) FROM accounts WHERE session = ?1";
    let accounts = count(tx, accounts, [&account.session])?;
    at_most(accounts, MAX_ACCOUNTS, "accounts of this session")?;
    tx.prepare_cached(
        "INSERT INTO accounts (id, session, network, identifier, access_token, config, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        account.id,
        account.session,
        network,
        account.identifier,
        account.access_token.expose(),
        account.config,
        account.created
    ])?;
    Ok(())
}

/// The columns of a kind in the order its reader wants, and where they come from.
fn shape(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Owner => ("x.id, x.email, x.password, x.created", "owners x"),
        Kind::App => ("x.id, x.name, x.domain, x.owner, x.created", "apps x"),
        Kind::Network => ("x.id, x.tag, x.connector, x.config, x.owner, x.created", "networks x"),
        Kind::Session => {
            ("x.id, x.token, x.app, x.owner, x.\"user\", x.created, x.expires", "sessions x")
        }
        Kind::Account => (
            "x.id, x.session, n.tag, x.identifier, x.access_token, n.owner, x.config, x.created",
            "accounts x JOIN networks n ON n.id = x.network",
        ),
    }
}

/// A condition with the one value it takes; none when the kind has no such place.
fn condition(kind: Kind, within: Within<'_>) -> Option<(&'static str, &str)> {
    match (within, kind) {
        (Within::Everything, _) => Some(("?1 = ''", "")),
        (Within::Owner(owner), Kind::Owner) => Some(("x.id = ?1", owner)),
        (Within::Owner(owner), Kind::Account) => Some(("n.owner = ?1", owner)),
        (Within::Owner(owner), _) => Some(("x.owner = ?1", owner)),
        (Within::App(app), Kind::Session) => Some(("x.app = ?1", app)),
        (Within::User(user), Kind::Session) => Some(("x.\"user\" = ?1", user)),
        (Within::Session(session), Kind::Account) => Some(("x.session = ?1", session)),
        (Within::App(_) | Within::User(_) | Within::Session(_), _) => None,
    }
}

fn find(connection: &Connection, kind: Kind, id: &str) -> Result<Option<Object>, StoreError> {
    let (columns, table) = shape(kind);
    let one = format!("SELECT {columns} FROM {table} WHERE x.id = ?1");
    let mut statement = connection.prepare_cached(&one)?;
    Ok(statement.query_row([id], |row| object(kind, row)).optional()?)
}

fn must_have(tx: &Transaction<'_>, kind: Kind, id: &str) -> Result<(), StoreError> {
    match find(tx, kind, id)? {
        Some(_) => Ok(()),
        None => Err(StoreError::NoSuchObject { kind, id: id.to_owned() }),
    }
}

fn object(kind: Kind, row: &Row<'_>) -> rusqlite::Result<Object> {
    match kind {
        Kind::Owner => owner(row).map(Object::Owner),
        Kind::App => app(row).map(Object::App),
        Kind::Network => network_at(row, 0).map(Object::Network),
        Kind::Session => session(row).map(Object::Session),
        Kind::Account => account(row).map(Object::Account),
    }
}

fn owner(row: &Row<'_>) -> rusqlite::Result<Owner> {
    Ok(Owner {
        id: row.get(0)?,
        email: row.get(1)?,
        password: Secret::new(row.get(2)?),
        created: row.get(3)?,
    })
}

fn app(row: &Row<'_>) -> rusqlite::Result<App> {
    Ok(App {
        id: row.get(0)?,
        name: row.get(1)?,
        domain: row.get(2)?,
        owner: row.get(3)?,
        created: row.get(4)?,
    })
}

fn network_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Network> {
    Ok(Network {
        id: row.get(first)?,
        tag: row.get(first + 1)?,
        connector: row.get(first + 2)?,
        config: row.get(first + 3)?,
        owner: row.get(first + 4)?,
        created: row.get(first + 5)?,
    })
}

fn session(row: &Row<'_>) -> rusqlite::Result<ClientSession> {
    let (app, owner): (Option<String>, Option<String>) = (row.get(2)?, row.get(3)?);
    let source = match (app, owner) {
        (Some(app), Some(owner)) => Source::App { app, owner },
        // The table lets nothing else in.
        _ => Source::User(row.get(4)?),
    };
    Ok(ClientSession {
        id: row.get(0)?,
        token: TokenHash::from_kept(row.get(1)?),
        source,
        created: row.get(5)?,
        expires: row.get(6)?,
    })
}

fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        id: row.get(0)?,
        session: row.get(1)?,
        network: row.get(2)?,
        identifier: row.get(3)?,
        access_token: Secret::new(row.get(4)?),
        owner: row.get(5)?,
        config: row.get(6)?,
        created: row.get(7)?,
    })
}

fn count(
    connection: &Connection,
    query: &str,
    parameters: impl rusqlite::Params,
) -> Result<usize, StoreError> {
    let count: i64 = connection.prepare_cached(query)?.query_row(parameters, |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

fn texts(
    tx: &Transaction<'_>,
    query: &str,
    parameter: impl ToSql,
) -> Result<Vec<String>, StoreError> {
    let mut statement = tx.prepare_cached(query)?;
    let rows = statement.query_map([parameter], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn at_most(count: usize, bound: usize, what: &'static str) -> Result<(), StoreError> {
    if count < bound { Ok(()) } else { Err(StoreError::TooMany { what, bound }) }
}
