// SPDX-License-Identifier: MIT OR Apache-2.0
//! What physical CPUs know of each other.
//!
//! A CPU's own state is a plain value on its own stack ([`crate::sched::run::Pcpu`]), reached by nobody else; here is only
//! what others may touch: the requests, the mailbox, the run-queue indices that are taken.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, Ordering};

use spin::{Once, RelaxStrategy};
use vambrace_cpu::scheduler::RunQueueIndex;
use vambrace_hypervisor::boot::arrival::{self, Arrival};
use vambrace_hypervisor::boot::board::MAX_CPUS;
use vambrace_hypervisor::invariant;
use vambrace_hypervisor::memory::room;
use vambrace_hypervisor::sched::placement::{self, Candidate, NoPlace, Presence};
use vambrace_hypervisor::sched::requests::{MAX_VCPUS_PER_CPU, NeedKick, Requests};
use vambrace_ids::{PcpuId, VcpuId};

use crate::arch::flag::Flag;
use crate::arch::lock::{SpinMutex, Yield};
use crate::arch::timeout::Timeout;
use crate::boot::secondary::CpusStarted;
use crate::devices::{self, Devices};
use crate::gic::Kick;
use crate::memory::{HeapUp, Room};
use crate::sched::run;
use crate::vm::background::BackgroundTask;
use crate::vm::shared::{Placement, VmHandle};
use crate::{boot, console};

/// What one CPU sends another.
#[derive(Debug)]
pub(crate) enum Message {
    /// This vCPU is yours, with this run-queue index.
    AddVcpu {
        /// The VM.
        handle: VmHandle,
        /// The vCPU.
        vcpu: VcpuId,
        /// The run-queue index.
        index: RunQueueIndex,
        /// Room in the heap for taking it in.
        room: Arc<Room>,
    },
    /// Work for the VM of the vCPU with this run-queue index, in that vCPU's time.
    Background {
        /// The run-queue index.
        index: RunQueueIndex,
        /// The work.
        task: BackgroundTask,
    },
}

/// The part of a physical CPU that others see.
#[derive(Debug)]
pub(crate) struct Shared {
    /// MPIDR_EL1's affinity.
    pub(crate) affinity: u64,
    /// Whether it is there.
    arrival: Arrival,
    /// It has a buffer for what virtio devices move.
    pub(crate) has_buffer: AtomicBool,
    /// Interrupts it.
    kick: Kick,
    /// Who wants to be looked at.
    pub(crate) requests: Requests,
    mailbox: SpinMutex<VecDeque<Message>>,
    /// The user asks what the vCPUs here do.
    is_asked: Flag,
    indices: SpinMutex<TakenIndices>,
}

/// TakenIndices in a word.
const BITS: usize = u64::BITS as usize;

/// Which run-queue indices are taken.
#[derive(Debug)]
struct TakenIndices {
    /// Bit `n` of word `w`: index 64 w + n.
    taken: [u64; MAX_VCPUS_PER_CPU / BITS],
    count: u16,
}

static CPUS: Once<Box<[Shared]>> = Once::new();

/// What others touch of each CPU is there.
#[derive(Debug)]
pub(crate) struct CpusKnown(());

/// Sets the CPUs up; once, by the first.
pub(crate) fn start(_: &HeapUp, affinities: &[u64]) -> CpusKnown {
    CPUS.call_once(|| {
        let shared = |affinity: &u64| Shared {
            affinity: *affinity,
            arrival: Arrival::new(),
            has_buffer: AtomicBool::new(false),
            kick: Kick::new(*affinity),
            requests: Requests::new(),
            mailbox: SpinMutex::new(VecDeque::new()),
            is_asked: Flag::new(),
            indices: SpinMutex::new(TakenIndices { taken: [0; MAX_VCPUS_PER_CPU / BITS], count: 0 }),
        };
        affinities.iter().map(shared).collect()
    });
    CpusKnown(())
}

/// This CPU, which has this index, is there. One that is too late is not to touch anything that all share.
pub(crate) fn arrive(cpu: PcpuId) -> arrival::Admission {
    all().get(cpu.index()).map_or(arrival::Admission::TooLate, |shared| shared.arrival.arrive())
}

/// The firmware would not start a CPU: no vCPU is given to it.
pub(crate) fn leave_out(cpu: PcpuId) {
    let Some(shared) = all().get(cpu.index()) else { invariant!("only the board's CPUs are started") };
    shared.arrival.leave_out();
}

/// How long a CPU may take from the firmware's word that it starts to its own, in seconds. Only a broken one takes longer.
const PATIENCE: u64 = 30;

/// Each CPU is there, or left out.
#[derive(Debug)]
pub(crate) struct CpusUp {
    count: usize,
}

impl CpusUp {
    /// How many are there.
    pub(crate) const fn count(&self) -> u16 {
        self.count as u16
    }
}

/// Waits for all CPUs that the firmware has started. This one, which has index `me`, is there.
pub(crate) fn wait_for_all(_: CpusStarted, me: PcpuId) -> CpusUp {
    let _ = arrive(me);
    let timeout = Timeout::of_seconds(PATIENCE);
    let give_up = |cpu: PcpuId| {
        let affinity = all().get(cpu.index()).map_or(0, |shared| shared.affinity);
        console::warning!(
            "CPU {cpu} ({affinity:#x}) has not come within {PATIENCE} s, though the firmware says that it starts it, so no vCPU \
             is given to it"
        );
    };
    let arrivals = all().iter().map(|shared| &shared.arrival);
    arrival::wait_for_all(arrivals.clone(), || timeout.is_over(), Yield::relax, give_up);
    CpusUp { count: arrivals.filter(|arrival| arrival.is_here()).count() }
}

/// All CPUs.
pub(crate) fn all() -> &'static [Shared] {
    CPUS.get().map_or(&[], |cpus| cpus)
}

/// A CPU, by its index in the board's list.
#[inline]
pub(crate) fn get(cpu: PcpuId) -> &'static Shared {
    let Some(shared) = all().get(cpu.index()) else { invariant!("placements are on the board's CPUs") };
    shared
}

/// Makes a CPU look at one of its vCPUs.
pub(crate) fn kick(cpu: PcpuId, index: RunQueueIndex) {
    let shared = get(cpu);
    send_kick(shared, shared.requests.make(index));
}

/// Makes a CPU that is not this one look at one of its vCPUs.
#[inline(always)]
pub(crate) fn kick_other(cpu: PcpuId, index: RunQueueIndex) {
    let shared = get(cpu);
    if shared.requests.make(index) == NeedKick::Yes {
        shared.kick.send();
    }
}

/// Sends a CPU a message.
pub(crate) fn send(cpu: PcpuId, message: Message) {
    let shared = get(cpu);
    shared.mailbox.lock().push_back(message);
    send_kick(shared, shared.requests.request_message());
}

/// Makes each CPU tell what its vCPUs do.
pub(crate) fn ask_all() {
    for shared in all() {
        shared.is_asked.set();
        send_kick(shared, shared.requests.request_message());
    }
}

/// A VM is gone: this CPU, which is in EL2, sees to those that waited for that. Before the CPUs are known no VM waits for another.
///
/// It interrupts itself, as it may have looked for the last time before it enters a guest.
pub(crate) fn request_after_gone() {
    if let Some(shared) = all().iter().find(|shared| shared.is_this_cpu())
        && shared.requests.request_after_gone() == NeedKick::Yes
    {
        shared.kick.send();
    }
}

/// A CPU that looks before each entry anyway, since it is the one that requests, needs no interrupt.
fn send_kick(shared: &Shared, need_kick: NeedKick) {
    if need_kick == NeedKick::Yes && !shared.is_this_cpu() {
        shared.kick.send();
    }
}

impl Shared {
    fn is_this_cpu(&self) -> bool {
        self.affinity == boot::affinity()
    }

    /// Whether it is to tell what its vCPUs do; once.
    pub(crate) fn take_question(&self) -> bool {
        self.is_asked.take()
    }

    /// Takes the next piece of mail.
    pub(crate) fn take_message(&self) -> Option<Message> {
        self.mailbox.lock().pop_front()
    }
}

/// Which physical CPU each of a VM's vCPUs has. The run-queue indices are theirs until it is dropped.
#[derive(Debug)]
pub(crate) struct Placements(Box<[Placement]>);

impl Deref for Placements {
    type Target = [Placement];

    #[inline(always)]
    fn deref(&self) -> &[Placement] {
        &self.0
    }
}

impl Drop for Placements {
    fn drop(&mut self) {
        self.iter().for_each(|placement| give_index_back(*placement));
    }
}

impl Placements {
    /// Finds them for vCPUs with these pins.
    ///
    /// # Errors
    /// [`NoPlace`]; nothing is taken then.
    pub(crate) fn find(pins: impl ExactSizeIterator<Item = Option<PcpuId>>) -> Result<Self, NoPlace> {
        let cpus = all();
        let mut mine = [0u16; MAX_CPUS];
        // Into its place at once, so that the indices are given back if there are not enough.
        let mut placements = Growing(Vec::with_capacity(pins.len()));
        for pin in pins {
            let candidates = cpus.iter().zip(&mine).map(|(shared, mine)| shared.candidate(*mine));
            let cpu = placement::choose(pin, candidates)?;
            let index = cpus.get(cpu.index()).and_then(Shared::take_index).ok_or(NoPlace::Full(cpu))?;
            if let Some(count) = mine.get_mut(cpu.index()) {
                *count += 1;
            }
            placements.0.push(Placement { cpu, index });
        }
        Ok(Self(core::mem::take(&mut placements.0).into_boxed_slice()))
    }

    /// How much of the heap it takes to tell the CPUs of their vCPUs, and for these to take them in with `devices`.
    pub(crate) fn room(&self, devices: &Devices) -> usize {
        let of_cpu = |(cpu, shared): (PcpuId, &Shared)| {
            let indices = self
                .iter()
                .filter(|placement| placement.cpu == cpu)
                .map(|placement| placement.index.index() + 1);
            let Some(last) = indices.clone().max() else { return 0 };
            let messages = shared.mailbox.lock().len() + indices.count() + 1;
            let wants_buffer = !devices.is_empty() && !shared.has_buffer.load(Ordering::Acquire);
            let buffer = if wants_buffer { room::piece(devices::BUFFER, 1) } else { 0 };
            room::list(messages, size_of::<Message>()) + run::room_for_vcpus(last) + buffer
        };
        (0..).map(PcpuId::new).zip(all()).map(of_cpu).sum()
    }
}

/// Placements of which there are more to come.
struct Growing(Vec<Placement>);

impl Drop for Growing {
    fn drop(&mut self) {
        self.0.iter().for_each(|placement| give_index_back(*placement));
    }
}

impl Shared {
    fn candidate(&self, of_this_vm: u16) -> Candidate {
        let presence = if self.arrival.is_here() { Presence::Runs } else { Presence::Missing };
        Candidate { presence, of_this_vm, in_all: self.indices.lock().count }
    }

    fn take_index(&self) -> Option<RunQueueIndex> {
        let mut indices = self.indices.lock();
        let (word, taken) = (0..).zip(&mut indices.taken).find(|(_, taken)| **taken != u64::MAX)?;
        let bit = taken.trailing_ones() as u16;
        *taken |= 1 << bit;
        indices.count = indices.count.saturating_add(1);
        Some(RunQueueIndex::new(word * BITS as u16 + bit))
    }
}

/// Frees the run-queue index of a vCPU that is no more.
fn give_index_back(placement: Placement) {
    if let Some(shared) = all().get(placement.cpu.index()) {
        let mut indices = shared.indices.lock();
        let (word, bit) = (placement.index.index() / BITS, 1u64 << (placement.index.index() % BITS));
        if let Some(taken) = indices.taken.get_mut(word)
            && *taken & bit != 0
        {
            *taken &= !bit;
            indices.count = indices.count.saturating_sub(1);
        }
    }
}
