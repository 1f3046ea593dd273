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

use super::listed::ListedDevice;
use super::{BoardModel, WhenIdle};
use crate::values::Size;

/// Virtual machines, and the board that they run on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Vambrace manifest")]
pub(crate) struct File {
    /// The board. All its keys have defaults.
    #[serde(default)]
    pub(crate) board: Board,
    /// How they are run.
    #[serde(default)]
    pub(crate) run: Run,
    /// The virtual machines, each in a section `[[vm]]` of its own.
    #[serde(default)]
    #[schemars(with = "Vec<Vm>")]
    pub(crate) vm: Vec<Spanned<Vm>>,
    /// The networks between virtual machines, each in a section `[[network]]` of its own.
    #[serde(default)]
    #[schemars(with = "Vec<Network>")]
    pub(crate) network: Vec<Spanned<Network>>,
    /// The memory that virtual machines share, each in a section `[[channel]]` of its own.
    #[serde(default)]
    #[schemars(with = "Vec<Channel>")]
    pub(crate) channel: Vec<Spanned<Channel>>,
}

/// Regular expressions.
pub(crate) type Patterns = Spanned<Vec<Spanned<String>>>;

/// How the virtual machines are run in QEMU. The command's options go before it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    /// The virtual machine that gets what is typed or comes by a pipe, by its name. Default: the first.
    #[serde(default)]
    #[schemars(with = "String", example = &"linux-a")]
    pub(crate) input: Option<Spanned<String>>,
    /// A folder, seen from the manifest's, for what each console said and a log of the hypervisor.
    #[serde(default)]
    #[schemars(with = "String", example = &"logs")]
    pub(crate) log_dir: Option<Spanned<String>>,
    /// After how many seconds to give up. Default: never.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1, max = 1_000_000), example = 60)]
    pub(crate) timeout: Option<Spanned<u32>>,
}

/// A piece of memory that virtual machines share, with a doorbell for each.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Channel {
    /// Its name, which its members are told: letters, digits, `-` and `_`, at most 63.
    #[schemars(required, with = "String", regex(pattern = NAME), example = &"control")]
    pub(crate) name: Option<Spanned<String>>,
    /// Its size: a multiple of 4 KiB, at most 16 MiB.
    #[schemars(required, with = "String", regex(pattern = SIZE), example = &"64KiB")]
    pub(crate) size: Option<Spanned<String>>,
    /// The virtual machines that may read and write it, by their names.
    #[schemars(required, with = "Vec<String>", example = EXAMPLE_MEMBERS)]
    pub(crate) members: Option<Spanned<Vec<Spanned<String>>>>,
    /// Those that may only read it.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(crate) readers: Option<Spanned<Vec<Spanned<String>>>>,
}

/// The board that the hypervisor runs on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Board {
    /// The kind of board.
    #[serde(default)]
    #[schemars(with = "BoardModel", extend("default" = "virt"), example = &"virt")]
    pub(crate) machine: Option<Spanned<BoardModel>>,
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
    /// What the hypervisor does when no VM is left.
    #[serde(default)]
    #[schemars(with = "WhenIdle", extend("default" = "off"), example = &"stay")]
    pub(crate) when_idle: Option<Spanned<WhenIdle>>,
    /// Its disks, each in a section `[[board.disk]]` of its own.
    #[serde(default)]
    #[schemars(with = "Vec<BoardDisk>")]
    pub(crate) disk: Vec<Spanned<BoardDisk>>,
    /// What is in its virtio-mmio slots besides, each in a section `[[board.device]]` of its own.
    #[serde(default)]
    #[schemars(with = "Vec<BoardDevice>")]
    pub(crate) device: Vec<Spanned<BoardDevice>>,
}

/// A device in a virtio-mmio slot of the board, to be assigned to a virtual machine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BoardDevice {
    /// The slot, by its path in the board's device tree.
    #[schemars(required, with = "String", example = &"/virtio_mmio@a001000")]
    pub(crate) slot: Option<Spanned<String>>,
    /// What QEMU puts there: what it takes for `-device`, without the bus.
    #[schemars(required, with = "String", example = &"virtio-rng-device")]
    pub(crate) qemu: Option<Spanned<String>>,
}

/// A disk of the board. In QEMU, a file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BoardDisk {
    /// The serial number by which the hypervisor finds it: letters, digits, `-` and `_`, at most 20.
    #[schemars(required, with = "String", regex(pattern = DISK_NAME), example = &"store")]
    pub(crate) name: Option<Spanned<String>>,
    /// The file with its contents, seen from the manifest's folder. What VMs write stays there.
    #[schemars(required, with = "String", example = &"store.img")]
    pub(crate) image: Option<Spanned<String>>,
    /// If there is no such file: makes one of this size, empty.
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = SIZE), example = &"1GiB")]
    pub(crate) size: Option<Spanned<String>>,
    /// If there is no such file: makes one of 1 GiB, with this system on it.
    #[serde(default)]
    #[schemars(with = "System", example = &"debian")]
    pub(crate) system: Option<Spanned<System>>,
}

/// The systems that a disk can be made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum System {
    /// Debian's, from its packages; `initrd = "debian"` starts it.
    Debian,
}

/// A network between virtual machines: an Ethernet switch of the hypervisor's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    /// Its name: letters, digits, `-` and `_`, at most 63.
    #[schemars(required, with = "String", regex(pattern = NAME), example = &"lan")]
    pub(crate) name: Option<Spanned<String>>,
    /// How it is connected to the outside. Default: not at all.
    #[serde(default)]
    #[schemars(with = "Uplink", example = &"board")]
    pub(crate) uplink: Option<Spanned<Uplink>>,
    /// With an uplink: ports of the computer that `run` lets lead to VMs on it, such as `"2222:22"`: the computer's, the VM's
    /// address between them if it is not 10.0.2.15, and the VM's; `/udp` behind them if it is not TCP.
    #[serde(default)]
    #[schemars(with = "Vec<String>", inner(regex(pattern = PORT)), example = EXAMPLE_PORTS)]
    pub(crate) ports: Option<Spanned<Vec<Spanned<String>>>>,
}

/// How a network is connected to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Uplink {
    /// By the board's network card.
    Board,
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
    /// The kernel's initial RAM disk: a path, `demo` for one that says hello and gives a shell, or `debian` for one that
    /// starts the system on the disk `root=` of the command line, by default the first, with addresses as `ip=` says.
    #[serde(default)]
    #[schemars(with = "String", example = &"demo")]
    pub(crate) initrd: Option<Spanned<String>>,
    /// The kernel's command line. Linux finds its console without it.
    #[serde(default)]
    #[schemars(with = "String", extend("default" = ""), length(max = 2047), example = &"loglevel=4")]
    pub(crate) cmdline: Option<Spanned<String>>,
    /// Size of its RAM: a multiple of 2 MiB, at least 4 MiB.
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = SIZE), example = &"512MiB")]
    #[schemars(extend("default" = DEFAULT_MEMORY.to_string()))]
    pub(crate) memory: Option<Spanned<String>>,
    /// To measure what that costs: has its RAM in pieces of this size, none of which continues the one before. A power of two,
    /// at least 4 KiB, that divides `memory` into 512 pieces at most. Default: as large pieces as there are.
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = SIZE), example = &"2MiB")]
    pub(crate) ram_piece: Option<Spanned<String>>,
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
    #[schemars(with = "Vec<ListedDevice>", extend("default" = DEFAULT_DEVICES), example = DEFAULT_DEVICES)]
    pub(crate) devices: Option<Spanned<Vec<Spanned<ListedDevice>>>>,
    /// Its disks, each in a section `[[vm.disk]]` of its own. The first is Linux's `/dev/vda`.
    #[serde(default)]
    #[schemars(with = "Vec<Disk>")]
    pub(crate) disk: Vec<Spanned<Disk>>,
    /// Its network cards, each in a section `[[vm.network]]` of its own.
    #[serde(default)]
    #[schemars(with = "Vec<Card>")]
    pub(crate) network: Vec<Spanned<Card>>,
    /// Devices of the board that belong to this VM alone, by their paths in the board's device tree.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = EXAMPLE_ASSIGN)]
    pub(crate) assign: Option<Spanned<Vec<Spanned<String>>>>,
    /// What may be done about devices among them that read and write memory by themselves. Default: they are refused.
    #[serde(default)]
    #[schemars(with = "Dma", example = &"trusted")]
    pub(crate) dma: Option<Spanned<Dma>>,
    /// A file with names for its kernel's addresses, seen from the manifest's folder: an ELF file such as `vmlinux`, or a
    /// `System.map`. Reports of what it does then have them.
    #[serde(default)]
    #[schemars(with = "String", example = &"vmlinux")]
    pub(crate) symbols: Option<Spanned<String>>,
    /// Regular expressions: for `run` to succeed, each must be found in a line of its console.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = EXAMPLE_EXPECT)]
    pub(crate) expect: Option<Patterns>,
    /// Regular expressions: if one is found in a line of its console, `run` fails.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = EXAMPLE_FAIL_ON)]
    pub(crate) fail_on: Option<Patterns>,
    /// For `run` to succeed, it must give this number as its result. Default: if it gives one, that must be 0.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 0, max = 4_294_967_295u32), example = 0)]
    pub(crate) result: Option<Spanned<u32>>,
    /// Name of another VM: this one is created only when that one has ended, and may use its memory.
    #[serde(default)]
    #[schemars(with = "String", example = &"linux-a")]
    pub(crate) after: Option<Spanned<String>>,
}

/// What is done about devices that master DMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Dma {
    /// They are trusted with all memory of the board. The VM's RAM is mapped one to one, so that the addresses that its
    /// drivers tell them are true.
    Trusted,
}

/// A disk of a virtual machine: `image` or `board` says where it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disk {
    /// A file with its contents, seen from the manifest's folder; it becomes a part of the image and stays as it is.
    #[serde(default)]
    #[schemars(with = "String", example = &"root.img")]
    pub(crate) image: Option<Spanned<String>>,
    /// A disk of the board, by its name, on which this one lies.
    #[serde(default)]
    #[schemars(with = "String", example = &"store")]
    pub(crate) board: Option<Spanned<String>>,
    /// A partition of the board's disk, by its name or its number in the partition table (GPT), instead of `start` and `size`. It is
    /// looked up in the disk's file when the image is built.
    #[serde(default)]
    #[schemars(with = "String", example = &"root")]
    pub(crate) partition: Option<Spanned<String>>,
    /// Where on the board's disk it starts.
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = SIZE), extend("default" = "0KiB"), example = &"512MiB")]
    pub(crate) start: Option<Spanned<String>>,
    /// Its size. Default: that of the image, or what is left of the board's disk.
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = SIZE), example = &"512MiB")]
    pub(crate) size: Option<Spanned<String>>,
    /// What the VM may do with it.
    #[serde(default)]
    #[schemars(with = "AccessMode", extend("default" = "read-write"), example = &"read-only")]
    pub(crate) access: Option<Spanned<AccessMode>>,
    /// With `image`: how much RAM of the board takes what the VM writes. It lasts until the VM ends.
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = SIZE), example = &"64MiB")]
    #[schemars(extend("default" = DEFAULT_ROOM.to_string()))]
    pub(crate) room: Option<Spanned<String>>,
}

/// What a VM may do with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AccessMode {
    /// Read and write.
    ReadWrite,
    /// Read.
    ReadOnly,
}

/// A network card of a virtual machine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Card {
    /// The name of the network that it is plugged into.
    #[schemars(required, with = "String", example = &"lan")]
    pub(crate) name: Option<Spanned<String>>,
    /// Its address. Default: one that no other card of the manifest has.
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = MAC), example = &"02:00:00:00:00:01")]
    pub(crate) mac: Option<Spanned<String>>,
    /// Its largest packet, in bytes.
    #[serde(default)]
    #[schemars(with = "u16", extend("default" = DEFAULT_MTU), range(min = 68, max = 65_535), example = 1500)]
    pub(crate) mtu: Option<Spanned<u16>>,
    /// Under which addresses it may send.
    #[serde(default)]
    #[schemars(with = "Addresses", extend("default" = "own"), example = &"own")]
    pub(crate) addresses: Option<Spanned<Addresses>>,
    /// How much it may send in a second. Default: no limit.
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = SIZE), example = &"10MiB")]
    pub(crate) rate: Option<Spanned<String>>,
}

/// Under which addresses a network card may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Addresses {
    /// Its own only.
    Own,
    /// Any that is no other card's own: for a bridge in the VM.
    Any,
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

const EXAMPLE_PORTS: [&str; 2] = ["2222:22", "8080:10.0.2.21:80"];
const EXAMPLE_MEMBERS: [&str; 2] = ["linux-a", "linux-b"];
const EXAMPLE_ASSIGN: [&str; 1] = ["/pl061@9030000"];
const EXAMPLE_EXPECT: [&str; 1] = ["login: "];
const EXAMPLE_FAIL_ON: [&str; 1] = ["Kernel panic"];
const EXAMPLE_CPUS: [u16; 2] = [0, 1];
const DEFAULT_DEVICES: [&str; 2] = ["pl011", "pl031"];

pub(crate) const DEFAULT_CPU: &str = "cortex-a72";
pub(crate) const DEFAULT_CPUS: u16 = 4;
pub(crate) const DEFAULT_BOARD_MEMORY: Size = Size::mib(2048);
pub(crate) const DEFAULT_MEMORY: Size = Size::mib(256);
pub(crate) const DEFAULT_ROOM: Size = Size::mib(64);
pub(crate) const DEFAULT_MTU: u16 = 1500;
pub(crate) const DEFAULT_WEIGHT: u32 = 100;

const SIZE: &str = "^[0-9]+(KiB|MiB|GiB)$";
const DISK_NAME: &str = "^[A-Za-z0-9_-]{1,20}$";
const PORT: &str = "^[0-9]+:([0-9.]+:)?[0-9]+(/(tcp|udp))?$";
const MAC: &str = "^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$";
const NAME: &str = "^[A-Za-z0-9_-]{1,63}$";
