//! STIR/SHAKEN: who calls, signed by the network that knows (RFC 8224, RFC 8225, RFC 8588).
//!
//! A caller's provider signs a [`Passport`] that says who calls whom, when, and how well it knows
//! the caller. [`Signer`] makes the `Identity` header of a call that leaves; [`Claim`] reads the
//! one of a call that comes and checks it against the call itself and against a certificate.
//!
//! Boundary: nothing here fetches a certificate or knows the time. Whoever asks brings both.

mod certificate;
mod claim;
mod number;
mod passport;
mod signer;

pub use certificate::{Anchors, CertificateError, Chain, MAX_CHAIN};
pub use claim::{CallFacts, Claim, ClaimError, MAX_IDENTITY, Proof};
pub use number::TelephoneNumber;
pub use passport::{Attestation, Passport, PassportError};
pub use signer::{Signer, SignerError};
