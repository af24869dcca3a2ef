//! Legs that stand for each other: what a proxy says of the other side.

use super::*;

const G729_AND_MORE: &str = "18 96 97 0 101";
const NAMES: &str =
    "a=rtpmap:96 AMR-WB/16000\r\na=fmtp:96 octet-align=1\r\na=rtpmap:97 iLBC/8000\r\n";

fn manner(session: &Session) -> Manner {
    let sections: Vec<Media> = session.media().collect();
    let index = sections.iter().position(Media::is_audio).unwrap();
    Manner {
        formats: Format::all_of(&sections[index]),
        sections: sections.iter().map(Media::refused).collect(),
        index,
        rtcp_mux: sections[index].rtcp_mux,
        ..Manner::default()
    }
}

/// A caller's offer and its answer, each passed on.
fn pass(offer: &Session, answer: &Session) -> (Leg, Leg, Session, Session) {
    let mut front = leg(Profile::Rtp(SrtpPolicy::Off), 1);
    let mut back = leg(Profile::Rtp(SrtpPolicy::Off), 2);
    front.negotiator.set_manner(manner(offer));
    front.takes_offer(offer);
    back.negotiator.set_manner(manner(offer));
    let ours = back.negotiator.describe(SdpKind::Offer, None, &back.end).unwrap();
    back.takes_answer(answer);
    front.negotiator.set_manner(manner(answer));
    let answered = front.negotiator.describe(SdpKind::Answer, None, &front.end).unwrap();
    (front, back, ours, answered)
}

#[test]
fn codecs_that_we_cannot_decode_pass_by_number() {
    let (front, back, ours, answered) =
        pass(&phone(G729_AND_MORE, NAMES), &phone("18 97 101", "a=rtpmap:97 iLBC/8000\r\n"));
    let section = ours.media().next().unwrap();
    assert_eq!(section.formats, ["18", "96", "97", "0", "101"]);
    assert_eq!(section.codecs[1].fmtp.as_deref(), Some("octet-align=1"));
    assert!(!section.rtcp_mux);
    assert_eq!(answered.media().next().unwrap().formats, ["18", "97", "101"]);
    let (front, back) = (front.stream().names.unwrap(), back.stream().names.unwrap());
    let forth = Passes::new(&front, &back);
    assert_eq!(forth.find(18), Some((18, 8000)));
    assert_eq!(forth.find(97), Some((97, 8000)));
    assert_eq!((forth.find(96), forth.find(0), forth.find(127)), (None, None, None));
    let back = Passes::new(&back, &front);
    assert_eq!((back.find(18), back.find(101)), (Some((18, 8000)), Some((101, 8000))));
}

#[test]
fn a_codec_that_each_side_numbers_its_own_way_is_renumbered() {
    let answer = phone("105 101", "a=rtpmap:105 ilbc/8000\r\n");
    let (front, back, ..) = pass(&phone(G729_AND_MORE, NAMES), &answer);
    let names = |leg: &Leg| leg.stream().names.unwrap();
    assert_eq!(Passes::new(&names(&back), &names(&front)).find(97), Some((97, 8000)));
    assert_eq!(Passes::new(&names(&front), &names(&back)).find(105), Some((105, 8000)));
}

#[test]
fn sections_of_the_other_side_keep_their_places() {
    let video = "m=video 4000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n";
    let mut text = phone("0 101", "").to_string();
    let at = text.find("m=audio").unwrap();
    text.insert_str(at, video);
    let (_, _, ours, _) = pass(&parse(&text), &parse(&text.replace("m=video 4000", "m=video 0")));
    let kinds: Vec<_> = ours.media().map(|m| (m.kind.clone(), m.port == 0)).collect();
    assert_eq!(kinds, [("video".to_owned(), true), ("audio".to_owned(), false)]);
}

#[test]
fn the_answer_of_another_fork_is_passed_on_as_well() {
    let (mut front, ..) = pass(&phone("0 8 101", ""), &phone("0 101", ""));
    front.negotiator.set_manner(manner(&phone("8 101", "")));
    let again = front.negotiator.describe(SdpKind::Answer, None, &front.end).unwrap();
    assert_eq!(again.media().next().unwrap().formats, ["8", "101"]);
}
