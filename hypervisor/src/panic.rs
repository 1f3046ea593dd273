// SPDX-License-Identifier: MIT OR Apache-2.0
//! When EL2 itself fails: say what is known, tell the command, stop the board.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use vambrace_cpu::syndrome;

use crate::arch::sysreg::{ElrEl2, EsrEl2, FarEl2, MpidrEl1, Read};
use crate::console::emergency;

/// Size of the stack for reports, in bytes.
pub(crate) const EMERGENCY_STACK_SIZE: usize = 8192;

/// A stack for reports: the usual one may be what failed.
#[repr(C, align(16))]
pub(crate) struct EmergencyStack([u8; EMERGENCY_STACK_SIZE]);

/// The one emergency stack; a second CPU that fails at the same time may spoil the report, not more.
pub(crate) static mut EMERGENCY_STACK: EmergencyStack = EmergencyStack([0; EMERGENCY_STACK_SIZE]);

/// Set by the first failure; a failure during the report goes straight to the end.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Whether nothing has failed before.
fn is_first() -> bool {
    if crate::console::is_early() {
        let is_first = !FAILED.load(Ordering::Relaxed);
        FAILED.store(true, Ordering::Relaxed);
        return is_first;
    }
    !FAILED.swap(true, Ordering::Relaxed)
}

/// An exception taken from EL2 to EL2: the vectors come here, on the emergency stack.
pub(crate) extern "C" fn el2_fault(sp: u64) -> ! {
    if is_first() {
        let esr = EsrEl2.read();
        emergency(format_args!(
            "bug in EL2 on CPU {:#x}: {}\r\n  ESR {esr:#x} ELR {:#x} (image at {:#x}) FAR {:#x} SP {sp:#x}",
            MpidrEl1.read() & 0xFF_00FF_FFFF,
            syndrome::describe(esr),
            ElrEl2.read(),
            crate::boot::layout::image().start().0,
            FarEl2.read(),
        ));
    }
    stop()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if is_first() {
        let cpu = MpidrEl1.read() & 0xFF_00FF_FFFF;
        emergency(format_args!("bug in EL2 on CPU {cpu:#x}: {info}"));
    }
    stop()
}

/// Ends the boot for a reason that is the user's to mend, not a bug.
pub(crate) fn fail(why: core::fmt::Arguments<'_>) -> ! {
    emergency(format_args!("{why}"));
    stop()
}

/// What cannot be is: goes no further, since with it the VMs' isolation might go.
#[cold]
pub(crate) fn bug(what: core::fmt::Arguments<'_>) -> ! {
    if is_first() {
        emergency(format_args!("bug in EL2 on CPU {:#x}: {what}", MpidrEl1.read() & 0xFF_00FF_FFFF));
    }
    stop()
}

/// Ends the board: the VMs' isolation can no longer be vouched for.
pub(crate) fn stop() -> ! {
    // The last words are in the UART yet, if there were any.
    if !crate::console::is_early() {
        crate::console::drain_out();
    }
    crate::boot::firmware::system_off();
    loop {
        crate::arch::barrier::wfi();
    }
}
