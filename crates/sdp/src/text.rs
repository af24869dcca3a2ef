//! Descriptions as text (RFC 8866 §5): what `sdp-types` prints, without the detour of its lines
//! over formatting character by character.

use std::net::IpAddr;

use crosspoint_base::{push_ip, push_number};
use sdp_types::{Attribute, Bandwidth, Connection, Media, Session};

use crate::Origin;

/// The same text that the library writes.
pub(crate) fn print(session: &Session) -> String {
    if is_rare(session) {
        let mut out = Vec::with_capacity(1024);
        // Writing to memory does not fail.
        let _ = session.write(&mut out);
        return String::from_utf8_lossy(&out).into_owned();
    }
    let mut out = String::with_capacity(1024);
    let origin = &session.origin;
    let user = origin.username.as_deref().filter(|user| !user.is_empty()).unwrap_or("-");
    line(&mut out, "v=0", &[]);
    ["o=", user, " ", &origin.sess_id, " "].iter().for_each(|part| text(&mut out, part));
    number(&mut out, origin.sess_version);
    let (kind, family) = (origin.nettype.as_str(), origin.addrtype.as_str());
    line(&mut out, " ", &[kind, " ", family, " ", &origin.unicast_address]);
    line(&mut out, "s=", &[&session.session_name]);
    session.connection.iter().for_each(|connection| connect(&mut out, connection));
    session.bandwidths.iter().for_each(|bandwidth| allow(&mut out, bandwidth));
    for time in &session.times {
        out.push_str("t=");
        number(&mut out, time.start_time);
        out.push(' ');
        number(&mut out, time.stop_time);
        out.push_str(END);
    }
    session.attributes.iter().for_each(|attribute| attribute_line(&mut out, attribute));
    session.medias.iter().for_each(|media| section(&mut out, media));
    out
}

/// The text of somebody's description as one of ours.
pub(crate) fn pass_on(theirs: &str, origin: &Origin) -> String {
    let mut out = String::with_capacity(theirs.len() + 32);
    let head = theirs.find("\r\nm=").map_or(theirs.len(), |end| end + END.len());
    for each in theirs[..head].split_inclusive(END) {
        match each.get(..2) {
            Some("o=") => {
                out.push_str("o=crosspoint ");
                number(&mut out, origin.id);
                out.push(' ');
                number(&mut out, origin.version);
                out.push_str(if origin.address.is_ipv4() { " IN IP4 " } else { " IN IP6 " });
                push_ip(&mut out, origin.address);
                out.push_str(END);
            }
            Some("s=") => out.push_str("s=-\r\n"),
            Some("i=" | "u=" | "e=" | "p=") => {}
            _ => out.push_str(each),
        }
    }
    out.push_str(&theirs[head..]);
    out
}

/// Whether it has lines that hardly anybody sends.
fn is_rare(session: &Session) -> bool {
    session.session_description.is_some()
        || session.uri.is_some()
        || !session.emails.is_empty()
        || !session.phones.is_empty()
        || !session.time_zones.is_empty()
        || session.key.is_some()
        || session.times.is_empty()
        || session.times.iter().any(|time| !time.repeats.is_empty())
        || session.medias.iter().any(|media| media.key.is_some() || media.media_title.is_some())
}

fn section(out: &mut String, media: &Media) {
    out.push_str("m=");
    text(out, &media.media);
    out.push(' ');
    number(out, media.port.into());
    if let Some(ports) = media.num_ports {
        out.push('/');
        number(out, ports.into());
    }
    line(out, " ", &[&media.proto, " ", &media.fmt]);
    media.connections.iter().for_each(|connection| connect(out, connection));
    media.bandwidths.iter().for_each(|bandwidth| allow(out, bandwidth));
    media.attributes.iter().for_each(|attribute| attribute_line(out, attribute));
}

fn connect(out: &mut String, connection: &Connection) {
    let (kind, family) = (connection.nettype.as_str(), connection.addrtype.as_str());
    line(out, "c=", &[kind, " ", family, " ", &connection.connection_address]);
}

fn allow(out: &mut String, bandwidth: &Bandwidth) {
    out.push_str("b=");
    text(out, &bandwidth.bwtype);
    out.push(':');
    number(out, bandwidth.bandwidth);
    out.push_str(END);
}

fn attribute_line(out: &mut String, attribute: &Attribute) {
    match &attribute.value {
        Some(value) => line(out, "a=", &[&attribute.attribute, ":", value]),
        None => line(out, "a=", &[&attribute.attribute]),
    }
}

fn line(out: &mut String, start: &str, parts: &[&str]) {
    out.push_str(start);
    parts.iter().for_each(|part| text(out, part));
    out.push_str(END);
}

/// What ends a line is left out of it, so that nobody adds a line by a value.
fn text(out: &mut String, part: &str) {
    if memchr::memchr3(0, b'\r', b'\n', part.as_bytes()).is_none() {
        return out.push_str(part);
    }
    part.split(['\0', '\r', '\n']).for_each(|piece| out.push_str(piece));
}

fn number(out: &mut String, number: u64) {
    push_number(out, number);
}

pub(crate) fn ip_text(ip: IpAddr) -> String {
    let mut text = String::with_capacity(16);
    push_ip(&mut text, ip);
    text
}

const END: &str = "\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on_says_nothing_of_who_made_it() {
        let theirs = "v=0\r\no=root 7 9 IN IP4 10.0.0.9\r\ns=Asterisk\r\ni=x\r\nu=http://x\r\n\
e=a@x\r\np=+49\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\ni=sound\r\n";
        let origin = Origin { id: 3, version: 4, address: IpAddr::from([192, 0, 2, 1]) };
        let ours = "v=0\r\no=crosspoint 3 4 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\n\
t=0 0\r\nm=audio 4000 RTP/AVP 0\r\ni=sound\r\n";
        assert_eq!(pass_on(theirs, &origin), ours);
        assert_eq!(pass_on(ours, &origin), ours);
        assert_eq!(pass_on("v=0\r\ns=a\r\n", &origin), "v=0\r\ns=-\r\n", "without media");
    }

    fn check(text: &str) {
        let session = Session::parse(text.as_bytes()).unwrap();
        let mut expected = Vec::new();
        session.write(&mut expected).unwrap();
        assert_eq!(print(&session), String::from_utf8(expected).unwrap());
    }

    #[test]
    fn prints_what_the_library_prints() {
        check("v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n");
        check(
            "v=0\r\no=a 1 2 IN IP6 ::1\r\ns=x y\r\nc=IN IP4 192.0.2.1/127\r\nb=AS:64\r\n\
            t=1 2\r\nt=3 4\r\na=ice-lite\r\na=group:BUNDLE 0\r\nm=audio 4000/2 RTP/AVP 0 8\r\n\
            c=IN IP6 ::1\r\nb=TIAS:1\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\nm=video 0 RTP/AVP 96\r\n",
        );
        check(
            "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\ni=who\r\nu=http://a\r\ne=a@b\r\np=+1\r\n\
            t=0 0\r\nr=7d 1h 0\r\nz=1 1h\r\nk=clear:x\r\nm=audio 1 RTP/AVP 0\r\ni=title\r\n",
        );
    }

    #[test]
    fn a_value_cannot_add_a_line() {
        let mut session =
            Session::parse(b"v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n").unwrap();
        session.session_name = "a\r\na=b\0".to_owned();
        let text = print(&session);
        assert!(text.contains("s=aa=b\r\n"), "{text}");
    }
}
