// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests of one physical CPU to another: look at these vCPUs again, receive your messages.
//!
//! There is a bit for each vCPU of a CPU, by its run-queue index, and a summary above the bits. So whether anything is
//! requested is one load, and finding it does not grow with the number of VMs.
//!
//! A vCPU may be requested before its CPU has received the message that adds it: the request names an index that is free as
//! yet, and finds nothing. So [`Requests::handle`] looks at each vCPU that a message adds, whether it was requested or not.
//!
//! A vCPU may be requested at a CPU that it has just left. So whoever requests something reads the vCPU's place again
//! afterwards, and the CPU that it leaves stores the new place before it [withdraws](Requests::withdraw) the request. Both change one
//! word: either the request comes first, and then the look at the new place sees all that was written before it; or it comes
//! later, and then it sees the new place, and is made there, too.

use crate::invariant;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use vambrace_cpu::scheduler::RunQueueIndex;

/// vCPUs that one physical CPU can have.
pub const MAX_VCPUS_PER_CPU: usize = WORDS * 64;

/// Words with a bit for each vCPU.
pub const WORDS: usize = 16;

/// The summary's bit for messages.
const MESSAGE: u32 = 1 << 31;
/// The summary's bit for VMs that are gone.
const VM_GONE: u32 = 1 << 30;

/// A word of bits that CPUs share. The program's are the language's own atomics, a test's those of a model.
pub trait Word<T> {
    /// What is there, without any order.
    fn load(&self) -> T;
    /// Adds bits, and says what was there before: all that was written before is seen by whoever takes them.
    fn set(&self, bits: T) -> T;
    /// Takes all bits: all is seen that was written before they were set.
    fn take(&self) -> T;
    /// Takes the bits if they are just these.
    fn take_just(&self, bits: T) -> bool;
    /// Takes these bits, and leaves the others. All is seen that was written before they were set; and whoever sets bits afterwards
    /// sees all that was written before this.
    fn clear(&self, bits: T);
}

macro_rules! words {
    ($($atomic:ident of $integer:ident),*) => {
        $(impl Word<$integer> for $atomic {
            #[inline(always)]
            fn load(&self) -> $integer {
                $atomic::load(self, Ordering::Relaxed)
            }

            #[inline(always)]
            fn set(&self, bits: $integer) -> $integer {
                self.fetch_or(bits, Ordering::AcqRel)
            }

            #[inline(always)]
            fn take(&self) -> $integer {
                self.swap(0, Ordering::AcqRel)
            }

            #[inline(always)]
            fn take_just(&self, bits: $integer) -> bool {
                self.compare_exchange(bits, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            }

            #[inline(always)]
            fn clear(&self, bits: $integer) {
                self.fetch_and(!bits, Ordering::AcqRel);
            }
        })*
    };
}

words!(AtomicU32 of u32, AtomicU64 of u64);

/// What others request of a CPU.
#[derive(Debug)]
pub struct Requests<S = AtomicU32, W = AtomicU64> {
    /// Bit `n`: word `n` is not zero. [`MESSAGE`]: there is a message. [`VM_GONE`]: a VM is gone.
    summary: S,
    words: [W; WORDS],
}

/// The CPU that handles requests.
pub trait Handler {
    /// Looks at the vCPU of this run-queue index, which may be free.
    fn look(&mut self, index: RunQueueIndex);

    /// Receives the next message.
    fn receive_message(&mut self) -> Received;
}

/// A message that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// There was none.
    None,
    /// It added a vCPU with this run-queue index.
    Vcpu(RunQueueIndex),
    /// It was something else.
    Other,
}

/// Whether a VM is gone, and others may have waited for that.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// None is.
    None,
    /// One is, or several.
    Some,
}

/// Whether the CPU has to be kicked: no request has been pending since it looked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeedKick {
    /// It has to be interrupted.
    Yes,
    /// A kick is on its way already.
    No,
}

impl Default for Requests {
    fn default() -> Self {
        Self::new()
    }
}

impl Requests {
    /// Nothing to look at.
    #[must_use]
    pub const fn new() -> Self {
        Self { summary: AtomicU32::new(0), words: [const { AtomicU64::new(0) }; WORDS] }
    }
}

impl<S: Word<u32>, W: Word<u64>> Requests<S, W> {
    /// Of these words, which are all zero.
    #[must_use]
    pub const fn of_words(summary: S, words: [W; WORDS]) -> Self {
        Self { summary, words }
    }

    /// Requests a look at the vCPU of this run-queue index. All that was written before is seen by whoever looks.
    pub fn make(&self, index: RunQueueIndex) -> NeedKick {
        let (word, bit) = (index.index() / 64, index.index() % 64);
        // No vCPU has this index.
        let Some(target) = self.words.get(word) else { return NeedKick::No };
        // The word is set before the summary, and the caller's change is seen before both.
        target.set(1 << bit);
        self.set(1 << word)
    }

    /// The vCPU of this run-queue index has got another place, which has been stored, and its CPU looks at it when it has come there:
    /// what was requested here is found by that look. See [`kick_where_it_is`](super::placement::kick_where_it_is).
    pub fn withdraw(&self, index: RunQueueIndex) {
        let (word, bit) = (index.index() / 64, index.index() % 64);
        // No vCPU has this index.
        let Some(slots) = self.words.get(word) else { return };
        slots.clear(1 << bit);
    }

    /// Requests that messages be received.
    pub fn request_message(&self) -> NeedKick {
        self.set(MESSAGE)
    }

    /// Requests a look at the VMs that wait for one that is gone.
    pub fn request_after_gone(&self) -> NeedKick {
        self.set(VM_GONE)
    }

    fn set(&self, bits: u32) -> NeedKick {
        if self.summary.set(bits) == 0 { NeedKick::Yes } else { NeedKick::No }
    }

    /// Whether anything is requested.
    #[inline]
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.summary.load() != 0
    }

    /// Takes the request for `index`, if there is no other. Else everything stays.
    fn take_only(&self, index: RunQueueIndex) -> bool {
        let (word, bit) = (index.index() / 64, 1 << (index.index() % 64));
        let Some(requested) = self.words.get(word) else { return false };
        if !self.summary.take_just(1 << word) {
            return false;
        }
        let taken = requested.take();
        if taken == bit {
            return true;
        }
        // There are others: as if nobody had looked.
        requested.set(taken);
        self.summary.set(1 << word);
        false
    }

    /// Takes the request for `index`, if there is no other and `serve` says that it has done all that was requested. Else
    /// everything stays. Requests for several things are one request: `serve` has to look at each, behind this.
    #[inline]
    pub fn handle_only(&self, index: RunQueueIndex, serve: impl FnOnce() -> bool) -> bool {
        if !self.take_only(index) {
            return false;
        }
        let is_served = serve();
        if !is_served {
            // There is more to it: found before the next entry.
            let _ = self.make(index);
        }
        is_served
    }

    /// Handles all requests: looks at the vCPUs, then receives the messages.
    pub fn handle(&self, handler: &mut impl Handler) -> Gone {
        let summary = self.summary.take();
        let mut words = summary & !(MESSAGE | VM_GONE);
        while words != 0 {
            let word = words.trailing_zeros();
            words &= words - 1;
            let Some(requested) = self.words.get(word as usize) else {
                invariant!("the summary is of these words")
            };
            let mut bits = requested.take();
            while bits != 0 {
                handler.look(RunQueueIndex::new(word as u16 * 64 + bits.trailing_zeros() as u16));
                bits &= bits - 1;
            }
        }
        if summary & MESSAGE != 0 {
            Self::receive_message(handler);
        }
        if summary & VM_GONE != 0 { Gone::Some } else { Gone::None }
    }

    #[cold]
    #[inline(never)]
    fn receive_message(handler: &mut impl Handler) {
        loop {
            match handler.receive_message() {
                Received::None => return,
                // A request for it may have come before it was there.
                Received::Vcpu(index) => handler.look(index),
                Received::Other => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u16) -> RunQueueIndex {
        RunQueueIndex::new(number)
    }

    /// Remembers what was looked at; its messages add vCPUs.
    #[derive(Default)]
    struct Looks {
        seen: Vec<RunQueueIndex>,
        messages: Vec<Received>,
    }

    impl Handler for Looks {
        fn look(&mut self, index: RunQueueIndex) {
            self.seen.push(index);
        }

        fn receive_message(&mut self) -> Received {
            self.messages.pop().unwrap_or(Received::None)
        }
    }

    fn looks(requests: &Requests) -> Vec<RunQueueIndex> {
        let mut handler = Looks { messages: vec![Received::Vcpu(at(9))], ..Looks::default() };
        assert_eq!(requests.handle(&mut handler), Gone::None);
        assert!(!requests.is_pending());
        handler.seen
    }

    #[test]
    fn each_request_is_seen_once_and_in_order() {
        let requests: Requests = Requests::new();
        assert!(!requests.is_pending());
        assert_eq!(requests.make(at(700)), NeedKick::Yes);
        assert_eq!(requests.make(at(3)), NeedKick::No);
        assert_eq!(requests.make(at(3)), NeedKick::No);
        assert_eq!(looks(&requests), [3, 700].map(at));
        assert_eq!(looks(&requests), [], "nothing is left");
    }

    #[test]
    fn messages_are_told_apart_and_what_they_add_is_looked_at() {
        let requests: Requests = Requests::new();
        assert_eq!(requests.request_message(), NeedKick::Yes);
        assert_eq!(requests.make(at(1)), NeedKick::No);
        let messages = vec![Received::Other, Received::Vcpu(at(7)), Received::Other];
        let mut handler = Looks { messages, ..Looks::default() };
        assert_eq!(requests.handle(&mut handler), Gone::None);
        assert_eq!((handler.seen, handler.messages), ([1, 7].map(at).to_vec(), vec![]));
    }

    #[test]
    fn one_that_is_gone_is_told_apart() {
        let requests: Requests = Requests::new();
        assert_eq!(requests.request_after_gone(), NeedKick::Yes);
        assert_eq!(requests.request_after_gone(), NeedKick::No);
        assert!(!requests.take_only(at(0)));
        assert_eq!(requests.handle(&mut Looks::default()), Gone::Some);
        assert_eq!(requests.handle(&mut Looks::default()), Gone::None);
    }

    #[test]
    fn a_request_is_taken_alone_or_not_at_all() {
        let requests: Requests = Requests::new();
        assert!(!requests.take_only(at(70)));
        let _ = requests.make(at(70));
        assert!(requests.take_only(at(70)) && !requests.is_pending());
        for others in [[70, 71], [70, 3]].map(|others| others.map(at)) {
            for index in others {
                let _ = requests.make(index);
            }
            assert!(!requests.take_only(at(70)));
            let mut seen = looks(&requests);
            seen.sort_by_key(|index| others.iter().position(|other| other == index));
            assert_eq!(seen, others, "nothing is lost");
        }
        let _ = requests.make(at(70));
        let _ = requests.request_message();
        assert!(!requests.take_only(at(70)));
    }

    #[test]
    fn an_index_beyond_the_last_is_nobody() {
        let requests: Requests = Requests::new();
        let _ = requests.make(at(MAX_VCPUS_PER_CPU as u16));
        assert!(!requests.is_pending());
    }
}
