//! What the router may know of the present: who is signed in, who is in a call, how trunks are.

use std::collections::BTreeMap;
use std::sync::Arc;

use crosspoint_base::{BindingId, RegistrationId};

use super::{Meter, Usage};
use crate::Profile;

/// One device that a user can be reached at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    pub binding: BindingId,
    pub profile: Profile,
}

/// Whether a trunk takes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrunkState {
    #[default]
    Ready,
    /// It has all the calls that it may have.
    Full,
    /// Nothing there answers.
    Down,
}

/// A reader for the present, so that nothing need be copied for a decision.
pub trait Snapshot {
    /// Where the user is signed in; empty when nowhere.
    fn devices_of(&self, user: &str) -> Vec<Device>;

    /// The apps signed in to a network under a name.
    fn members_of(&self, network: &str, name: &str) -> Vec<Device> {
        let _ = (network, name);
        Vec::new()
    }

    /// The apps that calls at a sign-in of ours elsewhere are for.
    fn owners_of(&self, registration: RegistrationId) -> Vec<Device> {
        let _ = registration;
        Vec::new()
    }

    /// Unix seconds.
    fn now(&self) -> i64 {
        0
    }

    /// Whether the user takes part in a call.
    fn is_busy(&self, user: &str) -> bool {
        let _ = user;
        false
    }

    /// When the user's last call ended, on any clock; `None` when there was none.
    fn idle_since(&self, user: &str) -> Option<i64> {
        let _ = user;
        None
    }

    /// How many calls the group has had.
    fn turn_of(&self, group: &str) -> u64 {
        let _ = group;
        0
    }

    fn usage(&self, meter: &Meter) -> Usage {
        let _ = meter;
        Usage::default()
    }

    /// Whether a trunk takes one more call at the moment.
    fn trunk_state(&self, name: &str) -> TrunkState {
        let _ = name;
        TrunkState::Ready
    }
}

impl Snapshot for BTreeMap<Arc<str>, Vec<Device>> {
    fn devices_of(&self, user: &str) -> Vec<Device> {
        self.get(user).cloned().unwrap_or_default()
    }
}
