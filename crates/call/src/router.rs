//! Who is called: one pure function from a request and a snapshot to a decision with its reasons.
//!
//! `crosspoint route-test` and a refused call's record print the same text, [`Decision::why`]. The
//! router keeps no state: rules come in the [`Plan`], the present by [`Snapshot`].

mod decision;
mod features;
mod forwarding;
mod group;
mod hours;
pub mod numbering;
mod parking;
mod permission;
mod recording;
mod rewrite;
mod search;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crosspoint_base::Private;

use crate::{Diverted, Playback, Profile, Scope};

pub use decision::{
    Attempt, Causes, Decision, Onward, Outcome, Refusal, Step, Target, Terms, Verdict, Way,
};
pub use features::{Features, Pickup};
pub use forwarding::{Forwarding, MAX_DIVERSIONS};
pub use group::{Group, Strategy};
pub use hours::{Hours, HoursError};
pub use numbering::{Country, NumberForm};
pub use parking::{Parking, ParkingLot};
pub use permission::{DestinationLimit, Fraud, Meter, Permission, Usage};
pub use recording::RecordRules;
pub use rewrite::{Rewrite, RewriteError};
pub use snapshot::{Device, Snapshot, TrunkState};
pub use table::{Candidate, Destination, Route, RouteTable};

/// Who calls whom, and over what the call came in.
#[derive(Debug, Clone, Default)]
pub struct RouteRequest {
    /// The signed-in user who calls, or who sends the call on; absent for calls from a trunk.
    pub user: Option<Arc<str>>,
    /// The trunk the call came over; absent for calls from a user.
    pub trunk: Option<Arc<str>>,
    /// The number or name that the caller shows; may be empty.
    pub from: Private<String>,
    /// What was dialled.
    pub to: Private<String>,
    pub scope: Scope,
    /// Where the call has been before, oldest first.
    pub diverted: Vec<Diverted>,
    /// Who asks has a party transferred there.
    pub is_transfer: bool,
    /// Who made the call, where another one sends it on: what it costs and may is the other's.
    pub origin: Option<Origin>,
}

/// Who made a call that somebody else sends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    pub user: Option<Arc<str>>,
    pub trunk: Option<Arc<str>>,
}

/// A trunk as the router sees it.
#[derive(Debug, Clone)]
pub struct TrunkRoute {
    pub name: Arc<str>,
    /// Without any route for it, numbers that start with one of these go out here; an empty list
    /// takes every number.
    pub prefixes: Vec<String>,
    /// Whether numbers go out here without a route that says so.
    pub is_default: bool,
    pub form: NumberForm,
    /// Comes after the form.
    pub rewrite: Rewrite,
    pub profile: Profile,
    /// Calls over it may have video.
    pub video: bool,
    /// Users may write to numbers over it.
    pub texts: bool,
    /// Media may go past us between it and others of which this is true.
    pub bypass: bool,
}

/// Everything a decision depends on, besides the present.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Every user name and every alias of a user, with the user it means.
    pub users: BTreeMap<String, Arc<str>>,
    /// The number that a user has outside: the first alias that is a whole number.
    pub outside_numbers: BTreeMap<Arc<str>, String>,
    /// Media of phones that are signed in with us may go past us.
    pub bypass_phones: bool,
    /// Tried in order after the routes.
    pub trunks: Vec<TrunkRoute>,
    pub routes: RouteTable,
    pub groups: BTreeMap<Arc<str>, Arc<Group>>,
    /// The groups' own numbers.
    pub group_numbers: BTreeMap<String, Arc<str>>,
    pub builtins: BTreeMap<String, Playback>,
    /// Dialling one takes over the caller's own call from another device.
    pub pull: BTreeSet<String>,
    /// How numbers are dialled here; absent: as they come.
    pub country: Option<&'static Country>,
    /// The first that names a caller counts, then the one for all.
    pub permissions: Vec<Permission>,
    pub fraud: Fraud,
    pub emergency: Emergency,
    pub ring_timeout: RingTimeout,
    pub patience: Patience,
    pub record: RecordRules,
    pub features: Features,
    /// Where users have their calls go instead.
    pub forwards: BTreeMap<Arc<str>, Forwarding>,
}

/// Calls for help.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Emergency {
    pub numbers: BTreeSet<String>,
    /// Tried in this order; without any, every trunk in its order.
    pub trunks: Vec<Arc<str>>,
    /// Trunks that calls for help may come over, such as a PBX.
    pub from_trunks: BTreeSet<String>,
}

impl Emergency {
    /// Whether what was dialled asks for help.
    #[must_use]
    pub fn is_one(&self, dialled: &str) -> bool {
        self.numbers.contains(dialled) || dialled.starts_with(HELP)
    }
}

/// How phones name the emergency services (RFC 5031).
const HELP: &str = "urn:service:sos";

/// How long a called device may ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingTimeout(pub Duration);

impl Default for RingTimeout {
    fn default() -> Self {
        Self(Duration::from_secs(120))
    }
}

/// How long a trunk may say nothing while there is another one to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience(pub Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(Duration::from_secs(10))
    }
}

/// Decides where a call goes.
///
/// The order is: emergency numbers, the number's form, built-in numbers, users, groups, routes,
/// trunks. A call that came over a trunk leaves over another only where a route names it, so that
/// a stranger cannot dial out at our cost.
#[must_use]
pub fn route(request: &RouteRequest, plan: &Plan, snapshot: &dyn Snapshot) -> Decision {
    let mut decision = search::decide(request, plan, snapshot);
    let called = decision.called_user.clone();
    decision.record =
        plan.record.apply(request, called.as_ref(), &decision.outcome, &mut decision.steps);
    decision
}
