// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console that we may use: what `/chosen` names, else the first PL011 in the tree.

use dtoolkit::fdt::FdtNode;
use dtoolkit::{Node, Property};
use vambrace_interrupts::Intid;
use vambrace_memory::Pa;

use super::device_node::DeviceNode;
use super::interrupts::Controller;
use super::is_compatible;

/// A PL011 that we may use as our own console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uart {
    /// Its registers.
    pub base: Pa,
    /// Its interrupt's INTID, an SPI; without one nothing that is typed arrives.
    pub intid: Option<Intid>,
}

/// What became of the console that `/chosen/stdout-path` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// None is named.
    Nothing,
    /// It is the one that is used.
    Used,
    /// There is no such node.
    NotThere,
    /// Its status, or that of a bus above it, is not "okay".
    NotUsable,
    /// It is no PL011.
    NoDriver,
    /// A bus above it does not say where its registers are.
    OutOfReach,
}

impl Named {
    /// What a person in front of another line should know.
    #[must_use]
    pub const fn complaint(self) -> Option<&'static str> {
        match self {
            Self::Nothing | Self::Used => None,
            Self::NotThere => Some("is not in the device tree"),
            Self::NotUsable => Some("is not in use (its status, or that of a bus above it, is not \"okay\")"),
            Self::NoDriver => {
                Some("is not a PL011 (compatible \"arm,pl011\"), for which alone there is a driver")
            }
            Self::OutOfReach => Some("cannot be reached: a bus above it has no `ranges` for its registers"),
        }
    }
}

pub(super) const PL011: &str = "arm,pl011";
/// Finds the console; `known` is a PL011 among the root's children, if one was seen on the way.
pub(super) fn find(
    root: FdtNode<'_>,
    chosen: Option<FdtNode<'_>>,
    known: Option<FdtNode<'_>>,
    gic: Option<Controller>,
) -> (Option<Uart>, Named) {
    let (by_name, named) = match named(root, chosen) {
        None => (None, Named::Nothing),
        Some(device) => match device.and_then(|device| judge(&device, gic)) {
            Ok(uart) => (Some(uart), Named::Used),
            Err(named) => (None, named),
        },
    };
    let among_children = || judge(&DeviceNode::below_root(root, known?), gic).ok();
    let anywhere = || judge(&DeviceNode::first(root, &|device| judge(device, gic).is_ok())?, gic).ok();
    (by_name.or_else(among_children).or_else(anywhere), named)
}

/// Whether there is a PL011 that can be used.
fn judge(device: &DeviceNode<'_>, gic: Option<Controller>) -> Result<Uart, Named> {
    if !is_compatible(device.node(), PL011) {
        return Err(Named::NoDriver);
    }
    if !device.is_usable() {
        return Err(Named::NotUsable);
    }
    let base = device.registers().next().ok_or(Named::OutOfReach)?.start();
    let intid = gic.and_then(|gic| gic.interrupts(device).first().copied().flatten());
    Ok(Uart { base, intid: intid.filter(|intid| !intid.is_private()) })
}

/// The node that `/chosen` names as the console ("/chosen Node"); what follows a colon are its settings. An alias may stand for
/// the beginning of its path ("/aliases Node").
fn named<'a>(root: FdtNode<'a>, chosen: Option<FdtNode<'_>>) -> Option<Result<DeviceNode<'a>, Named>> {
    let chosen = chosen?;
    let property = chosen.property("stdout-path").or_else(|| chosen.property("linux,stdout-path"))?;
    let path = text(property.value())?.split(':').next()?;
    Some(at_path(root, path).ok_or(Named::NotThere))
}

fn at_path<'a>(root: FdtNode<'a>, path: &str) -> Option<DeviceNode<'a>> {
    if let Some(from_root) = path.strip_prefix('/') {
        return DeviceNode::of_root(root).below(from_root);
    }
    let (alias, rest) = path.split_once('/').map_or((path, None), |(alias, rest)| (alias, Some(rest)));
    let aliases = root.children().find(|node| node.name() == "aliases")?;
    let target = aliases.property(alias)?;
    let device = DeviceNode::of_root(root).below(text(target.value())?.strip_prefix('/')?)?;
    match rest {
        Some(rest) => device.below(rest),
        None => Some(device),
    }
}

/// A property that is one string.
fn text(value: &[u8]) -> Option<&str> {
    core::str::from_utf8(value).ok().map(|text| text.trim_end_matches('\0'))
}
