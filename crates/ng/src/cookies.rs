//! Replies by cookie: whoever repeats a request gets the bytes of the first reply, and a repeat
//! that comes while the first is still worked on waits for it.
//!
//! The payload of a repeat is not looked at. Cookies are common to all clients and transports,
//! as in the original, because a proxy may send its repeat from another address.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Two generations, of which the older is dropped every half minute: a reply is kept for half a
/// minute to a whole one.
#[derive(Debug)]
pub(crate) struct Cookies<T> {
    young: Generation<T>,
    old: Generation<T>,
    swapped: Option<Instant>,
}

#[derive(Debug)]
struct Generation<T> {
    entries: BTreeMap<Vec<u8>, Entry<T>>,
    bytes: usize,
}

#[derive(Debug)]
enum Entry<T> {
    /// Who waits beside the first.
    Working(Vec<T>),
    Done(Arc<[u8]>),
}

/// What a cookie means.
#[derive(Debug)]
pub(crate) enum Known<T> {
    /// It is new: work on it, as `T`.
    New(T),
    Reply(Arc<[u8]>, T),
    /// It waits, or too many wait already.
    Waits,
}

impl<T> Default for Generation<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), bytes: 0 }
    }
}

impl<T> Cookies<T> {
    pub(crate) fn new() -> Self {
        Self { young: Generation::default(), old: Generation::default(), swapped: None }
    }

    pub(crate) fn begin(&mut self, now: Instant, cookie: &[u8], who: T) -> Known<T> {
        self.age(now);
        for generation in [&mut self.young, &mut self.old] {
            match generation.entries.get_mut(cookie) {
                Some(Entry::Done(reply)) => return Known::Reply(reply.clone(), who),
                Some(Entry::Working(waiting)) => {
                    if waiting.len() < MAX_WAITING {
                        waiting.push(who);
                    }
                    return Known::Waits;
                }
                None => {}
            }
        }
        self.young.entries.insert(cookie.to_vec(), Entry::Working(vec![]));
        self.young.bytes += cookie.len() + OVERHEAD;
        Known::New(who)
    }

    /// Keeps a reply; gives who else waited for it.
    pub(crate) fn finish(&mut self, cookie: &[u8], reply: &Arc<[u8]>) -> Vec<T> {
        for generation in [&mut self.young, &mut self.old] {
            if let Some(entry) = generation.entries.get_mut(cookie) {
                generation.bytes += reply.len();
                return match mem::replace(entry, Entry::Done(reply.clone())) {
                    Entry::Working(waiting) => waiting,
                    Entry::Done(_) => vec![],
                };
            }
        }
        // So many cookies came meanwhile that this one was forgotten.
        vec![]
    }

    fn age(&mut self, now: Instant) {
        let since = *self.swapped.get_or_insert(now);
        let age = now.saturating_duration_since(since);
        let is_full = self.young.entries.len() >= MAX_COOKIES || self.young.bytes >= MAX_BYTES;
        if age < GENERATION && !is_full {
            return;
        }
        self.swapped = Some(now);
        self.old = mem::take(&mut self.young);
        if age >= 2 * GENERATION {
            self.old = Generation::default();
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.entries.len() + self.old.entries.len()
    }
}

const GENERATION: Duration = Duration::from_secs(30);
/// Of one generation.
const MAX_COOKIES: usize = 50_000;
const MAX_BYTES: usize = 64 * 1024 * 1024;
const OVERHEAD: usize = 64;
/// Repeats of one request that wait at once.
const MAX_WAITING: usize = 16;

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]

    use super::*;

    fn reply(text: &str) -> Arc<[u8]> {
        text.as_bytes().into()
    }

    #[test]
    fn a_repeat_waits_and_later_gets_the_same_bytes() {
        let mut cookies = Cookies::new();
        let now = Instant::now();
        assert!(matches!(cookies.begin(now, b"a", 1), Known::New(1)));
        assert!(matches!(cookies.begin(now, b"a", 2), Known::Waits));
        assert_eq!(cookies.finish(b"a", &reply("x")), [2]);
        let later = now + Duration::from_secs(29);
        assert!(matches!(cookies.begin(later, b"a", 3), Known::Reply(r, 3) if *r == *b"x"));
    }

    #[test]
    fn a_reply_is_forgotten_within_a_minute_and_not_before_half_of_it() {
        let mut cookies = Cookies::new();
        let now = Instant::now();
        let at = |s| now + Duration::from_secs(s);
        cookies.begin(at(0), b"a", 0);
        cookies.finish(b"a", &reply("x"));
        cookies.begin(at(31), b"other", 0);
        assert!(matches!(cookies.begin(at(60), b"a", 0), Known::Reply(..)));
        assert!(matches!(cookies.begin(at(62), b"a", 0), Known::New(_)));
        assert!(matches!(cookies.begin(at(1000), b"other", 0), Known::New(_)));
    }

    #[test]
    fn a_flood_of_cookies_stays_bounded() {
        let mut cookies = Cookies::new();
        let now = Instant::now();
        for n in 0..3 * MAX_COOKIES {
            let cookie = n.to_string();
            cookies.begin(now, cookie.as_bytes(), n);
            cookies.finish(cookie.as_bytes(), &reply("x"));
        }
        assert!(cookies.len() <= 2 * MAX_COOKIES);
        for who in 0..1000 {
            cookies.begin(now, b"busy", who);
        }
        assert_eq!(cookies.finish(b"busy", &reply("x")).len(), MAX_WAITING);
    }
}
