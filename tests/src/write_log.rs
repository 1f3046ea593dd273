// SPDX-License-Identifier: MIT OR Apache-2.0
//! Power cuts of a disk, from a log of all that was written to it.
//!
//! To kill QEMU takes nothing from a disk that QEMU has been given: the host keeps it. A disk with a cache of its own loses
//! what was not flushed, and keeps of it what it likes. QEMU can log all writes and flushes in their order (`blklogwrites`,
//! in the format of Linux's `dm-log-writes`), and from that the disk is made as it may be found after a cut at any moment: all
//! that came before the last flush, and of what came later some, by chance.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use libtest_mimic::Failed;

/// Bytes of a sector of the log, and of the disk.
const SECTOR: usize = 512;
/// The log's first eight bytes.
const MAGIC: u64 = 0x006A_7366_7773_6872;
const FLUSH: u64 = 1 << 0;
const FORCE_UNIT_ACCESS: u64 = 1 << 1;
const DISCARD: u64 = 1 << 2;

/// A log.
#[derive(Debug)]
pub struct WriteLog {
    requests: Vec<Request>,
}

/// What the disk was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Request {
    Write {
        /// The first byte on the disk.
        start: u64,
        data: Vec<u8>,
        /// On the disk before it was answered.
        is_forced: bool,
    },
    Flush,
}

impl WriteLog {
    /// Reads a log.
    ///
    /// # Errors
    /// When it is none, or cut short.
    pub fn read(path: &Path) -> Result<Self, Failed> {
        Self::parse(&std::fs::read(path)?)
            .ok_or_else(|| format!("{} is no log of writes", path.display()).into())
    }

    fn parse(log: &[u8]) -> Option<Self> {
        let number = |bytes: &[u8], index: usize| {
            let bytes = bytes.get(8 * index..)?.first_chunk()?;
            Some(u64::from_le_bytes(*bytes))
        };
        let (head, mut rest) = log.split_at_checked(SECTOR)?;
        if number(head, 0)? != MAGIC {
            return None;
        }
        let mut requests = Vec::new();
        for _ in 0..number(head, 2)? {
            let (entry, behind) = rest.split_at_checked(SECTOR)?;
            let (sector, sectors, flags) = (number(entry, 0)?, number(entry, 1)?, number(entry, 2)?);
            rest = behind;
            if flags & FLUSH != 0 {
                requests.push(Request::Flush);
            }
            // What is read where something was discarded is anyone's guess; what was there before is one.
            if sectors == 0 || flags & DISCARD != 0 {
                continue;
            }
            let (data, behind) = rest.split_at_checked(usize::try_from(sectors).ok()? * SECTOR)?;
            rest = behind;
            let is_forced = flags & FORCE_UNIT_ACCESS != 0;
            requests.push(Request::Write { start: sector * SECTOR as u64, data: data.to_vec(), is_forced });
        }
        Some(Self { requests })
    }

    /// How many requests there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there was none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// How many of the first `moment` requests were flushes.
    #[must_use]
    pub fn flushes(&self, moment: usize) -> usize {
        self.requests.iter().take(moment).filter(|request| **request == Request::Flush).count()
    }

    /// The data of the writes at one place, each with the number of requests up to it.
    pub fn writes_at(&self, place: u64) -> impl Iterator<Item = (usize, &[u8])> {
        self.requests.iter().zip(1..).filter_map(move |(request, moment)| match request {
            Request::Write { start, data, .. } => {
                let skip = usize::try_from(place.checked_sub(*start)?).ok()?;
                Some((moment, data.get(skip..).filter(|data| !data.is_empty())?))
            }
            Request::Flush => None,
        })
    }

    /// Writes the disk, of zeros before, as a power cut after the first `moment` requests leaves it. What was not flushed is there if `keeps`
    /// says so.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn cut(&self, moment: usize, disk: &File, mut keeps: impl FnMut() -> bool) -> Result<(), Failed> {
        let before = self.requests.get(..moment).unwrap_or(&self.requests);
        let flushed = before.iter().rposition(|request| *request == Request::Flush).unwrap_or(0);
        for (index, request) in before.iter().enumerate() {
            if let Request::Write { start, data, is_forced } = request
                && (index < flushed || *is_forced || keeps())
            {
                disk.write_all_at(data, *start)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sector: u64, sectors: u64, flags: u64, byte: u8) -> Vec<u8> {
        let mut entry = [sector, sectors, flags, 0].map(u64::to_le_bytes).concat();
        entry.resize(SECTOR, 0);
        if flags & DISCARD == 0 {
            entry.resize(SECTOR * (1 + usize::try_from(sectors).unwrap()), byte);
        }
        entry
    }

    fn log(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut log = [MAGIC, 1, entries.len() as u64, SECTOR as u64].map(u64::to_le_bytes).concat();
        log.resize(SECTOR, 0);
        [log, entries.concat()].concat()
    }

    /// The first byte of each sector after a cut.
    fn after(entries: &[Vec<u8>], moment: usize, keeps: bool) -> [u8; 4] {
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(4 * SECTOR as u64).unwrap();
        WriteLog::parse(&log(entries)).unwrap().cut(moment, &disk, || keeps).unwrap();
        [0, 1, 2, 3].map(|sector| {
            let mut byte = [0];
            disk.read_exact_at(&mut byte, sector * SECTOR as u64).unwrap();
            byte[0]
        })
    }

    #[test]
    fn what_was_flushed_is_there_and_the_rest_by_chance() {
        let entries = [
            entry(0, 2, 0, 1),
            entry(0, 0, FLUSH, 0),
            entry(1, 1, 0, 2),
            entry(0, 4, DISCARD, 0),
            entry(3, 1, FORCE_UNIT_ACCESS, 3),
        ];
        assert_eq!(after(&entries, 1, false), [0, 0, 0, 0]);
        assert_eq!(after(&entries, 1, true), [1, 1, 0, 0]);
        assert_eq!(after(&entries, 2, false), [1, 1, 0, 0]);
        assert_eq!(after(&entries, 9, false), [1, 1, 0, 3]);
        assert_eq!(after(&entries, 9, true), [1, 2, 0, 3]);
    }

    #[test]
    fn writes_are_found_by_their_place() {
        let log =
            WriteLog::parse(&log(&[entry(0, 2, 0, 1), entry(0, 0, FLUSH, 0), entry(1, 1, 0, 2)])).unwrap();
        let found: Vec<_> = log.writes_at(512).map(|(moment, data)| (moment, data[0], data.len())).collect();
        assert_eq!(found, [(1, 1, 512), (3, 2, 512)]);
        assert_eq!((log.flushes(1), log.flushes(2)), (0, 1));
    }

    #[test]
    fn what_is_cut_short_is_no_log() {
        let whole = log(&[entry(0, 2, 0, 1)]);
        assert!(WriteLog::parse(&whole).is_some());
        for short in [0, 100, SECTOR, whole.len() - 1] {
            assert!(WriteLog::parse(&whole[..short]).is_none());
        }
        assert!(WriteLog::parse(&[0; 1024]).is_none());
    }
}
