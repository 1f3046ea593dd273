// SPDX-License-Identifier: MIT OR Apache-2.0
//! What operations cost is no more than what is recorded in bench.toml.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use vambrace::failure::Failure;
use vambrace_bench::against::Rival;
use vambrace_bench::record::{Comparison, Record};
use vambrace_bench::scale::{self, Crowd};
use vambrace_bench::{self as bench, BenchError, Options, Systems, storms, systems, traffic};
use vambrace_manifest::diagnostic::Style;
use vambrace_manifest::workspace;
use vambrace_tests::documents::figures;
use vambrace_tests::{Bench, Case, Need, PATIENCE, Verdict, ensure};

/// Set, it writes the record anew, and the document with its picture.
const RECORD: &str = "VAMBRACE_RECORD";
/// What no number of sleeping VMs may make dearer by a single instruction.
const CONSTANT: [&str; 4] = ["hvc-psci-version", "pl011-status-read", "sgi-to-self", "timer-busy"];
/// What every hypervisor does.
const COMPARED: [&str; 8] = [
    "id-register",
    "hvc-psci-version",
    "hvc-unknown",
    "gicd-typer-read",
    "sgi-to-self",
    "timer-busy",
    "ipi-round-trip",
    "switch",
];
/// Where another is ahead, and nobody else and nowhere else: Xen reads what is pending without asking the vCPU that holds it.
const AHEAD: [(Rival, &str); 2] = [(Rival::Xen, "gicd-ispendr-read"), (Rival::Xen, "gicr-ispendr-read")];
/// The cases that write the record and the document run at the same time.
static WRITING: Mutex<()> = Mutex::new(());

pub(crate) fn cases() -> Vec<Case> {
    // Where interrupts and timers cost other numbers of instructions in QEMU itself, the record does not hold.
    vec![
        Case::new("bench::cortex_a72", compare).needs(Need::Qemu(10)),
        Case::new("bench::says_the_same_twice", twice).needs(Need::Qemu(10)),
        Case::new("bench::many_vms", many).needs(Need::Qemu(10)),
        Case::new("bench::storms", compare_storms).needs(Need::Qemu(10)),
        Case::new("bench::tells_where", tells_where).needs(Need::Qemu(10)),
        Case::new("bench::against_xen_and_kvm", against).needs(Need::Qemu(10)).needs(Need::Linux("6.12")),
        linux("bench::whole_systems", compare_systems),
        Case::new("bench::disk_and_network", compare_traffic)
            .needs(Need::Qemu(10))
            .needs(Need::Linux("6.12")),
        linux("bench::whole_systems_say_the_same_twice", systems_twice),
    ]
}

fn linux(name: &str, run: fn(&Bench) -> Verdict) -> Case {
    Case::new(name, run).needs(Need::Qemu(10)).needs(Need::Linux("6.1")).needs(Need::Linux("6.12"))
}

fn file() -> PathBuf {
    workspace().join("tests/system/bench.toml")
}

fn recorded() -> Result<Record, Box<dyn std::error::Error>> {
    Ok(Record::parse(&std::fs::read_to_string(file())?)?)
}

/// Writes the record as `change` makes it, and the figures in the documents' text.
fn record(change: impl FnOnce(Record) -> Record) -> Verdict {
    let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let record = change(recorded()?);
    std::fs::write(file(), record.text())?;
    for document in figures::DOCUMENTS {
        let path = workspace().join(document);
        std::fs::write(&path, figures::filled(&std::fs::read_to_string(&path)?, &record)?)?;
    }
    Ok(())
}

/// Writes a part of the document, between its marks.
fn write(part: &str, text: &str) -> Verdict {
    let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = workspace().join("docs/performance.md");
    let document = std::fs::read_to_string(&path)?;
    let (start, end) = (format!("<!-- {part} -->\n"), format!("<!-- end of {part} -->\n"));
    let parts =
        document.split_once(&start).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) = parts.ok_or_else(|| format!("docs/performance.md has lost the marks of {part}"))?;
    std::fs::write(&path, [before, &start, text, &end, after].concat())?;
    Ok(())
}

fn compare(bench: &Bench) -> Verdict {
    let options = Options { systems: Systems::LeftOut, ..Options::default() };
    let report = bench::measure(&bench.setup, &bench.bare, &bench.qemu, &options).map_err(rendered)?;
    if is_recording() {
        record(|record| record.renewed(&report))?;
        write("figures", &report.markdown())?;
        write("instruction profile", &report.profile_markdown())?;
    }
    judge(recorded()?.compare(&report), || report.text())
}

/// Linux as a guest, held against Linux without a hypervisor.
fn compare_systems(bench: &Bench) -> Verdict {
    let measured = measure_systems(bench)?;
    if is_recording() {
        record(|record| record.with_systems(&measured))?;
        write("whole systems", &systems::markdown(&measured))?;
    }
    judge(recorded()?.compare_systems(&measured), || systems::markdown(&measured))
}

fn measure_systems(bench: &Bench) -> Result<Vec<systems::System>, String> {
    systems::measure(&bench.setup, &bench.bare, &bench.qemu, &Options::default()).map_err(rendered)
}

/// Data through EL2, held against data without a hypervisor.
fn compare_traffic(bench: &Bench) -> Verdict {
    let measured =
        traffic::measure(&bench.setup, &bench.bare, &bench.qemu, &Options::default()).map_err(rendered)?;
    if is_recording() {
        record(|record| record.with_traffic(&measured))?;
        write("traffic", &traffic::markdown(&measured))?;
    }
    judge(recorded()?.compare_traffic(&measured), || traffic::markdown(&measured))
}

/// Whatever a VM does all the time, its neighbour has its share.
fn compare_storms(bench: &Bench) -> Verdict {
    let measured =
        storms::measure(&bench.setup, &bench.bare, &bench.qemu, &Options::default()).map_err(rendered)?;
    if is_recording() {
        write("storms", &measured.markdown())?;
    }
    ensure(measured.are_fair(), || measured.text())
}

fn is_recording() -> bool {
    std::env::var_os(RECORD).is_some()
}

fn judge(comparison: Comparison, table: impl FnOnce() -> String) -> Verdict {
    let Comparison { worse, told } = comparison;
    for line in &told {
        println!("bench: {line}");
    }
    if told.iter().any(|line| line.contains("better") || line.contains("not recorded")) {
        println!("bench: record it with: {RECORD}=1 cargo test -p vambrace-tests --test system bench::");
    }
    ensure(worse.is_empty(), || {
        format!(
            "{}\n\n{}\nIf it has to be so, say why in the commit and record it: \
             {RECORD}=1 cargo test -p vambrace-tests --test system bench::",
            worse.join("\n"),
            table()
        )
    })
}

/// To the last instruction and exit, with the kernel's chance taken out.
fn systems_twice(bench: &Bench) -> Verdict {
    let (first, second) = (measure_systems(bench)?, measure_systems(bench)?);
    ensure(first == second, || format!("the second time it says other things:\n{first:#?}\n{second:#?}"))
}

/// The command itself: the same figures both times, and an exit code that goes with them.
fn twice(bench: &Bench) -> Verdict {
    let run =
        || bench.vambrace(&["bench", "--operations-only", "--json", "--rounds", "20"])?.finish(PATIENCE);
    let (first, second) = (run()?, run()?);
    let missed = first.out.contains("\"verdict\": \"missed\"");
    first.exits_with(i32::from(missed))?.says("\"name\": \"vm-reset\"")?;
    let difference = first.out.lines().zip(second.out.lines()).find(|(line, again)| line != again);
    ensure(first.out == second.out, || format!("the second time it says other things: {difference:?}"))
}

/// An error in the command's words.
fn rendered(error: BenchError) -> String {
    Failure::from(error).render(Style::Plain)
}

/// Exits cost the same however many VMs sleep beside, and EL2's memory grows by the same for each.
fn many(bench: &Bench) -> Verdict {
    if is_recording() {
        let all = scale::measure(&bench.setup, &bench.bare, &bench.qemu, &Options::default());
        write("scale", &all.map_err(rendered)?.markdown())?;
    }
    let point = |vms| {
        scale::point(&bench.setup, &bench.bare, &bench.qemu, &Options::default(), Crowd { cpus: 4, vms })
            .map_err(rendered)
    };
    let (few, some, many) = (point(4)?, point(34)?, point(64)?);
    for name in CONSTANT {
        ensure(
            few.operations.contains_key(name) && few.operations.get(name) == many.operations.get(name),
            || format!("{name}: {few:?} {many:?}"),
        )?;
    }
    let (first, second) = (some.memory - few.memory, many.memory - some.memory);
    ensure(first.abs_diff(second) < first / 20, || format!("30 VMs more take {first} bytes, then {second}"))
}

/// Under Xen and KVM the guest says what it says here, and nothing takes less there.
fn against(bench: &Bench) -> Verdict {
    let rounds = if is_recording() { Options::default().rounds } else { 10 };
    let options =
        Options { systems: Systems::LeftOut, against: Rival::ALL.into(), rounds, ..Options::default() };
    let report = bench::measure(&bench.setup, &bench.bare, &bench.qemu, &options).map_err(rendered)?;
    if is_recording() {
        write("others", &report.markdown_of_others())?;
        std::fs::write(workspace().join("docs/performance.svg"), report.svg())?;
    }
    for against in &report.against {
        for name in COMPARED {
            ensure(against.figures.contains_key(name), || format!("{name}: {against:?}"))?;
        }
    }
    let ahead: Vec<_> = report.leads().map(|lead| (lead.rival, lead.row.name.as_str())).collect();
    ensure(ahead == AHEAD, || format!("others are ahead: {ahead:?}, and not {AHEAD:?}\n{}", report.text()))
}

/// The instructions of a switch are all accounted for.
fn tells_where(bench: &Bench) -> Verdict {
    let done = bench.vambrace(&["bench", "--where", "hvc-unknown"])?.finish(PATIENCE)?;
    done.exits_with(0)?.says("machine/src/fast.rs: serve")?;
    let numbers = done.out.lines().filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let sum: u64 = numbers.sum();
    let recorded = recorded()?.operations.get("hvc-unknown").copied();
    // The guest's own instruction is no part of it.
    let expected = recorded.unwrap_or_default().saturating_sub(1);
    ensure(sum.abs_diff(expected) * 10 <= expected, || format!("{sum} and not {expected}:\n{}", done.out))
}
