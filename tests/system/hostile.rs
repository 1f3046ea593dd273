// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMs that misbehave, beside one that must not notice: its heartbeat goes on, in time.

use vambrace_runner::Exit;
use vambrace_tests::{Bench, Case, Failed, Record, Scenario, Verdict};
use vambrace_wire::message::VmState;

/// What the guest `hostile` can do, each by itself.
const MODES: [&str; 10] =
    ["unmapped", "code", "jump", "registers", "calls", "psci", "set-way", "sgi", "gic", "virtio"];

/// How late a heartbeat may be, in microseconds of counted time. The CPUs take turns in QEMU when instructions are
/// counted, and other VMs may have a time slice first.
const LATEST: u64 = 100_000;

pub(crate) fn cases() -> Vec<Case> {
    let modes = MODES.map(|mode| {
        Case::new(format!("hostile::{}", mode.replace('-', "_")), move |bench| {
            beside_a_heartbeat(bench, mode, Placement::OwnCpus)
        })
    });
    let others = [
        Case::new("hostile::all_on_the_neighbours_cpu", |bench| {
            beside_a_heartbeat(bench, &MODES.join(","), Placement::OneCpu)
        }),
        Case::new("hostile::spinning_with_interrupts_masked", spin),
        Case::new("hostile::crash_is_reported_and_stays_alone", crash),
    ];
    modes.into_iter().chain(others).collect()
}

/// Where the two VMs run.
#[derive(Clone, Copy)]
enum Placement {
    OwnCpus,
    OneCpu,
}

impl Placement {
    fn cpus(self) -> [u16; 2] {
        match self {
            Self::OwnCpus => [0, 1],
            Self::OneCpu => [1, 1],
        }
    }
}

/// A manifest with a hostile VM and a heartbeat of 20 beats, 25 ms apart.
fn manifest(hostile: &str, placement: Placement) -> String {
    let [first, second] = placement.cpus();
    format!(
        r#"
        [board]
        cpus = 2
        [[network]]
        name = "lan"
        [[vm]]
        name = "hostile"
        {hostile}
        memory = "64MiB"
        cpus = [{first}]
        devices = ["pl011", "pl031", "virtio-rng", "virtio-console"]
        [[vm.network]]
        name = "lan"
        [[vm]]
        name = "heart"
        kernel = "guest:heartbeat"
        cmdline = "beats=20 period=25"
        memory = "8MiB"
        cpus = [{second}]
        "#
    )
}

fn beside_a_heartbeat(bench: &Bench, modes: &str, placement: Placement) -> Verdict {
    let hostile = format!("kernel = \"guest:hostile\"\ncmdline = \"modes={modes}\"");
    let record = bench.run(&Scenario::new(manifest(&hostile, placement)).counted())?;
    record.passes("hostile", "hostile")?;
    heart_beats(&record, "heart", LATEST)?;
    record.exits(Exit::Success)
}

/// It spins for longer than the heart beats.
fn spin(bench: &Bench) -> Verdict {
    let hostile = "kernel = \"guest:hostile\"\ncmdline = \"modes=none spin=1\"";
    let record = bench.run(&Scenario::new(manifest(hostile, Placement::OneCpu)).counted())?;
    record.says("hostile", "guest: spins")?;
    heart_beats(&record, "heart", LATEST)?;
    record.exits(Exit::Success)
}

/// All beats have come, none of them too late.
pub(crate) fn heart_beats(record: &Record, name: &str, latest: u64) -> Verdict {
    record.says_line(name, "guest: beat 20")?;
    beats_in_time(record, name, latest)
}

/// No beat that has come was too late, as the heartbeat last told.
pub(crate) fn beats_in_time(record: &Record, name: &str, latest: u64) -> Verdict {
    let text = record.vm(name)?.text();
    let mut told = text.lines().filter_map(|line| {
        line.split_once(" beats, the latest by ")?.1.split(' ').next()?.parse::<u64>().ok()
    });
    let Some(late) = told.next_back() else {
        return Err(record.fail("the heartbeat has not told how late it was"));
    };
    record.ensure(late <= latest, || format!("a beat of {name} came {late} us late"))
}

/// A kernel whose second instruction jumps to where nothing is, before it has exception vectors.
pub(crate) fn nowhere() -> Vec<u8> {
    /// `b .+64`, over the header.
    const SKIP_HEADER: u32 = 0x1400_0010;
    /// `movz x0, #0xDEAD, lsl #16`.
    const ADDRESS: u32 = 0xD2BB_D5A0;
    /// `br x0`.
    const JUMP: u32 = 0xD61F_0000;
    let mut image = vec![0; 64];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = image.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, &SKIP_HEADER.to_le_bytes());
    put(16, &4096u64.to_le_bytes());
    put(24, &0b1010u64.to_le_bytes());
    put(56, b"ARM\x64");
    image.extend(ADDRESS.to_le_bytes());
    image.extend(JUMP.to_le_bytes());
    image
}

fn crash(bench: &Bench) -> Verdict {
    let folder = tempfile::tempdir()?;
    let image = folder.path().join("nowhere.img");
    std::fs::write(&image, nowhere())?;
    let hostile = format!("kernel = \"{}\"", image.display());
    let record = bench.run(&Scenario::new(manifest(&hostile, Placement::OwnCpus)).counted())?;
    heart_beats(&record, "heart", LATEST)?;
    let doomed = record.vm("hostile")?;
    record.ensure(doomed.states == [VmState::Running, VmState::Crashed], || {
        format!("it went through {:?}", doomed.states)
    })?;
    report_explains(&record, &doomed.report)?;
    record.exits(Exit::Crashed)
}

/// Which vCPU, why, registers, last exits, what to do.
fn report_explains(record: &Record, report: &[String]) -> Result<(), Failed> {
    let text = report.join("\n");
    for words in [
        "VM hostile crashed: vCPU 0",
        "ESR_EL2",
        "PC 0x",
        "X0 ",
        "0x00000000dead0000",
        "last exits",
        "what to do",
    ] {
        record.ensure(text.contains(words), || format!("the crash report lacks {words:?}"))?;
    }
    Ok(())
}
