//! `[stream]`: services that may hear calls and speak in them.

use std::path::Path;

use super::Stream;
use super::admin::token;
use super::reader::Section;
use super::sections::file_beside;

pub(super) fn read(section: &Section<'_>, folder: &Path) -> Stream {
    let allow = section.strings("allow").unwrap_or_default();
    for prefix in allow.iter().filter(|prefix| !is_prefix(&prefix.value)) {
        let message = format!("{:?} is not the beginning of an address", prefix.value);
        let remedy = "write scheme, host and a path: \"wss://agent.example.com/calls/\"; without \
                      the slash after the host other hosts could begin so";
        section.document().complain_about(prefix, message, remedy);
    }
    Stream {
        allow: allow.into_iter().map(|prefix| prefix.value).collect(),
        token: token(section, folder),
        ca_file: section
            .string("ca_file")
            .and_then(|name| file_beside(section, folder, &name))
            .map(|(path, _)| path),
    }
}

/// A scheme, a host without credentials, and at least the slash behind it.
fn is_prefix(text: &str) -> bool {
    let rest = text.strip_prefix("wss://").or_else(|| text.strip_prefix("ws://"));
    let Some((host, _)) = rest.and_then(|rest| rest.split_once('/')) else { return false };
    !host.is_empty() && !host.contains('@') && text.bytes().all(|b| b.is_ascii_graphic())
}

impl Stream {
    /// Whether a service may be reached: it begins as one that is allowed, and nothing in it leads
    /// back up the path.
    #[must_use]
    pub fn permits(&self, url: &str) -> bool {
        let is_plain = url.len() <= MAX_URL
            && url.bytes().all(|b| b.is_ascii_graphic() && b != b'\\' && b != b'#');
        let path = url.split('?').next().unwrap_or_default();
        let path = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/");
        let climbs = path.split('/').any(|part| part == "." || part == "..");
        is_plain && !climbs && self.allow.iter().any(|prefix| url.starts_with(prefix.as_str()))
    }
}

const MAX_URL: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_as_allowed_is_reached() {
        let allow = vec!["wss://agent.example.com/calls/".to_owned()];
        let stream = Stream { allow, token: None, ca_file: None };
        for (url, expected) in [
            ("wss://agent.example.com/calls/7?x=1", true),
            ("wss://agent.example.com/calls/../admin", false),
            ("wss://agent.example.com/calls/%2E%2e/admin", false),
            ("wss://agent.example.com/calls/..%2fadmin", false),
            ("wss://agent.example.com/other", false),
            ("ws://agent.example.com/calls/", false),
            ("wss://agent.example.com.evil.example/calls/", false),
            ("wss://x@agent.example.com/calls/", false),
            ("wss://169.254.169.254/latest", false),
            ("wss://agent.example.com/calls/a b", false),
            ("", false),
        ] {
            assert_eq!(stream.permits(url), expected, "{url}");
        }
        for (prefix, expected) in [
            ("wss://agent.example.com/", true),
            ("ws://127.0.0.1:9000/", true),
            ("wss://agent.example.com", false),
            ("https://agent.example.com/", false),
            ("wss://me@agent.example.com/", false),
            ("wss:///", false),
        ] {
            assert_eq!(is_prefix(prefix), expected, "{prefix}");
        }
    }
}
