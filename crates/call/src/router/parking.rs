//! Places where calls wait until somebody takes them up.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// Slots in which the parties of some users' calls wait. Others neither park there nor see it:
/// the same numbers may be those of several lots, each with users of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkingLot {
    pub name: Arc<str>,
    /// A call that is transferred here waits in the first free slot.
    pub orbit: Option<String>,
    pub slots: RangeInclusive<u32>,
    /// How long until the call goes back to who parked it.
    pub timeout: Duration,
    /// Without any, everybody.
    pub users: BTreeSet<Arc<str>>,
}

/// What a number of a lot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parking<'f> {
    Orbit(&'f ParkingLot),
    Slot(&'f ParkingLot, u32),
}

impl ParkingLot {
    /// What a slot is called where those of several lots meet.
    #[must_use]
    pub fn key(&self, slot: u32) -> Arc<str> {
        format!("{}/{slot}", self.name).into()
    }

    fn is_for(&self, user: &str) -> bool {
        self.users.is_empty() || self.users.contains(user)
    }

    fn parking(&self, dialled: &str) -> Option<Parking<'_>> {
        if self.orbit.as_deref() == Some(dialled) {
            return Some(Parking::Orbit(self));
        }
        // Written with a sign or zeros in front it would be another number.
        let slot: u32 = dialled.parse().ok().filter(|slot: &u32| slot.to_string() == dialled)?;
        self.slots.contains(&slot).then_some(Parking::Slot(self, slot))
    }
}

/// What a number means to a user: the first of the user's lots that has it.
pub(super) fn find<'f>(lots: &'f [ParkingLot], user: &str, dialled: &str) -> Option<Parking<'f>> {
    lots.iter().filter(|lot| lot.is_for(user)).find_map(|lot| lot.parking(dialled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_slots_are_kept_apart_by_their_users() {
        let lot = |name: &str, users: &[&str]| ParkingLot {
            name: name.into(),
            orbit: Some("700".to_owned()),
            slots: 701..=703,
            timeout: Duration::from_secs(60),
            users: users.iter().map(|user| Arc::from(*user)).collect(),
        };
        let lots = [lot("a", &["alice"]), lot("b", &["bob"])];
        let key = |user: &str, dialled: &str| match find(&lots, user, dialled) {
            Some(Parking::Slot(lot, slot)) => lot.key(slot).to_string(),
            Some(Parking::Orbit(lot)) => format!("{} orbit", lot.name),
            None => String::new(),
        };
        assert_eq!((key("alice", "701").as_str(), key("bob", "701").as_str()), ("a/701", "b/701"));
        assert_eq!(key("bob", "700"), "b orbit");
        for (user, dialled) in [
            ("carol", "701"),
            ("alice", "704"),
            ("alice", "+701"),
            ("alice", "0701"),
            ("alice", ""),
        ] {
            assert_eq!(key(user, dialled), "", "{user} {dialled}");
        }
        assert_eq!(
            find(&[lot("all", &[])], "carol", "703").map(|p| matches!(p, Parking::Slot(..))),
            Some(true)
        );
    }
}
