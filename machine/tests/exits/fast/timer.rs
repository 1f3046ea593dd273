// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual timer's interrupt by the fast path.

use vambrace_interrupts::{Intid, Trigger};
use vambrace_machine::fast::give_timer;

use super::*;

/// PSTATE.I.
const IRQ_MASKED: u64 = 1 << 7;

/// The timer's interrupt by the fast path: the VM and the list registers then, or `None`.
fn timer(bench: &mut Bench) -> Option<(Vm, VirtualCpuInterface)> {
    let constants = Constants::new(&mut bench.vm.lock(), bench.vcpus[0].id);
    let vm: SpinMutex<_> = SpinMutex::new(bench.vm.lock().clone());
    let mut lists = FakeLists(bench.host.cores[0].interface.clone());
    let pstate = bench.frame().pstate;
    let (_, mut fast) = bench.vcpus[0].for_entry(&constants, &vm);
    let physical = layout::VIRTUAL_TIMER_INTID;
    give_timer(&mut fast, pstate, physical, &mut lists).then(|| (vm.into_inner(), lists.0))
}

#[test]
fn the_timer_is_linked_as_by_the_long_way() {
    let mut bench = with_interrupts(1);
    bench.frame().pstate &= !IRQ_MASKED;
    let (mut fast, lists) = timer(&mut bench).expect("there is room");
    assert_eq!(ListRegister(lists.lr[0]).physical(), Some(layout::VIRTUAL_TIMER_INTID));
    let before = bench.host.cores[0].interface.clone();
    let mut long = bench.vm.lock().clone();
    let timer_intid = layout::VIRTUAL_TIMER_INTID;
    let _ = long.gic.inject_hw(bench.vcpus[0].id, timer_intid, timer_intid, Trigger::Level);
    settle(&mut long, &bench.vcpus[0], &before);
    settle(&mut fast, &bench.vcpus[0], &lists);
    assert!(fast == long);
    let mut without_group = Bench::new(1);
    assert!(timer(&mut without_group).is_none());
}

/// ICH_HCR_EL2.TALL1.
const TALL1: u64 = 1 << 12;

fn iar1() -> u64 {
    syndrome(class::SYSTEM, SysReg::ICC_IAR1_EL1.to_iss() | 3 << 5 | 1).0
}

/// The guest masks interrupts while the timer fires, and reads ICC_IAR1_EL1 when its line is high still, or low: it finds
/// the interrupt, or none. So by the fast path, where that says, and by the long one.
#[test]
fn a_timer_that_was_masked_is_taken_if_it_still_asserts() {
    for (line, expected) in
        [(LineLevel::High, layout::VIRTUAL_TIMER_INTID), (LineLevel::Low, Intid::SPURIOUS)]
    {
        let mut bench = with_interrupts(1);
        bench.host.cores[0].interface.vmcr = 0xFF << 24 | 0b10;
        bench.host.timer_line = LineLevel::High;
        let (vm, lists) = timer(&mut bench).expect("there is room");
        assert_eq!(lists.hcr & TALL1, TALL1);
        *bench.vm.lock() = vm;
        bench.host.cores[0].interface = lists;
        bench.host.timer_line = line;

        // The short way: the instruction runs again, untrapped.
        let constants = Constants::new(&mut bench.vm.lock(), bench.vcpus[0].id);
        let vm: SpinMutex<_> = SpinMutex::new(bench.vm.lock().clone());
        let mut lists = FakeLists(bench.host.cores[0].interface.clone());
        let frame = bench.frame();
        let (esr, pc, pstate) = (iar1(), frame.pc, frame.pstate);
        let virtual_timer = if line == LineLevel::High { 0b101 } else { 0b001 };
        let mut trap = Registers { esr, far: 0, hpfar: 0, pc, pstate, sctlr: 0, virtual_timer };
        let called = Called(RefCell::default(), bench.vcpus[0].id);
        let mut vcpu = bench.vcpus[0].clone();
        let (frame, mut fast) = vcpu.for_entry(&constants, &vm);
        let served = serve(&mut trap, &mut frame.x, &mut fast, &mut lists, &called);
        assert_eq!(served, if line == LineLevel::High { FastResult::Yes } else { FastResult::No });
        assert_eq!((trap.pc, lists.0.hcr & TALL1 == 0), (pc, line == LineLevel::High));

        // The long way answers at once.
        assert_eq!(bench.exit_of(0, iar1(), 0, 0), Resume::Guest);
        assert_eq!((bench.frame().x[3], bench.frame().pc), (expected.into(), pc + 4));
        let interface = &bench.host.cores[0].interface;
        assert_eq!(interface.hcr & TALL1, 0);
        let is_active = line == LineLevel::High;
        assert_eq!(interface.ap1r[0] != 0, is_active);
        assert_eq!(ListRegister(interface.lr[0]).state() == State::Active, is_active);
    }
}
