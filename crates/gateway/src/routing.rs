//! A routing decision as JSON: for the command line, for operators, and for call records.

use crosspoint_call::router::{Decision, Outcome, Target, Verdict, Way};
use crosspoint_call::{Playback, Reach};
use serde_json::{Value, json};

/// The decision with every rule that was tried.
pub(crate) fn as_json(decision: &Decision) -> Value {
    let verdict = |verdict| match verdict {
        Verdict::Matched => "matched",
        Verdict::NotMatched => "not_matched",
        Verdict::Refused => "refused",
    };
    let step = |s: &crosspoint_call::router::Step| json!({ "rule": s.rule, "verdict": verdict(s.verdict), "detail": s.detail });
    let steps: Vec<Value> = decision.steps.iter().map(step).collect();
    let outcome = match &decision.outcome {
        Outcome::Builtin(playback) => builtin(*playback),
        Outcome::Refused(cause) => {
            let rule = decision.refusal.map(|refusal| refusal.as_str());
            json!({ "kind": "refused", "cause": cause.as_str(), "refusal": rule })
        }
        Outcome::Fork(targets) => call(targets),
    };
    let later: Vec<Value> = decision
        .later
        .iter()
        .map(|attempt| match &attempt.way {
            Way::Ring(targets) => call(targets),
            Way::Play(playback) => builtin(*playback),
        })
        .collect();
    json!({
        "ok": decision.refusal.is_none(),
        "outcome": outcome,
        "then": later,
        "emergency": decision.is_emergency,
        "steps": steps,
        "why": decision.why(),
    })
}

fn builtin(playback: Playback) -> Value {
    json!({ "kind": "builtin", "playback": format!("{playback:?}").to_lowercase() })
}

fn call(targets: &[Target]) -> Value {
    let target = |target: &Target| {
        let shown = target.caller.as_ref().map(|caller| caller.expose());
        match &target.reach {
            Reach::Binding(_) => json!({ "user": target.user.as_deref(), "shows": shown }),
            Reach::Trunk { name, number } => {
                json!({ "trunk": &**name, "number": number.expose(), "shows": shown })
            }
            Reach::Registration { number, .. } => json!({ "number": number.expose() }),
        }
    };
    json!({ "kind": "call", "targets": targets.iter().map(target).collect::<Vec<_>>() })
}
