// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a trap control is, and the registers' values as they follow from [`TABLE`].
//!
//! All of this is evaluated by the compiler: EL2 writes constants.

use super::table::TABLE;

/// A control register of EL2's, or two that are written alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Register {
    /// HCR_EL2.
    Hcr,
    /// HCRX_EL2, on every CPU that has what it guards.
    Hcrx,
    /// MDCR_EL2.
    Mdcr,
    /// CPTR_EL2, with HCR_EL2.E2H = 0.
    Cptr,
    /// CNTHCTL_EL2, with HCR_EL2.E2H = 0.
    Cnthctl,
    /// MPAM2_EL2.
    Mpam2,
    /// ICC_SRE_EL2.
    IccSre,
    /// HFGRTR_EL2 and HFGWTR_EL2.
    Hfgrtr,
    /// HFGITR_EL2.
    Hfgitr,
    /// HDFGRTR_EL2 and HDFGWTR_EL2.
    Hdfgrtr,
    /// HFGRTR2_EL2 and HFGWTR2_EL2.
    Hfgrtr2,
    /// HFGITR2_EL2.
    Hfgitr2,
    /// HDFGRTR2_EL2 and HDFGWTR2_EL2.
    Hdfgrtr2,
}

/// What EL2 writes to a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// This value, on every CPU and for every vCPU.
    Always(u64),
    /// 1, because the register has it so (RES1).
    Reserved,
    /// What the register held before.
    Kept,
    /// 1 while another vCPU waits for this CPU; written by the switch, see [`super::WfiTrap`].
    WhileOthersWait,
    /// 1 on CPUs with FEAT_PAuth.
    WithPointerAuth,
    /// 1 on CPUs with FEAT_S2FWB.
    WithForcedWriteBack,
    /// 1 or 0 as the loaded vCPU needs it.
    PerVcpu,
}

/// A control: some bits of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// Where it is.
    pub register: Register,
    /// Arm's name.
    pub name: &'static str,
    /// Its lowest bit.
    pub lsb: u32,
    /// How many bits it has.
    pub width: u32,
    /// What EL2 writes.
    pub setting: Setting,
    /// What the setting does, or why it is so.
    pub why: &'static str,
    /// What a guest finds.
    pub guest: &'static str,
}

impl Control {
    /// Its bits, in their place.
    #[must_use]
    pub const fn mask(&self) -> u64 {
        (u64::MAX >> (64 - self.width)) << self.lsb
    }

    /// The bits that are 1 when the setting is one of `which`.
    const fn bits(&self, which: Setting) -> u64 {
        match (self.setting, which) {
            (Setting::Always(value), Setting::Always(_)) => value << self.lsb & self.mask(),
            (Setting::Reserved, Setting::Always(_))
            | (Setting::Kept, Setting::Kept)
            | (Setting::WhileOthersWait, Setting::WhileOthersWait)
            | (Setting::WithPointerAuth, Setting::WithPointerAuth)
            | (Setting::WithForcedWriteBack, Setting::WithForcedWriteBack)
            | (Setting::PerVcpu, Setting::PerVcpu) => self.mask(),
            _ => 0,
        }
    }
}

/// The bits of `register` that a setting of the kind of `which` makes 1. Bits that the table does not name are 0.
#[must_use]
pub const fn bits(register: Register, which: Setting) -> u64 {
    let (mut rest, mut value) = (TABLE, 0);
    while let [control, others @ ..] = rest {
        if control.register as u8 == register as u8 {
            value |= control.bits(which);
        }
        rest = others;
    }
    value
}

/// What EL2 writes to `register` on every CPU and for every vCPU.
#[must_use]
pub const fn always(register: Register) -> u64 {
    bits(register, Setting::Always(0))
}
