// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stage-1 descriptors, and what their permissions add up to.
//!
//! Source: Arm ARM, "VMSAv8-64 descriptor formats", "Data access permissions", "Instruction execution permissions".

use super::{Access, El, Granule, Regime};
use crate::attributes::Shareability;

const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;
/// AP[1]: EL0 may access.
const AP_EL0: u64 = 1 << 6;
/// AP[2]: nobody may write.
const AP_READ_ONLY: u64 = 1 << 7;
const ACCESS_FLAG: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
const DIRTY_BIT_MODIFIER: u64 = 1 << 51;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
const PXN_TABLE: u64 = 1 << 59;
const UXN_TABLE: u64 = 1 << 60;
/// APTable[0]: no access from EL0.
const AP_TABLE_NOT_EL0: u64 = 1 << 61;
/// APTable[1]: nobody may write.
const AP_TABLE_READ_ONLY: u64 = 1 << 62;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// What a descriptor is at its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Invalid,
    Table,
    /// A block or page.
    Leaf,
}

/// What the tables on the way take away.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TablePermissions {
    not_el0: bool,
    read_only: bool,
    pxn: bool,
    uxn: bool,
}

impl TablePermissions {
    /// What both take away.
    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            not_el0: self.not_el0 || other.not_el0,
            read_only: self.read_only || other.read_only,
            pxn: self.pxn || other.pxn,
            uxn: self.uxn || other.uxn,
        }
    }
}

/// A descriptor as read from the guest's tables, in little-endian order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor(pub(super) u64);

impl Descriptor {
    pub(super) const fn kind(self, granule: Granule, level: u8) -> Kind {
        match (self.0 & VALID != 0, self.0 & TABLE_OR_PAGE != 0) {
            (true, true) if level < 3 => Kind::Table,
            (true, true) => Kind::Leaf,
            (true, false) if granule.has_blocks(level) => Kind::Leaf,
            _ => Kind::Invalid,
        }
    }

    /// The output address, or the next table's, aligned to `size` (a power of two, at least 4 KiB).
    pub(super) const fn output(self, size: u64) -> u64 {
        self.0 & ADDRESS & !(size - 1)
    }

    pub(super) const fn accessed(self) -> bool {
        self.0 & ACCESS_FLAG != 0
    }

    pub(super) const fn global(self) -> bool {
        self.0 & NOT_GLOBAL == 0
    }

    pub(super) const fn attribute_index(self) -> u64 {
        self.0 >> 2 & 0b111
    }

    pub(super) const fn shareability(self) -> Shareability {
        Shareability::from_bits(self.0 >> 8)
    }

    pub(super) const fn table_permissions(self) -> TablePermissions {
        TablePermissions {
            not_el0: self.0 & AP_TABLE_NOT_EL0 != 0,
            read_only: self.0 & AP_TABLE_READ_ONLY != 0,
            pxn: self.0 & PXN_TABLE != 0,
            uxn: self.0 & UXN_TABLE != 0,
        }
    }

    /// The permissions of this leaf below tables that took `inherited` away.
    pub(super) const fn permissions(self, inherited: TablePermissions, regime: &Regime) -> Permissions {
        let clean_but_writable = self.0 & DIRTY_BIT_MODIFIER != 0 && regime.hardware_dirty_state();
        let el0 = self.0 & AP_EL0 != 0 && !inherited.not_el0;
        let write = (self.0 & AP_READ_ONLY == 0 || clean_but_writable) && !inherited.read_only;
        let uxn = self.0 & UXN != 0 || inherited.uxn;
        let pxn = self.0 & PXN != 0 || inherited.pxn;
        let wxn = regime.write_implies_execute_never() && write;
        Permissions {
            el0,
            write,
            execute_at_el0: !(uxn || wxn && el0),
            // What EL0 can write, EL1 never executes.
            execute_at_el1: !(pxn || wxn || el0 && write),
        }
    }
}

/// What a leaf allows, hierarchical permissions and WXN taken into account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permissions {
    /// EL0 may access data.
    el0: bool,
    /// Whoever may access data may write it.
    write: bool,
    execute_at_el0: bool,
    execute_at_el1: bool,
}

impl Permissions {
    pub(super) const fn allow(self, access: Access, el: El, regime: &Regime) -> bool {
        match (access, el) {
            (Access::Execute, El::El0) => self.execute_at_el0,
            (Access::Execute, El::El1) => self.execute_at_el1,
            (Access::Read, El::El0) => self.el0,
            (Access::Write, El::El0) => self.el0 && self.write,
            (Access::Read, El::El1) => !self.denied_by_pan(regime),
            (Access::Write, El::El1) => self.write && !self.denied_by_pan(regime),
        }
    }

    /// PAN; with EPAN (FEAT_PAN3) what EL0 can only execute counts too.
    const fn denied_by_pan(self, regime: &Regime) -> bool {
        regime.pan && (self.el0 || (regime.enhanced_pan() && self.execute_at_el0))
    }
}
