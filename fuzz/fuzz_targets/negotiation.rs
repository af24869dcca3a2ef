//! Two legs that take whatever descriptions come, in any order: no panic, and nothing that a
//! peer must refuse ever leaves. The input is split at NUL: the first byte of each part chooses
//! what happens, the rest is the description.
#![no_main]

use crosspoint_base::Rng;
use crosspoint_media::control::{Profile, SdpKind, SrtpPolicy};
use crosspoint_media::negotiation::{Keys, LocalEnd, Negotiator, PassedKind, Transport};
use crosspoint_sdp::Session;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let profile = match bytes.first() {
        Some(b'0') => Profile::Rtp(SrtpPolicy::Off),
        Some(b'1') => Profile::Rtp(SrtpPolicy::Optional),
        Some(b'2') => Profile::Rtp(SrtpPolicy::Required),
        Some(b'4') => Profile::Rtp(SrtpPolicy::Dtls),
        _ => Profile::WebRtc,
    };
    let mut rng = Rng::from_u64(1);
    let mut legs = [Negotiator::new(profile, &mut rng), Negotiator::new(Profile::WebRtc, &mut rng)];
    for part in bytes.split(|b| *b == 0).take(16) {
        let Some((choice, rest)) = part.split_first() else { continue };
        let (one, other) = (usize::from(choice & 1), usize::from(!choice & 1));
        let kind = if choice & 2 == 0 { SdpKind::Offer } else { SdpKind::Answer };
        match choice >> 2 & 3 {
            0 | 1 => {
                if let Ok(session) = Session::parse(rest) {
                    let _ = legs[one].accept(kind, &session);
                }
            }
            2 => {
                let view = (choice & 16 == 0).then(|| legs[other].view());
                if let Ok(session) = legs[one].describe(kind, view.as_ref(), &end()) {
                    check(&session);
                }
            }
            _ => legs[one].rollback(),
        }
        if let Some(stream) = legs[one].stream() {
            let is_ice = matches!(stream.transport, Transport::Ice { .. });
            assert!(!(is_ice && stream.dtls.is_some()), "one DTLS by two rules");
            assert_eq!(is_ice || stream.dtls.is_some(), matches!(stream.keys, Keys::Dtls));
            assert!(stream.dtls.is_none() || stream.video.is_none(), "video without keys");
            if let Some(video) = &stream.video {
                assert_eq!(is_ice, matches!(video.keys, Keys::Dtls));
                assert_eq!(is_ice, video.transport.is_none());
                let secure = |keys: &Keys| !matches!(keys, Keys::None);
                assert_eq!(secure(&stream.keys), secure(&video.keys), "one in clear");
                let mut numbers: Vec<u8> = video.receive.iter().map(|(_, pt, _)| *pt).collect();
                numbers.sort_unstable();
                numbers.dedup();
                assert_eq!(numbers.len(), video.receive.len());
            }
        }
    }
});

fn check(session: &Session) {
    let again = Session::parse(session.to_string().as_bytes()).expect("what we print parses");
    assert_eq!(again, *session);
    for media in again.media().filter(|m| m.port != 0) {
        assert!(media.fingerprints.is_empty() || media.cryptos.is_empty(), "SDES beside DTLS");
        assert!(!media.codecs.is_empty() || media.is_fax());
    }
}

fn end() -> LocalEnd {
    LocalEnd {
        address: ([192, 0, 2, 1], 4000).into(),
        video: Some(([192, 0, 2, 1], 4002).into()),
        passed: vec![
            (PassedKind::Fax, ([192, 0, 2, 1], 4004).into()),
            (PassedKind::Text, ([192, 0, 2, 1], 4006).into()),
        ],
        candidates: vec!["candidate:1 1 udp 1 192.0.2.1 4000 typ host".to_owned()],
        ice_lite: true,
        fingerprint: vec![7; 32],
    }
}
