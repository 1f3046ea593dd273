// SPDX-License-Identifier: MIT OR Apache-2.0
//! gzip files, all of their members: `cat a.gz b.gz` unpacks to what a and b unpack to (RFC 1952, section 2.2), and parallel
//! packers write many members.

use std::io::{self, Read};

use flate2::bufread::GzDecoder;

/// A member's first bytes: the magic, and the one method that there is.
const MEMBER: &[u8] = &[0x1F, 0x8B, 8];

/// Unpacks, and stops once there are more than `most` bytes. What follows the last member and begins no other is not looked
/// at, as gzip itself does it: signatures and padding stand there.
///
/// # Errors
/// When a member is damaged or cut off.
pub(crate) fn unpack(packed: &[u8], most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = packed;
    loop {
        let room = most.saturating_add(1).saturating_sub(bytes.len() as u64);
        let mut member = GzDecoder::new(rest).take(room);
        member.read_to_end(&mut bytes)?;
        rest = member.into_inner().into_inner();
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        rest = rest.get(zeros..).unwrap_or_default();
        if bytes.len() as u64 > most || !rest.starts_with(MEMBER) {
            return Ok(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::fakes::gzip;

    const MOST: u64 = 1 << 20;

    #[test]
    fn all_members_are_unpacked_and_what_follows_them_is_not() {
        let (a, b) = (gzip(b"first "), gzip(b"second"));
        for (between, after) in
            [(&b""[..], &b""[..]), (&[0; 7], &[0; 512]), (b"", b"a signature"), (b"", &[0x1F])]
        {
            let packed = [&a, between, &b, after].concat();
            assert_eq!(unpack(&packed, MOST).unwrap(), b"first second", "{between:?} {after:?}");
        }
    }

    #[test]
    fn a_damaged_member_is_told_wherever_it_is() {
        let (a, b) = (gzip(b"first "), gzip(b"second"));
        for at in [a.len() / 2, a.len() + b.len() / 2] {
            let packed = [a.as_slice(), &b].concat();
            assert!(unpack(&packed[..at], MOST).is_err(), "cut at {at}");
            let mut damaged = packed.clone();
            damaged[at] ^= 0x55;
            assert!(unpack(&damaged, MOST).is_err(), "damaged at {at}");
        }
    }

    #[test]
    fn what_unpacks_to_too_much_is_not_unpacked_to_the_end() {
        let packed = [gzip(&[0; 1000]), gzip(&[0; 1000])].concat();
        assert_eq!(unpack(&packed, 2000).unwrap().len(), 2000);
        assert_eq!(unpack(&packed, 1999).unwrap().len(), 2000);
        assert_eq!(unpack(&packed, 10).unwrap().len(), 11);
    }
}
