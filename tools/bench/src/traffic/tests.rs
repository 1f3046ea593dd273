// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs that are made up.

use super::*;
use crate::record::{Comparison, Record};

fn account(mib: u64, instructions: u64, notifications: u64) -> Account {
    let mut exits = Exits::default();
    (0..notifications).for_each(|_| exits.add("write of a virtio device".to_owned()));
    Account { bytes: mib * MIB, instructions, exits }
}

fn traffic(vambrace: u64) -> Traffic {
    let (native, vambrace) = (account(2, 2_000, 0), account(4, 4 * vambrace, 15));
    let routes = ROUTES.map(|route| route.judge(&native, &vambrace, true));
    Traffic { release: "6.12.94".into(), routes: routes.into() }
}

#[test]
fn what_both_runs_take_is_nobodys() {
    let run = |mib: u64| Ok(account(mib, 1_000_000 + 50 * mib, 7 + 2 * mib));
    assert_eq!(longer(Route::Read, run).unwrap(), account(128, 50 * 128, 2 * 128));
}

#[test]
fn figures_are_per_mib_and_held_against_the_target() {
    let met = &traffic(1_500).routes[0];
    assert_eq!((met.native, met.vambrace, met.exits, met.verdict), (1_000, 1_500, 3, Verdict::Met));
    assert_eq!(met.causes[0].count, 3);
    assert!(traffic(1_501).verdicts().all(|verdict| verdict == Verdict::Missed));
    let other = Route::Read.judge(&account(1, 1, 0), &account(1, 9, 0), false);
    assert_eq!(other.verdict, Verdict::NoTarget);
}

#[test]
fn a_run_that_moved_nothing_is_no_division_by_zero() {
    assert_eq!(account(0, 5, 0).per_mib(5), 5 * MIB);
}

#[test]
fn a_ratio_may_be_a_tenth_worse() {
    let record = Record::default().with_traffic(&traffic(1_200));
    assert_eq!(Record::parse(&record.text()).unwrap(), record);
    assert_eq!(record.compare_traffic(&traffic(1_300)), Comparison::default());
    let worse = record.compare_traffic(&traffic(1_301)).worse;
    assert_eq!(worse[0], "disk-read: 1.301000, and 1.200000 is recorded");
    let fewer = Traffic { routes: Vec::new(), ..traffic(1_200) };
    assert_eq!(record.compare_traffic(&fewer).worse.len(), ROUTES.len());
}

#[test]
fn the_table_has_figures_and_causes() {
    let text = traffic(1_501).text();
    for part in ["instructions per MiB, Linux 6.12.94", "1.501000", "3 write of a virtio device"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(markdown(&traffic(1_400)).contains("| 1,000 | 1,400 | 1.400000 | 1.500000 | met | 3 |"));
}
