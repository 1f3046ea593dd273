// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames that wait for a card: a sender puts them there in its own time, the card's VM takes them in its own.
//!
//! The sender of a frame for a card whose VM is busy queues it here and kicks the VM's vCPU. All memory is allocated when
//! the queue is made.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;

use super::frame::{Frame, MAX_FRAME, Offload};

/// Bytes of frames that wait: one of the largest, and as many small ones as come while a VM is busy.
const BYTES: usize = MAX_FRAME.next_multiple_of(4096) + (32 << 10);
/// Frames that wait.
const FRAMES: usize = 64;

/// Frames that wait for a card, in their order.
#[derive(Debug)]
pub struct FrameQueue {
    bytes: Box<[u8]>,
    /// Where the first frame begins.
    start: usize,
    /// Where the last one ends.
    end: usize,
    frames: VecDeque<Waiting>,
}

/// A frame that waits; its bytes follow those of the one before.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    len: usize,
    offload: Offload,
}

/// So many frames wait already that there is no room for another, which is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for another frame")]
pub struct Full;

impl FrameQueue {
    /// How many bytes the pieces of memory have that [`FrameQueue::new`] takes.
    pub const PIECES: [usize; 2] = [BYTES, FRAMES * size_of::<Waiting>()];

    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        let bytes = vec![0; BYTES].into_boxed_slice();
        Self { bytes, start: 0, end: 0, frames: VecDeque::with_capacity(FRAMES) }
    }

    /// Whether no frame waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Puts a frame behind all others.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed then.
    pub fn push(&mut self, frame: &Frame<'_>) -> Result<(), Full> {
        let len = frame.bytes.len();
        if self.frames.len() == FRAMES || self.end - self.start + len > self.bytes.len() {
            return Err(Full);
        }
        if self.end + len > self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let end = self.end + len;
        let place = self.bytes.get_mut(self.end..end).ok_or(Full)?;
        place.copy_from_slice(frame.bytes);
        self.end = end;
        self.frames.push_back(Waiting { len, offload: frame.offload });
        Ok(())
    }

    /// The frame that has waited for the longest.
    #[must_use]
    pub fn front(&self) -> Option<Frame<'_>> {
        let Waiting { len, offload } = *self.frames.front()?;
        let bytes = self.bytes.get(self.start..self.start + len)?;
        Some(Frame { bytes, offload })
    }

    /// All frames, the one that has waited for the longest first.
    pub fn iter(&self) -> impl Iterator<Item = Frame<'_>> {
        let mut next = self.start;
        self.frames.iter().filter_map(move |&Waiting { len, offload }| {
            let bytes = self.bytes.get(next..next.checked_add(len)?)?;
            next += len;
            Some(Frame { bytes, offload })
        })
    }

    /// Removes the frame that has waited for the longest.
    pub fn pop(&mut self) {
        if let Some(waiting) = self.frames.pop_front() {
            self.start = self.start.saturating_add(waiting.len);
        }
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }
}

impl Default for FrameQueue {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn frame(bytes: &[u8]) -> Frame<'_> {
        Frame { bytes, offload: Offload::default() }
    }

    #[test]
    fn the_largest_frame_and_twenty_small_ones_wait() {
        let mut queue = FrameQueue::new();
        queue.push(&frame(&[1; MAX_FRAME])).unwrap();
        for _ in 0..20 {
            queue.push(&frame(&[2; 1514])).unwrap();
        }
        assert_eq!(queue.front().map(|frame| frame.bytes.len()), Some(MAX_FRAME));
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let mut queue = FrameQueue::new();
        for _ in 0..FRAMES {
            queue.push(&frame(&[0; 60])).unwrap();
        }
        assert_eq!(queue.push(&frame(&[0; 60])), Err(Full));
        queue.pop();
        assert_eq!(queue.push(&frame(&[0; 60])), Ok(()));
    }

    proptest! {
        /// As a list without a bound has them, but for those that are told to be lost.
        #[test]
        fn frames_come_out_as_they_went_in(steps in prop::collection::vec((any::<bool>(), 14usize..40_000), 1..200)) {
            let mut queue = FrameQueue::new();
            let mut all = VecDeque::new();
            for (nth, (puts, len)) in steps.into_iter().enumerate() {
                if puts {
                    let bytes: Vec<u8> = (0..len).map(|at| (at ^ nth) as u8).collect();
                    if queue.push(&frame(&bytes)).is_ok() {
                        all.push_back(bytes);
                    }
                } else {
                    queue.pop();
                    all.pop_front();
                }
                prop_assert_eq!(queue.front().map(|frame| frame.bytes.to_vec()), all.front().cloned());
                prop_assert_eq!(queue.is_empty(), all.is_empty());
                let listed: Vec<_> = queue.iter().map(|frame| frame.bytes.to_vec()).collect();
                prop_assert!(listed.iter().eq(&all));
            }
        }

        /// A frame is lost only when bytes or frames have no room.
        #[test]
        fn room_is_used_up_before_any_is_lost(lens in prop::collection::vec(14usize..9_000, 1..80)) {
            let mut queue = FrameQueue::new();
            let mut used = 0;
            for (nth, len) in lens.into_iter().enumerate() {
                let has_room = nth < FRAMES && used + len <= BYTES;
                if queue.push(&frame(&[7; 9_000][..len])).is_ok() {
                    prop_assert!(has_room);
                    used += len;
                } else {
                    prop_assert!(!has_room);
                    break;
                }
            }
        }
    }
}
