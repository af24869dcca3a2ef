//! Keeps bans, and notices those that the command line changed while we run.

use std::sync::Arc;
use std::time::Duration;

use crosspoint_net::{BanChange, Bans};
use crosspoint_state::{Store, StoreError, Write};
use tokio::sync::watch;

use crate::bans::{ban_of, row_of, unix_millis};

/// Takes the bans of an earlier life.
pub(super) fn restore(store: &dyn Store, bans: &Bans) -> Result<(), StoreError> {
    keep(store, bans)
}

/// Until told to stop: what changed here is written, then what is written holds.
pub(super) async fn follow(store: Arc<dyn Store>, bans: Bans, mut stop: watch::Receiver<bool>) {
    loop {
        let is_last = tokio::select! {
            () = tokio::time::sleep(PERIOD) => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        let (store, bans) = (store.clone(), bans.clone());
        let kept = tokio::task::spawn_blocking(move || keep(&*store, &bans)).await;
        match kept {
            Ok(Ok(())) if !is_last => {}
            Ok(Err(error)) => tracing::error!(%error, "bans cannot be kept"),
            Ok(Ok(())) | Err(_) => return,
        }
        if is_last {
            return;
        }
    }
}

fn keep(store: &dyn Store, bans: &Bans) -> Result<(), StoreError> {
    let changes = bans.take_changes();
    let writes: Vec<Write> = changes
        .iter()
        .map(|change| match change {
            BanChange::Banned(ban) => Write::PutBan(row_of(ban)),
            BanChange::Lifted(source) => Write::RemoveBan(source.to_string()),
        })
        .collect();
    if !writes.is_empty() {
        store.apply(&writes)?;
    }
    let rows = store.bans(unix_millis())?;
    if !rows.is_empty() || bans.banned() > 0 {
        bans.adopt(&rows.iter().filter_map(ban_of).collect::<Vec<_>>());
    }
    Ok(())
}

const PERIOD: Duration = Duration::from_secs(1);
