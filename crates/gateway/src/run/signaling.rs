//! What the node is made with, from the configuration.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crosspoint_base::{Flow, Rng, Secret, Transport};
use crosspoint_connectors::rtcengine::RtcEngineConfig;
use crosspoint_connectors::sip_ua::{SipUaConfig, TrunkConfig};
use crosspoint_net::{Resolver, SipTransport};
use crosspoint_node::NodeConfig;
use crosspoint_sip::digest::{Credentials, UserHa1};
use crosspoint_sip::endpoint::EndpointConfig;
use crosspoint_sip::registrar::RegistrarConfig;
use crosspoint_state::User;

use crate::cli::unix_now;
use crate::config::{Config, Trunk};
use crate::plan::plan;

/// Everything the node decides by. Trunks whose name leads nowhere are left out and logged.
pub(super) async fn node_config(
    config: &Config,
    users: &[User],
    advertised: IpAddr,
    transport: &SipTransport,
    seed: [u8; 32],
) -> NodeConfig {
    let mut trunks = Vec::new();
    // A stream of its own: what it shows must say nothing about the node's.
    let names = Resolver::from_system(Rng::from_seed(seed.map(|byte| !byte)));
    for trunk in &config.trunks {
        match resolve(trunk, transport, &names).await {
            Ok(trunk) => trunks.push(trunk),
            Err(why) => tracing::error!(trunk = trunk.name, why, "a trunk cannot be used"),
        }
    }
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let domain = config.general.domains.first().cloned();
    let sip = SipUaConfig {
        realm: config.general.realm.clone(),
        domain: domain.unwrap_or_else(|| advertised.to_string()),
        advertised,
        trunks,
        endpoint: EndpointConfig {
            max_server_transactions: config.limits.transactions,
            ..EndpointConfig::default()
        },
        registrar: RegistrarConfig {
            min_expires: seconds(config.timers.registration_min),
            max_expires: seconds(config.timers.registration_max),
            default_expires: seconds(config.timers.registration_max),
            max_contacts: config.limits.contacts_per_user,
            ..RegistrarConfig::default()
        },
        // A call that rings at several devices has a leg for each.
        max_legs: config.limits.calls.saturating_mul(4),
        max_registrations: MAX_REGISTRATIONS,
        resume_window: config.rtcengine.resume_window,
        user_agent: concat!("Crosspoint/", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let epoch = (Instant::now(), unix_now());
    let apps = RtcEngineConfig {
        resume_window: config.rtcengine.resume_window,
        ..RtcEngineConfig::new(sip.domain.clone(), epoch)
    };
    NodeConfig { sip, apps, plan: plan(config, users), max_calls: config.limits.calls, seed }
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

async fn resolve(
    trunk: &Trunk,
    transport: &SipTransport,
    names: &Resolver,
) -> Result<TrunkConfig, String> {
    let Flow { remote: address, local, .. } =
        find(names, transport, (&trunk.host, trunk.port), trunk.transport).await?;
    Ok(TrunkConfig {
        name: trunk.name.as_str().into(),
        transport: trunk.transport,
        address,
        domain: trunk.host.clone(),
        credentials: trunk.credentials.as_ref().map(|c| Credentials {
            user: c.username.clone(),
            password: Secret::new(c.password.expose().clone()),
            realm: None,
        }),
        local,
    })
}

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
    let listeners: Vec<SocketAddr> = sockets
        .listeners()
        .iter()
        .filter(|(kind, _)| *kind == transport)
        .map(|(_, address)| *address)
        .collect();
    let reachable = addresses.iter().find_map(|address| {
        let local = listeners.iter().find(|local| local.is_ipv4() == address.is_ipv4());
        // Connections leave from any address; datagrams need a socket of ours.
        local
            .copied()
            .or_else(|| {
                let any: SocketAddr = if address.is_ipv4() { V4_ANY } else { V6_ANY };
                (transport != Transport::Udp).then_some(any)
            })
            .map(|local| (*address, local))
    });
    let (remote, local) = reachable.ok_or("no listener has its transport and kind of address")?;
    if transport == Transport::Tls {
        sockets.expect_name(remote, host);
    }
    Ok(Flow { transport, connection: None, local, remote })
}

const V4_ANY: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 5060);
const V6_ANY: SocketAddr = SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 5060);
