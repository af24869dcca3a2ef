//! The injected cryptographic generator: one seed makes a whole run reproducible.

use std::fmt;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

/// A ChaCha20 generator. Machines receive one at construction and never seed themselves.
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// A generator whose whole output follows from `seed`.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// A generator for tests and simulations.
    #[must_use]
    pub fn from_u64(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed))
    }

    /// An independent generator, for handing to another machine.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        let mut seed = [0; 32];
        self.0.fill_bytes(&mut seed);
        Self::from_seed(seed)
    }

    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..bound`; `bound` must not be zero. The bias is below 2⁻³² for small bounds.
    pub fn below(&mut self, bound: u32) -> u32 {
        u32::try_from((u64::from(self.next_u32()) * u64::from(bound)) >> 32)
            .expect("the product of two 32-bit numbers shifted by 32 fits 32 bits")
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// `bytes` random bytes in lower-case hexadecimal, for tags, branches and nonces.
    pub fn hex(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes * 2);
        let mut left = bytes;
        while left > 0 {
            let mut some = [0; 16];
            let some = &mut some[..left.min(16)];
            self.0.fill_bytes(some);
            push_hex(&mut text, some);
            left -= some.len();
        }
        text
    }
}

/// Bytes in lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Sixteen at a time: pushed one by one each character asks whether there is room.
    for some in bytes.chunks(16) {
        let mut digits = [0; 32];
        for (two, byte) in digits.chunks_exact_mut(2).zip(some) {
            two[0] = DIGITS[usize::from(byte >> 4)];
            two[1] = DIGITS[usize::from(byte & 15)];
        }
        text.push_str(std::str::from_utf8(&digits[..2 * some.len()]).unwrap_or_default());
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}
