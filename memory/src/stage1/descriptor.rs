// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stage-1 descriptors, and what their permissions add up to.
//!
//! Source: Arm ARM, "VMSAv8-64 descriptor formats", "Data access permissions", "Instruction execution permissions".

use super::{Regime, Update};
use crate::access::{Access, Permissions, Rights};
use crate::attributes::Shareability;
use crate::features::HardwareUpdates;

/// AP[1]: EL0 may access.
const AP_EL0: u64 = 1 << 6;
/// AP[2]: nobody may write.
const AP_READ_ONLY: u64 = 1 << 7;
const ACCESS_FLAG: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
const DIRTY_BIT_MODIFIER: u64 = 1 << 51;
const CONTIGUOUS: u64 = 1 << 52;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
const PXN_TABLE: u64 = 1 << 59;
const UXN_TABLE: u64 = 1 << 60;
/// APTable[0]: no access from EL0.
const AP_TABLE_NOT_EL0: u64 = 1 << 61;
/// APTable[1]: nobody may write.
const AP_TABLE_READ_ONLY: u64 = 1 << 62;

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
    pub(super) const fn accessed(self) -> bool {
        self.0 & ACCESS_FLAG != 0
    }

    pub(super) const fn global(self) -> bool {
        self.0 & NOT_GLOBAL == 0
    }

    pub(super) const fn contiguous(self) -> bool {
        self.0 & CONTIGUOUS != 0
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

    /// Read-only in the descriptor, and made writable by hardware on the first write: DBM with `TCR_EL1.HD`.
    const fn clean_but_writable(self, regime: &Regime) -> bool {
        self.0 & DIRTY_BIT_MODIFIER != 0 && matches!(regime.hardware_updates(), HardwareUpdates::DirtyState)
    }

    /// What hardware writes back on this access, which it allows.
    pub(super) const fn updated_by(self, access: Access, regime: &Regime) -> Option<Update> {
        let dirtied =
            matches!(access, Access::Write) && self.0 & AP_READ_ONLY != 0 && self.clean_but_writable(regime);
        match (self.accessed(), dirtied) {
            (false, _) => Some(Update::AccessFlag),
            (true, true) => Some(Update::DirtyState),
            (true, false) => None,
        }
    }

    /// The permissions of this leaf below tables that took `inherited` away; hierarchical permissions, WXN and PAN taken
    /// into account.
    pub(super) const fn permissions(self, inherited: TablePermissions, regime: &Regime) -> Permissions {
        let el0 = self.0 & AP_EL0 != 0 && !inherited.not_el0;
        let write = (self.0 & AP_READ_ONLY == 0 || self.clean_but_writable(regime)) && !inherited.read_only;
        let uxn = self.0 & UXN != 0 || inherited.uxn;
        let pxn = self.0 & PXN != 0 || inherited.pxn;
        let wxn = regime.write_implies_execute_never() && write;
        let execute_at_el0 = !(uxn || wxn && el0);
        // With EPAN (FEAT_PAN3) what EL0 can only execute counts too.
        let denied_by_pan = regime.pan && (el0 || (regime.enhanced_pan() && execute_at_el0));
        Permissions {
            el0: Rights { read: el0, write: el0 && write, execute: execute_at_el0 },
            el1: Rights {
                read: !denied_by_pan,
                write: write && !denied_by_pan,
                // What EL0 can write, EL1 never executes.
                execute: !(pxn || wxn || el0 && write),
            },
        }
    }
}
