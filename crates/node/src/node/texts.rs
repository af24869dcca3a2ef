//! Texts between users, and who is told how a user is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crosspoint_call::router::{Causes, RouteRequest, Target};
use crosspoint_call::{Cause, Mailbox, Reach, Standing, Text};
use crosspoint_connectors::sip_ua;
use crosspoint_sip::endpoint::ServerKey;

use super::{Node, Output};
use crate::postbox::{KEEP, KeptText, Outcome};

/// A text on its way to a number outside.
#[derive(Debug)]
pub(super) struct TextOut {
    text: Text,
    /// Where else it may go, should this fail.
    left: VecDeque<Target>,
    /// Who is told how it went.
    asked: Option<ServerKey>,
}

impl Node {
    /// What phones and browsers say that is about no call.
    pub(super) fn said_outside_calls(&mut self, now: Instant, said: sip_ua::Output) {
        match said {
            sip_ua::Output::Binding(change) => self.binding_changed(now, change),
            sip_ua::Output::Text(key, text) => {
                if let Some(taken) = self.text_came(now, *text, Some(key)) {
                    self.sip.text_taken(now, key, taken);
                }
            }
            sip_ua::Output::TextSent(sending, told) => self.text_sent(now, sending, told),
            sip_ua::Output::Watch { key, watcher, of, .. } => self.watch(now, key, &watcher, &of),
            sip_ua::Output::Published(user) => self.show_user(now, &user),
            sip_ua::Output::Mailbox(of, mailbox) => self.mailbox_changed(now, &of, mailbox),
            // The node takes these itself.
            sip_ua::Output::Transmit(_)
            | sip_ua::Output::Leg(..)
            | sip_ua::Output::Rang(..)
            | sip_ua::Output::Registration(..)
            | sip_ua::Output::Trunk(_)
            | sip_ua::Output::Verify(..)
            | sip_ua::Output::Conduct(..)
            | sip_ua::Output::Timeout(_) => {}
        }
    }

    /// A text came for somebody: for a user it is kept until a device has taken it, for a number
    /// outside it goes out. Says what has become of it; nothing where `asked` is told later.
    pub(super) fn text_came(
        &mut self,
        now: Instant,
        text: Text,
        asked: Option<ServerKey>,
    ) -> Option<Result<(), Cause>> {
        match self.plan.users.get(text.to.expose()).cloned() {
            None => self.text_goes_out(now, text, asked),
            // What is worth nothing later goes to who is here.
            Some(user) if text.is_fleeting => {
                for binding in self.sip.bindings_of(&user).map(|(id, _)| id).collect::<Vec<_>>() {
                    let sending = self.postbox.number();
                    self.sip.send_text(now, sending, &Reach::Binding(binding), &text);
                }
                for binding in self.apps.devices_of(&user).collect::<Vec<_>>() {
                    self.apps.send_text(binding, &text);
                }
                Some(Ok(()))
            }
            Some(user) => {
                let id = self.rng.hex(16);
                let kept = KeptText { id, user: user.clone(), text, expires: now + KEEP };
                match self.postbox.keep(kept.clone()) {
                    true => {
                        self.outputs.push_back(Output::KeepText(Box::new(kept)));
                        self.deliver_texts(now, &user);
                        self.show_user(now, &user);
                        Some(Ok(()))
                    }
                    false => Some(Err(Cause::Overload)),
                }
            }
        }
    }

    /// A user writes to a number outside: by the rules and limits of calls, as one that begins.
    fn text_goes_out(
        &mut self,
        now: Instant,
        text: Text,
        asked: Option<ServerKey>,
    ) -> Option<Result<(), Cause>> {
        let takes_texts =
            |name: &str| self.plan.trunks.iter().any(|trunk| trunk.texts && &*trunk.name == name);
        let Some(user) = text.from.user.clone() else { return Some(Err(Cause::NotFound)) };
        if !self.plan.trunks.iter().any(|trunk| trunk.texts) {
            return Some(Err(Cause::NotFound));
        }
        // What is worth nothing later is not worth what it costs there.
        if text.is_fleeting {
            return Some(Ok(()));
        }
        if self.texts_out.len() >= MAX_OUT {
            return Some(Err(Cause::Overload));
        }
        let request = RouteRequest {
            user: Some(user),
            from: text.from.address.clone(),
            to: text.to.clone(),
            ..RouteRequest::default()
        };
        let decision = self.explain(now, &request);
        let left: VecDeque<Target> = decision
            .targets()
            .filter(|target| match &target.reach {
                Reach::Trunk { name, .. } => takes_texts(name),
                Reach::Binding(_) | Reach::Registration { .. } => false,
            })
            .cloned()
            .collect();
        let call = self.switchboard.number();
        self.ledger.decided(now, call, &decision);
        self.ledger.over(now, call, []);
        match decision.outcome {
            crosspoint_call::router::Outcome::Refused(cause) => return Some(Err(cause)),
            _ if left.is_empty() => return Some(Err(Cause::NotFound)),
            _ => {}
        }
        self.send_out(now, Box::new(TextOut { text, left, asked }));
        // Nobody tells an app later.
        asked.is_none().then_some(Ok(()))
    }

    /// To the next place that takes it, of which there is one.
    fn send_out(&mut self, now: Instant, mut out: Box<TextOut>) {
        let Some(target) = out.left.pop_front() else { return };
        let mut text = out.text.clone();
        if let Some(caller) = target.caller {
            text.from.address = caller;
        }
        let sending = self.postbox.number();
        self.texts_out.insert(sending, out);
        self.sip.send_text(now, sending, &target.reach, &text);
    }

    fn heard_outside(&mut self, now: Instant, out: Box<TextOut>, told: Result<(), Cause>) {
        match told {
            Err(cause) if !out.left.is_empty() && Causes::of_network().contains(cause) => {
                self.send_out(now, out);
            }
            told => {
                if let Some(key) = out.asked {
                    self.sip.text_taken(now, key, told);
                }
            }
        }
    }

    /// Sends the next text of a user to all of its devices.
    pub(super) fn deliver_texts(&mut self, now: Instant, user: &Arc<str>) {
        let Some(KeptText { id, text, .. }) = self.postbox.next_for(user).cloned() else { return };
        let devices: Vec<_> = self.sip.bindings_of(user).map(|(binding, _)| binding).collect();
        let apps: Vec<_> = self.apps.devices_of(user).collect();
        if devices.is_empty() && apps.is_empty() {
            return;
        }
        let mut sendings = self.postbox.send(user, id, devices.len() + apps.len());
        let to_apps = sendings.split_off(devices.len());
        for (sending, binding) in sendings.into_iter().zip(devices) {
            self.sip.send_text(now, sending, &Reach::Binding(binding), &text);
        }
        // An app that is there has it for certain: what it misses is told again.
        for (sending, binding) in to_apps.into_iter().zip(apps) {
            let is_there = self.apps.send_text(binding, &text);
            self.text_sent(now, sending, if is_there { Ok(()) } else { Err(Cause::Unavailable) });
        }
    }

    pub(super) fn text_sent(&mut self, now: Instant, sending: u64, told: Result<(), Cause>) {
        if let Some(out) = self.texts_out.remove(&sending) {
            return self.heard_outside(now, out, told);
        }
        if let Outcome::Arrived(user, id) = self.postbox.answered(sending, told.is_ok()) {
            self.outputs.push_back(Output::ForgetText(id));
            self.deliver_texts(now, &user);
            self.show_user(now, &user);
        }
    }

    pub(super) fn forget_old_texts(&mut self, now: Instant) {
        for old in self.postbox.expired(now) {
            self.outputs.push_back(Output::ForgetText(old.id));
            self.show_user(now, &old.user);
        }
    }

    /// A user asks to watch another. Every user of ours may, where the plan lets them.
    pub(super) fn watch(&mut self, now: Instant, key: ServerKey, watcher: &Arc<str>, of: &str) {
        let watched =
            self.plan.users.get(of).filter(|of| self.plan.features.may_watch(watcher, of));
        let answer = watched.cloned().map(|of| {
            let standing = self.standing(&of);
            (of, standing)
        });
        let answer = answer.or_else(|| {
            let key = self.slot_watched(watcher, of)?;
            let standing = self.standing_of_slot(&key);
            Some((key, standing))
        });
        self.sip.watch_answered(now, key, watcher, answer);
    }

    fn standing(&self, user: &Arc<str>) -> Standing {
        let devices = self.sip.bindings_of(user).count() + self.apps.devices_of(user).count();
        let voice = self.mailboxes.get(user).copied().unwrap_or_default();
        Standing {
            is_reachable: devices > 0,
            calls: self.switchboard.sides_of(user).map(|(_, side)| side).collect(),
            published: self.sip.published_of(user),
            mailbox: Mailbox {
                voice,
                texts: u32::try_from(self.postbox.count(user)).unwrap_or(u32::MAX),
            },
        }
    }

    /// Tells those who watch a user how it is now.
    pub(super) fn show_user(&mut self, now: Instant, user: &Arc<str>) {
        if self.sip.is_watched(user) {
            let standing = self.standing(user);
            self.sip.show(now, user, &standing);
        }
    }

    /// A PBX tells what waits in a mailbox of a user of ours.
    pub(super) fn mailbox_changed(&mut self, now: Instant, of: &str, mailbox: Mailbox) {
        let Some(user) = self.plan.users.get(of).cloned() else { return };
        self.mailboxes.insert(user.clone(), mailbox.voice);
        self.show_user(now, &user);
    }
}

/// Texts on their way outside.
const MAX_OUT: usize = 10_000;
