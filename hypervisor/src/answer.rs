// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a virtio block device has written of what it was to write (virtio 1.2, 2.7.8 "The Virtqueue Used Ring", 5.2.6).
//!
//! A request's buffer has held other requests' data, another VM's among them. So what the device has not written is shown to
//! nobody, and a status that it has not written is no success.

/// The request has failed (VIRTIO_BLK_S_IOERR).
const IOERR: u8 = 1;

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How many bytes of the data are the device's.
    pub written: usize,
    /// The status; 0 is success.
    pub status: u8,
}

/// Judges a request for which the device was to write `len` bytes of data and then a status, has written `used` bytes in all,
/// and after which `status` is found in the status's place.
#[must_use]
pub fn judge(len: usize, used: u32, status: u8) -> Answer {
    let used = usize::try_from(used).unwrap_or(usize::MAX);
    if used > len {
        return Answer { written: len, status };
    }
    // The status comes last: it was not written, and is another request's.
    Answer { written: used, status: if status == 0 { IOERR } else { status } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_answer_stands() {
        assert_eq!(judge(512, 513, 0), Answer { written: 512, status: 0 });
        assert_eq!(judge(512, 513, 2), Answer { written: 512, status: 2 });
        assert_eq!(judge(0, 1, 0), Answer { written: 0, status: 0 });
        // A device that counts too much has written no more than there is.
        assert_eq!(judge(512, u32::MAX, 0), Answer { written: 512, status: 0 });
    }

    #[test]
    fn a_short_answer_is_no_success_and_says_what_is_the_devices() {
        for used in [0, 1, 511, 512] {
            let answer = judge(512, used, 0);
            assert_eq!(answer, Answer { written: used as usize, status: IOERR });
        }
        assert_eq!(judge(0, 0, 0), Answer { written: 0, status: IOERR });
    }
}
