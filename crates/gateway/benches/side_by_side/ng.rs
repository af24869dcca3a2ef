//! rtpengine, told by its control protocol (bencode over UDP) to relay calls.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};

use crate::Outcome;
use crate::browser::{Browser, Identity, Phone};
use crate::process::{PATIENCE, Server, await_line, free_port};

pub(crate) struct Rtpengine {
    pub(crate) server: Server,
    pub(crate) control: Control,
    _folder: tempfile::TempDir,
}

/// Where it takes commands.
pub(crate) struct Control {
    socket: UdpSocket,
    address: SocketAddr,
    cookie: u32,
}

impl Rtpengine {
    /// In user space with one thread for packets, as its own documentation names it.
    pub(crate) fn start() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("log");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let listen = format!("--listen-ng={address}");
        let arguments = [
            "--config-file=none",
            "--table=-1",
            "--num-threads=1",
            "--interface=127.0.0.1",
            &listen,
            "--port-min=20000",
            "--port-max=29999",
            "--foreground",
            "--log-stderr",
            "--log-level=6",
        ];
        let mut server = Server::start("rtpengine", &arguments, &log)?;
        await_line(&mut server, &log, "Startup complete")?;
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { server, control: Control { socket, address, cookie: 0 }, _folder: folder })
    }
}

impl Control {
    /// Joins a browser that offers to a phone that answers.
    pub(crate) fn join(
        &mut self,
        identity: &Identity,
        number: u32,
        browser: &mut Browser,
        phone: &mut Phone,
    ) -> Outcome<()> {
        let (call, from, to) = (format!("call{number}"), "browser", "phone");
        let offer = browser.describe(identity, true);
        let reply = self.ask(&[
            ("ICE", "remove"),
            ("call-id", &call),
            ("command", "offer"),
            ("from-tag", from),
            ("sdp", &offer),
            ("transport-protocol", "RTP/AVP"),
        ])?;
        phone.accept(reply.as_bytes())?;
        let answer = phone.describe()?;
        let reply = self.ask(&[
            ("ICE", "force"),
            ("call-id", &call),
            ("command", "answer"),
            ("from-tag", from),
            ("sdp", &answer),
            ("to-tag", to),
        ])?;
        browser.accept(reply.as_bytes())
    }

    /// Gives the description of the reply.
    fn ask(&mut self, keys: &[(&str, &str)]) -> Outcome<String> {
        self.cookie += 1;
        let mut message = format!("{}_{} d", std::process::id(), self.cookie);
        for (key, value) in keys {
            message.push_str(&format!("{}:{key}{}:{value}", key.len(), value.len()));
        }
        // No RTCP port of its own for the phone, no second component for ICE.
        message.push_str("8:rtcp-muxl5:demuxee");
        self.socket.send_to(message.as_bytes(), self.address)?;
        let mut buffer = vec![0; 65_536];
        let len = self.socket.recv(&mut buffer)?;
        let text = std::str::from_utf8(&buffer[..len])?;
        let (_, dictionary) = text.split_once(' ').ok_or("a reply without a cookie")?;
        let mut reply = strings(dictionary);
        reply.remove("sdp").ok_or_else(|| format!("rtpengine says {text}").into())
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
