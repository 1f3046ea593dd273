// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree of files as part of an initramfs: there every owner and every kind of file can be had, without being root here.
//!
//! From tar's format to cpio's "newc": the kernel knows a hard link by its inode number, so each file has its own and the
//! link count 2, which is what makes the kernel remember it (see "initramfs buffer format" in its documentation).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use cpio::NewcBuilder;
use tar::{Entry, EntryType, Header};

/// The folder of the initramfs that the tree grows in.
const TOP: &str = "tree";

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// A tree being written.
#[derive(Debug)]
pub(super) struct Tree<W> {
    to: W,
    inodes: u32,
    /// The inode numbers of files, which others may be links to.
    files: BTreeMap<String, u32>,
    /// Folders, and symbolic links, which may stand for folders.
    folders: BTreeSet<String>,
}

impl<W: Write> Tree<W> {
    /// An empty tree.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn new(to: W) -> io::Result<Self> {
        let mut tree = Self { to, inodes: 0, files: BTreeMap::new(), folders: BTreeSet::new() };
        tree.folder("")?;
        Ok(tree)
    }

    /// A folder of root's, unless there is one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn folder(&mut self, path: &str) -> io::Result<()> {
        if self.folders.insert(path.to_owned()) {
            let inode = self.inode();
            self.add(
                path,
                NewcBuilder::new(&under_top(path)).ino(inode).mode(FOLDER | 0o755),
                0,
                io::empty(),
            )?;
        }
        Ok(())
    }

    /// A file of root's, with the permissions `mode`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn file(&mut self, path: &str, mode: u32, data: &[u8]) -> io::Result<()> {
        let inode = self.inode();
        let entry = NewcBuilder::new(&under_top(path)).ino(inode).nlink(2).mode(FILE | mode);
        self.add(path, entry, data.len() as u64, data)
    }

    /// What `entry` of an archive describes, under the path `path`.
    ///
    /// # Errors
    /// When it cannot be read or written, or is of a kind that no package has.
    pub(super) fn unpack(&mut self, path: &str, entry: Entry<'_, impl Read>) -> io::Result<()> {
        let header = entry.header().clone();
        let kind = header.entry_type();
        if kind == EntryType::Directory && !self.folders.insert(path.to_owned()) {
            return Ok(());
        }
        let inode = if kind == EntryType::Link { self.linked(path, &entry)? } else { self.inode() };
        let described = describe(path, &header)?.ino(inode).nlink(2);
        let mode = header.mode()?;
        match kind {
            EntryType::Directory => self.add(path, described.mode(FOLDER | mode), 0, io::empty()),
            EntryType::Regular => {
                self.files.insert(path.to_owned(), inode);
                self.add(path, described.mode(FILE | mode), header.size()?, entry)
            }
            EntryType::Link => self.add(path, described.mode(FILE | mode), 0, io::empty()),
            EntryType::Symlink => {
                self.folders.insert(path.to_owned());
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                self.add(path, described.mode(LINK | 0o777), target.len() as u64, target.as_slice())
            }
            _ => Err(odd(path, "neither file, folder nor link")),
        }
    }

    /// The inode of the file that an entry is another name of.
    fn linked(&self, path: &str, entry: &Entry<'_, impl Read>) -> io::Result<u32> {
        let file = relative(&entry.link_name_bytes().unwrap_or_default())?;
        self.files.get(&file).copied().ok_or_else(|| odd(path, "a link to what is not there"))
    }

    /// The writer, with the whole tree in it.
    ///
    /// # Errors
    /// When the end cannot be written.
    pub(super) fn finish(self) -> io::Result<W> {
        cpio::newc::trailer(self.to)
    }

    fn inode(&mut self) -> u32 {
        self.inodes += 1;
        self.inodes
    }

    fn add(&mut self, path: &str, entry: NewcBuilder, len: u64, mut data: impl Read) -> io::Result<()> {
        let len = u32::try_from(len).map_err(|_| odd(path, "too large"))?;
        let mut writer = entry.write(&mut self.to, len);
        io::copy(&mut data, &mut writer)?;
        writer.finish().map(drop)
    }
}

/// Owner and time.
fn describe(path: &str, header: &Header) -> io::Result<NewcBuilder> {
    let number = |value: io::Result<u64>| u32::try_from(value?).map_err(|_| odd(path, "too large a number"));
    let entry = NewcBuilder::new(&under_top(path));
    Ok(entry.uid(number(header.uid())?).gid(number(header.gid())?).mtime(number(header.mtime())?))
}

/// `usr/bin` for `./usr/bin/`; the empty path for the tree itself.
///
/// # Errors
/// For a path that would lead out of the tree, or is no text.
pub(super) fn relative(path: &[u8]) -> io::Result<String> {
    let path = std::str::from_utf8(path).map_err(io::Error::other)?;
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err(odd(path, "outside the tree"));
    }
    Ok(parts.join("/"))
}

fn under_top(path: &str) -> String {
    if path.is_empty() { TOP.to_owned() } else { format!("{TOP}/{path}") }
}

fn odd(path: &str, what: &str) -> io::Error {
    io::Error::other(format!("/{path} is {what}"))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// An entry of another kind than a file, with what it links to.
    fn header(kind: EntryType, path: &str, to: &str) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_path(path).unwrap();
        if !to.is_empty() {
            header.set_link_name(to).unwrap();
        }
        header.set_size(0);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(8);
        header.set_mtime(1);
        header.set_cksum();
        header
    }

    fn archive(entries: &[(Header, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (header, data) in entries {
            let mut header = header.clone();
            header.set_size(data.len() as u64);
            header.set_cksum();
            archive.append(&header, *data).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn unpack(archive: &[u8]) -> io::Result<Vec<u8>> {
        let mut tree = Tree::new(Vec::new())?;
        for entry in tar::Archive::new(archive).entries()? {
            let entry = entry?;
            tree.unpack(&relative(&entry.path_bytes())?, entry)?;
        }
        tree.finish()
    }

    /// Names with modes, inodes and contents.
    fn list(bytes: Vec<u8>) -> Vec<(String, u32, u32, String)> {
        let mut reader = Cursor::new(bytes);
        let mut files = Vec::new();
        loop {
            let mut entry = cpio::NewcReader::new(reader).unwrap();
            if entry.entry().is_trailer() {
                return files;
            }
            let mut data = String::new();
            let about = entry.entry();
            let (name, mode, inode) = (about.name().to_owned(), about.mode(), about.ino());
            entry.read_to_string(&mut data).unwrap();
            files.push((name, mode, inode, data));
            reader = entry.finish().unwrap();
        }
    }

    #[test]
    fn links_are_links_and_folders_are_made_once() {
        let files = list(
            unpack(&archive(&[
                (header(EntryType::Symlink, "./lib", "usr/lib"), b""),
                (header(EntryType::Regular, "./usr/bin/perl", ""), b"ELF"),
                (header(EntryType::Link, "./usr/bin/perl5", "./usr/bin/perl"), b""),
                (header(EntryType::Directory, "./lib/", ""), b""),
                (header(EntryType::Directory, "./var/", ""), b""),
                (header(EntryType::Directory, "./var/", ""), b""),
            ]))
            .unwrap(),
        );
        let names: Vec<&str> = files.iter().map(|file| file.0.as_str()).collect();
        assert_eq!(names, ["tree", "tree/lib", "tree/usr/bin/perl", "tree/usr/bin/perl5", "tree/var"]);
        assert_eq!((files[1].1, files[1].3.as_str()), (LINK | 0o777, "usr/lib"));
        assert_eq!((files[2].1, files[2].3.as_str()), (FILE | 0o755, "ELF"));
        assert_eq!((files[3].2, files[3].3.as_str()), (files[2].2, ""));
        assert_ne!(files[4].2, files[2].2);
    }

    #[test]
    fn what_no_package_has_is_refused() {
        let refused =
            |kind, path, to| unpack(&archive(&[(header(kind, path, to), b"")])).unwrap_err().to_string();
        assert_eq!(refused(EntryType::Link, "a", "b"), "/a is a link to what is not there");
        assert_eq!(refused(EntryType::Block, "dev/vda", ""), "/dev/vda is neither file, folder nor link");
        assert!(relative(b"./usr/../../etc").is_err());
        assert_eq!(relative(b"./usr//bin/").unwrap(), "usr/bin");
    }
}
