// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command `vambrace` as the shell sees it: exit codes, `check`, `build`, `--dry-run`.

use std::path::PathBuf;

use vambrace_tests::{Bench, Case, Failed, Finished, PATIENCE, Verdict, ensure};

/// A VM that never ends by itself.
const ENDLESS: &str = r#"
[[vm]]
name = "endless"
kernel = "guest:hostile"
cmdline = "modes=none spin=0"
memory = "8MiB"
"#;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("command::check_underlines_six_mistakes", six_mistakes),
        Case::new("command::a_bad_manifest_is_exit_code_2", bad_manifest),
        Case::new("command::bad_arguments_are_exit_code_2", bad_arguments),
        Case::new("command::the_timeout_is_exit_code_124", timeout),
        Case::new("command::a_crash_is_exit_code_1", crash),
        Case::new("command::quitting_on_a_terminal_leaves_it_in_order", quit),
        Case::new("command::a_pipe_is_typed_on_the_first_vms_console", pipe),
        Case::new("command::input_names_the_vm_that_is_typed_on", input),
        Case::new("command::what_is_typed_while_vms_are_made_is_heard", input_early),
        Case::new("command::a_board_that_ends_too_early_is_exit_code_4", broken),
        Case::new("command::dry_run_prints_a_line_that_qemu_takes", dry_run),
        Case::new("command::build_writes_what_any_qemu_boots", build),
        Case::new("command::doctor_finds_all_there", doctor),
    ]
}

/// A folder with a manifest in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(manifest: &str) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("m.toml"), manifest)?;
        Ok(Self(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn manifest(&self) -> String {
        self.path("m.toml").display().to_string()
    }
}

fn vambrace(bench: &Bench, arguments: &[&str]) -> Result<Finished, Failed> {
    bench.vambrace(arguments)?.finish(PATIENCE)
}

fn six_mistakes(bench: &Bench) -> Verdict {
    const MANIFEST: &str = r#"
[board]
cpus = 2
memory = "512MiB"

[[vm]]
name = "web"
kernal = "debian"
kernel = "guest:hello"

[[vm]]
name = "web"
kernel = "missing/Image"

[[vm]]
name = "big"
kernel = "guest:hello"
memory = "2GiB"
vcpus = "two"

[[vm]]
name = "pinned"
kernel = "guest:hello"
cpus = [7]
"#;
    let folder = Folder::with(MANIFEST)?;
    let finished = vambrace(bench, &["check", &folder.manifest()])?;
    finished.exits_with(2)?;
    let errors = finished.err.lines().filter(|line| line.starts_with("error[VB")).count();
    let underlines = finished.err.lines().filter(|line| line.contains('^')).count();
    if errors != 6 || underlines < 6 {
        return Err(
            finished.fail(&format!("6 errors are due, underlined, and there are {errors}, {underlines}"))
        );
    }
    for words in ["kernal", "web", "missing/Image", "2GiB", "two", "7"] {
        if !finished.err.contains(words) {
            return Err(finished.fail(&format!("nothing is said of {words}")));
        }
    }
    Ok(())
}

fn bad_manifest(bench: &Bench) -> Verdict {
    let folder = Folder::with("[[vm]]\nname = \"a\"\n")?;
    for subcommand in [&["run"][..], &["check"], &["build", "-o", "/dev/null"]] {
        let finished = vambrace(bench, &[subcommand, &[&folder.manifest()]].concat())?;
        finished.exits_with(2)?;
        if !finished.err.contains("error[VB0013]") {
            return Err(finished.fail("the missing kernel is not told"));
        }
    }
    Ok(())
}

fn bad_arguments(bench: &Bench) -> Verdict {
    vambrace(bench, &["run", "--smp", "many"])?.exits_with(2)?;
    vambrace(bench, &["fly"])?.exits_with(2)?;
    vambrace(bench, &["run", "no/such/manifest.toml"])?.exits_with(2)?;
    vambrace(bench, &[])?.exits_with(0)?.says("Usage:").map(drop)
}

fn timeout(bench: &Bench) -> Verdict {
    let folder = Folder::with(ENDLESS)?;
    let finished = vambrace(bench, &["run", &folder.manifest(), "--timeout", "10", "--icount"])?;
    finished.exits_with(124)?;
    // How far it has come by then depends on the computer.
    if !finished.out.contains("guest: spins") {
        return Ok(());
    }
    // What it does is told: the vCPU runs in the machine, and others of the board answer too.
    finished.says("vambrace | endless runs")?.says("vambrace |   vCPU 0 on CPU ")?;
    finished.says("vambrace |     PC 0x00000000402")?;
    ensure(!finished.out.contains("does not answer"), || format!("a CPU is silent:\n{}", finished.out))
}

fn crash(bench: &Bench) -> Verdict {
    let folder = Folder::with(
        r#"
        [[vm]]
        name = "doomed"
        kernel = "nowhere.img"
        memory = "8MiB"
        [[vm]]
        name = "neighbour"
        kernel = "guest:hello"
        memory = "8MiB"
        "#,
    )?;
    std::fs::write(folder.path("nowhere.img"), crate::hostile::nowhere())?;
    let finished = vambrace(bench, &["run", &folder.manifest()])?;
    finished.exits_with(1)?.says("VM doomed crashed: vCPU 0")?.says("neighbour | guest: hello").map(drop)
}

/// The escape key and `q` stop all VMs at once.
fn quit(bench: &Bench) -> Verdict {
    let folder = Folder::with(ENDLESS)?;
    let mut shown = bench.vambrace_on_a_terminal(&["run", &folder.manifest()])?;
    shown.wait_for("guest: spins", PATIENCE)?;
    shown.type_keys("\x1dh")?;
    shown.wait_for("* 1 endless", PATIENCE)?;
    shown.type_keys("\x1ds")?;
    shown.wait_for("[  vCPU 0 on CPU ", PATIENCE)?;
    shown.wait_for("[    PC 0x00000000402", PATIENCE)?;
    shown.type_keys("\x1dq")?;
    shown.finish(PATIENCE)?.exits_with(0).map(drop)
}

/// A guest that waits for a line.
fn asks(name: &str) -> String {
    format!("[[vm]]\nname = \"{name}\"\nkernel = \"guest:result\"\ncmdline = \"ask\"\nmemory = \"8MiB\"\n")
}

fn pipe(bench: &Bench) -> Verdict {
    let folder = Folder::with(&asks("first"))?;
    let finished = bench.vambrace_with_input(&["run", &folder.manifest()], b"0\n")?.finish(PATIENCE)?;
    finished.exits_with(0)?.says("first    | guest: heard 0").map(drop)
}

/// Another VM that would hear it is there first, and ends by its own means.
fn input(bench: &Bench) -> Verdict {
    let hello = "[[vm]]\nname = \"first\"\nkernel = \"guest:hello\"\nmemory = \"8MiB\"\n";
    let folder = Folder::with(&[hello, &asks("second")].concat())?;
    let run = ["run", &folder.manifest(), "--input", "second"];
    let finished = bench.vambrace_with_input(&run, b"0\n")?.finish(PATIENCE)?;
    finished.exits_with(0)?.says("second   | guest: heard 0")?;
    let misspelt = vambrace(bench, &["run", &folder.manifest(), "--input", "secnd"])?;
    misspelt.exits_with(2)?;
    if misspelt.err.contains("did you mean \"second\"?") {
        Ok(())
    } else {
        Err(misspelt.fail("no VM is proposed"))
    }
}

/// A VM that is made first asks for input, and has it, while the boot CPU makes many others.
fn input_early(bench: &Bench) -> Verdict {
    let others = (0..120).map(|number| {
        format!("[[vm]]\nname = \"other{number}\"\nkernel = \"guest:hello\"\nmemory = \"4MiB\"\ncpus = [0]\n")
    });
    let manifest = "[board]\nmemory = \"2GiB\"\n".to_owned()
        + &asks("early")
        + "cpus = [1]\n"
        + &others.collect::<String>();
    let folder = Folder::with(&manifest)?;
    let run = ["run", &folder.manifest(), "--input", "early"];
    let finished = bench.vambrace_with_input(&run, b"0\n")?.finish(PATIENCE)?;
    finished.exits_with(0)?.says("early    | guest: heard 0").map(drop)
}

fn broken(bench: &Bench) -> Verdict {
    let finished = vambrace(bench, &["run", "manifests/hello.toml", "--qemu-arg", "-nonsense"])?;
    finished.exits_with(4)?.says("QEMU: ").map(drop)
}

fn dry_run(bench: &Bench) -> Verdict {
    let finished =
        vambrace(bench, &["run", "manifests/hello.toml", "--dry-run", "--cpu", "max", "--icount"])?;
    finished.exits_with(0)?.says("qemu-system-aarch64 -machine virt,virtualization=on")?;
    finished.says("-cpu max,cntfrq=1000000000")?.says("-icount shift=0,sleep=off")?;
    Ok(())
}

/// One file, booted by a QEMU that knows nothing of us: the consoles come as text.
fn build(bench: &Bench) -> Verdict {
    let folder = Folder::with(
        r#"
        [[vm]]
        name = "one"
        kernel = "guest:hello"
        cmdline = "name=one"
        memory = "8MiB"
        [[vm]]
        name = "two"
        kernel = "guest:hello"
        cmdline = "name=two"
        memory = "8MiB"
        "#,
    )?;
    let image = folder.path("image.bin").display().to_string();
    let built = vambrace(bench, &["build", &folder.manifest(), "-o", &image])?;
    built.exits_with(0)?;
    let board =
        ["-machine", "virt,virtualization=on,gic-version=3", "-cpu", "cortex-a72", "-smp", "2", "-m", "1G"];
    let booted = bench.plain_qemu(board.into_iter().chain(["-kernel", &image]))?.finish(PATIENCE)?;
    booted.exits_with(0)?;
    for (vm, name) in ["one", "two"].into_iter().enumerate() {
        let wanted = format!("guest: hello from EL1, cpus=1 memory=8192 name={name}");
        if !said_by(&booted.out, vm).contains(&wanted) {
            return Err(booted.fail(&format!("VM {vm} does not say {wanted:?}")));
        }
    }
    booted.says("vambrace: all VMs have ended")?;
    ensure(!booted.out.contains('\0'), || "there are frames in the text".into())
}

/// What a VM has said, where nobody puts the parts of lines together: one that takes long comes in two.
fn said_by(out: &str, vm: usize) -> String {
    let head = format!("vm{vm}| ");
    out.lines().filter_map(|line| line.strip_prefix(&head)).collect()
}

fn doctor(bench: &Bench) -> Verdict {
    let finished = vambrace(bench, &["doctor"])?;
    finished.exits_with(0)?;
    for what in ["bare-metal toolchain", "QEMU", "cache"] {
        let line = finished.out.lines().find(|line| line.contains(what)).unwrap_or_default();
        if !line.starts_with("ok") {
            return Err(finished.fail(&format!("{what} is there, and doctor does not see it")));
        }
    }
    Ok(())
}
