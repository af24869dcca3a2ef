//! What tells one configuration from the next, section by section: those that apply at once, and
//! those that a running process cannot change.

use std::fmt;

use crosspoint_base::Secret;
use sha2::{Digest as _, Sha256};

use crate::config::Config;

/// Digests that are equal where the sections are.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    realm: String,
    fixed: Vec<Mark>,
    free: Vec<Mark>,
}

type Mark = (&'static str, Digest);
pub(super) type Digest = [u8; 32];

/// What the start takes out of a configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BeforeStart(Digest);

impl Marks {
    /// Must be asked of a configuration that is as it was read.
    pub(crate) fn before_start(config: &Config) -> BeforeStart {
        let login = config.rtcengine.provisioning.as_ref();
        let login = login.map(|login| (&login.username, login.password.expose()));
        BeforeStart(digest(format_args!("{login:?}")))
    }

    pub(super) fn of(config: &Config, before: &BeforeStart) -> Self {
        let mut fixed = Vec::new();
        let mut mark = |key, text: fmt::Arguments<'_>| fixed.push((key, digest(text)));
        let secret = |secret: &Option<Secret<String>>| secret.as_ref().map(|s| s.expose().clone());
        let Config { general, http, media, turn, rtcengine, call_api, .. } = config;
        mark("general.realm", format_args!("{}", general.realm));
        mark("general.domains", format_args!("{:?}", general.domains));
        mark("general.data", format_args!("{:?}", general.data));
        mark("log.format", format_args!("{:?}", config.log.format));
        mark("listener", format_args!("{:?}", config.listeners));
        mark("http", format_args!("{http:?}"));
        mark("media", format_args!("{media:?}"));
        let relay = turn.as_ref().and_then(|turn| secret(&turn.secret));
        mark("turn", format_args!("{turn:?} {relay:?}"));
        mark("media_server", format_args!("{:?}", config.media_servers));
        let (window, lifetime) = (rtcengine.resume_window, rtcengine.token_lifetime);
        mark("rtcengine", format_args!("{window:?} {lifetime:?} {:?}", before.0));
        let tokens: Vec<&String> = call_api.tokens.iter().map(|t| t.token.expose()).collect();
        let asks = call_api.introspection.as_ref().map(|asks| asks.secret.expose());
        mark("grpc", format_args!("{call_api:?} {tokens:?} {asks:?}"));
        mark("admin", format_args!("{:?}", secret(&config.admin_token)));
        let console = &config.console;
        let oidc = console.oidc.as_ref().map(|oidc| {
            let client = (&oidc.issuer, &oidc.client, oidc.secret.expose());
            let who = (&oidc.claim, &oidc.roles, &oidc.scopes);
            (client, who, &oidc.label, &oidc.address, &oidc.allow)
        });
        let times = (console.idle, console.lifetime, console.audit_keep);
        mark("console", format_args!("{times:?} {oidc:?}"));
        let recording = config.recording.as_ref().map(|r| {
            let times = (r.keep, r.keep_bytes, r.at_once, r.consent_tone);
            (&r.folder, r.format, r.min_free, times)
        });
        mark("recording", format_args!("{recording:?}"));
        mark("ladder", format_args!("{:?}", config.ladder));
        let key = config.hep.as_ref().and_then(|hep| secret(&hep.key));
        mark("hep", format_args!("{:?} {key:?}", config.hep));
        mark("sound", format_args!("{:?}", config.sound));
        let token = config.stream.as_ref().and_then(|stream| secret(&stream.token));
        mark("stream", format_args!("{:?} {token:?}", config.stream));
        let acme = config.acme.as_ref().map(|acme| (&acme.directory, &acme.domains, &acme.contact));
        mark("acme", format_args!("{acme:?}"));
        mark("cdr", format_args!("{:?}", config.cdr));
        Self { realm: general.realm.clone(), fixed, free: free(config) }
    }

    /// What users' passwords are kept for, in this process.
    pub(super) fn realm(&self) -> &str {
        &self.realm
    }

    /// What cannot change is still as in `old`.
    pub(super) fn keep_fixed(&mut self, old: &Self) {
        (self.realm, self.fixed) = (old.realm.clone(), old.fixed.clone());
    }

    /// The sections that differ: those that apply, and those that wait for a restart.
    pub(super) fn differences(&self, new: &Self) -> (Vec<&'static str>, Vec<&'static str>) {
        let others = |old: &[Mark], new: &[Mark]| {
            let pairs = old.iter().zip(new).filter(|(old, new)| old != new);
            pairs.map(|((key, _), _)| *key).collect()
        };
        (others(&self.free, &new.free), others(&self.fixed, &new.fixed))
    }
}

/// What applies at once.
fn free(config: &Config) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut mark = |key, text: fmt::Arguments<'_>| marks.push((key, digest(text)));
    let routing = &config.routing;
    mark("media.phones", format_args!("{}", config.direct_phones));
    mark("route", format_args!("{:?} {:?}", routing.routes, routing.country));
    mark("group", format_args!("{:?} {:?}", routing.groups, routing.group_numbers));
    mark("permission", format_args!("{:?}", routing.permissions));
    mark("fraud", format_args!("{:?}", routing.fraud));
    mark("emergency", format_args!("{:?}", routing.emergency));
    mark("numbers", format_args!("{:?}", config.numbers));
    mark("features", format_args!("{:?}", config.features));
    mark("forwarding", format_args!("{:?}", config.forwards));
    mark("recording.rules", format_args!("{:?}", config.recording.as_ref().map(|r| &r.rules)));
    let hooks = config.webhooks.iter().map(|hook| {
        let times = (hook.timeout, hook.retry_for, hook.queue);
        (&hook.name, &hook.url, &hook.events, hook.secret.expose(), times)
    });
    mark("webhook", format_args!("{:?}", hooks.collect::<Vec<_>>()));
    mark("stir", format_args!("{:?}", config.stir));
    mark("timers", format_args!("{:?}", config.timers));
    mark("drain", format_args!("{:?}", config.drain));
    mark("limits", format_args!("{:?}", config.limits));
    mark("ban", format_args!("{:?}", config.ban));
    mark("log.level", format_args!("{:?}", config.log.level));
    marks
}

/// Of what would be printed, however long it is.
pub(super) fn digest(text: fmt::Arguments<'_>) -> Digest {
    struct Sink(Sha256);
    impl fmt::Write for Sink {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.update(text);
            Ok(())
        }
    }
    let mut sink = Sink(Sha256::new());
    let _ = fmt::Write::write_fmt(&mut sink, text);
    sink.0.finalize().into()
}
