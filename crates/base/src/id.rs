//! Identifiers that two functions could otherwise swap.

use std::fmt;
use std::time::Instant;

use crate::{Rng, WallClock, hex};

macro_rules! numeric_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

numeric_id!(
    /// One attempt to connect two parties, unique within a node.
    CallId,
    "call-"
);
numeric_id!(
    /// One side of a call, unique within a node.
    LegId,
    "leg-"
);
numeric_id!(
    /// One TCP, TLS or WebSocket link, unique within a process.
    ConnectionId,
    "conn-"
);
numeric_id!(
    /// One registered way to reach a user (RFC 3261 §10), unique within a node.
    BindingId,
    "binding-"
);

numeric_id!(
    /// One sign-in of ours at a registrar elsewhere (RFC 3261 §10.2), unique within a node.
    RegistrationId,
    "registration-"
);

/// Who makes ids: each connector numbers its own legs and bindings, and an id tells whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Maker(pub u8);

impl Maker {
    fn mark(self, number: u64) -> u64 {
        u64::from(self.0) << MAKER_SHIFT | number & NUMBERS
    }

    fn of(id: u64) -> Self {
        Self((id >> MAKER_SHIFT).to_le_bytes()[0])
    }

    #[must_use]
    pub fn leg(self, number: u64) -> LegId {
        LegId(self.mark(number))
    }

    #[must_use]
    pub fn binding(self, number: u64) -> BindingId {
        BindingId(self.mark(number))
    }
}

impl LegId {
    #[must_use]
    pub fn maker(self) -> Maker {
        Maker::of(self.0)
    }
}

impl BindingId {
    #[must_use]
    pub fn maker(self) -> Maker {
        Maker::of(self.0)
    }
}

const MAKER_SHIFT: u32 = 56;
const NUMBERS: u64 = (1 << MAKER_SHIFT) - 1;

/// The global id of a call: every connector shows it, and it names log span, CDR and ladder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gcid(String);

impl Gcid {
    /// Makes a fresh id: a UUID of version 7 without hyphens (RFC 9562 §5.7), which is the time in
    /// milliseconds and 74 random bits.
    ///
    /// Ids that begin with the time are kept side by side where records are found by them, so that
    /// a store touches few pages for many calls; among random ones each call has a page of its own.
    #[must_use]
    pub fn generate(now: Instant, clock: &WallClock, rng: &mut Rng) -> Self {
        let mut bytes = [0; 16];
        rng.fill(&mut bytes[6..]);
        bytes[..6].copy_from_slice(&clock.millis(now).to_be_bytes()[2..]);
        bytes[6] = bytes[6] & 0x0f | 0x70;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(hex(&bytes))
    }

    /// Takes an id that a peer brought, if it is short and printable.
    #[must_use]
    pub fn from_peer(text: &str) -> Option<Self> {
        let acceptable =
            (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        acceptable.then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Gcid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Gcid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant does")]
    fn a_gcid_is_a_uuid_that_begins_with_the_time() {
        let now = Instant::now();
        let clock = WallClock::new(now, Duration::from_millis(0x0123_4567_89ab));
        let mut rng = Rng::from_u64(1);
        let first = Gcid::generate(now, &clock, &mut rng);
        let (time, random) = first.as_str().split_at(12);
        assert_eq!((time, random.len()), ("0123456789ab", 20));
        assert_eq!(&random[..1], "7", "the version");
        assert!("89ab".contains(&random[4..5]), "the variant");

        let later = now + Duration::from_millis(1);
        let second = Gcid::generate(later, &clock, &mut rng);
        assert!(second > first && second.as_str().starts_with("0123456789ac7"));
        let same = Gcid::generate(later, &clock, &mut rng);
        assert_ne!(same.as_str()[12..], second.as_str()[12..]);
    }
}
