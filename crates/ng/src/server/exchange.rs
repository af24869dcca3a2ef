//! Offers and answers: what one party says goes to the other, through two legs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::LegId;
use crosspoint_media::control::{Candidate, Command, Place, Profile, Refusal, SdpKind, SrtpPolicy};
use crosspoint_media::negotiation::{Format, Manner};
use crosspoint_sdp::fragment::Fragment;
use crosspoint_sdp::{Media, Origin, Session};

use super::calls::{Party, Said};
use super::figures::Figures;
use super::sections::SectionPassing;
use super::sounds::Prompt;
use super::subscriptions::Lone;
use super::{Asker, Outcome, Server, Timer, ok, refusal};
use crate::dictionary::Dictionary;
use crate::flags::{Dtls, Flags, Ice};
use crate::request::{Names, reason};
use crate::rewrite::{self, OwnSection, Rewrite};

/// A request that media control works on.
#[derive(Debug)]
pub(super) struct Exchange<T> {
    pub(super) asker: Option<Asker<T>>,
    pub(super) call: Arc<str>,
    /// Answers that are still to come.
    pub(super) left: usize,
    pub(super) work: Work,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "few exchanges are under way at a time")]
pub(super) enum Work {
    /// Of a description.
    Passing(Passing),
    Figures(Figures),
    /// The host's recorder begins.
    Recording,
    /// The host reads a prompt.
    Prompt(Prompt),
    /// Of one party alone.
    Lone(Lone),
    /// The host looks where a stream is to go.
    Forwarding,
}

/// A description on its way from one leg to another.
#[derive(Debug)]
pub(super) struct Passing {
    pub(super) kind: SdpKind,
    pub(super) from: LegId,
    pub(super) to: LegId,
    pub(super) said: Said,
    pub(super) flags: Flags,
    formats: Vec<Format>,
    pub(super) protocol: Option<String>,
    outcome: Result<Option<Session>, Refusal>,
    /// Those with legs of their own.
    pub(super) sections: Vec<SectionPassing>,
    /// The call began with this offer and ends with its refusal.
    is_new: bool,
}

impl<T> Server<T> {
    pub(super) fn offer(
        &mut self,
        now: Instant,
        asker: &mut Option<Asker<T>>,
        request: &Dictionary,
        names: &Names,
        flags: Flags,
    ) -> Outcome {
        if request.find("sdp").is_none() {
            return Some(refusal(reason::NO_SDP));
        }
        let Names { call: Some(id), from, .. } = names else {
            return Some(refusal(reason::NO_CALL));
        };
        let Some(from) = from else { return Some(refusal(reason::NO_FROM)) };
        if flags.has("fragment") {
            return Some(self.trickle(request, names));
        }
        let said = match said(request, &flags) {
            Ok(said) => said,
            Err(reason) => return Some(refusal(reason)),
        };
        let (id, is_new) = match self.call_of(now, id, request) {
            Ok(found) => found,
            Err(reply) => return Some(reply),
        };
        if is_new {
            self.timers.set(Timer::Unanswered(id.clone()), now + UNANSWERED);
        }
        // A call that was deleted and offers again lives on.
        self.timers.cancel(&Timer::Delete(id.clone()));
        let wanted = profile(&flags, &said.audio);
        let legs = self.offerer(now, &id, from, &said, self.place(flags.interfaces().0)).and_then(
            |sender| {
                let place = self.place(flags.interfaces().1);
                Some((sender, self.called(now, &id, sender, names, wanted, place)?))
            },
        );
        let Some((sender, called)) = legs else { return Some(refusal(reason::TOO_MANY_PARTIES)) };
        if let Some(call) = self.calls.get_mut(&id) {
            call.last_signal = now;
            call.dtmf_log = flags.dtmf_log.or(call.dtmf_log);
            if let Some(party) = call.party_mut(sender) {
                party.said = Some(said.clone());
                party.partner = party.partner.or(Some(called));
                party.label = flags.label.clone().or(party.label.take());
            }
        }
        self.record_as_asked(now, &id, request, &flags);
        self.listen(&id);
        self.forward_to_speakers(&id);
        let formats = rewrite::offered(&said.audio, &flags.codecs);
        let protocol = self.offered_protocol(&id, called, wanted, &flags, &said.audio);
        let mux = flags.offers_mux().unwrap_or(said.audio.rtcp_mux);
        let passing = Passing {
            kind: SdpKind::Offer,
            from: sender,
            to: called,
            said,
            flags,
            formats,
            protocol,
            outcome: Ok(None),
            sections: vec![],
            is_new,
        };
        self.pass(id, asker, passing, mux);
        None
    }

    pub(super) fn answer(
        &mut self,
        now: Instant,
        asker: &mut Option<Asker<T>>,
        request: &Dictionary,
        names: &Names,
        flags: Flags,
    ) -> Outcome {
        if request.find("sdp").is_none() {
            return Some(refusal(reason::NO_SDP));
        }
        let Some(id) = &names.call else { return Some(refusal(reason::NO_CALL)) };
        let Some(from) = &names.from else { return Some(refusal(reason::NO_FROM)) };
        let Some(to) = &names.to else { return Some(refusal(reason::NO_TO)) };
        let said = match said(request, &flags) {
            Ok(said) => said,
            Err(reason) => return Some(refusal(reason)),
        };
        let Some((id, call)) = self.calls.get_key_value(id.as_str()) else {
            return Some(refusal(reason::UNKNOWN_CALL));
        };
        let id = id.clone();
        let Some(offerer) = call.tagged(from) else { return Some(refusal(reason::NO_DIALOGUE)) };
        let offerer_leg = offerer.leg;
        let Some(offered) = offerer.said.clone() else {
            return Some(refusal(reason::NO_DIALOGUE));
        };
        let by_tag = call.tagged(to).filter(|p| p.leg != offerer_leg);
        let branch = names.branch.as_deref();
        let answerer = by_tag.or_else(|| call.called_by(offerer_leg, branch));
        let Some(answerer) = answerer.map(|p| p.leg) else {
            return Some(refusal(reason::NO_DIALOGUE));
        };
        if let Some(call) = self.calls.get_mut(&id) {
            call.last_signal = now;
            call.is_answered = true;
            call.dtmf_log = flags.dtmf_log.or(call.dtmf_log);
            if let Some(party) = call.party_mut(answerer) {
                party.add_tag(to);
                party.said = Some(said.clone());
                party.partner = Some(offerer_leg);
                party.label = flags.label.clone().or(party.label.take());
            }
            if let Some(party) = call.party_mut(offerer_leg) {
                party.partner = Some(answerer);
            }
        }
        self.timers.cancel(&Timer::Unanswered(id.clone()));
        self.record_as_asked(now, &id, request, &flags);
        self.listen(&id);
        self.forward_to_speakers(&id);
        let formats = rewrite::answered(&offered.audio, &said.audio);
        let mux =
            flags.accepts_mux().unwrap_or(said.audio.rtcp_mux || flags.offers_mux().is_some());
        let passing = Passing {
            kind: SdpKind::Answer,
            from: answerer,
            to: offerer_leg,
            said,
            flags,
            formats,
            protocol: None,
            outcome: Ok(None),
            sections: vec![],
            is_new: false,
        };
        self.pass(id, asker, passing, mux);
        None
    }

    /// Gives media control what one party said, and asks what the other is told.
    fn pass(
        &mut self,
        id: Arc<str>,
        asker: &mut Option<Asker<T>>,
        passing: Passing,
        rtcp_mux: bool,
    ) {
        if passing.said.is_raw() {
            return self.pass_sections(id, asker, passing, vec![]);
        }
        let Passing { kind, from, to, said, formats, flags, .. } = &passing;
        let (kind, from, to) = (*kind, *from, *to);
        let sections = said.session.media().map(|m| Media::refused(&m)).collect();
        let manner = Manner {
            formats: formats.clone(),
            sections,
            index: said.index,
            video: said.video,
            rtcp_mux,
            dtls_active: match flags.dtls {
                Some(Dtls::Active) => Some(true),
                Some(Dtls::Passive) => Some(false),
                Some(Dtls::Off) | None => None,
            },
            ..Manner::default()
        };
        let description = said.of_main_leg();
        // What it is answered with is known only when the other side has answered.
        if kind == SdpKind::Offer {
            let (formats, video) = (Format::all_of(&said.audio), said.video);
            let own = Manner { formats, video, ..Manner::default() };
            self.command(Command::Manner { leg: from, manner: Box::new(own) });
        }
        if kind == SdpKind::Offer && flags.has("restart-ice") {
            self.command(Command::RestartIce { leg: to });
        }
        self.command(Command::Accept { leg: from, kind, description });
        self.command(Command::Manner { leg: to, manner: Box::new(manner) });
        self.command(Command::Describe { leg: to, kind, peer: Some(from) });
        if kind == SdpKind::Answer {
            self.command(Command::Bridge { a: to, b: from });
        }
        self.pass_sections(id, asker, passing, vec![from, to]);
    }

    pub(super) fn begin(&mut self, exchange: Exchange<T>) -> u64 {
        self.next_exchange += 1;
        self.exchanges.insert(self.next_exchange, exchange);
        self.next_exchange
    }

    pub(super) fn answered_by_media(
        &mut self,
        now: Instant,
        leg: LegId,
        answer: Result<Option<Session>, Refusal>,
    ) {
        let Some(queue) = self.awaited.get_mut(&leg) else { return };
        let number = queue.pop_front();
        if queue.is_empty() {
            self.awaited.remove(&leg);
        }
        let Some(number) = number else { return };
        let Some(exchange) = self.exchanges.get_mut(&number) else { return };
        exchange.left = exchange.left.saturating_sub(1);
        let is_over = exchange.left == 0;
        if let Work::Lone(lone) = &mut exchange.work {
            lone.take(leg, answer);
            return self.end_exchange(now, number, is_over);
        }
        if let Work::Passing(passing) = &mut exchange.work {
            let is_its = |its: &&mut SectionPassing| its.from == leg || its.to == leg;
            if let Some(its) = passing.sections.iter_mut().find(is_its) {
                // What cannot be passed on is refused by itself.
                let told = answer.ok().flatten().and_then(|session| session.media().next());
                its.told = told.or(its.told.take());
                return self.end_exchange(now, number, is_over);
            }
            match answer {
                // The first refusal is the cause of others.
                Err(refusal) if passing.outcome.is_ok() => passing.outcome = Err(refusal),
                Ok(Some(description)) if passing.outcome.is_ok() => {
                    passing.outcome = Ok(Some(description));
                }
                Ok(_) | Err(_) => {}
            }
        }
        self.end_exchange(now, number, is_over);
    }

    fn end_exchange(&mut self, now: Instant, number: u64, is_over: bool) {
        if is_over && let Some(exchange) = self.exchanges.remove(&number) {
            self.conclude(now, exchange);
        }
    }

    pub(super) fn conclude(&mut self, now: Instant, exchange: Exchange<T>) {
        let Exchange { mut asker, call, work, .. } = exchange;
        let reply = match work {
            Work::Passing(passing) => self.passed(&call, &passing),
            Work::Figures(figures) => self.figured(now, &call, figures),
            Work::Lone(lone) => self.lone_done(&call, lone),
            // Those end by themselves.
            Work::Recording | Work::Prompt(_) | Work::Forwarding => return,
        };
        self.reply(&mut asker, reply);
    }

    fn passed(&mut self, id: &Arc<str>, passing: &Passing) -> Dictionary {
        let own =
            passing.sections.iter().filter_map(|its| Some((its.place, its, its.told.as_ref()?)));
        let own: BTreeMap<usize, OwnSection<'_>> = own
            .map(|(place, its, told)| {
                let sound = its.sound.as_ref();
                let sound = sound.map(|s| (s.formats.as_slice(), s.protocol.as_deref()));
                (place, OwnSection { told, sound })
            })
            .collect();
        let alone = Session::build(&Origin { id: 0, version: 0, address: UNUSED }, false, &[]);
        let ours = match &passing.outcome {
            Ok(Some(ours)) => ours,
            Ok(None) if !own.is_empty() => &alone,
            Ok(None) => {
                // No port was to be had for the only section.
                if passing.is_new {
                    self.end_call(id);
                }
                return refusal(reason::NO_PORTS);
            }
            Err(why) => {
                if passing.is_new {
                    self.end_call(id);
                }
                return refusal(refused(*why));
            }
        };
        if let Some(party) = self.calls.get_mut(id).and_then(|c| c.party_mut(passing.to)) {
            party.told = ours.media().nth(passing.said.index).or(party.told.take());
            party.lost.clear();
            let video = passing.said.video.and_then(|place| ours.media().nth(place));
            party.told_video = video.filter(|video| video.port != 0);
            for its in &passing.sections {
                if let Some(more) = party.more.get_mut(&its.place).filter(|m| m.leg == its.to) {
                    more.told = its.told.clone().or(more.told.take());
                }
            }
        }
        let rewrite = Rewrite {
            source: &passing.said.text,
            ours,
            index: passing.said.index,
            formats: &passing.formats,
            flags: &passing.flags,
            protocol: passing.protocol.as_deref(),
            own: &own,
        };
        Dictionary::new().with("sdp", rewrite.print()).with("result", "ok")
    }

    /// The leg of who sends an offer.
    pub(super) fn offerer(
        &mut self,
        now: Instant,
        id: &Arc<str>,
        tag: &str,
        said: &Said,
        place: Option<Place>,
    ) -> Option<LegId> {
        if let Some(party) = self.calls.get(id)?.tagged(tag) {
            return Some(party.leg);
        }
        let leg = self.open(now, id, own_profile(&said.audio), place)?;
        self.calls.get_mut(id)?.party_mut(leg)?.add_tag(tag);
        Some(leg)
    }

    /// The leg of who is to get an offer: the one with the tag, the fork that has no tag yet, or
    /// a new one.
    fn called(
        &mut self,
        now: Instant,
        id: &Arc<str>,
        sender: LegId,
        names: &Names,
        wanted: Profile,
        place: Option<Place>,
    ) -> Option<LegId> {
        let call = self.calls.get(id)?;
        let branch = names.branch.as_deref();
        let tagged = names.to.as_deref().and_then(|to| call.tagged(to));
        let found = tagged.filter(|p| p.leg != sender).or_else(|| call.unnamed(sender, branch));
        let found = found.map(|p| (p.leg, p.profile, p.said.is_some()));
        let leg = match found {
            Some((leg, profile, has_answered)) if has_answered || profile == wanted => leg,
            Some((leg, ..)) => {
                // It refused the first way and is asked in another: nothing was agreed yet.
                let new = self.open(now, id, wanted, place)?;
                let party = self.calls.get_mut(id)?.remove(leg);
                party.iter().for_each(|party| self.close_party(party));
                self.listen(id);
                new
            }
            None => self.open(now, id, wanted, place)?,
        };
        let party = self.calls.get_mut(id)?.party_mut(leg)?;
        if let Some(tag) = &names.to {
            party.add_tag(tag);
        }
        party.partner = Some(sender);
        party.branch = names.branch.clone().or(party.branch.take());
        Some(leg)
    }

    /// The interface of this name, or the first.
    pub(super) fn place(&self, name: Option<&str>) -> Option<Place> {
        let all = &self.config.interfaces;
        let named = name.and_then(|name| all.iter().find(|(known, _)| known == name));
        named.or(all.first()).map(|(_, place)| *place)
    }

    pub(super) fn open(
        &mut self,
        now: Instant,
        id: &Arc<str>,
        profile: Profile,
        place: Option<Place>,
    ) -> Option<LegId> {
        let call = self.calls.get_mut(id)?;
        if !call.has_room() {
            return None;
        }
        self.next_leg += 1;
        let leg = LegId(self.next_leg);
        call.add(Party { place, ..Party::new(leg, now, profile) });
        self.legs.insert(leg, id.clone());
        self.command(Command::Open { leg, profile });
        if let Some(place) = place {
            self.command(Command::Settle { leg, place });
        }
        Some(leg)
    }

    /// What the section's profile is called in an offer: as asked, as the other side calls it
    /// where that is no lie, or as the leg does.
    pub(super) fn offered_protocol(
        &self,
        id: &Arc<str>,
        called: LegId,
        wanted: Profile,
        flags: &Flags,
        source: &Media,
    ) -> Option<String> {
        let agreed = self.calls.get(id)?.party(called)?.said.as_ref().map(|s| &s.audio);
        if let Some(agreed) = agreed {
            return Some(agreed.protocol.clone());
        }
        let is_secure = |protocol: &str| protocol.contains("SAVP");
        let is_fitting = |protocol: &&String| match wanted {
            Profile::WebRtc | Profile::Rtp(SrtpPolicy::Required | SrtpPolicy::Dtls) => {
                is_secure(protocol)
            }
            Profile::Rtp(_) => !is_secure(protocol),
        };
        flags.transport.as_ref().or(Some(&source.protocol)).filter(is_fitting).cloned()
    }

    /// Candidates that came after their description (RFC 8840).
    fn trickle(&mut self, request: &Dictionary, names: &Names) -> Dictionary {
        let Some(body) = request.text("sdp") else { return refusal(reason::NO_SDP) };
        let call = names.call.as_deref().and_then(|id| self.calls.get(id));
        let from = names.from.as_deref().unwrap_or_default();
        let Some(leg) = call.and_then(|call| call.tagged(from)).map(|p| p.leg) else {
            // Real proxies send fragments before the offer is through: nothing is kept of them.
            return ok();
        };
        let fragment = Fragment::parse(body.as_bytes());
        for candidate in fragment.candidates {
            let (mid, ufrag) = (fragment.mid.clone(), fragment.ufrag.clone());
            let candidate = Candidate { text: candidate.0, mid, ufrag };
            self.command(Command::Candidate { leg, candidate });
        }
        if fragment.end_of_candidates {
            self.command(Command::EndOfCandidates { leg });
        }
        ok()
    }
}

/// Reads a request's description; the address that a proxy saw takes the place of the one
/// inside where it says so.
pub(super) fn said(request: &Dictionary, flags: &Flags) -> Result<Said, &'static str> {
    let text = request.text("sdp").ok_or(reason::NO_SDP)?;
    let session = Session::parse(text.as_bytes()).map_err(|_| reason::BAD_SDP)?;
    let session = match flags.received_from.filter(|_| flags.has("sip-source-address")) {
        Some(address) => {
            let seen = with_address(&text, address);
            Session::parse(seen.as_bytes()).map_err(|_| reason::BAD_SDP)?
        }
        None => session,
    };
    Said::new(&text, session).ok_or(reason::INCOMPLETE_SDP)
}

fn with_address(text: &str, address: IpAddr) -> String {
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    let line = |line: &str| {
        // An old hold stays one.
        if line.starts_with("c=") && !line.contains("0.0.0.0") {
            format!("c=IN {family} {address}\r\n")
        } else {
            format!("{}\r\n", line.trim_end())
        }
    };
    text.lines().map(line).collect()
}

/// What a description's own sender speaks.
pub(super) fn own_profile(audio: &Media) -> Profile {
    let is_secure = audio.protocol.contains("SAVP");
    if is_secure && !audio.fingerprints.is_empty() {
        let has_ice = audio.ice_ufrag.is_some();
        if has_ice { Profile::WebRtc } else { Profile::Rtp(SrtpPolicy::Dtls) }
    } else if is_secure {
        Profile::Rtp(SrtpPolicy::Required)
    } else if audio.cryptos.is_empty() {
        Profile::Rtp(SrtpPolicy::Off)
    } else {
        Profile::Rtp(SrtpPolicy::Optional)
    }
}

/// What the side that an offer goes to is to speak: what the flags say, and where they are
/// silent what the sender speaks.
pub(super) fn profile(flags: &Flags, source: &Media) -> Profile {
    let protocol = flags.transport.as_deref().unwrap_or(&source.protocol);
    if !protocol.contains("SAVP") {
        let keeps = flags.transport.is_none() && !source.cryptos.is_empty() && !flags.sdes_off();
        let optional = flags.offers_osrtp() || keeps;
        return Profile::Rtp(if optional { SrtpPolicy::Optional } else { SrtpPolicy::Off });
    }
    let has_ice = match flags.ice {
        Some(Ice::Force) => true,
        Some(Ice::Remove) => false,
        Some(Ice::Default) | None => source.ice_ufrag.is_some(),
    };
    let is_dtls = flags.dtls != Some(Dtls::Off) && (has_ice || protocol.starts_with("UDP/TLS"));
    match is_dtls || flags.sdes_off() {
        true if has_ice => Profile::WebRtc,
        true => Profile::Rtp(SrtpPolicy::Dtls),
        false => Profile::Rtp(SrtpPolicy::Required),
    }
}

/// Why media control would not, as proxies are told.
pub(super) fn refused(why: Refusal) -> &'static str {
    match why {
        Refusal::Exhausted => reason::NO_PORTS,
        Refusal::BadDescription(rule) => rule,
        Refusal::NoCommonCodec => reason::INCOMPLETE_SDP,
        Refusal::WrongState => reason::NO_DIALOGUE,
    }
}

/// An offer that nobody answers.
const UNANSWERED: Duration = Duration::from_secs(3600);
/// Of a description that nobody is sent.
const UNUSED: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
