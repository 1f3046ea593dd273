// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a physical CPU is there.
//!
//! The firmware's word that it starts a CPU (PSCI, CPU_ON) is not the CPU's own. So each says itself that it has come, and the
//! first CPU waits for that before it makes VMs; but not for ever, since one that is broken must not keep the others. Only one of
//! the two has the last word: a CPU that has been left out does not join, so nobody counts on it, and it touches nothing.

use core::sync::atomic::{AtomicU8, Ordering};

use vambrace_ids::PcpuId;

/// A physical CPU's coming.
#[derive(Debug, Default)]
pub struct Arrival(AtomicU8);

/// Whether a CPU that says it has come is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is one of those that run VMs.
    Admitted,
    /// It is too late: the others do without it.
    TooLate,
}

impl Arrival {
    const AWAITED: u8 = 0;
    const HERE: u8 = 1;
    const LEFT_OUT: u8 = 2;

    /// It is to come.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU8::new(Self::AWAITED))
    }

    /// It has come.
    pub fn arrive(&self) -> Admission {
        match self.decide(Self::HERE) {
            Self::HERE => Admission::Admitted,
            _ => Admission::TooLate,
        }
    }

    /// It does not start, or takes too long. Says whether it is left out: it may just have come.
    pub fn leave_out(&self) -> bool {
        self.decide(Self::LEFT_OUT) == Self::LEFT_OUT
    }

    /// The first word stands.
    fn decide(&self, word: u8) -> u8 {
        match self.0.compare_exchange(Self::AWAITED, word, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => word,
            Err(stands) => stands,
        }
    }

    /// Whether it is not known yet.
    pub fn is_awaited(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::AWAITED
    }

    /// Whether it is one of those that run VMs.
    pub fn is_here(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::HERE
    }
}

/// Waits until nothing is known too little of: for each that is awaited longer than `is_over` allows, `give_up` is called.
/// `relax` is called while there is nothing to do.
pub fn wait_for_all<'a>(
    arrivals: impl Iterator<Item = &'a Arrival> + Clone,
    mut is_over: impl FnMut() -> bool,
    mut relax: impl FnMut(),
    mut give_up: impl FnMut(PcpuId),
) {
    while arrivals.clone().any(Arrival::is_awaited) && !is_over() {
        relax();
    }
    for (cpu, arrival) in (0..).map(PcpuId::new).zip(arrivals) {
        if arrival.is_awaited() && arrival.leave_out() {
            give_up(cpu);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn the_first_word_stands() {
        let in_time = Arrival::new();
        assert!(in_time.is_awaited() && !in_time.is_here());
        assert_eq!(in_time.arrive(), Admission::Admitted);
        assert!(!in_time.leave_out());
        assert!(in_time.is_here() && !in_time.is_awaited());

        let late = Arrival::new();
        assert!(late.leave_out());
        assert_eq!(late.arrive(), Admission::TooLate);
        assert!(!late.is_here() && !late.is_awaited());
    }

    #[test]
    fn one_that_never_comes_is_given_up_and_may_come_late() {
        let cpus = [Arrival::new(), Arrival::new(), Arrival::new(), Arrival::new()];
        cpus[0].arrive();
        cpus[2].leave_out();
        let (mut looks, mut waited, mut given_up) = (0, 0, Vec::new());
        let is_over = || {
            looks += 1;
            if looks == 3 {
                cpus[3].arrive();
            }
            looks > 5
        };
        wait_for_all(cpus.iter(), is_over, || waited += 1, |cpu| given_up.push(cpu));
        assert_eq!((waited, given_up), (5, vec![PcpuId::new(1)]));
        assert_eq!(cpus[1].arrive(), Admission::TooLate);
        assert_eq!(cpus.each_ref().map(Arrival::is_here), [true, false, false, true]);
    }

    #[test]
    fn nobody_is_waited_for_when_all_are_known() {
        let cpus = [Arrival::new(), Arrival::new()];
        cpus[0].arrive();
        cpus[1].leave_out();
        let never = |_| panic!("given up");
        wait_for_all(cpus.iter(), || panic!("asked for the time"), || panic!("waited"), never);
    }

    #[test]
    fn a_cpu_that_comes_as_it_is_left_out_is_either_here_or_knows() {
        for _ in 0..1000 {
            let (arrival, start) = (Arrival::new(), Barrier::new(2));
            let (admission, is_left_out) = std::thread::scope(|scope| {
                let comes = scope.spawn(|| {
                    start.wait();
                    arrival.arrive()
                });
                start.wait();
                let is_left_out = arrival.leave_out();
                (comes.join().unwrap(), is_left_out)
            });
            assert_eq!(admission == Admission::TooLate, is_left_out);
            assert_eq!(arrival.is_here(), admission == Admission::Admitted);
        }
    }
}
