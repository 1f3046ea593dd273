// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory that tables are made in, and physical memory as the model sees it.
//!
//! The pool is all zeros between two sets: what is written is noted, and zeroed again. A descriptor that was not
//! written is therefore invalid, and a set costs no more than its descriptors. At the pool's start lies the landing:
//! words that name themselves, for accesses that get through.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayVec;
use vambrace_memory::Pa;
use vambrace_memory::stage2::PhysicalMemory;

use crate::sync::Lock;

const SIZE: u64 = 16 << 20;
const WORDS: usize = SIZE as usize / 8;
/// Bytes of the landing.
pub(super) const LANDING: u64 = 64 << 10;
/// Descriptors that a set has at most.
pub(super) const SLOTS: usize = 2048;

/// The largest granule's alignment, so that the landing is one page of any.
#[repr(align(65536))]
struct Words([AtomicU64; WORDS]);

#[unsafe(link_section = ".scratch")]
static WORDS_OF_POOL: Words = Words([const { AtomicU64::new(0) }; WORDS]);

/// A descriptor that a set has made: where, and what it was at first. The CPU may have changed it since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Its physical address.
    pub(super) pa: u64,
    /// The bytes in memory, as a little-endian number.
    pub(super) raw: u64,
    /// The way to the code at EL1, which is not to be damaged.
    pub(super) is_kept: bool,
}

/// The pool.
#[derive(Debug)]
pub(super) struct Pool {
    base: u64,
    next: u64,
    slots: ArrayVec<Slot, SLOTS>,
    /// The model has read where the outcome is not ours to know.
    strayed: Cell<bool>,
}

/// The one pool; it is too large for the stack.
pub(super) static POOL: Lock<Pool> = Lock::new(Pool::new());

impl Pool {
    const fn new() -> Self {
        Self { base: 0, next: 0, slots: ArrayVec::new_const(), strayed: Cell::new(false) }
    }

    /// Zeroes the pool and fills the landing.
    pub(super) fn prepare(&mut self) {
        self.base = WORDS_OF_POOL.0.as_ptr().expose_provenance() as u64;
        for word in &WORDS_OF_POOL.0 {
            word.store(0, Ordering::Relaxed);
        }
        for offset in (0..LANDING).step_by(8) {
            self.set(self.base + offset, landing_word(offset));
        }
        crate::cpu::publish_code(self.base as usize, LANDING as usize);
        self.clear();
    }

    /// The address of the landing.
    pub(super) const fn landing(&self) -> u64 {
        self.base
    }

    /// Whether `pa` is in the landing.
    pub(super) const fn lands(&self, pa: u64) -> bool {
        pa >= self.base && pa - self.base < LANDING
    }

    fn word(&self, pa: u64) -> Option<&'static AtomicU64> {
        WORDS_OF_POOL.0.get((pa.checked_sub(self.base)? / 8) as usize)
    }

    /// The word at `pa`; 0 outside.
    pub(super) fn get(&self, pa: u64) -> u64 {
        self.word(pa).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Changes the word at `pa`, unnoted.
    pub(super) fn set(&self, pa: u64, raw: u64) {
        if let Some(word) = self.word(pa) {
            word.store(raw, Ordering::Relaxed);
        }
    }

    /// Zeroed memory of 2^`shift` bytes, aligned to it; `None` when the pool is used up.
    pub(super) fn allocate(&mut self, shift: u32) -> Option<u64> {
        let at = self.next.next_multiple_of(1 << shift);
        let next = at + (1 << shift);
        (next <= self.base + SIZE).then(|| {
            self.next = next;
            at
        })
    }

    /// Makes a descriptor. `false` when there are too many.
    pub(super) fn write(&mut self, pa: u64, raw: u64, is_kept: bool) -> bool {
        self.set(pa, raw);
        self.slots.try_push(Slot { pa, raw, is_kept }).is_ok()
    }

    /// The descriptors made.
    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Changes what a descriptor is at first.
    pub(super) fn change(&mut self, index: usize, raw: u64) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.raw = raw;
        }
    }

    /// Undoes what the CPU has done to the descriptors and to the landing.
    pub(super) fn restore(&self) {
        for slot in &self.slots {
            self.set(slot.pa, slot.raw);
        }
    }

    /// Forgets the set.
    pub(super) fn clear(&mut self) {
        for slot in &self.slots {
            self.set(slot.pa, 0);
        }
        self.slots.clear();
        self.next = self.base + LANDING;
    }

    /// Whether the model has strayed since this was asked last.
    pub(super) fn take_strayed(&self) -> bool {
        self.strayed.replace(false)
    }
}

/// What the landing holds at `offset`: two BRKs, each numbered by where it is.
pub(super) const fn landing_word(offset: u64) -> u64 {
    const BRK: u64 = 0xD420_0000;
    let number = offset / 4;
    (BRK | number << 5) | (BRK | (number + 1) << 5) << 32
}

impl PhysicalMemory for Pool {
    /// Outside the pool are devices and this program, where reading is not repeatable, and on QEMU's virt machine
    /// stretches where nothing answers: behind the memory up to 256 GiB, and from 1 TiB.
    fn read(&self, pa: Pa) -> Option<u64> {
        const NOTHING: [core::ops::Range<u64>; 2] = [2 << 30..256 << 30, 1 << 40..1 << 52];
        match self.word(pa.0) {
            Some(word) => Some(word.load(Ordering::Relaxed)),
            None => {
                let is_nothing = NOTHING.iter().any(|range| range.contains(&pa.0));
                self.strayed.set(self.strayed.get() || !is_nothing);
                None
            }
        }
    }
}
