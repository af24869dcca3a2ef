//! Every running call, which leg belongs to which, and the wall around each of them.
//!
//! A defect in one call must not end the others: a panic inside a call is caught here, that call
//! is dropped and its legs are ended with `Cause::Internal`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::{CallId, Gcid, LegId, TimerTable};
use crosspoint_call::{Call, CallRecord, Cause, IncomingOffer, Input, Output, Side, View};

/// All calls of a node.
#[derive(Debug, Default)]
pub(crate) struct Switchboard {
    /// In boxes, as are other large values in maps here: a map moves its values about.
    calls: BTreeMap<CallId, Box<Call>>,
    call_of_leg: BTreeMap<LegId, CallId>,
    /// Who takes part in which calls.
    calls_of_user: BTreeMap<Arc<str>, BTreeSet<CallId>>,
    users_of_call: BTreeMap<CallId, BTreeSet<Arc<str>>>,
    timers: TimerTable<CallId>,
    next_call: u64,
    outputs: VecDeque<(CallId, Output)>,
    /// Legs whose call broke: their connector and media must still be told.
    orphans: Vec<LegId>,
    broken: Vec<CallId>,
    panics: u64,
}

impl Switchboard {
    /// What nothing else is called.
    pub(crate) fn number(&mut self) -> CallId {
        self.next_call += 1;
        CallId(self.next_call)
    }

    pub(crate) fn begin(
        &mut self,
        now: Instant,
        gcid: Gcid,
        front: LegId,
        offer: IncomingOffer,
    ) -> CallId {
        let id = self.number();
        self.call_of_leg.insert(front, id);
        self.calls.insert(id, Box::new(Call::new(now, id, gcid, front, offer)));
        self.drain(id);
        id
    }

    /// Puts a new leg into the place of `old`.
    pub(crate) fn replace(&mut self, now: Instant, old: LegId, new: LegId, offer: IncomingOffer) {
        let Some(call) = self.call_of_leg.get(&old).copied() else { return };
        self.call_of_leg.insert(new, call);
        self.handle(now, call, Input::Replace { old, new, offer: Box::new(offer) });
    }

    /// Has a call take in whoever `with`, a leg of another call, is joined with.
    pub(crate) fn join(&mut self, now: Instant, id: CallId, with: LegId) {
        let other = self.call_of_leg.get(&with).copied().filter(|other| *other != id);
        let joined = match other.and_then(|other| Some((other, self.calls.get_mut(&other)?))) {
            None => Err(Cause::NotFound),
            Some((other, call)) => {
                let given = catch_unwind(AssertUnwindSafe(|| call.hand_over_peer(now, with)));
                match given {
                    Ok(given) => {
                        self.drain(other);
                        given.map(Box::new)
                    }
                    Err(_) => {
                        self.drop_broken(other);
                        Err(Cause::Internal)
                    }
                }
            }
        };
        for leg in joined.iter().flat_map(|handover| handover.legs()) {
            self.call_of_leg.insert(leg, id);
        }
        self.handle(now, id, Input::Joined(joined));
    }

    pub(crate) fn call_of(&self, leg: LegId) -> Option<CallId> {
        self.call_of_leg.get(&leg).copied()
    }

    pub(crate) fn has(&self, call: CallId) -> bool {
        self.calls.contains_key(&call)
    }

    /// The leg whose place is free for who takes up the party that waits.
    pub(crate) fn parked_by(&self, call: CallId) -> Option<LegId> {
        self.calls.get(&call).and_then(|call| call.parked_by())
    }

    /// Who waits in a slot.
    pub(crate) fn waiting(&self, call: CallId) -> Option<Side> {
        self.calls.get(&call).and_then(|call| call.waiting())
    }

    pub(crate) fn knows(&self, leg: LegId) -> bool {
        self.call_of_leg.contains_key(&leg)
    }

    pub(crate) fn legs_of(&self, call: CallId) -> impl Iterator<Item = LegId> {
        self.calls.get(&call).into_iter().flat_map(|call| call.legs())
    }

    pub(crate) fn gcid_of(&self, leg: LegId) -> Option<&Gcid> {
        self.calls.get(self.call_of_leg.get(&leg)?).map(|call| call.gcid())
    }

    /// Why a running call goes where it goes.
    pub(crate) fn why(&self, gcid: &str) -> Option<&str> {
        self.calls.values().find(|call| call.gcid().as_str() == gcid).map(|call| call.why())
    }

    /// What operators may know of a call.
    pub(crate) fn view(&self, call: CallId) -> Option<View> {
        self.calls.get(&call).map(|call| call.view())
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = View> {
        self.calls.values().map(|call| call.view())
    }

    /// A user's legs in all calls, with the global id of the call.
    pub(crate) fn sides_of(&self, user: &str) -> impl Iterator<Item = (&Gcid, Side)> {
        let calls = self.calls_of_user.get(user).into_iter().flatten();
        calls.filter_map(|id| self.calls.get(id)).flat_map(move |call| {
            call.sides().filter(move |s| *s.user == *user).map(move |side| (call.gcid(), side))
        })
    }

    /// Who takes part in a call, or did until now.
    pub(crate) fn parties_changed(&mut self, id: CallId) -> BTreeSet<Arc<str>> {
        let now: BTreeSet<Arc<str>> = match self.calls.get(&id) {
            Some(call) => call.sides().map(|side| side.user).collect(),
            None => BTreeSet::new(),
        };
        // Mostly nobody came or went.
        if !now.is_empty() && self.users_of_call.get(&id) == Some(&now) {
            return now;
        }
        let before = self.users_of_call.remove(&id).unwrap_or_default();
        for user in before.difference(&now) {
            if let Some(calls) = self.calls_of_user.get_mut(user) {
                calls.remove(&id);
                if calls.is_empty() {
                    self.calls_of_user.remove(user);
                }
            }
        }
        for user in now.difference(&before) {
            self.calls_of_user.entry(user.clone()).or_default().insert(id);
        }
        let all = &before | &now;
        if !now.is_empty() {
            self.users_of_call.insert(id, now);
        }
        all
    }

    pub(crate) fn handle_leg(&mut self, now: Instant, leg: LegId, input: Input) {
        if let Some(call) = self.call_of_leg.get(&leg).copied() {
            self.handle(now, call, input);
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, id: CallId, input: Input) {
        // A call may be over by the time that the router has spoken.
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Input::Routed { legs, .. } = &input {
            self.call_of_leg.extend(legs.iter().map(|leg| (*leg, id)));
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| call.handle_input(now, input)));
        match outcome {
            Ok(()) => self.drain(id),
            Err(_) => self.drop_broken(id),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(call) = self.timers.pop_due(now) {
            self.handle(now, call, Input::Timeout);
        }
    }

    /// Ends a call as its operator: one that nobody has answered is declined.
    pub(crate) fn end(&mut self, now: Instant, call: CallId) {
        let Some(view) = self.view(call) else { return };
        let cause = if view.answered.is_some() { Cause::Normal } else { Cause::Declined };
        self.handle(now, call, Input::End(cause));
    }

    pub(crate) fn end_all(&mut self, now: Instant, cause: Cause) {
        for id in self.calls.keys().copied().collect::<Vec<_>>() {
            self.handle(now, id, Input::End(cause));
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<(CallId, Output)> {
        self.outputs.pop_front()
    }

    pub(crate) fn take_orphans(&mut self) -> Vec<LegId> {
        std::mem::take(&mut self.orphans)
    }

    /// Calls that broke, and of which no record will tell.
    pub(crate) fn take_broken(&mut self) -> Vec<CallId> {
        std::mem::take(&mut self.broken)
    }

    /// Whether a user takes part in a call, or is rung for one.
    pub(crate) fn is_in_call(&self, user: &str) -> bool {
        self.sides_of(user).next().is_some()
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(crate) fn legs(&self) -> usize {
        self.call_of_leg.len()
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics
    }

    pub(crate) fn gcids(&self) -> impl Iterator<Item = &Gcid> {
        self.calls.values().map(|call| call.gcid())
    }

    fn drain(&mut self, id: CallId) {
        loop {
            let Some(call) = self.calls.get_mut(&id) else { return };
            match call.poll_output() {
                Output::Timeout(Some(at)) => return self.timers.set(id, at),
                Output::Timeout(None) => {
                    self.timers.cancel(&id);
                    return;
                }
                Output::Done(record) => self.forget(id, record),
                output => self.outputs.push_back((id, output)),
            }
        }
    }

    fn forget(&mut self, id: CallId, record: Box<CallRecord>) {
        for leg in &record.legs {
            self.call_of_leg.remove(leg);
        }
        self.timers.cancel(&id);
        if let Some(call) = self.calls.remove(&id) {
            for leg in call.spare_legs() {
                self.call_of_leg.remove(&leg);
            }
        }
        self.outputs.push_back((id, Output::Done(record)));
    }

    fn drop_broken(&mut self, id: CallId) {
        self.panics += 1;
        self.timers.cancel(&id);
        let Some(call) = self.calls.remove(&id) else { return };
        for leg in call.legs() {
            self.call_of_leg.remove(&leg);
            self.orphans.push(leg);
        }
        for leg in call.spare_legs() {
            self.call_of_leg.remove(&leg);
        }
        self.broken.push(id);
    }
}
