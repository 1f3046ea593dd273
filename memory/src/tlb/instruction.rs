// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TLBI instructions as software issues them: encodings, who may, and what becomes of them.
//!
//! `TLBI` is `SYS` with op0 = 1 and CRn = 8; op1, CRm and op2 say which. CRn = 9 holds the nXS variants (FEAT_XS), which
//! are not modelled: they complete differently, and no VM is shown them.
//!
//! Source: Arm ARM, "A64 System instructions for TLB maintenance"; `HCR_EL2`.

use core::fmt;

use super::Scope;

/// A TLBI instruction without its shareability, by Arm's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Arm's, and the table below says the rest")]
#[rustfmt::skip]
pub enum Operation {
    Vmalle1, Vae1, Aside1, Vaae1, Vale1, Vaale1,
    Rvae1, Rvaae1, Rvale1, Rvaale1,
    Ipas2e1, Ripas2e1, Ipas2le1, Ripas2le1,
    Alle2, Vae2, Alle1, Vale2, Vmalls12e1,
    Rvae2, Rvale2,
}

/// How the instructions of one operation are encoded.
struct Row {
    operation: Operation,
    name: &'static str,
    op1: u8,
    /// CRm and op2 of the local form, of the IS form and of the OS form (FEAT_TLBIOS).
    forms: [(u8, u8); 3],
}

const fn row(operation: Operation, name: &'static str, op1: u8, forms: [(u8, u8); 3]) -> Row {
    Row { operation, name, op1, forms }
}

/// All instructions. Those whose name begins with R are of FEAT_TLBIRANGE.
#[rustfmt::skip]
const TABLE: [Row; 21] = [
    //                                             op1    local   IS      OS
    row(Operation::Vmalle1,    "VMALLE1",    0, [(7, 0), (3, 0), (1, 0)]),
    row(Operation::Vae1,       "VAE1",       0, [(7, 1), (3, 1), (1, 1)]),
    row(Operation::Aside1,     "ASIDE1",     0, [(7, 2), (3, 2), (1, 2)]),
    row(Operation::Vaae1,      "VAAE1",      0, [(7, 3), (3, 3), (1, 3)]),
    row(Operation::Vale1,      "VALE1",      0, [(7, 5), (3, 5), (1, 5)]),
    row(Operation::Vaale1,     "VAALE1",     0, [(7, 7), (3, 7), (1, 7)]),
    row(Operation::Rvae1,      "RVAE1",      0, [(6, 1), (2, 1), (5, 1)]),
    row(Operation::Rvaae1,     "RVAAE1",     0, [(6, 3), (2, 3), (5, 3)]),
    row(Operation::Rvale1,     "RVALE1",     0, [(6, 5), (2, 5), (5, 5)]),
    row(Operation::Rvaale1,    "RVAALE1",    0, [(6, 7), (2, 7), (5, 7)]),
    row(Operation::Ipas2e1,    "IPAS2E1",    4, [(4, 1), (0, 1), (4, 0)]),
    row(Operation::Ripas2e1,   "RIPAS2E1",   4, [(4, 2), (0, 2), (4, 3)]),
    row(Operation::Ipas2le1,   "IPAS2LE1",   4, [(4, 5), (0, 5), (4, 4)]),
    row(Operation::Ripas2le1,  "RIPAS2LE1",  4, [(4, 6), (0, 6), (4, 7)]),
    row(Operation::Alle2,      "ALLE2",      4, [(7, 0), (3, 0), (1, 0)]),
    row(Operation::Vae2,       "VAE2",       4, [(7, 1), (3, 1), (1, 1)]),
    row(Operation::Alle1,      "ALLE1",      4, [(7, 4), (3, 4), (1, 4)]),
    row(Operation::Vale2,      "VALE2",      4, [(7, 5), (3, 5), (1, 5)]),
    row(Operation::Vmalls12e1, "VMALLS12E1", 4, [(7, 6), (3, 6), (1, 6)]),
    row(Operation::Rvae2,      "RVAE2",      4, [(6, 1), (2, 1), (5, 1)]),
    row(Operation::Rvale2,     "RVALE2",     4, [(6, 5), (2, 5), (5, 5)]),
];

const SCOPES: [Scope; 3] = [Scope::Local, Scope::InnerShareable, Scope::OuterShareable];

/// A TLBI instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub operation: Operation,
    /// Where.
    pub scope: Scope,
}

impl Instruction {
    /// Decodes the fields of the `SYS` instruction (op0 = 1); `None` if they are of no TLBI modelled here.
    #[must_use]
    pub fn from_encoding(op1: u8, crn: u8, crm: u8, op2: u8) -> Option<Self> {
        if crn != 8 {
            return None;
        }
        TABLE.iter().filter(|row| row.op1 == op1).find_map(|row| {
            let form = row.forms.iter().position(|&form| form == (crm, op2))?;
            Some(Self { operation: row.operation, scope: SCOPES[form] })
        })
    }

    /// Every instruction there is.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().flat_map(|row| SCOPES.map(|scope| Self { operation: row.operation, scope }))
    }

    /// op1, CRn, CRm and op2.
    #[must_use]
    pub fn encoding(self) -> (u8, u8, u8, u8) {
        let row = self.row();
        let (crm, op2) = row.forms[self.scope as usize];
        (row.op1, 8, crm, op2)
    }

    fn row(self) -> &'static Row {
        // The table is in the order of the enumeration; a test sees to that.
        &TABLE[self.operation as usize]
    }

    /// What the instruction amounts to when `issuer` executes it.
    ///
    /// # Errors
    /// [`Refused`] if it does nothing to any TLB.
    pub fn executed_by(self, issuer: Issuer) -> Result<Self, Refused> {
        match issuer {
            Issuer::El1 { hcr } => self.executed_at_el1(hcr),
            Issuer::El2 { hcr } if self.is_for_host(hcr) => Err(Refused::HostExtensions),
            Issuer::El2 { .. } => Ok(self),
        }
    }

    /// Whether EL2 would do it to the EL2&0 regime: E2H makes that of EL2's own regime, and with TGE of EL1&0's stage 1.
    fn is_for_host(self, hcr: u64) -> bool {
        use Operation::{Alle2, Rvae2, Rvale2, Vae2, Vale2};
        let of_el2 = matches!(self.operation, Alle2 | Vae2 | Vale2 | Rvae2 | Rvale2);
        let of_stage1 = self.row().op1 == 0;
        hcr & HCR_E2H != 0 && (of_el2 || of_stage1 && hcr & HCR_TGE != 0)
    }

    fn executed_at_el1(self, hcr: u64) -> Result<Self, Refused> {
        if self.row().op1 != 0 {
            return Err(Refused::Undefined);
        }
        let trap = match self.scope {
            Scope::Local => 0,
            Scope::InnerShareable => HCR_TTLBIS,
            Scope::OuterShareable => HCR_TTLBOS,
        };
        if hcr & (trap | HCR_TTLB) != 0 {
            return Err(Refused::Trapped);
        }
        match self.scope {
            Scope::Local if hcr & HCR_FB != 0 => Ok(Self { scope: Scope::InnerShareable, ..self }),
            _ => Ok(self),
        }
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.scope {
            Scope::Local => "",
            Scope::InnerShareable => "IS",
            Scope::OuterShareable => "OS",
        };
        write!(f, "{}{suffix}", self.row().name)
    }
}

/// Local TLBIs of EL1 count as their IS forms.
const HCR_FB: u64 = 1 << 9;
const HCR_TTLB: u64 = 1 << 25;
const HCR_TGE: u64 = 1 << 27;
const HCR_E2H: u64 = 1 << 34;
const HCR_TTLBIS: u64 = 1 << 54;
const HCR_TTLBOS: u64 = 1 << 55;

/// Who executes a TLBI. Either way those of EL1&0 act on the VMID in `VTTBR_EL2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// A guest, under this `HCR_EL2`.
    El1 {
        /// `HCR_EL2`: FB, TTLB, TTLBIS and TTLBOS count.
        hcr: u64,
    },
    /// The hypervisor.
    El2 {
        /// `HCR_EL2`: E2H counts, and next to it TGE.
        hcr: u64,
    },
}

/// Why a TLBI has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// EL1 has no such instruction.
    #[error("undefined at EL1")]
    Undefined,
    /// It goes to EL2, which has to do something about it.
    #[error("trapped to EL2")]
    Trapped,
    /// The EL2&0 regime is not modelled.
    #[error("with HCR_EL2.E2H this is for the EL2&0 regime, which the model has not")]
    HostExtensions,
}
