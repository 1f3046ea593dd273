// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Internet checksum (RFC 1071).

/// The sum of 16-bit words, not yet folded. Sums of pieces add up when each piece but the last has an even length.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(2);
    let mut total = 0u64;
    for word in words.by_ref() {
        if let [high, low] = *word {
            total += u64::from(u16::from_be_bytes([high, low]));
        }
    }
    total + words.remainder().first().map_or(0, |last| u64::from(*last) << 8)
}

/// The sum in 16 bits, carries added.
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

/// The checksum of what adds up to `sum`, as bytes of a packet. 0 means "none" to UDP: all ones mean the same to
/// everybody.
pub(super) fn finish(sum: u64) -> [u8; 2] {
    match !fold(sum) {
        0 => [0xFF; 2],
        checksum => checksum.to_be_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 1071, 3.
    #[test]
    fn rfc_1071_the_example() {
        assert_eq!(fold(sum(&[0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7])), 0xDDF2);
        assert_eq!(finish(0xDDF2), [0x22, 0x0D]);
    }

    #[test]
    fn an_odd_byte_is_the_upper_half_of_a_word() {
        assert_eq!(sum(&[1, 2, 3]), 0x0102 + 0x0300);
        assert_eq!(sum(&[]), 0);
    }

    #[test]
    fn carries_come_round_and_zero_is_never_sent() {
        assert_eq!(fold(0x1_FFFF), 1);
        assert_eq!((finish(0xFFFF), finish(0)), ([0xFF, 0xFF], [0xFF, 0xFF]));
    }
}
