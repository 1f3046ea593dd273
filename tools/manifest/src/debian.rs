// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a manifest can have of Debian's: the kernel series on offer, and the size of the disk with its system.

/// The size of the disk with Debian's system, in bytes. Only what is used takes room.
pub const ROOT_SIZE: u64 = 1 << 30;

/// A kernel series and the Debian release it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// Such as `6.12`.
    pub version: &'static str,
    /// Such as `trixie`.
    pub suite: &'static str,
}

/// The kernel series on offer, newest first.
pub const SERIES: [Series; 2] =
    [Series { version: "6.12", suite: "trixie" }, Series { version: "6.1", suite: "bookworm" }];

impl Series {
    /// The series that a version as written in a manifest belongs to.
    #[must_use]
    pub fn of(version: Option<&str>) -> Option<Self> {
        let Some(version) = version else { return Some(SERIES[0]) };
        SERIES.iter().find(|series| is_within(version, series.version)).copied()
    }
}

/// Whether `release` is `version` or belongs to it: 6.1.0-50 to 6.1, but 6.12 does not.
#[must_use]
pub fn is_within(release: &str, version: &str) -> bool {
    release.strip_prefix(version).is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}
