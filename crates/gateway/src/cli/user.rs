//! `crosspoint user`: who may sign in. A running node notices changes within a second.

use std::fmt::Write;
use std::io::BufRead;

use clap::Subcommand;
use crosspoint_base::Secret;
use crosspoint_state::{Store, User, UserName};
use serde_json::json;

use crate::cli::{Failure, Output, unix_now};
use crate::home::Home;
use crate::passwords;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a user; a password is generated and printed unless one is given
    Add {
        name: String,
        /// A further name or number that means this user (may be repeated)
        #[arg(long = "alias", value_name = "NUMBER")]
        aliases: Vec<String>,
        /// Read the password from the first line of standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// List all users
    List,
    /// Give a user a new password; it is generated and printed unless one is given
    Passwd {
        name: String,
        /// Read the password from the first line of standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Remove a user; its devices are signed out
    Remove { name: String },
}

pub(super) fn run(command: Command, home: &Home, output: &Output) -> Result<(), Failure> {
    let store = home.store()?;
    let realm = &home.config.general.realm;
    match command {
        Command::Add { name, aliases, password_stdin } => {
            let name = parse(&name)?;
            let aliases: Vec<UserName> =
                aliases.iter().map(|a| parse(a)).collect::<Result<_, _>>()?;
            let password = choose_password(password_stdin)?;
            let credentials = passwords::credentials(&name, realm, password.secret());
            let user = User { name, aliases, credentials, created: unix_now() };
            store.insert_user(&user)?;
            announce(&user.name, realm, &password, "added", output);
        }
        Command::List => list(&store.users()?, output),
        Command::Passwd { name, password_stdin } => {
            let name = parse(&name)?;
            let password = choose_password(password_stdin)?;
            let credentials = passwords::credentials(&name, realm, password.secret());
            store.set_credentials(name.as_str(), &credentials)?;
            announce(&name, realm, &password, "changed", output);
        }
        Command::Remove { name } => {
            store.remove_user(&name)?;
            let value = json!({ "ok": true, "user": name });
            output.result(&value, &format!("removed user {name}"));
        }
    }
    Ok(())
}

/// A password, and whether anybody knows it already.
enum Password {
    Given(Secret<String>),
    Generated(Secret<String>),
}

impl Password {
    fn secret(&self) -> &Secret<String> {
        match self {
            Self::Given(secret) | Self::Generated(secret) => secret,
        }
    }
}

fn choose_password(from_stdin: bool) -> Result<Password, Failure> {
    if !from_stdin {
        return passwords::generate().map(Password::Generated);
    }
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::failed("standard input".to_owned(), error))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.len() > MAX_PASSWORD {
        let text = format!("a password needs 1 to {MAX_PASSWORD} bytes on standard input");
        return Err(Failure::Usage(text));
    }
    Ok(Password::Given(Secret::new(password.to_owned())))
}

fn announce(name: &UserName, realm: &str, password: &Password, verb: &str, output: &Output) {
    let mut value = json!({ "ok": true, "user": name.as_str(), "realm": realm });
    let mut text = format!("{verb} user {name}");
    if let Password::Generated(secret) = password {
        value["password"] = json!(secret.expose());
        let _ = write!(text, " with the password {}", secret.expose());
    }
    output.result(&value, &text);
}

fn list(users: &[User], output: &Output) {
    let mut text = String::new();
    let mut values = Vec::new();
    for user in users {
        let aliases: Vec<&str> = user.aliases.iter().map(UserName::as_str).collect();
        let _ = writeln!(text, "{:<24} {}", user.name.as_str(), aliases.join(" "));
        values.push(json!({
            "name": user.name.as_str(), "aliases": aliases,
            "realm": user.credentials.realm, "created": user.created,
        }));
    }
    output.result(&json!(values), &text);
}

fn parse(name: &str) -> Result<UserName, Failure> {
    UserName::parse(name).map_err(|error| Failure::Usage(format!("{name:?}: {error}")))
}

const MAX_PASSWORD: usize = 256;
