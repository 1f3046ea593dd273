// SPDX-License-Identifier: MIT OR Apache-2.0
//! Putting a vCPU into the machine and taking it out.

use core::sync::atomic::{AtomicU64, Ordering};

use vambrace_interrupts::{Activity, Level, VcpuSet};
use vambrace_machine::{Lifecycle, Vcpu, Vm, layout};
use vambrace_memory::stage2::Geometry;
use vambrace_memory::vmid::Flush;

use super::slots::State;
use super::{Pcpu, VMIDS, now};
use crate::cell::VmCell;
use crate::features::{self, Fp, Waiting};
use crate::gic::CpuInterface;
use crate::sysreg::{CntvCtlEl0, CntvoffEl2, GuardedWrite, HcrEl2, SafeWrite, VmpidrEl2, VtcrEl2, VttbrEl2};
use crate::{barrier, clock, resident, vgic, world};

/// Stage-2 root tables without an entry, for a CPU without a VM: as many as a 4 KiB granule's smallest trees have.
/// Atomics, so that they are no constant, which would be 16 KiB of zeros in the image.
#[repr(C, align(16384))]
struct EmptyRoot([AtomicU64; 2048]);

static EMPTY_ROOT: EmptyRoot = EmptyRoot([const { AtomicU64::new(0) }; 2048]);

/// Whether a VM goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lives {
    Yes,
    No,
}

impl Pcpu {
    /// Brings the vCPU's list registers up to date.
    pub(super) fn refresh(&mut self, cell: &VmCell, vcpu: &Vcpu) -> Lives {
        let index = usize::from(vcpu.index);
        let mut vm = cell.vm.lock();
        if vm.lifecycle != Lifecycle::Running {
            return Lives::No;
        }
        let mut moved = vm.gic.fold(index, &self.interface.read());
        moved.extend(&self.settle(&mut vm, vcpu));
        // Whatever is for this vCPU it gets now.
        moved.remove(index);
        if let Some(lists) = vm.gic.fill(index) {
            self.interface.write_lists(lists);
        }
        while let Some(physical) = vm.gic.take_released(index) {
            CpuInterface::deactivate(physical);
        }
        drop(vm);
        cell.notify(&moved);
        Lives::Yes
    }

    /// Puts a vCPU into the machine, its list registers up to date. If its VM is stopping, it is not to be entered.
    pub(super) fn load(&mut self, id: u16, cell: &VmCell, vcpu: &Vcpu) -> Lives {
        self.load_translation(cell, vcpu);
        let registers = &vcpu.registers;
        VmpidrEl2.write(1 << 31 | layout::affinity(vcpu.index));
        CntvoffEl2.write(cell.time_offset.load(Ordering::Acquire));
        resident::load_el1(&registers.el1);
        resident::load_debug(&registers.debug, self.features.debug);
        if self.features.pointer_auth {
            resident::load_keys(&registers.keys);
        }
        features::set_fp(if self.fp_owner == Some(id) { Fp::IsLoaded } else { Fp::Traps });
        barrier::isb();
        let index = usize::from(vcpu.index);
        let mut vm = cell.vm.lock();
        vm.gic.set_activity(index, Activity::Busy);
        // The vCPU is folded, so its interrupts are all in the model.
        let mut moved = self.settle(&mut vm, vcpu);
        if let Some(interface) = vm.gic.fill(index) {
            self.interface.write_all(interface);
        }
        // No physical interrupt of its is active here yet, so what is over needs no deactivation. Only then does the
        // timer's count, if it is not over.
        while vm.gic.take_released(index).is_some() {}
        let active = vm.gic.linked_active(index, self.virtual_timer);
        let lives = if vm.lifecycle == Lifecycle::Running { Lives::Yes } else { Lives::No };
        drop(vm);
        moved.remove(index);
        cell.notify(&moved);
        if active {
            self.gic.set_active(self.virtual_timer);
        }
        barrier::isb();
        lives
    }

    /// Brings the lines of timers and clock to the GIC of the resident vCPU, which is folded. Says whom that concerns.
    fn settle(&mut self, vm: &mut Vm, vcpu: &Vcpu) -> VcpuSet {
        self.settled_at = now();
        let mut moved = vm.settle_physical_timer(vcpu, self.settled_at);
        if vgic::virtual_timer_line() == Level::Low {
            moved.extend(&vm.retract_virtual_timer(vcpu.index.into()));
        }
        if vm.clock_deadline().is_some() {
            moved.extend(&vm.advance_clock(clock::seconds()));
        }
        moved
    }

    /// Loads the VM's stage 2 under a VMID that is its own.
    pub(super) fn load_translation(&self, cell: &VmCell, vcpu: &Vcpu) {
        let Some(vmids) = VMIDS.get() else { return };
        let entry = vmids.lock().enter(self.index, &mut cell.vmid.lock(), u32::from(vcpu.index));
        // SAFETY: the VM's own tables, alive as long as its cell, under a VMID that no other VM has.
        unsafe {
            VtcrEl2.write(cell.vtcr);
            VttbrEl2.write(cell.space.vttbr(entry.vmid));
        }
        barrier::isb();
        match entry.flush {
            Flush::None => return,
            Flush::Stage1 => barrier::tlbi_vmalle1(),
            Flush::Vm => barrier::tlbi_vmalls12e1(),
        }
        barrier::dsb_nsh();
        barrier::isb();
    }

    /// No VM's tables stay loaded: they may be freed. In their place come tables without a single translation, so
    /// that nothing is fetched speculatively either.
    pub(super) fn leave_translation(&self) {
        let bits = self.features.pa_bits;
        if let Ok(geometry) = Geometry::for_machine(bits, bits.min(39)) {
            // SAFETY: no guest runs until the next `load_translation`; an empty root translates for nobody.
            unsafe {
                VtcrEl2.write(geometry.vtcr(self.features.vmids));
                VttbrEl2.write((&raw const EMPTY_ROOT).expose_provenance() as u64);
            }
        }
        barrier::isb();
        if let Some(vmids) = VMIDS.get() {
            vmids.lock().leave(self.index);
        }
    }

    /// Takes a vCPU out of the machine; afterwards its values are true.
    pub(super) fn unload(&mut self, cell: &VmCell, vcpu: &mut Vcpu) {
        let index = usize::from(vcpu.index);
        let registers = &mut vcpu.registers;
        resident::save_el1(&mut registers.el1);
        let line = vgic::virtual_timer_line();
        CntvCtlEl0.write(0);
        resident::save_debug(&mut registers.debug, self.features.debug);
        if self.features.pointer_auth {
            resident::save_keys(&mut registers.keys);
        }
        let mut vm = cell.vm.lock();
        let mut moved = vm.gic.fold(index, &self.interface.read());
        if line == Level::Low {
            moved.extend(&vm.retract_virtual_timer(index));
        }
        self.interface.clear();
        while let Some(physical) = vm.gic.take_released(index) {
            CpuInterface::deactivate(physical);
        }
        if vm.gic.linked_active(index, self.virtual_timer) {
            self.gic.clear_active(self.virtual_timer);
        }
        drop(vm);
        cell.notify(&moved);
    }

    /// Gives the vCPU in slot `id`, which is resident, the floating-point registers.
    pub(super) fn take_fp(&mut self, id: u16, vcpu: &Vcpu) {
        features::set_fp(Fp::IsLoaded);
        barrier::isb();
        if let Some(owner) = self.fp_owner.filter(|owner| *owner != id)
            && let Some(Some(slot)) = self.slots.get(usize::from(owner))
            && let Some(mut before) =
                slot.cell.vcpus.get(usize::from(slot.vcpu)).and_then(|vcpu| vcpu.try_lock())
        {
            world::save_fp(&mut before.registers.fp);
        }
        world::load_fp(&vcpu.registers.fp);
        self.fp_owner = Some(id);
    }

    /// Sets the traps: the guest waits in the machine's own WFI only while nobody else wants this CPU. And lets a
    /// virtual SError pend.
    pub(super) fn set_hcr(&self, vcpu: &Vcpu) {
        let online = self.slots.iter().flatten().filter(|slot| slot.state != State::Off).count();
        let waiting =
            if online > 1 || !self.jobs.is_empty() { Waiting::Traps } else { Waiting::InTheMachine };
        let serror = if vcpu.virtual_serror { features::HCR_VSE } else { 0 };
        // SAFETY: the traps that confine a guest are always the same.
        unsafe { HcrEl2.write(self.features.hcr(waiting) | serror) };
    }
}
