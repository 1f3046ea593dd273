// SPDX-License-Identifier: MIT OR Apache-2.0
//! A page of a VM's RAM that is replaced by another, again and again, while the VM runs.
//!
//! It shows that stage 2 can be edited under running vCPUs. Between two steps of a vCPU it runs for as long as a step takes. A page
//! that has been taken away is kept for that time, and nobody may write to it: a TLB that still led there would show.

use core::sync::atomic::{AtomicBool, Ordering};

use vambrace_hypervisor::invariant;
use vambrace_hypervisor::memory::pool::Contents;
use vambrace_hypervisor::memory::regions::From;
use vambrace_memory::PaRange;
use vambrace_memory::addr::PAGE_SIZE;
use vambrace_wire::message::FromHypervisor;

use crate::arch::clear::clear;
use crate::arch::lock::SpinMutex;
use crate::vm::guest_memory::edit::{EditError, Stage2Loaded};
use crate::vm::registry;
use crate::vm::shared::VmShared;
use crate::{console, memory};

/// What is left to do with a VM's page.
#[derive(Debug)]
pub(crate) struct PageCycle {
    /// There is something left. Changed under the lock of `steps` only.
    is_asked: AtomicBool,
    steps: SpinMutex<Option<Steps>>,
}

#[derive(Debug)]
struct Steps {
    /// The page's number in the RAM.
    page: u32,
    /// How often it is to be replaced yet.
    left: u32,
    /// How often it has been.
    done: u32,
    /// What has been taken away and not been replaced yet.
    away: Option<PaRange>,
}

impl PageCycle {
    /// Nothing is to be done.
    pub(crate) const fn new() -> Self {
        Self { is_asked: AtomicBool::new(false), steps: SpinMutex::new(None) }
    }

    /// Whether there is something left to do.
    #[inline]
    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }
}

impl Steps {
    const fn offset(&self) -> u64 {
        self.page as u64 * PAGE_SIZE
    }
}

impl VmShared {
    /// Asks that a page of the VM's RAM be replaced so many times. What was asked before has to be over.
    pub(crate) fn ask_to_replace(&self, page: u32, times: u32) {
        // Whoever holds the lock does a step, and is not waited for.
        let Some(mut steps) = self.pages.steps.try_lock().filter(|steps| steps.is_none()) else {
            console::warn_of(self.id, format_args!("{}: a page is being replaced", registry::name(self.id)));
            self.tell_replaced(0);
            return;
        };
        *steps = Some(Steps { page, left: times, done: 0, away: None });
        self.pages.is_asked.store(true, Ordering::Release);
        drop(steps);
        self.kick_worker();
    }

    fn tell_replaced(&self, times: u32) {
        console::tell_of(self.id, |vm| FromHypervisor::Replaced { vm, times });
    }

    /// Takes the page away, or replaces it if it is away.
    pub(crate) fn cycle_page(&self, loaded: &Stage2Loaded) {
        let mut steps = self.pages.steps.lock();
        // Another vCPU has done the last step.
        let Some(now) = steps.as_mut() else { return };
        let result = match now.away {
            None if now.left == 0 => Ok(()),
            None => self.memory.take_page(now.offset(), loaded).map(|page| now.away = Some(page)),
            Some(away) => self.replace(now, away),
        };
        if result.is_ok() && (now.left > 0 || now.away.is_some()) {
            return;
        }
        let done = now.done;
        self.bring_back(now);
        *steps = None;
        self.pages.is_asked.store(false, Ordering::Relaxed);
        drop(steps);
        if let Err(error) = result {
            let name = registry::name(self.id);
            console::warn_of(self.id, format_args!("{name}: its page cannot be replaced: {error}"));
        }
        self.tell_replaced(done);
    }

    fn replace(&self, steps: &mut Steps, away: PaRange) -> Result<(), EditError> {
        let (page, contents) =
            memory::take_for_vm(PAGE_SIZE, PAGE_SIZE, From::Bottom).ok_or(EditError::OutOfMemory)?;
        if contents == Contents::Unknown {
            // SAFETY: EL2 maps all RAM, and the page is nobody's but ours since a moment ago.
            unsafe { clear(page) };
        }
        if let Err(error) = self.memory.give_page(steps.offset(), page) {
            memory::give_back(page, Contents::Zeros);
            return Err(error);
        }
        if memory::is_clear(away) {
            memory::give_back(away, Contents::Zeros);
        } else {
            // Who has written there may do so again: nobody gets it.
            let name = registry::name(self.id);
            console::warn_of(
                self.id,
                format_args!("{name} has written to {away}, which was taken away from it and is lost"),
            );
        }
        steps.away = None;
        steps.left = steps.left.saturating_sub(1);
        steps.done = steps.done.saturating_add(1);
        Ok(())
    }

    /// A VM that stops has all its RAM.
    pub(crate) fn stop_page_cycle(&self) {
        let mut steps = self.pages.steps.lock();
        self.pages.is_asked.store(false, Ordering::Relaxed);
        if let Some(mut steps) = steps.take() {
            self.bring_back(&mut steps);
            self.tell_replaced(steps.done);
        }
    }

    fn bring_back(&self, steps: &mut Steps) {
        if let Some(away) = steps.away.take() {
            let given = self.memory.give_page(steps.offset(), away);
            invariant!(given.is_ok(), "a page goes back to where it was in list and tables");
        }
    }
}
