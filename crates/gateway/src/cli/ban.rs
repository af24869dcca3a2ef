//! `crosspoint ban`: who is not listened to. A running node notices changes within a second or two.

use std::time::Duration;

use clap::Subcommand;
use crosspoint_base::source_of;
use crosspoint_state::{Store, Write};
use serde_json::{Value, json};

use crate::cli::{Failure, Output};
use crate::home::Home;
use crate::{audit, bans};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List addresses that are banned, and until when
    List,
    /// Ban an address; of IPv6 its /64
    Add {
        address: String,
        /// For how long, such as 30m or 7d
        #[arg(long = "for", value_name = "TIME", default_value = "1d")]
        time: humantime::Duration,
    },
    /// Listen to an address again
    Lift { address: String },
}

pub(super) fn run(command: &Command, home: &Home, output: &Output) -> Result<(), Failure> {
    let store = home.store()?;
    let note = |action: &str, source: &str, detail: &Value| {
        audit::of_command(&store, home.config.console.audit_keep, action, source, detail);
    };
    match command {
        Command::List => {
            let rows = store.bans(bans::unix_millis())?;
            let values: Vec<Value> = rows.iter().map(bans::shown).collect();
            output.result(&json!(values), &bans::as_text(&rows));
        }
        Command::Add { address, time } => {
            let address = parse(address)?;
            if home.config.ban.exempt.iter().any(|network| network.contains(address))
                || home.config.is_trunk_network(address)
            {
                let why = format!("{address} belongs to a trunk, or to ban.exempt");
                return Err(Failure::Usage(why));
            }
            let time = (**time).min(LONGEST);
            let row = bans::imposed(address, time);
            store.apply(&[Write::PutBan(row.clone())])?;
            note("ban.add", &row.source, &json!({ "seconds": time.as_secs() }));
            let text = format!("banned {}", bans::as_text(std::slice::from_ref(&row)).trim_end());
            output.result(&bans::shown(&row), &text);
        }
        Command::Lift { address } => {
            let source = source_of(parse(address)?).to_string();
            if !store.bans(bans::unix_millis())?.iter().any(|row| row.source == source) {
                return Err(Failure::Name(format!("{address} is not banned")));
            }
            store.apply(&[Write::RemoveBan(source.clone())])?;
            note("ban.lift", &source, &json!({}));
            let value = json!({ "ok": true, "address": address });
            output.result(&value, &format!("{address} is listened to again"));
        }
    }
    Ok(())
}

fn parse(text: &str) -> Result<std::net::IpAddr, Failure> {
    bans::address(text).ok_or_else(|| Failure::Usage(format!("{text:?} is not an IP address")))
}

/// A ban that is to last for ever is a rule of a packet filter.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
