//! The messages of RFC 4475 and RFC 5118, told anew: each exercises what the section of the RFC
//! that bears its name is about. The connector's tests use them, too.

/// One message, under the name the RFC gives it.
pub(crate) struct Torture {
    pub(crate) name: &'static str,
    pub(crate) section: &'static str,
    pub(crate) bytes: Vec<u8>,
}

/// Line ends as on the wire.
fn wire(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

/// The headers that every request here has, besides what it is about.
fn common(method: &str) -> String {
    format!(
        "Via: SIP/2.0/UDP desk.example.net;branch=z9hG4bKtorture{method}\nMax-Forwards: 70\n\
         From: <sip:alice@gateway.test>;tag=north\nTo: <sip:alice@gateway.test>\n\
         Call-ID: torture.{method}@desk.example.net\nCSeq: 8 {method}\n\
         Contact: <sip:alice@desk.example.net>\n"
    )
}

/// A request with the common headers changed: each pair's first text becomes its second.
fn changed(line: &str, changes: &[(&str, &str)]) -> Vec<u8> {
    let method = line.split(' ').next().unwrap_or_default();
    let head = changes.iter().fold(common(method), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in\n{text}");
        text.replace(from, to)
    });
    let length = if head.contains("Content-Length") { "" } else { "Content-Length: 0\n" };
    wire(&format!("{line}\n{head}{length}\n"))
}

/// The same with more headers.
fn with(line: &str, more: &str) -> Vec<u8> {
    changed(line, &[("Contact:", &format!("{more}\nContact:"))])
}

/// The same with a body.
fn with_body(line: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let more = format!("{more}\nContent-Length: {}", body.len());
    [with(line, &more), body.to_vec()].concat()
}

fn response(line: &str, changes: &[(&str, &str)]) -> Vec<u8> {
    let text = changes.iter().fold(
        "Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bKnobody\n\
         From: <sip:alice@gateway.test>;tag=north\nTo: <sip:bob@gateway.test>;tag=south\n\
         Call-ID: torture.response\nCSeq: 35 INVITE\nContact: <sip:bob@192.0.2.198>\n\
         Content-Length: 0\n\n"
            .to_owned(),
        |text, (from, to)| {
            assert!(text.contains(from), "{from} is not in\n{text}");
            text.replace(from, to)
        },
    );
    [wire(&format!("{line}\n")), wire(&text)].concat()
}

const INVITE: &str = "INVITE sip:bob@gateway.test SIP/2.0";
const REGISTER: &str = "REGISTER sip:gateway.test SIP/2.0";
const OPTIONS: &str = "OPTIONS sip:bob@gateway.test SIP/2.0";
const SDP: &str = "v=0\r\no=alice 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
m=audio 4000 RTP/AVP 0\r\n";

/// Folds, white space around every separator, compact names, leading zeroes, odd cases,
/// escaped quotes, and headers nobody knows.
fn wsinv() -> Vec<u8> {
    let head = "INVITE sip:bob@gateway.test;unheard SIP/2.0\nTO :\n sip:bob@gateway.test ;   tag    = \
                south\nfrom   : \"A \\\\\\\"lice\\\"\"       <sip:alice@gateway.test>\n  ;\n  tag = north\n\
                MaX-fOrWaRdS: 0068\nCall-ID: wsinv.torture\n\
                Content-Length   : ";
    let rest = "\ncseq: 0009\n  INVITE\nVia  : SIP  /   2.0\n /UDP\n    192.0.2.2;branch=plain2543\ns :\n\
                NewFangled:   first line\n second line\nOdd: ;;,,;;,;\nContent-Type: application/sdp\n\
                Route:\n <sip:edge.example.net;lr;with=value;without>\n\
                v:  SIP  / 2.0  / TCP     hop.example.net   ;\n  branch  =   z9hG4bKhop  ,\n \
                SIP  /    2.0   / UDP  192.0.2.3   ; branch=\n z9hG4bKfar\n\
                m:\"Quoted \\\"\\\"\" <sip:alice@desk.example.net> ; odd =\n      value ;\n  more ; q = 0.33\n\n";
    let head = format!("{head}{}", SDP.len());
    [wire(&head), wire(rest), SDP.as_bytes().to_vec()].concat()
}

/// Every character that each place allows.
fn intmeth() -> Vec<u8> {
    let token = "!odd-Method0123456789_*+`.%still'~";
    let user = "u-_.!~*'()&=+$,;?/:pass-_.!~*'()&=+$,%3b";
    let text = format!(
        "{token} sip:{user}@gateway.test;odd!p-_.~*'()[]/:&+$=v?h-_.!~*'()=v[]/?:+$ SIP/2.0\n\
         Via: SIP/2.0/UDP desk.example.net;branch=z9hG4bK-.!%*_+`'~\n\
         To: \"\u{7}\\\u{8} \\\u{7f} \u{43f}\u{440}\" <sip:1_odd.U~(ri)!*'&=+$,/@gateway.test>\n\
         From: -.!%*_+`'~token <sip:alice@gateway.test>;_-.!%*+`'~=\"\u{3b1}\";tag=_-.!%*+`'~\n\
         Call-ID: word%ZK-!.*_+'@word`~)(><:\\/\"][?}}{{\nCSeq: 139122385 {token}\n\
         Max-Forwards: 255\nextensionHeader-!.%*+_`'~: \u{feff}\u{5927}\u{505c}\u{96fb}\n\
         Content-Length: 0\n\n"
    );
    wire(&text)
}

fn longreq() -> Vec<u8> {
    let long = |unit: &str, times: usize| unit.repeat(times);
    let vias: String = (0..34)
        .map(|n| format!("Via: SIP/2.0/TCP hop{n}.example.net;branch=z9hG4bKhop{n}\n"))
        .collect();
    changed(
        INVITE,
        &[
            ("To: <sip:", &format!("To: \"{}\" <sip:", long("long display name ", 40))),
            ("From: <sip:alice@", &format!("F: <sip:alice;{}@", long("longuser", 40))),
            ("tag=north", &format!("tag=north;{}={}", long("name", 30), long("value", 30))),
            ("torture.INVITE", &format!("torture.{}", long("really", 40))),
            ("Via: ", &format!("{}: {}\nVia: ", long("LongName-", 20), long("long value ", 60))),
            ("Max-Forwards", &format!("{vias}Max-Forwards")),
            ("alice@desk", &format!("{}@desk", long("anotherlonguser", 20))),
        ],
    )
}

/// A part with bytes that are no text, a NUL among them.
fn mpart01() -> Vec<u8> {
    let mut body = b"--7a9cbec02ceef655\r\nContent-Type: text/plain\r\n\
        Content-Transfer-Encoding: binary\r\n\r\nHello\r\n--7a9cbec02ceef655\r\n\
        Content-Type: application/octet-stream\r\n\r\n"
        .to_vec();
    body.extend((0..=255).collect::<Vec<u8>>());
    body.extend_from_slice(b"\r\n--7a9cbec02ceef655--");
    let kind = "Content-Type: multipart/mixed;boundary=7a9cbec02ceef655";
    with_body("MESSAGE sip:bob@gateway.test SIP/2.0", kind, &body)
}

/// Two requests in one datagram: what comes after the first is not part of it.
fn dblreq() -> Vec<u8> {
    let second = with_body(INVITE, "Content-Type: application/sdp", SDP.as_bytes());
    [changed(REGISTER, &[]), second].concat()
}

/// Written before branches, From tags and Max-Forwards were required.
fn inv2543() -> Vec<u8> {
    let head = "INVITE sip:bob@gateway.test SIP/2.0\nVia: SIP/2.0/UDP old.example.net\n\
                From: <sip:+4930111@old.example.net;user=phone>\n\
                Record-Route: <sip:bob@gateway.test;maddr=192.0.2.9>\n\
                To: sip:+4930222@gateway.test;user=phone\nCall-ID: torture.2543\nCSeq: 56 INVITE\n\
                Content-Type: application/sdp\n\n";
    [wire(head), SDP.as_bytes().to_vec()].concat()
}

fn valid() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let vias = "Via: SIP/2.0/UDP t1.example.net;branch=z9hG4bKt1\n\
                Via: SIP/2.0/SCTP t2.example.net;branch=z9hG4bKt2\n\
                Via: SIP/2.0/TLS t3.example.net;branch=z9hG4bKt3\n\
                Via: SIP/2.0/UNHEARD t4.example.net;branch=z9hG4bKt4\n\
                Via: SIP/2.0/TCP t5.example.net;branch=z9hG4bKt5\nMax-F";
    let reason = "SIP/2.0 200 = 2**3 * 5**2 \u{43d}\u{43e} \u{441}\u{442}\u{43e}";
    let nulls = "<sip:%00@desk.example.net>\nContact: <sip:%00%00@desk.example.net>";
    vec![
        ("wsinv", "3.1.1.1", wsinv()),
        ("intmeth", "3.1.1.2", intmeth()),
        (
            "esc01",
            "3.1.1.3",
            changed("INVITE sip:sips%3Abob%40home.test@gateway.test SIP/2.0", &[]),
        ),
        ("escnull", "3.1.1.4", changed(REGISTER, &[("<sip:alice@desk.example.net>", nulls)])),
        // The method is not REGISTER: escapes mean nothing there.
        ("esc02", "3.1.1.5", changed("RE%47IST%45R sip:gateway.test SIP/2.0", &[])),
        (
            "lwsdisp",
            "3.1.1.6",
            changed(OPTIONS, &[("From: <sip", "From: caller<sip"), ("To: <", "To:\tcallee\t<")]),
        ),
        ("longreq", "3.1.1.7", longreq()),
        ("dblreq", "3.1.1.8", dblreq()),
        (
            "semiuri",
            "3.1.1.9",
            changed("OPTIONS sip:bob;par=u%40home.test@gateway.test SIP/2.0", &[]),
        ),
        ("transports", "3.1.1.10", changed(OPTIONS, &[("Max-F", vias)])),
        ("mpart01", "3.1.1.11", mpart01()),
        ("unreason", "3.1.1.12", response(reason, &[])),
        ("noreason", "3.1.1.13", response("SIP/2.0 100 ", &[])),
    ]
}

/// Wrong separators, lengths and numbers.
fn invalid() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let sdp = "Content-Type: application/sdp\nContent-Length:";
    let far = "36893488147419103232";
    vec![
        (
            "badinv01",
            "3.1.2.1",
            changed(
                INVITE,
                &[
                    (";branch=z9hG4bKtortureINVITE", ";;,;,,"),
                    ("desk.example.net>", "192.0.2.9>;;;;"),
                ],
            ),
        ),
        ("clerr", "3.1.2.2", [with(INVITE, &format!("{sdp} 9999")), b"v=0\r\n".to_vec()].concat()),
        ("ncl", "3.1.2.3", [with(INVITE, &format!("{sdp} -999")), b"v=0\r\n".to_vec()].concat()),
        (
            "scalar02",
            "3.1.2.4",
            changed(
                REGISTER,
                &[
                    ("CSeq: 8", &format!("CSeq: {far}")),
                    ("Forwards: 70", "Forwards: 300"),
                    ("example.net>\n", &format!("example.net>;expires={far}\nExpires: {far}\n")),
                ],
            ),
        ),
        (
            "scalarlg",
            "3.1.2.5",
            response(
                "SIP/2.0 503 Service Unavailable",
                &[
                    ("CSeq: 35", "CSeq: 9292394834772304023312"),
                    ("Contact", "Retry-After: 949302838503028349304023988\nContact"),
                ],
            ),
        ),
    ]
}

/// Wrong start lines and addresses.
fn misshapen() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let route = "Contact: sip:alice@desk.example.net?Route=%3Csip:edge.example.net%3E";
    vec![
        ("quotbal", "3.1.2.6", changed(INVITE, &[("To: <", "To: \"Mr. Bob <")])),
        ("ltgtruri", "3.1.2.7", changed("INVITE <sip:bob@gateway.test> SIP/2.0", &[])),
        ("lwsruri", "3.1.2.8", changed("INVITE sip:bob@gateway.test; lr SIP/2.0", &[])),
        ("lwsstart", "3.1.2.9", changed("INVITE  sip:bob@gateway.test  SIP/2.0", &[])),
        ("trws", "3.1.2.10", changed("OPTIONS sip:bob@gateway.test SIP/2.0  ", &[])),
        (
            "escruri",
            "3.1.2.11",
            changed("INVITE sip:bob@gateway.test?Route=%3Csip:evil.example.net%3E SIP/2.0", &[]),
        ),
        ("baddate", "3.1.2.12", with(INVITE, "Date: Fri, 01 Jan 2027 16:00:00 EST")),
        (
            "regbadct",
            "3.1.2.13",
            changed(REGISTER, &[("Contact: <sip:alice@desk.example.net>", route)]),
        ),
        (
            "badaspec",
            "3.1.2.14",
            changed(
                OPTIONS,
                &[("To: <sip:alice@gateway.test>", "To: \"B\" < sip:b@gateway.test >")],
            ),
        ),
        (
            "baddn",
            "3.1.2.15",
            changed(
                OPTIONS,
                &[("To: <", "To: Bell, Bob, and others <"), ("From: <", "From: Bell, Al <")],
            ),
        ),
        ("badvers", "3.1.2.16", changed("OPTIONS sip:bob@gateway.test SIP/7.0", &[])),
        ("mismatch01", "3.1.2.17", changed(OPTIONS, &[("CSeq: 8 OPTIONS", "CSeq: 8 INVITE")])),
        (
            "mismatch02",
            "3.1.2.18",
            changed("TELEPORT sip:bob@gateway.test SIP/2.0", &[("8 TELEPORT", "8 INVITE")]),
        ),
        ("bigcode", "3.1.2.19", response("SIP/2.0 4294967301 better not break", &[])),
    ]
}

fn semantic() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let missing = "From: <sip:alice@gateway.test>;tag=north\nTo: <sip:alice@gateway.test>\n\
                   Call-ID: torture.INVITE@desk.example.net\n";
    let again = "Max-Forwards: 5\nFrom: <sip:eve@gateway.test>;tag=x\nTo: <sip:eve@gateway.test>\n\
                 i: other\nCSeq: 59 INVITE\nContact";
    let require = "Require: teleport,levitate\nProxy-Require: unheard, unseen";
    let digest = "Authorization: Unheard opaque-data=here, more=\"of it\"";
    let schemes = [
        ("To: <sip:alice@gateway.test>", "To: <isbn:2983792873>"),
        ("From: <sip:alice@gateway.test>", "From: <http://www.example.net>"),
        ("<sip:alice@desk.example.net>", "<name:Alice_North>"),
    ];
    let contact = "<sip:alice@desk.example.net>";
    vec![
        ("badbranch", "3.2.1", changed(OPTIONS, &[("z9hG4bKtortureOPTIONS", "z9hG4bK")])),
        ("insuf", "3.3.1", changed(INVITE, &[(missing, "")])),
        ("unkscm", "3.3.2", changed("OPTIONS nobodyKnows:totallyopaquecontent SIP/2.0", &[])),
        ("novelsc", "3.3.3", changed("OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0", &[])),
        ("unksm2", "3.3.4", changed(REGISTER, &schemes)),
        ("bext01", "3.3.5", with(OPTIONS, require)),
        ("invut", "3.3.6", with_body(INVITE, "Content-Type: application/unheard", b"<audio/>")),
        ("regaut01", "3.3.7", with(REGISTER, digest)),
        ("multi01", "3.3.8", changed(INVITE, &[("Contact", again)])),
        (
            "mcl01",
            "3.3.9",
            [with(OPTIONS, "Content-Length: 13\nContent-Length: 5"), b"There's no wa".to_vec()]
                .concat(),
        ),
        ("bcast", "3.3.10", response("SIP/2.0 200 OK", &[("192.0.2.198;", "255.255.255.255;")])),
        ("zeromf", "3.3.11", changed(OPTIONS, &[("Forwards: 70", "Forwards: 0")])),
        (
            "cparam01",
            "3.3.12",
            changed(REGISTER, &[(contact, "sip:+4930222@gw1.example.net;unknownparam")]),
        ),
        (
            "cparam02",
            "3.3.13",
            changed(REGISTER, &[(contact, "<sip:+4930222@gw1.example.net;unknownparam>")]),
        ),
        (
            "regescrt",
            "3.3.14",
            changed(
                REGISTER,
                &[("desk.example.net>", "h.example.net?Route=%3Csip:e.example.net%3E>")],
            ),
        ),
        (
            "sdp01",
            "3.3.15",
            with_body(
                INVITE,
                "Accept: text/unheard\nContent-Type: application/sdp",
                SDP.as_bytes(),
            ),
        ),
        ("inv2543", "3.4.1", inv2543()),
    ]
}

/// RFC 4475, all 49.
pub(crate) fn rfc4475() -> Vec<Torture> {
    let all = valid().into_iter().chain(invalid()).chain(misshapen()).chain(semantic());
    all.map(|(name, section, bytes)| Torture { name, section, bytes }).collect()
}

/// A description whose addresses are IPv6.
fn sdp6(address: &str) -> String {
    format!(
        "v=0\r\no=alice 1 1 IN IP6 {address}\r\ns=-\r\nc=IN IP6 {address}\r\nt=0 0\r\n\
         m=audio 6000 RTP/AVP 0\r\n"
    )
}

/// RFC 5118, all 12.
pub(crate) fn rfc5118() -> Vec<Torture> {
    let via = ("desk.example.net;", "[2001:db8::9:1];");
    let contact = ("<sip:alice@desk.example.net>", "<sip:alice@[2001:db8::1]>");
    let seen = |received: &str| {
        changed(OPTIONS, &[("desk.example.net;", &format!("[2001:db8::9:1];received={received};"))])
    };
    let hops = "Via: SIP/2.0/TCP [2001:db8::9:255]:5060;branch=z9hG4bKfar\n\
                Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKfarther\nMax-F";
    let mixed = "v=0\r\no=bob 1 1 IN IP4 host.example.net\r\ns=-\r\nt=0 0\r\n\
                 m=audio 22334 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n\
                 m=video 6024 RTP/AVP 107\r\nc=IN IP6 2001:db8::1\r\na=rtpmap:107 H263-1998/90000\r\n";
    let sdp = "Content-Type: application/sdp";
    let mapped = changed(
        INVITE,
        &[
            ("desk.example.net;", "[::ffff:192.0.2.10]:19823;"),
            ("alice@desk.example.net", "alice@[::ffff:192.0.2.2]"),
            (
                "Contact",
                &format!("{sdp}\nContent-Length: {}\nContact", sdp6("::ffff:192.0.2.2").len()),
            ),
        ],
    );
    let mapped = [mapped, sdp6("::ffff:192.0.2.2").into_bytes()].concat();
    let in_sdp = with_body(INVITE, sdp, sdp6("2001:db8::20").as_bytes());
    let colons = |host: &str| {
        let to = format!("To: sip:bob@{host}");
        changed(
            &format!("OPTIONS sip:bob@{host} SIP/2.0"),
            &[("To: <sip:alice@gateway.test>", &to)],
        )
    };
    let all = [
        ("ipv6-good", "4.1", changed("REGISTER sip:[2001:db8::10] SIP/2.0", &[via, contact])),
        ("ipv6-bad", "4.2", changed("REGISTER sip:2001:db8::10 SIP/2.0", &[via, contact])),
        ("port-ambiguous", "4.3", changed("REGISTER sip:[2001:db8::10:5070] SIP/2.0", &[via])),
        ("port-unambiguous", "4.4", changed("REGISTER sip:[2001:db8::10]:5070 SIP/2.0", &[via])),
        ("via-received-param-with-delim", "4.5", seen("[2001:db8::9:255]")),
        ("via-received-param-no-delim", "4.5", seen("2001:db8::9:255")),
        ("ipv6-in-sdp", "4.6", in_sdp),
        (
            "mult-ip-in-header",
            "4.7",
            changed(
                "BYE sip:bob@gateway.test SIP/2.0",
                &[via, ("Max-F", hops), ("gateway.test>\n", "gateway.test>;tag=south\n")],
            ),
        ),
        ("mult-ip-in-sdp", "4.8", with_body(INVITE, sdp, mixed.as_bytes())),
        ("ipv4-mapped-ipv6", "4.9", mapped),
        ("ipv6-bug-abnf-3-colons", "4.10", colons("[2001:db8:::192.0.2.1]")),
        ("ipv6-correct-abnf-2-colons", "4.10", colons("[2001:db8::192.0.2.1]")),
    ];
    all.into_iter().map(|(name, section, bytes)| Torture { name, section, bytes }).collect()
}

/// Every message has its row in a table of verdicts, and every row its message.
#[track_caller]
pub(crate) fn pair<'t, V>(
    messages: &'t [Torture],
    verdicts: &'t [(&str, V)],
    count: usize,
) -> Vec<(&'t Torture, &'t V)> {
    assert_eq!((messages.len(), verdicts.len()), (count, count), "messages and verdicts");
    let found = messages.iter().map(|message| {
        let mut rows = verdicts.iter().filter(|(name, _)| *name == message.name);
        let row = rows.next().unwrap_or_else(|| panic!("{} has no verdict", message.name));
        assert!(rows.next().is_none(), "{} has two verdicts", message.name);
        (message, &row.1)
    });
    found.collect()
}
