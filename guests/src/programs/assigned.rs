// SPDX-License-Identifier: MIT OR Apache-2.0
//! Uses devices of the board that are its own: a GPIO controller, a real-time clock with its alarm, a second UART that
//! hears itself, and a source of entropy that writes into memory by itself. Each interrupt is raised, taken and ended several
//! times over; with `reset`, in a second boot epoch too.

use core::ptr::NonNull;

use virtio_drivers::device::common::Feature;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceType, Transport};

use super::virtio::memory::Memory;
use crate::gic::{self, Trigger};
use crate::machine::Machine;
use crate::timer::{PATIENCE, wait_for};
use crate::{console, mmio, psci, report, timer};

const SPURIOUS: u32 = 1023;
const TIMES: u32 = 3;

/// PL061: which pins are outputs; and a value that is there after a first boot only.
const DIRECTION: u64 = 0x400;
const MARK: u32 = 0x5A;

/// SPIs of the clock and of the second UART.
const CLOCK: u32 = 34;
const UART: u32 = 40;
/// SPI of the first virtio-mmio slot, where the slots are, and how far apart.
const SLOT: u32 = 48;
const SLOTS: u64 = 0x0A00_0000;
const SLOT_STRIDE: u64 = 0x200;

/// Runs the program.
pub fn run(machine: &Machine) {
    gic::init_distributor();
    gic::init_cpu();
    if let Some((base, _)) = machine.devices("arm,pl061").next() {
        gpio(base);
    }
    if let Some((base, _)) = machine.devices("arm,pl031").next() {
        clock(base);
    }
    if let Some((base, _)) = machine.devices("arm,pl011").find(|(base, _)| *base != console::uart()) {
        uart(base);
    }
    for (base, size) in machine.devices("virtio,mmio") {
        entropy(base, size);
    }
    report::finish("assigned");
    if machine.parameter("reset").is_some() && is_first_boot(machine) {
        psci::system_reset();
    }
}

/// Whether this is the first boot; from now on it is not. What tells it outlives a reset, since it is not the VM's: the GPIO
/// controller's direction register.
fn is_first_boot(machine: &Machine) -> bool {
    let Some((base, _)) = machine.devices("arm,pl061").next() else { return false };
    let was = mmio::read32(base + DIRECTION);
    mmio::write32(base + DIRECTION, MARK);
    was != MARK
}

/// An SPI of ours, level-sensitive.
fn prepare(intid: u32) {
    gic::prepare_spi(intid, Trigger::Level, 0x80);
}

/// Acknowledges what comes within a few seconds.
fn next() -> u32 {
    let mut intid = SPURIOUS;
    wait_for(PATIENCE, || {
        intid = gic::acknowledge();
        intid != SPURIOUS
    });
    intid
}

/// PL061 (DDI 0190): pins that are outputs read as they were written.
fn gpio(base: u64) {
    const DATA: u64 = 0x3FC;
    check_eq!(mmio::read32(base + 0xFE0), 0x61, "the GPIO controller says that it is one");
    let before = mmio::read32(base + DIRECTION);
    mmio::write32(base + DIRECTION, 0xFF);
    for value in [0x00, 0x5A, 0xA5, 0xFF] {
        mmio::write32(base + DATA, value);
        check_eq!(mmio::read32(base + DATA), value, "pins at {value:#x}");
    }
    mmio::write32(base + DIRECTION, before);
}

/// PL031 (DDI 0224): time goes on, and the alarm comes once for each time that it is set.
fn clock(base: u64) {
    const MATCH: u64 = 0x04;
    const MASK: u64 = 0x10;
    const RAW: u64 = 0x14;
    const CLEAR: u64 = 0x1C;
    prepare(CLOCK);
    mmio::write32(base + CLEAR, 1);
    for _ in 0..TIMES {
        let now = mmio::read32(base);
        mmio::write32(base + MASK, 1);
        mmio::write32(base + MATCH, now + 1);
        check_eq!(next(), CLOCK, "the alarm comes");
        check!(mmio::read32(base) > now, "when it is time");
        check_eq!(mmio::read32(base + RAW), 1, "and the clock says so");
        mmio::write32(base + CLEAR, 1);
        gic::end(CLOCK);
        check_eq!(gic::acknowledge(), SPURIOUS, "and only once");
    }
    // Ended before it is cleared, and served before it is taken: once, and not at all.
    for is_taken in [true, false] {
        mmio::write32(base + MASK, 1);
        mmio::write32(base + MATCH, mmio::read32(base) + 1);
        check!(wait_for(PATIENCE, || mmio::read32(base + RAW) == 1), "the alarm goes off");
        if is_taken {
            check_eq!(next(), CLOCK, "and is taken");
            gic::end(CLOCK);
        }
        timer::delay(50);
        mmio::write32(base + CLEAR, 1);
        check_eq!(gic::acknowledge(), SPURIOUS, "a line that has fallen interrupts nobody");
    }
    mmio::write32(base + MASK, 0);
    gic::reset_interrupt(CLOCK);
}

/// PL011 (DDI 0183): what is sent in loopback is received, and asserts the line until it is read.
fn uart(base: u64) {
    const DATA: u64 = 0x00;
    const CONTROL: u64 = 0x30;
    const MASK: u64 = 0x38;
    const LOOPBACK: u32 = 0x381;
    const RECEIVE: u32 = 1 << 4;
    prepare(UART);
    mmio::write32(base + CONTROL, LOOPBACK);
    mmio::write32(base + MASK, RECEIVE);
    for byte in 0..TIMES {
        mmio::write32(base + DATA, 0x40 + byte);
        check_eq!(next(), UART, "the second UART's interrupt comes");
        gic::end(UART);
        check_eq!(next(), UART, "and again, as the line is high still");
        check_eq!(mmio::read32(base + DATA), 0x40 + byte, "with the byte that was sent");
        gic::end(UART);
        check_eq!(gic::acknowledge(), SPURIOUS, "and no more then");
    }
    mmio::write32(base + DATA, 0x40);
    timer::delay(50);
    check_eq!(mmio::read32(base + DATA), 0x40, "a byte that is read before its interrupt is taken");
    check_eq!(gic::acknowledge(), SPURIOUS, "interrupts nobody");
    mmio::write32(base + MASK, 0);
    mmio::write32(base + CONTROL, 0x301);
    for byte in b"guest: hello from the second UART\n" {
        mmio::write32(base + DATA, u32::from(*byte));
    }
    gic::reset_interrupt(UART);
}

/// virtio-mmio (virtio 1.2, 4.2): the device is as after reset, whatever it did in a boot epoch before, and writes where we say.
fn entropy(base: u64, size: u64) {
    let header = core::ptr::with_exposed_provenance_mut::<VirtIOHeader>(base as usize);
    let Some(header) = NonNull::new(header) else { return };
    // SAFETY: the device tree's registers, mapped as a device, and nobody else's.
    let Ok(mut transport) = (unsafe { MmioTransport::new(header, size as usize) }) else { return };
    check_eq!(transport.device_type(), DeviceType::EntropySource, "what is in the slot");
    check!(transport.get_status().is_empty(), "the device has been reset");
    // A driver that looks before the interrupt comes may never get it (2.7.10), so this one waits.
    transport.begin_init(Feature::VERSION_1);
    let Ok(mut queue) = VirtQueue::<Memory, 8>::new(&mut transport, 0, false, false) else {
        return check!(false, "the entropy device has a queue");
    };
    transport.finish_init();
    let intid = SLOT + ((base - SLOTS) / SLOT_STRIDE) as u32;
    prepare(intid);
    let mut last = [0; 32];
    for _ in 0..TIMES {
        let mut bytes = [0; 32];
        // SAFETY: the bytes stay where they are until they are taken back.
        let token = unsafe { queue.add(&[], &mut [&mut bytes]) };
        transport.notify(0);
        check_eq!(next(), intid, "its interrupt comes");
        transport.ack_interrupt();
        gic::end(intid);
        // SAFETY: the same bytes as above.
        let len = token.and_then(|token| unsafe { queue.pop_used(token, &[], &mut [&mut bytes]) });
        check_eq!(len.ok(), Some(32), "there is entropy");
        check!(bytes != last, "it is never the same");
        last = bytes;
        check_eq!(gic::acknowledge(), SPURIOUS, "one interrupt, once");
    }
    gic::reset_interrupt(intid);
    // A device that is still at work when the VM resets: nobody takes this back.
    core::mem::forget((queue, transport));
    println!("guest: entropy by DMA");
}
