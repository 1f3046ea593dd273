// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads and stores of every addressing mode on device registers, and what they leave in the registers.
//!
//! The devices are ones whose registers read back what was written: the UART's divisors, and the priorities and
//! routing of SPIs that nobody uses. Each load starts with all ones in its register, so that a missing extension
//! shows.

use core::arch::asm;

use crate::machine::Machine;
use crate::{console, cpu, gic, mmio, mmu, report};

/// UART registers that keep all 8, 16 and 6 bits written, in a row; then line control.
fn ilpr() -> u64 {
    console::uart() + 0x20
}

fn ibrd() -> u64 {
    console::uart() + 0x24
}

/// Priorities of INTIDs 64 to 95: accessible by byte and word.
fn priorities() -> u64 {
    gic::gicd() + gic::offset::IPRIORITYR + 64
}

/// Routing of INTIDs 64 and up: 64-bit registers.
fn routes() -> u64 {
    gic::gicd() + gic::offset::IROUTER + 8 * 64
}


/// Carries out a load with one register; gives that and the base afterwards.
macro_rules! load {
    ($instruction:literal, $base:expr) => {{
        let (mut value, mut base): (u64, u64) = (u64::MAX, $base);
        // SAFETY: loads from a device.
        unsafe { asm!($instruction, v = inout(reg) value, b = inout(reg) base, options(nostack)) };
        (value, base)
    }};
}

/// Carries out a load of a pair; gives both and the base afterwards.
macro_rules! load_pair {
    ($instruction:literal, $base:expr) => {{
        let (mut v, mut w, mut base): (u64, u64, u64) = (u64::MAX, u64::MAX, $base);
        // SAFETY: loads from a device.
        unsafe { asm!($instruction, v = inout(reg) v, w = inout(reg) w, b = inout(reg) base, options(nostack)) };
        (v, w, base)
    }};
}

/// Carries out a store of one or two registers; gives the base afterwards.
macro_rules! store {
    ($instruction:literal, $base:expr, $v:expr, $w:expr) => {{
        let mut base: u64 = $base;
        let (v, w): (u64, u64) = ($v, $w);
        // SAFETY: stores to a device; operands that an instruction does not name are named in the comment.
        unsafe {
            asm!($instruction, "/* {v} {w} */", v = in(reg) v, w = in(reg) w, b = inout(reg) base,
                options(nostack));
        };
        base
    }};
}

/// Carries out a load with a base and an offset register.
macro_rules! load_offset {
    ($instruction:literal, $base:expr, $offset:expr) => {{
        let mut value: u64 = u64::MAX;
        let (base, offset): (u64, u64) = ($base, $offset);
        // SAFETY: loads from a device.
        unsafe {
            asm!($instruction, v = inout(reg) value, b = in(reg) base, o = in(reg) offset, options(nostack));
        };
        value
    }};
}

/// Runs the program.
pub fn run(_machine: &Machine) {
    gic::init_distributor();
    widths();
    sign_extension();
    indexed();
    pairs();
    register_offsets();
    zero_register();
    stack_pointer();
    ordered();
    unprivileged();
    report::finish("isa");
}

/// Sets the priorities of INTIDs 64 to 71.
fn set_priorities() {
    mmio::write32(priorities(), 0x8840_2010);
    mmio::write32(priorities() + 4, 0xF8A0_0870);
}

fn widths() {
    set_priorities();
    check_eq!(load!("ldrb {v:w}, [{b}, #3]", priorities()).0, 0x88, "ldrb w");
    check_eq!(load!("ldr {v:w}, [{b}, #4]", priorities()).0, 0xF8A0_0870, "ldr w");
    check_eq!(load!("ldur {v:w}, [{b}, #-4]", priorities() + 8).0, 0xF8A0_0870, "ldur w");
    mmio::write32(ibrd(), 0x8001);
    mmio::write32(ilpr(), 0x5A);
    check_eq!(load!("ldrh {v:w}, [{b}]", ibrd()).0, 0x8001, "ldrh w");
    check_eq!(load!("ldr {v}, [{b}]", ilpr()).0, 0x8001_0000_005A, "ldr x over two registers");
    store!("strb {v:w}, [{b}, #1]", priorities(), 0xFFFF_FFC8, 0);
    check_eq!(mmio::read32(priorities()), 0x8840_C810, "strb changes one byte");
    store!("strh {v:w}, [{b}]", ibrd(), 0xFFFF_7FFE, 0);
    check_eq!(mmio::read32(ibrd()), 0x7FFE, "strh");
    store!("str {v}, [{b}]", routes(), 0x0000_0001_0004_0302, 0);
    check_eq!(mmio::read64(routes()), 0x0000_0001_0004_0302, "str x");
}

fn sign_extension() {
    set_priorities();
    mmio::write32(ibrd(), 0x8001);
    check_eq!(load!("ldrsb {v:w}, [{b}, #3]", priorities()).0, 0xFFFF_FF88, "ldrsb w");
    check_eq!(load!("ldrsb {v}, [{b}, #3]", priorities()).0, 0xFFFF_FFFF_FFFF_FF88, "ldrsb x");
    check_eq!(load!("ldrsb {v}, [{b}, #2]", priorities()).0, 0x40, "ldrsb x of a positive byte");
    check_eq!(load!("ldrsh {v:w}, [{b}]", ibrd()).0, 0xFFFF_8001, "ldrsh w");
    check_eq!(load!("ldrsh {v}, [{b}]", ibrd()).0, 0xFFFF_FFFF_FFFF_8001, "ldrsh x");
    check_eq!(load!("ldrsw {v}, [{b}, #4]", priorities()).0, 0xFFFF_FFFF_F8A0_0870, "ldrsw");
    let walked = load!("ldrsw {v}, [{b}], #-4", priorities() + 4);
    check_eq!(walked, (0xFFFF_FFFF_F8A0_0870, priorities()), "ldrsw, post-indexed");
    let walked = load!("ldrsb {v:w}, [{b}, #-1]!", priorities() + 4);
    check_eq!(walked, (0xFFFF_FF88, priorities() + 3), "ldrsb w, pre-indexed");
    let walked = load!("ldrsh {v}, [{b}], #255", ibrd());
    check_eq!(walked, (0xFFFF_FFFF_FFFF_8001, ibrd() + 255), "ldrsh x, post-indexed");
}

fn indexed() {
    set_priorities();
    check_eq!(load!("ldr {v:w}, [{b}], #4", priorities()), (0x8840_2010, priorities() + 4), "ldr w, post-indexed");
    check_eq!(load!("ldr {v:w}, [{b}, #4]!", priorities()), (0xF8A0_0870, priorities() + 4), "ldr w, pre-indexed");
    check_eq!(
        load!("ldrb {v:w}, [{b}, #-256]!", priorities() + 256),
        (0x10, priorities()),
        "ldrb w, pre-indexed, farthest back"
    );
    let mut base = priorities();
    for byte in 0..8 {
        base = store!("strb {v:w}, [{b}], #1", base, 0x10 + 8 * byte, 0);
    }
    check_eq!(base, priorities() + 8, "strb, post-indexed: the base");
    check_eq!(mmio::read32(priorities()), 0x2820_1810, "strb, post-indexed: first word");
    check_eq!(mmio::read32(priorities() + 4), 0x4840_3830, "strb, post-indexed: second word");
    let base = store!("str {v:w}, [{b}, #-8]!", priorities() + 8, 0xFFFF_FFFF_7068_6058, 0);
    check_eq!((mmio::read32(priorities()), base), (0x7068_6058, priorities()), "str w, pre-indexed");
    let base = store!("str {v}, [{b}], #16", routes(), 0x2_0001_0203, 0);
    check_eq!((mmio::read64(routes()), base), (0x2_0001_0203, routes() + 16), "str x, post-indexed");
    check_eq!(load!("ldr {v}, [{b}, #-16]!", routes() + 16), (0x2_0001_0203, routes()), "ldr x, pre-indexed");
}

/// Pairs of W go to the two halves of a 64-bit register: some machines make one access of both.
fn pairs() {
    mmio::write64(routes(), 0x3_0004_0302);
    let loaded = load_pair!("ldp {v:w}, {w:w}, [{b}]", routes());
    check_eq!(loaded, (0x4_0302, 3, routes()), "ldp w");
    let loaded = load_pair!("ldp {v:w}, {w:w}, [{b}], #-256", routes());
    check_eq!(loaded, (0x4_0302, 3, routes() - 256), "ldp w, post-indexed");
    let loaded = load_pair!("ldp {v:w}, {w:w}, [{b}, #8]!", routes() - 8);
    check_eq!(loaded, (0x4_0302, 3, routes()), "ldp w, pre-indexed");
    let loaded = load_pair!("ldnp {v:w}, {w:w}, [{b}, #-8]", routes() + 8);
    check_eq!(loaded, (0x4_0302, 3, routes() + 8), "ldnp w");
    mmio::write64(routes(), gic::ANY_CPU);
    let loaded = load_pair!("ldpsw {v}, {w}, [{b}]", routes());
    check_eq!(loaded, (0xFFFF_FFFF_8000_0000, 0, routes()), "ldpsw");
    let loaded = load_pair!("ldpsw {v}, {w}, [{b}], #8", routes());
    check_eq!(loaded, (0xFFFF_FFFF_8000_0000, 0, routes() + 8), "ldpsw, post-indexed");

    let base = store!("stp {v:w}, {w:w}, [{b}], #8", routes(), 0xFFFF_FFFF_0002_0100, 2);
    check_eq!((mmio::read64(routes()), base), (0x2_0002_0100, routes() + 8), "stp w, post-indexed");
    let base = store!("stp {v}, {w}, [{b}, #-16]!", routes() + 16, 0x3_0000_0001, 0x4_0005_0607);
    check_eq!((mmio::read64(routes()), mmio::read64(routes() + 8)), (0x3_0000_0001, 0x4_0005_0607), "stp x");
    check_eq!(base, routes(), "stp x, pre-indexed: the base");
    let loaded = load_pair!("ldp {v}, {w}, [{b}, #-16]", routes() + 16);
    check_eq!(loaded, (0x3_0000_0001, 0x4_0005_0607, routes() + 16), "ldp x");
    store!("stnp {v}, {w}, [{b}]", routes(), 0x7, 0x9);
    check_eq!((mmio::read64(routes()), mmio::read64(routes() + 8)), (7, 9), "stnp x");
}

fn register_offsets() {
    set_priorities();
    check_eq!(load_offset!("ldr {v:w}, [{b}, {o}]", priorities() - 8, 12), 0xF8A0_0870, "ldr w, [x, x]");
    check_eq!(load_offset!("ldr {v:w}, [{b}, {o}, lsl #2]", priorities(), 1), 0xF8A0_0870, "ldr w, [x, x, lsl]");
    let minus_one = 0x1234_5678_FFFF_FFFF;
    check_eq!(
        load_offset!("ldr {v:w}, [{b}, {o:w}, sxtw #2]", priorities() + 8, minus_one),
        0xF8A0_0870,
        "ldr w, [x, w, sxtw]"
    );
    check_eq!(
        load_offset!("ldrsb {v}, [{b}, {o:w}, uxtw]", priorities(), 0xFFFF_FFFF_0000_0003),
        0xFFFF_FFFF_FFFF_FF88,
        "ldrsb x, [x, w, uxtw]"
    );
    mmio::write64(routes(), 0xB);
    check_eq!(load_offset!("ldr {v}, [{b}, {o}, sxtx #3]", routes() + 8, u64::MAX), 0xB, "ldr x, [x, x, sxtx]");
}

fn zero_register() {
    set_priorities();
    store!("str wzr, [{b}]", priorities(), 1, 1);
    check_eq!(mmio::read32(priorities()), 0, "str wzr");
    mmio::write64(routes(), 5);
    let base = store!("str xzr, [{b}], #8", routes(), 1, 1);
    check_eq!((mmio::read64(routes()), base), (0, routes() + 8), "str xzr, post-indexed");
    set_priorities();
    mmio::write64(routes(), 0x7);
    let base = store!("stp wzr, {w:w}, [{b}], #8", routes(), 1, 4);
    check_eq!((mmio::read64(routes()), base), (4 << 32, routes() + 8), "stp wzr, w");
    check_eq!(load!("ldr wzr, [{b}], #4 /* {v} */", priorities()), (u64::MAX, priorities() + 4), "ldr wzr");
    let loaded = load_pair!("ldp wzr, {w:w}, [{b}] /* {v} */", routes());
    check_eq!(loaded, (u64::MAX, 4, routes()), "ldp wzr, w");
    let loaded = load_pair!("ldp {v:w}, wzr, [{b}] /* {w} */", routes());
    check_eq!(loaded, (0, u64::MAX, routes()), "ldp w, wzr");
}

/// The base is SP: interrupts are off meanwhile, since an exception would use it as a stack.
fn stack_pointer() {
    set_priorities();
    let (mut value, mut base) = (u64::MAX, priorities());
    // SAFETY: SP is restored before anything uses it, and nothing interrupts.
    cpu::without_interrupts(|| unsafe {
        asm!("mov {old}, sp", "mov sp, {b}", "ldr {v:w}, [sp], #16", "mov {b}, sp", "mov sp, {old}",
            old = out(reg) _, v = inout(reg) value, b = inout(reg) base);
    });
    check_eq!((value, base), (0x8840_2010, priorities() + 16), "ldr w, [sp], #16");
    mmio::write64(routes(), 0x3_0004_0302);
    let (mut v, mut w, mut base) = (u64::MAX, u64::MAX, routes() - 16);
    // SAFETY: as above.
    cpu::without_interrupts(|| unsafe {
        asm!("mov {old}, sp", "mov sp, {b}", "ldp {v:w}, {w:w}, [sp, #16]!", "mov {b}, sp", "mov sp, {old}",
            old = out(reg) _, v = inout(reg) v, w = inout(reg) w, b = inout(reg) base);
    });
    check_eq!((v, w, base), (0x4_0302, 3, routes()), "ldp w, w, [sp, #16]!");
}

fn ordered() {
    set_priorities();
    check_eq!(load!("ldar {v:w}, [{b}]", priorities()).0, 0x8840_2010, "ldar w");
    check_eq!(load!("ldarb {v:w}, [{b}]", priorities() + 3).0, 0x88, "ldarb");
    store!("stlr {v:w}, [{b}]", priorities(), 0x3830_2820, 0);
    check_eq!(mmio::read32(priorities()), 0x3830_2820, "stlr w");
    store!("stlr {v}, [{b}]", routes(), 0xA, 0);
    check_eq!(load!("ldar {v}, [{b}]", routes()).0, 0xA, "ldar x");
}

/// LDTR and STTR act as EL0, which may only use the window.
fn unprivileged() {
    mmu::map_window(0, mmu::MemoryKind::Device);
    let window = mmu::WINDOW + priorities();
    set_priorities();
    check_eq!(load!("ldtr {v:w}, [{b}, #4]", window).0, 0xF8A0_0870, "ldtr w");
    check_eq!(load!("ldtrsb {v}, [{b}, #3]", window).0, 0xFFFF_FFFF_FFFF_FF88, "ldtrsb x");
    store!("sttr {v:w}, [{b}]", window, 0x1010_1010, 0);
    check_eq!(mmio::read32(priorities()), 0x1010_1010, "sttr w");
}
