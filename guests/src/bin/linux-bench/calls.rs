// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linux's system calls, as many as are needed, and the counter.
//!
//! Numbers and structures are the kernel's ABI for arm64 (`include/uapi/asm-generic/unistd.h`). A call that fails returns a
//! negative number; whoever calls looks at it.

use core::ffi::CStr;
use core::ptr::null;

const MOUNT: u64 = 40;
const OPENAT: u64 = 56;
const LSEEK: u64 = 62;
const READ: u64 = 63;
const WRITE: u64 = 64;
const EXIT_GROUP: u64 = 94;
const NANOSLEEP: u64 = 101;
const REBOOT: u64 = 142;
const GETPID: u64 = 172;
const CLONE: u64 = 220;
const EXECVE: u64 = 221;
const WAIT4: u64 = 260;

const AT_FDCWD: u64 = -100i64 as u64;
const O_RDWR: u64 = 2;
const O_CREAT: u64 = 0o100;
/// What the parent gets when the child ends: SIGCHLD.
const SIGCHLD: u64 = 17;
const REBOOT_MAGIC: [u64; 2] = [0xFEE1_DEAD, 672_274_793];
const POWER_OFF: u64 = 0x4321_FEDC;

const STANDARD_OUTPUT: i64 = 1;

/// What a phase's number is added to in the marks of its beginning and its end.
const BEGINNING: u16 = 0xBE00;
const END: u16 = 0xED00;

/// An open file.
#[derive(Clone, Copy)]
pub(crate) struct File(i64);

/// `struct timespec`.
#[repr(C)]
struct Time {
    seconds: i64,
    nanoseconds: i64,
}

/// A system call with up to five arguments.
///
/// # Safety
/// The arguments must be what the call takes, and what it does to memory must be allowed to it.
unsafe fn call<const N: usize>(number: u64, arguments: [u64; N]) -> i64 {
    let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
    let result;
    // SAFETY: the kernel keeps all registers but x0; of memory it touches what the caller vouches for.
    unsafe {
        core::arch::asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") argument(0) => result,
            in("x1") argument(1),
            in("x2") argument(2),
            in("x3") argument(3),
            in("x4") argument(4),
            options(nostack),
        );
    }
    result
}

fn address<T: ?Sized>(of: &T) -> u64 {
    core::ptr::from_ref(of).cast::<u8>().expose_provenance() as u64
}

/// The system counter's virtual count, read after everything before it.
pub(crate) fn counter() -> u64 {
    let ticks;
    // SAFETY: reading the counter touches nothing.
    unsafe { core::arch::asm!("isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nostack)) };
    ticks
}

/// Tells whoever records exceptions that a phase begins: the kernel's shortest call, with a number beside the instruction
/// that the kernel does not look at.
pub(crate) fn mark_beginning<const PHASE: u16>() {
    // SAFETY: getpid takes nothing and changes x0 alone.
    unsafe {
        core::arch::asm!("svc #{}", const BEGINNING + PHASE, in("x8") GETPID, out("x0") _, options(nostack));
    }
}

/// The same for its end.
pub(crate) fn mark_end<const PHASE: u16>() {
    // SAFETY: as above.
    unsafe { core::arch::asm!("svc #{}", const END + PHASE, in("x8") GETPID, out("x0") _, options(nostack)) };
}

impl File {
    /// Opens a file, which is made if it is not there.
    pub(crate) fn open(path: &CStr) -> Option<Self> {
        // SAFETY: the path ends by NUL and is only read.
        let file = unsafe { call(OPENAT, [AT_FDCWD, address(path), O_RDWR | O_CREAT, 0o600]) };
        (file >= 0).then_some(Self(file))
    }

    /// Opens a file that can only be read.
    pub(crate) fn open_to_read(path: &CStr) -> Option<Self> {
        // SAFETY: the path ends by NUL and is only read.
        let file = unsafe { call(OPENAT, [AT_FDCWD, address(path), 0]) };
        (file >= 0).then_some(Self(file))
    }

    /// Writes; how much was written.
    pub(crate) fn write(self, bytes: &[u8]) -> usize {
        // SAFETY: the bytes are only read, and no more than there are.
        let written = unsafe { call(WRITE, [self.0 as u64, address(bytes), bytes.len() as u64]) };
        usize::try_from(written).unwrap_or(0)
    }

    /// Reads; how much was read.
    pub(crate) fn read(self, bytes: &mut [u8]) -> usize {
        let start = bytes.as_mut_ptr().expose_provenance() as u64;
        // SAFETY: the kernel writes at most as many bytes as there are, and they are ours alone.
        let read = unsafe { call(READ, [self.0 as u64, start, bytes.len() as u64]) };
        usize::try_from(read).unwrap_or(0)
    }

    /// Goes back to its beginning.
    pub(crate) fn rewind(self) {
        // SAFETY: no memory takes part.
        unsafe { call(LSEEK, [self.0 as u64, 0, 0]) };
    }
}

/// Writes to the console.
pub(crate) fn print(text: &[u8]) {
    let mut rest = text;
    while let Some(after) = rest.get(File(STANDARD_OUTPUT).write(rest)..)
        && after.len() < rest.len()
    {
        rest = after;
    }
}

/// Sleeps for so many nanoseconds, less than a second.
pub(crate) fn sleep(nanoseconds: u32) {
    let time = Time { seconds: 0, nanoseconds: i64::from(nanoseconds) };
    // SAFETY: the time is only read; what is left of it nobody asks.
    unsafe { call(NANOSLEEP, [address(&time), 0]) };
}

/// Makes a process that becomes the program at `path`, called `name`, and waits for its end. Whether it ended by itself
/// with exit code 0.
pub(crate) fn run(path: &CStr, name: &CStr) -> bool {
    let arguments = [name.as_ptr(), null()];
    // SAFETY: without CLONE_VM the child has its own copy of all memory.
    let child = unsafe { call(CLONE, [SIGCHLD, 0, 0, 0, 0]) };
    if child == 0 {
        // SAFETY: path and name end by NUL, the list by a null pointer; there is no environment.
        unsafe { call(EXECVE, [address(path), address(&arguments), 0]) };
        exit(1);
    }
    let mut status = !0u32;
    let there = core::ptr::from_mut(&mut status).expose_provenance() as u64;
    // SAFETY: the kernel writes the status, which is ours alone.
    let ended = unsafe { call(WAIT4, [child as u64, there, 0, 0]) };
    ended == child && status == 0
}

/// Mounts a file system that has no device. It may be there already.
pub(crate) fn mount(kind: &CStr, folder: &CStr) {
    // SAFETY: the texts end by NUL and are only read.
    unsafe { call(MOUNT, [address(kind), address(folder), address(kind), 0, 0]) };
}

/// Switches the machine off.
pub(crate) fn power_off() {
    let [first, second] = REBOOT_MAGIC;
    // SAFETY: no memory takes part.
    unsafe { call(REBOOT, [first, second, POWER_OFF, 0]) };
}

/// Ends this process.
pub(crate) fn exit(code: u8) -> ! {
    loop {
        // SAFETY: no memory takes part. It does not return.
        unsafe { call(EXIT_GROUP, [u64::from(code)]) };
    }
}
