// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;
use vambrace_svg as svg;

fn together(stage1: &str, stage2: &str, encoding: Stage2Encoding) -> (String, String, String) {
    let found = Together::new(stage1, stage2, encoding).unwrap();
    (found.result.memory, found.result.shareability, found.memory_rule)
}

#[test]
fn device_beats_normal_whichever_stage_says_it() {
    for (stage1, stage2) in [("device-nGnRE", "normal-wb"), ("normal-wb", "device-nGnRE")] {
        let (memory, shareability, rule) = together(stage1, stage2, Stage2Encoding::Combining);
        assert_eq!(memory, "Device-nGnRE", "{stage1} {stage2}");
        assert_eq!(shareability, "Outer Shareable");
        assert_eq!(rule, "any Device type beats Normal");
    }
}

#[test]
fn names_in_any_case_bits_and_shareability() {
    let encoding = Stage2Encoding::Combining;
    for (stage1, stage2, memory, shareability) in [
        ("DEVICE-NGNRNE", "Device-gre", "Device-nGnRnE", "Outer Shareable"),
        ("0xff,nsh", "0b1111,nsh", "Normal Write-Back", "Non-shareable"),
        ("normal-wb,nsh", "normal-wb,ISH", "Normal Write-Back", "Inner Shareable"),
        (
            "normal-iwb-onc",
            "normal-wt",
            "Normal, inner Write-Through, outer Non-cacheable",
            "Inner Shareable",
        ),
        ("0x4", "normal-nc", "Device-nGnRE", "Outer Shareable"),
    ] {
        let found = together(stage1, stage2, encoding);
        assert_eq!((found.0.as_str(), found.1.as_str()), (memory, shareability), "{stage1} {stage2}");
    }
}

#[test]
fn with_fwb_stage_2_has_the_last_word() {
    let forcing = Stage2Encoding::Forcing;
    assert_eq!(together("device-nGnRnE", "forced-wb", forcing).0, "Normal Write-Back");
    assert_eq!(together("normal-wt", "stage1", forcing).0, "Normal Write-Through");
    assert_eq!(together("normal-wt", "PASS", forcing).0, "Normal Write-Through");
    assert_eq!(together("normal-wb", "normal-nc", forcing).0, "Normal Non-cacheable");
}

#[test]
fn what_is_unknown_comes_with_its_mend() {
    let message = |stage1: &str, stage2: &str, encoding| {
        Together::new(stage1, stage2, encoding).unwrap_err().to_string()
    };
    let combining = Stage2Encoding::Combining;
    assert_eq!(
        message("device-ngnre1", "normal-wb", combining),
        "there is no memory type `device-ngnre1` for stage 1\ndid you mean device-nGnRE?"
    );
    assert!(message("normal-wb", "x", combining).contains("there are: device-nGnRnE, "));
    // What only the other encoding has.
    assert!(message("normal-wb", "forced-wb", combining).contains("for stage 2\n"));
    assert!(message("normal-wb", "normal-wt", Stage2Encoding::Forcing).contains("for stage 2 with FWB\n"));
    assert!(message("normal-wb,all", "normal-wb", combining).contains("nsh, ish or osh"));
    assert!(message("0x100", "normal-wb", combining).contains("0 to 0xff"));
    assert!(message("normal-wb", "0b0100", combining).contains("reserved"));
    assert!(message("normal-wb", "0x1f", combining).contains("four bits"));
    assert!(message("0xzz", "normal-wb", combining).contains("`z`"));
}

#[test]
fn the_matrix_is_symmetric_without_fwb() {
    let matrix = Matrix::new(Stage2Encoding::Combining);
    assert_eq!((matrix.rows.len(), matrix.columns.len()), (13, 13));
    for (i, row) in matrix.rows.iter().enumerate() {
        assert_eq!(row.stage1, matrix.columns[i]);
        for (j, cell) in row.cells.iter().enumerate() {
            assert_eq!(cell.memory, matrix.rows[j].cells[i].memory, "{} {}", row.stage1, matrix.columns[j]);
        }
    }
    assert_eq!(Matrix::new(Stage2Encoding::Forcing).columns.len(), 7);
}

#[test]
fn text_says_result_and_rules() {
    let found = Together::new("device-nGnRE", "normal-wb", Stage2Encoding::Combining).unwrap();
    let plain = anstream::adapter::strip_str(&found.text()).to_string();
    let expected = "\
stage 1   Device-nGnRE       Inner Shareable
stage 2   Normal Write-Back  Inner Shareable
together  Device-nGnRE       Outer Shareable

type: any Device type beats Normal
shareability: Device and Non-cacheable memory is Outer Shareable
";
    assert_eq!(plain, expected);
}

#[test]
fn the_matrix_in_text() {
    let text = anstream::adapter::strip_str(&Matrix::new(Stage2Encoding::Forcing).text()).to_string();
    let line = |start: &str| text.lines().find(|line| line.trim_start().starts_with(start)).unwrap();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(line("GRE ")), ["GRE", "nGnRnE", "nGnRE", "nGRE", "GRE", "GRE", "WB", "GRE"]);
    assert_eq!(words(line("WT ")), ["WT", "nGnRnE", "nGnRE", "nGRE", "GRE", "NC", "WB", "WT"]);
}

#[test]
fn the_picture_is_well_formed_and_nothing_overlaps() {
    for encoding in [Stage2Encoding::Combining, Stage2Encoding::Forcing] {
        svg::check::sound(&Matrix::new(encoding).svg()).unwrap();
    }
}

#[test]
fn the_documents_picture_is_current() {
    let theirs = include_str!("../../../../docs/attributes.svg");
    assert!(Matrix::new(Stage2Encoding::Combining).svg() == theirs, "draw docs/attributes.svg anew");
}
