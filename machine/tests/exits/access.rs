// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads, stores and register accesses, as the CPU reports them.

use vambrace_cpu::syndrome::class;
use vambrace_cpu::sysreg::SysReg;
use vambrace_machine::Resume;

use crate::bench::{Bench, syndrome};

/// Fault status: translation fault, level 3.
pub(crate) const TRANSLATION: u32 = 0x07;
/// Fault status: permission fault, level 3.
pub(crate) const PERMISSION: u32 = 0x0F;

/// Bits of a data abort's ISS. Not those of `vambrace_cpu::syndrome::field`, which this crate decodes exits with: a wrong one
/// there would agree with itself.
pub(crate) mod iss {
    pub(crate) const ISV: u32 = 1 << 24;
    pub(crate) const SSE: u32 = 1 << 21;
    pub(crate) const SF: u32 = 1 << 15;
    pub(crate) const CM: u32 = 1 << 8;
    pub(crate) const S1PTW: u32 = 1 << 7;
    pub(crate) const WNR: u32 = 1 << 6;
}

/// ISV, SAS and SRT of an access of 1, 2, 4 or 8 bytes.
pub(crate) const fn moves(bytes: u32, register: u32) -> u32 {
    iss::ISV | bytes.trailing_zeros() << 22 | register << 16 | if bytes == 8 { iss::SF } else { 0 }
}

impl Bench {
    /// A data abort of the first vCPU, with translation off: virtual and physical addresses are the same.
    pub(crate) fn data_abort(&mut self, iss: u32, ipa: u64) -> Resume {
        self.data_abort_at(iss, ipa, ipa)
    }

    /// A data abort of the first vCPU.
    pub(crate) fn data_abort_at(&mut self, iss: u32, va: u64, ipa: u64) -> Resume {
        let esr = syndrome(class::DATA_ABORT_LOWER, iss);
        self.exit_of(0, esr.0, va, ipa >> 12 << 4)
    }

    /// LDR or one of its siblings; what all 64 bits of X5 hold then.
    pub(crate) fn load(&mut self, bytes: u32, extra: u32, ipa: u64) -> u64 {
        let pc = self.frame().pc;
        self.frame().x[5] = 0xDEAD_DEAD_DEAD_DEAD;
        assert_eq!(self.data_abort(moves(bytes, 5) | extra | TRANSLATION, ipa), Resume::Guest);
        assert_eq!(self.frame().pc, pc + 4, "stepped over");
        self.frame().x[5]
    }

    /// LDR Wt.
    pub(crate) fn read(&mut self, ipa: u64) -> u64 {
        self.load(4, 0, ipa)
    }

    /// STR of so many bytes.
    pub(crate) fn store(&mut self, bytes: u32, ipa: u64, value: u64) {
        let pc = self.frame().pc;
        self.frame().x[6] = value;
        assert_eq!(self.data_abort(moves(bytes, 6) | iss::WNR | TRANSLATION, ipa), Resume::Guest);
        assert_eq!(self.frame().pc, pc + 4, "stepped over");
    }

    /// STR Wt.
    pub(crate) fn write(&mut self, ipa: u64, value: u64) {
        self.store(4, ipa, value);
    }

    /// Runs a load or store that the syndrome does not describe: `word` is put at the PC.
    pub(crate) fn undescribed(&mut self, word: u32, iss: u32, va: u64, ipa: u64) -> Resume {
        let pc = self.frame().pc;
        self.host.ram.poke(pc, &word.to_le_bytes());
        self.data_abort_at(iss | TRANSLATION, va, ipa)
    }

    /// MRS of the first vCPU into a register.
    pub(crate) fn mrs(&mut self, register: SysReg, rt: u32) -> Resume {
        self.exit(syndrome(class::SYSTEM, register.to_iss() | rt << 5 | 1))
    }

    /// MSR of the first vCPU from a register.
    pub(crate) fn msr(&mut self, register: SysReg, rt: u32) -> Resume {
        self.exit(syndrome(class::SYSTEM, register.to_iss() | rt << 5))
    }

    /// Whether the first vCPU has been given an exception of this class, whose vectors it now is at; sends it back.
    pub(crate) fn took(&mut self, class: u8) -> bool {
        let took = self.taken_syndrome().is_some_and(|syndrome| syndrome.class() == class);
        let (elr, spsr) = (self.el1().elr, self.el1().spsr);
        self.frame().pc = elr;
        self.frame().pstate = spsr;
        took
    }
}
