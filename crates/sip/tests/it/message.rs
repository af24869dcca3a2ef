//! Messages: byte-exact forwarding, typed access, refusals.

use bytes::Bytes;
use crosspoint_base::Rng;
use crosspoint_sip::framing::{Frame, StreamDecoder};
use crosspoint_sip::{HeaderName, Limits, Message, Method, Response, StatusCode};

pub(crate) const INVITE: &str = "INVITE sip:bob@biloxi.com SIP/2.0\r\n\
Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776asdhds ,\r\n SIP/2.0/UDP 10.0.0.1\r\n\
Max-Forwards: 70\r\nt: \"Bob \\\"B\\\" , B\" <sip:bob@biloxi.com;x=1>\r\n\
From: Alice <sip:+1%6C@atlanta.com>;tag = 1928301774\r\ni: a84b4c76e66710@pc33.atlanta.com\r\n\
CSeq: 314159   INVITE\r\nX-Custom: caf\u{e9}\r\nContact: <sip:alice@pc33.atlanta.com;ob>, sip:x@y\r\n\
Supported: 100rel,timer\r\nContent-Type: application/sdp\r\nContent-Length: 4\r\n\r\nv=0\n";

fn parse(text: &str) -> Result<Message, crosspoint_sip::ParseError> {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn an_untouched_message_prints_byte_for_byte() {
    assert_eq!(parse(INVITE).unwrap().print(), INVITE.as_bytes());
    let latin = [INVITE.as_bytes()[..60].to_vec(), INVITE.as_bytes()[60..].to_vec()].concat();
    let latin: Vec<u8> = latin.into_iter().map(|b| if b == 0xc3 { 0xe9 } else { b }).collect();
    let bytes = Bytes::from(latin);
    assert_eq!(Message::parse(bytes.clone()).unwrap().print(), bytes);
}

#[test]
fn typed_views_read_folds_quotes_and_compact_names() {
    let Message::Request(request) = parse(INVITE).unwrap() else { panic!("a request") };
    let headers = &request.headers;
    assert_eq!(headers.via().unwrap().branch().unwrap(), "z9hG4bK776asdhds");
    assert_eq!(headers.values(&HeaderName::VIA).count(), 2);
    assert_eq!(headers.from().unwrap().tag().unwrap(), "1928301774");
    assert_eq!(headers.to().unwrap().display_text().unwrap(), "Bob \"B\" , B");
    assert_eq!(headers.cseq().unwrap().number, 314_159);
    assert_eq!(headers.contacts().count(), 2);
    assert!(headers.has_option(&HeaderName::SUPPORTED, "timer"));
    assert_eq!(headers.from().unwrap().uri.user().unwrap(), "+1%6C");
}

#[test]
fn refuses_what_two_readers_could_read_differently() {
    let check = |from: &str, to: &str, rule: &str| {
        let error = parse(&INVITE.replace(from, to)).expect_err(rule);
        assert_eq!(error.rule, rule);
        error
    };
    let two = "Content-Length: 4\r\nContent-Length: 3";
    let error = check("Content-Length: 4", two, "two different Content-Length values");
    assert_eq!(error.answer.unwrap().status, StatusCode::BAD_REQUEST);
    check("Content-Length: 4", "Content-Length: 40", "Content-Length is larger than the message");
    check("Content-Length: 4", "Content-Length: -4", "Content-Length is not a number");
    check("X-Custom: caf", "X-Custom: a\rRoute: b", "bare CR or NUL in a line");
    check("314159   INVITE", "314159   ACK", "CSeq names another method");
    check("Max-Forwards: 70", "Max-Forwards 70", "header has no colon");
}

/// Framing finds where a message ends, and the parser how long its body is: both by the same line,
/// or not at all.
#[test]
fn a_length_is_one_length_however_it_is_written() {
    let fine = [
        "Content-Length: 4",
        "content-length: 4",
        "CONTENT-LENGTH:4",
        "cOnTeNt-LeNgTh :\t 4 ",
        "l: 4",
        "L : 4",
        "Content-Length:\r\n 4",
        "Content-Length: 0004",
        "Content-Length: 4\r\nl: 4",
        "X-Fold: y\r\n Content-Length: 0\r\nContent-Length: 4",
        "Content_Length: 0\r\nContent-Length: 4",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Content-Length-X: 0\r\nContent-Length: 4",
    ];
    for written in fine {
        let message = INVITE.replace("Content-Length: 4", written);
        let mut stream = StreamDecoder::new(Limits::default());
        stream.push(message.repeat(2).as_bytes());
        for _ in 0..2 {
            let frame = stream.next_frame();
            let Ok(Some(Frame::Message(bytes))) = frame else { panic!("{written:?}: {frame:?}") };
            assert_eq!(bytes, message.as_bytes(), "{written:?}");
            let Message::Request(request) = Message::parse(bytes).unwrap() else { panic!() };
            assert_eq!(request.body.len(), 4, "{written:?}");
        }
        assert!(!stream.has_partial());
    }
    let refused = [
        "Content-Length: 4\r\nContent-Length: 0",
        "l: 4\r\nContent-Length: 0",
        "Content-Length: 0\r\nL: 4",
        "Content-Length: 4, 0",
        "Content-Length: 4 4",
        "Content-Length: 4;x",
        "Content-Length: +4",
        "Content-Length: 0x4",
        "Content-Length: 4\r\n 0",
        "Content-Length: ",
        "Content-Length: 18446744073709551620",
        "Content-Length\0: 0\r\nContent-Length: 4",
        "Content-Length: 4\0",
    ];
    for written in refused {
        let message = INVITE.replace("Content-Length: 4", written);
        assert!(parse(&message).is_err(), "{written:?}");
        let mut stream = StreamDecoder::new(Limits::default());
        stream.push(message.repeat(2).as_bytes());
        // Nothing after it is taken for a message, whatever its body says.
        while let Ok(Some(Frame::Message(bytes))) = stream.next_frame() {
            assert!(Message::parse(bytes).is_err(), "{written:?}");
        }
    }
}

/// What stands in quotes stays in its line, read and written.
#[test]
fn quotes_and_escapes_carry_no_header_across() {
    let with_name = |name: &str| {
        let from = INVITE.lines().find(|l| l.starts_with("From") || l.starts_with("f:")).unwrap();
        INVITE.replace(from, &format!("From: {name} <sip:a@example.com>;tag=1"))
    };
    for name in [
        "\"a\r\nX-Injected: 1\r\nY: \"",
        "\"a\\\r\nX-Injected: 1\"",
        "\"a\nX-Injected: 1\"",
        "\"a\rX-Injected: 1\"",
    ] {
        let text = with_name(name);
        // Either it is refused, or the line break is one, and the rest no part of a name.
        let Ok(message) = parse(&text) else { continue };
        let from = message.headers().from();
        assert!(from.is_none_or(|from| !from.print().contains(&b'\n')), "{name:?}");
    }
    let text = with_name("\"a\\\" <sip:evil@x>;tag=2, \\\\\"");
    let from = parse(&text).unwrap().headers().from().cloned().unwrap();
    assert_eq!(from.display_text().unwrap(), "a\" <sip:evil@x>;tag=2, \\");
    assert_eq!(from.uri.as_bytes(), &b"sip:a@example.com"[..]);
    let printed = from.print();
    let again = crosspoint_sip::NameAddr::parse(&printed).unwrap();
    assert_eq!(again.display_text(), from.display_text());
    assert_eq!((again.uri.as_bytes(), again.tag()), (from.uri.as_bytes(), from.tag()));
}

#[test]
fn an_unknown_method_parses_and_a_wrong_version_is_answered() {
    let text = INVITE.replace("INVITE", "NEWMETHOD");
    let Message::Request(request) = parse(&text).unwrap() else { panic!("a request") };
    assert!(!request.method.is_known());
    let error = parse(&INVITE.replace("com SIP/2.0", "com SIP/7.0")).unwrap_err();
    assert_eq!(error.answer.unwrap().status, StatusCode::VERSION_NOT_SUPPORTED);
}

#[test]
fn never_answers_a_malformed_ack() {
    let text = INVITE.replace("INVITE", "ACK").replace("Content-Length: 4", "Content-Length: 99");
    assert!(parse(&text).unwrap_err().answer.is_none());
}

#[test]
fn random_damage_never_panics_and_what_parses_prints_unchanged() {
    let mut rng = Rng::from_u64(7);
    for _ in 0..50_000 {
        let mut bytes = INVITE.as_bytes().to_vec();
        for _ in 0..=rng.below(4) {
            if bytes.is_empty() {
                break;
            }
            let at = rng.below(u32::try_from(bytes.len()).unwrap()) as usize;
            match rng.below(4) {
                0 => bytes[at] = rng.next_u32().to_le_bytes()[0],
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"\r\n;,<>\":@[]%\\\0 "[rng.below(15) as usize]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let bytes = Bytes::from(bytes);
        if let Ok(message) = Message::parse(bytes.clone()) {
            let headers = message.headers();
            let _ = (headers.via(), headers.from(), headers.to(), headers.cseq());
            let _ = (headers.contacts().count(), headers.routes().count(), headers.expires());
            let printed = message.print();
            let again = Message::parse(printed.clone()).unwrap_or_else(|e| {
                panic!(
                    "{e}: {:?} from {:?}",
                    String::from_utf8_lossy(&printed),
                    String::from_utf8_lossy(&bytes)
                )
            });
            assert_eq!(again.print(), printed);
        }
    }
}

/// Work is bounded by limits that are counted, not by time.
#[test]
fn a_flood_of_headers_is_refused_at_the_limit() {
    let many = INVITE.replace("X-Custom: ", &format!("{}X-Custom: ", "a:\r\n".repeat(15_000)));
    assert_eq!(parse(&many).unwrap_err().rule, "too many headers");
    let wide = INVITE.replace("X-Custom: ", &format!("X-Custom: {}", ";a".repeat(20_000)));
    assert_eq!(parse(&wide).unwrap_err().rule, "header is too long");
    let folds = INVITE.replace("X-Custom: ", &format!("X-Custom: {}", "\r\n x".repeat(12_000)));
    assert_eq!(parse(&folds).unwrap_err().rule, "header is too long");
    let huge = INVITE.replace("v=0", &"v".repeat(70_000));
    assert_eq!(parse(&huge).unwrap_err().rule, "message is too long");
}

#[test]
fn methods_are_case_sensitive() {
    assert!(!Method::parse(&Bytes::from_static(b"invite")).unwrap().is_known());
}

/// In UTF-8 as in Latin-1: what is answered or passed on repeats the bytes, and what is shown is
/// text.
#[test]
fn names_that_are_not_ascii_come_back_as_they_were() {
    let names: [(&[u8], &str); 4] = [
        (
            "\"J\u{fc}rgen \u{2603} \u{5c71}\u{7530}\"".as_bytes(),
            "J\u{fc}rgen \u{2603} \u{5c71}\u{7530}",
        ),
        ("\u{41f}\u{451}\u{442}\u{440}".as_bytes(), "\u{41f}\u{451}\u{442}\u{440}"),
        (b"\"J\xfcrgen\"", "J\u{fffd}rgen"),
        (b"\"a\\\"b\\\\c\"", "a\"b\\c"),
    ];
    for (written, shown) in names {
        let (before, after) = INVITE.split_once("Alice").unwrap();
        let bytes = [before.as_bytes(), written, after.as_bytes()].concat();
        let Ok(Message::Request(request)) = Message::parse(Bytes::from(bytes.clone())) else {
            panic!("{shown} is refused");
        };
        assert_eq!(request.print(), bytes);
        let from = request.headers.from().unwrap();
        assert_eq!(from.display_text().unwrap(), shown);
        let answer = Response::for_request(&request, StatusCode::OK).print();
        assert!(answer.windows(written.len()).any(|part| part == written), "{shown}");
        let Ok(Message::Request(again)) = Message::parse(
            [
                before.as_bytes(),
                &from.print(),
                b"\r\n",
                after.split_once("\r\n").unwrap().1.as_bytes(),
            ]
            .concat()
            .into(),
        ) else {
            panic!("{shown} is not printed well");
        };
        assert_eq!(again.headers.from().unwrap().display_name, from.display_name);
    }
}
