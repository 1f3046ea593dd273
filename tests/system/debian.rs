// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's system on a disk: it starts, works, and is whole after it was cut short.

use std::path::Path;

use vambrace_runner::Exit;
use vambrace_setup::disk;
use vambrace_tests::{Bench, Case, Failed, Need, PATIENCE, Process, Scenario, Verdict};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("debian::without_the_hypervisor", natively).needs(Need::DebianRoot),
        Case::new("debian::in_a_vm", in_a_vm).needs(Need::DebianRoot).needs(Need::Linux("6.12")),
        Case::new("debian::without_a_disk", without_a_disk).needs(Need::DebianRoot),
    ]
}

/// Writes a file and cuts the system short as soon as it is on the disk.
const WRITE_AND_RESET: &str = "seq 100000 > /srv/numbers; sync; echo b > /proc/sysrq-trigger";
/// Tells whether it is there.
const READ: &str = "md5sum < /srv/numbers";
/// The MD5 of the numbers from 1 to 100000, a line each.
const NUMBERS: &str = "dea9193b768319cbb4ff1a137ac03113";
/// Look at the second disk: it is the one that was written to, and nothing is wrong with its file system.
const CHECKS: [(&str, &str); 2] =
    [("debugfs -R 'ls /srv' /dev/vdb", "numbers"), ("e2fsck -fn /dev/vdb; echo it says $?", "it says 0")];

/// Commands with what they answer.
const TOOLS: [(&str, &str); 5] = [
    ("apt --version", "(arm64)"),
    ("dpkg --audit; echo audit $?", "audit 0"),
    ("fsck --version", "fsck from util-linux"),
    ("iperf3 --version", "Optional features available"),
    ("ping -c 1 localhost", "1 received"),
];

/// On QEMU's board without a hypervisor, with QEMU's own virtio.
fn natively(bench: &Bench) -> Verdict {
    let folder = tempfile::tempdir()?;
    let pristine = bench.setup.debian_root()?;
    let path = |name: &str| folder.path().join(name);
    disk::copy(&pristine, &path("root.img"))?;
    disk::copy(&pristine, &path("judge.img"))?;
    write_initrd(bench, folder.path())?;

    let mut system = boot(bench, folder.path(), &["root.img"])?;
    for (command, answer) in TOOLS {
        ask(&mut system, command, answer)?;
    }
    ask(&mut system, WRITE_AND_RESET, "Resetting")?;
    system.finish(PATIENCE)?.exits_with(0)?;

    let mut system = boot(bench, folder.path(), &["root.img"])?;
    ask(&mut system, READ, NUMBERS)?;
    ask(&mut system, "poweroff", "Power down")?;
    system.finish(PATIENCE)?.exits_with(0)?;

    let mut judge = boot(bench, folder.path(), &["judge.img", "root.img"])?;
    CHECKS.into_iter().try_for_each(|(command, answer)| ask(&mut judge, command, answer))
}

/// Writes what [`boot`] starts with.
pub(crate) fn write_initrd(bench: &Bench, folder: &Path) -> Verdict {
    let drivers = std::fs::read(bench.setup.modules(None)?)?;
    Ok(std::fs::write(folder.join("initrd"), [drivers, bench.setup.root_initramfs()?].concat())?)
}

/// Starts the system on the first disk, without a hypervisor, and logs in.
pub(crate) fn boot(bench: &Bench, folder: &Path, disks: &[&str]) -> Result<Process, Failed> {
    let file = |name: &str| folder.join(name).display().to_string();
    let (kernel, initrd) = (bench.setup.kernel(None)?.display().to_string(), file("initrd"));
    let mut arguments: Vec<String> = ["-machine", "virt", "-cpu", "cortex-a72", "-m", "512M"]
        .into_iter()
        .chain(["-global", "virtio-mmio.force-legacy=false", "-kernel", &kernel, "-initrd", &initrd])
        .chain(["-append", "vambrace.name=debian"])
        .map(str::to_owned)
        .collect();
    // Linux finds them in the order of addresses, and QEMU gives the highest first.
    for disk in disks.iter().rev() {
        let id = disk.trim_end_matches(".img");
        arguments.extend(["-drive".to_owned(), format!("if=none,id={id},format=raw,file={}", file(disk))]);
        arguments.extend(["-device".to_owned(), format!("virtio-blk-device,drive={id}")]);
    }
    let mut system = bench.plain_qemu_on_a_terminal(arguments.iter().map(String::as_str))?;
    system.wait_for("debian login: ", PATIENCE)?;
    ask(&mut system, "root", "root@debian:~# ")?;
    Ok(system)
}

/// Has the system do something, and waits for the answer.
pub(crate) fn ask(system: &mut Process, command: &str, answer: &str) -> Verdict {
    system.type_keys(&format!("{command}\r"))?;
    system.wait_for(answer, PATIENCE)
}

/// In a VM, beside a neighbour; then another VM looks at its disk.
fn in_a_vm(bench: &Bench) -> Verdict {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("scenario.toml");
    std::fs::write(&path, MANIFEST)?;
    let mut live = bench.start(&Scenario::of_file(&path)?.with_shells())?;
    live.wait_for(NEIGHBOUR, "A shell on")?;
    live.ask(NEIGHBOUR, "ip addr add 10.0.0.2/24 dev eth0; ip link set eth0 up; echo up $?", "up 0")?;
    live.wait_for(DEBIAN, "debian login: ")?;
    live.ask(DEBIAN, "root", "root@debian:~# ")?;
    for (command, answer) in TOOLS {
        live.ask(DEBIAN, command, answer)?;
    }
    live.ask(DEBIAN, "ping -c 3 10.0.0.2", "3 received")?;
    live.ask(NEIGHBOUR, "ping -c 3 -w 600 10.0.0.1 | grep received", "3 packets received")?;
    live.send(DEBIAN, &format!("{WRITE_AND_RESET}\n"));
    live.wait_until("the reset", |outcome| outcome.vms[usize::from(DEBIAN)].resets() == 1)?;
    live.wait_for(DEBIAN, "debian login: ")?;
    live.ask(DEBIAN, "root", "root@debian:~# ")?;
    live.ask(DEBIAN, READ, NUMBERS)?;
    live.send(DEBIAN, "poweroff\n");
    live.send(NEIGHBOUR, "poweroff\n");

    live.wait_for(JUDGE, "judge login: ")?;
    live.ask(JUDGE, "root", "root@judge:~# ")?;
    for (command, answer) in CHECKS {
        live.ask(JUDGE, command, answer)?;
    }
    live.send(JUDGE, "poweroff\n");
    live.finish().exits(Exit::Success)
}

const DEBIAN: u16 = 0;
const NEIGHBOUR: u16 = 1;
const JUDGE: u16 = 2;
const MANIFEST: &str = r#"
    [[network]]
    name = "lan"
    [[board.disk]]
    name = "debian"
    image = "debian.img"
    system = "debian"
    [[board.disk]]
    name = "judge"
    image = "judge.img"
    system = "debian"

    [[vm]]
    name = "debian"
    kernel = "debian"
    initrd = "debian"
    cmdline = "ip=10.0.0.1:::255.255.255.0"
    memory = "512MiB"
    [[vm.disk]]
    board = "debian"
    [[vm.network]]
    name = "lan"

    [[vm]]
    name = "neighbour"
    kernel = "debian"
    initrd = "demo"
    [[vm.network]]
    name = "lan"

    [[vm]]
    name = "judge"
    kernel = "debian"
    initrd = "debian"
    memory = "512MiB"
    after = "debian"
    [[vm.disk]]
    board = "judge"
    [[vm.disk]]
    board = "debian"
    "#;

/// What is missing is said, and the VM ends.
fn without_a_disk(bench: &Bench) -> Verdict {
    let record = bench.run(&Scenario::new(
        r#"
        [[vm]]
        name = "lost"
        kernel = "debian"
        initrd = "debian"
        cmdline = "root=/dev/vdc"
        "#,
    ))?;
    record.says("lost", "vambrace-init: there is no disk root=/dev/vdc")?;
    record.exits(Exit::Success)
}
