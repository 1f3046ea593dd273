// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entropy for guests: seeds in their device trees, and their TRNG calls.
//!
//! A ChaCha20 generator, seeded once from what the firmware put into the board's device tree, from its random numbers and from
//! RNDR, where there are such; with none of them from the board's virtio source of entropy. If there is not even that, there is no
//! entropy, and guests are told so.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use vambrace_cpu::smccc::NoEntropy;

use crate::firmware;
use crate::lock::SpinMutex;
use crate::sysreg::{CntpctEl0, IdAa64isar0El1, Read, Rndr};

static GENERATOR: SpinMutex<Option<ChaCha20Rng>> = SpinMutex::new(None);

/// Fewer bytes than this are no seed.
pub(crate) const SEED: usize = 32;

/// Seeds the generator, if there is anything to seed it from: `tree` is what the device tree has.
pub(crate) fn start(tree: &[u8]) {
    let mut seed = [0; SEED];
    for (at, byte) in tree.iter().enumerate() {
        seed[at % SEED] ^= byte;
    }
    let has_rndr = IdAa64isar0El1.read() >> 60 & 0xF != 0;
    if has_rndr {
        for word in seed.chunks_exact_mut(8) {
            mix(word, Rndr.read());
        }
    }
    let trng = firmware::random();
    for (word, more) in seed.chunks_exact_mut(8).zip(trng.iter().flatten()) {
        mix(word, *more);
    }
    // Not entropy, but it tells two boots with one seed apart.
    if let Some(word) = seed.get_mut(..8) {
        mix(word, CntpctEl0.read());
    }
    // Fewer than 192 bits do not make a generator.
    if has_rndr || trng.is_some() || tree.len() >= SEED {
        *GENERATOR.lock() = Some(ChaCha20Rng::from_seed(seed));
    }
}

/// Seeds the generator from a source of entropy of the board's.
pub(crate) fn seed_from(seed: [u8; SEED]) {
    *GENERATOR.lock() = Some(ChaCha20Rng::from_seed(seed));
}

/// Whether there is no entropy.
pub(crate) fn is_missing() -> bool {
    GENERATOR.lock().is_none()
}

fn mix(word: &mut [u8], value: u64) {
    for (byte, more) in word.iter_mut().zip(value.to_le_bytes()) {
        *byte ^= more;
    }
}

/// Fills `bytes` with entropy.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), NoEntropy> {
    let mut generator = GENERATOR.lock();
    generator.as_mut().ok_or(NoEntropy)?.fill_bytes(bytes);
    Ok(())
}
