// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fast path gives the answers of the long one.
//!
//! Each exit that any test here makes up is first shown to the fast path, on a copy whose registers beyond those it may
//! look at are garbage. If it serves the exit, the long way must come to the same.

use std::cell::RefCell;

use spin::mutex::SpinMutex;
use vambrace_cpu::pstate;
use vambrace_cpu::syndrome::{Syndrome, class};
use vambrace_cpu::sysreg::SysReg;
use vambrace_ids::VcpuId;
use vambrace_interrupts::{LineLevel, ListRegister, LrWrite, State, VcpuSet, VirtualCpuInterface};
use vambrace_machine::fast::{
    Constants, FastResult, ListRegisters, SCRATCH_REGISTERS, SiblingVcpus, Trap, serve, wait,
};
use vambrace_machine::{Resume, Vcpu, Vm, layout};

use crate::access::{TRANSLATION, iss, moves};
use crate::bench::{Bench, EL1H, LIST_REGISTERS, syndrome};

mod timer;

/// What is in the registers that the fast path must not look at.
const UNSAVED: u64 = 0x5A5A_0BAD_5A5A_0BAD;

/// A trap's registers as plain values.
struct Registers {
    esr: u64,
    far: u64,
    hpfar: u64,
    pc: u64,
    pstate: u64,
    sctlr: u64,
    virtual_timer: u64,
}

impl Trap for Registers {
    fn esr(&self) -> Syndrome {
        Syndrome(self.esr)
    }

    fn far(&self) -> u64 {
        self.far
    }

    fn hpfar(&self) -> u64 {
        self.hpfar
    }

    fn pc(&self) -> u64 {
        self.pc
    }

    fn set_pc(&mut self, pc: u64) {
        self.pc = pc;
    }

    fn pstate(&self) -> u64 {
        self.pstate
    }

    fn sctlr(&self) -> u64 {
        self.sctlr
    }

    fn virtual_timer(&self) -> u64 {
        self.virtual_timer
    }
}

/// List registers as plain values.
struct FakeLists(VirtualCpuInterface);

impl ListRegisters for FakeLists {
    fn empty(&self) -> u64 {
        let is_empty = |lr: ListRegister| lr.state() == State::Inactive && !lr.wants_eoi_maintenance();
        (0..).zip(self.0.lr).fold(0, |empty, (n, lr)| empty | u64::from(is_empty(ListRegister(lr))) << n)
    }

    fn write(&mut self, write: LrWrite) {
        assert!(self.empty() >> write.index & 1 != 0 && write.index < usize::from(LIST_REGISTERS));
        self.0.lr[write.index] = write.value.0;
        self.0.used = self.0.used.max(write.index as u8 + 1);
    }

    fn set_control(&mut self, hcr: u64) {
        self.0.hcr = hcr;
    }
}

/// What the fast path leaves behind.
pub(crate) struct Predicted {
    vcpu: Vcpu,
    vm: Vm,
    interface: VirtualCpuInterface,
    /// Other vCPUs that were called.
    called: VcpuSet,
}

/// The vCPUs that the fast path of this one calls.
struct Called(RefCell<VcpuSet>, VcpuId);

impl SiblingVcpus for Called {
    type Placement = VcpuId;

    /// vCPU 1 shares the CPU of vCPU 0, and so on.
    fn elsewhere(&self, vcpu: VcpuId) -> Option<VcpuId> {
        (vcpu.index() / 2 != self.1.index() / 2).then_some(vcpu)
    }

    fn kick(&self, vcpu: VcpuId) {
        self.0.borrow_mut().insert(vcpu);
    }
}

/// What the fast path makes of an exit; `None` if it leaves it to the long one.
pub(crate) fn predict(bench: &mut Bench, index: usize, [esr, far, hpfar]: [u64; 3]) -> Option<Predicted> {
    let mut vcpu = bench.vcpus[index].clone();
    let frame = &vcpu.registers.frame;
    // These come from AArch64 EL1 only, so the fast path does not ask.
    let only_el1 = matches!(Syndrome(esr).class(), class::SYSTEM | class::HVC64 | class::SMC64);
    if only_el1 && frame.pstate & 0b1_1110 != 0b0_0100 {
        return None;
    }
    let sctlr = bench.host.cores[index].el1.sctlr;
    // CNTV_CTL_EL0: ENABLE, and ISTATUS.
    let virtual_timer = if bench.host.timer_line == LineLevel::High { 0b101 } else { 0b001 };
    let mut trap = Registers { esr, far, hpfar, pc: frame.pc, pstate: frame.pstate, sctlr, virtual_timer };
    let constants = Constants::new(&mut bench.vm.lock(), vcpu.id);
    let before = frame.x;
    let vm: SpinMutex<_> = SpinMutex::new(bench.vm.lock().clone());
    let mut lists = FakeLists(bench.host.cores[index].interface.clone());
    let called = Called(RefCell::default(), vcpu.id);
    let (frame, mut fast) = vcpu.for_entry(&constants, &vm);
    let unsaved = SCRATCH_REGISTERS..30;
    frame.x[unsaved.clone()].fill(UNSAVED);
    let reloaded = match serve(&mut trap, &mut frame.x, &mut fast, &mut lists, &called) {
        FastResult::No => {
            frame.x[unsaved.clone()].copy_from_slice(&before[unsaved]);
            assert_eq!(vcpu, bench.vcpus[index], "left to the long way, and yet something has changed");
            assert_eq!(trap.pc, vcpu.registers.frame.pc);
            assert!(*vm.lock() == *bench.vm.lock());
            return None;
        }
        FastResult::Yes => None,
        FastResult::YesInto(register) => Some(usize::from(register)),
    };
    if trap.pc == frame.pc && Syndrome(esr).class() == class::SYSTEM {
        // It runs again, and the long way does not: what comes of it is the same, and not at this exit.
        return None;
    }
    frame.pc = trap.pc;
    // What the vectors do: the unsaved ones are still in the hardware, but for the one to be reloaded.
    for register in unsaved.filter(|register| Some(*register) != reloaded) {
        assert_eq!(frame.x[register], UNSAVED, "written, and not told");
        frame.x[register] = before[register];
    }
    let called = called.0.into_inner();
    Some(Predicted { vcpu, vm: vm.into_inner(), interface: lists.0, called })
}

/// Syncs a vCPU's list registers, and flushes them anew.
fn settle(vm: &mut Vm, vcpu: &Vcpu, interface: &VirtualCpuInterface) {
    let _ = vm.gic.sync(vcpu.id, interface);
    let _ = vm.flush_interrupts(vcpu);
}

impl Predicted {
    /// The long way must have come to the same.
    pub(crate) fn check(
        mut self,
        vcpu: &Vcpu,
        vm: &Vm,
        interface: &VirtualCpuInterface,
        notified: &VcpuSet,
        resume: Resume,
    ) {
        assert_eq!(resume, Resume::Guest);
        assert_eq!(self.vcpu.registers.frame, vcpu.registers.frame);
        assert!(self.vcpu.recent.iter().eq(vcpu.recent.iter()), "remembered otherwise");
        let mut alike = vcpu.clone();
        alike.registers = self.vcpu.registers.clone();
        alike.recent = self.vcpu.recent.clone();
        assert_eq!(alike, self.vcpu);
        // The long way may leave the list registers to the next entry: synced and flushed, both are the same.
        let mut vm = vm.clone();
        settle(&mut vm, vcpu, interface);
        settle(&mut self.vm, vcpu, &self.interface);
        assert!(self.vm == vm, "another VM");
        assert!(self.called.iter().all(|other| notified.contains(other)), "called, and not by the long way");
    }
}

/// A trap of the first vCPU that each test varies: ESR_EL2, FAR_EL2, HPFAR_EL2.
type Cause = [u64; 3];

fn id_register(register: SysReg, rt: u32) -> Cause {
    [syndrome(class::SYSTEM, register.to_iss() | rt << 5 | 1).0, 0, 0]
}

fn load(bytes: u32, rt: u32, ipa: u64) -> Cause {
    [syndrome(class::DATA_ABORT_LOWER, moves(bytes, rt) | TRANSLATION).0, ipa, ipa >> 12 << 4]
}

const GICD_TYPER: u64 = layout::GICD.start().0 + 4;
const GICR_TYPER: u64 = layout::GICR.0 + 8;

/// The registers of the interrupt controller that never change, with each width that the architecture gives them: GICD_TYPER,
/// IIDR, PIDR2; GICR_IIDR, TYPER, its upper half, PIDR2.
const CONSTANT: &[(u64, &[u32])] = &[
    (GICD_TYPER, &[4]),
    (layout::GICD.start().0 + 8, &[4]),
    (layout::GICD.start().0 + 0xFFE8, &[4]),
    (layout::GICR.0 + 4, &[4]),
    (GICR_TYPER, &[4, 8]),
    (GICR_TYPER + 4, &[4]),
    (layout::GICR.0 + 0xFFE8, &[4]),
];

/// For each vCPU, since each has a table of its own.
#[test]
fn what_never_changes_is_served_in_every_width_there_is() {
    const VCPUS: usize = 200;
    let mut bench = Bench::new(VCPUS);
    for vcpu in 0..VCPUS {
        bench.vcpus[vcpu].registers.frame.pstate = EL1H;
        let shift = layout::redistributor(VcpuId::new(vcpu as u16)).0 - layout::GICR.0;
        for &(at, widths) in CONSTANT {
            let at = if at >= layout::GICR.0 { at + shift } else { at };
            for bytes in [1, 2, 4, 8] {
                let cause = load(bytes, 3, at);
                let is_served = predict(&mut bench, vcpu, cause).is_some();
                assert_eq!(is_served, widths.contains(&bytes), "{bytes} bytes at {at:#x}");
                if vcpu < 3 && is_served {
                    // Which compares it with the long way.
                    let [esr, far, hpfar] = cause;
                    assert_eq!(bench.exit_of(vcpu, esr, far, hpfar), Resume::Guest);
                }
            }
        }
    }
    // The two halves are the whole.
    let whole = bench.load(8, 0, GICR_TYPER);
    assert_eq!(bench.load(4, 0, GICR_TYPER) | bench.load(4, 0, GICR_TYPER + 4) << 32, whole);
}

/// Each kind of exit that has a fast path, into any register.
fn fast_causes(rt: u32) -> [Cause; 5] {
    [
        id_register(SysReg::ID_AA64PFR0_EL1, rt),
        load(4, rt, GICD_TYPER),
        load(8, rt, GICR_TYPER),
        [syndrome(class::HVC64, 0).0, 0, 0],
        [syndrome(class::SMC64, 0).0, 0, 0],
    ]
}

#[test]
fn the_short_path_serves_what_it_is_for_into_every_register() {
    for rt in 0..32 {
        for function in [0x8400_0000, 0x8300_FF00] {
            for cause in fast_causes(rt) {
                let mut bench = Bench::new(2);
                bench.frame().x[0] = function;
                let predicted =
                    predict(&mut bench, 0, cause).unwrap_or_else(|| panic!("{cause:x?} is not served"));
                drop(predicted);
                // Which compares it with the long way.
                let [esr, far, hpfar] = cause;
                assert_eq!(bench.exit_of(0, esr, far, hpfar), Resume::Guest);
            }
        }
    }
}

#[test]
fn each_id_register_is_the_vms() {
    for crm in 1..8 {
        for op2 in 0..8 {
            let register = SysReg { op0: 3, op1: 0, crn: 0, crm, op2 };
            let mut bench = Bench::new(1);
            let [esr, ..] = id_register(register, 5);
            assert!(predict(&mut bench, 0, [esr, 0, 0]).is_some());
            assert_eq!(bench.exit_of(0, esr, 0, 0), Resume::Guest);
        }
    }
}

/// Each is compared with the long way by the workbench.
#[test]
fn a_wait_of_aarch64_is_served_at_once_and_others_are_not() {
    const UNCONDITIONAL: u32 = 1 << 24 | 0xE << 20;
    let wfi = syndrome(class::WAIT, UNCONDITIONAL);
    for pstate in [EL1H, 0, EL1H | pstate::BTYPE, EL1H | pstate::SS, 0x10] {
        for (esr, resume) in [
            (wfi, Resume::Wait(None)),
            (syndrome(class::WAIT, UNCONDITIONAL | 1), Resume::Yield),
            (syndrome(class::WAIT, UNCONDITIONAL | 31 << 5 | 1 << 2 | 0b10), Resume::Wait(Some(0))),
        ] {
            let mut bench = Bench::new(1);
            bench.frame().pstate = pstate;
            let is_plain = esr == wfi && matches!(pstate, EL1H | 0);
            assert_eq!(wait(&mut bench.vcpus[0].clone(), esr.0), is_plain, "{esr:?} at {pstate:#x}");
            assert_eq!(bench.exit(esr), resume, "{esr:?} at {pstate:#x}");
        }
    }
}

#[test]
fn a_second_vcpu_has_its_own_redistributor() {
    let mut bench = Bench::new(2);
    bench.vcpus[1].registers.frame.pstate = EL1H;
    let own = load(8, 3, GICR_TYPER + layout::GICR_STRIDE);
    assert!(predict(&mut bench, 1, own).is_some());
    assert!(predict(&mut bench, 1, load(8, 3, GICR_TYPER)).is_none(), "another's");
}

#[test]
fn what_is_out_of_the_ordinary_goes_the_long_way() {
    let with = |change: &dyn Fn(&mut Bench), cause: Cause| {
        let mut bench = Bench::new(1);
        bench.frame().x[0] = 0x8400_0000;
        assert!(predict(&mut bench, 0, cause).is_some());
        change(&mut bench);
        predict(&mut bench, 0, cause).is_none()
    };
    let [id, gicd, gicr, hvc, smc] = fast_causes(1);
    for cause in [id, gicd, gicr, smc] {
        assert!(with(&|bench| bench.frame().pstate |= pstate::SS, cause), "a step");
        assert!(with(&|bench| bench.frame().pstate |= pstate::BTYPE, cause), "a branch target");
    }
    for cause in [gicd, gicr] {
        assert!(with(&|bench| bench.el1().sctlr |= 1 << 25, cause), "big-endian data");
        assert!(with(&|bench| bench.frame().pstate &= !0b1111, cause), "EL0");
    }
    assert!(with(&|bench| bench.frame().x[0] = 0xC400_0003, hvc), "CPU_ON");
    let mut bench = Bench::new(1);
    bench.frame().x[0] = 0x8400_0000;
    let mut refused = |cause: Cause| predict(&mut bench, 0, cause).is_none();
    let [esr, far, hpfar] = gicd;
    for bit in [iss::SSE, iss::CM, iss::S1PTW, iss::WNR] {
        assert!(refused([esr | u64::from(bit), far, hpfar]));
    }
    assert!(refused([esr & !u64::from(iss::ISV), far, hpfar]));
    assert!(refused([esr, far, hpfar + 0x10]), "another page");
    assert!(refused(load(2, 1, GICD_TYPER)), "half of it");
    assert!(refused([syndrome(class::HVC64, 1).0, 0, 0]), "another immediate");
    assert!(refused(id_register(SysReg { op0: 3, op1: 0, crn: 0, crm: 0, op2: 1 }, 1)));
    assert!(refused(id_register(SysReg { op0: 3, op1: 0, crn: 0, crm: 8, op2: 1 }, 1)));
    assert!(refused([syndrome(class::SYSTEM, SysReg::ID_AA64PFR0_EL1.to_iss()).0, 0, 0]), "a write");
}

const SGI_FRAME: u64 = layout::GICR.0 + 0x1_0000;

/// A VM of so many vCPUs whose first has all its private interrupts in Group 1 and enabled, and is on its CPU.
fn with_interrupts(vcpus: usize) -> Bench {
    let mut bench = Bench::new(vcpus);
    bench.write(layout::GICD.start().0, 0b11);
    bench.write(SGI_FRAME + 0x80, u32::MAX.into());
    bench.write(SGI_FRAME + 0x100, u32::MAX.into());
    bench
}

/// MSR ICC_SGI1R_EL1, X7.
fn sgi1r() -> Cause {
    [syndrome(class::SYSTEM, SysReg::ICC_SGI1R_EL1.to_iss() | 7 << 5).0, 0, 0]
}

#[test]
fn an_sgi_to_oneself_is_lent_at_once() {
    let mut bench = with_interrupts(2);
    for intid in 0..4 {
        bench.frame().x[7] = intid << 24 | 1;
        let predicted = predict(&mut bench, 0, sgi1r()).expect("there is room");
        let queued = ListRegister(predicted.interface.lr[0]);
        assert_eq!((u64::from(queued.intid()), queued.state()), (intid, State::Pending));
    }
    let [esr, ..] = sgi1r();
    assert_eq!(bench.exit_of(0, esr, 0, 0), Resume::Guest);
}

#[test]
fn an_sgi_to_another_is_sent_and_taken_at_once() {
    let mut bench = with_interrupts(3);
    let frame = SGI_FRAME + 2 * layout::GICR_STRIDE;
    bench.write(frame + 0x80, u32::MAX.into());
    bench.write(frame + 0x100, u32::MAX.into());
    // vCPU 2 is on its CPU.
    let [own, other] = [0, 2].map(VcpuId::new);
    let interface = bench.vm.lock().gic.flush(other).cloned().expect("it exists");
    bench.host.cores[2].interface = interface;
    for round in 0..3 {
        bench.frame().x[7] = 9 << 24 | 1 << 2;
        let [esr, ..] = sgi1r();
        let mut predicted = predict(&mut bench, 0, sgi1r()).expect("it is served");
        assert_eq!(predicted.called.iter().collect::<Vec<_>>(), [other]);
        assert!(predicted.vm.gic.queue_pending_sgi(own, 0b1111).is_none(), "another's");
        let mut lists = FakeLists(bench.host.cores[2].interface.clone());
        let write = predicted.vm.gic.queue_pending_sgi(other, lists.empty()).expect("there is room");
        lists.write(write);
        assert_eq!(write.value.intid().get(), 9);
        // The long way comes to the same.
        assert_eq!(bench.exit_of(0, esr, 0, 0), Resume::Guest);
        let mut long = bench.vm.lock().clone();
        settle(&mut long, &bench.vcpus[2], &bench.host.cores[2].interface);
        let mut fast = predicted.vm.clone();
        settle(&mut fast, &bench.vcpus[2], &lists.0);
        assert!(long.gic.interface(other) == fast.gic.interface(other), "round {round}");
        // The guest handles it.
        lists.0.lr[write.index] &= !(3 << 62);
        *bench.vm.lock() = predicted.vm;
        bench.host.cores[2].interface = lists.0;
    }
}

#[test]
fn sgis_to_several_and_in_other_ways_go_the_long_way() {
    for value in [5 << 24 | 0b10, 5 << 24 | 0b11, 5 << 24 | 1 << 40, 5 << 24 | 1 | 1 << 56, 5 << 24] {
        let mut bench = with_interrupts(2);
        bench.frame().x[7] = value;
        assert!(predict(&mut bench, 0, sgi1r()).is_none(), "{value:#x}");
    }
    let mut bench = with_interrupts(2);
    bench.frame().x[20] = 5 << 24 | 1;
    let unsaved = [syndrome(class::SYSTEM, SysReg::ICC_SGI1R_EL1.to_iss() | 20 << 5).0, 0, 0];
    assert!(predict(&mut bench, 0, unsaved).is_none(), "an operand that is not saved");
    let mut disabled = Bench::new(1);
    disabled.frame().x[7] = 5 << 24 | 1;
    assert!(predict(&mut disabled, 0, sgi1r()).is_none());
}
