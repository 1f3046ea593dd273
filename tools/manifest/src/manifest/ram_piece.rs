// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a VM's RAM is to lie: anywhere, one to one, or in pieces of a size that the manifest says.

use toml::Spanned;
use vambrace_memory::addr::PAGE_SIZE;
use vambrace_wire::bundle::assigned::RamPlacement;

use super::file;
use super::resolve::size;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span};
use crate::layout::MAX_PIECES;
use crate::values::Size;

/// The largest piece: a VM that has more in a row has blocks of this size anyway.
const LARGEST: u64 = 1 << 30;

/// What `ram_piece` and `dma` say. `memory` is the VM's, with its place if it is written; nothing if it makes no sense.
pub(super) fn placement(
    piece: Option<&Spanned<String>>,
    memory: Option<&(Size, Option<Span>)>,
    trust: Option<&Span>,
    diagnostics: &mut Diagnostics,
) -> RamPlacement {
    let otherwise = if trust.is_some() { RamPlacement::OneToOne } else { RamPlacement::Anywhere };
    let Some(text) = piece else { return otherwise };
    if let Some(trust) = trust {
        diagnostics.push(not_both(text, trust));
    }
    let Some(piece) = size(text, diagnostics) else { return otherwise };
    match wrong(piece, memory, text) {
        Some(wrong) => diagnostics.push(wrong),
        None if trust.is_none() => return RamPlacement::Pieces { size: piece.0 },
        None => {}
    }
    otherwise
}

fn not_both(text: &Spanned<String>, trust: &Span) -> Diagnostic {
    Diagnostic::new(Code::RamPieces, "RAM that is mapped one to one is in one piece")
        .label(text.span(), "leave this out")
        .label(trust.clone(), "the devices of this VM need it so")
}

/// What is wrong with the size of a piece, and the size that is meant.
fn wrong(piece: Size, memory: Option<&(Size, Option<Span>)>, text: &Spanned<String>) -> Option<Diagnostic> {
    let span = text.span();
    let least = least(memory.map(|(memory, _)| *memory));
    let most = most(memory.map(|(memory, _)| *memory));
    let wrong = if !piece.0.is_power_of_two() || !(PAGE_SIZE..=LARGEST).contains(&piece.0) {
        let title = "a piece of RAM is a power of two, from 4KiB to 1GiB";
        Diagnostic::new(Code::BadSize, title).label(span.clone(), "")
    } else {
        let (memory, place) = memory?;
        let title = if piece.0 > most {
            format!("{memory} are no whole number of pieces of {piece}")
        } else if piece.0 < least {
            format!("RAM is in {MAX_PIECES} pieces at most, and these would be {}", memory.0 / piece.0)
        } else {
            return None;
        };
        let wrong = Diagnostic::new(Code::RamPieces, title).label(span.clone(), "");
        match place {
            Some(place) => wrong.label(place.clone(), "its RAM"),
            None => wrong.note(format!("without `memory`, a VM has {}", file::DEFAULT_MEMORY)),
        }
    };
    Some(if least <= most {
        let mended = Size(piece.0.checked_next_power_of_two().unwrap_or(most).clamp(least, most));
        wrong.fix(format!("write {mended}"), span, format!("\"{mended}\""))
    } else {
        wrong.help(format!(
            "give the VM a `memory` that is a multiple of {}, and its pieces that size",
            Size(least)
        ))
    })
}

/// The smallest piece of which there are not too many.
fn least(memory: Option<Size>) -> u64 {
    memory.map_or(PAGE_SIZE, |memory| memory.0.div_ceil(MAX_PIECES).next_power_of_two().max(PAGE_SIZE))
}

/// The largest piece that divides the RAM.
fn most(memory: Option<Size>) -> u64 {
    memory.map_or(LARGEST, |memory| (1 << memory.0.trailing_zeros().min(63)).min(LARGEST))
}
