// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is promised to a VM's values is as much as they take, and not much more.
//!
//! An allocator that counts stands in for EL2's: every piece as large as it would be there, and nothing ever used again, so
//! that the count is what the worst order of them needs.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;
use std::num::{NonZeroU32, NonZeroU64};

use vambrace_cpu::deadlines::Deadlines;
use vambrace_cpu::id_registers::{HostIdRegisters, IdRegisters};
use vambrace_cpu::scheduler::{RunQueue, RunQueueIndex};
use vambrace_hypervisor::memory::room;
use vambrace_machine::Vm;
use vambrace_machine::vm::Platform;
use vambrace_wire::bundle::assigned::RamPlacement;
use vambrace_wire::bundle::channel::{ChannelAccess, Membership};
use vambrace_wire::bundle::io::{Backing, DiskAccess, DiskConfig, PortAddresses, PortConfig, VirtioDevice};
use vambrace_wire::bundle::{VcpuConfig, VmConfig};

struct Counting;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

fn count(len: usize, align: usize) {
    // While a thread ends there is nothing to count.
    let _ = TAKEN.try_with(|taken| taken.set(taken.get() + room::piece(len, align)));
}

// SAFETY: all is the system's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), layout.align());
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller says.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        count(len, layout.align());
        // SAFETY: as the caller says.
        unsafe { System.realloc(at, layout, len) }
    }
}

#[global_allocator]
static HEAP: Counting = Counting;

/// What this thread takes of the heap meanwhile.
fn taken<T>(act: impl FnOnce() -> T) -> (usize, T) {
    let before = TAKEN.get();
    let value = act();
    (TAKEN.get() - before, value)
}

fn platform() -> Platform {
    Platform {
        id_registers: IdRegisters::for_vm(&HostIdRegisters::default()),
        priority_bits: 5,
        preemption_bits: 5,
        list_registers: 4,
    }
}

fn vm(vcpus: usize, virtio: Vec<VirtioDevice>, channels: usize) -> VmConfig {
    let end = Membership { channel: 0, number: 0, members: 2, access: ChannelAccess::ReadWrite };
    VmConfig {
        name: "a-name-of-the-usual-length".into(),
        memory: 64 << 20,
        placement: RamPlacement::Anywhere,
        vcpus: vec![VcpuConfig::default(); vcpus],
        weight: 100,
        loads: vec![],
        flash: true,
        entry: 0,
        boot_argument: 0,
        seeds: vec![],
        devices: vambrace_machine::devices::set(&vambrace_machine::devices::Device::ALL),
        virtio,
        registers: vec![],
        interrupts: vec![],
        slots: vec![],
        channels: vec![end; channels],
        after: None,
    }
}

fn kinds() -> [VirtioDevice; 4] {
    let backing = Backing::Image { blob: 0, room: 0 };
    let disk = DiskConfig { name: "root".into(), sectors: 8, access: DiskAccess::ReadOnly, backing };
    let port = PortConfig { network: 0, mac: [2; 6], mtu: 1500, addresses: PortAddresses::Own, rate: None };
    [VirtioDevice::Entropy, VirtioDevice::Console, VirtioDevice::Disk(disk), VirtioDevice::Network(port)]
}

/// A VM takes at most what it is promised, and at least a quarter, so that none is refused without need.
fn is_enough(config: &VmConfig) {
    let platform = platform();
    let (taken, vm) = taken(|| Vm::new(config, &platform, 0));
    assert!(vm.is_ok(), "{vm:?}");
    let promised = room::of_vm(config);
    let what = (config.vcpus.len(), config.virtio.len(), config.channels.len());
    assert!(taken <= promised, "{what:?}: {taken} bytes taken, {promised} promised");
    assert!(promised <= taken * 4, "{what:?}: {taken} bytes taken, {promised} promised");
}

#[test]
fn a_vm_takes_no_more_than_it_is_promised() {
    for vcpus in 1..=512 {
        is_enough(&vm(vcpus, vec![], 0));
    }
    for kind in kinds() {
        for count in 1..=32 {
            is_enough(&vm(1, vec![kind.clone(); count], 0));
        }
    }
    for channels in 1..=8 {
        is_enough(&vm(1, vec![], channels));
    }
}

#[test]
fn queues_take_no_more_than_they_are_promised() {
    for vcpus in 1..=1024 {
        let (taken, _) = taken(|| {
            let mut queue = RunQueue::new(NonZeroU64::MIN);
            let mut deadlines = Deadlines::new();
            for id in (0..vcpus).map(RunQueueIndex::new) {
                queue.add(id, NonZeroU32::MIN).unwrap();
                deadlines.add(id);
            }
            (queue, deadlines)
        });
        let promised = room::of_queues(usize::from(vcpus));
        assert!(taken <= promised, "{vcpus} vCPUs: {taken} bytes taken, {promised} promised");
    }
}

#[test]
fn lists_take_no_more_than_they_are_promised() {
    for len in 1..600 {
        let (taken, _) = taken(|| {
            let mut list = Vec::new();
            (0..len).for_each(|_| list.push([0u64; 5]));
            list
        });
        let promised = room::list(len, 40);
        assert!(taken <= promised, "{len} elements: {taken} bytes taken, {promised} promised");
        let (taken, _) = self::taken(|| {
            let mut queue = VecDeque::new();
            (0..len).for_each(|_| queue.push_back([0u64; 5]));
            queue
        });
        assert!(taken <= promised, "{len} in a queue: {taken} bytes taken, {promised} promised");
    }
}
