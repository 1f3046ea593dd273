// SPDX-License-Identifier: MIT OR Apache-2.0
//! What EL2 hears on the serial line: input for VMs, and questions.
//!
//! The command knows how much each VM may be sent (`vambrace_wire::message::INPUT_WINDOW`). A person with a terminal
//! program does not: for the first VM, which has that keyboard, the same window is kept here, and what is beyond it
//! stays in the UART until the VM has taken some.

use core::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use vambrace_hypervisor::console::serial::{Refused, Source};
use vambrace_hypervisor::invariant;
use vambrace_ids::VmId;
use vambrace_machine::vm::Input;
use vambrace_wire::message::{
    Decoder, FromHypervisor, INPUT_WINDOW, MAX_TEXT, Piece, ToHypervisor, VmControl, decode,
};

use super::{CONSOLE, Console, FRAMES, Mode, send};
use crate::console::uart::{Listen, Uart};
use crate::sched::percpu;
use crate::vm::registry::{self, VmsMade};

/// Bytes read at most before guests run again. More than a UART's FIFO has, so that all is read which was there when
/// the interrupt was acknowledged, and what comes later interrupts anew.
const BYTES_AT_ONCE: usize = 512;

/// What came on the serial line for a VM.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is passed on at once, and nothing is allocated for what comes from outside"
)]
pub(crate) enum Heard {
    /// Input.
    Input(VmInput),
    /// Something is to be done to the VM that has this index of the bundle's.
    Control(u16, VmControl),
}

/// Input for a VM.
#[derive(Debug)]
pub(crate) struct VmInput {
    /// Index in the bundle.
    pub(crate) vm: u16,
    /// Its position among all that is for the VM.
    pub(crate) position: u32,
    /// What was typed.
    pub(crate) input: ArrayVec<Input, MAX_TEXT>,
}

/// Whether there is input in the UART that there was no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// There is none.
    Nothing,
    /// There may be room for it now: to be called for is [`receive_held`].
    Something,
}

/// How far the input has come.
pub(super) struct Listener {
    decoder: Decoder,
    /// Text: how much was read for the first VM, and how much of that it has taken.
    typed: u32,
    taken: u32,
    held: Held,
}

impl Listener {
    pub(super) const fn new() -> Self {
        Self { decoder: Decoder::new(), typed: 0, taken: 0, held: Held::Nothing }
    }
}

/// Lets the UART's input interrupt: those that it is for are there, and its interrupt is this CPU's. What has come before, for a VM
/// that was made first and runs on another CPU by now, has interrupted nobody, and keeps the UART from interrupting again.
pub(crate) fn enable_input(_: &VmsMade) {
    let uart = {
        let console = CONSOLE.lock();
        if let Some(uart) = &console.uart {
            uart.start_interrupts();
            uart.listen(Listen::On);
        }
        console.uart
    };
    if let Some(uart) = uart {
        read(uart, registry::hear);
    }
}

/// Serves the UART's interrupt: reads what has arrived and calls `on_input` for each run of it.
pub(super) fn receive(on_input: impl FnMut(Heard)) {
    let Some(uart) = CONSOLE.lock().uart else { invariant!("only a UART interrupts") };
    uart.acknowledge();
    read(uart, on_input);
}

/// Reads on where there was no room before. Only one CPU at a time reads: while input is held it does not interrupt.
pub(crate) fn receive_held(on_input: impl FnMut(Heard)) {
    let uart = {
        let mut console = CONSOLE.lock();
        let was_held = core::mem::replace(&mut console.listener.held, Held::Nothing);
        console.uart.filter(|_| was_held == Held::Something)
    };
    // Nothing is held.
    let Some(uart) = uart else { return };
    read(uart, on_input);
    let console = CONSOLE.lock();
    if console.listener.held == Held::Nothing {
        uart.listen(Listen::On);
    }
}

fn read(uart: Uart, mut on_input: impl FnMut(Heard)) {
    let mut quota = BYTES_AT_ONCE;
    loop {
        // The console's lock is free again when the caller uses what was heard.
        let heard = CONSOLE.lock().hear(uart, &mut quota);
        // There is no more to read, or no room for more.
        let Some(heard) = heard else { return };
        on_input(heard);
    }
}

/// A VM has taken its input up to this position: its sender is told. Says whether that was possible, and whether there is
/// more to read.
pub(crate) fn input_taken(vm: VmId, position: u32) -> Result<Held, Refused> {
    if FRAMES.load(Ordering::Relaxed) {
        send(Source::Console(vm), &FromHypervisor::Taken { vm: vm.wire_index(), position })?;
        return Ok(Held::Nothing);
    }
    if vm.wire_index() != 0 {
        return Ok(Held::Nothing);
    }
    let listener = &mut CONSOLE.lock().listener;
    listener.taken = position;
    Ok(listener.held)
}

impl Console {
    /// The next run of input, of the `quota` bytes that are read at most.
    fn hear(&mut self, uart: Uart, quota: &mut usize) -> Option<Heard> {
        while *quota > 0 {
            if self.mode == Mode::Text && self.listener.is_full() {
                self.listener.held = Held::Something;
                uart.listen(Listen::Off);
                return None;
            }
            let input = uart.receive()?;
            *quota -= 1;
            let heard = match self.mode {
                Mode::Text => Some(self.listener.typed(input)),
                Mode::Frames => self.listener.decode(input),
            };
            if heard.is_some() {
                return heard;
            }
        }
        None
    }
}

impl Listener {
    fn is_full(&self) -> bool {
        self.typed.wrapping_sub(self.taken) >= INPUT_WINDOW as u32
    }

    fn typed(&mut self, input: Input) -> Heard {
        let position = self.typed;
        self.typed = position.wrapping_add(1);
        Heard::Input(VmInput { vm: 0, position, input: core::iter::once(input).collect() })
    }

    fn decode(&mut self, input: Input) -> Option<Heard> {
        // The command sends breaks as messages: one on the line itself is noise.
        let Input::Key(byte) = input else { return None };
        let Some(Piece::Frame(frame)) = self.decoder.push(byte) else { return None };
        match decode(frame).ok()? {
            ToHypervisor::Input { vm, position, bytes } => {
                let input = bytes.iter().take(MAX_TEXT).map(|key| Input::Key(*key)).collect();
                Some(Heard::Input(VmInput { vm, position, input }))
            }
            ToHypervisor::Break { vm, position } => {
                let input = core::iter::once(Input::Break).collect();
                Some(Heard::Input(VmInput { vm, position, input }))
            }
            ToHypervisor::Inspect => {
                percpu::ask_all();
                None
            }
            ToHypervisor::Control { vm, control } => Some(Heard::Control(vm, control)),
        }
    }
}
