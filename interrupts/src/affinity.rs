// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which vCPU has which affinity.
//!
//! Affinities are kept packed, Aff3.Aff2.Aff1.Aff0 in 32 bits as GICR_TYPER has them, and sorted: a route is one
//! binary search, and the targets of an SGI, which share all but the low four bits, lie side by side.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use vambrace_ids::VcpuId;

/// An affinity, packed: Aff3 in bits 31:24, down to Aff0 in bits 7:0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Affinity(pub(crate) u32);

impl Affinity {
    /// Packs the affinity fields of MPIDR_EL1 (or GICD_IROUTER): Aff3 in bits 39:32, the others in bits 23:0.
    pub(crate) const fn from_mpidr(mpidr: u64) -> Self {
        Self((mpidr & 0xFF_FFFF) as u32 | ((mpidr >> 32 & 0xFF) as u32) << 24)
    }

    pub(crate) const fn aff0(self) -> u32 {
        self.0 & 0xFF
    }
}

/// The vCPUs by affinity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Affinities(pub(crate) Vec<(Affinity, VcpuId)>);

impl Affinities {
    /// Sorts the vCPUs' affinities, given in the order of the vCPUs: which is nearly always theirs, so that each one goes
    /// to the end. A general sort would be a twentieth of EL2's text.
    pub(crate) fn new(mpidrs: &[u64]) -> Self {
        let mut sorted = Vec::with_capacity(mpidrs.len());
        for (vcpu, &mpidr) in (0..).map(VcpuId::new).zip(mpidrs) {
            let entry = (Affinity::from_mpidr(mpidr), vcpu);
            let place = sorted.partition_point(|before| *before < entry);
            sorted.insert(place, entry);
        }
        Self(sorted)
    }

    /// Whether two vCPUs have the same affinity.
    pub(crate) fn has_duplicate(&self) -> bool {
        self.0.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0))
    }

    /// The vCPU of this affinity. Where there are 16 in a cluster and the clusters are full, as is usual, it is where it
    /// would be expected.
    #[inline]
    pub(crate) fn find(&self, affinity: Affinity) -> Option<VcpuId> {
        let expected = affinity.0 & 0xF | (affinity.0 >> 4 & 0xFF0);
        match self.0.get(expected as usize) {
            Some(entry) if entry.0 == affinity => Some(entry.1),
            _ => self.search(affinity),
        }
    }

    fn search(&self, affinity: Affinity) -> Option<VcpuId> {
        let place = self.0.binary_search_by_key(&affinity, |entry| entry.0).ok()?;
        self.0.get(place).map(|entry| entry.1)
    }

    /// The vCPUs of the 16 affinities from `first` on (a multiple of 16), each with its distance from `first`.
    pub(crate) fn sixteen_from(&self, first: Affinity) -> impl Iterator<Item = (u32, VcpuId)> + '_ {
        let place = self.0.partition_point(|entry| entry.0 < first);
        self.0
            .iter()
            .skip(place)
            .map(move |&(affinity, vcpu)| (affinity.0.wrapping_sub(first.0), vcpu))
            .take_while(|&(distance, _)| distance < 16)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn aff3_is_not_contiguous_in_mpidr() {
        assert_eq!(Affinity::from_mpidr(0x12_8034_5678), Affinity(0x1234_5678));
    }

    #[test]
    fn finds_by_affinity_not_by_order() {
        let map = Affinities::new(&[0x100, 0x0, 0x1_0000_0000, 0x3]);
        assert_eq!(map.find(Affinity(0x100)), Some(VcpuId::new(0)));
        assert_eq!(map.find(Affinity(0x100_0000)), Some(VcpuId::new(2)));
        assert_eq!(map.find(Affinity(0x1)), None);
        assert_eq!(
            map.sixteen_from(Affinity(0)).collect::<Vec<_>>(),
            [(0, VcpuId::new(1)), (3, VcpuId::new(3))]
        );
        assert!(!map.has_duplicate());
        assert!(Affinities::new(&[1, 2, 1]).has_duplicate());
    }
}
