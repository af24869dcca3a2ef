//! Calls, legs, bridges and causes: the vocabulary every connector translates into.
//!
//! A connector turns its wire messages into [`LegEvent`]s and carries out [`LegCommand`]s; media
//! control answers [`MediaRequest`]s with [`MediaNotice`]s. Nothing here names a protocol.

mod call;
mod cause;
pub mod router;
mod signal;

pub use call::{Call, CallRecord, Input, Output, Side};
pub use cause::{Cause, Ended, Party};
pub use signal::{
    Candidate, Described, Digit, Identity, IncomingOffer, LegCommand, LegEvent, MediaNotice,
    MediaPath, MediaRefusal, MediaRequest, OutgoingOffer, Playback, Profile, Reach, ReofferFailure,
    Replaces, Role, Scope, SdpKind, SrtpPolicy, TransferProgress, TransferTarget,
};
