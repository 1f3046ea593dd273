// SPDX-License-Identifier: MIT OR Apache-2.0
//! The block device (virtio 1.2, 5.2): a guest's disk.
//!
//! What stands behind it is a [`DiskBackend`], which the caller brings to each poll: an image in memory, which is done at once
//! ([`overlay`]), or hardware, which takes its time. Data go through a buffer of the caller, piece by piece, so a request
//! may have any length, and the disk never sees guest memory.
//!
//! Up to [`IN_FLIGHT`] requests are under way; what more the driver makes available waits in its queue. They end in
//! the order in which the disk is done with them. A flush waits for the writes before it and begins then: so it covers
//! all that were complete when it was asked for (5.2.6.2), and the disk need not know which those are. Without
//! VIRTIO_BLK_F_FLUSH a write is complete only after a flush of its own.
//!
//! A reset does not stop the disk. What it is still busy with is remembered as abandoned until it is done, and its tag with it;
//! guest memory is not touched any more.
//!
//! When another disk takes the place of the one that is busy, as in a VM that goes on elsewhere, the operations that were pending are
//! begun again ([`Virtio::resubmit`]). That is safe: a request whose end the driver has not seen may have changed the disk or not, and
//! its buffers are the device's until then.

use serde::{Deserialize, Serialize};
use vambrace_memory::GuestMemory;
use vambrace_state::restore_fields;
use zerocopy::IntoBytes;

use super::mmio::{CONFIG_LEN, Device, Virtio};
use super::queue::{Fault, MAX_SIZE, Taken};
use super::quota::{After, Quota};
use disk::{DiskBackend, DiskStep, Tag};
use format::{Configuration, ID_LEN, SECTOR, Status, feature};
use request::{Next, Request, RequestKind};

pub mod disk;
pub mod format;
pub mod overlay;
mod request;

/// Its only queue (5.2.2).
const REQUESTS: usize = 0;

/// How many requests are under way at once. Each keeps a chain, of 2 KiB; four keep a disk busy while others are copied.
pub const IN_FLIGHT: usize = 4;

/// The most ranges of a discard or write-zeroes.
const MAX_RANGES: u32 = 16;
/// The most sectors of one range: 64 MiB.
const MAX_RANGE_SECTORS: u32 = 0x2_0000;

/// Whether a guest may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockAccess {
    /// It may.
    ReadWrite,
    /// It may not: VIRTIO_BLK_F_RO.
    ReadOnly,
}

/// What a guest is told of its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Its size in sectors of 512 bytes.
    pub sectors: u64,
    /// Whether it can be written.
    pub access: BlockAccess,
    /// Its name; ends with the first zero, if there is one.
    pub id: [u8; ID_LEN],
    /// The disk works in blocks of 2 to the power of this many sectors: what is aligned to them is fast.
    pub block_exponent: u8,
}

impl Settings {
    fn is_read_only(&self) -> bool {
        self.access == BlockAccess::ReadOnly
    }

    /// Whether the disk has these sectors.
    fn has(&self, sector: u64, sectors: u64) -> bool {
        sector.checked_add(sectors).is_some_and(|end| end <= self.sectors)
    }
}

/// What becomes of a place for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum RequestStage {
    /// Nothing is there.
    #[default]
    Free,
    /// Its next operation is to be begun.
    Ready,
    /// The disk has an operation of so many bytes, sectors or none.
    Pending,
    /// The disk has an operation that nobody waits for any more.
    Abandoned,
}

/// A place for a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct BlockSlot {
    stage: RequestStage,
    /// Which request it is, counted from the first one: the smaller, the older.
    number: u64,
    /// How much the pending operation is about, to which [`Request::next`] is held.
    piece: u64,
    request: Request,
}

impl BlockSlot {
    fn is_busy(&self) -> bool {
        matches!(self.stage, RequestStage::Ready | RequestStage::Pending)
    }

    /// Begins the operation `next` or, if it is pending, asks for it.
    fn operate(
        &mut self,
        tag: Tag,
        next: Next,
        poll: &mut Poll<'_, impl GuestMemory, impl DiskBackend>,
    ) -> Result<Progress, Fault> {
        let (copied, read) = match next {
            Next::Read(bytes) => (bytes, bytes),
            Next::Write(bytes) => (bytes, 0),
            Next::Range(_) | Next::Flush | Next::End(_) => (0, 0),
        };
        // Too small a buffer is the caller's error: the guest waits for a larger one.
        let Some(piece) = poll.buffer.get_mut(..copied as usize) else {
            return Ok(Progress::Pause(Pause::Disk));
        };
        let step = if self.stage == RequestStage::Pending {
            poll.disk.poll(tag, piece.get_mut(..read as usize).unwrap_or_default())
        } else {
            poll.disk.start(tag, self.request.operation(poll.memory, next, piece)?)
        };
        match step {
            DiskStep::Done => {
                self.stage = RequestStage::Ready;
                self.request.advance(poll.memory, next, piece)?;
                Ok(Progress::On)
            }
            DiskStep::Pending => {
                self.stage = RequestStage::Pending;
                Ok(Progress::Pause(Pause::Disk))
            }
            DiskStep::Busy => Ok(Progress::Pause(Pause::Disk)),
            DiskStep::Failed => {
                self.stage = RequestStage::Ready;
                Ok(Progress::End(Status::IoErr))
            }
        }
    }

    fn resubmit(&mut self) {
        self.stage = match self.stage {
            RequestStage::Free | RequestStage::Abandoned => RequestStage::Free,
            RequestStage::Ready | RequestStage::Pending => RequestStage::Ready,
        };
    }

    fn abandon(&mut self) {
        self.stage = match self.stage {
            RequestStage::Free | RequestStage::Ready => RequestStage::Free,
            RequestStage::Pending | RequestStage::Abandoned => RequestStage::Abandoned,
        };
    }
}

/// The device's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    settings: Settings,
    slots: [BlockSlot; IN_FLIGHT],
    next_number: u64,
}

restore_fields!(Block { same settings, array slots, whole next_number });

impl Device for Block {
    const ID: u32 = 2;
    const QUEUES: usize = 1;
    const LABEL: &'static str = "virtio block device";

    fn features(&self) -> u64 {
        let always = feature::SEG_MAX | feature::BLK_SIZE | feature::FLUSH | feature::TOPOLOGY;
        always
            | if self.settings.is_read_only() {
                feature::RO
            } else {
                feature::DISCARD | feature::WRITE_ZEROES
            }
    }

    fn configuration(&self, to: &mut [u8; CONFIG_LEN]) {
        let configuration = Configuration {
            capacity: self.settings.sectors.into(),
            // A chain has a header and a status besides.
            seg_max: u32::from(MAX_SIZE - 2).into(),
            blk_size: (SECTOR as u32).into(),
            physical_block_exp: self.settings.block_exponent,
            min_io_size: (1 << self.settings.block_exponent.min(15)).into(),
            max_discard_sectors: MAX_RANGE_SECTORS.into(),
            max_discard_seg: MAX_RANGES.into(),
            discard_sector_alignment: (1 << self.settings.block_exponent.min(15)).into(),
            max_write_zeroes_sectors: MAX_RANGE_SECTORS.into(),
            max_write_zeroes_seg: MAX_RANGES.into(),
            write_zeroes_may_unmap: 1,
            ..Configuration::default()
        };
        let bytes = configuration.as_bytes();
        if let Some(start) = to.get_mut(..bytes.len()) {
            start.copy_from_slice(bytes);
        }
    }

    fn reset(&mut self) {
        self.slots.iter_mut().for_each(BlockSlot::abandon);
    }

    fn queue_stopped(&mut self, _queue: usize) {
        self.reset();
    }
}

/// A request that the device has begun and not returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// The first descriptor of its chain, which names it to the driver.
    pub head: u16,
    /// The operation that the disk has for it, if it has one.
    pub tag: Option<Tag>,
}

/// What a poll needs besides the device.
struct Poll<'a, M, D> {
    memory: &'a M,
    disk: &'a mut D,
    /// A piece of data on its way: at least a sector.
    buffer: &'a mut [u8],
    quota: &'a mut Quota,
}

/// Why a request is left for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    /// It is over.
    Over,
    /// The disk is not ready.
    Disk,
    /// The poll is over.
    Quota,
}

/// Where a step leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// To the next one.
    On,
    /// Out, for now.
    Pause(Pause),
    /// To the end of the request.
    End(Status),
}

impl Virtio<Block> {
    /// A block device after reset.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::with_device(Block { settings, slots: Default::default(), next_number: 0 })
    }

    /// What it tells of the disk.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.device.settings
    }

    /// The requests that are under way, for which the driver waits.
    pub fn in_flight(&self) -> impl Iterator<Item = InFlight> {
        let is_live = self.transport.is_live();
        let slots = self.device.slots.iter().enumerate().filter(move |(_, slot)| is_live && slot.is_busy());
        slots.map(|(at, slot)| InFlight {
            head: slot.request.chain.head(),
            tag: (slot.stage == RequestStage::Pending).then_some(Tag(at as u8)),
        })
    }

    /// The disk has forgotten all that was pending there, or another one has taken its place: what the driver waits for is begun again
    /// in the next poll, from the operation on that was pending.
    pub fn resubmit(&mut self) {
        self.device.slots.iter_mut().for_each(BlockSlot::resubmit);
    }

    /// Works on requests while `quota` lasts; a sector that it does not cover to the end may be the last. Data go through
    /// `buffer`, which has room for a sector at least and is never smaller than before; the larger, the fewer operations. [`After::Backend`]: the disk has something pending, or no room for more.
    pub fn serve(
        &mut self,
        memory: &impl GuestMemory,
        disk: &mut impl DiskBackend,
        buffer: &mut [u8],
        quota: &mut Quota,
    ) -> After {
        let mut poll = Poll { memory, disk, buffer, quota };
        self.transport.begin(REQUESTS, memory);
        let mut after = self.go_on(&mut poll);
        while after != After::More
            && let Some(free) = self.device.slots.iter().position(|slot| slot.stage == RequestStage::Free)
        {
            if poll.quota.take_request().is_none() {
                return After::More;
            }
            match self.accept(free, &mut poll) {
                None => match self.transport.listen(REQUESTS, memory) {
                    Taken::Nothing => break,
                    Taken::Chain => {}
                },
                Some(Pause::Over) => {}
                Some(Pause::Disk) => after = After::Backend,
                Some(Pause::Quota) => after = After::More,
            }
        }
        after
    }

    /// Works on the requests that are under way, the oldest first, and forgets what was abandoned.
    fn go_on(&mut self, poll: &mut Poll<'_, impl GuestMemory, impl DiskBackend>) -> After {
        if !self.transport.is_live() {
            self.device.reset();
        }
        let mut after = After::Idle;
        for (tag, slot) in self.device.slots.iter_mut().enumerate() {
            if slot.stage == RequestStage::Abandoned {
                match poll.disk.poll(Tag(tag as u8), &mut []) {
                    DiskStep::Done | DiskStep::Failed => slot.stage = RequestStage::Free,
                    DiskStep::Pending | DiskStep::Busy => after = After::Backend,
                }
            }
        }
        let mut tried = None;
        while let Some(at) = self.oldest_after(tried) {
            tried = self.device.slots.get(at).map(|slot| slot.number);
            match self.work(at, poll) {
                Pause::Over => {}
                Pause::Disk => after = After::Backend,
                Pause::Quota => return After::More,
            }
        }
        after
    }

    /// The oldest request that is under way and younger than number `than`.
    fn oldest_after(&self, than: Option<u64>) -> Option<usize> {
        let slots = self.device.slots.iter().enumerate();
        let younger = slots.filter(|(_, slot)| slot.is_busy() && than.is_none_or(|than| slot.number > than));
        younger.min_by_key(|(_, slot)| slot.number).map(|(at, _)| at)
    }

    /// Takes the next request into a free slot and works on it. `None`: there is none.
    fn accept(
        &mut self,
        at: usize,
        poll: &mut Poll<'_, impl GuestMemory, impl DiskBackend>,
    ) -> Option<Pause> {
        let Block { settings, slots, next_number } = &mut self.device;
        let slot = slots.get_mut(at)?;
        if self.transport.take(REQUESTS, poll.memory, &mut slot.request.chain) == Taken::Nothing {
            return None;
        }
        slot.number = *next_number;
        *next_number = next_number.wrapping_add(1);
        slot.stage = RequestStage::Ready;
        match slot.request.begin(poll.memory, settings, self.transport.features()) {
            Ok(None) => Some(self.work(at, poll)),
            Ok(Some(status)) => Some(self.end(at, poll.memory, status)),
            Err(fault) => Some(self.fail(fault)),
        }
    }

    /// Works on a request until it is over, or the disk or the quota says no.
    fn work(&mut self, at: usize, poll: &mut Poll<'_, impl GuestMemory, impl DiskBackend>) -> Pause {
        loop {
            match self.step(at, poll) {
                Ok(Progress::On) => {}
                Ok(Progress::Pause(pause)) => return pause,
                Ok(Progress::End(status)) => return self.end(at, poll.memory, status),
                Err(fault) => return self.fail(fault),
            }
        }
    }

    /// Makes one operation, or finds that it is done.
    fn step(
        &mut self,
        at: usize,
        poll: &mut Poll<'_, impl GuestMemory, impl DiskBackend>,
    ) -> Result<Progress, Fault> {
        let may_flush = self.may_flush(at);
        let Block { settings, slots, .. } = &mut self.device;
        let Some(slot) = slots.get_mut(at).filter(|slot| slot.is_busy()) else {
            return Ok(Progress::Pause(Pause::Over));
        };
        if slot.stage == RequestStage::Pending {
            let next = slot.request.next(poll.memory, settings, slot.piece)?;
            return slot.operate(Tag(at as u8), next, poll);
        }
        slot.piece = (poll.buffer.len() as u64).min(poll.quota.bytes.max(SECTOR));
        let next = slot.request.next(poll.memory, settings, slot.piece)?;
        match next {
            Next::End(status) => return Ok(Progress::End(status)),
            Next::Flush if !may_flush => return Ok(Progress::Pause(Pause::Disk)),
            Next::Flush => {}
            Next::Range(_) | Next::Read(_) | Next::Write(_) if poll.quota.bytes == 0 => {
                return Ok(Progress::Pause(Pause::Quota));
            }
            Next::Range(sectors) => poll.quota.charge(sectors * SECTOR),
            Next::Read(bytes) | Next::Write(bytes) => poll.quota.charge(bytes),
        }
        slot.operate(Tag(at as u8), next, poll)
    }

    /// Whether no request older than this one still changes the disk.
    fn may_flush(&self, at: usize) -> bool {
        let slots = &self.device.slots;
        let Some(number) = slots.get(at).map(|slot| slot.number) else { return false };
        !slots
            .iter()
            .any(|slot| slot.is_busy() && slot.number < number && slot.request.kind != RequestKind::Read)
    }

    /// Returns a request to the driver.
    fn end(&mut self, at: usize, memory: &impl GuestMemory, status: Status) -> Pause {
        let Some(slot) = self.device.slots.get_mut(at) else { return Pause::Over };
        slot.stage = RequestStage::Free;
        match slot.request.end(memory, status) {
            Ok(written) => {
                let head = slot.request.chain.head();
                self.transport.complete(REQUESTS, memory, head, written);
                Pause::Over
            }
            Err(fault) => self.fail(fault),
        }
    }

    /// The driver has broken a rule: nothing of it is worked on any more.
    fn fail(&mut self, fault: Fault) -> Pause {
        self.transport.fail(fault);
        self.device.reset();
        Pause::Over
    }
}

#[cfg(test)]
mod tests;
