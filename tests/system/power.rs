// SPDX-License-Identifier: MIT OR Apache-2.0
//! The power fails while Linux writes: what was flushed is on the disk, and the file system is whole.
//!
//! A VM with Debian's system writes files to an ext4 file system on a disk of the board. When `sync` has said that a file is on the
//! disk, the VM makes a mark on another part of that disk: a file whose mark was written must be there after a cut. From the
//! log of one such run come the disks that cuts at many moments leave, and Debian without a hypervisor judges them.

use std::fs::File;
use std::path::Path;

use vambrace_runner::Exit;
use vambrace_setup::disk;
use vambrace_tests::{Bench, Case, Failed, Need, Scenario, Verdict, WriteLog, ensure};

use crate::debian;

/// How often the power fails, and what the moments depend on.
const CUTS: usize = 20;
const SEED: u64 = 0x5EED;

/// Files that are written one after the other.
const FILES: u64 = 60;
/// Where marks are made, and how large one is.
const MARKS: u64 = 64 << 20;
const MARK: u64 = 4096;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("power::a_file_system_survives_20_cuts", cuts)
            .needs(Need::DebianRoot)
            .needs(Need::Linux("6.12")),
    ]
}

const MANIFEST: &str = r#"
    [[board.disk]]
    name = "system"
    image = "system.img"
    system = "debian"
    [[board.disk]]
    name = "work"
    image = "work.img"
    size = "65MiB"

    [[vm]]
    name = "debian"
    kernel = "debian"
    initrd = "debian"
    memory = "512MiB"
    [[vm.disk]]
    board = "system"
    [[vm.disk]]
    board = "work"
    size = "64MiB"
    [[vm.disk]]
    board = "work"
    start = "64MiB"
    "#;

/// Makes the file system. The mark 0 says that it is there.
const PREPARE: &str = "mke2fs -q -t ext4 /dev/vdb && mount /dev/vdb /mnt && sync && mark 0";

fn cuts(bench: &Bench) -> Verdict {
    let folder = tempfile::tempdir()?;
    let log = write(bench, folder.path())?;
    let marks: Vec<usize> = (0..=FILES).map(|number| moment_of(&log, number)).collect::<Result<_, _>>()?;
    ensure(marks.is_sorted() && log.flushes(log.len()) >= marks.len(), || {
        format!("each mark comes after a flush: {marks:?}, {} flushes", log.flushes(log.len()))
    })?;
    let mut chance = Chance(SEED);
    let first = marks.first().copied().unwrap_or_default();
    let mut found = Vec::new();
    for number in 0..CUTS {
        let moment = first + chance.below(log.len() - first);
        let disk = File::create_new(folder.path().join(format!("cut{number}.img")))?;
        disk.set_len(MARKS)?;
        log.cut(moment, &disk, || chance.below(2) == 0)?;
        // Mark 0 stands for no file.
        found.push(marks.iter().filter(|mark| **mark <= moment).count() - 1);
    }
    judge(bench, folder.path(), &found)
}

/// Runs the VM that writes.
fn write(bench: &Bench, folder: &Path) -> Result<WriteLog, Failed> {
    let (path, log) = (folder.join("scenario.toml"), folder.join("writes"));
    std::fs::write(&path, MANIFEST)?;
    File::create_new(&log)?;
    let mut live = bench.start(&Scenario::of_file(&path)?.with_write_log("work", log.clone()))?;
    live.wait_for(0, "debian login: ")?;
    live.ask(0, "root", "root@debian:~# ")?;
    let mark = "mark() { dd if=/dev/zero of=/dev/vdc bs=4096 seek=$1 count=1 oflag=direct status=none; }";
    live.ask(0, &format!("{mark}; {PREPARE}; echo ready $?"), "ready 0")?;
    // Beside each file, others of which nobody asks when they come to the disk.
    let files = format!(
        "for n in $(seq {FILES}); do seq $n 9999 > /mnt/loose$((n % 7)); seq $n 5555 > /mnt/file$n; \
         sync /mnt/file$n && mark $n || echo failed; done; echo all $n"
    );
    live.ask(0, &files, &format!("all {FILES}"))?;
    live.send(0, "poweroff\n");
    live.finish().exits(Exit::Success)?;
    WriteLog::read(&log)
}

/// The number of requests up to a mark.
fn moment_of(log: &WriteLog, mark: u64) -> Result<usize, Failed> {
    let written = log.writes_at(MARKS + mark * MARK).last();
    // Of a discard before nothing is in the log.
    written.map(|(moment, _)| moment).ok_or_else(|| format!("mark {mark} is not in the log").into())
}

/// Mounts each disk, looks for the files that must be there, and checks the file system.
fn judge(bench: &Bench, folder: &Path, files: &[usize]) -> Verdict {
    disk::copy(&bench.setup.debian_root()?, &folder.join("judge.img"))?;
    debian::write_initrd(bench, folder)?;
    let names: Vec<String> = (0..files.len()).map(|number| format!("cut{number}.img")).collect();
    let disks: Vec<&str> = std::iter::once("judge.img").chain(names.iter().map(String::as_str)).collect();
    let mut judge = debian::boot(bench, folder, &disks)?;
    for ((number, disk), files) in ('b'..).enumerate().zip(files) {
        let disk = format!("/dev/vd{disk}");
        let look = format!(
            "mount {disk} /mnt; whole=0; for n in $(seq {files}); do seq $n 5555 | cmp - /mnt/file$n && \
             whole=$((whole + 1)); done; umount /mnt; e2fsck -fn {disk}; echo cut {number}: $?, $whole files"
        );
        debian::ask(&mut judge, &look, &format!("cut {number}: 0, {files} files"))?;
    }
    Ok(())
}

/// An LCG (Knuth's MMIX constants); its upper bits are the good ones.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }
}
