// SPDX-License-Identifier: MIT OR Apache-2.0
//! The whole system, booted in QEMU: `cargo test -p vambrace-tests --test system [FILTER]`.
//!
//! docs/testing.md says how to run one case, the long ones, and what each needs.
#![forbid(unsafe_code)]

use std::process::ExitCode;

mod assigned;
mod bench;
mod boards;
mod channel;
mod ci;
mod command;
mod conformance;
mod debian;
mod demo;
mod documents;
mod guests;
mod hostile;
mod identification;
mod image;
mod input;
mod leftovers;
mod lifecycle;
mod linux;
mod many;
mod memory;
mod migrate;
mod power;
mod ram;
mod recipes;
mod repeat;
mod resets;
mod start;
mod virtio;
mod waiting;
mod watchdog;

fn main() -> ExitCode {
    let cases = [
        demo::cases(),
        documents::cases(),
        recipes::cases(),
        debian::cases(),
        command::cases(),
        ci::cases(),
        bench::cases(),
        start::cases(),
        boards::cases(),
        guests::cases(),
        conformance::cases(),
        linux::cases(),
        lifecycle::cases(),
        migrate::cases(),
        many::cases(),
        memory::cases(),
        ram::cases(),
        resets::cases(),
        watchdog::cases(),
        hostile::cases(),
        identification::cases(),
        image::cases(),
        input::cases(),
        leftovers::cases(),
        repeat::cases(),
        virtio::cases(),
        waiting::cases(),
        power::cases(),
        assigned::cases(),
        channel::cases(),
    ];
    vambrace_tests::main(cases.into_iter().flatten().collect())
}
