// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's marks, and the rounds between them.
//!
//! The bench guest marks where operations and rounds begin and end by moving constants to the zero register; its own
//! `marks.rs` has the same numbers. Whatever EL2 runs between two marks of a channel, on any CPU, is a round.

use std::collections::BTreeMap;

use super::Seen;
use super::log::LoggedInstruction;

/// A mark in the guest's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// An operation begins; X0 to X3 are its name, X4 its channel.
    Operation,
    /// All has been done.
    End,
    /// A round begins on this channel.
    Begin(u8),
    /// It ends.
    Finish(u8),
}

/// MOVZ XZR, #imm16, without the constant.
const MOVE: u32 = 0xD280_001F;
/// The channel whose rounds begin and end on one CPU.
const HERE: u8 = 0;
/// Rounds before the first that counts.
const WARM_UP: usize = 3;

impl Mark {
    /// The mark that an instruction word is.
    pub(super) fn decode(word: u32) -> Option<Self> {
        let constant = (word >> 5) & 0xFFFF;
        if word & !(0xFFFF << 5) != MOVE {
            return None;
        }
        let channel = (constant & 0xF) as u8;
        match constant {
            0x7B00 => Some(Self::Operation),
            0x7B01 => Some(Self::End),
            0x7B10..=0x7B1F => Some(Self::Begin(channel)),
            0x7B20..=0x7B2F => Some(Self::Finish(channel)),
            _ => None,
        }
    }
}

/// What EL2 ran in a round.
pub(super) type Round = Vec<Seen>;

/// Puts what runs in order: by operation and round.
#[derive(Default)]
pub(super) struct Rounds {
    /// The operation that goes on, and its channel.
    operation: Option<(String, u8)>,
    /// Rounds that have begun, by channel and, where it matters, CPU.
    open: BTreeMap<(u8, usize), Round>,
    /// Those that are over, by operation.
    done: BTreeMap<String, Vec<Round>>,
}

impl Rounds {
    /// Takes note of a mark.
    pub(super) fn mark(&mut self, mark: Mark, step: &LoggedInstruction) {
        match mark {
            Mark::Operation => {
                let channel = u8::try_from(step.x[4]).unwrap_or(u8::MAX);
                self.operation = Some((name(&step.x[..4]), channel));
                self.open.clear();
            }
            Mark::End => self.operation = None,
            Mark::Begin(channel) => {
                self.open.insert(key(channel, step.cpu), Round::new());
            }
            Mark::Finish(channel) => {
                let round = self.open.remove(&key(channel, step.cpu));
                let wanted = self.operation.as_ref().filter(|(_, wanted)| *wanted == channel);
                if let (Some(round), Some((name, _))) = (round, wanted) {
                    self.done.entry(name.clone()).or_default().push(round);
                }
            }
        }
    }

    /// Takes note of an instruction of EL2.
    pub(super) fn see(&mut self, seen: Seen) {
        self.open.values_mut().for_each(|round| round.push(seen));
    }

    /// Of each operation the round in the middle, by the instructions of EL2.
    pub(super) fn medians(self) -> BTreeMap<String, Round> {
        let median = |(name, mut rounds): (String, Vec<Round>)| {
            rounds.drain(..WARM_UP.min(rounds.len().saturating_sub(1)));
            // A vCPU that did not have to sleep, after all, was not switched from.
            if rounds.iter().any(|round| !round.is_empty()) {
                rounds.retain(|round| !round.is_empty());
            }
            rounds.sort_by_key(Vec::len);
            let middle = rounds.len() / 2;
            (!rounds.is_empty()).then(|| (name, rounds.swap_remove(middle)))
        };
        self.done.into_iter().filter_map(median).collect()
    }
}

fn key(channel: u8, cpu: usize) -> (u8, usize) {
    (channel, if channel == HERE { cpu } else { 0 })
}

/// A name in registers, padded with zeros.
fn name(registers: &[u64]) -> String {
    let bytes = registers.iter().flat_map(|register| register.to_le_bytes());
    bytes.take_while(|byte| *byte != 0).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::super::instruction::InstructionKind;
    use super::*;

    fn step(cpu: usize, text: &str, channel: u64) -> LoggedInstruction {
        let mut bytes = [0; 32];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let mut x = [0; 31];
        for (register, word) in x.iter_mut().zip(bytes.chunks(8)) {
            *register = u64::from_le_bytes(word.try_into().unwrap());
        }
        x[4] = channel;
        LoggedInstruction { cpu, pc: 0, x, sp: 0 }
    }

    fn seen(pc: u64) -> Seen {
        Seen { pc, kind: InstructionKind::Plain, touched: None }
    }

    #[test]
    fn marks_are_moves_of_certain_constants_to_the_zero_register() {
        for (constant, mark) in [
            (0x7B00, Some(Mark::Operation)),
            (0x7B01, Some(Mark::End)),
            (0x7B13, Some(Mark::Begin(3))),
            (0x7B24, Some(Mark::Finish(4))),
            (0x7B02, None),
        ] {
            assert_eq!(Mark::decode(MOVE | constant << 5), mark);
        }
        assert_eq!(Mark::decode(MOVE & !1 | 0x7B00 << 5), None);
    }

    #[test]
    fn a_round_is_what_runs_between_its_own_marks() {
        let mut rounds = Rounds::default();
        let nobody = |cpu| step(cpu, "", 0);
        rounds.mark(Mark::Operation, &step(0, "switch-at-end-of-turn", 0));
        for round in 0..WARM_UP as u64 + 3 {
            rounds.see(seen(1));
            rounds.mark(Mark::Begin(0), &nobody(0));
            rounds.mark(Mark::Begin(2), &nobody(0));
            (0..=round).for_each(|_| rounds.see(seen(2)));
            // Neither another CPU's end nor another channel's is this one's.
            rounds.mark(Mark::Finish(0), &nobody(1));
            rounds.mark(Mark::Finish(2), &nobody(1));
            rounds.see(seen(2));
            rounds.mark(Mark::Finish(0), &nobody(0));
        }
        rounds.mark(Mark::End, &nobody(0));
        rounds.mark(Mark::Begin(0), &nobody(0));
        rounds.mark(Mark::Finish(0), &nobody(0));
        let medians = rounds.medians();
        assert_eq!(medians, [("switch-at-end-of-turn".to_owned(), vec![seen(2); WARM_UP + 3])].into());
    }

    #[test]
    fn rounds_in_which_nothing_ran_count_only_if_that_is_so_in_all() {
        let nobody = step(0, "", 0);
        let run = |lengths: &[usize]| {
            let mut rounds = Rounds::default();
            rounds.mark(Mark::Operation, &step(0, "x", 2));
            for length in [&[0; WARM_UP], lengths].concat() {
                rounds.mark(Mark::Begin(2), &nobody);
                (0..length).for_each(|_| rounds.see(seen(0)));
                rounds.mark(Mark::Finish(2), &step(1, "", 0));
            }
            rounds.medians()["x"].len()
        };
        assert_eq!(run(&[0, 0, 0, 7]), 7);
        assert_eq!(run(&[0, 0]), 0);
    }
}
