// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn at(number: u16) -> RunQueueIndex {
    RunQueueIndex::new(number)
}

const SLICE: u64 = 1000;

fn queue(weights: &[u32]) -> RunQueue {
    let mut queue = RunQueue::new(NonZeroU64::new(SLICE).unwrap());
    for (id, weight) in (0..).map(at).zip(weights) {
        queue.add(id, NonZeroU32::new(*weight).unwrap()).unwrap();
        queue.wake(id, Claim::AtOnce);
    }
    queue
}

/// A machine with one CPU: runs what the queue picks, each to the end of its slice.
struct Machine {
    queue: RunQueue,
    now: u64,
    ran: Vec<u64>,
}

impl Machine {
    fn new(weights: &[u32]) -> Self {
        Self { queue: queue(weights), now: 0, ran: vec![0; weights.len()] }
    }

    /// Runs the next vCPU for at most `limit` counts; returns its name.
    fn step(&mut self, limit: u64) -> Option<RunQueueIndex> {
        let Pick { id, slice_end } = self.queue.pick(self.now)?;
        let ran = slice_end.map_or(SLICE, |end| end - self.now).min(limit);
        self.now += ran;
        self.ran[id.index()] += ran;
        self.queue.charge(id, ran);
        Some(id)
    }
}

#[test]
fn an_empty_queue_picks_nothing() {
    let mut queue = queue(&[]);
    assert_eq!(queue.pick(0), None);
    assert!(queue.is_idle());
}

#[test]
fn a_vcpu_alone_has_no_slice() {
    let mut queue = queue(&[1, 1]);
    queue.block(at(1));
    assert_eq!(queue.pick(0), Some(Pick { id: at(0), slice_end: None }));
    // Until another wakes: then the slice begins, or the other goes first.
    queue.wake(at(1), Claim::AtOnce);
    assert!(queue.pick(10).unwrap().slice_end.is_some());
    queue.block(at(1));
    assert_eq!(queue.pick(20), Some(Pick { id: at(0), slice_end: None }));
}

#[test]
fn a_slice_is_not_cut_short_by_picking() {
    let mut queue = queue(&[1, 1]);
    let first = queue.pick(0).unwrap();
    assert_eq!(first.slice_end, Some(SLICE));
    queue.charge(first.id, 600);
    assert_eq!(queue.pick(600), Some(first));
    queue.charge(first.id, 400);
    let second = queue.pick(SLICE).unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(second.slice_end, Some(2 * SLICE));
}

#[test]
fn a_blocked_or_removed_vcpu_is_not_picked() {
    let mut queue = queue(&[1, 1]);
    queue.block(at(0));
    assert_eq!(queue.pick(0).map(|pick| pick.id), Some(at(1)));
    queue.remove(at(1));
    assert_eq!(queue.pick(0), None);
    queue.wake(at(1), Claim::AtOnce);
    assert_eq!(queue.pick(0), None, "a vCPU that is gone cannot wake");
    queue.wake(at(0), Claim::AtOnce);
    assert_eq!(queue.pick(0).map(|pick| pick.id), Some(at(0)));
}

#[test]
fn a_name_is_queued_once() {
    assert_eq!(queue(&[1]).add(at(0), NonZeroU32::MIN), Err(AlreadyQueued));
}

/// The minimum of the model's slices.
const MINIMUM: u64 = SLICE / MINIMUMS_PER_SLICE;

#[test]
fn one_that_was_just_put_in_has_its_minimum() {
    let mut queue = queue(&[1, 1]);
    queue.block(at(0));
    assert_eq!(queue.pick(0).map(|pick| pick.id), Some(at(1)));
    queue.charge(at(1), 500);
    // Whoever wakes after the minimum goes first at once.
    queue.wake(at(0), Claim::AfterMinimum);
    assert_eq!(queue.pick(500).map(|pick| pick.id), Some(at(0)));
    queue.block(at(0));
    // Whoever wakes before waits for its end, and no longer.
    assert_eq!(queue.pick(510).map(|pick| pick.id), Some(at(1)));
    queue.wake(at(0), Claim::AfterMinimum);
    let end = 510 + MINIMUM;
    assert_eq!(queue.keep(511), Some(Pick { id: at(1), slice_end: Some(end) }));
    assert!(queue.is_contested());
    assert_eq!(queue.keep(end), None);
    queue.charge(at(1), MINIMUM);
    assert_eq!(queue.pick(end).map(|pick| pick.id), Some(at(0)));
    queue.block(at(0));
    // One of the same VM waits for nothing.
    assert_eq!(queue.pick(600).map(|pick| pick.id), Some(at(1)));
    queue.wake(at(0), Claim::AtOnce);
    assert_eq!(queue.pick(601).map(|pick| pick.id), Some(at(0)));
}

#[test]
fn one_that_has_used_more_does_not_cut_a_slice_short() {
    let mut queue = queue(&[1, 1]);
    assert_eq!(queue.pick(0).map(|pick| pick.id), Some(at(0)));
    queue.charge(at(0), 700);
    queue.block(at(0));
    assert_eq!(queue.pick(700), Some(Pick { id: at(1), slice_end: None }));
    queue.wake(at(0), Claim::AtOnce);
    assert_eq!(queue.pick(701), Some(Pick { id: at(1), slice_end: Some(701 + SLICE) }));
    assert_eq!(queue.pick(901), Some(Pick { id: at(1), slice_end: Some(701 + SLICE) }));
}

#[test]
fn one_that_gives_way_is_behind_the_next_and_saves_nothing_up() {
    let mut queue = queue(&[1, 1, 1]);
    for (id, ran) in [(1, 300), (2, 600)] {
        queue.charge(at(id), ran);
    }
    assert_eq!(queue.pick(0).map(|pick| pick.id), Some(at(0)));
    queue.charge(at(0), 10);
    queue.give_way();
    assert_eq!(queue.pick(10).map(|pick| pick.id), Some(at(1)));
    // What it gave up is 290: it is level with the one that went first, which now has 100 more.
    queue.charge(at(1), 100);
    queue.give_way();
    assert_eq!(queue.pick(110).map(|pick| pick.id), Some(at(0)));
    // Alone it has nobody to give way to.
    queue.block(at(1));
    queue.block(at(2));
    queue.give_way();
    assert_eq!(queue.pick(120), Some(Pick { id: at(0), slice_end: None }));
}

/// One computes; the other sleeps for so long, and wakes to sleep again. A switch costs a fortieth of a minimum, and more
/// than some sleep. Says how much of the time the one that computes has had.
fn beside_a_sleeper(nap: u64) -> f64 {
    const SWITCH: u64 = 500;
    let mut queue = RunQueue::new(NonZeroU64::new(1_000_000).unwrap());
    for id in [0, 1].map(at) {
        queue.add(id, NonZeroU32::MIN).unwrap();
        queue.wake(id, Claim::AfterMinimum);
    }
    let (mut now, mut computed, mut wake_at) = (0, 0, None);
    while now < 200_000_000 {
        let pick = queue.pick(now).unwrap();
        now += SWITCH;
        queue.charge(pick.id, SWITCH);
        if pick.id == at(0) {
            now += 10;
            queue.charge(at(0), 10 + SWITCH);
            queue.block(at(0));
            wake_at = Some(now + nap);
            now += SWITCH;
            continue;
        }
        // It runs until its slice is over, or until the sleeper takes its place.
        let mut end = pick.slice_end;
        loop {
            let until = end.into_iter().chain(wake_at).min().unwrap().max(now);
            computed += until - now;
            queue.charge(at(1), until - now);
            now = until;
            if wake_at.is_some_and(|at| at <= now) {
                wake_at = None;
                queue.wake(at(0), Claim::AfterMinimum);
            }
            let next = queue.pick(now).unwrap();
            if next.id != at(1) {
                break;
            }
            end = next.slice_end;
        }
    }
    computed as f64 / now as f64
}

/// However short the naps of one are, the other has what is left but for the switches.
#[test]
fn naps_do_not_take_the_cpu_from_a_neighbour() {
    for nap in [0, 62, 200, 300, 500, 800, 1000, 1500, 1875, 10_000, 19_000, 21_000] {
        let share = beside_a_sleeper(nap);
        assert!(share >= 0.9, "{share} beside naps of {nap}");
    }
}

/// The time slept away is not made up for.
#[test]
fn a_long_sleep_earns_half_a_slice() {
    let mut machine = Machine::new(&[1, 1]);
    machine.queue.block(at(0));
    for _ in 0..1000 {
        machine.step(SLICE);
    }
    machine.queue.wake(at(0), Claim::AtOnce);
    let before = machine.ran.clone();
    for _ in 0..10 {
        machine.step(SLICE);
    }
    let since = [machine.ran[0] - before[0], machine.ran[1] - before[1]];
    assert_eq!(since, [5 * SLICE, 5 * SLICE]);
}

#[test]
fn extreme_figures_do_not_overflow() {
    let mut queue = queue(&[u32::MAX, 1]);
    for _ in 0..100 {
        let pick = queue.pick(u64::MAX).unwrap();
        assert_eq!(pick.slice_end, Some(u64::MAX));
        queue.charge(pick.id, u64::MAX);
        queue.block(pick.id);
        queue.wake(pick.id, Claim::AtOnce);
    }
}

#[test]
fn runs_too_short_to_measure_do_not_starve_others() {
    let mut queue = queue(&[1, 1]);
    let mut picked = [0; 2];
    for now in 0..10_000 {
        let id = queue.pick(now).unwrap().id;
        picked[id.index()] += 1;
        queue.charge(id, 0);
        queue.block(id);
        queue.wake(id, Claim::AtOnce);
    }
    assert!(picked.iter().all(|times| *times > 4000), "{picked:?}");
}

proptest! {
    /// Those that always want to run get the share that their weights promise, to within one slice each.
    #[test]
    fn shares_are_as_weights(weights in vec(1u32..=64, 1..8), slices in 200u64..2000) {
        let mut machine = Machine::new(&weights);
        for _ in 0..slices {
            machine.step(SLICE);
        }
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        for (ran, weight) in machine.ran.iter().zip(&weights) {
            let fair = u128::from(machine.now) * u128::from(*weight) / u128::from(total);
            let off = fair.abs_diff(u128::from(*ran));
            // Every one that is ahead of its share is so by one slice at most; they are behind by as much
            // together.
            let bound = u128::from(SLICE) * weights.len() as u128;
            prop_assert!(off <= bound, "ran {ran}, fair {fair} of weights {weights:?}");
        }
    }

    /// A vCPU that slept for a while runs as soon as it wakes.
    #[test]
    fn one_that_wakes_goes_first(weights in vec(1u32..=64, 2..8), cut in 1..SLICE) {
        let mut machine = Machine::new(&weights);
        machine.queue.block(at(0));
        for _ in 0..2000 {
            machine.step(SLICE);
        }
        machine.step(cut);
        machine.queue.wake(at(0), Claim::AtOnce);
        prop_assert_eq!(machine.step(SLICE), Some(at(0)));
    }

    /// Whatever one vCPU does about sleeping and waking, another of the same weight gets half of the CPU, but
    /// for a slice and the credit.
    #[test]
    fn sleeping_earns_no_more_than_the_share(steps in vec((1..SLICE, any::<bool>()), 1..2000)) {
        let mut machine = Machine::new(&[1, 1]);
        for (limit, nap) in steps {
            let limit = if machine.queue.pick(machine.now).unwrap().id == at(0) { limit } else { SLICE };
            let id = machine.step(limit).unwrap();
            if nap && id == at(0) {
                machine.queue.block(at(0));
                machine.step(limit);
                machine.queue.wake(at(0), Claim::AtOnce);
            }
        }
        prop_assert!(machine.ran[0] <= machine.now / 2 + 2 * SLICE, "{:?}", machine.ran);
    }

    /// A runnable vCPU waits only as long as the others' shares take.
    #[test]
    fn nobody_starves(weights in vec(1u32..=16, 2..6), naps in vec(any::<bool>(), 500)) {
        let mut machine = Machine::new(&weights);
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        // vCPU 0 always wants to run; the others nap at will.
        let longest = SLICE * (total / u64::from(weights[0]) + 2 * weights.len() as u64 + 2);
        let mut last = 0;
        for nap in naps {
            let id = machine.step(SLICE).unwrap();
            if id == at(0) {
                last = machine.now;
            } else if nap {
                machine.queue.block(id);
                machine.queue.wake(id, Claim::AtOnce);
            }
            prop_assert!(machine.now - last <= longest, "waits for {} counts", machine.now - last);
        }
    }

    /// Random calls never panic, and what is picked is runnable.
    #[test]
    fn random_calls_are_safe(calls in vec((0u8..6, 0u16..6, any::<u64>()), 0..300)) {
        let mut queue = queue(&[]);
        let mut runnable = [false; 6];
        let mut there = [false; 6];
        for (call, id, number) in calls {
            let id = at(id);
            match call {
                0 => {
                    let weight = NonZeroU32::new(number as u32).unwrap_or(NonZeroU32::MIN);
                    prop_assert_eq!(queue.add(id, weight).is_ok(), !there[id.index()]);
                    there[id.index()] = true;
                }
                1 => {
                    queue.remove(id);
                    (there[id.index()], runnable[id.index()]) = (false, false);
                }
                2 => {
                    queue.wake(id, Claim::AtOnce);
                    runnable[id.index()] = there[id.index()];
                }
                3 => {
                    queue.block(id);
                    runnable[id.index()] = false;
                }
                4 => queue.charge(id, number),
                _ => match queue.pick(number) {
                    Some(pick) => {
                        prop_assert!(runnable[pick.id.index()]);
                        let alone = runnable.iter().filter(|runnable| **runnable).count() == 1;
                        prop_assert_eq!(pick.slice_end.is_none(), alone);
                    }
                    None => prop_assert!(queue.is_idle() && !runnable.contains(&true)),
                },
            }
        }
    }
}
