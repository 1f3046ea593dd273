// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts of the board's devices that belong to a VM.
//!
//! EL2 takes one, drops its priority and leaves it active: so it does not come again, however long the guest takes. The
//! guest gets it in a list register that is linked to it, and its end ends the physical one without an exit. If the line
//! is high then, it comes again.

use alloc::vec::Vec;

use crate::lock::SpinMutex;
use spin::Once;
use vambrace_machine::Lifecycle;
use vambrace_wire::bundle::Directory;
use vambrace_wire::bundle::assigned::Interrupt;

use crate::cell::VmCell;
use crate::gic::{CpuInterface, Distributor};
use crate::{percpu, registry};

/// An interrupt and the VM that it is for.
#[derive(Clone, Copy, Debug)]
struct Owned {
    interrupt: Interrupt,
    vm: u16,
}

#[derive(Debug)]
struct Assigned {
    distributor: SpinMutex<Distributor>,
    owned: Vec<Owned>,
}

static ASSIGNED: Once<Assigned> = Once::new();

/// Notes whose interrupts are whose; once, before the first VM.
pub(crate) fn start(distributor: Distributor, directory: &Directory) {
    let owned = (0..).zip(&directory.vms).flat_map(|(vm, config)| {
        config.interrupts.iter().map(move |interrupt| Owned { interrupt: *interrupt, vm })
    });
    ASSIGNED.call_once(|| Assigned { distributor: SpinMutex::new(distributor), owned: owned.collect() });
}

/// The VM starts: its devices' interrupts come to it, as after reset. All its CPUs are parked, or new.
pub(crate) fn connect(cell: &VmCell) {
    let interrupts = registry::interrupts(cell.id);
    let (Some(assigned), Some(home)) = (ASSIGNED.get(), cell.homes.first()) else { return };
    let Some(cpu) = percpu::all().get(usize::from(home.cpu)) else { return };
    for interrupt in interrupts {
        let distributor = assigned.distributor.lock();
        distributor.reset_spi(interrupt.physical);
        distributor.set_trigger(interrupt.physical, interrupt.trigger);
        distributor.enable_spi(interrupt.physical, cpu.affinity);
    }
}

/// The VM has stopped: its devices' interrupts go nowhere.
pub(crate) fn disconnect(cell: &VmCell) {
    let Some(assigned) = ASSIGNED.get() else { return };
    for interrupt in registry::interrupts(cell.id) {
        assigned.distributor.lock().reset_spi(interrupt.physical);
    }
}

/// Whether a physical interrupt that was acknowledged is a VM's; then it is handed on.
pub(crate) fn hand_on(intid: u32) -> bool {
    let Some(assigned) = ASSIGNED.get() else { return false };
    let owned = assigned.owned.iter().find(|owned| owned.interrupt.physical == intid);
    let Some(Owned { interrupt, vm }) = owned else { return false };
    CpuInterface::drop_priority(intid);
    let kicks = registry::find(*vm).and_then(|cell| {
        let mut vm = cell.vm.lock();
        let is_running = vm.lifecycle == Lifecycle::Running;
        let kicks = is_running.then(|| vm.gic.inject_linked(0, interrupt.intid, intid))??;
        drop(vm);
        cell.notify(&kicks);
        Some(())
    });
    if kicks.is_none() {
        // Nobody's for now. It would come again at once.
        assigned.distributor.lock().reset_spi(intid);
    }
    true
}
