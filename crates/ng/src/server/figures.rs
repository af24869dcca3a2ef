//! What a call has carried: `query`, `delete`, `list` and `statistics`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::LegId;
use crosspoint_media::control::{Command, LegStats, Place, Profile};
use crosspoint_sdp::Media;

use super::calls::{Call, Party};
use super::exchange::{Exchange, Work};
use super::{Asker, Counters, Outcome, Server, Timer, ok, refusal};
use crate::dictionary::{Dictionary, Value};
use crate::flags::Flags;
use crate::request::{Names, reason};

/// A question for the figures of a whole call.
#[derive(Debug, Default)]
pub(super) struct Figures {
    stats: BTreeMap<LegId, LegStats>,
    /// The call, or parts of it, are deleted when the figures are there.
    delete: Option<Delete>,
}

#[derive(Debug)]
struct Delete {
    delay: Duration,
    /// Only this party, when others stay.
    party: Option<LegId>,
}

impl<T> Server<T> {
    pub(super) fn query(&mut self, asker: &mut Option<Asker<T>>, names: &Names) -> Outcome {
        let Some(id) = &names.call else { return Some(refusal(reason::NO_CALL)) };
        let Some((id, _)) = self.calls.get_key_value(id.as_str()) else {
            return Some(refusal(reason::UNKNOWN_CALL));
        };
        let id = id.clone();
        self.ask_figures(id, asker, None)
    }

    pub(super) fn delete(
        &mut self,
        now: Instant,
        asker: &mut Option<Asker<T>>,
        request: &Dictionary,
        names: &Names,
        flags: &Flags,
    ) -> Outcome {
        let Some(id) = &names.call else { return Some(refusal(reason::NO_CALL)) };
        let matched = self.calls.get_key_value(id.as_str()).and_then(|(id, call)| {
            let from = names.from.as_deref();
            let fits = from.is_none_or(|tag| call.tagged(tag).is_some());
            fits.then(|| (id.clone(), self.fork_of(call, names)))
        });
        let Some((id, party)) = matched else {
            if flags.has("fatal") {
                return Some(refusal(reason::NO_MATCH));
            }
            let warning = Dictionary::new().with("warning", reason::NO_MATCH);
            return Some(warning.with("result", "ok"));
        };
        let seconds = request.integer("delete-delay").and_then(|s| u64::try_from(s).ok());
        let delay = seconds.map_or(DELETE_DELAY, |s| Duration::from_secs(s.min(MAX_DELAY)));
        if let Some(call) = self.calls.get_mut(&id) {
            call.last_signal = now;
        }
        self.ask_figures(id, asker, Some(Delete { delay, party }))
    }

    /// One branch of a forked call that ends while others go on.
    fn fork_of(&self, call: &Call, names: &Names) -> Option<LegId> {
        let from = call.tagged(names.from.as_deref()?)?;
        let branch = names.branch.as_deref();
        let party = match (&names.to, branch) {
            (Some(to), _) => call.tagged(to),
            (None, Some(_)) => {
                call.called_by(from.leg, branch).filter(|p| p.branch.as_deref() == branch)
            }
            (None, None) => None,
        }?;
        let others = call.parties().iter().filter(|p| p.leg != party.leg && p.leg != from.leg);
        (others.count() > 0 && party.leg != from.leg).then_some(party.leg)
    }

    fn ask_figures(
        &mut self,
        id: Arc<str>,
        asker: &mut Option<Asker<T>>,
        delete: Option<Delete>,
    ) -> Outcome {
        let legs = self.calls.get(&id).map(Call::legs).unwrap_or_default();
        let figures = Figures { stats: BTreeMap::new(), delete };
        let asker = asker.take();
        let work = Work::Figures(figures);
        let number = self.begin(Exchange { asker, call: id, left: legs.len(), work });
        for leg in legs {
            self.figures.entry(leg).or_default().push_back(number);
            self.command(Command::Report { leg });
        }
        None
    }

    pub(super) fn figures_of(&mut self, now: Instant, leg: LegId, stats: &LegStats) {
        let Some(queue) = self.figures.get_mut(&leg) else { return };
        let number = queue.pop_front();
        if queue.is_empty() {
            self.figures.remove(&leg);
        }
        let Some(number) = number else { return };
        let Some(exchange) = self.exchanges.get_mut(&number) else { return };
        exchange.left = exchange.left.saturating_sub(1);
        if let Work::Figures(figures) = &mut exchange.work {
            figures.stats.insert(leg, *stats);
        }
        if exchange.left == 0
            && let Some(exchange) = self.exchanges.remove(&number)
        {
            self.conclude(now, exchange);
        }
    }

    pub(super) fn figured(&mut self, now: Instant, id: &Arc<str>, figures: Figures) -> Dictionary {
        let Some(call) = self.calls.get(id) else { return ok() };
        let reply = self.report(call, &figures.stats);
        match figures.delete {
            None => {}
            Some(Delete { party: Some(leg), .. }) => {
                let party = self.calls.get_mut(id).and_then(|call| call.remove(leg));
                party.iter().for_each(|party| self.close_party(party));
                self.listen(id);
            }
            Some(Delete { delay: Duration::ZERO, .. }) => self.end_call(id),
            Some(Delete { delay, .. }) => {
                self.timers.cancel(&Timer::Unanswered(id.clone()));
                self.timers.set(Timer::Delete(id.clone()), now + delay);
            }
        }
        reply.with("result", "ok")
    }

    fn report(&self, call: &Call, stats: &BTreeMap<LegId, LegStats>) -> Dictionary {
        let created = self.unix(call.created);
        let mut tags = Dictionary::new();
        let mut sources = Dictionary::new();
        let (mut packets, mut bytes) = (0, 0);
        for party in call.parties() {
            let of_leg = stats.get(&party.leg).copied().unwrap_or_default();
            packets += of_leg.packets_received;
            bytes += of_leg.bytes_received;
            let others = party.legs().filter(|leg| *leg != party.leg);
            for passing in others.filter_map(|leg| stats.get(&leg)) {
                packets += passing.packets_received;
                bytes += passing.bytes_received;
            }
            let tag = party.tags.first().map(String::as_str).unwrap_or_default();
            tags.push(tag, self.party_report(call, party, stats));
            if let Some(source) = of_leg.source {
                sources.push(&source.to_string(), source_report(&of_leg));
            }
        }
        let rtp = counted(packets, bytes);
        let mut out = Dictionary::new()
            .with("created", created / 1_000_000)
            .with("created_us", created.rem_euclid(1_000_000))
            .with("last signal", self.unix(call.last_signal) / 1_000_000)
            .with("SSRC", sources)
            .with("tags", tags)
            .with("totals", Dictionary::new().with("RTP", rtp).with("RTCP", counted(0, 0)));
        if let Some(file) = call.recorded.as_ref().and_then(|r| r.file.as_deref()) {
            out.push("recording-file", file);
        }
        out
    }

    fn party_report(
        &self,
        call: &Call,
        party: &Party,
        stats: &BTreeMap<LegId, LegStats>,
    ) -> Dictionary {
        let of_leg = stats.get(&party.leg).copied().unwrap_or_default();
        let mut out = Dictionary::new();
        let tag = |p: &Party| p.tags.first().cloned().unwrap_or_default();
        out.push("tag", tag(party));
        if let Some(branch) = &party.branch {
            out.push("via-branch", branch.as_str());
        }
        if let Some(label) = &party.label {
            out.push("label", label.as_str());
        }
        out.push("created", self.unix(party.created) / 1_000_000);
        let partner = party.partner.and_then(|leg| call.party(leg));
        let link = |p: &Party| Dictionary::new().with("tag", tag(p)).with("type", "offer/answer");
        let mut heard: Vec<Value> = partner.iter().map(|p| link(p).into()).collect();
        let mut hearing = heard.clone();
        if let Some(partner) = partner {
            out.push("in dialogue with", tag(partner));
        }
        let one_way = |p: &Party| Dictionary::new().with("tag", tag(p)).with("type", "pub/sub");
        let others = || call.parties().iter().filter(|p| p.leg != party.leg);
        let sources = others().filter(|p| p.legs().any(|leg| party.hears.contains(&leg)));
        heard.extend(sources.map(|p| Value::from(one_way(p))));
        let listeners = others().filter(|p| party.legs().any(|leg| p.hears.contains(&leg)));
        hearing.extend(listeners.map(|p| Value::from(one_way(p))));
        out.push("subscriptions", heard);
        out.push("subscribers", hearing);
        let theirs = |place: Option<usize>| {
            let said = party.said.as_ref()?;
            said.session.media().nth(place?)
        };
        let sound = party.said.as_ref().map(|said| said.index);
        let carried = (of_leg.packets_received, Some(of_leg.bytes_received), of_leg.source);
        let medias =
            party.told.iter().map(|told| media_report(party, told, theirs(sound), carried));
        let place = party.said.as_ref().and_then(|said| said.video);
        let carried = (of_leg.video.map_or(0, |video| video.packets_received), None, None);
        let video =
            party.told_video.iter().map(|told| media_report(party, told, theirs(place), carried));
        let more = party.more.iter().filter_map(|(place, more)| {
            let of_leg = stats.get(&more.leg).copied().unwrap_or_default();
            let carried = (of_leg.packets_received, Some(of_leg.bytes_received), of_leg.source);
            Some(media_report(party, more.told.as_ref()?, theirs(Some(*place)), carried))
        });
        let numbered = medias.chain(more).chain(video).zip(1_i64..);
        let medias: Vec<Value> = numbered.map(|(m, n)| m.with("index", n).into()).collect();
        out.push("medias", medias);
        out
    }

    pub(super) fn list(&self, request: &Dictionary) -> Dictionary {
        let limit = request.integer("limit").unwrap_or(DEFAULT_LIMIT);
        let Ok(limit) = usize::try_from(limit) else { return refusal(reason::BAD_LIMIT) };
        let calls = self.calls.keys().take(limit.min(MAX_LISTED));
        let calls: Vec<Value> = calls.map(|id| Value::from(&**id)).collect();
        Dictionary::new().with("calls", calls).with("result", "ok")
    }

    pub(super) fn statistics(&self, now: Instant) -> Dictionary {
        let counters = self.counters();
        let current = Dictionary::new()
            .with("sessionsown", counters.calls)
            .with("sessionsforeign", 0_i64)
            .with("sessionstotal", counters.calls)
            .with("transcodedmedia", 0_i64);
        let timed_out = counters.calls_timed_out;
        let ended = counters.calls_started.saturating_sub(counters.calls + timed_out);
        let uptime = now.saturating_duration_since(self.config.clock.set_at()).as_secs();
        let total = Dictionary::new()
            .with("uptime", uptime.to_string())
            .with("managedsessions", counters.calls_started)
            .with("rejectedsessions", 0_i64)
            .with("timeoutsessions", timed_out)
            .with("silenttimeoutsessions", 0_i64)
            .with("finaltimeoutsessions", 0_i64)
            .with("offertimeoutsessions", 0_i64)
            .with("regularterminatedsessions", ended)
            .with("forcedterminatedsessions", 0_i64)
            .with("relayedpackets", counters.packets)
            .with("relayedpackets_user", counters.packets)
            .with("relayedbytes", counters.bytes)
            .with("relayedpacketerrors", 0_i64);
        let mut control = Dictionary::new();
        for (command, count) in Counters::COMMANDS.iter().zip(counters.requests) {
            control.push(&format!("{}count", command.replace(' ', "")), count);
        }
        control.push("errorcount", counters.errors);
        control.push("duplicatecount", counters.repeats);
        let score = |hundredths: u64| format!("{}.{:02}", hundredths / 100, hundredths % 100);
        let average = counters.mos_sum.checked_div(counters.rated).unwrap_or(0);
        let mos = Dictionary::new()
            .with("mos_total", score(counters.mos_sum))
            .with("mos_samples_total", counters.rated)
            .with("mos_average", score(average));
        let interface = |(name, place): &(String, Place)| {
            Dictionary::new().with("name", name.as_str()).with("address", place.bind.to_string())
        };
        let interfaces: Vec<Value> =
            self.config.interfaces.iter().map(|i| interface(i).into()).collect();
        let statistics = Dictionary::new()
            .with("currentstatistics", current)
            .with("totalstatistics", total)
            .with("intervalstatistics", Dictionary::new())
            .with("mos", mos)
            .with("controlstatistics", Dictionary::new().with("totals", control))
            .with("interfaces", interfaces)
            .with("transcoders", Vec::<Value>::new());
        Dictionary::new().with("statistics", statistics).with("result", "ok")
    }
}

fn counted(packets: u64, bytes: u64) -> Dictionary {
    Dictionary::new().with("packets", packets).with("bytes", bytes).with("errors", 0_i64)
}

/// `carried` is packets, bytes and the source that came.
fn media_report(
    party: &Party,
    told: &Media,
    theirs: Option<Media>,
    carried: (u64, Option<u64>, Option<u32>),
) -> Dictionary {
    let (packets, bytes, source) = carried;
    let carried_stats = match bytes {
        Some(bytes) => counted(packets, bytes),
        None => Dictionary::new().with("packets", packets).with("errors", 0_i64),
    };
    let mut flags = vec!["initialized"];
    if told.direction.sends() {
        flags.push("send");
    }
    if told.direction.receives() {
        flags.push("recv");
    }
    if told.rtcp_mux {
        flags.push("rtcp-mux");
    }
    match party.profile {
        _ if told.ice_ufrag.is_some() => flags.extend(["DTLS-SRTP", "ICE"]),
        _ if !told.fingerprints.is_empty() => flags.push("DTLS-SRTP"),
        Profile::WebRtc | Profile::Rtp(_) if !told.cryptos.is_empty() => flags.push("SDES"),
        Profile::WebRtc | Profile::Rtp(_) => {}
    }
    let words = |list: &[&str]| -> Vec<Value> { list.iter().map(|w| Value::from(*w)).collect() };
    let address = told.address.map(|a| a.to_string()).unwrap_or_default();
    let family = |is_v4: bool| if is_v4 { "IPv4" } else { "IPv6" };
    let mut stream = Dictionary::new()
        .with("local port", i64::from(told.port))
        .with("local address", address)
        .with("family", family(told.address.is_none_or(|a| a.is_ipv4())));
    if let Some((address, port)) = theirs.as_ref().and_then(|m| Some((m.address?, m.port))) {
        let endpoint = Dictionary::new()
            .with("family", family(address.is_ipv4()))
            .with("address", address.to_string())
            .with("port", i64::from(port));
        stream.push("endpoint", endpoint.clone());
        stream.push("advertised endpoint", endpoint);
    }
    if let Some(source) = source {
        stream.push("SSRC", i64::from(source));
    }
    stream.push("flags", words(&["RTP", "filled"]));
    stream.push("stats", carried_stats);
    let codec = theirs.as_ref().and_then(|m| m.codecs.first());
    let mut out = Dictionary::new()
        .with("type", told.kind.as_str())
        .with("protocol", told.protocol.as_str())
        .with("streams", vec![Value::from(stream)])
        .with("flags", words(&flags));
    if let Some(codec) = codec {
        out.push("codec", format!("{}/{}", codec.name, codec.clock_rate));
    }
    out
}

/// What a source sent and how it was, as far as its listener can tell.
fn source_report(stats: &LegStats) -> Dictionary {
    let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    let mut out = Dictionary::new()
        .with("bytes", stats.bytes_received)
        .with("packets", stats.packets_received)
        .with("cumulative loss", stats.packets_lost);
    let sent = stats.packets_received + stats.packets_lost;
    let loss = (stats.packets_lost * 100).checked_div(sent).unwrap_or(0);
    let mut quality = |name: &str, mos: Option<crosspoint_media::emodel::Mos>| {
        if let Some(mos) = mos {
            // In tenths, as proxies expect it.
            let report = Dictionary::new()
                .with("MOS", i64::from(mos.hundredths() / 10))
                .with("round-trip time", millis(stats.round_trip.unwrap_or_default()) * 1000)
                .with("jitter", millis(stats.jitter))
                .with("packet loss", loss)
                .with("samples", 1_i64);
            out.push(name, report);
        }
    };
    quality("average MOS", stats.mos);
    quality("lowest MOS", stats.mos_lowest);
    out
}

/// How long ports stay with a call that was deleted: the last packets are still under way.
const DELETE_DELAY: Duration = Duration::from_secs(30);
const MAX_DELAY: u64 = 3600;
const DEFAULT_LIMIT: i64 = 32;
/// What fits a datagram, with ids of the usual length.
const MAX_LISTED: usize = 1000;
