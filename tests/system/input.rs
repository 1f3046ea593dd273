// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is typed arrives: on every console, all of it, and whatever other VMs do.

use vambrace_runner::Exit;
use vambrace_tests::{Bench, Case, Need, Scenario, Verdict};

/// As much as somebody pastes, many times what the hypervisor holds.
const PASTED: usize = 20_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("input::reaches_a_uart", |bench| lines(bench, "pl011")),
        Case::new("input::reaches_a_virtio_console", |bench| lines(bench, "virtio-console")),
        Case::new("input::a_break_stays_between_its_keys", breaks),
        Case::new("input::all_that_is_pasted_arrives_beside_a_deaf_vm", paste),
        Case::new("input::sysrq_of_linux", sysrq).needs(Need::Linux("6.12")),
        Case::new("input::linux_with_nothing_but_a_virtio_console", virtio_linux).needs(Need::Linux("6.12")),
    ]
}

fn vm(name: &str, device: &str, parameters: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\nkernel = \"guest:terminal\"\nmemory = \"16MiB\"\ndevices = [\"{device}\"]\n\
         cmdline = \"{parameters}\"\n"
    )
}

/// What a guest says of a line: its bytes and breaks, and their sum, a break being 256.
fn account(line: &[u16]) -> String {
    let breaks = line.iter().filter(|entry| **entry > 255).count();
    let sum = line.iter().fold(0u64, |sum, entry| sum.wrapping_mul(31).wrapping_add((*entry).into()));
    format!("guest: {} bytes, {breaks} breaks, sum {sum}", line.len() - breaks)
}

fn bytes(text: &str) -> Vec<u16> {
    text.bytes().map(u16::from).collect()
}

/// A VM that waits for an interrupt of its only console, and looks at nothing before.
fn lines(bench: &Bench, device: &str) -> Verdict {
    let mut live = bench.start(&Scenario::new(vm("vm", device, "")))?;
    live.wait_for(0, "guest: terminal")?;
    for line in ["k", "hello", "q"] {
        live.send(0, &format!("{line}\n"));
        live.wait_for(0, &account(&bytes(line)))?;
    }
    live.finish().exits(Exit::Success)
}

fn breaks(bench: &Bench) -> Verdict {
    let mut live = bench.start(&Scenario::new(vm("vm", "pl011", "")))?;
    live.wait_for(0, "guest: terminal")?;
    live.send(0, "ab");
    live.send_break(0);
    live.send(0, "h\n");
    live.wait_for(0, &account(&[0x61, 0x62, 256, 0x68]))?;
    live.send(0, "q\n");
    live.finish().exits(Exit::Success)
}

/// Three VMs on one CPU, of which one only spins. Whatever is pasted to that is in nobody's way.
fn paste(bench: &Bench) -> Verdict {
    let board = "[board]\ncpus = 1\n".to_owned();
    let manifest =
        [board, vm("deaf", "pl011", "deaf"), vm("uart", "pl011", ""), vm("virtio", "virtio-console", "")]
            .concat();
    let mut live = bench.start(&Scenario::new(manifest))?;
    live.wait_for(0, "guest: deaf")?;
    let text: String = (0..PASTED).map(|at| char::from(b'a' + (at * 7 % 26) as u8)).collect();
    for vm in [1, 2] {
        live.wait_for(vm, "guest: terminal")?;
    }
    for vm in [0, 1, 2] {
        live.send(vm, &text);
        live.send(vm, "\n");
    }
    for vm in [1, 2] {
        live.wait_for(vm, &account(&bytes(&text)))?;
        live.send(vm, "q\n");
    }
    live.wait_until("the end of those that hear", |outcome| {
        outcome.vms.iter().skip(1).all(|vm| vm.state() == Some(vambrace_wire::message::VmState::Off))
    })?;
    let record = live.stop();
    let warned = record.outcome.log.iter().any(|(_, text)| text.contains("not arrived"));
    record.ensure(!warned, || "keys were lost".into())
}

/// Linux takes a break for the SysRq key, and `h` for help.
fn sysrq(bench: &Bench) -> Verdict {
    let mut live = bench.start(
        &Scenario::new(
            "[[vm]]\nname = \"linux\"\nkernel = \"debian:6.12\"\ninitrd = \"demo\"\nmemory = \"512MiB\"\n",
        )
        .with_shells(),
    )?;
    live.wait_for(0, "A shell on linux")?;
    live.send_break(0);
    live.send(0, "h");
    live.wait_for(0, "sysrq: HELP")?;
    live.ask(0, "echo still $((40 + 2)); poweroff", "still 42")?;
    live.finish().exits(Exit::Success)
}

fn virtio_linux(bench: &Bench) -> Verdict {
    let mut live = bench.start(
        &Scenario::new(
            "[[vm]]\nname = \"linux\"\nkernel = \"debian:6.12\"\ninitrd = \"demo\"\nmemory = \"512MiB\"\n\
             devices = [\"virtio-console\"]\ncmdline = \"console=hvc0\"\n",
        )
        .with_shells(),
    )?;
    // What was said before its driver came is not repeated.
    live.wait_for(0, "~ # ")?;
    live.ask(0, "echo alive $((40 + 2))", "alive 42")?;
    live.send(0, "poweroff\n");
    live.finish().exits(Exit::Success)
}
