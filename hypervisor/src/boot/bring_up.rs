// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first CPU's way from its MMU to its loop.
//!
//! Each step leaves a value behind that says what is true then, and takes those of the steps that it needs. Nothing else makes
//! such a value, so steps in another order do not compile.
//!
//! | step | true then | needs |
//! |---|---|---|
//! | [`Map::activate`](crate::arch::mmu::Map::activate) | [`MmuOn`]: there are locks and atomics | the map, which is used up |
//! | [`console::start`] | [`ConsoleUp`]: what is said is heard | [`MmuOn`] |
//! | [`memory::start`] | [`HeapUp`]: values can be allocated | [`ConsoleUp`], as memory may be lost, which is told |
//! | [`percpu::start`] | [`CpusKnown`]: what others touch of each CPU is there | [`HeapUp`] |
//! | [`Entropy::start`] | [`Entropy`]: it is known whether there is any | [`MmuOn`] |
//! | [`clock::start`] | [`ClockSet`]: the time of day is known | [`MmuOn`] |
//! | [`Distributor::new`] | [`Distributor`]: no SPI comes that is not asked for | [`MmuOn`] |
//! | [`host_io::start`] | [`HostIo`]: the board's disks and network card are EL2's | [`HeapUp`], [`Entropy`], [`Distributor`] |
//! | [`assigned::start`] | [`Assigned`]: it is known which of the board's devices are whose VM's | [`HeapUp`], [`Distributor`] |
//! | [`CpuUp::new`], on each CPU | [`CpuUp`]: it traps, takes interrupts and translates for nobody | [`CpusKnown`] |
//! | [`secondary::start_all`] | [`CpusStarted`]: the firmware has been asked for each CPU | [`HeapUp`], [`MmuOn`], [`ForAllCpus`] |
//! | [`percpu::wait_for_all`] | [`CpusUp`]: each CPU is there, or left out | [`CpusStarted`] |
//! | [`network::start`] | [`Networks`]: the uplink leads to the board's card | [`HeapUp`], [`HostIo`] |
//! | [`channels::start`] | [`Channels`]: their memory is taken | [`HeapUp`] |
//! | [`system::start`] | [`SystemUp`]: all CPUs see what VMs are made from | each part of [`System`], [`CpusUp`], [`ClockSet`] |
//! | [`registry::make_vms`] | [`VmsMade`]: all VMs that wait for no other are made | [`SystemUp`] |
//! | [`console::enable_input`] | what is typed reaches the VMs | [`VmsMade`] |
//!
//! [`Channels`]: channels::Channels
//! [`ClockSet`]: clock::ClockSet
//! [`CpusKnown`]: percpu::CpusKnown
//! [`CpusStarted`]: secondary::CpusStarted
//! [`CpusUp`]: percpu::CpusUp
//! [`Networks`]: network::Networks
//! [`SystemUp`]: system::SystemUp
//! [`VmsMade`]: registry::VmsMade

use alloc::boxed::Box;

use vambrace_cpu::id_registers::IdRegisters;
use vambrace_hypervisor::arch::traps::Features;
use vambrace_hypervisor::boot::board::{self, Board};
use vambrace_hypervisor::boot::footprint::Footprint;
use vambrace_hypervisor::memory::regions::FreeMemory;
use vambrace_ids::PcpuId;
use vambrace_machine::vm::Platform;
use vambrace_memory::PaRange;
use vambrace_memory::vmid::VmidWidth;
use vambrace_wire::bundle::{Bundle, Directory};
use vambrace_wire::message::FromHypervisor;

use super::affinity;
use super::cpu::CpuUp;
use super::secondary::{self, ForAllCpus, Stacks, Vmids};
use crate::arch::features;
use crate::arch::lock::SpinMutex;
use crate::arch::mmu::MmuOn;
use crate::console::uart::Uart;
use crate::console::{self, ConsoleUp, Mode};
use crate::devices::assigned::{self, Assigned};
use crate::devices::{channels, network};
use crate::gic::Distributor;
use crate::gic::vgic::Shape;
use crate::host_io::random::Entropy;
use crate::host_io::{self, HostIo, clock};
use crate::memory::HeapUp;
use crate::sched::percpu;
use crate::sched::run::Pcpu;
use crate::system::{self, System};
use crate::vm::registry::{self, HostCpu, Registry};
use crate::vm::stats::{BootMemory, Fixed};
use crate::{memory, panic};

/// What was found before the MMU was on.
pub(super) struct Found<'a> {
    /// The board, in the first CPU's stack.
    pub(super) board: &'a Board,
    /// Its device tree.
    pub(super) tree: &'static [u8],
    /// The memory that image, device tree and bundle take.
    pub(super) footprint: Footprint,
    /// Where the bundle is; empty if there is none.
    pub(super) bundle: PaRange,
    /// Memory for the other CPUs' stacks.
    pub(super) stacks: Stacks,
    /// How much memory EL2's own map takes, in bytes.
    pub(super) map_size: u64,
}

/// Brings everything up, the MMU being on, makes the VMs, and runs.
pub(super) fn run(mmu: &MmuOn, found: &Found<'_>) -> ! {
    let console = start_console(mmu, found);
    let heap = start_heap(&console, found);
    let Found { tree, stacks, map_size, .. } = *found;
    let fixed = Fixed { map: map_size, stacks: stacks.range().len(), loaded: found.footprint.loaded() };
    let board = keep(&heap, found.board);
    let bundle = open_bundle(found.bundle);
    let mut cpus = (0..).map(PcpuId::new).zip(&board.cpus);
    let Some((me, _)) = cpus.find(|(_, it)| **it == affinity()) else {
        panic::fail(format_args!("the CPU that boots is not in the device tree's /cpus"))
    };
    let known = percpu::start(&heap, &board.cpus);
    let entropy = Entropy::start(mmu, &board.seed);
    // SAFETY: the device tree's PL031, mapped as Device memory.
    let clock = unsafe { clock::start(mmu, board.rtc) };
    let (host_io, assigned) = start_devices(mmu, &heap, &entropy, board, tree, &bundle.directory);

    let cpu = CpuUp::new(&known, board, me);
    let host_cpu = host_cpu(&cpu);
    let vmids = vmids(cpu.features);
    let pcpu = Pcpu::new(cpu, board, vmids);
    let shared = Box::leak(Box::new(ForAllCpus { board, vmids, known }));
    let started = secondary::start_all(mmu, &heap, stacks, me, shared);
    let cpus = percpu::wait_for_all(started, me);
    let vms = bundle.directory.vms.len() as u16;
    console::say(&FromHypervisor::Hello { cpus: cpus.count(), vms });

    let system = System {
        networks: network::start(&heap, &bundle.directory.networks, host_io.as_ref()),
        channels: channels::start(&heap, &bundle.directory),
        host_io,
        assigned,
        registry: Registry::new(&heap, bundle, host_cpu),
        // The last: it counts what the others take.
        memory: BootMemory::measure(fixed),
    };
    let system = system::start(&cpus, &clock, system);
    let made = registry::make_vms(&system);
    console::enable_input(&made);
    pcpu.run()
}

/// Gives the console its UART, and tells who looks at the wrong line.
fn start_console(mmu: &MmuOn, found: &Found<'_>) -> ConsoleUp {
    let mode = if board::has_argument(found.tree, "vambrace.wire=1") { Mode::Frames } else { Mode::Text };
    // SAFETY: the device tree's PL011, mapped as Device memory; from here on only the console drives it.
    let uart = found.board.uart.map(|uart| unsafe { Uart::new(uart) });
    let console = console::start(mmu, uart, mode);
    complain_of_console(found.board);
    console
}

/// Who looks at this line may have waited at another, and who types should know that nothing comes of it.
fn complain_of_console(board: &Board) {
    // There is nowhere to complain.
    let Some(uart) = board.uart else { return };
    if let Some(why) = board.named_console.complaint() {
        console::warning!(
            "what /chosen/stdout-path names {why}; the console is the PL011 at {} instead",
            uart.base
        );
    }
    if uart.intid.is_none() {
        console::warning!(
            "the device tree says of no interrupt of the GIC for the PL011 at {}, so nothing typed there is heard",
            uart.base
        );
    }
}

/// Fills the allocator with what is left; from here on there is a heap.
///
/// Not inlined, as others that need a list: `run` keeps its stack for ever.
#[inline(never)]
fn start_heap(console: &ConsoleUp, found: &Found<'_>) -> HeapUp {
    let mut unused = FreeMemory::new();
    // It was not too much for the list when the stacks were placed.
    let _ = found.footprint.add_unused(found.board, &mut unused);
    memory::start(console, &unused, found.stacks.range())
}

/// Puts the board where all CPUs may read it.
#[inline(never)]
fn keep(_: &HeapUp, board: &Board) -> &'static Board {
    Box::leak(Box::new(board.clone()))
}

/// Opens the bundle, or stops with the reason.
fn open_bundle(range: PaRange) -> Bundle<'static> {
    if range.is_empty() {
        panic::fail(format_args!(
            "there is no bundle, neither as the initrd nor behind the image; `vambrace build MANIFEST -o FILE` makes both in one"
        ));
    }
    let bytes: *const u8 = core::ptr::with_exposed_provenance(range.start().0 as usize);
    // SAFETY: inside a memory bank, withheld from the allocator, written by nobody.
    let bytes: &'static [u8] = unsafe { core::slice::from_raw_parts(bytes, range.len() as usize) };
    match Bundle::open(bytes) {
        Ok(bundle) => bundle,
        Err(error) => panic::fail(format_args!("{error}")),
    }
}

/// Resets the distributor, starts the board's devices and asks for their interrupts.
#[inline(never)]
fn start_devices(
    mmu: &MmuOn,
    heap: &HeapUp,
    entropy: &Entropy,
    board: &Board,
    tree: &[u8],
    directory: &Directory,
) -> (Option<HostIo>, Assigned) {
    // SAFETY: the device tree's GICv3, mapped as Device memory; only the first CPU comes here, once.
    let distributor = unsafe { Distributor::new(mmu, &board.gic) };
    if let Some(intid) = board.uart.and_then(|uart| uart.intid) {
        distributor.enable_spi(intid, affinity());
    }
    let host_io = host_io::is_wanted(entropy, directory).then(|| {
        let slots = board::virtio_slots(tree, board.virtio);
        // SAFETY: the device tree's virtio-mmio devices, mapped as Device memory; only the first CPU comes here, once.
        unsafe { host_io::start(heap, entropy, &slots, directory, distributor) }
    });
    for intid in host_io.iter().flat_map(HostIo::intids) {
        distributor.enable_spi(intid, affinity());
    }
    console::start_queue(heap, directory.vms.len());
    (host_io, assigned::start(heap, distributor, directory, board, tree))
}

/// What VMs are made from: what this CPU has, as do the others.
#[inline(never)]
fn host_cpu(cpu: &CpuUp) -> HostCpu {
    let Features { pa_bits, encoding, vmids, .. } = cpu.features;
    let shape = Shape::of_machine(&cpu.gic);
    let platform = Platform {
        id_registers: IdRegisters::for_vm(&features::id_registers()),
        priority_bits: shape.priority_bits,
        preemption_bits: shape.preemption_bits,
        list_registers: shape.list_registers,
    };
    HostCpu { platform, pa_bits, encoding, vmids }
}

/// Who has which VMID, of as many as the CPUs have.
fn vmids(features: Features) -> &'static SpinMutex<Vmids> {
    /// In its place from the start: it is large for a stack.
    static VMIDS: SpinMutex<Vmids> = SpinMutex::new(Vmids::new(VmidWidth::Eight));
    VMIDS.lock().set_width(features.vmids);
    &VMIDS
}
