// SPDX-License-Identifier: MIT OR Apache-2.0
use std::collections::BTreeMap;

use super::disk::{Blocks, Operation};
use super::*;
use crate::bus::{MmioDevice, Width};
use crate::virtio::feature as common;
use crate::virtio::mmio::registers;
use crate::virtio::model::driver::{Driver, Part, Returned, offered, set};
use crate::virtio::model::ram::Ram;

mod order;
mod random;

const SECTORS: u64 = 64;
const PLENTY: Quota = Quota { requests: 1000, bytes: 1 << 30 };
const OK: u8 = Status::Ok as u8;
const IOERR: u8 = Status::IoErr as u8;
const UNSUPP: u8 = Status::Unsupp as u8;

/// Bits that the driver takes unless a test says otherwise.
const FEATURES: u64 = common::COMMON | feature::FLUSH | feature::DISCARD | feature::WRITE_ZEROES;

fn settings(access: BlockAccess) -> Settings {
    let mut id = [0; ID_LEN];
    id[..4].copy_from_slice(b"disk");
    Settings { sectors: SECTORS, access, id, block_exponent: 3 }
}

/// What a disk has been asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Read(u64, u64),
    Write(u64, u64),
    Flush,
    Discard(u64, u64),
    Zeroes(u64, u64, Blocks),
}

/// A disk that is done at once, or after so many polls, or busy at first, or broken.
#[derive(Clone, Debug)]
struct Model {
    bytes: Vec<u8>,
    events: Vec<Event>,
    pending: BTreeMap<Tag, (usize, Vec<u8>)>,
    /// How long the next operations take; 0 from then on.
    delays: Vec<usize>,
    /// How often it says that it is busy before the next operation.
    busy: usize,
    broken: bool,
}

impl Model {
    fn new() -> Self {
        let bytes = (0..SECTORS * SECTOR).map(|at| (at % 253) as u8).collect();
        let (events, pending, delays) = Default::default();
        Self { bytes, events, pending, delays, busy: 0, broken: false }
    }

    fn range(&mut self, sector: u64, len: usize) -> &mut [u8] {
        &mut self.bytes[(sector * SECTOR) as usize..][..len]
    }
}

impl DiskBackend for Model {
    fn start(&mut self, tag: Tag, operation: Operation<'_>) -> DiskStep {
        assert!(!self.pending.contains_key(&tag), "{tag:?} is in use");
        if self.busy > 0 {
            self.busy -= 1;
            return DiskStep::Busy;
        }
        if self.broken {
            return DiskStep::Failed;
        }
        let mut data = Vec::new();
        let event = match operation {
            Operation::Read { sector, to } => {
                to.copy_from_slice(self.range(sector, to.len()));
                data = to.to_vec();
                Event::Read(sector, to.len() as u64 / SECTOR)
            }
            Operation::Write { sector, from } => {
                self.range(sector, from.len()).copy_from_slice(from);
                Event::Write(sector, from.len() as u64 / SECTOR)
            }
            Operation::Flush => Event::Flush,
            Operation::Discard { sector, sectors } => {
                self.range(sector, (sectors * SECTOR) as usize);
                Event::Discard(sector, sectors)
            }
            Operation::WriteZeroes { sector, sectors, blocks } => {
                self.range(sector, (sectors * SECTOR) as usize).fill(0);
                Event::Zeroes(sector, sectors, blocks)
            }
        };
        self.events.push(event);
        match self.delays.pop() {
            None | Some(0) => DiskStep::Done,
            Some(delay) => {
                self.pending.insert(tag, (delay, data));
                DiskStep::Pending
            }
        }
    }

    fn poll(&mut self, tag: Tag, read: &mut [u8]) -> DiskStep {
        let (left, data) = self.pending.get_mut(&tag).expect("only what is pending is polled");
        *left -= 1;
        if *left > 0 {
            return DiskStep::Pending;
        }
        if !read.is_empty() {
            read.copy_from_slice(data);
        }
        self.pending.remove(&tag);
        if self.broken { DiskStep::Failed } else { DiskStep::Done }
    }
}

struct Bench {
    device: Virtio<Block>,
    ram: Ram,
    driver: Driver,
    disk: Model,
    buffer: Vec<u8>,
}

impl Bench {
    fn new(features: u64, access: BlockAccess) -> Self {
        let mut device = Virtio::<Block>::new(settings(access));
        let features = features & offered(&mut device);
        let driver = Driver::start(&mut device, features, 1, 64).unwrap();
        Self { device, ram: Ram::new(), driver, disk: Model::new(), buffer: vec![0; 4096] }
    }

    fn serve(&mut self) -> After {
        self.device.serve(&self.ram, &mut self.disk, &mut self.buffer, &mut PLENTY.clone())
    }

    fn offer(&mut self, kind: u32, sector: u64, data: &[Part<'_>]) -> u16 {
        let header = header(kind, sector);
        let mut parts = vec![Part::Out(&header)];
        parts.extend(data);
        parts.push(Part::In(1));
        self.driver.offer(&self.ram, 0, &parts).unwrap()
    }

    fn returned(&mut self) -> Option<Returned> {
        self.driver.returned(&self.ram, 0)
    }

    /// Makes one request and says its status.
    fn status(&mut self, kind: u32, sector: u64, data: &[Part<'_>]) -> u8 {
        self.offer(kind, sector, data);
        assert_eq!(self.serve(), After::Idle);
        *self.returned().unwrap().bytes.last().unwrap()
    }
}

fn bench() -> Bench {
    Bench::new(FEATURES, BlockAccess::ReadWrite)
}

fn header(kind: u32, sector: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[8..].copy_from_slice(&sector.to_le_bytes());
    bytes
}

fn range(sector: u64, sectors: u32, flags: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&sector.to_le_bytes());
    bytes[8..12].copy_from_slice(&sectors.to_le_bytes());
    bytes[12..].copy_from_slice(&flags.to_le_bytes());
    bytes
}

#[test]
fn spec_5_2_4_the_configuration() {
    let mut device = Virtio::<Block>::new(settings(BlockAccess::ReadWrite));
    let mut get = |offset, width| device.read(registers::CONFIG + offset, width);
    assert_eq!(get(0, Width::Word), SECTORS);
    assert_eq!(get(4, Width::Word), 0);
    assert_eq!(get(0xC, Width::Word), 126);
    assert_eq!(get(0x14, Width::Word), 512);
    assert_eq!((get(0x18, Width::Byte), get(0x1A, Width::Halfword)), (3, 8));
    assert_eq!((get(0x24, Width::Word), get(0x28, Width::Word), get(0x2C, Width::Word)), (0x2_0000, 16, 8));
    assert_eq!((get(0x30, Width::Word), get(0x34, Width::Word), get(0x38, Width::Byte)), (0x2_0000, 16, 1));
    assert_eq!(get(0, Width::Doubleword), 0, "4.2.2.2: at most 32 bits");
    assert_eq!((get(0x3C, Width::Word), get(0xFC, Width::Word)), (0, 0));
    set(&mut device, registers::CONFIG, 1);
    assert_eq!(device, Virtio::<Block>::new(settings(BlockAccess::ReadWrite)));
}

#[test]
fn spec_5_2_3_the_features() {
    let of = |access| offered(&mut Virtio::<Block>::new(settings(access))) & 0xFF_FFFF;
    assert_eq!(of(BlockAccess::ReadWrite), 1 << 2 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 13 | 1 << 14);
    assert_eq!(of(BlockAccess::ReadOnly), 1 << 2 | 1 << 5 | 1 << 6 | 1 << 9 | 1 << 10);
}

#[test]
fn spec_5_2_6_reads_and_writes() {
    let mut bench = bench();
    let data: Vec<u8> = (0..1024).map(|at| (at * 7) as u8).collect();
    bench.offer(format::request::OUT, 3, &[Part::Out(&data)]);
    assert_eq!(bench.serve(), After::Idle);
    let written = bench.returned().unwrap();
    assert_eq!((written.written, written.bytes), (1, vec![OK]));
    bench.offer(format::request::IN, 2, &[Part::In(4 * 512)]);
    assert_eq!(bench.serve(), After::Idle);
    let read = bench.returned().unwrap();
    assert_eq!((read.written, read.bytes.len()), (2049, 2049));
    assert_eq!(&read.bytes[..2048], &bench.disk.bytes[1024..3072]);
    assert_eq!(&read.bytes[512..1536], &data);
    assert!(bench.device.irq_asserted());
}

/// 2.7.4: a device makes no assumption about how a message is cut into descriptors.
#[test]
fn spec_2_7_4_the_layout_does_not_matter() {
    let mut bench = bench();
    let header_out = header(format::request::OUT, 1);
    let (first, rest) = header_out.split_at(5);
    let data: Vec<u8> = (0..512).map(|at| (at * 3) as u8).collect();
    let joined = [rest, &data[..100]].concat();
    let parts = [
        Part::Out(first),
        Part::Out(&joined),
        Part::Out(&data[100..511]),
        Part::Out(&data[511..]),
        Part::In(1),
    ];
    bench.driver.offer(&bench.ram, 0, &parts);
    assert_eq!(bench.serve(), After::Idle);
    assert_eq!(bench.returned().unwrap().bytes, [OK]);
    assert_eq!(bench.disk.bytes[512..1024], data);
    let header = header(format::request::IN, 1);
    bench.driver.offer(&bench.ram, 0, &[Part::Out(&header), Part::In(7), Part::In(504), Part::In(2)]);
    assert_eq!(bench.serve(), After::Idle);
    let read = bench.returned().unwrap();
    assert_eq!((&read.bytes[..512], read.bytes[512]), (&data[..], OK));
}

#[test]
fn spec_5_2_6_the_name_of_a_disk() {
    let mut bench = bench();
    for (room, wanted) in [(20, &b"disk\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..]), (4, b"disk\0"), (2, b"di\0")]
    {
        bench.offer(format::request::GET_ID, 0, &[Part::In(room)]);
        assert_eq!(bench.serve(), After::Idle);
        let returned = bench.returned().unwrap();
        assert_eq!((returned.written, &returned.bytes[..]), (room + 1, wanted));
    }
}

#[test]
fn spec_5_2_6_discard_and_write_zeroes() {
    let mut bench = bench();
    let ranges = [range(8, 8, 0), range(40, 3, 1)].concat();
    assert_eq!(bench.status(format::request::WRITE_ZEROES, 0, &[Part::Out(&ranges)]), OK);
    let wanted = [Event::Zeroes(8, 8, Blocks::Keep), Event::Zeroes(40, 3, Blocks::MayUnmap)];
    assert_eq!(core::mem::take(&mut bench.disk.events), wanted);
    assert_eq!(bench.status(format::request::DISCARD, 0, &[Part::Out(&range(0, 20, 0))]), OK);
    assert_eq!(
        bench.disk.events,
        [Event::Discard(0, 8), Event::Discard(8, 8), Event::Discard(16, 4)],
        "by pieces"
    );
    for (kind, ranges, status) in [
        (format::request::DISCARD, range(0, 1, 1).to_vec(), UNSUPP),
        (format::request::DISCARD, range(0, 1, 2).to_vec(), UNSUPP),
        (format::request::WRITE_ZEROES, range(0, 1, 2).to_vec(), UNSUPP),
        (format::request::DISCARD, range(SECTORS, 1, 0).to_vec(), IOERR),
        (format::request::WRITE_ZEROES, range(SECTORS - 1, 2, 0).to_vec(), IOERR),
        (format::request::WRITE_ZEROES, range(u64::MAX, 2, 0).to_vec(), IOERR),
        (format::request::DISCARD, range(0, 0x2_0001, 0).to_vec(), IOERR),
        (format::request::DISCARD, range(0, 1, 0)[..8].to_vec(), IOERR),
        (format::request::DISCARD, vec![0; 16 * 17], IOERR),
        (format::request::DISCARD, range(5, 0, 0).to_vec(), OK),
    ] {
        assert_eq!(bench.status(kind, 0, &[Part::Out(&ranges)]), status, "{kind} {ranges:?}");
    }
    assert_eq!(bench.status(format::request::DISCARD, 0, &[]), IOERR);
}

#[test]
fn spec_5_2_6_2_a_range_has_no_more_sectors_than_the_configuration_says() {
    let mut bench = bench();
    bench.device = Virtio::<Block>::new(Settings { sectors: 1 << 40, ..settings(BlockAccess::ReadWrite) });
    bench.driver = Driver::start(&mut bench.device, FEATURES, 1, 64).unwrap();
    for kind in [format::request::DISCARD, format::request::WRITE_ZEROES] {
        assert_eq!(bench.status(kind, 0, &[Part::Out(&range(0, 0x2_0001, 0))]), IOERR);
    }
    assert_eq!(bench.disk.events, []);
}

#[test]
fn spec_5_2_6_2_what_is_refused() {
    let mut bench = bench();
    let data = [0; 1024];
    for (kind, sector, part, status) in [
        (format::request::IN, SECTORS, Part::In(512), IOERR),
        (format::request::IN, SECTORS - 1, Part::In(1024), IOERR),
        (format::request::IN, u64::MAX, Part::In(512), IOERR),
        (format::request::OUT, SECTORS - 1, Part::Out(&data), IOERR),
        (format::request::OUT, 0, Part::Out(&data[..513]), IOERR),
        (format::request::IN, 0, Part::In(511), IOERR),
        (2, 0, Part::In(512), UNSUPP),
        (u32::MAX, 0, Part::Out(&data), UNSUPP),
    ] {
        assert_eq!(bench.status(kind, sector, &[part]), status, "{kind} {sector}");
    }
    assert_eq!(bench.disk.events, []);
    bench.disk.broken = true;
    bench.offer(format::request::IN, 0, &[Part::In(512)]);
    assert_eq!(bench.serve(), After::Idle);
    let returned = bench.returned().unwrap();
    assert_eq!(
        (returned.written, returned.bytes.last()),
        (0, Some(&IOERR)),
        "2.7.8.2: nothing from the start on"
    );
}

#[test]
fn spec_5_2_6_2_a_read_only_disk_is_not_written() {
    let mut bench = Bench::new(FEATURES, BlockAccess::ReadOnly);
    assert_eq!(bench.status(format::request::OUT, 0, &[Part::Out(&[0; 512])]), IOERR);
    assert_eq!(bench.status(format::request::WRITE_ZEROES, 0, &[Part::Out(&range(0, 1, 0))]), UNSUPP);
    assert_eq!(bench.status(format::request::IN, 0, &[Part::In(512)]), OK);
    assert_eq!(bench.status(format::request::FLUSH, 0, &[]), OK);
    assert_eq!(bench.disk.events, [Event::Read(0, 1), Event::Flush]);
}

#[test]
fn what_was_not_negotiated_is_not_there() {
    let mut bench = Bench::new(0, BlockAccess::ReadWrite);
    assert_eq!(bench.status(format::request::FLUSH, 0, &[]), UNSUPP);
    assert_eq!(bench.status(format::request::DISCARD, 0, &[Part::Out(&range(0, 1, 0))]), UNSUPP);
    assert_eq!(bench.status(format::request::WRITE_ZEROES, 0, &[Part::Out(&range(0, 1, 0))]), UNSUPP);
    assert_eq!(bench.disk.events, []);
}

#[test]
fn a_request_without_header_or_status_is_an_error() {
    for parts in [&[Part::Out(&[0; 15]), Part::In(513)][..], &[Part::Out(&[0; 16])], &[Part::In(600)]] {
        let mut bench = bench();
        bench.driver.offer(&bench.ram, 0, parts);
        assert_eq!(bench.serve(), After::Idle);
        assert!(matches!(bench.device.fault(), Some(Fault::Request { .. })));
        assert_eq!((bench.returned(), bench.disk.events), (None, vec![]));
    }
}

/// A read, a write and a flush are pending, the end of another write is not, and then the disk is another one: each request ends
/// once, and well.
#[test]
fn what_was_pending_is_begun_again_on_another_disk() {
    let mut bench = Bench::new(FEATURES, BlockAccess::ReadWrite);
    bench.disk.delays = vec![9; 3];
    let write = bench.offer(format::request::OUT, 3, &[Part::Out(&[7; 1024])]);
    let read = bench.offer(format::request::IN, 8, &[Part::In(512)]);
    let flush = bench.offer(format::request::FLUSH, 0, &[]);
    assert_eq!(bench.serve(), After::Backend);
    let tags: Vec<_> = bench.device.in_flight().map(|it| (it.head, it.tag)).collect();
    assert_eq!(tags, [(write, Some(Tag(0))), (read, Some(Tag(1))), (flush, None)]);
    bench.disk = Model::new();
    bench.device.resubmit();
    assert!(bench.device.in_flight().all(|it| it.tag.is_none()));
    assert_eq!(bench.serve(), After::Idle);
    let returned: Vec<_> = std::iter::from_fn(|| bench.returned()).collect();
    let ends: Vec<_> = returned.iter().map(|it| (it.head, it.bytes.last().copied())).collect();
    assert_eq!(ends, [write, read, flush].map(|head| (head, Some(OK))));
    assert_eq!(bench.disk.bytes[3 * 512..5 * 512], [7; 1024]);
    assert_eq!(returned[1].bytes[..512], Model::new().bytes[8 * 512..9 * 512]);
}

/// The driver has reset the device: nobody waits for what the disk that is no more was busy with.
#[test]
fn another_disk_is_not_asked_for_what_was_abandoned() {
    let mut bench = Bench::new(FEATURES, BlockAccess::ReadWrite);
    bench.disk.delays = vec![9];
    bench.offer(format::request::OUT, 3, &[Part::Out(&[7; 512])]);
    assert_eq!(bench.serve(), After::Backend);
    bench.device.reset();
    bench.disk = Model::new();
    bench.device.resubmit();
    assert_eq!((bench.serve(), bench.device.in_flight().count()), (After::Idle, 0));
    assert!(bench.disk.events.is_empty());
}
