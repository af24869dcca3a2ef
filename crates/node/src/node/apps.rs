//! What apps have to do with the other parts: their sockets, sign-ins elsewhere, direct media,
//! and the calls that their users have on other devices.

use std::time::{Duration, Instant};

use crosspoint_base::{CallId, Flow, RegistrationId};
use crosspoint_call::{Input as CallInput, Profile, Role, Side};
use crosspoint_connectors::rtcengine::{self, DeviceKind, RemoteFailure, RemoteState, UserCall};
use crosspoint_connectors::sip_ua::{RegistrationConfig, RegistrationFailure, RegistrationState};
use crosspoint_connectors::webterminal;
use crosspoint_ladder::{Message, Note, Protocol};
use crosspoint_media::control::LegStats;

use super::{Node, Output};
use crate::direct;

impl Node {
    /// Says whether there was anything to do.
    pub(super) fn settle_apps(&mut self, now: Instant) -> bool {
        let mut was_busy = false;
        loop {
            let output = match self.apps.poll_output() {
                rtcengine::Output::Timeout(_) => {
                    let watched = self.apps.take_newly_watched();
                    let came = self.apps.take_came();
                    came.iter().for_each(|user| self.deliver_texts(now, user));
                    if watched.is_empty() && came.is_empty() {
                        return was_busy;
                    }
                    watched.iter().for_each(|user| self.tell_calls_of(now, user));
                    continue;
                }
                rtcengine::Output::Send { connection, leg, text } => {
                    let said = || Message::plain(Protocol::RtcEngine, true, text.clone().into());
                    self.tells(now, (connection, leg), said);
                    Output::AppSend { connection, text }
                }
                rtcengine::Output::Close { connection, code, reason } => {
                    Output::AppClose { connection, code, reason }
                }
                rtcengine::Output::Lookup(lookup) => Output::Lookup(Box::new(lookup)),
                rtcengine::Output::Leg(leg, event) => {
                    was_busy = true;
                    self.leg_said(now, leg, *event);
                    continue;
                }
                rtcengine::Output::Away(leg) => {
                    self.ladders.note(now, leg, Note::TimerRang("away"));
                    continue;
                }
                rtcengine::Output::Register(id, account) => {
                    self.resolving.insert(id, account);
                    self.ask_for_registrar(id);
                    continue;
                }
                rtcengine::Output::Text(ticket, text) => {
                    was_busy = true;
                    if let Some(taken) = self.text_came(now, *text, None) {
                        self.apps.text_taken(&ticket, taken);
                    }
                    continue;
                }
                rtcengine::Output::Unregister(id) => {
                    was_busy = true;
                    self.resolve_again.cancel(&id);
                    if self.resolving.remove(&id).is_none() {
                        self.sip.unregister(now, id);
                    }
                    continue;
                }
            };
            self.outputs.push_back(output);
        }
    }

    pub(super) fn ask_for_registrar(&mut self, registration: RegistrationId) {
        let Some(account) = self.resolving.get(&registration) else { return };
        self.outputs.push_back(Output::Resolve {
            registration,
            host: account.host.clone(),
            port: account.port,
            transport: account.transport,
        });
    }

    pub(super) fn resolved(&mut self, now: Instant, id: RegistrationId, flow: Option<Flow>) {
        let Some(flow) = flow else {
            if self.resolving.contains_key(&id) {
                self.resolve_again.set(id, now + RESOLVE_AGAIN);
                let state = RemoteState::Retrying(RemoteFailure::Network);
                self.apps.handle_registration(now, id, state);
            }
            return;
        };
        let Some(account) = self.resolving.remove(&id) else { return };
        let config = RegistrationConfig {
            user: account.user,
            domain: account.domain,
            flow,
            auth_user: account.auth_user,
            password: account.password,
            expires: account.expires,
        };
        self.sip.register(now, id, config);
    }

    pub(super) fn registration_changed(
        &mut self,
        now: Instant,
        id: RegistrationId,
        state: RegistrationState,
    ) {
        let failure = |failure| match failure {
            RegistrationFailure::Unauthorized | RegistrationFailure::Refused => {
                RemoteFailure::Unauthorized
            }
            RegistrationFailure::NotFound => RemoteFailure::NotFound,
            RegistrationFailure::Timeout => RemoteFailure::Timeout,
            RegistrationFailure::Network => RemoteFailure::Network,
        };
        let state = match state {
            RegistrationState::Connecting => RemoteState::Connecting,
            RegistrationState::Connected => RemoteState::Connected,
            RegistrationState::Retrying(why) => RemoteState::Retrying(failure(why)),
            RegistrationState::Failed(why) => RemoteState::Failed(failure(why)),
            RegistrationState::Ended => RemoteState::Disconnected,
        };
        self.apps.handle_registration(now, id, state);
    }

    /// Says whether there was anything to do.
    pub(super) fn settle_direct(&mut self, now: Instant) -> bool {
        let mut was_busy = false;
        while let Some(output) = self.direct.poll_output() {
            was_busy = true;
            match output {
                direct::Output::Notice(leg, notice) => {
                    self.switchboard.handle_leg(now, leg, CallInput::Media(*notice));
                }
                direct::Output::Closed(leg) => self.media_closed(leg, LegStats::default()),
            }
        }
        was_busy
    }

    /// Tells the apps of everybody in a call which calls they have on which devices.
    pub(super) fn tell_of_calls(&mut self, now: Instant, call: CallId) {
        for user in self.switchboard.parties_changed(call) {
            // Most users have no app, and some have thousands of calls: a gateway behind a trunk.
            if self.apps.is_watched(&user) || self.terminals.is_watched(&user) {
                self.tell_calls_of(now, &user);
            }
            self.show_user(now, &user);
        }
    }

    pub(super) fn tell_calls_of(&mut self, now: Instant, user: &str) {
        let calls: Vec<UserCall> = self
            .switchboard
            .sides_of(user)
            .take(rtcengine::MOST_USER_CALLS)
            .map(|(gcid, side)| UserCall {
                leg: side.leg,
                gcid: gcid.clone(),
                is_outgoing: side.role == Role::Front,
                is_active: side.is_active,
                since_unix: self.clock.seconds(side.started),
                device: kind_of(&side),
                peer: side.peer,
            })
            .collect();
        self.apps.handle_user_calls(now, user, &calls);
        self.terminals.handle_user_calls(user, &calls);
    }
}

fn kind_of(side: &Side) -> DeviceKind {
    match side.profile {
        _ if [rtcengine::MAKER, webterminal::MAKER].contains(&side.leg.maker()) => DeviceKind::App,
        Profile::WebRtc => DeviceKind::Browser,
        Profile::Rtp(_) => DeviceKind::Phone,
    }
}

/// A name server that fails is asked again after this long.
const RESOLVE_AGAIN: Duration = Duration::from_secs(30);
