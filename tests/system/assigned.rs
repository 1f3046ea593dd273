// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices of the board that belong to one VM.

use vambrace_runner::Exit;
use vambrace_tests::{Bench, Case, Failed, Need, Scenario, Verdict, ensure};
use vambrace_wire::message::VmState;

pub(crate) fn cases() -> Vec<Case> {
    // Older QEMUs have no second UART on this board.
    vec![
        Case::new("assigned::devices_and_their_interrupts", ours).needs(Need::Qemu(10)),
        Case::new("assigned::device_that_the_board_lacks", device_that_the_board_lacks),
        Case::new("assigned::linux", linux).needs(Need::Qemu(10)).needs(Need::Linux("6.12")),
    ]
}

/// A VM that has the board's GPIO controller, its clock, its second UART, which writes to `second`, and a source of entropy
/// that masters DMA.
fn with_devices(vm: &str, second: &str) -> Scenario {
    let manifest = format!(
        r#"
        [[board.device]]
        slot = "/virtio_mmio@a001200"
        qemu = "virtio-rng-device"

        # Before the other, so that it would take the memory at the other's place.
        [[vm]]
        name = "neighbour"
        kernel = "guest:hello"
        memory = "8MiB"

        [[vm]]
        {vm}
        devices = ["pl011"]
        assign = ["/pl061@9030000", "/pl031@9010000", "/pl011@9040000", "/virtio_mmio@a001200"]
        dma = "trusted"
        "#
    );
    Scenario::new(manifest).with_qemu_args(&["-serial", second])
}

/// Registers and interrupts, in two boot epochs; beside a VM that has none of it.
fn ours(bench: &Bench) -> Verdict {
    let folder = tempfile::tempdir()?;
    let second = folder.path().join("second");
    let vm = r#"
        name = "owner"
        kernel = "guest:assigned"
        cmdline = "reset"
        memory = "8MiB"
        "#;
    let record = bench.run(&with_devices(vm, &format!("file:{}", second.display())))?;
    record.passes("owner", "assigned")?;
    record.exits(Exit::Success)?;
    let boots = record.vm("owner")?.text().matches("guest: assigned ok").count();
    record.ensure(boots == 2, || format!("the owner has booted {boots} times, not twice"))?;
    let entropy = record.vm("owner")?.text().matches("guest: entropy by DMA").count();
    record.ensure(entropy == 2, || format!("there was entropy in {entropy} boot epochs, not 2"))?;
    record.says("neighbour", "guest: hello from EL1")?;
    says(&second, "guest: hello from the second UART", 2)
}

/// The board has one UART only, and its second is assigned: that VM is not made and is told so, and the others run, also the one
/// that waits for it.
fn device_that_the_board_lacks(bench: &Bench) -> Verdict {
    let vm = r#"
        name = "heir"
        kernel = "guest:hello"
        memory = "8MiB"
        after = "owner"

        [[vm]]
        name = "owner"
        kernel = "guest:assigned"
        memory = "8MiB"
        "#;
    let record = bench.run(&with_devices(vm, "null").with_qemu_args(&[""; 0]))?;
    for vm in ["neighbour", "heir"] {
        record.says(vm, "guest: hello from EL1")?;
    }
    record.is_told("owner cannot be made: registers at 0x9040000..0x9041000 are assigned to it")?;
    let states = &record.vm("owner")?.states;
    record.ensure(states[..] == [VmState::NotMade], || format!("the owner went through {states:?}"))?;
    record.exits(Exit::NotMade)
}

/// What QEMU has written to a file must have a line so many times.
fn says(file: &std::path::Path, line: &str, times: usize) -> Result<(), Failed> {
    let text = String::from_utf8_lossy(&std::fs::read(file)?).into_owned();
    ensure(text.matches(line).count() == times, || format!("{line:?} is not {times} times in {text:?}"))
}

/// Linux finds the same drivers for them as on the board itself.
fn linux(bench: &Bench) -> Verdict {
    let folder = tempfile::tempdir()?;
    let second = folder.path().join("second");
    let vm = r#"
        name = "linux"
        kernel = "debian:6.12"
        initrd = "demo"
        memory = "512MiB"
        "#;
    let scenario = with_devices(vm, &format!("file:{}", second.display()));
    let mut live = bench.start(&scenario.with_shells())?;
    live.wait_for(1, "A shell on")?;
    live.ask(1, "cat /sys/bus/amba/devices/9030000.pl061/driver_override; echo found $?", "found 0")?;
    live.ask(1, "echo clock: $(cat /sys/class/rtc/rtc0/name)", "clock: rtc-pl031")?;
    live.ask(1, "echo pins: $(ls /sys/bus/gpio/devices)", "pins: gpiochip0")?;
    live.ask(1, "echo entropy: $(cat /sys/class/misc/hw_random/rng_current)", "entropy: virtio_rng.0")?;
    live.ask(1, "echo read: $(head -c 4096 /dev/hwrng | wc -c)", "read: 4096")?;
    live.ask(1, "grep virtio /proc/interrupts | tr -s ' '", "GIC")?;
    live.ask(1, "echo hello from Linux > /dev/ttyAMA1; echo sent $?", "sent 0")?;
    for before in 0..2 {
        let alarm = format!(
            "echo +4 > /sys/class/rtc/rtc0/wakealarm; until grep rtc-pl031 /proc/interrupts | tr -s ' ' | \
             grep \": $(({before} + 1)) GIC\"; do sleep 1; done"
        );
        live.ask(1, &alarm, &format!(": {} GIC", before + 1))?;
    }
    live.send(1, "poweroff\n");
    live.finish().exits(Exit::Success)?;
    says(&second, "hello from Linux", 1)
}
