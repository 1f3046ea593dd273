// SPDX-License-Identifier: MIT OR Apache-2.0
//! The subcommands, from the arguments to the exit code.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};

use crate::args::{Arguments, Bench, Command, DEMO, Run};
use crate::console::{Inspection, Logs, Show};
use crate::failure::Failure;
use crate::run::{self, Options};
use crate::{console, doctor};
use vambrace_bench as bench;
use vambrace_bench::compare::Before;
use vambrace_explain as explain;
use vambrace_explain::Output;
use vambrace_explain::arguments::Explain;
use vambrace_manifest::diagnostic::{Diagnostics, Style};
use vambrace_manifest::words::counted;
use vambrace_manifest::{self as manifest, BoardOptions, Manifest};
use vambrace_runner::build::{self, Afterwards};
use vambrace_runner::{self as runner, Board, Boot, Config, Exit, Session};
use vambrace_setup::image;
use vambrace_setup::progress::Progress;
use vambrace_setup::qemu::Qemu;
use vambrace_setup::{self as setup, Setup};

/// The whole command: reads the arguments of this process and does what they say.
#[must_use]
pub fn main() -> Exit {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        None => Arguments::command().print_help().map_err(Failure::Terminal).map(|()| Exit::Success),
        Some(Command::Run(run)) => start(&run),
        Some(Command::Build { manifest, output }) => write_image(&manifest, &output),
        Some(Command::Check { manifest }) => check(&manifest),
        Some(Command::Bench(bench)) => measure(&bench),
        Some(Command::Doctor) => examine(),
        Some(Command::Explain(question)) => explain(&question),
        Some(Command::Schema) => say(&manifest::schema()).map(|()| Exit::Success),
        Some(Command::Lint) => lint(),
    };
    done.unwrap_or_else(|failure| {
        complain(&failure.render(style()));
        failure.exit()
    })
}

/// `vambrace run`.
fn start(run: &Run) -> Result<Exit, Failure> {
    let path = run.manifest.clone().unwrap_or_else(demo);
    let options = run.board.options();
    if run.dry_run {
        return dry_run(run, &path, &options);
    }
    // What can be wrong is told before what takes long.
    let (manifest, warnings) = manifest::load(&path, &options)?;
    warn(&warnings);
    let how = Options::new(&manifest, run)?;
    let setup = Setup::new(Progress::for_stderr())?;
    let qemu = setup.qemu()?;
    check_processor(&qemu, &manifest.board.cpu)?;
    check_second_uart(&manifest, &qemu)?;
    let afterwards = match how.input {
        _ if console::is_interactive() => Afterwards::Shell,
        Some(vm) => Afterwards::ShellIn(vm),
        None => Afterwards::PowerOff,
    };
    let built = build::from_manifest(manifest, warnings, &setup, afterwards)?;
    runner::make_disks(&built.manifest, &setup)?;
    let config = Config {
        qemu,
        board: board(&built.manifest, run),
        boot: Boot::Parts { hypervisor: built.hypervisor, bundle: built.bundle },
        vms: names(&built.manifest),
        timeout: how.timeout,
    };
    let inspection = Inspection::new(run::known(&built.manifest)?);
    let logs = how.log_dir.map(|folder| Logs::create(&folder, &config.vms)).transpose()?;
    let show = Show { names: &config.vms, input: how.input, judge: how.judge, logs, inspection };
    let session = Session::start(&config)?;
    Ok(show.show(session)?)
}

/// Refuses a processor that QEMU does not know; properties may follow its name.
fn check_processor(qemu: &Qemu, cpu: &str) -> Result<(), Failure> {
    let name = cpu.split(',').next().unwrap_or(cpu);
    let known = qemu.cpus();
    if known.is_empty() || known.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(Failure::Processor { name: name.to_owned(), known })
}

/// Refuses a second UART of the board where QEMU's has none.
fn check_second_uart(manifest: &Manifest, qemu: &Qemu) -> Result<(), Failure> {
    let needed = runner::needs_second_uart(manifest);
    match needed.filter(|_| qemu.version < runner::SECOND_UART_SINCE) {
        Some(vm) => Err(Failure::NoSecondUart { vm: vm.to_owned(), version: qemu.version }),
        None => Ok(()),
    }
}

/// Prints what would run a file written by `vambrace build`.
fn dry_run(run: &Run, path: &Path, options: &BoardOptions) -> Result<Exit, Failure> {
    const IMAGE: &str = "vambrace.img";
    let (manifest, warnings) = manifest::load(path, options)?;
    warn(&warnings);
    let mut words = vec![setup::qemu::PROGRAM.to_owned()];
    words.extend(runner::arguments(&board(&manifest, run)));
    words.extend(["-kernel".to_owned(), IMAGE.to_owned()]);
    let line: Vec<String> = words.iter().map(|word| runner::quote(word)).collect();
    say(&format!("{}\n", line.join(" ")))?;
    let manifest = runner::quote(&path.display().to_string());
    complain(&format!("vambrace: write {IMAGE} with: vambrace build {manifest} -o {IMAGE}\n"));
    Ok(Exit::Success)
}

/// `vambrace build`.
fn write_image(path: &Path, output: &Path) -> Result<Exit, Failure> {
    let setup = Setup::new(Progress::for_stderr())?;
    // Whoever boots the file sits in front of the board.
    let built = build::build(path, &BoardOptions::default(), &setup, Afterwards::Shell)?;
    warn(&built.warnings);
    let image = image::combine(&built.hypervisor, &built.bundle)?;
    std::fs::write(output, &image).map_err(|error| Failure::Write { path: output.to_owned(), error })?;
    let size = image.len().div_ceil(1 << 20);
    complain(&format!("vambrace: wrote {}, {size} MiB\n", output.display()));
    Ok(Exit::Success)
}

/// `vambrace check`.
fn check(path: &Path) -> Result<Exit, Failure> {
    let (manifest, warnings) = manifest::load(path, &BoardOptions::default())?;
    warn(&warnings);
    // One that is not there yet will be new enough.
    if let Ok(qemu) = setup::qemu::find() {
        check_processor(&qemu, &manifest.board.cpu)?;
        check_second_uart(&manifest, &qemu)?;
    }
    say(&format!("{}: {}, no mistakes\n", path.display(), counted(manifest.vms.len(), "VM")))?;
    Ok(Exit::Success)
}

/// `vambrace bench`.
fn measure(bench: &Bench) -> Result<Exit, Failure> {
    let setup = Setup::new(Progress::for_stderr())?;
    let qemu = setup.qemu()?;
    check_processor(&qemu, &bench.cpu)?;
    let bare = setup.bare()?;
    if let Some(operation) = &bench.locate {
        say(&bench::locate(&setup, &bare, &qemu, &bench.options(), operation)?)?;
        return Ok(Exit::Success);
    }
    if bench.scale {
        let scale = bench::scale::measure(&setup, &bare, &qemu, &bench.options())?;
        say(&if bench.json { scale.json() } else { scale.text() })?;
        return Ok(Exit::Success);
    }
    if bench.storms {
        let storms = bench::storms::measure(&setup, &bare, &qemu, &bench.options())?;
        say(&if bench.json { storms.json() } else { storms.text() })?;
        return Ok(if storms.are_fair() { Exit::Success } else { Exit::Missed });
    }
    let before =
        bench.compare.as_deref().map(|path| Ok::<_, Failure>((path, Before::read(path)?))).transpose()?;
    let report = bench::measure(&setup, &bare, &qemu, &bench.options())?;
    if let Some(path) = &bench.svg {
        let written = std::fs::write(path, report.svg());
        written.map_err(|error| Failure::Write { path: path.clone(), error })?;
        complain(&format!("vambrace: wrote {}\n", path.display()));
    }
    if let Some((path, before)) = before {
        let comparison = before.compare(path, &report)?;
        say(&comparison.text())?;
        return Ok(if comparison.is_no_worse() { Exit::Success } else { Exit::Missed });
    }
    say(&if bench.json { report.json() } else { report.text() })?;
    Ok(if report.meets_all() { Exit::Success } else { Exit::Missed })
}

/// `vambrace doctor`.
fn examine() -> Result<Exit, Failure> {
    let examination = doctor::examine();
    say(&examination.render())?;
    Ok(examination.exit())
}

/// `vambrace explain`.
fn explain(question: &Explain) -> Result<Exit, Failure> {
    match explain::explain(question, warn)? {
        Output::Print(text) => {
            written(anstream::stdout().write_all(text.as_bytes()))?;
        }
        Output::File(path, text) => {
            std::fs::write(&path, text).map_err(|error| Failure::Write { path: path.clone(), error })?;
            complain(&format!("vambrace: wrote {}\n", path.display()));
        }
    }
    Ok(Exit::Success)
}

/// `vambrace lint`.
fn lint() -> Result<Exit, Failure> {
    Setup::new(Progress::for_stderr())?.lint()?;
    Ok(Exit::Success)
}

/// The demo's manifest, in the workspace or the current folder.
fn demo() -> PathBuf {
    manifest::workspace().join(DEMO)
}

/// The board that a manifest and the arguments describe.
fn board(manifest: &Manifest, run: &Run) -> Board {
    let mut qemu_args = runner::devices(manifest);
    qemu_args.extend(runner::second_uart(manifest, &run.qemu_arg));
    qemu_args.extend(run.qemu_arg.iter().cloned());
    Board {
        cpu: manifest.board.cpu.clone(),
        cpus: manifest.board.cpus,
        memory: manifest.board.memory.0,
        clock: run.clock(),
        qemu_args,
    }
}

fn names(manifest: &Manifest) -> Vec<String> {
    manifest.vms.iter().map(|vm| vm.name.clone()).collect()
}

fn style() -> Style {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stderr().is_terminal() && !plain { Style::Coloured } else { Style::Plain }
}

fn warn(warnings: &Diagnostics) {
    if !warnings.is_empty() {
        complain(&warnings.render(style()));
    }
}

/// Writes to standard error, which may be closed.
fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

fn say(text: &str) -> Result<(), Failure> {
    written(io::stdout().write_all(text.as_bytes()))
}

/// Whoever reads our output, such as `head`, may have enough of it.
fn written(outcome: io::Result<()>) -> Result<(), Failure> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Terminal(error)),
        _ => Ok(()),
    }
}
