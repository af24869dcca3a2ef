//! Timers of legs: ringing, reliable provisionals, glare, and sessions (RFC 4028).

use std::time::{Duration, Instant};

use crosspoint_base::LegId;
use crosspoint_call::{Cause, LegEvent, ReofferFailure};
use crosspoint_sip::endpoint::ServerKey;
use crosspoint_sip::{HeaderName, Method, Request, Response, StatusCode};

use super::leg::{Phase, SessionTimer};
use super::{ClientUse, SipUa, Timer};

/// RFC 4028 §4: the least interval anybody may ask for.
const MIN_SE: u32 = 90;
/// What we ask for when the peer leaves it to us.
const SESSION_EXPIRES: u32 = 1800;

impl SipUa {
    pub(super) fn timer_due(&mut self, now: Instant, id: LegId, timer: Timer) {
        match timer {
            Timer::Ring => self.hang_up(now, id, Cause::NoAnswer),
            Timer::Reliable => self.repeat_reliable(now, id),
            Timer::Glare => {
                let delayed = self.legs.get_mut(&id).and_then(|l| l.delayed_offer.take());
                if let Some((sdp, tries)) = delayed {
                    self.reoffer(now, id, sdp, tries);
                } else {
                    self.tell(id, LegEvent::ReofferFailed(ReofferFailure::Glare));
                }
            }
            Timer::Session => self.session_due(now, id),
        }
    }

    // Session timers.

    /// As the calling side: asks for an interval (RFC 4028 §7.1).
    pub(super) fn ask_for_session_timer(&self, request: &mut Request) {
        request.headers.push(HeaderName::SESSION_EXPIRES, SESSION_EXPIRES.to_string());
        request.headers.push(HeaderName::MIN_SE, MIN_SE.to_string());
    }

    /// Refuses an interval below ours (RFC 4028 §6).
    pub(super) fn session_timer_fits(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Request,
    ) -> bool {
        let asked = request.headers.number(&HeaderName::SESSION_EXPIRES);
        let knows = request.headers.has_option(&HeaderName::SUPPORTED, "timer");
        if asked.is_none_or(|a| a >= MIN_SE) || !knows {
            return true;
        }
        let mut response = Response::for_request(request, StatusCode::SESSION_INTERVAL_TOO_SMALL);
        self.tag(&mut response);
        response.headers.push(HeaderName::MIN_SE, MIN_SE.to_string());
        self.respond(now, key, &mut response);
        false
    }

    /// As the called side: agrees on the interval in our 200 (RFC 4028 §9).
    pub(super) fn negotiate_session_timer(
        &mut self,
        now: Instant,
        id: LegId,
        response: &mut Response,
    ) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Phase::Incoming(incoming) = &leg.phase else { return };
        let headers = &incoming.request.headers;
        if !headers.has_option(&HeaderName::SUPPORTED, "timer") {
            return;
        }
        let asked = headers.number(&HeaderName::SESSION_EXPIRES);
        let least = headers.number(&HeaderName::MIN_SE).unwrap_or(MIN_SE);
        let seconds = asked.unwrap_or(SESSION_EXPIRES).clamp(least.max(MIN_SE), 86_400);
        let we_refresh = headers
            .first(&HeaderName::SESSION_EXPIRES)
            .is_some_and(|v| v.windows(13).any(|w| w.eq_ignore_ascii_case(b"refresher=uas")));
        let interval = Some(Duration::from_secs(u64::from(seconds)));
        leg.session = SessionTimer { interval, we_refresh };
        self.start_session_timer(now, id);
        self.session_headers(id, response);
    }

    /// Puts what was agreed on a response of ours.
    pub(super) fn session_headers(&self, id: LegId, response: &mut Response) {
        let Some(SessionTimer { interval: Some(interval), we_refresh }) =
            self.legs.get(&id).map(|l| l.session)
        else {
            return;
        };
        let refresher = if we_refresh { "uas" } else { "uac" };
        let value = format!("{};refresher={refresher}", interval.as_secs());
        response.headers.push(HeaderName::SESSION_EXPIRES, value);
        if !we_refresh {
            response.headers.push(HeaderName::REQUIRE, "timer");
        }
    }

    /// As the calling side: takes what the 200 says (RFC 4028 §7.2).
    pub(super) fn session_agreed(&mut self, now: Instant, id: LegId, response: &Response) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(seconds) = response.headers.number(&HeaderName::SESSION_EXPIRES) else { return };
        let they_refresh = response
            .headers
            .first(&HeaderName::SESSION_EXPIRES)
            .is_some_and(|v| v.windows(13).any(|w| w.eq_ignore_ascii_case(b"refresher=uas")));
        leg.session = SessionTimer {
            interval: Some(Duration::from_secs(u64::from(seconds.clamp(MIN_SE, 86_400)))),
            we_refresh: !they_refresh,
        };
        self.start_session_timer(now, id);
    }

    /// The peer refreshed: who refreshes may change with it.
    pub(super) fn session_refreshed(&mut self, now: Instant, id: LegId, request: &Request) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if let Some(seconds) = request.headers.number(&HeaderName::SESSION_EXPIRES) {
            let seconds = u64::from(seconds.clamp(MIN_SE, 86_400));
            let value = request.headers.first(&HeaderName::SESSION_EXPIRES);
            leg.session = SessionTimer {
                interval: Some(Duration::from_secs(seconds)),
                we_refresh: value.is_some_and(|v| {
                    v.windows(13).any(|w| w.eq_ignore_ascii_case(b"refresher=uas"))
                }),
            };
        }
        self.start_session_timer(now, id);
    }

    fn start_session_timer(&mut self, now: Instant, id: LegId) {
        let Some(SessionTimer { interval: Some(interval), we_refresh }) =
            self.legs.get(&id).map(|l| l.session)
        else {
            return;
        };
        // RFC 4028 §10: refresh at half; give up a third, at most 32 s, before the end.
        let after = if we_refresh {
            interval / 2
        } else {
            interval - (interval / 3).min(Duration::from_secs(32))
        };
        self.timers.set((id, Timer::Session), now + after);
    }

    fn session_due(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if !leg.session.we_refresh {
            self.hang_up(now, id, Cause::SignalingLost);
            return;
        }
        let Some(interval) = leg.session.interval else { return };
        if !leg.peer.allows_update {
            // Without UPDATE the refresh is a re-INVITE with the description that stands
            // (RFC 4028 §7.4). Nothing waits for its answer, so the call changes nothing.
            if let Some(sdp) = leg.local_sdp.clone() {
                self.reoffer(now, id, sdp, 0);
            }
            self.start_session_timer(now, id);
            return;
        }
        let Some(dialog) = &mut leg.dialog else { return };
        let mut request = dialog.request(Method::UPDATE, None);
        let flow = dialog.next_hop();
        let value = format!("{};refresher=uac", interval.as_secs());
        request.headers.push(HeaderName::SESSION_EXPIRES, value);
        self.dialog_request_headers(&flow, &mut request);
        let key = self.endpoint.send_request(now, flow, request);
        self.clients.insert(key, ClientUse::InDialog(id));
        self.start_session_timer(now, id);
    }
}
