// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fast path: exits whose answer is known before they happen.
//!
//! ID registers, PSCI_VERSION, function ids that nobody serves, and the type and identification registers of the interrupt
//! controller read the same as long as the VM lives. [`Constants`] has the answers; giving one takes no lock, and no more of the
//! guest's registers than a function call may clobber. Whatever is the least bit out of the ordinary (another
//! exception level, a step, big-endian data, an operand the vectors have not saved) is left to
//! [`handle`](crate::handle), which would have given the same answer: a test runs both on the same exits.

use spin::RelaxStrategy;
use spin::mutex::{SpinMutex, SpinMutexGuard};
use vambrace_cpu::registers::Frame;
use vambrace_cpu::syndrome::class;
use vambrace_cpu::{pstate, smccc, timer};
use vambrace_interrupts::{Added, Intid, PrivateIrq, SgiRegister, SgiRequest, SgiTargets};
use vambrace_memory::Va;

pub use self::constants::Constants;
use self::constants::DOUBLEWORD;
use crate::injection::ExceptionLoop;
use crate::layout;
use crate::vcpu::{Recent, Vcpu};
use crate::vm::{Lifecycle, Vm};

mod constants;

/// How many registers from X0 on a function call may clobber: the fast path has these and X30, and no others.
pub const SCRATCH_REGISTERS: usize = 19;

/// The registers of a trap, each read when it is wanted.
pub trait Trap {
    /// ESR_EL2.
    fn esr(&self) -> u64;
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
pub trait Lists {
    /// ICH_ELRSR_EL2: bit `n` says that list register `n` holds nothing.
    fn empty(&self) -> u64;
    /// Writes a list register.
    fn write(&mut self, added: Added);
    /// Writes ICH_HCR_EL2.
    fn set_control(&mut self, hcr: u64);
}

/// The other vCPUs of the VM.
pub trait SiblingVcpus {
    /// The place of a vCPU.
    type Placement;
    /// The CPU of a vCPU, if that is another physical CPU than this one.
    fn elsewhere(&self, vcpu: usize) -> Option<Self::Placement>;
    /// Makes a vCPU of another CPU look at its interrupts.
    fn call(&self, placement: Self::Placement);
}

impl<L: Lists> Lists for &mut L {
    #[inline(always)]
    fn empty(&self) -> u64 {
        L::empty(self)
    }

    #[inline(always)]
    fn write(&mut self, added: Added) {
        L::write(self, added);
    }

    #[inline(always)]
    fn set_control(&mut self, hcr: u64) {
        L::set_control(self, hcr);
    }
}

/// What the fast path works on, beside the registers.
#[derive(Debug)]
pub struct FastPath<'a, R> {
    constants: &'a Constants,
    recent: &'a mut Recent,
    exceptions: &'a mut ExceptionLoop,
    vm: &'a SpinMutex<Vm, R>,
    vcpu: u16,
}

impl Vcpu {
    /// What a vCPU is entered with: its frame, and apart from it what the fast path works on.
    pub fn for_entry<'a, R>(
        &'a mut self,
        constants: &'a Constants,
        vm: &'a SpinMutex<Vm, R>,
    ) -> (&'a mut Frame, FastPath<'a, R>) {
        let Self { index, registers, recent, exceptions, .. } = self;
        (&mut registers.frame, FastPath { constants, recent, exceptions, vm, vcpu: *index })
    }
}

/// What the fast path made of an exit.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FastResult {
    /// Nothing, and nothing has changed: the exit goes the long way.
    No,
    /// All. The guest goes on.
    Yes,
    /// All, and of the registers that were not saved this one was written.
    YesInto(u8),
}

/// Serves an exit if it is one with a known answer. Of `x` only the first [`SCRATCH_REGISTERS`] and X30 are true.
///
/// Each cause goes its own way to the end, since what they could share costs more to bring together than to repeat.
#[inline(always)]
pub fn serve(
    trap: &mut impl Trap,
    x: &mut [u64; 31],
    fast: &mut FastPath<'_, impl RelaxStrategy>,
    lists: &mut impl Lists,
    siblings: &impl SiblingVcpus,
) -> FastResult {
    let esr = trap.esr();
    if let Some((rt, value)) = id_register(esr, fast.constants) {
        if steps_plainly(trap.pstate()) {
            fast.step_over(esr, None, trap);
            return set(x, rt, value);
        }
        return FastResult::No;
    }
    // HVC and SMC.
    if esr >> 27 == HVC64 >> 1 {
        let Some(value) = call(esr, x) else { return FastResult::No };
        // They differ in the class's lowest bit.
        if esr >> 26 & 1 == 0 {
            fast.note(esr, trap.pc(), None);
        } else if steps_plainly(trap.pstate()) {
            fast.step_over(esr, None, trap);
        } else {
            return FastResult::No;
        }
        return set_results(x, value);
    }
    match esr >> 26 {
        DATA_ABORT_LOWER => {
            let Some((far, rt, value)) =
                device_register(esr, trap, fast.constants).filter(|_| is_ordinary(trap.pstate()))
            else {
                return FastResult::No;
            };
            fast.step_over(esr, Some(Va(far)), trap);
            set(x, rt, value)
        }
        SYSTEM => system_register(trap, x, fast, lists, siblings),
        _ => FastResult::No,
    }
}

/// SGIs to one vCPU. Apart, since it needs more registers than the others, which would have to save them too.
#[inline(never)]
fn system_register(
    trap: &mut impl Trap,
    x: &[u64; 31],
    fast: &mut FastPath<'_, impl RelaxStrategy>,
    lists: &mut impl Lists,
    siblings: &impl SiblingVcpus,
) -> FastResult {
    let esr = trap.esr();
    let Some(value) = sgi1r(esr, x).filter(|_| is_ordinary(trap.pstate())) else {
        return acknowledges(trap, fast, lists);
    };
    let intid = Intid::new(((value & SGI_INTID) >> 24) as u32);
    if value & !SGI_INTID == fast.constants.sgi_to_self {
        if !queue(fast, PrivateIrq::Sgi { intid }, lists) {
            return FastResult::No;
        }
    } else {
        let request = SgiRequest::decode(SgiRegister::Sgi1r, value);
        let Some(affinity) = only_target(request) else { return FastResult::No };
        let Some(mut vm) = fast.vm.try_lock() else { return FastResult::No };
        let Some(vcpu) = vm.gic.find(affinity) else { return FastResult::No };
        // A vCPU that is affine to this CPU, too, is to be looked at before this vCPU goes on, or it waits for as long as that runs.
        let Some(placement) = siblings.elsewhere(vcpu) else { return FastResult::No };
        let has_to_look = vm.gic.send_sgi_to(vcpu, intid);
        drop(vm);
        if has_to_look {
            siblings.call(placement);
        }
    }
    fast.step_over(esr, None, trap);
    FastResult::Yes
}

/// A read of ICC_IAR1_EL1, which traps since the virtual timer's interrupt came while the guest masked it. If the timer
/// asserts it still, and nothing else is pending, the instruction runs again and takes it.
#[cold]
#[inline(never)]
fn acknowledges(
    trap: &impl Trap,
    fast: &mut FastPath<'_, impl RelaxStrategy>,
    lists: &mut impl Lists,
) -> FastResult {
    const RT: u64 = 0b1_1111 << 5;
    let esr = trap.esr();
    if esr & 0x1FF_FFFF & !RT != IAR1_READ || !timer::is_asserted(trap.virtual_timer()) {
        return FastResult::No;
    }
    let Some(mut vm) = fast.vm.try_lock() else { return FastResult::No };
    let intid = layout::VIRTUAL_TIMER_INTID;
    let Some(hcr) = vm.gic.confirm_queued_line(fast.vcpu.into(), intid, lists.empty()) else {
        return FastResult::No;
    };
    drop(vm);
    lists.set_control(hcr);
    fast.note(esr, trap.pc(), None);
    FastResult::Yes
}

/// A WFI of AArch64: steps over it, and says that the vCPU waits for an interrupt. False if the exit is anything else, and
/// nothing has changed. Not for the vectors: a vCPU only comes here when others want its CPU, and then leaves it.
#[inline]
pub fn wait(vcpu: &mut Vcpu, esr: u64) -> bool {
    // IL, CV and the condition AL, as AArch64 always has them; TI, for WFE and the timed forms, and its register are 0.
    const WFI: u64 = (class::WAIT as u64) << 26 | 1 << 25 | 1 << 24 | 0xE << 20;
    let frame = &mut vcpu.registers.frame;
    if esr != WFI || !steps_plainly(frame.pstate) || frame.pstate & pstate::AARCH32 != 0 {
        return false;
    }
    frame.pc = frame.pc.wrapping_add(4);
    vcpu.note_progress();
    true
}

/// Another vCPU has called: queues the one SGI that is pending. False if there is more to it, and nothing has changed.
#[inline(always)]
pub fn queue_pending_sgi(fast: &mut FastPath<'_, impl RelaxStrategy>, lists: &mut impl Lists) -> bool {
    let Some(mut vm) = fast.vm.try_lock() else { return false };
    if vm.lifecycle != Lifecycle::Running {
        return false;
    }
    let added = vm.gic.queue_pending_sgi(fast.vcpu.into(), lists.empty());
    drop(vm);
    let Some(added) = added else { return false };
    lists.write(added);
    true
}

/// Hands the vCPU its virtual timer's interrupt, whose physical one, `physical`, has been acknowledged and its priority
/// dropped: the guest itself will end it. False if that takes more, and nothing has changed. `pstate` is SPSR_EL2.
#[inline(always)]
pub fn give_timer(
    fast: &mut FastPath<'_, impl RelaxStrategy>,
    pstate: u64,
    physical: Intid,
    lists: &mut impl Lists,
) -> bool {
    let irq = PrivateIrq::Hw { intid: layout::VIRTUAL_TIMER_INTID, physical };
    if pstate & pstate::I != 0 { queue_for_resample(fast, irq, lists) } else { queue(fast, irq, lists) }
}

/// Puts an interrupt into the list registers, if that takes no more.
#[inline(always)]
fn queue(fast: &mut FastPath<'_, impl RelaxStrategy>, irq: PrivateIrq, lists: &mut impl Lists) -> bool {
    let Some(vm) = fast.vm.try_lock() else { return false };
    match vm.gic.requeue(fast.vcpu.into(), irq, lists.empty()) {
        Some(again) => {
            drop(vm);
            lists.write(again);
            true
        }
        None => queue_first(vm, fast.vcpu, irq, lists),
    }
}

/// The guest masks interrupts, and the timer may be set anew by the time that it looks.
#[inline(never)]
fn queue_for_resample(
    fast: &mut FastPath<'_, impl RelaxStrategy>,
    irq: PrivateIrq,
    lists: &mut impl Lists,
) -> bool {
    let Some(mut vm) = fast.vm.try_lock() else { return false };
    let (vcpu, empty) = (usize::from(fast.vcpu), lists.empty());
    let Some(added) = vm.gic.requeue_beside(vcpu, irq, empty).or_else(|| vm.gic.queue(vcpu, irq, empty))
    else {
        return false;
    };
    let hcr = vm.gic.mark_queued_for_resample(vcpu, added.value.intid());
    drop(vm);
    lists.write(added);
    lists.set_control(hcr);
    true
}

/// Apart, since it happens once.
#[cold]
#[inline(never)]
fn queue_first<R: RelaxStrategy>(
    mut vm: SpinMutexGuard<'_, Vm, R>,
    vcpu: u16,
    irq: PrivateIrq,
    lists: &mut impl Lists,
) -> bool {
    let (vcpu, empty) = (usize::from(vcpu), lists.empty());
    let is_idle = vm.gic.is_idle(vcpu, empty);
    let Some(added) = vm.gic.queue(vcpu, irq, empty) else { return false };
    lists.write(added);
    if matches!(irq, PrivateIrq::Hw { .. }) && !is_idle {
        // The guest may handle another interrupt, and come to this one later.
        lists.set_control(vm.gic.mark_queued_for_resample(vcpu, added.value.intid()));
    }
    true
}

impl<R: RelaxStrategy> FastPath<'_, R> {
    /// Remembers the exit, as the long way does: the vCPU gets on.
    #[inline(always)]
    fn note(&mut self, esr: u64, pc: u64, address: Option<Va>) {
        self.recent.push_with(esr, pc, address);
        self.exceptions.forget();
    }

    /// Remembers the exit and steps over its instruction.
    #[inline(always)]
    fn step_over(&mut self, esr: u64, address: Option<Va>, trap: &mut impl Trap) {
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

/// Writes the results of a call.
#[inline(always)]
fn set_results(x: &mut [u64; 31], value: u64) -> FastResult {
    let [x0, x1, x2, x3, ..] = x;
    (*x0, *x1, *x2, *x3) = (value, 0, 0, 0);
    FastResult::Yes
}

const HVC64: u64 = class::HVC64 as u64;
const _: () = assert!(HVC64 & 1 == 0 && class::SMC64 as u64 == HVC64 | 1);
const SYSTEM: u64 = class::SYSTEM as u64;
const DATA_ABORT_LOWER: u64 = class::DATA_ABORT_LOWER as u64;

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

/// PSCI_VERSION, and what nobody serves.
#[inline(always)]
fn call(esr: u64, x: &[u64; 31]) -> Option<u64> {
    if esr & 0xFFFF != 0 {
        return None;
    }
    smccc::constant_answer(x[0] as u32)
}

/// MRS of S3_0_C0_C<1 to 7>_<op2>: Rt and the value. The class is looked at together with the rest: this is the most
/// frequent exit of a kernel that boots.
#[inline(always)]
fn id_register(esr: u64, constants: &Constants) -> Option<(usize, u64)> {
    // The class, Op0, Op1, CRn, the direction, and of CRm the bit that says 8 and above. Op2 and the rest choose.
    const FIXED: u64 = 0x3F << 26 | 0b11 << 20 | 0b111 << 14 | 0b1111 << 10 | 1 << 4 | 1;
    const ID_SPACE_READ: u64 = SYSTEM << 26 | 0b11 << 20 | 1;
    let (crm, op2, rt) = (esr >> 1 & 0b111, esr >> 17 & 0b111, (esr >> 5 & 0b1_1111) as usize);
    if esr & FIXED != ID_SPACE_READ || crm == 0 {
        return None;
    }
    let value = *constants.ids.get(crm as usize)?.get(op2 as usize)?;
    Some((rt, value))
}

/// ICC_SGI1R_EL1.INTID.
const SGI_INTID: u64 = 0xF << 24;

/// MRS of ICC_IAR1_EL1, but for Rt.
const IAR1_READ: u64 = 0b11 << 20 | 0b1100 << 10 | 0b1100 << 1 | 1;

/// The value of an MSR of ICC_SGI1R_EL1, from a register that is saved.
#[inline(always)]
fn sgi1r(esr: u64, x: &[u64; 31]) -> Option<u64> {
    const RT: u64 = 0b1_1111 << 5;
    const SGI1R_WRITE: u64 = 0b11 << 20 | 0b101 << 17 | 0b1100 << 10 | 0b1011 << 1;
    if esr & 0x1FF_FFFF & !RT != SGI1R_WRITE {
        return None;
    }
    let rt = (esr >> 5 & 0b1_1111) as usize;
    x.get(rt).filter(|_| rt < SCRATCH_REGISTERS).copied()
}

/// The packed affinity of the one vCPU that an SGI is for.
#[inline(always)]
fn only_target(request: SgiRequest) -> Option<u32> {
    match request.targets() {
        SgiTargets::List { first, list } if list.is_power_of_two() => Some(first | list.trailing_zeros()),
        SgiTargets::List { .. } | SgiTargets::AllButSelf => None,
    }
}

/// A load, without sign extension, from a register that never changes: FAR_EL2, Rt and the value.
#[inline(always)]
fn device_register(esr: u64, trap: &impl Trap, constants: &Constants) -> Option<(u64, usize, u64)> {
    const ISV: u64 = 1 << 24;
    const SSE: u64 = 1 << 21;
    const SF: u64 = 1 << 15;
    const VNCR: u64 = 1 << 13;
    const FNV: u64 = 1 << 10;
    const EA_CM_S1PTW_WNR: u64 = 0b1111 << 6;
    const STATUS_KIND: u64 = 0b11_1100;
    const TRANSLATION_FAULT: u64 = 0b00_0100;
    const BIG_ENDIAN: u64 = 1 << 25;
    if esr & (ISV | SSE | VNCR | FNV | EA_CM_S1PTW_WNR | STATUS_KIND) != ISV | TRANSLATION_FAULT {
        return None;
    }
    let far = trap.far();
    let ipa = (trap.hpfar() & 0xFFF_FFFF_FFF0) << 8 | far & 0xFFF;
    let size = esr >> 22 & 0b11;
    // A doubleword goes into a 64-bit register, or the instruction is no ordinary one.
    if size == DOUBLEWORD && esr & SF == 0 {
        return None;
    }
    let value = constants.device(ipa, size)?;
    if trap.sctlr() & BIG_ENDIAN != 0 {
        return None;
    }
    Some((far, (esr >> 16 & 0b1_1111) as usize, value))
}
