// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command `vambrace`, as a library: the program itself and the whole-system tests are thin users of it.
//!
//! A manifest becomes a running board in four steps:
//!
//! ```text
//! manifest.toml --manifest--> checked VMs --plan--> bundle --image--> one bootable file --runner--> QEMU
//!                                            ^
//!                         setup: toolchain, QEMU, kernels, initramfs
//! ```
//!
//! The first two are [`vambrace_manifest`]'s. [`vambrace_setup`] fetches what the machine lacks without being asked.
//! [`vambrace_runner`] starts QEMU and speaks the console protocol of `vambrace_wire`; [`console`] shows it, on a terminal or line
//! by line.
#![forbid(unsafe_code)]

pub mod args;
pub mod commands;
pub mod console;
pub mod doctor;
pub mod expect;
pub mod failure;
pub mod run;
