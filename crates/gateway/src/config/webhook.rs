//! `[[webhook]]`: servers that are told what happens to calls.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crosspoint_base::Secret;
use tokio_rustls::rustls::ClientConfig;

use super::login::secret;
use super::reader::Section;
use super::sections::file_beside;
use crate::events::NAMES;

/// A server that is told what happens to calls.
#[derive(Debug, Clone)]
pub struct Webhook {
    pub name: String,
    pub url: String,
    /// Of these events alone; of all when empty.
    pub events: Vec<String>,
    /// What its messages are signed with.
    pub secret: Secret<Vec<u8>>,
    /// For one message.
    pub timeout: Duration,
    /// For so long a message is tried again.
    pub retry_for: Duration,
    /// Messages that wait for it.
    pub queue: usize,
    pub tls: Option<Arc<ClientConfig>>,
}

pub(super) fn read(root: &Section<'_>, folder: &Path) -> Vec<Webhook> {
    let mut hooks: Vec<Webhook> = Vec::new();
    for section in root.sections("webhook") {
        let hook = webhook(&section, folder, &hooks);
        section.finish();
        hooks.extend(hook);
    }
    hooks
}

fn webhook(section: &Section<'_>, folder: &Path, others: &[Webhook]) -> Option<Webhook> {
    let url = section.string("url");
    let url = section.required("url", "url = \"https://crm.example.com/calls\"", url);
    let name = section.string("name");
    let name = section.required("name", "name = \"crm\"", name);
    if let Some(name) = &name {
        if others.iter().any(|other| other.name == name.value) {
            let message = format!("a webhook {:?} exists further up", name.value);
            section.document().complain_about(name, message, "give each a name of its own");
        }
        if crosspoint_state::UserName::parse(&name.value).is_err() {
            let message = format!("{:?} cannot be a name", name.value);
            section.document().complain_about(name, message, "use letters, digits and . _ - +");
        }
    }
    if let Some(url) = url.as_ref().filter(|url| !is_address(&url.value)) {
        let message = format!("{:?} is not the address of a web server", url.value);
        let remedy = "write for example \"https://crm.example.com/calls\", without a password";
        section.document().complain_about(url, message, remedy);
    }
    let events = section.strings("events").unwrap_or_default();
    for event in events.iter().filter(|event| !NAMES.contains(&event.value.as_str())) {
        let message = format!("there is no event {:?}", event.value);
        let remedy = format!("choose from {}", NAMES.join(", "));
        section.document().complain_about(event, message, remedy);
    }
    let key = secret(section, folder, "secret_file", "secret_env");
    let key = key.map_or_else(Vec::new, |text| key_of(&text));
    if key.len() < MIN_SECRET {
        let message = "it needs a secret of at least 16 characters, by which it knows us";
        let remedy = "make one with openssl rand -hex 32, and name its file in secret_file or a \
                      variable in secret_env";
        section.document().complain_about(&section.here(), message, remedy);
    }
    let time = |key, default, low, high| {
        let range = Duration::from_secs(low)..Duration::from_secs(high);
        section.duration(key, range).map_or(Duration::from_secs(default), |time| time.value)
    };
    let ca_file = section.string("ca_file");
    let tls = ca_file.map_or_else(crate::tls::client_config, |name| {
        let (path, _) = file_beside(section, folder, &name)?;
        let config = crate::tls::client_config_of(&path).map_err(|failure| {
            let remedy = "give the certificates of authorities in PEM";
            section.document().complain_about(&name, failure.to_string(), remedy);
        });
        config.ok()
    });
    let queue = section.integer("queue", 1..100_001).map_or(1000, |queue| queue.value);
    Some(Webhook {
        timeout: time("timeout", 10, 1, 61),
        retry_for: time("retry_for", 3600, 1, 86_401),
        queue: usize::try_from(queue).unwrap_or(1000),
        events: events.into_iter().map(|event| event.value).collect(),
        secret: Secret::new(key),
        tls,
        name: name?.value,
        url: url?.value,
    })
}

/// Secrets of Standard Webhooks are written in base64; any other text is what it is.
fn key_of(text: &str) -> Vec<u8> {
    let coded = text.strip_prefix("whsec_").and_then(|coded| STANDARD.decode(coded).ok());
    coded.unwrap_or_else(|| text.as_bytes().to_vec())
}

fn is_address(text: &str) -> bool {
    let Ok(uri) = text.parse::<axum::http::Uri>() else { return false };
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let plain = |authority: &axum::http::uri::Authority| !authority.as_str().contains('@');
    is_web && text.len() <= 2048 && uri.host().is_some() && uri.authority().is_some_and(plain)
}

const MIN_SECRET: usize = 16;
