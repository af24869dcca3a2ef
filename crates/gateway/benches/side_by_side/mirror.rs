//! The bare limit of calls over UDP: a program that passes each datagram on to the other side unread. What it
//! spends is the kernel's alone, and nobody who forwards these messages one by one can spend less.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;

use crate::Outcome;
use crate::process::{Server, await_line, free_port, text};

/// The name of what runs as a server of its own.
pub(crate) const MIRROR: &str = "mirror";

/// A mirror between whoever calls and the phone at this port, with its own port.
pub(crate) fn start(callee: u16, folder: &Path) -> Outcome<(Server, u16)> {
    let (port, log) = (free_port()?, folder.join("mirror.log"));
    let program = std::env::current_exe()?;
    let ports = [port, callee].map(|port| port.to_string());
    let mut server = Server::start(text(&program), &[MIRROR, &ports[0], &ports[1]], &log)?;
    await_line(&mut server, &log, "ready")?;
    Ok((server, port))
}

/// Runs until it is killed.
pub(crate) fn run() -> Outcome<()> {
    let mut ports = std::env::args().skip(2).map(|port| port.parse::<u16>());
    let (Some(port), Some(callee)) = (ports.next(), ports.next()) else {
        return Err("its own port and the phone's are wanted".into());
    };
    let callee = SocketAddr::from(([127, 0, 0, 1], callee?));
    let socket = UdpSocket::bind(("127.0.0.1", port?))?;
    println!("ready");
    let (mut buffer, mut caller) = (vec![0; 65_536], None);
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        let to = if from == callee { caller } else { Some(callee) };
        if from != callee {
            caller = Some(from);
        }
        if let Some(to) = to {
            socket.send_to(&buffer[..length], to)?;
        }
    }
}
