// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random requests against a plain array, and random nonsense against the bounds.

use proptest::prelude::*;

use super::*;
use crate::virtio::model::Tables;
use crate::virtio::model::hostile::{self, Aim, Bytes};

#[derive(Clone, Debug)]
enum Request {
    Read(u64, usize),
    Write(u64, Vec<u8>),
    Zeroes(u64, u32),
    Flush,
}

/// Sectors of the part of the disk that one request of a batch keeps to.
const PART: u64 = SECTORS / 4;

fn request() -> impl Strategy<Value = Request> {
    let range = (0..PART, 1..=PART).prop_map(|(first, count)| (first, count.min(PART - first)));
    prop_oneof![
        3 => range.clone().prop_map(|(first, count)| Request::Read(first, count as usize)),
        3 => (range.clone(), any::<u8>()).prop_map(|((first, count), seed)| {
            let bytes = (0..count * SECTOR).map(|at| seed.wrapping_mul(at as u8).wrapping_add((at >> 8) as u8));
            Request::Write(first, bytes.collect())
        }),
        1 => range.prop_map(|(first, count)| Request::Zeroes(first, count as u32)),
        1 => Just(Request::Flush),
    ]
}

fn offer(bench: &mut Bench, request: &Request, base: u64, cut: usize) -> u16 {
    match request {
        Request::Read(first, count) => {
            let len = count * 512;
            let cut = 1 + cut % (len - 1);
            let parts = [Part::In(cut as u32), Part::In((len - cut) as u32)];
            bench.offer(format::request::IN, base + first, &parts)
        }
        Request::Write(first, bytes) => {
            let (a, b) = bytes.split_at(1 + cut % (bytes.len() - 1));
            bench.offer(format::request::OUT, base + first, &[Part::Out(a), Part::Out(b)])
        }
        Request::Zeroes(first, count) => {
            bench.offer(format::request::WRITE_ZEROES, 0, &[Part::Out(&range(base + first, *count, 0))])
        }
        Request::Flush => bench.offer(format::request::FLUSH, 0, &[]),
    }
}

/// What the request does to the model, and what it reads.
fn apply(model: &mut [u8], request: &Request, base: u64) -> Vec<u8> {
    let at = |first: u64| ((base + first) * SECTOR) as usize;
    match request {
        Request::Read(first, count) => return model[at(*first)..][..count * 512].to_vec(),
        Request::Write(first, bytes) => model[at(*first)..][..bytes.len()].copy_from_slice(bytes),
        Request::Zeroes(first, count) => model[at(*first)..][..*count as usize * 512].fill(0),
        Request::Flush => {}
    }
    Vec::new()
}

fn kind() -> impl Strategy<Value = u32> {
    use format::request::*;
    prop_oneof![4 => Just(IN), 4 => Just(OUT), 1 => Just(FLUSH), 1 => Just(GET_ID), 2 => Just(DISCARD), 1 => 0u32..20]
}

proptest! {
    /// Requests of a batch are under way together, each in its own part of the disk.
    #[test]
    fn the_disk_is_an_array(
        batches in prop::collection::vec(prop::collection::vec((request(), any::<usize>()), 1..5), 1..12),
        delays in prop::collection::vec(0usize..4, 0..200),
        quotas in prop::collection::vec((1u32..4, 1u64..10_000), 1..10),
        buffer in 512usize..10_000,
        features in prop_oneof![Just(FEATURES), Just(FEATURES & !feature::FLUSH & !common::EVENT_IDX)],
        tables in prop_oneof![Just(Tables::Direct), Just(Tables::Indirect)],
    ) {
        let mut bench = Bench::new(features, BlockAccess::ReadWrite);
        bench.driver.tables = tables;
        bench.disk.delays = delays;
        bench.buffer = vec![0; buffer];
        let mut model = bench.disk.bytes.clone();
        let mut quotas = quotas.iter().cycle();
        for batch in batches {
            let mut wanted = BTreeMap::new();
            for (place, (request, cut)) in batch.iter().enumerate() {
                let flush = matches!(request, Request::Flush) && features & feature::FLUSH == 0;
                let base = PART * place as u64;
                if !flush {
                    let head = offer(&mut bench, request, base, *cut);
                    wanted.insert(head, apply(&mut model, request, base));
                }
            }
            for _ in 0..10_000 {
                let (requests, bytes) = *quotas.next().unwrap();
                let mut quota = Quota { requests, bytes };
                let after = bench.device.serve(&bench.ram, &mut bench.disk, &mut bench.buffer, &mut quota);
                if after == After::Idle {
                    break;
                }
            }
            while let Some(returned) = bench.returned() {
                let (status, data) = returned.bytes.split_last().unwrap();
                prop_assert_eq!(*status, OK);
                prop_assert_eq!(data, &wanted.remove(&returned.head).unwrap());
                prop_assert_eq!(returned.written as usize, data.len() + 1);
            }
            prop_assert!(wanted.is_empty(), "{wanted:?} did not come back");
            prop_assert_eq!(&bench.disk.bytes, &model);
        }
    }

    /// Work is bounded, memory is written only where the driver allows it, and the disk is asked for nothing beyond its end
    /// (which would panic).
    #[test]
    fn a_hostile_driver_hurts_nobody(
        script in prop::collection::vec(any::<u8>(), 0..4000),
        headers in prop::collection::vec((kind(), 0..SECTORS + 2), 16),
        requests in 0u32..12,
        bytes in 0u64..20_000,
        delays in prop::collection::vec(0usize..4, 0..60),
    ) {
        let (mut device, ram) = (Virtio::<Block>::new(settings(BlockAccess::ReadWrite)), Ram::new());
        Driver::start(&mut device, FEATURES, 1, hostile::SIZE).unwrap();
        let mut script = Bytes(&script);
        hostile::fill_queue(&ram, &mut script, 0, Aim::Buffers);
        // Memory is full of headers, so that some buffers begin with one.
        for (at, (kind, sector)) in (0..0x10_0000).step_by(16).zip(headers.iter().cycle()) {
            ram.store(crate::virtio::model::driver::BUFFERS + at, &header(*kind, *sector));
        }
        let mut disk = Model::new();
        disk.delays = delays;
        loop {
            ram.clear_log();
            disk.events.clear();
            let mut quota = Quota { requests, bytes };
            let _ = device.serve(&ram, &mut disk, &mut [0; 4096], &mut quota);
            let spent = u64::from(requests - quota.requests) + IN_FLIGHT as u64;
            // A piece of a sector may lie in as many segments as a chain has.
            let pieces = bytes / SECTOR + 1 + spent;
            prop_assert!(disk.events.len() as u64 <= pieces + spent);
            prop_assert!(ram.accesses() <= (pieces + spent * 20) * 16 + 16);
            prop_assert_eq!(hostile::stray(&ram, 1), None);
            if script.is_empty() {
                break;
            }
            hostile::make_available(&ram, &mut script, 0);
            hostile::start_again(&mut device, &ram, &mut script, 1, Aim::Buffers);
        }
        let saved = postcard::to_allocvec(&device).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Virtio<Block>>(&saved).unwrap(), device);
    }

    /// A state from a damaged file may be nonsense; it still may not panic.
    #[test]
    fn a_damaged_state_does_no_harm(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        script in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bench = bench();
        bench.disk.delays = vec![1, 1];
        bench.offer(format::request::OUT, 3, &[Part::Out(&[1; 5120])]);
        bench.offer(format::request::WRITE_ZEROES, 3, &[Part::Out(&range(4, 4, 0))]);
        let _ = bench.serve();
        let mut saved = postcard::to_allocvec(&bench.device).unwrap();
        for (at, byte) in damage {
            *at.get_mut(&mut saved) = byte;
        }
        let Ok(mut device) = postcard::from_bytes::<Virtio<Block>>(&saved) else { return Ok(()) };
        let (mut index, mut store) = ([0; 8], [0; 8192]);
        let mut disk = overlay::Overlay::new(&[], &mut index, &mut store);
        let mut script = Bytes(&script);
        while !script.is_empty() {
            let _ = device.serve(&bench.ram, &mut disk, &mut [0; 512], &mut Quota { requests: 5, bytes: 4096 });
            hostile::touch(&mut device, &mut script);
        }
    }
}
