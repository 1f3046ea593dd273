// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the manifest's texts mean: sizes and the names of images.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A size in bytes, written with its unit: `512MiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// The units, largest first.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl Size {
    /// So many mebibytes.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// The next multiple of `align` bytes, a power of two; the size itself at the end of the number space.
    #[must_use]
    pub const fn align_up(self, align: u64) -> Self {
        match self.0.checked_next_multiple_of(align) {
            Some(size) => Self(size),
            None => self,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// A text that is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}{}", suggestion.map(|size| format!("; write {size}")).unwrap_or_default())]
pub struct SizeError {
    /// What is wrong with it.
    pub reason: String,
    /// What was probably meant.
    pub suggestion: Option<Size>,
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let error = |reason: &str, suggestion| Err(SizeError { reason: reason.to_owned(), suggestion });
        let Ok(count) = number.parse::<f64>() else {
            return error("a size is a number and a unit, such as 512MiB", None);
        };
        let meant = meant_unit(unit.trim());
        // A fraction of a unit may be a whole number of a smaller one.
        let suggestion = meant.and_then(|(_, unit)| in_bytes(count * unit as f64));
        let Ok(whole) = number.parse::<u64>() else {
            return error("a size is a whole number", suggestion);
        };
        match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, unit)) => match whole.checked_mul(*unit) {
                Some(bytes) => Ok(Self(bytes)),
                None => error("that is more than 64 bits can count", None),
            },
            None if unit.is_empty() => error("a size needs its unit", suggestion),
            None => error("the units are KiB, MiB and GiB", suggestion),
        }
    }
}

/// The unit that was probably meant; without any, mebibytes.
fn meant_unit(written: &str) -> Option<(&'static str, u64)> {
    let first = written.chars().next().unwrap_or('m').to_ascii_uppercase();
    UNITS.into_iter().find(|(name, _)| name.starts_with(first))
}

/// A size of that many bytes, if they are a whole number of KiB that is sure to be exact.
fn in_bytes(bytes: f64) -> Option<Size> {
    let exact = bytes > 0.0 && bytes < 2f64.powi(53) && bytes % 1024.0 == 0.0;
    exact.then_some(Size(bytes as u64))
}

/// Which kernel a VM boots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KernelSource {
    /// A file on this computer.
    File(PathBuf),
    /// Debian's kernel: the newest, the newest of a series (`6.12`), or one exact version.
    Debian {
        /// As written after `debian:`.
        version: Option<String>,
    },
    /// A small program of Vambrace's own.
    Guest {
        /// As written after `guest:`.
        name: String,
    },
}

/// Which firmware a VM starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FirmwareSource {
    /// A file on this computer.
    File(PathBuf),
    /// U-Boot for QEMU's `virt`, from Debian's package `u-boot-qemu`.
    DebianUBoot,
}

/// Which initial RAM disk a kernel gets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InitrdSource {
    /// A file on this computer.
    File(PathBuf),
    /// The one the command builds, which says hello.
    Demo,
    /// Another one of these, which starts the system on a disk.
    Debian,
}

/// A text that names no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ImageNameError {
    /// What is wrong with it.
    pub reason: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl ImageNameError {
    fn new(reason: impl Into<String>, suggestion: Option<&str>) -> Self {
        Self { reason: reason.into(), suggestion: suggestion.map(str::to_owned) }
    }
}

impl FromStr for KernelSource {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        if text == "debian" {
            return Ok(Self::Debian { version: None });
        }
        match text.split_once(':') {
            Some(("debian", version)) if is_version(version) => {
                Ok(Self::Debian { version: Some(version.to_owned()) })
            }
            Some(("debian", "")) => Err(ImageNameError::new("no version after `debian:`", Some("debian"))),
            Some(("debian", _)) => Err(ImageNameError::new(
                "after `debian:` goes a kernel version such as 6.12, or a package's exact version",
                None,
            )),
            Some(("guest", name)) if is_guest_name(name) => Ok(Self::Guest { name: name.to_owned() }),
            Some(("guest", _)) => Err(ImageNameError::new(
                "after `guest:` goes the name of one of Vambrace's small programs",
                Some("guest:hello"),
            )),
            _ => path(text).map(Self::File),
        }
    }
}

impl FromStr for FirmwareSource {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        match text {
            "debian:u-boot" => Ok(Self::DebianUBoot),
            "debian" => Err(ImageNameError::new("Debian has several firmwares", Some("debian:u-boot"))),
            _ if text.starts_with("debian:") => {
                Err(ImageNameError::new("of Debian's firmware, only U-Boot is known", Some("debian:u-boot")))
            }
            _ => path(text).map(Self::File),
        }
    }
}

impl FromStr for InitrdSource {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        match text {
            "demo" => Ok(Self::Demo),
            "debian" => Ok(Self::Debian),
            _ if text.starts_with("debian:") => Err(ImageNameError::new(
                "there is one initial RAM disk for all of Debian's kernels",
                Some("debian"),
            )),
            _ => path(text).map(Self::File),
        }
    }
}

fn path(text: &str) -> Result<PathBuf, ImageNameError> {
    if text.is_empty() {
        return Err(ImageNameError::new("an empty text names no file", None));
    }
    if text.contains('\0') {
        return Err(ImageNameError::new("a file's name has no NUL character", None));
    }
    if text.starts_with("~/") {
        return Err(ImageNameError::new("`~` is a shell's word, not a folder: write the whole path", None));
    }
    Ok(PathBuf::from(text))
}

/// What Debian allows in a version, beginning with a digit.
fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || ".+~-".contains(c))
}

fn is_guest_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_units() {
        for (text, bytes) in [("4KiB", 4096), ("512MiB", 512 << 20), ("2GiB", 2 << 30), ("0MiB", 0)] {
            assert_eq!(text.parse(), Ok(Size(bytes)));
        }
    }

    #[test]
    fn other_sizes_are_refused_with_the_likely_one() {
        for (text, message) in [
            ("512", "a size needs its unit; write 512MiB"),
            ("512M", "the units are KiB, MiB and GiB; write 512MiB"),
            ("512 MiB", "the units are KiB, MiB and GiB; write 512MiB"),
            ("2gb", "the units are KiB, MiB and GiB; write 2GiB"),
            ("1.5GiB", "a size is a whole number; write 1536MiB"),
            ("0.1GiB", "a size is a whole number"),
            ("1.2.3GiB", "a size is a number and a unit, such as 512MiB"),
            ("-1GiB", "a size is a number and a unit, such as 512MiB"),
            ("", "a size is a number and a unit, such as 512MiB"),
            ("512 bananas", "the units are KiB, MiB and GiB"),
            ("99999999999GiB", "that is more than 64 bits can count"),
            ("99999999999999999999999MiB", "a size is a whole number"),
        ] {
            assert_eq!(text.parse::<Size>().unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_exact_unit() {
        assert_eq!(Size(1 << 30).to_string(), "1GiB");
        assert_eq!(Size(1536 << 20).to_string(), "1536MiB");
        assert_eq!(Size(4096).to_string(), "4KiB");
        assert_eq!(Size(1000).to_string(), "1000 bytes");
        assert_eq!(Size(0).to_string(), "0 bytes");
    }

    #[test]
    fn images_have_names() {
        let kernel = |text: &str| text.parse::<KernelSource>().ok();
        let debian =
            |version: Option<&str>| Some(KernelSource::Debian { version: version.map(str::to_owned) });
        assert_eq!(kernel("debian"), debian(None));
        assert_eq!(kernel("debian:6.1"), debian(Some("6.1")));
        assert_eq!(kernel("debian:6.12.38-1"), debian(Some("6.12.38-1")));
        assert_eq!(kernel("guest:hello"), Some(KernelSource::Guest { name: "hello".to_owned() }));
        assert_eq!(kernel("./debian"), Some(KernelSource::File("./debian".into())));
        for bad in ["", "debian:", "debian:bookworm", "guest:", "guest:../x", "~/Image", "a\0b"] {
            assert_eq!(kernel(bad), None, "{bad}");
        }
        assert_eq!("debian:u-boot".parse(), Ok(FirmwareSource::DebianUBoot));
        assert!("debian:uboot".parse::<FirmwareSource>().is_err());
        assert_eq!("demo".parse(), Ok(InitrdSource::Demo));
        assert_eq!("debian".parse(), Ok(InitrdSource::Debian));
        assert!("debian:6.12".parse::<InitrdSource>().is_err());
    }
}
