// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which vCPU runs on a physical CPU, and for how long.
//!
//! Each physical CPU has its own [`RunQueue`], so nothing here is shared. It is fair by virtual time: running
//! costs a vCPU virtual time in inverse proportion to its weight, and the one with the least goes next, so
//! that the shares of those that always want to run are as their weights. A vCPU that wakes goes first, on a
//! credit of at most half a slice: it is answered soon, and sleeping earns it no more than its share. Times
//! are counts of the system counter. Only [`RunQueue::add`] allocates.

use alloc::vec::Vec;
use core::num::{NonZeroU32, NonZeroU64};

/// The vCPUs of one physical CPU, named by `Id`.
#[derive(Clone, Debug)]
pub struct RunQueue<Id> {
    entities: Vec<Entity<Id>>,
    running: Option<Running<Id>>,
    /// The least virtual time of any that are runnable. Never goes back.
    floor: u128,
    slice: u64,
}

#[derive(Clone, Debug)]
struct Entity<Id> {
    id: Id,
    /// Virtual time that one count costs.
    cost: u64,
    /// Virtual time used.
    used: u128,
    runnable: bool,
}

#[derive(Clone, Copy, Debug)]
struct Running<Id> {
    id: Id,
    slice_end: Option<u64>,
}

/// Which vCPU to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick<Id> {
    /// Its name.
    pub id: Id,
    /// When to [pick](RunQueue::pick) again at the latest; `None` while no other wants to run.
    pub slice_end: Option<u64>,
}

/// The vCPU is in the queue already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the vCPU is in the run queue already")]
pub struct AlreadyQueued;

/// Virtual time that one count costs at weight 1.
const UNIT_COST: u64 = 1 << 32;

impl<Id: Copy + Eq> RunQueue<Id> {
    /// An empty queue whose slices are `slice` counts long.
    #[must_use]
    pub const fn new(slice: NonZeroU64) -> Self {
        Self { entities: Vec::new(), running: None, floor: 0, slice: slice.get() }
    }

    /// Adds a vCPU, blocked.
    ///
    /// # Errors
    /// [`AlreadyQueued`] when there is one of that name.
    pub fn add(&mut self, id: Id, weight: NonZeroU32) -> Result<(), AlreadyQueued> {
        if self.entities.iter().any(|entity| entity.id == id) {
            return Err(AlreadyQueued);
        }
        let cost = UNIT_COST / u64::from(weight.get());
        self.entities.push(Entity { id, cost: cost.max(1), used: self.floor, runnable: false });
        Ok(())
    }

    /// Removes a vCPU; no effect when it is not there.
    pub fn remove(&mut self, id: Id) {
        self.stop_if_running(id);
        self.entities.retain(|entity| entity.id != id);
    }

    /// A vCPU has something to do. [Pick](Self::pick) afterwards: it may have to go first.
    pub fn wake(&mut self, id: Id) {
        let (floor, slice) = (self.floor, self.slice);
        let Some(entity) = self.entity_mut(id) else { return };
        if entity.runnable {
            return;
        }
        entity.runnable = true;
        let credit = u128::from(slice / 2) * u128::from(entity.cost);
        entity.used = entity.used.max(floor.saturating_sub(credit));
        let used = entity.used;
        let running = self.running.and_then(|running| self.entity(running.id));
        if running.is_some_and(|running| used < running.used) {
            self.running = None;
        }
    }

    /// A vCPU has nothing to do until it is woken. [Pick](Self::pick) afterwards.
    pub fn block(&mut self, id: Id) {
        self.stop_if_running(id);
        if let Some(entity) = self.entity_mut(id) {
            entity.runnable = false;
        }
        self.raise_floor();
    }

    /// A vCPU has run for `ran` counts. To be said before [`wake`](Self::wake), [`block`](Self::block) or
    /// [`pick`](Self::pick), which compare what each has used.
    pub fn charge(&mut self, id: Id, ran: u64) {
        if let Some(entity) = self.entity_mut(id) {
            // At least one count: however short the runs of a vCPU are, they add up.
            let used = u128::from(ran.max(1)) * u128::from(entity.cost);
            entity.used = entity.used.saturating_add(used);
        }
        self.raise_floor();
    }

    /// Chooses the vCPU to run from `now` on; `None` when none is runnable.
    ///
    /// The one that runs goes on to the end of its slice, unless one that has used less woke up.
    pub fn pick(&mut self, now: u64) -> Option<Pick<Id>> {
        let alone = self.entities.iter().filter(|entity| entity.runnable).nth(1).is_none();
        let end_of_new_slice = if alone { None } else { Some(now.saturating_add(self.slice)) };
        let next = match self.running {
            Some(running) if running.slice_end.is_none_or(|end| now < end) => {
                let slice_end = if alone { None } else { running.slice_end.or(end_of_new_slice) };
                Running { slice_end, ..running }
            }
            _ => {
                let runnable = self.entities.iter().filter(|entity| entity.runnable);
                let id = runnable.min_by_key(|entity| entity.used)?.id;
                Running { id, slice_end: end_of_new_slice }
            }
        };
        self.running = Some(next);
        Some(Pick { id: next.id, slice_end: next.slice_end })
    }

    /// Whether any vCPU is runnable.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.entities.iter().any(|entity| entity.runnable)
    }

    fn entity(&self, id: Id) -> Option<&Entity<Id>> {
        self.entities.iter().find(|entity| entity.id == id)
    }

    fn entity_mut(&mut self, id: Id) -> Option<&mut Entity<Id>> {
        self.entities.iter_mut().find(|entity| entity.id == id)
    }

    fn stop_if_running(&mut self, id: Id) {
        if self.running.is_some_and(|running| running.id == id) {
            self.running = None;
        }
    }

    fn raise_floor(&mut self) {
        let runnable = self.entities.iter().filter(|entity| entity.runnable);
        if let Some(least) = runnable.map(|entity| entity.used).min() {
            self.floor = self.floor.max(least);
        }
    }
}

#[cfg(test)]
mod tests;
