//! The table of permissions, tried out: every route of every document as everybody.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;

use crate::gateway::{Gateway, PATIENCE};
use crate::operators::{Console, TOKEN, add_operator, start_with_token};
use crate::rest::{PASSWORD, Set, operator, user};

/// Somebody, with what it sends to prove it.
struct Person {
    /// The column of the table.
    who: &'static str,
    headers: Vec<String>,
    /// Where it is known from: wrong passwords of others do not lock it out there.
    home: Ipv4Addr,
}

/// An operation of a document.
#[derive(Debug)]
struct Operation {
    method: String,
    path: String,
    action: String,
}

#[test]
fn every_route_is_tried_as_everybody() {
    let gateway = start_with_token(&format!(
        "[rtcengine]\nprovisioning_user = \"portal\"\nprovisioning_password_file = \"portal\"\n\
         # {PASSWORD}\n"
    ));
    let (ann, bob) =
        (Set::make(&gateway, "ann@test.example"), Set::make(&gateway, "bob@test.example"));
    let table = table();
    let operations = operations();
    assert!(operations.len() > 70, "{}", operations.len());
    let mut people = people(&gateway, &ann, &bob);
    let mut tried = 0;
    for operation in &operations {
        for person in &mut people {
            let is_foreign = person.who == "foreign owner";
            let path = operation.path.as_str();
            let names_one = path.starts_with("/rtcengine/") && path.contains("{id}");
            if is_foreign && !names_one {
                continue;
            }
            let column = if is_foreign { "owner" } else { person.who };
            let may =
                table.iter().find(|(action, who, _)| *action == operation.action && who == column);
            let (_, _, reach) = may.unwrap_or_else(|| panic!("{operation:?} is not in the table"));
            let status = try_out(&gateway, operation, person, &ann, !reach.is_empty());
            tried += 1;
            let told = format!("{} as {}: {status}", operation.path, person.who);
            match (is_foreign, reach.as_str()) {
                (true, _) => assert_eq!(status, 404, "{operation:?} {told}"),
                (false, "") => assert!([401, 403, 429].contains(&status), "{operation:?} {told}"),
                (false, _) => assert!(![401, 403, 429].contains(&status), "{operation:?} {told}"),
            }
            assert!(status < 500, "{operation:?} {told}");
            let has_console = person.headers.first().is_some_and(|h| h.starts_with("Cookie"));
            if has_console && path == "/api/v1/session" && operation.method == "DELETE" {
                sign_in_again(&gateway, person);
            }
        }
    }
    assert!(tried > 500, "{tried}");
}

fn people(gateway: &Gateway, ann: &Set, bob: &Set) -> Vec<Person> {
    let person = |who, home: u8, headers: Vec<String>| Person {
        who,
        headers,
        home: Ipv4Addr::new(127, 0, 9, home),
    };
    let token = format!("Authorization: Bearer {TOKEN}");
    let mut people = vec![
        person("nobody", 1, vec![]),
        person("user", 2, vec![user(gateway, "alice").0]),
        person("owner", 3, vec![ann.login.0.clone()]),
        person("foreign owner", 4, vec![bob.login.0.clone()]),
        person("portal", 5, vec![operator().0]),
        person("admin", 6, vec![token]),
    ];
    for (index, role) in ["viewer", "operator", "admin"].into_iter().enumerate() {
        add_operator(gateway, role, role);
        people.push(person(role, 10 + index as u8, vec![]));
    }
    people[6..].iter_mut().for_each(|person| sign_in_again(gateway, person));
    // Whoever is known at home is not locked out by the wrong tries that follow elsewhere.
    let homes = [(1, "GET", "/api/rtcsessions"), (2, "GET", "/rtcengine/api/apps")];
    for (index, method, path) in homes {
        let (operation, person) = (named(method, path, ""), &people[index]);
        let status = request(gateway, person.home, &operation, &person.headers);
        assert_eq!(status, 200, "{path}");
    }
    people
}

fn sign_in_again(gateway: &Gateway, person: &mut Person) {
    let console = Console::sign_in(gateway, person.who);
    person.headers = vec![console.cookie(), console.csrf()];
}

/// What is expected to be refused comes from somewhere new: guesses are counted by address.
fn try_out(
    gateway: &Gateway,
    operation: &Operation,
    person: &Person,
    ann: &Set,
    is_allowed: bool,
) -> u16 {
    let [owner, app, network, session, account] = ann.paths();
    let id = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    let of = [
        ("/users/id/", owner),
        ("/apps/id/", app),
        ("/networks/id/", network),
        ("/sessions/id/", session),
        ("/accounts/id/", account),
    ];
    let found = of.iter().find(|(kind, _)| operation.path.contains(kind));
    // Who may remove it finds nothing: the others still need it.
    let may_remove = match person.who {
        "foreign owner" => false,
        "owner" => operation.path.contains("/sessions/"),
        _ => true,
    };
    let is_removed = operation.method == "DELETE" && may_remove;
    let object = match found {
        Some((_, path)) if !is_removed => id(path),
        _ => "nothing".to_owned(),
    };
    let path = operation
        .path
        .replace("{id}", &object)
        .replace("{gcid}", "none")
        .replace("{address}", "192.0.2.77")
        .replace("{day}", "2026-01-01")
        .replace("{name}", "nobody-here.wav");
    static TRIES: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
    let number = TRIES.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_be_bytes();
    let from = match is_allowed {
        true => person.home,
        false => Ipv4Addr::new(127, 1, number[0], number[1]),
    };
    let operation = named(&operation.method, &path, "");
    request(gateway, from, &operation, &person.headers)
}

fn named(method: &str, path: &str, action: &str) -> Operation {
    let [method, path, action] = [method, path, action].map(str::to_owned);
    Operation { method, path, action }
}

/// Asks from an address of loopback; gives the status.
fn request(gateway: &Gateway, from: Ipv4Addr, operation: &Operation, headers: &[String]) -> u16 {
    let Operation { method, path, .. } = operation;
    let body = if *method == "GET" { String::new() } else { json!({}).to_string() };
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str(&format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let to = gateway.address("http");
    let ask = async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from.into(), 0)).unwrap();
        let mut stream = socket.connect(to).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.unwrap();
        line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect(path)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answered = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask).await });
    answered.unwrap_or_else(|_| panic!("no answer to {method} {path}"))
}

/// Action, who, and how far that goes, as the document has it.
fn table() -> Vec<(String, String, String)> {
    let document = include_str!("../../../../docs/permissions.md");
    let rows = document.lines().skip_while(|line| !line.starts_with("| action | "));
    let cells = |row: &str| -> Vec<String> {
        let row = row.strip_prefix('|').unwrap().strip_suffix('|').unwrap();
        row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    let mut rows = rows.take_while(|line| line.starts_with('|'));
    let head = cells(rows.next().unwrap());
    rows.next().unwrap();
    let mut table = Vec::new();
    for row in rows.map(cells) {
        for (who, reach) in head.iter().zip(&row).skip(1) {
            table.push((row[0].clone(), who.clone(), reach.clone()));
        }
    }
    table
}

fn operations() -> Vec<Operation> {
    let documents = [
        include_str!("../../../../docs/openapi/rtcengine.yaml"),
        include_str!("../../../../docs/openapi/admin.yaml"),
    ];
    let (mut found, mut path) = (Vec::new(), "");
    for line in documents.iter().flat_map(|document| document.lines()) {
        let text = line.trim_start();
        match (line.len() - text.len(), text.trim_end_matches(':')) {
            (2, part) if text.starts_with('/') => path = part,
            (4, part @ ("get" | "post" | "put" | "delete" | "patch")) => {
                found.push(named(&part.to_uppercase(), path, ""));
            }
            (6, _) => {
                if let Some(action) = text.strip_prefix("x-permission: ") {
                    found.last_mut().unwrap().action = action.to_owned();
                }
            }
            _ => {}
        }
    }
    found
}
