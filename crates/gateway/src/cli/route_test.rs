//! `crosspoint route-test`: where a call would go, and every rule on the way there.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Args;
use crosspoint_base::{BindingId, Private};
use crosspoint_call::router::{
    Decision, Device, Meter, Outcome, RouteRequest, Snapshot, TrunkState, Usage, route,
};
use crosspoint_call::{Profile, Scope, SrtpPolicy};
use crosspoint_state::Store;

use crate::cli::{Failure, Output, unix_now};
use crate::home::Home;
use crate::plan::plan;
use crate::routing;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The user who calls; with --trunk, the number that is shown
    #[arg(long, value_name = "USER", required_unless_present_any = ["trunk", "stranger"])]
    from: Option<String>,
    /// The trunk the call comes in over, instead of a user
    #[arg(long, value_name = "NAME")]
    trunk: Option<String>,
    /// Who calls is neither a user nor a trunk
    #[arg(long, conflicts_with_all = ["from", "trunk"])]
    stranger: bool,
    /// What is dialled
    #[arg(long, value_name = "NUMBER")]
    to: String,
    /// When, such as 2026-12-24T10:00:00+01:00 [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<jiff::Timestamp>,
    /// A user who is signed in nowhere (may be repeated)
    #[arg(long, value_name = "USER")]
    away: Vec<String>,
    /// A user who is in a call (may be repeated)
    #[arg(long, value_name = "USER")]
    busy: Vec<String>,
    /// A trunk that does not answer (may be repeated)
    #[arg(long, value_name = "NAME")]
    down: Vec<String>,
    /// A trunk that has all the calls it may have (may be repeated)
    #[arg(long, value_name = "NAME")]
    full: Vec<String>,
    /// How many calls outside the caller has now
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    calls: u32,
    /// How many calls outside the caller began within the last minute [default: those of --calls]
    #[arg(long, value_name = "COUNT")]
    begun: Option<u32>,
    /// How many calls go now where this one would go, of all callers
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    calls_there: u32,
    /// How many calls to there began within the last minute [default: those of --calls-there]
    #[arg(long, value_name = "COUNT")]
    begun_there: Option<u32>,
}

pub(super) fn run(arguments: &Arguments, home: &Home, output: &Output) -> Result<(), Failure> {
    let users = home.store()?.users()?;
    home.check_users(&users)?;
    let plan = plan(&home.config, &users);
    let user = match (&arguments.from, &arguments.trunk) {
        (Some(name), None) => {
            let unknown = || Failure::Name(format!("there is no user {name}"));
            Some(plan.users.get(name).cloned().ok_or_else(unknown)?)
        }
        _ => None,
    };
    let named = arguments.trunk.iter().chain(&arguments.down).chain(&arguments.full);
    for trunk in named {
        if !plan.trunks.iter().any(|t| *t.name == **trunk) {
            return Err(Failure::Name(format!("there is no trunk {trunk}")));
        }
    }
    let request = RouteRequest {
        user,
        trunk: arguments.trunk.as_deref().map(Arc::from),
        from: Private(arguments.from.clone().unwrap_or_default()),
        to: Private(arguments.to.clone()),
        scope: Scope::Everywhere,
        ..RouteRequest::default()
    };
    let known = users.iter().map(|user| user.name.as_str());
    let signed_in = known.filter(|name| !arguments.away.iter().any(|away| away == name)).collect();
    let now = arguments.at.map_or_else(unix_now, jiff::Timestamp::as_second);
    let decision = route(&request, &plan, &Supposed { signed_in, now, arguments });
    output.result(&routing::as_json(&decision), &as_text(&decision));
    match decision.outcome {
        Outcome::Refused(_) => Err(Failure::Refused),
        Outcome::Builtin(_) | Outcome::Fork(_) => Ok(()),
    }
}

/// The question is about the rules, so each user counts as having one device and being free,
/// unless the command line says otherwise.
struct Supposed<'a> {
    signed_in: BTreeSet<&'a str>,
    now: i64,
    arguments: &'a Arguments,
}

impl Snapshot for Supposed<'_> {
    fn devices_of(&self, user: &str) -> Vec<Device> {
        let device = Device { binding: BindingId(0), profile: Profile::Rtp(SrtpPolicy::Off) };
        if self.signed_in.contains(user) { vec![device] } else { Vec::new() }
    }

    fn now(&self) -> i64 {
        self.now
    }

    fn is_busy(&self, user: &str) -> bool {
        self.arguments.busy.iter().any(|busy| busy == user)
    }

    fn usage(&self, meter: &Meter) -> Usage {
        let Arguments { calls, begun, calls_there, begun_there, .. } = *self.arguments;
        match meter {
            Meter::User(_) | Meter::Trunk(_) => {
                Usage { calls, in_last_minute: begun.unwrap_or(calls) }
            }
            Meter::Limit(_) | Meter::Country(_) => {
                Usage { calls: calls_there, in_last_minute: begun_there.unwrap_or(calls_there) }
            }
        }
    }

    fn trunk_state(&self, name: &str) -> TrunkState {
        let is_one = |list: &[String]| list.iter().any(|one| one == name);
        match () {
            () if is_one(&self.arguments.down) => TrunkState::Down,
            () if is_one(&self.arguments.full) => TrunkState::Full,
            () => TrunkState::Ready,
        }
    }
}

/// What stands on a call's record, word for word.
fn as_text(decision: &Decision) -> String {
    decision.why()
}
