//! What docs/routing.md shows is what the commands do.

use std::path::Path;
use std::process::Command;

const DOCUMENT: &str = include_str!("../../../../docs/routing.md");

/// What the command prints, and its exit code.
fn crosspoint(at: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_crosspoint"))
        .args(arguments)
        .current_dir(at)
        .output()
        .expect("the binary runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// The blocks between fences, with the word after the first fence.
fn blocks() -> impl Iterator<Item = (&'static str, &'static str)> {
    DOCUMENT.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'))
}

fn with_users(at: &Path) {
    for user in ["alice", "bob"] {
        crosspoint(at, &["user", "add", user]);
    }
}

#[test]
fn every_example_is_in_order_and_every_answer_is_what_route_test_says() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    with_users(at);
    let (mut configs, mut answers) = (0, 0);
    for (kind, text) in blocks() {
        if kind == "toml" {
            std::fs::write(at.join("crosspoint.toml"), text).unwrap();
            let (code, said) = crosspoint(at, &["check"]);
            assert_eq!(code, 0, "{said}\n{text}");
            configs += 1;
        } else if let Some((command, expected)) = text.split_once('\n')
            && let Some(command) = command.strip_prefix("$ crosspoint ")
        {
            let words: Vec<&str> = command.split(' ').collect();
            let (code, said) = crosspoint(at, &words);
            assert_eq!(said.trim(), expected.trim(), "{command}");
            let is_refused = expected.contains("=> refused");
            assert_eq!(code, if is_refused { 4 } else { 0 }, "{command}");
            answers += 1;
        }
    }
    assert!(configs >= 3 && answers >= 3, "the document has its examples");
}

/// The list that the document shows is the list that holds.
#[test]
fn the_document_names_every_prefix_of_high_risk() {
    let (_, part) = DOCUMENT.split_once("## Against toll fraud").unwrap();
    for prefix in crosspoint_call::router::numbering::HIGH_RISK {
        assert!(part.contains(&format!("`{prefix}`")), "{prefix}");
    }
}

#[test]
fn a_member_that_is_no_user_is_an_error_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    with_users(at);
    let config = "[[group]]\nname = \"g\"\nmembers = [\"alice\", \"eve\"]\n\
                  [[route]]\nname = \"r\"\nto = [\"user:mallory\"]\n";
    std::fs::write(at.join("crosspoint.toml"), config).unwrap();
    let (code, said) = crosspoint(at, &["check"]);
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("crosspoint.toml:3:21: group[0].members[1]: there is no user \"eve\""),
        "{said}"
    );
    assert!(
        said.contains("crosspoint.toml:6:7: route[0].to[0]: there is no user \"mallory\""),
        "{said}"
    );
    assert_eq!(crosspoint(at, &["run"]).0, 2, "nor does it run");
    crosspoint(at, &["user", "add", "eve"]);
    crosspoint(at, &["user", "add", "mallory"]);
    assert_eq!(crosspoint(at, &["check"]).0, 0);
}

#[test]
fn a_hundred_thousand_rates_are_read_and_the_longest_prefix_counts() {
    use std::fmt::Write;

    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    with_users(at);
    let mut rates = String::from("4930,0.004\n49301,0.003\n");
    for n in 0..100_000 {
        let _ = writeln!(rates, "44{n:05},0.01");
    }
    std::fs::write(at.join("a.csv"), &rates).unwrap();
    std::fs::write(at.join("b.csv"), "49,0.0035\n44,0.02\n").unwrap();
    let config = "[general]\ncountry = \"de\"\n\
                  [[trunk]]\nname = \"a\"\nhost = \"192.0.2.1\"\n[[trunk]]\nname = \"b\"\nhost = \"192.0.2.2\"\n\
                  [[route]]\nname = \"a\"\nrates_file = \"a.csv\"\nto = [\"trunk:a\"]\n\
                  [[route]]\nname = \"b\"\nrates_file = \"b.csv\"\nto = [\"trunk:b\"]\n";
    std::fs::write(at.join("crosspoint.toml"), config).unwrap();
    let order = |to: &str| {
        let (_, said) = crosspoint(at, &["route-test", "--json", "--from", "bob", "--to", to]);
        let value: serde_json::Value = serde_json::from_str(&said).expect(&said);
        let first = value["outcome"]["targets"][0]["trunk"].as_str().unwrap_or("").to_owned();
        let second = value["then"][0]["targets"][0]["trunk"].as_str().unwrap_or("").to_owned();
        (first, second, value["steps"].as_array().unwrap().len())
    };
    let (a, b) = ("a".to_owned(), "b".to_owned());
    let (first, second, steps) = order("0301234567");
    assert_eq!((&first, &second), (&a, &b), "0.003 before 0.0035");
    assert!(steps <= 9, "{steps} rules are told of, of a hundred thousand");
    assert_eq!(
        (order("030923456").0, order("030923456").1),
        (b.clone(), a.clone()),
        "0.0035 before 0.004"
    );
    assert_eq!(order("00440123456").0, a);
    assert_eq!(order("00449123").0, b);
}

/// For questions about every kind of refusal.
const REFUSING: &str = r#"
[general]
country = "de"
[[trunk]]
name = "one"
host = "192.0.2.10"
prefixes = ["+"]
[[trunk]]
name = "narrow"
host = "192.0.2.11"
prefixes = ["7"]
match = "^77$"
[[route]]
name = "closed"
numbers = ["500"]
to = ["refuse"]
[[route]]
name = "short numbers"
numbers = ["700"]
to = ["trunk:narrow"]
[[group]]
name = "sales"
numbers = ["600600"]
members = ["alice", "bob"]
[[forwarding]]
user = "alice"
always = "alice"
[[permission]]
name = "bob at home"
users = ["bob"]
international = false
[[permission]]
name = "all"
calls = 3
calls_per_minute = 10
[[destination_limit]]
name = "mobile"
prefixes = ["+4917"]
calls = 5
calls_per_minute = 20
"#;

/// What to ask for each kind of refusal. A kind without a row fails the test.
const QUESTIONS: [(&str, &str); 17] = [
    ("unknown_caller", "--stranger --to 030123456"),
    ("bad_number", "--from alice --to <>"),
    ("no_route", "--from alice --to nobody"),
    ("no_device", "--from alice --to bob --away bob"),
    ("group_busy", "--from alice --to 600600 --busy bob --away alice"),
    ("closed", "--from alice --to 500"),
    ("trunk_to_trunk", "--trunk one --to 030123456"),
    ("permission", "--from bob --to 00441632960001"),
    ("high_risk", "--from alice --to 0088212345678"),
    ("caller_calls", "--from alice --to 030123456 --calls 3"),
    ("caller_rate", "--from alice --to 030123456 --begun 10"),
    ("destination_calls", "--from alice --to 0170123456 --calls-there 5"),
    ("destination_rate", "--from alice --to 0170123456 --begun-there 20"),
    ("no_trunk", "--from alice --to 700"),
    ("trunk_full", "--from alice --to 030123456 --full one"),
    ("trunk_down", "--from alice --to 030123456 --down one"),
    ("sent_on_too_often", "--from bob --to alice"),
];

/// Whatever can refuse a call in the tests of the router, the simulator and real peers is one of these kinds, and
/// `route-test` can be asked for each and says which rule it was.
#[test]
fn route_test_explains_every_kind_of_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    with_users(at);
    std::fs::write(at.join("crosspoint.toml"), REFUSING).unwrap();
    let (code, said) = crosspoint(at, &["check"]);
    assert_eq!(code, 0, "{said}");
    for refusal in crosspoint_call::router::Refusal::ALL {
        let kind = refusal.as_str();
        let asked = QUESTIONS.iter().find(|(name, _)| *name == kind);
        let (_, words) = asked.unwrap_or_else(|| panic!("nothing is asked for {kind}"));
        let empty = |word| if word == "<>" { "" } else { word };
        let words: Vec<&str> =
            ["route-test"].into_iter().chain(words.split(' ').map(empty)).collect();
        let (code, said) = crosspoint(at, &[&words[..], &["--json"]].concat());
        assert_eq!(code, 4, "{kind}: {said}");
        let value: serde_json::Value = serde_json::from_str(&said).expect(&said);
        assert_eq!(value["outcome"]["refusal"], kind, "{said}");
        assert_eq!(value["outcome"]["cause"], refusal.cause().as_str(), "{said}");
        let (_, text) = crosspoint(at, &words);
        assert_eq!(text.trim(), value["why"].as_str().unwrap().trim(), "{kind}");
        let last = text.lines().rfind(|line| line.contains(": refused (")).unwrap_or_default();
        assert!(last.len() > "rule: refused ()".len(), "{kind}: {text}");
        let end = format!("=> refused: {}", refusal.cause().as_str());
        assert_eq!(text.trim().lines().last(), Some(end.as_str()), "{kind}");
    }
}
