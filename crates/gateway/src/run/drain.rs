//! Taking no new calls while running ones go on, for as long as it is wished.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::driver::Wish;
use crate::config::Drain;
use crate::provisioning::Refusal;

/// Whether new calls are taken, and when the process goes; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Draining {
    wishes: mpsc::Sender<Wish>,
    settings: Arc<Mutex<Drain>>,
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Draining,
    /// The process goes when no call is left, or at this moment.
    Leaving(Instant),
}

impl Draining {
    pub(super) fn new(wishes: mpsc::Sender<Wish>, settings: Arc<Mutex<Drain>>) -> Self {
        Self { wishes, settings, state: Arc::new(watch::Sender::new(State::Open)) }
    }

    /// How long calls may go on after a signal.
    pub(super) fn time(&self) -> Duration {
        self.settings().time
    }

    /// Takes no new calls from now on. `exit`: the process goes when no call is left, or after
    /// this time at the latest.
    pub(crate) async fn begin(&self, exit: Option<Duration>) -> Result<Value, Refusal> {
        let retry_after = self.settings().retry_after;
        self.tell(Some(retry_after)).await?;
        let until = exit.map(|time| Instant::now() + time);
        self.state.send_replace(until.map_or(State::Draining, State::Leaving));
        let exit = exit.map(|time| time.as_secs());
        tracing::info!(exit, "draining: new calls are refused, running ones go on");
        self.shown().await
    }

    /// Takes calls again, and the process stays.
    pub(crate) async fn undo(&self) -> Result<Value, Refusal> {
        self.tell(None).await?;
        self.state.send_replace(State::Open);
        tracing::info!("draining is over: calls are taken");
        self.shown().await
    }

    /// How it stands.
    pub(crate) async fn shown(&self) -> Result<Value, Refusal> {
        let (answer, told) = oneshot::channel();
        self.wishes.send(Wish::Report(answer)).await.map_err(|_| Refusal::Internal)?;
        let report = told.await.map_err(|_| Refusal::Internal)?;
        let state = *self.state.borrow();
        let exit = match state {
            State::Open | State::Draining => None,
            State::Leaving(at) => Some(at.saturating_duration_since(Instant::now()).as_secs()),
        };
        Ok(json!({
            "ok": true,
            "draining": state != State::Open,
            "calls": report.calls,
            "exit_in_s": exit,
        }))
    }

    /// Waits until the process is to go because it was wished so: no call is left, or the time is
    /// over.
    pub(super) async fn wait(&self) {
        let mut changes = self.state.subscribe();
        loop {
            let state = *changes.borrow_and_update();
            match state {
                State::Open | State::Draining => {
                    // The sender is ours.
                    let _ = changes.changed().await;
                }
                State::Leaving(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => return,
                    () = self.idle() => return,
                    _ = changes.changed() => {}
                },
            }
        }
    }

    /// Waits until no call is left.
    async fn idle(&self) {
        let (done, idle) = oneshot::channel();
        if self.wishes.send(Wish::WhenIdle(done)).await.is_ok() {
            let _ = idle.await;
        }
    }

    async fn tell(&self, retry_after: Option<Duration>) -> Result<(), Refusal> {
        let wish = Wish::Drain(retry_after);
        self.wishes.send(wish).await.map_err(|_| Refusal::Internal)
    }

    fn settings(&self) -> Drain {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
