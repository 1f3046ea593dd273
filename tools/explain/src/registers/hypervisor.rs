// SPDX-License-Identifier: MIT OR Apache-2.0
//! What EL2 controls its guests with: HCR, VTTBR, CPTR, MDCR, CNTHCTL.
//!
//! CPTR and CNTHCTL have another layout while HCR_EL2.E2H is set; the tables are for E2H clear, as here.

use super::{
    Field, Layout, Register, Remark, bits, either, nothing, number, one, res1, says, values, wfe_delay,
    words, wrong,
};

pub(super) const REGISTERS: &[Register] = &[
    Register {
        names: &["HCR_EL2"],
        title: "Hypervisor Configuration Register: what traps to EL2, and how stage 2 works",
        layout: Layout::Fixed(HCR),
        remarks: hcr,
    },
    Register {
        names: &["VTTBR_EL2"],
        title: "Virtualization Translation Table Base Register: a VM's stage 2 tables and VMID",
        layout: Layout::Fixed(&[
            number(63, 48, "VMID", "tags the VM's entries in the TLB; 63:56 count only with VTCR_EL2.VS"),
            number(47, 1, "BADDR", "bits 47:1 of the root table's address"),
            one(0, "CnP", "the tables are the same on all CPUs of the Inner Shareable domain"),
        ]),
        remarks: vttbr,
    },
    Register {
        names: &["CPTR_EL2"],
        title: "Architectural Feature Trap Register: FP, SVE, SME and trace (E2H clear)",
        layout: Layout::Fixed(CPTR),
        remarks: nothing,
    },
    Register {
        names: &["MDCR_EL2"],
        title: "Monitor Debug Configuration Register: debug, trace and performance counters",
        layout: Layout::Fixed(MDCR),
        remarks: nothing,
    },
    Register {
        names: &["CNTHCTL_EL2"],
        title: "Counter-timer Hypervisor Control Register: what of the timers EL1 and EL0 reach (E2H clear)",
        layout: Layout::Fixed(CNTHCTL),
        remarks: nothing,
    },
];

const HCR: &[Field] = &[
    words(63, 60, "TWEDEL", wfe_delay),
    one(59, "TWEDEn", "WFE traps only after the delay of TWEDEL"),
    one(58, "TID5", "reads of GMID_EL1 trap"),
    one(57, "DCT", "with DC: memory is tagged"),
    either(56, "ATA", "EL1 and EL0 may use allocation tags", ""),
    one(55, "TTLBOS", "TLBI of the Outer Shareable domain trap"),
    one(54, "TTLBIS", "TLBI of the Inner Shareable domain trap"),
    one(53, "EnSCXT", "SCXTNUM is the guest's"),
    one(52, "TOCU", "cache maintenance to the point of unification traps"),
    one(51, "AMVOFFEN", "activity monitors have virtual offsets"),
    one(50, "TICAB", "IC IALLUIS traps"),
    one(49, "TID4", "reads of CCSIDR, CLIDR and CSSELR trap"),
    one(48, "GPF", "granule protection faults are taken to EL2"),
    one(47, "FIEN", "the guest may inject faults by ERX registers"),
    either(
        46,
        "FWB",
        "stage 2's attributes override stage 1's",
        "the weaker of both stages' attributes wins",
    ),
    one(45, "NV2", "nested virtualisation turns register accesses into memory accesses"),
    one(44, "AT", "AT instructions of EL1 trap"),
    one(43, "NV1", "nested virtualisation for a guest hypervisor with E2H clear"),
    one(42, "NV", "nested virtualisation: EL2 registers and ERET trap at EL1"),
    either(41, "API", "the guest may use pointer authentication", "pointer authentication instructions trap"),
    either(40, "APK", "the guest may use the keys", "accesses to the pointer authentication keys trap"),
    one(39, "TME", "the guest may use transactions"),
    one(38, "MIOCNCE", "mismatched cacheability may lose coherency"),
    one(37, "TEA", "synchronous external aborts of EL1 and EL0 are taken to EL2"),
    one(36, "TERR", "accesses to the error record registers trap"),
    one(35, "TLOR", "accesses to the LORegion registers trap"),
    one(34, "E2H", "EL2 hosts an operating system: VHE"),
    one(33, "ID", "instruction fetches of EL1 and EL0 are Non-cacheable"),
    one(32, "CD", "data accesses and table walks of EL1 and EL0 are Non-cacheable"),
    either(31, "RW", "EL1 is AArch64", "EL1 and EL0 are AArch32"),
    one(30, "TRVM", "reads of the virtual memory registers trap"),
    one(29, "HCD", "HVC is UNDEFINED"),
    one(28, "TDZ", "DC ZVA traps"),
    one(27, "TGE", "exceptions of EL0 are taken to EL2: there is no EL1"),
    one(26, "TVM", "writes of the virtual memory registers trap"),
    one(25, "TTLB", "TLBI instructions trap"),
    one(24, "TPU", "cache maintenance to the point of unification traps"),
    one(23, "TPCP", "cache maintenance to the point of coherency or persistence traps"),
    one(22, "TSW", "cache maintenance by set and way traps"),
    one(21, "TACR", "accesses to ACTLR_EL1 trap"),
    one(20, "TIDCP", "IMPLEMENTATION DEFINED registers and instructions trap"),
    one(19, "TSC", "SMC traps"),
    one(18, "TID3", "reads of the ID registers (group 3) trap"),
    one(17, "TID2", "reads of the cache ID registers (group 2) trap"),
    one(16, "TID1", "reads of REVIDR, AIDR and such (group 1) trap"),
    one(15, "TID0", "reads of group 0's ID registers trap (AArch32)"),
    one(14, "TWE", "WFE traps, if it would wait"),
    one(13, "TWI", "WFI traps, if it would wait"),
    one(12, "DC", "with stage 1 off, memory is Normal Write-Back, and VM counts as set"),
    values(
        11,
        10,
        "BSU",
        &[
            (0, "barriers reach as far as they say"),
            (1, "barriers reach at least the Inner Shareable domain"),
            (2, "barriers reach at least the Outer Shareable domain"),
            (3, "barriers reach the full system"),
        ],
    ),
    one(9, "FB", "TLBI and IC of EL1 are broadcast to the Inner Shareable domain"),
    one(8, "VSE", "a virtual SError is pending"),
    one(7, "VI", "a virtual IRQ is pending, besides the GIC's"),
    one(6, "VF", "a virtual FIQ is pending, besides the GIC's"),
    one(5, "AMO", "SErrors are taken to EL2, virtual ones are on"),
    one(4, "IMO", "IRQs are taken to EL2, virtual ones are on"),
    one(3, "FMO", "FIQs are taken to EL2, virtual ones are on"),
    one(2, "PTW", "a table walk through Device memory of stage 2 faults"),
    one(1, "SWIO", "DC ISW acts as DC CISW"),
    either(0, "VM", "stage 2 is on", "stage 2 is off"),
];

fn hcr(value: u64) -> Vec<Remark> {
    let set = |bit: u32| value >> bit & 1 != 0;
    let mut remarks = Vec::new();
    match (set(27), set(34)) {
        (true, true) => remarks.push(says("a host's EL0 runs below EL2 (VHE): no VM, stage 2 is out of use")),
        (true, false) => remarks.push(says("EL0 runs below EL2 without EL1: stage 2 is out of use")),
        (false, _) if set(0) || set(12) => remarks.push(says("a VM runs at EL1 and EL0, behind stage 2")),
        (false, _) => {
            remarks.push(says("EL1 and EL0 reach physical memory as their stage 1 says: no stage 2"));
        }
    }
    match (set(3), set(4), set(5)) {
        (true, true, true) => remarks.push(says("all interrupts and SErrors come to EL2")),
        (false, false, false) if !set(27) => {
            remarks.push(says("no interrupt comes to EL2: the guest takes all"));
        }
        _ => {}
    }
    for (virtual_bit, name, needs, route) in [(6, "VF", 3, "FMO"), (7, "VI", 4, "IMO"), (8, "VSE", 5, "AMO")]
    {
        if set(virtual_bit) && !set(needs) {
            remarks.push(wrong(format!("{name} has no effect: a virtual interrupt needs {route}")));
        }
    }
    if set(12) && set(27) {
        remarks.push(wrong("DC has no effect with TGE"));
    }
    if !set(42) && (set(43) || set(45)) {
        remarks.push(wrong("NV1 and NV2 have no effect without NV"));
    }
    if set(59) && !set(14) {
        remarks.push(wrong("TWEDEn has no effect without TWE"));
    }
    remarks
}

fn vttbr(value: u64) -> Vec<Remark> {
    let root = bits(value, 47, 1) << 1;
    let mut remarks = vec![says(format!("VMID {}, root table at {root:#x}", value >> 48))];
    if root & 0xFFF == 0 {
        let room = if root == 0 { 16 } else { 1u64 << (root.trailing_zeros() - 12).min(4) };
        remarks.push(says(format!(
            "with 4 KiB tables the alignment allows up to {room} concatenated root table{}; VTCR_EL2 says how many",
            if room == 1 { "" } else { "s" }
        )));
    } else if root & 0x3F != 0 {
        remarks.push(wrong("no root table is aligned to less than 64 bytes"));
    }
    remarks
}

const CPTR: &[Field] = &[
    one(31, "TCPAC", "accesses to CPACR_EL1 trap"),
    one(30, "TAM", "accesses to the activity monitors trap"),
    one(20, "TTA", "accesses to the trace registers trap"),
    res1(13, 13),
    either(12, "TSM", "SME traps (or: there is none)", "SME does not trap"),
    either(10, "TFP", "SIMD and floating point trap", "SIMD and floating point do not trap"),
    res1(9, 9),
    either(8, "TZ", "SVE traps (or: there is none)", "SVE does not trap"),
    res1(7, 0),
];

const MDCR: &[Field] = &[
    one(50, "EnSTEPOP", "stepping by MDSTEPOP_EL1 is on"),
    one(43, "EBWE", "the extended breakpoint and watchpoint banks are the guest's"),
    values(
        41,
        40,
        "PMEE",
        &[
            (0, "PMU exceptions are off; its overflow is an interrupt"),
            (2, "EL1 chooses between PMU exception and interrupt"),
            (3, "PMU exceptions are on"),
        ],
    ),
    one(36, "HPMFZS", "a profiling buffer event freezes the upper counters"),
    values(31, 30, "PMSSE", &[(0, "no PMU snapshot"), (2, "EL1 chooses"), (3, "PMU snapshots are allowed")]),
    one(29, "HPMFZO", "an overflow freezes the upper counters"),
    either(28, "MTPME", "PMEVTYPER.MT is the guest's", ""),
    one(27, "TDCC", "accesses to the debug communication channel trap"),
    one(26, "HLP", "the upper counters overflow at 64 bits"),
    number(25, 24, "E2TB", "who owns the trace buffer"),
    one(23, "HCCD", "the cycle counter stands still at EL2"),
    one(19, "TTRF", "accesses to the trace filter traps"),
    one(17, "HPMD", "counters stand still at EL2"),
    one(15, "EnSPM", "the system PMU is the guest's"),
    one(14, "TPMS", "accesses to the statistical profiling registers trap"),
    values(
        13,
        12,
        "E2PB",
        &[
            (0, "the profiling buffer is EL2's, accesses trap"),
            (2, "the profiling buffer is EL1's, accesses trap"),
            (3, "the profiling buffer is EL1's"),
        ],
    ),
    one(11, "TDRA", "accesses to the debug ROM registers trap"),
    one(10, "TDOSA", "accesses to the OS Lock and its like trap"),
    one(9, "TDA", "accesses to the debug registers trap"),
    one(8, "TDE", "debug exceptions are taken to EL2"),
    one(7, "HPME", "the upper counters count"),
    one(6, "TPM", "accesses to the performance monitors trap"),
    one(5, "TPMCR", "accesses to PMCR_EL0 trap"),
    number(4, 0, "HPMN", "how many counters are EL1's; the rest is EL2's"),
];

const CNTHCTL: &[Field] = &[
    one(19, "CNTPMASK", "the EL1 physical timer's interrupt is masked"),
    one(18, "CNTVMASK", "the virtual timer's interrupt is masked"),
    one(17, "EVNTIS", "EVNTI counts from bit 8 of the counter"),
    one(16, "EL1NVVCT", "nested virtualisation: accesses to EL1's virtual timer by its _EL02 names trap"),
    one(15, "EL1NVPCT", "nested virtualisation: accesses to EL1's physical timer by its _EL02 names trap"),
    one(14, "EL1TVCT", "reads of the virtual count trap"),
    one(13, "EL1TVT", "accesses to the virtual timer trap"),
    one(12, "ECV", "CNTPOFF_EL2 shifts the physical count"),
    number(7, 4, "EVNTI", "the counter's bit that makes events for WFE"),
    either(3, "EVNTDIR", "events when it falls to 0", "events when it rises to 1"),
    one(2, "EVNTEN", "the event stream is on"),
    either(1, "EL1PCEN", "the physical timer is the guest's", "accesses to the physical timer trap"),
    either(0, "EL1PCTEN", "the physical count is the guest's", "reads of the physical count trap"),
];
