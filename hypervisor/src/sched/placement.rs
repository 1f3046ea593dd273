// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which physical CPU a vCPU is to be affine to.
//!
//! Where it is pinned; else on the CPU with the fewest, no two of a VM together while there are CPUs enough. A CPU that the
//! board lists and that did not start is no place: a vCPU there would wait for ever, and its VM's end for it.

use vambrace_ids::PcpuId;

use crate::sched::requests::MAX_VCPUS_PER_CPU;

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
    use super::*;

    const FULL: u16 = MAX_VCPUS_PER_CPU as u16;

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
