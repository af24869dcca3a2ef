//! What the HTTP server shows of the running gateway.

use std::future::Future;
use std::pin::Pin;

use crosspoint_net::Admission;
use crosspoint_state::WriterHandle;
use serde_json::{Value, json};

use crate::config::Config;
use crate::http::{Backend, Upgraded};
use crate::metrics::{self, Page};

/// The gateway as seen over HTTP.
pub(super) struct Pages {
    writer: WriterHandle,
    admission: Admission,
    phone_config: Value,
}

impl Pages {
    pub(super) fn new(config: &Config, writer: WriterHandle, admission: Admission) -> Self {
        let mut phone = json!({
            "realm": config.general.realm,
            "ws_path": "/ws",
            "ice_servers": [],
        });
        // Without a name of ours the phone uses the host that it was loaded from.
        if let Some(domain) = config.general.domains.first() {
            phone["domain"] = json!(domain);
        }
        Self { writer, admission, phone_config: phone }
    }
}

impl Backend for Pages {
    fn is_ready(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async { false })
    }

    fn metrics(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(async {
            let mut page = Page::default();
            metrics::http(&mut page, self.admission.open(), self.admission.refused());
            metrics::store(&mut page, self.writer.counters());
            page.into_text()
        })
    }

    fn phone_config(&self) -> Value {
        self.phone_config.clone()
    }

    fn adopt(&self, socket: Upgraded) {
        let Upgraded { local, remote, is_secure, .. } = socket;
        tracing::debug!(%local, %remote, is_secure, "nobody takes this WebSocket yet");
    }
}
