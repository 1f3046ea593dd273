// SPDX-License-Identifier: MIT OR Apache-2.0
//! System registers that do not exist, and the interrupt controller's at every offset.

use super::Random;
use crate::machine::Machine;
use crate::register::{Register, is_undefined};
use crate::{cpu, gic, mmio, probe, psci, timer};

/// Exception classes of registers that CPACR_EL1 traps: of FP, SVE and SME.
const TRAPS: [u64; 3] = [0x07, 0x19, 0x1D];
/// Exception class of a trapped register; with FEAT_IDST also of identification registers that do not exist.
const TRAPPED_REGISTER: u64 = 0x18;

fn is_implementation_defined(register: Register) -> bool {
    matches!(register.crn, 11 | 15)
}

/// Whether a read does something: the acknowledge registers.
fn acts_on_read(register: Register) -> bool {
    register.op0 == 3 && register.crn == 12 && register.op1 == 0
}

/// Reads every encoding, and writes those that no EL1 may use.
pub(super) fn unknown(_machine: &Machine) {
    // Registers of EL2, EL3 and secure EL1, and their neighbours: UNDEFINED all of them.
    let (mut wrong, mut first) = (0u32, None);
    let above = (4 << 11..8 << 11).map(|index| Register::from_index(3, index));
    for register in above.filter(|register| !is_implementation_defined(*register)) {
        for is_right in [is_undefined(&register.read()), is_undefined(&register.write(0))] {
            if !is_right {
                wrong += 1;
                first.get_or_insert(register);
            }
        }
    }
    check_eq!(wrong, 0, "registers of higher levels are UNDEFINED");
    tell(first);

    // Of all others each is there or UNDEFINED; nothing else may come of it.
    let (mut there, mut not_there, mut wrong, mut first) = (0u32, 0u32, 0u32, None);
    for register in Register::all().filter(|register| !acts_on_read(*register)) {
        match register.read() {
            Ok(_) => there += 1,
            Err(fault) if TRAPS.contains(&fault.class()) => there += 1,
            Err(fault) if fault.class() == TRAPPED_REGISTER && register.crn == 0 => not_there += 1,
            result if is_undefined(&result) => not_there += 1,
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
        wrong += u32::from(!is_undefined(&register.write(u64::MAX)));
    }
    check_eq!(wrong, 0, "writes of ID registers are UNDEFINED");
}

fn tell(register: Option<Register>) {
    if let Some(register) = register {
        println!("guest: the first is {register}");
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
