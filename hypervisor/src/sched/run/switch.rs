// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loading a vCPU and unloading it.

use core::sync::atomic::{AtomicU64, Ordering};

use vambrace_cpu::registers::El1Registers;
use vambrace_cpu::scheduler::RunQueueIndex;
use vambrace_cpu::timer;
use vambrace_hypervisor::arch::speculative_at::{self, SwitchOrder, SwitchStep};
use vambrace_hypervisor::arch::traps::{HCR_VSE, WfiTrap};
use vambrace_hypervisor::invariant;
use vambrace_ids::VcpuId;
use vambrace_interrupts::{LineLevel, Put, VcpuSet};
use vambrace_machine::{Vcpu, Vm, layout};
use vambrace_memory::vmid::Flush;

use super::{NEVER, Pcpu, now};
use crate::arch::features::{self, Fp};
use crate::arch::lock::SpinMutexGuard;
use crate::arch::sysreg::{
    CntvCtlEl0, CntvoffEl2, CpacrEl1, GuardedWrite, HcrEl2, MairEl1, Read, SafeWrite, SctlrEl1, TcrEl1,
    VdisrEl2, VmpidrEl2, VtcrEl2, VttbrEl2,
};
use crate::arch::{barrier, sysreg_context, world};
use crate::gic::CpuInterface;
use crate::gic::vgic;
use crate::gic::vgic::Interface;
use crate::panic;
use crate::vm::guest_memory::edit::Stage2Loaded;
use crate::vm::shared::{VmShared, VmStatus, device_deadline};

/// Stage-2 root tables without an entry, for a CPU without a VM: as many as a 4 KiB granule's smallest trees have.
/// Atomics, so that they are no constant, which would be 16 KiB of zeros in the image.
#[repr(C, align(16384))]
struct EmptyRoot([AtomicU64; 2048]);

static EMPTY_ROOT: EmptyRoot = EmptyRoot([const { AtomicU64::new(0) }; 2048]);

/// A vCPU that has just been unloaded.
pub(super) struct Unloaded<'a> {
    /// Its VM.
    pub(super) vm: SpinMutexGuard<'a, Vm>,
    /// How its interrupts went.
    pub(super) put: Put,
}

/// Takes back the virtual timer's interrupt of the loaded vCPU, which is synced, if the timer asserts it no longer.
fn retract_timer(vm: &mut Vm, vcpu: VcpuId) -> VcpuSet {
    match vgic::virtual_timer_line() {
        LineLevel::Low => vm.retract_virtual_timer(vcpu),
        LineLevel::High => VcpuSet::new(),
    }
}

/// What becomes of VTCR_EL2 and VTTBR_EL2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage2 {
    /// They are the VM's already.
    Stays,
    /// They are these.
    Is { vtcr: u64, vttbr: u64 },
}

impl Stage2 {
    #[inline(always)]
    fn load(self) {
        if let Self::Is { vtcr, vttbr } = self {
            // SAFETY: the VM's own tables, alive as long as its handle, under a VMID that no other VM has; or tables that
            // translate for nobody.
            unsafe {
                VtcrEl2.write(vtcr);
                VttbrEl2.write(vttbr);
            }
        }
    }
}

/// Loads tables that translate for nobody.
pub(crate) fn load_no_translation(switch: SwitchOrder, empty_vtcr: u64) {
    let vttbr = (&raw const EMPTY_ROOT).expose_provenance() as u64;
    let empty = Stage2::Is { vtcr: empty_vtcr, vttbr };
    if switch == SwitchOrder::Ordered {
        return take_steps(speculative_at::LEAVE, empty, Flush::None, &El1Registers::default());
    }
    empty.load();
    barrier::isb();
}

/// Forgets what the VMID's number may still stand for.
#[inline(always)]
fn forget(flush: Flush) {
    match flush {
        Flush::None => return,
        Flush::Stage1 => barrier::tlbi_vmalle1(),
        Flush::Vm => barrier::tlbi_vmalls12e1(),
    }
    barrier::dsb_nsh();
}

/// Loads a stage 2 and EL1 registers in the order that the core needs.
#[cold]
#[inline(never)]
fn take_steps(steps: &[SwitchStep], stage2: Stage2, flush: Flush, el1: &El1Registers) {
    for step in steps {
        match step {
            SwitchStep::Synchronise => barrier::isb(),
            SwitchStep::StopWalks => TcrEl1.write(TcrEl1.read() | speculative_at::NO_WALKS),
            SwitchStep::ForceStage1 => SctlrEl1.write(SctlrEl1.read() | speculative_at::STAGE1_ON),
            SwitchStep::Stage2 => stage2.load(),
            SwitchStep::Flush => forget(flush),
            SwitchStep::Registers => {
                // The two that have steps of their own stay as they are.
                CpacrEl1.write(el1.cpacr);
                MairEl1.write(el1.mair);
                sysreg_context::load_others(el1);
            }
            SwitchStep::Sctlr => SctlrEl1.write(el1.sctlr),
            SwitchStep::Tcr => TcrEl1.write(el1.tcr),
        }
    }
}

impl Pcpu {
    /// Brings the list registers of the loaded vCPU up to date.
    pub(super) fn refresh(&mut self, handle: &VmShared, vcpu: &Vcpu) -> VmStatus {
        let mut vm = handle.vm.lock();
        let status = handle.goes_on(&vm);
        if status != VmStatus::Running {
            return status;
        }
        let mut moved = vm.gic.sync_from(vcpu.id, |known| self.interface.read(known));
        moved.extend(&self.update_timer_lines(handle, &mut vm, vcpu));
        moved.extend(&retract_timer(&mut vm, vcpu.id));
        // A device may have had the VM reset.
        let status = handle.goes_on(&vm);
        if status != VmStatus::Running {
            drop(vm);
            handle.notify(&moved);
            return status;
        }
        // Whatever is for this vCPU it gets now.
        moved.remove(vcpu.id);
        if let Some(lists) = vm.flush_interrupts(vcpu) {
            self.interface.write_lists(lists);
        }
        while let Some(physical) = vm.gic.take_hw_deactivate(vcpu.id) {
            CpuInterface::deactivate(physical);
        }
        drop(vm);
        handle.notify(&moved);
        VmStatus::Running
    }

    /// Loads a vCPU, its list registers up to date. If its VM is stopping, it is not to be entered.
    pub(super) fn load(&mut self, id: RunQueueIndex, handle: &VmShared, vcpu: &Vcpu) -> VmStatus {
        let registers = &vcpu.registers;
        VmpidrEl2.write(1 << 31 | layout::affinity(vcpu.id));
        CntvoffEl2.write(handle.time_offset.load(Ordering::Acquire));
        self.load_regime(handle, vcpu);
        self.debug.load(&registers.debug);
        self.gic.enter_guest();
        if self.features.deferred_errors {
            VdisrEl2.write(registers.deferred_error);
        }
        if self.features.pointer_auth {
            sysreg_context::load_keys(&registers.keys);
        }
        features::set_fp(if self.fp_owner == Some(id) { Fp::IsLoaded } else { Fp::Traps });
        barrier::isb();
        let mut vm = handle.vm.lock();
        let mut moved = self.update_timer_lines(handle, &mut vm, vcpu);
        if !vm.gic.load(vcpu.id) {
            moved.extend(&self.flush_anew(&mut vm, vcpu));
        }
        if let Some(interface) = vm.gic.interface(vcpu.id) {
            self.interface.write_all(interface);
        }
        let status = handle.goes_on(&vm);
        drop(vm);
        moved.remove(vcpu.id);
        handle.notify(&moved);
        barrier::isb();
        status
    }

    /// Flushes to the list registers of a vCPU that comes to this CPU and cannot go on as it left.
    fn flush_anew(&self, vm: &mut Vm, vcpu: &Vcpu) -> VcpuSet {
        let mut moved = vm.gic.sync_put(vcpu.id);
        moved.extend(&retract_timer(vm, vcpu.id));
        let _ = vm.flush_interrupts(vcpu);
        // No private physical interrupt of its is active here yet, so one that is over needs no deactivation. Only then
        // does the timer's count, if it is not over. A device's may be active wherever the VM is.
        while let Some(physical) = vm.gic.take_hw_deactivate(vcpu.id) {
            if !physical.is_private() {
                CpuInterface::deactivate(physical);
            }
        }
        if vm.gic.is_hw_active(vcpu.id, self.virtual_timer) {
            self.gic.set_active(self.virtual_timer);
        }
        moved
    }

    /// Brings the lines that depend on the time to the GIC: the physical timer's and devices'. Says whom that concerns.
    #[inline(always)]
    fn update_timer_lines(&mut self, handle: &VmShared, vm: &mut Vm, vcpu: &Vcpu) -> VcpuSet {
        self.lines_updated_at = now();
        let mut moved = vm.advance_physical_timer(vcpu, self.lines_updated_at);
        self.alarm = NEVER;
        if vm.waits_for_time() {
            moved.extend(&self.update_device_lines(handle, vm));
        }
        moved
    }

    /// Tells the VM's devices the time, brings their lines to the GIC, and notes when they are to be told next.
    #[cold]
    #[inline(never)]
    fn update_device_lines(&mut self, handle: &VmShared, vm: &mut Vm) -> VcpuSet {
        let moved = vm.note_time(handle.device_time());
        self.alarm = device_deadline(vm).unwrap_or(NEVER);
        moved
    }

    /// Says which stage 2 the vCPU needs, under a VMID that is its VM's own.
    #[inline(always)]
    fn translation_of(&mut self, handle: &VmShared, vcpu: &Vcpu) -> (Stage2, Flush) {
        let vcpu = vcpu.id;
        if self.translation == Some(handle.id) {
            // Loaded since another vCPU of the VM was here: the number is the VM's still.
            return (Stage2::Stays, handle.vmid.lock().switch(self.index, vcpu));
        }
        let entry = self.vmids.lock().enter(self.index, &mut handle.vmid.lock(), vcpu);
        self.translation = Some(handle.id);
        (Stage2::Is { vtcr: handle.vtcr, vttbr: handle.memory.vttbr(entry.vmid) }, entry.flush)
    }

    /// Loads the vCPU's stage 2 and its EL1 registers.
    #[inline(always)]
    fn load_regime(&mut self, handle: &VmShared, vcpu: &Vcpu) {
        let (stage2, flush) = self.translation_of(handle, vcpu);
        if self.switch == SwitchOrder::Ordered {
            return take_steps(speculative_at::ENTER, stage2, flush, &vcpu.registers.el1);
        }
        if stage2 != Stage2::Stays {
            stage2.load();
            barrier::isb();
        }
        forget(flush);
        sysreg_context::load_el1(&vcpu.registers.el1);
    }

    /// Sees that a VM's stage 2 is loaded, under its VMID, for the maintenance of its tables. If it was not, no vCPU is
    /// loaded, and this one of the VM's stands for the others.
    pub(super) fn load_stage2(&mut self, handle: &VmShared, vcpu: VcpuId) -> Stage2Loaded {
        if self.translation != Some(handle.id) {
            let Some(mutex) = handle.vcpus.get(vcpu.index()) else { invariant!("a queued vCPU is its VM's") };
            self.load_regime(handle, &mutex.lock());
            // No vCPU is loaded whose timer this could be.
            CntvCtlEl0.write(0);
            barrier::isb();
        }
        Stage2Loaded::new()
    }

    /// No VM's tables stay loaded: they may be freed. In their place come tables without a single translation, so
    /// that nothing is fetched speculatively either.
    pub(super) fn leave_translation(&mut self) {
        load_no_translation(self.switch, self.empty_vtcr);
        self.vmids.lock().leave(self.index);
        self.translation = None;
    }

    /// Unloads a vCPU; afterwards its values are true. Its VM stays locked, for what follows.
    pub(super) fn unload<'a>(&mut self, handle: &'a VmShared, vcpu: &mut Vcpu) -> Unloaded<'a> {
        let registers = &mut vcpu.registers;
        sysreg_context::save_el1(&mut registers.el1);
        CntvCtlEl0.write(0);
        self.debug.unload(&mut registers.debug);
        if self.features.deferred_errors {
            registers.deferred_error = VdisrEl2.read();
        }
        if self.features.pointer_auth {
            sysreg_context::save_keys(&mut registers.keys);
        }
        let mut vm = handle.vm.lock();
        let put = vm.gic.put(vcpu.id, |known| self.interface.read(known));
        Interface::turn_off();
        if let Put::Synced(moved) = &put {
            let mut moved = *moved;
            if !timer::is_asserted(registers.el1.cntv_ctl) {
                moved.extend(&vm.retract_virtual_timer(vcpu.id));
            }
            self.take_back_interrupts(&mut vm, vcpu.id);
            handle.notify(&moved);
        }
        Unloaded { vm, put }
    }

    /// A vCPU that leaves is synced: no physical interrupt stays active for it.
    fn take_back_interrupts(&self, vm: &mut Vm, vcpu: VcpuId) {
        while let Some(physical) = vm.gic.take_hw_deactivate(vcpu) {
            CpuInterface::deactivate(physical);
        }
        if vm.gic.is_hw_active(vcpu, self.virtual_timer) {
            self.gic.clear_active(self.virtual_timer);
        }
    }

    /// Gives the vCPU with run-queue index `id`, which is loaded, the floating-point registers.
    pub(super) fn take_fp(&mut self, id: RunQueueIndex, vcpu: &Vcpu) {
        features::set_fp(Fp::IsLoaded);
        barrier::isb();
        if let Some(owner) = self.fp_owner.filter(|owner| *owner != id) {
            let queued = self.queued.get(owner.index()).and_then(Option::as_ref);
            let before = queued.and_then(|queued| queued.handle.vcpus.get(queued.vcpu.index())?.try_lock());
            let Some(mut before) = before else {
                panic::bug(format_args!("the floating-point registers belong to a vCPU that is not here"))
            };
            world::save_fp(&mut before.registers.fp);
        }
        world::load_fp(&vcpu.registers.fp);
        self.fp_owner = Some(id);
    }

    /// The floating-point registers of the vCPU with run-queue index `id`, which is not loaded, are in its value from now on.
    pub(super) fn put_fp(&mut self, id: RunQueueIndex, vcpu: &mut Vcpu) {
        if self.fp_owner == Some(id) {
            features::set_fp(Fp::IsLoaded);
            barrier::isb();
            world::save_fp(&mut vcpu.registers.fp);
            self.fp_owner = None;
        }
    }

    /// Sets the traps: the guest waits in the hardware's own WFI and WFE only while nobody else wants this CPU. Whoever only
    /// sleeps does not: what wakes it is an interrupt, and ends the WFI. And lets a virtual SError pend.
    pub(super) fn set_hcr(&self, vcpu: &Vcpu) {
        let wfi = if self.queue.has_waiting() { WfiTrap::On } else { WfiTrap::Off };
        let serror = if vcpu.virtual_serror { HCR_VSE } else { 0 };
        // SAFETY: the traps that confine a guest are always the same.
        unsafe { HcrEl2.write(self.features.hcr(wfi) | serror) };
    }
}
