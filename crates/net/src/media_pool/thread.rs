//! The loop of a media thread, and what it works on.
//!
//! While the thread waits for packets, who has a command may carry it out himself ([`Work::do_now`]):
//! that is cheaper than to wake the thread and be woken by it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crosspoint_media::control::{Command, Event};
use crosspoint_media::shard::{BATCH, Forward, Frame, Output, Shard};

use super::MediaReport;
use super::codecs::Codecs;
use super::handshakes::Handshakes;
use super::links::{Letter, LinksOfThread};
use super::queues::Mailbox;
use crate::packet_io::{Gathering, PacketIo, Poller, Ready};

/// What a media thread works on, which is shared with those who have commands for it.
pub(super) struct Work {
    io: Box<dyn PacketIo>,
    links: LinksOfThread,
    shard: Shard,
    commands: Mailbox<Command>,
    has_commands: bool,
    workers: Workers,
    report: Arc<Mutex<MediaReport>>,
    reported: Instant,
    /// What the shard made of a batch; empty between calls.
    forwards: Vec<Forward>,
    defects: u64,
    deadline: Option<Instant>,
    /// Until when the thread waits for packets; `None` while it works.
    waits_until: Option<Instant>,
}

/// Takes what media control says.
pub(super) type Told<'t> = &'t mut dyn FnMut(Event);

/// Works until nobody can give commands any more. The lock is held for each turn, not in between.
pub(super) fn run(shared: &Mutex<Work>, poller: &Poller, mut on_event: impl FnMut(Event)) {
    let told: Told<'_> = &mut on_event;
    // Holds nothing between turns; only its memory is kept.
    let mut frames: Vec<Frame<'static>> = Vec::with_capacity(BATCH);
    let mut gathering = Gathering::default();
    let mut ready = poller.room();
    loop {
        let wait = lock(shared).rest(told);
        if let Err(error) = poller.wait(wait, &mut ready) {
            tracing::error!(%error, "media cannot wait for packets");
            return;
        }
        let turn = lock(shared).turn(&ready, frames, told);
        let Some((now, spare, received)) = turn else { return };
        frames = spare;
        gathering.pause(now, received);
    }
}

fn lock(shared: &Mutex<Work>) -> MutexGuard<'_, Work> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Work {
    pub(super) fn new(
        io: Box<dyn PacketIo>,
        links: LinksOfThread,
        mut shard: Shard,
        commands: Mailbox<Command>,
        workers: Workers,
        report: Arc<Mutex<MediaReport>>,
    ) -> Self {
        if workers.codecs.is_some() {
            shard.defer_codecs();
        }
        let (reported, forwards) = (Instant::now(), Vec::with_capacity(BATCH));
        Self {
            io,
            links,
            shard,
            commands,
            has_commands: false,
            workers,
            report,
            reported,
            forwards,
            defects: 0,
            deadline: None,
            waits_until: None,
        }
    }

    /// Does what is left to do; gives for how long the thread may wait.
    fn rest(&mut self, told: Told<'_>) -> Duration {
        let now = Instant::now();
        self.run_codecs(now);
        self.deadline = self.drain(now, told);
        self.publish(now);
        let until = self.deadline.map_or(REPORT_PERIOD, |at| at.saturating_duration_since(now));
        let is_busy =
            self.has_commands || self.links.has_more() || self.workers.handshakes.has_more();
        let wait = if is_busy { Duration::ZERO } else { until.min(REPORT_PERIOD) };
        self.waits_until = Some(now + wait);
        wait
    }

    /// Works on all that has come; gives when that was done and how many packets there were, with
    /// the memory of their frames. `None` when nobody is left who could command.
    fn turn(
        &mut self,
        ready: &Ready,
        spare: Vec<Frame<'static>>,
        told: Told<'_>,
    ) -> Option<(Instant, Vec<Frame<'static>>, usize)> {
        self.waits_until = None;
        self.has_commands = match self.obey(told) {
            Obedience::Done => false,
            Obedience::MoreToDo => true,
            Obedience::Over => return None,
        };
        let (spare, received) = self.relay(ready, spare);
        self.shake_hands(told);
        self.hear_links(told);
        let now = Instant::now();
        if self.deadline.is_some_and(|at| at <= now) {
            self.guard(|shard| shard.handle_timeout(now));
        }
        Some((now, spare, received))
    }

    /// Carries out the commands that wait, in the thread's place; true when the thread has to be
    /// woken, for the rest or because it would wait too long.
    pub(super) fn do_now(&mut self, told: Told<'_>) -> bool {
        let obedience = self.obey(told);
        self.deadline = self.drain(Instant::now(), told);
        let is_late = |at| self.deadline.is_some_and(|deadline| deadline < at);
        !matches!(obedience, Obedience::Done) || self.waits_until.is_some_and(is_late)
    }

    pub(super) fn set_max_legs(&mut self, most: usize) {
        self.guard(|shard| shard.set_max_legs(most));
    }

    /// Takes back connections that were worked on; each has some packets to send.
    fn shake_hands(&mut self, told: Told<'_>) {
        for _ in 0..HANDSHAKES_A_TURN {
            let Some(done) = self.workers.handshakes.take() else { return };
            let now = Instant::now();
            self.guard(|shard| shard.handle_handshake(now, done));
            self.drain(now, told);
        }
    }

    /// Gives workers what is to be done, and the shard what was.
    fn run_codecs(&mut self, now: Instant) {
        let Some(codecs) = &mut self.workers.codecs else { return };
        let shard = &mut self.shard;
        let work = || {
            let defects = codecs.bring_back(now, shard);
            codecs.give(shard);
            defects
        };
        self.defects += catch_unwind(AssertUnwindSafe(work)).unwrap_or(1);
    }

    /// Takes waiting commands, up to a bound that keeps packets waiting only shortly.
    fn obey(&mut self, told: Told<'_>) -> Obedience {
        for _ in 0..COMMANDS_A_TURN {
            // Asked first: what was posted before the last one was gone is still carried out.
            let is_abandoned = self.commands.is_abandoned();
            let Some(command) = self.commands.next() else {
                return if is_abandoned { Obedience::Over } else { Obedience::Done };
            };
            let now = Instant::now();
            self.guard(|shard| shard.handle_command(now, command));
            self.drain(now, told);
        }
        Obedience::MoreToDo
    }

    /// Gives the shard what has come, and sends what it makes of it; gives how many frames came.
    fn relay(&mut self, ready: &Ready, spare: Vec<Frame<'static>>) -> (Vec<Frame<'static>>, usize) {
        let mut frames = recycled(spare);
        self.io.receive(ready, &mut frames);
        let (received, now) = (frames.len(), Instant::now());
        if !frames.is_empty() {
            let (shard, forwards) = (&mut self.shard, &mut self.forwards);
            let handle = || shard.handle_batch(now, &mut frames, forwards);
            if catch_unwind(AssertUnwindSafe(handle)).is_err() {
                self.defects += 1;
            }
        }
        self.links.divert(now, &mut self.forwards, &frames);
        let spare = recycled(frames);
        if !self.forwards.is_empty() {
            self.io.forward(now, &self.forwards);
            self.forwards.clear();
        }
        (spare, received)
    }

    /// Gives the shard what has come over links, up to a bound as for commands.
    fn hear_links(&mut self, told: Told<'_>) {
        for _ in 0..BATCH {
            let Some(letter) = self.links.next() else { return };
            let now = Instant::now();
            match letter {
                Letter::Opened(socket, end) => self.links.add(socket, end),
                Letter::Closed(socket) => {
                    self.links.remove(socket);
                    self.guard(|shard| shard.handle_closed(now, socket));
                }
                Letter::Packet { socket, source, len, mut buffer, _place } => {
                    let (shard, forwards) = (&mut self.shard, &mut self.forwards);
                    let mut frame = [Frame {
                        socket,
                        source,
                        buffer: &mut buffer,
                        len,
                        waited: Duration::ZERO,
                    }];
                    let handle = || shard.handle_batch(now, &mut frame, forwards);
                    if catch_unwind(AssertUnwindSafe(handle)).is_err() {
                        self.defects += 1;
                    }
                    self.links.divert(now, &mut self.forwards, &frame);
                    for forward in self.forwards.drain(..) {
                        if let Some(bytes) = frame[0].buffer.get(..forward.len) {
                            self.io.transmit(now, forward.socket, forward.destination, bytes);
                        }
                    }
                }
            }
            self.drain(now, told);
        }
    }

    /// Does what the shard wants; gives its next deadline.
    fn drain(&mut self, now: Instant, told: Told<'_>) -> Option<Instant> {
        loop {
            match self.shard.poll_output() {
                Output::Transmit { socket, bytes, .. } if socket.is_link() => {
                    self.links.send(now, socket, bytes);
                }
                Output::Transmit { socket, destination, bytes } => {
                    self.io.transmit(now, socket, destination, &bytes);
                }
                Output::Bind { socket, address } => {
                    let is_bound = self.io.open_pair(socket, address);
                    self.guard(|shard| shard.handle_bound(now, socket, is_bound));
                }
                Output::Unbind { socket } => self.io.close_pair(socket),
                Output::Connect { socket, remote } => self.io.connect(socket, remote),
                Output::Handshake(work) => self.workers.handshakes.give(work),
                Output::TimeBrowsers => self.io.time_browsers(),
                Output::Event(event) => told(event),
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

/// Threads for what takes longer than a packet.
pub(super) struct Workers {
    pub(super) handshakes: Handshakes,
    /// Without them codecs run here.
    pub(super) codecs: Option<Codecs>,
}

enum Obedience {
    Done,
    MoreToDo,
    /// Nobody is left who could command.
    Over,
}

/// The same memory without the frames, for frames of another lifetime: collecting in place.
fn recycled<'b>(mut frames: Vec<Frame<'_>>) -> Vec<Frame<'b>> {
    frames.clear();
    frames.into_iter().map(|_| Frame::empty()).collect()
}

/// Opening a leg costs tens of microseconds.
const COMMANDS_A_TURN: usize = 16;
/// Taking one back costs a few microseconds.
const HANDSHAKES_A_TURN: usize = 16;
const REPORT_PERIOD: Duration = Duration::from_millis(500);
