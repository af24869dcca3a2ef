//! REFER and its NOTIFYs (RFC 3515): a blind transfer that the call carries out.

use std::time::Instant;

use crosspoint_base::{LegId, Private};
use crosspoint_call::{LegEvent, TransferProgress, TransferTarget};
use crosspoint_sip::endpoint::{ClientKey, ServerKey};
use crosspoint_sip::{HeaderName, Method, NameAddr, Request, Response, StatusCode, Uri};

use super::leg::Phase;
use super::status::status_for;
use super::{ClientUse, SipUa};

/// The subscription that a REFER makes (RFC 3515 §2.4.4).
#[derive(Debug, Clone, Copy)]
pub(super) struct Referral {
    /// The CSeq of the REFER. The first one of a dialog need not be named.
    id: Option<u32>,
}

impl SipUa {
    pub(super) fn refer_arrived(
        &mut self,
        now: Instant,
        key: ServerKey,
        id: LegId,
        request: &Request,
    ) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let is_one = request.headers.values(&HeaderName::REFER_TO).count() == 1;
        let target = request.headers.first(&HeaderName::REFER_TO).and_then(NameAddr::parse);
        let to = target.as_ref().filter(|_| is_one).and_then(|t| t.uri.user_decoded());
        let status = match &to {
            None => StatusCode::BAD_REQUEST,
            Some(_) if target.as_ref().is_some_and(|t| asks_for_more(&t.uri)) => {
                StatusCode::NOT_IMPLEMENTED
            }
            Some(_) if leg.referral.is_some() || !matches!(leg.phase, Phase::Confirmed) => {
                StatusCode::REQUEST_PENDING
            }
            Some(_) => StatusCode::ACCEPTED,
        };
        if status != StatusCode::ACCEPTED {
            self.refuse(now, key, request, status);
            return;
        }
        // RFC 4488: no subscription.
        let wants_no_news = request
            .headers
            .first(&HeaderName::REFER_SUB)
            .is_some_and(|v| v.eq_ignore_ascii_case(b"false"));
        let number = request.headers.cseq().map(|cseq| cseq.number);
        if !wants_no_news {
            leg.referral = Some(Referral { id: number.filter(|_| leg.referrals > 0) });
        }
        leg.referrals = leg.referrals.saturating_add(1);
        let mut response = Response::for_request(request, StatusCode::ACCEPTED);
        self.dialog_headers(id, &mut response);
        if wants_no_news {
            response.headers.push(HeaderName::REFER_SUB, "false");
        }
        self.respond(now, key, &mut response);
        let to = to.unwrap_or_default();
        self.tell(id, LegEvent::Transfer(TransferTarget::Blind(Private(to))));
    }

    /// Tells the transferor how its REFER goes (RFC 3515 §2.4.4).
    pub(super) fn notify(&mut self, now: Instant, id: LegId, progress: TransferProgress) {
        if !self.has_room(id) {
            return;
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(referral) = leg.referral else { return };
        let status = match progress {
            TransferProgress::Trying => StatusCode::TRYING,
            TransferProgress::Ringing => StatusCode::RINGING,
            TransferProgress::Done => StatusCode::OK,
            TransferProgress::Failed(cause) => status_for(cause),
        };
        let Some(dialog) = &mut leg.dialog else { return };
        let mut request = dialog.request(Method::NOTIFY, None);
        let flow = dialog.next_hop();
        let event = referral.id.map_or("refer".to_owned(), |id| format!("refer;id={id}"));
        request.headers.push(HeaderName::EVENT, event);
        let state = if status.is_final() {
            leg.referral = None;
            "terminated;reason=noresource"
        } else {
            "active;expires=60"
        };
        request.headers.push(HeaderName::SUBSCRIPTION_STATE, state);
        self.dialog_request_headers(id, &flow, &mut request);
        let body = format!("SIP/2.0 {status} {}\r\n", status.default_reason());
        request.set_body("message/sipfrag;version=2.0", body);
        self.send_in_leg(now, id, flow, request, ClientUse::Notify(id));
    }

    /// RFC 6665 §4.2.2: a refusal ends the subscription; the call itself goes on.
    pub(super) fn notify_failed(&mut self, key: ClientKey, id: LegId) {
        self.clients.remove(&key);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.referral = None;
        }
    }
}

/// An attended transfer names another dialog: taking it for a blind one would ring somebody who
/// is already in a call. And a REFER may ask for other requests than INVITE.
fn asks_for_more(target: &Uri) -> bool {
    let replaces = |h: &[u8]| h.to_ascii_lowercase().windows(8).any(|w| w == b"replaces");
    let method = target.param("method");
    target.headers().is_some_and(|h| replaces(&h))
        || method.is_some_and(|m| !m.eq_ignore_ascii_case(b"INVITE"))
}
