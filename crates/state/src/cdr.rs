//! Call detail records: one row per call, written when it is over.

/// What is kept of a call. Times are Unix milliseconds.
#[derive(Clone, PartialEq, Default)]
pub struct Cdr {
    /// The call's global id.
    pub gcid: String,
    pub from_address: String,
    /// The signed-in user who called, if one did.
    pub from_user: Option<String>,
    pub to_address: String,
    /// The trunk the call came in over or went out over.
    pub trunk: Option<String>,
    /// What kind of leg brought the call, and what kind was called.
    pub front: String,
    pub back: Option<String>,
    pub started_at: i64,
    pub ringing_at: Option<i64>,
    pub answered_at: Option<i64>,
    pub ended_at: i64,
    /// From answer to end; zero for a call that was not answered.
    pub duration_ms: i64,
    /// Who ended it, and why: the words of `call::Party` and `call::Cause`.
    pub ended_by: String,
    pub cause: String,
    pub front_figures: LegFigures,
    pub back_figures: LegFigures,
    /// Which side was not heard for some seconds, at the beginning or later: `front`, `back`,
    /// `both` or `none`; absent for a call that was not answered.
    pub silent_from: Option<String>,
    /// Names of its recordings, with blanks between them.
    pub recordings: Option<String>,
    /// How far another network vouches for the caller, and who or why not.
    pub caller_check: Option<String>,
    /// Who sent it on and why before it came to who was called, oldest first; `name reason`, with
    /// commas between them.
    pub diverted: Option<String>,
    /// Where somebody waited to be taken up: `slot by user, what became of it`, with semicolons
    /// between them.
    pub parked: Option<String>,
    /// Every routing rule tried, with its verdict, a line each, and what became of it.
    pub why: String,
    /// The kind of rule that refused it: the words of `call::router::Refusal`.
    pub refusal: Option<String>,
    /// Places that were tried one after the other; absent in records of older versions.
    pub attempts: Option<i64>,
    /// What passed, with blanks between: `audio`, `video`, `fax` (T.38), `text` (T.140).
    pub media: Option<String>,
}

/// How the media of one leg went. All absent for a leg that never had media.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LegFigures {
    pub codec: Option<String>,
    pub packets_received: Option<i64>,
    pub packets_sent: Option<i64>,
    pub packets_lost: Option<i64>,
    pub jitter_ms: Option<f64>,
    pub round_trip_ms: Option<f64>,
    pub jitter_max_ms: Option<f64>,
    /// Mean opinion score of what this side said: the mean, and the worst five seconds.
    pub mos: Option<f64>,
    pub mos_lowest: Option<f64>,
    /// Packets sent that the peer says it missed.
    pub packets_lost_at_peer: Option<i64>,
    /// Where its sound was translated: packets that came too late to be played, that were thrown
    /// away because too much waited, and what was made up for.
    pub packets_late: Option<i64>,
    pub packets_discarded: Option<i64>,
    pub packets_concealed: Option<i64>,
    pub video: VideoFigures,
}

/// How the pictures of one leg went. All absent for a leg that never had any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VideoFigures {
    pub codec: Option<String>,
    pub packets_received: Option<i64>,
    pub packets_sent: Option<i64>,
    /// Packets of the peer's that did not arrive, nor were sent again.
    pub packets_lost: Option<i64>,
    /// Packets sent that the peer says it missed; some of them were sent again.
    pub packets_lost_at_peer: Option<i64>,
    /// How often the peer wanted a whole picture, and how often it was asked for one.
    pub key_frames_wanted: Option<i64>,
    pub key_frames_asked: Option<i64>,
}

/// Which records to give.
#[derive(Debug, Clone, Default)]
pub struct CdrFilter {
    pub gcid: Option<String>,
    /// Only calls that started at or after this Unix millisecond.
    pub since: Option<i64>,
    /// Only calls from or to this user or number.
    pub party: Option<String>,
    /// Only calls that a rule refused.
    pub refused: bool,
    /// The newest so many; all when absent.
    pub limit: Option<u32>,
}

impl CdrFilter {
    /// Whether a record passes, apart from the limit.
    pub(crate) fn admits(&self, cdr: &Cdr) -> bool {
        let is_party = |p: &String| {
            *p == cdr.from_address || *p == cdr.to_address || Some(p) == cdr.from_user.as_ref()
        };
        self.gcid.as_ref().is_none_or(|g| *g == cdr.gcid)
            && self.since.is_none_or(|at| cdr.started_at >= at)
            && self.party.as_ref().is_none_or(is_party)
            && (!self.refused || cdr.refusal.is_some())
    }
}

/// Hides the parties.
impl std::fmt::Debug for Cdr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cdr")
            .field("gcid", &self.gcid)
            .field("ended_by", &self.ended_by)
            .field("cause", &self.cause)
            .field("duration_ms", &self.duration_ms)
            .finish_non_exhaustive()
    }
}
