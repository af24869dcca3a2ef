//! Keeps processors from sleeping.
//!
//! A processor without work sleeps, and a packet waits until it is awake: microseconds on a host of
//! one's own, milliseconds on a guest whose host gives such a processor to others. A thread of the
//! idle class on each always has work, and gives way to everybody at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::scheduling::become_idle;

/// The processors that this process may use, awake until it is dropped.
#[derive(Debug)]
pub(crate) struct CoresAwake {
    is_over: Arc<AtomicBool>,
}

impl CoresAwake {
    /// # Errors
    /// When the processors cannot be told or a thread cannot be started.
    pub(crate) fn keep() -> io::Result<Self> {
        let this = Self { is_over: Arc::default() };
        let ours = sched_getaffinity(None)?;
        for core in (0..CpuSet::MAX_CPU).filter(|core| ours.is_set(*core)) {
            let is_over = this.is_over.clone();
            let run = move || {
                // As an ordinary thread it would take time from others.
                if let Err(error) = settle(core) {
                    tracing::warn!(core, %error, "a processor is not kept awake");
                    return;
                }
                while !is_over.load(Ordering::Relaxed) {
                    (0..SPINS).for_each(|_| std::hint::spin_loop());
                }
            };
            thread::Builder::new().name(NAME.to_owned()).spawn(run)?;
        }
        Ok(this)
    }
}

impl Drop for CoresAwake {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Puts this thread on a core, behind everybody else.
fn settle(core: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only)?;
    become_idle()
}

/// Of the threads, as tools show it.
const NAME: &str = "awake";
/// Between looks at whether it is over: some microseconds.
const SPINS: u32 = 256;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;

    /// The scheduling classes of our threads of that name (`proc_pid_stat(5)`, field 41).
    fn classes() -> Vec<String> {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        let stats =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
        let (head, fields) = (format!("({NAME})"), |stat: &str| {
            stat.rsplit_once(") ").map(|(_, fields)| fields.to_owned()).unwrap_or_default()
        });
        let ours = stats.filter(|stat| stat.contains(&head));
        ours.filter_map(|stat| fields(&stat).split(' ').nth(38).map(str::to_owned)).collect()
    }

    fn wait_for(what: &str, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < Duration::from_secs(20), "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn each_core_has_a_thread_of_the_idle_class_until_it_is_over() {
        let cores = sched_getaffinity(None).unwrap().count() as usize;
        let awake = CoresAwake::keep().unwrap();
        let idle = libc::SCHED_IDLE.to_string();
        wait_for("all are there, behind everybody", || classes() == vec![idle.clone(); cores]);
        drop(awake);
        wait_for("they end", || classes().is_empty());
    }
}
