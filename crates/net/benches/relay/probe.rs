//! When packets come out of a server, as the kernel saw it: for the delay that it adds.
#![allow(unsafe_code, reason = "the standard library knows neither filters nor arrival times")]

use std::collections::VecDeque;
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::{Duration, SystemTime};

use socket2::{Domain, Protocol, Socket, Type};

use crate::Outcome;
use crate::namespaces::Namespaces;

/// Listens to what leaves the server for some of the parties. For the thread that is where they
/// are.
pub(crate) struct Probe {
    socket: Socket,
    streams: Vec<Stream>,
}

/// What goes to one party.
struct Stream {
    port: u16,
    /// Number and time of what was sent on its way.
    sent: VecDeque<(u16, Duration)>,
    /// What the server adds to numbers.
    shift: Option<u16>,
}

impl Probe {
    pub(crate) fn new(ports: &[u16]) -> Outcome<Self> {
        let protocol = Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        set(&socket, libc::SO_ATTACH_FILTER, &program(&filter(ports)))?;
        set(&socket, libc::SO_RCVBUFFORCE, &(64_i32 << 20))?;
        set(&socket, libc::SO_TIMESTAMPNS, &1_i32)?;
        let stream = |port: &u16| Stream { port: *port, sent: VecDeque::new(), shift: None };
        Ok(Self { socket, streams: ports.iter().map(stream).collect() })
    }

    /// A packet of this number is sent now, and comes out for the party at `port`.
    pub(crate) fn sent(&mut self, port: u16, seq: u16) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.port == port) {
            stream.sent.push_back((seq, since_epoch(SystemTime::now())));
        }
    }

    /// How long each packet took that was sent after that time.
    pub(crate) fn delays(mut self, after: SystemTime) -> Vec<Duration> {
        let after = since_epoch(after);
        let mut out = Vec::new();
        while let Some((port, seq, at)) = self.next() {
            let Some(stream) = self.streams.iter_mut().find(|s| s.port == port) else { continue };
            let Some((first, _)) = stream.sent.front() else { continue };
            let shift = *stream.shift.get_or_insert(seq.wrapping_sub(*first));
            let number = seq.wrapping_sub(shift);
            let Some(place) = stream.sent.iter().position(|(n, _)| *n == number) else { continue };
            // What was passed over got lost.
            if let Some((_, sent)) = stream.sent.drain(..=place).next_back()
                && sent >= after
            {
                out.push(at.saturating_sub(sent));
            }
        }
        out
    }

    /// Destination port, number and time of the next packet.
    fn next(&self) -> Option<(u16, u16, Duration)> {
        let (mut packet, mut control) = ([0_u8; 64], [0_u64; 8]);
        let mut vector = libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: 64 };
        // SAFETY: a C structure of numbers and pointers, for which zero is valid.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: the message points to a vector and to room for control messages, each with its
        // true size and alive during the call.
        let len = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        if len < 46 {
            return None;
        }
        // SAFETY: the kernel has filled the message, and said how long its control part is.
        let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        if header.is_null() {
            return None;
        }
        // SAFETY: the only control message that was asked for is a time.
        let time = unsafe { libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned() };
        let at = Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).ok()?);
        let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        Some((number(PORT as usize), number(SEQ as usize), at))
    }
}

/// RTP from the server to one of these ports.
fn filter(ports: &[u16]) -> Vec<libc::sock_filter> {
    let load = (libc::BPF_LD | libc::BPF_ABS) as u16;
    let (word, half) = (load | libc::BPF_W as u16, load | libc::BPF_H as u16);
    let is = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let give = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let count = ports.len() as u8;
    let mut steps = vec![
        step(word, 0, 0, SOURCE),
        step(is, 0, count + 1, u32::from(Namespaces::OURS)),
        step(half, 0, 0, PORT),
    ];
    for (place, port) in (0..count).zip(ports) {
        steps.push(step(is, count - place, 0, u32::from(*port)));
    }
    steps.extend([step(give, 0, 0, 0), step(give, 0, 0, 64)]);
    steps
}

fn program(steps: &[libc::sock_filter]) -> libc::sock_fprog {
    libc::sock_fprog { len: steps.len() as u16, filter: steps.as_ptr().cast_mut() }
}

fn set<T>(socket: &Socket, option: libc::c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    let value = ptr::from_ref(value).cast();
    // SAFETY: the value has the length that is told, and what it points to outlives the call.
    let done =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Places in a frame: the address of IPv4, the port of UDP, the number of RTP.
const SOURCE: u32 = 26;
const PORT: u32 = 36;
const SEQ: u32 = 44;
