//! `crosspoint route-test`: where a call would go, and every rule on the way there.

use std::fmt::Write;
use std::sync::Arc;

use clap::Args;
use crosspoint_base::{BindingId, Private};
use crosspoint_call::router::{Decision, Device, Devices, Outcome, RouteRequest, Verdict, route};
use crosspoint_call::{Profile, Reach, Scope, SrtpPolicy};
use crosspoint_state::{Store, UserName};
use serde_json::{Value, json};

use crate::cli::{Failure, Output};
use crate::home::Home;
use crate::plan::plan;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The user who calls
    #[arg(long, value_name = "USER", required_unless_present = "trunk")]
    from: Option<String>,
    /// The trunk the call comes in over, instead of a user
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    trunk: Option<String>,
    /// What is dialled
    #[arg(long, value_name = "NUMBER")]
    to: String,
}

pub(super) fn run(arguments: &Arguments, home: &Home, output: &Output) -> Result<(), Failure> {
    let users = home.store()?.users()?;
    let plan = plan(&home.config, &users);
    let user = match &arguments.from {
        Some(name) => {
            let unknown = || Failure::Name(format!("there is no user {name}"));
            Some(plan.users.get(name).cloned().ok_or_else(unknown)?)
        }
        None => None,
    };
    if let Some(trunk) = &arguments.trunk
        && !plan.trunks.iter().any(|t| *t.name == **trunk)
    {
        return Err(Failure::Name(format!("there is no trunk {trunk}")));
    }
    let request = RouteRequest {
        user,
        trunk: arguments.trunk.as_deref().map(Arc::from),
        to: Private(arguments.to.clone()),
        scope: Scope::Everywhere,
    };
    let names: Vec<&UserName> = users.iter().map(|u| &u.name).collect();
    let decision = route(&request, &plan, &EverybodySignedIn(&names));
    output.result(&as_json(&decision), &as_text(&decision));
    match decision.outcome {
        Outcome::Refused(_) => Err(Failure::Refused),
        Outcome::Builtin(_) | Outcome::Fork(_) => Ok(()),
    }
}

/// The question is about the rules, so each user counts as having one device.
struct EverybodySignedIn<'a>(&'a [&'a UserName]);

impl Devices for EverybodySignedIn<'_> {
    fn devices_of(&self, user: &str) -> Vec<Device> {
        let known = self.0.iter().any(|name| name.as_str() == user);
        let device = Device { binding: BindingId(0), profile: Profile::Rtp(SrtpPolicy::Off) };
        if known { vec![device] } else { Vec::new() }
    }
}

fn as_json(decision: &Decision) -> Value {
    let verdict = |v| match v {
        Verdict::Matched => "matched",
        Verdict::NotMatched => "not_matched",
        Verdict::Refused => "refused",
    };
    let steps: Vec<Value> = decision
        .steps
        .iter()
        .map(|s| json!({ "rule": s.rule, "verdict": verdict(s.verdict), "detail": s.detail }))
        .collect();
    let outcome = match &decision.outcome {
        Outcome::Builtin(playback) => {
            json!({ "kind": "builtin", "playback": format!("{playback:?}").to_lowercase() })
        }
        Outcome::Refused(cause) => json!({ "kind": "refused", "cause": cause.as_str() }),
        Outcome::Fork(targets) => {
            let target = |t: &Reach| match t {
                Reach::Binding(_) => json!({ "user": decision.called_user.as_deref() }),
                Reach::Trunk { name, number } => {
                    json!({ "trunk": &**name, "number": number.expose() })
                }
                Reach::Registration { number, .. } => json!({ "number": number.expose() }),
            };
            let targets: Vec<Value> = targets.iter().map(|t| target(&t.reach)).collect();
            json!({ "kind": "call", "targets": targets })
        }
    };
    let ok = !matches!(decision.outcome, Outcome::Refused(_));
    json!({ "ok": ok, "outcome": outcome, "steps": steps })
}

fn as_text(decision: &Decision) -> String {
    let mut text = String::new();
    for step in &decision.steps {
        let _ = writeln!(text, "{step}");
    }
    let outcome = match &decision.outcome {
        Outcome::Builtin(playback) => format!("answered here: {playback:?}").to_lowercase(),
        Outcome::Refused(cause) => format!("refused: {cause}"),
        Outcome::Fork(targets) => match targets.first().map(|t| &t.reach) {
            Some(Reach::Trunk { name, number }) => {
                format!("calls {} over trunk {name}", number.expose())
            }
            _ => format!(
                "calls every device of {}",
                decision.called_user.as_deref().unwrap_or("nobody")
            ),
        },
    };
    let _ = writeln!(text, "=> {outcome}");
    text
}
