// SPDX-License-Identifier: MIT OR Apache-2.0
//! What physical CPUs know of each other.
//!
//! A CPU's own state is a plain value on its own stack ([`crate::sched::run::Pcpu`]), reached by nobody else; here is only
//! what others may touch: the requests, the mailbox, the run-queue indices that are taken.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::AtomicBool;

use spin::{Once, RelaxStrategy};
use vambrace_cpu::scheduler::RunQueueIndex;
use vambrace_hypervisor::boot::arrival::{self, Arrival};
use vambrace_hypervisor::invariant;
use vambrace_hypervisor::memory::room::{self, NoRoom};
use vambrace_hypervisor::sched::placement::{Kicked, Placement, PlacementCell, kick_where_it_is};
use vambrace_hypervisor::sched::requests::{NeedKick, Requests};
use vambrace_ids::{PcpuId, VcpuId, VmId};

use crate::arch::flag::Flag;
use crate::arch::lock::{SpinMutex, Yield};
use crate::arch::timeout::Timeout;
use crate::boot::secondary::CpusStarted;
use crate::gic;
use crate::memory::{HeapUp, Room};
use crate::sched::placements::TakenIndices;
use crate::sched::run::QueuedVcpu;
use crate::vm::background::BackgroundTask;
use crate::vm::shared::VmHandle;
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
        /// Work for its VM, in its time.
        task: Option<BackgroundTask>,
        /// Room in the heap for taking it in.
        room: Arc<Room>,
    },
    /// This vCPU, which another CPU had, is yours.
    Migrated {
        /// What its CPU knows of it.
        vcpu: Box<QueuedVcpu>,
        /// The run-queue index.
        index: RunQueueIndex,
        /// What it has cost the other CPU to send it, in counts.
        cost: u64,
        /// Room in the heap for taking it in.
        room: Room,
    },
    /// A vCPU of yours is to be affine to another CPU.
    Migrate {
        /// Its VM.
        vm: VmId,
        /// The vCPU.
        vcpu: VcpuId,
        /// Its run-queue index, as of when this was sent.
        index: RunQueueIndex,
        /// The other CPU.
        to: PcpuId,
    },
}

/// The part of a physical CPU that others see.
#[derive(Debug)]
pub(crate) struct Shared {
    /// MPIDR_EL1's affinity.
    pub(crate) affinity: u64,
    /// Whether it is there.
    pub(super) arrival: Arrival,
    /// It has a buffer for what virtio devices move.
    pub(crate) has_buffer: AtomicBool,
    /// Interrupts it.
    kick: gic::Kick,
    /// Who wants to be looked at.
    pub(crate) requests: Requests,
    pub(super) mailbox: SpinMutex<VecDeque<Message>>,
    /// The user asks what the vCPUs here do.
    is_asked: Flag,
    pub(super) indices: SpinMutex<TakenIndices>,
    /// It has nothing to do, and nobody has given it a vCPU since.
    is_idle: Flag,
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
            kick: gic::Kick::new(*affinity),
            requests: Requests::new(),
            mailbox: SpinMutex::new(VecDeque::new()),
            is_asked: Flag::new(),
            indices: SpinMutex::new(TakenIndices::new()),
            is_idle: Flag::new(),
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

/// A vCPU that anybody kicks. A CPU that kicks one of its own needs no interrupt: it finds the request at its next look.
struct Kick<'a>(&'a PlacementCell);

impl Kicked for Kick<'_> {
    type At = Placement;

    fn place(&self) -> Placement {
        self.0.get()
    }

    fn kick(&self, at: Placement) {
        let shared = get(at.cpu());
        send_kick(shared, shared.requests.make(at.index()));
    }
}

/// Makes the CPU that a vCPU is affine to look at it.
pub(crate) fn kick(vcpu: &PlacementCell) {
    kick_where_it_is(vcpu.get(), &Kick(vcpu));
}

/// A vCPU of another CPU of these, which are all. If it has come here meanwhile, this CPU interrupts itself.
struct KickOther<'a> {
    cpus: &'static [Shared],
    vcpu: &'a PlacementCell,
}

impl Kicked for KickOther<'_> {
    type At = Placement;

    #[inline(always)]
    fn place(&self) -> Placement {
        self.vcpu.get()
    }

    #[inline(always)]
    fn kick(&self, at: Placement) {
        let Some(shared) = self.cpus.get(at.cpu().index()) else {
            invariant!("placements are on the board's CPUs")
        };
        if shared.requests.make(at.index()) == NeedKick::Yes {
            shared.kick.send();
        }
    }
}

/// Makes a CPU of these, which are all, look at a vCPU that was `at` a place on another CPU than this one.
#[inline(always)]
pub(crate) fn kick_other(cpus: &'static [Shared], at: Placement, vcpu: &PlacementCell) {
    kick_where_it_is(at, &KickOther { cpus, vcpu });
}

/// Sends a CPU a message.
pub(crate) fn send(cpu: PcpuId, message: Message) {
    let shared = get(cpu);
    shared.mailbox.lock().push_back(message);
    send_kick(shared, shared.requests.request_message());
}

/// Sends a CPU a message that nobody has claimed room for.
///
/// # Errors
/// [`NoRoom`]; nothing is sent then.
pub(crate) fn try_send(cpu: PcpuId, message: Message) -> Result<(), NoRoom> {
    let messages = get(cpu).mailbox.lock().len() + 1;
    let room = Room::claim(room::list(messages, size_of::<Message>()))?;
    send(cpu, message);
    drop(room);
    Ok(())
}

/// Makes each CPU tell what its vCPUs do.
pub(crate) fn ask_all() {
    for shared in all() {
        shared.is_asked.set();
        send_kick(shared, shared.requests.request_message());
    }
}

/// A VM is gone: this CPU, which is in EL2, sees to those that waited for that. Before the CPUs are known no VM waits for another.
pub(crate) fn request_after_gone() {
    if let Some(shared) = all().iter().find(|shared| shared.is_this_cpu()) {
        // This CPU looks before it enters a guest or sleeps.
        let _ = shared.requests.request_after_gone();
    }
}

/// A CPU that requests of itself needs no interrupt: it finds the request at its next look.
fn send_kick(shared: &Shared, need_kick: NeedKick) {
    if need_kick == NeedKick::Yes && !shared.is_this_cpu() {
        shared.kick.send();
    }
}

impl Shared {
    fn is_this_cpu(&self) -> bool {
        self.affinity == boot::affinity()
    }

    /// This CPU, which has seen to its requests, is about to enter a guest, and may have made requests of itself meanwhile: with one
    /// pending the guest exits at once. Else nothing need ever make it exit, and nobody would kick this CPU any more, as the first who
    /// requests something has to.
    ///
    /// It does not look again instead, as others could make it do so for ever, and it serves its interrupts on exits only.
    #[inline(always)]
    pub(crate) fn kick_if_pending(&self) {
        if self.requests.is_pending() {
            self.kick.send();
        }
    }

    /// Has it exit, or wake from its WFI.
    pub(crate) fn interrupt(&self) {
        self.kick.send();
    }

    /// Whether it is to tell what its vCPUs do; once.
    pub(crate) fn take_question(&self) -> bool {
        self.is_asked.take()
    }

    /// It has nothing to do: others may give it vCPUs.
    pub(crate) fn note_idle(&self) {
        self.is_idle.set();
    }

    /// It has something to do.
    pub(crate) fn note_busy(&self) {
        self.is_idle.clear();
    }

    /// Takes the next piece of mail.
    pub(crate) fn take_message(&self) -> Option<Message> {
        self.mailbox.lock().pop_front()
    }
}

/// A CPU that has nothing to do; nobody else finds it before it has nothing to do again.
pub(crate) fn take_idle() -> Option<PcpuId> {
    let found = (0..).map(PcpuId::new).zip(all()).find(|(_, shared)| shared.is_idle.take());
    found.map(|(cpu, _)| cpu)
}
