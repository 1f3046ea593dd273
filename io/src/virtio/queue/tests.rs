// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::*;
use crate::virtio::model::driver::{self, BUFFERS, Fields, areas};
use crate::virtio::model::hostile::{self, Aim, Bytes};
use crate::virtio::model::ram::{BASE, LEN, Ram};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const ALL: u64 = feature::COMMON;

fn queue(size: u16) -> Queue {
    let [descriptors, available, used] = areas(0);
    let mut queue = Queue { size, descriptors, available, used, ..Queue::default() };
    queue.start().unwrap();
    queue
}

fn write_descriptor(ram: &Ram, at: u64, (address, len, flags): (u64, u32, u16), next: u16) {
    driver::write_descriptor(ram, at, Fields { at: address, len, flags }, next);
}

fn descriptor(ram: &Ram, index: u64, fields: (u64, u32, u16), next: u16) {
    write_descriptor(ram, areas(0)[0] + 16 * index, fields, next);
}

/// Makes one more chain available, in a queue of `size`.
fn offer(ram: &Ram, size: u16, head: u16) {
    let available = areas(0)[1];
    let index = ram.load_u16(available + 2);
    ram.store(available + 4 + 2 * u64::from(index % size), &head.to_le_bytes());
    ram.store(available + 2, &index.wrapping_add(1).to_le_bytes());
}

fn take(queue: &mut Queue, ram: &Ram) -> Result<Option<Chain>, Fault> {
    let mut chain = Chain::new();
    Ok(match queue.take(ram, ALL, &mut chain)? {
        Taken::Chain => Some(chain),
        Taken::Nothing => None,
    })
}

/// What a queue of 8 says of the one chain that `write` makes, from descriptor 0.
fn verdict(features: u64, write: impl FnOnce(&Ram)) -> Result<Taken, Fault> {
    let ram = Ram::new();
    write(&ram);
    offer(&ram, 8, 0);
    queue(8).take(&ram, features, &mut Chain::new())
}

#[test]
fn spec_2_7_sizes_and_addresses_of_a_queue() {
    let [descriptors, available, used] = areas(0);
    let start = |size, descriptors, available, used| {
        Queue { size, descriptors, available, used, ..Queue::default() }.start()
    };
    for power in 0..=7 {
        assert_eq!(start(1 << power, descriptors, available, used), Ok(()));
    }
    for size in [0, 3, 127, 129, 256, 0x8000, 0xFFFF] {
        assert_eq!(start(size, descriptors, available, used), Err(Fault::Size { size }));
    }
    for (parts, wrong) in [
        ([descriptors + 8, available, used], descriptors + 8),
        ([descriptors, available + 1, used], available + 1),
        ([descriptors, available, used + 2], used + 2),
        ([u64::MAX - 15, available, used], u64::MAX - 15),
        ([descriptors, u64::MAX - 19, used], u64::MAX - 19),
        ([descriptors, available, u64::MAX - 67], u64::MAX - 67),
    ] {
        assert_eq!(start(8, parts[0], parts[1], parts[2]), Err(Fault::Area { ipa: Ipa(wrong) }));
    }
}

#[test]
fn spec_2_7_5_a_chain_is_what_its_descriptors_say() {
    let ram = Ram::new();
    descriptor(&ram, 5, (BUFFERS, 3, NEXT), 1);
    descriptor(&ram, 1, (BUFFERS + 100, 2, NEXT), 6);
    descriptor(&ram, 6, (BUFFERS + 200, 4, WRITE | NEXT), 0);
    descriptor(&ram, 0, (BUFFERS + 300, 1, WRITE), 7);
    ram.store(BUFFERS, b"abc");
    ram.store(BUFFERS + 100, b"de");
    offer(&ram, 8, 5);
    let chain = take(&mut queue(8), &ram).unwrap().unwrap();
    assert_eq!((chain.head(), chain.readable().len(), chain.writable().len()), (5, 5, 5));
    for (offset, wanted) in [(0, &b"abcde"[..]), (2, b"cde"), (3, b"d"), (1, b"bc")] {
        let mut got = vec![0; wanted.len()];
        chain.readable().read(&ram, offset, &mut got).unwrap();
        assert_eq!(got, wanted);
    }
    chain.writable().write(&ram, 3, b"XY").unwrap();
    chain.writable().write(&ram, 1, b"V").unwrap();
    assert_eq!(
        (ram.load(BUFFERS + 200, 5), ram.load(BUFFERS + 300, 2)),
        (b"\0V\0X\0".to_vec(), b"Y\0".to_vec())
    );
    let mut long = [7; 8];
    chain.readable().read(&ram, 4, &mut long).unwrap();
    assert_eq!(long, [b'e', 7, 7, 7, 7, 7, 7, 7]);
    ram.clear_log();
    chain.writable().write(&ram, 3, b"12345678").unwrap();
    assert_eq!(ram.writes(), [(BUFFERS + 203, 1), (BUFFERS + 300, 1)], "nothing behind the end");
}

#[test]
fn a_chain_that_was_taken_no_longer_depends_on_memory() {
    let ram = Ram::new();
    descriptor(&ram, 0, (BUFFERS, 8, NEXT), 1);
    descriptor(&ram, 1, (BUFFERS + 100, 8, WRITE), 0);
    offer(&ram, 8, 0);
    let chain = take(&mut queue(8), &ram).unwrap().unwrap();
    let before = chain.clone();
    descriptor(&ram, 0, (0, 0, INDIRECT), 0xFFFF);
    descriptor(&ram, 1, (u64::MAX, u32::MAX, 0xFFFF), 0xFFFF);
    chain.writable().write(&ram, 0, b"12345678").unwrap();
    assert_eq!((chain, ram.load(BUFFERS + 100, 8)), (before, b"12345678".to_vec()));
}

#[test]
fn spec_2_7_5_3_a_table_is_read_instead() {
    for first in [0, NEXT] {
        let ram = Ram::new();
        let table = BUFFERS + 0x1000;
        // 2.7.5.3.2: normal descriptors may come before; the WRITE flag of the one for the table does not count.
        descriptor(&ram, 0, (BUFFERS, 2, NEXT), 3);
        descriptor(&ram, 3, (table, 32, INDIRECT | WRITE), 0);
        write_descriptor(&ram, table, (BUFFERS + 10, 5, NEXT), 1);
        write_descriptor(&ram, table + 16, (BUFFERS + 20, 6, WRITE), 0);
        offer(&ram, 8, if first == 0 { 3 } else { 0 });
        let chain = take(&mut queue(8), &ram).unwrap().unwrap();
        let readable = if first == 0 { 5 } else { 7 };
        assert_eq!((chain.readable().len(), chain.writable().len()), (readable, 6));
    }
}

#[test]
fn spec_2_7_5_3_1_what_is_wrong_with_a_table() {
    let table = BUFFERS + 0x1000;
    let with = |flags, len, inner: (u64, u32, u16), next| {
        verdict(ALL, |ram| {
            descriptor(ram, 0, (table, len, flags), 1);
            descriptor(ram, 1, (BUFFERS, 1, 0), 0);
            for index in 0..16 {
                write_descriptor(ram, table + 16 * index, inner, next);
            }
        })
    };
    let fine = (BUFFERS, 4, 0);
    assert_eq!(with(INDIRECT, 16, fine, 0), Ok(Taken::Chain));
    assert_eq!(with(INDIRECT | NEXT, 16, fine, 0), Err(Fault::Indirect { head: 0 }));
    assert_eq!(with(INDIRECT, 16, (table, 16, INDIRECT), 0), Err(Fault::Indirect { head: 0 }));
    for len in [0, 8, 15, 17, 16 * 9, u32::MAX, !15] {
        assert_eq!(with(INDIRECT, len, fine, 0), Err(Fault::Table { head: 0, len }), "{len}");
    }
    assert_eq!(with(INDIRECT, 32, (BUFFERS, 4, NEXT), 2), Err(Fault::Index { index: 2, size: 2 }));
    assert_eq!(with(INDIRECT, 32, (BUFFERS, 4, NEXT), 1), Err(Fault::Long { head: 0 }));
    let not_agreed = verdict(feature::VERSION_1, |ram| descriptor(ram, 0, (table, 16, INDIRECT), 0));
    assert_eq!(not_agreed, Err(Fault::Indirect { head: 0 }));
    let at_the_end = verdict(ALL, |ram| descriptor(ram, 0, (u64::MAX - 14, 16, INDIRECT), 0));
    assert_eq!(at_the_end, Err(Fault::Table { head: 0, len: 16 }));
    let outside = verdict(ALL, |ram| descriptor(ram, 0, (BASE + LEN, 16, INDIRECT), 0));
    assert_eq!(outside, Err(Fault::Outside { ipa: Ipa(BASE + LEN) }));
}

#[test]
fn spec_2_7_5_2_chains_do_not_go_round() {
    let in_a_circle = verdict(ALL, |ram| {
        descriptor(ram, 0, (BUFFERS, 1, NEXT), 1);
        descriptor(ram, 1, (BUFFERS, 1, NEXT), 0);
    });
    assert_eq!(in_a_circle, Err(Fault::Long { head: 0 }));
    let of_the_queues_size = verdict(ALL, |ram| {
        for index in 0..8 {
            descriptor(ram, u64::from(index), (BUFFERS, 1, if index == 7 { 0 } else { NEXT }), index + 1);
        }
    });
    assert_eq!(of_the_queues_size, Ok(Taken::Chain));
}

#[test]
fn what_is_wrong_with_a_descriptor() {
    let one = |fields| verdict(ALL, |ram| descriptor(ram, 0, fields, 8));
    let length = |ipa, len| Err(Fault::Length { head: 0, ipa: Ipa(ipa), len });
    assert_eq!(one((BUFFERS, 1, 0)), Ok(Taken::Chain));
    assert_eq!(one((BUFFERS, 0, 0)), length(BUFFERS, 0));
    assert_eq!(one((u64::MAX, 2, 0)), length(u64::MAX, 2));
    assert_eq!(one((BUFFERS, 1, NEXT)), Err(Fault::Index { index: 8, size: 8 }));
    // 2.7.4.2
    let read_after_write = verdict(ALL, |ram| {
        descriptor(ram, 0, (BUFFERS, 1, WRITE | NEXT), 1);
        descriptor(ram, 1, (BUFFERS, 1, 0), 0);
    });
    assert_eq!(read_after_write, Err(Fault::Order { head: 0 }));
    // 2.7.5.2
    let too_much = verdict(ALL, |ram| {
        descriptor(ram, 0, (BUFFERS, u32::MAX, NEXT), 1);
        descriptor(ram, 1, (BUFFERS, 2, 0), 0);
    });
    assert_eq!(too_much, length(BUFFERS, 2));
}

#[test]
fn buffers_outside_memory_are_found_when_they_are_used() {
    let ram = Ram::new();
    descriptor(&ram, 0, (BASE + LEN - 4, 4, NEXT), 1);
    descriptor(&ram, 1, (BASE + LEN, 4, NEXT), 2);
    descriptor(&ram, 2, (BASE - 4, 8, WRITE), 0);
    offer(&ram, 8, 0);
    let chain = take(&mut queue(8), &ram).unwrap().unwrap();
    assert_eq!(chain.readable().read(&ram, 0, &mut [0; 4]), Ok(()));
    let outside = |ipa| Err(Fault::Outside { ipa: Ipa(ipa) });
    assert_eq!(chain.readable().read(&ram, 3, &mut [0; 2]), outside(BASE + LEN));
    assert_eq!(chain.writable().write(&ram, 0, &[1; 8]), outside(BASE - 4));
    assert_eq!(ram.writes(), []);
}

#[test]
fn spec_2_7_13_the_available_index_counts_what_was_added() {
    let ram = Ram::new();
    let [_, available, _] = areas(0);
    descriptor(&ram, 0, (BUFFERS, 1, 0), 0);
    let mut queue = queue(8);
    for (index, wanted) in [(0, Ok(0)), (8, Ok(8)), (9, Err(9)), (0xFFFF, Err(0xFFFF))] {
        ram.store(available + 2, &u16::to_le_bytes(index));
        let wanted = wanted.map_err(|by| Fault::Jump { by, size: 8 });
        assert_eq!(queue.waiting(&ram), wanted);
    }
    ram.store(available + 2, &[0; 2]);
    for head in [8, 0xFFFF] {
        offer(&ram, 8, head);
        assert_eq!(take(&mut queue, &ram), Err(Fault::Index { index: head, size: 8 }));
        ram.store(available + 2, &[0; 2]);
    }
    for part in 0..3 {
        let mut parts = areas(0);
        parts[part] = BASE + LEN;
        let [descriptors, available, used] = parts;
        let mut queue = Queue { descriptors, available, used, ..queue.clone() };
        offer(&ram, 8, 0);
        let mut work = || {
            take(&mut queue, &ram)?;
            queue.complete(&ram, 0, &[Used { head: 0, written: 0 }])
        };
        assert!(matches!(work(), Err(Fault::Outside { .. })), "part {part}");
    }
}

#[test]
fn spec_2_7_8_used_entries_go_round_and_the_index_counts_on() {
    let ram = Ram::new();
    let [_, _, used] = areas(0);
    descriptor(&ram, 0, (BUFFERS, 1, 0), 0);
    descriptor(&ram, 3, (BUFFERS, 1, 0), 0);
    let mut queue = queue(4);
    for round in 0..0x1_0005_u32 {
        let head = if round % 3 == 0 { 3 } else { 0 };
        offer(&ram, 4, head);
        assert_eq!(take(&mut queue, &ram).unwrap().map(|chain| chain.head()), Some(head));
        let _ = queue.complete(&ram, 0, &[Used { head, written: round }]).unwrap();
        let entry = used + 4 + 8 * u64::from(round % 4);
        assert_eq!((ram.load_u32(entry), ram.load_u32(entry + 4)), (u32::from(head), round));
        assert_eq!(ram.load_u16(used + 2), (round + 1) as u16);
        ram.clear_log();
    }
    assert_eq!(take(&mut queue, &ram), Ok(None));
}

/// 2.7.8.2: entry first, index after; several are seen together.
#[test]
fn spec_2_7_8_2_the_index_comes_last() {
    let ram = Ram::new();
    let [_, _, used] = areas(0);
    let mut queue = queue(8);
    let entries = [Used { head: 1, written: 5 }, Used { head: 2, written: 6 }];
    assert_eq!(queue.complete(&ram, 0, &entries), Ok(Notice::Due));
    assert_eq!(ram.writes(), [(used + 4, 8), (used + 12, 8), (used + 2, 2)]);
}

#[test]
fn chains_put_back_are_taken_again() {
    let ram = Ram::new();
    let mut queue = queue(8);
    for head in 0..3 {
        descriptor(&ram, u64::from(head), (BUFFERS, 1, 0), 0);
        offer(&ram, 8, head);
    }
    let mut heads = || take(&mut queue, &ram).unwrap().map(|chain| chain.head());
    assert_eq!([heads(), heads(), heads(), heads()], [Some(0), Some(1), Some(2), None]);
    queue.put_back(2);
    assert_eq!(take(&mut queue, &ram).unwrap().map(|chain| chain.head()), Some(1));
}

#[test]
fn spec_2_7_7_interrupts_are_suppressed_by_flag() {
    let ram = Ram::new();
    let mut queue = queue(8);
    let mut complete = |flags: u16| {
        ram.store(areas(0)[1], &flags.to_le_bytes());
        queue.complete(&ram, 0, &[Used { head: 0, written: 0 }]).unwrap()
    };
    assert_eq!([complete(0), complete(1), complete(2)], [Notice::Due, Notice::Suppressed, Notice::Due]);
}

#[test]
fn spec_2_7_7_interrupts_are_suppressed_by_event() {
    let ram = Ram::new();
    let mut queue = queue(8);
    ram.store(areas(0)[1], &1u16.to_le_bytes());
    let mut complete = |event: u16, count: usize| {
        ram.store(areas(0)[1] + 4 + 16, &event.to_le_bytes());
        let entry = Used { head: 0, written: 0 };
        queue.complete(&ram, feature::EVENT_IDX, &vec![entry; count]).unwrap() == Notice::Due
    };
    assert!(complete(0, 1), "the flag does not count, and entry 0 was waited for");
    assert!(!complete(0, 1), "but entry 1 was not");
    assert!(!complete(4, 2), "entries 2 and 3");
    assert!(complete(4, 1), "entry 4");
    assert!(complete(6, 3), "entries 5 to 7");
    assert!(!complete(8 + 8, 8), "entries 8 to 15");
}

#[test]
fn spec_2_7_10_the_device_says_whether_it_wants_notifications() {
    let ram = Ram::new();
    let [_, _, used] = areas(0);
    let mut queue = queue(8);
    descriptor(&ram, 0, (BUFFERS, 1, 0), 0);
    assert_eq!((queue.ignore(&ram, 0), ram.load_u16(used)), (Ok(()), 1));
    assert_eq!((queue.ignore(&ram, 0), ram.writes().len()), (Ok(()), 1), "once is enough");
    offer(&ram, 8, 0);
    assert_eq!((queue.listen(&ram, 0), ram.load_u16(used)), (Ok(1), 0), "what came meanwhile is seen");
    take(&mut queue, &ram).unwrap();
    assert_eq!(queue.listen(&ram, 0), Ok(0));
    // With EVENT_IDX the flags stay 0 (2.7.10.2), and the index says which chain is waited for.
    ram.clear_log();
    queue.ignore(&ram, ALL).unwrap();
    assert_eq!(ram.writes(), []);
    assert_eq!((queue.listen(&ram, ALL), ram.load_u16(used + 4 + 8 * 8)), (Ok(0), 1));
    assert_eq!(ram.writes(), [(used + 4 + 8 * 8, 2)]);
}

proptest! {
    /// Whatever is in the queue, taking a chain reads its index, its head and as many descriptors as the queue has, with
    /// one for a table. What comes out obeys the rules.
    #[test]
    fn a_hostile_queue_costs_a_bounded_number_of_reads(
        bytes in prop::collection::vec(any::<u8>(), 0..800),
        features in prop_oneof![Just(0), Just(ALL)],
    ) {
        let ram = Ram::new();
        let mut bytes = Bytes(&bytes);
        hostile::fill_queue(&ram, &mut bytes, 0, Aim::Anywhere);
        let mut queue = queue(hostile::SIZE);
        for _ in 0..hostile::SIZE {
            ram.clear_log();
            let mut chain = Chain::new();
            let taken = queue.take(&ram, features, &mut chain);
            prop_assert!(ram.accesses() <= 2 + u64::from(hostile::SIZE) + 1);
            prop_assert_eq!(ram.writes(), []);
            if taken != Ok(Taken::Chain) {
                break;
            }
            let (readable, writable) = (chain.readable(), chain.writable());
            prop_assert!((1..=usize::from(hostile::SIZE)).contains(&(readable.0.len() + writable.0.len())));
            prop_assert!((1..=1 << 32).contains(&(readable.len() + writable.len())));
            let _ = queue.complete(&ram, features, &[Used { head: chain.head(), written: 0 }]);
        }
    }
}
