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
                call::Playback::Music => media::Playback::Music,
            };
            Command::Play { leg, playback }
        }
        MediaRequest::RefuseVideo { leg } => Command::RefuseVideo { leg },
        MediaRequest::RequestKeyFrame { leg } => Command::RequestKeyFrame { leg },
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
                passed_news: accepted.passed_news,
                only_fax: accepted.only_fax,
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
        Event::KeyFrameWanted { leg } => MediaNotice::KeyFrameWanted { leg },
        Event::Displaced { leg } => MediaNotice::Displaced { leg },
        Event::Quality { leg, sample } => {
            MediaNotice::Quality { leg, quality: quality_of(&sample) }
        }
        Event::Silent { leg, .. } => MediaNotice::Silence { leg, is_silent: true },
        Event::Heard { leg } => MediaNotice::Silence { leg, is_silent: false },
        Event::Figures { .. }
        | Event::Step { .. }
        | Event::Exchanged { .. }
        | Event::Closed { .. } => return None,
    })
}

fn quality_of(sample: &media::QualitySample) -> call::Quality {
    let parts = |share: f64| (share.clamp(0.0, 1.0) * 10_000.0).round() as u16;
    let expected = sample.packets_lost + sample.packets_received;
    call::Quality {
        mos: sample.mos.map(|mos| mos.hundredths()),
        loss: parts(sample.packets_lost as f64 / expected.max(1) as f64),
        jitter: sample.jitter,
        round_trip: sample.round_trip,
        loss_at_leg: sample.at_peer.map(|told| parts(f64::from(told.loss))),
        video: sample.video.as_ref().map(pictures_of),
    }
}

fn pictures_of(sample: &media::VideoSample) -> call::VideoQuality {
    let parts = |share: f64| (share.clamp(0.0, 1.0) * 10_000.0).round() as u16;
    let kbit = |bits: u64| u32::try_from(bits / 1000).unwrap_or(u32::MAX);
    let expected = sample.packets_lost + sample.packets_received;
    call::VideoQuality {
        codec: sample.codec.name(),
        loss: parts(sample.packets_lost as f64 / expected.max(1) as f64),
        loss_at_leg: sample.loss_at_peer.map(|loss| parts(f64::from(loss))),
        kbit_in: kbit(sample.rate_in),
        kbit_out: kbit(sample.rate_out),
        limit_kbit: sample.limit.map(kbit),
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
