// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one physical CPU says to another: look at these virtual CPUs again, and here is mail.
//!
//! A bit for each slot of a CPU and a summary above them, so that asking whether anything is there is one load, and
//! finding it does not grow with the number of VMs.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Virtual CPUs that one physical CPU can have.
pub const SLOTS: usize = WORDS * 64;

const WORDS: usize = 16;

/// The summary's bit for mail.
const MAIL: u32 = 1 << 31;

/// The slots that another CPU wants this one to look at.
#[derive(Debug)]
pub struct Attention {
    /// Bit `n`: word `n` is not zero. [`MAIL`]: there is mail.
    summary: AtomicU32,
    words: [AtomicU64; WORDS],
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

    /// Asks for a look at `slot`. All that was written before is seen by whoever looks.
    pub fn call(&self, slot: u16) -> Told {
        let (word, bit) = (usize::from(slot / 64), slot % 64);
        let Some(target) = self.words.get(word) else { return Told::Before };
        // Release twice: the word before the summary, and the caller's change before both.
        target.fetch_or(1 << bit, Ordering::Release);
        Self::told(self.summary.fetch_or(1 << word, Ordering::AcqRel))
    }

    /// Says that there is mail.
    pub fn call_for_mail(&self) -> Told {
        Self::told(self.summary.fetch_or(MAIL, Ordering::AcqRel))
    }

    fn told(before: u32) -> Told {
        if before == 0 { Told::Now } else { Told::Before }
    }

    /// Whether there is anything to look at.
    #[inline]
    #[must_use]
    pub fn is_called(&self) -> bool {
        self.summary.load(Ordering::Relaxed) != 0
    }

    /// Takes the call for `slot`, if that is all there is to look at. Else everything stays.
    pub fn take_only(&self, slot: u16) -> bool {
        let (word, bit) = (slot / 64, 1 << (slot % 64));
        let Some(slots) = self.words.get(usize::from(word)) else { return false };
        let alone = self.summary.compare_exchange(1 << word, 0, Ordering::AcqRel, Ordering::Relaxed);
        if alone.is_err() {
            return false;
        }
        let taken = slots.swap(0, Ordering::AcqRel);
        if taken == bit {
            return true;
        }
        // Others called: as if nobody had looked.
        slots.fetch_or(taken, Ordering::Release);
        self.summary.fetch_or(1 << word, Ordering::AcqRel);
        false
    }

    /// Takes all that there is to look at: calls `look` for each slot, and says whether there is mail.
    pub fn take(&self, mut look: impl FnMut(u16)) -> Mail {
        let summary = self.summary.swap(0, Ordering::AcqRel);
        let mut words = summary & !MAIL;
        while words != 0 {
            let word = words.trailing_zeros();
            words &= words - 1;
            let Some(slots) = self.words.get(word as usize) else { continue };
            let mut bits = slots.swap(0, Ordering::AcqRel);
            while bits != 0 {
                look(word as u16 * 64 + bits.trailing_zeros() as u16);
                bits &= bits - 1;
            }
        }
        if summary & MAIL != 0 { Mail::Waiting } else { Mail::None }
    }
}

/// Whether a CPU has mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mail {
    /// Nothing.
    None,
    /// Something.
    Waiting,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_seen_once_and_in_order() {
        let attention = Attention::new();
        assert!(!attention.is_called());
        assert_eq!(attention.call(700), Told::Now);
        assert_eq!(attention.call(3), Told::Before);
        assert_eq!(attention.call(3), Told::Before);
        let mut seen = vec![];
        assert_eq!(attention.take(|slot| seen.push(slot)), Mail::None);
        assert_eq!(seen, [3, 700]);
        assert!(!attention.is_called());
        assert_eq!(attention.take(|_| panic!("nothing is left")), Mail::None);
    }

    #[test]
    fn mail_is_told_apart_from_slots() {
        let attention = Attention::new();
        assert_eq!(attention.call_for_mail(), Told::Now);
        assert_eq!(attention.take(|_| panic!("no slot was called")), Mail::Waiting);
        assert_eq!(attention.call(1), Told::Now);
    }

    #[test]
    fn a_slot_is_taken_alone_or_not_at_all() {
        let attention = Attention::new();
        assert!(!attention.take_only(70));
        let _ = attention.call(70);
        assert!(attention.take_only(70) && !attention.is_called());
        for others in [[70, 71], [70, 3]] {
            for slot in others {
                let _ = attention.call(slot);
            }
            assert!(!attention.take_only(70));
            let mut seen = vec![];
            let _ = attention.take(|slot| seen.push(slot));
            seen.sort_by_key(|slot| others.iter().position(|other| other == slot));
            assert_eq!(seen, others, "nothing is lost");
        }
        let _ = attention.call(70);
        let _ = attention.call_for_mail();
        assert!(!attention.take_only(70));
    }

    #[test]
    fn a_slot_that_does_not_exist_is_nobody() {
        let attention = Attention::new();
        let _ = attention.call(SLOTS as u16);
        assert!(!attention.is_called());
    }
}
