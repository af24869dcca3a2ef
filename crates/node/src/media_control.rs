//! The call's wishes in media control's words, and back.
//!
//! `call` and `media` may not know each other, so the two vocabularies meet here, one to one.

use crosspoint_call as call;
use crosspoint_call::{MediaNotice, MediaRequest};
use crosspoint_media::control as media;
use crosspoint_media::control::{Command, Event};

pub(crate) fn command(request: MediaRequest) -> Command {
    match request {
        MediaRequest::Open { leg, profile } => Command::Open { leg, profile: profile_of(profile) },
        MediaRequest::Describe { leg, kind, peer } => {
            Command::Describe { leg, kind: kind_of(kind), peer }
        }
        MediaRequest::Accept { leg, kind, description } => {
            Command::Accept { leg, kind: kind_of(kind), description }
        }
        MediaRequest::RestartIce { leg } => Command::RestartIce { leg },
        MediaRequest::Rollback { leg } => Command::Rollback { leg },
        MediaRequest::Candidate { leg, candidate } => {
            let call::Candidate { text, mid, ufrag } = candidate;
            Command::Candidate { leg, candidate: media::Candidate { text, mid, ufrag } }
        }
        MediaRequest::EndOfCandidates { leg } => Command::EndOfCandidates { leg },
        MediaRequest::Bridge { a, b } => Command::Bridge { a, b },
        MediaRequest::Play { leg, playback } => {
            let playback = match playback {
                call::Playback::Echo => media::Playback::Echo,
                call::Playback::Tone => media::Playback::Tone,
                call::Playback::Announcement => media::Playback::Announcement,
            };
            Command::Play { leg, playback }
        }
        MediaRequest::SendDtmf { leg, digit, duration } => {
            Command::SendDtmf { leg, digit: digit.as_char(), duration }
        }
        MediaRequest::Close { leg } => Command::Close { leg },
    }
}

/// `None` for what a call does not hear.
pub(crate) fn notice(event: Event) -> Option<MediaNotice> {
    Some(match event {
        Event::Described { leg, description } => MediaNotice::Described { leg, description },
        Event::Accepted { leg, accepted } => MediaNotice::Accepted {
            leg,
            accepted: call::Described {
                far_side_concerned: accepted.far_side_concerned,
                on_hold: accepted.on_hold,
                telephone_event: accepted.telephone_event,
            },
        },
        Event::Refused { leg, refusal } => {
            let refusal = match refusal {
                media::Refusal::NoCommonCodec => call::MediaRefusal::NoCommonCodec,
                media::Refusal::BadDescription(rule) => call::MediaRefusal::BadDescription(rule),
                media::Refusal::Exhausted => call::MediaRefusal::Exhausted,
                media::Refusal::WrongState => call::MediaRefusal::WrongState,
            };
            MediaNotice::Refused { leg, refusal }
        }
        Event::Connected { leg } => MediaNotice::Connected { leg },
        Event::Candidate { leg, candidate } => {
            let media::Candidate { text, mid, ufrag } = candidate;
            MediaNotice::Candidate { leg, candidate: call::Candidate { text, mid, ufrag } }
        }
        Event::Dtmf { leg, digit, duration, relayed } => {
            MediaNotice::Dtmf { leg, digit: call::Digit::new(digit)?, duration, relayed }
        }
        Event::Lost { leg, loss } => {
            MediaNotice::Lost { leg, by_peer: loss == media::Loss::PeerClosed }
        }
        Event::PlaybackEnded { leg } => MediaNotice::PlaybackEnded { leg },
        Event::Quality { .. }
        | Event::Silent { .. }
        | Event::Heard { .. }
        | Event::Closed { .. } => return None,
    })
}

/// The leg an event is about.
pub(crate) fn leg_of(event: &Event) -> crosspoint_base::LegId {
    match event {
        Event::Described { leg, .. }
        | Event::Accepted { leg, .. }
        | Event::Refused { leg, .. }
        | Event::Connected { leg }
        | Event::Candidate { leg, .. }
        | Event::Dtmf { leg, .. }
        | Event::Lost { leg, .. }
        | Event::PlaybackEnded { leg }
        | Event::Quality { leg, .. }
        | Event::Silent { leg, .. }
        | Event::Heard { leg }
        | Event::Closed { leg, .. } => *leg,
    }
}

fn kind_of(kind: call::SdpKind) -> media::SdpKind {
    match kind {
        call::SdpKind::Offer => media::SdpKind::Offer,
        call::SdpKind::Answer => media::SdpKind::Answer,
    }
}

fn profile_of(profile: call::Profile) -> media::Profile {
    match profile {
        call::Profile::WebRtc => media::Profile::WebRtc,
        call::Profile::Rtp(call::SrtpPolicy::Off) => media::Profile::Rtp(media::SrtpPolicy::Off),
        call::Profile::Rtp(call::SrtpPolicy::Optional) => {
            media::Profile::Rtp(media::SrtpPolicy::Optional)
        }
        call::Profile::Rtp(call::SrtpPolicy::Required) => {
            media::Profile::Rtp(media::SrtpPolicy::Required)
        }
    }
}
