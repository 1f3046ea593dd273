// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM's lifecycle: its states, and all that leads from one to another.
//!
//! ```text
//!            start            pause             note_paused
//!  Created ────────► Running ───────► Pausing ──────────────► Paused
//!     ▲                 ▲                │ resume                │
//!     │                 ├────────────────┴───────────────────────┘
//!     │ restart         │
//!     │                 ▼ stop: from each of these
//!     └───────────── Stopping(reason) ───────────► Stopped(reason)
//!                                         end
//! ```
//!
//! A VM is *live* from its start until it is to stop: Running, Pausing or Paused. What comes for a VM that is live is kept for
//! it; what comes for another is lost, as it would be for a computer that is off.

use serde::{Deserialize, Serialize};
use vambrace_wire::message::ResetCause;

use crate::vm::Vm;

/// How a VM ends, or begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopReason {
    /// It powered itself off, or was switched off.
    Off,
    /// It is reset: it starts again once all its vCPUs have stopped.
    Reset(ResetCause),
    /// It did what no VM can survive.
    Crash,
}

impl StopReason {
    const fn to_bits(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Reset(ResetCause::Asked) => 1,
            Self::Reset(ResetCause::Watchdog) => 2,
            Self::Crash => 3,
        }
    }

    const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Off,
            1 => Self::Reset(ResetCause::Asked),
            2 => Self::Reset(ResetCause::Watchdog),
            _ => Self::Crash,
        }
    }
}

/// The state of a VM as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifecycle {
    /// It exists, and its memory is being filled. All its vCPUs are off.
    Created,
    /// Its vCPUs may run.
    Running,
    /// Its vCPUs are to leave their physical CPUs. Its devices do nothing from now on.
    Pausing,
    /// Nothing of it moves: no vCPU, no device, no timer.
    Paused,
    /// Its vCPUs are to halt; the last one to do so carries the stop out.
    Stopping(StopReason),
    /// It is over.
    Stopped(StopReason),
}

/// A VM's state does not allow what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("that cannot be done to a VM that is {}", name(*.0))]
pub struct WrongState(
    /// Its state.
    pub Lifecycle,
);

const fn name(state: Lifecycle) -> &'static str {
    match state {
        Lifecycle::Created => "being started",
        Lifecycle::Running => "running",
        Lifecycle::Pausing | Lifecycle::Paused => "paused",
        Lifecycle::Stopping(_) => "stopping",
        Lifecycle::Stopped(_) => "over",
    }
}

impl Lifecycle {
    /// Whether it has started and is not to stop.
    #[inline]
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Pausing | Self::Paused)
    }

    /// Whether its vCPUs are to be unloaded, and to come back.
    #[inline]
    #[must_use]
    pub const fn is_paused(self) -> bool {
        matches!(self, Self::Pausing | Self::Paused)
    }

    /// How it stops or has stopped, if it does.
    #[inline]
    #[must_use]
    pub const fn stop_reason(self) -> Option<StopReason> {
        match self {
            Self::Stopping(reason) | Self::Stopped(reason) => Some(reason),
            Self::Created | Self::Running | Self::Pausing | Self::Paused => None,
        }
    }

    /// Its memory is filled: it runs.
    ///
    /// # Errors
    /// [`WrongState`] unless it is [`Lifecycle::Created`]: it may be to stop by now.
    pub const fn start(&mut self) -> Result<(), WrongState> {
        match *self {
            Self::Created => self.enter(Self::Running),
            state => Err(WrongState(state)),
        }
    }

    /// It is to pause.
    ///
    /// # Errors
    /// [`WrongState`] unless it is [`Lifecycle::Running`].
    pub const fn pause(&mut self) -> Result<(), WrongState> {
        match *self {
            Self::Running => self.enter(Self::Pausing),
            state => Err(WrongState(state)),
        }
    }

    /// All its vCPUs are unloaded.
    ///
    /// # Errors
    /// [`WrongState`] unless it is [`Lifecycle::Pausing`].
    pub const fn note_paused(&mut self) -> Result<(), WrongState> {
        match *self {
            Self::Pausing => self.enter(Self::Paused),
            state => Err(WrongState(state)),
        }
    }

    /// It goes on.
    ///
    /// # Errors
    /// [`WrongState`] unless it is paused, or about to be.
    pub const fn resume(&mut self) -> Result<(), WrongState> {
        match *self {
            Self::Pausing | Self::Paused => self.enter(Self::Running),
            state => Err(WrongState(state)),
        }
    }

    /// It is to stop. The first reason stands.
    pub const fn stop(&mut self, reason: StopReason) {
        if self.stop_reason().is_none() {
            *self = Self::Stopping(reason);
        }
    }

    /// It begins anew. No vCPU of it is on.
    pub const fn restart(&mut self) {
        *self = Self::Created;
    }

    /// All its vCPUs have halted: it is over.
    ///
    /// # Errors
    /// [`WrongState`] unless it stops, and for good.
    pub const fn end(&mut self) -> Result<(), WrongState> {
        match *self {
            Self::Stopping(reason @ (StopReason::Off | StopReason::Crash)) => {
                self.enter(Self::Stopped(reason))
            }
            state => Err(WrongState(state)),
        }
    }

    const fn enter(&mut self, state: Self) -> Result<(), WrongState> {
        *self = state;
        Ok(())
    }

    /// As one byte, for those who read it without the VM's lock.
    #[inline]
    #[must_use]
    pub const fn to_bits(self) -> u8 {
        match self {
            Self::Running => 0,
            Self::Created => 1,
            Self::Pausing => 2,
            Self::Paused => 3,
            Self::Stopping(reason) => STOPPING | reason.to_bits(),
            Self::Stopped(reason) => STOPPED | reason.to_bits(),
        }
    }

    /// What [`Lifecycle::to_bits`] gave; of another byte a VM that has crashed, the state in which nothing of it runs.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Running,
            1 => Self::Created,
            2 => Self::Pausing,
            3 => Self::Paused,
            _ => {
                let reason = StopReason::from_bits(bits & 0xF);
                if bits & 0xF0 == STOPPING { Self::Stopping(reason) } else { Self::Stopped(reason) }
            }
        }
    }
}

/// The time of a VM's virtual counter, in counts of the machine's physical one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VirtualTime {
    /// CNTVOFF_EL2: the physical count at which the VM last started, and for how long it was paused since.
    offset: u64,
    /// The physical count at which it was paused last.
    paused_at: u64,
}

/// With a [`StopReason`] in the lower bits.
const STOPPING: u8 = 0x10;
const STOPPED: u8 = 0x20;

/// The lifecycle of a VM. Whoever changes it tells those who read it without the VM's lock.
impl Vm {
    /// The state of the VM as a whole.
    #[inline]
    #[must_use]
    pub const fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }

    /// CNTVOFF_EL2 of its vCPUs.
    #[inline]
    #[must_use]
    pub const fn time_offset(&self) -> u64 {
        self.time.offset
    }

    /// The VM runs: its first vCPU is on, and starts when its physical CPU next looks. Its virtual counter begins at 0; `now` is the
    /// physical count.
    ///
    /// # Errors
    /// See [`Lifecycle::start`].
    pub fn start(&mut self, now: u64) -> Result<(), WrongState> {
        self.lifecycle.start()?;
        self.time.offset = now;
        self.power_on();
        Ok(())
    }

    /// The VM is to pause: its devices do nothing from now on, and its vCPUs are unloaded.
    ///
    /// # Errors
    /// See [`Lifecycle::pause`].
    pub fn pause(&mut self) -> Result<(), WrongState> {
        self.lifecycle.pause()
    }

    /// All vCPUs of the VM are unloaded, the last of them by now: its virtual counter stands still. `now` is the physical count.
    ///
    /// # Errors
    /// See [`Lifecycle::note_paused`].
    pub fn note_paused(&mut self, now: u64) -> Result<(), WrongState> {
        self.lifecycle.note_paused()?;
        self.time.paused_at = now;
        Ok(())
    }

    /// The VM goes on, and its virtual counter from where it stood; `now` is the physical count. Its vCPUs are to be notified, and
    /// its devices to be polled.
    ///
    /// # Errors
    /// See [`Lifecycle::resume`].
    pub fn resume(&mut self, now: u64) -> Result<(), WrongState> {
        let was_paused = self.lifecycle == Lifecycle::Paused;
        self.lifecycle.resume()?;
        if was_paused {
            // The physical count may be that of another machine than the one on which it was paused.
            self.time.offset = self.time.offset.wrapping_add(now.wrapping_sub(self.time.paused_at));
        }
        // It says nothing while the VM runs, and is no difference between two VMs.
        self.time.paused_at = 0;
        Ok(())
    }

    /// Begins the VM's end: from now on none of its vCPUs enters the guest again. The first reason stands.
    pub fn stop(&mut self, reason: StopReason) {
        self.lifecycle.stop(reason);
    }

    /// All vCPUs of the VM have halted, and it does not begin anew.
    ///
    /// # Errors
    /// See [`Lifecycle::end`].
    pub fn end(&mut self) -> Result<(), WrongState> {
        self.lifecycle.end()
    }
}

#[cfg(test)]
mod tests {
    use super::Lifecycle::{self, Created, Paused, Pausing, Running, Stopped, Stopping};
    use super::StopReason::{Crash, Off, Reset};
    use super::{ResetCause, WrongState};

    const ALL: [Lifecycle; 12] = [
        Created,
        Running,
        Pausing,
        Paused,
        Stopping(Off),
        Stopping(Reset(ResetCause::Asked)),
        Stopping(Reset(ResetCause::Watchdog)),
        Stopping(Crash),
        Stopped(Off),
        Stopped(Reset(ResetCause::Asked)),
        Stopped(Reset(ResetCause::Watchdog)),
        Stopped(Crash),
    ];

    /// Where a transition leads from each state that allows it.
    fn leads(transition: impl Fn(&mut Lifecycle) -> Result<(), WrongState>) -> Vec<(Lifecycle, Lifecycle)> {
        let mut led = Vec::new();
        for before in ALL {
            let mut state = before;
            match transition(&mut state) {
                Ok(()) => led.push((before, state)),
                Err(WrongState(refused)) => assert_eq!((refused, state), (before, before), "nothing changes"),
            }
        }
        led
    }

    #[test]
    fn each_transition_is_allowed_where_it_makes_sense() {
        assert_eq!(leads(Lifecycle::start), [(Created, Running)]);
        assert_eq!(leads(Lifecycle::pause), [(Running, Pausing)]);
        assert_eq!(leads(Lifecycle::note_paused), [(Pausing, Paused)]);
        assert_eq!(leads(Lifecycle::resume), [(Pausing, Running), (Paused, Running)]);
        assert_eq!(leads(Lifecycle::end), [(Stopping(Off), Stopped(Off)), (Stopping(Crash), Stopped(Crash))]);
    }

    #[test]
    fn the_first_reason_to_stop_stands() {
        for before in ALL {
            let mut state = before;
            state.stop(Off);
            match before.stop_reason() {
                None => assert_eq!(state, Stopping(Off)),
                Some(_) => assert_eq!(state, before),
            }
        }
    }

    #[test]
    fn the_virtual_counter_stands_still_from_the_last_vcpus_pause_on() {
        let mut vm = crate::virtio::tests::vm(vec![]);
        let started_at = vm.time_offset();
        vm.pause().expect("it runs");
        vm.note_paused(1000).expect("it is about to pause");
        assert!(vm.resume(1500).is_ok() && vm.resume(1600).is_err());
        assert_eq!(vm.time_offset(), started_at + 500);
        // Its vCPUs have not all left the machine: those that have not see the counter go on.
        vm.pause().expect("it runs");
        vm.resume(9999).expect("it is about to pause");
        assert_eq!(vm.time_offset(), started_at + 500);
        // On a machine whose physical count is behind.
        vm.pause().expect("it runs");
        vm.note_paused(10_000).expect("it is about to pause");
        vm.resume(7).expect("it is paused");
        assert_eq!(7u64.wrapping_sub(vm.time_offset()), 10_000 - 500 - started_at);
    }

    #[test]
    fn a_byte_has_all_of_it() {
        for state in ALL {
            assert_eq!(Lifecycle::from_bits(state.to_bits()), state);
        }
        assert_eq!(Lifecycle::from_bits(0xFF), Stopped(Crash));
    }
}
