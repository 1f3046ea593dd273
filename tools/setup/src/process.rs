// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs other programs: line by line while they work, with their own words when they fail.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::SetupError;

/// How many of a failed program's last lines are shown.
const TAIL: usize = 30;

/// Finds a program in `PATH`.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// What a program prints, if it runs and succeeds.
#[must_use]
pub fn answer(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// One line of a program at work.
#[derive(Clone, Copy, Debug)]
pub enum Line<'a> {
    /// From its standard output.
    Out(&'a str),
    /// From its standard error.
    Err(&'a str),
}

/// Runs a program to its end and hands each line to `line`; the error carries the last of its error lines.
///
/// # Errors
/// When it cannot be started or fails; `mend` becomes the error's instruction.
pub fn run(
    command: &mut Command,
    mend: &str,
    mut line: impl FnMut(Line<'_>) + Send,
) -> Result<(), SetupError> {
    let name = Path::new(command.get_program()).display().to_string();
    let failed = |why: String| SetupError::new(format!("{name} failed: {why}"), mend);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());

    let (sender, lines) = std::sync::mpsc::channel();
    let out = sender.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || for_each_line(stdout, |text| drop(out.send((true, text)))));
        scope.spawn(move || for_each_line(stderr, |text| drop(sender.send((false, text)))));
        let mut tail = std::collections::VecDeque::new();
        for (out, text) in lines {
            line(if out { Line::Out(&text) } else { Line::Err(&text) });
            if !out {
                tail.push_back(text);
                if tail.len() > TAIL {
                    tail.pop_front();
                }
            }
        }
        let status = child.wait().map_err(|error| failed(error.to_string()))?;
        if status.success() {
            return Ok(());
        }
        let said: Vec<String> = tail.into_iter().collect();
        Err(failed(if said.is_empty() { status.to_string() } else { format!("\n{}", said.join("\n")) }))
    })
}

fn for_each_line(stream: Option<impl Read>, mut each: impl FnMut(String)) {
    let Some(stream) = stream else { return };
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { return };
        each(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_streams_arrive() {
        let mut seen = Vec::new();
        run(Command::new("sh").args(["-c", "echo one; echo two >&2"]), "mend", |line| {
            seen.push(match line {
                Line::Out(text) => format!("out {text}"),
                Line::Err(text) => format!("err {text}"),
            });
        })
        .unwrap();
        seen.sort();
        assert_eq!(seen, ["err two", "out one"]);
    }

    #[test]
    fn a_failure_carries_the_programs_own_words_and_the_mend() {
        let error = run(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"]), "do that", |_| {})
            .unwrap_err();
        assert!(error.what.contains("no such thing"), "{error}");
        assert_eq!(error.mend, "do that");
    }
}
