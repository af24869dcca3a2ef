//! What the HTTP server shows of the running gateway, and where its WebSockets go.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crosspoint_base::Transport;
use crosspoint_net::{Admission, AppSockets, MediaPool, SipTransport, TurnServer};
use crosspoint_state::WriterHandle;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::Signaling;
use super::driver::Wish;
use crate::config::Config;
use crate::http::{Backend, Upgraded};
use crate::metrics::{self, Page};
use crate::provisioning::Provisioning;

/// The gateway as seen over HTTP.
pub(super) struct Pages {
    transport: SipTransport,
    media: MediaPool,
    turn: Option<TurnServer>,
    apps: AppSockets,
    provisioning: Arc<Provisioning>,
    wishes: mpsc::Sender<Wish>,
    writer: WriterHandle,
    admission: Admission,
    phone_config: Value,
}

impl Pages {
    pub(super) fn new(
        config: &Config,
        signaling: &Signaling,
        writer: WriterHandle,
        admission: Admission,
    ) -> Self {
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
            turn: signaling.turn.clone(),
            apps: signaling.apps.clone(),
            provisioning: signaling.provisioning.clone(),
            wishes: signaling.wishes.clone(),
            writer,
            admission,
            phone_config: phone,
        }
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
        Box::pin(async { self.ask().await.is_some_and(|signaling| !signaling.is_stopping) })
    }

    fn metrics(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(async {
            let mut page = Page::default();
            let (transport, media) = (self.transport.counters(), self.media.report());
            let apps = self.apps.counters();
            let turn = self.turn.as_ref().map(TurnServer::report).unwrap_or_default();
            let mut defects = transport.panics + media.defects + apps.panics + turn.defects;
            if let Some(signaling) = self.ask().await {
                metrics::signaling(&mut page, &signaling);
                defects += signaling.defects;
            }
            metrics::defects(&mut page, defects);
            metrics::transport(&mut page, &transport);
            metrics::apps(&mut page, &apps);
            let live = self.provisioning.live_sessions().await;
            metrics::sessions(&mut page, live, &self.provisioning.counters());
            metrics::media(&mut page, &media);
            metrics::turn(&mut page, &turn);
            metrics::connections(&mut page, self.admission.open(), self.admission.refused());
            metrics::store(&mut page, self.writer.counters());
            page.into_text()
        })
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
