//! Every running call, which leg belongs to which, and the wall around each of them.
//!
//! A defect in one call must not end the others: a panic inside a call is caught here, that call
//! is dropped and its legs are ended with `Cause::Internal`.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crosspoint_base::{CallId, Gcid, LegId, TimerTable};
use crosspoint_call::{Call, CallRecord, Input, Output};

/// All calls of a node.
#[derive(Debug, Default)]
pub(crate) struct Switchboard {
    calls: BTreeMap<CallId, Call>,
    call_of_leg: BTreeMap<LegId, CallId>,
    timers: TimerTable<CallId>,
    next_call: u64,
    outputs: VecDeque<(CallId, Output)>,
    /// Legs whose call broke: their connector and media must still be told.
    orphans: Vec<LegId>,
    panics: u64,
}

impl Switchboard {
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        gcid: Gcid,
        front: LegId,
        offer: crosspoint_call::IncomingOffer,
    ) -> CallId {
        self.next_call += 1;
        let id = CallId(self.next_call);
        self.call_of_leg.insert(front, id);
        self.calls.insert(id, Call::new(now, id, gcid, front, offer));
        self.drain(id);
        id
    }

    pub(crate) fn handle_leg(&mut self, now: Instant, leg: LegId, input: Input) {
        if let Some(call) = self.call_of_leg.get(&leg).copied() {
            self.handle(now, call, input);
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, id: CallId, input: Input) {
        if let Input::Routed { legs, .. } = &input {
            for leg in legs {
                self.call_of_leg.insert(*leg, id);
            }
        }
        let Some(call) = self.calls.get_mut(&id) else { return };
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

    pub(crate) fn end_all(&mut self, now: Instant, cause: crosspoint_call::Cause) {
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
        self.calls.values().map(Call::gcid)
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
        self.calls.remove(&id);
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
    }
}
