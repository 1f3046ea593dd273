// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls to the firmware by the SMC Calling Convention, and PSCI (Arm DEN 0028, DEN 0022).

use core::arch::asm;

/// PSCI_VERSION.
pub const VERSION: u64 = 0x8400_0000;
/// CPU_SUSPEND, 64-bit.
pub const CPU_SUSPEND: u64 = 0xC400_0001;
/// CPU_OFF.
pub const CPU_OFF: u64 = 0x8400_0002;
/// CPU_ON, 64-bit.
pub const CPU_ON: u64 = 0xC400_0003;
/// AFFINITY_INFO, 64-bit.
pub const AFFINITY_INFO: u64 = 0xC400_0004;
/// MIGRATE_INFO_TYPE.
pub const MIGRATE_INFO_TYPE: u64 = 0x8400_0006;
/// SYSTEM_OFF.
pub const SYSTEM_OFF: u64 = 0x8400_0008;
/// SYSTEM_RESET.
pub const SYSTEM_RESET: u64 = 0x8400_0009;
/// PSCI_FEATURES.
pub const FEATURES: u64 = 0x8400_000A;

/// The call does not exist.
pub const NOT_SUPPORTED: i64 = -1;
/// An argument is wrong.
pub const INVALID_PARAMETERS: i64 = -2;
/// The CPU is on.
pub const ALREADY_ON: i64 = -4;
/// The CPU is on its way.
pub const ON_PENDING: i64 = -5;
/// The address is not one to run at.
pub const INVALID_ADDRESS: i64 = -9;

/// Which instruction makes the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// HVC, the usual one in a VM.
    Hvc,
    /// SMC.
    Smc,
}

/// Calls `function` with its arguments; returns x0 to x3.
pub fn call(conduit: Conduit, function: u64, arguments: [u64; 3]) -> [u64; 4] {
    let mut x = [function, arguments[0], arguments[1], arguments[2]];
    // SAFETY: the calling convention preserves all registers but x0 to x17, and no call writes memory of ours.
    unsafe {
        match conduit {
            Conduit::Hvc => asm!("hvc #0", inout("x0") x[0], inout("x1") x[1], inout("x2") x[2],
                inout("x3") x[3], out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _,
                out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
                out("x16") _, out("x17") _, options(nostack)),
            Conduit::Smc => asm!("smc #0", inout("x0") x[0], inout("x1") x[1], inout("x2") x[2],
                inout("x3") x[3], out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _,
                out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
                out("x16") _, out("x17") _, options(nostack)),
        }
    }
    x
}

/// A PSCI call, to the level above ours by HVC or, at EL2, by SMC; returns its result.
pub fn psci(function: u64, arguments: [u64; 3]) -> i64 {
    let conduit = if crate::cpu::exception_level() == 2 { Conduit::Smc } else { Conduit::Hvc };
    let [result, ..] = call(conduit, function, arguments);
    // 32-bit calls return 32 bits.
    if function & (1 << 30) == 0 { i64::from(result as u32 as i32) } else { result.cast_signed() }
}

/// Turns the machine off.
pub fn system_off() -> ! {
    psci(SYSTEM_OFF, [0; 3]);
    stay()
}

/// Restarts the machine.
pub fn system_reset() -> ! {
    psci(SYSTEM_RESET, [0; 3]);
    stay()
}

/// Turns this CPU off. Returns the error if that fails.
pub fn cpu_off() -> i64 {
    psci(CPU_OFF, [0; 3])
}

/// Turns on the CPU with affinity `target` at `entry`, with `context` in its x0.
pub fn cpu_on(target: u64, entry: u64, context: u64) -> i64 {
    psci(CPU_ON, [target, entry, context])
}

/// The state of the CPU with affinity `target`: 0 on, 1 off, 2 on its way, or an error.
#[must_use]
pub fn affinity_info(target: u64) -> i64 {
    psci(AFFINITY_INFO, [target, 0, 0])
}

fn stay() -> ! {
    loop {
        crate::cpu::wait_for_interrupt();
    }
}
