// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copying and filling memory: the two functions that the compiler calls for it. See `mem.S`.

core::arch::global_asm!(include_str!("mem.S"));
