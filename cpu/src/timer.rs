// SPDX-License-Identifier: MIT OR Apache-2.0
//! The generic timers of a vCPU.
//!
//! The virtual timer is the hardware's own and only needs to be watched while its vCPU is not loaded
//! ([`virtual_deadline`]). The EL1 physical timer is emulated ([`PhysicalTimer`]): EL2 uses the hardware's.
//! All times are counts of the system counter, 64 bits wide. Source: Arm ARM, "The Generic Timer".

use serde::{Deserialize, Serialize};

/// CTL.ENABLE.
const ENABLE: u64 = 1 << 0;
/// CTL.IMASK.
const IMASK: u64 = 1 << 1;
/// CTL.ISTATUS, read only.
const ISTATUS: u64 = 1 << 2;

/// An emulated EL1 physical timer. `now` is CNTPCT_EL0 throughout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhysicalTimer {
    /// CNTP_CTL_EL0, without ISTATUS.
    control: u64,
    /// CNTP_CVAL_EL0.
    compare: u64,
}

impl PhysicalTimer {
    /// CNTP_CTL_EL0. ISTATUS is UNKNOWN while the timer is disabled, and then reads as zero.
    #[must_use]
    pub const fn control(&self, now: u64) -> u64 {
        if self.control & ENABLE != 0 && now >= self.compare { self.control | ISTATUS } else { self.control }
    }

    /// Writes CNTP_CTL_EL0.
    pub const fn set_control(&mut self, value: u64) {
        self.control = value & (ENABLE | IMASK);
    }

    /// CNTP_CVAL_EL0.
    #[must_use]
    pub const fn compare(&self) -> u64 {
        self.compare
    }

    /// Writes CNTP_CVAL_EL0.
    pub const fn set_compare(&mut self, value: u64) {
        self.compare = value;
    }

    /// CNTP_TVAL_EL0: how far away the compare value is, 32 bits.
    #[must_use]
    pub const fn timer_value(&self, now: u64) -> u64 {
        self.compare.wrapping_sub(now) & 0xFFFF_FFFF
    }

    /// Writes CNTP_TVAL_EL0, a signed distance of 32 bits from now.
    pub const fn set_timer_value(&mut self, value: u64, now: u64) {
        self.compare = now.wrapping_add_signed(value as i32 as i64);
    }

    /// Whether the timer asserts its interrupt.
    #[must_use]
    pub const fn line(&self, now: u64) -> bool {
        asserted(self.control, self.compare, now)
    }

    /// The count at which [`line`](Self::line) becomes true; in the past when it is true. `None`: never, as
    /// things are.
    #[must_use]
    pub const fn deadline(&self) -> Option<u64> {
        if self.control & (ENABLE | IMASK) == ENABLE { Some(self.compare) } else { None }
    }
}

/// Whether the virtual timer with these registers asserts its interrupt when CNTPCT_EL0 is `now`.
#[must_use]
pub const fn virtual_line(cntv_ctl: u64, cntv_cval: u64, cntvoff: u64, now: u64) -> bool {
    asserted(cntv_ctl, cntv_cval, now.wrapping_sub(cntvoff))
}

/// Whether a timer asserts its interrupt whose control register, as the hardware has it, reads so.
#[must_use]
pub const fn is_asserted(control: u64) -> bool {
    control & (ENABLE | IMASK | ISTATUS) == ENABLE | ISTATUS
}

/// When, in counts of CNTPCT_EL0, a virtual timer wakes its vCPU; `now` when its interrupt is asserted
/// already. `None`: never, as things are, or only after the counter wraps.
#[must_use]
pub const fn virtual_deadline(cntv_ctl: u64, cntv_cval: u64, cntvoff: u64, now: u64) -> Option<u64> {
    if cntv_ctl & (ENABLE | IMASK) != ENABLE {
        return None;
    }
    // Counting from now avoids the sum of compare value and offset, which may wrap either way.
    let virtual_now = now.wrapping_sub(cntvoff);
    now.checked_add(cntv_cval.saturating_sub(virtual_now))
}

const fn asserted(control: u64, compare: u64, count: u64) -> bool {
    control & (ENABLE | IMASK) == ENABLE && count >= compare
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timer(control: u64, compare: u64) -> PhysicalTimer {
        let mut timer = PhysicalTimer::default();
        timer.set_control(control);
        timer.set_compare(compare);
        timer
    }

    #[test]
    fn it_fires_at_its_compare_value_and_not_before() {
        let timer = timer(ENABLE, 100);
        assert!(!timer.line(99) && timer.line(100) && timer.line(u64::MAX));
        assert_eq!((timer.control(99), timer.control(100)), (ENABLE, ENABLE | ISTATUS));
        assert_eq!(timer.deadline(), Some(100));
    }

    #[test]
    fn a_masked_timer_shows_its_status_and_asserts_nothing() {
        let timer = timer(ENABLE | IMASK, 100);
        assert_eq!(timer.control(100), ENABLE | IMASK | ISTATUS);
        assert!(!timer.line(100));
        assert_eq!(timer.deadline(), None);
    }

    #[test]
    fn a_disabled_timer_does_nothing() {
        let timer = timer(0, 0);
        assert_eq!((timer.control(5), timer.line(5), timer.deadline()), (0, false, None));
    }

    #[test]
    fn istatus_and_reserved_bits_cannot_be_written() {
        let timer = timer(u64::MAX, u64::MAX);
        assert_eq!(timer.control(0), ENABLE | IMASK);
    }

    #[test]
    fn the_timer_value_is_signed() {
        let mut timer = timer(ENABLE, 0);
        timer.set_timer_value(0xFFFF_FFFF_0000_0010, 1000);
        assert_eq!(timer.compare(), 1016);
        timer.set_timer_value(0xFFFF_FFFF, 1000);
        assert_eq!(timer.compare(), 999);
        assert_eq!(timer.timer_value(1000), 0xFFFF_FFFF);
        // A distance that does not fit is cut.
        timer.set_compare(1 << 40);
        assert_eq!(timer.timer_value(1), 0xFFFF_FFFF);
    }

    #[test]
    fn the_virtual_deadline_takes_the_offset_into_account() {
        assert_eq!(virtual_deadline(ENABLE, 50, 1000, 1020), Some(1050));
        assert_eq!(virtual_deadline(ENABLE, 10, 1000, 1020), Some(1020), "already asserted");
        assert_eq!(virtual_deadline(ENABLE | IMASK, 50, 1000, 1020), None);
        assert_eq!(virtual_deadline(0, 50, 1000, 1020), None);
        assert_eq!(virtual_deadline(ENABLE, u64::MAX, 1000, 1020), None, "past the counter's end");
        // The guest's count is ahead of the hardware's: the offset is a negative number.
        assert_eq!(virtual_deadline(ENABLE, 600, 0u64.wrapping_sub(500), 20), Some(100));
    }

    proptest! {
        #[test]
        fn the_line_is_asserted_from_the_deadline_on(
            control in 0u64..8, compare: u64, offset: u64, now: u64, later: u64
        ) {
            match virtual_deadline(control, compare, offset, now) {
                Some(deadline) => {
                    prop_assert!(deadline >= now);
                    prop_assert!(virtual_line(control, compare, offset, deadline));
                    if deadline > now {
                        prop_assert!(!virtual_line(control, compare, offset, deadline - 1));
                    }
                }
                None => {
                    let then = now.saturating_add(later);
                    let wrapped = then.wrapping_sub(offset) < now.wrapping_sub(offset);
                    prop_assert!(wrapped || !virtual_line(control, compare, offset, then));
                }
            }
        }

        #[test]
        fn the_timer_value_reads_back(value: u32, now: u64) {
            let mut timer = PhysicalTimer::default();
            timer.set_timer_value(value.into(), now);
            prop_assert_eq!(timer.timer_value(now), u64::from(value));
        }

        #[test]
        fn the_physical_line_follows_the_deadline(control in 0u64..4, compare: u64, now: u64) {
            let timer = timer(control, compare);
            prop_assert_eq!(timer.line(now), timer.deadline().is_some_and(|deadline| now >= deadline));
        }
    }
}
