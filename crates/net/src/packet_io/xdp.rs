//! `AF_XDP`: media packets of one interface without the IP stack, in and out.
//!
//! An XDP program gives UDP packets to our own ports and addresses to one socket for each queue of
//! the interface; everything else goes on into the kernel. What comes or leaves by other
//! interfaces, and what the kernel's tables have no next hop for, takes the way of [`SteeredIo`].

#![allow(unsafe_code, reason = "frames are memory shared with the kernel")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crosspoint_media::shard::{BATCH, Forward, Frame, SocketId};

use super::bpf::{self, Attached, XdpMode};
use super::epoll::{Poller, Ready};
use super::header::{self, HEADERS};
use super::mmsg::{Name, Outgoing};
use super::steered::{SteeredIo, Way};
use super::umem::{Chunk, Queue};
use super::{IoConfig, PacketIo, Unavailable};

pub(super) struct XdpIo {
    rest: SteeredIo,
    interface: u32,
    /// Dropped before the queues that it sends to.
    _program: Attached,
    queues: Vec<Queue>,
    /// The chunks of the last receiving, in the order of their frames; `None` once sent.
    held: Vec<Option<(usize, Chunk)>>,
}

impl XdpIo {
    pub(super) fn open(config: &IoConfig, browser: UdpSocket) -> Result<Self, Unavailable> {
        let mut rest = SteeredIo::open(config, browser)?;
        let (interface, addresses) = interface(config, &mut rest)?;
        let mut queues = vec![
            Queue::open(interface, 0).map_err(Unavailable::to("open an AF_XDP socket", NEED))?,
        ];
        // The interface says how many it could have, not how many it has: the first that it has
        // not ends the list.
        while queues.len() < MAX_QUEUES
            && let Ok(queue) = Queue::open(interface, queues.len() as u32)
        {
            queues.push(queue);
        }
        let sockets: Vec<_> = queues.iter().map(Queue::as_raw_fd).collect();
        // A program behind the driver is hardly faster than sockets: only for who asks for it.
        let modes = [XdpMode::Driver, XdpMode::Generic];
        let modes = if config.kind.is_some() { &modes[..] } else { &modes[..1] };
        let program = bpf::redirect(&rest.ports, &sockets, &addresses, interface, modes)
            .map_err(Unavailable::to("attach an XDP program to the driver", NEED))?;
        for (queue, token) in queues.iter().zip(QUEUES..) {
            let error = |error| Unavailable::because(format!("cannot wait: {error}"));
            rest.epoll.add(queue.as_fd(), token).map_err(error)?;
        }
        rest.ports.set(rest.browser_address().port(), true);
        let held = Vec::with_capacity(BATCH);
        Ok(Self { rest, interface, _program: program, queues, held })
    }

    /// Whether it could be opened, without telling a driver: some pause their interface for a
    /// program.
    pub(super) fn probe(config: &IoConfig, browser: UdpSocket) -> Result<(), Unavailable> {
        let mut rest = SteeredIo::open(config, browser)?;
        interface(config, &mut rest)?;
        Queue::prepare().map_err(Unavailable::to("open an AF_XDP socket", NEED))?;
        bpf::can_redirect(&rest.ports).map_err(Unavailable::to("load an XDP program", NEED))
    }

    /// Sends one frame from its chunk, by whatever way there is.
    fn forward_one(&mut self, now: Instant, forward: &Forward) {
        let Forward { frame, socket, destination, len } = *forward;
        let Some(Some((number, chunk))) = self.held.get(frame).copied() else { return };
        let way = self.rest.way(now, socket, destination, len);
        let Some(queue) = self.queues.get_mut(number) else { return };
        // SAFETY: the chunk is held, so it is ours; the frame that referred to it was given back
        // before packets are forwarded.
        let bytes = unsafe { queue.bytes(chunk) };
        let Some(bytes) = bytes.get_mut(..HEADERS + len) else { return };
        let Some(Way { link, source, destination: to }) = way else {
            let payload = bytes.get(HEADERS..).unwrap_or_default();
            return self.rest.send_plain(socket, destination, payload);
        };
        header::write(bytes, &link, source, to);
        if link.interface != self.interface {
            let destination = Name::interface(link.interface);
            return self.rest.send_raw(&[Outgoing { bytes, destination }]);
        }
        if queue.send(chunk, HEADERS + len)
            && let Some(held) = self.held.get_mut(frame)
        {
            *held = None;
        }
    }
}

/// The interface that media comes to, and the addresses of ours that it may come to. It is the one
/// with an address that phones are told; behind a NAT, where no interface has that, only who asks
/// for XDP by name gets the one that strangers are reached by.
fn interface(config: &IoConfig, rest: &mut SteeredIo) -> Result<(u32, Vec<Ipv4Addr>), Unavailable> {
    let own = rest.addresses();
    let is_on = |ip: &IpAddr| own.iter().find(|(_, own)| IpAddr::V4(*own) == *ip).map(|o| o.0);
    let bound = [config.rtp_bind, config.browser_listen.ip()];
    let named = bound.iter().chain(&config.addresses).filter(|ip| !ip.is_loopback());
    let mut interface = named.filter_map(is_on).next();
    if config.kind.is_some() {
        interface = interface.or_else(|| rest.default_interface());
    }
    let none = || Unavailable::because("no network interface has an address that media comes to");
    let interface = interface.ok_or_else(none)?;
    let is_bound = |ip: &Ipv4Addr| {
        bound.iter().any(IpAddr::is_unspecified) || bound.contains(&IpAddr::V4(*ip))
    };
    let on_it = own.iter().filter(|(index, _)| *index == interface).map(|(_, ip)| *ip);
    let addresses: Vec<Ipv4Addr> = on_it.filter(is_bound).take(MAX_ADDRESSES).collect();
    if addresses.is_empty() { Err(none()) } else { Ok((interface, addresses)) }
}

impl PacketIo for XdpIo {
    fn poller(&self) -> Poller {
        self.rest.epoll.poller()
    }

    fn receive<'f>(&'f mut self, ready: &Ready, frames: &mut Vec<Frame<'f>>) {
        let Self { rest, queues, held, .. } = self;
        for (number, chunk) in held.drain(..).flatten() {
            if let Some(queue) = queues.get_mut(number) {
                queue.give_back(chunk);
            }
        }
        // A part of the batch stays for what comes through the kernel.
        let share = (BATCH - BATCH / 8) / queues.len().max(1);
        for (number, queue) in queues.iter_mut().enumerate() {
            queue.refill();
            for _ in 0..share.max(1) {
                let Some(chunk) = queue.receive() else { break };
                // SAFETY: the chunk has just become ours, and the kernel gives each chunk once
                // until it is given back.
                let bytes = unsafe { queue.bytes(chunk) };
                let whole = bytes.get(..chunk.len).and_then(header::parse);
                let found = whole.and_then(|w| Some((w, rest.id_of(w.destination.port())?)));
                // What nobody here wants is an empty frame, and given back with the others.
                let frame = found.map_or_else(Frame::empty, |(parsed, socket)| Frame {
                    socket,
                    source: SocketAddr::V4(parsed.source),
                    buffer: bytes.get_mut(HEADERS..).unwrap_or_default(),
                    len: parsed.len,
                    waited: Duration::ZERO,
                });
                frames.push(frame);
                held.push(Some((number, chunk)));
            }
        }
        rest.receive_rest(ready, frames);
    }

    fn forward(&mut self, now: Instant, forwards: &[Forward]) {
        let first = self.held.len();
        let mut others = false;
        for forward in forwards {
            if forward.frame < first {
                self.forward_one(now, forward);
            } else {
                others = true;
            }
        }
        for queue in &mut self.queues {
            queue.kick();
        }
        if others {
            self.rest.forward_from(now, first, forwards);
        }
    }

    fn transmit(&mut self, now: Instant, socket: SocketId, destination: SocketAddr, bytes: &[u8]) {
        self.rest.transmit(now, socket, destination, bytes);
    }

    fn open_pair(&mut self, socket: SocketId, address: SocketAddr) -> bool {
        self.rest.open_pair(socket, address)
    }

    fn close_pair(&mut self, socket: SocketId) {
        self.rest.close_pair(socket);
    }

    fn connect(&mut self, socket: SocketId, remote: Option<SocketAddr>) {
        self.rest.connect(socket, remote);
    }

    fn time_browsers(&mut self) {
        self.rest.time_browsers();
    }
}

const NEED: &str = "CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF";
/// Tokens of the queues, from here on.
const QUEUES: u64 = 0;
const MAX_QUEUES: usize = 32;
/// Each costs the program one comparison.
const MAX_ADDRESSES: usize = 16;
