//! The page for Prometheus: a closed list of metrics, with labels from closed enums.
//!
//! The machines count for themselves; a page is made from their counters when somebody asks, so
//! nothing is registered and nothing is counted twice. `docs/metrics.md` lists all of it; a test
//! compares.

mod ladders;
mod ng;
mod page;
mod quality;
mod terminals;
mod trunks;

use std::sync::atomic::Ordering;

use crosspoint_base::{Offence, Transport};
use crosspoint_call::router::Refusal;
use crosspoint_call::{Cause, Ended, Party};
use crosspoint_connectors::{rtcengine, sip_ua, webterminal};
use crosspoint_media::shard;
use crosspoint_net::{
    AppCounters, Bans, IceTcp, IceTcpCount, MediaReport, RecorderReport, SharedPortKind,
    StreamReport, TransportCounters, TurnReport,
};
use crosspoint_state::{PostgresCounters, WriterCounters};

use crate::events::EventReport;
use crate::provisioning;
use crate::run::acme::Counts;
use crate::run::one_port::Counts as PortCounts;
use crate::run::reload::ReloadReport;
use crate::webhooks::WebhookReport;

pub(crate) use ladders::ladders;
pub(crate) use ng::{media_server, media_servers};
pub(crate) use page::Page;
use page::{Metric, counter, gauge};
pub(crate) use terminals::terminals;

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
    pub(crate) subscriptions: u64,
    pub(crate) texts: u64,
    pub(crate) transactions: u64,
    pub(crate) defects: u64,
    pub(crate) is_stopping: bool,
    pub(crate) is_draining: bool,
    pub(crate) sip: sip_ua::Counters,
    pub(crate) trunks: Vec<sip_ua::TrunkReport>,
    /// Registrations that a PBX takes through us.
    pub(crate) forwarded: u64,
    /// Browsers and apps, and their sides of calls.
    pub(crate) web_clients: (usize, usize),
    pub(crate) app_clients: u64,
    pub(crate) apps: rtcengine::Counters,
    pub(crate) terminals_open: u64,
    pub(crate) terminals: webterminal::Counters,
    pub(crate) ended: EndedCalls,
    /// In the order of `Refusal::ALL`.
    pub(crate) refusals: [u64; Refusal::ALL.len()],
    pub(crate) emergencies: u64,
    pub(crate) ladders: crosspoint_ladder::Counters,
    /// What collectors were sent, was dropped and failed.
    pub(crate) hep: [u64; 3],
}

impl EndedCalls {
    /// By whom and why, and how many.
    pub(crate) fn counts(&self) -> impl Iterator<Item = ((Party, Cause), u64)> {
        self.counts.iter().map(|(ended, count)| (*ended, *count))
    }

    pub(crate) fn count(&mut self, ended: Ended, was_answered: bool) {
        *self.counts.entry((ended.by, ended.cause)).or_default() += 1;
        self.answered += u64::from(was_answered);
    }
}

pub(crate) fn signaling(page: &mut Page, now: &Signaling) {
    let is = gauge("crosspoint_calls_active", "Calls that are being set up or running.");
    page.value(&is, now.calls);
    let is = gauge("crosspoint_draining", "1 while new calls are refused.");
    page.value(&is, u64::from(now.is_draining || now.is_stopping));
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
    let is = counter("crosspoint_routing_refused_total", "Calls that a rule refused.");
    let reasons = Refusal::ALL.into_iter().zip(now.refusals);
    page.family(&is, ["reason"], reasons.map(|(refusal, count)| ([refusal.as_str()], count)));
    let is = counter("crosspoint_emergency_calls_total", "Calls for help that went out.");
    page.value(&is, now.emergencies);
    page.value(&gauge("crosspoint_legs", "Sides of calls."), now.legs);
    page.value(&gauge("crosspoint_bindings", "Devices that are signed in."), now.bindings);
    let is = gauge("crosspoint_subscriptions", "Users who watch others' calls or presence.");
    page.value(&is, now.subscriptions);
    let is = gauge("crosspoint_texts_waiting", "Texts that wait for their users.");
    page.value(&is, now.texts);
    sip(page, now.transactions, &now.sip);
    trunks::trunks(page, &now.trunks);
    let is = gauge("crosspoint_forwarded_registrations", "Browsers signed in at a PBX through us.");
    page.value(&is, now.forwarded);
    let (sessions, legs) = now.web_clients;
    let is = gauge("crosspoint_webrtc_sessions", "Browsers and apps that are signed in.");
    page.value(&is, sessions as u64);
    let is = gauge("crosspoint_webrtc_calls", "Sides of calls that are browsers or apps.");
    page.value(&is, legs as u64);
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
    let is = counter("crosspoint_sip_scans_total", "Requests of scanners, which get no answer.");
    page.value(&is, counters.scans);
    let is = counter("crosspoint_sip_refused_calls_total", "Calls refused before they began.");
    page.value(&is, *refused_legs);
    let is = counter("crosspoint_callers_total", "Callers of other networks, by their signature.");
    let values = [
        (["proved"], counters.callers_proved),
        (["failed"], counters.callers_failed),
        (["unsigned"], counters.callers_unsigned),
    ];
    page.family(&is, ["signature"], values);
    let is = counter("crosspoint_calls_signed_total", "Calls over trunks that get a signature.");
    let values = [(["signed"], counters.calls_signed), (["no_number"], counters.calls_not_signed)];
    page.family(&is, ["outcome"], values);
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
    let is = counter("crosspoint_sip_limited_total", "Messages of sources that send too many.");
    page.value(&is, counters.limited);
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
    let is = counter("crosspoint_console_oidc_total", "Sign-ins with a provider's identities.");
    let outcomes = provisioning::OUTCOMES.into_iter().map(|outcome| [outcome]);
    page.family(&is, ["outcome"], outcomes.zip(counters.vouched));
    let is = counter("crosspoint_audit_unnoted_total", "Failed sign-ins that are not kept.");
    page.value(&is, counters.unnoted);
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
    let is = counter("crosspoint_turn_handed_over_total", "Packets without a socket between.");
    page.value(&is, report.handed_over);
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

pub(crate) fn bans(page: &mut Page, bans: &Bans) {
    let counters = bans.counters();
    let is = gauge("crosspoint_bans_active", "Sources that are not listened to.");
    page.value(&is, bans.banned() as u64);
    let is = counter("crosspoint_bans_total", "Sources that were banned, by why.");
    let reasons = Offence::ALL.into_iter().map(|offence| [offence.as_str()]);
    page.family(&is, ["reason"], reasons.zip(counters.bans));
    let is = counter("crosspoint_bans_lifted_total", "Bans that an operator lifted.");
    page.value(&is, counters.lifted);
    let is = counter("crosspoint_ban_dropped_total", "Messages and connections of the banned.");
    page.value(&is, counters.dropped);
}

pub(crate) fn reloads(page: &mut Page, report: &ReloadReport) {
    let is = counter("crosspoint_reloads_total", "Reloads by how they came out.");
    let outcomes = [(["done"], report.done), (["refused"], report.refused)];
    page.family(&is, ["outcome"], outcomes);
    let is = gauge("crosspoint_reload_last_ok", "1 when the last one was taken over.");
    page.value(&is, u64::from(report.is_last_good));
    let unix = |seconds: i64| u64::try_from(seconds).unwrap_or(0);
    let is = gauge("crosspoint_reload_last_time_seconds", "When it was, in Unix seconds.");
    page.value(&is, unix(report.last_at));
    let is = gauge("crosspoint_tls_certificate_expires_seconds", "Unix seconds.");
    page.value(&is, report.certificate_expires.map_or(0, unix));
}

pub(crate) fn renewals(page: &mut Page, counts: &Counts) {
    let is = counter("crosspoint_acme_requests_total", "Certificates that were asked for.");
    let (done, failed) =
        (counts.done.load(Ordering::Relaxed), counts.failed.load(Ordering::Relaxed));
    page.family(&is, ["outcome"], [(["given"], done), (["failed"], failed)]);
}

pub(crate) fn webhooks(page: &mut Page, reports: &[WebhookReport]) {
    let each = |page: &mut Page, is: Metric, of: &dyn Fn(&WebhookReport) -> u64| {
        page.named(&is, "webhook", reports.iter().map(|r| (r.name.as_str(), of(r))));
    };
    each(page, counter("crosspoint_webhook_delivered_total", "Messages delivered."), &|r| {
        r.delivered
    });
    each(page, counter("crosspoint_webhook_failed_total", "Messages given up."), &|r| r.failed);
    each(page, counter("crosspoint_webhook_dropped_total", "Too much waited."), &|r| r.dropped);
    each(page, counter("crosspoint_webhook_retries_total", "Messages sent again."), &|r| r.retries);
    each(page, gauge("crosspoint_webhook_waiting", "Messages that wait."), &|r| r.waiting);
}

pub(crate) fn records(page: &mut Page, counters: &PostgresCounters) {
    let is = gauge("crosspoint_cdr_database_up", "1 when PostgreSQL takes call records.");
    page.value(&is, u64::from(counters.is_up));
    let is = gauge("crosspoint_cdr_waiting", "Call records on their way to PostgreSQL.");
    page.value(&is, counters.waiting);
    let is = counter("crosspoint_cdr_forwarded_total", "Call records that PostgreSQL has taken.");
    page.value(&is, counters.forwarded);
    let is = counter("crosspoint_cdr_refused_total", "Call records that PostgreSQL refuses.");
    page.value(&is, counters.refused);
}

pub(crate) fn recorder(page: &mut Page, report: &RecorderReport) {
    let is = gauge("crosspoint_recordings_active", "Recordings that are being written.");
    page.value(&is, report.active);
    let is = counter("crosspoint_recordings_total", "Recordings by how they came out.");
    let whole = report.finished.saturating_sub(report.failed);
    let outcomes = [
        (["finished"], whole),
        (["failed"], report.failed),
        (["refused"], report.refused),
        (["recovered"], report.recovered),
    ];
    page.family(&is, ["outcome"], outcomes);
    let is = counter("crosspoint_recordings_removed_total", "Recordings removed, by time or wish.");
    page.value(&is, report.removed);
    let is = counter("crosspoint_recorded_bytes_total", "Bytes of finished recordings.");
    page.value(&is, report.bytes);
    let is = counter("crosspoint_recording_packets_dropped_total", "Packets not recorded.");
    let dropped = [(["overflow"], report.packets_lost), (["late"], report.packets_late)];
    page.family(&is, ["reason"], dropped);
}

/// The port of HTTPS, and media that comes over it.
pub(crate) fn shared_port(page: &mut Page, counts: &PortCounts) {
    let is = counter("crosspoint_port_connections_total", "Connections to the port of HTTPS.");
    let served = SharedPortKind::ALL.map(|kind| ([word_for(kind)], counts.port.count(kind)));
    page.family(&is, ["as"], served);
    let ice = counts.ice.as_ref();
    let is = gauge("crosspoint_ice_tcp_connections", "Connections that carry media.");
    page.value(&is, ice.map_or(0, IceTcp::open));
    let count = |count| ice.map_or(0, |ice| ice.count(count));
    let is = counter("crosspoint_ice_tcp_validated_total", "Connections that proved themselves.");
    page.value(&is, count(IceTcpCount::Validated));
    let is = counter("crosspoint_ice_tcp_ended_total", "Connections for media that ended.");
    let ended = [
        (["left"], count(IceTcpCount::Left)),
        (["unvalidated"], count(IceTcpCount::Unvalidated)),
        (["bad_frame"], count(IceTcpCount::BadFrame)),
        (["silent"], count(IceTcpCount::Silent)),
        (["stalled"], count(IceTcpCount::Stalled)),
    ];
    page.family(&is, ["reason"], ended);
    let is = counter("crosspoint_ice_tcp_packets_dropped_total", "Media packets not passed on.");
    let dropped =
        [(["in"], count(IceTcpCount::DroppedIn)), (["out"], count(IceTcpCount::DroppedOut))];
    page.family(&is, ["direction"], dropped);
}

fn word_for(kind: SharedPortKind) -> &'static str {
    match kind {
        SharedPortKind::Http => "http",
        SharedPortKind::Http2 => "http2",
        SharedPortKind::Turn => "turn",
        SharedPortKind::IceTcp => "ice_tcp",
        SharedPortKind::PlainHttp => "plain_http",
        SharedPortKind::Mute => "mute",
        SharedPortKind::TlsFailed => "tls_failed",
        SharedPortKind::Unknown => "unknown",
    }
}

pub(crate) fn streams(page: &mut Page, report: &StreamReport) {
    let is = gauge("crosspoint_streams_active", "Streams to services, those connecting included.");
    page.value(&is, report.active);
    let is = counter("crosspoint_streams_total", "Streams by whether the service was reached.");
    page.family(&is, ["outcome"], [(["opened"], report.opened), (["failed"], report.failed)]);
    let is = counter("crosspoint_stream_packets_dropped_total", "Packets that were not streamed.");
    page.value(&is, report.packets_lost);
    let is = counter("crosspoint_stream_overrun_milliseconds_total", "Sound that came too early.");
    page.value(&is, report.overrun_ms);
}

/// What readers of `/api/v1/events` are told.
pub(crate) fn events(page: &mut Page, report: &EventReport) {
    let is = gauge("crosspoint_event_readers", "Readers of the events of calls and recordings.");
    page.value(&is, report.readers);
    page.value(&counter("crosspoint_events_total", "Events that were told."), report.told);
    let is = counter("crosspoint_events_missed_total", "Events that a reader was too slow for.");
    page.value(&is, report.missed);
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
    let is = counter("crosspoint_media_frames_total", "Frames of sound made or translated.");
    let frames = [
        (["made"], counters.frames_made),
        (["late"], counters.frames_late),
        (["dropped"], counters.frames_dropped),
    ];
    page.family(&is, ["outcome"], frames);
    let is = counter("crosspoint_media_playout_total", "What became of translated packets.");
    let playout = [
        (["late"], counters.packets_late),
        (["discarded"], counters.packets_discarded),
        (["concealed"], counters.packets_concealed),
    ];
    page.family(&is, ["what"], playout);
    let is = counter("crosspoint_media_video_forwarded_total", "Video packets passed on.");
    page.value(&is, counters.video_forwarded);
    let is = counter("crosspoint_media_video_missed_total", "Video packets asked for again.");
    page.value(&is, counters.video_asked_again);
    let is = counter("crosspoint_media_video_repeated_total", "Video packets sent again.");
    page.value(&is, counters.video_sent_again);
    let is = counter("crosspoint_media_key_frames_asked_total", "Key frames asked for.");
    page.value(&is, counters.key_frames_asked);
    let is = counter("crosspoint_media_packets_dropped_total", "Media packets not passed on.");
    page.family(&is, ["reason"], drops(counters));
    let is = counter("crosspoint_media_stun_refused_total", "STUN requests without a leg.");
    page.value(&is, counters.stun_refused);
    let is = counter("crosspoint_media_dtls_failed_total", "DTLS handshakes that failed.");
    page.value(&is, counters.dtls_failed);
    quality::write(page, counters);
}

fn drops(counters: &shard::Counters) -> [([&'static str; 1], u64); 10] {
    [
        (["unknown_source"], counters.dropped_unknown_source),
        (["bad_tag"], counters.dropped_bad_tag),
        (["replayed"], counters.dropped_replayed),
        (["malformed"], counters.dropped_malformed),
        (["out_of_order"], counters.dropped_out_of_order),
        (["not_ready"], counters.dropped_not_ready),
        (["over_rate"], counters.dropped_over_rate),
        (["payload_type"], counters.dropped_payload_type),
        (["codec_change"], counters.dropped_codec_change),
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
