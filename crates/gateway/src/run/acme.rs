//! Gets certificates from the authority of `[acme]`, and new ones when two thirds of their time are
//! over. Until there is one, and while the authority is away, what there is goes on being shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crosspoint_net::Resolver;
use tokio::sync::watch;

use crate::acme::{Client, Given, Request};
use crate::certificate::write_private;
use crate::cli::unix_now;
use crate::config::Acme;
use crate::tls;

/// What it works with.
pub(super) struct Renewal {
    pub(super) acme: Acme,
    pub(super) data: PathBuf,
    pub(super) names: Arc<Resolver>,
    pub(super) shown: Arc<tls::Shown>,
    pub(super) counts: Arc<Counts>,
}

/// How often it was asked.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) done: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Renewal {
    pub(super) async fn keep(self, mut stopping: watch::Receiver<bool>) {
        let mut wait = FIRST_WAIT;
        loop {
            let due = self.due().saturating_sub(unix_now()).max(0);
            let until_due = Duration::from_secs(due.unsigned_abs()).min(LOOK_PERIOD);
            let pause = if due > 0 { until_due } else { Duration::ZERO };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
            if due > 0 {
                continue;
            }
            let renewed = tokio::select! {
                renewed = self.renew() => renewed,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            match renewed {
                Ok(()) => {
                    self.counts.done.fetch_add(1, Ordering::Relaxed);
                    tracing::info!(names = self.acme.domains.join(" "), "a certificate was given");
                    wait = FIRST_WAIT;
                }
                Err(why) => {
                    self.counts.failed.fetch_add(1, Ordering::Relaxed);
                    let again = wait.as_secs();
                    tracing::error!(why, again_in_s = again, "no certificate was given");
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        _ = stopping.wait_for(|stop| *stop) => return,
                    }
                    wait = (wait * 2).min(MAX_WAIT);
                }
            }
        }
    }

    /// When to ask for the next one, in Unix seconds.
    fn due(&self) -> i64 {
        let (certificate, key) = files(&self.data);
        let Ok(certified) = tls::certified(&certificate, &key) else { return 0 };
        match tls::life_of(&certified) {
            Some((from, until, names)) if self.acme.domains.iter().all(|d| names.contains(d)) => {
                from + (until - from) / 3 * 2
            }
            _ => 0,
        }
    }

    async fn renew(&self) -> Result<(), String> {
        let folder = self.data.join(FOLDER);
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder).map_err(|error| error.to_string())?;
        let account = folder.join("account.pem");
        let key = match std::fs::read_to_string(&account) {
            Ok(key) => key,
            Err(_) => {
                let key = Client::new_key().map_err(|error| error.to_string())?;
                write_private(&account, &key).map_err(|error| error.to_string())?;
                key
            }
        };
        let request = Request {
            directory: self.acme.directory.clone(),
            domains: self.acme.domains.clone(),
            contact: self.acme.contact.clone(),
            tls: self.acme.tls.clone(),
        };
        let client = Client::new(request, self.names.clone(), &key);
        let mut client = client.map_err(|error| error.to_string())?;
        let given = client.obtain(&self.shown).await.map_err(|error| error.to_string())?;
        self.keep_and_show(&given)
    }

    fn keep_and_show(&self, given: &Given) -> Result<(), String> {
        let (certificate, key) = files(&self.data);
        let written = write_private(&key, &given.key)
            .and_then(|()| write_private(&certificate, &given.chain));
        written.map_err(|error| error.to_string())?;
        let certified = tls::certified(&certificate, &key).map_err(|error| error.to_string())?;
        self.shown.replace(certified);
        Ok(())
    }
}

/// Where the certificate of an authority and its key are kept.
pub(crate) fn files(data: &Path) -> (PathBuf, PathBuf) {
    let folder = data.join(FOLDER);
    (folder.join("certificate.pem"), folder.join("key.pem"))
}

const FOLDER: &str = "acme";
/// Clocks are set, and machines sleep.
const LOOK_PERIOD: Duration = Duration::from_secs(600);
const FIRST_WAIT: Duration = Duration::from_secs(60);
const MAX_WAIT: Duration = Duration::from_secs(12 * 3600);
