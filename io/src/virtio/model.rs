// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other side of a virtio device, for tests and fuzzing: a guest's memory, a driver that keeps the rules, and one
//! that keeps none.
//!
//! Written from the specification's requirements on drivers, without the device's code: the two only share guest memory and
//! registers, as in reality.

pub mod driver;
pub mod hostile;
pub mod ram;
pub mod torture;

pub use driver::{Driver, Part, Returned, Tables};
pub use ram::Ram;
