// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vambrace doctor`: what is there, what is missing, and what mends it. It only looks.

use std::fmt::Write as _;

use vambrace_runner::Exit;
use vambrace_setup::{Cache, SetupError, debian, process, qemu, toolchain};

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Examination {
    findings: Vec<Finding>,
}

/// One thing that is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    what: &'static str,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// It is there: which, where.
    There(String),
    /// It is fetched when needed.
    Later(String),
    /// It is missing, and will not come by itself.
    Missing(SetupError),
}

/// Looks at this computer.
#[must_use]
pub fn examine() -> Examination {
    let findings = [
        ("bare-metal toolchain", toolchain()),
        ("QEMU", qemu()),
        (
            "cache",
            cache().map_or_else(State::Missing, |cache| State::There(cache.folder().display().to_string())),
        ),
        ("Linux 6.12", image(debian::LINUX, "6.12")),
        ("Linux 6.1", image(debian::LINUX, "6.1")),
        ("busybox", image(debian::BUSYBOX, "")),
        ("U-Boot", image(debian::U_BOOT, "")),
    ];
    Examination { findings: findings.into_iter().map(|(what, state)| Finding { what, state }).collect() }
}

impl Examination {
    /// As a table with instructions under what is missing.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for Finding { what, state } in &self.findings {
            let _ = match state {
                State::There(which) => writeln!(text, "ok       {what:21} {which}"),
                State::Later(how) => writeln!(text, "later    {what:21} {how}"),
                State::Missing(error) => {
                    writeln!(text, "missing  {what:21} {}\n         {:21} {}", error.what, "", error.mend)
                }
            };
        }
        text
    }

    /// The exit code: success unless something is missing that will not come by itself.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let missing = self.findings.iter().any(|finding| matches!(finding.state, State::Missing(_)));
        if missing { Exit::Setup } else { Exit::Success }
    }
}

fn cache() -> Result<Cache, SetupError> {
    Cache::user()
}

fn toolchain() -> State {
    match toolchain::find() {
        Some(found) => State::There(found.describe()),
        None => toolchain::how_to_install().map_or_else(State::Missing, State::Later),
    }
}

fn qemu() -> State {
    match qemu::find() {
        Ok(qemu::Qemu { path, version: (major, minor) }) => {
            State::There(format!("{major}.{minor}, {}", path.display()))
        }
        Err(found) => qemu::how_to_install(found).map_or_else(State::Missing, State::Later),
    }
}

fn image(item: debian::Item, version: &str) -> State {
    let found = cache().ok().and_then(|cache| debian::cached(&cache, item, version));
    match found {
        Some(path) => State::There(path.display().to_string()),
        None if process::find("apt-get").is_some() => {
            State::Later("fetched from Debian when a manifest asks for it".to_owned())
        }
        None => State::Later("needs apt; on this system a manifest can name a file of yours".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_its_mend_and_exit_code_3() {
        let finding = |state| Finding { what: "QEMU", state };
        let fine = Examination {
            findings: vec![finding(State::There("10.0".into())), finding(State::Later("soon".into()))],
        };
        assert_eq!(fine.exit(), Exit::Success);
        assert_eq!(fine.render().lines().count(), 2);
        let error = SetupError::new("not in PATH", "type: this");
        let ill = Examination { findings: vec![finding(State::Missing(error))] };
        assert_eq!(ill.exit(), Exit::Setup);
        assert!(ill.render().contains("not in PATH") && ill.render().contains("type: this"));
    }
}
