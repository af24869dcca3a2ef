//! Video beside the sound: what is offered across, refused, added and taken away.

use super::*;
use crate::video::{H264Profile, VideoKind};

const CB: H264Profile = H264Profile::ConstrainedBaseline;

fn h264(mode: u8) -> VideoKind {
    VideoKind::H264 { profile: CB, mode }
}

/// As Chromium writes it; `sections` go behind the sound.
fn caller(sections: &str) -> Session {
    let mids: Vec<&str> = sections.lines().filter_map(|l| l.strip_prefix("a=mid:")).collect();
    parse(&format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 {}\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111 0 110\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
         a=rtpmap:111 opus/48000/2\r\na=rtpmap:110 telephone-event/48000\r\n{ICE}{sections}",
        mids.join(" ")
    ))
}

const ICE: &str = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
a=fingerprint:sha-256 AB:CD\r\na=setup:actpass\r\na=rtcp-mux\r\n";

fn camera(mid: &str) -> String {
    format!(
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 104 105 39\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\n\
         a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
         a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=extmap:9 urn:3gpp:video-orientation\r\n\
         a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
         a=rtpmap:102 H264/90000\r\na=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
         a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n\
         a=rtpmap:104 H264/90000\r\na=fmtp:104 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f\r\n\
         a=rtpmap:105 rtx/90000\r\na=fmtp:105 apt=104\r\na=rtpmap:39 AV1/90000\r\n\
         a=rtcp-fb:96 goog-remb\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n\
         a=rtcp-fb:102 goog-remb\r\na=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\na=rtcp-fb:102 ccm fir\r\n\
         a=rtcp-fb:104 nack pli\r\n{ICE}"
    )
}

fn desk(rest: &str) -> Session {
    phone("0 101", rest)
}

const LENS: &str = "m=video 5004 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\n\
a=fmtp:99 packetization-mode=0;profile-level-id=42e00c\r\nb=AS:512\r\n";

fn lens(rest: &str) -> String {
    // RFC 8866 §5: bandwidth stands before attributes.
    LENS.replace("b=AS:512\r\n", "").replace("AVP 99\r\n", "AVP 99\r\nb=AS:512\r\n") + rest
}

fn video(session: &Session) -> Media {
    session.media().find(Media::is_video).expect("a section of video")
}

fn pair() -> (Leg, Leg) {
    (leg(Profile::WebRtc, 1), leg(Profile::Rtp(SrtpPolicy::Off), 2))
}

/// A browser and a phone with video in H.264, one NAL unit in a packet.
fn seeing() -> (Leg, Leg) {
    let (mut front, mut back) = pair();
    front.takes_offer(&caller(&camera("1")));
    back.offer(Some(&front));
    back.takes_answer(&desk(&lens("a=rtcp-fb:* nack pli\r\n")));
    front.answer(Some(&back));
    (front, back)
}

#[test]
fn a_browser_and_a_video_phone_agree_on_what_both_have() {
    let (mut front, mut back) = pair();
    front.takes_offer(&caller(&camera("1")));
    let offer = video(&back.offer(Some(&front)));
    let names: Vec<&str> = offer.codecs.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["VP8", "H264", "H264"], "no repairs, and nothing that we do not pass on");
    assert_eq!((offer.protocol.as_str(), offer.port), ("RTP/AVP", back.end.video.unwrap().port()));
    assert!(offer.mid.is_none() && !offer.is_bundled && offer.extensions.is_empty());
    assert!(offer.has_feedback(96, "nack pli") && offer.ssrc.is_none());
    back.takes_answer(&desk(&lens("a=rtcp-fb:* nack pli\r\n")));
    let answer = video(&front.answer(Some(&back)));
    let numbers: Vec<u8> = answer.codecs.iter().map(|c| c.pt).collect();
    assert_eq!(numbers, [104, 105], "the browser's numbers for mode 0 and its repairs");
    let fmtp = answer.codecs[0].fmtp.as_deref();
    assert_eq!(fmtp, Some("packetization-mode=0;profile-level-id=42e00c"), "the phone's level");
    assert_eq!((answer.mid.as_deref(), answer.is_bundled), (Some("1"), true));
    assert_eq!(answer.feedback, [(Some(104), "nack pli".to_owned())]);
    assert_eq!(answer.extensions.len(), 3, "not the orientation: nobody would turn the picture");
    assert_eq!(answer.bandwidth, Some(512_000), "the phone's limit goes to the browser");
    assert!(answer.ssrc.is_some() && answer.repair_ssrc.is_some());
    let stream = front.stream().video.unwrap();
    assert_eq!(stream.number(h264(0)), Some((104, Some(105))));
    assert_eq!(stream.number(VideoKind::Vp8), None);
    assert_eq!(stream.received(105), Some(Received::Repair(h264(0), 104)));
    assert!(stream.feedback.pli && !stream.feedback.nack && stream.transport.is_none());
    assert_eq!(stream.extensions.mid, Some((4, "1".to_owned())));
    let stream = back.stream().video.unwrap();
    assert_eq!(stream.number(h264(0)), Some((99, None)));
    assert_eq!(stream.received(99), Some(Received::Picture(h264(0))));
    assert!(stream.feedback.pli && !stream.feedback.nack);
    let Some(Transport::Rtp { remote: Some(remote), rtcp, .. }) = stream.transport else {
        panic!("a place of its own")
    };
    assert_eq!((remote.port(), rtcp.unwrap().port()), (5004, 5005));
}

#[test]
fn a_peer_without_video_leaves_the_call_with_sound() {
    for answer in [desk(""), desk("m=video 0 RTP/AVP 96\r\n")] {
        let (mut front, mut back) = pair();
        front.takes_offer(&caller(&camera("1")));
        back.offer(Some(&front));
        if answer.len() == 1 {
            // Interop: some phones leave out what they do not know; that breaks RFC 3264 §6.
            assert!(back.negotiator.accept(SdpKind::Answer, &answer).is_err());
            continue;
        }
        back.takes_answer(&answer);
        let answer = front.answer(Some(&back));
        assert_eq!((video(&answer).port, answer.len()), (0, 2));
        assert!(front.stream().video.is_none() && back.stream().video.is_none());
        assert_eq!(front.stream().send, Some((Codec::Pcmu, 0)));
        // A session refresh with the same offer is no news.
        assert!(!front.takes_offer(&caller(&camera("1"))).far_side_concerned);
    }
}

#[test]
fn a_video_phone_calls_a_browser() {
    let mut front = leg(Profile::Rtp(SrtpPolicy::Off), 1);
    let mut back = leg(Profile::WebRtc, 2);
    front.takes_offer(&desk(&lens("a=rtcp-fb:* ccm fir\r\n")));
    let offer = back.offer(Some(&front));
    let (sound, picture) = (offer.media().next().unwrap(), video(&offer));
    assert!(sound.is_bundled && picture.is_bundled && sound.mid != picture.mid);
    assert_eq!((&sound.ice_ufrag, sound.port), (&picture.ice_ufrag, picture.port));
    assert_eq!(picture.codecs.len(), 2, "the format and its repairs");
    assert!(picture.formats.iter().all(|f| !sound.formats.contains(f)));
    let msid = |m: &Media| m.msid.as_ref().unwrap().split(' ').next().map(str::to_owned);
    assert_eq!(msid(&sound), msid(&picture), "one stream, so that they are in step");
    assert_eq!(sound.ssrc.as_ref().unwrap().1, picture.ssrc.as_ref().unwrap().1, "one CNAME");
    let mut other = leg(Profile::WebRtc, 3);
    other.takes_offer(&offer);
    let answer = other.answer(Some(&front));
    back.takes_answer(&answer);
    let stream = back.stream().video.unwrap();
    assert!(stream.feedback.nack && stream.feedback.transport_cc && stream.feedback.remb);
    assert_eq!(stream.bandwidth, Some(512_000));
    let answer = video(&front.answer(Some(&back)));
    assert_eq!((answer.formats.as_slice(), answer.rtcp_mux), (&["99".to_owned()][..], false));
    assert_eq!(answer.feedback, [(Some(99), "ccm fir".to_owned())]);
    assert!(front.stream().video.unwrap().feedback.fir);
}

#[test]
fn both_browsers_keep_their_own_numbers() {
    let (mut front, mut back) = (leg(Profile::WebRtc, 1), leg(Profile::WebRtc, 2));
    front.takes_offer(&caller(&camera("1")));
    let offer = back.offer(Some(&front));
    let mut other = leg(Profile::WebRtc, 3);
    other.takes_offer(&offer);
    back.takes_answer(&other.answer(Some(&front)));
    front.answer(Some(&back));
    let (a, b) = (front.stream().video.unwrap(), back.stream().video.unwrap());
    assert_eq!(a.number(VideoKind::Vp8), Some((96, Some(97))));
    for kind in [VideoKind::Vp8, h264(0), h264(1)] {
        let (pt, repair) = b.number(kind).unwrap();
        assert_eq!(b.received(pt), Some(Received::Picture(kind)));
        assert_eq!(b.received(repair.unwrap()), Some(Received::Repair(kind, pt)));
    }
}

/// Interop: what baresip answers to Constrained Baseline.
#[test]
fn any_baseline_is_taken_for_the_one_that_was_offered() {
    let (mut front, mut back) = pair();
    front.takes_offer(&caller(&camera("1")));
    back.offer(Some(&front));
    back.takes_answer(&desk(&lens("").replace("42e00c", "42801f")));
    let answer = video(&front.answer(Some(&back)));
    assert_eq!(answer.codecs[0].pt, 104);
    assert_eq!(back.stream().video.unwrap().number(h264(0)), Some((99, None)));
    // Another mode is another format.
    let (mut front, mut back) = pair();
    front
        .takes_offer(&caller(&camera("1").replace("packetization-mode=0", "packetization-mode=2")));
    back.offer(Some(&front));
    back.takes_answer(&desk(&lens("")));
    assert_eq!(video(&front.answer(Some(&back))).port, 0);
}

#[test]
fn a_browser_adds_video_takes_it_away_and_adds_it_again() {
    let (mut front, mut back) = pair();
    front.takes_offer(&caller(""));
    assert_eq!(back.offer(Some(&front)).len(), 1);
    back.takes_answer(&desk(""));
    front.answer(Some(&back));
    assert!(front.stream().video.is_none());
    let without = "m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n";
    for (section, has_video) in
        [(camera("1"), true), (without.to_owned(), false), (camera("2"), true)]
    {
        assert!(front.takes_offer(&caller(&section)).far_side_concerned);
        let offer = back.offer(Some(&front));
        assert_eq!((offer.len(), video(&offer).port != 0), (2, has_video));
        let theirs = if has_video { lens("") } else { "m=video 0 RTP/AVP 99\r\n".to_owned() };
        back.takes_answer(&desk(&theirs));
        let answer = video(&front.answer(Some(&back)));
        assert_eq!(answer.port != 0, has_video);
        if has_video {
            let mid = section.lines().find_map(|l| l.strip_prefix("a=mid:"));
            assert_eq!(answer.mid.as_deref(), mid);
        }
        assert_eq!(front.stream().video.is_some(), has_video);
        assert_eq!(back.stream().video.is_some(), has_video);
    }
}

#[test]
fn a_phone_adds_video_takes_it_away_and_adds_it_again() {
    let mut front = leg(Profile::WebRtc, 1);
    let mut back = leg(Profile::Rtp(SrtpPolicy::Off), 2);
    let mut page = leg(Profile::WebRtc, 3);
    let mut camera_of_page = leg(Profile::Rtp(SrtpPolicy::Off), 4);
    camera_of_page.takes_offer(&desk(&lens("")));
    front.takes_offer(&caller(""));
    back.offer(Some(&front));
    back.takes_answer(&desk(""));
    front.answer(Some(&back));
    let mut mids = Vec::new();
    for (section, has_video) in
        [(lens(""), true), ("m=video 0 RTP/AVP 99\r\n".to_owned(), false), (lens(""), true)]
    {
        assert!(back.takes_offer(&desk(&section)).far_side_concerned);
        let offer = front.offer(Some(&back));
        let picture = video(&offer);
        assert_eq!((offer.len(), picture.port != 0), (2, has_video), "one section is used again");
        if has_video {
            mids.push(picture.mid.clone().unwrap());
            assert_eq!(picture.formats, ["96", "97"], "a number stays with its format");
        }
        page.takes_offer(&offer);
        front.takes_answer(&page.answer(Some(&camera_of_page)));
        assert_eq!(video(&back.answer(Some(&front))).port != 0, has_video);
        assert_eq!(front.stream().video.is_some(), has_video);
        assert_eq!(back.stream().video.is_some(), has_video);
    }
    assert_eq!(mids.len(), 2);
    assert!(mids[0] != mids[1] && !mids.contains(&"0".to_owned()), "{mids:?}");
}

#[test]
fn a_far_side_that_refuses_the_change_leaves_the_sound() {
    let (mut front, mut back) = pair();
    front.takes_offer(&caller(""));
    back.offer(Some(&front));
    back.takes_answer(&desk(""));
    front.answer(Some(&back));
    front.takes_offer(&caller(&camera("1")));
    back.offer(Some(&front));
    back.negotiator.rollback();
    assert_eq!(video(&front.answer(Some(&back))).port, 0);
    assert!(front.stream().video.is_none() && back.stream().video.is_none());
    // The refused change left nothing behind.
    assert!(back.takes_offer(&desk(&lens(""))).far_side_concerned);
}

#[test]
fn hold_with_video_holds_both_and_resumes_both() {
    let (mut front, mut back) = seeing();
    let held = |text: &str| text.replace("a=rtpmap:99", "a=sendonly\r\na=rtpmap:99");
    let accepted = back.takes_offer(&desk(&format!("a=sendonly\r\n{}", held(&lens("")))));
    assert!(accepted.on_hold && accepted.far_side_concerned);
    let offer = front.offer(Some(&back));
    assert!(offer.media().all(|m| m.direction == Direction::SendOnly));
    let mut page = leg(Profile::WebRtc, 3);
    page.takes_offer(&offer);
    let mut seen = leg(Profile::Rtp(SrtpPolicy::Off), 4);
    seen.takes_offer(&desk(&lens("")));
    front.takes_answer(&page.answer(Some(&seen)));
    let answer = back.answer(Some(&front));
    assert!(answer.media().all(|m| m.direction == Direction::RecvOnly), "{answer}");
    assert!(!back.stream().video.unwrap().direction.sends());
    assert!(front.stream().video.unwrap().direction.sends());
    // Only the picture is stopped: the sound is not held, yet the far side must hear of it.
    let accepted = back.takes_offer(&desk(&lens("a=inactive\r\n")));
    assert!(!accepted.on_hold && accepted.far_side_concerned);
    assert_eq!(video(&front.offer(Some(&back))).direction, Direction::Inactive);
    front.negotiator.rollback();
    assert!(back.takes_offer(&desk(&lens(""))).far_side_concerned);
    assert_eq!(video(&front.offer(Some(&back))).direction, Direction::SendRecv);
}

/// RFC 8853 §5.3: who does not say simulcast gets one stream.
#[test]
fn a_browser_that_offers_several_layers_is_asked_for_one() {
    let (mut front, mut back) = pair();
    let layers = "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
        a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\n\
        a=rid:h send\r\na=rid:m send\r\na=rid:l send\r\na=simulcast:send h;m;l\r\n";
    front.takes_offer(&caller(&(camera("1") + layers)));
    let offer = back.offer(Some(&front));
    back.takes_answer(&desk(&lens("")));
    let answer = front.answer(Some(&back));
    for text in [offer.to_string(), answer.to_string()] {
        assert!(text.contains("m=video") && !text.contains("rid"), "{text}");
        assert!(!text.contains("simulcast") && !text.contains("stream-id"), "{text}");
    }
    assert_eq!(front.stream().video.unwrap().number(h264(0)), Some((104, Some(105))));
}

#[test]
fn what_is_neither_sound_nor_video_is_refused_in_its_place() {
    let data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\n";
    let second = camera("2");
    let (mut front, mut back) = pair();
    front.takes_offer(&caller(&format!("{data}{}{second}", camera("1"))));
    back.offer(Some(&front));
    back.takes_answer(&desk(&lens("")));
    let answer = front.answer(Some(&back));
    let sections: Vec<_> = answer.media().map(|m| (m.kind.clone(), m.port != 0)).collect();
    let expected = [("audio", true), ("application", false), ("video", true), ("video", false)];
    assert_eq!(sections, expected.map(|(kind, used)| (kind.to_owned(), used)));
    assert!(answer.to_string().contains("a=group:BUNDLE 0 1\r\n"), "{answer}");
    let fax = "m=image 4000 udptl t38\r\nm=application 5006 UDP/BFCP *\r\n";
    let (mut front, mut back) = (leg(Profile::Rtp(SrtpPolicy::Off), 1), leg(Profile::WebRtc, 2));
    front.takes_offer(&parse(&format!("{}{fax}{}", desk(""), lens(""))));
    let offer = back.offer(Some(&front));
    assert_eq!(offer.len(), 2, "the browser hears of sound and video only");
    let mut page = leg(Profile::WebRtc, 3);
    page.takes_offer(&offer);
    back.takes_answer(&page.answer(Some(&front)));
    let answer = front.answer(Some(&back));
    let ports: Vec<_> = answer.media().map(|m| m.port != 0).collect();
    assert_eq!(ports, [true, false, false, true]);
}

#[test]
fn each_section_has_keys_of_its_own() {
    for policy in [SrtpPolicy::Optional, SrtpPolicy::Required] {
        let mut source = leg(Profile::Rtp(SrtpPolicy::Off), 9);
        source.takes_offer(&desk(&lens("")));
        let mut caller = leg(Profile::Rtp(policy), 1);
        let mut called = leg(Profile::Rtp(SrtpPolicy::Off), 2);
        let offer = caller.offer(Some(&source));
        called.takes_offer(&offer);
        caller.takes_answer(&called.answer(Some(&source)));
        let (a, b) = (caller.stream(), called.stream());
        let (a_video, b_video) = (a.video.unwrap(), b.video.unwrap());
        let keys = [(a.keys, b.keys), (a_video.keys, b_video.keys)].map(|pair| {
            let (Keys::Sdes { local, remote, .. }, Keys::Sdes { local: c, remote: d, .. }) = pair
            else {
                panic!("both have keys")
            };
            assert_eq!((&local, &remote), (&d, &c));
            local
        });
        assert_ne!(keys[0], keys[1]);
    }
}

#[test]
fn video_that_would_lower_the_guard_is_refused() {
    let key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 \
               inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd\r\n";
    let secure = phone("0", key).to_string().replace("RTP/AVP 0", "RTP/SAVP 0");
    let mut source = leg(Profile::Rtp(SrtpPolicy::Off), 9);
    source.takes_offer(&desk(&lens("")));
    for (text, taken) in [
        (format!("{secure}{}", lens("")), false),
        (format!("{secure}{}{key}", lens("").replace("RTP/AVP", "RTP/SAVP")), true),
        (format!("{}{}{key}", desk(""), lens("").replace("RTP/AVP", "RTP/SAVP")), false),
    ] {
        let mut front = leg(Profile::Rtp(SrtpPolicy::Optional), 1);
        front.takes_offer(&parse(&text));
        assert_eq!(video(&front.answer(Some(&source))).port != 0, taken, "{text}");
    }
}

#[test]
fn an_answer_seals_pictures_and_sound_alike() {
    let mut source = leg(Profile::Rtp(SrtpPolicy::Off), 9);
    source.takes_offer(&desk(&lens("")));
    for (sound, picture) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut caller = leg(Profile::Rtp(SrtpPolicy::Optional), 1);
        let mut called = leg(Profile::Rtp(SrtpPolicy::Off), 2);
        called.takes_offer(&caller.offer(Some(&source)));
        let mut answer = called.answer(Some(&source)).to_string();
        let (head, video) = answer.split_once("m=video").unwrap();
        let without = |text: &str| -> String {
            text.split_inclusive("\r\n").filter(|l| !l.starts_with("a=crypto")).collect()
        };
        let head = if sound { head.to_owned() } else { without(head) };
        let video = if picture { video.to_owned() } else { without(video) };
        answer = format!("{head}m=video{video}");
        caller.takes_answer(&parse(&answer));
        assert_eq!(caller.stream().video.is_some(), sound == picture, "{answer}");
    }
}

#[test]
fn a_browsers_video_comes_on_the_transport_of_its_sound_or_not_at_all() {
    let apart = caller(&camera("1")).to_string().replace("BUNDLE 0 1", "BUNDLE 0");
    let mixed = caller(&camera("1").replace("96", "111")).to_string();
    for text in [apart, mixed] {
        let mut front = leg(Profile::WebRtc, 1);
        front.takes_offer(&parse(&text));
        let mut back = leg(Profile::Rtp(SrtpPolicy::Off), 2);
        assert_eq!(back.offer(Some(&front)).len(), 1, "{text}");
        back.takes_answer(&desk(""));
        assert_eq!(video(&front.answer(Some(&back))).port, 0);
    }
}

#[test]
fn a_leg_that_refuses_video_neither_offers_nor_takes_it() {
    let (mut front, mut back) = pair();
    back.negotiator.refuse_video();
    front.takes_offer(&caller(&camera("1")));
    assert!(!back.negotiator.wants_video(SdpKind::Offer, Some(&front.negotiator.view())));
    assert_eq!(back.offer(Some(&front)).len(), 1);
    back.takes_answer(&desk(""));
    let mut trunk = leg(Profile::Rtp(SrtpPolicy::Off), 3);
    trunk.negotiator.refuse_video();
    trunk.takes_offer(&desk(&lens("")));
    assert!(trunk.negotiator.view().video.is_none());
    assert_eq!(video(&trunk.answer(Some(&front))).port, 0);
}

#[test]
fn a_phones_video_needs_a_port() {
    let (mut front, mut back) = pair();
    back.end.video = None;
    front.takes_offer(&caller(&camera("1")));
    assert_eq!(back.offer(Some(&front)).len(), 1);
}
