//! Takes out of a message what nobody should read who only looks: answers to challenges, tokens,
//! passwords, media keys, digits that were pressed.
//!
//! What is hidden becomes as many asterisks, so that lengths that a message names stay true and
//! programs that decode it go on doing so.

use crate::entry::{Message, Protocol};

/// The message as it may leave.
#[must_use]
pub fn redacted(message: &Message) -> Vec<u8> {
    let mut bytes = message.bytes.to_vec();
    if message.protocol == Protocol::Sip {
        hide_headers(&mut bytes);
    } else {
        hide_members(&mut bytes);
    }
    hide_after_marks(&mut bytes);
    bytes
}

/// The same as text that can be shown; what is no UTF-8 shows as such.
#[must_use]
pub fn text(message: &Message) -> String {
    String::from_utf8_lossy(&redacted(message)).into_owned()
}

fn hide_headers(bytes: &mut [u8]) {
    let mut at = 0;
    let mut hidden_type = false;
    while at < bytes.len() {
        let end = line_end(bytes, at);
        let line = bytes.get(at..end).unwrap_or_default();
        if line.is_empty() {
            let body = end + 2;
            if hidden_type && body < bytes.len() {
                hide_digits(bytes, body);
            }
            break;
        }
        if let Some(colon) = memchr::memchr(b':', line) {
            let name = line[..colon].trim_ascii().to_ascii_lowercase();
            let value = at + colon + 1..end;
            hidden_type |= matches!(&*name, b"content-type" | b"c") && says_digits(line);
            match &*name {
                b"authorization" | b"proxy-authorization" => hide_credentials(bytes, value),
                b"identity" | b"y" => hide(bytes, value),
                _ if is_secret(&name) => hide(bytes, value),
                _ => hide_uri_password(bytes, at..end),
            }
        } else {
            hide_uri_password(bytes, at..end);
        }
        at = end + 2;
    }
}

/// The end of a header with the lines that go on with it.
fn line_end(bytes: &[u8], at: usize) -> usize {
    let mut from = at;
    loop {
        let rest = bytes.get(from..).unwrap_or_default();
        let Some(end) = memchr::memmem::find(rest, b"\r\n").map(|end| from + end) else {
            return bytes.len();
        };
        match bytes.get(end + 2) {
            Some(b' ' | b'\t') if end > at => from = end + 2,
            _ => return end,
        }
    }
}

fn says_digits(line: &[u8]) -> bool {
    memchr::memmem::find(&line.to_ascii_lowercase(), b"application/dtmf").is_some()
}

/// `Signal=5`, or the digit alone.
fn hide_digits(bytes: &mut [u8], body: usize) {
    let text = bytes.get(body..).unwrap_or_default().to_ascii_lowercase();
    match memchr::memmem::find(&text, b"signal") {
        None => hide(bytes, body..bytes.len()),
        Some(at) => {
            let from = body + at + b"signal".len();
            let end = memchr::memchr2(b'\r', b'\n', bytes.get(from..).unwrap_or_default());
            let end = end.map_or(bytes.len(), |end| from + end);
            let skip = bytes.get(from..end).unwrap_or_default();
            let skip = skip.iter().take_while(|b| matches!(b, b' ' | b'=')).count();
            hide(bytes, from + skip..end);
        }
    }
}

/// Of a digest its response; of everything else all but the scheme.
fn hide_credentials(bytes: &mut [u8], value: std::ops::Range<usize>) {
    let text = bytes.get(value.clone()).unwrap_or_default().to_ascii_lowercase();
    let scheme = text.iter().take_while(|b| **b == b' ').count();
    if !text.get(scheme..).unwrap_or_default().starts_with(b"digest") {
        let word = text.iter().skip(scheme).take_while(|b| **b != b' ').count();
        return hide(bytes, value.start + scheme + word..value.end);
    }
    let mut from = 0;
    while let Some(found) = memchr::memmem::find(text.get(from..).unwrap_or_default(), b"response")
    {
        let after = from + found + b"response".len();
        let rest = text.get(after..).unwrap_or_default();
        let skip = rest.iter().take_while(|b| matches!(b, b' ' | b'=' | b'"')).count();
        let rest = rest.get(skip..).unwrap_or_default();
        let length = memchr::memchr3(b'"', b',', b' ', rest).unwrap_or(rest.len());
        hide(bytes, value.start + after + skip..value.start + after + skip + length);
        from = after + skip + length;
    }
}

fn is_secret(name: &[u8]) -> bool {
    let words: [&[u8]; 5] = [b"token", b"secret", b"password", b"api-key", b"cookie"];
    words.iter().any(|word| memchr::memmem::find(name, word).is_some())
}

/// `sip:user:password@host`.
fn hide_uri_password(bytes: &mut [u8], line: std::ops::Range<usize>) {
    let mut from = line.start;
    while let Some(found) = find_in(bytes, from..line.end, b"sip") {
        from = found + 3;
        let rest = bytes.get(from..line.end).unwrap_or_default();
        let skip = if rest.starts_with(b"s:") { 2 } else { 1 };
        if !rest.starts_with(b":") && skip == 1 {
            continue;
        }
        let rest = rest.get(skip..).unwrap_or_default();
        let stop = rest.iter().position(|b| matches!(b, b'@' | b'>' | b';' | b'"' | b' '));
        let stop = match stop {
            Some(at) if rest.get(at) == Some(&b'@') => at,
            // Cut off where the password may be.
            None if line.end == bytes.len() => rest.len(),
            Some(_) | None => continue,
        };
        if let Some(colon) = rest.get(..stop).and_then(|user| memchr::memchr(b':', user)) {
            hide(bytes, from + skip + colon + 1..from + skip + stop);
        }
    }
}

/// Members of JSON objects by their names. The text may be cut anywhere.
fn hide_members(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(start) = memchr::memchr(b'"', bytes.get(at..).unwrap_or_default()) {
        let start = at + start + 1;
        let end = string_end(bytes, start);
        let rest = bytes.get(end + 1..).unwrap_or_default();
        let gap = rest.iter().take_while(|b| matches!(b, b' ' | b':' | b'\n')).count();
        let is_name = rest.get(..gap).is_some_and(|gap| gap.contains(&b':'));
        at = end + 1;
        let is_hidden = is_name
            && bytes.get(start..end).is_some_and(|name| {
                MEMBERS.iter().any(|hidden| name.eq_ignore_ascii_case(hidden.as_bytes()))
            });
        if is_hidden && rest.get(gap) == Some(&b'"') {
            let value = end + 1 + gap + 1;
            let stop = string_end(bytes, value);
            hide(bytes, value..stop);
            at = stop + 1;
        }
    }
}

fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Keys and passwords in descriptions, also where they stand in a string of JSON.
fn hide_after_marks(bytes: &mut [u8]) {
    for mark in MARKS {
        let mut from = 0;
        while let Some(found) = find_in(bytes, from..bytes.len(), mark) {
            let start = found + mark.len();
            let mut end = start;
            while let Some(byte) = bytes.get(end) {
                let goes_on = match byte {
                    b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'|' | b';' => false,
                    b'\\' => matches!(bytes.get(end + 1), Some(b'/' | b'u')),
                    _ => true,
                };
                if !goes_on {
                    break;
                }
                end += 1;
            }
            hide(bytes, start..end);
            from = end;
        }
    }
}

fn find_in(bytes: &[u8], range: std::ops::Range<usize>, needle: &[u8]) -> Option<usize> {
    let at = range.start;
    memchr::memmem::find(bytes.get(range)?, needle).map(|found| at + found)
}

fn hide(bytes: &mut [u8], range: std::ops::Range<usize>) {
    let length = bytes.len();
    if let Some(hidden) = bytes.get_mut(range.start.min(length)..range.end.min(length)) {
        for byte in hidden.iter_mut().filter(|b| !b.is_ascii_whitespace()) {
            *byte = b'*';
        }
    }
}

/// SDES keys (RFC 4568), the passwords of ICE, and keys of the time before both.
const MARKS: [&[u8]; 4] = [b"inline:", b"a=ice-pwd:", b"k=clear:", b"k=base64:"];
const MEMBERS: [&str; 10] = [
    "session",
    "userSession",
    "token",
    "accessToken",
    "access_token",
    "password",
    "secret",
    "credential",
    "resume",
    "icePwd",
];

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn check(protocol: Protocol, message: &str, hidden: &[&str], shown: &[&str]) {
        let message = Message::plain(protocol, false, Bytes::from(message.to_owned()));
        let text = text(&message);
        assert_eq!(text.len(), message.bytes.len(), "lengths stay true");
        for secret in hidden {
            assert!(!text.contains(secret), "{secret} shows in {text}");
        }
        for word in shown {
            assert!(text.contains(word), "{word} is gone from {text}");
        }
        // Wherever it is cut, nothing is read that is not there, and no secret is left.
        for end in 0..message.bytes.len() {
            let part = Message::plain(protocol, false, message.bytes.slice(..end));
            let text = super::text(&part);
            assert!(hidden.iter().all(|secret| !text.contains(secret)), "{text}");
        }
    }

    #[test]
    fn a_sip_message_keeps_its_credentials_to_itself() {
        let message = "INVITE sip:bob@gateway SIP/2.0\r\n\
            From: <sip:alice:hunter2@gateway>;tag=1\r\n\
            Authorization: Digest username=\"alice\", realm=\"r\", nonce=\"n\",\r\n \
            response=\"0123456789abcdef0123456789abcdef\", qop=auth\r\n\
            proxy-authorization: Digest response = 00112233445566778899aabbccddeeff\r\n\
            Authorization: Bearer eyJhbGciOi.very.secret\r\n\
            Identity: eyJ0eXAiOiJw.x.sig;info=<https://x>\r\n\
            X-Api-Token: sesame\r\n\
            Content-Type: application/sdp\r\n\r\n\
            v=0\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\n\
            a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9|2^20\r\n";
        let hidden = [
            "hunter2",
            "0123456789abcdef",
            "00112233",
            "very.secret",
            "eyJ0eXAi",
            "sesame",
            "asd88",
            "WVNfX19z",
        ];
        let shown = ["username=\"alice\"", "nonce=\"n\"", "qop=auth", "Bearer", "|2^20", "bob@"];
        check(Protocol::Sip, message, &hidden, &shown);
    }

    #[test]
    fn pressed_digits_do_not_show() {
        let head = "INFO sip:a@b SIP/2.0\r\nContent-Type: application/dtmf";
        let relay = format!("{head}-relay\r\n\r\nSignal=7\r\nDuration=160\r\n");
        check(Protocol::Sip, &relay, &["Signal=7"], &["Signal=*", "Duration=160"]);
        check(Protocol::Sip, &format!("{head}\r\n\r\n9"), &["9"], &["dtmf"]);
    }

    #[test]
    fn an_apps_message_keeps_its_token_to_itself() {
        let message = r#"{"method":"call.start","session":"t0k\"en","to":"browser:c1","body":
            {"id":"x","sdp":"v=0\r\na=ice-pwd:abc\/defghij\r\na=crypto:1 X inline:S\/ECRETKEY\r\n",
            "credentials":{"userSession": "u5er"},"iceServers":[{"credential":"turnpw"}]}}"#;
        let hidden = ["t0k", "abc", "defghij", "ECRETKEY", "u5er", "turnpw"];
        check(Protocol::RtcEngine, message, &hidden, &["call.start", "browser:c1", "\"id\":\"x\""]);
    }
}
