//! What the router counts by: calls outside, how fast they begin, who has been idle, whose turn.
//!
//! Every map is bounded: users and trunks are known by configuration, destinations are countries
//! and configured limits, and what is not used any more is forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::CallId;
use crosspoint_call::router::{Decision, Meter, Refusal, Usage};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    meters: BTreeMap<Meter, Count>,
    of_call: BTreeMap<CallId, Vec<Meter>>,
    idle_since: BTreeMap<Arc<str>, Instant>,
    turns: BTreeMap<Arc<str>, u64>,
    refusals: BTreeMap<Refusal, u64>,
    emergencies: u64,
    began: Option<Instant>,
}

#[derive(Debug, Default)]
struct Count {
    calls: u32,
    /// When calls of the last minute began, oldest first.
    began: VecDeque<Instant>,
}

impl Ledger {
    /// A call does what the router decided.
    pub(crate) fn decided(&mut self, now: Instant, call: CallId, decision: &Decision) {
        self.began.get_or_insert(now);
        if let Some(refusal) = decision.refusal {
            *self.refusals.entry(refusal).or_default() += 1;
        }
        self.emergencies += u64::from(decision.is_emergency);
        if let Some(group) = &decision.group {
            let turn = self.turns.entry(group.clone()).or_default();
            *turn = turn.wrapping_add(1);
        }
        for meter in &decision.meters {
            let counted = self.of_call.entry(call).or_default();
            // A transfer of the same caller to the same country is the same call.
            if counted.contains(meter) {
                continue;
            }
            counted.push(meter.clone());
            let count = self.meters.entry(meter.clone()).or_default();
            count.calls += 1;
            forget_old(&mut count.began, now);
            // More than any limit allows need not be remembered.
            if count.began.len() < MOST_REMEMBERED {
                count.began.push_back(now);
            }
        }
    }

    /// A party of one call goes over to another: what it is counted under goes along.
    pub(crate) fn shared(&mut self, from: CallId, to: CallId) {
        let meters = self.of_call.get(&from).cloned().unwrap_or_default();
        let counted = self.of_call.entry(to).or_default();
        for meter in meters {
            if !counted.contains(&meter) {
                self.meters.entry(meter.clone()).or_default().calls += 1;
                counted.push(meter);
            }
        }
        if counted.is_empty() {
            self.of_call.remove(&to);
        }
    }

    /// A call is over; these users took part in it.
    pub(crate) fn over(
        &mut self,
        now: Instant,
        call: CallId,
        users: impl IntoIterator<Item = Arc<str>>,
    ) {
        for meter in self.of_call.remove(&call).unwrap_or_default() {
            if let Some(count) = self.meters.get_mut(&meter) {
                count.calls = count.calls.saturating_sub(1);
            }
        }
        self.idle_since.extend(users.into_iter().map(|user| (user, now)));
        self.meters.retain(|_, count| {
            forget_old(&mut count.began, now);
            count.calls > 0 || !count.began.is_empty()
        });
    }

    pub(crate) fn usage(&self, now: Instant, meter: &Meter) -> Usage {
        let Some(count) = self.meters.get(meter) else { return Usage::default() };
        let recent = count.began.iter().filter(|at| now.duration_since(**at) < MINUTE).count();
        let in_last_minute = u32::try_from(recent).unwrap_or(u32::MAX);
        Usage { calls: count.calls, in_last_minute }
    }

    /// Milliseconds on a clock of our own.
    pub(crate) fn idle_since(&self, user: &str) -> Option<i64> {
        let at = self.idle_since.get(user)?;
        let since = at.duration_since(self.began?);
        Some(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    pub(crate) fn turn_of(&self, group: &str) -> u64 {
        self.turns.get(group).copied().unwrap_or(0)
    }

    pub(crate) fn refusals(&self) -> [u64; Refusal::ALL.len()] {
        Refusal::ALL.map(|refusal| self.refusals.get(&refusal).copied().unwrap_or(0))
    }

    pub(crate) fn emergencies(&self) -> u64 {
        self.emergencies
    }

    /// Only these users are there any more.
    pub(crate) fn keep_users(&mut self, is_user: impl Fn(&str) -> bool) {
        self.idle_since.retain(|user, _| is_user(user));
    }

    /// Whether every call is off the meters.
    #[cfg(test)]
    fn is_at_rest(&self) -> bool {
        self.of_call.is_empty() && self.meters.values().all(|count| count.calls == 0)
    }
}

fn forget_old(began: &mut VecDeque<Instant>, now: Instant) {
    while began.front().is_some_and(|at| now.duration_since(*at) >= MINUTE) {
        began.pop_front();
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// No limit of calls per minute can be set higher.
const MOST_REMEMBERED: usize = 10_000;

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]

    use crosspoint_call::Cause;
    use crosspoint_call::router::Outcome;

    use super::*;

    #[test]
    fn calls_are_counted_while_they_last_and_for_a_minute_after_they_began() {
        let mut ledger = Ledger::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let alice = Meter::User("alice".into());
        let outcome = Outcome::Refused(Cause::Busy);
        let decision = Decision {
            meters: vec![alice.clone(), Meter::Country("44".to_owned())],
            group: Some("g".into()),
            ..Decision::plain(outcome, Duration::from_secs(1))
        };
        ledger.decided(at(0), CallId(1), &decision);
        ledger.decided(at(30), CallId(2), &decision);
        // A transfer within a call.
        ledger.decided(at(31), CallId(2), &decision);
        let usage = |ledger: &Ledger, seconds| ledger.usage(at(seconds), &alice);
        assert_eq!(usage(&ledger, 31), Usage { calls: 2, in_last_minute: 2 });
        assert_eq!(usage(&ledger, 60), Usage { calls: 2, in_last_minute: 1 });
        assert_eq!(ledger.turn_of("g"), 3);
        // Its party goes to a call of its own by a transfer, and this one ends.
        ledger.shared(CallId(1), CallId(9));
        ledger.over(at(61), CallId(1), [Arc::from("alice")]);
        assert_eq!(usage(&ledger, 61).calls, 2);
        ledger.over(at(61), CallId(9), []);
        assert_eq!(usage(&ledger, 61), Usage { calls: 1, in_last_minute: 1 });
        ledger.over(at(100), CallId(2), []);
        assert_eq!(usage(&ledger, 100), Usage::default());
        assert!(ledger.is_at_rest() && ledger.meters.is_empty());
        assert_eq!(ledger.idle_since("alice"), Some(61_000));
        ledger.keep_users(|_| false);
        assert_eq!(ledger.idle_since("alice"), None);
    }
}
