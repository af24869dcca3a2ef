//! The tokens that interfaces for machines ask for: `[admin]`, and others of its kind.

use std::path::Path;

use crosspoint_base::Secret;

use super::login;
use super::reader::Section;

/// `token_file` or `token_env`, long enough that nobody guesses it.
pub(super) fn token(section: &Section<'_>, folder: &Path) -> Option<Secret<String>> {
    let token = login::secret(section, folder, "token_file", "token_env")?;
    if token.len() < MIN_TOKEN || !token.bytes().all(|b| b.is_ascii_graphic()) {
        let message = format!("the token has less than {MIN_TOKEN} characters, or odd ones");
        let remedy = "make a random one, for example with openssl rand -hex 32";
        section.document().complain_about(&section.here(), message, remedy);
    }
    Some(Secret::new(token))
}

const MIN_TOKEN: usize = 16;
