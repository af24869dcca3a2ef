//! Queues between the media threads and others.
//!
//! Those of the standard library and of crossbeam let who finds another one in the middle of an
//! operation try again until he is done. Where the other one was interrupted by just this thread, which may be
//! of the real-time class, he never is. Behind a mutex who waits sleeps, and lets the other one end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A queue to a thread that looks whether there is something; without a bound of its own.
#[derive(Debug)]
pub(super) struct Mail<T> {
    is_there: AtomicBool,
    letters: Mutex<VecDeque<T>>,
}

/// The end that reads.
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    mail: Arc<Mail<T>>,
    /// Taken, and not looked at yet.
    reading: VecDeque<T>,
}

impl<T> Mail<T> {
    /// Both ends.
    pub(super) fn new() -> (Arc<Self>, Mailbox<T>) {
        let mail = Arc::new(Self { is_there: AtomicBool::new(false), letters: Mutex::default() });
        (mail.clone(), Mailbox { mail, reading: VecDeque::new() })
    }

    /// Whether the reader has to be told: who was told already sees this as well.
    #[must_use]
    pub(super) fn post(&self, letter: T) -> bool {
        lock(&self.letters).push_back(letter);
        !self.is_there.swap(true, Ordering::AcqRel)
    }
}

impl<T> Mailbox<T> {
    /// The next, in the order they were posted.
    pub(super) fn next(&mut self) -> Option<T> {
        if self.reading.is_empty() && self.mail.is_there.swap(false, Ordering::AcqRel) {
            std::mem::swap(&mut self.reading, &mut *lock(&self.mail.letters));
        }
        self.reading.pop_front()
    }

    pub(super) fn has_more(&self) -> bool {
        !self.reading.is_empty() || self.mail.is_there.load(Ordering::Acquire)
    }

    /// Nobody is left who could post.
    pub(super) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.mail) == 1
    }
}

/// A queue from one thread to several that wait for work.
#[derive(Debug)]
pub(super) struct Jobs<T> {
    waiting: Mutex<Waiting<T>>,
    more: Condvar,
    bound: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    jobs: VecDeque<T>,
    is_over: bool,
}

impl<T> Jobs<T> {
    pub(super) fn new(bound: usize) -> Self {
        let waiting = Mutex::new(Waiting { jobs: VecDeque::new(), is_over: false });
        Self { waiting, more: Condvar::new(), bound }
    }

    /// Without waiting; what there is no room for comes back.
    pub(super) fn give(&self, job: T) -> Result<(), T> {
        let mut waiting = lock(&self.waiting);
        if waiting.is_over || waiting.jobs.len() >= self.bound {
            return Err(job);
        }
        waiting.jobs.push_back(job);
        drop(waiting);
        self.more.notify_one();
        Ok(())
    }

    /// Waits for one; `None` when there are no more to come.
    pub(super) fn take(&self) -> Option<T> {
        let waiting = lock(&self.waiting);
        let is_idle = |waiting: &mut Waiting<T>| waiting.jobs.is_empty() && !waiting.is_over;
        let waiting = self.more.wait_while(waiting, is_idle);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        if waiting.is_over { None } else { waiting.jobs.pop_front() }
    }

    /// What waits is not done any more.
    pub(super) fn end(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.is_over = true;
        waiting.jobs.clear();
        drop(waiting);
        self.more.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn who_posts_first_has_to_tell() {
        let (mail, mut mailbox) = Mail::new();
        assert!(!mailbox.has_more());
        assert!(mail.post(1));
        assert!(!mail.post(2), "the reader knows");
        assert!(mailbox.has_more());
        assert_eq!(mailbox.next(), Some(1));
        assert!(mail.post(3), "it has looked");
        assert!(mailbox.has_more());
        assert_eq!([mailbox.next(), mailbox.next(), mailbox.next()], [Some(2), Some(3), None]);
        assert!(!mailbox.is_abandoned());
        drop(mail);
        assert!(mailbox.is_abandoned());
    }

    #[test]
    fn jobs_have_a_bound_and_an_end() {
        let jobs = Jobs::new(2);
        assert_eq!([jobs.give(1), jobs.give(2), jobs.give(3)], [Ok(()), Ok(()), Err(3)]);
        assert_eq!(jobs.take(), Some(1));
        assert_eq!(jobs.give(3), Ok(()));
        jobs.end();
        assert_eq!(jobs.take(), None, "nobody wants it any more");
        assert_eq!(jobs.give(4), Err(4));
    }

    #[test]
    fn each_job_is_done_once_by_whoever_waits() {
        let (jobs, count) = (Jobs::new(usize::MAX), 1000);
        let (mail, mut mailbox) = Mail::new();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while let Some(job) = jobs.take() {
                        let _ = mail.post(job);
                    }
                });
            }
            (0..count).for_each(|job| jobs.give(job).unwrap());
            let mut done = Vec::new();
            while done.len() < count {
                done.extend(mailbox.next());
                thread::yield_now();
            }
            jobs.end();
            done.sort_unstable();
            assert!(done.into_iter().eq(0..count));
        });
    }
}
