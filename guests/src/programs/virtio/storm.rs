// SPDX-License-Identifier: MIT OR Apache-2.0
//! All disks at once, each with as many reads under way as it takes: what others on the same disk of the board have to bear.

use virtio_drivers::device::blk::{BlkReq, BlkResp, SECTOR_SIZE, VirtIOBlk};
use virtio_drivers::transport::mmio::MmioTransport;

use super::memory::{self, Memory};
use crate::{cpu, timer};

/// Disks at most.
const DISKS: usize = 8;
/// Reads of a disk at once: all that its queue has descriptors for.
const DEPTH: usize = 5;
/// After so many reads of all disks together it says how many there were.
const NEWS: u64 = 100;

/// A read that may be under way.
struct Read {
    request: BlkReq,
    response: BlkResp,
    sector: &'static mut [u8],
    token: Option<u16>,
}

/// A disk that is never idle.
struct Busy {
    disk: VirtIOBlk<Memory, MmioTransport<'static>>,
    reads: [Read; DEPTH],
    done: u64,
}

/// Disks that are never idle.
#[derive(Default)]
pub(super) struct Storm {
    disks: [Option<&'static mut Busy>; DISKS],
}

impl Storm {
    /// Another disk. Apart, as it passes over the stack.
    #[inline(never)]
    pub(super) fn add(&mut self, transport: MmioTransport<'static>) {
        let Ok(disk) = VirtIOBlk::new(transport) else { return check!(false, "the disk starts") };
        let mut sectors = memory::page().chunks_exact_mut(SECTOR_SIZE);
        let reads = core::array::from_fn(|_| Read {
            request: BlkReq::default(),
            response: BlkResp::default(),
            sector: sectors.next().unwrap_or_default(),
            token: None,
        });
        let free = self.disks.iter_mut().find(|place| place.is_none());
        if let Some(place) = free {
            *place = Some(memory::keep(Busy { disk, reads, done: 0 }));
        }
    }

    /// Reads until each disk has been read so many times.
    pub(super) fn run(&mut self, reads: u64) {
        let (mut all, mut told) = (0, 0);
        let mut wrong = 0;
        while self.disks.iter().flatten().any(|busy| busy.done < reads) {
            for busy in self.disks.iter_mut().flatten() {
                wrong += busy.begin();
                let (ended, failed) = busy.end();
                all += ended;
                wrong += failed;
            }
            if all / NEWS > told {
                told = all / NEWS;
                println!("guest: {} reads", told * NEWS);
            }
            cpu::relax();
        }
        check_eq!(wrong, 0, "{reads} reads of each disk went well");
    }
}

impl Busy {
    /// Begins as many reads as there is room for. Says how many failed.
    fn begin(&mut self) -> u64 {
        let mut failed = 0;
        for (at, read) in self.reads.iter_mut().enumerate().filter(|(_, read)| read.token.is_none()) {
            let Read { request, response, sector, token } = read;
            // SAFETY: what is handed over stays in its place for good, and is left alone until the read is complete.
            match unsafe { self.disk.read_blocks_nb(at, request, sector, response) } {
                Ok(begun) => *token = Some(begun),
                Err(_) => failed += 1,
            }
        }
        failed
    }

    /// Ends the reads that the disk is done with. Says how many there were, and how many failed.
    fn end(&mut self) -> (u64, u64) {
        let (mut ended, mut failed) = (0, 0);
        while let Some(done) = self.disk.peek_used() {
            let Some(read) = self.reads.iter_mut().find(|read| read.token == Some(done)) else { break };
            let Read { request, response, sector, token } = read;
            // SAFETY: what was handed over with this token.
            let outcome = unsafe { self.disk.complete_read_blocks(done, request, sector, response) };
            *token = None;
            ended += 1;
            failed += u64::from(outcome.is_err());
        }
        self.done += ended;
        (ended, failed)
    }
}

/// Reads a disk so many times, one read after the other.
#[inline(never)]
pub(super) fn modestly(transport: MmioTransport<'static>, reads: u64) {
    let Ok(mut disk) = VirtIOBlk::<Memory, _>::new(transport) else {
        return check!(false, "the disk starts");
    };
    let mut sector = [0; SECTOR_SIZE];
    let (mut wrong, mut longest) = (0, 0);
    let began = timer::now();
    for _ in 0..reads {
        let asked = timer::now();
        wrong += u64::from(disk.read_blocks(0, &mut sector).is_err());
        longest = longest.max(timer::now() - asked);
    }
    let (all, longest) = (timer::microseconds(timer::now() - began), timer::microseconds(longest));
    check_eq!(wrong, 0, "{reads} reads, one after the other");
    println!("guest: in {all} us, the longest {longest} us");
}
