// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults: what a guest is told of them, and when it has crashed.

use proptest::prelude::*;
use vambrace_cpu::power::CpuEntry;
use vambrace_cpu::pstate::Endianness;
use vambrace_cpu::syndrome::{FaultStatus, InstructionLength, Syndrome, class};
use vambrace_ids::VcpuId;
use vambrace_machine::devices::Device;
use vambrace_machine::vcpu::CrashCause;
use vambrace_machine::{Lifecycle, Resume, StopReason, layout, report};
use vambrace_memory::Ipa;

use crate::access::{PERMISSION, TRANSLATION, iss, moves};
use crate::bench::{Bench, CODE, EL1H, VECTORS, syndrome};

/// Translation with a 4 KiB granule and 39 bits of address: three levels, from level 1 on.
const TCR: u64 = 25;
const TABLES: u64 = layout::RAM.0 + 0x4000;
const TABLE: u64 = 0b11;
/// Access flag, EL1 only, read and write.
const PAGE: u64 = 1 << 10 | 0b11;

/// Turns translation on: a table of each level, all of the level below at index 0.
fn map(bench: &mut Bench, pages: &[(u64, u64)]) {
    let level1 = TABLES;
    let (level2, level3) = (TABLES + 0x1000, TABLES + 0x2000);
    bench.host.ram.poke(level1, &(level2 | TABLE).to_le_bytes());
    bench.host.ram.poke(level2, &(level3 | TABLE).to_le_bytes());
    for (va, ipa) in pages {
        bench.host.ram.poke(level3 + (va >> 12) * 8, &(ipa | PAGE).to_le_bytes());
    }
    let el1 = bench.el1();
    (el1.ttbr0, el1.tcr, el1.sctlr) = (level1, TCR, el1.sctlr | 1);
}

fn fetch_abort(bench: &mut Bench, iss: u32, at: u64) -> Resume {
    let esr = syndrome(class::INSTRUCTION_ABORT_LOWER, iss);
    bench.exit_of(0, esr.0, at, at >> 12 << 4)
}

#[test]
fn instruction_abort_and_isv0_never_end_the_hypervisor() {
    let mut bench = Bench::new(1);
    bench.frame().pc = 0x1234_5678;
    assert_eq!(fetch_abort(&mut bench, TRANSLATION, 0x1234_5678), Resume::Guest);
    assert_eq!(bench.taken_syndrome().map(|taken| taken.iss()), Some(0x10));
    assert_eq!((bench.el1().far, bench.el1().elr), (0x1234_5678, 0x1234_5678));
    assert!(bench.took(class::INSTRUCTION_ABORT_SAME));
    // Each status, with and without S1PTW; and data aborts of all kinds with ISV = 0.
    for status in 0..0x40 {
        for walk in [0, iss::S1PTW] {
            bench.frame().pc = 0x1234_5678;
            assert_eq!(fetch_abort(&mut bench, walk | status, 0x1234_5678), Resume::Guest);
            assert!(bench.took(class::INSTRUCTION_ABORT_SAME));
            for kind in [0, iss::WNR] {
                assert_eq!(bench.data_abort(walk | kind | status, 0x5000), Resume::Guest);
                assert!(bench.took(class::DATA_ABORT_SAME));
            }
        }
    }
    let first = "vCPU 0: fetch of 0x12345678, where it has nothing";
    assert_eq!(bench.host.guest_errors.lines().next(), Some(first));
}

#[test]
fn a_pair_may_lie_on_two_devices() {
    let mut bench = Bench::new(1);
    map(&mut bench, &[(0x1000, CODE), (0x8000, Device::Pl011.base().0), (0x9000, Device::Pl031.base().0)]);
    bench.frame().pc = 0x1000;
    bench.frame().x[10] = 0x8FFC;
    // LDP W3, W4, [X10]: PCellID3 of the UART, and the clock.
    bench.host.ram.poke(CODE, &0x2940_1143_u32.to_le_bytes());
    for (va, ipa) in [(0x8FFC, Device::Pl011.base().0 + 0xFFC), (0x9000, Device::Pl031.base().0)] {
        bench.frame().pc = 0x1000;
        bench.frame().x[3..5].copy_from_slice(&[0, 0]);
        assert_eq!(bench.data_abort_at(TRANSLATION, va, ipa), Resume::Guest);
        let seconds = bench.host.seconds;
        assert_eq!(bench.frame().x[3..5], [0xB1, seconds], "faulted at {va:#x}");
    }
    // The second page is not mapped: nothing is loaded.
    bench.host.ram.poke(TABLES + 0x2000 + 9 * 8, &[0; 8]);
    bench.frame().pc = 0x1000;
    bench.frame().x[3] = 1;
    assert_eq!(bench.data_abort_at(TRANSLATION, 0x8FFC, Device::Pl011.base().0 + 0xFFC), Resume::Guest);
    assert!(bench.took(class::DATA_ABORT_SAME));
    assert_eq!(bench.frame().x[3], 1);
}

#[test]
fn an_instruction_is_read_as_its_own_level_may() {
    let execute_never_at_el0 = 1 << 54;
    let mut bench = Bench::new(1);
    map(&mut bench, &[(0x1000, CODE), (0x2000, CODE | execute_never_at_el0)]);
    bench.host.ram.poke(CODE, &0x2940_1143_u32.to_le_bytes());
    bench.frame().x[10] = Device::Pl011.base().0 + 0xFE0;
    for (pstate, pc, is_readable) in [(EL1H, 0x2000, true), (0, 0x1000, true), (0, 0x2000, false)] {
        (bench.frame().pstate, bench.frame().pc) = (pstate, pc);
        let va = Device::Pl011.base().0 + 0xFE0;
        assert_eq!(bench.data_abort_at(TRANSLATION, va, va), Resume::Guest);
        assert_eq!(bench.frame().pc == pc + 4, is_readable, "PSTATE {pstate:#x}, PC {pc:#x}");
    }
}

#[test]
fn a_walk_to_nowhere_is_an_external_abort_of_its_level() {
    let nowhere = 0x2000_0000;
    for (level, entry) in [(1, None), (2, Some(TABLES)), (3, Some(TABLES + 0x1000))] {
        let mut bench = Bench::new(1);
        map(&mut bench, &[(0x8000, Device::Pl011.base().0)]);
        match entry {
            None => bench.el1().ttbr0 = nowhere,
            Some(entry) => bench.host.ram.poke(entry, &(nowhere | TABLE).to_le_bytes()),
        }
        // Stage 2's own level, here 0 to 2, is not what the guest wants to know.
        let stage2 = 0x04 + 3 - level;
        assert_eq!(bench.data_abort_at(iss::S1PTW | iss::WNR | stage2, 0x8018, nowhere), Resume::Guest);
        let taken = bench.taken_syndrome().expect("an exception");
        assert_eq!(taken.fault_status(), FaultStatus::ExternalOnWalk(level as i8));
        assert_ne!(taken.iss() & iss::WNR, 0);
        assert_eq!(bench.el1().far, 0x8018);
        assert!(bench.took(class::DATA_ABORT_SAME));
        bench.frame().pc = 0x8018;
        assert_eq!(
            bench
                .exit_of(0, syndrome(class::INSTRUCTION_ABORT_LOWER, iss::S1PTW | stage2).0, 0x8018, 0)
                .clone(),
            Resume::Guest
        );
        assert_eq!(
            bench.taken_syndrome().map(Syndrome::fault_status),
            Some(FaultStatus::ExternalOnWalk(level as i8))
        );
    }
}

#[test]
fn a_descriptor_in_flash_cannot_be_updated() {
    let mut bench = Bench::with_flash();
    map(&mut bench, &[(0x8000, Device::Pl011.base().0)]);
    assert_eq!(bench.data_abort_at(iss::S1PTW | iss::WNR | PERMISSION, 0x8018, 0x1000), Resume::Guest);
    assert_eq!(bench.taken_syndrome().map(Syndrome::fault_status), Some(FaultStatus::ExternalOnWalk(3)));
}

#[test]
fn a_system_error_waits_until_the_guest_lets_it_come() {
    let mut bench = Bench::new(1);
    let before = bench.frame().clone();
    for pstate in [EL1H, 0x5, 0] {
        bench.frame().pstate = pstate;
        bench.vcpus[0].virtual_serror = false;
        assert_eq!(bench.exit(syndrome(class::SERROR, 2)), Resume::Guest);
        assert!(bench.vcpus[0].virtual_serror);
        assert_eq!((bench.frame().pc, bench.frame().pstate), (before.pc, pstate), "the machine delivers it");
    }
    assert!(bench.host.guest_errors.contains("system error (ISS 0x2)"));
}

#[test]
fn debug_and_illegal_state_are_the_guests_own() {
    let mut bench = Bench::new(1);
    for (at_el2, at_el1) in [
        (class::BREAKPOINT_LOWER, class::BREAKPOINT_SAME),
        (class::STEP_LOWER, class::STEP_SAME),
        (class::WATCHPOINT_LOWER, class::WATCHPOINT_SAME),
        (class::BRK64, class::BRK64),
        (class::ILLEGAL_STATE, class::ILLEGAL_STATE),
    ] {
        assert_eq!(bench.exit(syndrome(at_el2, 0)), Resume::Guest);
        assert!(bench.took(at_el1), "{at_el2:#x}");
    }
}

#[test]
fn a_guest_without_a_handler_has_crashed() {
    let mut bench = Bench::new(2);
    bench.el1().vbar = 0x1000_0000;
    assert_eq!(bench.data_abort(moves(4, 1) | TRANSLATION, 0x5000), Resume::Guest);
    let handler = bench.frame().pc;
    assert_eq!(handler, 0x1000_0200);
    assert_eq!(fetch_abort(&mut bench, TRANSLATION, handler), Resume::Stop);
    assert_eq!(bench.vm.lock().lifecycle(), Lifecycle::Stopping(StopReason::Crash));
    assert_eq!(bench.vcpus[0].crash, Some(CrashCause::HandlerFaults));
    // A handler that cannot save its registers is no better.
    let mut bench = Bench::new(1);
    bench.frame().pc = VECTORS + 0x200;
    bench.el1().sp_el1 = 0;
    assert_eq!(bench.data_abort(iss::WNR | TRANSLATION, 0xFFFF_FFFF_FFFF_FFF0), Resume::Stop);
}

#[test]
fn a_handler_may_be_entered_from_its_own_address() {
    // At the handler's address, but with SP_EL0: with SP_EL1 it may do better.
    let mut bench = Bench::new(1);
    bench.frame().pc = VECTORS;
    bench.frame().pstate = 0x3C4;
    assert_eq!(bench.data_abort(iss::WNR | TRANSLATION, 0x5000), Resume::Guest);
    assert_eq!((bench.frame().pc, bench.frame().pstate), (VECTORS, EL1H));
}

#[test]
fn another_vcpu_may_mend_a_handler_that_faults() {
    let mut bench = Bench::new(2);
    let entry = CpuEntry { address: Ipa(CODE), context: 0, endianness: Endianness::Little };
    bench.vm.lock().power.begin_on(VcpuId::new(1), entry).expect("it is off");
    bench.frame().pc = VECTORS + 0x200;
    // Pending or on, it counts.
    assert_eq!(bench.exit(syndrome(class::UNKNOWN, 0)), Resume::Guest);
    bench.start_pending();
    for _ in 0..5_000 {
        assert_eq!(bench.exit(syndrome(class::UNKNOWN, 0)), Resume::Guest);
    }
    let told = "vCPU 0 cannot take an exception: its handler at 0x40008200 faults itself; the VM goes on, since \
                another vCPU may mend that\n";
    assert_eq!(bench.host.guest_errors, told);
    assert_eq!((bench.frame().pc, bench.vcpus[0].crash), (VECTORS + 0x200, None));
    // The other one goes: nobody is left.
    let off = syndrome(class::HVC64, 0).0;
    bench.vcpus[1].registers.frame.x[0] = 0x8400_0002;
    assert_eq!(bench.exit_of(1, off, 0, 0), Resume::Off);
    assert_eq!(bench.exit(syndrome(class::UNKNOWN, 0)), Resume::Stop);
    assert_eq!(bench.vcpus[0].crash, Some(CrashCause::HandlerFaults));
}

/// The same exception over and over, as often as this.
const MANY: u32 = 100_000;

/// A handler that returns to the instruction that failed, as one for SIGILL or SIGBUS may, at EL0 and at EL1; and one that
/// fails itself, behind its first instruction.
#[test]
fn the_same_exception_again_and_again_is_told_once_and_ends_nothing() {
    const EL0: u64 = 0;
    const EL0_AARCH32: u64 = 0x10;
    let undefined = syndrome(class::UNKNOWN, 0).0;
    let bus_error = syndrome(class::DATA_ABORT_LOWER, moves(4, 1) | TRANSLATION).0;
    for esr in [undefined, bus_error] {
        for (pstate, words) in [(EL0, "EL0"), (EL0_AARCH32, "EL0, AArch32"), (EL1H, "EL1 with SP_EL1")] {
            let mut bench = Bench::new(1);
            for _ in 0..MANY {
                (bench.frame().pc, bench.frame().pstate) = (CODE, pstate);
                assert_eq!(bench.exit_of(0, esr, 0x5000, 0x50), Resume::Guest);
                assert!(bench.taken_syndrome().is_some());
            }
            let told = format!(
                "vCPU 0 takes the same exceptions again and again, this one at PC {CODE:#x} ({words})"
            );
            assert_eq!(bench.host.guest_errors.matches(&told).count(), 1, "{}", bench.host.guest_errors);
            assert_eq!((bench.vm.lock().lifecycle(), bench.vcpus[0].crash), (Lifecycle::Running, None));
        }
    }
}

#[test]
fn exceptions_that_are_handled_are_not_told() {
    // The handler returns behind the instruction; it counts; it gets other things done.
    let run = |between: fn(&mut Bench, u32)| {
        let mut bench = Bench::new(1);
        for n in 0..5_000 {
            bench.frame().pc = CODE;
            assert_eq!(bench.exit(syndrome(class::UNKNOWN, 0)), Resume::Guest);
            between(&mut bench, n);
        }
        assert_eq!(bench.host.guest_errors, "");
    };
    run(|bench, _| bench.el1().elr += 4);
    run(|bench, n| bench.frame().x[7] = n.into());
    run(|bench, n| {
        if n.is_multiple_of(100) {
            bench.write(Device::Pl011.base().0 + 0x24, 1);
        }
    });
    run(|bench, n| {
        if n.is_multiple_of(100) {
            assert_eq!(bench.exit(syndrome(class::HVC64, 1)), Resume::Guest);
        }
    });
}

/// Whatever EL0 makes the CPU report. HVC and SMC are not among it: both are UNDEFINED at EL0, and end no VM there.
fn exit_of_el0() -> impl Strategy<Value = (u32, u32, u64, u64)> {
    let class = (0_u32..0x40)
        .prop_filter("a call is EL1's", |class| ![class::HVC64, class::SMC64].contains(&(*class as u8)));
    (class, 0_u32..1 << 25, any::<u64>(), any::<u64>())
}

proptest! {
    /// A program without privileges can do what it likes: its VM goes on.
    #[test]
    fn nothing_at_el0_ends_a_vm(
        aarch32: bool,
        vbar in prop_oneof![Just(VECTORS), any::<u64>()],
        exits in prop::collection::vec((exit_of_el0(), 1_u16..3), 1..40),
        x: [u64; 31],
    ) {
        let mut bench = Bench::new(1);
        bench.el1().vbar = vbar;
        for ((class, iss, far, hpfar), times) in exits {
            for _ in 0..times {
                bench.frame().x = x;
                // Even where the handler is: EL0 is not EL1.
                bench.frame().pc = vbar.wrapping_add(0x400);
                bench.frame().pstate = if aarch32 { 0x10 } else { 0 };
                let resume = bench.exit_of(0, Syndrome::new(class as u8, InstructionLength::Four, iss).0, far, hpfar);
                prop_assert_ne!(resume, Resume::Stop);
                prop_assert_ne!(resume, Resume::Off);
                prop_assert_eq!(bench.vm.lock().lifecycle(), Lifecycle::Running);
            }
        }
    }
}

#[test]
fn one_vcpus_crash_stops_the_vm_only() {
    let mut bench = Bench::new(2);
    let neighbour = Bench::new(2);
    bench.frame().pc = VECTORS + 0x200;
    assert_eq!(bench.exit(Syndrome(0)), Resume::Stop);
    assert_eq!(neighbour.vm.lock().lifecycle(), Lifecycle::Running);
    // The first ending stands.
    bench.vm.lock().stop(StopReason::Off);
    assert_eq!(bench.vm.lock().lifecycle(), Lifecycle::Stopping(StopReason::Crash));
}

/// The whole report of a guest that has just started and has no vectors.
#[test]
fn a_crash_report_in_words() {
    let mut bench = Bench::new(2);
    bench.el1().vbar = 0;
    bench.frame().x[19] = 0xFEED_F00D;
    assert_eq!(bench.read(Device::Pl011.base().0 + 0x18), 0x90);
    assert_eq!(bench.data_abort(moves(8, 1) | iss::WNR | TRANSLATION, 0x5_5000), Resume::Guest);
    let esr = syndrome(class::INSTRUCTION_ABORT_LOWER, 0x04);
    assert_eq!(bench.exit_of(0, esr.0, 0x200, 0), Resume::Stop);
    let mut text = String::new();
    report::crash(&bench.vm.lock(), &bench.vcpus[0], esr.0, |line| {
        text.push_str(&line.to_string());
        text.push('\n');
    });
    assert_eq!(text, include_str!("crash-report.txt"));
}

/// A page that another CPU changes is broken for a moment; whoever serves the fault looks when it is there again.
#[test]
fn a_fault_on_ram_that_is_there_by_now_is_tried_again() {
    let mut bench = Bench::new(1);
    let at = CODE + 0x40;
    let pc = bench.frame().pc;
    let kinds = [
        moves(8, 5),
        moves(4, 6) | iss::WNR,
        // An instruction that the syndrome does not describe, and one that nobody emulates.
        0,
        iss::WNR,
        iss::CM,
        iss::CM | iss::WNR,
        iss::S1PTW,
        iss::S1PTW | iss::WNR,
    ];
    for level in 0x04..=TRANSLATION {
        for kind in kinds {
            assert_eq!(bench.data_abort_at(kind | level, 0x8000, at), Resume::Guest);
            assert_eq!((bench.frame().pc, bench.taken_syndrome()), (pc, None), "ISS {kind:#x}");
        }
        for walk in [0, iss::S1PTW] {
            assert_eq!(fetch_abort(&mut bench, walk | level, at), Resume::Guest);
            assert_eq!((bench.frame().pc, bench.taken_syndrome()), (pc, None));
        }
    }
    assert_eq!(bench.host.guest_errors, "");
    // Not so what stage 2 refuses for another reason.
    assert_eq!(bench.data_abort_at(moves(8, 5) | PERMISSION, 0x8000, at), Resume::Guest);
    assert!(bench.took(class::DATA_ABORT_SAME));
}
