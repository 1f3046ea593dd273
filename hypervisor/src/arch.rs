// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is Arm's: system registers, barriers, EL2's own translation, and the way into a guest and back.

pub(crate) mod barrier;
pub(crate) mod clear;
pub(crate) mod debug;
pub(crate) mod features;
pub(crate) mod flag;
pub(crate) mod lock;
pub(crate) mod mem;
pub(crate) mod mmu;
pub(crate) mod sysreg;
pub(crate) mod sysreg_context;
pub(crate) mod timeout;
pub(crate) mod world;
