// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts of the board's devices that belong to a VM.
//!
//! EL2 takes one, drops its priority and leaves it active: so it does not come again, however long the guest takes. The
//! guest gets it in a list register that is linked to it, and its end ends the physical one without an exit. If the line
//! is high then, it comes again.
//!
//! A device that masters DMA goes on with what its VM has told it, whatever becomes of the VM. So it is reset before the VM's
//! RAM is cleared or anybody else's.

use alloc::vec::Vec;

use vambrace_hypervisor::boot::board::{Board, NotOnBoard};
use vambrace_hypervisor::invariant;
use vambrace_ids::{VcpuId, VmId};
use vambrace_interrupts::{self as interrupts, Intid};
use vambrace_memory::Pa;
use vambrace_wire::bundle::Directory;
use vambrace_wire::bundle::assigned::Trigger;

use crate::arch::barrier;
use crate::arch::flag::Flag;
use crate::arch::lock::SpinMutex;
use crate::console;
use crate::gic::{CpuInterface, Distributor};
use crate::memory::HeapUp;
use crate::sched::percpu;
use crate::system;
use crate::vm::registry;
use crate::vm::shared::VmShared;

/// An interrupt and the VM that it is for.
#[derive(Debug)]
struct Owned {
    /// On the board.
    physical: Intid,
    /// In the VM.
    intid: Intid,
    trigger: Trigger,
    /// Whose it is: the VM that has this index of the bundle's.
    vm: u16,
    /// It was acknowledged and left active, and its VM has not taken it yet.
    has_come: Flag,
}

/// The board's devices that VMs drive.
#[derive(Debug)]
pub(crate) struct Assigned {
    distributor: SpinMutex<Distributor>,
    owned: Vec<Owned>,
    slots: Vec<AssignedSlot>,
    /// VMs whose devices the board does not have.
    refused: Vec<(u16, NotOnBoard)>,
}

/// A virtio-mmio slot of the board and the VM that it is for.
#[derive(Clone, Copy, Debug)]
struct AssignedSlot {
    base: Pa,
    /// As that of [`Owned`].
    vm: u16,
}

impl AssignedSlot {
    /// Resets the device, if there is one: it touches no memory any more (virtio 1.2, 2.4.2 and 4.2.2).
    fn reset(self) {
        const STATUS: u64 = 0x70;
        let status: *mut u32 = core::ptr::with_exposed_provenance_mut((self.base.0 + STATUS) as usize);
        // SAFETY: `start` has seen that it is one of the board's virtio slots, which are mapped as Device memory. Writing to
        // one changes no memory of ours.
        unsafe { status.write_volatile(0) };
        barrier::dsb_ish();
        // It is reset when it says so; it does not take long.
        for _ in 0..RESET_LOOKS {
            // SAFETY: as above.
            if unsafe { status.read_volatile() } == 0 {
                return;
            }
        }
        console::warning!("the virtio device at {} does not let itself be reset", self.base);
    }
}

/// How often a device is asked whether it is reset: on a bus, for some milliseconds.
const RESET_LOOKS: u32 = 10_000;

/// Notes what is whose, and whether the board with this device tree has it; once, before the first VM.
pub(crate) fn start(
    _: &HeapUp,
    distributor: Distributor,
    directory: &Directory,
    board: &Board,
    tree: &[u8],
) -> Assigned {
    let judged = directory.first_vms().filter_map(|(vm, config)| {
        let devices = board.has_devices(tree, &config.registers, &config.interrupts);
        devices.err().map(|why| (vm.wire_index(), why))
    });
    let refused: Vec<_> = judged.collect();
    let is_refused = |vm: u16| refused.iter().any(|(other, _)| *other == vm);
    let virtio = board.virtio;
    let owned = directory.first_vms().flat_map(|(vm, config)| {
        config.interrupts.iter().map(move |interrupt| Owned {
            physical: Intid::new(interrupt.physical),
            intid: Intid::new(interrupt.intid),
            trigger: interrupt.trigger,
            vm: vm.wire_index(),
            has_come: Flag::new(),
        })
    });
    let is_slot = |base: &Pa| base.is_aligned(4) && virtio.contains(*base);
    let slots = directory.first_vms().flat_map(|(vm, config)| {
        config
            .slots
            .iter()
            .copied()
            .map(Pa)
            .filter(is_slot)
            .map(move |base| AssignedSlot { base, vm: vm.wire_index() })
    });
    let slots = slots.filter(|slot| !is_refused(slot.vm));
    let slots: Vec<AssignedSlot> = slots.collect();
    // The firmware may have used them.
    slots.iter().for_each(|slot| slot.reset());
    let distributor = SpinMutex::new(distributor);
    Assigned { distributor, owned: owned.collect(), slots, refused }
}

/// Whether a VM's devices are there.
pub(crate) fn judge(vm: VmId) -> Result<(), NotOnBoard> {
    let refused = system::get().map_or(&[][..], |system| &system.assigned.refused);
    refused.iter().find(|(other, _)| *other == vm.wire_index()).map_or(Ok(()), |(_, why)| Err(*why))
}

fn all() -> &'static Assigned {
    let Some(system) = system::get() else { invariant!("what is assigned is known before the first VM") };
    &system.assigned
}

/// The VM starts: its devices' interrupts come to it, as after reset. All its CPUs are halted, or new.
pub(crate) fn connect(handle: &VmShared) {
    let assigned = all();
    let Some(first) = handle.placements.first() else { invariant!("a VM has a vCPU") };
    let cpu = percpu::get(first.get().cpu());
    for owned in assigned.of(handle) {
        let distributor = assigned.distributor.lock();
        distributor.reset_spi(owned.physical);
        owned.has_come.clear();
        distributor.set_trigger(owned.physical, owned.trigger);
        distributor.enable_spi(owned.physical, cpu.affinity);
    }
}

/// The first vCPU of the VM has moved to the CPU with this affinity: its devices' interrupts follow. One that has come to the old
/// CPU is served there.
pub(crate) fn route_to(handle: &VmShared, affinity: u64) {
    let assigned = all();
    for owned in assigned.of(handle) {
        assigned.distributor.lock().route_spi(owned.physical, affinity);
    }
}

/// The VM has stopped: its devices leave memory alone, and their interrupts go nowhere.
pub(crate) fn disconnect(handle: &VmShared) {
    let assigned = all();
    assigned.slots.iter().filter(|slot| slot.vm == handle.id.wire_index()).for_each(|slot| slot.reset());
    assigned.of(handle).for_each(|owned| assigned.drop_interrupt(owned));
}

/// Hands a physical interrupt that was acknowledged on to the VM whose it is, if it is one's, and says whose. `loaded` is
/// the VM whose vCPU is.
///
/// Only that one's lock is taken here, in its own time. Another VM is kicked, and takes its interrupt in its time.
pub(crate) fn forward_irq(intid: Intid, loaded: Option<&VmShared>) -> Option<Forwarded> {
    let assigned = &system::get()?.assigned;
    let owned = assigned.owned.iter().find(|owned| owned.physical == intid)?;
    CpuInterface::drop_priority(intid);
    owned.has_come.set();
    if let Some(handle) = loaded.filter(|handle| handle.id.wire_index() == owned.vm) {
        assigned.deliver_to(handle);
        return Some(Forwarded::ToLoaded);
    }
    match registry::current(owned.vm)
        .and_then(registry::find)
        .filter(|handle| handle.lifecycle.get().is_live())
    {
        Some(handle) => handle.kick_worker(),
        None => assigned.drop_interrupt(owned),
    }
    Some(Forwarded::ToAnother)
}

/// Whose an interrupt was that was handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forwarded {
    /// That of the VM whose vCPU is loaded.
    ToLoaded,
    /// That of another VM, or of none.
    ToAnother,
}

/// Makes the interrupts that have come for a VM pending there, in its time.
pub(crate) fn deliver(handle: &VmShared) {
    if let Some(system) = system::get() {
        system.assigned.deliver_to(handle);
    }
}

impl Assigned {
    /// A VM's interrupts.
    fn of(&self, handle: &VmShared) -> impl Iterator<Item = &Owned> {
        self.owned.iter().filter(|owned| owned.vm == handle.id.wire_index())
    }

    fn deliver_to(&self, handle: &VmShared) {
        for owned in self.of(handle) {
            // What the device did before its interrupt is seen.
            if owned.has_come.take() {
                self.inject(owned, handle);
            }
        }
    }

    fn inject(&self, owned: &Owned, handle: &VmShared) {
        let trigger = match owned.trigger {
            Trigger::Level => interrupts::Trigger::Level,
            Trigger::Edge => interrupts::Trigger::Edge,
        };
        let kicks = {
            let mut vm = handle.vm.lock();
            let is_live = vm.lifecycle().is_live();
            // An SPI is routed, whichever vCPU is named.
            let any = VcpuId::new(0);
            is_live.then(|| vm.gic.inject_hw(any, owned.intid, owned.physical, trigger)).flatten()
        };
        match kicks {
            Some(kicks) => handle.notify(&kicks),
            None => self.drop_interrupt(owned),
        }
    }

    /// It is nobody's for now. Were it only ended, it would come again at once.
    fn drop_interrupt(&self, owned: &Owned) {
        owned.has_come.clear();
        self.distributor.lock().reset_spi(owned.physical);
    }
}
