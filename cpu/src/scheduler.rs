// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which vCPU runs on a physical CPU, and for how long.
//!
//! Each physical CPU has its own [`RunQueue`], so nothing here is shared. It is fair by virtual time: running
//! costs a vCPU virtual time in inverse proportion to its weight, and the one with the least goes next, so
//! that the shares of those that always want to run are as their weights. A vCPU that wakes goes first, on a
//! credit of at most half a slice: it is answered soon, and sleeping earns it no more than its share. Times
//! are counts of the system counter. Only [`RunQueue::add`] allocates.
//!
//! One that has just been put in is protected from those that wake: it runs for a [minimum](MINIMUMS_PER_SLICE) before it
//! has to make room, or a neighbour that sleeps for a moment again and again would keep it from running at all. Only its
//! own VM's vCPUs need not wait for that, since a VM can only delay itself by them.
//!
//! vCPUs are named by small numbers ([`RunQueueIndex`]), so that finding one is an index; those that want to run and do not
//! are in a heap. So a switch costs the same however many sleep, and grows with the logarithm of those that do not.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::num::{NonZeroU32, NonZeroU64};

vambrace_ids::cpu_id! {
    /// Which vCPU of a physical CPU's: its index in that CPU's run queue. On another CPU the same index is another vCPU.
    struct RunQueueIndex
}

/// The vCPUs of one physical CPU, by index.
#[derive(Clone, Debug)]
pub struct RunQueue {
    entities: Vec<Option<Entity>>,
    /// The one that was picked last, while it is runnable.
    current: Option<Current>,
    /// All others that are runnable, the one that has used least on top.
    waiting: BinaryHeap<Reverse<Queued>>,
    /// The least virtual time of any that are runnable, as of when somebody last woke or nobody was left; never goes back.
    floor: u128,
    slice: u64,
    /// For how long one that was put in is protected.
    minimum: u64,
}

#[derive(Clone, Debug)]
struct Entity {
    /// Virtual time that one count costs.
    cost: u64,
    /// Virtual time used.
    used: u128,
    runnable: bool,
}

/// A place in the order: the virtual time used, and who has used it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Queued {
    used: u128,
    id: RunQueueIndex,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    id: RunQueueIndex,
    slice_end: Option<u64>,
    /// Until when it is protected from those that wake.
    minimum_end: u64,
    standing: Standing,
}

/// Whether the one that runs may run its slice to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Secure,
    /// One that has used less has woken, and waits for the end of the minimum.
    Contested,
    /// One that has used less has woken and need not wait, or the one that runs has had enough.
    Over,
}

/// When a vCPU that wakes may take the place of the one that runs, if it has used less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// At once: both are of one VM, or nobody else is concerned.
    AtOnce,
    /// When the one that runs has had its minimum.
    AfterMinimum,
}

/// Which vCPU to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Its index.
    pub id: RunQueueIndex,
    /// When to [pick](RunQueue::pick) again at the latest; `None` while no other wants to run.
    pub slice_end: Option<u64>,
}

/// The vCPU is in the queue already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the vCPU is in the run queue already")]
pub struct AlreadyQueued;

/// Virtual time that one count costs at weight 1.
const UNIT_COST: u64 = 1 << 32;

/// How many are asked whether they may be given away.
const ASKED: usize = 16;

/// The minimum is this part of a slice: what a switch costs is little against it, and little is a sleeper's delay by it.
pub const MINIMUMS_PER_SLICE: u64 = 50;

impl Current {
    /// Whether it need not make room yet.
    fn goes_on(self, now: u64) -> bool {
        let is_let = match self.standing {
            Standing::Secure => true,
            Standing::Contested => now < self.minimum_end,
            Standing::Over => false,
        };
        is_let && self.slice_end.is_none_or(|end| now < end)
    }

    fn pick(self) -> Pick {
        let slice_end = match self.standing {
            // One waits for the minimum to end, so there is an end.
            Standing::Contested => Some(self.slice_end.unwrap_or(u64::MAX).min(self.minimum_end)),
            Standing::Secure | Standing::Over => self.slice_end,
        };
        Pick { id: self.id, slice_end }
    }
}

impl RunQueue {
    /// An empty queue whose slices are `slice` counts long.
    #[must_use]
    pub const fn new(slice: NonZeroU64) -> Self {
        let slice = slice.get();
        Self {
            entities: Vec::new(),
            current: None,
            waiting: BinaryHeap::new(),
            floor: 0,
            slice,
            minimum: slice / MINIMUMS_PER_SLICE,
        }
    }

    /// Adds a vCPU, blocked.
    ///
    /// # Errors
    /// [`AlreadyQueued`] when there is one of that number.
    pub fn add(&mut self, id: RunQueueIndex, weight: NonZeroU32) -> Result<(), AlreadyQueued> {
        self.raise_floor();
        let place = id.index();
        if self.entities.len() <= place {
            self.entities.resize(place + 1, None);
        }
        // So that nothing is allocated when they wake.
        self.waiting.reserve(self.entities.len().saturating_sub(self.waiting.len()));
        match self.entities.get_mut(place) {
            Some(free @ None) => {
                let cost = (UNIT_COST / u64::from(weight.get())).max(1);
                *free = Some(Entity { cost, used: self.floor, runnable: false });
                Ok(())
            }
            _ => Err(AlreadyQueued),
        }
    }

    /// One of those that want to run and do not that `may` be given away: one that would run late rather than soon. Only a few
    /// are asked, so this takes no longer the more there are.
    pub fn find_waiting(&self, mut may: impl FnMut(RunQueueIndex) -> bool) -> Option<RunQueueIndex> {
        // The heap has those that run soon in front.
        self.waiting.iter().rev().take(ASKED).map(|Reverse(queued)| queued.id).find(|id| may(*id))
    }

    /// The one that runs is to be taken out, if this is it. [Pick](Self::pick) afterwards.
    pub fn expire(&mut self, id: RunQueueIndex) {
        if let Some(current) = self.current.as_mut().filter(|current| current.id == id) {
            current.standing = Standing::Over;
        }
    }

    /// Removes a vCPU; no effect when it is not there.
    pub fn remove(&mut self, id: RunQueueIndex) {
        self.withdraw(id);
        if let Some(entity) = self.entities.get_mut(id.index()) {
            *entity = None;
        }
    }

    /// A vCPU has something to do. [Pick](Self::pick) afterwards: it may have to go first.
    pub fn wake(&mut self, id: RunQueueIndex, claim: Claim) {
        self.raise_floor();
        let (floor, slice) = (self.floor, self.slice);
        let Some(entity) = self.entity_mut(id).filter(|entity| !entity.runnable) else { return };
        entity.runnable = true;
        let credit = u128::from(slice / 2) * u128::from(entity.cost);
        entity.used = entity.used.max(floor.saturating_sub(credit));
        let used = entity.used;
        self.waiting.push(Reverse(Queued { used, id }));
        if self.current_as_queued().is_some_and(|current| used < current.used)
            && let Some(current) = &mut self.current
        {
            match claim {
                Claim::AtOnce => current.standing = Standing::Over,
                Claim::AfterMinimum if current.standing == Standing::Secure => {
                    current.standing = Standing::Contested;
                }
                Claim::AfterMinimum => {}
            }
        }
    }

    /// The one that runs waits for another to get on: the next one that wants to run goes first. What it has not used by
    /// then it gives up, so that it can't save time up by waiting.
    pub fn give_way(&mut self) {
        let Some(first) = self.waiting.peek().map(|Reverse(queued)| queued.used) else { return };
        let Some(id) = self.current.map(|current| current.id) else { return };
        if let Some(entity) = self.entity_mut(id) {
            entity.used = entity.used.max(first.saturating_add(1));
        }
        if let Some(current) = &mut self.current {
            current.standing = Standing::Over;
        }
    }

    /// A vCPU has nothing to do until it is woken. [Pick](Self::pick) afterwards.
    #[inline(always)]
    pub fn block(&mut self, id: RunQueueIndex) {
        self.withdraw(id);
    }

    /// A vCPU has run for `ran` counts. To be said before [`wake`](Self::wake), [`block`](Self::block) or
    /// [`pick`](Self::pick), which compare what each has used.
    pub fn charge(&mut self, id: RunQueueIndex, ran: u64) {
        let is_current = self.current.is_some_and(|current| current.id == id);
        let Some(entity) = self.entity_mut(id) else { return };
        // At least one count: however short the runs of a vCPU are, they add up.
        let used = u128::from(ran.max(1)) * u128::from(entity.cost);
        entity.used = entity.used.saturating_add(used);
        let queued = Queued { used: entity.used, id };
        if entity.runnable && !is_current {
            self.waiting.retain(|Reverse(other)| other.id != id);
            self.waiting.push(Reverse(queued));
        }
    }

    /// Chooses the vCPU to run from `now` on; `None` when none is runnable.
    ///
    /// The one that runs goes on to the end of its slice, unless one that has used less woke up.
    pub fn pick(&mut self, now: u64) -> Option<Pick> {
        self.keep(now).or_else(|| self.change(now))
    }

    /// The vCPU that runs, if it may go on; `None` when it is to be charged and [picked](Self::pick) anew.
    #[inline]
    pub fn keep(&mut self, now: u64) -> Option<Pick> {
        let current = self.current.as_mut().filter(|current| current.goes_on(now))?;
        if self.waiting.is_empty() {
            (current.slice_end, current.standing) = (None, Standing::Secure);
        } else {
            current.slice_end = current.slice_end.or(Some(now.saturating_add(self.slice)));
        }
        Some(current.pick())
    }

    fn change(&mut self, now: u64) -> Option<Pick> {
        let before = self.current;
        let id = self.next()?;
        let (slice_end, minimum_end) = match before.filter(|before| before.id == id) {
            // One that stays has had its minimum, and has no more of its slice than it had.
            Some(before) => (before.slice_end.filter(|end| now < *end), now),
            None => (None, now.saturating_add(self.minimum)),
        };
        let slice_end =
            if self.waiting.is_empty() { None } else { slice_end.or(Some(now.saturating_add(self.slice))) };
        let current = Current { id, slice_end, minimum_end, standing: Standing::Secure };
        self.current = Some(current);
        Some(current.pick())
    }

    /// The one that has used least; the one that ran goes back to the others, if it is not the same.
    fn next(&mut self) -> Option<RunQueueIndex> {
        let Some(current) = self.current_as_queued() else {
            return self.waiting.pop().map(|Reverse(queued)| queued.id);
        };
        match self.waiting.peek_mut() {
            Some(mut first) if first.0 < current => {
                Some(core::mem::replace(&mut *first, Reverse(current)).0.id)
            }
            _ => Some(current.id),
        }
    }

    /// Whether one that has used less has woken, and takes the place of the one that runs.
    #[inline]
    #[must_use]
    pub fn is_contested(&self) -> bool {
        self.current.is_some_and(|current| current.standing != Standing::Secure)
    }

    /// The one that was picked last, while it is runnable.
    #[must_use]
    pub fn current(&self) -> Option<RunQueueIndex> {
        self.current.map(|current| current.id)
    }

    /// Whether any vCPU is runnable.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.current.is_none() && self.waiting.is_empty()
    }

    /// Whether any want to run beside the one that was picked last.
    #[inline]
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn entity_mut(&mut self, id: RunQueueIndex) -> Option<&mut Entity> {
        self.entities.get_mut(id.index())?.as_mut()
    }

    /// How the one that was picked last stands now.
    fn current_as_queued(&self) -> Option<Queued> {
        let id = self.current?.id;
        let used = self.entities.get(id.index())?.as_ref()?.used;
        Some(Queued { used, id })
    }

    /// Takes a vCPU out of those that are runnable.
    #[inline(always)]
    fn withdraw(&mut self, id: RunQueueIndex) {
        let Some(entity) = self.entity_mut(id) else { return };
        if !core::mem::replace(&mut entity.runnable, false) {
            return;
        }
        let used = entity.used;
        if self.current.is_some_and(|current| current.id == id) {
            self.current = None;
        } else {
            self.waiting.retain(|Reverse(other)| other.id != id);
        }
        if self.is_idle() {
            self.floor = self.floor.max(used);
        }
    }

    fn raise_floor(&mut self) {
        let waiting = self.waiting.peek().map(|Reverse(queued)| queued.used);
        let current = self.current_as_queued().map(|queued| queued.used);
        if let Some(least) = waiting.into_iter().chain(current).min() {
            self.floor = self.floor.max(least);
        }
    }
}

#[cfg(test)]
mod tests;
