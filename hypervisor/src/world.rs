// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way into a guest and back: one function that returns when the guest traps.

use vambrace_cpu::registers::{FpRegisters, Frame};

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

core::arch::global_asm!(
    include_str!("world.S"),
    PC = const core::mem::offset_of!(Frame, pc),
    SYNCHRONOUS = const SYNCHRONOUS,
    INTERRUPT = const INTERRUPT,
    SERROR = const SERROR,
    EMERGENCY_STACK_SIZE = const crate::panic::EMERGENCY_STACK_SIZE,
    emergency_stack = sym crate::panic::EMERGENCY_STACK,
    el2_fault = sym crate::panic::el2_fault,
);

const _: () = assert!(core::mem::offset_of!(Frame, x) == 0, "the assembly addresses Xn at 8 * n");
const _: () = assert!(core::mem::offset_of!(Frame, pstate) == core::mem::offset_of!(Frame, pc) + 8);

unsafe extern "C" {
    fn world_enter(frame: *mut Frame) -> u64;
}

/// Runs the guest whose state is loaded, from `frame` on, until it traps.
pub(crate) fn enter(frame: &mut Frame) -> Cause {
    // Only an EL1 or EL0 state can be entered, whatever the frame holds: M[3:2] above EL1 would be EL2 itself.
    debug_assert!(frame.pstate & 0x1F == 0x10 || frame.pstate & 0xF <= 5);
    // SAFETY: the frame is valid and exclusively ours; ERET goes to EL1 or EL0, where HCR_EL2 and stage 2
    // confine what runs; the vectors restore all that this function's caller relies on.
    match unsafe { world_enter(frame) } {
        SYNCHRONOUS => Cause::Synchronous,
        INTERRUPT => Cause::Interrupt,
        _ => Cause::SystemError,
    }
}

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
