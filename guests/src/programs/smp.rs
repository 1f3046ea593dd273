// SPDX-License-Identifier: MIT OR Apache-2.0
//! All CPUs: PSCI's answers, SGIs from each to each, routed and 1-of-N SPIs, shared memory, and CPUs that go off
//! and on again.
//!
//! Parameters: `rounds=N` (20) of turning every CPU off and on; `sgis=pairs` to send from each CPU to each other
//! also on machines of more than 8 CPUs, where the default is from each to its next ones.

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::machine::Machine;
use crate::psci::{ALREADY_ON, INVALID_PARAMETERS, ON_PENDING};
use crate::timer::{PATIENCE, wait_for};
use crate::{cpu, exceptions, gic, psci, report, smp, timer};

/// SGI that only wakes.
const WAKE: u32 = 15;
/// SGI that is counted.
const COUNTED: u32 = 3;
/// SPI that is counted; no device has it.
const SPI: u32 = 40;
/// ICC_CTLR_EL1.RSS: SGIs may name an Aff0 above 15, by the range selector.
const RSS: u64 = 1 << 18;

/// What the CPUs share.
struct Shared {
    affinity: AtomicU64,
    running: AtomicBool,
    leave: AtomicBool,
    task: AtomicPtr<()>,
    sgis: AtomicU32,
    spis: AtomicU32,
}

static CPUS: [Shared; cpu::MAX] = [const {
    Shared {
        affinity: AtomicU64::new(0),
        running: AtomicBool::new(false),
        leave: AtomicBool::new(false),
        task: AtomicPtr::new(core::ptr::null_mut()),
        sgis: AtomicU32::new(0),
        spis: AtomicU32::new(0),
    }
}; cpu::MAX];
static COUNT: AtomicU32 = AtomicU32::new(0);
static SUM: AtomicU64 = AtomicU64::new(0);
/// How many next CPUs each CPU sends to.
static REACH: AtomicU32 = AtomicU32::new(0);
static MISSED: AtomicU32 = AtomicU32::new(0);

fn count() -> usize {
    COUNT.load(Ordering::Relaxed) as usize
}

fn affinity(index: usize) -> u64 {
    CPUS[index].affinity.load(Ordering::Relaxed)
}

fn others() -> core::ops::Range<usize> {
    1..count()
}

/// Runs the program.
pub fn run(machine: &Machine) {
    IS_NATIVE.store(machine.is_native(), Ordering::Relaxed);
    for (shared, affinity) in CPUS.iter().zip(machine.cpus()) {
        shared.affinity.store(affinity, Ordering::Relaxed);
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
    let everyone = machine.parameter("sgis") == Some("pairs") || count() <= 8;
    REACH.store(if everyone { COUNT.load(Ordering::Relaxed) - 1 } else { 3 }, Ordering::Relaxed);
    check!(count() >= 2, "{} CPUs", count());
    check_eq!(affinity(0), cpu::affinity(), "the first CPU is the one that was started");

    gic::init_distributor();
    exceptions::on_irq(interrupt);
    set_up_cpu();
    answers();
    bring_up();
    shared_memory();
    sgis();
    spis();
    off_and_on(machine.number("rounds", 20));
    two_callers(machine);
    turn_off_all();
    report::finish("smp");
}

/// This CPU's interrupts, and lets them in.
fn set_up_cpu() {
    gic::init_cpu();
    gic::enable(WAKE);
    gic::enable(COUNTED);
    CPUS[cpu::index()].running.store(true, Ordering::Release);
    cpu::unmask_interrupts();
}

fn interrupt() {
    let intid = gic::acknowledge();
    let shared = &CPUS[cpu::index()];
    match intid {
        COUNTED => {
            shared.sgis.fetch_add(1, Ordering::AcqRel);
        }
        SPI => {
            shared.spis.fetch_add(1, Ordering::AcqRel);
        }
        gic::SPURIOUS => return,
        _ => {}
    }
    gic::end(intid);
}

/// What every CPU but the first does until told to leave.
fn serve() {
    set_up_cpu();
    let shared = &CPUS[cpu::index()];
    loop {
        cpu::mask_interrupts();
        let (task, leave) = (shared.task.load(Ordering::Acquire), shared.leave.load(Ordering::Acquire));
        if task.is_null() && !leave {
            cpu::wait_for_interrupt();
        }
        cpu::unmask_interrupts();
        if !task.is_null() {
            exceptions::call(&shared.task);
            shared.task.store(core::ptr::null_mut(), Ordering::Release);
        } else if leave {
            break;
        }
    }
    cpu::mask_interrupts();
    shared.leave.store(false, Ordering::Release);
    shared.running.store(false, Ordering::Release);
}

fn wake(index: usize) {
    gic::send_sgi(WAKE, affinity(index));
}

/// Runs `task` on every CPU, this one included, one after another or at once; returns whether all came to an end.
fn everywhere(task: fn(), at_once: bool) -> bool {
    let idle = |index: usize| CPUS[index].task.load(Ordering::Acquire).is_null();
    for index in others() {
        CPUS[index].task.store(task as *mut (), Ordering::Release);
        wake(index);
        if !at_once && !wait_for(PATIENCE, || idle(index)) {
            return false;
        }
    }
    task();
    wait_for(PATIENCE, || others().all(idle))
}

fn answers() {
    check!(psci::psci(psci::VERSION, [0; 3]) >= 0x1_0000, "PSCI 1.0 or later");
    check_eq!(smp::start(0, affinity(0), serve), Err(ALREADY_ON), "CPU_ON of the CPU that calls");
    for (target, what) in [
        (0xFE00, "an Aff1 outside the machine"),
        (0xFE_0000, "an Aff2 outside the machine"),
        (0xFE_0000_0000, "an Aff3 outside the machine"),
        (0xFE, "an Aff0 outside the machine"),
        (1 << 63 | affinity(count() - 1), "a reserved bit"),
        (u64::MAX, "all ones"),
    ] {
        check_eq!(psci::cpu_on(target, smp::entry_address(), 0), INVALID_PARAMETERS, "CPU_ON of {what}");
        check_eq!(psci::affinity_info(target), INVALID_PARAMETERS, "AFFINITY_INFO of {what}");
    }
    check_eq!(psci::affinity_info(affinity(0)), 0, "this CPU is on");
    check!(others().all(|index| psci::affinity_info(affinity(index)) == 1), "all others are off");
}

fn turn_on(index: usize) -> bool {
    smp::start(index, affinity(index), serve) == Ok(())
        && wait_for(PATIENCE, || CPUS[index].running.load(Ordering::Acquire))
}

/// Asks a CPU to leave, and waits until PSCI says that it is off.
fn turn_off(index: usize) -> bool {
    CPUS[index].leave.store(true, Ordering::Release);
    wake(index);
    wait_for(PATIENCE, || psci::affinity_info(affinity(index)) == 1)
}

fn bring_up() {
    check!(others().all(turn_on), "all CPUs come up");
    check!(others().all(|index| psci::affinity_info(affinity(index)) == 0), "all are on");
    check!(
        others().all(|index| smp::start(index, affinity(index), serve) == Err(ALREADY_ON)),
        "CPU_ON of CPUs that are on"
    );
    let right = everywhere(
        || {
            if affinity(cpu::index()) != cpu::affinity() {
                MISSED.fetch_add(1, Ordering::Relaxed);
            }
        },
        true,
    );
    check!(right && MISSED.swap(0, Ordering::Relaxed) == 0, "each has its own affinity");
}

fn shared_memory() {
    const TIMES: u64 = 10_000;
    let add = || {
        (0..TIMES).for_each(|_| {
            SUM.fetch_add(1, Ordering::Relaxed);
        });
    };
    check!(everywhere(add, true), "all CPUs count at once");
    check_eq!(SUM.load(Ordering::Relaxed), TIMES * count() as u64, "no count is lost");
}

fn sgis_of(index: usize) -> u32 {
    CPUS[index].sgis.load(Ordering::Acquire)
}

/// Sends to the next CPUs, one at a time, and waits for each to have got it.
fn send_around() {
    for step in 1..=REACH.load(Ordering::Relaxed) as usize {
        let target = (cpu::index() + step) % count();
        let before = sgis_of(target);
        gic::send_sgi(COUNTED, affinity(target));
        if !wait_for(PATIENCE, || sgis_of(target) == before + 1) {
            MISSED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn sgis() {
    // To itself.
    let before = sgis_of(0);
    gic::send_sgi(COUNTED, affinity(0));
    check!(wait_for(PATIENCE, || sgis_of(0) == before + 1), "an SGI to itself");
    // One after another: each CPU but the first sends while the first waits, masked or not, at its place.
    let sent = everywhere(send_around, false);
    check!(sent && MISSED.swap(0, Ordering::Relaxed) == 0, "SGIs from each CPU to others, by affinity");

    let before: [u32; cpu::MAX] = core::array::from_fn(sgis_of);
    gic::send_sgi_to_others(COUNTED);
    let all = wait_for(PATIENCE, || others().all(|index| sgis_of(index) == before[index] + 1));
    check!(all && sgis_of(0) == before[0], "an SGI to all others");

    // A list: the CPUs of the first cluster with an odd number.
    let before: [u32; cpu::MAX] = core::array::from_fn(sgis_of);
    let listed = |index: usize| affinity(index) < 16 && affinity(index) % 2 == 1;
    gic::write_sgi1r(u64::from(COUNTED) << 24 | 0xAAAA);
    let want = |index: usize| before[index] + u32::from(listed(index));
    let all = wait_for(PATIENCE, || (0..count()).all(|index| sgis_of(index) >= want(index)));
    timer::delay(1000);
    check!(all && (0..count()).all(|index| sgis_of(index) == want(index)), "an SGI to a list");

    let before: [u32; cpu::MAX] = core::array::from_fn(sgis_of);
    gic::write_sgi1r(u64::from(COUNTED) << 24 | 0xFE << 16 | 0xFFFF);
    gic::write_sgi1r(u64::from(COUNTED) << 24 | 0xFE << 32 | 0xFFFF);
    gic::write_sgi1r(u64::from(COUNTED) << 24 | 0xFE << 48 | 0xFFFF);
    if read_register!("icc_ctlr_el1") & RSS != 0 {
        gic::write_sgi1r(u64::from(COUNTED) << 24 | 0xF << 44 | 0xFFFF);
    }
    gic::write_sgi1r(u64::from(COUNTED) << 24);
    timer::delay(1000);
    check!((0..count()).all(|index| sgis_of(index) == before[index]), "SGIs to nobody");
}

fn spis_of(index: usize) -> u32 {
    CPUS[index].spis.load(Ordering::Acquire)
}

fn spis_of_all() -> u32 {
    (0..count()).map(spis_of).sum()
}

fn spis() {
    gic::set_trigger(SPI, gic::Trigger::Edge);
    gic::enable(SPI);
    let routed = (0..count()).all(|index| {
        let (before, all) = (spis_of(index), spis_of_all());
        gic::route(SPI, affinity(index));
        gic::set_pending(SPI, true);
        wait_for(PATIENCE, || spis_of(index) == before + 1) && spis_of_all() == all + 1
    });
    check!(routed, "an SPI goes to the CPU that it is routed to");

    gic::route(SPI, gic::ANY_CPU);
    let before = spis_of_all();
    let once = (1..=100).all(|round| {
        gic::set_pending(SPI, true);
        wait_for(PATIENCE, || spis_of_all() == before + round)
    });
    timer::delay(1000);
    check!(once && spis_of_all() == before + 100, "a 1-of-N SPI goes to one CPU each time");

    // Routed to a CPU that does not exist it waits.
    let before = spis_of_all();
    gic::route(SPI, 0xFE_0000);
    gic::set_pending(SPI, true);
    timer::delay(1000);
    check!(gic::is_pending(SPI) && spis_of_all() == before, "an SPI for nobody waits");
    gic::route(SPI, affinity(count() - 1));
    let taken = wait_for(PATIENCE, || spis_of(count() - 1) > 0 && spis_of_all() == before + 1);
    check!(taken, "and goes to the CPU that it is routed to then");
    gic::disable(SPI);
}

fn off_and_on(rounds: u64) {
    for round in 0..rounds {
        for index in others() {
            if !turn_off(index) || !turn_on(index) {
                check!(false, "CPU {index} off and on, round {round}");
                return;
            }
        }
    }
    check!(true, "every CPU off and on again, {rounds} times");

    // CPU_ON again and again while the CPU is on its way out: on, until it is off.
    let last = count() - 1;
    let mut answers = [0u32; 2];
    for _ in 0..rounds {
        CPUS[last].leave.store(true, Ordering::Release);
        wake(last);
        let started = wait_for(PATIENCE, || match smp::start(last, affinity(last), serve) {
            Ok(()) => true,
            Err(ALREADY_ON) => false,
            // QEMU's own PSCI may say so.
            Err(ON_PENDING) if IS_NATIVE.load(Ordering::Relaxed) => false,
            Err(_) => {
                answers[1] += 1;
                true
            }
        });
        let running = wait_for(PATIENCE, || CPUS[last].running.load(Ordering::Acquire));
        answers[0] += u32::from(started && running);
    }
    check_eq!(answers, [rounds as u32, 0], "CPU_ON during CPU_OFF");
}

static STARTED: AtomicU32 = AtomicU32::new(0);
static REFUSED: AtomicU32 = AtomicU32::new(0);
static GO: AtomicBool = AtomicBool::new(false);
/// The program runs without a hypervisor.
static IS_NATIVE: AtomicBool = AtomicBool::new(false);

/// All CPUs turn the last one on at the same time: one of them does. QEMU's own PSCI may tell two of them so.
fn two_callers(machine: &Machine) {
    let last = count() - 1;
    if count() < 3 {
        return;
    }
    check!(turn_off(last), "the last CPU is off");
    COUNT.fetch_sub(1, Ordering::Relaxed);
    let call = || {
        wait_for(PATIENCE, || GO.load(Ordering::Acquire));
        match smp::start(count(), affinity(count()), serve) {
            Ok(()) => STARTED.fetch_add(1, Ordering::AcqRel),
            Err(ALREADY_ON) => REFUSED.fetch_add(1, Ordering::AcqRel),
            Err(ON_PENDING) if IS_NATIVE.load(Ordering::Relaxed) => REFUSED.fetch_add(1, Ordering::AcqRel),
            Err(_) => MISSED.fetch_add(1, Ordering::AcqRel),
        };
    };
    for index in others() {
        CPUS[index].task.store(call as fn() as *mut (), Ordering::Release);
        wake(index);
    }
    timer::delay(10_000);
    GO.store(true, Ordering::Release);
    let came = wait_for(PATIENCE, || CPUS[last].running.load(Ordering::Acquire));
    let all = wait_for(PATIENCE, || {
        others().all(|index| CPUS[index].task.load(Ordering::Acquire).is_null())
    });
    check!(came && all, "several CPUs turn one on");
    let callers = count() as u32 - 1;
    COUNT.fetch_add(1, Ordering::Relaxed);
    let (started, refused) = (STARTED.load(Ordering::Acquire), REFUSED.load(Ordering::Acquire));
    check_eq!(started + refused, callers, "each is told that it did, or that the CPU is on");
    check!(started == 1 || machine.is_native(), "one of them did");
}

fn turn_off_all() {
    check!(others().all(turn_off), "all CPUs go off");
    check!(others().all(|index| psci::affinity_info(affinity(index)) == 1), "all others are off again");
}
