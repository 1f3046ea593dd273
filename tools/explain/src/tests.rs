// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the command line to what is printed.

use clap::Parser;

use super::*;
use crate::command_line::{Arguments, Command};

fn ask(line: &str) -> Result<Output, ExplainError> {
    match Arguments::try_parse_from(line.split(' ')).unwrap().command {
        Some(Command::Explain(question)) => explain(&question, |_| {}),
        other => panic!("{other:?}"),
    }
}

fn printed(line: &str) -> String {
    match ask(line).unwrap() {
        Output::Print(text) => anstream::adapter::strip_str(&text).to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_register_and_its_value() {
    assert!(printed("vambrace explain esr 0x96000047").starts_with("ESR_ELx = 0x0000000096000047\n"));
}

#[test]
fn json_is_for_programs() {
    let json: serde_json::Value =
        serde_json::from_str(&printed("vambrace explain hcr 0x80000001 --json")).unwrap();
    assert_eq!(json["register"], "HCR_EL2");
    assert_eq!(json["value"], "0x0000000080000001");
    let rw = json["fields"].as_array().unwrap().iter().find(|field| field["name"] == "RW").unwrap();
    assert_eq!((&rw["high"], &rw["value"]), (&31.into(), &1.into()));
    assert_eq!(rw["words"], "EL1 is AArch64");
}

#[test]
fn without_a_question_the_registers_are_listed() {
    let listing = printed("vambrace explain");
    assert_eq!(listing, printed("vambrace explain registers"));
    for register in registers::all() {
        assert!(listing.contains(&register.names.join(", ")), "{:?}", register.names);
    }
}

#[test]
fn the_help_names_every_register() {
    let mut command = <Arguments as clap::CommandFactory>::command();
    let help = command.find_subcommand_mut("explain").unwrap().render_help().to_string();
    for name in registers::all().flat_map(|register| register.names.first()) {
        // `ID_AA64MMFR0..2` stands for three.
        let stem = name.split("_EL").next().unwrap().trim_end_matches(['1', '2']);
        assert!(help.contains(stem), "{name}");
    }
    for topic in ["map", "registers", "--json"] {
        assert!(help.contains(topic), "{topic}");
    }
}
