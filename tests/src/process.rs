// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another program at work: its words are kept, and waited for with a deadline.
//!
//! It has nothing to read, or what a test gives it by a pipe, or a terminal to itself with a keyboard that a test can type on.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::record::last_lines;

/// A running program; it is killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    words: Receiver<(Stream, Vec<u8>)>,
    out: Vec<u8>,
    err: Vec<u8>,
    /// How much of the output [`Process::wait_for`] has passed over.
    passed: usize,
    /// The other end of its terminal, if it has one.
    terminal: Option<File>,
    /// What it reads from, if it is a pipe.
    _pipe: Option<ChildStdin>,
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
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let (sender, words) = mpsc::channel();
        let mut child = spawn(&mut command, &sender)?;
        forward(child.stdout.take(), Stream::Out, sender);
        Ok(Self { child, words, out: Vec::new(), err: Vec::new(), passed: 0, terminal: None, _pipe: None })
    }

    /// Starts a program that reads `input` from a pipe, which then stays open until the program ends.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn with_input(mut command: Command, input: &'static [u8]) -> Result<Self, Failed> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let (sender, words) = mpsc::channel();
        let mut child = spawn(&mut command, &sender)?;
        let pipe = child.stdin.take().map(|mut pipe| {
            // A program that ends before it has read all closes its end of the pipe.
            let _ = pipe.write_all(input);
            pipe
        });
        forward(child.stdout.take(), Stream::Out, sender);
        Ok(Self { child, words, out: Vec::new(), err: Vec::new(), passed: 0, terminal: None, _pipe: pipe })
    }

    /// Starts a program on a terminal of its own.
    ///
    /// # Errors
    /// When there is no terminal to be had or the program cannot be started.
    pub(crate) fn on_a_terminal(mut command: Command) -> Result<Self, Failed> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?.into_string()?;
        let its = File::options().read(true).write(true).open(name)?;
        command.stdin(its.try_clone()?).stdout(its);
        let (sender, words) = mpsc::channel();
        let child = spawn(&mut command, &sender)?;
        // With the command goes our last hold on its end, so that ours closes when the program ends.
        drop(command);
        let ours = File::from(ours);
        forward(Some(ours.try_clone()?), Stream::Out, sender);
        Ok(Self {
            child,
            words,
            out: Vec::new(),
            err: Vec::new(),
            passed: 0,
            terminal: Some(ours),
            _pipe: None,
        })
    }

    /// Types on its terminal; without one nothing happens.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn type_keys(&mut self, keys: &str) -> Result<(), Failed> {
        if let Some(terminal) = &mut self.terminal {
            terminal.write_all(keys.as_bytes())?;
        }
        Ok(())
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

    /// Waits for a text on its standard output. The next call looks behind it.
    ///
    /// # Errors
    /// When it does not come in time or before the end.
    pub fn wait_for(&mut self, text: &str, within: Duration) -> Result<(), Failed> {
        let deadline = Instant::now() + within;
        loop {
            let news = self.out.get(self.passed..).unwrap_or_default();
            if let Some(at) = news.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.passed += at + text.len();
                return Ok(());
            }
            match self.listen(deadline) {
                Heard::Something => {}
                Heard::Nothing => {
                    return Err(self.fail(&format!("{text:?} did not come within {} s", within.as_secs())));
                }
                Heard::TheEnd => return Err(self.fail(&format!("{text:?} did not come before the end"))),
            }
        }
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

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn end(mut self) -> Result<(), Failed> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.child.wait()?;
        Ok(())
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

/// Starts a program whose errors are heard.
fn spawn(command: &mut Command, to: &Sender<(Stream, Vec<u8>)>) -> Result<Child, Failed> {
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
    forward(child.stderr.take(), Stream::Err, to.clone());
    Ok(child)
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
