//! Offer and answer between two of us, and against descriptions as peers write them.

mod changes;
mod manner;
mod matrix;
mod passed;
mod peers;
mod video;

use super::*;
use crate::control::SrtpPolicy;

struct Leg {
    negotiator: Negotiator,
    end: LocalEnd,
}

fn leg(profile: Profile, seed: u64) -> Leg {
    let port = 4000 + u16::try_from(seed).unwrap() * 2;
    let address = SocketAddr::from(([192, 0, 2, 1], port));
    Leg {
        negotiator: Negotiator::new(profile, &mut Rng::from_u64(seed)),
        end: LocalEnd {
            address,
            video: Some(SocketAddr::new(address.ip(), port + 1000)),
            passed: [(PassedKind::Fax, 2000), (PassedKind::Text, 3000)]
                .map(|(kind, more)| (kind, SocketAddr::new(address.ip(), port + more)))
                .to_vec(),
            candidates: vec![format!("candidate:1 1 udp 2130706431 192.0.2.1 {port} typ host")],
            ice_lite: true,
            fingerprint: vec![0xab; 32],
        },
    }
}

impl Leg {
    fn offer(&mut self, peer: Option<&Leg>) -> Session {
        let view = peer.map(|p| p.negotiator.view());
        reparse(&self.negotiator.describe(SdpKind::Offer, view.as_ref(), &self.end).unwrap())
    }

    fn answer(&mut self, peer: Option<&Leg>) -> Session {
        let view = peer.map(|p| p.negotiator.view());
        reparse(&self.negotiator.describe(SdpKind::Answer, view.as_ref(), &self.end).unwrap())
    }

    fn takes_offer(&mut self, session: &Session) -> Accepted {
        self.negotiator.accept(SdpKind::Offer, session).unwrap()
    }

    fn takes_answer(&mut self, session: &Session) -> Accepted {
        self.negotiator.accept(SdpKind::Answer, session).unwrap()
    }

    fn stream(&self) -> StreamConfig {
        self.negotiator.stream().unwrap()
    }
}

/// What the peer sees is what was printed, and what must never leave does not.
fn reparse(session: &Session) -> Session {
    let text = session.to_string();
    let again = Session::parse(text.as_bytes()).unwrap();
    assert_eq!(&again, session);
    for media in again.media().filter(|m| m.port != 0) {
        let is_dtls = !media.fingerprints.is_empty();
        assert!(!is_dtls || media.cryptos.is_empty(), "SDES beside DTLS: {text}");
        assert_eq!(is_dtls, media.ice_ufrag.is_some() && media.ice_pwd.is_some(), "{text}");
        assert_eq!(is_dtls, media.setup.is_some(), "{text}");
        if media.setup == Some(Setup::ActPass) {
            assert!(media.rtcp_mux && media.mid.is_some() && media.is_bundled, "{text}");
        }
        let has_codecs = !media.codecs.is_empty() && media.codecs.len() == media.formats.len();
        assert!(has_codecs || media.is_fax(), "{text}");
        let mut numbers: Vec<u8> = media.codecs.iter().map(|c| c.pt).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), media.codecs.len(), "a number stands for two formats: {text}");
    }
    again
}

fn parse(text: &str) -> Session {
    Session::parse(text.as_bytes()).unwrap()
}

fn phone(codecs: &str, rest: &str) -> Session {
    parse(&format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
         m=audio 5000 RTP/AVP {codecs}\r\na=rtpmap:101 telephone-event/8000\r\n{rest}"
    ))
}

fn browser(codecs: &str) -> Session {
    parse(&format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE audio 1\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF {codecs}\r\nc=IN IP4 0.0.0.0\r\na=mid:audio\r\n\
         a=rtpmap:111 opus/48000/2\r\na=rtpmap:110 telephone-event/48000\r\n\
         a=rtpmap:126 telephone-event/8000\r\na=ice-ufrag:abcd\r\n\
         a=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 AB:CD\r\na=setup:actpass\r\n\
         a=rtcp-mux\r\na=candidate:1 1 udp 1 192.0.2.9 6000 typ host\r\n\
         a=candidate:2 1 udp 1 x.local 6001 typ host\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\n"
    ))
}

#[test]
fn a_browser_and_a_phone_agree_on_a_common_codec_without_translation() {
    let mut front = leg(Profile::WebRtc, 1);
    let mut back = leg(Profile::Rtp(SrtpPolicy::Off), 2);
    front.takes_offer(&browser("111 9 0 8 110 126"));
    let offer = back.offer(Some(&front));
    let audio = offer.media().next().unwrap();
    assert_eq!((audio.protocol.as_str(), audio.codecs[0].name.as_str()), ("RTP/AVP", "opus"));
    assert!(audio.cryptos.is_empty() && audio.fingerprints.is_empty());
    back.takes_answer(&phone("0 101", ""));
    let answer = front.answer(Some(&back));
    let sections: Vec<Media> = answer.media().collect();
    assert_eq!(sections[0].codecs[0].name, "PCMU");
    assert_eq!(
        (sections[0].mid.as_deref(), sections[0].setup),
        (Some("audio"), Some(Setup::Passive))
    );
    assert!(sections[0].rtcp_mux && sections[0].is_bundled && answer.is_ice_lite());
    assert_eq!((sections.len(), sections[1].port, sections[1].kind.as_str()), (2, 0, "video"));
    assert_eq!(front.stream().send, Some((Codec::Pcmu, 0)));
    assert_eq!(back.stream().send, Some((Codec::Pcmu, 0)));
    assert_eq!(front.stream().events.send, Some((126, 8000)));
    let Transport::Ice { candidates, active, .. } = front.stream().transport else { panic!() };
    assert_eq!((candidates.len(), active), (1, false));
}

#[test]
fn a_browser_with_only_opus_reaches_a_phone_with_only_g711() {
    let mut front = leg(Profile::WebRtc, 1);
    let mut back = leg(Profile::Rtp(SrtpPolicy::Off), 2);
    front.takes_offer(&browser("111 110"));
    back.offer(Some(&front));
    back.takes_answer(&phone("8 101", ""));
    let answer = front.answer(Some(&back));
    assert_eq!(answer.media().next().unwrap().codecs[0].name, "opus");
    assert_eq!(front.stream().send, Some((Codec::Opus, 111)));
    assert_eq!(back.stream().send, Some((Codec::Pcma, 8)));
    assert_eq!(front.stream().events.send, Some((110, 48_000)));
}

#[test]
fn a_phone_calls_a_browser_that_gets_everything_it_insists_on() {
    let mut front = leg(Profile::Rtp(SrtpPolicy::Off), 1);
    let mut back = leg(Profile::WebRtc, 2);
    front.takes_offer(&phone("8 0 101", ""));
    let offer = back.offer(Some(&front));
    let audio = offer.media().next().unwrap();
    assert!(audio.rtcp_mux && audio.is_bundled && audio.mid.is_some() && audio.ice_ufrag.is_some());
    assert!(audio.cryptos.is_empty());
    assert_eq!((audio.setup, audio.codecs[0].name.as_str()), (Some(Setup::ActPass), "PCMA"));
    let mut other = leg(Profile::WebRtc, 3);
    other.takes_offer(&offer);
    let answer = other.answer(None);
    back.takes_answer(&answer);
    assert_eq!(back.stream().send, Some((Codec::Pcma, 8)));
    assert_eq!(front.answer(Some(&back)).media().next().unwrap().codecs[0].name, "PCMA");
}

#[test]
fn a_browser_that_answers_without_a_fingerprint_is_refused() {
    let mut back = leg(Profile::WebRtc, 2);
    back.offer(None);
    let refused = back.negotiator.accept(SdpKind::Answer, &phone("0 101", ""));
    assert!(matches!(refused, Err(Refusal::BadDescription(_))));
}

#[test]
fn keys_in_the_description_go_both_ways() {
    for policy in [SrtpPolicy::Optional, SrtpPolicy::Required] {
        let mut caller = leg(Profile::Rtp(policy), 1);
        let mut called = leg(Profile::Rtp(SrtpPolicy::Off), 2);
        let offer = caller.offer(None);
        let audio = offer.media().next().unwrap();
        assert!(audio.cryptos.len() >= 2 && audio.fingerprints.is_empty());
        called.takes_offer(&offer);
        caller.takes_answer(&called.answer(None));
        let (Keys::Sdes { local: a, remote: b, .. }, Keys::Sdes { local: c, remote: d, .. }) =
            (caller.stream().keys, called.stream().keys)
        else {
            panic!("both have keys")
        };
        assert_eq!((a, b), (d, c));
    }
}

#[test]
fn optional_keys_may_be_passed_over_and_required_ones_not() {
    let mut caller = leg(Profile::Rtp(SrtpPolicy::Optional), 1);
    caller.offer(None);
    caller.takes_answer(&phone("0", ""));
    assert!(matches!(caller.stream().keys, Keys::None));
    let mut caller = leg(Profile::Rtp(SrtpPolicy::Required), 1);
    caller.offer(None);
    assert!(caller.negotiator.accept(SdpKind::Answer, &phone("0", "")).is_err());
}

fn established() -> (Leg, Leg) {
    let mut front = leg(Profile::WebRtc, 1);
    let mut back = leg(Profile::Rtp(SrtpPolicy::Off), 2);
    front.takes_offer(&browser("111 0 110 126"));
    back.offer(Some(&front));
    back.takes_answer(&phone("0 101", ""));
    front.answer(Some(&back));
    (front, back)
}

#[test]
fn hold_and_resume_by_the_phone_reach_the_browser_and_come_back_right() {
    let (mut front, mut back) = established();
    for (hold, theirs, ours, answer) in [
        ("a=sendonly\r\n", "sendonly", Direction::SendOnly, "a=recvonly\r\n"),
        ("a=inactive\r\n", "inactive", Direction::Inactive, "a=inactive\r\n"),
    ] {
        let accepted = back.takes_offer(&phone("0 101", hold));
        assert!(accepted.on_hold && accepted.far_side_concerned);
        let offer = front.offer(Some(&back));
        assert_eq!(offer.media().next().unwrap().direction, ours, "{theirs}");
        let text = browser("111 0 110 126")
            .to_string()
            .replace("a=mid:audio", &format!("a=mid:audio\r\n{}", answer.trim_end()));
        front.takes_answer(&parse(
            &text.replace("actpass", "active").replace("m=video 9", "m=video 0"),
        ));
        let answered = back.answer(Some(&front));
        assert_eq!(answered.media().next().unwrap().direction, ours.reversed());
        assert!(!back.stream().direction.sends());
    }
    assert!(back.takes_offer(&phone("0 101", "")).far_side_concerned);
    let offer = front.offer(Some(&back));
    assert_eq!(offer.media().next().unwrap().direction, Direction::SendRecv);
}

#[test]
fn the_old_null_address_is_a_hold_and_a_browsers_is_not() {
    let (mut front, mut back) = established();
    let null = phone("0 101", "").to_string().replace("192.0.2.7", "0.0.0.0");
    assert!(back.takes_offer(&parse(&null)).on_hold);
    assert!(!front.takes_offer(&browser("111 0")).on_hold);
}

#[test]
fn an_unchanged_refresh_concerns_nobody_and_keeps_the_version() {
    let (mut front, mut back) = established();
    let first = back.offer(Some(&front));
    back.takes_answer(&phone("0 101", ""));
    assert!(!back.takes_offer(&phone("0 101", "")).far_side_concerned);
    let second = back.offer(Some(&front));
    assert_eq!(first.version(), second.version());
    let early = front.answer(Some(&back));
    assert_eq!(early, front.answer(Some(&back)));
}

#[test]
fn refuses_what_cannot_work() {
    let mut back = leg(Profile::Rtp(SrtpPolicy::Off), 1);
    let no_codec = back.negotiator.accept(SdpKind::Offer, &phone("18 101", ""));
    assert_eq!(no_codec, Err(Refusal::NoCommonCodec));
    let savp = phone("0", "").to_string().replace("RTP/AVP", "RTP/SAVP");
    assert!(back.negotiator.accept(SdpKind::Offer, &parse(&savp)).is_err());
    assert_eq!(back.negotiator.accept(SdpKind::Answer, &phone("0", "")), Err(Refusal::WrongState));
    back.offer(None);
    let two = format!("{}m=audio 1 RTP/AVP 0\r\n", phone("0", ""));
    assert!(back.negotiator.accept(SdpKind::Answer, &parse(&two)).is_err());
}
