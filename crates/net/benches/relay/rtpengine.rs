//! rtpengine, told by its control protocol (bencode over UDP) to relay calls.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::Outcome;
use crate::browser::{Identity, Phone};
use crate::front::Front;
use crate::namespaces::Namespaces;

/// In a namespace of its own, any port is free.
const CONTROL: ([u8; 4], u16) = ([127, 0, 0, 1], 2223);
const PATIENCE: Duration = Duration::from_secs(5);

/// In user space, with one thread for packets.
pub(crate) fn arguments() -> Vec<String> {
    [
        "--config-file=none",
        "--table=-1",
        "--num-threads=1",
        &format!("--interface={}", Namespaces::OURS),
        "--listen-ng=127.0.0.1:2223",
        "--port-min=10000",
        "--port-max=60000",
        "--timeout=3600",
        "--silent-timeout=3600",
        "--foreground",
        "--log-stderr",
        "--log-level=4",
    ]
    .map(str::to_owned)
    .into()
}

/// Where it takes commands.
pub(crate) struct Control {
    socket: UdpSocket,
    cookie: u32,
}

impl Control {
    /// Waits until it answers. For the thread that is in its namespace.
    pub(crate) fn open() -> Outcome<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(SocketAddr::from(CONTROL))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let mut control = Self { socket, cookie: 0 };
        for _ in 0..100 {
            if control.ask("7:command4:ping").is_ok() {
                control.socket.set_read_timeout(Some(PATIENCE))?;
                return Ok(control);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err("rtpengine does not answer".into())
    }

    /// Joins a front that offers to a phone that answers.
    pub(crate) fn join(
        &mut self,
        identity: &Identity,
        number: u32,
        front: &mut Front,
        phone: &mut Phone,
    ) -> Outcome<()> {
        let call = format!("call{number}");
        let offer = front.describe(identity, true)?;
        let ice = if matches!(front, Front::Browser(_)) { "force" } else { "remove" };
        let reply = self.describe(&[
            ("ICE", "remove"),
            ("call-id", &call),
            ("command", "offer"),
            ("from-tag", "browser"),
            ("sdp", &offer),
            ("transport-protocol", "RTP/AVP"),
        ])?;
        phone.accept(reply.as_bytes())?;
        let answer = phone.describe()?;
        let reply = self.describe(&[
            ("ICE", ice),
            ("call-id", &call),
            ("command", "answer"),
            ("from-tag", "browser"),
            ("sdp", &answer),
            ("to-tag", "phone"),
        ])?;
        front.accept(&reply)
    }

    /// Gives the description of the reply.
    fn describe(&mut self, keys: &[(&str, &str)]) -> Outcome<String> {
        let mut message = String::new();
        for (key, value) in keys {
            message.push_str(&format!("{}:{key}{}:{value}", key.len(), value.len()));
        }
        // No RTCP port of its own for the phone, no second component for ICE.
        message.push_str("8:rtcp-muxl5:demuxe");
        let reply = self.ask(&message)?;
        strings(&reply).remove("sdp").ok_or_else(|| format!("rtpengine says {reply}").into())
    }

    fn ask(&mut self, dictionary: &str) -> Outcome<String> {
        self.cookie += 1;
        let cookie = format!("{}_{} ", std::process::id(), self.cookie);
        self.socket.send(format!("{cookie}d{dictionary}e").as_bytes())?;
        let mut buffer = vec![0; 65_536];
        loop {
            let len = self.socket.recv(&mut buffer)?;
            // What answers an earlier ping is passed over.
            if let Some(reply) = std::str::from_utf8(&buffer[..len])?.strip_prefix(&cookie) {
                return Ok(reply.to_owned());
            }
        }
    }
}

/// The strings of a flat dictionary; what else it holds ends the reading.
fn strings(dictionary: &str) -> BTreeMap<String, String> {
    let mut rest = dictionary.strip_prefix('d').unwrap_or_default();
    let mut take = || {
        let (len, more) = rest.split_once(':')?;
        let (text, more) = more.split_at_checked(len.parse().ok()?)?;
        rest = more;
        Some(text.to_owned())
    };
    let mut out = BTreeMap::new();
    while let (Some(key), Some(value)) = (take(), take()) {
        out.insert(key, value);
    }
    out
}
