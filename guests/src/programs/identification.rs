// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the machine says that it is: every identification register of every device that the device tree names, and of the
//! CPU. One line each, `guest: id NAME VALUE`, for somebody to compare.

use core::arch::asm;

use crate::machine::Machine;
use crate::{console, gic, mmio, report};

/// Where Arm's PrimeCells identify themselves: PeriphID0 to PeriphID3, PCellID0 to PCellID3.
const PRIMECELL: core::ops::Range<u64> = 0xFE0..0x1000;
/// Where a frame of the interrupt controller does: PIDR4 to PIDR7, PIDR0 to PIDR3, CIDR0 to CIDR3.
const GIC_FRAME: core::ops::Range<u64> = 0xFFD0..0x1_0000;

/// Runs the program.
pub fn run(machine: &Machine) {
    tell("pl011", console::uart(), PRIMECELL);
    if let Some((clock, _)) = machine.device("arm,pl031").and_then(|mut ranges| ranges.next()) {
        tell("pl031", clock, PRIMECELL);
    }
    interrupt_controller();
    for (slot, _) in machine.devices("virtio,mmio") {
        virtio(slot);
    }
    cpu();
    check!(true, "all has been told");
    report::finish("identification");
}

/// The registers of 32 bits at these offsets.
fn tell(name: &str, base: u64, offsets: core::ops::Range<u64>) {
    for offset in offsets.step_by(4) {
        println!("guest: id {name}+{offset:#x} {:#x}", mmio::read32(base + offset));
    }
}

fn interrupt_controller() {
    tell("gicd", gic::gicd(), 0x4..0x10);
    tell("gicd", gic::gicd(), GIC_FRAME);
    // IIDR, and TYPER's two halves, of the first CPU.
    tell("gicr", gic::gicr(), 0x4..0x10);
    tell("gicr", gic::gicr(), GIC_FRAME);
    println!("guest: id icc-ctlr {:#x}", read_register!("icc_ctlr_el1"));
    println!("guest: id icc-sre {:#x}", read_register!("icc_sre_el1"));
}

/// MagicValue, Version, DeviceID and VendorID (virtio 1.2, 4.2.2), named after the device: which slot it has is not the
/// same everywhere. An empty slot says nothing.
fn virtio(slot: u64) {
    let device = mmio::read32(slot + 0x8);
    if device != 0 {
        for offset in [0x0, 0x4, 0xC] {
            println!("guest: id virtio-{device}+{offset:#x} {:#x}", mmio::read32(slot + offset));
        }
    }
}

/// Reads a register of the identification space, S3_0_C0_C<CRm>_<op2>, and tells it.
macro_rules! space {
    ($($crm:literal)*) => { $(space!(@row $crm 0 1 2 3 4 5 6 7);)* };
    (@row $crm:literal $($op2:literal)*) => {
        $({
            let value: u64;
            // SAFETY: the whole space can be read; what is not allocated reads as zero.
            unsafe { asm!(concat!("mrs {}, s3_0_c0_c", $crm, "_", $op2), out(reg) value, options(nostack)) };
            println!("guest: id s3_0_c0_c{}_{} {value:#x}", $crm, $op2);
        })*
    };
}

fn cpu() {
    println!("guest: id midr {:#x}", read_register!("midr_el1"));
    println!("guest: id mpidr {:#x}", read_register!("mpidr_el1"));
    println!("guest: id revidr {:#x}", read_register!("revidr_el1"));
    println!("guest: id aidr {:#x}", read_register!("s3_1_c0_c0_7"));
    println!("guest: id ctr {:#x}", read_register!("ctr_el0"));
    println!("guest: id dczid {:#x}", read_register!("dczid_el0"));
    println!("guest: id clidr {:#x}", read_register!("s3_1_c0_c0_1"));
    space!(1 2 3 4 5 6 7);
}
