// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's command line.

use super::{Board, Clock};

/// What asks the hypervisor for frames instead of lines, on its command line.
pub(super) const WIRE: &str = "vambrace.wire=1";

/// Bytes in a mebibyte.
const MIB: u64 = 1 << 20;

/// QEMU's arguments for a board, without what it boots.
#[must_use]
pub fn arguments(board: &Board) -> Vec<String> {
    let cpu = match board.clock {
        Clock::Host => board.cpu.clone(),
        Clock::Instructions => format!("{},cntfrq=1000000000", board.cpu),
    };
    let memory = format!("{}M", board.memory.div_ceil(MIB));
    let cpus = board.cpus.to_string();
    let mut arguments: Vec<String> = [
        ["-machine", "virt,virtualization=on,gic-version=3"],
        ["-cpu", &cpu],
        ["-smp", &cpus],
        ["-m", &memory],
        ["-display", "none"],
        ["-chardev", "stdio,id=console,signal=off"],
        ["-serial", "chardev:console"],
    ]
    .concat()
    .into_iter()
    .map(str::to_owned)
    .collect();
    arguments.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned));
    if board.clock == Clock::Instructions {
        let counted = [
            ["-icount", "shift=0,sleep=off"],
            ["-seed", "1"],
            // The date is fixed too.
            ["-rtc", "base=2026-01-01,clock=vm"],
        ];
        arguments.extend(counted.concat().into_iter().map(str::to_owned));
    }
    arguments.extend(board.qemu_args.iter().cloned());
    arguments
}

/// A word as a shell reads it back.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,.:/+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(clock: Clock) -> Board {
        Board {
            cpu: "cortex-a72".into(),
            cpus: 4,
            memory: 2048 * MIB,
            clock,
            qemu_args: vec!["-d".into(), "int".into()],
        }
    }

    #[test]
    fn a_board_becomes_arguments_and_the_users_come_last() {
        let line = arguments(&board(Clock::Host)).join(" ");
        assert!(
            line.starts_with("-machine virt,virtualization=on,gic-version=3 -cpu cortex-a72 -smp 4 -m 2048M")
        );
        assert!(line.ends_with("-d int"));
        assert!(!line.contains("icount"));
    }

    #[test]
    fn counting_instructions_fixes_every_source_of_time_and_chance() {
        let line = arguments(&board(Clock::Instructions)).join(" ");
        for part in [
            "-cpu cortex-a72,cntfrq=1000000000",
            "-icount shift=0,sleep=off",
            "-seed 1",
            "-rtc base=2026-01-01,clock=vm",
        ] {
            assert!(line.contains(part), "{part} is missing in {line}");
        }
    }

    #[test]
    fn a_shell_reads_quoted_words_back() {
        assert_eq!(quote("-smp"), "-smp");
        assert_eq!(quote("two words"), "'two words'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }
}
