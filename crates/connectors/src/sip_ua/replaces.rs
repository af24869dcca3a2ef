//! INVITE with Replaces (RFC 3891): a user's new device takes the place of another leg of that
//! user, in a running call or in one that rings.
//!
//! Not here: what the call does with the two legs.

use bytes::Bytes;
use crosspoint_base::LegId;
use crosspoint_sip::{HeaderName, Params, Request, StatusCode};

use super::SipUa;
use super::auth::Sender;
use super::leg::Phase;

/// The dialog that a header names, as its owner sees it: our tag is `to-tag`.
struct Named {
    call_id: Bytes,
    local_tag: Bytes,
    remote_tag: Bytes,
    early_only: bool,
}

impl Named {
    fn parse(value: &Bytes) -> Option<Self> {
        let end = value.iter().position(|b| *b == b';')?;
        let params = Params::new(value.slice(end..));
        let tag = |name| params.value(name).filter(|tag| !tag.is_empty());
        let call_id = value.slice_ref(value[..end].trim_ascii());
        let (local_tag, remote_tag) = (tag("to-tag")?, tag("from-tag")?);
        let early_only = params.has("early-only");
        (!call_id.is_empty()).then_some(Self { call_id, local_tag, remote_tag, early_only })
    }
}

impl SipUa {
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
        let owner = leg.user.as_ref().or_else(|| leg.device.as_ref().map(|d| d.user()));
        // A tag of zero stands for none (RFC 3891 §3), as peers of RFC 2543 had it.
        let remote_tag =
            if named.remote_tag.as_ref() == b"0" { Bytes::new() } else { named.remote_tag };
        if owner != Some(user) || leg.dialog_with(&remote_tag).is_none() {
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
