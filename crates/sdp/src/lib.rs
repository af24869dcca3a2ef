//! Session descriptions (RFC 8866): parse, print, and the offer/answer rules of RFC 3264.

/// A parsed session description.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {}
