//! `crosspoint run`: puts machines, sockets, store and HTTP together, and takes them down again.

mod announcement;
mod overrides;
mod pages;
mod signals;
mod users;

use std::sync::Arc;

use crosspoint_base::Secret;
use crosspoint_net::Admission;
use crosspoint_state::{SqliteStore, Store, User, Writer};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::cli::{Failure, Output, unix_now};
use crate::home::Home;
use crate::http::HttpServer;
use crate::{certificate, log, passwords, tls};
use announcement::Open;
pub(crate) use overrides::Overrides;
use pages::Pages;
use signals::Signals;

/// Runs until told to stop.
pub(crate) fn run(overrides: Overrides, mut home: Home, output: &Output) -> Result<(), Failure> {
    overrides.apply(&mut home.config);
    log::start(&home.config.log);
    let prepared = Prepared::new(home)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("the runtime's threads".to_owned(), error))?;
    runtime.block_on(serve(prepared, output))
}

/// What is there before the first socket.
struct Prepared {
    home: Home,
    store: Arc<SqliteStore>,
    writer: Writer,
    first_users: Vec<(User, Secret<String>)>,
    https: Option<Arc<ServerConfig>>,
}

impl Prepared {
    fn new(home: Home) -> Result<Self, Failure> {
        let store = Arc::new(home.store()?);
        let realm = &home.config.general.realm;
        let first_users = passwords::create_first_users(&*store, realm, unix_now())?;
        let writer = Writer::start(store.clone(), WAITING_WRITES)
            .map_err(|error| Failure::failed("the writer's thread".to_owned(), error))?;
        let (certificate, key) = certificate::ensure(&home)?;
        let https = if home.config.http.tls {
            Some(tls::server_config(&certificate, &key, &["http/1.1"])?)
        } else {
            None
        };
        Ok(Self { home, store, writer, first_users, https })
    }
}

async fn serve(prepared: Prepared, output: &Output) -> Result<(), Failure> {
    let Prepared { home, store, writer, first_users, https } = prepared;
    let config = &home.config;
    let mut signals =
        Signals::listen().map_err(|error| Failure::failed("signals".to_owned(), error))?;
    let users = store.users()?;
    let (stop, stopping) = watch::channel(false);
    let admission =
        Admission::new(config.limits.connections, config.limits.connections_per_address);
    let pages = Arc::new(Pages::new(config, writer.handle(), admission.clone()));
    let is_secure = https.is_some();
    let http = HttpServer::bind(
        config.http.listen,
        https.map(TlsAcceptor::from),
        config.http.allowed_origins.clone(),
        admission,
        pages,
    )
    .await
    .map_err(|error| unbound("http.listen", config.http.listen, &error))?;
    let kind = if is_secure { "https" } else { "http" };
    let address =
        http.local_addr().map_err(|error| Failure::failed("http.listen".to_owned(), error))?;
    let open = vec![Open { kind, address }];
    tokio::spawn(http.serve(stopping.clone()));
    tokio::spawn(users::watch(store.clone(), users, stopping, |_users| {}));
    announcement::ready(&open, &first_users, output);
    drop(first_users);

    signals.next().await;
    let _ = stop.send(true);
    drop(writer);
    Ok(())
}

fn unbound(key: &str, address: impl std::fmt::Display, error: &std::io::Error) -> Failure {
    let what = format!("{key}: {address} cannot be opened");
    let remedy = match error.kind() {
        std::io::ErrorKind::AddrInUse => "; another program has it, choose another port",
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege",
        std::io::ErrorKind::AddrNotAvailable => "; this host has no such address",
        _ => "",
    };
    Failure::failed(what, format!("{error}{remedy}"))
}

/// Room for records of calls and registrations while the disk is slow.
const WAITING_WRITES: usize = 8192;
