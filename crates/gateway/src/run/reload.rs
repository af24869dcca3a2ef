//! Takes over a changed configuration while calls run.
//!
//! The file is read and everything that may fail is done before anything changes: a file that is
//! wrong changes nothing at all. What cannot change in a running process is named, and the rest
//! applies. Trunks that are as they were are not touched.

mod fixed;
mod outcome;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crosspoint_base::{GuardConfig, Network};
use crosspoint_call::router::Plan;
use crosspoint_connectors::sip_ua::{FreshTrunk, SipUaChanges, TrunkChanges};
use crosspoint_net::{Admission, MediaPool, Resolver, SipTransport};
use crosspoint_node::Changes;
use crosspoint_state::{SqliteStore, Store, User};
use tokio::sync::{mpsc, oneshot, watch};

use super::callers::{self, Callers};
use super::driver::Wish;
use super::trunks::{self, TrunkPlaces};
use super::{Overrides, Prepared, clock, max_legs, signaling};
use crate::cli::{Failure, system_rng, unix_now};
use crate::config::{Config, Drain, Trunk};
use crate::home::Home;
use crate::webhooks::Webhooks;
use crate::{certificate, log, plan, tls};
pub(crate) use fixed::{BeforeStart, Marks};
use fixed::{Digest, digest};
pub(crate) use outcome::{Outcome, in_words};

/// Reads the configuration again when it is wished for.
pub(crate) struct Reloader {
    file: Option<PathBuf>,
    data: PathBuf,
    overrides: Overrides,
    reach: Reach,
    /// One at a time.
    known: tokio::sync::Mutex<Known>,
    report: Report,
}

/// What a new configuration is applied to.
pub(crate) struct Reach {
    pub(super) store: Arc<SqliteStore>,
    pub(super) transport: SipTransport,
    pub(super) admission: Admission,
    pub(super) names: Arc<Resolver>,
    pub(super) wishes: mpsc::Sender<Wish>,
    pub(super) shown: Arc<tls::Shown>,
    pub(super) plan: Arc<tokio::sync::Mutex<Plan>>,
    pub(super) drain: Arc<Mutex<Drain>>,
    pub(super) webhooks: Arc<Webhooks>,
    pub(super) media: MediaPool,
}

/// What the running configuration says, as far as the next one is compared with it.
struct Known {
    marks: Marks,
    trunks: BTreeMap<Arc<str>, TrunkMark>,
    certificate: (PathBuf, PathBuf),
    seen: Option<Stamp>,
}

/// Tells whether a trunk is what it was, and where it was.
#[derive(PartialEq)]
struct TrunkMark {
    all: Digest,
    place: Digest,
}

/// How reloads have gone.
#[derive(Debug, Default)]
pub(crate) struct Report {
    done: AtomicU64,
    refused: AtomicU64,
    last_is_good: AtomicU64,
    last_at: AtomicI64,
}

/// The same at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReloadReport {
    pub(crate) done: u64,
    pub(crate) refused: u64,
    pub(crate) is_last_good: bool,
    /// Unix seconds; the start of the process counts as the first.
    pub(crate) last_at: i64,
    /// Of the certificate that TLS ports show, in Unix seconds.
    pub(crate) certificate_expires: Option<i64>,
}

/// Everything that could fail has been done.
struct Ready {
    outcome: Outcome,
    config: Config,
    users: Vec<User>,
    known: Known,
    certificate: Arc<tls::CertifiedKey>,
    reader: Option<crosspoint_net::CertificateReader>,
    places: TrunkPlaces,
}

/// A certificate file and its key as they are on the disk.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Reloader {
    pub(super) fn new(
        prepared: &Prepared,
        place: (Option<PathBuf>, Overrides),
        reach: Reach,
    ) -> Result<Self, Failure> {
        let (file, overrides) = place;
        let config = &prepared.home.config;
        let certificate = certificate::ensure(&prepared.home)?;
        let known = Known {
            marks: Marks::of(config, &prepared.marks),
            trunks: config.trunks.iter().map(TrunkMark::named).collect(),
            seen: stamp(&certificate),
            certificate,
        };
        let report = Report::default();
        report.last_is_good.store(1, Ordering::Relaxed);
        report.last_at.store(unix_now(), Ordering::Relaxed);
        let data = prepared.home.data.clone();
        let known = tokio::sync::Mutex::new(known);
        Ok(Self { file, data, overrides, reach, known, report })
    }

    pub(crate) fn report(&self) -> ReloadReport {
        let Report { done, refused, last_is_good, last_at } = &self.report;
        ReloadReport {
            done: done.load(Ordering::Relaxed),
            refused: refused.load(Ordering::Relaxed),
            is_last_good: last_is_good.load(Ordering::Relaxed) == 1,
            last_at: last_at.load(Ordering::Relaxed),
            certificate_expires: self.reach.shown.expires(),
        }
    }

    /// Reads the configuration again and applies it, or changes nothing and says what is wrong
    /// with it.
    pub(crate) async fn reload(self: &Arc<Self>, by: &'static str) -> Result<Outcome, Failure> {
        // Whoever asked may go away; half of a change is worse than all of it.
        let this = self.clone();
        let done = tokio::spawn(async move { this.reload_now(by).await });
        done.await.unwrap_or_else(|error| Err(Failure::failed("reload".to_owned(), error)))
    }

    async fn reload_now(&self, by: &'static str) -> Result<Outcome, Failure> {
        let mut known = self.known.lock().await;
        let ready = self.prepare(&known).await;
        let outcome = match ready {
            Ok(ready) => self.apply(&mut known, ready).await,
            Err(failure) => Err(failure),
        };
        drop(known);
        self.noted(by, &outcome);
        outcome
    }

    fn noted(&self, by: &'static str, outcome: &Result<Outcome, Failure>) {
        let count = match outcome {
            Ok(outcome) => {
                let (changed, waits) = (outcome.changed.join(" "), outcome.needs_restart.join(" "));
                let trunks = outcome.trunks();
                tracing::info!(by, changed, trunks, needs_restart = waits, "reloaded");
                &self.report.done
            }
            Err(failure) => {
                let why = failure.to_string().replace('\n', "; ");
                tracing::error!(by, why, "the new configuration is refused, the old one stays");
                &self.report.refused
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.report.last_is_good.store(u64::from(outcome.is_ok()), Ordering::Relaxed);
        self.report.last_at.store(unix_now(), Ordering::Relaxed);
    }

    /// Does everything that may fail.
    async fn prepare(&self, known: &Known) -> Result<Ready, Failure> {
        let (file, data) = (self.file.clone(), self.data.clone());
        let store = self.reach.store.clone();
        let read = move || {
            let home = Home::find(file.as_deref(), Some(&data))?;
            let users = store.users()?;
            home.check_users(&users)?;
            Ok::<_, Failure>((home, users))
        };
        let read = tokio::task::spawn_blocking(read).await;
        let gone = |error| Failure::failed("reload".to_owned(), error);
        let (mut home, users) = read.map_err(gone)??;
        let raw = Marks::before_start(&home.config);
        self.overrides.apply(&mut home.config);
        let marks = Marks::of(&home.config, &raw);
        let files = certificate::ensure(&home)?;
        let certificate = tls::certified(&files.0, &files.1)?;
        let config = home.config;
        let reader = tls::certificate_reader(&config.trunks)?;
        let places = TrunkPlaces::new(&config.trunks)?;
        let trunks: BTreeMap<_, _> = config.trunks.iter().map(TrunkMark::named).collect();
        let mut outcome = Outcome::compare(&known.marks, &marks);
        for (name, mark) in &trunks {
            match known.trunks.get(name) {
                None => outcome.added.push(name.clone()),
                Some(old) if old != mark => outcome.altered.push(name.clone()),
                Some(_) => {}
            }
        }
        let is_gone = |name: &&Arc<str>| !trunks.contains_key(*name);
        outcome.removed = known.trunks.keys().filter(is_gone).cloned().collect();
        let seen = stamp(&files);
        outcome.certificate = known.certificate != files || known.seen != seen;
        let known = Known { marks, trunks, certificate: files, seen };
        Ok(Ready { outcome, config, users, known, certificate, reader, places })
    }

    async fn apply(&self, known: &mut Known, ready: Ready) -> Result<Outcome, Failure> {
        let Ready { outcome, config, users, known: new, certificate, reader, places } = ready;
        let (reach, realm) = (&self.reach, known.marks.realm().to_owned());
        let mut fresh = Vec::new();
        for trunk in &config.trunks {
            let name: Arc<str> = trunk.name.as_str().into();
            let (old, now) = (known.trunks.get(&name), new.trunks.get(&name));
            if old == now {
                continue;
            }
            let hops = places.locate(&name, &reach.names, &reach.transport).await;
            let is_moved = old.map(|mark| &mark.place) != now.map(|mark| &mark.place);
            fresh.push(FreshTrunk { config: trunks::trunk_config(trunk, &realm, hops), is_moved });
        }
        reach.shown.replace(certificate);
        let asks_peers = reader.is_some();
        reach.transport.replace_certificate(tls::sip_server_config(&reach.shown, asks_peers)?);
        reach.transport.read_certificates(reader);
        let limits = &config.limits;
        reach.admission.set_bounds(limits.connections, limits.connections_per_address);
        reach.transport.set_messages_per_second(limits.messages_per_address);
        reach.media.set_max_legs(max_legs(&config));
        log::set_level(config.log.level);
        reach.webhooks.set(&config.webhooks);
        *reach.drain.lock().unwrap_or_else(PoisonError::into_inner) = config.drain;
        let order = config.trunks.iter().map(|trunk| trunk.name.as_str().into()).collect();
        let clock = clock::now();
        let mut seed = [0; 32];
        system_rng()?.fill(&mut seed);
        let stir = config.stir.as_ref();
        let sip = SipUaChanges {
            trunks: TrunkChanges { order, fresh },
            registrar: signaling::registrar_config(&config),
            max_server_transactions: limits.transactions,
            max_legs: signaling::max_legs(&config),
            stir: stir.map(|stir| callers::node_config(stir, clock, signaling::uuid(&seed))),
        };
        let networks = config.trunks.iter().flat_map(|trunk| trunk.sources.networks.clone());
        // Whoever changes users waits meanwhile, so that no older plan comes after this one.
        let mut fixed = reach.plan.lock().await;
        *fixed = plan::plan(&config, &[]);
        let changes = Changes {
            users: signaling::credentials(&users, &realm),
            plan: plan::with_users(fixed.clone(), &users),
            sip,
            sound: signaling::sound_rules(&config),
            max_calls: limits.calls,
        };
        let (done, applied) = oneshot::channel();
        let change = Box::new(Change {
            changes,
            places: Arc::new(places),
            callers: Callers::new(stir, reach.names.clone()),
            ban: config.ban.clone(),
            networks: networks.collect(),
            done,
        });
        let gone = || Failure::failed("reload".to_owned(), "the gateway is stopping");
        reach.wishes.send(Wish::Change(change)).await.map_err(|_| gone())?;
        applied.await.map_err(|_| gone())?;
        drop(fixed);
        let keeps = std::mem::replace(known, new);
        known.marks.keep_fixed(&keeps.marks);
        Ok(outcome)
    }

    /// Shows the certificate anew whenever its files are others, once both are written.
    pub(super) async fn follow_certificate(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut before = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_PERIOD) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
            let mut known = self.known.lock().await;
            let now = stamp(&known.certificate);
            let is_settled = before == now;
            before = now;
            if now == known.seen || !is_settled {
                continue;
            }
            known.seen = now;
            let (certificate, key) = &known.certificate;
            match tls::certified(certificate, key) {
                Ok(certificate) => {
                    self.reach.shown.replace(certificate);
                    tracing::info!("a new certificate is shown");
                }
                Err(failure) => {
                    let why = failure.to_string();
                    tracing::error!(why, "a new certificate is refused, the old one stays");
                }
            }
        }
    }
}

impl TrunkMark {
    fn named(trunk: &Trunk) -> (Arc<str>, Self) {
        let password = |login: &Option<crate::config::Login>| {
            login.as_ref().map(|login| login.password.expose().clone())
        };
        let secrets = (password(&trunk.credentials), password(&trunk.accepts));
        let Trunk { host, port, transport, destinations, outbound_proxy, tls, .. } = trunk;
        let place = (host, port, transport, destinations, outbound_proxy, tls);
        let place = digest(format_args!("{place:?}"));
        let all = digest(format_args!("{trunk:?} {secrets:?}"));
        (trunk.name.as_str().into(), Self { all, place })
    }
}

/// A new configuration for the task of the node.
pub(super) struct Change {
    pub(super) changes: Changes,
    pub(super) places: Arc<TrunkPlaces>,
    pub(super) callers: Option<Callers>,
    pub(super) ban: GuardConfig,
    /// Of trunks, which are never banned.
    pub(super) networks: Vec<Network>,
    pub(super) done: oneshot::Sender<()>,
}

impl super::driver::Driver {
    pub(super) fn change(&mut self, change: Change) {
        let Change { changes, places, callers, ban, networks, done } = change;
        (self.places, self.callers) = (places, callers);
        self.handle(crosspoint_node::Input::Change(Box::new(changes)));
        let reports = self.node.trunk_reports(Instant::now());
        let there = reports.iter().flat_map(|report| &report.hops);
        let there = there.map(|(address, _)| Network::from(address.ip()));
        self.transport.bans().reconfigure(ban, networks.into_iter().chain(there));
        // Whoever asked may have given up.
        let _ = done.send(());
    }
}

fn stamp((certificate, key): &(PathBuf, PathBuf)) -> Option<Stamp> {
    let of = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    Some([of(certificate), of(key)])
}

const LOOK_PERIOD: Duration = Duration::from_secs(2);
