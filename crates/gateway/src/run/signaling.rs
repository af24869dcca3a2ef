//! What the node is made with, from the configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crosspoint_base::{Flow, Rng, Transport, hex};
use crosspoint_connectors::rtcengine::RtcEngineConfig;
use crosspoint_connectors::sip_ua::SipUaConfig;
use crosspoint_media::negotiation::SoundRules;
use crosspoint_net::{Resolver, SipTransport};
use crosspoint_node::NodeConfig;
use crosspoint_sip::Timing;
use crosspoint_sip::digest::UserHa1;
use crosspoint_sip::endpoint::EndpointConfig;
use crosspoint_sip::registrar::RegistrarConfig;
use crosspoint_state::User;

use super::{callers, clock, trunks};
use crosspoint_connectors::webterminal::WebTerminalConfig;

use crate::config::{Config, Trunk};
use crate::plan::plan;

/// Everything the node decides by.
pub(super) async fn node_config(
    prepared: &super::Prepared,
    advertised: IpAddr,
    transport: &SipTransport,
    seed: [u8; 32],
) -> NodeConfig {
    let (config, users) = (&prepared.home.config, prepared.users.as_slice());
    let mut known = Vec::new();
    // A stream of its own: what it shows must say nothing about the node's.
    let names = Resolver::from_system(Rng::from_seed(seed.map(|byte| !byte)));
    for trunk in &config.trunks {
        let hops = prepared.places.locate(&trunk.name, &names, transport).await;
        known.push(trunks::trunk_config(trunk, &config.general.realm, hops));
    }
    let domain = config.general.domains.first().cloned();
    let clock = clock::now();
    let stir = config.stir.as_ref().map(|stir| callers::node_config(stir, clock, uuid(&seed)));
    let sip = SipUaConfig {
        stir,
        realm: config.general.realm.clone(),
        domain: domain.unwrap_or_else(|| advertised.to_string()),
        advertised,
        trunks: known,
        endpoint: EndpointConfig {
            timing: Timing { slack: SLACK, ..Timing::default() },
            max_server_transactions: config.limits.transactions,
            ..EndpointConfig::default()
        },
        registrar: registrar_config(config),
        max_legs: max_legs(config),
        max_registrations: MAX_REGISTRATIONS,
        resume_window: config.rtcengine.resume_window,
        user_agent: concat!("Crosspoint/", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let apps = RtcEngineConfig {
        resume_window: config.rtcengine.resume_window,
        ..RtcEngineConfig::new(sip.domain.clone(), clock)
    };
    let terminals = WebTerminalConfig {
        resume_window: config.rtcengine.resume_window,
        ..WebTerminalConfig::default()
    };
    let sound = sound_rules(config);
    let max_calls = config.limits.calls;
    let (plan, ladder) = (plan(config, users), config.ladder);
    NodeConfig { sip, apps, terminals, plan, sound, max_calls, ladder, seed }
}

pub(super) fn registrar_config(config: &Config) -> RegistrarConfig {
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    RegistrarConfig {
        min_expires: seconds(config.timers.registration_min),
        max_expires: seconds(config.timers.registration_max),
        default_expires: seconds(config.timers.registration_max),
        max_contacts: config.limits.contacts_per_user,
        ..RegistrarConfig::default()
    }
}

/// A call that rings at several devices has a leg for each.
pub(super) fn max_legs(config: &Config) -> usize {
    config.limits.calls.saturating_mul(4)
}

/// Which sound calls over each trunk may have.
pub(super) fn sound_rules(config: &Config) -> BTreeMap<Arc<str>, SoundRules> {
    let rules = |t: &Trunk| (Arc::from(t.name.as_str()), t.sound.clone());
    config.trunks.iter().map(rules).collect()
}

/// A name for this process that tells nothing about it (RFC 9562 §5.8, of what the seed gives).
pub(super) fn uuid(seed: &[u8; 32]) -> String {
    let mut bytes = [0; 16];
    Rng::from_seed(seed.map(|byte| byte.rotate_left(4))).fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let part = |range: std::ops::Range<usize>| hex(&bytes[range]);
    [part(0..4), part(4..6), part(6..8), part(8..10), part(10..16)].join("-")
}

/// What users sign in with.
pub(super) fn credentials(users: &[User], realm: &str) -> BTreeMap<Arc<str>, UserHa1> {
    let mut known = BTreeMap::new();
    for user in users {
        let kept = &user.credentials;
        if kept.realm != realm {
            // Their hashes are of no use for the realm we challenge with.
            tracing::warn!(
                realm = kept.realm,
                "a user has a password for another realm: set it again"
            );
            continue;
        }
        let ha1 = UserHa1 { md5: kept.ha1_md5.clone(), sha256: kept.ha1_sha256.clone() };
        known.insert(user.name.clone().into_inner(), ha1);
    }
    known
}

/// A call leaves four transactions behind, which end at times of their own: waking up for each
/// costs more than forgetting it.
const SLACK: Duration = Duration::from_millis(100);
/// Sign-ins of accounts at registrars elsewhere.
const MAX_REGISTRATIONS: usize = 10_000;
/// The way to a SIP host: the first of its addresses that a socket of ours can reach.
pub(super) async fn find(
    names: &Resolver,
    sockets: &SipTransport,
    (host, port): (&str, Option<u16>),
    transport: Transport,
) -> Result<Flow, String> {
    let found = names.resolve(host, port, transport);
    let addresses = found.await.map_err(|error| error.to_string())?;
    let reachable = addresses.iter().find_map(|address| {
        trunks::local_for(sockets, transport, *address).map(|local| (*address, local))
    });
    let (remote, local) = reachable.ok_or("no listener has its transport and kind of address")?;
    if transport == Transport::Tls {
        sockets.expect_peer(remote, host, None);
    }
    Ok(Flow { transport, connection: None, local, remote })
}
