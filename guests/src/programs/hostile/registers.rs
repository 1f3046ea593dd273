// SPDX-License-Identifier: MIT OR Apache-2.0
//! System registers that do not exist, and the interrupt controller's at every offset.

use core::sync::atomic::{AtomicU32, Ordering};

use super::Random;
use crate::exceptions::UNKNOWN;
use crate::machine::Machine;
use crate::{cpu, gic, mmio, probe, psci, timer};

/// `mrs x0, ...`; `msr ..., x0`: without the register.
const MRS: u32 = 0xD530_0000;
const MSR: u32 = 0xD510_0000;
const RET: u32 = 0xD65F_03C0;

static CODE: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

/// Exception classes of registers that CPACR_EL1 traps: of FP, SVE and SME.
const TRAPS: [u64; 3] = [0x07, 0x19, 0x1D];
/// Exception class of a trapped register; with FEAT_IDST also of identification registers that do not exist.
const TRAPPED_REGISTER: u64 = 0x18;

/// A system register by its encoding; op0 is 2 or 3.
#[derive(Clone, Copy)]
struct Register {
    op0: u32,
    op1: u32,
    crn: u32,
    crm: u32,
    op2: u32,
}

impl Register {
    fn from_index(op0: u32, index: u32) -> Self {
        Self { op0, op1: index >> 11 & 7, crn: index >> 7 & 15, crm: index >> 3 & 15, op2: index & 7 }
    }

    /// Runs the instruction on the register.
    fn access(self, instruction: u32, value: u64) -> Result<u64, probe::Fault> {
        let Self { op0, op1, crn, crm, op2 } = self;
        let word = instruction | (op0 - 2) << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5;
        CODE[0].store(word, Ordering::Relaxed);
        CODE[1].store(RET, Ordering::Relaxed);
        let start = CODE.as_ptr() as usize;
        cpu::publish_code(start, size_of_val(&CODE));
        probe::call(start as u64, value)
    }

    fn is_implementation_defined(self) -> bool {
        matches!(self.crn, 11 | 15)
    }

    /// Whether a read does something: the acknowledge registers.
    fn acts_on_read(self) -> bool {
        self.op0 == 3 && self.crn == 12 && self.op1 == 0
    }
}

/// Reads every encoding, and writes those that no EL1 may use.
pub(super) fn unknown(_machine: &Machine) {
    let undefined = |result: Result<u64, probe::Fault>| {
        result.is_err_and(|fault| fault.class() == UNKNOWN && fault.esr & 0x1FF_FFFF == 0)
    };
    // Registers of EL2, EL3 and secure EL1, and their neighbours: UNDEFINED all of them.
    let (mut wrong, mut first) = (0u32, None);
    let above = (4 << 11..8 << 11).map(|index| Register::from_index(3, index));
    for register in above.filter(|register| !register.is_implementation_defined()) {
        for instruction in [MRS, MSR] {
            if !undefined(register.access(instruction, 0)) {
                wrong += 1;
                first.get_or_insert(register);
            }
        }
    }
    check_eq!(wrong, 0, "registers of higher levels are UNDEFINED");
    tell(first);

    // Of all others each is there or UNDEFINED; nothing else may come of it.
    let (mut there, mut not_there, mut wrong, mut first) = (0u32, 0u32, 0u32, None);
    let rest = [2, 3].into_iter().flat_map(|op0| (0..4 << 11).map(move |i| Register::from_index(op0, i)));
    for register in rest.filter(|register| !register.acts_on_read()) {
        match register.access(MRS, 0) {
            Ok(_) => there += 1,
            Err(fault) if TRAPS.contains(&fault.class()) => there += 1,
            Err(fault) if fault.class() == TRAPPED_REGISTER && register.crn == 0 => not_there += 1,
            result if undefined(result) => not_there += 1,
            _ => {
                wrong += 1;
                first.get_or_insert(register);
            }
        }
    }
    check_eq!(wrong, 0, "every other register is there or UNDEFINED");
    println!("guest: {there} registers can be read, {not_there} are UNDEFINED");
    tell(first);

    // Writes to encodings that can never be anything: the read-only space of identification.
    let mut wrong = 0u32;
    for index in 0..8 * 8 {
        let register = Register { op0: 3, op1: 0, crn: 0, crm: index / 8, op2: index % 8 };
        wrong += u32::from(!undefined(register.access(MSR, u64::MAX)));
    }
    check_eq!(wrong, 0, "writes of ID registers are UNDEFINED");
}

fn tell(register: Option<Register>) {
    if let Some(Register { op0, op1, crn, crm, op2 }) = register {
        println!("guest: the first is S{op0}_{op1}_C{crn}_C{crm}_{op2}");
    }
}

/// SGIs to no CPU at all, and to ones that do not exist.
pub(super) fn sgi_to_nobody(_machine: &Machine) {
    cpu::mask_interrupts();
    let mut random = Random(0x561);
    write_register!("icc_sgi1r_el1", 0);
    for _ in 0..1000 {
        // Never this CPU's cluster: Aff1 is not 0, and IRM is 0.
        let value = random.next() & !(1 << 40 | 0xFF << 16) | 0x80 << 16;
        write_register!("icc_sgi1r_el1", value);
        write_register!("icc_sgi0r_el1", value);
        write_register!("icc_asgi1r_el1", value);
    }
    check!(true, "SGIs to nobody are lost in silence");
}

/// Reads and writes of every width at every offset of the distributor and the redistributor. Afterwards it
/// must be possible to set it up again and take an interrupt.
pub(super) fn gic_garbage(machine: &Machine) {
    cpu::mask_interrupts();
    let mut random = Random(0x6A4BA6E);
    let mut faults = 0u32;
    let frames = [(gic::gicd(), 0x1_0000u64), (gic::gicr(), machine.cpu_count() as u64 * gic::GICR_STRIDE)];
    for (base, size) in frames {
        for bytes in [1, 2, 4, 8] {
            let offsets = (0..size.min(4 * gic::GICR_STRIDE)).step_by(bytes as usize);
            for offset in offsets.filter(|offset| bytes > 2 || offset % 64 < 4) {
                faults += u32::from(probe::write(base + offset, bytes, random.next()).is_err());
                faults += u32::from(probe::read(base + offset, bytes).is_err());
            }
        }
    }
    check_eq!(faults, 0, "the interrupt controller takes every access of every width");
    gic::init_distributor();
    gic::init_cpu();
    (0..gic::intids()).for_each(gic::reset_interrupt);
    // What garbage has made active on this CPU has to be ended before its priority lets anything else pass.
    write_register!("icc_ap1r0_el1", 0);
    write_register!("icc_ap0r0_el1", 0);
    gic::enable(5);
    gic::send_sgi(5, cpu::affinity());
    let intid = gic::acknowledge();
    check_eq!(intid, 5, "and works when set up again");
    gic::end(intid);
    gic::reset_interrupt(5);
    mmio::write32(gic::gicd(), 0);
    timer::delay(10);
    check!(psci::psci(psci::VERSION, [0; 3]) > 0, "PSCI answers");
}
