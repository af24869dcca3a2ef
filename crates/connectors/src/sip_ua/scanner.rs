//! Programs that search the network for victims, as far as they name themselves. They get no
//! answer: what answers is what they look for.

use crosspoint_base::{Conduct, Flow, Offence};
use crosspoint_sip::{HeaderName, Message};

use super::{Output, SipUa};

impl SipUa {
    /// True for a request of such a program. Over a connection it tells who is there; whoever sends
    /// datagrams may do so in anybody's name.
    pub(super) fn is_scan(&mut self, flow: &Flow, message: &Message) -> bool {
        let Message::Request(request) = message else { return false };
        self.challenge_read(flow, request);
        let agent = request.headers.first(&HeaderName::USER_AGENT);
        if !agent.is_some_and(|agent| names_a_scanner(agent))
            || self.trunks.sender(flow, request).is_some()
        {
            return false;
        }
        self.counters.scans += 1;
        if flow.connection.is_some() {
            self.offended(flow, Offence::Scanner);
        }
        true
    }

    pub(super) fn offended(&mut self, flow: &Flow, offence: Offence) {
        self.outputs.push_back(Output::Conduct(*flow, Conduct::Offended(offence)));
    }
}

fn names_a_scanner(agent: &[u8]) -> bool {
    let begins = |name: &str| {
        agent.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
    };
    // Nearly every agent differs in its first letter.
    SCANNERS.iter().any(|name| begins(name))
}

/// Interop: the names of SIPVicious and its kin, as they come from the tools and as honeypots list
/// them.
const SCANNERS: [&str; 9] = [
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sip-scan",
    "sipcli/",
    "sundayddr",
    "pplsip",
    "VaxSIPUserAgent",
    "iWar",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_scanners_by_how_they_begin_and_nobody_else() {
        let check = |agent: &str, is_one| {
            assert_eq!(names_a_scanner(agent.as_bytes()), is_one, "{agent}");
        };
        check("friendly-scanner", true);
        check("Friendly-Scanner 2", true);
        check("sipcli/v1.8", true);
        check("pplsip", true);
        check("sipclient", false);
        check("", false);
        check("baresip v1.0.0 (x86_64/linux)", false);
        check("Asterisk PBX friendly-scanner", false);
    }
}
