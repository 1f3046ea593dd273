// SPDX-License-Identifier: MIT OR Apache-2.0
//! The states of an interrupt: inactive, pending, active, both; with and without separate deactivation.

use super::{EOI_MODE, SPARE, next, nothing, prepare, put_away};
use crate::gic::{self, Trigger};
use crate::timer::{PATIENCE, wait_for};
use crate::cpu;

pub(super) fn without_separate_deactivation() {
    for (name, trigger) in [("edge", Trigger::Edge), ("level", Trigger::Level)] {
        let intid = SPARE.start + 3;
        prepare(intid, 0x60);
        gic::set_trigger(intid, trigger);
        check!(nothing(), "{name}: nothing yet");
        check_eq!(gic::running_priority(), 0xFF, "{name}: idle");
        gic::set_pending(intid, true);
        check!(wait_for(PATIENCE, || gic::highest_pending() == intid), "{name}: the highest pending");
        check_eq!(next(), intid, "{name}: acknowledged");
        check!(!gic::is_pending(intid) && gic::is_active(intid), "{name}: active, not pending");
        check_eq!(gic::running_priority(), 0x60, "{name}: running priority");
        gic::set_pending(intid, true);
        check!(gic::is_pending(intid) && gic::is_active(intid), "{name}: active and pending");
        check!(nothing(), "{name}: not while active");
        gic::end(intid);
        check!(!gic::is_active(intid), "{name}: no longer active");
        check_eq!(next(), intid, "{name}: again");
        gic::end(intid);
        check_eq!(gic::running_priority(), 0xFF, "{name}: idle again");
        check!(nothing(), "{name}: nothing left");
        gic::set_pending(intid, true);
        gic::disable(intid);
        check!(gic::is_pending(intid) && nothing(), "{name}: pending while disabled");
        gic::enable(intid);
        check_eq!(next(), intid, "{name}: once enabled");
        gic::end(intid);
        gic::set_active(intid, true);
        gic::set_pending(intid, true);
        check!(nothing(), "{name}: made active by a write, it waits");
        gic::set_active(intid, false);
        check_eq!(next(), intid, "{name}: made inactive by a write, it comes");
        gic::end(intid);
        gic::set_pending(intid, true);
        gic::set_pending(intid, false);
        check!(nothing(), "{name}: taken back");
        gic::reset_interrupt(intid);
    }
}

pub(super) fn separate_deactivation() {
    let (first, second) = (SPARE.start, SPARE.start + 1);
    write_register!("icc_ctlr_el1", EOI_MODE);
    check_eq!(read_register!("icc_ctlr_el1") & EOI_MODE, EOI_MODE, "EOImode 1");
    prepare(first, 0x80);
    prepare(second, 0x90);
    gic::set_pending(first, true);
    check_eq!(next(), first, "EOImode 1: acknowledged");
    gic::end(first);
    check_eq!(gic::running_priority(), 0xFF, "EOImode 1: the priority drops");
    check!(gic::is_active(first), "EOImode 1: still active");
    gic::set_pending(first, true);
    check!(nothing(), "EOImode 1: not again while active");
    gic::set_pending(second, true);
    check_eq!(next(), second, "EOImode 1: but another");
    gic::end(second);
    gic::deactivate(first);
    check!(!gic::is_active(first) && gic::is_active(second), "EOImode 1: deactivated out of order");
    check_eq!(next(), first, "EOImode 1: again");
    gic::end(first);
    gic::deactivate(first);
    gic::deactivate(second);
    check!(!gic::is_active(first) && !gic::is_active(second), "EOImode 1: all inactive");
    gic::deactivate(second);
    check!(nothing(), "EOImode 1: deactivating what is not active does nothing");
    write_register!("icc_ctlr_el1", 0);
    put_away([first, second]);
}

pub(super) fn sgis() {
    for intid in [0, 7, 15] {
        gic::set_priority(intid, 0x70);
        gic::enable(intid);
        gic::send_sgi(intid, cpu::affinity());
        check!(wait_for(PATIENCE, || gic::is_pending(intid)), "SGI {intid}: pending");
        gic::send_sgi(intid, cpu::affinity());
        check_eq!(next(), intid, "SGI {intid}: acknowledged");
        check!(!gic::is_pending(intid), "SGI {intid}: sent twice, pending once");
        gic::send_sgi(intid, cpu::affinity());
        check!(gic::is_pending(intid) && gic::is_active(intid), "SGI {intid}: active and pending");
        gic::end(intid);
        check_eq!(next(), intid, "SGI {intid}: again");
        gic::end(intid);
        gic::reset_interrupt(intid);
    }
    gic::enable(1);
    gic::send_sgi_to_others(1);
    check!(nothing(), "an SGI to all others is not for this CPU");
    gic::reset_interrupt(1);
}
