// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests and messages between CPUs, in every order in which they may run, by a model of memory that shows old values wherever
//! it may.
#![forbid(unsafe_code)]

use std::sync::PoisonError;

use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use vambrace_cpu::scheduler::RunQueueIndex;
use vambrace_hypervisor::sched::placement::{Kicked, kick_where_it_is};
use vambrace_hypervisor::sched::requests::{Handler, Received, Requests, Word};

/// The model's own atomic.
#[derive(Debug)]
struct Modelled<T>(T);

macro_rules! words {
    ($($atomic:ident of $integer:ident),*) => {
        $(impl Word<$integer> for Modelled<$atomic> {
            fn load(&self) -> $integer {
                self.0.load(Ordering::Relaxed)
            }

            fn set(&self, bits: $integer) -> $integer {
                self.0.fetch_or(bits, Ordering::AcqRel)
            }

            fn take(&self) -> $integer {
                self.0.swap(0, Ordering::AcqRel)
            }

            fn take_just(&self, bits: $integer) -> bool {
                self.0.compare_exchange(bits, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            }

            fn clear(&self, bits: $integer) {
                self.0.fetch_and(!bits, Ordering::AcqRel);
            }
        })*
    };
}

words!(AtomicU32 of u32, AtomicU64 of u64);

type Calls = Requests<Modelled<AtomicU32>, Modelled<AtomicU64>>;

/// What CPUs share of one of them.
struct Shared {
    requests: Calls,
    mailbox: Mutex<Vec<RunQueueIndex>>,
    /// A vCPU is to start: what its CPU has to find.
    is_pending: AtomicU32,
}

impl Shared {
    fn new() -> Arc<Self> {
        let words = core::array::from_fn(|_| Modelled(AtomicU64::new(0)));
        Arc::new(Self {
            requests: Requests::of_words(Modelled(AtomicU32::new(0)), words),
            mailbox: Mutex::new(Vec::new()),
            is_pending: AtomicU32::new(0),
        })
    }
}

/// The index of the vCPU that comes by a message, and that of one that is there and shares a word with it.
const NEW: RunQueueIndex = RunQueueIndex::new(1);
const OLD: RunQueueIndex = RunQueueIndex::new(0);

/// A CPU: it knows which indices are taken.
struct Cpu {
    shared: Arc<Shared>,
    knows_new: bool,
    has_started: bool,
}

impl Cpu {
    fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), knows_new: false, has_started: false }
    }

    fn handle_requests(&mut self) {
        let shared = Arc::clone(&self.shared);
        let _ = shared.requests.handle(self);
    }
}

impl Handler for Cpu {
    fn look(&mut self, index: RunQueueIndex) {
        // A free index is passed over.
        if index == NEW && self.knows_new && self.shared.is_pending.load(Ordering::Relaxed) != 0 {
            self.has_started = true;
        }
    }

    fn receive_message(&mut self) -> Received {
        match self.shared.mailbox.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            Some(index) => {
                self.knows_new = true;
                Received::Vcpu(index)
            }
            None => Received::None,
        }
    }
}

/// Brings a vCPU, and turns it on: from the CPU where the VM was made.
fn add_and_request(shared: &Shared) {
    shared.mailbox.lock().unwrap_or_else(PoisonError::into_inner).push(NEW);
    let _ = shared.requests.request_message();
    shared.is_pending.store(1, Ordering::Relaxed);
    let _ = shared.requests.make(NEW);
}

/// A vCPU that is requested as soon as it has been sent starts, whatever its CPU is looking at meanwhile.
#[test]
fn a_request_that_overtakes_the_message_is_not_lost() {
    loom::model(|| {
        let shared = Shared::new();
        let (maker, neighbour) = (Arc::clone(&shared), Arc::clone(&shared));
        let makes = thread::spawn(move || add_and_request(&maker));
        let requester = thread::spawn(move || {
            let _ = neighbour.requests.make(OLD);
        });
        let mut cpu = Cpu::new(&shared);
        cpu.handle_requests();
        makes.join().unwrap();
        requester.join().unwrap();
        // It looks before it enters a guest or sleeps, as long as anything is requested.
        while shared.requests.is_pending() {
            cpu.handle_requests();
        }
        assert!(cpu.has_started, "the vCPU waits for ever");
    });
}

/// The vCPU, whose place is the first or the second CPU.
struct Mover {
    cpus: [Arc<Shared>; 2],
    place: Arc<AtomicU32>,
}

impl Kicked for Mover {
    type At = usize;

    fn place(&self) -> usize {
        self.place.load(Ordering::Relaxed) as usize
    }

    fn kick(&self, at: usize) {
        let _ = self.cpus[at].requests.make(NEW);
    }
}

/// A vCPU that is kicked while it moves is looked at on its new CPU behind the kick, wherever the kick went.
#[test]
fn a_kick_finds_a_vcpu_that_moves() {
    loom::model(|| {
        let cpus = [Shared::new(), Shared::new()];
        let place = Arc::new(AtomicU32::new(0));
        let is_pending = Arc::clone(&cpus[1]);
        let mover = Mover { cpus: cpus.clone(), place: Arc::clone(&place) };
        let kicks = thread::spawn(move || {
            is_pending.is_pending.store(1, Ordering::Relaxed);
            kick_where_it_is(mover.place(), &mover);
        });
        // The CPU that it leaves; and the one that it comes to, which begins with what the other has sent.
        place.store(1, Ordering::Relaxed);
        cpus[0].requests.withdraw(NEW);
        cpus[1].mailbox.lock().unwrap_or_else(PoisonError::into_inner).push(NEW);
        let _ = cpus[1].requests.request_message();
        let mut cpu = Cpu::new(&cpus[1]);
        cpu.handle_requests();
        kicks.join().unwrap();
        while cpus[1].requests.is_pending() {
            cpu.handle_requests();
        }
        assert!(cpu.has_started, "the vCPU waits for ever");
    });
}

/// What comes while one request is taken by itself is not taken with it.
#[test]
fn a_request_that_is_taken_alone_takes_no_other() {
    loom::model(|| {
        let shared = Shared::new();
        let _ = shared.requests.make(OLD);
        let maker = Arc::clone(&shared);
        let makes = thread::spawn(move || add_and_request(&maker));
        let mut cpu = Cpu::new(&shared);
        let _ = shared.requests.handle_only(OLD, || true);
        makes.join().unwrap();
        while shared.requests.is_pending() {
            cpu.handle_requests();
        }
        assert!(cpu.has_started, "the vCPU waits for ever");
    });
}

/// An SGI and work for the devices that come together are both found, though they call by the same bit and the SGI is
/// served on the fast path.
#[test]
fn an_sgi_does_not_swallow_the_call_for_other_work() {
    loom::model(|| {
        let shared = Shared::new();
        let (has_arrived, is_due) = (Arc::new(AtomicU32::new(1)), Arc::new(AtomicU32::new(0)));
        let _ = shared.requests.make(OLD);
        let (other, due) = (Arc::clone(&shared), Arc::clone(&is_due));
        let works = thread::spawn(move || {
            due.store(1, Ordering::Release);
            let _ = other.requests.make(OLD);
        });
        let serve = || is_due.load(Ordering::Relaxed) == 0 && has_arrived.swap(0, Ordering::AcqRel) != 0;
        let _ = shared.requests.handle_only(OLD, serve);
        works.join().unwrap();
        assert!(shared.requests.is_pending(), "nobody looks at the devices");
    });
}
