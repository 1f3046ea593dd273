// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of readings, from ones that are made up.

use super::*;

struct Made;

impl Opponent for Made {
    fn what(&self) -> String {
        "made up".to_owned()
    }

    fn boot(&self, _: Suite, _: &Path) -> Result<(Board, Boot), BenchError> {
        unreachable!("nothing is run here")
    }

    fn lacks(&self, operation: &str) -> Option<&'static str> {
        (operation == "start").then_some("it is made up")
    }
}

fn run(said: &str, trouble: Option<&str>) -> Run {
    Run { readings: read(said), trouble: trouble.map(str::to_owned) }
}

fn native(min: u64) -> Readings {
    [("gicd-typer-read".to_owned(), Figures { min, median: min, max: min })].into()
}

#[test]
fn the_end_is_a_whole_line_whatever_stands_before_it() {
    assert_eq!(end(b"(XEN) DOM1: bench: switch 1 2 3\n(XEN) DOM1: bench: done"), None);
    assert_eq!(end(b"(XEN) DOM1: bench: switch 1 2 3\r\n(XEN) DOM1: bench: done\r\n"), Some("done"));
    assert_eq!(end(b"bench: failed\nmore\n"), Some("failed"));
    assert_eq!(end(b"bench: done it\n"), None);
}

#[test]
fn figures_are_taken_from_the_suite_that_measures_them() {
    let runs = [
        (Suite::One, run("DOM1: bench: hvc-unknown 5 6 7\nbench: start 8 8 8\nbench: switch 1 1 1", None)),
        (Suite::Shared, run("bench: switch 20 21 22", None)),
    ];
    let against = Against::new(Rival::Xen, &Made, &runs, &Readings::new());
    let names: Vec<&str> = against.figures.keys().map(String::as_str).collect();
    assert_eq!(names, ["hvc-unknown", "switch"]);
    assert_eq!(against.figures["switch"], Figures { min: 20, median: 21, max: 22 });
    assert_eq!(against.missing["start"], "it is made up");
    assert_eq!(against.missing["ipi-round-trip"], "it was not run");
    assert_eq!(against.figures.len() + against.missing.len(), OPERATIONS.len());
}

#[test]
fn what_cannot_be_true_is_no_figure() {
    let said = "bench: hvc-unknown 0 6 7\nbench: gicd-typer-read 2 9 9\nbench: sgi-to-self 3 4 18446744073709551000\n";
    let runs = [(Suite::One, run(said, None))];
    let against = Against::new(Rival::Kvm, &Made, &runs, &native(3));
    assert!(against.figures.is_empty(), "{:?}", against.figures);
    assert_eq!(against.missing["hvc-unknown"], "a reading of 0 instructions cannot be true");
    assert_eq!(against.missing["gicd-typer-read"], "a reading of 2 instructions cannot be true");
    assert!(Against::new(Rival::Kvm, &Made, &runs, &native(2)).figures.contains_key("gicd-typer-read"));
}

#[test]
fn what_a_guest_did_not_come_to_has_its_end_as_the_reason() {
    let runs = [(Suite::One, run("bench: hvc-unknown 5 6 7\n", Some("it stopped")))];
    let against = Against::new(Rival::Xen, &Made, &runs, &Readings::new());
    assert!(against.figures.contains_key("hvc-unknown"));
    assert_eq!(against.missing["sgi-to-self"], "it stopped");
}

#[test]
fn trouble_is_told_with_the_last_words() {
    let told = trouble("first\nlast\n\n", &["qemu: no".to_owned()], Some("it did not come".to_owned()));
    assert_eq!(told, "it did not come; last; qemu: no");
}
