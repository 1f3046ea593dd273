// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unmodified Debian kernels, and Debian's U-Boot.

use vambrace::exit::Exit;
use vambrace_tests::{Bench, Case, Need, Scenario, Verdict};

pub(crate) fn cases() -> Vec<Case> {
    let linux = |name: &str, series: &'static str, run: fn(&Bench) -> Verdict| {
        Case::new(name, run).needs(Need::Linux(series))
    };
    vec![
        linux("linux::kernel_6_1", "6.1", |bench| boot(bench, Board::default(), &[("6.1", 2)])),
        linux("linux::kernel_6_12", "6.12", |bench| boot(bench, Board::default(), &[("6.12", 2)])),
        linux("linux::both_kernels_side_by_side", "6.1", |bench| {
            boot(bench, Board::default(), &[("6.1", 1), ("6.12", 1)])
        })
        .needs(Need::Linux("6.12")),
        linux("linux::vm_with_8_cpus", "6.12", |bench| boot(bench, Board::default(), &[("6.12", 8)])),
        linux("linux::vm_with_20_cpus", "6.12", |bench| boot(bench, Board::default(), &[("6.12", 20)])),
        linux("linux::four_vms_of_2_cpus_on_two_cpus", "6.12", |bench| {
            boot(bench, Board { cpus: 2, ..Board::default() }, &[("6.12", 2); 4])
        }),
        linux("linux::on_cortex_a53", "6.12", |bench| {
            boot(bench, Board { cpu: "cortex-a53", ..Board::default() }, &[("6.12", 2)])
        }),
        linux("linux::on_max", "6.12", |bench| {
            boot(bench, Board { cpu: "max", ..Board::default() }, &[("6.12", 2)])
        }),
        Case::new("linux::u_boot_up_to_its_prompt", u_boot).needs(Need::UBoot),
    ]
}

#[derive(Clone, Copy)]
struct Board {
    cpu: &'static str,
    cpus: u16,
}

impl Default for Board {
    fn default() -> Self {
        Self { cpu: "cortex-a72", cpus: 4 }
    }
}

/// Boots a VM for each kernel series with so many CPUs. Each must introduce itself with all of them, complain of
/// nothing, and power off.
fn boot(bench: &Bench, board: Board, vms: &[(&str, u16)]) -> Verdict {
    let Board { cpu, cpus } = board;
    let mut manifest = format!("[board]\ncpu = \"{cpu}\"\ncpus = {cpus}\nmemory = \"3GiB\"\n");
    for (index, (series, vcpus)) in vms.iter().enumerate() {
        manifest.push_str(&format!(
            "[[vm]]\nname = \"linux-{index}\"\nkernel = \"debian:{series}\"\ninitrd = \"demo\"\n\
             memory = \"512MiB\"\nvcpus = {vcpus}\n"
        ));
    }
    let record = bench.run(&Scenario::new(manifest).within(600))?;
    for (index, (series, vcpus)) in vms.iter().enumerate() {
        let name = format!("linux-{index}");
        let text = record.vm(&name)?.text();
        let introduction = format!("vambrace-demo: {name} up: {series}.");
        let line = text.lines().find(|line| line.contains(&introduction)).unwrap_or_default();
        record.ensure(line.contains(&format!(" cpus={vcpus} ")), || {
            format!("{name} must come up with {vcpus} CPUs: {line:?}")
        })?;
        for trouble in ["WARNING: CPU", "BUG:", "Oops", "Kernel panic", "rcu: INFO", "Internal error", "Call trace"] {
            record.ensure(!text.contains(trouble), || format!("{name} complains: {trouble}"))?;
        }
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
