// SPDX-License-Identifier: MIT OR Apache-2.0
//! A running VM is taken apart into bytes and put together again from them, in the middle of whatever it does.

use proptest::prelude::*;
use vambrace_io::virtio::net::Frame;
use vambrace_machine::inbox::Inbox;
use vambrace_machine::snapshot::{Reader, Sink, Step as ReaderStep, Target, Writer};
use vambrace_machine::{Vcpu, Vm, layout};
use vambrace_memory::{GuestMemory, Ipa};
use vambrace_wire::bundle::VmConfig;

use crate::bench::{FakeHost, RAM_SIZE};
use crate::world::{Outer, Outside, PLENTY, World, config, made, step};

mod damaged;
mod states;

/// What a VM is restored into: one that was made, with all around it.
struct Made {
    vm: Vm,
    vcpus: Vec<Vcpu>,
    host: FakeHost,
    outside: Outside,
}

impl Made {
    fn new(config: &VmConfig) -> Self {
        let host = FakeHost::new(config.vcpus.len());
        let (vm, vcpus) = made(config, host.seconds);
        Self { vm, vcpus, host, outside: Outside::new() }
    }
}

impl Target for Made {
    fn with_vm<R>(&mut self, act: impl FnOnce(&mut Vm) -> R) -> R {
        act(&mut self.vm)
    }

    fn with_vcpu<R>(&mut self, number: u16, act: impl FnOnce(&mut Vcpu) -> R) -> Option<R> {
        self.vcpus.get_mut(usize::from(number)).map(act)
    }

    fn set_inbox(&mut self, inbox: Inbox) {
        self.outside.inbox = inbox;
    }

    fn add_frame(&mut self, slot: u8, frame: &Frame<'_>) -> Option<()> {
        (slot == 3).then(|| self.outside.frames.push(frame).ok())?
    }

    fn set_block(&mut self, slot: u8, block: u32, bytes: &[u8; 4096]) -> Option<()> {
        (slot == 2).then(|| self.outside.disk.restore(block, bytes))?
    }

    fn set_ram(&mut self, ipa: Ipa, bytes: &[u8]) -> Option<()> {
        self.host.ram.write(ipa, bytes).ok()
    }
}

/// Bytes go into memory.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl Sink for Bytes {
    type Error = std::convert::Infallible;

    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl World {
    /// All of the VM, which is paused.
    fn to_bytes(&self) -> Vec<u8> {
        let vm = self.bench.vm.lock();
        let mut writer = Writer::begin(Bytes(Vec::new()), &vm).expect("it is paused");
        for vcpu in &self.bench.vcpus {
            writer.vcpu(vcpu).expect("it is this one's turn");
        }
        writer.inbox(&self.outside.inbox).expect("there is room");
        for frame in self.outside.frames.iter() {
            writer.frame(3, &frame).expect("there is room");
        }
        for (block, bytes) in self.outside.disk.written() {
            writer.block(2, block, bytes).expect("there is room");
        }
        writer.ram(&self.bench.host.ram, layout::RAM, RAM_SIZE, &mut [0; 4096]).expect("it is RAM");
        writer.finish().expect("all vCPUs are written").0
    }

    /// Takes the VM, which is paused, apart into bytes and puts it together from them on another machine, which has the same time.
    fn move_by_bytes(&mut self, config: &VmConfig) {
        let bytes = self.to_bytes();
        let mut made = Made::new(config);
        let allocations = allocation_counter::measure(|| {
            let mut reader = Reader::new(&bytes).expect("it was just written");
            while reader.step(&mut made).expect("it was just written") == ReaderStep::More {}
        });
        assert_eq!(allocations.count_total, 0, "restoring allocates");
        let mut expected = self.bench.vm.lock().clone();
        expected.detach();
        assert_eq!(made.vm, expected);
        assert_eq!(made.vcpus, self.bench.vcpus);
        assert_eq!(made.outside.inbox, self.outside.inbox);
        assert!(made.outside.frames.iter().eq(self.outside.frames.iter()));
        assert!(made.outside.disk.written().eq(self.outside.disk.written()));
        assert_eq!(made.host.ram.contents(), self.bench.host.ram.contents());
        self.take_over(made);
    }

    /// Goes on with a VM that was restored, and with what of this world is not the VM's.
    fn take_over(&mut self, made: Made) {
        let Made { vm, vcpus, mut host, mut outside } = made;
        outside.take_rest(&mut self.outside);
        self.outside = outside;
        let before = &mut self.bench.host;
        (host.now, host.seconds, host.entropy) = (before.now, before.seconds, before.entropy);
        (host.timer_line, host.room) = (before.timer_line, before.room);
        (host.printed, host.guest_errors) =
            (std::mem::take(&mut before.printed), std::mem::take(&mut before.guest_errors));
        (host.results, host.doorbell_masks) = (std::mem::take(&mut before.results), before.doorbell_masks);
        host.ram.writes.set(0);
        self.bench.host = host;
        *self.bench.vm.lock() = vm;
        self.bench.vcpus = vcpus;
    }

    /// The VM stays where it is, but for what the same VM finds on another machine: empty list registers, and a disk that knows only
    /// of what is waited for.
    fn stay(&mut self) {
        let mut vm = self.bench.vm.lock();
        vm.gic.detach();
        self.outside.disk.forget_all_but(vm.in_flight().map(|(_, request)| request));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Of two VMs that are paused at the same moments one is taken apart into bytes then, and goes on as another value on another
    /// machine. From then on both have the same exits, answers, memory, output and state.
    #[test]
    fn a_vm_goes_on_from_its_bytes(
        has_uart: bool,
        parts in prop::collection::vec(prop::collection::vec(step(), 1..40), 2..5),
    ) {
        let config = config(3, has_uart);
        let (mut moved, mut other) = (World::new(&config), World::new(&config));
        for steps in &parts {
            for step in steps {
                moved.step(step);
                other.step(step);
                let difference = moved.difference(&other);
                prop_assert!(difference.is_none(), "after {step:?}, {difference:?} differ");
            }
            prop_assert_eq!(moved.pause(), other.pause());
            if !moved.bench.vm.lock().lifecycle().is_paused() {
                continue;
            }
            moved.move_by_bytes(&config);
            other.stay();
            for world in [&mut moved, &mut other] {
                world.resume();
                // What was in flight is in flight again.
                world.happen_around(Outer::DiskIs { slow: true });
                world.poll(PLENTY);
            }
            let difference = moved.difference(&other);
            let (one, two) = (moved.bench.vm.lock(), other.bench.vm.lock());
            let where_ = crate::random::difference(&one, &two);
            drop((one, two));
            prop_assert!(difference.is_none(), "after the move {difference:?} differ: {where_}");
        }
    }
}
