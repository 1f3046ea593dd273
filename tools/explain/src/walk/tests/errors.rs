// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bad input, told in words.

use super::*;

/// A folder with a dump of 4 KiB of zeros and a file of registers.
fn with_files(registers: &str, ask: impl Fn(&str, &str) -> WalkError) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (dump, json) = (folder.path().join("ram.bin"), folder.path().join("regs.json"));
    std::fs::write(&dump, [0; 4096]).unwrap();
    std::fs::write(&json, registers).unwrap();
    let error = ask(&dump.display().to_string(), &json.display().to_string());
    error.to_string().replace(&folder.path().display().to_string(), "")
}

fn refuses(line: &str) -> WalkError {
    answer(&parsed(line)).unwrap_err()
}

#[test]
fn a_dump_that_is_too_short() {
    let stage1 =
        with_files("{}", |dump, _| refuses(&format!("0x1000 --image {dump} --ttbr0 0x4000_1000 --tcr 16")));
    assert_eq!(
        stage1,
        "the walk needs the descriptor at PA 0x40001000, of level 0 of stage 1, and the image covers 0x40000000 to \
         0x40000fff\nadd the missing part with --image FILE@PA; if there is no memory at that address, the access \
         takes a synchronous external abort"
    );
    let registers = "--ttbr0 0 --tcr 16 --vttbr 0x8000_0000 --vtcr 0x50058";
    let stage2 = with_files("{}", |dump, _| refuses(&format!("0 --image {dump} {registers}")));
    assert!(
        stage2.contains("PA 0x80000000, of level 1 of stage 2, on the way to stage 1's of level 0"),
        "{stage2}"
    );
    let only2 =
        with_files("{}", |dump, _| refuses(&format!("0 --image {dump} --vttbr 0x8000_0000 --vtcr 0x50058")));
    assert!(only2.contains("PA 0x80000000, of level 1 of stage 2, and"), "{only2}");
}

#[test]
fn dumps_at_odd_addresses_on_top_of_each_other_or_not_there() {
    let odd = with_files("{}", |dump, _| refuses(&format!("0 --image {dump}@0x4000_0004")));
    assert_eq!(odd, "a dump cannot begin at 0x40000004\ndescriptors have addresses that are multiples of 8");
    let base = with_files("{}", |dump, _| refuses(&format!("0 --image {dump} --base 0x40z0")));
    assert!(base.contains("`0x40z0` is no value: `z` (character 5)"), "{base}");
    let twice = with_files("{}", |dump, _| refuses(&format!("0 --image {dump} --image {dump}@0x4000_0800")));
    assert!(twice.contains("overlaps the dump of 0x40000000 to 0x40000fff"), "{twice}");
    let gone = refuses("0 --image no-such-file").to_string();
    assert!(gone.starts_with("cannot read no-such-file: "), "{gone}");
}

#[test]
fn addresses_that_are_none() {
    let error = with_files("{}", |dump, _| refuses(&format!("0x12g4 --image {dump}")));
    assert!(error.contains("`g` (character 5) is no hexadecimal digit"), "{error}");
    let forgotten = with_files("{}", |dump, _| refuses(&format!("4000f000 --image {dump}")));
    assert!(forgotten.contains("did you mean 0x4000f000?"), "{forgotten}");
}

#[test]
fn files_of_registers_with_mistakes() {
    let of = |registers: &str| {
        with_files(registers, |dump, json| refuses(&format!("0 --image {dump} --registers {json}")))
    };
    let unknown = of("{\n  \"ttbr0\": 0,\n  \"tcx\": 16\n}");
    assert_eq!(unknown, "/regs.json, line 3: there is no register `tcx` here\ndid you mean tcr?");
    let broken = of("{\n  \"tcr\": 16,\n");
    assert!(broken.starts_with("/regs.json, line 3: EOF while parsing"), "{broken}");
    assert!(of("[1]").contains("line 1: "));
    assert!(of("{\"tcr\": \"0xq\"}").contains("line 1: `tcr`: `0xq` is no value"));
    assert!(of("{\"tcr\": -1}").contains("`tcr` is no value of 64 bits"));
    assert!(of("{\"pan\": 1}").contains("`pan` is true or false"));
    assert!(of("{\"cpu\": \"cortex-a27\"}").contains("did you mean cortex-a"));
}

#[test]
fn registers_that_are_missing_or_unknown() {
    let tcr = with_files("{}", |dump, _| refuses(&format!("0 --image {dump} --ttbr0 0x4000_0000")));
    assert_eq!(tcr, "TCR_EL1 is needed\ngive it with --tcr");
    let vtcr = with_files("{}", |dump, _| refuses(&format!("0 --image {dump} --vttbr 0x4000_0000")));
    assert_eq!(vtcr, "VTCR_EL2 is needed\ngive it with --vtcr");
    let cpu = with_files("{}", |dump, _| refuses(&format!("0 --image {dump} --cpu vax")));
    assert!(cpu.contains("there is no CPU `vax` here\n"), "{cpu}");
}

#[test]
fn flags_that_make_no_sense_are_refused_with_exit_code_2() {
    use clap::Parser;
    for line in [
        "explain walk",
        "explain walk 0x1000",
        "explain walk 0x1000 --image a --tcr 0xz",
        "explain walk 0x1000 --image a --el 2",
        "explain walk 0x1000 --image a --access fly",
        "explain walk 0x1000 --image a --ttbr7 0",
        "explain walk 0x1000 --example mapped",
        "explain walk --example mapped --json --svg x",
    ] {
        let words = std::iter::once("vambrace").chain(line.split(' '));
        let error = crate::command_line::Arguments::try_parse_from(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}
