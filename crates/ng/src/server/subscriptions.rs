//! Parties that only listen (`subscribe request`), that only speak (`publish`), and parties that
//! are joined without an offer of the one going to the other (`connect`).
//!
//! Who listens has a leg for each party that it hears, and so a section in its description.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::LegId;
use crosspoint_media::control::{Command, Refusal, SdpKind};
use crosspoint_media::negotiation::Manner;
use crosspoint_sdp::{Direction, Media, Origin, Session};

use super::calls::{Call, Party, Said};
use super::exchange::{Exchange, Work, profile, refused, said};
use super::orders::participant;
use super::{Asker, Outcome, Server, ok, overload, refusal};
use crate::dictionary::{Dictionary, Value};
use crate::flags::Flags;
use crate::request::{Names, reason};
use crate::rewrite;

/// A description that is made, or taken, for one party alone.
#[derive(Debug)]
pub(super) struct Lone {
    party: LegId,
    what: What,
    /// What media control described, by leg.
    described: BTreeMap<LegId, Session>,
    refused: Option<Refusal>,
    is_new: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Publish,
    /// Offered to who is to listen: the legs in order, and what proxies call the transport.
    Request {
        legs: Vec<LegId>,
        protocol: Option<String>,
    },
    /// Answered by who listens: whom each of its legs hears.
    Answer(Vec<(LegId, LegId)>),
}

impl Lone {
    /// What media control answered for one of its legs.
    pub(super) fn take(&mut self, leg: LegId, answer: Result<Option<Session>, Refusal>) {
        match answer {
            Ok(Some(description)) => drop(self.described.insert(leg, description)),
            Ok(None) => {}
            Err(refusal) => drop(self.refused.get_or_insert(refusal)),
        }
    }
}

impl<T> Server<T> {
    /// `publish`: a party that speaks, for others to subscribe to.
    pub(super) fn publish(
        &mut self,
        now: Instant,
        asker: &mut Option<Asker<T>>,
        request: &Dictionary,
        names: &Names,
        flags: Flags,
    ) -> Outcome {
        let Some(id) = &names.call else { return Some(refusal(reason::NO_CALL)) };
        let Some(tag) = &names.from else { return Some(refusal(reason::NO_FROM)) };
        let said = match said(request, &flags) {
            Ok(said) if !said.is_raw() => said,
            Ok(_) => return Some(refusal(reason::INCOMPLETE_SDP)),
            Err(reason) => return Some(refusal(reason)),
        };
        let (id, is_new) = match self.call_of(now, id, request) {
            Ok(found) => found,
            Err(reply) => return Some(reply),
        };
        let place = self.place(flags.interfaces().0);
        let Some(leg) = self.offerer(now, &id, tag, &said, place) else {
            return Some(refusal(reason::TOO_MANY_PARTIES));
        };
        let mut formats = rewrite::offered(&said.audio, &flags.codecs);
        // The original takes one, too: subscribers know then what they will hear.
        formats.truncate(1);
        let manner = Manner {
            formats,
            sections: said.session.media().map(|m| Media::refused(&m)).collect(),
            index: said.index,
            rtcp_mux: said.audio.rtcp_mux,
            direction: Direction::RecvOnly,
            ..Manner::default()
        };
        let description = said.session.clone();
        if let Some(call) = self.calls.get_mut(&id) {
            (call.last_signal, call.is_answered) = (now, true);
            if let Some(party) = call.party_mut(leg) {
                party.said = Some(Said { video: None, ..said });
                party.label = flags.label.clone().or(party.label.take());
            }
        }
        let kind = SdpKind::Offer;
        self.command(Command::Manner { leg, manner: Box::new(manner) });
        self.command(Command::Accept { leg, kind, description });
        self.command(Command::Describe { leg, kind: SdpKind::Answer, peer: None });
        self.begin_lone(id, asker, leg, What::Publish, is_new, &[leg, leg]);
        None
    }

    /// The call that is named; a new one if there is none and room for it.
    pub(super) fn call_of(
        &mut self,
        now: Instant,
        id: &str,
        request: &Dictionary,
    ) -> Result<(Arc<str>, bool), Dictionary> {
        if let Some((id, _)) = self.calls.get_key_value(id) {
            return Ok((id.clone(), false));
        }
        if self.calls.len() >= self.config.max_calls {
            return Err(overload(request));
        }
        let id: Arc<str> = id.into();
        self.calls.insert(id.clone(), Call::new(now));
        self.counters.calls_started += 1;
        Ok((id, true))
    }

    /// `subscribe request`: an offer for a party that is to hear others.
    pub(super) fn subscribe(
        &mut self,
        now: Instant,
        asker: &mut Option<Asker<T>>,
        request: &Dictionary,
        names: &Names,
        flags: Flags,
    ) -> Outcome {
        let Some(id) = &names.call else { return Some(refusal(reason::NO_CALL)) };
        let Some((id, call)) = self.calls.get_key_value(id.as_str()) else {
            return Some(refusal(reason::UNKNOWN_CALL_ID));
        };
        let id = id.clone();
        let sources = match heard(call, request, names, &flags) {
            Ok(sources) => sources,
            Err(reason) => return Some(refusal(reason)),
        };
        let known = names.to.as_deref().and_then(|tag| call.tagged(tag));
        if known.is_some_and(|party| party.hears.is_empty()) {
            return Some(refusal(reason::NOT_SUBSCRIBED));
        }
        let known = known.map(|party| party.leg);
        let tag = names.to.clone().unwrap_or_else(|| self.fresh_tag(&id));
        let sounds: Vec<Media> = sources.iter().map(|(_, sound)| sound.clone()).collect();
        let Some(first) = sounds.first() else { return Some(refusal(reason::NO_SOURCE)) };
        let wanted = profile(&flags, first);
        let place = self.place(flags.interfaces().1);
        let Some(leg) = known.or_else(|| self.open(now, &id, wanted, place)) else {
            return Some(refusal(reason::TOO_MANY_PARTIES));
        };
        let mut legs = vec![leg];
        for (section, sound) in sounds.iter().enumerate().skip(1) {
            legs.extend(self.more_leg(&id, leg, section, profile(&flags, sound)));
        }
        let hears: Vec<LegId> = sources.iter().map(|(leg, _)| *leg).collect();
        if let Some(call) = self.calls.get_mut(&id) {
            call.last_signal = now;
            if let Some(party) = call.party_mut(leg) {
                party.add_tag(&tag);
                party.label = flags.label.clone().or(party.label.take());
                party.hears.clone_from(&hears);
            }
        }
        for (place, ((leg, source), sound)) in legs.iter().zip(&hears).zip(&sounds).enumerate() {
            let manner = Manner {
                formats: rewrite::offered(sound, &flags.codecs),
                rtcp_mux: flags.offers_mux().unwrap_or(sound.rtcp_mux),
                direction: Direction::SendOnly,
                mid: Some(place.to_string()),
                ..Manner::default()
            };
            let (leg, peer) = (*leg, Some(*source));
            self.command(Command::Manner { leg, manner: Box::new(manner) });
            self.command(Command::Describe { leg, kind: SdpKind::Offer, peer });
        }
        let protocol = self.offered_protocol(&id, leg, wanted, &flags, first);
        let what = What::Request { legs: legs.clone(), protocol };
        self.begin_lone(id, asker, leg, what, false, &legs);
        None
    }

    /// A tag that nobody has: 64 hexadecimal digits, as the original makes them.
    fn fresh_tag(&self, id: &Arc<str>) -> String {
        let call = self.calls.get(id);
        let is_free = |tag: &String| call.is_none_or(|call| call.tagged(tag).is_none());
        let mut tags = (self.next_leg..).map(|number| format!("{number:064x}"));
        tags.find(is_free).unwrap_or_default()
    }

    /// `subscribe answer`: who listens has answered.
    pub(super) fn subscribed(
        &mut self,
        now: Instant,
        asker: &mut Option<Asker<T>>,
        request: &Dictionary,
        names: &Names,
        flags: &Flags,
    ) -> Outcome {
        let Some(id) = &names.call else { return Some(refusal(reason::NO_CALL)) };
        let Some(tag) = &names.to else { return Some(refusal(reason::NO_TO)) };
        let Some((id, call)) = self.calls.get_key_value(id.as_str()) else {
            return Some(refusal(reason::UNKNOWN_CALL_ID));
        };
        let id = id.clone();
        let said = match said(request, flags) {
            Ok(said) => said,
            Err(reason) => return Some(refusal(reason)),
        };
        let Some(party) = call.tagged(tag) else { return Some(refusal(reason::NO_SUCH_TO)) };
        if party.hears.is_empty() {
            return Some(refusal(reason::NOT_SUBSCRIBED));
        }
        let (leg, hears) = (party.leg, party.hears.clone());
        let legs: Vec<LegId> = party.sounds().collect();
        let sections: Vec<Media> = said.session.media().collect();
        let mut pairs = Vec::new();
        for (place, (own, source)) in legs.iter().zip(hears).enumerate() {
            if sections.get(place).is_none_or(Media::is_rejected) {
                // What it does not want to hear costs nothing.
                self.command(Command::Listen { leg: source, listener: *own, is_on: false });
                continue;
            }
            let (kind, description) = (SdpKind::Answer, said.section(place));
            self.command(Command::Accept { leg: *own, kind, description });
            pairs.push((*own, source));
        }
        if pairs.is_empty() {
            return Some(refusal(reason::INCOMPLETE_SDP));
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.last_signal = now;
            if let Some(party) = call.party_mut(leg) {
                party.said = Some(said);
            }
        }
        let asked: Vec<LegId> = pairs.iter().map(|(own, _)| *own).collect();
        self.begin_lone(id, asker, leg, What::Answer(pairs), false, &asked);
        None
    }

    fn begin_lone(
        &mut self,
        call: Arc<str>,
        asker: &mut Option<Asker<T>>,
        party: LegId,
        what: What,
        is_new: bool,
        asked: &[LegId],
    ) {
        let lone = Lone { party, what, described: BTreeMap::new(), refused: None, is_new };
        let (asker, left, work) = (asker.take(), asked.len(), Work::Lone(lone));
        let number = self.begin(Exchange { asker, call, left, work });
        for leg in asked {
            self.awaited.entry(*leg).or_default().push_back(number);
        }
    }

    /// Media control has answered all of it.
    pub(super) fn lone_done(&mut self, id: &Arc<str>, lone: Lone) -> Dictionary {
        let Lone { party, what, mut described, refused: why, is_new } = lone;
        if let Some(why) = why {
            match what {
                _ if is_new => self.end_call(id),
                What::Publish | What::Answer(_) => {}
                // It has never been told anything.
                What::Request { .. } => self.drop_listener(id, party),
            }
            return refusal(refused(why));
        }
        match what {
            What::Publish => {
                let Some(ours) = described.remove(&party) else { return refusal(reason::NO_PORTS) };
                let tag = self.tag_of(id, party);
                if let Some(party) = self.calls.get_mut(id).and_then(|c| c.party_mut(party)) {
                    let index = party.said.as_ref().map_or(0, |said| said.index);
                    party.told = ours.media().nth(index);
                }
                let reply = Dictionary::new().with("sdp", ours.to_string());
                reply.with("call-id", &**id).with("from-tag", tag).with("result", "ok")
            }
            What::Request { legs, protocol } => {
                let made = legs.iter().filter_map(|leg| described.remove(leg));
                self.offered_to(id, party, &made.collect::<Vec<_>>(), protocol)
            }
            What::Answer(pairs) => {
                for (listener, leg) in pairs {
                    self.command(Command::Listen { leg, listener, is_on: true });
                }
                ok()
            }
        }
    }

    /// One description of all that is to be heard.
    fn offered_to(
        &mut self,
        id: &Arc<str>,
        leg: LegId,
        made: &[Session],
        protocol: Option<String>,
    ) -> Dictionary {
        let mut sections: Vec<Media> = made.iter().filter_map(|s| s.media().next()).collect();
        for section in &mut sections {
            // Each has a way of its own.
            section.is_bundled = false;
            section.protocol = protocol.clone().unwrap_or(section.protocol.clone());
        }
        let Some(first) = sections.first().cloned() else { return refusal(reason::NO_PORTS) };
        let address = first.address.unwrap_or([127, 0, 0, 1].into());
        let (is_lite, version) = (made.iter().any(Session::is_ice_lite), made[0].version());
        let origin = Origin { id: leg.0, version, address };
        let sdp = Session::build(&origin, is_lite, &sections).to_string();
        let tag = self.tag_of(id, leg);
        let Some(call) = self.calls.get_mut(id) else { return refusal(reason::UNKNOWN_CALL_ID) };
        let Some(party) = call.party_mut(leg) else { return refusal(reason::NO_SUCH_TO) };
        party.told = Some(first);
        for (more, section) in party.more.values_mut().zip(sections.into_iter().skip(1)) {
            more.told = Some(section);
        }
        let hears = party.hears.clone();
        let tags = hears.iter().filter_map(|leg| call.owner(*leg)?.tags.first());
        let mut tags: Vec<&String> = tags.collect();
        tags.dedup();
        let mut reply = Dictionary::new().with("sdp", sdp);
        if let [only] = tags[..] {
            reply.push("from-tag", only.as_str());
        }
        let tags: Vec<Value> = tags.iter().map(|tag| Value::from(tag.as_str())).collect();
        reply.with("from-tags", tags).with("to-tag", tag).with("result", "ok")
    }

    fn tag_of(&self, id: &Arc<str>, leg: LegId) -> String {
        let party = self.calls.get(id).and_then(|call| call.party(leg));
        party.and_then(|party| party.tags.first().cloned()).unwrap_or_default()
    }

    /// `unsubscribe`: who listened is gone.
    pub(super) fn unsubscribe(&mut self, names: &Names) -> Dictionary {
        let Some(id) = &names.call else { return refusal(reason::NO_CALL) };
        let Some(tag) = &names.to else { return refusal(reason::NO_TO) };
        let Some((id, call)) = self.calls.get_key_value(id.as_str()) else {
            return refusal(reason::UNKNOWN_CALL_ID);
        };
        let id = id.clone();
        // Who is not there hears nothing, which is what was asked for.
        let Some(party) = call.tagged(tag) else { return ok() };
        if party.hears.is_empty() {
            return refusal(reason::NOT_SUBSCRIBED);
        }
        let leg = party.leg;
        self.drop_listener(&id, leg);
        ok()
    }

    fn drop_listener(&mut self, id: &Arc<str>, leg: LegId) {
        let party = self.calls.get_mut(id).and_then(|call| call.remove(leg));
        party.iter().for_each(|party| self.close_party(party));
    }

    /// `connect`: two parties of a call hear each other from now on, whoever offered to whom.
    pub(super) fn connect(
        &mut self,
        now: Instant,
        request: &Dictionary,
        names: &Names,
    ) -> Dictionary {
        let Some(id) = &names.call else { return refusal(reason::NO_CALL) };
        let Some(from) = &names.from else { return refusal(reason::NO_FROM) };
        let Some(to) = &names.to else { return refusal(reason::NO_TO) };
        let Some((id, call)) = self.calls.get_key_value(id.as_str()) else {
            return refusal(reason::UNKNOWN_CALL_ID);
        };
        if request.text("to-call-id").is_some_and(|other| *other != **id) {
            return refusal(reason::OTHER_CALL);
        }
        let id = id.clone();
        let Some(a) = call.tagged(from).map(|p| p.leg) else {
            return refusal(reason::NO_SUCH_TAG);
        };
        let Some(b) = call.tagged(to).map(|p| p.leg) else { return refusal(reason::NO_SUCH_TO) };
        if a == b {
            return refusal(reason::NO_DIALOGUE);
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.last_signal = now;
            call.join(a, b);
        }
        self.command(Command::Bridge { a, b });
        self.listen(&id);
        self.forward_to_speakers(&id);
        ok()
    }
}

/// Who is to be heard, and what each of them said of its sound.
fn heard(
    call: &Call,
    request: &Dictionary,
    names: &Names,
    flags: &Flags,
) -> Result<Vec<(LegId, Media)>, &'static str> {
    let listed = request.find("from-tags").map(Value::to_words).unwrap_or_default();
    let legs = if listed.is_empty() {
        match participant(call, request, names, flags) {
            Err(reason::NO_PARTY) => return Err(reason::NO_SOURCE),
            found => found?,
        }
    } else {
        let found = listed.iter().map(|tag| call.tagged(tag).map(|party| party.leg));
        found.collect::<Option<Vec<_>>>().ok_or(reason::NO_SUCH_TAG)?
    };
    let is_meant = |party: &&Party| legs.contains(&party.leg) && party.hears.is_empty();
    let mut found: Vec<(LegId, Media)> = Vec::new();
    for party in call.parties().iter().filter(is_meant) {
        let Some(said) = &party.said else { continue };
        let more = party.more.iter().filter(|(_, more)| more.is_used);
        let more = more.filter_map(|(at, more)| Some((more.leg, said.session.media().nth(*at)?)));
        let all = [(party.leg, said.audio.clone())].into_iter().chain(more);
        found.extend(all.filter(|(_, sound)| !sound.is_rejected()));
    }
    found.truncate(MAX_HEARD);
    if found.is_empty() { Err(reason::NO_SOURCE) } else { Ok(found) }
}

/// Each is a section and a leg.
const MAX_HEARD: usize = 8;
