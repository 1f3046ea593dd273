// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which function an instruction of EL2 belongs to: where a round's instructions go.
//!
//! All crates are compiled as one, and most functions are inlined, so a symbol says little. The line tables tell the
//! inlined ones too: an instruction counts for the innermost function whose source is this project's, so that what of
//! `core` or of a lock is inlined there counts for whoever uses it. Assembly has symbols only.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use addr2line::gimli::{self, Dwarf, EndianSlice, LittleEndian};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol};

use super::marks::Round;
use vambrace_manifest::workspace;

/// What the compiler calls for moving memory; the code that wanted it says more.
const HELPERS: [&str; 4] = ["memcmp", "memcpy", "memmove", "memset"];

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The functions of a linked program.
pub(super) struct Functions<'a> {
    /// `None` where there are no line tables.
    lines: Option<addr2line::Context<Slice<'a>>>,
    symbols: BTreeMap<u64, &'a str>,
}

impl<'a> Functions<'a> {
    /// Those of an ELF file; without any if it is none.
    pub(super) fn of(elf: &'a [u8]) -> Self {
        let Ok(file) = ElfFile64::<object::LittleEndian>::parse(elf) else {
            return Self { lines: None, symbols: BTreeMap::new() };
        };
        // `$x` and its like tell code from data.
        let symbols = file.symbols().filter_map(|symbol| {
            let name = symbol.name().ok()?;
            (symbol.is_definition() && !name.starts_with('$')).then(|| (symbol.address(), name))
        });
        let section = |id: gimli::SectionId| -> Result<Slice<'a>, gimli::Error> {
            let data = file.section_by_name(id.name()).and_then(|section| section.data().ok());
            Ok(EndianSlice::new(data.unwrap_or_default(), LittleEndian))
        };
        let lines = Dwarf::load(section).and_then(addr2line::Context::from_dwarf).ok();
        Self { lines, symbols: symbols.collect() }
    }

    /// The innermost function of this project's that the instruction at a linked address is from, with its file.
    fn own(&self, address: u64) -> Option<String> {
        let root = workspace();
        let mut frames = self.lines.as_ref()?.find_frames(address).skip_all_loads().ok()?;
        while let Ok(Some(frame)) = frames.next() {
            let Some(file) = frame.location.and_then(|location| location.file) else { continue };
            // Relative or not: the library's and other crates' files are elsewhere.
            let file = Path::new(file);
            let Some(file) = file.strip_prefix(&root).ok().or(file.is_relative().then_some(file)) else {
                continue;
            };
            let name = frame.function.and_then(|function| Some(short(&function.demangle().ok()?).to_owned()));
            return Some(format!("{}: {}", file.display(), name.unwrap_or_default()));
        }
        None
    }

    fn symbol(&self, address: u64) -> String {
        let symbol = self.symbols.range(..=address).next_back();
        let Some((_, name)) = symbol else { return format!("{address:#x}") };
        short(&addr2line::demangle_auto((*name).into(), None)).to_owned()
    }

    /// How many of a round's instructions are whose, the most first.
    pub(super) fn shares(&self, round: &Round) -> Vec<(String, usize)> {
        let mut names: BTreeMap<u64, (String, bool)> = BTreeMap::new();
        let mut shares: BTreeMap<String, usize> = BTreeMap::new();
        let mut last = String::new();
        for seen in round {
            let (name, is_own) = names.entry(seen.pc).or_insert_with(|| match self.own(seen.pc) {
                Some(name) => (name, true),
                None => (self.symbol(seen.pc), false),
            });
            let name =
                if HELPERS.contains(&name.as_str()) { format!("{name} for {last}") } else { name.clone() };
            if *is_own {
                last.clone_from(&name);
            }
            *shares.entry(name).or_default() += 1;
        }
        let mut shares: Vec<_> = shares.into_iter().collect();
        shares.sort_by(|(name, count), (other, more)| more.cmp(count).then_with(|| name.cmp(other)));
        shares
    }
}

/// A function's own name: without the path to it, and without what it is generic over.
fn short(name: &str) -> &str {
    let mut depth = 0usize;
    let (mut start, mut end) = (0, name.len());
    for (at, letter) in name.char_indices() {
        match letter {
            '<' => {
                if depth == 0 && at > start {
                    end = at;
                }
                depth += 1;
            }
            '>' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => (start, end) = (at + 1, name.len()),
            _ => {}
        }
    }
    name.get(start..end).unwrap_or(name)
}

/// Shares as a table.
pub(super) fn table(operation: &str, shares: &[(String, usize)]) -> String {
    let all: usize = shares.iter().map(|(_, count)| count).sum();
    let mut text = format!("{operation}: {all} instructions of EL2 in the median round\n\n");
    for (name, count) in shares {
        let _ = writeln!(text, "{count:>7} {:>3}%  {name}", count * 100 / all.max(1));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Seen;
    use super::super::instruction::InstructionKind;
    use super::*;

    #[test]
    fn a_name_loses_its_path_and_what_it_is_generic_over() {
        for (name, expected) in [
            ("visit<vambrace_interrupts::selection::Key>", "visit"),
            ("vambrace_interrupts::bank::Bank::retire", "retire"),
            ("<a::B as c::D>::call", "call"),
            ("a::b::<impl c::Vgic>::fill", "fill"),
            ("a::b::{closure#0}<c::D>", "{closure#0}"),
            ("vectors", "vectors"),
        ] {
            assert_eq!(short(name), expected);
        }
    }

    #[test]
    fn symbols_stand_in_where_there_are_no_lines() {
        let functions = Functions { lines: None, symbols: [(0, "vectors"), (8, "memcpy")].into() };
        let at = |pc| Seen { pc, kind: InstructionKind::Plain, touched: None };
        let shares = functions.shares(&vec![at(0), at(4), at(4), at(8), at(12)]);
        assert_eq!(shares, [("vectors".to_owned(), 3), ("memcpy for ".to_owned(), 2)]);
        assert!(table("x", &shares).contains("      3  60%  vectors\n"));
    }
}
