// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one physical CPU says to another: look at these virtual CPUs again, and here is mail.
//!
//! A bit for each slot of a CPU and a summary above them, so that asking whether anything is there is one load, and
//! finding it does not grow with the number of VMs.
//!
//! A vCPU may be called before its CPU has read the mail that brings it: the call names a slot that is nobody's yet, and finds
//! nothing. So [`Attention::attend`] looks at each vCPU that the mail brings, whether it was called or not.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Virtual CPUs that one physical CPU can have.
pub const SLOTS: usize = WORDS * 64;

/// Words with a bit for each slot.
pub const WORDS: usize = 16;

/// The summary's bit for mail.
const MAIL: u32 = 1 << 31;
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
        })*
    };
}

words!(AtomicU32 of u32, AtomicU64 of u64);

/// What others want a CPU to look at.
#[derive(Debug)]
pub struct Attention<S = AtomicU32, W = AtomicU64> {
    /// Bit `n`: word `n` is not zero. [`MAIL`]: there is mail. [`VM_GONE`]: a VM is gone.
    summary: S,
    words: [W; WORDS],
}

/// The CPU that looks.
pub trait Home {
    /// Looks at a slot, which may be nobody's.
    fn look(&mut self, slot: u16);

    /// Reads one piece of mail.
    fn read_mail(&mut self) -> Mail;
}

/// A piece of mail that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mail {
    /// There was none.
    None,
    /// It brought a vCPU for this slot.
    Vcpu(u16),
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

/// Whether the CPU was told before and has not looked since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has to be interrupted.
    Now,
    /// An interrupt is on its way already.
    Before,
}

impl Default for Attention {
    fn default() -> Self {
        Self::new()
    }
}

impl Attention {
    /// Nothing to look at.
    #[must_use]
    pub const fn new() -> Self {
        Self { summary: AtomicU32::new(0), words: [const { AtomicU64::new(0) }; WORDS] }
    }
}

impl<S: Word<u32>, W: Word<u64>> Attention<S, W> {
    /// Of these words, which are all zero.
    #[must_use]
    pub const fn of_words(summary: S, words: [W; WORDS]) -> Self {
        Self { summary, words }
    }

    /// Asks for a look at `slot`. All that was written before is seen by whoever looks.
    pub fn call(&self, slot: u16) -> Told {
        let (word, bit) = (usize::from(slot / 64), slot % 64);
        let Some(target) = self.words.get(word) else { return Told::Before };
        // The word before the summary, and the caller's change before both.
        target.set(1 << bit);
        self.tell(1 << word)
    }

    /// Says that there is mail.
    pub fn call_for_mail(&self) -> Told {
        self.tell(MAIL)
    }

    /// Says that a VM is gone.
    pub fn tell_of_gone(&self) -> Told {
        self.tell(VM_GONE)
    }

    fn tell(&self, bits: u32) -> Told {
        if self.summary.set(bits) == 0 { Told::Now } else { Told::Before }
    }

    /// Whether there is anything to look at.
    #[inline]
    #[must_use]
    pub fn is_called(&self) -> bool {
        self.summary.load() != 0
    }

    /// Takes the call for `slot`, if that is all there is to look at. Else everything stays.
    fn take_only(&self, slot: u16) -> bool {
        let (word, bit) = (slot / 64, 1 << (slot % 64));
        let Some(slots) = self.words.get(usize::from(word)) else { return false };
        if !self.summary.take_just(1 << word) {
            return false;
        }
        let taken = slots.take();
        if taken == bit {
            return true;
        }
        // Others called: as if nobody had looked.
        slots.set(taken);
        self.summary.set(1 << word);
        false
    }

    /// Takes the call for `slot`, if that is all there is to look at and `serve` says that it has done all that the call was
    /// for. Else everything stays. Calls for several things are one call: `serve` has to look at each, behind this.
    #[inline]
    pub fn serve_only(&self, slot: u16, serve: impl FnOnce() -> bool) -> bool {
        if !self.take_only(slot) {
            return false;
        }
        let is_served = serve();
        if !is_served {
            // There is more to it: found before the next entry.
            let _ = self.call(slot);
        }
        is_served
    }

    /// Looks at all that there is: the slots that were called, and the mail.
    pub fn attend(&self, home: &mut impl Home) -> Gone {
        let summary = self.summary.take();
        let mut words = summary & !(MAIL | VM_GONE);
        while words != 0 {
            let word = words.trailing_zeros();
            words &= words - 1;
            let Some(slots) = self.words.get(word as usize) else { continue };
            let mut bits = slots.take();
            while bits != 0 {
                home.look(word as u16 * 64 + bits.trailing_zeros() as u16);
                bits &= bits - 1;
            }
        }
        if summary & MAIL != 0 {
            Self::read_mail(home);
        }
        if summary & VM_GONE != 0 { Gone::Some } else { Gone::None }
    }

    #[cold]
    #[inline(never)]
    fn read_mail(home: &mut impl Home) {
        loop {
            match home.read_mail() {
                Mail::None => return,
                // A call for it may have come before it was there.
                Mail::Vcpu(slot) => home.look(slot),
                Mail::Other => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers what was looked at; its mail brings vCPUs.
    #[derive(Default)]
    struct Looks {
        seen: Vec<u16>,
        mail: Vec<Mail>,
    }

    impl Home for Looks {
        fn look(&mut self, slot: u16) {
            self.seen.push(slot);
        }

        fn read_mail(&mut self) -> Mail {
            self.mail.pop().unwrap_or(Mail::None)
        }
    }

    fn looks(attention: &Attention) -> Vec<u16> {
        let mut home = Looks { mail: vec![Mail::Vcpu(9)], ..Looks::default() };
        assert_eq!(attention.attend(&mut home), Gone::None);
        assert!(!attention.is_called());
        home.seen
    }

    #[test]
    fn each_call_is_seen_once_and_in_order() {
        let attention: Attention = Attention::new();
        assert!(!attention.is_called());
        assert_eq!(attention.call(700), Told::Now);
        assert_eq!(attention.call(3), Told::Before);
        assert_eq!(attention.call(3), Told::Before);
        assert_eq!(looks(&attention), [3, 700]);
        assert_eq!(looks(&attention), [], "nothing is left");
    }

    #[test]
    fn mail_is_told_apart_from_slots_and_what_it_brings_is_looked_at() {
        let attention: Attention = Attention::new();
        assert_eq!(attention.call_for_mail(), Told::Now);
        assert_eq!(attention.call(1), Told::Before);
        let mail = vec![Mail::Other, Mail::Vcpu(7), Mail::Other];
        let mut home = Looks { mail, ..Looks::default() };
        assert_eq!(attention.attend(&mut home), Gone::None);
        assert_eq!((home.seen, home.mail), (vec![1, 7], vec![]));
    }

    #[test]
    fn one_that_is_gone_is_told_apart() {
        let attention: Attention = Attention::new();
        assert_eq!(attention.tell_of_gone(), Told::Now);
        assert_eq!(attention.tell_of_gone(), Told::Before);
        assert!(!attention.take_only(0));
        assert_eq!(attention.attend(&mut Looks::default()), Gone::Some);
        assert_eq!(attention.attend(&mut Looks::default()), Gone::None);
    }

    #[test]
    fn a_slot_is_taken_alone_or_not_at_all() {
        let attention: Attention = Attention::new();
        assert!(!attention.take_only(70));
        let _ = attention.call(70);
        assert!(attention.take_only(70) && !attention.is_called());
        for others in [[70, 71], [70, 3]] {
            for slot in others {
                let _ = attention.call(slot);
            }
            assert!(!attention.take_only(70));
            let mut seen = looks(&attention);
            seen.sort_by_key(|slot| others.iter().position(|other| other == slot));
            assert_eq!(seen, others, "nothing is lost");
        }
        let _ = attention.call(70);
        let _ = attention.call_for_mail();
        assert!(!attention.take_only(70));
    }

    #[test]
    fn a_slot_that_does_not_exist_is_nobody() {
        let attention: Attention = Attention::new();
        let _ = attention.call(SLOTS as u16);
        assert!(!attention.is_called());
    }
}
