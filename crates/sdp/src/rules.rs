//! Rules of RFC 3264 that two descriptions alone can break.

use crate::{Media, Session};

/// The rule a peer's description broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RuleBroken(pub &'static str);

/// Checks an answer against its offer.
///
/// # Errors
/// Names the rule.
pub fn check_answer(offer: &Session, answer: &Session) -> Result<(), RuleBroken> {
    if offer.len() != answer.len() {
        return Err(RuleBroken("an answer has as many media sections as its offer (RFC 3264 §6)"));
    }
    for (offered, answered) in offer.media().zip(answer.media()) {
        check_kind(&offered, &answered)?;
        if offered.port == 0 && !answered.is_rejected() {
            return Err(RuleBroken("a section offered with port 0 stays refused (RFC 3264 §6)"));
        }
    }
    Ok(())
}

/// Checks a new offer against the description its sender gave before.
///
/// # Errors
/// Names the rule.
pub fn check_reoffer(before: &Session, offer: &Session) -> Result<(), RuleBroken> {
    if offer.len() < before.len() {
        return Err(RuleBroken("a new offer keeps every media section (RFC 3264 §8)"));
    }
    before.media().zip(offer.media()).try_for_each(|(old, new)| {
        // A refused section may be reused for another kind of media (RFC 3264 §8.1).
        if old.is_rejected() { Ok(()) } else { check_kind(&old, &new) }
    })
}

fn check_kind(a: &Media, b: &Media) -> Result<(), RuleBroken> {
    if a.kind == b.kind {
        Ok(())
    } else {
        Err(RuleBroken("media sections keep their order and kind (RFC 3264 §6, §8)"))
    }
}
