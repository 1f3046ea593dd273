// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the first instruction to the program's `run`.

use core::arch::global_asm;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::machine::Machine;
use crate::{console, exceptions, gic, mmu, psci, smp};

/// Type of the one relocation that a static position-independent program has (ELF for the Arm 64-bit
/// Architecture, "Dynamic relocations").
const R_AARCH64_RELATIVE: u64 = 1027;

global_asm!(
    include_str!("boot.S"),
    DEVICE = const mmu::DEVICE,
    NORMAL = const mmu::NORMAL,
    MAIR = const mmu::MAIR,
    TCR = const mmu::TCR,
    SCTLR = const mmu::SCTLR,
    TCR_EL2 = const mmu::TCR_EL2,
    SCTLR_EL2 = const mmu::SCTLR_EL2,
    R_AARCH64_RELATIVE = const R_AARCH64_RELATIVE,
    primary = sym primary,
    secondary = sym smp::secondary,
    exception = sym exceptions::entry,
);

unsafe extern "Rust" {
    /// The program; [`program!`](crate::program) defines it.
    safe fn guest_main(machine: &Machine);
}

/// Where `boot.S` enters Rust on the first CPU: MMU on, memory as the program expects it.
///
/// `started` is the virtual count at the first instruction.
extern "C" fn primary(device_tree: usize, started: u64) -> ! {
    // SAFETY: the boot protocol has put the device tree's address in x0, and nobody writes there.
    match unsafe { Machine::discover(device_tree, started) } {
        Some(machine) => {
            let (base, size) = machine.memory();
            mmu::map_memory(base, size);
            console::find(&machine);
            gic::find(&machine);
            guest_main(&machine);
        }
        None => println!("guest: no device tree at {device_tree:#x}"),
    }
    psci::system_off()
}

/// Reports and ends; a panic on the way there only ends.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    static PANICKING: AtomicBool = AtomicBool::new(false);
    if !PANICKING.swap(true, Ordering::Relaxed) {
        println!("guest: panic: {info}");
    }
    psci::system_off()
}
