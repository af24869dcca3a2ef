//! What watchers are told: dialog-info (RFC 4235), PIDF (RFC 3863) and message-summary (RFC 3842).

use std::collections::BTreeSet;
use std::fmt::Write;

use crosspoint_base::LegId;
use crosspoint_call::{Aspect, Role, Side, Standing};

/// What one watcher was told last.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// Of dialog-info: one more each time.
    version: u32,
    legs: BTreeSet<LegId>,
    /// The last body without its version, so that nothing is told twice.
    last: Option<String>,
}

impl Shown {
    /// The next body is sent whatever it says.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

pub(super) fn event(aspect: Aspect) -> &'static str {
    match aspect {
        Aspect::Calls => "dialog",
        Aspect::Presence => "presence",
        Aspect::Mailbox => "message-summary",
    }
}

pub(super) fn kind(aspect: Aspect) -> &'static str {
    match aspect {
        Aspect::Calls => "application/dialog-info+xml",
        Aspect::Presence => "application/pidf+xml",
        Aspect::Mailbox => "application/simple-message-summary",
    }
}

/// The whole state, if it is not what was told last. The last word is told in any case.
pub(super) fn body(
    aspect: Aspect,
    user: &str,
    domain: &str,
    standing: &Standing,
    shown: &mut Shown,
    is_last: bool,
) -> Option<String> {
    // The key of a slot ends with its number.
    let user = user.rsplit('/').next().unwrap_or(user);
    let entity = format!("sip:{}@{}", escaped(user), escaped(domain));
    let text = match aspect {
        Aspect::Calls => dialogs(standing, &shown.legs, domain),
        Aspect::Presence => presence(standing, &entity),
        Aspect::Mailbox => mailbox(standing, &entity),
    };
    if !is_last && shown.last.as_ref() == Some(&text) {
        return None;
    }
    let whole = match aspect {
        Aspect::Calls => {
            let version = shown.version;
            format!(
                "{XML}<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" \
                 version=\"{version}\" state=\"full\" entity=\"{entity}\">\n{text}</dialog-info>\n"
            )
        }
        Aspect::Presence | Aspect::Mailbox => text.clone(),
    };
    shown.version = shown.version.wrapping_add(1);
    shown.legs = standing.calls.iter().map(|side| side.leg).collect();
    shown.last = Some(text);
    Some(whole)
}

fn dialogs(standing: &Standing, before: &BTreeSet<LegId>, domain: &str) -> String {
    let mut text = String::new();
    for side in standing.calls.iter().take(MAX_DIALOGS) {
        let direction = match side.role {
            Role::Front => "initiator",
            Role::Back => "recipient",
        };
        let identity = escaped(side.peer.address.expose());
        let domain = escaped(domain);
        let _ = writeln!(
            text,
            "<dialog id=\"{}\" direction=\"{direction}\"><state>{}</state>\
             <remote><identity>sip:{identity}@{domain}</identity></remote></dialog>",
            side.leg.0,
            state_of(side)
        );
    }
    let is_over = |leg: &&LegId| !standing.calls.iter().any(|side| side.leg == **leg);
    // Interop: lamps that wait for the word go on shining when a dialog is only left out.
    for leg in before.iter().filter(is_over).take(MAX_DIALOGS) {
        let _ = writeln!(text, "<dialog id=\"{}\"><state>terminated</state></dialog>", leg.0);
    }
    text
}

fn state_of(side: &Side) -> &'static str {
    match side {
        side if side.is_active => "confirmed",
        side if side.is_ringing => "early",
        _ => "trying",
    }
}

fn presence(standing: &Standing, entity: &str) -> String {
    let basic = if standing.is_reachable { "open" } else { "closed" };
    let is_busy = standing.calls.iter().any(|side| side.is_active);
    let mut activities: Vec<&str> = if is_busy { vec!["on-the-phone"] } else { vec![] };
    let (mut tuples, mut notes) = (String::new(), String::new());
    for (number, said) in standing.published.iter().enumerate() {
        let new = said.activities.iter().filter(|a| !activities.contains(a));
        activities.extend(new.copied().collect::<Vec<_>>());
        if let Some(is_open) = said.is_open {
            let basic = if is_open { "open" } else { "closed" };
            let _ = writeln!(
                tuples,
                "<tuple id=\"d{number}\"><status><basic>{basic}</basic></status></tuple>"
            );
        }
        if let Some(note) = &said.note {
            let _ = writeln!(notes, "<note>{}</note>", escaped(note.expose()));
        }
    }
    let mut activity = String::new();
    if !activities.is_empty() {
        let words: String = activities.iter().map(|word| format!("<rpid:{word}/>")).collect();
        let _ = writeln!(
            activity,
            "<dm:person id=\"p1\"><rpid:activities>{words}</rpid:activities></dm:person>"
        );
    }
    format!(
        "{XML}<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
         xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"{entity}\">\n\
         <tuple id=\"t1\"><status><basic>{basic}</basic></status><contact>{entity}</contact></tuple>\n\
         {tuples}{notes}{activity}</presence>\n"
    )
}

fn mailbox(standing: &Standing, entity: &str) -> String {
    let mailbox = standing.mailbox;
    let (new, old) = mailbox.voice;
    let waits = if new > 0 || mailbox.texts > 0 { "yes" } else { "no" };
    format!(
        "Messages-Waiting: {waits}\r\nMessage-Account: {entity}\r\n\
         Voice-Message: {new}/{old}\r\nText-Message: {}/0\r\n",
        mailbox.texts
    )
}

/// New and old voice messages of a summary; one that only says that some wait counts as one.
pub(super) fn voice(body: &[u8]) -> (u32, u32) {
    let text =
        String::from_utf8_lossy(body.get(..MAX_SUMMARY).unwrap_or(body)).to_ascii_lowercase();
    let value = |name: &str| {
        text.lines()
            .find_map(|line| Some(line.trim().strip_prefix(name)?.strip_prefix(':')?.trim()))
    };
    let counts = value("voice-message").and_then(|counts| {
        let counts = counts.split('(').next()?;
        let (new, old) = counts.split_once('/')?;
        Some((new.trim().parse().ok()?, old.trim().parse().ok()?))
    });
    let is_waiting = value("messages-waiting").is_some_and(|v| v == "yes");
    counts.unwrap_or((u32::from(is_waiting), 0))
}

/// Text inside XML; what XML cannot hold is left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !c.is_control()) {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c => out.push(c),
        }
    }
    out
}

const XML: &str = "<?xml version=\"1.0\"?>\n";
/// Calls of one user that are shown.
const MAX_DIALOGS: usize = 16;
const MAX_SUMMARY: usize = 4096;
