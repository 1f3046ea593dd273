// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::*;
use crate::id_registers::HostIdRegisters;

fn id_registers() -> IdRegisters {
    IdRegisters::for_vm(&HostIdRegisters { aa64isar0: 0x1120, ..HostIdRegisters::default() })
}

fn at(level: ExceptionLevel, register: SysReg, direction: Direction) -> TrapOutcome {
    access(SystemRegisterAccess { register, rt: 0, direction }, level, &id_registers())
}

fn read(register: SysReg) -> TrapOutcome {
    at(ExceptionLevel::El1h, register, Direction::Read)
}

fn write(register: SysReg) -> TrapOutcome {
    at(ExceptionLevel::El1h, register, Direction::Write)
}

#[test]
fn id_registers_are_read_only() {
    assert_eq!(read(SysReg::ID_AA64ISAR0_EL1), TrapOutcome::Read(0x1120));
    assert_eq!(read(SysReg::new(3, 0, 0, 7, 7)), TrapOutcome::Read(0), "unallocated ID space");
    assert_eq!(write(SysReg::ID_AA64ISAR0_EL1), TrapOutcome::Undefined);
    assert_eq!(read(SysReg::new(3, 0, 0, 8, 0)), TrapOutcome::Undefined);
}

#[test]
fn actlr_is_zero_for_el1_only() {
    assert_eq!(read(SysReg::ACTLR_EL1), TrapOutcome::Read(0));
    assert_eq!(write(SysReg::ACTLR_EL1), TrapOutcome::WriteIgnored);
    assert_eq!(at(ExceptionLevel::El0, SysReg::ACTLR_EL1, Direction::Read), TrapOutcome::Undefined);
    assert_eq!(at(ExceptionLevel::El0Aarch32, SysReg::ACTLR_EL1, Direction::Read), TrapOutcome::Undefined);
}

#[test]
fn features_that_no_vm_has_are_undefined() {
    let absent = [
        SysReg::ZCR_EL1,
        SysReg::SMCR_EL1,
        SysReg::TRFCR_EL1,
        SysReg::TCR2_EL1,
        SysReg::SCTLR2_EL1,
        SysReg::ERRIDR_EL1,
        SysReg::ERRSELR_EL1,
        SysReg::PMSCR_EL1,
        SysReg::PMINTENSET_EL1,
        SysReg::PMCR_EL0,
        SysReg::PMCCNTR_EL0,
        SysReg::PMUSERENR_EL0,
        SysReg::AMCR_EL0,
        SysReg::SCXTNUM_EL1,
        SysReg::LORSA_EL1,
        SysReg::LORID_EL1,
        SysReg::CNTPCTSS_EL0,
        SysReg::new(3, 0, 15, 2, 0),
        SysReg::new(3, 1, 11, 0, 2),
        SysReg::new(1, 0, 15, 0, 0),
        SysReg::new(2, 1, 0, 0, 0),
        SysReg::new(3, 4, 1, 1, 0),
        SysReg::new(3, 6, 1, 1, 0),
    ];
    for register in absent {
        assert_eq!(read(register), TrapOutcome::Undefined, "{register}");
        assert_eq!(write(register), TrapOutcome::Undefined, "{register}");
    }
}

#[test]
fn interrupts_are_sent_by_writing() {
    let send = [
        (SysReg::ICC_SGI1R_EL1, GicRegister::Sgi1),
        (SysReg::ICC_ASGI1R_EL1, GicRegister::AliasSgi1),
        (SysReg::ICC_SGI0R_EL1, GicRegister::Sgi0),
        (SysReg::ICC_DIR_EL1, GicRegister::Deactivate),
    ];
    for (register, gic) in send {
        assert_eq!(write(register), TrapOutcome::Emulate(Emulated::Gic(gic)));
        assert_eq!(read(register), TrapOutcome::Undefined);
    }
}

#[test]
fn the_cpu_interface_keeps_its_directions() {
    let other = |register| TrapOutcome::Emulate(Emulated::Gic(GicRegister::Other(register)));
    for register in [SysReg::ICC_IAR1_EL1, SysReg::ICC_HPPIR0_EL1, SysReg::ICC_RPR_EL1] {
        assert_eq!((read(register), write(register)), (other(register), TrapOutcome::Undefined));
    }
    assert_eq!(read(SysReg::ICC_EOIR1_EL1), TrapOutcome::Undefined);
    for register in [SysReg::ICC_PMR_EL1, SysReg::ICC_CTLR_EL1, SysReg::ICC_AP1R3_EL1] {
        assert_eq!((read(register), write(register)), (other(register), other(register)));
    }
    assert_eq!(
        (read(SysReg::ICC_SRE_EL1), write(SysReg::ICC_SRE_EL1)),
        (TrapOutcome::Read(7), TrapOutcome::WriteIgnored)
    );
    assert_eq!(read(SysReg::new(3, 0, 12, 11, 0)), TrapOutcome::Undefined);
}

#[test]
fn the_physical_timer_is_for_el0_too() {
    let registers = [
        (SysReg::CNTP_CTL_EL0, TimerRegister::Control),
        (SysReg::CNTP_CVAL_EL0, TimerRegister::Compare),
        (SysReg::CNTP_TVAL_EL0, TimerRegister::TimerValue),
    ];
    for (register, timer) in registers {
        for level in [ExceptionLevel::El0, ExceptionLevel::El1h] {
            for direction in [Direction::Read, Direction::Write] {
                assert_eq!(at(level, register, direction), TrapOutcome::Emulate(Emulated::Timer(timer)));
            }
        }
    }
    assert_eq!(read(SysReg::CNTPCT_EL0), TrapOutcome::Emulate(Emulated::Timer(TimerRegister::Count)));
    assert_eq!(write(SysReg::CNTPCT_EL0), TrapOutcome::Undefined);
}

#[test]
fn set_and_way_is_an_instruction() {
    assert_eq!(write(SysReg::DC_ISW), TrapOutcome::Emulate(Emulated::SetWay(SetWay::Invalidate)));
    assert_eq!(write(SysReg::DC_CSW), TrapOutcome::Emulate(Emulated::SetWay(SetWay::Clean)));
    assert_eq!(write(SysReg::DC_CISW), TrapOutcome::Emulate(Emulated::SetWay(SetWay::CleanInvalidate)));
    assert_eq!(read(SysReg::DC_CISW), TrapOutcome::Undefined);
    assert_eq!(at(ExceptionLevel::El0, SysReg::DC_CISW, Direction::Write), TrapOutcome::Undefined);
}

#[test]
fn debug_registers() {
    assert_eq!(write(SysReg::OSLAR_EL1), TrapOutcome::Emulate(Emulated::OsLock(OsLockRegister::Access)));
    assert_eq!(read(SysReg::OSLAR_EL1), TrapOutcome::Undefined);
    assert_eq!(read(SysReg::OSLSR_EL1), TrapOutcome::Emulate(Emulated::OsLock(OsLockRegister::Status)));
    assert_eq!(write(SysReg::OSLSR_EL1), TrapOutcome::Undefined);
    assert_eq!(
        (read(SysReg::OSDLR_EL1), write(SysReg::OSDLR_EL1)),
        (TrapOutcome::Read(0), TrapOutcome::WriteIgnored)
    );
    assert_eq!(read(SysReg::MDSCR_EL1), TrapOutcome::Emulate(Emulated::Debug));
    for number in 0..16 {
        for op2 in 4..8 {
            assert_eq!(write(SysReg::new(2, 0, 0, number, op2)), TrapOutcome::Emulate(Emulated::Debug));
        }
    }
    assert_eq!(at(ExceptionLevel::El0, SysReg::MDCCSR_EL0, Direction::Read), TrapOutcome::Read(0));
    assert_eq!(at(ExceptionLevel::El0, SysReg::MDSCR_EL1, Direction::Read), TrapOutcome::Undefined);
}

#[test]
fn the_os_lock() {
    let mut lock = OsLock::default();
    assert_eq!(lock.status(), 0b1010, "locked out of reset");
    let mut mdscr = 0;
    lock.write(0xFFFE, &mut mdscr);
    assert_eq!(lock.status(), 0b1000);
    lock.write(1, &mut mdscr);
    assert_eq!((lock.status(), mdscr), (0b1010, 0));
}

proptest! {
    /// Whatever the vCPU writes, in whatever order: MDE and SS are in the hardware while the lock is open only, and nothing
    /// of what it wrote is lost.
    #[test]
    fn a_locked_vcpu_runs_without_debug_exceptions(
        writes in prop::collection::vec((any::<bool>(), any::<u64>()), 0..20),
    ) {
        const MDE_AND_SS: u64 = 1 << 15 | 1;
        let (mut lock, mut mdscr, mut wanted) = (OsLock::default(), 0, 0);
        for (is_lock, value) in writes {
            if is_lock {
                lock.write(value, &mut mdscr);
            } else {
                lock.write_mdscr(value, &mut mdscr);
                wanted = value;
            }
            prop_assert_eq!(lock.read_mdscr(mdscr), wanted);
            let withheld = if lock.status() & 0b10 != 0 { MDE_AND_SS } else { 0 };
            prop_assert_eq!(mdscr, wanted & !withheld);
        }
    }
}

proptest! {
    #[test]
    fn any_access_has_an_outcome(iss in 0u32..1 << 22, esr_read: bool) {
        let register = SysReg::from_iss(iss);
        let direction = if esr_read { Direction::Read } else { Direction::Write };
        for level in [ExceptionLevel::El0, ExceptionLevel::El0Aarch32, ExceptionLevel::El1t, ExceptionLevel::El1h] {
            match at(level, register, direction) {
                TrapOutcome::Read(_) => prop_assert_eq!(direction, Direction::Read),
                TrapOutcome::WriteIgnored => prop_assert_eq!(direction, Direction::Write),
                TrapOutcome::Undefined => {}
                TrapOutcome::Emulate(_) => prop_assert!(register.name().is_some() || register.op0 == 2),
            }
            if level.is_el0() && register.op1 != 3 {
                prop_assert_eq!(at(level, register, direction), TrapOutcome::Undefined);
            }
        }
    }
}
