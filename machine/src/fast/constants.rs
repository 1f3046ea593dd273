// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fast path answers reads with: made once for each vCPU, since none of it changes while the VM lives.
//!
//! Left to the long path: registers whose value depends on more than the vCPU.

use vambrace_cpu::sysreg::SysReg;
use vambrace_ids::VcpuId;
use vambrace_interrupts::Width;

use crate::layout;
use crate::vm::Vm;

/// Access sizes as the syndrome spells them (SAS).
pub(super) const DOUBLEWORD: u64 = 0b11;
const WORD: u64 = 0b10;

/// Offsets in the frames of distributor and redistributor (IHI 0069, "Register descriptions").
mod offset {
    pub(super) const GICD_TYPER: u64 = 0x4;
    pub(super) const GICD_IIDR: u64 = 0x8;
    pub(super) const GICR_IIDR: u64 = 0x4;
    pub(super) const GICR_TYPER: u64 = 0x8;
    /// In both.
    pub(super) const PIDR2: u64 = 0xFFE8;
}

/// A device register that always reads the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ConstantRegister {
    /// The IPA, and above it the access size.
    key: u64,
    value: u64,
}

impl ConstantRegister {
    const fn new(ipa: u64, size: u64, value: u64) -> Self {
        Self { key: Self::key(ipa, size), value }
    }

    #[inline(always)]
    const fn key(ipa: u64, size: u64) -> u64 {
        ipa | size << 62
    }
}

/// Registers that are read now and then, each in a place that its key tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Table {
    registers: [ConstantRegister; Self::PLACES],
    /// What makes a place of a key: no two registers have the same.
    multiplier: u64,
}

impl Table {
    const PLACES: usize = 8;
    /// Multipliers that are tried. One in thirteen will do.
    const TRIES: u64 = 1000;

    /// Without collisions; if there were no multiplier for that, without registers.
    fn new(registers: &[ConstantRegister]) -> Self {
        let odd = (1..=Self::TRIES).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        odd.filter_map(|multiplier| Self::with(registers, multiplier)).next().unwrap_or_default()
    }

    fn with(registers: &[ConstantRegister], multiplier: u64) -> Option<Self> {
        let mut table = Self { multiplier, ..Self::default() };
        for register in registers {
            let place = table.registers.get_mut(Self::place(register.key, multiplier))?;
            if *place != ConstantRegister::default() {
                return None;
            }
            *place = *register;
        }
        Some(table)
    }

    #[inline(always)]
    const fn place(key: u64, multiplier: u64) -> usize {
        (key.wrapping_mul(multiplier) >> 61) as usize
    }

    #[inline(always)]
    fn find(&self, key: u64) -> Option<u64> {
        let register = self.registers.get(Self::place(key, self.multiplier))?;
        (register.key == key).then_some(register.value)
    }
}

/// What always reads the same for one vCPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constants {
    /// The ID registers, by CRm and op2.
    pub(super) ids: [[u64; 8]; 8],
    /// GICD_TYPER, and GICR_TYPER of the vCPU's own redistributor: those of the device registers that are read most.
    types: [ConstantRegister; 2],
    /// The others.
    table: Table,
    /// ICC_SGI1R_EL1 for the vCPU itself, without an INTID.
    pub(super) sgi_to_self: u64,
}

impl Constants {
    /// Those of a vCPU of this VM.
    #[must_use]
    pub fn new(vm: &mut Vm, vcpu: VcpuId) -> Self {
        let id = |crm, op2| vm.id_registers.read(SysReg { op0: 3, op1: 0, crn: 0, crm, op2 }).unwrap_or(0);
        let mut ids = [[0; 8]; 8];
        for (crm, row) in (0..).zip(&mut ids) {
            for (op2, value) in (0..).zip(row) {
                *value = id(crm, op2);
            }
        }
        let affinity = layout::affinity(vcpu);
        let (aff0, aff1, aff2) = (affinity & 0xFF, affinity >> 8 & 0xFF, affinity >> 16 & 0xFF);
        let sgi_to_self = aff2 << 32 | aff1 << 16 | (aff0 >> 4) << 44 | 1 << (aff0 & 0xF);

        let (distributor, redistributor) = (layout::GICD.start().0, layout::redistributor(vcpu).0);
        let mut shared = |offset| vm.gic.read_distributor(offset, Width::Word);
        let (kind, maker) = (shared(offset::GICD_TYPER), shared(offset::GICD_IIDR));
        let architecture = shared(offset::PIDR2);
        let own_kind = vm.gic.read_redistributor(vcpu, offset::GICR_TYPER, Width::Double);
        let types = [
            ConstantRegister::new(distributor + offset::GICD_TYPER, WORD, kind),
            ConstantRegister::new(redistributor + offset::GICR_TYPER, DOUBLEWORD, own_kind),
        ];
        let table = Table::new(&[
            ConstantRegister::new(distributor + offset::GICD_IIDR, WORD, maker),
            ConstantRegister::new(distributor + offset::PIDR2, WORD, architecture),
            ConstantRegister::new(redistributor + offset::GICR_IIDR, WORD, maker),
            ConstantRegister::new(redistributor + offset::GICR_TYPER, WORD, own_kind & 0xFFFF_FFFF),
            ConstantRegister::new(redistributor + offset::GICR_TYPER + 4, WORD, own_kind >> 32),
            ConstantRegister::new(redistributor + offset::PIDR2, WORD, architecture),
        ]);
        Self { ids, types, table, sgi_to_self }
    }

    /// What a load of this size finds at this IPA, in each width that the architecture gives the register.
    #[inline(always)]
    pub(super) fn device(&self, ipa: u64, size: u64) -> Option<u64> {
        let key = ConstantRegister::key(ipa, size);
        match self.types.iter().find(|register| register.key == key) {
            Some(register) => Some(register.value),
            None => self.table.find(key),
        }
    }
}
