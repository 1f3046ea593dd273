// SPDX-License-Identifier: MIT OR Apache-2.0
//! The EL2 program: the only place where the values of the other crates meet the machine.
//!
//! It is in `boot` (from the first instruction to all CPUs running) and `sched` (each CPU's loop: pick a
//! vCPU, enter it, turn its exit into a change of the VM, go on). EL2 runs with interrupts masked and to
//! completion: interrupts only ever arrive as a reason for a guest to exit, so no code here is re-entered.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod arch;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod devices;
#[cfg(target_os = "none")]
mod gic;
#[cfg(target_os = "none")]
mod host_io;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
mod sched;
#[cfg(target_os = "none")]
mod system;
#[cfg(target_os = "none")]
mod vm;

/// The program is for bare metal; on a host there is only this.
#[cfg(not(target_os = "none"))]
fn main() {
    println!("vambrace-hypervisor runs at EL2, not here; type `cargo run -- run` in the workspace's root");
}
