// SPDX-License-Identifier: MIT OR Apache-2.0
//! The list of a VM's platform devices: one line says what a device is, where it lies, which interrupt it has, how the device
//! tree tells of it and what its state is.
//!
//! Everything else follows from the list: the bus and the dispatch of accesses, interrupt lines, deadlines, reset and saved
//! state here; the node in the [device tree](crate::device_tree); the words of the manifest, and the regions of `vambrace
//! explain map`, on the developer's computer. A device is added by its model in `vambrace_io`, which implements
//! [`DeviceModel`], and by a line below. What is not in the list are parts of a machine that every VM has or of which there are
//! many: [`layout`](crate::layout) has their places.

use serde::{Deserialize, Serialize};
use vambrace_interrupts::{Intid, LineLevel, VcpuSet, Vgic};
use vambrace_io::bus::{MmioAccess, MmioDevice};
use vambrace_io::pl011::Pl011;
use vambrace_io::pl031::Pl031;
use vambrace_io::platform::{Deadline, DeviceModel, Time};
use vambrace_io::watchdog::Watchdog;
use vambrace_memory::{Ipa, IpaRange};
use vambrace_state::restore_fields;
use vambrace_wire::bundle::DeviceSet;

/// How the device tree tells of a device, beside its frames and its interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeNode {
    /// The node's name, before the address.
    pub name: &'static str,
    /// Its bindings, the most exact first.
    pub compatible: &'static [&'static str],
    /// The names of its clocks, all of which are the fixed one.
    pub clocks: &'static [&'static str],
}

/// A line of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    word: &'static str,
    doc: &'static str,
    role: &'static str,
    model: &'static str,
    base: u64,
    frames: &'static [u64],
    spi: u32,
    node: TreeNode,
}

macro_rules! devices {
    ($(
        #[doc = $doc:literal]
        $word:ident: $Model:ident = $role:literal, $name:literal,
            at $base:literal, frames $frames:tt, SPI $spi:literal,
            node $node:literal, compatible $compatible:tt, clocks $clocks:tt;
    )*) => {
        /// A platform device that a VM may have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Device {
            $(#[doc = $doc] $Model,)*
        }

        /// The lines, in the order of [`Device`].
        const LINES: &[Line] = &[$(Line {
            word: stringify!($word),
            doc: $doc.trim_ascii(),
            role: $role,
            model: $name,
            base: $base,
            frames: &$frames,
            spi: $spi,
            node: TreeNode { name: $node, compatible: &$compatible, clocks: &$clocks },
        },)*];

        impl Device {
            /// All that there are.
            pub const ALL: [Self; LINES.len()] = [$(Self::$Model,)*];
        }

        /// The platform devices that a VM has.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Devices {
            $(#[doc = $doc] pub $word: Option<$Model>,)*
            /// Whether one of them has a deadline. Kept, as it is asked for whenever a vCPU is loaded.
            pub(crate) waits: bool,
        }

        restore_fields!(Devices { $(optional $word,)* whole waits });

        impl Devices {
            /// Those of a set, as they are when the VM is made.
            #[must_use]
            pub fn new(set: DeviceSet, now: Time) -> Self {
                let waits = false;
                let mut devices =
                    Self { $($word: Device::$Model.is_in(set).then(|| DeviceModel::power_on(now)),)* waits };
                devices.note_whether_waits();
                devices
            }

            /// Puts each back as after power-on.
            pub(crate) fn reset(&mut self) {
                $(if let Some(device) = &mut self.$word {
                    device.reset();
                })*
                self.note_whether_waits();
            }

            fn note_whether_waits(&mut self) {
                let waits = self.deadlines().next().is_some();
                self.waits = waits;
            }

            /// Carries an access out: what a load finds, 0 for a store.
            pub(crate) fn exchange(&mut self, device: Device, access: &MmioAccess, offset: u64) -> u64 {
                let raw = match device {
                    $(Device::$Model => self.$word.as_mut().map_or(0, |it| access.exchange(it, offset)),)*
                };
                self.note_whether_waits();
                raw
            }

            /// Brings the interrupt lines to the GIC.
            pub(crate) fn update_irq_lines(&self, gic: &mut Vgic) -> VcpuSet {
                let mut notify = VcpuSet::new();
                $(if let Some(device) = &self.$word {
                    let level = if device.irq_line() { LineLevel::High } else { LineLevel::Low };
                    notify.extend(&gic.set_spi_level(Device::$Model.intid(), level));
                })*
                notify
            }

            /// Tells each the time.
            pub(crate) fn note_time(&mut self, now: Time) {
                $(if let Some(device) = &mut self.$word {
                    device.note_time(now);
                })*
                self.note_whether_waits();
            }

            /// When a device is to be told the time next.
            pub(crate) fn deadline(&self, device: Device) -> Option<Deadline> {
                match device {
                    $(Device::$Model => self.$word.as_ref().and_then(DeviceModel::deadline),)*
                }
            }

            /// When each is to be told the time next.
            pub(crate) fn deadlines(&self) -> impl Iterator<Item = Deadline> {
                [$(self.$word.as_ref().and_then(DeviceModel::deadline),)*].into_iter().flatten()
            }

            /// Whether one of them has the machine reset.
            pub(crate) fn reset_line(&self) -> bool {
                $(self.$word.as_ref().is_some_and(DeviceModel::reset_line))||*
            }
        }
    };
}

devices! {
    /// The UART: the VM's console.
    pl011: Pl011 = "UART", "PL011",
        at 0x0900_0000, frames [0x1000], SPI 1,
        node "pl011", compatible ["arm,pl011", "arm,primecell"], clocks ["uartclk", "apb_pclk"];

    /// The real-time clock.
    pl031: Pl031 = "clock", "PL031",
        at 0x0901_0000, frames [0x1000], SPI 2,
        node "pl031", compatible ["arm,pl031", "arm,primecell"], clocks ["apb_pclk"];

    /// A watchdog, which resets a VM that does not feed it.
    watchdog: Watchdog = "watchdog", "GWDT",
        at 0x0B10_0000, frames [0x1000, 0x1000], SPI 56,
        node "watchdog", compatible ["arm,sbsa-gwdt"], clocks [];
}

/// A set of devices.
#[must_use]
pub const fn set(mut devices: &[Device]) -> DeviceSet {
    let mut set = DeviceSet::EMPTY;
    while let [first, rest @ ..] = devices {
        set = set.with(*first as u8);
        devices = rest;
    }
    set
}

/// Those that a VM has if its manifest does not say which.
pub const DEFAULT: DeviceSet = set(&[Device::Pl011, Device::Pl031]);

impl Device {
    #[expect(clippy::indexing_slicing, reason = "there is a line for each")]
    const fn line(self) -> &'static Line {
        &LINES[self as usize]
    }

    /// Whether it is in a set.
    #[must_use]
    pub const fn is_in(self, set: DeviceSet) -> bool {
        set.has(self as u8)
    }

    /// Its word in the manifest.
    #[must_use]
    pub const fn word(self) -> &'static str {
        self.line().word
    }

    /// What it is, as a sentence for the manifest's reference.
    #[must_use]
    pub const fn doc(self) -> &'static str {
        self.line().doc
    }

    /// What it is for, in a word: "UART".
    #[must_use]
    pub const fn role(self) -> &'static str {
        self.line().role
    }

    /// The model's own name: "PL011".
    #[must_use]
    pub const fn model(self) -> &'static str {
        self.line().model
    }

    /// Its first address.
    #[must_use]
    pub const fn base(self) -> Ipa {
        Ipa(self.line().base)
    }

    /// All its frames: they lie side by side.
    #[must_use]
    pub const fn range(self) -> IpaRange {
        let (mut len, mut frames) = (0, self.line().frames);
        while let [first, rest @ ..] = frames {
            len += *first;
            frames = rest;
        }
        IpaRange::clamped(self.base(), len)
    }

    /// Each of its frames, as the device tree has them.
    pub fn frames(self) -> impl Iterator<Item = IpaRange> {
        let mut next = self.base();
        self.line().frames.iter().map(move |len| {
            let frame = IpaRange::clamped(next, *len);
            next = frame.end();
            frame
        })
    }

    /// Its interrupt, counted from the first SPI on.
    #[must_use]
    pub const fn spi(self) -> u32 {
        self.line().spi
    }

    /// Its interrupt.
    #[must_use]
    pub const fn intid(self) -> Intid {
        Intid::spi(self.spi())
    }

    /// How the device tree tells of it.
    #[must_use]
    pub const fn node(self) -> TreeNode {
        self.line().node
    }
}

#[cfg(test)]
mod tests;
