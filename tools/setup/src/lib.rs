// SPDX-License-Identifier: MIT OR Apache-2.0
//! Set-up, done unasked: whatever the machine lacks is fetched or built, and kept.
//!
//! Four things are needed beyond the command: a toolchain for bare metal ([`toolchain`]), QEMU ([`qemu`]),
//! Debian's arm64 kernels, busybox, U-Boot and root file system ([`debian`]), and initramfs images ([`initramfs`]).
//! Packages are installed as root or through `sudo -n`; where neither is possible the error names the command
//! to type. The system's own configuration of apt is read, never changed.
//!
//! Tests run in parallel and in several processes, so each piece is made under a file lock, in a staging folder,
//! and renamed into place when complete ([`cache`]).

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use crate::progress::Progress;

pub mod apt;
pub mod cache;
pub mod debian;
pub mod disk;
pub mod image;
pub mod initramfs;
pub mod privilege;
pub mod process;
pub mod progress;
pub mod qemu;
pub mod sources;
pub mod toolchain;

pub use self::cache::Cache;
pub use self::toolchain::Bare;

/// What set-up could not do, and what the user can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}\n{mend}")]
pub struct SetupError {
    /// What is missing or failed.
    pub what: String,
    /// What mends it, as an instruction.
    pub mend: String,
}

impl SetupError {
    /// An error made of its two parts.
    pub fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into() }
    }

    /// A file operation that failed.
    #[must_use]
    pub fn file(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(
            format!("cannot {doing} {}: {error}", path.display()),
            "make room or set the permissions right, then try again",
        )
    }
}

/// Fetches and builds what the other modules ask for.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where what has been fetched is kept.
    pub cache: Cache,
    /// Where and how progress is told.
    pub progress: Progress,
}

impl Setup {
    /// A set-up that keeps what it fetches in the user's cache folder.
    ///
    /// # Errors
    /// When there is no such folder and it cannot be made.
    pub fn new(progress: Progress) -> Result<Self, SetupError> {
        Ok(Self { cache: Cache::user()?, progress })
    }

    /// Builds the hypervisor and the guests for bare metal, with a toolchain that is installed when missing.
    ///
    /// # Errors
    /// When no toolchain can be had, or the build fails.
    pub fn bare(&self) -> Result<Bare, SetupError> {
        toolchain::ensure(&self.cache, self.progress)?.build(self.progress)
    }

    /// Checks what [`Setup::bare`] builds with clippy.
    ///
    /// # Errors
    /// When no toolchain can be had, it lacks clippy, or clippy complains.
    pub fn lint(&self) -> Result<(), SetupError> {
        toolchain::ensure(&self.cache, self.progress)?.lint(&self.cache, self.progress)
    }

    /// QEMU, installed when missing.
    ///
    /// # Errors
    /// When it is missing or too old and cannot be installed.
    pub fn qemu(&self) -> Result<qemu::Qemu, SetupError> {
        qemu::ensure(&self.cache, self.progress)
    }

    /// The file of a Debian kernel, a flat arm64 Image. `version` is a series (`6.1`, `6.12`) or an exact
    /// release; `None` takes the newest series.
    ///
    /// # Errors
    /// When there is no such kernel or it cannot be fetched.
    pub fn kernel(&self, version: Option<&str>) -> Result<PathBuf, SetupError> {
        Ok(debian::kernel(&self.cache, self.progress, version)?)
    }

    /// The file with the drivers of a Debian kernel, to go before an initramfs of ours. `version` as for
    /// [`Setup::kernel`].
    ///
    /// # Errors
    /// When there is no such kernel or it cannot be fetched.
    pub fn modules(&self, version: Option<&str>) -> Result<PathBuf, SetupError> {
        Ok(debian::modules(&self.cache, self.progress, version)?)
    }

    /// The file of Debian's U-Boot for QEMU's arm64 `virt` board, a flash image.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub fn u_boot(&self) -> Result<PathBuf, SetupError> {
        debian::u_boot(&self.cache, self.progress)
    }

    /// The file of Xen, a flat arm64 Image.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub fn xen(&self) -> Result<PathBuf, SetupError> {
        debian::xen(&self.cache, self.progress)
    }

    /// The demo's initramfs: busybox and an init that introduces its VM; see [`initramfs`].
    ///
    /// # Errors
    /// When busybox cannot be fetched.
    pub fn initramfs(&self) -> Result<Vec<u8>, SetupError> {
        self.initramfs_of(initramfs::DEMO)
    }

    /// The initramfs that starts the system on a disk; see [`initramfs`].
    ///
    /// # Errors
    /// When busybox cannot be fetched.
    pub fn root_initramfs(&self) -> Result<Vec<u8>, SetupError> {
        self.initramfs_of(initramfs::ROOT)
    }

    /// The initramfs of busybox and `init`, which is a script for its shell.
    ///
    /// # Errors
    /// When busybox cannot be fetched.
    pub fn initramfs_of(&self, init: &str) -> Result<Vec<u8>, SetupError> {
        debian::initramfs(&self.cache, self.progress, init)
    }

    /// The file with the program `name` of Debian's package of that name and with its libraries, to go before an initramfs
    /// of ours.
    ///
    /// # Errors
    /// When its packages cannot be fetched or read.
    pub fn program(&self, name: &str) -> Result<PathBuf, SetupError> {
        debian::program(&self.cache, self.progress, name)
    }

    /// The file of a disk with Debian's system on it, as it is when new: to be [copied](disk::copy), not to be written.
    ///
    /// # Errors
    /// When its packages cannot be fetched or set up.
    pub fn debian_root(&self) -> Result<PathBuf, SetupError> {
        debian::root(&self.cache, self.progress, &self.qemu()?)
    }
}
