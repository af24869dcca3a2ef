//! `crosspoint init`: a configuration file to start from, and the data folder.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::cli::{Failure, Output, unix_now};
use crate::home::{Home, USUAL_FILE};
use crate::{certificate, passwords};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Do not create the users alice and bob
    #[arg(long)]
    no_users: bool,
}

pub(super) fn run(
    arguments: &Arguments,
    file: Option<&Path>,
    data: Option<&Path>,
    output: &Output,
) -> Result<(), Failure> {
    let file = file.map_or_else(|| PathBuf::from(USUAL_FILE), Path::to_owned);
    let mut options = std::fs::OpenOptions::new();
    let written = match options.write(true).create_new(true).open(&file) {
        Ok(mut open) => std::io::Write::write_all(&mut open, SAMPLE.as_bytes()).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    };
    let written = written.map_err(|e| Failure::failed(file.display().to_string(), e))?;
    let home = Home::find(Some(&file), data)?;
    let store = home.store()?;
    certificate::ensure(&home)?;
    let realm = &home.config.general.realm;
    let users = if arguments.no_users {
        Vec::new()
    } else {
        passwords::create_first_users(&store, realm, unix_now())?
    };

    let mut text = String::new();
    let verb = if written { "wrote" } else { "kept" };
    let _ = writeln!(text, "{verb} {}, data in {}", file.display(), home.data.display());
    for (user, password) in &users {
        let _ = writeln!(text, "user {} has the password {}", user.name, password.expose());
    }
    let users: Vec<_> = users
        .iter()
        .map(
            |(user, password)| json!({ "name": user.name.as_str(), "password": password.expose() }),
        )
        .collect();
    let value = json!({
        "ok": true, "file": file, "written": written, "data": home.data, "users": users,
    });
    output.result(&value, &text);
    Ok(())
}

/// Every option with its default, commented out.
const SAMPLE: &str = include_str!("sample.toml");
