//! The two programs that we give to the kernel, and the calls that load them.
//!
//! Both look the destination port up in a table that is shared memory: opening a port is a store,
//! not a system call. Links and maps live as long as their descriptors, so that nothing is left
//! in the kernel when the process ends, however it ends.

#![allow(unsafe_code, reason = "there is no call for BPF but the kernel's own")]

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::epoll::owned;

/// Which UDP ports are ours, as the kernel sees it.
pub(super) struct Ports {
    map: OwnedFd,
    /// One entry for each port.
    table: *mut AtomicU64,
}

// SAFETY: the table is shared memory of atomics that belongs to this value alone.
unsafe impl Send for Ports {}

impl Ports {
    pub(super) fn new() -> io::Result<Self> {
        let map = new_map(MAP_TYPE_ARRAY, size_of::<u64>(), PORTS, F_MMAPABLE)?;
        // SAFETY: a new mapping of a map that is as large; the result is checked.
        let table = unsafe {
            libc::mmap(
                ptr::null_mut(),
                PORTS * size_of::<u64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if table == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { map, table: table.cast() })
    }

    pub(super) fn set(&self, port: u16, is_ours: bool) {
        // SAFETY: the table has an entry for every 16-bit number, and the kernel only reads it.
        let entry = unsafe { &*self.table.add(usize::from(port)) };
        entry.store(is_ours.into(), Ordering::Release);
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made, and nobody refers to it any more.
        unsafe { libc::munmap(self.table.cast(), PORTS * size_of::<u64>()) };
    }
}

/// A program that is attached for as long as this lives.
#[derive(Debug)]
pub(super) struct Attached {
    _link: OwnedFd,
    _program: OwnedFd,
    _target: OwnedFd,
}

/// Gives all packets to our ports to one IPv4 socket (BPF `sk_lookup`), in this thread's network
/// namespace. Packets to an address other than `bind` are left alone, if it is one.
pub(super) fn steer(ports: &Ports, socket: BorrowedFd<'_>, bind: Ipv4Addr) -> io::Result<Attached> {
    let target = new_map(MAP_TYPE_SOCKMAP, size_of::<u64>(), 1, 0)?;
    put(&target, 0, u64::try_from(socket.as_raw_fd()).unwrap_or_default())?;
    let code = sk_lookup_program(ports.map.as_raw_fd(), target.as_raw_fd(), bind);
    let program = load(PROG_TYPE_SK_LOOKUP, ATTACH_SK_LOOKUP, &code)?;
    let namespace = std::fs::File::open("/proc/thread-self/ns/net")?;
    let link = link(&program, namespace.as_raw_fd().cast_unsigned(), ATTACH_SK_LOOKUP, 0)?;
    Ok(Attached { _link: link, _program: program, _target: target })
}

/// Gives UDP packets over IPv4 to our ports, and to one of these addresses, to the `AF_XDP`
/// socket of the queue that they came by. Everything else goes on to the kernel. The first mode
/// that the interface can do is taken.
pub(super) fn redirect(
    ports: &Ports,
    sockets: &[RawFd],
    addresses: &[Ipv4Addr],
    interface: u32,
    modes: &[XdpMode],
) -> io::Result<Attached> {
    let target = new_map(MAP_TYPE_XSKMAP, size_of::<u32>(), sockets.len(), 0)?;
    for (queue, socket) in (0..).zip(sockets) {
        put(&target, queue, socket.cast_unsigned())?;
    }
    let code = xdp_program(ports.map.as_raw_fd(), target.as_raw_fd(), addresses);
    let program = load(PROG_TYPE_XDP, ATTACH_XDP, &code)?;
    let mut refused = io::Error::from(io::ErrorKind::Unsupported);
    for mode in modes {
        let flags = match mode {
            XdpMode::Driver => XDP_FLAGS_DRV_MODE,
            XdpMode::Generic => XDP_FLAGS_SKB_MODE,
        };
        match link(&program, interface, ATTACH_XDP, flags) {
            Ok(link) => return Ok(Attached { _link: link, _program: program, _target: target }),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Whether the kernel would take the program of [`redirect`] from us.
pub(super) fn can_redirect(ports: &Ports) -> io::Result<()> {
    let target = new_map(MAP_TYPE_XSKMAP, size_of::<u32>(), 1, 0)?;
    let code = xdp_program(ports.map.as_raw_fd(), target.as_raw_fd(), &[Ipv4Addr::LOCALHOST]);
    load(PROG_TYPE_XDP, ATTACH_XDP, &code).map(drop)
}

/// Where an XDP program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum XdpMode {
    /// In the driver, before the kernel makes a buffer of its own.
    Driver,
    /// Behind it, for drivers that know nothing of XDP.
    Generic,
}

fn sk_lookup_program(ports: RawFd, target: RawFd, bind: Ipv4Addr) -> Vec<Insn> {
    let mut code = Code::default();
    code.push(MOV64_REG, 6, 1, 0, 0);
    // struct bpf_sk_lookup: family at 8, protocol at 12, local_ip4 at 40, local_port at 60.
    code.push(LOAD_WORD, 2, 6, 8, 0);
    code.leave_unless(2, libc::AF_INET);
    code.push(LOAD_WORD, 2, 6, 12, 0);
    code.leave_unless(2, libc::IPPROTO_UDP);
    if !bind.is_unspecified() {
        code.push(LOAD_WORD, 2, 6, 40, 0);
        code.leave_unless(2, i32::from_ne_bytes(bind.octets()));
    }
    code.push(LOAD_WORD, 2, 6, 60, 0);
    code.look_up_port(ports);
    code.push(STORE_WORD_IMM, 10, 0, -4, 0);
    code.look_up(target);
    code.push(MOV64_REG, 7, 0, 0, 0);
    code.push(MOV64_REG, 1, 6, 0, 0);
    code.push(MOV64_REG, 2, 7, 0, 0);
    code.push(MOV64_IMM, 3, 0, 0, 0);
    code.push(CALL, 0, 0, 0, FUNC_SK_ASSIGN);
    code.push(MOV64_REG, 1, 7, 0, 0);
    code.push(CALL, 0, 0, 0, FUNC_SK_RELEASE);
    // SK_PASS: what was not assigned is looked up as ever.
    code.finish(1)
}

fn xdp_program(ports: RawFd, target: RawFd, addresses: &[Ipv4Addr]) -> Vec<Insn> {
    let mut code = Code::default();
    code.push(MOV64_REG, 6, 1, 0, 0);
    // struct xdp_md: data at 0, data_end at 4, rx_queue_index at 16.
    code.push(LOAD_WORD, 2, 1, 0, 0);
    code.push(LOAD_WORD, 3, 1, 4, 0);
    code.push(MOV64_REG, 4, 2, 0, 0);
    code.push(ADD64_IMM, 4, 0, 0, super::header::HEADERS as i32);
    code.leave(JUMP_GREATER_REG, 4, 3, 0);
    let network = |number: u16| i32::from(u16::from_ne_bytes(number.to_be_bytes()));
    code.push(LOAD_HALF, 5, 2, 12, 0);
    code.leave_unless(5, network(0x0800));
    code.push(LOAD_BYTE, 5, 2, 14, 0);
    code.leave_unless(5, 0x45);
    code.push(LOAD_BYTE, 5, 2, 23, 0);
    code.leave_unless(5, libc::IPPROTO_UDP);
    // More fragments, or not the first.
    code.push(LOAD_HALF, 5, 2, 20, 0);
    code.push(AND64_IMM, 5, 0, 0, network(0x3fff));
    code.leave_unless(5, 0);
    code.push(LOAD_WORD, 5, 2, 30, 0);
    // One match jumps over the rest and over the leaving.
    for (index, address) in addresses.iter().enumerate() {
        let distance = i16::try_from(addresses.len() - index).unwrap_or(i16::MAX);
        code.push(JUMP32_EQUAL_IMM, 5, 0, distance, i32::from_ne_bytes(address.octets()));
    }
    code.leave(JUMP_ALWAYS, 0, 0, 0);
    code.push(LOAD_HALF, 2, 2, 36, 0);
    code.push(TO_BIG_ENDIAN, 2, 0, 0, 16);
    code.look_up_port(ports);
    code.push(LOAD_WORD, 2, 6, 16, 0);
    code.push(LOAD_MAP, 1, PSEUDO_MAP, 0, target);
    code.push(0, 0, 0, 0, 0);
    // XDP_PASS, where no socket hears this queue.
    code.push(MOV64_IMM, 3, 0, 0, XDP_PASS);
    code.push(CALL, 0, 0, 0, FUNC_REDIRECT_MAP);
    code.push(EXIT, 0, 0, 0, 0);
    code.finish(XDP_PASS)
}

/// An instruction as the kernel takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// A program while it is written. Its jumps to the end are filled in when that is known.
#[derive(Debug, Default)]
struct Code {
    insns: Vec<Insn>,
    leaving: Vec<usize>,
}

impl Code {
    fn push(&mut self, code: u8, to: u8, from: u8, offset: i16, immediate: i32) {
        self.insns.push(Insn { code, registers: to | from << 4, offset, immediate });
    }

    /// A jump to the end.
    fn leave(&mut self, code: u8, to: u8, from: u8, immediate: i32) {
        self.leaving.push(self.insns.len());
        self.push(code, to, from, 0, immediate);
    }

    fn leave_unless(&mut self, register: u8, value: i32) {
        self.leave(JUMP32_NOT_EQUAL_IMM, register, 0, value);
    }

    /// Goes on with the value's address in register 0 if the map has the key at -4 on the stack.
    fn look_up(&mut self, map: RawFd) {
        self.push(LOAD_MAP, 1, PSEUDO_MAP, 0, map);
        self.push(0, 0, 0, 0, 0);
        self.push(MOV64_REG, 2, 10, 0, 0);
        self.push(ADD64_IMM, 2, 0, 0, -4);
        self.push(CALL, 0, 0, 0, FUNC_LOOK_UP);
        self.leave(JUMP_EQUAL_IMM, 0, 0, 0);
    }

    /// Goes on if the port in register 2 is ours.
    fn look_up_port(&mut self, ports: RawFd) {
        self.push(STORE_WORD_REG, 10, 2, -4, 0);
        self.look_up(ports);
        self.push(LOAD_WORD, 0, 0, 0, 0);
        self.leave(JUMP_EQUAL_IMM, 0, 0, 0);
    }

    /// The end: gives this.
    fn finish(mut self, result: i32) -> Vec<Insn> {
        let end = self.insns.len();
        for at in self.leaving {
            if let Some(insn) = self.insns.get_mut(at) {
                insn.offset = i16::try_from(end - at - 1).unwrap_or(i16::MAX);
            }
        }
        let last = |code, immediate| Insn { code, registers: 0, offset: 0, immediate };
        self.insns.extend([last(MOV64_IMM, result), last(EXIT, 0)]);
        self.insns
    }
}

fn new_map(kind: u32, value: usize, entries: usize, flags: u32) -> io::Result<OwnedFd> {
    let (value, entries) = (value as u32, entries as u32);
    // union bpf_attr for BPF_MAP_CREATE: type, key size, value size, entries, flags.
    let mut attributes = [0_u32; 32];
    attributes[..5].copy_from_slice(&[kind, 4, value, entries, flags]);
    owned(call(MAP_CREATE, &attributes))
}

fn put<T>(map: &OwnedFd, key: u32, value: T) -> io::Result<()> {
    let address = |pointer: *const u8| pointer.expose_provenance() as u64;
    // union bpf_attr for BPF_MAP_UPDATE_ELEM: descriptor, key, value, flags.
    let mut attributes = [0_u64; 16];
    attributes[0] = map.as_raw_fd().cast_unsigned().into();
    attributes[1] = address(ptr::from_ref(&key).cast());
    attributes[2] = address(ptr::from_ref(&value).cast());
    if call(MAP_UPDATE, &attributes) == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn load(kind: u32, attach: u32, code: &[Insn]) -> io::Result<OwnedFd> {
    let address = |pointer: *const u8| pointer.expose_provenance() as u64;
    let halves = |low: u32, high: u32| u64::from_ne_bytes(words([low, high]));
    // union bpf_attr for BPF_PROG_LOAD: type and count, instructions, licence; the expected kind
    // of attachment is the word at 68. The kernel's own helpers want this licence to be named.
    let mut attributes = [0_u64; 16];
    attributes[0] = halves(kind, code.len() as u32);
    attributes[1] = address(code.as_ptr().cast());
    attributes[2] = address(c"Dual MIT/GPL".as_ptr().cast());
    attributes[8] = halves(0, attach);
    owned(call(PROG_LOAD, &attributes))
}

fn link(program: &OwnedFd, target: u32, attach: u32, flags: u32) -> io::Result<OwnedFd> {
    // union bpf_attr for BPF_LINK_CREATE: program, target, kind of attachment, flags.
    let mut attributes = [0_u32; 32];
    attributes[..4].copy_from_slice(&[program.as_raw_fd().cast_unsigned(), target, attach, flags]);
    owned(call(LINK_CREATE, &attributes))
}

fn words(pair: [u32; 2]) -> [u8; 8] {
    let [[a, b, c, d], [e, f, g, h]] = pair.map(u32::to_ne_bytes);
    [a, b, c, d, e, f, g, h]
}

fn call<T, const N: usize>(command: libc::c_int, attributes: &[T; N]) -> libc::c_int {
    let size = size_of_val(attributes);
    // SAFETY: the attributes have the size that is told, and what they point to outlives the
    // call; the kernel checks everything in them.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size) };
    libc::c_int::try_from(done).unwrap_or(-1)
}

const PORTS: usize = 1 << 16;

const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const MAP_TYPE_ARRAY: u32 = 2;
const MAP_TYPE_SOCKMAP: u32 = 15;
const MAP_TYPE_XSKMAP: u32 = 17;
const F_MMAPABLE: u32 = 1 << 10;
const PROG_TYPE_XDP: u32 = 6;
const PROG_TYPE_SK_LOOKUP: u32 = 30;
const ATTACH_SK_LOOKUP: u32 = 36;
const ATTACH_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_PASS: i32 = 2;
const FUNC_LOOK_UP: i32 = 1;
const FUNC_REDIRECT_MAP: i32 = 51;
const FUNC_SK_RELEASE: i32 = 86;
const FUNC_SK_ASSIGN: i32 = 124;
const PSEUDO_MAP: u8 = 1;

const LOAD_MAP: u8 = 0x18;
const LOAD_WORD: u8 = 0x61;
const LOAD_HALF: u8 = 0x69;
const LOAD_BYTE: u8 = 0x71;
const STORE_WORD_IMM: u8 = 0x62;
const STORE_WORD_REG: u8 = 0x63;
const MOV64_IMM: u8 = 0xb7;
const MOV64_REG: u8 = 0xbf;
const ADD64_IMM: u8 = 0x07;
const AND64_IMM: u8 = 0x57;
const TO_BIG_ENDIAN: u8 = 0xdc;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const JUMP_ALWAYS: u8 = 0x05;
const JUMP_EQUAL_IMM: u8 = 0x15;
const JUMP_GREATER_REG: u8 = 0x2d;
const JUMP32_EQUAL_IMM: u8 = 0x16;
const JUMP32_NOT_EQUAL_IMM: u8 = 0x56;

#[cfg(test)]
mod tests {
    use super::*;

    /// Every jump lands on an instruction, and what leaves lands on the last two.
    #[test]
    fn jumps_stay_in_the_program() {
        let addresses: Vec<Ipv4Addr> = (1..5).map(|n| Ipv4Addr::new(192, 0, 2, n)).collect();
        for code in [
            sk_lookup_program(3, 4, Ipv4Addr::UNSPECIFIED),
            sk_lookup_program(3, 4, Ipv4Addr::new(198, 51, 100, 255)),
            xdp_program(3, 4, &addresses),
        ] {
            let jumps = code.iter().enumerate().filter(|(_, insn)| {
                matches!(insn.code & 0x07, 5 | 6) && insn.code != CALL && insn.code != EXIT
            });
            for (at, insn) in jumps {
                let to = at + 1 + usize::try_from(insn.offset).unwrap();
                assert!(insn.offset > 0 && to <= code.len() - 2, "{at}: {insn:?}");
            }
            assert_eq!(code.last().unwrap().code, EXIT);
        }
    }
}
