//! Every kind of leg with every other, over every set of codecs: what must never happen.

use super::*;

const PROFILES: [Profile; 4] = [
    Profile::WebRtc,
    Profile::Rtp(SrtpPolicy::Off),
    Profile::Rtp(SrtpPolicy::Optional),
    Profile::Rtp(SrtpPolicy::Required),
];

/// A peer of our own making that knows only these codecs, and events at these clocks.
fn limited(session: &Session, codecs: &[Codec], clocks: &[u32]) -> Session {
    let sections: Vec<Media> = session
        .media()
        .map(|mut media| {
            media.codecs.retain(|c| match Codec::from_description(c) {
                Some(codec) => codecs.contains(&codec),
                None => clocks.contains(&c.clock_rate),
            });
            media.formats = media.codecs.iter().map(|c| c.pt.to_string()).collect();
            media
        })
        .collect();
    let origin = Origin { id: 7, version: 1, address: [192, 0, 2, 1].into() };
    reparse(&Session::build(&origin, session.is_ice_lite(), &sections))
}

fn subsets() -> Vec<Vec<Codec>> {
    let chosen = |bits: usize| {
        let all = Codec::ALL.into_iter().enumerate();
        all.filter(|(i, _)| bits >> i & 1 == 1).map(|(_, c)| c).collect()
    };
    (1..16).map(chosen).collect()
}

/// A caller of one kind, a called side of another, each with its codecs, through two legs.
fn call(kinds: (Profile, Profile), codecs: (&[Codec], &[Codec]), clocks: (&[u32], &[u32])) {
    let (mut caller, mut called) = (leg(kinds.0, 1), leg(kinds.1, 2));
    let (mut front, mut back) = (leg(kinds.0, 3), leg(kinds.1, 4));
    let offer = limited(&caller.offer(None), codecs.0, clocks.0);
    caller.negotiator.exchange = match std::mem::replace(&mut caller.negotiator.exchange, SETTLED) {
        Exchange::Offered { before, .. } => Exchange::Offered { offer: offer.pack(), before },
        other => other,
    };
    front.takes_offer(&offer);
    let ours = back.offer(Some(&front));
    let named = |c: &crosspoint_sdp::Codec| Codec::from_description(c);
    let order: Vec<Codec> = ours.media().next().unwrap().codecs.iter().filter_map(named).collect();
    assert_eq!(order[0], front.negotiator.view().codecs[0], "what passes through comes first");
    assert_eq!(order.len(), 4, "what can be translated is offered too");

    called.takes_offer(&limited(&ours, codecs.1, clocks.1));
    let answer = called.answer(None);
    check_answer(&ours, &answer).unwrap();
    back.takes_answer(&answer);
    let answer = front.answer(Some(&back));
    check_answer(&offer, &answer).unwrap();
    caller.takes_answer(&answer);

    let (a, b) = (front.stream().send.unwrap().0, back.stream().send.unwrap().0);
    assert!(codecs.0.contains(&a) && codecs.1.contains(&b));
    if codecs.0.contains(&b) {
        assert_eq!(a, b, "a common codec passes through: {codecs:?}");
    }
    for (one, other) in [(&caller, &front), (&back, &called)] {
        let (one, other) = (one.stream(), other.stream());
        let (codec, pt) = one.send.unwrap();
        assert!(other.receive.contains(&(pt, codec)), "what one sends, the other knows");
        let (codec, pt) = other.send.unwrap();
        assert!(one.receive.contains(&(pt, codec)));
        if let Some(event) = one.events.send {
            assert!(other.events.receive.contains(&event));
        }
        assert!(one.direction == Direction::SendRecv && other.direction == Direction::SendRecv);
        check_protection(&one, &other);
    }
}

fn check_protection(one: &StreamConfig, other: &StreamConfig) {
    match (&one.keys, &other.keys) {
        (Keys::Sdes { local: a, remote: b, .. }, Keys::Sdes { local: c, remote: d, .. }) => {
            assert_eq!((a, b), (d, c));
        }
        (Keys::Dtls, Keys::Dtls) => {
            let active = |s: &StreamConfig| match s.transport {
                Transport::Ice { active, .. } => active,
                Transport::Rtp { .. } => panic!("DTLS without ICE"),
            };
            assert_ne!(active(one), active(other), "one opens DTLS, the other waits");
        }
        (Keys::None, Keys::None) => {}
        (one, other) => panic!("{one:?} against {other:?}"),
    }
}

#[test]
fn every_kind_of_leg_joins_every_other_over_every_set_of_codecs() {
    let all: &[u32] = &[8000, 48_000];
    for front in PROFILES {
        for back in PROFILES {
            for a in subsets() {
                for b in subsets() {
                    call((front, back), (&a, &b), (all, all));
                }
            }
        }
    }
}

#[test]
fn events_go_by_the_clock_of_the_codec_where_the_peer_has_it() {
    let all = Codec::ALL;
    for a in [&[][..], &[8000], &[48_000], &[8000, 48_000]] {
        for b in [&[][..], &[8000], &[48_000], &[8000, 48_000]] {
            call((Profile::WebRtc, Profile::Rtp(SrtpPolicy::Off)), (&all, &all), (a, b));
        }
    }
    for (offered, codec, expected) in [
        ("111 110 126", 48_000, Some(110)),
        ("111 126", 48_000, Some(126)),
        ("0 110 126", 8000, Some(126)),
        ("0 110", 8000, Some(110)),
        ("0", 8000, None),
    ] {
        let mut leg = leg(Profile::WebRtc, 1);
        let accepted = leg.takes_offer(&browser(offered));
        assert_eq!(accepted.telephone_event, expected.is_some());
        leg.answer(None);
        let stream = leg.stream();
        assert_eq!(stream.send.unwrap().0.clock_rate(), codec);
        assert_eq!(stream.events.send.map(|(pt, _)| pt), expected, "{offered}");
    }
}

/// Whatever a peer says, in whatever order: no panic, and nothing unsound leaves.
#[test]
fn random_histories_stay_sound() {
    let mut rng = Rng::from_u64(11);
    let words = [
        browser("111 9 0 8 110 126"),
        browser("111 0"),
        parse(&browser("111 0").to_string().replace("abcd", "wxyz")),
        parse(&browser("0").to_string().replace("actpass", "passive")),
        parse(&browser("111").to_string().replace("actpass", "active").replace("o 9 U", "o 0 U")),
        phone("0 101", ""),
        phone("8 0", "a=sendonly\r\n"),
        phone("96 97 101", "a=rtpmap:96 telephone-event/48000\r\na=rtpmap:97 opus/48000/2\r\n"),
        phone("0 101", "a=rtcp-mux\r\nm=image 9 udptl t38\r\n"),
        parse(&phone("0 101", "").to_string().replace("192.0.2.7", "0.0.0.0")),
        phone("18", ""),
        parse("v=0\r\nm=video 9 RTP/AVP 0\r\n"),
        parse("v=0\r\n"),
    ];
    let mut taken = 0;
    for seed in 0..400 {
        let profile = PROFILES[rng.below(4) as usize];
        let mut leg = leg(profile, 1 + seed % 90);
        let peer = established().1.negotiator.view();
        for _ in 0..30 {
            let word = &words[rng.below(u32::try_from(words.len()).unwrap()) as usize];
            let kind = if rng.below(2) == 0 { SdpKind::Offer } else { SdpKind::Answer };
            match rng.below(5) {
                0 | 1 => taken += u32::from(leg.negotiator.accept(kind, word).is_ok()),
                2 | 3 => {
                    let view = (rng.below(2) == 0).then_some(&peer);
                    if let Ok(session) = leg.negotiator.describe(kind, view, &leg.end) {
                        reparse(&session);
                    }
                }
                _ => leg.negotiator.rollback(),
            }
            if let Some(stream) = leg.negotiator.stream() {
                let is_ice = matches!(stream.transport, Transport::Ice { .. });
                assert_eq!(is_ice, matches!(stream.keys, Keys::Dtls));
            }
        }
    }
    assert!(taken > 500, "only {taken} descriptions were taken");
}
