//! REFER and its NOTIFYs (RFC 3515, RFC 5589): transfers that the call carries out.
//!
//! Who is to be joined need not know REFER or Replaces: both calls are ours, so that a transfer
//! with Replaces is a matter of ours alone.

use std::time::Instant;

use bytes::Bytes;
use crosspoint_base::{LegId, Private};
use crosspoint_call::{LegEvent, TransferProgress, TransferTarget};
use crosspoint_sip::endpoint::{ClientKey, ServerKey};
use crosspoint_sip::{HeaderName, Method, NameAddr, Request, Response, StatusCode, Uri};

use super::leg::Phase;
use super::replaces::Named;
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
        let wish = match target.filter(|_| is_one).map(|target| Wish::of(&target.uri)) {
            Some(Ok(_)) if leg.referral.is_some() || !matches!(leg.phase, Phase::Confirmed) => {
                Err(StatusCode::REQUEST_PENDING)
            }
            Some(wish) => wish,
            None => Err(StatusCode::BAD_REQUEST),
        };
        let wish = match wish {
            Ok(wish) => wish,
            Err(status) => return self.refuse(now, key, request, status),
        };
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
        let target = match wish {
            Wish::Number(to) => TransferTarget::Blind(Private(to)),
            Wish::Join(named, at) => match self.other_leg(id, &named) {
                Some(other) => TransferTarget::Attended(other),
                None => match self.call_elsewhere(&named, &at) {
                    Some(target) => target,
                    // The REFER itself must not get 481: its own dialog goes on (RFC 5057 §5.1).
                    None => {
                        let status = StatusCode::CALL_DOES_NOT_EXIST;
                        return self.notify_status(now, id, status, status.default_reason());
                    }
                },
            },
        };
        self.tell(id, LegEvent::Transfer(target));
    }

    /// A dialog that is not with us: the far party is called where that one is, in its place
    /// (RFC 5589 §7). One at an address of ours would be known here.
    fn call_elsewhere(&self, named: &Named, at: &Uri) -> Option<TransferTarget> {
        let host = at.host_text().to_ascii_lowercase();
        let is_own = host == self.config.domain.to_ascii_lowercase()
            || host.trim_matches(['[', ']']) == self.config.advertised.to_string();
        if is_own || self.is_ours(named) {
            return None;
        }
        let (to, call) = (at.user_decoded()?, named.print()?);
        Some(TransferTarget::Elsewhere { to: Private(to), call: Private(call) })
    }

    /// Tells the transferor how its REFER goes (RFC 3515 §2.4.4).
    pub(super) fn notify(&mut self, now: Instant, id: LegId, progress: TransferProgress) {
        let status = match progress {
            TransferProgress::Trying => StatusCode::TRYING,
            TransferProgress::Ringing => StatusCode::RINGING,
            TransferProgress::Done | TransferProgress::Parked(_) => StatusCode::OK,
            TransferProgress::Failed(cause) => status_for(cause),
        };
        // Whoever shows it to a person shows where to take the call up.
        let reason = match progress {
            TransferProgress::Parked(slot) => format!("Parked at {slot}"),
            _ => status.default_reason().to_owned(),
        };
        self.notify_status(now, id, status, &reason);
    }

    fn notify_status(&mut self, now: Instant, id: LegId, status: StatusCode, reason: &str) {
        if !self.has_room(id) {
            return;
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(referral) = leg.referral else { return };
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
        let body = format!("SIP/2.0 {status} {reason}\r\n");
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

/// What a Refer-To asks for.
enum Wish {
    Number(String),
    /// The party of another dialog of the same user (RFC 5589 §7).
    Join(Named, Box<Uri>),
}

impl Wish {
    fn of(target: &Uri) -> Result<Self, StatusCode> {
        if target.param("method").is_some_and(|m| !m.eq_ignore_ascii_case(b"INVITE")) {
            return Err(StatusCode::NOT_IMPLEMENTED);
        }
        let headers = target.headers().unwrap_or_default();
        let mut replaced = headers.split(|b| *b == b'&').filter_map(|header| {
            let equals = header.iter().position(|b| *b == b'=')?;
            let (name, value) = (header.get(..equals)?, header.get(equals + 1..)?);
            unescaped(name).eq_ignore_ascii_case(b"Replaces").then(|| unescaped(value))
        });
        match (replaced.next(), replaced.next()) {
            (Some(value), None) => {
                let named = Named::parse(&value).ok_or(StatusCode::BAD_REQUEST)?;
                Ok(Self::Join(named, Box::new(target.clone())))
            }
            (Some(_), Some(_)) => Err(StatusCode::BAD_REQUEST),
            (None, _) => target.user_decoded().map(Self::Number).ok_or(StatusCode::BAD_REQUEST),
        }
    }
}

/// RFC 3261 §19.1.2: what a URI's header holds.
fn unescaped(text: &[u8]) -> Bytes {
    let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(byte) = text.get(at) {
        let pair = digit(text.get(at + 1)).zip(digit(text.get(at + 2)));
        match pair.filter(|_| *byte == b'%').map(|(high, low)| u8::try_from(high * 16 + low)) {
            Some(Ok(escaped)) => {
                out.push(escaped);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    Bytes::from(out)
}
