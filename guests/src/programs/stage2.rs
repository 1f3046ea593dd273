// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a change of a VM's stage-2 map takes, at EL2 itself: planning, committing, and all the maintenance in between.
//!
//! The tree is that of a VM of 64 MiB, mapped in blocks, made with the crate `memory` as EL2 makes it, and loaded under a VMID.
//! The hypervisor maps everything when a VM is made, so no exit does this: the program stands in for it, with frames from
//! a list, and memory and instructions for the crate's traits. It prints lines as `bench` does.

use core::arch::asm;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrayvec::ArrayVec;
use vambrace_memory::addr::PAGE_SIZE;
use vambrace_memory::attributes::Stage2Encoding;
use vambrace_memory::stage2::{
    Attributes, FrameSource, Geometry, TableLevel, Maintenance, MapError, Mapping, Reach, Stage2, TableMemory,
};
use vambrace_memory::vmid::VmidWidth;
use vambrace_memory::{Ipa, Pa};

use super::bench::{Bench, Operation};
use crate::cpu;
use crate::machine::Machine;
use crate::sync::Lock;

/// In the order of the table.
const OPERATIONS: &[Operation] = &[
    Operation::new("stage2-map", || time(|_| Ok(()), |tree| tree.map(page(PAGE)), |tree| tree.unmap(PAGE))),
    Operation::new("stage2-unmap", || time(|tree| tree.map(page(PAGE)), |tree| tree.unmap(PAGE), |_| Ok(()))),
    Operation::new("stage2-split", || time(|_| Ok(()), |tree| tree.unmap(PAGE_OF_BLOCK), Tree::join)),
];

/// A page that has a mapped neighbour, so that its table is there, and stays.
const PAGE: Ipa = Ipa(0x2000_0000);
const NEIGHBOUR: Ipa = Ipa(PAGE.0 + PAGE_SIZE);
const RAM: Mapping =
    Mapping { ipa: Ipa(0x4000_0000), pa: Pa(0x8000_0000), size: 64 << 20, attributes: Attributes::RAM };
/// A page in a block of RAM, not at its edge.
const PAGE_OF_BLOCK: Ipa = Ipa(RAM.ipa.0 + (2 << 20) + PAGE_SIZE);
const PA_BITS: u32 = 40;
/// Bits of IPA: what RAM's end needs.
const IPA_BITS: u32 = 31;
const VMID: u16 = 1;
const FRAMES: usize = 32;

const WORDS: usize = FRAMES * PAGE_SIZE as usize / 8;

/// As aligned as the largest root.
#[repr(align(65536))]
struct Frames([AtomicU64; WORDS]);

#[unsafe(link_section = ".scratch")]
static FRAMES_OF_POOL: Frames = Frames([const { AtomicU64::new(0) }; WORDS]);

static TREE: Lock<Option<Tree>> = Lock::new(None);

struct Tree {
    stage2: Stage2,
    pool: Pool,
}

/// Frames that are free.
struct Pool(ArrayVec<Pa, FRAMES>);

/// A change could not be made or undone.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Runs the program.
pub fn run(machine: &Machine) {
    if cpu::exception_level() != 2 {
        println!("bench: this needs EL2, and is EL{}", cpu::exception_level());
        return;
    }
    match Tree::new() {
        Some(tree) => {
            tree.load();
            TREE.with(|place| *place = Some(tree));
            Bench::of(machine).measure_all(OPERATIONS);
        }
        None => FAILED.store(true, Ordering::Relaxed),
    }
    println!("bench: {}", if FAILED.load(Ordering::Relaxed) { "failed" } else { "done" });
}

impl Tree {
    fn new() -> Option<Self> {
        let geometry = Geometry::for_machine(PA_BITS, IPA_BITS).ok()?;
        let mut pool = Pool::new();
        let stage2 = Stage2::new(geometry, Stage2Encoding::Combining, &mut pool).ok()?;
        let mut tree = Self { stage2, pool };
        tree.map(RAM).ok()?;
        tree.map(page(NEIGHBOUR)).ok()?;
        Some(tree)
    }

    /// Makes it the one that TLBIs by address act on. No guest runs.
    fn load(&self) {
        let (vtcr, vttbr) = (self.stage2.geometry().vtcr(VmidWidth::Eight), self.stage2.vttbr(VMID));
        // SAFETY: EL2 translates by its own tables; these are for EL1, which does not run.
        unsafe { asm!("msr vtcr_el2, {}", "msr vttbr_el2, {}", "isb", in(reg) vtcr, in(reg) vttbr, options(nostack)) };
    }

    fn map(&mut self, mapping: Mapping) -> Result<(), MapError> {
        self.stage2.plan_map(&mut Memory, &mut self.pool, mapping)?.commit(&mut Instructions);
        Ok(())
    }

    fn unmap(&mut self, ipa: Ipa) -> Result<(), MapError> {
        self.stage2.plan_unmap(&mut Memory, &mut self.pool, ipa, PAGE_SIZE)?.commit(&mut Instructions);
        Ok(())
    }

    /// Maps the RAM anew, in whole blocks.
    fn join(&mut self) -> Result<(), MapError> {
        self.stage2.plan_replace(&mut Memory, &mut self.pool, RAM)?.commit(&mut Instructions);
        Ok(())
    }
}

const fn page(ipa: Ipa) -> Mapping {
    Mapping { ipa, pa: Pa(0xA000_0000), size: PAGE_SIZE, attributes: Attributes::RAM }
}

fn now() -> u64 {
    let now;
    // SAFETY: reads a counter, after all that went before.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", out(reg) now, options(nostack)) };
    now
}

/// Makes a change to the tree and undoes it; how long the change took.
fn time(
    prepare: impl FnOnce(&mut Tree) -> Result<(), MapError>,
    change: impl FnOnce(&mut Tree) -> Result<(), MapError>,
    undo: impl FnOnce(&mut Tree) -> Result<(), MapError>,
) -> u64 {
    let timed = |tree: &mut Tree| -> Result<u64, MapError> {
        prepare(tree)?;
        let before = now();
        change(tree)?;
        let took = now() - before;
        undo(tree)?;
        Ok(took)
    };
    TREE.with(|tree| tree.as_mut().and_then(|tree| timed(tree).ok())).unwrap_or_else(|| {
        FAILED.store(true, Ordering::Relaxed);
        0
    })
}

impl Pool {
    /// All frames. The lowest goes first, which is as aligned as a root can be.
    fn new() -> Self {
        let base = FRAMES_OF_POOL.0.as_ptr().expose_provenance() as u64;
        Self((0..FRAMES as u64).rev().map(|index| Pa(base + index * PAGE_SIZE)).collect())
    }
}

impl FrameSource for Pool {
    fn allocate(&mut self) -> Option<Pa> {
        self.allocate_root(1)
    }

    /// A root is asked for first, while all frames are free and in order.
    fn allocate_root(&mut self, frames: usize) -> Option<Pa> {
        let first = self.0.pop()?;
        (1..frames).try_for_each(|_| self.0.pop().map(|_| ()))?;
        let start: *mut u8 = ptr::with_exposed_provenance_mut(first.0 as usize);
        // SAFETY: frames of the pool that are nobody's.
        unsafe { start.write_bytes(0, frames * PAGE_SIZE as usize) };
        Some(first)
    }

    fn free(&mut self, frame: Pa) {
        let _ = self.0.try_push(frame);
    }
}

/// The tables' memory: addresses are physical ones.
struct Memory;

impl TableMemory for Memory {
    fn read(&self, pa: Pa) -> u64 {
        let descriptor: *const u64 = ptr::with_exposed_provenance(pa.0 as usize);
        // SAFETY: only asked for frames of the pool; volatile, since table walkers read too.
        unsafe { descriptor.read_volatile() }
    }

    fn write(&mut self, pa: Pa, value: u64) {
        let descriptor: *mut u64 = ptr::with_exposed_provenance_mut(pa.0 as usize);
        // SAFETY: only asked for frames of the pool; volatile, since table walkers read too.
        unsafe { descriptor.write_volatile(value) }
    }
}

/// The maintenance, one instruction each, as EL2 does it.
struct Instructions;

macro_rules! instruction {
    ($($text:literal),* $(; $operand:expr)?) => {
        // SAFETY: orders, or drops what hardware may fetch again.
        unsafe { asm!($($text,)* $(in(reg) $operand,)? options(nostack, preserves_flags)) }
    };
}

impl Maintenance for Instructions {
    fn publish(&mut self) {
        instruction!("dsb ishst");
    }

    fn invalidate_ipa(&mut self, ipa: Ipa, _leaf: Option<TableLevel>, _reach: Reach) {
        instruction!("tlbi ipas2e1is, {}"; ipa.0 >> 12);
    }

    fn invalidate_stage1(&mut self) {
        instruction!("tlbi vmalle1is");
    }

    fn invalidate_vm(&mut self) {
        instruction!("tlbi vmalls12e1is");
    }

    fn complete(&mut self) {
        instruction!("dsb ish");
    }

    fn synchronize(&mut self) {
        instruction!("isb");
    }
}
