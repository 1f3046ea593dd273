// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a flattened device tree can be walked: what `dtoolkit` panics without, found in one short pass.
//!
//! Its own check also judges how each name is spelled, every property's anew, and that alone would be a quarter of a boot.
//! Here the strings are looked at once, and of the structure only what holds it together. The words are the Devicetree
//! Specification's, "Flattened Devicetree (DTB) Format".

const MAGIC: u32 = 0xD00D_FEED;
/// The version of the format that `dtoolkit` reads.
const VERSION: u32 = 17;
const HEADER_LEN: usize = 40;
/// Two zeros end the memory reservations.
const RESERVATION_LEN: usize = 16;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Whether all of the tree's nodes, names and values lie inside it.
#[must_use]
pub(super) fn is_sound(tree: &[u8]) -> bool {
    Blocks::find(tree).is_some_and(|blocks| {
        blocks.reservations_end() && blocks.strings_are_text() && blocks.structure_holds().is_some()
    })
}

/// The parts of a tree.
struct Blocks<'a> {
    /// From the memory reservations to the structure.
    reservations: &'a [u8],
    structure: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Blocks<'a> {
    fn find(tree: &'a [u8]) -> Option<Self> {
        let header = tree.first_chunk::<HEADER_LEN>()?;
        let field = |index: usize| word(header, index * 4);
        let offset = |index: usize| field(index).map(|value| value as usize);
        let (structure, strings, reservations) = (offset(2)?, offset(3)?, offset(4)?);
        let readable = field(0)? == MAGIC
            && offset(1)? == tree.len()
            && (field(6)?..=field(5)?).contains(&VERSION)
            && reservations.is_multiple_of(8)
            && reservations >= HEADER_LEN
            && structure.is_multiple_of(4);
        let structure_end = structure.checked_add(offset(9)?)?;
        if !readable || structure_end > strings {
            return None;
        }
        Some(Self {
            reservations: tree.get(reservations..structure)?,
            structure: tree.get(structure..structure_end)?,
            strings: tree.get(strings..strings.checked_add(offset(8)?)?)?,
        })
    }

    fn reservations_end(&self) -> bool {
        self.reservations.chunks_exact(RESERVATION_LEN).any(|entry| entry == [0; RESERVATION_LEN])
    }

    /// Wherever a name begins in the strings, it ends and is text.
    fn strings_are_text(&self) -> bool {
        self.strings.last() == Some(&0) && self.strings.is_ascii()
    }

    /// Nodes within nodes, each with its properties first.
    fn structure_holds(&self) -> Option<()> {
        let mut at = 0;
        let mut depth = 0u32;
        // Whether a node's properties may follow: its children have not begun.
        let mut before_children = false;
        loop {
            let token = word(self.structure, at)?;
            at += 4;
            match token {
                BEGIN_NODE => {
                    at = self.behind_name(at)?;
                    depth += 1;
                    before_children = true;
                }
                END_NODE => {
                    depth = depth.checked_sub(1)?;
                    before_children = false;
                    if depth == 0 {
                        return (word(self.structure, at)? == END).then_some(());
                    }
                }
                PROP if before_children => at = self.behind_property(at)?,
                NOP if depth > 0 => {}
                _ => return None,
            }
        }
    }

    fn behind_name(&self, at: usize) -> Option<usize> {
        let rest = self.structure.get(at..)?;
        let len = rest.iter().position(|byte| *byte == 0)?;
        rest.get(..len)?.is_ascii().then(|| (at + len + 1).next_multiple_of(4))
    }

    fn behind_property(&self, at: usize) -> Option<usize> {
        let (len, name) = (word(self.structure, at)? as usize, word(self.structure, at + 4)? as usize);
        let end = (at + 8).checked_add(len)?;
        (name < self.strings.len() && end <= self.structure.len()).then(|| end.next_multiple_of(4))
    }
}

/// The big-endian word at an offset.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}
