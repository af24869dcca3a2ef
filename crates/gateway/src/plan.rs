//! The router's view of configuration and users.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crosspoint_call::Profile;
use crosspoint_call::router::{Plan, RingTimeout, TrunkRoute};
use crosspoint_state::User;

use crate::config::{Config, Service};

/// What the router decides by.
pub(crate) fn plan(config: &Config, users: &[User]) -> Plan {
    let trunk = |t: &crate::config::Trunk| TrunkRoute {
        name: t.name.as_str().into(),
        prefixes: t.prefixes.clone(),
        rewrite: t.rewrite.clone(),
        profile: Profile::Rtp(t.srtp),
    };
    let (mut builtins, mut pull) = (BTreeMap::new(), BTreeSet::new());
    for (number, service) in &config.numbers {
        match service {
            Service::Play(playback) => {
                builtins.insert(number.clone(), *playback);
            }
            Service::Pull => {
                pull.insert(number.clone());
            }
        }
    }
    let plan = Plan {
        users: BTreeMap::new(),
        trunks: config.trunks.iter().map(trunk).collect(),
        builtins,
        pull,
        ring_timeout: RingTimeout(config.timers.ring),
    };
    with_users(plan, users)
}

/// The same plan for other users.
pub(crate) fn with_users(plan: Plan, users: &[User]) -> Plan {
    let mut names: BTreeMap<String, Arc<str>> = BTreeMap::new();
    for user in users {
        let name = user.name.clone().into_inner();
        for known_as in std::iter::once(&user.name).chain(&user.aliases) {
            names.insert(known_as.to_string(), name.clone());
        }
    }
    Plan { users: names, ..plan }
}
