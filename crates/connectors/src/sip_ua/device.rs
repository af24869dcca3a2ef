//! Devices behind flows (RFC 5626 §5.3): a call follows its device to the newest flow.
//!
//! A browser that reconnects registers again over its new connection. What we send in its
//! running dialogs has to take that one, or BYE and re-INVITE reach nobody.

use std::sync::Arc;

use bytes::Bytes;
use crosspoint_base::{Flow, LegId};
use crosspoint_sip::registrar::Binding;

use super::SipUa;

/// One device of a user, over all of its registrations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Device {
    user: Arc<str>,
    /// Instance and `reg-id`; the contact of a device that names none.
    name: (Bytes, u32),
}

impl Device {
    pub(super) fn of(binding: &Binding) -> Self {
        let contact = || (binding.contact.as_bytes().clone(), 0);
        let name = binding.instance.clone().unwrap_or_else(contact);
        Self { user: binding.user.clone(), name }
    }
}

impl SipUa {
    /// The device of a user that speaks over this flow.
    pub(super) fn device_at(&self, user: &str, flow: &Flow) -> Option<Device> {
        let same = |b: &&Binding| match flow.connection {
            Some(_) => b.flow.connection == flow.connection,
            None => b.flow.connection.is_none() && b.flow.remote == flow.remote,
        };
        self.registrar.bindings_of(user).find(same).map(Device::of)
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

    /// A device signed in, again perhaps: its calls take the flow it did so over.
    pub(super) fn device_moved(&mut self, binding: &Binding) {
        let Some(legs) = self.devices.get(&Device::of(binding)) else { return };
        for id in legs {
            let Some(leg) = self.legs.get_mut(id) else { continue };
            if leg.flow.transport == binding.flow.transport {
                leg.follow(binding.flow);
            }
        }
    }
}
