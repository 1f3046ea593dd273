// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where vCPUs are affine: the run-queue indices that are taken, and how a vCPU gets another place.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Deref;
use core::sync::atomic::Ordering;

use vambrace_cpu::scheduler::RunQueueIndex;
use vambrace_hypervisor::boot::board::MAX_CPUS;
use vambrace_hypervisor::memory::room::{self, NoRoom};
use vambrace_hypervisor::sched::placement::{self, Candidate, NoPlace, Placement, PlacementCell, Presence};
use vambrace_hypervisor::sched::requests::MAX_VCPUS_PER_CPU;
use vambrace_ids::PcpuId;

use crate::devices::{self, Devices};
use crate::memory::Room;
use crate::sched::percpu::{self, Message, Shared, all};
use crate::sched::run::{self, QueuedVcpu};

/// Run-queue indices in a word.
const BITS: usize = u64::BITS as usize;

/// Which run-queue indices are taken.
#[derive(Debug)]
pub(super) struct TakenIndices {
    /// Bit `n` of word `w`: index 64 w + n.
    taken: [u64; MAX_VCPUS_PER_CPU / BITS],
    count: u16,
}

impl TakenIndices {
    /// None is.
    pub(super) const fn new() -> Self {
        Self { taken: [0; MAX_VCPUS_PER_CPU / BITS], count: 0 }
    }
}

/// Which physical CPU each of a VM's vCPUs has. The run-queue indices are theirs until it is dropped.
#[derive(Debug)]
pub(crate) struct Placements(Box<[PlacementCell]>);

impl Deref for Placements {
    type Target = [PlacementCell];

    #[inline(always)]
    fn deref(&self) -> &[PlacementCell] {
        &self.0
    }
}

impl Drop for Placements {
    fn drop(&mut self) {
        self.iter().for_each(|vcpu| give_index_back(vcpu.get()));
    }
}

impl Placements {
    /// Finds them for vCPUs with these pins.
    ///
    /// # Errors
    /// [`NoPlace`]; nothing is taken then.
    pub(crate) fn find(pins: impl ExactSizeIterator<Item = Option<PcpuId>>) -> Result<Self, NoPlace> {
        let cpus = all();
        let mut mine = [0u16; MAX_CPUS];
        // Into its place at once, so that the indices are given back if there are not enough.
        let mut placements = Growing(Vec::with_capacity(pins.len()));
        for pin in pins {
            let candidates = cpus.iter().zip(&mine).map(|(shared, mine)| shared.candidate(*mine));
            let cpu = placement::choose(pin, candidates)?;
            let index = cpus.get(cpu.index()).and_then(Shared::take_index).ok_or(NoPlace::Full(cpu))?;
            if let Some(count) = mine.get_mut(cpu.index()) {
                *count += 1;
            }
            placements.0.push(PlacementCell::new(Placement::new(cpu, index)));
        }
        Ok(Self(core::mem::take(&mut placements.0).into_boxed_slice()))
    }

    /// How much of the heap it takes to tell the CPUs of their vCPUs, and for these to take them in with `devices`.
    pub(crate) fn room(&self, devices: &Devices) -> usize {
        let of_cpu = |(cpu, shared): (PcpuId, &Shared)| {
            let here = self.iter().map(PlacementCell::get).filter(|placement| placement.cpu() == cpu);
            let indices = here.map(|placement| placement.index());
            let count = indices.clone().count();
            indices.max().map_or(0, |last| shared.room_for_vcpus(count, last, devices))
        };
        (0..).map(PcpuId::new).zip(all()).map(of_cpu).sum()
    }
}

/// Placements of which there are more to come.
struct Growing(Vec<PlacementCell>);

impl Drop for Growing {
    fn drop(&mut self) {
        self.0.iter().for_each(|vcpu| give_index_back(vcpu.get()));
    }
}

impl Shared {
    /// How much of the heap it takes to tell this CPU of `count` vCPUs, the last with the run-queue index `last`, and for it to
    /// take them in with `devices`.
    fn room_for_vcpus(&self, count: usize, last: RunQueueIndex, devices: &Devices) -> usize {
        let messages = self.mailbox.lock().len() + count;
        let wants_buffer = !devices.is_empty() && !self.has_buffer.load(Ordering::Acquire);
        let buffer = if wants_buffer { room::piece(devices::BUFFER, 1) } else { 0 };
        room::list(messages, size_of::<Message>()) + run::room_for_vcpus(last.index() + 1) + buffer
    }

    fn candidate(&self, of_this_vm: u16) -> Candidate {
        let presence = if self.arrival.is_here() { Presence::Runs } else { Presence::Missing };
        Candidate { presence, of_this_vm, in_all: self.indices.lock().count }
    }

    fn take_index(&self) -> Option<RunQueueIndex> {
        let mut indices = self.indices.lock();
        let (word, taken) = (0..).zip(&mut indices.taken).find(|(_, taken)| **taken != u64::MAX)?;
        let bit = taken.trailing_ones() as u16;
        *taken |= 1 << bit;
        indices.count = indices.count.saturating_add(1);
        Some(RunQueueIndex::new(word * BITS as u16 + bit))
    }
}

/// Frees the run-queue index of a vCPU that is no more.
fn give_index_back(placement: Placement) {
    if let Some(shared) = all().get(placement.cpu().index()) {
        let mut indices = shared.indices.lock();
        let (word, bit) = (placement.index().index() / BITS, 1u64 << (placement.index().index() % BITS));
        if let Some(taken) = indices.taken.get_mut(word)
            && *taken & bit != 0
        {
            *taken &= !bit;
            indices.count = indices.count.saturating_sub(1);
        }
    }
}

/// Why a vCPU can't move.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum CannotMove {
    #[error("it has no such vCPU")]
    NoSuchVcpu,
    #[error("it is not on its CPU yet, or no more")]
    NotThere,
    #[error("its manifest pins it")]
    Pinned,
    #[error("{0}")]
    Full(#[from] NoPlace),
    #[error("{0}")]
    Room(#[from] NoRoom),
}

/// A place for a vCPU that is to move, with room for taking it in.
#[derive(Debug)]
pub(crate) struct ReservedPlace {
    index: TakenIndex,
    room: Room,
}

/// A run-queue index that is free again when this is dropped.
#[derive(Debug)]
struct TakenIndex(Placement);

impl Drop for TakenIndex {
    fn drop(&mut self) {
        give_index_back(self.0);
    }
}

/// Reserves a place on a CPU for a vCPU of a VM with `devices`.
///
/// # Errors
/// [`CannotMove`]; nothing is taken then.
pub(crate) fn reserve(cpu: PcpuId, devices: &Devices) -> Result<ReservedPlace, CannotMove> {
    let candidates = all().iter().map(|shared| shared.candidate(0));
    let cpu = placement::choose(Some(cpu), candidates)?;
    let shared = percpu::get(cpu);
    let index = shared.take_index().ok_or(NoPlace::Full(cpu))?;
    let taken = TakenIndex(Placement::new(cpu, index));
    let of_vcpu = room::piece(size_of::<QueuedVcpu>(), align_of::<QueuedVcpu>());
    let room = Room::claim(shared.room_for_vcpus(1, index, devices) + of_vcpu)?;
    Ok(ReservedPlace { index: taken, room })
}

impl ReservedPlace {
    /// The place is the vCPU's from now on, and the one that it had is free. It is not loaded, and its CPU, which is this one, keeps
    /// nothing of it. Gives back the room for taking it in.
    pub(crate) fn give_to(self, vcpu: &PlacementCell) -> (Placement, Room) {
        let (before, Self { index, room }) = (vcpu.get(), self);
        let placement = index.0;
        core::mem::forget(index);
        vcpu.set(placement);
        percpu::get(before.cpu()).requests.withdraw(before.index());
        give_index_back(before);
        (placement, room)
    }
}
