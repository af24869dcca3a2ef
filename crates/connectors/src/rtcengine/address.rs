//! Who is meant: targets that clients dial, and identities that clients are shown.

use crosspoint_call::Identity;
use crosspoint_sip::Uri;
use serde_json::{Value, json};

use super::accounts::Known;
use super::grant::Service;

/// The number or name in a target: `sip:bob@host`, `tel:+49 30 1`, `user@domain`, bare numbers.
pub(crate) fn dialled(target: &str) -> Option<String> {
    let target = target.trim();
    if target.len() > MAX_LEN || target.contains(char::is_control) {
        return None;
    }
    let (scheme, rest) = match target.split_once(':') {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => (String::new(), target),
    };
    let name = match scheme.as_str() {
        "tel" => decode(rest.split(';').next()?)?,
        "sip" | "sips" => decode(user_part(rest)?)?,
        _ if target.contains('@') => decode(user_part(target)?)?,
        _ => target.to_owned(),
    };
    let name = if is_number(&name) { name.replace(is_separator, "") } else { name };
    let fits = !name.is_empty() && !name.contains(char::is_control);
    fits.then_some(name)
}

/// Without the host, a password and parameters. A SIP URI without `@` is taken for a name: it is
/// what people type.
fn user_part(text: &str) -> Option<&str> {
    let text = text.trim_start_matches("//");
    let user = match text.split_once('@') {
        Some((user, _)) => user,
        None => text.split('?').next()?,
    };
    user.split([';', ':']).next()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten();
        let escaped = escaped.and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// People write numbers with blanks, dashes and parentheses.
fn is_number(name: &str) -> bool {
    name.contains(|c: char| c.is_ascii_digit() || matches!(c, '*' | '#'))
        && name
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '+' | '*' | '#') || is_separator(c))
}

fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '(' | ')' | '.' | '/')
}

/// What an address looks like to the app of an account.
pub(super) fn identifier(known: &Known, address: &str, domain: &str) -> String {
    let domain = match &known.grant.service {
        Service::Apps { .. } => return address.to_owned(),
        Service::Remote(remote) => remote.domain.as_str(),
        Service::Local { .. } | Service::Unauthorized | Service::NotAvailable { .. } => domain,
    };
    if address.contains('@') {
        return format!("sip:{address}");
    }
    let user = if address.is_empty() { "anonymous" } else { address };
    match Uri::sip(Some(user), domain, None) {
        Some(uri) => String::from_utf8_lossy(uri.as_bytes()).into_owned(),
        None => address.to_owned(),
    }
}

/// Who the account itself is to those it calls.
pub(super) fn own_identity(known: &Known) -> Identity {
    let from = |address: String, user| Identity {
        address: crosspoint_base::Private(address),
        user,
        ..Identity::default()
    };
    match &known.grant.service {
        Service::Local { user } => {
            let name = dialled(&known.grant.identifier).unwrap_or_else(|| user.to_string());
            from(name, Some(user.clone()))
        }
        Service::Remote(remote) => from(remote.user.clone(), None),
        Service::Apps { name, .. } => from(name.clone(), None),
        Service::Unauthorized | Service::NotAvailable { .. } => Identity::default(),
    }
}

/// The other party, for a message.
pub(super) fn peer(known: &Known, peer: &Identity, domain: &str) -> Value {
    let mut out = json!({ "identifier": identifier(known, peer.address.expose(), domain) });
    if let Some(name) = &peer.display_name {
        out["displayName"] = Value::from(name.expose().as_str());
    }
    out
}

const MAX_LEN: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_target_names_the_same() {
        for (target, name) in [
            ("sip:bob@gateway.test", "bob"),
            ("SIPS:bob@gateway.test;transport=tcp?subject=x", "bob"),
            ("bob@gateway.test", "bob"),
            (" bob ", "bob"),
            ("sip:bob", "bob"),
            ("sip:bob:secret@gateway.test", "bob"),
            ("sip:b%6Fb@gateway.test", "bob"),
            ("sip:+49123;phone-context=x@h", "+49123"),
            ("tel:+49-30-123;ext=7", "+4930123"),
            ("+49 (30) 12-34", "+49301234"),
            ("*98#", "*98#"),
            ("mary-ann", "mary-ann"),
            ("Meeting room", "Meeting room"),
            ("50%", "50%"),
        ] {
            assert_eq!(dialled(target).as_deref(), Some(name), "{target}");
        }
        for nothing in ["", "   ", "sip:@host", "sip:", "tel:;ext=1", "a\r\nb", "sip:%0d%0aX@h"] {
            assert_eq!(dialled(nothing), None, "{nothing:?}");
        }
        assert_eq!(dialled(&"1".repeat(600)), None);
    }
}
