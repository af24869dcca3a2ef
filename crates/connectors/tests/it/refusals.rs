//! OPTIONS, and requests that are answered with a refusal (RFC 3261 §8.2, §11, §12.2.2).

use crosspoint_base::{ConnectionId, Flow, Transport};
use crosspoint_call::{LegCommand, LegEvent};

use crate::harness::{Desk, OFFER, OURS, Peer, phone, sdp};

const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY, REGISTER, MESSAGE, SUBSCRIBE, PUBLISH";

/// What we are asked outside of any call, with the trunk's address as a password.
#[track_caller]
fn answered(method: &str, extra: &str, body: &str) -> crate::harness::Sent {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let request = peer.request(method, extra, body);
    desk.hear(&peer.flow, &request);
    let response = desk.next();
    desk.nothing();
    desk.quiet();
    assert!(!response.tag("To").is_empty(), "every response has a tag");
    assert_eq!(desk.ua.legs(), 0);
    response
}

#[test]
fn options_tell_what_we_can_in_and_out_of_calls() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let options = peer.request("OPTIONS", "", "");
    desk.hear(&peer.flow, &options);
    let outside = desk.next();
    let check = |response: &crate::harness::Sent| {
        response.is("200").has("Allow", ALLOW).has("Accept", "application/sdp");
        response
            .has("Supported", "100rel, timer, outbound, path, replaces, trickle-ice, norefersub");
    };
    check(&outside);
    assert!(!outside.tag("To").is_empty());
    let (_, answer) = desk.incoming_up(&mut peer, "");
    let options = peer.request("OPTIONS", "", "");
    desk.hear(&peer.flow, &options);
    let inside = desk.next();
    check(&inside);
    assert_eq!(inside.tag("To"), answer.tag("To"));
    desk.quiet();
    // A stranger may ask, too: it is how others see whether we are there.
    let flow = crate::harness::phone("203.0.113.9:5060");
    peer.remote = "<sip:gateway.test>".to_owned();
    let options = peer.request("OPTIONS", "", "");
    desk.hear(&flow, &options);
    check(&desk.next());
}

/// RFC 3261 §12.2.2: an older number means that something else came in between.
#[test]
fn too_low_a_number_gets_500() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let (leg, _) = desk.incoming_up(&mut peer, "");
    peer.cseq = 40;
    let options = peer.request("OPTIONS", "", "");
    desk.hear(&peer.flow, &options);
    desk.next().is("200").has("CSeq", "41 OPTIONS");
    for method in ["OPTIONS", "INFO", "UPDATE", "INVITE", "BYE"] {
        let late = peer.numbered(method, 40, "", "");
        desk.hear(&peer.flow, &late);
        desk.next().is("500").has("CSeq", &format!("40 {method}"));
    }
    desk.quiet();
    // Gaps are fine.
    let options = peer.numbered("OPTIONS", 4000, "", "");
    desk.hear(&peer.flow, &options);
    desk.next().is("200");
    desk.command(leg, LegCommand::Reoffer(sdp(OURS)));
    desk.next().is("INVITE").has("CSeq", "1 INVITE");
}

/// Requests of a call that we do not know, or not with this peer.
#[test]
fn requests_of_unknown_calls_get_481() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    desk.incoming_up(&mut peer, "");
    let known = peer.clone();
    let mut others = [known.clone(), known.clone(), known];
    others[0].call_id = "another".to_owned();
    others[1].remote = "<sip:4711@gateway.test>;tag=another".to_owned();
    others[2].local = "<sip:+4930@carrier.test>;tag=another".to_owned();
    for other in &mut others {
        for method in ["BYE", "INVITE", "INFO", "UPDATE", "PRACK", "REFER", "OPTIONS", "NOTIFY"] {
            let request = other.request(method, "", "");
            desk.hear(&other.flow, &request);
            desk.next().is("481").has("CSeq", &format!("{} {method}", other.cseq));
        }
        // An ACK is never answered.
        let ack = other.ack("");
        desk.hear(&other.flow, &ack);
        desk.nothing();
    }
    desk.quiet();
    for method in ["BYE", "INFO", "UPDATE", "PRACK", "NOTIFY"] {
        answered(method, "", "").is("481");
    }
}

/// RFC 3261 §8.2.2.3, in and out of calls; what only proxies have to know does not concern us.
#[test]
fn unknown_extensions_get_420() {
    let require = "Require: 100rel, teleport\nRequire: timer, levitate";
    for method in ["OPTIONS", "INVITE", "REGISTER"] {
        answered(method, require, "").is("420").has("Unsupported", "teleport, levitate");
    }
    answered("OPTIONS", "Proxy-Require: teleport\nSupported: levitate", "").is("200");
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    desk.incoming_up(&mut peer, "");
    for method in ["INVITE", "UPDATE", "BYE"] {
        let request = peer.request(method, "Require: teleport", "");
        desk.hear(&peer.flow, &request);
        desk.next().is("420").has("Unsupported", "teleport");
    }
    desk.quiet();
}

#[test]
fn methods_we_do_not_serve_are_refused_with_what_we_do() {
    answered("TELEPORT", "", "").is("501").has("Allow", ALLOW);
    answered("invite", "", OFFER).is("501").has("Allow", ALLOW);
    answered("PUBLISH", "Event: presence", "").is("403");
    answered("SUBSCRIBE", "Event: presence", "").is("403");
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    desk.incoming_up(&mut peer, "");
    for (method, status) in [("TELEPORT", "501"), ("MESSAGE", "405"), ("SUBSCRIBE", "405")] {
        let request = peer.request(method, "", "");
        desk.hear(&peer.flow, &request);
        desk.next().is(status).has("Allow", ALLOW);
    }
    // A NOTIFY that nobody asked for is taken and means nothing.
    let extra = "Event: refer\nSubscription-State: terminated\nContent-Type: message/sipfrag";
    let notify = peer.request("NOTIFY", extra, "SIP/2.0 200 OK\n");
    desk.hear(&peer.flow, &notify);
    desk.next().is("200");
    desk.quiet();
}

/// RFC 3261 §8.2.3: bodies we cannot read.
#[test]
fn bodies_of_unknown_types_get_415_with_what_we_take() {
    for extra in [
        "Content-Type: application/teleport",
        "Content-Type: application/sdp\nContent-Encoding: gzip",
        "Content-Type: application/teleport\nContent-Disposition: session;handling=required",
    ] {
        let response = answered("INVITE", extra, OFFER);
        response.is("415").has("Accept", "application/sdp").has("Accept-Encoding", "identity");
    }
    answered("INVITE", "Content-Type: application/sdp", "hello\n").is("400");
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    desk.incoming_up(&mut peer, "");
    for method in ["INVITE", "UPDATE"] {
        let request = peer.request(method, "Content-Type: application/teleport", OFFER);
        desk.hear(&peer.flow, &request);
        desk.next().is("415").has("Accept", "application/sdp");
    }
    desk.quiet();
}

/// A body that the sender does not insist on is passed over.
#[test]
fn an_optional_body_of_unknown_type_is_passed_over() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let extra = "Content-Type: image/jpeg\nContent-Disposition: icon ; handling=Optional\n\
                 Content-Encoding: identity";
    let invite = peer.invite(extra, "...");
    desk.hear(&peer.flow, &invite);
    let (_, LegEvent::Offer(offer)) = desk.event() else { panic!("no call") };
    assert!(offer.description.is_none());
}

/// The offer is one part of several.
#[test]
fn an_offer_inside_multipart_is_found() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let extra = "Content-Type: multipart/mixed; boundary=\"=_x\"";
    let body = format!(
        "--=_x\nContent-Type: text/plain\n\nhello\n--=_x\nContent-Type: application/sdp\n\n{OFFER}\
         --=_x--\n"
    );
    let invite = peer.invite(extra, &body);
    desk.hear(&peer.flow, &invite);
    let (_, LegEvent::Offer(offer)) = desk.event() else { panic!("no call") };
    assert_eq!(offer.description, Some(sdp(OFFER)));
}

/// A call that has no hop left is not passed on; what ends here does not mind.
#[test]
fn no_hops_left_is_483_for_calls_only() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    for (method, status) in [("INVITE", "483"), ("OPTIONS", "200")] {
        let request = peer.request(method, "", "").replace("Max-Forwards: 70", "Max-Forwards: 0");
        desk.hear(&peer.flow, &request);
        desk.next().is(status);
    }
    desk.quiet();
    // Inside a call we are its end.
    let (_, _) = desk.incoming_up(&mut peer, "");
    let info = peer.request("INFO", "", "").replace("Max-Forwards: 70", "Max-Forwards: 0");
    desk.hear(&peer.flow, &info);
    desk.next().is("200");
}

/// RFC 3261 §8.2.2.2: one call that reaches us by two ways rings once.
#[test]
fn a_copy_of_an_invite_that_came_another_way_gets_482() {
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    let leg = desk.incoming(&mut peer, "", OFFER);
    let copy = peer.numbered("INVITE", 1, "", OFFER);
    desk.hear(&peer.flow, &copy);
    desk.next().is("482");
    desk.quiet();
    // With another tag or number it is another call, and after the end nothing is remembered.
    let mut other = peer.clone();
    other.local = "<sip:+4930@carrier.test>;tag=other".to_owned();
    let call = other.numbered("INVITE", 1, "", OFFER);
    desk.hear(&peer.flow, &call);
    assert!(matches!(desk.event(), (_, LegEvent::Offer(_))));
    desk.command(leg, LegCommand::End(crosspoint_call::Cause::Busy));
    desk.next().is("486");
    desk.event();
    let again = peer.numbered("INVITE", 1, "", OFFER);
    desk.hear(&peer.flow, &again);
    assert!(matches!(desk.event(), (_, LegEvent::Offer(_))));
}

/// Other reasons not to take a call.
#[test]
fn calls_that_cannot_be_taken_are_refused() {
    answered("INVITE", "Accept: text/plain", OFFER).is("406");
    let (mut desk, mut peer) = (Desk::new(), Peer::caller());
    for (target, status) in [
        ("soap.beep://192.0.2.103:3002", "416"),
        ("mailto:a@b", "416"),
        ("sip:gateway.test", "484"),
    ] {
        peer.target = target.to_owned();
        let invite = peer.invite("", OFFER);
        desk.hear(&peer.flow, &invite);
        desk.next().is(status);
    }
    desk.quiet();
    peer.target = "tel:+4930123".to_owned();
    let invite = peer.invite("Accept: application/sdp;level=1, text/plain", OFFER);
    desk.hear(&peer.flow, &invite);
    let (_, LegEvent::Offer(offer)) = desk.event() else { panic!("no call") };
    assert_eq!(offer.to.expose(), "+4930123");
    desk.ua.drain();
    peer.call_id = "late".to_owned();
    let invite = peer.invite("", OFFER);
    desk.hear(&peer.flow, &invite);
    desk.next().is("503").has("Retry-After", "5");
}

/// Nobody gets anything out of us by another method or transport than the guarded ones.
#[test]
fn no_method_is_served_to_a_stranger_over_any_transport() {
    let methods = [
        ("INVITE", "407"),
        ("REGISTER", "401"),
        ("MESSAGE", "407"),
        ("SUBSCRIBE", "407"),
        ("PUBLISH", "407"),
        ("REFER", "407"),
        ("NOTIFY", "481"),
        ("INFO", "481"),
        ("UPDATE", "481"),
        ("PRACK", "481"),
        ("BYE", "481"),
        ("PING", "501"),
    ];
    for transport in Transport::ALL {
        for (method, status) in methods {
            let (mut desk, mut peer) = (Desk::new(), Peer::caller());
            let connection = transport.is_reliable().then_some(ConnectionId(7));
            peer.flow = Flow { transport, connection, ..phone("203.0.113.9:5060") };
            let body = if method == "INVITE" { OFFER } else { "" };
            let request = peer.request(method, "Event: presence\nRefer-To: <sip:900@x>", body);
            desk.hear(&peer.flow, &request);
            let answer = desk.next();
            assert_eq!(answer.what(), status, "{method} over {transport}");
            desk.nothing();
            desk.quiet();
            assert_eq!((desk.ua.legs(), desk.ua.registrar().len()), (0, 0));
        }
    }
}
