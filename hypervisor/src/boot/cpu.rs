// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each CPU sets up of itself before it can run a vCPU.

use vambrace_hypervisor::arch::speculative_at::SwitchOrder;
use vambrace_hypervisor::arch::traps::Features;
use vambrace_hypervisor::boot::board::Board;

use super::affinity;
use crate::arch::debug::Debug;
use crate::arch::sysreg::{MidrEl1, Read};
use crate::arch::{barrier, features};
use crate::gic::vgic::{Interface, Shape};
use crate::gic::{self, CpuInterface};
use crate::panic;
use crate::sched::percpu::{self, CpusKnown, Shared};
use crate::sched::run;
use vambrace_ids::PcpuId;

/// This CPU traps what guests are not to do, takes interrupts, and translates for nobody.
#[derive(Debug)]
pub(crate) struct CpuUp {
    /// Its index in the board's list.
    pub(crate) index: PcpuId,
    /// The part of it that others see.
    pub(crate) shared: &'static Shared,
    /// Its redistributor and CPU interface.
    pub(crate) gic: CpuInterface,
    /// Its virtual CPU interface, empty.
    pub(crate) interface: Interface,
    /// What it has.
    pub(crate) features: Features,
    /// In which order its translation is changed.
    pub(crate) switch: SwitchOrder,
    /// VTCR_EL2 for tables without a translation.
    pub(crate) empty_vtcr: u64,
    /// Its breakpoints and watchpoints, all disabled.
    pub(crate) debug: Debug,
}

impl CpuUp {
    /// Sets this CPU up, which has this index in the board's list; once on each. Stops the board if it cannot run VMs.
    /// Not inlined: who calls it keeps its stack for ever, and all ID registers are read here.
    #[inline(never)]
    pub(super) fn new(_: &CpusKnown, board: &Board, index: PcpuId) -> Self {
        let features = Features::of(&features::id_registers());
        features::start_cpu(features);
        let empty_vtcr = features
            .empty_vtcr()
            .unwrap_or_else(|why| panic::fail(format_args!("CPU {:#x} cannot run VMs: {why}", affinity())));
        let enable = 1 << gic::KICK.get()
            | 1 << board.timer.virtual_timer.get()
            | 1 << board.timer.hypervisor_timer.get()
            | 1 << board.gic.maintenance.get();
        // SAFETY: the device tree's redistributors, mapped as Device memory; each CPU comes here once.
        let gic = unsafe { CpuInterface::new(&board.gic.redistributors, affinity(), enable) };
        let gic = gic.unwrap_or_else(|why| {
            panic::fail(format_args!("CPU {:#x} cannot take interrupts: {why}", affinity()))
        });
        let Some(shared) = percpu::all().get(index.index()) else {
            panic::fail(format_args!("CPU {:#x} is not among the board's", affinity()))
        };
        let interface = Interface::new(Shape::of_machine(&gic));
        let switch = SwitchOrder::of(MidrEl1.read());
        let debug = Debug::start();
        // Reset leaves all of it UNKNOWN: the registers first, then the TLB.
        run::load_no_translation(switch, empty_vtcr);
        barrier::tlbi_alle1();
        barrier::dsb_nsh();
        barrier::isb();
        Self { index, shared, gic, interface, features, switch, empty_vtcr, debug }
    }
}
