// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory as table walkers see it: a location that was written may show its old or its new value until it is published.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::Pa;
use crate::addr::PAGE_SIZE;

const WORDS: usize = 512;

#[derive(Debug)]
struct PageFrame {
    /// What every walker sees where nothing is pending.
    settled: Box<[u64; WORDS]>,
    /// What its writer reads.
    newest: Box<[u64; WORDS]>,
    /// Values written since the last publication, by word.
    pending: Vec<(usize, u64)>,
}

impl PageFrame {
    fn new() -> Self {
        Self { settled: Box::new([0; WORDS]), newest: Box::new([0; WORDS]), pending: Vec::new() }
    }
}

/// Physical memory, 64-bit words in frames that come into being when written.
#[derive(Debug, Default)]
pub(super) struct Memory {
    frames: BTreeMap<u64, PageFrame>,
    /// The frames with something pending.
    unpublished: BTreeSet<u64>,
}

impl Memory {
    /// What the CPU that writes the tables reads.
    pub(super) fn read(&self, pa: Pa) -> u64 {
        self.frames.get(&frame_of(pa)).map_or(0, |frame| frame.newest[word_of(pa)])
    }

    /// Writes a word; returns whether that changes it.
    pub(super) fn write(&mut self, pa: Pa, value: u64) -> bool {
        let frame = self.frames.entry(frame_of(pa)).or_insert_with(PageFrame::new);
        let word = word_of(pa);
        if frame.newest[word] == value {
            return false;
        }
        frame.newest[word] = value;
        frame.pending.push((word, value));
        self.unpublished.insert(frame_of(pa));
        true
    }

    /// Replaces a whole frame, for every walker at once.
    pub(super) fn overwrite(&mut self, frame: Pa, content: impl Fn(usize) -> u64) {
        let words = Box::new(core::array::from_fn(content));
        self.frames.insert(frame.0, PageFrame { settled: words.clone(), newest: words, pending: Vec::new() });
        self.unpublished.remove(&frame.0);
    }

    /// `DSB`: everybody sees what was written.
    pub(super) fn publish(&mut self) {
        for number in core::mem::take(&mut self.unpublished) {
            if let Some(frame) = self.frames.get_mut(&number) {
                frame.pending.clear();
                *frame.settled = *frame.newest;
            }
        }
    }

    /// What every walker sees now, provided nothing is pending there.
    pub(super) fn settled(&self, pa: Pa) -> u64 {
        self.frames.get(&frame_of(pa)).map_or(0, |frame| frame.settled[word_of(pa)])
    }

    /// All values that a walker may see at `pa`.
    pub(super) fn visible(&self, pa: Pa) -> Vec<u64> {
        let Some(frame) = self.frames.get(&frame_of(pa)) else { return Vec::new() };
        let word = word_of(pa);
        let pending = frame.pending.iter().filter(|(at, _)| *at == word).map(|(_, value)| *value);
        core::iter::once(frame.settled[word]).chain(pending).collect()
    }

    /// All values that a walker may see in the frame, with their addresses, except zero.
    pub(super) fn visible_in(&self, frame: Pa) -> Vec<(Pa, u64)> {
        let Some(content) = self.frames.get(&frame.0) else { return Vec::new() };
        let settled = content.settled.iter().copied().enumerate();
        settled
            .chain(content.pending.iter().copied())
            .filter(|(_, value)| *value != 0)
            .map(|(word, value)| (Pa(frame.0 + word as u64 * 8), value))
            .collect()
    }

    /// The frames with something pending.
    pub(super) fn unpublished(&self) -> impl Iterator<Item = Pa> {
        self.unpublished.iter().map(|&frame| Pa(frame))
    }
}

fn frame_of(pa: Pa) -> u64 {
    pa.align_down(PAGE_SIZE).0
}

fn word_of(pa: Pa) -> usize {
    (pa.0 % PAGE_SIZE) as usize / 8
}
