// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every kind of device under a driver that keeps no rules; what a script of any bytes does.
//!
//! Nothing may panic, and no poll may cost more accesses to guest memory than its quota explains. A property test makes the scripts up; a
//! fuzzer looks for those that reach new code.

use alloc::vec;

use super::hostile::{self, Bytes};
use super::ram::Ram;
use crate::bus::MmioDevice;
use crate::virtio::block::overlay::Overlay;
use crate::virtio::block::{Block, BlockAccess, Settings};
use crate::virtio::console::{Console, Size, Terminal};
use crate::virtio::mmio::Virtio;
use crate::virtio::net::{MAX_FRAME, Mac, Net, Sent};
use crate::virtio::quota::Quota;
use crate::virtio::rng::Rng;

const QUOTA: Quota = Quota { requests: 10, bytes: 10_000 };

/// What a poll may cost at most, in accesses to guest memory: each request has as many descriptors as its queue at most, and
/// each byte may lie in a segment of its own. Four requests of a block device may be left from the last poll.
const MOST: u64 = 20 * (128 + 8) + 2 * 10_000 + 100;

/// Lets a hostile driver act on a device, and holds each poll to its bound.
fn torture<D: MmioDevice>(device: &mut D, script: &[u8], mut serve: impl FnMut(&mut D, &Ram)) {
    hostile::drive(device, &mut Bytes(script), |device, ram| {
        ram.clear_log();
        serve(device, ram);
        assert!(ram.accesses() <= MOST, "{} accesses", ram.accesses());
    });
}

/// An entropy device whose source gives a little at a time.
pub fn entropy(script: &[u8]) {
    torture(&mut Virtio::<Rng>::new(), script, |device, ram| {
        let mut source = |to: &mut [u8]| to.len().min(7);
        let _ = device.serve(ram, &mut source, &mut QUOTA.clone());
    });
}

/// What has been written to a terminal is what is read from it.
struct Echo([u8; 128], usize);

impl Terminal for Echo {
    fn write(&mut self, bytes: &[u8]) -> usize {
        self.1 = bytes.len().min(self.0.len());
        for (kept, byte) in self.0.iter_mut().zip(bytes) {
            *kept = *byte;
        }
        self.1 / 2 + 1
    }

    fn read(&mut self, to: &mut [u8]) -> usize {
        let count = to.len().min(self.1);
        for (byte, kept) in to.iter_mut().zip(&self.0[..count]) {
            *byte = *kept;
        }
        self.1 = 0;
        count
    }
}

/// A console whose terminal takes half of what it is given.
pub fn console(script: &[u8]) {
    let mut terminal = Echo([1; 128], 100);
    torture(&mut Virtio::<Console>::new(Size::default()), script, |device, ram| {
        let _ = device.serve(ram, &mut terminal, &mut QUOTA.clone());
    });
}

/// A disk that is an image with changes kept beside it, for less than a whole one.
pub fn disk(script: &[u8]) {
    let (mut index, mut store) = ([0; 16], vec![0; 8 * 4096]);
    let mut disk = Overlay::new(&[7; 10_000], &mut index, &mut store);
    let settings =
        Settings { sectors: disk.sectors(), access: BlockAccess::ReadWrite, id: [0; 20], block_exponent: 3 };
    torture(&mut Virtio::<Block>::new(settings), script, |device, ram| {
        let _ = device.serve(ram, &mut disk, &mut [0; 2048], &mut QUOTA.clone());
    });
}

/// A network card that gets what it sends.
pub fn network(script: &[u8]) {
    let mut buffer = vec![0; MAX_FRAME];
    torture(&mut Virtio::<Net>::new(Mac([2; 6]), 1500), script, |device, ram| {
        if let Sent::Frame(frame) = device.send(ram, &mut buffer, &mut QUOTA.clone()) {
            let _ = device.receive(ram, &frame);
        }
    });
}
