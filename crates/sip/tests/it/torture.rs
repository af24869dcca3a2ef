//! The torture messages of RFC 4475 and RFC 5118: what the parser says to each, and whether it
//! reads in them what the RFC means. What follows from it above the parser is tested at the
//! connector.

mod messages;

use bytes::Bytes;
use crosspoint_base::{Flow, Rng, Transport};
use crosspoint_sip::endpoint::{Endpoint, EndpointConfig, Event, Output};
use crosspoint_sip::{HeaderName, Message, Request, Response};
use messages::{Torture, pair, rfc4475, rfc5118};

/// What becomes of a message in the parser.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    /// Parses, and prints byte for byte.
    Accepted,
    /// Refused with this response.
    Refused(u16),
    /// Refused without one: it is a response.
    Dropped,
}
use Verdict::{Accepted, Dropped, Refused};

const RFC4475: [(&str, Verdict); 49] = [
    ("wsinv", Accepted),
    ("intmeth", Accepted),
    ("esc01", Accepted),
    ("escnull", Accepted),
    ("esc02", Accepted),
    ("lwsdisp", Accepted),
    ("longreq", Accepted),
    ("dblreq", Accepted),
    ("semiuri", Accepted),
    ("transports", Accepted),
    ("mpart01", Accepted),
    ("unreason", Accepted),
    ("noreason", Accepted),
    ("badinv01", Refused(400)),
    ("clerr", Refused(400)),
    ("ncl", Refused(400)),
    ("scalar02", Refused(400)),
    // A response: it matches nothing and is discarded above.
    ("scalarlg", Accepted),
    ("quotbal", Refused(400)),
    ("ltgtruri", Refused(400)),
    ("lwsruri", Refused(400)),
    // RFC 4475 lets an element mend these two; we refuse what two readers may split differently.
    ("lwsstart", Refused(400)),
    ("trws", Refused(400)),
    // It may be refused, or its headers be left alone: the connector does the latter.
    ("escruri", Accepted),
    // Nobody reads the Date here.
    ("baddate", Accepted),
    // The registrar refuses it.
    ("regbadct", Accepted),
    ("badaspec", Refused(400)),
    ("baddn", Refused(400)),
    ("badvers", Refused(505)),
    ("mismatch01", Refused(400)),
    ("mismatch02", Refused(501)),
    ("bigcode", Dropped),
    ("badbranch", Accepted),
    ("insuf", Refused(400)),
    // What these ask for is for later layers to refuse.
    ("unkscm", Accepted),
    ("novelsc", Accepted),
    ("unksm2", Accepted),
    ("bext01", Accepted),
    ("invut", Accepted),
    ("regaut01", Accepted),
    ("multi01", Refused(400)),
    ("mcl01", Refused(400)),
    ("bcast", Accepted),
    ("zeromf", Accepted),
    ("cparam01", Accepted),
    ("cparam02", Accepted),
    ("regescrt", Accepted),
    ("sdp01", Accepted),
    ("inv2543", Accepted),
];

const RFC5118: [(&str, Verdict); 12] = [
    ("ipv6-good", Accepted),
    ("ipv6-bad", Refused(400)),
    ("port-ambiguous", Accepted),
    ("port-unambiguous", Accepted),
    ("via-received-param-with-delim", Accepted),
    ("via-received-param-no-delim", Accepted),
    ("ipv6-in-sdp", Accepted),
    ("mult-ip-in-header", Accepted),
    ("mult-ip-in-sdp", Accepted),
    ("ipv4-mapped-ipv6", Accepted),
    // RFC 5118 §4.10 wants both taken.
    ("ipv6-bug-abnf-3-colons", Accepted),
    ("ipv6-correct-abnf-2-colons", Accepted),
];

#[track_caller]
fn judge(message: &Torture, expected: Verdict) {
    let Torture { name, section, bytes } = message;
    let found = match Message::parse(Bytes::copy_from_slice(bytes)) {
        Ok(parsed) => {
            // What stands after the body is no part of the message, and is not sent on. One
            // without a length of its own gets it.
            let printed = parsed.print();
            let given = if bytes.starts_with(&printed) {
                bytes.clone()
            } else {
                let length = format!("Content-Length: {}\r\n\r\n", body(&parsed).len());
                let text = String::from_utf8_lossy(bytes).replacen("\r\n\r\n", "\r\n", 1);
                let at = text.find("v=0").unwrap_or(text.len());
                format!("{}{length}{}", &text[..at], &text[at..]).into_bytes()
            };
            assert!(given.starts_with(&printed), "{name} is not printed as it came");
            Accepted
        }
        Err(error) => error.answer.map_or(Dropped, |answer| Refused(answer.status.0)),
    };
    assert_eq!(found, expected, "{name} of section {section}");
}

fn body(message: &Message) -> &Bytes {
    match message {
        Message::Request(request) => &request.body,
        Message::Response(response) => &response.body,
    }
}

#[test]
fn every_message_of_rfc_4475_gets_its_verdict() {
    for (message, verdict) in pair(&rfc4475(), &RFC4475, 49) {
        judge(message, *verdict);
    }
}

#[test]
fn every_message_of_rfc_5118_gets_its_verdict() {
    for (message, verdict) in pair(&rfc5118(), &RFC5118, 12) {
        judge(message, *verdict);
    }
}

fn message(name: &str) -> Message {
    let all = rfc4475().into_iter().chain(rfc5118());
    let found = all.into_iter().find(|m| m.name == name).unwrap();
    Message::parse(Bytes::from(found.bytes)).unwrap()
}

fn request(name: &str) -> Request {
    match message(name) {
        Message::Request(request) => request,
        Message::Response(_) => panic!("{name} is a response"),
    }
}

fn response(name: &str) -> Response {
    match message(name) {
        Message::Response(response) => response,
        Message::Request(_) => panic!("{name} is a request"),
    }
}

#[test]
fn wsinv_is_read_through_its_folds() {
    let request = request("wsinv");
    let headers = &request.headers;
    assert_eq!(headers.to().unwrap().tag().unwrap(), "south");
    assert_eq!(headers.from().unwrap().display_name.as_ref().unwrap(), "A \\\"lice\"");
    assert_eq!(headers.from().unwrap().tag().unwrap(), "north");
    assert_eq!((headers.max_forwards(), headers.cseq().unwrap().number), (Some(68), 9));
    let vias: Vec<_> = headers.values(&HeaderName::VIA).collect();
    assert_eq!(vias.len(), 3);
    assert_eq!(headers.via().unwrap().branch().unwrap(), "plain2543");
    let contact = headers.contacts().next().unwrap();
    assert_eq!(contact.display_name.unwrap(), "Quoted \"\"");
    assert_eq!(
        (contact.params.value("odd").unwrap().as_ref(), contact.params.has("more")),
        (&b"value"[..], true)
    );
    assert_eq!(contact.params.value("q").unwrap(), "0.33");
    assert_eq!(headers.first(&HeaderName::SUBJECT).unwrap(), "");
    assert!(headers.routes().next().unwrap().uri.param("without").is_some());
    assert!(request.body.starts_with(b"v=0\r\no=alice"));
}

#[test]
fn unusual_but_valid_characters_are_kept() {
    let odd = request("intmeth");
    assert_eq!(odd.method.as_str(), "!odd-Method0123456789_*+`.%still'~");
    assert!(!odd.method.is_known());
    assert_eq!(odd.uri.user().unwrap(), "u-_.!~*'()&=+$,;?/");
    assert_eq!(odd.uri.host_text(), "gateway.test");
    assert_eq!(odd.headers.from().unwrap().tag().unwrap(), "_-.!%*+`'~");
    assert_eq!(odd.headers.call_id().unwrap(), "word%ZK-!.*_+'@word`~)(><:\\/\"][?}{");
    assert_eq!(odd.headers.via().unwrap().branch().unwrap(), "z9hG4bK-.!%*_+`'~");
    assert!(!request("esc02").method.is_known(), "escapes mean nothing in a method");
    let semi = request("semiuri");
    assert_eq!(semi.uri.user().unwrap(), "bob;par=u%40home.test");
    assert!(semi.uri.param("par").is_none(), "it belongs to the user part");
    assert_eq!(request("lwsdisp").headers.from().unwrap().display_name.as_ref().unwrap(), "caller");
    let esc = request("esc01");
    assert_eq!(esc.uri.user().unwrap(), "sips%3Abob%40home.test");
    assert_eq!(esc.uri.user_decoded().unwrap(), "sips:bob@home.test");
    assert_eq!(esc.uri.host_text(), "gateway.test");
    let users: Vec<_> =
        request("escnull").headers.contacts().map(|c| c.uri.user_decoded().unwrap()).collect();
    assert_eq!(users, ["\0", "\0\0"], "a NUL ends nothing");
    assert_eq!(response("unreason").reason.as_ref(), "= 2**3 * 5**2 но сто".as_bytes());
    assert_eq!(response("noreason").reason, "");
}

#[test]
fn long_and_joined_messages_are_cut_where_they_end() {
    let long = request("longreq");
    assert_eq!(long.headers.all(&HeaderName::VIA).count(), 35);
    assert!(long.headers.from().unwrap().uri.as_bytes().len() > 300);
    assert_eq!(long.headers.from().unwrap().tag().unwrap(), "north");
    let double = request("dblreq");
    assert_eq!((double.method.as_str(), double.body.len()), ("REGISTER", 0));
    let part = request("mpart01");
    let all: Vec<u8> = (0..=255).collect();
    assert!(part.body.windows(256).any(|w| w == all), "binary parts are untouched");
    let old = request("inv2543");
    assert!(old.body.starts_with(b"v=0") && old.body.ends_with(b"AVP 0\r\n"));
    assert_eq!((old.headers.from().unwrap().tag(), old.headers.max_forwards()), (None, None));
    assert_eq!(old.headers.to().unwrap().uri.param("user"), None, "it belongs to the header");
}

#[test]
fn transports_and_schemes_that_nobody_knows_are_read() {
    let transports = request("transports");
    let names: Vec<_> = transports
        .headers
        .values(&HeaderName::VIA)
        .map(|v| crosspoint_sip::Via::parse(&v).unwrap().transport)
        .collect();
    assert_eq!(names, ["UDP", "UDP", "SCTP", "TLS", "UNHEARD", "TCP"]);
    for name in ["unkscm", "novelsc"] {
        assert_eq!(request(name).uri.scheme(), crosspoint_sip::Scheme::Other);
    }
    let foreign = request("unksm2").headers.to().cloned().unwrap();
    assert_eq!(foreign.uri.as_bytes(), "isbn:2983792873");
}

#[test]
fn parameters_belong_to_the_uri_or_to_the_header() {
    let bare = request("cparam01").headers.contacts().next().unwrap();
    assert_eq!((bare.uri.param("unknownparam"), bare.params.has("unknownparam")), (None, true));
    let inside = request("cparam02").headers.contacts().next().unwrap();
    assert!(inside.uri.param("unknownparam").is_some() && !inside.params.has("unknownparam"));
    let escaped = request("regescrt").headers.contacts().next().unwrap();
    assert_eq!(escaped.uri.headers().unwrap(), "Route=%3Csip:e.example.net%3E");
    assert_eq!(request("regbadct").headers.contacts().count(), 0);
}

#[test]
fn addresses_of_rfc_5118_are_read() {
    let good = request("ipv6-good");
    assert_eq!((good.uri.host_text().as_str(), good.uri.port()), ("[2001:db8::10]", None));
    assert_eq!(good.headers.via().unwrap().host, "[2001:db8::9:1]");
    let ambiguous = request("port-ambiguous").uri;
    assert_eq!(ambiguous.host_ip().unwrap().to_string(), "2001:db8::10:5070");
    assert_eq!(ambiguous.port(), None);
    let unambiguous = request("port-unambiguous").uri;
    assert_eq!(unambiguous.host_ip().unwrap().to_string(), "2001:db8::10");
    assert_eq!(unambiguous.port(), Some(5070));
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        let via = request(name).headers.via().cloned().unwrap();
        assert_eq!(via.received().unwrap().to_string(), "2001:db8::9:255");
        assert!(via.branch().unwrap().starts_with(b"z9hG4bK"));
    }
    let vias: Vec<_> = request("mult-ip-in-header")
        .headers
        .values(&HeaderName::VIA)
        .map(|v| crosspoint_sip::Via::parse(&v).unwrap())
        .collect();
    let hosts: Vec<_> = vias.iter().map(|v| v.host.as_ref()).collect();
    assert_eq!(hosts, [&b"[2001:db8::9:1]"[..], b"[2001:db8::9:255]", b"192.0.2.1"]);
    assert_eq!(vias[1].port, Some(5060));
    let mapped = request("ipv4-mapped-ipv6");
    assert_eq!(mapped.headers.via().unwrap().port, Some(19823));
    let contact = mapped.headers.contacts().next().unwrap().uri;
    assert_eq!(contact.host_ip().unwrap().to_string(), "::ffff:192.0.2.2");
    let colons = ["ipv6-bug-abnf-3-colons", "ipv6-correct-abnf-2-colons"].map(|n| request(n).uri);
    assert_eq!(colons[0].host_ip(), colons[1].host_ip(), "one address, however written");
    assert_eq!(colons[0].host_ip().unwrap().to_string(), "2001:db8::c000:201");
    for host in ["[2001:db8:::1]", "[:::]", "[2001:::192.0.2.1:1]", "[1:::2:::192.0.2.1]"] {
        let line = format!("OPTIONS sip:bob@{host} SIP/2.0");
        let text = String::from_utf8(rfc5118().pop().unwrap().bytes).unwrap();
        let text = text.replace("OPTIONS sip:bob@[2001:db8::192.0.2.1] SIP/2.0", &line);
        assert!(text.starts_with(&line));
        assert!(Message::parse(Bytes::from(text)).is_err(), "{host}");
    }
}

/// A branch that is nothing but the magic cookie names no transaction: two requests that carry
/// it are two (RFC 4475 §3.2.1).
#[test]
fn badbranch_is_matched_as_before_branches() {
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    let now = std::time::Instant::now();
    let address = |port| std::net::SocketAddr::from(([192, 0, 2, 9], port));
    let flow = Flow {
        transport: Transport::Udp,
        connection: None,
        local: address(5060),
        remote: address(5062),
    };
    let mut end = Endpoint::new(EndpointConfig::default(), Rng::from_u64(1));
    let first = request("badbranch");
    let mut second = first.clone();
    second.headers.set(HeaderName::CALL_ID, "another");
    let mut requests = 0;
    for request in [&first, &second, &first] {
        end.handle_message(now, flow, Message::Request(request.clone()));
        while let Output::Event(event) = end.poll_output() {
            requests += u32::from(matches!(*event, Event::Request { .. }));
        }
    }
    assert_eq!((requests, end.counters().retransmissions_absorbed), (2, 1));
}
