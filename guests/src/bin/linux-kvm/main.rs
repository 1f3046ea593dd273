// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Linux program, the first and only one of an initramfs: runs a guest in a VM of KVM's.
//!
//! `vambrace bench --against kvm` measures KVM with it. A VMM that does next to nothing shows what KVM itself takes, and
//! boots within the blink of an eye where one with libraries would not. The guest is `/guest`, its device tree `/tree`;
//! the first argument is the number of vCPUs, each of which gets a thread and, if there are as many, a CPU. It powers
//! the machine off when the guest has done so.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
macro_rules! println {
    ($($argument:tt)*) => {
        $crate::console::print(format_args!("{}\n", format_args!($($argument)*)))
    };
}

#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod linux;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
mod vm;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("linux-kvm is a program for Linux on a measured machine, not for this computer");
}
