// SPDX-License-Identifier: MIT OR Apache-2.0
//! The steps of a translation, put in order: who stands below whom.
//!
//! [`Trace`] is the model's [`Witness`]. It adds nothing to what it is told.

use vambrace_memory::access::Permissions;
use vambrace_memory::granule::Stage;
use vambrace_memory::walk::{Purpose, Start, WalkEntry, WalkStep, Witness};
use vambrace_memory::{Ipa, Pa, Va};

/// All steps.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    /// The address, its tag taken off; `None` if the registers of stage 1 allow no walk.
    pub(super) va: Option<Va>,
    /// Where stage 1 starts, if it is on and allows a walk.
    pub(super) start: Option<Start>,
    /// The levels of stage 1.
    pub(super) rows: Vec<Row>,
    /// What stage 1 allows.
    pub(super) allows: Option<Permissions>,
    /// Stage 2 of the address that stage 1 leads to.
    pub(super) output: Option<Walk2>,
}

/// One level of stage 1.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) level: i8,
    /// How stage 2 finds the descriptor, if stage 2 is on.
    pub(super) stage2: Option<Walk2>,
    /// The descriptor, if it could be read.
    pub(super) entry: Option<WalkEntry>,
}

/// One walk of stage 2.
#[derive(Clone, Debug)]
pub(super) struct Walk2 {
    pub(super) ipa: Ipa,
    /// Where it starts; `None` if the registers allow no walk.
    pub(super) start: Option<Start>,
    pub(super) entries: Vec<WalkEntry>,
    /// What stage 2 allows.
    pub(super) allows: Option<Permissions>,
    /// Where it leads.
    pub(super) pa: Option<Pa>,
}

impl Trace {
    /// The walk of stage 2 under way.
    fn walk2(&mut self) -> Option<&mut Walk2> {
        match &mut self.output {
            Some(output) => Some(output),
            None => self.rows.last_mut().and_then(|row| row.stage2.as_mut()),
        }
    }

    /// The walks of stage 2, in order.
    pub(super) fn walks2(&self) -> impl Iterator<Item = &Walk2> {
        self.rows.iter().filter_map(|row| row.stage2.as_ref()).chain(&self.output)
    }

    fn start2(&mut self, purpose: Purpose, walk: Walk2) {
        match purpose {
            Purpose::Stage1Table { level } => self.rows.push(Row { level, stage2: Some(walk), entry: None }),
            Purpose::Output { .. } => self.output = Some(walk),
        }
    }

    fn stage1(&mut self, entry: WalkEntry) {
        match self.rows.last_mut() {
            Some(row) if row.entry.is_none() => row.entry = Some(entry),
            _ => self.rows.push(Row { level: entry.level, stage2: None, entry: Some(entry) }),
        }
    }
}

impl Witness for Trace {
    fn see(&mut self, step: WalkStep) {
        match step {
            WalkStep::Stage1Start { va, start } => (self.va, self.start) = (Some(va), start),
            WalkStep::Stage1(entry) => self.stage1(entry),
            WalkStep::Stage2Start { purpose, ipa, start } => {
                self.start2(purpose, Walk2 { ipa, start, entries: Vec::new(), allows: None, pa: None });
            }
            WalkStep::Stage2(entry) => {
                if let Some(walk) = self.walk2() {
                    walk.entries.push(entry);
                }
            }
            WalkStep::Leaf { stage: Stage::One, permissions } => self.allows = Some(permissions),
            WalkStep::Leaf { stage: Stage::Two, permissions } => {
                if let Some(walk) = self.walk2() {
                    walk.allows = Some(permissions);
                }
            }
            WalkStep::Stage2End { pa, .. } => {
                if let Some(walk) = self.walk2() {
                    walk.pa = Some(pa);
                }
            }
        }
    }
}
