//! Rules of RFC 3264 that two descriptions alone can break.

use crate::{Media, Session};

/// The rule a peer's description broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RuleBroken(pub &'static str);

/// Checks an answer against its offer.
///
/// # Errors
/// Names the rule.
pub fn check_answer(offer: &Session, answer: &Session) -> Result<(), RuleBroken> {
    if offer.len() != answer.len() {
        return Err(RuleBroken("an answer has as many media sections as its offer (RFC 3264 §6)"));
    }
    for (offered, answered) in offer.sections().iter().zip(answer.sections()) {
        check_kind(offered, answered)?;
        if answered.is_rejected() {
            continue;
        }
        if offered.is_rejected() {
            return Err(RuleBroken("a section offered with port 0 stays refused (RFC 3264 §6)"));
        }
        check_section(offered, answered)?;
    }
    Ok(())
}

/// A section that both sides use.
fn check_section(offered: &Media, answered: &Media) -> Result<(), RuleBroken> {
    if is_secure(offered) && !is_secure(answered) {
        return Err(RuleBroken("an answer keeps the transport of its offer (RFC 3264 §6)"));
    }
    // Interop: numbers may differ for the same codec, some gateways renumber; a format that was
    // not offered beside one that was does no harm. An answer with nothing of the offer does.
    let takes_format = |format: &String| match format.parse::<u8>() {
        Ok(pt) => answered.codecs.iter().find(|c| c.pt == pt).map_or_else(
            || offered.formats.contains(format),
            |c| offered.codecs.iter().any(|o| o.is(&c.name, c.clock_rate)),
        ),
        Err(_) => offered.formats.iter().any(|o| o.eq_ignore_ascii_case(format)),
    };
    if !answered.formats.iter().any(takes_format) {
        return Err(RuleBroken("an answer takes formats of its offer (RFC 3264 §6.1)"));
    }
    if answered.mid.is_some() && offered.mid.is_some() && answered.mid != offered.mid {
        return Err(RuleBroken("an answer keeps the mid of its offer (RFC 5888 §9.1)"));
    }
    if answered.rtcp_mux && !offered.rtcp_mux {
        return Err(RuleBroken("an answer has rtcp-mux only when its offer had (RFC 5761 §5.1.1)"));
    }
    if answered.is_bundled && !offered.is_bundled {
        return Err(RuleBroken("an answer bundles only what was offered so (RFC 9143 §7.3)"));
    }
    Ok(())
}

fn is_secure(media: &Media) -> bool {
    media.protocol.to_ascii_uppercase().contains("SAVP")
}

/// Checks a new offer against the description its sender gave before.
///
/// # Errors
/// Names the rule.
pub fn check_reoffer(before: &Session, offer: &Session) -> Result<(), RuleBroken> {
    if offer.len() < before.len() {
        return Err(RuleBroken("a new offer keeps every media section (RFC 3264 §8)"));
    }
    before.sections().iter().zip(offer.sections()).try_for_each(|(old, new)| {
        // A refused section may be reused for another kind of media (RFC 3264 §8.1), and a call
        // becomes a fax and a call again in the same one (§8.3.3).
        let is_fax_or_sound = |m: &Media| m.is_fax() || m.is_audio();
        let may_change = old.is_rejected() || (is_fax_or_sound(old) && is_fax_or_sound(new));
        if may_change { Ok(()) } else { check_kind(old, new) }
    })
}

fn check_kind(a: &Media, b: &Media) -> Result<(), RuleBroken> {
    if a.kind == b.kind {
        Ok(())
    } else {
        Err(RuleBroken("media sections keep their order and kind (RFC 3264 §6, §8)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111 0\na=mid:0\na=rtcp-mux\n\
a=rtpmap:111 opus/48000/2\nm=image 0 udptl t38\nm=image 4000 udptl t38\n";

    fn session(media: &str) -> Session {
        let head = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n";
        Session::parse(format!("{head}{media}").as_bytes()).unwrap()
    }

    #[test]
    fn an_answer_is_held_to_its_offer() {
        let check = |answer: &str, broken: Option<&str>| {
            let result = check_answer(&session(OFFER), &session(answer));
            match (result, broken) {
                (Ok(()), None) => {}
                (Err(rule), Some(part)) if rule.0.contains(part) => {}
                (result, _) => panic!("{answer}: {result:?}"),
            }
        };
        let rest = "m=image 0 udptl t38\nm=image 5000 UDPTL T38\n";
        check(&format!("m=audio 9 UDP/TLS/RTP/SAVPF 0\na=mid:0\na=rtcp-mux\n{rest}"), None);
        check(&format!("m=audio 9 RTP/SAVPF 0\n{rest}"), None);
        check(&format!("m=audio 9 RTP/SAVPF 107\na=rtpmap:107 OPUS/48000/2\n{rest}"), None);
        check(&format!("m=audio 9 RTP/SAVPF 18 0\n{rest}"), None);
        check(&format!("m=audio 0 RTP/AVP 18\n{rest}"), None);
        check(&format!("m=audio 9 RTP/AVP 0\n{rest}"), Some("transport"));
        check(&format!("m=audio 9 RTP/SAVPF 18\n{rest}"), Some("formats"));
        check(&format!("m=audio 9 RTP/SAVPF 0\na=mid:1\n{rest}"), Some("mid"));
        check("m=audio 9 RTP/SAVPF 0\n", Some("as many"));
        check(&format!("{rest}m=audio 9 RTP/SAVPF 0\n"), Some("order"));
        let revived = "m=image 7 udptl t38\nm=image 0 udptl t38\n";
        check(&format!("m=audio 9 RTP/SAVPF 0\n{revived}"), Some("port 0"));
    }

    #[test]
    fn mux_and_bundle_are_not_answered_unasked() {
        let offer = session("m=audio 9 RTP/AVP 0\na=mid:x\n");
        let mux = session("m=audio 9 RTP/AVP 0\na=rtcp-mux\n");
        assert!(check_answer(&offer, &mux).unwrap_err().0.contains("rtcp-mux"));
        let bundle = session("a=group:BUNDLE x\nm=audio 9 RTP/AVP 0\na=mid:x\n");
        assert!(check_answer(&offer, &bundle).unwrap_err().0.contains("bundles"));
    }

    #[test]
    fn a_new_offer_keeps_what_was_there() {
        let before = session("m=audio 9 RTP/AVP 0\nm=video 0 RTP/AVP 96\n");
        for (offer, allowed) in [
            ("m=audio 9 RTP/AVP 8\nm=video 0 RTP/AVP 96\nm=image 9 udptl t38\n", true),
            // A refused section may be reused (RFC 3264 §8.1).
            ("m=audio 9 RTP/AVP 8\nm=image 9 udptl t38\n", true),
            ("m=image 9 udptl t38\nm=video 0 RTP/AVP 96\n", true),
            ("m=image 9 TCP t38\nm=video 0 RTP/AVP 96\n", false),
            ("m=audio 9 RTP/AVP 8\n", false),
            ("m=video 9 RTP/AVP 96\nm=audio 9 RTP/AVP 8\n", false),
        ] {
            assert_eq!(check_reoffer(&before, &session(offer)).is_ok(), allowed, "{offer}");
        }
    }
}
