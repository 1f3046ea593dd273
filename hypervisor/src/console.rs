// SPDX-License-Identifier: MIT OR Apache-2.0
//! What EL2 says on the board's serial line, and what it hears.
//!
//! To the command `vambrace` it speaks frames (`vambrace_wire::message`), asked for by `vambrace.wire=1` on the
//! command line; to a person with a terminal program it speaks lines with the VM's name before them. Nothing
//! that a guest can do prints more than a bounded amount.
//!
//! Nobody waits for the line while a vCPU could run: what the UART has no room for waits in a [`SerialQueue`], which says
//! who may leave how much there. Whoever holds the lock here copies, or moves bytes that the UART has room for.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrayvec::ArrayString;
use vambrace_hypervisor::boot::board;
use vambrace_hypervisor::console::serial::{Refused, SerialQueue, Source};
use vambrace_ids::VmId;
use vambrace_memory::Pa;
use vambrace_wire::message::{FromHypervisor, LogLevel, MAX_FRAME, MAX_TEXT, encode};

use crate::arch::lock::SpinMutex;
use crate::arch::mmu::MmuOn;
use crate::arch::timeout::Timeout;
use crate::console::uart::Uart;
use crate::memory::HeapUp;
use crate::vm::registry;
use input::Listener;
use text::{CONSOLE_AT_ONCE, Text};

mod input;
pub(crate) mod link;
mod text;
pub(crate) mod uart;

pub(crate) use input::{Heard, Held, VmInput, enable_input, input_taken, receive_held};

static CONSOLE: SpinMutex<Console> = SpinMutex::new(Console {
    uart: None,
    mode: Mode::Text,
    queue: None,
    listener: Listener::new(),
    open: None,
});

/// The line is spoken to in frames.
static FRAMES: AtomicBool = AtomicBool::new(false);

/// Something waits for the line.
static WAITS: AtomicBool = AtomicBool::new(false);

/// How the line is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Lines for a person.
    Text,
    /// Frames for the command.
    Frames,
}

struct Console {
    uart: Option<Uart>,
    mode: Mode,
    /// There from the time when guests may run; before, the line is waited for.
    queue: Option<SerialQueue>,
    listener: Listener,
    /// Text mode: the VM whose line is not finished yet.
    open: Option<u16>,
}

/// One line of text, cut at what a message holds.
type Line = ArrayString<MAX_TEXT>;

/// Where last words go before the console has its UART: 0 while that is not known, and from then on.
static EARLY: AtomicU64 = AtomicU64::new(0);

/// Tells where the UART is: it may be needed before a lock can be taken.
///
/// # Safety
/// As for [`Uart::new`], until [`start`].
pub(crate) unsafe fn announce(uart: Option<board::Uart>) {
    EARLY.store(uart.map_or(0, |uart| uart.base.0), Ordering::Relaxed);
}

/// Whether the console has no UART yet. With the MMU off there are no locks and nothing to exchange: exclusives need cacheable
/// memory (Arm ARM, "Load-Exclusive and Store-Exclusive instruction usage restrictions").
pub(crate) fn is_early() -> bool {
    EARLY.load(Ordering::Relaxed) != 0
}

/// The console has its UART, if the board has one: what is said from here on is heard.
#[derive(Debug)]
pub(crate) struct ConsoleUp(());

/// Gives the console its UART.
pub(crate) fn start(_: &MmuOn, uart: Option<Uart>, mode: Mode) -> ConsoleUp {
    EARLY.store(0, Ordering::Relaxed);
    let mut console = CONSOLE.lock();
    console.uart = uart;
    console.mode = mode;
    FRAMES.store(mode == Mode::Frames, Ordering::Relaxed);
    ConsoleUp(())
}

/// From now on there may be so many VMs, and nobody waits for the line.
pub(crate) fn start_queue(_: &HeapUp, vms: usize) {
    let queue = SerialQueue::new(vms);
    CONSOLE.lock().queue = Some(queue);
}

/// Sends a message that is of no VM's affairs ([`tell_of`]), or its text. What finds no room is counted, and the count is told.
pub(crate) fn say(message: &FromHypervisor<'_>) {
    say_of(Source::Hypervisor, message);
}

/// Says what became of a VM, in a message that names it by its index.
pub(crate) fn tell_of<'a>(vm: VmId, message: impl FnOnce(u16) -> FromHypervisor<'a>) {
    say_of(Source::Affairs(vm), &message(vm.wire_index()));
}

/// Sends a message on somebody's account.
pub(crate) fn say_of(source: Source, message: &FromHypervisor<'_>) {
    let _ = send(source, message);
}

/// Sends what a VM has written to its console; says how much of it found room. The VM is notified when there is room for more.
pub(crate) fn print(vm: VmId, bytes: &[u8]) -> usize {
    print_of(Source::Console(vm), vm, bytes)
}

/// Sends the last that a VM has written. What finds no room is counted.
pub(crate) fn print_last(vm: VmId, bytes: &[u8]) -> usize {
    print_of(Source::Affairs(vm), vm, bytes);
    bytes.len()
}

fn print_of(source: Source, vm: VmId, bytes: &[u8]) -> usize {
    let at_once = if FRAMES.load(Ordering::Relaxed) { MAX_TEXT } else { CONSOLE_AT_ONCE };
    let mut done = 0;
    for bytes in bytes.chunks(at_once) {
        if send(source, &FromHypervisor::Console { vm: vm.wire_index(), bytes }).is_err() {
            break;
        }
        done += bytes.len();
    }
    done
}

fn send(source: Source, message: &FromHypervisor<'_>) -> Result<(), Refused> {
    if FRAMES.load(Ordering::Relaxed) {
        let mut buffer = [0; MAX_FRAME];
        let frame = encode(message, &mut buffer).unwrap_or_default();
        CONSOLE.lock().send(source, frame)
    } else {
        let mut console = CONSOLE.lock();
        let text = Text::new(console.open, message);
        console.send(source, &text.bytes)?;
        console.open = text.open;
        Ok(())
    }
}

/// Writes one line of the hypervisor's log.
pub(crate) fn log(level: LogLevel, text: fmt::Arguments<'_>) {
    let line = one_line(text);
    say(&FromHypervisor::Log { level, text: &line });
}

/// Writes one line of the log about a VM, by whose doing it may come again.
pub(crate) fn warn_of(vm: VmId, text: fmt::Arguments<'_>) {
    let line = one_line(text);
    say_of(Source::Affairs(vm), &FromHypervisor::Log { level: LogLevel::Warning, text: &line });
}

/// Formats at most one message's worth; what is longer is cut.
pub(crate) fn one_line(text: fmt::Arguments<'_>) -> Line {
    struct Cut<'a>(&'a mut Line);
    impl Write for Cut<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for character in text.chars() {
                self.0.try_push(character).map_err(|_| fmt::Error)?;
            }
            Ok(())
        }
    }
    let mut line = Line::new();
    // An error means that the line is full: cut, as promised.
    let _ = Cut(&mut line).write_fmt(text);
    line
}

/// Serves the UART's interrupt: hears what has arrived, sends what waits, notifies the VMs that waited for that.
pub(crate) fn interrupt() {
    input::receive(registry::hear);
    if !WAITS.load(Ordering::Relaxed) {
        return;
    }
    CONSOLE.lock().drain();
    loop {
        let refused = CONSOLE.lock().take_refused();
        let Some(vm) = refused else { break };
        registry::request_output(vm);
    }
    let lost = CONSOLE.lock().take_lost();
    if let Some(count) = lost {
        warning!("{count} messages were dropped: the serial line is too slow for them");
    }
}

/// Sends what waits, as far as the line has room now. For when a CPU has nothing else to do.
#[inline]
pub(crate) fn drain() {
    if WAITS.load(Ordering::Relaxed) {
        CONSOLE.lock().drain();
    }
}

/// Waits until all has gone out: nobody runs any more. A line on which nothing moves is not waited for long.
pub(crate) fn drain_out() {
    while CONSOLE.lock().drain_a_piece() {}
}

/// The last words of a hypervisor that failed: text, without the lock, since its holder may be what failed. What waited goes
/// before.
pub(crate) fn emergency(text: fmt::Arguments<'_>) {
    struct Raw(Uart);
    impl Write for Raw {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.send_all(text.as_bytes());
            Ok(())
        }
    }
    let early = EARLY.load(Ordering::Relaxed);
    if early != 0 {
        // SAFETY: `announce` was told that it is a PL011's, and the console does not have it yet.
        let uart = unsafe { Uart::new(board::Uart { base: Pa(early), intid: None }) };
        let _ = writeln!(Raw(uart), "\r\nvambrace cannot start: {text}\r");
        return;
    }
    // SAFETY: nothing else will run on this CPU; another CPU's output may mix with ours, which is acceptable.
    unsafe { CONSOLE.force_unlock() };
    let mut console = CONSOLE.lock();
    while console.drain_a_piece() {}
    if let Some(uart) = console.uart {
        if console.mode == Mode::Frames {
            let mut buffer = [0; MAX_FRAME];
            uart.send_all(encode(&FromHypervisor::Failed, &mut buffer).unwrap_or_default());
        }
        let _ = writeln!(Raw(uart), "\r\nvambrace: {text}\r");
    }
}

impl Console {
    fn send(&mut self, source: Source, bytes: &[u8]) -> Result<(), Refused> {
        let Some(uart) = self.uart else { return Ok(()) };
        let Some(queue) = &mut self.queue else {
            uart.send_all(bytes);
            return Ok(());
        };
        let sent = queue.push(source, bytes, &uart);
        if queue.has_something_to_do() {
            WAITS.store(true, Ordering::Relaxed);
        }
        sent
    }

    fn drain(&mut self) {
        if let (Some(uart), Some(queue)) = (self.uart, &mut self.queue) {
            queue.drain(&uart);
            WAITS.store(queue.has_something_to_do(), Ordering::Relaxed);
        }
    }

    fn take_refused(&mut self) -> Option<VmId> {
        let (uart, queue) = (self.uart?, self.queue.as_mut()?);
        let vm = queue.take_refused(&uart);
        WAITS.store(queue.has_something_to_do(), Ordering::Relaxed);
        vm
    }

    fn take_lost(&mut self) -> Option<u32> {
        self.queue.as_mut()?.take_lost(MAX_FRAME)
    }

    /// Waits until the UART has sent what it has, and gives it more. Says whether there was any.
    fn drain_a_piece(&mut self) -> bool {
        let Some(uart) = self.uart else { return false };
        // It holds 32 bytes, which take 3 ms at the usual speed: after a second nothing moves.
        if !Timeout::of_seconds(1).waits_for(|| !uart.is_busy()) {
            return false;
        }
        match &mut self.queue {
            Some(queue) if !queue.is_empty() => {
                queue.drain(&uart);
                true
            }
            _ => false,
        }
    }
}

macro_rules! warning {
    ($($argument:tt)*) => { $crate::console::log(vambrace_wire::message::LogLevel::Warning, format_args!($($argument)*)) };
}
pub(crate) use warning;
