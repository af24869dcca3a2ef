//! The sources of a direction and how far each has come (RFC 3711 §3.3).

use super::Error;

/// The source that was heard last is found at once; others are few.
#[derive(Debug, Default)]
pub(super) struct Sources {
    last: Option<Source>,
    others: Vec<Source>,
}

impl Sources {
    pub(super) fn find(&self, ssrc: u32) -> Option<Source> {
        let mut all = self.last.iter().chain(&self.others);
        all.find(|source| source.ssrc == ssrc).copied()
    }

    /// The source, made known if it was not.
    pub(super) fn entry(&mut self, ssrc: u32) -> Result<&mut Source, Error> {
        if self.last.as_ref().is_none_or(|last| last.ssrc != ssrc) {
            let index = self.others.iter().position(|source| source.ssrc == ssrc);
            if index.is_none() && !self.has_room() {
                return Err(Error::TooManySources);
            }
            let new = Source { ssrc, ..Source::default() };
            let found = index.map_or(new, |index| self.others.swap_remove(index));
            self.others.extend(self.last.replace(found));
        }
        self.last.as_mut().ok_or(Error::TooManySources)
    }

    pub(super) fn has_room(&self) -> bool {
        self.len() < MAX_SOURCES
    }

    pub(super) fn len(&self) -> usize {
        self.others.len() + usize::from(self.last.is_some())
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The highest index seen of a source, and which of the 128 below it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Source {
    seen: u128,
    highest: u64,
    ssrc: u32,
    started: bool,
}

impl Source {
    /// RFC 3711 §3.3.1: the 48-bit index that is nearest to the highest seen.
    pub(super) fn index_of(&self, seq: u16) -> u64 {
        if !self.started {
            return u64::from(seq);
        }
        let roc = self.highest >> 16;
        let last = i32::try_from(self.highest & 0xffff).unwrap_or(0);
        let gap = i32::from(seq) - last;
        let roc = match gap {
            32_769.. => roc.saturating_sub(1),
            ..=-32_769 => roc + 1,
            _ => roc,
        };
        roc << 16 | u64::from(seq)
    }

    pub(super) fn is_fresh(&self, index: u64) -> bool {
        if !self.started || index > self.highest {
            return true;
        }
        let below = self.highest - index;
        below < 128 && self.seen >> below & 1 == 0
    }

    pub(super) fn take(&mut self, index: u64) {
        if !self.started {
            *self = Self { highest: index, seen: 1, started: true, ssrc: self.ssrc };
        } else if index > self.highest {
            let shift = u32::try_from(index - self.highest).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
            self.highest = index;
        } else if self.highest - index < 128 {
            self.seen |= 1 << (self.highest - index);
        }
    }

    /// Takes the index behind the highest; gives it.
    pub(super) fn take_next(&mut self) -> u64 {
        let index = if self.started { self.highest + 1 } else { 0 };
        self.take(index);
        index
    }
}

/// A phone uses one or two; a re-offered session a few more over its life.
const MAX_SOURCES: usize = 32;
