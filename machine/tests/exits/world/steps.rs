// SPDX-License-Identifier: MIT OR Apache-2.0
//! Anything that can happen to a VM and around it, at random.

use proptest::prelude::*;
use vambrace_io::virtio::quota::Quota;

use super::World;
use super::guest::QUEUES;
use crate::events::{Event, event};

/// Something that happens around a VM, whatever that does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outer {
    /// So many keys are sent.
    Keys(u8),
    /// A frame of so many bytes comes.
    Frame(u16),
    /// The disk takes its time from now on, or does not.
    DiskIs { slow: bool },
    /// The disk has done all that it has begun.
    DiskIsDone,
    /// This member of its channel notifies the VM.
    Doorbell(u8),
    /// The console takes so many bytes.
    Room(u16),
}

/// What a vCPU does as kernels do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// It sends an SGI to these of the first 16.
    Sgi { intid: u8, targets: u8 },
    /// It switches another one on.
    CpuOn(u8),
    /// It switches itself off.
    CpuOff,
    /// It powers down until an interrupt comes.
    Suspend,
    /// It waits for an interrupt.
    Wfi,
    /// It sets the physical timer, so many counts from now.
    PhysicalTimer(u16),
    /// It sets the virtual timer.
    VirtualTimer(u16),
    /// It has something in registers that are seldom moved.
    Registers(u8),
}

/// A step of a world.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// An event of a vCPU.
    Vcpu(usize, Event),
    /// A vCPU does this.
    Act(usize, Act),
    /// A vCPU looks at its interrupts, and takes or ends one.
    Interrupt(usize, usize),
    /// What happens around.
    Around(Outer),
    /// vCPUs that were switched on start.
    Start,
    /// The guest offers a request in a queue.
    Offer(usize, u8),
    /// The guest resets a device and brings it up.
    SetUp(usize),
    /// The VM's devices have their poll.
    Poll(Quota),
    /// The VM takes the frames and the input that wait for it.
    Take,
}

pub(crate) fn outer() -> impl Strategy<Value = Outer> {
    prop_oneof![
        2 => (0u8..100).prop_map(Outer::Keys),
        2 => (60u16..400).prop_map(Outer::Frame),
        1 => any::<bool>().prop_map(|slow| Outer::DiskIs { slow }),
        1 => Just(Outer::DiskIsDone),
        1 => (0u8..4).prop_map(Outer::Doorbell),
        1 => (0u16..300).prop_map(Outer::Room),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0u8..2, 0u8..8).prop_map(|(intid, targets)| Act::Sgi { intid, targets }),
        2 => (0u8..3).prop_map(Act::CpuOn),
        1 => Just(Act::CpuOff),
        1 => Just(Act::Suspend),
        2 => Just(Act::Wfi),
        1 => any::<u16>().prop_map(Act::PhysicalTimer),
        1 => any::<u16>().prop_map(Act::VirtualTimer),
        1 => any::<u8>().prop_map(Act::Registers),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let quota = (1u32..6, prop_oneof![Just(1 << 20), 1u64..700]);
    prop_oneof![
        12 => (0usize..3, event()).prop_map(|(index, event)| Step::Vcpu(index, event)),
        8 => (0usize..3, act()).prop_map(|(index, act)| Step::Act(index, act)),
        6 => (0usize..3, 0usize..4).prop_map(|(index, lr)| Step::Interrupt(index, lr)),
        6 => outer().prop_map(Step::Around),
        2 => Just(Step::Start),
        8 => (0..QUEUES.len(), any::<u8>()).prop_map(|(queue, what)| Step::Offer(queue, what)),
        1 => (0usize..4).prop_map(Step::SetUp),
        5 => quota.prop_map(|(requests, bytes)| Step::Poll(Quota { requests, bytes })),
        2 => Just(Step::Take),
    ]
}

impl World {
    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Vcpu(index, event) => self.happen(*index, event),
            Step::Act(index, act) => self.act(*index, *act),
            Step::Interrupt(index, lr) => {
                self.refresh(*index);
                self.happen(*index, &Event::Deliver(*lr));
            }
            Step::Around(outer) => self.happen_around(*outer),
            Step::Start => self.start_pending(),
            Step::Offer(queue, what) => self.offer(*queue, *what),
            Step::SetUp(slot) => self.set_up(*slot),
            Step::Poll(quota) => {
                self.poll(*quota);
            }
            Step::Take => self.take(),
        }
    }
}
