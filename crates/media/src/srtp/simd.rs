//! AES in counter mode, GHASH and HMAC-SHA1 in vector registers (x86-64), chosen at run time.
//!
//! One packet's SHA-1 is a chain of dependent steps, so sixteen packets of sixteen keys are hashed
//! side by side, one in each lane of AVX-512. All unsafe code of this crate is here; the portable
//! twins are in `hmac.rs` and `keystream.rs`, and tests hold both against each other.

#![allow(unsafe_code, reason = "processor instructions have no safe interface for memory")]

use std::arch::x86_64::*;

use super::hmac::{Hmac, Lane, Tag};

/// Packets that are hashed together.
pub(super) const LANES: usize = 16;

/// Round keys of AES-128 or AES-256 for the processor's own instructions.
#[derive(Clone)]
#[repr(C, align(16))]
pub(super) struct RoundKeys {
    keys: [[u8; 16]; MAX_ROUNDS + 1],
    rounds: u8,
    /// Whether four blocks fit in one register.
    is_wide: bool,
}

const MAX_ROUNDS: usize = 14;

impl RoundKeys {
    /// Of a key of 16 or 32 bytes; `None` on a processor without AES.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        if !(is_x86_feature_detected!("aes") && is_x86_feature_detected!("sse4.1")) {
            return None;
        }
        let is_wide = is_x86_feature_detected!("vaes") && has_avx512();
        let mut keys = [[0; 16]; MAX_ROUNDS + 1];
        let rounds = if let Ok(key) = key.try_into() {
            // SAFETY: the processor has AES, as was just asked.
            unsafe { expand(key, &mut keys) };
            10
        } else {
            // SAFETY: as above.
            unsafe { expand_long(key.try_into().ok()?, &mut keys) };
            14
        };
        Some(Self { keys, rounds, is_wide })
    }

    fn keys(&self) -> &[[u8; 16]] {
        &self.keys[..=usize::from(self.rounds)]
    }

    /// One block, encrypted.
    fn block(&self, block: [u8; 16]) -> [u8; 16] {
        // SAFETY: the processor has AES, or there were no round keys.
        unsafe { encrypt(self.keys(), &block) }
    }

    /// Adds the key stream from this block on; the last two bytes of the block count.
    pub(super) fn apply(&self, block: &[u8; 16], data: &mut [u8]) {
        if self.is_wide {
            // SAFETY: the processor has VAES and AVX-512: `is_wide` says so.
            unsafe { apply_wide(self.keys(), block, data) }
        } else {
            // SAFETY: the processor has AES, or there were no round keys.
            unsafe { apply_narrow(self.keys(), block, data) }
        }
    }

    /// As a processor without wide registers does it.
    #[cfg(test)]
    pub(super) fn narrow(mut self) -> Self {
        self.is_wide = false;
        self
    }
}

/// AES-GCM (NIST SP 800-38D) with nonces of 96 bits.
#[repr(C, align(64))]
pub(super) struct Gcm {
    keys: RoundKeys,
    /// Powers of the hash key, for that many blocks at once: the first block takes the highest.
    powers: Blocks,
    /// Whether four blocks of a hash fit in one register.
    is_wide: bool,
}

/// A group of blocks that are hashed together.
#[repr(C, align(64))]
struct Blocks([[u8; 16]; POWERS]);

/// A packet of 20 ms of G.711 with header and lengths has twelve blocks.
const POWERS: usize = 12;

impl Gcm {
    /// Of a key of 16 or 32 bytes; `None` on a processor that cannot.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        if !(is_x86_feature_detected!("pclmulqdq") && is_x86_feature_detected!("ssse3")) {
            return None;
        }
        let keys = RoundKeys::new(key)?;
        let first = hash_key(u128::from_be_bytes(keys.block([0; 16])));
        let mut powers = Blocks([first.to_le_bytes(); POWERS]);
        for n in (0..POWERS - 1).rev() {
            // SAFETY: the processor has PCLMULQDQ and SSSE3, as was just asked.
            powers.0[n] = unsafe { product(&powers.0[n + 1], &first.to_le_bytes()) };
        }
        let is_wide = is_x86_feature_detected!("vpclmulqdq") && has_avx512();
        Some(Self { keys, powers, is_wide })
    }

    /// Encrypts in place; gives the tag.
    pub(super) fn seal(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; 16] {
        self.keys.apply(&counter(nonce, 2), data);
        self.tag(nonce, aad, data)
    }

    /// Decrypts in place what has been checked against [`Gcm::tag`].
    pub(super) fn decrypt(&self, nonce: [u8; 12], data: &mut [u8]) {
        self.keys.apply(&counter(nonce, 2), data);
    }

    /// The tag of encrypted data.
    pub(super) fn tag(&self, nonce: [u8; 12], aad: &[u8], data: &[u8]) -> [u8; 16] {
        let hash = self.hash(aad, data);
        let mask = u128::from_ne_bytes(self.keys.block(counter(nonce, 1)));
        (u128::from_ne_bytes(hash) ^ mask).to_ne_bytes()
    }

    /// NIST SP 800-38D §6.4 over the additional data, the data and their lengths.
    fn hash(&self, aad: &[u8], data: &[u8]) -> [u8; 16] {
        let lengths = ((8 * aad.len() as u128) << 64) | (8 * data.len() as u128);
        let lengths = lengths.to_be_bytes();
        let mut left = aad.len().div_ceil(16) + data.len().div_ceil(16) + 1;
        let mut sum = [0; 16];
        let mut group = Blocks([[0; 16]; POWERS]);
        // A group that is not full begins later: zeros before it change nothing.
        let mut at = POWERS - left.min(POWERS);
        let mut first = at;
        for piece in [aad, data, &lengths] {
            for bytes in piece.chunks(16) {
                let block = &mut group.0[at];
                if let Some(whole) = bytes.first_chunk() {
                    *block = *whole;
                } else {
                    *block = [0; 16];
                    block[..bytes.len()].copy_from_slice(bytes);
                }
                (at, left) = (at + 1, left - 1);
                if at < POWERS {
                    continue;
                }
                let begun = u128::from_ne_bytes(group.0[first]) ^ u128::from_ne_bytes(sum);
                group.0[first] = begun.to_ne_bytes();
                sum = self.absorb(&group);
                first = POWERS - left.min(POWERS);
                at = first;
                group.0[..first].fill([0; 16]);
            }
        }
        sum
    }

    fn absorb(&self, group: &Blocks) -> [u8; 16] {
        if self.is_wide {
            // SAFETY: the processor has VPCLMULQDQ and AVX-512: `is_wide` says so.
            unsafe { absorb_wide(&self.powers, group) }
        } else {
            // SAFETY: the processor has PCLMULQDQ and SSSE3, or there was no key.
            unsafe { absorb_narrow(&self.powers, group) }
        }
    }

    /// As a processor without wide registers does it.
    #[cfg(test)]
    pub(super) fn narrow(mut self) -> Self {
        (self.is_wide, self.keys.is_wide) = (false, false);
        self
    }
}

fn counter(nonce: [u8; 12], count: u8) -> [u8; 16] {
    let mut block = [0; 16];
    block[..12].copy_from_slice(&nonce);
    block[15] = count;
    block
}

/// GHASH as POLYVAL counts it (RFC 8452 appendix A): the key, times x.
fn hash_key(key: u128) -> u128 {
    let over = if key >> 127 == 1 { 1 << 127 | 1 << 126 | 1 << 121 | 1 } else { 0 };
    key << 1 ^ over
}

#[target_feature(enable = "pclmulqdq,ssse3")]
fn product(a: &[u8; 16], b: &[u8; 16]) -> [u8; 16] {
    let mut out = [0; 16];
    store(&mut out, reduce(multiply(load(a), load(b))));
    out
}

/// Low, middle and high part of a product without carries.
type Parts = [__m128i; 3];

#[inline]
#[target_feature(enable = "pclmulqdq,ssse3")]
fn multiply(a: __m128i, b: __m128i) -> Parts {
    let low = _mm_clmulepi64_si128::<0x00>(a, b);
    let high = _mm_clmulepi64_si128::<0x11>(a, b);
    let middle =
        _mm_xor_si128(_mm_clmulepi64_si128::<0x01>(a, b), _mm_clmulepi64_si128::<0x10>(a, b));
    [low, middle, high]
}

/// Modulo x¹²⁸ + x¹²⁷ + x¹²⁶ + x¹²¹ + 1, divided by x¹²⁸ (Montgomery's way, in two words).
#[inline]
#[target_feature(enable = "pclmulqdq,ssse3")]
fn reduce([low, middle, high]: Parts) -> __m128i {
    let low = _mm_xor_si128(low, _mm_slli_si128::<8>(middle));
    let high = _mm_xor_si128(high, _mm_srli_si128::<8>(middle));
    let modulus = _mm_set1_epi64x((1_u64 << 63 | 1 << 62 | 1 << 57).cast_signed());
    let first = _mm_clmulepi64_si128::<0x00>(low, modulus);
    let half = _mm_xor_si128(low, _mm_shuffle_epi32::<0x4e>(first));
    let second = _mm_clmulepi64_si128::<0x11>(half, modulus);
    _mm_xor_si128(high, _mm_xor_si128(second, half))
}

/// The sum of a group of blocks, each times its power of the key.
#[target_feature(enable = "pclmulqdq,ssse3")]
fn absorb_narrow(powers: &Blocks, group: &Blocks) -> [u8; 16] {
    let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut parts = [_mm_setzero_si128(); 3];
    for (block, power) in group.0.iter().zip(&powers.0) {
        let more = multiply(_mm_shuffle_epi8(load(block), order), load(power));
        for (part, more) in parts.iter_mut().zip(more) {
            *part = _mm_xor_si128(*part, more);
        }
    }
    let mut out = [0; 16];
    store(&mut out, _mm_shuffle_epi8(reduce(parts), order));
    out
}

/// The same, four blocks in a register.
#[target_feature(enable = "vpclmulqdq,pclmulqdq,ssse3,avx512f,avx512bw")]
fn absorb_wide(powers: &Blocks, group: &Blocks) -> [u8; 16] {
    let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let wide_order = _mm512_broadcast_i32x4(order);
    let four = |blocks: &[[u8; 16]; 4]| {
        // SAFETY: the reference is to 64 bytes, and the load needs no alignment.
        unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) }
    };
    let mut parts = [_mm512_setzero_si512(); 4];
    let quarters = group.0.as_chunks::<4>().0.iter().zip(powers.0.as_chunks::<4>().0);
    for (blocks, powers) in quarters {
        let (a, b) = (_mm512_shuffle_epi8(four(blocks), wide_order), four(powers));
        let more = [
            _mm512_clmulepi64_epi128::<0x00>(a, b),
            _mm512_clmulepi64_epi128::<0x01>(a, b),
            _mm512_clmulepi64_epi128::<0x10>(a, b),
            _mm512_clmulepi64_epi128::<0x11>(a, b),
        ];
        for (part, more) in parts.iter_mut().zip(more) {
            *part = _mm512_xor_si512(*part, more);
        }
    }
    let [low, one, other, high] = parts;
    let folded = [low, _mm512_xor_si512(one, other), high].map(|part| {
        let half =
            _mm256_xor_si256(_mm512_castsi512_si256(part), _mm512_extracti64x4_epi64::<1>(part));
        _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
    });
    let mut out = [0; 16];
    store(&mut out, _mm_shuffle_epi8(reduce(folded), order));
    out
}

fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// Has these bytes of a value on their way into the cache before they are asked for.
pub(crate) fn prefetch<T>(value: &T, bytes: std::ops::Range<usize>) {
    let start = std::ptr::from_ref(value).cast::<i8>();
    let lines = bytes.start / 64 * 64..bytes.end.min(size_of::<T>());
    for at in lines.step_by(64) {
        // SAFETY: a prefetch reads nothing and never faults; the address is within the value.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(at)) };
    }
}

/// Tags of up to sixteen packets; false when the processor cannot, and then nothing was done.
pub(super) fn tags(lanes: &[Lane<'_>], tags: &mut [Tag]) -> bool {
    if !has_avx512() || lanes.len() > LANES || tags.len() < lanes.len() {
        return false;
    }
    // SAFETY: the processor has AVX-512 F and BW, as was just asked.
    unsafe { hash(lanes, tags) };
    true
}

/// FIPS 197 §5.2, AES-128.
#[target_feature(enable = "aes,sse4.1")]
fn expand(key: &[u8; 16], keys: &mut [[u8; 16]; MAX_ROUNDS + 1]) {
    let mut last = load(key);
    keys[0] = *key;
    macro_rules! round {
        ($($number:literal $constant:literal)*) => {$({
            let turned = _mm_aeskeygenassist_si128::<$constant>(last);
            last = mixed(last, _mm_shuffle_epi32::<0xff>(turned));
            store(&mut keys[$number], last);
        })*};
    }
    round!(1 0x01 2 0x02 3 0x04 4 0x08 5 0x10 6 0x20 7 0x40 8 0x80 9 0x1b 10 0x36);
}

/// FIPS 197 §5.2, AES-256.
#[target_feature(enable = "aes,sse4.1")]
fn expand_long(key: &[u8; 32], keys: &mut [[u8; 16]; MAX_ROUNDS + 1]) {
    let ([first, second], _) = key.as_chunks::<16>() else { return };
    let (mut even, mut odd) = (load(first), load(second));
    (keys[0], keys[1]) = (*first, *second);
    macro_rules! rounds {
        ($($number:literal $constant:literal)*) => {$({
            let turned = _mm_aeskeygenassist_si128::<$constant>(odd);
            even = mixed(even, _mm_shuffle_epi32::<0xff>(turned));
            store(&mut keys[$number], even);
            // Behind the last there is no other.
            if let Some(key) = keys.get_mut($number + 1) {
                let turned = _mm_aeskeygenassist_si128::<0>(even);
                odd = mixed(odd, _mm_shuffle_epi32::<0xaa>(turned));
                store(key, odd);
            }
        })*};
    }
    rounds!(2 0x01 4 0x02 6 0x04 8 0x08 10 0x10 12 0x20 14 0x40);
}

/// The words of a round key, each added to all behind it, and the turned word to all.
#[inline]
#[target_feature(enable = "sse2")]
fn mixed(key: __m128i, turned: __m128i) -> __m128i {
    let key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    let key = _mm_xor_si128(key, _mm_slli_si128::<8>(key));
    _mm_xor_si128(key, turned)
}

#[inline]
#[target_feature(enable = "sse2")]
fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the reference is to sixteen bytes, and the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn store(bytes: &mut [u8; 16], value: __m128i) {
    // SAFETY: the reference is to sixteen bytes, and the store needs no alignment.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), value) }
}

#[target_feature(enable = "aes,sse4.1")]
fn encrypt(keys: &[[u8; 16]], block: &[u8; 16]) -> [u8; 16] {
    let [white, middle @ .., end] = keys else { return *block };
    let mut state = _mm_xor_si128(load(block), load(white));
    for key in middle {
        state = _mm_aesenc_si128(state, load(key));
    }
    let mut out = [0; 16];
    store(&mut out, _mm_aesenclast_si128(state, load(end)));
    out
}

/// Eight blocks at a time, to hide how long each round takes.
#[target_feature(enable = "aes,sse4.1")]
fn apply_narrow(keys: &[[u8; 16]], block: &[u8; 16], data: &mut [u8]) {
    let [white, middle @ .., end] = keys else { return };
    let (white, end) = (load(white), load(end));
    let first = load(block);
    let mut count = u16::from_be_bytes([block[14], block[15]]);
    for part in data.chunks_mut(8 * 16) {
        let mut blocks = [_mm_setzero_si128(); 8];
        for block in &mut blocks {
            let counted = _mm_insert_epi16::<7>(first, i32::from(count.swap_bytes()));
            *block = _mm_xor_si128(counted, white);
            count = count.wrapping_add(1);
        }
        for key in middle {
            let key = load(key);
            for block in &mut blocks {
                *block = _mm_aesenc_si128(*block, key);
            }
        }
        let mut stream = [[0; 16]; 8];
        for (out, block) in stream.iter_mut().zip(blocks) {
            store(out, _mm_aesenclast_si128(block, end));
        }
        for (byte, key) in part.iter_mut().zip(stream.as_flattened()) {
            *byte ^= key;
        }
    }
}

/// Twelve blocks at a time, in three registers: a packet of sound in one go.
#[target_feature(enable = "aes,vaes,avx512f,avx512bw")]
fn apply_wide(keys: &[[u8; 16]], block: &[u8; 16], data: &mut [u8]) {
    // What differs is the counter; four blocks of a register count up by themselves.
    let counter = u16::from_be_bytes([block[14], block[15]]);
    let mut zero = *block;
    [zero[14], zero[15]] = [0, 0];
    let [white, middle @ .., end] = keys else { return };
    let wide = |key: &[u8; 16]| _mm512_broadcast_i32x4(load(key));
    let (first, end) = (_mm512_xor_si512(wide(&zero), wide(white)), wide(end));
    let counted = |count: u16| {
        let at = |n: u16| i64::from(count.wrapping_add(n).swap_bytes()) << 48;
        let counts = _mm512_set_epi64(at(3), 0, at(2), 0, at(1), 0, at(0), 0);
        _mm512_xor_si512(first, counts)
    };
    for (n, part) in data.chunks_mut(12 * 16).enumerate() {
        let count = counter.wrapping_add(12 * n as u16);
        let mut blocks =
            [counted(count), counted(count.wrapping_add(4)), counted(count.wrapping_add(8))];
        for key in middle {
            let key = wide(key);
            for block in &mut blocks {
                *block = _mm512_aesenc_epi128(*block, key);
            }
        }
        for (piece, block) in part.chunks_mut(64).zip(blocks) {
            let stream = _mm512_aesenclast_epi128(block, end);
            let mask = u64::MAX >> (64 - piece.len());
            let at = piece.as_mut_ptr().cast();
            // SAFETY: the mask has as many bits as `piece` has bytes (1 to 64), and what it
            // leaves out is neither read nor written.
            unsafe {
                let plain = _mm512_maskz_loadu_epi8(mask, at);
                _mm512_mask_storeu_epi8(at, mask, _mm512_xor_si512(plain, stream));
            }
        }
    }
}

/// RFC 2104 over SHA-1 (FIPS 180-4 §6.1), one message in each lane.
#[target_feature(enable = "avx512f,avx512bw")]
fn hash(lanes: &[Lane<'_>], tags: &mut [Tag]) {
    let mut states = [_mm512_setzero_si512(); LANES];
    let mut blocks = [0; LANES];
    for (n, lane) in lanes.iter().enumerate() {
        states[n] = load_state(lane.hmac);
        // The message, one bit, and its length in eight bytes.
        blocks[n] = (lane.message.len() + 9).div_ceil(64);
    }
    transpose(&mut states);
    let [a, b, c, d, e, f, g, h, i, j, ..] = states;
    let mut inner = [a, b, c, d, e];
    for number in 0..blocks.iter().copied().max().unwrap_or(0) {
        let mut words = [_mm512_setzero_si512(); LANES];
        let mut running = 0;
        for (n, lane) in lanes.iter().enumerate() {
            // A lane that is at its end keeps what it has.
            if number < blocks[n] {
                words[n] = block_of(lane.message, number);
                running |= 1 << n;
            }
        }
        transpose(&mut words);
        compress(&mut inner, &mut words, running);
    }
    let mut words = [_mm512_setzero_si512(); LANES];
    words[..5].copy_from_slice(&inner);
    words[5] = _mm512_set1_epi32(i32::MIN);
    words[15] = _mm512_set1_epi32((64 + 20) * 8);
    let mut outer = [f, g, h, i, j];
    compress(&mut outer, &mut words, u16::MAX);
    let mut out = [[0_u32; LANES]; 5];
    for (row, word) in out.iter_mut().zip(outer) {
        // SAFETY: the row has sixteen words, and the store needs no alignment.
        unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), word) };
    }
    for (n, tag) in tags.iter_mut().enumerate().take(lanes.len()) {
        for (bytes, row) in tag.as_chunks_mut::<4>().0.iter_mut().zip(&out) {
            *bytes = row[n].to_be_bytes();
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_state(hmac: &Hmac) -> __m512i {
    // SAFETY: the states are sixteen words, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(hmac.states().as_ptr().cast()) }
}

/// A block of a message with its padding, as words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn block_of(message: &[u8], number: usize) -> __m512i {
    let rest = message.get(64 * number..).unwrap_or_default();
    let mask = if rest.len() >= 64 { u64::MAX } else { (1 << rest.len()) - 1 };
    // SAFETY: the mask has no more bits than `rest` has bytes, and what it leaves out is not read.
    let mut bytes = unsafe { _mm512_maskz_loadu_epi8(mask, rest.as_ptr().cast()) };
    let order = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    if rest.len() >= 64 {
        return _mm512_shuffle_epi8(bytes, order);
    }
    // One bit goes behind the last byte, wherever that was, once.
    if message.len() >= 64 * number {
        bytes = _mm512_mask_mov_epi8(bytes, 1 << rest.len(), _mm512_set1_epi8(i8::MIN));
    }
    let words = _mm512_shuffle_epi8(bytes, order);
    let is_last = rest.len() + 9 <= 64;
    let bits = (64 + message.len() as i32) * 8;
    _mm512_mask_mov_epi32(words, if is_last { 1 << 15 } else { 0 }, _mm512_set1_epi32(bits))
}

/// Rows of sixteen words become columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: &mut [__m512i; LANES]) {
    let mut t = *rows;
    for n in 0..8 {
        t[2 * n] = _mm512_unpacklo_epi32(rows[2 * n], rows[2 * n + 1]);
        t[2 * n + 1] = _mm512_unpackhi_epi32(rows[2 * n], rows[2 * n + 1]);
    }
    for n in 0..4 {
        rows[4 * n] = _mm512_unpacklo_epi64(t[4 * n], t[4 * n + 2]);
        rows[4 * n + 1] = _mm512_unpackhi_epi64(t[4 * n], t[4 * n + 2]);
        rows[4 * n + 2] = _mm512_unpacklo_epi64(t[4 * n + 1], t[4 * n + 3]);
        rows[4 * n + 3] = _mm512_unpackhi_epi64(t[4 * n + 1], t[4 * n + 3]);
    }
    for n in 0..4 {
        t[n] = _mm512_shuffle_i32x4::<0x88>(rows[n], rows[n + 4]);
        t[n + 4] = _mm512_shuffle_i32x4::<0xdd>(rows[n], rows[n + 4]);
        t[n + 8] = _mm512_shuffle_i32x4::<0x88>(rows[n + 8], rows[n + 12]);
        t[n + 12] = _mm512_shuffle_i32x4::<0xdd>(rows[n + 8], rows[n + 12]);
    }
    for n in 0..4 {
        rows[n] = _mm512_shuffle_i32x4::<0x88>(t[n], t[n + 8]);
        rows[n + 8] = _mm512_shuffle_i32x4::<0xdd>(t[n], t[n + 8]);
        rows[n + 4] = _mm512_shuffle_i32x4::<0x88>(t[n + 4], t[n + 12]);
        rows[n + 12] = _mm512_shuffle_i32x4::<0xdd>(t[n + 4], t[n + 12]);
    }
}

/// FIPS 180-4 §6.1.2 in the lanes that are `running`; the words are used up.
#[inline]
#[target_feature(enable = "avx512f")]
fn compress(state: &mut [__m512i; 5], w: &mut [__m512i; LANES], running: u16) {
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    // The three functions of §4.1.1 as truth tables: choice, parity, majority.
    macro_rules! rounds {
        ($constant:literal, $truth:literal; $($t:literal)*) => {$({
            if $t >= 16 {
                let old = _mm512_xor_si512(w[($t + 2) & 15], w[$t & 15]);
                let new = _mm512_ternarylogic_epi32::<0x96>(w[($t + 13) & 15], w[($t + 8) & 15], old);
                w[$t & 15] = _mm512_rol_epi32::<1>(new);
            }
            let mixed = _mm512_ternarylogic_epi32::<$truth>(b, c, d);
            let constant = _mm512_set1_epi32($constant.cast_signed());
            let known = _mm512_add_epi32(_mm512_add_epi32(e, w[$t & 15]), constant);
            e = d;
            d = c;
            c = _mm512_rol_epi32::<30>(b);
            b = a;
            a = _mm512_add_epi32(_mm512_add_epi32(_mm512_rol_epi32::<5>(a), mixed), known);
        })*};
    }
    rounds!(0x5a82_7999_u32, 0xca; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
    rounds!(0x6ed9_eba1_u32, 0x96; 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39);
    rounds!(0x8f1b_bcdc_u32, 0xe8; 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59);
    rounds!(0xca62_c1d6_u32, 0x96; 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79);
    for (word, new) in state.iter_mut().zip([a, b, c, d, e]) {
        *word = _mm512_mask_add_epi32(*word, running, *word, new);
    }
}
