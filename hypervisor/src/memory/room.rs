// SPDX-License-Identifier: MIT OR Apache-2.0
//! Room in EL2's heap, promised before it is used.
//!
//! A VM's values are many small pieces, made by crates that know of no failure, and some are made on other CPUs, where
//! nothing could be undone any more. So the heap is asked once, before the first of them: is there as much in one piece as
//! all of them can take, beyond what others were promised and may not have used yet? If not, the VM is not made, and nothing
//! has to be undone. Whatever order the pieces come in, and however many CPUs make some at the same time, each finds its place.

use vambrace_wire::bundle::VmConfig;
use vambrace_wire::bundle::io::VirtioDevice;

/// What has been promised and may not have been used yet.
#[derive(Debug, Default)]
pub struct Promises {
    bytes: usize,
}

/// The heap has not as much room as is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hypervisor's own values of it need {} KiB in one piece, which are not free", .bytes.div_ceil(1024))]
pub struct NoRoom {
    /// How much is needed.
    pub bytes: usize,
}

impl Promises {
    /// Nothing has been promised.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: 0 }
    }

    /// Promises `bytes`, if `has_room` says that the heap has as many, and all that was promised before, in one piece.
    /// They are to be [given back](Self::end) when nothing more will be allocated in their name.
    ///
    /// # Errors
    /// [`NoRoom`]; nothing has changed then.
    pub fn make(&mut self, bytes: usize, has_room: impl FnOnce(usize) -> bool) -> Result<(), NoRoom> {
        let all = self.bytes.checked_add(bytes).filter(|all| has_room(*all)).ok_or(NoRoom { bytes })?;
        self.bytes = all;
        Ok(())
    }

    /// What was promised has been used, or is not needed any more.
    pub const fn end(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// How much of the heap a piece of `len` bytes takes at most: the allocator adds a word, and counts in units of four; what is
/// aligned to more may leave a gap before it.
#[must_use]
pub const fn piece(len: usize, align: usize) -> usize {
    let gap = if align > UNIT { align } else { 0 };
    (len + size_of::<usize>()).next_multiple_of(UNIT) + gap
}

const UNIT: usize = 4 * size_of::<usize>();

/// The most that a growing list takes that ends with `len` elements of `size` bytes: it doubles, and each time the old one is
/// there until the new one is.
#[must_use]
pub const fn list(len: usize, size: usize) -> usize {
    // At least four elements are taken at first.
    let capacity = if len < 4 { 4 } else { len };
    4 * capacity * size + piece(0, 1) * (usize::BITS - capacity.leading_zeros()) as usize
}

/// The most that [`Vm::new`](vambrace_machine::Vm::new) takes of the heap, temporary values included.
///
/// The figures are not derived but measured: `tests/room.rs` holds them against what is allocated.
#[must_use]
pub fn of_vm(config: &VmConfig) -> usize {
    let virtio = config.virtio.iter().map(|device| match device {
        VirtioDevice::Disk(_) => DISK,
        VirtioDevice::Console => CONSOLE,
        VirtioDevice::Entropy | VirtioDevice::Network(_) => SMALL,
    });
    VM + config.vcpus.len() * VCPU
        + virtio.sum::<usize>()
        + config.channels.len() * SMALL
        + 2 * config.name.len()
}

/// Interrupt controller and bus of any VM.
const VM: usize = 4096;
/// Its share for each vCPU.
const VCPU: usize = 768;
/// A virtio disk, with the requests that it is busy with.
const DISK: usize = 9600;
/// A virtio console.
const CONSOLE: usize = 3072;
/// Another virtio device, or an end of a channel.
const SMALL: usize = 512;

/// The most that a physical CPU takes of the heap so that it can have `vcpus` vCPUs in its [run
/// queue](vambrace_cpu::scheduler::RunQueue) and among its [deadlines](vambrace_cpu::deadlines::Deadlines).
#[must_use]
pub const fn of_queues(vcpus: usize) -> usize {
    list(vcpus, QUEUED) + 1024
}

/// A vCPU in all of these.
const QUEUED: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_promised_is_not_promised_again() {
        let heap = 100;
        let mut promises = Promises::new();
        assert_eq!(promises.make(60, |all| all <= heap), Ok(()));
        assert_eq!(promises.make(50, |all| all <= heap), Err(NoRoom { bytes: 50 }));
        assert_eq!(promises.make(40, |all| all <= heap), Ok(()));
        promises.end(60);
        assert_eq!(promises.make(61, |all| all <= heap), Err(NoRoom { bytes: 61 }));
        assert_eq!(promises.make(60, |all| all <= heap), Ok(()));
        assert_eq!(promises.make(usize::MAX, |_| true), Err(NoRoom { bytes: usize::MAX }));
    }

    #[test]
    fn it_is_told_in_kib() {
        let text = NoRoom { bytes: 2049 }.to_string();
        assert_eq!(text, "the hypervisor's own values of it need 3 KiB in one piece, which are not free");
    }
}
