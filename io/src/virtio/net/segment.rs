// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cuts a large frame of TCP into frames that fit on a wire, for those who cannot take it whole.
//!
//! A piece is the headers, changed, and a slice of the data: nothing but the headers is copied. The checksum of each piece
//! is left as that of the large frame was, with the pseudo header's sum in its place, and completed like any other.

use arrayvec::ArrayVec;

use super::checksum;
use super::frame::{Checksum, Family, Frame, MAX_HEADERS, Segmentation};

/// The most pieces of a frame: 64 KiB at the 536 bytes that every host takes (RFC 9293, 3.7.1) are 123.
pub(super) const MAX_PIECES: usize = 128;

/// Bits of TCP's flags.
const FIN: u8 = 1;
const PSH: u8 = 8;
const CWR: u8 = 0x80;

/// One of the frames that a large one becomes.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub(super) headers: ArrayVec<u8, MAX_HEADERS>,
    pub(super) data: &'a [u8],
    pub(super) checksum: Checksum,
}

/// The frames that a large one becomes. `None` when those would be too many: no honest sender cuts so small.
pub(super) fn pieces<'a>(
    frame: &Frame<'a>,
    cut: Segmentation,
    checksum: Checksum,
) -> Option<impl Iterator<Item = Piece<'a>>> {
    let (headers, data) = frame.bytes.split_at_checked(usize::from(cut.data))?;
    let size = usize::from(cut.size).max(1);
    let count = data.len().div_ceil(size);
    if count > MAX_PIECES {
        return None;
    }
    let pieces = data.chunks(size).enumerate().filter_map(move |(index, data)| {
        let mut copy: ArrayVec<u8, MAX_HEADERS> = ArrayVec::new();
        copy.try_extend_from_slice(headers).ok()?;
        let position =
            SegmentPosition { index, offset: index * size, len: data.len(), last: index + 1 == count };
        adapt(&mut copy, cut, position)?;
        Some(Piece { headers: copy, data, checksum })
    });
    Some(pieces)
}

/// Which piece of the data it is.
#[derive(Clone, Copy)]
struct SegmentPosition {
    index: usize,
    offset: usize,
    len: usize,
    last: bool,
}

/// Changes what differs from piece to piece. `None` cannot happen: the headers have been found to be there.
fn adapt(headers: &mut [u8], cut: Segmentation, position: SegmentPosition) -> Option<()> {
    let network = usize::from(cut.network);
    let transport = usize::from(cut.transport);
    let tcp_len = usize::from(cut.data).checked_sub(transport)? + position.len;
    let packet = headers.get_mut(network..)?;
    match cut.family {
        Family::Ipv4 => {
            let ip_len = transport.checked_sub(network)?;
            set(packet, 2, ((ip_len + tcp_len) as u16).to_be_bytes())?;
            let identification = get(packet, 4)?.wrapping_add(position.index as u16);
            set(packet, 4, identification.to_be_bytes())?;
            set(packet, 10, [0; 2])?;
            let sum = checksum::sum(packet.get(..ip_len)?);
            set(packet, 10, (!checksum::fold(sum)).to_be_bytes())?;
        }
        Family::Ipv6 => set(packet, 4, (tcp_len as u16).to_be_bytes())?,
    }
    let pseudo = pseudo_header(packet, cut.family, tcp_len)?;
    let tcp = headers.get_mut(transport..)?;
    let sequence = tcp.get(4..8)?.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte));
    let sequence = sequence.wrapping_add(position.offset as u32).to_be_bytes();
    tcp.get_mut(4..8)?.copy_from_slice(&sequence);
    let flags = tcp.get_mut(13)?;
    if !position.last {
        *flags &= !(FIN | PSH);
    }
    if position.index > 0 {
        *flags &= !CWR;
    }
    set(tcp, 16, checksum::fold(pseudo).to_be_bytes())
}

/// The sum of TCP's pseudo header: both addresses, the protocol, the length (RFC 9293, 3.1; RFC 8200, 8.1).
fn pseudo_header(packet: &[u8], family: Family, tcp_len: usize) -> Option<u64> {
    let addresses = match family {
        Family::Ipv4 => packet.get(12..20)?,
        Family::Ipv6 => packet.get(8..40)?,
    };
    Some(checksum::sum(addresses) + 6 + tcp_len as u64)
}

fn get(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn set(bytes: &mut [u8], at: usize, value: [u8; 2]) -> Option<()> {
    bytes.get_mut(at..at + 2)?.copy_from_slice(&value);
    Some(())
}
