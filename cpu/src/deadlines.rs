// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a physical CPU has to do when: a deadline for each of its vCPUs, the next one first.
//!
//! EL2 has one timer on each CPU, and programs it whenever a vCPU is entered. So the next deadline is to be known at once,
//! however many vCPUs sleep, and setting one costs the logarithm of how many there are: a binary heap that knows each
//! vCPU's place. Times are counts of the system counter. Only [`Deadlines::add`] allocates.

use alloc::vec::Vec;

use crate::scheduler::RunQueueIndex;

/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// Not in the heap.
const NOWHERE: u16 = u16::MAX;

/// Deadlines of the vCPUs of one physical CPU.
#[derive(Clone, Debug, Default)]
pub struct Deadlines {
    /// Each deadline is no later than the two at twice its place, and one further.
    heap: Vec<(u64, RunQueueIndex)>,
    /// Where in the heap each vCPU's is.
    places: Vec<u16>,
}

impl Deadlines {
    /// None at all.
    #[must_use]
    pub const fn new() -> Self {
        Self { heap: Vec::new(), places: Vec::new() }
    }

    /// Makes room for a vCPU.
    pub fn add(&mut self, id: RunQueueIndex) {
        let count = id.index() + 1;
        if self.places.len() < count {
            self.places.resize(count, NOWHERE);
            self.heap.reserve(count.saturating_sub(self.heap.len()));
        }
    }

    /// The next deadline, or [`NEVER`].
    #[inline]
    #[must_use]
    pub fn next(&self) -> u64 {
        self.heap.first().map_or(NEVER, |&(at, _)| at)
    }

    /// A vCPU whose deadline is `now` or earlier.
    #[must_use]
    pub fn due(&self, now: u64) -> Option<RunQueueIndex> {
        self.heap.first().filter(|&&(at, _)| at <= now).map(|&(_, id)| id)
    }

    /// Sets a vCPU's deadline; [`NEVER`] takes it away. No effect if there is no room for it.
    #[inline]
    pub fn set(&mut self, id: RunQueueIndex, at: u64) {
        match self.places.get(id.index()) {
            Some(&NOWHERE) if at == NEVER => {}
            Some(&place) => self.move_to(usize::from(place), id, at),
            None => {}
        }
    }

    fn move_to(&mut self, place: usize, id: RunQueueIndex, at: u64) {
        if at == NEVER {
            self.take_out(place, id);
        } else if let Some(entry) = self.heap.get_mut(place) {
            entry.0 = at;
            self.settle(place);
        } else {
            self.heap.push((at, id));
            self.settle(self.heap.len() - 1);
        }
    }

    fn take_out(&mut self, place: usize, id: RunQueueIndex) {
        self.note(id, NOWHERE);
        let Some(last) = self.heap.pop() else { return };
        if let Some(hole) = self.heap.get_mut(place) {
            *hole = last;
            self.settle(place);
        }
    }

    /// Moves the entry at a place up or down to where it belongs, and notes where.
    fn settle(&mut self, mut place: usize) {
        let Some(&entry) = self.heap.get(place) else { return };
        while let Some(parent) = place.checked_sub(1).map(|below| below / 2)
            && let Some(&above) = self.heap.get(parent)
            && entry.0 < above.0
        {
            self.put(place, above);
            place = parent;
        }
        while let Some(child) = self.earlier_child(place)
            && let Some(&below) = self.heap.get(child)
            && below.0 < entry.0
        {
            self.put(place, below);
            place = child;
        }
        self.put(place, entry);
    }

    fn earlier_child(&self, place: usize) -> Option<usize> {
        let (left, right) = (2 * place + 1, 2 * place + 2);
        let left_at = self.heap.get(left)?.0;
        Some(if self.heap.get(right).is_some_and(|right| right.0 < left_at) { right } else { left })
    }

    fn put(&mut self, place: usize, entry: (u64, RunQueueIndex)) {
        if let Some(slot) = self.heap.get_mut(place) {
            *slot = entry;
        }
        self.note(entry.1, place as u16);
    }

    fn note(&mut self, id: RunQueueIndex, place: u16) {
        if let Some(slot) = self.places.get_mut(id.index()) {
            *slot = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(number: u16) -> RunQueueIndex {
        RunQueueIndex::new(number)
    }

    #[test]
    fn without_room_nothing_is_set() {
        let mut deadlines = Deadlines::new();
        deadlines.set(at(0), 5);
        assert_eq!((deadlines.next(), deadlines.due(NEVER)), (NEVER, None));
        deadlines.add(at(0));
        deadlines.set(at(0), 5);
        assert_eq!((deadlines.next(), deadlines.due(4), deadlines.due(5)), (5, None, Some(at(0))));
    }

    proptest! {
        /// The same as looking through all of them.
        #[test]
        fn the_next_one_is_first(steps in prop::collection::vec((0u16..40, 0u64..60), 1..400)) {
            let mut deadlines = Deadlines::new();
            let mut all = [NEVER; 40];
            (0..40).for_each(|id| deadlines.add(at(id)));
            for (id, time) in steps {
                let time = if time < 10 { NEVER } else { time };
                deadlines.set(at(id), time);
                all[usize::from(id)] = time;
                let next = all.iter().copied().min().unwrap_or(NEVER);
                prop_assert_eq!(deadlines.next(), next);
                let due = deadlines.due(30);
                prop_assert_eq!(due.map(|id| all[id.index()]), Some(next).filter(|time| *time <= 30));
            }
        }
    }
}
