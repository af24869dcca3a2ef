//! Slots where calls wait: which are free, who may take them up, and who watches them.

use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::{CallId, LegId};
use crosspoint_call::router::{Parking, RouteRequest};
use crosspoint_call::{Cause, ParkingPlace, Standing};

use super::Node;

impl Node {
    /// Where a transfer of a user's has the party wait; `None` when it leads anywhere else.
    pub(super) fn parking_for(
        &mut self,
        call: CallId,
        request: &RouteRequest,
    ) -> Option<Result<ParkingPlace, Cause>> {
        let user = request.user.as_ref().filter(|_| request.is_transfer)?;
        let parking = self.plan.features.parking(user, request.to.expose())?;
        let is_free = |key: &Arc<str>| !self.parked.contains_key(key);
        let (lot, slot) = match parking {
            Parking::Slot(lot, slot) => (lot, Some(slot).filter(|slot| is_free(&lot.key(*slot)))),
            Parking::Orbit(lot) => {
                (lot, lot.slots.clone().take(MAX_SLOTS).find(|slot| is_free(&lot.key(*slot))))
            }
        };
        let Some(slot) = slot else { return Some(Err(Cause::Busy)) };
        let (key, timeout) = (lot.key(slot), lot.timeout);
        if self.switchboard.has(call) {
            self.parked.insert(key.clone(), call);
        }
        Some(Ok(ParkingPlace { slot, key, timeout }))
    }

    /// The place of who is dialled at a slot: the leg of who had the party wait.
    pub(super) fn waiting_at(&self, user: &str, dialled: &str) -> Option<LegId> {
        let Parking::Slot(lot, slot) = self.plan.features.parking(user, dialled)? else {
            return None;
        };
        self.switchboard.parked_by(*self.parked.get(&lot.key(slot))?)
    }

    /// What a watcher's number means among all slots. `of` may be the key that it watches already.
    pub(super) fn slot_watched(&self, watcher: &str, of: &str) -> Option<Arc<str>> {
        let number = of.rsplit('/').next()?;
        match self.plan.features.parking(watcher, number)? {
            Parking::Slot(lot, slot) => {
                let key = lot.key(slot);
                (number == of || *key == *of).then_some(key)
            }
            Parking::Orbit(_) => None,
        }
    }

    pub(super) fn standing_of_slot(&self, key: &Arc<str>) -> Standing {
        let waiting = self.parked.get(key).and_then(|call| self.switchboard.waiting(*call));
        Standing { is_reachable: true, calls: waiting.into_iter().collect(), ..Standing::default() }
    }

    pub(super) fn slot_is_free(&mut self, now: Instant, call: CallId, key: &Arc<str>) {
        if self.parked.get(key) == Some(&call) {
            self.parked.remove(key);
        }
        self.show_slot(now, key);
    }

    pub(super) fn show_slot(&mut self, now: Instant, key: &Arc<str>) {
        if self.sip.is_watched(key) {
            let standing = self.standing_of_slot(key);
            self.sip.show(now, key, &standing);
        }
    }
}

/// No lot can be configured larger.
const MAX_SLOTS: usize = 1000;
