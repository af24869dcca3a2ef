//! `[cdr]`: where call records go besides the data folder.

use std::path::Path;

use crosspoint_state::PostgresConfig;

use super::login::secret;
use super::reader::Section;
use super::sections::file_beside;

/// None: records stay in the data folder.
pub(super) fn read(section: &Section<'_>, folder: &Path) -> Option<PostgresConfig> {
    let url = section.required(
        "url",
        "url = \"postgres://crosspoint@db.example.com/calls\"",
        section.string("url"),
    );
    let password = secret(section, folder, "password_file", "password_env");
    let authorities = section
        .string("ca_file")
        .and_then(|name| Some(name.with(file_beside(section, folder, &name)?.0)));
    let url = url?;
    let config = match PostgresConfig::parse(&url.value, password.as_deref()) {
        Ok(config) => config,
        Err(why) => {
            let message = format!("this cannot be used: {why}");
            let remedy = "write for example \"postgres://crosspoint@db.example.com/calls\", and \
                          the password into a file that password_file names";
            section.document().complain_about(&url, message, remedy);
            return None;
        }
    };
    let tls = match authorities {
        None => crate::tls::client_config(),
        Some(file) => match crate::tls::client_config_of(&file.value) {
            Ok(tls) => Some(tls),
            Err(failure) => {
                let remedy = "give the certificates of authorities in PEM";
                section.document().complain_about(&file, failure.to_string(), remedy);
                None
            }
        },
    };
    Some(config.with_tls(tls))
}
