//! Buttons pressed from afar: `NOTIFY` with `Event: talk` and `hold` inside a call, as contact
//! centres have their agents' phones answer and hold; and INVITEs that are to be answered by
//! themselves (RFC 5373).
//!
//! Not here: who may. The call passes nothing on of anybody else.

use std::time::Instant;

use bytes::Bytes;
use crosspoint_base::LegId;
use crosspoint_call::Button;
use crosspoint_sip::{HeaderName, Method, Request};

use super::leg::{Leg, Phase};
use super::{ClientUse, SipUa};

impl SipUa {
    /// In a call that rings it takes the first branch that has said anything.
    pub(super) fn press(&mut self, now: Instant, id: LegId, button: Button) {
        if !self.has_room(id) {
            return;
        }
        let dialog = match self.legs.get_mut(&id).map(Box::as_mut) {
            Some(Leg { phase: Phase::Calling(calling), .. }) => {
                calling.early.values_mut().next().map(|early| &mut early.dialog)
            }
            Some(leg) => leg.dialog.as_mut(),
            None => None,
        };
        let Some(dialog) = dialog else { return };
        let mut request = dialog.request(Method::NOTIFY, None);
        let flow = dialog.next_hop();
        let event = match button {
            Button::Talk => "talk",
            Button::Hold => "hold",
        };
        request.headers.push(HeaderName::EVENT, event);
        request.headers.push(HeaderName::SUBSCRIPTION_STATE, "terminated;reason=noresource");
        self.dialog_request_headers(id, &flow, &mut request);
        // A phone that does not know it says so, and rings on.
        self.send_in_leg(now, id, flow, request, ClientUse::Forgotten);
    }
}

/// The button that a NOTIFY inside a call presses.
pub(super) fn button_of(request: &Request) -> Option<Button> {
    let event = request.headers.first(&HeaderName::EVENT)?;
    let name = event.split(|b| *b == b';').next()?.trim_ascii();
    match name {
        name if name.eq_ignore_ascii_case(b"talk") => Some(Button::Talk),
        name if name.eq_ignore_ascii_case(b"hold") => Some(Button::Hold),
        _ => None,
    }
}

/// RFC 5373, and what phones and PBXs have said since before it.
pub(super) fn wants_auto_answer(request: &Request) -> bool {
    let says = |name: &'static str, what: &str| {
        let name = HeaderName::other(name);
        let has = |value: &Bytes| {
            let value = String::from_utf8_lossy(value).to_ascii_lowercase();
            value.split([';', ',']).any(|part| part.trim().replace('"', "") == what)
        };
        request.headers.all(&name).any(has)
    };
    says("Answer-Mode", "auto")
        || says("Priv-Answer-Mode", "auto")
        || says("Call-Info", "answer-after=0")
        || says("Alert-Info", "info=alert-autoanswer")
        || says("Alert-Info", "info=auto answer")
}

/// What makes phones answer by themselves, each in its own words.
pub(super) fn auto_answer_headers(request: &mut Request, domain: &str) {
    let headers = &mut request.headers;
    headers.push(HeaderName::other("Answer-Mode"), "Auto");
    headers.push(HeaderName::other("Call-Info"), format!("<sip:{domain}>;answer-after=0"));
    let alert = format!("<http://{domain}>;info=alert-autoanswer;delay=0");
    headers.push(HeaderName::other("Alert-Info"), alert);
}
