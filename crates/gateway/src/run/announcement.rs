//! What `crosspoint run` tells whoever started it, once everything is up.

use std::fmt::Write;
use std::net::SocketAddr;

use crosspoint_base::Secret;
use crosspoint_state::User;
use serde_json::{Value, json};

use crate::addresses;
use crate::cli::Output;

/// One socket that is open.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    /// `udp`, `tcp`, `tls`, `ws`, `wss`, `https`, `http`, `media`, `turn-udp`, `turn-tcp` or
    /// `turn-tls`.
    pub(crate) kind: &'static str,
    pub(crate) address: SocketAddr,
}

/// Prints the addresses and, the first time ever, the first users with their passwords.
pub(crate) fn ready(open: &[Open], first_users: &[(User, Secret<String>)], output: &Output) {
    let pages: Vec<String> = open.iter().filter_map(page).collect();
    let mut text = String::new();
    for url in &pages {
        let _ = writeln!(text, "web phone   {url}");
    }
    for Open { kind, address } in open.iter().filter(|o| page(o).is_none()) {
        let _ = writeln!(text, "{kind:<11} {address}");
    }
    for (user, password) in first_users {
        let numbers: Vec<&str> = user.aliases.iter().map(|a| a.as_str()).collect();
        let (name, numbers) = (&user.name, numbers.join(", "));
        let _ = writeln!(text, "user        {name} ({numbers}) password {}", password.expose());
    }
    if !first_users.is_empty() {
        let _ = writeln!(
            text,
            "These passwords are shown only now; `crosspoint user passwd` changes them."
        );
    }
    let listeners: Vec<Value> =
        open.iter().map(|o| json!({ "kind": o.kind, "address": o.address })).collect();
    let users: Vec<Value> = first_users
        .iter()
        .map(|(user, password)| {
            let aliases: Vec<&str> = user.aliases.iter().map(|a| a.as_str()).collect();
            json!({ "name": user.name.as_str(), "aliases": aliases, "password": password.expose() })
        })
        .collect();
    let value = json!({ "event": "ready", "urls": pages, "listeners": listeners, "users": users });
    output.result(&value, &text);
}

fn page(open: &Open) -> Option<String> {
    let scheme = match open.kind {
        "https" | "http" => open.kind,
        _ => return None,
    };
    Some(format!("{scheme}://{}/", addresses::reachable(open.address)))
}
