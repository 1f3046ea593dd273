// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stage-2 tables stand on in EL2: their memory, their frames, and the machine's TLB maintenance.
//!
//! On some cores the first DSB behind a TLBI may end before another core's stores by the entry that went have been made (Arm's
//! errata notices, such as Cortex-A55 2441007 and Cortex-A76 1286807; the workaround is to do both twice). What a VM loses goes to
//! another, so all cores do it twice: nothing of this is on a guest's way.

use vambrace_memory::addr::PAGE_SIZE;
use vambrace_memory::stage2::{FrameSource, Maintenance, Reach, TableLevel, TableMemory};
use vambrace_memory::{Ipa, Pa, PaRange};

use crate::arch::barrier;
use crate::memory;

/// The tables' memory: EL2 maps all RAM one to one.
pub(super) struct Tables;

impl TableMemory for Tables {
    fn read(&self, pa: Pa) -> u64 {
        let descriptor: *const u64 = core::ptr::with_exposed_provenance(pa.0 as usize);
        // SAFETY: only asked for the frames that `FreeFrames` gave out; volatile, since table walkers read too.
        unsafe { descriptor.read_volatile() }
    }

    fn write(&mut self, pa: Pa, value: u64) {
        let descriptor: *mut u64 = core::ptr::with_exposed_provenance_mut(pa.0 as usize);
        // SAFETY: only asked for the frames that `FreeFrames` gave out; volatile, since table walkers read too.
        unsafe { descriptor.write_volatile(value) }
    }
}

/// Frames from the top of free memory.
pub(super) struct FreeFrames;

impl FrameSource for FreeFrames {
    fn allocate(&mut self) -> Option<Pa> {
        self.allocate_root(1)
    }

    fn allocate_root(&mut self, frames: usize) -> Option<Pa> {
        let len = PAGE_SIZE * frames as u64;
        let tables = memory::take_tables(len)?;
        // SAFETY: mapped, and nobody's but ours since a moment ago.
        unsafe { memory::fill(tables, 0) };
        Some(tables.start())
    }

    fn free(&mut self, frame: Pa) {
        memory::release_tables(PaRange::clamped(frame, PAGE_SIZE));
    }
}

/// The machine's TLB maintenance.
pub(super) struct LiveMaintenance;

impl Maintenance for LiveMaintenance {
    fn publish(&mut self) {
        barrier::dsb_ishst();
    }

    fn invalidate_ipa(&mut self, ipa: Ipa, _leaf: Option<TableLevel>, _reach: Reach) {
        barrier::tlbi_ipas2e1is(ipa);
    }

    fn invalidate_stage1(&mut self) {
        barrier::tlbi_vmalle1is();
    }

    fn invalidate_vm(&mut self) {
        barrier::tlbi_vmalls12e1is();
    }

    fn complete(&mut self) {
        barrier::dsb_ish();
        barrier::tlbi_vmalle1is();
        barrier::dsb_ish();
    }

    fn synchronize(&mut self) {
        barrier::isb();
    }
}
