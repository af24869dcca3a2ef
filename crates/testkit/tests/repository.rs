//! Repository rules as tests: dependency edges, file sizes, module docs, links.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each crate may depend on, from the design: a new edge is a design change.
const EDGES: [(&str, &[&str]); 14] = [
    ("base", &[]),
    ("sdp", &["base"]),
    ("sip", &["base"]),
    ("media", &["base", "sdp"]),
    ("ng", &["base", "sdp", "media"]),
    ("call", &["base", "sdp"]),
    ("stir", &["base"]),
    ("ladder", &["base", "call"]),
    ("connectors", &["base", "sdp", "sip", "call", "stir"]),
    ("node", &["base", "sdp", "sip", "media", "call", "stir", "ladder", "connectors"]),
    ("net", &["base", "sdp", "sip", "media", "ng"]),
    ("state", &["base"]),
    (
        "gateway",
        &[
            "base",
            "sdp",
            "sip",
            "media",
            "call",
            "stir",
            "ladder",
            "connectors",
            "node",
            "net",
            "ng",
            "state",
        ],
    ),
    (
        "testkit",
        &["base", "sdp", "sip", "media", "call", "stir", "ladder", "connectors", "node", "state"],
    ),
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

/// The tables of permissions, attacks and specifications are worth what their tests are.
#[test]
fn every_test_that_the_tables_name_exists() {
    let mut files = Vec::new();
    rust_files(&root().join("crates"), &mut files);
    let sources: String =
        files.iter().map(|file| fs::read_to_string(file).expect("source is UTF-8")).collect();
    // A name of a test is words joined by underscores; paths and headers are not.
    let is_test = |word: &&str| {
        word.matches('_').count() >= 2
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    for table in ["docs/permissions.md", "docs/security-tests.md", "docs/conformance.md"] {
        let text = fs::read_to_string(root().join(table)).expect("the table");
        let named: Vec<&str> = text.split('`').filter(is_test).collect();
        assert!(named.len() > 20, "{table} names its tests");
        for name in named {
            assert!(sources.contains(&format!("fn {name}(")), "{table}: there is no test {name}");
        }
    }
}

/// The grid of `docs/interop.md` has the scenarios and peers that `interop/` plays, and what each said of each.
#[test]
fn the_interop_grid_is_of_the_scenarios_that_are_played() {
    let folder = root().join("interop");
    let read = |path: PathBuf| fs::read_to_string(path).expect("a readable file");
    let scenarios: serde_json::Value =
        serde_json::from_str(&read(folder.join("scenarios.json"))).expect("a list of scenarios");
    let titles: Vec<&str> = scenarios
        .as_array()
        .expect("a list")
        .iter()
        .map(|scenario| scenario["title"].as_str().expect("a title"))
        .collect();
    let grid = read(root().join("docs/interop.md"));
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let rows: Vec<Vec<String>> = grid.lines().filter(|l| l.starts_with("| ")).map(cells).collect();
    let played: Vec<&str> = rows[2..].iter().map(|row| row[0].as_str()).collect();
    assert_eq!(played, titles, "run `make interop`");

    let run = read(folder.join("run.mjs"));
    let peers = run.split("PEERS = [").nth(1).and_then(|l| l.split(']').next()).expect("peers");
    let peers: Vec<&str> = peers.split('"').skip(1).step_by(2).collect();
    let names: Vec<String> = peers
        .iter()
        .map(|peer| {
            let script = read(folder.join(format!("peers/{peer}.mjs")));
            script
                .split("name: \"")
                .nth(1)
                .and_then(|l| l.split('"').next())
                .expect("a name")
                .to_owned()
        })
        .collect();
    assert_eq!(rows[0][1..], names, "run `make interop`");
    for (at, name) in names.iter().enumerate() {
        let section = grid.split(&format!("\n## {name}\n")).nth(1).expect("a section of each peer");
        let section = section.split("\n## ").next().unwrap_or_default();
        for row in &rows[2..] {
            let verdict = row[at + 1].as_str();
            if verdict == "not here" {
                assert!(section.contains("Not available from Debian 12"), "{name}");
                continue;
            }
            assert!(["yes", "–"].contains(&verdict), "{name}: {} is {verdict}", row[0]);
            let line = format!("- **{}** ({verdict}): ", row[0]);
            let told = section.split(&line).nth(1).expect("a line of each cell");
            assert!(
                told.lines().next().is_some_and(|l| l.len() > 10),
                "{name}: {} says why",
                row[0]
            );
        }
    }
}

/// What strangers call themselves is text on our pages, never markup: nothing there writes any.
#[test]
fn pages_write_no_markup() {
    let forbidden =
        ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"];
    let mut files = vec![root().join("ui/src"), root().join("sdk")];
    let mut read = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            let is_foreign = path.ends_with("node_modules") || path.ends_with("dist");
            let entries = fs::read_dir(&path).expect("a readable folder").flatten();
            files.extend(entries.map(|entry| entry.path()).filter(|_| !is_foreign));
        } else if path.extension().is_some_and(|e| ["ts", "tsx", "html"].iter().any(|k| e == *k)) {
            let text = fs::read_to_string(&path).expect("a readable file");
            let lower = text.to_lowercase();
            for word in forbidden {
                let is_there = lower.contains(&word.to_lowercase());
                assert!(!is_there, "{} has {word}", path.display());
            }
            read += 1;
        }
    }
    assert!(read > 10, "{read} files");
}

/// Everything of ours that ends like this below `folder`: `target`, `node_modules` and hidden folders are others'.
fn files_ending(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            let is_foreign = name.starts_with('.')
                || ["target", "node_modules", "dist", "book", "corpus"].contains(&name.as_str());
            if !is_foreign && !path.is_symlink() {
                files_ending(&path, end, found);
            }
        } else if name.ends_with(end) {
            found.push(path);
        }
    }
}

/// A page's lines that are prose: what is quoted as code has no links and no headings.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Where the links of a page lead, as written, less those into the world.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        // Every second piece between backticks is code.
        let plain: String = line.split('`').step_by(2).collect();
        for rest in plain.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default().trim();
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// What a heading is reached by: small letters, digits and hyphens.
fn anchors(text: &str) -> Vec<String> {
    let slug = |heading: &str| -> String {
        let heading = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        heading.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    prose(text).filter(|line| line.starts_with('#')).map(slug).collect()
}

/// A reader who follows a link arrives, at the heading that it names.
#[test]
fn links_between_pages_lead_somewhere() {
    let mut pages = Vec::new();
    files_ending(&root(), ".md", &mut pages);
    let (mut faults, mut followed) = (Vec::new(), 0);
    for page in &pages {
        let text = fs::read_to_string(page).expect("a page is UTF-8");
        for link in links(&text) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = page.parent().expect("a page lies in a folder");
            let target = if path.is_empty() { page.clone() } else { folder.join(path) };
            let is_there = target.exists()
                && (anchor.is_empty()
                    || fs::read_to_string(&target)
                        .is_ok_and(|text| anchors(&text).iter().any(|known| known == anchor)));
            if !is_there {
                faults.push(format!("{}: {link}", page.display()));
            }
            followed += 1;
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(followed > 100, "{followed} links");
}

/// The site (mdBook) shows what its summary names, and nothing else: a page that is not there is not found.
#[test]
fn every_page_of_the_documentation_is_in_its_summary() {
    let docs = root().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).expect("the summary");
    let named = links(&summary);
    let mut pages = Vec::new();
    files_ending(&docs, ".md", &mut pages);
    let missing: Vec<String> = pages
        .iter()
        .map(|page| page.strip_prefix(&docs).expect("below docs").display().to_string())
        .filter(|page| page != "SUMMARY.md" && !named.contains(page))
        .collect();
    assert!(missing.is_empty(), "add to docs/SUMMARY.md: {}", missing.join(", "));
    let twice: Vec<&String> =
        named.iter().filter(|one| named.iter().filter(|other| other == one).count() > 1).collect();
    assert!(twice.is_empty(), "twice in docs/SUMMARY.md: {twice:?}");
}
