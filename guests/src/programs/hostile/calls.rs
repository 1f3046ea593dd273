// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls that nobody serves, and PSCI with arguments that mean nothing.

use super::Random;
use crate::machine::Machine;
use crate::psci::{self, Conduit, NOT_SUPPORTED};

/// Functions that nobody may serve to a guest: SiP, OEM, trusted applications, trusted OS, and numbers beside
/// the standard ones.
const NOBODY: [u64; 14] = [
    0x8200_0000, 0xC200_0001, 0x8300_0002, 0xC300_FF00, 0xB000_0000, 0xB100_FFFF, 0xB200_0000, 0xBF00_FF01,
    0xF200_0000, 0x8600_0000, 0xC600_FFFF, 0x8400_FFFF, 0xC400_7777, 0xFFFF_FFFF,
];

/// Unknown calls by HVC and SMC.
pub(super) fn unknown(machine: &Machine) {
    // Without a hypervisor there is no EL3 either, and SMC is UNDEFINED.
    let conduits = if machine.is_native() { &[Conduit::Hvc][..] } else { &[Conduit::Hvc, Conduit::Smc][..] };
    for conduit in conduits {
        let mut random = Random(0xCA11);
        let refused = |function: u64, arguments: [u64; 3]| {
            let [result, ..] = psci::call(*conduit, function, arguments);
            result as u32 as i32 == NOT_SUPPORTED as i32
        };
        let known = NOBODY.into_iter().filter(|function| !refused(*function, [0; 3])).count();
        check_eq!(known, 0, "{conduit:?}: calls of nobody are NOT_SUPPORTED");
        let wrong = (0..2000)
            .filter(|_| {
                // Owners 2 and up but the standard services and the hypervisor's own (4 and 6).
                let owner = [2, 3, 8, 9, 20, 48, 50, 63][(random.next() % 8) as usize];
                let function = 1 << 31 | random.next() & 0x4000_FFFF | owner << 24;
                !refused(function, [random.next(), random.next(), random.next()])
            })
            .count();
        check_eq!(wrong, 0, "{conduit:?}: random calls are NOT_SUPPORTED");
    }
}

/// PSCI functions that do not end or stop this CPU, with random arguments: an error or an answer, never a CPU
/// turned on that is not ours.
pub(super) fn psci_garbage(machine: &Machine) {
    const HARMLESS: [u64; 8] =
        [0x8400_0000, 0x8400_0003, 0xC400_0003, 0x8400_0004, 0xC400_0004, 0x8400_0005, 0x8400_0006, 0x8400_000A];
    let mut random = Random(0x95C1);
    let mut wrong = 0u32;
    for _ in 0..5000 {
        let function = HARMLESS[(random.next() % 8) as usize];
        // A target that no machine has: Aff2 is not 0.
        let target = random.next() | 1 << 16;
        let result = psci::psci(function, [target, random.next(), random.next()]);
        let sensible = match function {
            0x8400_0000 => result >= 0x1_0000,
            0x8400_0006 => (-1..=2).contains(&result),
            0x8400_000A => result >= -1,
            // QEMU takes every affinity level above 0, real or not, to be on.
            0x8400_0004 | 0xC400_0004 if machine.is_native() => result <= 0,
            _ => (-9..0).contains(&result),
        };
        wrong += u32::from(!sensible);
    }
    check_eq!(wrong, 0, "PSCI refuses arguments that mean nothing");
    check_eq!(machine.cpus().skip(1).filter(|cpu| psci::affinity_info(*cpu) != 1).count(), 0, "no CPU came on");
}
