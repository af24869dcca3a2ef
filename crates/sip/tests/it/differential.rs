//! Our parser beside an independent one: what both take must be read the same way, and valid
//! messages must be taken by both.

use bytes::Bytes;
use crosspoint_base::Rng;
use crosspoint_sip::{HeaderName, Headers, Message};
use sipx_sip::headers::{CSeq, CallId, Contact, From, To, Via};
use sipx_sip::parser;

use crate::message::INVITE;

const MUTATIONS: u32 = 20_000;
const GENERATED: u32 = 5_000;

/// Damages a message in up to three places.
fn damage(rng: &mut Rng) -> Bytes {
    let mut bytes = INVITE.as_bytes().to_vec();
    for _ in 0..=rng.below(3) {
        let Ok(length) = u32::try_from(bytes.len()) else { break };
        let at = rng.below(length.max(1)) as usize;
        match rng.below(3) {
            0 if at < bytes.len() => bytes[at] = rng.next_u32().to_le_bytes()[0],
            1 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.insert(at, b"\r\n;,<>\":@[]%\\ \t"[rng.below(15) as usize]),
        }
    }
    Bytes::from(bytes)
}

#[test]
fn both_parsers_see_the_same_kind_and_body() {
    let mut rng = Rng::from_u64(11);
    let (mut both, mut only_one) = (0_u32, 0_u32);
    for _ in 0..MUTATIONS {
        let bytes = damage(&mut rng);
        let theirs = parser::parse_datagram(bytes.clone(), &parser::Limits::default());
        match (Message::parse(bytes.clone()), theirs) {
            (Ok(ours), Ok(theirs)) => {
                both += 1;
                let shown = String::from_utf8_lossy(&bytes);
                assert_eq!(body(&ours), theirs.body(), "{shown}");
                let is_request = matches!(ours, Message::Request(_));
                assert_eq!(is_request, theirs.as_request().is_some(), "{shown}");
            }
            (Err(_), Err(_)) => {}
            _ => only_one += 1,
        }
    }
    // They differ in where they are lenient; most cases must still be judged alike.
    assert!(both > MUTATIONS / 4, "only {both} were taken by both");
    assert!(only_one < MUTATIONS / 2, "{only_one} were taken by one alone");
}

fn body(message: &Message) -> &Bytes {
    match message {
        Message::Request(request) => &request.body,
        Message::Response(response) => &response.body,
    }
}

/// Draws one of several texts.
fn one<'t>(rng: &mut Rng, of: &[&'t str]) -> &'t str {
    of[rng.below(u32::try_from(of.len()).unwrap()) as usize]
}

fn host(rng: &mut Rng) -> String {
    let host = match rng.below(4) {
        0 => format!("192.0.2.{}", rng.below(256)),
        1 => format!("[2001:db8::{:x}]", rng.below(65536)),
        2 => "phone-1.Example.COM".to_owned(),
        _ => format!("h{}.test", rng.below(1000)),
    };
    if rng.below(2) == 0 { host } else { format!("{host}:{}", 1 + rng.below(65535)) }
}

fn uri(rng: &mut Rng) -> String {
    let users = ["", "bob@", "+49%20-30;isub=1@", "a.b!c~d*e'f(g)&h=i+j$k@", "u:secret@", "%00@"];
    let params = ["", ";transport=tcp", ";lr", ";x=%3b;Y", ";user=phone;maddr=192.0.2.7"];
    let headers = ["", "", "?Subject=a%20b&X=1"];
    let scheme = one(rng, &["sip", "sip", "sips", "SIP"]);
    format!("{scheme}:{}{}{}{}", one(rng, &users), host(rng), one(rng, &params), one(rng, &headers))
}

/// An address with or without a name and brackets, and with a tag or other parameters.
fn address(rng: &mut Rng, params: &str) -> String {
    let names =
        ["", "Bob ", "Bob  B. Builder\t", "\"\" ", "\"B, <o>; \\\"b\\\\\"", "\"J\u{f6}rg\" "];
    if rng.below(4) == 0 {
        format!("sip:bob@{}{params}", host(rng))
    } else {
        let gap = one(rng, &["", " ", "\r\n "]);
        format!("{}<{}>{gap}{params}", one(rng, &names), uri(rng))
    }
}

fn via(rng: &mut Rng) -> String {
    let gap = one(rng, &["", " ", " \r\n\t"]);
    let transport = one(rng, &["UDP", "TCP", "TLS", "WSS", "UNHEARD"]);
    let rest = one(rng, &["", ";rport", ";received=192.0.2.8;rport=5", ";ttl=7;x=\"a;b,c\""]);
    format!(
        "SIP{gap}/{gap}2.0{gap}/{gap}{transport} {}{gap};{gap}branch{gap}={gap}z9hG4bK{:x}{rest}",
        host(rng),
        rng.next_u32()
    )
}

/// A valid message: every header in a random form and order.
fn generate(rng: &mut Rng) -> Bytes {
    let method = one(rng, &["INVITE", "BYE", "REGISTER", "OPTIONS", "NEW-METHOD.x"]);
    let start = if rng.below(3) == 0 {
        let reason = one(rng, &["OK", "", "Not so \u{43e}\u{43a}; <really>"]);
        format!("SIP/2.0 {} {reason}", 100 + rng.below(600))
    } else {
        format!("{method} {} SIP/2.0", uri(rng))
    };
    let length = rng.below(40) as usize;
    let body: Vec<u8> = (0..length).map(|_| rng.next_u32().to_le_bytes()[0]).collect();
    let tag = format!(";tag={:x}", rng.next_u32());
    let mut headers = vec![
        (one(rng, &["From", "f", "FROM"]), address(rng, &tag)),
        (one(rng, &["To", "t"]), {
            let tag = one(rng, &["", ";tag=x-1", " ;a=b ; tag = \"q;r\""]);
            address(rng, tag)
        }),
        (one(rng, &["Call-ID", "i", "call-id"]), format!("{:x}@{}", rng.next_u32(), "h.test")),
        (one(rng, &["CSeq", "CSEQ"]), format!("{}  {method}", rng.below(1 << 31))),
        (one(rng, &["Max-Forwards", "max-forwards"]), rng.below(256).to_string()),
        (one(rng, &["Contact", "m"]), {
            let second = address(rng, "");
            format!("{} , {second}", address(rng, ";q=0.5;expires=60"))
        }),
        ("X-Odd", "\u{fc};;,,\"<".to_owned()),
    ];
    if rng.below(4) > 0 {
        headers.push((one(rng, &["Content-Length", "l"]), length.to_string()));
    }
    // A shuffle; the Vias keep their order, wherever they stand.
    for at in (1..headers.len()).rev() {
        headers.swap(at, rng.below(u32::try_from(at).unwrap() + 1) as usize);
    }
    for _ in 0..=rng.below(3) {
        headers.insert(0, (one(rng, &["Via", "v"]), via(rng)));
    }
    let mut out = format!("{start}\r\n").into_bytes();
    for (name, value) in headers {
        let colon = one(rng, &[": ", ":", " :\t", ":\r\n "]);
        out.extend_from_slice(format!("{name}{colon}{value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
    Bytes::from(out)
}

/// Name, URI and tag.
type Party = (Option<Vec<u8>>, Vec<u8>, Option<Vec<u8>>);
/// Transport, port and branch.
type Hop = (Vec<u8>, Option<u16>, Option<Vec<u8>>);

/// What identifies a message to transactions and dialogs, and where it goes.
#[derive(Debug, PartialEq)]
struct Reading {
    start: String,
    call_id: Vec<u8>,
    cseq: (u32, Vec<u8>),
    /// From and To.
    parties: [Party; 2],
    vias: Vec<Hop>,
    contacts: Vec<Vec<u8>>,
    body: Bytes,
}

fn ours(bytes: &Bytes) -> Reading {
    let message = Message::parse(bytes.clone()).unwrap();
    let headers: &Headers = message.headers();
    let party = |a: &crosspoint_sip::NameAddr| {
        let tag = a.tag().map(|t| t.to_vec());
        (a.display_name.as_ref().map(|n| n.to_vec()), a.uri.as_bytes().to_vec(), tag)
    };
    let vias = headers.values(&HeaderName::VIA).map(|value| {
        let via = crosspoint_sip::Via::parse(&value).unwrap();
        (via.transport.to_vec(), via.port, via.branch().map(|b| b.to_vec()))
    });
    let cseq = headers.cseq().unwrap();
    Reading {
        start: match &message {
            Message::Request(r) => {
                format!("{} {}", r.method, String::from_utf8_lossy(r.uri.as_bytes()))
            }
            Message::Response(r) => format!("{} {}", r.status, String::from_utf8_lossy(&r.reason)),
        },
        call_id: headers.call_id().unwrap().to_vec(),
        cseq: (cseq.number, cseq.method.as_str().as_bytes().to_vec()),
        parties: [party(headers.from().unwrap()), party(headers.to().unwrap())],
        vias: vias.collect(),
        contacts: headers.contacts().map(|c| c.uri.as_bytes().to_vec()).collect(),
        body: body(&message).clone(),
    }
}

fn theirs(bytes: &Bytes) -> Reading {
    let message = parser::parse_datagram(bytes.clone(), &parser::Limits::default()).unwrap();
    let headers = message.headers();
    let party = |a: &sipx_sip::headers::Address| {
        (a.display_name.clone(), a.uri.to_bytes().to_vec(), a.tag().map(<[u8]>::to_vec))
    };
    let vias = headers.typed_all::<Via>().map(|via| {
        let via = via.unwrap();
        (via.transport.clone(), via.port, via.branch().map(<[u8]>::to_vec))
    });
    let cseq = headers.typed::<CSeq>().unwrap().unwrap();
    let contacts = headers.typed_all::<Contact>().map(|c| c.unwrap().uri.to_bytes().to_vec());
    Reading {
        start: match (message.as_request(), message.as_response()) {
            (Some(r), _) => {
                let method = String::from_utf8_lossy(r.method.as_bytes()).into_owned();
                format!("{method} {}", String::from_utf8_lossy(&r.uri.to_bytes()))
            }
            (None, r) => {
                let r = r.unwrap();
                format!("{} {}", r.status.code(), String::from_utf8_lossy(&r.reason))
            }
        },
        call_id: headers.typed::<CallId>().unwrap().unwrap().0,
        cseq: (cseq.sequence, cseq.method.as_bytes().to_vec()),
        parties: [
            party(&headers.typed::<From>().unwrap().unwrap()),
            party(&headers.typed::<To>().unwrap().unwrap()),
        ],
        vias: vias.collect(),
        contacts: contacts.collect(),
        body: message.body().clone(),
    }
}

/// Valid messages mean the same to both, field by field, and are printed as they came.
#[test]
fn both_parsers_read_the_same_out_of_valid_messages() {
    let mut rng = Rng::from_u64(12);
    for _ in 0..GENERATED {
        let bytes = generate(&mut rng);
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let result = std::panic::catch_unwind(|| (ours(&bytes), theirs(&bytes)));
        let (ours, theirs) = result.unwrap_or_else(|_| panic!("one does not take\n{shown}"));
        assert_eq!(ours, theirs, "\n{shown}");
        let parsed = Message::parse(bytes.clone()).unwrap();
        let has_length = parsed.headers().has(&HeaderName::CONTENT_LENGTH);
        assert!(!has_length || parsed.print() == bytes, "not printed as it came\n{shown}");
    }
}
