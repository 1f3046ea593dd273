// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the generator of random numbers is seeded from, and when that is enough.
//!
//! All there is goes in, word by word, over one another: nothing can make a word worse. Counted is each word of 64 bits that
//! one whole random word went into; a source that failed counts for nothing.

/// Bytes of a seed.
pub const LEN: usize = 32;

/// Words of a seed.
const WORDS: usize = LEN / 8;

/// Random words without which there is no generator: 192 bits.
const ENOUGH: u32 = 3;

/// How often RNDR is asked for a word. It fails when it has none in time, and may have one the next time (Arm ARM, "RNDR").
const TRIES: usize = 16;

/// A seed in the making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seed {
    words: [u64; WORDS],
    /// Whether a whole random word went into each.
    is_random: [bool; WORDS],
}

impl Seed {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes that are random, as the firmware has left them in the device tree.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        for (at, chunk) in bytes.chunks(8).enumerate() {
            let mut whole = [0; 8];
            whole.iter_mut().zip(chunk).for_each(|(to, byte)| *to = *byte);
            self.mix(at % WORDS, u64::from_le_bytes(whole), chunk.len() == 8);
        }
    }

    /// Adds words that are random.
    pub fn add_words(&mut self, words: impl IntoIterator<Item = u64>) {
        for (at, word) in words.into_iter().enumerate() {
            self.mix(at % WORDS, word, true);
        }
    }

    /// Adds RNDR's, which `ask` reads: `None` when it failed.
    pub fn add_rndr(&mut self, mut ask: impl FnMut() -> Option<u64>) {
        self.add_words((0..WORDS).map_while(|_| (0..TRIES).find_map(|_| ask())));
    }

    /// Adds what is not random but tells two boots with one seed apart.
    pub fn add_moment(&mut self, count: u64) {
        self.mix(0, count, false);
    }

    fn mix(&mut self, at: usize, word: u64, is_random: bool) {
        if let (Some(to), Some(random)) = (self.words.get_mut(at), self.is_random.get_mut(at)) {
            *to ^= word;
            *random |= is_random;
        }
    }

    /// The seed, if enough of it is random.
    #[must_use]
    pub fn finish(&self) -> Option<[u8; LEN]> {
        let random = self.is_random.iter().filter(|is_random| **is_random).count() as u32;
        let mut bytes = [0; LEN];
        for (to, byte) in bytes.iter_mut().zip(self.words.iter().flat_map(|word| word.to_le_bytes())) {
            *to = byte;
        }
        (random >= ENOUGH).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeded(add: impl FnOnce(&mut Seed)) -> Option<[u8; LEN]> {
        let mut seed = Seed::new();
        add(&mut seed);
        seed.add_moment(0x1234_5678);
        seed.finish()
    }

    #[test]
    fn the_counter_alone_makes_no_generator() {
        assert_eq!(seeded(|_| ()), None);
    }

    #[test]
    fn rndr_that_fails_counts_for_nothing() {
        let mut asked = 0;
        let none = seeded(|seed| {
            seed.add_rndr(|| {
                asked += 1;
                None
            });
        });
        assert_eq!((none, asked), (None, TRIES), "it is asked again, and not for ever");
        // Two words, then nothing more.
        let mut left = 2;
        let two = || {
            left -= 1;
            (left >= 0).then_some(7)
        };
        assert_eq!(seeded(|seed| seed.add_rndr(two)), None);
    }

    #[test]
    fn rndr_that_fails_now_and_then_is_enough() {
        let mut turn = 0;
        let slow = || {
            turn += 1;
            (turn % 3 == 0).then_some(turn)
        };
        let seed = seeded(|seed| seed.add_rndr(slow)).expect("four words");
        assert_eq!(seed[8..], [6u64, 9, 12].map(u64::to_le_bytes).concat());
    }

    #[test]
    fn each_source_alone_is_enough_when_it_has_192_bits() {
        assert!(seeded(|seed| seed.add_bytes(&[0xA5; 32])).is_some());
        assert!(seeded(|seed| seed.add_bytes(&[0xA5; 24])).is_some());
        assert_eq!(seeded(|seed| seed.add_bytes(&[0xA5; 23])), None);
        assert!(seeded(|seed| seed.add_words([1, 2, 3])).is_some());
        assert_eq!(seeded(|seed| seed.add_words([1, 2])), None);
    }

    #[test]
    fn words_over_one_another_count_once() {
        let both = seeded(|seed| {
            seed.add_words([1, 2]);
            seed.add_bytes(&[0xA5; 16]);
        });
        assert_eq!(both, None);
        let together = seeded(|seed| {
            seed.add_bytes(&[0xA5; 8]);
            seed.add_rndr(|| Some(3));
        });
        assert!(together.is_some());
    }

    #[test]
    fn more_than_fits_goes_in_all_the_same() {
        let of = |bytes: &[u8]| {
            let mut seed = Seed::new();
            seed.add_bytes(bytes);
            seed.finish().unwrap()
        };
        let mut long = [1; 64];
        let one = of(&long);
        long[63] = 2;
        assert_ne!(one, of(&long));
    }
}
