// SPDX-License-Identifier: MIT OR Apache-2.0
//! A private run of apt: its own sources and package lists, so that neither the machine's configuration nor its
//! foreign architectures are touched, and old or unreachable lists of the machine do not matter.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::privilege::Privilege;
use super::process::{self, Line};
use super::sources::Source;
use super::{Cache, SetupError};
use crate::progress::ProgressStep;

/// How long package lists are trusted before they are fetched again.
const LISTS_LIFE: Duration = Duration::from_secs(3600);

/// Said when apt fails.
const MEND: &str = "see what apt says above; check the network, then try again";

/// For whom packages are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To be installed on this machine.
    ThisMachine,
    /// arm64 packages, only ever unpacked; this machine's own packages do not matter.
    Arm64,
}

/// A private apt.
#[derive(Clone, Debug)]
pub struct Apt {
    folder: PathBuf,
    target: Target,
}

impl Apt {
    /// Prepares apt in the cache's folder `name` and fetches the package lists of `sources` unless that has
    /// been done within the hour.
    ///
    /// A source that cannot be reached is no error as long as apt finds the packages elsewhere.
    ///
    /// # Errors
    /// When there is no apt, or none of the lists can be fetched.
    pub fn open(
        cache: &Cache,
        name: &str,
        target: Target,
        sources: &[Source],
        step: &ProgressStep,
    ) -> Result<Self, SetupError> {
        let folder = cache.subfolder(name)?;
        for part in ["sources", "lists/partial", "archives/partial"] {
            let path = folder.join(part);
            std::fs::create_dir_all(&path).map_err(|error| SetupError::file("make", &path, &error))?;
        }
        let text = sources.iter().fold(String::new(), |mut text, source| {
            let _ = write!(text, "{source}");
            text
        });
        let list = folder.join("sources/vambrace.sources");
        let stamp = folder.join("updated");
        let unchanged = std::fs::read_to_string(&list).is_ok_and(|before| before == text);
        let apt = Self { folder, target };
        if unchanged && is_fresh(&stamp) {
            return Ok(apt);
        }
        std::fs::write(&list, &text).map_err(|error| SetupError::file("write", &list, &error))?;
        step.detail("reading the package lists");
        process::run(apt.command(Command::new("apt-get")).arg("update"), MEND, |_| {})?;
        std::fs::write(&stamp, "").map_err(|error| SetupError::file("write", &stamp, &error))?;
        Ok(apt)
    }

    /// The names of packages that match a regular expression.
    #[must_use]
    pub fn names(&self, pattern: &str) -> Vec<String> {
        let mut command = self.command(Command::new("apt-cache"));
        let found = process::answer(command.args(["search", "--names-only", pattern])).unwrap_or_default();
        found.lines().filter_map(|line| Some(line.split_once(" - ")?.0.to_owned())).collect()
    }

    /// The version of `package` that would be installed, from `release` if one is given.
    #[must_use]
    pub fn candidate(&self, package: &str, release: Option<&str>) -> Option<String> {
        let mut command = self.command(Command::new("apt-cache"));
        if let Some(release) = release {
            command.arg(format!("-oAPT::Default-Release={release}"));
        }
        let policy = process::answer(command.args(["policy", package]))?;
        let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
        (version != "(none)").then(|| version.to_owned())
    }

    /// Downloads one package into `folder` and returns its file.
    ///
    /// # Errors
    /// When there is no such package or it cannot be fetched.
    pub fn download(&self, package: &str, folder: &Path, step: &ProgressStep) -> Result<PathBuf, SetupError> {
        let mut command = self.command(Command::new("apt-get"));
        command.args(["-oAPT::Status-Fd=1", "download", package]).current_dir(folder);
        process::run(&mut command, MEND, |line| show(line, step))?;
        downloaded(package, folder)
    }

    /// What an installation of `packages` brings to an empty system, as `NAME=VERSION`: they themselves and what they
    /// need. A package may also be one of apt's patterns.
    ///
    /// # Errors
    /// When there is none of that name, or they do not go together.
    pub fn closure(&self, packages: &[&str]) -> Result<Vec<String>, SetupError> {
        let mut command = self.command(Command::new("apt-get"));
        command.args(["install", "--simulate", "--no-install-recommends"]).args(packages);
        let mut found = Vec::new();
        process::run(&mut command, MEND, |line| {
            if let Line::Out(text) = line {
                found.extend(parse_planned(text));
            }
        })?;
        Ok(found)
    }

    /// Downloads packages, as [`Apt::closure`] names them, into an empty folder, and returns their files in the same
    /// order.
    ///
    /// # Errors
    /// When one of them cannot be fetched.
    pub fn download_all(
        &self,
        packages: &[String],
        folder: &Path,
        step: &ProgressStep,
    ) -> Result<Vec<PathBuf>, SetupError> {
        let mut command = self.command(Command::new("apt-get"));
        command.args(["-oAPT::Status-Fd=1", "download"]).args(packages).current_dir(folder);
        process::run(&mut command, MEND, |line| show(line, step))?;
        let names = packages.iter().map(|package| package.split('=').next().unwrap_or(package));
        names.map(|name| downloaded(name, folder)).collect()
    }

    /// Installs packages on this machine, from `release` if one is given.
    ///
    /// # Errors
    /// When that needs a password, or fails.
    pub fn install(
        &self,
        packages: &[&str],
        release: Option<&str>,
        privilege: Privilege,
        step: &ProgressStep,
    ) -> Result<(), SetupError> {
        let Some(command) = privilege.command("apt-get") else {
            return Err(by_hand(packages, release));
        };
        let mut command = self.command(command);
        command.env("DEBIAN_FRONTEND", "noninteractive").args([
            "-oAPT::Status-Fd=1",
            "-oDPkg::Lock::Timeout=300",
            "install",
            "--yes",
            "--no-install-recommends",
        ]);
        if let Some(release) = release {
            command.args(["--target-release", release]);
        }
        let mend = by_hand(packages, release).mend;
        process::run(command.args(packages), &mend, |line| show(line, step))
    }

    /// Adds the options that make apt private.
    fn command(&self, mut command: Command) -> Command {
        let in_folder = |name: &str| self.folder.join(name).display().to_string();
        command.env("LC_ALL", "C").args([
            format!("-oDir::Etc::SourceParts={}", in_folder("sources")),
            "-oDir::Etc::SourceList=/dev/null".into(),
            format!("-oDir::State::Lists={}", in_folder("lists")),
            "-oDir::Cache::pkgcache=".into(),
            "-oDir::Cache::srcpkgcache=".into(),
            "-oAcquire::Languages=none".into(),
            "-oAcquire::Retries=3".into(),
            "-oAcquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            // The folder is the user's; apt's own unprivileged user cannot write there.
            "-oAPT::Sandbox::User=root".into(),
        ]);
        if self.target == Target::Arm64 {
            command.args([
                "-oAPT::Architecture=arm64",
                "-oAPT::Architectures=arm64",
                "-oDir::State::status=/dev/null",
            ]);
            command.arg(format!("-oDir::Cache::archives={}", in_folder("archives")));
        }
        command
    }
}

/// The file of a package that apt has put into `folder`.
fn downloaded(package: &str, folder: &Path) -> Result<PathBuf, SetupError> {
    let files = std::fs::read_dir(folder).map_err(|error| SetupError::file("read", folder, &error))?;
    files
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|file| {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.strip_prefix(package).is_some_and(|rest| rest.starts_with('_')) && name.ends_with(".deb")
        })
        .ok_or_else(|| SetupError::new(format!("apt did not download {package}"), MEND))
}

/// The error for a user who may not install packages: the command to type.
#[must_use]
pub fn by_hand(packages: &[&str], release: Option<&str>) -> SetupError {
    let release = release.map(|release| format!("--target-release {release} ")).unwrap_or_default();
    SetupError::new(
        format!("{} must be installed, which needs root", packages.join(", ")),
        format!("type: sudo apt-get update && sudo apt-get install {release}{}", packages.join(" ")),
    )
}

/// How packages that are missing will come: by themselves, or by a command to type.
///
/// # Errors
/// The command to type, for a user who may not install packages.
pub fn how_to_install(packages: &[&str]) -> Result<String, SetupError> {
    match Privilege::detect() {
        Privilege::None => Err(by_hand(packages, None)),
        Privilege::Root | Privilege::Sudo => {
            Ok(format!("installed when needed: apt-get install {}", packages.join(" ")))
        }
    }
}

fn is_fresh(stamp: &Path) -> bool {
    let age = |modified| SystemTime::now().duration_since(modified);
    std::fs::metadata(stamp)
        .and_then(|data| data.modified())
        .is_ok_and(|modified| age(modified).is_ok_and(|age| age < LISTS_LIFE))
}

/// Turns apt's status lines (`dlstatus:1:42.5:text`, `pmstatus:package:42.5:text`) into progress.
fn show(line: Line<'_>, step: &ProgressStep) {
    if let Line::Out(text) = line
        && let Some((percent, text)) = parse_status(text)
    {
        step.percent(percent);
        step.detail(text);
    }
}

/// Reads `Inst bash (5.2.37-2+b9 Debian:13.5/stable [arm64])`.
fn parse_planned(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
    let version = rest.split_once('(')?.1.split([' ', ')']).next()?;
    Some(format!("{name}={version}"))
}

fn parse_status(line: &str) -> Option<(u64, &str)> {
    let mut fields = line.splitn(4, ':');
    let kind = fields.next()?;
    let percent = fields.nth(1)?.split('.').next()?.parse().ok()?;
    matches!(kind, "dlstatus" | "pmstatus").then_some((percent, fields.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_installed_is_read_with_its_version() {
        let line = "Inst login (1:4.16.0-2+really2.41.5-0+deb13u1 Debian:13.6/stable [arm64]) []";
        assert_eq!(parse_planned(line).as_deref(), Some("login=1:4.16.0-2+really2.41.5-0+deb13u1"));
        assert_eq!(parse_planned("Conf login (1:4.16.0-2 Debian:13.6/stable [arm64])"), None);
        assert_eq!(parse_planned("NOTE: This is only a simulation!"), None);
    }

    #[test]
    fn status_lines_become_percent() {
        assert_eq!(
            parse_status("dlstatus:2:89.0563:Retrieving file 2 of 2"),
            Some((89, "Retrieving file 2 of 2"))
        );
        assert_eq!(
            parse_status("pmstatus:lld:57.1429:Unpacking lld (amd64)"),
            Some((57, "Unpacking lld (amd64)"))
        );
        assert_eq!(parse_status("Get:2 http://mirror.example/debian trixie/main"), None);
        assert_eq!(parse_status(""), None);
    }

    #[test]
    fn without_root_the_error_is_the_command_to_type() {
        let error = by_hand(&["qemu-system-arm"], Some("bookworm-backports"));
        assert!(error.mend.ends_with("apt-get install --target-release bookworm-backports qemu-system-arm"));
    }
}
