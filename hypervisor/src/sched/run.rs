// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each physical CPU's loop: pick a vCPU, load it, serve its exits, unload it.
//!
//! A CPU's state is a [`Pcpu`] on its own stack; nobody else ever sees it. Others make requests by a bit and a
//! kick ([`crate::sched::percpu`]). Since EL2 runs with interrupts masked, one that arrives between the last look and
//! the ERET makes the guest exit at once; so no request is ever missed. What a CPU requests of itself comes without a kick: it
//! is for the look that follows, and behind the last one this CPU kicks itself.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::num::NonZeroU64;

use vambrace_cpu::deadlines::{Deadlines, NEVER};
use vambrace_cpu::exit::Exit;
use vambrace_cpu::scheduler::{RunQueue, RunQueueIndex};
use vambrace_cpu::syndrome::Syndrome;
use vambrace_hypervisor::arch::speculative_at::SwitchOrder;
use vambrace_hypervisor::arch::traps::Features;
use vambrace_hypervisor::boot::board::Board;
use vambrace_hypervisor::invariant;
use vambrace_ids::{PcpuId, VmId};
use vambrace_interrupts::Intid;
use vambrace_machine::{Resume, StopReason, Vcpu, fast, report};
use vambrace_wire::message::FromHypervisor;

use crate::arch::debug::Debug;
use crate::arch::features;
use crate::arch::lock::SpinMutex;
use crate::arch::sysreg::{CntfrqEl0, CntpctEl0, EsrEl2, FarEl2, HpfarEl2, Read};
use crate::arch::world::{self, Cause, EntryContext};
use crate::arch::{barrier, sysreg_context};
use crate::boot::cpu::CpuUp;
use crate::boot::secondary::Vmids;
use crate::console;
use crate::gic::CpuInterface;
use crate::gic::vgic::Interface;
use crate::sched::percpu::{self, Shared};
use crate::vm::exit_host::{ConsoleFlush, ExitHost, Work};
use crate::vm::shared::{SiblingsOfVm, VmHandle, VmShared, VmStatus};

mod account;
mod errands;
mod inspect;
mod interrupts;
mod migrate;
mod pause;
mod queued;
mod switch;
mod work;

use account::{Account, Payer};
use errands::Errand;
use migrate::Balance;
use queued::Leave;
pub(crate) use queued::{QueuedVcpu, room_for_vcpus};
pub(crate) use switch::load_no_translation;

/// Slices in a second: 5 ms each.
const SLICES_PER_SECOND: u64 = 200;
/// Unfinished console lines are passed on after this part of a second: 2 ms.
const FLUSHES_PER_SECOND: u64 = 500;

/// What follows an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterExit {
    /// The guest goes on at once.
    GoOn,
    /// The guest goes on; the CPU's next deadline may have changed.
    Replan,
    /// The vCPU is to be unloaded.
    Leave(Leave),
}

/// One physical CPU.
pub(crate) struct Pcpu {
    index: PcpuId,
    shared: &'static Shared,
    /// Those of all CPUs.
    all: &'static [Shared],
    gic: CpuInterface,
    interface: Interface,
    features: Features,
    switch: SwitchOrder,
    /// VTCR_EL2 for tables without a translation.
    empty_vtcr: u64,
    vmids: &'static SpinMutex<Vmids>,
    virtual_timer: Intid,
    hypervisor_timer: Intid,
    maintenance: Intid,
    uart: Option<Intid>,
    /// The VM whose stage 2 is loaded.
    translation: Option<VmId>,
    debug: Debug,
    queued: Vec<Option<QueuedVcpu>>,
    queue: RunQueue,
    /// What is due when for each vCPU.
    deadlines: Deadlines,
    account: Account,
    /// The user asks what the vCPUs here do.
    is_asked: bool,
    /// The vCPU whose floating-point registers are on this CPU.
    fp_owner: Option<RunQueueIndex>,
    /// What CNTHP is set to.
    programmed: u64,
    /// When the loaded vCPU's physical timer was last brought to its line.
    lines_updated_at: u64,
    /// When a device of the loaded vCPU's VM is to be told the time.
    alarm: u64,
    flush_delay: u64,
    /// For what virtio devices move; empty until there are any.
    buffer: Vec<u8>,
    balance: Balance,
}

impl Pcpu {
    /// This CPU, which is set up, without a vCPU.
    pub(crate) fn new(cpu: CpuUp, board: &Board, vmids: &'static SpinMutex<Vmids>) -> Self {
        let CpuUp { index, shared, gic, interface, features, switch, empty_vtcr, debug } = cpu;
        let frequency = CntfrqEl0.read().max(1);
        Self {
            index,
            shared,
            all: percpu::all(),
            gic,
            interface,
            features,
            switch,
            empty_vtcr,
            vmids,
            virtual_timer: board.timer.virtual_timer,
            hypervisor_timer: board.timer.hypervisor_timer,
            maintenance: board.gic.maintenance,
            uart: board.uart.and_then(|uart| uart.intid),
            translation: None,
            debug,
            queued: Vec::new(),
            queue: RunQueue::new(NonZeroU64::new(frequency / SLICES_PER_SECOND).unwrap_or(NonZeroU64::MIN)),
            deadlines: Deadlines::new(),
            account: Account::new(),
            is_asked: false,
            fp_owner: None,
            programmed: NEVER,
            lines_updated_at: 0,
            alarm: NEVER,
            flush_delay: frequency / FLUSHES_PER_SECOND,
            buffer: Vec::new(),
            balance: Balance::new(frequency),
        }
    }

    /// The loop.
    pub(crate) fn run(mut self) -> ! {
        loop {
            if self.shared.requests.is_pending() {
                self.handle_requests(None);
                if mem::take(&mut self.is_asked) {
                    self.tell_vcpus(None);
                }
            }
            self.balance();
            match self.queue.pick(now()) {
                Some(pick) => self.run_vcpu(pick.id, pick.slice_end),
                None => self.idle(),
            }
        }
    }

    /// Nobody wants to run: sleeps until an interrupt, unless there is work.
    fn idle(&mut self) {
        self.account.close(&mut self.queue);
        console::drain();
        self.shared.note_idle();
        if !self.shared.requests.is_pending() {
            self.program_timer(None);
            barrier::dsb_sy();
            barrier::wfi();
        }
        self.shared.note_busy();
        self.serve_interrupts(CpuInterface::acknowledge(), None);
        self.account.forgive();
    }

    /// Loads a vCPU and runs it until there is a reason to unload it.
    #[inline(always)]
    fn run_vcpu(&mut self, id: RunQueueIndex, slice_end: Option<u64>) {
        let Some(Some(queued)) = self.queued.get(id.index()) else {
            invariant!("the run queue has vCPUs only")
        };
        let handle = Arc::clone(&queued.handle);
        let vcpu = queued.vcpu;
        if queued.is_requested && self.see_to(id, &handle) == Errand::IsAll {
            self.account.close(&mut self.queue);
            self.account.payer = Payer::Left(id);
            return;
        }
        let Some(mutex) = handle.vcpus.get(vcpu.index()) else { invariant!("a queued vCPU is its VM's") };
        let mut vcpu = mutex.lock();
        let leave = match self.load(id, &handle, &vcpu) {
            VmStatus::Running => {
                self.account.close(&mut self.queue);
                self.stay(id, &handle, &mut vcpu, slice_end)
            }
            VmStatus::Paused => Leave::Paused,
            VmStatus::Stopping => Leave::Stopped,
        };
        let is_displaced = leave == Leave::Preempted && self.queue.is_contested();
        if is_displaced {
            // Whoever takes its place pays for that.
            self.account.charge(&mut self.queue, id);
        }
        let unloaded = self.unload(&handle, &mut vcpu);
        match leave {
            Leave::Waits(until) => {
                self.account.payer = Payer::Left(id);
                let _ = self.wait(id, &vcpu, unloaded, until);
            }
            Leave::Preempted if is_displaced => {}
            Leave::Preempted => self.account.charge(&mut self.queue, id),
            _ => self.leave(id, &handle, &mut vcpu, unloaded, leave),
        }
    }

    /// The loop of a loaded vCPU: enter, exit, serve, until it has to leave.
    fn stay(
        &mut self,
        id: RunQueueIndex,
        handle: &VmHandle,
        vcpu: &mut Vcpu,
        slice_end: Option<u64>,
    ) -> Leave {
        let mut slice_end = slice_end.unwrap_or(NEVER);
        // What has to be done before the next entry: look at the list registers, and at timer and traps.
        let (mut refresh, mut replan) = (false, true);
        let Some(constants) = handle.constants.get(vcpu.id.index()) else {
            invariant!("each vCPU has constants")
        };
        if handle.devices.is_due() {
            self.work(id, handle);
        }
        loop {
            if self.shared.requests.is_pending() {
                let is_requested = self.handle_requests(Some(id));
                if mem::take(&mut self.is_asked) {
                    self.tell_vcpus(Some((id, vcpu)));
                }
                if is_requested && handle.devices.is_due() {
                    self.work(id, handle);
                }
                refresh |= is_requested;
                replan = true;
                let Some(end) = self.goes_on(id, slice_end) else { return Leave::Preempted };
                slice_end = end;
            }
            if core::mem::take(&mut refresh) {
                match self.refresh(handle, vcpu) {
                    VmStatus::Running => {}
                    VmStatus::Paused => return Leave::Paused,
                    VmStatus::Stopping => return Leave::Stopped,
                }
            }
            if core::mem::take(&mut replan) {
                self.program_timer(Some((vcpu, slice_end)));
                self.set_hcr(vcpu);
                // All that this round has done since it looked, to devices, list registers or new VMs, has led here.
                self.shared.kick_if_pending();
            }
            let (frame, fast) = vcpu.for_entry(constants, &handle.vm);
            let (cause, acknowledged) = world::enter(
                frame,
                fast,
                EntryContext {
                    lists: &mut self.interface,
                    siblings: SiblingsOfVm { handle, cpu: self.index, all: self.all },
                    requests: &self.shared.requests,
                    index: id,
                    virtual_timer: self.virtual_timer,
                },
            );
            if vcpu.virtual_serror {
                vcpu.virtual_serror = features::has_virtual_serror();
            }
            let exit = match cause {
                Cause::Interrupt => {
                    refresh |= self.serve_interrupts(acknowledged, Some((handle, vcpu)));
                    replan = true;
                    let Some(end) = self.goes_on(id, slice_end) else { return Leave::Preempted };
                    slice_end = end;
                    continue;
                }
                Cause::Synchronous => {
                    let esr = EsrEl2.read();
                    vcpu.recent.push(esr, vcpu.registers.frame.pc);
                    if fast::wait(vcpu, esr) {
                        return Leave::Waits(None);
                    }
                    Exit::decode(esr, FarEl2.read(), HpfarEl2.read())
                }
                Cause::SystemError => {
                    replan = true;
                    Exit::SError(Syndrome(EsrEl2.read()))
                }
            };
            match self.serve(id, handle, vcpu, exit) {
                AfterExit::GoOn => {}
                AfterExit::Replan => replan = true,
                AfterExit::Leave(leave) => return leave,
            }
        }
    }

    /// Others may have woken: says until when the vCPU that runs now goes on, if at all.
    fn goes_on(&mut self, id: RunQueueIndex, slice_end: u64) -> Option<u64> {
        let now = now();
        // A slice that is over is charged for before the next one is given.
        if now >= slice_end {
            return None;
        }
        let pick = self.queue.keep(now).filter(|pick| pick.id == id)?;
        Some(slice_end.min(pick.slice_end.unwrap_or(NEVER)))
    }

    /// Serves one exit.
    fn serve(&mut self, id: RunQueueIndex, handle: &VmHandle, vcpu: &mut Vcpu, exit: Exit) -> AfterExit {
        let mut host = ExitHost::new(handle, &mut self.interface, &mut self.debug);
        let resume = vambrace_machine::handle(&handle.vm, vcpu, exit, &mut host);
        let (flush, work, doorbells) = host.finish(vcpu);
        doorbells.notify(handle);
        if flush == ConsoleFlush::Soon {
            self.flush_soon(id);
        }
        if work == Work::Due {
            self.work(id, handle);
        }
        match resume {
            Resume::Guest if flush == ConsoleFlush::Soon || work == Work::Due => AfterExit::Replan,
            Resume::Guest => AfterExit::GoOn,
            Resume::LoadFp => {
                self.take_fp(id, vcpu);
                AfterExit::GoOn
            }
            Resume::Wait(until) => AfterExit::Leave(Leave::Waits(until)),
            Resume::Yield => AfterExit::Leave(Leave::Yields),
            Resume::Suspend(entry) => AfterExit::Leave(Leave::Suspends(entry)),
            Resume::Off => AfterExit::Leave(Leave::Off),
            Resume::Stop => {
                let _ = handle.goes_on(&handle.vm.lock());
                handle.notify_all();
                if handle.lifecycle.get().stop_reason() == Some(StopReason::Crash) {
                    self.report_crash(handle, vcpu);
                }
                AfterExit::Leave(Leave::Stopped)
            }
        }
    }

    /// Tells what a VM died of.
    fn report_crash(&self, handle: &VmShared, vcpu: &mut Vcpu) {
        sysreg_context::save_el1(&mut vcpu.registers.el1);
        let esr = EsrEl2.read();
        report::crash(&handle.vm.lock(), vcpu, esr, |line| {
            let text = console::one_line(line);
            console::tell_of(handle.id, |vm| FromHypervisor::Report { vm, text: &text });
        });
    }
}

/// The physical count.
fn now() -> u64 {
    CntpctEl0.read()
}
