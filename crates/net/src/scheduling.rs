//! The scheduling class of a thread.

#![allow(unsafe_code, reason = "the standard library sets no scheduling class")]

use std::{io, thread};

/// Puts this thread behind everybody else.
///
/// # Errors
/// What the kernel says.
pub(crate) fn become_idle() -> io::Result<()> {
    set(libc::SCHED_IDLE, 0)
}

/// Puts this thread before all ordinary ones (`sched(7)`). What it starts is ordinary.
///
/// # Errors
/// When the host does not allow it: `CAP_SYS_NICE` or an `RLIMIT_RTPRIO` of ten does.
pub(crate) fn become_realtime() -> io::Result<()> {
    set(libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, PRIORITY)
}

/// Whether the host lets this process have threads of the real-time class, for `media.realtime`.
///
/// # Errors
/// Why not.
pub fn probe_realtime() -> io::Result<()> {
    let tried = thread::Builder::new().spawn(become_realtime)?;
    tried.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

fn set(policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    // SAFETY: zeroes are a value of it.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = priority;
    // SAFETY: the parameters outlive the call, and zero is the calling thread.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Behind the kernel's interrupt threads, which have 50.
const PRIORITY: libc::c_int = 10;
