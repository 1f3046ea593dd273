// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images of disks: copies that take no more room than they must.
//!
//! Where the file system can share blocks the copy is there at once; elsewhere only what is no hole is copied.

use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::SeekFrom as Next;

use super::SetupError;

/// Copies the image `from` to `to`, unless there is such a file: then it stays as it is. What is there is whole, whoever
/// was interrupted.
///
/// # Errors
/// When it cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<(), SetupError> {
    if to.exists() {
        return Ok(());
    }
    let failed = |error: io::Error| SetupError::file(&format!("copy {} to", from.display()), to, &error);
    // A path of one component has an empty parent, which is no folder.
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // As any new file of the user's, not the secret that temporary files are.
    let permissions = Permissions::from_mode(0o666);
    let mut draft = tempfile::Builder::new()
        .prefix(".disk-")
        .permissions(permissions)
        .tempfile_in(folder)
        .map_err(failed)?;
    let mut source = File::open(from).map_err(failed)?;
    if !share(&source, draft.as_file()) {
        copy_data(&mut source, draft.as_file_mut()).map_err(failed)?;
    }
    match draft.persist_noclobber(to) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error.error)),
        _ => Ok(()),
    }
}

/// Whether the file system has let `to` share all of `from`.
#[cfg(target_os = "linux")]
fn share(from: &File, to: &File) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn share(_from: &File, _to: &File) -> bool {
    false
}

/// Copies what is no hole.
fn copy_data(from: &mut File, to: &mut File) -> io::Result<()> {
    let len = from.metadata()?.len();
    to.set_len(len)?;
    let mut end = 0;
    while end < len {
        let start = match rustix::fs::seek(&*from, Next::Data(end)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            // A file system that does not tell holes.
            Err(_) => end,
        };
        end = rustix::fs::seek(&*from, Next::Hole(start)).unwrap_or(len);
        from.seek(SeekFrom::Start(start))?;
        to.seek(SeekFrom::Start(start))?;
        io::copy(&mut Read::take(&mut *from, end - start), to)?;
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_the_same_holes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        for at in [0, 5 << 20, (64 << 20) - 5] {
            file.write_all_at(b"words", at).unwrap();
        }
        copy(&from, &to).unwrap();
        assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
        let (before, after) = (file.metadata().unwrap().blocks(), std::fs::metadata(&to).unwrap().blocks());
        assert!(after <= before + 64, "{after} blocks for {before}");
    }

    #[test]
    fn a_copy_that_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::write(&from, "new").unwrap();
        std::fs::write(&to, "written to").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"written to");
    }

    #[test]
    fn a_copy_that_cannot_be_made_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let error = copy(&folder.path().join("none"), &folder.path().join("to")).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
