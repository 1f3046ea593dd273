// SPDX-License-Identifier: MIT OR Apache-2.0
//! A dump of physical memory, in one file or several, as the model reads it.
//!
//! Only the descriptors of a walk are read from the file, however large it is. What the walk asks for and no file has
//! is remembered: to the model that is an external abort, to the user a dump that is too short.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use vambrace_memory::Pa;
use vambrace_memory::stage2::PhysicalMemory;

use super::WalkError;
use crate::parse_value;

/// The memory that the files hold.
#[derive(Debug, Default)]
pub struct Image {
    parts: Vec<Part>,
    missing: Cell<Option<Pa>>,
}

#[derive(Debug)]
struct Part {
    base: u64,
    size: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    File(File),
    Bytes(Vec<u8>),
}

impl Image {
    /// Opens the files, each named as `FILE` or `FILE@PA`; those without an address lie at `base`.
    ///
    /// # Errors
    /// A file that cannot be read, an address that no descriptor can have, parts that overlap.
    pub fn open(files: &[String], base: u64) -> Result<Self, WalkError> {
        let mut image = Self::default();
        for name in files {
            let (path, base) = match name.rsplit_once('@') {
                Some((path, at)) => (path, parse_value(at)?),
                None => (name.as_str(), base),
            };
            let part = Part::open(Path::new(path), base)?;
            if let Some(other) = image.parts.iter().find(|other| other.overlaps(&part)) {
                return Err(WalkError::Overlap { path: path.to_owned(), range: other.range() });
            }
            image.parts.push(part);
        }
        Ok(image)
    }

    /// Memory that is made up.
    #[must_use]
    pub fn of_bytes(base: u64, bytes: Vec<u8>) -> Self {
        let part = Part { base, size: bytes.len() as u64, content: Content::Bytes(bytes) };
        Self { parts: vec![part], missing: Cell::new(None) }
    }

    /// The first address that was asked for and is in no file.
    pub fn missing(&self) -> Option<Pa> {
        self.missing.get()
    }

    /// The ranges that the files cover, in words.
    #[must_use]
    pub fn coverage(&self) -> String {
        let ranges: Vec<_> = self.parts.iter().map(Part::range).collect();
        ranges.join(", ")
    }
}

impl PhysicalMemory for Image {
    fn read(&self, pa: Pa) -> Option<u64> {
        let found = self.parts.iter().find_map(|part| part.read(pa));
        if found.is_none() && self.missing.get().is_none() {
            self.missing.set(Some(pa));
        }
        found
    }
}

impl Part {
    fn open(path: &Path, base: u64) -> Result<Self, WalkError> {
        if !base.is_multiple_of(8) {
            return Err(WalkError::Base { base });
        }
        let fail = |error: std::io::Error| WalkError::File {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let file = File::open(path).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len();
        if size == 0 {
            return Err(fail(std::io::Error::other("the file is empty")));
        }
        Ok(Self { base, size, content: Content::File(file) })
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.base < other.base.saturating_add(other.size) && other.base < self.base.saturating_add(self.size)
    }

    fn range(&self) -> String {
        format!("{:#x} to {:#x}", self.base, self.base.saturating_add(self.size - 1))
    }

    fn read(&self, pa: Pa) -> Option<u64> {
        let offset = pa.0.checked_sub(self.base).filter(|offset| *offset < self.size)?;
        let mut word = [0; 8];
        match &self.content {
            Content::File(file) => file.read_exact_at(&mut word, offset).ok()?,
            Content::Bytes(bytes) => {
                let start = usize::try_from(offset).ok()?;
                word.copy_from_slice(bytes.get(start..start.checked_add(8)?)?);
            }
        }
        Some(u64::from_le_bytes(word))
    }
}
