// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small EL1 programs: examples, and payloads for the tests. One of them, `conformance`, runs at EL2 instead.
//!
//! Each program is a file in `programs/` and a binary of the same name; what they share is the run-time library
//! in the other files. A program is a Linux arm64 Image: it is loaded as a kernel is, finds the device tree in
//! x0, and takes its parameters from `/chosen/bootargs`. Its output lines begin with `guest:`, and it ends by
//! PSCI SYSTEM_OFF. Parameters are words `name=value` or `name`.
//!
//! All of them also run without a hypervisor, under QEMU directly, and must report the same there:
//!
//! ```text
//! llvm-objcopy -O binary hello hello.img
//! qemu-system-aarch64 -M virt,gic-version=3 -cpu cortex-a72 -nic none -nographic \
//!     -kernel hello.img -append "..."
//! ```
//!
//! The parameter `native` tells a program that it runs so, where the right answer differs.
#![no_std]

#[cfg(target_os = "none")]
#[macro_use]
mod macros;

macro_rules! bare_metal {
    ($($module:ident)*) => { $(#[cfg(target_os = "none")] pub mod $module;)* };
}

bare_metal! {
    boot console cpu exceptions gic machine mmio mmu probe programs psci register report result smp sync timer
}

/// Makes a binary of the program in `programs/` with the given name.
#[macro_export]
macro_rules! program {
    ($name:ident) => {
        #[cfg(target_os = "none")]
        #[unsafe(no_mangle)]
        extern "Rust" fn guest_main(machine: &$crate::machine::Machine) {
            $crate::programs::$name::run(machine);
        }

        #[cfg(not(target_os = "none"))]
        fn main() {
            println!("{} is a program for a bare virtual machine, not for this computer", stringify!($name));
        }
    };
}
