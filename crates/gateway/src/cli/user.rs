//! `crosspoint user`: who may sign in. A running node notices changes within a second.

use std::fmt::Write;

use clap::Subcommand;
use crosspoint_base::{Private, Secret};
use crosspoint_state::{Forwarding, Store, User, UserName};
use serde_json::json;

use crate::audit;
use crate::cli::{Failure, Output, unix_now};
use crate::forwarding;
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
    /// Have a user's calls go elsewhere; what is not named stays as it is
    Forward {
        name: String,
        /// Forget what was set before
        #[arg(long)]
        off: bool,
        /// All calls go here, and nothing rings
        #[arg(long, value_name = "NUMBER")]
        always: Option<String>,
        /// Calls that find a device busy, or are declined
        #[arg(long, value_name = "NUMBER")]
        busy: Option<String>,
        /// Calls that nobody answers
        #[arg(long, value_name = "NUMBER")]
        no_answer: Option<String>,
        /// Seconds of ringing before --no-answer
        #[arg(long, value_name = "SECONDS")]
        after: Option<u32>,
        /// Calls that find no device signed in
        #[arg(long, value_name = "NUMBER")]
        away: Option<String>,
    },
    /// Remove a user; its devices are signed out
    Remove { name: String },
}

pub(super) fn run(command: Command, home: &Home, output: &Output) -> Result<(), Failure> {
    let store = home.store()?;
    let realm = &home.config.general.realm;
    let note = |action: &str, name: &str, detail: &serde_json::Value| {
        audit::of_command(&store, home.config.console.audit_keep, action, name, detail);
    };
    match command {
        Command::Add { name, aliases, password_stdin } => {
            let name = parse(&name)?;
            let aliases: Vec<UserName> =
                aliases.iter().map(|a| parse(a)).collect::<Result<_, _>>()?;
            let password = choose_password(password_stdin)?;
            let credentials = passwords::credentials(&name, realm, password.secret());
            let user = User {
                name,
                aliases,
                credentials,
                created: unix_now(),
                forwarding: Forwarding::default(),
            };
            store.insert_user(&user)?;
            let aliases: Vec<&str> = user.aliases.iter().map(UserName::as_str).collect();
            note("user.add", user.name.as_str(), &json!({ "aliases": aliases }));
            announce(&user.name, realm, &password, "added", output);
        }
        Command::List => list(&store.users()?, output),
        Command::Passwd { name, password_stdin } => {
            let name = parse(&name)?;
            let password = choose_password(password_stdin)?;
            let credentials = passwords::credentials(&name, realm, password.secret());
            store.set_credentials(name.as_str(), &credentials)?;
            note("user.change", name.as_str(), &json!({}));
            announce(&name, realm, &password, "changed", output);
        }
        Command::Forward { name, off, always, busy, no_answer, after, away } => {
            let user = store.user(&name)?;
            let user = user.ok_or_else(|| Failure::Name(format!("there is no user {name}")))?;
            let old = if off { Forwarding::default() } else { user.forwarding };
            let forwarding = Forwarding {
                always: place(always)?.or(old.always),
                busy: place(busy)?.or(old.busy),
                no_answer: place(no_answer)?.or(old.no_answer),
                no_answer_after: seconds(after)?.or(old.no_answer_after),
                away: place(away)?.or(old.away),
            };
            store.set_forwarding(user.name.as_str(), &forwarding)?;
            let mut value = forwarding::as_json(&forwarding);
            note("user.forward", user.name.as_str(), &value);
            value["ok"] = json!(true);
            value["user"] = json!(user.name.as_str());
            output.result(&value, &format!("{}: {}", user.name, forwarding::as_text(&forwarding)));
        }
        Command::Remove { name } => {
            store.remove_user(&name)?;
            note("user.remove", &name, &json!({}));
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
    let password = passwords::from_stdin()?;
    if !(1..=MAX_PASSWORD).contains(&password.expose().len()) {
        let text = format!("a password needs 1 to {MAX_PASSWORD} bytes on standard input");
        return Err(Failure::Usage(text));
    }
    Ok(Password::Given(password))
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
            "forwarding": forwarding::as_json(&user.forwarding),
        }));
    }
    output.result(&json!(values), &text);
}

fn parse(name: &str) -> Result<UserName, Failure> {
    UserName::parse(name).map_err(|error| Failure::Usage(format!("{name:?}: {error}")))
}

fn place(to: Option<String>) -> Result<Option<Private<String>>, Failure> {
    let checked = to.map(|to| forwarding::place(&to).map_err(|why| format!("{to:?} {why}")));
    checked.transpose().map_err(Failure::Usage)
}

fn seconds(after: Option<u32>) -> Result<Option<u32>, Failure> {
    let checked = after.map(|after| forwarding::seconds(u64::from(after)));
    checked.transpose().map_err(|why| Failure::Usage(format!("--after {why}")))
}

const MAX_PASSWORD: usize = 256;
