// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entropy for guests: seeds in their device trees, and their TRNG calls.
//!
//! A ChaCha20 generator, seeded once from what the firmware put into the board's device tree, from its random numbers and from
//! RNDR, where there are such; with none of them from the board's virtio source of entropy. If there is not even that, there is no
//! entropy, and guests are told so.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use vambrace_cpu::smccc::NoEntropy;
use vambrace_hypervisor::host_io::seed::{self, Seed};

use crate::arch::lock::SpinMutex;
use crate::arch::mmu::MmuOn;
use crate::arch::sysreg::{CntpctEl0, IdAa64isar0El1, Read};
use crate::boot::firmware;

static GENERATOR: SpinMutex<Option<ChaCha20Rng>> = SpinMutex::new(None);

/// Fewer bytes than this are no seed.
pub(crate) const SEED: usize = seed::LEN;

/// It is known whether the firmware and the CPU give entropy.
#[derive(Debug)]
pub(crate) struct Entropy(());

impl Entropy {
    /// Seeds the generator, if there is anything to seed it from: `tree` is what the device tree has.
    pub(crate) fn start(_: &MmuOn, tree: &[u8]) -> Self {
        let mut seed = Seed::new();
        seed.add_bytes(tree);
        if IdAa64isar0El1.read() >> 60 & 0xF != 0 {
            seed.add_rndr(rndr);
        }
        seed.add_words(firmware::random().into_iter().flatten());
        seed.add_moment(CntpctEl0.read());
        let this = Self(());
        if let Some(seed) = seed.finish() {
            this.seed_from(seed);
        }
        this
    }

    /// Seeds the generator from a source of entropy of the board's.
    pub(super) fn seed_from(&self, seed: [u8; SEED]) {
        *GENERATOR.lock() = Some(ChaCha20Rng::from_seed(seed));
    }

    /// Whether there is none.
    pub(super) fn is_missing(&self) -> bool {
        GENERATOR.lock().is_none()
    }
}

/// 64 random bits of the CPU's, which has FEAT_RNG, unless it has none at the moment: it says so by PSTATE.Z.
fn rndr() -> Option<u64> {
    let (value, succeeded): (u64, u64);
    // SAFETY: reads a register; the flags change, and nothing here says that they do not.
    unsafe {
        core::arch::asm!(
            "mrs {value}, s3_3_c2_c4_0",
            "cset {succeeded}, ne",
            value = out(reg) value,
            succeeded = out(reg) succeeded,
            options(nomem, nostack),
        );
    }
    (succeeded != 0).then_some(value)
}

/// Fills `bytes` with entropy.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), NoEntropy> {
    let mut generator = GENERATOR.lock();
    generator.as_mut().ok_or(NoEntropy)?.fill_bytes(bytes);
    Ok(())
}
