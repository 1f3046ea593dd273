// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtio disk of the board, shared by VMs' disks that lie on it.
//!
//! Its queue is driven without ever waiting: an operation is begun, the disk's interrupt says that some are done, and
//! their owners ask for theirs. Data go through buffers of ours, so the board's disk never touches a VM's memory, and an
//! operation may outlive the VM that began it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use arrayvec::ArrayVec;
use bitflags::bitflags;
use vambrace_hypervisor::answer::{self, Answer};
use vambrace_io::virtio::block::disk::{Blocks, Operation, Step, Tag};
use vambrace_io::virtio::block::format::{ID_LEN, request};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::{InterruptStatus, Transport};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{Immutable, IntoBytes};

use super::dma::{self, Dma};

/// Operations under way at once, for all VMs together.
const PLACES: usize = 16;
/// Descriptors: each operation takes three.
const QUEUE: usize = 64;
const REQUESTS: u16 = 0;
/// The most bytes of an operation: as many as a VM's devices move in one piece.
pub(super) const DATA: usize = crate::devices::BUFFER;
/// `unmap` of a range (virtio 1.2, 5.2.6).
const UNMAP: u32 = 1;

bitflags! {
    /// What we make use of (virtio 1.2, 5.2.3 and 6).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Features: u64 {
        const RO = 1 << 5;
        const FLUSH = 1 << 9;
        const DISCARD = 1 << 13;
        const WRITE_ZEROES = 1 << 14;
        const VERSION_1 = 1 << 32;
    }
}

/// The start of a request.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    kind: U32,
    reserved: U32,
    sector: U64,
}

/// A range of a discard or write-zeroes.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
struct Span {
    sector: U64,
    sectors: U32,
    flags: U32,
}

/// Whose an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The VM, by its index in the bundle.
    pub(crate) vm: u16,
    /// The life of the VM's disk: others may have had the index before.
    pub(crate) disk: u32,
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Begun { token: u16, owner: Owner, tag: Tag, direction: Direction, len: usize },
    Ended { owner: Owner, tag: Tag, status: u8, len: usize },
}

/// Which way an operation's data go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    ToDisk,
    FromDisk,
    None,
}

/// A place for an operation, in memory that the disk reads and writes.
#[derive(Debug)]
struct Place {
    state: State,
    header: &'static mut [u8],
    status: &'static mut [u8],
    data: &'static mut [u8],
}

/// A disk of the board.
pub(crate) struct BoardDisk {
    transport: MmioTransport<'static>,
    queue: Box<VirtQueue<Dma, QUEUE>>,
    features: Features,
    places: Vec<Place>,
    name: [u8; ID_LEN],
    capacity: u64,
}

impl BoardDisk {
    /// Starts the disk, and asks for its name. At boot: it waits for that.
    pub(super) fn start(mut transport: MmioTransport<'static>) -> Option<Self> {
        let features = transport.begin_init(Features::all());
        let capacity = transport.read_consistent(|| {
            let half = |offset: usize| transport.read_config_space::<u32>(offset).map(u64::from);
            Ok(half(0)? | half(4)? << 32)
        });
        let capacity = capacity.ok()?;
        let queue = Box::new(VirtQueue::new(&mut transport, REQUESTS, false, false).ok()?);
        transport.finish_init();
        let mut places = Vec::with_capacity(PLACES);
        for _ in 0..PLACES {
            // The data come first, so that they are aligned.
            let memory = dma::take(DATA + size_of::<Header>() + 1)?;
            let (data, rest) = memory.split_at_mut_checked(DATA)?;
            let (header, status) = rest.split_at_mut_checked(size_of::<Header>())?;
            places.push(Place { state: State::Free, header, status, data });
        }
        let mut disk = Self { transport, queue, features, places, name: [0; ID_LEN], capacity };
        disk.name = disk.ask_for_name()?;
        Some(disk)
    }

    /// Its size in sectors.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Whether this is its serial number.
    pub(super) fn is_called(&self, name: &str) -> bool {
        name.len() <= ID_LEN && name.bytes().chain(core::iter::repeat(0)).zip(self.name).all(|(a, b)| a == b)
    }

    fn ask_for_name(&mut self) -> Option<[u8; ID_LEN]> {
        let nobody = Owner { vm: u16::MAX, disk: u32::MAX };
        let tag = Tag(0);
        let header = Header { kind: request::GET_ID.into(), ..Header::default() };
        if self.begin(nobody, tag, header, |_| Some((ID_LEN, Direction::FromDisk))) != Step::Pending {
            return None;
        }
        while self.collect().is_empty() {
            core::hint::spin_loop();
        }
        let mut name = [0; ID_LEN];
        (self.poll(nobody, tag, &mut name) == Step::Done).then_some(name)
    }

    /// Begins an operation of a VM's disk, whose sectors are the board's.
    pub(crate) fn operate(&mut self, owner: Owner, tag: Tag, operation: Operation<'_>) -> Step {
        let header =
            |kind: u32, sector: u64| Header { kind: kind.into(), sector: sector.into(), ..Header::default() };
        match operation {
            Operation::Read { sector, to } => {
                let len = to.len();
                self.begin(owner, tag, header(request::IN, sector), |data| {
                    (len <= data.len()).then_some((len, Direction::FromDisk))
                })
            }
            Operation::Write { sector, from } => {
                self.begin(owner, tag, header(request::OUT, sector), |data| {
                    data.get_mut(..from.len())?.copy_from_slice(from);
                    Some((from.len(), Direction::ToDisk))
                })
            }
            Operation::Flush if !self.features.contains(Features::FLUSH) => Step::Done,
            Operation::Flush => {
                self.begin(owner, tag, header(request::FLUSH, 0), |_| Some((0, Direction::None)))
            }
            // Only a hint.
            Operation::Discard { .. } if !self.features.contains(Features::DISCARD) => Step::Done,
            Operation::Discard { sector, sectors } => {
                self.range(owner, tag, request::DISCARD, sector, sectors, 0)
            }
            Operation::WriteZeroes { .. } if !self.features.contains(Features::WRITE_ZEROES) => Step::Failed,
            Operation::WriteZeroes { sector, sectors, blocks } => {
                let flags = if blocks == Blocks::MayUnmap { UNMAP } else { 0 };
                self.range(owner, tag, request::WRITE_ZEROES, sector, sectors, flags)
            }
        }
    }

    fn range(&mut self, owner: Owner, tag: Tag, kind: u32, sector: u64, sectors: u64, flags: u32) -> Step {
        let sectors = u32::try_from(sectors).unwrap_or(u32::MAX);
        let span = Span { sector: sector.into(), sectors: sectors.into(), flags: flags.into() };
        self.begin(owner, tag, Header { kind: kind.into(), ..Header::default() }, |data| {
            let bytes = span.as_bytes();
            data.get_mut(..bytes.len())?.copy_from_slice(bytes);
            Some((bytes.len(), Direction::ToDisk))
        })
    }

    fn begin(
        &mut self,
        owner: Owner,
        tag: Tag,
        header: Header,
        fill: impl FnOnce(&mut [u8]) -> Option<(usize, Direction)>,
    ) -> Step {
        let Some(place) = self.places.iter_mut().find(|place| place.state == State::Free) else {
            return Step::Busy;
        };
        let Some((len, direction)) = fill(place.data) else { return Step::Failed };
        place.header.copy_from_slice(header.as_bytes());
        // SAFETY: the place is not touched until `collect` takes the token from the queue.
        match unsafe { place.with_buffers(direction, len, |inputs, outputs| self.queue.add(inputs, outputs)) }
        {
            Ok(token) => {
                place.state = State::Begun { token, owner, tag, direction, len };
                if self.queue.should_notify() {
                    self.transport.notify(REQUESTS);
                }
                Step::Pending
            }
            Err(_) => Step::Busy,
        }
    }

    /// Asks for an operation that was begun.
    pub(crate) fn poll(&mut self, owner: Owner, tag: Tag, read: &mut [u8]) -> Step {
        let is_it = |place: &&mut Place| match place.state {
            State::Begun { owner: whose, tag: which, .. } | State::Ended { owner: whose, tag: which, .. } => {
                (whose, which) == (owner, tag)
            }
            State::Free => false,
        };
        let Some(place) = self.places.iter_mut().find(is_it) else { return Step::Failed };
        let State::Ended { status, len, .. } = place.state else { return Step::Pending };
        place.state = State::Free;
        if status != 0 {
            return Step::Failed;
        }
        let len = len.min(read.len());
        if let (Some(to), Some(from)) = (read.get_mut(..len), place.data.get(..len)) {
            to.copy_from_slice(from);
        }
        Step::Done
    }

    /// A VM's disk is no more: nobody asks for its operations.
    pub(crate) fn abandon(&mut self, owner: Owner) {
        for place in &mut self.places {
            match &mut place.state {
                State::Ended { owner: whose, .. } if *whose == owner => place.state = State::Free,
                State::Begun { owner: whose, .. } if *whose == owner => whose.vm = u16::MAX,
                _ => {}
            }
        }
    }

    /// Ends the interrupt, and what operations are done. Says whose.
    pub(crate) fn collect(&mut self) -> ArrayVec<u16, PLACES> {
        let _: InterruptStatus = self.transport.ack_interrupt();
        let mut owners = ArrayVec::new();
        while let Some(token) = self.queue.peek_used() {
            let is_it =
                |place: &&mut Place| matches!(place.state, State::Begun { token: of, .. } if of == token);
            let Some(place) = self.places.iter_mut().find(is_it) else { break };
            let State::Begun { owner, tag, direction, len, .. } = place.state else { break };
            // SAFETY: the buffers that were added with this token.
            let popped = unsafe {
                place.with_buffers(direction, len, |inputs, outputs| {
                    self.queue.pop_used(token, inputs, outputs)
                })
            };
            let Ok(used) = popped else { break };
            let to_write = if direction == Direction::FromDisk { len } else { 0 };
            let found = place.status.first().copied().unwrap_or(1);
            let Answer { written, status } = answer::judge(to_write, used, found);
            // It is what an earlier request has left there, perhaps another VM's.
            if let Some(unwritten) = place.data.get_mut(written..to_write) {
                unwritten.fill(0);
            }
            place.state = State::Ended { owner, tag, status, len };
            if owner.vm == u16::MAX && owner.disk != u32::MAX {
                place.state = State::Free;
            }
            if !owners.contains(&owner.vm) {
                let _ = owners.try_push(owner.vm);
            }
        }
        owners
    }
}

impl Place {
    /// Calls with the operation's buffers: those that the disk reads, and those that it writes.
    ///
    /// # Safety
    /// As for what is called.
    unsafe fn with_buffers<R>(
        &mut self,
        direction: Direction,
        len: usize,
        call: impl for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> R,
    ) -> R {
        let (data, _) = self.data.split_at_mut(len.min(self.data.len()));
        match direction {
            Direction::ToDisk => call(&[self.header, data], &mut [self.status]),
            Direction::FromDisk => call(&[self.header], &mut [data, self.status]),
            Direction::None => call(&[self.header], &mut [self.status]),
        }
    }
}
