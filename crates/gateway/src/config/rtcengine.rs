//! `[rtcengine]`: apps that speak JSON over WebSocket.

use std::path::Path;
use std::time::Duration;

use super::RtcEngine;
use super::login::{self, Keys, Login};
use super::reader::Section;

pub(super) fn read(section: Option<&Section<'_>>, folder: &Path) -> RtcEngine {
    let time = |key, default: Duration, low, high| {
        let range = Duration::from_secs(low)..Duration::from_secs(high);
        section.and_then(|s| s.duration(key, range)).map_or(default, |found| found.value)
    };
    RtcEngine {
        resume_window: time("resume_window", Duration::from_secs(30), 1, 601),
        token_lifetime: time("token_lifetime", Duration::from_secs(12 * 3600), 60, YEAR),
        provisioning: section.and_then(|s| provisioning(s, folder)),
    }
}

fn provisioning(section: &Section<'_>, folder: &Path) -> Option<Login> {
    let login = login::read(section, folder, &KEYS)?;
    if let Some(name) = section.string(KEYS.name)
        && (name.value.is_empty() || name.value.contains(|c: char| c == ':' || c.is_control()))
    {
        let message = "this cannot be the name of a login";
        let remedy = "write a word without colons, such as \"portal\"";
        section.document().complain_about(&name, message, remedy);
    }
    if login.password.expose().len() < MIN_PASSWORD {
        let message = format!("the provisioning password has less than {MIN_PASSWORD} characters");
        let remedy = "whoever knows it owns every app: make a random one, for example with \
                      openssl rand -base64 24";
        section.document().complain_about(&section.here(), message, remedy);
    }
    Some(login)
}

const KEYS: Keys = Keys {
    name: "provisioning_user",
    file: "provisioning_password_file",
    variable: "provisioning_password_env",
    password: "provisioning_password",
    example: "provisioning.password",
};
const MIN_PASSWORD: usize = 16;
const YEAR: u64 = 365 * 24 * 3600 + 1;
