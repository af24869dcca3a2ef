//! Devices behind flows (RFC 5626 §5.3): a call follows its device to the newest flow.
//!
//! A browser that reconnects registers again over its new connection. What we send in its
//! running dialogs has to take that one, or BYE and re-INVITE reach nobody. Meanwhile it is
//! away: see `away.rs`.

use std::sync::Arc;

use bytes::Bytes;
use crosspoint_base::{BindingId, Flow, LegId};
use crosspoint_sip::registrar::Binding;
use crosspoint_sip::{Request, Uri};

use super::SipUa;
use super::away::forgets_transactions;

/// One device of a user, over all of its registrations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Device {
    user: Arc<str>,
    /// Instance and `reg-id`; the contact of a device that names none.
    name: (Bytes, u32),
}

impl Device {
    pub(super) fn of(binding: &Binding) -> Self {
        match &binding.instance {
            Some(name) => Self { user: binding.user.clone(), name: name.clone() },
            None => Self::at(binding.user.clone(), &binding.contact, &binding.flow),
        }
    }

    pub(super) fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// One that names no instance.
    fn at(user: Arc<str>, contact: &Uri, flow: &Flow) -> Self {
        // The name in a browser's Contact is drawn at random. Phones call themselves by their
        // user's name, so that only the address tells two of them apart.
        let drawn = contact.user().filter(|_| flow.transport.is_websocket());
        Self { user, name: (drawn.unwrap_or_else(|| contact.as_bytes().clone()), 0) }
    }
}

impl SipUa {
    /// The device of a user that speaks over this flow, whether or not it is signed in.
    pub(super) fn device_at(
        &self,
        user: &Arc<str>,
        flow: &Flow,
        request: &Request,
    ) -> Option<Device> {
        let same = |b: &&Binding| match flow.connection {
            Some(_) => b.flow.connection == flow.connection,
            None => b.flow.connection.is_none() && b.flow.remote == flow.remote,
        };
        let known = self.registrar.bindings_of(user).find(same).map(Device::of);
        let named =
            || Some(Device::at(user.clone(), &request.headers.contacts().next()?.uri, flow));
        known.or_else(named)
    }

    /// A leg calls the device of this binding.
    pub(super) fn join_binding(&mut self, id: LegId, binding: BindingId, flow: Flow) {
        let found = self.registrar.binding(binding);
        let found = found.or_else(|| self.forwards.bindings.binding(binding));
        let Some(binding) = found else { return };
        let forgets = binding.user_agent.as_deref().is_some_and(forgets_transactions);
        let device = Device::of(binding);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.peer.forgets_transactions = forgets;
        }
        self.join_device(id, Some(device));
        self.attach(id, flow.connection);
    }

    pub(super) fn join_device(&mut self, id: LegId, device: Option<Device>) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.device.clone_from(&device);
        if let Some(device) = device {
            self.devices.entry(device).or_default().insert(id);
        }
    }

    pub(super) fn leave_device(&mut self, id: LegId, device: Option<&Device>) {
        let Some(device) = device else { return };
        if let Some(legs) = self.devices.get_mut(device) {
            legs.remove(&id);
            if legs.is_empty() {
                self.devices.remove(device);
            }
        }
    }
}
