// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the fields of ESR_ELx are: the one place where bits of a syndrome have numbers.
//!
//! [`Exit::decode`](crate::exit::Exit::decode) reads them one by one. The fast path compares several at once with what it
//! is there for: [`SyndromePattern`]. Both come to the same instructions as shifts and masks written out. Source: Arm ARM,
//! ESR_EL2, "ISS encoding" of each class.

use super::{Syndrome, class};

/// A field of ESR_ELx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyndromeField {
    low: u32,
    width: u32,
}

impl SyndromeField {
    /// Bits `high` to `low`, as the architecture writes them.
    const fn new(high: u32, low: u32) -> Self {
        assert!(low <= high && high < 64);
        Self { low, width: high - low + 1 }
    }

    /// One bit.
    const fn bit(bit: u32) -> Self {
        Self::new(bit, bit)
    }

    /// A part of the field: its own bits `high` to `low`. For constants.
    ///
    /// # Panics
    /// When the field has no such bits, which in a constant is an error of the compiler's.
    #[must_use]
    pub const fn part(self, high: u32, low: u32) -> Self {
        assert!(high < self.width);
        Self::new(self.low + high, self.low + low)
    }

    /// Ones where the field is.
    #[inline]
    #[must_use]
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.width) << self.low
    }

    /// What the field holds in this syndrome.
    #[inline]
    #[must_use]
    pub const fn of(self, syndrome: Syndrome) -> u64 {
        syndrome.0 >> self.low & u64::MAX >> (64 - self.width)
    }

    /// Whether anything of the field is set: of a single bit, whether it is 1.
    #[inline]
    #[must_use]
    pub const fn is_set(self, syndrome: Syndrome) -> bool {
        syndrome.0 & self.mask() != 0
    }

    /// The bits of a syndrome whose field holds `value`; what does not fit is cut off.
    #[inline]
    #[must_use]
    pub const fn with(self, value: u64) -> u64 {
        value << self.low & self.mask()
    }

    /// The same in ISS, which is what [`Syndrome::new`] takes.
    #[inline]
    #[must_use]
    pub const fn iss_with(self, value: u32) -> u32 {
        self.with(value as u64) as u32 & ISS.mask() as u32
    }
}

/// The classes of HVC and SMC differ in the lowest bit only. ISS2 is RES0 for both, so that what is left of EC can be compared
/// with all that is above it.
pub(super) const CALL: SyndromeField = SyndromeField::new(63, 27);
/// Which of the two.
pub(super) const CALL_BY_SMC: SyndromeField = SyndromeField::bit(26);
const _: () = assert!(class::HVC64 & 1 == 0 && class::SMC64 == class::HVC64 | 1);

/// EC: the exception class.
pub const EC: SyndromeField = SyndromeField::new(31, 26);
/// IL: 1 for an instruction of 4 bytes, and where none is to blame.
pub const IL: SyndromeField = SyndromeField::bit(25);
/// ISS: what the class has to say.
pub const ISS: SyndromeField = SyndromeField::new(24, 0);
/// HVC, SMC, SVC, BRK: the immediate.
pub const IMMEDIATE: SyndromeField = SyndromeField::new(15, 0);

/// DFSC or IFSC: why an abort happened.
pub const FAULT_STATUS: SyndromeField = SyndromeField::new(5, 0);
/// Aborts, ISV: the syndrome says what the instruction moves.
pub const ISV: SyndromeField = SyndromeField::bit(24);
/// Data aborts with ISV, SAS: the logarithm of the bytes that are moved.
pub const SAS: SyndromeField = SyndromeField::new(23, 22);
/// Data aborts with ISV, SSE: a load extends the sign.
pub const SSE: SyndromeField = SyndromeField::bit(21);
/// Data aborts with ISV, SRT: the general-purpose register.
pub const SRT: SyndromeField = SyndromeField::new(20, 16);
/// Data aborts with ISV, SF: the register is one of 64 bits.
pub const SF: SyndromeField = SyndromeField::bit(15);
/// Data aborts, VNCR: an access that nested virtualisation has made of a system register's.
pub const VNCR: SyndromeField = SyndromeField::bit(13);
/// Aborts, FnV: FAR_ELx is not valid.
pub const FNV: SyndromeField = SyndromeField::bit(10);
/// Aborts, EA: an external abort's type.
pub const EA: SyndromeField = SyndromeField::bit(9);
/// Data aborts, CM: a cache maintenance or address translation instruction.
pub const CM: SyndromeField = SyndromeField::bit(8);
/// Aborts, S1PTW: stage 2 refused stage 1's table walk.
pub const S1PTW: SyndromeField = SyndromeField::bit(7);
/// Data aborts, WnR: a store.
pub const WNR: SyndromeField = SyndromeField::bit(6);

/// MSR, MRS and system instructions: Op0.
pub const OP0: SyndromeField = SyndromeField::new(21, 20);
/// MSR, MRS and system instructions: Op2; MCR and MRC: Opc2.
pub const OP2: SyndromeField = SyndromeField::new(19, 17);
/// MSR, MRS and system instructions: Op1; MCR and MRC: Opc1.
pub const OP1: SyndromeField = SyndromeField::new(16, 14);
/// MSR, MRS, system instructions, MCR and MRC: CRn.
pub const CRN: SyndromeField = SyndromeField::new(13, 10);
/// MSR, MRS, system instructions and coprocessor accesses: Rt.
pub const RT: SyndromeField = SyndromeField::new(9, 5);
/// MSR, MRS, system instructions and coprocessor accesses: CRm.
pub const CRM: SyndromeField = SyndromeField::new(4, 1);
/// MSR, MRS, system instructions and coprocessor accesses: 1 for one that reads.
pub const READ: SyndromeField = SyndromeField::bit(0);
/// MCRR and MRRC: Opc1.
pub const WIDE_OPC1: SyndromeField = SyndromeField::new(19, 16);
/// MCRR and MRRC: Rt2.
pub const RT2: SyndromeField = SyndromeField::new(14, 10);

/// Waits and coprocessor accesses, CV: COND is valid.
pub const CV: SyndromeField = SyndromeField::bit(24);
/// Waits and coprocessor accesses: the condition of an AArch32 instruction.
pub const COND: SyndromeField = SyndromeField::new(23, 20);
/// Waits, RN: the register with the timeout.
pub const RN: SyndromeField = SyndromeField::new(9, 5);
/// Waits, RV: RN is valid.
pub const RV: SyndromeField = SyndromeField::bit(2);
/// Waits, TI: which of the four instructions.
pub const TI: SyndromeField = SyndromeField::new(1, 0);

/// What some fields of a syndrome hold, the others being whatever they are: compared at once. ISS2, the upper word, is not
/// looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyndromePattern {
    mask: u32,
    value: u32,
}

impl SyndromePattern {
    /// Of this class.
    #[must_use]
    pub const fn of_class(class: u8) -> Self {
        Self { mask: 0, value: 0 }.and(EC, class as u64)
    }

    /// And with `field` holding `value`.
    #[must_use]
    pub const fn and(self, field: SyndromeField, value: u64) -> Self {
        let mask = field.mask() as u32;
        Self { mask: self.mask | mask, value: self.value & !mask | field.with(value) as u32 }
    }

    /// Whether a syndrome is like that.
    #[inline(always)]
    #[must_use]
    pub const fn matches(self, syndrome: Syndrome) -> bool {
        syndrome.0 as u32 & self.mask == self.value
    }
}
