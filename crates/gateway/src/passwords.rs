//! Passwords on their way to being hashes, and the users of a first start.

use std::io::BufRead;

use crosspoint_base::Secret;
use crosspoint_sip::digest::UserHa1;
use crosspoint_state::{Credentials, Forwarding, Store, User, UserName};

use crate::cli::Failure;

/// What of a password is kept.
pub(crate) fn credentials(name: &UserName, realm: &str, password: &Secret<String>) -> Credentials {
    let ha1 = UserHa1::new(name.as_str(), realm, password.expose());
    Credentials { realm: realm.to_owned(), ha1_md5: ha1.md5, ha1_sha256: ha1.sha256 }
}

/// The first line of standard input, where neither a list of processes nor a shell's history
/// shows it.
pub(crate) fn from_stdin() -> Result<Secret<String>, Failure> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::failed("standard input".to_owned(), error))?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(Secret::new(line))
}

/// A fresh password of 95 bits, from characters that nobody confuses.
pub(crate) fn generate() -> Result<Secret<String>, Failure> {
    let mut rng = crate::cli::system_rng()?;
    let count = u32::try_from(ALPHABET.len()).expect("the alphabet is short");
    let draw = |_| char::from(ALPHABET[rng.below(count) as usize]);
    Ok(Secret::new((0..LENGTH).map(draw).collect()))
}

/// Creates `alice` and `bob` in a store that has never had a user; gives them with their
/// passwords, or nobody.
pub(crate) fn create_first_users(
    store: &dyn Store,
    realm: &str,
    now: i64,
) -> Result<Vec<(User, Secret<String>)>, Failure> {
    if store.users_revision()? > 0 {
        return Ok(Vec::new());
    }
    let mut created = Vec::new();
    for (name, alias) in FIRST_USERS {
        let parse = |text| UserName::parse(text).expect("the first users have plain names");
        let (name, password) = (parse(name), generate()?);
        let credentials = credentials(&name, realm, &password);
        let user = User {
            name,
            aliases: vec![parse(alias)],
            credentials,
            created: now,
            forwarding: Forwarding::default(),
        };
        created.push((user, password));
    }
    let users: Vec<User> = created.iter().map(|(user, _)| user.clone()).collect();
    let inserted = store.insert_first_users(&users)?;
    Ok(if inserted { created } else { Vec::new() })
}

const FIRST_USERS: [(&str, &str); 2] = [("alice", "1001"), ("bob", "1002")];
const ALPHABET: &[u8] = b"abcdefghjkmnpqrstuvwxyzACDEFGHJKLMNPQRTUVWXY34679";
const LENGTH: usize = 17;
