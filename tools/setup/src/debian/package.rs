// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes files out of a Debian package with Debian's own tools.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use super::super::SetupError;

/// Writes the one file that matches `pattern` to `to`.
///
/// # Errors
/// When the package holds no such file, or cannot be read.
pub(super) fn extract(package: &Path, pattern: &str, to: &Path) -> Result<(), SetupError> {
    let file = File::create(to).map_err(|error| SetupError::file("create", to, &error))?;
    let taking = Taking { package, pattern };
    taking.by(Command::new("tar").args(["--extract", "--to-stdout", "--wildcards", pattern]).stdout(file))?;
    match std::fs::metadata(to) {
        Ok(data) if data.len() > 0 => Ok(()),
        _ => Err(taking.failed(&"it is empty")),
    }
}

/// Files being taken out of a package.
#[derive(Clone, Copy, Debug)]
struct Taking<'a> {
    package: &'a Path,
    pattern: &'a str,
}

impl Taking<'_> {
    /// Has `select`, which is tar, read the package's archive.
    fn by(self, select: &mut Command) -> Result<(), SetupError> {
        let mut unpack = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(self.package)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| self.failed(&error))?;
        let archive = unpack.stdout.take().map_or_else(Stdio::null, Stdio::from);
        let selected = select.stdin(archive).stderr(Stdio::piped()).output();
        let unpacked = unpack.wait().map_err(|error| self.failed(&error))?;
        let selected = selected.map_err(|error| self.failed(&error))?;
        if !selected.status.success() {
            return Err(self.failed(&String::from_utf8_lossy(&selected.stderr).trim()));
        }
        if unpacked.success() { Ok(()) } else { Err(self.failed(&unpacked)) }
    }

    fn failed(self, why: &dyn std::fmt::Display) -> SetupError {
        SetupError::new(
            format!("cannot take {} out of {}: {why}", self.pattern, self.package.display()),
            "delete the cache folder (vambrace doctor shows it) and try again",
        )
    }
}

/// Writes all files that match `pattern` into a folder, which is made.
///
/// # Errors
/// When there is none, or the package cannot be read.
pub(super) fn extract_all(package: &Path, pattern: &str, folder: &Path) -> Result<(), SetupError> {
    std::fs::create_dir(folder).map_err(|error| SetupError::file("make", folder, &error))?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--wildcards", "--no-same-owner", "--directory"]).arg(folder).arg(pattern);
    Taking { package, pattern }.by(&mut tar)
}

/// One of a package's two archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What dpkg has to know of it.
    Control,
    /// What it installs.
    Files,
}

/// Has `read` go through one of a package's archives.
///
/// # Errors
/// When `read` says so, or the package cannot be read.
pub(super) fn read<T>(
    package: &Path,
    part: Part,
    read: impl FnOnce(&mut tar::Archive<ChildStdout>) -> io::Result<T>,
) -> Result<T, SetupError> {
    let option = match part {
        Part::Control => "--ctrl-tarfile",
        Part::Files => "--fsys-tarfile",
    };
    let failed = |why: &dyn std::fmt::Display| {
        SetupError::new(
            format!("cannot read {}: {why}", package.display()),
            "make room where the cache folder is (vambrace doctor shows it), then try again",
        )
    };
    let mut command = Command::new("dpkg-deb");
    command.arg(option).arg(package).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut unpack = command.spawn().map_err(|error| failed(&error))?;
    let Some(archive) = unpack.stdout.take() else { return Err(failed(&"it gives no archive")) };
    let mut archive = tar::Archive::new(archive);
    let done = read(&mut archive);
    // What fills the archive up at its end is read too, or dpkg-deb would complain.
    let rest = io::copy(&mut archive.into_inner(), &mut io::sink());
    let unpacked = unpack.wait().map_err(|error| failed(&error))?;
    let done = done.and_then(|done| rest.map(|_| done)).map_err(|error| failed(&error))?;
    if unpacked.success() { Ok(done) } else { Err(failed(&unpacked)) }
}

/// The version in a downloaded package's file name, `NAME_VERSION_ARCHITECTURE.deb`, without its epoch.
pub(super) fn version(package: &Path) -> Option<String> {
    let version = package.file_name()?.to_str()?.split('_').nth(1)?;
    Some(version.split_once("%3a").map_or(version, |(_epoch, version)| version).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_off_the_file_name() {
        let read = |name: &str| version(Path::new(name));
        assert_eq!(read("/x/busybox-static_1%3a1.37.0-6+b9_arm64.deb").as_deref(), Some("1.37.0-6+b9"));
        assert_eq!(read("u-boot-qemu_2025.01-3_all.deb").as_deref(), Some("2025.01-3"));
        assert_eq!(read("nothing.deb"), None);
    }
}
