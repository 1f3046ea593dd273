// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;

fn regexes(texts: &[&str]) -> Vec<Regex> {
    texts.iter().map(|text| Regex::new(text).unwrap()).collect()
}

fn judge(texts: &[&str], never: &[&str], result: Option<u32>) -> Judge {
    let expected = Expected { texts: regexes(texts), never: regexes(never), result };
    Judge::new([("a".to_owned(), expected)])
}

fn says(judge: &mut Judge, text: &str) {
    judge.absorb(&Event::Message(Message::Console { vm: 0, bytes: text.as_bytes().to_vec() }));
}

fn gives(judge: &mut Judge, number: u32) {
    judge.absorb(&Event::Message(Message::Result { vm: 0, number }));
}

fn comes_to(judge: &mut Judge, vm: u16, state: VmState) {
    judge.absorb(&Event::Message(Message::State { vm, state }));
}

#[test]
fn a_run_is_decided_when_each_text_has_come() {
    let mut judge = judge(&["^ready$", "tests: [0-9]+"], &[], None);
    says(&mut judge, "not ready\r\nready\r\n");
    assert_eq!(judge.course(), Course::Open);
    assert_eq!(judge.failures(), ["a did not say /tests: [0-9]+/"]);
    says(&mut judge, "tests: 12\r\n");
    assert_eq!(judge.course(), Course::Decided);
    assert_eq!(judge.failures(), [""; 0]);
}

#[test]
fn a_prompt_is_found_and_half_a_word_is_not() {
    let mut prompt = judge(&["login: "], &[], None);
    says(&mut prompt, "host login: ");
    assert_eq!(prompt.course(), Course::Decided);
    for pattern in ["^PASS$", r"\bPASS\b"] {
        let mut judge = judge(&[pattern], &[], None);
        for piece in ["PA", "SS", "ED-NOT\n"] {
            says(&mut judge, piece);
            assert_eq!(judge.course(), Course::Open, "{pattern} after {piece:?}");
        }
        says(&mut judge, "PASS");
        assert_eq!(judge.course(), Course::Open, "{pattern}: the line may go on");
        says(&mut judge, "\r\n");
        assert_eq!(judge.course(), Course::Decided, "{pattern}");
    }
}

#[test]
fn what_must_not_come_fails_the_run_when_it_comes() {
    let mut judge = judge(&["ready"], &["(?i)kernel panic"], None);
    says(&mut judge, "ready\nKernel pan");
    assert_eq!(judge.course(), Course::Decided);
    says(&mut judge, "ic - not syncing\n");
    assert_eq!(judge.course(), Course::Failed);
    says(&mut judge, "Kernel panic again\n");
    assert_eq!(judge.failures(), ["a said what it must not, /(?i)kernel panic/: Kernel panic - not syncing"]);
}

#[test]
fn a_result_is_the_number_expected_or_nought() {
    let course = |wanted: Option<u32>, given: u32| {
        let mut judge = judge(&[], &[], wanted);
        gives(&mut judge, given);
        (judge.course(), judge.failures().join(""))
    };
    assert_eq!(course(Some(7), 7), (Course::Decided, String::new()));
    assert_eq!(course(Some(7), 0), (Course::Failed, "a gave the result 0, not 7".into()));
    assert_eq!(course(None, 0), (Course::Open, String::new()));
    assert_eq!(course(None, 3), (Course::Failed, "a gave the result 3, not 0".into()));
    let mut judge = judge(&[], &[], Some(0));
    comes_to(&mut judge, 0, VmState::Off);
    assert_eq!(judge.course(), Course::Decided);
    assert_eq!(judge.failures(), ["a gave no result, and 0 was expected"]);
}

#[test]
fn vms_of_which_nothing_is_expected_end_by_themselves() {
    let expected = Expected { texts: regexes(&["up"]), ..Expected::default() };
    let mut judge = Judge::new([("a".into(), expected), ("b".into(), Expected::default())]);
    says(&mut judge, "up\n");
    assert_eq!(judge.course(), Course::Open);
    comes_to(&mut judge, 1, VmState::Off);
    assert_eq!(judge.course(), Course::Decided);
}

#[test]
fn without_expectations_a_run_goes_to_its_end() {
    let mut judge = judge(&[], &[], None);
    comes_to(&mut judge, 0, VmState::Off);
    assert_eq!(judge.course(), Course::Open);
    assert!(!judge.is_asked());
}

#[test]
fn a_line_without_end_is_looked_at_all_along() {
    let mut judge = judge(&["needle"], &[], None);
    says(&mut judge, &"x".repeat(LONGEST - 3));
    says(&mut judge, "nee");
    says(&mut judge, "dle");
    assert_eq!(judge.course(), Course::Decided);
    assert!(judge.vms[0].line.len() <= LONGEST);
}
