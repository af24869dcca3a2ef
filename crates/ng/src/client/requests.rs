//! Requests under way: what was asked, when it is asked again, and what the flags are.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crosspoint_base::LegId;
use crosspoint_media::control::{Event, Laid, LaidSound, LegStats, Profile, SdpKind, SrtpPolicy};
use crosspoint_media::emodel::Mos;
use crosspoint_sdp::Session;

use super::Client;
use crate::dictionary::{Dictionary, Format, Value};
use crate::framing::split;
use crate::{CLIENT, CROSSPOINT};

/// What a request was for.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    Ping,
    Describe {
        leg: LegId,
        kind: SdpKind,
        call: u64,
        attempt: usize,
    },
    Delete {
        legs: Vec<LegId>,
    },
    Figures {
        call: u64,
    },
    Recording {
        ticket: u64,
    },
    /// An answer to what was offered in the name of a party that is in the call already, and that
    /// is told nothing of it.
    Join {
        leg: LegId,
        call: u64,
    },
    /// Whose reply changes nothing.
    Other,
}

/// A datagram to a server, and the leg that it is about.
pub(super) type Sending = (usize, Option<LegId>, Vec<u8>);

/// Every request that waits for its reply, by cookie.
///
/// Of a call one at a time is under way: a server may work on several at once, as rtpengine does,
/// and come to the answer before the offer.
#[derive(Debug)]
pub(super) struct Waiting {
    host: String,
    count: u64,
    requests: BTreeMap<Vec<u8>, Request>,
    /// Cookies by server and call, in order; the first of each is under way.
    queues: BTreeMap<(usize, String), VecDeque<Vec<u8>>>,
}

#[derive(Debug)]
struct Request {
    server: usize,
    call: Option<String>,
    /// One of the call that it is about.
    leg: Option<LegId>,
    ask: Ask,
    bytes: Vec<u8>,
    /// When it is sent again; `None` while others of its call go first.
    again: Option<Instant>,
    sends: u32,
}

impl Request {
    fn is_due(&self, now: Instant) -> bool {
        self.again.is_some_and(|again| again <= now)
    }

    fn send(&mut self, now: Instant) -> Sending {
        self.sends += 1;
        self.again = Some(now + TIMEOUT);
        (self.server, self.leg, self.bytes.clone())
    }
}

impl Waiting {
    pub(super) fn new(host: String) -> Self {
        Self { host, count: 0, requests: BTreeMap::new(), queues: BTreeMap::new() }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.requests.values().filter_map(|r| r.again).min()
    }

    /// What is to be sent now, if nothing else of the call is under way.
    #[must_use]
    pub(super) fn begin(
        &mut self,
        now: Instant,
        (server, leg): (usize, Option<LegId>),
        ask: Ask,
        request: &Dictionary,
    ) -> Option<Sending> {
        self.count += 1;
        let cookie = format!("{}_{}", self.host, self.count).into_bytes();
        let bytes = [&cookie[..], b" ", &request.encode(Format::Bencode)].concat();
        let call = request.text("call-id");
        let mut waiting = Request { server, call, leg, ask, bytes, again: None, sends: 0 };
        let mut place = 0;
        if let Some(call) = &waiting.call {
            let queue = self.queues.entry((server, call.clone())).or_default();
            place = queue.len();
            if place >= MAX_QUEUED && matches!(waiting.ask, Ask::Other | Ask::Figures { .. }) {
                return None;
            }
            queue.push_back(cookie.clone());
        }
        let sending = (place == 0).then(|| waiting.send(now));
        self.requests.insert(cookie, waiting);
        sending
    }

    #[must_use]
    pub(super) fn begin_ping(&mut self, now: Instant, server: usize) -> Option<Sending> {
        let ping = Dictionary::new().with("command", "ping").with(CLIENT, CROSSPOINT);
        self.begin(now, (server, None), Ask::Ping, &ping)
    }

    /// The same bytes again, for what was not answered in time.
    pub(super) fn repeats(&mut self, now: Instant) -> Vec<Sending> {
        let is_again = |request: &&mut Request| request.is_due(now) && request.sends < MAX_SENDS;
        self.requests.values_mut().filter(is_again).map(|request| request.send(now)).collect()
    }

    /// A request that was sent often enough. Those behind it are not worth a try.
    pub(super) fn expired(&mut self, now: Instant) -> Option<(usize, Ask)> {
        let found = self.requests.iter().find(|(_, request)| request.is_due(now));
        let cookie = found.map(|(cookie, _)| cookie.clone())?;
        let request = self.requests.remove(&cookie)?;
        for behind in self.leave(&request, &cookie) {
            if let Some(request) = self.requests.get_mut(&behind) {
                (request.again, request.sends) = (Some(now), MAX_SENDS);
            }
        }
        Some((request.server, request.ask))
    }

    /// The request that a reply belongs to, and what is sent now that it is done; only the server
    /// that was asked can answer it.
    pub(super) fn finish(
        &mut self,
        now: Instant,
        server: usize,
        bytes: &[u8],
    ) -> Option<(Option<LegId>, Ask, Dictionary, Option<Sending>)> {
        let (cookie, body) = split(bytes)?;
        self.requests.get(cookie).filter(|r| r.server == server && r.again.is_some())?;
        let (reply, _) = Dictionary::decode(body).ok()?;
        let request = self.requests.remove(cookie)?;
        let next = self.leave(&request, cookie).into_iter().next();
        let next = next.and_then(|cookie| self.requests.get_mut(&cookie));
        let sending = next.map(|request| request.send(now));
        Some((request.leg, request.ask, reply, sending))
    }

    /// Those of its call that waited behind it, in order.
    fn leave(&mut self, request: &Request, cookie: &[u8]) -> Vec<Vec<u8>> {
        let Some(call) = &request.call else { return vec![] };
        let key = (request.server, call.clone());
        let Some(queue) = self.queues.get_mut(&key) else { return vec![] };
        queue.retain(|other| other != cookie);
        let behind = queue.iter().cloned().collect();
        if queue.is_empty() {
            self.queues.remove(&key);
        }
        behind
    }
}

impl Client {
    /// `offer` or `answer` for what `leg` is to be told of `peer`; false when there is nothing.
    pub(super) fn ask_description(
        &mut self,
        now: Instant,
        leg: LegId,
        kind: SdpKind,
        peer: LegId,
        call: u64,
        attempt: usize,
    ) -> bool {
        self.ask_for(now, (leg, kind, peer), call, Ask::Describe { leg, kind, call, attempt })
    }

    /// The answer of a leg that was offered what `leg` said in the call before, of which it is told
    /// nothing; false when there is none.
    pub(super) fn ask_to_join(&mut self, now: Instant, leg: LegId, new: LegId, call: u64) -> bool {
        self.ask_for(now, (leg, SdpKind::Answer, new), call, Ask::Join { leg, call })
    }

    fn ask_for(
        &mut self,
        now: Instant,
        (leg, kind, peer): (LegId, SdpKind, LegId),
        call: u64,
        ask: Ask,
    ) -> bool {
        let Some(state) = self.legs.get(&leg) else { return false };
        let Some(other) = self.legs.get(&peer) else { return false };
        let Some((said, description, at)) = &other.said else { return false };
        let asked_at = state.said.as_ref().map_or(0, |(_, _, at)| *at);
        // What the peer said before it heard the offer is no answer to it.
        if kind == SdpKind::Answer && *at < asked_at {
            return false;
        }
        let Some(remote) = self.calls.get(&call) else { return false };
        let mut sdp = without_sources(&description.to_string(), state.profile);
        // Who was answered once goes on with that, whoever else comes to hear it.
        if let Some(told) = other.told.as_ref().filter(|_| *said == SdpKind::Offer)
            && (other.is_answered && !state.is_named)
        {
            sdp = within(&sdp, told);
        }
        let mut request = Dictionary::new()
            .with("command", if kind == SdpKind::Offer { "offer" } else { "answer" })
            .with("call-id", remote.id.as_str())
            .with("sdp", sdp)
            .with("replace", words(&["origin"]))
            .with("supports", words(&["load limit"]));
        for (key, value) in flags(state.profile, kind, state.restarts_ice) {
            request.push(key, value);
        }
        // In both the offerer comes first.
        match kind {
            SdpKind::Offer => {
                request.push("from-tag", other.tag.as_str());
                if state.is_named {
                    request.push("to-tag", state.tag.as_str());
                } else {
                    request.push("via-branch", state.tag.as_str());
                }
            }
            SdpKind::Answer => {
                request.push("from-tag", state.tag.as_str());
                request.push("to-tag", other.tag.as_str());
                if !other.is_named {
                    request.push("via-branch", other.tag.as_str());
                }
            }
        }
        let server = remote.server;
        if let Some(address) = self.dtmf_log.get(&server) {
            request.push("DTMF-log-dest", address.to_string());
        }
        if let Some(state) = self.legs.get_mut(&leg).filter(|_| kind == SdpKind::Offer) {
            state.restarts_ice = false;
        }
        if kind == SdpKind::Answer {
            for leg in [leg, peer] {
                if let Some(state) = self.legs.get_mut(&leg) {
                    state.is_named = true;
                }
            }
        }
        // Who looks on may not know yet whom an offer is for.
        let about = Some(if kind == SdpKind::Offer { peer } else { leg });
        let sending = self.waiting.begin(now, (server, about), ask, &request);
        self.send(sending);
        true
    }

    pub(super) fn play_digit(
        &mut self,
        now: Instant,
        call: u64,
        leg: LegId,
        digit: char,
        duration: Duration,
    ) {
        let Some(remote) = self.calls.get(&call) else { return };
        // The digit is played in the place of who is heard by this leg.
        let speaker = remote.partner(leg);
        let Some(tag) = speaker.and_then(|l| self.legs.get(&l)).map(|l| l.tag.clone()) else {
            return;
        };
        let millis = i64::try_from(duration.as_millis()).unwrap_or(250);
        let request = Dictionary::new()
            .with("command", "play DTMF")
            .with("call-id", remote.id.as_str())
            .with("from-tag", tag)
            .with("code", digit.to_string())
            .with("duration", millis);
        let server = remote.server;
        let sending = self.waiting.begin(now, (server, Some(leg)), Ask::Other, &request);
        self.send(sending);
    }

    /// Has who this leg leads to hear that the call is recorded.
    pub(super) fn play_notice(&mut self, now: Instant, call: u64, leg: LegId, laid: Option<&Laid>) {
        let Some(LaidSound::Clip { clip, .. }) = laid.map(|laid| &laid.sound) else { return };
        let (Some(remote), Some(state)) = (self.calls.get(&call), self.legs.get(&leg)) else {
            return;
        };
        let request = Dictionary::new()
            .with("command", "play media")
            .with("call-id", remote.id.as_str())
            .with("from-tag", state.tag.as_str())
            .with("blob", Value::Text(clip.to_wav()));
        let server = remote.server;
        // Of no leg: on a ladder there would be the same sound again and again.
        let sending = self.waiting.begin(now, (server, None), Ask::Other, &request);
        self.send(sending);
    }

    /// One branch ends while others go on.
    pub(super) fn drop_fork(&mut self, now: Instant, number: u64, leg: LegId) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.legs.retain(|other| *other != leg);
        call.closed.retain(|other| *other != leg);
        let front = call.legs.first().copied();
        let (id, server) = (call.id.clone(), call.server);
        let front = front.and_then(|leg| self.legs.get(&leg)).map(|leg| leg.tag.clone());
        let Some((state, front)) = self.legs.get(&leg).zip(front) else {
            self.legs.remove(&leg);
            return self.closed(leg, LegStats::default());
        };
        let mut request = Dictionary::new()
            .with("command", "delete")
            .with("call-id", id)
            .with("from-tag", front)
            .with("delete delay", 0_i64);
        request.push(if state.is_named { "to-tag" } else { "via-branch" }, state.tag.as_str());
        // Who was in the call has figures, which come with the reply.
        let ask = if state.is_named { Ask::Delete { legs: vec![leg] } } else { Ask::Other };
        if !state.is_named {
            self.legs.remove(&leg);
            self.closed(leg, LegStats::default());
        }
        let sending = self.waiting.begin(now, (server, Some(leg)), ask, &request);
        self.send(sending);
    }

    fn closed(&mut self, leg: LegId, stats: LegStats) {
        self.carried(leg, None);
        self.event(Event::Closed { leg, stats });
    }

    pub(super) fn delete(&mut self, now: Instant, number: u64) {
        let Some(call) = self.calls.remove(&number) else { return };
        let mut request = Dictionary::new()
            .with("command", "delete")
            .with("call-id", call.id)
            .with("delete delay", 0_i64);
        // Interop: rtpengine 10.5 gives no figures when no tag is named, and when one is keeps
        // parties that are not in a dialogue with that one, so those that we took from it.
        let named = if call.is_fetched_from { &[] } else { call.legs.as_slice() };
        let mut states = named.iter().filter_map(|leg| self.legs.get(leg));
        if let Some(state) = states.find(|state| state.said.is_some()) {
            request.push("from-tag", state.tag.as_str());
        }
        if !self.pool.is_healthy(call.server) {
            // Nobody is there to tell figures.
            return self.deleted(&call.legs, &Dictionary::new());
        }
        let leg = call.legs.first().copied();
        let ask = Ask::Delete { legs: call.legs };
        let sending = self.waiting.begin(now, (call.server, leg), ask, &request);
        self.send(sending);
    }

    /// The figures of a call that is gone.
    pub(super) fn deleted(&mut self, legs: &[LegId], reply: &Dictionary) {
        for leg in legs {
            let Some(state) = self.legs.remove(leg) else { continue };
            let stats = state.watch.complete(stats(reply, &state.tag));
            self.closed(*leg, stats);
        }
    }
}

/// What a party sent, as `delete` tells it.
pub(super) fn stats(reply: &Dictionary, tag: &str) -> LegStats {
    let tags = reply.dictionary("tags");
    let of_tag = |tag: &str| {
        let party = tags?.entries().find(|(key, _)| *key == tag.as_bytes());
        match party {
            Some((_, Value::Dictionary(party))) => Some(party),
            _ => None,
        }
    };
    let counted = |party: &Dictionary| {
        let (mut packets, mut bytes, mut source) = (0, 0, None);
        for media in lists(party, "medias") {
            for stream in lists(media, "streams") {
                if let Some(stats) = stream.dictionary("stats") {
                    packets += number(stats, "packets");
                    bytes += number(stats, "bytes");
                }
                source = source.or(stream.integer("ssrc"));
            }
        }
        (packets, bytes, source)
    };
    let (packets_received, bytes_received, source) = of_tag(tag).map(counted).unwrap_or_default();
    let of_source = source.and_then(|ssrc| reply.dictionary("ssrc")?.dictionary(&ssrc.to_string()));
    let graded = |key| of_source.and_then(|s| s.dictionary(key));
    // In tenths.
    let mos = |key| {
        let tenths = graded(key)?.integer("mos").and_then(|n| u16::try_from(n).ok())?;
        Some(Mos::from_hundredths(tenths.saturating_mul(10)))
    };
    let average = graded("average-mos");
    let average = |key| average.map(|a| number(a, key)).filter(|n| *n > 0);
    LegStats {
        packets_received,
        bytes_received,
        packets_lost: of_source.map_or(0, |s| number(s, "cumulative-loss")),
        source: source.and_then(|ssrc| u32::try_from(ssrc).ok()),
        mos: mos("average-mos"),
        mos_lowest: mos("lowest-mos"),
        jitter: average("jitter").map(Duration::from_millis).unwrap_or_default(),
        round_trip: average("round-trip-time").map(Duration::from_micros),
        ..LegStats::default()
    }
}

/// A description without the sources of its sound: where a server plays digits it sends with one
/// of its own, and a browser that was told another hears nothing of it.
///
/// A browser is not told of fax or text either.
fn without_sources(description: &str, to: Profile) -> String {
    let mut is_sound = false;
    let mut out = String::with_capacity(description.len());
    for line in description.lines() {
        if line.starts_with("m=") {
            is_sound = line.starts_with("m=audio");
        }
        let is_for_phones = line.starts_with("m=image ") || line.starts_with("m=text ");
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.nth(1)) {
            (Some(kind), Some(rest)) if is_for_phones && to == Profile::WebRtc => {
                out.extend([kind, " 0 ", rest, "\r\n"]);
            }
            _ if is_sound && line.starts_with("a=ssrc") => {}
            _ => out.extend([line, "\r\n"]),
        }
    }
    out
}

/// A description with no other formats than those that were agreed on.
fn within(description: &str, agreed: &Session) -> String {
    let mut sections = agreed.sections().iter();
    let mut formats: &[String] = &[];
    let mut out = String::with_capacity(description.len());
    let is_of = |line: &str, formats: &[String]| {
        let kinds = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"];
        let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind));
        let format = rest.and_then(|rest| rest.split(' ').next());
        format.is_none_or(|format| format == "*" || formats.iter().any(|f| f == format))
    };
    for line in description.lines() {
        let Some(media) = line.strip_prefix("m=") else {
            if formats.is_empty() || is_of(line, formats) {
                out.extend([line, "\r\n"]);
            }
            continue;
        };
        formats = sections.next().filter(|m| !m.is_rejected()).map_or(&[], |m| &m.formats);
        let words: Vec<&str> = media.split(' ').collect();
        let (head, listed) = words.split_at(words.len().min(3));
        let both: Vec<&str> =
            listed.iter().copied().filter(|f| formats.iter().any(|a| a == f)).collect();
        if both.is_empty() {
            formats = &[];
        }
        let kept = if both.is_empty() { listed } else { &both };
        out.extend(["m=", &[head, kept].concat().join(" "), "\r\n"]);
    }
    out
}

fn lists<'d>(dictionary: &'d Dictionary, key: &str) -> impl Iterator<Item = &'d Dictionary> {
    let list = match dictionary.find(key) {
        Some(Value::List(list)) => list.as_slice(),
        _ => &[],
    };
    list.iter().filter_map(|value| match value {
        Value::Dictionary(dictionary) => Some(dictionary),
        _ => None,
    })
}

fn number(dictionary: &Dictionary, key: &str) -> u64 {
    dictionary.integer(key).and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

/// What a leg of this kind is to be offered; an answer keeps what its receiver offered.
fn flags(profile: Profile, kind: SdpKind, restarts_ice: bool) -> Vec<(&'static str, Value)> {
    let is_offer = kind == SdpKind::Offer;
    // Interop: rtpengine plays digits only into streams that it was told so of.
    let mut list = vec!["inject-DTMF"];
    let mut flags = match profile {
        Profile::WebRtc => {
            let mut flags = vec![
                ("ICE", "force".into()),
                ("SDES", words(&["off"])),
                ("rtcp-mux", words(&["require"])),
            ];
            if is_offer {
                flags.push(("transport-protocol", "UDP/TLS/RTP/SAVPF".into()));
                list.push("generate-mid");
            }
            if restarts_ice {
                list.push("restart-ICE");
            }
            flags
        }
        Profile::Rtp(policy) => {
            let mut flags = vec![("ICE", "remove".into())];
            if is_offer {
                let protocol = if policy == SrtpPolicy::Required { "RTP/SAVP" } else { "RTP/AVP" };
                flags.push(("transport-protocol", protocol.into()));
                flags.push(("DTLS", "off".into()));
                flags.push(("rtcp-mux", words(&["demux"])));
            }
            match policy {
                SrtpPolicy::Off if is_offer => flags.push(("SDES", words(&["off"]))),
                SrtpPolicy::Optional if is_offer => flags.push(("OSRTP", words(&["offer"]))),
                SrtpPolicy::Off
                | SrtpPolicy::Optional
                | SrtpPolicy::Required
                | SrtpPolicy::Dtls => {}
            }
            flags
        }
    };
    flags.push(("flags", words(&list)));
    flags
}

fn words(list: &[&str]) -> Value {
    Value::List(list.iter().map(|word| Value::from(*word)).collect())
}

/// A server answers within milliseconds; one that is asked four times is gone.
const TIMEOUT: Duration = Duration::from_millis(500);
const MAX_SENDS: u32 = 4;
/// Requests of a call that wait for one another; behind them digits and figures are left out.
const MAX_QUEUED: usize = 32;
