// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names for a guest's addresses: from an ELF file, or from a Linux `System.map`.
//!
//! A Linux moves itself when it starts (KASLR). Where its exception vectors are (VBAR_EL1) tells by how much.

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSymbol};

/// The symbol at which Linux has its vectors.
const VECTORS: &str = "vectors";

/// How far behind a symbol without a size an address may be to be called by its name.
const REACH: u64 = 1 << 20;

/// Symbols by their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    /// Address, size if known, name; in order.
    list: Vec<(u64, u64, String)>,
}

impl Symbols {
    /// Reads an ELF file's or a `System.map`'s. `None` if it is neither, or has no symbols.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut list = if bytes.starts_with(b"\x7FELF") { elf(bytes)? } else { map(bytes)? };
        list.sort();
        list.dedup_by_key(|(address, ..)| *address);
        (!list.is_empty()).then_some(Self { list })
    }

    /// What is at an address of a guest whose VBAR_EL1 is `vbar`: a name and the distance from it.
    #[must_use]
    pub fn name(&self, address: u64, vbar: u64) -> Option<String> {
        let at = address.wrapping_sub(self.slide(vbar));
        let index = self.list.partition_point(|(start, ..)| *start <= at).checked_sub(1)?;
        let (start, size, name) = self.list.get(index)?;
        let offset = at - start;
        let reach = if *size == 0 { REACH } else { *size };
        (offset < reach).then(|| format!("{name}+{offset:#x}"))
    }

    /// By how much the guest has moved itself.
    fn slide(&self, vbar: u64) -> u64 {
        let vectors = self.list.iter().find(|(.., name)| name == VECTORS).map(|(address, ..)| *address);
        // Before the guest has set it, and where user space has vectors of its own, it says nothing.
        match vectors {
            Some(vectors) if vbar >> 63 == 1 && vbar & 0xFFF == vectors & 0xFFF => vbar.wrapping_sub(vectors),
            _ => 0,
        }
    }
}

fn elf(bytes: &[u8]) -> Option<Vec<(u64, u64, String)>> {
    let file = ElfFile64::<LittleEndian>::parse(bytes).ok()?;
    let mut list = Vec::new();
    for symbol in file.symbols().filter(ObjectSymbol::is_definition) {
        if let Some(name) = symbol.name().ok().filter(|name| !name.is_empty() && !name.starts_with('$')) {
            list.push((symbol.address(), symbol.size(), name.to_owned()));
        }
    }
    Some(list)
}

/// Lines such as `ffff800080010000 T _text`.
fn map(bytes: &[u8]) -> Option<Vec<(u64, u64, String)>> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let kind = words.next().filter(|kind| kind.len() == 1)?;
        let name = words.next()?;
        Some((!name.starts_with('$') && !"aA".contains(kind)).then(|| (address, 0, name.to_owned())))
    };
    let text = std::str::from_utf8(bytes).ok()?;
    // One line that is none makes it another file.
    let all: Option<Vec<_>> = text.lines().filter(|text| !text.trim().is_empty()).map(line).collect();
    Some(all?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &[u8] = b"ffff800080000000 T _text\nffff800080010800 T vectors\nffff800080020000 t $x\n\
        ffff800080020000 t cpu_do_idle\n0000000000000000 A __crc\nffff800080030000 D data\n";

    #[test]
    fn an_address_has_the_name_of_the_symbol_before_it() {
        let symbols = Symbols::read(MAP).unwrap();
        let name = |address| symbols.name(address, 0);
        assert_eq!(name(0xFFFF_8000_8002_0010).as_deref(), Some("cpu_do_idle+0x10"));
        assert_eq!(name(0xFFFF_8000_8000_0000).as_deref(), Some("_text+0x0"));
        assert_eq!(name(0xFFFF_8000_7FFF_FFFF), None);
        assert_eq!(name(0xFFFF_8000_8003_0000 + REACH), None);
    }

    #[test]
    fn a_linux_that_has_moved_is_found_by_its_vectors() {
        let symbols = Symbols::read(MAP).unwrap();
        let slide = 0x1234_5000_0000;
        let name = symbols.name(0xFFFF_8000_8002_0010 + slide, 0xFFFF_8000_8001_0800 + slide);
        assert_eq!(name.as_deref(), Some("cpu_do_idle+0x10"));
        // These are others' vectors.
        assert_eq!(symbols.name(0x4000_0000, 0x4000_0800), None);
    }

    #[test]
    fn what_is_neither_is_told_apart() {
        for bytes in
            [&b"buy milk\n"[..], b"", b"\x7FELF", b"\xFF\xFE", b"ffff800080000000 T _text\nbuy milk\n"]
        {
            assert_eq!(Symbols::read(bytes), None);
        }
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(Symbols::read(&own).is_some_and(|symbols| symbols.list.len() > 100), "a test is an ELF file");
    }
}
