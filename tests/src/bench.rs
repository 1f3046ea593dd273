// SPDX-License-Identifier: MIT OR Apache-2.0
//! What has to be there before a case can run: fetched and built once, by the command's own set-up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Failed;
use vambrace_manifest::workspace;
use vambrace_setup::progress::Progress;
use vambrace_setup::qemu::Qemu;
use vambrace_setup::{Bare, Setup, SetupError};

use crate::process::Process;

/// Something that not every case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Debian's kernel of a series such as `6.12`, and the demo's initial RAM disk.
    Linux(&'static str),
    /// A disk with Debian's system, what starts it, and Debian's newest kernel.
    DebianRoot,
    /// Debian's U-Boot.
    UBoot,
    /// QEMU of this major version or newer.
    Qemu(u32),
}

/// A set-up machine.
#[derive(Debug)]
pub struct Bench {
    /// Where kernels come from.
    pub setup: Setup,
    /// QEMU.
    pub qemu: Qemu,
    /// The hypervisor and our guests.
    pub bare: Bare,
    /// The command `vambrace`.
    program: PathBuf,
    /// What could not be had, and why.
    missing: BTreeMap<Need, String>,
}

impl Bench {
    /// Fetches and builds what is needed, telling each step on standard error.
    ///
    /// # Errors
    /// When what every case needs is not to be had.
    pub(crate) fn prepare(needs: &BTreeSet<Need>) -> Result<Self, String> {
        let words = |error: SetupError| error.to_string();
        let setup = Setup::new(Progress::for_stderr()).map_err(words)?;
        let bare = setup.bare().map_err(words)?;
        let qemu = setup.qemu().map_err(words)?;
        let program = build_program()?;
        let mut bench = Self { setup, qemu, bare, program, missing: BTreeMap::new() };
        for need in needs {
            if let Err(why) = bench.fetch(*need) {
                bench.missing.insert(*need, why);
            }
        }
        Ok(bench)
    }

    fn fetch(&self, need: Need) -> Result<(), String> {
        let done = match need {
            Need::Linux(series) => {
                self.setup.kernel(Some(series)).and_then(|_| self.setup.initramfs()).map(drop)
            }
            Need::DebianRoot => {
                let setup = &self.setup;
                setup
                    .debian_root()
                    .and_then(|_| setup.modules(None))
                    .and_then(|_| setup.root_initramfs())
                    .map(drop)
            }
            Need::UBoot => self.setup.u_boot().map(drop),
            Need::Qemu(oldest) => {
                let (major, minor) = self.qemu.version;
                if major >= oldest {
                    return Ok(());
                }
                return Err(format!("QEMU {oldest} or newer is needed, and {major}.{minor} is here"));
            }
        };
        done.map_err(|error| error.to_string())
    }

    /// Why a case with these needs cannot run, if so.
    pub(crate) fn lacks(&self, needs: &BTreeSet<Need>) -> Option<&str> {
        needs.iter().find_map(|need| self.missing.get(need)).map(String::as_str)
    }

    /// Starts the command `vambrace` in the workspace's root, with nothing to read and no colours.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn vambrace(&self, arguments: &[&str]) -> Result<Process, Failed> {
        Process::start(self.command(arguments))
    }

    /// Starts the command `vambrace` with `input` to read from a pipe, which stays open.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn vambrace_with_input(&self, arguments: &[&str], input: &'static [u8]) -> Result<Process, Failed> {
        Process::with_input(self.command(arguments), input)
    }

    /// Starts the command `vambrace` on a terminal, with somebody to type.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn vambrace_on_a_terminal(&self, arguments: &[&str]) -> Result<Process, Failed> {
        Process::on_a_terminal(self.command(arguments))
    }

    /// Starts a shell script in a folder, with the command `vambrace` in the path and nothing to read.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn shell(&self, folder: &Path, arguments: &[&str]) -> Result<Process, Failed> {
        self.shell_with(folder, &[], arguments)
    }

    /// The same, with other programs in these folders, which go before all others of their names.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn shell_with(
        &self,
        folder: &Path,
        programs: &[PathBuf],
        arguments: &[&str],
    ) -> Result<Process, Failed> {
        let own = self.program.parent().map(Path::to_owned);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = programs.iter().cloned().chain(own).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(path)?;
        let mut command = Command::new("sh");
        command.args(arguments).current_dir(folder).env("PATH", path).env("NO_COLOR", "1");
        Process::start(command)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(workspace()).env("NO_COLOR", "1");
        command
    }

    /// Starts QEMU itself with a board of ours to describe, its serial line on standard output.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn plain_qemu<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<Process, Failed> {
        Process::start(self.plain_command(arguments))
    }

    /// The same on a terminal, with somebody to type.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn plain_qemu_on_a_terminal<'a>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<Process, Failed> {
        Process::on_a_terminal(self.plain_command(arguments))
    }

    fn plain_command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(&self.qemu.path);
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        command.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
        command.args(arguments);
        command
    }

    /// One of our guests, as a flat image.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn guest(&self, name: &str) -> Result<&[u8], Failed> {
        match self.bare.guests.get(name) {
            Some(image) => Ok(image),
            None => Err(format!("there is no guest {name}").into()),
        }
    }
}

/// Builds the command as `cargo run` would, and finds it.
fn build_program() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--package", "vambrace", "--bin", "vambrace", "--message-format", "json"])
        .arg("--manifest-path")
        .arg(workspace().join("Cargo.toml"))
        .output()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    let program = String::from_utf8_lossy(&output.stdout).lines().find_map(parse_executable);
    program.filter(|path| Path::is_file(path)).ok_or_else(|| {
        format!("cannot build the command vambrace:\n{}", String::from_utf8_lossy(&output.stderr))
    })
}

/// The program that a line of cargo's JSON announces.
fn parse_executable(line: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(PathBuf::from(message.get("executable")?.as_str()?))
}
