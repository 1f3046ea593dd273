// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the first instruction to the VM.

use core::arch::global_asm;
use core::ffi::CStr;
use core::panic::PanicInfo;

use crate::{linux, vm};

/// Time for the kernel to finish what it has begun, in seconds.
const SETTLE: u64 = 2;

// The kernel starts a program with its arguments' number, then their addresses, on the stack.
global_asm!(
    ".section .head, \"ax\"",
    ".global _start",
    "_start: ldr x0, [sp]",
    "add x1, sp, #8",
    "bl {start}",
    start = sym start,
);

extern "C" fn start(count: usize, arguments: *const *const u8) -> ! {
    // SAFETY: the kernel has put as many addresses of strings there, each of which ends with NUL.
    let argument = (count > 1).then(|| unsafe { CStr::from_ptr(arguments.add(1).read()) });
    let vcpus = argument.and_then(|text| text.to_str().ok()?.parse().ok()).unwrap_or(1);
    linux::sleep(SETTLE);
    if let Err(error) = vm::run(c"/guest", c"/tree", vcpus) {
        println!("kvm: {error}");
    }
    linux::power_off()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("kvm: panic: {info}");
    linux::power_off()
}
