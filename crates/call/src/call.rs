//! One call: from the first offer to the last `Ended`.
//!
//! A `Call` owns its legs and decides what each does next. It hears [`LegEvent`]s from connectors
//! and [`MediaNotice`]s from media control, and answers with commands and requests. Media requests
//! of one leg are answered in order, so what to do with each answer waits in the leg's own queue.
//!
//! Not here: wire formats (connectors), offer/answer and packets (media), where to call (router).

mod attempts;
mod bypass;
mod diversion;
mod ending;
mod joining;
mod parking;
mod running;
mod setup;
mod takeover;
#[cfg(test)]
mod tests;
mod transfer;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{CallId, Gcid, LegId, Private, TimerTable};

use crate::router::{Attempt, Causes, Decision, Refusal, RouteRequest};
use crate::{
    Cause, Diverted, Ended, Grade, Identity, IncomingOffer, LegCommand, LegEvent, Location,
    MediaNotice, MediaPath, MediaRequest, Playback, Profile, Quality, Reach, Role, Scope,
};
pub use bypass::CODECS as ANCHORED_CODECS;
use diversion::Diversion;
pub use joining::Handover;
use parking::Parked;
pub use parking::ParkingPlace;
use takeover::Takeover;
use transfer::Transfer;
pub use view::{CallState, LegView, View};

/// What happens to a call.
#[derive(Debug)]
pub enum Input {
    Leg(LegId, LegEvent),
    Media(MediaNotice),
    /// The answer to `Output::Route`, with one fresh leg id for each target.
    Routed {
        decision: Decision,
        legs: Vec<LegId>,
    },
    /// A new leg takes the place of an old one.
    Replace {
        old: LegId,
        new: LegId,
        offer: Box<IncomingOffer>,
    },
    /// The answer to `Output::Route` for a transfer to where calls wait.
    Parked(Result<ParkingPlace, Cause>),
    /// The answer to `Output::Join`.
    Joined(Result<Box<Handover>, Cause>),
    /// Somebody outside needs its media here, as far as it can come.
    Anchor,
    /// End everything, for a reason of the gateway's.
    End(Cause),
    Timeout,
}

/// What a call wants done.
#[derive(Debug)]
pub enum Output {
    Command(LegId, LegCommand),
    Media(MediaRequest),
    Route(RouteRequest),
    /// Media that went past us comes here from now on: of these legs, whose sessions are opened next.
    Anchoring(Vec<LegId>),
    /// Media control knows what was said. These legs have been answered already.
    Anchored(Vec<LegId>),
    /// Have the call of this leg hand over whoever the leg is joined with.
    Join(LegId),
    /// Somebody waits in the slot of this key, or does so no longer.
    Parked(Arc<str>),
    Unparked(Arc<str>),
    /// The call was answered.
    Answered,
    /// Who takes part, or how, is not what it was.
    Changed,
    /// A leg does better or worse.
    Graded,
    /// Last output: every leg has ended and every media session is closed.
    Done(Box<CallRecord>),
    Timeout(Option<Instant>),
}

/// What is known of a call when it is over.
#[derive(Debug, Clone)]
pub struct CallRecord {
    pub call: CallId,
    pub gcid: Gcid,
    pub from: Identity,
    pub to: Private<String>,
    /// The trunk it came over or was to leave over; no call does both.
    pub trunk: Option<Arc<str>>,
    pub scope: Scope,
    pub started: Instant,
    pub ringing: Option<Instant>,
    pub answered: Option<Instant>,
    pub ended_at: Instant,
    pub ended: Ended,
    pub front_profile: Profile,
    /// Of the back leg that answered, or was tried last.
    pub back_profile: Option<Profile>,
    pub builtin: Option<Playback>,
    /// The legs of the call, for joining media figures to the record.
    pub legs: Vec<LegId>,
    /// Every routing rule tried, with its verdict, a line each, and what became of it.
    pub why: String,
    /// The kind of rule that refused it.
    pub refusal: Option<Refusal>,
    /// Places that were tried one after the other.
    pub attempts: u32,
    /// The user who was called; of a group, who answered.
    pub called_user: Option<Arc<str>>,
    /// Where the call was before it came to who answered or was tried last, oldest first.
    pub diverted: Vec<Diverted>,
    /// Where somebody waited to be taken up: the slot, who parked, and what became of it.
    pub parked: Vec<String>,
}

/// One leg of a running call, as the devices of its user may see it.
#[derive(Debug, Clone)]
pub struct Side {
    pub leg: LegId,
    pub user: Arc<str>,
    pub role: Role,
    pub profile: Profile,
    /// Who is at the other end.
    pub peer: Identity,
    pub is_active: bool,
    /// It rings, here or at the other end.
    pub is_ringing: bool,
    pub started: Instant,
}

/// One attempt to connect two parties.
#[derive(Debug)]
pub struct Call {
    id: CallId,
    gcid: Gcid,
    front: LegId,
    legs: BTreeMap<LegId, Leg>,
    stage: Stage,
    reoffer: Option<PendingReoffer>,
    transfer: Option<Transfer>,
    takeover: Option<Takeover>,
    parked: Option<Parked>,
    timers: TimerTable<Timer>,
    outputs: VecDeque<Output>,
    facts: Facts,
    /// Legs that are to hear an offer of ours as soon as the exchange under way is over.
    owed: BTreeSet<LegId>,
    diversion: Diversion,
    /// Where each back leg is to go, until its connector is told.
    dialing: BTreeMap<LegId, Dial>,
    /// What is tried when all that rings now has failed.
    later: VecDeque<(Attempt, Vec<LegId>)>,
    /// Legs that were numbered for attempts that nobody needs any more.
    unused: Vec<LegId>,
    /// After which failures it is.
    go_on: Causes,
    /// What tells most of the failures since the last attempt began.
    attempt_failed_by: Option<Cause>,
    /// Who was called.
    called_user: Option<Arc<str>>,
    called_trunk: Option<Arc<str>>,
    /// Who speaks for the caller and for the called side.
    speakers: [Option<LegId>; 2],
    /// Some leg was told to send where nobody waits for it any more.
    anybody_misled: bool,
    done: bool,
}

/// What the record will say, gathered on the way.
#[derive(Debug)]
struct Facts {
    from: Identity,
    to: Private<String>,
    trunk: Option<Arc<str>>,
    late_offer: bool,
    path: MediaPath,
    started: Instant,
    ringing: Option<Instant>,
    answered: Option<Instant>,
    ended: Option<Ended>,
    front_profile: Profile,
    back_profile: Option<Profile>,
    builtin: Option<Playback>,
    record: bool,
    is_emergency: bool,
    why: String,
    refusal: Option<Refusal>,
    attempts: u32,
    location: Option<Box<Location>>,
    auto_answer: bool,
    may_press: bool,
    scope: Scope,
    diverted: Vec<Diverted>,
    /// Where somebody waited, who had it so, and what became of it.
    parked: Vec<String>,
}

/// A back leg on its way.
#[derive(Debug)]
struct Dial {
    reach: Reach,
    ring: Duration,
    /// Shown to it instead of the caller's own number.
    caller: Option<Private<String>>,
}

#[derive(Debug)]
enum Stage {
    /// Waiting for the router and for media control to take the front's description.
    Routing {
        decision: Option<Box<(Decision, Vec<LegId>)>>,
        media_ready: bool,
    },
    /// Back legs are being tried. `early` already gives the front its media.
    Dialing {
        best: Option<Cause>,
        early: Option<LegId>,
    },
    /// Somebody answered (`None`: we do, with sound of our own); the front is being told.
    Answering {
        back: Option<LegId>,
    },
    Active {
        a: LegId,
        b: Option<LegId>,
    },
    Ending,
}

#[derive(Debug)]
struct Leg {
    role: Role,
    /// Whose device it is.
    user: Option<Arc<str>>,
    /// The trunk it goes over.
    trunk: Option<Arc<str>>,
    /// The user or number that is called by it, and where the call was before.
    place: Private<String>,
    diverted: Vec<Diverted>,
    profile: Profile,
    /// It may have video.
    video: bool,
    phase: Phase,
    /// What was said while media goes past us.
    past: Option<Box<bypass::Past>>,
    is_misled: bool,
    /// What the next media answers of this leg are for.
    steps: VecDeque<Step>,
    /// Media control took the peer's description.
    accepted: bool,
    connected: bool,
    telephone_event: bool,
    on_hold: bool,
    /// There is fax in the place of sound.
    only_fax: bool,
    /// How long lost media may take to come back.
    grace: Option<Duration>,
    /// How its last five seconds were, and what its party was told last.
    quality: Option<Quality>,
    is_silent: bool,
    grade: Grade,
}

impl Leg {
    fn new(role: Role, profile: Profile, phase: Phase) -> Self {
        Self {
            role,
            user: None,
            trunk: None,
            place: Private::default(),
            diverted: Vec::new(),
            profile,
            video: true,
            phase,
            past: None,
            is_misled: false,
            steps: VecDeque::new(),
            accepted: false,
            connected: false,
            telephone_event: false,
            on_hold: false,
            only_fax: false,
            grace: None,
            quality: None,
            is_silent: false,
            grade: Grade::default(),
        }
    }

    fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Opening | Phase::Open | Phase::Answered)
    }

    fn is_answered(&self) -> bool {
        self.phase == Phase::Answered
    }

    /// A back leg that may still answer.
    fn is_rung(&self) -> bool {
        self.role == Role::Back && matches!(self.phase, Phase::Opening | Phase::Open)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A back leg whose offer is not described yet: its connector does not know it.
    Opening,
    Open,
    Answered,
    /// Told to end; `Ended` is to come.
    Ending,
    Ended,
}

/// What an answer of media control is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    AcceptFrontOffer,
    DescribeBackOffer,
    AcceptBackAnswer {
        early: bool,
    },
    DescribeFront {
        early: bool,
    },
    AcceptLateAnswer,
    AcceptReoffer,
    DescribeFarReoffer {
        origin: Option<LegId>,
    },
    AcceptFarReanswer {
        origin: Option<LegId>,
    },
    DescribeReanswer,
    AcceptTakeover,
    DescribeTakeover,
    /// It was said before, past us; the answer tells nothing new.
    Again,
}

/// A re-offer that a far leg has to answer. `origin` waits for the outcome; without one it is ours.
#[derive(Debug, Clone, Copy)]
struct PendingReoffer {
    origin: Option<LegId>,
    far: LegId,
    /// The origin wants fax, or text, or no more of it.
    is_of_passed: bool,
}

/// What of a description the far side has to hear.
#[derive(Debug, Clone, Copy)]
struct News {
    /// Of sound or pictures.
    media: bool,
    /// Of what passes as it is.
    passed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Media must be up some time after the answer.
    MediaSetup,
    /// A leg that was told to end must say so.
    EndingGuard,
    /// Media of this leg was lost and may come back.
    Grace(LegId),
    /// Nothing was heard of what is being tried.
    Patience,
    /// Nobody has taken up who waits.
    Parked,
}

impl Call {
    /// A call that begins with the front leg's `Offer`.
    #[must_use]
    pub fn new(now: Instant, id: CallId, gcid: Gcid, front: LegId, offer: IncomingOffer) -> Self {
        let facts = Facts {
            from: offer.from.clone(),
            to: offer.to.clone(),
            trunk: offer.trunk.clone(),
            late_offer: offer.description.is_none(),
            path: offer.path,
            started: now,
            ringing: None,
            answered: None,
            ended: None,
            front_profile: offer.profile,
            back_profile: None,
            builtin: None,
            record: false,
            is_emergency: false,
            why: String::new(),
            refusal: None,
            attempts: 0,
            location: offer.location.clone(),
            auto_answer: offer.auto_answer && offer.may_press,
            may_press: offer.may_press,
            scope: offer.scope.clone(),
            diverted: offer.diverted.clone(),
            parked: vec![],
        };
        let mut leg = Leg::new(Role::Front, offer.profile, Phase::Open);
        leg.user.clone_from(&offer.from.user);
        leg.trunk.clone_from(&offer.trunk);
        let mut call = Self {
            id,
            gcid,
            front,
            legs: BTreeMap::from([(front, leg)]),
            stage: Stage::Routing { decision: None, media_ready: false },
            reoffer: None,
            transfer: None,
            takeover: None,
            parked: None,
            timers: TimerTable::new(),
            outputs: VecDeque::new(),
            facts,
            owed: BTreeSet::new(),
            diversion: Diversion::default(),
            dialing: BTreeMap::new(),
            later: VecDeque::new(),
            unused: Vec::new(),
            go_on: Causes::NONE,
            attempt_failed_by: None,
            called_user: None,
            called_trunk: None,
            speakers: [None; 2],
            anybody_misled: false,
            done: false,
        };
        call.begin(offer);
        call
    }

    #[must_use]
    pub fn id(&self) -> CallId {
        self.id
    }

    #[must_use]
    pub fn gcid(&self) -> &Gcid {
        &self.gcid
    }

    /// Why it goes where it goes, as far as it was decided: what its record will say.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.facts.why
    }

    /// A party's side of this call: what the user's other devices may know of it.
    pub fn sides(&self) -> impl Iterator<Item = Side> + '_ {
        self.legs.iter().filter_map(|(id, leg)| self.side(*id, leg))
    }

    fn side(&self, id: LegId, leg: &Leg) -> Option<Side> {
        let user = leg.user.clone()?;
        if !matches!(leg.phase, Phase::Open | Phase::Answered) {
            return None;
        }
        let peer = match leg.role {
            Role::Front => Identity { address: self.facts.to.clone(), ..Identity::default() },
            Role::Back => self.facts.from.clone(),
        };
        Some(Side {
            leg: id,
            user,
            role: leg.role,
            profile: leg.profile,
            peer,
            is_ringing: leg.phase == Phase::Open
                && matches!(self.stage, Stage::Dialing { .. })
                && (leg.role == Role::Back || self.facts.ringing.is_some()),
            is_active: leg.phase == Phase::Answered && matches!(self.stage, Stage::Active { .. }),
            started: self.facts.started,
        })
    }

    /// Legs that were numbered for attempts that have not begun.
    pub fn spare_legs(&self) -> impl Iterator<Item = LegId> + '_ {
        let later = self.later.iter().flat_map(|(_, legs)| legs);
        later.chain(&self.unused).copied()
    }

    /// Every leg the call ever had.
    pub fn legs(&self) -> impl Iterator<Item = LegId> + '_ {
        self.legs.keys().copied()
    }

    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Leg(leg, event) => self.handle_leg_event(now, leg, event),
            Input::Media(notice) => self.handle_notice(now, notice),
            Input::Routed { decision, legs } => self.handle_routed(now, decision, legs),
            Input::Replace { old, new, offer } => self.replace(old, new, *offer),
            Input::Parked(place) => self.park(now, place),
            Input::Joined(handover) => self.joined(now, handover),
            Input::Anchor if self.may_anchor() => self.anchor(),
            Input::Anchor => {}
            Input::End(cause) => self.end_all(now, crate::Party::Gateway, cause),
            Input::Timeout => self.handle_timeout(now),
        }
        self.correct_misled();
        self.settle_speakers();
        self.finish_if_over(now);
    }

    /// The next thing to do. Call until it gives `Timeout`.
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout(self.timers.next()))
    }

    fn handle_leg_event(&mut self, now: Instant, id: LegId, event: LegEvent) {
        let Some(leg) = self.legs.get(&id) else { return };
        if leg.phase == Phase::Ended {
            return;
        }
        if let LegEvent::Ended(cause) = event {
            self.leg_ended(now, id, cause);
            return;
        }
        if !leg.is_live() {
            return;
        }
        match event {
            // Both handled above or at construction.
            LegEvent::Offer(_) | LegEvent::Ended(_) => {}
            LegEvent::Trying => self.heard_of(id),
            LegEvent::Ringing => self.back_ringing(now, id),
            LegEvent::EarlyMedia(description) => self.back_early_media(id, description),
            LegEvent::Answer(description) => self.back_answered(now, id, description),
            LegEvent::Confirm(description) => self.confirmed(id, description),
            LegEvent::Candidate(candidate) => {
                self.media(MediaRequest::Candidate { leg: id, candidate });
            }
            LegEvent::EndOfCandidates => self.media(MediaRequest::EndOfCandidates { leg: id }),
            LegEvent::Reoffer(description) => self.reoffered(id, description),
            LegEvent::Reanswer(description) => self.reanswered(id, description),
            LegEvent::ReofferFailed(why) => self.reoffer_failed(id, why),
            LegEvent::Dtmf(digit, duration) => self.digit_signaled(id, digit, duration),
            LegEvent::KeyFrameWanted => self.media(MediaRequest::RequestKeyFrame { leg: id }),
            LegEvent::Transfer(target) => self.transfer_requested(id, target),
            LegEvent::Pressed(button) => self.pressed(id, button),
            LegEvent::Redirected(targets) => self.redirected(id, targets),
            LegEvent::Moved => self.moved(id),
            LegEvent::MediaGrace(grace) => self.grant_grace(id, grace),
        }
    }

    fn handle_notice(&mut self, now: Instant, notice: MediaNotice) {
        match notice {
            MediaNotice::Described { leg, description } => {
                if let Some(step) = self.next_step(leg) {
                    self.note_outcome(leg, true);
                    self.described(now, leg, step, description);
                }
            }
            MediaNotice::Accepted { leg, accepted } => {
                let Some(step) = self.next_step(leg) else { return };
                if let Some(state) = self.legs.get_mut(&leg) {
                    state.accepted = true;
                    state.telephone_event = accepted.telephone_event;
                    state.on_hold = accepted.on_hold;
                    state.only_fax = accepted.only_fax;
                }
                let crate::Described { far_side_concerned: media, passed_news: passed, .. } =
                    accepted;
                self.accepted(now, leg, step, News { media, passed });
            }
            MediaNotice::Refused { leg, refusal } => {
                if let Some(step) = self.next_step(leg) {
                    self.refused(now, leg, step, refusal);
                }
            }
            MediaNotice::Connected { leg } => self.media_connected(leg),
            MediaNotice::Candidate { leg, candidate } => {
                if self.is_live(leg) {
                    self.command(leg, LegCommand::Candidate(candidate));
                }
            }
            MediaNotice::EndOfCandidates { leg } => {
                if self.is_live(leg) {
                    self.command(leg, LegCommand::EndOfCandidates);
                }
            }
            MediaNotice::Dtmf { leg, digit, duration, relayed } => {
                self.digit_heard(leg, digit, duration, relayed);
            }
            MediaNotice::Lost { leg, by_peer } => self.media_lost(now, leg, by_peer),
            MediaNotice::Displaced { leg } => self.owe_offer(leg),
            MediaNotice::KeyFrameWanted { leg } => {
                if self.is_live(leg) {
                    self.command(leg, LegCommand::RequestKeyFrame);
                }
            }
            MediaNotice::Quality { leg, quality } => {
                if let Some(state) = self.legs.get_mut(&leg) {
                    state.quality = Some(quality);
                    self.tell_grade(leg);
                }
            }
            MediaNotice::Silence { leg, is_silent } => {
                if let Some(state) = self.legs.get_mut(&leg) {
                    state.is_silent = is_silent;
                    self.tell_grade(leg);
                }
            }
            MediaNotice::PlaybackEnded { leg } => {
                // Who waits does so without music, where there is none to be had.
                if self.is_live(leg) && self.parked.is_none() {
                    self.end_all(now, crate::Party::Gateway, Cause::Normal);
                }
            }
        }
    }

    /// Takes the purpose of a media answer; none when the leg ended meanwhile.
    fn next_step(&mut self, leg: LegId) -> Option<Step> {
        self.legs.get_mut(&leg).filter(|l| l.is_live())?.steps.pop_front()
    }

    fn is_live(&self, leg: LegId) -> bool {
        self.legs.get(&leg).is_some_and(Leg::is_live)
    }

    /// The leg that `leg` is joined with.
    fn peer_of(&self, leg: LegId) -> Option<LegId> {
        match self.stage {
            Stage::Active { a, b: Some(b) } if a == leg => Some(b),
            Stage::Active { a, b: Some(b) } if b == leg => Some(a),
            Stage::Answering { back: Some(back) } | Stage::Dialing { early: Some(back), .. } => {
                match leg {
                    _ if leg == self.front => Some(back),
                    _ if leg == back => Some(self.front),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn command(&mut self, leg: LegId, command: LegCommand) {
        self.outputs.push_back(Output::Command(leg, command));
    }

    fn media(&mut self, request: MediaRequest) {
        self.outputs.push_back(Output::Media(request));
    }

    /// Has a leg's media session made.
    fn open(&mut self, leg: LegId, profile: Profile, video: bool) {
        if let Some(state) = self.legs.get_mut(&leg) {
            state.video = video;
        }
        self.media(MediaRequest::Open { leg, profile });
        if !video {
            self.media(MediaRequest::RefuseVideo { leg });
        }
    }

    /// Asks media control something whose answer is for `step`.
    fn ask(&mut self, leg: LegId, step: Step, request: MediaRequest) {
        self.note_past(leg, &request);
        if let Some(state) = self.legs.get_mut(&leg) {
            state.steps.push_back(step);
            self.media(request);
        }
    }
}

/// Media that is not up this long after the answer never will be: ICE and DTLS take a second.
const MEDIA_SETUP: Duration = Duration::from_secs(20);
/// Longer than any transaction a connector may need to end a leg (RFC 3261 Timer B is 32 s).
const ENDING_GUARD: Duration = Duration::from_secs(70);
