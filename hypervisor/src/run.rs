// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each physical CPU's life: pick a vCPU, put it into the machine, serve its exits, take it out again.
//!
//! A CPU's state is a [`Pcpu`] on its own stack; nobody else ever sees it. Others call for attention by a bit and an
//! interrupt ([`crate::percpu`]). Since EL2 runs with interrupts masked, one that arrives between the last look and
//! the ERET makes the guest exit at once; so no call is ever missed.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::num::NonZeroU64;
use core::sync::atomic::Ordering;

use vambrace_cpu::deadlines::{Deadlines, NEVER};
use vambrace_cpu::exit::Exit;
use vambrace_cpu::scheduler::RunQueue;
use vambrace_cpu::syndrome::Syndrome;
use vambrace_hypervisor::board::{self, Board};
use vambrace_hypervisor::cpus::Shape;
use vambrace_hypervisor::speculative_at::Switch;
use vambrace_hypervisor::traps::Features;
use vambrace_machine::{Ending, Resume, Vcpu, report, short};
use vambrace_wire::bundle::Bundle;
use vambrace_wire::message::FromHypervisor;

use crate::cell::{Cell, Neighbourhood, VM_GONE, VmCell};
use crate::census::{self, System, Vmids};
use crate::debug::Debug;
use crate::exit_host::{ExitHost, Flush, Work};
use crate::features::{self, DeferredErrors};
use crate::gic::{self, CpuInterface, Distributor};
use crate::job::Job;
use crate::lock::SpinMutex;
use crate::percpu::{self, Shared};
use crate::registry;
use crate::sysreg::{CntfrqEl0, CntpctEl0, EsrEl2, FarEl2, HpfarEl2, IchVtrEl2, MidrEl1, Read};
use crate::vgic::Interface;
use crate::world::{self, Around, Cause};
use crate::{assigned, barrier, boot, clock, console, outside, panic, random, resident};

mod inspect;
mod interrupts;
mod slots;
mod switch;
mod work;

use slots::{Leave, Slot};
use switch::Lives;

/// Slices in a second: 5 ms each.
const SLICES_PER_SECOND: u64 = 200;
/// Unfinished console lines are passed on after this part of a second: 2 ms.
const FLUSHES_PER_SECOND: u64 = 500;

/// The first CPU, with the board known and the heap up: sets up what all share, starts the others, and runs.
/// `start_secondary` takes which of the others it is, and its index among all.
pub(crate) fn start(
    board: &'static Board,
    tree: &[u8],
    bundle: Bundle<'static>,
    start_secondary: impl Fn(usize, usize),
) -> ! {
    let me = board.cpus.iter().position(|affinity| *affinity == boot::affinity());
    let Some(me) = me else {
        panic::fail(format_args!("the CPU that boots is not in the device tree's /cpus"))
    };
    percpu::start(&board.cpus);
    random::start(&board.seed);
    // SAFETY: the device tree's PL031, mapped as Device memory.
    unsafe { clock::start(board.rtc) };
    // SAFETY: the device tree's GICv3, mapped as Device memory; only the first CPU comes here, once.
    let distributor = unsafe { Distributor::new(&board.gic) };
    if let Some(uart) = board.uart {
        distributor.enable_spi(uart.intid, boot::affinity());
    }
    if outside::is_wanted(&bundle.directory) {
        let slots = board::virtio_slots(tree, board.virtio);
        // SAFETY: the device tree's virtio-mmio devices, mapped as Device memory; only the first CPU comes here, once.
        for intid in unsafe { outside::start(&slots, &bundle.directory) } {
            distributor.enable_spi(intid, boot::affinity());
        }
    }
    assigned::start(distributor, &bundle.directory, board.virtio);
    console::say(&FromHypervisor::Hello {
        cpus: board.cpus.len() as u16,
        vms: bundle.directory.vms.len() as u16,
    });

    census::open(board.cpus.len());
    BOARD.call_once(|| board);
    for (nth, index) in (0..board.cpus.len()).filter(|index| *index != me).enumerate() {
        start_secondary(nth, index);
    }
    let system = census::close();
    let pcpu = Pcpu::new(board, me, system);
    registry::start(bundle, system);
    console::enable_input();
    pcpu.run()
}

static BOARD: spin::Once<&'static Board> = spin::Once::new();

/// A further CPU, with its MMU on.
pub(crate) fn secondary(index: usize) -> ! {
    let board = BOARD.wait();
    Pcpu::new(board, index, census::join()).run()
}

/// What follows an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    /// The guest goes on at once.
    GoOn,
    /// The guest goes on; the CPU's next deadline may have changed.
    Replan,
    /// The vCPU leaves the machine.
    Leave(Leave),
}

/// One physical CPU.
pub(crate) struct Pcpu {
    index: usize,
    shared: &'static Shared,
    gic: CpuInterface,
    interface: Interface,
    /// What holds on all CPUs.
    features: Features,
    /// What of a guest's is in this one, whatever the others have.
    deferred_errors: DeferredErrors,
    switch: Switch,
    /// VTCR_EL2 for tables without a translation.
    empty_vtcr: u64,
    vmids: &'static SpinMutex<Vmids>,
    virtual_timer: u32,
    hypervisor_timer: u32,
    maintenance: u32,
    uart: u32,
    /// The VM whose stage 2 is loaded, by its index in the bundle.
    translation: Option<u16>,
    debug: Debug,
    slots: Vec<Option<Slot>>,
    queue: RunQueue,
    /// What is due when for each slot.
    deadlines: Deadlines,
    jobs: VecDeque<Job>,
    /// The user asks what the vCPUs here do.
    is_asked: bool,
    /// The slot whose floating-point registers are in the machine.
    fp_owner: Option<u16>,
    /// What CNTHP is set to.
    programmed: u64,
    /// When the resident vCPU's physical timer was last brought to its line.
    settled_at: u64,
    /// When the clock of the resident vCPU's VM raises its interrupt.
    alarm: u64,
    slice: u64,
    flush_delay: u64,
    /// For what virtio devices move; empty until there are any.
    buffer: Vec<u8>,
}

impl Pcpu {
    fn new(board: &'static Board, index: usize, system: &'static System) -> Self {
        let System { features, vmids, .. } = system;
        let features = *features;
        let deferred_errors = features::start_cpu(features);
        let empty_vtcr = features.empty_vtcr().unwrap_or_else(|why| {
            panic::fail(format_args!("CPU {:#x} cannot run VMs: {why}", boot::affinity()))
        });
        let enable = 1 << gic::KICK
            | 1 << board.timer.virtual_timer
            | 1 << board.timer.hypervisor_timer
            | 1 << board.gic.maintenance;
        // SAFETY: the device tree's redistributors, mapped as Device memory; each CPU comes here once.
        let interface = unsafe { CpuInterface::new(&board.gic.redistributors, boot::affinity(), enable) };
        let gic = interface.unwrap_or_else(|why| {
            panic::fail(format_args!("CPU {:#x} cannot take interrupts: {why}", boot::affinity()))
        });
        let Some(shared) = percpu::all().get(index) else {
            panic::fail(format_args!("CPU {:#x} is not among the board's", boot::affinity()))
        };
        let frequency = CntfrqEl0.read().max(1);
        let this = Self {
            index,
            shared,
            gic,
            interface: Interface::new(Shape::of(IchVtrEl2.read())),
            features,
            deferred_errors,
            switch: Switch::of(MidrEl1.read()),
            empty_vtcr,
            vmids,
            virtual_timer: board.timer.virtual_timer,
            hypervisor_timer: board.timer.hypervisor_timer,
            maintenance: board.gic.maintenance,
            uart: board.uart.map_or(u32::MAX, |uart| uart.intid),
            translation: None,
            debug: Debug::start(),
            slots: Vec::new(),
            queue: RunQueue::new(NonZeroU64::new(frequency / SLICES_PER_SECOND).unwrap_or(NonZeroU64::MIN)),
            deadlines: Deadlines::new(),
            jobs: VecDeque::new(),
            is_asked: false,
            fp_owner: None,
            programmed: NEVER,
            settled_at: 0,
            alarm: NEVER,
            slice: frequency / SLICES_PER_SECOND,
            flush_delay: frequency / FLUSHES_PER_SECOND,
            buffer: Vec::new(),
        };
        // Reset leaves all of it UNKNOWN: the registers first, then the TLB.
        this.load_no_translation();
        barrier::tlbi_alle1();
        barrier::dsb_nsh();
        barrier::isb();
        this
    }

    /// The loop.
    fn run(mut self) -> ! {
        loop {
            if VM_GONE.load(Ordering::Relaxed) && VM_GONE.swap(false, Ordering::AcqRel) {
                registry::advance();
            }
            if self.shared.attention.is_called() {
                self.attend(None);
                if mem::take(&mut self.is_asked) {
                    self.tell_vcpus(None);
                }
            }
            if let Some(job) = self.jobs.pop_front()
                && let Some(rest) = job.step()
            {
                self.jobs.push_front(rest);
            }
            match self.queue.pick(now()) {
                Some(pick) => self.run_slot(pick.id, pick.slice_end),
                None => self.idle(),
            }
        }
    }

    /// Nobody wants to run: sleeps until an interrupt, unless there is work.
    fn idle(&mut self) {
        let work =
            !self.jobs.is_empty() || self.shared.attention.is_called() || VM_GONE.load(Ordering::Acquire);
        if !work {
            self.program_timer(None);
            barrier::dsb_sy();
            barrier::wfi();
        }
        self.serve_interrupts(CpuInterface::acknowledge(), None);
    }

    /// Gives a vCPU the machine until there is a reason to take it away.
    #[inline(always)]
    fn run_slot(&mut self, id: u16, slice_end: Option<u64>) {
        let Some(Some(slot)) = self.slots.get(usize::from(id)) else {
            self.queue.remove(id);
            return;
        };
        let cell = Arc::clone(&slot.cell);
        let Some(mutex) = cell.vcpus.get(usize::from(slot.vcpu)) else { return };
        let mut vcpu = mutex.lock();
        let started = now();
        let leave = match self.load(id, &cell, &vcpu) {
            Lives::Yes => self.stay(id, &cell, &mut vcpu, slice_end),
            Lives::No => Leave::Stopped,
        };
        let unloaded = self.unload(&cell, &mut vcpu);
        self.queue.charge(id, now().wrapping_sub(started));
        self.leave(id, &cell, &mut vcpu, unloaded, leave);
    }

    /// The resident loop: enter, exit, serve, until the vCPU has to leave.
    fn stay(&mut self, id: u16, cell: &Cell, vcpu: &mut Vcpu, slice_end: Option<u64>) -> Leave {
        let mut turn_end = self.turn_end(slice_end);
        // What has to be done before the next entry: look at the list registers, and at timer and traps.
        let (mut refresh, mut replan) = (false, true);
        let Some(constants) = cell.constants.get(usize::from(vcpu.index)) else { return Leave::Stopped };
        if cell.devices.is_due() {
            self.work(id, cell);
        }
        loop {
            if self.shared.attention.is_called() {
                let is_called = self.attend(Some(id));
                if mem::take(&mut self.is_asked) {
                    self.tell_vcpus(Some((id, vcpu)));
                }
                if is_called && cell.devices.is_due() {
                    self.work(id, cell);
                }
                refresh |= is_called;
                replan = true;
                let Some(end) = self.goes_on(id, turn_end) else { return Leave::Preempted };
                turn_end = end;
            }
            if core::mem::take(&mut refresh) && self.refresh(cell, vcpu) == Lives::No {
                return Leave::Stopped;
            }
            if core::mem::take(&mut replan) {
                self.program_timer(Some((vcpu, turn_end)));
                self.set_hcr(vcpu);
            }
            let (frame, short) = vcpu.for_entry(constants, &cell.vm);
            let (cause, acknowledged) = world::enter(
                frame,
                short,
                Around {
                    lists: &mut self.interface,
                    neighbours: Neighbourhood { cell, cpu: self.index as u16 },
                    attention: &self.shared.attention,
                    slot: id,
                    virtual_timer: self.virtual_timer,
                },
            );
            if vcpu.virtual_serror {
                vcpu.virtual_serror = features::has_virtual_serror();
            }
            let exit = match cause {
                Cause::Interrupt => {
                    refresh |= self.serve_interrupts(acknowledged, Some((cell, vcpu)));
                    replan = true;
                    let Some(end) = self.goes_on(id, turn_end) else { return Leave::Preempted };
                    turn_end = end;
                    continue;
                }
                Cause::Synchronous => {
                    let esr = EsrEl2.read();
                    vcpu.recent.push(esr, vcpu.registers.frame.pc);
                    if short::wait(vcpu, esr) {
                        return Leave::Waits(None);
                    }
                    Exit::decode(esr, FarEl2.read(), HpfarEl2.read())
                }
                Cause::SystemError => {
                    replan = true;
                    Exit::SError(Syndrome(EsrEl2.read()))
                }
            };
            match self.serve(id, cell, vcpu, exit) {
                Served::GoOn => {}
                Served::Replan => replan = true,
                Served::Leave(leave) => return leave,
            }
        }
    }

    /// Others may have woken: says until when the vCPU that runs now goes on, if at all.
    fn goes_on(&mut self, id: u16, turn_end: u64) -> Option<u64> {
        let now = now();
        // A turn that is over is charged for before the next one is given.
        if now >= turn_end {
            return None;
        }
        let pick = self.queue.pick(now).filter(|pick| pick.id == id)?;
        Some(turn_end.min(self.turn_end(pick.slice_end)))
    }

    /// When the vCPU that runs now has to make room: at the end of its slice, and soon if there is other work.
    fn turn_end(&self, slice_end: Option<u64>) -> u64 {
        let soon = if self.jobs.is_empty() { NEVER } else { now().saturating_add(self.slice) };
        slice_end.unwrap_or(NEVER).min(soon)
    }

    /// Serves one exit.
    fn serve(&mut self, id: u16, cell: &Cell, vcpu: &mut Vcpu, exit: Exit) -> Served {
        let mut host = ExitHost::new(cell, &mut self.interface, &mut self.debug);
        let resume = vambrace_machine::handle(&cell.vm, vcpu, exit, &mut host);
        let (flush, work, rung) = host.finish(vcpu);
        rung.ring(cell);
        if flush == Flush::Soon {
            self.flush_soon(id);
        }
        if work == Work::Due {
            self.work(id, cell);
        }
        match resume {
            Resume::Guest if flush == Flush::Soon || work == Work::Due => Served::Replan,
            Resume::Guest => Served::GoOn,
            Resume::LoadFp => {
                self.take_fp(id, vcpu);
                Served::GoOn
            }
            Resume::Wait(until) => Served::Leave(Leave::Waits(until)),
            Resume::Yield => Served::Leave(Leave::Preempted),
            Resume::Suspend(entry) => Served::Leave(Leave::Suspends(entry)),
            Resume::Off => Served::Leave(Leave::Off),
            Resume::Stop => {
                cell.notify_all();
                if cell.ending() == Some(Ending::Crash) {
                    self.report_crash(cell, vcpu);
                }
                Served::Leave(Leave::Stopped)
            }
        }
    }

    /// Tells what a VM died of.
    fn report_crash(&self, cell: &VmCell, vcpu: &mut Vcpu) {
        resident::save_el1(&mut vcpu.registers.el1);
        let esr = EsrEl2.read();
        report::crash(&cell.vm.lock(), vcpu, esr, |line| {
            let text = console::one_line(line);
            console::say(&FromHypervisor::Report { vm: cell.id, text: &text });
        });
    }
}

/// The physical count.
fn now() -> u64 {
    CntpctEl0.read()
}
