// SPDX-License-Identifier: MIT OR Apache-2.0
//! What comes in and goes out by wire: a device's line, and the exceptions that the CPU takes.

use core::sync::atomic::{AtomicU32, Ordering};

use super::{SPARE, next, nothing, prepare, put_away};
use crate::gic::{self, Group, SPURIOUS};
use crate::timer::{PATIENCE, wait_for};
use crate::{console, cpu, exceptions, mmio, timer};

/// The UART's interrupt.
const UART_INTID: u32 = 33;

/// The UART's interrupt is a line: high as long as the UART has a reason.
pub(super) fn device_line() {
    let lcr_h = console::uart() + 0x2C;
    let cr = console::uart() + 0x30;
    let imsc = console::uart() + 0x38;
    let ris = console::uart() + 0x3C;
    let icr = console::uart() + 0x44;
    const RX: u32 = 1 << 4;
    // Without FIFOs, in loopback: a byte sent is a byte received, which raises RX.
    mmio::write32(lcr_h, 0x60);
    mmio::write32(cr, 0x381);
    mmio::write32(icr, 0x7FF);
    gic::reset_interrupt(UART_INTID);
    gic::route(UART_INTID, cpu::affinity());
    gic::enable(UART_INTID);
    mmio::write32(imsc, RX);
    let quiet = nothing();
    mmio::write32(console::uart() + console::DR, 0x55);
    let raised = wait_for(PATIENCE, || mmio::read32(ris) & RX != 0);
    let pending = wait_for(PATIENCE, || gic::is_pending(UART_INTID));
    let first = next();
    let held = gic::is_pending(UART_INTID) && gic::is_active(UART_INTID);
    gic::end(UART_INTID);
    let second = next();
    mmio::write32(imsc, 0);
    let masked = wait_for(PATIENCE, || !gic::is_pending(UART_INTID));
    mmio::write32(imsc, RX);
    let byte = mmio::read32(console::uart() + console::DR);
    let dropped = wait_for(PATIENCE, || !gic::is_pending(UART_INTID));
    gic::end(UART_INTID);
    let over = nothing();
    gic::set_pending(UART_INTID, true);
    let latched = next();
    let taken = !gic::is_pending(UART_INTID);
    gic::end(UART_INTID);
    gic::reset_interrupt(UART_INTID);
    mmio::write32(imsc, 0);
    mmio::write32(cr, 0x301);
    mmio::write32(lcr_h, 0x70);

    check!(quiet, "line: low");
    check!(raised && pending, "line: high, pending");
    check_eq!(first, UART_INTID, "line: acknowledged");
    check!(held, "line: active, and pending as long as the line is high");
    check_eq!(second, UART_INTID, "line: again after its end");
    check!(masked, "line: low when the device masks it");
    check_eq!(byte, 0x55, "line: the byte");
    check!(dropped && over, "line: low, nothing left");
    check!(latched == UART_INTID && taken, "line: made pending by a write, it comes once");
}

static IRQS: AtomicU32 = AtomicU32::new(0);
static FIQS: AtomicU32 = AtomicU32::new(0);
static NESTED: AtomicU32 = AtomicU32::new(0);
static DEEPEST: AtomicU32 = AtomicU32::new(0);
const NEST: u32 = 8;

/// Interrupts as exceptions, nested ones included.
pub(super) fn exceptions_taken() {
    let zero = SPARE.start + NEST;
    exceptions::on_irq(nesting_irq);
    exceptions::on_fiq(|| {
        let intid = gic::acknowledge0();
        FIQS.fetch_add(1, Ordering::Relaxed);
        gic::end0(intid);
    });
    for level in 0..NEST {
        prepare(SPARE.start + level, (0x80 - 8 * level) as u8);
    }
    prepare(zero, 0x08);
    gic::set_group(zero, Group::Zero);
    gic::set_pending(SPARE.start, true);
    cpu::unmask_interrupts();
    let all = wait_for(PATIENCE, || IRQS.load(Ordering::Relaxed) == NEST && FIQS.load(Ordering::Relaxed) == 1);
    timer::delay(1000);
    cpu::mask_interrupts();
    check!(all, "interrupts are taken as exceptions");
    check_eq!(DEEPEST.load(Ordering::Relaxed), NEST, "each more urgent than the last");
    check_eq!(IRQS.load(Ordering::Relaxed), NEST, "each once");
    check_eq!(FIQS.load(Ordering::Relaxed), 1, "the FIQ too");
    put_away(SPARE.take(NEST as usize + 1));
}

/// Makes the next one pending, which is more urgent, and lets it in; the last one makes the FIQ pending.
fn nesting_irq() {
    let intid = gic::acknowledge();
    if intid == SPURIOUS {
        return;
    }
    DEEPEST.fetch_max(NESTED.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    gic::set_pending(intid + 1, true);
    cpu::unmask_interrupts();
    timer::delay(200);
    cpu::mask_interrupts();
    NESTED.fetch_sub(1, Ordering::Relaxed);
    IRQS.fetch_add(1, Ordering::Relaxed);
    gic::end(intid);
}
