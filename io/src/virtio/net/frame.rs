// SPDX-License-Identifier: MIT OR Apache-2.0
//! An Ethernet frame on its way, and what of it the sender has left to others.
//!
//! What a driver says of a frame in its header is checked against the frame's own bytes once, here. From then on the
//! offsets are known to lie in the frame, whoever it goes to.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vambrace_state::Bytes;
use zerocopy::{FromBytes, IntoBytes};

use super::header::{Header, flag, gso};

/// Bytes of an Ethernet header: destination, source, type.
pub const ETHERNET: usize = 14;
/// Bytes of a VLAN tag.
const VLAN: usize = 4;
/// The largest frame: an IP packet of 64 KiB behind a header with a VLAN tag. A buffer for frames has this size.
pub const MAX_FRAME: usize = ETHERNET + VLAN + 0xFFFF;
/// The longest headers of a frame to be cut: Ethernet with a VLAN tag, IPv4 and TCP with all options.
pub(super) const MAX_HEADERS: usize = ETHERNET + VLAN + 60 + 60;

const TYPE_VLAN: [u8; 2] = [0x81, 0x00];
const TYPE_IPV4: [u8; 2] = [0x08, 0x00];
const TYPE_IPV6: [u8; 2] = [0x86, 0xDD];
const PROTOCOL_TCP: u8 = 6;
/// Where TCP has its checksum.
const TCP_CHECKSUM: u16 = 16;

/// A frame, and what is left to do to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// From the destination's address to the last byte before the frame check sequence, which is not there.
    pub bytes: &'a [u8],
    /// What the sender has not done.
    pub offload: Offload,
}

/// What the sender of a frame leaves to others. Nothing, by default: so are frames from a real network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// A checksum is to be completed.
    pub(super) checksum: Option<Checksum>,
    /// The frame is to be cut.
    pub(super) segmentation: Option<Segmentation>,
}

/// A checksum to be completed: that of all bytes from `start` on goes to `offset` behind `start`, where the sum of the
/// pseudo header is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checksum {
    pub(super) start: u16,
    pub(super) offset: u16,
}

impl Checksum {
    /// Where the checksum goes.
    pub(super) fn field(self) -> usize {
        usize::from(self.start) + usize::from(self.offset)
    }
}

/// Which IP a frame is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

/// A frame of TCP that is to be cut into several, each with up to `size` bytes of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segmentation {
    pub(super) family: Family,
    pub(super) size: u16,
    /// Where the IP header begins.
    pub(super) network: u16,
    /// Where the TCP header begins.
    pub(super) transport: u16,
    /// Where the data begin.
    pub(super) data: u16,
}

/// A frame as it is written: behind the header that asks for its offload, as a driver would send it.
#[derive(Serialize, Deserialize)]
struct SavedFrame<'a> {
    header: [u8; size_of::<Header>()],
    #[serde(borrow)]
    bytes: Bytes<'a>,
}

impl Serialize for Frame<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut saved = SavedFrame { header: [0; size_of::<Header>()], bytes: Bytes(self.bytes) };
        saved.header.copy_from_slice(self.offload.header().as_bytes());
        saved.serialize(to)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Frame<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let SavedFrame { header, bytes: Bytes(bytes) } = SavedFrame::deserialize(from)?;
        let is_frame = (ETHERNET..=MAX_FRAME).contains(&bytes.len());
        let header = Header::read_from_bytes(&header).ok().filter(|_| is_frame);
        let offload = header.and_then(|header| Offload::check(&header, bytes));
        offload.map(|offload| Frame { bytes, offload }).ok_or_else(|| D::Error::custom("no such frame"))
    }
}

impl Offload {
    /// The header that asks for it.
    pub(super) fn header(&self) -> Header {
        let mut header = Header::default();
        if let Some(Checksum { start, offset }) = self.checksum {
            header.flags = flag::NEEDS_CSUM;
            (header.csum_start, header.csum_offset) = (start.into(), offset.into());
        }
        if let Some(Segmentation { family, size, .. }) = self.segmentation {
            header.gso_type = match family {
                Family::Ipv4 => gso::TCPV4,
                Family::Ipv6 => gso::TCPV6,
            };
            header.gso_size = size.into();
        }
        header
    }

    /// What `header` asks for, if it is true of the frame (5.1.6.2).
    pub(super) fn check(header: &Header, frame: &[u8]) -> Option<Self> {
        let start = header.csum_start.get();
        let checksum = match header.flags & flag::NEEDS_CSUM {
            0 => None,
            _ => Some(Checksum { start, offset: header.csum_offset.get() }),
        };
        if checksum.is_some_and(|checksum| checksum.field() + 2 > frame.len()) {
            return None;
        }
        let family = match header.gso_type {
            gso::NONE => return Some(Self { checksum, segmentation: None }),
            gso::TCPV4 => Family::Ipv4,
            gso::TCPV6 => Family::Ipv6,
            _ => return None,
        };
        let segmentation = Segmentation::find(frame, family, header.gso_size.get())?;
        // 5.1.6.2.1: whoever leaves the cutting leaves the checksum.
        let its_checksum = Checksum { start: segmentation.transport, offset: TCP_CHECKSUM };
        (checksum == Some(its_checksum)).then_some(Self { checksum, segmentation: Some(segmentation) })
    }
}

impl Segmentation {
    /// Finds the headers in the frame's own bytes; no extension headers of IPv6.
    fn find(frame: &[u8], family: Family, size: u16) -> Option<Self> {
        let mut network = ETHERNET;
        let mut kind = frame.get(network - 2..network)?;
        if kind == TYPE_VLAN {
            network += VLAN;
            kind = frame.get(network - 2..network)?;
        }
        let packet = frame.get(network..)?;
        let first = *packet.first()?;
        let (wanted, version, protocol_at, len) = match family {
            Family::Ipv4 => (TYPE_IPV4, 4, 9, usize::from(first & 0xF) * 4),
            Family::Ipv6 => (TYPE_IPV6, 6, 6, 40),
        };
        let is_ip = kind == wanted && first >> 4 == version && len >= 20;
        let is_tcp = *packet.get(protocol_at)? == PROTOCOL_TCP;
        let tcp = packet.get(len..)?;
        let tcp_len = usize::from(*tcp.get(12)? >> 4) * 4;
        let has_data = tcp_len >= 20 && tcp.len() > tcp_len;
        if !is_ip || !is_tcp || !has_data || size == 0 || frame.len() > MAX_FRAME {
            return None;
        }
        let transport = network + len;
        Some(Self {
            family,
            size,
            network: network as u16,
            transport: transport as u16,
            data: (transport + tcp_len) as u16,
        })
    }
}

impl Frame<'_> {
    /// Bytes of the largest frame that it becomes on a wire.
    #[must_use]
    pub fn longest(&self) -> usize {
        match self.offload.segmentation {
            None => self.bytes.len(),
            Some(cut) => self.bytes.len().min(usize::from(cut.data) + usize::from(cut.size)),
        }
    }
}
