// SPDX-License-Identifier: MIT OR Apache-2.0
//! A board to change page tables on: the model's memory, frames out of it, and maintenance on one of its CPUs.
//!
//! The parts share one [`TlbMachine`], as the parts of a hypervisor share the real one.

use alloc::collections::BTreeSet;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use super::{Instruction, Issuer, Operation, Scope, TlbMachine, Violation};
use crate::addr::PAGE_SIZE;
use crate::stage2::{FrameSource, Maintenance, Reach, TableLevel, TableMemory, tlbi_ipa_operand};
use crate::{Ipa, Pa};

/// The first frame to give out.
const FIRST_FRAME: u64 = 0x8000_0000;

/// The model's memory and its frames. Clones are the same board.
#[derive(Clone, Debug)]
pub struct Board {
    machine: Rc<RefCell<TlbMachine>>,
    free: Rc<RefCell<BTreeSet<u64>>>,
    total: usize,
}

impl Board {
    /// A board with `cpus` CPUs and `frames` frames for tables.
    #[must_use]
    pub fn new(cpus: usize, frames: usize) -> Self {
        let mut machine = TlbMachine::new(cpus);
        let all: BTreeSet<u64> = (0..frames as u64).map(|number| FIRST_FRAME + number * PAGE_SIZE).collect();
        // So that a walker that reads a frame before its zeros finds something.
        for &frame in &all {
            machine.free(Pa(frame));
        }
        Self { machine: Rc::new(RefCell::new(machine)), free: Rc::new(RefCell::new(all)), total: frames }
    }

    /// Lends the machine.
    pub fn with_machine<R>(&self, borrow: impl FnOnce(&mut TlbMachine) -> R) -> R {
        borrow(&mut self.machine.borrow_mut())
    }

    /// Maintenance by `cpu`.
    #[must_use]
    pub fn maintenance(&self, cpu: usize) -> BoardMaintenance {
        BoardMaintenance { machine: Rc::clone(&self.machine), cpu }
    }

    /// The frames given out and not taken back.
    #[must_use]
    pub fn frames_out(&self) -> usize {
        self.total - self.free.borrow().len()
    }

    /// [`TlbMachine::verify`].
    #[must_use]
    pub fn verify(&self) -> Vec<Violation> {
        self.machine.borrow().verify()
    }

    fn take(&self, frame: u64) {
        self.free.borrow_mut().remove(&frame);
        for word in 0..PAGE_SIZE / 8 {
            self.machine.borrow_mut().write(Pa(frame + word * 8), 0);
        }
    }
}

impl TableMemory for Board {
    fn read(&self, pa: Pa) -> u64 {
        self.machine.borrow().read(pa)
    }

    fn write(&mut self, pa: Pa, value: u64) {
        self.machine.borrow_mut().write(pa, value);
    }
}

impl FrameSource for Board {
    fn allocate(&mut self) -> Option<Pa> {
        let frame = *self.free.borrow().first()?;
        self.take(frame);
        Some(Pa(frame))
    }

    fn allocate_root(&mut self, frames: usize) -> Option<Pa> {
        let size = frames as u64 * PAGE_SIZE;
        let whole = |&start: &u64| {
            let free = self.free.borrow();
            start.is_multiple_of(size) && (0..frames as u64).all(|n| free.contains(&(start + n * PAGE_SIZE)))
        };
        let start = self.free.borrow().iter().copied().find(whole)?;
        for number in 0..frames as u64 {
            self.take(start + number * PAGE_SIZE);
        }
        Some(Pa(start))
    }

    fn free(&mut self, frame: Pa) {
        self.machine.borrow_mut().free(frame);
        let new = self.free.borrow_mut().insert(frame.0);
        assert!(new, "{frame} is freed twice");
    }
}

/// Maintenance instructions on one CPU of a [`Board`].
#[derive(Clone, Debug)]
pub struct BoardMaintenance {
    machine: Rc<RefCell<TlbMachine>>,
    cpu: usize,
}

impl BoardMaintenance {
    fn execute(&mut self, operation: Operation, operand: u64) {
        let instruction = Instruction { operation, scope: Scope::InnerShareable };
        let done = self.machine.borrow_mut().execute(self.cpu, instruction, operand, Issuer::El2 { hcr: 0 });
        debug_assert_eq!(done, Ok(()));
    }
}

impl Maintenance for BoardMaintenance {
    fn publish(&mut self) {
        self.machine.borrow_mut().publish();
    }

    fn invalidate_ipa(&mut self, ipa: Ipa, leaf: Option<TableLevel>, reach: Reach) {
        let operation = match reach {
            Reach::LastLevel => Operation::Ipas2le1,
            Reach::AllLevels => Operation::Ipas2e1,
        };
        self.execute(operation, tlbi_ipa_operand(ipa, leaf));
    }

    fn invalidate_stage1(&mut self) {
        self.execute(Operation::Vmalle1, 0);
    }

    fn invalidate_vm(&mut self) {
        self.execute(Operation::Vmalls12e1, 0);
    }

    fn complete(&mut self) {
        self.machine.borrow_mut().complete(self.cpu);
    }

    fn synchronize(&mut self) {
        self.machine.borrow_mut().synchronize(self.cpu);
    }
}
