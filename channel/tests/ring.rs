// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring against a queue, and against a hostile other side.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use vambrace_channel::{Broken, MAGIC, PopError, PushError, Reader, Writer};

/// Words before the data.
const HEADER: usize = 48;

fn memory(words: usize) -> Vec<AtomicU32> {
    (0..HEADER + words).map(|_| AtomicU32::new(0)).collect()
}

fn open(memory: &[AtomicU32]) -> Reader<'_, AtomicU32> {
    let Ok(Some(reader)) = Reader::open(memory) else { unreachable!("the ring has been made") };
    reader
}

#[test]
fn a_message_comes_as_it_was_sent() {
    let memory = memory(8);
    let mut writer = Writer::create(&memory).unwrap();
    let mut reader = open(&memory);
    writer.push(b"hello").unwrap();
    let mut to = [0; 16];
    assert_eq!(reader.pop(&mut to), Ok(5));
    assert_eq!(&to[..5], b"hello");
    assert_eq!(reader.pop(&mut to), Err(PopError::Empty));
    // As the documented layout has it.
    let words = [0, 16, 32, 48, 49, 50].map(|at| memory[at].load(Ordering::Relaxed));
    assert_eq!(words, [MAGIC, 3, 3, 5, u32::from_le_bytes(*b"hell"), u32::from(b'o')]);
}

#[test]
fn there_is_no_ring_before_it_is_made_and_none_in_too_little_memory() {
    let memory = memory(4);
    assert!(Reader::open(&memory).unwrap().is_none());
    assert_eq!(Reader::open(&memory[..HEADER]).map(|_| ()), Err(Broken));
    assert!(Writer::create(&memory[..HEADER]).is_none());
}

#[test]
fn a_message_that_does_not_fit_is_not_sent() {
    let memory = memory(4);
    let mut writer = Writer::create(&memory).unwrap();
    assert_eq!(writer.longest(), 12);
    assert_eq!(writer.push(&[0; 13]), Err(PushError::TooLong));
    writer.push(&[0; 5]).unwrap();
    assert_eq!(writer.push(&[0; 1]), Err(PushError::Full));
    assert_eq!(open(&memory).pop(&mut [0; 4]), Err(PopError::TooLong(5)));
    assert_eq!(open(&memory).pop(&mut [0; 5]), Ok(5));
    writer.push(&[0; 12]).unwrap();
}

#[test]
fn a_reader_goes_on_where_one_before_it_stopped() {
    let memory = memory(16);
    let mut writer = Writer::create(&memory).unwrap();
    writer.push(b"one").unwrap();
    writer.push(b"two").unwrap();
    let mut to = [0; 3];
    open(&memory).pop(&mut to).unwrap();
    open(&memory).pop(&mut to).unwrap();
    assert_eq!(&to, b"two");
}

proptest! {
    #[test]
    fn it_is_a_queue(
        steps in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..20)), 1..200),
        words in 4usize..40,
    ) {
        let memory = memory(words);
        let mut writer = Writer::create(&memory).unwrap();
        let mut reader = open(&memory);
        let mut queue: VecDeque<Vec<u8>> = VecDeque::new();
        for step in steps {
            match step {
                Some(message) => match writer.push(&message) {
                    Ok(()) => queue.push_back(message),
                    Err(PushError::Full) => prop_assert!(!queue.is_empty()),
                    Err(PushError::TooLong) => prop_assert!(message.len() > writer.longest()),
                    Err(PushError::Broken) => prop_assert!(false, "it is not"),
                },
                None => {
                    let mut to = [0; 20];
                    let popped = reader.pop(&mut to);
                    match queue.pop_front() {
                        Some(message) => {
                            prop_assert_eq!(popped, Ok(message.len()));
                            prop_assert_eq!(&to[..message.len()], &message[..]);
                        }
                        None => prop_assert_eq!(popped, Err(PopError::Empty)),
                    }
                }
            }
        }
    }

    /// Whatever the other side writes anywhere, each call comes back.
    #[test]
    fn a_hostile_side_breaks_nothing_but_the_ring(
        steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u32>()), 1..100),
    ) {
        let memory = memory(8);
        let mut writer = Writer::create(&memory).unwrap();
        let mut reader = open(&memory);
        for (writes, at, value) in steps {
            memory[at.index(memory.len())].store(value, Ordering::Relaxed);
            if writes {
                let _ = writer.push(&value.to_le_bytes());
            } else {
                let mut to = [0; 64];
                if let Ok(len) = reader.pop(&mut to) {
                    prop_assert!(len <= 28);
                }
            }
        }
    }
}
