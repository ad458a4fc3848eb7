//! A fast hash of 64 bits, the same everywhere, and of no use against an adversary.

use std::hash::{BuildHasherDefault, Hasher};

/// Mixes whatever is written to it, in order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Digest(u64);

/// What makes a map hash by [`Digest`].
pub(crate) type ByDigest = BuildHasherDefault<Digest>;

/// An odd number without pattern: the golden ratio's fraction in 64 bits.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl Digest {
    /// The digest of one word and what came before it.
    pub(crate) fn of(seed: u64, word: u64) -> u64 {
        let mut digest = Self(seed);
        digest.write_u64(word);
        digest.finish()
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
        self.write_u64(bytes.len() as u64);
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x2545_f491_4f6c_dd1d) * u128::from(MULTIPLIER);
        self.0 = (product as u64).rotate_left(29) ^ (product >> 64) as u64;
    }

    // Sums of digests stand for sets, so every bit must depend on all (the finish of SplitMix64).
    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
