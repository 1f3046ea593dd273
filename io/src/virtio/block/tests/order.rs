// SPDX-License-Identifier: MIT OR Apache-2.0
//! What comes before what, what is under way at once, and what a poll costs.

use super::*;

#[test]
fn spec_5_2_6_2_without_flush_a_write_is_complete_when_it_lasts() {
    let mut bench = Bench::new(common::COMMON, BlockAccess::ReadWrite);
    bench.disk.delays = vec![1, 0, 0];
    bench.offer(format::request::OUT, 0, &[Part::Out(&[1; 5000 / 512 * 512])]);
    assert_eq!(bench.serve(), After::Backend);
    assert_eq!(bench.disk.events, [Event::Write(0, 8), Event::Write(8, 1), Event::Flush]);
    assert_eq!(bench.returned(), None, "the flush is pending");
    assert_eq!(bench.serve(), After::Idle);
    assert_eq!(bench.returned().unwrap().bytes, [OK]);
}

#[test]
fn with_flush_a_write_needs_none() {
    let mut bench = bench();
    assert_eq!(bench.status(format::request::OUT, 0, &[Part::Out(&[1; 512])]), OK);
    assert_eq!(bench.disk.events, [Event::Write(0, 1)]);
}

#[test]
fn spec_5_2_6_2_a_flush_waits_for_the_writes_before_it() {
    let mut bench = bench();
    bench.disk.delays = vec![0, 0, 2];
    bench.offer(format::request::OUT, 0, &[Part::Out(&[1; 512])]);
    bench.offer(format::request::FLUSH, 0, &[]);
    let later = bench.offer(format::request::OUT, 1, &[Part::Out(&[1; 512])]);
    bench.offer(format::request::FLUSH, 0, &[]);
    assert_eq!(bench.serve(), After::Backend);
    assert_eq!(bench.disk.events, [Event::Write(0, 1), Event::Write(1, 1)]);
    assert_eq!(bench.returned().unwrap().head, later, "the later write need not wait");
    assert_eq!(bench.serve(), After::Backend);
    assert_eq!(bench.disk.events.len(), 2);
    assert_eq!(bench.serve(), After::Idle);
    assert_eq!(bench.disk.events[2..], [Event::Flush, Event::Flush]);
}

#[test]
fn a_flush_does_not_wait_for_reads() {
    let mut bench = bench();
    bench.disk.delays = vec![0, 5];
    bench.offer(format::request::IN, 0, &[Part::In(512)]);
    bench.offer(format::request::FLUSH, 0, &[]);
    assert_eq!(bench.serve(), After::Backend);
    assert_eq!(bench.returned().unwrap().bytes, [OK]);
}

#[test]
fn requests_under_way_are_bounded_and_end_in_the_disks_order() {
    let mut bench = bench();
    // The last is for the first operation.
    bench.disk.delays = vec![1, 2, 1, 3];
    for sector in 0..6 {
        bench.offer(format::request::IN, sector, &[Part::In(512)]);
    }
    assert_eq!(bench.serve(), After::Backend);
    assert_eq!(bench.disk.events.len(), IN_FLIGHT);
    let mut ended = Vec::new();
    for turn in 0..3 {
        let _ = bench.serve();
        while let Some(returned) = bench.returned() {
            let sector = bench.disk.bytes.chunks(512).position(|sector| sector == &returned.bytes[..512]);
            ended.push((turn, sector.unwrap()));
        }
    }
    assert_eq!(ended, [(0, 1), (0, 3), (0, 4), (0, 5), (1, 2), (2, 0)]);
    assert_eq!(bench.serve(), After::Idle);
}

#[test]
fn a_busy_disk_is_asked_again() {
    let mut bench = bench();
    bench.disk.busy = 1;
    bench.offer(format::request::OUT, 0, &[Part::Out(&[9; 512])]);
    assert_eq!(bench.serve(), After::Backend);
    assert_eq!(bench.disk.events, []);
    assert_eq!(bench.serve(), After::Idle);
    assert_eq!((bench.returned().unwrap().bytes, bench.disk.bytes[0]), (vec![OK], 9));
}

#[test]
fn a_failure_that_comes_later_is_told() {
    let mut bench = bench();
    bench.disk.delays = vec![1];
    bench.offer(format::request::IN, 0, &[Part::In(512)]);
    assert_eq!(bench.serve(), After::Backend);
    bench.disk.broken = true;
    assert_eq!(bench.serve(), After::Idle);
    assert_eq!(bench.returned().unwrap().bytes.last(), Some(&IOERR));
}

#[test]
fn a_long_request_goes_on_in_the_next_turn() {
    let mut bench = bench();
    bench.offer(format::request::IN, 0, &[Part::In(20 * 512)]);
    let mut quota = Quota { requests: 10, bytes: 12 * 512 + 100 };
    let after = bench.device.serve(&bench.ram, &mut bench.disk, &mut bench.buffer, &mut quota);
    assert_eq!((after, quota.bytes, quota.requests), (After::More, 0, 9));
    assert_eq!(bench.disk.events, [Event::Read(0, 8), Event::Read(8, 4), Event::Read(12, 1)]);
    assert_eq!(bench.returned(), None);
    assert_eq!(bench.serve(), After::Idle);
    assert_eq!(bench.returned().unwrap().bytes[..20 * 512], bench.disk.bytes[..20 * 512]);
}

#[test]
fn ranges_are_charged_by_the_byte_too() {
    let mut bench = bench();
    bench.offer(format::request::WRITE_ZEROES, 0, &[Part::Out(&range(0, 64, 0))]);
    let mut quota = Quota { requests: 10, bytes: 4096 };
    let after = bench.device.serve(&bench.ram, &mut bench.disk, &mut bench.buffer, &mut quota);
    assert_eq!((after, quota.bytes, bench.disk.events.len()), (After::More, 0, 1));
}

#[test]
fn a_reset_forgets_requests_and_waits_for_the_disk() {
    for stop in [registers::STATUS, registers::QUEUE_READY] {
        let mut bench = bench();
        bench.disk.delays = vec![3; 4];
        for sector in 0..5 {
            bench.offer(format::request::IN, sector, &[Part::In(512)]);
        }
        assert_eq!(bench.serve(), After::Backend);
        set(&mut bench.device, stop, 0);
        bench.ram.clear_log();
        assert_eq!(bench.serve(), After::Backend, "the disk is not done");
        bench.driver = Driver::start(&mut bench.device, FEATURES, 1, 64).unwrap();
        let ram = core::mem::take(&mut bench.ram);
        bench.offer(format::request::IN, 9, &[Part::In(512)]);
        assert_eq!(bench.serve(), After::Backend, "no place is free");
        assert_eq!(bench.serve(), After::Idle);
        assert_eq!(bench.returned().unwrap().bytes[..512], bench.disk.bytes[9 * 512..10 * 512]);
        assert_eq!(ram.writes(), [], "the old driver's memory");
    }
}

#[test]
fn after_a_fault_what_is_under_way_is_dropped() {
    // A request that is none, and a chain that is none.
    for wrong in [Part::In(1), Part::In(0)] {
        let mut bench = bench();
        bench.disk.delays = vec![1];
        bench.offer(format::request::IN, 0, &[Part::In(512)]);
        bench.driver.offer(&bench.ram, 0, &[wrong]);
        assert_eq!(bench.serve(), After::Backend);
        assert!(bench.device.fault().is_some());
        bench.ram.clear_log();
        assert_eq!(bench.serve(), After::Idle);
        assert_eq!((bench.returned(), bench.ram.accesses()), (None, 0));
        assert!(bench.disk.pending.is_empty());
    }
}
