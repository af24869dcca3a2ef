//! Fax and text, which pass as they are from one phone to another.

use super::*;

const T38: &str =
    "a=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n";
const T140: &str = "a=rtpmap:98 t140/1000\r\na=rtpmap:100 red/1000\r\na=fmtp:100 98/98/98\r\n";
const SOUND: &str = "m=audio 5000 RTP/AVP 0\r\n";

fn said(host: u8, sections: &str) -> Session {
    parse(&format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.{host}\r\ns=-\r\nc=IN IP4 192.0.2.{host}\r\nt=0 0\r\n\
         {sections}"
    ))
}

fn fax(port: u16) -> String {
    format!("m=image {port} udptl t38\r\n{T38}")
}

fn text(port: u16) -> String {
    format!("m=text {port} RTP/AVP 100 98\r\n{T140}")
}

/// Kind and whether it is in use, section by section.
fn shape(session: &Session) -> Vec<(String, bool)> {
    session.media().map(|m| (m.kind.clone(), m.port != 0)).collect()
}

fn is(kind: &str, used: bool) -> (String, bool) {
    (kind.to_owned(), used)
}

fn plain(seed: u64) -> Leg {
    leg(Profile::Rtp(SrtpPolicy::Off), seed)
}

/// Two phones in a call with sound.
fn in_call() -> (Leg, Leg) {
    let (mut a, mut b) = (plain(1), plain(2));
    a.takes_offer(&said(7, SOUND));
    b.offer(Some(&a));
    b.takes_answer(&said(8, SOUND));
    a.answer(Some(&b));
    (a, b)
}

#[test]
fn a_call_becomes_a_fax_in_the_same_section_and_a_call_again() {
    let (mut a, mut b) = in_call();
    let accepted = a.takes_offer(&said(7, &fax(7000)));
    assert!(accepted.passed_news && accepted.only_fax && !accepted.far_side_concerned);
    assert!(a.stream().has_sound, "until it is answered nothing has changed");
    let offer = b.offer(Some(&a));
    assert_eq!(shape(&offer), [is("image", true)]);
    let section = offer.media().next().unwrap();
    assert_eq!(section.port, b.end.address.port() + 2000);
    for line in T38.lines() {
        assert!(offer.to_string().contains(line), "{line}: {offer}");
    }
    assert!(!offer.to_string().contains("192.0.2.7"), "{offer}");
    let less = fax(8000).replace("14400", "9600");
    assert!(b.takes_answer(&said(8, &less)).only_fax);
    let answer = a.answer(Some(&b));
    assert_eq!(shape(&answer), [is("image", true)]);
    assert!(answer.to_string().contains("a=T38MaxBitRate:9600"), "{answer}");
    for (leg, port) in [(&a, "192.0.2.7:7000"), (&b, "192.0.2.8:8000")] {
        let stream = leg.stream();
        assert!(!stream.has_sound && stream.direction == Direction::Inactive);
        let Transport::Rtp { remote: None, rtcp: None, .. } = stream.transport else {
            panic!("{:?}", stream.transport)
        };
        assert_eq!(stream.passed.len(), 1);
        assert_eq!(stream.passed[0].remote.unwrap().to_string(), port);
    }
    assert!(b.takes_offer(&said(8, SOUND)).passed_news);
    assert_eq!(shape(&a.offer(Some(&b))), [is("audio", true)]);
    a.takes_answer(&said(7, SOUND));
    assert_eq!(shape(&b.answer(Some(&a))), [is("audio", true)]);
    assert!(a.stream().has_sound && b.stream().passed.is_empty());
}

/// The way of other gateways: sound is refused, and fax stands in a section of its own.
#[test]
fn fax_in_a_section_of_its_own_is_answered_there() {
    let (mut a, mut b) = in_call();
    let refused = SOUND.replace("5000", "0");
    a.takes_offer(&said(7, &format!("{refused}{}", fax(7000))));
    let offer = b.offer(Some(&a));
    assert_eq!(shape(&offer), [is("image", true)]);
    b.takes_answer(&said(8, &fax(8000)));
    assert_eq!(shape(&a.answer(Some(&b))), [is("audio", false), is("image", true)]);
    a.takes_offer(&said(7, &format!("{SOUND}{}", fax(0))));
    assert_eq!(shape(&b.offer(Some(&a))), [is("audio", true)]);
    b.takes_answer(&said(8, SOUND));
    assert_eq!(shape(&a.answer(Some(&b))), [is("audio", true), is("image", false)]);
}

#[test]
fn a_fax_that_the_far_side_refuses_leaves_the_sound_as_it_was() {
    let (mut a, mut b) = in_call();
    let before = format!("{:?}", a.stream());
    a.takes_offer(&said(7, &fax(7000)));
    b.offer(Some(&a));
    b.negotiator.rollback();
    let view = b.negotiator.view();
    let refused = a.negotiator.describe(SdpKind::Answer, Some(&view), &a.end);
    assert_eq!(refused.unwrap_err(), Refusal::NoCommonCodec);
    a.negotiator.rollback();
    assert_eq!(format!("{:?}", a.stream()), before);
    assert_eq!(shape(&a.offer(Some(&b))), [is("audio", true)]);
}

/// Asked for both, each is answered by itself.
#[test]
fn fax_beside_sound_is_taken_or_refused_by_itself() {
    for (answer, wanted) in [
        (format!("{SOUND}{}", fax(8000)), [true, true]),
        (format!("{SOUND}{}", fax(0)), [true, false]),
        (format!("{}{}", SOUND.replace("5000", "0"), fax(8000)), [false, true]),
    ] {
        let (mut a, mut b) = (plain(1), plain(2));
        a.takes_offer(&said(7, &format!("{SOUND}{}", fax(7000))));
        assert_eq!(shape(&b.offer(Some(&a))), [is("audio", true), is("image", true)]);
        b.takes_answer(&said(8, &answer));
        let [sound, image] = wanted;
        assert_eq!(shape(&a.answer(Some(&b))), [is("audio", sound), is("image", image)]);
        assert_eq!(a.stream().has_sound, sound);
        assert_eq!(a.stream().passed.len(), usize::from(image));
    }
}

#[test]
fn a_call_may_begin_as_a_fax() {
    let (mut a, mut b) = (plain(1), plain(2));
    a.takes_offer(&said(7, &fax(7000)));
    assert_eq!(shape(&b.offer(Some(&a))), [is("image", true)]);
    b.takes_answer(&said(8, &fax(8000)));
    assert_eq!(shape(&a.answer(Some(&b))), [is("image", true)]);
    b.takes_offer(&said(8, SOUND));
    assert_eq!(shape(&a.offer(Some(&b))), [is("audio", true)]);
}

/// No browser knows fax or text, and what must be encrypted is not sent in the clear.
#[test]
fn neither_browsers_nor_encrypted_legs_are_offered_what_passes_in_the_clear() {
    for profile in [Profile::WebRtc, Profile::Rtp(SrtpPolicy::Required)] {
        let mut a = plain(1);
        a.takes_offer(&said(7, &fax(7000)));
        let view = a.negotiator.view();
        let mut b = leg(profile, 2);
        let refused = b.negotiator.describe(SdpKind::Offer, Some(&view), &b.end);
        assert_eq!(refused.unwrap_err(), Refusal::NoCommonCodec);
        a.takes_offer(&said(7, &format!("{SOUND}{}", text(7002))));
        assert_eq!(shape(&b.offer(Some(&a))), [is("audio", true)]);
        assert!(b.negotiator.accept(SdpKind::Offer, &said(8, &fax(8000))).is_err());
    }
}

#[test]
fn text_goes_beside_sound_with_its_repetitions() {
    let (mut a, mut b) = (plain(1), plain(2));
    a.takes_offer(&said(7, &format!("{SOUND}{}", text(7002))));
    let offer = b.offer(Some(&a));
    assert_eq!(shape(&offer), [is("audio", true), is("text", true)]);
    assert!(offer.to_string().contains("a=fmtp:100 98/98/98"), "{offer}");
    b.takes_answer(&said(8, &format!("{SOUND}{}", text(8002))));
    assert_eq!(shape(&a.answer(Some(&b))), [is("audio", true), is("text", true)]);
    let passed = a.stream().passed;
    assert_eq!(passed[0].rtcp.unwrap().to_string(), "192.0.2.7:7003");
    assert!(passed[0].formats.contains(&100) && passed[0].formats.contains(&98));
    let (mut a, mut b) = (plain(1), plain(2));
    a.takes_offer(&said(7, &format!("{SOUND}{}", text(7002))));
    b.offer(Some(&a));
    b.takes_answer(&said(8, &format!("{SOUND}{}", text(0))));
    assert_eq!(shape(&a.answer(Some(&b))), [is("audio", true), is("text", false)]);
}

/// Video, text and fax each keep their place.
#[test]
fn sections_of_all_kinds_keep_their_places() {
    let video = "m=video 6000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n";
    let all = |port: u16| format!("{SOUND}{}{video}{}", text(port), fax(port + 2));
    let (mut a, mut b) = (plain(1), plain(2));
    a.takes_offer(&said(7, &all(7000)));
    let offer = b.offer(Some(&a));
    let mut kinds: Vec<_> = shape(&offer);
    assert!(kinds.iter().all(|(_, used)| *used), "{offer}");
    kinds.sort();
    assert_eq!(kinds.len(), 4, "{offer}");
    b.takes_answer(&offer);
    let answer = a.answer(Some(&b));
    assert_eq!(
        shape(&answer),
        [is("audio", true), is("text", true), is("video", true), is("image", true)]
    );
}
