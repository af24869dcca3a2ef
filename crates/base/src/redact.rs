//! Wrappers that keep secrets and personal data out of logs.

use std::fmt;

use subtle::ConstantTimeEq;

/// A credential or key. It never prints, whatever the log level.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Gives the value to code that needs it. Do not print what comes out.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Compares what was shown with what is secret, without telling by the time it takes where the two
/// differ. That their lengths differ may be told.
#[must_use]
pub fn is_same_secret(known: &[u8], shown: &[u8]) -> bool {
    known.ct_eq(shown).into()
}

/// Personal data: numbers, names, addresses of people. `Debug` hides it; showing it is explicit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Private<T>(pub T);

impl<T> Private<T> {
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[private]")
    }
}
