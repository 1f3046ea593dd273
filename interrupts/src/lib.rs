// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupt virtualisation: a virtual GICv3, as a plain value.
//!
//! A [`Vgic`] is the distributor, the redistributors and the virtual CPU interfaces of one VM. It touches no
//! hardware: lines, SGIs and trapped accesses go in through `&mut self` methods, and what comes out is a
//! [`VcpuSet`] of the vCPUs that have to look again, and for each vCPU a [`CpuInterface`], the values for the
//! machine's list registers. So all of it runs, and is tested, on the host.
//!
//! The state of an interrupt is in one of two places: in the model, or lent to a list register of the vCPU that
//! handles it. [`Vgic::fill`] lends, [`Vgic::fold`] takes back; between the two the machine delivers,
//! acknowledges and deactivates without an exit. The rules for the EL2 program:
//!
//! 1. Before a vCPU is entered, if [`Vgic::needs_refill`]: `fold` (with what the machine's registers say), `fill`,
//!    write the machine's registers, and deactivate each physical interrupt of [`Vgic::take_released`].
//! 2. Before a vCPU's own access to the distributor, to its redistributor or to ICC_DIR_EL1, and after a maintenance
//!    interrupt: `fold`.
//! 3. When a vCPU leaves its physical CPU, [`Vgic::leave`]. When it comes back, [`Vgic::take_up`], or else `fold_aside` and
//!    `fill`; and write all of the machine's registers.
//! 4. Each vCPU in a returned set is kicked if it runs (so that it comes to rule 1), and asked for
//!    [`Vgic::has_deliverable`] if it waits, after [`Vgic::fold_stale`].
//!
//! 5. Before each `fill` of a vCPU that is about to be entered, [`Vgic::set_masked_groups`]. A trapped access to a register
//!    of one group is [`Vgic::read_pending`]'s, [`Vgic::write_eoi`]'s or [`Vgic::write_group_register`]'s, between `fold` and
//!    `fill`; all of the machine's registers are written then.
//!
//! What one vCPU writes about an interrupt that sits in another vCPU's list register takes effect when that vCPU
//! folds; it is in the returned set. Reads in that moment see the state as it was at the `fill`. The vCPUs of
//! [`Vgic::distributor_holders`] and [`Vgic::redistributor_holders`] are to be kicked on such a read, or a guest
//! that polls might never see the change; for an exact answer they fold first.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod affinity;
mod aside;
mod bank;
mod config;
mod delivery;
mod direct;
mod distributor;
mod list_register;
mod redistributor;
mod resample;
mod routing;
mod selection;
mod sgi;
mod vcpu_set;
mod vgic;

pub use aside::Passage;
pub use config::{ConfigError, VgicConfig};
pub use direct::{Added, Arrival};
pub use list_register::{CpuInterface, ListRegister, State};
pub use resample::{Answer, Group, GroupRegister, Look, Trigger};
pub use sgi::{SgiRegister, SgiRequest, SgiTargets};
pub use vcpu_set::{MAX_VCPUS, VcpuSet};
pub use vgic::{Activity, Level, Vgic, Width};
