// SPDX-License-Identifier: MIT OR Apache-2.0
use super::control::Control;
use super::hidden::{Guard, Hidden};
use super::table::TABLE;
use super::*;
use crate::arch::el1::{self, Keeper};

mod document;
mod features;
mod guards;
mod positions;

/// A CPU that runs no VM has to have other tables than the last VM's, whatever CPU it is.
#[test]
fn every_cpu_can_leave_its_vms_tables() {
    for range in 0..16 {
        let features = Features::of(&HostIdRegisters { aa64mmfr0: range, ..HostIdRegisters::default() });
        assert!(features.empty_vtcr().is_ok(), "PARange {range}");
    }
}

/// A vCPU that spins for another in WFE keeps its slice only while nobody else wants the CPU.
#[test]
fn waiting_traps_only_while_others_want_the_cpu() {
    let features = Features::of(&HostIdRegisters::default());
    let (alone, wanted) = (features.hcr(WfiTrap::Off), features.hcr(WfiTrap::On));
    assert_eq!(wanted & !alone, 1 << 13 | 1 << 14, "TWI and TWE");
    assert_eq!(alone & !wanted, 0);
}

#[test]
fn what_a_cpu_has_is_read_from_its_id_registers() {
    let none = HostIdRegisters::default();
    assert_eq!(
        Optional::of(&none),
        Optional { fine_grained: FineGrained::No, hcrx: false, deferred_errors: false, mpam: false }
    );
    assert!(Optional::of(&HostIdRegisters { aa64pfr1: 1 << 16, ..none.clone() }).mpam, "MPAM 0.1");
    assert!(Optional::of(&HostIdRegisters { aa64pfr0: 1 << 40, ..none.clone() }).mpam, "MPAM 1.0");
    let second = HostIdRegisters { aa64mmfr0: 2 << 56, ..none.clone() };
    assert_eq!(Optional::of(&second).fine_grained, FineGrained::Second);
    // QEMU's cortex-a76.
    let a76 = HostIdRegisters {
        aa64pfr0: 0x1100_0000_1011_1112,
        aa64mmfr0: 0x10_1122,
        aa64mmfr1: 0x1021_2122,
        aa64mmfr2: 0x1011,
        ..none
    };
    let features = Features::of(&a76);
    assert!(features.deferred_errors && !features.pointer_auth);
    assert_eq!((features.pa_bits, features.vmids), (40, VmidWidth::Sixteen));
    assert_eq!(features.encoding, Stage2Encoding::Combining);
}

/// The values, said once more by hand: a row that is lost or changed shows here, whatever it guards.
#[test]
fn the_registers_hold_what_they_have_to() {
    let plain = Features {
        pointer_auth: false,
        deferred_errors: false,
        encoding: Stage2Encoding::Combining,
        vmids: VmidWidth::Eight,
        pa_bits: 48,
    };
    assert_eq!(plain.hcr(WfiTrap::Off), 0x18_807D_063F);
    assert_eq!(plain.hcr(WfiTrap::On), 0x18_807D_663F);
    let full = Features { pointer_auth: true, encoding: Stage2Encoding::Forcing, ..plain };
    assert_eq!(full.hcr(WfiTrap::Off), 0x4318_807D_063F);
    assert_eq!(HCR_VSE, 0x100);
    assert_eq!((CPTR, CPTR_TFP), (0x4010_33FF, 0x400));
    assert_eq!((mdcr(0), mdcr(u64::MAX)), (0x808_4E60, 0x808_4E7F));
    assert_eq!(always(Register::Cnthctl), 1);
    assert_eq!(always(Register::Mpam2), 3 << 48);
    assert_eq!(always(Register::IccSre), 0b111);
    for register in [
        Register::Hcrx,
        Register::Hfgrtr,
        Register::Hfgitr,
        Register::Hdfgrtr,
        Register::Hfgrtr2,
        Register::Hfgitr2,
        Register::Hdfgrtr2,
    ] {
        assert_eq!(always(register), 0, "{register:?}");
    }
}

#[test]
fn no_bit_is_two_controls() {
    for (index, control) in TABLE.iter().enumerate() {
        let Control { register, name, lsb, width, setting, .. } = *control;
        assert!(width > 0 && lsb + width <= 64, "{name}");
        if let Setting::Always(value) = setting {
            assert!(value < 1 << width, "{name}");
        }
        let before = &TABLE[..index];
        assert!(before.iter().all(|it| it.register != register || it.mask() & control.mask() == 0), "{name}");
    }
}
