// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which physical CPU a vCPU is to be affine to.
//!
//! Where it is pinned; else on the CPU with the fewest, no two of a VM together while there are CPUs enough. A CPU that the
//! board lists and that did not start is no place: a vCPU there would wait for ever, and its VM's end for it.

use core::sync::atomic::{AtomicU32, Ordering};

use vambrace_cpu::scheduler::RunQueueIndex;
use vambrace_ids::PcpuId;

use crate::sched::requests::MAX_VCPUS_PER_CPU;

/// The physical CPU that a vCPU is affine to, and its run-queue index there: one number, which is stored and compared at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Placement(u32);

impl Placement {
    /// This CPU, and this index there.
    #[must_use]
    pub const fn new(cpu: PcpuId, index: RunQueueIndex) -> Self {
        Self((cpu.number() as u32) << 16 | index.number() as u32)
    }

    /// The CPU.
    #[must_use]
    #[inline(always)]
    pub const fn cpu(self) -> PcpuId {
        PcpuId::new((self.0 >> 16) as u16)
    }

    /// The index.
    #[must_use]
    #[inline(always)]
    pub const fn index(self) -> RunQueueIndex {
        RunQueueIndex::new(self.0 as u16)
    }
}

impl core::fmt::Debug for Placement {
    fn fmt(&self, to: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(to, "index {} of CPU {}", self.index(), self.cpu())
    }
}

/// Where a vCPU is affine now. Only the CPU that it is affine to gives it another place, while the vCPU is not loaded.
#[derive(Debug)]
pub struct PlacementCell(AtomicU32);

impl PlacementCell {
    /// That of a vCPU with this place.
    #[must_use]
    pub const fn new(placement: Placement) -> Self {
        Self(AtomicU32::new(placement.0))
    }

    /// The place. It may have changed before anything is done with it: see [`kick_where_it_is`].
    #[must_use]
    #[inline(always)]
    pub fn get(&self) -> Placement {
        Placement(self.0.load(Ordering::Relaxed))
    }

    /// The vCPU moves. To be followed by [`Requests::withdraw`](super::requests::Requests::withdraw) at the old place.
    pub fn set(&self, placement: Placement) {
        self.0.store(placement.0, Ordering::Relaxed);
    }
}

/// A vCPU that is to be kicked.
pub trait Kicked {
    /// Where it may be.
    type At: Copy + Eq;
    /// Where it is affine now.
    fn place(&self) -> Self::At;
    /// Requests a look at it there.
    fn kick(&self, at: Self::At);
}

/// Kicks a vCPU at the place that it had `at` first, and again wherever it has moved meanwhile.
#[inline(always)]
pub fn kick_where_it_is<K: Kicked>(at: K::At, vcpu: &K) {
    vcpu.kick(at);
    // After the request: see `requests`.
    let now = vcpu.place();
    if now != at {
        kick_where_it_went(now, vcpu);
    }
}

/// Each further round takes that another CPU has moved the vCPU in the few instructions of the last, so there are never many.
#[cold]
#[inline(never)]
fn kick_where_it_went<K: Kicked>(mut at: K::At, vcpu: &K) {
    loop {
        vcpu.kick(at);
        let now = vcpu.place();
        if now == at {
            return;
        }
        at = now;
    }
}

/// Whether a physical CPU is there to run anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It has started.
    Runs,
    /// It has not.
    Missing,
}

/// A physical CPU, as a VM that seeks places sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Whether it runs.
    pub presence: Presence,
    /// vCPUs of this VM that it has already.
    pub of_this_vm: u16,
    /// vCPUs that it has in all.
    pub in_all: u16,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// The board has no such CPU.
    #[error("a vCPU is pinned to CPU {cpu}, and the board has {cpus}, counted from 0")]
    NoSuchCpu {
        /// The CPU.
        cpu: PcpuId,
        /// How many there are.
        cpus: usize,
    },
    /// It has not started.
    #[error("a vCPU is pinned to CPU {0}, which did not start")]
    Missing(PcpuId),
    /// All its places are taken.
    #[error("a vCPU is pinned to CPU {0}, which has {MAX_VCPUS_PER_CPU} vCPUs already, the most it can have")]
    Full(PcpuId),
    /// The places of all CPUs are taken.
    #[error("all CPUs have {MAX_VCPUS_PER_CPU} vCPUs already, the most they can have")]
    AllFull,
}

/// Chooses one among all CPUs, in their order, for a vCPU that is pinned to one or to none.
///
/// # Errors
/// [`NoPlace`].
pub fn choose(
    pin: Option<PcpuId>,
    cpus: impl ExactSizeIterator<Item = Candidate>,
) -> Result<PcpuId, NoPlace> {
    let is_full = |candidate: &Candidate| usize::from(candidate.in_all) >= MAX_VCPUS_PER_CPU;
    let count = cpus.len();
    let mut cpus = (0..).map(PcpuId::new).zip(cpus);
    let Some(pin) = pin else {
        return cpus
            .filter(|(_, candidate)| candidate.presence == Presence::Runs && !is_full(candidate))
            .min_by_key(|(_, candidate)| (candidate.of_this_vm, candidate.in_all))
            .map(|(cpu, _)| cpu)
            .ok_or(NoPlace::AllFull);
    };
    match cpus.find(|(cpu, _)| *cpu == pin) {
        None => Err(NoPlace::NoSuchCpu { cpu: pin, cpus: count }),
        Some((_, Candidate { presence: Presence::Missing, .. })) => Err(NoPlace::Missing(pin)),
        Some((_, candidate)) if is_full(&candidate) => Err(NoPlace::Full(pin)),
        Some(_) => Ok(pin),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const FULL: u16 = MAX_VCPUS_PER_CPU as u16;

    fn place(cpu: u16, index: u16) -> Placement {
        Placement::new(PcpuId::new(cpu), RunQueueIndex::new(index))
    }

    #[test]
    fn a_place_is_one_number() {
        for (cpu, index) in [(0, 0), (127, 1023), (u16::MAX, 0), (0, u16::MAX)] {
            let placement = place(cpu, index);
            assert_eq!((placement.cpu().number(), placement.index().number()), (cpu, index));
        }
    }

    /// A vCPU that moves each time it is kicked, as long as it has places to go to.
    struct Mover {
        cell: PlacementCell,
        ways: RefCell<Vec<Placement>>,
        kicked: RefCell<Vec<Placement>>,
    }

    impl Kicked for Mover {
        type At = Placement;

        fn place(&self) -> Placement {
            self.cell.get()
        }

        fn kick(&self, at: Placement) {
            self.kicked.borrow_mut().push(at);
            if let Some(to) = self.ways.borrow_mut().pop() {
                self.cell.set(to);
            }
        }
    }

    #[test]
    fn a_vcpu_that_moves_while_it_is_kicked_is_kicked_there() {
        let mover = Mover {
            cell: PlacementCell::new(place(0, 3)),
            ways: RefCell::new(vec![place(0, 3), place(1, 4)]),
            kicked: RefCell::default(),
        };
        kick_where_it_is(mover.place(), &mover);
        assert_eq!(*mover.kicked.borrow(), [place(0, 3), place(1, 4), place(0, 3)]);
    }

    fn cpu(of_this_vm: u16, in_all: u16) -> Candidate {
        Candidate { presence: Presence::Runs, of_this_vm, in_all }
    }

    const MISSING: Candidate = Candidate { presence: Presence::Missing, of_this_vm: 0, in_all: 0 };

    fn chosen(pin: Option<u16>, cpus: &[Candidate]) -> Result<PcpuId, NoPlace> {
        choose(pin.map(PcpuId::new), cpus.iter().copied())
    }

    #[test]
    fn the_emptiest_is_chosen_and_none_twice_while_there_are_others() {
        assert_eq!(chosen(None, &[cpu(0, 2), cpu(0, 1), cpu(0, 1)]), Ok(PcpuId::new(1)));
        assert_eq!(chosen(None, &[cpu(0, 9), cpu(1, 1), cpu(1, 1)]), Ok(PcpuId::new(0)));
    }

    #[test]
    fn a_cpu_that_did_not_start_is_nobodys_home_however_empty_it_is() {
        assert_eq!(chosen(None, &[MISSING, cpu(3, 100), MISSING]), Ok(PcpuId::new(1)));
        assert_eq!(chosen(Some(2), &[cpu(0, 0), cpu(0, 0), MISSING]), Err(NoPlace::Missing(PcpuId::new(2))));
        assert_eq!(chosen(None, &[MISSING]), Err(NoPlace::AllFull));
    }

    #[test]
    fn a_full_cpu_is_passed_over_and_told_by_name_when_it_is_meant() {
        assert_eq!(chosen(None, &[cpu(0, FULL), cpu(5, FULL - 1)]), Ok(PcpuId::new(1)));
        assert_eq!(chosen(None, &[cpu(0, FULL)]), Err(NoPlace::AllFull));
        assert_eq!(chosen(Some(0), &[cpu(0, FULL), cpu(0, 0)]), Err(NoPlace::Full(PcpuId::new(0))));
    }

    #[test]
    fn a_cpu_that_the_board_lacks_is_told_with_how_many_it_has() {
        let error = chosen(Some(7), &[cpu(0, 0); 4]).unwrap_err();
        assert_eq!(error.to_string(), "a vCPU is pinned to CPU 7, and the board has 4, counted from 0");
    }
}
