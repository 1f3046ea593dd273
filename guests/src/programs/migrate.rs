// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUs that do not notice where they run: each has values of its own in its registers, a timer that ticks, and sends SGIs to the
//! next one, until a key comes. What a move between physical CPUs could lose, change or raise twice is checked all the time.
//!
//! With a second PL011 of the board that is the VM's own, its interrupt comes again and again, to one CPU after the other.
//!
//! Parameters: `busy` never waits; else each CPU sometimes waits for its timer.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::gic::{self, Trigger};
use crate::machine::Machine;
use crate::timer::{PATIENCE, wait_for};
use crate::{console, cpu, exceptions, mmio, report, smp, timer};

/// The SGI that each CPU sends to the next.
const SGI: u32 = 4;
/// The SPI of the board's second UART.
const UART: u32 = 40;
/// From one tick to the next, in microseconds.
const PERIOD: u64 = 300;
/// CPACR_EL1.FPEN: floating point does not trap.
const FPEN: u64 = 0b11 << 20;
/// V0 to V31, in halves.
const VECTORS: usize = 64;

/// What the CPUs know of each other.
struct Shared {
    affinity: AtomicU64,
    sent: AtomicU32,
    received: AtomicU32,
    ticks: AtomicU32,
    rounds: AtomicU32,
    /// It takes interrupts.
    is_ready: AtomicBool,
    is_over: AtomicBool,
}

static CPUS: [Shared; cpu::MAX] = [const {
    Shared {
        affinity: AtomicU64::new(0),
        sent: AtomicU32::new(0),
        received: AtomicU32::new(0),
        ticks: AtomicU32::new(0),
        rounds: AtomicU32::new(0),
        is_ready: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
    }
}; cpu::MAX];
static COUNT: AtomicU32 = AtomicU32::new(0);
static IS_BUSY: AtomicBool = AtomicBool::new(false);
static IS_OVER: AtomicBool = AtomicBool::new(false);
/// The second UART's registers; 0 if there is none.
static UART_BASE: AtomicU64 = AtomicU64::new(0);
static UART_SENT: AtomicU32 = AtomicU32::new(0);
static UART_RECEIVED: AtomicU32 = AtomicU32::new(0);

fn affinity(index: usize) -> u64 {
    CPUS[index].affinity.load(Ordering::Relaxed)
}

/// Runs the program.
pub fn run(machine: &Machine) {
    IS_BUSY.store(machine.parameter("busy").is_some(), Ordering::Relaxed);
    let mut count = 0;
    for (shared, affinity) in CPUS.iter().zip(machine.cpus()) {
        shared.affinity.store(affinity, Ordering::Relaxed);
        count += 1;
    }
    COUNT.store(count, Ordering::Relaxed);
    gic::init_distributor();
    exceptions::on_irq(interrupt);
    if let Some((base, _)) = machine.devices("arm,pl011").find(|(base, _)| *base != console::uart()) {
        UART_BASE.store(base, Ordering::Relaxed);
        start_uart(base);
    }
    for index in 1..count as usize {
        check_eq!(smp::start(index, affinity(index), work), Ok(()), "CPU {index} starts");
    }
    println!("guest: {count} CPUs work");
    work();
    let cpus = &CPUS[..count as usize];
    let all_over = || cpus.iter().all(|shared| shared.is_over.load(Ordering::Acquire));
    check!(wait_for(PATIENCE, all_over), "all CPUs have come to their end");
    for (index, shared) in cpus.iter().enumerate() {
        let next = &cpus[(index + 1) % cpus.len()];
        let (sent, received) = (shared.sent.load(Ordering::Acquire), next.received.load(Ordering::Acquire));
        check_eq!(received, sent, "all SGIs of CPU {index} have come, each once");
        let (rounds, ticks) = (shared.rounds.load(Ordering::Acquire), shared.ticks.load(Ordering::Acquire));
        println!("guest: CPU {index}: {rounds} rounds, {ticks} ticks");
    }
    let raised = UART_SENT.load(Ordering::Acquire);
    check_eq!(UART_RECEIVED.load(Ordering::Acquire), raised, "the device's interrupts have come, each once");
    check!(raised > 0 || UART_BASE.load(Ordering::Relaxed) == 0, "{raised} of them");
    report::finish("migrate");
}

/// What each CPU does, until a key comes.
fn work() {
    let (index, count) = (cpu::index(), COUNT.load(Ordering::Relaxed) as usize);
    let (mine, next) = (&CPUS[index], &CPUS[(index + 1) % count]);
    write_register!("cpacr_el1", FPEN);
    gic::init_cpu();
    gic::enable(SGI);
    gic::enable(timer::VIRTUAL_INTID);
    arm_timer();
    cpu::unmask_interrupts();
    mine.is_ready.store(true, Ordering::Release);
    wait_for(PATIENCE, || CPUS[..count].iter().all(|shared| shared.is_ready.load(Ordering::Acquire)));
    let mut values = Values::of(index, 0);
    values.load();
    let mut waits_since = timer::now();
    for round in 1.. {
        mine.rounds.store(round, Ordering::Relaxed);
        if !values.are_as_loaded() || cpu::affinity() != affinity(index) {
            check!(false, "CPU {index}: registers are as they were, in round {round}");
            values.load();
        }
        if round.is_multiple_of(16) {
            values = Values::of(index, round);
            values.load();
        }
        let sent = mine.sent.load(Ordering::Relaxed);
        if IS_OVER.load(Ordering::Acquire) {
            if next.received.load(Ordering::Acquire) == sent && mine.ticks.load(Ordering::Relaxed) > 0 {
                break;
            }
        } else if count > 1 && next.received.load(Ordering::Acquire) == sent {
            mine.sent.store(sent + 1, Ordering::Release);
            gic::send_sgi(SGI, next.affinity.load(Ordering::Relaxed));
            waits_since = timer::now();
        }
        if timer::microseconds(timer::now() - waits_since) > PATIENCE * 1_000_000 && count > 1 {
            check!(false, "CPU {index}: SGI {sent} comes");
            break;
        }
        if index == 0 {
            use_uart(round);
            if console::read_byte().is_some() {
                IS_OVER.store(true, Ordering::Release);
            }
        }
        if round.is_multiple_of(8) && !IS_BUSY.load(Ordering::Relaxed) {
            cpu::mask_interrupts();
            cpu::wait_for_interrupt();
            cpu::unmask_interrupts();
        }
    }
    // The one before may still wait for its last SGI to be taken, and the device's last interrupt may be this CPU's.
    let before = &CPUS[(index + count - 1) % count];
    wait_for(PATIENCE, || {
        IS_OVER.load(Ordering::Acquire)
            && mine.received.load(Ordering::Acquire) == before.sent.load(Ordering::Acquire)
            && UART_RECEIVED.load(Ordering::Acquire) == UART_SENT.load(Ordering::Acquire)
    });
    write_register!("cntv_ctl_el0", 0);
    cpu::mask_interrupts();
    mine.is_over.store(true, Ordering::Release);
}

fn arm_timer() {
    write_register!("cntv_cval_el0", timer::now() + timer::counts(PERIOD));
    write_register!("cntv_ctl_el0", timer::ENABLE);
}

fn interrupt() {
    let intid = gic::acknowledge();
    let shared = &CPUS[cpu::index()];
    match intid {
        SGI => _ = shared.received.fetch_add(1, Ordering::AcqRel),
        timer::VIRTUAL_INTID => {
            if timer::now() < read_register!("cntv_cval_el0") {
                check!(false, "CPU {}: its timer's time has come", cpu::index());
            }
            shared.ticks.fetch_add(1, Ordering::AcqRel);
            arm_timer();
        }
        UART => hear_uart(),
        gic::SPURIOUS => return,
        other => check!(false, "CPU {}: interrupt {other} is one of ours", cpu::index()),
    }
    gic::end(intid);
}

const UART_CONTROL: u64 = 0x30;
const UART_MASK: u64 = 0x38;
/// PL011 FR.RXFE.
const UART_EMPTY: u32 = 1 << 4;

/// Has the second UART hear itself, and interrupt then (PL011, DDI 0183).
fn start_uart(base: u64) {
    const LOOPBACK: u32 = 0x381;
    const RECEIVE: u32 = 1 << 4;
    gic::prepare_spi(UART, Trigger::Level, 0x80);
    mmio::write32(base + UART_CONTROL, LOOPBACK);
    mmio::write32(base + UART_MASK, RECEIVE);
}

/// Sends the second UART's next byte, when the last has come.
fn use_uart(round: u32) {
    let base = UART_BASE.load(Ordering::Relaxed);
    let sent = UART_SENT.load(Ordering::Relaxed);
    if base == 0 || IS_OVER.load(Ordering::Relaxed) || UART_RECEIVED.load(Ordering::Acquire) != sent {
        return;
    }
    gic::route(UART, affinity((round % COUNT.load(Ordering::Relaxed)) as usize));
    UART_SENT.store(sent + 1, Ordering::Release);
    mmio::write32(base + console::DR, sent & 0xFF);
}

fn hear_uart() {
    let base = UART_BASE.load(Ordering::Relaxed);
    if mmio::read32(base + console::FR) & UART_EMPTY != 0 {
        check!(false, "the device's interrupt comes for a byte");
        return;
    }
    let (heard, due) = (mmio::read32(base + console::DR), UART_RECEIVED.load(Ordering::Relaxed));
    if heard != due & 0xFF {
        check_eq!(heard, due & 0xFF, "the device's byte");
    }
    UART_RECEIVED.fetch_add(1, Ordering::AcqRel);
}

/// What a CPU has in its registers.
struct Values {
    vectors: [u64; VECTORS],
    others: [u64; 3],
}

impl Values {
    /// Those of a CPU in a round; no two are alike.
    fn of(index: usize, round: u32) -> Self {
        let seed = (index as u64) << 48 | u64::from(round) << 8;
        let value = |at: usize| (seed + at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self { vectors: core::array::from_fn(value), others: core::array::from_fn(|at| value(VECTORS + at)) }
    }

    fn load(&self) {
        write_register!("tpidr_el0", self.others[0]);
        write_register!("tpidrro_el0", self.others[1]);
        write_register!("contextidr_el1", self.others[2] & 0xFFFF_FFFF);
        load_vectors(&self.vectors);
    }

    fn are_as_loaded(&self) -> bool {
        let mut vectors = [0; VECTORS];
        save_vectors(&mut vectors);
        vectors == self.vectors
            && read_register!("tpidr_el0") == self.others[0]
            && read_register!("tpidrro_el0") == self.others[1]
            && read_register!("contextidr_el1") == self.others[2] & 0xFFFF_FFFF
    }
}

/// Each pair of vector registers, with its place in [`Values::vectors`].
macro_rules! each_pair {
    ($op:literal, $($first:literal $second:literal $offset:literal),*) => {
        concat!($($op, " q", $first, ", q", $second, ", [{values}, #", $offset, "]\n"),*)
    };
}

macro_rules! all_pairs {
    ($op:literal) => {
        each_pair!(
            $op, 0 1 0, 2 3 32, 4 5 64, 6 7 96, 8 9 128, 10 11 160, 12 13 192, 14 15 224, 16 17 256, 18 19 288,
            20 21 320, 22 23 352, 24 25 384, 26 27 416, 28 29 448, 30 31 480
        )
    };
}

fn load_vectors(values: &[u64; VECTORS]) {
    // SAFETY: the program is built without floating point, so nobody else uses the registers; as many bytes are read as the
    // array has.
    unsafe {
        core::arch::asm!(
            ".arch_extension fp", ".arch_extension simd", all_pairs!("ldp"),
            values = in(reg) values, options(nostack, readonly, preserves_flags)
        );
    }
}

fn save_vectors(values: &mut [u64; VECTORS]) {
    // SAFETY: as many bytes are written as the array has.
    unsafe {
        core::arch::asm!(
            ".arch_extension fp", ".arch_extension simd", all_pairs!("stp"),
            values = in(reg) values, options(nostack, preserves_flags)
        );
    }
}
