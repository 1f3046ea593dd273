// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another program at work: its words are kept, and waited for with a deadline.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use crate::record::last_lines;

/// A running program; it is killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    words: Receiver<(Stream, Vec<u8>)>,
    out: Vec<u8>,
    err: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

/// A program that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to its standard output.
    pub out: String,
    /// What it wrote to its standard error.
    pub err: String,
}

impl Process {
    /// Starts a program with nothing to read.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(mut command: Command) -> Result<Self, Failed> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
        let (sender, words) = mpsc::channel();
        forward(child.stdout.take(), Stream::Out, sender.clone());
        forward(child.stderr.take(), Stream::Err, sender);
        Ok(Self { child, words, out: Vec::new(), err: Vec::new() })
    }

    /// Takes what comes next; `false` when the program has closed its outputs or the deadline has passed.
    fn listen(&mut self, deadline: Instant) -> Heard {
        match self.words.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((stream, bytes)) => {
                let kept = if stream == Stream::Out { &mut self.out } else { &mut self.err };
                kept.extend_from_slice(&bytes);
                Heard::Something
            }
            Err(mpsc::RecvTimeoutError::Timeout) => Heard::Nothing,
            Err(mpsc::RecvTimeoutError::Disconnected) => Heard::TheEnd,
        }
    }

    /// Waits for a text on its standard output.
    ///
    /// # Errors
    /// When it does not come in time or before the end.
    pub fn wait_for(&mut self, text: &str, within: Duration) -> Result<(), Failed> {
        let deadline = Instant::now() + within;
        while !self.out.windows(text.len()).any(|window| window == text.as_bytes()) {
            match self.listen(deadline) {
                Heard::Something => {}
                Heard::Nothing => {
                    return Err(self.fail(&format!("{text:?} did not come within {} s", within.as_secs())));
                }
                Heard::TheEnd => return Err(self.fail(&format!("{text:?} did not come before the end"))),
            }
        }
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn finish(mut self, within: Duration) -> Result<Finished, Failed> {
        let deadline = Instant::now() + within;
        loop {
            match self.listen(deadline) {
                Heard::Something => {}
                Heard::Nothing => {
                    return Err(self.fail(&format!("it did not end within {} s", within.as_secs())));
                }
                Heard::TheEnd => break,
            }
        }
        let status = self.child.wait()?;
        Ok(Finished { code: status.code(), out: text(&self.out), err: text(&self.err) })
    }

    fn fail(&self, why: &str) -> Failed {
        report(why, &text(&self.out), &text(&self.err)).into()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Something,
    Nothing,
    TheEnd,
}

impl Finished {
    /// Fails with the program's last words.
    #[must_use]
    pub fn fail(&self, why: &str) -> Failed {
        report(&format!("{why} (exit code {:?})", self.code), &self.out, &self.err).into()
    }

    /// The exit code must be this one.
    ///
    /// # Errors
    /// When it is another.
    pub fn exits_with(&self, code: i32) -> Result<&Self, Failed> {
        if self.code == Some(code) { Ok(self) } else { Err(self.fail(&format!("exit code {code} is due"))) }
    }

    /// Its standard output must contain a text.
    ///
    /// # Errors
    /// When it does not.
    pub fn says(&self, text: &str) -> Result<&Self, Failed> {
        if self.out.contains(text) {
            Ok(self)
        } else {
            Err(self.fail(&format!("{text:?} is not in the output")))
        }
    }
}

fn report(why: &str, out: &str, err: &str) -> String {
    format!("{why}\n--- standard output\n{}\n--- standard error\n{}", last_lines(out), last_lines(err))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn forward(stream: Option<impl Read + Send + 'static>, which: Stream, to: Sender<(Stream, Vec<u8>)>) {
    let Some(mut stream) = stream else { return };
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = stream.read(&mut buffer) {
            if to.send((which, buffer.get(..len).unwrap_or_default().to_vec())).is_err() {
                break;
            }
        }
    });
}
