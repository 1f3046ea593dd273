// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stage 2 on the adversarial TLB's board, with two CPUs that run the VM while its tables change.

mod edits;
mod geometry;
mod mutations;
mod random;
mod running;

use super::*;
use crate::Va;
use crate::tlb::{Board, Context, Window};
use crate::vmid::VmidWidth;

const KIB4: u64 = 0x1000;
const MIB2: u64 = 0x20_0000;
const GIB1: u64 = 0x4000_0000;
const VMID: u16 = 7;

/// A VM that runs on two CPUs, one of which maintains its tables.
struct Bench {
    board: Board,
    stage2: Stage2,
}

/// What a bench does to the tables.
#[derive(Clone, Copy, Debug)]
enum Op {
    Map(Mapping),
    Replace(Mapping),
    Unmap { ipa: Ipa, size: u64 },
    Protect { ipa: Ipa, size: u64, attributes: Attributes },
}

impl Bench {
    fn new(ipa_bits: u32, frames: usize) -> Self {
        Self::with_shape(48, ipa_bits, Board::new(2, frames))
    }

    /// The same with this many bits of physical address, on a board that may have more CPUs.
    fn with_shape(pa_bits: u32, ipa_bits: u32, mut board: Board) -> Self {
        let geometry = Geometry::for_machine(pa_bits, ipa_bits).unwrap();
        let stage2 = Stage2::new(geometry, Stage2Encoding::Combining, &mut board).unwrap();
        board.maintenance(0).publish();
        let bench = Self { board, stage2 };
        bench.run_on(0);
        bench.run_on(1);
        bench
    }

    fn run_on(&self, cpu: usize) {
        let user = Window { va: Va(1 << 48), ipa: Ipa(0x4000_0000), size: 3 * KIB4, asid: Some(1) };
        let vtcr = self.stage2.geometry().vtcr(VmidWidth::Sixteen);
        let context = Context::from_registers(vtcr, self.stage2.vttbr(VMID), vec![Window::IDENTITY, user]);
        self.board.with_machine(|machine| machine.load(cpu, context));
    }

    /// Plans and commits `op`, with `maintenance` on a memory that may be in on the game.
    fn apply_with<M: TableMemory>(
        &mut self,
        op: Op,
        memory: &mut M,
        maintenance: &mut impl Maintenance,
    ) -> Result<(), MapError> {
        let (stage2, frames) = (&mut self.stage2, &mut self.board);
        let plan = match op {
            Op::Map(mapping) => stage2.plan_map(memory, frames, mapping),
            Op::Replace(mapping) => stage2.plan_replace(memory, frames, mapping),
            Op::Unmap { ipa, size } => stage2.plan_unmap(memory, frames, ipa, size),
            Op::Protect { ipa, size, attributes } => {
                stage2.plan_protect(memory, frames, ipa, size, attributes)
            }
        }?;
        plan.commit(maintenance);
        Ok(())
    }

    fn apply(&mut self, op: Op) -> Result<(), MapError> {
        let mut memory = self.board.clone();
        let mut maintenance = self.board.maintenance(0);
        self.apply_with(op, &mut memory, &mut maintenance)
    }

    fn map(&mut self, ipa: u64, pa: u64, size: u64) -> Result<(), MapError> {
        self.apply(Op::Map(mapping(ipa, pa, size)))
    }

    fn mappings(&self) -> Vec<Mapping> {
        let mut all = Vec::new();
        self.stage2.for_each_mapping(&self.board, |mapping| all.push(mapping));
        all
    }

    /// The mappings with those that continue one another made one.
    fn ranges(&self) -> Vec<Mapping> {
        let mut ranges: Vec<Mapping> = Vec::new();
        for next in self.mappings() {
            match ranges.last_mut() {
                Some(last)
                    if last.ipa.0 + last.size == next.ipa.0
                        && last.pa.0 + last.size == next.pa.0
                        && last.attributes == next.attributes =>
                {
                    last.size += next.size;
                }
                _ => ranges.push(next),
            }
        }
        ranges
    }

    fn sizes(&self) -> Vec<u64> {
        self.mappings().iter().map(|mapping| mapping.size).collect()
    }

    fn translate(&self, ipa: u64) -> Option<u64> {
        self.stage2.translate(&self.board, Ipa(ipa)).map(|translation| translation.pa.0)
    }

    #[track_caller]
    fn assert_sound(&self) {
        assert_eq!(self.board.verify(), []);
        assert_eq!(self.board.frames_out() as u64, self.stage2.frames(&self.board), "frames leaked");
    }
}

fn mapping(ipa: u64, pa: u64, size: u64) -> Mapping {
    Mapping { ipa: Ipa(ipa), pa: Pa(pa), size, attributes: Attributes::RAM }
}
