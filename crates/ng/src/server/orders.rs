//! Orders about running media: what is held back, and who is meant by an order.

use crosspoint_base::LegId;
use crosspoint_media::control::Command;

use super::calls::Call;
use super::{Server, ok, refusal};
use crate::dictionary::Dictionary;
use crate::flags::Flags;
use crate::request::{Names, reason};

impl<T> Server<T> {
    /// `block`, `unblock`, `silence` and `unsilence`. A tag alone selects nobody here, because
    /// proxies always send one.
    pub(super) fn hold_back(
        &mut self,
        command: &str,
        request: &Dictionary,
        names: &Names,
        flags: &Flags,
    ) -> Dictionary {
        let Some(id) = &names.call else { return refusal(reason::NO_CALL) };
        let Some(call) = self.calls.get_mut(id.as_str()) else {
            return refusal(reason::UNKNOWN_CALL_ID);
        };
        let is_chosen = flags.has("directional") || request.find("address").is_some();
        let legs = if is_chosen || request.find("label").is_some() {
            match participant(call, request, names, flags) {
                Ok(legs) => legs,
                Err(reason) => return refusal(reason),
            }
        } else {
            call.legs().into_iter().collect()
        };
        let is_held = !command.starts_with("un");
        let mut commands = Vec::new();
        for leg in legs {
            let Some(party) = call.party_mut(leg) else { continue };
            match command.split(' ').nth(1) {
                Some("DTMF") => party.held.digits = is_held,
                _ if command.contains("silence") => party.held.sound = is_held,
                _ => party.held.media = is_held,
            }
            let held = party.held;
            commands.extend(party.sounds().map(|leg| Command::Hold { leg, held }));
        }
        for command in commands {
            self.command(command);
        }
        ok()
    }
}

/// Who is meant: by address, label, tag, or everybody.
pub(super) fn participant(
    call: &Call,
    request: &Dictionary,
    names: &Names,
    flags: &Flags,
) -> Result<Vec<LegId>, &'static str> {
    if flags.has("all") {
        return Ok(call.legs().into_iter().collect());
    }
    if let Some(label) = request.text("label") {
        let found = call.parties().iter().find(|p| p.label.as_deref() == Some(&label));
        return found.map(|p| vec![p.leg]).ok_or(reason::NO_SUCH_LABEL);
    }
    if let Some(address) = request.text("address") {
        let is_there = |p: &&super::calls::Party| {
            let at = p.said.as_ref().and_then(|s| s.audio.address);
            at.is_some_and(|at| at.to_string() == address)
        };
        return call
            .parties()
            .iter()
            .find(is_there)
            .map(|p| vec![p.leg])
            .ok_or(reason::NO_SUCH_ADDRESS);
    }
    match &names.from {
        Some(tag) => call.tagged(tag).map(|p| vec![p.leg]).ok_or(reason::NO_SUCH_TAG),
        None => Err(reason::NO_PARTY),
    }
}
