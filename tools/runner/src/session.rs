// SPDX-License-Identifier: MIT OR Apache-2.0
//! The connection to a running board: a QEMU process whose serial line is its standard input and output.
//!
//! Threads read QEMU's output and errors and write its input; whoever owns the session takes events, one by one,
//! with a deadline. QEMU never outlives us: it is killed when the session is dropped, and if we are killed
//! ourselves the kernel kills it (`setpriv --pdeathsig`, where there is one).

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vambrace_wire::message::{
    BootEpoch, Decoder, FromHypervisor, LogLevel, MAX_FRAME, MemoryUse, Piece, ToHypervisor, VcpuReport,
    VmControl, VmState, decode, encode,
};

use super::outbox::Outbox;
use super::{Boot, Config, RunError, command_line};
use vambrace_setup::process;

/// How long the hypervisor may take to answer what its vCPUs do, when the time is over; many times what it takes on a computer that
/// has nothing else to do.
const ANSWER: Duration = Duration::from_secs(60);

/// How long QEMU may go on after the hypervisor has said its last word. On a busy computer the board may need a while to
/// switch itself off, and somebody may want to ask it something yet.
const GRACE: Duration = Duration::from_secs(60);

/// What the hypervisor said; as [`FromHypervisor`], owned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of FromHypervisor")]
pub enum Message {
    /// It is up.
    Hello { cpus: u16, vms: u16 },
    /// A line of its log.
    Log { level: LogLevel, text: String },
    /// Bytes that a VM wrote to its console.
    Console { vm: u16, bytes: Vec<u8> },
    /// A VM's console has taken its input up to a position.
    Taken { vm: u16, position: u32 },
    /// A VM changed state.
    State { vm: u16, state: VmState },
    /// A line of a VM's crash report.
    Report { vm: u16, text: String },
    /// A boot epoch of a VM is over.
    BootEpoch { vm: u16, epoch: BootEpoch },
    /// A VM is no more.
    Gone { vm: u16, cleared: u64, at: u64 },
    /// A vCPU that was asked to move is on another physical CPU.
    Migrated { vm: u16, vcpu: u16, cpu: u16 },
    /// A page of a VM's RAM has been replaced so many times.
    Replaced { vm: u16, times: u32 },
    /// The memory that it takes.
    Memory { vms: u16, memory: MemoryUse },
    /// All VMs have ended.
    End,
    /// It failed; the report follows as text.
    Failed,
    /// A VM's result.
    Result { vm: u16, number: u32 },
    /// What a vCPU does.
    Vcpu(Box<VcpuReport>),
    /// A CPU has told of all its vCPUs.
    Inspected { cpu: u16 },
}

impl From<FromHypervisor<'_>> for Message {
    fn from(message: FromHypervisor<'_>) -> Self {
        match message {
            FromHypervisor::Hello { cpus, vms } => Self::Hello { cpus, vms },
            FromHypervisor::Log { level, text } => Self::Log { level, text: text.to_owned() },
            FromHypervisor::Console { vm, bytes } => Self::Console { vm, bytes: bytes.to_vec() },
            FromHypervisor::Taken { vm, position } => Self::Taken { vm, position },
            FromHypervisor::State { vm, state } => Self::State { vm, state },
            FromHypervisor::Report { vm, text } => Self::Report { vm, text: text.to_owned() },
            FromHypervisor::BootEpoch { vm, epoch } => Self::BootEpoch { vm, epoch },
            FromHypervisor::Gone { vm, cleared, at } => Self::Gone { vm, cleared, at },
            FromHypervisor::Migrated { vm, vcpu, cpu } => Self::Migrated { vm, vcpu, cpu },
            FromHypervisor::Replaced { vm, times } => Self::Replaced { vm, times },
            FromHypervisor::Memory { vms, memory } => Self::Memory { vms, memory },
            FromHypervisor::End => Self::End,
            FromHypervisor::Failed => Self::Failed,
            FromHypervisor::Result { vm, number } => Self::Result { vm, number },
            FromHypervisor::Vcpu(report) => Self::Vcpu(Box::new(report)),
            FromHypervisor::Inspected { cpu } => Self::Inspected { cpu },
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The hypervisor said something.
    Message(Message),
    /// Text outside any message.
    Text(Vec<u8>),
    /// QEMU complained.
    QemuSays(String),
    /// QEMU has ended, with this exit code unless a signal ended it.
    Exited(Option<i32>),
    /// The hypervisor is asked what its vCPUs do. It answers soon, or not at all.
    Asking,
    /// What each VM does, in lines; made of the answers.
    Inspection(Vec<String>),
    /// The configured time is over; QEMU has been killed.
    TimedOut,
    /// The user typed, or something came by a pipe; only while the command reads it.
    Keys(Vec<u8>),
    /// A signal asks us to end; only while the command listens for them.
    Signal(i32),
}

/// A running board.
#[derive(Debug)]
pub struct Session {
    qemu: Child,
    events: Receiver<Event>,
    sender: Sender<Event>,
    /// What is to be written to the serial line.
    line: Option<Sender<Vec<u8>>>,
    /// What was typed and waits for its VM.
    outbox: Outbox,
    /// When the time is over: the configured one, or the grace after the last word.
    deadline: Option<Instant>,
    /// The last word has been said, and the deadline is the end of the grace.
    is_over: bool,
    /// The physical CPUs, once the hypervisor is up.
    cpus: Option<u16>,
    /// The time is over: how many CPUs have answered what their vCPUs do.
    answers: Option<u16>,
    /// The images, deleted with the session.
    _files: tempfile::TempDir,
}

impl Session {
    /// Starts QEMU. QEMU ends with the calling thread at the latest.
    ///
    /// # Errors
    /// When the images cannot be written or QEMU cannot be started.
    pub fn start(config: &Config) -> Result<Self, RunError> {
        let (mut qemu, files) = spawn(config)?;
        let (sender, events) = mpsc::channel();
        let complaints = qemu.stderr.take().map(|stderr| {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let _ = sender.send(Event::QemuSays(line));
                }
            })
        });
        if let Some(stdout) = qemu.stdout.take() {
            let sender = sender.clone();
            thread::spawn(move || {
                listen(stdout, &sender);
                // What it complained of comes before the news of its end.
                let _ = complaints.map(JoinHandle::join);
                let _ = sender.send(Event::Exited(None));
            });
        }
        let line = qemu.stdin.take().map(|mut stdin| {
            let (line, writes) = mpsc::channel::<Vec<u8>>();
            // It ends with QEMU, or when the session drops its end of the channel.
            thread::spawn(move || writes.iter().try_for_each(|bytes| stdin.write_all(&bytes)));
            line
        });
        let deadline = config.timeout.map(|timeout| Instant::now() + timeout);
        let outbox = Outbox::new(config.vms.len());
        Ok(Self {
            qemu,
            events,
            sender,
            line,
            outbox,
            deadline,
            is_over: false,
            cpus: None,
            answers: None,
            _files: files,
        })
    }

    /// For further sources of events.
    #[must_use]
    pub fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// The next event, or `None` when `until` comes first.
    pub fn next(&mut self, until: Option<Instant>) -> Option<Event> {
        // Before what has arrived: one that never stops talking has no more time than another.
        if self.is_overdue() {
            return Some(self.end_of_time());
        }
        let wake = match (until, self.deadline) {
            (Some(until), Some(deadline)) => Some(until.min(deadline)),
            (until, deadline) => until.or(deadline),
        };
        let received = match wake {
            Some(wake) => self.events.recv_timeout(wake.saturating_duration_since(Instant::now())),
            None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(event) => Some(self.note(event)),
            Err(_) if self.is_overdue() => Some(self.end_of_time()),
            Err(_) => None,
        }
    }

    fn is_overdue(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// The time is over: first the hypervisor is asked what its vCPUs do, then QEMU is ended.
    fn end_of_time(&mut self) -> Event {
        if !self.is_over && self.cpus.is_some() && self.answers.is_none() {
            self.answers = Some(0);
            self.deadline = Some(Instant::now() + ANSWER);
            self.inspect();
            return Event::Asking;
        }
        self.deadline = None;
        self.kill();
        // Killing it after the grace is an exit as good as its own.
        if self.is_over { Event::Exited(None) } else { Event::TimedOut }
    }

    /// Completes an event with what only the owner of the process knows.
    fn note(&mut self, event: Event) -> Event {
        match event {
            Event::Message(Message::End | Message::Failed) => {
                self.is_over = true;
                self.deadline = Some(Instant::now() + GRACE);
                event
            }
            Event::Message(Message::State { vm, state }) => {
                self.outbox.note_state(vm, state);
                self.send_waiting(vm);
                event
            }
            Event::Message(Message::Taken { vm, position }) => {
                self.outbox.note_taken(vm, position);
                self.send_waiting(vm);
                event
            }
            Event::Message(Message::Hello { cpus, .. }) => {
                self.cpus = Some(cpus);
                event
            }
            Event::Message(Message::Inspected { .. }) => {
                if let Some(answers) = &mut self.answers {
                    *answers = answers.saturating_add(1);
                    if self.cpus.is_some_and(|cpus| *answers >= cpus) {
                        self.deadline = Some(Instant::now());
                    }
                }
                event
            }
            Event::Exited(_) => Event::Exited(self.qemu.wait().ok().and_then(|status| status.code())),
            other => other,
        }
    }

    /// Types on a VM's console. What its guest has no room for waits here, as long as [`Session::next`] is called.
    pub fn send(&mut self, vm: u16, keys: &[u8]) {
        self.outbox.keys(vm, keys);
        self.send_waiting(vm);
    }

    /// Sends a break on a VM's serial line, after the keys before it.
    pub fn send_break(&mut self, vm: u16) {
        self.outbox.serial_break(vm);
        self.send_waiting(vm);
    }

    /// How much input waits here for a VM: who reads it from a file need not read on while it is much.
    #[must_use]
    pub fn waiting_input(&self, vm: u16) -> usize {
        self.outbox.waiting(vm)
    }

    fn send_waiting(&mut self, vm: u16) {
        let Some(line) = &self.line else { return };
        while let Some(frame) = self.outbox.next(vm) {
            // An error means that QEMU has ended, which arrives as an event.
            let _ = line.send(frame);
        }
    }

    /// Asks the hypervisor what its vCPUs do.
    pub fn inspect(&mut self) {
        self.say(&ToHypervisor::Inspect);
    }

    /// Has the hypervisor do something to a VM. What comes of it is told as the VM's state.
    pub fn control(&mut self, vm: u16, control: VmControl) {
        self.say(&ToHypervisor::Control { vm, control });
    }

    fn say(&self, message: &ToHypervisor<'_>) {
        let Some(line) = &self.line else { return };
        if let Ok(frame) = encode(message, &mut [0; MAX_FRAME]) {
            // As with keys.
            let _ = line.send(frame.to_vec());
        }
    }

    /// Ends QEMU now.
    pub fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts QEMU with pipes for its input, output and errors. The images are deleted with the folder.
///
/// # Errors
/// When a file for it cannot be written, or it cannot be started.
pub fn spawn(config: &Config) -> Result<(Child, tempfile::TempDir), RunError> {
    let files = super::folder()?;
    let boot = write_images(&config.boot, files.path()).map_err(RunError::Files)?;
    let mut command = tied_to_us(&config.qemu.path);
    command.args(command_line::arguments(&config.board)).args(boot);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok((command.spawn().map_err(RunError::Qemu)?, files))
}

/// Writes what QEMU loads and returns the arguments that name it.
fn write_images(boot: &Boot, folder: &Path) -> io::Result<Vec<OsString>> {
    let kernel = |image: &Path, cmdline: &str| -> Vec<OsString> {
        vec!["-append".into(), cmdline.into(), "-kernel".into(), image.into()]
    };
    match boot {
        Boot::Kernel { image, cmdline } => {
            let path = folder.join("kernel.img");
            std::fs::write(&path, image)?;
            Ok(kernel(&path, cmdline))
        }
        Boot::Parts { hypervisor, bundle } => {
            let (path, initrd) = (folder.join("hypervisor.img"), folder.join("bundle.img"));
            std::fs::write(&path, hypervisor)?;
            std::fs::write(&initrd, bundle)?;
            let mut arguments = kernel(&path, command_line::WIRE);
            arguments.extend(["-initrd".into(), initrd.into()]);
            Ok(arguments)
        }
        Boot::File(image) => Ok(kernel(image, command_line::WIRE)),
        Boot::Memory { parts, start } => write_memory(parts, *start, folder),
    }
}

/// Writes parts of memory, which QEMU's generic loader puts in their places.
fn write_memory(parts: &[(u64, Vec<u8>)], start: u64, folder: &Path) -> io::Result<Vec<OsString>> {
    let mut arguments = Vec::new();
    for (index, (address, bytes)) in parts.iter().enumerate() {
        let path = folder.join(format!("part-{index}.img"));
        std::fs::write(&path, bytes)?;
        // A CPU that is named begins at the part's first byte.
        let cpu = if *address == start { ",cpu-num=0" } else { "" };
        let mut device = OsString::from("loader,file=");
        device.push(&path);
        device.push(format!(",addr={address:#x},force-raw=on{cpu}"));
        arguments.extend(["-device".into(), device]);
    }
    Ok(arguments)
}

/// A command that the kernel kills when the calling thread is gone, where util-linux is there to ask for it.
fn tied_to_us(program: &Path) -> Command {
    let can_tie = |setpriv: &PathBuf| {
        process::answer(Command::new(setpriv).arg("--help")).is_some_and(|help| help.contains("--pdeathsig"))
    };
    match process::find("setpriv").filter(can_tie) {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Takes the serial line apart until QEMU closes it.
fn listen(mut line: impl Read, events: &Sender<Event>) {
    let mut decoder = Decoder::new();
    let mut text = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let len = match line.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for byte in buffer.get(..len).unwrap_or_default() {
            match decoder.push(*byte) {
                Some(Piece::Text(bytes)) => text.extend_from_slice(bytes),
                Some(Piece::Frame(frame)) => {
                    let event = decode_event(frame);
                    tell_text(&mut text, events);
                    let _ = events.send(event);
                }
                None => {}
            }
        }
        tell_text(&mut text, events);
    }
    text.extend_from_slice(decoder.finish().unwrap_or_default());
    tell_text(&mut text, events);
}

fn decode_event(frame: &[u8]) -> Event {
    match decode::<FromHypervisor<'_>>(frame) {
        Ok(message) => Event::Message(message.into()),
        Err(error) => Event::Text(format!("[{error}]\n").into_bytes()),
    }
}

fn tell_text(text: &mut Vec<u8>, events: &Sender<Event>) {
    if !text.is_empty() {
        let _ = events.send(Event::Text(std::mem::take(text)));
    }
}
