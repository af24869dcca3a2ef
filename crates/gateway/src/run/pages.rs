//! What the HTTP server shows of the running gateway, and where its WebSockets go.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crosspoint_base::Transport;
use crosspoint_call::router::{Decision, RouteRequest};
use crosspoint_connectors::webterminal::Subscriber;
use crosspoint_net::{
    Admission, AppSockets, Bans, MediaPool, Recorder, SipTransport, SoundStreams, TurnServer,
};
use crosspoint_state::{CdrFilter, PostgresRecords, Store, WriterHandle};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::control::Control;
use super::drain::Draining;
use super::driver::Wish;
use super::media_plane::MediaPlane;
use super::one_port::Counts;
use super::overview;
use super::reload::Outcome;
use super::{Prepared, Signaling};
use crate::bans::unix_millis;
use crate::calls::{Asked, CallWish};
use crate::cli::Failure;
use crate::cli::cdr::as_json;
use crate::events::Events;
use crate::http::{Backend, TerminalStreams, Upgraded};
use crate::ladder::{Dated, RecentCalls};
use crate::metrics::{self, Page};
use crate::provisioning::{Provisioning, Refusal};

/// The gateway as seen over HTTP.
pub(super) struct Pages {
    transport: SipTransport,
    media: MediaPool,
    turn: Option<TurnServer>,
    apps: AppSockets,
    terminals: TerminalStreams,
    plane: MediaPlane,
    provisioning: Arc<Provisioning>,
    wishes: mpsc::Sender<Wish>,
    writer: WriterHandle,
    admission: Admission,
    on_port: Counts,
    phone_config: Value,
    recorder: Option<Recorder>,
    recordings: Option<PathBuf>,
    prompts: Option<PathBuf>,
    streams: Option<SoundStreams>,
    events: Events,
    store: Arc<dyn Store>,
    postgres: Option<Arc<PostgresRecords>>,
    /// None before the gateway is complete.
    control: Option<Control>,
    /// Unix milliseconds.
    started: i64,
    configuration_file: Option<PathBuf>,
}

/// What comes of a wish about running calls.
pub(super) async fn ask(wishes: &mpsc::Sender<Wish>, wish: CallWish) -> Result<Value, Refusal> {
    let (answer, told) = oneshot::channel();
    let asking = async {
        wishes.send(Wish::Calls(Asked { wish, answer })).await.ok()?;
        told.await.ok()
    };
    let told = tokio::time::timeout(ANSWER_TIME, asking).await.ok().flatten();
    told.unwrap_or(Err(Refusal::Internal))
}

/// What was said in a call; the outer `None` when nobody answers.
pub(super) async fn ladder(wishes: &mpsc::Sender<Wish>, gcid: String) -> Option<Option<Dated>> {
    let (answer, told) = oneshot::channel();
    let asking = async {
        wishes.send(Wish::Ladder(gcid, answer)).await.ok()?;
        told.await.ok()
    };
    tokio::time::timeout(ANSWER_TIME, asking).await.ok().flatten()
}

/// The last calls.
pub(super) async fn recent_calls(wishes: &mpsc::Sender<Wish>, most: usize) -> Option<RecentCalls> {
    let (answer, told) = oneshot::channel();
    let asking = async {
        wishes.send(Wish::Recent(most, answer)).await.ok()?;
        told.await.ok()
    };
    tokio::time::timeout(ANSWER_TIME, asking).await.ok().flatten()
}

impl Pages {
    pub(super) fn new(
        prepared: &Prepared,
        signaling: &Signaling,
        writer: WriterHandle,
        admission: Admission,
        on_port: Counts,
    ) -> Self {
        let config = &prepared.home.config;
        let mut phone = json!({
            "realm": config.general.realm,
            "ws_path": "/ws",
            "ice_servers": [],
        });
        // Without a name of ours the phone uses the host that it was loaded from.
        if let Some(domain) = config.general.domains.first() {
            phone["domain"] = json!(domain);
        }
        Self {
            transport: signaling.transport.clone(),
            media: signaling.media.clone(),
            plane: signaling.plane.clone(),
            turn: signaling.turn.clone(),
            apps: signaling.apps.clone(),
            terminals: signaling.terminals.clone(),
            provisioning: signaling.provisioning.clone(),
            wishes: signaling.wishes.clone(),
            writer,
            admission,
            on_port,
            phone_config: phone,
            recorder: signaling.recorder.clone(),
            recordings: signaling.recordings.clone(),
            prompts: config.sound.prompts.clone(),
            streams: signaling.sound_streams.clone(),
            events: prepared.events.clone(),
            store: prepared.store.clone(),
            postgres: prepared.records.clone(),
            control: None,
            started: unix_millis(),
            configuration_file: prepared.home.file.clone(),
        }
    }

    /// With what operators change of the process.
    pub(super) fn operated_by(mut self, control: Control) -> Self {
        self.control = Some(control);
        self
    }

    /// What the signalling loop says of itself; none when it does not answer in time.
    async fn ask(&self) -> Option<metrics::Signaling> {
        let (answer, told) = oneshot::channel();
        let asking = async {
            self.wishes.send(Wish::Report(answer)).await.ok()?;
            told.await.ok()
        };
        tokio::time::timeout(ANSWER_TIME, asking).await.ok().flatten()
    }
}

impl Backend for Pages {
    fn is_ready(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async {
            let asked = self.ask().await;
            asked.is_some_and(|signaling| !signaling.is_stopping && !signaling.is_draining)
        })
    }

    fn metrics(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(async {
            let mut page = Page::default();
            let (transport, media) = (self.transport.counters(), self.media.report());
            let apps = self.apps.counters();
            let turn = self.turn.as_ref().map(TurnServer::report).unwrap_or_default();
            let mut defects = transport.panics + media.defects + apps.panics + turn.defects;
            defects += self.recorder.as_ref().map_or(0, |recorder| recorder.report().defects);
            if let Some(signaling) = self.ask().await {
                metrics::signaling(&mut page, &signaling);
                metrics::ladders(&mut page, &signaling);
                metrics::terminals(&mut page, &signaling, self.terminals.counters());
                defects += signaling.defects;
            }
            metrics::defects(&mut page, defects);
            metrics::transport(&mut page, &transport);
            metrics::apps(&mut page, &apps);
            let live = self.provisioning.live_sessions().await;
            metrics::sessions(&mut page, live, &self.provisioning.counters());
            metrics::media(&mut page, &media);
            metrics::media_servers(&mut page, &self.plane.pool());
            metrics::turn(&mut page, &turn);
            let recorder = self.recorder.as_ref().map(Recorder::report).unwrap_or_default();
            metrics::recorder(&mut page, &recorder);
            let streams = self.streams.as_ref().map(SoundStreams::report).unwrap_or_default();
            metrics::streams(&mut page, &streams);
            metrics::events(&mut page, &self.events.report());
            metrics::shared_port(&mut page, &self.on_port);
            metrics::connections(&mut page, self.admission.open(), self.admission.refused());
            metrics::bans(&mut page, self.admission.bans());
            if let Some(control) = &self.control {
                metrics::reloads(&mut page, &control.reloader.report());
                metrics::renewals(&mut page, &control.renewals);
                metrics::webhooks(&mut page, &control.webhooks.reports());
            }
            metrics::store(&mut page, self.writer.counters());
            let records = self.postgres.as_ref().map(|records| records.counters());
            metrics::records(&mut page, &records.unwrap_or_default());
            page.into_text()
        })
    }

    fn calls(
        &self,
        wish: CallWish,
    ) -> Pin<Box<dyn Future<Output = Result<Value, Refusal>> + Send + '_>> {
        Box::pin(ask(&self.wishes, wish))
    }

    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<Outcome, Failure>> + Send + '_>> {
        Box::pin(async move {
            match &self.control {
                Some(control) => control.reloader.reload("api").await,
                None => Err(Failure::failed("reload".to_owned(), "the gateway is not complete")),
            }
        })
    }

    fn draining(&self) -> Option<&Draining> {
        self.control.as_ref().map(|control| &control.draining)
    }

    fn bans(&self) -> &Bans {
        self.admission.bans()
    }

    fn events(&self) -> &Events {
        &self.events
    }

    fn records(
        &self,
        filter: CdrFilter,
    ) -> Pin<Box<dyn Future<Output = Result<Value, Refusal>> + Send + '_>> {
        let (store, writer) = (self.store.clone(), self.writer.clone());
        let postgres = self.postgres.clone();
        Box::pin(async move {
            // Whoever heard that a call is over finds its record.
            let read = move || {
                writer.flush(FLUSH_TIME);
                match &postgres {
                    Some(records) => records.cdrs(&filter),
                    None => store.cdrs(&filter),
                }
            };
            match tokio::task::spawn_blocking(read).await {
                Ok(Ok(records)) => Ok(records.iter().map(as_json).collect()),
                Ok(Err(error)) => {
                    tracing::error!(%error, "call records cannot be read");
                    Err(Refusal::Internal)
                }
                Err(_) => Err(Refusal::Internal),
            }
        })
    }

    fn ladder(
        &self,
        gcid: String,
    ) -> Pin<Box<dyn Future<Output = Result<Dated, Refusal>> + Send + '_>> {
        Box::pin(async move {
            let told = ladder(&self.wishes, gcid).await;
            told.ok_or(Refusal::Internal)?.ok_or(Refusal::NotFound)
        })
    }

    fn recent_calls(
        &self,
        most: usize,
    ) -> Pin<Box<dyn Future<Output = Result<RecentCalls, Refusal>> + Send + '_>> {
        Box::pin(async move { recent_calls(&self.wishes, most).await.ok_or(Refusal::Internal) })
    }

    fn explain(
        &self,
        request: RouteRequest,
    ) -> Pin<Box<dyn Future<Output = Result<Decision, Refusal>> + Send + '_>> {
        Box::pin(async move {
            let (answer, told) = oneshot::channel();
            let asking = async {
                self.wishes.send(Wish::Explain(Box::new(request), answer)).await.ok()?;
                told.await.ok()
            };
            let told = tokio::time::timeout(ANSWER_TIME, asking).await.ok().flatten();
            told.ok_or(Refusal::Internal)?.ok_or(Refusal::NotFound)
        })
    }

    fn subscriber(
        &self,
        name: String,
    ) -> Pin<Box<dyn Future<Output = Option<Subscriber>> + Send + '_>> {
        Box::pin(async move {
            let (answer, told) = oneshot::channel();
            let asking = async {
                self.wishes.send(Wish::Subscriber(name, answer)).await.ok()?;
                told.await.ok()
            };
            tokio::time::timeout(ANSWER_TIME, asking).await.ok().flatten().flatten()
        })
    }

    fn recordings_folder(&self) -> Option<PathBuf> {
        self.recordings.clone()
    }

    fn prompts_folder(&self) -> Option<PathBuf> {
        self.prompts.clone()
    }

    fn overview(&self) -> Pin<Box<dyn Future<Output = Value> + Send + '_>> {
        Box::pin(async {
            let media = self.media.report();
            let signaling = self.ask().await;
            overview::shown(&overview::Parts {
                signaling: signaling.as_ref(),
                media: &media,
                connections: self.admission.open(),
                bans: self.admission.bans().banned(),
                recording: self.recordings.is_some(),
                started: self.started,
            })
        })
    }

    fn configuration_file(&self) -> Option<PathBuf> {
        self.configuration_file.clone()
    }

    fn phone_config(&self) -> Value {
        self.phone_config.clone()
    }

    fn adopt(&self, socket: Upgraded) {
        let transport = if socket.is_secure { Transport::Wss } else { Transport::Ws };
        let (local, remote) = (socket.local, socket.remote);
        self.transport.adopt_websocket(socket, local, remote, transport);
    }

    fn adopt_app(&self, socket: Upgraded, stranger: Option<String>) {
        self.apps.adopt(socket, stranger);
    }
}

/// A loop that takes longer is not healthy.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// What is written by then can be read without the rest.
const FLUSH_TIME: Duration = Duration::from_secs(2);
