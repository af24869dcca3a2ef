//! The commands, their JSON and their exit codes, on the built binary.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Runs a command in `folder` with JSON output; gives its exit code and what it printed.
fn crosspoint(folder: &Path, arguments: &[&str], input: &str) -> (i32, Value) {
    let output = run(folder, &[arguments, &["--json"]].concat(), input);
    let text = String::from_utf8(output.stdout).unwrap();
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (output.status.code().unwrap(), value)
}

fn run(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_crosspoint"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn users_are_added_listed_changed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (code, added) =
        crosspoint(at, &["user", "add", "carol", "--alias", "1003", "--alias", "+4930"], "");
    assert_eq!(code, 0);
    assert!(added["password"].as_str().unwrap().len() >= 16);

    let (code, added) = crosspoint(at, &["user", "add", "dave", "--password-stdin"], "pass word\n");
    assert_eq!(code, 0);
    assert_eq!(added["password"], Value::Null, "a given password is not repeated");

    let (_, listed) = crosspoint(at, &["user", "list"], "");
    assert_eq!(listed[0]["name"], "carol");
    assert_eq!(listed[0]["aliases"], serde_json::json!(["+4930", "1003"]));
    assert_eq!(listed[1]["realm"], "crosspoint");

    assert_eq!(crosspoint(at, &["user", "passwd", "carol"], "").0, 0);
    assert_eq!(crosspoint(at, &["user", "remove", "carol"], "").0, 0);
    let (_, listed) = crosspoint(at, &["user", "list"], "");
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let code = |arguments: &[&str], input: &str| crosspoint(at, arguments, input).0;
    assert_eq!(code(&["user", "add", "eve"], ""), 0);
    assert_eq!(code(&["user", "add", "eve"], ""), 3, "the name is taken");
    assert_eq!(code(&["user", "remove", "nobody"], ""), 3, "there is no such user");
    assert_eq!(code(&["user", "add", "a b"], ""), 2, "not a name");
    assert_eq!(code(&["user", "add", "frank", "--password-stdin"], "\n"), 2, "no password");
    assert_eq!(code(&["frobnicate"], ""), 2, "no such command");
    assert_eq!(code(&["check", "--config", "missing.toml"], ""), 2);
    std::fs::write(at.join("not-a-folder"), "").unwrap();
    assert_eq!(code(&["user", "list", "--data", "not-a-folder"], ""), 1, "the disk refused");
    assert_eq!(code(&["--version"], ""), 0);
}

#[test]
fn check_names_file_line_key_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("crosspoint.toml"), "[http]\nlisten = \"8443\"\n").unwrap();
    let (code, value) = crosspoint(at, &["check"], "");
    assert_eq!(code, 2);
    let error = &value["errors"][0];
    assert_eq!(error["file"], "crosspoint.toml");
    assert_eq!(error["line"], 2);
    assert_eq!(error["key"], "http.listen");
    assert!(error["remedy"].as_str().unwrap().contains("0.0.0.0:8443"));

    let output = run(at, &["check"], "");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("crosspoint.toml:2:10: http.listen: "), "{text}");

    std::fs::write(at.join("crosspoint.toml"), "").unwrap();
    let (code, value) = crosspoint(at, &["check"], "");
    assert_eq!((code, &value["provisioning"]), (0, &Value::Bool(false)));
    let login = "[rtcengine]\nprovisioning_user = \"portal\"\nprovisioning_password_file = \"p\"";
    std::fs::write(at.join("crosspoint.toml"), login).unwrap();
    std::fs::write(at.join("p"), "a long enough password\n").unwrap();
    let (code, value) = crosspoint(at, &["check"], "");
    assert_eq!((code, &value["provisioning"]), (0, &Value::Bool(true)));
    assert!(!value.to_string().contains("long enough"));
}

#[test]
fn init_writes_a_file_in_order_and_keeps_one_that_exists() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (code, first) = crosspoint(at, &["init"], "");
    assert_eq!(code, 0);
    assert_eq!(first["written"], true);
    assert_eq!(first["users"].as_array().unwrap().len(), 2);
    let (_, second) = crosspoint(at, &["init"], "");
    assert_eq!(second["written"], false);
    assert_eq!(second["users"].as_array().unwrap().len(), 0, "passwords are shown once");
    assert_eq!(crosspoint(at, &["check"], "").0, 0);
    assert!(at.join("crosspoint-data/certificate.pem").exists());
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_keys_and_passwords() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    crosspoint(folder.path(), &["init"], "");
    for name in ["", "key.pem", "store.db"] {
        let path = folder.path().join("crosspoint-data").join(name);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} {mode:o}", path.display());
    }
}

#[test]
fn route_test_tells_the_decision_and_every_rule() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let config = "[[trunk]]\nname = \"carrier\"\nhost = \"192.0.2.1\"\nprefixes = [\"0\"]\n\
                  strip = 1\nprepend = \"+49\"\n";
    std::fs::write(at.join("crosspoint.toml"), config).unwrap();
    crosspoint(at, &["user", "add", "alice", "--alias", "1001"], "");
    crosspoint(at, &["user", "add", "bob"], "");

    let test = |to: &str| crosspoint(at, &["route-test", "--from", "bob", "--to", to], "");
    let (code, value) = test("1001");
    assert_eq!((code, &value["outcome"]["targets"][0]["user"]), (0, &"alice".into()));
    let (code, value) = test("0301");
    assert_eq!((code, &value["outcome"]["targets"][0]["number"]), (0, &"+49301".into()));
    assert_eq!(test("600").1["outcome"]["playback"], "echo");
    let (code, value) = test("777");
    assert_eq!((code, &value["outcome"]["cause"]), (4, &"not_found".into()));
    let rules: Vec<&str> =
        value["steps"].as_array().unwrap().iter().map(|s| s["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["built-in numbers", "users", "trunk carrier", "trunks"]);

    assert_eq!(crosspoint(at, &["route-test", "--from", "eve", "--to", "1"], "").0, 3);
    assert_eq!(crosspoint(at, &["route-test", "--trunk", "carrier", "--to", "1001"], "").0, 0);
}

#[test]
fn call_records_of_a_new_installation_are_an_empty_list() {
    let folder = tempfile::tempdir().unwrap();
    let (code, value) = crosspoint(folder.path(), &["cdr", "list"], "");
    assert_eq!((code, value), (0, serde_json::json!([])));
}
