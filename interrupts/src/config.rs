// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a virtual GIC is built from.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vambrace_ids::VcpuId;

use crate::affinity::Affinities;
use crate::vcpu_set::MAX_VCPUS;

/// SPIs there can be: INTIDs 32 to 1019.
const MAX_SPIS: u32 = 988;

/// The shape of a VM's GIC and of the hardware's virtual CPU interface under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VgicConfig {
    /// Each vCPU's affinity, as the affinity fields of its MPIDR_EL1: Aff3 in bits 39:32, Aff2 to Aff0 in bits
    /// 23:0. Other bits are ignored.
    pub affinities: Vec<u64>,
    /// The last vCPU of each contiguous region of redistributors: GICR_TYPER.Last is set there.
    pub region_ends: Vec<VcpuId>,
    /// How many SPIs: INTIDs 32 up to 32 + `spi_count`.
    pub spi_count: u32,
    /// Priority bits of the virtual CPU interface: ICH_VTR_EL2.PRIbits + 1, 5 to 8.
    pub priority_bits: u8,
    /// Preemption bits of the virtual CPU interface: ICH_VTR_EL2.PREbits + 1, 5 to 7.
    pub preemption_bits: u8,
    /// List registers: ICH_VTR_EL2.ListRegs + 1, 1 to 16.
    pub list_registers: u8,
}

impl VgicConfig {
    /// One region of redistributors, 224 SPIs, and the least a virtual CPU interface may have, but four list
    /// registers: as on most machines.
    #[must_use]
    pub fn new(affinities: Vec<u64>) -> Self {
        let region_ends = affinities.len().checked_sub(1).and_then(VcpuId::from_index).into_iter().collect();
        Self {
            affinities,
            region_ends,
            spi_count: 224,
            priority_bits: 5,
            preemption_bits: 5,
            list_registers: 4,
        }
    }

    /// Finds out whether such a GIC can be.
    ///
    /// # Errors
    /// The first [`ConfigError`] there is.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.affinities.is_empty() || self.affinities.len() > MAX_VCPUS {
            return Err(ConfigError::VcpuCount(self.affinities.len()));
        }
        if Affinities::new(&self.affinities).has_duplicate() {
            return Err(ConfigError::DuplicateAffinity);
        }
        if let Some(&end) = self.region_ends.iter().find(|end| end.index() >= self.affinities.len()) {
            return Err(ConfigError::RegionEnd(end));
        }
        if self.spi_count > MAX_SPIS {
            return Err(ConfigError::SpiCount(self.spi_count));
        }
        if !(5..=8).contains(&self.priority_bits)
            || !(5..=7).contains(&self.preemption_bits)
            || self.preemption_bits > self.priority_bits
        {
            return Err(ConfigError::PriorityBits);
        }
        if !(1..=16).contains(&self.list_registers) {
            return Err(ConfigError::ListRegisters(self.list_registers));
        }
        Ok(())
    }
}

/// Why a [`VgicConfig`] describes no GIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// No vCPU, or more than [`MAX_VCPUS`].
    #[error("{0} vCPUs: a virtual GIC has 1 to {MAX_VCPUS}")]
    VcpuCount(usize),
    /// Two vCPUs with one affinity.
    #[error("two vCPUs have the same affinity")]
    DuplicateAffinity,
    /// A region of redistributors that ends past the last vCPU.
    #[error("a redistributor region ends at vCPU {0}, which does not exist")]
    RegionEnd(VcpuId),
    /// More SPIs than INTIDs.
    #[error("{0} SPIs: a GIC has at most {MAX_SPIS}")]
    SpiCount(u32),
    /// Priority or preemption bits that the architecture does not allow.
    #[error("a virtual CPU interface has 5 to 8 priority bits, and 5 to 7 preemption bits of these")]
    PriorityBits,
    /// A saved state whose parts contradict each other.
    #[error("the saved state of the interrupt controller contradicts itself")]
    Inconsistent,
    /// No list register, or more than 16.
    #[error("{0} list registers: a virtual CPU interface has 1 to 16")]
    ListRegisters(u8),
}
