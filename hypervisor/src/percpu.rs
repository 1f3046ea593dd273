// SPDX-License-Identifier: MIT OR Apache-2.0
//! What physical CPUs know of each other.
//!
//! A CPU's own state is a plain value on its own stack ([`crate::run::Pcpu`]), reached by nobody else; here is only
//! what others may touch: the call for attention, the mailbox, the slots that are taken.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use spin::Once;
use vambrace_hypervisor::attention::{Attention, SLOTS, Told};

use crate::boot;
use crate::cell::{Cell, Home};
use crate::gic::Kick;
use crate::job::Job;
use crate::lock::SpinMutex;

/// What one CPU sends another.
#[derive(Debug)]
pub(crate) enum Mail {
    /// This vCPU lives with you, in this slot.
    Adopt {
        /// The VM.
        cell: Cell,
        /// The vCPU.
        vcpu: u16,
        /// The slot.
        slot: u16,
    },
    /// Work for the VM of the vCPU in this slot, in that vCPU's time.
    Job {
        /// The slot.
        slot: u16,
        /// The work.
        job: Job,
    },
}

/// The part of a physical CPU that others see.
#[derive(Debug)]
pub(crate) struct Shared {
    /// MPIDR_EL1's affinity.
    pub(crate) affinity: u64,
    /// The firmware did not start it.
    is_missing: AtomicBool,
    /// Interrupts it.
    kick: Kick,
    /// Who wants to be looked at.
    pub(crate) attention: Attention,
    mailbox: SpinMutex<VecDeque<Mail>>,
    /// The user asks what the vCPUs here do.
    is_asked: AtomicBool,
    slots: SpinMutex<Slots>,
}

/// Slots in a word.
const BITS: usize = u64::BITS as usize;

/// Which slots are taken.
#[derive(Debug)]
struct Slots {
    /// Bit `n` of word `w`: slot 64 w + n.
    taken: [u64; SLOTS / BITS],
    count: u16,
}

static CPUS: Once<Box<[Shared]>> = Once::new();

/// Sets the CPUs up; once, by the first.
pub(crate) fn start(affinities: &[u64]) {
    CPUS.call_once(|| {
        let shared = |affinity: &u64| Shared {
            affinity: *affinity,
            is_missing: AtomicBool::new(false),
            kick: Kick::new(*affinity),
            attention: Attention::new(),
            mailbox: SpinMutex::new(VecDeque::new()),
            is_asked: AtomicBool::new(false),
            slots: SpinMutex::new(Slots { taken: [0; SLOTS / BITS], count: 0 }),
        };
        affinities.iter().map(shared).collect()
    });
}

/// The firmware did not start a CPU (PSCI, CPU_ON): no vCPU is given to it. To be called before VMs are made.
pub(crate) fn note_missing(cpu: usize) {
    if let Some(shared) = all().get(cpu) {
        shared.is_missing.store(true, Ordering::Release);
    }
}

/// All CPUs.
pub(crate) fn all() -> &'static [Shared] {
    CPUS.get().map_or(&[], |cpus| cpus)
}

/// Makes a CPU look at one of its slots.
pub(crate) fn call(cpu: u16, slot: u16) {
    if let Some(shared) = all().get(usize::from(cpu)) {
        interrupt(shared, shared.attention.call(slot));
    }
}

/// Makes a CPU that is not this one look at one of its slots.
#[inline]
pub(crate) fn call_other(cpu: u16, slot: u16) {
    if let Some(shared) = all().get(usize::from(cpu))
        && shared.attention.call(slot) == Told::Now
    {
        shared.kick.send();
    }
}

/// Sends mail to a CPU.
pub(crate) fn send(cpu: u16, mail: Mail) {
    if let Some(shared) = all().get(usize::from(cpu)) {
        shared.mailbox.lock().push_back(mail);
        interrupt(shared, shared.attention.call_for_mail());
    }
}

/// Makes each CPU tell what its vCPUs do.
pub(crate) fn ask_all() {
    for shared in all() {
        shared.is_asked.store(true, Ordering::Release);
        interrupt(shared, shared.attention.call_for_mail());
    }
}

/// A VM is gone: this CPU, which is in EL2, sees to those that waited for that before it enters a guest or sleeps. Before
/// the CPUs are known no VM waits for another.
pub(crate) fn tell_of_gone() {
    if let Some(shared) = all().iter().find(|shared| shared.is_this_cpu()) {
        let _ = shared.attention.tell_of_gone();
    }
}

/// A CPU that looks before each entry anyway, since it is the one that calls, needs no interrupt.
fn interrupt(shared: &Shared, told: Told) {
    if told == Told::Now && !shared.is_this_cpu() {
        shared.kick.send();
    }
}

impl Shared {
    fn is_this_cpu(&self) -> bool {
        self.affinity == boot::affinity()
    }

    /// Whether it is to tell what its vCPUs do; once.
    pub(crate) fn take_question(&self) -> bool {
        self.is_asked.swap(false, Ordering::AcqRel)
    }

    /// Takes the next piece of mail.
    pub(crate) fn take_mail(&self) -> Option<Mail> {
        self.mailbox.lock().pop_front()
    }
}

/// Finds homes for a VM's vCPUs: where they are pinned, else on the CPUs with the fewest, no two of the VM together
/// while there are CPUs enough. `None` when a CPU has no slot left.
pub(crate) fn find_homes(pins: &[Option<u16>]) -> Option<Box<[Home]>> {
    let cpus = all();
    let mut mine = [0u16; vambrace_hypervisor::board::MAX_CPUS];
    let mut homes = Vec::with_capacity(pins.len());
    for pin in pins {
        let cpu = match pin {
            Some(cpu) => usize::from(*cpu),
            None => {
                let load = |cpu: &usize| {
                    (mine.get(*cpu).copied(), cpus.get(*cpu).map(|shared| shared.slots.lock().count))
                };
                let runs = |cpu: &usize| cpus.get(*cpu).is_some_and(Shared::runs);
                (0..cpus.len()).filter(runs).min_by_key(load)?
            }
        };
        let Some(slot) = cpus.get(cpu).filter(|shared| shared.runs()).and_then(Shared::take_slot) else {
            homes.iter().for_each(|home| give_slot_back(*home));
            return None;
        };
        if let Some(count) = mine.get_mut(cpu) {
            *count += 1;
        }
        homes.push(Home { cpu: cpu as u16, slot });
    }
    Some(homes.into_boxed_slice())
}

impl Shared {
    fn runs(&self) -> bool {
        !self.is_missing.load(Ordering::Acquire)
    }

    fn take_slot(&self) -> Option<u16> {
        let mut slots = self.slots.lock();
        let (word, taken) = (0..).zip(&mut slots.taken).find(|(_, taken)| **taken != u64::MAX)?;
        let bit = taken.trailing_ones() as u16;
        *taken |= 1 << bit;
        slots.count = slots.count.saturating_add(1);
        Some(word * BITS as u16 + bit)
    }
}

/// Frees the slot of a vCPU that is no more.
pub(crate) fn give_slot_back(home: Home) {
    if let Some(shared) = all().get(usize::from(home.cpu)) {
        let mut slots = shared.slots.lock();
        let (word, bit) = (usize::from(home.slot) / BITS, 1u64 << (usize::from(home.slot) % BITS));
        if let Some(taken) = slots.taken.get_mut(word)
            && *taken & bit != 0
        {
            *taken &= !bit;
            slots.count = slots.count.saturating_sub(1);
        }
    }
}
