//! Calls, legs, bridges and causes: the vocabulary every connector translates into.
//!
//! A connector turns its wire messages into [`LegEvent`]s and carries out [`LegCommand`]s; media
//! control answers [`MediaRequest`]s with [`MediaNotice`]s. Nothing here names a protocol.

mod call;
mod cause;
mod diverted;
mod quality;
pub mod router;
mod signal;

pub use call::{
    ANCHORED_CODECS, Call, CallRecord, CallState, Handover, Input, LegView, Output, ParkingPlace,
    Side, View,
};
pub use cause::{Cause, Ended, Party};
pub use diverted::{DiversionReason, Diverted};
pub use quality::{About, Grade, GradeChange, Quality, VideoQuality};
pub use signal::{
    Aspect, Button, CallerCheck, CallerVerdict, Candidate, Described, Digit, Identity,
    IncomingOffer, LegCommand, LegEvent, Location, LocationDocument, Mailbox, MediaNotice,
    MediaPath, MediaRefusal, MediaRequest, OutgoingOffer, Playback, Profile, Published, Reach,
    ReofferFailure, Replaces, Role, Scope, SdpKind, SrtpPolicy, Standing, Text, TransferProgress,
    TransferTarget,
};
