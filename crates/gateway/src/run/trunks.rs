//! Trunks from the configuration to the node: names to addresses, certificates, what is told.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::{CallId, Flow, Secret, Transport};
use crosspoint_call::CallState;
use crosspoint_call::router::TrunkState;
use crosspoint_connectors::sip_ua::{
    ForwardReport, Hop, HopState, RegistrationFailure, RegistrationState, Sources, TrunkChange,
    TrunkConfig, TrunkForward, TrunkLogin, TrunkNews, TrunkRegistration, TrunkReport, route_to,
};
use crosspoint_net::{Resolver, SipTransport};
use crosspoint_node::Input;
use crosspoint_sip::digest::{Credentials, UserHa1};
use crosspoint_sip::registrar::Binding;
use serde_json::{Value, json};
use tokio_rustls::rustls::ClientConfig;

use crate::cli::Failure;
use crate::config::{Destination, Trunk};
use crate::provisioning::Refusal;
use crate::tls;

/// Where each trunk is to be looked for.
#[derive(Debug, Default)]
pub(super) struct TrunkPlaces(BTreeMap<Arc<str>, Place>);

#[derive(Debug)]
struct Place {
    destinations: Vec<Destination>,
    transport: Option<Transport>,
    /// Requests name this one where they go by a proxy.
    behind_proxy: Option<String>,
    tls: Option<Arc<ClientConfig>>,
}

impl TrunkPlaces {
    pub(super) fn new(trunks: &[Trunk]) -> Result<Self, Failure> {
        let mut places = BTreeMap::new();
        for trunk in trunks {
            places.insert(Arc::from(trunk.name.as_str()), Place::new(trunk)?);
        }
        Ok(Self(places))
    }

    /// The addresses of a trunk that a socket of ours can reach.
    pub(super) async fn locate(
        &self,
        trunk: &str,
        names: &Resolver,
        sockets: &SipTransport,
    ) -> Vec<Hop> {
        let Some(place) = self.0.get(trunk) else { return vec![] };
        let mut hops = Vec::new();
        for destination in &place.destinations {
            match place.hops(destination, names, sockets).await {
                Ok(found) => {
                    let addresses = found.iter().map(|hop| hop.flow.remote.ip());
                    addresses.for_each(|address| sockets.bans().trust(address.into()));
                    hops.extend(found);
                }
                Err(why) => {
                    let host = &destination.host;
                    tracing::warn!(trunk, host, why, "a trunk's destination is not found");
                }
            }
        }
        hops
    }
}

impl Place {
    fn new(trunk: &Trunk) -> Result<Self, Failure> {
        let own = Destination {
            host: trunk.host.clone(),
            port: trunk.port,
            transport: None,
            priority: 0,
            weight: 0,
        };
        let own_text = with_port(&own);
        let destinations = match (&trunk.outbound_proxy, trunk.destinations.as_slice()) {
            (Some(proxy), _) => vec![proxy.clone()],
            (None, []) if trunk.host.is_empty() => vec![],
            (None, []) => vec![own],
            (None, several) => several.to_vec(),
        };
        Ok(Self {
            destinations,
            transport: trunk.transport,
            behind_proxy: trunk.outbound_proxy.as_ref().map(|_| own_text),
            tls: tls::trunk_client_config(&trunk.tls)?,
        })
    }

    async fn hops(
        &self,
        destination: &Destination,
        names: &Resolver,
        sockets: &SipTransport,
    ) -> Result<Vec<Hop>, String> {
        let Destination { host, port, transport, priority, weight } = destination;
        let found = names.locate(host, *port, transport.or(self.transport)).await;
        let found = found.map_err(|error| error.to_string())?;
        let mut hops = Vec::new();
        for located in found {
            let Some(local) = local_for(sockets, located.transport, located.address) else {
                continue;
            };
            if located.transport == Transport::Tls {
                sockets.expect_peer(located.address, host, self.tls.clone());
            }
            let flow = Flow {
                transport: located.transport,
                connection: None,
                local,
                remote: located.address,
            };
            hops.push(Hop {
                flow,
                host: self.behind_proxy.clone().unwrap_or_else(|| with_port(destination)),
                // The order of the configuration goes before that of records.
                priority: (priority << 20) + located.priority.min(0xF_FFFF),
                weight: if located.weight > 0 { located.weight } else { *weight },
            });
        }
        if hops.is_empty() {
            return Err("no listener has its transport and kind of address".to_owned());
        }
        Ok(hops)
    }
}

fn with_port(destination: &Destination) -> String {
    let host = match destination.host.parse::<std::net::Ipv6Addr>() {
        Ok(v6) => format!("[{v6}]"),
        Err(_) => destination.host.clone(),
    };
    destination.port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
}

/// The socket of ours that reaches an address.
pub(super) fn local_for(
    sockets: &SipTransport,
    transport: Transport,
    remote: SocketAddr,
) -> Option<SocketAddr> {
    let fits = |(kind, local): &&(Transport, SocketAddr)| {
        *kind == transport && local.is_ipv4() == remote.is_ipv4()
    };
    let listener = sockets.listeners().iter().find(fits).map(|(_, address)| *address);
    // Connections leave from any address; datagrams need a socket of ours.
    let any = if remote.is_ipv4() { V4_ANY } else { V6_ANY };
    listener.or((transport != Transport::Udp).then_some(any))
}

/// What the node knows of a trunk.
pub(super) fn trunk_config(trunk: &Trunk, realm: &str, hops: Vec<Hop>) -> TrunkConfig {
    let proxy = trunk.outbound_proxy.as_ref().and_then(|proxy| route_to(&with_port(proxy)));
    let credentials = trunk.credentials.as_ref();
    TrunkConfig {
        routes: proxy.into_iter().collect(),
        credentials: credentials.map(|c| Credentials {
            user: c.username.clone(),
            password: Secret::new(c.password.expose().clone()),
            realm: trunk.realm.clone(),
        }),
        registration: trunk
            .register
            .zip(credentials)
            .map(|(expires, c)| TrunkRegistration { user: c.username.clone(), expires }),
        login: trunk.accepts.as_ref().map(|login| TrunkLogin {
            user: login.username.as_str().into(),
            ha1: UserHa1::new(&login.username, realm, login.password.expose()),
            registers: trunk.accepts_registration,
        }),
        sources: Sources {
            networks: trunk.sources.networks.clone(),
            certificates: trunk.sources.certificates.clone(),
            authority: tls::authority_of(trunk),
            from_domains: trunk.sources.from_domains.clone(),
            trusts_domain: trunk.sources.trusts_domain,
        },
        health: trunk.health,
        limits: trunk.limits,
        caller: trunk.caller,
        from_account: trunk.from_account,
        headers: trunk.headers.clone(),
        diversion: trunk.diversion,
        early_media: trunk.early_media,
        failover_after: trunk.failover_after,
        video: trunk.video,
        forward: trunk.forward_domains.clone().map(|domains| TrunkForward {
            domains,
            announce_to: trunk.announce_to.as_deref().map(Arc::from),
        }),
        ..TrunkConfig::new(&trunk.name, &trunk.domain, hops)
    }
}

/// Tells the log; says whether the trunk has to be looked for.
pub(super) fn log(news: &TrunkNews) -> bool {
    let TrunkNews { trunk, what } = news;
    match what {
        TrunkChange::Locate => return true,
        TrunkChange::Up(address) => tracing::info!(%trunk, %address, "a trunk's destination is up"),
        TrunkChange::Down(address, why) => {
            let why = why.as_str();
            tracing::warn!(%trunk, %address, why, "a trunk's destination is down");
        }
        TrunkChange::Registration(state) => {
            let (word, why) = registration_words(*state);
            match state {
                RegistrationState::Failed(_) | RegistrationState::Retrying(_) => {
                    tracing::warn!(%trunk, state = word, why, "our sign-in at a trunk");
                }
                _ => tracing::info!(%trunk, state = word, "our sign-in at a trunk"),
            }
        }
        TrunkChange::Peer(state) => {
            tracing::info!(%trunk, state = state.as_str(), "a trunk's sign-in with us");
        }
    }
    false
}

/// A sign-in of ours in words: how it stands, and why not better.
pub(crate) fn registration_words(state: RegistrationState) -> (&'static str, Option<&'static str>) {
    let why = |failure| match failure {
        RegistrationFailure::Unauthorized => "wrong_password",
        RegistrationFailure::NotFound => "not_found",
        RegistrationFailure::Timeout => "no_answer",
        RegistrationFailure::Network => "unavailable",
        RegistrationFailure::Refused => "refused",
    };
    match state {
        RegistrationState::Connecting => ("connecting", None),
        RegistrationState::Connected => ("registered", None),
        RegistrationState::Retrying(failure) => ("retrying", Some(why(failure))),
        RegistrationState::Failed(failure) => ("failed", Some(why(failure))),
        RegistrationState::Ended => ("ended", None),
    }
}

/// Of a trunk in one word.
pub(crate) fn state_word(state: TrunkState) -> &'static str {
    match state {
        TrunkState::Ready => "ready",
        TrunkState::Full => "full",
        TrunkState::Down => "down",
    }
}

/// All trunks for an operator.
pub(super) fn shown(reports: &[TrunkReport]) -> Value {
    let items: Vec<Value> = reports.iter().map(one).collect();
    json!({ "total": items.len(), "items": items })
}

fn one(report: &TrunkReport) -> Value {
    let destination = |(address, state): &(SocketAddr, HopState)| {
        let (word, why) = match state {
            HopState::Unknown => ("unknown", None),
            HopState::Up => ("up", None),
            HopState::Down(why) => ("down", Some(why.as_str())),
        };
        json!({ "address": address.to_string(), "state": word, "why": why })
    };
    let registration = report.registration.map(|state| {
        let (word, why) = registration_words(state);
        json!({ "state": word, "why": why })
    });
    let counters = &report.counters;
    json!({
        "name": &*report.name,
        "state": state_word(report.state),
        "destinations": report.hops.iter().map(destination).collect::<Vec<_>>(),
        "registration": registration,
        "accepted_registration": report.peer.map(|peer| peer.as_str()),
        "leaving": report.is_leaving,
        "calls": report.calls,
        "calls_out": counters.calls_out,
        "calls_in": counters.calls_in,
        "failovers": counters.failovers,
        "refused": counters.refused,
        "foreign_challenges": counters.foreign_challenges,
    })
}

impl super::driver::Driver {
    pub(super) fn trunk_said(&self, news: &TrunkNews) {
        if !log(news) {
            return;
        }
        let (names, asked) = (self.names.clone(), self.asked.clone());
        let (sockets, places, trunk) =
            (self.transport.clone(), self.places.clone(), news.trunk.clone());
        tokio::spawn(async move {
            let hops = places.locate(&trunk, &names, &sockets).await;
            // It fails only when the node is gone.
            let _ = asked.send(crosspoint_node::Input::Located { trunk, hops }).await;
        });
    }

    pub(super) fn registrations_shown(&self) -> Value {
        let item = |report: &ForwardReport| {
            let announced = report.announced.map(|state| {
                let (word, why) = registration_words(state);
                json!({ "state": word, "why": why })
            });
            json!({
                "user": &*report.user,
                "trunk": &*report.trunk,
                "contact": report.contact,
                "path": report.path,
                "expires_in_s": report.expires_in.as_secs(),
                "announced": announced,
            })
        };
        let reports = self.node.forward_reports(Instant::now());
        let items: Vec<Value> = reports.iter().map(item).collect();
        let (sessions, legs) = self.node.web_clients();
        json!({ "total": items.len(), "items": items, "webrtc_sessions": sessions, "webrtc_calls": legs })
    }

    /// Devices that are signed in, as operators see them.
    pub(super) fn bindings_shown(&self, user: Option<&str>, limit: usize) -> Value {
        let (now, registrar) = (Instant::now(), self.node.registrar());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let item = |binding: &Binding| {
            json!({
                "user": &*binding.user,
                "contact": text(binding.contact.as_bytes()),
                "transport": binding.flow.transport.as_str(),
                "remote": binding.flow.remote.to_string(),
                "expires_in_s": binding.expires.saturating_duration_since(now).as_secs(),
                "user_agent": binding.user_agent.as_deref().map(text),
            })
        };
        let is_meant = |binding: &&Binding| user.is_none_or(|user| *binding.user == *user);
        let items: Vec<Value> =
            registrar.bindings().filter(is_meant).take(limit).map(item).collect();
        let total = match user {
            Some(user) => registrar.bindings_of(user).count(),
            None => registrar.len(),
        };
        json!({ "total": total, "items": items })
    }

    /// An operator ends a call.
    pub(super) fn end_call(&mut self, gcid: &str) -> Result<Value, Refusal> {
        // One id may name several calls, when a call came back to us: all of them are the call.
        let calls: Vec<CallId> = self
            .node
            .views()
            .filter(|view| view.gcid.as_str() == gcid && view.state != CallState::Ending)
            .map(|view| view.call)
            .collect();
        if calls.is_empty() {
            return Err(Refusal::NotFound);
        }
        for call in calls {
            self.node.handle_input(Instant::now(), Input::EndCall(call));
        }
        Ok(json!({}))
    }

    pub(super) fn trunks_shown(&self) -> Value {
        shown(&self.node.trunk_reports(Instant::now()))
    }
}

const V4_ANY: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 5060);
const V6_ANY: SocketAddr = SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 5060);
