//! The loop of a media thread.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crosspoint_media::control::{Command, Event};
use crosspoint_media::shard::{Output, Shard, SocketId};
use mio::{Events, Poll};

use super::MediaReport;
use super::batch::{BATCH, Batch, Buffer, MAX_PACKET, Outgoing};
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
    batch: Batch,
    buffers: Box<[Buffer]>,
    /// The first buffer that holds no packet waiting to be sent.
    free: usize,
    /// Packets to forward, in the order they came.
    waiting: Vec<(SocketId, Outgoing)>,
    /// One socket's share of them, for a single call.
    going: Vec<Outgoing>,
    defects: u64,
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
            batch: Batch::new(),
            buffers: vec![[0; size_of::<Buffer>()]; BATCH].into_boxed_slice(),
            free: 0,
            waiting: Vec::with_capacity(BATCH),
            going: Vec::with_capacity(BATCH),
            defects: 0,
        }
    }

    /// Works until nobody can give commands any more.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        loop {
            self.flush();
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
                let socket = id_of(event.token());
                if event.token() != WAKE_UP && self.sockets.mark_unread(socket) {
                    self.unread.push_back(socket);
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
                self.guard(|shard| shard.handle_timeout(now));
            }
        }
    }

    /// Takes waiting commands; false when no more will come.
    fn obey(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(command) => {
                    self.guard(|shard| shard.handle_command(Instant::now(), command));
                    self.drain();
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Reads what a socket has, up to a bound that keeps the others waiting only shortly.
    fn read(&mut self, id: SocketId) {
        for _ in 0..CALLS_A_TURN {
            if self.free == self.buffers.len() {
                self.flush();
            }
            let Some(socket) = self.sockets.find(id) else { return };
            // Phones send a packet every 20 ms; all browsers' packets come to one socket.
            let most = if id == SocketId::BROWSER { BATCH } else { PHONE_BATCH };
            let until = self.free.saturating_add(most).min(self.buffers.len());
            let room = self.buffers.get_mut(self.free..until).unwrap_or_default();
            let wanted = room.len();
            match self.batch.receive(socket, room) {
                Ok(received) => {
                    self.take(id, received);
                    // Less than there was room for: the socket is empty.
                    if received < wanted {
                        return self.sockets.mark_read(id);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.sockets.mark_read(id);
                }
                // An ICMP answer to something that we sent; the next read goes on.
                Err(_) => {}
            }
        }
        self.unread.push_back(id);
    }

    /// Gives the shard what was just received, and keeps what is to be sent on.
    fn take(&mut self, id: SocketId, received: usize) {
        let now = Instant::now();
        let first = self.free;
        for index in 0..received {
            let Some((length, source)) = self.batch.received(index) else { continue };
            let number = first + index;
            let Some(buffer) = self.buffers.get_mut(number) else { continue };
            let shard = &mut self.shard;
            let handle = || shard.handle_datagram(now, id, source, &mut buffer[..], length);
            match catch_unwind(AssertUnwindSafe(handle)) {
                Ok(Some(forward)) => {
                    let destination = forward.destination;
                    let outgoing = Outgoing { buffer: number, len: forward.len, destination };
                    self.waiting.push((forward.socket, outgoing));
                    self.free = number + 1;
                }
                Ok(None) => {}
                Err(_) => self.defects += 1,
            }
        }
        self.drain();
    }

    /// Sends what waits, one call for each socket.
    fn flush(&mut self) {
        // Stable by the buffers, which are in the order of arrival.
        self.waiting.sort_unstable_by_key(|(socket, outgoing)| (*socket, outgoing.buffer));
        for share in self.waiting.chunk_by(|(a, _), (b, _)| a == b) {
            let Some(socket) = share.first().and_then(|(id, _)| self.sockets.find(*id)) else {
                continue;
            };
            self.going.clear();
            self.going.extend(share.iter().map(|(_, outgoing)| *outgoing));
            self.batch.send(socket, &self.going, &self.buffers);
        }
        self.waiting.clear();
        self.free = 0;
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
                    self.guard(|shard| shard.handle_bound(Instant::now(), socket, is_bound));
                }
                Output::Unbind { socket } => self.sockets.close_pair(socket),
                Output::Event(event) => (self.on_event)(event),
                Output::Timeout(deadline) => return deadline,
            }
        }
    }

    /// A defect in the shard must not end everybody's media.
    fn guard(&mut self, work: impl FnOnce(&mut Shard)) {
        if catch_unwind(AssertUnwindSafe(|| work(&mut self.shard))).is_err() {
            self.defects += 1;
        }
    }

    fn publish(&mut self, now: Instant) {
        if now.saturating_duration_since(self.reported) < REPORT_PERIOD {
            return;
        }
        self.reported = now;
        let report = MediaReport {
            legs: self.shard.legs() as u64,
            defects: self.defects,
            counters: self.shard.counters(),
        };
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }
}

// The shard relies on room behind a packet for SRTP's tag and index.
const _: () = assert!(size_of::<Buffer>() >= MAX_PACKET + 256);
/// With a whole batch each, a few hundred microseconds.
const CALLS_A_TURN: usize = 4;
const PHONE_BATCH: usize = 4;
const REPORT_PERIOD: Duration = Duration::from_millis(500);
