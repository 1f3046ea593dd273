// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring in every order in which two CPUs may run it, by a model of memory that shows old values wherever it may.
//!
//! The model has no load that sees what is stored after it. So it tells that *written* needs its order, and cannot tell that
//! *taken* does: that the reader has read before the writer writes over it.
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use vambrace_channel::{PopError, PushError, Reader, Word, Writer};

/// Words before the data.
const HEADER: usize = 48;

/// The model's own atomic. Only words of the ring that are used cost the model anything.
struct Modelled(AtomicU32);

impl Word for Modelled {
    fn acquire(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    fn release(&self, value: u32) {
        self.0.store(value, Ordering::Release);
    }

    fn load(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn store(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }
}

fn memory(words: usize) -> Arc<Vec<Modelled>> {
    Arc::new((0..HEADER + words).map(|_| Modelled(AtomicU32::new(0))).collect())
}

/// How many messages, each a word that is told from the others.
static MESSAGES: LazyLock<[[u8; 4]; 2]> = LazyLock::new(|| [*b"left", *b"rite"]);

#[test]
fn messages_come_whole_and_in_order() {
    loom::model(|| {
        let memory = memory(4);
        let shared = Arc::clone(&memory);
        let mut writer = Writer::create(&memory).unwrap();
        let reader = thread::spawn(move || {
            let mut reader = Reader::open(&shared).unwrap().unwrap();
            let mut seen = 0;
            // Whatever has come until now, in as many looks as there are messages.
            for _ in 0..MESSAGES.len() {
                let mut to = [0; 4];
                match reader.pop(&mut to) {
                    Ok(len) => {
                        assert_eq!((len, to), (4, MESSAGES[seen]));
                        seen += 1;
                    }
                    Err(error) => assert_eq!(error, PopError::Empty),
                }
            }
            seen
        });
        for message in MESSAGES.iter() {
            writer.push(message).unwrap();
        }
        let seen = reader.join().unwrap();
        let mut reader = Reader::open(&memory).unwrap().unwrap();
        for message in &MESSAGES[seen..] {
            let mut to = [0; 4];
            assert_eq!((reader.pop(&mut to), to), (Ok(4), *message));
        }
    });
}

/// Room that is given back is written over only when it has been read.
#[test]
fn what_is_being_read_is_not_written_over() {
    loom::model(|| {
        let memory = memory(2);
        let shared = Arc::clone(&memory);
        let mut writer = Writer::create(&memory).unwrap();
        writer.push(&MESSAGES[0]).unwrap();
        let reader = thread::spawn(move || {
            let mut to = [0; 4];
            let mut reader = Reader::open(&shared).unwrap().unwrap();
            assert_eq!((reader.pop(&mut to), to), (Ok(4), MESSAGES[0]));
        });
        match writer.push(&MESSAGES[1]) {
            Ok(()) | Err(PushError::Full) => {}
            other => panic!("{other:?}"),
        }
        reader.join().unwrap();
    });
}
