// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables to try the explanation on: a small VM, made up in memory.
//!
//! Stage 2 is made by the planner that the hypervisor uses; stage 1 by hand, as a guest would. Both have four
//! levels, so that a walk reads all the 24 descriptors that textbooks speak of.

use clap::ValueEnum;
use vambrace_memory::access::{Access, El};
use vambrace_memory::attributes::Stage2Encoding;
use vambrace_memory::features::Features;
use vambrace_memory::stage2::{
    Attributes, FrameSource, Geometry, Maintenance, MapError, Mapping, Reach, Stage2, TableLevel, TableMemory,
};
use vambrace_memory::translation::Registers;
use vambrace_memory::vmid::VmidWidth;
use vambrace_memory::{Ipa, Pa, Va, hcr};

use super::Image;
use super::report::{Question, Report};

/// Translations that are made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Example {
    /// A write from EL0 that succeeds
    Mapped,
    /// A write from EL0 to a page that stage 1 makes read-only
    FaultS1,
    /// A write to a page that stage 2 makes read-only
    FaultS2,
    /// A table of stage 1 lies where stage 2 maps nothing
    FaultPtw,
}

/// The board's memory that matters here.
const BASE: u64 = 0x4000_0000;
const SIZE: usize = 0x20_0000;
/// The VM's RAM, of 1 MiB: stage 2 has to map it in pages, since IPA and PA are alike in no block.
const RAM: Ipa = Ipa(0x4000_0000);
const RAM_PA: Pa = Pa(0x4010_0000);
const RAM_SIZE: u64 = 0x10_0000;
/// Stage 1's tables, a level each.
const TABLES: [u64; 4] = [RAM.0 + 0x1000, RAM.0 + 0x2000, RAM.0 + 0x1_5000, RAM.0 + 0x2_6000];
const TABLE: u64 = 0b11;
/// The page under test.
const PAGE: u64 = RAM.0 + 0x5_c000;
/// Where the guest's program believes it to be.
const VA: Va = Va(0xaaaa_d0e5_1238);

/// Valid, a page, AttrIndx 1, Inner Shareable, AF, nG, no execution; EL0 may access.
const USER_PAGE: u64 = 0b11 | 1 << 2 | 1 << 6 | 0b11 << 8 | 1 << 10 | 1 << 11 | 0b11 << 53;
const READ_ONLY: u64 = 1 << 7;

impl Example {
    /// Translates and explains.
    #[must_use]
    pub fn explain(self) -> Report {
        let (image, registers) = self.build();
        let question = Question { va: VA, access: Access::Write, el: El::El0 };
        Report::new(&image, &registers, question, &["an example that is made up".to_owned()])
    }

    /// The memory and the registers.
    #[must_use]
    pub fn build(self) -> (Image, Registers) {
        let mut board = Board { bytes: vec![0; SIZE] };
        // The board has frames enough, and no two ranges overlap: this cannot fail.
        let (vttbr, vtcr) = self.stage2(&mut board).unwrap_or_default();
        self.stage1(&mut board);
        let registers = Registers {
            // M, C, I.
            sctlr: 1 | 1 << 2 | 1 << 12,
            // 48 bits in the lower half, walked cacheably; no upper half; 48-bit output; 16-bit ASIDs.
            tcr: 16 | 0b0101 << 8 | 0b11 << 12 | 1 << 23 | 0b101 << 32 | 1 << 36,
            ttbr0: 5 << 48 | TABLES[0],
            // Device-nGnRE, Write-Back.
            mair: 0xff04,
            hcr: hcr::VM,
            vtcr,
            vttbr,
            // All there is, with 48-bit addresses.
            features: Features { mmfr0: Features::FULL.mmfr0 & !0xf | 5, ..Features::FULL },
            ..Registers::default()
        };
        (Image::of_bytes(BASE, board.bytes), registers)
    }

    /// Returns `VTTBR_EL2` and `VTCR_EL2`.
    fn stage2(self, board: &mut Board) -> Result<(u64, u64), MapError> {
        // 48 bits are a size that there is.
        let Ok(geometry) = Geometry::for_machine(48, 48) else { return Ok((0, 0)) };
        let mut frames = Frames { next: BASE + 0x1_0000 };
        let mut stage2 = Stage2::new(geometry, Stage2Encoding::Combining, &mut frames)?;
        let ram = Mapping { ipa: RAM, pa: RAM_PA, size: RAM_SIZE, attributes: Attributes::RAM };
        stage2.plan_map(board, &mut frames, ram)?.commit(&mut Nobody);
        if self == Self::FaultS2 {
            let page = stage2.plan_protect(board, &mut frames, Ipa(PAGE), 0x1000, Attributes::ROM)?;
            page.commit(&mut Nobody);
        }
        Ok((stage2.vttbr(7), geometry.vtcr(VmidWidth::Eight)))
    }

    /// Writes the guest's tables.
    fn stage1(self, board: &mut Board) {
        let leaf = match self {
            Self::FaultS1 => PAGE | USER_PAGE | READ_ONLY,
            Self::Mapped | Self::FaultS2 | Self::FaultPtw => PAGE | USER_PAGE,
        };
        let outside = RAM.0 + RAM_SIZE + 0x3000;
        let below = match self {
            Self::FaultPtw => [TABLES[1], outside, TABLES[3]],
            Self::Mapped | Self::FaultS1 | Self::FaultS2 => [TABLES[1], TABLES[2], TABLES[3]],
        };
        let descriptors = below.map(|table| table | TABLE).into_iter().chain([leaf]);
        for (level, descriptor) in descriptors.enumerate() {
            let index = VA.0 >> (39 - 9 * level) & 511;
            let ipa = TABLES[level] + index * 8;
            board.write(Pa(ipa - RAM.0 + RAM_PA.0), descriptor);
        }
    }
}

/// The board's memory.
struct Board {
    bytes: Vec<u8>,
}

impl Board {
    fn word(&mut self, pa: Pa) -> Option<&mut [u8]> {
        let start = usize::try_from(pa.0.checked_sub(BASE)?).ok()?;
        self.bytes.get_mut(start..start.checked_add(8)?)
    }
}

impl TableMemory for Board {
    fn read(&self, pa: Pa) -> u64 {
        let start = usize::try_from(pa.0.saturating_sub(BASE)).unwrap_or(usize::MAX);
        let word = self.bytes.get(start..start.saturating_add(8)).and_then(|word| word.try_into().ok());
        u64::from_le_bytes(word.unwrap_or_default())
    }

    fn write(&mut self, pa: Pa, value: u64) {
        if let Some(word) = self.word(pa) {
            word.copy_from_slice(&value.to_le_bytes());
        }
    }
}

/// Frames for tables, one after another; they are never given back for good.
struct Frames {
    next: u64,
}

impl FrameSource for Frames {
    fn allocate(&mut self) -> Option<Pa> {
        self.allocate_root(1)
    }

    fn allocate_root(&mut self, frames: usize) -> Option<Pa> {
        let size = frames as u64 * 0x1000;
        let frame = self.next.next_multiple_of(size);
        self.next = frame + size;
        Some(Pa(frame))
    }

    fn free(&mut self, _: Pa) {}
}

/// No CPU runs on these tables, so there is nothing to maintain.
struct Nobody;

impl Maintenance for Nobody {
    fn publish(&mut self) {}
    fn invalidate_ipa(&mut self, _: Ipa, _: Option<TableLevel>, _: Reach) {}
    fn invalidate_stage1(&mut self) {}
    fn invalidate_vm(&mut self) {}
    fn complete(&mut self) {}
    fn synchronize(&mut self) {}
}
