// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of a trapped system register access.
//!
//! Default deny: a register that no line here names is UNDEFINED for the guest, as from its own exception
//! level. What needs state of another part comes back as [`TrapOutcome::Emulate`], for the VM to hand on. Source:
//! Arm ARM, HCR_EL2 (TID3, TACR, TSW, TIDCP, TLOR, TERR), MDCR_EL2, CNTHCTL_EL2, ICH_HCR_EL2.

use serde::{Deserialize, Serialize};

use crate::exit::{Direction, SystemRegisterAccess};
use crate::id_registers::IdRegisters;
use crate::pstate::ExceptionLevel;
use crate::sysreg::SysReg;

/// What to do about an access.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapOutcome {
    /// Put the value into Rt and step over the instruction.
    Read(u64),
    /// Step over the instruction.
    WriteIgnored,
    /// Inject an undefined instruction exception.
    Undefined,
    /// Another part of the VM has the answer; then step over the instruction.
    Emulate(Emulated),
}

/// What another part of the VM emulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emulated {
    /// A register of the GIC's CPU interface.
    Gic(GicRegister),
    /// A register of the EL1 physical timer, or the physical counter.
    Timer(TimerRegister),
    /// Cache maintenance by set and way: the write is one of these.
    SetWay(SetWay),
    /// The OS Lock; see [`OsLock`].
    OsLock(OsLockRegister),
    /// A breakpoint or watchpoint, or MDSCR_EL1: the vCPU's own, where the hardware has so many.
    Debug,
}

/// ICC_* registers, by what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GicRegister {
    /// ICC_SGI1R_EL1, write only.
    Sgi1,
    /// ICC_ASGI1R_EL1, write only.
    AliasSgi1,
    /// ICC_SGI0R_EL1, write only.
    Sgi0,
    /// ICC_DIR_EL1, write only.
    Deactivate,
    /// Any other, which traps only when ICH_HCR_EL2 says so. The direction is one that the register has.
    Other(SysReg),
}

/// The physical timer's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerRegister {
    /// CNTP_CTL_EL0.
    Control,
    /// CNTP_CVAL_EL0.
    Compare,
    /// CNTP_TVAL_EL0.
    TimerValue,
    /// CNTPCT_EL0, read only.
    Count,
}

/// Cache maintenance by set and way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetWay {
    /// DC ISW.
    Invalidate,
    /// DC CSW.
    Clean,
    /// DC CISW.
    CleanInvalidate,
}

/// The OS Lock's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OsLockRegister {
    /// OSLAR_EL1, write only.
    Access,
    /// OSLSR_EL1, read only.
    Status,
}

/// The OS Lock of one vCPU: software's way to keep debug exceptions out while it saves debug registers.
///
/// The hardware's own lock is open, or it would hold for everybody. So a vCPU that has locked its own runs without what
/// makes breakpoints, watchpoints and steps come: MDSCR_EL1.MDE and SS. What it writes there is kept here until it unlocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsLock {
    locked: bool,
    /// What the vCPU's MDSCR_EL1 has, and the hardware's has not.
    withheld: u64,
}

impl Default for OsLock {
    /// Locked, as out of reset.
    fn default() -> Self {
        Self { locked: true, withheld: 0 }
    }
}

impl OsLock {
    /// OSLSR_EL1: OSLM says that the lock is implemented, OSLK whether it is locked.
    #[must_use]
    pub const fn status(self) -> u64 {
        0b1000 | (self.locked as u64) << 1
    }

    /// MDSCR_EL1.MDE and SS.
    const WITHHELD: u64 = 1 << 15 | 1;

    /// A write to OSLAR_EL1. `mdscr` is MDSCR_EL1 as the hardware has it.
    pub const fn write(&mut self, value: u64, mdscr: &mut u64) {
        let wanted = self.read_mdscr(*mdscr);
        self.locked = value & 1 != 0;
        self.write_mdscr(wanted, mdscr);
    }

    /// MDSCR_EL1 as the vCPU reads it.
    #[must_use]
    pub const fn read_mdscr(self, mdscr: u64) -> u64 {
        mdscr | self.withheld
    }

    /// The vCPU writes `value` to MDSCR_EL1; `mdscr` is what the hardware gets of it.
    pub const fn write_mdscr(&mut self, value: u64, mdscr: &mut u64) {
        self.withheld = if self.locked { value & Self::WITHHELD } else { 0 };
        *mdscr = value & !self.withheld;
    }
}

/// Decides about `access`, made by a guest at `level`.
pub fn access(
    access: SystemRegisterAccess,
    level: ExceptionLevel,
    id_registers: &IdRegisters,
) -> TrapOutcome {
    let register = access.register;
    if level.is_el0() && !register.is_for_el0() {
        return TrapOutcome::Undefined;
    }
    if let Some(value) = id_registers.read(register) {
        return read_only(access.direction, TrapOutcome::Read(value));
    }
    match register.op0 {
        1 => instruction(access),
        2 => debug(access),
        _ => match (register.crn, register.crm) {
            (4, 6) | (12, 8..=12) => gic(access),
            (14, _) => timer(access),
            _ => control(access),
        },
    }
}

/// What may be done with a register.
enum Use {
    ReadOnly,
    WriteOnly,
    ReadWrite,
}

impl Use {
    fn allows(self, direction: Direction) -> bool {
        !matches!((self, direction), (Self::ReadOnly, Direction::Write) | (Self::WriteOnly, Direction::Read))
    }
}

fn read_only(direction: Direction, outcome: TrapOutcome) -> TrapOutcome {
    if Use::ReadOnly.allows(direction) { outcome } else { TrapOutcome::Undefined }
}

/// A register that reads as zero and whose writes are ignored.
fn zero(direction: Direction, usable: Use) -> TrapOutcome {
    match direction {
        _ if !usable.allows(direction) => TrapOutcome::Undefined,
        Direction::Read => TrapOutcome::Read(0),
        Direction::Write => TrapOutcome::WriteIgnored,
    }
}

fn emulate(direction: Direction, usable: Use, emulated: Emulated) -> TrapOutcome {
    if usable.allows(direction) { TrapOutcome::Emulate(emulated) } else { TrapOutcome::Undefined }
}

fn instruction(access: SystemRegisterAccess) -> TrapOutcome {
    let operation = match access.register {
        SysReg::DC_ISW => SetWay::Invalidate,
        SysReg::DC_CSW => SetWay::Clean,
        SysReg::DC_CISW => SetWay::CleanInvalidate,
        _ => return TrapOutcome::Undefined,
    };
    emulate(access.direction, Use::WriteOnly, Emulated::SetWay(operation))
}

/// Registers with op0 = 2. The debug communication channel and the external debugger's registers are there,
/// and nobody is at their other end. Trace (op1 = 1) is UNDEFINED.
fn debug(access: SystemRegisterAccess) -> TrapOutcome {
    let direction = access.direction;
    match access.register {
        SysReg::OSLAR_EL1 => emulate(direction, Use::WriteOnly, Emulated::OsLock(OsLockRegister::Access)),
        SysReg::OSLSR_EL1 => emulate(direction, Use::ReadOnly, Emulated::OsLock(OsLockRegister::Status)),
        SysReg::MDRAR_EL1 | SysReg::DBGAUTHSTATUS_EL1 | SysReg::MDCCSR_EL0 => zero(direction, Use::ReadOnly),
        SysReg::OSDLR_EL1
        | SysReg::DBGPRCR_EL1
        | SysReg::DBGCLAIMSET_EL1
        | SysReg::DBGCLAIMCLR_EL1
        | SysReg::OSDTRRX_EL1
        | SysReg::OSDTRTX_EL1
        | SysReg::OSECCR_EL1
        | SysReg::MDCCINT_EL1
        | SysReg::DBGDTR_EL0
        | SysReg::DBGDTRRX_EL0 => zero(direction, Use::ReadWrite),
        SysReg::MDSCR_EL1 => TrapOutcome::Emulate(Emulated::Debug),
        // DBGBVR<n>, DBGBCR<n>, DBGWVR<n> and DBGWCR<n>: CRm is n, op2 from 4 to 7.
        SysReg { op1: 0, crn: 0, op2: 4..=7, .. } => TrapOutcome::Emulate(Emulated::Debug),
        _ => TrapOutcome::Undefined,
    }
}

fn gic(access: SystemRegisterAccess) -> TrapOutcome {
    let register = access.register;
    let (usable, emulated) = match register {
        SysReg::ICC_SGI1R_EL1 => (Use::WriteOnly, GicRegister::Sgi1),
        SysReg::ICC_ASGI1R_EL1 => (Use::WriteOnly, GicRegister::AliasSgi1),
        SysReg::ICC_SGI0R_EL1 => (Use::WriteOnly, GicRegister::Sgi0),
        SysReg::ICC_DIR_EL1 => (Use::WriteOnly, GicRegister::Deactivate),
        // Only system registers, no memory-mapped CPU interface: SRE, DFB and DIB read as one.
        SysReg::ICC_SRE_EL1 => {
            return match access.direction {
                Direction::Read => TrapOutcome::Read(0b111),
                Direction::Write => TrapOutcome::WriteIgnored,
            };
        }
        SysReg::ICC_EOIR0_EL1 | SysReg::ICC_EOIR1_EL1 => (Use::WriteOnly, GicRegister::Other(register)),
        SysReg::ICC_IAR0_EL1
        | SysReg::ICC_IAR1_EL1
        | SysReg::ICC_HPPIR0_EL1
        | SysReg::ICC_HPPIR1_EL1
        | SysReg::ICC_RPR_EL1 => (Use::ReadOnly, GicRegister::Other(register)),
        SysReg { op1: 0, .. } if register.name().is_some() => (Use::ReadWrite, GicRegister::Other(register)),
        _ => return TrapOutcome::Undefined,
    };
    emulate(access.direction, usable, Emulated::Gic(emulated))
}

/// CNTKCTL_EL1 decides whether EL0 may use the timer; where it forbids, the trap goes to EL1 and never comes
/// here.
fn timer(access: SystemRegisterAccess) -> TrapOutcome {
    let (usable, register) = match access.register {
        SysReg::CNTP_CTL_EL0 => (Use::ReadWrite, TimerRegister::Control),
        SysReg::CNTP_CVAL_EL0 => (Use::ReadWrite, TimerRegister::Compare),
        SysReg::CNTP_TVAL_EL0 => (Use::ReadWrite, TimerRegister::TimerValue),
        SysReg::CNTPCT_EL0 => (Use::ReadOnly, TimerRegister::Count),
        _ => return TrapOutcome::Undefined,
    };
    emulate(access.direction, usable, Emulated::Timer(register))
}

/// Everything else. UNDEFINED by silence: PMU, AMU, SPE, trace, RAS, limited ordering regions, SVE, SME,
/// SCXTNUM, and the IMPLEMENTATION DEFINED space of CRn 11 and 15.
fn control(access: SystemRegisterAccess) -> TrapOutcome {
    match access.register {
        SysReg::ACTLR_EL1 => zero(access.direction, Use::ReadWrite),
        _ => TrapOutcome::Undefined,
    }
}

#[cfg(test)]
mod tests;
