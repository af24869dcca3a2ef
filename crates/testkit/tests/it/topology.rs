//! What one side of a call says of its network is not told to the other: every header and line that
//! could carry an address, a name of a program or a word of others (RFC 3323 §5, RFC 5853 §3.1).

use std::collections::BTreeSet;
use std::time::Duration;

use crosspoint_testkit::{CallState, Manner, PhoneId, Sim};

const SECOND: Duration = Duration::from_secs(1);

/// Each with the mark that must not be seen.
const HEADERS: [&str; 24] = [
    "User-Agent: leak-agent/1.0 (10.99.0.1)",
    "Server: leak-server/1.0",
    "Organization: leak-organization",
    "Subject: leak-subject",
    "Call-Info: <http://leak-callinfo.internal/face.png>;purpose=icon",
    "Alert-Info: <http://leak-alert.internal/ring.wav>",
    "Error-Info: <sip:leak-error@10.99.0.1>",
    "Warning: 399 leak-warning.internal \"leak-warning-text\"",
    "In-Reply-To: leak-reply@10.99.0.1",
    "Reply-To: <sip:leak-replyto@10.99.0.1>",
    "History-Info: <sip:leak-history@10.99.0.1>;index=1",
    "Diversion: <sip:leak-diversion@10.99.0.1>;reason=no-answer",
    "P-Charging-Vector: icid-value=leak-icid;orig-ioi=leak-ioi.internal",
    "P-Access-Network-Info: 3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=leak-cell",
    "P-Visited-Network-ID: leak-visited",
    "P-Called-Party-ID: <sip:leak-calledparty@10.99.0.1>",
    "P-Associated-URI: <sip:leak-associated@10.99.0.1>",
    "P-Preferred-Identity: <sip:leak-preferred@10.99.0.1>",
    "X-Leak: leak-x",
    "X-Real-IP: 10.99.0.1",
    "Path: <sip:leak-path.internal;lr>",
    "Service-Route: <sip:leak-serviceroute.internal;lr>",
    "Geolocation-Routing: leak-geo",
    "Session-ID: leak5e55104a5e55104a5e55104a5e55104a;remote=00000000000000000000000000000000",
];

const LINES: &str = "a=candidate:1 1 UDP 2130706431 10.99.0.1 4000 typ host\r\n\
a=candidate:2 1 UDP 1694498815 192.0.2.7 4000 typ srflx raddr 10.99.0.1 rport 4000\r\n\
a=rtcp:4001 IN IP4 10.99.0.1\r\na=x-leak:leak-attribute\r\na=tool:leak-tool\r\n\
a=label:leak-label\r\na=cname:leak-cname\r\n";

/// The mark of a phone, and an address behind it.
fn marks(sim: &Sim, id: PhoneId) -> [String; 2] {
    let last = match sim.address(id).ip() {
        std::net::IpAddr::V4(v4) => v4.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    };
    [format!("leak{last}x"), format!("10.99.{last}.1")]
}

fn gossips(sim: &mut Sim, id: PhoneId) {
    let [mark, address] = marks(sim, id);
    let marked = |text: &str| text.replace("leak", &mark).replace("10.99.0.1", &address);
    let headers: String = HEADERS.iter().map(|header| format!("{}\r\n", marked(header))).collect();
    sim.gossip(id, &headers, &marked(LINES), &marked("leak-via.internal"));
}

/// The values of a header in all that was heard.
fn values<'h>(heard: &'h str, name: &str) -> BTreeSet<&'h str> {
    heard.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
}

fn is_trunk(sim: &Sim, id: PhoneId) -> bool {
    sim.has_trunks() && sim.trunk("carrier") == id
}

#[track_caller]
fn tells_nothing(sim: &Sim, of: PhoneId, to: PhoneId) {
    let heard = sim.heard(to);
    assert!(heard.contains("CSeq"), "nothing was said; {}", sim.story());
    let address = sim.address(of).ip().to_string();
    let [mark, behind] = marks(sim, of);
    for line in heard.lines() {
        // The number that sent a call on is told, when a trunk says it, as one at our own address.
        let is_number = ["Diversion: <sip:", "History-Info: <sip:"]
            .iter()
            .any(|start| line.starts_with(start) && line.contains("@gateway.test"));
        let is_told = is_number && is_trunk(sim, of);
        let is_clean = !line.contains(&behind)
            && !line.contains(&address)
            && (is_told || !line.contains(&mark));
        assert!(is_clean, "{line}; {}", sim.story());
    }
    let (own, other) = (values(heard, "Call-ID"), values(sim.heard(of), "Call-ID"));
    assert!(own.is_disjoint(&other), "{own:?} {other:?}");
    let tags = |heard: &str| -> BTreeSet<String> {
        let tags = heard.split("tag=").skip(1);
        tags.map(|tag| tag.split(['\r', ';', '>']).next().unwrap_or_default().to_owned()).collect()
    };
    assert!(tags(heard).is_disjoint(&tags(sim.heard(of))));
}

/// A call with all that calls do, then one that is refused, one way and the other.
fn talk(sim: &mut Sim, caller: PhoneId, called: PhoneId, number: &str) {
    for id in [caller, called] {
        gossips(sim, id);
        sim.listen_in(id);
    }
    sim.set_manner(called, Manner::EarlyThenAnswer);
    sim.invite(caller, number);
    sim.run_until(|sim| sim.state(caller) == CallState::Up && sim.state(called) == CallState::Up);
    sim.run_for(SECOND);
    for id in [caller, called] {
        sim.reoffer(id, "sendonly");
        sim.run_for(SECOND);
        sim.reoffer(id, "sendrecv");
        sim.run_for(SECOND);
        sim.press(id, '5');
        sim.run_for(SECOND);
    }
    sim.hang_up(called);
    sim.run_for(SECOND);
    for manner in [Manner::Busy, Manner::Decline, Manner::Fail] {
        sim.set_manner(called, manner);
        sim.invite(caller, number);
        sim.run_for(10 * SECOND);
    }
    sim.set_manner(called, Manner::Ring);
    sim.invite(caller, number);
    sim.run_until(|sim| sim.state(called) == CallState::Ringing);
    sim.run_for(SECOND);
    sim.cancel(caller);
    sim.run_for(40 * SECOND);
    tells_nothing(sim, caller, called);
    tells_nothing(sim, called, caller);
}

#[test]
fn two_users_learn_nothing_of_each_others_networks() {
    let mut sim = Sim::new(61);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    talk(&mut sim, alice, bob, "bob");
    sim.run_to_idle();
}

#[test]
fn a_trunk_and_a_user_learn_nothing_of_each_others_networks() {
    let mut sim = Sim::with_trunks(62, &["carrier"]);
    sim.rule(|plan| plan.trunks[0].is_default = true);
    let (alice, carrier) = (sim.add_registered_phone("alice"), sim.trunk("carrier"));
    talk(&mut sim, alice, carrier, "4711");
    talk(&mut sim, carrier, alice, "alice");
    sim.run_to_idle();
}

#[test]
fn texts_tell_nothing_of_their_senders_network() {
    let mut sim = Sim::new(63);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    gossips(&mut sim, alice);
    gossips(&mut sim, bob);
    sim.listen_in(alice);
    sim.listen_in(bob);
    sim.send_text(alice, "bob", "Lunch?");
    sim.subscribe(alice, "presence", "bob", 600);
    sim.run_for(SECOND);
    assert_eq!(sim.texts(bob), ["Lunch?"]);
    tells_nothing(&sim, alice, bob);
    tells_nothing(&sim, bob, alice);
    sim.run_to_idle();
}
