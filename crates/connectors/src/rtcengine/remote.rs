//! Sign-ins of ours elsewhere: one for each account, however many pages of its session use it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crosspoint_base::{BindingId, RegistrationId};

use super::accounts::Known;
use super::grant::RemoteAccount;
use super::{ClientKey, Output, RtcEngine};

/// How a sign-in at a registrar elsewhere stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteState {
    Connecting,
    Connected,
    /// It failed for now and is tried again.
    Retrying(RemoteFailure),
    /// It is not tried again.
    Failed(RemoteFailure),
    Disconnected,
}

/// Why a sign-in failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteFailure {
    Unauthorized,
    NotFound,
    Timeout,
    Network,
}

impl RemoteFailure {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "notFound",
            Self::Timeout => "timeout",
            Self::Network => "networkError",
        }
    }
}

#[derive(Debug)]
pub(super) struct Registration {
    /// The id of its account.
    account: Arc<str>,
    remote: Box<RemoteAccount>,
    pub(super) state: RemoteState,
    /// Whose calls it carries; never empty.
    pub(super) bindings: BTreeSet<BindingId>,
}

impl RtcEngine {
    /// Joins the sign-in of an account, or begins it.
    pub(super) fn register(
        &mut self,
        account: &Arc<str>,
        remote: &RemoteAccount,
        binding: BindingId,
    ) -> RegistrationId {
        if let Some(id) = self.registration_of.get(account).copied()
            && let Some(registration) = self.registrations.get_mut(&id)
        {
            registration.bindings.insert(binding);
            let is_over =
                matches!(registration.state, RemoteState::Failed(_) | RemoteState::Disconnected);
            if is_over || *registration.remote != *remote {
                return self.restart(id, remote.clone(), binding);
            }
            return id;
        }
        self.begin(account.clone(), Box::new(remote.clone()), BTreeSet::from([binding]))
    }

    fn begin(
        &mut self,
        account: Arc<str>,
        remote: Box<RemoteAccount>,
        bindings: BTreeSet<BindingId>,
    ) -> RegistrationId {
        self.next_registration += 1;
        let id = RegistrationId(self.next_registration);
        self.registration_of.insert(account.clone(), id);
        self.outputs.push_back(Output::Register(id, remote.clone()));
        let state = RemoteState::Connecting;
        self.registrations.insert(id, Registration { account, remote, state, bindings });
        id
    }

    /// Signs in anew, for every client that has the account. Who asked hears of it otherwise.
    fn restart(
        &mut self,
        id: RegistrationId,
        remote: RemoteAccount,
        asked: BindingId,
    ) -> RegistrationId {
        let Some(old) = self.registrations.remove(&id) else { return id };
        self.outputs.push_back(Output::Unregister(id));
        let bindings = old.bindings.clone();
        let id = self.begin(old.account, Box::new(remote), old.bindings);
        for binding in bindings {
            let Some(bound) = self.bindings.get_mut(&binding) else { continue };
            bound.registration = Some(id);
            let (client, known) = (bound.client, bound.known.clone());
            if binding != asked {
                self.tell_account(client, &known);
            }
        }
        id
    }

    /// The client asks once more for what failed for good.
    pub(super) fn retry_registration(&mut self, binding: BindingId) {
        let id = self.bindings.get(&binding).and_then(|b| b.registration);
        let Some((id, registration)) = id.and_then(|id| Some((id, self.registrations.get(&id)?)))
        else {
            return;
        };
        if matches!(registration.state, RemoteState::Failed(_) | RemoteState::Disconnected) {
            let remote = (*registration.remote).clone();
            self.restart(id, remote, binding);
        }
    }

    /// The last client that leaves signs out.
    pub(super) fn leave_registration(&mut self, id: RegistrationId, binding: BindingId) {
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        registration.bindings.remove(&binding);
        if registration.bindings.is_empty()
            && let Some(registration) = self.registrations.remove(&id)
        {
            self.registration_of.remove(&registration.account);
            self.outputs.push_back(Output::Unregister(id));
        }
    }

    pub(super) fn registration_changed(&mut self, id: RegistrationId, state: RemoteState) {
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        if registration.state == state {
            return;
        }
        registration.state = state;
        let accounts: Vec<(ClientKey, Arc<Known>)> = registration
            .bindings
            .iter()
            .filter_map(|b| self.bindings.get(b))
            .map(|bound| (bound.client, bound.known.clone()))
            .collect();
        for (key, known) in accounts {
            self.tell_account(key, &known);
        }
    }
}
