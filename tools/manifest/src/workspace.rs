// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the sources are that this was built from.

use std::path::{Path, PathBuf};

/// The workspace's root, two folders above this crate, or the current folder when the sources have moved.
#[must_use]
pub fn workspace() -> PathBuf {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
    if built_from.join("Cargo.toml").is_file() { built_from.to_path_buf() } else { PathBuf::from(".") }
}
