//! Session timers (RFC 4028), both as caller and as called side.
//!
//! An interval is agreed in every 2xx of INVITE and UPDATE. One side refreshes at half of it;
//! either side gives the call up shortly before it has run out.

use std::time::{Duration, Instant};

use crosspoint_base::LegId;
use crosspoint_call::Cause;
use crosspoint_sip::endpoint::{ClientKey, ServerKey};
use crosspoint_sip::{HeaderName, Headers, Method, Params, Request, Response, StatusCode};

use super::leg::{Phase, SessionTimer};
use super::{ClientUse, Output, SipUa, Timer};

/// RFC 4028 §4: the least interval anybody may ask for.
const MIN_SE: u32 = 90;
/// What we ask for when the peer leaves it to us.
const SESSION_EXPIRES: u32 = 1800;
/// The longest that we agree to.
const MAX_SE: u32 = 86_400;
/// Proxies on the way may each insist on a longer interval.
const MAX_RAISES: u32 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refresher {
    Uac,
    Uas,
}

/// `Session-Expires`: seconds, and who refreshes where it says so.
fn session_expires(headers: &Headers) -> Option<(u32, Option<Refresher>)> {
    let seconds = headers.number(&HeaderName::SESSION_EXPIRES)?;
    let value = headers.first(&HeaderName::SESSION_EXPIRES)?;
    let params = value.iter().position(|b| *b == b';').unwrap_or(value.len());
    let refresher = Params::new(value.slice(params..)).value("refresher");
    let refresher = refresher.and_then(|r| match r.to_ascii_lowercase().as_slice() {
        b"uac" => Some(Refresher::Uac),
        b"uas" => Some(Refresher::Uas),
        _ => None,
    });
    Some((seconds, refresher))
}

fn knows_timers(headers: &Headers) -> bool {
    headers.has_option(&HeaderName::SUPPORTED, "timer")
        || headers.has_option(&HeaderName::REQUIRE, "timer")
}

impl SipUa {
    // As the called side.

    /// Refuses an interval below ours (RFC 4028 §9).
    pub(super) fn session_timer_fits(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Request,
    ) -> bool {
        let asked = session_expires(&request.headers);
        if asked.is_none_or(|(asked, _)| asked >= MIN_SE) || !knows_timers(&request.headers) {
            return true;
        }
        let mut response = Response::for_request(request, StatusCode::SESSION_INTERVAL_TOO_SMALL);
        self.tag(&mut response);
        response.headers.push(HeaderName::MIN_SE, MIN_SE.to_string());
        self.respond(now, key, &mut response);
        false
    }

    /// Agrees on the interval in our 2xx to an INVITE or UPDATE (RFC 4028 §9).
    pub(super) fn agree_on_session(
        &mut self,
        now: Instant,
        id: LegId,
        request: &Request,
        response: &mut Response,
    ) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let headers = &request.headers;
        let least = headers.number(&HeaderName::MIN_SE).unwrap_or(MIN_SE).max(MIN_SE);
        let (knows, asked) = (knows_timers(headers), session_expires(headers));
        let current = leg.session.interval.map(|i| u32::try_from(i.as_secs()).unwrap_or(MAX_SE));
        let seconds = match asked {
            // Never more than asked; never less than a proxy on the way insists on.
            Some((asked, _)) if asked >= MIN_SE => asked.min(MAX_SE.max(least)),
            None if knows => current.unwrap_or(SESSION_EXPIRES).max(least),
            Some(_) | None => {
                self.start_session_timer(now, id);
                return;
            }
        };
        let we_refresh = match asked.and_then(|(_, refresher)| refresher) {
            // Only a proxy asked: the caller cannot refresh (RFC 4028 table 2).
            _ if !knows => true,
            Some(refresher) => refresher == Refresher::Uas,
            None => current.is_some() && leg.session.we_refresh,
        };
        let interval = Some(Duration::from_secs(u64::from(seconds)));
        leg.session = SessionTimer { interval, we_refresh, least, give_up: None };
        let refresher = if we_refresh { "uas" } else { "uac" };
        let value = format!("{seconds};refresher={refresher}");
        response.headers.push(HeaderName::SESSION_EXPIRES, value);
        if !we_refresh {
            response.headers.push(HeaderName::REQUIRE, "timer");
        }
        self.start_session_timer(now, id);
    }

    // As the calling side.

    /// Asks for an interval in our first INVITE (RFC 4028 §7.1).
    pub(super) fn ask_for_session_timer(&self, request: &mut Request) {
        request.headers.push(HeaderName::SESSION_EXPIRES, SESSION_EXPIRES.to_string());
        request.headers.push(HeaderName::MIN_SE, MIN_SE.to_string());
    }

    /// Puts what was agreed on a re-INVITE or UPDATE of ours: each of them is a refresh.
    pub(super) fn session_headers(&self, id: LegId, request: &mut Request) {
        let Some(SessionTimer { interval: Some(interval), we_refresh, least, .. }) =
            self.legs.get(&id).map(|l| l.session)
        else {
            return;
        };
        let refresher = if we_refresh { "uac" } else { "uas" };
        let value = format!("{};refresher={refresher}", interval.as_secs());
        request.headers.push(HeaderName::SESSION_EXPIRES, value);
        request.headers.push(HeaderName::MIN_SE, least.max(MIN_SE).to_string());
    }

    /// Takes what a 2xx to our INVITE or UPDATE says (RFC 4028 §7.2).
    pub(super) fn session_agreed(&mut self, now: Instant, id: LegId, response: &Response) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        match session_expires(&response.headers) {
            Some((seconds, refresher)) => {
                let seconds = u64::from(seconds.clamp(MIN_SE, MAX_SE));
                leg.session.interval = Some(Duration::from_secs(seconds));
                leg.session.we_refresh = refresher != Some(Refresher::Uas);
            }
            // RFC 4028 §7.2: the peer does not take part.
            None => leg.session.interval = None,
        }
        self.start_session_timer(now, id);
    }

    /// Calls again with the interval that somebody on the way insists on (RFC 4028 §7.3).
    pub(super) fn retry_with_interval(
        &mut self,
        now: Instant,
        id: LegId,
        response: &Response,
    ) -> bool {
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        let Phase::Calling(calling) = &mut leg.phase else { return false };
        let Some(least) = response.headers.number(&HeaderName::MIN_SE) else { return false };
        let request = &mut calling.request;
        let asked = request.headers.number(&HeaderName::MIN_SE).unwrap_or(MIN_SE);
        if calling.raises >= MAX_RAISES || least <= asked {
            return false;
        }
        calling.raises += 1;
        leg.session.least = least;
        request.headers.set(HeaderName::SESSION_EXPIRES, least.max(SESSION_EXPIRES).to_string());
        request.headers.set(HeaderName::MIN_SE, least.to_string());
        let number = request.headers.cseq().map_or(1, |c| c.number) + 1;
        request.headers.set(HeaderName::CSEQ, format!("{number} INVITE"));
        let key = self.endpoint.send_request(now, leg.flow, request);
        calling.key = key;
        self.clients.insert(key, ClientUse::Invite(id));
        true
    }

    /// Raises the interval of a running session to what a 422 insists on. Says whether another
    /// try makes sense.
    pub(super) fn raise_session(&mut self, id: LegId, response: &Response) -> bool {
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        let Some(least) = response.headers.number(&HeaderName::MIN_SE) else { return false };
        let wanted = Duration::from_secs(u64::from(least));
        if least > MAX_SE || leg.session.interval.is_none_or(|interval| interval >= wanted) {
            return false;
        }
        leg.session.least = least;
        leg.session.interval = Some(wanted);
        true
    }

    /// The answer to an UPDATE that refreshes.
    pub(super) fn refresh_response(
        &mut self,
        now: Instant,
        key: ClientKey,
        id: LegId,
        response: &Response,
    ) {
        self.clients.remove(&key);
        if response.status.is_success() {
            if let Some(dialog) = self.legs.get_mut(&id).and_then(|l| l.dialog.as_mut()) {
                dialog.take_response(response, &Method::UPDATE);
            }
            self.session_agreed(now, id, response);
        } else if matches!(response.status.0, 481 | 408) {
            self.hang_up(now, id, Cause::SignalingLost);
        } else if response.status == StatusCode::SESSION_INTERVAL_TOO_SMALL
            && self.raise_session(id, response)
        {
            self.send_refresh(now, id);
        } else {
            self.refresh_later(now, id);
        }
    }

    // The timer.

    fn start_session_timer(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(interval) = leg.session.interval else {
            leg.session.give_up = None;
            self.timers.cancel(&(id, Timer::Session));
            return;
        };
        // RFC 4028 §10: refresh at half; give up a third, at most 32 s, before the end.
        let last = interval - (interval / 3).min(Duration::from_secs(32));
        leg.session.give_up = Some(now + last);
        let after = if leg.session.we_refresh { interval / 2 } else { last };
        self.timers.set((id, Timer::Session), now + after);
    }

    pub(super) fn session_due(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.session.give_up.is_none_or(|at| now >= at) {
            self.outputs.push_back(Output::Rang(id, "session"));
            self.hang_up(now, id, Cause::SignalingLost);
            return;
        }
        if leg.peer.allows_update {
            self.send_refresh(now, id);
        } else if leg.is_free_to_offer()
            && let Some(sdp) = leg.local_sdp.clone()
        {
            // Without UPDATE the refresh is a re-INVITE with the description that stands
            // (RFC 4028 §7.4). The call knows nothing of it.
            self.send_reoffer(now, id, sdp, 0, true);
        }
        self.refresh_later(now, id);
    }

    fn send_refresh(&mut self, now: Instant, id: LegId) {
        if !self.has_room(id) {
            return;
        }
        let Some(dialog) = self.legs.get_mut(&id).and_then(|l| l.dialog.as_mut()) else { return };
        let mut request = dialog.request(Method::UPDATE, None);
        let flow = dialog.next_hop();
        self.session_headers(id, &mut request);
        self.dialog_request_headers(id, &flow, &mut request);
        self.send_in_leg(now, id, flow, request, ClientUse::Refresh(id));
    }

    /// Where this refresh comes to nothing, another one is tried before the session has run out.
    pub(super) fn refresh_later(&mut self, now: Instant, id: LegId) {
        let Some(SessionTimer { interval: Some(interval), give_up: Some(give_up), .. }) =
            self.legs.get(&id).map(|l| l.session)
        else {
            return;
        };
        let again = now + (interval / 8).max(Duration::from_secs(10));
        self.timers.set((id, Timer::Session), again.min(give_up));
    }
}
