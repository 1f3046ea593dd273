// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that VMs share, and the notifications between those that do.
//!
//! A channel's memory is taken when the board starts and stays, whichever of its members comes and goes: what one has
//! written is there when another has been reset. A notification goes to each member under that VM's own lock, one after the
//! other, after the exit of the one who notifies: no two locks are ever held, and there are eight members at most. Who
//! runs is a bit for each; to count itself in or out a member changes its bit and then tells the others, so the last to tell
//! tells of all.

use alloc::sync::Weak;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use vambrace_hypervisor::invariant;
use vambrace_hypervisor::memory::regions::From;
use vambrace_ids::VmId;
use vambrace_memory::PaRange;
use vambrace_memory::addr::PAGE_SIZE;
use vambrace_wire::bundle::Directory;
use vambrace_wire::bundle::channel::Membership;

use crate::arch::barrier;
use crate::arch::lock::SpinMutex;
use crate::memory::{self, HeapUp};
use crate::system;
use crate::vm::registry;
use crate::vm::shared::{VmHandle, VmShared};

/// A VM in a channel.
#[derive(Debug)]
struct Member {
    /// The VM that has this index of the bundle's.
    vm: u16,
    /// The VM itself, once it has started: who notifies it looks nowhere else.
    handle: SpinMutex<Weak<VmShared>>,
    /// Which of its channels it is to that VM.
    index: usize,
    number: u8,
}

#[derive(Debug)]
struct Channel {
    memory: PaRange,
    members: Vec<Member>,
    /// Those that run.
    state: AtomicU32,
}

/// All channels of the bundle.
#[derive(Debug)]
pub(crate) struct Channels(Vec<Channel>);

/// A channel's memory could not be had when the board started.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("there was no memory for channel {0}")]
pub(crate) struct NoMemory(u16);

/// Takes the channels' memory; once, before the first VM.
pub(crate) fn start(_: &HeapUp, directory: &Directory) -> Channels {
    let members = |channel: usize| {
        let ends = directory.first_vms().flat_map(|(vm, config)| {
            config.channels.iter().enumerate().map(move |(index, end)| (vm, index, *end))
        });
        let of_it = ends.filter(move |(_, _, end)| usize::from(end.channel) == channel);
        of_it
            .map(|(vm, index, end)| Member {
                vm: vm.wire_index(),
                handle: SpinMutex::default(),
                index,
                number: end.number,
            })
            .collect()
    };
    let channels = directory.channels.iter().enumerate().map(|(index, channel)| {
        let memory = memory::take(channel.size, PAGE_SIZE, From::Top).unwrap_or_default();
        // SAFETY: mapped, and nobody's but ours since a moment ago.
        unsafe { memory::fill(memory, 0) };
        // A member may read it with its caches off.
        barrier::clean_invalidate(memory);
        Channel { memory, members: members(index), state: AtomicU32::new(0) }
    });
    Channels(channels.collect())
}

/// The memory of a VM's channel.
pub(crate) fn memory_of(end: &Membership) -> Result<PaRange, NoMemory> {
    let channel = system::get().and_then(|system| system.channels.0.get(usize::from(end.channel)));
    channel.map(|channel| channel.memory).filter(|memory| !memory.is_empty()).ok_or(NoMemory(end.channel))
}

/// Notifies members of one of the VM's channels, a bit each: those that run.
pub(crate) fn notify_members(handle: &VmShared, index: usize, members: u32) {
    let Some((channel, Member { number, .. })) = end(handle.id, index) else {
        invariant!("a VM's doorbells are its channels")
    };
    let running = members & channel.state.load(Ordering::Acquire);
    for member in channel.members.iter().filter(|member| running & bit(member.number) != 0) {
        tell(member, |vm| vm.notified(member.index, *number));
    }
}

/// The VM starts: the members of its channels learn it.
pub(crate) fn join(handle: &VmHandle) {
    for (_, member) in (0..).map_while(|index| end(handle.id, index)) {
        *member.handle.lock() = VmHandle::downgrade(handle);
    }
    change(handle, |state, number| state.fetch_or(bit(number), Ordering::AcqRel));
}

/// The VM has stopped: the members of its channels learn it.
pub(crate) fn leave(handle: &VmShared) {
    change(handle, |state, number| state.fetch_and(!bit(number), Ordering::AcqRel));
}

fn change(handle: &VmShared, change: impl Fn(&AtomicU32, u8) -> u32) {
    for (channel, Member { number, .. }) in (0..).map_while(|index| end(handle.id, index)) {
        change(&channel.state, *number);
        for member in &channel.members {
            tell(member, |vm| vm.set_channel_state(member.index, channel.state.load(Ordering::Acquire)));
        }
    }
}

fn tell(member: &Member, what: impl FnOnce(&mut vambrace_machine::Vm) -> vambrace_interrupts::VcpuSet) {
    // One that does not run hears nothing.
    let Some(handle) = member.handle.lock().upgrade() else { return };
    let moved = what(&mut handle.vm.lock());
    handle.notify(&moved);
}

/// A VM's channel, and itself there.
fn end(vm: VmId, index: usize) -> Option<(&'static Channel, &'static Member)> {
    let end = registry::channels(vm).get(index)?;
    let channel = system::get()?.channels.0.get(usize::from(end.channel))?;
    Some((channel, channel.members.iter().find(|member| member.vm == vm.wire_index())?))
}

const fn bit(number: u8) -> u32 {
    1 << (number & 31)
}
