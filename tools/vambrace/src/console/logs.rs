// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was said, in files: each VM's console as it wrote it, and what the hypervisor said in lines.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::ShowError;
use super::lines::Lines;
use vambrace_manifest::OWN_NAME;
use vambrace_runner::{Event, Message};

/// The files of one run.
#[derive(Debug)]
pub struct Logs {
    consoles: Vec<Log>,
    own: Log,
    /// Puts what is not from a console in lines.
    lines: Lines,
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
}

impl Logs {
    /// Makes the folder, and in it a file `NAME.log` for each VM and one for the hypervisor. Those of an earlier run are
    /// written anew.
    ///
    /// # Errors
    /// When one cannot be made.
    pub fn create(folder: &Path, names: &[String]) -> Result<Self, ShowError> {
        std::fs::create_dir_all(folder).map_err(|error| ShowError::Log { path: folder.to_owned(), error })?;
        let log = |name: &str| Log::create(folder.join(format!("{name}.log")));
        let consoles = names.iter().map(|name| log(name)).collect::<Result<_, _>>()?;
        Ok(Self { consoles, own: log(OWN_NAME)?, lines: Lines::new(names) })
    }

    /// Writes what an event says.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn absorb(&mut self, event: &Event) -> Result<(), ShowError> {
        if let Event::Message(Message::Console { vm, bytes }) = event {
            return self.consoles.get_mut(usize::from(*vm)).map_or(Ok(()), |log| log.write(bytes));
        }
        let mut text = Vec::new();
        self.lines.absorb(event, &mut text);
        self.own.write(&text)
    }

    /// Writes what has no line end yet.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&mut self) -> Result<(), ShowError> {
        let mut text = Vec::new();
        self.lines.finish(&mut text);
        self.own.write(&text)
    }
}

impl Log {
    fn create(path: PathBuf) -> Result<Self, ShowError> {
        match File::create(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(ShowError::Log { path, error }),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ShowError> {
        let done: io::Result<()> = self.file.write_all(bytes);
        done.map_err(|error| ShowError::Log { path: self.path.clone(), error })
    }
}

#[cfg(test)]
mod tests {
    use vambrace_wire::message::VmState;

    use super::*;

    #[test]
    fn each_vm_has_a_file_of_its_own_and_so_has_the_hypervisor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/logs");
        let mut logs = Logs::create(&path, &["a".into(), "b".into()]).unwrap();
        let console =
            |vm, text: &str| Event::Message(Message::Console { vm, bytes: text.as_bytes().to_vec() });
        for event in [
            console(0, "half a "),
            console(1, "\x1b[1mof b\r\n"),
            Event::Message(Message::State { vm: 1, state: VmState::Off }),
            console(0, "line"),
            console(7, "nobody"),
            Event::Text(b"panic".to_vec()),
        ] {
            logs.absorb(&event).unwrap();
        }
        logs.finish().unwrap();
        let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
        assert_eq!(read("a.log"), "half a line");
        assert_eq!(read("b.log"), "\x1b[1mof b\r\n");
        assert_eq!(read("vambrace.log"), "vambrace | b powered off\nvambrace | panic\n");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), b"").unwrap();
        let error = Logs::create(&folder.path().join("file/logs"), &[]).unwrap_err();
        assert!(error.to_string().contains("file/logs"), "{error}");
    }
}
