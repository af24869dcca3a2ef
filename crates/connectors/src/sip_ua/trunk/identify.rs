//! By what a request is known to come from a trunk: its certificate, its address, or its From.
//!
//! Who is not known here is a stranger and has to show a password.

pub use crosspoint_base::Network;
use crosspoint_base::{ConnectionId, Flow};
use crosspoint_sip::Request;

use super::{Trunk, Trunks, is_same_peer};
use crate::sip_ua::SipUa;

/// By what calls of a trunk are known, besides the addresses of its destinations.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Anybody at one of these.
    pub networks: Vec<Network>,
    /// Names of which a TLS certificate must prove one; addresses prove nothing then.
    pub certificates: Vec<String>,
    /// Which authority must have signed it.
    pub authority: usize,
    /// Domains in the From, in lower case: they choose among trunks at the same address.
    pub from_domains: Vec<String>,
    /// Anybody who writes one of these domains is believed, wherever it comes from.
    pub trusts_domain: bool,
}

/// What a peer has proved in its TLS handshake.
#[derive(Debug, Clone, Default)]
pub struct Certified {
    /// The names of its certificate, in lower case.
    pub names: Vec<String>,
    /// The authorities by whom it is signed.
    pub authorities: Vec<usize>,
}

impl Trunks {
    /// The trunk that a request comes from.
    pub(in crate::sip_ua) fn sender(&self, flow: &Flow, request: &Request) -> Option<usize> {
        if flow.transport.is_websocket() {
            return None;
        }
        let certified = flow.connection.and_then(|id| self.certified.get(&id));
        let from = request.headers.from().map(|from| from.uri.host_text().to_ascii_lowercase());
        let rank = |trunk: &Trunk| {
            let by_source = trunk.knows(flow, certified)?;
            let domains = &trunk.config.sources.from_domains;
            let by_domain = from.as_ref().is_some_and(|from| domains.contains(from));
            match by_source {
                Known::No if by_domain && trunk.config.sources.trusts_domain => Some((2, false)),
                Known::No => None,
                // One that names its domains leaves others to whoever names none.
                Known::Yes => Some((u8::from(!by_domain), domains.is_empty() || by_domain)),
            }
        };
        let there = self.all.iter().enumerate().filter(|(_, trunk)| trunk.gone.is_none());
        let ranked = there.filter_map(|(index, t)| Some((rank(t)?, t.rank, index)));
        // Trunks are tried in the order of the file.
        let first = ranked.min_by_key(|((rank, fits), order, _)| (!fits, *rank, *order));
        first.map(|(.., index)| index)
    }
}

enum Known {
    Yes,
    No,
}

impl Trunk {
    /// None where its certificate is needed and was not shown.
    fn knows(&self, flow: &Flow, certified: Option<&Certified>) -> Option<Known> {
        let sources = &self.config.sources;
        if !sources.certificates.is_empty() {
            let certified = certified?;
            let is_named = sources.certificates.iter().any(|name| certified.names.contains(name));
            let is_signed = certified.authorities.contains(&sources.authority);
            return (is_named && is_signed).then_some(Known::Yes);
        }
        let in_network = sources.networks.iter().any(|n| n.contains(flow.remote.ip()));
        // One that shows a password is known by nothing else, unless its network is named.
        let by_address = self.config.login.is_none()
            && self.hops.iter().any(|h| is_same_peer(h.hop.flow.remote, flow.remote));
        Some(if in_network || by_address { Known::Yes } else { Known::No })
    }
}

impl SipUa {
    /// A TLS peer has shown a certificate that one of our authorities signed.
    pub fn handle_certificate(&mut self, connection: ConnectionId, certified: Certified) {
        if self.trunks.certified.len() < MAX_CERTIFIED {
            self.trunks.certified.insert(connection, certified);
        }
    }

    pub(in crate::sip_ua) fn certificate_gone(&mut self, connection: ConnectionId) {
        self.trunks.certified.remove(&connection);
    }
}

/// Connections of peers with certificates.
const MAX_CERTIFIED: usize = 4096;
