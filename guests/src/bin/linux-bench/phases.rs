// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is measured, in this order: the way here; processes; files; sleep.
//!
//! Each phase begins and ends with a mark, outside of what is measured, by which a record of exceptions
//! can be cut into phases. Before each the machine is left alone for a while, so that nothing of the one before is in it.

use core::fmt::{self, Write};

use crate::calls::{self, File};

/// Nanoseconds in which what has been put off is done.
const SETTLE: u32 = 200_000_000;

/// Processes one after the other, and how often so many. They take longer than a tick of the kernel's, so that each time has
/// one in it; whether a second one comes, and what has been put off until then, is chance, which the least of many times
/// has none of. The first ones find a kernel that has not yet put anything off: they do not count.
const PROCESSES: u32 = 25;
const TIMES: usize = 40;
const FIRST: u32 = 4;
/// Bytes in a call, and calls in each direction.
const PIECE: usize = 64 << 10;
const PIECES: u32 = 1024;
const SLEEPS: u32 = 20;
const SLEEP: u32 = 1_000_000;

/// Does everything and prints the figures. `started` is the counter at the program's first instruction; it counted from 0
/// when the kernel began.
pub(crate) fn run(started: u64) {
    calls::mark_end::<0>();
    let processes = measure::<1>(processes);
    let files = measure::<2>(files);
    let sleep = measure::<3>(sleep);
    for (name, ticks) in [("boot", started), ("fork-exec", processes), ("files", files), ("sleep", sleep)] {
        let _ = writeln!(Console, "systems: {name} {ticks}");
    }
    tell_devices();
}

/// What a phase says that it took; 0 if it failed.
fn measure<const PHASE: u16>(phase: fn() -> Option<u64>) -> u64 {
    calls::sleep(SETTLE);
    calls::mark_beginning::<PHASE>();
    let took = phase();
    calls::mark_end::<PHASE>();
    took.unwrap_or(0)
}

/// The ticks that something took; `None` if it failed.
fn ticks(of: impl FnOnce() -> bool) -> Option<u64> {
    let began = calls::counter();
    let succeeded = of();
    let took = calls::counter() - began;
    succeeded.then_some(took)
}

fn processes() -> Option<u64> {
    let some = || ticks(|| (0..PROCESSES).all(|_| calls::run(c"/init", c"leave")));
    for _ in 0..FIRST {
        some()?;
    }
    let mut times = [0; TIMES];
    for time in &mut times {
        *time = some()?;
    }
    times.iter().min().copied()
}

/// Writes a file and reads it.
fn files() -> Option<u64> {
    ticks(write_and_read)
}

fn write_and_read() -> bool {
    let Some(file) = File::open(c"/file") else { return false };
    let mut piece = [0x5A; PIECE];
    let written = (0..PIECES).all(|_| file.write(&piece) == PIECE);
    file.rewind();
    written && (0..PIECES).all(|_| file.read(&mut piece) == PIECE)
}

fn sleep() -> Option<u64> {
    ticks(|| {
        (0..SLEEPS).for_each(|_| calls::sleep(SLEEP));
        true
    })
}

/// Prints where the kernel has mapped its devices: lines such as `0xffff800008000000-0xffff800008011000 ... phys=...`.
fn tell_devices() {
    calls::mount(c"proc", c"/proc");
    let Some(file) = File::open_to_read(c"/proc/vmallocinfo") else { return };
    let mut text = [0; PIECE];
    let mut len = 0;
    while let Some(rest) = text.get_mut(len..)
        && let read @ 1.. = file.read(rest)
    {
        len += read;
    }
    let lines = text.get(..len).unwrap_or_default().split_inclusive(|byte| *byte == b'\n');
    let tells_a_device = |line: &&[u8]| line.windows(5).any(|word| word == b"phys=");
    lines.filter(tells_a_device).for_each(calls::print);
}

struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        calls::print(text.as_bytes());
        Ok(())
    }
}
