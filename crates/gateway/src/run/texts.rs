//! Texts that wait, over a restart: as rows of the store, and back.

use crosspoint_base::{Private, WallClock};
use crosspoint_call::{Identity, Text};
use crosspoint_node::KeptText;
use crosspoint_state::{TextRow, Write};
use serde_json::{Value, json};

pub(super) fn write(kept: &KeptText, clock: &WallClock) -> Write {
    let text = &kept.text;
    let record = json!({
        "from": text.from.address.expose(),
        "to": text.to.expose(),
        "kind": &*text.kind,
        "body": text.body.expose(),
    });
    Write::PutText(Box::new(TextRow {
        id: kept.id.clone(),
        user: kept.user.to_string(),
        expires_at: clock.seconds(kept.expires),
        record: record.to_string(),
    }))
}

/// The text in a row; none when it has expired or is of another version.
pub(super) fn read(row: &TextRow, clock: &WallClock) -> Option<KeptText> {
    let record: Value = serde_json::from_str(&row.record).ok()?;
    let text = |key: &str| record.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(KeptText {
        id: row.id.clone(),
        user: row.user.as_str().into(),
        text: Text {
            from: Identity { address: Private(text("from")?), ..Identity::default() },
            to: Private(text("to")?),
            kind: text("kind")?.into(),
            body: Private(text("body")?),
            is_fleeting: false,
        },
        expires: clock.instant(row.expires_at)?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn comes_back_as_it_was() {
        let clock = crate::run::clock::now();
        let kept = KeptText {
            id: "1".to_owned(),
            user: "alice".into(),
            text: Text {
                from: Identity { address: Private("bob".to_owned()), ..Identity::default() },
                to: Private("1001".to_owned()),
                kind: "text/plain;charset=utf-8".into(),
                body: Private("Grüße".to_owned()),
                is_fleeting: false,
            },
            expires: Instant::now() + Duration::from_secs(60),
        };
        let Write::PutText(row) = write(&kept, &clock) else { panic!("no text") };
        assert_eq!(read(&row, &clock).map(|back| back.text), Some(kept.text));
        let broken = TextRow { record: "{}".to_owned(), ..*row };
        assert!(read(&broken, &clock).is_none());
    }
}
