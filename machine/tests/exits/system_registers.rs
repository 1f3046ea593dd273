// SPDX-License-Identifier: MIT OR Apache-2.0
//! MSR, MRS, system instructions, and what AArch32 calls coprocessors.

use proptest::prelude::*;
use vambrace_cpu::exit::Exit;
use vambrace_cpu::syndrome::{InstructionLength, Syndrome, class};
use vambrace_cpu::sysreg::SysReg;
use vambrace_ids::VcpuId;
use vambrace_interrupts::{Intid, ListRegister, VcpuSet};
use vambrace_machine::{Resume, handle, layout};

use crate::bench::{Bench, CLEAN_STEP, EL1H, RAM_SIZE, VECTORS, syndrome};

const GICD_CTLR: u64 = layout::GICD.start().0;
const SGI_BASE: u64 = layout::GICR.0 + 0x1_0000;
const ISENABLER: u64 = 0x100;
const IGROUPR: u64 = 0x080;

/// The INTIDs in the list registers of a vCPU, after a flush.
fn listed(bench: &mut Bench, vcpu: usize) -> Vec<Intid> {
    let (id, machine) = (bench.vcpus[vcpu].id, bench.host.cores[vcpu].interface.clone());
    let mut vm = bench.vm.lock();
    let _ = vm.gic.sync(id, &machine);
    let interface = vm.gic.flush(id).expect("it exists").clone();
    bench.host.cores[vcpu].interface = interface.clone();
    interface.lr.iter().take(interface.used.into()).map(|lr| ListRegister(*lr).intid()).collect()
}

#[test]
fn msr_icc_sgi1r_xzr_is_harmless() {
    let mut bench = Bench::new(2);
    let pc = bench.frame().pc;
    for register in
        [SysReg::ICC_SGI1R_EL1, SysReg::ICC_ASGI1R_EL1, SysReg::ICC_SGI0R_EL1, SysReg::ICC_DIR_EL1]
    {
        assert_eq!(bench.msr(register, 31), Resume::Guest);
    }
    assert_eq!(bench.frame().pc, pc + 16);
    assert!(bench.host.notified.is_empty());
}

#[test]
fn an_sgi_reaches_the_eighteenth_cpu() {
    let mut bench = Bench::new(20);
    bench.write(GICD_CTLR, 0b10);
    let redistributor = SGI_BASE + 17 * layout::GICR_STRIDE;
    bench.write(redistributor + IGROUPR, u32::MAX.into());
    bench.write(redistributor + ISENABLER, 1 << 3);
    bench.host.notified = VcpuSet::new();
    // SGI 3 to affinity 0.0.1.1.
    bench.frame().x[9] = 3 << 24 | 1 << 16 | 1 << 1;
    assert_eq!(bench.msr(SysReg::ICC_SGI1R_EL1, 9), Resume::Guest);
    assert_eq!(bench.host.notified.iter().collect::<Vec<_>>(), [VcpuId::new(17)]);
    assert_eq!(listed(&mut bench, 17), [Intid::new(3)]);
    assert_eq!(listed(&mut bench, 1), []);
}

#[test]
fn unknown_id_bits_are_hidden() {
    let mut bench = Bench::new(1);
    let mut read = |register| {
        assert_eq!(bench.mrs(register, 4), Resume::Guest);
        bench.frame().x[4]
    };
    let field = |value: u64, lsb: u32| value >> lsb & 0xF;
    let pfr0 = read(SysReg::ID_AA64PFR0_EL1);
    // SVE, MPAM, AMU, RME; EL2 and EL3.
    assert!([32, 40, 44, 52, 8, 12].into_iter().all(|lsb| field(pfr0, lsb) == 0), "{pfr0:#x}");
    let pfr1 = read(SysReg::ID_AA64PFR1_EL1);
    // MTE, SME, GCS and what comes after.
    assert!([8, 24, 40, 44].into_iter().all(|lsb| field(pfr1, lsb) == 0), "{pfr1:#x}");
    let dfr0 = read(SysReg::ID_AA64DFR0_EL1);
    // PMU, SPE, trace, BRBE.
    assert!([8, 32, 40, 44, 52].into_iter().all(|lsb| matches!(field(dfr0, lsb), 0 | 0xF)), "{dfr0:#x}");
    assert_eq!((read(SysReg::ID_AA64ZFR0_EL1), read(SysReg::ID_AA64SMFR0_EL1)), (0, 0));
    // Nested virtualisation, and registers that have no name yet.
    assert_eq!(field(read(SysReg::ID_AA64MMFR2_EL1), 24), 0);
    assert_eq!(read(SysReg::ID_AA64MMFR4_EL1), 0);
    assert_eq!(read(SysReg::new(3, 0, 0, 7, 7)), 0);
}

#[test]
fn hidden_features_are_undefined_not_fatal() {
    let mut bench = Bench::new(1);
    // SVE, SME, pointer authentication, LD64B, TSTART, MOPS, GCS, ERET, 128-bit registers, and classes to come.
    let classes =
        [class::SVE, class::SME, class::POINTER_AUTH, class::LS64, class::TSTART, class::MOPS, class::GCS];
    for class in classes.into_iter().chain([class::ERET, class::SYSTEM_128, 0x02, 0x1F, 0x3F]) {
        assert_eq!(bench.exit(syndrome(class, 0x1FF_FFFF)), Resume::Guest, "{class:#x}");
        assert!(bench.took(class::UNKNOWN), "{class:#x}");
    }
    for register in [SysReg::ZCR_EL1, SysReg::SMCR_EL1, SysReg::PMCR_EL0, SysReg::TRFCR_EL1, SysReg::RNDR] {
        assert_eq!(bench.mrs(register, 0), Resume::Guest);
        assert!(bench.took(class::UNKNOWN), "{register}");
    }
}

#[test]
fn el0_cannot_reach_el1s_registers() {
    let mut bench = Bench::new(1);
    bench.frame().pstate = 0;
    for register in [SysReg::ICC_SGI1R_EL1, SysReg::DC_CISW, SysReg::ACTLR_EL1, SysReg::OSLAR_EL1] {
        assert_eq!(bench.msr(register, 0), Resume::Guest);
        assert_eq!(bench.frame().pc, VECTORS + 0x400);
        assert!(bench.took(class::UNKNOWN), "{register}");
    }
    assert_eq!(bench.host.cleaned, (0, 0));
}

#[test]
fn the_physical_timer_raises_its_interrupt() {
    let mut bench = Bench::new(2);
    bench.write(GICD_CTLR, 0b10);
    bench.write(SGI_BASE + IGROUPR, u32::MAX.into());
    bench.write(SGI_BASE + ISENABLER, 1 << layout::PHYSICAL_TIMER_INTID.get());
    bench.frame().x[1] = 1;
    bench.frame().x[2] = bench.host.now + 100;
    assert_eq!(bench.msr(SysReg::CNTP_CVAL_EL0, 2), Resume::Guest);
    assert_eq!(bench.msr(SysReg::CNTP_CTL_EL0, 1), Resume::Guest);
    assert!(bench.host.notified.contains(VcpuId::new(0)), "EL2's own timer has to follow");
    assert_eq!(listed(&mut bench, 0), []);
    assert_eq!(bench.vcpus[0].physical_timer.deadline(), Some(bench.host.now + 100));
    bench.host.now += 100;
    let _ = bench.vm.lock().update_physical_timer_line(&bench.vcpus[0], bench.host.now);
    assert_eq!(listed(&mut bench, 0), [layout::PHYSICAL_TIMER_INTID]);
    // Reads: ISTATUS, and no time left.
    assert_eq!(bench.mrs(SysReg::CNTP_CTL_EL0, 3), Resume::Guest);
    assert_eq!(bench.mrs(SysReg::CNTP_TVAL_EL0, 4), Resume::Guest);
    assert_eq!(bench.mrs(SysReg::CNTPCT_EL0, 5), Resume::Guest);
    let now = bench.host.now;
    assert_eq!(bench.frame().x[3..6], [0b101, 0, now]);
    // Masked, the line goes down at once.
    bench.frame().x[1] = 0b11;
    assert_eq!(bench.msr(SysReg::CNTP_CTL_EL0, 1), Resume::Guest);
    assert_eq!(listed(&mut bench, 0), []);
}

#[test]
fn aarch32_programs_have_the_physical_timer_too() {
    let mut bench = Bench::new(1);
    bench.frame().pstate = 0x10;
    bench.frame().x[4] = 0xAAAA_AAAA_1111_2222;
    bench.frame().x[5] = 0xBBBB_BBBB_3333_4444;
    let always = 1 << 24 | 0xE << 20;
    // MCRR p15, 2, R4, R5, c14.
    let write = syndrome(class::CP15_64, always | 2 << 16 | 5 << 10 | 4 << 5 | 14 << 1);
    let pc = bench.frame().pc;
    assert_eq!(bench.exit(write), Resume::Guest);
    assert_eq!(bench.vcpus[0].physical_timer.compare(), 0x3333_4444_1111_2222);
    // MRRC p15, 2, R6, R7, c14.
    assert_eq!(
        bench.exit(syndrome(class::CP15_64, always | 2 << 16 | 7 << 10 | 6 << 5 | 14 << 1 | 1)),
        Resume::Guest
    );
    assert_eq!(bench.frame().x[6..8], [0x1111_2222, 0x3333_4444]);
    assert_eq!(bench.frame().pc, pc + 8);
    // What no VM has is UNDEFINED; the vector is that of AArch32.
    assert_eq!(bench.exit(syndrome(class::CP15_32, always | 15 << 10)), Resume::Guest);
    assert_eq!(bench.frame().pc, VECTORS + 0x600);
    assert!(bench.took(class::UNKNOWN));
}

#[test]
fn an_instruction_whose_condition_fails_does_nothing() {
    let mut bench = Bench::new(1);
    // EQ, and Z is clear.
    bench.frame().pstate = 0x10;
    let never = 1 << 24;
    let pc = bench.frame().pc;
    for (class, iss) in [
        (class::CP15_32, never | 15 << 10),
        (class::CP15_64, never | 2 << 16 | 14 << 1),
        (class::WAIT, never),
    ] {
        assert_eq!(bench.exit(syndrome(class, iss)), Resume::Guest);
    }
    assert_eq!((bench.frame().pc, bench.vcpus[0].physical_timer.compare()), (pc + 12, 0));
    // A T32 instruction is shorter.
    bench.frame().pstate = 0x30;
    assert_eq!(bench.exit(Syndrome::new(class::WAIT, InstructionLength::Two, never)), Resume::Guest);
    assert_eq!(bench.frame().pc, pc + 14);
    // Z is set.
    bench.frame().pstate = 0x10 | 1 << 30;
    assert_eq!(bench.exit(syndrome(class::WAIT, never)), Resume::Wait(None));
}

#[test]
fn waits_say_until_when() {
    let mut bench = Bench::new(1);
    bench.frame().x[8] = 12345;
    let pc = bench.frame().pc;
    assert_eq!(bench.exit(syndrome(class::WAIT, 0)), Resume::Wait(None));
    assert_eq!(bench.exit(syndrome(class::WAIT, 8 << 5 | 1 << 2 | 0b10)), Resume::Wait(Some(12345)));
    assert_eq!(bench.exit(syndrome(class::WAIT, 1)), Resume::Yield);
    assert_eq!(bench.exit(syndrome(class::WAIT, 31 << 5 | 1 << 2 | 0b11)), Resume::Yield);
    assert_eq!(bench.frame().pc, pc + 16);
}

/// All of a loop over sets and ways. Returns the exits it took.
fn clean_all(bench: &mut Bench, register: SysReg) -> usize {
    let mut exits = 0;
    for operand in 0..64 {
        bench.frame().x[2] = operand << 6;
        let pc = bench.frame().pc;
        while bench.frame().pc == pc {
            assert_eq!(bench.msr(register, 2), Resume::Guest);
            bench.host.now += 10;
            exits += 1;
        }
    }
    exits
}

#[test]
fn a_loop_over_sets_and_ways_cleans_the_memory_once() {
    let mut bench = Bench::new(1);
    let steps = RAM_SIZE / CLEAN_STEP;
    assert_eq!(clean_all(&mut bench, SysReg::DC_CISW) as u64, 63 + steps);
    assert_eq!(bench.host.cleaned, (RAM_SIZE, steps));
    // The next loop does it again: by its first operand, by another operation, after a pause.
    clean_all(&mut bench, SysReg::DC_CISW);
    clean_all(&mut bench, SysReg::DC_CSW);
    assert_eq!(bench.host.cleaned, (3 * RAM_SIZE, 3 * steps));
    bench.host.now += 1_000_000_000;
    bench.frame().x[2] = 5 << 6;
    assert_eq!(bench.msr(SysReg::DC_CSW, 2), Resume::Guest);
    assert_eq!(bench.host.cleaned.1, 3 * steps + 1);
    // A clock that goes back is no catastrophe.
    clean_all(&mut bench, SysReg::DC_ISW);
    bench.host.now = 0;
    bench.frame().x[2] = 5 << 6;
    assert_eq!(bench.msr(SysReg::DC_ISW, 2), Resume::Guest);
}

#[test]
fn the_os_lock_is_each_cpus_own() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.mrs(SysReg::OSLSR_EL1, 0), Resume::Guest);
    assert_eq!(bench.msr(SysReg::OSLAR_EL1, 31), Resume::Guest);
    assert_eq!(bench.mrs(SysReg::OSLSR_EL1, 1), Resume::Guest);
    assert_eq!(bench.frame().x[..2], [0b1010, 0b1000]);
}

/// While the OS Lock is locked no debug exception comes, whatever is in the registers; and all that is written is there.
#[test]
fn a_locked_os_lock_keeps_debug_exceptions_out() {
    const MDE_AND_SS: u64 = 1 << 15 | 1;
    const KDE: u64 = 1 << 13;
    let mut bench = Bench::new(1);
    let write = |bench: &mut Bench, register: SysReg, value: u64| {
        bench.frame().x[1] = value;
        assert_eq!(bench.msr(register, 1), Resume::Guest);
        assert_eq!(bench.mrs(SysReg::MDSCR_EL1, 2), Resume::Guest);
        (bench.frame().x[2], bench.el1().mdscr)
    };
    // Out of reset it is locked.
    let all = MDE_AND_SS | KDE;
    assert_eq!(write(&mut bench, SysReg::MDSCR_EL1, all), (all, KDE));
    assert_eq!(write(&mut bench, SysReg::OSLAR_EL1, 0), (all, all));
    assert_eq!(write(&mut bench, SysReg::MDSCR_EL1, 1), (1, 1));
    assert_eq!(write(&mut bench, SysReg::OSLAR_EL1, 1), (1, 0));
    // Locked twice, written, and opened.
    assert_eq!(write(&mut bench, SysReg::OSLAR_EL1, 1), (1, 0));
    assert_eq!(write(&mut bench, SysReg::MDSCR_EL1, all), (all, KDE));
    assert_eq!(write(&mut bench, SysReg::OSLAR_EL1, 0), (all, all));
}

#[test]
fn floating_point_is_lent() {
    let mut bench = Bench::new(1);
    let before = bench.frame().clone();
    assert_eq!(bench.exit(syndrome(class::FP, 0)), Resume::LoadFp);
    assert_eq!(*bench.frame(), before);
}

#[test]
fn reads_into_xzr_are_dropped() {
    let mut bench = Bench::new(1);
    let x = bench.frame().x;
    for register in [SysReg::MIDR_EL1, SysReg::CNTPCT_EL0, SysReg::OSLSR_EL1, SysReg::ICC_SRE_EL1] {
        assert_eq!(bench.mrs(register, 31), Resume::Guest);
    }
    assert_eq!(bench.frame().x, x);
}

/// Whatever register tells the guest that its physical timer has fired, afterwards all of them do, and the interrupt is
/// there.
#[test]
fn a_timer_that_is_seen_to_have_fired_has_interrupted() {
    const TIMER: u64 = 1 << layout::PHYSICAL_TIMER_INTID.get();
    let set_up = || {
        let mut bench = Bench::new(1);
        bench.write(GICD_CTLR, 0b10);
        bench.write(SGI_BASE + IGROUPR, u32::MAX.into());
        bench.write(SGI_BASE + ISENABLER, TIMER);
        bench.frame().x[1] = bench.host.now + 100;
        assert_eq!(bench.msr(SysReg::CNTP_CVAL_EL0, 1), Resume::Guest);
        bench.frame().x[1] = 1;
        assert_eq!(bench.msr(SysReg::CNTP_CTL_EL0, 1), Resume::Guest);
        assert_eq!(listed(&mut bench, 0), []);
        // Time passes, and nobody has looked at the timer since.
        bench.host.now += 100;
        bench.host.notified = VcpuSet::new();
        bench
    };
    let registers = [SysReg::CNTP_CTL_EL0, SysReg::CNTP_TVAL_EL0, SysReg::CNTP_CVAL_EL0, SysReg::CNTPCT_EL0];
    for register in registers {
        let mut bench = set_up();
        assert_eq!(bench.mrs(register, 4), Resume::Guest);
        assert!(bench.host.notified.contains(VcpuId::new(0)), "{register}");
        assert_eq!(listed(&mut bench, 0), [layout::PHYSICAL_TIMER_INTID], "{register}");
        assert_eq!(bench.read(SGI_BASE + 0x200), TIMER, "{register}");
    }
    // And the interrupt controller's own registers.
    let mut bench = set_up();
    assert_eq!(bench.read(SGI_BASE + 0x200), TIMER);
    assert_eq!(listed(&mut bench, 0), [layout::PHYSICAL_TIMER_INTID]);
    // One that has not fired, or is masked, or off, interrupts nobody.
    for (control, late) in [(1, 99), (3, 100), (0, 100)] {
        let mut bench = set_up();
        bench.host.now -= 100;
        bench.frame().x[1] = control;
        assert_eq!(bench.msr(SysReg::CNTP_CTL_EL0, 1), Resume::Guest);
        bench.host.notified = VcpuSet::new();
        bench.host.now += late;
        for register in registers {
            assert_eq!(bench.mrs(register, 4), Resume::Guest);
        }
        assert!(bench.host.notified.is_empty(), "{control} after {late}");
        assert_eq!(bench.read(SGI_BASE + 0x200), 0, "{control} after {late}");
    }
}

/// `mrc p14, 0, R0, c1, c0, 0` and its neighbours, of a program at EL0: zero, as where there is no hypervisor.
#[test]
fn user_mode_may_ask_where_the_debug_registers_are() {
    let mut bench = Bench::new(1);
    bench.frame().pstate = 0x10;
    let always = 1 << 24 | 0xE << 20;
    for (class, iss) in [
        (class::CP14_32, 1 << 10),
        (class::CP14_32, 2 << 10),
        (class::CP14_64, 1 << 10 | 1 << 1),
        (class::CP14_64, 1 << 10 | 2 << 1),
    ] {
        bench.frame().x[..2].copy_from_slice(&[7, 7]);
        let pc = bench.frame().pc;
        assert_eq!(bench.exit(syndrome(class, always | iss | 1)), Resume::Guest);
        let other = if class == class::CP14_64 { 0 } else { 7 };
        assert_eq!(
            (bench.frame().pc, bench.frame().x[0], bench.frame().x[1]),
            (pc + 4, 0, other),
            "{iss:#x}"
        );
        // They are read only.
        assert_eq!(bench.exit(syndrome(class, always | iss)), Resume::Guest);
        assert!(bench.took(class::UNKNOWN), "{iss:#x}");
    }
    let id = bench.vm.lock().id_registers.debug_id();
    assert_eq!(bench.exit(syndrome(class::CP14_32, always | 1)), Resume::Guest);
    assert_eq!(bench.frame().x[0], id);
    assert_eq!(bench.exit(syndrome(class::CP14_32, always)), Resume::Guest);
    assert!(bench.took(class::UNKNOWN));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    /// Each encoding either steps over the instruction or is UNDEFINED, and only set/way needs another exit.
    #[test]
    fn any_system_register_is_served_or_undefined(iss in 0u32..1 << 22, operand: u64, mode in 0usize..3) {
        let mut bench = Bench::new(2);
        bench.frame().pstate = [0, 4, EL1H][mode];
        bench.frame().x = [operand; 31];
        let before = bench.frame().clone();
        prop_assert_eq!(bench.exit(syndrome(class::SYSTEM, iss)), Resume::Guest);
        let is_undefined = bench.taken_syndrome().is_some_and(|syndrome| syndrome.class() == class::UNKNOWN);
        let stays = bench.frame().pc == before.pc && bench.host.cleaned.1 == 1;
        prop_assert!(is_undefined || stays || bench.frame().pc == before.pc + 4);
        if is_undefined {
            prop_assert_eq!(bench.el1().elr, before.pc);
            prop_assert_eq!(bench.frame().x, before.x);
        }
    }

    #[test]
    fn any_coprocessor_access_is_served_or_undefined(iss in 0u32..1 << 25, which in 0usize..6, flags in 0u64..16) {
        let classes =
            [class::CP15_32, class::CP15_64, class::CP14_32, class::CP14_64, class::CP14_MEMORY, class::VMRS];
        let mut bench = Bench::new(1);
        bench.frame().pstate = 0x10 | flags << 28;
        let pc = bench.frame().pc;
        let exit = Exit::decode(syndrome(classes[which], iss).0, 0, 0);
        let condition = match exit {
            Exit::Coprocessor(access) => bench.frame().condition_holds(access.syndrome),
            _ => unreachable!(),
        };
        prop_assert_eq!(handle(&bench.vm, &mut bench.vcpus[0], exit, &mut bench.host), Resume::Guest);
        let stepped = bench.frame().pc == pc + 4;
        prop_assert!(stepped || condition && bench.frame().pstate & 0x1F == 5);
    }
}

#[test]
fn debug_registers_are_served_and_those_that_are_not_there_are_undefined() {
    let mut bench = Bench::new(1);
    let (value, control) = (SysReg::new(2, 0, 0, 5, 4), SysReg::new(2, 0, 0, 5, 5));
    for (register, written) in [(value, 0x4000_1000), (control, 0x1E7), (SysReg::MDSCR_EL1, 1 << 15)] {
        let pc = bench.frame().pc;
        bench.frame().x[3] = written;
        assert_eq!(bench.msr(register, 3), Resume::Guest);
        assert_eq!(bench.mrs(register, 4), Resume::Guest);
        assert_eq!((bench.frame().x[4], bench.frame().pc), (written, pc + 8), "{register}");
    }
    // What is around them is nobody's: it reads as zero, whatever was written.
    for register in [SysReg::DBGCLAIMSET_EL1, SysReg::OSDTRTX_EL1, SysReg::OSECCR_EL1, SysReg::MDCCINT_EL1] {
        bench.frame().x[3] = u64::MAX;
        assert_eq!(bench.msr(register, 3), Resume::Guest);
        assert_eq!(bench.mrs(register, 4), Resume::Guest);
        assert_eq!(bench.frame().x[4], 0, "{register}");
    }
    assert_eq!(bench.mrs(SysReg::new(2, 0, 0, 6, 4), 4), Resume::Guest);
    assert_eq!(bench.frame().pc, VECTORS + 0x200, "UNDEFINED: the machine has six");
}
