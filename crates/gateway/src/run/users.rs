//! Notices users that were changed by the command line while we run.

use std::sync::Arc;
use std::time::Duration;

use crosspoint_state::{Store, StoreError, User};
use tokio::sync::watch;

/// Asks the store once a second, and hands all users to `changed` when they differ.
pub(super) async fn watch(
    store: Arc<dyn Store>,
    mut known: Vec<User>,
    mut stop: watch::Receiver<bool>,
    changed: impl Fn(&[User]) + Send,
) {
    let mut revision = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let asked = store.clone();
        let found = tokio::task::spawn_blocking(move || look(&*asked, revision)).await;
        match found {
            Ok(Ok(Some((now, users)))) => {
                revision = Some(now);
                if users != known {
                    tracing::info!(users = users.len(), "the users have changed");
                    changed(&users);
                    known = users;
                }
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::error!(%error, "the users cannot be read"),
            Err(_) => return,
        }
    }
}

/// The users, if their revision is another one than `known`.
fn look(store: &dyn Store, known: Option<u64>) -> Result<Option<(u64, Vec<User>)>, StoreError> {
    let now = store.users_revision()?;
    if known == Some(now) {
        return Ok(None);
    }
    Ok(Some((now, store.users()?)))
}

const PERIOD: Duration = Duration::from_secs(1);
