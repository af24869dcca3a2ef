//! What a message is, in a few words, and who calls whom by the first of them.

use crosspoint_base::Private;

use crate::entry::{DtlsStep, Entry, Facts, Figures, Message, Note, Protocol, What};

/// `INVITE`, `200 OK (INVITE)`, `call.start`, `offer`; with `+ SDP` where a description is inside.
#[must_use]
pub fn of(message: &Message) -> String {
    let bytes = &message.bytes;
    let title = match message.protocol {
        Protocol::Sip => sip(bytes),
        Protocol::RtcEngine => member(bytes, b"\"method\":"),
        Protocol::CallApi => member(bytes, b"\"type\":"),
        Protocol::Ng => ng(bytes),
    };
    let mut title: String = title.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    let has_sdp = match message.protocol {
        Protocol::Sip => memchr::memmem::find(bytes, b"\r\n\r\nv=0").is_some(),
        Protocol::Ng => memchr::memmem::find(bytes, b":v=0").is_some(),
        Protocol::RtcEngine | Protocol::CallApi => memchr::memmem::find(bytes, b"\"v=0").is_some(),
    };
    if has_sdp {
        title.push_str(" + SDP");
    }
    title
}

/// The status of a SIP response.
#[must_use]
pub fn status(message: &Message) -> Option<u16> {
    let rest = message.bytes.strip_prefix(b"SIP/2.0 ")?;
    std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}

/// The method of a SIP request, or of the one that is answered.
#[must_use]
pub fn method(message: &Message) -> String {
    let bytes = &message.bytes;
    if !bytes.starts_with(b"SIP/2.0 ") {
        let end = memchr::memchr(b' ', bytes).unwrap_or_default();
        return String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
    }
    let cseq = header(bytes, "cseq").unwrap_or_default();
    cseq.split_ascii_whitespace().next_back().unwrap_or_default().to_owned()
}

fn sip(bytes: &[u8]) -> String {
    let line = bytes.split(|b| *b == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    match line.strip_prefix("SIP/2.0 ") {
        None => line.split(' ').next().unwrap_or_default().to_owned(),
        Some(status) => {
            let cseq = header(bytes, "cseq").unwrap_or_default();
            let method = cseq.split_ascii_whitespace().next_back().unwrap_or_default();
            format!("{status} ({method})")
        }
    }
}

/// The first header of this name, which is given in small letters.
#[must_use]
pub(crate) fn header(bytes: &[u8], name: &str) -> Option<String> {
    let head = memchr::memmem::find(bytes, b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(bytes.get(..head)?).into_owned();
    head.split("\r\n").skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        let found = found.trim().to_ascii_lowercase();
        let is_short = matches!((name, &*found), ("from", "f") | ("to", "t") | ("call-id", "i"));
        (found == name || is_short).then(|| value.trim().to_owned())
    })
}

fn member(bytes: &[u8], name: &[u8]) -> String {
    let value = memchr::memmem::find(bytes, name).and_then(|at| bytes.get(at + name.len()..));
    let value = value.unwrap_or_default().trim_ascii_start();
    let value = value.strip_prefix(b"\"").unwrap_or_default();
    let end = memchr::memchr(b'"', value).unwrap_or_default();
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

/// The command of a request, or the result of its answer (bencode: `7:command5:offer`).
fn ng(bytes: &[u8]) -> String {
    let text = |key: &[u8]| {
        let rest = bytes.get(memchr::memmem::find(bytes, key)? + key.len()..)?;
        let colon = memchr::memchr(b':', rest)?;
        let length: usize = std::str::from_utf8(rest.get(..colon)?).ok()?.parse().ok()?;
        let value = rest.get(colon + 1..)?.get(..length.min(LONGEST))?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    let command = text(b"7:command");
    let result = || text(b"6:result").map(|result| format!("media server: {result}"));
    command.or_else(result).unwrap_or_default()
}

/// Who calls whom, of a call that was refused before that was settled.
pub(crate) fn parties(entries: &[Entry], facts: &mut Facts) {
    if !facts.is_refused_early || !facts.to.expose().is_empty() {
        return;
    }
    let first = entries.iter().find_map(|entry| match &entry.what {
        What::Message(message) => Some(message),
        What::Note(_) => None,
    });
    let Some(first) = first else { return };
    if first.protocol == Protocol::Sip {
        facts.from = Private(user_of(&header(&first.bytes, "from").unwrap_or_default()));
        let line = first.bytes.split(|b| *b == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line).into_owned();
        facts.to = Private(user_of(line.split(' ').nth(1).unwrap_or_default()));
    } else {
        facts.to = Private(member(&first.bytes, b"\"to\":").chars().take(LONGEST).collect());
    }
}

/// `bob` of `"Bob" <sip:bob@host>;tag=1`; of an address without a user, the host.
fn user_of(address: &str) -> String {
    let uri = address.split(['<']).next_back().unwrap_or_default();
    let uri = uri.split(['>', ';', '?']).next().unwrap_or_default();
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let user = rest.split('@').next().unwrap_or_default();
    let user = user.split(':').next().unwrap_or_default();
    user.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

const LONGEST: usize = 80;

/// What happened, in a stable word and in words for people.
#[must_use]
pub fn of_note(note: &Note) -> (&'static str, String) {
    match note {
        Note::Routed { refused: Some(cause), .. } => ("refused", format!("refused: {cause}")),
        Note::Routed { .. } => ("routed", "routed".to_owned()),
        Note::Dialing { over: Some(trunk) } => ("dialing", format!("tries trunk {trunk}")),
        Note::Dialing { over: None } => ("dialing", "tries a device".to_owned()),
        Note::Answered => ("answered", "answered".to_owned()),
        Note::TransferAsked(to) => ("transfer", format!("asks for a transfer to {}", to.expose())),
        Note::Redirected(to) => ("redirected", format!("redirects to {}", to.expose())),
        Note::TookOver => ("took_over", "takes another leg's place".to_owned()),
        Note::JoinedFrom(gcid) => ("joined", format!("comes from call {gcid}")),
        Note::Parked => ("parked", "parked".to_owned()),
        Note::Unparked => ("unparked", "waits no more".to_owned()),
        Note::MediaPastUs => ("media_past_us", "media goes past us".to_owned()),
        Note::MediaCame => ("media_came", "media comes through us".to_owned()),
        Note::Ending(cause) => ("ending", format!("we end it: {cause}")),
        Note::LegEnded(cause) => ("ended", format!("ended: {cause}")),
        Note::TimerRang(name) => ("timer", format!("timer {name} ran out")),
        Note::MediaRefused(why) => ("media_refused", format!("description not taken: {why}")),
        Note::IcePair { transport, remote } => ("ice", format!("ICE pair {transport} {remote}")),
        Note::Dtls(DtlsStep::Started { is_client }) => {
            let role = if *is_client { "client" } else { "server" };
            ("dtls", format!("DTLS begins, we are {role}"))
        }
        Note::Dtls(DtlsStep::Certificate { is_right: true }) => {
            ("dtls", "DTLS certificate is right".to_owned())
        }
        Note::Dtls(DtlsStep::Certificate { is_right: false }) => {
            ("dtls", "DTLS certificate is WRONG".to_owned())
        }
        Note::Dtls(DtlsStep::Keys(profile)) => ("dtls", format!("SRTP keys, {profile}")),
        Note::Connected => ("media", "media is up".to_owned()),
        Note::MediaLost(loss) => {
            ("media_lost", format!("media lost: {}", crate::explain::lost(*loss)))
        }
        Note::Silent { never: true } => ("silent", "nothing was ever heard".to_owned()),
        Note::Silent { never: false } => ("silent", "fell silent".to_owned()),
        Note::Heard => ("heard", "is heard again".to_owned()),
        Note::Figures(figures) => ("figures", in_words(figures)),
        Note::Operator(words) => ("operator", words.to_string()),
        Note::Over(ended) => {
            ("over", format!("call over: {}, by {}", ended.cause, ended.by.as_str()))
        }
    }
}

fn in_words(figures: &Figures) -> String {
    let codec = figures.codec.unwrap_or("no codec");
    let mos =
        figures.mos.map_or_else(String::new, |mos| format!(", MOS {}.{:02}", mos / 100, mos % 100));
    format!(
        "{codec}: {} packets in, {} lost, {} out{mos}",
        figures.packets_received, figures.packets_lost, figures.packets_sent
    )
}
