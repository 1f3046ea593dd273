// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes files out of a Debian package with Debian's own tools.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::SetupError;

/// Writes the one file that matches `pattern` to `to`.
///
/// # Errors
/// When the package holds no such file, or cannot be read.
pub(super) fn extract(package: &Path, pattern: &str, to: &Path) -> Result<(), SetupError> {
    let failed = |why: &dyn std::fmt::Display| {
        SetupError::new(
            format!("cannot take {pattern} out of {}: {why}", package.display()),
            "delete the cache folder (vambrace doctor shows it) and try again",
        )
    };
    let file = File::create(to).map_err(|error| SetupError::file("create", to, &error))?;
    let mut unpack = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    let archive = unpack.stdout.take().map_or_else(Stdio::null, Stdio::from);
    let select = Command::new("tar")
        .args(["--extract", "--to-stdout", "--wildcards", pattern])
        .stdin(archive)
        .stdout(file)
        .stderr(Stdio::piped())
        .output();
    let unpacked = unpack.wait().map_err(|error| failed(&error))?;
    let selected = select.map_err(|error| failed(&error))?;
    if !selected.status.success() {
        return Err(failed(&String::from_utf8_lossy(&selected.stderr).trim()));
    }
    if !unpacked.success() {
        return Err(failed(&unpacked));
    }
    match std::fs::metadata(to) {
        Ok(data) if data.len() > 0 => Ok(()),
        _ => Err(failed(&"it is empty")),
    }
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
