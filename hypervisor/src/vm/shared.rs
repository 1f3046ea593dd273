// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM as the physical CPUs share it.
//!
//! `vm` is what its CPUs share, in one lock. Each vCPU has an affine CPU, the one physical CPU that runs it until it moves, and
//! is in a lock of its own that only that CPU takes; so the lock is never contended, and holding it is what running the
//! vCPU means. When both are needed, the vCPU's is taken first.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use vambrace_hypervisor::boot::board::MAX_CPUS;
use vambrace_hypervisor::sched::placement::{Placement, PlacementCell};
use vambrace_hypervisor::vm::ratelimit::{LogRatelimit, Verdict};
use vambrace_ids::{PcpuId, VcpuId, VmId};
use vambrace_interrupts::VcpuSet;
use vambrace_io::platform::{Deadline, Time};
use vambrace_machine::fast::{Constants, SiblingVcpus};
use vambrace_machine::{Lifecycle, Vcpu, Vm};
use vambrace_memory::vmid::VmidHolder;

use crate::arch::lock::SpinMutex;
use crate::arch::sysreg::{CntfrqEl0, CntpctEl0, Read};
use crate::console;
use crate::console::VmInput;
use crate::console::link::ConsoleLink;
use crate::devices::Devices;
use crate::host_io::clock;
use crate::sched::percpu::{self, Shared};
use crate::sched::placements::Placements;
use crate::vm::gone::GoneGuard;
use crate::vm::guest_memory::GuestMemoryMap;
use crate::vm::page_cycle::PageCycle;
use crate::vm::pause::{Controls, Pause};
use crate::vm::registry;
use crate::vm::stats::VmStats;

/// What a vCPU of a VM is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VmStatus {
    /// Running.
    Running,
    /// Its vCPUs are being unloaded until the VM goes on.
    Paused,
    /// Halting.
    Stopping,
}

/// A VM's lifecycle, as those read it who must not wait for the VM's lock, which may be held for as long as the VM's own
/// vCPUs like. The VM's own is the truth and changes first, under that lock.
#[derive(Debug)]
pub(crate) struct LifecycleCell(AtomicU8);

impl LifecycleCell {
    /// That of a VM which has just been made.
    pub(crate) const fn new() -> Self {
        Self(AtomicU8::new(Lifecycle::Created.to_bits()))
    }

    fn set(&self, lifecycle: Lifecycle) {
        self.0.store(lifecycle.to_bits(), Ordering::Release);
    }

    /// The state of the VM; what came before it is seen.
    #[inline]
    pub(crate) fn get(&self) -> Lifecycle {
        Lifecycle::from_bits(self.0.load(Ordering::Acquire))
    }

    /// Whether the VM's vCPUs may run.
    #[inline(always)]
    pub(crate) fn is_running(&self) -> bool {
        self.0.load(Ordering::Acquire) == Lifecycle::Running.to_bits()
    }
}

/// A VM that exists.
#[derive(Debug)]
pub(crate) struct VmShared {
    /// Which it is.
    pub(crate) id: VmId,
    /// What its CPUs share.
    pub(crate) vm: SpinMutex<Vm>,
    /// Its CPUs.
    pub(crate) vcpus: Box<[SpinMutex<Vcpu>]>,
    /// What always reads the same for each of them.
    pub(crate) constants: Box<[Constants]>,
    /// Their affine CPUs and run-queue indices, as they are now.
    pub(crate) placements: Placements,
    /// What its virtio devices stand on.
    pub(crate) devices: Devices,
    /// Its console's link to the board's serial line.
    pub(crate) link: ConsoleLink,
    /// How many more of its errors are logged.
    pub(crate) guest_errors: SpinMutex<LogRatelimit>,
    /// Its memory.
    pub(crate) memory: GuestMemoryMap,
    /// VTCR_EL2.
    pub(crate) vtcr: u64,
    /// Its VMID.
    pub(crate) vmid: SpinMutex<VmidHolder<MAX_CPUS>>,
    /// CNTVOFF_EL2 ([`Vm::time_offset`]), for those who load one of its vCPUs before they take its lock.
    pub(crate) time_offset: AtomicU64,
    /// Its boot epoch: each reset begins another.
    pub(crate) boot_epoch: AtomicU32,
    /// How many of its CPUs have halted in this boot epoch.
    pub(crate) halted: AtomicUsize,
    /// Its lifecycle, for those who must not wait for its lock.
    pub(crate) lifecycle: LifecycleCell,
    /// How far its pause is.
    pub(crate) pause: Pause,
    /// What is to be done to it, in its own time.
    pub(crate) controls: Controls,
    /// What is to be done with a page of its RAM.
    pub(crate) pages: PageCycle,
    /// When the parts of its boot epochs began.
    pub(crate) stats: VmStats,
    /// Fields are dropped in the order of their declaration, and this one has to be the last: it tells those that wait for the VM
    /// to be gone, and what they then take (RAM, tables, run-queue indices, ports, disks) is to be free by then. The rules of the
    /// house hold that it is (`tests/rules/drop_order.rs`).
    pub(crate) gone: GoneGuard,
}

/// When a device of the VM is to be told the time next, as a physical count.
#[inline(always)]
pub(crate) fn device_deadline(vm: &Vm) -> Option<u64> {
    if vm.waits_for_time() { device_deadline_of_some(vm) } else { None }
}

#[cold]
#[inline(never)]
fn device_deadline_of_some(vm: &Vm) -> Option<u64> {
    vm.next_deadline(|deadline| match deadline {
        Deadline::Seconds(seconds) => clock::count_at(seconds),
        Deadline::Count(count) => count.saturating_add(vm.time_offset()),
    })
}

impl VmShared {
    /// The time, as its devices go by it.
    pub(crate) fn device_time(&self) -> Time {
        let count = CntpctEl0.read().saturating_sub(self.time_offset.load(Ordering::Relaxed));
        Time { seconds: clock::seconds(), count }
    }

    /// Makes these of the VM's CPUs look at their interrupts and power states again.
    #[inline]
    pub(crate) fn notify(&self, vcpus: &VcpuSet) {
        if !vcpus.is_empty() {
            self.notify_each(vcpus);
        }
    }

    fn notify_each(&self, vcpus: &VcpuSet) {
        for vcpu in vcpus.iter() {
            if let Some(place) = self.placements.get(vcpu.index()) {
                percpu::kick(place);
            }
        }
    }

    /// Makes all of the VM's CPUs look.
    pub(crate) fn notify_all(&self) {
        self.placements.iter().for_each(percpu::kick);
    }

    /// Input has come for it: one of its CPUs takes it.
    pub(crate) fn hear(&self, input: &VmInput) {
        let missing = self.link.receive(input);
        if missing > 0 {
            console::warn_of(
                self.id,
                format_args!("{missing} keys for {} have not arrived", registry::name(self.id)),
            );
        }
        self.kick_worker();
    }

    /// A guest's error: logged as far as its ratelimit goes, whatever has become of the VM since the last.
    pub(crate) fn note_guest_error(&self, text: core::fmt::Arguments<'_>) {
        let verdict = self.guest_errors.lock().take(CntpctEl0.read(), CntfrqEl0.read());
        if let Verdict::Log { unsaid } = verdict {
            self.tell_unsaid(unsaid);
            console::warn_of(self.id, format_args!("{}: {text}", registry::name(self.id)));
        }
    }

    /// The VM is over: says how many of its errors were not logged.
    pub(crate) fn finish_guest_errors(&self) {
        let unsaid = self.guest_errors.lock().finish();
        self.tell_unsaid(unsaid.unwrap_or(0));
    }

    fn tell_unsaid(&self, count: u32) {
        if count > 0 {
            let name = registry::name(self.id);
            console::warn_of(
                self.id,
                format_args!("{name}: {count} more errors, of the same kind or others"),
            );
        }
    }

    /// The serial line has room for what it has written: one of its CPUs sends it.
    pub(crate) fn request_output(&self) {
        self.link.request();
        self.kick_worker();
    }

    /// There is work for its devices that none of its CPUs has asked for: kicks one that is on. The first that is off hands
    /// the kick on to the next ([`VmShared::pass_kick_on`]).
    pub(crate) fn kick_worker(&self) {
        self.devices.set_due();
        if let Some(place) = self.placements.first() {
            percpu::kick(place);
        }
    }

    /// A vCPU that was kicked for the devices' work is off, and one behind it may be on. (One before it that is switched on
    /// meanwhile finds the work when it starts.)
    pub(crate) fn pass_kick_on(&self, vcpu: VcpuId) {
        if self.devices.is_due()
            && let Some(place) = self.placements.get(vcpu.index() + 1)
        {
            percpu::kick(place);
        }
    }

    /// What its virtio devices waited for is there: one of its CPUs works on it.
    pub(crate) fn backend_is_ready(&self) {
        self.devices.note_backend();
        self.kick_worker();
    }

    /// Frames have come for its network cards while it was busy: one of its CPUs takes them.
    pub(crate) fn frames_wait(&self) {
        self.devices.note_frames();
        self.kick_worker();
    }

    /// What the VM's vCPUs are to do; its lock is held. If they are not to run, all see from now on why.
    #[inline]
    pub(crate) fn goes_on(&self, vm: &Vm) -> VmStatus {
        match vm.lifecycle() {
            Lifecycle::Running => VmStatus::Running,
            other => self.goes_not_on(other),
        }
    }

    #[cold]
    fn goes_not_on(&self, lifecycle: Lifecycle) -> VmStatus {
        self.lifecycle.set(lifecycle);
        if lifecycle.is_paused() { VmStatus::Paused } else { VmStatus::Stopping }
    }

    /// Changes the lifecycle of the VM, whose lock is held. All see it from now on.
    pub(crate) fn change<R>(&self, vm: &mut Vm, change: impl FnOnce(&mut Vm) -> R) -> R {
        let result = change(vm);
        // Before it is seen to run: whoever sees that loads this.
        self.time_offset.store(vm.time_offset(), Ordering::Relaxed);
        self.lifecycle.set(vm.lifecycle());
        result
    }

    /// One of the VM's CPUs has halted. Says whether it was the last, who carries the stop out.
    pub(crate) fn halt_one(&self) -> Halted {
        if self.halted.fetch_add(1, Ordering::AcqRel) + 1 == self.vcpus.len() {
            Halted::Last
        } else {
            Halted::OneOfMany
        }
    }

    /// Tells of the boot epoch that is over. All CPUs are halted.
    pub(crate) fn tell_boot_epoch(&self) {
        self.stats.tell();
    }

    /// Begins another boot epoch. All CPUs are halted.
    pub(crate) fn begin_boot_epoch(&self) {
        self.halted.store(0, Ordering::Release);
        self.boot_epoch.fetch_add(1, Ordering::AcqRel);
    }
}

/// The VM's CPUs as one that runs on this physical CPU sees them.
#[derive(Debug)]
pub(crate) struct SiblingsOfVm<'a> {
    pub(crate) handle: &'a VmShared,
    /// This CPU.
    pub(crate) cpu: PcpuId,
    /// All CPUs.
    pub(crate) all: &'static [Shared],
}

impl<'a> SiblingVcpus for SiblingsOfVm<'a> {
    type Placement = (Placement, &'a PlacementCell);

    #[inline(always)]
    fn elsewhere(&self, vcpu: VcpuId) -> Option<Self::Placement> {
        let cell = self.handle.placements.get(vcpu.index())?;
        let at = cell.get();
        (at.cpu() != self.cpu).then_some((at, cell))
    }

    #[inline(always)]
    fn kick(&self, (at, cell): Self::Placement) {
        percpu::kick_other(self.all, at, cell);
    }
}

/// Whether a CPU was the last of its VM to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halted {
    /// Others still run.
    OneOfMany,
    /// None is left.
    Last,
}

/// A shared VM.
pub(crate) type VmHandle = Arc<VmShared>;
