// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lock between CPUs.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::cpu;

/// A value that one CPU at a time may use; interrupts are masked meanwhile.
#[derive(Debug)]
pub struct Lock<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `with` hands out the value to one CPU at a time.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// A free lock.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Runs `action` on the value. It may not use the same lock.
    pub fn with<R>(&self, action: impl FnOnce(&mut T) -> R) -> R {
        cpu::without_interrupts(|| {
            while self.taken.swap(true, Ordering::Acquire) {
                cpu::relax();
            }
            // SAFETY: `taken` was false and is true until below, so nobody else is here.
            let result = action(unsafe { &mut *self.value.get() });
            self.taken.store(false, Ordering::Release);
            result
        })
    }
}
