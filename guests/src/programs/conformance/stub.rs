// SPDX-License-Identifier: MIT OR Apache-2.0
//! The code at EL1: vectors, and four instructions that access memory.
//!
//! It is one page, which also holds the root of the plain half of the address space: so all that stage 2 must let
//! through is that page. It is entered at the access, with the address in x1, and comes back by HVC; what the number of
//! the HVC says is whether the access went through or which vector of EL1 was taken. Memory that may be fetched from
//! holds BRKs, which go to EL2 (`MDCR_EL2.TDE`).

use vambrace_memory::access::{Access, El};
use vambrace_memory::stage1::Half;

use super::pool::Pool;
use super::random::bits;
use crate::cpu;

/// Offset of the root of the plain half in the page.
pub(super) const ROOT: u64 = 0xC00;
/// Entries of that root: 25 bits of address, 2 MiB each.
pub(super) const ENTRIES: u64 = 16;
const ENTRY: u64 = 5;
/// Offset of the accesses; each is two instructions.
const ACCESSES: u64 = 0x800;
const VECTORS: u64 = 16;

/// The number of the HVC behind an access that got through.
pub(super) const DONE: u64 = 0;
/// The number of the HVC in the first of EL1's vectors.
pub(super) const VECTOR: u64 = 16;

/// Where the code is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stub {
    /// Its page.
    pub(super) pa: u64,
    /// Where EL1 runs it: the vectors' address.
    pub(super) va: u64,
}

/// The virtual address of the page at `ipa` in the plain half.
pub(super) const fn address(plain: Half, ipa: u64) -> u64 {
    let low = ENTRY << 21 | ipa & bits(21);
    match plain {
        Half::Lower => low,
        Half::Upper => low | !bits(25),
    }
}

/// Writes the code.
pub(super) fn write_code(pool: &mut Pool, pa: u64) {
    const HVC: u64 = 0xD400_0002;
    /// LDR, STR, LDTR, STTR of x0 at [x1], by [`slot`].
    const INSTRUCTIONS: [u64; 4] = [0xF940_0020, 0xF900_0020, 0xF840_0820, 0xF800_0820];
    for vector in 0..VECTORS {
        pool.write(pa + vector * 0x80, HVC | (VECTOR + vector) << 5, true);
    }
    for (slot, instruction) in (0..).zip(INSTRUCTIONS) {
        pool.write(pa + ACCESSES + slot * 8, instruction | (HVC | DONE << 5) << 32, true);
    }
    cpu::publish_code(pa as usize, (ACCESSES + 32) as usize);
}

/// Where to enter for a load or store. A fetch needs no code: it is entered at its own address.
pub(super) const fn entry(stub: Stub, access: Access, el: El, va: u64) -> u64 {
    let slot = match (access, el) {
        (Access::Execute, _) => return va,
        (Access::Read, El::El1) => 0,
        (Access::Write, El::El1) => 1,
        (Access::Read, El::El0) => 2,
        (Access::Write, El::El0) => 3,
    };
    stub.va + ACCESSES + slot * 8
}
