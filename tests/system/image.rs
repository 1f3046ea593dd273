// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hypervisor's image, read and not run: whether its stacks hold what its functions put on them.

use std::collections::{BTreeMap, BTreeSet};

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol, SymbolKind};
use vambrace_tests::{Bench, Case, Failed, Verdict};

/// Bytes of each CPU's stack: `image.ld` for the first, `boot/secondary.rs` for the others.
const STACK: u64 = 32 << 10;
/// What may be known to be used of it. The rest is for what cannot be seen here: calls by a pointer, of formatters most of all.
const MOST: u64 = STACK / 4 * 3;
/// Where CPUs begin.
const BEGINNINGS: [&str; 2] =
    ["vambrace_hypervisor4boot7primary17h", "vambrace_hypervisor4boot9secondary9secondary17h"];

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("image::stacks_hold_the_deepest_calls", deepest_calls)]
}

fn deepest_calls(bench: &Bench) -> Verdict {
    let mut program = Program::read(&bench.bare.hypervisor_elf)?;
    for beginning in BEGINNINGS {
        let (start, _) = program.find(beginning).ok_or_else(|| format!("no function {beginning}"))?;
        let way = program.deepest(start);
        let list: Vec<_> = way.iter().map(|function| format!("{:>6}  {}", function.0, function.1)).collect();
        let depth: u64 = way.iter().map(|function| function.0).sum();
        if depth > MOST {
            let list = list.join("\n");
            return Err(format!("{depth} bytes of {MOST} that may be used of a stack:\n{list}").into());
        }
    }
    Ok(())
}

/// A function, as its instructions show it.
#[derive(Debug, Default)]
struct Function {
    name: String,
    /// The most that it takes of the stack, in bytes.
    frame: u64,
    /// Where it goes by name, and returns from or not.
    calls: BTreeSet<u64>,
}

/// Bytes and name of each function on a way, from the first to the last.
type Way = Vec<(u64, String)>;

/// All functions, by address.
#[derive(Debug, Default)]
struct Program {
    functions: BTreeMap<u64, Function>,
    /// The deepest ways that are known.
    ways: BTreeMap<u64, Way>,
}

impl Program {
    fn read(elf: &[u8]) -> Result<Self, Failed> {
        let file = ElfFile64::<LittleEndian>::parse(elf)?;
        let text = file.section_by_name(".text").ok_or("no .text")?;
        let mut functions = BTreeMap::new();
        for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
            let name = symbol.name()?.to_owned();
            if !name.starts_with('$') {
                functions.insert(symbol.address(), Function { name, ..Function::default() });
            }
        }
        let mut program = Self { functions, ..Self::default() };
        for (at, word) in (text.address()..).step_by(4).zip(text.data()?.chunks_exact(4)) {
            let word = u32::from_le_bytes(word.try_into()?);
            let target = branch(word).map(|offset| at.wrapping_add_signed(offset));
            let target = target.and_then(|target| program.around(target));
            let Some(own) = program.around(at) else { continue };
            if let Some(function) = program.functions.get_mut(&own) {
                function.frame += taken(word);
                function.calls.extend(target.filter(|target| *target != own));
            }
        }
        Ok(program)
    }

    /// The start of the function around an address.
    fn around(&self, address: u64) -> Option<u64> {
        self.functions.range(..=address).next_back().map(|(start, _)| *start)
    }

    fn find(&self, name: &str) -> Option<(u64, &Function)> {
        let found = self.functions.iter().find(|(_, function)| function.name.contains(name));
        found.map(|(start, function)| (*start, function))
    }

    /// The way from a function on that takes most. One that calls itself counts once.
    fn deepest(&mut self, start: u64) -> Way {
        if let Some(known) = self.ways.get(&start) {
            return known.clone();
        }
        self.ways.insert(start, Way::new());
        let Some(Function { name, frame, calls }) = self.functions.get(&start) else { return Way::new() };
        let (own, calls) = ((*frame, name.clone()), calls.clone());
        let ways = calls.into_iter().map(|call| self.deepest(call));
        let deepest = ways.max_by_key(|way| way.iter().map(|function| function.0).sum::<u64>());
        let way: Way = std::iter::once(own).chain(deepest.unwrap_or_default()).collect();
        self.ways.insert(start, way.clone());
        way
    }
}

/// By how much an instruction lowers the stack pointer (Arm ARM C6.2: SUB (immediate), STP, STR (immediate)).
fn taken(word: u32) -> u64 {
    let signed = |value: u32, bits: u32| i64::from((value << (32 - bits)) as i32 >> (32 - bits));
    let immediate = u64::from(word >> 10 & 0xFFF);
    if word & 0xFF80_03FF == 0xD100_03FF {
        // sub sp, sp, #
        return if word >> 22 & 1 == 1 { immediate << 12 } else { immediate };
    }
    if word & 0xFFC0_03FF == 0xD140_03E9 {
        // sub x9, sp, #, lsl #12: the end of a loop that takes and probes a page in each round, of which one is counted above.
        return immediate.saturating_sub(1) << 12;
    }
    let offset = if word & 0xFFC0_03E0 == 0xA980_03E0 {
        // stp, [sp, #]!
        signed(word >> 15 & 0x7F, 7) * 8
    } else if word & 0xFFE0_0FE0 == 0xF800_0FE0 {
        // str, [sp, #]!
        signed(word >> 12 & 0x1FF, 9)
    } else {
        0
    };
    offset.min(0).unsigned_abs()
}

/// How far an instruction branches, with or without a way back: BL, B.
fn branch(word: u32) -> Option<i64> {
    let is_branch = matches!(word >> 26, 0b10_0101 | 0b00_0101);
    is_branch.then(|| i64::from((word << 6) as i32 >> 6) * 4)
}
