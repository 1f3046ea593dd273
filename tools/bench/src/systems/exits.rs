// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why EL2 was entered, out of QEMU's record of all exceptions.
//!
//! The record has the syndrome, and for aborts the virtual address; the kernel's own list of what it has mapped tells which
//! device that is ([`Devices`]). Init tells the phases apart by SVC instructions whose numbers the kernel does not look at.
//! Which interrupt it was is seen when EL2 acknowledges it.

use std::collections::BTreeMap;
use std::ops::Range;

use vambrace_cpu::exit::{DataAbort, Exit};
use vambrace_cpu::syndrome::{Syndrome, class, describe};
use vambrace_machine::devices::Device;
use vambrace_machine::layout;

use super::Cause;

/// What QEMU has to record (`-d`).
pub(crate) const RECORD: &str = "int,trace:gicv3_icc_iar1_read";

/// As init has them: what a phase's number is added to.
const BEGINNING: u16 = 0xBE00;
const END: u16 = 0xED00;

/// Slots of virtio devices, used or not.
const VIRTIO_SLOTS: u64 = 32;

/// What EL2 reads when no interrupt is there.
const SPURIOUS: u64 = 1023;

/// How often EL2 was entered in a phase, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exits(BTreeMap<String, u64>);

impl Exits {
    pub(crate) fn add(&mut self, cause: String) {
        *self.0.entry(cause).or_default() += 1;
    }

    /// All of them.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Those that the other ones are not.
    pub(crate) fn without(mut self, other: &Self) -> Self {
        for (cause, count) in &other.0 {
            if let Some(own) = self.0.get_mut(cause) {
                *own = own.saturating_sub(*count);
            }
        }
        self.0.retain(|_, count| *count > 0);
        self
    }

    /// As many as `scale` makes of them, as far as any are left.
    pub(crate) fn scaled(&self, scale: impl Fn(u64) -> u64) -> Self {
        let scaled = self.0.iter().map(|(cause, count)| (cause.clone(), scale(*count)));
        Self(scaled.filter(|(_, count)| *count > 0).collect())
    }

    /// The most frequent cause first.
    pub(crate) fn causes(self) -> Vec<Cause> {
        let mut causes: Vec<Cause> =
            self.0.into_iter().map(|(cause, count)| Cause { cause, count }).collect();
        causes.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.cause.cmp(&b.cause)));
        causes
    }
}

/// Where the kernel has mapped devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Devices(Vec<(Range<u64>, String)>);

impl Devices {
    /// Reads lines of `/proc/vmallocinfo`: `0xSTART-0xEND SIZE CALLER phys=0xADDRESS ioremap`.
    pub(crate) fn read(said: &str) -> Self {
        let map = |line: &str| {
            let (addresses, rest) = line.split_once(' ')?;
            let (start, end) = addresses.split_once('-')?;
            let (_, physical) = rest.split_once("phys=")?;
            let physical = hexadecimal(physical.split_whitespace().next()?)?;
            Some((hexadecimal(start)?..hexadecimal(end)?, device(physical)?))
        };
        Self(said.lines().filter_map(|line| map(&line[line.find("0x")?..])).collect())
    }

    fn at(&self, address: u64) -> Option<&str> {
        self.0.iter().find(|(range, _)| range.contains(&address)).map(|(_, name)| &**name)
    }
}

/// The device of a VM that begins at an address.
fn device(address: u64) -> Option<String> {
    // A page holds several of them, and a kernel maps pages.
    let slots = layout::VIRTIO.range().start().0..layout::VIRTIO.range().end().0;
    if address == layout::GICD.start().0 {
        Some("the distributor".to_owned())
    } else if address == layout::GICR.0 {
        Some("a redistributor".to_owned())
    } else if slots.contains(&address) {
        Some("a virtio device".to_owned())
    } else {
        let platform = Device::ALL.into_iter().find(|device| device.base().0 == address);
        platform.map(|device| format!("the {}", device.model()))
    }
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// Reads a record: the exits of each phase, booting being the first.
pub(crate) fn read(record: &str, devices: &Devices) -> Vec<Exits> {
    let mut reader =
        Reader { devices, phases: Vec::new(), phase: None, exception: None, interrupted: Vec::new() };
    record.lines().for_each(|line| reader.line(line));
    reader.phases
}

struct Reader<'a> {
    devices: &'a Devices,
    phases: Vec<Exits>,
    /// Which one is going on.
    phase: Option<usize>,
    /// The exception that the record is telling of.
    exception: Option<Exception>,
    /// CPUs that have come to EL2 for an interrupt which they have not acknowledged.
    interrupted: Vec<u64>,
}

/// As far as it has been told.
#[derive(Clone, Copy, Debug, Default)]
struct Exception {
    cpu: u64,
    is_interrupt: bool,
    is_serror: bool,
    from: u8,
    to: u8,
    esr: u64,
    far: u64,
}

impl Reader<'_> {
    fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("Taking exception ") {
            self.exception = taken(rest);
        } else if let Some(words) = line.strip_prefix("...from ") {
            if let (Some(exception), Some(levels)) = (&mut self.exception, levels(words)) {
                (exception.from, exception.to) = levels;
            }
        } else if let Some(words) = line.strip_prefix("...with ESR ") {
            let esr = words.split_once('/').and_then(|(_, esr)| hexadecimal(esr.trim_end()));
            self.exception.iter_mut().for_each(|exception| exception.esr = esr.unwrap_or(0));
        } else if let Some(far) = line.strip_prefix("...with FAR ") {
            let far = hexadecimal(far.trim_end()).unwrap_or(0);
            self.exception.iter_mut().for_each(|exception| exception.far = far);
        } else if line.starts_with("...to EL") {
            // The last line about it.
            if let Some(exception) = self.exception.take() {
                self.exception(exception);
            }
        } else if line.starts_with("Exception return from AArch64 EL2 to AArch64 EL1") {
            if self.phases.is_empty() {
                self.begin(0);
            }
        } else if let Some(words) = line.strip_prefix("gicv3_icc_iar1_read ") {
            self.acknowledged(words);
        }
    }

    fn begin(&mut self, phase: usize) {
        self.phases.resize(self.phases.len().max(phase + 1), Exits::default());
        self.phase = Some(phase);
    }

    fn exception(&mut self, exception: Exception) {
        let Exception { cpu, is_interrupt, is_serror, from, to, esr, far } = exception;
        if from == 0 && to == 1 && !is_interrupt && Syndrome(esr).class() == class::SVC64 {
            self.mark(Syndrome(esr).immediate());
        }
        if from >= 2 || to != 2 {
            return;
        }
        if is_interrupt {
            self.interrupted.push(cpu);
        } else if is_serror {
            self.count("SError interrupt".to_owned());
        } else {
            self.count(cause(esr, far, self.devices));
        }
    }

    fn mark(&mut self, number: u16) {
        let count = super::PHASES.len() as u16;
        if number.checked_sub(END).is_some_and(|phase| phase < count) {
            self.phase = None;
        } else if let Some(phase) = number.checked_sub(BEGINNING).filter(|phase| *phase < count) {
            self.begin(usize::from(phase));
        }
    }

    /// A CPU has read which interrupt it is.
    fn acknowledged(&mut self, words: &str) {
        let mut numbers = words.split_whitespace().filter_map(hexadecimal);
        let (Some(cpu), Some(interrupt)) = (numbers.next(), numbers.next()) else { return };
        let before = self.interrupted.len();
        self.interrupted.retain(|interrupted| *interrupted != cpu);
        if self.interrupted.len() < before {
            self.count(name_of_interrupt(interrupt));
        }
    }

    fn count(&mut self, cause: String) {
        if let Some(exits) = self.phase.and_then(|phase| self.phases.get_mut(phase)) {
            exits.add(cause);
        }
    }
}

/// `5 [IRQ] on CPU 0`.
fn taken(words: &str) -> Option<Exception> {
    let cpu = words.rsplit_once(' ')?.1.trim_end().parse().ok()?;
    let is = |name: &str| words.contains(name);
    Some(Exception {
        cpu,
        is_interrupt: is("[IRQ]") || is("[FIQ]"),
        is_serror: is("[SERR]"),
        ..Exception::default()
    })
}

/// `EL1 to EL2`.
fn levels(words: &str) -> Option<(u8, u8)> {
    let (from, to) = words.trim_end().split_once(" to ")?;
    let level = |text: &str| text.strip_prefix("EL")?.parse().ok();
    Some((level(from)?, level(to)?))
}

/// Why, for what is not an interrupt.
fn cause(esr: u64, far: u64, devices: &Devices) -> String {
    match Exit::decode(esr, far, 0) {
        Exit::Wait(wait) => wait.instruction.to_string(),
        Exit::Hvc { .. } => "HVC".to_owned(),
        Exit::Smc { .. } => "SMC".to_owned(),
        Exit::SystemRegister(access) => access.to_string(),
        Exit::FpAccess => "first use of SIMD and floating point".to_owned(),
        Exit::DataAbort(DataAbort { va: Some(va), direction, .. }) => match devices.at(va.0) {
            Some(device) => format!("{direction} of {device}"),
            None => describe(esr).to_string(),
        },
        _ => describe(esr).to_string(),
    }
}

fn name_of_interrupt(interrupt: u64) -> String {
    const SGIS: Range<u64> = 0..16;
    const MAINTENANCE: u64 = 25;
    const EL2_TIMER: u64 = 26;
    const VIRTUAL_TIMER: u64 = layout::VIRTUAL_TIMER_INTID.get() as u64;
    // QEMU's board has its UART's, and its slots', where a VM has its own.
    const UART: u64 = Device::Pl011.intid().get() as u64;
    const BOARD_VIRTIO: Range<u64> = {
        let first = layout::VIRTIO.intid(0).get() as u64;
        first..first + VIRTIO_SLOTS
    };
    match interrupt {
        VIRTUAL_TIMER => "interrupt of the virtual timer".to_owned(),
        EL2_TIMER => "interrupt of EL2's timer".to_owned(),
        MAINTENANCE => "maintenance interrupt".to_owned(),
        UART => "interrupt of the board's UART".to_owned(),
        other if BOARD_VIRTIO.contains(&other) => "interrupt of the board's virtio device".to_owned(),
        SPURIOUS => "interrupt that is gone again".to_owned(),
        other if SGIS.contains(&other) => "interrupt from another CPU".to_owned(),
        other => format!("interrupt {other}"),
    }
}
