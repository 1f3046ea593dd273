// SPDX-License-Identifier: MIT OR Apache-2.0
//! System registers by encoding: any of them, also those that have no name.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::exceptions::UNKNOWN;
use crate::{cpu, probe};

/// `mrs x0, ...`; `msr ..., x0`: without the register.
const MRS: u32 = 0xD530_0000;
const MSR: u32 = 0xD510_0000;
const RET: u32 = 0xD65F_03C0;

static CODE: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

/// A system register by its encoding; op0 is 2 or 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// op0.
    pub op0: u32,
    /// op1.
    pub op1: u32,
    /// CRn.
    pub crn: u32,
    /// CRm.
    pub crm: u32,
    /// op2.
    pub op2: u32,
}

impl Register {
    /// All that EL1 and EL0 can name.
    pub fn all() -> impl Iterator<Item = Self> {
        [2, 3].into_iter().flat_map(|op0| (0..4 << 11).map(move |index| Self::from_index(op0, index)))
    }

    /// The register with this op0 whose other numbers, one behind the other, are `index`.
    #[must_use]
    pub fn from_index(op0: u32, index: u32) -> Self {
        Self { op0, op1: index >> 11 & 7, crn: index >> 7 & 15, crm: index >> 3 & 15, op2: index & 7 }
    }

    /// Reads it.
    ///
    /// # Errors
    /// The exception, if there was one.
    pub fn read(self) -> Result<u64, probe::Fault> {
        self.access(MRS, 0)
    }

    /// Writes it.
    ///
    /// # Errors
    /// The exception, if there was one.
    pub fn write(self, value: u64) -> Result<(), probe::Fault> {
        self.access(MSR, value).map(|_| ())
    }

    fn access(self, instruction: u32, value: u64) -> Result<u64, probe::Fault> {
        let Self { op0, op1, crn, crm, op2 } = self;
        let word = instruction | (op0 - 2) << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5;
        CODE[0].store(word, Ordering::Relaxed);
        CODE[1].store(RET, Ordering::Relaxed);
        let start = CODE.as_ptr() as usize;
        cpu::publish_code(start, size_of_val(&CODE));
        probe::call(start as u64, value)
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op0, op1, crn, crm, op2 } = self;
        write!(f, "S{op0}_{op1}_C{crn}_C{crm}_{op2}")
    }
}

/// Whether an access was UNDEFINED.
#[must_use]
pub fn is_undefined<T>(result: &Result<T, probe::Fault>) -> bool {
    result.as_ref().is_err_and(|fault| fault.class() == UNKNOWN && fault.esr & 0x1FF_FFFF == 0)
}
