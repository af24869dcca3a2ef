//! Groups: one number, several people, and in which order they are called.

use std::sync::Arc;
use std::time::Duration;

use super::Destination;

/// People who answer the same number.
#[derive(Debug, Clone)]
pub struct Group {
    pub name: Arc<str>,
    pub members: Vec<Arc<str>>,
    pub strategy: Strategy,
    /// How long one member rings before the next (`Hunt` and the rotating strategies).
    pub member_ring: Duration,
    /// How long all ring at once (`RingAll`).
    pub ring: Duration,
    /// Members who are in a call are called all the same.
    pub call_busy: bool,
    /// Who is called when nobody of the group answered.
    pub overflow: Option<Destination>,
}

/// In which order members are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// All at once; the first answer wins.
    #[default]
    RingAll,
    /// One after the other, in the order of the configuration.
    Hunt,
    /// One after the other, beginning with who has been without a call for longest.
    LongestIdle,
    /// One after the other, each call beginning with the member after the last call's first.
    RoundRobin,
}

impl Strategy {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RingAll => "ring_all",
            Self::Hunt => "hunt",
            Self::LongestIdle => "longest_idle",
            Self::RoundRobin => "round_robin",
        }
    }
}

impl Group {
    /// The members in the order in which this call tries them. `turn` counts the group's calls;
    /// `idle_since` is when a member's last call ended, on any clock.
    pub(super) fn order(
        &self,
        turn: u64,
        idle_since: impl Fn(&str) -> Option<i64>,
    ) -> Vec<Arc<str>> {
        let mut members = self.members.clone();
        match self.strategy {
            Strategy::RingAll | Strategy::Hunt => {}
            // Who never had a call comes first; the sort keeps the order of equals.
            Strategy::LongestIdle => members.sort_by_key(|member| idle_since(member)),
            Strategy::RoundRobin => {
                let count = u64::try_from(members.len().max(1)).unwrap_or(1);
                members.rotate_left(usize::try_from(turn % count).unwrap_or(0));
            }
        }
        members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_strategy_has_its_order() {
        let group = |strategy| Group {
            name: "g".into(),
            members: ["a", "b", "c"].map(Arc::from).into(),
            strategy,
            member_ring: Duration::from_secs(15),
            ring: Duration::from_secs(60),
            call_busy: false,
            overflow: None,
        };
        let check = |strategy, turn, expected: [&str; 3]| {
            let idle = |user: &str| match user {
                "a" => Some(30),
                "b" => Some(10),
                _ => None,
            };
            let order = group(strategy).order(turn, idle);
            assert_eq!(order.iter().map(|m| &**m).collect::<Vec<_>>(), expected);
        };
        check(Strategy::RingAll, 5, ["a", "b", "c"]);
        check(Strategy::Hunt, 5, ["a", "b", "c"]);
        check(Strategy::LongestIdle, 5, ["c", "b", "a"]);
        check(Strategy::RoundRobin, 0, ["a", "b", "c"]);
        check(Strategy::RoundRobin, 1, ["b", "c", "a"]);
        check(Strategy::RoundRobin, 5, ["c", "a", "b"]);
    }
}
