// SPDX-License-Identifier: MIT OR Apache-2.0
//! Not a guest but a program for Linux, its init: what a whole system takes, in ticks of the system counter.
//!
//! `phases.rs` says what is measured. Each figure is printed as a line `systems: NAME TICKS` once all are known, since
//! printing goes through the console that is emulated; then come the lines of `/proc/vmallocinfo` that tell where the kernel
//! has mapped its devices, and the machine is powered off.
//!
//! Begun again by itself, under a name that is no path, it is the trivial program that ends at once.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod calls;
#[cfg(target_os = "none")]
mod phases;
#[cfg(target_os = "none")]
mod start;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("linux-bench is a program for an arm64 Linux in a virtual machine, not for this computer");
}
