//! Causes and status codes, both ways. No `_` arm on causes: a new one does not compile until
//! SIP has a word for it.

use crosspoint_call::Cause;
use crosspoint_sip::StatusCode;

/// The final response that tells a caller this cause.
pub(super) fn status_for(cause: Cause) -> StatusCode {
    match cause {
        Cause::Normal
        | Cause::Cancelled
        | Cause::AnsweredElsewhere
        | Cause::Transferred
        | Cause::Replaced
        | Cause::MediaLost
        | Cause::SignalingLost => StatusCode::REQUEST_TERMINATED,
        Cause::Busy => StatusCode::BUSY_HERE,
        Cause::Declined => StatusCode::DECLINE,
        Cause::NoAnswer | Cause::Unavailable => StatusCode::TEMPORARILY_UNAVAILABLE,
        Cause::NotFound => StatusCode::NOT_FOUND,
        Cause::InvalidNumber => StatusCode::ADDRESS_INCOMPLETE,
        Cause::Forbidden | Cause::Unauthorized => StatusCode::FORBIDDEN,
        Cause::NoCommonCodec | Cause::BadDescription => StatusCode::NOT_ACCEPTABLE_HERE,
        Cause::MediaFailed | Cause::Internal => StatusCode::SERVER_INTERNAL_ERROR,
        Cause::NetworkFailure => StatusCode::BAD_GATEWAY,
        Cause::CallerUnproved => StatusCode::INVALID_IDENTITY_HEADER,
        Cause::Overload | Cause::TrunkFull | Cause::TrunkDown | Cause::Shutdown => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

/// What a called side's failure means.
pub(super) fn cause_of(status: StatusCode) -> Cause {
    match status.0 {
        401 | 407 => Cause::Unauthorized,
        403 => Cause::Forbidden,
        404 | 410 | 604 => Cause::NotFound,
        408 => Cause::NoAnswer,
        480 => Cause::Unavailable,
        484 | 485 | 416 => Cause::InvalidNumber,
        486 | 600 => Cause::Busy,
        487 => Cause::Cancelled,
        488 | 606 | 415 => Cause::NoCommonCodec,
        603 | 607 => Cause::Declined,
        // A redirection is not followed: the devices of a user are known by registration.
        300..=399 => Cause::Unavailable,
        _ => Cause::NetworkFailure,
    }
}

/// The value of `Reason` on a CANCEL or BYE (RFC 3326); none where nothing is to be said.
pub(super) fn reason_for(cause: Cause) -> Option<&'static str> {
    match cause {
        Cause::AnsweredElsewhere => Some("SIP;cause=200;text=\"Call completed elsewhere\""),
        Cause::MediaLost => Some("X.int;text=\"Media lost\""),
        Cause::MediaFailed => Some("X.int;text=\"Media did not come up\""),
        Cause::SignalingLost => Some("X.int;text=\"Signaling lost\""),
        Cause::Shutdown => Some("X.int;text=\"Gateway is stopping\""),
        Cause::NoAnswer => Some("SIP;cause=480;text=\"No answer\""),
        Cause::TrunkFull => Some("X.int;text=\"The trunk is full\""),
        Cause::TrunkDown => Some("X.int;text=\"The trunk is down\""),
        Cause::CallerUnproved => Some("X.int;text=\"Nobody vouches for the caller\""),
        Cause::Normal
        | Cause::Cancelled
        | Cause::Busy
        | Cause::Declined
        | Cause::Unavailable
        | Cause::NotFound
        | Cause::InvalidNumber
        | Cause::Forbidden
        | Cause::Unauthorized
        | Cause::NoCommonCodec
        | Cause::BadDescription
        | Cause::Transferred
        | Cause::Replaced
        | Cause::NetworkFailure
        | Cause::Overload
        | Cause::Internal => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_decides_survives_the_way_through() {
        for cause in
            [Cause::Busy, Cause::Declined, Cause::NotFound, Cause::Unavailable, Cause::Forbidden]
        {
            assert_eq!(cause_of(status_for(cause)), cause);
        }
    }
}
