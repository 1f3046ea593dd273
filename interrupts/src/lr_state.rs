// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a vCPU's list registers stand towards the model.
//!
//! ```text
//!             flush               note_change
//!   Synced ──────────► Current ───────────────► Outdated
//!                       │   ▲
//!                   put │   │ load
//!                       ▼   │     note_change
//!                     PutCurrent ─────────────► PutOutdated
//! ```
//!
//! Sync leads back to `Synced` from everywhere. An SGI that becomes pending is no such change: it is noted apart, since it can
//! often be queued alone.

use serde::{Deserialize, Serialize};

/// The state of a vCPU's list registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LrState {
    /// Nothing is queued: the model has all the state.
    Synced,
    /// They hold what was queued, and nothing has changed since but pending SGIs.
    Current,
    /// They hold what was queued, and something has changed in the model since.
    Outdated,
    /// The vCPU was put with its list registers kept, and nothing has changed since but pending SGIs.
    PutCurrent,
    /// The vCPU was put with its list registers kept, and something has changed in the model since.
    PutOutdated,
}

impl LrState {
    /// Whether interrupts are queued that no sync has taken back.
    #[inline(always)]
    pub(crate) const fn is_flushed(self) -> bool {
        !matches!(self, Self::Synced)
    }

    /// Whether the vCPU was put with its list registers kept.
    #[inline(always)]
    pub(crate) const fn is_put(self) -> bool {
        matches!(self, Self::PutCurrent | Self::PutOutdated)
    }

    /// Whether the list registers hold what was queued, and nothing has changed since but pending SGIs.
    #[inline(always)]
    pub(crate) const fn is_current(self) -> bool {
        matches!(self, Self::Current | Self::PutCurrent)
    }

    /// The interrupts were chosen and queued.
    pub(crate) const fn flush(&mut self) {
        *self = Self::Current;
    }

    /// The interrupts were taken back.
    pub(crate) const fn sync(&mut self) {
        *self = Self::Synced;
    }

    /// Something has changed in the model that the list registers may have to show.
    #[inline(always)]
    pub(crate) const fn note_change(&mut self) {
        *self = match *self {
            Self::Synced => Self::Synced,
            Self::Current | Self::Outdated => Self::Outdated,
            Self::PutCurrent | Self::PutOutdated => Self::PutOutdated,
        };
    }

    /// The vCPU leaves its CPU with its list registers kept: [`Self::is_current`] holds.
    #[inline(always)]
    pub(crate) const fn put(&mut self) {
        if let Self::Current = *self {
            *self = Self::PutCurrent;
        }
    }

    /// The vCPU comes to a CPU. False if there is nothing that could be loaded as it was kept.
    #[inline(always)]
    pub(crate) const fn load(&mut self) -> bool {
        if let Self::PutCurrent = *self {
            *self = Self::Current;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::LrState::{self, Current, Outdated, PutCurrent, PutOutdated, Synced};

    const ALL: [LrState; 5] = [Synced, Current, Outdated, PutCurrent, PutOutdated];

    fn after(mut state: LrState, transition: impl FnOnce(&mut LrState)) -> LrState {
        transition(&mut state);
        state
    }

    #[test]
    fn a_change_is_never_forgotten_before_a_sync() {
        for state in ALL {
            let changed = after(state, LrState::note_change);
            assert!(!changed.is_current());
            assert_eq!((changed.is_flushed(), changed.is_put()), (state.is_flushed(), state.is_put()));
            assert_eq!(after(changed, LrState::put), changed);
            assert!(!after(changed, |state| assert!(!state.load())).is_current());
            assert_eq!(after(changed, LrState::sync), Synced);
        }
    }

    #[test]
    fn load_undoes_put() {
        let mut state = after(Synced, LrState::flush);
        state.put();
        assert!(state.is_put() && state.is_flushed() && state.is_current());
        assert!(state.load() && state == Current);
        assert!(!state.load(), "it is loaded");
    }
}
