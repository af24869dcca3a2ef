//! `crosspoint operator`: who signs in at the console. A running gateway goes by it at once.

use std::fmt::Write as _;

use clap::{Subcommand, ValueEnum};
use crosspoint_base::Secret;
use crosspoint_state::{Operator, Operators};
use serde_json::{Value, json};

use crate::audit;
use crate::cli::{Failure, Output, unix_now};
use crate::home::Home;
use crate::passwords;
use crate::permissions;
use crate::provisioning::Refusal;
use crate::provisioning::argon;
use crate::provisioning::operators::{name_fits, password_fits};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add an operator; the password is read from the first line of standard input
    Add {
        name: String,
        /// What it may do (docs/permissions.md)
        #[arg(long)]
        role: Role,
    },
    /// List all operators
    List,
    /// Give an operator another password, from the first line of standard input
    Password { name: String },
    /// Give an operator another role
    Role { name: String, role: Role },
    /// Remove an operator, who is signed out
    Remove { name: String },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Role {
    /// Sees calls, registrations, trunks and records
    Viewer,
    /// Handles calls, records them and bans addresses as well
    Operator,
    /// Everything: users, operators, the configuration
    Admin,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => permissions::Role::Viewer,
            Self::Operator => permissions::Role::Operator,
            Self::Admin => permissions::Role::Admin,
        }
        .as_str()
    }
}

pub(super) fn run(command: &Command, home: &Home, output: &Output) -> Result<(), Failure> {
    let store = home.store()?;
    let keep = home.config.console.audit_keep;
    let note = |action: &str, name: &str, detail: Value| {
        audit::of_command(&store, keep, action, name, &detail);
    };
    match command {
        Command::Add { name, role } => {
            name_fits(name).map_err(usage)?;
            let role = role.as_str();
            let operator = Operator {
                name: name.clone(),
                role: role.to_owned(),
                password: kept()?,
                created: unix_now(),
            };
            store.insert_operator(&operator)?;
            note("operator.add", name, json!({ "name": name, "role": role }));
            let value = json!({ "ok": true, "operator": name, "role": role });
            output.result(&value, &format!("added {role} {name}"));
        }
        Command::List => list(&store.operators()?, output),
        Command::Password { name } => {
            store.change_operator(name, None, Some(&kept()?))?;
            note("operator.change", name, json!({}));
            let value = json!({ "ok": true, "operator": name });
            output.result(&value, &format!("changed the password of {name}"));
        }
        Command::Role { name, role } => {
            let role = role.as_str();
            store.change_operator(name, Some(role), None)?;
            note("operator.change", name, json!({ "role": role }));
            let value = json!({ "ok": true, "operator": name, "role": role });
            output.result(&value, &format!("{name} is {role}"));
        }
        Command::Remove { name } => {
            store.remove_operator(name)?;
            note("operator.remove", name, json!({}));
            let value = json!({ "ok": true, "operator": name });
            output.result(&value, &format!("removed operator {name}"));
        }
    }
    Ok(())
}

/// What the password of standard input is kept as.
fn kept() -> Result<Secret<String>, Failure> {
    let password = passwords::from_stdin()?;
    password_fits(password.expose()).map_err(usage)?;
    argon::keep(&password)
        .map_err(|error| Failure::failed("the system's random numbers".to_owned(), error))
}

fn list(operators: &[Operator], output: &Output) {
    let mut text = String::new();
    let mut values = Vec::new();
    for Operator { name, role, created, .. } in operators {
        let _ = writeln!(text, "{name:<24} {role}");
        values.push(json!({ "name": name, "role": role, "created": created }));
    }
    output.result(&json!(values), &text);
}

fn usage(refusal: Refusal) -> Failure {
    Failure::Usage(match refusal {
        Refusal::Invalid { member, why } => format!("the {member} {why}"),
        _ => "this cannot be used".to_owned(),
    })
}
