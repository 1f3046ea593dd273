// SPDX-License-Identifier: MIT OR Apache-2.0
//! HVC and SMC.

use proptest::prelude::*;
use vambrace_cpu::power::Power;
use vambrace_cpu::syndrome::class;
use vambrace_ids::VcpuId;
use vambrace_machine::{Lifecycle, Resume, StopReason, layout};
use vambrace_wire::message::ResetCause;

use crate::bench::{Bench, CODE, RAM_SIZE, syndrome};

const NOT_SUPPORTED: u64 = -1i64 as u64;
const INVALID_PARAMETERS: u64 = -2i64 as u64;
const AFFINITY_INFO: u64 = 0xC400_0004;
const ALREADY_ON: u64 = -4i64 as u64;
const INVALID_ADDRESS: u64 = -9i64 as u64;

const CPU_ON: u64 = 0xC400_0003;
const CPU_OFF: u64 = 0x8400_0002;
const CPU_SUSPEND: u64 = 0xC400_0001;
const SYSTEM_OFF: u64 = 0x8400_0008;
const SYSTEM_RESET: u64 = 0x8400_0009;
const RND64: u64 = 0xC400_0053;

fn hvc(bench: &mut Bench, x: [u64; 4]) -> Resume {
    bench.frame().x[..4].copy_from_slice(&x);
    bench.exit(syndrome(class::HVC64, 0))
}

fn smc(bench: &mut Bench, x: [u64; 4]) -> Resume {
    bench.frame().x[..4].copy_from_slice(&x);
    bench.exit(syndrome(class::SMC64, 0))
}

/// What a call answers, by either conduit.
fn answer(bench: &mut Bench, x: [u64; 4]) -> u64 {
    assert_eq!(hvc(bench, x), Resume::Guest);
    let by_hvc = bench.frame().x[0];
    assert_eq!(smc(bench, x), Resume::Guest);
    assert_eq!(bench.frame().x[0], by_hvc, "{:#x} by SMC", x[0]);
    by_hvc
}

#[test]
fn unknown_smccc_calls_return_not_supported() {
    let mut bench = Bench::new(2);
    // Arm, CPU, hypervisor, vendor; known PSCI and TRNG ranges with unknown numbers; 32 and 64 bits; yielding calls.
    for function in [
        0x8000_7FFF,
        0x8000_8000,
        0xC000_3FFF,
        0x8100_0000,
        0x8500_0001,
        0x8600_0002,
        0xC600_FF01,
        0x8400_001E,
        0xC400_0008,
        0x8400_005F,
        0x0000_0000,
        0x7FFF_FFFF,
        0x3200_0000,
    ] {
        assert_eq!(answer(&mut bench, [function, 1, 2, 3]), NOT_SUPPORTED, "{function:#x}");
    }
    assert_eq!(bench.vm.lock().lifecycle(), Lifecycle::Running);
}

#[test]
fn an_smc_to_sip_or_trusted_os_ranges_is_refused() {
    let mut bench = Bench::new(1);
    for function in [
        0x8200_0000,
        0xC200_0000,
        0x8300_0001,
        0xC300_FF00,
        0xB000_0000,
        0xB200_0000,
        0xBF00_FFFF,
        0xF200_0001,
        0x3000_0000,
        0x3F00_0000,
    ] {
        let pc = bench.frame().pc;
        assert_eq!(smc(&mut bench, [function, 1, 2, 3]), Resume::Guest);
        assert_eq!((bench.frame().x[0], bench.frame().pc), (NOT_SUPPORTED, pc + 4), "{function:#x}");
    }
}

#[test]
fn hvc_has_moved_on_and_smc_has_not() {
    let mut bench = Bench::new(1);
    let pc = bench.frame().pc;
    assert_eq!(hvc(&mut bench, [0x8000_0000, 0, 0, 0]), Resume::Guest);
    assert_eq!((bench.frame().pc, bench.frame().x[0]), (pc, 0x1_0001));
    assert_eq!(smc(&mut bench, [0x8000_0000, 0, 0, 0]), Resume::Guest);
    assert_eq!((bench.frame().pc, bench.frame().x[0]), (pc + 4, 0x1_0001));
}

#[test]
fn an_immediate_other_than_zero_is_not_supported() {
    let mut bench = Bench::new(1);
    bench.frame().x[0] = SYSTEM_OFF;
    assert_eq!(bench.exit(syndrome(class::HVC64, 0x4A48)), Resume::Guest);
    assert_eq!(bench.frame().x[0], NOT_SUPPORTED);
}

#[test]
fn a_call_preserves_all_but_its_results() {
    let mut bench = Bench::new(1);
    for (n, x) in bench.frame().x.iter_mut().enumerate() {
        *x = 0x1000 + n as u64;
    }
    let before = bench.frame().clone();
    assert_eq!(hvc(&mut bench, [0x8400_0000, 0, 0, 0]), Resume::Guest);
    assert_eq!(bench.frame().x[..4], [0x1_0001, 0, 0, 0]);
    assert_eq!(bench.frame().x[4..], before.x[4..]);
}

#[test]
fn cpu_on_reaches_only_the_vms_own_cpus() {
    let mut bench = Bench::new(18);
    for affinity in [18, 0x102, 0x1_0000, 0x1_0000_0000, u64::MAX, 1 << 31 | 1] {
        assert_eq!(answer(&mut bench, [CPU_ON, affinity, CODE, 0]), INVALID_PARAMETERS, "{affinity:#x}");
    }
    assert!(bench.host.notified.is_empty());
    // The 18th, in the second cluster.
    assert_eq!(hvc(&mut bench, [CPU_ON, layout::affinity(VcpuId::new(17)), CODE, 0x77]), Resume::Guest);
    assert_eq!(bench.frame().x[0], 0);
    assert_eq!(bench.host.notified.iter().collect::<Vec<_>>(), [VcpuId::new(17)]);
    bench.start_pending();
    let frame = &bench.vcpus[17].registers.frame;
    assert_eq!((frame.pc, frame.x[0], frame.pstate), (CODE, 0x77, 0x3C5));
    assert!((1..17).all(|other| bench.vm.lock().power.get(VcpuId::new(other)) == Power::Off));
}

#[test]
fn two_cpu_ons_of_one_cpu_start_it_once() {
    let mut bench = Bench::new(2);
    assert_eq!(hvc(&mut bench, [CPU_ON, 1, CODE, 1]), Resume::Guest);
    assert_eq!(bench.frame().x[0], 0);
    // It is on its way, which is nobody's business.
    assert_eq!(answer(&mut bench, [CPU_ON, 1, CODE + 4, 2]), ALREADY_ON);
    assert_eq!(answer(&mut bench, [AFFINITY_INFO, 1, 0, 0]), 0);
    bench.start_pending();
    assert_eq!(answer(&mut bench, [AFFINITY_INFO, 1, 0, 0]), 0);
    assert_eq!(answer(&mut bench, [CPU_ON, 1, CODE + 4, 2]), ALREADY_ON);
    assert_eq!(answer(&mut bench, [CPU_ON, 0, CODE + 4, 2]), ALREADY_ON);
    assert_eq!(bench.vcpus[1].registers.frame.x[0], 1);
    // And again after it has turned itself off.
    bench.vcpus[1].registers.frame.x[0] = CPU_OFF;
    assert_eq!(bench.exit_of(1, syndrome(class::HVC64, 0).0, 0, 0), Resume::Off);
    assert_eq!(hvc(&mut bench, [CPU_ON, 1, CODE + 4, 2]), Resume::Guest);
    bench.start_pending();
    assert_eq!(bench.vcpus[1].registers.frame.x[0], 2);
}

#[test]
fn a_cpu_starts_only_in_the_vms_memory() {
    let mut bench = Bench::new(2);
    let end = layout::RAM.0 + RAM_SIZE;
    for entry in [0, 0x0900_0000, layout::RAM.0 - 4, end, u64::MAX - 3, CODE + 2, CODE + 1] {
        assert_eq!(answer(&mut bench, [CPU_ON, 1, entry, 0]), INVALID_ADDRESS, "{entry:#x}");
    }
    assert_eq!(hvc(&mut bench, [CPU_ON, 1, end - 4, 0]), Resume::Guest);
    assert_eq!(bench.frame().x[0], 0);
    // Firmware runs from flash, and its other CPUs start there.
    let mut firmware = Bench::with_flash();
    assert_eq!(hvc(&mut firmware, [CPU_ON, 1, 0x1000, 0]), Resume::Guest);
    assert_eq!(firmware.frame().x[0], 0);
}

#[test]
fn a_big_endian_caller_starts_a_big_endian_cpu() {
    let mut bench = Bench::new(2);
    bench.el1().sctlr |= 1 << 25;
    assert_eq!(hvc(&mut bench, [CPU_ON, 1, CODE, 0]), Resume::Guest);
    bench.start_pending();
    assert_eq!(bench.vcpus[1].registers.el1.sctlr >> 24 & 0b11, 0b11);
}

#[test]
fn the_last_cpu_that_turns_itself_off_ends_the_vm() {
    let mut bench = Bench::new(2);
    assert_eq!(hvc(&mut bench, [CPU_OFF, 0, 0, 0]), Resume::Stop);
    assert_eq!(bench.vm.lock().lifecycle(), Lifecycle::Stopping(StopReason::Off));
}

#[test]
fn a_vm_ends_or_begins_anew_as_it_asks() {
    let system_reset2 = 0xC400_0012;
    for (function, reason) in [
        (SYSTEM_OFF, StopReason::Off),
        (SYSTEM_RESET, StopReason::Reset(ResetCause::Asked)),
        (system_reset2, StopReason::Reset(ResetCause::Asked)),
    ] {
        let mut bench = Bench::new(3);
        assert_eq!(smc(&mut bench, [function, 0, 0, 0]), Resume::Stop);
        assert_eq!(bench.vm.lock().lifecycle(), Lifecycle::Stopping(reason));
        // The first ending stands.
        assert_eq!(hvc(&mut bench, [SYSTEM_OFF, 0, 0, 0]), Resume::Stop);
        assert_eq!(bench.vm.lock().lifecycle(), Lifecycle::Stopping(reason));
    }
}

#[test]
fn a_cpu_suspends_and_returns_or_starts_anew() {
    let mut bench = Bench::new(1);
    assert_eq!(hvc(&mut bench, [CPU_SUSPEND, 0, 0, 0]), Resume::Wait(None));
    assert_eq!(bench.frame().x[0], 0);
    let Resume::Suspend(entry) = hvc(&mut bench, [CPU_SUSPEND, 1 << 16, CODE, 9]) else {
        panic!("no suspend")
    };
    assert_eq!((entry.address.0, entry.context), (CODE, 9));
    assert_eq!(answer(&mut bench, [CPU_SUSPEND, 1 << 16, 4, 9]), INVALID_ADDRESS);
}

#[test]
fn entropy_comes_from_the_machine_or_not_at_all() {
    let mut bench = Bench::new(1);
    assert_eq!(hvc(&mut bench, [RND64, 12, 0, 0]), Resume::Guest);
    assert_eq!(bench.frame().x[..4], [0, 0, 0, 0xA5A]);
    bench.host.entropy = None;
    assert_eq!(answer(&mut bench, [RND64, 12, 0, 0]), -3i64 as u64);
}

#[test]
fn the_first_result_of_a_life_stands_and_is_told_once() {
    const RESULT: u64 = 0x8600_0001;
    const ALREADY_GIVEN: u64 = -2i64 as u64;
    let mut bench = Bench::new(1);
    assert_eq!(hvc(&mut bench, [RESULT, 7, 0, 0]), Resume::Guest);
    assert_eq!(bench.frame().x[0], 0);
    for number in [7, 8] {
        assert_eq!(answer(&mut bench, [RESULT, number, 0, 0]), ALREADY_GIVEN);
    }
    assert_eq!(bench.host.results, [7]);
    bench.vm.lock().reset();
    assert_eq!(smc(&mut bench, [RESULT, 8, 0, 0]), Resume::Guest);
    assert_eq!(bench.host.results, [7, 8]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    /// Whatever the id: an error, or one of the calls that exist.
    #[test]
    fn any_call_is_answered(function: u32, arguments: [u64; 3]) {
        let mut bench = Bench::new(2);
        let [x1, x2, x3] = arguments;
        let known = matches!(function & !(1 << 30), 0x8000_0000 | 0x8000_0001 | 0x8400_0000..=0x8400_005F)
            || matches!(function, 0x8600_0000 | 0x8600_0001 | 0x8600_FF01 | 0x8600_FF03);
        let resume = hvc(&mut bench, [function.into(), x1, x2, x3]);
        prop_assert!(known || (resume, bench.frame().x[0]) == (Resume::Guest, NOT_SUPPORTED));
    }
}
