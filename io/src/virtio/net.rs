// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network device (virtio 1.2, 5.1): an Ethernet card.
//!
//! A frame leaves the guest by `send`, which copies it into a buffer of the caller and says what the driver
//! has left to do to it; it enters by `receive`. In between the caller is free: it asks a [`switch`](super::switch) where
//! the frame goes, and takes one VM's lock after the other.
//!
//! Between two VMs a frame stays as large and as unfinished as it was sent, if the receiver takes it so: its checksum and
//! its cutting are never computed. For a receiver that does not, they are computed on the way ([`Offload`]). A receiver
//! without buffers loses the frame, as on any Ethernet: nobody waits for it.

use serde::{Deserialize, Serialize};
use vambrace_memory::GuestMemory;
use vambrace_state::restore_fields;
use zerocopy::IntoBytes;

use super::mmio::{CONFIG_LEN, Device, Virtio};
use super::queue::{Chain, Fault, Taken};
use super::quota::{After, Quota};
use delivery::{Allowance, Delivery};
use frame::{Checksum, Family};
use header::{Configuration, Header, LINK_UP, feature, flag, gso};

mod checksum;
mod delivery;
mod frame;
mod frame_queue;
pub mod header;
mod segment;

pub use delivery::Undelivered;
pub use frame::{ETHERNET, Frame, MAX_FRAME, Offload};
pub use frame_queue::{FrameQueue, Full};

/// Queues of the only pair (5.1.2).
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

const HEADER: u64 = size_of::<Header>() as u64;
/// What a frame may have besides its packet: the Ethernet header and a VLAN tag.
const FRAMING: usize = ETHERNET + 4;

/// The address of a network card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether it is a group's (I/G bit), the broadcast address included.
    #[must_use]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

/// Whether the cable is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// It is.
    Up,
    /// It is not: frames are lost in both directions.
    Down,
}

/// The device's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Net {
    mac: Mac,
    mtu: u16,
    link: Link,
}

/// What became of a poll for frames to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sent<'a> {
    /// A frame was sent; there may be more.
    Frame(Frame<'a>),
    /// A frame was sent and is lost: it is none, or too long, or not what its header says, or the link is down. There may
    /// be more.
    Lost,
    /// There is none for now.
    Nothing(After),
}

restore_fields!(Net { same mac, same mtu, whole link });

impl Device for Net {
    const ID: u32 = 1;
    const QUEUES: usize = 2;
    const LABEL: &'static str = "virtio network device";

    fn features(&self) -> u64 {
        let host = feature::CSUM | feature::HOST_TSO4 | feature::HOST_TSO6;
        let guest = feature::GUEST_CSUM | feature::GUEST_TSO4 | feature::GUEST_TSO6 | feature::MRG_RXBUF;
        host | guest | feature::MAC | feature::MTU | feature::STATUS
    }

    /// 5.1.3.1.
    fn accepts(&self, features: u64) -> bool {
        let requires = |these: u64, those: u64| features & these == 0 || features & those != 0;
        requires(feature::GUEST_TSO4 | feature::GUEST_TSO6, feature::GUEST_CSUM)
            && requires(feature::HOST_TSO4 | feature::HOST_TSO6, feature::CSUM)
    }

    fn configuration(&self, to: &mut [u8; CONFIG_LEN]) {
        let configuration = Configuration {
            mac: self.mac.0,
            status: if self.link == Link::Up { LINK_UP } else { 0 }.into(),
            mtu: self.mtu.into(),
            ..Configuration::default()
        };
        for (to, byte) in to.iter_mut().zip(configuration.as_bytes()) {
            *to = *byte;
        }
    }

    fn reset(&mut self) {}

    fn queue_stopped(&mut self, _queue: usize) {}
}

impl Virtio<Net> {
    /// A network card after reset, plugged in. `mtu` is the largest packet in bytes, 68 at least (5.1.4.1).
    #[must_use]
    pub fn new(mac: Mac, mtu: u16) -> Self {
        Self::with_device(Net { mac, mtu: mtu.max(68), link: Link::Up })
    }

    /// Its address.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.device.mac
    }

    /// The largest packet, in bytes.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.device.mtu
    }

    /// Plugs the cable in or out, and tells the driver if it wants to know.
    pub fn set_link(&mut self, link: Link) {
        if core::mem::replace(&mut self.device.link, link) != link && self.transport.has(feature::STATUS) {
            self.transport.configuration_changed();
        }
    }

    /// Takes the next frame that the guest sends into `buffer`, which should have room for [`MAX_FRAME`] bytes. Each call
    /// takes one request out of `quota`; a frame may be larger than the rest of its bytes.
    pub fn send<'b>(
        &mut self,
        memory: &impl GuestMemory,
        buffer: &'b mut [u8],
        quota: &mut Quota,
    ) -> Sent<'b> {
        // There is nothing to do for new buffers: frames come when they come.
        self.transport.heard(RECEIVE);
        self.transport.begin(TRANSMIT, memory);
        if quota.take_request().is_none() {
            return Sent::Nothing(After::More);
        }
        let mut chain = Chain::new();
        let mut taken = self.transport.take(TRANSMIT, memory, &mut chain);
        if taken == Taken::Nothing && self.transport.listen(TRANSMIT, memory) == Taken::Chain {
            taken = self.transport.take(TRANSMIT, memory, &mut chain);
        }
        if taken == Taken::Nothing {
            return Sent::Nothing(After::Idle);
        }
        match self.copy_out(memory, &chain, buffer, quota) {
            Ok(frame) => {
                self.transport.complete(TRANSMIT, memory, chain.head(), 0);
                frame.filter(|_| self.device.link == Link::Up).map_or(Sent::Lost, Sent::Frame)
            }
            Err(fault) => {
                self.transport.fail(fault);
                Sent::Nothing(After::Idle)
            }
        }
    }

    /// The frame in a chain. `None` when it is none that the device takes.
    fn copy_out<'b>(
        &self,
        memory: &impl GuestMemory,
        chain: &Chain,
        buffer: &'b mut [u8],
        quota: &mut Quota,
    ) -> Result<Option<Frame<'b>>, Fault> {
        let from = chain.readable();
        let len = from.len().checked_sub(HEADER).ok_or(Fault::Request { head: chain.head() })?;
        let mut header = Header::default();
        from.read(memory, 0, header.as_mut_bytes())?;
        let Some(bytes) = usize::try_from(len).ok().and_then(|len| buffer.get_mut(..len)) else {
            return Ok(None);
        };
        if bytes.len() < ETHERNET || bytes.len() > MAX_FRAME {
            return Ok(None);
        }
        from.read(memory, HEADER, bytes)?;
        quota.charge(len);
        let Some(offload) = Offload::check(&header, bytes).filter(|offload| self.was_agreed(*offload)) else {
            return Ok(None);
        };
        let frame = Frame { bytes, offload };
        Ok(Some(frame).filter(|frame| frame.longest() <= usize::from(self.device.mtu) + FRAMING))
    }

    /// Whether the driver may leave this to the device (5.1.6.2.1).
    fn was_agreed(&self, offload: Offload) -> bool {
        let cutting = match offload.segmentation.map(|cut| cut.family) {
            None => 0,
            Some(Family::Ipv4) => feature::HOST_TSO4,
            Some(Family::Ipv6) => feature::HOST_TSO6,
        };
        let checksum = if offload.checksum.is_some() { feature::CSUM } else { 0 };
        self.transport.has(cutting | checksum)
    }

    /// Gives the guest a frame; says how many bytes were written into its memory. The work is that of copying the frame,
    /// and of looking at as many buffers as it takes: [`MAX_SIZE`](super::queue::MAX_SIZE) at most.
    ///
    /// # Errors
    /// [`Undelivered`]: the frame, or the rest of one that had to be cut, is lost.
    pub fn receive(&mut self, memory: &impl GuestMemory, frame: &Frame<'_>) -> Result<u64, Undelivered> {
        if self.device.link == Link::Down || !self.transport.is_live() {
            return Err(Undelivered::Down);
        }
        self.transport.begin(RECEIVE, memory);
        let mut allowance = Allowance::default();
        let Offload { checksum, segmentation } = frame.offload;
        let (Some(cut), Some(checksum)) = (segmentation, checksum) else {
            return self.receive_one(memory, Header::default(), [frame.bytes, &[]], checksum, &mut allowance);
        };
        let (takes_it, gso_type) = match cut.family {
            Family::Ipv4 => (feature::GUEST_TSO4, gso::TCPV4),
            Family::Ipv6 => (feature::GUEST_TSO6, gso::TCPV6),
        };
        if self.transport.has(takes_it) {
            let (hdr_len, gso_size) = (cut.data.into(), cut.size.into());
            let header = Header { gso_type, hdr_len, gso_size, ..Header::default() };
            return self.receive_one(memory, header, [frame.bytes, &[]], Some(checksum), &mut allowance);
        }
        let mut bytes = 0;
        for piece in segment::pieces(frame, cut, checksum).ok_or(Undelivered::Uncut)? {
            let parts = [piece.headers.as_slice(), piece.data];
            bytes +=
                self.receive_one(memory, Header::default(), parts, Some(piece.checksum), &mut allowance)?;
        }
        Ok(bytes)
    }

    /// Delivers one frame, in two parts of which the first has the field for the checksum, as the driver takes it.
    fn receive_one(
        &mut self,
        memory: &impl GuestMemory,
        header: Header,
        [first, second]: [&[u8]; 2],
        checksum: Option<Checksum>,
        allowance: &mut Allowance,
    ) -> Result<u64, Undelivered> {
        // 5.1.6.4.1: 1 without merging; with it, what it will be until there are more.
        let mut header = Header { num_buffers: 1.into(), ..header };
        let whole = [first, second, &[], &[]];
        let Some(checksum) = checksum else {
            return Delivery::deliver(&mut self.transport, memory, allowance, header, whole);
        };
        if self.transport.has(feature::GUEST_CSUM) {
            header.flags = flag::NEEDS_CSUM;
            (header.csum_start, header.csum_offset) = (checksum.start.into(), checksum.offset.into());
            return Delivery::deliver(&mut self.transport, memory, allowance, header, whole);
        }
        let deliver =
            |parts: [&[u8]; 4]| Delivery::deliver(&mut self.transport, memory, allowance, header, parts);
        completed([first, second], checksum, deliver).ok_or(Undelivered::Uncut)?
    }
}

/// Calls with a frame in parts, whose checksum is complete. `first` has the field for it; `None` if it has not.
fn completed<R>(
    [first, second]: [&[u8]; 2],
    checksum: Checksum,
    call: impl FnOnce([&[u8]; 4]) -> R,
) -> Option<R> {
    // A part behind the first is TCP's data; its header and those before it have an even length, so sums add up.
    let covered = first.get(usize::from(checksum.start)..)?;
    let field = checksum::finish(checksum::sum(covered) + checksum::sum(second));
    let (before, rest) = first.split_at_checked(checksum.field())?;
    let rest = rest.get(field.len()..)?;
    Some(call([before, &field, rest, second]))
}

impl Frame<'_> {
    /// Calls with each of the frames that this one is on a wire, in parts that follow one another: cut as its sender wanted,
    /// and with their checksums complete. `None` if it cannot be cut.
    pub fn on_a_wire(&self, mut call: impl FnMut([&[u8]; 4])) -> Option<()> {
        let Offload { checksum, segmentation } = self.offload;
        let Some(checksum) = checksum else {
            call([self.bytes, &[], &[], &[]]);
            return Some(());
        };
        let Some(cut) = segmentation else { return completed([self.bytes, &[]], checksum, call) };
        for piece in segment::pieces(self, cut, checksum)? {
            completed([&piece.headers, piece.data], piece.checksum, &mut call)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
