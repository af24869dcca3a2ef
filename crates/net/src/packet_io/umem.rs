//! An `AF_XDP` socket of one receive queue, with its rings and the memory of its frames.
//!
//! The memory is cut into chunks. Each is in exactly one place: free, in the fill ring for the
//! kernel to receive into, received and ours, or being sent until the completion ring gives it
//! back. So no two parties write to one chunk.

#![allow(unsafe_code, reason = "rings and frames are memory shared with the kernel")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use super::epoll::owned;
use super::mmsg::set_option;

/// One queue of an interface.
pub(super) struct Queue {
    socket: OwnedFd,
    memory: Mapping,
    fill: Ring<u64>,
    completed: Ring<u64>,
    received: Ring<libc::xdp_desc>,
    sending: Ring<libc::xdp_desc>,
    free: Vec<u64>,
}

/// A chunk that is ours until it is sent or given back, and the frame in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    /// Where the frame begins in the memory.
    start: u64,
    pub(super) len: usize,
}

impl Queue {
    /// Opens a socket for one receive queue of an interface.
    pub(super) fn open(interface: u32, queue: u32) -> io::Result<Self> {
        let mut this = Self::prepare()?;
        bind(&this.socket, interface, queue)?;
        this.refill();
        Ok(this)
    }

    /// A socket with all it needs, which hears nothing yet.
    pub(super) fn prepare() -> io::Result<Self> {
        // SAFETY: the call takes numbers only.
        let socket =
            owned(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
        let memory = Mapping::anonymous(CHUNKS * CHUNK)?;
        let region = libc::xdp_umem_reg {
            addr: memory.start.expose_provenance() as u64,
            len: memory.len as u64,
            chunk_size: CHUNK as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        set_structure(socket.as_fd(), libc::XDP_UMEM_REG, &region)?;
        let entries = libc::c_int::try_from(RING).unwrap_or(libc::c_int::MAX);
        for ring in [
            libc::XDP_UMEM_FILL_RING,
            libc::XDP_UMEM_COMPLETION_RING,
            libc::XDP_RX_RING,
            libc::XDP_TX_RING,
        ] {
            set_option(socket.as_fd(), libc::SOL_XDP, ring, entries)?;
        }
        // Otherwise the kernel sends 32 frames a call; old ones do not know the option.
        let _ = set_option(socket.as_fd(), libc::SOL_XDP, MAX_TX_SKB_BUDGET, 256);
        let offsets = offsets(&socket)?;
        let fill_at = libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t;
        let completed_at = libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t;
        let rings = (
            Ring::map(&socket, &offsets.fr, fill_at)?,
            Ring::map(&socket, &offsets.cr, completed_at)?,
            Ring::map(&socket, &offsets.rx, libc::XDP_PGOFF_RX_RING)?,
            Ring::map(&socket, &offsets.tx, libc::XDP_PGOFF_TX_RING)?,
        );
        let free = (0..CHUNKS as u64).map(|n| n * CHUNK as u64).collect();
        let (fill, completed, received, sending) = rings;
        Ok(Self { socket, memory, fill, completed, received, sending, free })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The next frame that has come; it is ours until it is sent or given back.
    pub(super) fn receive(&mut self) -> Option<Chunk> {
        let frame = self.received.pop()?;
        Some(Chunk { start: frame.addr, len: frame.len as usize })
    }

    /// The frame in a chunk and the room behind it.
    ///
    /// # Safety
    /// The chunk is ours, and no other reference to it is alive.
    pub(super) unsafe fn bytes<'m>(&self, chunk: Chunk) -> &'m mut [u8] {
        let start = usize::try_from(chunk.start).unwrap_or(usize::MAX);
        let end = (start / CHUNK + 1).saturating_mul(CHUNK);
        if end > self.memory.len {
            return &mut [];
        }
        // SAFETY: the range lies in the mapping, which lives as long as the queue. The caller
        // sees to it that nobody else refers to this chunk; chunks do not overlap.
        unsafe { std::slice::from_raw_parts_mut(self.memory.start.add(start), end - start) }
    }

    /// Sends a frame from its chunk; false when there is no room, and the chunk is still ours.
    pub(super) fn send(&mut self, chunk: Chunk, len: usize) -> bool {
        let len = u32::try_from(len).unwrap_or(0);
        self.sending.push(libc::xdp_desc { addr: chunk.start, len, options: 0 })
    }

    pub(super) fn give_back(&mut self, chunk: Chunk) {
        self.free.push(chunk.start - chunk.start % CHUNK as u64);
    }

    /// Has the kernel send what was put into the ring.
    pub(super) fn kick(&mut self) {
        self.sending.publish();
        for _ in 0..KICKS {
            if self.sending.is_taken() || !self.sending.wants_wake_up() {
                return;
            }
            let socket = self.socket.as_raw_fd();
            // SAFETY: nothing is handed over; the call looks at the ring.
            unsafe { libc::sendto(socket, ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
        }
    }

    /// Takes back what was sent, and gives the kernel chunks to receive into.
    pub(super) fn refill(&mut self) {
        self.received.publish();
        while let Some(start) = self.completed.pop() {
            self.free.push(start - start % CHUNK as u64);
        }
        self.completed.publish();
        while let Some(start) = self.free.pop() {
            if !self.fill.push(start) {
                self.free.push(start);
                break;
            }
        }
        self.fill.publish();
    }
}

/// A ring that is shared with the kernel. We are its producer or its consumer, never both.
struct Ring<T> {
    memory: Mapping,
    producer: usize,
    consumer: usize,
    flags: usize,
    entries: usize,
    /// Our own position, which the other side sees when it is published.
    position: u32,
    /// Where the other side was when we last looked.
    other: u32,
    is_producer: bool,
    _of: std::marker::PhantomData<T>,
}

// SAFETY: the mapping belongs to the ring alone on this side, and the kernel's side keeps to
// the positions, which are atomic.
unsafe impl<T> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    fn map(
        socket: &OwnedFd,
        offset: &libc::xdp_ring_offset,
        page: libc::off_t,
    ) -> io::Result<Self> {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let len = at(offset.desc).saturating_add(RING as usize * size_of::<T>());
        let is_producer =
            page == libc::XDP_PGOFF_TX_RING || page == libc::XDP_UMEM_PGOFF_FILL_RING as i64;
        Ok(Self {
            memory: Mapping::of(socket, len, page)?,
            producer: at(offset.producer),
            consumer: at(offset.consumer),
            flags: at(offset.flags),
            entries: at(offset.desc),
            position: 0,
            other: 0,
            is_producer,
            _of: std::marker::PhantomData,
        })
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        debug_assert!(offset + 4 <= self.memory.len, "the kernel told where it is");
        // SAFETY: the kernel put an aligned word there, inside the mapping; both sides access it
        // atomically only.
        unsafe { &*self.memory.start.add(offset).cast::<AtomicU32>() }
    }

    fn entry(&self, position: u32) -> *mut T {
        let index = (position & (RING - 1)) as usize;
        // SAFETY: the index is below the number of entries, which the mapping has room for.
        unsafe { self.memory.start.add(self.entries).cast::<T>().add(index) }
    }

    /// Takes the next entry that the kernel has put in.
    fn pop(&mut self) -> Option<T> {
        if self.position == self.other {
            self.other = self.word(self.producer).load(Ordering::Acquire);
            if self.position == self.other {
                return None;
            }
        }
        // SAFETY: the producer has passed this entry, so that it is written and left alone.
        let entry = unsafe { self.entry(self.position).read() };
        self.position = self.position.wrapping_add(1);
        Some(entry)
    }

    /// Puts an entry in; false when the ring is full.
    fn push(&mut self, entry: T) -> bool {
        if self.position.wrapping_sub(self.other) == RING {
            self.other = self.word(self.consumer).load(Ordering::Acquire);
            if self.position.wrapping_sub(self.other) == RING {
                return false;
            }
        }
        // SAFETY: the consumer has passed this entry and does not look at it until the position
        // is published.
        unsafe { self.entry(self.position).write(entry) };
        self.position = self.position.wrapping_add(1);
        true
    }

    /// Lets the kernel see how far we are.
    fn publish(&self) {
        let own = if self.is_producer { self.producer } else { self.consumer };
        self.word(own).store(self.position, Ordering::Release);
    }

    /// Whether the kernel has taken all that we put in.
    fn is_taken(&self) -> bool {
        self.word(self.consumer).load(Ordering::Acquire) == self.position
    }

    fn wants_wake_up(&self) -> bool {
        self.word(self.flags).load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// Memory that is unmapped with this.
struct Mapping {
    start: *mut u8,
    len: usize,
}

// SAFETY: memory is not bound to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn anonymous(len: usize) -> io::Result<Self> {
        Self::new(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    fn of(socket: &OwnedFd, len: usize, offset: libc::off_t) -> io::Result<Self> {
        Self::new(len, libc::MAP_SHARED, socket.as_raw_fd(), offset)
    }

    fn new(len: usize, flags: libc::c_int, fd: RawFd, offset: libc::off_t) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = flags | libc::MAP_POPULATE;
        // SAFETY: a new mapping, in place of none; the result is checked.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast(), len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is our mapping, and its owner is going.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

fn offsets(socket: &OwnedFd) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: a structure of numbers, for which zero is valid.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&offsets) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which is the size of the structure.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            libc::XDP_MMAP_OFFSETS,
            ptr::from_mut(&mut offsets).cast(),
            &raw mut len,
        )
    };
    // Kernels before 5.4 tell less.
    if done == 0 && len as usize == size_of_val(&offsets) {
        Ok(offsets)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn set_structure<T>(socket: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    let value = ptr::from_ref(value).cast();
    // SAFETY: the value has the length that is told, and is only read during the call.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, option, value, len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Without copies where the driver can do that, else with.
fn bind(socket: &OwnedFd, interface: u32, queue: u32) -> io::Result<()> {
    let name = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: libc::XDP_USE_NEED_WAKEUP,
        sxdp_ifindex: interface,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    let len = size_of_val(&name) as libc::socklen_t;
    // SAFETY: the name has the length that is told, and is only read during the call.
    let done = unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(&name).cast(), len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A frame of 1500 bytes, the kernel's headroom in front and room for SRTP behind.
const CHUNK: usize = 2048;
/// A fifth of a second of 100 calls, or a burst of two thousand packets, for each direction.
const CHUNKS: usize = 4096;
/// Entries of a ring; a power of two.
const RING: u32 = 2048;
/// Calls until a batch is sent, where the kernel sends 32 at once.
const KICKS: usize = 4;
/// In the kernel since 6.17, and not yet in every header.
const MAX_TX_SKB_BUDGET: libc::c_int = 9;
