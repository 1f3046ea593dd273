// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manifest as it stands in the file.
//!
//! These types are the one description of the format. From them and their comments come the JSON schema that
//! editors use, the check of keys and types ([`super::structure`]), and the reading itself. Every value
//! carries its place in the text, so that each later complaint can underline it. What a text means (a size, a
//! path, a name) is decided in [`super::resolve`]: there, one mistake does not hide the next.

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::{Machine, Size};

/// Virtual machines, and the board that they run on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Vambrace manifest")]
pub(crate) struct File {
    /// The board. All its keys have defaults.
    #[serde(default)]
    pub(crate) board: Board,
    /// The virtual machines, each in a section `[[vm]]` of its own.
    #[serde(default)]
    #[schemars(with = "Vec<Vm>")]
    pub(crate) vm: Vec<Spanned<Vm>>,
}

/// The board that the hypervisor runs on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Board {
    /// The kind of board.
    #[serde(default)]
    #[schemars(with = "Machine", extend("default" = "virt"), example = &"virt")]
    pub(crate) machine: Option<Spanned<Machine>>,
    /// The processor, by QEMU's name for it.
    #[serde(default)]
    #[schemars(with = "Cpu", extend("default" = DEFAULT_CPU), example = &"cortex-a72")]
    pub(crate) cpu: Option<Spanned<String>>,
    /// How many physical CPUs.
    #[serde(default)]
    #[schemars(with = "u16", extend("default" = DEFAULT_CPUS), range(min = 1, max = 512), example = 4)]
    pub(crate) cpus: Option<Spanned<u16>>,
    /// Size of the RAM, in KiB, MiB or GiB. The hypervisor keeps 32 MiB and the images for itself, the VMs
    /// share the rest.
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = SIZE), example = &"2GiB")]
    #[schemars(extend("default" = DEFAULT_BOARD_MEMORY.to_string()))]
    pub(crate) memory: Option<Spanned<String>>,
}

/// A virtual machine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vm {
    /// Its name: letters, digits, `-` and `_`, at most 63. No two VMs share one.
    #[schemars(required, with = "String", regex(pattern = NAME), example = &"linux-a")]
    pub(crate) name: Option<Spanned<String>>,
    /// What it boots: an arm64 Linux `Image` (a path, seen from the manifest's folder; gzip is unpacked),
    /// `debian` or `debian:VERSION` for Debian's kernel, or `guest:NAME` for a small program of Vambrace's
    /// own.
    #[serde(default)]
    #[schemars(with = "String", example = &"debian")]
    pub(crate) kernel: Option<Spanned<String>>,
    /// Firmware to start instead of a kernel: a raw image (a path), or `debian:u-boot`. It is put in flash at
    /// address 0.
    #[serde(default)]
    #[schemars(with = "String", example = &"debian:u-boot")]
    pub(crate) firmware: Option<Spanned<String>>,
    /// The kernel's initial RAM disk: a path, or `demo` for one that says hello and gives a shell.
    #[serde(default)]
    #[schemars(with = "String", example = &"demo")]
    pub(crate) initrd: Option<Spanned<String>>,
    /// The kernel's command line. Linux finds its console without it.
    #[serde(default)]
    #[schemars(with = "String", extend("default" = ""), length(max = 2047), example = &"quiet")]
    pub(crate) cmdline: Option<Spanned<String>>,
    /// Size of its RAM: a multiple of 2 MiB, at least 4 MiB.
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = SIZE), example = &"512MiB")]
    #[schemars(extend("default" = DEFAULT_MEMORY.to_string()))]
    pub(crate) memory: Option<Spanned<String>>,
    /// How many virtual CPUs; they may be more than the board's CPUs. Default: as many as `cpus` lists, else
    /// 1.
    #[serde(default)]
    #[schemars(with = "u16", range(min = 1, max = 512), example = 2)]
    pub(crate) vcpus: Option<Spanned<u16>>,
    /// Pins the virtual CPUs, in order, each to a physical CPU of the board (the first is 0). Default: the
    /// hypervisor chooses.
    #[serde(default)]
    #[schemars(with = "Vec<u16>", length(min = 1), inner(range(max = 511)), example = EXAMPLE_CPUS)]
    pub(crate) cpus: Option<Spanned<Vec<Spanned<u16>>>>,
    /// Its share of a physical CPU against other VMs' virtual CPUs there.
    #[serde(default)]
    #[schemars(with = "u32", extend("default" = DEFAULT_WEIGHT), range(min = 1, max = 10_000), example = 100)]
    pub(crate) weight: Option<Spanned<u32>>,
    /// Its devices.
    #[serde(default)]
    #[schemars(with = "Vec<Device>", extend("default" = DEFAULT_DEVICES), example = DEFAULT_DEVICES)]
    pub(crate) devices: Option<Spanned<Vec<Spanned<Device>>>>,
    /// Name of another VM: this one is created only when that one has ended, and may use its memory.
    #[serde(default)]
    #[schemars(with = "String", example = &"linux-a")]
    pub(crate) after: Option<Spanned<String>>,
}

/// The processors of QEMU's `virt` that have EL2.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Cpu {
    CortexA35,
    CortexA53,
    CortexA55,
    CortexA57,
    CortexA72,
    CortexA76,
    CortexA710,
    #[serde(rename = "a64fx")]
    A64fx,
    NeoverseN1,
    NeoverseN2,
    NeoverseV1,
    Max,
}

/// The virtual devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Device {
    /// The UART: the VM's console.
    Pl011,
    /// The real-time clock.
    Pl031,
}

const EXAMPLE_CPUS: [u16; 2] = [0, 1];
const DEFAULT_DEVICES: [&str; 2] = ["pl011", "pl031"];

pub(crate) const DEFAULT_CPU: &str = "cortex-a72";
pub(crate) const DEFAULT_CPUS: u16 = 4;
pub(crate) const DEFAULT_BOARD_MEMORY: Size = Size::mib(2048);
pub(crate) const DEFAULT_MEMORY: Size = Size::mib(256);
pub(crate) const DEFAULT_WEIGHT: u32 = 100;

const SIZE: &str = "^[0-9]+(KiB|MiB|GiB)$";
const NAME: &str = "^[A-Za-z0-9_-]{1,63}$";
