// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manifest of a board and its VMs: read, checked, and planned as the bundle that EL2 reads.
//!
//! ```text
//! manifest.toml --parse--> Manifest --load--> checked against local files --plan--> bundle
//! ```
//!
//! Pure: local files are read, nothing is fetched, built or started. What a manifest names by a word comes through
//! [`plan::Images`], from whoever can fetch it.
//!
//! Modules stand on those before them: what is said about mistakes ([`diagnostic`]); what images are ([`images`]), what
//! Debian offers ([`debian`]) and what CPUs can ([`cpus`]); the manifest; the bundle ([`plan`]) and the board's memory
//! ([`layout`]); and at the top [`load()`], which holds the manifest against all of it.
#![forbid(unsafe_code)]

pub mod cpus;
pub mod debian;
pub mod diagnostic;
pub mod images;
pub mod layout;
mod load;
mod manifest;
pub mod plan;
pub mod symbols;
mod values;
pub mod words;
mod workspace;

pub use load::load;
pub use manifest::schema::schema;
pub use manifest::{
    Board, BoardModel, BoardOptions, Boot, Manifest, OWN_NAME, Vm, WhenIdle, assign, channels, io, parse,
    ports, read, run, slots,
};
pub use values::{FirmwareSource, ImageNameError, InitrdSource, KernelSource, Size, SizeError};
pub use workspace::workspace;

#[cfg(test)]
mod tests;
