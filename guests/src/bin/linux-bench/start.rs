// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first instruction and the last.

use core::panic::PanicInfo;

use crate::{calls, phases};

// Linux begins a program with SP at its arguments: their number, then a pointer to each. The first of them is its name.
core::arch::global_asm!(
    ".global _start",
    "_start:",
    "mrs x1, cntvct_el0",
    "ldr x0, [sp, #8]",
    "ldrb w0, [x0]",
    "mov x29, xzr",
    "mov x30, xzr",
    "b begin",
);

/// `name` is the first letter of the program's name, and `started` the counter at its first instruction.
#[unsafe(no_mangle)]
extern "C" fn begin(name: u8, started: u64) -> ! {
    if name == b'/' {
        phases::run(started);
        calls::power_off();
    }
    calls::exit(0)
}

#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    calls::print(b"systems: panic\n");
    calls::exit(1)
}
