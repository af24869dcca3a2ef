//! Registrations over a restart: the registrar's bindings as rows of the store, and back.
//!
//! Only a binding whose phone can be reached without its connection is kept: a browser's
//! WebSocket is gone with us, a desk phone's contact is not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use crosspoint_base::{Flow, Transport, WallClock};
use crosspoint_node::Input;
use crosspoint_sip::Uri;
use crosspoint_sip::registrar::{Binding, Change};
use crosspoint_state::{BindingRow, Write};
use serde_json::{Value, json};

/// What a restart needs to know of a binding.
#[derive(Debug, PartialEq)]
pub(super) struct Restored {
    pub(super) user: Arc<str>,
    pub(super) contact: Uri,
    pub(super) flow: Flow,
    pub(super) expires: Instant,
}

impl Restored {
    /// For the node. A listener may have another port now: messages leave by one that is there.
    pub(super) fn into_input(self, listeners: &[(Transport, SocketAddr)]) -> Input {
        let Self { user, contact, mut flow, expires } = self;
        let same_kind = |(kind, address): &&(Transport, SocketAddr)| {
            *kind == flow.transport && address.is_ipv4() == flow.local.is_ipv4()
        };
        let mut ports = listeners.iter().filter(same_kind).map(|(_, address)| address.port());
        if let Some(port) = ports.clone().find(|p| *p == flow.local.port()).or(ports.next()) {
            flow.local.set_port(port);
        }
        Input::RestoreBinding { user, contact, flow, expires }
    }
}

/// What a change of the registrar's table means for the store.
pub(super) fn write(change: &Change, clock: &WallClock) -> Option<Write> {
    let (binding, is_there) = match change {
        Change::Added(binding) | Change::Refreshed(binding) => (binding, true),
        Change::Removed(binding) => (binding, false),
    };
    if binding.flow.transport.is_websocket() {
        return None;
    }
    let (aor, key) = (binding.user.to_string(), key_of(binding));
    if !is_there {
        return Some(Write::RemoveBinding { aor, key });
    }
    let record = json!({
        "contact": String::from_utf8_lossy(binding.contact.as_bytes()),
        "transport": binding.flow.transport.as_str(),
        "local": binding.flow.local,
        "remote": binding.flow.remote,
    });
    let expires_at = clock.seconds(binding.expires);
    Some(Write::PutBinding(BindingRow { aor, key, expires_at, record: record.to_string() }))
}

/// The binding in a row; none when it has expired or is of another version.
pub(super) fn read(row: &BindingRow, clock: &WallClock) -> Option<Restored> {
    let record: Value = serde_json::from_str(&row.record).ok()?;
    let text = |key: &str| record.get(key).and_then(Value::as_str);
    let address = |key: &str| text(key)?.parse::<SocketAddr>().ok();
    let transport = Transport::ALL.into_iter().find(|t| Some(t.as_str()) == text("transport"))?;
    Some(Restored {
        user: row.aor.as_str().into(),
        contact: Uri::parse(Bytes::from(text("contact")?.to_owned()))?,
        flow: Flow {
            transport,
            connection: None,
            local: address("local")?,
            remote: address("remote")?,
        },
        expires: clock.instant(row.expires_at)?,
    })
}

/// Equal contacts replace each other, and so do equal instances (RFC 5626 §6).
fn key_of(binding: &Binding) -> String {
    match &binding.instance {
        Some((instance, reg_id)) => format!("{} {reg_id}", String::from_utf8_lossy(instance)),
        None => String::from_utf8_lossy(binding.contact.as_bytes()).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(record: &str, expires_at: i64) -> BindingRow {
        BindingRow {
            aor: "alice".to_owned(),
            key: "k".to_owned(),
            expires_at,
            record: record.to_owned(),
        }
    }

    #[test]
    fn reads_what_was_written_and_nothing_else() {
        let clock = crate::run::clock::now();
        let soon = clock.seconds(Instant::now() + Duration::from_secs(600));
        let record = r#"{"contact":"sip:alice@192.0.2.9:5062","transport":"UDP",
            "local":"192.0.2.1:5060","remote":"192.0.2.9:5062"}"#;
        let restored = read(&row(record, soon), &clock).unwrap();
        assert_eq!(restored.flow.remote, "192.0.2.9:5062".parse().unwrap());
        assert_eq!(restored.contact.as_bytes(), "sip:alice@192.0.2.9:5062");
        assert_eq!(&*restored.user, "alice");
        assert_eq!(read(&row(record, 5), &clock), None);
        assert_eq!(read(&row("{}", soon), &clock), None);
        assert_eq!(read(&row("not json", soon), &clock), None);
    }
}
