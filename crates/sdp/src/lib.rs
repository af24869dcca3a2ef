//! Session descriptions (RFC 8866): parse, print, typed media sections, and the rules of
//! offer and answer (RFC 3264) that need nothing but the two descriptions.
//!
//! What stands as nearly everybody writes it is read where it stands; `sdp-types` says of all else whether it
//! can be read. The meaning of attributes is ours. Not here: which codec or key to
//! choose (media).

mod attributes;
mod form;
pub mod fragment;
mod media;
mod rules;
mod session;
mod text;

pub use attributes::{Candidate, Codec, Crypto, Fingerprint, Setup};
pub use media::{Direction, Media};
pub use rules::{RuleBroken, check_answer, check_reoffer};
pub use session::{Origin, PackedSession, ParseError, Session};
