// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtio devices, driven by programs of ours with the drivers of `virtio-drivers`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use vambrace_runner::{Exit, RunOutcome};
use vambrace_tests::{Bench, Case, Failed, Live, Need, Record, Scenario, Verdict, ensure};

/// How often the power fails, and what the moments depend on.
const POWER_CUTS: u64 = 20;
const SEED: u64 = 0x5EED;
/// A journal's entries, each in a sector of its own behind the first.
const ENTRIES: u64 = 64;
const SECTOR: usize = 512;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("virtio::entropy_of_the_board", entropy),
        Case::new("virtio::disks_networks_entropy", |bench| neighbours(bench, "")),
        Case::new("virtio::a_greedy_vm_leaves_the_board_disk_to_others", greedy).needs(Need::Qemu(10)),
        Case::new("virtio::twenty_parts_of_a_board_disk", twenty).needs(Need::Qemu(10)),
        Case::new("virtio::board_disk_keeps_what_is_written", keeps),
        Case::new("virtio::what_was_flushed_survives_20_power_cuts", power_cuts),
        Case::new("virtio::linux", linux).needs(Need::Linux("6.12")).needs(Need::Linux("6.1")),
    ]
}

/// Runs the VMs of a manifest whose files are in `folder`.
fn run(bench: &Bench, folder: &Path, manifest: &str) -> Result<Record, Failed> {
    bench.run(&scenario(folder, manifest)?)
}

fn scenario(folder: &Path, manifest: &str) -> Result<Scenario, Failed> {
    let path = folder.join("scenario.toml");
    std::fs::write(&path, manifest)?;
    Scenario::of_file(&path)
}

/// An image read and written, one read only, one with zeros behind it; two neighbours on a network.
/// Both VMs have the keys `more`, too.
pub(crate) fn neighbours(bench: &Bench, more: &str) -> Verdict {
    let folder = tempfile::tempdir()?;
    let mut image = b"hello disk".to_vec();
    image.resize(100 << 10, 0);
    std::fs::write(folder.path().join("disk.img"), image)?;
    let scenario = scenario(
        folder.path(),
        &r#"
        [[network]]
        name = "lan"

        [[vm]]
        name = "a"
        kernel = "guest:virtio"
        cmdline = "echo"
        memory = "16MiB"
        devices = ["pl011", "virtio-rng"]
        [[vm.disk]]
        image = "disk.img"
        [[vm.disk]]
        image = "disk.img"
        access = "read-only"
        [[vm.network]]
        name = "lan"

        [[vm]]
        name = "b"
        kernel = "guest:virtio"
        memory = "16MiB"
        devices = ["pl011", "virtio-rng"]
        [[vm.disk]]
        image = "disk.img"
        size = "1MiB"
        [[vm.network]]
        name = "lan"
        mac = "02:00:00:00:00:0b"
        "#
        .replace("memory =", &format!("{more}\nmemory =")),
    )?;
    // Counted: neighbours wait for each other's answer for a number of looks.
    let record = bench.run(&scenario.counted())?;
    for (vm, facts) in [
        (
            "a",
            ["disk a-0 of 200 sectors says \"hello disk\"", "disk a-1 is read-only", "100 frames sent back"],
        ),
        (
            "b",
            [
                "disk b-0 of 2048 sectors says \"hello disk\"",
                "entropy",
                "the neighbour is [02, 56, 4d, 00, 00, 00]",
            ],
        ),
    ] {
        for fact in facts {
            record.says(vm, &format!("guest: {fact}"))?;
        }
        record.passes(vm, "virtio")?;
    }
    record.exits(Exit::Success)
}

/// Two VMs on two parts of one disk of the board.
fn on_the_board(cmdline: &str) -> String {
    let vm = |name: &str, part: &str| {
        format!(
            r#"
            [[vm]]
            name = "{name}"
            kernel = "guest:virtio"
            cmdline = "{cmdline}"
            memory = "16MiB"
            [[vm.disk]]
            board = "store"
            {part}
            "#
        )
    };
    let board = r#"
        [[board.disk]]
        name = "store"
        image = "store.img"
        size = "16MiB"
        "#;
    [board, &vm("a", "size = \"6MiB\""), &vm("b", "start = \"6MiB\"")].concat()
}

fn keeps(bench: &Bench) -> Verdict {
    let folder = tempfile::tempdir()?;
    let first = run(bench, folder.path(), &on_the_board(""))?;
    for vm in ["a", "b"] {
        first.passes(vm, "virtio")?;
    }
    first.exits(Exit::Success)?;
    let second = run(bench, folder.path(), &on_the_board("keep"))?;
    for vm in ["a", "b"] {
        second.says(vm, &format!("guest: disk {vm}-0 kept it"))?;
    }
    second.exits(Exit::Success)
}

/// A VM whose disks are parts of one disk of the board, of a MiB each, from part number `first` on.
fn on_parts(name: &str, cpu: u16, cmdline: &str, first: usize, disks: usize) -> String {
    let mut vm = format!(
        "\n[[vm]]\nname = {name:?}\nkernel = \"guest:virtio\"\ncmdline = {cmdline:?}\nmemory = \"16MiB\"\ncpus = [{cpu}]\n"
    );
    for part in first..first + disks {
        vm += &format!("[[vm.disk]]\nboard = \"store\"\nstart = \"{part}MiB\"\nsize = \"1MiB\"\n");
    }
    vm
}

const STORE: &str =
    "[board]\ncpus = 2\n\n[[board.disk]]\nname = \"store\"\nimage = \"store.img\"\nsize = \"32MiB\"\n";

/// Reads of a VM that makes one at a time.
const READS: usize = 200;
/// Requests that the board's disk may serve before one of a VM that has none under way: each of nine disks has a place of its
/// own, and all share 16.
const BOUND: usize = 16 + 9;

/// Beside a VM with eight disks and full queues another one reads, and both get on, on two CPUs and on one. On one, while it waits for
/// one read the other has at most as many as there are places. On two that is not looked at: which CPU runs is QEMU's choice, and one
/// that does not run begins no reads.
fn greedy(bench: &Bench) -> Verdict {
    let mut live = start_greedy(bench, 0)?;
    let is_done = |outcome: &RunOutcome, vm: usize| outcome.vms[vm].text().contains("guest: virtio ok");
    live.wait_until("the end of one of them", |outcome| is_done(outcome, 0) || is_done(outcome, 1))?;
    let so_far = live.so_far();
    let greedy = so_far.vms[0].text();
    let reads = 100 * greedy.lines().filter(|line| line.trim_end().ends_with(" reads")).count();
    ensure(is_done(so_far, 1) && reads <= BOUND * READS, || {
        format!("{reads} reads of one VM while the other wanted {READS}")
    })?;
    both_end(live)?;
    both_end(start_greedy(bench, 1)?)
}

/// The modest VM is on this CPU, the greedy one on the first.
fn start_greedy(bench: &Bench, cpu: u16) -> Result<Live, Failed> {
    let manifest = STORE.to_owned()
        + &on_parts("greedy", 0, "storm=2000", 0, 8)
        + &on_parts("modest", cpu, &format!("modest={READS}"), 8, 1);
    bench.start(&Scenario::new(manifest).counted().on_zeros())
}

fn both_end(live: Live) -> Verdict {
    let record = live.finish();
    for vm in ["greedy", "modest"] {
        record.passes(vm, "virtio")?;
    }
    record.exits(Exit::Success)
}

/// Five VMs with four disks each, on two CPUs, all as fast as they can.
fn twenty(bench: &Bench) -> Verdict {
    let vms = (0..5).map(|vm| on_parts(&format!("vm{vm}"), vm as u16 % 2, "storm=200", 4 * vm, 4));
    let manifest = STORE.to_owned() + &vms.collect::<String>();
    let record = bench.run(&Scenario::new(manifest).counted().on_zeros())?;
    for vm in 0..5 {
        record.passes(&format!("vm{vm}"), "virtio")?;
    }
    record.exits(Exit::Success)
}

/// What a VM says to be flushed is on the board's disk when the board is killed, at whatever moment.
fn power_cuts(bench: &Bench) -> Verdict {
    let folder = tempfile::tempdir()?;
    let scenario = scenario(folder.path(), &on_the_board("journal"))?;
    let mut chance = SEED;
    for cut in 0..POWER_CUTS {
        // An LCG (Knuth's MMIX constants); its upper bits are the good ones.
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = 1 + (chance >> 33) % 300;
        // Nothing of the run before may be taken for this one's.
        let _ = std::fs::remove_file(folder.path().join("store.img"));
        let mut live = bench.start(&scenario)?;
        live.wait_for(0, &format!("guest: flushed {moment}\n"))?;
        let record = live.stop();
        for (vm, first) in [("a", 0), ("b", 12288)] {
            let said = flushed(&record, vm)?;
            let found = on_disk(&folder.path().join("store.img"), first, said)?;
            ensure(found, || {
                format!("power cut {cut}: {vm} has flushed entry {said}, and it is not on the disk")
            })?;
        }
    }
    Ok(())
}

/// The last entry that a VM says to have flushed; 0 for none.
fn flushed(record: &Record, vm: &str) -> Result<u64, Failed> {
    let text = record.vm(vm)?.text();
    // The last line may be cut short.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let numbers = whole.lines().filter_map(|line| line.trim().strip_prefix("guest: flushed ")?.parse().ok());
    Ok(numbers.max().unwrap_or(0))
}

/// Whether the last entries up to `last` are where they belong, or later ones in their place.
fn on_disk(path: &Path, first: u64, last: u64) -> Result<bool, Failed> {
    let disk = File::open(path)?;
    for number in last.saturating_sub(ENTRIES - 1).max(1)..=last {
        let mut sector = [0; SECTOR];
        disk.read_exact_at(&mut sector, (first + 1 + number % ENTRIES) * SECTOR as u64)?;
        let (head, rest) = sector.split_at(8);
        let found = u64::from_le_bytes(head.try_into()?);
        let is_whole = rest.iter().all(|byte| *byte == found as u8);
        // Nothing of an entry may be missing, and it is this one or what came later in its place.
        if !is_whole || found < number || !(found - number).is_multiple_of(ENTRIES) {
            return Ok(false);
        }
    }
    Ok(true)
}

const MOUNT: &str = "mkdir -p /mnt; mount -t ext4 /dev/vda /mnt; echo mount $?";
/// The MD5 of the numbers from 1 to 100000, a line each.
const NUMBERS: &str = "dea9193b768319cbb4ff1a137ac03113";

/// Linux with all of them: a file system that outlives a reset, the neighbour and the outside, entropy, a second console.
fn linux(bench: &Bench) -> Verdict {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("small.img"), b"from the image")?;
    let scenario = scenario(
        folder.path(),
        r#"
        [[network]]
        name = "lan"
        uplink = "board"

        [[board.disk]]
        name = "store"
        image = "store.img"
        size = "64MiB"

        [[vm]]
        name = "a"
        kernel = "debian:6.12"
        initrd = "demo"
        memory = "512MiB"
        vcpus = 2
        devices = ["pl011", "pl031", "virtio-rng", "virtio-console"]
        [[vm.disk]]
        board = "store"
        [[vm.disk]]
        image = "small.img"
        size = "1MiB"
        [[vm.network]]
        name = "lan"

        [[vm]]
        name = "b"
        kernel = "debian:6.1"
        initrd = "demo"
        cmdline = "ip=dhcp"
        memory = "512MiB"
        devices = ["pl011", "pl031", "virtio-rng"]
        [[vm.network]]
        name = "lan"
        "#,
    )?;
    let mut live = bench.start(&scenario.with_shells())?;
    for vm in [0, 1] {
        live.wait_for(vm, "A shell on")?;
    }
    live.ask(0, "echo disks: $(cat /sys/block/vd?/size)", "disks: 131072 2048")?;
    live.ask(0, "head -c 14 /dev/vdb; echo", "from the image")?;
    live.ask(0, "echo $(head -c 32 /dev/hwrng | wc -c) bytes", "32 bytes")?;
    live.ask(0, "echo by hvc0 > /dev/hvc0", "by hvc0")?;
    live.ask(
        0,
        "mke2fs -q /dev/vda && mkdir -p /mnt && mount -t ext4 /dev/vda /mnt && echo mounted",
        "mounted",
    )?;
    live.ask(0, "seq 100000 > /mnt/numbers; sync; echo $(wc -l < /mnt/numbers) lines", "100000 lines")?;
    live.ask(1, "ifconfig eth0", "inet addr:10.0.2.15")?;
    live.ask(0, "ip addr add 10.0.2.21/24 dev eth0; ip link set eth0 up; echo up $?", "up 0")?;
    live.ask(0, "ping -c 3 -w 600 10.0.2.15 | grep received", "3 packets received")?;
    live.ask(1, "ping -c 3 -w 600 10.0.2.21 | grep received", "3 packets received")?;
    for vm in [0, 1] {
        // QEMU's user network, behind the board's network card.
        live.ask(vm, "ping -c 2 -w 600 10.0.2.2 | grep received", "2 packets received")?;
    }
    live.send(0, "reboot\n");
    live.wait_until("the reset", |outcome| outcome.vms[0].resets() == 1)?;
    live.wait_until("the second boot", |outcome| outcome.vms[0].text().matches("A shell on").count() == 2)?;
    live.ask(0, MOUNT, "mount 0")?;
    live.ask(0, "md5sum < /mnt/numbers", NUMBERS)?;
    live.send(0, "umount /mnt; poweroff\n");
    live.send(1, "poweroff\n");
    live.finish().exits(Exit::Success)
}

/// Neither firmware nor CPU has random numbers: those of the board's virtio device are there instead.
fn entropy(bench: &Bench) -> Verdict {
    let manifest = r#"
        [[board.device]]
        slot = "/virtio_mmio@a001000"
        qemu = "virtio-rng-device"

        [[vm]]
        name = "guest"
        kernel = "guest:virtio"
        memory = "8MiB"
        devices = ["pl011", "virtio-rng"]
        "#;
    let scenario = Scenario::new(manifest).with_qemu_args(&["-machine", "dtb-randomness=off"]);
    let record = bench.run(&scenario)?;
    record.passes("guest", "virtio")?;
    record.says("guest", "guest: entropy")?;
    record.exits(Exit::Success)
}
