// SPDX-License-Identifier: MIT OR Apache-2.0
//! What to change against a fault.
//!
//! Nothing is guessed: for faults of access flags and permissions each bit that could be to blame is flipped, alone and
//! then in pairs, and the model is asked again. What is proposed is what lets the access past this fault.
//! For the other faults no bit can be flipped, and the words say what is wanted.

use vambrace_memory::fault::{Fault, FaultKind, Origin};
use vambrace_memory::hcr;
use vambrace_memory::stage2::PhysicalMemory;
use vambrace_memory::translation::{Registers, translate};
use vambrace_memory::walk::{DescriptorKind, WalkEntry};
use vambrace_memory::{Ipa, Pa};

use super::fault::{refused_walk, updates};
use super::report::Question;
use super::trace::{Trace, Walk2};

/// One bit to flip.
#[derive(Clone, Copy, Debug)]
struct Flip {
    location: BitLocation,
    bit: u32,
    name: &'static str,
    /// What it is then.
    to: bool,
}

/// Where a bit is: in a descriptor or in a register.
#[derive(Clone, Copy, Debug)]
enum BitLocation {
    Descriptor { stage: u8, level: i8, shown: u64, pa: Pa },
    Register(Register),
}

/// A register, or what stands in one.
#[derive(Clone, Copy, Debug)]
enum Register {
    Sctlr,
    Tcr,
    Hcr,
    Vtcr,
    Pan,
}

/// What to change against `fault`, the least first.
pub(super) fn fix_hints(
    memory: &impl PhysicalMemory,
    registers: &Registers,
    question: Question,
    trace: &Trace,
    fault: Fault,
) -> Vec<String> {
    let candidates = candidates(registers, trace, fault);
    let helps = |flips: &[Flip]| {
        let patched = Patched { memory, flips, swapped: registers.sctlr & SCTLR_EE != 0 };
        let changed = flips.iter().fold(*registers, |registers, flip| flip.in_registers(registers));
        let Question { va, access, el } = question;
        match translate(&patched, &changed, va, access, el, &mut ()) {
            Ok(_) => true,
            Err(other) => (other.origin, other.level, other.kind) != (fault.origin, fault.level, fault.kind),
        }
    };
    let single: Vec<String> = candidates.iter().filter(|flip| helps(&[**flip])).map(Flip::in_words).collect();
    if !single.is_empty() {
        return single;
    }
    let pairs = candidates
        .iter()
        .enumerate()
        .flat_map(|(number, one)| candidates.iter().skip(number + 1).map(move |other| [*one, *other]));
    let pairs: Vec<String> = pairs
        .filter(|pair| helps(pair))
        .map(|[one, other]| format!("{}, and {}", one.in_words(), other.in_words()))
        .take(4)
        .collect();
    if pairs.is_empty() { wanted(trace, fault).into_iter().collect() } else { pairs }
}

const SCTLR_EE: u64 = 1 << 25;
const AF: (u32, &str) = (10, "AF");

/// All bits that could be to blame.
fn candidates(registers: &Registers, trace: &Trace, fault: Fault) -> Vec<Flip> {
    let mut flips = Vec::new();
    match (fault.origin, fault.kind) {
        (Origin::Stage1, FaultKind::AccessFlag) => {
            flips.extend(stage1_bits(registers, trace, &[AF]));
            flips.push(Flip::register(registers, Register::Tcr, 39, "HA"));
        }
        (Origin::Stage1, FaultKind::Permission) => {
            let leaf = [(6, "AP[1]"), (7, "AP[2]"), (53, "PXN"), (54, "UXN")];
            flips.extend(stage1_bits(registers, trace, &leaf));
            flips.push(Flip::register(registers, Register::Sctlr, 19, "WXN"));
            flips.push(Flip::register(registers, Register::Pan, 0, "PAN"));
        }
        (Origin::Stage1, _) => {}
        (_, FaultKind::AccessFlag) => {
            flips.extend(stage2_bits(trace, fault, &[AF]));
            flips.push(Flip::register(registers, Register::Vtcr, 21, "HA"));
        }
        (_, FaultKind::Permission) => {
            let leaf = [(6, "S2AP[0]"), (7, "S2AP[1]"), (53, "XN[0]"), (54, "XN[1]")];
            flips.extend(stage2_bits(trace, fault, &leaf));
            flips.push(Flip::register(registers, Register::Hcr, hcr::PTW.trailing_zeros(), "PTW"));
        }
        (_, _) => {}
    }
    flips
}

/// Bits of stage 1's leaf, and for permissions of the tables above it.
fn stage1_bits(registers: &Registers, trace: &Trace, leaf: &[(u32, &'static str)]) -> Vec<Flip> {
    let table = [(59, "PXNTable"), (60, "UXNTable"), (61, "APTable[0]"), (62, "APTable[1]")];
    let mut flips = Vec::new();
    for row in trace.rows.iter().rev() {
        let Some(entry) = row.entry else { continue };
        let ours = Pa(entry.address());
        let pa = row.stage2.as_ref().map_or(Some(ours), |walk| walk.pa);
        let Some(pa) = pa.filter(|_| registers.stage1().enabled()) else { continue };
        if entry.kind == DescriptorKind::Table {
            // A table can but take away, so only what it takes away is to blame.
            flips.extend(descriptor_bits(1, &entry, pa, &table).into_iter().filter(|flip| !flip.to));
        } else {
            flips.extend(descriptor_bits(1, &entry, pa, leaf));
        }
    }
    flips
}

fn stage2_bits(trace: &Trace, fault: Fault, bits: &[(u32, &'static str)]) -> Vec<Flip> {
    let leaf = refused_walk(trace, fault).and_then(|walk| walk.entries.last());
    leaf.map(|entry| descriptor_bits(2, entry, Pa(entry.address()), bits)).unwrap_or_default()
}

fn descriptor_bits(stage: u8, entry: &WalkEntry, pa: Pa, bits: &[(u32, &'static str)]) -> Vec<Flip> {
    let location = BitLocation::Descriptor { stage, level: entry.level, shown: entry.address(), pa };
    let flip =
        |&(bit, name): &(u32, &'static str)| Flip { location, bit, name, to: entry.raw >> bit & 1 == 0 };
    bits.iter().map(flip).collect()
}

impl Flip {
    /// A bit of a register, from the value that it has.
    fn register(registers: &Registers, register: Register, bit: u32, name: &'static str) -> Self {
        let value = match register {
            Register::Sctlr => registers.sctlr,
            Register::Tcr => registers.tcr,
            Register::Hcr => registers.hcr,
            Register::Vtcr => registers.vtcr,
            Register::Pan => u64::from(registers.pan),
        };
        Self { location: BitLocation::Register(register), bit, name, to: value >> bit & 1 == 0 }
    }

    const fn in_registers(&self, mut registers: Registers) -> Registers {
        let mask = 1 << self.bit;
        match self.location {
            BitLocation::Descriptor { .. } => {}
            BitLocation::Register(Register::Sctlr) => registers.sctlr ^= mask,
            BitLocation::Register(Register::Tcr) => registers.tcr ^= mask,
            BitLocation::Register(Register::Hcr) => registers.hcr ^= mask,
            BitLocation::Register(Register::Vtcr) => registers.vtcr ^= mask,
            BitLocation::Register(Register::Pan) => registers.pan = self.to,
        }
        registers
    }

    fn in_words(&self) -> String {
        let Self { location, bit, name, to } = self;
        let verb = if *to { "set" } else { "clear" };
        match location {
            BitLocation::Descriptor { stage, level, shown, .. } => {
                let space = if *stage == 1 { "IPA" } else { "PA" };
                format!(
                    "{verb} {name} (bit {bit}) of the level {level} descriptor of stage {stage} at {space} {shown:#x}"
                )
            }
            BitLocation::Register(Register::Pan) => format!("{verb} PSTATE.PAN"),
            BitLocation::Register(register) => {
                let register = match register {
                    Register::Sctlr => "SCTLR_EL1",
                    Register::Tcr => "TCR_EL1",
                    Register::Vtcr => "VTCR_EL2",
                    Register::Hcr | Register::Pan => "HCR_EL2",
                };
                // Many bits of a descriptor would do as well: the words say which.
                let or = if name == &"PTW" {
                    ", or map the page as Normal memory in stage 2 (MemAttr)"
                } else {
                    ""
                };
                format!("{verb} {register}.{name} (bit {bit}){or}")
            }
        }
    }
}

/// Memory with some bits flipped.
struct Patched<'a, M> {
    memory: &'a M,
    flips: &'a [Flip],
    /// Whether stage 1 reads its descriptors in big-endian order.
    swapped: bool,
}

impl<M: PhysicalMemory> PhysicalMemory for Patched<'_, M> {
    fn read(&self, at: Pa) -> Option<u64> {
        let value = self.memory.read(at)?;
        let flipped = self.flips.iter().fold(0, |flipped, flip| match flip.location {
            BitLocation::Descriptor { stage, pa, .. } if pa == at => {
                let mask = 1_u64 << flip.bit;
                flipped ^ if stage == 1 && self.swapped { mask.swap_bytes() } else { mask }
            }
            BitLocation::Descriptor { .. } | BitLocation::Register(_) => flipped,
        });
        Some(value ^ flipped)
    }
}

/// What to write where no bit can be flipped.
fn wanted(trace: &Trace, fault: Fault) -> Option<String> {
    let walk = refused_walk(trace, fault);
    match (fault.origin, fault.kind) {
        (Origin::Stage1, FaultKind::Translation) => {
            let entry = trace.rows.last().and_then(|row| row.entry)?;
            Some(format!(
                "map the address: write a valid descriptor of level {} at IPA {:#x}",
                entry.level,
                entry.address()
            ))
        }
        (Origin::Stage2 { ipa } | Origin::Stage1Walk { ipa }, FaultKind::Translation) => {
            Some(mapping(fault.origin, ipa, walk))
        }
        (_, FaultKind::AddressSize) => {
            Some("write an address that fits, or allow more bits in TCR_EL1.IPS or VTCR_EL2.PS".to_owned())
        }
        (Origin::Stage1Walk { .. }, FaultKind::Permission) if updates(trace) => {
            Some("let stage 2 allow writes to the page of the stage 1 table".to_owned())
        }
        _ => None,
    }
}

fn mapping(origin: Origin, ipa: Ipa, walk: Option<&Walk2>) -> String {
    let place = walk.and_then(|walk| walk.entries.last()).map_or_else(String::new, |entry| {
        format!(": write a valid descriptor of level {} at PA {:#x}", entry.level, entry.address())
    });
    match origin {
        Origin::Stage1Walk { .. } => format!(
            "map IPA {ipa}, where stage 1 has a table, in stage 2{place}; or move the table to memory that the VM has"
        ),
        Origin::Stage1 | Origin::Stage2 { .. } => {
            format!("map IPA {ipa} in stage 2{place}; or let stage 1 lead to memory that the VM has")
        }
    }
}
