//! Causes and the reasons of `call.end`, both ways. No `_` arm on causes: a new one does not
//! compile until this protocol has a word for it.

use crosspoint_call::Cause;

pub(super) fn reason_for(cause: Cause) -> &'static str {
    match cause {
        Cause::Normal => "normal",
        Cause::Cancelled => "canceled",
        Cause::AnsweredElsewhere => "answeredElsewhere",
        Cause::Busy => "busy",
        Cause::Declined => "declined",
        Cause::NoAnswer => "noAnswer",
        Cause::Unavailable
        | Cause::Overload
        | Cause::TrunkFull
        | Cause::TrunkDown
        | Cause::Shutdown => "unavailable",
        Cause::NotFound | Cause::InvalidNumber => "notFound",
        Cause::Forbidden | Cause::Unauthorized | Cause::CallerUnproved => "unauthorized",
        Cause::NoCommonCodec | Cause::BadDescription => "notAcceptable",
        Cause::Transferred => "transferred",
        Cause::Replaced => "replaced",
        Cause::MediaLost | Cause::MediaFailed => "mediaError",
        Cause::SignalingLost | Cause::NetworkFailure => "networkError",
        Cause::Internal => "internalError",
    }
}

/// Why a called client does not take a call. Only a person's "no" stops the other devices, and
/// that is what an app means that gives no reason.
pub(super) fn refusal(reason: &str) -> Cause {
    match reason {
        "busy" => Cause::Busy,
        "unavailable" => Cause::Unavailable,
        "noAnswer" => Cause::NoAnswer,
        "notAcceptable" => Cause::NoCommonCodec,
        "mediaError" => Cause::MediaFailed,
        "networkError" | "internalError" => Cause::NetworkFailure,
        _ => Cause::Declined,
    }
}

/// Why a client ends a call that is up.
pub(super) fn hangup(reason: &str) -> Cause {
    match reason {
        "mediaError" => Cause::MediaFailed,
        "networkError" => Cause::SignalingLost,
        _ => Cause::Normal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_decides_survives_the_way_through() {
        for cause in [Cause::Busy, Cause::Declined, Cause::NoAnswer, Cause::Unavailable] {
            assert_eq!(refusal(reason_for(cause)), cause);
        }
    }

    #[test]
    fn every_cause_has_a_reason_of_the_protocol() {
        const REASONS: [&str; 15] = [
            "normal",
            "busy",
            "declined",
            "canceled",
            "noAnswer",
            "notFound",
            "unavailable",
            "notAcceptable",
            "unauthorized",
            "networkError",
            "mediaError",
            "replaced",
            "transferred",
            "answeredElsewhere",
            "internalError",
        ];
        for cause in Cause::ALL {
            assert!(REASONS.contains(&reason_for(cause)), "{cause}");
        }
    }
}
