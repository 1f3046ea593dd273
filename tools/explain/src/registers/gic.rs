// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hypervisor's side of the GICv3's CPU interface: ICH_*.

use super::{
    Field, Layout, Register, Remark, bits, either, nothing, number, one, says, values, words, wrong,
};

pub(super) const REGISTERS: &[Register] = &[
    Register {
        names: &["ICH_LR_EL2"],
        title: "List Register (0 to 15): one virtual interrupt",
        layout: Layout::ByValue(lr_tables),
        remarks: lr,
    },
    Register {
        names: &["ICH_HCR_EL2"],
        title: "Interrupt Controller Hyp Control Register: traps and maintenance interrupts",
        layout: Layout::Fixed(HCR),
        remarks: nothing,
    },
    Register {
        names: &["ICH_VMCR_EL2"],
        title: "Interrupt Controller Virtual Machine Control Register: the guest's CPU interface",
        layout: Layout::Fixed(VMCR),
        remarks: nothing,
    },
    Register {
        names: &["ICH_VTR_EL2"],
        title: "Interrupt Controller VGIC Type Register: what the virtual CPU interface has",
        layout: Layout::Fixed(VTR),
        remarks: nothing,
    },
];

const HW: u32 = 61;

fn lr_tables(value: u64) -> Vec<&'static [Field]> {
    vec![LR, if value >> HW & 1 != 0 { LR_HARDWARE } else { LR_SOFTWARE }]
}

const LR: &[Field] = &[
    values(
        63,
        62,
        "State",
        &[(0, "inactive: the register is free"), (1, "pending"), (2, "active"), (3, "pending and active")],
    ),
    either(HW, "HW", "linked to a physical interrupt", "software's alone"),
    either(60, "Group", "group 1: an IRQ", "group 0: an FIQ"),
    one(59, "NMI", "not maskable"),
    number(55, 48, "Priority", "the lower, the more urgent"),
    number(31, 0, "vINTID", "the interrupt that the guest sees"),
];

const LR_HARDWARE: &[Field] = &[number(44, 32, "pINTID", "the physical one, deactivated with it")];

const LR_SOFTWARE: &[Field] = &[one(41, "EOI", "its end raises a maintenance interrupt")];

fn lr(value: u64) -> Vec<Remark> {
    let (state, vintid, pintid) = (bits(value, 63, 62), bits(value, 31, 0), bits(value, 44, 32));
    let linked = value >> HW & 1 != 0;
    let kind = |intid: u64| match intid {
        0..=15 => "an SGI",
        16..=31 => "a PPI",
        32..=1019 => "an SPI",
        1020..=1023 => "a special number",
        8192.. => "an LPI",
        _ => "a reserved number",
    };
    let mut remarks = vec![says(format!("the guest sees INTID {vintid}, {}", kind(vintid)))];
    if matches!(vintid, 1020..=1023) && state != 0 {
        remarks.push(wrong("special INTIDs are never pending or active"));
    }
    if linked && state == 3 {
        remarks.push(wrong("pending and active is not allowed together with HW"));
    }
    if linked && pintid < 16 {
        remarks.push(wrong(format!("pINTID {pintid} is an SGI, which cannot be linked")));
    }
    remarks
}

const HCR: &[Field] = &[
    number(31, 27, "EOIcount", "ends of interrupts that were in no list register"),
    one(15, "DVIM", "directly injected virtual interrupts are masked"),
    one(14, "TDIR", "writes of ICC_DIR_EL1 trap"),
    one(13, "TSEI", "local SErrors of the interface trap"),
    one(12, "TALL1", "all accesses to group 1's registers trap"),
    one(11, "TALL0", "all accesses to group 0's registers trap"),
    one(10, "TC", "accesses to the registers common to both groups trap"),
    one(8, "vSGIEOICount", "ends of virtual SGIs do not count"),
    one(7, "VGrp1DIE", "maintenance interrupt while group 1 is disabled"),
    one(6, "VGrp1EIE", "maintenance interrupt while group 1 is enabled"),
    one(5, "VGrp0DIE", "maintenance interrupt while group 0 is disabled"),
    one(4, "VGrp0EIE", "maintenance interrupt while group 0 is enabled"),
    one(3, "NPIE", "maintenance interrupt while no list register is pending"),
    one(2, "LRENPIE", "maintenance interrupt while EOIcount is not 0"),
    one(1, "UIE", "maintenance interrupt while at most one list register is in use"),
    either(0, "En", "the virtual CPU interface is on", "the virtual CPU interface is off"),
];

const VMCR: &[Field] = &[
    number(31, 24, "VPMR", "the priority mask: only what is more urgent is signalled"),
    number(23, 21, "VBPR0", "binary point of group 0"),
    number(20, 18, "VBPR1", "binary point of group 1"),
    either(9, "VEOIM", "an end only drops the priority", "an end drops the priority and deactivates"),
    one(4, "VCBPR", "group 0's binary point is group 1's too"),
    either(3, "VFIQEn", "group 0 is signalled as FIQ", "group 0 is signalled as IRQ"),
    one(2, "VAckCtl", "an acknowledge of group 0 takes group 1 too"),
    either(1, "VENG1", "group 1 is enabled", "group 1 is disabled"),
    either(0, "VENG0", "group 0 is enabled", "group 0 is disabled"),
];

fn one_more(value: u64) -> String {
    (value + 1).to_string()
}

const VTR: &[Field] = &[
    words(31, 29, "PRIbits", one_more),
    words(28, 26, "PREbits", one_more),
    values(25, 23, "IDbits", &[(0, "INTIDs of 16 bits"), (1, "INTIDs of 24 bits")]),
    one(22, "SEIS", "the interface can raise SErrors"),
    either(21, "A3V", "Aff3 of SGIs may be other than 0", "Aff3 of SGIs is 0"),
    either(20, "nV4", "no direct injection", "direct injection: GICv4"),
    either(19, "TDS", "TDIR is there", "no TDIR"),
    one(18, "DVIM", "ICH_HCR_EL2.DVIM is there"),
    words(4, 0, "ListRegs", one_more),
];
