//! A name with a password that is kept outside the configuration.

use std::path::Path;

use crosspoint_base::Secret;

use super::reader::{Located, Section};
use super::sections::file_beside;

/// The keys that give a login.
pub(super) struct Keys {
    pub(super) name: &'static str,
    pub(super) file: &'static str,
    pub(super) variable: &'static str,
    /// Refused, with advice.
    pub(super) password: &'static str,
    pub(super) example: &'static str,
}

/// A name and a password.
#[derive(Debug)]
pub struct Login {
    pub username: String,
    pub password: Secret<String>,
}

pub(super) fn read(section: &Section<'_>, folder: &Path, keys: &Keys) -> Option<Login> {
    let username = section.string(keys.name);
    let file = section.string(keys.file);
    let variable = section.string(keys.variable);
    if section.has(keys.password) {
        let remedy = format!(
            "put it into a file of its own and name that in {}, or name an environment variable \
             in {}",
            keys.file, keys.variable
        );
        let message = "passwords do not belong into the configuration";
        section.document().complain_about(&section.here(), message, remedy);
    }
    let password = secret(section, folder, keys.file, keys.variable);
    match (username, file.or(variable)) {
        (Some(username), Some(_)) => {
            Some(Login { username: username.value, password: Secret::new(password?) })
        }
        (None, None) => None,
        (Some(username), None) => {
            let Keys { file, variable, example, .. } = keys;
            let remedy = format!("add {file} = \"{example}\" or {variable} = \"NAME\"");
            section.document().complain_about(&username, "there is no password with it", remedy);
            None
        }
        (None, Some(password)) => {
            let (message, name) = (format!("there is no {} with it", keys.name), keys.name);
            section.document().complain_about(&password, message, format!("add {name} = \"..\""));
            None
        }
    }
}

/// A secret that is in a file, or in the environment, and never both.
pub(super) fn secret(
    section: &Section<'_>,
    folder: &Path,
    file: &'static str,
    variable: &'static str,
) -> Option<String> {
    match (section.string(file), section.string(variable)) {
        (Some(name), None) => file_beside(section, folder, &name)
            .map(|(_, text)| text.lines().next().unwrap_or_default().to_owned()),
        (None, Some(name)) => from_environment(section, &name, file),
        (Some(_), Some(second)) => {
            let message = format!("there is a {file} as well");
            section.document().complain_about(&second, message, "keep one of the two");
            None
        }
        (None, None) => None,
    }
}

/// A secret of the environment; `file` is the key of the other way to give it.
pub(super) fn from_environment(
    section: &Section<'_>,
    name: &Located<String>,
    file: &str,
) -> Option<String> {
    let plain = name.value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let found =
        if plain && !name.value.is_empty() { std::env::var(&name.value).ok() } else { None };
    if found.is_none() {
        let message = format!("the environment has no variable {:?}", name.value);
        let remedy = format!("set the variable for this process, or use {file}");
        section.document().complain_about(name, message, remedy);
    }
    found
}
