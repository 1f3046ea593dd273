// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way into a guest and back: one function that returns when the guest traps.

use vambrace_cpu::registers::{FpRegisters, TrapFrame};
use vambrace_cpu::scheduler::RunQueueIndex;
use vambrace_cpu::syndrome::Syndrome;
use vambrace_hypervisor::sched::requests::Requests;
use vambrace_interrupts::Intid;
use vambrace_machine::fast::{self, FastPath, FastResult, SCRATCH_REGISTERS, Trap};

use crate::arch::lock::Yield;
use crate::arch::sysreg::{CntvCtlEl0, ElrEl2, EsrEl2, FarEl2, HpfarEl2, Read, SafeWrite, SctlrEl1, SpsrEl2};
use crate::gic::vgic::Interface;
use crate::gic::{self, CpuInterface};
use crate::vm::shared::SiblingsOfVm;

/// Why the guest is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A synchronous exception: ESR_EL2 says which.
    Synchronous,
    /// A physical interrupt, IRQ or FIQ.
    Interrupt,
    /// An SError: asynchronous, so nobody's instruction is to blame.
    SystemError,
}

const SYNCHRONOUS: u64 = 0;
const INTERRUPT: u64 = 1;
const SERROR: u64 = 2;

/// What `fast_synchronous` returns when the trap is served, and nothing is to be reloaded.
const SERVED: u64 = 0;
/// What it returns when it is not served. Anything else is the number of a register to reload.
const NOT_SERVED: u64 = 1;

/// What an entry needs besides the vCPU: what the fast path may touch beside its own.
pub(crate) struct EntryContext<'a> {
    /// The list registers of this CPU.
    pub(crate) lists: &'a mut Interface,
    /// The vCPU's VM.
    pub(crate) siblings: SiblingsOfVm<'a>,
    /// Who calls this CPU.
    pub(crate) requests: &'a Requests,
    /// The vCPU's run-queue index.
    pub(crate) index: RunQueueIndex,
    /// The physical interrupt of the virtual timer.
    pub(crate) virtual_timer: Intid,
}

/// What the vectors serve a guest's trap with.
#[repr(C)]
struct Entry<'a> {
    /// The host's stack pointer; `world_enter` fills it in.
    host_stack: u64,
    fast: FastPath<'a, Yield>,
    context: EntryContext<'a>,
    /// The physical interrupt that was acknowledged, and is not served.
    acknowledged: Option<Intid>,
}

core::arch::global_asm!(
    include_str!("world.S"),
    PC = const core::mem::offset_of!(TrapFrame, pc),
    SYNCHRONOUS = const SYNCHRONOUS,
    INTERRUPT = const INTERRUPT,
    SERROR = const SERROR,
    NOT_SERVED = const NOT_SERVED,
    fast_synchronous = sym fast_synchronous,
    fast_interrupt = sym fast_interrupt,
    EMERGENCY_STACK_SIZE = const crate::panic::EMERGENCY_STACK_SIZE,
    emergency_stack = sym crate::panic::EMERGENCY_STACK,
    el2_fault = sym crate::panic::el2_fault,
);

const _: () = assert!(core::mem::offset_of!(TrapFrame, x) == 0, "the assembly addresses Xn at 8 * n");
const _: () = assert!(core::mem::offset_of!(TrapFrame, pstate) == core::mem::offset_of!(TrapFrame, pc) + 8);

#[expect(improper_ctypes, reason = "the assembly knows the first field of Entry, which is repr(C)")]
unsafe extern "C" {
    fn world_enter(frame: *mut TrapFrame, entry: *mut Entry<'_>) -> u64;
}

/// Runs the guest whose state is loaded, from `frame` on, until it traps.
///
/// Traps that `fast` serves do not come out, nor do the guest's own timer and other vCPUs' SGIs, if they can simply be
/// handed on. For an interrupt comes with the cause which one was acknowledged and is not served, if any.
pub(crate) fn enter(
    frame: &mut TrapFrame,
    fast: FastPath<'_, Yield>,
    context: EntryContext<'_>,
) -> (Cause, Option<Intid>) {
    // Only an EL1 or EL0 state can be entered, whatever the frame holds: M[3:2] above EL1 would be EL2 itself.
    debug_assert!(frame.pstate & 0x1F == 0x10 || frame.pstate & 0xF <= 5);
    let mut entry = Entry { host_stack: 0, fast, context, acknowledged: None };
    // SAFETY: frame and entry are valid and exclusively ours; ERET goes to EL1 or EL0, where HCR_EL2 and stage 2
    // confine what runs; the vectors restore all that this function's caller relies on.
    let cause = match unsafe { world_enter(frame, &mut entry) } {
        SYNCHRONOUS => Cause::Synchronous,
        INTERRUPT => Cause::Interrupt,
        _ => Cause::SystemError,
    };
    (cause, entry.acknowledged)
}

/// The trap that is being served, in the hardware's registers.
struct Trapped;

impl Trap for Trapped {
    #[inline(always)]
    fn esr(&self) -> Syndrome {
        Syndrome(EsrEl2.read())
    }

    #[inline(always)]
    fn far(&self) -> u64 {
        FarEl2.read()
    }

    #[inline(always)]
    fn hpfar(&self) -> u64 {
        HpfarEl2.read()
    }

    #[inline(always)]
    fn pc(&self) -> u64 {
        ElrEl2.read()
    }

    #[inline(always)]
    fn set_pc(&mut self, pc: u64) {
        ElrEl2.write(pc);
    }

    #[inline(always)]
    fn pstate(&self) -> u64 {
        SpsrEl2.read()
    }

    #[inline(always)]
    fn sctlr(&self) -> u64 {
        SctlrEl1.read()
    }

    #[inline(always)]
    fn virtual_timer(&self) -> u64 {
        CntvCtlEl0.read()
    }
}

/// The fast path of a synchronous exception. Of the frame only X0 to X18 and X30 are true.
extern "C" fn fast_synchronous(frame: &mut TrapFrame, entry: &mut Entry<'_>) -> u64 {
    match fast::serve(
        &mut Trapped,
        &mut frame.x,
        &mut entry.fast,
        &mut entry.context.lists,
        &entry.context.siblings,
    ) {
        FastResult::Yes => SERVED,
        FastResult::No => NOT_SERVED,
        FastResult::YesInto(register) => register.into(),
    }
}

/// The fast path of a physical interrupt: the guest's own virtual timer, which is handed on, linked, for the guest to
/// end; and a kick, if it is for an SGI to this vCPU and nothing else.
extern "C" fn fast_interrupt(_: &mut TrapFrame, entry: &mut Entry<'_>) -> u64 {
    let Entry { fast, context, acknowledged, .. } = entry;
    let intid = CpuInterface::acknowledge();
    if intid == Some(gic::KICK) {
        CpuInterface::end(gic::KICK);
        return kicked(fast, context);
    }
    let timer = context.virtual_timer;
    if intid == Some(timer) && fast::give_timer(fast, SpsrEl2.read(), timer, context.lists) {
        CpuInterface::drop_priority(timer);
        return SERVED;
    }
    *acknowledged = intid;
    NOT_SERVED
}

/// This CPU is kicked. Apart, for the timer's sake, which needs fewer registers.
#[inline(never)]
fn kicked(fast: &mut FastPath<'_, Yield>, context: &mut EntryContext<'_>) -> u64 {
    let EntryContext { requests, index, siblings, lists, .. } = context;
    // An SGI and work for the devices are requested by the same bit.
    let is_served = requests
        .handle_only(*index, || !siblings.handle.devices.is_due() && fast::queue_pending_sgi(fast, lists));
    if is_served { SERVED } else { NOT_SERVED }
}

const _: () = assert!(SCRATCH_REGISTERS == 19, "the vectors save X0 to X18 and X30 for the fast path");

core::arch::global_asm!(
    include_str!("fp.S"),
    FPCR = const core::mem::offset_of!(FpRegisters, fpcr),
);

const _: () = assert!(core::mem::offset_of!(FpRegisters, v) == 0);
const _: () =
    assert!(core::mem::offset_of!(FpRegisters, fpsr) == core::mem::offset_of!(FpRegisters, fpcr) + 8);

unsafe extern "C" {
    fn fp_save(to: *mut FpRegisters);
    fn fp_load(from: *const FpRegisters);
}

/// Saves V0-V31, FPCR and FPSR. CPTR_EL2 must not trap them.
pub(crate) fn save_fp(to: &mut FpRegisters) {
    // SAFETY: writes exactly the struct, whose layout is asserted above.
    unsafe { fp_save(to) }
}

/// Loads V0-V31, FPCR and FPSR. CPTR_EL2 must not trap them.
pub(crate) fn load_fp(from: &FpRegisters) {
    // SAFETY: reads exactly the struct; EL2 itself is built without floating point.
    unsafe { fp_load(from) }
}
