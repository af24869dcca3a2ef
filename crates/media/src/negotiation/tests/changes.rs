//! What happens to a leg that is up: new offers, refusals, restarts, numbers, roles.

use super::*;

const PLAIN: Profile = Profile::Rtp(SrtpPolicy::Off);

fn first(session: &Session) -> Media {
    session.media().next().unwrap()
}

/// The browser's next offer or answer, with its version counted up.
fn next(text: &str, changes: &[(&str, &str)]) -> Session {
    let text = changes.iter().fold(text.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "{old} is not in {text}");
        text.replace(old, new)
    });
    parse(&text)
}

#[test]
fn a_200_after_a_183_replaces_or_repeats_it() {
    let (_, mut back) = established();
    let mut fresh = leg(PLAIN, 5);
    fresh.offer(None);
    fresh.takes_answer(&phone("0 101", ""));
    let repeated = fresh.takes_answer(&phone("0 101", ""));
    assert!(!repeated.far_side_concerned);
    let moved = phone("8 101", "").to_string().replace("192.0.2.7", "192.0.2.99");
    assert!(fresh.takes_answer(&parse(&moved)).far_side_concerned);
    let Transport::Rtp { remote, .. } = fresh.stream().transport else { panic!() };
    assert_eq!(remote, Some(([192, 0, 2, 99], 5000).into()));
    assert_eq!(fresh.stream().send, Some((Codec::Pcma, 8)));
    // An offer of the peer's closes that door.
    back.takes_offer(&phone("0 101", ""));
    back.answer(None);
    let late = back.negotiator.accept(SdpKind::Answer, &phone("0 101", ""));
    assert_eq!(late, Err(Refusal::WrongState));
}

#[test]
fn a_refused_offer_of_ours_leaves_everything_as_it_was() {
    let (mut front, mut back) = established();
    let before = format!("{:?}", front.stream());
    back.takes_offer(&phone("0 101", "a=inactive\r\n"));
    front.offer(Some(&back));
    assert_eq!(format!("{:?}", front.stream()), before, "an open offer changes nothing");
    front.negotiator.rollback();
    assert_eq!(format!("{:?}", front.stream()), before);
    // A version that was sent is not used again for something else.
    let sent = front.negotiator.version;
    back.takes_offer(&phone("0 101", ""));
    assert_eq!(front.offer(Some(&back)).version(), sent + 1);
}

#[test]
fn a_peers_offer_that_the_call_refuses_leaves_everything_as_it_was() {
    let (_, mut back) = established();
    let before = format!("{:?}", back.stream());
    back.takes_offer(&phone("8 101", "a=sendonly\r\n"));
    assert_eq!(format!("{:?}", back.stream()), before);
    back.negotiator.rollback();
    assert_eq!(format!("{:?}", back.stream()), before);
    assert_eq!(back.negotiator.view().direction, Direction::SendRecv);
}

#[test]
fn a_peers_offer_voids_ours() {
    let (_, mut back) = established();
    back.offer(None);
    back.takes_offer(&phone("8 101", ""));
    let late = back.negotiator.accept(SdpKind::Answer, &phone("0 101", ""));
    assert_eq!(late, Err(Refusal::WrongState));
    back.answer(None);
    assert_eq!(back.stream().send, Some((Codec::Pcma, 8)));
}

#[test]
fn a_restart_of_ice_is_answered_with_new_credentials_and_nothing_else_new() {
    let (mut front, back) = established();
    let before = first(&front.negotiator.agreed.local.as_ref().unwrap().unpack());
    let offer = browser("111 0 110 126").to_string();
    // The same offer again is no restart.
    front.takes_offer(&parse(&offer));
    let same = first(&front.answer(Some(&back)));
    assert_eq!((&same.ice_ufrag, &same.ice_pwd), (&before.ice_ufrag, &before.ice_pwd));
    let restart = next(
        &offer,
        &[("ice-ufrag:abcd", "ice-ufrag:efgh"), ("pwd:0123", "pwd:4567"), ("1 2 IN", "1 3 IN")],
    );
    assert!(!front.takes_offer(&restart).far_side_concerned);
    let after = first(&front.answer(Some(&back)));
    assert_ne!(after.ice_ufrag, before.ice_ufrag);
    assert_ne!(after.ice_pwd, before.ice_pwd);
    assert_eq!(
        (after.setup, after.mid, after.formats, after.fingerprints, after.ssrc),
        (before.setup, before.mid, before.formats, before.fingerprints, before.ssrc)
    );
    let Transport::Ice { ufrag, .. } = front.stream().transport else { panic!() };
    assert_eq!(ufrag, "efgh");
}

#[test]
fn a_refused_restart_keeps_the_old_credentials() {
    let (mut front, _) = established();
    let before = front.negotiator.ice_credentials().clone();
    let offer = browser("111 0 110 126").to_string();
    front.takes_offer(&next(&offer, &[("ice-ufrag:abcd", "ice-ufrag:efgh")]));
    assert_ne!(*front.negotiator.ice_credentials(), before);
    front.negotiator.rollback();
    assert_eq!(*front.negotiator.ice_credentials(), before);
}

#[test]
fn a_new_offer_of_ours_keeps_numbers_mids_and_credentials() {
    let (mut front, back) = established();
    let answered = first(&front.negotiator.agreed.local.as_ref().unwrap().unpack());
    let offer = front.offer(Some(&back));
    let audio = first(&offer);
    assert_eq!(audio.mid.as_deref(), Some("audio"));
    assert_eq!((audio.setup, audio.is_bundled), (Some(Setup::ActPass), true));
    assert_eq!((&audio.ice_ufrag, &audio.ice_pwd), (&answered.ice_ufrag, &answered.ice_pwd));
    let number = |name: &str, clock| audio.codecs.iter().find(|c| c.is(name, clock)).map(|c| c.pt);
    assert_eq!(number("opus", 48_000), Some(111));
    assert_eq!(number("telephone-event", 8000), Some(126));
    assert_eq!(number("telephone-event", 48_000), Some(110));
    assert_eq!((offer.len(), offer.media().nth(1).unwrap().port), (2, 0));
}

#[test]
fn numbers_that_the_peer_uses_otherwise_are_avoided() {
    let mut leg = leg(PLAIN, 3);
    leg.takes_offer(&phone(
        "0 110 111",
        "a=rtpmap:110 iLBC/8000\r\na=rtpmap:111 telephone-event/48000\r\n",
    ));
    leg.answer(None);
    let audio = first(&leg.offer(None));
    let mut numbers: Vec<u8> = audio.codecs.iter().map(|c| c.pt).collect();
    let number = |name: &str, clock| audio.codecs.iter().find(|c| c.is(name, clock)).map(|c| c.pt);
    assert_eq!(number("telephone-event", 48_000), Some(111));
    assert!(!numbers.contains(&110));
    assert!(number("opus", 48_000).is_some_and(|pt| pt >= 96 && pt != 111));
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), audio.codecs.len(), "no number stands for two formats");
}

#[test]
fn opus_under_the_number_we_like_for_events_moves_the_events() {
    let mut leg = leg(PLAIN, 3);
    leg.takes_offer(&parse(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
         m=audio 5000 RTP/AVP 101\r\na=rtpmap:101 opus/48000/2\r\n",
    ));
    leg.answer(None);
    let audio = first(&leg.offer(None));
    let opus: Vec<_> = audio.codecs.iter().filter(|c| c.pt == 101).collect();
    assert!(opus.len() == 1 && opus[0].is("opus", 48_000));
    assert!(audio.codecs.iter().any(|c| c.is("telephone-event", 8000)));
}

#[test]
fn an_answer_with_its_own_numbers_is_sent_to_by_those() {
    let mut leg = leg(PLAIN, 3);
    leg.offer(None);
    let answer = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
         m=audio 5000 RTP/AVP 99 107 98\r\na=rtpmap:99 SPEEX/16000\r\na=rtpmap:107 opus/48000/2\r\n\
         a=rtpmap:98 telephone-event/48000\r\n";
    leg.takes_answer(&parse(answer));
    let stream = leg.stream();
    assert_eq!((stream.send, stream.events.send), (Some((Codec::Opus, 107)), Some((98, 48_000))));
    // It should use our number, and some use their own.
    assert!(stream.receive.contains(&(111, Codec::Opus)));
    assert!(stream.receive.contains(&(107, Codec::Opus)));
    assert!(stream.events.receive.contains(&(98, 48_000)));
    assert_eq!(
        first(&leg.offer(None)).codecs.iter().find(|c| c.is("opus", 48_000)).unwrap().pt,
        111
    );
}

#[test]
fn roles_of_dtls_follow_the_peer_and_then_stay() {
    let offer = browser("111 0").to_string();
    for (theirs, ours, active) in [
        ("actpass", Setup::Passive, false),
        ("active", Setup::Passive, false),
        ("passive", Setup::Active, true),
    ] {
        let mut leg = leg(Profile::WebRtc, 1);
        leg.takes_offer(&next(&offer, &[("actpass", theirs)]));
        assert_eq!(first(&leg.answer(None)).setup, Some(ours), "{theirs}");
        let Transport::Ice { active: is_active, .. } = leg.stream().transport else { panic!() };
        assert_eq!(is_active, active);
        // Whoever was client stays client when the peer offers both again.
        leg.takes_offer(&parse(&offer));
        assert_eq!(first(&leg.answer(None)).setup, Some(ours), "{theirs}");
        // A new certificate begins a new connection, and the roles with it.
        leg.takes_offer(&next(&offer, &[("AB:CD", "12:34")]));
        assert_eq!(first(&leg.answer(None)).setup, Some(Setup::Passive), "{theirs}");
    }
    let mut leg = leg(Profile::WebRtc, 1);
    for change in [("actpass", "holdconn"), ("sha-256", "sha-1")] {
        let refused = leg.negotiator.accept(SdpKind::Offer, &next(&offer, &[change]));
        assert!(matches!(refused, Err(Refusal::BadDescription(_))), "{change:?}");
    }
}

#[test]
fn protection_is_not_talked_away() {
    let mut required = leg(Profile::Rtp(SrtpPolicy::Required), 1);
    let plain = required.negotiator.accept(SdpKind::Offer, &phone("0 101", ""));
    assert!(matches!(plain, Err(Refusal::BadDescription(_))));
    let (mut front, _) = established();
    let away = "v=0\r\no=- 1 9 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
        m=audio 5000 RTP/AVP 0\r\nm=video 0 RTP/AVP 96\r\n";
    let away = front.negotiator.accept(SdpKind::Offer, &parse(away));
    assert!(matches!(away, Err(Refusal::BadDescription(_))), "{away:?}");
    assert!(matches!(front.stream().keys, Keys::Dtls));
}

#[test]
fn a_peer_that_renews_its_key_gets_a_new_one() {
    let crypto = |key: &str| format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n");
    let (one, two) = ("A".repeat(40), "B".repeat(40));
    let mut leg = leg(Profile::Rtp(SrtpPolicy::Optional), 1);
    let mut keys = |key: &str| {
        leg.takes_offer(&phone("0 101", &crypto(key)));
        leg.answer(None);
        let Keys::Sdes { local, remote, .. } = leg.stream().keys else { panic!() };
        (local, remote)
    };
    let first = keys(&one);
    assert_eq!(keys(&one), first);
    let renewed = keys(&two);
    assert!(renewed.0 != first.0 && renewed.1 != first.1);
}

#[test]
fn a_held_phone_resumes_by_a_late_offer() {
    let (mut front, mut back) = established();
    // The phone holds: the browser can only answer that it listens no more than asked.
    back.takes_offer(&phone("0 101", "a=sendonly\r\n"));
    let offer = front.offer(Some(&back));
    assert_eq!(first(&offer).direction, Direction::SendOnly);
    let answer = next(
        &browser("111 0 110 126").to_string(),
        &[("actpass", "active\r\na=recvonly"), ("m=video 9", "m=video 0")],
    );
    let accepted = front.takes_answer(&answer);
    assert!(!accepted.on_hold && !accepted.far_side_concerned, "it only followed our offer");
    back.answer(Some(&front));
    // A re-INVITE without description asks us to offer: everything is open again.
    let offer = back.offer(Some(&front));
    assert_eq!(first(&offer).direction, Direction::SendRecv);
    assert!(back.takes_answer(&phone("0 101", "")).far_side_concerned);
    assert!(back.stream().direction.sends());
}

#[test]
fn both_may_hold_and_each_resumes_alone() {
    let (mut front, mut back) = established();
    let hold = |direction: &str| {
        next(
            &browser("111 0 110 126").to_string(),
            &[("actpass", &format!("actpass\r\na={direction}"))],
        )
    };
    front.takes_offer(&hold("sendonly"));
    assert_eq!(first(&back.offer(Some(&front))).direction, Direction::SendOnly);
    assert!(!back.takes_answer(&phone("0 101", "a=recvonly\r\n")).on_hold);
    assert_eq!(first(&front.answer(Some(&back))).direction, Direction::RecvOnly);
    // Now the phone holds too, and then the browser resumes: the phone still holds.
    assert!(back.takes_offer(&phone("0 101", "a=inactive\r\n")).on_hold);
    assert_eq!(first(&back.answer(Some(&front))).direction, Direction::Inactive);
    front.takes_offer(&hold("sendrecv"));
    assert_eq!(first(&back.offer(Some(&front))).direction, Direction::SendRecv);
    assert!(back.takes_answer(&phone("0 101", "a=sendonly\r\n")).on_hold);
    assert_eq!(first(&front.answer(Some(&back))).direction, Direction::SendOnly);
}

#[test]
fn the_old_hold_is_answered_without_sending() {
    let (front, mut back) = established();
    let null = phone("0 101", "").to_string().replace("192.0.2.7", "0.0.0.0");
    back.takes_offer(&parse(&null));
    assert_eq!(first(&back.answer(Some(&front))).direction, Direction::RecvOnly);
    let stream = back.stream();
    assert!(!stream.direction.sends());
    let Transport::Rtp { remote, rtcp, .. } = stream.transport else { panic!() };
    assert_eq!((remote, rtcp), (None, None));
}

#[test]
fn a_late_offer_from_each_side_orders_codecs_for_its_reader() {
    let names = |session: &Session| {
        first(session).codecs.iter().map(|c| c.name.clone()).take(4).collect::<Vec<_>>()
    };
    assert_eq!(names(&leg(PLAIN, 1).offer(None)), ["PCMU", "PCMA", "G722", "opus"]);
    assert_eq!(names(&leg(Profile::WebRtc, 1).offer(None)), ["opus", "G722", "PCMU", "PCMA"]);
}

#[test]
fn of_several_audio_sections_the_agreed_one_stays_and_the_others_are_refused() {
    let three = |ports: [u16; 3]| {
        let [a, b, c] = ports;
        parse(&format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
             m=audio {a} TCP/RTP/AVP 0\r\nm=audio {b} RTP/AVP 0\r\nm=audio {c} RTP/AVP 8\r\n"
        ))
    };
    let mut leg = leg(PLAIN, 1);
    leg.takes_offer(&three([1000, 2000, 3000]));
    let ports = |s: &Session| s.media().map(|m| m.port).collect::<Vec<_>>();
    assert_eq!(ports(&leg.answer(None)), [0, 4002, 0]);
    assert_eq!(ports(&leg.offer(None)), [0, 4002, 0]);
    // The agreed one goes away: the next that is in use is taken.
    leg.takes_offer(&three([0, 0, 3000]));
    assert_eq!(ports(&leg.answer(None)), [0, 0, 4002]);
    assert_eq!(leg.stream().send, Some((Codec::Pcma, 8)));
    let fewer = leg.negotiator.accept(SdpKind::Offer, &phone("0 101", ""));
    assert!(matches!(fewer, Err(Refusal::BadDescription(_))));
}

#[test]
fn versions_count_changes_only() {
    let (front, mut back) = established();
    let start = back.negotiator.version;
    for _ in 0..3 {
        back.takes_offer(&phone("0 101", ""));
        assert_eq!(back.answer(Some(&front)).version(), back.negotiator.version);
    }
    assert!(back.negotiator.version <= start + 1, "an answer narrows the offer once");
    let before = back.negotiator.version;
    back.takes_offer(&phone("0 101", "a=sendonly\r\n"));
    assert_eq!(back.answer(Some(&front)).version(), before + 1);
}
