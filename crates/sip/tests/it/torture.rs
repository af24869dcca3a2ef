//! The torture messages of RFC 4475 and RFC 5118, told anew, each with its verdict.
//!
//! Every case builds on one plain INVITE and changes what the RFC's message is about; the names
//! are the RFC's own.

use bytes::Bytes;
use crosspoint_sip::{HeaderName, Message, ParseError};

/// What becomes of a message.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// Parses, and prints byte for byte.
    Valid,
    /// Parses, so that a later layer can answer; the parser only reads what all messages share.
    LeftToLaterLayers,
    /// Refused with this response.
    Answered(u16),
    /// Refused without one: nothing says where to, or it is a response.
    Dropped,
}
use Verdict::{Answered, Dropped, LeftToLaterLayers, Valid};

const PLAIN: &str = "INVITE sip:user@company.example SIP/2.0\r\n\
Via: SIP/2.0/UDP host5.example.net;branch=z9hG4bKkdjuw\r\n\
Max-Forwards: 70\r\nFrom: <sip:caller@example.net>;tag=abc\r\nTo: <sip:user@company.example>\r\n\
Call-ID: one.31415@example.net\r\nCSeq: 8 INVITE\r\nContact: <sip:caller@host5.example.net>\r\n\
Content-Length: 0\r\n\r\n";

const REPLY: &str = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923\r\n\
From: <sip:caller@example.net>;tag=abc\r\nTo: <sip:user@example.com>;tag=2\r\n\
Call-ID: one.31415@example.net\r\nCSeq: 35 INVITE\r\nContent-Length: 0\r\n\r\n";

fn parse(bytes: &[u8]) -> Result<Message, ParseError> {
    Message::parse(Bytes::copy_from_slice(bytes))
}

#[track_caller]
fn judge(name: &str, bytes: &[u8], expected: Verdict) {
    let found = match parse(bytes) {
        Ok(message) => {
            // What stands after the body is no part of the message, and is not sent on.
            let printed = message.print();
            assert!(bytes.starts_with(&printed), "{name} is not printed as it came");
            if expected == LeftToLaterLayers { LeftToLaterLayers } else { Valid }
        }
        Err(error) => error.answer.map_or(Dropped, |answer| Answered(answer.status.0)),
    };
    assert_eq!(found, expected, "{name}");
}

/// The plain INVITE with each pair's first text replaced by its second.
fn with(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(PLAIN.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in the message");
        text.replace(from, to)
    })
}

fn check(name: &str, changes: &[(&str, &str)], expected: Verdict) {
    judge(name, with(changes).as_bytes(), expected);
}

#[test]
fn valid_messages_of_rfc_4475_3_1_1_parse_and_print_unchanged() {
    let wsinv = "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r\n\
        TO :\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r\n\
        from   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\n\
        MaX-fOrWaRdS: 0068\r\nCall-ID: wsinv.ndaksdj@192.0.2.1\r\n\
        Content-Length   : 3\r\ncseq: 0009\r\n  INVITE\r\n\
        Via  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw\r\ns :\r\n\
        NewFangledHeader:   newfangled value\r\n continued newfangled value\r\n\
        UnknownHeaderWithUnusualValue: ;;,,;;,;\r\nContent-Type: application/sdp\r\n\
        Route:\r\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\n\
        v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n\
        \u{20}SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\n\
        m:\"Quoted string \\\"\\\"\" <sip:jdrosen@example.com> ; newparam =\r\n      newvalue ;\r\n\
        \u{20} secondparam ; q = 0.33\r\n\r\nv=0";
    judge("wsinv", wsinv.as_bytes(), Valid);
    let message = parse(wsinv.as_bytes()).unwrap();
    let headers = message.headers();
    assert_eq!(headers.to().unwrap().tag().unwrap(), "1918181833n");
    assert_eq!(headers.from().unwrap().display_name.unwrap(), "J Rosenberg \\\"");
    assert_eq!(headers.from().unwrap().tag().unwrap(), "98asjd8");
    assert_eq!((headers.max_forwards(), headers.cseq().unwrap().number), (Some(68), 9));
    assert_eq!(headers.values(&HeaderName::VIA).count(), 3);
    assert_eq!(headers.via().unwrap().branch().unwrap(), "390skdjuw");
    assert_eq!(headers.contacts().next().unwrap().params.value("q").unwrap(), "0.33");
    assert_eq!(headers.routes().count(), 1);

    let token = "!interesting-Method0123456789_*+`.%indeed'~";
    let user = "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)";
    check(
        "intmeth",
        &[
            ("INVITE sip:user@", &format!("{token} sip:{user}@")),
            ("8 INVITE", &format!("0139122385 {token}")),
            ("From: <sip", "From: \"BEL:\\\u{7} NUL:\\t DEL:\\\u{7f}\" <sip"),
        ],
        Valid,
    );
    check("esc01", &[("INVITE sip:user@", "INVITE sip:sips%3Auser%40example.com@")], Valid);
    check(
        "escnull",
        &[("caller@host5", "null-%00-null@host5"), ("<sip:caller@ex", "<sip:null-%00@ex")],
        Valid,
    );
    check("esc02", &[("8 INVITE", "8 RE%47IST%45R"), ("INVITE sip", "RE%47IST%45R sip")], Valid);
    check("lwsdisp", &[("From: <", "From: caller<")], Valid);
    let long = "a".repeat(900);
    check(
        "longreq",
        &[
            ("To: <", &format!("To: \"{long}\" <")),
            ("sip:caller@example.net>", &format!("sip:{long}@example.net>;p{long}=v{long}")),
            ("one.31415", &long),
            ("Max-Forwards", &format!("{long}: {long}\r\nMax-Forwards")),
        ],
        Valid,
    );
    let trailing = format!("{PLAIN}INVITE sip:other@example.com SIP/2.0\r\n\r\n");
    judge("dblreq", trailing.as_bytes(), Valid);
    check("semiuri", &[("INVITE sip:user@", "INVITE sip:user;par=u%40example.net@")], Valid);
    let via =
        "Via: SIP/2.0/TLS t1.example.com;branch=z9hG4bKa\r\nVia: SIP/2.0/UNKNOWN t2.example.com";
    check("transports", &[("Via: SIP/2.0/UDP host5.example.net", via)], Valid);
    let part = "Content-Length: 3\r\n\r\n\0\u{1}\n";
    check("mpart01", &[("Content-Length: 0\r\n\r\n", part)], Valid);
    let reason = "200 = 2**3 * 5**2 \u{43d}\u{43e} \u{441}\u{442}\u{43e}";
    judge("unreason", REPLY.replace("200 OK", reason).as_bytes(), Valid);
    judge("noreason", REPLY.replace("200 OK", "100 ").as_bytes(), Valid);
}

#[test]
fn invalid_messages_of_rfc_4475_3_1_2_get_their_verdict() {
    // Parameters are read when somebody asks, so strange ones do no harm.
    check("badinv01", &[("kdjuw", "kdjuw;;,;,,"), ("tag=abc", "tag=abc;;;;")], LeftToLaterLayers);
    check("clerr", &[("Content-Length: 0", "Content-Length: 9999")], Answered(400));
    check("ncl", &[("Content-Length: 0", "Content-Length: -999")], Answered(400));
    check("scalar02", &[("CSeq: 8", "CSeq: 36893488147419103232")], Answered(400));
    let reply = REPLY.replace("CSeq: 35", "CSeq: 9292394834772304023312");
    judge("scalarlg", reply.as_bytes(), LeftToLaterLayers);
    check("quotbal", &[("To: <", "To: \"Mr. J. User <")], Answered(400));
    check(
        "ltgtruri",
        &[("sip:user@company.example SIP", "<sip:user@company.example> SIP")],
        Answered(400),
    );
    check("lwsruri", &[("example SIP", "example; lr SIP")], Answered(400));
    // RFC 4475 lets an element mend these two; we refuse what two readers may split differently.
    check("lwsstart", &[("INVITE sip", "INVITE  sip")], Answered(400));
    check("trws", &[("SIP/2.0\r\nVia", "SIP/2.0  \r\nVia")], Answered(400));
    check("escruri", &[("example SIP", "example?Route=%3Csip:x%3E SIP")], LeftToLaterLayers);
    check(
        "baddate",
        &[("Max-F", "Date: Fri, 01 Jan 2010 16:00:00 EST\r\nMax-F")],
        LeftToLaterLayers,
    );
    let bare = "Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E";
    let regbadct = with(&[("Contact: <sip:caller@host5.example.net>", bare)]);
    judge("regbadct", regbadct.as_bytes(), LeftToLaterLayers);
    assert_eq!(parse(regbadct.as_bytes()).unwrap().headers().contacts().count(), 0);
    check("badaspec", &[("To: <sip:user", "To: \"Watson\" <mailto: user")], Answered(400));
    check("baddn", &[("From: <", "From: Bell, Alexander <")], LeftToLaterLayers);
    check("badvers", &[("example SIP/2.0", "example SIP/7.0")], Answered(505));
    check("mismatch01", &[("8 INVITE", "8 OPTIONS")], Answered(400));
    check("mismatch02", &[("INVITE sip", "NEWMETHOD sip")], Answered(400));
    judge("bigcode", REPLY.replace("200 OK", "4294967301 better").as_bytes(), Dropped);
}

#[test]
fn messages_of_rfc_4475_3_2_and_3_3_get_their_verdict() {
    check("badbranch", &[("z9hG4bKkdjuw", "z9hG4bK")], LeftToLaterLayers);
    let missing = "From: <sip:caller@example.net>;tag=abc\r\nTo: <sip:user@company.example>\r\nCall-ID: one.31415@example.net\r\n";
    check("insuf", &[(missing, "")], Dropped);
    check(
        "unkscm",
        &[("INVITE sip:user@", "INVITE nobodyKnowsThisScheme:user@")],
        LeftToLaterLayers,
    );
    check(
        "novelsc",
        &[("INVITE sip:user@company.example", "INVITE soap.beep://192.0.2.103:3002")],
        LeftToLaterLayers,
    );
    check(
        "unksm2",
        &[("To: <sip:", "To: <isbn:2983792873"), ("2983792873user@company.example", "2983792873")],
        LeftToLaterLayers,
    );
    check("bext01", &[("Max-F", "Require: nothingSupportsThis\r\nMax-F")], LeftToLaterLayers);
    check(
        "invut",
        &[("Content-Length", "Content-Type: application/unknownformat\r\nContent-Length")],
        LeftToLaterLayers,
    );
    check(
        "regaut01",
        &[("Max-F", "Authorization: NoOneKnowsThisScheme opaque=x\r\nMax-F")],
        LeftToLaterLayers,
    );
    check("multi01", &[("CSeq: 8", "CSeq: 59 INVITE\r\nCSeq: 8")], Answered(400));
    check("multi01 Call-ID", &[("CSeq: 8", "i: other\r\nCSeq: 8")], Answered(400));
    check(
        "mcl01",
        &[("Content-Length: 0", "Content-Length: 0\r\nContent-Length: 1")],
        Answered(400),
    );
    judge("bcast", REPLY.replace("192.0.2.198", "255.255.255.255").as_bytes(), LeftToLaterLayers);
    check("zeromf", &[("Max-Forwards: 70", "Max-Forwards: 0")], Valid);
    check(
        "cparam01",
        &[(
            "Contact: <sip:caller@host5.example.net>",
            "Contact: sip:+19725552222@gw1.example.net;unknownparam",
        )],
        Valid,
    );
    check("cparam02", &[("host5.example.net>", "gw1.example.net;unknownparam>")], Valid);
    check(
        "regescrt",
        &[("host5.example.net>", "h.example.net?Route=%3Csip:sip.example.com%3E>")],
        Valid,
    );
    check("sdp01", &[("Max-F", "Accept: text/nobodyKnowsThis\r\nMax-F")], LeftToLaterLayers);
    let old = "INVITE sip:UserB@example.com SIP/2.0\r\nVia: SIP/2.0/UDP iftgw.example.com\r\n\
        From: <sip:+13035551111@ift.client.example.net;user=phone>\r\n\
        To: sip:+16505552222@ss1.example.net;user=phone\r\nCall-ID: inv2543.17@ift\r\nCSeq: 56 INVITE\r\n\r\nv=0";
    let Message::Request(request) = parse(old.as_bytes()).unwrap() else { panic!("a request") };
    assert_eq!((request.body.as_ref(), request.headers.from().unwrap().tag()), (&b"v=0"[..], None));
}

#[test]
fn addresses_of_rfc_5118_are_read() {
    check("ipv6-good", &[("sip:user@company.example SIP", "sip:[2001:db8::10] SIP")], Valid);
    check("ipv6-bad", &[("sip:user@company.example SIP", "sip:2001:db8::10 SIP")], Answered(400));
    check(
        "port-ambiguous",
        &[("sip:user@company.example SIP", "sip:[2001:db8::10:5070] SIP")],
        Valid,
    );
    check(
        "port-unambiguous",
        &[("sip:user@company.example SIP", "sip:[2001:db8::10]:5070 SIP")],
        Valid,
    );
    for (name, received) in [
        ("via-received-param-with-delim", "[2001:db8::9:255]"),
        ("via-received-param-no-delim", "2001:db8::9:255"),
    ] {
        let text =
            with(&[("host5.example.net;", &format!("[2001:db8::9:1];received={received};"))]);
        judge(name, text.as_bytes(), Valid);
        let via = parse(text.as_bytes()).unwrap().headers().via().unwrap();
        assert_eq!(via.received().unwrap().to_string(), "2001:db8::9:255");
        assert_eq!(
            (via.host.as_ref(), via.branch().unwrap().as_ref()),
            (&b"[2001:db8::9:1]"[..], &b"z9hG4bKkdjuw"[..])
        );
    }
    let sdp = "Content-Length: 29\r\n\r\nv=0\r\nc=IN IP6 2001:db8::9:10\r\n";
    check("ipv6-in-sdp", &[("Content-Length: 0\r\n\r\n", sdp)], Valid);
    check(
        "mult-ip-in-header",
        &[("Contact: ", "Contact: <sip:u@[2001:db8::9:1]>, <sip:u@192.0.2.1>, ")],
        Valid,
    );
    check("ipv4-mapped-ipv6", &[("host5.example.net>", "[::ffff:192.0.2.10]:19823>")], Valid);
    check(
        "ipv6-bug-abnf-3-colons",
        &[("sip:user@company.example SIP", "sip:user@[2001:db8:::192.0.2.1] SIP")],
        Answered(400),
    );
}
