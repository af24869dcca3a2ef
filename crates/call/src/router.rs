//! Who is called: one pure function from a request and a snapshot to a decision with its reasons.
//!
//! `crosspoint route-test` and a refused call's record print the same [`Decision`]. The router
//! keeps no state; users and trunks come in the [`Plan`], bindings by [`Devices`].

mod rewrite;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crosspoint_base::{Private, RegistrationId};

use crate::{Cause, Playback, Profile, Reach, Scope, SrtpPolicy};

pub use rewrite::{Rewrite, RewriteError};

/// Who calls whom, and over what the call came in.
#[derive(Debug, Clone)]
pub struct RouteRequest {
    /// The signed-in user who calls; absent for calls from a trunk.
    pub user: Option<Arc<str>>,
    /// The trunk the call came over; absent for calls from a user.
    pub trunk: Option<Arc<str>>,
    /// What was dialled.
    pub to: Private<String>,
    pub scope: Scope,
}

/// One device that a user can be reached at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    pub binding: crosspoint_base::BindingId,
    pub profile: Profile,
}

/// A trunk as the router sees it.
#[derive(Debug, Clone)]
pub struct TrunkRoute {
    pub name: Arc<str>,
    /// Numbers that start with one of these go out here; an empty list takes every number.
    pub prefixes: Vec<String>,
    pub rewrite: Rewrite,
    pub profile: Profile,
}

/// A reader for the devices of a user, so that a snapshot need not copy the registrar's table.
pub trait Devices {
    /// Where the user is signed in; empty when nowhere.
    fn devices_of(&self, user: &str) -> Vec<Device>;

    /// The apps signed in to a network under a name.
    fn members_of(&self, network: &str, name: &str) -> Vec<Device> {
        let _ = (network, name);
        Vec::new()
    }

    /// The apps that calls at a sign-in of ours elsewhere are for.
    fn owners_of(&self, registration: RegistrationId) -> Vec<Device> {
        let _ = registration;
        Vec::new()
    }
}

impl Devices for BTreeMap<Arc<str>, Vec<Device>> {
    fn devices_of(&self, user: &str) -> Vec<Device> {
        self.get(user).cloned().unwrap_or_default()
    }
}

/// Everything a decision depends on, besides the devices.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Every user name and every alias of a user, with the user it means.
    pub users: BTreeMap<String, Arc<str>>,
    /// Tried in order.
    pub trunks: Vec<TrunkRoute>,
    pub builtins: BTreeMap<String, Playback>,
    /// Dialling one takes over the caller's own call from another device.
    pub pull: BTreeSet<String>,
    pub ring_timeout: RingTimeout,
}

/// How long a called device may ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingTimeout(pub Duration);

impl Default for RingTimeout {
    fn default() -> Self {
        Self(Duration::from_secs(120))
    }
}

/// One place to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub reach: Reach,
    pub profile: Profile,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Builtin(Playback),
    /// Ring all of them; the first answer wins.
    Fork(Vec<Target>),
    Refused(Cause),
}

/// What a rule said about the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Matched,
    NotMatched,
    Refused,
}

/// One rule the router tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub rule: String,
    pub verdict: Verdict,
    pub detail: String,
}

/// Where the call goes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub outcome: Outcome,
    pub ring_timeout: Duration,
    /// The user the number means, so that a called user's own requests (a transfer) can be routed.
    pub called_user: Option<Arc<str>>,
    pub steps: Vec<Step>,
}

impl Decision {
    /// The reasons in one line, for the call's record.
    #[must_use]
    pub fn why(&self) -> String {
        self.steps.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Matched => "matched",
            Verdict::NotMatched => "no match",
            Verdict::Refused => "refused",
        };
        write!(f, "{}: {verdict} ({})", self.rule, self.detail)
    }
}

/// Decides where a call goes.
///
/// The order is: the number's form, built-in numbers, users, trunks. A call that came over a
/// trunk never leaves over a trunk, so that a stranger cannot dial out at our cost.
#[must_use]
pub fn route(request: &RouteRequest, plan: &Plan, devices: &dyn Devices) -> Decision {
    let mut steps = Vec::new();
    let outcome = decide(request, plan, devices, &mut steps);
    let called_user = plan.users.get(request.to.expose()).cloned();
    Decision { outcome, ring_timeout: plan.ring_timeout.0, called_user, steps }
}

fn decide(
    request: &RouteRequest,
    plan: &Plan,
    devices: &dyn Devices,
    steps: &mut Vec<Step>,
) -> Outcome {
    let to = request.to.expose().as_str();
    if let Scope::In(registration) = request.scope {
        return to_devices("account", devices.owners_of(registration), steps);
    }
    if request.user.is_none() && request.trunk.is_none() && request.scope == Scope::Everywhere {
        push(steps, "caller", Verdict::Refused, "neither a signed-in user nor a known trunk");
        return Outcome::Refused(Cause::Forbidden);
    }
    if to.is_empty() || to.len() > MAX_NUMBER || to.chars().any(|c| c.is_control() || c == ' ') {
        push(steps, "number", Verdict::Refused, "empty, too long or not a number or user name");
        return Outcome::Refused(Cause::InvalidNumber);
    }
    match &request.scope {
        Scope::Everywhere | Scope::In(_) => {}
        Scope::Network(network) => {
            return to_devices("network", devices.members_of(network, to), steps);
        }
        Scope::Out(id) => {
            push(steps, "account", Verdict::Matched, "calls leave by the account's own sign-in");
            let reach = Reach::Registration { id: *id, number: request.to.clone() };
            let profile = Profile::Rtp(SrtpPolicy::Off);
            return Outcome::Fork(vec![Target { reach, profile }]);
        }
    }
    if let Some(playback) = plan.builtins.get(to) {
        push(steps, "built-in numbers", Verdict::Matched, format!("{to} is {playback:?}"));
        return Outcome::Builtin(*playback);
    }
    if plan.pull.contains(to) {
        let detail = format!("{to} takes over the caller's call from another device; it has none");
        push(steps, "built-in numbers", Verdict::Refused, detail);
        return Outcome::Refused(Cause::NotFound);
    }
    push(steps, "built-in numbers", Verdict::NotMatched, format!("{to} is none of them"));
    if let Some(user) = plan.users.get(to) {
        return to_user(user, devices, steps);
    }
    push(steps, "users", Verdict::NotMatched, format!("{to} is no user and no alias"));
    to_trunk(request, plan, steps)
}

fn to_user(user: &Arc<str>, devices: &dyn Devices, steps: &mut Vec<Step>) -> Outcome {
    let found = devices.devices_of(user);
    if found.is_empty() {
        let detail = format!("{user} exists and has no device signed in");
        push(steps, "users", Verdict::Refused, detail);
        return Outcome::Refused(Cause::Unavailable);
    }
    push(steps, "users", Verdict::Matched, format!("{user} has {} device(s)", found.len()));
    fork(&found)
}

/// To those that one rule alone names.
fn to_devices(rule: &str, found: Vec<Device>, steps: &mut Vec<Step>) -> Outcome {
    if found.is_empty() {
        push(steps, rule, Verdict::Refused, "nobody of that name is signed in");
        return Outcome::Refused(Cause::Unavailable);
    }
    push(steps, rule, Verdict::Matched, format!("{} device(s)", found.len()));
    fork(&found)
}

fn fork(found: &[Device]) -> Outcome {
    let target = |d: &Device| Target { reach: Reach::Binding(d.binding), profile: d.profile };
    Outcome::Fork(found.iter().take(MAX_FORKS).map(target).collect())
}

fn to_trunk(request: &RouteRequest, plan: &Plan, steps: &mut Vec<Step>) -> Outcome {
    let to = request.to.expose().as_str();
    if let Some(from) = &request.trunk {
        let detail = format!("a call from trunk {from} may not leave over a trunk");
        push(steps, "trunks", Verdict::Refused, detail);
        return Outcome::Refused(Cause::NotFound);
    }
    for trunk in &plan.trunks {
        let rule = format!("trunk {}", trunk.name);
        if !trunk.prefixes.is_empty() && !trunk.prefixes.iter().any(|p| to.starts_with(p.as_str()))
        {
            push(steps, rule, Verdict::NotMatched, format!("{to} has none of its prefixes"));
            continue;
        }
        match trunk.rewrite.apply(to) {
            Some(number) => {
                push(steps, rule, Verdict::Matched, format!("{to} is dialled as {number}"));
                let reach = Reach::Trunk { name: trunk.name.clone(), number: Private(number) };
                return Outcome::Fork(vec![Target { reach, profile: trunk.profile }]);
            }
            None => push(steps, rule, Verdict::NotMatched, "its pattern does not fit".to_owned()),
        }
    }
    push(steps, "trunks", Verdict::Refused, format!("no trunk takes {to}"));
    Outcome::Refused(Cause::NotFound)
}

fn push(
    steps: &mut Vec<Step>,
    rule: impl Into<String>,
    verdict: Verdict,
    detail: impl Into<String>,
) {
    steps.push(Step { rule: rule.into(), verdict, detail: detail.into() });
}

/// Longer names than any numbering plan or sensible user name.
const MAX_NUMBER: usize = 128;
/// Devices of one user that ring at once.
const MAX_FORKS: usize = 16;

#[cfg(test)]
mod tests {
    use crosspoint_base::BindingId;

    use super::*;
    use crate::SrtpPolicy;

    fn plan() -> Plan {
        Plan {
            users: [("alice", "alice"), ("1001", "alice"), ("bob", "bob")]
                .map(|(name, user)| (name.to_owned(), Arc::from(user)))
                .into(),
            trunks: vec![
                TrunkRoute {
                    name: "local".into(),
                    prefixes: vec!["0".into()],
                    rewrite: Rewrite::new(1, "+49", None).unwrap(),
                    profile: Profile::Rtp(SrtpPolicy::Off),
                },
                TrunkRoute {
                    name: "world".into(),
                    prefixes: vec![],
                    rewrite: Rewrite::new(0, "", Some((r"^\+(\d+)$", "00$1"))).unwrap(),
                    profile: Profile::Rtp(SrtpPolicy::Off),
                },
            ],
            builtins: [("600".to_owned(), Playback::Echo)].into(),
            pull: BTreeSet::new(),
            ring_timeout: RingTimeout::default(),
        }
    }

    fn outcome(user: Option<&str>, trunk: Option<&str>, to: &str) -> Outcome {
        let devices: BTreeMap<Arc<str>, Vec<Device>> = [(
            Arc::from("alice"),
            vec![Device { binding: BindingId(7), profile: Profile::WebRtc }],
        )]
        .into();
        let request = RouteRequest {
            user: user.map(Arc::from),
            trunk: trunk.map(Arc::from),
            to: Private(to.to_owned()),
            scope: Scope::Everywhere,
        };
        route(&request, &plan(), &devices).outcome
    }

    fn trunk_call(name: &str, number: &str) -> Outcome {
        let reach = Reach::Trunk { name: name.into(), number: Private(number.to_owned()) };
        Outcome::Fork(vec![Target { reach, profile: Profile::Rtp(SrtpPolicy::Off) }])
    }

    #[test]
    fn finds_users_aliases_builtins_and_trunks() {
        let alice = Outcome::Fork(vec![Target {
            reach: Reach::Binding(BindingId(7)),
            profile: Profile::WebRtc,
        }]);
        assert_eq!(outcome(Some("bob"), None, "alice"), alice);
        assert_eq!(outcome(Some("bob"), None, "1001"), alice);
        assert_eq!(outcome(Some("bob"), None, "600"), Outcome::Builtin(Playback::Echo));
        assert_eq!(outcome(Some("bob"), None, "030123"), trunk_call("local", "+4930123"));
        assert_eq!(outcome(Some("bob"), None, "+4412"), trunk_call("world", "004412"));
    }

    #[test]
    fn refuses_with_the_cause_that_fits() {
        assert_eq!(outcome(Some("alice"), None, "bob"), Outcome::Refused(Cause::Unavailable));
        assert_eq!(outcome(Some("alice"), None, "nobody"), Outcome::Refused(Cause::NotFound));
        assert_eq!(outcome(Some("alice"), None, ""), Outcome::Refused(Cause::InvalidNumber));
        assert_eq!(outcome(None, None, "alice"), Outcome::Refused(Cause::Forbidden));
    }

    #[test]
    fn never_lets_a_trunk_call_leave_over_a_trunk() {
        assert_eq!(outcome(None, Some("world"), "030123"), Outcome::Refused(Cause::NotFound));
    }

    #[test]
    fn says_why() {
        let devices = BTreeMap::<Arc<str>, Vec<Device>>::new();
        let request = RouteRequest {
            user: Some("bob".into()),
            trunk: None,
            to: Private("nobody".into()),
            scope: Scope::Everywhere,
        };
        let why = route(&request, &plan(), &devices).why();
        assert!(why.contains("trunk local: no match (nobody has none of its prefixes)"), "{why}");
        assert!(why.contains("trunks: refused (no trunk takes nobody)"), "{why}");
    }
}
