//! Servers under measurement: pinned to one core, ended with the bench.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::Outcome;

/// Longer than anything here takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Of all users of a gateway here.
pub(crate) const PASSWORD: &str = "only-for-this-bench";

/// The core that servers have for themselves; the load runs on the others.
const SERVER_CORE: &str = "0";

/// A program of ours, killed when dropped.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts a program on the servers' core.
    pub(crate) fn start(program: &str, arguments: &[&str], log: &Path) -> Outcome<Self> {
        let log = fs::File::create(log)?;
        let child = Command::new("taskset")
            .args(["-c", SERVER_CORE, program])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { child })
    }

    /// Processor time so far, of all its threads and children.
    pub(crate) fn spent(&self) -> Duration {
        let ids = family(self.child.id());
        Duration::from_nanos(ids.into_iter().map(nanoseconds).sum())
    }

    /// Bytes in memory, of all its processes.
    pub(crate) fn memory(&self) -> u64 {
        family(self.child.id()).into_iter().map(resident).sum()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Kamailio and rtpengine end their children when asked; then nobody needs to be asked.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process and all that it started.
fn family(id: u32) -> Vec<u32> {
    let mut out = vec![id];
    let mut at = 0;
    while let Some(id) = out.get(at).copied() {
        at += 1;
        for task in tasks(id) {
            let children = fs::read_to_string(task.join("children")).unwrap_or_default();
            out.extend(children.split_whitespace().filter_map(|c| c.parse::<u32>().ok()));
        }
    }
    out
}

fn tasks(id: u32) -> Vec<PathBuf> {
    let folder = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten();
    folder.filter_map(Result::ok).map(|entry| entry.path()).collect()
}

/// Time on a processor, to the nanosecond, of all threads that live.
fn nanoseconds(id: u32) -> u64 {
    let of_task = |task: PathBuf| {
        let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    tasks(id).into_iter().map(of_task).sum()
}

fn resident(id: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("RssAnon:"));
    let kibibytes = line.and_then(|l| l.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// The binary that `CROSSPOINT_BIN` names, or the one that was built with this bench.
fn binary() -> String {
    std::env::var("CROSSPOINT_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_crosspoint").to_owned())
}

/// The gateway on free ports in a folder of its own.
pub(crate) struct Gateway {
    pub(crate) server: Server,
    pub(crate) folder: TempDir,
    ready: Value,
}

impl Gateway {
    /// `config` is added to loopback listeners on free ports. There are users from `user0` on,
    /// all with the same password.
    pub(crate) fn start(config: &str, users: u32) -> Outcome<Self> {
        Self::start_with(RELAYED, config, users)
    }

    /// The same with other words on the media of phones.
    pub(crate) fn start_with(media: &str, config: &str, users: u32) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("crosspoint.toml");
        fs::write(&file, format!("{}{config}", CONFIG.replace("@MEDIA@", media)))?;
        let (log, data) = (folder.path().join("log"), folder.path().join("data"));
        fs::write(folder.path().join("password"), PASSWORD)?;
        for number in 0..users {
            let added = Command::new(binary())
                .args(["user", "add", &format!("user{number}"), "--password-stdin"])
                .args(["--config", text(&file), "--data", text(&data)])
                .stdin(fs::File::open(folder.path().join("password"))?)
                .stdout(Stdio::null())
                .status()?;
            if !added.success() {
                return Err("no user could be added".into());
            }
        }
        let arguments = ["run", "--json", "--config", text(&file), "--data", text(&data)];
        let mut server = Server::start(&binary(), &arguments, &log)?;
        let ready = await_line(&mut server, &log, "\"ready\"")?;
        Ok(Self { server, folder, ready: serde_json::from_str(&ready)? })
    }

    pub(crate) fn address(&self, kind: &str) -> Outcome<SocketAddr> {
        let listeners = self.ready["listeners"].as_array().ok_or("no listeners")?;
        let found = listeners.iter().find(|l| l["kind"] == kind).ok_or("no such listener")?;
        Ok(found["address"].as_str().ok_or("no address")?.parse()?)
    }
}

/// Waits until a line of the log holds this; gives the line.
pub(crate) fn await_line(server: &mut Server, log: &Path, wanted: &str) -> Outcome<String> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE && server.is_running() {
        let lines = BufReader::new(fs::File::open(log)?).lines().map_while(Result::ok);
        if let Some(line) = lines.into_iter().find(|l| l.contains(wanted)) {
            return Ok(line);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("no {wanted} in the log:\n{}", fs::read_to_string(log)?).into())
}

/// A UDP and TCP port on loopback that nobody uses.
pub(crate) fn free_port() -> Outcome<u16> {
    loop {
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// Media of phones comes through us.
pub(crate) const RELAYED: &str = "rtp_ports = \"10000-29999\"";
const CONFIG: &str = r#"
[http]
listen = "127.0.0.1:0"
[log]
level = "warn"
[media]
addresses = ["127.0.0.1"]
listen = "127.0.0.1"
browser_listen = "127.0.0.1:0"
@MEDIA@
[[listener]]
transport = "udp"
address = "127.0.0.1:0"
[[listener]]
transport = "ws"
address = "127.0.0.1:0"
[[listener]]
transport = "wss"
address = "127.0.0.1:0"
[limits]
calls = 100000
transactions = 1000000
connections = 100000
connections_per_address = 100000
contacts_per_user = 10
"#;
