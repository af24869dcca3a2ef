//! `[[trunk]]`: SIP peers by configuration.

use std::path::Path;

use crosspoint_base::Transport;
use crosspoint_call::SrtpPolicy;
use crosspoint_call::router::Rewrite;

use super::Trunk;
use super::login::{self, Keys};
use super::reader::{Located, Section};
use super::sections::is_host;

pub(super) fn read(root: &Section<'_>, folder: &Path) -> Vec<Trunk> {
    let mut trunks: Vec<Trunk> = Vec::new();
    for section in root.sections("trunk") {
        if let Some(trunk) = trunk(&section, folder, &trunks) {
            trunks.push(trunk);
        }
        section.finish();
    }
    trunks
}

fn trunk(section: &Section<'_>, folder: &Path, others: &[Trunk]) -> Option<Trunk> {
    let name = section.required("name", "name = \"carrier\"", section.string("name"));
    let host = section.required("host", "host = \"sip.example.com\"", section.string("host"));
    if let Some(name) = &name {
        check_name(section, name, others);
    }
    if let Some(host) = &host
        && !is_host(&host.value)
    {
        let message = format!("{:?} is not a host name or an address", host.value);
        let remedy = "write for example \"sip.example.com\"; the port goes into port";
        section.document().complain_about(host, message, remedy);
    }
    let transports = [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)];
    let policies = [
        ("off", SrtpPolicy::Off),
        ("optional", SrtpPolicy::Optional),
        ("required", SrtpPolicy::Required),
    ];
    let port = section.integer("port", 1..65_536).and_then(|n| u16::try_from(n.value).ok());
    let transport = section.choice("transport", &transports);
    let srtp = section.choice("srtp", &policies);
    let credentials = login::read(section, folder, &KEYS);
    let prefixes = section.strings("prefixes").unwrap_or_default();
    let rewrite = rewrite(section);
    Some(Trunk {
        name: name?.value,
        host: host?.value,
        port,
        transport: transport.map_or(Transport::Udp, |t| t.value),
        credentials,
        srtp: srtp.map_or(SrtpPolicy::Off, |p| p.value),
        prefixes: prefixes.into_iter().map(|p| p.value).collect(),
        rewrite,
    })
}

fn check_name(section: &Section<'_>, name: &Located<String>, others: &[Trunk]) {
    if others.iter().any(|o| o.name == name.value) {
        let message = format!("a trunk {:?} exists further up", name.value);
        section.document().complain_about(name, message, "give each trunk a name of its own");
    }
    if crosspoint_state::UserName::parse(&name.value).is_err() {
        let message = format!("{:?} cannot be the name of a trunk", name.value);
        section.document().complain_about(name, message, "use letters, digits and . _ - + only");
    }
}

fn rewrite(section: &Section<'_>) -> Rewrite {
    let strip = section.integer("strip", 0..65).and_then(|n| usize::try_from(n.value).ok());
    let prepend = section.string("prepend").map(|p| p.value).unwrap_or_default();
    let pattern = section.string("match");
    let replacement = section.string("replace");
    let pair = match (&pattern, &replacement) {
        (Some(pattern), Some(replacement)) => {
            Some((pattern.value.as_str(), replacement.value.as_str()))
        }
        (Some(pattern), None) => Some((pattern.value.as_str(), "$0")),
        (None, Some(replacement)) => {
            let remedy = "add match = \"..\", or use prepend";
            let message = "there is no match to replace";
            section.document().complain_about(replacement, message, remedy);
            None
        }
        (None, None) => None,
    };
    match Rewrite::new(strip.unwrap_or(0), &prepend, pair) {
        Ok(rewrite) => rewrite,
        Err(error) => {
            if let Some(pattern) = &pattern {
                let message = error.to_string().replace('\n', " ");
                let remedy = "write a regular expression such as \"^00(\\\\d+)$\"";
                section.document().complain_about(pattern, message, remedy);
            }
            Rewrite::default()
        }
    }
}

const KEYS: Keys = Keys {
    name: "username",
    file: "password_file",
    variable: "password_env",
    password: "password",
    example: "carrier.password",
};
