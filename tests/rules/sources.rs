// SPDX-License-Identifier: MIT OR Apache-2.0
//! All files of the workspace.

use std::fs;
use std::path::{Path, PathBuf};

use vambrace::setup::workspace;

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
    collect(&root, &root, &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 100, "the workspace is not where it was built from");
    sources
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name == ".ci" || !(name == "target" || name.starts_with('.')) {
                collect(root, &path, sources);
            }
        } else if let Ok(text) = fs::read_to_string(&path) {
            sources.push(Source { path: path.strip_prefix(root).unwrap().to_owned(), text });
        }
    }
}
