// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts of the EL2 program that need no EL2: how a board is read, how memory is handed out.
//!
//! They are a library so that they are tested on the developer's computer; the program itself is `main.rs`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod invariant;

/// What is Arm's, as tables and values: what traps, which registers a guest reaches, in which order registers are written.
pub mod arch {
    pub mod el1;
    pub mod speculative_at;
    pub mod sre;
    pub mod traps;
}

/// What is known before the first VM: the board, its CPUs, what lies in memory.
pub mod boot {
    pub mod arrival;
    pub mod board;
    pub mod footprint;
}

/// The board's serial line, shared by all VMs' consoles.
pub mod console {
    pub mod serial;
}

/// The board's own devices, which EL2 drives for VMs.
pub mod host_io {
    pub mod board_disk;
    pub mod seed;
}

/// The board's memory and who has it.
pub mod memory {
    pub mod pieces;
    pub mod pool;
    pub mod regions;
    pub mod room;
}

/// Which physical CPU a vCPU is affine to, and what CPUs request of each other.
pub mod sched {
    pub mod placement;
    pub mod requests;
}

/// VMs, as EL2 accounts for them.
pub mod vm {
    pub mod ratelimit;
    pub mod table;
}
