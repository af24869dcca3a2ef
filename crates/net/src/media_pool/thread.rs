//! The loop of a media thread.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crosspoint_media::control::{Command, Event};
use crosspoint_media::shard::{Output, Shard, SocketId};
use mio::{Events, Poll};

use super::MediaReport;
use super::sockets::{Sockets, WAKE_UP, id_of};

pub(super) struct MediaThread<F> {
    poll: Poll,
    sockets: Sockets,
    shard: Shard,
    commands: Receiver<Command>,
    on_event: F,
    report: Arc<Mutex<MediaReport>>,
    reported: Instant,
    /// Sockets that had more to read when their turn was over.
    unread: VecDeque<SocketId>,
    buffer: Box<[u8; BUFFER]>,
}

impl<F: FnMut(Event)> MediaThread<F> {
    pub(super) fn new(
        poll: Poll,
        sockets: Sockets,
        shard: Shard,
        commands: Receiver<Command>,
        on_event: F,
        report: Arc<Mutex<MediaReport>>,
    ) -> Self {
        Self {
            poll,
            sockets,
            shard,
            commands,
            on_event,
            report,
            reported: Instant::now(),
            unread: VecDeque::new(),
            buffer: Box::new([0; BUFFER]),
        }
    }

    /// Works until nobody can give commands any more.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        loop {
            let deadline = self.drain();
            let now = Instant::now();
            self.publish(now);
            let wait = if self.unread.is_empty() {
                let until = deadline.map(|at| at.saturating_duration_since(now));
                until.unwrap_or(REPORT_PERIOD).min(REPORT_PERIOD)
            } else {
                Duration::ZERO
            };
            match self.poll.poll(&mut events, Some(wait)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "media cannot wait for packets");
                    return;
                }
            }
            for event in &events {
                if event.token() != WAKE_UP {
                    let socket = id_of(event.token());
                    if !self.unread.contains(&socket) {
                        self.unread.push_back(socket);
                    }
                }
            }
            if !self.obey() {
                return;
            }
            for _ in 0..self.unread.len() {
                if let Some(socket) = self.unread.pop_front() {
                    self.read(socket);
                }
            }
            let now = Instant::now();
            if deadline.is_some_and(|at| at <= now) {
                self.shard.handle_timeout(now);
            }
        }
    }

    /// Takes waiting commands; false when no more will come.
    fn obey(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(command) => {
                    self.shard.handle_command(Instant::now(), command);
                    self.drain();
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Reads what a socket has, up to a bound that keeps the others waiting only shortly.
    fn read(&mut self, id: SocketId) {
        for _ in 0..PACKETS_A_TURN {
            let Some(socket) = self.sockets.find(id) else { return };
            let room = &mut self.buffer[..MAX_PACKET];
            let (length, source) = match socket.recv_from(room) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP answer to something that we sent; the next read goes on.
                Err(_) => continue,
            };
            let now = Instant::now();
            let forward = self.shard.handle_datagram(now, id, source, &mut self.buffer[..], length);
            if let Some(forward) = forward
                && let Some(bytes) = self.buffer.get(..forward.len)
            {
                self.sockets.send(forward.socket, forward.destination, bytes);
            }
            self.drain();
        }
        self.unread.push_back(id);
    }

    /// Does what the shard wants; gives its next deadline.
    fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.shard.poll_output() {
                Output::Transmit { socket, destination, bytes } => {
                    self.sockets.send(socket, destination, &bytes);
                }
                Output::Bind { socket, address } => {
                    let is_bound = self.sockets.open_pair(socket, address);
                    self.shard.handle_bound(Instant::now(), socket, is_bound);
                }
                Output::Unbind { socket } => self.sockets.close_pair(socket),
                Output::Event(event) => (self.on_event)(event),
                Output::Timeout(deadline) => return deadline,
            }
        }
    }

    fn publish(&mut self, now: Instant) {
        if now.saturating_duration_since(self.reported) < REPORT_PERIOD {
            return;
        }
        self.reported = now;
        let report =
            MediaReport { legs: self.shard.legs() as u64, counters: self.shard.counters() };
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }
}

/// Nothing larger comes over a path without jumbo frames; longer datagrams are cut and fail.
const MAX_PACKET: usize = 2048;
/// Room behind a packet for SRTP's tag and index.
const BUFFER: usize = MAX_PACKET + 256;
const PACKETS_A_TURN: usize = 64;
const REPORT_PERIOD: Duration = Duration::from_millis(500);
