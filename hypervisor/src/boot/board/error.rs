// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a board cannot be used, in words for whoever has to mend it.

use dtoolkit::fdt::{Fdt, FdtNode};

use super::{is_compatible, sound};

/// Why a board cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoardError {
    /// Not a device tree.
    #[error("there is no device tree at the address in x0; boot as the Linux arm64 boot protocol says")]
    NoDeviceTree,
    /// No `/memory`.
    #[error("the device tree has no usable /memory node")]
    NoMemory,
    /// No `/cpus`.
    #[error("the device tree has no usable /cpus node")]
    NoCpus,
    /// No PSCI.
    #[error(
        "the device tree has no PSCI node (compatible \"arm,psci-0.2\" or newer, among the root's children), or its method \
         is not \"smc\""
    )]
    NoPsci,
    /// No GICv3.
    #[error(
        "the device tree has no GICv3 (compatible \"arm,gic-v3\", among the root's children){}{}",
        .instead.words(),
        .kind.advice("; in QEMU: -machine virt,gic-version=3")
    )]
    NoGicV3 {
        /// What it has.
        instead: OtherGic,
        /// Whose tree it is.
        kind: BoardKind,
    },
    /// No architected timer.
    #[error(
        "the device tree has no \"arm,armv8-timer\" (among the root's children) with a virtual and a hypervisor timer \
         interrupt, both PPIs{}",
        .0.advice("; in QEMU: virtualization=on")
    )]
    NoTimer(BoardKind),
    /// More of something than the fixed tables hold.
    #[error(
        "the device tree has {count} {what}, and this build holds {most}; the limit is in hypervisor/src/boot/board.rs"
    )]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
}

/// Another interrupt controller than a GICv3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherGic {
    /// None that is known.
    #[default]
    Unknown,
    /// A GICv2.
    V2,
    /// A GICv3 whose status is not "okay".
    NotUsable,
}

impl OtherGic {
    const fn words(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::V2 => ", but a GICv2, on which vambrace does not run",
            Self::NotUsable => " that is in use: its status is not \"okay\"",
        }
    }
}

/// Whose board it is, as far as advice depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoardKind {
    /// QEMU's `virt`.
    QemuVirt,
    /// Another.
    Other,
}

impl BoardKind {
    /// Of a device tree, if there is one.
    #[must_use]
    pub fn of(tree: Option<&[u8]>) -> Self {
        let root = tree.filter(|tree| sound::is_sound(tree)).map(|tree| Fdt::new_unchecked(tree).root());
        root.map_or(Self::Other, Self::of_root)
    }

    pub(super) fn of_root(root: FdtNode<'_>) -> Self {
        if is_compatible(root, "linux,dummy-virt") { Self::QemuVirt } else { Self::Other }
    }

    /// Words that help with QEMU only.
    #[must_use]
    pub const fn advice(self, in_qemu: &'static str) -> &'static str {
        match self {
            Self::QemuVirt => in_qemu,
            Self::Other => "",
        }
    }
}
