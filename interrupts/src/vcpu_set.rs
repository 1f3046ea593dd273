// SPDX-License-Identifier: MIT OR Apache-2.0
//! A set of vCPUs, by index.
//!
//! Fixed size, so that it can be returned on any exit without allocating; a summary of the words in use makes the
//! usual sets, of none or one, cheap to ask and to walk.

use serde::{Deserialize, Serialize};

/// vCPUs a VM can have at most.
pub const MAX_VCPUS: usize = WORDS * 64;

const WORDS: usize = 16;

/// A set of vCPU indices: those whose interrupts changed and who have to look again.
#[must_use = "a vCPU that is not told may never see its interrupt"]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuSet {
    /// Bit `n`: word `n` is not zero.
    used: u16,
    words: [u64; WORDS],
}

impl VcpuSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { used: 0, words: [0; WORDS] }
    }

    /// Adds a vCPU. One beyond [`MAX_VCPUS`] is no vCPU, and is left out.
    pub fn insert(&mut self, vcpu: usize) {
        if let Some(word) = self.words.get_mut(vcpu / 64) {
            *word |= 1 << (vcpu % 64);
            self.used |= 1 << (vcpu / 64);
        }
    }

    /// Removes a vCPU.
    pub fn remove(&mut self, vcpu: usize) {
        if let Some(word) = self.words.get_mut(vcpu / 64) {
            *word &= !(1 << (vcpu % 64));
            if *word == 0 {
                self.used &= !(1 << (vcpu / 64));
            }
        }
    }

    /// Takes the lowest vCPU out.
    pub fn pop_first(&mut self) -> Option<usize> {
        let vcpu = self.iter().next()?;
        self.remove(vcpu);
        Some(vcpu)
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Self) {
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
        self.used |= other.used;
    }

    /// Whether the vCPU is in the set.
    #[must_use]
    pub fn contains(&self, vcpu: usize) -> bool {
        self.words.get(vcpu / 64).is_some_and(|word| word >> (vcpu % 64) & 1 != 0)
    }

    /// Whether no vCPU is in the set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The vCPUs, in rising order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        bits(self.used.into()).flat_map(|word| {
            let members = self.words.get(word as usize).copied().unwrap_or(0);
            bits(members).map(move |bit| word as usize * 64 + bit as usize)
        })
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
        let set: VcpuSet = [300, 0, 63, 64, 1023, 1024].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 300, 1023]);
        assert!(set.contains(300) && !set.contains(301) && !set.contains(1024));
    }

    #[test]
    fn the_last_member_of_a_word_empties_it() {
        let mut set = VcpuSet::new();
        assert!(set.is_empty());
        set.insert(70);
        set.insert(71);
        set.remove(70);
        assert!(!set.is_empty());
        set.remove(71);
        assert_eq!(set, VcpuSet::new());
    }

    #[test]
    fn extend_is_the_union() {
        let mut set: VcpuSet = [1, 200].into_iter().collect();
        set.extend(&[2, 200, 900].into_iter().collect());
        assert_eq!(set.iter().collect::<Vec<_>>(), [1, 2, 200, 900]);
    }
}
