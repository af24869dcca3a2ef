//! A built binary that runs on ports of its own, in a folder of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// Stopped when dropped.
pub(crate) struct Gateway {
    child: Child,
    folder: TempDir,
    ready: Value,
}

impl Gateway {
    /// Starts with loopback listeners on free ports; `config` is added to that.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), config)
    }

    /// The same in a folder that has what `config` needs.
    pub(crate) fn start_with(folder: TempDir, config: &str) -> Self {
        std::fs::write(folder.path().join("crosspoint.toml"), format!("{CONFIG}{config}")).unwrap();
        Self::start_in(folder)
    }

    /// Stops it and starts it again with one more line in `[http]`.
    pub(crate) fn restart(self, http: &str) -> Self {
        let (_, folder) = self.stop();
        let config = CONFIG.replace("tls = false", &format!("tls = false\n{http}"));
        std::fs::write(folder.path().join("crosspoint.toml"), config).unwrap();
        Self::start_in(folder)
    }

    /// The same, with its log in a file.
    pub(crate) fn start_logging(folder: TempDir, config: &str, log: std::fs::File) -> Self {
        std::fs::write(folder.path().join("crosspoint.toml"), format!("{CONFIG}{config}")).unwrap();
        Self::start_as(folder, log.into())
    }

    /// Starts in a folder that has its configuration already.
    pub(crate) fn start_in(folder: TempDir) -> Self {
        Self::start_as(folder, Stdio::inherit())
    }

    fn start_as(folder: TempDir, log: Stdio) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_crosspoint"))
            .args(["run", "--json"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(log)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready: {line}"));
        Self { child, folder, ready }
    }

    pub(crate) fn ready(&self) -> &Value {
        &self.ready
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn address(&self, kind: &str) -> SocketAddr {
        let listeners = self.ready["listeners"].as_array().unwrap();
        let found = listeners.iter().find(|l| l["kind"] == kind);
        let found = found.unwrap_or_else(|| panic!("no {kind} in {}", self.ready));
        found["address"].as_str().unwrap().parse().unwrap()
    }

    /// Requests a path over plain HTTP; gives status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address("http")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        (status, text.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    /// Runs another command beside it; gives its JSON.
    pub(crate) fn command(&self, arguments: &[&str]) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_crosspoint"))
            .args(arguments)
            .arg("--json")
            .current_dir(self.folder())
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Asks it to stop; gives its exit code and its folder.
    pub(crate) fn stop(self) -> (Option<i32>, TempDir) {
        self.signal("-TERM");
        self.wait()
    }

    /// Waits for its end; gives its exit code and its folder.
    pub(crate) fn wait(mut self) -> (Option<i32>, TempDir) {
        let code = self.child.wait().unwrap().code();
        (code, std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap()))
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Longer than anything here takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const CONFIG: &str = r#"
[http]
listen = "127.0.0.1:0"
tls = false
[media]
addresses = ["127.0.0.1"]
listen = "127.0.0.1"
browser_listen = "127.0.0.1:0"
[[listener]]
transport = "udp"
address = "127.0.0.1:0"
[[listener]]
transport = "tcp"
address = "127.0.0.1:0"
[[listener]]
transport = "tls"
address = "127.0.0.1:0"
"#;
