//! The router's view of configuration and users.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crosspoint_call::Profile;
use crosspoint_call::router::{Country, Patience, Plan, RingTimeout, TrunkRoute};
use crosspoint_state::User;

use crate::config::{Config, Service};
use crate::forwarding::rule;

/// What the router decides by.
pub(crate) fn plan(config: &Config, users: &[User]) -> Plan {
    let routing = &config.routing;
    let trunk = |t: &crate::config::Trunk| TrunkRoute {
        name: t.name.as_str().into(),
        prefixes: t.prefixes.clone(),
        is_default: !t.prefixes.is_empty() || !routing.routed_trunks.contains(&t.name),
        form: t.number_form,
        rewrite: t.rewrite.clone(),
        profile: Profile::Rtp(t.srtp),
        video: t.video,
        texts: t.texts,
        bypass: t.direct_media,
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
        outside_numbers: BTreeMap::new(),
        bypass_phones: config.direct_phones,
        trunks: config.trunks.iter().map(trunk).collect(),
        routes: routing.routes.clone(),
        groups: routing.groups.clone(),
        group_numbers: routing.group_numbers.clone(),
        builtins,
        pull,
        country: routing.country,
        permissions: routing.permissions.clone(),
        fraud: routing.fraud.clone(),
        emergency: routing.emergency.clone(),
        features: config.features.clone(),
        forwards: config.forwards.clone(),
        ring_timeout: RingTimeout(config.timers.ring),
        patience: Patience(config.timers.trunk_silence),
        record: config.recording.as_ref().map(|r| r.rules.clone()).unwrap_or_default(),
    };
    with_users(plan, users)
}

/// The same plan for other users.
pub(crate) fn with_users(plan: Plan, users: &[User]) -> Plan {
    let mut names: BTreeMap<String, Arc<str>> = BTreeMap::new();
    let mut outside_numbers = BTreeMap::new();
    for user in users {
        let name = user.name.clone().into_inner();
        for known_as in std::iter::once(&user.name).chain(&user.aliases) {
            names.insert(known_as.to_string(), name.clone());
            let whole = whole_number(known_as.as_str(), plan.country);
            if let Some(number) = whole {
                // A number is found in every way in which it may be dialled.
                names.entry(number.clone()).or_insert_with(|| name.clone());
                outside_numbers.entry(name.clone()).or_insert(number);
            }
        }
    }
    // What a user has set goes before what the configuration says.
    let mut forwards = plan.forwards.clone();
    let set = |user: &User| Some((user.name.clone().into_inner(), rule(&user.forwarding)?));
    forwards.extend(users.iter().filter_map(set));
    Plan { users: names, outside_numbers, forwards, ..plan }
}

/// The number in E.164, if it is one.
fn whole_number(known_as: &str, country: Option<&Country>) -> Option<String> {
    let number = country.map_or_else(|| known_as.to_owned(), |c| c.normalize(known_as));
    let digits = number.strip_prefix('+')?;
    digits.bytes().all(|b| b.is_ascii_digit()).then_some(number)
}
