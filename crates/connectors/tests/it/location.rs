//! Where a caller is goes along with its call (RFC 6442), and help is asked for by name (RFC 5031).

use crosspoint_base::Private;
use crosspoint_call::{LegCommand, LegEvent, Location, LocationDocument, Reach};

use crate::harness::{Desk, OFFER, Peer};

const PLACE: &str = "<presence entity=\"pres:a@gateway.test\"><tuple id=\"t\"/></presence>";

fn with_place(content_id: &str, place: &str) -> String {
    format!(
        "--b1\nContent-Type: application/sdp\n\n{OFFER}\n\
         --b1\nContent-Type: application/pidf+xml\nContent-ID: {content_id}\n\n{place}\n--b1--\n"
    )
}

#[track_caller]
fn offered(desk: &mut Desk, peer: &mut Peer, extra: &str, body: &str) -> Option<Box<Location>> {
    peer.call_id += "x";
    let invite = peer.invite(extra, body);
    desk.hear(&peer.flow, &invite);
    let (_, LegEvent::Offer(offer)) = desk.event() else { panic!("no call") };
    assert!(offer.description.is_some(), "the description is one of the parts");
    offer.location
}

const MULTIPART: &str = "Content-Type: multipart/mixed;boundary=b1\n";

#[test]
fn a_callers_place_comes_with_its_documents_and_references() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let extra = format!(
        "{MULTIPART}Geolocation: <cid:place@phone>, <https://lis.test/1>\nGeolocation-Routing: yes"
    );
    let body = with_place("<place@phone>", PLACE);
    let found = offered(&mut desk, &mut peer, &extra, &body).expect("a place");
    let references: Vec<&str> = found.references.iter().map(|r| r.expose().as_str()).collect();
    assert_eq!(references, ["<cid:place@phone>", "<https://lis.test/1>"]);
    assert_eq!(found.routing.as_deref(), Some("yes"));
    assert_eq!(found.documents[0].id.as_deref(), Some("<place@phone>"));
    assert_eq!(found.documents[0].text.expose(), PLACE);
    assert!(!format!("{found:?}").contains("presence"), "no log shows it");

    // A reference alone is enough; a document that nothing refers to is none.
    let extra = "Geolocation: <https://lis.test/1>";
    let found = offered(&mut desk, &mut peer, extra, OFFER).expect("a reference");
    assert!(found.documents.is_empty());
    assert_eq!(offered(&mut desk, &mut peer, MULTIPART, &body), None);
    // What is too large is left out, and the call goes on.
    let large = with_place("<place@phone>", &"x".repeat(20_000));
    let extra = format!("{MULTIPART}Geolocation: <cid:place@phone>");
    let found = offered(&mut desk, &mut peer, &extra, &large).expect("the reference is left");
    assert!(found.documents.is_empty());
}

#[test]
fn it_is_passed_on_as_it_came_beside_our_description() {
    let mut desk = Desk::new();
    let reach = Reach::Trunk { name: "carrier".into(), number: Private("112".to_owned()) };
    let leg = desk.ua.next_leg_id();
    let location = Location {
        references: vec![Private("<cid:place@phone>".to_owned())],
        routing: Some("yes".to_owned()),
        documents: vec![LocationDocument {
            id: Some("<place@phone>".to_owned()),
            kind: "application/pidf+xml".to_owned(),
            text: Private(PLACE.to_owned()),
        }],
    };
    let mut offer = desk.offer(reach);
    offer.location = Some(Box::new(location));
    desk.command(leg, LegCommand::Offer(Box::new(offer)));
    let invite = desk.next();
    invite.is("INVITE").has("Geolocation", "<cid:place@phone>").has("Geolocation-Routing", "yes");
    let kind = invite.header("Content-Type");
    let boundary = kind.strip_prefix("multipart/mixed;boundary=").expect(&kind);
    let parts: Vec<&str> = invite.body().split(&format!("--{boundary}")).collect();
    assert_eq!(parts.len(), 4, "{}", invite.text);
    assert!(parts[1].starts_with("\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n"));
    assert!(parts[2].contains("Content-ID: <place@phone>\r\n") && parts[2].contains(PLACE));
    assert_eq!(parts[3], "--\r\n");
}

#[test]
fn help_may_be_asked_for_by_its_name_and_by_no_other() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    for name in ["urn:service:sos", "URN:service:SOS.fire"] {
        peer.call_id += "x";
        peer.target = name.to_owned();
        let invite = peer.invite("", OFFER);
        desk.hear(&peer.flow, &invite);
        let (_, LegEvent::Offer(offer)) = desk.event() else { panic!("no call") };
        assert_eq!(*offer.to.expose(), name.to_ascii_lowercase());
    }
    for name in ["urn:service:counseling", "urn:service:sosx"] {
        peer.call_id += "x";
        peer.target = name.to_owned();
        let invite = peer.invite("", OFFER);
        desk.hear(&peer.flow, &invite);
        desk.next().is("416");
    }
}
