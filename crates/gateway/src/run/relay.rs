//! The TURN server of the running gateway: what it may reach, and what its users are told of it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use crosspoint_base::{Rng, Secret, host_text};
use crosspoint_media::turn::{Credentials, Limits, OwnAddress, PeerPolicy, TurnConfig};
use crosspoint_net::{Admission, MediaPool, TurnServer, TurnServerConfig};

use super::{Prepared, one_port, unbound};
use crate::cli::{Failure, unix_now};
use crate::config::Turn;
use crate::provisioning::Relay;

/// Opens it if it is configured. `http` is the port that it may share.
pub(super) fn start(
    prepared: &Prepared,
    media: &MediaPool,
    http: SocketAddr,
    admission: Admission,
    rng: &mut Rng,
) -> Result<Option<TurnServer>, Failure> {
    let config = &prepared.home.config;
    let Some(turn) = &config.turn else { return Ok(None) };
    let credentials = credentials(turn, rng);
    let limits = Limits {
        allocations: turn.allocations,
        allocations_per_user: turn.allocations_per_user,
        bytes_per_second_per_user: turn.kbits_per_user * 1000 / 8,
    };
    let server = TurnServer::bind(
        TurnServerConfig {
            listen: turn.listen,
            tls_listen: turn.tls_listen,
            tls_server: prepared.sip_tls.clone(),
            relay_bind: config.media.listen,
            relay_ports: (*turn.relay_ports.start(), *turn.relay_ports.end()),
            admission,
            media: Some(media.links()),
            turn: TurnConfig {
                realm: config.general.realm.clone(),
                credentials: credentials.clone(),
                policy: policy(
                    turn,
                    &media.browser_addresses(),
                    &prepared.addresses,
                    &addresses_of_this_host(),
                ),
                relay_addresses: prepared.addresses.clone(),
                limits,
                clock: (Instant::now(), u64::try_from(unix_now()).unwrap_or(0)),
            },
        },
        rng.fork(),
    )
    .map_err(|(address, error)| unbound("turn", address, &error))?;
    let host = turn.host.clone().unwrap_or_else(|| host(prepared));
    let urls = server.listeners().iter().map(|(kind, address)| match *kind {
        "turn-udp" => format!("turn:{host}:{}?transport=udp", address.port()),
        "turn-tcp" => format!("turn:{host}:{}?transport=tcp", address.port()),
        _ => format!("turns:{host}:{}?transport=tcp", address.port()),
    });
    let mut urls: Vec<String> = urls.collect();
    if turn.share_http {
        let scheme = if config.http.tls { "turns" } else { "turn" };
        let port = one_port::advertised_port(config, http);
        urls.push(format!("{scheme}:{host}:{port}?transport=tcp"));
    }
    let lifetime = turn.credential_lifetime;
    prepared.provisioning.offer(Relay { urls, credentials, lifetime });
    Ok(Some(server))
}

/// What browsers are told that we are called: our first domain or address.
pub(super) fn host(prepared: &Prepared) -> String {
    let first = prepared.addresses.first().copied();
    let domain = prepared.home.config.general.domains.first().cloned();
    domain.unwrap_or_else(|| host_text(first.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))))
}

fn credentials(turn: &Turn, rng: &mut Rng) -> Credentials {
    let secret = turn.secret.as_ref().map(|secret| secret.expose().clone().into_bytes());
    let secret = secret.unwrap_or_else(|| {
        let mut drawn = vec![0; 32];
        rng.fill(&mut drawn);
        drawn
    });
    Credentials::new(Secret::new(secret))
}

/// An advertised address that this host does not have is a NAT's, which may not turn packets
/// around: the media plane is then reached from inside.
fn policy(
    turn: &Turn,
    media: &[SocketAddr],
    advertised: &[IpAddr],
    host: &BTreeSet<IpAddr>,
) -> PeerPolicy {
    let bound = media.first().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), SocketAddr::ip);
    let inside = |ip: &IpAddr| match (ip, bound) {
        (ip, _) if host.contains(ip) || ip.is_loopback() => *ip,
        (ip, media) if !media.is_unspecified() && media.is_ipv4() == ip.is_ipv4() => media,
        (IpAddr::V4(_), _) => Ipv4Addr::LOCALHOST.into(),
        (IpAddr::V6(_), _) => Ipv6Addr::LOCALHOST.into(),
    };
    let own = advertised.iter().map(|ip| OwnAddress { advertised: *ip, local: inside(ip) });
    PeerPolicy {
        peers: turn.peers,
        allowed: turn.allow.clone(),
        own: own.collect(),
        host: host.iter().filter(|ip| !advertised.contains(ip)).copied().collect(),
        media_ports: media.iter().map(SocketAddr::port).collect(),
    }
}

fn addresses_of_this_host() -> BTreeSet<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.iter().map(if_addrs::Interface::ip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_nat_in_front_is_gone_around() {
        let config = Config::parse("[turn]", std::path::Path::new("")).unwrap();
        let ips = |texts: &[&str]| texts.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<_>>();
        let host: BTreeSet<IpAddr> =
            ips(&["127.0.0.1", "10.0.0.5", "8.8.4.4"]).into_iter().collect();
        let media = ["0.0.0.0:8443", "0.0.0.0:8444"].map(|a| a.parse().unwrap());
        let advertised = ips(&["9.9.9.9", "8.8.4.4"]);
        let policy = policy(&config.turn.unwrap(), &media, &advertised, &host);
        let check = |peer: &str, local: &str| {
            let peer = peer.parse().unwrap();
            assert!(policy.permits(peer, |_| false));
            assert_eq!(policy.to_local(peer), local.parse().unwrap());
        };
        check("9.9.9.9:8443", "127.0.0.1:8443");
        check("8.8.4.4:8444", "8.8.4.4:8444");
        for other in ["127.0.0.1:8443", "10.0.0.5:8443", "9.9.9.9:5060", "8.8.4.4:5060"] {
            assert!(!policy.permits(other.parse().unwrap(), |_| false), "{other}");
        }
    }
}
