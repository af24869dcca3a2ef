//! Offers and answers as real peers write them.

use super::*;

const CHROME: &str = include_str!("../../../../sdp/tests/data/chrome-offer.sdp");
const FIREFOX: &str = include_str!("../../../../sdp/tests/data/firefox-offer.sdp");
const JSSIP: &str = include_str!("../../../../sdp/tests/data/jssip-answer.sdp");
const BARESIP: &str = include_str!("../../../../sdp/tests/data/baresip-offer.sdp");
const ASTERISK: &str = include_str!("../../../../sdp/tests/data/asterisk-answer.sdp");
const BROADWORKS: &str = include_str!("../../../../sdp/tests/data/broadworks-offer.sdp");
const WEBEX: &str = include_str!("../../../../sdp/tests/data/webex-client-offer.sdp");
const LINPHONE: &str = include_str!("../../../../sdp/tests/data/linphone-osrtp-offer.sdp");
const SNOM: &str = include_str!("../../../../sdp/tests/data/snom-savp-offer.sdp");
const T38: &str = include_str!("../../../../sdp/tests/data/t38-reinvite.sdp");
const BOTH: &str = include_str!("../../../../sdp/tests/data/both-keys-offer.sdp");

const PLAIN: Profile = Profile::Rtp(SrtpPolicy::Off);

/// What is agreed with a peer that offers, alone: codec, event format, protection.
fn agreed(text: &str) -> (Leg, String) {
    let mut leg = leg(PLAIN, 9);
    leg.takes_offer(&parse(text));
    leg.answer(None);
    let stream = leg.stream();
    let (codec, pt) = stream.send.unwrap();
    let events = stream.events.send.map_or("-".to_owned(), |(pt, clock)| format!("{pt}/{clock}"));
    let summary = format!("{codec}={pt} {events} {:?} {:?}", stream.keys, stream.transport);
    (leg, summary)
}

#[test]
fn every_peer_that_offers_gets_a_fitting_answer() {
    for (text, expected) in [
        (CHROME, "opus=111 110/48000 Dtls Ice(lite: false, active: false)"),
        (FIREFOX, "opus=109 101/8000 Dtls Ice(lite: false, active: false)"),
        (BROADWORKS, "opus=99 100/8000 Dtls Ice(lite: true, active: false)"),
        (WEBEX, "opus=111 110/48000 Dtls Ice(lite: false, active: false)"),
        (BARESIP, "opus=96 97/8000 None Rtp(mux: false)"),
        (LINPHONE, "opus=96 101/48000 Sdes Rtp(mux: false)"),
        (SNOM, "G722=9 101/8000 Sdes Rtp(mux: false)"),
        (BOTH, "opus=96 - Dtls Ice(lite: false, active: false)"),
    ] {
        let (leg, summary) = agreed(text);
        assert_eq!(summary, expected);
        let answer = leg.negotiator.agreed.local.as_ref().unwrap().unpack();
        check_answer(&parse(text), &answer).unwrap();
    }
}

#[test]
fn a_browsers_video_is_refused_in_its_place_and_its_mids_are_kept() {
    let (leg, _) = agreed(CHROME);
    let text = leg.negotiator.agreed.local.as_ref().unwrap().unpack().to_string();
    assert!(text.contains("a=group:BUNDLE 0\r\n"), "{text}");
    assert!(text.contains("m=video 0 UDP/TLS/RTP/SAVPF 96 97\r\n"), "{text}");
    assert!(text.contains("a=mid:1\r\n") && text.contains("a=ice-lite\r\n"), "{text}");
}

#[test]
fn a_peer_without_mid_and_bundle_gets_neither() {
    let (leg, _) = agreed(BROADWORKS);
    let text = leg.negotiator.agreed.local.as_ref().unwrap().unpack().to_string();
    assert!(!text.contains("a=mid") && !text.contains("BUNDLE"), "{text}");
    let Transport::Ice { fingerprints, candidates, .. } = leg.stream().transport else { panic!() };
    assert_eq!((fingerprints.len(), candidates.len()), (2, 1));
}

#[test]
fn keys_that_we_do_not_do_are_passed_over() {
    let (leg, _) = agreed(LINPHONE);
    let audio = leg.negotiator.agreed.local.as_ref().unwrap().unpack().media().next().unwrap();
    // The first key has an identifier, the third a session parameter.
    assert_eq!((audio.cryptos.len(), audio.cryptos[0].tag), (1, 2));
    let (leg, _) = agreed(SNOM);
    let audio = leg.negotiator.agreed.local.as_ref().unwrap().unpack().media().next().unwrap();
    assert_eq!(audio.cryptos[0].suite, "AES_CM_128_HMAC_SHA1_80");
}

#[test]
fn of_both_kinds_of_keys_only_dtls_is_answered() {
    let (leg, _) = agreed(BOTH);
    let audio = leg.negotiator.agreed.local.as_ref().unwrap().unpack().media().next().unwrap();
    assert!(audio.cryptos.is_empty() && audio.fingerprints.len() == 1);
}

#[test]
fn answers_of_real_peers_complete_our_offers() {
    let mut browser = leg(Profile::WebRtc, 1);
    browser.offer(None);
    browser.takes_answer(&parse(JSSIP));
    let stream = browser.stream();
    assert_eq!((stream.send, stream.events.send), (Some((Codec::Opus, 111)), Some((110, 48_000))));
    let Transport::Ice { active, candidates, .. } = stream.transport else { panic!() };
    assert_eq!((active, candidates.len()), (false, 1));

    let mut phone = leg(PLAIN, 2);
    phone.offer(None);
    phone.takes_answer(&parse(ASTERISK));
    let stream = phone.stream();
    assert_eq!((stream.send, stream.events.send), (Some((Codec::Pcma, 8)), Some((101, 8000))));
    let Transport::Rtp { remote, rtcp, mux } = stream.transport else { panic!() };
    assert_eq!(remote, Some(([192, 0, 2, 80], 18_022).into()));
    assert_eq!((rtcp, mux), (Some(([192, 0, 2, 80], 18_023).into()), false));
}

#[test]
fn a_fax_offer_is_refused_and_the_call_stays_as_it_was() {
    let mut phone = leg(PLAIN, 2);
    phone.offer(None);
    phone.takes_answer(&parse(ASTERISK));
    // Whoever it is joined with has no fax.
    assert!(phone.takes_offer(&parse(T38)).only_fax);
    let refused = phone.negotiator.describe(SdpKind::Answer, None, &phone.end);
    assert_eq!(refused.unwrap_err(), Refusal::NoCommonCodec);
    phone.negotiator.rollback();
    assert_eq!(phone.stream().send, Some((Codec::Pcma, 8)));
    let mut phone = leg(Profile::Rtp(SrtpPolicy::Required), 2);
    let refused = phone.negotiator.accept(SdpKind::Offer, &parse(T38));
    assert_eq!(refused, Err(Refusal::NoCommonCodec));
}

#[test]
fn rtcp_goes_where_the_peer_says() {
    for (line, expected) in [
        ("a=rtcp:6001\r\n", "192.0.2.7:6001"),
        ("a=rtcp:6001 IN IP4 192.0.2.8\r\n", "192.0.2.8:6001"),
        ("a=rtcp:6001 IN IP4 0.0.0.0\r\n", "192.0.2.7:6001"),
        ("a=rtcp:99999\r\n", "192.0.2.7:5001"),
        ("", "192.0.2.7:5001"),
    ] {
        let mut leg = leg(PLAIN, 2);
        leg.takes_offer(&phone("0 101", line));
        leg.answer(None);
        let Transport::Rtp { rtcp, .. } = leg.stream().transport else { panic!() };
        assert_eq!(rtcp.unwrap().to_string(), expected, "{line}");
    }
    let mut leg = leg(PLAIN, 2);
    leg.takes_offer(&phone("0 101", "a=rtcp-mux\r\n"));
    assert!(leg.answer(None).media().next().unwrap().rtcp_mux);
    let Transport::Rtp { rtcp, mux, .. } = leg.stream().transport else { panic!() };
    assert_eq!((rtcp, mux), (None, true));
}

#[test]
fn packet_times_are_whole_tens_within_what_the_peer_takes() {
    for (lines, expected) in [
        ("", 20),
        ("a=ptime:30\r\n", 30),
        ("a=ptime:25\r\n", 20),
        ("a=ptime:40\r\na=maxptime:30\r\n", 30),
        ("a=ptime:1000\r\n", 60),
        ("a=ptime:0\r\na=maxptime:0\r\n", 10),
    ] {
        let mut leg = leg(PLAIN, 2);
        leg.takes_offer(&phone("0 101", lines));
        leg.answer(None);
        assert_eq!(leg.stream().ptime.as_millis(), expected, "{lines}");
    }
}

#[test]
fn wishes_for_opus_go_through_between_two_that_speak_it() {
    let mut front = leg(Profile::WebRtc, 1);
    let mut back = leg(Profile::WebRtc, 2);
    front.takes_offer(&parse(FIREFOX));
    let offer = back.offer(Some(&front));
    let fmtp = offer.media().next().unwrap().codecs[0].fmtp.clone().unwrap();
    assert_eq!(fmtp, "minptime=10;useinbandfec=1;maxplaybackrate=48000;stereo=1");
    back.takes_answer(&parse(JSSIP));
    let answer = front.answer(Some(&back));
    let fmtp = answer.media().next().unwrap().codecs[0].fmtp.clone().unwrap();
    assert_eq!(fmtp, "minptime=10;useinbandfec=1");
}

/// Plain samples are taken when offered, at either rate and in one channel, and never offered.
#[test]
fn plain_samples_are_taken_when_offered() {
    for (line, expected) in [
        ("a=rtpmap:96 L16/16000\r\n", Some((Codec::L16Wide, 96))),
        ("a=rtpmap:96 L16/8000/1\r\n", Some((Codec::L16, 96))),
        ("a=rtpmap:96 L16/16000/2\r\n", Some((Codec::Pcmu, 0))),
    ] {
        let mut leg = leg(PLAIN, 2);
        leg.takes_offer(&phone("96 0", line));
        leg.answer(None);
        assert_eq!(leg.stream().send, expected, "{line}");
    }
    let offer = leg(PLAIN, 3).offer(None);
    let audio = offer.media().next().unwrap();
    assert!(audio.codecs.iter().all(|c| c.name != "L16"));
}
