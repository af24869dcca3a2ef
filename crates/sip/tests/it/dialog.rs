//! Dialogs: route sets of both kinds, numbers, and where requests go (RFC 3261 §12).

use std::net::SocketAddr;

use bytes::Bytes;
use crosspoint_base::{Flow, Transport};
use crosspoint_sip::dialog::Dialog;
use crosspoint_sip::{HeaderName, Message, Method, Request};

fn flow(remote: &str) -> Flow {
    let local = SocketAddr::from(([192, 0, 2, 1], 5060));
    let remote = remote.parse().unwrap();
    Flow { transport: Transport::Udp, connection: None, local, remote }
}

/// An INVITE that came to us over these routes, from a peer that is where it says.
fn callee(routes: &str) -> Dialog {
    let text = format!(
        "INVITE sip:us@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\n\
         From: <sip:peer@192.0.2.9>;tag=p\r\nTo: <sip:us@192.0.2.1>\r\nCall-ID: c\r\n\
         CSeq: 7 INVITE\r\nContact: <sip:peer@192.0.2.9:5062>\r\n{routes}\r\n"
    );
    let Ok(Message::Request(request)) = Message::parse(Bytes::from(text)) else { panic!("bad") };
    Dialog::as_callee(&request, "u", flow("192.0.2.9:5060")).unwrap()
}

fn routes(request: &Request) -> Vec<String> {
    let name = HeaderName::ROUTE;
    request.headers.values(&name).map(|v| String::from_utf8_lossy(&v).into_owned()).collect()
}

fn target(request: &Request) -> String {
    String::from_utf8_lossy(request.uri.as_bytes()).into_owned()
}

#[test]
fn loose_routes_stand_before_the_target() {
    let mut dialog = callee("Record-Route: <sip:192.0.2.50:5080;lr>, <sip:far.test;lr;x=1>\r\n");
    let bye = dialog.request(Method::BYE, None);
    assert_eq!(target(&bye), "sip:peer@192.0.2.9:5062");
    assert_eq!(routes(&bye), ["<sip:192.0.2.50:5080;lr>", "<sip:far.test;lr;x=1>"]);
    assert_eq!(dialog.next_hop().remote, "192.0.2.50:5080".parse().unwrap());
}

/// A router of RFC 2543 reads the request line only.
#[test]
fn a_strict_router_is_addressed_in_the_request_line() {
    let mut dialog = callee("Record-Route: <sip:192.0.2.50:5080>, <sip:far.test;lr>\r\n");
    let bye = dialog.request(Method::BYE, None);
    assert_eq!(target(&bye), "sip:192.0.2.50:5080");
    assert_eq!(routes(&bye), ["<sip:far.test;lr>", "<sip:peer@192.0.2.9:5062>"]);
    assert_eq!(dialog.next_hop().remote, "192.0.2.50:5080".parse().unwrap());
}

#[test]
fn numbers_go_up_and_acks_repeat_theirs() {
    let mut dialog = callee("");
    let number = |r: Request| r.headers.cseq().unwrap().number;
    assert_eq!(number(dialog.request(Method::INVITE, None)), 1);
    assert_eq!(number(dialog.request(Method::ACK, Some(1))), 1);
    assert_eq!(number(dialog.request(Method::BYE, None)), 2);
    assert_eq!(dialog.next_hop().remote, "192.0.2.9:5062".parse().unwrap());
}
