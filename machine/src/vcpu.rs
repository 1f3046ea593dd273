// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one virtual CPU owns.

use serde::{Deserialize, Serialize};
use vambrace_cpu::power::CpuEntry;
use vambrace_cpu::reset::CpuRegisters;
use vambrace_cpu::syndrome::InstructionLength;
use vambrace_cpu::timer::PhysicalTimer;
use vambrace_ids::VcpuId;
use vambrace_memory::Va;
use vambrace_state::{Version, restore_fields};

use crate::injection::ExceptionLoop;
pub use crate::set_way::SetWayFlush;

/// How many exits are remembered for a crash report.
pub const RECENT_EXITS: usize = 8;

/// An exit, as a crash report shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastExit {
    /// ESR_EL2.
    pub esr: u64,
    /// The guest's PC.
    pub pc: u64,
    /// Of an abort: the virtual address that was to be reached, if known.
    pub address: Option<Va>,
}

/// The last exits, in a ring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    ring: [PastExit; RECENT_EXITS],
    next: usize,
}

impl Recent {
    /// Remembers an exit, forgetting the oldest.
    #[inline]
    pub fn push(&mut self, esr: u64, pc: u64) {
        self.push_with(esr, pc, None);
    }

    /// Remembers an exit that is about an address.
    #[inline]
    pub(crate) fn push_with(&mut self, esr: u64, pc: u64, address: Option<Va>) {
        let at = self.next % RECENT_EXITS;
        if let Some(slot) = self.ring.get_mut(at) {
            *slot = PastExit { esr, pc, address };
        }
        self.next = at + 1;
    }

    /// Notes the address that the last exit is about.
    #[inline]
    pub(crate) fn note_address(&mut self, address: Option<Va>) {
        if let Some(slot) = self.next.checked_sub(1).and_then(|last| self.ring.get_mut(last)) {
            slot.address = address;
        }
    }

    /// The exits, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = PastExit> {
        let (newer, older) = self.ring.split_at(self.next.min(RECENT_EXITS));
        older.iter().chain(newer).copied().filter(|exit| *exit != PastExit::default())
    }
}

/// Why a vCPU could not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CrashCause {
    /// The first instruction of its exception handler takes an exception itself, and no other vCPU is left to mend that.
    HandlerFaults,
}

/// What a vCPU of a paused VM does when the VM goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MpState {
    /// It is off, or about to be turned on: [`Vm::power`](crate::Vm::power) has which.
    #[default]
    Off,
    /// It runs, or would.
    Runnable,
    /// It waits for an interrupt.
    Blocked {
        /// Until this virtual count at most.
        until: Option<u64>,
        /// It starts anew then (CPU_SUSPEND, power-down).
        then: Option<CpuEntry>,
    },
}

/// One virtual CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vcpu {
    version: Version<1>,
    /// Which of its VM's.
    pub id: VcpuId,
    /// Its registers. All but the frame may be out of date while it runs; see [`crate::host::LoadedVcpu::borrow_el1`].
    pub registers: CpuRegisters,
    /// The emulated EL1 physical timer.
    pub physical_timer: PhysicalTimer,
    /// A virtual SError is pending (HCR_EL2.VSE). The machine delivers it when the guest does not mask it, and says so
    /// by clearing the bit; then this is to be cleared too.
    pub virtual_serror: bool,
    /// Cache maintenance by set and way.
    pub set_way_flush: SetWayFlush,
    /// The last exits.
    pub recent: Recent,
    /// Why it crashed, if it did.
    pub crash: Option<CrashCause>,
    /// What it does when its VM, which is paused, goes on. While the VM runs, whoever schedules the vCPU knows what it does.
    pub mp_state: MpState,
    /// The exceptions that it is given.
    pub(crate) exceptions: ExceptionLoop,
}

restore_fields!(Vcpu {
    whole version,
    same id,
    whole registers,
    whole physical_timer,
    whole virtual_serror,
    whole set_way_flush,
    whole recent,
    whole crash,
    whole mp_state,
    whole exceptions,
});

impl Vcpu {
    /// This vCPU, off.
    #[must_use]
    pub fn new(id: VcpuId) -> Self {
        Self { id, ..Self::default() }
    }

    /// Makes it a CPU that has just been switched on.
    pub fn start(&mut self, entry: CpuEntry) {
        *self = Self { id: self.id, registers: CpuRegisters::starting_at(entry), ..Self::default() };
    }

    /// Steps over the instruction that trapped: it has been carried out.
    pub(crate) fn skip_instruction(&mut self, length: InstructionLength) {
        self.registers.frame.skip_instruction(length);
        self.note_progress();
    }

    /// The vCPU has got something done, and is in no loop of exceptions.
    pub(crate) fn note_progress(&mut self) {
        self.exceptions.forget();
    }
}

#[cfg(test)]
mod tests;
