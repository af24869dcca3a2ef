//! The socket in the data folder that the command line speaks to this process by: a line of JSON
//! each way. Who may open the folder may do everything anyway.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crosspoint_state::WriterHandle;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use super::acme;
use super::drain::Draining;
use super::driver::Wish;
use super::pages;
use super::reload::Reloader;
use crate::calls::{CallStep, CallWish};
use crate::cli::Failure;
use crate::provisioning::Refusal;
use crate::webhooks::Webhooks;

/// What can be wished for.
#[derive(Clone)]
pub(super) struct Control {
    pub(super) reloader: Arc<Reloader>,
    pub(super) draining: Draining,
    pub(super) webhooks: Arc<Webhooks>,
    pub(super) wishes: mpsc::Sender<Wish>,
    pub(super) renewals: Arc<acme::Counts>,
    pub(super) writer: WriterHandle,
}

/// Opens the socket; without it the process runs all the same.
pub(super) fn listen(path: PathBuf, control: Control, mut stopping: watch::Receiver<bool>) {
    // One that nobody answers is left over.
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        let path = path.display();
        tracing::warn!(%path, "another process has this data folder: it hears the command line");
        return;
    }
    let _ = std::fs::remove_file(&path);
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "the command line cannot reach us");
            return;
        }
    };
    let _ = std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600));
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopping.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(answer(stream, control.clone()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        let _ = std::fs::remove_file(&path);
    });
}

async fn answer(stream: UnixStream, control: Control) {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(MOST));
    let read = tokio::time::timeout(PATIENCE, reader.read_line(&mut line));
    if !matches!(read.await, Ok(Ok(1..))) {
        return;
    }
    let wish: Value = serde_json::from_str(&line).unwrap_or_default();
    let answer = control.answer(&wish).await;
    let _ = writer.write_all(format!("{answer}\n").as_bytes()).await;
}

impl Control {
    async fn answer(&self, wish: &Value) -> Value {
        let done = match wish["do"].as_str() {
            Some("reload") => match self.reloader.reload("command").await {
                Ok(outcome) => return outcome.as_json(),
                Err(Failure::Config(error)) => return error.to_json(),
                Err(failure) => return json!({ "ok": false, "error": failure.to_string() }),
            },
            Some("drain") => {
                let exit = wish["exit_after_s"].as_u64().map(Duration::from_secs);
                self.draining.begin(exit).await
            }
            Some("flush") => return self.flush().await,
            Some("calls") => return self.calls(wish["limit"].as_u64().unwrap_or(20)).await,
            Some("call") => return self.call(wish["gcid"].as_str().unwrap_or_default()).await,
            Some("capture") => return self.capture(wish).await,
            Some("undrain") => self.draining.undo().await,
            Some("drain-state") => self.draining.shown().await,
            _ => return json!({ "ok": false, "error": "this is not understood" }),
        };
        done.unwrap_or_else(|_| failed("the gateway is stopping"))
    }

    /// Writes what waits to be written, for who reads the store by itself.
    async fn flush(&self) -> Value {
        let writer = self.writer.clone();
        let done = tokio::task::spawn_blocking(move || writer.flush(PATIENCE)).await;
        json!({ "ok": done.unwrap_or(false) })
    }

    async fn calls(&self, most: u64) -> Value {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        match pages::recent_calls(&self.wishes, most).await {
            Some(calls) => {
                let mut shown = calls.as_json();
                shown["ok"] = true.into();
                shown
            }
            None => failed("the gateway does not answer"),
        }
    }

    /// By its whole id, or by how that begins where only one does so.
    async fn whole(&self, gcid: &str) -> String {
        if let Some(calls) = pages::recent_calls(&self.wishes, usize::MAX).await {
            let mut found = calls.gcids().filter(|known| known.starts_with(gcid));
            if let (Some(only), None) = (found.next(), found.next()) {
                return only.to_owned();
            }
        }
        gcid.to_owned()
    }

    /// Captures packets of a call, none: no more.
    async fn capture(&self, wish: &Value) -> Value {
        let gcid = self.whole(wish["gcid"].as_str().unwrap_or_default()).await;
        let packets = wish["packets"].as_u64().and_then(|n| u32::try_from(n).ok());
        let step = CallStep::Capture(packets.and_then(NonZeroU32::new));
        match pages::ask(&self.wishes, CallWish::Of(gcid.clone(), step)).await {
            Ok(_) => json!({ "ok": true, "gcid": gcid, "packets": packets.unwrap_or(0) }),
            Err(Refusal::State(why)) => failed(&why),
            Err(Refusal::NotFound) => failed("there is no such call, or it is over"),
            Err(_) => failed("the gateway does not answer"),
        }
    }

    async fn call(&self, gcid: &str) -> Value {
        let gcid = self.whole(gcid).await;
        match pages::ladder(&self.wishes, gcid).await {
            Some(Some(dated)) => json!({ "ok": true, "ladder": dated.as_json() }),
            Some(None) => failed("there is no such call, or nothing is kept of it any more"),
            None => failed("the gateway does not answer"),
        }
    }
}

fn failed(why: &str) -> Value {
    json!({ "ok": false, "error": why })
}

/// Asks the process that runs with this data folder.
pub(crate) fn ask(path: &Path, wish: &Value) -> Result<Value, Failure> {
    use std::io::{BufRead, Write};

    let failed = |error: std::io::Error| {
        let what = format!("no gateway answers at {}", path.display());
        Failure::failed(what, format!("{error}; is one running with this data folder?"))
    };
    let mut stream = std::os::unix::net::UnixStream::connect(path).map_err(failed)?;
    stream.set_read_timeout(Some(ANSWER_TIME)).map_err(failed)?;
    stream.write_all(format!("{wish}\n").as_bytes()).map_err(failed)?;
    let mut line = String::new();
    std::io::BufReader::new(stream).read_line(&mut line).map_err(failed)?;
    serde_json::from_str(&line).map_err(|error| failed(error.into()))
}

const MOST: u64 = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
/// Names of many trunks may have to be looked up.
const ANSWER_TIME: Duration = Duration::from_secs(120);
