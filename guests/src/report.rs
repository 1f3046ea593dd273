// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks, one line each, and the sum at the end.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

static PASSED: AtomicU32 = AtomicU32::new(0);
static FAILED: AtomicU32 = AtomicU32::new(0);

/// Notes a check, and prints it.
pub fn check(holds: bool, what: fmt::Arguments<'_>) {
    if holds {
        PASSED.fetch_add(1, Ordering::Relaxed);
        println!("guest: ok: {what}");
    } else {
        FAILED.fetch_add(1, Ordering::Relaxed);
        println!("guest: FAIL: {what}");
    }
}

/// Prints the sum: `guest: NAME ok` when every check held.
pub fn finish(name: &str) {
    let (passed, failed) = (PASSED.load(Ordering::Relaxed), FAILED.load(Ordering::Relaxed));
    if failed == 0 {
        println!("guest: {passed} checks");
        println!("guest: {name} ok");
    } else {
        println!("guest: {name} failed {failed} of {} checks", passed + failed);
    }
}
