// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPUs that the first one starts: their stacks, what each is given, and their way in.

use alloc::boxed::Box;

use vambrace_hypervisor::boot::arrival::Admission;
use vambrace_hypervisor::boot::board::{Board, MAX_CPUS};
use vambrace_hypervisor::invariant;
use vambrace_ids::PcpuId;
use vambrace_memory::{Pa, PaRange};

use super::cpu::CpuUp;
use super::{affinity, firmware, layout};
use crate::arch::barrier;
use crate::arch::lock::SpinMutex;
use crate::arch::mmu::{MmuConfig, MmuOn};
use crate::console;
use crate::memory::HeapUp;
use crate::sched::percpu::{self, CpusKnown};
use crate::sched::run::Pcpu;

/// Each stack, in bytes; the page below stays unmapped.
const STACK: u64 = 32 << 10;
const GUARD: u64 = 4 << 10;

/// Memory for the stacks of all CPUs but the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stacks(PaRange);

impl Stacks {
    /// How much memory they take on a board, in bytes.
    pub(super) fn len_for(board: &Board) -> u64 {
        (board.cpus.len() as u64 - 1) * (GUARD + STACK)
    }

    /// In memory that nobody else has.
    pub(super) const fn new(range: PaRange) -> Self {
        Self(range)
    }

    /// All of it.
    pub(super) const fn range(self) -> PaRange {
        self.0
    }

    /// The page below each, never mapped.
    pub(super) fn guards(self) -> impl Iterator<Item = PaRange> {
        (0..self.0.len()).step_by((GUARD + STACK) as usize).map(move |offset| self.0.part(offset, GUARD))
    }

    /// Where the stack number `nth` begins: it grows downwards.
    const fn top(self, nth: usize) -> u64 {
        self.0.start().0 + (nth as u64 + 1) * (GUARD + STACK)
    }
}

/// Which VMID is whose, on a board's CPUs.
pub(crate) type Vmids = vambrace_memory::vmid::Vmids<MAX_CPUS>;

/// What every CPU is given when it makes its [`Pcpu`].
#[derive(Debug)]
pub(super) struct ForAllCpus {
    pub(super) board: &'static Board,
    pub(super) vmids: &'static SpinMutex<Vmids>,
    pub(super) known: CpusKnown,
}

/// All CPUs have been started, or left out. Whether they come is another matter.
#[derive(Debug)]
pub(crate) struct CpusStarted(());

/// What a further CPU reads with its MMU off; `boot.S` knows the layout of what is before `index`.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct SecondaryStart {
    config: MmuConfig,
    stack_top: u64,
    /// The address of all this: what [`secondary`] is called with.
    myself: u64,
    index: PcpuId,
    shared: &'static ForAllCpus,
}

/// Starts all CPUs but this one, which has index `me`.
pub(super) fn start_all(
    mmu: &MmuOn,
    heap: &HeapUp,
    stacks: Stacks,
    me: PcpuId,
    shared: &'static ForAllCpus,
) -> CpusStarted {
    for (nth, index) in
        (0..shared.board.cpus.len() as u16).map(PcpuId::new).filter(|index| *index != me).enumerate()
    {
        let (config, stack_top) = (mmu.config(), stacks.top(nth));
        start(heap, SecondaryStart { config, stack_top, myself: 0, index, shared });
    }
    CpusStarted(())
}

fn start(_: &HeapUp, start: SecondaryStart) {
    let start = Box::leak(Box::new(start));
    let address = core::ptr::from_ref(start).expose_provenance() as u64;
    start.myself = address;
    barrier::clean_invalidate(PaRange::clamped(Pa(address), size_of::<SecondaryStart>() as u64));
    let index = start.index;
    let Some(affinity) = start.shared.board.cpus.get(index.index()) else {
        invariant!("only the board's CPUs are started")
    };
    if let Err(error) = firmware::cpu_on(*affinity, layout::secondary_entry_point(), address) {
        console::warning!(
            "CPU {index} ({affinity:#x}) does not start, so no vCPU is given to it: the firmware says of CPU_ON: {error}"
        );
        percpu::leave_out(index);
    }
}

/// A further CPU's way in, from `boot.S`: MMU and caches on, on its own stack.
pub(super) extern "C" fn secondary(start: &'static SecondaryStart) -> ! {
    let SecondaryStart { index, shared, .. } = *start;
    if percpu::arrive(index) == Admission::Admitted {
        Pcpu::new(CpuUp::new(&shared.known, shared.board, index), shared.board, shared.vmids).run()
    }
    console::warning!("CPU {index} ({:#x}) has come too late: it is switched off", affinity());
    firmware::cpu_off();
    loop {
        barrier::wfi();
    }
}
