// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unmodified Debian kernels, and Debian's U-Boot.

use vambrace_runner::{Clock, Exit};
use vambrace_tests::{Bench, Case, Need, Scenario, Verdict};

pub(crate) fn cases() -> Vec<Case> {
    let linux = |name: &str, series: &'static str, run: fn(&Bench) -> Verdict| {
        Case::new(format!("linux::{name}"), run).needs(Need::Linux(series))
    };
    vec![
        linux("kernel_6_1", "6.1", |bench| boot(bench, USUAL, &[("6.1", 2)])),
        linux("kernel_6_12", "6.12", |bench| boot(bench, USUAL, &[("6.12", 2)])),
        linux("both_kernels_side_by_side", "6.1", |bench| boot(bench, USUAL, &[("6.1", 1), ("6.12", 1)]))
            .needs(Need::Linux("6.12")),
        linux("vm_with_8_cpus", "6.12", |bench| boot(bench, USUAL, &[("6.12", 8)])),
        linux("vm_with_20_cpus", "6.12", |bench| boot(bench, USUAL, &[("6.12", 20)])),
        linux("four_vms_of_2_cpus_on_two_cpus", "6.12", |bench| {
            boot(bench, Board { cpus: 2, clock: Clock::Instructions, ..USUAL }, &[("6.12", 2); 4])
        }),
        linux("on_cortex_a53", "6.12", |bench| {
            boot(bench, Board { cpu: "cortex-a53", ..USUAL }, &[("6.12", 2)])
        }),
        linux("on_max", "6.12", |bench| boot(bench, Board { cpu: "max", ..USUAL }, &[("6.12", 2)])),
        Case::new("linux::u_boot_up_to_its_prompt", u_boot).needs(Need::UBoot),
    ]
}

#[derive(Clone, Copy)]
struct Board {
    cpu: &'static str,
    cpus: u16,
    clock: Clock,
}

const USUAL: Board = Board { cpu: "cortex-a72", cpus: 4, clock: Clock::Host };

/// What a kernel prints when something is wrong.
const TROUBLE: [&str; 6] = ["WARNING: CPU", "BUG: ", "Oops", "Kernel panic", "Internal error", "rcu: INFO"];

/// What it may print on a slow computer, and by the computer's own time only.
const LOST_TIME: [&str; 3] = ["soft lockup", "workqueue lockup", "rcu: INFO"];

/// Boots a VM for each kernel series with so many CPUs. Each must introduce itself with all of them, complain of
/// nothing, and power off.
fn boot(bench: &Bench, board: Board, vms: &[(&str, u16)]) -> Verdict {
    let Board { cpu, cpus, clock } = board;
    let mut manifest = format!("[board]\ncpu = \"{cpu}\"\ncpus = {cpus}\nmemory = \"3GiB\"\n");
    for (index, (series, vcpus)) in vms.iter().enumerate() {
        manifest.push_str(&format!(
            "[[vm]]\nname = \"linux-{index}\"\nkernel = \"debian:{series}\"\ninitrd = \"demo\"\n\
             memory = \"512MiB\"\nvcpus = {vcpus}\n"
        ));
    }
    let scenario = Scenario::new(manifest);
    let record = bench.run(&if clock == Clock::Instructions { scenario.counted() } else { scenario })?;
    for (index, (series, vcpus)) in vms.iter().enumerate() {
        let name = format!("linux-{index}");
        let text = record.vm(&name)?.text();
        let introduction = format!("vambrace-demo: {name} up: {series}.");
        let line = text.lines().find(|line| line.contains(&introduction)).unwrap_or_default();
        record.ensure(line.contains(&format!(" cpus={vcpus} ")), || {
            format!("{name} must come up with {vcpus} CPUs: {line:?}")
        })?;
        let is_complaint = |line: &&str| {
            let excused = clock == Clock::Host && LOST_TIME.iter().any(|words| line.contains(words));
            !excused && TROUBLE.iter().any(|words| line.contains(words))
        };
        let complaint = text.lines().find(is_complaint);
        record.ensure(complaint.is_none(), || format!("{name} complains: {complaint:?}"))?;
    }
    record.exits(Exit::Success)
}

/// Firmware in flash: it waits for a key, gives a prompt, takes commands, powers off.
fn u_boot(bench: &Bench) -> Verdict {
    let mut live = bench.start(&Scenario::new(
        r#"
        [[vm]]
        name = "u-boot"
        firmware = "debian:u-boot"
        memory = "256MiB"
        "#,
    ))?;
    live.wait_for(0, "U-Boot 20")?;
    live.wait_for(0, "DRAM:")?;
    live.wait_for(0, "Hit any key to stop autoboot")?;
    live.send(0, " ");
    live.wait_for(0, "=> ")?;
    live.send(0, "version\r");
    live.wait_for(0, "U-Boot 20")?;
    live.wait_for(0, "=> ")?;
    live.send(0, "echo sum $cpu $board; poweroff\r");
    live.wait_for(0, "sum armv8 qemu-arm")?;
    live.finish().exits(Exit::Success)
}
