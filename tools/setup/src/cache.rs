// SPDX-License-Identifier: MIT OR Apache-2.0
//! The user's cache folder: `$XDG_CACHE_HOME/vambrace`, usually `~/.cache/vambrace`.
//!
//! Each entry is a folder named for what it holds and its version. It is filled in a staging folder and renamed
//! when complete, so an entry that exists is whole, whoever was interrupted. The whole folder may be deleted at
//! any time; that is also how newer versions are fetched.

use std::fs::File;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use super::SetupError;

/// The cache folder.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// Exclusive use of one part of the cache, across processes, until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Cache {
    /// The user's cache.
    ///
    /// # Errors
    /// When the home folder is unknown, or the cache folder cannot be made.
    pub fn user() -> Result<Self, SetupError> {
        let base = etcetera::base_strategy::choose_base_strategy().map_err(|error| {
            SetupError::new(
                format!("cannot tell your home folder: {error}"),
                "set XDG_CACHE_HOME to a folder",
            )
        })?;
        Self::at(base.cache_dir().join("vambrace"))
    }

    /// A cache in a given folder, made when missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn at(folder: PathBuf) -> Result<Self, SetupError> {
        make_folder(&folder)?;
        Ok(Self { folder })
    }

    /// The cache's own folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder inside the cache, made when missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn subfolder(&self, name: &str) -> Result<PathBuf, SetupError> {
        let folder = self.folder.join(name);
        make_folder(&folder)?;
        Ok(folder)
    }

    /// Waits until no other process works on `name`, and keeps others out.
    ///
    /// # Errors
    /// When the lock file cannot be made or locked.
    pub fn lock(&self, name: &str) -> Result<Lock, SetupError> {
        let path = self.folder.join(format!("{name}.lock"));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| SetupError::file("open", &path, &error))?;
        file.lock().map_err(|error| SetupError::file("lock", &path, &error))?;
        Ok(Lock { _file: file })
    }

    /// The complete entry `NAME-VERSION` with the highest version that begins with `version`.
    #[must_use]
    pub fn newest(&self, name: &str, version: &str) -> Option<PathBuf> {
        let prefix = format!("{name}-{version}");
        let matches = |entry: &str| {
            entry.strip_prefix(&prefix).is_some_and(|rest| {
                version.is_empty() || rest.is_empty() || rest.starts_with(|next: char| !next.is_ascii_digit())
            })
        };
        std::fs::read_dir(&self.folder)
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|entry| matches(entry) && self.folder.join(entry).is_dir())
            .max_by(|a, b| compare_versions(a, b))
            .map(|entry| self.folder.join(entry))
    }

    /// An empty folder on the cache's own file system, deleted unless [adopted](Cache::adopt).
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn staging(&self) -> Result<tempfile::TempDir, SetupError> {
        tempfile::Builder::new()
            .prefix(".staging-")
            .tempdir_in(&self.folder)
            .map_err(|error| SetupError::file("make a folder in", &self.folder, &error))
    }

    /// Makes a complete folder the entry `NAME-VERSION`.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn adopt(&self, complete: &Path, name: &str, version: &str) -> Result<PathBuf, SetupError> {
        let entry = self.folder.join(format!("{name}-{version}"));
        match std::fs::rename(complete, &entry) {
            Err(_) if entry.is_dir() => Ok(entry),
            Err(error) => Err(SetupError::file("rename to", &entry, &error)),
            Ok(()) => Ok(entry),
        }
    }
}

fn make_folder(folder: &Path) -> Result<(), SetupError> {
    std::fs::create_dir_all(folder).map_err(|error| SetupError::file("make", folder, &error))
}

/// Compares version strings as people do: runs of digits by value, all else byte by byte.
#[must_use]
pub fn compare_versions(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (text_a, rest_a) = split(a, |c| !c.is_ascii_digit());
        let (text_b, rest_b) = split(b, |c| !c.is_ascii_digit());
        let (number_a, rest_a) = split(rest_a, |c| c.is_ascii_digit());
        let (number_b, rest_b) = split(rest_b, |c| c.is_ascii_digit());
        let value = |digits: &str| digits.parse::<u64>().unwrap_or(0);
        let order = text_a.cmp(text_b).then(value(number_a).cmp(&value(number_b)));
        if order.is_ne() || (rest_a.is_empty() && rest_b.is_empty()) {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache")).unwrap();
        (folder, cache)
    }

    #[test]
    fn versions_compare_by_number() {
        for (a, b) in [("6.9", "6.12"), ("6.1.0-9", "6.1.0-47"), ("6.12", "6.12.1"), ("", "1")] {
            assert_eq!(compare_versions(a, b), Ordering::Less, "{a} {b}");
            assert_eq!(compare_versions(b, a), Ordering::Greater, "{a} {b}");
        }
        assert_eq!(compare_versions("6.12.94+deb13", "6.12.94+deb13"), Ordering::Equal);
    }

    #[test]
    fn the_newest_of_a_series_is_found_and_another_series_is_not() {
        let (_folder, cache) = cache();
        for version in ["6.1.0-9", "6.1.0-47", "6.12.94+deb13", "6.12.107+deb13"] {
            let staging = cache.staging().unwrap();
            cache.adopt(staging.path(), "linux", version).unwrap();
        }
        let name = |version| Some(cache.newest("linux", version)?.file_name()?.to_str()?.to_owned());
        assert_eq!(name("6.1").as_deref(), Some("linux-6.1.0-47"));
        assert_eq!(name("6.12").as_deref(), Some("linux-6.12.107+deb13"));
        assert_eq!(name("6.12.94+deb13").as_deref(), Some("linux-6.12.94+deb13"));
        assert_eq!(name("").as_deref(), Some("linux-6.12.107+deb13"));
        assert_eq!(name("5"), None);
    }

    #[test]
    fn a_staging_folder_that_is_not_adopted_leaves_nothing() {
        let (_folder, cache) = cache();
        drop(cache.staging().unwrap());
        assert_eq!(std::fs::read_dir(cache.folder()).unwrap().count(), 0);
    }

    #[test]
    fn the_lock_keeps_others_out_until_it_is_dropped() {
        let (_folder, cache) = cache();
        let lock = cache.lock("x").unwrap();
        let path = cache.folder().join("x.lock");
        assert!(File::options().write(true).open(&path).unwrap().try_lock().is_err());
        drop(lock);
        assert!(File::options().write(true).open(&path).unwrap().try_lock().is_ok());
    }
}
