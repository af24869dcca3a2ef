//! Two network namespaces joined by a veth pair, for traffic that must not be on loopback.
#![allow(unsafe_code, reason = "the standard library cannot enter a namespace")]

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Removed when dropped.
pub(crate) struct Namespaces {
    ours: String,
    peers: String,
}

impl Namespaces {
    pub(crate) const OURS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
    pub(crate) const PEERS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

    /// `None` where this user may not make any; the caller says what is not tested then.
    pub(crate) fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("crosspoint-{}-{number}-{side}", std::process::id());
        let (ours, peers) = (name("ours"), name("peers"));
        if !ip(&["netns", "add", &ours]) {
            return None;
        }
        let this = Self { ours, peers };
        let (ours, peers) = (this.ours.as_str(), this.peers.as_str());
        let veth = ["link", "add", "media0", "netns", ours, "type", "veth", "peer", "name"];
        let steps: [&[&str]; 7] = [
            &["netns", "add", peers],
            &[&veth[..], &["media0", "netns", peers]].concat(),
            &["-n", ours, "addr", "add", "198.18.0.1/24", "dev", "media0"],
            &["-n", peers, "addr", "add", "198.18.0.2/24", "dev", "media0"],
            &["-n", ours, "link", "set", "lo", "up"],
            &["-n", ours, "link", "set", "media0", "up"],
            &["-n", peers, "link", "set", "media0", "up"],
        ];
        steps.iter().all(|step| ip(step)).then_some(this)
    }

    /// Runs this in our namespace; threads that it starts stay there.
    pub(crate) fn in_ours<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.ours, work)
    }

    /// Runs this where the peers are; sockets that it opens stay there.
    pub(crate) fn in_peers<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.peers, work)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.ours, &self.peers] {
            ip(&["netns", "del", name]);
        }
    }
}

fn inside<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/run/netns/{name}")).expect("a namespace of ours");
    let enter = move || {
        // SAFETY: the descriptor is open; only this thread, which ends with the work, moves.
        assert_eq!(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
        work()
    };
    std::thread::scope(|scope| scope.spawn(enter).join().expect("work without a panic"))
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).output().is_ok_and(|done| done.status.success())
}
