// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fail-stop: what cannot be stops the board with a report, since with it the VMs' isolation might go.
//!
//! Only what is proven impossible is an invariant. What a guest, a late request or a VM that is gone can bring about is an
//! early return, with its reason beside it.

/// Stops the board unless a condition holds, or, without one, in any case. The text says why it always holds; it is short, as
/// it is in the image.
#[macro_export]
macro_rules! invariant {
    ($why:literal) => {
        $crate::invariant::broken($why)
    };
    ($condition:expr, $why:literal) => {
        if !$condition {
            $crate::invariant::broken($why)
        }
    };
}

/// Something that [`invariant!`](crate::invariant!) says does not hold: the panic handler reports it and stops the board.
///
/// # Panics
/// Always.
#[cold]
#[inline(never)]
#[track_caller]
pub fn broken(why: &'static str) -> ! {
    panics(why)
}

#[track_caller]
#[expect(clippy::panic, reason = "this is the one place where EL2 gives up by its own decision")]
fn panics(why: &'static str) -> ! {
    panic!("not so: {why}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_holds_goes_on() {
        invariant!(1 + 1 == 2, "sums are sums");
    }

    #[test]
    #[should_panic(expected = "not so: sums are sums")]
    fn what_does_not_hold_stops_and_says_why() {
        invariant!(1 + 1 == 3, "sums are sums");
    }

    #[test]
    #[should_panic(expected = "not so: there is always one")]
    fn a_place_that_cannot_be_reached_says_why() {
        let none: Option<u8> = None;
        let Some(_) = none else { invariant!("there is always one") };
    }
}
