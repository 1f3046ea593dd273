// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fast path: traps whose answer is known before they happen, so that they are no exits.
//!
//! [`serve`] looks at the syndrome and gives the trap to the one part that may have its answer: `id` for ID registers,
//! `hvc` for calls, `mmio` for the type registers of the interrupt controller, `sgi` and `timer` for interrupts.
//! Each part's header tells what it leaves to the long path, which is [`handle`](crate::handle). Serving takes no more of the
//! guest's registers than a function call may clobber, and of locks the VM's at most, if that is free.
//!
//! Whatever is the least bit out of the ordinary (another exception level, a step, big-endian data, an operand the vectors
//! have not saved) is left to the long path, which would have given the same answer: a test runs both on the same traps.

use spin::RelaxStrategy;
use spin::mutex::SpinMutex;
use vambrace_cpu::exit::Wait;
use vambrace_cpu::pstate;
use vambrace_cpu::registers::TrapFrame;
use vambrace_cpu::syndrome::{Conduit, Syndrome, class};
use vambrace_ids::VcpuId;
use vambrace_interrupts::LrWrite;
use vambrace_memory::Va;

pub use self::constants::Constants;
pub use self::sgi::queue_pending_sgi;
pub use self::timer::give_timer;
use crate::injection::ExceptionLoop;
use crate::vcpu::{Recent, Vcpu};
use crate::vm::Vm;

mod constants;
mod hvc;
mod id;
mod lr;
mod mmio;
mod sgi;
mod timer;

/// How many registers from X0 on a function call may clobber: the fast path has these and X30, and no others.
pub const SCRATCH_REGISTERS: usize = 19;

/// The registers of a trap, each read when it is wanted.
pub trait Trap {
    /// ESR_EL2.
    fn esr(&self) -> Syndrome;
    /// FAR_EL2.
    fn far(&self) -> u64;
    /// HPFAR_EL2.
    fn hpfar(&self) -> u64;
    /// ELR_EL2.
    fn pc(&self) -> u64;
    /// Writes ELR_EL2.
    fn set_pc(&mut self, pc: u64);
    /// SPSR_EL2.
    fn pstate(&self) -> u64;
    /// SCTLR_EL1.
    fn sctlr(&self) -> u64;
    /// CNTV_CTL_EL0.
    fn virtual_timer(&self) -> u64;
}

/// The machine's list registers.
pub trait ListRegisters {
    /// ICH_ELRSR_EL2: bit `n` says that list register `n` holds nothing.
    fn empty(&self) -> u64;
    /// Writes a list register.
    fn write(&mut self, write: LrWrite);
    /// Writes ICH_HCR_EL2.
    fn set_control(&mut self, hcr: u64);
}

impl<L: ListRegisters> ListRegisters for &mut L {
    #[inline(always)]
    fn empty(&self) -> u64 {
        L::empty(self)
    }

    #[inline(always)]
    fn write(&mut self, write: LrWrite) {
        L::write(self, write);
    }

    #[inline(always)]
    fn set_control(&mut self, hcr: u64) {
        L::set_control(self, hcr);
    }
}

/// The other vCPUs of the VM.
pub trait SiblingVcpus {
    /// The place of a vCPU.
    type Placement;
    /// The CPU of a vCPU, if that is another physical CPU than this one.
    fn elsewhere(&self, vcpu: VcpuId) -> Option<Self::Placement>;
    /// Makes a vCPU of another CPU look at its interrupts.
    fn kick(&self, placement: Self::Placement);
}

/// What the fast path works on, beside the registers.
#[derive(Debug)]
pub struct FastPath<'a, R> {
    constants: &'a Constants,
    recent: &'a mut Recent,
    exceptions: &'a mut ExceptionLoop,
    vm: &'a SpinMutex<Vm, R>,
    vcpu: VcpuId,
}

impl Vcpu {
    /// What a vCPU is entered with: its frame, and apart from it what the fast path works on.
    pub fn for_entry<'a, R>(
        &'a mut self,
        constants: &'a Constants,
        vm: &'a SpinMutex<Vm, R>,
    ) -> (&'a mut TrapFrame, FastPath<'a, R>) {
        let Self { id, registers, recent, exceptions, .. } = self;
        (&mut registers.frame, FastPath { constants, recent, exceptions, vm, vcpu: *id })
    }
}

/// What the fast path made of a trap.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FastResult {
    /// Nothing, and nothing has changed: it is an exit, and goes the long way.
    No,
    /// All. The guest goes on.
    Yes,
    /// All, and of the registers that were not saved this one was written.
    YesInto(u8),
}

/// Serves a trap if it is one with a known answer. Of `x` only the first [`SCRATCH_REGISTERS`] and X30 are true.
///
/// Each cause goes its own way to the end, since what they could share costs more to bring together than to repeat.
#[inline(always)]
pub fn serve(
    trap: &mut impl Trap,
    x: &mut [u64; 31],
    fast: &mut FastPath<'_, impl RelaxStrategy>,
    lists: &mut impl ListRegisters,
    siblings: &impl SiblingVcpus,
) -> FastResult {
    let esr = trap.esr();
    // Before its class is looked at: this is the most frequent trap of a kernel that boots.
    if let Some((rt, value)) = id::register(esr, fast.constants) {
        if steps_plainly(trap.pstate()) {
            fast.step_over(esr, None, trap);
            return set(x, rt, value);
        }
        return FastResult::No;
    }
    if let Some(conduit) = esr.conduit() {
        let Some(value) = hvc::answer(esr, x) else { return FastResult::No };
        match conduit {
            Conduit::Hvc => fast.note(esr, trap.pc(), None),
            Conduit::Smc if steps_plainly(trap.pstate()) => fast.step_over(esr, None, trap),
            Conduit::Smc => return FastResult::No,
        }
        return hvc::set_results(x, value);
    }
    match esr.class() {
        class::DATA_ABORT_LOWER => {
            let Some((far, rt, value)) =
                mmio::register(esr, trap, fast.constants).filter(|_| is_ordinary(trap.pstate()))
            else {
                return FastResult::No;
            };
            fast.step_over(esr, Some(Va(far)), trap);
            set(x, rt, value)
        }
        class::SYSTEM => system_register(trap, x, fast, lists, siblings),
        _ => FastResult::No,
    }
}

/// What system registers do to interrupts. Apart, since it needs more registers than the others, which would have to save
/// them too.
#[inline(never)]
fn system_register(
    trap: &mut impl Trap,
    x: &[u64; 31],
    fast: &mut FastPath<'_, impl RelaxStrategy>,
    lists: &mut impl ListRegisters,
    siblings: &impl SiblingVcpus,
) -> FastResult {
    let esr = trap.esr();
    let Some(value) = sgi::written(esr, x).filter(|_| is_ordinary(trap.pstate())) else {
        return timer::acknowledge(trap, fast, lists);
    };
    match sgi::send(value, fast, lists, siblings) {
        sgi::Sent::Yes => {
            fast.step_over(esr, None, trap);
            FastResult::Yes
        }
        sgi::Sent::No => FastResult::No,
    }
}

/// A WFI of AArch64: steps over it, and says that the vCPU waits for an interrupt. False if the exit is anything else, and
/// nothing has changed. Not for the vectors: a vCPU only comes here when others want its CPU, and then leaves it.
#[inline]
pub fn wait(vcpu: &mut Vcpu, esr: u64) -> bool {
    let frame = &mut vcpu.registers.frame;
    if Syndrome(esr) != Wait::WFI || !steps_plainly(frame.pstate) || frame.pstate & pstate::AARCH32 != 0 {
        return false;
    }
    frame.pc = frame.pc.wrapping_add(4);
    vcpu.note_progress();
    true
}

impl<R: RelaxStrategy> FastPath<'_, R> {
    /// Remembers the trap, as the long way does: the vCPU gets on.
    #[inline(always)]
    fn note(&mut self, esr: Syndrome, pc: u64, address: Option<Va>) {
        self.recent.push_with(esr.0, pc, address);
        self.exceptions.forget();
    }

    /// Remembers the trap and steps over its instruction.
    #[inline(always)]
    fn step_over(&mut self, esr: Syndrome, address: Option<Va>, trap: &mut impl Trap) {
        let pc = trap.pc();
        self.note(esr, pc, address);
        trap.set_pc(pc.wrapping_add(4));
    }
}

/// Writes register `rt` of an instruction.
#[inline(always)]
fn set(x: &mut [u64; 31], rt: usize, value: u64) -> FastResult {
    let Some(register) = x.get_mut(rt) else { return FastResult::Yes };
    *register = value;
    if rt < SCRATCH_REGISTERS { FastResult::Yes } else { FastResult::YesInto(rt as u8) }
}

/// Nothing in PSTATE would change by stepping over the instruction. (It is AArch64's.)
#[inline(always)]
const fn steps_plainly(pstate: u64) -> bool {
    pstate & pstate::BTYPE == 0 && pstate & pstate::SS == 0
}

/// Besides: made at AArch64 EL1. (HVC, SMC and ID registers come from nowhere else.)
#[inline(always)]
const fn is_ordinary(pstate: u64) -> bool {
    const EL1: u64 = 1 << 2;
    steps_plainly(pstate) && pstate & pstate::AARCH32 == 0 && pstate & EL1 != 0
}
