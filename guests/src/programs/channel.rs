// SPDX-License-Identifier: MIT OR Apache-2.0
//! Talks to the other members of a channel: member 0 sends messages through a ring in the first half of the memory and waits
//! for each to come back through one in the second half; member 1 sends them back. A member that may only read looks on.
//!
//! Parameters: `reset` has member 0 do it again in a second boot epoch, with the same memory; `reader` for one that may not
//! write; `storm=N` notifies member 1 so many times and does nothing else, and `listen` hears it.

use core::sync::atomic::{AtomicU32, Ordering, fence};

use vambrace_channel::{MAGIC, PopError, Reader, Writer};

use crate::gic::{self, Trigger};
use crate::machine::Machine;
use crate::mmu::{self, MemoryKind};
use crate::probe::expect_fault;
use crate::{cpu, exceptions, mmio, psci, report};

/// Messages there and back.
const ROUNDS: u32 = 100;
/// The last one.
const BYE: &[u8] = b"bye";

/// INTID of the first channel, where its memory is, and how far apart channels are.
const FIRST_INTID: u32 = 80;
const FIRST: u64 = 0x2000_0000;
const STRIDE: u64 = 16 << 20;

/// Registers of the doorbell (`docs/channel.md`).
const DOORBELL_MAGIC: u64 = 0x00;
const NUMBER: u64 = 0x08;
const MEMBERS: u64 = 0x0C;
const STATE: u64 = 0x10;
const NOTIFY: u64 = 0x14;
const CAUSE: u64 = 0x18;
const STATE_CHANGED: u32 = 1 << 31;

/// The word that counts member 0's boot epochs: one that the rings leave alone.
const BOOT_EPOCHS: usize = 1;

/// Runs the program.
pub fn run(machine: &Machine) {
    gic::init_distributor();
    gic::init_cpu();
    let Some(end) = End::find(machine) else {
        check!(false, "there is a channel");
        return report::finish("channel");
    };
    check_eq!(mmio::read32(end.doorbell + DOORBELL_MAGIC), 0x4442_4D56, "the doorbell says that it is one");
    if machine.parameter("storm").is_some() {
        end.storm(machine.number("storm", 1));
    } else if machine.parameter("listen").is_some() {
        end.listen();
    } else if machine.parameter("reader").is_some() {
        end.look_on();
    } else if end.number == 0 {
        let epoch = end.send();
        if epoch == 1 && machine.parameter("reset").is_some() {
            report::finish("channel");
            psci::system_reset();
        }
        end.say_goodbye();
    } else {
        end.send_back();
    }
    report::finish("channel");
}

/// This VM's end of a channel.
struct End {
    memory: &'static [AtomicU32],
    doorbell: u64,
    intid: u32,
    number: u32,
    members: u32,
}

impl End {
    fn find(machine: &Machine) -> Option<Self> {
        let mut ranges = machine.device("vambrace,channel")?;
        let ((base, size), (doorbell, _)) = (ranges.next()?, ranges.next()?);
        // The identity map has devices there.
        mmu::map_window(0, MemoryKind::Normal);
        let memory = core::ptr::with_exposed_provenance((mmu::WINDOW + base) as usize);
        // SAFETY: the device tree says that it is there; everybody uses it by atomics alone.
        let memory = unsafe { core::slice::from_raw_parts(memory, size as usize / 4) };
        let intid = FIRST_INTID + ((base - FIRST) / STRIDE) as u32;
        gic::prepare_spi(intid, Trigger::Level, 0x80);
        let [number, members] = [NUMBER, MEMBERS].map(|at| mmio::read32(doorbell + at));
        Some(Self { memory, doorbell, intid, number, members })
    }

    /// The rings of member 0 and of member 1.
    fn halves(&self) -> (&'static [AtomicU32], &'static [AtomicU32]) {
        self.memory.split_at(self.memory.len() / 2)
    }

    fn notify(&self, members: u32) {
        // What was written is to be seen by whoever is notified.
        fence(Ordering::SeqCst);
        mmio::write32(self.doorbell + NOTIFY, members);
    }

    fn notify_others(&self) {
        self.notify(((1 << self.members) - 1) & !(1 << self.number));
    }

    fn state(&self) -> u32 {
        mmio::read32(self.doorbell + STATE)
    }

    /// Sleeps until somebody notifies, or comes or goes; says who.
    fn wait(&self) -> u32 {
        loop {
            cpu::wait_for_interrupt();
            if gic::acknowledge() == self.intid {
                let cause = mmio::read32(self.doorbell + CAUSE);
                mmio::write32(self.doorbell + CAUSE, cause);
                // The memory is looked at only when the notification is no longer there: one that comes now is another.
                fence(Ordering::SeqCst);
                gic::end(self.intid);
                return cause;
            }
        }
    }

    /// Member 0: sends, and checks what comes back. Says which boot epoch it is.
    fn send(&self) -> u32 {
        let Some(epochs) = self.memory.get(BOOT_EPOCHS) else { return 0 };
        let epoch = epochs.load(Ordering::Relaxed) + 1;
        epochs.store(epoch, Ordering::Relaxed);
        let (first, second) = self.halves();
        let Some(mut writer) = Writer::create(first) else {
            check!(false, "there is room for a ring");
            return epoch;
        };
        let mut reader = loop {
            match Reader::open(second) {
                Ok(Some(reader)) => break reader,
                _ => self.wait(),
            };
        };
        let mut whole = 0;
        for round in 0..ROUNDS {
            let message = [round; 5].map(u32::to_le_bytes);
            let message = message.as_flattened();
            check_quietly(writer.push(message).is_ok(), "a message is sent");
            self.notify_others();
            let mut back = [0; 32];
            let len = self.next(&mut reader, &mut back);
            whole += u32::from(back.get(..len) == Some(message));
        }
        check_eq!(whole, ROUNDS, "messages come back as they were sent, in boot epoch {epoch}");
        epoch
    }

    /// The next message, as soon as it is there.
    fn next(&self, reader: &mut Reader<'_, AtomicU32>, to: &mut [u8]) -> usize {
        loop {
            match reader.pop(to) {
                Ok(len) => return len,
                Err(PopError::Empty) => _ = self.wait(),
                Err(error) => {
                    check!(false, "the ring is sound: {error:?}");
                    return 0;
                }
            }
        }
    }

    /// Member 0's last message. Nothing comes back.
    fn say_goodbye(&self) {
        let (first, _) = self.halves();
        if let Some(mut writer) = Writer::create(first) {
            check!(writer.push(BYE).is_ok(), "the last message is sent");
            self.notify_others();
        }
    }

    /// Member 1: sends back what comes, until the other says that it goes.
    fn send_back(&self) {
        let (first, second) = self.halves();
        let Some(mut writer) = Writer::create(second) else {
            return check!(false, "there is room for a ring");
        };
        self.notify(1);
        let mut sent_back = 0;
        'over: loop {
            let cause = self.wait();
            if cause & STATE_CHANGED != 0 && self.state() & 1 != 0 {
                // It may not have heard the first notification.
                self.notify(1);
            }
            // It makes a new ring before it notifies.
            if cause & 1 == 0 {
                continue;
            }
            let Ok(Some(mut reader)) = Reader::open(first) else { continue };
            let mut message = [0; 32];
            while let Ok(len) = reader.pop(&mut message) {
                let message = message.get(..len).unwrap_or_default();
                if message == BYE {
                    break 'over;
                }
                check_quietly(writer.push(message).is_ok(), "a message is sent back");
                sent_back += 1;
                self.notify(1);
            }
        }
        check!(sent_back % ROUNDS == 0 && sent_back > 0, "{sent_back} messages were sent back");
        while self.state() & 1 != 0 {
            self.wait();
        }
        check_eq!(self.state() & 2, 2, "it is seen that the other has gone");
    }

    /// A member that may only read: it sees the ring, and cannot change it.
    fn look_on(&self) {
        let Some(magic) = self.memory.first() else { return };
        while magic.load(Ordering::Acquire) != MAGIC {
            self.wait();
        }
        let fault = expect_fault(|| magic.store(0, Ordering::Relaxed));
        let fault = fault.err().map(|fault| (fault.class(), fault.status(), fault.is_write()));
        let expected = (exceptions::DATA_ABORT, exceptions::EXTERNAL_ABORT, true);
        check!(fault == Some(expected), "a store is aborted: {fault:x?}");
        check_eq!(magic.load(Ordering::Relaxed), MAGIC, "and changes nothing");
        self.notify_others();
    }

    /// Hears every notification there is, until member 0 has come and gone.
    fn listen(&self) {
        let (mut notifications, mut has_come) = (0, false);
        loop {
            let cause = self.wait();
            notifications += cause & 1;
            match self.state() & 1 {
                0 if has_come => break,
                0 => {}
                _ => has_come = true,
            }
        }
        check!(notifications > 0, "{notifications} notifications were heard");
    }

    /// Notifies the others as fast as it can, when member 1 is there.
    fn storm(&self, times: u64) {
        while self.state() & 2 == 0 {
            self.wait();
        }
        for _ in 0..times {
            self.notify_others();
        }
        println!("guest: notified {times} times");
    }
}

/// A check of something that happens often: told only when it fails.
fn check_quietly(holds: bool, what: &str) {
    if !holds {
        check!(false, "{what}");
    }
}
