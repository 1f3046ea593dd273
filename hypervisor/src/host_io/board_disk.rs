// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtio disk of the board, shared by VMs' disks that lie on it: the requests that are made of it (virtio 1.2, 5.2.6).
//!
//! Its queue is driven without ever waiting: a request is begun, the disk's interrupt says that some are done, and their
//! owners ask for theirs. Data go through buffers of ours, so the board's disk never touches a VM's memory, and a
//! request may outlive the VM that made it. The buffers are used again and again, for one VM and for another: what the disk does
//! not say to have written is cleared before anybody sees it.

use alloc::vec::Vec;

use arrayvec::ArrayVec;
use vambrace_ids::VmId;
use vambrace_io::virtio::block::disk::{Blocks, DiskStep, Operation, Tag};
use vambrace_io::virtio::block::format::{ID_LEN, request as kind};
use zerocopy::IntoBytes;

pub use self::request::{Buffer, Data, Direction, Features};
use self::request::{Header, NOT_WRITTEN, Span, UNMAP};
use self::sharing::Sharing;
pub use self::sharing::{Owner, SHARED};

mod request;
mod sharing;

/// Descriptors of the disk's queue.
pub const QUEUE: usize = 256;
/// Requests under way at once, at most: each takes three descriptors.
pub const MAX_REQUESTS: usize = QUEUE / 3;

/// A queue of the disk, and the register that says that something is in it.
pub trait DiskQueue {
    /// Puts a request into the queue, and tells the disk. The buffer is left alone until the token comes out again.
    fn submit(&mut self, buffer: &mut Buffer<'_>, data: Data) -> Option<u16>;

    /// The token of a request that the disk is done with and that has not been taken out.
    fn next_completed(&mut self) -> Option<u16>;

    /// Takes that request out. Says how many bytes the disk has written, by its own account.
    fn complete(&mut self, token: u16, buffer: &mut Buffer<'_>, data: Data) -> Option<u32>;
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotState {
    Free,
    /// The owner is nobody if it is no more.
    Submitted {
        token: u16,
        owner: Option<Owner>,
        tag: Tag,
        data: Data,
    },
    Completed {
        owner: Owner,
        tag: Tag,
        outcome: RequestOutcome,
    },
}

/// What has come of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestOutcome {
    /// All is there: so many bytes.
    Done(usize),
    /// By its status it is done, but fewer bytes came than were asked for.
    Short,
    Failed,
}

/// A slot for a request.
#[derive(Debug)]
struct RequestSlot<'a> {
    state: SlotState,
    buffer: Buffer<'a>,
}

/// There is no slot for another disk's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSlot {
    /// No memory.
    #[error("no memory is left for the requests of a disk on the board's")]
    Memory,
    /// The disk's queue is full.
    #[error("a disk of the board serves {} disks of VMs, and no more", MAX_REQUESTS - SHARED)]
    Queue,
}

/// How a disk of the board has kept to what it was asked, so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conduct {
    /// It has always done so.
    #[default]
    Sound,
    /// It has said that a request is done and has written less than was asked for: that request has failed.
    Short,
    /// It has ended a request that was not made, so that nobody knows which of them it still works on: no memory is given to it any
    /// more, and all requests have failed.
    Astray,
}

/// VMs, each once.
pub type Vms = ArrayVec<VmId, MAX_REQUESTS>;

/// A disk of the board.
#[derive(Debug)]
pub struct BoardDisk<'a, L> {
    link: L,
    features: Features,
    /// In sectors.
    capacity: u64,
    name: [u8; ID_LEN],
    slots: Vec<RequestSlot<'a>>,
    sharing: Sharing,
    /// VMs that wait for a slot and may have one now.
    woken: Vms,
    conduct: Conduct,
    /// What the user knows of that.
    told: Conduct,
}

impl<'a, L: DiskQueue> BoardDisk<'a, L> {
    /// A disk of `capacity` sectors whose features were agreed on. It has no slots and no name yet, but all memory of the heap that it
    /// will ever take.
    pub fn new(link: L, features: Features, capacity: u64) -> Self {
        let slots = Vec::with_capacity(MAX_REQUESTS);
        let sharing = Sharing::new(MAX_REQUESTS);
        let (woken, conduct, told) = Default::default();
        Self { link, features, capacity, name: [0; ID_LEN], slots, sharing, woken, conduct, told }
    }

    /// Its size in sectors.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The queue.
    pub fn link(&mut self) -> &mut L {
        &mut self.link
    }

    /// The worst that is known of it, if that is worse than what was said the last time.
    pub fn news(&mut self) -> Option<Conduct> {
        let is_new = self.told < self.conduct;
        self.told = self.conduct;
        is_new.then_some(self.conduct)
    }

    /// Whether this is its serial number.
    pub fn is_called(&self, name: &str) -> bool {
        name.len() <= ID_LEN && name.bytes().chain(core::iter::repeat(0)).zip(self.name).all(|(a, b)| a == b)
    }

    /// Adds a slot.
    ///
    /// # Errors
    /// [`NoSlot`], and there is none more.
    pub fn add_slot(&mut self, buffer: Option<Buffer<'a>>) -> Result<(), NoSlot> {
        if self.slots.len() >= MAX_REQUESTS {
            return Err(NoSlot::Queue);
        }
        let buffer = buffer.ok_or(NoSlot::Memory)?;
        self.slots.push(RequestSlot { state: SlotState::Free, buffer });
        Ok(())
    }

    /// Another disk of a VM lies on this one. `room` is asked for a buffer if there is none for it.
    ///
    /// # Errors
    /// [`NoSlot`], and nothing has changed.
    pub fn attach(&mut self, vm: VmId, room: impl FnOnce() -> Option<Buffer<'a>>) -> Result<Owner, NoSlot> {
        let owner = self.sharing.attach(vm).ok_or(NoSlot::Queue)?;
        let wanted = SHARED.saturating_add(self.sharing.len());
        let is_short = self.slots.len() < wanted || self.free() < self.sharing.owed();
        if is_short && let Err(error) = self.add_slot(room()) {
            self.sharing.detach(owner);
            return Err(error);
        }
        Ok(owner)
    }

    /// A VM's disk is no more: nobody asks for its requests.
    pub fn detach(&mut self, owner: Owner) {
        for slot in &mut self.slots {
            match &mut slot.state {
                SlotState::Completed { owner: whose, .. } if *whose == owner => slot.state = SlotState::Free,
                SlotState::Submitted { owner: whose, .. } if *whose == Some(owner) => *whose = None,
                _ => {}
            }
        }
        self.sharing.detach(owner);
        self.wake();
    }

    fn free(&self) -> usize {
        self.slots.iter().filter(|slot| slot.state == SlotState::Free).count()
    }

    /// A slot may be free for somebody who waits: as many are told as there are slots for them.
    fn wake(&mut self) {
        let free = self.free();
        for _ in 0..free {
            // Nobody waits any more who might have one.
            let Some(vm) = self.sharing.tell_first(free) else { return };
            note(&mut self.woken, vm);
        }
    }

    /// The VMs that wait for a slot and may have one now: they are to be told.
    pub fn take_woken(&mut self) -> Vms {
        if self.woken.is_empty() { Vms::new() } else { core::mem::take(&mut self.woken) }
    }

    /// Asks for its name, with a slot of `owner`. [`BoardDisk::take_name`] has it when a request is done.
    pub fn ask_for_name(&mut self, owner: Owner) -> DiskStep {
        let header = Header { kind: kind::GET_ID.into(), ..Header::default() };
        let data = Data { direction: Direction::FromDisk, len: ID_LEN };
        self.submit(owner, Tag(0), header, |_| Some(data))
    }

    /// Takes the name that has come. It may be shorter than its field.
    pub fn take_name(&mut self, owner: Owner) -> DiskStep {
        let mut name = [0; ID_LEN];
        let step = match self.take(owner, Tag(0), &mut name) {
            None => DiskStep::Pending,
            Some(RequestOutcome::Failed) => DiskStep::Failed,
            Some(RequestOutcome::Done(_) | RequestOutcome::Short) => DiskStep::Done,
        };
        self.name = name;
        step
    }

    /// Begins an operation of a VM's disk, whose sectors are the board's.
    pub fn operate(&mut self, owner: Owner, tag: Tag, operation: Operation<'_>) -> DiskStep {
        let header =
            |kind: u32, sector: u64| Header { kind: kind.into(), sector: sector.into(), ..Header::default() };
        match operation {
            Operation::Read { sector, to } => {
                let len = to.len();
                self.submit(owner, tag, header(kind::IN, sector), |data| {
                    (len <= data.len()).then_some(Data { direction: Direction::FromDisk, len })
                })
            }
            Operation::Write { sector, from } => {
                self.submit(owner, tag, header(kind::OUT, sector), |data| fill(data, from))
            }
            Operation::Flush if !self.features.contains(Features::FLUSH) => DiskStep::Done,
            Operation::Flush => self.submit(owner, tag, header(kind::FLUSH, 0), |_| {
                Some(Data { direction: Direction::None, len: 0 })
            }),
            // Only a hint.
            Operation::Discard { .. } if !self.features.contains(Features::DISCARD) => DiskStep::Done,
            Operation::Discard { sector, sectors } => {
                self.range(owner, tag, kind::DISCARD, sector, sectors, 0)
            }
            Operation::WriteZeroes { .. } if !self.features.contains(Features::WRITE_ZEROES) => {
                DiskStep::Failed
            }
            Operation::WriteZeroes { sector, sectors, blocks } => {
                let flags = if blocks == Blocks::MayUnmap { UNMAP } else { 0 };
                self.range(owner, tag, kind::WRITE_ZEROES, sector, sectors, flags)
            }
        }
    }

    fn range(
        &mut self,
        owner: Owner,
        tag: Tag,
        kind: u32,
        sector: u64,
        sectors: u64,
        flags: u32,
    ) -> DiskStep {
        let sectors = u32::try_from(sectors).unwrap_or(u32::MAX);
        let span = Span { sector: sector.into(), sectors: sectors.into(), flags: flags.into() };
        let header = Header { kind: kind.into(), ..Header::default() };
        self.submit(owner, tag, header, |data| fill(data, span.as_bytes()))
    }

    fn submit(
        &mut self,
        owner: Owner,
        tag: Tag,
        header: Header,
        fill: impl FnOnce(&mut [u8]) -> Option<Data>,
    ) -> DiskStep {
        if self.conduct == Conduct::Astray {
            return DiskStep::Failed;
        }
        let free = self.free();
        if self.sharing.take(owner, free).is_none() {
            return DiskStep::Busy;
        }
        let step = self.submit_in_free_slot(owner, tag, header, fill);
        if step != DiskStep::Pending {
            self.sharing.give_back(owner);
        }
        step
    }

    fn submit_in_free_slot(
        &mut self,
        owner: Owner,
        tag: Tag,
        header: Header,
        fill: impl FnOnce(&mut [u8]) -> Option<Data>,
    ) -> DiskStep {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.state == SlotState::Free) else {
            return DiskStep::Failed;
        };
        let Some(data) = fill(slot.buffer.data) else { return DiskStep::Failed };
        slot.buffer.header.copy_from_slice(header.as_bytes());
        slot.buffer.status.fill(NOT_WRITTEN);
        // There are no more slots than the queue has descriptors for.
        let Some(token) = self.link.submit(&mut slot.buffer, data) else { return DiskStep::Failed };
        slot.state = SlotState::Submitted { token, owner: Some(owner), tag, data };
        DiskStep::Pending
    }

    /// Asks for an operation that was submitted.
    pub fn poll(&mut self, owner: Owner, tag: Tag, read: &mut [u8]) -> DiskStep {
        let Some(outcome) = self.take(owner, tag, read) else { return DiskStep::Pending };
        self.wake();
        match outcome {
            RequestOutcome::Done(_) => DiskStep::Done,
            // Half of a sector is none, and the guest is to know.
            RequestOutcome::Short => {
                self.conduct = self.conduct.max(Conduct::Short);
                DiskStep::Failed
            }
            RequestOutcome::Failed => DiskStep::Failed,
        }
    }

    /// Takes a request back that has ended, and its data. `None` while it has not.
    fn take(&mut self, owner: Owner, tag: Tag, read: &mut [u8]) -> Option<RequestOutcome> {
        let is_it = |slot: &&mut RequestSlot<'_>| match slot.state {
            SlotState::Submitted { owner: whose, tag: which, .. } => (whose, which) == (Some(owner), tag),
            SlotState::Completed { owner: whose, tag: which, .. } => (whose, which) == (owner, tag),
            SlotState::Free => false,
        };
        let Some(slot) = self.slots.iter_mut().find(is_it) else { return Some(RequestOutcome::Failed) };
        let SlotState::Completed { outcome, .. } = slot.state else { return None };
        slot.state = SlotState::Free;
        self.sharing.give_back(owner);
        // What is not there of a short answer is zero.
        let len = match outcome {
            RequestOutcome::Done(len) => len.min(read.len()),
            RequestOutcome::Short => read.len(),
            RequestOutcome::Failed => 0,
        };
        if let (Some(to), Some(from)) = (read.get_mut(..len), slot.buffer.data.get(..len)) {
            to.copy_from_slice(from);
        }
        Some(outcome)
    }

    /// Ends what requests are done. Says whose they were.
    pub fn collect(&mut self) -> Vms {
        let mut owners = Vms::new();
        // No more come out than went in, whatever the disk says.
        for _ in 0..self.slots.len() {
            let Some(token) = self.link.next_completed() else { break };
            if self.conduct == Conduct::Astray {
                break;
            }
            match self.complete(token) {
                Some(Some(owner)) => note(&mut owners, owner.vm),
                Some(None) => {}
                None => self.give_up(&mut owners),
            }
        }
        self.wake();
        owners
    }

    /// Ends the request with this token. Says whose it was; `None` if there is none.
    fn complete(&mut self, token: u16) -> Option<Option<Owner>> {
        let is_it = |slot: &&mut RequestSlot<'_>| matches!(slot.state, SlotState::Submitted { token: of, .. } if of == token);
        let slot = self.slots.iter_mut().find(is_it)?;
        let SlotState::Submitted { owner, tag, data, .. } = slot.state else { return None };
        let written = self.link.complete(token, &mut slot.buffer, data)?;
        let outcome = judge(&mut slot.buffer, data, written);
        slot.state = match owner {
            Some(owner) => SlotState::Completed { owner, tag, outcome },
            None => SlotState::Free,
        };
        Some(owner)
    }

    /// What comes out of the queue is nothing that went in: all that is under way has failed, and nobody waits for it for ever.
    fn give_up(&mut self, owners: &mut Vms) {
        self.conduct = Conduct::Astray;
        for slot in &mut self.slots {
            if let SlotState::Submitted { owner: Some(owner), tag, .. } = slot.state {
                slot.state = SlotState::Completed { owner, tag, outcome: RequestOutcome::Failed };
                note(owners, owner.vm);
            }
        }
        // Who waits for a slot is to be refused.
        self.sharing.vms().for_each(|vm| note(owners, vm));
    }
}

/// What has come of a request of which the disk says that it has written so many bytes. What of the data it has not written, by its
/// own account, is what an earlier request has left there: it is cleared (virtio 1.2, 2.7.8.2). The status counts if it was written,
/// however the disk counts it.
fn judge(buffer: &mut Buffer<'_>, data: Data, written: u32) -> RequestOutcome {
    if *buffer.status != [0] {
        return RequestOutcome::Failed;
    }
    let written = usize::try_from(written).unwrap_or(usize::MAX);
    if data.direction != Direction::FromDisk || written >= data.len {
        return RequestOutcome::Done(data.len);
    }
    if let Some(rest) = buffer.data.get_mut(written..data.len) {
        rest.fill(0);
    }
    RequestOutcome::Short
}

/// Puts the data of a request in their slot.
fn fill(to: &mut [u8], from: &[u8]) -> Option<Data> {
    to.get_mut(..from.len())?.copy_from_slice(from);
    Some(Data { direction: Direction::ToDisk, len: from.len() })
}

/// Adds a VM, unless it is there.
fn note(vms: &mut Vms, vm: VmId) {
    if !vms.contains(&vm) {
        // There are no more owners of slots than slots.
        let _ = vms.try_push(vm);
    }
}

#[cfg(test)]
mod tests;
