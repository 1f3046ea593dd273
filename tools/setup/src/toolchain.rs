// SPDX-License-Identifier: MIT OR Apache-2.0
//! The toolchain for bare metal, and the build of what runs there.
//!
//! rustup's target comes first: nothing but precompiled `core` and `alloc` and rustup's own linker. Where it
//! cannot be had (no rustup, or its servers out of reach), Debian's compiler builds `core` and `alloc` from the
//! sources that Debian ships, and LLD links. `VAMBRACE_TOOLCHAIN=rustup` or `=debian` leaves only one choice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::apt::{self, Apt, Target};
use super::privilege::Privilege;
use super::process::{self, Line};
use super::sources::{self, Source};
use vambrace_manifest::workspace;

use super::{Cache, SetupError};
use crate::image::{self, Sections};
use crate::progress::{Progress, ProgressStep};

/// What the hypervisor and the guests are compiled for: no floating-point registers, which belong to guests.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";

/// The packages that run on bare metal. Each is built by itself: together they would share the features of what they
/// depend on, and the guests have no allocator.
const PACKAGES: [&str; 2] = ["vambrace-hypervisor", "vambrace-guests"];

/// What the names of programs begin with that are no guests but run under Linux.
const FOR_LINUX: &str = "linux-";

/// The oldest compiler that will do; `rust-version` in the workspace's Cargo.toml.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld"];
const DEBIAN_CLIPPY_PACKAGES: [&str; 1] = ["rust-web-clippy"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";
const DEBIAN_SOURCES: &str = "lib/rustlib/src/rust/library/Cargo.lock";
const DEBIAN_LINKER: &str = "ld.lld";

/// A toolchain that can build for [`TARGET`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// The active one has the target's precompiled libraries.
    Precompiled,
    /// Debian's, which compiles them first.
    Debian,
}

/// What cargo is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Build,
    Lint,
}

/// What has been built.
#[derive(Clone, Debug, Default)]
pub struct Bare {
    /// The hypervisor as a flat image, beginning with its Linux arm64 Image header.
    pub hypervisor: Vec<u8>,
    /// The linked program that it was made from, with symbols and line tables.
    pub hypervisor_elf: Vec<u8>,
    /// What it is made of.
    pub sections: Sections,
    /// The guests as flat images, by name.
    pub guests: BTreeMap<String, Vec<u8>>,
    /// Programs that Linux can run, as ELF files, by name.
    pub linux: BTreeMap<String, Vec<u8>>,
}

/// Which toolchains the user allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Choice {
    rustup: bool,
    debian: bool,
}

impl Choice {
    fn of_the_user() -> Self {
        let choice = std::env::var("VAMBRACE_TOOLCHAIN").unwrap_or_default();
        Self { rustup: choice != "debian", debian: choice != "rustup" }
    }
}

/// Finds a toolchain that is ready.
#[must_use]
pub fn find() -> Option<Toolchain> {
    let choice = Choice::of_the_user();
    if choice.rustup && has_precompiled() {
        Some(Toolchain::Precompiled)
    } else if choice.debian && has_debian() {
        Some(Toolchain::Debian)
    } else {
        None
    }
}

/// Finds a toolchain or installs one.
///
/// # Errors
/// When none can be had.
pub fn ensure(cache: &Cache, progress: Progress) -> Result<Toolchain, SetupError> {
    if let Some(toolchain) = find() {
        return Ok(toolchain);
    }
    let _lock = cache.lock("install")?;
    if let Some(toolchain) = find() {
        return Ok(toolchain);
    }
    let choice = Choice::of_the_user();
    if choice.rustup && process::find("rustup").is_some() {
        let step = progress.step(&format!("adding the Rust target {TARGET}"));
        let added = process::run(Command::new("rustup").args(["target", "add", TARGET]), "", |line| {
            if let Line::Err(text) = line {
                step.detail(text);
            }
        });
        if added.is_ok() && has_precompiled() {
            return Ok(Toolchain::Precompiled);
        }
    }
    if choice.debian {
        install_debian(cache, &DEBIAN_PACKAGES, progress)?;
    }
    find().ok_or_else(missing)
}

/// The error for a machine where no toolchain can be had.
fn missing() -> SetupError {
    SetupError::new(
        format!("no Rust toolchain here can build for {TARGET}"),
        format!("type: rustup target add {TARGET}"),
    )
}

/// How a toolchain will come where none is there.
///
/// # Errors
/// What the user has to do, where none comes by itself.
pub fn how_to_install() -> Result<String, SetupError> {
    let choice = Choice::of_the_user();
    if choice.rustup && process::find("rustup").is_some() {
        Ok(format!("installed when needed: rustup target add {TARGET}"))
    } else if choice.debian && debian_sources().is_some() {
        apt::how_to_install(&DEBIAN_PACKAGES)
    } else {
        Err(missing())
    }
}

/// The machine's own sources, on Debian.
fn debian_sources() -> Option<Vec<Source>> {
    sources::own().filter(|(machine, _)| machine.id == "debian").map(|(_, own)| own)
}

fn has_precompiled() -> bool {
    let sysroot = process::answer(Command::new("rustc").args(["--print", "sysroot"]));
    sysroot.is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

fn has_debian() -> bool {
    let mut rustc = Command::new(DEBIAN_RUSTC);
    let version = process::answer(quiet(&mut rustc).arg("--version"));
    let recent = version
        .as_deref()
        .and_then(|said| said.split_whitespace().nth(1))
        .is_some_and(|version| super::cache::compare_versions(version, OLDEST).is_ge());
    let mut rustc = Command::new(DEBIAN_RUSTC);
    let sysroot = process::answer(quiet(&mut rustc).args(["--print", "sysroot"])).unwrap_or_default();
    recent
        && Path::new(DEBIAN_CARGO).is_file()
        && Path::new(&sysroot).join(DEBIAN_SOURCES).is_file()
        && process::find(DEBIAN_LINKER).is_some()
}

fn install_debian(cache: &Cache, packages: &[&str], progress: Progress) -> Result<(), SetupError> {
    let own = debian_sources().ok_or_else(missing)?;
    let privilege = Privilege::detect();
    if privilege == Privilege::None {
        return Err(apt::by_hand(packages, None));
    }
    let step = progress.step(&format!("installing {} from Debian", packages.join(", ")));
    let apt = Apt::open(cache, "apt-own", Target::ThisMachine, &own, &step)?;
    apt.install(packages, None, privilege, &step)
}

/// Takes away what the cargo that runs us has set for its own build and would disturb another one.
fn quiet(command: &mut Command) -> &mut Command {
    const GROUPS: [&str; 7] = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_BUILD_",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
        "CARGO_FEATURE_",
    ];
    const SINGLE: [&str; 13] = [
        "CARGO",
        "CARGO_CRATE_NAME",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "CARGO_PRIMARY_PACKAGE",
        "CLIPPY_ARGS",
        "LD_LIBRARY_PATH",
        "RUSTC",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
    ];
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        if SINGLE.contains(&name) || GROUPS.iter().any(|group| name.starts_with(group)) {
            command.env_remove(name);
        }
    }
    command
}

impl Toolchain {
    /// For people.
    #[must_use]
    pub fn describe(self) -> String {
        let (rustc, how) = match self {
            Self::Precompiled => ("rustc", "with the target's libraries"),
            Self::Debian => (DEBIAN_RUSTC, "with Debian's library sources"),
        };
        let mut command = Command::new(rustc);
        if self == Self::Debian {
            quiet(&mut command);
        }
        let version = process::answer(command.arg("--version")).unwrap_or_default();
        format!("{version}, {how}")
    }

    /// Builds the hypervisor and the guests.
    ///
    /// # Errors
    /// When the build fails, with the compiler's own words.
    pub fn build(self, progress: Progress) -> Result<Bare, SetupError> {
        let mut step = None;
        let mut programs = Vec::new();
        for package in PACKAGES {
            process::run(
                &mut self.command(Task::Build, package),
                "mend what the compiler says above",
                |line| match line {
                    Line::Out(message) => programs.extend(parse_executable(message)),
                    Line::Err(text) => {
                        if let Some(package) = text.trim_start().strip_prefix("Compiling ") {
                            show(progress, &mut step, package);
                        }
                    }
                },
            )?;
        }
        let mut bare = Bare::default();
        for path in programs {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let elf = std::fs::read(&path).map_err(|error| SetupError::file("read", &path, &error))?;
            if name.starts_with(FOR_LINUX) {
                bare.linux.insert(name, elf);
                continue;
            }
            let flat = image::flatten(&elf).map_err(|error| {
                SetupError::new(format!("{}: {error}", path.display()), "mend its linker script")
            })?;
            if name == PACKAGES[0] {
                bare.hypervisor = flat;
                bare.sections = image::sections(&elf).unwrap_or_default();
                bare.hypervisor_elf = elf;
            } else {
                bare.guests.insert(name, flat);
            }
        }
        Ok(bare)
    }

    /// Checks the hypervisor and the guests with clippy, as bare metal compiles them.
    ///
    /// # Errors
    /// When clippy is missing or complains, with its own words.
    pub fn lint(self, cache: &Cache, progress: Progress) -> Result<(), SetupError> {
        if self == Self::Debian && !Path::new(DEBIAN_CLIPPY).exists() {
            let _lock = cache.lock("install")?;
            install_debian(cache, &DEBIAN_CLIPPY_PACKAGES, progress)?;
        }
        let step = progress.step("checking the hypervisor and the guests with clippy");
        PACKAGES.into_iter().try_for_each(|package| {
            process::run(&mut self.command(Task::Lint, package), self.clippy(), |line| match line {
                Line::Out(text) | Line::Err(text) => step.detail(text),
            })
        })
    }

    /// What to do when clippy is missing or complains.
    fn clippy(self) -> &'static str {
        match self {
            Self::Precompiled => {
                "mend what clippy says above; if it is missing, type: rustup component add clippy"
            }
            Self::Debian => {
                "mend what clippy says above; if it is missing, type: apt install rust-web-clippy"
            }
        }
    }

    /// The cargo command for one package.
    fn command(self, task: Task, package: &str) -> Command {
        let root = workspace();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let mut command = match (self, task) {
            (Self::Precompiled, _) => Command::new("cargo"),
            (Self::Debian, Task::Build) => Command::new(DEBIAN_CARGO),
            // Through cargo a clippy of rustup's would come first.
            (Self::Debian, Task::Lint) => Command::new(DEBIAN_CLIPPY),
        };
        quiet(&mut command);
        match task {
            Task::Build => command.args(["build", "--message-format", "json-render-diagnostics"]),
            Task::Lint if self == Self::Debian => command.env("CARGO", DEBIAN_CARGO).arg("clippy"),
            Task::Lint => command.arg("clippy"),
        };
        command.args(["--profile", "bare", "--target", TARGET, "--color", "never"]);
        command.args(["--package", package]);
        // A folder of its own: the cargo that runs us may hold the lock of the other.
        command.arg("--manifest-path").arg(root.join("Cargo.toml"));
        command.arg("--target-dir").arg(target.join("bare"));
        if self == Self::Debian {
            command
                .env_remove("RUSTUP_TOOLCHAIN")
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_LINKER", DEBIAN_LINKER)
                .args(["-Zbuild-std=core,alloc,compiler_builtins"])
                .args(["-Zbuild-std-features=compiler-builtins-mem"]);
        }
        command
    }
}

/// Tells what is being compiled; the first time this is a step of its own, so that a build with nothing to do
/// says nothing.
fn show(progress: Progress, step: &mut Option<ProgressStep>, package: &str) {
    let step = step.get_or_insert_with(|| progress.step("building the hypervisor and the guests"));
    step.detail(package.split(" (").next().unwrap_or(package));
}

/// The program that a line of cargo's JSON announces.
fn parse_executable(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    Some(PathBuf::from(message.get("executable")?.as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_picked_from_cargos_messages() {
        assert_eq!(
            parse_executable(r#"{"reason":"compiler-artifact","executable":"/t/vambrace-hypervisor"}"#),
            Some(PathBuf::from("/t/vambrace-hypervisor"))
        );
        assert_eq!(parse_executable(r#"{"reason":"compiler-artifact","executable":null}"#), None);
        assert_eq!(parse_executable("warning: something"), None);
    }

    #[test]
    fn the_outer_cargos_variables_do_not_reach_the_inner_one() {
        // cargo test has set at least these.
        let command = Toolchain::Debian.command(Task::Build, PACKAGES[0]);
        let removed: Vec<_> = command
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .filter_map(|(name, _)| name.to_str())
            .collect();
        for name in ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "RUSTUP_TOOLCHAIN"] {
            assert!(removed.contains(&name), "{name} stays");
        }
    }
}
