// SPDX-License-Identifier: MIT OR Apache-2.0
use std::vec::Vec;

use super::*;

/// A guest whose instructions all take exceptions, as [`ExceptionLoop`] sees it.
#[derive(Default)]
struct Guest {
    exceptions: ExceptionLoop,
    frame: TrapFrame,
    el1: El1Registers,
}

impl Guest {
    fn fault(&mut self) -> LoopVerdict {
        let verdict = self.exceptions.note(&self.frame, &self.el1);
        (self.el1.elr, self.el1.spsr) = (self.frame.pc, self.frame.pstate);
        self.frame.pstate = 0x3C5;
        verdict
    }
}

#[test]
fn a_handler_that_returns_can_be_called_for_ever() {
    let mut guest = Guest::default();
    for _ in 0..100_000 {
        guest.frame.pc = 0x1000;
        assert_eq!(guest.fault(), LoopVerdict::Nothing);
        // The handler steps over the instruction, and the guest loops back to it.
        guest.el1.elr += 4;
    }
}

#[test]
fn a_circle_of_two_faults_is_told_once() {
    let mut guest = Guest::default();
    let mut told = Vec::new();
    // Longer than any counter of it lasts.
    for n in 0..1 << 18 {
        guest.frame.pc = if n % 2 == 0 { 0x1000 } else { 0x2000 };
        if guest.fault() == LoopVerdict::Loops {
            told.push(n);
        }
    }
    assert!(matches!(told[..], [n] if n >= 2 * u32::from(REMARKABLE)), "{told:?}");
}

#[test]
fn a_dead_end_is_told_at_once_and_once() {
    let mut guest = Guest::default();
    guest.frame.pstate = 0x3C5;
    for n in 0..1 << 18 {
        assert_eq!(guest.fault(), LoopVerdict::Nothing);
        let expected = if n == 0 { LoopVerdict::Loops } else { LoopVerdict::Nothing };
        assert_eq!(guest.exceptions.note_dead_end(), expected, "{n}");
    }
    // It got out, and in again.
    guest.exceptions.forget();
    assert_eq!((guest.fault(), guest.exceptions.note_dead_end()), (LoopVerdict::Nothing, LoopVerdict::Loops));
}

#[test]
fn a_handler_that_counts_may_still_give_up() {
    let mut guest = Guest::default();
    for n in 0..100_000 {
        guest.frame.x[5] = n;
        assert_eq!(guest.fault(), LoopVerdict::Nothing);
    }
}

#[test]
fn a_few_tries_are_granted() {
    let mut guest = Guest::default();
    for _ in 0..REMARKABLE / 2 {
        assert_eq!(guest.fault(), LoopVerdict::Nothing);
    }
    guest.frame.x[0] += 1;
    for _ in 0..REMARKABLE / 2 {
        assert_eq!(guest.fault(), LoopVerdict::Nothing);
    }
}

#[test]
fn a_round_that_is_entered_late_is_found() {
    let mut guest = Guest::default();
    let mut found = false;
    for n in 0..100_000 {
        guest.frame.x[5] = if n < 777 { n } else { 777 + n % 7 };
        found |= guest.fault() == LoopVerdict::Loops;
        assert!(!found || n > 777);
    }
    assert!(found);
}
