// SPDX-License-Identifier: MIT OR Apache-2.0
//! A set of vCPUs: whoever has to look again.
//!
//! It is returned by every change of the GIC, so it is two words and goes in registers. The first 64 vCPUs have a bit each;
//! further ones one for 64 together, which are kicked all if one is to be kicked. One that is kicked for nothing looks, finds
//! nothing, and goes on.

use serde::{Deserialize, Serialize};
use vambrace_ids::VcpuId;

/// vCPUs a VM can have at most.
pub const MAX_VCPUS: usize = GROUPS * 64;

/// Groups of 64, the first of which has a bit for each.
const GROUPS: usize = 16;

/// A set of vCPUs: those whose interrupts changed and who have to look again, and perhaps others from 64 on.
#[must_use = "a vCPU that is not kicked may never see its interrupt"]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuSet {
    /// vCPUs 0 to 63.
    low: u64,
    /// Bit `n`: vCPUs 64 `n` to 64 `n` + 63. Bit 0 is not used.
    groups: u16,
}

impl VcpuSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { low: 0, groups: 0 }
    }

    /// Adds a vCPU. One beyond [`MAX_VCPUS`] is no vCPU, and is left out.
    #[inline]
    pub const fn insert(&mut self, vcpu: VcpuId) {
        match vcpu.index() / 64 {
            0 => self.low |= 1 << vcpu.index(),
            group if group < GROUPS => self.groups |= 1 << group,
            _ => {}
        }
    }

    /// Removes a vCPU; from 64 on it stays, with its group.
    #[inline]
    pub const fn remove(&mut self, vcpu: VcpuId) {
        if vcpu.index() < 64 {
            self.low &= !(1 << vcpu.index());
        }
    }

    /// Adds all of `other`.
    #[inline]
    pub const fn extend(&mut self, other: &Self) {
        self.low |= other.low;
        self.groups |= other.groups;
    }

    /// Whether the vCPU is in the set.
    #[must_use]
    pub const fn contains(&self, vcpu: VcpuId) -> bool {
        match vcpu.index() / 64 {
            0 => self.low >> vcpu.index() & 1 != 0,
            group => group < GROUPS && self.groups >> group & 1 != 0,
        }
    }

    /// Whether no vCPU is in the set.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.low == 0 && self.groups == 0
    }

    /// The vCPUs, in rising order.
    pub fn iter(&self) -> impl Iterator<Item = VcpuId> + use<> {
        let low = bits(self.low).map(|vcpu| vcpu as u16);
        let groups = bits(self.groups.into()).flat_map(|group| (0..64).map(move |n| group as u16 * 64 + n));
        low.chain(groups).map(VcpuId::new)
    }
}

impl FromIterator<VcpuId> for VcpuSet {
    fn from_iter<I: IntoIterator<Item = VcpuId>>(vcpus: I) -> Self {
        let mut set = Self::new();
        for vcpu in vcpus {
            set.insert(vcpu);
        }
        set
    }
}

/// The numbers of the bits that are set, in rising order.
pub(crate) fn bits(mut value: u64) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        if value == 0 {
            return None;
        }
        let bit = value.trailing_zeros();
        value &= value - 1;
        Some(bit)
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn set(vcpus: &[u16]) -> VcpuSet {
        vcpus.iter().copied().map(VcpuId::new).collect()
    }

    fn contains(set: &VcpuSet, vcpu: u16) -> bool {
        set.contains(VcpuId::new(vcpu))
    }

    fn members(set: &VcpuSet) -> Vec<u16> {
        set.iter().map(VcpuId::number).collect()
    }

    #[test]
    fn members_come_out_in_order() {
        let set = set(&[63, 0, 1024]);
        assert_eq!(members(&set), [0, 63]);
        assert!(contains(&set, 63) && !contains(&set, 1) && !contains(&set, 1024));
    }

    #[test]
    fn from_64_on_a_group_is_kicked_together() {
        let mut set = set(&[5, 130]);
        assert!(contains(&set, 130) && contains(&set, 128) && !contains(&set, 127) && !contains(&set, 192));
        assert_eq!(set.iter().count(), 65);
        set.remove(VcpuId::new(128));
        assert!(contains(&set, 130), "nobody is left out");
        set.remove(VcpuId::new(5));
        assert!(!set.is_empty());
    }

    #[test]
    fn the_last_member_empties_it() {
        let mut set = VcpuSet::new();
        assert!(set.is_empty());
        set.insert(VcpuId::new(40));
        set.insert(VcpuId::new(41));
        set.remove(VcpuId::new(40));
        assert_eq!(members(&set), [41]);
        set.remove(VcpuId::new(41));
        assert_eq!(set, VcpuSet::new());
    }

    #[test]
    fn extend_is_the_union() {
        let mut set = set(&[1, 20]);
        set.extend(&self::set(&[2, 20, 900]));
        assert_eq!(members(&set)[..3], [1, 2, 20]);
        assert!(contains(&set, 900));
    }
}
