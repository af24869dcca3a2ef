//! From a SIP host to addresses (RFC 3263 §4, RFC 2782, RFC 3403).
//!
//! A literal address and a given port skip what they make needless. Without a transport the host's
//! NAPTR records choose; without a port its SRV records for the transport are asked. A host
//! without any is looked up itself.
//!
//! Not here: caching, which is the library's, and which of the servers answer.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use crosspoint_base::{Rng, Transport};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};

/// Asks the system's name servers, or given ones.
pub struct Resolver {
    dns: Result<TokioResolver, String>,
    /// Spreads the load over equal servers.
    rng: Mutex<Rng>,
}

/// Why a host has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Browsers name themselves so; such a peer is only reached over its connection (RFC 7118).
    #[error("hosts in .invalid have no address")]
    Invalid,
    #[error("the host has no address")]
    NoAddress,
    #[error("the host refuses this transport")]
    Refused,
    #[error("name servers: {0}")]
    Dns(String),
}

/// One address of a SIP host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    pub transport: Transport,
    pub address: SocketAddr,
    /// The lowest is tried first.
    pub priority: u32,
    /// Its share among those of the same priority (RFC 2782).
    pub weight: u16,
}

/// One server that a SRV record names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    priority: u16,
    weight: u16,
    port: u16,
    host: String,
}

impl Resolver {
    /// A resolver with the system's name servers and hosts file. When those cannot be read, every
    /// question about a name fails with the reason.
    #[must_use]
    pub fn from_system(rng: Rng) -> Self {
        Self::new(TokioResolver::builder_tokio().and_then(ResolverBuilder::build), rng)
    }

    /// A resolver that asks these name servers over UDP.
    #[must_use]
    pub fn with_servers(servers: &[SocketAddr], rng: Rng) -> Self {
        let servers = servers.iter().map(|server| {
            let mut connection = ConnectionConfig::udp();
            connection.port = server.port();
            NameServerConfig::new(server.ip(), true, vec![connection])
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        let provider = TokioRuntimeProvider::default();
        Self::new(TokioResolver::builder_with_config(config, provider).build(), rng)
    }

    fn new(dns: Result<TokioResolver, impl fmt::Display>, rng: Rng) -> Self {
        Self { dns: dns.map_err(|error| error.to_string()), rng: Mutex::new(rng) }
    }

    /// Where to send a message for `host`, best first and never empty.
    ///
    /// # Errors
    /// When nothing leads to an address.
    pub async fn resolve(
        &self,
        host: &str,
        port: Option<u16>,
        transport: Transport,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = literal.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port.unwrap_or_else(|| default_port(transport)))]);
        }
        if is_invalid(host) {
            return Err(ResolveError::Invalid);
        }
        if let Some(port) = port {
            return self.addresses(host, port).await;
        }
        let servers = self.servers(host, transport).await;
        if servers.is_empty() {
            return self.addresses(host, default_port(transport)).await;
        }
        let mut found = Vec::new();
        for server in &servers {
            if server.host == "." || is_invalid(&server.host) {
                continue;
            }
            // One server without an address leaves the others.
            found.extend(self.addresses(&server.host, server.port).await.unwrap_or_default());
            if found.len() >= MAX_ADDRESSES {
                break;
            }
        }
        match (found.is_empty(), servers.iter().all(|s| s.host == ".")) {
            (false, _) => Ok(found),
            (true, true) => Err(ResolveError::Refused),
            (true, false) => Err(ResolveError::NoAddress),
        }
    }

    /// Every address of `host` with its place among them; never empty. Without a transport its
    /// owner's choice is asked for (RFC 3263 §4.1).
    ///
    /// # Errors
    /// When nothing leads to an address.
    pub async fn locate(
        &self,
        host: &str,
        port: Option<u16>,
        transport: Option<Transport>,
    ) -> Result<Vec<Located>, ResolveError> {
        let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if port.is_some() || transport.is_some() || literal.parse::<IpAddr>().is_ok() {
            let transport = transport.unwrap_or(Transport::Udp);
            return self.located(host, port, transport, (service(transport), 0)).await;
        }
        if is_invalid(host) {
            return Err(ResolveError::Invalid);
        }
        let mut services = self.services(host).await;
        if services.is_empty() {
            let usual = [Transport::Udp, Transport::Tcp, Transport::Tls];
            let named = usual.into_iter().filter_map(|t| Some((t, service(t)?)));
            services = named.map(|(t, s)| (t, format!("{s}.{host}."))).collect();
        }
        let mut found = Vec::new();
        for (place, (transport, name)) in (0..).zip(&services) {
            let servers = self.servers_at(name).await;
            if !servers.is_empty() {
                found.extend(self.addresses_of(&servers, *transport, place).await);
            }
            if found.len() >= MAX_ADDRESSES {
                break;
            }
        }
        if found.is_empty() {
            return self.located(host, None, Transport::Udp, (None, 0)).await;
        }
        Ok(found)
    }

    /// The addresses of a host for one transport; its SRV records are asked where there may be
    /// some.
    async fn located(
        &self,
        host: &str,
        port: Option<u16>,
        transport: Transport,
        (service, place): (Option<&str>, u32),
    ) -> Result<Vec<Located>, ResolveError> {
        let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let is_literal = literal.parse::<IpAddr>().is_ok();
        if let Some(service) = service.filter(|_| port.is_none() && !is_literal) {
            if is_invalid(host) {
                return Err(ResolveError::Invalid);
            }
            let name = format!("{service}.{}.", host.trim_end_matches('.'));
            let servers = self.servers_at(&name).await;
            if !servers.is_empty() && servers.iter().all(|s| s.host == ".") {
                return Err(ResolveError::Refused);
            }
            let found = self.addresses_of(&servers, transport, place).await;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        // `resolve` asks no SRV records where there is a port.
        let port = port.unwrap_or_else(|| default_port(transport));
        let addresses = self.resolve(host, Some(port), transport).await?;
        let one = |address| Located { transport, address, priority: place << 16, weight: 0 };
        Ok(addresses.into_iter().map(one).collect())
    }

    async fn addresses_of(
        &self,
        servers: &[Server],
        transport: Transport,
        place: u32,
    ) -> Vec<Located> {
        let mut found = Vec::new();
        for server in servers {
            if server.host == "." || is_invalid(&server.host) {
                continue;
            }
            // One server without an address leaves the others.
            let addresses = self.addresses(&server.host, server.port).await.unwrap_or_default();
            let priority = (place << 16) + u32::from(server.priority);
            found.extend(addresses.into_iter().map(|address| Located {
                transport,
                address,
                priority,
                weight: server.weight,
            }));
            if found.len() >= MAX_ADDRESSES {
                break;
            }
        }
        found
    }

    /// What the NAPTR records of a host name, best first: transports that we have, with the names
    /// of their SRV records.
    async fn services(&self, host: &str) -> Vec<(Transport, String)> {
        let Ok(dns) = &self.dns else { return Vec::new() };
        let name = format!("{}.", host.trim_end_matches('.'));
        let Ok(found) = dns.lookup(name, RecordType::NAPTR).await else { return Vec::new() };
        let mut services: Vec<((u16, u16), (Transport, String))> = found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::NAPTR(naptr) if naptr.flags.eq_ignore_ascii_case(b"s") => {
                    let transport = transport_of(&naptr.services)?;
                    let order = (naptr.order, naptr.preference);
                    Some((order, (transport, naptr.replacement.to_ascii())))
                }
                _ => None,
            })
            .take(MAX_SERVERS)
            .collect();
        services.sort_by_key(|(order, _)| *order);
        services.into_iter().map(|(_, service)| service).collect()
    }

    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        let dns = self.dns.as_ref().map_err(|error| ResolveError::Dns(error.clone()))?;
        let found = dns.lookup_ip(host).await;
        let found = found.map_err(|error| {
            if error.is_no_records_found() {
                ResolveError::NoAddress
            } else {
                ResolveError::Dns(error.to_string())
            }
        })?;
        let addresses: Vec<SocketAddr> =
            found.iter().take(MAX_ADDRESSES).map(|ip| SocketAddr::new(ip, port)).collect();
        if addresses.is_empty() { Err(ResolveError::NoAddress) } else { Ok(addresses) }
    }

    /// The servers of a SRV record set in the order to try them. A failed question counts as
    /// none: the host itself may still have an address.
    async fn servers(&self, host: &str, transport: Transport) -> Vec<Server> {
        let Some(service) = service(transport) else { return Vec::new() };
        let servers = self.servers_at(&format!("{service}.{}.", host.trim_end_matches('.'))).await;
        order(servers, &mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The servers of the SRV record set of this name.
    async fn servers_at(&self, name: &str) -> Vec<Server> {
        let Ok(dns) = &self.dns else { return Vec::new() };
        let Ok(found) = dns.srv_lookup(name).await else { return Vec::new() };
        let servers = found.answers().iter().filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(Server {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                host: srv.target.to_ascii(),
            }),
            _ => None,
        });
        servers.take(MAX_SERVERS).collect()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// By priority, and within one at random by weight (RFC 2782).
fn order(mut servers: Vec<Server>, rng: &mut Rng) -> Vec<Server> {
    servers.sort_by_key(|server| (server.priority, server.weight));
    let mut rest = VecDeque::from(servers);
    let mut ordered = Vec::with_capacity(rest.len());
    while let Some(priority) = rest.front().map(|server| server.priority) {
        let equals = || rest.iter().take_while(|server| server.priority == priority);
        let total: u32 = equals().map(|server| u32::from(server.weight)).sum();
        let mut chosen = rng.below(total.saturating_add(1));
        let position = equals().position(|server| {
            let weight = u32::from(server.weight);
            let is_it = chosen <= weight;
            chosen = chosen.saturating_sub(weight);
            is_it
        });
        ordered.extend(rest.remove(position.unwrap_or(0)));
    }
    ordered
}

fn is_invalid(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next();
    last.is_none_or(|label| label.is_empty() || label.eq_ignore_ascii_case("invalid"))
}

/// WebSocket servers are named by their URL (RFC 7118 §3), not by SRV records.
fn service(transport: Transport) -> Option<&'static str> {
    match transport {
        Transport::Udp => Some("_sip._udp"),
        Transport::Tcp => Some("_sip._tcp"),
        Transport::Tls => Some("_sips._tcp"),
        Transport::Ws | Transport::Wss => None,
    }
}

/// RFC 3263 §4.1.
fn transport_of(service: &[u8]) -> Option<Transport> {
    let known = [
        (&b"SIP+D2U"[..], Transport::Udp),
        (b"SIP+D2T", Transport::Tcp),
        (b"SIPS+D2T", Transport::Tls),
    ];
    known.into_iter().find(|(s, _)| service.eq_ignore_ascii_case(s)).map(|(_, t)| t)
}

fn default_port(transport: Transport) -> u16 {
    match transport {
        Transport::Udp | Transport::Tcp => 5060,
        Transport::Tls => 5061,
        Transport::Ws => 80,
        Transport::Wss => 443,
    }
}

const MAX_SERVERS: usize = 16;
const MAX_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn server(priority: u16, weight: u16, host: &str) -> Server {
        Server { priority, weight, port: 5060, host: host.to_owned() }
    }

    #[test]
    fn heavier_servers_come_first_more_often_but_never_before_a_better_priority() {
        let all = [
            server(20, 100, "spare"),
            server(10, 0, "never"),
            server(10, 30, "b"),
            server(10, 90, "a"),
        ];
        let mut rng = Rng::from_u64(1);
        let mut firsts = std::collections::BTreeMap::new();
        for _ in 0..1000 {
            let ordered = order(all.to_vec(), &mut rng);
            assert_eq!((ordered.len(), ordered[3].host.as_str()), (4, "spare"));
            *firsts.entry(ordered[0].host.clone()).or_insert(0) += 1;
        }
        assert!(firsts["a"] > 2 * firsts["b"], "{firsts:?}");
        assert!(firsts.get("never").copied().unwrap_or(0) < 30, "{firsts:?}");
        assert!(order(Vec::new(), &mut rng).is_empty());
    }

    #[test]
    fn knows_hosts_that_must_not_be_asked_for() {
        for host in ["invalid", "a.invalid", "q8x.INVALID.", "", "."] {
            assert!(is_invalid(host), "{host}");
        }
        assert!(!is_invalid("invalid.example.com"));
    }
}
