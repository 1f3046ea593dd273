// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every CPU says what it has, and learns what all have, before the first VM is made.

use spin::{Once, RelaxStrategy};
use vambrace_hypervisor::board::MAX_CPUS;
use vambrace_hypervisor::cpus::{self, Alike, Census, Cpu, Shape};
use vambrace_hypervisor::traps::Features;
use vambrace_machine::vm::Platform;

use crate::lock::{SpinMutex, Yield};
use crate::sysreg::{CntfrqEl0, CntpctEl0, IchVtrEl2, Read};
use crate::{barrier, boot, console, features};

pub(crate) type Vmids = vambrace_memory::vmid::Vmids<MAX_CPUS>;

/// What holds on all CPUs.
#[derive(Debug)]
pub(crate) struct System {
    common: Cpu,
    /// What EL2 does by it.
    pub(crate) features: Features,
    /// VMs' numbers.
    pub(crate) vmids: &'static SpinMutex<Vmids>,
    /// What VMs are built on.
    pub(crate) platform: Platform,
}

/// How long a CPU may take from the firmware's word that it starts to its own, in seconds. Only a broken one takes longer.
const PATIENCE: u64 = 30;

static CENSUS: SpinMutex<Census> = SpinMutex::new(Census::new(0));
static SYSTEM: Once<System> = Once::new();
static VMIDS: Once<SpinMutex<Vmids>> = Once::new();

/// This CPU is one of `cpus` that are to be heard of; the first one says so, before it starts the others.
pub(crate) fn open(cpus: usize) {
    *CENSUS.lock() = Census::new(cpus);
}

/// A CPU does not start.
pub(crate) fn give_up_one() {
    CENSUS.lock().give_up_one();
}

/// Hears this CPU, which is the first, and all others. Not under a lock: each of them says its own.
pub(crate) fn close() -> &'static System {
    CENSUS.lock().add(&this_cpu());
    let end = CntpctEl0.read().saturating_add(PATIENCE.saturating_mul(CntfrqEl0.read()));
    let missing = loop {
        let missing = CENSUS.lock().missing();
        if missing == 0 || CntpctEl0.read() > end {
            break missing;
        }
        Yield::relax();
    };
    if missing > 0 {
        console::warning!("{missing} CPUs were started and do not come; VMs are built without them");
    }
    let census = CENSUS.lock();
    let (common, alike) =
        census.common().map_or_else(|| (this_cpu(), Alike::Yes), |(common, alike)| (common.clone(), alike));
    drop(census);
    if alike == Alike::No {
        console::log(
            vambrace_wire::message::Level::Info,
            format_args!("the CPUs are not alike; VMs see what all of them have"),
        );
    }
    let vmids = VMIDS.call_once(|| SpinMutex::new(Vmids::new(common.features().vmids)));
    SYSTEM.call_once(|| System { features: common.features(), vmids, platform: common.platform(), common })
}

/// Another CPU says what it has, and waits for what all have. One that comes too late, and lacks what VMs count on, goes
/// no further.
pub(crate) fn join() -> &'static System {
    let mine = this_cpu();
    if SYSTEM.get().is_none() {
        CENSUS.lock().add(&mine);
    }
    let system = loop {
        match SYSTEM.get() {
            Some(system) => break system,
            None => Yield::relax(),
        }
    };
    if !cpus::may_join(&mine, &system.common) {
        console::warning!("CPU {:#x} came late, and lacks what VMs count on: it runs none", boot::affinity());
        loop {
            barrier::wfi();
        }
    }
    system
}

/// Apart: it is large, and the stack is not.
#[inline(never)]
fn this_cpu() -> Cpu {
    barrier::note_cache_line();
    Cpu { id: features::id_registers(), shape: Shape::of(IchVtrEl2.read()) }
}
