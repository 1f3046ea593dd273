// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses without anything behind them, code that changes, caches by set and way.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Random;
use crate::exceptions::{DATA_ABORT, EXTERNAL_ABORT, INSTRUCTION_ABORT};
use crate::machine::Machine;
use crate::mmu::{ENTRY_SIZE, MemoryKind, WINDOW};
use crate::probe::Fault;
use crate::{cpu, mmu, probe};

const STEP: u64 = 0x1_0000;

/// What became of many accesses.
#[derive(Default)]
struct Tally {
    aborts: u64,
    wrong: u64,
    first_wrong: Option<(u64, Result<u64, Fault>)>,
}

impl Tally {
    /// Notes an access at `physical`, whose abort must be `expected`.
    fn note(&mut self, physical: u64, result: Result<u64, Fault>, expected: impl FnOnce(Fault) -> bool) {
        if result.is_err_and(expected) {
            self.aborts += 1;
        } else {
            self.wrong += 1;
            self.first_wrong.get_or_insert((physical, result));
        }
    }

    fn report(&self, what: &str) {
        check!(self.wrong == 0 && self.aborts > 0, "{what}: {} external aborts", self.aborts);
        if let Some((address, result)) = self.first_wrong {
            println!("guest: {} were not; the first at {address:#x}: {result:x?}", self.wrong);
        }
    }
}

/// Physical addresses that the device tree gives to nothing: every 64 KiB of the first 4 GiB, then a few in each
/// GiB, up to the limit and to what physical addresses there are.
fn holes(machine: &Machine) -> impl Iterator<Item = u64> + use<> {
    // Once, since it is slow; ranges that do not fit would show as false alarms.
    let mut used = [(0u64, 0u64); 128];
    used.iter_mut().zip(machine.ranges()).for_each(|(slot, range)| *slot = range);
    let bits = match read_register!("id_aa64mmfr0_el1") & 0xF {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        _ => 48,
    };
    let end = (machine.number("limit", 1024) * ENTRY_SIZE).min(1 << bits);
    let dense = (0..4 * ENTRY_SIZE).step_by(STEP as usize);
    let sparse = (4 * ENTRY_SIZE..end).step_by((ENTRY_SIZE / 4) as usize);
    dense.chain(sparse).filter(move |address| {
        used.iter().all(|(base, size)| address.wrapping_sub(*base) >= size.next_multiple_of(STEP))
    })
}

/// Reads and writes where there is nothing: each must end in a synchronous external abort that says so.
pub(super) fn unmapped(machine: &Machine) {
    let (mut reads, mut writes) = (Tally::default(), Tally::default());
    for (count, physical) in (0u64..).zip(holes(machine)) {
        mmu::map_window(physical & !(ENTRY_SIZE - 1), MemoryKind::Device);
        let address = WINDOW + physical % ENTRY_SIZE;
        let right = |write: bool| {
            move |fault: Fault| {
                fault.class() == DATA_ABORT
                    && fault.status() == EXTERNAL_ABORT
                    && fault.is_write() == write
                    && fault.far == address
            }
        };
        reads.note(physical, probe::read(address, 1 << (count % 4)), right(false));
        if count % 16 == 0 {
            let written = probe::write(address, 1 << (count / 16 % 4), u64::MAX).map(|()| 0);
            writes.note(physical, written, right(true));
        }
    }
    reads.report("unmapped reads");
    writes.report("unmapped writes");
}

/// Jumps to where there is nothing: each must end in an instruction abort.
pub(super) fn jump(machine: &Machine) {
    let mut tally = Tally::default();
    for physical in holes(machine).step_by(97) {
        mmu::map_window(physical & !(ENTRY_SIZE - 1), MemoryKind::Normal);
        let address = WINDOW + physical % ENTRY_SIZE;
        tally.note(physical, probe::call(address, 0), |fault| {
            fault.class() == INSTRUCTION_ABORT
                && fault.status() == EXTERNAL_ABORT
                && fault.far == address
                && fault.elr == address
        });
    }
    mmu::map_window(0, MemoryKind::Device);
    tally.report("jumps to nowhere");
}

/// `movz w0, #immediate` and `ret`.
const MOVZ_W0: u32 = 0x5280_0000;
const RET: u32 = 0xD65F_03C0;

static CODE: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

/// Writes a function and calls it, again and again with another result.
pub(super) fn code(_machine: &Machine) {
    let right = (0..1000u32).all(|number| {
        CODE[0].store(MOVZ_W0 | number << 5, Ordering::Relaxed);
        CODE[1].store(RET, Ordering::Relaxed);
        let start = CODE.as_ptr() as usize;
        cpu::publish_code(start, size_of_val(&CODE));
        probe::call(start as u64, 0) == Ok(u64::from(number))
    });
    check!(right, "code written a thousand times is what runs");
}

static PATTERN: [AtomicU64; 8192] = [const { AtomicU64::new(0) }; 8192];

/// Cleans and invalidates all caches by set and way, which must lose nothing; the harmless order first.
pub(super) fn set_way(_machine: &Machine) {
    for (name, operation) in [("cisw", clean_invalidate as fn(u64)), ("csw", clean), ("isw", invalidate)] {
        let mut random = Random(0x5EED);
        PATTERN.iter().for_each(|word| word.store(random.next(), Ordering::Relaxed));
        // Invalidating may lose what is only in the cache, in a machine that lets it; so clean first.
        each_set_and_way(clean);
        each_set_and_way(operation);
        let mut random = Random(0x5EED);
        let kept = PATTERN.iter().all(|word| word.load(Ordering::Relaxed) == random.next());
        check!(kept, "dc {name} on every set and way loses nothing");
    }
}

fn clean_invalidate(operand: u64) {
    // SAFETY: cleans first, so memory keeps its contents.
    unsafe { asm!("dc cisw, {}", in(reg) operand, options(nostack)) };
}

fn clean(operand: u64) {
    // SAFETY: memory keeps its contents.
    unsafe { asm!("dc csw, {}", in(reg) operand, options(nostack)) };
}

fn invalidate(operand: u64) {
    // SAFETY: by the order in `set_way`, nothing that matters is dirty; the stack's few words written since are the
    // risk that this test takes.
    unsafe { asm!("dc isw, {}", in(reg) operand, options(nostack)) };
}

fn each_set_and_way(operation: fn(u64)) {
    let levels = read_register!("clidr_el1");
    for level in 0..7u64 {
        if levels >> (3 * level) & 7 < 2 {
            continue;
        }
        write_register!("csselr_el1", level << 1);
        let size = read_register!("ccsidr_el1");
        let (line, ways, sets) = ((size & 7) + 4, size >> 3 & 0x3FF, size >> 13 & 0x7FFF);
        let way_shift = (ways as u32).leading_zeros().min(31);
        for way in 0..=ways {
            for set in 0..=sets {
                operation(way << way_shift | set << line | level << 1);
            }
        }
    }
    // SAFETY: barriers.
    unsafe { asm!("dsb sy", "isb", options(nostack)) };
}
