//! Tells web servers what happens to calls (`[[webhook]]`), as readers of `/api/v1/events` are told.
//!
//! Messages are signed as Standard Webhooks wants it. Those of one call come in order: each call is
//! of one lane of its hook, and a lane sends one message after the other. What cannot be
//! delivered is tried again at growing intervals; where too much waits the oldest goes, counted.
//! Nothing here is ever waited for by a call.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crosspoint_net::{PostError, Poster, PosterConfig, Resolver};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::cli::unix_now;
use crate::config::Webhook;
use crate::events::{Events, Told};

/// All of them.
#[derive(Debug)]
pub(crate) struct Webhooks {
    events: Events,
    names: Arc<Resolver>,
    running: Mutex<BTreeMap<String, Running>>,
}

/// One that runs; it ends with this.
#[derive(Debug)]
struct Running {
    config: Webhook,
    hook: Arc<Hook>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Hook {
    lanes: Vec<Lane>,
    counters: Counters,
    /// Of each lane.
    room: usize,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: Mutex<VecDeque<Told>>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Counters {
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    retries: AtomicU64,
}

/// How one does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WebhookReport {
    pub(crate) name: String,
    pub(crate) delivered: u64,
    /// Refused by the server, or tried for too long.
    pub(crate) failed: u64,
    /// Too much waited.
    pub(crate) dropped: u64,
    pub(crate) retries: u64,
    pub(crate) waiting: u64,
}

impl Webhooks {
    pub(crate) fn new(events: Events, names: Arc<Resolver>) -> Self {
        Self { events, names, running: Mutex::default() }
    }

    /// Makes them what the configuration says. What waits for those that stay as they are stays.
    pub(crate) fn set(&self, hooks: &[Webhook]) {
        let mut running = self.running();
        if !hooks.is_empty() {
            self.events.switch_on();
        }
        running.retain(|name, running| {
            hooks.iter().any(|hook| hook.name == *name && is_same(hook, &running.config))
        });
        for config in hooks {
            if !running.contains_key(&config.name) {
                running.insert(config.name.clone(), self.start(config));
            }
        }
    }

    pub(crate) fn reports(&self) -> Vec<WebhookReport> {
        let report = |(name, running): (&String, &Running)| {
            let Counters { delivered, failed, dropped, retries } = &running.hook.counters;
            let waiting = running.hook.lanes.iter().map(|lane| lane.waiting().len() as u64);
            WebhookReport {
                name: name.clone(),
                delivered: delivered.load(Ordering::Relaxed),
                failed: failed.load(Ordering::Relaxed),
                dropped: dropped.load(Ordering::Relaxed),
                retries: retries.load(Ordering::Relaxed),
                waiting: waiting.sum(),
            }
        };
        self.running().iter().map(report).collect()
    }

    fn start(&self, config: &Webhook) -> Running {
        let hook = Arc::new(Hook {
            lanes: (0..LANES).map(|_| Lane::default()).collect(),
            counters: Counters::default(),
            room: config.queue.div_ceil(LANES),
        });
        let mut tasks = JoinSet::new();
        let mut follower = self.events.follow(config.events.clone());
        let filled = hook.clone();
        tasks.spawn(async move {
            loop {
                let (told, missed) = follower.next().await;
                filled.counters.dropped.fetch_add(missed, Ordering::Relaxed);
                told.into_iter().for_each(|told| filled.take(told));
            }
        });
        for lane in 0..LANES {
            let poster = PosterConfig {
                url: config.url.clone(),
                tls: config.tls.clone(),
                patience: config.timeout,
                user_agent: concat!("Crosspoint/", env!("CARGO_PKG_VERSION")),
            };
            let poster = Poster::new(poster, self.names.clone());
            tasks.spawn(empty(hook.clone(), lane, poster, config.clone()));
        }
        Running { config: config.clone(), hook, _tasks: tasks }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hook {
    fn take(&self, told: Told) {
        let lane = &self.lanes[lane_of(&told.text)];
        let mut waiting = lane.waiting();
        waiting.push_back(told);
        if waiting.len() > self.room {
            // The first is being sent, perhaps for long: then the next is the oldest.
            let oldest = usize::from(waiting.len() > 1);
            let _ = waiting.remove(oldest);
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
        drop(waiting);
        lane.more.notify_one();
    }
}

impl Lane {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Told>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what waits in a lane, one after the other.
async fn empty(hook: Arc<Hook>, lane: usize, mut poster: Poster, config: Webhook) {
    let lane = &hook.lanes[lane];
    loop {
        let Some(told) = lane.waiting().front().cloned() else {
            lane.more.notified().await;
            continue;
        };
        let counter = match deliver(&hook, &mut poster, &config, &told).await {
            Ok(()) => &hook.counters.delivered,
            Err(why) => {
                tracing::warn!(webhook = config.name, why, "a message is given up");
                &hook.counters.failed
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut waiting = lane.waiting();
        if waiting.front().is_some_and(|first| first.id == told.id) {
            waiting.pop_front();
        }
    }
}

/// Sends one message, again and again if need be.
async fn deliver(
    hook: &Hook,
    poster: &mut Poster,
    config: &Webhook,
    told: &Told,
) -> Result<(), String> {
    let began = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        let headers = headers(config, told, unix_now());
        let body = Bytes::copy_from_slice(told.text.as_bytes());
        let why = match poster.post(&headers, body).await {
            Ok(200..=299) => return Ok(()),
            Ok(status @ (408 | 425 | 429 | 500..=599)) => format!("the server answered {status}"),
            // It does not want it, or is somewhere else: asking again helps nobody.
            Ok(status) => return Err(format!("the server answered {status}")),
            Err(error @ PostError::Address) => return Err(error.to_string()),
            Err(error) => error.to_string(),
        };
        // Not all hooks of all gateways at the same moment.
        let jittered = wait.mul_f64(0.5 + jitter());
        if began.elapsed() + jittered > config.retry_for {
            return Err(why);
        }
        hook.counters.retries.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(jittered).await;
        wait = (wait * 2).min(MAX_WAIT);
    }
}

/// As Standard Webhooks wants them: the id stays the same when a message is sent again.
fn headers(config: &Webhook, told: &Told, now: i64) -> [(&'static str, String); 4] {
    let signed = format!("{}.{now}.{}", told.id, told.text);
    let mut mac = Hmac::<Sha256>::new_from_slice(config.secret.expose())
        .expect("a key of HMAC may have any length");
    mac.update(signed.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    [
        ("content-type", "application/json".to_owned()),
        ("webhook-id", told.id.clone()),
        ("webhook-timestamp", now.to_string()),
        ("webhook-signature", format!("v1,{signature}")),
    ]
}

/// All messages of a call are in one lane.
fn lane_of(text: &str) -> usize {
    let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let gcid = value["call"]["gcid"].as_str().or_else(|| value["gcid"].as_str());
    let sum = |sum: usize, byte: u8| sum.wrapping_mul(31).wrapping_add(usize::from(byte));
    gcid.unwrap_or_default().bytes().fold(0, sum) % LANES
}

/// From 0 to 1.
fn jitter() -> f64 {
    let mut bytes = [0; 2];
    // Without randomness there is no jitter, which is no harm.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u16::from_le_bytes(bytes)) / 65_536.0
}

fn is_same(a: &Webhook, b: &Webhook) -> bool {
    (&a.url, &a.events, a.timeout, a.retry_for, a.queue)
        == (&b.url, &b.events, b.timeout, b.retry_for, b.queue)
        && a.secret == b.secret
}

/// Messages at once to one server.
const LANES: usize = 8;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that Standard Webhooks publishes with its libraries.
    #[test]
    fn signs_as_the_libraries_of_servers_expect() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let config = Webhook {
            name: "x".to_owned(),
            url: String::new(),
            events: vec![],
            secret: crosspoint_base::Secret::new(key),
            timeout: Duration::ZERO,
            retry_for: Duration::ZERO,
            queue: 1,
            tls: None,
        };
        let told = Told {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            text: r#"{"test": 2432232314}"#.into(),
        };
        let [_, id, time, signature] = headers(&config, &told, 1_614_265_330);
        assert_eq!((id.1.as_str(), time.1.as_str()), (told.id.as_str(), "1614265330"));
        assert_eq!(signature.1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_call_stays_in_its_lane() {
        let lane = lane_of(r#"{"call":{"gcid":"abc"}}"#);
        assert_eq!(lane, lane_of(r#"{"event":"quality","gcid":"abc"}"#));
        let used: std::collections::BTreeSet<usize> =
            (0..100).map(|n| lane_of(&format!(r#"{{"gcid":"{n}-call"}}"#))).collect();
        assert_eq!(used.len(), LANES);
    }
}
