// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a board's CPUs have, and what all of them have: VMs are built on that.
//!
//! A VM's vCPUs live on several CPUs, which need not be alike; and what EL2 decides for a whole VM (the format of its tables,
//! the width of its VMID, how many list registers its interrupts may take) has to hold on each. So every CPU says what it has
//! before the first VM is made.

use vambrace_cpu::id_registers::{HostIdRegisters, IdRegisters};
use vambrace_machine::vm::Platform;

use crate::traps::Features;

/// How many list registers and bits of priority a virtual CPU interface has (ICH_VTR_EL2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// List registers.
    pub list_registers: u8,
    /// Priority bits.
    pub priority_bits: u8,
    /// Preemption bits.
    pub preemption_bits: u8,
}

impl Shape {
    /// As ICH_VTR_EL2 says.
    #[must_use]
    pub const fn of(vtr: u64) -> Self {
        Self {
            list_registers: (vtr & 0x1F) as u8 + 1,
            priority_bits: (vtr >> 29 & 7) as u8 + 1,
            preemption_bits: (vtr >> 26 & 7) as u8 + 1,
        }
    }

    /// Registers of active priorities, of each group.
    #[must_use]
    pub fn active_priorities(self) -> u8 {
        1 << self.preemption_bits.saturating_sub(5).min(2)
    }

    fn common(self, other: Self) -> Self {
        Self {
            list_registers: self.list_registers.min(other.list_registers),
            priority_bits: self.priority_bits.min(other.priority_bits),
            preemption_bits: self.preemption_bits.min(other.preemption_bits),
        }
    }
}

/// What a CPU has, or what several have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its ID registers.
    pub id: HostIdRegisters,
    /// Its virtual CPU interface.
    pub shape: Shape,
}

impl Cpu {
    /// What both have.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        Self { id: self.id.common(&other.id), shape: self.shape.common(other.shape) }
    }

    /// What EL2 does by it, on each CPU alike.
    #[must_use]
    pub fn features(&self) -> Features {
        Features::of(&self.id)
    }

    /// What VMs are built on.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            id_registers: IdRegisters::for_vm(&self.id),
            priority_bits: self.shape.priority_bits,
            preemption_bits: self.shape.preemption_bits,
            list_registers: self.shape.list_registers,
        }
    }
}

/// Whether VMs see less than one of the CPUs has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alike {
    /// All CPUs have the same.
    Yes,
    /// Some have more.
    No,
}

/// What has been heard of the CPUs so far.
#[derive(Clone, Debug)]
pub struct Census {
    /// CPUs that are to come, or not to come, still.
    missing: usize,
    common: Option<Cpu>,
    alike: Alike,
}

impl Census {
    /// None of `cpus` CPUs has been heard of.
    #[must_use]
    pub const fn new(cpus: usize) -> Self {
        Self { missing: cpus, common: None, alike: Alike::Yes }
    }

    /// A CPU is there.
    pub fn add(&mut self, cpu: &Cpu) {
        self.missing = self.missing.saturating_sub(1);
        let common = self.common.as_ref().map_or_else(|| cpu.clone(), |before| before.common(cpu));
        // Names are no features.
        let has = |cpu: &Cpu| {
            (IdRegisters::for_vm(&HostIdRegisters { midr: 0, ctr: 0, ..cpu.id.clone() }), cpu.shape)
        };
        if has(&common) != has(cpu) || self.common.as_ref().is_some_and(|before| has(before) != has(&common))
        {
            self.alike = Alike::No;
        }
        self.common = Some(common);
    }

    /// A CPU will never be there.
    pub fn give_up_one(&mut self) {
        self.missing = self.missing.saturating_sub(1);
    }

    /// How many are still to be heard of.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// What all of those that are there have.
    #[must_use]
    pub fn common(&self) -> Option<(&Cpu, Alike)> {
        Some((self.common.as_ref()?, self.alike))
    }
}

/// Whether a CPU that comes when VMs exist already may run them: it has all that they count on.
#[must_use]
pub fn may_join(late: &Cpu, common: &Cpu) -> bool {
    let both = common.common(late);
    (both.platform().id_registers, both.shape, both.features())
        == (common.platform().id_registers, common.shape, common.features())
}

#[cfg(test)]
mod tests {
    use vambrace_memory::attributes::Stage2Encoding;
    use vambrace_memory::vmid::VmidWidth;

    use super::*;

    fn older() -> Cpu {
        let id = HostIdRegisters { aa64mmfr0: 0x1122, ..HostIdRegisters::default() };
        Cpu { id, shape: Shape::of(3 | 4 << 29 | 4 << 26) }
    }

    fn newer() -> Cpu {
        let id = HostIdRegisters {
            aa64mmfr0: 0x1125,
            aa64mmfr1: 2 << 4,
            aa64mmfr2: 1 << 40,
            aa64isar0: 2 << 20,
            aa64isar1: 1 << 4,
            ..HostIdRegisters::default()
        };
        Cpu { id, shape: Shape::of(15 | 6 << 29 | 6 << 26) }
    }

    #[test]
    fn what_is_decided_for_a_whole_vm_holds_on_each_cpu() {
        for common in [older().common(&newer()), newer().common(&older())] {
            let features = common.features();
            assert_eq!((features.pa_bits, features.vmids), (40, VmidWidth::Eight));
            assert_eq!((features.encoding, features.pointer_auth), (Stage2Encoding::Combining, false));
            let Platform { list_registers, priority_bits, preemption_bits, .. } = common.platform();
            assert_eq!((list_registers, priority_bits, preemption_bits), (4, 5, 5));
        }
    }

    #[test]
    fn the_census_hears_of_all() {
        let mut census = Census::new(3);
        assert!(census.common().is_none());
        census.add(&newer());
        census.add(&newer());
        assert_eq!((census.missing(), census.common().map(|(_, alike)| alike)), (1, Some(Alike::Yes)));
        census.add(&older());
        let (common, alike) = census.common().unwrap();
        assert_eq!((census.missing(), alike), (0, Alike::No));
        assert_eq!(common.shape, older().shape);
        // The other way round: it is the later one that has more.
        let mut census = Census::new(2);
        census.add(&older());
        census.add(&newer());
        assert_eq!(census.common().unwrap().1, Alike::No);
        let mut census = Census::new(2);
        census.add(&older());
        census.give_up_one();
        assert_eq!((census.missing(), census.common().unwrap().1), (0, Alike::Yes));
    }

    #[test]
    fn who_comes_late_has_to_have_what_vms_count_on() {
        assert!(may_join(&newer(), &older()));
        assert!(!may_join(&older(), &newer()));
        assert!(may_join(&older(), &older()));
        let few_lists = Cpu { shape: Shape { list_registers: 2, ..older().shape }, ..older() };
        assert!(!may_join(&few_lists, &older()));
        let narrow = Cpu { id: HostIdRegisters { aa64mmfr0: 0x1121, ..older().id }, ..older() };
        assert!(!may_join(&narrow, &older()));
    }
}
