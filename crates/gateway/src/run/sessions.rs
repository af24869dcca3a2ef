//! Between provisioning and the node: what tokens grant, and which sessions are no more.

use std::sync::Arc;
use std::time::Duration;

use crosspoint_connectors::rtcengine::Lookup;
use tokio::sync::{mpsc, watch};

use super::driver::{Asking, Grants, Wish};
use crate::provisioning::Provisioning;

/// What the node asks about tokens.
pub(super) struct Tokens(pub(super) Arc<Provisioning>);

impl Grants for Tokens {
    fn look_up(&self, lookup: Lookup) -> Asking<'_> {
        Box::pin(self.0.look_up(lookup))
    }
}

/// Tells the node of sessions that are gone or grant less.
pub(super) async fn revoke(mut revoked: mpsc::Receiver<Vec<Arc<str>>>, wishes: mpsc::Sender<Wish>) {
    while let Some(sessions) = revoked.recv().await {
        if wishes.send(Wish::Revoke(sessions)).await.is_err() {
            return;
        }
    }
}

/// Cleans up sessions from time to time, beginning now: the command line may have removed users
/// while nobody was running.
pub(super) async fn keep_clean(provisioning: Arc<Provisioning>, mut stop: watch::Receiver<bool>) {
    loop {
        provisioning.clean().await;
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

const PERIOD: Duration = Duration::from_secs(60);
