// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the bring-up makes once and all CPUs share from then on.
//!
//! One value, filled in one step when each of its parts is there ([`crate::boot`]). So nobody finds one part without
//! the others, and the parts are made from each other as plain values.
//!
//! Apart are the heap, the console, entropy and the clock, which are wanted before there is a system, and what CPUs know of
//! each other ([`crate::sched::percpu`]), which the first CPU needs to start the others.

use spin::Once;

use crate::devices::assigned::Assigned;
use crate::devices::channels::Channels;
use crate::devices::network::Networks;
use crate::host_io::HostIo;
use crate::host_io::clock::ClockSet;
use crate::sched::percpu::CpusUp;
use crate::vm::registry::Registry;
use crate::vm::stats::BootMemory;

/// All that VMs are made from and stand on, but for memory, CPUs and the console.
pub(crate) struct System {
    /// The board's devices that EL2 drives; `None` if none is wanted.
    pub(crate) host_io: Option<HostIo>,
    /// The board's devices that VMs drive.
    pub(crate) assigned: Assigned,
    /// Networks between VMs.
    pub(crate) networks: Networks,
    /// Memory that VMs share.
    pub(crate) channels: Channels,
    /// Which VMs exist.
    pub(crate) registry: Registry,
    /// The memory that EL2 takes without a VM.
    pub(crate) memory: BootMemory,
}

static SYSTEM: Once<System> = Once::new();

/// The [`System`] is there: VMs can be made.
pub(crate) struct SystemUp(&'static System);

impl SystemUp {
    /// All of it.
    pub(crate) const fn get(&self) -> &'static System {
        self.0
    }
}

/// Lets all CPUs see the system; once, by the first.
pub(crate) fn start(_: &CpusUp, _: &ClockSet, system: System) -> SystemUp {
    SystemUp(SYSTEM.call_once(|| system))
}

/// The system. `None` before there is any VM: a CPU that is in its loop by then has nothing to ask of it.
#[inline(always)]
pub(crate) fn get() -> Option<&'static System> {
    SYSTEM.get()
}
