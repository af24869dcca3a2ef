//! Repository rules as tests: dependency edges, file sizes, module docs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each crate may depend on, from the design: a new edge is a design change.
const EDGES: [(&str, &[&str]); 11] = [
    ("base", &[]),
    ("sdp", &["base"]),
    ("sip", &["base"]),
    ("media", &["base", "sdp"]),
    ("call", &["base", "sdp"]),
    ("connectors", &["base", "sdp", "sip", "call"]),
    ("node", &["base", "sdp", "sip", "media", "call", "connectors"]),
    ("net", &["base", "sip", "media"]),
    ("state", &["base"]),
    ("gateway", &["base", "sdp", "sip", "media", "call", "connectors", "node", "net", "state"]),
    ("testkit", &["base", "sdp", "sip", "media", "call", "connectors", "node", "state"]),
];

const MAX_LINES: usize = 1200;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the root exists")
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|n| n != "target" && n != "node_modules") {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn crates_depend_only_on_what_the_design_allows() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let allowed: BTreeMap<&str, &[&str]> = EDGES.into();
    let packages = metadata["packages"].as_array().expect("a list of packages");
    assert_eq!(packages.len(), EDGES.len(), "every crate has a row in EDGES");
    for package in packages {
        let name = package["name"].as_str().expect("a name").trim_start_matches("crosspoint-");
        let allowed = allowed.get(name).unwrap_or_else(|| panic!("{name} has no row in EDGES"));
        for dependency in package["dependencies"].as_array().expect("a list") {
            let (Some(target), None) = (
                dependency["name"].as_str().and_then(|n| n.strip_prefix("crosspoint-")),
                dependency["kind"].as_str(),
            ) else {
                continue;
            };
            assert!(allowed.contains(&target), "{name} may not depend on {target}");
        }
    }
}

#[test]
fn files_are_short_enough_to_read_and_say_what_they_are() {
    let mut files = Vec::new();
    for folder in ["crates", "fuzz"] {
        let folder = root().join(folder);
        if folder.exists() {
            rust_files(&folder, &mut files);
        }
    }
    let mut faults = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).expect("source is UTF-8");
        let lines = text.lines().count();
        if lines > MAX_LINES {
            faults.push(format!("{}: {lines} lines, at most {MAX_LINES}", file.display()));
        }
        let documented = text.lines().take(3).any(|l| l.starts_with("//!"));
        if !documented {
            faults.push(format!("{}: does not open with //!", file.display()));
        }
        if file.file_name().is_some_and(|n| n == "mod.rs") {
            faults.push(format!("{}: use foo.rs beside foo/", file.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_call_crate_names_no_protocol() {
    let mut files = Vec::new();
    rust_files(&root().join("crates/call/src"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).expect("source is UTF-8").to_lowercase();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in ["sip", "invite", "websocket", "json", "grpc", "jingle", "kandy", "webex"] {
                let named = code.split(|c: char| !c.is_alphanumeric()).any(|w| w == word);
                assert!(!named, "{}:{}: names {word}", file.display(), number + 1);
            }
        }
    }
}

/// The table of permissions is worth what its tests are.
#[test]
fn every_test_that_the_permissions_name_exists() {
    let table = fs::read_to_string(root().join("docs/permissions.md")).expect("the table");
    let mut files = Vec::new();
    rust_files(&root().join("crates"), &mut files);
    let sources: String =
        files.iter().map(|file| fs::read_to_string(file).expect("source is UTF-8")).collect();
    // A name of a test is words joined by underscores; paths and headers are not.
    let is_test = |word: &&str| {
        word.matches('_').count() >= 3 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    let named: Vec<&str> = table.split('`').filter(is_test).collect();
    assert!(named.len() > 20, "the table names its tests");
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "there is no test {name}");
    }
}
