// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each physical CPU's life: pick a vCPU, put it into the machine, serve its exits, take it out again.
//!
//! A CPU's state is a [`Pcpu`] on its own stack; nobody else ever sees it. Others call for attention by a bit and an
//! interrupt ([`crate::percpu`]). Since EL2 runs with interrupts masked, one that arrives between the last look and
//! the ERET makes the guest exit at once; so no call is ever missed.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::{NonZeroU32, NonZeroU64};
use core::sync::atomic::Ordering;

use vambrace_cpu::exit::Exit;
use vambrace_cpu::power::Entry;
use vambrace_cpu::scheduler::RunQueue;
use vambrace_cpu::timer;
use vambrace_hypervisor::attention::Mail as HasMail;
use vambrace_hypervisor::board::Board;
use vambrace_interrupts::Activity;
use vambrace_machine::{Ending, Resume, Vcpu, layout, report};
use vambrace_wire::bundle::Bundle;
use vambrace_wire::message::FromHypervisor;

use crate::cell::{Cell, Parked, VM_GONE, VmCell};
use crate::exit_host::ExitHost;
use crate::features::{self, Features, Fp, Waiting};
use crate::gic::{self, CpuInterface, Distributor};
use crate::job::Job;
use crate::percpu::{self, Mail, Shared};
use crate::registry::{self, Machine};
use crate::sysreg::*;
use crate::vgic::{Interface, Shape};
use crate::world::{self, Cause};
use crate::{barrier, boot, clock, console, panic, random, resident};

/// Slices in a second: 5 ms each.
const SLICES_PER_SECOND: u64 = 200;
/// Unfinished console lines are passed on after this part of a second: 2 ms.
const FLUSHES_PER_SECOND: u64 = 500;
/// Physical interrupts served at most before a guest runs again.
const INTERRUPTS_AT_ONCE: usize = 32;
/// No deadline.
const NEVER: u64 = u64::MAX;

/// The first CPU, with the board known and the heap up: sets up what all share, starts the others, and runs.
/// `start_secondary` takes which of the others it is, and its index among all.
pub(crate) fn start(board: &'static Board, bundle: Bundle<'static>, start_secondary: impl Fn(usize, usize)) -> ! {
    let me = board.cpus.iter().position(|affinity| *affinity == boot::affinity());
    let Some(me) = me else { panic::fail(format_args!("the CPU that boots is not in the device tree's /cpus")) };
    percpu::start(&board.cpus);
    random::start(&board.seed);
    // SAFETY: the device tree's PL031, mapped as Device memory.
    unsafe { clock::start(board.rtc) };
    // SAFETY: the device tree's GICv3, mapped as Device memory; only the first CPU comes here, once.
    let distributor = unsafe { Distributor::new(&board.gic) };
    if let Some(uart) = board.uart {
        distributor.enable_spi(uart.intid, boot::affinity());
    }
    console::say(&FromHypervisor::Hello { cpus: board.cpus.len() as u16, vms: bundle.directory.vms.len() as u16 });

    let pcpu = Pcpu::new(board, me);
    let features = pcpu.features;
    let shape = Shape::of_machine();
    let platform = vambrace_machine::vm::Platform {
        id_registers: vambrace_cpu::id_registers::IdRegisters::for_vm(&features::id_registers()),
        priority_bits: shape.priority_bits,
        preemption_bits: shape.preemption_bits,
        list_registers: shape.list_registers,
    };
    VMIDS.call_once(|| spin::mutex::SpinMutex::new(vambrace_memory::vmid::Vmids::new(features.vmids)));
    BOARD.call_once(|| board);
    for (nth, index) in (0..board.cpus.len()).filter(|index| *index != me).enumerate() {
        start_secondary(nth, index);
    }
    registry::start(bundle, Machine { platform, pa_bits: features.pa_bits, encoding: features.encoding, vmids: features.vmids });
    console::enable_input();
    pcpu.run()
}

static BOARD: spin::Once<&'static Board> = spin::Once::new();

type Vmids = vambrace_memory::vmid::Vmids<{ vambrace_hypervisor::board::MAX_CPUS }>;

static VMIDS: spin::Once<spin::mutex::SpinMutex<Vmids>> = spin::Once::new();

/// A further CPU, with its MMU on.
pub(crate) fn secondary(index: usize) -> ! {
    let board = BOARD.wait();
    Pcpu::new(board, index).run()
}

/// A vCPU that lives here.
#[derive(Debug)]
struct Slot {
    cell: Cell,
    vcpu: u16,
    state: State,
    /// When its own timer will wake it, as a physical count.
    wake_at: u64,
    /// When its VM's unfinished console line is to be passed on.
    flush_at: u64,
    /// It starts anew when it wakes (CPU_SUSPEND, power-down).
    suspended: Option<Entry>,
    /// The VM's life in which it was parked last.
    parked_in: Option<u32>,
}

/// What a vCPU is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Powered off, or parked for good.
    Off,
    /// Waits for an interrupt.
    Waiting,
    /// Runs when it is its turn.
    Ready,
}

/// Why a vCPU leaves the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// Others' turn.
    Preempted,
    /// It waits; until this virtual count at most.
    Waits(Option<u64>),
    /// It waits and then starts anew.
    Suspends(Entry),
    /// It is off.
    Off,
    /// Its VM has come to an end.
    Stopped,
}

/// One physical CPU.
pub(crate) struct Pcpu {
    index: usize,
    shared: &'static Shared,
    gic: CpuInterface,
    interface: Interface,
    features: Features,
    virtual_timer: u32,
    hypervisor_timer: u32,
    maintenance: u32,
    uart: u32,
    slots: Vec<Option<Slot>>,
    queue: RunQueue<u16>,
    jobs: VecDeque<Job>,
    /// The slot whose floating-point registers are in the machine.
    fp_owner: Option<u16>,
    /// What CNTHP is set to.
    programmed: u64,
    slice: u64,
    flush_delay: u64,
}

impl Pcpu {
    fn new(board: &'static Board, index: usize) -> Self {
        features::start_cpu();
        let enable = 1 << gic::KICK | 1 << board.timer.virtual_timer | 1 << board.timer.hypervisor_timer | 1 << board.gic.maintenance;
        // SAFETY: the device tree's redistributors, mapped as Device memory; each CPU comes here once.
        let interface = unsafe { CpuInterface::new(&board.gic.redistributors, boot::affinity(), enable) };
        let (Some(gic), Some(shared)) = (interface, percpu::all().get(index)) else {
            panic::fail(format_args!("CPU {:#x} has no redistributor", boot::affinity()))
        };
        let frequency = CntfrqEl0.read().max(1);
        Self {
            index,
            shared,
            gic,
            interface: Interface::new(Shape::of_machine()),
            features: Features::of_machine(),
            virtual_timer: board.timer.virtual_timer,
            hypervisor_timer: board.timer.hypervisor_timer,
            maintenance: board.gic.maintenance,
            uart: board.uart.map_or(u32::MAX, |uart| uart.intid),
            slots: Vec::new(),
            queue: RunQueue::new(NonZeroU64::new(frequency / SLICES_PER_SECOND).unwrap_or(NonZeroU64::MIN)),
            jobs: VecDeque::new(),
            fp_owner: None,
            programmed: NEVER,
            slice: frequency / SLICES_PER_SECOND,
            flush_delay: frequency / FLUSHES_PER_SECOND,
        }
    }

    /// The loop.
    fn run(mut self) -> ! {
        loop {
            if VM_GONE.swap(false, Ordering::AcqRel) {
                registry::advance();
            }
            self.attend(None);
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
        if self.jobs.is_empty() && !self.shared.attention.is_called() {
            self.program_timer(None);
            barrier::dsb_sy();
            barrier::wfi();
        }
        self.serve_interrupts(None);
    }

    /// Gives a vCPU the machine until there is a reason to take it away.
    fn run_slot(&mut self, id: u16, slice_end: Option<u64>) {
        let Some(Some(slot)) = self.slots.get(usize::from(id)) else {
            self.queue.remove(id);
            return;
        };
        let cell = Arc::clone(&slot.cell);
        let Some(mutex) = cell.vcpus.get(usize::from(slot.vcpu)) else { return };
        let mut vcpu = mutex.lock();
        let started = now();
        self.load(id, &cell, &vcpu);
        let leave = self.stay(id, &cell, &mut vcpu, slice_end);
        self.unload(&cell, &mut vcpu);
        self.queue.charge(id, now().wrapping_sub(started));
        self.leave(id, &cell, &mut vcpu, leave);
    }

    /// The resident loop: enter, exit, serve, until the vCPU has to leave.
    fn stay(&mut self, id: u16, cell: &Cell, vcpu: &mut Vcpu, mut slice_end: Option<u64>) -> Leave {
        let mut refresh = true;
        loop {
            if self.shared.attention.is_called() {
                refresh |= self.attend(Some(id));
                match self.queue.pick(now()) {
                    Some(pick) if pick.id == id => slice_end = pick.slice_end,
                    _ => return Leave::Preempted,
                }
            }
            if core::mem::take(&mut refresh) && self.refresh(cell, vcpu) == Lives::No {
                return Leave::Stopped;
            }
            let slice_end = if self.jobs.is_empty() { slice_end } else { Some(slice_end.unwrap_or(NEVER).min(now() + self.slice)) };
            self.program_timer(Some((vcpu, slice_end)));
            self.set_hcr();
            match world::enter(&mut vcpu.registers.frame) {
                Cause::Interrupt => {
                    refresh |= self.serve_interrupts(Some((cell, vcpu)));
                    if slice_end.is_some_and(|end| now() >= end) {
                        return Leave::Preempted;
                    }
                }
                Cause::Synchronous => {
                    let esr = EsrEl2.read();
                    vcpu.recent.push(esr, vcpu.registers.frame.pc);
                    let exit = Exit::decode(esr, FarEl2.read(), HpfarEl2.read());
                    if let Some(leave) = self.serve(id, cell, vcpu, exit) {
                        return leave;
                    }
                }
                Cause::SystemError => {
                    let exit = Exit::SError(vambrace_cpu::syndrome::Syndrome(EsrEl2.read()));
                    if let Some(leave) = self.serve(id, cell, vcpu, exit) {
                        return leave;
                    }
                }
            }
        }
    }

    /// Serves one exit; `Some` when the vCPU has to leave.
    fn serve(&mut self, id: u16, cell: &Cell, vcpu: &mut Vcpu, exit: Exit) -> Option<Leave> {
        let mut host = ExitHost::new(cell, &mut self.interface);
        let resume = vambrace_machine::handle(&cell.vm, vcpu, exit, &mut host);
        let flush_soon = host.finish(vcpu);
        if flush_soon && let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) {
            slot.flush_at = now().saturating_add(self.flush_delay);
        }
        match resume {
            Resume::Guest => None,
            Resume::LoadFp => {
                self.take_fp(id, vcpu);
                None
            }
            Resume::Wait(until) => Some(Leave::Waits(until)),
            Resume::Yield => Some(Leave::Preempted),
            Resume::Suspend(entry) => Some(Leave::Suspends(entry)),
            Resume::Off => Some(Leave::Off),
            Resume::Stop => {
                cell.notify_all();
                if cell.ending() == Some(Ending::Crash) {
                    self.report_crash(cell, vcpu);
                }
                Some(Leave::Stopped)
            }
        }
    }

    fn report_crash(&self, cell: &VmCell, vcpu: &mut Vcpu) {
        resident::save_el1(&mut vcpu.registers.el1);
        let esr = EsrEl2.read();
        report::crash(&cell.vm.lock(), vcpu, esr, |line| {
            let text = console::one_line(line);
            console::say(&FromHypervisor::Report { vm: cell.id, text: &text });
        });
    }

    /// Brings the vCPU's list registers up to date.
    fn refresh(&mut self, cell: &VmCell, vcpu: &Vcpu) -> Lives {
        let index = usize::from(vcpu.index);
        let mut vm = cell.vm.lock();
        if vm.lifecycle != vambrace_machine::Lifecycle::Running {
            return Lives::No;
        }
        let timer = vm.settle_physical_timer(vcpu, now());
        let moved = vm.gic.fold(index, &self.interface.read());
        if let Some(lists) = vm.gic.fill(index) {
            self.interface.write_lists(lists);
        }
        while let Some(physical) = vm.gic.take_released(index) {
            CpuInterface::deactivate(physical);
        }
        drop(vm);
        cell.notify(&moved);
        // This vCPU's own timer has just been looked at.
        let _ = timer;
        Lives::Yes
    }

    /// Puts a vCPU into the machine.
    fn load(&mut self, id: u16, cell: &VmCell, vcpu: &Vcpu) {
        self.load_translation(cell, vcpu);
        let registers = &vcpu.registers;
        VmpidrEl2.write(1 << 31 | layout::affinity(vcpu.index));
        CntvoffEl2.write(cell.time_offset.load(Ordering::Acquire));
        resident::load_el1(&registers.el1);
        resident::load_debug(&registers.debug, self.features.debug);
        if self.features.pointer_auth {
            resident::load_keys(&registers.keys);
        }
        features::set_fp(if self.fp_owner == Some(id) { Fp::IsLoaded } else { Fp::Traps });
        let index = usize::from(vcpu.index);
        let mut vm = cell.vm.lock();
        vm.gic.set_activity(index, Activity::Busy);
        let active = vm.gic.linked_active(index, self.virtual_timer);
        if let Some(interface) = vm.gic.fill(index) {
            self.interface.write_all(interface);
        }
        drop(vm);
        if active {
            self.gic.set_active(self.virtual_timer);
        }
        barrier::isb();
    }

    /// Loads the VM's stage 2 under a VMID that is its own.
    fn load_translation(&self, cell: &VmCell, vcpu: &Vcpu) {
        use vambrace_memory::vmid::Flush;
        let Some(vmids) = VMIDS.get() else { return };
        let entry = vmids.lock().enter(self.index, &mut cell.vmid.lock(), u32::from(vcpu.index));
        // SAFETY: the VM's own tables, alive as long as its cell, under a VMID that no other VM has.
        unsafe {
            VtcrEl2.write(cell.vtcr);
            VttbrEl2.write(cell.space.vttbr(entry.vmid));
        }
        barrier::isb();
        match entry.flush {
            Flush::None => return,
            Flush::Stage1 => barrier::tlbi_vmalle1(),
            Flush::Vm => barrier::tlbi_vmalls12e1(),
        }
        barrier::dsb_nsh();
        barrier::isb();
    }

    /// Takes a vCPU out of the machine; afterwards its values are true.
    fn unload(&mut self, cell: &VmCell, vcpu: &mut Vcpu) {
        let index = usize::from(vcpu.index);
        let registers = &mut vcpu.registers;
        resident::save_el1(&mut registers.el1);
        CntvCtlEl0.write(0);
        resident::save_debug(&mut registers.debug, self.features.debug);
        if self.features.pointer_auth {
            resident::save_keys(&mut registers.keys);
        }
        let mut vm = cell.vm.lock();
        let moved = vm.gic.fold(index, &self.interface.read());
        self.interface.clear();
        while let Some(physical) = vm.gic.take_released(index) {
            CpuInterface::deactivate(physical);
        }
        if vm.gic.linked_active(index, self.virtual_timer) {
            self.gic.clear_active(self.virtual_timer);
        }
        drop(vm);
        cell.notify(&moved);
    }

    /// The vCPU is out: notes what it does now.
    fn leave(&mut self, id: u16, cell: &Cell, vcpu: &mut Vcpu, leave: Leave) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        match leave {
            Leave::Preempted => {}
            Leave::Off => {
                slot.state = State::Off;
                self.queue.block(id);
            }
            Leave::Stopped => self.park(id),
            Leave::Waits(until) => self.wait(id, cell, vcpu, until),
            Leave::Suspends(entry) => {
                slot.suspended = Some(entry);
                self.wait(id, cell, vcpu, None);
            }
        }
    }

    /// Lets a vCPU wait, unless what it would wait for is there already.
    fn wait(&mut self, id: u16, cell: &VmCell, vcpu: &Vcpu, until: Option<u64>) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        let (el1, now) = (&vcpu.registers.el1, now());
        let offset = cell.time_offset.load(Ordering::Relaxed);
        let virtual_timer = timer::virtual_deadline(el1.cntv_ctl, el1.cntv_cval, offset, now);
        let timeout = until.map(|count| count.saturating_add(offset));
        let deadlines = [virtual_timer, vcpu.physical_timer.deadline(), timeout];
        slot.wake_at = deadlines.into_iter().flatten().min().unwrap_or(NEVER);
        let mut vm = cell.vm.lock();
        let index = usize::from(vcpu.index);
        let ready = slot.wake_at <= now || vm.gic.has_deliverable(index);
        if ready {
            drop(vm);
            self.wake(id);
            return;
        }
        vm.gic.set_activity(index, Activity::Waiting);
        drop(vm);
        slot.state = State::Waiting;
        self.queue.block(id);
    }

    /// A vCPU that waited has something to do.
    fn wake(&mut self, id: u16) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        slot.state = State::Ready;
        slot.wake_at = NEVER;
        if let Some(entry) = slot.suspended.take() {
            let index = usize::from(slot.vcpu);
            if let Some(vcpu) = slot.cell.vcpus.get(index).and_then(|vcpu| vcpu.try_lock()) {
                start_vcpu(&slot.cell, vcpu, entry);
            }
        }
        self.queue.wake(id);
    }

    /// A vCPU's VM has come to an end: it never enters the guest again in this life.
    fn park(&mut self, id: u16) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        let life = slot.cell.life.load(Ordering::Acquire);
        let Some(ending) = slot.cell.ending() else { return };
        if slot.parked_in.replace(life) == Some(life) {
            return;
        }
        slot.state = State::Off;
        slot.wake_at = NEVER;
        slot.suspended = None;
        self.queue.block(id);
        if self.fp_owner == Some(id) {
            self.fp_owner = None;
        }
        let cell = Arc::clone(&slot.cell);
        self.leave_translation();
        if cell.park_one() == Parked::Last {
            self.jobs.push_back(registry::end(&cell, ending));
        }
    }

    /// No VM's tables stay loaded: they may be freed.
    fn leave_translation(&self) {
        // SAFETY: no guest runs until the next `load_translation`; an empty VTTBR translates for nobody.
        unsafe { VttbrEl2.write(0) };
        barrier::isb();
        if let Some(vmids) = VMIDS.get() {
            vmids.lock().leave(self.index);
        }
    }

    /// Looks at all who called. Says whether the resident vCPU is among them.
    fn attend(&mut self, resident: Option<u16>) -> bool {
        let mut called = false;
        let shared = self.shared;
        let mail = shared.attention.take(|slot| {
            if Some(slot) == resident {
                called = true;
            } else {
                self.look_at(slot);
            }
        });
        if mail == HasMail::Waiting {
            for mail in shared.take_mail() {
                self.read_mail(mail);
            }
        }
        called
    }

    fn read_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Adopt { cell, vcpu, slot } => {
                let at = usize::from(slot);
                if self.slots.len() <= at {
                    self.slots.resize_with(at + 1, || None);
                }
                let weight = NonZeroU32::new(registry::weight(cell.id)).unwrap_or(NonZeroU32::MIN);
                if let Some(place) = self.slots.get_mut(at)
                    && self.queue.add(slot, weight).is_ok()
                {
                    *place = Some(Slot {
                        cell,
                        vcpu,
                        state: State::Off,
                        wake_at: NEVER,
                        flush_at: NEVER,
                        suspended: None,
                        parked_in: None,
                    });
                }
            }
            Mail::Forget { slot } => {
                self.queue.remove(slot);
                if self.fp_owner == Some(slot) {
                    self.fp_owner = None;
                }
                if let Some(place) = self.slots.get_mut(usize::from(slot)) {
                    *place = None;
                }
            }
            Mail::Job(job) => self.jobs.push_back(job),
        }
    }

    /// Looks at a vCPU that is not in the machine: is it to start, to stop, to wake?
    fn look_at(&mut self, id: u16) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        let cell = Arc::clone(&slot.cell);
        let index = usize::from(slot.vcpu);
        if cell.ending().is_some() {
            self.park(id);
            return;
        }
        match slot.state {
            State::Ready => {}
            State::Waiting => {
                if cell.vm.lock().gic.has_deliverable(index) {
                    self.wake(id);
                }
            }
            State::Off => {
                let Some(entry) = cell.vm.lock().power.take_pending(index) else { return };
                if let Some(vcpu) = cell.vcpus.get(index).and_then(|vcpu| vcpu.try_lock()) {
                    start_vcpu(&cell, vcpu, entry);
                }
                // Its old floating-point registers are nobody's.
                if self.fp_owner == Some(id) {
                    self.fp_owner = None;
                }
                self.wake(id);
            }
        }
    }

    /// Gives the vCPU in slot `id`, which is resident, the floating-point registers.
    fn take_fp(&mut self, id: u16, vcpu: &Vcpu) {
        features::set_fp(Fp::IsLoaded);
        barrier::isb();
        if let Some(owner) = self.fp_owner.filter(|owner| *owner != id)
            && let Some(Some(slot)) = self.slots.get(usize::from(owner))
            && let Some(mut before) = slot.cell.vcpus.get(usize::from(slot.vcpu)).and_then(|vcpu| vcpu.try_lock())
        {
            world::save_fp(&mut before.registers.fp);
        }
        world::load_fp(&vcpu.registers.fp);
        self.fp_owner = Some(id);
    }

    /// Serves the physical interrupts that are pending. Says whether the resident vCPU's list registers must be
    /// looked at.
    fn serve_interrupts(&mut self, resident: Option<(&Cell, &mut Vcpu)>) -> bool {
        let mut refresh = false;
        for _ in 0..INTERRUPTS_AT_ONCE {
            let Some(intid) = CpuInterface::acknowledge() else { break };
            if intid == self.virtual_timer {
                refresh |= self.virtual_timer_fired(resident.as_ref().map(|(cell, vcpu)| (&***cell, &**vcpu)));
                continue;
            }
            if intid == self.hypervisor_timer {
                CnthpCtlEl2.write(0);
                self.programmed = NEVER;
                self.deadlines_passed();
                refresh = true;
            } else if intid == self.maintenance {
                refresh = true;
                // Level-sensitive: its cause must be gone before it ends.
                if let Some((cell, vcpu)) = &resident {
                    self.refresh(cell, vcpu);
                    refresh = false;
                }
            } else if intid == self.uart {
                console::receive(|vm, keys| {
                    if let Some(cell) = registry::find(vm) {
                        let notify = cell.vm.lock().type_keys(keys);
                        cell.notify(&notify);
                    }
                });
            }
            CpuInterface::end(intid);
        }
        refresh
    }

    /// The guest's virtual timer: handed on, linked to the physical interrupt, which the guest itself will end.
    fn virtual_timer_fired(&self, resident: Option<(&VmCell, &Vcpu)>) -> bool {
        CpuInterface::drop_priority(self.virtual_timer);
        let linked = resident.and_then(|(cell, vcpu)| {
            let index = usize::from(vcpu.index);
            cell.vm.lock().gic.inject_linked(index, layout::VIRTUAL_TIMER_INTID, self.virtual_timer)
        });
        if linked.is_none() {
            // Nobody's: off with it, and it is asserted no more.
            CntvCtlEl0.write(0);
            barrier::isb();
            CpuInterface::deactivate(self.virtual_timer);
        }
        linked.is_some()
    }

    /// Wakes who waited for the time that has come, and passes unfinished console lines on.
    fn deadlines_passed(&mut self) {
        let now = now();
        for at in 0..self.slots.len() {
            let Some(Some(slot)) = self.slots.get_mut(at) else { continue };
            if slot.flush_at <= now {
                slot.flush_at = NEVER;
                let id = slot.cell.id;
                slot.cell.vm.lock().flush_console(|bytes| console::say(&FromHypervisor::Console { vm: id, bytes }));
            }
            if slot.state == State::Waiting && slot.wake_at <= now {
                self.wake(at as u16);
            }
        }
    }

    /// Sets CNTHP to the next deadline of this CPU.
    fn program_timer(&mut self, resident: Option<(&Vcpu, Option<u64>)>) {
        let mut next = NEVER;
        for slot in self.slots.iter().flatten() {
            next = next.min(slot.flush_at);
            if slot.state == State::Waiting {
                next = next.min(slot.wake_at);
            }
        }
        if let Some((vcpu, slice_end)) = resident {
            next = next.min(slice_end.unwrap_or(NEVER));
            // One that has passed is asserted already.
            next = next.min(vcpu.physical_timer.deadline().filter(|at| *at > now()).unwrap_or(NEVER));
        }
        if next != self.programmed {
            self.programmed = next;
            CnthpCvalEl2.write(next);
            CnthpCtlEl2.write(u64::from(next != NEVER));
        }
    }

    /// Lets the guest wait in the machine's own WFI only while nobody else wants this CPU.
    fn set_hcr(&self) {
        let online = self.slots.iter().flatten().filter(|slot| slot.state != State::Off).count();
        let waiting = if online > 1 || !self.jobs.is_empty() { Waiting::Traps } else { Waiting::InTheMachine };
        // SAFETY: the traps that confine a guest are the same in both.
        unsafe { HcrEl2.write(self.features.hcr(waiting)) };
    }
}

/// Whether a VM goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lives {
    Yes,
    No,
}

/// Makes a vCPU one that has just been switched on.
fn start_vcpu(cell: &VmCell, mut vcpu: spin::mutex::SpinMutexGuard<'_, Vcpu>, entry: Entry) {
    vcpu.start(entry);
    let index = usize::from(vcpu.index);
    let notify = cell.vm.lock().gic.reset_interface(index);
    cell.notify(&notify);
}

/// The physical count.
fn now() -> u64 {
    CntpctEl0.read()
}
