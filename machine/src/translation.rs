// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stage 1 as a vCPU sees it: its own registers, its own tables.

pub(crate) use vambrace_memory::access::Access as Stage1Access;
use vambrace_memory::access::El;
use vambrace_memory::fault::Fault;
use vambrace_memory::stage1::{self, Regime, Translation};
use vambrace_memory::{GuestMemory, Va};

use vambrace_cpu::pstate;

use crate::host::{GuestRam, LoadedVcpu};
use crate::vcpu::Vcpu;

/// Translates an address as the vCPU itself would for this access.
pub(crate) fn translate(
    vcpu: &mut Vcpu,
    va: Va,
    access: Stage1Access,
    host: &mut (impl LoadedVcpu + GuestRam),
) -> Result<Translation, Fault> {
    host.borrow_el1(vcpu);
    let (frame, el1) = (&vcpu.registers.frame, &vcpu.registers.el1);
    let regime = Regime {
        sctlr: el1.sctlr,
        tcr: el1.tcr,
        ttbr0: el1.ttbr0,
        ttbr1: el1.ttbr1,
        mair: el1.mair,
        pan: frame.pstate & pstate::PAN != 0,
        hcr: 0,
        features: host.translation_features(),
    };
    let level = if frame.level().is_el0() { El::El0 } else { El::El1 };
    stage1::translate(&host.memory(), &regime, va, access, level)
}

/// Reads the A64 instruction at the vCPU's PC. Instructions are little-endian whatever the data are.
pub(crate) fn read_instruction(vcpu: &mut Vcpu, host: &mut (impl LoadedVcpu + GuestRam)) -> Option<u32> {
    let pc = Va(vcpu.registers.frame.pc);
    let ipa = translate(vcpu, pc, Stage1Access::Execute, host).ok()?.ipa;
    host.memory().read_u32(ipa).ok()
}
