// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's control line: the QEMU Machine Protocol, as much of it as a measurement needs.
//!
//! Each message is a line of JSON. QEMU greets, and takes commands once the capabilities are settled; events come in
//! between. See "QEMU Machine Protocol Specification" in QEMU's documentation.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use serde_json::{Value, json};

/// A connection.
#[derive(Debug)]
pub(super) struct Qmp {
    lines: BufReader<UnixStream>,
}

impl Qmp {
    /// Waits for QEMU to connect, as it does before it starts anything.
    ///
    /// # Errors
    /// When whoever connects is no QEMU.
    pub(super) fn accept(listener: &UnixListener) -> io::Result<Self> {
        let (stream, _) = listener.accept()?;
        let mut qmp = Self { lines: BufReader::new(stream) };
        qmp.next()?;
        qmp.execute("qmp_capabilities")?;
        Ok(qmp)
    }

    /// Has QEMU do something, and returns what it says.
    ///
    /// # Errors
    /// When QEMU has ended, or refuses.
    pub(super) fn execute(&mut self, command: &str) -> io::Result<Value> {
        writeln!(self.lines.get_mut(), "{}", json!({ "execute": command }))?;
        loop {
            let mut answer = self.next()?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                return Err(io::Error::other(format!("QEMU refuses {command}: {error}")));
            }
        }
    }

    /// Waits for an event.
    ///
    /// # Errors
    /// When QEMU ends before.
    pub(super) fn wait_for(&mut self, event: &str) -> io::Result<()> {
        while self.next()?.get("event").and_then(Value::as_str) != Some(event) {}
        Ok(())
    }

    fn next(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        serde_json::from_str(&line).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Plays QEMU: says what it is to say, and returns what was said to it.
    fn qemu(says: &str) -> (tempfile::TempDir, UnixListener, thread::JoinHandle<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        let says = says.to_owned();
        let qemu = thread::spawn(move || {
            let mut stream = UnixStream::connect(path).unwrap();
            stream.write_all(says.as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            io::read_to_string(stream).unwrap()
        });
        (folder, listener, qemu)
    }

    #[test]
    fn events_between_command_and_answer_are_passed_over() {
        let says = "{\"QMP\": {}}\n{\"return\": {}}\n{\"event\": \"RESUME\"}\n{\"event\": \"STOP\"}\n\
                    {\"event\": \"SHUTDOWN\"}\n{\"return\": {\"icount\": 7}}\n";
        let (_folder, listener, qemu) = qemu(says);
        let mut qmp = Qmp::accept(&listener).unwrap();
        qmp.wait_for("STOP").unwrap();
        assert_eq!(qmp.execute("query-replay").unwrap()["icount"], 7);
        assert_eq!(qmp.wait_for("STOP").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        drop(qmp);
        assert_eq!(
            qemu.join().unwrap(),
            "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-replay\"}\n"
        );
    }

    #[test]
    fn a_refusal_is_told_in_qemus_words() {
        let says = "{\"QMP\": {}}\n{\"return\": {}}\n{\"error\": {\"desc\": \"no such command\"}}\n";
        let (_folder, listener, qemu) = qemu(says);
        let mut qmp = Qmp::accept(&listener).unwrap();
        let error = qmp.execute("fly").unwrap_err().to_string();
        assert!(error.starts_with("QEMU refuses fly") && error.contains("no such command"), "{error}");
        drop(qmp);
        qemu.join().unwrap();
    }
}
