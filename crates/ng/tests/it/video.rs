//! Pictures beside the sound, between a browser and a phone.

use crate::world::*;

const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98\r\nc=IN IP4 0.0.0.0\r\n\
a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
a=setup:actpass\r\na=mid:1\r\na=sendrecv\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:96 VP8/90000\r\n\
a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\na=rtpmap:97 rtx/90000\r\n\
a=fmtp:97 apt=96\r\na=rtpmap:98 H264/90000\r\n\
a=fmtp:98 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n";
const TO_PHONE: [(&str, &str); 3] =
    [("ICE", "remove"), ("transport-protocol", "RTP/AVP"), ("DTLS", "off")];
const TO_BROWSER: [(&str, &str); 2] =
    [("ICE", "force"), ("transport-protocol", "UDP/TLS/RTP/SAVPF")];

fn browser() -> String {
    BROWSER.replace("a=group:BUNDLE 0", "a=group:BUNDLE 0 1") + VIDEO
}

fn with(request: crosspoint_ng::Dictionary, flags: &[(&str, &str)]) -> crosspoint_ng::Dictionary {
    flags.iter().fold(request, |request, (key, value)| request.with(key, *value))
}

/// The lines of the section of this kind.
fn section(sdp: &str, kind: &str) -> String {
    let from = sdp.find(&format!("m={kind} ")).unwrap_or_else(|| panic!("no {kind} in {sdp}"));
    let rest = &sdp[from..];
    rest[2..].find("\nm=").map_or(rest, |end| &rest[..end + 3]).to_owned()
}

#[test]
fn a_browser_and_a_phone_are_each_told_of_pictures_as_they_understand_them() {
    let mut world = World::new();
    let to_phone = world.sdp(&with(offer(&browser()), &TO_PHONE));
    let video = section(&to_phone, "video");
    assert!(video.contains(" RTP/AVP "), "{video}");
    assert!(video.contains("VP8/90000") && video.contains("H264/90000"), "{video}");
    for line in ["rtx", "a=ice", "a=fingerprint", "a=mid", "transport-cc"] {
        assert!(!video.contains(line), "{line} in {video}");
    }
    assert!(port(&section(&to_phone, "audio")) != port(&video), "each has ports of its own");
    let taken = phone(8, 6000, "0", "") + "m=video 6002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n";
    let to_browser = world.sdp(&with(answer(&taken), &[("ICE", "force")]));
    let video = section(&to_browser, "video");
    for line in ["a=mid:1", "a=setup:", "a=ice-ufrag", "a=rtpmap:96 VP8/90000", "nack pli", "rtx"] {
        assert!(video.contains(line), "{line} in {video}");
    }
    assert!(!video.contains("H264"), "{video}");
    assert!(to_browser.contains("a=group:BUNDLE 0 1"), "{to_browser}");
    let reply = world.ask(&request("query"));
    let medias = show(reply.dictionary("tags").unwrap().dictionary("b").unwrap());
    assert!(medias.contains("\"type\":\"video\"") && medias.contains("VP8/90000"), "{medias}");
}

#[test]
fn pictures_may_be_refused_and_come_later_from_the_phone() {
    let mut world = World::new();
    world.sdp(&with(offer(&browser()), &TO_PHONE));
    let hears = phone(8, 6000, "0", "") + "m=video 0 RTP/AVP 96\r\n";
    let to_browser = world.sdp(&with(answer(&hears), &[("ICE", "force")]));
    assert_eq!(port(&section(&to_browser, "video")), 0, "{to_browser}");
    assert!(to_browser.contains("a=group:BUNDLE 0\r\n"), "{to_browser}");
    let shows = phone(8, 6000, "0", "") + "m=video 6002 RTP/AVP 99\r\na=rtpmap:99 VP8/90000\r\n";
    let again = request("offer").with("from-tag", "b").with("to-tag", "a").with("sdp", shows);
    let to_browser = world.sdp(&with(again, &TO_BROWSER));
    let video = section(&to_browser, "video");
    // A section that begins anew has a name that was not used (RFC 8829 §5.2.2).
    assert!(video.contains("VP8/90000") && video.contains("a=mid:2"), "{video}");
    assert!(to_browser.contains("a=group:BUNDLE 0 2"), "{to_browser}");
}
