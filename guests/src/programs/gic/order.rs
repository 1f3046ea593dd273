// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who comes first: priorities, preemption, and crowds larger than any number of list registers.

use super::{EOI_MODE, SPARE, next, nothing, prepare, put_away};
use crate::gic::{self, SPURIOUS};

pub(super) fn priorities() {
    let order = [0x50, 0x20, 0xA8, 0x08, 0xF0, 0x80, 0x18];
    for (intid, priority) in SPARE.zip(order) {
        prepare(intid, priority);
        gic::set_pending(intid, true);
    }
    let mut want = order;
    want.sort_unstable();
    let got = want.map(|_| {
        let intid = next();
        let running = gic::running_priority() as u8;
        gic::end(intid);
        running
    });
    check_eq!(got, want, "the most urgent first");
    let intid = SPARE.start;
    gic::set_priority(intid, 0x90);
    gic::set_pending(intid, true);
    write_register!("icc_pmr_el1", 0x90);
    check!(nothing(), "the mask hides what is as urgent as it");
    write_register!("icc_pmr_el1", 0x98);
    check_eq!(next(), intid, "and lets through what is more urgent");
    gic::end(intid);
    write_register!("icc_pmr_el1", 0xFF);
    gic::set_pending(intid, true);
    gic::set_pending(intid + 1, true);
    gic::set_priority(intid + 1, 0xA0);
    gic::set_priority(intid, 0xB0);
    check_eq!(next(), intid + 1, "priorities may change while pending");
    gic::end(intid + 1);
    check_eq!(next(), intid, "and the other follows");
    gic::end(intid);
    put_away(SPARE.take(order.len()));
}

pub(super) fn preemption() {
    let [low, high, between] = [SPARE.start, SPARE.start + 1, SPARE.start + 2];
    prepare(low, 0xA0);
    prepare(high, 0x40);
    prepare(between, 0xA8);
    gic::set_pending(low, true);
    check_eq!(next(), low, "the first");
    gic::set_pending(between, true);
    check!(nothing(), "a less urgent one waits");
    gic::set_pending(high, true);
    check_eq!(next(), high, "a more urgent one preempts");
    check_eq!(gic::running_priority(), 0x40, "and runs");
    gic::end(high);
    check_eq!(gic::running_priority(), 0xA0, "then the first again");
    check!(nothing(), "and the less urgent one still waits");
    gic::end(low);
    check_eq!(next(), between, "until now");
    gic::end(between);

    // With the binary point at 6 only the two highest bits of a priority count.
    write_register!("icc_bpr1_el1", 6);
    check_eq!(read_register!("icc_bpr1_el1"), 6, "ICC_BPR1_EL1");
    gic::set_pending(low, true);
    check_eq!(next(), low, "with a binary point");
    gic::set_priority(high, 0x88);
    gic::set_pending(high, true);
    check!(nothing(), "one of the same group priority waits");
    gic::set_priority(high, 0x78);
    check_eq!(next(), high, "one of a more urgent group priority preempts");
    gic::end(high);
    gic::end(low);
    write_register!("icc_bpr1_el1", 0);
    put_away([low, high, between]);
}

/// All SGIs, some PPIs and 31 SPIs at once.
fn crowd() -> impl Iterator<Item = u32> + Clone {
    (0..16).chain([16, 17, 18, 19, 20, 21, 22]).chain(SPARE.take(31))
}

pub(super) fn many_pending() {
    for round in 0..3u32 {
        for (position, intid) in (0u32..).zip(crowd()) {
            // Every priority level there is, scattered.
            prepare(intid, (((position * 13 + round * 7) % 31) << 3) as u8);
        }
        for intid in crowd() {
            gic::set_pending(intid, true);
        }
        let (mut seen, mut last, mut in_order) = ([0u32; 4], 0, true);
        let mut count = 0;
        loop {
            let intid = if count < crowd().count() { next() } else { gic::acknowledge() };
            if intid == SPURIOUS {
                break;
            }
            let priority = gic::running_priority();
            in_order &= priority >= last;
            last = priority;
            if let Some(word) = seen.get_mut((intid / 32) as usize) {
                *word ^= 1 << (intid % 32);
            }
            count += 1;
            gic::end(intid);
        }
        check_eq!(count, crowd().count(), "crowd, round {round}: each came once");
        check_eq!(seen, [0x007F_FFFF, 0, u32::MAX >> 1, 0], "crowd, round {round}: and none else");
        check!(in_order, "crowd, round {round}: in the order of their priorities");
    }
    // While the crowd waits, a more urgent one overtakes it.
    for intid in crowd() {
        prepare(intid, 0xC0);
        gic::set_pending(intid, true);
    }
    let first = next();
    gic::end(first);
    let urgent = SPARE.end - 1;
    prepare(urgent, 0x10);
    gic::set_pending(urgent, true);
    check_eq!(next(), urgent, "crowd: a more urgent one overtakes");
    gic::end(urgent);
    put_away(crowd().chain([urgent]));
    check!(nothing(), "crowd: gone when disabled");
}

pub(super) fn many_active() {
    const DEPTH: u32 = 24;
    let intid_at = |level: u32| SPARE.start + level;
    let priority_at = |level: u32| (0xF0 - 8 * level) as u8;
    let nest = || {
        (0..DEPTH).all(|level| {
            prepare(intid_at(level), priority_at(level));
            gic::set_pending(intid_at(level), true);
            next() == intid_at(level) && gic::running_priority() == u32::from(priority_at(level))
        })
    };
    let active = || (0..DEPTH).filter(|level| gic::is_active(intid_at(*level))).count();
    check!(nest(), "{DEPTH} nested");
    check_eq!(active(), DEPTH as usize, "all are active");
    let unwound = (0..DEPTH).rev().all(|level| {
        let right = gic::running_priority() == u32::from(priority_at(level));
        gic::end(intid_at(level));
        right && !gic::is_active(intid_at(level))
    });
    check!(unwound && gic::running_priority() == 0xFF, "and end in turn");

    write_register!("icc_ctlr_el1", EOI_MODE);
    let all = (0..DEPTH).all(|level| {
        prepare(intid_at(level), 0x80);
        gic::set_pending(intid_at(level), true);
        let intid = next();
        gic::end(intid);
        intid == intid_at(level)
    });
    check!(all, "EOImode 1: {DEPTH} active after each other");
    check_eq!(active(), DEPTH as usize, "EOImode 1: all are active");
    let one_more = intid_at(DEPTH);
    prepare(one_more, 0xE0);
    gic::set_pending(one_more, true);
    check_eq!(next(), one_more, "EOImode 1: yet another comes through");
    gic::end(one_more);
    gic::deactivate(one_more);
    // 7 and 24 have no common divisor: every one, scattered.
    (0..DEPTH).for_each(|step| gic::deactivate(intid_at(step * 7 % DEPTH)));
    check_eq!(active(), 0, "EOImode 1: deactivated in any order");
    (0..DEPTH).for_each(|level| gic::set_pending(intid_at(level), true));
    let again = (0..DEPTH)
        .map(|_| {
            let intid = next();
            gic::end(intid);
            gic::deactivate(intid);
            u32::from(intid != SPURIOUS)
        })
        .sum::<u32>();
    check_eq!(again, DEPTH, "EOImode 1: and all come again");
    write_register!("icc_ctlr_el1", 0);
    put_away((0..=DEPTH).map(intid_at));
}
