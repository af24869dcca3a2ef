//! Lookups and endings of sessions that cross.
//!
//! A token may be looked up just before its session ends, and the node told of the ending just
//! before it hears what the token grants. So a lookup that began before an ending grants nothing,
//! and an ending that follows close on a grant is told twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(super) struct Recent {
    granted: VecDeque<(Instant, Arc<str>)>,
    ended: BTreeMap<Arc<str>, Instant>,
    /// The same, oldest first.
    ended_in_order: VecDeque<(Instant, Arc<str>)>,
}

impl Recent {
    /// Notes a grant; false when the session has ended since the lookup began.
    pub(super) fn grant(&mut self, began: Instant, now: Instant, session: &Arc<str>) -> bool {
        self.forget_old(now);
        if self.ended.get(session).is_some_and(|at| *at >= began) {
            return false;
        }
        self.granted.push_back((now, session.clone()));
        true
    }

    /// Notes endings; gives those that the node may hear of too early.
    pub(super) fn end(&mut self, now: Instant, sessions: &[Arc<str>]) -> Vec<Arc<str>> {
        self.forget_old(now);
        for session in sessions {
            self.ended.insert(session.clone(), now);
            self.ended_in_order.push_back((now, session.clone()));
        }
        let ended: BTreeSet<&Arc<str>> = sessions.iter().collect();
        let crossing = self.granted.iter().filter(|(_, id)| ended.contains(id));
        let crossing: BTreeSet<Arc<str>> = crossing.map(|(_, id)| id.clone()).collect();
        crossing.into_iter().collect()
    }

    fn forget_old(&mut self, now: Instant) {
        let is_old = |at: &Instant, age| now.saturating_duration_since(*at) > age;
        while self.granted.front().is_some_and(|(at, _)| is_old(at, DELIVERY)) {
            self.granted.pop_front();
        }
        while self.ended_in_order.front().is_some_and(|(at, _)| is_old(at, LOOKUP))
            && let Some((at, session)) = self.ended_in_order.pop_front()
        {
            // It may have ended once more since.
            if self.ended.get(&session) == Some(&at) {
                self.ended.remove(&session);
            }
        }
    }
}

/// Longer than a grant takes to the node.
pub(super) const DELIVERY: Duration = Duration::from_secs(2);
/// Longer than a lookup takes.
const LOOKUP: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_and_an_ending_that_cross_grant_nothing() {
        let (mut recent, start) = (Recent::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let ids: Vec<Arc<str>> = ["a", "b", "c"].map(Arc::from).to_vec();
        assert!(recent.grant(at(0), at(1), &ids[0]));
        assert_eq!(recent.end(at(2), &ids), [ids[0].clone()], "the node may not know it yet");
        assert!(!recent.grant(at(1), at(3), &ids[1]), "it ended meanwhile");
        assert!(recent.grant(at(3), at(4), &ids[1]), "what is left of it may be granted anew");
        assert_eq!(recent.end(at(2500), &ids[..1]), [], "the node has known it for long");
        assert!(recent.granted.is_empty());
        assert!(recent.grant(at(40_000), at(40_000), &ids[2]));
        assert!(recent.ended.is_empty() && recent.ended_in_order.is_empty());
    }
}
