// SPDX-License-Identifier: MIT OR Apache-2.0
//! All VMs of the bundle: which exist, which are yet to be, which have ended.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use vambrace_hypervisor::boot::board::NotOnBoard;
use vambrace_hypervisor::invariant;
use vambrace_hypervisor::memory::room::{self, NoRoom};
use vambrace_hypervisor::sched::placement::{NoPlace, PlacementCell};
use vambrace_hypervisor::vm::ratelimit::LogRatelimit;
use vambrace_hypervisor::vm::table::VmTable;
use vambrace_ids::{PcpuId, VcpuId, VmId};
use vambrace_machine::fast::Constants;
use vambrace_machine::vm::Platform;
use vambrace_machine::{StopReason, Vcpu, Vm};
use vambrace_memory::Ipa;
use vambrace_memory::attributes::Stage2Encoding;
use vambrace_memory::vmid::{VmidHolder, VmidWidth};
use vambrace_wire::bundle::assigned::RamPlacement;
use vambrace_wire::bundle::channel::Membership;
use vambrace_wire::bundle::{Bundle, Seed, VmConfig, WhenIdle};
use vambrace_wire::message::{FromHypervisor, LogLevel, VmControl, VmState};

use crate::arch::lock::SpinMutex;
use crate::boot::firmware;
use crate::console;
use crate::console::Heard;
use crate::console::link::ConsoleLink;
use crate::devices::Devices;
use crate::devices::{assigned, channels, network};
use crate::host_io::clock;
use crate::memory::{HeapUp, Room};
use crate::sched::percpu::{self, Message};
use crate::sched::placements::Placements;
use crate::system::{self, SystemUp};
use crate::vm::background::BackgroundTask;
use crate::vm::gone::GoneGuard;
use crate::vm::guest_memory::{GuestMemoryMap, Memory};
use crate::vm::page_cycle::PageCycle;
use crate::vm::pause::{Controls, Pause};
use crate::vm::shared::{LifecycleCell, VmHandle, VmShared};
use crate::vm::stats::{self, VmStats};

/// What VMs are made from, the same for all.
#[derive(Debug)]
pub(crate) struct HostCpu {
    /// CPU properties.
    pub(crate) platform: Platform,
    /// Physical address bits.
    pub(crate) pa_bits: u32,
    /// Whether FEAT_S2FWB is used.
    pub(crate) encoding: Stage2Encoding,
    /// VMID bits.
    pub(crate) vmids: VmidWidth,
}

/// The bundle, and which of its VMs exist.
#[derive(Debug)]
pub(crate) struct Registry {
    bundle: Bundle<'static>,
    host_cpu: HostCpu,
    states: SpinMutex<States>,
    /// VMs that have not ended.
    remaining: AtomicUsize,
}

/// Where the VMs of the bundle are.
#[derive(Debug)]
struct States {
    vms: VmTable<VmSlot>,
    /// Those that are yet to be made, in order. The others are not looked at when one is gone.
    waiting: Vec<VmId>,
}

/// What is in the place of a VM of the bundle.
#[derive(Debug)]
enum VmSlot {
    /// It waits for another to end.
    Waiting,
    /// It exists.
    Alive(Weak<VmShared>),
    /// It could not be made.
    Failed,
    /// It is over, and its memory is free.
    Gone,
}

/// All VMs of the bundle that wait for no other are made.
#[derive(Debug)]
pub(crate) struct VmsMade(());

impl Registry {
    /// The bundle's VMs, of which none is made yet.
    pub(crate) fn new(_: &HeapUp, bundle: Bundle<'static>, host_cpu: HostCpu) -> Self {
        let count = bundle.directory.vms.len();
        let vms = VmTable::new(count, || VmSlot::Waiting);
        // Memory at a certain place is taken before others take what they find.
        let placed = |one_to_one: bool| {
            bundle
                .directory
                .first_vms()
                .filter(move |(_, config)| (config.placement == RamPlacement::OneToOne) == one_to_one)
                .map(|(id, _)| id)
        };
        let waiting = placed(true).chain(placed(false)).collect();
        Self {
            bundle,
            host_cpu,
            states: SpinMutex::new(States { vms, waiting }),
            remaining: AtomicUsize::new(count),
        }
    }
}

/// Makes all VMs that wait for no other.
pub(crate) fn make_vms(system: &SystemUp) -> VmsMade {
    // No guest runs here yet.
    while advance() == Advance::More {}
    let registry = &system.get().registry;
    if registry.bundle.directory.vms.is_empty() {
        finish(registry);
    }
    VmsMade(())
}

/// The VMs. `None` before there is any.
fn registry() -> Option<&'static Registry> {
    Some(&system::get()?.registry)
}

/// Makes the next VM that has nothing left to wait for, if there is one. To be called when a VM is gone, and again as long as
/// there may be more.
///
/// Only one at a time, and under no lock that others wait for: making one takes long, and guests run here and on other CPUs.
pub(crate) fn advance() -> Advance {
    let Some(registry) = registry() else { return Advance::Over };
    let Some((id, config)) = registry.next() else { return Advance::Over };
    if let Err(error) = registry.create(id, config) {
        console::warning!("{} cannot be made: {error}", config.name);
        registry.set(id, VmSlot::Failed);
        console::tell_of(id, |vm| FromHypervisor::State { vm, state: VmState::NotMade });
        ended_one(registry);
    }
    Advance::More
}

/// Whether another VM may be there to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    /// Perhaps.
    More,
    /// None is.
    Over,
}

/// A VM is over, and what it had is free: one that waits for it, or for its memory, can be made.
pub(crate) fn note_gone(id: VmId) {
    if let Some(registry) = registry() {
        registry.set(id, VmSlot::Gone);
    }
    percpu::request_after_gone();
}

/// Why a VM could not be made.
#[derive(Debug, thiserror::Error)]
enum CreateError {
    #[error("{0}")]
    GuestMemoryMap(#[from] crate::vm::guest_memory::SpaceError),
    #[error("{0}")]
    Vm(#[from] vambrace_machine::vm::BuildError),
    #[error("{0}")]
    Assigned(#[from] NotOnBoard),
    #[error("{0}")]
    Disk(#[from] crate::devices::disk::DiskError),
    #[error("{0}")]
    Placement(#[from] NoPlace),
    #[error("{0}")]
    Room(#[from] NoRoom),
}

impl States {
    /// Whether the VM that has this index of the bundle's is over, or could not be made.
    fn is_gone(&self, wire_index: u16) -> bool {
        let slot = self.vms.current(wire_index).and_then(|id| self.vms.get(id));
        matches!(slot, Some(VmSlot::Failed | VmSlot::Gone))
    }

    /// A VM that is over is to be made anew: gives its index to another. `None` if there is none that is over.
    fn renew(&mut self, wire_index: u16) -> Option<VmId> {
        let id = self.vms.current(wire_index).filter(|_| self.is_gone(wire_index))?;
        let id = self.vms.replace(id, VmSlot::Waiting)?;
        self.waiting.push(id);
        Some(id)
    }
}

impl Registry {
    /// The first VM that waits for nothing; it does not wait any more.
    fn next(&self) -> Option<(VmId, &'static VmConfig)> {
        let mut states = self.states.lock();
        let may_be_made = |id: &VmId| {
            config(*id).is_some_and(|config| config.after.is_none_or(|after| states.is_gone(after)))
        };
        let at = states.waiting.iter().position(may_be_made)?;
        let id = states.waiting.remove(at);
        Some((id, config(id)?))
    }

    fn set(&self, id: VmId, state: VmSlot) {
        if let Some(place) = self.states.lock().vms.get_mut(id) {
            *place = state;
        }
    }

    /// Makes a VM, and hands it to its CPUs. Apart, as its values pass over the stack.
    #[cold]
    #[inline(never)]
    fn create(&self, id: VmId, config: &VmConfig) -> Result<(), CreateError> {
        // The first, so that it is dropped after all that is taken below if something of it cannot be had.
        let gone = GoneGuard::new(id);
        let stats = VmStats::new(id);
        assigned::judge(id)?;
        let flash = vambrace_machine::layout::FLASH.end().0;
        let in_flash = config.loads.iter().filter(|load| load.ipa < flash);
        let firmware =
            in_flash.map(|load| load.ipa + self.bundle.blob(load.blob).len() as u64).max().unwrap_or(0);
        let memory = Memory::take(config, firmware)?;
        // From here on each piece of the heap is there, too.
        let room = Room::claim(room_of_values(config))?;
        let memory = GuestMemoryMap::new(memory, config, self.host_cpu.pa_bits, self.host_cpu.encoding)?;
        let mut vm = Vm::new(config, &self.host_cpu.platform, clock::seconds())?;
        let devices = Devices::new(id, &config.virtio, &self.bundle)?;
        let placements = Placements::find(config.vcpus.iter().map(|vcpu| vcpu.cpu.map(PcpuId::new)))?;
        let vcpus: Box<[_]> = vm.gic.vcpu_ids().map(|vcpu| SpinMutex::new(Vcpu::new(vcpu))).collect();
        let constants: Box<[_]> = vm.gic.vcpu_ids().map(|vcpu| Constants::new(&mut vm, vcpu)).collect();
        drop(room);
        // What is left to do cannot be undone any more, on the CPUs least of all.
        let room = Arc::new(Room::claim(room_of_shared() + placements.room(&devices))?);
        let handle = Arc::new(VmShared {
            id,
            vtcr: memory.geometry().vtcr(self.host_cpu.vmids),
            vm: SpinMutex::new(vm),
            vcpus,
            constants,
            placements,
            devices,
            link: ConsoleLink::new(),
            guest_errors: SpinMutex::new(LogRatelimit::new()),
            memory,
            vmid: SpinMutex::new(VmidHolder::new()),
            time_offset: AtomicU64::new(0),
            boot_epoch: AtomicU32::new(0),
            halted: AtomicUsize::new(0),
            lifecycle: LifecycleCell::new(),
            pause: Pause::new(),
            controls: Controls::new(),
            pages: PageCycle::new(),
            stats,
            gone,
        });
        // Before anything of it runs: whoever has something for it finds it.
        self.set(id, VmSlot::Alive(Arc::downgrade(&handle)));
        network::connect(&handle);
        let mut task = Some(BackgroundTask::first(Arc::clone(&handle)));
        for (vcpu, place) in (0..).map(VcpuId::new).zip(handle.placements.iter()) {
            let (handle, room, at) = (Arc::clone(&handle), Arc::clone(&room), place.get());
            percpu::send(
                at.cpu(),
                Message::AddVcpu { handle, vcpu, index: at.index(), task: task.take(), room },
            );
        }
        Ok(())
    }
}

/// The most that [`Registry::create`] takes of the heap for a VM's values.
fn room_of_values(config: &VmConfig) -> usize {
    let vcpus = config.vcpus.len();
    let of_vcpus = room::piece(vcpus * size_of::<SpinMutex<Vcpu>>(), align_of::<Vcpu>())
        + room::piece(vcpus * size_of::<Constants>(), align_of::<Constants>())
        + room::piece(vcpus * size_of::<PlacementCell>(), 1);
    room::of_vm(config) + GuestMemoryMap::room(config) + Devices::room(&config.virtio) + of_vcpus
}

/// What it takes for that in which CPUs share them.
fn room_of_shared() -> usize {
    // The counts of an `Arc` lie before what is shared.
    let counts = 2 * size_of::<usize>();
    room::piece(size_of::<VmShared>() + counts, align_of::<VmShared>())
        + room::piece(size_of::<Room>() + counts, 1)
}

/// All CPUs of a VM are halted: carries its ending out.
pub(crate) fn end(handle: &VmHandle, reason: StopReason) -> BackgroundTask {
    assigned::disconnect(handle);
    channels::leave(handle);
    handle.stop_page_cycle();
    let task = BackgroundTask::Zero { handle: Arc::clone(handle), done: 0, then: reason };
    if matches!(reason, StopReason::Reset(_)) {
        handle.tell_boot_epoch();
        handle.stats.begin();
        return task;
    }
    let state = if reason == StopReason::Off { VmState::Off } else { VmState::Crashed };
    handle.finish_guest_errors();
    let ended = {
        let mut vm = handle.vm.lock();
        vm.flush_console(|bytes| console::print_last(handle.id, bytes));
        handle.change(&mut vm, Vm::end)
    };
    invariant!(ended.is_ok(), "a VM whose vCPUs have halted stops");
    console::tell_of(handle.id, |vm| FromHypervisor::State { vm, state });
    handle.tell_boot_epoch();
    handle.devices.detach();
    handle.notify_all();
    if let Some(registry) = registry() {
        ended_one(registry);
    }
    task
}

fn ended_one(registry: &Registry) {
    if registry.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
        finish(registry);
    }
}

/// No VM is left: switches the board off, unless it is to stay.
fn finish(registry: &Registry) {
    match registry.bundle.directory.when_idle {
        WhenIdle::Off => switch_off(),
        WhenIdle::Stay => {
            console::log(LogLevel::Info, format_args!("no VM is left, and the board stays on"));
        }
    }
}

fn switch_off() -> ! {
    stats::tell_boot();
    console::say(&FromHypervisor::End);
    console::drain_out();
    firmware::system_off();
    loop {
        crate::arch::barrier::wfi();
    }
}

/// The weight of a VM's vCPUs.
pub(crate) fn weight(id: VmId) -> u32 {
    config(id).map_or(1, |config| config.weight)
}

/// The CPU that a vCPU is pinned to.
pub(crate) fn pin(id: VmId, vcpu: VcpuId) -> Option<PcpuId> {
    config(id)?.vcpus.get(vcpu.index())?.cpu.map(PcpuId::new)
}

/// The name of a VM.
pub(crate) fn name(id: VmId) -> &'static str {
    config(id).map_or("?", |config| &config.name)
}

fn config(id: VmId) -> Option<&'static VmConfig> {
    registry()?.bundle.directory.vms.get(id.index())
}

/// A VM's image number `index`, and where it goes.
pub(crate) fn image(id: VmId, index: usize) -> Option<(Ipa, &'static [u8])> {
    let load = config(id)?.loads.get(index)?;
    Some((Ipa(load.ipa), registry()?.bundle.blob(load.blob)))
}

/// Where a VM wants random bytes.
pub(crate) fn seeds(id: VmId) -> &'static [Seed] {
    config(id).map_or(&[], |config| &config.seeds)
}

/// A VM's ends of channels.
pub(crate) fn channels(id: VmId) -> &'static [Membership] {
    config(id).map_or(&[], |config| &config.channels)
}

/// Something has come for a VM.
pub(crate) fn hear(heard: Heard) {
    match heard {
        Heard::Input(input) => {
            // One that is no more needs none.
            if let Some(handle) = current(input.vm).and_then(find) {
                handle.hear(&input);
            }
        }
        Heard::Control(vm, what) => control(vm, what),
    }
}

/// The VM that has this index of the bundle's now.
pub(crate) fn current(wire_index: u16) -> Option<VmId> {
    registry()?.states.lock().vms.current(wire_index)
}

/// Something is to be done to the VM that has this index of the bundle's. Takes no VM's lock: what is to be done to a VM that
/// exists is done in its own time.
fn control(wire_index: u16, control: VmControl) {
    // The bundle has no such VM.
    let (Some(registry), Some(id)) = (registry(), current(wire_index)) else { return };
    match (find(id), control) {
        (Some(handle), VmControl::Pause | VmControl::Resume | VmControl::Destroy) => handle.control(control),
        (Some(handle), VmControl::Migrate { vcpu, cpu }) => {
            handle.ask_to_migrate(VcpuId::new(vcpu), PcpuId::new(cpu));
        }
        (Some(handle), VmControl::ReplacePage { page, times }) => handle.ask_to_replace(page, times),
        (None, VmControl::Create) if registry.states.lock().renew(wire_index).is_some() => {
            registry.remaining.fetch_add(1, Ordering::AcqRel);
            percpu::request_after_gone();
        }
        (Some(_), VmControl::Create) => console::warn_of(id, format_args!("{} exists", name(id))),
        (None, _) => console::warn_of(id, format_args!("{} does not exist now", name(id))),
    }
}

/// The serial line has room for what a VM has written.
pub(crate) fn request_output(id: VmId) {
    if let Some(handle) = find(id) {
        handle.request_output();
    }
}

/// The VM, while it exists.
pub(crate) fn find(id: VmId) -> Option<VmHandle> {
    match registry()?.states.lock().vms.get(id)? {
        VmSlot::Alive(handle) => handle.upgrade(),
        _ => None,
    }
}
