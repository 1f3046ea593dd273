// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's arm64 kernels, busybox and U-Boot, unpacked from their packages into the cache.
//!
//! Each kernel series comes from the Debian release that ships it, so that it is there for that release's whole
//! life whatever this machine runs. Packages are only ever unpacked, never installed.

use std::path::{Path, PathBuf};

use super::apt::{Apt, Target};
use super::cache::compare_versions;
use super::qemu::Qemu;
use super::sources::Distribution;
use super::{Cache, SetupError, initramfs};
use crate::progress::{Progress, ProgressStep};
use vambrace_manifest::debian::{SERIES, Series, is_within};

mod mirror;
mod modules;
mod package;
mod program;
mod root;

/// Something that is taken out of one package.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// For people.
    pub what: &'static str,
    /// The cache entry's name, before the version.
    pub name: &'static str,
    /// The file as a pattern of the package's paths; see tar(1), `--wildcards`.
    pattern: &'static str,
    /// The file's name in the cache.
    pub file: &'static str,
}

/// A kernel's Image.
pub const LINUX: Item = Item { what: "Linux", name: "linux", pattern: "./boot/vmlinuz-*", file: "Image" };
/// The statically linked busybox.
pub const BUSYBOX: Item =
    Item { what: "busybox", name: "busybox", pattern: "*/bin/busybox", file: "busybox" };
/// U-Boot for QEMU's arm64 `virt` board.
pub const U_BOOT: Item = Item {
    what: "U-Boot",
    name: "u-boot",
    pattern: "./usr/lib/u-boot/qemu_arm64/u-boot.bin",
    file: "u-boot.bin",
};

/// Xen, an arm64 Image.
pub const XEN: Item = Item { what: "Xen", name: "xen", pattern: "./boot/xen-*-arm64", file: "Image" };

/// A kernel's modules for the devices of VMs, packed for an initramfs.
const MODULES: Item =
    Item { what: "the drivers of Linux", name: "modules", pattern: "*/kernel/*", file: "modules.cpio" };

/// Why there is no kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// Debian has no such version.
    #[error("there is no Debian kernel {version} on offer\nwrite one of: {}", known.join(", "))]
    NoSuch {
        /// As asked for.
        version: String,
        /// What could be written in a manifest instead.
        known: Vec<String>,
    },
    /// It could not be fetched.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

impl KernelError {
    fn no_such(version: &str, mut known: Vec<String>) -> Self {
        known.extend(SERIES.iter().map(|series| format!("debian:{}", series.version)));
        Self::NoSuch { version: version.to_owned(), known }
    }
}

impl From<KernelError> for SetupError {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::Setup(error) => error,
            KernelError::NoSuch { version, known } => Self::new(
                format!("there is no Debian kernel {version} on offer"),
                format!("write one of: {}", known.join(", ")),
            ),
        }
    }
}

/// The Image of a Debian kernel; see [`super::Setup::kernel`].
///
/// # Errors
/// See [`KernelError`].
pub fn kernel(cache: &Cache, progress: Progress, version: Option<&str>) -> Result<PathBuf, KernelError> {
    let series =
        Series::of(version).ok_or_else(|| KernelError::no_such(version.unwrap_or_default(), Vec::new()))?;
    let version = version.unwrap_or(series.version);
    fetch(cache, progress, LINUX, version, series.suite, |apt| kernel_package(apt, series, version))
}

/// The drivers of a Debian kernel, for an initramfs: of the very kernel that [`kernel`] gives.
///
/// # Errors
/// See [`KernelError`].
pub fn modules(cache: &Cache, progress: Progress, version: Option<&str>) -> Result<PathBuf, KernelError> {
    let image = kernel(cache, progress, version)?;
    let release = version_of(LINUX, &image);
    let series = Series::of(Some(&release)).ok_or_else(|| KernelError::no_such(&release, Vec::new()))?;
    fetch(cache, progress, MODULES, &release, series.suite, |apt| kernel_package(apt, series, &release))
}

/// The package with a version of a kernel.
fn kernel_package(apt: &Apt, series: Series, version: &str) -> Result<String, KernelError> {
    let names = apt.names(&format!("^linux-image-{}[.].*-arm64", series.version.replace('.', "[.]")));
    newest_kernel(&names, version).ok_or_else(|| {
        let newest = newest_kernel(&names, series.version);
        let release = newest.as_deref().and_then(kernel_release).map(|kernel| kernel.release);
        KernelError::no_such(
            version,
            release.map(|release| format!("debian:{release}")).into_iter().collect(),
        )
    })
}

/// The statically linked arm64 busybox.
///
/// # Errors
/// When it cannot be fetched.
pub fn busybox(cache: &Cache, progress: Progress) -> Result<PathBuf, SetupError> {
    fetch(cache, progress, BUSYBOX, "", SERIES[0].suite, |_| Ok::<_, SetupError>("busybox-static".into()))
}

/// The initramfs of busybox and `init`, a script for its shell.
///
/// # Errors
/// When busybox cannot be fetched.
pub fn initramfs(cache: &Cache, progress: Progress, init: &str) -> Result<Vec<u8>, SetupError> {
    let busybox = busybox(cache, progress)?;
    let busybox = std::fs::read(&busybox).map_err(|error| SetupError::file("read", &busybox, &error))?;
    initramfs::build(&busybox, init).map_err(|error| {
        SetupError::new(format!("cannot pack the initramfs: {error}"), "report this as a bug")
    })
}

/// The image of a disk with Debian's system; see [`super::Setup::debian_root`].
///
/// # Errors
/// When its packages cannot be fetched or set up.
pub fn root(cache: &Cache, progress: Progress, qemu: &Qemu) -> Result<PathBuf, SetupError> {
    root::image(cache, progress, qemu)
}

/// An archive with one of Debian's programs and its libraries; see [`super::Setup::program`].
///
/// # Errors
/// When its packages cannot be fetched or read.
pub fn program(cache: &Cache, progress: Progress, name: &str) -> Result<PathBuf, SetupError> {
    program::archive(cache, progress, name)
}

/// U-Boot for QEMU's arm64 `virt` board.
///
/// # Errors
/// When it cannot be fetched.
pub fn u_boot(cache: &Cache, progress: Progress) -> Result<PathBuf, SetupError> {
    fetch(cache, progress, U_BOOT, "", SERIES[0].suite, |_| Ok::<_, SetupError>("u-boot-qemu".into()))
}

/// Xen, of the Debian release that has it for arm64.
///
/// # Errors
/// When it cannot be fetched.
pub fn xen(cache: &Cache, progress: Progress) -> Result<PathBuf, SetupError> {
    fetch(cache, progress, XEN, "", "bookworm", |_| Ok::<_, SetupError>("xen-hypervisor-4.17-arm64".into()))
}

/// The version of an item's file in the cache.
#[must_use]
pub fn version_of(item: Item, file: &Path) -> String {
    let entry = file.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    entry.strip_prefix(item.name).map_or(entry, |version| version.trim_start_matches('-')).to_owned()
}

/// The item's file from the cache, or from the package that `choose` names.
fn fetch<E: From<SetupError>>(
    cache: &Cache,
    progress: Progress,
    item: Item,
    version: &str,
    suite: &str,
    choose: impl FnOnce(&Apt) -> Result<String, E>,
) -> Result<PathBuf, E> {
    let mark = if item.name == MODULES.name { modules::mark() } else { String::new() };
    let cached = || cache.newest(item.name, &format!("{version}{mark}")).map(|folder| folder.join(item.file));
    if let Some(file) = cached() {
        return Ok(file);
    }
    let _lock = cache.lock("debian")?;
    // Another process may have fetched it while we waited.
    if let Some(file) = cached() {
        return Ok(file);
    }
    let step = progress.step(&format!("fetching {} {version}", item.what).trim_end().replace("  ", " "));
    let apt = open(cache, suite, &step)?;
    let package = choose(&apt)?;
    let staging = cache.staging()?;
    let archive = apt.download(&package, staging.path(), &step)?;
    step.detail("unpacking");
    let folder = staging.path().join("unpacked");
    std::fs::create_dir(&folder).map_err(|error| SetupError::file("make", &folder, &error))?;
    let file = folder.join(item.file);
    if item.name == MODULES.name {
        modules::pack(&archive, &file)?;
    } else {
        package::extract(&archive, item.pattern, &file)?;
    }
    let version = kernel_release(&package)
        .map_or_else(|| package::version(&archive), |kernel| Some(kernel.release.to_owned()));
    let version = version.as_deref().unwrap_or("unknown");
    let entry = cache.adopt(&folder, item.name, &format!("{version}{mark}"))?;
    Ok(entry.join(item.file))
}

/// apt for Debian's arm64 packages of one release.
fn open(cache: &Cache, suite: &str, step: &ProgressStep) -> Result<Apt, SetupError> {
    let mirror = mirror::find(cache, &Distribution::of_this_machine(), step)?;
    Apt::open(cache, &format!("apt-{suite}"), Target::Arm64, &[mirror.of_suite(suite)], step)
}

/// A kernel package's name, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KernelPackage<'a> {
    release: &'a str,
    unsigned: bool,
}

/// Understands `linux-image-RELEASE-arm64[-unsigned]`; `None` for the cloud, real-time and 16 KiB-page kernels
/// and for the packages that only depend on others.
fn kernel_release(package: &str) -> Option<KernelPackage<'_>> {
    let rest = package.strip_prefix("linux-image-")?;
    let (rest, unsigned) = rest.strip_suffix("-unsigned").map_or((rest, false), |rest| (rest, true));
    let release = rest.strip_suffix("-arm64")?;
    let flavoured = release.ends_with("-cloud") || release.ends_with("-rt");
    let exact = release.bytes().filter(|byte| *byte == b'.').count() >= 2;
    (exact && !flavoured).then_some(KernelPackage { release, unsigned })
}

/// The package of the newest kernel that belongs to `version`. Signed and unsigned packages hold the same
/// kernel; the unsigned one exists for each build.
fn newest_kernel(names: &[String], version: &str) -> Option<String> {
    names
        .iter()
        .filter_map(|name| Some((name, kernel_release(name)?)))
        .filter(|(_, kernel)| is_within(kernel.release, version))
        .max_by(|(_, a), (_, b)| compare_versions(a.release, b.release).then(a.unsigned.cmp(&b.unsigned)))
        .map(|(name, _)| name.clone())
}

/// The newest cached file of an item, for people to see.
#[must_use]
pub fn cached(cache: &Cache, item: Item, version: &str) -> Option<PathBuf> {
    cache.newest(item.name, version).map(|folder| folder.join(item.file)).filter(|file| Path::is_file(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_of_the_series_is_chosen_without_flavours() {
        let names: Vec<String> = [
            "linux-image-6.12-arm64",
            "linux-image-6.12.9+deb13-arm64-unsigned",
            "linux-image-6.12.94+deb13-arm64",
            "linux-image-6.12.94+deb13-arm64-unsigned",
            "linux-image-6.12.94+deb13-arm64-dbg",
            "linux-image-6.12.95+deb13-cloud-arm64-unsigned",
            "linux-image-6.12.95+deb13-rt-arm64-unsigned",
            "linux-image-6.12.95+deb13-arm64-16k-unsigned",
            "linux-image-6.1.0-50-arm64-unsigned",
            "linux-image-6.1.0-9-arm64",
        ]
        .map(String::from)
        .into();
        let newest = |version| newest_kernel(&names, version);
        assert_eq!(newest("6.12").as_deref(), Some("linux-image-6.12.94+deb13-arm64-unsigned"));
        assert_eq!(newest("6.1").as_deref(), Some("linux-image-6.1.0-50-arm64-unsigned"));
        assert_eq!(newest("6.1.0-9").as_deref(), Some("linux-image-6.1.0-9-arm64"));
        assert_eq!(newest("6.12.9").as_deref(), Some("linux-image-6.12.9+deb13-arm64-unsigned"));
        assert_eq!(newest("5.10"), None);
    }

    #[test]
    fn the_version_is_that_of_the_cache_entry() {
        assert_eq!(version_of(XEN, Path::new("/cache/xen-4.17.5+72-g01-1/Image")), "4.17.5+72-g01-1");
        assert_eq!(version_of(LINUX, Path::new("Image")), "");
    }

    #[test]
    fn a_series_is_told_from_one_that_begins_alike() {
        assert_eq!(Series::of(None).unwrap().version, "6.12");
        let suite = |version| Series::of(Some(version)).map(|series| series.suite);
        assert_eq!(suite("6.1"), Some("bookworm"));
        assert_eq!(suite("6.1.0-50"), Some("bookworm"));
        assert_eq!(suite("6.12.94+deb13"), Some("trixie"));
        assert_eq!(suite("6.13"), None);
        assert_eq!(suite("6"), None);
    }

    #[test]
    fn an_unknown_kernel_is_told_with_those_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().to_owned()).unwrap();
        let error = kernel(&cache, Progress::Silent, Some("5.10")).unwrap_err();
        assert!(error.to_string().ends_with("write one of: debian:6.12, debian:6.1"), "{error}");
    }
}
