// SPDX-License-Identifier: MIT OR Apache-2.0
//! The short path gives the answers of the long one.
//!
//! Each exit that any test here makes up is first shown to the short path, on a copy whose registers beyond those it may
//! look at are garbage. If it serves the exit, the long way must come to the same.

use vambrace_cpu::pstate;
use vambrace_cpu::syndrome::class;
use vambrace_cpu::sysreg::SysReg;
use vambrace_machine::short::{Constants, SCRATCH_REGISTERS, Served, Trap, serve};
use vambrace_machine::{Resume, Vcpu, layout};

use crate::access::{TRANSLATION, iss, moves};
use crate::bench::{Bench, EL1H, syndrome};

/// What is in the registers that the short path must not look at.
const UNSAVED: u64 = 0x5A5A_0BAD_5A5A_0BAD;

/// A trap's registers as plain values.
struct Registers {
    esr: u64,
    far: u64,
    hpfar: u64,
    pc: u64,
    pstate: u64,
    sctlr: u64,
}

impl Trap for Registers {
    fn esr(&self) -> u64 {
        self.esr
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
}

/// The vCPU as the short path leaves it.
pub(crate) struct Predicted(Vcpu);

/// What the short path makes of an exit; `None` if it leaves it to the long one.
pub(crate) fn predict(bench: &mut Bench, index: usize, [esr, far, hpfar]: [u64; 3]) -> Option<Predicted> {
    let mut vcpu = bench.vcpus[index].clone();
    let frame = &vcpu.registers.frame;
    // These come from AArch64 EL1 only, so the short path does not ask.
    let only_el1 = [class::SYSTEM, class::HVC64, class::SMC64].map(u64::from).contains(&(esr >> 26));
    if only_el1 && frame.pstate & 0b1_1110 != 0b0_0100 {
        return None;
    }
    let sctlr = bench.host.cores[index].el1.sctlr;
    let mut trap = Registers { esr, far, hpfar, pc: frame.pc, pstate: frame.pstate, sctlr };
    let constants = Constants::new(&mut bench.vm.lock(), index as u16);
    let before = frame.x;
    let (frame, mut short) = vcpu.for_entry(&constants);
    let unsaved = SCRATCH_REGISTERS..30;
    frame.x[unsaved.clone()].fill(UNSAVED);
    let reloaded = match serve(&mut trap, &mut frame.x, &mut short) {
        Served::No => {
            frame.x[unsaved.clone()].copy_from_slice(&before[unsaved]);
            assert_eq!(vcpu, bench.vcpus[index], "left to the long way, and yet something has changed");
            assert_eq!(trap.pc, vcpu.registers.frame.pc);
            return None;
        }
        Served::Yes => None,
        Served::YesInto(register) => Some(usize::from(register)),
    };
    frame.pc = trap.pc;
    // What the vectors do: the unsaved ones are still in the machine, but for the one to be reloaded.
    for register in unsaved.filter(|register| Some(*register) != reloaded) {
        assert_eq!(frame.x[register], UNSAVED, "written, and not told");
        frame.x[register] = before[register];
    }
    Some(Predicted(vcpu))
}

impl Predicted {
    /// The long way must have come to the same.
    pub(crate) fn check(&self, vcpu: &Vcpu, resume: Resume) {
        assert_eq!(resume, Resume::Guest);
        assert_eq!(self.0.registers.frame, vcpu.registers.frame);
        assert!(self.0.recent.iter().eq(vcpu.recent.iter()), "remembered otherwise");
        let mut alike = vcpu.clone();
        alike.registers = self.0.registers.clone();
        alike.recent = self.0.recent.clone();
        assert_eq!(alike, self.0);
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

const GICD_TYPER: u64 = layout::GICD.0 + 4;
const GICR_TYPER: u64 = layout::GICR.0 + 8;

/// Each kind of exit that has a short path, into any register.
fn short_causes(rt: u32) -> [Cause; 5] {
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
            for cause in short_causes(rt) {
                let mut bench = Bench::new(2);
                bench.frame().x[0] = function;
                let predicted =
                    predict(&mut bench, 0, cause).unwrap_or_else(|| panic!("{cause:x?} is not served"));
                let [esr, far, hpfar] = cause;
                let resume = bench.exit_of(0, esr, far, hpfar);
                predicted.check(&bench.vcpus[0], resume);
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
    let [id, gicd, gicr, hvc, smc] = short_causes(1);
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
