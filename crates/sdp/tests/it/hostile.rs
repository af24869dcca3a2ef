//! Input that is broken, odd or too large: taken where it does no harm, else refused by name.

use crosspoint_sdp::{Direction, ParseError, Session};

const HEAD: &str = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n";

fn parse(text: &str) -> Result<Session, ParseError> {
    Session::parse(text.as_bytes())
}

#[test]
fn takes_what_does_no_harm() {
    for text in [
        "v=0\nm=audio 4000 RTP/AVP 0\n",
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n",
        "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=\nt=0 0\nm=audio 4000 RTP/AVP 0\n",
        "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nt=0 0\n\nm=audio  4000   RTP/AVP  0 \n\n",
        "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nt=0 0\nx=what\nm=audio 4000/2 RTP/AVP 0\ny=more\n",
        "v=0\no=- 1 1 IN IP4 host.example\ns=-\nc=IN IP4 host.example\nt=0 0\nm=audio 4000 RTP/AVP 0",
        "v=0\na=tool:x\no=- 1 1 IN IP4 192.0.2.1\nb=AS:64\nt=0 0\ns=-\nm=audio 4000 RTP/AVP 0\n",
    ] {
        let session = parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        let media = session.media().next().expect("a section");
        assert_eq!((media.port, media.codecs[0].name.as_str()), (4000, "PCMU"), "{text:?}");
        let again = Session::parse(session.to_string().as_bytes());
        assert_eq!(again.as_ref(), Ok(&session), "{text:?}");
    }
}

#[test]
fn text_that_is_not_utf_8_does_not_spoil_the_rest() {
    let mut bytes = b"v=0\no=- 1 1 IN IP4 192.0.2.1\ns=Tel\xe9phone\nt=0 0\n".to_vec();
    bytes.extend_from_slice(b"m=audio 4000 RTP/AVP 0\na=x\xff:\xfe\n");
    assert_eq!(Session::parse(&bytes).unwrap().len(), 1);
}

#[test]
fn refuses_what_cannot_be_read() {
    for text in [
        "",
        "\n\n",
        "hello",
        "v=1\n",
        "o=- 1 1 IN IP4 192.0.2.1\n",
        "v=0\nm=audio\n",
        "v=0\nm=audio 4000\n",
        "v=0\nm=audio 70000 RTP/AVP 0\n",
        "v=0\nm=audio -1 RTP/AVP 0\n",
        "v=0\nm=audio 4000 RTP/AVP\n",
        "v=0\no=- one 1 IN\n",
    ] {
        assert!(parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_bare_carriage_return_is_named_with_its_line() {
    let text = format!("{HEAD}m=audio 4000 RTP/AVP 0\na=mid:0\ra=crypto:1\n");
    assert_eq!(parse(&text), Err(ParseError::ControlCharacter(7)));
    assert!(parse(&text.replace('\r', "\0")).is_err());
}

#[test]
fn limits_hold_before_anything_is_built() {
    let sections = |n: usize| format!("{HEAD}{}", "m=audio 1 RTP/AVP 0\n".repeat(n));
    assert_eq!(parse(&sections(32)).unwrap().len(), 32);
    assert_eq!(parse(&sections(33)), Err(ParseError::TooMany));
    let attributes = |n: usize| format!("{HEAD}m=audio 1 RTP/AVP 0\n{}", "a=x\n".repeat(n));
    assert!(parse(&attributes(1024)).is_ok());
    assert_eq!(parse(&attributes(1025)), Err(ParseError::TooMany));
    let long = format!("{HEAD}a=x:{}\n", "y".repeat(65_535));
    assert_eq!(parse(&long), Err(ParseError::TooLong));
}

#[test]
fn lists_inside_a_section_are_bounded() {
    let lines = |line: &str, n: usize| line.repeat(n);
    let text = format!(
        "{HEAD}m=audio 1 RTP/SAVP{}\n{}{}{}",
        " 0".repeat(5000),
        lines("a=candidate:1 1 udp 1 192.0.2.1 5 typ host\n", 300),
        lines("a=fingerprint:sha-256 AB\n", 300),
        lines("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\n", 300),
    );
    let media = parse(&text).unwrap().media().next().unwrap();
    assert_eq!((media.candidates.len(), media.fingerprints.len()), (64, 8));
    assert_eq!((media.cryptos.len(), media.formats.len()), (32, 256));
    assert!(media.codecs.len() <= 128);
}

#[test]
fn broken_attributes_mean_nothing() {
    let text = format!(
        "{HEAD}m=audio 4000 RTP/AVP 0 96 97 200 x\na=rtpmap\na=rtpmap:96\na=rtpmap:97 opus\n\
         a=rtpmap:200 opus/48000\na=fmtp:\na=ptime:soon\na=rtcp:99999\na=setup:maybe\n\
         a=fingerprint:sha-256 XY:ZZ\na=fingerprint:sha-256\na=crypto:x y z\na=crypto:1\n\
         a=ssrc:nobody\na=candidate:\na=SENDONLY\n"
    );
    let media = parse(&text).unwrap().media().next().unwrap();
    assert_eq!(media.codecs.len(), 1);
    assert_eq!((media.ptime, media.rtcp_port, media.setup, &media.ssrc), (None, None, None, &None));
    assert!(media.fingerprints.is_empty() && media.cryptos.is_empty());
    assert_eq!(media.candidates.iter().filter_map(|c| c.udp_address()).count(), 0);
    assert_eq!(media.direction, Direction::SendRecv);
}

/// Bytes of every peer, changed at random from fixed seeds: whatever is taken prints to what is
/// taken again and means the same.
#[test]
fn whatever_is_taken_prints_to_the_same_meaning() {
    let seeds = [
        include_str!("../data/chrome-offer.sdp"),
        include_str!("../data/linphone-osrtp-offer.sdp"),
        include_str!("../data/t38-reinvite.sdp"),
    ];
    let mut rng = crosspoint_base::Rng::from_u64(7);
    let mut taken = 0;
    for round in 0..6000 {
        let mut bytes = seeds[round % seeds.len()].as_bytes().to_vec();
        for _ in 0..=rng.below(4) {
            let at = rng.below(u32::try_from(bytes.len()).unwrap()) as usize;
            match rng.below(4) {
                0 => bytes[at] = rng.next_u32().to_le_bytes()[0],
                1 => drop(bytes.remove(at)),
                2 => bytes.truncate(at.max(8)),
                _ => bytes.insert(at, b" :=\r\n/0"[rng.below(7) as usize]),
            }
        }
        let Ok(session) = Session::parse(&bytes) else { continue };
        taken += 1;
        let printed = session.to_string();
        let again = Session::parse(printed.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{printed}"));
        assert!(session.media().eq(again.media()), "{printed}");
    }
    assert!(taken > 500, "only {taken} were taken");
}
