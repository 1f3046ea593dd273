// SPDX-License-Identifier: MIT OR Apache-2.0
//! System registers by name.

/// Reads a system register.
#[macro_export]
macro_rules! read_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading a register does not touch the program's memory; where it acts on the CPU interface of
        // the GIC it acts as that interface documents.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nostack)) };
        value
    }};
}

/// Writes a system register, and waits until the write has taken effect. Not for the registers that the MMU and
/// exception entry depend on.
#[macro_export]
macro_rules! write_register {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: the registers written this way (timers, the GIC's CPU interface, TPIDR_EL1) do not change how
        // memory is accessed.
        unsafe { core::arch::asm!(concat!("msr ", $name, ", {}"), "isb", in(reg) value, options(nostack)) };
    }};
}

/// Prints a line on the console.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {
        $crate::console::print(format_args!("{}\n", format_args!($($argument)*)))
    };
}

/// Checks that two values are equal, and prints a line with the text and, if they are not, both values.
#[macro_export]
macro_rules! check_eq {
    ($got:expr, $want:expr, $($text:tt)*) => {{
        let (got, want) = ($got, $want);
        if got == want {
            $crate::report::check(true, format_args!($($text)*));
        } else {
            $crate::report::check(
                false,
                format_args!("{}: got {got:x?}, want {want:x?}", format_args!($($text)*)),
            );
        }
    }};
}

/// Checks that a condition holds, and prints a line with the text.
#[macro_export]
macro_rules! check {
    ($holds:expr, $($text:tt)*) => {
        $crate::report::check($holds, format_args!($($text)*))
    };
}
