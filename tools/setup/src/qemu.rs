// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU: any `qemu-system-aarch64` from 7.2 on, installed from the distribution where it is missing.
//!
//! Newer ones emulate more CPUs and are faster, so on a Debian release whose own QEMU is older than 10 the one
//! in its backports is preferred.

use std::path::PathBuf;
use std::process::Command;

use super::apt::{self, Apt, Target};
use super::privilege::Privilege;
use super::sources::{self, Source};
use super::{Cache, SetupError, process};
use crate::progress::Progress;

/// The program.
pub const PROGRAM: &str = "qemu-system-aarch64";

/// The oldest version that will do.
pub const OLDEST: (u32, u32) = (7, 2);

/// From this major version on a distribution's own QEMU is as good as its backport.
const PREFERRED: u32 = 10;

const PACKAGE: &str = "qemu-system-arm";

/// A QEMU that will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    /// The program's file.
    pub path: PathBuf,
    /// Its version, major and minor.
    pub version: (u32, u32),
}

impl Qemu {
    /// The names of the processors that its `virt` board can have; empty when it does not tell.
    #[must_use]
    pub fn cpus(&self) -> Vec<String> {
        let said = process::answer(Command::new(&self.path).args(["-machine", "virt", "-cpu", "help"]));
        parse_cpus(&said.unwrap_or_default())
    }
}

/// Looks for QEMU in `PATH`.
///
/// # Errors
/// `Err(Some(version))` for one that is too old, `Err(None)` when there is none.
pub fn find() -> Result<Qemu, Option<(u32, u32)>> {
    let path = process::find(PROGRAM).ok_or(None)?;
    let said = process::answer(Command::new(&path).arg("--version")).ok_or(None)?;
    let version = parse_version(&said).ok_or(None)?;
    if version >= OLDEST { Ok(Qemu { path, version }) } else { Err(Some(version)) }
}

/// Finds QEMU or installs it.
///
/// # Errors
/// When it is missing or too old and cannot be installed.
pub fn ensure(cache: &Cache, progress: Progress) -> Result<Qemu, SetupError> {
    if let Ok(qemu) = find() {
        return Ok(qemu);
    }
    let _lock = cache.lock("install")?;
    if find().is_err() {
        install(cache, progress)?;
    }
    find().map_err(missing)
}

/// The error for a machine without QEMU that we cannot install it on.
fn missing(found: Option<(u32, u32)>) -> SetupError {
    let (major, minor) = OLDEST;
    let what = match found {
        Some((have, minor_have)) => {
            format!("{PROGRAM} {have}.{minor_have} is too old: {major}.{minor} or newer is needed")
        }
        None => format!("{PROGRAM} is not in PATH"),
    };
    SetupError::new(
        what,
        format!("install QEMU {major}.{minor} or newer for AArch64 with your package manager"),
    )
}

/// How QEMU will come where it is missing or, as `found`, too old.
///
/// # Errors
/// What the user has to do, where it does not come by itself.
pub fn how_to_install(found: Option<(u32, u32)>) -> Result<String, SetupError> {
    if sources::own().is_some() { apt::how_to_install(&[PACKAGE]) } else { Err(missing(found)) }
}

fn install(cache: &Cache, progress: Progress) -> Result<(), SetupError> {
    let (machine, own) = sources::own().ok_or_else(|| missing(find().err().flatten()))?;
    let privilege = Privilege::detect();
    if privilege == Privilege::None {
        return Err(apt::by_hand(&[PACKAGE], None));
    }
    let step = progress.step("installing QEMU");
    let plain = Apt::open(cache, "apt-own", Target::ThisMachine, &own, &step)?;
    if wants_backport(plain.candidate(PACKAGE, None).as_deref()) && machine.id == "debian" {
        let release = format!("{}-backports", machine.codename);
        let sources = with_backports(&own, &machine.codename, &release);
        let installed = Apt::open(cache, "apt-backports", Target::ThisMachine, &sources, &step)
            .and_then(|apt| apt.install(&[PACKAGE], Some(&release), privilege, &step));
        if installed.is_ok() {
            return Ok(());
        }
    }
    plain.install(&[PACKAGE], None, privilege, &step)
}

/// Whether a package version is older than what we prefer.
fn wants_backport(candidate: Option<&str>) -> bool {
    let without_epoch = |version: &str| version.split_once(':').map_or(version, |(_, rest)| rest).to_owned();
    candidate
        .and_then(|version| parse_numbers(&without_epoch(version)))
        .is_none_or(|(major, _)| major < PREFERRED)
}

/// The machine's own sources, and the backports from the same mirror.
fn with_backports(own: &[Source], codename: &str, release: &str) -> Vec<Source> {
    let main = own.iter().find(|source| source.suites.iter().any(|suite| suite == codename));
    let backports = main.map(|main| Source { suites: vec![release.to_owned()], ..main.clone() });
    own.iter().cloned().chain(backports).collect()
}

/// Reads `QEMU emulator version 10.0.2 (...)`.
fn parse_version(said: &str) -> Option<(u32, u32)> {
    parse_numbers(said.split_once("version ")?.1)
}

/// Reads the list that `-cpu help` prints: a title, then indented names.
fn parse_cpus(said: &str) -> Vec<String> {
    let names = said.lines().filter(|line| line.starts_with(' '));
    names.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

fn parse_numbers(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        let said = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright (c) 2003-2025";
        assert_eq!(parse_version(said), Some((10, 0)));
        assert!(parse_version("QEMU emulator version 7.2.18").is_some_and(|version| version >= OLDEST));
        assert!(parse_version("QEMU emulator version 6.2.0").is_some_and(|version| version < OLDEST));
        assert_eq!(parse_version("something else"), None);
    }

    #[test]
    fn processors_are_read_from_the_help() {
        assert_eq!(parse_cpus("Available CPUs:\n  cortex-a72\n  max (best)\n\n"), ["cortex-a72", "max"]);
    }

    #[test]
    fn backports_are_wanted_for_an_old_release_only() {
        assert!(wants_backport(Some("1:7.2+dfsg-7+deb12u15")));
        assert!(!wants_backport(Some("1:10.0.3+ds-0+deb13u1")));
        assert!(wants_backport(None));
    }

    #[test]
    fn backports_come_from_the_machines_own_mirror() {
        let own = sources::parse_list(
            "deb http://s.example/debian-security bookworm-security main\n\
             deb [signed-by=/k.gpg] http://m.example/debian bookworm main contrib\n",
        );
        let all = with_backports(&own, "bookworm", "bookworm-backports");
        assert_eq!(all.len(), 3);
        assert_eq!(all[2], Source { suites: vec!["bookworm-backports".into()], ..own[1].clone() });
    }
}
