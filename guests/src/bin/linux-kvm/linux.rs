// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linux's system calls, as few as are needed, by their numbers on arm64.

use core::arch::asm;
use core::ffi::CStr;
use core::fmt;

const IOCTL: u64 = 29;
const OPENAT: u64 = 56;
const READ: u64 = 63;
const WRITE: u64 = 64;
const NANOSLEEP: u64 = 101;
const SCHED_SETAFFINITY: u64 = 122;
const REBOOT: u64 = 142;
const CLONE: u64 = 220;
const MMAP: u64 = 222;

/// `openat`: relative to the current folder, for reading and writing.
const AT_FDCWD: u64 = -100i64 as u64;
const O_RDONLY: u64 = 0;
const O_RDWR: u64 = 2;
/// `mmap`: readable, writable; shared with the kernel, or nobody's file.
const READ_WRITE: u64 = 3;
const MAP_SHARED: u64 = 1;
const MAP_PRIVATE_ANONYMOUS: u64 = 0x22;
/// `clone`: a thread, which shares memory, files and signals with this one.
const THREAD: u64 = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000;
/// `reboot`: its magic numbers, and to power off.
const REBOOT_MAGIC: [u64; 2] = [0xFEE1_DEAD, 672_274_793];
const POWER_OFF: u64 = 0x4321_FEDC;

/// What the kernel refused, and its error number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Error {
    what: &'static str,
    number: i64,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: error {}", self.what, self.number)
    }
}

/// An open file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct File(u64);

/// The console, which the kernel opens for the first program.
pub(crate) const CONSOLE: File = File(1);

/// Makes a system call.
///
/// # Safety
/// The call may read and write what its arguments point to.
unsafe fn call(what: &'static str, number: u64, arguments: [u64; 6]) -> Result<u64, Error> {
    let [a, b, c, d, e, f] = arguments;
    let result: i64;
    // SAFETY: by the caller's promise; the kernel preserves all registers but x0.
    unsafe {
        asm!("svc #0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, in("x5") f, options(nostack));
    }
    u64::try_from(result).map_err(|_| Error { what, number: -result })
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// Reading only.
    Reading,
    /// Reading, writing, and control.
    Control,
}

impl File {
    /// The file that the kernel has opened, by its number.
    pub(crate) fn of(number: u64) -> Self {
        Self(number)
    }

    pub(crate) fn open(path: &CStr, access: For) -> Result<Self, Error> {
        let flags = if access == For::Reading { O_RDONLY } else { O_RDWR };
        // SAFETY: reads the path, which ends with NUL.
        unsafe {
            call("open a file", OPENAT, [AT_FDCWD, path.as_ptr().addr() as u64, flags, 0, 0, 0]).map(Self)
        }
    }

    /// Reads it to its end, or until `memory` is full.
    pub(crate) fn read_all(self, memory: &mut [u8]) -> Result<(), Error> {
        let mut rest = memory;
        loop {
            let arguments =
                [self.0, rest.as_mut_ptr().expose_provenance() as u64, rest.len() as u64, 0, 0, 0];
            // SAFETY: writes the slice.
            let len = unsafe { call("read a file", READ, arguments)? };
            if len == 0 {
                return Ok(());
            }
            rest = rest.get_mut(len as usize..).unwrap_or_default();
        }
    }

    pub(crate) fn write(self, bytes: &[u8]) {
        let arguments = [self.0, bytes.as_ptr().expose_provenance() as u64, bytes.len() as u64, 0, 0, 0];
        // SAFETY: reads the slice. If the console does not work there is nowhere to complain.
        let _ = unsafe { call("write", WRITE, arguments) };
    }

    /// An ioctl whose argument is a number.
    pub(crate) fn control(self, what: &'static str, request: u64, argument: u64) -> Result<u64, Error> {
        // SAFETY: the requests made this way read and write no memory of this program, or what is mapped for it.
        unsafe { call(what, IOCTL, [self.0, request, argument, 0, 0, 0]) }
    }

    /// An ioctl whose argument is a structure.
    ///
    /// # Safety
    /// `T` is the structure that the request is defined for, and what it points to may be used so.
    pub(crate) unsafe fn control_by<T>(
        self,
        what: &'static str,
        request: u64,
        with: &mut T,
    ) -> Result<u64, Error> {
        let address = core::ptr::from_mut(with).expose_provenance() as u64;
        // SAFETY: by the caller's promise.
        unsafe { call(what, IOCTL, [self.0, request, address, 0, 0, 0]) }
    }

    /// Maps its first bytes, shared with the kernel.
    pub(crate) fn map(self, len: u64) -> Result<*mut u8, Error> {
        map([0, len, READ_WRITE, MAP_SHARED, self.0, 0])
    }
}

/// Fresh memory, all zeros.
pub(crate) fn memory(len: u64) -> Result<*mut u8, Error> {
    map([0, len, READ_WRITE, MAP_PRIVATE_ANONYMOUS, u64::MAX, 0])
}

fn map(arguments: [u64; 6]) -> Result<*mut u8, Error> {
    // SAFETY: the kernel chooses an address where nothing is.
    let address = unsafe { call("map memory", MMAP, arguments)? };
    Ok(core::ptr::with_exposed_provenance_mut(address as usize))
}

/// Keeps this thread on one CPU, if the machine has it.
pub(crate) fn pin(cpu: usize) {
    let mask = 1u64 << cpu;
    let arguments = [0, 8, (&raw const mask).expose_provenance() as u64, 0, 0, 0];
    // SAFETY: reads the mask. A machine with fewer CPUs refuses, and then there is no choice either.
    let _ = unsafe { call("pin a thread", SCHED_SETAFFINITY, arguments) };
}

/// Sleeps.
pub(crate) fn sleep(seconds: u64) {
    let time = [seconds, 0];
    // SAFETY: reads the time.
    let _ = unsafe { call("sleep", NANOSLEEP, [time.as_ptr().expose_provenance() as u64, 0, 0, 0, 0, 0]) };
}

/// Runs `entry` with `argument` in a thread of its own, on a stack that ends at `stack`.
///
/// # Safety
/// The stack is the thread's alone, for ever; `argument` is what `entry` expects.
pub(crate) unsafe fn start_thread(
    stack: *mut u8,
    entry: extern "C" fn(usize) -> !,
    argument: usize,
) -> Result<(), Error> {
    let result: i64;
    // SAFETY: the new thread comes back from the call on its own stack and does nothing but call `entry`; this one
    // goes on as from any call.
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x0, x10",
            "blr x9",
            "2:",
            in("x8") CLONE, inlateout("x0") THREAD => result, in("x1") stack, in("x2") 0, in("x3") 0, in("x4") 0,
            in("x9") entry, in("x10") argument,
        );
    }
    if result < 0 { Err(Error { what: "start a thread", number: -result }) } else { Ok(()) }
}

/// Powers the machine off.
pub(crate) fn power_off() -> ! {
    loop {
        // SAFETY: nothing of this program is needed any more.
        let _ = unsafe { call("power off", REBOOT, [REBOOT_MAGIC[0], REBOOT_MAGIC[1], POWER_OFF, 0, 0, 0]) };
    }
}
