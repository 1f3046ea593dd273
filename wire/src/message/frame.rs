// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames: how a message travels on a line that carries text as well.
//!
//! ```text
//! text ... 00 | COBS( postcard value, CRC-16 ) | 00 text ...
//! ```
//!
//! COBS (Cheshire and Baker, "Consistent Overhead Byte Stuffing") keeps zero bytes out of the encoded message,
//! so a zero is always a delimiter. What lies between two zeros and passes the CRC is a message, all else is
//! text. A lost or damaged byte therefore costs the frame it was in, a lost delimiter at most the next one too.
//! Neither side allocates, and no input makes either side panic.

use postcard::ser_flavors::crc::CrcModifier;
use postcard::ser_flavors::{Cobs, Slice};
use serde::{Deserialize, Serialize};

use super::{MAX_FRAME, MAX_LEN};

/// The CRC that HDLC and Bluetooth use; it finds every error burst of up to 16 bits.
const CRC: crc::Crc<u16> = crc::Crc::<u16>::new(&crc::CRC_16_IBM_SDLC);

/// Length of the CRC in bytes; it follows the value, least significant byte first.
const CRC_LEN: usize = 2;

/// Ends a frame, and begins one.
const DELIMITER: u8 = 0;

/// The longest encoded message between its delimiters.
const MAX_ENCODED: usize = MAX_FRAME - 2;

// COBS adds one byte, and one more for each 254: there is room for the longest message.
const _: () = assert!(MAX_LEN + CRC_LEN + 1 + (MAX_LEN + CRC_LEN) / 254 <= MAX_ENCODED);

/// Why a message was not encoded or decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The buffer is too small, or the message is longer than [`MAX_LEN`].
    #[error("the message is too long for its buffer or for the line")]
    TooLong,
    /// The bytes are no message that this version knows.
    #[error("no known message; build the hypervisor and the command from one version")]
    Unknown,
}

/// Encodes `message` into `buffer`, delimiters included, and returns the part that was filled.
///
/// [`MAX_FRAME`] bytes are enough for any message.
///
/// # Errors
/// [`FrameError::TooLong`].
pub fn encode<'b, T: Serialize>(message: &T, buffer: &'b mut [u8]) -> Result<&'b [u8], FrameError> {
    let capacity = buffer.len().min(MAX_FRAME);
    let (first, rest) = buffer.split_first_mut().ok_or(FrameError::TooLong)?;
    *first = DELIMITER;
    let rest = rest.get_mut(..capacity - 1).ok_or(FrameError::TooLong)?;
    let cobs = Cobs::try_new(Slice::new(rest)).map_err(|_| FrameError::TooLong)?;
    // The COBS flavor ends what it writes with a zero byte of its own.
    let checked = CrcModifier::new(cobs, CRC.digest());
    let len = postcard::serialize_with_flavor(message, checked).map_err(|_| FrameError::TooLong)?.len();
    buffer.get(..=len).ok_or(FrameError::TooLong)
}

/// Reads the message inside a [`Piece::Frame`].
///
/// # Errors
/// [`FrameError::Unknown`].
pub fn decode<'a, T: Deserialize<'a>>(frame: &'a [u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(frame) {
        Ok((message, [])) => Ok(message),
        _ => Err(FrameError::Unknown),
    }
}

/// What a [`Decoder`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes outside any frame, in their order; never empty.
    Text(&'a [u8]),
    /// An intact message, for [`decode`].
    Frame(&'a [u8]),
}

/// Takes a byte stream apart into text and frames, byte by byte.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// What came since the last delimiter, while it may still become a frame.
    pending: [u8; MAX_ENCODED],
    len: usize,
    state: State,
    /// The last frame, decoded.
    message: [u8; MAX_ENCODED],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// After a frame, or in text too long to be one: each byte is passed on at once.
    Text,
    /// After a delimiter: bytes are kept until the next one tells what they are.
    Pending,
}

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self { pending: [0; MAX_ENCODED], len: 0, state: State::Text, message: [0; MAX_ENCODED] }
    }

    /// Takes the next byte of the stream.
    ///
    /// Text is passed on as soon as it is known to be text, and by [`Decoder::finish`] at the latest.
    pub fn push(&mut self, byte: u8) -> Option<Piece<'_>> {
        match (self.state, byte) {
            (State::Text, DELIMITER) => {
                self.state = State::Pending;
                None
            }
            (State::Text, _) => {
                self.keep(byte);
                self.finish().map(Piece::Text)
            }
            (State::Pending, DELIMITER) => self.delimited(),
            (State::Pending, _) => {
                self.keep(byte);
                if self.len < MAX_ENCODED {
                    return None;
                }
                // No frame is that long.
                self.state = State::Text;
                self.finish().map(Piece::Text)
            }
        }
    }

    /// Gives up on a frame that has not been completed and returns its bytes as text.
    ///
    /// For the end of a stream, or a long silence.
    pub fn finish(&mut self) -> Option<&[u8]> {
        let text = self.pending.get(..core::mem::take(&mut self.len)).unwrap_or_default();
        if text.is_empty() { None } else { Some(text) }
    }

    fn keep(&mut self, byte: u8) {
        if let Some(slot) = self.pending.get_mut(self.len) {
            *slot = byte;
            self.len = self.len.saturating_add(1);
        }
    }

    /// A second delimiter has come: the bytes between the two are a frame, or text whose end this is, and then
    /// the delimiter may begin a frame.
    fn delimited(&mut self) -> Option<Piece<'_>> {
        let encoded = self.pending.get(..self.len).unwrap_or_default();
        let Some(len) = unpack(encoded, &mut self.message) else {
            return self.finish().map(Piece::Text);
        };
        self.len = 0;
        self.state = State::Text;
        self.message.get(..len).map(Piece::Frame)
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// Undoes COBS and checks the CRC; returns the message's length in `message`.
fn unpack(encoded: &[u8], message: &mut [u8]) -> Option<usize> {
    let len = cobs::decode(encoded, message).ok()?;
    let (value, crc) = message.get(..len)?.split_last_chunk::<CRC_LEN>()?;
    let intact = !value.is_empty() && CRC.checksum(value) == u16::from_le_bytes(*crc);
    intact.then_some(value.len())
}

#[cfg(test)]
mod tests;
