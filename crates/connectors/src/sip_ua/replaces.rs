//! INVITE with Replaces (RFC 3891): a user's new device takes the place of another leg of that
//! user, in a running call or in one that rings.
//!
//! Here, too: the other leg that the Replaces of a transfer means.
//!
//! Not here: what the call does with the two legs.

use std::sync::Arc;

use bytes::Bytes;
use crosspoint_base::LegId;
use crosspoint_sip::{HeaderName, Params, Request, StatusCode};

use super::SipUa;
use super::auth::Sender;
use super::challenge::Account;
use super::leg::{Leg, Phase};

/// The dialog that a header names, as its owner sees it: our tag is `to-tag`.
pub(super) struct Named {
    call_id: Bytes,
    local_tag: Bytes,
    remote_tag: Bytes,
    early_only: bool,
}

impl Named {
    pub(super) fn parse(value: &Bytes) -> Option<Self> {
        let end = value.iter().position(|b| *b == b';')?;
        let params = Params::new(value.slice(end..));
        let tag = |name| params.value(name).filter(|tag| !tag.is_empty());
        let call_id = value.slice_ref(value[..end].trim_ascii());
        let (local_tag, remote_tag) = (tag("to-tag")?, tag("from-tag")?);
        let early_only = params.has("early-only");
        (!call_id.is_empty()).then_some(Self { call_id, local_tag, remote_tag, early_only })
    }

    /// The same for a header of ours; `None` when it holds what no name of a dialog may.
    pub(super) fn print(&self) -> Option<String> {
        let is_word = |b: &u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~@:[]/".contains(b);
        let text = |bytes: &Bytes| {
            let is_one = bytes.len() <= MAX_NAME && bytes.iter().all(is_word);
            is_one.then(|| String::from_utf8_lossy(bytes).into_owned())
        };
        let [call_id, to, from] = [&self.call_id, &self.local_tag, &self.remote_tag].map(text);
        let early = if self.early_only { ";early-only" } else { "" };
        Some(format!("{};to-tag={};from-tag={}{early}", call_id?, to?, from?))
    }
}

/// Of a Call-ID or a tag.
const MAX_NAME: usize = 256;

/// Whose leg it is.
#[derive(PartialEq, Eq)]
enum Owner<'l> {
    User(&'l Arc<str>),
    Account(Account),
}

fn owner_of(leg: &Leg) -> Option<Owner<'_>> {
    let user = leg.user.as_ref().or_else(|| leg.device.as_ref().map(|d| d.user()));
    user.map(Owner::User).or(leg.account.map(Owner::Account))
}

impl SipUa {
    /// The other leg that a party names in order to have its two calls joined. A leg of somebody
    /// else is like one that does not exist.
    pub(super) fn other_leg(&mut self, id: LegId, named: &Named) -> Option<LegId> {
        // Interop: who was called in a dialog takes the two tags the other way round at times.
        let Named { call_id, local_tag, remote_tag, .. } = named;
        let (local_tag, remote_tag) = (local_tag.clone(), remote_tag.clone());
        let orders = [(local_tag.clone(), remote_tag.clone()), (remote_tag, local_tag)];
        let (other, theirs) = orders.into_iter().find_map(|(ours, theirs)| {
            Some((*self.dialogs.get(&(call_id.clone(), ours))?, theirs))
        })?;
        self.legs.get_mut(&other)?.dialog_with(&theirs)?;
        let owner = owner_of(self.legs.get(&id)?)?;
        (other != id && owner_of(self.legs.get(&other)?)? == owner).then_some(other)
    }

    /// Whether somebody has a dialog of this name with us.
    pub(super) fn is_ours(&self, named: &Named) -> bool {
        let tags = [&named.local_tag, &named.remote_tag];
        tags.iter().any(|tag| self.dialogs.contains_key(&(named.call_id.clone(), (*tag).clone())))
    }

    /// The leg that an INVITE wants to replace, if it wants any and may.
    pub(super) fn replaced(
        &mut self,
        sender: &Sender,
        request: &Request,
    ) -> Result<Option<LegId>, StatusCode> {
        let mut values = request.headers.all(&HeaderName::REPLACES);
        let Some(value) = values.next() else { return Ok(None) };
        let named = Named::parse(value).filter(|_| values.next().is_none());
        let Some(named) = named else { return Err(StatusCode::BAD_REQUEST) };
        // RFC 3891 §3: a dialog that is not there, and one that is none of the caller's business,
        // look the same.
        let nothing = StatusCode::CALL_DOES_NOT_EXIST;
        let Sender::User(user) = sender else { return Err(nothing) };
        let key = (named.call_id, named.local_tag);
        let id = *self.dialogs.get(&key).ok_or(nothing)?;
        let leg = self.legs.get_mut(&id).ok_or(nothing)?;
        // A tag of zero stands for none (RFC 3891 §3), as peers of RFC 2543 had it.
        let remote_tag =
            if named.remote_tag.as_ref() == b"0" { Bytes::new() } else { named.remote_tag };
        if leg.dialog_with(&remote_tag).is_none() || owner_of(leg) != Some(Owner::User(user)) {
            return Err(nothing);
        }
        match leg.phase {
            Phase::Confirmed if named.early_only => Err(StatusCode::BUSY_HERE),
            Phase::Confirmed | Phase::Calling(_) => Ok(Some(id)),
            // An early dialog can be replaced by who is called only.
            Phase::Incoming(_) => Err(nothing),
        }
    }
}
