//! How trunks do. Their names are the operator's own words.

use crosspoint_call::router::TrunkState;
use crosspoint_connectors::sip_ua::{HopState, PeerState, RegistrationState, TrunkReport};

use super::page::{Metric, Page, counter, gauge};

pub(super) fn trunks(page: &mut Page, reports: &[TrunkReport]) {
    let each = |page: &mut Page, is: Metric, of: &dyn Fn(&TrunkReport) -> u64| {
        page.named(&is, "trunk", reports.iter().map(|r| (&*r.name, of(r))));
    };
    let is = gauge("crosspoint_trunk_ready", "1 when the trunk takes calls.");
    each(page, is, &|r| u64::from(r.state == TrunkState::Ready));
    let is = gauge("crosspoint_trunk_destinations_up", "Destinations that answer.");
    each(page, is, &|r| r.hops.iter().filter(|(_, s)| *s == HopState::Up).count() as u64);
    let is = gauge("crosspoint_trunk_destinations_down", "Destinations that do not.");
    let is_down = |s: &HopState| matches!(s, HopState::Down(_));
    each(page, is, &|r| r.hops.iter().filter(|(_, s)| is_down(s)).count() as u64);
    let is = gauge("crosspoint_trunk_registered", "1 when we are signed in there, or it with us.");
    each(page, is, &|r| {
        let ours = r.registration == Some(RegistrationState::Connected);
        u64::from(ours || r.peer == Some(PeerState::Registered))
    });
    let is = gauge("crosspoint_trunk_calls", "Calls over the trunk.");
    each(page, is, &|r| u64::from(r.calls));
    let is = counter("crosspoint_trunk_calls_out_total", "Calls sent to the trunk.");
    each(page, is, &|r| r.counters.calls_out);
    let is = counter("crosspoint_trunk_calls_in_total", "Calls from the trunk.");
    each(page, is, &|r| r.counters.calls_in);
    let is = counter("crosspoint_trunk_failovers_total", "Calls that went on elsewhere.");
    each(page, is, &|r| r.counters.failovers);
    let is = counter("crosspoint_trunk_refused_total", "Calls refused by its limits.");
    each(page, is, &|r| r.counters.refused);
    let is = counter("crosspoint_trunk_foreign_challenges_total", "Challenges not answered.");
    each(page, is, &|r| r.counters.foreign_challenges);
}
