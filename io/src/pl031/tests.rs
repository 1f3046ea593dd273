// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::registers::*;
use super::*;

const START: u64 = 1_767_225_600;

fn clock() -> Pl031 {
    Pl031::new(START)
}

fn get(clock: &mut Pl031, register: u64) -> u32 {
    clock.read(register, Width::Word) as u32
}

fn set(clock: &mut Pl031, register: u64, value: u32) {
    clock.write(register, Width::Word, u64::from(value));
}

#[test]
fn registers_after_reset() {
    let mut clock = clock();
    let wanted = [(DR, START as u32), (MR, 0), (LR, 0), (CR, 1), (IMSC, 0), (RIS, 0), (MIS, 0), (ICR, 0)];
    for (register, value) in wanted {
        assert_eq!(get(&mut clock, register), value, "{register:#x}");
    }
    let id: Vec<_> = (0..8).map(|index| get(&mut clock, 0xFE0 + 4 * index)).collect();
    assert_eq!(id, [0x31, 0x10, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1]);
    assert_eq!(clock.next_deadline(), None);
}

#[test]
fn time_passes() {
    let mut clock = clock();
    clock.advance(START + 90);
    assert_eq!(get(&mut clock, DR), START as u32 + 90);
    clock.advance(START);
    assert_eq!(get(&mut clock, DR), START as u32 + 90, "never backwards");
}

#[test]
fn loading_sets_the_time_and_reset_forgets_it() {
    let mut clock = clock();
    set(&mut clock, LR, 1000);
    clock.advance(START + 5);
    assert_eq!((get(&mut clock, DR), get(&mut clock, LR)), (1005, 1000));
    clock.reset();
    assert_eq!(clock, Pl031::new(START + 5));
}

#[test]
fn the_alarm_goes_off_in_its_second() {
    let mut clock = clock();
    set(&mut clock, MR, START as u32 + 10);
    assert_eq!(clock.next_deadline(), None, "masked: nobody waits for it");
    set(&mut clock, IMSC, 1);
    assert_eq!(clock.next_deadline(), Some(START + 10));
    clock.advance(START + 9);
    assert_eq!((get(&mut clock, RIS), clock.irq_asserted()), (0, false));
    clock.advance(START + 10);
    assert_eq!((get(&mut clock, RIS), get(&mut clock, MIS), clock.irq_asserted()), (1, 1, true));
    assert_eq!(clock.next_deadline(), None);
    set(&mut clock, ICR, 1);
    assert_eq!((get(&mut clock, RIS), clock.irq_asserted()), (0, false));
    assert_eq!(clock.next_deadline(), Some(START + 10 + (1 << 32)));
}

#[test]
fn an_alarm_slept_through_still_rings() {
    let mut clock = clock();
    set(&mut clock, MR, START as u32 + 10);
    clock.advance(START + 1000);
    assert_eq!((get(&mut clock, RIS), get(&mut clock, MIS)), (1, 0));
    set(&mut clock, IMSC, 1);
    assert!(clock.irq_asserted());
}

#[test]
fn an_alarm_for_now_rings_at_once() {
    let mut clock = clock();
    set(&mut clock, MR, START as u32);
    assert_eq!(get(&mut clock, RIS), 1);
    set(&mut clock, ICR, 1);
    set(&mut clock, MR, 77);
    assert_eq!(get(&mut clock, RIS), 0);
    set(&mut clock, LR, 77);
    assert_eq!(get(&mut clock, RIS), 1);
}

#[test]
fn the_counter_wraps() {
    let mut clock = clock();
    set(&mut clock, LR, u32::MAX);
    set(&mut clock, MR, 1);
    set(&mut clock, IMSC, 1);
    assert_eq!(clock.next_deadline(), Some(START + 2));
    clock.advance(START + 2);
    assert_eq!(get(&mut clock, DR), 1);
    assert!(clock.irq_asserted());
}

#[test]
fn read_only_registers_stay() {
    let mut clock = clock();
    for register in [DR, CR, RIS, MIS, 0x20, 0xFE0, 0xFFC] {
        set(&mut clock, register, u32::MAX);
        assert_eq!(clock, Pl031::new(START), "{register:#x}");
    }
}

proptest! {
    /// The alarm against a loop over the seconds.
    #[test]
    fn rings_exactly_when_a_second_matches(
        time: u32, alarm_in in 0u32..60, steps in prop::collection::vec(0u64..20, 1..10),
    ) {
        let mut clock = clock();
        set(&mut clock, LR, time);
        set(&mut clock, MR, time.wrapping_add(alarm_in));
        set(&mut clock, IMSC, 1);
        let mut now = START;
        for step in steps {
            now += step;
            clock.advance(now);
            prop_assert_eq!(clock.irq_asserted(), now - START >= u64::from(alarm_in));
            prop_assert_eq!(get(&mut clock, DR), time.wrapping_add((now - START) as u32));
            if let Some(deadline) = clock.next_deadline() {
                prop_assert_eq!(deadline, START + u64::from(alarm_in));
            }
        }
    }

    #[test]
    fn nothing_a_guest_does_panics(
        operations in prop::collection::vec((0u64..0x1010, 0u32..4, any::<Option<u64>>(), any::<u64>()), 0..64),
    ) {
        let mut clock = Pl031::new(u64::MAX - 50);
        for (offset, width, value, now) in operations {
            let width = Width::from_log2(width);
            clock.advance(now);
            match value {
                Some(value) => clock.write(offset, width, value & width.mask()),
                None => { clock.read(offset, width); }
            }
            let masked = get(&mut clock, RIS) & get(&mut clock, IMSC);
            prop_assert_eq!(get(&mut clock, MIS), masked);
            prop_assert_eq!(clock.irq_asserted(), masked != 0);
            prop_assert!(clock.next_deadline().is_none_or(|deadline| deadline > clock.now));
            let saved = postcard::to_allocvec(&clock).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Pl031>(&saved).unwrap(), clock.clone());
        }
    }
}
