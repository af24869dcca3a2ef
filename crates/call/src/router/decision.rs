//! What the router says: where a call goes, what follows when that fails, and every rule it tried.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crosspoint_base::Private;

use super::Meter;
use crate::{Cause, Diverted, Playback, Profile, Reach};

/// One place to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub reach: Reach,
    pub profile: Profile,
    /// It may be given video.
    pub video: bool,
    /// Media may go past us there.
    pub bypass: bool,
    /// Whose device it is.
    pub user: Option<Arc<str>>,
    /// Shown to it instead of the caller's own number.
    pub caller: Option<Private<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Builtin(Playback),
    /// Ring all of them; the first answer wins.
    Fork(Vec<Target>),
    Refused(Cause),
}

/// What is tried when what came before it has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// As reasons call it.
    pub what: String,
    pub way: Way,
    pub terms: Terms,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    Ring(Vec<Target>),
    Play(Playback),
}

/// How long an attempt may take, and when the next one follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pub ring: Duration,
    /// How long nothing at all may be heard of it; absent: for as long as it takes.
    pub patience: Option<Duration>,
    /// After these failures the next attempt follows; any other ends the call.
    pub go_on: Causes,
    /// Where the call has been before this place, oldest first.
    pub diverted: Vec<Diverted>,
    /// Where the called user has calls go that fail in some ways, before any further attempt.
    pub onward: Vec<Onward>,
    /// Whoever is called may name somebody else to be called instead.
    pub may_redirect: bool,
}

/// Where a user has calls go that fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onward {
    pub after: Causes,
    pub by: Diverted,
    pub to: Private<String>,
}

impl Terms {
    #[must_use]
    pub fn ring_for(ring: Duration) -> Self {
        Self {
            ring,
            patience: None,
            go_on: Causes::NONE,
            diverted: Vec::new(),
            onward: Vec::new(),
            may_redirect: true,
        }
    }
}

/// A set of causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Causes(u32);

impl Causes {
    pub const NONE: Self = Self(0);

    /// Failures of a trunk that say nothing about the called party: another trunk may do better.
    /// Busy, declined, unknown numbers and the like are answers, and end the call.
    #[must_use]
    pub fn of_network() -> Self {
        Self::of(&[
            Cause::NetworkFailure,
            Cause::Overload,
            Cause::TrunkFull,
            Cause::TrunkDown,
            Cause::SignalingLost,
            Cause::Unauthorized,
            Cause::NoCommonCodec,
            Cause::MediaFailed,
            Cause::Internal,
        ])
    }

    /// Whatever kept one person from answering: another one may.
    #[must_use]
    pub fn of_person() -> Self {
        Self(Self::of_network().0).with(&[
            Cause::Busy,
            Cause::Declined,
            Cause::NoAnswer,
            Cause::Unavailable,
            Cause::NotFound,
            Cause::InvalidNumber,
            Cause::Forbidden,
            Cause::BadDescription,
        ])
    }

    #[must_use]
    pub fn of(causes: &[Cause]) -> Self {
        Self::NONE.with(causes)
    }

    #[must_use]
    fn with(self, causes: &[Cause]) -> Self {
        Self(causes.iter().fold(self.0, |bits, cause| bits | bit(*cause)))
    }

    /// All of both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub fn contains(self, cause: Cause) -> bool {
        self.0 & bit(cause) != 0
    }
}

fn bit(cause: Cause) -> u32 {
    Cause::ALL.iter().position(|c| *c == cause).map_or(0, |at| 1 << at)
}

/// What a rule said about the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Matched,
    NotMatched,
    Refused,
}

impl Verdict {
    /// As people read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::NotMatched => "no match",
            Self::Refused => "refused",
        }
    }
}

/// One rule the router tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub rule: String,
    pub verdict: Verdict,
    pub detail: String,
}

/// What kind of rule refused a call: a closed list, for counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Neither a signed-in user nor a known trunk.
    UnknownCaller,
    /// Not a number and not a name.
    BadNumber,
    /// Nobody and no rule has the number.
    NoRoute,
    /// Who was called has no device signed in.
    NoDevice,
    /// Everybody in the group is in a call.
    GroupBusy,
    /// A route says so.
    Closed,
    /// The call came over a trunk and may not leave over one.
    TrunkToTrunk,
    /// The caller may not call it.
    Permission,
    /// A destination of high cost or risk.
    HighRisk,
    /// The caller has as many calls outside as it may have.
    CallerCalls,
    /// The caller begins calls too fast.
    CallerRate,
    /// As many calls go there as may.
    DestinationCalls,
    /// Calls there begin too fast.
    DestinationRate,
    /// The trunks that its rules name do not take such a number.
    NoTrunk,
    /// Every trunk that could take it has all the calls it may have.
    TrunkFull,
    /// No trunk that could take it answers.
    TrunkDown,
    /// It was sent on in a circle, or too often.
    SentOnTooOften,
}

impl Refusal {
    pub const ALL: [Self; 17] = [
        Self::UnknownCaller,
        Self::BadNumber,
        Self::NoRoute,
        Self::NoDevice,
        Self::GroupBusy,
        Self::Closed,
        Self::TrunkToTrunk,
        Self::Permission,
        Self::HighRisk,
        Self::CallerCalls,
        Self::CallerRate,
        Self::DestinationCalls,
        Self::DestinationRate,
        Self::NoTrunk,
        Self::TrunkFull,
        Self::TrunkDown,
        Self::SentOnTooOften,
    ];

    /// The stable word used in metrics and call records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownCaller => "unknown_caller",
            Self::BadNumber => "bad_number",
            Self::NoRoute => "no_route",
            Self::NoDevice => "no_device",
            Self::GroupBusy => "group_busy",
            Self::Closed => "closed",
            Self::TrunkToTrunk => "trunk_to_trunk",
            Self::Permission => "permission",
            Self::HighRisk => "high_risk",
            Self::CallerCalls => "caller_calls",
            Self::CallerRate => "caller_rate",
            Self::DestinationCalls => "destination_calls",
            Self::DestinationRate => "destination_rate",
            Self::NoTrunk => "no_trunk",
            Self::TrunkFull => "trunk_full",
            Self::TrunkDown => "trunk_down",
            Self::SentOnTooOften => "sent_on_too_often",
        }
    }

    /// Whether it is a matter of the trunk: another one may take the call.
    #[must_use]
    pub fn is_of_trunk(self) -> bool {
        matches!(self, Self::NoTrunk | Self::TrunkFull | Self::TrunkDown)
    }

    /// What the caller is told.
    #[must_use]
    pub fn cause(self) -> Cause {
        match self {
            Self::UnknownCaller | Self::Permission | Self::HighRisk => Cause::Forbidden,
            Self::CallerCalls | Self::CallerRate => Cause::Forbidden,
            Self::DestinationCalls | Self::DestinationRate => Cause::Overload,
            Self::TrunkFull => Cause::TrunkFull,
            Self::TrunkDown => Cause::TrunkDown,
            Self::BadNumber => Cause::InvalidNumber,
            Self::NoRoute | Self::NoTrunk | Self::TrunkToTrunk => Cause::NotFound,
            Self::NoDevice | Self::Closed | Self::SentOnTooOften => Cause::Unavailable,
            Self::GroupBusy => Cause::Busy,
        }
    }
}

/// Where the call goes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub outcome: Outcome,
    /// Of the outcome.
    pub terms: Terms,
    /// What is tried after it, one by one.
    pub later: Vec<Attempt>,
    /// The user the number means, so that a called user's own requests (a transfer) can be routed.
    pub called_user: Option<Arc<str>>,
    /// Whose turn it is moves on with this call.
    pub group: Option<Arc<str>>,
    /// What the call is counted under when it leaves by a trunk.
    pub meters: Vec<Meter>,
    pub refusal: Option<Refusal>,
    /// It goes before every limit.
    pub is_emergency: bool,
    /// A rule wants the call recorded.
    pub record: bool,
    pub steps: Vec<Step>,
}

impl Decision {
    /// A decision without any rule behind it.
    #[must_use]
    pub fn plain(outcome: Outcome, ring: Duration) -> Self {
        Self {
            outcome,
            terms: Terms::ring_for(ring),
            later: Vec::new(),
            called_user: None,
            group: None,
            meters: Vec::new(),
            refusal: None,
            is_emergency: false,
            record: false,
            steps: Vec::new(),
        }
    }

    /// Every target, in the order in which legs are numbered for them.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        let first = match &self.outcome {
            Outcome::Fork(targets) => targets.as_slice(),
            Outcome::Builtin(_) | Outcome::Refused(_) => &[],
        };
        first.iter().chain(self.later.iter().flat_map(|attempt| attempt.way.targets()))
    }

    /// Whether media may go past us wherever the call goes.
    #[must_use]
    pub fn may_bypass(&self) -> bool {
        let rings = |attempt: &Attempt| matches!(attempt.way, Way::Ring(_));
        matches!(self.outcome, Outcome::Fork(_))
            && self.later.iter().all(rings)
            && self.targets().all(|target| target.bypass)
            && !self.record
            && !self.is_emergency
    }

    /// The reasons, a rule a line, and what came of them: what `route-test` prints and what stands
    /// on the call's record.
    #[must_use]
    pub fn why(&self) -> String {
        let mut lines: Vec<String> = self.steps.iter().map(ToString::to_string).collect();
        lines.push(format!("=> {}", self.outcome_in_words()));
        for attempt in &self.later {
            lines.push(format!("   then {}", attempt.what));
        }
        lines.join("\n")
    }

    fn outcome_in_words(&self) -> String {
        match &self.outcome {
            Outcome::Builtin(playback) => format!("answered here: {playback:?}").to_lowercase(),
            Outcome::Refused(cause) => format!("refused: {cause}"),
            Outcome::Fork(targets) => in_words(targets),
        }
    }
}

/// Where targets are, for people.
pub(super) fn in_words(targets: &[Target]) -> String {
    match targets.first() {
        Some(Target { reach: Reach::Trunk { name, number }, .. }) => {
            format!("calls {} over trunk {name}", number.expose())
        }
        Some(Target { reach: Reach::Registration { number, .. }, .. }) => {
            format!("calls {} over the caller's own sign-in", number.expose())
        }
        _ => {
            let mut users: Vec<&str> = targets.iter().filter_map(|t| t.user.as_deref()).collect();
            users.dedup();
            match users.as_slice() {
                [] => format!("calls {} device(s)", targets.len()),
                users => format!("calls every device of {}", users.join(", ")),
            }
        }
    }
}

impl Way {
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        match self {
            Self::Ring(targets) => targets,
            Self::Play(_) => &[],
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.rule, self.verdict.as_str(), self.detail)
    }
}
