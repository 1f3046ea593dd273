// SPDX-License-Identifier: MIT OR Apache-2.0
//! What lies between a VM's console and the board's serial line.
//!
//! Input is received in anybody's time and taken in the VM's own: whoever receives it takes the inbox's lock only, which
//! nobody holds for longer than it takes to copy, and notifies the VM.

use vambrace_hypervisor::console::serial::Refused;
use vambrace_ids::VmId;
use vambrace_interrupts::VcpuSet;
use vambrace_machine::Vm;
use vambrace_machine::inbox::Inbox;

use crate::arch::flag::Flag;
use crate::arch::lock::SpinMutex;
use crate::console::{self, Held, VmInput};

/// A VM's link to the serial line.
#[derive(Debug)]
pub(crate) struct ConsoleLink {
    inbox: SpinMutex<Inbox>,
    /// One of the VM's CPUs has to look at it.
    is_requested: Flag,
}

impl ConsoleLink {
    /// Nothing is on its way.
    pub(crate) const fn new() -> Self {
        Self { inbox: SpinMutex::new(Inbox::new()), is_requested: Flag::new() }
    }

    /// Takes input. Says how much of it is missing. One of the VM's vCPUs is to be kicked.
    pub(crate) fn receive(&self, input: &VmInput) -> u32 {
        let missing = self.inbox.lock().receive(input.position, input.input.iter().copied());
        self.is_requested.set();
        missing
    }

    /// Whether the VM was asked to look since this was last asked.
    pub(crate) fn take_request(&self) -> bool {
        self.is_requested.take()
    }

    /// Gives the VM what has come for it. The vCPUs are to be notified.
    pub(crate) fn deliver(&self, vm: &mut Vm) -> VcpuSet {
        self.inbox.lock().deliver(vm)
    }

    /// There is room for the VM's output. One of its vCPUs is to be kicked.
    pub(crate) fn request(&self) {
        self.is_requested.set();
    }

    /// The VM, whose link this is, has taken input, and so much waits in its console: tells the sender when it is time. If the line has
    /// no room the VM is asked to look when it has, and tells it then.
    pub(crate) fn input_taken(&self, vm: VmId, waiting: usize) -> Held {
        let mut inbox = self.inbox.lock();
        let Some(position) = inbox.untold(waiting) else { return Held::Nothing };
        match console::input_taken(vm, position) {
            Ok(held) => {
                inbox.tell(position);
                held
            }
            Err(Refused) => Held::Nothing,
        }
    }
}
