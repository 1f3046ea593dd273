// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::registers::*;
use super::status::*;
use super::*;

fn at(count: u64) -> Time {
    Time { seconds: 0, count }
}

fn get(watchdog: &mut Watchdog, register: u64) -> u32 {
    watchdog.read(register, Width::Word) as u32
}

fn set(watchdog: &mut Watchdog, register: u64, value: u32) {
    watchdog.write(register, Width::Word, value.into());
}

/// One that counts since 1000, with 100 to go.
fn armed() -> Watchdog {
    let mut watchdog = Watchdog::power_on(at(1000));
    set(&mut watchdog, WOR, 100);
    set(&mut watchdog, WCS, EN);
    watchdog
}

/// What it asserts: interrupt and reset.
fn lines(watchdog: &Watchdog) -> (bool, bool) {
    (watchdog.irq_line(), watchdog.reset_line())
}

/// QEMU's `virt` has no such device to compare with; these are what the specification says, with the implementer that QEMU's
/// `sbsa-ref` names.
#[test]
fn registers_after_reset() {
    let mut watchdog = Watchdog::power_on(at(1000));
    for register in [WCS, WOR, WOR_HIGH, WCV, WCV_HIGH, 0x004, 0x018, WRR, WRR + 8, WRR + 0x10, 0xFD0, 0x1FD0]
    {
        assert_eq!(get(&mut watchdog, register), 0, "{register:#x}");
    }
    for frame in [0, REFRESH] {
        let iidr = get(&mut watchdog, frame + W_IIDR);
        assert_eq!((iidr >> 16 & 0xF, iidr & 0xFFF), (1, 0x43B), "revision 1, by Arm");
        assert_eq!(iidr & !0xF_0FFF, 0, "no product, revision 0");
    }
    assert_eq!((watchdog.deadline(), lines(&watchdog)), (None, (false, false)));
}

#[test]
fn one_that_is_off_waits_for_nothing() {
    let mut watchdog = Watchdog::power_on(at(0));
    set(&mut watchdog, WOR, 1);
    watchdog.note_time(at(u64::MAX));
    assert_eq!((watchdog.deadline(), lines(&watchdog)), (None, (false, false)));
}

#[test]
fn who_does_not_refresh_is_interrupted_and_then_reset() {
    let mut watchdog = armed();
    assert_eq!(get(&mut watchdog, WCV), 1100);
    assert_eq!(watchdog.deadline(), Some(Deadline::Count(1101)));
    watchdog.note_time(at(1100));
    assert_eq!(lines(&watchdog), (false, false), "the count has to be greater");
    watchdog.note_time(at(1101));
    assert_eq!((lines(&watchdog), get(&mut watchdog, WCS)), ((true, false), EN | WS0));
    assert_eq!(watchdog.deadline(), Some(Deadline::Count(1202)));
    watchdog.note_time(at(1201));
    assert_eq!(lines(&watchdog), (true, false));
    watchdog.note_time(at(1202));
    assert_eq!((lines(&watchdog), get(&mut watchdog, WCS)), ((true, true), EN | WS0 | WS1));
    assert_eq!(watchdog.deadline(), Some(Deadline::Count(1202)), "it has passed");
    watchdog.reset();
    assert_eq!(watchdog, Watchdog::default());
}

#[test]
fn each_stage_has_its_time_though_nobody_looked() {
    let mut watchdog = armed();
    watchdog.note_time(at(1_000_000));
    assert_eq!(lines(&watchdog), (true, false));
    assert_eq!(watchdog.deadline(), Some(Deadline::Count(1_000_101)));
}

#[test]
fn a_refresh_ends_both_stages_and_begins_anew() {
    for register in [WRR, WOR, WCS, WOR_HIGH] {
        for times in [vec![1050], vec![1101], vec![1101, 1202]] {
            let mut watchdog = armed();
            times.iter().for_each(|time| watchdog.note_time(at(*time)));
            let value = match register {
                WRR => 0xFFFF,
                WOR => 100,
                WCS => EN,
                _ => 0,
            };
            set(&mut watchdog, register, value);
            assert_eq!((lines(&watchdog), get(&mut watchdog, WCS)), ((false, false), EN), "{register:#x}");
            let due = times.last().unwrap() + 101;
            assert_eq!(watchdog.deadline(), Some(Deadline::Count(due)));
        }
    }
}

#[test]
fn switched_off_it_is_quiet() {
    let mut watchdog = armed();
    watchdog.note_time(at(1101));
    set(&mut watchdog, WCS, 0);
    assert_eq!((watchdog.deadline(), lines(&watchdog), get(&mut watchdog, WCS)), (None, (false, false), 0));
}

#[test]
fn the_offset_has_48_bits_and_the_compare_value_64() {
    let mut watchdog = armed();
    watchdog.write(WOR, Width::Doubleword, 0x1234_5678_9ABC_DEF0);
    assert_eq!(watchdog.read(WOR, Width::Doubleword), 0x5678_9ABC_DEF0);
    assert_eq!(watchdog.read(WCV, Width::Doubleword), 0x5678_9ABC_DEF0 + 1000);
    watchdog.write(WCV, Width::Doubleword, 0x1234_5678_9ABC_DEF0);
    assert_eq!(
        watchdog.deadline(),
        Some(Deadline::Count(0x1234_5678_9ABC_DEF1)),
        "no refresh, but a new value"
    );
    set(&mut watchdog, WCV_HIGH, 0);
    set(&mut watchdog, WCV, 7);
    watchdog.note_time(at(1000));
    assert_eq!(lines(&watchdog), (true, false));
}

#[test]
fn reads_refresh_nothing() {
    let mut watchdog = armed();
    watchdog.note_time(at(1050));
    let before = watchdog.clone();
    for register in (0..2 * REFRESH).step_by(4) {
        let _ = get(&mut watchdog, register);
    }
    assert_eq!(watchdog, before);
    for register in
        (0..2 * REFRESH).step_by(4).filter(|at| ![WCS, WOR, WOR_HIGH, WCV, WCV_HIGH, WRR].contains(at))
    {
        set(&mut watchdog, register, u32::MAX);
    }
    assert_eq!(watchdog, before, "what is no register, or reads only, is not written");
}

#[test]
fn time_does_not_go_back() {
    let mut watchdog = armed();
    watchdog.note_time(at(1050));
    watchdog.note_time(at(10));
    set(&mut watchdog, WRR, 0);
    assert_eq!(watchdog.deadline(), Some(Deadline::Count(1151)));
}

proptest! {
    /// Against what the specification says of one step.
    #[test]
    fn nothing_a_guest_does_hurts(
        operations in prop::collection::vec((0u64..0x2010, 0u32..4, any::<Option<u64>>(), 0u64..1 << 50), 0..64),
    ) {
        let mut watchdog = Watchdog::power_on(at(0));
        for (offset, width, value, count) in operations {
            let width = Width::from_log2(width);
            let before = lines(&watchdog);
            watchdog.note_time(at(count));
            if before == (false, false) {
                prop_assert!(!watchdog.reset_line(), "both stages at once");
            }
            match value {
                Some(value) => watchdog.write(offset, width, value & width.mask()),
                None => { let _ = watchdog.read(offset, width); }
            }
            let wcs = get(&mut watchdog, WCS);
            prop_assert_eq!(lines(&watchdog), (wcs & WS0 != 0, wcs & WS1 != 0));
            prop_assert!(wcs & EN != 0 || wcs == 0);
            prop_assert_eq!(watchdog.deadline().is_some(), wcs & EN != 0);
            let saved = postcard::to_allocvec(&watchdog).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Watchdog>(&saved).unwrap(), watchdog.clone());
        }
    }
}
