//! 3xx responses (RFC 3261 §8.1.3.4): whom the called party wants called instead.
//!
//! Not here: whether they are called. The router says so, on behalf of who redirects.

use crosspoint_base::{LegId, Private};
use crosspoint_call::LegEvent;
use crosspoint_sip::{NameAddr, Response, Scheme, StatusCode, Uri};

use super::SipUa;
use super::challenge::Account;

impl SipUa {
    /// Tells the call of the contacts of a 3xx that are numbers or users here.
    pub(super) fn redirected(&mut self, id: LegId, response: &Response) {
        if !FOLLOWED.contains(&response.status) {
            return;
        }
        let contacts = response.headers.contacts().take(MAX_CONTACTS);
        let mut named: Vec<(u32, String)> = contacts
            .filter(|contact| self.is_for_us_to_call(id, &contact.uri))
            .filter_map(|contact| Some((rank_of(&contact), contact.uri.user_decoded()?)))
            .filter(|(_, to)| !to.is_empty())
            .collect();
        // The sort keeps the order of equals.
        named.sort_by_key(|(rank, _)| *rank);
        if !named.is_empty() {
            let targets = named.into_iter().map(|(_, to)| Private(to)).collect();
            self.tell(id, LegEvent::Redirected(targets));
        }
    }

    /// Numbers mean something here when they are said to be ours, or of the trunk that names them.
    /// Somebody else's server is none of our business.
    fn is_for_us_to_call(&self, id: LegId, uri: &Uri) -> bool {
        if uri.scheme() == Scheme::Tel {
            return true;
        }
        let Some(leg) = self.legs.get(&id) else { return false };
        let host = uri.host_text();
        let is = |name: &str| host.eq_ignore_ascii_case(name);
        let here = [leg.flow.local.ip(), self.config.advertised];
        let is_of_trunk = match leg.account {
            Some(Account::Trunk(index)) => self.trunks.get(index).is_some_and(|trunk| {
                is(&trunk.config.domain) || trunk.config.hops.iter().any(|hop| is(&hop.host))
            }),
            Some(Account::Registration(_)) | None => false,
        };
        is(&self.config.domain)
            || is(&self.config.realm)
            || uri.host_ip().is_some_and(|ip| here.contains(&ip))
            || is_of_trunk
    }
}

/// Lower comes first: a thousand less what `q` says (RFC 3261 §20.10).
fn rank_of(contact: &NameAddr) -> u32 {
    let q = contact.params.value("q");
    let q = q.and_then(|q| String::from_utf8_lossy(&q).parse::<f32>().ok());
    let thousandths = q.filter(|q| (0.0..=1.0).contains(q)).map_or(1000.0, |q| q * 1000.0);
    1000_u32.saturating_sub(thousandths as u32)
}

/// Deviation: a 305 names a proxy for the same number (RFC 3261 §21.3.4). Ours are the trunks, and
/// the router chooses among them, so it counts like a 302. A 380 names a service, not a number.
const FOLLOWED: [StatusCode; 4] =
    [StatusCode(300), StatusCode(301), StatusCode::MOVED_TEMPORARILY, StatusCode(305)];
const MAX_CONTACTS: usize = 8;
