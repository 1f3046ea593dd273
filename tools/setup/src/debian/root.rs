// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk with Debian's arm64 system, made from its packages.
//!
//! The packages' own scripts set them up, as they would on any machine, and these are programs for arm64. So a VM runs
//! them, in QEMU: it finds the packages' files unpacked in its initramfs ([`tree`]), with a database of dpkg's that says
//! as much ([`database`]), has dpkg set them up, and writes the outcome to the disk ([`INIT`]). No file of another owner,
//! no loop device, no chroot is needed here, hence no root.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tar::Entry;

use self::database::{Control, Database};
use self::tree::{Tree, relative};
use super::mirror;
use super::package::{self, Part};
use crate::apt::{Apt, Target};
use crate::process::{self, Line};
use crate::progress::{Progress, ProgressStep};
use crate::qemu::Qemu;
use crate::sources::Distribution;
use crate::{Cache, SetupError};
use vambrace_manifest::debian::{ROOT_SIZE, SERIES, Series};

mod database;
mod tree;

/// The release, and the kernel that sets it up.
const RELEASE: Series = SERIES[0];

/// What is asked for; apt adds what these need.
const PACKAGES: [&str; 11] = [
    "?essential",
    "apt",
    "e2fsprogs",
    "iperf3",
    "iproute2",
    "iputils-ping",
    "login",
    "netbase",
    "passwd",
    "procps",
    // Up in a few seconds, even where instructions are interpreted.
    "sysvinit-core",
];

/// The cache entry, and the file in it.
const ENTRY: &str = "debian-root";
const IMAGE: &str = "root.img";

/// What the VM that makes it does.
const INIT: &str = concat!(include_str!("../initramfs/begin.sh"), include_str!("root/init.sh"));

/// How it says that all went well, and what it says when it writes the disk.
const DONE: &str = "vambrace-root: done";
const WRITING: &str = "vambrace-root: writing";

/// Its RAM: the packages twice, for a moment.
const MEMORY: &str = "2G";

/// Files of ours, with their contents.
const FILES: [(&str, &str); 4] = [
    ("etc/inittab", include_str!("root/inittab")),
    ("etc/fstab", "/dev/vda / ext4 errors=remount-ro 0 1\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"),
    ("etc/dpkg/dpkg.cfg.d/vambrace", include_str!("root/dpkg.cfg")),
];

/// Folders that must be there before the packages bring them.
const FOLDERS: [&str; 10] = [
    "etc",
    "etc/apt",
    "etc/apt/sources.list.d",
    "etc/dpkg",
    "etc/dpkg/dpkg.cfg.d",
    "var",
    "var/lib",
    "var/lib/dpkg",
    "var/lib/dpkg/info",
    "var/lib/dpkg/triggers",
];

/// What is left out, as in dpkg's configuration; the licences stay.
const LEFT_OUT: [&str; 4] = ["usr/share/doc/", "usr/share/info/", "usr/share/locale/", "usr/share/man/"];
const LICENCE: &str = "/copyright";

/// The disk's image from the cache, or made.
///
/// # Errors
/// When the packages cannot be fetched or set up.
pub(super) fn image(cache: &Cache, progress: Progress, qemu: &Qemu) -> Result<PathBuf, SetupError> {
    let version = version();
    let cached = || cache.newest(ENTRY, &version).map(|folder| folder.join(IMAGE));
    if let Some(file) = cached() {
        return Ok(file);
    }
    let _lock = cache.lock(ENTRY)?;
    // Another process may have made it while we waited.
    if let Some(file) = cached() {
        return Ok(file);
    }
    let kernel = super::kernel(cache, progress, Some(RELEASE.version))?;
    let modules = super::modules(cache, progress, Some(RELEASE.version))?;
    let init = super::initramfs(cache, progress, INIT)?;

    let staging = cache.staging()?;
    let (packages, sources) = fetch(cache, progress, staging.path())?;
    let initramfs = staging.path().join("initramfs");
    pack(&initramfs, &modules, &init, &packages, &sources)?;

    let folder = staging.path().join("complete");
    std::fs::create_dir(&folder).map_err(|error| SetupError::file("make", &folder, &error))?;
    let disk = folder.join(IMAGE);
    File::create_new(&disk)
        .and_then(|file| file.set_len(ROOT_SIZE))
        .map_err(|error| SetupError::file("make", &disk, &error))?;
    let step = progress.step("setting Debian's packages up, in a VM (a minute or two)");
    set_up(&mut command(qemu, &kernel, &initramfs, &disk), packages.len(), &step)?;
    Ok(cache.adopt(&folder, ENTRY, &version)?.join(IMAGE))
}

/// The entry's version: another for another way of making it.
fn version() -> String {
    let crc = crc::Crc::<u64>::new(&crc::CRC_64_ECMA_182);
    let mut digest = crc.digest();
    let texts = PACKAGES.into_iter().chain(FILES.into_iter().flat_map(|(path, text)| [path, text]));
    for text in texts.chain([INIT]) {
        digest.update(text.as_bytes());
        digest.update(b"\0");
    }
    digest.update(&ROOT_SIZE.to_le_bytes());
    format!("{}-{:016x}", RELEASE.suite, digest.finalize())
}

/// The packages' files, and the text of the sources that the new system may fetch more from.
fn fetch(cache: &Cache, progress: Progress, staging: &Path) -> Result<(Vec<PathBuf>, String), SetupError> {
    let _lock = cache.lock("debian")?;
    let step = progress.step("fetching Debian's packages");
    let mirror = mirror::find(cache, &Distribution::of_this_machine(), &step)?;
    let source = mirror.of_suite(RELEASE.suite);
    let apt = Apt::open(cache, &format!("apt-{}", RELEASE.suite), Target::Arm64, &[source], &step)?;
    let folder = staging.join("packages");
    std::fs::create_dir(&folder).map_err(|error| SetupError::file("make", &folder, &error))?;
    let packages = apt.download_all(&apt.closure(&PACKAGES)?, &folder, &step)?;
    Ok((packages, mirror.for_guests(RELEASE.suite)))
}

/// Writes the initramfs: drivers, the packages unpacked, and the program that sets them up. That comes last since what
/// follows something compressed is not found at every length.
fn pack(
    to: &Path,
    modules: &Path,
    init: &[u8],
    packages: &[PathBuf],
    sources: &str,
) -> Result<(), SetupError> {
    let failed = |error: io::Error| SetupError::file("write", to, &error);
    let modules = std::fs::read(modules).map_err(|error| SetupError::file("read", modules, &error))?;
    let mut file = BufWriter::new(File::create(to).map_err(failed)?);
    file.write_all(&modules).map_err(failed)?;
    let mut tree = Tree::new(file).map_err(failed)?;
    FOLDERS.into_iter().try_for_each(|folder| tree.folder(folder)).map_err(failed)?;
    let ours = FILES.into_iter().chain([("etc/apt/sources.list.d/debian.sources", sources)]);
    for (path, text) in ours {
        tree.file(path, 0o644, text.as_bytes()).map_err(failed)?;
    }
    let mut database = Database::default();
    for package in base_first(packages) {
        let control = package::read(package, Part::Control, Control::read)?;
        let files = package::read(package, Part::Files, |files| unpack(files, &control, &mut tree))?;
        database.add(&control, &files, &mut tree).map_err(failed)?;
    }
    database.finish(&mut tree).map_err(failed)?;
    let mut file = tree.finish().map_err(failed)?;
    file.write_all(init).and_then(|()| file.flush()).map_err(failed)
}

/// The packages, first that with the links from the root to `usr`, through which others' files may go.
fn base_first(packages: &[PathBuf]) -> impl Iterator<Item = &PathBuf> {
    let is_base = |package: &&PathBuf| {
        package.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("base-files_"))
    };
    packages.iter().filter(is_base).chain(packages.iter().filter(move |package| !is_base(package)))
}

/// Puts a package's files into the tree; their absolute paths.
fn unpack(
    files: &mut tar::Archive<impl io::Read>,
    control: &Control,
    tree: &mut Tree<impl Write>,
) -> io::Result<Vec<String>> {
    let conffiles = control.conffiles();
    let mut paths = Vec::new();
    for entry in files.entries()? {
        let entry: Entry<'_, _> = entry?;
        let path = relative(&entry.path_bytes())?;
        let absolute = if path.is_empty() { "/.".to_owned() } else { format!("/{path}") };
        if !is_left_out(&path) {
            // So dpkg does it, and renames them when it sets the package up.
            let new = if conffiles.contains(&absolute) { format!("{path}.dpkg-new") } else { path };
            if !new.is_empty() {
                tree.unpack(&new, entry)?;
            }
        }
        paths.push(absolute);
    }
    Ok(paths)
}

fn is_left_out(path: &str) -> bool {
    let folder = LEFT_OUT.iter().find_map(|folder| path.strip_prefix(folder));
    // A package's own folder of documents stays, for its licence.
    folder.is_some_and(|rest| {
        !path.ends_with(LICENCE) && (rest.contains('/') || !path.starts_with(LEFT_OUT[0]))
    })
}

/// QEMU's board with the disk, its console on standard output.
fn command(qemu: &Qemu, kernel: &Path, initramfs: &Path, disk: &Path) -> Command {
    let mut command = Command::new(&qemu.path);
    command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    command.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
    command.args(["-machine", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", MEMORY]);
    command.args(["-global", "virtio-mmio.force-legacy=false", "-device", "virtio-blk-device,drive=root"]);
    // QEMU takes a comma for the next option, unless there are two.
    let file = disk.display().to_string().replace(',', ",,");
    command.arg("-drive").arg(format!("if=none,id=root,format=raw,cache=unsafe,discard=unmap,file={file}"));
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    command.args(["-append", "console=ttyAMA0 quiet panic=-1"]);
    command
}

/// Runs the VM and tells how far it is.
fn set_up(command: &mut Command, packages: usize, step: &ProgressStep) -> Result<(), SetupError> {
    const MEND: &str =
        "delete the cache folder (vambrace doctor shows it) and try again; if it fails again, report it";
    const TAIL: usize = 30;
    let mut count = 0;
    let mut said = Vec::new();
    process::run(command, MEND, |line| {
        let (Line::Out(text) | Line::Err(text)) = line;
        if let Some(package) = text.strip_prefix("Setting up ") {
            count += 1;
            step.percent(count * 100 / (packages as u64 + 1));
            step.detail(package);
        } else if text == WRITING {
            step.detail("writing the disk");
        }
        said.push(text.to_owned());
    })?;
    if said.iter().any(|line| line == DONE) {
        return Ok(());
    }
    let tail = said.split_off(said.len().saturating_sub(TAIL));
    Err(SetupError::new(format!("the packages could not be set up:\n{}", tail.join("\n")), MEND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_left_out_and_licences_stay() {
        for path in
            ["usr/share/man/man1", "usr/share/doc/bash/README", "usr/share/locale/de/LC_MESSAGES/x.mo"]
        {
            assert!(is_left_out(path), "{path}");
        }
        for path in ["usr/share/doc/bash", "usr/share/doc/bash/copyright", "usr/share/man", "usr/bin/man", ""]
        {
            assert!(!is_left_out(path), "{path}");
        }
    }

    #[test]
    fn the_links_of_the_root_come_first() {
        let packages = ["/p/apt_3.0.4_arm64.deb", "/p/base-files_13.8_arm64.deb"].map(PathBuf::from);
        let order: Vec<_> = base_first(&packages).map(|path| path.to_str().unwrap()).collect();
        assert_eq!(order, ["/p/base-files_13.8_arm64.deb", "/p/apt_3.0.4_arm64.deb"]);
    }

    #[test]
    fn the_vm_says_what_is_waited_for() {
        assert!(INIT.contains(DONE) && INIT.contains(WRITING));
        assert!(FILES.iter().all(|(path, _)| FOLDERS.contains(&path.rsplit_once('/').unwrap().0)));
    }
}
