// SPDX-License-Identifier: MIT OR Apache-2.0
//! Output that waits for the board's serial line, so that nobody waits for the line itself.
//!
//! A line takes 87 us for a byte at 115200 baud, which is thousands of instructions. So whoever has something to say
//! gives the UART what its FIFO has room for and leaves the rest here, to be sent when the UART interrupts for more.
//!
//! What may wait is bounded for each source by itself ([`Source`]). A VM whose share is full is *refused*, which its
//! guest sees as its own device's full FIFO or unused buffer, and notified when half of its share is free again; no other
//! VM notices. What EL2 itself has to say has a reserve that no guest can fill: of that, what concerns one VM may take a
//! part only. EL2 can wait for nobody, so what finds no room even there is dropped, counted, and the count is told
//! ([`SerialQueue::take_lost`]).

use alloc::boxed::Box;
use alloc::vec;

use vambrace_ids::VmId;

/// What may wait of a VM's console, in bytes.
pub const SHARE: usize = 512;
/// What may wait of what EL2 has to say.
pub const RESERVE: usize = 8 << 10;
/// Of the reserve, what VMs' affairs may take together, and those of one VM.
pub const AFFAIRS: usize = RESERVE - (1 << 10);
/// As much as a crash report.
pub const AFFAIRS_OF_ONE: usize = 3 << 10;

/// The longest piece that is given at once.
pub const LONGEST: usize = 512;

/// Before each piece: its source, which is a kind and a VM, and its length.
const HEADER: usize = 1 + size_of::<VmId>() + size_of::<u16>();

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A VM's console, or what is owed to it alone: it is refused when its share is full, and notified when there is room.
    Console(VmId),
    /// EL2, of what became of this VM.
    Affairs(VmId),
    /// EL2.
    Hypervisor,
}

/// A UART's transmitter.
pub trait Transmitter {
    /// Whether its FIFO has no room.
    fn is_full(&self) -> bool;

    /// Puts a byte into its FIFO, which has room.
    fn send(&self, byte: u8);

    /// Lets it interrupt when its FIFO, which is full, has become empty enough; or not.
    fn set_interrupt(&self, interrupt: Interrupt);
}

/// Whether the transmitter interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// When there is room.
    On,
    /// Never.
    Off,
}

/// There is no room. A VM's console is notified when there is; anything else was dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much waits for the serial line")]
pub struct Refused;

/// What waits of a VM's.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    console: usize,
    affairs: usize,
    notice: RoomNotice,
}

/// Whether a VM is to be notified that there is room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum RoomNotice {
    #[default]
    No,
    /// This one that has the index, when there is room for it again.
    WhenRoom(VmId),
    /// This one, now.
    Now(VmId),
}

/// What waits for the line, in order.
#[derive(Debug)]
pub struct SerialQueue {
    /// A ring of pieces, each behind its [`HEADER`].
    ring: Box<[u8]>,
    first: usize,
    len: usize,
    /// The piece that is being sent, and how much of it is left.
    under_way: Option<(Source, usize)>,
    /// By index: a VM has the share of the one that had its index before.
    vms: Box<[Used]>,
    /// What waits of EL2's, all together.
    reserved: usize,
    /// Of that, what concerns VMs.
    affairs: usize,
    /// VMs that are to be notified now.
    notices: usize,
    /// Pieces that were dropped and of which nobody has been told.
    lost: u32,
    interrupt: Interrupt,
}

impl SerialQueue {
    /// For so many VMs. The only place that allocates.
    #[must_use]
    pub fn new(vms: usize) -> Self {
        // A piece that finds the queue empty is taken whatever its length.
        let capacity = RESERVE + vms * (SHARE + HEADER) + 2 * (LONGEST + HEADER);
        Self {
            ring: vec![0; capacity].into_boxed_slice(),
            first: 0,
            len: 0,
            under_way: None,
            vms: vec![Used::default(); vms].into_boxed_slice(),
            reserved: 0,
            affairs: 0,
            notices: 0,
            lost: 0,
            interrupt: Interrupt::Off,
        }
    }

    /// Whether anything is to be done when the UART interrupts.
    #[must_use]
    pub fn has_something_to_do(&self) -> bool {
        self.len > 0 || self.notices > 0 || self.lost > 0
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes a piece, all of it or nothing, and sends what can be sent.
    ///
    /// # Errors
    /// [`Refused`] when there is no room.
    pub fn push(&mut self, source: Source, piece: &[u8], to: &impl Transmitter) -> Result<(), Refused> {
        if self.len > 0 {
            self.drain(to);
        }
        if self.len == 0 {
            // As if there were no queue: what the UART takes is not copied.
            let sent = piece.iter().take_while(|byte| put(**byte, to)).count();
            let rest = piece.get(sent..).unwrap_or_default();
            if !rest.is_empty() {
                self.append(source, rest);
                self.listen(to);
            }
            return Ok(());
        }
        if self.has_room(source, piece.len()) {
            self.append(source, piece);
            return Ok(());
        }
        match source {
            Source::Console(vm) => self.call_when_room(vm),
            Source::Affairs(_) | Source::Hypervisor => self.lost = self.lost.saturating_add(1),
        }
        Err(Refused)
    }

    /// Whether a piece of this length would be taken while others wait.
    #[must_use]
    pub fn has_room(&self, source: Source, len: usize) -> bool {
        let len = len + HEADER;
        let vm = |vm: VmId| self.vms.get(vm.index()).copied().unwrap_or_default();
        let fits = match source {
            // One piece at least, however long.
            Source::Console(of) => vm(of).console == 0 || vm(of).console + len <= SHARE,
            Source::Affairs(of) => {
                vm(of).affairs + len <= AFFAIRS_OF_ONE
                    && self.affairs + len <= AFFAIRS
                    && self.reserved + len <= RESERVE
            }
            Source::Hypervisor => self.reserved + len <= RESERVE,
        };
        fits && self.len + len <= self.ring.len()
    }

    /// Sends what the UART has room for. To be called when it interrupts, and whenever it costs nobody's time.
    pub fn drain(&mut self, to: &impl Transmitter) {
        loop {
            let piece = self.under_way.filter(|(_, left)| *left > 0).or_else(|| self.take_header());
            self.under_way = piece;
            let Some((source, left)) = piece else { break };
            if left > 0 && to.is_full() {
                break;
            }
            if left > 0
                && let Some(byte) = self.take()
            {
                to.send(byte);
                self.release(source, 1);
                self.under_way = Some((source, left - 1));
            }
        }
        self.listen(to);
    }

    /// How many pieces of EL2's were dropped since this was last asked and there was room to tell it.
    pub fn take_lost(&mut self, room: usize) -> Option<u32> {
        if self.lost == 0 || !self.has_room(Source::Hypervisor, room) {
            return None;
        }
        Some(core::mem::take(&mut self.lost))
    }

    /// A VM that was refused and has room now, each once. To be asked for, to the last, when the UART has interrupted:
    /// whoever sends by the way cannot notify, and leaves it to the interrupt.
    pub fn take_refused(&mut self, to: &impl Transmitter) -> Option<VmId> {
        if self.notices == 0 {
            return None;
        }
        let (vm, used) = self.vms.iter_mut().find_map(|used| match used.notice {
            RoomNotice::Now(vm) => Some((vm, used)),
            _ => None,
        })?;
        used.notice = RoomNotice::No;
        self.notices = self.notices.saturating_sub(1);
        self.listen(to);
        Some(vm)
    }

    fn call_when_room(&mut self, vm: VmId) {
        if let Some(used) = self.vms.get_mut(vm.index())
            && used.notice == RoomNotice::No
        {
            used.notice = RoomNotice::WhenRoom(vm);
        }
    }

    /// Lets the UART interrupt while there is something to do when it has room.
    fn listen(&mut self, to: &impl Transmitter) {
        let is_needed = self.len > 0 || self.notices > 0;
        let interrupt = if is_needed { Interrupt::On } else { Interrupt::Off };
        if self.interrupt != interrupt {
            self.interrupt = interrupt;
            to.set_interrupt(interrupt);
        }
    }

    /// Puts a piece behind the others.
    fn append(&mut self, source: Source, piece: &[u8]) {
        let (kind, vm) = match source {
            Source::Console(vm) => (0, vm),
            Source::Affairs(vm) => (1, vm),
            Source::Hypervisor => (2, VmId::first(0)),
        };
        let ([a, b, c, d], [e, f]) = (vm.to_bits().to_le_bytes(), (piece.len() as u16).to_le_bytes());
        for byte in [kind, a, b, c, d, e, f].iter().chain(piece) {
            let at = (self.first + self.len) % self.ring.len();
            if self.len < self.ring.len()
                && let Some(place) = self.ring.get_mut(at)
            {
                *place = *byte;
                self.len = self.len.saturating_add(1);
            }
        }
        self.account(source, |used| *used += piece.len() + HEADER);
    }

    fn take(&mut self) -> Option<u8> {
        self.len = self.len.checked_sub(1)?;
        let byte = self.ring.get(self.first).copied();
        self.first = (self.first + 1) % self.ring.len();
        byte
    }

    fn take_header(&mut self) -> Option<(Source, usize)> {
        let mut header = [0; HEADER];
        for to in &mut header {
            *to = self.take()?;
        }
        let [kind, a, b, c, d, e, f] = header;
        let vm = VmId::from_bits(u32::from_le_bytes([a, b, c, d]));
        let source = match kind {
            0 => Source::Console(vm),
            1 => Source::Affairs(vm),
            _ => Source::Hypervisor,
        };
        self.release(source, HEADER);
        Some((source, u16::from_le_bytes([e, f]).into()))
    }

    /// So much of a source's is gone.
    fn release(&mut self, source: Source, bytes: usize) {
        self.account(source, |used| *used = used.saturating_sub(bytes));
        if let Source::Console(vm) = source
            && let Some(used) = self.vms.get_mut(vm.index())
            && let RoomNotice::WhenRoom(vm) = used.notice
            && used.console <= SHARE / 2
        {
            used.notice = RoomNotice::Now(vm);
            self.notices = self.notices.saturating_add(1);
        }
    }

    fn account(&mut self, source: Source, mut change: impl FnMut(&mut usize)) {
        match source {
            Source::Console(vm) => {
                if let Some(used) = self.vms.get_mut(vm.index()) {
                    change(&mut used.console);
                }
            }
            Source::Affairs(vm) => {
                if let Some(used) = self.vms.get_mut(vm.index()) {
                    change(&mut used.affairs);
                }
                change(&mut self.affairs);
                change(&mut self.reserved);
            }
            Source::Hypervisor => change(&mut self.reserved),
        }
    }
}

/// Gives a byte to the UART, if it has room.
fn put(byte: u8, to: &impl Transmitter) -> bool {
    let has_room = !to.is_full();
    if has_room {
        to.send(byte);
    }
    has_room
}

#[cfg(test)]
mod tests;
