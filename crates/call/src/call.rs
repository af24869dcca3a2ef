//! One call: from the first offer to the last `Ended`.
//!
//! A `Call` owns its legs and decides what each does next. It hears [`LegEvent`]s from connectors
//! and [`MediaNotice`]s from media control, and answers with commands and requests. Media requests
//! of one leg are answered in order, so what to do with each answer waits in the leg's own queue.
//!
//! Not here: wire formats (connectors), offer/answer and packets (media), where to call (router).

mod ending;
mod running;
mod setup;
mod takeover;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{CallId, Gcid, LegId, Private, TimerTable};

use crate::router::{Decision, RouteRequest};
use crate::{
    Cause, Ended, Identity, IncomingOffer, LegCommand, LegEvent, MediaNotice, MediaPath,
    MediaRequest, Playback, Profile, Reach, Role,
};
use takeover::Takeover;
use transfer::Transfer;

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
    /// The call was answered.
    Answered,
    /// Who takes part, or how, is not what it was.
    Changed,
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
    /// Every routing rule tried, with its verdict.
    pub why: String,
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
    timers: TimerTable<Timer>,
    outputs: VecDeque<Output>,
    facts: Facts,
    /// Where each back leg is to go, until its connector is told.
    dialing: BTreeMap<LegId, (Reach, Duration)>,
    /// Who was called, for a transfer asked for by the called side.
    called_user: Option<Arc<str>>,
    called_trunk: Option<Arc<str>>,
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
    back_profile: Option<Profile>,
    builtin: Option<Playback>,
    why: String,
}

#[derive(Debug)]
enum Stage {
    /// Waiting for the router and for media control to take the front's description.
    Routing {
        decision: Option<(Decision, Vec<LegId>)>,
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
    profile: Profile,
    phase: Phase,
    /// What the next media answers of this leg are for.
    steps: VecDeque<Step>,
    /// Media control took the peer's description.
    accepted: bool,
    connected: bool,
    telephone_event: bool,
    on_hold: bool,
    /// How long lost media may take to come back.
    grace: Option<Duration>,
}

impl Leg {
    fn new(role: Role, profile: Profile, phase: Phase) -> Self {
        Self {
            role,
            user: None,
            profile,
            phase,
            steps: VecDeque::new(),
            accepted: false,
            connected: false,
            telephone_event: false,
            on_hold: false,
            grace: None,
        }
    }

    fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Opening | Phase::Open | Phase::Answered)
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
    AcceptBackAnswer { early: bool },
    DescribeFront { early: bool },
    AcceptLateAnswer,
    AcceptReoffer,
    DescribeFarReoffer { origin: Option<LegId> },
    AcceptFarReanswer { origin: Option<LegId> },
    DescribeReanswer,
    AcceptTakeover,
    DescribeTakeover,
}

/// A re-offer that a far leg has to answer. `origin` waits for the outcome; without one it is ours.
#[derive(Debug, Clone, Copy)]
struct PendingReoffer {
    origin: Option<LegId>,
    far: LegId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Media must be up some time after the answer.
    MediaSetup,
    /// A leg that was told to end must say so.
    EndingGuard,
    /// Media of this leg was lost and may come back.
    Grace(LegId),
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
            back_profile: None,
            builtin: None,
            why: String::new(),
        };
        let mut leg = Leg::new(Role::Front, offer.profile, Phase::Open);
        leg.user.clone_from(&offer.from.user);
        let mut call = Self {
            id,
            gcid,
            front,
            legs: BTreeMap::from([(front, leg)]),
            stage: Stage::Routing { decision: None, media_ready: false },
            reoffer: None,
            transfer: None,
            takeover: None,
            timers: TimerTable::new(),
            outputs: VecDeque::new(),
            facts,
            dialing: BTreeMap::new(),
            called_user: None,
            called_trunk: None,
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
            is_active: leg.phase == Phase::Answered && matches!(self.stage, Stage::Active { .. }),
            started: self.facts.started,
        })
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
            Input::End(cause) => self.end_all(now, crate::Party::Gateway, cause),
            Input::Timeout => self.handle_timeout(now),
        }
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
            LegEvent::Trying => {}
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
            LegEvent::ReofferFailed(_) => self.reoffer_failed(id),
            LegEvent::Dtmf(digit, duration) => self.digit_signaled(id, digit, duration),
            LegEvent::Transfer(target) => self.transfer_requested(id, target),
            LegEvent::Moved => self.moved(id),
            LegEvent::MediaGrace(grace) => self.grant_grace(id, grace),
        }
    }

    fn handle_notice(&mut self, now: Instant, notice: MediaNotice) {
        match notice {
            MediaNotice::Described { leg, description } => {
                if let Some(step) = self.next_step(leg) {
                    self.described(now, leg, step, description);
                }
            }
            MediaNotice::Accepted { leg, accepted } => {
                let Some(step) = self.next_step(leg) else { return };
                if let Some(state) = self.legs.get_mut(&leg) {
                    state.accepted = true;
                    state.telephone_event = accepted.telephone_event;
                    state.on_hold = accepted.on_hold;
                }
                self.accepted(now, leg, step, accepted.far_side_concerned);
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
            MediaNotice::PlaybackEnded { leg } => {
                if self.is_live(leg) {
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

    /// Asks media control something whose answer is for `step`.
    fn ask(&mut self, leg: LegId, step: Step, request: MediaRequest) {
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
