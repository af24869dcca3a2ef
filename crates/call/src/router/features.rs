//! What users may do about each other's calls: see them, and answer what rings elsewhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::parking::{self, Parking, ParkingLot};

/// Which of these there are, and by which numbers.
#[derive(Debug, Clone)]
pub struct Features {
    /// Users see each other's calls and presence; else only their own.
    pub presence: bool,
    /// Dialled before a user's name or number, it answers what rings there.
    pub pickup: Option<String>,
    /// Answers what rings at anybody of the caller's groups.
    pub group_pickup: Option<String>,
    /// Who may answer for whom. Without any, everybody for everybody.
    pub pickup_groups: Vec<BTreeSet<Arc<str>>>,
    /// Users and trunks whose calls may be answered by the called device itself.
    pub auto_answer: BTreeSet<String>,
    pub auto_answer_trunks: BTreeSet<String>,
    pub parking: Vec<ParkingLot>,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            presence: true,
            pickup: None,
            group_pickup: None,
            pickup_groups: vec![],
            auto_answer: BTreeSet::new(),
            auto_answer_trunks: BTreeSet::new(),
            parking: vec![],
        }
    }
}

/// Whose ringing call somebody wants to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pickup<'n> {
    /// Of the user of this name or number.
    Of(&'n str),
    /// Of anybody of the group.
    Group,
}

impl Features {
    /// Whether a caller may have devices answer by themselves.
    #[must_use]
    pub fn may_press(&self, user: Option<&str>, trunk: Option<&str>) -> bool {
        user.is_some_and(|user| self.auto_answer.contains(user))
            || trunk.is_some_and(|trunk| self.auto_answer_trunks.contains(trunk))
    }

    /// Whether a user may know how another one is.
    #[must_use]
    pub fn may_watch(&self, watcher: &str, of: &str) -> bool {
        self.presence || watcher == of
    }

    /// What a number is to a user as a place where calls wait.
    #[must_use]
    pub fn parking(&self, user: &str, dialled: &str) -> Option<Parking<'_>> {
        parking::find(&self.parking, user, dialled)
    }

    /// What a dialled number asks to be answered, if it does.
    #[must_use]
    pub fn pickup<'n>(&self, dialled: &'n str) -> Option<Pickup<'n>> {
        if self.group_pickup.as_deref() == Some(dialled) {
            return Some(Pickup::Group);
        }
        let of = dialled.strip_prefix(self.pickup.as_deref()?)?;
        (!of.is_empty()).then_some(Pickup::Of(of))
    }

    /// Whether a user may answer what rings at another.
    #[must_use]
    pub fn may_pick_up(&self, user: &str, of: &str) -> bool {
        let has_both = |group: &BTreeSet<Arc<str>>| group.contains(user) && group.contains(of);
        user != of && (self.pickup_groups.is_empty() || self.pickup_groups.iter().any(has_both))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_pickup_from_other_numbers() {
        let features = Features {
            pickup: Some("**".to_owned()),
            group_pickup: Some("*8".to_owned()),
            ..Features::default()
        };
        assert_eq!(features.pickup("**1002"), Some(Pickup::Of("1002")));
        assert_eq!(features.pickup("*8"), Some(Pickup::Group));
        for other in ["**", "*81", "1002", "*1002"] {
            assert_eq!(features.pickup(other), None, "{other}");
        }
        assert_eq!(Features::default().pickup("**1002"), None);
    }

    #[test]
    fn lets_only_members_of_a_group_answer_for_each_other() {
        let group = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        let groups = vec![group(&["alice", "bob"]), group(&["bob", "carol"])];
        let features = Features { pickup_groups: groups, ..Features::default() };
        for (user, of, may) in [
            ("alice", "bob", true),
            ("carol", "bob", true),
            ("alice", "carol", false),
            ("dave", "bob", false),
            ("bob", "bob", false),
        ] {
            assert_eq!(features.may_pick_up(user, of), may, "{user} {of}");
        }
        assert!(Features::default().may_pick_up("dave", "bob"));
    }
}
