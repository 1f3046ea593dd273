// SPDX-License-Identifier: MIT OR Apache-2.0
use vambrace_cpu::id_registers::{HostIdRegisters, IdRegisters};
use vambrace_io::virtio::block::disk::{DiskStep, Operation, Tag};
use vambrace_io::virtio::net::Offload;
use vambrace_memory::{Ipa, OutsideMemory};
use vambrace_wire::bundle::assigned::RamPlacement;
use vambrace_wire::bundle::io::{self, Backing, DiskAccess, PortAddresses, PortConfig, VirtioDevice};
use vambrace_wire::bundle::{VcpuConfig, VmConfig};

use super::*;
use crate::lifecycle::{Lifecycle, StopReason};
use crate::vm::Platform;

/// No memory at all.
struct Nowhere;

impl GuestMemory for Nowhere {
    fn read(&self, ipa: Ipa, _to: &mut [u8]) -> Result<(), OutsideMemory> {
        Err(OutsideMemory { ipa })
    }

    fn write(&self, ipa: Ipa, _from: &[u8]) -> Result<(), OutsideMemory> {
        Err(OutsideMemory { ipa })
    }
}

/// Nothing behind any device.
struct Nothing;

impl DiskBackend for Nothing {
    fn start(&mut self, _tag: Tag, _operation: Operation<'_>) -> DiskStep {
        DiskStep::Failed
    }

    fn poll(&mut self, _tag: Tag, _read: &mut [u8]) -> DiskStep {
        DiskStep::Failed
    }
}

impl Backends for Nothing {
    type Disk = Self;

    fn disk(&mut self, _slot: usize) -> Option<&mut Self> {
        None
    }

    fn entropy(&mut self, _to: &mut [u8]) -> usize {
        0
    }

    fn print(&mut self, bytes: &[u8]) -> usize {
        bytes.len()
    }

    fn flush_soon(&mut self) {}

    fn input_taken(&mut self, _waiting: usize) {}

    fn guest_error(&mut self, _text: core::fmt::Arguments<'_>) {}
}

/// A VM of one vCPU.
pub(crate) fn vm(virtio: Vec<VirtioDevice>) -> Vm {
    let config = VmConfig {
        name: "subject".into(),
        memory: 4 << 20,
        vcpus: vec![VcpuConfig::default()],
        weight: 100,
        loads: vec![],
        flash: false,
        entry: 0,
        boot_argument: 0,
        seeds: vec![],
        devices: crate::devices::set(&[crate::devices::Device::Pl011]),
        virtio,
        placement: RamPlacement::Anywhere,
        registers: vec![],
        slots: vec![],
        channels: vec![],
        interrupts: vec![],
        after: None,
    };
    let platform = Platform {
        id_registers: IdRegisters::for_vm(&HostIdRegisters::default()),
        priority_bits: 5,
        preemption_bits: 5,
        list_registers: 4,
    };
    let mut vm = Vm::new(&config, &platform, 0).expect("it can be built");
    vm.start(0).expect("it was made just now");
    vm
}

fn card() -> VirtioDevice {
    let addresses = PortAddresses::Own;
    VirtioDevice::Network(PortConfig {
        network: 0,
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        addresses,
        rate: None,
    })
}

fn disk() -> VirtioDevice {
    let backing = Backing::Image { blob: 0, room: 0 };
    VirtioDevice::Disk(io::DiskConfig {
        name: String::new(),
        access: DiskAccess::ReadWrite,
        sectors: 8,
        backing,
    })
}

const POLL_QUOTA: Quota = Quota { requests: 8, bytes: 4096 };

/// Which slots have a step, one after the other.
fn steps(vm: &mut Vm, count: usize) -> Vec<u32> {
    let mut order = Vec::new();
    for _ in 0..count {
        let before = vm.virtio.due;
        let (step, _) = vm.serve_virtio(&Nowhere, &mut Nothing, &mut [], &mut POLL_QUOTA.clone());
        if matches!(step, PollStep::Idle) {
            break;
        }
        order.push((before & !vm.virtio.due).trailing_zeros());
    }
    order
}

#[test]
fn devices_with_work_take_turns() {
    let mut vm = vm(vec![VirtioDevice::Entropy, card(), VirtioDevice::Console]);
    assert!(!vm.has_work());
    vm.virtio.due = 0b111;
    // None of them is live: each has its step, finds nothing to do, and is done.
    assert_eq!(steps(&mut vm, 9), [0, 1, 2]);
    assert!(!vm.has_work());
    // The one behind the last goes first.
    vm.virtio.due = 0b010;
    assert_eq!(steps(&mut vm, 1), [1]);
    vm.virtio.due = 0b111;
    assert_eq!(steps(&mut vm, 9), [2, 0, 1]);
}

#[test]
fn nothing_is_done_for_a_vm_that_stops() {
    let mut vm = vm(vec![VirtioDevice::Entropy, card()]);
    vm.virtio.due = 0b11;
    vm.stop(StopReason::Off);
    assert!(!vm.has_work());
    assert_eq!(steps(&mut vm, 9), []);
    let frame = Frame { bytes: &[0; 60], offload: Offload::default() };
    assert_eq!(vm.receive_frame(1, &Nowhere, &frame).err(), Some(Undelivered::Down));
}

#[test]
fn a_vm_that_is_paused_does_its_work_when_it_goes_on() {
    let mut vm = vm(vec![VirtioDevice::Entropy, card()]);
    vm.virtio.due = 0b11;
    vm.pause().expect("it runs");
    let frame = Frame { bytes: &[0; 60], offload: Offload::default() };
    for state in [Lifecycle::Pausing, Lifecycle::Paused] {
        assert_eq!(vm.lifecycle(), state);
        assert!(!vm.has_work());
        assert_eq!(steps(&mut vm, 9), []);
        assert_eq!(vm.receive_frame(1, &Nowhere, &frame).err(), Some(Undelivered::Down));
        let _ = vm.note_paused(0);
    }
    vm.resume(0).expect("it is paused");
    assert_eq!(steps(&mut vm, 9), [0, 1]);
}

#[test]
fn a_frame_for_a_slot_without_a_card_is_lost() {
    let mut vm = vm(vec![VirtioDevice::Entropy]);
    let frame = Frame { bytes: &[0; 60], offload: Offload::default() };
    for slot in [0, 1, 99] {
        assert_eq!(vm.receive_frame(slot, &Nowhere, &frame).err(), Some(Undelivered::Down));
    }
}

#[test]
fn who_waits_for_the_outside_has_work_when_it_is_ready_or_the_vm_is_reset() {
    let mut vm = vm(vec![VirtioDevice::Entropy, card()]);
    vm.virtio.for_backend = 0b10;
    assert!(!vm.has_work());
    vm.backend_is_ready();
    assert_eq!((vm.virtio.due, vm.virtio.for_backend), (0b10, 0));
    // One disk may still be busy with what the boot epoch before asked for. Another's has ended, and it has not looked yet.
    (vm.virtio.due, vm.virtio.for_backend) = (0b01, 0b10);
    vm.reset();
    assert_eq!((vm.virtio.due, vm.virtio.for_backend), (0b11, 0));
}

/// Another vCPU may store to a device's register as fast as a poll looks at it; also to one that can do nothing, since what stands
/// behind it is busy.
#[test]
fn a_poll_ends_however_often_it_is_asked_for() {
    for devices in [vec![VirtioDevice::Entropy], vec![card()], vec![VirtioDevice::Console], vec![disk()]] {
        let mut vm = vm(devices);
        let mut quota = POLL_QUOTA;
        let looks = std::iter::repeat_with(|| {
            vm.virtio.due = 1;
            let (step, _) = vm.serve_virtio(&Nowhere, &mut Nothing, &mut [], &mut quota);
            // A request of another vCPU's comes while nobody holds the lock.
            matches!(step, PollStep::Done)
        });
        let count = looks.take(100).take_while(|goes_on| *goes_on).count();
        assert!(count <= POLL_QUOTA.requests as usize, "{count} looks in a poll of {POLL_QUOTA:?}");
    }
}

#[test]
fn a_bit_for_no_slot_is_dropped() {
    let mut vm = vm(vec![VirtioDevice::Entropy]);
    vm.virtio.due = 1 << 31;
    assert_eq!(steps(&mut vm, 9), [31]);
    assert!(!vm.has_work());
}
