//! Texts that wait for their users: store and forward, in order, within bounds.
//!
//! A text is kept until one device of its user has taken it, or until it is too old. Each user's
//! texts go out one after the other, each to all devices at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::TimerTable;
use crosspoint_call::Text;

/// A text that is kept.
#[derive(Debug, Clone)]
pub struct KeptText {
    /// Names it in the store.
    pub id: String,
    /// Whom it is for.
    pub user: Arc<str>,
    pub text: Text,
    /// From then on it is forgotten.
    pub expires: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Postbox {
    waiting: BTreeMap<Arc<str>, VecDeque<KeptText>>,
    /// Of all texts that wait.
    bytes: usize,
    /// Users to whom a text is on its way, and which sendings of it are not answered yet.
    under_way: BTreeMap<Arc<str>, UnderWay>,
    sendings: BTreeMap<u64, Arc<str>>,
    next_sending: u64,
    expiry: TimerTable<Arc<str>>,
}

#[derive(Debug)]
struct UnderWay {
    id: String,
    open: BTreeSet<u64>,
    has_arrived: bool,
}

/// What is left to do after an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Other devices have not answered yet, or nobody knows of this sending.
    Open,
    /// This text has arrived: the next may go out.
    Arrived(Arc<str>, String),
    /// No device took it; it waits for the next that signs in.
    Failed,
}

impl Postbox {
    /// Keeps a text, if there is room.
    pub(crate) fn keep(&mut self, kept: KeptText) -> bool {
        let size = size_of(&kept);
        let of_user = self.waiting.get(&kept.user).map_or(0, VecDeque::len);
        if of_user >= MAX_PER_USER || self.bytes + size > MAX_BYTES {
            return false;
        }
        self.bytes += size;
        let user = kept.user.clone();
        self.waiting.entry(user.clone()).or_default().push_back(kept);
        self.set_expiry(&user);
        true
    }

    /// How many texts wait for a user.
    pub(crate) fn count(&self, user: &str) -> usize {
        self.waiting.get(user).map_or(0, VecDeque::len)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// The next text of a user, if none is on its way.
    pub(crate) fn next_for(&self, user: &str) -> Option<&KeptText> {
        if self.under_way.contains_key(user) {
            return None;
        }
        self.waiting.get(user)?.front()
    }

    /// A text goes out to so many devices: one number for each sending.
    pub(crate) fn send(&mut self, user: &Arc<str>, id: String, devices: usize) -> Vec<u64> {
        let numbers: Vec<u64> = (0..devices).map(|_| self.number()).collect();
        for number in &numbers {
            self.sendings.insert(*number, user.clone());
        }
        let open = numbers.iter().copied().collect();
        self.under_way.insert(user.clone(), UnderWay { id, open, has_arrived: false });
        numbers
    }

    /// A number for a sending that nobody waits for.
    pub(crate) fn number(&mut self) -> u64 {
        self.next_sending += 1;
        self.next_sending
    }

    pub(crate) fn answered(&mut self, sending: u64, has_arrived: bool) -> Outcome {
        let Some(user) = self.sendings.remove(&sending) else { return Outcome::Open };
        let Some(under_way) = self.under_way.get_mut(&user) else { return Outcome::Open };
        under_way.open.remove(&sending);
        under_way.has_arrived |= has_arrived;
        if !under_way.open.is_empty() {
            return Outcome::Open;
        }
        match self.under_way.remove(&user) {
            Some(UnderWay { id, has_arrived: true, .. }) => {
                self.forget(&user, &id);
                Outcome::Arrived(user, id)
            }
            _ => Outcome::Failed,
        }
    }

    fn forget(&mut self, user: &Arc<str>, id: &str) {
        let Some(texts) = self.waiting.get_mut(user) else { return };
        if let Some(at) = texts.iter().position(|kept| kept.id == id) {
            self.bytes -= texts.remove(at).as_ref().map_or(0, size_of);
        }
        if texts.is_empty() {
            self.waiting.remove(user);
        }
        self.set_expiry(user);
    }

    fn set_expiry(&mut self, user: &Arc<str>) {
        let first = self.waiting.get(user).into_iter().flatten().map(|kept| kept.expires).min();
        match first {
            Some(at) => self.expiry.set(user.clone(), at),
            None => {
                self.expiry.cancel(user);
            }
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.expiry.next()
    }

    /// Forgets what is too old; gives what it was.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<KeptText> {
        let mut gone = Vec::new();
        while let Some(user) = self.expiry.pop_due(now) {
            let texts = self.waiting.get(&user).into_iter().flatten();
            let old: Vec<KeptText> = texts.filter(|kept| kept.expires <= now).cloned().collect();
            for kept in &old {
                self.forget(&user, &kept.id);
            }
            gone.extend(old);
        }
        gone
    }
}

fn size_of(kept: &KeptText) -> usize {
    kept.text.body.expose().len() + kept.text.kind.len() + OVERHEAD
}

/// How long a text waits for its user.
pub(crate) const KEEP: Duration = Duration::from_secs(7 * 86_400);
const MAX_PER_USER: usize = 100;
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Of one text: names, numbers and tables.
const OVERHEAD: usize = 512;

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]

    use crosspoint_base::Private;
    use crosspoint_call::Identity;

    use super::*;

    fn kept(id: usize, bytes: usize, expires: Instant) -> KeptText {
        KeptText {
            id: id.to_string(),
            user: "alice".into(),
            text: Text {
                from: Identity::default(),
                to: Private("alice".to_owned()),
                kind: "text/plain".into(),
                body: Private("x".repeat(bytes)),
                is_fleeting: false,
            },
            expires,
        }
    }

    #[test]
    fn keeps_so_many_and_no_more() {
        let later = Instant::now() + KEEP;
        let mut postbox = Postbox::default();
        let taken = (0..200).filter(|n| postbox.keep(kept(*n, 10, later))).count();
        assert_eq!((taken, postbox.count("alice")), (MAX_PER_USER, MAX_PER_USER));
        assert!(!Postbox::default().keep(kept(0, MAX_BYTES, later)));
    }

    #[test]
    fn goes_on_with_the_next_once_one_device_has_it() {
        let later = Instant::now() + KEEP;
        let mut postbox = Postbox::default();
        let alice: Arc<str> = "alice".into();
        for n in 0..2 {
            assert!(postbox.keep(kept(n, 10, later)));
        }
        let numbers = postbox.send(&alice, "0".to_owned(), 2);
        assert!(postbox.next_for("alice").is_none(), "one at a time");
        assert_eq!(postbox.answered(numbers[0], true), Outcome::Open);
        let arrived = Outcome::Arrived(alice.clone(), "0".to_owned());
        assert_eq!(postbox.answered(numbers[1], false), arrived);
        assert_eq!(postbox.next_for("alice").map(|k| k.id.as_str()), Some("1"));
        let numbers = postbox.send(&alice, "1".to_owned(), 1);
        assert_eq!(postbox.answered(numbers[0], false), Outcome::Failed);
        assert_eq!(postbox.count("alice"), 1, "it waits for the next device");
    }

    #[test]
    fn forgets_what_is_too_old() {
        let now = Instant::now();
        let mut postbox = Postbox::default();
        assert!(postbox.keep(kept(0, 10, now + Duration::from_secs(1))));
        assert!(postbox.keep(kept(1, 10, now + Duration::from_secs(3))));
        assert_eq!(postbox.expired(now + Duration::from_secs(2)).len(), 1);
        assert_eq!((postbox.len(), postbox.next_timeout().is_some()), (1, true));
        assert_eq!(postbox.expired(now + Duration::from_secs(3)).len(), 1);
        assert_eq!((postbox.bytes, postbox.next_timeout()), (0, None));
    }
}
