// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one virtual CPU owns.

use vambrace_cpu::power::Entry;
use vambrace_cpu::reset::CpuRegisters;
use vambrace_cpu::timer::PhysicalTimer;
use vambrace_cpu::trap::SetWay;

/// How many exits are remembered for a crash report.
pub const RECENT_EXITS: usize = 8;

/// An exit, as a crash report shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PastExit {
    /// ESR_EL2.
    pub esr: u64,
    /// The guest's PC.
    pub pc: u64,
}

/// The last exits, in a ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    ring: [PastExit; RECENT_EXITS],
    next: usize,
}

impl Recent {
    /// Remembers an exit, forgetting the oldest.
    #[inline]
    pub fn push(&mut self, esr: u64, pc: u64) {
        let at = self.next % RECENT_EXITS;
        if let Some(slot) = self.ring.get_mut(at) {
            *slot = PastExit { esr, pc };
        }
        self.next = at + 1;
    }

    /// The exits, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = PastExit> {
        let (newer, older) = self.ring.split_at(self.next.min(RECENT_EXITS));
        older.iter().chain(newer).copied().filter(|exit| *exit != PastExit::default())
    }
}

/// How far the emulation of cache maintenance by set and way has come; see `system_register`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sweep {
    /// Nothing is known to be swept.
    #[default]
    None,
    /// The memory is being swept for this instruction.
    Under {
        /// The operation and its operand.
        way: (SetWay, u64),
        /// Bytes of RAM done.
        done: u64,
    },
    /// All of it has been swept for the loop that began with this instruction.
    Swept {
        /// The operation and its operand.
        first: (SetWay, u64),
        /// When the last instruction of the loop came, as a physical count.
        last: u64,
    },
}

/// One virtual CPU.
#[derive(Clone, Debug, Default)]
pub struct Vcpu {
    /// Its number in the VM.
    pub index: u16,
    /// Its registers. All but the frame may be out of date while it runs; see [`crate::Host::borrow_el1`].
    pub registers: CpuRegisters,
    /// The emulated EL1 physical timer.
    pub physical_timer: PhysicalTimer,
    /// Cache maintenance by set and way.
    pub sweep: Sweep,
    /// The last exits.
    pub recent: Recent,
}

impl Vcpu {
    /// vCPU number `index`, off.
    #[must_use]
    pub fn new(index: u16) -> Self {
        Self { index, ..Self::default() }
    }

    /// Makes it a CPU that has just been switched on.
    pub fn start(&mut self, entry: Entry) {
        *self = Self { index: self.index, registers: CpuRegisters::starting_at(entry), ..Self::default() };
    }
}
