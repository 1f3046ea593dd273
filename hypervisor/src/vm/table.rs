// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is kept by VM.

use alloc::boxed::Box;

use vambrace_ids::VmId;

/// A value for each VM of the bundle, found by the VM's id: one that is out of date finds nothing.
#[derive(Debug)]
pub struct VmTable<T> {
    /// By index, each with the VM that has the index now.
    entries: Box<[(VmId, T)]>,
}

impl<T> VmTable<T> {
    /// For `count` VMs, the first of their indexes. The only place that allocates.
    pub fn new(count: usize, value: impl Fn() -> T) -> Self {
        // Fewer than 65536, as a bundle has at most 1024 (`MAX_VMS`).
        Self { entries: (0..count).map(|index| (VmId::first(index as u16), value())).collect() }
    }

    /// The VM that has an index of the bundle's now.
    #[must_use]
    pub fn current(&self, wire_index: u16) -> Option<VmId> {
        self.entries.get(usize::from(wire_index)).map(|(id, _)| *id)
    }

    /// The VM's value, if the VM is the one that has its index now.
    #[must_use]
    pub fn get(&self, id: VmId) -> Option<&T> {
        self.entries.get(id.index()).filter(|(current, _)| *current == id).map(|(_, value)| value)
    }

    /// As [`VmTable::get`], to be changed.
    pub fn get_mut(&mut self, id: VmId) -> Option<&mut T> {
        self.entries.get_mut(id.index()).filter(|(current, _)| *current == id).map(|(_, value)| value)
    }

    /// Gives a VM's index to the next VM, whose id and value these are from now on. `None` if the id is out of date.
    pub fn replace(&mut self, id: VmId, value: T) -> Option<VmId> {
        let entry = self.entries.get_mut(id.index()).filter(|(current, _)| *current == id)?;
        *entry = (id.next(), value);
        Some(entry.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_out_of_date_finds_nothing() {
        let mut table = VmTable::new(3, || 'a');
        let old = table.current(1).unwrap();
        assert_eq!(table.get(old), Some(&'a'));
        let new = table.replace(old, 'b').unwrap();
        assert_eq!(table.get(old), None);
        assert_eq!(table.get_mut(old), None);
        assert_eq!(table.replace(old, 'c'), None);
        assert_eq!((table.get(new), table.current(1)), (Some(&'b'), Some(new)));
    }

    #[test]
    fn an_index_that_no_vm_has_finds_nothing() {
        let table = VmTable::new(3, || ());
        assert_eq!((table.current(3), table.get(VmId::first(3))), (None, None));
        assert!((0..3).all(|index| table.current(index) == Some(VmId::first(index))));
    }
}
