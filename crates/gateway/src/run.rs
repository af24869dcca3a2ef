//! `crosspoint run`: puts machines, sockets, store and HTTP together, and takes them down again.

pub(crate) mod acme;
pub(crate) mod announcement;
mod bans;
mod bindings;
mod bringing;
mod callers;
mod capturing;
pub(crate) mod clock;
pub(crate) mod control;
mod digits;
pub(crate) mod drain;
mod driver;
mod hep;
pub(crate) mod ledger;
mod live_calls;
mod media_plane;
pub(crate) mod one_port;
mod overrides;
mod overview;
mod pages;
mod recording;
mod records;
mod relay;
pub(crate) mod reload;
mod remote_recording;
mod sessions;
mod signaling;
pub(crate) mod signals;
mod streaming;
mod texts;
pub(crate) mod trunks;
mod users;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crosspoint_base::{Rng, Secret, Transport, WallClock};
use crosspoint_call::router::Plan;
use crosspoint_media::capture::CaptureReader;
use crosspoint_media::control::Event as MediaEvent;
use crosspoint_media::turn::Network;
use crosspoint_net::{
    Admission, AppArrival, AppSocketConfig, AppSockets, Arrival, CertificateReader,
    ConnectionLimits, Documents, DocumentsConfig, IceTcp, MediaPool, MediaPoolConfig, OriginCheck,
    Recorder, Resolver, SharedPort, SharedPortConfig, SharedPortCounts, SipTransport,
    SipTransportConfig, SoundStreams, StreamEvent, TurnServer,
};
use crosspoint_node::{Input, Node};
use crosspoint_state::{
    Forwarder, Operators as _, PostgresRecords, SqliteStore, Store, User, Writer,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use crate::cli::{Failure, Output, system_rng, unix_now};
use crate::config::{Config, Ice};
use crate::events::Events;
use crate::home::{CONTROL_SOCKET, Home};
use crate::http::{BearerTokens, CallApi, HttpServer, TerminalStreams};
use crate::metrics::EndedCalls;
use crate::provisioning::oidc::Oidc;
use crate::provisioning::{Provisioning, Settings};
use crate::webhooks::Webhooks;
use crate::{addresses, certificate, log, passwords, plan, tls};
use announcement::Open;
use callers::Callers;
use control::Control;
use drain::Draining;
use driver::{Driver, Wish};
use hep::HepQueue;
pub(crate) use live_calls::name_of;
use live_calls::{LiveCalls, Recordings};
use media_plane::MediaPlane;
pub(crate) use overrides::Overrides;
use pages::Pages;
pub(crate) use reload::BeforeStart;
use reload::{Marks, Reach, Reloader};
use sessions::Tokens;
use signals::{Signal, Signals};
use streaming::Streams;
use trunks::TrunkPlaces;

/// Runs until told to stop. `file` is the configuration file that was named, if one was.
pub(crate) fn run(
    file: Option<PathBuf>,
    overrides: Overrides,
    mut home: Home,
    output: &Output,
) -> Result<(), Failure> {
    overrides.apply(&mut home.config);
    log::start(&home.config.log);
    let (prepared, revoked) = Prepared::new(home, overrides.no_users)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("the runtime's threads".to_owned(), error))?;
    let outcome = runtime.block_on(serve(prepared, revoked, (file, overrides), output));
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
    /// The certificate that all of them show.
    shown: Arc<tls::Shown>,
    marks: BeforeStart,
    https: Arc<ServerConfig>,
    sip_tls: Arc<ServerConfig>,
    /// Reads what trunks show of themselves; none where no trunk is known so.
    certificates: Option<CertificateReader>,
    places: Arc<TrunkPlaces>,
    addresses: Vec<IpAddr>,
    events: Events,
    /// Where call records go from the store, if they do.
    records: Option<Arc<PostgresRecords>>,
    forwarder: Option<Forwarder>,
}

/// Sessions that are gone or grant less.
type Revoked = mpsc::Receiver<Vec<Arc<str>>>;

impl Prepared {
    /// With what provisioning will tell of sessions that are no more.
    fn new(mut home: Home, no_users: bool) -> Result<(Self, Revoked), Failure> {
        let store = Arc::new(home.store()?);
        let realm = &home.config.general.realm;
        let first_users = match no_users {
            true => Vec::new(),
            false => passwords::create_first_users(&*store, realm, unix_now())?,
        };
        let users = store.users()?;
        home.check_users(&users)?;
        let writer = Writer::start(store.clone(), WAITING_WRITES)
            .map_err(|error| Failure::failed("the writer's thread".to_owned(), error))?;
        let (certificate, key) = certificate::ensure(&home)?;
        // RFC 7443 §3: TURN has a name of its own, which browsers do not say.
        let shown = tls::Shown::new(tls::certified(&certificate, &key)?);
        let mut protocols = vec!["h2", "http/1.1", "stun.turn"];
        protocols.extend(home.config.acme.as_ref().map(|_| tls::ACME));
        let https = tls::server_config(&shown, &protocols)?;
        let certificates = tls::certificate_reader(&home.config.trunks)?;
        let sip_tls = tls::sip_server_config(&shown, certificates.is_some())?;
        let records = home.records()?;
        let forwarder = records.as_ref().map(PostgresRecords::forward).transpose();
        let forwarder =
            forwarder.map_err(|error| Failure::failed("the records' thread".to_owned(), error))?;
        let places = Arc::new(TrunkPlaces::new(&home.config.trunks)?);
        let addresses = match home.config.media.addresses.as_slice() {
            [] => addresses::of_this_host(),
            configured => configured.to_vec(),
        };
        let marks = Marks::before_start(&home.config);
        let login = home.config.rtcengine.provisioning.take();
        let settings = Settings::new(&home.config, login, &addresses);
        let (revoked_in, revoked) = mpsc::channel(WAITING_REVOCATIONS);
        let provisioning = Provisioning::new(store.clone(), settings, revoked_in);
        // Operators may be added while we run; what nobody reads costs little.
        let may_read = home.config.admin_token.is_some() || !store.operators()?.is_empty();
        let events = Events::for_readers(may_read);
        let prepared = Self {
            home,
            store,
            writer,
            provisioning,
            users,
            first_users,
            shown,
            marks,
            https,
            sip_tls,
            certificates,
            places,
            addresses,
            events,
            records,
            forwarder,
        };
        Ok((prepared, revoked))
    }

    fn plan(&self) -> Arc<tokio::sync::Mutex<Plan>> {
        Arc::new(tokio::sync::Mutex::new(plan::plan(&self.home.config, &[])))
    }

    fn media_config(&self, http: SocketAddr) -> MediaPoolConfig {
        let config = &self.home.config;
        let tcp_addresses = one_port::tcp_addresses(config, http, &self.addresses);
        MediaPoolConfig { tcp_addresses, ..media_config(config, &self.addresses) }
    }

    /// Who gets connections: none of those who are banned, among them never trunks.
    fn admission(&self) -> Result<Admission, Failure> {
        let Config { limits, ban, trunks, .. } = &self.home.config;
        let (total, by_address) = (limits.connections, limits.connections_per_address);
        let admission = Admission::guarded(total, by_address, ban.clone());
        let networks = trunks.iter().flat_map(|trunk| &trunk.sources.networks);
        networks.for_each(|network| admission.bans().trust(*network));
        bans::restore(&*self.store, admission.bans())?;
        self.provisioning.guard_with(admission.bans().clone());
        Ok(admission)
    }

    /// Opens the listeners of SIP.
    async fn listen(
        &self,
        admission: Admission,
        arrivals: mpsc::Sender<Arrival>,
    ) -> Result<SipTransport, Failure> {
        let transport = SipTransport::bind(self.transport_config(admission), arrivals).await;
        transport.map_err(|error| {
            let key = format!("listener {}", error.transport);
            unbound(&key, error.address, &error.source)
        })
    }

    fn transport_config(&self, admission: Admission) -> SipTransportConfig {
        let config = &self.home.config;
        let origins = config.http.allowed_origins.clone();
        SipTransportConfig {
            listeners: config.listeners.iter().map(|l| (l.transport, l.address)).collect(),
            tls_server: self.sip_tls.clone(),
            tls_client: tls::sip_client_config(),
            admission,
            tell_local_address: config.media.addresses.is_empty(),
            origins: OriginCheck::new(move |origin, host| origins.allow(origin, host)),
            limits: ConnectionLimits {
                messages_per_second: config.limits.messages_per_address,
                ..ConnectionLimits::default()
            },
            certificates: self.certificates.clone(),
        }
    }
}

/// Of media control. A call that is transferred or picked up has more than two for a while.
pub(crate) fn max_legs(config: &Config) -> usize {
    config.limits.calls.saturating_mul(4)
}

/// What the configuration says of the media plane. `addresses` is what peers are told.
pub(crate) fn media_config(config: &Config, addresses: &[IpAddr]) -> MediaPoolConfig {
    let media = &config.media;
    MediaPoolConfig {
        browser_listen: media.browser_listen,
        addresses: addresses.to_vec(),
        tcp_addresses: Vec::new(),
        rtp_bind: media.listen,
        rtp_ports: (*media.rtp_ports.start(), *media.rtp_ports.end()),
        io: media.io,
        threads: media.threads,
        ice_lite: media.ice == Ice::Lite,
        timeout: media.timeout,
        max_legs: max_legs(config),
        codec_threads: media.codec_threads,
        opus_complexity: media.opus_complexity,
        keep_awake: media.keep_awake,
        realtime: media.realtime,
    }
}

async fn serve(
    prepared: Prepared,
    revoked: Revoked,
    place: (Option<PathBuf>, Overrides),
    output: &Output,
) -> Result<(), Failure> {
    let mut signals =
        Signals::listen().map_err(|error| Failure::failed("signals".to_owned(), error))?;
    let config = &prepared.home.config;
    let admission = prepared.admission()?;
    let listen = config.http.listen;
    let listener = TcpListener::bind(listen).await;
    let listener = listener.map_err(|error| unbound("http.listen", listen, &error))?;
    let address =
        listener.local_addr().map_err(|error| Failure::failed("http.listen".to_owned(), error))?;
    let signaling = Signaling::start(&prepared, admission.clone(), address).await?;
    let terminals = signaling.terminals.clone();
    let (recorder, bans) = (signaling.recorder.clone(), admission.bans().clone());
    let counts = SharedPortCounts::default();
    let ice = config.media.ice_tcp.then(|| IceTcp::new(signaling.media.links()));
    let on_port = one_port::Counts { port: counts.clone(), ice: ice.clone() };
    let writer = prepared.writer.handle();
    let (stop, stopping) = watch::channel(false);
    let control = signaling.operations(&prepared, place, &admission, &stopping)?;
    let pages = Pages::new(&prepared, &signaling, writer, admission.clone(), on_port);
    let pages = Arc::new(pages.operated_by(control.clone()));
    let tls = config.http.tls.then(|| TlsAcceptor::from(prepared.https.clone()));
    let origins = config.http.allowed_origins.clone();
    let provisioning = prepared.provisioning.clone();
    let call_api = call_api(&prepared, &signaling)?;
    vouching(&prepared, &signaling, address)?;
    let http = HttpServer::new(origins, pages, provisioning.clone(), call_api);
    let share_turn = config.turn.as_ref().is_some_and(|turn| turn.share_http);
    let turn = signaling.turn.clone().filter(|_| share_turn);
    let port = SharedPort::new(listener, tls, admission, SharedPortConfig { turn, ice }, counts);

    let mut open = vec![Open { kind: if config.http.tls { "https" } else { "http" }, address }];
    open.extend(signaling.open());
    tokio::spawn(one_port::serve(port, http, stopping.clone()));
    let kept = tokio::spawn(bans::follow(prepared.store.clone(), bans, stopping.clone()));
    tokio::spawn(sessions::revoke(revoked, signaling.wishes.clone()));
    tokio::spawn(sessions::keep_clean(provisioning, stopping.clone()));
    signaling.follow_users(&prepared, stopping.clone());
    control::listen(prepared.home.data.join(CONTROL_SOCKET), control.clone(), stopping);
    announcement::ready(&open, &prepared.first_users, output);

    let outcome = signaling.live(&mut signals, &control, config.timers.shutdown).await;
    terminals.close_all();
    let _ = stop.send(true);
    // What was banned in the last second is written, too.
    let _ = kept.await;
    if let Some(recorder) = recorder {
        // Calls that did not end in time are recorded until here.
        recorder.stop(RECORDER_TIME);
    }
    // Waits until every record is on the disk.
    drop(prepared.writer);
    let forwarder = prepared.forwarder;
    // What it cannot send now, the next start does.
    let _ = tokio::task::spawn_blocking(move || drop(forwarder)).await;
    outcome
}

/// Who may open streams of the call API, and how issuers of tokens are reached.
fn call_api(prepared: &Prepared, signaling: &Signaling) -> Result<CallApi, Failure> {
    let config = prepared.home.config.call_api.clone();
    let documents = match config.introspection.is_some() || config.issuer.is_some() {
        true => Some(documents("grpc", tls::client_config(), &config.allow, signaling)?),
        false => None,
    };
    let tokens = BearerTokens::new(config, prepared.provisioning.clone(), documents);
    Ok(CallApi { streams: signaling.terminals.clone(), tokens: Arc::new(tokens) })
}

/// Where what issuers publish is fetched from, and they are asked.
fn documents(
    key: &str,
    tls: Option<Arc<ClientConfig>>,
    allow: &[Network],
    signaling: &Signaling,
) -> Result<Documents, Failure> {
    let why = "the system trusts no web server";
    let config = DocumentsConfig {
        tls: tls.ok_or_else(|| Failure::failed(key.to_owned(), why))?,
        hosts: Vec::new(),
        allow: allow.to_vec(),
        max_bytes: MAX_ANSWER,
        patience: PATIENCE,
        user_agent: concat!("Crosspoint/", env!("CARGO_PKG_VERSION")),
    };
    Ok(Documents::new(config, signaling.names.clone()))
}

/// Who vouches for operators, if anybody does. `http` is where we are reached.
fn vouching(prepared: &Prepared, signaling: &Signaling, http: SocketAddr) -> Result<(), Failure> {
    let config = &prepared.home.config;
    let Some(oidc) = &config.console.oidc else { return Ok(()) };
    let documents = documents("console.oidc", oidc.tls.clone(), &oidc.allow, signaling)?;
    let address = oidc.address.clone().unwrap_or_else(|| {
        let port = one_port::advertised_port(config, http);
        let host = relay::host(prepared);
        // As browsers write it, who compare it.
        if port == 443 { format!("https://{host}") } else { format!("https://{host}:{port}") }
    });
    tracing::info!(issuer = oidc.issuer, address, "operators may sign in with its identities");
    prepared.provisioning.vouched_by(Oidc::new(oidc.clone(), address, documents));
    Ok(())
}

/// Of an issuer of tokens: its keys, or what it says of one token.
const MAX_ANSWER: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

/// The running half that carries calls.
struct Signaling {
    transport: SipTransport,
    media: MediaPool,
    plane: MediaPlane,
    apps: AppSockets,
    terminals: TerminalStreams,
    names: Arc<Resolver>,
    provisioning: Arc<Provisioning>,
    wishes: mpsc::Sender<Wish>,
    turn: Option<TurnServer>,
    recorder: Option<Recorder>,
    recordings: Option<PathBuf>,
    sound_streams: Option<SoundStreams>,
    /// What the configuration says of where calls go, for users to be added to.
    plan: Arc<tokio::sync::Mutex<Plan>>,
}

/// The media plane, and whoever hears it besides the parties.
struct MediaSide {
    media: MediaPool,
    plane: MediaPlane,
    told: mpsc::Receiver<MediaEvent>,
    recordings: Option<Recordings>,
    streams: Option<Streams>,
    stream_events: mpsc::Receiver<StreamEvent>,
    captures: Option<CaptureReader>,
}

impl MediaSide {
    async fn start(prepared: &Prepared, http: SocketAddr, rng: &mut Rng) -> Result<Self, Failure> {
        let config = &prepared.home.config;
        let (media_in, media_told) = mpsc::channel::<MediaEvent>(WAITING_MESSAGES);
        let (recordings, mut taps) = recording::start(prepared)?;
        let (streams, stream_events) = recording::streams(config, &mut taps)?;
        let captures = capturing::start(&config.ladder, config.media.threads, &mut taps);
        // The node never waits for media, so this cannot lock up. It fails only at the end.
        let told = move |event| drop(media_in.blocking_send(event));
        let media = MediaPool::start_tapped(&prepared.media_config(http), rng.fork(), taps, told)
            .map_err(|error| Failure::failed("media".to_owned(), error))?;
        let plane = MediaPlane::start(
            media.clone(),
            &config.media_servers,
            config.media.dtmf_listen,
            media_told,
            rng.fork(),
        );
        let (plane, told) =
            plane.await.map_err(|error| Failure::failed("media_server".to_owned(), error))?;
        Ok(Self { media, plane, told, recordings, streams, stream_events, captures })
    }
}

impl Signaling {
    async fn start(
        prepared: &Prepared,
        admission: Admission,
        http: SocketAddr,
    ) -> Result<Self, Failure> {
        let config = &prepared.home.config;
        let (arrivals_in, arrivals) = mpsc::channel::<Arrival>(WAITING_MESSAGES);
        let mut rng = system_rng()?;
        let MediaSide { media, plane, told, recordings, streams, stream_events, captures } =
            MediaSide::start(prepared, http, &mut rng).await?;
        let sound_streams = streams.as_ref().map(|streams| streams.streams.clone());
        let turn = relay::start(prepared, &media, http, admission.clone(), &mut rng)?;
        let transport = prepared.listen(admission, arrivals_in).await?;
        let (clock, events) = (clock::now(), &prepared.events);
        let node = node(prepared, &transport, &clock, &mut rng).await?;
        let (wishes, wished) = mpsc::channel(16);
        let (apps, app_arrivals) = app_sockets();
        let (terminals, terminal_inputs) = TerminalStreams::new(WAITING_MESSAGES);
        let (asked, answers) = mpsc::channel(WAITING_MESSAGES);
        let names = Arc::new(Resolver::from_system(rng.fork()));
        let driver = Driver {
            node,
            transport: transport.clone(),
            media: plane.clone(),
            apps: apps.clone(),
            app_arrivals,
            terminals: terminals.clone(),
            terminal_inputs,
            answers,
            asked,
            callers: Callers::new(config.stir.as_ref(), names.clone()),
            grants: Arc::new(Tokens(prepared.provisioning.clone())),
            names: names.clone(),
            places: prepared.places.clone(),
            writer: prepared.writer.handle(),
            calls: LiveCalls::new(&plane, &recordings, streams, clock, events, captures.is_some()),
            captures,
            hep: config.hep.clone().map(|hep| HepQueue::start(hep, clock)),
            clock,
            arrivals,
            media_events: told,
            stream_events,
            wishes: wished,
            later: wishes.downgrade(),
            ended: EndedCalls::default(),
            leaving: Vec::new(),
            commands: Vec::new(),
            stopping: Vec::new(),
            is_stopping: false,
            is_draining: false,
        };
        recording::remind(prepared, &wishes);
        capturing::remind(&config.ladder, &wishes);
        tokio::spawn(driver.run());
        Ok(Self {
            transport,
            media,
            plane,
            apps,
            terminals,
            names,
            provisioning: prepared.provisioning.clone(),
            wishes,
            turn,
            recordings: recordings.as_ref().map(|_| recording::folder(prepared)),
            recorder: recordings.map(|recordings| recordings.recorder),
            sound_streams,
            plan: prepared.plan(),
        })
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
        let media = self.media.browser_addresses().into_iter();
        open.extend(media.map(|address| Open { kind: "media", address }));
        let relay = self.turn.iter().flat_map(TurnServer::listeners);
        open.extend(relay.map(|(kind, address)| Open { kind, address: *address }));
        open
    }

    /// What operators change of the running process.
    fn operations(
        &self,
        prepared: &Prepared,
        place: (Option<PathBuf>, Overrides),
        admission: &Admission,
        stopping: &watch::Receiver<bool>,
    ) -> Result<Control, Failure> {
        let config = &prepared.home.config;
        let webhooks = Arc::new(Webhooks::new(prepared.events.clone(), self.names.clone()));
        webhooks.set(&config.webhooks);
        let drain = Arc::new(Mutex::new(config.drain));
        let reach = Reach {
            store: prepared.store.clone(),
            transport: self.transport.clone(),
            admission: admission.clone(),
            names: self.names.clone(),
            wishes: self.wishes.clone(),
            shown: prepared.shown.clone(),
            plan: self.plan.clone(),
            drain: drain.clone(),
            webhooks: webhooks.clone(),
            media: self.media.clone(),
        };
        let reloader = Arc::new(Reloader::new(prepared, place, reach)?);
        tokio::spawn(reloader.clone().follow_certificate(stopping.clone()));
        let draining = Draining::new(self.wishes.clone(), drain);
        let renewals = Arc::new(acme::Counts::default());
        if let Some(acme) = &config.acme {
            let renewal = acme::Renewal {
                acme: acme.clone(),
                data: prepared.home.data.clone(),
                names: self.names.clone(),
                shown: prepared.shown.clone(),
                counts: renewals.clone(),
            };
            tokio::spawn(renewal.keep(stopping.clone()));
        }
        let (wishes, writer) = (self.wishes.clone(), prepared.writer.handle());
        Ok(Control { reloader, draining, webhooks, renewals, wishes, writer })
    }

    /// Lives until a signal or an operator ends it, and ends in good order.
    async fn live(
        &self,
        signals: &mut Signals,
        control: &Control,
        shutdown: Duration,
    ) -> Result<(), Failure> {
        let is_signal = loop {
            tokio::select! {
                signal = signals.any() => match signal {
                    Signal::Stop => break true,
                    Signal::Reload => {
                        // What is wrong with it is in the log.
                        let _ = control.reloader.reload("signal").await;
                    }
                },
                () = control.draining.wait() => break false,
            }
        };
        let time = control.draining.time();
        let ending = async {
            // Who drained before has had the time.
            if is_signal && !time.is_zero() && control.draining.begin(Some(time)).await.is_ok() {
                control.draining.wait().await;
            }
            tracing::info!("stopping: no new calls, ending those that run");
            self.stop(shutdown).await;
        };
        tokio::select! {
            () = ending => Ok(()),
            () = signals.next() => {
                Err(Failure::failed("stopped at once".to_owned(), "a second signal came"))
            }
        }
    }

    /// Tells the node whenever the command line has changed the users.
    fn follow_users(&self, prepared: &Prepared, stopping: watch::Receiver<bool>) {
        let realm = prepared.home.config.general.realm.clone();
        let fixed = self.plan.clone();
        let (wishes, provisioning) = (self.wishes.clone(), self.provisioning.clone());
        let changed = move |users: &[User]| {
            let known = signaling::credentials(users, &realm);
            let (users, fixed) = (users.to_vec(), fixed.clone());
            let (wishes, provisioning) = (wishes.clone(), provisioning.clone());
            tokio::spawn(async move {
                // Held until the node is told: a reload comes before or after, and not in between.
                let fixed = fixed.lock().await;
                let plan = Box::new(plan::with_users(fixed.clone(), &users));
                // It fails only when the node is gone.
                let _ = wishes.send(Wish::Users(known, plan)).await;
                drop(fixed);
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

fn app_sockets() -> (AppSockets, mpsc::Receiver<AppArrival>) {
    let (arrivals_in, arrivals) = mpsc::channel(WAITING_MESSAGES);
    (AppSockets::new(AppSocketConfig::default(), arrivals_in), arrivals)
}

/// The node as it was when it last ran: users, plan, and who was signed in.
async fn node(
    prepared: &Prepared,
    transport: &SipTransport,
    clock: &WallClock,
    rng: &mut Rng,
) -> Result<Node, Failure> {
    let config = &prepared.home.config;
    let mut seed = [0; 32];
    rng.fill(&mut seed);
    let advertised = prepared.addresses.first().copied().unwrap_or(config.media.listen);
    let node_config = signaling::node_config(prepared, advertised, transport, seed).await;
    let mut node = Node::new(node_config);
    let known = signaling::credentials(&prepared.users, &config.general.realm);
    let plan = Box::new(plan::plan(config, &prepared.users));
    node.handle_input(Instant::now(), Input::Users { users: known, plan });
    for row in prepared.store.bindings(unix_now())? {
        if let Some(restored) = bindings::read(&row, clock) {
            node.handle_input(Instant::now(), restored.into_input(transport.listeners()));
        }
    }
    for row in prepared.store.texts(unix_now())? {
        if let Some(kept) = texts::read(&row, clock) {
            node.handle_input(Instant::now(), Input::RestoreText(Box::new(kept)));
        }
    }
    Ok(node)
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

/// For the last seconds of all recordings.
const RECORDER_TIME: Duration = Duration::from_secs(5);
/// Room for records of calls and registrations while the disk is slow.
const WAITING_WRITES: usize = 8192;
/// Room for news of sessions that have ended.
const WAITING_REVOCATIONS: usize = 64;
/// Room for messages while the node is busy with others.
const WAITING_MESSAGES: usize = 8192;
