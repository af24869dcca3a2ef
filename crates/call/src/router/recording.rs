//! Which calls are recorded without being asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Outcome, RouteRequest, Step, Verdict};
use crate::Reach;

/// A call is recorded when one of these is true of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordRules {
    pub all: bool,
    /// Calls from and to these users.
    pub users: BTreeSet<String>,
    /// Calls over these trunks, in and out.
    pub trunks: BTreeSet<String>,
    /// Calls to numbers, as dialled, that begin with one of these.
    pub numbers: Vec<String>,
}

impl RecordRules {
    /// Whether a call is to be recorded, and the reason as a step of the decision.
    pub(super) fn apply(
        &self,
        request: &RouteRequest,
        called: Option<&Arc<str>>,
        outcome: &Outcome,
        steps: &mut Vec<Step>,
    ) -> bool {
        if *self == Self::default() || matches!(outcome, Outcome::Refused(_)) {
            return false;
        }
        let detail = self.reason(request, called, outcome);
        let verdict = if detail.is_some() { Verdict::Matched } else { Verdict::NotMatched };
        let detail = detail.unwrap_or_else(|| "no rule fits".to_owned());
        steps.push(Step { rule: "recording".to_owned(), verdict, detail });
        verdict == Verdict::Matched
    }

    fn reason(
        &self,
        request: &RouteRequest,
        called: Option<&Arc<str>>,
        outcome: &Outcome,
    ) -> Option<String> {
        if self.all {
            return Some("all calls are recorded".to_owned());
        }
        let mut users = request.user.iter().chain(called);
        if let Some(user) = users.find(|user| self.users.contains(&***user)) {
            return Some(format!("calls of {user} are recorded"));
        }
        let targets = match outcome {
            Outcome::Fork(targets) => targets.as_slice(),
            Outcome::Builtin(_) | Outcome::Refused(_) => &[],
        };
        let leaves_by = targets.iter().find_map(|target| match &target.reach {
            Reach::Trunk { name, .. } => Some(name),
            Reach::Binding(_) | Reach::Registration { .. } => None,
        });
        let mut trunks = request.trunk.iter().chain(leaves_by);
        if let Some(trunk) = trunks.find(|trunk| self.trunks.contains(&***trunk)) {
            return Some(format!("calls over trunk {trunk} are recorded"));
        }
        let to = request.to.expose();
        let number = self.numbers.iter().find(|number| to.starts_with(number.as_str()))?;
        Some(format!("calls to numbers that begin with {number} are recorded"))
    }
}

#[cfg(test)]
mod tests {
    use crosspoint_base::Private;

    use super::*;
    use crate::router::Target;
    use crate::{Cause, Playback, Profile, Scope, SrtpPolicy};

    #[test]
    fn a_call_is_recorded_when_one_rule_fits() {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect();
        let none = RecordRules::default();
        let users = RecordRules { users: words(&["alice"]), ..none.clone() };
        let trunks = RecordRules { trunks: words(&["carrier"]), ..none.clone() };
        let numbers = RecordRules { numbers: vec!["+49".to_owned()], ..none.clone() };
        let all = RecordRules { all: true, ..none.clone() };
        let reach = Reach::Trunk { name: "carrier".into(), number: Private("1".to_owned()) };
        let out = Outcome::Fork(vec![Target {
            reach,
            profile: Profile::Rtp(SrtpPolicy::Off),
            video: false,
            bypass: false,
            user: None,
            caller: None,
        }]);
        let echo = Outcome::Builtin(Playback::Echo);
        let check = |rules: &RecordRules, from: &str, called: Option<&str>, outcome, expected| {
            let request = RouteRequest {
                user: Some(from.into()),
                trunk: None,
                from: Private(String::new()),
                to: Private("+4930".to_owned()),
                scope: Scope::Everywhere,
                ..RouteRequest::default()
            };
            let (called, mut steps) = (called.map(Arc::from), Vec::new());
            let found = rules.apply(&request, called.as_ref(), outcome, &mut steps);
            assert_eq!(found, expected, "{rules:?} {from} {outcome:?}");
            assert!(expected == steps.iter().any(|s| s.verdict == Verdict::Matched));
        };
        check(&none, "alice", None, &out, false);
        check(&all, "bob", None, &echo, true);
        check(&all, "bob", None, &Outcome::Refused(Cause::Busy), false);
        check(&users, "alice", None, &echo, true);
        check(&users, "bob", Some("alice"), &echo, true);
        check(&users, "bob", None, &out, false);
        check(&trunks, "bob", None, &out, true);
        check(&trunks, "bob", None, &echo, false);
        check(&numbers, "bob", None, &echo, true);
    }
}
