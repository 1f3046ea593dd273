// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names of memory types, as Arm writes them.

use core::fmt;

use super::{Cacheability, DeviceKind, MemoryType, Shareability, Stage2Type};

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NGnRnE => "nGnRnE",
            Self::NGnRE => "nGnRE",
            Self::NGRE => "nGRE",
            Self::GRE => "GRE",
        })
    }
}

impl fmt::Display for Cacheability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NonCacheable => "Non-cacheable",
            Self::WriteThrough => "Write-Through",
            Self::WriteBack => "Write-Back",
        })
    }
}

impl fmt::Display for Shareability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NonShareable => "Non-shareable",
            Self::InnerShareable => "Inner Shareable",
            Self::OuterShareable => "Outer Shareable",
        })
    }
}

fn normal(f: &mut fmt::Formatter<'_>, inner: Cacheability, outer: Cacheability) -> fmt::Result {
    if inner == outer {
        write!(f, "Normal {inner}")
    } else {
        write!(f, "Normal, inner {inner}, outer {outer}")
    }
}

impl fmt::Display for MemoryType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Device(kind) => write!(f, "Device-{kind}"),
            Self::Normal { inner, outer } => normal(f, inner, outer),
        }
    }
}

impl fmt::Display for Stage2Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Device(kind) => write!(f, "Device-{kind}"),
            Self::Normal { inner, outer } => normal(f, inner, outer),
            Self::NonCacheable => f.write_str("Normal Non-cacheable"),
            Self::ForcedWriteBack => f.write_str("forced Normal Write-Back"),
            Self::Stage1 => f.write_str("as stage 1 says"),
        }
    }
}
