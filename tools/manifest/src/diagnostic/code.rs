// SPDX-License-Identifier: MIT OR Apache-2.0
//! The codes. They are never reused: `docs/manifest.md` explains each, and people search for them.

use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The manifest cannot be used.
    Error,
    /// It can, but probably does not do what was meant.
    Warning,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// A rule that a manifest can break.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $name = $number,)*
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

codes! {
    /// The file cannot be read.
    Unreadable = 1,
    /// It is not TOML.
    Syntax = 2,
    /// A key that does not exist.
    UnknownKey = 3,
    /// A value of another type than the key's.
    WrongType = 4,
    /// A key that must be there is not.
    MissingKey = 5,
    /// A number too small or too large.
    OutOfRange = 6,
    /// A word that is not among those allowed.
    UnknownValue = 7,
    /// An item listed twice.
    Repeated = 8,
    /// A size without a unit, or one that memory cannot have.
    BadSize = 9,
    /// A VM's name with characters it must not have.
    BadName = 10,
    /// Two VMs of one name.
    DuplicateName = 11,
    /// No VM at all, or too many.
    VmCount = 12,
    /// Neither `kernel` nor `firmware`.
    NothingToBoot = 13,
    /// `firmware` together with what only a kernel uses.
    KernelAndFirmware = 14,
    /// An image named in a way that means nothing.
    BadImageName = 15,
    /// A file that is not there.
    MissingFile = 16,
    /// A file that cannot be read, or is empty.
    UnusableFile = 17,
    /// A kernel or firmware for another processor.
    WrongArchitecture = 18,
    /// A kernel in another format than the arm64 `Image`.
    WrongFormat = 19,
    /// A command line that a kernel cannot take.
    BadCmdline = 20,
    /// The list of CPUs does not match the number of vCPUs.
    PinningLength = 21,
    /// A physical CPU that the board does not have.
    NoSuchCpu = 22,
    /// `after` names no VM.
    NoSuchVm = 23,
    /// VMs that wait for one another.
    Circular = 24,
    /// Images that do not fit into the VM's memory together.
    DoesNotFit = 25,
    /// VMs that need more memory than the board has.
    BoardTooSmall = 26,
    /// An image that nobody has: no such Debian version, no such guest.
    NoSuchImage = 27,
    /// A name of a disk or network that there is not.
    NoSuchName = 40,
    /// A disk that is nowhere, or in two places.
    WhichDisk = 41,
    /// A disk that is larger than what it lies on, or has no size.
    DiskSize = 42,
    /// An Ethernet address that is none, or another card's.
    BadMac = 43,
    /// More virtio devices than there are slots.
    TooManyDevices = 44,
    /// More networks with an uplink than the board has network cards.
    TwoUplinks = 45,
    /// A device that cannot be assigned, or is none.
    NotAssignable = 46,
    /// A device that belongs to somebody else already.
    AssignedTwice = 47,
    /// RAM that cannot lie one to one.
    OneToOne = 48,
    /// A slot of the board that is none, or that somebody else's is too near.
    BadSlot = 49,
    /// A channel with too few members, or too many, or one twice.
    ChannelMembers = 50,
    /// A channel of a size that none has.
    ChannelSize = 51,
    /// More channels than a VM has doorbells.
    TooManyChannels = 52,
    /// A partition that a disk has not.
    NoPartition = 53,
    /// A port of the computer that leads nowhere, or to two places.
    BadPort = 54,
    /// RAM in pieces of a size that does not divide it, in too many, or in any although it must be one.
    RamPieces = 55,
    /// A text that is no regular expression.
    BadPattern = 60,
    /// A VM without a UART.
    NoConsole = 101,
    /// A Linux with nothing to mount.
    NoRoot = 102,
    /// An initial RAM disk of no known kind.
    OddInitrd = 103,
    /// Trust that nothing needs.
    NeedlessTrust = 104,
    /// A console on the command line that the VM does not have.
    NoSuchConsole = 105,
    /// A Linux that says nothing before its init does.
    Quiet = 106,
    /// A Linux that is reset whenever it panics.
    ResetLoop = 107,
    /// Devices whose drivers cannot be there.
    NoDriver = 108,
    /// A kernel for pages of a size that the processor does not have.
    NoGranule = 109,
    /// Firmware that needs flash which it can write.
    Uefi = 110,
}

impl Code {
    /// Error or warning; warnings have the numbers from 100 on.
    #[must_use]
    pub const fn severity(self) -> Severity {
        if (self as u16) < 100 { Severity::Error } else { Severity::Warning }
    }

    /// Whether it complains of something that is not there.
    pub(super) const fn is_absence(self) -> bool {
        matches!(
            self,
            Self::MissingKey
                | Self::VmCount
                | Self::NothingToBoot
                | Self::NoSuchVm
                | Self::NoSuchCpu
                | Self::PinningLength
                | Self::BoardTooSmall
                | Self::NoRoot
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VB{:04}", *self as u16)
    }
}
