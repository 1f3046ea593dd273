// SPDX-License-Identifier: MIT OR Apache-2.0
//! What two VMs must have in common if one is to be restored into the other.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};
use vambrace_cpu::id_registers::IdRegisters;
use vambrace_cpu::sysreg::SysReg;
use vambrace_memory::Ipa;

use crate::virtio::DeviceShape;
use crate::vm::{MemoryMap, Vm};

/// The most devices on a VM's bus: its interrupt controller's frames, a UART, a clock, 32 virtio slots, 8 doorbells, and some that
/// may come.
const MAX_DEVICES: usize = 64;
/// The most virtio devices.
const MAX_SLOTS: usize = 32;

/// What a VM was made from, as far as its saved state depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    vcpus: u16,
    memory: MemoryMap,
    /// Priority bits, preemption bits and list registers.
    interface: [u8; 3],
    id_registers: IdRegisters,
    /// First address and length of each device.
    devices: ArrayVec<(Ipa, u64), MAX_DEVICES>,
    /// The virtio devices, by slot, where their registers lie, and what they are.
    slots: ArrayVec<(Ipa, DeviceShape), MAX_SLOTS>,
    name: ArrayVec<u8, 64>,
}

/// A saved VM does not fit into the one that it is to be restored into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It is another one by its description.
    #[error("the saved VM has another name")]
    Name,
    /// The number of vCPUs.
    #[error("the saved VM has {saved} vCPUs, and this one has {here}: give it as many in its description")]
    Vcpus {
        /// Then.
        saved: u16,
        /// Now.
        here: u16,
    },
    /// Its memory.
    #[error("the saved VM has {saved}, and this one {here}: give it the same in its description")]
    Memory {
        /// Then.
        saved: MemoryMap,
        /// Now.
        here: MemoryMap,
    },
    /// What its CPUs look like.
    #[error(
        "the saved VM has seen {saved:#x} in {register}, and here it is {here:#x}: it can go on only on a CPU of the same kind"
    )]
    CpuFeatures {
        /// The first ID register that is another.
        register: SysReg,
        /// Then.
        saved: u64,
        /// Now.
        here: u64,
    },
    /// The machine's virtual CPU interface.
    #[error(
        "the interrupt controller under the saved VM had other priority bits or list registers than this machine's"
    )]
    CpuInterface,
    /// A device.
    #[error(
        "the saved VM has another device at {0} than this one, or none: give this one the same in its description"
    )]
    Device(Ipa),
}

impl Shape {
    /// That of a VM.
    #[must_use]
    pub fn of(vm: &Vm) -> Self {
        let gic = vm.gic.config();
        Self {
            vcpus: gic.affinities.len() as u16,
            memory: vm.memory,
            interface: [gic.priority_bits, gic.preemption_bits, gic.list_registers],
            id_registers: vm.id_registers.clone(),
            devices: vm.bus.devices().map(|(base, len, _)| (base, len)).take(MAX_DEVICES).collect(),
            slots: vm.virtio.shapes().take(MAX_SLOTS).collect(),
            name: vm.name.bytes().take(64).collect(),
        }
    }

    /// Whether a VM of the shape `self`, which was saved, can be restored into one of the shape `here`.
    ///
    /// # Errors
    /// The first [`Mismatch`] there is.
    pub fn check(&self, here: &Self) -> Result<(), Mismatch> {
        let Self { vcpus, memory, interface, id_registers, devices, slots, name } = self;
        if *name != here.name {
            return Err(Mismatch::Name);
        }
        if *vcpus != here.vcpus {
            return Err(Mismatch::Vcpus { saved: *vcpus, here: here.vcpus });
        }
        if *memory != here.memory {
            return Err(Mismatch::Memory { saved: *memory, here: here.memory });
        }
        if let Some((register, saved, here)) = id_registers.first_difference(&here.id_registers) {
            return Err(Mismatch::CpuFeatures { register, saved, here });
        }
        if *interface != here.interface {
            return Err(Mismatch::CpuInterface);
        }
        let device = first_difference(devices, &here.devices).map(|(base, _)| base);
        let slot = first_difference(slots, &here.slots).map(|(base, _)| base);
        device.or(slot).map_or(Ok(()), |base| Err(Mismatch::Device(base)))
    }
}

/// The first element that one list has and the other has not.
fn first_difference<T: Clone + PartialEq>(one: &[T], other: &[T]) -> Option<T> {
    let at = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    one.get(at).or(other.get(at)).cloned()
}
