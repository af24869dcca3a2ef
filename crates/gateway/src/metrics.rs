//! The page for Prometheus: a closed list of metrics, with labels from closed enums.
//!
//! The machines count for themselves; a page is made from their counters when somebody asks, so
//! nothing is registered and nothing is counted twice. `docs/metrics.md` lists all of it; a test
//! compares.

mod page;
mod quality;

use crosspoint_base::Transport;
use crosspoint_call::{Cause, Ended, Party};
use crosspoint_connectors::{rtcengine, sip_ua};
use crosspoint_media::shard;
use crosspoint_net::{AppCounters, MediaReport, TransportCounters, TurnReport};
use crosspoint_state::WriterCounters;

use crate::provisioning;

pub(crate) use page::Page;
use page::{counter, gauge};

/// Calls that are over, by who ended them and why.
#[derive(Debug, Clone, Default)]
pub(crate) struct EndedCalls {
    counts: std::collections::BTreeMap<(Party, Cause), u64>,
    pub(crate) answered: u64,
}

/// What the signalling loop tells of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signaling {
    pub(crate) calls: u64,
    pub(crate) legs: u64,
    pub(crate) bindings: u64,
    pub(crate) transactions: u64,
    pub(crate) defects: u64,
    pub(crate) is_stopping: bool,
    pub(crate) sip: sip_ua::Counters,
    pub(crate) app_clients: u64,
    pub(crate) apps: rtcengine::Counters,
    pub(crate) ended: EndedCalls,
}

impl EndedCalls {
    pub(crate) fn count(&mut self, ended: Ended, was_answered: bool) {
        *self.counts.entry((ended.by, ended.cause)).or_default() += 1;
        self.answered += u64::from(was_answered);
    }
}

pub(crate) fn signaling(page: &mut Page, now: &Signaling) {
    let is = gauge("crosspoint_calls_active", "Calls that are being set up or running.");
    page.value(&is, now.calls);
    let is = counter("crosspoint_calls_answered_total", "Calls that were answered and are over.");
    page.value(&is, now.ended.answered);
    let is = counter("crosspoint_calls_ended_total", "Calls that are over.");
    let values = PARTIES
        .into_iter()
        .flat_map(|party| Cause::ALL.into_iter().map(move |cause| (party, cause)));
    page.family(
        &is,
        ["party", "cause"],
        values.map(|(party, cause)| {
            let count = now.ended.counts.get(&(party, cause)).copied().unwrap_or(0);
            ([party.as_str(), cause.as_str()], count)
        }),
    );
    page.value(&gauge("crosspoint_legs", "Sides of calls."), now.legs);
    page.value(&gauge("crosspoint_bindings", "Devices that are signed in."), now.bindings);
    sip(page, now.transactions, &now.sip);
    app_clients(page, now.app_clients, &now.apps);
}

fn app_clients(page: &mut Page, clients: u64, counters: &rtcengine::Counters) {
    let is = gauge("crosspoint_app_clients", "Apps, those in their resume window included.");
    page.value(&is, clients);
    let is = counter("crosspoint_app_clients_total", "What became of apps.");
    let values = [
        (["opened"], counters.opened),
        (["resumed"], counters.resumed),
        (["expired"], counters.expired),
    ];
    page.family(&is, ["event"], values);
    let is = counter("crosspoint_app_anomalies_total", "What went wrong between apps and us.");
    let values = [
        (["denied"], counters.denied),
        (["bad_message"], counters.bad_messages),
        (["no_session"], counters.no_session),
        (["invalid_token"], counters.invalid_token),
        (["unknown_method"], counters.unknown_method),
        (["unknown_recipient"], counters.unknown_recipient),
        (["rate_limited"], counters.rate_limited),
        (["refused_call"], counters.refused_calls),
        (["dropped"], counters.dropped),
    ];
    page.family(&is, ["kind"], values);
}

fn sip(page: &mut Page, transactions: u64, counters: &sip_ua::Counters) {
    let sip_ua::Counters {
        endpoint, registrations, challenges, auth_failures, refused_legs, ..
    } = counters;
    let is = gauge("crosspoint_sip_transactions", "SIP transactions, finished ones included.");
    page.value(&is, transactions);
    let is = counter("crosspoint_sip_requests_total", "SIP requests that came in.");
    page.value(&is, endpoint.requests);
    let is = counter("crosspoint_sip_responses_total", "SIP responses that came in.");
    page.value(&is, endpoint.responses);
    let is = counter("crosspoint_sip_registrations_total", "REGISTER requests that were accepted.");
    page.value(&is, *registrations);
    let is = counter("crosspoint_sip_challenges_total", "Requests that were asked for a password.");
    page.value(&is, *challenges);
    let is = counter("crosspoint_sip_auth_failures_total", "Passwords that were wrong.");
    page.value(&is, *auth_failures);
    let is = counter("crosspoint_sip_refused_calls_total", "Calls refused before they began.");
    page.value(&is, *refused_legs);
    let is = counter("crosspoint_sip_anomalies_total", "What went wrong between peers and us.");
    let values = [
        (["retransmission"], endpoint.retransmissions_absorbed),
        (["stray_response"], endpoint.stray_responses),
        (["shed"], endpoint.shed),
        (["timeout"], endpoint.timeouts),
        (["transport_failure"], endpoint.transport_failures),
        (["ack_missing"], endpoint.acks_missing),
    ];
    page.family(&is, ["kind"], values);
}

pub(crate) fn transport(page: &mut Page, counters: &TransportCounters) {
    let by_transport = |values: [u64; 5]| {
        Transport::ALL.into_iter().zip(values).map(|(t, value)| ([name_of(t)], value))
    };
    let is = counter("crosspoint_sip_messages_received_total", "SIP messages received.");
    page.family(&is, ["transport"], by_transport(counters.received));
    let is = counter("crosspoint_sip_messages_sent_total", "SIP messages sent.");
    page.family(&is, ["transport"], by_transport(counters.sent));
    let is = gauge("crosspoint_sip_connections", "Open SIP connections.");
    page.family(&is, ["transport"], by_transport(counters.open).skip(1));
    let is = counter("crosspoint_sip_connected_total", "SIP connections that came about.");
    page.family(&is, ["transport"], by_transport(counters.connected).skip(1));
    let is = counter("crosspoint_sip_connection_faults_total", "SIP connections that went wrong.");
    let faults = [
        (["handshake"], counters.handshakes_failed),
        (["connect"], counters.connects_failed),
        (["unread"], counters.cut_unread),
        (["silent"], counters.cut_silent),
    ];
    page.family(&is, ["kind"], faults);
    let is = counter("crosspoint_sip_keep_alives_total", "Keep-alives that were answered.");
    page.value(&is, counters.keep_alives);
    let is = counter("crosspoint_sip_unsent_total", "Datagrams that could not be sent in time.");
    page.value(&is, counters.unsent);
    let is = counter("crosspoint_sip_malformed_total", "SIP messages that broke the grammar.");
    page.value(&is, counters.malformed);
    let is = counter("crosspoint_sip_overflow_total", "Datagrams dropped for lack of time.");
    page.value(&is, counters.overflow);
}

pub(crate) fn apps(page: &mut Page, counters: &AppCounters) {
    page.value(&gauge("crosspoint_app_sockets", "Open sockets of apps."), counters.open);
    let is = counter("crosspoint_app_sockets_opened_total", "Sockets that apps opened.");
    page.value(&is, counters.opened);
    let is = counter("crosspoint_app_messages_received_total", "Messages of apps.");
    page.value(&is, counters.received);
    let is = counter("crosspoint_app_messages_sent_total", "Messages to apps.");
    page.value(&is, counters.sent);
    let is = counter("crosspoint_app_socket_faults_total", "Sockets of apps that were cut off.");
    let faults = [
        (["unread"], counters.cut_unread),
        (["silent"], counters.cut_silent),
        (["malformed"], counters.malformed),
    ];
    page.family(&is, ["kind"], faults);
}

pub(crate) fn sessions(page: &mut Page, live: u64, counters: &provisioning::Counters) {
    page.value(&gauge("crosspoint_rtc_sessions", "Sessions whose tokens are good."), live);
    let is = counter("crosspoint_rtc_lookups_total", "Tokens that were looked up.");
    let outcomes = provisioning::LOOKUPS.into_iter().map(|outcome| [outcome]);
    page.family(&is, ["outcome"], outcomes.zip(counters.lookups));
    let is = counter("crosspoint_api_wrong_passwords_total", "Wrong passwords over HTTP.");
    page.value(&is, counters.wrong_passwords);
    let is = counter("crosspoint_api_limited_total", "Attempts refused after too many wrong ones.");
    page.value(&is, counters.limited);
}

pub(crate) fn turn(page: &mut Page, report: &TurnReport) {
    let counters = &report.counters;
    let is = gauge("crosspoint_turn_allocations", "Relayed ports.");
    page.value(&is, report.allocations);
    let is = gauge("crosspoint_turn_connections", "Connections of the relay's clients.");
    page.value(&is, report.connections);
    let is = counter("crosspoint_turn_allocated_total", "Relayed ports that came about.");
    page.value(&is, counters.allocated);
    let is = counter("crosspoint_turn_relayed_bytes_total", "Bytes relayed.");
    let [peer, client] = counters.relayed;
    page.family(&is, ["to"], [(["peer"], peer), (["client"], client)]);
    let is = counter("crosspoint_turn_refused_total", "What clients asked for and did not get.");
    let refused = [
        (["credentials"], counters.auth_failures),
        (["peer"], counters.forbidden),
        (["quota"], counters.over_quota),
        (["capacity"], counters.over_capacity),
        (["rate"], counters.rate_limited),
    ];
    page.family(&is, ["reason"], refused);
    let is = counter("crosspoint_turn_packets_dropped_total", "Packets not relayed.");
    let dropped = [
        (["bandwidth"], counters.over_bandwidth),
        (["no_permission"], counters.dropped),
        (["malformed"], counters.malformed),
        (["unsent"], report.unsent),
    ];
    page.family(&is, ["reason"], dropped);
}

/// Wherever they happened: each cost a call, a packet or a connection.
pub(crate) fn defects(page: &mut Page, count: u64) {
    page.value(&counter("crosspoint_defects_total", "Defects of ours that were caught."), count);
}

pub(crate) fn media(page: &mut Page, report: &MediaReport) {
    let counters = &report.counters;
    page.value(&gauge("crosspoint_media_legs", "Legs with media."), report.legs);
    let is = counter("crosspoint_media_packets_received_total", "Media packets received.");
    page.value(&is, counters.packets_received);
    let is = counter("crosspoint_media_packets_forwarded_total", "Media packets passed on.");
    page.value(&is, counters.packets_forwarded);
    let is = counter("crosspoint_media_packets_transcoded_total", "Media packets translated.");
    page.value(&is, counters.packets_transcoded);
    let is = counter("crosspoint_media_packets_dropped_total", "Media packets not passed on.");
    page.family(&is, ["reason"], drops(counters));
    let is = counter("crosspoint_media_stun_refused_total", "STUN requests without a leg.");
    page.value(&is, counters.stun_refused);
    let is = counter("crosspoint_media_dtls_failed_total", "DTLS handshakes that failed.");
    page.value(&is, counters.dtls_failed);
    quality::write(page, counters);
}

fn drops(counters: &shard::Counters) -> [([&'static str; 1], u64); 8] {
    [
        (["unknown_source"], counters.dropped_unknown_source),
        (["bad_tag"], counters.dropped_bad_tag),
        (["replayed"], counters.dropped_replayed),
        (["malformed"], counters.dropped_malformed),
        (["out_of_order"], counters.dropped_out_of_order),
        (["not_ready"], counters.dropped_not_ready),
        (["payload_type"], counters.dropped_payload_type),
        (["dtls_before_ice"], counters.dtls_before_ice),
    ]
}

pub(crate) fn connections(page: &mut Page, open: usize, refused: u64) {
    let is = gauge("crosspoint_connections", "Open connections of all listeners, HTTPS included.");
    page.value(&is, open as u64);
    let is = counter(
        "crosspoint_connections_refused_total",
        "Connections closed at once because a limit was reached.",
    );
    page.value(&is, refused);
}

pub(crate) fn store(page: &mut Page, counters: WriterCounters) {
    let WriterCounters { written, dropped, failed } = counters;
    let values = [(["written"], written), (["dropped"], dropped), (["failed"], failed)];
    let is = counter("crosspoint_store_writes_total", "Call records and bindings to be kept.");
    page.family(&is, ["outcome"], values);
}

fn name_of(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
        Transport::Ws => "ws",
        Transport::Wss => "wss",
    }
}

const PARTIES: [Party; 3] = [Party::Front, Party::Back, Party::Gateway];
