// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may have another request under way, and who is next.
//!
//! Each VM's disk has a slot of its own: where nothing of it is under way, the next request always finds one. The rest is
//! shared by VM, so that a VM gets no more of it by having more disks: each may have its part at any time, whatever the others do.
//! Who is refused waits, and the first who waits is woken when a slot is free that it may have.

use alloc::vec::Vec;

use vambrace_ids::VmId;

use crate::invariant;

/// Slots beyond those that belong to a disk.
pub const SHARED: usize = 16;

/// Whose a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The VM.
    pub vm: VmId,
    /// Which of the disks there have been.
    disk: u64,
}

/// Whether a disk that waits has been woken to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wakeup {
    Due,
    Sent,
}

/// Since when a disk waits, by the count of refusals.
#[derive(Clone, Copy, Debug)]
struct Wait {
    since: u64,
    wakeup: Wakeup,
}

/// A VM's disk.
#[derive(Clone, Copy, Debug)]
struct Attached {
    owner: Owner,
    /// Slots that it has.
    slots: usize,
    waits: Option<Wait>,
}

/// A VM that has any of them.
#[derive(Clone, Copy, Debug)]
struct Tenant {
    vm: VmId,
    disks: usize,
    /// What it has of the slots that are shared.
    shared: usize,
}

/// The VMs' disks that lie on one of the board.
#[derive(Debug)]
pub(super) struct Sharing {
    attached: Vec<Attached>,
    /// By VM.
    tenants: Vec<Tenant>,
    /// Disks that have no slot now, and have a right to one.
    owed: usize,
    /// Disks that there have been.
    disks_so_far: u64,
    refusals: u64,
}

impl Sharing {
    /// Nobody's disk, and memory for as many as there may ever be.
    pub(super) fn new(most: usize) -> Self {
        Self {
            attached: Vec::with_capacity(most),
            tenants: Vec::with_capacity(most),
            owed: 0,
            disks_so_far: 0,
            refusals: 0,
        }
    }

    /// Another disk of a VM, if there may be one more.
    pub(super) fn attach(&mut self, vm: VmId) -> Option<Owner> {
        if self.attached.len() == self.attached.capacity() {
            return None;
        }
        let owner = Owner { vm, disk: self.disks_so_far };
        self.disks_so_far = self.disks_so_far.wrapping_add(1);
        self.attached.push(Attached { owner, slots: 0, waits: None });
        self.owed = self.owed.saturating_add(1);
        match self.find(vm) {
            Ok(tenant) => {
                if let Some(tenant) = self.tenants.get_mut(tenant) {
                    tenant.disks = tenant.disks.saturating_add(1);
                }
            }
            Err(at) => self.tenants.insert(at, Tenant { vm, disks: 1, shared: 0 }),
        }
        Some(owner)
    }

    /// A disk is no more. What it has under way goes on without it.
    pub(super) fn detach(&mut self, owner: Owner) {
        let Some(at) = self.attached.iter().position(|disk| disk.owner == owner) else {
            invariant!("who detaches has attached")
        };
        let disk = self.attached.remove(at);
        if disk.slots == 0 {
            self.owed = self.owed.saturating_sub(1);
        }
        let Ok(at) = self.find(owner.vm) else { invariant!("a VM with a disk is a tenant") };
        if let Some(tenant) = self.tenants.get_mut(at) {
            tenant.shared = tenant.shared.saturating_sub(disk.slots.saturating_sub(1));
            tenant.disks = tenant.disks.saturating_sub(1);
            if tenant.disks == 0 {
                self.tenants.remove(at);
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.attached.len()
    }

    /// The VMs that have any.
    pub(super) fn vms(&self) -> impl Iterator<Item = VmId> {
        self.tenants.iter().map(|tenant| tenant.vm)
    }

    /// How many disks have no slot now, and have a right to one.
    pub(super) fn owed(&self) -> usize {
        self.owed
    }

    fn find(&self, vm: VmId) -> Result<usize, usize> {
        self.tenants.binary_search_by_key(&vm, |tenant| tenant.vm)
    }

    /// What a VM may have of the shared slots at any time.
    fn part(&self) -> usize {
        (SHARED / self.tenants.len().max(1)).max(1)
    }

    /// What a VM has of the shared slots.
    fn shared(&mut self, vm: VmId) -> Option<&mut usize> {
        let at = self.find(vm).ok()?;
        self.tenants.get_mut(at).map(|tenant| &mut tenant.shared)
    }

    /// Whether a disk may have one of `free` slots.
    fn may_take(&self, disk: &Attached, free: usize) -> bool {
        if disk.slots == 0 {
            return free > 0;
        }
        let tenant = self.find(disk.owner.vm).ok().and_then(|at| self.tenants.get(at));
        free > self.owed && tenant.is_some_and(|tenant| tenant.shared < self.part())
    }

    /// Gives a disk one of `free` slots. If that cannot be it waits from now on, unless it did before.
    pub(super) fn take(&mut self, owner: Owner, free: usize) -> Option<()> {
        let at = self.attached.iter().position(|disk| disk.owner == owner)?;
        let is_given = self.attached.get(at).is_some_and(|disk| self.may_take(disk, free));
        let disk = self.attached.get_mut(at)?;
        if !is_given {
            let since = disk.waits.map_or(self.refusals, |wait| wait.since);
            disk.waits = Some(Wait { since, wakeup: Wakeup::Due });
            self.refusals = self.refusals.wrapping_add(1);
            return None;
        }
        let had = disk.slots;
        disk.slots = had.saturating_add(1);
        disk.waits = None;
        if had == 0 {
            self.owed = self.owed.saturating_sub(1);
        } else if let Some(shared) = self.shared(owner.vm) {
            *shared = shared.saturating_add(1);
        }
        Some(())
    }

    /// A disk's slot is free again.
    pub(super) fn give_back(&mut self, owner: Owner) {
        // What a disk that is no more had under way is in nobody's account.
        let Some(disk) = self.attached.iter_mut().find(|disk| disk.owner == owner) else { return };
        let Some(left) = disk.slots.checked_sub(1) else { invariant!("who gives a slot back had one") };
        disk.slots = left;
        if left == 0 {
            self.owed = self.owed.saturating_add(1);
        } else if let Some(shared) = self.shared(owner.vm) {
            *shared = shared.saturating_sub(1);
        }
    }

    /// The VM of the first disk that waits, does not know yet that it may try again, and may have one of `free` slots.
    pub(super) fn tell_first(&mut self, free: usize) -> Option<VmId> {
        let waiting = self.attached.iter().enumerate().filter_map(|(at, disk)| {
            let wait = disk.waits.filter(|wait| wait.wakeup == Wakeup::Due)?;
            self.may_take(disk, free).then_some((wait.since, at))
        });
        let (since, at) = waiting.min()?;
        let disk = self.attached.get_mut(at)?;
        disk.waits = Some(Wait { since, wakeup: Wakeup::Sent });
        Some(disk.owner.vm)
    }
}
