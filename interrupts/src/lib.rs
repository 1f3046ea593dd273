// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupt virtualisation: a virtual GICv3, as a plain value.
//!
//! A [`Vgic`] is the distributor, the redistributors and the virtual CPU interfaces of one VM. It touches no
//! hardware: lines, SGIs and trapped accesses go in through `&mut self` methods, and what comes out is a
//! [`VcpuSet`] of the vCPUs that have to look again, and for each vCPU a [`VirtualCpuInterface`], the values for the
//! machine's list registers. So all of it runs, and is tested, on the developer's computer.
//!
//! The state of an interrupt is in one of two places: in the model, or queued in a list register of the vCPU that
//! handles it. [`Vgic::flush`] writes the model's state to list registers, [`Vgic::sync`] reads it back; between the two
//! the hardware delivers, acknowledges and deactivates without an exit. The rules for the EL2 program:
//!
//! 1. Before a vCPU is entered, if [`Vgic::needs_flush`]: `sync` (with what the hardware's registers say), `flush`,
//!    write the hardware's registers, and deactivate each physical interrupt of [`Vgic::take_hw_deactivate`].
//! 2. Before a vCPU's own access to the distributor, to its redistributor or to ICC_DIR_EL1, and after a maintenance
//!    interrupt: `sync`.
//! 3. When a vCPU leaves its physical CPU, [`Vgic::put`]. When it comes back, [`Vgic::load`], or else `sync_put` and
//!    `flush`; and write all of the hardware's registers.
//! 4. Each vCPU in a returned set is kicked if it runs (so that it comes to rule 1), and asked for
//!    [`Vgic::has_deliverable`] if it waits, after [`Vgic::sync_put_if_changed`].
//!
//! 5. Before each `flush` of a vCPU that is about to be entered, [`Vgic::set_masked_groups`]. A trapped access to a register
//!    of one group is [`Vgic::read_pending`]'s, [`Vgic::write_eoi`]'s or [`Vgic::write_group_register`]'s, between `sync` and
//!    `flush`; all of the hardware's registers are written then.
//!
//! What one vCPU writes about an interrupt that sits in another vCPU's list register takes effect when that vCPU
//! syncs; it is in the returned set. Reads in that moment see the state as it was at the `flush`. The vCPUs of
//! [`Vgic::distributor_lr_owners`] and [`Vgic::redistributor_lr_owners`] are to be kicked on such a read, or a guest
//! that polls might never see the change; for an exact answer they sync first.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod affinity;
mod bank;
mod config;
mod delivery;
mod direct;
mod distributor;
mod intid;
mod list_register;
mod lr_state;
mod put_load;
mod redistributor;
mod resample;
mod routing;
mod saved;
mod selection;
mod sgi;
mod vcpu_set;
mod vgic;

pub use config::{ConfigError, VgicConfig};
pub use direct::{LrWrite, PrivateIrq};
pub use intid::Intid;
pub use list_register::{ListRegister, State, VirtualCpuInterface};
pub use put_load::Put;
pub use resample::{Group, GroupRegister, PendingRead, PendingRegister, Trigger};
pub use saved::HwLink;
pub use sgi::{SgiRegister, SgiRequest, SgiTargets};
pub use vcpu_set::{MAX_VCPUS, VcpuSet};
pub use vgic::{LineLevel, VcpuRunState, Vgic, Width};
