// SPDX-License-Identifier: MIT OR Apache-2.0
//! All files of the workspace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vambrace_manifest::workspace;

/// A file.
pub(crate) struct Source {
    /// Relative to the workspace's root.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn has_extension(&self, wanted: &str) -> bool {
        self.path.extension().is_some_and(|extension| extension == wanted)
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }
}

/// All text files, in order of their paths.
pub(crate) fn all() -> Vec<Source> {
    let root = workspace();
    let mut sources = Vec::new();
    let collected = collect(&root, &root, &mut sources);
    assert!(collected.is_ok(), "the workspace cannot be read: {collected:?}");
    assert!(sources.len() > 100, "the workspace is not where it was built from");
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_ours = name == ".ci" || !(name == "target" || name.starts_with('.'));
        if path.is_dir() && is_ours {
            collect(root, &path, sources)?;
        } else if let (Ok(text), Ok(relative)) = (fs::read_to_string(&path), path.strip_prefix(root)) {
            sources.push(Source { path: relative.to_owned(), text });
        }
    }
    Ok(())
}
