// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};

use crate::run::Text;
use vambrace_bench::{self as bench, against::Rival};
use vambrace_explain::arguments::Explain;
use vambrace_manifest::{BoardOptions, Size};
use vambrace_runner::Clock;

/// What `run` takes when no manifest is named.
pub const DEMO: &str = "manifests/two-linux.toml";

/// Vambrace runs unmodified operating systems side by side on one Arm board, each in a virtual machine of its own.
///
/// Start with `vambrace run`: two Debian Linux VMs in QEMU. What is missing on this computer is fetched.
#[derive(Clone, Debug, Parser)]
#[command(name = "vambrace", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// What to do; without it, help.
    #[command(subcommand)]
    pub command: Option<Command>,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    success; after run: all VMs powered off, or did all that is expected of them
  1    a VM crashed or could not be made; after bench: a target was missed
  2    the manifest or the arguments are wrong
  3    something is missing on this computer and could not be fetched
  4    the hypervisor itself failed
  5    what was expected did not come, or what must not did, or a guest's result was not 0
  124  --timeout was reached";

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Boot the VMs of a manifest in QEMU
    Run(Run),
    /// Write the hypervisor and the VMs of a manifest to one bootable file
    Build {
        /// The manifest
        manifest: PathBuf,
        /// The file to write; U-Boot's booti and QEMU's -kernel boot it
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Report all mistakes in a manifest
    Check {
        /// The manifest
        manifest: PathBuf,
    },
    /// Count the instructions that a VM's operations take, with and without Vambrace
    Bench(Bench),
    /// Tell what is there on this computer, what is missing, and what mends it
    Doctor,
    /// Put register values and memory maps in words and pictures
    Explain(Explain),
    /// Print the manifest's JSON schema, for editors
    Schema,
    /// Check the bare-metal programs with clippy, for CI
    #[command(hide = true)]
    Lint,
}

/// `vambrace run`.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The manifest; without one, two Debian Linux VMs
    pub manifest: Option<PathBuf>,
    /// The board.
    #[command(flatten)]
    pub board: BoardArguments,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Succeed only if this comes in a line of the VM's console; may be repeated. * is every VM
    #[arg(long, value_name = "VM:REGEX")]
    pub expect: Vec<Text>,
    /// Fail if this comes in a line of the VM's console; may be repeated. * is every VM
    #[arg(long, value_name = "VM:REGEX")]
    pub fail_on: Vec<Text>,
    /// Write what each VM's console says, and a log of the hypervisor, to files in this folder
    #[arg(long, value_name = "FOLDER")]
    pub log_dir: Option<PathBuf>,
    /// The VM that gets what is typed or comes by a pipe; without it, the first. The demo's Linux then gives a shell there
    #[arg(long, value_name = "VM")]
    pub input: Option<String>,
    /// Let the count of instructions move the time, so that each run is the same as the last
    #[arg(long)]
    pub icount: bool,
    /// One more argument for QEMU; may be repeated
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub qemu_arg: Vec<String>,
    /// Print a QEMU command line to run by hand, and run nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `vambrace bench`.
#[derive(Clone, Debug, Args)]
#[command(after_help = BENCH)]
pub struct Bench {
    /// The processor, by QEMU's name; the targets are for the one taken without it
    #[arg(long, value_name = "NAME", default_value = bench::PROCESSOR)]
    pub cpu: String,
    /// How often each operation is done
    #[arg(long, value_name = "COUNT", default_value = "200", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Measure the same under other hypervisors, in the same run
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub against: Vec<Rival>,
    /// Leave out the whole systems: Linux as a guest and without a hypervisor, for which Debian's kernels are fetched
    #[arg(long)]
    pub operations_only: bool,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
    /// Draw the figures in this file, as SVG
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Only measure how things grow with the number of VMs and CPUs; it takes some minutes
    #[arg(long, conflicts_with_all = ["svg", "rounds", "locate", "storms"])]
    pub scale: bool,
    /// Hold the figures against those of another build, in this file, as --json prints them; exit code 1 if one is worse
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scale", "storms", "locate", "json"])]
    pub compare: Option<PathBuf>,
    /// Make the VMs' RAM of so many pieces of physical memory, a power of two
    #[arg(long, value_name = "COUNT", value_parser = PossibleValuesParser::new(["2", "4", "8", "16", "32", "64", "128", "256", "512"]),
        conflicts_with_all = ["scale", "storms"])]
    pub ram_pieces: Option<String>,
    /// Only measure what is left to a VM whose neighbour keeps EL2 busy
    #[arg(long, conflicts_with_all = ["svg", "rounds", "locate"])]
    pub storms: bool,
    /// Only tell which functions an operation's instructions are from, such as those of switch
    #[arg(long = "where", value_name = "OPERATION", conflicts_with_all = ["json", "svg", "rounds"],
        value_parser = PossibleValuesParser::new(bench::profile::watched()))]
    pub locate: Option<String>,
}

const BENCH: &str = "\
Two runs of the same build print the same: QEMU counts instructions. Medians are held against the targets.

Exit codes:
  0    every target is met
  1    a target is missed";

impl Bench {
    /// What to measure.
    #[must_use]
    pub fn options(&self) -> bench::Options {
        let systems = if self.operations_only { bench::Systems::LeftOut } else { bench::Systems::Measured };
        let (cpu, rounds, against) = (self.cpu.clone(), self.rounds, self.against.clone());
        let ram_pieces = self.ram_pieces.as_ref().and_then(|count| count.parse().ok());
        bench::Options { cpu, rounds, systems, against, ram_pieces }
    }
}

/// The board, in place of what the manifest says.
#[derive(Clone, Debug, Default, Args)]
pub struct BoardArguments {
    /// The processor, by QEMU's name
    #[arg(long, value_name = "NAME")]
    pub cpu: Option<String>,
    /// How many physical CPUs
    #[arg(long, value_name = "COUNT")]
    pub smp: Option<u16>,
    /// RAM, such as 2GiB
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,
}

impl BoardArguments {
    /// In the manifest's terms.
    #[must_use]
    pub fn options(&self) -> BoardOptions {
        BoardOptions { cpu: self.cpu.clone(), cpus: self.smp, memory: self.memory }
    }
}

impl Run {
    /// What moves the board's time.
    #[must_use]
    pub fn clock(&self) -> Clock {
        if self.icount { Clock::Instructions } else { Clock::Host }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write a number of seconds, such as 60".to_owned())?;
    let positive = Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero());
    positive.ok_or_else(|| "the time must be longer than nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run(line: &str) -> Run {
        match Arguments::try_parse_from(line.split(' ')).unwrap().command {
            Some(Command::Run(run)) => run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn run_takes_everything() {
        let run = run(
            "vambrace run m.toml --cpu max --smp 8 --memory 2GiB --timeout 1.5 --icount --input web --log-dir logs \
                       --expect web:up --expect *:^a:b$ --fail-on db:x \
                       --qemu-arg -d --qemu-arg int --dry-run",
        );
        assert_eq!(run.board.options().cpus, Some(8));
        assert_eq!(run.board.options().memory, Some(Size(2 << 30)));
        assert_eq!(run.timeout, Some(Duration::from_millis(1500)));
        assert_eq!(run.input.as_deref(), Some("web"));
        assert_eq!(run.log_dir, Some("logs".into()));
        assert_eq!((run.expect.len(), run.fail_on.len()), (2, 1));
        assert_eq!(run.qemu_arg, ["-d", "int"]);
        assert_eq!(run.clock(), Clock::Instructions);
        assert!(run.dry_run);
    }

    #[test]
    fn bench_has_a_processor_unless_told() {
        let bench = |line: &str| match Arguments::try_parse_from(line.split(' ')).unwrap().command {
            Some(Command::Bench(bench)) => bench.options(),
            other => panic!("{other:?}"),
        };
        assert_eq!(bench("vambrace bench"), bench::Options::default());
        let systems = bench::Systems::LeftOut;
        let max = bench::Options { cpu: "max".into(), rounds: 20, systems, ..bench::Options::default() };
        let line = "vambrace bench --cpu max --rounds 20 --operations-only --json --svg x.svg";
        assert_eq!(bench(line), max);
        assert_eq!(bench("vambrace bench --against xen,kvm").against, Rival::ALL);
    }

    #[test]
    fn bench_answers_one_question_at_a_time() {
        let bench = |line: &str| match Arguments::try_parse_from(line.split(' ')).map(|parsed| parsed.command)
        {
            Ok(Some(Command::Bench(bench))) => Some((bench.scale, bench.locate)),
            _ => None,
        };
        assert_eq!(bench("vambrace bench --scale --json"), Some((true, None)));
        assert_eq!(bench("vambrace bench --where switch --cpu max"), Some((false, Some("switch".into()))));
        for line in ["--where fly", "--where start", "--where switch --json", "--scale --where switch"] {
            assert_eq!(bench(&format!("vambrace bench {line}")), None, "{line}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_exit_code_2() {
        for line in [
            "vambrace run --timeout 0",
            "vambrace run --smp many",
            "vambrace run --expect up",
            "vambrace run --expect web:(",
            "vambrace build x",
            "vambrace bench --rounds 0",
            "vambrace bench --against",
            "vambrace bench --against xen,zen",
            "vambrace bench --against xen,,kvm",
            "vambrace fly",
        ] {
            let error = Arguments::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
