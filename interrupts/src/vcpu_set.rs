// SPDX-License-Identifier: MIT OR Apache-2.0
//! A set of vCPUs, by index: whoever has to look again.
//!
//! It is returned by every change of the GIC, so it is two words and goes in registers. The first 64 vCPUs have a bit each;
//! further ones one for 64 together, which are told all if one is to be told. Who is told for nothing looks, finds
//! nothing, and goes on.

use serde::{Deserialize, Serialize};

/// vCPUs a VM can have at most.
pub const MAX_VCPUS: usize = GROUPS * 64;

/// Groups of 64, the first of which has a bit for each.
const GROUPS: usize = 16;

/// A set of vCPU indices: those whose interrupts changed and who have to look again, and perhaps others from 64 on.
#[must_use = "a vCPU that is not told may never see its interrupt"]
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
    pub const fn insert(&mut self, vcpu: usize) {
        match vcpu / 64 {
            0 => self.low |= 1 << vcpu,
            group if group < GROUPS => self.groups |= 1 << group,
            _ => {}
        }
    }

    /// Removes a vCPU; from 64 on it stays, with its group.
    #[inline]
    pub const fn remove(&mut self, vcpu: usize) {
        if vcpu < 64 {
            self.low &= !(1 << vcpu);
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
    pub const fn contains(&self, vcpu: usize) -> bool {
        match vcpu / 64 {
            0 => self.low >> vcpu & 1 != 0,
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
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let low = bits(self.low).map(|vcpu| vcpu as usize);
        low.chain(bits(self.groups.into()).flat_map(|group| (0..64).map(move |n| group as usize * 64 + n)))
    }
}

impl FromIterator<usize> for VcpuSet {
    fn from_iter<I: IntoIterator<Item = usize>>(vcpus: I) -> Self {
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

    #[test]
    fn members_come_out_in_order() {
        let set: VcpuSet = [63, 0, 1024].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63]);
        assert!(set.contains(63) && !set.contains(1) && !set.contains(1024));
    }

    #[test]
    fn from_64_on_a_group_is_told_together() {
        let mut set: VcpuSet = [5, 130].into_iter().collect();
        assert!(set.contains(130) && set.contains(128) && !set.contains(127) && !set.contains(192));
        assert_eq!(set.iter().count(), 65);
        set.remove(128);
        assert!(set.contains(130), "nobody is left out");
        set.remove(5);
        assert!(!set.is_empty());
    }

    #[test]
    fn the_last_member_empties_it() {
        let mut set = VcpuSet::new();
        assert!(set.is_empty());
        set.insert(40);
        set.insert(41);
        set.remove(40);
        assert_eq!(set.iter().collect::<Vec<_>>(), [41]);
        set.remove(41);
        assert_eq!(set, VcpuSet::new());
    }

    #[test]
    fn extend_is_the_union() {
        let mut set: VcpuSet = [1, 20].into_iter().collect();
        set.extend(&[2, 20, 900].into_iter().collect());
        assert_eq!(set.iter().take(3).collect::<Vec<_>>(), [1, 2, 20]);
        assert!(set.contains(900));
    }
}
