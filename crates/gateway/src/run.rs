//! `crosspoint run`: puts machines, sockets, store and HTTP together, and takes them down again.

mod announcement;
mod bindings;
mod clock;
mod driver;
mod overrides;
mod pages;
mod records;
mod relay;
mod sessions;
mod signaling;
mod signals;
mod users;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{Secret, Transport};
use crosspoint_media::control;
use crosspoint_net::{
    Admission, AppArrival, AppSocketConfig, AppSockets, Arrival, ConnectionLimits, MediaPool,
    MediaPoolConfig, OriginCheck, Resolver, SipTransport, SipTransportConfig, TurnServer,
};
use crosspoint_node::{Input, Node};
use crosspoint_state::{SqliteStore, Store, User, Writer};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::cli::{Failure, Output, system_rng, unix_now};
use crate::config::{Config, Ice};
use crate::home::Home;
use crate::http::HttpServer;
use crate::metrics::EndedCalls;
use crate::provisioning::{Provisioning, Settings};
use crate::{addresses, certificate, log, passwords, plan, tls};
use announcement::Open;
use clock::Clock;
use driver::{Driver, Wish};
pub(crate) use overrides::Overrides;
use pages::Pages;
use sessions::Tokens;
use signals::Signals;

/// Runs until told to stop.
pub(crate) fn run(overrides: Overrides, mut home: Home, output: &Output) -> Result<(), Failure> {
    overrides.apply(&mut home.config);
    log::start(&home.config.log);
    let (prepared, revoked) = Prepared::new(home)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("the runtime's threads".to_owned(), error))?;
    let outcome = runtime.block_on(serve(prepared, revoked, output));
    // Whatever still waits for a slow peer is not waited for.
    runtime.shutdown_background();
    outcome
}

/// What is there before the first socket.
struct Prepared {
    home: Home,
    store: Arc<SqliteStore>,
    writer: Writer,
    provisioning: Arc<Provisioning>,
    users: Vec<User>,
    first_users: Vec<(User, Secret<String>)>,
    https: Arc<ServerConfig>,
    sip_tls: Arc<ServerConfig>,
    addresses: Vec<IpAddr>,
}

/// Sessions that are gone or grant less.
type Revoked = mpsc::Receiver<Vec<Arc<str>>>;

impl Prepared {
    /// With what provisioning will tell of sessions that are no more.
    fn new(mut home: Home) -> Result<(Self, Revoked), Failure> {
        let store = Arc::new(home.store()?);
        let realm = &home.config.general.realm;
        let first_users = passwords::create_first_users(&*store, realm, unix_now())?;
        let users = store.users()?;
        let writer = Writer::start(store.clone(), WAITING_WRITES)
            .map_err(|error| Failure::failed("the writer's thread".to_owned(), error))?;
        let (certificate, key) = certificate::ensure(&home)?;
        let https = tls::server_config(&certificate, &key, &["http/1.1"])?;
        let sip_tls = tls::server_config(&certificate, &key, &[])?;
        let addresses = match home.config.media.addresses.as_slice() {
            [] => addresses::of_this_host(),
            configured => configured.to_vec(),
        };
        let login = home.config.rtcengine.provisioning.take();
        let settings = Settings::new(&home.config, login, &addresses);
        let (revoked_in, revoked) = mpsc::channel(WAITING_REVOCATIONS);
        let provisioning = Provisioning::new(store.clone(), settings, revoked_in);
        let prepared = Self {
            home,
            store,
            writer,
            provisioning,
            users,
            first_users,
            https,
            sip_tls,
            addresses,
        };
        Ok((prepared, revoked))
    }

    fn media_config(&self) -> MediaPoolConfig {
        let Config { media, limits, .. } = &self.home.config;
        MediaPoolConfig {
            browser_listen: media.browser_listen,
            addresses: self.addresses.clone(),
            rtp_bind: media.listen,
            rtp_ports: (*media.rtp_ports.start(), *media.rtp_ports.end()),
            ice_lite: media.ice == Ice::Lite,
            timeout: media.timeout,
            max_legs: limits.calls.saturating_mul(4),
        }
    }

    fn transport_config(&self, admission: Admission) -> SipTransportConfig {
        let config = &self.home.config;
        let origins = config.http.allowed_origins.clone();
        SipTransportConfig {
            listeners: config.listeners.iter().map(|l| (l.transport, l.address)).collect(),
            tls_server: self.sip_tls.clone(),
            tls_client: tls::client_config(),
            admission,
            tell_local_address: config.media.addresses.is_empty(),
            origins: OriginCheck::new(move |origin, host| origins.allow(origin, host)),
            limits: ConnectionLimits::default(),
        }
    }
}

async fn serve(prepared: Prepared, revoked: Revoked, output: &Output) -> Result<(), Failure> {
    let mut signals =
        Signals::listen().map_err(|error| Failure::failed("signals".to_owned(), error))?;
    let config = &prepared.home.config;
    let admission =
        Admission::new(config.limits.connections, config.limits.connections_per_address);
    let signaling = Signaling::start(&prepared, admission.clone()).await?;
    let pages =
        Arc::new(Pages::new(config, &signaling, prepared.writer.handle(), admission.clone()));
    let tls = config.http.tls.then(|| TlsAcceptor::from(prepared.https.clone()));
    let origins = config.http.allowed_origins.clone();
    let provisioning = prepared.provisioning.clone();
    let listen = config.http.listen;
    let http = HttpServer::bind(listen, tls, origins, admission, pages, provisioning.clone())
        .await
        .map_err(|error| unbound("http.listen", config.http.listen, &error))?;
    let address =
        http.local_addr().map_err(|error| Failure::failed("http.listen".to_owned(), error))?;

    let mut open = vec![Open { kind: if config.http.tls { "https" } else { "http" }, address }];
    open.extend(signaling.open());
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(http.serve(stopping.clone()));
    tokio::spawn(sessions::revoke(revoked, signaling.wishes.clone()));
    tokio::spawn(sessions::keep_clean(provisioning, stopping.clone()));
    signaling.follow_users(&prepared, stopping);
    announcement::ready(&open, &prepared.first_users, output);

    signals.next().await;
    tracing::info!("stopping: no new calls, ending those that run");
    let graceful = signaling.stop(config.timers.shutdown);
    let outcome = tokio::select! {
        () = graceful => Ok(()),
        () = signals.next() => {
            Err(Failure::failed("stopped at once".to_owned(), "a second signal came"))
        }
    };
    let _ = stop.send(true);
    // Waits until every record is on the disk.
    drop(prepared.writer);
    outcome
}

/// The running half that carries calls.
struct Signaling {
    transport: SipTransport,
    media: MediaPool,
    apps: AppSockets,
    provisioning: Arc<Provisioning>,
    wishes: mpsc::Sender<Wish>,
    turn: Option<TurnServer>,
}

impl Signaling {
    async fn start(prepared: &Prepared, admission: Admission) -> Result<Self, Failure> {
        let config = &prepared.home.config;
        let (arrivals_in, arrivals) = mpsc::channel::<Arrival>(WAITING_MESSAGES);
        let (media_in, media_events) = mpsc::channel::<control::Event>(WAITING_MESSAGES);
        let mut rng = system_rng()?;
        let media = MediaPool::start(&prepared.media_config(), rng.fork(), move |event| {
            // The node never waits for media, so this cannot lock up. It fails only at the end.
            let _ = media_in.blocking_send(event);
        })
        .map_err(|error| Failure::failed("media".to_owned(), error))?;
        let turn = relay::start(prepared, media.browser_address(), admission.clone(), &mut rng)?;
        let transport = SipTransport::bind(prepared.transport_config(admission), arrivals_in)
            .await
            .map_err(|error| {
                let key = format!("listener {}", error.transport);
                unbound(&key, error.address, &error.source)
            })?;
        let mut seed = [0; 32];
        rng.fill(&mut seed);
        let advertised = prepared.addresses.first().copied().unwrap_or(config.media.listen);
        let node_config =
            signaling::node_config(config, &prepared.users, advertised, &transport, seed).await;
        let clock = Clock::now();
        let mut node = Node::new(node_config);
        let known = signaling::credentials(&prepared.users, &config.general.realm);
        let plan = Box::new(plan::plan(config, &prepared.users));
        node.handle_input(Instant::now(), Input::Users { users: known, plan });
        for row in prepared.store.bindings(unix_now())? {
            if let Some(restored) = bindings::read(&row, &clock) {
                node.handle_input(Instant::now(), restored.into_input(transport.listeners()));
            }
        }
        let (wishes, wished) = mpsc::channel(16);
        let (app_arrivals_in, app_arrivals) = mpsc::channel::<AppArrival>(WAITING_MESSAGES);
        let apps = AppSockets::new(AppSocketConfig::default(), app_arrivals_in);
        let (asked, answers) = mpsc::channel(WAITING_MESSAGES);
        let driver = Driver {
            node,
            transport: transport.clone(),
            media: media.clone(),
            apps: apps.clone(),
            app_arrivals,
            answers,
            asked,
            grants: Arc::new(Tokens(prepared.provisioning.clone())),
            names: Arc::new(Resolver::from_system(rng.fork())),
            writer: prepared.writer.handle(),
            clock,
            arrivals,
            media_events,
            wishes: wished,
            ended: EndedCalls::default(),
            stopping: Vec::new(),
            is_stopping: false,
        };
        tokio::spawn(driver.run());
        let provisioning = prepared.provisioning.clone();
        Ok(Self { transport, media, apps, provisioning, wishes, turn })
    }

    fn open(&self) -> Vec<Open> {
        let kind = |transport| match transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        };
        let listeners = self.transport.listeners().iter();
        let mut open: Vec<Open> =
            listeners.map(|(t, address)| Open { kind: kind(*t), address: *address }).collect();
        open.push(Open { kind: "media", address: self.media.browser_address() });
        let relay = self.turn.iter().flat_map(TurnServer::listeners);
        open.extend(relay.map(|(kind, address)| Open { kind, address: *address }));
        open
    }

    /// Tells the node whenever the command line has changed the users.
    fn follow_users(&self, prepared: &Prepared, stopping: watch::Receiver<bool>) {
        let realm = prepared.home.config.general.realm.clone();
        let fixed = plan::plan(&prepared.home.config, &[]);
        let (wishes, provisioning) = (self.wishes.clone(), self.provisioning.clone());
        let changed = move |users: &[User]| {
            let known = signaling::credentials(users, &realm);
            let plan = plan::with_users(fixed.clone(), users);
            let (wishes, provisioning) = (wishes.clone(), provisioning.clone());
            tokio::spawn(async move {
                // It fails only when the node is gone.
                let _ = wishes.send(Wish::Users(known, plan)).await;
                provisioning.clean().await;
            });
        };
        let store: Arc<dyn Store> = prepared.store.clone();
        tokio::spawn(users::watch(store, prepared.users.clone(), stopping, changed));
    }

    /// Ends every call; gives up waiting after `limit`.
    async fn stop(&self, limit: Duration) {
        let (done, all_over) = oneshot::channel();
        let graceful = async {
            if self.wishes.send(Wish::Stop(done)).await.is_ok() {
                let _ = all_over.await;
            }
        };
        if tokio::time::timeout(limit, graceful).await.is_err() {
            tracing::warn!("some calls did not end in time");
        }
    }
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
/// Room for news of sessions that have ended.
const WAITING_REVOCATIONS: usize = 64;
/// Room for messages while the node is busy with others.
const WAITING_MESSAGES: usize = 8192;
